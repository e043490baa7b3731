//! Batches of queries spread over the shards: the answers are those of single queries, whoever searches for them, and whoever goes
//! away meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use net::client::{Ack, Client, Collection, CollectionOptions, Hit, Queries, SearchRequest};
use tests::packages;
use tests::server::Server;
use tests::wait_refined;

const ROWS: usize = 6_000;
const K: usize = 10;
const EF: usize = 32;

/// Fills a new collection and waits until all of it is in the graph and stays there as it is, so that an answer does not depend on the time.
fn fill(client: &Client, rows: usize) -> Collection {
    let rows = packages::packages(rows);
    let collection = client.create_collection("packages", &rows.schema(), CollectionOptions::default());
    let collection = collection.expect("a good schema");
    for first in (0..rows.num_rows()).step_by(1_000) {
        let some = rows.slice(first, 1_000);
        collection.write(&some, Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    assert!(collection.wait_indexed(Duration::from_secs(120)).expect("an answer").done);
    wait_refined(client);
    collection
}

/// The test queries as they travel.
fn queries() -> Vec<Vec<u8>> {
    packages::truth().queries.iter().map(|query| packages::bytes_of(query)).collect()
}

fn request(queries: &[u8]) -> SearchRequest<'_> {
    SearchRequest { queries: Queries::Bytes(queries), k: K, ef: Some(EF), ..Default::default() }
}

fn ask(collection: &Collection, queries: &[u8]) -> Vec<Vec<Hit>> {
    collection.search(&request(queries)).expect("a good request").wait().expect("an answer").hits
}

fn singly(collection: &Collection, queries: &[Vec<u8>]) -> Vec<Vec<Hit>> {
    queries.iter().flat_map(|query| ask(collection, query)).collect()
}

/// Sum of a counter over the shards.
fn total(client: &Client, counter: &str) -> u64 {
    let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    stats["shards"].as_array().expect("a list").iter().map(|shard| shard[counter].as_u64().expect("a counter")).sum()
}

#[test]
fn a_batch_gives_what_its_queries_give() {
    let queries = queries();
    for shards in [1, 2, 3] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = Server::start(directory.path(), shards);
        let client = server.client();
        let collection = fill(&client, ROWS);
        let expected = singly(&collection, &queries);
        assert_eq!(total(&client, "queries_helped"), 0, "a single query stays where it is");
        for batch in [2, 3, 4, 5, 64, queries.len()] {
            let found: Vec<_> = queries.chunks(batch).flat_map(|some| ask(&collection, &some.concat())).collect();
            assert_eq!(found, expected, "batches of {batch} on {shards} shards");
        }
        // Other shards may have been busy. Not every time.
        let start = Instant::now();
        while shards > 1 && total(&client, "queries_helped") == 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "nobody ever helped");
            assert_eq!(ask(&collection, &queries.concat()), expected);
        }
        server.stop();
    }
}

#[test]
fn batches_of_several_connections_do_not_mix() {
    let queries = queries();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let expected = singly(&fill(&server.client(), ROWS), &queries);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (over, server, queries, expected) = (&over, &server, &queries, &expected);
        // These ask and do not stay for the answer.
        let leaver = scope.spawn(move || {
            let mut left = 0;
            while !over.load(Ordering::Acquire) {
                let collection = server.client().collection("packages").expect("it is there");
                let asked = [0; 4].map(|_| collection.search(&request(&queries.concat())).expect("a good request"));
                drop((asked, collection));
                left += 1;
            }
            left
        });
        let askers: Vec<_> = [7, 32, 64]
            .into_iter()
            .map(|batch| {
                scope.spawn(move || {
                    let collection = server.client().collection("packages").expect("it is there");
                    for round in 0..8 {
                        // Several in flight: a shard works on batches of its own and of others at the same time.
                        let pending: Vec<_> = queries
                            .chunks(batch)
                            .map(|some| collection.search(&request(&some.concat())).expect("a good request"))
                            .collect();
                        let found: Vec<_> =
                            pending.into_iter().flat_map(|asked| asked.wait().expect("an answer").hits).collect();
                        assert_eq!(&found, expected, "batches of {batch}, round {round}");
                    }
                })
            })
            .collect();
        let ended: Vec<_> = askers.into_iter().map(|asker| asker.join()).collect();
        over.store(true, Ordering::Release);
        ended.into_iter().for_each(|ended| ended.expect("every answer was right"));
        assert!(leaver.join().expect("it leaves in peace") > 0);
    });
    // Whatever the leavers had asked for does not hold the end up.
    let stopping = Instant::now();
    server.stop();
    assert!(stopping.elapsed() < Duration::from_secs(8), "it took {:?} to stop", stopping.elapsed());
}

#[test]
fn rows_that_no_graph_holds_are_found_by_every_query_of_a_batch() {
    let queries = queries();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let collection = fill(&server.client(), ROWS);
    // The queries themselves become rows, and are searched for before they can all be indexed.
    let rows = packages::packages(10_000).slice(ROWS, 4_000);
    collection.write(&rows, Ack::Durable).expect("a good batch").wait().expect("it is written");
    let vectors = packages::embeddings_of(&rows);
    let own: Vec<Vec<u8>> = vectors.chunks(packages::DIMENSION).step_by(20).map(packages::bytes_of).collect();
    for some in own.chunks(50).chain(queries.chunks(50)) {
        let hits = ask(&collection, &some.concat());
        assert!(hits.iter().all(|hits| hits.len() == K && hits.is_sorted_by(|a, b| a.distance <= b.distance)));
    }
    let found = own.chunks(50).flat_map(|some| ask(&collection, &some.concat()));
    let missed = found.filter(|hits| hits[0].distance > 1e-3).count();
    assert!(missed <= own.len() / 50, "{missed} of {} rows were not found by their own vectors", own.len());
    server.stop();
}
