//! Real packages from a client to the disk and back as answers: import, search, get, scan, replace, delete, drop.

use std::collections::HashSet;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt64Type};
use net::client::{Ack, Collection, CollectionOptions, Id, Ids, Queries, SearchReply, SearchRequest};
use net::codec::Status;
use tests::packages::{self, DIMENSION, Truth, bytes_of, embeddings_of, packages, truth};
use tests::rows;
use tests::server::Server;
use tests::wait_until;

const PACKAGES: usize = 10_000;
const BATCH_ROWS: usize = 1_000;
/// Cosines of equal vectors differ by no more, whoever computes them.
const COSINE_ERROR: f32 = 1e-4;

#[test]
fn packages_are_imported_found_replaced_and_deleted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let collection =
        client.create_collection("packages", &packages::schema(), CollectionOptions::default()).expect("a good schema");
    let all = packages(PACKAGES);
    import(&collection, &all);
    assert_eq!(client.describe("packages").expect("it is there").rows, PACKAGES as u64);
    rows_find_themselves(&collection, &all);

    let status = collection.wait_indexed(Duration::from_secs(60)).expect("an answer");
    assert!(status.done, "the index is not done after a minute: {status:?}");
    assert_eq!((status.rows, status.indexed), (PACKAGES as u64, PACKAGES as u64));
    rows_find_themselves(&collection, &all);
    recall_is_good(&collection, &truth());
    ids_bring_rows(&collection, &all);
    a_scan_brings_every_row_once(&collection, &all);
    a_replaced_row_is_another(&collection, &all);
    deleted_rows_are_gone(&collection, &all);

    let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    let of_packages = &stats["collections"][0];
    assert_eq!(of_packages["name"], "packages");
    assert_eq!(of_packages["rows"], PACKAGES as u64 - 100);
    assert_eq!(stats["shards"].as_array().map(Vec::len), Some(2));
    let written: u64 =
        stats["shards"].as_array().into_iter().flatten().filter_map(|s| s["rows_written"].as_u64()).sum();
    assert_eq!(written, PACKAGES as u64 + 1);

    let listed = client.collections().expect("an answer");
    assert_eq!(listed.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["packages"]);
    client.drop_collection("packages").expect("it is there");
    assert!(client.collections().expect("an answer").is_empty());
    let gone = client.describe("packages").expect_err("it was dropped");
    assert_eq!(gone.status(), Some(Status::UnknownCollection));
    let gone = collection.get(&Ids::U64(vec![1]), &[]).expect_err("it was dropped");
    assert_eq!(gone.status(), Some(Status::UnknownCollection));
    server.stop();
}

fn import(collection: &Collection, all: &RecordBatch) {
    let mut pending = Vec::new();
    for start in (0..all.num_rows()).step_by(BATCH_ROWS) {
        let batch = all.slice(start, BATCH_ROWS.min(all.num_rows() - start));
        pending.push(collection.write(&batch, Ack::Durable).expect("a good batch"));
    }
    let reports = pending.into_iter().map(|pending| pending.wait().expect("it is written"));
    let (rows, inserted) = reports.fold((0, 0), |sum, report| (sum.0 + report.rows, sum.1 + report.inserted));
    assert_eq!((rows, inserted), (all.num_rows() as u64, all.num_rows() as u64));
}

fn nearest(collection: &Collection, query: &[u8], k: usize, ef: Option<usize>) -> SearchReply {
    let queries = Queries::Bytes(query);
    let request = SearchRequest { queries, k, ef, exact: ef.is_none(), columns: &["name"], ..Default::default() };
    collection.search(&request).expect("a good request").wait().expect("an answer")
}

fn id_of(id: &Id) -> u64 {
    match id {
        Id::U64(id) => *id,
        Id::I64(_) | Id::Utf8(_) => panic!("the ids are u64"),
    }
}

/// Every row is found by its own vector: by exact scan, and by the graph, at an `ef` that leads to all of these packages (at 64
/// it misses 1 to 10 of the 10,000, whoever builds it).
fn rows_find_themselves(collection: &Collection, all: &RecordBatch) {
    let names = all["name"].as_string::<i32>();
    for row in (0..all.num_rows()).step_by(97) {
        let query = bytes_of(&embeddings_of(&all.slice(row, 1)));
        for ef in [None, Some(256)] {
            let reply = nearest(collection, &query, 20, ef);
            let place = reply.hits[0].iter().position(|hit| id_of(&hit.id) == row as u64);
            let place = place.unwrap_or_else(|| panic!("row {row} does not find itself, ef {ef:?}"));
            let distance = reply.hits[0][place].distance;
            assert!(distance.abs() < COSINE_ERROR, "row {row} is {distance} away from itself");
            let name =
                reply.columns.expect("a column was asked for")["name"].as_string::<i32>().value(place).to_owned();
            assert_eq!(name, names.value(row));
        }
    }
}

fn recall_is_good(collection: &Collection, truth: &Truth) {
    const K: usize = 10;
    for (ef, least) in [(None, 1.0), (Some(64), 0.95)] {
        let mut found = 0;
        for (query, (neighbors, cosines)) in truth.queries.iter().zip(truth.neighbors.iter().zip(&truth.cosines)) {
            let reply = nearest(collection, &bytes_of(query), K, ef);
            let distances = reply.hits[0].iter().map(|hit| hit.distance);
            assert!(distances.clone().is_sorted(), "the nearest come first");
            // Packages with the same text are equally near: any of them counts.
            let farthest = 1.0 - cosines[K - 1] + COSINE_ERROR;
            let is_true = |id: u64, distance: f32| neighbors[..K].contains(&id) || distance <= farthest;
            found += reply.hits[0].iter().filter(|hit| is_true(id_of(&hit.id), hit.distance)).count();
        }
        let recall = found as f64 / (K * truth.queries.len()) as f64;
        println!("recall@{K} at ef {ef:?}: {recall:.4}");
        assert!(recall >= least, "recall@{K} at ef {ef:?} is {recall}");
    }
}

fn ids_bring_rows(collection: &Collection, all: &RecordBatch) {
    let wanted = vec![17, 4_242, 1_000_000, 0, 9_999];
    let rows = collection.get(&Ids::U64(wanted), &[]).expect("an answer");
    assert_eq!(rows["id"].as_primitive::<UInt64Type>().values()[..], [17, 4_242, 0, 9_999]);
    for (place, id) in [17, 4_242, 0, 9_999].into_iter().enumerate() {
        assert_same_row(&rows.slice(place, 1), &all.slice(id, 1));
    }
    let titles = collection.get(&Ids::U64(vec![5]), &["title", "id"]).expect("an answer");
    assert_eq!(titles.num_columns(), 2);
    assert_eq!(titles.column(0).as_string::<i32>().value(0), all["title"].as_string::<i32>().value(5));
    let none = collection.get(&Ids::U64(vec![1_000_000]), &[]).expect("an answer");
    assert_eq!(none.num_rows(), 0);
}

fn assert_same_row(found: &RecordBatch, expected: &RecordBatch) {
    for text in ["name", "title"] {
        assert_eq!(found[text].as_string::<i32>().value(0), expected[text].as_string::<i32>().value(0));
    }
    let number = |rows: &RecordBatch| rows["installed_kib"].as_primitive::<Int64Type>().iter().next();
    assert_eq!(number(found), number(expected));
    assert_eq!(embeddings_of(found), embeddings_of(expected));
}

fn a_scan_brings_every_row_once(collection: &Collection, all: &RecordBatch) {
    let mut seen = HashSet::new();
    for rows in collection.scan(&[]).expect("all columns").with_batch_rows(777) {
        let rows = rows.expect("an answer");
        assert!(rows.num_rows() <= 777);
        for row in 0..rows.num_rows() {
            let id = rows["id"].as_primitive::<UInt64Type>().value(row);
            assert!(seen.insert(id), "id {id} came twice");
            assert_same_row(&rows.slice(row, 1), &all.slice(id as usize, 1));
        }
    }
    assert_eq!(seen.len(), all.num_rows());
}

/// Package 5 gets the content of package 6.
fn a_replaced_row_is_another(collection: &Collection, all: &RecordBatch) {
    let other = all.slice(6, 1);
    let mut columns = other.columns().to_vec();
    columns[0] = all["id"].slice(5, 1);
    let batch = RecordBatch::try_new(other.schema(), columns).expect("columns of the schema");
    let report = collection.write(&batch, Ack::Durable).expect("a good batch").wait().expect("it is written");
    assert_eq!((report.rows, report.inserted, report.replaced), (1, 0, 1));
    let rows = collection.get(&Ids::U64(vec![5]), &[]).expect("an answer");
    assert_same_row(&rows, &other);
    for ef in [None, Some(256)] {
        let of_six = nearest(collection, &bytes_of(&embeddings_of(&other)), 10, ef);
        let ids: Vec<u64> = of_six.hits[0].iter().map(|hit| id_of(&hit.id)).collect();
        assert!(ids.contains(&5) && ids.contains(&6), "both are nearest now, ef {ef:?}, found: {ids:?}");
        let of_five = nearest(collection, &bytes_of(&embeddings_of(&all.slice(5, 1))), 20, ef);
        let stale = of_five.hits[0].iter().find(|hit| id_of(&hit.id) == 5 && hit.distance < COSINE_ERROR);
        assert_eq!(stale, None, "the old vector of 5 is found, ef {ef:?}");
    }
}

fn deleted_rows_are_gone(collection: &Collection, all: &RecordBatch) {
    let ids: Vec<u64> = (1_000..1_100).collect();
    let with_strangers = Ids::U64(ids.iter().copied().chain([77_777_777, 88_888_888]).collect());
    let report = collection.delete(&with_strangers, Ack::Durable).expect("good ids").wait().expect("it is done");
    assert_eq!(report.deleted, 100);
    let again = collection.delete(&Ids::U64(ids.clone()), Ack::Durable).expect("good ids").wait().expect("it is done");
    assert_eq!(again.deleted, 0);
    assert_eq!(collection.get(&Ids::U64(ids.clone()), &["id"]).expect("an answer").num_rows(), 0);
    for row in (1_000..1_100).step_by(9) {
        let query = bytes_of(&embeddings_of(&all.slice(row, 1)));
        for ef in [None, Some(64)] {
            let hits = &nearest(collection, &query, 20, ef).hits[0];
            assert_eq!(hits.len(), 20);
            let dead = hits.iter().find(|hit| ids.contains(&id_of(&hit.id)));
            assert_eq!(dead, None, "a deleted row is found, ef {ef:?}");
        }
    }
    assert_eq!(embeddings_of(&all.slice(0, 1)).len(), DIMENSION);
}

/// What is acknowledged from memory becomes visible soon, and is on disk after an orderly stop.
#[test]
fn writes_acknowledged_from_memory_arrive() {
    const ROWS: u64 = 5_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let collection = rows::create(&client, "quick", 8);
    for start in (0..ROWS).step_by(50) {
        let batch: Vec<(u64, u64)> = (start..start + 50).map(|id| (id, 1)).collect();
        let report = collection.write(&rows::batch(&batch, 8), Ack::Memory).expect("a good batch").wait();
        assert_eq!(report.expect("it is accepted").rows, 50);
    }
    wait_until("all rows are visible", || client.describe("quick").expect("it is there").rows == ROWS);
    let expected = rows::content(&collection);
    assert_eq!(expected.len() as u64, ROWS);
    drop((client, collection));
    server.stop();
    let server = Server::start(directory.path(), 2);
    let collection = server.client().collection("quick").expect("it is there");
    assert_eq!(rows::content(&collection), expected);
    server.stop();
}
