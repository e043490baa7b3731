//! A server with a long log serves while it replays it: old rows are read at once and answers say that some are missing,
//! writes wait and come behind the log, a kill in the middle costs nothing, and damage that is found ends the server.
//!
//! Clients connect before the server does anything (it listens first), so that what they ask is answered in its first turns,
//! a few of some hundred that the log takes.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use engine::wal::{RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES};
use net::client::{Ack, Client, ClientOptions, Collection, CollectionOptions, Ids, Queries, SearchRequest};
use serde_json::Value;
use tests::rows::{Content, batch, check_rows, check_searchable, content, create, schema, vector_of};
use tests::server::{Process, command_on, connect};
use tests::wait_until;

const DIMENSION: usize = 384;
const SHARDS: usize = 2;
const ROWS: u64 = 130_000;
const BATCH_ROWS: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes [`ROWS`] rows, then a second version of some; kills the server. Nothing is in a snapshot but the first rows.
fn filled(directory: &Path) -> Content {
    let process = Process::start(directory, SHARDS);
    let client = process.client();
    let collection = create(&client, "rows", DIMENSION);
    let mut expected = Content::new();
    let mut write = |ids: &mut dyn Iterator<Item = u64>, version: u64| {
        let rows: Vec<(u64, u64)> = ids.map(|id| (id, version)).collect();
        let batches = rows.chunks(BATCH_ROWS as usize);
        let sent = batches.map(|rows| collection.write(&batch(rows, DIMENSION), Ack::Durable).expect("a good batch"));
        let pending: Vec<_> = sent.collect();
        for pending in pending {
            pending.wait().expect("it is written");
        }
        expected.extend(rows);
    };
    write(&mut (0..BATCH_ROWS), 1);
    client.snapshot_all().expect("a snapshot");
    write(&mut (BATCH_ROWS..ROWS), 1);
    write(&mut (0..ROWS).step_by(50), 2);
    process.kill();
    expected
}

/// A server and a client that was there before it.
struct Restarted {
    process: Process,
    client: Client,
    collection: Collection,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound").port()
}

/// Starts the server; the first thing that it does is to answer a client.
fn restarted(directory: &Path) -> Restarted {
    let port = free_port();
    let command = command_on(directory, SHARDS, port);
    let starting = std::thread::spawn(move || Process::spawn_recovering(command));
    let address = ([127, 0, 0, 1], port).into();
    wait_until("the server listens", || TcpStream::connect(address).is_ok());
    let client = connect(address);
    let collection = client.collection("rows").expect("it is there");
    Restarted { process: starting.join().expect("it starts"), client, collection }
}

/// Reads and searches what was in the snapshot; true if the answer says that rows may be missing.
fn read_early(collection: &Collection) -> bool {
    let rows = collection.get(&Ids::U64(vec![3, 7]), &[]).expect("an answer");
    let found = check_rows(&rows);
    assert_eq!(found.iter().map(|row| row.0).collect::<Vec<_>>(), [3, 7], "rows of the snapshot are there");
    let query = vector_of(7, 1, DIMENSION);
    let request = SearchRequest { queries: Queries::F32(&query), k: 1, ..SearchRequest::default() };
    let reply = collection.search(&request).expect("a good request").wait().expect("an answer");
    assert_eq!(reply.hits[0][0].distance, 0.0);
    reply.is_recovering
}

fn recovery(client: &Client) -> Value {
    let stats: Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    stats["recovery"].clone()
}

#[test]
fn rows_are_served_while_the_log_is_replayed_and_writes_come_behind_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut expected = filled(directory.path());

    // Once more and again, killed each time while the log is being replayed.
    for _ in 0..2 {
        let Restarted { process, collection, .. } = restarted(directory.path());
        assert!(read_early(&collection), "the answer does not say that rows may be missing");
        process.kill();
    }

    let Restarted { process, client, collection } = restarted(directory.path());
    assert!(read_early(&collection), "the answer does not say that rows may be missing");
    let progress = recovery(&client);
    let (done, total) = (progress["done_bytes"].as_u64(), progress["total_bytes"].as_u64());
    assert!(progress["complete"] == false && done < total && total > Some(ROWS * DIMENSION as u64 * 4), "{progress}");

    // All of these are in the log with versions 1 or 2, some at its very end.
    let writer = connect(process.address()).collection("rows").expect("it is there");
    let rows: Vec<(u64, u64)> = (0..ROWS).step_by(1_000).chain([ROWS + 5]).map(|id| (id, 3)).collect();
    let written = writer.write(&batch(&rows, DIMENSION), Ack::Durable).expect("a good batch");
    let gone: Vec<u64> = (50..ROWS).step_by(500).collect();
    let deleted = writer.delete(&Ids::U64(gone.clone()), Ack::Durable).expect("good ids");
    assert!(client.is_recovering().expect("an answer"), "the log is through already: it is too short for this test");

    // What needs all shards waits for them.
    let other = connect(process.address());
    other.create_collection("other", &schema(DIMENSION), CollectionOptions::default()).expect("a good schema");
    assert!(!client.is_recovering().expect("an answer"), "a collection was made before the shards had their rows");
    assert_eq!(recovery(&client)["complete"], true);

    assert_eq!(
        written.wait().expect("it is written").replaced,
        rows.len() as u64 - 1,
        "not all rows were there before"
    );
    assert_eq!(deleted.wait().expect("it is done").deleted, gone.len() as u64);
    expected.extend(rows);
    expected.retain(|id, _| gone.binary_search(id).is_err());
    assert!(content(&collection) == expected);
    assert!(!read_early(&collection), "nothing is missing any more");
    check_searchable(&collection, expected.iter().step_by(expected.len() / 20), DIMENSION);
    process.kill();

    let process = Process::start(directory.path(), SHARDS);
    assert!(content(&process.client().collection("rows").expect("it is there")) == expected);
}

#[test]
fn a_stop_amid_the_replay_is_clean_and_refuses_what_waits() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut expected = filled(directory.path());
    let Restarted { process, client, collection } = restarted(directory.path());
    assert!(read_early(&collection));
    let other = connect(process.address());
    let waits = std::thread::spawn(move || other.snapshot_all());
    let writer = connect(process.address()).collection("rows").expect("it is there");
    let write = writer.write(&batch(&[(1, 9)], DIMENSION), Ack::Durable).expect("a good batch");
    assert!(client.is_recovering().expect("an answer"), "the log is through already: it is too short for this test");
    assert!(process.terminate().success());
    // On a busy machine the replay may end before the stop is heard of: what is acknowledged then stays, what is refused left no trace.
    let _ = waits.join().expect("no panic");
    if write.wait().is_ok() {
        expected.insert(1, 9);
    }
    let process = Process::start(directory.path(), SHARDS);
    assert!(content(&process.client().collection("rows").expect("it is there")) == expected);
}

/// A segment and the place of a record in it: as late in the log as damage can be told from a torn tail, that is, with
/// records behind it.
fn late_record(directory: &Path) -> (PathBuf, u64) {
    let log = directory.join("generation-000001/shard-001");
    let mut segments: Vec<PathBuf> =
        std::fs::read_dir(&log).expect("the shard's log").map(|entry| entry.expect("an entry").path()).collect();
    segments.sort();
    let records_of = |segment: &PathBuf| {
        let bytes = std::fs::read(segment).expect("readable");
        let places = (SEGMENT_HEADER_BYTES..bytes.len()).step_by(RECORD_HEADER_BYTES);
        let is_record = |&at: &usize| RecordHeader::decode(&bytes[at..at + RECORD_HEADER_BYTES]).is_some();
        places.filter(is_record).collect::<Vec<_>>()
    };
    let used = segments.iter().rev().map(|segment| (segment, records_of(segment))).find(|used| used.1.len() >= 20);
    let (segment, records) = used.expect("a segment with some records");
    (segment.clone(), records[records.len() * 9 / 10] as u64)
}

/// Starts the server on a damaged log and waits for its end; true if it has told a client of its collection before.
fn served_until_the_damage(directory: &Path, segment: &Path, offset: u64) -> bool {
    let port = free_port();
    let mut command = command_on(directory, SHARDS, port);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the server can be started");
    let address = format!("127.0.0.1:{port}");
    let client = loop {
        match Client::connect(&address, ClientOptions::default()) {
            Ok(client) => break Some(client),
            Err(_) if child.try_wait().expect("a child").is_some() => break None,
            Err(_) => std::thread::yield_now(),
        }
    };
    let is_served = client.as_ref().is_some_and(|client| client.collection("rows").is_ok());
    if let Some(client) = client {
        let ended = client.wait_recovered(PATIENCE);
        assert!(ended.is_err(), "the server goes on: {ended:?}");
    }
    let output = child.wait_with_output().expect("a child");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let names_it = said.contains(&segment.display().to_string()) && said.contains(&format!("at byte {offset}"));
    assert!(names_it, "{} at {offset}: {said}", segment.display());
    is_served
}

#[test]
fn damage_that_is_found_while_serving_ends_the_server() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    filled(directory.path());
    let (segment, offset) = late_record(directory.path());
    let file = std::fs::File::options().read(true).write(true).open(&segment).expect("writable");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset + 200).expect("readable");
    file.write_all_at(&[!byte[0]], offset + 200).expect("writable");

    // A client comes in time or it does not; the end is the same, each time.
    let attempts = 20;
    let is_seen_serving = (0..attempts).any(|_| served_until_the_damage(directory.path(), &segment, offset));
    assert!(is_seen_serving, "no client was answered in {attempts} starts");
}
