//! What a search may be asked beyond its vectors: a JSON object that comes behind the filter.
//!
//! ```text
//! options = {name: value, …}
//! name      value
//! score     true or false: whether each result comes with its similarity
//! text      object: rows with these words are found; see `hybrid`
//! fusion    object: how the places of rows by vector and by text are put together; see `hybrid`
//! ```
//!
//! A name that is not in the list is refused, so that nobody takes an answer for one to a question that was not understood.

use simd_json::BorrowedValue;
use simd_json::prelude::*;

use super::hybrid::{Fusion, TextOption};
use crate::error::{Error, Result};
use crate::filter::depth;
use crate::limits;

/// The options of a search; the default is a plain one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchOptions {
    /// Each result comes with its similarity.
    pub score: bool,
    /// Rows are found by their words: alone, or beside those that are found by their vectors.
    pub text: Option<TextOption>,
    /// How both are put together; None for the default.
    pub fusion: Option<Fusion>,
}

impl SearchOptions {
    /// Reads options; no bytes are a plain search.
    ///
    /// # Errors
    /// `InvalidOption`, with its name, for what is no option or has no such value; `LimitExceeded` for what is too long or nested too deep.
    pub fn parse(json: &[u8]) -> Result<SearchOptions> {
        let mut options = SearchOptions::default();
        if json.is_empty() {
            return Ok(options);
        }
        limited("size of the options in bytes", json.len(), limits::OPTIONS_BYTES_MAX)?;
        limited("depth of the options", depth(json), limits::OPTIONS_DEPTH_MAX)?;
        let mut bytes = json.to_vec();
        let value = simd_json::to_borrowed_value(&mut bytes).map_err(|_| invalid("options", "this is not JSON"))?;
        let object = value.as_object().ok_or_else(|| invalid("options", "they are an object"))?;
        for (name, value) in object.iter() {
            match &**name {
                "score" => options.score = flag(name, value)?,
                "text" => options.text = Some(TextOption::read(value)?),
                "fusion" => options.fusion = Some(Fusion::read(value)?),
                _ => return Err(invalid(name, "there is no such option")),
            }
        }
        if options.fusion.is_some() && options.text.is_none() {
            return Err(invalid("fusion", "it goes with `text`"));
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

fn flag(name: &str, value: &BorrowedValue<'_>) -> Result<bool> {
    value.as_bool().ok_or_else(|| invalid(name, "it takes true or false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> String {
        SearchOptions::parse(json.as_bytes()).expect_err(json).to_string()
    }

    #[test]
    fn options_are_read() {
        let parse = |json: &str| SearchOptions::parse(json.as_bytes()).expect(json);
        assert_eq!(parse(""), SearchOptions::default());
        assert_eq!(parse("{}"), SearchOptions::default());
        assert_eq!(parse(r#"{"score": true}"#), SearchOptions { score: true, ..SearchOptions::default() });
    }

    #[test]
    fn what_is_no_option_is_refused_by_name() {
        assert!(problem("{").contains("not JSON"));
        assert!(problem("[]").contains("object"));
        assert!(problem(r#"{"scores": true}"#).contains("`scores`"));
        assert!(problem(r#"{"score": 1}"#).contains("`score`"));
        assert!(problem(&format!("{}{}", "[".repeat(1_000), "]".repeat(1_000))).contains("depth"));
        assert!(problem(&format!("{{\"{}\": 1}}", "x".repeat(1 << 20))).contains("size"));
    }
}
