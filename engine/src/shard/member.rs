//! A shard's part of one collection: its rows, which of them is the newest of an id, and where the log holds them.
//!
//! Rows can be moved to other slots, so that sparse chunks come free (`indexing/compact.rs`). A move is no operation: nothing of it is
//! logged, as where a row lies is not durable, and the record that a row needs stays the one that it was written by.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashSet;

use super::text::{self, TextColumn};
use super::unpublished::{Change, Unpublished};
use super::{Outcome, Presence};
use crate::batch::BatchView;
use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::ids::{IdMap, IdsView};
use crate::region::{CHUNK_ROWS, RegionWriter, Run, View};
use crate::schema::{IdRef, TimeToLive};
use crate::selection::accepts_filled;
use crate::wal::Lsn;

/// A shard's part of one collection.
pub struct Member {
    /// The collection.
    pub collection: Arc<Collection>,
    /// This shard's writer of its columns.
    pub writer: RegionWriter,
    /// Id to newest row.
    pub ids: IdMap,
    runs: Vec<Run>,
    /// Rows that the batch being published replaces, by slot, and the ordinals of those that do.
    replaced: Vec<(u32, u64)>,
    /// Chunk numbers of rows that the log holds, ascending, and the first record with a row of each. Where rows were moved to, that
    /// may be older than those of the chunks before.
    log_places: VecDeque<(u64, Lsn)>,
    moving: Option<Move>,
    /// What was staged and is not published yet.
    pub(super) unpublished: Unpublished,
    /// Earliest time of the rows that were looked at since a measure of them began, and of those that came since.
    measured: i64,
    noted: i64,
    /// Indexes of its columns of text, as far as anybody has asked for them.
    texts: Vec<TextColumn>,
}

/// Rows that were copied to new slots, behind everything that was staged before. They are published when that is: at once, if there
/// is nothing.
struct Move {
    /// Ordinals of the copies.
    ordinals: Range<u64>,
    /// Slot and ordinal of each row that was copied; all of one chunk.
    from: Vec<(u32, u64)>,
    /// Scans that are under way may see rows twice.
    is_urgent: bool,
}

impl Member {
    /// This shard's part of `collection`, empty.
    pub fn new(collection: Arc<Collection>, shard: usize) -> Member {
        let mut writer = RegionWriter::new(collection.region.clone(), shard);
        let texts = text::eager_columns(&collection, shard);
        for (vector, index) in collection.vectors.iter().enumerate() {
            if let Some(encoder) = index.coded.encoder() {
                writer.set_encoder(vector, Arc::new(encoder.clone()));
            }
        }
        Member {
            collection,
            writer,
            ids: IdMap::default(),
            runs: Vec::new(),
            replaced: Vec::new(),
            log_places: VecDeque::new(),
            moving: None,
            unpublished: Unpublished::default(),
            measured: i64::MAX,
            noted: i64::MAX,
            texts,
        }
    }

    /// Notes an operation that was staged.
    pub(super) fn note_staged(&mut self, change: Change) {
        self.unpublished.push(change, &self.writer);
    }

    /// Forgets the operation that was staged last. To be called before its rows are taken back.
    pub(super) fn unstage(&mut self) {
        self.unpublished.pop_back();
    }

    /// Forgets the oldest operation that was staged. To be called before it is published.
    pub(super) fn note_published(&mut self) {
        self.unpublished.pop_front(&self.writer);
    }

    /// Slot of the newest row of an id once everything that was staged is published.
    pub(super) fn newest(&mut self, id: IdRef<'_>) -> Option<u32> {
        self.unpublished.newest(id, &self.writer).unwrap_or_else(|| {
            let stored = self.writer.ids();
            self.ids.get(id, |slot| stored.get(slot))
        })
    }

    /// Whether a filter is true of a row, by its slot, published or not.
    pub(super) fn accepts(&self, filter: &Filter, slot: u32) -> bool {
        accepts_filled(filter, &self.writer, slot)
    }

    /// As `newest`, if the row is not expired: `gone` is what [`Collection::last_expired`] gave.
    pub(super) fn newest_living(&mut self, id: IdRef<'_>, gone: Option<(&TimeToLive, i64)>) -> Option<u32> {
        let slot = self.newest(id)?;
        (!self.is_gone(gone, slot)).then_some(slot)
    }

    /// Whether the time of a row, by its slot, is over.
    pub(super) fn is_gone(&self, gone: Option<(&TimeToLive, i64)>, slot: u32) -> bool {
        gone.is_some_and(|(ttl, last)| self.time(ttl, slot).is_some_and(|time| time <= last))
    }

    /// The time of a filled row; None where it lives for ever.
    fn time(&self, ttl: &TimeToLive, slot: u32) -> Option<i64> {
        let is_valid = self.writer.is_valid(ttl.column, slot);
        is_valid.then(|| ttl.value(self.writer.fixed_rows(ttl.column, slot..slot + 1)))
    }

    /// Notes the times of rows that were filled in.
    pub(super) fn note_times(&mut self, batch: &BatchView<'_>) {
        let Some(expiry) = &self.collection.expiry else { return };
        let (ttl, column) = (expiry.ttl(), batch.column(expiry.ttl().column));
        let rows = (0..batch.rows()).filter(|&row| column.is_valid(row));
        if let Some(earliest) = rows.map(|row| ttl.value(column.fixed(row))).min() {
            expiry.note(self.writer.shard(), earliest);
            self.noted = self.noted.min(earliest);
        }
    }

    /// Finds out the earliest time of the rows that were loaded.
    pub(super) fn measure_loaded(&mut self) {
        let Some(expiry) = &self.collection.expiry else { return };
        let mut runs = Vec::new();
        self.writer.runs(0..self.writer.filled(), &mut runs);
        let times = runs.iter().flat_map(Run::slots).filter_map(|slot| self.time(expiry.ttl(), slot));
        if let Some(earliest) = times.min() {
            expiry.note(self.writer.shard(), earliest);
        }
    }

    /// The rows are about to be looked at, to find out their earliest time.
    pub(super) fn begin_measure(&mut self) {
        (self.measured, self.noted) = (i64::MAX, i64::MAX);
    }

    /// Looks at rows of one chunk, as far as they are visible in a view.
    pub(super) fn measure(&mut self, view: &View, rows: Range<u32>) {
        let collection = self.collection.clone();
        let Some(expiry) = &collection.expiry else { return };
        let mut visible = Vec::new();
        collection.region.visible_in_chunk(view, rows, &mut visible);
        let slots = visible.into_iter().map(|row| collection.region.locate(row).1);
        if let Some(earliest) = slots.filter_map(|slot| self.time(expiry.ttl(), slot)).min() {
            self.measured = self.measured.min(earliest);
        }
    }

    /// All rows that were there when it began have been looked at.
    pub(super) fn end_measure(&mut self) {
        if let Some(expiry) = &self.collection.expiry {
            expiry.set_earliest(self.writer.shard(), self.measured.min(self.noted));
        }
    }

    /// Refuses a batch whose ids are not what is demanded of them.
    pub(super) fn check_presence(&mut self, batch: &BatchView<'_>, presence: Presence) -> Result<()> {
        if presence == Presence::Any {
            return Ok(());
        }
        let collection = self.collection.clone();
        let gone = collection.last_expired();
        let mut seen = HashSet::new();
        for id in (0..batch.rows()).map(|row| batch.id(row)) {
            let is_there = self.newest_living(id, gone).is_some();
            match presence {
                Presence::Absent if is_there || (batch.rows() > 1 && !seen.insert(id)) => {
                    return Err(Error::RowExists { id: id.to_string() });
                }
                Presence::Present if !is_there => return Err(Error::RowMissing { id: id.to_string() }),
                _ => {}
            }
        }
        Ok(())
    }

    /// The index of a column of text, which is made where there is none yet.
    pub fn text_mut(&mut self, column: usize) -> &mut TextColumn {
        let place = self.texts.iter().position(|text| text.column() == column).unwrap_or_else(|| {
            self.texts.push(TextColumn::new(self.collection.clone(), self.writer.shard(), column));
            self.texts.len() - 1
        });
        &mut self.texts[place]
    }

    /// Whether a column of text has an index.
    pub fn has_text(&self, column: usize) -> bool {
        self.texts.iter().any(|text| text.column() == column)
    }

    /// Whether any has.
    pub fn has_texts(&self) -> bool {
        !self.texts.is_empty()
    }

    /// Idle work of its text indexes, one step of each; false where there is nothing to do.
    pub fn tend_texts(&mut self) -> bool {
        let mut worked = false;
        self.texts.iter_mut().for_each(|text| worked |= text.tend());
        worked
    }

    pub(super) fn publish(&mut self, ordinals: Range<u64>, lsn: Lsn) -> Outcome {
        let Member { writer, ids, runs, replaced, texts, .. } = self;
        writer.runs(ordinals.clone(), runs);
        replaced.clear();
        let stored = writer.ids();
        for run in runs.iter() {
            for (slot, ordinal) in run.slots().zip(run.ordinal..) {
                replaced.extend(ids.insert(slot, |slot| stored.get(slot)).map(|old| (old, ordinal)));
            }
        }
        rows_die(texts, writer, replaced.iter().map(|&(slot, _)| slot));
        // Before the new rows are published: a reader whose view ends below one still sees the older row.
        writer.replace(replaced);
        writer.publish(ordinals.end);
        let outcome = Outcome {
            rows: (ordinals.end - ordinals.start) as u32,
            replaced: replaced.len() as u32,
            ..Outcome::default()
        };
        self.note_record(ordinals, lsn);
        outcome
    }

    /// Whether rows that were moved wait for what was staged before them.
    pub(super) fn is_moving(&self) -> bool {
        self.moving.is_some()
    }

    /// Copies rows of one chunk, by their slots, to new slots; [`Member::publish_moved`] comes next.
    pub(super) fn copy(&mut self, slots: &[u32], is_urgent: bool) -> Result<()> {
        assert!(!slots.is_empty() && !self.is_moving());
        let ordinals = self.writer.copy_rows(slots)?;
        let from = slots.iter().map(|&slot| (slot, self.writer.ordinal(slot))).collect();
        self.moving = Some(Move { ordinals, from, is_urgent });
        Ok(())
    }

    /// Takes rows back from an ordinal on that were filled in and not published.
    pub(super) fn unfill(&mut self, ordinal: u64) {
        self.moving.take_if(|moving| moving.ordinals.start >= ordinal);
        self.writer.unfill(ordinal);
    }

    /// Publishes rows that were moved, unless something that was staged before them is not published yet. Where the move is called off,
    /// the copies are dead when they are published, and so are those of rows that have died meanwhile. Returns how many live.
    pub(super) fn publish_moved(&mut self, is_called_off: bool) -> u64 {
        let published = self.collection.region.published(self.writer.shard());
        let Some(moved) = self.moving.take_if(|moving| moving.ordinals.start == published) else { return 0 };
        let collection = self.collection.clone();
        collection
            .paging
            .publish_moved(|is_read| self.take_over(&moved, is_called_off || (is_read && !moved.is_urgent)));
        // The record of a row that was moved is the one that it was written by. Those of a snapshot have none in the log.
        let number = moved.from[0].1 / u64::from(CHUNK_ROWS);
        if let Ok(place) = self.log_places.binary_search_by_key(&number, |place| place.0) {
            self.note_record(moved.ordinals, self.log_places[place].1);
        }
        self.replaced.len() as u64
    }

    fn take_over(&mut self, moved: &Move, is_called_off: bool) {
        let Member { collection, writer, ids, runs, replaced, texts, .. } = self;
        writer.runs(moved.ordinals.clone(), runs);
        replaced.clear();
        let copies = runs.iter().flat_map(Run::slots).zip(moved.ordinals.clone());
        for ((slot, ordinal), &(old_slot, old_ordinal)) in copies.zip(&moved.from) {
            if is_called_off || !collection.region.lives_at(writer.shard(), old_slot, old_ordinal) {
                writer.delete(slot);
                continue;
            }
            let stored = writer.ids();
            let before = ids.insert(slot, |slot| stored.get(slot));
            assert_eq!(before, Some(old_slot), "a row that lives is the newest of its id");
            replaced.push((old_slot, ordinal));
        }
        rows_die(texts, writer, replaced.iter().map(|&(slot, _)| slot));
        // Before the copies are published: a reader whose view ends below one still sees the row that it was made of.
        writer.take_over(replaced);
        writer.publish(moved.ordinals.end);
    }

    /// Notes that rows of these ordinals are in a record of the log, or behind it.
    fn note_record(&mut self, ordinals: Range<u64>, lsn: Lsn) {
        let chunk = u64::from(CHUNK_ROWS);
        for number in ordinals.start / chunk..ordinals.end.div_ceil(chunk) {
            match self.log_places.binary_search_by_key(&number, |place| place.0) {
                Ok(place) => self.log_places[place].1 = self.log_places[place].1.min(lsn),
                Err(place) => self.log_places.insert(place, (number, lsn)),
            }
        }
    }

    /// Rows of records up to this one are in a snapshot: a start does not need these. Rows that are moved again and again would hold
    /// on to the oldest of them for ever, as the record of a chunk is that of any row in it.
    pub(super) fn forget_records(&mut self, lsn: Lsn) {
        self.log_places.iter_mut().for_each(|place| place.1 = place.1.max(lsn + 1));
    }

    /// First record with a row that lives, as far as whole chunks are looked at; None where the log has none.
    pub(super) fn log_needed_from(&mut self) -> Option<Lsn> {
        while self.log_places.front().is_some_and(|&(number, _)| self.writer.is_spent(number)) {
            self.log_places.pop_front();
        }
        let mut needed = self.log_places.front()?.1;
        for &(number, lsn) in &self.log_places {
            if lsn < needed && !self.writer.is_spent(number) {
                needed = lsn;
            }
        }
        Some(needed)
    }

    pub(super) fn delete(&mut self, list: IdsView<'_>) -> Outcome {
        let Member { writer, ids, texts, .. } = self;
        let mut deleted = 0;
        for id in list.iter() {
            let stored = writer.ids();
            if let Some(slot) = ids.remove(id, |slot| stored.get(slot)) {
                rows_die(texts, writer, std::iter::once(slot));
                writer.delete(slot);
                deleted += 1;
            }
        }
        Outcome { deleted, ..Outcome::default() }
    }

    /// Takes in the ids of loaded rows. False where two that live have the same.
    pub fn index_ids(&mut self) -> bool {
        let Member { collection, writer, ids, runs, .. } = self;
        writer.runs(0..writer.filled(), runs);
        let is_live = |slot: &u32| collection.region.is_live(collection.region.row(writer.shard(), *slot));
        let mut live = runs.iter().flat_map(Run::slots).filter(is_live);
        let stored = writer.ids();
        live.all(|slot| ids.insert(slot, |slot| stored.get(slot)).is_none())
    }
}

/// Tells the text indexes, if there are some, of rows that are about to die.
fn rows_die(texts: &mut [TextColumn], writer: &RegionWriter, slots: impl Iterator<Item = u32> + Clone) {
    for text in texts {
        slots.clone().for_each(|slot| text.row_dies(slot, writer.ordinal(slot)));
    }
}

#[cfg(test)]
mod tests;
