//! Clients that stop half-way, never read, do nothing, or die: the others are served, and memory stays bounded.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use engine::schema::{IdKind, IdRef};
use kernels::ElementKind;
use net::client::{Ack, Client, Collection};
use net::codec::{Columns, Cursor, Get, Header, Opcode, Scan, Search};
use net::server::ServerOptions;
use tests::raw::{Raw, frame};
use tests::rows::{batch, content, create, search, vector_of};
use tests::server::{Process, Server, options};
use tests::wait_until;

const DIMENSION: usize = 64;
const ROWS: u64 = 4_000;

fn scene(directory: &std::path::Path) -> (Process, Client, Collection, u32) {
    let process = Process::start(directory, 2);
    let client = process.client();
    let collection = create(&client, "rows", DIMENSION);
    let rows: Vec<(u64, u64)> = (0..ROWS).map(|id| (id, 1)).collect();
    for part in rows.chunks(1_000) {
        collection.write(&batch(part, DIMENSION), Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    let number = client.describe("rows").expect("it is there").id;
    (process, client, collection, number)
}

/// A frame that writes rows which no other test row has.
fn write_frame(collection: &Collection, number: u32, rows: u64) -> Vec<u8> {
    let rows: Vec<(u64, u64)> = (1_000_000..1_000_000 + rows).map(|id| (id, 1)).collect();
    let message = engine::batch::encode(&batch(&rows, DIMENSION)).expect("encoded");
    frame(Header { fingerprint: collection.fingerprint(), ..Header::request(Opcode::Write, 5, number) }, &message)
}

/// A client that behaves gets its writes and searches done, soon.
fn check_served(collection: &Collection, version: u64) {
    let start = Instant::now();
    for id in 0..50 {
        let written = collection.write(&batch(&[(id, version)], DIMENSION), Ack::Durable).expect("a good batch").wait();
        assert_eq!(written.expect("it is written").replaced, 1);
        let hits = search(collection, &vector_of(id, version, DIMENSION), 1, Some(50));
        assert_eq!(hits[0].distance, 0.0);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "others are not served in time: {:?}", start.elapsed());
}

#[test]
fn clients_that_stop_half_way_hold_up_nobody() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (process, client, collection, number) = scene(directory.path());
    let (small, large) = (write_frame(&collection, number, 3), write_frame(&collection, number, 20_000));
    let mut stopped = Vec::new();
    for shard in 0..2 {
        for bytes in [&small[..30], &small[..64], &small[..200], &large[..30], &large[..64], &large[..large.len() / 2]]
        {
            let mut raw = Raw::greeted_by(process.address(), shard);
            raw.send(bytes);
            stopped.push(raw);
        }
    }
    check_served(&collection, 2);
    assert_eq!(client.describe("rows").expect("it is there").rows, ROWS);
    // They may go on.
    let mut raw = stopped.remove(2);
    raw.send(&small[200..]);
    raw.receive().expect("an answer").expect_done("a write in two halves");
    drop(stopped);
    assert_eq!(content(&collection).len() as u64, ROWS + 3);
    assert!(process.terminate().success());
}

/// Frames that were begun may take all memory that frames are received into: small ones need none of it.
#[test]
fn half_frames_that_take_all_buffers_hold_up_no_small_request() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (process, _client, collection, number) = scene(directory.path());
    let mut head = Header::request(Opcode::Write, 5, number);
    head.body_len = engine::limits::FRAME_BODY_BYTES_MAX;
    let bytes = [&head.encode()[..], &vec![7; 100_000]].concat();
    let mut greedy = Vec::new();
    for index in 0..16 {
        let mut raw = Raw::greeted_by(process.address(), index % 2);
        raw.send(&bytes);
        greedy.push(raw);
    }
    check_served(&collection, 2);
    drop(greedy);
    // Their memory comes back.
    let mut raw = Raw::greeted(process.address());
    raw.send(&write_frame(&collection, number, 20_000));
    raw.receive().expect("an answer").expect_done("a large write");
    assert!(process.terminate().success());
}

fn get_frame(number: u32, ids: std::ops::Range<u64>) -> Vec<u8> {
    let mut body = Vec::new();
    let ids: Vec<u64> = ids.collect();
    Get::encode(Columns::All, IdKind::U64, ids.iter().map(|&id| IdRef::U64(id)), &mut body);
    frame(Header::request(Opcode::Get, 1, number), &body)
}

fn search_frame(number: u32, k: u32) -> Vec<u8> {
    let vectors: Vec<u8> = vector_of(1, 1, DIMENSION).iter().flat_map(|value| value.to_le_bytes()).collect();
    let search = Search {
        column: 3,
        kind: ElementKind::F32,
        exact: false,
        k,
        ef: 0,
        queries: 1,
        dimension: DIMENSION as u32,
        columns: Columns::All,
        vectors: &vectors,
        filter: &[],
        options: &[],
    };
    let mut body = Vec::new();
    search.encode(&mut body);
    frame(Header::request(Opcode::Search, 1, number), &body)
}

fn scan_frame(number: u32) -> Vec<u8> {
    let mut body = Vec::new();
    Scan { cursor: Cursor::default(), rows_max: 0, columns: Columns::All, filter: &[] }.encode(&mut body);
    frame(Header::request(Opcode::Scan, 1, number), &body)
}

/// Sends the same frame until the server takes no more for a while; returns how many it took.
fn send_until_held(stream: &TcpStream, frame: &[u8]) -> usize {
    const ENOUGH: usize = 2_000_000;
    const QUIET: Duration = Duration::from_millis(300);
    stream.set_nonblocking(true).expect("a TCP socket");
    let (mut sent, mut last) = (0, Instant::now());
    while sent < ENOUGH * frame.len() && last.elapsed() < QUIET {
        match (&*stream).write(&frame[sent % frame.len()..]) {
            Ok(count) => (sent, last) = (sent + count, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("the server takes no more: {error}"),
        }
    }
    assert!(sent < ENOUGH * frame.len(), "the server takes requests without end");
    sent / frame.len()
}

#[test]
fn clients_that_never_read_are_held_back() {
    /// For six connections: replies that wait, replies being sent, and what the allocator keeps.
    const GROWTH_MAX: u64 = 256 << 20;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (process, client, collection, number) = scene(directory.path());
    check_served(&collection, 2);
    let before = process.resident_bytes();
    let frames = [get_frame(number, 0..10), search_frame(number, 10), get_frame(number, 0..ROWS), scan_frame(number)];
    let deaf: Vec<Raw> = (0..6).map(|index| Raw::greeted_by(process.address(), index % 2)).collect();
    for (index, raw) in deaf.iter().enumerate() {
        let taken = send_until_held(&raw.stream, &frames[index % frames.len()]);
        println!("connection {index}: {taken} requests taken");
    }
    let after = process.resident_bytes();
    println!("resident: {} MB before, {} MB after", before >> 20, after >> 20);
    assert!(after < before + GROWTH_MAX, "the server grew from {before} to {after} bytes");
    check_served(&collection, 3);
    // One that reads after all gets its answers.
    deaf[0].stream.set_nonblocking(false).expect("a TCP socket");
    let mut first = deaf.into_iter().next().expect("six");
    for _ in 0..1_000 {
        first.receive().expect("an answer").expect_done("GET");
    }
    drop(first);
    wait_until("their connections are closed", || connections(&client) <= 2);
    check_served(&collection, 4);
    assert!(process.terminate().success());
}

#[test]
fn clients_that_never_read_lose_their_connection_in_the_end() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let patience = Duration::from_millis(500);
    let server = Server::try_start(ServerOptions { peer_timeout: patience, ..options(directory.path(), 1) });
    let server = server.expect("the server starts");
    let client = server.client();
    let collection = create(&client, "rows", DIMENSION);
    let rows: Vec<(u64, u64)> = (0..ROWS).map(|id| (id, 1)).collect();
    collection.write(&batch(&rows, DIMENSION), Ack::Durable).expect("a good batch").wait().expect("it is written");
    let idle = Raw::greeted(server.address());
    let deaf = Raw::greeted(server.address());
    let open = connections(&client);
    (&deaf.stream)
        .write_all(&get_frame(client.describe("rows").expect("it is there").id, 0..ROWS).repeat(20))
        .expect("the server takes bytes");
    wait_until("the deaf one is closed", || connections(&client) == open - 1);
    std::thread::sleep(patience);
    assert_eq!(connections(&client), open - 1, "one that has read everything stays");
    drop(idle);
    check_served(&collection, 2);
    server.stop();
}

/// A request of a few bytes can have a reply of megabytes.
#[test]
fn long_replies_that_nobody_reads_are_few() {
    const WIDE: usize = 2_048;
    const GETS: usize = 100;
    const WIDE_ROWS: u64 = 1_000;
    /// Reads of one connection that may be under way, replies that wait and are being sent, and the allocator's share.
    const GROWTH_MAX: u64 = 240 << 20;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let process = Process::start(directory.path(), 1);
    let client = process.client();
    let collection = create(&client, "wide", WIDE);
    for first in (0..2_000).step_by(500) {
        let rows: Vec<(u64, u64)> = (first..first + 500).map(|id| (id, 1)).collect();
        collection.write(&batch(&rows, WIDE), Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    let get = get_frame(client.describe("wide").expect("it is there").id, 0..WIDE_ROWS);
    let mut raw = Raw::greeted(process.address());
    let reply_bytes = {
        raw.send(&get);
        raw.receive().expect("an answer").expect_done("GET").body.len()
    };
    assert!(reply_bytes > 7 << 20, "the replies are not long: {reply_bytes} bytes");
    let before = process.resident_bytes();
    raw.send(&get.repeat(GETS));
    let mut most = before;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(10));
        most = most.max(process.resident_bytes());
    }
    println!("resident: {} MB before, {} MB at most", before >> 20, most >> 20);
    assert!(most < before + GROWTH_MAX, "the server grew from {before} to {most} bytes");
    for _ in 0..GETS {
        assert_eq!(raw.receive().expect("an answer").expect_done("GET").body.len(), reply_bytes);
    }
    assert!(process.terminate().success());
}

fn connections(client: &Client) -> u64 {
    let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    stats["shards"].as_array().into_iter().flatten().filter_map(|shard| shard["connections"].as_u64()).sum()
}

#[test]
fn idle_connections_cost_little() {
    const IDLE: usize = 2_000;
    const BYTES_EACH_MAX: u64 = 40 << 10;
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < 4_200) {
        println!("skipped: the hard limit on open files is {:?}, 4,200 are needed", limit.maximum);
        return;
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit it may be raised");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (process, client, collection, _) = scene(directory.path());
    check_served(&collection, 2);
    let before = process.resident_bytes();
    let mut idle: Vec<Raw> = (0..IDLE).map(|_| Raw::greeted(process.address())).collect();
    assert!(connections(&client) >= IDLE as u64);
    let grown = process.resident_bytes().saturating_sub(before);
    println!("{} bytes for each idle connection", grown / IDLE as u64);
    assert!(grown < IDLE as u64 * BYTES_EACH_MAX, "{IDLE} idle connections cost {grown} bytes");
    check_served(&collection, 3);
    process.client().ping().expect("another client is welcome");
    for raw in idle.iter_mut().step_by(100) {
        raw.check_alive("an idle connection");
    }
    drop(idle);
    wait_until("the idle connections are closed", || connections(&client) <= 4);
    check_served(&collection, 4);
    assert!(process.terminate().success());
}

/// A client whose process dies resets its connections, wherever in a frame they are.
#[test]
fn a_client_that_dies_amid_a_batch_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (process, client, collection, number) = scene(directory.path());
    let (small, large) = (write_frame(&collection, number, 3), write_frame(&collection, number, 20_000));
    for round in 0..40 {
        let mut raw = Raw::greeted_by(process.address(), round % 2);
        let bytes = if round % 4 < 2 { &small } else { &large };
        raw.send(&bytes[..bytes.len() * (round as usize + 1) / 50]);
        let now = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&raw.stream, now).expect("a TCP socket");
        drop(raw);
    }
    // One dies with replies on their way.
    let raw = Raw::greeted(process.address());
    (&raw.stream).write_all(&get_frame(number, 0..ROWS).repeat(20)).expect("the server takes bytes");
    rustix::net::sockopt::set_socket_linger(&raw.stream, Some(Duration::ZERO)).expect("a TCP socket");
    drop(raw);
    wait_until("their connections are closed", || connections(&client) <= 2);
    check_served(&collection, 2);
    assert_eq!(content(&collection).len() as u64, ROWS);
    assert!(process.terminate().success());
}
