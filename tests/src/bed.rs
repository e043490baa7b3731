//! Vectors of any kind on a server, for tests of what is found: the exact search is held against the formula, the graph
//! against the exact search.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use net::client::{Ack, Collection, CollectionOptions, Hit, Id, Queries, SearchRequest};
use tempfile::TempDir;

use crate::PATIENCE;
use crate::random::Random;
use crate::server::Server;

/// Candidates of a search by the graph, at least.
const EF: usize = 64;
const BATCH_BYTES: usize = 8 << 20;

/// Vectors of one dimension, one behind the other.
pub struct Vectors {
    /// All numbers.
    pub values: Vec<f32>,
    /// Numbers of a vector.
    pub dimension: usize,
}

impl Vectors {
    /// Vectors of which `element` gives each number of a row.
    pub fn new(rows: usize, dimension: usize, mut element: impl FnMut(usize) -> f32) -> Vectors {
        let values = (0..rows).flat_map(|row| vec![row; dimension]).map(&mut element).collect();
        Vectors { values, dimension }
    }

    /// Vectors in all directions, the length of each times `factor` of its row.
    pub fn random(rows: usize, dimension: usize, random: &mut Random, factor: impl Fn(usize) -> f32) -> Vectors {
        Vectors::new(rows, dimension, |row| random.unit() * factor(row))
    }

    /// The vectors in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension)
    }

    /// These, and others behind them.
    pub fn then(mut self, others: Vectors) -> Vectors {
        self.values.extend(others.values);
        self
    }
}

/// Recall of the ten nearest in a collection of these rows.
pub fn recall_of(metric: &'static str, what: &str, rows: Vectors, queries: &Vectors) -> f64 {
    let bed = Bed::of(metric, rows);
    let recall = bed.recall(what, queries, 10);
    bed.stop();
    recall
}

/// A collection of vectors on a server of two shards, whose answers are held against the formula.
pub struct Bed {
    collection: Collection,
    metric: &'static str,
    rows: Vectors,
    server: Server,
    _directory: TempDir,
}

impl Bed {
    /// An empty one.
    pub fn new(metric: &'static str, dimension: usize) -> Bed {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = Server::start(directory.path(), 2);
        let schema = schema(metric, dimension);
        let collection =
            server.client().create_collection("bad", &schema, CollectionOptions::default()).expect("a good schema");
        let rows = Vectors { values: Vec::new(), dimension };
        Bed { collection, metric, rows, server, _directory: directory }
    }

    /// One of these rows, all indexed.
    pub fn of(metric: &'static str, rows: Vectors) -> Bed {
        let mut bed = Bed::new(metric, rows.dimension);
        bed.write(rows);
        bed.wait_indexed();
        bed
    }

    /// Writes rows, numbered on from those that are there.
    pub fn write(&mut self, rows: Vectors) {
        let (first, dimension) = (self.rows.iter().count(), self.rows.dimension);
        let schema = Arc::new(schema(self.metric, dimension));
        let batch_rows = (BATCH_BYTES / 4 / dimension).min(10_000);
        for (number, values) in rows.values.chunks(batch_rows * dimension).enumerate() {
            let start = (first + number * batch_rows) as u64;
            let ids: ArrayRef =
                Arc::new(UInt64Array::from_iter_values(start..start + (values.len() / dimension) as u64));
            let item = Arc::new(Field::new("item", DataType::Float32, true));
            let values = Arc::new(Float32Array::from(values.to_vec()));
            let vectors: ArrayRef = Arc::new(FixedSizeListArray::new(item, dimension as i32, values, None));
            let batch = RecordBatch::try_new(schema.clone(), vec![ids, vectors]).expect("columns of the schema");
            self.collection.write(&batch, Ack::Durable).expect("a good batch").wait().expect("written");
        }
        self.rows.values.extend(rows.values);
    }

    /// Waits until the graph has all rows.
    pub fn wait_indexed(&self) {
        let status = self.collection.wait_indexed(3 * PATIENCE).expect("an answer");
        assert!(status.done, "{status:?}");
    }

    /// Share of the exact answers that the graph gives. What comes must be in order, each row once, as many as there are, and at the
    /// distance of the formula; the exact answer must be right.
    pub fn recall(&self, what: &str, queries: &Vectors, k: usize) -> f64 {
        let (mut hits, mut wanted) = (0, 0);
        for query in queries.iter() {
            let mut all: Vec<f64> = self.rows.iter().map(|row| distance(self.metric, query, row).0).collect();
            all.sort_by(f64::total_cmp);
            let exact = self.ask(query, k, true);
            for (hit, want) in exact.iter().zip(&all) {
                let slack = self.check(query, hit);
                let got = f64::from(hit.distance);
                assert!((got - want).abs() <= slack, "{what}: exact answer {got}, by the formula {want}");
            }
            let farthest = exact.last().expect("rows").distance;
            let of_graph = self.ask(query, k, false);
            for hit in &of_graph {
                let slack = self.check(query, hit);
                hits += usize::from(f64::from(hit.distance) <= f64::from(farthest) + slack);
            }
            wanted += exact.len();
        }
        let recall = hits as f64 / wanted as f64;
        println!(
            "{what}, {}, {} rows of {}: recall@{k} {recall:.4}",
            self.metric,
            self.rows.iter().count(),
            self.rows.dimension
        );
        recall
    }

    fn ask(&self, query: &[f32], k: usize, exact: bool) -> Vec<Hit> {
        let ef = (!exact).then_some(EF.max(k));
        let request = SearchRequest { queries: Queries::F32(query), k, ef, exact, ..Default::default() };
        let reply = self.collection.search(&request).expect("a good request").wait().expect("an answer");
        let hits = reply.hits.into_iter().next().expect("hits of the query");
        assert_eq!(hits.len(), k.min(self.rows.iter().count()), "exact: {exact}");
        assert!(hits.is_sorted_by(|a, b| a.distance <= b.distance), "hits in order");
        let mut ids: Vec<u64> = hits.iter().map(|hit| id(hit) as u64).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), hits.len(), "each row once");
        hits
    }

    /// Checks the distance of a hit, and gives how far sums of f32 may be from it.
    fn check(&self, query: &[f32], hit: &Hit) -> f64 {
        let row = self.rows.iter().nth(id(hit)).expect("a row that was written");
        let (want, magnitude) = distance(self.metric, query, row);
        let slack = 1e-6 * magnitude * (self.rows.dimension as f64).sqrt().max(2.0) + f64::from(f32::MIN_POSITIVE);
        let got = f64::from(hit.distance);
        assert!((got - want).abs() <= slack, "row {}: {got}, by the formula {want}", id(hit));
        2.0 * slack
    }

    /// Stops the server.
    pub fn stop(self) {
        self.server.stop();
    }
}

fn id(hit: &Hit) -> usize {
    let Id::U64(id) = hit.id else { panic!("the ids are numbers") };
    id as usize
}

fn schema(metric: &str, dimension: usize) -> Schema {
    let metadata = [(engine::schema::METRIC_KEY.to_owned(), metric.to_owned())];
    let item = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, true)), dimension as i32);
    Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("vector", item, false).with_metadata(metadata),
    ])
}

/// The distance by its formula, and the size of what is summed for it.
fn distance(metric: &str, a: &[f32], b: &[f32]) -> (f64, f64) {
    let sum =
        |of: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| of(f64::from(*a), f64::from(*b))).sum::<f64>();
    match metric {
        "l2" => {
            let squares = sum(&|a, b| (a - b) * (a - b));
            (squares, squares)
        }
        "dot" => (-sum(&|a, b| a * b), sum(&|a, b| (a * b).abs())),
        "cosine" => (1.0 - sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt(), 1.0),
        _ => unreachable!("a metric of this file"),
    }
}
