//! The counters are exact: whatever many clients do at once, on whichever shard, the totals are what they did.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use net::client::{Ack, Ids, Queries, SearchRequest};
use net::server::ServerOptions;
use tests::rows::{batch, create};
use tests::server::{Server, connect, options};
use tests::wait_until;

const DIMENSION: usize = 8;
const CLIENTS: u64 = 4;
const ROUNDS: u64 = 25;
/// Rows of one batch; the next batch of a client replaces half of them.
const ROWS: u64 = 40;
const QUERIES: usize = 3;

/// What one client does; every other of its writes is acknowledged from memory.
fn work(address: SocketAddr, number: u64) {
    let collection = connect(address).collection("rows").expect("it is there");
    let client = connect(address);
    for round in 0..ROUNDS {
        let ack = if round % 2 == 0 { Ack::Durable } else { Ack::Memory };
        let first = number * 1_000_000 + round * ROWS / 2;
        let rows: Vec<(u64, u64)> = (first..first + ROWS).map(|id| (id, round)).collect();
        collection.write(&batch(&rows, DIMENSION), ack).expect("a good batch").wait().expect("it is accepted");
        // Of these ids, the second was never there.
        let ids = Ids::U64(vec![first, number * 1_000_000 + 500_000]);
        collection.delete(&ids, ack).expect("good ids").wait().expect("it is accepted");
        let queries = vec![1.0; QUERIES * DIMENSION];
        let request = SearchRequest { queries: Queries::F32(&queries), k: 5, ..Default::default() };
        collection.search(&request).expect("a good request").wait().expect("an answer");
        let wrong = SearchRequest { queries: Queries::F32(&queries), k: 5, ef: Some(1), ..Default::default() };
        collection.search(&wrong).expect("it can be sent").wait().expect_err("ef is below k");
        client.ping().expect("an answer");
    }
}

/// The body of `/metrics`.
fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("the admin plane listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("UTF-8");
    text
}

/// The sum of a counter over all shards.
fn total(metrics: &str, name: &str) -> u64 {
    let prefix = format!("broadhead_{name}_total{{shard=");
    let lines: Vec<&str> = metrics.lines().filter(|line| line.starts_with(&prefix)).collect();
    assert_eq!(lines.len(), 2, "one line a shard of {name}");
    lines.iter().map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect(line)).sum()
}

#[test]
fn totals_are_exact() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let admin = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let server = Server::try_start(ServerOptions { admin, ..options(directory.path(), 2) }).expect("the server starts");
    let address = server.address();
    create(&connect(address), "rows", DIMENSION);
    let admin = server.admin().expect("it was asked for");
    let errors_before = total(&scrape(admin), "errors");
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || work(address, number));
        }
    });
    let rounds = CLIENTS * ROUNDS;
    // What was acknowledged from memory counts when it can be seen.
    wait_until("all writes are visible", || total(&scrape(admin), "rows_deleted") >= rounds);
    let metrics = scrape(admin);
    assert_eq!(total(&metrics, "rows_written"), rounds * ROWS);
    // The second half of a batch is the first half of the client's next one.
    assert_eq!(total(&metrics, "rows_replaced"), CLIENTS * (ROUNDS - 1) * ROWS / 2);
    assert_eq!(total(&metrics, "rows_deleted"), rounds);
    assert_eq!(total(&metrics, "queries"), rounds * QUERIES as u64);
    assert_eq!(total(&metrics, "errors") - errors_before, rounds);
    server.stop();
}
