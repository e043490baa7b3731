//! Searches by text find what a plain reading of all rows finds, in the same order and with the same scores: after replacements and deletes,
//! after moves and a kill, with and without a filter. Hybrid searches put the two lists together as documented.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use engine::analyser::{ANALYSER_KEY, Analyser, Scratch};
use net::client::{
    Ack, Collection, CollectionOptions, Fusion, FusionMethod, GroupBy, Hit, Id, Ids, Queries, SearchRequest, Text,
    TextQuery, Within,
};
use net::codec::Status;
use serde_json::{Value, json};
use tests::packages;
use tests::server::{Process, Server};

const ROWS: usize = 10_000;
const K: usize = 20;

/// Titles, as words, and sizes of the packages that live.
type Rows = HashMap<u64, (Vec<String>, Option<i64>)>;

fn words(text: &str) -> Vec<String> {
    let (mut found, mut scratch) = (Vec::new(), Scratch::default());
    let analyser = Analyser::default();
    analyser.tokens(text, &mut scratch, |word, _| found.push(String::from_utf8_lossy(word).into_owned()));
    found
}

fn rows_of(batch: &RecordBatch) -> Rows {
    let ids = batch["id"].as_primitive::<UInt64Type>();
    let titles = batch["title"].as_string::<i32>();
    let kib = batch["installed_kib"].as_primitive::<Int64Type>();
    let row = |row: usize| {
        let title = if titles.is_valid(row) { words(titles.value(row)) } else { Vec::new() };
        (ids.value(row), (title, kib.is_valid(row).then(|| kib.value(row))))
    };
    (0..batch.num_rows()).map(row).collect()
}

/// BM25 of every row that has one of the words and that passes, best first.
fn plain(rows: &Rows, query: &str, passes: impl Fn(Option<i64>) -> bool) -> Vec<(u64, f64)> {
    let titles = || rows.values().map(|row| &row.0).filter(|title| !title.is_empty());
    let (count, tokens) = (titles().count() as f64, titles().map(Vec::len).sum::<usize>() as f64);
    let weights: Vec<(String, f64)> = words(query)
        .into_iter()
        .map(|word| {
            let having = titles().filter(|title| title.contains(&word)).count() as f64;
            let idf = (1.0 + (count - having + 0.5) / (having + 0.5)).ln();
            (word, idf)
        })
        .collect();
    let mut found: Vec<(u64, f64)> = rows
        .iter()
        .filter(|(_, row)| passes(row.1))
        .map(|(&id, (title, _))| {
            let score = |(word, idf): &(String, f64)| {
                let frequency = title.iter().filter(|other| *other == word).count() as f64;
                idf * frequency / (frequency + 1.2 * (0.25 + 0.75 * title.len() as f64 * count / tokens))
            };
            (id, weights.iter().map(score).sum())
        })
        .filter(|found: &(u64, f64)| found.1 > 0.0)
        .collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
}

fn number(id: &Id) -> u64 {
    let Id::U64(id) = id else { panic!("the ids are numbers") };
    *id
}

fn by_words(query: &str) -> Text<'_> {
    Text { column: Some("title"), query: TextQuery::Words(query), candidates: None }
}

fn search(collection: &Collection, request: &SearchRequest<'_>) -> Vec<Hit> {
    let mut reply = collection.search(request).expect("a good request").wait().expect("an answer");
    assert_eq!(reply.hits.len(), 1);
    reply.hits.pop().expect("one query")
}

const QUERIES: [&str; 8] = [
    "library",
    "python library",
    "common files for the",
    "documentation",
    "font",
    "perl module to parse xml",
    "a",
    "zzzz",
];

fn check(collection: &Collection, rows: &Rows, what: &str) {
    for query in QUERIES {
        for filter in ["", r#"{"column": "installed_kib", "<": 100}"#] {
            let request = SearchRequest { text: Some(by_words(query)), k: K, filter, ..Default::default() };
            let hits = search(collection, &request);
            let want = plain(rows, query, |kib| filter.is_empty() || kib.is_some_and(|kib| kib < 100));
            let scores: HashMap<u64, f64> = want.iter().copied().collect();
            assert_eq!(hits.len(), K.min(want.len()), "{what}: {query} {filter}");
            for (hit, (_, score)) in hits.iter().zip(&want) {
                let found = f64::from(hit.score.expect("a search by text has scores"));
                let own = scores.get(&number(&hit.id)).copied().unwrap_or(f64::NAN);
                let near = |score: f64| (found - score).abs() < 1e-4;
                assert!(near(*score) && near(own), "{what}: {query} {filter}: {found}, {score}, {own} of {}", hit.id);
                assert_eq!(hit.distance, -hit.score.expect("scores"), "{what}: {query}");
            }
        }
    }
}

fn text_bytes(stats: &str) -> u64 {
    let stats: Value = serde_json::from_str(stats).expect("JSON");
    stats["collections"][0]["text_bytes"].as_u64().expect("a number")
}

/// Some packages, with other titles.
fn retitled(batch: &RecordBatch, rows: std::ops::Range<u64>) -> RecordBatch {
    let places = UInt64Array::from_iter_values(rows.clone());
    let mut columns: Vec<ArrayRef> =
        batch.columns().iter().map(|column| take(column, &places, None).expect("rows that are there")).collect();
    let title = |row| (row % 5 != 0).then(|| format!("library of the {row}th kind, Straße {}", row % 7));
    columns[2] = Arc::new(rows.map(title).collect::<StringArray>());
    RecordBatch::try_new(batch.schema(), columns).expect("columns of the schema")
}

#[test]
fn what_is_found_is_what_a_plain_reading_finds_whatever_happened() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Process::start(directory.path(), 2);
    let client = server.client();
    let collection =
        client.create_collection("packages", &packages::schema(), CollectionOptions::default()).expect("a good schema");
    let batch = packages::packages(ROWS);
    let mut rows = rows_of(&batch);
    let write = |collection: &Collection, batch: &RecordBatch| {
        for start in (0..batch.num_rows()).step_by(2_500) {
            let part = batch.slice(start, 2_500.min(batch.num_rows() - start));
            collection.write(&part, Ack::Durable).expect("a good batch").wait().expect("written");
        }
    };
    write(&collection, &batch);
    assert_eq!(text_bytes(&client.stats().expect("stats")), 0, "nobody has asked for text yet");
    check(&collection, &rows, "at first");
    assert!(text_bytes(&client.stats().expect("stats")) > 0);

    let other = retitled(&batch, 1_000..4_000);
    write(&collection, &other);
    rows.extend(rows_of(&other));
    check(&collection, &rows, "after replacements");
    let gone: Vec<u64> = (0..ROWS as u64).filter(|id| id % 3 != 0).collect();
    collection.delete(&Ids::U64(gone.clone()), Ack::Durable).expect("good ids").wait().expect("deleted");
    gone.iter().for_each(|id| drop(rows.remove(id)));
    check(&collection, &rows, "after deletes");
    // Most chunks are sparse now, and their rows are moved; every now and then one looks.
    let other = retitled(&batch, 6_000..7_000);
    for start in (0..1_000).step_by(100) {
        let part = other.slice(start, 100);
        collection.write(&part, Ack::Durable).expect("a good batch").wait().expect("written");
        rows.extend(rows_of(&part));
        check(&collection, &rows, "beside moves");
    }
    server.kill();
    let server = Process::start(directory.path(), 1);
    let collection = server.client().collection("packages").expect("it is there");
    assert_eq!(text_bytes(&server.client().stats().expect("stats")), 0);
    check(&collection, &rows, "after a kill, on one shard");
}

/// A filter and a search mean the same by the words of a column, whatever its analyser makes of them.
#[test]
fn a_filter_finds_the_words_that_a_search_finds() {
    const ANALYSERS: [(&str, &str); 4] =
        [("plain", "standard"), ("english", "english"), ("german", "german"), ("marked", r#"{"fold": false}"#)];
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let text = |(name, analyser): (&str, &str)| {
        Field::new(name, DataType::Utf8, true).with_metadata([(ANALYSER_KEY.to_owned(), analyser.to_owned())])
    };
    let fields = [Field::new("id", DataType::UInt64, false)].into_iter().chain(ANALYSERS.map(text));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let collection = client.create_collection("texts", &schema, CollectionOptions::default()).expect("a good schema");
    let packages = packages::packages(5_000);
    let titles = packages["title"].as_string::<i32>();
    let special = ["Die Straße", "STRASSE der Häuser", "ein Haus, café", "Cafe\u{301}s running", "the of", "", "l’été"];
    let all: Vec<Option<&str>> = titles.iter().chain(special.map(Some)).collect();
    let texts: ArrayRef = Arc::new(StringArray::from(all.clone()));
    let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..all.len() as u64));
    let columns = [vec![ids], vec![texts; ANALYSERS.len()]].concat();
    let batch = RecordBatch::try_new(Arc::new(schema), columns).expect("columns of the schema");
    collection.write(&batch, Ack::Durable).expect("a good batch").wait().expect("written");
    let filtered = |column: &str, words: &str| {
        let filter = json!({"column": column, "contains": words}).to_string();
        let rows = collection.scan(&["id"]).expect("a column").with_filter(&filter).map(|rows| rows.expect("rows"));
        let mut ids: Vec<u64> =
            rows.flat_map(|rows| rows["id"].as_primitive::<UInt64Type>().values().to_vec()).collect();
        ids.sort_unstable();
        assert_eq!(collection.count(&filter).expect("an answer"), ids.len() as u64, "{column}: {words}");
        ids
    };
    let asked =
        ["straße", "Strasse", "haus", "cafe", "CAFÉ", "ete", "run library", "files", "Python bindings", "x x", "1"];
    for (column, analyser) in ANALYSERS {
        for words in asked {
            let query = json!({ "must": words });
            let text = Some(Text { column: Some(column), query: TextQuery::Json(&query), candidates: None });
            let hits = search(&collection, &SearchRequest { text, k: 10_000, ..Default::default() });
            let mut found: Vec<u64> = hits.iter().map(|hit| number(&hit.id)).collect();
            found.sort_unstable();
            assert_eq!(filtered(column, words), found, "{analyser}: {words}");
        }
    }
    let (first, last) = (titles.len() as u64, all.len() as u64);
    let of_special = |column, words| filtered(column, words).into_iter().filter(|&id| id >= first).collect::<Vec<_>>();
    assert_eq!(of_special("plain", "straße"), [first, first + 1], "folded");
    assert_eq!(of_special("marked", "straße"), [first], "as it is");
    assert_eq!(of_special("german", "haus"), [first + 1, first + 2], "stemmed");
    assert_eq!(of_special("english", "the run"), [first + 3], "stemmed, and a word that says nothing");
    assert_eq!(of_special("english", "of the"), (first..last).collect::<Vec<_>>(), "nothing is asked for");
    assert_eq!(of_special("plain", "of the"), [first + 4]);
    server.stop();
}

#[test]
fn hybrid_searches_fuse_both_lists() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let collection =
        client.create_collection("packages", &packages::schema(), CollectionOptions::default()).expect("a good schema");
    let batch = packages::packages(2_000);
    collection.write(&batch, Ack::Durable).expect("a good batch").wait().expect("written");
    let vector = packages::bytes_of(&packages::truth().queries[3]);
    let filter = r#"{"column": "installed_kib", ">": 50}"#;
    let text = Text { candidates: Some(80), ..by_words("python library") };
    let both = SearchRequest {
        queries: Queries::Bytes(&vector),
        text: Some(text),
        k: K,
        exact: true,
        filter,
        ..Default::default()
    };
    let dense = search(&collection, &SearchRequest { text: None, k: 60, ..both });
    let words = search(&collection, &SearchRequest { queries: Queries::Bytes(&[]), k: 80, ..both });
    let span = |values: &[f32]| {
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        (least, values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least)
    };
    let (near, far) = span(&dense.iter().map(|hit| -hit.distance).collect::<Vec<_>>());
    let (low, width) = span(&words.iter().map(|hit| hit.score.unwrap()).collect::<Vec<_>>());
    let all = search(&collection, &both);
    let rest = search(&collection, &SearchRequest { offset: 5, k: K - 5, ..both });
    assert_eq!(rest, all[5..], "a page begins where the one before ended");
    let page = SearchRequest { queries: Queries::Bytes(&[]), offset: 7, k: 9, ..both };
    assert_eq!(search(&collection, &page), words[7..16]);
    let like = [words[0].id.clone()];
    let examples = net::client::Examples { like: &like, unlike: &[], include: false };
    let hits = search(&collection, &SearchRequest { queries: Queries::Bytes(&[]), examples: Some(examples), ..both });
    assert!(hits.len() == K && hits.iter().all(|hit| hit.id != like[0]), "an example is no result by its words either");
    for method in [FusionMethod::Rrf { k: 60.0 }, FusionMethod::Weighted { weights: [0.7, 0.3], normalise: true }] {
        let fusion = Some(Fusion { method, candidates: Some(60) });
        let hits = search(&collection, &SearchRequest { fusion, ..both });
        let mut want: HashMap<u64, f32> = HashMap::new();
        for (rank, hit) in dense.iter().enumerate() {
            *want.entry(number(&hit.id)).or_default() += match method {
                FusionMethod::Rrf { k } => 1.0 / (k + rank as f32 + 1.0),
                FusionMethod::Weighted { weights, .. } => weights[0] * (-hit.distance - near) / far,
            };
        }
        for (rank, hit) in words.iter().enumerate() {
            *want.entry(number(&hit.id)).or_default() += match method {
                FusionMethod::Rrf { k } => 1.0 / (k + rank as f32 + 1.0),
                FusionMethod::Weighted { weights, .. } => weights[1] * (hit.score.unwrap() - low) / width,
            };
        }
        let mut scores: Vec<f32> = want.values().copied().collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(hits.len(), K);
        for (hit, score) in hits.iter().zip(scores) {
            let (found, sides) = (hit.score.expect("a score"), hit.sides.expect("sides"));
            let own = want[&number(&hit.id)];
            assert!((found - score).abs() < 1e-5 && (found - own).abs() < 1e-5, "{method:?}: {found} {score} {own}");
            let place = |hits: &[Hit]| hits.iter().position(|other| other.id == hit.id).map(|place| place as u32 + 1);
            assert_eq!(
                (sides.dense.map(|side| side.rank), sides.text.map(|side| side.rank)),
                (place(&dense), place(&words))
            );
        }
        assert!(hits.iter().any(|hit| hit.sides.is_some_and(|sides| sides.dense.is_some() && sides.text.is_some())));
    }
    server.stop();
}

/// A threshold cuts the answer off where scores fall below it, and an explanation says of the query what a plain reading does.
#[test]
fn scores_may_be_bounded_and_answers_explained() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let collection =
        client.create_collection("packages", &packages::schema(), CollectionOptions::default()).expect("a good schema");
    let batch = packages::packages(2_000);
    collection.write(&batch, Ack::Durable).expect("a good batch").wait().expect("written");
    let rows = rows_of(&batch);
    let vector = packages::bytes_of(&packages::truth().queries[3]);
    let alone = SearchRequest { text: Some(by_words("python library")), k: 50, ..Default::default() };
    let weighted = FusionMethod::Weighted { weights: [0.5, 0.5], normalise: true };
    let fusion = Some(Fusion { method: weighted, candidates: None });
    let both = SearchRequest { queries: Queries::Bytes(&vector), exact: true, ..alone };
    for request in [alone, both, SearchRequest { fusion, ..both }] {
        let all = search(&collection, &request);
        assert_eq!(all.len(), 50);
        for least in [all[0].score, all[20].score, all[49].score, Some(all[0].score.expect("scores") * 1.5)] {
            let least = least.expect("scores");
            let within = SearchRequest { within: Some(Within::ScoreMin(least)), ..request };
            let wanted: Vec<&Hit> = all.iter().filter(|hit| hit.score >= Some(least)).collect();
            assert_eq!(search(&collection, &within).iter().collect::<Vec<_>>(), wanted, "{least}");
            let page = SearchRequest { offset: 3, k: 47, ..within };
            assert_eq!(search(&collection, &page).len(), wanted.len().saturating_sub(3), "{least}");
        }
    }
    let explain = |request: SearchRequest<'_>| {
        let request = SearchRequest { explain: true, ..request };
        let reply = collection.search(&request).expect("a good request").wait().expect("an answer");
        let report: Value = serde_json::from_str(&reply.report.expect("asked for")).expect("JSON");
        (reply.hits[0].len(), report["explain"].clone())
    };
    let having = |word: &str| rows.values().filter(|row| row.0.iter().any(|other| other == word)).count();
    let words = json!({ "python": having("python"), "library": having("library") });
    let documents = rows.values().filter(|row| !row.0.is_empty()).count();
    let (_, told) = explain(alone);
    assert_eq!((&told["plan"], &told["rows"]), (&json!("words"), &json!(rows.len())));
    assert_eq!((&told["documents"], &told["words"]), (&json!(documents), &words));
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} in {told}"));
    let scored = number(&told["visits"]["scored_rows"]);
    assert!((50..=documents as u64).contains(&scored), "{told}");
    let time = &told["time_us"];
    assert_eq!(number(&time["total"]), number(&time["statistics"]) + number(&time["words"]), "{told}");
    let (_, told) = explain(both);
    assert_eq!((&told["plan"], &told["text"]["words"]), (&json!("scan"), &words));
    assert_eq!(told["visits"]["scanned_rows"], json!(rows.len()));
    let (found, told) = explain(SearchRequest { text: Some(by_words(" , ")), ..alone });
    assert_eq!((found, &told["words"], &told["visits"]["scored_rows"]), (0, &json!({}), &json!(0)));
    assert_eq!(collection.search(&alone).expect("sent").wait().expect("an answer").report, None);

    for (what, request) in [
        ("a distance", SearchRequest { within: Some(Within::DistanceMax(0.5)), ..alone }),
        ("a distance of both", SearchRequest { within: Some(Within::DistanceMax(0.5)), ..both }),
        ("groups", SearchRequest { grouping: Some(GroupBy { column: "name", size: 1 }), ..alone }),
    ] {
        let refused = collection.search(&request).expect("it can be sent").wait().expect_err(what);
        assert_eq!(refused.status(), Some(Status::InvalidSearch), "{what}: {refused}");
    }
    server.stop();
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let collection =
        client.create_collection("packages", &packages::schema(), CollectionOptions::default()).expect("a good schema");
    collection.write(&packages::packages(100), Ack::Durable).expect("a good batch").wait().expect("written");
    let vector = packages::bytes_of(&packages::truth().queries[0]);
    let ask = |column, query: Value, queries: &[u8], k, fusion| {
        let text = Some(Text { column, query: TextQuery::Json(&query), candidates: None });
        let request = SearchRequest { text, queries: Queries::Bytes(queries), k, fusion, ..Default::default() };
        let answer = collection.search(&request).expect("it can be sent").wait();
        answer.map(|reply| reply.hits[0].len()).map_err(|error| error.status().expect("the server's"))
    };
    let title = Some("title");
    let many: String = (0..1_025).map(|word| format!("w{word} ")).collect();
    let rrf = Some(Fusion { method: FusionMethod::Rrf { k: 60.0 }, candidates: None });
    assert_eq!(ask(title, json!(""), &[], 10, None), Ok(0), "no word, no row");
    assert_eq!(ask(title, json!(""), &vector, 10, None), Ok(10), "the rows near the vector are left");
    assert_eq!(ask(None, json!("x"), &[], 10, None), Err(Status::InvalidTextQuery), "two columns to choose from");
    assert_eq!(ask(Some("embedding"), json!("x"), &[], 10, None), Err(Status::InvalidTextQuery));
    assert_eq!(ask(Some("nothing"), json!("x"), &[], 10, None), Err(Status::UnknownColumn));
    assert_eq!(ask(title, json!({"must_not": "x"}), &[], 10, None), Err(Status::InvalidTextQuery));
    assert_eq!(ask(title, json!(many), &[], 10, None), Err(Status::LimitExceeded));
    assert_eq!(ask(title, json!("x"), &[], 0, None), Err(Status::InvalidSearch));
    assert_eq!(ask(title, json!("x"), &[], 10_001, None), Err(Status::LimitExceeded));
    assert_eq!(ask(title, json!("x"), &[], 10, rrf), Err(Status::InvalidSearch), "nothing to fuse");
    assert_eq!(ask(title, json!("x"), &vector.repeat(2), 10, None), Err(Status::InvalidSearch), "two vectors");
    server.stop();
}
