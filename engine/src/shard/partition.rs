//! A shard's rows of every collection: the one place where an operation changes data, live or in recovery.
//!
//! An operation goes through two steps, in the order of the log. `stage` checks it whole and fills its rows in above the
//! published length, where nobody sees them; it either takes all of the operation or leaves no trace. `publish` makes it
//! visible, once its record is durable. What is staged and never published (the log failed) is never seen.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::Member;
use super::unpublished::Change;
use super::update::{Merged, Skipped, Update};
use crate::batch::{self, Arriving, BatchView};
use crate::collection::{Collection, VectorIndex};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::ids::{IdList, IdsView};
use crate::namespace::{Reservation, Usage};
use crate::placement;
use crate::region::{Background, View};
use crate::schema::IdRef;
use crate::wal::Lsn;

/// What a write demands of the ids of its rows. It is decided when the write is staged, by the rows that will be there when its turn has
/// come, and is no part of what is logged: a replay may begin behind records that it was decided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    #[default]
    Any,
    /// That there is no row of any of them, and none comes twice.
    Absent,
    /// That there is a row of each.
    Present,
}

/// What a log record asks for. The log's payload is turned into this by whoever wrote it (the wire codec).
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// Insert rows, or replace those of the same id.
    Write {
        /// Collection number.
        collection: u32,
        /// Fingerprint of the schema that the batch was made for.
        fingerprint: u64,
        /// Arrow IPC record batch message.
        batch: &'a [u8],
    },
    /// Delete the rows of these ids.
    Delete {
        /// Collection number.
        collection: u32,
        /// The ids.
        ids: IdsView<'a>,
    },
}

impl Operation<'_> {
    /// Collection number.
    pub fn collection(&self) -> u32 {
        match *self {
            Operation::Write { collection, .. } | Operation::Delete { collection, .. } => collection,
        }
    }
}

/// An operation whose rows are filled in, or whose ids are kept, and that nobody sees yet.
#[derive(Debug)]
pub struct Staged {
    collection: u32,
    change: Change,
    /// Room in the quotas of a namespace, until it is published or taken back.
    reservation: Option<Reservation>,
}

impl Staged {
    /// Rows it writes, or ids it deletes.
    pub fn len(&self) -> u32 {
        match &self.change {
            Change::Write(ordinals) => (ordinals.end - ordinals.start) as u32,
            Change::Delete(ids) => ids.view().len() as u32,
        }
    }

    /// Holds room in the quotas of a namespace for as long as it is staged.
    pub(super) fn hold(&mut self, reservation: Option<Reservation>) {
        self.reservation = reservation;
    }

    /// Never true: empty operations are refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a published operation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows written.
    pub rows: u32,
    /// Rows that took the place of an older one of the same id.
    pub replaced: u32,
    /// Rows deleted.
    pub deleted: u32,
    /// Rows that an update left out.
    pub skipped: Skipped,
}

/// A shard's part of every collection.
pub struct Partition {
    shard: usize,
    members: HashMap<u32, Member>,
    /// Collections that have chunks to reclaim.
    reclaimable: Vec<u32>,
    /// There is a snapshot, which holds rows that the log does not.
    has_snapshot: bool,
    /// One is being written, of rows up to where the log stood: none may be moved away from it.
    is_snapshotted: bool,
    /// First record since the newest snapshot that deleted something, and the first since one was begun.
    first_delete: Option<Lsn>,
    next_delete: Option<Lsn>,
    filled_bytes: u64,
    rows_moved: u64,
    /// Brings memory.
    prefaulter: Background,
    /// Writes vectors to files.
    mover: Background,
}

impl Partition {
    /// A shard without collections.
    pub fn new(shard: usize) -> Partition {
        Partition {
            shard,
            members: HashMap::new(),
            reclaimable: Vec::new(),
            has_snapshot: false,
            is_snapshotted: false,
            first_delete: None,
            next_delete: None,
            filled_bytes: 0,
            rows_moved: 0,
            prefaulter: Background::new("prefault"),
            mover: Background::new("move-out"),
        }
    }

    /// Index of the shard.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Adds a collection.
    pub fn install(&mut self, mut member: Member) {
        member.measure_loaded();
        let id = member.collection.spec.id;
        self.reclaimable.push(id);
        let before = self.members.insert(id, member);
        assert!(before.is_none(), "collection {id} was installed twice");
    }

    /// Forgets a collection; operations on it that are staged will publish nothing.
    pub fn remove(&mut self, collection: u32) -> Option<Arc<Collection>> {
        self.members.remove(&collection).map(|member| member.collection)
    }

    /// First step of adding columns to a collection: makes room for them, in a version of it that nobody sees yet.
    ///
    /// # Errors
    /// `UnknownCollection`, `OutOfMemory`.
    pub fn prepare_columns(&mut self, extended: &Collection) -> Result<()> {
        self.member_mut(extended.spec.id)?.writer.adopt(extended.region.clone())
    }

    /// Instead of the second step: forgets the columns.
    pub fn give_columns_up(&mut self, collection: u32) {
        if let Ok(member) = self.member_mut(collection) {
            member.writer.give_up(member.collection.region.clone());
        }
    }

    /// Second step: the collection has the columns that were prepared.
    pub fn add_columns(&mut self, extended: &Arc<Collection>) {
        if let Ok(member) = self.member_mut(extended.spec.id) {
            assert!(Arc::ptr_eq(member.writer.region(), &extended.region), "it was prepared");
            member.collection = extended.clone();
        }
    }

    /// A collection's part.
    pub fn member(&self, collection: u32) -> Result<&Member> {
        self.members.get(&collection).ok_or_else(|| unknown(collection))
    }

    /// A collection's part, to change it.
    pub fn member_mut(&mut self, collection: u32) -> Result<&mut Member> {
        self.members.get_mut(&collection).ok_or_else(|| unknown(collection))
    }

    /// Bytes of batches copied into columns since the start.
    pub fn filled_bytes(&self) -> u64 {
        self.filled_bytes
    }

    /// Rows moved to other slots since the start.
    pub fn rows_moved(&self) -> u64 {
        self.rows_moved
    }

    /// All parts.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// The newest row of each id, in their order; none where its time is over.
    pub fn find(&self, collection: u32, ids: IdsView<'_>) -> Result<Vec<Option<u32>>> {
        let member = self.member(collection)?;
        ids.check(member.collection.spec.schema.id_kind())?;
        let region = &member.collection.region;
        let stored = member.writer.ids();
        let gone = member.collection.last_expired();
        let slot = |id| member.ids.get(id, |slot| stored.get(slot)).filter(|&slot| !member.is_gone(gone, slot));
        Ok(ids.iter().map(|id| slot(id).map(|slot| region.row(self.shard, slot))).collect())
    }

    /// Operations on a collection that were staged so far: see [`Partition::waits_for`].
    pub fn staged(&self, collection: u32) -> Result<u64> {
        Ok(self.member(collection)?.unpublished.staged())
    }

    /// Whether one of the first so many operations on a collection is not published yet. Those that the log refused count as published.
    pub fn waits_for(&self, collection: u32, staged: u64) -> Result<bool> {
        Ok(self.member(collection)?.unpublished.waits_for(staged))
    }

    /// Those of some ids whose newest row, be it staged or published, a filter is true of; None where there are none.
    pub fn matching(&mut self, collection: u32, filter: Option<&Filter>, ids: IdsView<'_>) -> Result<Option<IdList>> {
        let member = self.member_mut(collection)?;
        let kind = member.collection.spec.schema.id_kind();
        ids.check(kind)?;
        let matching = ids.iter().filter(|&id| match (member.newest(id), filter) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(slot), Some(filter)) => member.accepts(filter, slot),
        });
        let list = IdList::from_ids(kind, matching);
        Ok(Some(list).filter(|list| !list.view().is_empty()))
    }

    /// Begins to find out the earliest time of a collection's rows. All that is staged from now on counts by itself; what was staged before
    /// has to be published before a view of the rows is taken.
    pub fn begin_measure(&mut self, collection: u32) -> Result<()> {
        self.member_mut(collection)?.begin_measure();
        Ok(())
    }

    /// Goes on with it, by rows of one chunk in that view.
    pub fn measure(&mut self, collection: u32, view: &View, rows: Range<u32>) -> Result<()> {
        self.member_mut(collection)?.measure(view, rows);
        Ok(())
    }

    /// All rows of the view have been looked at.
    pub fn end_measure(&mut self, collection: u32) -> Result<()> {
        self.member_mut(collection)?.end_measure();
        Ok(())
    }

    /// Copies the vectors of a write ahead whose batch is still arriving; see [`RegionWriter::fill_ahead`].
    pub fn fill_ahead(&mut self, collection: u32, fingerprint: u64, arriving: &Arriving<'_>) {
        if let Some(member) = self.members.get_mut(&collection)
            && member.collection.spec.schema.version(fingerprint).is_some()
        {
            member.writer.fill_ahead(arriving);
        }
    }

    /// Holds a write against the quotas of its namespace, where it has one. The log is replayed without: what it has was admitted.
    ///
    /// # Errors
    /// `QuotaExceeded`, `RateExceeded`.
    pub fn admit(&self, operation: &Operation<'_>) -> Result<Option<Reservation>> {
        let Operation::Write { collection, fingerprint, batch, .. } = *operation else { return Ok(None) };
        let Ok(member) = self.member(collection) else { return Ok(None) };
        let limited = member.collection.namespace().filter(|namespace| namespace.is_limited());
        let Some(namespace) = limited else { return Ok(None) };
        let rows = batch::rows_of(batch)?;
        let usage = || Usage::of(namespace, self.members().map(|member| &member.collection));
        let new_rows = || {
            let schema = member.collection.spec.schema.known_version(fingerprint)?;
            let batch = BatchView::parse(schema, batch)?;
            let stored = member.writer.ids();
            let is_new = |id: &IdRef<'_>| member.ids.get(*id, |slot| stored.get(slot)).is_none();
            let new: HashSet<IdRef<'_>> = (0..batch.rows()).map(|row| batch.id(row)).filter(is_new).collect();
            Ok(new.len() as u64)
        };
        namespace.admit(rows as u64, batch.len() as u64, usage, new_rows).map(Some)
    }

    /// Checks an operation and fills its rows in. On an error nothing was taken. `arrival` is the number of a batch that
    /// [`Partition::fill_ahead`] was called for.
    pub fn stage(&mut self, operation: Operation<'_>, arrival: Option<u64>) -> Result<Staged> {
        self.stage_if(operation, Presence::Any, arrival)
    }

    /// As [`Partition::stage`], if the ids of the rows are what `presence` demands of them; deletes demand nothing.
    pub fn stage_if(&mut self, operation: Operation<'_>, presence: Presence, arrival: Option<u64>) -> Result<Staged> {
        let collection = operation.collection();
        let shard = self.shard;
        let member = self.members.get_mut(&collection).ok_or_else(|| unknown(collection))?;
        let shards = member.collection.shards();
        let schema = member.collection.spec.schema.clone();
        let change = match operation {
            Operation::Write { fingerprint, batch, .. } => {
                let batch = BatchView::parse(schema.known_version(fingerprint)?, batch)?;
                if batch.rows() == 0 {
                    return Err(Error::Empty { what: "batch" });
                }
                check_homes((0..batch.rows()).map(|row| batch.id(row)), shard, shards)?;
                batch.check_json()?;
                member.check_presence(&batch, presence)?;
                let slots = member.writer.fill_arrived(&batch, arrival);
                self.filled_bytes += member.writer.take_copied_bytes();
                let slots = slots?;
                member.note_times(&batch);
                member.writer.prefault(&mut self.prefaulter);
                Change::Write(slots)
            }
            Operation::Delete { ids, .. } => {
                ids.check(schema.id_kind())?;
                check_homes(ids.iter(), shard, shards)?;
                Change::Delete(Arc::new(IdList::from_view(ids)))
            }
        };
        member.note_staged(change.clone());
        Ok(Staged { collection, change, reservation: None })
    }

    /// Makes an update a write of whole rows, of the newest of the rows that it is about, behind `headroom` zero bytes. It holds until
    /// something else is staged.
    ///
    /// # Errors
    /// `RowMissing`, `ConditionFailed`, `Misplaced`; `LimitExceeded` where the whole rows have no room in a frame; what is wrong with its batch.
    pub fn merge(&mut self, update: &Update<'_>, headroom: usize) -> Result<Merged> {
        self.member_mut(update.collection)?.merge(update, headroom)
    }

    /// Takes the operation staged last back: its record was not accepted.
    pub fn unstage(&mut self, staged: Staged) {
        let Ok(member) = self.member_mut(staged.collection) else { return };
        member.unstage();
        if let Change::Write(ordinals) = staged.change {
            member.unfill(ordinals.start);
        }
    }

    /// Whether rows of a collection may be moved now: no snapshot is being written, and none are on their way.
    pub fn may_move(&self, collection: u32) -> bool {
        !self.is_snapshotted && self.members.get(&collection).is_some_and(|member| !member.is_moving())
    }

    /// Moves rows of one chunk, by their slots, to new slots. They keep their ids and everything else, and nothing is logged: where a
    /// row lies is not durable. Those that are replaced or deleted by an operation that was staged before stay gone. Nothing is moved
    /// while a scan is under way, unless it is urgent.
    ///
    /// # Errors
    /// For want of room; then all is as it was.
    ///
    /// # Panics
    /// If rows must not be moved now.
    pub fn move_rows(&mut self, collection: u32, slots: &[u32], is_urgent: bool) -> Result<()> {
        assert!(self.may_move(collection), "rows of collection {collection} must not be moved now");
        self.member_mut(collection)?.copy(slots, is_urgent)?;
        self.publish_moved(collection);
        Ok(())
    }

    /// Publishes rows that were moved, if their turn has come.
    fn publish_moved(&mut self, collection: u32) {
        let is_called_off = self.is_snapshotted;
        let Ok(member) = self.member_mut(collection) else { return };
        let moved = member.publish_moved(is_called_off);
        let has_dead = member.writer.has_dead();
        self.rows_moved += moved;
        if has_dead && !self.reclaimable.contains(&collection) {
            self.reclaimable.push(collection);
        }
    }

    /// Makes a staged operation visible, whose record has this LSN. Operations are published in the order in which they were
    /// staged.
    pub fn publish(&mut self, staged: Staged, lsn: Lsn) -> Outcome {
        let Ok(member) = self.member_mut(staged.collection) else {
            return Outcome::default(); // dropped since
        };
        member.note_published();
        let outcome = match staged.change {
            Change::Write(ordinals) => member.publish(ordinals, lsn),
            Change::Delete(ids) => member.delete(ids.view()),
        };
        self.publish_moved(staged.collection);
        if outcome.deleted > 0 {
            self.first_delete.get_or_insert(lsn);
            self.next_delete.get_or_insert(lsn);
        }
        outcome
    }

    /// First record of the log that a start needs, of those below `next`: what came before wrote only rows that were replaced or
    /// deleted since. With a snapshot there, no delete is forgotten: the row may be in the snapshot.
    pub fn log_needed_from(&mut self, next: Lsn) -> Lsn {
        let needed = self.members.values_mut().filter_map(Member::log_needed_from).min();
        let delete = self.first_delete.filter(|_| self.has_snapshot);
        needed.into_iter().chain(delete).min().unwrap_or(next).min(next)
    }

    /// A snapshot of all that is published now is about to be written.
    pub fn begin_snapshot(&mut self) {
        // It counts from now on: it may be valid, and hold rows that are deleted meanwhile, before this shard is told so.
        self.has_snapshot = true;
        self.next_delete = None;
        self.is_snapshotted = true;
    }

    /// The snapshot that was begun is written, and holds what the log has up to an LSN; or it has failed.
    pub fn end_snapshot(&mut self, written: Option<Lsn>) {
        self.is_snapshotted = false;
        if let Some(lsn) = written {
            self.members.values_mut().for_each(|member| member.forget_records(lsn));
            self.has_snapshot();
        }
    }

    /// The snapshot that was begun is there, or one was loaded.
    pub fn has_snapshot(&mut self) {
        self.has_snapshot = true;
        self.first_delete = self.next_delete;
    }

    /// To be called once a second: gives memory back that has not been needed for that long, and has vectors moved to disk that
    /// belong there.
    pub fn tidy(&mut self) {
        for Member { writer, collection, .. } in self.members.values_mut() {
            let shard = writer.shard();
            for chunk in writer.tidy() {
                collection.vectors.iter().for_each(|index| index.discard(shard, chunk));
            }
            // What is traversed stays.
            let movable = |index: &VectorIndex| if index.traverses_codes() { index.graph().indexed(shard) } else { 0 };
            writer.move_out(&mut self.mover, |vector| movable(&collection.vectors[vector]));
        }
    }

    /// Idle work of the text indexes: a step of each. None where there are none, else whether there was something to do.
    pub fn tend_texts(&mut self) -> Option<bool> {
        let mut with_texts = self.members.values_mut().filter(|member| member.has_texts()).peekable();
        with_texts.peek()?;
        let mut worked = false;
        with_texts.for_each(|member| worked |= member.tend_texts());
        Some(worked)
    }

    /// Collections in which chunks have died since the last call.
    pub fn take_reclaimable(&mut self) -> Vec<u32> {
        self.reclaimable.drain(..).collect()
    }
}

/// Refuses ids that live on another shard.
pub(super) fn check_homes<'a>(ids: impl Iterator<Item = IdRef<'a>>, shard: usize, shards: usize) -> Result<()> {
    if shards == 1 {
        return Ok(());
    }
    for (row, id) in ids.enumerate() {
        let home = placement::home(id, shards);
        if home != shard {
            return Err(Error::Misplaced { row, home, shard });
        }
    }
    Ok(())
}

fn unknown(collection: u32) -> Error {
    Error::UnknownCollection { name: format!("#{collection}") }
}
