//! The server knows what recall its queries get: its estimate tells searches that find everything from such that do not, with no
//! truth but its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use net::client::{Ack, Client, Collection, CollectionOptions, Queries, SearchRequest};
use net::server::ServerOptions;
use serde_json::Value;
use tests::packages;
use tests::recall::{K, recall_from};
use tests::server::{Server, options};
use tests::{wait_longer, wait_refined, wait_until};

const ROWS: usize = 10_000;

fn fill(client: &Client, name: &str, rows: usize, options: CollectionOptions) -> Collection {
    let rows = packages::packages(rows);
    let collection = client.create_collection(name, &rows.schema(), options).expect("a good schema");
    for first in (0..rows.num_rows()).step_by(1_000) {
        let some = rows.slice(first, 1_000);
        collection.write(&some, Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    assert!(collection.wait_indexed(Duration::from_secs(120)).expect("an answer").done);
    collection
}

/// What STATS tells of the vector column of a collection.
fn stats(client: &Client, name: &str) -> Value {
    let mut stats: Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    let collections = stats["collections"].as_array_mut().expect("a list");
    let collection = collections.iter_mut().find(|collection| collection["name"] == name).expect("it is there");
    collection["vectors"][0].take()
}

/// Estimate and number of samples of a collection.
fn estimate(client: &Client, name: &str) -> (Option<f64>, u64) {
    let vector = stats(client, name);
    (vector["recall"].as_f64(), vector["recall_samples"].as_u64().expect("a number"))
}

/// Asks until there are so many samples, and long enough after for all that is kept to be looked at or not.
fn sampled(client: &Client, collection: &Collection, ef: usize, batch: usize, samples: u64) -> (f64, f64) {
    let (mut recall, mut first) = (0.0, 0);
    wait_longer("queries are sampled", || {
        recall = recall_from(collection, ef, batch, first);
        // The pauses come after other queries each time.
        first += 37;
        std::thread::sleep(Duration::from_millis(50));
        estimate(client, collection.name()).1 >= samples
    });
    (recall, estimate(client, collection.name()).0.expect("there are samples"))
}

fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("the admin plane listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("UTF-8");
    text
}

#[test]
fn the_estimate_tells_good_searches_from_bad_ones() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let admin = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let server = Server::try_start(ServerOptions { admin, ..options(directory.path(), 2) }).expect("the server starts");
    let client = server.client();
    let good = fill(&client, "good", ROWS, CollectionOptions::default());
    // So few links that a small ef finds little.
    let poor = CollectionOptions { m: 4, ef_construction: 16, ..Default::default() };
    let bad = fill(&client, "bad", ROWS, poor);
    assert_eq!(estimate(&client, "good"), (None, 0), "nobody has asked");

    let (recall, estimated) = sampled(&client, &good, 2_000, 1, 24);
    println!("recall {recall}, estimated {estimated}");
    assert!(recall > 0.995 && estimated > 0.99, "recall {recall}, estimated {estimated}");
    let (recall, estimated) = sampled(&client, &bad, K, 25, 48);
    println!("recall {recall}, estimated {estimated}");
    assert!(recall < 0.9, "the setting is too good to tell anything: {recall}");
    // The mean of 48 shares, each of a spread of about 0.35: four times that of the mean.
    assert!((estimated - recall).abs() < 0.2 && estimated < 0.95, "recall {recall}, estimated {estimated}");
    assert!(estimate(&client, "good").0.expect("sampled before") > 0.99, "one collection's queries are not another's");

    let metrics = scrape(server.admin().expect("it was asked for"));
    for name in ["recall", "recall_samples_total"] {
        let line = format!("broadhead_collection_{name}{{collection=\"bad\",column=\"embedding\"}} ");
        let value = metrics.lines().find_map(|other| other.strip_prefix(&line)).expect(&metrics);
        assert!(value.parse::<f64>().expect("a number") > 0.0);
    }
    server.stop();
}

#[test]
fn nothing_is_sampled_without_queries_or_where_it_is_off() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = ServerOptions { recall_sampling: false, ..options(directory.path(), 1) };
    let server = Server::try_start(options).expect("the server starts");
    let client = server.client();
    let collection = fill(&client, "rows", 2_000, CollectionOptions::default());
    for _ in 0..3 {
        recall_from(&collection, K, 1, 0);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(estimate(&client, "rows"), (None, 0));
    server.stop();

    let server = Server::start(directory.path(), 1);
    let client = server.client();
    let collection = client.collection("rows").expect("it is there");
    let asked = sampled(&client, &collection, K, 1, 1);
    assert!((0.0..=1.0).contains(&asked.1), "{asked:?}");
    // What was kept is looked at once, and then there is nothing to do.
    let mut before = u64::MAX;
    wait_until("all that was kept is sampled", || {
        let samples = estimate(&client, "rows").1;
        std::thread::sleep(Duration::from_millis(500));
        std::mem::replace(&mut before, samples) == samples
    });
    // Exact answers have nothing to be compared with.
    let query = packages::bytes_of(&packages::truth().queries[0]);
    for _ in 0..100 {
        let request = SearchRequest { queries: Queries::Bytes(&query), k: K, exact: true, ..Default::default() };
        collection.search(&request).expect("a good request").wait().expect("an answer");
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(estimate(&client, "rows").1, before);
    server.stop();
}

/// Rows are replaced and deleted all the time beside searches that find everything that there is.
#[test]
fn writes_beside_the_queries_do_not_spoil_the_estimate() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let collection = fill(&client, "rows", 3_000, CollectionOptions::default());
    let rows = packages::packages(3_000);
    let mut round = 0;
    wait_longer("queries are sampled", || {
        recall_from(&collection, 2_000, 50, 0);
        let some = rows.slice(round % 30 * 100, 100);
        collection.write(&some, Ack::Durable).expect("a good batch").wait().expect("it is written");
        round += 1;
        std::thread::sleep(Duration::from_millis(20));
        estimate(&client, "rows").1 >= 24
    });
    let (estimated, samples) = estimate(&client, "rows");
    assert!(estimated.expect("there are samples") > 0.99, "{estimated:?} after {samples}");
    server.stop();
}

/// Idle time links all rows anew, and a restart knows that it was done.
#[test]
fn rows_are_linked_anew_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let collection = fill(&client, "rows", ROWS, CollectionOptions { m: 16, ..Default::default() });
    let unrefined = |client: &Client| stats(client, "rows")["unrefined_rows"].as_u64().expect("a number");
    wait_refined(&client);
    let left = unrefined(&client);
    assert!(left < ROWS as u64 / 2, "{left} rows were not linked anew");
    let after = recall_from(&collection, 16, 25, 0);
    // What it brings is less than what 200 queries tell apart; that it brings something the graph's own tests show.
    assert!(after > 0.88, "recall {after}");
    server.stop();

    let server = Server::start(directory.path(), 2);
    let client = server.client();
    assert_eq!(unrefined(&client), left, "a restart forgot that");
    let collection = client.collection("rows").expect("it is there");
    assert_eq!(recall_from(&collection, 16, 25, 0), after);
    server.stop();
}
