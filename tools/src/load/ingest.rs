//! Load of writes.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

use net::client::{Ack, Client, Collection, Pending, WriteReport};

use super::ack_log::AckLog;
use super::feed::{Content, Feed, Plan, Pool};
use super::monitor::{self, Moment, Server};
use super::recorder::Recorder;
use super::sampler::{self, Sample, Sampling, Visibility};
use super::wheel::Wheel;
use super::{Latencies, Schedule, searcher};
use crate::cli::Remote;
use crate::commands::search;
use crate::error::Result;
use crate::output::rate;
use crate::progress::Progress;

/// Bytes of small requests that are sent together, where several are in flight.
const GATHER_BYTES: usize = 32 << 10;
/// Time between the end of the preparations and the first request.
const LEAD: Duration = Duration::from_millis(20);

/// Which connections a batch goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// Each row goes to the shard that is its home.
    Aware,
    /// A batch goes to one shard, as from a client that knows nothing of shards.
    Unaware,
}

/// What is to be done.
pub struct Ingest<'a> {
    /// Vectors of the rows.
    pub pool: &'a Pool,
    /// Ids: written from the first to the last, then again.
    pub ids: u64,
    /// When it is enough.
    pub until: Until,
    /// Time before that which is not measured.
    pub warm_up: Duration,
    /// Rows of one batch.
    pub batch_rows: usize,
    /// Connections (each to every shard).
    pub connections: usize,
    /// Batches in flight on each connection.
    pub in_flight: usize,
    /// Rows a second over all connections; none: as many as there is room for.
    pub rate: Option<f64>,
    /// When a batch counts as done.
    pub ack: Ack,
    /// Where batches go.
    pub routing: Routing,
    /// Rows a second that are looked for as soon as they are acknowledged; 0: none.
    pub samples_per_s: f64,
    /// Searches a second beside the load; none: no searcher.
    pub searches_per_s: Option<f64>,
    /// List of what was acknowledged, and the first round.
    pub ack_log: Option<(&'a Path, u32)>,
    /// Called with each second that is over.
    pub each_second: Option<&'a (dyn Fn(&Moment) + Sync)>,
}

impl<'a> Ingest<'a> {
    /// A plain load over `ids` ids: each is written once, over one connection, until it is durable.
    pub fn new(pool: &'a Pool, ids: u64) -> Ingest<'a> {
        Ingest {
            pool,
            ids,
            until: Until::Rows(ids),
            warm_up: Duration::ZERO,
            batch_rows: 1,
            connections: 1,
            in_flight: 4,
            rate: None,
            ack: Ack::Durable,
            routing: Routing::Aware,
            samples_per_s: 0.0,
            searches_per_s: None,
            ack_log: None,
            each_second: None,
        }
    }
}

/// When a load is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Until {
    /// So many rows were written.
    Rows(u64),
    /// The time is over.
    Time(Duration),
}

/// What came of it.
pub struct Ingested {
    /// Rows acknowledged.
    pub rows: u64,
    /// Of them, those whose id was there.
    pub replaced: u64,
    /// From the start of the clock to the last acknowledgement.
    pub seconds: f64,
    /// Latency of each batch.
    pub latencies: Latencies,
    /// Of each whole second.
    pub series: Vec<Moment>,
    /// What was found of what was acknowledged.
    pub visibility: Visibility,
    /// Of the searches beside the load.
    pub searches: Option<Latencies>,
}

/// What the threads of a load share.
struct Run<'a> {
    load: &'a Ingest<'a>,
    collection: &'a str,
    /// Passed when all are prepared, and again when the clock is set.
    barrier: Barrier,
    clock: OnceLock<Clock>,
    ack_log: Option<AckLog>,
    /// Rows that were taken to be sent.
    claimed: AtomicU64,
    /// Connections that have not ended.
    running: AtomicU64,
    failed: AtomicBool,
}

struct Clock {
    /// When the first request is due; the clock of the recorder starts later if there is a warm-up.
    begin: Instant,
    recorder: Recorder,
}

impl Run<'_> {
    fn clock(&self) -> &Clock {
        self.clock.get().expect("set between the two barriers")
    }

    fn is_over(&self) -> bool {
        self.running.load(Ordering::Acquire) == 0 || self.failed.load(Ordering::Acquire)
    }

    /// Whether a batch that is due now is not to be sent any more.
    fn is_enough(&self, due: Instant) -> bool {
        let start = self.clock().recorder.start();
        if due < start {
            return false;
        }
        match self.load.until {
            // A load that is behind its schedule ends in time as well.
            Until::Time(time) => due.max(Instant::now()) >= start + time,
            Until::Rows(rows) => self.claimed.fetch_add(self.load.batch_rows as u64, Ordering::Relaxed) >= rows,
        }
    }
}

/// Writes into `collection`.
pub fn ingest(remote: &Remote, collection: &str, load: &Ingest<'_>) -> Result<Ingested> {
    let run = Run {
        load,
        collection,
        barrier: Barrier::new(load.connections + 1),
        clock: OnceLock::new(),
        ack_log: load.ack_log.map(|(path, _)| AckLog::append_to(path, collection)).transpose()?,
        claimed: AtomicU64::new(0),
        running: AtomicU64::new(load.connections as u64),
        failed: AtomicBool::new(false),
    };
    let client = remote.connect()?;
    let handle = client.collection(collection)?;
    let target = search::target(&handle, collection, None)?;
    let (sampling, samples) = (load.samples_per_s > 0.0).then(|| Sampling::new(load.samples_per_s)).unzip();
    std::thread::scope(|scope| {
        let (run, handle, target) = (&run, &handle, &target);
        let sampling = sampling.map(Arc::new);
        let workers: Vec<_> = (0..load.connections)
            .map(|connection| {
                let sampling = sampling.clone();
                scope.spawn(move || work(remote, run, sampling.as_deref(), connection))
            })
            .collect();
        // The sampler ends with the last connection that can hand something in.
        drop(sampling);
        let looker = samples.map(|samples| scope.spawn(move || sampler::look(handle, target, load.pool, samples)));
        run.barrier.wait();
        let begin = Instant::now() + LEAD;
        let start = begin + load.warm_up;
        assert!(run.clock.set(Clock { begin, recorder: Recorder::new(start) }).is_ok(), "set once");
        run.barrier.wait();
        let asker = load
            .searches_per_s
            .map(|rate| scope.spawn(move || searcher::ask(handle, target, load.pool, rate, start, || run.is_over())));
        let servers = watch(remote, &client, run);
        let results: Vec<Result<()>> =
            workers.into_iter().map(|worker| worker.join().expect("a connection does not panic")).collect();
        let visibility = looker.map(|looker| looker.join().expect("the sampler does not panic"));
        let searches = asker.map(|asker| asker.join().expect("the searcher does not panic"));
        // What the connections met comes first: the others may have failed because of it.
        results.into_iter().collect::<Result<()>>()?;
        Ok((servers, visibility.transpose()?, searches.transpose()?))
    })
    .map(|(servers, visibility, searches)| {
        let total = run.clock.into_inner().expect("set above").recorder.finish();
        let seconds = total.seconds.iter().zip(servers).enumerate();
        Ingested {
            rows: total.rows,
            replaced: total.replaced,
            seconds: total.time.as_secs_f64(),
            latencies: total.latencies,
            series: seconds
                .map(|(number, (second, server))| Moment::new(number, second, load.pool.vector_bytes(), server))
                .collect(),
            visibility: visibility.unwrap_or_default(),
            searches,
        }
    })
}

/// Looks at the server each second and shows how far it is. Gives what the server said at the end of each.
fn watch(remote: &Remote, client: &Client, run: &Run<'_>) -> Vec<Server> {
    let (load, recorder) = (run.load, &run.clock().recorder);
    let mut progress = match load.until {
        Until::Rows(rows) => Progress::start("writing", Some(rows), remote.quiet()),
        Until::Time(time) => Progress::start_seconds("writing", time.as_secs(), remote.quiet()),
    };
    let mut servers = Vec::new();
    monitor::every_second(
        recorder.start(),
        || run.is_over(),
        |number| {
            // A server that does not answer is noticed by the connections.
            servers.push(Server::ask(client, run.collection).unwrap_or_default());
            let second = recorder.close(number);
            let moment = Moment::new(number, &second, load.pool.vector_bytes(), servers[number]);
            if let Some(each_second) = load.each_second {
                each_second(&moment);
            }
            match load.until {
                Until::Rows(_) => progress.set(recorder.rows()),
                Until::Time(_) => progress.set_seconds(number as u64 + 1, &format!("{} MB/s", rate(moment.mb_per_s))),
            }
        },
    );
    servers
}

/// One connection.
fn work(remote: &Remote, run: &Run<'_>, sampling: Option<&Sampling>, number: usize) -> Result<()> {
    let prepared = Connection::prepare(remote, run, sampling, number);
    // Every connection comes here, whether or not its preparations failed: the others wait for it.
    run.barrier.wait();
    run.barrier.wait();
    let result = prepared.and_then(|mut connection| {
        let result = connection.send_all(number);
        if result.is_err() {
            connection.drain();
        }
        result
    });
    if result.is_err() {
        run.failed.store(true, Ordering::Release);
    }
    run.running.fetch_sub(1, Ordering::Release);
    result
}

struct Connection<'a> {
    run: &'a Run<'a>,
    sampling: Option<&'a Sampling>,
    client: Client,
    collection: Collection,
    feed: Feed,
    in_flight: VecDeque<InFlight>,
}

/// A batch on its way.
struct InFlight {
    due: Instant,
    pending: Vec<Pending<WriteReport>>,
    content: Content,
}

impl<'a> Connection<'a> {
    fn prepare(
        remote: &Remote,
        run: &'a Run<'a>,
        sampling: Option<&'a Sampling>,
        number: usize,
    ) -> Result<Connection<'a>> {
        let load = run.load;
        // A load that keeps to a rate sends each request when it is due.
        let client = remote.connect_gathering(if run.load.rate.is_none() { GATHER_BYTES } else { 0 })?;
        let collection = client.collection(run.collection)?;
        let plan = Plan {
            ids: Wheel::share(load.ids, number, load.connections),
            connection: number,
            connections: load.connections,
            batch_rows: load.batch_rows,
            routing: load.routing,
            round: load.ack_log.map_or(0, |(_, round)| round),
        };
        let feed = Feed::prepare(&collection, &client.server(), load.pool, &plan)?;
        Ok(Connection { run, sampling, client, collection, feed, in_flight: VecDeque::new() })
    }

    fn send_all(&mut self, number: usize) -> Result<()> {
        let (run, load) = (self.run, self.run.load);
        super::until(run.clock().begin);
        let batches_per_s = load.rate.map(|rows| rows / load.batch_rows as f64);
        let schedule = Schedule::new(run.clock().begin, batches_per_s, number, load.connections);
        for index in 0.. {
            if matches!(schedule, Schedule::Closed) {
                self.settle(load.in_flight - 1)?;
            }
            let due = schedule.wait(index);
            if run.is_enough(due) || run.failed.load(Ordering::Acquire) {
                break;
            }
            self.settle(load.in_flight - 1)?;
            let (writes, content) = self.feed.next();
            let pending = writes.map(|write| self.collection.send(write, load.ack)).collect::<Result<_, _>>()?;
            self.in_flight.push_back(InFlight { due, pending, content });
        }
        self.settle(0)
    }

    /// Waits until no more than `left` batches are in flight.
    fn settle(&mut self, left: usize) -> Result<()> {
        while self.in_flight.len() > left {
            let batch = self.in_flight.pop_front().expect("there is more than is to be left");
            self.finish(batch)?;
        }
        Ok(())
    }

    /// Takes what was still acknowledged when something has failed.
    fn drain(&mut self) {
        while let Some(batch) = self.in_flight.pop_front() {
            let _ = self.finish(batch);
        }
    }

    fn finish(&self, batch: InFlight) -> Result<()> {
        let InFlight { due, pending, content } = batch;
        let (mut replaced, mut answered) = (0, due);
        for pending in pending {
            let (report, at) = pending.wait_timed()?;
            replaced += report.replaced;
            answered = answered.max(at);
        }
        self.run.clock().recorder.record(content.rows as u64, replaced, due, answered);
        if let Some(sampling) = self.sampling {
            let (id, round, row) = content.sample;
            sampling.offer(Sample { id, round, row });
        }
        if let Some(log) = self.run.ack_log.as_ref().filter(|_| self.run.load.ack == Ack::Durable) {
            let shards = match self.run.load.routing {
                Routing::Aware => self.client.server().shards,
                Routing::Unaware => 1,
            };
            log.add(&content.spans, shards)?;
        }
        Ok(())
    }
}
