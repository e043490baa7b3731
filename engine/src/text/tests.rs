//! The index against a plain implementation: every document kept as a list of words, every query answered by looking at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::*;
use crate::error::Error;
use crate::limits;

/// Words of the random texts, the first the most frequent.
const WORDS: [&str; 24] = [
    "the",
    "of",
    "library",
    "for",
    "and",
    "development",
    "files",
    "data",
    "tool",
    "web",
    "server",
    "python",
    "client",
    "font",
    "game",
    "kernel",
    "audio",
    "perl",
    "Größe",
    "naïve",
    "rust",
    "zebra",
    "quark",
    "42",
];

fn seed() -> u64 {
    std::env::var("BROADHEAD_SEED").map_or(20_260_101, |seed| seed.parse().expect("BROADHEAD_SEED is a number"))
}

/// Documents as they are, and the row of each.
#[derive(Default)]
struct Plain {
    texts: BTreeMap<u64, Vec<String>>,
}

fn words(text: &str) -> Vec<String> {
    let (mut found, mut scratch) = (Vec::new(), Scratch::default());
    Analyser::default().tokens(text, &mut scratch, |word, _| found.push(String::from_utf8(word.to_vec()).unwrap()));
    found
}

fn texts(query: &Value, key: &str) -> Vec<Vec<String>> {
    match &query[key] {
        Value::String(text) => vec![words(text)],
        Value::Array(texts) => texts.iter().map(|text| words(text.as_str().unwrap())).collect(),
        _ => Vec::new(),
    }
}

impl Plain {
    /// Every document that a query finds, with its score.
    fn search(&self, query: &Value) -> BTreeMap<u64, f64> {
        let query = if query.is_string() { json!({ "should": query }) } else { query.clone() };
        let [must, should, must_not, phrases] = ["must", "should", "must_not", "phrase"].map(|key| texts(&query, key));
        let required: BTreeSet<String> = must.iter().chain(&phrases).flatten().cloned().collect();
        let optional: BTreeSet<String> = should.iter().flatten().cloned().collect();
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        for word in must.iter().chain(&should).chain(&phrases).flatten() {
            *counts.entry(word.clone()).or_default() += 1.0;
        }
        let documents = self.texts.values().filter(|text| !text.is_empty()).count() as f64;
        let average = self.texts.values().map(Vec::len).sum::<usize>() as f64 / documents;
        let idf = |word: &String| {
            let having = self.texts.values().filter(|text| text.contains(word)).count() as f64;
            (1.0 + (documents - having + 0.5) / (having + 0.5)).ln()
        };
        let weights: BTreeMap<&String, f64> = counts.iter().map(|(word, count)| (word, count * idf(word))).collect();
        let mut found = BTreeMap::new();
        for (&document, text) in &self.texts {
            let has = |word: &String| text.contains(word);
            let has_phrase =
                |phrase: &Vec<String>| phrase.is_empty() || text.windows(phrase.len()).any(|part| part == phrase);
            let wanted = if required.is_empty() { optional.iter().any(has) } else { required.iter().all(has) };
            if !wanted || must_not.iter().flatten().any(has) || !phrases.iter().all(has_phrase) {
                continue;
            }
            let score = weights.iter().map(|(word, weight)| {
                let frequency = text.iter().filter(|other| other == word).count() as f64;
                weight * frequency / (frequency + 1.2 * (0.25 + 0.75 * text.len() as f64 / average))
            });
            found.insert(document, score.sum());
        }
        found
    }
}

/// A row that is not in the order of the documents.
fn row_of(document: u64) -> u32 {
    (document as u32).wrapping_mul(2_654_435_761)
}

/// Holds what several indexes find, each with a part of the documents, against the plain answer.
fn compare(indexes: &mut [Index], plain: &Plain, value: &Value, k: usize) -> Result<(), TestCaseError> {
    let query = Query::parse(value, &Analyser::default()).unwrap();
    let mut statistics = Statistics { frequencies: vec![0; query.words.len()], ..Statistics::default() };
    indexes.iter().for_each(|index| statistics.add(&index.statistics(&query)));
    let mut answers = Vec::new();
    for prunes in [true, false] {
        let mut best = Best::new(k);
        for snapshot in indexes.iter_mut().map(|index| index.snapshot(&query)) {
            for part in 0..snapshot.parts() {
                let accept = |document: u64| plain.texts.contains_key(&document).then(|| row_of(document));
                match prunes {
                    true => snapshot.search(part, &query, &statistics, &mut best, accept),
                    false => snapshot.search_all(part, &query, &statistics, &mut best, accept),
                }
            }
        }
        answers.push(best.into_sorted());
    }
    prop_assert_eq!(&answers[0], &answers[1], "with documents passed over, and without: {}", value);
    let want = plain.search(value);
    let by_row: BTreeMap<u32, f64> = want.iter().map(|(&document, &score)| (row_of(document), score)).collect();
    prop_assert_eq!(answers[0].len(), k.min(want.len()), "{}", value);
    prop_assert!(answers[0].is_sorted_by(|a, b| a > b), "best first, equal ones by row");
    let mut scores: Vec<f64> = want.values().copied().collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    for (hit, want) in answers[0].iter().zip(&scores) {
        let own = by_row.get(&hit.row).copied().unwrap_or(f64::NAN);
        let near = |score: f64| (f64::from(hit.score) - score).abs() <= 1e-5 * score.max(1.0);
        prop_assert!(near(own) && near(*want), "{}: {} of row {}, {} and {}", value, hit.score, hit.row, own, want);
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<usize>),
    /// A document dies, and one may come in its place.
    Remove(usize, Option<Vec<usize>>),
    Pass(u64),
    Merge(usize),
    Search(Value, usize),
}

fn text() -> impl Strategy<Value = Vec<usize>> {
    // The square makes the first words the frequent ones.
    let word = (0.0f64..1.0).prop_map(|at| (at * at * WORDS.len() as f64) as usize);
    prop_oneof![20 => prop::collection::vec(word.clone(), 0..25), 1 => prop::collection::vec(word, 200..600)]
}

fn spoken(text: &[usize]) -> String {
    text.iter().map(|&word| WORDS[word]).collect::<Vec<_>>().join(" ")
}

fn query() -> impl Strategy<Value = Value> {
    let some = prop::collection::vec(0..WORDS.len(), 1..4).prop_map(|words| spoken(&words));
    let part = || prop::option::weighted(0.5, prop::collection::vec(prop::collection::vec(0..WORDS.len(), 1..3), 1..3));
    let parts = (part(), part(), part(), part()).prop_filter_map(
        "nothing is to be found",
        |(must, should, must_not, phrase)| {
            let mut query = serde_json::Map::new();
            for (key, part) in [("must", &must), ("should", &should), ("must_not", &must_not), ("phrase", &phrase)] {
                if let Some(part) = part {
                    query.insert(key.into(), part.iter().map(|words| spoken(words)).collect());
                }
            }
            (must.is_some() || should.is_some() || phrase.is_some()).then_some(Value::Object(query))
        },
    );
    prop_oneof![some.prop_map(Value::String), parts]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        60 => text().prop_map(Step::Add),
        15 => (any::<usize>(), prop::option::of(text())).prop_map(|(place, text)| Step::Remove(place, text)),
        2 => (1..100_000u64).prop_map(Step::Pass),
        8 => (1..4usize).prop_map(Step::Merge),
        15 => (query(), 1..12usize).prop_map(|(query, k)| Step::Search(query, k)),
    ];
    prop::collection::vec(step, 1..300)
}

#[test]
fn any_history_finds_what_a_plain_implementation_finds() {
    println!("BROADHEAD_SEED={}", seed());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed().to_le_bytes());
    let config = Config { cases: 120, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&(steps(), 1..3usize), |(steps, shards)| {
        let analyser = Arc::new(Analyser::default());
        let mut indexes: Vec<Index> = (0..shards).map(|_| Index::new(analyser.clone())).collect();
        let (mut plain, mut next) = (Plain::default(), 0);
        let add = |indexes: &mut [Index], plain: &mut Plain, next: &mut u64, text: &[usize]| {
            let text = spoken(text);
            indexes[*next as usize % shards].add(*next, &text, true);
            plain.texts.insert(*next, words(&text));
            *next += 1;
        };
        for step in steps {
            match step {
                Step::Add(text) => add(&mut indexes, &mut plain, &mut next, &text),
                Step::Remove(place, text) => {
                    let Some(&document) = plain.texts.keys().nth(place % plain.texts.len().max(1)) else { continue };
                    let dead = plain.texts.remove(&document).expect("looked up").join(" ");
                    indexes[document as usize % shards].remove(document, &dead);
                    text.iter().for_each(|text| add(&mut indexes, &mut plain, &mut next, text));
                }
                Step::Pass(documents) => next += documents,
                Step::Merge(steps) => {
                    for index in &mut indexes {
                        for _ in 0..steps {
                            index.merge_step(|document| !plain.texts.contains_key(&document));
                        }
                    }
                }
                Step::Search(query, k) => compare(&mut indexes, &plain, &query, k)?,
            }
        }
        for value in [json!("the library"), json!("zebra"), json!({"must": "of the"}), json!({"phrase": "of the"})] {
            compare(&mut indexes, &plain, &value, 10)?;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Documents of a few words, `count` of them, and what they are.
fn filled(count: u64, text: impl Fn(u64) -> String) -> (Index, Plain) {
    let (mut index, mut plain) = (Index::new(Arc::default()), Plain::default());
    for document in 0..count {
        let text = text(document);
        index.add(document, &text, true);
        plain.texts.insert(document, words(&text));
    }
    (index, plain)
}

#[test]
fn many_blocks_and_windows_are_passed_over_without_a_loss() {
    let (mut index, plain) = filled(12_000, |document| {
        let mut text = "common ".repeat(1 + (document % 7) as usize);
        for (word, every) in [("often", 3), ("seldom", 101), ("rare", 1_999), ("burst", 4_001)] {
            if document % every == 0 {
                text.push_str(&format!("{word} ").repeat(1 + (document % 5) as usize));
            }
        }
        text + &"filler ".repeat((document * 31 % 40) as usize)
    });
    let queries =
        ["common", "common often", "often seldom", "seldom common rare", "rare filler", "burst rare seldom often"];
    for query in queries {
        for k in [1, 10, 100] {
            compare(std::slice::from_mut(&mut index), &plain, &json!(query), k).unwrap();
            compare(std::slice::from_mut(&mut index), &plain, &json!({"must": query}), k).unwrap();
        }
    }
}

#[test]
fn a_word_that_comes_more_often_than_a_byte_can_say_counts_and_has_its_places() {
    let (mut index, plain) = filled(300, |document| format!("{} end", "word ".repeat(document as usize)));
    for query in [json!("word"), json!({"phrase": "word end"}), json!({"phrase": "word word word"})] {
        compare(std::slice::from_mut(&mut index), &plain, &query, 20).unwrap();
    }
    while index.merge_step(|_| false) {}
    compare(std::slice::from_mut(&mut index), &plain, &json!({"phrase": "word end"}), 20).unwrap();
}

#[test]
fn a_snapshot_stays_what_it_was() {
    let (mut index, plain) = filled(500, |document| format!("word{}", document % 3));
    let query = Query::parse(&json!("word1"), &Analyser::default()).unwrap();
    let (snapshot, statistics) = (index.snapshot(&query), index.statistics(&query));
    for document in plain.texts.keys().filter(|document| *document % 2 == 0) {
        index.remove(*document, &plain.texts[document].join(" "));
    }
    index.add(900, "word1", true);
    while index.merge_step(|document| document % 2 == 0) {}
    assert!(index.statistics(&query).documents < statistics.documents);
    let mut best = Best::new(1_000);
    for part in 0..snapshot.parts() {
        snapshot.search(part, &query, &statistics, &mut best, |document| Some(document as u32));
    }
    assert_eq!(best.into_sorted().len(), 167);
}

#[test]
fn segments_are_few_and_the_dead_leave_them() {
    let mut index = Index::new(Arc::default());
    let query = Query::parse(&json!("word"), &Analyser::default()).unwrap();
    for document in 0..2_000 {
        index.add(document, "word and more", true);
        index.snapshot(&query);
        while index.merge_step(|_| false) {}
        assert!(index.segments() <= 8, "{}", index.segments());
    }
    let full = index.bytes();
    for document in 0..1_900 {
        index.remove(document, "word and more");
    }
    while index.merge_step(|document| document < 1_900) {}
    assert!(index.bytes() < full / 2, "{} of {full} bytes", index.bytes());
    assert_eq!((index.documents(), index.statistics(&query).frequencies[0]), (100, 100));
}

#[test]
fn queries_that_are_none_are_refused_and_those_without_a_word_find_nothing() {
    let parse = |query: &Value| Query::parse(query, &Analyser::parse("english").unwrap());
    for query in [json!(""), json!("the !"), json!({"must": []}), json!({"phrase": ["", "the"]})] {
        assert!(parse(&query).unwrap().is_empty(), "{query}");
    }
    for query in [json!(1), json!([]), json!({}), json!({"must_not": "x"}), json!({"muss": "x"}), json!({"must": [1]})]
    {
        assert!(matches!(parse(&query), Err(Error::InvalidTextQuery { .. })), "{query}");
    }
    let many = |count: usize| (0..count).map(|word| format!("w{word} ")).collect::<String>();
    assert!(parse(&json!(many(limits::TEXT_QUERY_WORDS_MAX))).is_ok());
    for query in [json!(many(limits::TEXT_QUERY_WORDS_MAX + 1)), json!({"phrase": "x ".repeat(2_000)})] {
        assert!(matches!(parse(&query), Err(Error::LimitExceeded { .. })));
    }
}
