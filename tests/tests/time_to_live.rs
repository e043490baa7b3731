//! Rows that live by a timestamp: they are gone for every reader the moment their time is over, durably soon after, and stay gone when the
//! clock of the system goes back. The clock is the test's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, UInt64Type};
use engine::clock::Clock;
use engine::schema::TTL_KEY;
use net::client::{Ack, Client, Collection, CollectionOptions, Ids, Missing, UpdateOptions, WriteMode};
use net::codec::Status;
use tests::rows::{search, vector_of};
use tests::server::{Server, options};

const DIMENSION: usize = 8;
const SHARDS: usize = 2;
const ROWS: u64 = 4_000;
/// Seconds that a row lives after its time.
const TTL_S: i64 = 60;
const MINUTE_MS: i64 = 60_000;

/// Times by id; none: for ever.
type Times = BTreeMap<u64, Option<i64>>;

fn schema() -> Schema {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let ttl = [(TTL_KEY.to_owned(), TTL_S.to_string())];
    let metric = [(engine::schema::METRIC_KEY.to_owned(), "l2".to_owned())];
    Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true).with_metadata(ttl),
        Field::new("vector", DataType::FixedSizeList(item, DIMENSION as i32), false).with_metadata(metric),
    ])
}

fn batch(rows: &Times) -> RecordBatch {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors: Vec<f32> = rows.keys().flat_map(|&id| vector_of(id, 0, DIMENSION)).collect();
    let vectors = FixedSizeListArray::new(item, DIMENSION as i32, Arc::new(Float32Array::from(vectors)), None);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.keys().copied().collect::<UInt64Array>()),
        Arc::new(rows.values().copied().collect::<TimestampMillisecondArray>()),
        Arc::new(vectors),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).expect("columns of the schema")
}

fn living(rows: &Times, now_ms: i64) -> BTreeSet<u64> {
    let lives = |time: &Option<i64>| time.is_none_or(|time| time + TTL_S * 1_000 > now_ms);
    rows.iter().filter(|(_, time)| lives(time)).map(|(&id, _)| id).collect()
}

fn start(directory: &Path, time: &Arc<AtomicI64>) -> (Server, Client) {
    let source = time.clone();
    let clock = Arc::new(Clock::of(move || source.load(Ordering::Relaxed)));
    let options = net::server::ServerOptions { clock, ..options(directory, SHARDS) };
    let server = Server::try_start(options).expect("the server starts");
    let client = server.client();
    (server, client)
}

fn ids_of(rows: &RecordBatch) -> Vec<u64> {
    rows["id"].as_primitive::<UInt64Type>().values().to_vec()
}

/// Every way to read sees those rows and no others.
fn check(collection: &Collection, expected: &BTreeSet<u64>, rows: &Times, what: &str) {
    let scanned: Vec<u64> =
        collection.scan(&["id"]).expect("a column").flat_map(|rows| ids_of(&rows.expect("rows"))).collect();
    assert_eq!(scanned.len(), expected.len(), "{what}: rows of a scan");
    assert_eq!(scanned.into_iter().collect::<BTreeSet<_>>(), *expected, "{what}: a scan");
    let filtered = collection.scan(&["id"]).expect("a column").with_filter(r#"{"column": "id", "<": 2000}"#);
    let filtered: BTreeSet<u64> = filtered.flat_map(|rows| ids_of(&rows.expect("rows"))).collect();
    assert_eq!(filtered, expected.range(..2_000).copied().collect(), "{what}: a scan with a filter");
    let asked: Vec<u64> = rows.keys().copied().step_by(7).collect();
    let found = ids_of(&collection.get(&Ids::U64(asked.clone()), &["id"]).expect("a column"));
    assert_eq!(found, asked.into_iter().filter(|id| expected.contains(id)).collect::<Vec<_>>(), "{what}: a get");
    for id in rows.keys().copied().step_by(331) {
        for ef in [None, Some(100)] {
            let hits = search(collection, &vector_of(id, 0, DIMENSION), 10, ef);
            assert_eq!(hits.len(), 10.min(expected.len()), "{what}: hits, ef {ef:?}");
            let of = |hit: &net::client::Hit| match hit.id {
                net::client::Id::U64(id) => id,
                _ => unreachable!("the ids are numbers"),
            };
            assert!(hits.iter().all(|hit| expected.contains(&of(hit))), "{what}: a search found a row that is gone");
            assert_eq!(of(&hits[0]) == id, expected.contains(&id), "{what}: the row itself, ef {ef:?}");
        }
    }
}

fn stored_rows(client: &Client) -> u64 {
    client.describe("rows").expect("it is there").rows
}

#[test]
fn rows_are_gone_when_their_time_is_over() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let time = Arc::new(AtomicI64::new(0));
    let (server, client) = start(directory.path(), &time);
    let collection = client.create_collection("rows", &schema(), CollectionOptions::default()).expect("a good schema");
    // One in ten lives for ever; of the others each has its own millisecond.
    let mut rows: Times = (0..ROWS).map(|id| (id, rows_time(id))).collect();
    collection.write(&batch(&rows), Ack::Durable).and_then(|pending| pending.wait()).expect("accepted");
    collection.wait_indexed(tests::PATIENCE).expect("an answer");
    check(&collection, &living(&rows, 0), &rows, "before any is over");
    // Seconds are whole: at 61.9 s a row of 0.9 s is there.
    for (now, told) in [(61_000, 61_000), (61_900, 61_000), (63_000, 63_000)] {
        time.store(now, Ordering::Relaxed);
        let expected = living(&rows, told);
        check(&collection, &expected, &rows, "at once");
        assert!(expected.len() as u64 <= stored_rows(&client));
        tests::wait_until("the sweep has deleted them", || stored_rows(&client) == expected.len() as u64);
        check(&collection, &expected, &rows, "after the sweep");
        time.store(0, Ordering::Relaxed);
        check(&collection, &expected, &rows, "the clock has gone back");
    }
    let now = MINUTE_MS + 3_000;
    time.store(now, Ordering::Relaxed);
    rows.retain(|id, _| living(&BTreeMap::from([(*id, rows_time(*id))]), now).contains(id));

    // A row whose time is over is not there for conditions; whether a sweep has met it makes no difference.
    let over: Times = [(1, Some(10)), (2, Some(11))].into();
    collection.write(&batch(&over), Ack::Durable).and_then(|pending| pending.wait()).expect("accepted");
    assert!(
        ids_of(&collection.get(&Ids::U64(vec![1, 2]), &["id"]).expect("a column")).is_empty(),
        "gone from the start"
    );
    let replaced = collection.write_with(&batch(&over), WriteMode::Replace, Ack::Durable);
    let error = replaced.and_then(|pending| pending.wait()).expect_err("it is gone");
    assert_eq!(error.status(), Some(Status::RowMissing), "{error}");
    let options = UpdateOptions { missing: Missing::Skip, ..UpdateOptions::default() };
    let report = collection.update(&batch(&over), &options, Ack::Durable).and_then(|pending| pending.wait()).unwrap();
    assert_eq!((report.rows, report.missing), (0, 2));
    let anew: Times = [(1, Some(now)), (2, None)].into();
    collection.write_with(&batch(&anew), WriteMode::Insert, Ack::Durable).and_then(|pending| pending.wait()).unwrap();
    rows.extend(anew);
    check(&collection, &living(&rows, now), &rows, "written anew");

    // Neither a start nor a clock that is behind brings anything back. What was written down last the clock is not behind.
    client.snapshot_all().expect("it is written");
    drop((collection, client));
    server.stop();
    time.store(0, Ordering::Relaxed);
    let (server, client) = start(directory.path(), &time);
    let collection = client.collection("rows").expect("it is there");
    check(&collection, &living(&rows, now), &rows, "after a start with a clock that is behind");
    let late: Times = [(9_001, Some(now - MINUTE_MS)), (9_002, Some(now - MINUTE_MS + 1))].into();
    collection.write(&batch(&late), Ack::Durable).and_then(|pending| pending.wait()).expect("accepted");
    rows.extend(late);
    check(&collection, &living(&rows, now), &rows, "the clock goes on from where it was");
    // Rows of a snapshot are known to be over, too.
    let now = now + MINUTE_MS;
    time.store(now, Ordering::Relaxed);
    check(&collection, &living(&rows, now), &rows, "at once, of rows that were loaded");
    time.store(i64::MAX / 2, Ordering::Relaxed);
    let for_ever: BTreeSet<u64> = rows.iter().filter(|row| row.1.is_none()).map(|row| *row.0).collect();
    check(&collection, &for_ever, &rows, "those without a time stay");
    tests::wait_until("the sweep has deleted them", || stored_rows(&client) == for_ever.len() as u64);
    server.stop();
}

/// Of most rows their own millisecond.
fn rows_time(id: u64) -> Option<i64> {
    (!id.is_multiple_of(10)).then_some(id as i64)
}
