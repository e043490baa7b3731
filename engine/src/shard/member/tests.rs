//! Rows are moved while they are read, replaced, deleted, snapshotted and recovered: whoever looks sees each of them once, as it was
//! written.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::batch::BatchView;
use crate::batch::samples::{self, Random};
use crate::collection::{CollectionOptions, CollectionSpec};
use crate::error::Error;
use crate::ids::IdList;
use crate::manifest::SnapshotEntry;
use crate::region::View;
use crate::schema::{IdKind, IdRef, Schema};
use crate::shard::{Operation, Partition, Staged};
use crate::snapshot::{self, Point};

const COLLECTION: u32 = 1;

fn collection(schema: &Arc<Schema>) -> Arc<Collection> {
    let (name, options) = ("rows".into(), CollectionOptions::default());
    Collection::new(CollectionSpec { id: COLLECTION, name, schema: schema.clone(), options }, 1).unwrap()
}

fn partition(collection: &Arc<Collection>) -> Partition {
    let mut partition = Partition::new(0);
    partition.install(Member::new(collection.clone(), 0));
    partition
}

/// Slots of some living rows of the oldest chunk that is full, from an offset on.
fn slots(partition: &Partition, offset: u32, rows_max: usize) -> Vec<u32> {
    let mut slots = Vec::new();
    let writer = &partition.member(COLLECTION).unwrap().writer;
    if let Some(chunk) = writer.living_chunks().next() {
        writer.living_slots(chunk, offset, rows_max, &mut slots);
    }
    slots
}

#[test]
fn a_row_that_is_moved_is_the_same_and_in_every_view_once() {
    for text_ids in [false, true] {
        let schema = samples::schema(text_ids);
        let collection = collection(&schema);
        let region = &collection.region;
        let mut partition = partition(&collection);
        let batch = samples::batch(&schema, 5_000, 0, 3, &mut Random(7));
        let batch = BatchView::from_arrow(&schema, &batch).unwrap().encode(0).unwrap();
        let write = Operation::Write { collection: COLLECTION, fingerprint: schema.fingerprint(), batch: &batch };
        let staged = partition.stage(write, None).unwrap();
        partition.publish(staged, 1);
        collection.vectors.iter().for_each(|index| _ = index.coded.train(5_000));
        let before = region.view();
        let from = slots(&partition, 100, 900);
        partition.move_rows(COLLECTION, &from, false).unwrap();
        let after = region.view();
        let to: Vec<u32> = (5_000..5_900).map(|slot| region.row(0, slot)).collect();
        let from: Vec<u32> = from.iter().map(|&slot| region.row(0, slot)).collect();
        let columns: Vec<usize> = (0..schema.columns().len()).collect();
        assert_eq!(region.take(&from, &columns).unwrap(), region.take(&to, &columns).unwrap());
        for (&from, &to) in from.iter().zip(&to) {
            assert_eq!((region.visible(&before, from), region.visible(&before, to)), (true, false));
            assert_eq!((region.visible(&after, from), region.visible(&after, to)), (false, true));
            let found =
                partition.find(COLLECTION, IdList::from_ids(id_kind(text_ids), [region.id(to)].into_iter()).view());
            assert_eq!(found.unwrap(), [Some(to)]);
        }
        for view in [&before, &after] {
            let mut rows = Vec::new();
            region.visible_rows(view, 0, 0..u64::MAX, &mut rows);
            assert_eq!(rows.len(), 5_000);
        }
        assert_eq!((collection.live_rows(), collection.dead_rows(), partition.rows_moved()), (5_000, 900, 900));
        for vector in 0..schema.vectors().len() {
            let Some(codes) = region.codes(vector) else { continue };
            let writer = &mut partition.member_mut(COLLECTION).unwrap().writer;
            writer.encode(vector, 0);
            writer.encode(vector, 1);
            assert!(
                from.iter().zip(&to).all(|(&from, &to)| codes.get(from) == codes.get(to)),
                "codes of vector {vector}"
            );
        }
    }
}

fn id_kind(text_ids: bool) -> IdKind {
    if text_ids { IdKind::Utf8 } else { IdKind::U64 }
}

/// Ids of the rows of a model, and its operations.
const IDS: u64 = 2_000;
const STEPS: usize = 300;
const ROWS_MAX: u64 = 900;

/// A record of the log.
#[derive(Clone)]
enum Record {
    /// Ids, and the version that they all get.
    Write(Vec<u64>, u64),
    Delete(Vec<u64>),
}

/// Versions by id.
type Content = BTreeMap<u64, u64>;

/// A shard, its log, and what it is to hold.
struct Model {
    schema: Arc<Schema>,
    collection: Arc<Collection>,
    partition: Partition,
    random: Random,
    /// Operations that wait for the log.
    staged: Vec<(Lsn, Staged)>,
    log: BTreeMap<Lsn, Record>,
    next: Lsn,
    published: Lsn,
    content: Content,
    /// Views, what they saw at first, and ids that were deleted since.
    views: Vec<(View, Content, BTreeSet<u64>)>,
    snapshot: Option<SnapshotEntry>,
    /// Where the snapshot that has begun stands.
    begun: Option<Point>,
    directory: tempfile::TempDir,
    retired: usize,
}

/// What a view sees.
fn content(collection: &Collection, view: &View) -> Content {
    let region = &collection.region;
    let (mut rows, mut content) = (Vec::new(), Content::new());
    region.visible_rows(view, 0, 0..u64::MAX, &mut rows);
    for row in rows {
        let IdRef::U64(id) = region.id(row) else { unreachable!("the ids are numbers") };
        let version = f32::from_le_bytes(region.vectors(0).get(row)[..4].try_into().unwrap());
        let before = content.insert(id, version as u64);
        assert_eq!(before, None, "id {id} is seen twice");
    }
    content
}

fn apply(partition: &mut Partition, schema: &Arc<Schema>, record: &Record) -> Staged {
    match record {
        Record::Write(ids, version) => {
            let batch = samples::narrow_batch(schema, ids, |_, _| *version as f32);
            let batch = BatchView::from_arrow(schema, &batch).unwrap().encode(0).unwrap();
            let fingerprint = schema.fingerprint();
            partition.stage(Operation::Write { collection: COLLECTION, fingerprint, batch: &batch }, None).unwrap()
        }
        Record::Delete(ids) => {
            let ids = IdList::from_ids(IdKind::U64, ids.iter().map(|&id| IdRef::U64(id)));
            partition.stage(Operation::Delete { collection: COLLECTION, ids: ids.view() }, None).unwrap()
        }
    }
}

impl Model {
    fn new(seed: u64) -> Model {
        let schema = samples::narrow(4);
        let collection = collection(&schema);
        Model {
            partition: partition(&collection),
            schema,
            collection,
            random: Random(seed),
            staged: Vec::new(),
            log: BTreeMap::new(),
            next: 1,
            published: 0,
            content: Content::new(),
            views: Vec::new(),
            snapshot: None,
            begun: None,
            directory: tempfile::tempdir().unwrap(),
            retired: 0,
        }
    }

    fn submit(&mut self, deletes: bool) {
        let rows = 1 + self.random.below(ROWS_MAX);
        let ids: BTreeSet<u64> = (0..rows).map(|_| self.random.below(IDS)).collect();
        let ids: Vec<u64> = ids.into_iter().collect();
        let record = if deletes { Record::Delete(ids) } else { Record::Write(ids, self.next) };
        let staged = apply(&mut self.partition, &self.schema, &record);
        self.log.insert(self.next, record);
        self.staged.push((self.next, staged));
        self.next += 1;
    }

    fn publish(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        let (lsn, staged) = self.staged.remove(0);
        self.partition.publish(staged, lsn);
        self.published = lsn;
        match &self.log[&lsn] {
            Record::Write(ids, version) => self.content.extend(ids.iter().map(|&id| (id, *version))),
            Record::Delete(ids) => {
                self.content.retain(|id, _| !ids.contains(id));
                self.views.iter_mut().for_each(|view| view.2.extend(ids));
            }
        }
    }

    /// The log fails: what is staged goes, the newest first.
    fn fail(&mut self) {
        while let Some((lsn, staged)) = self.staged.pop() {
            self.partition.unstage(staged);
            self.log.remove(&lsn);
        }
        self.next = self.published + 1;
    }

    fn shift(&mut self) {
        // All that lives of a chunk, or a part of it.
        let is_all = self.random.below(2) == 0;
        let offset = if is_all { 0 } else { self.random.below(4_096) as u32 };
        let rows_max = if is_all { 4_096 } else { 1 + self.random.below(700) as usize };
        let slots = slots(&self.partition, offset, rows_max);
        if !slots.is_empty() && self.partition.may_move(COLLECTION) {
            self.partition.move_rows(COLLECTION, &slots, false).unwrap();
        }
    }

    fn snapshot(&mut self) {
        let Some(point) = self.begun.take() else {
            self.partition.begin_snapshot();
            let published = vec![(COLLECTION, self.collection.region.published(0))];
            self.begun = Some(Point { lsn: self.published, published });
            return;
        };
        let number = self.snapshot.as_ref().map_or(1, |entry| entry.number + 1);
        let directory = self.directory.path().join(number.to_string());
        let lsn = point.lsn;
        self.snapshot =
            Some(snapshot::write(&directory, number, std::slice::from_ref(&self.collection), &[point]).unwrap().0);
        self.partition.end_snapshot(Some(lsn));
    }

    /// Chunks that have died are used again, as where no graph holds any of their rows.
    fn reclaim(&mut self) {
        let writer = &mut self.partition.member_mut(COLLECTION).unwrap().writer;
        for chunk in writer.take_dead() {
            writer.retire(chunk);
            self.retired += 1;
        }
        while writer.recycle().is_some() {}
    }

    fn look(&mut self) {
        let view = self.collection.region.view();
        assert_eq!(content(&self.collection, &view), self.content);
        self.views.push((view, self.content.clone(), BTreeSet::new()));
        if self.views.len() > 3 {
            let place = self.random.below(4) as usize;
            let (view, seen, deleted) = self.views.swap_remove(place);
            let mut now = content(&self.collection, &view);
            let is_kept = |id: &u64, _: &mut u64| !deleted.contains(id);
            now.retain(is_kept);
            let mut seen = seen;
            seen.retain(is_kept);
            assert_eq!(now, seen, "what a view sees has changed");
        }
    }

    /// Starts anew from the snapshot and the part of the log that is said to be needed.
    fn recover(&mut self) -> Result<(Partition, Content)> {
        let needed = self.partition.log_needed_from(self.published + 1);
        let collection = collection(&self.schema);
        let (mut recovered, from) = match &self.snapshot {
            None => (partition(&collection), needed),
            Some(entry) => {
                let directory = self.directory.path().join(entry.number.to_string());
                let member = snapshot::load_shard(&directory, &entry.collections[0], &collection, 0, &|_| ())?;
                let mut recovered = Partition::new(0);
                recovered.install(member);
                recovered.has_snapshot();
                (recovered, needed.max(entry.lsn[0] + 1))
            }
        };
        for (&lsn, record) in self.log.range(from..=self.published) {
            let staged = apply(&mut recovered, &self.schema, record);
            recovered.publish(staged, lsn);
        }
        let content = content(&collection, &collection.region.view());
        Ok((recovered, content))
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..12 => self.submit(false),
            12 => self.submit(true),
            13 => self.fail(),
            14 | 15 => self.look(),
            16 => self.reclaim(),
            17..20 if self.begun.is_some() => self.snapshot(),
            17 if self.random.below(3) == 0 => self.snapshot(),
            20..28 => self.shift(),
            _ => self.publish(),
        }
    }
}

#[test]
fn whatever_is_moved_between_operations_each_row_is_there_once_and_comes_back() -> Result<()> {
    let (mut moved, mut retired, mut cut) = (0, 0, 0);
    for seed in 1..13 {
        println!("seed {seed}");
        let mut model = Model::new(seed);
        for step in 0..STEPS {
            model.step();
            if step % 40 == 39 {
                let (_, content) = model.recover()?;
                assert_eq!(content, model.content, "what a start finds");
                cut += model.partition.log_needed_from(model.published + 1) - 1;
            }
        }
        moved += model.partition.rows_moved();
        retired += model.retired;
        // A run goes on from what was recovered, which has rows that the log does not hold.
        if let Some(entry) = model.snapshot.clone() {
            model.fail();
            let (recovered, _) = model.recover()?;
            model.collection = recovered.member(COLLECTION)?.collection.clone();
            (model.partition, model.snapshot, model.begun) = (recovered, Some(entry), None);
            model.views.clear();
            (0..STEPS).for_each(|_| model.step());
            assert_eq!(model.recover()?.1, model.content, "what a second start finds");
        }
    }
    println!("{moved} rows moved, {retired} chunks retired, {cut} records cut off");
    assert!(moved > 30_000 && retired > 20 && cut > 100, "{moved} rows moved, {retired} chunks retired, {cut} records");
    Ok(())
}

#[test]
fn the_record_of_a_row_that_was_moved_is_needed() {
    let schema = samples::narrow(4);
    let collection = collection(&schema);
    let mut partition = partition(&collection);
    let write = |partition: &mut Partition, ids: std::ops::Range<u64>, lsn| {
        let staged = apply(partition, &schema, &Record::Write(ids.collect(), lsn));
        partition.publish(staged, lsn);
    };
    write(&mut partition, 0..4_096, 1);
    write(&mut partition, 10_000..14_096, 2);
    write(&mut partition, 10..4_096, 3);
    assert_eq!(partition.log_needed_from(4), 1, "ten rows of the first record live");
    let slots = slots(&partition, 0, 4_096);
    partition.move_rows(COLLECTION, &slots, false).unwrap();
    assert_eq!(partition.log_needed_from(4), 1, "wherever they lie");
    assert!(partition.member(COLLECTION).unwrap().writer.is_spent(0), "their chunk is dead");
    write(&mut partition, 10_000..14_096, 4);
    assert_eq!(partition.log_needed_from(5), 1, "the second record is not");
    write(&mut partition, 10..4_096, 5);
    assert_eq!(partition.log_needed_from(6), 1, "the ten live");
    write(&mut partition, 0..10, 6);
    assert_eq!(partition.log_needed_from(7), 4, "nothing of the first three records lives");
}

#[test]
fn a_scan_under_way_keeps_rows_where_they_are() {
    let schema = samples::narrow(4);
    let collection = collection(&schema);
    let mut partition = partition(&collection);
    let staged = apply(&mut partition, &schema, &Record::Write((0..4_100).collect(), 1));
    partition.publish(staged, 1);
    collection.paging.begin_page();
    let slots = slots(&partition, 0, 10);
    partition.move_rows(COLLECTION, &slots, false).unwrap();
    assert_eq!((partition.rows_moved(), collection.live_rows()), (0, 4_100));
    partition.move_rows(COLLECTION, &slots, true).unwrap();
    assert_eq!((partition.rows_moved(), collection.live_rows()), (10, 4_100));
    let view = collection.region.view();
    assert_eq!(content(&collection, &view).len(), 4_100);
}

#[test]
fn rows_are_not_moved_where_there_is_no_room() {
    let schema = samples::narrow(4);
    let spec = CollectionSpec {
        id: COLLECTION,
        name: "rows".into(),
        schema: schema.clone(),
        options: CollectionOptions::default(),
    };
    let mut small = Collection::new(spec, 1).unwrap();
    let region = crate::region::Region::with_row_bits(schema.clone(), 1, 13).unwrap();
    Arc::get_mut(&mut small).expect("nobody else has it").region = region;
    let mut partition = partition(&small);
    let staged = apply(&mut partition, &schema, &Record::Write((0..8_100).collect(), 1));
    partition.publish(staged, 1);
    let slots = slots(&partition, 0, 200);
    let refused = partition.move_rows(COLLECTION, &slots, false);
    assert!(matches!(refused, Err(Error::RegionFull { .. })), "{refused:?}");
    assert!(partition.may_move(COLLECTION));
    assert_eq!(content(&small, &small.region.view()).len(), 8_100);
}
