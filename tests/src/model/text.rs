//! Rows by their words, each score a sum by the formula.

use std::collections::BTreeMap;

use arrow::datatypes::Field;
use engine::analyser::ANALYSER_KEY;
use net::client::Id;
use serde_json::{Value as Json, json};

use super::value::{TEXTS, Value};
use super::{Model, Passing, Row};
use crate::random::Random;

/// How far a score may be from the formula: it is a sum of `f32`.
pub const SCORE_SLACK: f64 = 1e-4;

/// What the analyser `english` leaves out, of the words of the model.
const STOP_WORDS: [&str; 2] = ["a", "for"];
/// Words that no text has, but for that analyser.
const FORMS: [&str; 4] = ["tool", "quotes", "ZIPS", "libs"];

/// A word of a text, and its place there.
type Word = (usize, String);

/// How texts of a column are taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Analyser {
    /// Words in lower case and without their marks.
    Standard,
    /// And without their endings; some are left out.
    English,
}

impl Analyser {
    /// That of a column.
    pub fn of(field: &Field) -> Analyser {
        match field.metadata().get(ANALYSER_KEY).map(String::as_str) {
            None => Analyser::Standard,
            Some("english") => Analyser::English,
            Some(other) => panic!("{other} is no analyser of the model"),
        }
    }

    /// The words of a text of the model, each with its place, which those have too that are left out.
    fn places(self, text: &str) -> Vec<Word> {
        let plain = text.to_lowercase().replace('ö', "o").replace('ü', "u").replace('ß', "ss");
        let words = plain.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
        let is_left_out = |word: &str| self == Analyser::English && STOP_WORDS.contains(&word);
        let stem = |word: &str| {
            let endings = if self == Analyser::English { &["ed", "es", "s"][..] } else { &[] };
            endings.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word).to_owned()
        };
        words.enumerate().filter(|(_, word)| !is_left_out(word)).map(|(place, word)| (place, stem(word))).collect()
    }

    /// The words of a text of the model.
    fn words(self, text: &str) -> impl Iterator<Item = String> {
        self.places(text).into_iter().map(|(_, word)| word)
    }

    /// Whether a text has all words of another.
    pub fn contains(self, text: &str, other: &str) -> bool {
        let words: Vec<String> = self.words(text).collect();
        self.words(other).all(|word| words.contains(&word))
    }
}

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
        let text = longer_text(random);
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
    fn finds(&self, words: &[Word], analyser: Analyser) -> bool {
        let has = |word: String| words.iter().any(|other| other.1 == word);
        let words_of = |texts: &[String]| texts.iter().flat_map(|text| analyser.words(text)).collect::<Vec<_>>();
        let has_phrase = |text: &String| {
            let phrase = analyser.places(text);
            let Some(first) = phrase.first() else { return true };
            let begins = words.iter().filter(|word| word.1 == first.1).map(|word| word.0);
            let has_rest =
                |begin| phrase.iter().all(|(place, word)| words.contains(&(begin + place - first.0, word.clone())));
            begins.into_iter().any(has_rest)
        };
        let required = [words_of(&self.must), words_of(&self.phrase)].concat();
        let is_wanted = match required.is_empty() {
            true => words_of(&self.should).into_iter().any(has),
            false => required.into_iter().all(has),
        };
        is_wanted && self.phrase.iter().all(has_phrase) && !words_of(&self.must_not).into_iter().any(has)
    }

    /// How often each word is asked for.
    fn counts(&self, analyser: Analyser) -> BTreeMap<String, f64> {
        let mut counts = BTreeMap::new();
        let texts = self.must.iter().chain(&self.should).chain(&self.phrase);
        texts.flat_map(|text| analyser.words(text)).for_each(|word| *counts.entry(word).or_default() += 1.0);
        counts
    }
}

/// Some words that texts have.
pub fn random_operand(random: &mut Random) -> String {
    let text = longer_text(random);
    random_phrase(text, random)
}

fn random_text(random: &mut Random) -> &'static str {
    TEXTS[random.below(TEXTS.len() as u64) as usize]
}

/// A text, most of the time of several words.
fn longer_text(random: &mut Random) -> &'static str {
    let several: Vec<&str> = TEXTS.into_iter().filter(|text| text.contains(' ')).collect();
    if random.below(4) == 0 { random_text(random) } else { several[random.below(several.len() as u64) as usize] }
}

/// Up to so many words of a text, as they stand there, or another form of a word.
fn random_words(text: &str, most: u64, random: &mut Random) -> String {
    if random.below(12) == 0 {
        return FORMS[random.below(FORMS.len() as u64) as usize].to_owned();
    }
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
        let analyser = Analyser::of(&self.columns[place].field);
        let words = |value: &Value| if let Value::Text(text) = value { analyser.places(text) } else { Vec::new() };
        let texts = self.rows.iter().map(|(id, row)| (id, row, words(&row[place])));
        let texts: Vec<(&Id, &Row, Vec<Word>)> = texts.filter(|(_, _, words)| !words.is_empty()).collect();
        let average = texts.iter().map(|(_, _, words)| words.len()).sum::<usize>() as f64 / texts.len() as f64;
        let frequency = |words: &[Word], word: &String| words.iter().filter(|other| other.1 == *word).count() as f64;
        let idf = |word: &String| {
            let having = texts.iter().filter(|(_, _, words)| frequency(words, word) > 0.0).count() as f64;
            (1.0 + (texts.len() as f64 - having + 0.5) / (having + 0.5)).ln()
        };
        let counts = query.counts(analyser);
        let weights: Vec<(&String, f64)> = counts.iter().map(|(word, count)| (word, count * idf(word))).collect();
        let score = |words: &[Word]| -> f64 {
            let part = |(word, weight): &(&String, f64)| {
                let tf = frequency(words, word);
                weight * tf / (tf + 1.2 * (0.25 + 0.75 * words.len() as f64 / average))
            };
            weights.iter().map(part).sum()
        };
        let found = texts.iter().filter(|(id, row, words)| query.finds(words, analyser) && passing.admits(id, row));
        let mut found: Vec<(f64, &Id)> = found.map(|(id, _, words)| (score(words), *id)).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found
    }
}
