//! Rows by their words, each score a sum by the formula.

use std::collections::BTreeMap;

use net::client::Id;
use serde_json::{Value as Json, json};

use super::value::{TEXTS, Value};
use super::{Model, Passing, Row};
use crate::random::Random;

/// How far a score may be from the formula: it is a sum of `f32`.
pub const SCORE_SLACK: f64 = 1e-4;

/// What is asked of the words of a row, as lists of texts.
#[derive(Clone, Debug, Default)]
pub struct WordQuery {
    /// All words of these are there.
    pub must: Vec<String>,
    /// These raise the score; where nothing else has to be there, one of them has.
    pub should: Vec<String>,
    /// No word of these is there.
    pub must_not: Vec<String>,
    /// The words of each of these stand one behind the other.
    pub phrase: Vec<String>,
}

impl WordQuery {
    /// A random query, some of them plain words; what has to be there is mostly of one text, so that something is found.
    pub fn random(random: &mut Random) -> WordQuery {
        if random.below(3) == 0 {
            let texts = (0..1 + random.below(3)).map(|_| random_text(random));
            return WordQuery { should: vec![texts.collect::<Vec<_>>().join(" ")], ..WordQuery::default() };
        }
        let several: Vec<&str> = TEXTS.into_iter().filter(|text| text.contains(' ')).collect();
        let text = match random.below(4) {
            0 => random_text(random),
            _ => several[random.below(several.len() as u64) as usize],
        };
        let mut some = |one_in: u64, of: &dyn Fn(&mut Random) -> String| -> Vec<String> {
            let count = if random.below(one_in) == 0 { 1 + random.below(2) } else { 0 };
            (0..count).map(|_| of(random)).collect()
        };
        let mostly = |random: &mut Random| if random.below(5) == 0 { random_text(random) } else { text };
        let mut query = WordQuery {
            must: some(3, &|random| random_words(mostly(random), 1, random)),
            should: some(2, &|random| random_words(random_text(random), 3, random)),
            must_not: some(2, &|random| random_words(random_text(random), 1, random)),
            phrase: some(2, &|random| random_phrase(mostly(random), random)),
        };
        if [&query.must, &query.should, &query.phrase].iter().all(|texts| texts.is_empty()) {
            query.should.push(text.to_owned());
        }
        query
    }

    /// As the server takes it: what is only `should` as a text alone.
    pub fn to_json(&self) -> Json {
        let json_of = |texts: &[String]| if let [text] = texts { json!(text) } else { json!(texts) };
        let parts =
            [("must", &self.must), ("should", &self.should), ("must_not", &self.must_not), ("phrase", &self.phrase)];
        let mut parts = parts.into_iter().filter(|(_, texts)| !texts.is_empty());
        match (self.should.as_slice(), parts.clone().count()) {
            ([text], 1) => json!(text),
            _ => Json::Object(parts.by_ref().map(|(key, texts)| (key.to_owned(), json_of(texts))).collect()),
        }
    }

    /// Whether it finds a row with these words.
    fn finds(&self, words: &[String]) -> bool {
        let has = |word: &String| words.contains(word);
        let has_phrase = |text: &String| {
            let phrase = words_of(text);
            phrase.is_empty() || words.windows(phrase.len()).any(|part| part == phrase)
        };
        let mut required = self.must.iter().chain(&self.phrase).flat_map(|text| words_of(text)).peekable();
        let is_wanted = match required.peek() {
            Some(_) => required.all(|word| has(&word)),
            None => self.should.iter().flat_map(|text| words_of(text)).any(|word| has(&word)),
        };
        is_wanted
            && self.phrase.iter().all(has_phrase)
            && !self.must_not.iter().flat_map(|text| words_of(text)).any(|word| has(&word))
    }

    /// How often each word is asked for.
    fn counts(&self) -> BTreeMap<String, f64> {
        let mut counts = BTreeMap::new();
        let texts = self.must.iter().chain(&self.should).chain(&self.phrase);
        texts.flat_map(|text| words_of(text)).for_each(|word| *counts.entry(word).or_default() += 1.0);
        counts
    }
}

fn random_text(random: &mut Random) -> &'static str {
    TEXTS[random.below(TEXTS.len() as u64) as usize]
}

/// Up to so many words of a text, as they stand there.
fn random_words(text: &str, most: u64, random: &mut Random) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let start = random.below(words.len() as u64) as usize;
    let end = words.len().min(start + 1 + random.below(most) as usize);
    words[start..end].join(" ")
}

/// Some words of a text as they stand there, or two of them that need not.
fn random_phrase(text: &str, random: &mut Random) -> String {
    match random.below(2) {
        0 => random_words(text, 3, random),
        _ => format!("{} {}", random_words(text, 1, random), random_words(text, 1, random)),
    }
}

impl Model {
    /// Rows that may be found and that a query finds by a column, with their BM25 (k1 = 1.2, b = 0.75, over all rows that have a word there),
    /// best first.
    pub fn by_words(&self, column: &str, query: &WordQuery, passing: Passing<'_>) -> Vec<(f64, &Id)> {
        let place = self.column(column);
        let texts = self.rows.iter().map(|(id, row)| (id, row, words(&row[place])));
        let texts: Vec<(&Id, &Row, Vec<String>)> = texts.filter(|(_, _, words)| !words.is_empty()).collect();
        let average = texts.iter().map(|(_, _, words)| words.len()).sum::<usize>() as f64 / texts.len() as f64;
        let idf = |word: &String| {
            let having = texts.iter().filter(|(_, _, words)| words.contains(word)).count() as f64;
            (1.0 + (texts.len() as f64 - having + 0.5) / (having + 0.5)).ln()
        };
        let counts = query.counts();
        let weights: Vec<(&String, f64)> = counts.iter().map(|(word, count)| (word, count * idf(word))).collect();
        let score = |words: &Vec<String>| -> f64 {
            let part = |(word, weight): &(&String, f64)| {
                let tf = words.iter().filter(|other| other == word).count() as f64;
                weight * tf / (tf + 1.2 * (0.25 + 0.75 * words.len() as f64 / average))
            };
            weights.iter().map(part).sum()
        };
        let found = texts.iter().filter(|(id, row, words)| query.finds(words) && passing.admits(id, row));
        let mut found: Vec<(f64, &Id)> = found.map(|(id, _, words)| (score(words), *id)).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found
    }
}

fn words(value: &Value) -> Vec<String> {
    if let Value::Text(text) = value { words_of(text) } else { Vec::new() }
}

/// The words of a text of the model, in lower case and without their marks.
fn words_of(text: &str) -> Vec<String> {
    let plain = text.to_lowercase().replace('ö', "o").replace('ü', "u").replace('ß', "ss");
    plain
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}
