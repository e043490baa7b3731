//! The thread of one shard: brings its rows back, then turns until the server stops.

use std::cell::RefCell;
use std::future::Future;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::{Duration, Instant};

use engine::buffers::Arena;
use engine::hnsw::Indexer;
use engine::mesh::Port;
use engine::recovery::{self, Opened, RecoveredShard};
use engine::shard::sleeper::Sleeper;
use engine::shard::{Message, Shard};
use engine::uring::Ring;
use engine::wal::{DiskConfig, DiskStorage, Wal};
use engine::{Error, Result};
use glommio::{Latency, LocalExecutorBuilder, Placement, Shares};

use super::context::Context;
use super::reactor::Reactor;
use super::state::ServerState;
use super::writes::operation_of;

/// Entries of a shard's ring; receives that wait for bytes hold none.
const RING_ENTRIES: u32 = 1_024;
/// Memory that glommio registers for its own files, of which there are none but the eventfd.
const GLOMMIO_IO_MEMORY: usize = 64 << 10;
/// Of the time that a shard has, serving gets this many parts and indexing the rest.
const SHARES_SERVE: usize = 1_000;
const SHARES_INDEX: usize = 250;
/// How long the serving tasks may have to wait for the indexer.
const SERVE_LATENCY: Duration = Duration::from_millis(1);
/// How long a stopping shard waits for what it began.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How one shard runs.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Its index.
    pub index: usize,
    /// Number of shards.
    pub shards: usize,
    /// See [`super::ServerOptions`].
    pub arena_bytes: usize,
    /// See [`super::ServerOptions`].
    pub connections_max: usize,
    /// See [`super::ServerOptions`].
    pub pin: bool,
}

/// What a shard says when it has its rows back, or not.
pub struct Prepared {
    /// Its index.
    pub shard: usize,
    /// How it went.
    pub result: Result<()>,
}

/// Indexers of one shard: for each collection, in the order of [`Opened::collections`], one a vector column.
pub type ShardIndexers = Vec<Vec<Indexer>>;

/// Starts the thread of a shard. It recovers, says so on `prepared`, waits for its indexers on `start`, then serves.
pub fn spawn(
    options: ShardOptions,
    port: Port<Message>,
    listener: Option<TcpListener>,
    state: Arc<ServerState>,
    opened: Arc<Opened>,
    prepared: mpsc::Sender<Prepared>,
    start: mpsc::Receiver<ShardIndexers>,
) -> Result<std::thread::JoinHandle<Result<()>>> {
    let failed = |source| Error::System { operation: "start a thread", source };
    let name = format!("shard-{}", options.index);
    std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            let builder = LocalExecutorBuilder::new(placement(&options)).name("shard").io_memory(GLOMMIO_IO_MEMORY);
            let executor = builder.make().map_err(|error| Error::System { operation: "start an executor", source: error.into() })?;
            executor.run(main(options, port, listener, state, opened, prepared, start))
        })
        .map_err(failed)
}

fn placement(options: &ShardOptions) -> Placement {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if options.pin && options.shards <= cores { Placement::Fixed(options.index) } else { Placement::Unbound }
}

async fn main(
    options: ShardOptions,
    port: Port<Message>,
    listener: Option<TcpListener>,
    state: Arc<ServerState>,
    opened: Arc<Opened>,
    prepared: mpsc::Sender<Prepared>,
    start: mpsc::Receiver<ShardIndexers>,
) -> Result<()> {
    let shard = options.index;
    let doorbell = port.doorbell();
    let built = build(&options, port, listener, &state, &opened);
    let mut sleeper = Sleeper::new(&doorbell)?;
    let (reactor, context) = match built {
        Ok(built) => {
            let _ = prepared.send(Prepared { shard, result: Ok(()) });
            built
        }
        Err(error) => {
            let _ = prepared.send(Prepared { shard, result: Err(error) });
            return Ok(()); // reported; the server does not start
        }
    };
    drop(prepared);
    let Ok(indexers) = start.recv() else { return Ok(()) };
    for (collection, indexers) in opened.collections.iter().zip(indexers) {
        context.serve(collection, indexers);
    }
    drop(opened);
    context.ring.borrow_mut().register_eventfd(doorbell.as_fd())?;

    let executor = glommio::executor();
    let serve = executor.create_task_queue(Shares::Static(SHARES_SERVE), Latency::Matters(SERVE_LATENCY), "serve");
    let index = executor.create_task_queue(Shares::Static(SHARES_INDEX), Latency::NotImportant, "index");
    let failed = |error: glommio::GlommioError<()>| Error::System { operation: "start a task", source: error.into() };
    glommio::spawn_local_into(run_indexing(context.clone()), index).map_err(failed)?.detach();
    let turning = glommio::spawn_local_into(async move { run(reactor, &context, &mut sleeper).await }, serve);
    turning.map_err(failed)?.await
}

fn build(
    options: &ShardOptions,
    port: Port<Message>,
    listener: Option<TcpListener>,
    state: &Arc<ServerState>,
    opened: &Opened,
) -> Result<(Reactor, Rc<Context>)> {
    let mut ring = Ring::new(RING_ENTRIES)?;
    let arena = Arena::new(options.arena_bytes)?;
    register(&mut ring, &arena)?;
    let ring = Rc::new(RefCell::new(ring));
    let directory = opened.manifest.shard_directory(&opened.data, options.index);
    let doorbell = port.doorbell();
    let config = DiskConfig::new(directory, options.index).wake(move || doorbell.ring());
    let mut storage = DiskStorage::open(config, ring.clone())?;
    let recovered = recovery::recover_shard(opened, options.index, &mut storage, operation_of, &state.progress)?;
    let RecoveredShard { partition, resume } = recovered;
    let wal = Wal::open(storage, &arena, &resume)?;
    let partition = Rc::new(RefCell::new(partition));
    let shard = Shard::new(partition.clone(), wal);
    let context = Rc::new(Context::new(options.index, options.shards, ring, partition, state.clone()));
    let listener = listener.map(Into::into);
    let reactor = Reactor::new(context.clone(), shard, arena, port, listener, options.connections_max);
    Ok((reactor, context))
}

/// Registered buffers save the kernel the pinning of pages at each write. They count against the limit on locked memory
/// of a user that is not root: the server runs without them where it is small, and says so.
fn register(ring: &mut Ring, arena: &Arena) -> Result<()> {
    match ring.register_arena(arena) {
        Err(Error::MemlockTooSmall { needed, limit }) => {
            tracing::warn!(
                needed,
                limit,
                "buffers are not registered with io_uring, writes cost a little more: raise the memlock limit \
                 (`ulimit -l`, LimitMEMLOCK= in a systemd unit, `--ulimit memlock=-1` of a container)"
            );
            Ok(())
        }
        other => other,
    }
}

async fn run(mut reactor: Reactor, context: &Rc<Context>, sleeper: &mut Sleeper) -> Result<()> {
    let mut stopping_since = None;
    loop {
        let moved = reactor.turn()?;
        if reactor.is_stopping() {
            let since = *stopping_since.get_or_insert_with(Instant::now);
            if reactor.is_finished() || since.elapsed() > STOP_MAX {
                return Ok(());
            }
        }
        if moved {
            // Lets searches of this queue run, and other queues when it is their turn.
            yield_now().await;
            glommio::yield_if_needed().await;
        } else if reactor.prepare_sleep() {
            if reactor.is_stopping() {
                glommio::timer::sleep(Duration::from_millis(1)).await;
            } else {
                wait(context, sleeper).await?;
            }
            reactor.awake();
        }
    }
}

/// Waits for the doorbell (completions, peers) or for a task of this thread that left something in the mailbox.
async fn wait(context: &Rc<Context>, sleeper: &mut Sleeper) -> Result<()> {
    let mut sleep = std::pin::pin!(sleeper.sleep());
    std::future::poll_fn(|task| {
        if !context.mailbox.is_empty() {
            return Poll::Ready(Ok(()));
        }
        context.mailbox.set_waker(task.waker());
        sleep.as_mut().poll(task)
    })
    .await
}

/// Goes to the back of the task queue once.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|task| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

async fn run_indexing(context: Rc<Context>) {
    while !context.is_stopping() {
        let moved = {
            let mailbox = &context.mailbox;
            context.indexing.borrow_mut().step(|to, message| mailbox.send(to, message))
        };
        if moved {
            glommio::yield_if_needed().await;
        } else {
            context.index_wait().await;
        }
    }
}
