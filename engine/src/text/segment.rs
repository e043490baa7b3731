//! The postings of some documents: for each term the documents that have it, how often, and where.
//!
//! ```text
//! terms    [ 3 | 17 | 20 | … ]                     numbers, ascending; blocks of each behind those of the one before
//! blocks   [ first, last, start, positions, cost ] at most 128 postings, of documents less than 65,536 apart
//! documents [ u16 … ]   document − first of the block          no decoding: 128 of them are two cache lines wide
//! frequencies [ u8 … ]  255 and more: 255, and the number in `frequent`
//! positions [ … ]       of each posting as many as its frequency, each the difference to the one before, 7 bits a byte
//! ```
//!
//! Documents are numbered from the segment's first ordinal on. `cost` of a block bounds its scores, see [`Block::score_max`].

use std::sync::Arc;

use super::score::Weights;

/// Postings of a block, at most.
pub(super) const BLOCK_POSTINGS: usize = 128;

/// A block of postings of one term.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Its first document.
    pub first: u32,
    /// Its last.
    pub last: u32,
    /// Where its postings begin; they end where those of the next block begin.
    pub start: u32,
    /// Where its positions begin.
    pub positions: u32,
    /// The smallest (k1 (1 − b) + k1 b × length / average length) / tf of its documents, for the segment's average.
    pub cost: f32,
}

impl Block {
    /// No document of the block scores more than this for the term, whatever the average length is by now.
    ///
    /// A score is weight / (1 + c), where c = (A + B × length) / tf and B = k1 b / average. With another average B' c is at least
    /// c × min(1, B' / B), so one number a block will do. (Blocks with a bound each: Ding & Suel, "Faster Top-k Document Retrieval Using Block-Max
    /// Indexes", 2011.)
    #[inline]
    pub fn score_max(&self, weight: f32, drift: f32) -> f32 {
        // A little more, as sums are rounded in another order here, of up to a thousand words.
        weight / (1.0 + self.cost * drift) * (1.0 + 1e-4)
    }
}

/// An index of some documents that never changes.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// Ordinal of document 0.
    pub base: u64,
    /// Tokens of each document; 0: there is none.
    pub lengths: Vec<u32>,
    /// Documents.
    pub documents: u32,
    /// Average length that the costs of blocks are for.
    pub average: f32,
    /// Numbers of its terms, ascending.
    pub terms: Vec<u32>,
    /// Of each term the first of its blocks, and their number at the end.
    pub lists: Vec<u32>,
    /// Blocks, and one more where they end.
    pub blocks: Vec<Block>,
    pub postings: Vec<u16>,
    pub frequencies: Vec<u8>,
    /// Postings whose frequency does not fit a byte.
    pub frequent: Vec<(u32, u32)>,
    pub positions: Vec<u8>,
}

impl Segment {
    /// Ordinal behind its last document.
    pub fn end(&self) -> u64 {
        self.base + self.lengths.len() as u64
    }

    /// Blocks of a term.
    pub fn list(&self, term: u32) -> Option<std::ops::Range<usize>> {
        let place = self.terms.binary_search(&term).ok()?;
        Some(self.lists[place] as usize..self.lists[place + 1] as usize)
    }

    /// Postings of some blocks.
    pub fn count(&self, blocks: &std::ops::Range<usize>) -> usize {
        (self.blocks[blocks.end].start - self.blocks[blocks.start].start) as usize
    }

    /// How often the document of a posting has the term.
    #[inline]
    pub fn frequency(&self, posting: usize) -> u32 {
        match self.frequencies[posting] {
            u8::MAX => self.frequent_at(posting),
            frequency => u32::from(frequency),
        }
    }

    #[cold]
    fn frequent_at(&self, posting: usize) -> u32 {
        let place = self.frequent.binary_search_by_key(&(posting as u32), |entry| entry.0);
        self.frequent[place.expect("255 stands for a number here")].1
    }

    /// The bytes of the positions of a posting of a block, and where those of the next begin, from where its own do.
    pub fn positions_at(&self, start: usize, frequency: u32) -> (&[u8], usize) {
        let bytes = &self.positions[start..];
        let mut left = frequency;
        let is_last = |&byte: &u8| {
            left -= u32::from(byte < 0x80);
            left == 0
        };
        let len = bytes.iter().position(is_last).expect("as many positions as the frequency says") + 1;
        (&bytes[..len], start + len)
    }

    /// How much smaller costs may be for the average of today than for the segment's.
    pub fn drift(&self, weights: &Weights) -> f32 {
        (weights.per_token / Weights::per_token_of(self.average)).min(1.0)
    }

    /// Memory in use.
    pub fn bytes(&self) -> usize {
        self.lengths.capacity() * 4
            + (self.terms.capacity() + self.lists.capacity()) * 4
            + self.blocks.capacity() * size_of::<Block>()
            + self.postings.capacity() * 2
            + self.frequencies.capacity()
            + self.frequent.capacity() * 8
            + self.positions.capacity()
    }
}

/// Reads the differences of positions.
pub(super) fn read_positions(bytes: &[u8], out: &mut Vec<u32>) {
    out.clear();
    let (mut position, mut value, mut shift) = (0, 0, 0);
    for &byte in bytes {
        value |= u32::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            position += value;
            out.push(position);
            (value, shift) = (0, 0);
        }
    }
}

/// Appends the difference of two positions.
#[inline]
pub(super) fn write_position(mut difference: u32, out: &mut Vec<u8>) {
    while difference >= 0x80 {
        out.push(difference as u8 | 0x80);
        difference >>= 7;
    }
    out.push(difference as u8);
}

/// Segments that a search goes over.
pub(super) type Segments = Vec<Arc<Segment>>;
