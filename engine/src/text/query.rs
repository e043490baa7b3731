//! What a text search asks for.
//!
//! ```text
//! query  = text | {"must": texts, "should": texts, "must_not": texts, "phrase": texts}       each may be left out
//! texts  = text | [text, …]
//! ```
//!
//! A text alone is one of `should`. Words of `must` have to be in a document, words of `must_not` must not, the words of each text of `phrase` have to
//! stand one behind the other. Where neither `must` nor `phrase` has a word, one of `should` is enough; otherwise those of `should` only
//! raise the score. All words but those of `must_not` count for the score, those of a phrase as if they stood alone. A query in which the
//! analyser finds no word finds nothing.

use serde_json::Value;

use crate::analyser::{Analyser, Scratch};
use crate::error::{Error, Result};
use crate::limits;

/// A query, taken apart as the texts of the column are.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Words that count for the score, each once.
    pub(super) words: Vec<Word>,
    /// Words that no document found has.
    pub(super) excluded: Vec<Box<[u8]>>,
    /// Places in `words`, and where each stands behind the first.
    pub(super) phrases: Vec<Vec<(usize, u32)>>,
}

#[derive(Clone, Debug)]
pub(super) struct Word {
    pub text: Box<[u8]>,
    /// How often the query has it.
    pub count: u32,
    pub is_required: bool,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// `InvalidTextQuery` for what is none, and where nothing says what is to be found; `LimitExceeded` for too many words.
    pub fn parse(value: &Value, analyser: &Analyser) -> Result<Query> {
        let (mut query, mut scratch) = (Query::default(), Scratch::default());
        let object = match value {
            Value::String(text) => {
                query.add(text, analyser, &mut scratch, |query, word, _| query.should(word))?;
                return Ok(query);
            }
            Value::Object(object) => object,
            _ => return Err(invalid("query", "a text or an object is expected")),
        };
        for (key, value) in object {
            for text in texts(key, value)? {
                let scratch = &mut scratch;
                match key.as_str() {
                    "must" => query.add(text, analyser, scratch, |query, word, _| {
                        let place = query.should(word);
                        query.words[place].is_required = true;
                        place
                    })?,
                    "should" => query.add(text, analyser, scratch, |query, word, _| query.should(word))?,
                    "must_not" => query.add(text, analyser, scratch, |query, word, _| {
                        query.excluded.push(word.into());
                        0
                    })?,
                    "phrase" => query.add_phrase(text, analyser, scratch)?,
                    _ => return Err(invalid(key, "must, should, must_not and phrase are known")),
                }
            }
        }
        if !["must", "should", "phrase"].iter().any(|&key| object.contains_key(key)) {
            return Err(invalid("query", "nothing says what is to be found"));
        }
        query.excluded.sort_unstable();
        query.excluded.dedup();
        Ok(query)
    }

    /// Words that count for the score, as the analyser gives them, in the order of [`super::Statistics::frequencies`].
    pub fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.words.iter().map(|word| &*word.text)
    }

    /// True where there is no word to look for.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    fn add(
        &mut self,
        text: &str,
        analyser: &Analyser,
        scratch: &mut Scratch,
        mut take: impl FnMut(&mut Query, &[u8], u32) -> usize,
    ) -> Result<()> {
        analyser.tokens(text, scratch, |word, position| {
            // One more than is allowed is enough to know.
            if self.words.len() + self.excluded.len() <= limits::TEXT_QUERY_WORDS_MAX {
                take(self, word, position);
            }
        });
        let (value, limit) = (self.words.len() + self.excluded.len(), limits::TEXT_QUERY_WORDS_MAX);
        if value > limit {
            let (value, limit) = (value as u64, limit as u64);
            return Err(Error::LimitExceeded { what: "number of words of a text query", value, limit });
        }
        Ok(())
    }

    fn add_phrase(&mut self, text: &str, analyser: &Analyser, scratch: &mut Scratch) -> Result<()> {
        let mut phrase: Vec<(usize, u32)> = Vec::new();
        self.add(text, analyser, scratch, |query, word, position| {
            let place = query.should(word);
            query.words[place].is_required = true;
            phrase.push((place, position));
            place
        })?;
        if phrase.len() > limits::TEXT_QUERY_WORDS_MAX {
            let (value, limit) = (phrase.len() as u64, limits::TEXT_QUERY_WORDS_MAX as u64);
            return Err(Error::LimitExceeded { what: "number of words of a phrase", value, limit });
        }
        let first = phrase.first().map_or(0, |&(_, position)| position);
        phrase.iter_mut().for_each(|(_, position)| *position -= first);
        if phrase.len() > 1 {
            self.phrases.push(phrase);
        }
        Ok(())
    }

    /// Counts a word; its place.
    fn should(&mut self, word: &[u8]) -> usize {
        if let Some(place) = self.words.iter().position(|known| &*known.text == word) {
            self.words[place].count = self.words[place].count.saturating_add(1);
            return place;
        }
        self.words.push(Word { text: word.into(), count: 1, is_required: false });
        self.words.len() - 1
    }
}

fn texts<'v>(key: &str, value: &'v Value) -> Result<Vec<&'v str>> {
    let expected = || invalid(key, "a text or a list of texts is expected");
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Array(texts) => texts.iter().map(|text| text.as_str().ok_or_else(expected)).collect(),
        _ => Err(expected()),
    }
}

fn invalid(place: &str, problem: &'static str) -> Error {
    Error::InvalidTextQuery { place: place.to_owned(), problem }
}
