//! Which chunk of slots holds which rows.
//!
//! ```text
//! ordinal   0 ........ 4095 | 4096 ..... 8191 | 8192 ... published      order in which a shard's rows came
//! chunk             7       |        2        |     5                    where they lie
//! slot      28672 ..        | 8192 ..         | 20480 ..                 slot = chunk × 4,096 + ordinal mod 4,096
//! ```
//!
//! Rows of a shard are numbered in the order in which they come: that is their *ordinal*, and a view is the number of ordinals
//! published. They lie in chunks of 4,096 slots. A chunk whose rows are all dead is used again for later rows, so ordinals go on for
//! ever and slots do not. The table says, per chunk, which 4,096 ordinals it holds.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_utils::CachePadded;

use super::span::AtomicSpan;

/// Rows of a chunk, as a power of two: a chunk of any column is whole pages from here on.
pub(super) const CHUNK_BITS: u32 = 12;
/// Rows of a chunk.
pub const CHUNK_ROWS: u32 = 1 << CHUNK_BITS;

/// Slots one behind the other that hold rows of consecutive ordinals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Ordinal of the first row.
    pub ordinal: u64,
    /// Slot of the first row.
    pub slot: u32,
    /// Rows; never more than a chunk has.
    pub len: u32,
}

impl Run {
    /// The slots.
    pub fn slots(&self) -> Range<u32> {
        self.slot..self.slot + self.len
    }

    /// The part of it whose ordinals lie in `ordinals`, if there is one.
    pub(super) fn within(self, ordinals: &Range<u64>) -> Option<Run> {
        let start = ordinals.start.max(self.ordinal);
        let end = ordinals.end.min(self.ordinal + u64::from(self.len));
        let skipped = (start - self.ordinal.min(start)) as u32;
        (start < end).then(|| Run { ordinal: start, slot: self.slot + skipped, len: (end - start) as u32 })
    }
}

/// The table of all shards. Each shard's writer changes its own part.
#[derive(Debug)]
pub(super) struct Chunks {
    /// 1 + the number of the chunk's first ordinal in chunks; 0: not in use.
    numbers: AtomicSpan,
    /// Rows that are deleted or replaced.
    dead: AtomicSpan,
    /// Chunks of a shard that were ever used.
    used: Vec<CachePadded<AtomicU32>>,
    row_bits: u32,
}

impl Chunks {
    pub fn new(shards: usize, row_bits: u32) -> io::Result<Chunks> {
        let words = AtomicSpan::whole_pages(1 << (row_bits - CHUNK_BITS));
        let used = (0..shards).map(|_| CachePadded::default()).collect();
        Ok(Chunks { numbers: AtomicSpan::new(shards, words)?, dead: AtomicSpan::new(shards, words)?, used, row_bits })
    }

    /// Chunks of a shard that were ever used.
    pub fn used(&self, shard: usize) -> u32 {
        self.used[shard].load(Ordering::Acquire)
    }

    /// Makes room for one more chunk of a shard; it is not in use yet.
    pub fn grow(&self, shard: usize) -> io::Result<u32> {
        let chunk = self.used(shard);
        self.numbers.commit(shard, chunk as usize + 1)?;
        self.dead.commit(shard, chunk as usize + 1)?;
        self.used[shard].store(chunk + 1, Ordering::Release);
        Ok(chunk)
    }

    /// Number of a chunk: its ordinals begin at 4,096 times that. None for one that is not in use.
    #[inline]
    pub fn number(&self, shard: usize, chunk: u32) -> Option<u64> {
        self.numbers.word(shard, chunk as usize).load(Ordering::Acquire).checked_sub(1)
    }

    /// Gives a chunk its number, or takes it.
    pub fn set_number(&self, shard: usize, chunk: u32, number: Option<u64>) {
        self.numbers.word(shard, chunk as usize).store(number.map_or(0, |number| number + 1), Ordering::Release);
    }

    /// Ordinal of the row in a slot; None where the chunk is not in use.
    #[inline]
    pub fn ordinal(&self, shard: usize, slot: u32) -> Option<u64> {
        Some(self.number(shard, slot >> CHUNK_BITS)? << CHUNK_BITS | u64::from(slot % CHUNK_ROWS))
    }

    /// Dead rows of a chunk.
    pub fn dead(&self, shard: usize, chunk: u32) -> u32 {
        self.dead.word(shard, chunk as usize).load(Ordering::Relaxed) as u32
    }

    /// Sets the number of dead rows of a chunk. The shard's writer only.
    pub fn set_dead(&self, shard: usize, chunk: u32, dead: u32) {
        self.dead.word(shard, chunk as usize).store(u64::from(dead), Ordering::Relaxed);
    }

    /// Where the rows of a range of ordinals lie, in their order. Ordinals whose chunk is gone are left out.
    pub fn runs(&self, shard: usize, ordinals: Range<u64>) -> Vec<Run> {
        let mut runs: Vec<Run> = (0..self.used(shard))
            .filter_map(|chunk| {
                let ordinal = self.number(shard, chunk)? << CHUNK_BITS;
                Run { ordinal, slot: chunk << CHUNK_BITS, len: CHUNK_ROWS }.within(&ordinals)
            })
            .collect();
        runs.sort_unstable_by_key(|run| run.ordinal);
        runs
    }

    /// Rows of a range of ordinals that are not dead, as far as whole chunks are counted.
    pub fn live_rows(&self, shard: usize, ordinals: &Range<u64>) -> u64 {
        (0..self.used(shard))
            .filter_map(|chunk| {
                let ordinal = self.number(shard, chunk)? << CHUNK_BITS;
                let run = Run { ordinal, slot: 0, len: CHUNK_ROWS }.within(ordinals)?;
                // Of a chunk that lies in the range in part, nobody knows which part the dead rows are in.
                Some(u64::from(run.len.min(CHUNK_ROWS - self.dead(shard, chunk))))
            })
            .sum()
    }

    /// Most chunks of a shard. Where ids fill 32 bits the last chunk is not used, so that no row id is `u32::MAX`.
    pub fn chunks_max(&self) -> u32 {
        let fills_u32 = self.used.len().next_power_of_two().trailing_zeros() + self.row_bits == u32::BITS;
        (1 << (self.row_bits - CHUNK_BITS)) - u32::from(fills_u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_in_the_order_of_ordinals_and_leave_out_what_is_gone() {
        let chunks = Chunks::new(2, 15).unwrap();
        for (chunk, number) in [(0, Some(3)), (1, None), (2, Some(1)), (3, Some(2))] {
            assert_eq!(chunks.grow(1).unwrap(), chunk);
            chunks.set_number(1, chunk, number);
        }
        let run = |ordinal, slot, len| Run { ordinal, slot, len };
        assert_eq!(chunks.runs(0, 0..100_000), []);
        assert_eq!(chunks.runs(1, 0..13_000), [run(4096, 8192, 4096), run(8192, 12288, 4096), run(12288, 0, 712)]);
        assert_eq!(chunks.runs(1, 5000..5001), [run(5000, 9096, 1)]);
        assert_eq!(chunks.runs(1, 0..4096), []);
        assert_eq!(chunks.ordinal(1, 9096), Some(5000));
        assert_eq!(chunks.ordinal(1, 4096), None);
        chunks.set_dead(1, 2, 4000);
        assert_eq!(chunks.live_rows(1, &(0..13_000)), 96 + 4096 + 712);
    }
}
