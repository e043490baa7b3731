//! The thread of one shard: loads its part of the snapshot, then turns until the server stops, replaying its log at first.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use engine::buffers::Arena;
use engine::hnsw::Indexer;
use engine::mesh::Port;
use engine::probes;
use engine::recovery::{self, LogTail, Opened};
use engine::shard::executor::{self, Class, Executor, INDEX_SHARE, INDEX_SHARE_REPLAYING};
use engine::shard::indexing::Pace;
use engine::shard::{Message, Shard};
use engine::uring::Ring;
use engine::wal::{DiskConfig, DiskStorage, LogBuffers};
use engine::{Error, Result};

use super::ServerOptions;
use super::backpressure::INDEX_LOOK;
use super::context::Context;
use super::deletions;
use super::reactor::Reactor;
use super::replaying::Replaying;
use super::sampler;
use super::state::ServerState;
use super::texts;
use super::writes::operation_of;

/// Entries of a shard's ring; receives that wait for bytes hold none.
const RING_ENTRIES: u32 = 1_024;
/// Longest sleep of a shard that nothing wakes.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// A shard is flooded when it was written to in such a window, and idle for less than this part of it.
const FLOOD_WINDOW: Duration = Duration::from_millis(100);
const FLOOD_IDLE_PART: u32 = 2;
/// How long a shard with nothing else to do looks for the end of a write before it sleeps.
const POLL_MAX: Duration = Duration::from_micros(100);
/// How often it is looked whether there is work for idle time, and whether it may be done now.
const IDLE_LOOK: Duration = Duration::from_secs(1);
const IDLE_WAIT: Duration = Duration::from_millis(5);
/// How long a stopping shard waits for what it began.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How one shard runs.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Its index.
    pub index: usize,
    /// Number of shards.
    pub shards: usize,
    /// What all shards have in common; its number of shards may be 0.
    pub server: ServerOptions,
}

/// What a shard says when it has the rows of the snapshot, or not.
pub struct Prepared {
    /// Its index.
    pub shard: usize,
    /// How it went.
    pub result: Result<()>,
}

/// Indexers of one shard: for each collection, in the order of [`Opened::collections`], one a vector column.
pub type ShardIndexers = Vec<Vec<Indexer>>;

/// Starts the thread of a shard. It loads, says so on `prepared`, waits for its indexers on `start`, then serves.
pub fn spawn(
    options: ShardOptions,
    port: Port<Message>,
    listener: Option<TcpListener>,
    state: Arc<ServerState>,
    opened: Arc<Opened>,
    prepared: mpsc::Sender<Prepared>,
    start: mpsc::Receiver<ShardIndexers>,
) -> Result<std::thread::JoinHandle<Result<()>>> {
    let thread = std::thread::Builder::new().name(format!("shard-{}", options.index));
    let thread = thread.spawn(move || main(&options, port, listener, &state, opened, prepared, &start));
    thread.map_err(|source| Error::System { operation: "start a thread", source })
}

fn main(
    options: &ShardOptions,
    port: Port<Message>,
    listener: Option<TcpListener>,
    state: &Arc<ServerState>,
    opened: Arc<Opened>,
    prepared: mpsc::Sender<Prepared>,
    start: &mpsc::Receiver<ShardIndexers>,
) -> Result<()> {
    let shard = options.index;
    if options.server.pin {
        pin(shard, options.shards);
    }
    let (reactor, context) = match build(options, port, listener, state, &opened) {
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
    run(reactor, &context)
}

/// Binds the thread to the core of its index, if every shard can have one of its own.
fn pin(shard: usize, shards: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let bind = || {
        let allowed = sched_getaffinity(None)?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
        if shards <= cores.len() {
            let mut own = CpuSet::new();
            own.set(cores[shard]);
            sched_setaffinity(None, &own)?;
        }
        Ok::<(), rustix::io::Errno>(())
    };
    if let Err(error) = bind() {
        tracing::warn!(shard, %error, "the thread could not be bound to a core");
    }
}

fn build(
    options: &ShardOptions,
    port: Port<Message>,
    listener: Option<TcpListener>,
    state: &Arc<ServerState>,
    opened: &Opened,
) -> Result<(Reactor, Rc<Context>)> {
    let mut ring = Ring::new(RING_ENTRIES)?;
    let arena = Arena::new(options.server.arena_bytes, options.server.arena_pinned_bytes)?;
    register(&mut ring, &arena)?;
    let ring = Rc::new(RefCell::new(ring));
    let directory = opened.manifest.shard_directory(&opened.data, options.index);
    let doorbell = port.doorbell();
    let config = DiskConfig::new(directory, options.index).wake(move || doorbell.ring());
    let storage = DiskStorage::open(config, ring.clone())?;
    let partition = Rc::new(RefCell::new(recovery::load_shard(opened, options.index, &state.progress)?));
    let tail = LogTail::begin(opened, storage, operation_of, state.progress.clone())?;
    let replaying = Replaying { tail, buffers: LogBuffers::take(&arena)? };
    let shard = Shard::new(partition.clone());
    let context = Rc::new(Context::new(
        options.index,
        options.shards,
        ring,
        partition,
        state.clone(),
        options.server.recall_sampling,
    ));
    let listener = listener.map(Into::into);
    let reactor = Reactor::new(context.clone(), shard, replaying, arena, port, listener, &options.server)?;
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

/// Turns, lets tasks run, and sleeps when there is neither.
fn run(mut reactor: Reactor, context: &Rc<Context>) -> Result<()> {
    let mut executor = Executor::default();
    executor::spawn(Class::Index, run_indexing(context.clone()));
    executor::spawn(Class::Idle, sampler::run(context.clone()));
    executor::spawn(Class::Idle, deletions::run_sweep(context.clone()));
    executor::spawn(Class::Idle, run_compaction(context.clone()));
    executor::spawn(Class::Idle, texts::run_idle(context.clone()));
    executor::spawn(Class::Idle, run_refinement(context.clone()));
    let mut stopping_since = None;
    let mut flood = Flood::new();
    loop {
        probes::turn_begin(context.index);
        let began = Instant::now();
        let moved = reactor.turn()?;
        let turn = began.elapsed();
        probes::turn_tasks(context.index, moved);
        let index_share = if reactor.is_replaying() { INDEX_SHARE_REPLAYING } else { INDEX_SHARE };
        let ran = executor.run(moved, turn, index_share);
        probes::turn_end(context.index, ran);
        let mut sleep_max = executor.may_sleep().unwrap_or(SLEEP_MAX);
        if reactor.is_stopping() {
            let since = *stopping_since.get_or_insert_with(Instant::now);
            if since.elapsed() > STOP_MAX || (reactor.is_finished() && !reactor.seal()) {
                return Ok(());
            }
            sleep_max = sleep_max.min(Duration::from_millis(1));
        }
        if reactor.waits_for_index() {
            sleep_max = sleep_max.min(INDEX_LOOK);
        }
        if context.sampler.borrow().is_busy() {
            // Here and not in its task, which may not have had its turn.
            context.sampler.borrow_mut().give_up_late();
        }
        if flood.look(context.metrics.rows_written.get()) {
            context.hold_index_back(flood.is_on && !reactor.limits_index_lag());
        }
        if flood.is_on {
            sleep_max = sleep_max.min(FLOOD_WINDOW);
        }
        if !moved && !ran && !sleep_max.is_zero() {
            let began = Instant::now();
            if !(reactor.waits_for_disk() && poll(context, POLL_MAX.min(sleep_max))) {
                reactor.sleep(sleep_max)?;
            }
            flood.idle += began.elapsed();
        } else if ran {
            // The kernel's end of a durable write may wait for this core, and so may a client on the same machine.
            std::thread::yield_now();
        }
    }
}

/// Whether more is being written than the shard has time for, looked at in windows.
struct Flood {
    began: Instant,
    /// Time without work in this window.
    idle: Duration,
    /// Rows written before it.
    written: u64,
    is_on: bool,
}

impl Flood {
    fn new() -> Flood {
        Flood { began: Instant::now(), idle: Duration::ZERO, written: 0, is_on: false }
    }

    /// Ends the window if it is time to. `written` are the rows that were written so far, all told. True when a flood has begun
    /// or ended.
    fn look(&mut self, written: u64) -> bool {
        let window = self.began.elapsed();
        if window < FLOOD_WINDOW {
            return false;
        }
        let is_on = written > self.written && self.idle * FLOOD_IDLE_PART < window;
        (self.began, self.idle, self.written) = (Instant::now(), Duration::ZERO, written);
        std::mem::replace(&mut self.is_on, is_on) != is_on
    }
}

/// Looks for a completion again and again, for a write to the disk may end sooner than the thread would be asleep and awake
/// again. Others that want the core have it meanwhile. False when none came.
fn poll(context: &Context, most: Duration) -> bool {
    let began = Instant::now();
    loop {
        if context.ring.borrow_mut().has_completions() {
            return true;
        }
        if began.elapsed() >= most {
            return false;
        }
        std::thread::yield_now();
    }
}

/// Moves rows out of sparse chunks, for as long as the server runs.
async fn run_compaction(context: Rc<Context>) {
    while !context.is_stopping() {
        if context.indexing.borrow_mut().compact(Pace::Idle) {
            context.index_wake();
            executor::yield_now().await;
        } else if context.indexing.borrow().has_sparse() {
            executor::sleep(IDLE_WAIT).await;
        } else {
            executor::sleep(IDLE_LOOK).await;
        }
    }
}

/// Links rows of graphs anew, for as long as the server runs.
async fn run_refinement(context: Rc<Context>) {
    while !context.is_stopping() {
        let worked = {
            let mailbox = &context.mailbox;
            context.indexing.borrow_mut().refine(|to, message| mailbox.send(to, message))
        };
        if worked {
            executor::yield_now().await;
        } else if context.indexing.borrow().has_unrefined() {
            executor::sleep(IDLE_WAIT).await;
        } else {
            executor::sleep(IDLE_LOOK).await;
        }
    }
}

async fn run_indexing(context: Rc<Context>) {
    while !context.is_stopping() {
        let moved = {
            let mailbox = &context.mailbox;
            context.indexing.borrow_mut().step(|to, message| mailbox.send(to, message))
        };
        if !moved {
            context.index_wait().await;
        } else if context.ring.borrow_mut().has_completions() {
            executor::yield_now().await;
        } else {
            executor::yield_if_needed().await;
        }
    }
}
