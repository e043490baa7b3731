//! Text search: an inverted index of one text column of one shard, and BM25 over it.
//!
//! A document is the text of a row, and is known by a number that only grows: the row's ordinal. So nothing has to be told when slots are
//! used again, and what has died is dropped when segments are merged. Nothing here knows of rows, regions or vectors: who searches says
//! which documents count, and which rows they are.
//!
//! ```text
//! text → Analyser → tokens → Batch → Segment ┐                       ┌ Statistics of all shards
//!                                    Segment ┤ → Snapshot → search ← ┤
//!                     merged as they grow: … ┘                       └ Query
//! ```
//!
//! # Scores
//! BM25 (Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009) with k1 = 1.2, b = 0.75 and the idf
//! that Lucene has, which is never negative:
//!
//! ```text
//! score(query, document) = Σ  count × idf × tf / (tf + k1 × (1 − b + b × length / average length))
//! idf                    = ln(1 + (N − df + 0.5) / (df + 0.5))
//! ```
//!
//! over the distinct words of the query; `count` is how often the query has a word. The length of a document is exact, in tokens. N, df and
//! the average are those of all shards: they are handed in, so that it does not matter to a score which shard a row lives on. Equal
//! scores are ordered by row.
//!
//! # Invariants
//! - The statistics are those of documents that live: exactly, as long as whoever adds documents says which die.
//! - A score is summed in one order, words that say most first, on every way through a segment: the result is the same to the bit
//!   whether blocks are passed over or not, and however documents are spread over segments.
//! - A snapshot never changes: a search goes on over it while documents are added, die and are merged.
//!
//! | file | holds |
//! |---|---|
//! | `query` | what is asked for |
//! | `terms` | terms by number, and in how many documents each is |
//! | `segment`, `writer`, `merge` | postings in blocks; how they are made, and made one of two |
//! | `index` | segments, the batch that is open, statistics |
//! | `score` | BM25, and the best k |
//! | `cursor`, `search` | through a segment, passing over what cannot be among the best |

mod cursor;
mod index;
mod merge;
mod query;
mod score;
mod search;
mod segment;
mod terms;
#[cfg(test)]
mod tests;
mod writer;

pub use crate::analyser::{Analyser, Scratch};
pub use index::{Index, Snapshot};
pub use query::Query;
pub use score::{Best, Statistics, TextHit};
