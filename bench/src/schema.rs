//! What it costs a batch that its schema is known: the fingerprint in its header is compared with those of the collection.
//!
//! - the newest version, which nearly all batches are of, and the oldest of as many as there can be;
//! - beside reading a schema message, which a batch would have to bring along otherwise.
//!
//! Every answer is the version that was asked for.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use engine::limits::SCHEMA_VERSIONS_MAX;
use engine::schema::Schema;

use crate::report::{Figure, Goal, median};

/// Batches of a round.
const CALLS: usize = 10_000;
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 3;
/// Nanoseconds that the check may take a batch.
const KNOWN_NS_MAX: f64 = 100.0;

/// Measures it; `quick` is a smoke test.
pub fn run(quick: bool) -> Vec<Figure> {
    let rounds = if quick { QUICK_ROUNDS } else { ROUNDS };
    let newest = versions();
    let oldest = newest.first_version().clone();
    let known = |schema: &Arc<Schema>| {
        let fingerprint = schema.fingerprint();
        let found = newest.version(fingerprint).expect("a version of it");
        assert_eq!(found.columns().len(), schema.columns().len());
        nanoseconds(rounds, CALLS, || newest.version(black_box(fingerprint)).map(|found| found.columns().len()))
    };
    let message = oldest.to_bytes();
    let read = nanoseconds(rounds, CALLS / 100, || {
        Schema::from_bytes(black_box(&message)).map(|schema| schema.columns().len())
    });
    let figure = |name: String, value| {
        Figure::new(name, value, "ns").beside("reading a schema message", read).with_goal(Goal::AtMost(KNOWN_NS_MAX))
    };
    vec![
        figure("known schema, newest version".into(), known(&newest)),
        figure(format!("known schema, oldest of {SCHEMA_VERSIONS_MAX} versions"), known(&oldest)),
    ]
}

/// As many versions as there can be, each with a column more.
fn versions() -> Arc<Schema> {
    let item = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, true)), 384);
    let mut fields = vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("embedding", item, false),
    ];
    let read = |fields: &[Field]| Schema::from_arrow(&ArrowSchema::new(fields.to_vec())).expect("a good schema");
    let mut newest = Arc::new(read(&fields));
    for number in 1..SCHEMA_VERSIONS_MAX {
        fields.push(Field::new(format!("column-{number}"), DataType::Int64, true));
        newest = Arc::new(newest.extended(read(&fields)).expect("a column more"));
    }
    newest
}

/// Nanoseconds of a call, the median of rounds.
fn nanoseconds<T>(rounds: usize, calls: usize, call: impl Fn() -> T) -> f64 {
    let round = |_| {
        let began = Instant::now();
        (0..calls).for_each(|_| _ = black_box(call()));
        began.elapsed().as_nanos() as f64 / calls as f64
    };
    median((0..rounds).map(round).collect())
}
