//! Which chunks are emptied so that they can be filled again: those of which a few rows live.
//!
//! Rows that die in no order leave chunks behind of which some live, and such a chunk keeps its memory. Once a second it is looked which
//! chunks are sparse ([`Indexing::look_for_sparse`]); their last rows are moved to new slots, the sparsest first, and what is dead then
//! is reclaimed as always (`reclaim`). A row that was moved is indexed as a new one is.
//!
//! | dead rows in chunks that live, beside the living | what happens |
//! |---|---|
//! | up to an eighth | nothing |
//! | more | rows are moved while the shard has nothing else to do, until it is a sixteenth |
//! | more than living ones | rows are moved beside other work too, for one part in ten of the time |
//!
//! A chunk that dies by itself before long is left alone: rows that are written round and round cost nothing. The chunk of a graph's
//! root stays where it is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Indexing, Member};
use crate::limits;
use crate::region::{CHUNK_ROWS, LivingChunk};

/// A chunk is left alone in idle time that has lost one in so many of its living rows since it was last looked.
const QUIET_PART: u32 = 8;
/// A chunk is not worth while of which more than seven in so many rows live.
const DENSE_PART: u32 = 8;
/// How long rows are not moved because that would undo what was copied of a batch that is arriving.
const DEFER_MAX: Duration = Duration::from_millis(20);

/// When rows are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The shard has nothing else to do.
    Idle,
    /// Beside whatever it does: more rows are dead than live.
    Pressing,
}

/// The sparse chunks of one collection.
pub(super) struct Compaction {
    pub collection: u32,
    /// Rows that lived at the last look, by the number of their chunk.
    seen: HashMap<u64, u32>,
    /// Chunks that are to be emptied; the sparsest is the last.
    chunks: Vec<LivingChunk>,
    /// First row of that one that was not looked at.
    offset: u32,
    /// Rows that live, and dead ones in chunks that do, as far as that is known since the last look.
    live: u64,
    garbage: u64,
    /// There was enough to begin with, and too much is left to end.
    is_on: bool,
}

impl Indexing {
    /// To be called once a second: looks which chunks are sparse, and which of them do not become so by themselves.
    pub fn look_for_sparse(&mut self) {
        let partition = self.partition.borrow();
        self.compactions.retain(|compaction| partition.member(compaction.collection).is_ok());
        for member in partition.members() {
            let collection = member.collection.spec.id;
            let known = self.compactions.iter().position(|compaction| compaction.collection == collection);
            let which = known.unwrap_or_else(|| {
                self.compactions.push(Compaction::new(collection));
                self.compactions.len() - 1
            });
            self.compactions[which].plan(member, self.shard);
        }
    }

    /// Whether there are chunks to be emptied in idle time.
    pub fn has_sparse(&self) -> bool {
        self.compactions.iter().any(|compaction| !compaction.chunks.is_empty())
    }

    /// Moves some rows, if there are some to be moved at this pace, and they may be now. In idle time, when all are where they are to
    /// be, what has died by that is taken out of the graphs. True if there is something new to go on with.
    pub fn compact(&mut self, pace: Pace) -> bool {
        let is_wanted = |compaction: &Compaction| pace == Pace::Idle || compaction.is_pressing();
        if self.paused {
            return false;
        }
        if !self.compactions.iter().any(|compaction| compaction.has_work() && is_wanted(compaction)) {
            return pace == Pace::Idle && self.reclaim_few();
        }
        let began = Instant::now();
        if pace == Pace::Pressing && began < self.compact_due {
            return false;
        }
        let moved = (0..self.compactions.len()).any(|which| {
            let compaction = &self.compactions[which];
            compaction.has_work() && is_wanted(compaction) && self.move_some(which, pace, began)
        });
        if moved {
            let end = Instant::now();
            self.compact_due = end + (end - began) * (limits::COMPACT_TIME_SHARE - 1);
        }
        moved
    }

    fn move_some(&mut self, which: usize, pace: Pace, now: Instant) -> bool {
        let collection = self.compactions[which].collection;
        if self.is_in_round(collection)
            || (pace == Pace::Idle && self.waiting_rows(collection) > limits::COMPACT_WAITING_ROWS_MAX)
        {
            return false;
        }
        let mut partition = self.partition.borrow_mut();
        if !partition.may_move(collection) {
            return false;
        }
        let Ok(member) = partition.member(collection) else { return false };
        let compaction = &mut self.compactions[which];
        let is_deferred =
            pace == Pace::Pressing && member.writer.is_filled_ahead() && now < self.compact_due + DEFER_MAX;
        if is_deferred || (member.collection.paging.is_read() && !compaction.is_urgent()) {
            return false;
        }
        let mut slots = Vec::new();
        let emptied = compaction.next_slots(member, slice_rows(member, pace), &mut slots);
        self.metrics.chunks_compacted.add(emptied);
        if slots.is_empty() {
            return false;
        }
        if let Err(error) = partition.move_rows(collection, &slots, compaction.is_urgent()) {
            tracing::warn!(%error, "rows of sparse chunks could not be moved; it is tried again");
            compaction.chunks.clear();
            return false;
        }
        true
    }

    /// Rows of a collection and this shard that are still to be inserted into a graph.
    fn waiting_rows(&self, collection: u32) -> u64 {
        let jobs = self.jobs.iter().filter(|job| job.collection.spec.id == collection);
        jobs.map(|job| job.collection.region.published(self.shard).saturating_sub(job.next)).max().unwrap_or(0)
    }
}

impl Compaction {
    fn new(collection: u32) -> Compaction {
        let (seen, chunks) = (HashMap::new(), Vec::new());
        Compaction { collection, seen, chunks, offset: 0, live: 0, garbage: 0, is_on: false }
    }

    /// Chooses chunks anew.
    fn plan(&mut self, member: &Member, shard: usize) {
        let region = &member.collection.region;
        let graphs = || member.collection.vectors.iter().map(|index| index.graph());
        let holds_root = |chunk: u32| graphs().any(|graph| graph.holds_root(shard, chunk));
        let mut chunks: Vec<_> =
            member.writer.living_chunks().filter(|living| living.dead() > 0 && !holds_root(living.chunk)).collect();
        self.live = region.rows_of(shard).saturating_sub(region.dead_rows(shard));
        self.garbage = chunks.iter().map(|chunk| u64::from(chunk.dead())).sum();
        self.is_on = self.garbage * limits::compact_part(self.is_on) > self.live;
        let seen = chunks.iter().map(|chunk| (chunk.number, chunk.live)).collect();
        let before = std::mem::replace(&mut self.seen, seen);
        let begun = self.chunks.last().filter(|_| self.offset > 0).map(|chunk| chunk.number);
        (self.chunks, self.offset) = (Vec::new(), 0);
        if !self.is_on {
            return;
        }
        let is_pressing = self.is_pressing();
        chunks.retain(|chunk| {
            let lost = before.get(&chunk.number).map_or(CHUNK_ROWS, |&live| live) - chunk.live;
            if Some(chunk.number) == begun {
                return true; // it was rows that were moved out of it
            }
            let is_quiet = if is_pressing { lost < chunk.live } else { lost * QUIET_PART <= chunk.live };
            is_quiet && chunk.live <= CHUNK_ROWS - CHUNK_ROWS / DENSE_PART
        });
        chunks.sort_unstable_by_key(|chunk| (chunk.live, chunk.number));
        let mut left = self.garbage;
        let enough = chunks.iter().position(|chunk| {
            let is_enough = left * limits::compact_part(true) <= self.live;
            left -= u64::from(chunk.dead());
            is_enough
        });
        chunks.truncate(enough.unwrap_or(chunks.len()));
        chunks.reverse();
        self.chunks = chunks;
    }

    fn has_work(&self) -> bool {
        !self.chunks.is_empty()
    }

    fn is_pressing(&self) -> bool {
        self.garbage > self.live && self.garbage >= limits::COMPACT_PRESSING_ROWS_MIN
    }

    /// Rows are moved even while somebody pages through them.
    fn is_urgent(&self) -> bool {
        self.is_pressing() && self.garbage > self.live * limits::COMPACT_URGENT_PART
    }

    /// The next rows to be moved, all of one chunk. Returns the number of chunks that are done with.
    fn next_slots(&mut self, member: &Member, rows_max: usize, slots: &mut Vec<u32>) -> u64 {
        let mut emptied = 0;
        while let Some(&chunk) = self.chunks.last().filter(|_| slots.is_empty()) {
            let is_begun = self.offset > 0;
            self.offset = member.writer.living_slots(chunk, self.offset, rows_max, slots);
            if self.offset == CHUNK_ROWS {
                // One that was found dead has died by itself.
                emptied += u64::from(is_begun || !slots.is_empty());
                self.garbage = self.garbage.saturating_sub(u64::from(chunk.dead()));
                self.chunks.pop();
                self.offset = 0;
            }
        }
        emptied
    }
}

/// Rows that are moved in one step.
fn slice_rows(member: &Member, pace: Pace) -> usize {
    let region = &member.collection.region;
    // With their texts, as long as they are on average.
    let row_bytes = region.row_bytes().max(region.bytes_committed() / region.rows().max(1));
    let (bytes_max, rows_max) = match pace {
        Pace::Idle => (limits::COMPACT_IDLE_BYTES_MAX, limits::COMPACT_IDLE_ROWS_MAX),
        Pace::Pressing => (limits::COMPACT_PRESSING_BYTES_MAX, limits::COMPACT_PRESSING_ROWS_MAX),
    };
    (bytes_max / row_bytes.max(1)).clamp(1, rows_max) as usize
}
