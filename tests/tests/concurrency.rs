//! Writers replace and delete the same ids while readers search, get and scan: each id comes at most once, and every row
//! is whole, of one version.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use net::client::{Ack, Collection, Ids, Queries, SearchRequest};
use tests::random::Random;
use tests::rows::{Content, batch, check_rows, check_searchable, content, create};
use tests::server::Server;

const DIMENSION: usize = 32;
const IDS: u64 = 300;
/// Ids that are written once and stay: every search of everything must see them.
const STEADY_FIRST: u64 = 1_000;
const STEADY: u64 = 100;
const TIME: Duration = Duration::from_secs(3);

/// Writes until the time is over; gives the versions that it left behind. Each writer has ids of its own.
fn write(collection: &Collection, writer: u64, mut random: Random, over: &AtomicBool, written: &AtomicU64) -> Content {
    let mut left = Content::new();
    let mut version = 0;
    while !over.load(Ordering::Acquire) {
        version += 1;
        let ids: BTreeSet<u64> = (0..1 + random.below(30)).map(|_| random.below(IDS / 2) * 2 + writer).collect();
        if random.below(5) == 0 {
            let gone = Ids::U64(ids.iter().copied().collect());
            let report = collection.delete(&gone, Ack::Durable).expect("good ids").wait().expect("it is done");
            let there = ids.iter().filter(|&id| left.remove(id).is_some()).count();
            assert_eq!(report.deleted, there as u64);
        } else {
            let rows: Vec<(u64, u64)> = ids.iter().map(|&id| (id, version)).collect();
            let report = collection.write(&batch(&rows, DIMENSION), Ack::Durable).expect("a good batch").wait();
            let there = ids.iter().filter(|id| left.contains_key(id)).count();
            assert_eq!(report.expect("it is written").replaced, there as u64);
            left.extend(rows);
        }
        written.fetch_add(1, Ordering::Relaxed);
    }
    left
}

/// Checks that ids are distinct, and that the steady ones are among them where all rows were asked for.
fn check_ids(what: &str, rows: &[(u64, u64)], all: bool) {
    let ids: BTreeSet<u64> = rows.iter().map(|row| row.0).collect();
    assert_eq!(ids.len(), rows.len(), "{what} brought an id twice");
    if all {
        let steady = (STEADY_FIRST..STEADY_FIRST + STEADY).filter(|id| ids.contains(id)).count();
        assert_eq!(steady as u64, STEADY, "{what} missed rows that nobody touches");
    }
}

fn read(collection: &Collection, mut random: Random, over: &AtomicBool) -> u64 {
    let mut rounds = 0;
    while !over.load(Ordering::Acquire) {
        let query: Vec<f32> = (0..DIMENSION).map(|_| random.unit()).collect();
        let everything = (IDS + STEADY) as usize + 50;
        for (k, exact) in [(10, true), (10, false), (everything, true)] {
            let columns = &["id", "version", "text", "vector"];
            let request = SearchRequest { queries: Queries::F32(&query), k, exact, columns, ..Default::default() };
            let reply = collection.search(&request).expect("a good request").wait().expect("an answer");
            let rows = check_rows(&reply.columns.expect("columns were asked for"));
            check_ids("a search", &rows, k == everything);
            assert!(reply.hits[0].is_sorted_by(|a, b| a.distance <= b.distance), "the nearest come first");
        }
        let ids: BTreeSet<u64> = (0..50).map(|_| random.below(IDS)).chain([STEADY_FIRST, STEADY_FIRST + 1]).collect();
        let rows = collection.get(&Ids::U64(ids.into_iter().collect()), &[]).expect("an answer");
        check_ids("a get", &check_rows(&rows), false);
        rounds += 1;
    }
    rounds
}

#[test]
fn readers_see_whole_rows_once_while_they_are_replaced() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let collection = create(&client, "rows", DIMENSION);
    let steady: Vec<(u64, u64)> = (STEADY_FIRST..STEADY_FIRST + STEADY).map(|id| (id, 1)).collect();
    collection.write(&batch(&steady, DIMENSION), Ack::Durable).expect("a good batch").wait().expect("it is written");
    let (over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut seed = || Random::new(random.next_u64());
    let left = std::thread::scope(|scope| {
        let (over, written, server) = (&over, &written, &server);
        let open = || server.client().collection("rows").expect("it is there");
        let writers = [0, 1].map(|writer| {
            let (collection, random) = (open(), seed());
            scope.spawn(move || write(&collection, writer, random, over, written))
        });
        let readers = [0, 1].map(|_| {
            let (collection, random) = (open(), seed());
            scope.spawn(move || read(&collection, random, over))
        });
        let start = Instant::now();
        while start.elapsed() < TIME && !readers.iter().any(|reader| reader.is_finished()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Release);
        let rounds = readers.map(|reader| reader.join().expect("every answer was right"));
        println!("{} writes, {rounds:?} rounds of reads", written.load(Ordering::Relaxed));
        assert!(rounds.iter().all(|&rounds| rounds > 0) && written.load(Ordering::Relaxed) > 20, "nothing happened");
        writers.map(|writer| writer.join().expect("every answer was right"))
    });
    let mut expected: Content = steady.into_iter().collect();
    left.into_iter().for_each(|left| expected.extend(left));
    assert_eq!(content(&collection), expected);
    assert!(collection.wait_indexed(Duration::from_secs(60)).expect("an answer").done);
    check_searchable(&collection, expected.iter().step_by(7), DIMENSION);
    server.stop();
}
