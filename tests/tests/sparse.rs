//! Rows that die in no order: replaced at random, one by one, or half of them deleted. The room of the dead comes back once the server
//! has time, searches find as much as before, and a `kill -9` in the middle of that loses nothing.

use std::collections::VecDeque;
use std::time::Duration;

use arrow::array::UInt64Array;
use arrow::compute::take_record_batch;
use net::client::{Ack, Client, Collection, CollectionOptions, Ids, Pending, WriteReport};
use tests::random::Random;
use tests::recall::{K, recall};
use tests::rows::{self, Content, batch, check_rows, create};
use tests::server::{Process, Server};
use tests::{packages, wait_longer};

/// Rows of which a shard frees the room at once.
const CHUNK_ROWS: u64 = 4_096;
const SHARDS: usize = 2;
const EF: usize = 64;

/// Sum of a counter over all shards.
fn counter(client: &Client, name: &str) -> u64 {
    let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    stats["shards"].as_array().expect("a list").iter().map(|shard| shard[name].as_u64().expect("a number")).sum()
}

/// Waits until dead rows take no more than three tenths of the living, beside the chunk of the graph's root, which stays, and the newest
/// chunk of each shard.
fn wait_compact(client: &Client, rows: u64) {
    wait_longer("the room of dead rows is free", || {
        let info = client.describe("c").expect("it is there");
        assert_eq!(info.rows, rows);
        info.deleted <= rows * 3 / 10 + CHUNK_ROWS * (1 + SHARDS as u64)
    });
}

fn wait_indexed(collection: &Collection) {
    assert!(collection.wait_indexed(Duration::from_secs(120)).expect("an answer").done);
}

const PACKAGES: usize = 10_000;
const IN_FLIGHT: usize = 64;
/// Times that a row is replaced, on average.
const TURNOVERS: usize = 4;
/// What recall may lose. That of a fresh collection is between 0.980 and 0.994, as the shards happen to take its rows in, and so is
/// that of a worn one.
const LOSS_MAX: f64 = 0.02;

#[test]
fn rows_replaced_one_by_one_at_random_leave_recall_and_room_as_they_were() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), SHARDS);
    let client = server.client();
    let rows = packages::packages(PACKAGES);
    let collection =
        client.create_collection("c", &rows.schema(), CollectionOptions::default()).expect("a good schema");
    let write = |ids: Vec<u64>| {
        let batch = take_record_batch(&rows, &UInt64Array::from(ids)).expect("rows that there are");
        collection.write(&batch, Ack::Durable).expect("a good batch")
    };
    let order: Vec<u64> = (0..PACKAGES as u64).collect();
    order.chunks(500).for_each(|ids| _ = write(ids.to_vec()).wait().expect("it is written"));
    wait_indexed(&collection);
    let fresh = recall(&collection, EF);
    let mut in_flight = VecDeque::<Pending<WriteReport>>::new();
    for _ in 0..TURNOVERS * PACKAGES {
        if in_flight.len() == IN_FLIGHT {
            in_flight.pop_front().expect("full").wait().expect("it is written");
        }
        in_flight.push_back(write(vec![random.below(PACKAGES as u64)]));
    }
    in_flight.into_iter().for_each(|pending| _ = pending.wait().expect("it is written"));
    let deleted = client.describe("c").expect("it is there").deleted;
    wait_compact(&client, PACKAGES as u64);
    wait_indexed(&collection);
    let (worn, moved) = (recall(&collection, EF), counter(&client, "rows_moved"));
    println!("{deleted} dead rows under load; {moved} rows moved; recall@{K} {worn:.4} (fresh {fresh:.4})");
    assert!(moved > 0 && counter(&client, "chunks_compacted") > 0);
    assert!(worn >= fresh - LOSS_MAX, "recall {worn} after {TURNOVERS} turnovers, {fresh} before");
    // Half of the rows go, and come again.
    let half: Vec<u64> = order.iter().copied().filter(|_| random.below(2) == 0).collect();
    let gone = collection.delete(&Ids::U64(half.clone()), Ack::Durable).expect("good ids").wait().expect("it is done");
    assert_eq!(gone.deleted, half.len() as u64);
    wait_compact(&client, (PACKAGES - half.len()) as u64);
    half.chunks(500).for_each(|ids| _ = write(ids.to_vec()).wait().expect("it is written"));
    wait_compact(&client, PACKAGES as u64);
    wait_indexed(&collection);
    let again = recall(&collection, EF);
    println!("{} rows deleted and written again: recall@{K} {again:.4}", half.len());
    assert!(again >= fresh - LOSS_MAX, "recall {again} after half of the rows came again, {fresh} before");
    let found = collection.get(&Ids::U64(order), &["id", "embedding"]).expect("good ids");
    assert!(
        found.columns() == [rows.column(0).clone(), rows.column(4).clone()],
        "every row is there as it was written"
    );
    server.stop();
}

const DIMENSION: usize = 16;
const IDS: u64 = 14_000;
const ROUNDS: u64 = 3;

/// Every row of the collection by its id: a scan would keep rows where they are.
fn content(collection: &Collection) -> Content {
    let ids: Vec<u64> = (0..IDS).collect();
    let rows = ids.chunks(5_000).map(|ids| collection.get(&Ids::U64(ids.to_vec()), &[]).expect("good ids"));
    rows.flat_map(|rows| check_rows(&rows)).collect()
}

/// Replaces a few rows at random, now and then, until the server is gone; those of the last batch may be there or not.
fn trickle(collection: &Collection, random: &mut Random, version: &mut u64, model: &mut Content) -> Vec<(u64, u64)> {
    loop {
        *version += 1;
        let mut ids: Vec<u64> = (0..5).map(|_| random.below(IDS)).collect();
        ids.sort_unstable();
        ids.dedup();
        let written: Vec<(u64, u64)> = ids.into_iter().map(|id| (id, *version)).collect();
        let pending = collection.write(&batch(&written, DIMENSION), Ack::Durable);
        match pending.and_then(Pending::wait) {
            Ok(_) => model.extend(written),
            Err(_) => return written,
        }
        std::thread::sleep(Duration::from_millis(random.below(8)));
    }
}

#[test]
fn a_kill_while_rows_are_moved_loses_nothing() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut process = Process::start(directory.path(), SHARDS);
    create(&process.client(), "c", DIMENSION);
    let (mut model, mut version) = (Content::new(), 0);
    for round in 0..ROUNDS {
        let collection = process.client().collection("c").expect("it is there");
        for _ in 0..if round == 0 { 60 } else { 30 } {
            version += 1;
            let ids: std::collections::BTreeSet<u64> = (0..1_500).map(|_| random.below(IDS)).collect();
            let written: Vec<(u64, u64)> = ids.into_iter().map(|id| (id, version)).collect();
            collection.write(&batch(&written, DIMENSION), Ack::Durable).expect("good rows").wait().expect("it is done");
            model.extend(written);
        }
        if round == 1 {
            process.client().snapshot_all().expect("it is written");
        }
        let client = process.client();
        let before = counter(&client, "rows_moved");
        let doubtful = std::thread::scope(|scope| {
            let (random, version, model) = (&mut random, &mut version, &mut model);
            let delay = Duration::from_millis(random.below(60));
            let writer = scope.spawn(move || trickle(&collection, random, version, model));
            wait_longer("rows are being moved", || counter(&client, "rows_moved") > before);
            std::thread::sleep(delay);
            println!("round {round}: killed after {} moves", counter(&client, "rows_moved") - before);
            process.kill();
            writer.join().expect("it ends when the server is gone")
        });
        process = Process::start(directory.path(), SHARDS);
        let collection = process.client().collection("c").expect("it is there");
        let found = content(&collection);
        for (id, version) in doubtful {
            if found.get(&id) == Some(&version) {
                model.insert(id, version);
            }
        }
        assert_eq!(found, model, "round {round}");
        rows::check_searchable(&collection, found.iter().step_by(found.len() / 10), DIMENSION);
    }
    wait_compact(&process.client(), model.len() as u64);
    let collection = process.client().collection("c").expect("it is there");
    // While rows are moved, or just after: none is missing, and none comes twice.
    assert_eq!(rows::content(&collection), model);
    rows::check_searchable(&collection, model.iter().step_by(model.len() / 100), DIMENSION);
}
