//! BM25, and the best k of what was seen.

use std::collections::BinaryHeap;

/// How soon more occurrences of a word in a document stop counting.
const K1: f32 = 1.2;
/// How much the length of a document counts.
const B: f32 = 0.75;

/// What BM25 needs to know of all documents, of one shard or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Documents that have a token.
    pub documents: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Of each word of the query: documents that have it.
    pub frequencies: Vec<u64>,
}

impl Statistics {
    /// Adds those of another shard, for the same query.
    ///
    /// # Panics
    /// If they are for another number of words.
    pub fn add(&mut self, other: &Statistics) {
        assert_eq!(self.frequencies.len(), other.frequencies.len(), "statistics of one query");
        self.documents += other.documents;
        self.tokens += other.tokens;
        self.frequencies.iter_mut().zip(&other.frequencies).for_each(|(sum, other)| *sum += other);
    }

    /// What a word says that so many documents have.
    pub(super) fn idf(&self, frequency: u64) -> f32 {
        let (all, having) = (self.documents as f64, frequency.min(self.documents) as f64);
        (1.0 + (all - having + 0.5) / (having + 0.5)).ln() as f32
    }

    pub(super) fn average(&self) -> f32 {
        (self.tokens as f64 / self.documents.max(1) as f64) as f32
    }
}

/// How length weighs, for an average of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    pub per_token: f32,
}

impl Weights {
    const BASE: f32 = K1 * (1.0 - B);

    pub fn of_average(average: f32) -> Weights {
        Weights { per_token: Weights::per_token_of(average) }
    }

    pub fn per_token_of(average: f32) -> f32 {
        K1 * B / average.max(1.0)
    }

    /// What the score of a word falls with.
    #[inline]
    pub fn cost(&self, frequency: u32, length: u32) -> f32 {
        (Weights::BASE + self.per_token * length as f32) / frequency as f32
    }

    /// The score of a word, for what it says and how often the query has it.
    #[inline]
    pub fn score(&self, weight: f32, frequency: u32, length: u32) -> f32 {
        let frequency = frequency as f32;
        weight * frequency / (frequency + (Weights::BASE + self.per_token * length as f32))
    }
}

/// A row and its score; the greater is the one that comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextHit {
    /// The higher the better; never NaN.
    pub score: f32,
    /// Row.
    pub row: u32,
}

impl Eq for TextHit {}

impl PartialOrd for TextHit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TextHit {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&other.score).then(other.row.cmp(&self.row))
    }
}

/// The k best so far.
#[derive(Clone, Debug)]
pub struct Best {
    k: usize,
    heap: BinaryHeap<std::cmp::Reverse<TextHit>>,
    /// What a score has to reach.
    bound: f32,
}

impl Best {
    /// Keeps the best `k`.
    pub fn new(k: usize) -> Best {
        assert!(k > 0);
        Best { k, heap: BinaryHeap::with_capacity(k.min(1_024) + 1), bound: 0.0 }
    }

    /// Score that a hit has to reach; with it, its row decides.
    #[inline]
    pub fn bound(&self) -> f32 {
        self.bound
    }

    /// Offers a hit.
    pub fn push(&mut self, hit: TextHit) {
        if self.heap.len() < self.k {
            self.heap.push(std::cmp::Reverse(hit));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && hit > worst.0
        {
            worst.0 = hit;
        }
        if self.heap.len() == self.k {
            self.bound = self.heap.peek().expect("k is not 0").0.score;
        }
    }

    /// The hits, best first.
    pub fn into_sorted(self) -> Vec<TextHit> {
        self.heap.into_sorted_vec().into_iter().map(|hit| hit.0).collect()
    }
}
