//! The best documents of a segment.
//!
//! Where one of several words is enough, documents are gone through by windows (the bounds of blocks of a window hold for all of it). Words
//! are ordered by what they say. Those at the end that cannot bring a document among the best even together are *not essential*: only
//! documents with one of the others are looked at, and the rest is looked up for those that may still make it. (MaxScore: Turtle & Flood, "Query
//! Evaluation: Strategies and Optimizations", 1995; with the bounds of blocks: Ding & Suel, 2011.)
//!
//! Where words have to be there, the rarest leads, and blocks of it are passed over whose best is not enough.

use super::cursor::Cursor;
use super::query::Query;
use super::score::{Best, Statistics, TextHit, Weights};
use super::segment::Segment;

/// Documents of a window.
const WINDOW: usize = 4_096;

/// What a query comes to for given statistics.
#[derive(Debug)]
pub(super) struct Plan<'q> {
    query: &'q Query,
    /// Places of the words, those that say most first.
    order: Vec<usize>,
    /// What each word says, in that order.
    weights: Vec<f32>,
    lengths: Weights,
    /// Whether documents are passed over that cannot be among the best.
    prunes: bool,
}

impl<'q> Plan<'q> {
    pub fn new(query: &'q Query, statistics: &Statistics, prunes: bool) -> Plan<'q> {
        let idf = |place: usize| statistics.idf(statistics.frequencies[place]) * query.words[place].count as f32;
        let mut order: Vec<usize> = (0..query.words.len()).collect();
        order.sort_by(|&a, &b| idf(b).total_cmp(&idf(a)));
        let weights = order.iter().map(|&place| idf(place)).collect();
        Plan { query, order, weights, lengths: Weights::of_average(statistics.average()), prunes }
    }

    /// Offers the documents of a segment. `terms` are the numbers of the query's words, `excluded` those of the words that must not be
    /// there. `accept` gives the row of a document that counts.
    pub fn search(
        &self,
        segment: &Segment,
        terms: &[Option<u32>],
        excluded: &[u32],
        best: &mut Best,
        accept: impl FnMut(u64) -> Option<u32>,
    ) {
        let drift = segment.drift(&self.lengths);
        let mut cursors = Vec::with_capacity(self.order.len());
        let mut cursor_of_word = vec![usize::MAX; self.order.len()];
        for (&place, &weight) in self.order.iter().zip(&self.weights) {
            match terms[place].and_then(|term| segment.list(term)) {
                Some(blocks) => {
                    cursor_of_word[place] = cursors.len();
                    cursors.push(Cursor::new(segment, blocks, weight, drift));
                }
                None if self.query.words[place].is_required => return,
                None => {}
            }
        }
        let excluded = excluded.iter().filter_map(|&term| segment.list(term));
        let excluded = excluded.map(|blocks| Cursor::new(segment, blocks, 0.0, drift)).collect();
        let (bounds, base, weights) = (vec![0.0; cursors.len() + 1], segment.base, self.lengths);
        let mut pass = Pass { plan: self, cursors, excluded, bounds, base, weights, best, accept };
        let required: Vec<usize> =
            (0..self.query.words.len()).filter(|&place| self.query.words[place].is_required).collect();
        if required.is_empty() {
            pass.any();
        } else {
            pass.all(required.iter().map(|&place| cursor_of_word[place]).collect(), &cursor_of_word);
        }
    }
}

/// A way through a segment.
struct Pass<'a, 's, A> {
    plan: &'a Plan<'a>,
    /// Words of the query that the segment has, in the plan's order.
    cursors: Vec<Cursor<'s>>,
    excluded: Vec<Cursor<'s>>,
    /// From each word on: no document of the window scores more for it and those behind it.
    bounds: Vec<f32>,
    base: u64,
    weights: Weights,
    best: &'a mut Best,
    accept: A,
}

impl<A: FnMut(u64) -> Option<u32>> Pass<'_, '_, A> {
    /// Documents with any of the words.
    fn any(&mut self) {
        let mut window = Window::default();
        let mut from = self.next_document();
        while from < u32::MAX {
            let to = from + WINDOW as u32;
            let essential = self.essential(from, to);
            match essential {
                0 => {}
                1 => self.one_essential(to),
                _ => self.several_essential(essential, from, to, &mut window),
            }
            self.cursors.iter_mut().for_each(|cursor| {
                cursor.seek(to);
            });
            from = self.next_document();
        }
    }

    fn next_document(&self) -> u32 {
        self.cursors.iter().map(Cursor::document).min().unwrap_or(u32::MAX)
    }

    /// What a score has to reach.
    fn bound(&self) -> f32 {
        if self.plan.prunes { self.best.bound() } else { 0.0 }
    }

    /// Works the bounds out, and how many words are essential.
    fn essential(&mut self, from: u32, to: u32) -> usize {
        let mut sum = 0.0;
        for (cursor, bound) in self.cursors.iter_mut().zip(&mut self.bounds).rev() {
            sum += cursor.score_max(from..to);
            *bound = sum;
        }
        let bound = self.bound();
        self.bounds[..self.cursors.len()].iter().take_while(|&&rest| rest >= bound).count()
    }

    fn one_essential(&mut self, to: u32) {
        let mut found = Vec::new();
        while self.cursors[0].document() < to {
            if self.cursors[0].block_score_max() + self.bounds[1] < self.bound() {
                self.cursors[0].next_block();
                continue;
            }
            let (least, weights) = (self.bound() - self.bounds[1], self.weights);
            found.clear();
            self.cursors[0].scores_of_block(to, &weights, |document, score| {
                if score >= least {
                    found.push((document, score));
                }
            });
            for &(document, score) in &found {
                self.complete(document, score, 1);
            }
        }
    }

    fn several_essential(&mut self, essential: usize, from: u32, to: u32, window: &mut Window) {
        let weights = self.weights;
        for cursor in &mut self.cursors[..essential] {
            while cursor.document() < to {
                cursor.scores_of_block(to, &weights, |document, score| window.add((document - from) as usize, score));
            }
        }
        for word in 0..WINDOW / 64 {
            let mut bits = std::mem::take(&mut window.seen[word]);
            while bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let score = std::mem::take(&mut window.scores[place]);
                self.complete(from + place as u32, score, essential);
            }
        }
    }

    /// Adds what the words from `next` on give, as long as the document may be among the best, and offers it.
    #[inline]
    fn complete(&mut self, document: u32, mut score: f32, next: usize) {
        let bound = self.bound();
        for place in next..self.cursors.len() {
            if score + self.bounds[place] < bound {
                return;
            }
            let cursor = &mut self.cursors[place];
            cursor.seek_block(document);
            if score + cursor.block_score_max() + self.bounds[place + 1] < bound {
                return;
            }
            if cursor.seek(document) {
                score += cursor.score(&self.weights, document);
            }
        }
        self.offer(document, score);
    }

    #[inline]
    fn offer(&mut self, document: u32, score: f32) {
        if score < self.best.bound() || self.excluded.iter_mut().any(|cursor| cursor.seek(document)) {
            return;
        }
        if let Some(row) = (self.accept)(self.base + u64::from(document)) {
            self.best.push(TextHit { score, row });
        }
    }

    /// Documents with all of the words that have to be there, by their cursors.
    fn all(&mut self, mut required: Vec<usize>, cursor_of_word: &[usize]) {
        required.sort_by_key(|&place| self.cursors[place].count());
        required.dedup();
        let (lead, others) = (required[0], required[1..].to_vec());
        let mut looked_at = u32::MAX;
        let mut positions = Positions::default();
        'documents: while let Some(block) = self.cursors[lead].block() {
            if looked_at != block.start {
                looked_at = block.start;
                let documents = block.first..block.last + 1;
                let most: f32 = self.cursors.iter_mut().map(|cursor| cursor.score_max(documents.clone())).sum();
                if most < self.bound() {
                    self.cursors[lead].next_block();
                    continue;
                }
            }
            let document = self.cursors[lead].document();
            for &place in &others {
                if !self.cursors[place].seek(document) {
                    let next = self.cursors[place].document();
                    if next == u32::MAX {
                        return;
                    }
                    self.cursors[lead].seek(next);
                    continue 'documents;
                }
            }
            let mut score = 0.0;
            for cursor in &mut self.cursors {
                if cursor.seek(document) {
                    score += cursor.score(&self.weights, document);
                }
            }
            if score >= self.best.bound() && self.has_phrases(cursor_of_word, &mut positions) {
                self.offer(document, score);
            }
            self.cursors[lead].seek(document + 1);
        }
    }

    /// Whether the document that the cursors stand at has the phrases.
    fn has_phrases(&self, cursor_of_word: &[usize], positions: &mut Positions) -> bool {
        self.plan.query.phrases.iter().all(|phrase| {
            let Positions { starts, of_word } = positions;
            self.cursors[cursor_of_word[phrase[0].0]].positions(starts);
            for &(place, behind) in &phrase[1..] {
                self.cursors[cursor_of_word[place]].positions(of_word);
                starts.retain(|start| of_word.binary_search(&(start + behind)).is_ok());
                if starts.is_empty() {
                    return false;
                }
            }
            true
        })
    }
}

/// Memory of phrases: where they may begin, and where a word stands.
#[derive(Default)]
struct Positions {
    starts: Vec<u32>,
    of_word: Vec<u32>,
}

/// Scores of the documents of a window.
struct Window {
    scores: Box<[f32; WINDOW]>,
    seen: [u64; WINDOW / 64],
}

impl Default for Window {
    fn default() -> Window {
        Window { scores: vec![0.0; WINDOW].try_into().expect("as many"), seen: [0; WINDOW / 64] }
    }
}

impl Window {
    #[inline]
    fn add(&mut self, place: usize, score: f32) {
        self.scores[place] += score;
        self.seen[place / 64] |= 1 << (place % 64);
    }
}
