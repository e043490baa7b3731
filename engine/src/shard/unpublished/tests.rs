//! Writes that demand something of their ids, beside writes that do not, deletes and moves, published at any time: what is decided is what
//! the order of the operations says, and a replay that knows no conditions finds the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::BatchView;
use crate::batch::samples::{self, Random};
use crate::collection::{Collection, CollectionOptions, CollectionSpec};
use crate::error::Error;
use crate::ids::IdList;
use crate::schema::{IdKind, IdRef, Schema};
use crate::shard::{Member, Operation, Partition, Presence, Staged};

const COLLECTION: u32 = 1;
const IDS: u64 = 60;
const STEPS: usize = 2_000;

fn partition(schema: &Arc<Schema>) -> Partition {
    let (name, options) = ("rows".into(), CollectionOptions::default());
    let spec = CollectionSpec { id: COLLECTION, name, schema: schema.clone(), options };
    let mut partition = Partition::new(0);
    partition.install(Member::new(Collection::new(spec, 1).unwrap(), 0));
    partition
}

/// What was logged.
enum Record {
    Write(Vec<u8>),
    Delete(IdList),
}

impl Record {
    fn stage(&self, partition: &mut Partition, schema: &Schema, presence: Presence) -> Result<Staged, Error> {
        let (collection, fingerprint) = (COLLECTION, schema.fingerprint());
        let operation = match self {
            Record::Write(batch) => Operation::Write { collection, fingerprint, batch },
            Record::Delete(ids) => Operation::Delete { collection, ids: ids.view() },
        };
        partition.stage_if(operation, presence, None)
    }
}

fn write_of(schema: &Arc<Schema>, ids: &[u64], version: u64) -> Record {
    let batch = samples::narrow_batch(schema, ids, |_, _| version as f32);
    Record::Write(BatchView::from_arrow(schema, &batch).unwrap().encode(0).unwrap())
}

fn delete_of(ids: &[u64]) -> Record {
    Record::Delete(IdList::from_ids(IdKind::U64, ids.iter().map(|&id| IdRef::U64(id))))
}

/// Versions by id.
fn content(partition: &Partition) -> BTreeMap<u64, u64> {
    let region = &partition.member(COLLECTION).unwrap().collection.region;
    let mut rows = Vec::new();
    region.visible_rows(&region.view(), 0, 0..u64::MAX, &mut rows);
    let version = |row: u32| f32::from_le_bytes(region.vectors(0).get(row)[..4].try_into().unwrap()) as u64;
    let id = |row: u32| match region.id(row) {
        IdRef::U64(id) => id,
        IdRef::I64(_) | IdRef::Utf8(_) => unreachable!("the ids are u64"),
    };
    rows.into_iter().map(|row| (id(row), version(row))).collect()
}

fn overlay_len(partition: &Partition) -> Option<usize> {
    partition.member(COLLECTION).unwrap().unpublished.overlay_len()
}

/// Content once everything that was staged is published, and what of it is not.
struct Model {
    schema: Arc<Schema>,
    partition: Partition,
    random: Random,
    content: BTreeMap<u64, u64>,
    waiting: std::collections::VecDeque<(u64, Staged)>,
    log: Vec<(u64, Record)>,
    refused: usize,
    accepted: usize,
}

impl Model {
    fn ids(&mut self) -> Vec<u64> {
        let count = 1 + self.random.below(4);
        (0..count).map(|_| self.random.below(IDS)).collect()
    }

    fn submit(&mut self) {
        let (ids, number) = (self.ids(), self.log.len() as u64 + 1);
        let presence = [Presence::Any, Presence::Absent, Presence::Present][self.random.below(3) as usize];
        let is_delete = self.random.below(4) == 0;
        let record = if is_delete { delete_of(&ids) } else { write_of(&self.schema, &ids, number) };
        let is_there = |id: &u64| self.content.contains_key(id);
        let comes_twice = (1..ids.len()).any(|place| ids[..place].contains(&ids[place]));
        let is_met = match presence {
            _ if is_delete => true,
            Presence::Any => true,
            Presence::Absent => !comes_twice && !ids.iter().any(is_there),
            Presence::Present => ids.iter().all(is_there),
        };
        match record.stage(&mut self.partition, &self.schema, presence) {
            Ok(staged) => {
                assert!(is_met, "{presence:?} of {ids:?} was accepted");
                self.accepted += usize::from(presence != Presence::Any);
                self.waiting.push_back((number, staged));
                match record {
                    Record::Delete(_) => self.content.retain(|id, _| !ids.contains(id)),
                    Record::Write(_) => self.content.extend(ids.iter().map(|&id| (id, number))),
                }
                self.log.push((number, record));
            }
            Err(error) => {
                assert!(!is_met, "{presence:?} of {ids:?} was refused: {error}");
                let named = |id: &str| ids.contains(&id.parse().unwrap());
                match (presence, &error) {
                    (Presence::Absent, Error::RowExists { id }) => assert!(named(id)),
                    (Presence::Present, Error::RowMissing { id }) => {
                        assert!(named(id) && !self.content.contains_key(&id.parse().unwrap()));
                    }
                    _ => panic!("{presence:?} was refused: {error}"),
                }
                self.refused += 1;
            }
        }
    }

    fn publish(&mut self) {
        if let Some((lsn, staged)) = self.waiting.pop_front() {
            self.partition.publish(staged, lsn);
        }
    }

    /// The log refuses what came last: it is as if it had never come.
    fn unstage(&mut self) {
        let Some((_, staged)) = self.waiting.pop_back() else { return };
        self.partition.unstage(staged);
        self.log.pop();
        self.content = self.replayed();
    }

    fn replayed(&self) -> BTreeMap<u64, u64> {
        let mut replayed = partition(&self.schema);
        for (lsn, record) in &self.log {
            let staged = record.stage(&mut replayed, &self.schema, Presence::Any).unwrap();
            replayed.publish(staged, *lsn);
        }
        content(&replayed)
    }

    fn shift(&mut self) {
        let writer = &self.partition.member(COLLECTION).unwrap().writer;
        let mut slots = Vec::new();
        if let Some(chunk) = writer.living_chunks().next() {
            writer.living_slots(chunk, 0, 20, &mut slots);
        }
        if !slots.is_empty() && self.partition.may_move(COLLECTION) {
            self.partition.move_rows(COLLECTION, &slots, true).unwrap();
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..10 => self.submit(),
            10 => self.unstage(),
            11 => self.shift(),
            _ => self.publish(),
        }
        assert!(overlay_len(&self.partition).unwrap_or(0) <= 4 * self.waiting.len(), "it holds what waits alone");
        if self.waiting.is_empty() {
            assert_eq!(overlay_len(&self.partition), None);
            assert_eq!(content(&self.partition), self.content);
        }
    }
}

#[test]
fn conditions_are_decided_by_the_order_of_the_operations() {
    for seed in 1..6 {
        println!("seed {seed}");
        let schema = samples::narrow(4);
        let mut model = Model {
            partition: partition(&schema),
            schema,
            random: Random(seed),
            content: BTreeMap::new(),
            waiting: Default::default(),
            log: Vec::new(),
            refused: 0,
            accepted: 0,
        };
        (0..STEPS).for_each(|_| model.step());
        while !model.waiting.is_empty() {
            model.publish();
        }
        assert_eq!(content(&model.partition), model.content);
        assert_eq!(model.replayed(), model.content, "a replay knows no conditions");
        assert!(model.refused > 100 && model.accepted > 100, "{} refused, {} accepted", model.refused, model.accepted);
    }
}

#[test]
fn plain_writes_make_no_overlay_and_pipelined_inserts_enter_one_row_each() {
    let schema = samples::narrow(4);
    let mut partition = partition(&schema);
    let mut waiting = Vec::new();
    for id in 0..100 {
        waiting.push(write_of(&schema, &[id], 1).stage(&mut partition, &schema, Presence::Any).unwrap());
    }
    assert_eq!(overlay_len(&partition), None);
    for id in 100..200 {
        waiting.push(write_of(&schema, &[id], 1).stage(&mut partition, &schema, Presence::Absent).unwrap());
        assert_eq!(overlay_len(&partition), Some(id as usize + 1));
    }
    let refused = write_of(&schema, &[150], 2).stage(&mut partition, &schema, Presence::Absent);
    assert!(matches!(&refused, Err(Error::RowExists { id }) if id == "150"), "{refused:?}");
    for (published, staged) in waiting.into_iter().enumerate() {
        partition.publish(staged, published as u64 + 1);
        let left = 199 - published;
        assert_eq!(overlay_len(&partition), (left > 0).then_some(left));
    }
    assert_eq!(content(&partition).len(), 200);
    // One insert among plain writes that go on and on: they pay for the overlay until it is published.
    let mut waiting = std::collections::VecDeque::new();
    for id in 0..10 {
        waiting.push_back(write_of(&schema, &[id], 2).stage(&mut partition, &schema, Presence::Any).unwrap());
    }
    waiting.push_back(write_of(&schema, &[500], 2).stage(&mut partition, &schema, Presence::Absent).unwrap());
    for lsn in 201..240 {
        waiting.push_back(write_of(&schema, &[lsn], 2).stage(&mut partition, &schema, Presence::Any).unwrap());
        partition.publish(waiting.pop_front().unwrap(), lsn);
        assert_eq!(overlay_len(&partition).is_some(), lsn < 210, "{} published since", lsn - 200);
    }
}
