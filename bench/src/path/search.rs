//! Searches over TCP beside searches in process: what the way there and back costs.
//!
//! Rates stand beside those of an index of the same rows in this process, on as many threads as the server has shards, measured in
//! turns with them. The client of the server takes its share of the same cores.

use std::collections::VecDeque;
use std::time::Instant;

use hdrhistogram::Histogram;
use net::client::{Collection, Hit, Pending, Queries, SearchReply, SearchRequest};

use super::load::Load;
use super::server::Server;
use crate::graph::{Build, Index, K, RECALL_EF, Truth, Vectors};
use crate::report::{Figure, Goal, median};

/// Queries of one request, where they come in batches.
const BATCH_QUERIES: usize = 64;
/// Requests of one query each that are on their way at the same time, where they are pipelined.
const PIPELINED: usize = 32;
/// Queries of a round, at least; with `quick`, every query once.
const ROUND_QUERIES: usize = 4_000;
const ROUNDS: usize = 5;
/// Shares of the rate in process that are to be reached over TCP.
const BATCHES_SHARE: f64 = 0.7;
const PIPELINED_SHARE: f64 = 0.4;
/// Two ways to compute one distance differ by this, at most.
const TOLERANCE: f32 = 1e-5;

/// Measures one client.
pub fn run(server: &Server, load: &Load, queries: &Vectors, quick: bool) -> Vec<Figure> {
    let truth = Truth::new(load.vectors(), queries, &[K]);
    let bars = truth.bars(K);
    let (pings_us, searches_us, singly) = one_at_a_time(server, queries);
    let found = recall(&singly, bars);
    assert!(found > 0.9, "recall {found} over TCP");
    let at = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    let latency = |name: &str, quantile| {
        Figure::new(format!("search over TCP, ef {RECALL_EF}, {name}"), at(&searches_us, quantile), "us")
            .beside(format!("PING, {name}"), at(&pings_us, quantile))
    };
    let mut figures = vec![latency("p50", 0.50), latency("p99", 0.99)];
    figures.extend(rates(server, load, queries, quick, bars, found));
    figures.push(Figure::new(format!("recall@{K} over TCP, ef {RECALL_EF}"), found, ""));
    figures
}

/// Latencies in ns of pings and of single queries on the same connections, and what was found.
fn one_at_a_time(server: &Server, queries: &Vectors) -> (Histogram<u64>, Histogram<u64>, Vec<Vec<Hit>>) {
    let new = || Histogram::<u64>::new(3).expect("three digits");
    let (mut pings, mut searches) = (new(), new());
    let collection = server.collection();
    let shards = server.client().server().shards;
    let each: Vec<&[f32]> = queries.iter().collect();
    let mut found = Vec::new();
    for round in 0..=1 {
        found.clear();
        // Requests go to the shards in turn: so each connection carries both.
        for some in each.chunks(shards) {
            let record = |histogram: &mut Histogram<u64>, started: Instant| {
                // The first round warms up.
                if round > 0 {
                    histogram.record(started.elapsed().as_nanos() as u64).expect("the histogram grows");
                }
            };
            for _ in 0..shards {
                let started = Instant::now();
                server.client().ping().expect("an answer");
                record(&mut pings, started);
            }
            for query in some {
                let started = Instant::now();
                found.extend(send(&collection, query).wait().expect("an answer").hits);
                record(&mut searches, started);
            }
        }
    }
    (pings, searches, found)
}

/// Queries a second in batches and one by one, each beside the rate in process.
fn rates(server: &Server, load: &Load, queries: &Vectors, quick: bool, bars: &[f32], expected: f64) -> Vec<Figure> {
    let (index, _) = Index::build(load.vectors(), Build::Bulk);
    let collection = server.collection();
    let threads = server.client().server().shards;
    let passes = if quick { 1 } else { ROUND_QUERIES.div_ceil(queries.len()) };
    let (mut in_process, mut batches, mut singles) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        in_process.push(index.queries_per_s(queries, RECALL_EF, threads, passes));
        for (in_flight, request_queries, rates) in [(1, BATCH_QUERIES, &mut batches), (PIPELINED, 1, &mut singles)] {
            let started = Instant::now();
            for _ in 0..passes {
                let found = ask_all(&collection, queries, request_queries, in_flight);
                let recall = recall(&found, bars);
                assert!((recall - expected).abs() < 0.01, "{request_queries} queries a request: recall {recall}");
            }
            rates.push((queries.len() * passes) as f64 / started.elapsed().as_secs_f64());
        }
    }
    let figure = |name: String, rates: Vec<f64>, share| {
        let ratios = rates.iter().zip(&in_process).map(|(rate, in_process)| rate / in_process).collect();
        Figure::new(name, median(rates), "queries/s")
            .beside(format!("in process, {threads} threads"), median(in_process.clone()))
            .with_ratio(median(ratios))
            .with_goal(Goal::RatioAtLeast(share))
    };
    vec![
        figure(format!("search over TCP, batches of {BATCH_QUERIES}, one at a time"), batches, BATCHES_SHARE),
        figure(format!("search over TCP, single queries, {PIPELINED} in flight"), singles, PIPELINED_SHARE),
    ]
}

/// Asks all queries, so many a request and so many requests in flight; gives what was found.
pub fn ask_all(collection: &Collection, queries: &Vectors, request_queries: usize, in_flight: usize) -> Vec<Vec<Hit>> {
    let mut found = Vec::new();
    let mut pending = VecDeque::new();
    let mut take = |pending: &mut VecDeque<Pending<SearchReply>>, left| {
        while pending.len() > left {
            let oldest = pending.pop_front().expect("there is more than is to be left");
            found.extend(oldest.wait().expect("an answer").hits);
        }
    };
    for some in queries.values().chunks(request_queries * queries.dimension()) {
        take(&mut pending, in_flight - 1);
        pending.push_back(send(collection, some));
    }
    take(&mut pending, 0);
    found
}

/// Sends queries, packed, as one request.
pub fn send(collection: &Collection, queries: &[f32]) -> Pending<SearchReply> {
    let request = SearchRequest { queries: Queries::F32(queries), k: K, ef: Some(RECALL_EF), ..Default::default() };
    collection.search(&request).expect("a connection")
}

/// Share of the results that are as near as the exact ones.
pub fn recall(found: &[Vec<Hit>], bars: &[f32]) -> f64 {
    assert_eq!(found.len(), bars.len(), "an answer for each query");
    let hits = found.iter().zip(bars).flat_map(|(hits, bar)| {
        // A bar is a negated inner product of unit vectors, a hit's distance 1 less that product.
        hits.iter().filter(move |hit| hit.distance - 1.0 <= bar + TOLERANCE)
    });
    hits.count() as f64 / (found.len() * K) as f64
}
