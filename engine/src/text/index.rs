//! The index of one text column of one shard: segments, the batch that is open, and the statistics of what lives.

use std::sync::Arc;

use super::merge::Merge;
use super::query::Query;
use super::score::{Best, Statistics};
use super::search::Plan;
use super::segment::Segments;
use super::terms::Terms;
use super::writer::{Token, build};
use crate::analyser::{Analyser, Scratch};
use crate::limits;

/// A segment that is no smaller than one in so many parts of the one before it is merged with that.
const MERGE_PART: u32 = 4;
/// A segment of which one in so many documents has died is written anew.
const DEAD_PART: u32 = 3;
/// Terms that no document has any more, from which on an index is worth being built anew when they are the most of all.
const UNUSED_TERMS_MIN: usize = 1 << 16;

/// The index of one column.
#[derive(Debug)]
pub struct Index {
    analyser: Arc<Analyser>,
    scratch: Scratch,
    terms: Terms,
    /// In the order of their documents, and how many of each have died.
    segments: Segments,
    dead: Vec<u32>,
    batch: Batch,
    merge: Option<(std::ops::Range<usize>, Box<Merge>)>,
    /// Documents below it are in.
    next: u64,
    documents: u64,
    tokens: u64,
    /// Terms of a document, each once.
    distinct: Vec<u32>,
}

/// Documents that are in no segment yet.
#[derive(Debug, Default)]
struct Batch {
    base: u64,
    lengths: Vec<u32>,
    tokens: Vec<Token>,
    dead: u32,
}

impl Index {
    /// Without documents.
    pub fn new(analyser: Arc<Analyser>) -> Index {
        Index {
            analyser,
            scratch: Scratch::default(),
            terms: Terms::default(),
            segments: Vec::new(),
            dead: Vec::new(),
            batch: Batch::default(),
            merge: None,
            next: 0,
            documents: 0,
            tokens: 0,
            distinct: Vec::new(),
        }
    }

    /// How its texts are taken apart.
    pub fn analyser(&self) -> &Arc<Analyser> {
        &self.analyser
    }

    /// Documents below this are in, as far as they have a text.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Documents that live.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// There is no document below this besides those that were added.
    pub fn pass(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Adds a document. One that does not live any more, and that a snapshot is still to have, does not count for the statistics.
    ///
    /// # Panics
    /// If one of this number, or a later one, is in.
    pub fn add(&mut self, document: u64, text: &str, lives: bool) {
        assert!(document >= self.next, "document {document} comes behind {}", self.next);
        self.next = document + 1;
        if !self.batch.has_room_for(document) {
            self.flush();
        }
        let Index { analyser, scratch, terms, batch, distinct, .. } = self;
        if batch.lengths.is_empty() {
            batch.base = document;
        }
        let place = (document - batch.base) as u32;
        let before = batch.tokens.len();
        analyser.tokens(text, scratch, |token, position| {
            let term = terms.insert(token);
            batch.tokens.push(Token { term, document: place, position });
        });
        let added = &batch.tokens[before..];
        if added.is_empty() {
            return;
        }
        let length = u32::try_from(added.len()).expect("a text fits a frame");
        batch.lengths.resize(place as usize, 0);
        batch.lengths.push(length);
        if !lives {
            batch.dead += 1;
            return;
        }
        distinct_terms(added, distinct);
        distinct.iter().for_each(|&term| terms.add_document(term));
        self.documents += 1;
        self.tokens += u64::from(length);
    }

    /// A document has died that was added, if it has a token: its text is looked at once more, so that the statistics stay exact.
    pub fn remove(&mut self, document: u64, text: &str) {
        if document >= self.next {
            return; // it is never added
        }
        let (mut tokens, mut distinct) = (Vec::new(), std::mem::take(&mut self.distinct));
        let Index { analyser, scratch, terms, .. } = self;
        analyser.tokens(text, scratch, |token, position| {
            let term = terms.get(token).expect("a document that dies was added");
            tokens.push(Token { term, document: 0, position });
        });
        if !tokens.is_empty() {
            distinct_terms(&tokens, &mut distinct);
            distinct.iter().for_each(|&term| self.terms.remove_document(term));
            self.documents -= 1;
            self.tokens -= tokens.len() as u64;
            match self.segments.iter().rposition(|segment| segment.base <= document) {
                Some(place) if document < self.segments[place].end() => self.dead[place] += 1,
                _ => self.batch.dead += 1,
            }
        }
        self.distinct = distinct;
    }

    /// What its documents say to a query.
    pub fn statistics(&self, query: &Query) -> Statistics {
        let frequency = |text: &[u8]| self.terms.get(text).map_or(0, |term| u64::from(self.terms.frequency(term)));
        let frequencies = query.words.iter().map(|word| frequency(&word.text)).collect();
        Statistics { documents: self.documents, tokens: self.tokens, frequencies }
    }

    /// All documents that are in, for a query.
    pub fn snapshot(&mut self, query: &Query) -> Snapshot {
        self.flush();
        let mut segments = self.segments.clone();
        // What is good raises the bar for the rest: the largest first.
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.documents));
        let terms = query.words.iter().map(|word| self.terms.get(&word.text)).collect();
        let excluded = query.excluded.iter().filter_map(|word| self.terms.get(word)).collect();
        Snapshot { segments, terms, excluded }
    }

    /// Closes the batch that is open.
    fn flush(&mut self) {
        let Batch { base, lengths, tokens, dead } = std::mem::take(&mut self.batch);
        if tokens.is_empty() {
            return;
        }
        let segment = build(base, lengths, tokens, self.terms.len());
        self.segments.push(Arc::new(segment));
        self.dead.push(dead);
    }

    /// Goes on with merging, for about half a millisecond. False when there is nothing to merge. `is_dead`: whether nobody who takes a
    /// snapshot from now on can see a document.
    pub fn merge_step(&mut self, is_dead: impl Fn(u64) -> bool) -> bool {
        if self.merge.is_none() {
            let Some(range) = self.next_merge() else { return false };
            let merge = Merge::new(&self.segments[range.clone()], is_dead);
            // Those that die from now on are in the merged one, too.
            self.dead[range.clone()].fill(0);
            self.merge = Some((range, Box::new(merge)));
        }
        let (range, merge) = self.merge.as_mut().expect("there is one now");
        let Some(merged) = merge.step(limits::TEXT_STEP_POSTINGS) else { return true };
        let range = range.clone();
        self.merge = None;
        let dead = self.dead[range.clone()].iter().sum();
        let is_left = merged.documents > 0;
        self.segments.splice(range.clone(), is_left.then(|| Arc::new(merged)));
        self.dead.splice(range, is_left.then_some(dead));
        true
    }

    /// Neighbours of about one size, or a segment with many dead documents.
    fn next_merge(&self) -> Option<std::ops::Range<usize>> {
        let documents = |place: usize| self.segments[place].documents;
        let fits = |place: usize| {
            let (first, second) = (&self.segments[place], &self.segments[place + 1]);
            let postings = (first.postings.len() + second.postings.len()) as u64;
            let positions = (first.positions.len() + second.positions.len()) as u64;
            second.end() - first.base <= limits::TEXT_SEGMENT_SPAN_MAX && postings.max(positions) < u64::from(u32::MAX)
        };
        let neighbours = (0..self.segments.len().saturating_sub(1)).rev();
        let grown = neighbours
            .filter(|&place| fits(place))
            .find(|&place| documents(place) / MERGE_PART <= documents(place + 1));
        let dying = || (0..self.segments.len()).find(|&place| self.dead[place] > documents(place) / DEAD_PART);
        grown.map(|place| place..place + 2).or_else(|| dying().map(|place| place..place + 1))
    }

    /// Whether most of its terms are those of documents that have died: then it is time to build it anew.
    pub fn is_worn_out(&self) -> bool {
        self.terms.unused() > UNUSED_TERMS_MIN && self.terms.unused() > self.terms.len() / 2
    }

    /// Memory in use.
    pub fn bytes(&self) -> u64 {
        let segments: usize = self.segments.iter().map(|segment| segment.bytes()).sum();
        let batch = self.batch.tokens.capacity() * size_of::<Token>() + self.batch.lengths.capacity() * 4;
        (self.terms.bytes() + segments + batch) as u64
    }

    /// Segments, the batch that is open not counted.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }
}

impl Batch {
    fn has_room_for(&self, document: u64) -> bool {
        self.tokens.len() < limits::TEXT_BATCH_TOKENS
            && (self.lengths.is_empty() || document - self.base < limits::TEXT_SEGMENT_SPAN_MAX)
    }
}

fn distinct_terms(tokens: &[Token], out: &mut Vec<u32>) {
    out.clear();
    out.extend(tokens.iter().map(|token| token.term));
    out.sort_unstable();
    out.dedup();
}

/// Documents of an index at one moment, and the words of one query.
#[derive(Clone, Debug)]
pub struct Snapshot {
    segments: Segments,
    terms: Vec<Option<u32>>,
    excluded: Vec<u32>,
}

impl Snapshot {
    /// Parts of it: each is searched by itself, in this order.
    pub fn parts(&self) -> usize {
        self.segments.len()
    }

    /// Offers the documents of a part that may be among the best. `accept` gives the row of a document that counts.
    ///
    /// # Panics
    /// If it was taken for another query.
    pub fn search(
        &self,
        part: usize,
        query: &Query,
        statistics: &Statistics,
        best: &mut Best,
        accept: impl FnMut(u64) -> Option<u32>,
    ) {
        self.search_with(part, &Plan::new(query, statistics, true), best, accept);
    }

    /// The same with all documents looked at.
    #[cfg(test)]
    pub(super) fn search_all(
        &self,
        part: usize,
        query: &Query,
        statistics: &Statistics,
        best: &mut Best,
        accept: impl FnMut(u64) -> Option<u32>,
    ) {
        self.search_with(part, &Plan::new(query, statistics, false), best, accept);
    }

    fn search_with(&self, part: usize, plan: &Plan<'_>, best: &mut Best, accept: impl FnMut(u64) -> Option<u32>) {
        plan.search(&self.segments[part], &self.terms, &self.excluded, best, accept);
    }
}
