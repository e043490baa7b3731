//! A place in the postings of one term.

use std::ops::Range;

use super::score::Weights;
use super::segment::{Block, Segment, read_positions};

/// Goes through the documents of a term in ascending order.
#[derive(Debug)]
pub(super) struct Cursor<'s> {
    segment: &'s Segment,
    /// What the term says, times how often the query has it.
    weight: f32,
    /// How much smaller costs may be than the blocks say.
    drift: f32,
    /// The block that it stands in, and where the blocks of the term end.
    blocks: Range<usize>,
    posting: usize,
    posting_end: usize,
}

impl<'s> Cursor<'s> {
    /// Before the first document of a term.
    pub fn new(segment: &'s Segment, blocks: Range<usize>, weight: f32, drift: f32) -> Cursor<'s> {
        let mut cursor = Cursor { segment, weight, drift, blocks, posting: 0, posting_end: 0 };
        cursor.enter();
        cursor
    }

    fn enter(&mut self) {
        if !self.blocks.is_empty() {
            self.posting = self.segment.blocks[self.blocks.start].start as usize;
            self.posting_end = self.segment.blocks[self.blocks.start + 1].start as usize;
        }
    }

    /// Postings that are left, those of the block it stands in all counted.
    pub fn count(&self) -> usize {
        if self.blocks.is_empty() { 0 } else { self.segment.count(&self.blocks) }
    }

    /// The block that it stands in; None behind the last document.
    #[inline]
    pub fn block(&self) -> Option<&'s Block> {
        (!self.blocks.is_empty()).then(|| &self.segment.blocks[self.blocks.start])
    }

    /// The document that it stands at; `u32::MAX` behind the last.
    #[inline]
    pub fn document(&self) -> u32 {
        match self.block() {
            Some(block) => block.first + u32::from(self.segment.postings[self.posting]),
            None => u32::MAX,
        }
    }

    /// Goes on to the next block.
    #[inline]
    pub fn next_block(&mut self) {
        self.blocks.start += 1;
        self.enter();
    }

    /// Goes on to the block where a document would be, or the one behind it; postings are left alone.
    #[inline]
    pub fn seek_block(&mut self, document: u32) {
        if self.block().is_some_and(|block| block.last < document) {
            let left = &self.segment.blocks[self.blocks.clone()];
            // Most often it is one of the next.
            let near = left.iter().take(8).take_while(|block| block.last < document).count();
            let passed = if near < 8 { near } else { left.partition_point(|block| block.last < document) };
            self.blocks.start += passed;
            self.enter();
        }
    }

    /// Goes on to a document, or the first behind it. Whether it is there.
    #[inline]
    pub fn seek(&mut self, document: u32) -> bool {
        self.seek_block(document);
        let Some(block) = self.block() else { return false };
        let Some(offset) = document.checked_sub(block.first) else { return false };
        // The block's last is no smaller, so the offset fits and there is one.
        let left = &self.segment.postings[self.posting..self.posting_end];
        self.posting += left.partition_point(|&posting| u32::from(posting) < offset);
        u32::from(self.segment.postings[self.posting]) == offset
    }

    /// No document of a range scores more for the term; none before the range is asked for again.
    pub fn score_max(&mut self, documents: Range<u32>) -> f32 {
        self.seek_block(documents.start);
        let within = self.segment.blocks[self.blocks.clone()].iter().take_while(|block| block.first < documents.end);
        within.map(|block| block.score_max(self.weight, self.drift)).fold(0.0, f32::max)
    }

    /// No document of the block that it stands in scores more for the term.
    #[inline]
    pub fn block_score_max(&self) -> f32 {
        self.block().map_or(0.0, |block| block.score_max(self.weight, self.drift))
    }

    /// Whether the document may be in the block that it stands in, once it has been sought.
    #[inline]
    pub fn score(&self, weights: &Weights, document: u32) -> f32 {
        weights.score(self.weight, self.segment.frequency(self.posting), self.segment.lengths[document as usize])
    }

    /// Calls `each` with the rest of the documents of the block that it stands in and their scores, up to a document; goes on to that.
    #[inline]
    pub fn scores_of_block(&mut self, end: u32, weights: &Weights, mut each: impl FnMut(u32, f32)) {
        let Some(block) = self.block() else { return };
        let left = self.posting..self.posting_end;
        let count = if block.last < end {
            left.len()
        } else {
            let offset = end - block.first;
            self.segment.postings[left.clone()].partition_point(|&posting| u32::from(posting) < offset)
        };
        let postings = &self.segment.postings[left.start..left.start + count];
        let frequencies = &self.segment.frequencies[left.start..left.start + count];
        for (at, (&posting, &frequency)) in postings.iter().zip(frequencies).enumerate() {
            let document = block.first + u32::from(posting);
            let frequency = match frequency {
                u8::MAX => self.segment.frequency(left.start + at),
                frequency => u32::from(frequency),
            };
            each(document, weights.score(self.weight, frequency, self.segment.lengths[document as usize]));
        }
        self.posting += count;
        if self.posting == self.posting_end {
            self.next_block();
        }
    }

    /// Where the term stands in the document that it stands at.
    pub fn positions(&self, out: &mut Vec<u32>) {
        let block = self.block().expect("it stands at a document");
        let before = block.start as usize..self.posting;
        let passed: u32 = before.map(|posting| self.segment.frequency(posting)).sum();
        let start = block.positions as usize;
        let start = if passed == 0 { start } else { self.segment.positions_at(start, passed).1 };
        read_positions(self.segment.positions_at(start, self.segment.frequency(self.posting)).0, out);
    }
}
