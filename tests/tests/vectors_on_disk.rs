//! A collection that keeps its full vectors on disk answers as one that keeps them in memory, and takes less of it.

use std::collections::HashMap;
use std::time::Duration;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Schema;
use net::client::{Ack, Client, Collection, CollectionOptions, Ids, Queries, SearchRequest};
use serde_json::Value;
use tests::packages;
use tests::recall::{K, recall, recall_from};
use tests::server::{Process, Server};
use tests::{wait_longer, wait_refined};

const ROWS: usize = 10_000;
const EF: usize = 64;
const CHUNK_ROWS: usize = 4_096;
const VECTOR_BYTES: usize = 2 * packages::DIMENSION;

fn on_disk() -> Schema {
    packages::schema_with(&[("broadhead.vectors", "disk")])
}

fn write(collection: &Collection, rows: &RecordBatch) {
    for first in (0..rows.num_rows()).step_by(1_000) {
        let some = rows.slice(first, 1_000.min(rows.num_rows() - first));
        collection.write(&some, Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    assert!(collection.wait_indexed(Duration::from_secs(120)).expect("an answer").done);
}

/// What STATS says of a collection.
fn stats(client: &Client, name: &str) -> Value {
    let stats: Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    let collections = stats["collections"].as_array().expect("a list");
    collections.iter().find(|collection| collection["name"] == name).expect("it is there").clone()
}

fn bytes_on_disk(client: &Client, name: &str) -> u64 {
    stats(client, name)["vector_bytes_on_disk"].as_u64().expect("a number")
}

/// Waits until so many chunks are on disk.
fn wait_moved(client: &Client, name: &str, chunks: usize) {
    let bytes = (chunks * CHUNK_ROWS * VECTOR_BYTES) as u64;
    wait_longer("the vectors are on disk", || bytes_on_disk(client, name) == bytes);
}

/// Ids and distances of all queries.
fn answers(collection: &Collection, exact: bool) -> Vec<Vec<(String, f32)>> {
    let bytes = packages::bytes_of(&packages::truth().queries[..50].concat());
    let request = SearchRequest { queries: Queries::Bytes(&bytes), k: K, ef: Some(EF), exact, ..Default::default() };
    let reply = collection.search(&request).expect("a good request").wait().expect("an answer");
    let of_query =
        |hits: &Vec<net::client::Hit>| hits.iter().map(|hit| (format!("{:?}", hit.id), hit.distance)).collect();
    reply.hits.iter().map(of_query).collect()
}

#[test]
fn searches_find_what_they_find_in_memory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let rows = packages::packages(ROWS);
    let memory = client.create_collection("memory", &packages::schema(), CollectionOptions::default()).expect("good");
    let disk = client.create_collection("disk", &on_disk(), CollectionOptions::default()).expect("a good schema");
    write(&memory, &rows);
    write(&disk, &rows);
    // Of 5,000 rows a shard, about, one chunk is full.
    wait_moved(&client, "disk", 2);
    wait_refined(&client);
    assert_eq!(bytes_on_disk(&client, "memory"), 0);
    let committed = |name: &str| stats(&client, name)["bytes_committed"].as_u64().expect("a number");
    let saved = committed("memory") - committed("disk");
    assert!(saved >= (2 * CHUNK_ROWS * VECTOR_BYTES) as u64 * 9 / 10, "{saved} bytes saved");

    let (near, far) = (recall(&memory, EF), recall(&disk, EF));
    println!("recall@{K} {near:.4} in memory, {far:.4} on disk");
    assert!(far > near - 0.01 && far > 0.95, "recall {far} on disk, {near} in memory");
    assert_eq!(recall_from(&disk, EF, 1, 0), far, "alone as in a batch");
    assert_eq!(answers(&disk, true), answers(&memory, true), "an exact answer is one");
    // Distances are those of the full vectors, wherever these are.
    let exact: HashMap<String, f32> = answers(&memory, true).concat().into_iter().collect();
    for (found, true_ones) in answers(&disk, false).iter().zip(answers(&memory, true)) {
        for hit in found.iter().filter(|hit| exact.contains_key(&hit.0)) {
            if let Some(true_one) = true_ones.iter().find(|other| other.0 == hit.0) {
                assert_eq!(true_one.1, hit.1, "{}", hit.0);
            }
        }
    }
    let ids = Ids::U64((0..ROWS as u64).step_by(97).collect());
    let got =
        |collection: &Collection| collection.get(&ids, &["embedding"]).expect("rows that there are").columns().to_vec();
    assert_eq!(got(&disk), got(&memory));
    server.stop();
}

#[test]
fn chunks_of_dead_rows_come_back_to_memory_and_leave_it_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 1);
    let client = server.client();
    let rows = packages::packages(ROWS);
    let collection = client.create_collection("c", &on_disk(), CollectionOptions::default()).expect("a good schema");
    write(&collection, &rows);
    wait_moved(&client, "c", 2);
    let fresh = recall(&collection, EF);
    for turn in 0..2 {
        // Other vectors under the same ids for a while: what is read from the file must be what was written last.
        let shift = UInt64Array::from_iter_values((0..ROWS as u64).map(|row| (row + 1 + turn) % ROWS as u64));
        let shifted = take_record_batch(&rows, &shift).expect("rows that there are");
        let columns = rows.columns().iter().zip(shifted.columns()).enumerate();
        let mixed = columns.map(|(at, (own, other))| if at == 0 { own.clone() } else { other.clone() }).collect();
        write(&collection, &RecordBatch::try_new(rows.schema(), mixed).expect("columns of the schema"));
        write(&collection, &rows);
    }
    wait_longer("dead rows have gone", || {
        bytes_on_disk(&client, "c") <= (3 * CHUNK_ROWS * VECTOR_BYTES) as u64 && bytes_on_disk(&client, "c") > 0
    });
    let worn = recall(&collection, EF);
    assert!(worn > fresh - 0.02, "recall {worn}, {fresh} before");
    let got = collection.get(&Ids::U64((0..ROWS as u64).collect()), &["embedding"]).expect("rows that there are");
    assert_eq!(got.column(0), rows.column_by_name("embedding").expect("it is there"));
    server.stop();
}

#[test]
fn a_kill_loses_nothing_and_vectors_leave_memory_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let rows = packages::packages(ROWS);
    let server = Process::start(directory.path(), 1);
    let client = server.client();
    let collection = client.create_collection("c", &on_disk(), CollectionOptions::default()).expect("a good schema");
    write(&collection, &rows);
    wait_moved(&client, "c", 2);
    client.snapshot_all().expect("it is written");
    let before = answers(&collection, true);
    server.kill();
    let server = Process::start(directory.path(), 1);
    let client = server.client();
    let collection = client.collection("c").expect("it is there");
    wait_moved(&client, "c", 2);
    assert_eq!(answers(&collection, true), before);
    assert!(recall(&collection, EF) > 0.95);
}
