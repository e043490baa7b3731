//! Moving rows: the last ones that live in a chunk are copied behind the newest row, so that the chunk dies and is used again.
//!
//! A copy is a row like any other. It is filled in where new rows go, and when it is published it ends the row that it was made of, as
//! a replacement does: a view sees exactly one of the two.

use std::ops::Range;

use super::RegionWriter;
use super::chunks::{CHUNK_BITS, CHUNK_ROWS};
use crate::batch::BatchView;
use crate::error::Result;

/// A chunk that is full, and of which some row lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivingChunk {
    /// Where it lies.
    pub chunk: u32,
    /// Which ordinals it holds. No other chunk ever has this number.
    pub number: u64,
    /// Rows that live.
    pub live: u32,
}

impl LivingChunk {
    /// Rows that are deleted or replaced.
    pub fn dead(&self) -> u32 {
        CHUNK_ROWS - self.live
    }
}

impl RegionWriter {
    /// Chunks whose rows are all published, and of which some live; the oldest first.
    pub fn living_chunks(&self) -> impl Iterator<Item = LivingChunk> + '_ {
        let full = self.region.published(self.shard) >> CHUNK_BITS;
        let look = |(&number, &chunk): (&u64, &u32)| {
            let live = CHUNK_ROWS - self.region.chunks.dead(self.shard, chunk);
            LivingChunk { chunk, number, live }
        };
        self.order.range(..full).map(look).filter(|chunk| chunk.live > 0)
    }

    /// Appends the slots of up to `rows_max` living rows of a chunk, from an offset on. Returns the offset to go on from; that is the
    /// end of the chunk, too, where another chunk lies there by now.
    pub fn living_slots(&self, chunk: LivingChunk, offset: u32, rows_max: usize, slots: &mut Vec<u32>) -> u32 {
        if self.region.chunks.number(self.shard, chunk.chunk) != Some(chunk.number) {
            return CHUNK_ROWS;
        }
        for offset in offset..CHUNK_ROWS {
            if slots.len() == rows_max {
                return offset;
            }
            let slot = chunk.chunk << CHUNK_BITS | offset;
            if self.region.is_live(self.region.row(self.shard, slot)) {
                slots.push(slot);
            }
        }
        CHUNK_ROWS
    }

    /// Copies published rows, by their slots, behind the filled ones, and returns the ordinals of the copies. Nobody sees them before
    /// `publish`, and before that [`RegionWriter::take_over`] has to be called for them.
    ///
    /// # Errors
    /// As for `fill`, for want of room; then nothing is taken.
    pub fn copy_rows(&mut self, slots: &[u32]) -> Result<Range<u64>> {
        let (region, shard) = (self.region.clone(), self.shard);
        let rows: Vec<u32> = slots.iter().map(|&slot| region.row(shard, slot)).collect();
        let columns: Vec<usize> = (0..region.schema.columns().len()).collect();
        let batch = region.take(&rows, &columns)?;
        let batch = BatchView::from_arrow(&region.schema, &batch)?;
        // What is counted are bytes that clients sent.
        let copied_bytes = self.copied_bytes;
        let filled = self.fill(&batch);
        self.copied_bytes = copied_bytes;
        filled
    }

    /// Says of rows, by their slots, that the row of an ordinal is a copy of each. As [`RegionWriter::replace`], but nobody wrote
    /// anything: it says nothing of how long rows live.
    ///
    /// # Panics
    /// As `replace`.
    pub fn take_over(&mut self, moved: &[(u32, u64)]) {
        self.end_rows(moved);
    }

    /// Ordinal of the row in a slot.
    ///
    /// # Panics
    /// If its chunk is not in use.
    pub fn ordinal(&self, slot: u32) -> u64 {
        self.region.chunks.ordinal(self.shard, slot).expect("a row in use")
    }

    /// Whether vectors of a batch that is arriving lie where a copy would go: they would have to be copied a second time.
    pub fn is_filled_ahead(&self) -> bool {
        self.ahead.is_under_way(self.filled)
    }
}
