//! `broadhead eval`: recall and speed of search, against the exact truth.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Int64Type, UInt64Type};
use engine::schema::IdKind;
use net::client::{Collection, Id};
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::commands::search::{self, Options, Target};
use crate::error::{Error, FileProblem, RequestProblem, Result};
use crate::load::{self, Latencies};
use crate::output::{self, Table, rate};
use crate::recall::{self, Truth};
use crate::sources;

/// Arguments of `eval`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Queries: Parquet with the vectors in `embedding` and, if there is a truth, the ids of each one's nearest rows in `neighbors`
    /// (and their cosines in `cosine`, to know ties); or .npy.
    #[arg(value_name = "QUERIES")]
    queries: PathBuf,
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Results of a query.
    #[arg(short, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    k: u32,
    /// Candidates that the search keeps, one run for each.
    #[arg(long, value_delimiter = ',', default_value = "16,32,64", value_name = "N,…", value_parser = clap::value_parser!(u32).range(1..))]
    ef: Vec<u32>,
    /// Connections that ask at the same time, one query each.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Seconds of each run, at least; every query is asked at least once.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    seconds: f64,
    /// Vector column to search [default: the only one there is]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// What is evaluated.
pub struct Evaluation {
    target: Target,
    queries: Vec<u8>,
    query_bytes: usize,
    truths: Vec<Truth>,
    k: usize,
}

/// The result for one ef.
pub struct Point {
    /// Candidates that the search keeps.
    pub ef: usize,
    /// Recall at k.
    pub recall: f64,
    /// Queries a second.
    pub qps: f64,
    /// Of each query.
    pub latencies: Latencies,
}

/// Evaluates and shows.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collection = client.collection(&arguments.collection)?;
    let target = search::target(&collection, &arguments.collection, arguments.column.as_deref())?;
    let evaluation =
        Evaluation::prepare(&collection, target, &arguments.queries, arguments.k as usize, arguments.remote.quiet())?;
    let mut table = Table::new(["ef", "recall", "qps", "p50 µs", "p95 µs", "p99 µs"]);
    for &ef in &arguments.ef {
        let time = Duration::try_from_secs_f64(arguments.seconds).unwrap_or(Duration::from_secs(1));
        let point =
            evaluation.run(&arguments.remote, &arguments.collection, ef as usize, arguments.threads.into(), time)?;
        if arguments.remote.json {
            output::line(point.json(&evaluation, arguments.threads));
            continue;
        }
        let us = |quantile| rate(point.latencies.quantile_us(quantile));
        table.row([ef.to_string(), format!("{:.4}", point.recall), rate(point.qps), us(0.5), us(0.95), us(0.99)]);
    }
    if !arguments.remote.json {
        table.print();
    }
    Ok(())
}

impl Evaluation {
    /// Reads the queries, and their truth or finds it by exact search.
    pub fn prepare(collection: &Collection, target: Target, path: &Path, k: usize, quiet: bool) -> Result<Evaluation> {
        let file = QueryFile::read(path, collection.id_kind())?;
        let queries = search::encode(&file.vectors, &target)?;
        let query_bytes = queries.len() / file.vectors.len();
        let known = file.truths.filter(|truths| truths.iter().all(|truth| truth.ids.len() >= k));
        let truths = match known {
            Some(truths) => truths,
            None => recall::exact_truths(collection, &target, &queries, query_bytes, k, quiet)?,
        };
        Ok(Evaluation { target, queries, query_bytes, truths, k })
    }

    /// One run.
    pub fn run(&self, remote: &Remote, collection: &str, ef: usize, threads: usize, time: Duration) -> Result<Point> {
        // The server refuses an ef below k; such a run is that with ef = k.
        let options = Options { k: self.k, ef: Some(ef.max(self.k)), ..Options::default() };
        let load = load::Search {
            collection,
            target: &self.target,
            queries: &self.queries,
            query_bytes: self.query_bytes,
            options: &options,
            time,
            connections: threads,
            in_flight: 1,
            rate: None,
        };
        let searched = load::search(remote, &load)?;
        let found: Vec<Vec<Id>> = (0..self.queries()).map(|query| searched.found(query)).collect();
        let recall = recall::recall(found.iter().map(Vec::as_slice).zip(&self.truths), self.k);
        let qps = searched.queries as f64 / searched.seconds.max(1e-9);
        Ok(Point { ef, recall, qps, latencies: searched.latencies })
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.truths.len()
    }
}

impl Point {
    fn json(&self, evaluation: &Evaluation, threads: u16) -> Value {
        let mut object = serde_json::Map::new();
        object.insert("ef".to_owned(), json!(self.ef));
        object.insert("k".to_owned(), json!(evaluation.k));
        object.insert("queries".to_owned(), json!(evaluation.queries()));
        object.insert("threads".to_owned(), json!(threads));
        object.insert("recall".to_owned(), json!(self.recall));
        object.insert("qps".to_owned(), json!(self.qps));
        self.latencies.describe(&mut object);
        Value::Object(object)
    }
}

/// A file of queries.
struct QueryFile {
    vectors: ArrayRef,
    truths: Option<Vec<Truth>>,
}

impl QueryFile {
    fn read(path: &Path, kind: IdKind) -> Result<QueryFile> {
        let file = if path.extension().is_some_and(|ending| ending == "npy") {
            QueryFile { vectors: sources::read_npy_queries(path)?, truths: None }
        } else {
            let rows = sources::read_parquet_columns(path, &["embedding", "neighbors", "cosine"])?;
            let no_vectors =
                || FileProblem::NoColumn { column: "embedding".to_owned(), available: "none of that name".to_owned() };
            let vectors = rows.column_by_name("embedding").ok_or_else(no_vectors).map_err(Error::file(path))?;
            let vectors = sources::fixed_vectors(path, vectors, "embedding")?;
            let truths =
                rows.column_by_name("neighbors").and_then(|ids| truths(ids, rows.column_by_name("cosine"), kind));
            QueryFile { vectors, truths }
        };
        if file.vectors.is_empty() {
            return Err(RequestProblem::Measure("there are no queries").into());
        }
        Ok(file)
    }
}

/// The truth of every row, where ids (and scores) have a type that can be one.
fn truths(ids: &ArrayRef, scores: Option<&ArrayRef>, kind: IdKind) -> Option<Vec<Truth>> {
    (0..ids.len())
        .map(|row| {
            let ids = row_values(ids, row)?;
            let ids: Vec<Id> = match kind {
                IdKind::U64 => cast(&ids, &DataType::UInt64)
                    .ok()?
                    .as_primitive::<UInt64Type>()
                    .values()
                    .iter()
                    .copied()
                    .map(Id::U64)
                    .collect(),
                IdKind::I64 => {
                    let ids = cast(&ids, &DataType::Int64).ok()?;
                    ids.as_primitive::<Int64Type>().values().iter().copied().map(Id::I64).collect()
                }
                IdKind::Utf8 => {
                    let ids = cast(&ids, &DataType::Utf8).ok()?;
                    ids.as_string::<i32>()
                        .iter()
                        .map(|id| id.map(|id| Id::Utf8(id.to_owned())))
                        .collect::<Option<_>>()?
                }
            };
            let scores = scores
                .and_then(|scores| row_values(scores, row))
                .and_then(|scores| cast(&scores, &DataType::Float32).ok());
            let scores =
                scores.map(|scores| scores.as_primitive::<Float32Type>().values().to_vec()).unwrap_or_default();
            Some(Truth { scores: if scores.len() == ids.len() { scores } else { Vec::new() }, ids })
        })
        .collect()
}

fn row_values(lists: &ArrayRef, row: usize) -> Option<ArrayRef> {
    let values = match lists.data_type() {
        DataType::FixedSizeList(..) => lists.as_fixed_size_list().value(row),
        DataType::List(_) => lists.as_list::<i32>().value(row),
        DataType::LargeList(_) => lists.as_list::<i64>().value(row),
        _ => return None,
    };
    (lists.is_valid(row) && values.null_count() == 0).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recall::recall;

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name)
    }

    #[test]
    fn queries_and_truth_are_read() {
        let file = QueryFile::read(&data("debian-10k-queries.parquet"), IdKind::U64).unwrap();
        assert_eq!(file.vectors.len(), 200);
        let truths = file.truths.unwrap();
        assert!(truths.iter().all(|truth| truth.ids.len() == 100 && truth.scores.len() == 100));
        assert!(truths[0].scores.windows(2).all(|pair| pair[0] >= pair[1]));
        assert!(truths[0].ids.iter().all(|id| matches!(id, Id::U64(id) if *id < 10_000)));
        let perfect: Vec<Vec<Id>> = truths.iter().map(|truth| truth.ids[..10].to_vec()).collect();
        assert_eq!(recall(perfect.iter().map(Vec::as_slice).zip(&truths), 10), 1.0);
    }

    #[test]
    fn a_file_without_truth_still_has_queries() {
        let file = QueryFile::read(&data("debian-10k.parquet"), IdKind::U64).unwrap();
        assert_eq!(file.vectors.len(), 10_000);
        assert!(file.truths.is_none());
    }
}
