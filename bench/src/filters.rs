//! Searches with a filter: recall and speed by the share of the rows that pass, beside hnswlib with the same filter, and beside the exact
//! scan of the rows that pass.
//!
//! Ours is the engine in this process: a collection of one shard with all its columns, and filters as a client sends them, parsed for
//! each query. hnswlib is asked from C++ (`peers/filter_peer.cpp`), where a filter is a functor: over Python it would be a call of Python
//! a row. Filters that have to do with the query are among them: those of its own section, where what passes is near, and all others, where
//! it is not.

mod cases;
mod expiry;
mod peer;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, ToByteSlice};
use engine::batch;
use engine::clock::Clock;
use engine::collection::{Collection, CollectionOptions, CollectionSpec};
use engine::filter::Filter;
use engine::hnsw::Indexer;
use engine::schema::Schema;
use engine::search::{Scratch, Search, SearchRequest, search};
use engine::shard::indexing::Indexing;
use engine::shard::{Member, Message, Operation, Partition};

use crate::graph::{K, Vectors};
use crate::kernels::thread_seconds;
use crate::report::{Figure, Goal};
use cases::{Case, Packages};

/// Candidates of a search, swept until the recall is there.
const EFS: [usize; 5] = [16, 32, 64, 128, 256];
const RECALL_BAR: f64 = 0.95;
const QUICK_ROWS: usize = 5_000;
const QUICK_QUERIES: usize = 100;
const WRITE_ROWS: usize = 10_000;
const ROUNDS: usize = 3;
const COLLECTION: u32 = 1;

/// A recall, and the queries a second that go with it.
#[derive(Clone, Copy, Debug)]
struct Point {
    ef: usize,
    recall: f64,
    qps: f64,
}

/// The first point that reaches the bar; the last where none does.
fn at_bar(points: &[Point]) -> Option<Point> {
    points.iter().find(|point| point.recall >= RECALL_BAR).or(points.last()).copied()
}

/// Measures on the packages of one Parquet file and the queries of another; with `quick` on few of them.
///
/// hnswlib is measured too where `BROADHEAD_HNSWLIB` names a directory with its headers.
pub fn run(quick: bool, base: &Path, queries: &Path, scratch: &Path) -> Vec<Figure> {
    let (rows_max, queries_max) = if quick { (QUICK_ROWS, QUICK_QUERIES) } else { (usize::MAX, usize::MAX) };
    let packages = Packages::read(base, rows_max);
    let asked = Packages::read(queries, queries_max);
    let cases = cases::all(&packages, &asked);
    let rows = rows_of(&packages);
    let collection = build(&rows, None);
    let peers = peer::run(scratch, &packages.vectors, &asked.vectors, &cases);
    let peers = peers.inspect_err(|why| eprintln!("hnswlib: {why}")).unwrap_or_default();
    let mut figures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        figures.extend(measure(&collection, &asked.vectors, case, peers.get(number).map_or(&[], |points| &points[..])));
    }
    drop(collection);
    let (clock, set) = expiry::clock();
    figures.extend(expiry::measure(&build(&expiry::with_times(&rows), Some(&clock)), &asked.vectors, &set));
    figures
}

/// A collection with all rows, in the graph as a server has it after a while of rest.
fn build(rows: &RecordBatch, clock: Option<&Arc<Clock>>) -> Arc<Collection> {
    let schema = Arc::new(Schema::from_arrow(&rows.schema()).expect("a good schema"));
    let options = CollectionOptions::default();
    let spec = CollectionSpec { id: COLLECTION, name: "packages".into(), schema: schema.clone(), options };
    let collection = Collection::new(spec, 1).expect("address space");
    clock.inspect(|clock| collection.set_clock(clock));
    let partition = Rc::new(RefCell::new(Partition::new(0)));
    partition.borrow_mut().install(Member::new(collection.clone(), 0));
    let fingerprint = schema.fingerprint();
    for first in (0..rows.num_rows()).step_by(WRITE_ROWS) {
        let some = rows.slice(first, WRITE_ROWS.min(rows.num_rows() - first));
        let batch = batch::encode(&some).expect("a batch of the schema");
        let write = Operation::Write { collection: COLLECTION, fingerprint, batch: &batch };
        let mut partition = partition.borrow_mut();
        let staged = partition.stage(write, None).expect("a good batch");
        partition.publish(staged, 1 + first as u64);
    }
    let mut indexing = Indexing::new(0, 1, partition, Arc::default());
    indexing.install(collection.clone(), 0, Indexer::new(collection.vectors[0].graph().clone(), 0));
    let view = collection.region.view();
    let mut sent = Vec::new();
    loop {
        let worked = indexing.step(|_, message| sent.push(message));
        let worked = worked || (collection.is_indexed(&view) && indexing.refine(|_, message| sent.push(message)));
        for message in sent.drain(..) {
            let Message::Bulk { round, message } = message else { unreachable!("there is one shard") };
            indexing.receive_bulk(0, round, message, |_, _| unreachable!("it goes on in steps"));
        }
        if !worked && collection.is_indexed(&view) {
            return collection;
        }
    }
}

/// Rows as a client writes them.
fn rows_of(packages: &Packages) -> RecordBatch {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let (values, dimension) = (packages.vectors.values().to_vec(), packages.vectors.dimension() as i32);
    let vectors = FixedSizeListArray::new(item, dimension, Arc::new(Float32Array::from(values)), None);
    let vectors: ArrayRef = Arc::new(vectors);
    let mut fields: Vec<Field> =
        packages.columns.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[0] = fields[0].clone().with_nullable(false);
    fields.push(Field::new("embedding", vectors.data_type().clone(), false));
    let mut columns = packages.columns.columns().to_vec();
    columns.push(vectors);
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).expect("columns of one length")
}

fn measure(collection: &Arc<Collection>, queries: &Vectors, case: &Case, peer: &[Point]) -> Vec<Figure> {
    let mut points = Vec::new();
    for ef in EFS {
        let point = ask(collection, queries, case, ef, false);
        points.push(point);
        if point.recall >= RECALL_BAR {
            break;
        }
    }
    let ours = at_bar(&points).expect("there are points");
    let exact = ask(collection, queries, case, K, true);
    assert!(exact.recall > 0.999, "{}: {exact:?}", case.name);
    let name = format!("{} ({:.2} % pass)", case.name, case.share * 100.0);
    let recall = Figure::new(format!("{name}: recall@{K}, ef {}", ours.ef), ours.recall, "");
    let qps = |of: &str| Figure::new(format!("{name}: search, 1 thread{of}"), ours.qps, "queries/s");
    let peer = at_bar(peer);
    let recall = match peer {
        Some(peer) => recall.beside(format!("hnswlib, ef {}", peer.ef), peer.recall),
        None => recall,
    };
    let mut figures = vec![recall.with_goal(Goal::AtLeast(RECALL_BAR))];
    figures.extend(peer.map(|peer| qps("").beside("hnswlib", peer.qps).with_goal(Goal::RatioAtLeast(2.0))));
    let walks = walked_part(collection, queries, case, ours.ef);
    let beside_scan = qps(&format!(", {:.0} % by the graph", walks * 100.0)).beside("exact scan", exact.qps);
    figures.push(if walks > 0.5 { beside_scan.with_goal(Goal::RatioAtLeast(2.0)) } else { beside_scan });
    figures
}

/// Part of the queries that the planner has answered by the graph.
fn walked_part(collection: &Arc<Collection>, queries: &Vectors, case: &Case, ef: usize) -> f64 {
    let mut scratch = Scratch::default();
    let mut walks = |number: usize, query: &[f32]| {
        let request = request(collection, case, number, query, ef, false);
        let mut search = Search::begin(collection.clone(), request).expect("a good search");
        while search.select(&mut scratch) {}
        search.uses_graph()
    };
    let walked = queries.iter().enumerate().filter(|(number, query)| walks(*number, query)).count();
    walked as f64 / queries.len() as f64
}

fn request(
    collection: &Collection,
    case: &Case,
    number: usize,
    query: &[f32],
    ef: usize,
    exact: bool,
) -> SearchRequest {
    let filter = Filter::parse(case.filter(number).as_bytes(), &collection.spec.schema);
    let filter = Some(Arc::new(filter.expect("a good filter")));
    SearchRequest { queries: query.to_byte_slice().into(), count: 1, k: K, ef, exact, filter, ..Default::default() }
}

fn ask(collection: &Arc<Collection>, queries: &Vectors, case: &Case, ef: usize, exact: bool) -> Point {
    let mut scratch = Scratch::default();
    let (mut qps, mut hits) = (0f64, 0);
    for _ in 0..ROUNDS {
        hits = 0;
        let started = thread_seconds();
        for (number, query) in queries.iter().enumerate() {
            let request = request(collection, case, number, query, ef, exact);
            let found = search(collection, request, &mut scratch).expect("a good search").remove(0);
            // A bar is a negated inner product, a distance is one less the inner product.
            hits += found.iter().filter(|hit| hit.distance - 1.0 <= case.bars[number]).count();
        }
        qps = qps.max(queries.len() as f64 / (thread_seconds() - started));
    }
    Point { ef, recall: hits as f64 / case.wanted_hits as f64, qps }
}
