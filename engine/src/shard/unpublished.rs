//! What a shard's part of a collection has staged and not published yet: conditions are decided by the rows that will be there when
//! their turn has come, and the id map knows the published ones alone.
//!
//! Plain operations leave a note each, in the order in which they are staged, and nothing else. The first operation with a condition
//! that finds such notes has an *overlay* made of them: the newest row of each id that they write or delete. From then on, what is
//! staged is entered there and what is published is taken out, so that a row costs the same however many wait. When all is published
//! that was staged when it was last asked, the overlay is gone: a flood of plain operations pays for one no longer than that.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::ids::{IdList, OwnedId, table_hash};
use crate::region::{RegionWriter, Run};
use crate::schema::IdRef;

/// What a staged operation does.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Writes the rows of these ordinals.
    Write(Range<u64>),
    /// Deletes the rows of these ids.
    Delete(Arc<IdList>),
}

/// The operations of one collection that are staged and not published, oldest first.
#[derive(Default)]
pub(super) struct Unpublished {
    changes: VecDeque<Change>,
    /// Operations published so far: the number of the oldest that waits.
    published: u64,
    overlay: Option<Overlay>,
    /// Operations that were staged when it was last asked.
    asked_at: u64,
    runs: Vec<Run>,
}

/// The newest row of each id that something waits for.
#[derive(Default)]
struct Overlay {
    entries: HashTable<Entry>,
}

struct Entry {
    id: OwnedId,
    /// Number of the newest operation on it.
    number: u64,
    /// The row that it wrote; None where it deleted.
    slot: Option<u32>,
}

impl Unpublished {
    /// Operations staged so far, published or not.
    pub fn staged(&self) -> u64 {
        self.published + self.changes.len() as u64
    }

    /// Whether one of the first so many operations that were staged is not published yet.
    pub fn waits_for(&self, staged: u64) -> bool {
        self.published < staged && !self.changes.is_empty()
    }

    /// An operation was staged.
    pub fn push(&mut self, change: Change, writer: &RegionWriter) {
        let number = self.staged();
        if let Some(overlay) = &mut self.overlay {
            overlay.enter(&change, number, writer, &mut self.runs);
        }
        self.changes.push_back(change);
    }

    /// The operation that was staged last will not be published.
    pub fn pop_back(&mut self) {
        self.changes.pop_back().expect("it was staged");
        // What it stood in front of is not known any more.
        self.overlay = None;
    }

    /// The oldest operation is published. To be called while its rows are where they were staged.
    pub fn pop_front(&mut self, writer: &RegionWriter) {
        let change = self.changes.pop_front().expect("it was staged");
        let number = self.published;
        self.published += 1;
        // Whoever asks next may have it made anew: it costs no more than what was spared by then.
        if self.changes.is_empty() || self.published >= self.asked_at {
            self.overlay = None;
        } else if let Some(overlay) = &mut self.overlay {
            overlay.take_out(&change, number, writer, &mut self.runs);
        }
    }

    /// What the newest operation that waits does to an id: the slot of the row that it writes, or None where it deletes. The outer
    /// None: none of them is about it, and what is published holds.
    pub fn newest(&mut self, id: IdRef<'_>, writer: &RegionWriter) -> Option<Option<u32>> {
        if self.changes.is_empty() {
            return None;
        }
        self.asked_at = self.staged();
        let (changes, first, runs) = (&self.changes, self.published, &mut self.runs);
        let overlay = self.overlay.get_or_insert_with(|| {
            let mut overlay = Overlay::default();
            for (change, number) in changes.iter().zip(first..) {
                overlay.enter(change, number, writer, runs);
            }
            overlay
        });
        overlay.find(id)
    }

    #[cfg(test)]
    pub fn overlay_len(&self) -> Option<usize> {
        self.overlay.as_ref().map(|overlay| overlay.entries.len())
    }
}

impl Overlay {
    fn find(&self, id: IdRef<'_>) -> Option<Option<u32>> {
        self.entries.find(table_hash(id), |entry| entry.id.as_ref() == id).map(|entry| entry.slot)
    }

    fn enter(&mut self, change: &Change, number: u64, writer: &RegionWriter, runs: &mut Vec<Run>) {
        each_id(change, writer, runs, |id, slot| {
            let hash = table_hash(id);
            match self.entries.find_mut(hash, |entry| entry.id.as_ref() == id) {
                Some(entry) => (entry.number, entry.slot) = (number, slot),
                None => {
                    let entry = Entry { id: OwnedId::of(id), number, slot };
                    self.entries.insert_unique(hash, entry, |entry| table_hash(entry.id.as_ref()));
                }
            }
        });
    }

    /// Forgets the ids of an operation that none after it is about.
    fn take_out(&mut self, change: &Change, number: u64, writer: &RegionWriter, runs: &mut Vec<Run>) {
        each_id(change, writer, runs, |id, _| {
            let is_last = |entry: &Entry| entry.number == number && entry.id.as_ref() == id;
            if let Ok(entry) = self.entries.find_entry(table_hash(id), is_last) {
                entry.remove();
            }
        });
    }
}

/// Calls `visit` with each id of an operation, and with the slot of its row where it writes one.
fn each_id(change: &Change, writer: &RegionWriter, runs: &mut Vec<Run>, mut visit: impl FnMut(IdRef<'_>, Option<u32>)) {
    match change {
        Change::Write(ordinals) => {
            writer.runs(ordinals.clone(), runs);
            let stored = writer.ids();
            runs.iter().flat_map(Run::slots).for_each(|slot| visit(stored.get(slot), Some(slot)));
        }
        Change::Delete(ids) => ids.view().iter().for_each(|id| visit(id, None)),
    }
}

#[cfg(test)]
mod tests;
