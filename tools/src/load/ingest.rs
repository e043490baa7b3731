//! Load of writes.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use net::client::{Ack, Client, Collection, Pending, PreparedWrite, WriteReport};

use super::{Data, Latencies, Schedule};
use crate::cli::Remote;
use crate::error::Result;

/// Time between the end of the preparations and the first request.
const LEAD: Duration = Duration::from_millis(20);

/// What is to be done.
pub struct Ingest {
    /// Rows to write; each is prepared once.
    pub data: Data,
    /// Write them over and over until this time is over; none: once.
    pub time: Option<Duration>,
    /// Rows of one write.
    pub batch_rows: usize,
    /// Connections (each to every shard).
    pub connections: usize,
    /// Writes in flight on each connection.
    pub in_flight: usize,
    /// Rows a second over all connections; none: as many as there is room for.
    pub rate: Option<f64>,
    /// When a write counts as done.
    pub ack: Ack,
}

/// What came of it.
pub struct Ingested {
    /// Rows acknowledged.
    pub rows: u64,
    /// Of them, those whose id was there.
    pub replaced: u64,
    /// From the first request to the last acknowledgement.
    pub seconds: f64,
    /// Latency of each write.
    pub latencies: Latencies,
}

/// Writes the data into `collection`.
pub fn ingest(remote: &Remote, collection: &str, load: &Ingest) -> Result<Ingested> {
    let barrier = Barrier::new(load.connections);
    let mut results = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..load.connections)
            .map(|connection| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let prepared = prepare(remote, collection, load, connection);
                    // Every connection comes here, whether or not its preparations failed: the others wait for it.
                    barrier.wait();
                    let (client, collection, writes) = prepared?;
                    let result = run(&collection, &writes, load, connection);
                    drop(client);
                    result
                })
            })
            .collect();
        results.extend(workers.into_iter().map(|worker| worker.join().expect("a connection does not panic")));
    });
    let mut total = Ingested { rows: 0, replaced: 0, seconds: 0.0, latencies: Latencies::new() };
    let (mut first, mut last) = (None::<Instant>, None::<Instant>);
    for result in results {
        let part = result?;
        total.rows += part.rows;
        total.replaced += part.replaced;
        total.latencies.merge(&part.latencies);
        first = Some(first.map_or(part.first, |first| first.min(part.first)));
        last = Some(last.map_or(part.last, |last| last.max(part.last)));
    }
    if let (Some(first), Some(last)) = (first, last) {
        total.seconds = last.duration_since(first).as_secs_f64();
    }
    Ok(total)
}

/// One connection's share: batches number `connection`, `connection + connections`, …, encoded and cut by shard.
fn prepare(
    remote: &Remote,
    collection: &str,
    load: &Ingest,
    connection: usize,
) -> Result<(Client, Collection, Vec<PreparedWrite>)> {
    let client = remote.connect()?;
    let collection = client.collection(collection)?;
    let mut writes = Vec::new();
    let stride = load.batch_rows as u64 * load.connections as u64;
    let mut first = connection as u64 * load.batch_rows as u64;
    while first < load.data.rows {
        let rows = (load.data.rows - first).min(load.batch_rows as u64) as usize;
        writes.push(collection.prepare(&load.data.batch(first, rows))?);
        first += stride;
    }
    Ok((client, collection, writes))
}

/// What one connection did.
struct Part {
    rows: u64,
    replaced: u64,
    first: Instant,
    last: Instant,
    latencies: Latencies,
}

fn run(collection: &Collection, writes: &[PreparedWrite], load: &Ingest, connection: usize) -> Result<Part> {
    let start = Instant::now() + LEAD;
    super::until(start);
    let requests_per_s = load.rate.map(|rows| rows / load.batch_rows as f64);
    let schedule = Schedule::new(start, requests_per_s, connection, load.connections);
    let deadline = load.time.map(|time| start + time);
    let mut part = Part { rows: 0, replaced: 0, first: start, last: start, latencies: Latencies::new() };
    let mut in_flight: VecDeque<(Instant, Pending<WriteReport>)> = VecDeque::new();
    let rounds = writes.iter().cycle();
    let once = if deadline.is_some() { usize::MAX } else { writes.len() };
    for (index, write) in rounds.take(once).enumerate() {
        let due = match schedule {
            Schedule::Closed => {
                settle(&mut in_flight, load.in_flight - 1, &mut part)?;
                Instant::now()
            }
            Schedule::Open { .. } => schedule.wait(index as u64),
        };
        if deadline.is_some_and(|deadline| due >= deadline) {
            break;
        }
        if matches!(schedule, Schedule::Open { .. }) {
            settle(&mut in_flight, load.in_flight - 1, &mut part)?;
        }
        in_flight.push_back((due, collection.send(write, load.ack)?));
    }
    settle(&mut in_flight, 0, &mut part)?;
    Ok(part)
}

/// Waits until no more than `left` writes are in flight.
fn settle(in_flight: &mut VecDeque<(Instant, Pending<WriteReport>)>, left: usize, part: &mut Part) -> Result<()> {
    while in_flight.len() > left {
        let (due, pending) = in_flight.pop_front().expect("there is more than is to be left");
        let (report, answered) = pending.wait_timed()?;
        part.rows += report.rows;
        part.replaced += report.replaced;
        part.latencies.record(answered.saturating_duration_since(due));
        part.last = part.last.max(answered);
    }
    Ok(())
}
