//! The order of things, on a disk that delays, fails and loses power: nothing is answered as durable, or seen by a reader,
//! that is not there after a crash; nothing that was refused is; and what is there is what was submitted, in order.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::batch::BatchView;
use crate::batch::samples::{narrow, narrow_batch};
use crate::buffers::Arena;
use crate::collection::{Collection, CollectionOptions, CollectionSpec};
use crate::schema::{IdRef, Schema};
use crate::wal::{Crash, Faults, SimDisk, SimStorage, crc32c, replay};

const SEEDS: u64 = 60;
const RUNS: usize = 4;
const STEPS: usize = 400;
const COLLECTION: u32 = 1;
const SEGMENT_BYTES: usize = 256 << 10;
const WRITE_BYTES: usize = 16 << 10;
/// Rows of a batch, at most.
const ROWS_MAX: u64 = 30;

/// What a client knows.
#[derive(Default)]
struct Client {
    /// Ids of each batch that was submitted and may be there, in order.
    submitted: Vec<Vec<u64>>,
    /// So many of them must be there.
    durable: usize,
    refused: Vec<u64>,
    next_id: u64,
}

fn partition(schema: &Arc<Schema>) -> Rc<RefCell<Partition>> {
    let spec = CollectionSpec {
        id: COLLECTION,
        name: "rows".into(),
        schema: schema.clone(),
        options: CollectionOptions::default(),
    };
    let mut partition = Partition::new(0);
    partition.install(Member::new(Collection::new(spec, 1).unwrap(), 0));
    Rc::new(RefCell::new(partition))
}

fn operation<'a>(schema: &Schema, batch: &'a [u8]) -> Operation<'a> {
    Operation::Write { collection: COLLECTION, fingerprint: schema.fingerprint(), batch }
}

/// Ids that a reader sees, in the order of their rows.
fn visible(partition: &Partition) -> Vec<u64> {
    let region = &partition.member(COLLECTION).unwrap().collection.region;
    let id = |slot| match region.id(region.row(0, slot)) {
        IdRef::U64(id) => id,
        IdRef::I64(_) | IdRef::Utf8(_) => unreachable!("the ids are u64"),
    };
    region.runs(0, 0..region.published(0)).iter().flat_map(|run| run.slots()).map(id).collect()
}

impl Client {
    /// Takes what a start found as the truth, after checking that it may be.
    fn settle_on(&mut self, found: &[u64]) {
        let submitted = self.submitted.concat();
        assert!(submitted.starts_with(found), "what is there is not what was submitted first");
        let mut rows = 0;
        let batches = self.submitted.iter().take_while(|ids| {
            rows += ids.len();
            rows <= found.len()
        });
        let batches = batches.count();
        assert_eq!(self.submitted[..batches].concat().len(), found.len(), "a part of a batch is there");
        assert!(batches >= self.durable, "{} batches were durable, {batches} are there", self.durable);
        assert!(!found.iter().any(|id| self.refused.contains(id)), "what was refused is there");
        self.submitted.truncate(batches);
        self.durable = batches;
    }

    /// Submits and advances at random, until the run is over or the log refuses.
    fn run(&mut self, rng: &mut StdRng, shard: &mut Shard<SimStorage, usize>, schema: &Schema) {
        for _ in 0..rng.random_range(1..STEPS) {
            if rng.random_bool(0.6) {
                self.submit(rng, shard, schema);
                continue;
            }
            let mut done = Vec::new();
            shard.advance(|finished| done.push(finished)).unwrap();
            for Done { ticket, result } in done {
                match result {
                    Ok(_) => self.durable = self.durable.max(ticket),
                    Err(error) => assert!(matches!(error, Error::Poisoned { .. }), "{error}"),
                }
            }
            // Whatever a reader saw must be there after a crash, whoever it was.
            let seen = visible(&shard.partition.borrow()).len();
            let mut rows = 0;
            let whole = self.submitted.iter().take_while(|ids| {
                rows += ids.len();
                rows <= seen
            });
            self.durable = self.durable.max(whole.count());
            if shard.poisoned().is_some() {
                return;
            }
        }
    }

    fn submit(&mut self, rng: &mut StdRng, shard: &mut Shard<SimStorage, usize>, schema: &Schema) {
        let ids: Vec<u64> = (self.next_id..self.next_id + rng.random_range(1..=ROWS_MAX)).collect();
        self.next_id += ROWS_MAX;
        let is_bad = rng.random_bool(0.1);
        let value = |id, place| if is_bad && place == 3 { f32::NAN } else { (id + place as u64) as f32 + 1.0 };
        let batch = narrow_batch(schema, &ids, value);
        let payload = BatchView::from_arrow(schema, &batch).unwrap().encode(0).unwrap();
        let ticket = self.submitted.len() + 1;
        let ack = if rng.random_bool(0.8) { Ack::Durable } else { Ack::Memory };
        let staged = shard.stage(operation(schema, &payload), Presence::Any, None);
        let admitted =
            staged.and_then(|staged| shard.submit(staged, Payload::Copy(&payload), crc32c(&payload), ack, ticket));
        match admitted {
            Ok(_) => self.submitted.push(ids),
            Err(_) => self.refused.extend(ids),
        }
    }
}

fn check(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let schema = narrow(8);
    let disk = SimDisk::new(rng.random(), SEGMENT_BYTES, WRITE_BYTES);
    let arena = Arena::new(12 << 20, 12 << 20).unwrap();
    let mut client = Client::default();
    for _ in 0..RUNS {
        let partition = partition(&schema);
        let mut storage = disk.storage();
        let resume = replay(&mut storage, 0, &mut |lsn, payload| {
            let mut partition = partition.borrow_mut();
            let staged = partition.stage(operation(&schema, payload), None)?;
            partition.publish(staged, lsn);
            Ok(())
        });
        client.settle_on(&visible(&partition.borrow()));
        disk.set_faults(Faults {
            short: 0.1,
            fail_write: rng.random_bool(0.2).then_some(disk.writes() + rng.random_range(1..60)),
            ..Faults::default()
        });
        let wal = Wal::open(storage, &arena, &resume.unwrap()).unwrap();
        let mut shard = Shard::new(partition);
        shard.open_log(wal);
        client.run(&mut rng, &mut shard, &schema);
        disk.crash(if rng.random_bool(0.5) { Crash::Kill } else { Crash::PowerLoss });
    }
}

#[test]
fn what_was_answered_or_seen_survives_and_what_was_refused_left_no_trace() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        check(seed);
    }
}
