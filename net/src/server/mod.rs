//! The server: threads, sockets, and how they start and stop.
//!
//! | thread | what it does |
//! |---|---|
//! | `shard-N`, pinned | the data plane ([`reactor`]), searches ([`searches`]) and reads ([`tasks`]), indexing, in idle time samples of the recall ([`sampler`]) |
//! | `control` | collections, snapshots, watchdog ([`engine::control`]) |
//! | `admin` | HTTP ([`crate::admin`]) |
//!
//! Sockets and log of a shard are on one io_uring of its own, and so is a read of the eventfd that peers ring: the shard
//! sleeps in one place, and whatever ends its sleep is a completion there. There is one listening port: the first shard
//! accepts, and a connection that asks for another shard in its HELLO is passed there as it is.

mod backpressure;
mod connections;
mod context;
mod deletions;
mod disk;
mod examples;
mod mailbox;
mod memory;
mod messages;
mod reactor;
mod replaying;
mod requests;
mod sampler;
mod searches;
mod session;
mod spread;
mod state;
mod tallies;
mod tasks;
mod texts;
mod thread;
mod traversals;
mod updates;
mod writes;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use engine::clock::Clock;
use engine::control::{Control, ControlOptions};
use engine::limits;
use engine::mesh;
use engine::recovery;

use crate::admin;
use state::ServerState;
use thread::{Prepared, ShardOptions};

pub use writes::operation_of;

/// How long a start waits for its port to become free.
const BIND_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often the data directory is weighed.
const DISK_INTERVAL: Duration = Duration::from_secs(1);

/// How a server runs.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Data directory; created if it is not there.
    pub data: PathBuf,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where HTTP is served; `None`: nowhere.
    pub admin: Option<SocketAddr>,
    /// Number of shards; 0: one a core.
    pub shards: usize,
    /// Bytes of the buffers of each shard that frames are received into and the log is written from, at most.
    pub arena_bytes: usize,
    /// Bytes of them that are memory at all times; the rest is as long as it is used.
    pub arena_pinned_bytes: usize,
    /// Connections at the same time.
    pub connections_max: usize,
    /// How long a peer may leave what it was sent untaken before its connection is closed.
    pub peer_timeout: Duration,
    /// How often each shard has to show that it turns; `None`: never.
    pub heartbeat: Option<Duration>,
    /// Bytes of rows and graphs above which writes are refused; 0: no limit; `None`: a part of the memory that the machine or
    /// the control group has.
    pub memory_budget: Option<u64>,
    /// Rows that may wait for the indexer; above, writers wait for it. `None`: they never do.
    pub index_lag_max: Option<u64>,
    /// Look into the recall of some queries in idle time.
    pub recall_sampling: bool,
    /// Bytes of log that set off a snapshot; 0: never.
    pub snapshot_wal_bytes: u64,
    /// Bind each shard to a core.
    pub pin: bool,
    /// What time it is for rows that have a time to live.
    pub clock: Arc<Clock>,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            data: PathBuf::from("broadhead-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7690)),
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 7691))),
            shards: 0,
            arena_bytes: 96 << 20,
            arena_pinned_bytes: 16 << 20,
            connections_max: limits::CONNECTIONS_MAX,
            peer_timeout: Duration::from_secs(60),
            heartbeat: Some(Duration::from_secs(1)),
            memory_budget: None,
            index_lag_max: None,
            recall_sampling: true,
            snapshot_wal_bytes: 4 << 30,
            pin: true,
            clock: Arc::new(Clock::system()),
        }
    }
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// For clients.
    pub listen: SocketAddr,
    /// For HTTP.
    pub admin: Option<SocketAddr>,
}

/// Runs a server until `stop` is set. `serving` is called once clients are served: with the rows of the snapshot, while the
/// log behind it is replayed. Damage that is found there ends the server.
pub fn run(mut options: ServerOptions, stop: Arc<AtomicBool>, serving: impl FnOnce(Addresses)) -> engine::Result<()> {
    let started = Instant::now();
    let shards = shard_count(options.shards)?;
    raise_descriptor_limit();
    let listener = bind(options.listen)?;
    let admin_listener = options.admin.map(bind).transpose()?;
    let addresses = Addresses {
        listen: local(&listener, options.listen),
        admin: admin_listener.as_ref().map(|listener| local(listener, options.listen)),
    };
    let memory_budget = *options.memory_budget.get_or_insert_with(memory::default_budget);
    let state = Arc::new(ServerState::new(shards, memory_budget));
    let admin = admin_listener.map(|listener| admin::spawn(listener, state.clone())).transpose();
    let _admin = admin.map_err(|source| engine::Error::System { operation: "serve HTTP", source })?;

    let opened = recovery::open(&options.data, shards, operation_of, &state.progress)?;
    options.clock.not_before(opened.manifest.clock_ms);
    opened.collections.iter().for_each(|collection| collection.set_clock(&options.clock));
    let mut ports = mesh::mesh(shards + 1, limits::MESH_RING_SLOTS)?;
    let control_port = ports.pop().expect("one more than shards");
    let doorbell = control_port.doorbell();

    let mut listener = Some(listener);
    let (prepared_sender, prepared) = mpsc::channel();
    let opened = Arc::new(opened);
    let mut threads = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        let shard_options = ShardOptions { index, shards, server: options.clone() };
        let (start_sender, start) = mpsc::channel();
        let prepared = prepared_sender.clone();
        let (state, opened) = (state.clone(), opened.clone());
        let listener = if index == 0 { listener.take() } else { None };
        let thread = thread::spawn(shard_options, port, listener, state, opened, prepared, start)?;
        threads.push((thread, start_sender));
    }
    drop(prepared_sender);
    // Every shard loads its rows by itself; the graphs, which lead from shard to shard, wait for all of them.
    let mut failure = None;
    for Prepared { shard, result } in prepared.iter().take(shards) {
        if let Err(error) = result {
            tracing::error!(shard, %error, "recovery failed");
            failure.get_or_insert(error);
        }
    }
    if let Some(error) = failure {
        drop(threads.into_iter().map(|(thread, start)| (drop(start), thread.join())).collect::<Vec<_>>());
        return Err(error);
    }
    let indexers = recovery::load_graphs(&opened)?;
    for ((_, start), indexers) in threads.iter().zip(indexers) {
        // A shard that has died meanwhile is found out when it is joined.
        let _ = start.send(indexers);
    }
    let control_options = ControlOptions {
        data: options.data.clone(),
        heartbeat: options.heartbeat,
        snapshot_wal_bytes: options.snapshot_wal_bytes,
        memory_budget,
        evictions: state.evictions.clone(),
        clock: options.clock.clone(),
    };
    let control = Control::new(
        control_options,
        opened.manifest.clone(),
        opened.collections.clone(),
        control_port,
        state.all_metrics(),
    );
    let stop_control = stop.clone();
    let control = std::thread::Builder::new().name("control".into()).spawn(move || control.run(&stop_control));
    let control = control.map_err(|source| engine::Error::System { operation: "start a thread", source })?;
    state.set_serving();
    tracing::info!(shards, took_ms = started.elapsed().as_millis() as u64, listen = %addresses.listen, "serving");
    serving(addresses);

    let mut result = Ok(());
    let mut disk_seen: Option<Instant> = None;
    while !stop.load(Ordering::Acquire) {
        if disk_seen.is_none_or(|seen| seen.elapsed() >= DISK_INTERVAL) {
            state.set_disk_bytes(disk::allocated_bytes(&options.data));
            disk_seen = Some(Instant::now());
        }
        engine::heap::give_back();
        std::thread::park_timeout(Duration::from_millis(50));
        if threads.iter().any(|(thread, _)| thread.is_finished()) {
            stop.store(true, Ordering::Release); // a shard has failed: its error is below
        }
    }
    doorbell.ring();
    for (thread, _) in threads {
        let ended = thread.join().unwrap_or_else(|_| {
            let source = std::io::Error::other("it panicked");
            Err(engine::Error::System { operation: "run a shard", source })
        });
        result = result.and(ended);
    }
    if control.join().is_err() {
        let source = std::io::Error::other("it panicked");
        result = result.and(Err(engine::Error::System { operation: "run the control thread", source }));
    }
    tracing::info!("stopped");
    result
}

fn shard_count(wanted: usize) -> engine::Result<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = if wanted == 0 { cores.min(limits::SHARDS_MAX) } else { wanted };
    if shards > limits::SHARDS_MAX {
        let (value, limit) = (shards as u64, limits::SHARDS_MAX as u64);
        return Err(engine::Error::LimitExceeded { what: "number of shards", value, limit });
    }
    Ok(shards)
}

/// Opens the port. The kernel lets go of a killed server's port some milliseconds after its process has gone, when it has undone what
/// was in the io_uring: that is waited for.
fn bind(address: SocketAddr) -> engine::Result<TcpListener> {
    let began = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && began.elapsed() < BIND_WAIT_MAX => {
                std::thread::sleep(Duration::from_millis(20));
            }
            bound => return bound.map_err(|source| engine::Error::Listen { address, source }),
        }
    }
}

fn local(listener: &TcpListener, fallback: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(fallback)
}

/// A connection is a descriptor: raise the soft limit, which is 1,024 on most systems, to the hard one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}
