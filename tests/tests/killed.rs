//! `kill -9` in the middle of a stream of writes, again and again on the same directory.
//!
//! What was acknowledged is there. What was in flight may be there or not, but a part of a batch that lives on one shard is
//! there as a whole or not at all. What was refused is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::placement::home;
use engine::schema::IdRef;
use net::client::{Ack, Collection, DeleteReport, Ids, Pending, WriteReport};
use tests::random::Random;
use tests::rows::{self, Content, batch, check_searchable, content, create};
use tests::server::{Process, Server};

const DIMENSION: usize = 16;
const SHARDS: usize = 2;
const ROUNDS: usize = 6;
/// Ids that are written again and again.
const SHARED_IDS: u64 = 400;
/// Each batch also inserts ids of its own, so that its parts can be told.
const OWN_IDS: u64 = 24;
const OWN_FIRST: u64 = 1_000_000;
/// Ids of batches that the server refuses.
const REFUSED_FIRST: u64 = 1 << 40;
const IN_FLIGHT: usize = 16;

enum Operation {
    Write { number: u64, rows: Vec<(u64, u64)>, pending: Option<Pending<WriteReport>> },
    Delete { ids: Vec<u64>, pending: Option<Pending<DeleteReport>> },
}

impl Operation {
    /// False when the connection was gone: then one part may have been sent and another not.
    fn was_sent(&self) -> bool {
        match self {
            Operation::Write { pending, .. } => pending.is_some(),
            Operation::Delete { pending, .. } => pending.is_some(),
        }
    }
}

/// What may be in the collection: per id the versions that are possible, none for not there.
#[derive(Default)]
struct Possible {
    versions: BTreeMap<u64, BTreeSet<Option<u64>>>,
    /// Batches that were not acknowledged, by number.
    doubtful: Vec<u64>,
}

impl Possible {
    fn apply(&mut self, id: u64, version: Option<u64>, acknowledged: bool) {
        let possible = self.versions.entry(id).or_insert_with(|| BTreeSet::from([None]));
        if acknowledged {
            possible.clear();
        }
        possible.insert(version);
    }

    fn settle(&mut self, operation: Operation) {
        match operation {
            Operation::Write { number, rows, pending } => {
                let acknowledged = pending.is_some_and(|pending| pending.wait().is_ok());
                if !acknowledged {
                    self.doubtful.push(number);
                }
                for (id, version) in rows {
                    self.apply(id, Some(version), acknowledged);
                }
            }
            Operation::Delete { ids, pending } => {
                let acknowledged = pending.is_some_and(|pending| pending.wait().is_ok());
                for id in ids {
                    self.apply(id, None, acknowledged);
                }
            }
        }
    }

    fn check(&self, found: &Content) {
        for (id, possible) in &self.versions {
            let version = found.get(id).copied();
            assert!(possible.contains(&version), "id {id} has version {version:?}, possible are {possible:?}");
        }
        for id in found.keys() {
            assert!(self.versions.contains_key(id), "id {id} was never accepted");
        }
        for number in &self.doubtful {
            for shard in 0..SHARDS {
                let ids = own_ids(*number).filter(|&id| home(IdRef::U64(id), SHARDS) == shard);
                let there: Vec<bool> = ids.map(|id| found.contains_key(&id)).collect();
                let whole = there.iter().all(|&is_there| is_there) || !there.contains(&true);
                assert!(
                    whole,
                    "a part of batch {number} on shard {shard} is there, the rest of that part is not: {there:?}"
                );
            }
        }
    }
}

fn own_ids(number: u64) -> impl Iterator<Item = u64> {
    (0..OWN_IDS).map(move |index| OWN_FIRST + number * OWN_IDS + index)
}

/// Writes until the server is gone.
fn stream(collection: &Collection, random: &mut Random, number: &mut u64, possible: &mut Possible, begun: &AtomicBool) {
    let mut in_flight = std::collections::VecDeque::new();
    loop {
        *number += 1;
        let operation = match random.below(8) {
            0 => delete(collection, random),
            1 => {
                refused(collection, *number);
                continue;
            }
            _ => write(collection, random, *number),
        };
        let goes_on = operation.was_sent();
        in_flight.push_back(operation);
        if !goes_on {
            break;
        }
        if in_flight.len() == IN_FLIGHT {
            possible.settle(in_flight.pop_front().expect("full"));
            begun.store(true, Ordering::Release);
        }
    }
    in_flight.into_iter().for_each(|operation| possible.settle(operation));
}

fn write(collection: &Collection, random: &mut Random, number: u64) -> Operation {
    let shared: BTreeSet<u64> = (0..random.below(40)).map(|_| random.below(SHARED_IDS)).collect();
    let rows: Vec<(u64, u64)> = shared.into_iter().chain(own_ids(number)).map(|id| (id, number)).collect();
    let pending = collection.write(&batch(&rows, DIMENSION), Ack::Durable).ok();
    Operation::Write { number, rows, pending }
}

fn delete(collection: &Collection, random: &mut Random) -> Operation {
    let ids: BTreeSet<u64> = (0..1 + random.below(20)).map(|_| random.below(SHARED_IDS)).collect();
    let ids: Vec<u64> = ids.into_iter().collect();
    let pending = collection.delete(&Ids::U64(ids.clone()), Ack::Durable).ok();
    Operation::Delete { ids, pending }
}

/// A batch with a vector that is none.
fn refused(collection: &Collection, number: u64) {
    let rows: Vec<(u64, u64)> = (0..4).map(|index| (REFUSED_FIRST + number * 4 + index, number)).collect();
    let mut vectors = vec![1.0; rows.len() * DIMENSION];
    vectors.iter_mut().step_by(DIMENSION).for_each(|first| *first = f32::NAN);
    let refused = collection.write(&rows::batch_with_vectors(&rows, vectors, DIMENSION), Ack::Durable);
    if let Ok(pending) = refused {
        pending.wait().expect_err("a vector of NaN");
    }
}

#[test]
fn what_was_acknowledged_survives_kill_at_any_moment() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut possible = Possible::default();
    let mut number = 0;
    let mut process = Process::start(directory.path(), SHARDS);
    create(&process.client(), "rows", DIMENSION);
    for round in 0..ROUNDS {
        let collection = process.client().collection("rows").expect("it is there");
        let begun = AtomicBool::new(false);
        let delay = Duration::from_millis(random.below(150));
        std::thread::scope(|scope| {
            let (random, number, possible, begun) = (&mut random, &mut number, &mut possible, &begun);
            let writer = scope.spawn(move || stream(&collection, random, number, possible, begun));
            while !begun.load(Ordering::Acquire) && !writer.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if round % 2 == 1 {
                let _ = process.client().snapshot_all();
            }
            std::thread::sleep(delay);
            process.kill();
            writer.join().expect("the writer ends when the server is gone");
        });
        process = Process::start(directory.path(), SHARDS);
        let collection = process.client().collection("rows").expect("it is there");
        let found = content(&collection);
        println!("round {round}: {number} operations so far, {} rows", found.len());
        possible.check(&found);
        check_searchable(&collection, found.iter().step_by(found.len() / 10 + 1), DIMENSION);
        // What is there now must stay.
        possible = Possible::default();
        possible.versions = found.iter().map(|(&id, &version)| (id, BTreeSet::from([Some(version)]))).collect();
    }
    process.kill();
    let server = Server::start(directory.path(), SHARDS);
    possible.check(&content(&server.client().collection("rows").expect("it is there")));
    server.stop();
}
