//! Load of searches, one query a request.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use net::client::{Client, Collection, Id, Pending, SearchReply};

use super::{Latencies, Schedule};
use crate::cli::Remote;
use crate::commands::search::{Options, Target, request};
use crate::error::Result;

/// Queries that each connection asks before the clock starts.
const WARM_UP: usize = 50;
/// Time between the end of the preparations and the first request.
const LEAD: Duration = Duration::from_millis(20);

/// What is to be done.
pub struct Search<'a> {
    /// Collection to search.
    pub collection: &'a str,
    /// Its vector column.
    pub target: &'a Target,
    /// Queries in the column's representation, one after the other.
    pub queries: &'a [u8],
    /// Bytes of one query.
    pub query_bytes: usize,
    /// k, ef, exact.
    pub options: &'a Options,
    /// How long.
    pub time: Duration,
    /// Connections (each to every shard).
    pub connections: usize,
    /// Searches in flight on each connection.
    pub in_flight: usize,
    /// Queries a second over all connections; none: as many as there is room for.
    pub rate: Option<f64>,
}

/// What came of it.
pub struct Searched {
    /// Queries answered.
    pub queries: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Latency of each query.
    pub latencies: Latencies,
    /// First answer to each query that was asked, by its number.
    pub answers: Vec<Option<SearchReply>>,
}

impl Searched {
    /// Ids that were found for a query when it was first asked.
    pub fn found(&self, query: usize) -> Vec<Id> {
        let hits = self.answers[query].as_ref().and_then(|reply| reply.hits.first());
        hits.map(|hits| hits.iter().map(|hit| hit.id.clone()).collect()).unwrap_or_default()
    }
}

/// Searches until the time is over, and until each query was asked once.
pub fn search(remote: &Remote, load: &Search<'_>) -> Result<Searched> {
    assert!(load.query_bytes > 0 && load.queries.len().is_multiple_of(load.query_bytes), "whole queries");
    let barrier = Barrier::new(load.connections);
    let mut results = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..load.connections)
            .map(|connection| {
                let barrier = &barrier;
                scope.spawn(move || run(remote, load, connection, barrier))
            })
            .collect();
        results.extend(workers.into_iter().map(|worker| worker.join().expect("a connection does not panic")));
    });
    let queries = load.queries.len() / load.query_bytes;
    let mut total = Searched { queries: 0, seconds: 0.0, latencies: Latencies::new(), answers: vec![None; queries] };
    let (mut first, mut last) = (None::<Instant>, None::<Instant>);
    for result in results {
        let part = result?;
        total.queries += part.latencies.count();
        total.latencies.merge(&part.latencies);
        part.answers.into_iter().for_each(|(query, reply)| total.answers[query] = Some(reply));
        first = Some(first.map_or(part.first, |first| first.min(part.first)));
        last = Some(last.map_or(part.last, |last| last.max(part.last)));
    }
    if let (Some(first), Some(last)) = (first, last) {
        total.seconds = last.duration_since(first).as_secs_f64();
    }
    Ok(total)
}

/// What one connection did.
struct Part {
    first: Instant,
    last: Instant,
    latencies: Latencies,
    answers: Vec<(usize, SearchReply)>,
}

/// A search on its way: when it was due, its query, whether its answer is kept.
type InFlight = (Instant, usize, bool, Pending<SearchReply>);

fn run(remote: &Remote, load: &Search<'_>, connection: usize, barrier: &Barrier) -> Result<Part> {
    let count = load.queries.len() / load.query_bytes;
    let query = |index: usize| &load.queries[index * load.query_bytes..(index + 1) * load.query_bytes];
    let ready = warm_up(remote, load);
    // Every connection comes here, whether or not its preparations failed: the others wait for it.
    barrier.wait();
    let (_client, collection) = ready?;
    let start = Instant::now() + LEAD;
    super::until(start);
    let schedule = Schedule::new(start, load.rate, connection, load.connections);
    let mut part = Part { first: start, last: start, latencies: Latencies::new(), answers: Vec::new() };
    let mut in_flight: VecDeque<InFlight> = VecDeque::new();
    // Each connection begins with its own share, so that together they ask every query once before any is asked again.
    let own = (connection..count).step_by(load.connections);
    let kept = own.len();
    for (index, place) in own.chain((0..count).cycle()).enumerate() {
        if matches!(schedule, Schedule::Closed) {
            settle(&mut in_flight, load.in_flight - 1, &mut part)?;
        }
        let due = schedule.wait(index as u64);
        if index >= kept && due >= start + load.time {
            break;
        }
        settle(&mut in_flight, load.in_flight - 1, &mut part)?;
        in_flight.push_back((
            due,
            place,
            index < kept,
            collection.search(&request(Some(load.target), query(place), load.options, &[]))?,
        ));
    }
    settle(&mut in_flight, 0, &mut part)?;
    Ok(part)
}

/// Connects and asks some queries.
fn warm_up(remote: &Remote, load: &Search<'_>) -> Result<(Client, Collection)> {
    let client = remote.connect()?;
    let collection = client.collection(load.collection)?;
    for query in load.queries.chunks(load.query_bytes).cycle().take(WARM_UP) {
        collection.search(&request(Some(load.target), query, load.options, &[]))?.wait()?;
    }
    Ok((client, collection))
}

/// Waits until no more than `left` searches are in flight.
fn settle(in_flight: &mut VecDeque<InFlight>, left: usize, part: &mut Part) -> Result<()> {
    while in_flight.len() > left {
        let (due, place, keep, pending) = in_flight.pop_front().expect("there is more than is to be left");
        let (reply, answered) = pending.wait_timed()?;
        part.latencies.record(answered.saturating_duration_since(due));
        part.last = part.last.max(answered);
        if keep {
            part.answers.push((place, reply));
        }
    }
    Ok(())
}
