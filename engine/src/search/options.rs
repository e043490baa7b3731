//! What a search may be asked beyond its vectors: a JSON object that comes behind the filter.
//!
//! ```text
//! options = {name: value, …}
//! name              value
//! offset            number: of the nearest rows so many are passed over
//! distance_max      number: only rows that are no farther are found
//! score_min         number: only rows that are no less similar are found; not with distance_max
//! score             true or false: whether each result comes with its similarity
//! explain           true or false: whether the report says how the search was answered
//! like              [id, …]: instead of vectors, rows that the results are to be like
//! unlike            [id, …]: rows that the results are to be unlike; only with like
//! include_examples  true or false: whether these rows may be results themselves
//! group_by          name of a column: the k nearest groups of rows with the same value are found
//! spread            an object: how results activate their neighbours along edges (see `spread`); not with offset or group_by
//! group_size        number: rows of each group, 1 where it is not said; only with group_by
//! text              object: rows with these words are found; see `hybrid`
//! fusion            object: how the places of rows by vector and by text are put together; see `hybrid`
//! ```
//!
//! A name that is not in the list is refused, so that nobody takes an answer for one to a question that was not understood.

use hashbrown::HashSet;
use simd_json::prelude::*;
use simd_json::{BorrowedValue, StaticNode};

use super::examples::Examples;
use super::groups::Grouping;
use super::hybrid::{Fusion, TextOption};
use super::score::Threshold;
use super::spread::SpreadOptions;
use crate::error::{Error, Result};
use crate::filter::depth;
use crate::ids::IdList;
use crate::limits;
use crate::schema::{IdKind, IdRef, Schema};

/// The options of a search; the default is a plain one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchOptions {
    /// Of the nearest rows so many are passed over.
    pub offset: usize,
    /// Only rows that it admits are found.
    pub threshold: Option<Threshold>,
    /// Each result comes with its similarity.
    pub score: bool,
    /// The rows that the query is made of.
    pub examples: Option<Examples>,
    /// Results are grouped.
    pub grouping: Option<Grouping>,
    /// Rows are found by their words: alone, or beside those that are found by their vectors.
    pub text: Option<TextOption>,
    /// How both are put together; None for the default.
    pub fusion: Option<Fusion>,
    /// Results activate their neighbours along the edges of a graph, and are ordered anew.
    pub spread: Option<SpreadOptions>,
    /// The report says how the search was answered.
    pub explain: bool,
}

impl SearchOptions {
    /// Reads options of a search of rows of a schema; no bytes are a plain search.
    ///
    /// # Errors
    /// `InvalidOption`, with its name, for what is no option or has no such value; `UnknownColumn`; `LimitExceeded` for what is too long or
    /// nested too deep.
    pub fn parse(json: &[u8], schema: &Schema) -> Result<SearchOptions> {
        let mut options = SearchOptions::default();
        if json.is_empty() {
            return Ok(options);
        }
        limited("size of the options in bytes", json.len(), limits::OPTIONS_BYTES_MAX)?;
        limited("depth of the options", depth(json), limits::OPTIONS_DEPTH_MAX)?;
        let mut bytes = json.to_vec();
        let value = simd_json::to_borrowed_value(&mut bytes).map_err(|_| invalid("options", "this is not JSON"))?;
        let object = value.as_object().ok_or_else(|| invalid("options", "they are an object"))?;
        let (mut like, mut unlike, mut include, mut group_by, mut group_size) = (None, None, None, None, None);
        for (name, value) in object.iter() {
            match &**name {
                "offset" => options.offset = count(name, value)?,
                "distance_max" | "score_min" => {
                    if options.threshold.is_some() {
                        return Err(invalid(name, "`distance_max` and `score_min` do not go together"));
                    }
                    let make = if &**name == "score_min" { Threshold::ScoreMin } else { Threshold::DistanceMax };
                    options.threshold = Some(make(number(name, value)?));
                }
                "score" => options.score = flag(name, value)?,
                "like" => like = Some(list(name, value)?),
                "unlike" => unlike = Some(list(name, value)?),
                "include_examples" => include = Some(flag(name, value)?),
                "group_by" => group_by = Some(value.as_str().ok_or_else(|| invalid(name, "it takes a name"))?),
                "group_size" => group_size = Some(count(name, value)?),
                "text" => options.text = Some(TextOption::read(value)?),
                "fusion" => options.fusion = Some(Fusion::read(value)?),
                "spread" => options.spread = Some(SpreadOptions::parse(value)?),
                "explain" => options.explain = flag(name, value)?,
                _ => return Err(invalid(name, "there is no such option")),
            }
        }
        let examples = (unlike.is_some(), include.is_some());
        options.examples = match (like, examples) {
            (Some(like), _) => {
                Some(read_examples(like, unlike.unwrap_or_default(), include == Some(true), schema.id_kind())?)
            }
            (None, (true, _)) => return Err(invalid("unlike", "it goes with `like`")),
            (None, (_, true)) => return Err(invalid("include_examples", "it goes with `like`")),
            (None, _) => None,
        };
        options.grouping = match (group_by, group_size) {
            (Some(name), size) => Some(Grouping { column: schema.column_index(name)?, size: size.unwrap_or(1) }),
            (None, Some(_)) => return Err(invalid("group_size", "it goes with `group_by`")),
            (None, None) => None,
        };
        if options.fusion.is_some() && options.text.is_none() {
            return Err(invalid("fusion", "it goes with `text`"));
        }
        if options.spread.is_some() && (options.grouping.is_some() || options.offset > 0 || options.text.is_some()) {
            return Err(invalid("spread", "it does not go with an offset, groups or a text"));
        }
        Ok(options)
    }
}

fn limited(what: &'static str, value: usize, limit: usize) -> Result<()> {
    if value > limit {
        return Err(Error::LimitExceeded { what, value: value as u64, limit: limit as u64 });
    }
    Ok(())
}

pub(super) fn invalid(option: &str, problem: &'static str) -> Error {
    Error::InvalidOption { option: option.to_owned(), problem }
}

pub(super) fn flag(name: &str, value: &BorrowedValue<'_>) -> Result<bool> {
    value.as_bool().ok_or_else(|| invalid(name, "it takes true or false"))
}

fn count(name: &str, value: &BorrowedValue<'_>) -> Result<usize> {
    value.as_usize().ok_or_else(|| invalid(name, "it takes a whole number, 0 or more"))
}

/// A number as an f32 that is finite.
fn number(name: &str, value: &BorrowedValue<'_>) -> Result<f32> {
    let number = value.cast_f64().map(|number| number as f32).filter(|number| number.is_finite());
    number.ok_or_else(|| invalid(name, "it takes a number that an f32 holds"))
}

fn list<'v, 'i>(name: &str, value: &'v BorrowedValue<'i>) -> Result<&'v [BorrowedValue<'i>]> {
    let list = value.as_array().ok_or_else(|| invalid(name, "it takes a list of ids"))?;
    Ok(list)
}

fn read_examples(
    like: &[BorrowedValue<'_>],
    unlike: &[BorrowedValue<'_>],
    are_results: bool,
    kind: IdKind,
) -> Result<Examples> {
    if like.is_empty() {
        return Err(invalid("like", "it takes at least one id"));
    }
    limited("number of examples", like.len() + unlike.len(), limits::EXAMPLES_MAX)?;
    let named = like.iter().map(|id| ("like", id)).chain(unlike.iter().map(|id| ("unlike", id)));
    let ids = named.map(|(name, id)| match (kind, id) {
        (IdKind::U64, BorrowedValue::Static(StaticNode::U64(id))) => Ok(IdRef::U64(*id)),
        (IdKind::U64, BorrowedValue::Static(StaticNode::I64(id))) if *id >= 0 => Ok(IdRef::U64(id.cast_unsigned())),
        (IdKind::U64, _) => Err(invalid(name, "ids of this collection are whole numbers from 0 on")),
        (IdKind::I64, BorrowedValue::Static(StaticNode::I64(id))) => Ok(IdRef::I64(*id)),
        (IdKind::I64, BorrowedValue::Static(StaticNode::U64(id))) if *id <= i64::MAX as u64 => {
            Ok(IdRef::I64(id.cast_signed()))
        }
        (IdKind::I64, _) => Err(invalid(name, "ids of this collection are whole numbers")),
        (IdKind::Utf8, BorrowedValue::String(id)) => Ok(IdRef::Utf8(id)),
        (IdKind::Utf8, _) => Err(invalid(name, "ids of this collection are texts")),
    });
    let ids = ids.collect::<Result<Vec<_>>>()?;
    let mut seen = HashSet::with_capacity(ids.len());
    if let Some(twice) = ids.iter().find(|id| !seen.insert(**id)) {
        return Err(Error::InvalidOption { option: format!("like: {twice}"), problem: "this id stands there twice" });
    }
    Ok(Examples { ids: IdList::from_ids(kind, ids.iter().copied()), liked: like.len(), are_results })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::samples;

    fn parse(json: &str) -> Result<SearchOptions> {
        SearchOptions::parse(json.as_bytes(), &samples::schema(false))
    }

    fn problem(json: &str) -> String {
        parse(json).expect_err(json).to_string()
    }

    #[test]
    fn options_are_read() {
        let default = SearchOptions::default();
        assert_eq!(parse("").unwrap(), default);
        assert_eq!(parse("{}").unwrap(), default);
        assert_eq!(parse(r#"{"score": true}"#).unwrap(), SearchOptions { score: true, ..default.clone() });
        assert!(parse(r#"{"explain": true}"#).unwrap().explain);
        assert_eq!(parse(r#"{"offset": 7}"#).unwrap(), SearchOptions { offset: 7, ..default.clone() });
        let threshold = |json| parse(json).unwrap().threshold;
        assert_eq!(threshold(r#"{"distance_max": 0.1}"#), Some(Threshold::DistanceMax(0.1)));
        assert_eq!(threshold(r#"{"score_min": -2}"#), Some(Threshold::ScoreMin(-2.0)));
        let examples = parse(r#"{"like": [7, 18446744073709551615], "unlike": [0]}"#).unwrap().examples.unwrap();
        assert!(examples.ids.view().iter().eq([7, u64::MAX, 0].map(IdRef::U64)));
        assert_eq!((examples.liked, examples.are_results), (2, false));
        assert!(parse(r#"{"like": [7], "include_examples": true}"#).unwrap().examples.unwrap().are_results);
        let spread = SpreadOptions { hops: 3, weight: 0.25, ..SpreadOptions::new("links") };
        let json = r#"{"spread": {"edges": "links", "hops": 3, "weight": 0.25, "types": []}}"#;
        assert_eq!(parse(json).unwrap(), SearchOptions { spread: Some(spread), ..default.clone() });
        let schema = samples::schema(false);
        let name = &schema.columns()[1].name;
        let grouping = |json: String| parse(&json).unwrap().grouping;
        assert_eq!(grouping(format!(r#"{{"group_by": "{name}"}}"#)), Some(Grouping { column: 1, size: 1 }));
        let two = grouping(format!(r#"{{"group_by": "{name}", "group_size": 2}}"#));
        assert_eq!(two, Some(Grouping { column: 1, size: 2 }));
    }

    #[test]
    fn what_is_no_option_is_refused_by_name() {
        assert!(problem("{").contains("not JSON"));
        assert!(problem("[]").contains("object"));
        for (json, words) in [
            (r#"{"scores": true}"#, "`scores`"),
            (r#"{"score": 1}"#, "`score`"),
            (r#"{"offset": -1}"#, "`offset`"),
            (r#"{"offset": 1.5}"#, "`offset`"),
            (r#"{"distance_max": null}"#, "`distance_max`"),
            (r#"{"distance_max": 1e39}"#, "`distance_max`"),
            (r#"{"score_min": "1"}"#, "`score_min`"),
            (r#"{"score_min": 1, "distance_max": 1}"#, "do not go together"),
            (r#"{"like": 7}"#, "`like`"),
            (r#"{"like": []}"#, "at least one"),
            (r#"{"like": ["a"]}"#, "whole numbers"),
            (r#"{"like": [-1]}"#, "whole numbers"),
            (r#"{"like": [1, 2, 1]}"#, "`like: 1`"),
            (r#"{"like": [1], "unlike": [1]}"#, "twice"),
            (r#"{"unlike": [1]}"#, "`unlike`"),
            (r#"{"include_examples": true}"#, "`include_examples`"),
            (r#"{"group_by": 1}"#, "`group_by`"),
            (r#"{"group_by": "nothing"}"#, "`nothing`"),
            (r#"{"group_size": 1}"#, "`group_size`"),
            (r#"{"spread": "e"}"#, "`spread`"),
            (r#"{"spread": {"hops": 1}}"#, "`spread.edges`"),
            (r#"{"spread": {"edges": "e"}, "offset": 1}"#, "`spread`"),
        ] {
            assert!(problem(json).contains(words), "{json}: {}", problem(json));
        }
        let many: Vec<String> = (0..=limits::EXAMPLES_MAX).map(|id| id.to_string()).collect();
        assert!(problem(&format!(r#"{{"like": [{}]}}"#, many.join(","))).contains("number of examples"));
        assert!(problem(&format!("{}{}", "[".repeat(1_000), "]".repeat(1_000))).contains("depth"));
        assert!(problem(&format!("{{\"{}\": 1}}", "x".repeat(1 << 20))).contains("size"));
        let texts = samples::schema(true);
        assert!(SearchOptions::parse(br#"{"like": ["a"]}"#, &texts).is_ok());
        let error = SearchOptions::parse(br#"{"like": [1]}"#, &texts).expect_err("ids are texts");
        assert!(error.to_string().contains("texts"), "{error}");
    }
}
