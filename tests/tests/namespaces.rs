//! Tenants: what a namespace has and may have, on every shard, over every way to write, and after every kind of start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use engine::namespace::Quota;
use net::client::{Ack, Client, Collection, CollectionOptions, Ids, NamespaceInfo};
use net::codec::Status;
use tests::raw::Raw;
use tests::server::{Process, Server};

fn schema() -> Schema {
    Schema::new(vec![Field::new("id", DataType::UInt64, false), Field::new("version", DataType::Int64, true)])
}

fn batch(ids: impl IntoIterator<Item = u64>, version: i64) -> RecordBatch {
    let ids: UInt64Array = ids.into_iter().collect::<Vec<_>>().into();
    let versions: ArrayRef = Arc::new(Int64Array::from(vec![version; ids.len()]));
    RecordBatch::try_new(Arc::new(schema()), vec![Arc::new(ids), versions]).expect("columns of the schema")
}

fn create(client: &Client, name: &str) -> Collection {
    client.create_collection(name, &schema(), CollectionOptions::default()).expect("a good schema")
}

/// The status of a write, none where it was taken.
fn write(collection: &Collection, ids: impl IntoIterator<Item = u64>, version: i64) -> Option<Status> {
    let pending = collection.write(&batch(ids, version), Ack::Durable).expect("a good batch");
    pending.wait().err().map(|error| error.status().unwrap_or_else(|| panic!("{error}")))
}

fn delete(collection: &Collection, ids: impl IntoIterator<Item = u64>) {
    let ids = Ids::U64(ids.into_iter().collect());
    let report = collection.delete(&ids, Ack::Durable).expect("good ids").wait().expect("deletes go on");
    assert_eq!(report.deleted, ids.len() as u64);
}

fn info(client: &Client, name: &str) -> NamespaceInfo {
    let all = client.namespaces().expect("an answer");
    all.into_iter().find(|info| info.name == name).expect("it is there")
}

fn rows(quota: u64) -> Quota {
    Quota { rows: quota, ..Quota::default() }
}

#[test]
fn names_and_lists() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let refused = client.create_collection("acme/a", &schema(), CollectionOptions::default()).err();
    assert_eq!(refused.expect("no such namespace").status(), Some(Status::UnknownNamespace));
    client.create_namespace("acme", Quota::default()).expect("a new one");
    client.create_namespace("other", rows(7)).expect("a new one");
    let again = client.create_namespace("acme", rows(1)).expect_err("it is there");
    assert_eq!(again.status(), Some(Status::NamespaceExists));
    assert_eq!(info(&client, "acme").quota, Quota::default(), "what is refused changes nothing");
    for name in ["", "a/b", "a b"] {
        assert!(client.put_namespace(name, Quota::default()).is_err(), "{name:?}");
    }
    for name in ["acme/", "/a", "acme/a/b"] {
        assert!(client.create_collection(name, &schema(), CollectionOptions::default()).is_err(), "{name:?}");
    }
    let (first, second) = (create(&client, "acme/a"), create(&client, "acme/b"));
    let outside = create(&client, "a");
    for collection in [&first, &second, &outside] {
        assert_eq!(write(collection, 0..100, 1), None);
    }
    let acme = info(&client, "acme");
    assert_eq!((acme.collections, acme.rows, acme.refused), (2, 200, 0));
    assert!(acme.bytes > 0);
    assert_eq!(client.namespaces().expect("an answer").len(), 2);
    drop((first, second));

    client.drop_namespace("acme").expect("it is there");
    let gone = client.drop_namespace("acme").expect_err("it is gone");
    assert_eq!(gone.status(), Some(Status::UnknownNamespace));
    let left: Vec<String> = client.collections().expect("an answer").into_iter().map(|info| info.name).collect();
    assert_eq!(left, ["a"]);
    assert_eq!(client.describe("a").expect("it is there").rows, 100);
    server.stop();
    let server = Server::start(directory.path(), 1);
    let left = server.client().namespaces().expect("an answer");
    assert_eq!(left.iter().map(|info| (info.name.as_str(), info.quota.rows)).collect::<Vec<_>>(), [("other", 7)]);
    assert_eq!(server.client().collections().expect("an answer").len(), 1);
    server.stop();
}

#[test]
fn no_row_beyond_the_quota_and_all_else_goes_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut process = Process::start(directory.path(), 2);
    process.client().create_namespace("acme", rows(1_000)).expect("a new one");
    create(&process.client(), "acme/a");
    create(&process.client(), "acme/b");
    for round in 0..3 {
        let client = process.client();
        let (a, b) =
            (client.collection("acme/a").expect("it is there"), client.collection("acme/b").expect("so is it"));
        if round == 0 {
            assert_eq!(write(&a, 0..600, 1), None);
            assert_eq!(write(&b, 0..400, 1), None);
        }
        // Full: after the start too.
        assert_eq!(info(&client, "acme").rows, 1_000, "round {round}");
        for id in [5_000, 5_001, 5_002] {
            assert_eq!(write(&a, [id], 1), Some(Status::QuotaExceeded), "round {round}");
            assert_eq!(a.get(&Ids::U64(vec![id]), &[]).expect("reads go on").num_rows(), 0);
        }
        // What replaces rows is no more of them.
        assert_eq!(write(&a, 0..600, 2 + round), None, "round {round}");
        assert_eq!(info(&client, "acme").rows, 1_000);
        // Room that is made here can be used there.
        delete(&a, 0..10);
        assert_eq!(write(&b, 1_000..1_010, 1), None);
        assert_eq!(write(&b, [2_000], 1), Some(Status::QuotaExceeded));
        delete(&b, 1_000..1_010);
        assert_eq!(write(&a, 0..10, 1), None);
        // A client that knows nothing of shards.
        let message = engine::batch::encode(&batch([7_000], 1)).expect("encoded");
        for shard in 0..2 {
            let mut raw = Raw::greeted_by(process.address(), shard);
            let reply = raw.write(client.describe("acme/a").expect("it is there").id, a.fingerprint(), &message);
            reply.expect_refusal("one row more", Status::QuotaExceeded, &["`acme`", "1001 rows", "1000"]);
        }
        assert!(info(&client, "acme").refused >= 6, "{:?}", info(&client, "acme"));
        if round == 1 {
            client.snapshot_all().expect("it is written");
        }
        process.kill();
        process = Process::start(directory.path(), if round == 1 { 3 } else { 2 });
    }
    let client = process.client();
    client.put_namespace("acme", rows(1_001)).expect("it is there");
    let a = client.collection("acme/a").expect("it is there");
    assert_eq!(write(&a, [5_000], 1), None, "one row more is one row more");
    assert_eq!(write(&a, [5_001], 1), Some(Status::QuotaExceeded));
    client.put_namespace("acme", Quota::default()).expect("it is there");
    assert_eq!(write(&a, 6_000..9_000, 1), None);
}

/// Many write at once, over all shards and into several collections: never is there a row more than the quota, and in the end there is
/// none less.
#[test]
fn shards_do_not_give_the_same_room_away() {
    const QUOTA: u64 = 5_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 3);
    let client = server.client();
    client.create_namespace("acme", rows(QUOTA)).expect("a new one");
    let collections = ["acme/a", "acme/b"].map(|name| create(&client, name));
    let refused = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..6u64 {
            let (collections, refused, server) = (&collections, &refused, &server);
            scope.spawn(move || {
                let client = server.client();
                let collection = client.collection(collections[writer as usize % 2].name()).expect("it is there");
                for step in 0..60 {
                    let first = (writer * 60 + step) * 20;
                    // One row a write, so that none is taken in part.
                    let pending: Vec<_> = (first..first + 20)
                        .map(|id| collection.write(&batch([id], 1), Ack::Durable).expect("a good batch"))
                        .collect();
                    let ended = pending.into_iter().map(|pending| pending.wait());
                    let failed = ended.filter(|ended| {
                        let Err(error) = ended else { return false };
                        assert_eq!(error.status(), Some(Status::QuotaExceeded), "{error}");
                        true
                    });
                    refused.fetch_add(failed.count() as u64, Ordering::Relaxed);
                    assert!(info(&client, "acme").rows <= QUOTA);
                }
            });
        }
    });
    assert_eq!(info(&client, "acme").rows, QUOTA);
    assert_eq!(refused.into_inner(), 6 * 60 * 20 - QUOTA);
    server.stop();
}

#[test]
fn bytes_and_rates_are_held() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    client.create_namespace("acme", Quota { bytes: 200_000, ..Quota::default() }).expect("a new one");
    let collection = create(&client, "acme/a");
    assert_eq!(write(&collection, 0..3_000, 1), None);
    let mut id = 3_000;
    while write(&collection, id..id + 50, 1).is_none() {
        id += 50;
        assert!(id < 100_000, "the quota holds");
    }
    assert!(info(&client, "acme").bytes <= 200_000);
    assert!(id >= 5_000, "rows of 25 bytes");
    assert_eq!(write(&collection, id..id + 50, 1), Some(Status::QuotaExceeded));

    client.create_namespace("slow", Quota { rows_per_s: 1_000, ..Quota::default() }).expect("a new one");
    let slow = create(&client, "slow/a");
    let began = Instant::now();
    // A second's worth and more is taken at once, and then nothing for as long.
    let (mut taken, mut refused) = (0, 0);
    while began.elapsed() < Duration::from_millis(2_500) {
        match write(&slow, taken..taken + 100, 1) {
            None => taken += 100,
            Some(Status::Overloaded) => {
                refused += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            other => panic!("{other:?}"),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    assert!(refused > 0);
    // Each batch is taken by two shards in parts, and each part is held against the rate.
    let most = 1_000.0 * (seconds + 1.0) + 200.0;
    assert!((1_000.0..=most).contains(&(taken as f64)), "{taken} rows in {seconds} s");
    assert!(info(&client, "slow").refused > 0);
    server.stop();
}
