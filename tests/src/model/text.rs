//! Rows by their words, each score a sum by the formula.

use net::client::Id;

use super::value::Value;
use super::{Model, Passing, Row};

/// How far a score may be from the formula: it is a sum of `f32`.
pub const SCORE_SLACK: f64 = 1e-4;

impl Model {
    /// Rows that may be found and have one of the words of a query in a column, with their BM25 (k1 = 1.2, b = 0.75, over all rows that have a
    /// word there), best first.
    pub fn by_words(&self, column: &str, query: &str, passing: Passing<'_>) -> Vec<(f64, &Id)> {
        let place = self.column(column);
        let texts = self.rows.iter().map(|(id, row)| (id, row, words(&row[place])));
        let texts: Vec<(&Id, &Row, Vec<String>)> = texts.filter(|(_, _, words)| !words.is_empty()).collect();
        let average = texts.iter().map(|(_, _, words)| words.len()).sum::<usize>() as f64 / texts.len() as f64;
        let asked = words(&Value::Text(query.to_owned()));
        let idf = |word: &String| {
            let having = texts.iter().filter(|(_, _, words)| words.contains(word)).count() as f64;
            (1.0 + (texts.len() as f64 - having + 0.5) / (having + 0.5)).ln()
        };
        let weights: Vec<(&String, f64)> = asked.iter().map(|word| (word, idf(word))).collect();
        let score = |words: &Vec<String>| -> f64 {
            let part = |(word, idf): &(&String, f64)| {
                let tf = words.iter().filter(|other| other == word).count() as f64;
                idf * tf / (tf + 1.2 * (0.25 + 0.75 * words.len() as f64 / average))
            };
            weights.iter().map(part).sum()
        };
        let passing = texts.iter().filter(|(id, row, _)| passing.admits(id, row));
        let mut found: Vec<(f64, &Id)> =
            passing.map(|(id, _, words)| (score(words), *id)).filter(|(score, _)| *score > 0.0).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found
    }
}

/// The words of a text of the model, in lower case and without their marks.
fn words(text: &Value) -> Vec<String> {
    let Value::Text(text) = text else { return Vec::new() };
    let plain = text.to_lowercase().replace('ö', "o").replace('ü', "u").replace('ß', "ss");
    plain
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}
