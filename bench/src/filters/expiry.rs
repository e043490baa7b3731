//! What a time to live costs a search: while no row is expired, while a few are that no sweep has deleted, and while half of them are. Each beside
//! the same searches without a time to live, by turns.
//!
//! The clock goes on by itself, as a server's does: which rows are gone is found out anew each second.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use arrow::array::{ArrayRef, TimestampSecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, ToByteSlice};
use arrow::record_batch::RecordBatch;
use engine::clock::Clock;
use engine::collection::Collection;
use engine::schema::TTL_KEY;
use engine::search::{Scratch, SearchRequest, search};

use crate::graph::{K, Vectors};
use crate::kernels::thread_seconds;
use crate::report::{Figure, Goal, median};

const ROUNDS: usize = 9;
const EF: usize = 64;
/// From this second on one row in a thousand is expired, and from the other on every second one.
const FEW_S: i64 = 1_000;
const HALF_S: i64 = 1_000_000;
const FEW: u64 = 1_000;

/// The rows, with a time that each of them lives to.
pub fn with_times(rows: &RecordBatch) -> RecordBatch {
    let time = |row: u64| match row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 {
        number if number % FEW == 0 => FEW_S,
        number if number % 2 == 0 => HALF_S,
        _ => i64::MAX / 2,
    };
    let times: TimestampSecondArray = (0..rows.num_rows() as u64).map(time).collect::<Vec<_>>().into();
    let ttl = [(TTL_KEY.to_owned(), "0".to_owned())];
    let at = Field::new("at", DataType::Timestamp(TimeUnit::Second, None), false).with_metadata(ttl);
    let schema = rows.schema();
    let fields = schema.fields().iter().map(|field| field.as_ref().clone()).chain([at]);
    let columns = rows.columns().iter().cloned().chain([Arc::new(times) as ArrayRef]);
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns.collect()).expect("as many times")
}

/// A clock that goes on, and what it is set by.
pub fn clock() -> (Arc<Clock>, Arc<AtomicI64>) {
    let (base_s, began) = (Arc::new(AtomicI64::new(0)), Instant::now());
    let set = base_s.clone();
    let source = move || base_s.load(Ordering::Relaxed) * 1_000 + began.elapsed().as_millis() as i64;
    (Arc::new(Clock::of(source)), set)
}

/// Measures on a collection of [`with_times`] that goes by [`clock`].
pub fn measure(collection: &Arc<Collection>, queries: &Vectors, clock: &AtomicI64) -> Vec<Figure> {
    let mut scratch = Scratch::default();
    let mut figures = Vec::new();
    for (name, second) in [("none is", 0), ("0.1 % are", FEW_S), ("half are", HALF_S)] {
        clock.store(second, Ordering::Relaxed);
        let mut seconds = [Vec::new(), Vec::new()];
        for round in 0..2 * ROUNDS {
            let started = thread_seconds();
            for query in queries.iter() {
                let filter = if round % 2 == 0 { collection.living(None) } else { None };
                let queries = query.to_byte_slice().into();
                let filter = filter.map(Arc::new);
                let request = SearchRequest { queries, count: 1, k: K, ef: EF, filter, ..Default::default() };
                let found = search(collection, request, &mut scratch).expect("a good search");
                assert_eq!(found[0].len(), K);
            }
            seconds[round % 2].push(thread_seconds() - started);
        }
        let [with, without] = seconds.map(|seconds| queries.len() as f64 / median(seconds));
        let name = format!("time to live, {name} over: search, 1 thread, ef {EF}");
        let figure = Figure::new(name, with, "queries/s").beside("without", without);
        figures.push(if second == HALF_S { figure } else { figure.with_goal(Goal::RatioAtLeast(0.95)) });
    }
    figures
}
