//! Whether what was acknowledged can be found: some rows are looked for the moment they are acknowledged, by a client of its own,
//! while the load goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use net::client::{Collection, Id, Ids};

use super::data::ROUND_NAME;
use super::feed::Pool;
use crate::commands::search::{Options, Target, request};
use crate::error::Result;

/// One sample in so many is searched for as well as read, by turns by scan and by the graph.
const SEARCH_EVERY: u64 = 5;
/// Results of such a search.
const K: usize = 10;
/// Distance of a vector from itself, at most: cosine is computed in f32.
const SELF_DISTANCE: f32 = 1e-3;
/// Samples that wait to be looked for.
const WAITING: usize = 2;

/// A row that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Its id.
    pub id: u64,
    /// Its round.
    pub round: u32,
    /// Place of its vector in the pool.
    pub row: usize,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Visibility {
    /// Rows that were read by id.
    pub reads: u64,
    /// Of them, those that were there.
    pub read: u64,
    /// Rows that were searched for.
    pub searches: u64,
    /// Of them, those that were found.
    pub found: u64,
}

impl Visibility {
    /// Share of the rows that were visible; none where nothing was looked for.
    pub fn share(&self) -> Option<f64> {
        let tried = self.reads + self.searches;
        (tried > 0).then(|| (self.read + self.found) as f64 / tried as f64)
    }
}

/// Where the connections hand in what they got acknowledged.
pub struct Sampling {
    sender: SyncSender<Sample>,
    start: Instant,
    interval: Duration,
    next_ns: AtomicU64,
}

impl Sampling {
    /// Takes so many samples a second at most.
    pub fn new(per_second: f64) -> (Sampling, Receiver<Sample>) {
        let (sender, receiver) = sync_channel(WAITING);
        let interval = Duration::from_secs_f64(1.0 / per_second);
        (Sampling { sender, start: Instant::now(), interval, next_ns: AtomicU64::new(0) }, receiver)
    }

    /// Offers a row; it is taken if it is time for one, and never waited for.
    pub fn offer(&self, sample: Sample) {
        let now = self.start.elapsed().as_nanos() as u64;
        let due = self.next_ns.load(Ordering::Relaxed);
        if now < due {
            return;
        }
        let next = now + self.interval.as_nanos() as u64;
        if self.next_ns.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // Full: the last ones are still being looked for, and the load does not wait for that.
            let _ = self.sender.try_send(sample);
        }
    }
}

/// Looks for the samples until the load ends.
pub fn look(collection: &Collection, target: &Target, pool: &Pool, samples: Receiver<Sample>) -> Result<Visibility> {
    let mut seen = Visibility::default();
    for sample in samples {
        seen.reads += 1;
        let rounds = collection.get(&Ids::U64(vec![sample.id]), &[ROUND_NAME])?;
        let round = rounds.column(0).as_primitive::<UInt32Type>().values().first().copied();
        seen.read += u64::from(round.is_some_and(|round| round >= sample.round));
        if seen.reads % SEARCH_EVERY == 1 && round == Some(sample.round) {
            let exact = seen.searches.is_multiple_of(2);
            seen.searches += 1;
            seen.found += u64::from(is_found(collection, target, &pool.vector(sample.row), sample, exact)?);
        }
    }
    Ok(seen)
}

fn is_found(collection: &Collection, target: &Target, vector: &[u8], sample: Sample, exact: bool) -> Result<bool> {
    let options = Options { k: K, exact, ..Options::default() };
    let reply = collection.search(&request(Some(target), vector, &options, &[]))?.wait()?;
    let hits = &reply.hits[0];
    if hits.iter().any(|hit| hit.id == Id::U64(sample.id)) {
        return Ok(true);
    }
    // Rows of the same vector crowd each other out. And a newer round of the row may have taken its place.
    let is_crowded = hits.len() == K && hits[K - 1].distance <= SELF_DISTANCE;
    let rounds = collection.get(&Ids::U64(vec![sample.id]), &[ROUND_NAME])?;
    let round = rounds.column(0).as_primitive::<UInt32Type>().values().first().copied();
    Ok(is_crowded || round.is_some_and(|round| round > sample.round))
}
