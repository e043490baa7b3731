//! Makes one segment of neighbouring ones, in steps; documents that have died are dropped.

use std::sync::Arc;

use super::segment::Segment;
use super::writer::Writer;

/// Segments that are being made one.
#[derive(Debug)]
pub(super) struct Merge {
    /// In the order of their documents.
    sources: Vec<Source>,
    writer: Option<Writer>,
    /// Lengths of the documents that are kept.
    lengths: Vec<u32>,
}

#[derive(Debug)]
struct Source {
    segment: Arc<Segment>,
    /// Its document 0 in the new segment.
    offset: u32,
    /// Place of the next of its terms.
    next: usize,
}

impl Merge {
    /// Of segments one behind the other.
    pub fn new(segments: &[Arc<Segment>], is_dead: impl Fn(u64) -> bool) -> Merge {
        let base = segments[0].base;
        let mut lengths = Vec::new();
        let mut sources = Vec::with_capacity(segments.len());
        for segment in segments {
            let offset = u32::try_from(segment.base - base).expect("the span of a segment is bounded");
            lengths.resize(offset as usize, 0);
            let kept = segment.lengths.iter().zip(segment.base..);
            lengths.extend(kept.map(|(&length, ordinal)| if length > 0 && is_dead(ordinal) { 0 } else { length }));
            sources.push(Source { segment: segment.clone(), offset, next: 0 });
        }
        Merge { sources, writer: Some(Writer::new(base, lengths.clone())), lengths }
    }

    /// Goes on for about so many postings. The segment, when it is done.
    pub fn step(&mut self, postings: usize) -> Option<Segment> {
        let writer = self.writer.as_mut().expect("nobody goes on behind the end");
        let mut done = 0;
        while done < postings {
            let terms = self.sources.iter().filter_map(|source| source.segment.terms.get(source.next));
            let Some(&term) = terms.min() else {
                return self.writer.take().map(Writer::finish);
            };
            writer.begin(term);
            for source in &mut self.sources {
                if source.segment.terms.get(source.next) == Some(&term) {
                    done += copy(&source.segment, source.next, source.offset, &self.lengths, writer);
                    source.next += 1;
                }
            }
        }
        None
    }
}

/// Copies the postings of a term that are of documents with a length; returns how many were looked at.
fn copy(segment: &Segment, place: usize, offset: u32, lengths: &[u32], writer: &mut Writer) -> usize {
    let blocks = segment.lists[place] as usize..segment.lists[place + 1] as usize;
    for pair in segment.blocks[blocks.start..=blocks.end].windows(2) {
        let (block, mut at) = (pair[0], pair[0].positions as usize);
        for posting in block.start as usize..pair[1].start as usize {
            let document = block.first + u32::from(segment.postings[posting]) + offset;
            let frequency = segment.frequency(posting);
            let (positions, next) = segment.positions_at(at, frequency);
            at = next;
            if lengths[document as usize] > 0 {
                writer.posting(document, frequency).extend_from_slice(positions);
            }
        }
    }
    segment.count(&blocks)
}
