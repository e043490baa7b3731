//! The option that has the results of a search activate their neighbours along the edges of a graph, and orders them anew.
//!
//! ```text
//! spread = {"edges": collection of the edges, name: value, …}
//! name         value                                                         default
//! hops         1 to 16                                                       1
//! decay        above 0, at most 1: what is left of activation after a hop    0.5
//! weight       0 to 1,000,000: what activation counts beside similarity      1
//! types        list of types of edges that are followed                      all
//! direction    "out", "in" or "both"                                         "both"
//! weight_min   least weight of an edge that is followed                      0
//! fan_out      edges of a row that are followed at most; 0: all              0
//! raw          true: weights as they are, not as parts of their sum          false
//! candidates   results of the search that activate                           4 for each that is wanted
//! neighbours   true: rows that only activation has found come too            false
//! ```
//!
//! Each candidate gets its similarity, or 0 where that is negative, as activation, which spreads as [`crate::edges`] says. Results are ordered by
//!
//! ```text
//! score = similarity + weight × what other rows passed on to it
//! ```

use simd_json::BorrowedValue;
use simd_json::prelude::*;

use super::options::{flag, invalid};
use crate::edges::{Direction, Follow, Spread};
use crate::error::Result;
use crate::limits;
use crate::traversal::TraversalRequest;

/// Candidates for each result that is wanted, where the option does not say.
const CANDIDATES_EACH: usize = 4;
/// What activation counts, at most.
const WEIGHT_MAX: f64 = 1e6;

/// How results activate their neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadOptions {
    /// Name of the collection of the edges.
    pub edges: String,
    /// Hops.
    pub hops: u8,
    /// Edges that are followed.
    pub follow: Follow,
    /// How activation spreads.
    pub spread: Spread,
    /// What activation counts beside similarity.
    pub weight: f64,
    /// Results of the search that activate; none: as many as the default says.
    pub candidates: Option<usize>,
    /// Whether rows come that only activation has found.
    pub neighbours: bool,
}

impl SpreadOptions {
    /// The option of a collection of edges, with the defaults.
    pub fn new(edges: &str) -> SpreadOptions {
        SpreadOptions {
            edges: edges.to_owned(),
            hops: 1,
            follow: Follow { direction: Direction::Both, ..Follow::default() },
            spread: Spread { decay: 0.5, raw: false },
            weight: 1.0,
            candidates: None,
            neighbours: false,
        }
    }

    /// Reads the option from its JSON.
    ///
    /// # Errors
    /// `InvalidOption`, with the name at fault.
    pub fn from_json(json: &str) -> Result<SpreadOptions> {
        let mut bytes = json.as_bytes().to_vec();
        let value = simd_json::to_borrowed_value(&mut bytes).map_err(|_| invalid("spread", "this is not JSON"))?;
        SpreadOptions::parse(&value)
    }

    /// The option as JSON.
    pub fn json(&self) -> serde_json::Value {
        let mut option = serde_json::json!({
            "edges": self.edges,
            "hops": self.hops,
            "decay": self.spread.decay,
            "raw": self.spread.raw,
            "weight": self.weight,
            "types": self.follow.kinds,
            "direction": self.follow.direction.name(),
            "weight_min": self.follow.weight_min,
            "fan_out": self.follow.fan_out,
            "neighbours": self.neighbours,
        });
        if let Some(candidates) = self.candidates {
            option["candidates"] = candidates.into();
        }
        option
    }

    /// Reads the value of the option.
    pub(super) fn parse(value: &BorrowedValue<'_>) -> Result<SpreadOptions> {
        let object = value.as_object().ok_or_else(|| invalid("spread", "it is an object"))?;
        let edges = object.get("edges").and_then(|edges| edges.as_str());
        let mut options = SpreadOptions::new(edges.ok_or_else(|| invalid("spread.edges", "it names a collection"))?);
        for (name, value) in object.iter() {
            options.set(name, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &BorrowedValue<'_>) -> Result<()> {
        let full = || format!("spread.{name}");
        let whole = |most: usize, problem| match value.as_u64() {
            Some(number) if number <= most as u64 => Ok(number as usize),
            _ => Err(invalid(&full(), problem)),
        };
        let number = |least: f64, most: f64, problem| match value.cast_f64() {
            Some(number) if number >= least && number <= most => Ok(number),
            _ => Err(invalid(&full(), problem)),
        };
        match name {
            "edges" => {}
            "hops" => self.hops = whole(usize::from(limits::HOPS_MAX), "it is 1 to 16")? as u8,
            "decay" => self.spread.decay = number(f64::MIN_POSITIVE, 1.0, "it is above 0 and at most 1")?,
            "weight" => self.weight = number(0.0, WEIGHT_MAX, "it is 0 to 1,000,000")?,
            "weight_min" => {
                self.follow.weight_min = number(0.0, f64::from(f32::MAX), "it is not negative")? as f32;
            }
            "fan_out" => self.follow.fan_out = whole(limits::TRAVERSE_EDGES_MAX, "it is a number of edges")?,
            "candidates" => self.candidates = Some(whole(limits::K_MAX, "it is 1 to 10,000")?),
            "raw" => self.spread.raw = flag(&full(), value)?,
            "neighbours" => self.neighbours = flag(&full(), value)?,
            "direction" => {
                let direction = value.as_str().and_then(Direction::from_name);
                self.follow.direction = direction.ok_or_else(|| invalid(&full(), "it is out, in or both"))?;
            }
            "types" => {
                let list = value.as_array().filter(|list| list.len() <= limits::TRAVERSE_TYPES_MAX);
                let kinds = list.and_then(|list| {
                    list.iter().map(|kind| kind.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
                });
                self.follow.kinds = kinds.ok_or_else(|| invalid(&full(), "it is a list of up to 64 types"))?;
            }
            _ => return Err(invalid(&full(), "there is no such option")),
        }
        if self.hops == 0 || self.candidates == Some(0) {
            return Err(invalid(&full(), "it is at least 1"));
        }
        Ok(())
    }

    /// Results that are asked of the search, for `k` that are wanted.
    pub fn candidates(&self, k: usize) -> usize {
        self.candidates.unwrap_or(CANDIDATES_EACH * k).clamp(k, limits::K_MAX.max(k))
    }

    /// The traversal that activation spreads by.
    pub fn traversal(&self) -> TraversalRequest {
        TraversalRequest {
            hops: self.hops,
            hops_min: 0,
            follow: self.follow.clone(),
            spread: Some(self.spread),
            limit: limits::IDS_MAX,
            missing: true,
            ..TraversalRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let options = SpreadOptions {
            hops: 3,
            follow: Follow { direction: Direction::In, kinds: vec!["a".to_owned()], weight_min: 0.5, fan_out: 7 },
            spread: Spread { decay: 0.25, raw: true },
            weight: 2.5,
            candidates: Some(70),
            neighbours: true,
            ..SpreadOptions::new("links")
        };
        assert_eq!(SpreadOptions::from_json(&options.json().to_string()).unwrap(), options);
        let plain = SpreadOptions::new("links");
        assert_eq!(SpreadOptions::from_json(&plain.json().to_string()).unwrap(), plain);
        assert!(SpreadOptions::from_json("null").is_err());
    }

    #[test]
    fn what_is_no_value_is_refused_by_name() {
        for (name, value) in [
            ("hops", "0"),
            ("hops", "17"),
            ("hops", "1.5"),
            ("decay", "0"),
            ("decay", "1.01"),
            ("weight", "-1"),
            ("weight", "1e7"),
            ("weight_min", "-0.5"),
            ("fan_out", "-1"),
            ("candidates", "0"),
            ("candidates", "10001"),
            ("raw", "1"),
            ("neighbours", "null"),
            ("direction", "\"up\""),
            ("types", "\"a\""),
            ("types", "[1]"),
            ("colour", "1"),
        ] {
            let json = format!("{{\"edges\": \"e\", \"{name}\": {value}}}");
            let problem = SpreadOptions::from_json(&json).expect_err(&json).to_string();
            assert!(problem.contains(&format!("`spread.{name}`")), "{json}: {problem}");
        }
    }

    #[test]
    fn candidates_are_no_fewer_than_results() {
        let of = |candidates, k| SpreadOptions { candidates, ..SpreadOptions::new("links") }.candidates(k);
        assert_eq!((of(None, 10), of(Some(5), 10), of(Some(50), 10)), (40, 10, 50));
        assert_eq!((of(None, limits::K_MAX), of(None, 0)), (limits::K_MAX, 0));
    }
}
