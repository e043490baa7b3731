//! Searches over TCP beside searches in process: what the way there and back costs.

use std::time::Instant;

use hdrhistogram::Histogram;
use net::client::{Hit, Queries, SearchRequest};

use super::load::Load;
use super::server::Server;
use crate::graph::{self, K, RECALL_EF, Truth, Vectors};
use crate::report::{Figure, median};

/// Queries of one request, where they come in batches.
const BATCH_QUERIES: usize = 64;
const ROUNDS: usize = 3;
/// Two ways to compute one distance differ by this, at most.
const TOLERANCE: f32 = 1e-5;

/// Measures one client that asks one thing at a time.
pub fn run(server: &Server, load: &Load, queries: &Vectors, in_process: Option<&graph::Figures>) -> Vec<Figure> {
    let truth = Truth::new(load.vectors(), queries, &[K]);
    let bars = truth.bars(K);
    let in_process = in_process.and_then(|figures| figures.point(RECALL_EF));
    let (latency_us, singly) = ask_singly(server, queries);
    let (qps, together) = ask_together(server, queries);
    let recall = recall(&singly, bars);
    assert!(recall > 0.9, "recall {recall} over TCP");
    assert!((recall - self::recall(&together, bars)).abs() < 0.01, "batches answer otherwise than single queries");

    let beside = |figure: Figure, value: Option<f64>| match value {
        Some(value) => figure.beside("in process, 1 thread", value),
        None => figure,
    };
    let at = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1e3;
    let p50 = Figure::new(format!("search over TCP, ef {RECALL_EF}, p50"), at(0.50), "us");
    vec![
        beside(p50, in_process.map(|point| 1e6 / point.qps)),
        Figure::new(format!("search over TCP, ef {RECALL_EF}, p99"), at(0.99), "us"),
        beside(
            Figure::new(format!("search over TCP, batches of {BATCH_QUERIES}"), qps, "queries/s"),
            in_process.map(|point| point.qps),
        ),
        beside(
            Figure::new(format!("recall@{K} over TCP, ef {RECALL_EF}"), recall, ""),
            in_process.map(|point| point.recall),
        ),
    ]
}

/// Latency of single queries in ns, and what was found.
fn ask_singly(server: &Server, queries: &Vectors) -> (Histogram<u64>, Vec<Vec<Hit>>) {
    let mut histogram = Histogram::new(3).expect("three digits");
    let mut found = Vec::new();
    for round in 0..=1 {
        found.clear();
        for query in queries.iter() {
            let started = Instant::now();
            found.extend(ask(server, query));
            // The first round warms up.
            if round > 0 {
                histogram.record(started.elapsed().as_nanos() as u64).expect("the histogram grows");
            }
        }
    }
    (histogram, found)
}

/// Queries a second in batches, and what was found.
fn ask_together(server: &Server, queries: &Vectors) -> (f64, Vec<Vec<Hit>>) {
    let mut found = Vec::new();
    let round = |_| {
        found.clear();
        let started = Instant::now();
        for batch in queries.values().chunks(BATCH_QUERIES * queries.dimension()) {
            found.extend(ask(server, batch));
        }
        queries.len() as f64 / started.elapsed().as_secs_f64()
    };
    let qps = median((0..ROUNDS).map(round).collect());
    (qps, found)
}

fn ask(server: &Server, queries: &[f32]) -> Vec<Vec<Hit>> {
    let request = SearchRequest { queries: Queries::F32(queries), k: K, ef: Some(RECALL_EF), ..Default::default() };
    server.collection().search(&request).expect("a connection").wait().expect("an answer").hits
}

/// Share of the results that are as near as the exact ones.
fn recall(found: &[Vec<Hit>], bars: &[f32]) -> f64 {
    assert_eq!(found.len(), bars.len(), "an answer for each query");
    let hits = found.iter().zip(bars).flat_map(|(hits, bar)| {
        // A bar is a negated inner product of unit vectors, a hit's distance 1 less that product.
        hits.iter().filter(move |hit| hit.distance - 1.0 <= bar + TOLERANCE)
    });
    hits.count() as f64 / (found.len() * K) as f64
}
