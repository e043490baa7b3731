//! Rows with the same vector do not hide each other: neither while the newer one waits to be indexed, nor while it is
//! being put into the graph, nor afterwards.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, UInt64Array};
use net::client::{Ack, Collection, CollectionOptions, Id, Queries, SearchRequest};
use tests::packages::{self, bytes_of, embeddings_of, packages};
use tests::server::Server;

const PACKAGES: usize = 2_000;
const TWINS: usize = 200;
const TWIN_FIRST: u64 = 1_000_000;
/// At which a graph of these packages leads to every one of them.
const EF: usize = 256;

/// Searches for a row's vector. Where the row or its twin is not found, the error holds what was.
fn finds_both(collection: &Collection, all: &RecordBatch, row: usize, ef: Option<usize>) -> Result<(), Vec<(Id, f32)>> {
    let query = bytes_of(&embeddings_of(&all.slice(row, 1)));
    let request =
        SearchRequest { queries: Queries::Bytes(&query), k: 20, ef, exact: ef.is_none(), ..Default::default() };
    let hits = collection.search(&request).expect("a good request").wait().expect("an answer").hits.remove(0);
    let is_there = |id: u64| hits.iter().any(|hit| hit.id == Id::U64(id));
    if is_there(row as u64) && is_there(TWIN_FIRST + row as u64) {
        return Ok(());
    }
    Err(hits.into_iter().map(|hit| (hit.id, hit.distance)).collect())
}

#[test]
fn equal_vectors_do_not_hide_each_other() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let schema = packages::schema();
    let collection =
        server.client().create_collection("twins", &schema, CollectionOptions::default()).expect("created");
    let all = packages(PACKAGES);
    for first in (0..PACKAGES).step_by(1_000) {
        collection.write(&all.slice(first, 1_000), Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    assert!(collection.wait_indexed(Duration::from_secs(60)).expect("an answer").done);
    let mut hidden = Vec::new();
    let rows: Vec<usize> = (0..TWINS).map(|index| index * (PACKAGES / TWINS)).collect();
    for &row in &rows {
        let twin = all.slice(row, 1);
        let mut columns = twin.columns().to_vec();
        columns[0] = Arc::new(UInt64Array::from(vec![TWIN_FIRST + row as u64]));
        let twin = RecordBatch::try_new(twin.schema(), columns).expect("columns of the schema");
        collection.write(&twin, Ack::Durable).expect("a good batch").wait().expect("it is written");
        for ef in [None, Some(EF)] {
            if let Err(found) = finds_both(&collection, &all, row, ef) {
                hidden.push(("soon", row, ef, found));
            }
        }
    }
    assert!(collection.wait_indexed(Duration::from_secs(60)).expect("an answer").done);
    for &row in &rows {
        for ef in [None, Some(EF)] {
            if let Err(found) = finds_both(&collection, &all, row, ef) {
                hidden.push(("indexed", row, ef, found));
            }
        }
    }
    server.stop();
    assert!(hidden.is_empty(), "{} searches missed a twin: {hidden:?}", hidden.len());
}
