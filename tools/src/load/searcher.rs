//! Searches beside a load of writes: one connection that asks at a fixed small rate.

use std::time::{Duration, Instant};

use net::client::Collection;

use super::feed::Pool;
use super::{Latencies, Schedule};
use crate::commands::search::{Options, Target, request};
use crate::error::Result;

/// Results of a query.
const K: usize = 10;
/// Steps between the rows of the pool that are the queries: coprime to most sizes, so that they are spread.
const STRIDE: usize = 7_919;

/// Asks from `start` on, until the load is over.
pub fn ask(
    collection: &Collection,
    target: &Target,
    pool: &Pool,
    rate: f64,
    start: Instant,
    is_over: impl Fn() -> bool,
) -> Result<Latencies> {
    let schedule = Schedule::new(start, Some(rate), 0, 1);
    let options = Options { k: K, ..Options::default() };
    let mut latencies = Latencies::new();
    for number in 0.. {
        let query = pool.vector(number * STRIDE % pool.rows());
        let due = schedule.wait(number as u64);
        if is_over() {
            break;
        }
        let (_, answered) = collection.search(&request(Some(target), &query, &options, &[]))?.wait_timed()?;
        latencies.record(answered.saturating_duration_since(due).max(Duration::from_nanos(1)));
    }
    Ok(latencies)
}
