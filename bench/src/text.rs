//! Words: how they are found, an index of descriptions, searches of it, and what an index that follows costs writers.
//!
//! Beside tantivy where the crate is built with the feature `tantivy`: the same descriptions, whole in memory, one thread each; both are
//! asked for the ten best rows of the first words of every thirty-first title. Answers are held against those of a search of each word alone, and the best score
//! of tantivy's against ours.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use engine::text::{Analyser, Best, Index, Query, TextHit};
use kernels::{Isa, Kernels};
use net::client::{Ack, Collection, CollectionOptions, PreparedWrite, SearchRequest, Text, TextQuery};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;

use crate::path::server::Server;
use crate::report::{Figure, Goal, median};

#[cfg(feature = "tantivy")]
mod peer;

const K: usize = 10;
const ROUNDS: usize = 5;
const QUICK_ROUNDS: usize = 2;
const QUICK_ROWS: usize = 5_000;
/// A query is made of every so many-th title, and has so many words.
const TITLES_A_QUERY: usize = 31;
const QUERY_WORDS: usize = 4;
const BATCH_ROWS: usize = 2_048;
const DIMENSION: usize = 384;

/// Texts to index, and queries.
pub(crate) struct Texts {
    /// Descriptions, or titles where the file has none.
    pub rows: Vec<String>,
    /// Words.
    pub queries: Vec<String>,
}

impl Texts {
    fn read(path: &Path, rows_max: usize) -> Texts {
        let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["title", "description"]);
        let (mut rows, mut titles) = (Vec::new(), Vec::new());
        for batch in builder.with_projection(mask).build().expect("a readable Parquet file") {
            let batch = batch.expect("a readable batch");
            let column = |name: &str| batch.column_by_name(name).map(|column| column.as_string::<i32>().clone());
            let title = column("title").expect("a column of titles");
            let description = column("description").unwrap_or_else(|| title.clone());
            let text = |column: &StringArray, row: usize| column.is_valid(row).then(|| column.value(row).to_owned());
            rows.extend((0..batch.num_rows()).map(|row| text(&description, row).unwrap_or_default()));
            titles.extend((0..batch.num_rows()).map(|row| text(&title, row).unwrap_or_default()));
        }
        rows.truncate(rows_max);
        titles.truncate(rows_max);
        let query = |title: &String| {
            let words = title.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
            words.take(QUERY_WORDS).map(str::to_lowercase).collect::<Vec<_>>().join(" ")
        };
        let queries = titles.iter().step_by(TITLES_A_QUERY).map(query).filter(|query| !query.is_empty()).collect();
        Texts { rows, queries }
    }
}

/// What the rounds of an engine measured.
#[derive(Default)]
pub(crate) struct Measured {
    pub build_s: Vec<f64>,
    pub search_s: Vec<f64>,
    /// Best score of each query.
    pub best: Vec<f32>,
}

/// Measures all of it. `program` calls [`crate::path::serve`] when it gets `--serve DIR`.
pub fn run(quick: bool, program: &Path, scratch: &Path, base: &Path) -> Vec<Figure> {
    let (rows, rounds) = if quick { (QUICK_ROWS, QUICK_ROUNDS) } else { (usize::MAX, ROUNDS) };
    let texts = Texts::read(base, rows);
    let mut figures = words(&texts, rounds);
    figures.extend(engines(&texts, rounds));
    figures.push(ingest(&texts, program, scratch, rounds));
    figures
}

// ---- words ----

fn words(texts: &Texts, rounds: usize) -> Vec<Figure> {
    let bytes: usize = texts.rows.iter().map(String::len).sum();
    let (mut figures, mut scalar) = (Vec::new(), None);
    for kernels in Kernels::available().into_iter().filter(|kernels| kernels.isa() <= Isa::Avx512) {
        let mut seen = 0;
        let round = |_| {
            let (mut lowered, mut marks) = (Vec::new(), Vec::new());
            let started = Instant::now();
            seen = 0;
            for text in &texts.rows {
                lowered.resize(text.len(), 0);
                marks.resize(text.len().div_ceil(64), 0);
                kernels.mark_words(black_box(text.as_bytes()), &mut lowered, &mut marks);
                seen += kernels::runs(&marks).map(|run| run.len() + usize::from(lowered[run.start])).sum::<usize>();
            }
            bytes as f64 / 1e6 / started.elapsed().as_secs_f64()
        };
        let rate = median((0..rounds).map(round).collect());
        let figure = Figure::new(format!("words of descriptions, {}", kernels.isa()), rate, "MB/s");
        let (scalar_rate, scalar_seen) = *scalar.get_or_insert((rate, seen));
        assert_eq!(seen, scalar_seen, "{} finds other words", kernels.isa());
        figures.push(match kernels.isa() {
            Isa::Scalar => figure,
            _ => figure.beside("scalar", scalar_rate).with_goal(Goal::RatioAtLeast(1.3)),
        });
    }
    figures
}

// ---- index and searches ----

fn engines(texts: &Texts, rounds: usize) -> Vec<Figure> {
    let mut ours = Measured::default();
    #[cfg(feature = "tantivy")]
    let mut peer = Measured::default();
    let mut bytes = 0;
    for round in 0..rounds {
        bytes = self::ours(texts, round, &mut ours);
        #[cfg(feature = "tantivy")]
        peer::run(texts, &mut peer);
    }
    let rows = texts.rows.len() as f64;
    let rate = |count: f64, seconds: &[f64]| median(seconds.iter().map(|seconds| count / seconds).collect());
    let build = Figure::new("text index of descriptions, merged", rate(rows, &ours.build_s), "rows/s");
    let search =
        Figure::new("top 10 of descriptions, one core", rate(texts.queries.len() as f64, &ours.search_s), "queries/s");
    #[cfg(feature = "tantivy")]
    let (build, search) = {
        let ratio =
            |peer: &[f64], ours: &[f64]| median(peer.iter().zip(ours).map(|(peer, ours)| peer / ours).collect());
        peer::check(&ours.best, &peer.best);
        let (build_ratio, search_ratio) = (ratio(&peer.build_s, &ours.build_s), ratio(&peer.search_s, &ours.search_s));
        let build = build.beside("tantivy", rate(rows, &peer.build_s)).with_ratio(build_ratio);
        let search =
            search.beside("tantivy", rate(texts.queries.len() as f64, &peer.search_s)).with_ratio(search_ratio);
        (build.with_goal(Goal::RatioAtLeast(1.0)), search.with_goal(Goal::RatioAtLeast(1.0)))
    };
    let text: usize = texts.rows.iter().map(String::len).sum();
    vec![build, search, Figure::new("text index", bytes as f64, "bytes").beside("the descriptions", text as f64)]
}

/// Builds and searches ours; gives the bytes of the index.
fn ours(texts: &Texts, round: usize, measured: &mut Measured) -> u64 {
    let mut index = Index::new(Arc::new(Analyser::default()));
    let started = Instant::now();
    for (row, text) in texts.rows.iter().enumerate() {
        index.add(row as u64, text, true);
    }
    drop(find(&mut index, ""));
    while index.merge_step(|_| false) {}
    measured.build_s.push(started.elapsed().as_secs_f64());
    let started = Instant::now();
    let found: Vec<Vec<TextHit>> = texts.queries.iter().map(|query| find(&mut index, query)).collect();
    measured.search_s.push(started.elapsed().as_secs_f64());
    if round == 0 {
        measured.best = found.iter().map(|hits| hits.first().map_or(0.0, |hit| hit.score)).collect();
        assert!(
            measured.best.iter().filter(|&&best| best > 0.0).count() * 2 > texts.queries.len(),
            "most find something"
        );
    }
    index.bytes()
}

fn find(index: &mut Index, words: &str) -> Vec<TextHit> {
    let query = Query::parse(&Value::from(words), index.analyser()).expect("a query");
    let (statistics, snapshot) = (index.statistics(&query), index.snapshot(&query));
    let mut best = Best::new(K);
    for part in 0..snapshot.parts() {
        snapshot.search(part, &query, &statistics, &mut best, |row| Some(row as u32));
    }
    best.into_sorted()
}

// ---- writers ----

/// The same rows written with an index that follows, and without one, by turns, to one server.
fn ingest(texts: &Texts, program: &Path, scratch: &Path, rounds: usize) -> Figure {
    let directory = TempDir::new_in(scratch).expect("a scratch directory");
    let server = Server::start(program, directory.path());
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("description", DataType::Utf8, false),
        Field::new("embedding", DataType::FixedSizeList(item.clone(), DIMENSION as i32), false),
    ]));
    let batch = |(number, rows): (usize, &[String])| {
        let first = (number * BATCH_ROWS) as u64;
        let value = |at: usize| ((at * 2_654_435_761) % 1_000) as f32 - 499.5;
        let values = Float32Array::from_iter_values((0..rows.len() * DIMENSION).map(|at| value(at + number)));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(first..first + rows.len() as u64)),
            Arc::new(rows.iter().map(Some).collect::<StringArray>()),
            Arc::new(FixedSizeListArray::new(item.clone(), DIMENSION as i32, Arc::new(values), None)),
        ];
        RecordBatch::try_new(schema.clone(), columns).expect("columns of the schema")
    };
    let batches: Vec<RecordBatch> = texts.rows.chunks(BATCH_ROWS).enumerate().map(batch).collect();
    for round in 0..rounds {
        let mut seconds = [0.0; 2];
        for with_index in if round % 2 == 0 { [false, true] } else { [true, false] } {
            let name = format!("texts-{round}-{with_index}");
            let collection = server.client().create_collection(&name, &schema, CollectionOptions::default());
            let collection = collection.expect("a collection");
            if with_index {
                ask(&collection);
            }
            let writes: Vec<PreparedWrite> =
                batches.iter().map(|batch| collection.prepare(batch).expect("a good batch")).collect();
            let started = Instant::now();
            let sent = writes.iter().map(|write| collection.send(write, Ack::Durable).expect("it is sent"));
            for pending in sent.collect::<Vec<_>>() {
                pending.wait().expect("written");
            }
            seconds[usize::from(with_index)] = started.elapsed().as_secs_f64();
            assert_eq!(ask(&collection), K, "every acknowledged row is found");
            server.client().drop_collection(&name).expect("it was there");
            std::thread::sleep(Duration::from_millis(200));
        }
        for (rates, seconds) in rates.iter_mut().zip(seconds) {
            rates.push(texts.rows.len() as f64 / seconds);
        }
        ratios.push(seconds[0] / seconds[1]);
    }
    let [without, with] = rates.map(median);
    Figure::new("durable writes while a text index follows", with, "rows/s")
        .beside("no text index", without)
        .with_ratio(median(ratios))
        .with_goal(Goal::RatioAtLeast(0.7))
}

fn ask(collection: &Collection) -> usize {
    let text = Some(Text { column: None, query: TextQuery::Words("the library"), candidates: None });
    let reply = collection.search(&SearchRequest { text, k: K, ..Default::default() }).expect("a good request").wait();
    reply.expect("an answer").hits[0].len()
}
