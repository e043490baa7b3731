//! Stop, kill, start: everything acknowledged as durable is there, nothing that was refused is, and the index stays.

use std::path::Path;
use std::time::Duration;

use net::client::{Ack, Client, Collection, Ids};
use tests::rows::{Content, batch, check_searchable, content, create};
use tests::server::{Process, Server};

const DIMENSION: usize = 16;

/// A collection and what must be in it.
struct Model {
    collection: Collection,
    expected: Content,
    version: u64,
}

impl Model {
    fn new(collection: Collection) -> Model {
        Model { collection, expected: Content::new(), version: 0 }
    }

    /// Writes these ids with a version that was not there before, durably.
    fn write(&mut self, ids: impl IntoIterator<Item = u64>) {
        self.version += 1;
        let rows: Vec<(u64, u64)> = ids.into_iter().map(|id| (id, self.version)).collect();
        for part in rows.chunks(500) {
            let written = self.collection.write(&batch(part, DIMENSION), Ack::Durable).expect("a good batch").wait();
            assert_eq!(written.expect("it is written").rows, part.len() as u64);
        }
        self.expected.extend(rows);
    }

    fn delete(&mut self, ids: impl IntoIterator<Item = u64>) {
        let ids: Vec<u64> = ids.into_iter().collect();
        let deleted = self.collection.delete(&Ids::U64(ids.clone()), Ack::Durable).expect("good ids").wait();
        let there = ids.iter().filter(|&id| self.expected.remove(id).is_some()).count();
        assert_eq!(deleted.expect("it is done").deleted, there as u64);
    }

    /// Goes on with another server, after checking that everything is there.
    fn check_on(&mut self, client: &Client) {
        self.collection = client.collection(self.collection.name()).expect("the collection is there");
        assert_eq!(content(&self.collection), self.expected);
        let info = client.describe(self.collection.name()).expect("it is there");
        assert_eq!(info.rows, self.expected.len() as u64);
        check_searchable(&self.collection, self.expected.iter().step_by(self.expected.len() / 20 + 1), DIMENSION);
    }
}

/// Some of everything: inserts, replacements, deletes, a deleted row that comes back.
fn some_of_everything(model: &mut Model) {
    model.write(0..1_800);
    model.write((0..1_800).step_by(3));
    model.delete((0..1_800).step_by(5));
    model.write((0..1_800).step_by(45));
    model.delete([1_799, 1_000_000]);
}

#[test]
fn a_clean_stop_keeps_everything() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let process = Process::start(directory.path(), 2);
    let mut model = Model::new(create(&process.client(), "rows", DIMENSION));
    some_of_everything(&mut model);
    let status = process.terminate();
    assert!(status.success(), "SIGTERM: {status}");

    let server = Server::start(directory.path(), 2);
    model.check_on(&server.client());
    model.write(5_000..5_100);
    server.stop();
    // The log of a start goes on behind that of the start before.
    let server = Server::start(directory.path(), 2);
    model.check_on(&server.client());
    server.stop();
}

#[test]
fn a_dropped_collection_stays_dropped_and_its_name_is_free() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let process = Process::start(directory.path(), 2);
    let client = process.client();
    let mut before = Model::new(create(&client, "name", DIMENSION));
    before.write(0..2_000);
    client.snapshot_all().expect("a snapshot");
    before.write(1_000..2_500);
    client.drop_collection("name").expect("it is there");
    process.kill();

    let process = Process::start(directory.path(), 2);
    let client = process.client();
    assert!(client.collections().expect("an answer").is_empty(), "the dropped collection is back");
    let mut after = Model::new(create(&client, "name", DIMENSION));
    assert!(content(&after.collection).is_empty(), "rows of the dropped collection are back");
    after.write(500..700);
    process.kill();

    let server = Server::start(directory.path(), 2);
    after.check_on(&server.client());
    server.stop();
}

#[test]
fn a_snapshot_keeps_rows_and_index() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let process = Process::start(directory.path(), 2);
    let client = process.client();
    let mut model = Model::new(create(&client, "rows", DIMENSION));
    some_of_everything(&mut model);
    assert!(model.collection.wait_indexed(Duration::from_secs(60)).expect("an answer").done);
    let written = client.snapshot("rows").expect("a snapshot");
    assert!(written.bytes > 1_800 * DIMENSION as u64 * 4, "too small for the rows: {written:?}");
    assert!(process.terminate().success());

    let process = Process::start(directory.path(), 2);
    let client = process.client();
    model.check_on(&client);
    let status = model.collection.index_status().expect("an answer");
    assert!(status.done && status.indexed == status.rows, "the index did not survive the snapshot: {status:?}");
    assert!(has_graph(&client), "rows are scanned, there is no graph");

    // What comes behind the snapshot is in the log alone.
    model.write(10_000..10_400);
    model.write((0..1_800).step_by(11));
    model.delete((0..1_800).step_by(13));
    process.kill();
    let process = Process::start(directory.path(), 2);
    let client = process.client();
    model.check_on(&client);
    let status = model.collection.index_status().expect("an answer");
    assert!(status.indexed >= 1_000, "the index of the snapshot is gone: {status:?}");
    assert!(model.collection.wait_indexed(Duration::from_secs(60)).expect("an answer").done);
    model.check_on(&client);

    // A second snapshot takes the place of the first.
    client.snapshot_all().expect("a snapshot");
    process.kill();
    let server = Server::start(directory.path(), 2);
    model.check_on(&server.client());
    assert!(model.collection.index_status().expect("an answer").done);
    server.stop();
}

fn has_graph(client: &Client) -> bool {
    let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    stats["collections"][0]["has_graph"].as_bool().expect("a flag")
}

/// A snapshot is taken while writes stream in; both survive.
#[test]
fn a_snapshot_amid_writes_loses_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let process = Process::start(directory.path(), 2);
    let client = process.client();
    let mut model = Model::new(create(&client, "rows", DIMENSION));
    model.write(0..2_000);
    let snapshots = {
        let client = process.client();
        std::thread::spawn(move || {
            for _ in 0..5 {
                client.snapshot_all().expect("a snapshot");
            }
        })
    };
    let mut round = 0;
    while !snapshots.is_finished() || round < 20 {
        model.write((round * 50)..(round * 50 + 300));
        model.delete([round * 50 + 7, round * 50 + 200]);
        round += 1;
    }
    snapshots.join().expect("all snapshots were written");
    process.kill();
    let server = Server::start(directory.path(), 2);
    model.check_on(&server.client());
    server.stop();
}

#[test]
fn rows_move_to_their_homes_when_the_number_of_shards_changes() {
    for with_snapshot in [false, true] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut server = Server::start(directory.path(), 1);
        let mut model = Model::new(create(&server.client(), "rows", DIMENSION));
        let empty = create(&server.client(), "empty", DIMENSION);
        some_of_everything(&mut model);
        for shards in [2, 3, 2] {
            if with_snapshot {
                server.client().snapshot_all().expect("a snapshot");
                model.write((0..100).map(|id| 20_000 + id * shards as u64));
                model.delete((0..1_800).step_by(17 + shards));
            }
            server.stop();
            server = Server::start(directory.path(), shards);
            let client = server.client();
            assert_eq!(client.server().shards, shards);
            model.check_on(&client);
            assert!(model.collection.wait_indexed(Duration::from_secs(60)).expect("an answer").done);
            model.check_on(&client);
            assert!(content(&client.collection(empty.name()).expect("it is there")).is_empty());
            model.write((30_000..30_050).chain([1, 2, 3]));
        }
        let generations = names_in(directory.path()).into_iter().filter(|name| name.starts_with("generation-"));
        assert_eq!(generations.count(), 1, "what the old shards wrote is still there");
        server.stop();
    }
}

fn names_in(path: &Path) -> Vec<String> {
    let names = std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    names.map(|name| name.into_string().expect("UTF-8")).collect()
}
