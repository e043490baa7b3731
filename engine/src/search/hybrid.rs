//! Searches by text, and by text and vector together.
//!
//! ```text
//! text    {"column": name, "query": text or object, "candidates": number}       column and candidates may be left out
//! fusion  {"method": "rrf", "k": number, "candidates": number}                  k: 60 where it is not said
//!         {"method": "weighted", "weights": [dense, text], "normalise": "minmax" or "none", "candidates": number}
//! ```
//!
//! `candidates` are how many rows each side finds: of `text` those found by their words, of `fusion` those found by their vectors. Each side
//! has its own list, best first, and a row may be in both or in one.
//!
//! - `rrf`: Σ 1 / (k + rank) over the lists that a row is in, with ranks from 1 (Cormack, Clarke & Büttcher, "Reciprocal Rank Fusion Outperforms
//!   Condorcet and Individual Rank Learning Methods", 2009).
//! - `weighted`: Σ weight × value. With `minmax` values are brought to 0 … 1 on each list, the worst of it to 0, the best to 1 (all to 1, where they are the
//!   same); of distances it is their negation that is taken. With `none` the similarity and the score of the text count as they are. A row that is not in a list
//!   gets nothing for it.
//!
//! Rows of equal scores are ordered by their place by vector, then by text.

use std::collections::HashMap;

use simd_json::BorrowedValue;
use simd_json::prelude::*;

use super::options::invalid;
use super::{Hit, Side, Sides};
use crate::error::{Error, Result};
use crate::limits;
use crate::text::TextHit;

/// Rows that each side finds where nobody says how many, or as many as are wanted if that is more.
const CANDIDATES_DEFAULT: usize = 100;
/// `k` of reciprocal rank fusion, as its authors chose it.
const RRF_K: f32 = 60.0;

/// What is looked for in texts.
#[derive(Clone, Debug, PartialEq)]
pub struct TextOption {
    /// Column; None for the only one there is.
    pub column: Option<String>,
    /// As [`crate::text::Query::parse`] reads it.
    pub query: serde_json::Value,
    candidates: Option<usize>,
}

impl TextOption {
    pub(super) fn read(value: &BorrowedValue<'_>) -> Result<TextOption> {
        let object = value.as_object().ok_or_else(|| invalid("text", "it takes an object"))?;
        let (mut column, mut query, mut candidates) = (None, None, None);
        for (name, value) in object.iter() {
            match &**name {
                "column" => {
                    let name = value.as_str().ok_or_else(|| invalid("text: column", "it takes a name"))?;
                    column = Some(name.to_owned());
                }
                "query" => query = serde_json::from_str(&value.encode()).ok(),
                "candidates" => candidates = Some(count("text: candidates", value)?),
                _ => return Err(invalid(&format!("text: {name}"), "there is no such option")),
            }
        }
        let query = query.ok_or_else(|| invalid("text", "it takes a `query`"))?;
        Ok(TextOption { column, query, candidates })
    }

    /// Rows that are to be found by their words for `k` results.
    pub fn candidates(&self, k: usize) -> usize {
        self.candidates.unwrap_or(CANDIDATES_DEFAULT).max(k)
    }
}

/// How two lists are made one.
#[derive(Clone, Debug, PartialEq)]
pub struct Fusion {
    /// By ranks, or by what the lists are ordered by.
    pub method: Method,
    candidates: Option<usize>,
}

/// What the score of a row is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// Reciprocal ranks.
    Rrf {
        /// The more, the less the first ranks count beside the later ones.
        k: f32,
    },
    /// Values.
    Weighted {
        /// Of the vectors, and of the text.
        weights: [f32; 2],
        /// Whether they are brought to 0 … 1 first.
        is_normalised: bool,
    },
}

impl Default for Fusion {
    fn default() -> Fusion {
        Fusion { method: Method::Rrf { k: RRF_K }, candidates: None }
    }
}

impl Fusion {
    pub(super) fn read(value: &BorrowedValue<'_>) -> Result<Fusion> {
        let object = value.as_object().ok_or_else(|| invalid("fusion", "it takes an object"))?;
        let is_weighted = match object.get("method").map(|method| method.as_str()) {
            None | Some(Some("rrf")) => false,
            Some(Some("weighted")) => true,
            Some(_) => return Err(invalid("fusion: method", "rrf and weighted are known")),
        };
        let (mut k, mut weights, mut is_normalised, mut candidates) = (RRF_K, [0.5, 0.5], true, None);
        for (name, value) in object.iter() {
            match (&**name, is_weighted) {
                ("method", _) => {}
                ("candidates", _) => candidates = Some(count("fusion: candidates", value)?),
                ("k", false) => k = weight("fusion: k", value)?,
                ("weights", true) => weights = two_weights(value)?,
                ("normalise", true) => {
                    is_normalised = match value.as_str() {
                        Some("minmax") => true,
                        Some("none") => false,
                        _ => return Err(invalid("fusion: normalise", "minmax and none are known")),
                    }
                }
                _ => return Err(invalid(&format!("fusion: {name}"), "this method has no such option")),
            }
        }
        let method = if is_weighted { Method::Weighted { weights, is_normalised } } else { Method::Rrf { k } };
        Ok(Fusion { method, candidates })
    }

    /// Rows that are to be found by their vectors for `k` results.
    pub fn candidates(&self, k: usize) -> usize {
        self.candidates.unwrap_or(CANDIDATES_DEFAULT).max(k)
    }

    /// Makes one list of two, best first, of `k` rows at most. `similarity` is that of a distance.
    pub fn fuse(&self, dense: &[Hit], text: &[TextHit], k: usize, similarity: impl Fn(f32) -> f32) -> Vec<Fused> {
        let mut rows: HashMap<u32, Sides> = HashMap::with_capacity(dense.len() + text.len());
        for (hit, rank) in dense.iter().zip(1..) {
            rows.entry(hit.row).or_default().dense = Some(Side { rank, value: hit.distance });
        }
        for (hit, rank) in text.iter().zip(1..) {
            rows.entry(hit.row).or_default().text = Some(Side { rank, value: hit.score });
        }
        let dense_value = |distance: f32| if self.is_normalised() { -distance } else { similarity(distance) };
        let dense_span = self.span(dense.iter().map(|hit| dense_value(hit.distance)));
        let text_span = self.span(text.iter().map(|hit| hit.score));
        let score = |sides: &Sides| match self.method {
            Method::Rrf { k } => {
                let part = |side: Option<Side>| side.map_or(0.0, |side| 1.0 / (k + side.rank as f32));
                part(sides.dense) + part(sides.text)
            }
            Method::Weighted { weights, .. } => {
                let dense = sides.dense.map_or(0.0, |side| dense_span.place(dense_value(side.value)));
                let text = sides.text.map_or(0.0, |side| text_span.place(side.value));
                weights[0] * dense + weights[1] * text
            }
        };
        let mut fused: Vec<Fused> =
            rows.into_iter().map(|(row, sides)| Fused { row, score: score(&sides), sides }).collect();
        let rank = |side: Option<Side>| side.map_or(u32::MAX, |side| side.rank);
        fused.sort_unstable_by(|a, b| {
            let by_score = b.score.total_cmp(&a.score);
            let key = |fused: &Fused| (rank(fused.sides.dense), rank(fused.sides.text));
            by_score.then_with(|| key(a).cmp(&key(b)))
        });
        fused.truncate(k);
        fused
    }

    fn is_normalised(&self) -> bool {
        matches!(self.method, Method::Weighted { is_normalised: true, .. })
    }

    fn span(&self, values: impl Iterator<Item = f32>) -> Span {
        if !self.is_normalised() {
            return Span { least: 0.0, width: 1.0 };
        }
        let (least, most) =
            values.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
        Span { least, width: most - least }
    }
}

/// Where values lie.
struct Span {
    least: f32,
    width: f32,
}

impl Span {
    fn place(&self, value: f32) -> f32 {
        if self.width > 0.0 { (value - self.least) / self.width } else { 1.0 }
    }
}

/// A row of the one list.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// Row.
    pub row: u32,
    /// The higher the better.
    pub score: f32,
    /// Where it was found.
    pub sides: Sides,
}

fn count(name: &str, value: &BorrowedValue<'_>) -> Result<usize> {
    let count = value.as_usize().filter(|&count| count > 0);
    let count = count.ok_or_else(|| invalid(name, "it takes a whole number, 1 or more"))?;
    if count > limits::K_MAX {
        let (value, limit) = (count as u64, limits::K_MAX as u64);
        return Err(Error::LimitExceeded { what: "number of candidates", value, limit });
    }
    Ok(count)
}

fn weight(name: &str, value: &BorrowedValue<'_>) -> Result<f32> {
    let number = value.cast_f64().map(|number| number as f32).filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| invalid(name, "it takes a number, 0 or more"))
}

fn two_weights(value: &BorrowedValue<'_>) -> Result<[f32; 2]> {
    match value.as_array().map(Vec::as_slice) {
        Some([dense, text]) => Ok([weight("fusion: weights", dense)?, weight("fusion: weights", text)?]),
        _ => Err(invalid("fusion: weights", "it takes two numbers: of the vectors, and of the text")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::SearchOptions;
    use super::*;
    use crate::batch::samples;

    fn dense(hits: &[(f32, u32)]) -> Vec<Hit> {
        hits.iter().map(|&(distance, row)| Hit { distance, row }).collect()
    }

    fn text(hits: &[(f32, u32)]) -> Vec<TextHit> {
        hits.iter().map(|&(score, row)| TextHit { score, row }).collect()
    }

    fn fusion(json: &str) -> Fusion {
        let options = format!(r#"{{"text": {{"query": "x"}}, "fusion": {json}}}"#);
        SearchOptions::parse(options.as_bytes(), &samples::schema(false)).unwrap().fusion.unwrap()
    }

    fn scores(fusion: &Fusion, k: usize) -> Vec<(u32, f32)> {
        let (dense, text) = (dense(&[(0.1, 7), (0.3, 8), (0.5, 9)]), text(&[(6.0, 9), (5.0, 1), (2.0, 7)]));
        fusion.fuse(&dense, &text, k, |distance| 1.0 - distance).iter().map(|row| (row.row, row.score)).collect()
    }

    #[test]
    fn ranks_are_fused_as_in_the_paper() {
        let found = scores(&Fusion::default(), 10);
        let both = 1.0 / 61.0 + 1.0 / 63.0;
        assert_eq!(found, [(7, both), (9, both), (8, 1.0 / 62.0), (1, 1.0 / 62.0)]);
        assert_eq!(scores(&Fusion::default(), 1), [(7, both)]);
        assert_eq!(scores(&fusion(r#"{"method": "rrf", "k": 0}"#), 1), [(7, 1.0 + 1.0 / 3.0)]);
    }

    #[test]
    fn values_are_fused_with_their_weights() {
        let found = scores(&fusion(r#"{"method": "weighted", "weights": [0.7, 0.3], "normalise": "minmax"}"#), 10);
        let want = [(7, 0.7), (8, 0.35), (9, 0.3), (1, 0.225)];
        assert!(found.iter().zip(want).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-6), "{found:?}");
        let found = scores(&fusion(r#"{"method": "weighted", "weights": [1, 0.5], "normalise": "none"}"#), 10);
        assert_eq!(found.iter().map(|row| row.0).collect::<Vec<_>>(), [9, 1, 7, 8]);
        assert_eq!(found[0].1, 0.5 + 3.0);
    }

    #[test]
    fn one_list_may_be_empty_and_equal_values_are_the_best() {
        let weighted = fusion(r#"{"method": "weighted"}"#);
        let found = weighted.fuse(&[], &text(&[(2.0, 3), (2.0, 5)]), 5, |_| 0.0);
        assert_eq!(found.iter().map(|row| (row.row, row.score)).collect::<Vec<_>>(), [(3, 0.5), (5, 0.5)]);
        assert_eq!(found[1].sides, Sides { dense: None, text: Some(Side { rank: 2, value: 2.0 }) });
        assert!(Fusion::default().fuse(&[], &[], 5, |_| 0.0).is_empty());
    }

    #[test]
    fn what_is_no_option_is_refused_by_name() {
        let problem =
            |json: &str| SearchOptions::parse(json.as_bytes(), &samples::schema(false)).expect_err(json).to_string();
        for (json, words) in [
            (r#"{"fusion": {}}"#, "`fusion`"),
            (r#"{"text": "x"}"#, "`text`"),
            (r#"{"text": {"column": "c"}}"#, "`query`"),
            (r#"{"text": {"query": "x", "words": 1}}"#, "`text: words`"),
            (r#"{"text": {"query": "x", "candidates": 0}}"#, "`text: candidates`"),
            (r#"{"text": {"query": "x", "candidates": 10001}}"#, "limit"),
            (r#"{"text": {"query": "x"}, "fusion": {"method": "sum"}}"#, "`fusion: method`"),
            (r#"{"text": {"query": "x"}, "fusion": {"weights": [1, 2]}}"#, "`fusion: weights`"),
            (r#"{"text": {"query": "x"}, "fusion": {"method": "weighted", "weights": [1]}}"#, "two numbers"),
            (r#"{"text": {"query": "x"}, "fusion": {"method": "weighted", "weights": [1, -1]}}"#, "0 or more"),
            (r#"{"text": {"query": "x"}, "fusion": {"k": -1}}"#, "`fusion: k`"),
            (r#"{"text": {"query": "x"}, "fusion": {"method": "weighted", "normalise": "z"}}"#, "`fusion: normalise`"),
        ] {
            assert!(problem(json).contains(words), "{json}: {}", problem(json));
        }
    }
}
