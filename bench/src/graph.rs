//! The graph beside hnswlib, on real vectors: how fast two cores build it, and how fast one core searches it at which
//! recall. Both run in this process's time, on the same rows, so that the ratios carry over to other machines.
//!
//! Ours: two shards on two threads that exchange edges over the mesh's rings, traversal on codes, the best
//! candidates ranked again on f32. Recall counts every row that is at least as near as the exact tenth.

pub mod data;
pub mod exact;
mod setup;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use engine::hnsw::{Bulk, BulkPart, BulkRows, BulkStep, Edge, EdgeOutbox, Graph, GraphParams, Indexer, SearchScratch};
use engine::mesh::{Consumer, Producer, ring};

pub use data::Vectors;
pub use exact::Truth;
pub use setup::{CodeSpace, ROW_BITS, SHARDS};

use crate::engines::{self, Work};
use crate::report::{Figure, Goal};

/// Results of a query.
pub const K: usize = 10;
/// Results of a query that wants many.
pub const K_WIDE: usize = 100;
/// Candidates of a search by number of results, swept to draw recall against speed.
pub const SWEEPS: [(usize, &[usize]); 2] =
    [(K, &[10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]), (K_WIDE, &[100, 128, 192, 256, 384, 512])];
/// Recall at which speeds are compared.
const RECALL_BAR: f64 = 0.95;
/// Setting at which recalls are compared.
pub const RECALL_EF: usize = 64;
/// Rows between two exchanges of edges.
const BATCH_ROWS: usize = 64;
/// Batches of edges on the way from one shard to the other.
const RING_BATCHES: usize = 1 << 10;
const QUICK_ROWS: usize = 5_000;
const QUICK_QUERIES: usize = 200;

/// One setting of a search.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Results.
    pub k: usize,
    /// Candidates.
    pub ef: usize,
    /// Share of the exact results that were found.
    pub recall: f64,
    /// Queries a second, one thread, best of three.
    pub qps: f64,
}

/// Figures of one index.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Rows a second, two threads.
    pub build_rows_per_s: f64,
    /// Memory of the index, with the vectors that it keeps, a row: what the process grew by.
    pub bytes_per_row: f64,
    /// By number of results and rising ef.
    pub points: Vec<Point>,
}

impl Figures {
    /// The setting with this ef of [`K`] results.
    pub fn point(&self, ef: usize) -> Option<&Point> {
        self.points.iter().find(|point| point.k == K && point.ef == ef)
    }

    /// Queries a second for `k` results at a recall, read off the line between the two settings around it; None when it
    /// is not reached.
    pub fn qps_at(&self, k: usize, recall: f64) -> Option<f64> {
        let points: Vec<&Point> = self.points.iter().filter(|point| point.k == k).collect();
        let above = points.iter().position(|point| point.recall >= recall)?;
        let Some(below) = above.checked_sub(1) else { return Some(points[0].qps) };
        let (below, above) = (points[below], points[above]);
        let share = (recall - below.recall) / (above.recall - below.recall);
        Some((below.qps.ln() * (1.0 - share) + above.qps.ln() * share).exp())
    }
}

/// What a run measured.
pub struct Outcome {
    /// For the report, each beside hnswlib's where that was measured too.
    pub figures: Vec<Figure>,
    /// Ours.
    pub ours: Figures,
    /// Whether hnswlib was there to compare to.
    pub has_peer: bool,
}

/// Measures on the `embedding` columns of two Parquet files; with `quick` on few rows, as a smoke test.
///
/// hnswlib is measured too when `BROADHEAD_PYTHON` names a Python that has it.
pub fn run(quick: bool, base: &Path, queries: &Path, scratch: &Path) -> Outcome {
    let (rows_max, queries_max) = if quick { (QUICK_ROWS, QUICK_QUERIES) } else { (usize::MAX, usize::MAX) };
    let base = Vectors::read(base, rows_max);
    let queries = Vectors::read(queries, queries_max);
    let truth = Truth::new(&base, &queries, &SWEEPS.map(|(k, _)| k));
    let bulk = measure(&base, &queries, &truth, Build::Bulk);
    let ours = measure(&base, &queries, &truth, Build::Streaming);
    let peer = engines::run_peer("hnswlib", &Work::new(scratch, &base, &queries, &truth))
        .inspect_err(|why| eprintln!("hnswlib: {why}"))
        .ok();
    let mut figures = report(base.len(), "bulk", &bulk, peer.as_ref());
    figures.extend(report(base.len(), "row by row", &ours, peer.as_ref()));
    Outcome { figures, ours, has_peer: peer.is_some() }
}

/// One of our ways to make a graph.
pub type Measure = fn(&Vectors, &Vectors, &Truth) -> Figures;

/// Our ways to make a graph, by name.
pub const OURS: [(&str, Measure); 3] = [
    ("broadhead, bulk", |base, queries, truth| measure(base, queries, truth, Build::Bulk)),
    ("broadhead, bulk, linked anew", |base, queries, truth| measure(base, queries, truth, Build::Refined)),
    ("broadhead, streaming", |base, queries, truth| measure(base, queries, truth, Build::Streaming)),
];

/// Builds and searches; the answers are checked by their recall.
pub fn measure(base: &Vectors, queries: &Vectors, truth: &Truth, how: Build) -> Figures {
    let before_bytes = engines::resident_bytes(std::process::id());
    let (index, build_rows_per_s) = Index::build(base, how);
    engine::heap::note_freed();
    engine::heap::give_back();
    let grown_bytes = engines::resident_bytes(std::process::id()).saturating_sub(before_bytes);
    let bytes_per_row = grown_bytes as f64 / base.len() as f64;
    let sweep = |(k, efs): (usize, &'static [usize])| efs.iter().map(move |&ef| (k, ef));
    let points = SWEEPS.into_iter().flat_map(sweep);
    let points: Vec<Point> = points.map(|(k, ef)| search_all(&index, queries, truth, k, ef)).collect();
    assert!(points.last().is_some_and(|point| point.recall > 0.9), "the graph does not find what is there: {points:?}");
    Figures { build_rows_per_s, bytes_per_row, points }
}

/// A graph in this process, with what it is searched by.
pub struct Index {
    graph: Arc<Graph>,
    space: CodeSpace,
}

impl Index {
    /// Inserts all rows; gives how many a second, too.
    pub fn build(base: &Vectors, how: Build) -> (Index, f64) {
        let space = CodeSpace::new(base);
        let graph = Graph::new(GraphParams::default(), SHARDS, ROW_BITS).expect("address space for the graph");
        let started = Instant::now();
        build(&graph, &space, base.len(), how);
        let rows_per_s = base.len() as f64 / started.elapsed().as_secs_f64();
        (Index { graph, space }, rows_per_s)
    }

    /// Queries a second on so many threads, each of which asks every query `passes` times.
    pub fn queries_per_s(&self, queries: &Vectors, ef: usize, threads: usize, passes: usize) -> f64 {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    (0..passes).for_each(|_| self.search_each(queries, K, ef, |_, ranked| assert!(ranked.len() >= K)))
                });
            }
        });
        (queries.len() * threads * passes) as f64 / started.elapsed().as_secs_f64()
    }

    /// Searches for one query after the other, and hands each one's number and ranked results to `each`.
    fn search_each(&self, queries: &Vectors, k: usize, ef: usize, mut each: impl FnMut(usize, &[(f32, u32)])) {
        let mut scratch = SearchScratch::new();
        let mut code = Vec::new();
        let (mut found, mut ranked) = (Vec::new(), Vec::new());
        for (number, query) in queries.iter().enumerate() {
            self.space.encode(query, &mut code);
            self.graph.search(&self.space, &code, ef, |_| true, &mut scratch, &mut found);
            self.space.rerank(query, &found, k, &mut ranked);
            each(number, &ranked);
        }
    }
}

/// How a graph is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// Row by row: each is found from the moment on that it is in.
    Streaming,
    /// All at once, as a server does where many rows wait.
    Bulk,
    /// All at once, and then linked anew, as a server does when it has nothing else to do.
    Refined,
}

/// What the two shards send each other.
enum Sent {
    Edges(Vec<Edge>),
    Bulk(BulkPart),
}

/// Takes in all rows, each shard its own.
fn build(graph: &Arc<Graph>, space: &CodeSpace, rows: usize, build: Build) {
    // Shards with rows left, and batches that are not applied.
    let in_flight = AtomicUsize::new(SHARDS);
    let all_are_in = Barrier::new(SHARDS);
    let (to_second, from_first) = ring::<Sent>(RING_BATCHES);
    let (to_first, from_second) = ring::<Sent>(RING_BATCHES);
    std::thread::scope(|scope| {
        for (shard, sender, receiver) in [(0, to_second, from_second), (1, to_first, from_first)] {
            let (in_flight, all_are_in) = (&in_flight, &all_are_in);
            scope.spawn(move || {
                let mut builder = Builder {
                    indexer: Indexer::new(graph.clone(), shard),
                    space,
                    outbox: EdgeOutbox::new(SHARDS),
                    sender,
                    receiver,
                    unsent: VecDeque::new(),
                    parts: Vec::new(),
                    in_flight,
                };
                builder.insert(rows, build);
                if build != Build::Streaming {
                    builder.bulk(rows);
                }
                if build == Build::Refined {
                    in_flight.fetch_add(1, Ordering::SeqCst);
                    all_are_in.wait();
                    builder.refine(rows);
                }
                builder.indexer.set_indexed(setup::rows_of_shard(rows, shard).count() as u64);
            });
        }
    });
}

/// A shard while it builds.
struct Builder<'a> {
    indexer: Indexer,
    space: &'a CodeSpace,
    outbox: EdgeOutbox,
    sender: Producer<Sent>,
    receiver: Consumer<Sent>,
    unsent: VecDeque<Sent>,
    /// What was said in a bulk round, and by whom.
    parts: Vec<(usize, BulkPart)>,
    in_flight: &'a AtomicUsize,
}

impl Builder<'_> {
    /// Takes in what the other shard sent, and sends what waits. `done` things are no longer in flight.
    fn exchange(&mut self, done: usize) {
        let (indexer, outbox, parts) = (&mut self.indexer, &mut self.outbox, &mut self.parts);
        let other = 1 - indexer.shard();
        let mut applied = 0;
        self.receiver.drain(RING_BATCHES, |sent| match sent {
            Sent::Edges(edges) => {
                applied += 1;
                indexer.apply(self.space, &edges, outbox);
            }
            Sent::Bulk(part) => parts.push((other, part)),
        });
        let edges = outbox.take(other);
        if !edges.is_empty() {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            self.unsent.push_back(Sent::Edges(edges));
        }
        self.sender.push_batch(&mut self.unsent);
        // Last, so that what these batches gave rise to is counted before they are not.
        self.in_flight.fetch_sub(applied + done, Ordering::SeqCst);
    }

    /// Inserts the shard's rows; before a bulk round only those that such a round does not take.
    fn insert(&mut self, rows: usize, build: Build) {
        let mut mine = setup::rows_of_shard(rows, self.indexer.shard()).enumerate();
        let mut inserting = true;
        while self.in_flight.load(Ordering::SeqCst) > 0 {
            let mut inserted = 0;
            while inserted < BATCH_ROWS && inserting {
                match mine.next() {
                    Some((at, row)) if build == Build::Streaming || at == 0 || self.indexer.reaches_higher(row) => {
                        self.indexer.insert(self.space, row, &mut self.outbox);
                        inserted += 1;
                    }
                    Some(_) => (),
                    None => {
                        inserting = false;
                        self.exchange(1);
                    }
                }
            }
            self.exchange(0);
        }
    }

    /// Links the shard's rows anew.
    fn refine(&mut self, rows: usize) {
        let mut mine = setup::rows_of_shard(rows, self.indexer.shard()).peekable();
        let mut refining = true;
        while self.in_flight.load(Ordering::SeqCst) > 0 {
            mine.by_ref().take(BATCH_ROWS).for_each(|row| self.indexer.refine(self.space, row, &mut self.outbox));
            let is_done = refining && mine.peek().is_none();
            refining &= !is_done;
            self.exchange(usize::from(is_done));
        }
    }

    /// Takes in the rest in one round.
    fn bulk(&mut self, rows: usize) {
        let graph = self.indexer.graph().clone();
        let shard = self.indexer.shard();
        let (nodes, new) = setup::rows_of_shard(rows, shard).partition(|&row| graph.contains(row));
        let mut said = Vec::new();
        let mut say = |to: usize, part: BulkPart| said.push((to, part));
        let bulk = Bulk::begin(self.space, SHARDS, shard, BulkRows { new, nodes }, &mut say);
        let mut bulk = bulk.expect("codes have a tile kernel");
        let mut flushing = false;
        loop {
            for (to, part) in said.drain(..) {
                if to == shard { bulk.receive(shard, part) } else { self.unsent.push_back(Sent::Bulk(part)) }
            }
            self.exchange(0);
            self.parts.drain(..).for_each(|(from, part)| bulk.receive(from, part));
            let mut say = |to: usize, part: BulkPart| said.push((to, part));
            if flushing && self.in_flight.load(Ordering::SeqCst) == 0 {
                flushing = false;
                bulk.flushed(&mut say);
            }
            match bulk.step(&mut self.indexer, self.space, &mut self.outbox, &mut say) {
                BulkStep::Worked => (),
                BulkStep::Waits => std::thread::yield_now(),
                BulkStep::Flush => flushing = true,
                BulkStep::Done => return,
            }
        }
    }
}

fn search_all(index: &Index, queries: &Vectors, truth: &Truth, k: usize, ef: usize) -> Point {
    let bars = truth.bars(k);
    let mut qps = 0f64;
    let mut hits = 0;
    for _ in 0..3 {
        hits = 0;
        let started = Instant::now();
        index.search_each(queries, k, ef, |number, ranked| {
            hits += ranked.iter().take(k).filter(|result| result.0 <= bars[number]).count();
        });
        qps = qps.max(queries.len() as f64 / started.elapsed().as_secs_f64());
    }
    Point { k, ef, recall: hits as f64 / (queries.len() * k) as f64, qps }
}

fn report(rows: usize, how: &str, ours: &Figures, peer: Option<&Figures>) -> Vec<Figure> {
    let beside = |figure: Figure, value: Option<f64>| match value {
        Some(value) => figure.beside("hnswlib", value),
        None => figure,
    };
    let build = Figure::new(format!("build, {how}, {rows} rows, 2 threads"), ours.build_rows_per_s, "rows/s");
    let build = beside(build, peer.map(|peer| peer.build_rows_per_s));
    let mut figures = vec![build.with_goal(Goal::RatioAtLeast(1.0))];
    let bar = format!("{how}: search, recall@{K} {RECALL_BAR}, 1 thread");
    let at_bar = Figure::new(bar, ours.qps_at(K, RECALL_BAR).unwrap_or(0.0), "queries/s");
    figures.push(beside(at_bar, peer.and_then(|peer| peer.qps_at(K, RECALL_BAR))).with_goal(Goal::RatioAtLeast(1.0)));
    for point in ours.points.iter().filter(|point| point.k == K) {
        let ef = point.ef;
        let peer = peer.and_then(|peer| peer.point(ef));
        let recall = Figure::new(format!("{how}: recall@{K}, ef {ef}"), point.recall, "");
        let recall = beside(recall, peer.map(|point| point.recall));
        let is_judged = ef == RECALL_EF;
        figures.push(if is_judged { recall.with_goal(Goal::DifferenceAtLeast(-0.01)) } else { recall });
        let qps = Figure::new(format!("{how}: search, ef {ef}, 1 thread"), point.qps, "queries/s");
        figures.push(beside(qps, peer.map(|point| point.qps)));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_read_off_between_settings() {
        let point = |k, recall, qps| Point { k, ef: 1, recall, qps };
        let figures = Figures {
            build_rows_per_s: 1.0,
            bytes_per_row: 1.0,
            points: vec![point(K_WIDE, 0.5, 7.0), point(K, 0.9, 400.0), point(K, 1.0, 100.0)],
        };
        assert!((figures.qps_at(K, 0.95).unwrap() - 200.0).abs() < 1e-9);
        assert_eq!(figures.qps_at(K, 0.5), Some(400.0));
        assert_eq!(figures.qps_at(K, 1.1), None);
    }
}
