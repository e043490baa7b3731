//! What a user chooses of codes and of how many candidates are ranked again is what a search does.

use std::time::Duration;

use net::client::{Ack, Client, Collection, CollectionOptions};
use tests::packages;
use tests::recall::recall;
use tests::server::Server;

const ROWS: usize = 10_000;
const EF: usize = 128;

/// A collection of the packages with these words beside its embeddings, all indexed.
fn filled(client: &Client, name: &str, metadata: &[(&str, &str)]) -> Collection {
    let schema = packages::schema_with(metadata);
    let collection = client.create_collection(name, &schema, CollectionOptions::default()).expect("a good schema");
    let rows = packages::packages(ROWS);
    for first in (0..ROWS).step_by(2_000) {
        collection.write(&rows.slice(first, 2_000), Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    assert!(collection.wait_indexed(Duration::from_secs(120)).expect("an answer").done);
    collection
}

#[test]
fn every_quantiser_finds_what_is_near() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    for (codes, least) in [("none", 0.97), ("int8", 0.97), ("int4", 0.97), ("binary", 0.95)] {
        let collection = filled(&client, codes, &[("broadhead.codes", codes)]);
        let found = recall(&collection, EF);
        println!("{codes}: recall@10 {found:.4}");
        assert!(found >= least, "{codes}: {found}");
        client.drop_collection(codes).expect("it is there");
    }
    server.stop();
}

#[test]
fn ranking_more_candidates_again_finds_more() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 1);
    let client = server.client();
    let of = |name: &str, rerank: &str| {
        recall(&filled(&client, name, &[("broadhead.codes", "binary"), ("broadhead.rerank", rerank)]), 32)
    };
    let (few, many) = (of("few", "1"), of("many", "30"));
    println!("recall@10 of signs: {few:.4} of 20 candidates, {many:.4} of 310");
    assert!(few < many - 0.05 && many > 0.97, "{few} and {many}");
    server.stop();
}
