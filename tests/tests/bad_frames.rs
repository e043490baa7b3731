//! Bytes that are no frames, frames that lie, frames that end early: the server says what is wrong, closes where it cannot
//! go on, lives, and stores nothing.

use std::net::Shutdown;

use net::client::{Ack, Client, Collection, CollectionOptions};
use net::codec::handshake::ANY_SHARD;
use net::codec::{HEADER_BYTES, Header, Opcode, Status};
use tests::random::Random;
use tests::raw::{Raw, frame, hello, reseal};
use tests::rows::{batch, check_rows, content, create, schema};
use tests::server::{Process, Server};
use tests::wait_until;

const DIMENSION: usize = 4;
/// Above the server's staging buffer: such a frame is received into the arena.
const LARGE_ROWS: u64 = 20_000;

/// Bytes of a frame that writes rows from id 100 on.
fn write_frame(collection: &Collection, number: u32, rows: u64) -> Vec<u8> {
    let rows: Vec<(u64, u64)> = (100..100 + rows).map(|id| (id, 1)).collect();
    let message = engine::batch::encode(&batch(&rows, DIMENSION)).expect("encoded");
    let header = Header { fingerprint: collection.fingerprint(), ..Header::request(Opcode::Write, 5, number) };
    frame(header, &message)
}

/// A server with one row.
fn scene(directory: &std::path::Path) -> (Server, Client, Collection, u32) {
    let server = Server::start(directory, 1);
    let client = server.client();
    let collection = create(&client, "rows", DIMENSION);
    collection.write(&batch(&[(1, 1)], DIMENSION), Ack::Durable).expect("a good batch").wait().expect("it is written");
    let number = client.describe("rows").expect("it is there").id;
    (server, client, collection, number)
}

#[track_caller]
fn check_only_row(collection: &Collection) {
    assert_eq!(content(collection), [(1, 1)].into());
}

fn ping() -> Vec<u8> {
    frame(Header::request(Opcode::Ping, 9, 0), b"hello")
}

/// After an error that ends the connection: the server says so under request id 0 and closes.
#[track_caller]
fn check_ends(mut raw: Raw, what: &str, status: Status, words: &[&str]) {
    let reply = raw.receive().unwrap_or_else(|| panic!("{what}: closed without a word"));
    reply.expect_refusal(what, status, words);
    assert_eq!((reply.header.request_id, reply.header.opcode), (0, 0), "{what}");
    raw.check_closed(what);
}

#[test]
fn headers_that_cannot_be_trusted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, _client, collection, _) = scene(directory.path());
    type Change = fn(&mut [u8]);
    let cases: [(&str, Change, Status, &[&str]); 6] = [
        ("bad magic", |bytes| bytes[0] = b'X', Status::BadMagic, &["magic"]),
        ("version 2", |bytes| bytes[4] = 2, Status::UnsupportedVersion, &["2", "1"]),
        ("a flipped bit", |bytes| bytes[17] ^= 4, Status::HeaderChecksum, &["checksum"]),
        (
            "an unknown flag",
            |bytes| {
                bytes[9] = 1;
                reseal(bytes)
            },
            Status::ReservedBits,
            &["flags"],
        ),
        (
            "a reserved byte",
            |bytes| {
                bytes[50] = 1;
                reseal(bytes)
            },
            Status::ReservedBits,
            &["header"],
        ),
        ("HTTP", |bytes| bytes[..16].copy_from_slice(b"GET / HTTP/1.1\r\n"), Status::BadMagic, &["magic"]),
    ];
    for (what, change, status, words) in cases {
        let mut bytes = ping();
        change(&mut bytes);
        for is_greeted in [true, false] {
            let mut raw = if is_greeted { Raw::greeted(server.address()) } else { Raw::connect(server.address()) };
            raw.send(&bytes);
            check_ends(raw, what, status, words);
        }
    }
    // What came before the bad frame is answered.
    let mut raw = Raw::greeted(server.address());
    let mut bytes = ping();
    bytes.extend_from_slice(&[0xee; 64]);
    raw.send(&bytes);
    assert_eq!(raw.receive().expect("an answer").expect_done("the ping").body, b"hello");
    check_ends(raw, "noise behind a frame", Status::BadMagic, &["magic"]);
    check_only_row(&collection);
    server.stop();
}

#[test]
fn lengths_above_the_limit_allocate_nothing() {
    const SLACK: u64 = 8 << 20;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let process = Process::start(directory.path(), 1);
    Raw::greeted(process.address()).check_alive("before");
    let before = process.resident_bytes();
    let limit: u64 = engine::limits::FRAME_BODY_BYTES_MAX;
    for body_len in [limit + 1, 1 << 31, u64::from(u32::MAX), 1 << 40, i64::MAX as u64, u64::MAX - 63, u64::MAX] {
        for opcode in [Opcode::Write, Opcode::Ping] {
            let mut head = Header::request(opcode, 1, 1).encode();
            head[24..32].copy_from_slice(&body_len.to_le_bytes());
            reseal(&mut head);
            let mut raw = Raw::greeted(process.address());
            raw.send(&head);
            check_ends(raw, "a long body", Status::BodyTooLong, &[&body_len.to_string(), &limit.to_string()]);
        }
    }
    Raw::greeted(process.address()).check_alive("after");
    let after = process.resident_bytes();
    assert!(after < before + SLACK, "the server grew from {before} to {after} bytes");
}

#[test]
fn bodies_that_do_not_fit_their_checksum() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, client, collection, number) = scene(directory.path());
    let mut raw = Raw::greeted(server.address());
    for (what, mut bytes) in [
        ("a ping", ping()),
        ("a small write", write_frame(&collection, number, 3)),
        ("a large write", write_frame(&collection, number, LARGE_ROWS)),
    ] {
        for place in [HEADER_BYTES, HEADER_BYTES + (bytes.len() - HEADER_BYTES) / 2, bytes.len() - 1] {
            bytes[place] ^= 0x10;
            raw.send(&bytes);
            let reply = raw.receive().expect("an answer");
            reply.expect_refusal(what, Status::BodyChecksum, &["checksum"]);
            assert_ne!(reply.header.request_id, 0, "{what}");
            raw.check_alive(what);
            bytes[place] ^= 0x10;
        }
    }
    check_only_row(&collection);
    // The same bytes, unharmed, are taken.
    raw.send(&write_frame(&collection, number, LARGE_ROWS));
    raw.receive().expect("an answer").expect_done("a large write");
    assert_eq!(client.describe("rows").expect("it is there").rows, 1 + LARGE_ROWS);
    server.stop();
}

#[test]
fn frames_cut_short_anywhere_store_nothing() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, client, collection, number) = scene(directory.path());
    let small = write_frame(&collection, number, 2);
    for length in 0..small.len() {
        cut(&server, &small, length);
    }
    // Together these are more than the arena holds: its memory must come back.
    let large = write_frame(&collection, number, LARGE_ROWS);
    let rounds = 3 * (32 << 20) / large.len();
    for _ in 0..rounds {
        cut(&server, &large, 1 + random.below(large.len() as u64 - 1) as usize);
    }
    wait_until("the server has closed what was cut", || {
        let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
        stats["shards"][0]["connections"] == 1
    });
    check_only_row(&collection);
    let mut raw = Raw::greeted(server.address());
    raw.send(&large);
    raw.receive().expect("an answer").expect_done("the whole of it");
    assert_eq!(client.describe("rows").expect("it is there").rows, 1 + LARGE_ROWS);
    server.stop();
}

/// Sends the first bytes of a frame and closes.
fn cut(server: &Server, bytes: &[u8], length: usize) {
    let mut raw = Raw::greeted(server.address());
    raw.send(&bytes[..length]);
    raw.stream.shutdown(Shutdown::Write).expect("a TCP socket");
    raw.check_closed("a frame that was cut");
}

#[test]
fn arrow_messages_that_lie_about_themselves() {
    const LIES: usize = 4_000;
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, client, collection, _) = scene(directory.path());
    let lies =
        client.create_collection("lies", &schema(DIMENSION), CollectionOptions::default()).expect("a good schema");
    let number = client.describe("lies").expect("it is there").id;
    let rows: Vec<(u64, u64)> = (100..107).map(|id| (id, 1)).collect();
    let truth = engine::batch::encode(&batch(&rows, DIMENSION)).expect("encoded");
    let metadata_end = 8 + u32::from_le_bytes(truth[4..8].try_into().expect("4 bytes")) as usize;
    let mut raw = Raw::greeted(server.address());
    let (mut taken, mut refused) = (0, 0);
    for lie in 0..LIES {
        let mut message = truth.clone();
        for _ in 0..1 + random.below(3) {
            let place = random.below(metadata_end as u64) as usize;
            match random.below(3) {
                0 => message[place] = random.next_u64() as u8,
                1 => message[place] ^= 1 << random.below(8),
                _ => message[place] = [0, 1, 0x7f, 0x80, 0xff][random.below(5) as usize],
            }
        }
        let reply = raw.write(number, lies.fingerprint(), &message);
        match reply.status() {
            None => taken += 1,
            Some(Status::MalformedBatch | Status::MalformedColumn | Status::Empty | Status::LimitExceeded) => {
                refused += 1
            }
            // Bytes at another place can be read as vectors, which need not be finite.
            Some(Status::NonFinite) => refused += 1,
            other => panic!("lie {lie}: {other:?}: {}", reply.message()),
        }
    }
    println!("{taken} messages were valid all the same, {refused} refused");
    assert!(refused > LIES / 3 && taken > 0, "the lies are not of the right kind: {taken} taken, {refused} refused");
    raw.check_alive("after all the lies");
    check_only_row(&collection);
    // Whatever was taken can be read, and is on disk in a form that a start can read.
    let read: usize = lies.scan(&[]).expect("all columns").map(|rows| rows.expect("an answer").num_rows()).sum();
    assert_eq!(read as u64, client.describe("lies").expect("it is there").rows);
    drop((client, collection, lies, raw));
    server.stop();
    let server = Server::start(directory.path(), 1);
    let client = server.client();
    check_only_row(&client.collection("rows").expect("it is there"));
    assert_eq!(client.describe("lies").expect("it is there").rows, read as u64);
    server.stop();
}

#[test]
fn unknown_operations_are_refused_and_the_connection_goes_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, _client, collection, _) = scene(directory.path());
    let mut raw = Raw::greeted(server.address());
    for opcode in [0, 99, u16::MAX] {
        let header = Header { opcode, ..Header::default() };
        for body in [&b""[..], &[7; 1_000], &[7; 100_000]] {
            let reply = raw.request_with(header, body);
            reply.expect_refusal("an unknown operation", Status::UnknownOpcode, &[&opcode.to_string()]);
            raw.check_alive("after an unknown operation");
        }
    }
    check_only_row(&collection);
    server.stop();
}

#[test]
fn hello_comes_first_and_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let mut raw = Raw::connect(server.address());
    raw.request(Opcode::Ping, 0, b"x").expect_refusal("before HELLO", Status::UnexpectedFrame, &["HELLO"]);
    raw.check_closed("before HELLO");

    let mut raw = Raw::greeted(server.address());
    raw.request(Opcode::Hello, 0, &hello(ANY_SHARD)).expect_refusal(
        "a second HELLO",
        Status::UnexpectedFrame,
        &["greeted"],
    );
    raw.check_closed("a second HELLO");

    for shard in [2, 64, u16::MAX - 1] {
        let mut raw = Raw::connect(server.address());
        let reply = raw.request(Opcode::Hello, 0, &hello(shard));
        reply.expect_refusal("no such shard", Status::LimitExceeded, &[&shard.to_string(), "2"]);
        raw.check_closed("no such shard");
    }
    let good = hello(ANY_SHARD);
    let long = [&good[..4], &600_u16.to_le_bytes(), &[b'v'; 600], &[0, 0]].concat();
    for (what, body, status) in [
        ("an empty HELLO", &[][..], Status::MalformedBody),
        ("a HELLO that is cut", &good[..good.len() - 1], Status::MalformedBody),
        ("a long name", &long, Status::LimitExceeded),
    ] {
        let mut raw = Raw::connect(server.address());
        raw.request(Opcode::Hello, 0, body).expect_refusal(what, status, &[]);
        raw.check_closed(what);
    }
    let mut raw = Raw::connect(server.address());
    let mut bytes = frame(Header::request(Opcode::Hello, 1, 0), &good);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    raw.send(&bytes);
    raw.receive().expect("an answer").expect_refusal("a damaged HELLO", Status::BodyChecksum, &[]);
    raw.check_closed("a damaged HELLO");
    // HELLO and what follows it may come in one piece, to either shard.
    for shard in 0..2 {
        let mut raw = Raw::connect(server.address());
        let bytes = [frame(Header::request(Opcode::Hello, 1, 0), &hello(shard)), ping(), ping()].concat();
        raw.send(&bytes);
        raw.receive().expect("a welcome").expect_done("HELLO");
        for _ in 0..2 {
            assert_eq!(raw.receive().expect("an answer").expect_done("a ping").body, b"hello");
        }
    }
    server.stop();
}

/// TCP knows no frames: however they are cut, they come out the same.
#[test]
fn frames_in_pieces_are_put_together() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (server, _client, collection, number) = scene(directory.path());
    let bytes = [ping(), write_frame(&collection, number, 300), ping(), write_frame(&collection, number, 3)].concat();
    for piece in [1, 7, 63, 64, 65, 1_000, 16_383, 16_384, 16_385] {
        let mut raw = Raw::greeted(server.address());
        for piece in bytes.chunks(piece) {
            raw.send(piece);
        }
        for _ in 0..4 {
            raw.receive().expect("an answer").expect_done("a frame in pieces");
        }
    }
    let rows = collection.get(&net::client::Ids::U64((100..400).collect()), &[]).expect("an answer");
    assert_eq!(check_rows(&rows).len(), 300);
    server.stop();
}
