//! Writers that are held back or refused are told why: the memory budget, the limit on rows that wait for the indexer.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use engine::limits;
use engine::schema::ROLE_KEY;
use engine::shard::Pressure;
use net::client::{Ack, Client, Collection, CollectionOptions, Ids, TraverseRequest};
use net::codec::Status;
use net::server::ServerOptions;
use serde_json::Value;
use tests::rows::{Content, batch, check_searchable, content, create, schema};
use tests::server::{Server, options};
use tests::wait_until;

const DIMENSION: usize = 64;
const BATCH_ROWS: u64 = 1_000;

fn rows(first: u64) -> Vec<(u64, u64)> {
    (first..first + BATCH_ROWS).map(|id| (id, 1)).collect()
}

fn write(collection: &Collection, rows: &[(u64, u64)]) -> Result<Pressure, net::Error> {
    Ok(collection.write(&batch(rows, DIMENSION), Ack::Durable)?.wait()?.pressure)
}

/// A counter, summed over the shards.
fn counter(client: &Client, name: &str) -> u64 {
    let stats: Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    let shards = stats["shards"].as_array().expect("a list");
    shards.iter().map(|shard| shard[name].as_u64().expect("a number")).sum()
}

#[test]
fn writes_beyond_the_memory_budget_are_refused_and_leave_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let budget = ServerOptions { memory_budget: Some(48 << 20), ..options(directory.path(), 1) };
    let server = Server::try_start(budget).expect("the server starts");
    let client = server.client();
    let collection = create(&client, "rows", DIMENSION);
    let (mut expected, mut seen, mut first) = (Content::new(), Pressure::NONE, 0);
    let refused = loop {
        match write(&collection, &rows(first)) {
            Ok(pressure) => seen = seen | pressure,
            Err(error) => break error,
        }
        expected.extend(rows(first));
        first += BATCH_ROWS;
        assert!(first * DIMENSION as u64 * 4 < 48 << 20, "more was taken than the budget allows");
    };
    assert_eq!(refused.status(), Some(Status::MemoryBudget), "{refused}");
    assert!(!expected.is_empty() && seen.contains(Pressure::MEMORY), "no warning came: {seen:?}");
    assert_eq!(counter(&client, "refused_for_memory"), 1);

    // Everything else goes on.
    assert!(content(&collection) == expected, "what was refused left a trace");
    check_searchable(&collection, expected.iter().step_by(expected.len() / 5), DIMENSION);
    let gone: Vec<u64> = (0..100).collect();
    let deleted = collection.delete(&Ids::U64(gone.clone()), Ack::Durable).expect("good ids").wait();
    assert_eq!(deleted.expect("it is done").deleted, 100);
    expected.retain(|id, _| !gone.contains(id));
    assert!(content(&collection) == expected);

    // There is room again once a collection is gone.
    client.drop_collection("rows").expect("it is there");
    let other = create(&client, "other", DIMENSION);
    wait_until("writes are taken again", || write(&other, &rows(0)).is_ok());
    server.stop();
}

#[test]
fn a_walk_that_needs_more_memory_than_there_is_is_refused() {
    const EDGES: u64 = 200_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let schema = Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("from", DataType::UInt64, false).with_metadata([(ROLE_KEY, "edge_from")]),
        Field::new("to", DataType::UInt64, false).with_metadata([(ROLE_KEY, "edge_to")]),
    ]);
    let with_budget = |bytes: u64| {
        let budget = ServerOptions { memory_budget: Some(bytes), ..options(directory.path(), 1) };
        Server::try_start(budget).expect("the server starts")
    };
    let seeds = Ids::U64(vec![7]);
    let server = with_budget(64 << 20);
    let client = server.client();
    let edges = client.create_collection("edges", &schema, CollectionOptions::default()).expect("a good schema");
    let column = |of: fn(u64) -> u64| Arc::new(UInt64Array::from_iter_values((0..EDGES).map(of))) as ArrayRef;
    let columns = vec![column(|id| id), column(|id| id % 1_000), column(|id| id / 1_000)];
    let batch = RecordBatch::try_new(Arc::new(schema), columns).expect("columns of the schema");
    for first in (0..EDGES as usize).step_by(50_000) {
        let some = batch.slice(first, 50_000);
        edges.write(&some, Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    let in_use = || {
        let stats: Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
        stats["memory"]["in_use_bytes"].as_u64().expect("a number")
    };
    let rows_bytes = in_use();
    let walk = TraverseRequest::from(&seeds);
    let reached = edges.traverse(&walk).expect("a good request").wait().expect("an answer").nodes.len();
    assert!(reached > 0);
    let edge_bytes = (in_use() - rows_bytes) / EDGES;
    assert!((20..=limits::EDGE_BYTES).contains(&edge_bytes), "an edge takes {edge_bytes} bytes");
    server.stop();

    let server = with_budget(rows_bytes + EDGES * limits::EDGE_BYTES / 2);
    let edges = server.client().collection("edges").expect("it is there");
    let refused = edges.traverse(&walk).expect("a good request").wait().expect_err("there is not enough memory");
    assert_eq!(refused.status(), Some(Status::MemoryBudget), "{refused}");
    assert_eq!(edges.get(&Ids::U64(vec![1, 2]), &[]).expect("an answer").num_rows(), 2, "everything else goes on");
    server.stop();
}

#[test]
fn a_cache_that_is_not_used_goes_when_memory_is_short_and_nothing_else_does() {
    const OLD_BATCHES: u64 = 36;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let budget = ServerOptions { memory_budget: Some(64 << 20), ..options(directory.path(), 2) };
    let mut server = Server::try_start(budget).expect("the server starts");
    let client = server.client();
    let cache = |name: &str| {
        let options = CollectionOptions { evictable: true, ..CollectionOptions::default() };
        client.create_collection(name, &schema(DIMENSION), options).expect("a good schema")
    };
    let kept = create(&client, "kept", DIMENSION);
    write(&kept, &rows(0)).expect("it is written");
    let (old, used, new) = (cache("old"), cache("used"), cache("new"));
    // More than the tenth of the budget that is to come free.
    (0..OLD_BATCHES).for_each(|number| assert!(write(&old, &rows(number * BATCH_ROWS)).is_ok()));
    write(&used, &rows(0)).expect("it is written");
    let evicted = || -> (u64, u64) {
        let stats: Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
        let figure = |name: &str| stats["evictions"][name].as_u64().expect("a number");
        (figure("evicted_collections"), figure("evicted_rows"))
    };
    assert_eq!(evicted(), (0, 0));
    let names = |client: &Client| -> Vec<String> {
        client.collections().expect("an answer").into_iter().map(|info| info.name).collect()
    };
    let mut first = 0;
    wait_until("memory is short, and one goes", || {
        // A cache that is read from is used.
        assert_eq!(used.get(&Ids::U64(vec![1]), &["id"]).expect("it is there").num_rows(), 1);
        // Refused for as long as memory is short: that is told, and passes.
        match write(&new, &rows(first)) {
            Ok(_) => first += BATCH_ROWS,
            Err(error) => assert_eq!(error.status(), Some(Status::MemoryBudget), "{error}"),
        }
        evicted().0 > 0
    });
    assert_eq!(
        (names(&client), evicted()),
        (["kept", "used", "new"].map(str::to_owned).to_vec(), (1, OLD_BATCHES * BATCH_ROWS))
    );
    let gone = write(&old, &rows(0)).expect_err("it is gone");
    assert_eq!(gone.status(), Some(Status::UnknownCollection), "{gone}");
    server.stop();
    // What was evicted does not come back, and what may be evicted is remembered.
    server = Server::start(directory.path(), 2);
    let client = server.client();
    assert_eq!(names(&client), ["kept", "used", "new"]);
    let stats: Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    let evictable: Vec<bool> =
        stats["collections"].as_array().expect("a list").iter().map(|each| each["evictable"] == true).collect();
    assert_eq!(evictable, [false, true, true]);
    server.stop();
}

#[test]
fn writers_are_slowed_down_to_the_indexer_and_told_so() {
    const LAG_MAX: u64 = 2_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let limited = ServerOptions { index_lag_max: Some(LAG_MAX), ..options(directory.path(), 2) };
    let server = Server::try_start(limited).expect("the server starts");
    let client = server.client();
    let collection = create(&client, "rows", DIMENSION);
    let mut expected = Content::new();
    for number in 0..12 {
        let rows = rows(number * BATCH_ROWS);
        write(&collection, &rows).expect("it is written");
        expected.extend(rows);
        let status = collection.index_status().expect("an answer");
        let lag = status.rows - status.indexed;
        assert!(lag <= LAG_MAX + BATCH_ROWS, "{lag} rows wait for the indexer after batch {number}");
    }
    let held = |wanted| client.held_writes().into_iter().find(|(reason, _)| *reason == wanted).map(|held| held.1);
    assert!(held(Pressure::INDEX_LAG) >= Some(1), "{:?}", client.held_writes());
    assert!(counter(&client, "held_index_lag_us") > 0);
    // Deletes take no part in it.
    let deleted = collection.delete(&Ids::U64(vec![5]), Ack::Durable).expect("good ids").wait().expect("it is done");
    assert_eq!((deleted.deleted, deleted.pressure.contains(Pressure::INDEX_LAG)), (1, false));
    expected.remove(&5);
    assert!(content(&collection) == expected);
    server.stop();
}

#[test]
fn a_writer_that_nothing_holds_back_is_told_of_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let collection = create(&server.client(), "rows", DIMENSION);
    // The very first segment of the log may have to be waited for.
    write(&collection, &rows(0)).expect("it is written");
    assert_eq!(write(&collection, &rows(0)).expect("it is written"), Pressure::NONE);
    server.stop();
}
