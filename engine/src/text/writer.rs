//! Makes a segment: from the tokens of some documents, or term by term.

use super::score::Weights;
use super::segment::{BLOCK_POSTINGS, Block, Segment, write_position};

/// A token of a document.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Token {
    pub term: u32,
    pub document: u32,
    pub position: u32,
}

/// A segment in the making: terms come in ascending order, and so do the documents of each.
#[derive(Debug)]
pub(super) struct Writer {
    segment: Segment,
    weights: Weights,
    /// Postings that are still to come of the block, at most.
    room: usize,
}

impl Writer {
    /// Of documents that have these lengths, 0 where there is none.
    pub fn new(base: u64, lengths: Vec<u32>) -> Writer {
        let documents = lengths.iter().filter(|&&length| length > 0).count();
        let tokens: u64 = lengths.iter().map(|&length| u64::from(length)).sum();
        let average = (tokens as f64 / documents.max(1) as f64) as f32;
        let segment = Segment { base, lengths, documents: documents as u32, average, ..Segment::default() };
        Writer { segment, weights: Weights::of_average(average), room: 0 }
    }

    /// From here on postings are those of a term.
    pub fn begin(&mut self, term: u32) {
        debug_assert!(self.segment.terms.last().is_none_or(|&last| last < term));
        self.drop_empty_term();
        self.segment.terms.push(term);
        self.segment.lists.push(self.segment.blocks.len() as u32);
        self.room = 0;
    }

    fn drop_empty_term(&mut self) {
        let segment = &mut self.segment;
        if segment.lists.last().is_some_and(|&first| first as usize == segment.blocks.len()) {
            segment.terms.pop();
            segment.lists.pop();
        }
    }

    /// Adds a posting; its positions are appended next to what this returns.
    #[inline]
    pub fn posting(&mut self, document: u32, frequency: u32) -> &mut Vec<u8> {
        let segment = &mut self.segment;
        let cost = self.weights.cost(frequency, segment.lengths[document as usize]);
        if self.room == 0 || document - segment.blocks.last().map_or(0, |block| block.first) > u32::from(u16::MAX) {
            let (start, positions) = (segment.postings.len() as u32, segment.positions.len() as u32);
            segment.blocks.push(Block { first: document, last: document, start, positions, cost });
            self.room = BLOCK_POSTINGS;
        }
        self.room -= 1;
        let block = segment.blocks.last_mut().expect("one is open");
        block.last = document;
        block.cost = block.cost.min(cost);
        if frequency >= u32::from(u8::MAX) {
            segment.frequent.push((segment.postings.len() as u32, frequency));
        }
        segment.frequencies.push(frequency.min(u32::from(u8::MAX)) as u8);
        segment.postings.push((document - block.first) as u16);
        &mut segment.positions
    }

    /// The segment.
    pub fn finish(mut self) -> Segment {
        self.drop_empty_term();
        let segment = &mut self.segment;
        let (start, positions) = (segment.postings.len() as u32, segment.positions.len() as u32);
        segment.lists.push(segment.blocks.len() as u32);
        segment.blocks.push(Block { first: u32::MAX, last: u32::MAX, start, positions, cost: 0.0 });
        segment.terms.shrink_to_fit();
        segment.lists.shrink_to_fit();
        segment.blocks.shrink_to_fit();
        segment.postings.shrink_to_fit();
        segment.frequencies.shrink_to_fit();
        segment.positions.shrink_to_fit();
        segment.lengths.shrink_to_fit();
        self.segment
    }
}

/// Makes a segment of the tokens of documents, which come in the order of documents and positions. `terms`: how many there are.
pub(super) fn build(base: u64, lengths: Vec<u32>, mut tokens: Vec<Token>, terms: usize) -> Segment {
    let sorted = if tokens.len() * 4 < terms {
        tokens.sort_by_key(|token| token.term);
        tokens
    } else {
        sorted_by_count(&tokens, terms)
    };
    let mut writer = Writer::new(base, lengths);
    for of_term in sorted.chunk_by(|a, b| a.term == b.term) {
        writer.begin(of_term[0].term);
        for of_document in of_term.chunk_by(|a, b| a.document == b.document) {
            let positions = writer.posting(of_document[0].document, of_document.len() as u32);
            let mut before = 0;
            for token in of_document {
                write_position(token.position - before, positions);
                before = token.position;
            }
        }
    }
    writer.finish()
}

/// Sorts by term, and leaves the order as it is within one.
fn sorted_by_count(tokens: &[Token], terms: usize) -> Vec<Token> {
    let mut places = vec![0u32; terms + 1];
    tokens.iter().for_each(|token| places[token.term as usize + 1] += 1);
    for term in 0..terms {
        places[term + 1] += places[term];
    }
    let mut sorted = vec![Token::default(); tokens.len()];
    for &token in tokens {
        let place = &mut places[token.term as usize];
        sorted[*place as usize] = token;
        *place += 1;
    }
    sorted
}
