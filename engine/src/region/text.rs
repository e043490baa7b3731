//! Where the texts of a column lie: in blocks of a heap, each of which belongs to one chunk of rows and goes with it.
//!
//! A row holds the place of its text, a start and a length in one word. Texts of a chunk lie one behind the other for as long as the
//! block behind is free too.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use hashbrown::HashMap;

use super::pins::Expired;
use super::span::{Heap, HeapBytes};

/// Bytes of a block.
const BLOCK_BYTES: usize = 64 << 10;
/// Bits of a place that are the length.
const LENGTH_BITS: u32 = 25;

/// Where a text lies in the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub start: usize,
    pub len: usize,
}

impl Place {
    pub fn decode(word: &[u8]) -> Place {
        let word = u64::from_le_bytes(word.try_into().expect("a place is eight bytes"));
        Place { start: (word >> LENGTH_BITS) as usize, len: (word & ((1 << LENGTH_BITS) - 1)) as usize }
    }

    pub fn encode(self) -> [u8; 8] {
        assert!(self.len < 1 << LENGTH_BITS, "a text is shorter than a frame");
        ((self.start as u64) << LENGTH_BITS | self.len as u64).to_le_bytes()
    }
}

/// Blocks one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    first: u32,
    blocks: u32,
}

impl Extent {
    fn end(self) -> u32 {
        self.first + self.blocks
    }
}

/// Which blocks of a part are free.
#[derive(Debug, Default)]
struct Blocks {
    /// First block and number of blocks of each free stretch; no two touch.
    free: BTreeMap<u32, u32>,
    /// Blocks from here on were never given out.
    high: u32,
}

impl Blocks {
    /// The first stretch that is long enough, or new blocks.
    fn take(&mut self, blocks: u32) -> Extent {
        let found = self.free.iter().find(|&(_, &len)| len >= blocks).map(|(&first, _)| first);
        let first = found.unwrap_or(self.high);
        self.take_at(first, blocks);
        Extent { first, blocks }
    }

    /// Blocks from `first` on, if they are free.
    fn take_at(&mut self, first: u32, blocks: u32) -> bool {
        if first == self.high {
            self.high += blocks;
            return true;
        }
        match self.free.get(&first) {
            Some(&len) if len >= blocks => {
                self.free.remove(&first);
                if len > blocks {
                    self.free.insert(first + blocks, len - blocks);
                }
                true
            }
            _ => false,
        }
    }

    fn release(&mut self, mut extent: Extent) {
        if let Some((&first, &len)) = self.free.range(..extent.first).next_back()
            && first + len == extent.first
        {
            self.free.remove(&first);
            extent = Extent { first, blocks: len + extent.blocks };
        }
        if let Some(len) = self.free.remove(&extent.end()) {
            extent.blocks += len;
        }
        if extent.end() == self.high {
            self.high = extent.first;
        } else {
            self.free.insert(extent.first, extent.blocks);
        }
    }
}

/// Writes the texts of one column of one shard.
#[derive(Debug)]
pub(super) struct HeapWriter {
    bytes: HeapBytes,
    blocks: Blocks,
    /// Blocks of each chunk, in the order in which they were taken.
    chunks: HashMap<u32, Vec<Extent>>,
    /// Chunk that was written to last, and where its next text goes.
    current: u32,
    next: usize,
}

impl HeapWriter {
    pub fn claim(heap: &Arc<Heap>, shard: usize) -> HeapWriter {
        let bytes = HeapBytes::claim(heap, shard);
        HeapWriter { bytes, blocks: Blocks::default(), chunks: HashMap::new(), current: 0, next: 0 }
    }

    pub fn heap(&self) -> &Heap {
        self.bytes.heap()
    }

    /// Bytes of blocks that were ever written.
    pub fn bytes_used(&self) -> u64 {
        u64::from(self.blocks.high) * BLOCK_BYTES as u64
    }

    /// Where the next text of a chunk goes, if the block has room for it.
    pub fn mark(&mut self, chunk: u32) -> Place {
        if self.current != chunk {
            // A chunk is filled from its front to its end, with one exception: rows that were taken back.
            self.current = chunk;
            self.next = self.chunks.get(&chunk).and_then(|extents| extents.last()).map_or(0, |last| byte(last.end()));
        }
        Place { start: self.next, len: 0 }
    }

    /// Stores the text of a row of `chunk`. None where the heap has no room.
    pub fn put(&mut self, chunk: u32, text: &[u8]) -> io::Result<Option<Place>> {
        let mark = self.mark(chunk);
        if text.is_empty() {
            return Ok(Some(mark));
        }
        let extents = self.chunks.entry(chunk).or_default();
        let end = extents.last().map_or(0, |last| byte(last.end()));
        if extents.is_empty() || self.next + text.len() > end {
            let missing = (text.len() - (end - self.next.min(end)).min(text.len())).div_ceil(BLOCK_BYTES) as u32;
            match extents.last_mut() {
                Some(last) if self.blocks.take_at(last.end(), missing) => last.blocks += missing,
                _ => {
                    let extent = self.blocks.take(text.len().div_ceil(BLOCK_BYTES) as u32);
                    extents.push(extent);
                    self.next = byte(extent.first);
                }
            }
            let end = byte(extents.last().expect("there is one").end());
            if end > self.bytes.heap().capacity() {
                return Ok(None);
            }
            self.bytes.commit(end)?;
        }
        self.bytes.write(self.next, text);
        let place = Place { start: self.next, len: text.len() };
        self.next += text.len();
        Ok(Some(place))
    }

    /// Takes the texts of a chunk back from the one at `place` on; with None, all. Nobody was shown them.
    pub fn truncate(&mut self, chunk: u32, place: Option<Place>) {
        let Some(extents) = self.chunks.get_mut(&chunk) else { return };
        let holds = |extent: &Extent, start| (byte(extent.first)..=byte(extent.end())).contains(&start);
        let keep = place.and_then(|place| extents.iter().position(|extent| holds(extent, place.start)));
        for extent in extents.split_off(keep.map_or(0, |keep| keep + 1)) {
            self.blocks.release(extent);
        }
        self.current = chunk;
        self.next = match (keep, place) {
            (Some(_), Some(place)) => place.start,
            _ => 0,
        };
    }

    /// Frees what the texts of a chunk took.
    pub fn free(&mut self, chunk: u32, _no_reader_is_left: &Expired) {
        for extent in self.chunks.remove(&chunk).unwrap_or_default() {
            self.blocks.release(extent);
        }
        if self.current == chunk {
            self.next = 0;
        }
    }
}

/// Where a block begins.
fn byte(block: u32) -> usize {
    block as usize * BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(blocks: usize) -> HeapWriter {
        HeapWriter::claim(&Heap::new(1, blocks * BLOCK_BYTES).unwrap(), 0)
    }

    #[test]
    fn places_hold_long_texts_far_away() {
        let place = Place { start: (1 << 39) - 1, len: (1 << 25) - 1 };
        assert_eq!(Place::decode(&place.encode()), place);
    }

    #[test]
    fn texts_of_a_chunk_lie_together_and_its_blocks_are_used_again() {
        let mut writer = writer(8);
        let text = vec![7; 40_000];
        let place = |start| Some(Place { start, len: 40_000 });
        assert_eq!(writer.put(0, &text).unwrap(), place(0));
        assert_eq!(writer.put(0, &text).unwrap(), place(40_000), "the block behind is taken too");
        assert_eq!(writer.put(1, &text).unwrap(), place(2 * BLOCK_BYTES));
        assert_eq!(writer.put(1, &[]).unwrap(), Some(Place { start: 2 * BLOCK_BYTES + 40_000, len: 0 }));
        writer.free(0, &Expired::never_shown());
        assert_eq!(writer.put(2, &text).unwrap(), place(0));
        assert_eq!(writer.bytes_used(), 3 * BLOCK_BYTES as u64);
        assert_eq!(writer.put(2, &vec![8; 6 * BLOCK_BYTES]).unwrap(), None, "the heap is full");
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let mut writer = writer(64);
        let first = writer.put(3, &[1; 100]).unwrap();
        let blocks = writer.bytes_used();
        let second = writer.put(3, &[2; 100]).unwrap();
        for text in [200_000, 10, 300_000] {
            writer.put(3, &vec![3; text]).unwrap();
        }
        writer.put(4, &[4; 70_000]).unwrap();
        writer.truncate(4, None);
        writer.truncate(3, second);
        assert_eq!(writer.put(3, &[5; 100]).unwrap(), second);
        let first = first.unwrap();
        assert_eq!(writer.heap().bytes(0, first.start, first.len), [1; 100]);
        writer.free(3, &Expired::never_shown());
        assert!(writer.blocks.free.is_empty() && writer.blocks.high == 0, "{:?}", writer.blocks);
        assert!(blocks > 0);
    }
}
