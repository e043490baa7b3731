//! What is left of recall and memory after rows have come and gone, beside a server that was just filled; and what options cost a search.
//!
//! One server gets all rows; then half of them, chosen by chance, are deleted and inserted again, until ten times as many rows were as there
//! are. After the first half and after all of it the server has time to link and to free, and is asked the queries. Recall varies from build to build by
//! two points at low `ef`: the mean of some fresh builds is what it is held against.

use std::path::Path;
use std::time::{Duration, Instant};

use engine::schema::Schema;
use engine::search::{SearchOptions, similarity};
use kernels::Metric;
use net::client::{Ack, Ids};
use tempfile::TempDir;

use crate::graph::{Build, Index, K, RECALL_EF, Truth, Vectors};
use crate::path::load::Load;
use crate::path::search::{ask_all, recall};
use crate::path::server::Server;
use crate::report::{Figure, Goal, median};

const QUICK_ROWS: usize = 5_000;
const QUICK_QUERIES: usize = 200;
const BATCH_QUERIES: usize = 64;
/// Fresh builds.
const FRESH: usize = 3;
/// How often half of the rows go and come again, for ten times as many rows as there are.
const TURNS: usize = 20;
const INDEX_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a server may take to come to rest.
const REST_TIMEOUT: Duration = Duration::from_secs(120);
/// How long nothing has to change: memory that nobody needs goes back by halves, a second after it was needed last.
const REST: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(100);
/// Rows of one write.
const BATCH_ROWS: usize = 4_096;
const LOSS_MAX: f64 = 0.005;
const MEMORY_MAX: f64 = 1.2;
/// Part of a query that options may take.
const OPTIONS_MAX: f64 = 0.02;
const OPTIONS_ROUNDS: u32 = 20_000;

/// Measures it; `program` calls [`crate::path::serve`] when it gets `--serve DIR`.
pub fn run(quick: bool, program: &Path, scratch: &Path, base: &Path, queries: &Path) -> Vec<Figure> {
    let (rows, queries_max) = if quick { (QUICK_ROWS, QUICK_QUERIES) } else { (usize::MAX, usize::MAX) };
    let load = Load::new(Vectors::read(base, rows));
    let queries = Vectors::read(queries, queries_max);
    let truth = Truth::new(load.vectors(), &queries, &[K]);
    let scratch = TempDir::new_in(scratch).expect("a scratch directory");
    let state = |server: &Server| {
        rest(server, if quick { Duration::ZERO } else { REST });
        let found = ask_all(&server.collection(), &queries, BATCH_QUERIES, 1);
        (recall(&found, truth.bars(K)), server.resident_bytes() as f64 / load.rows() as f64)
    };
    let (mut recalls, mut bytes, mut worn) = (Vec::new(), Vec::new(), None);
    for number in 0..if quick { 1 } else { FRESH } {
        // One at a time has its memory.
        drop(worn.take());
        let server = Server::start(program, &scratch.path().join(number.to_string()));
        let writes = load.prepare(&server, &[]);
        load.import(&server, &writes);
        let (recall, row_bytes) = state(&server);
        recalls.push(recall);
        bytes.push(row_bytes);
        worn = Some(server);
    }
    let server = worn.expect("there was a build");
    let fresh = (recalls.iter().sum::<f64>() / recalls.len() as f64, median(bytes));
    let mut figures = Vec::new();
    let mut random = Random(1);
    for turn in 1..=if quick { 2 } else { TURNS } {
        turn_over(&server, &load, &mut random);
        if turn == 1 || turn == if quick { 2 } else { TURNS } {
            let (recall, row_bytes) = state(&server);
            let name = format!("{} times as many rows as there are came anew", turn as f64 / 2.0);
            figures.push(
                Figure::new(format!("recall@{K}, ef {RECALL_EF}, after {name}"), recall, "")
                    .beside("fresh builds", fresh.0)
                    .with_goal(Goal::DifferenceAtLeast(-LOSS_MAX)),
            );
            figures.push(
                Figure::new(format!("resident after {name}"), row_bytes, "bytes/row")
                    .beside("fresh builds", fresh.1)
                    .with_goal(Goal::RatioAtMost(MEMORY_MAX)),
            );
        }
    }
    let collection = server.collection();
    figures.push(options_cost(collection.engine_schema(), load.vectors(), &queries));
    figures
}

/// Deletes half of the rows and inserts them again.
fn turn_over(server: &Server, load: &Load, random: &mut Random) {
    let collection = server.collection();
    let mut ids: Vec<u64> = (0..load.rows() as u64).collect();
    for at in (1..ids.len()).rev() {
        ids.swap(at, random.below(at as u64 + 1) as usize);
    }
    ids.truncate(load.rows() / 2);
    for ids in ids.chunks(BATCH_ROWS) {
        let deleted = collection.delete(&Ids::U64(ids.to_vec()), Ack::Durable).expect("a connection").wait();
        assert_eq!(deleted.expect("an acknowledgement").deleted, ids.len() as u64);
    }
    for ids in ids.chunks(BATCH_ROWS) {
        let written = collection.write(&load.rows_of(ids), Ack::Durable).expect("a connection").wait();
        assert_eq!(written.expect("an acknowledgement").inserted, ids.len() as u64);
    }
}

/// Waits until all rows are in the graph, nothing is linked anew and no memory comes free any more, for some time.
fn rest(server: &Server, time: Duration) {
    assert!(server.collection().wait_indexed(INDEX_TIMEOUT).expect("an answer").done);
    let state = || {
        let stats = server.client().stats().expect("an answer");
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
        let collection = &stats["collections"][0];
        let vectors = collection["vectors"].as_array().expect("a list");
        let is_refining = vectors.iter().any(|vector| vector["is_refining"].as_bool().expect("a truth value"));
        let figures = ["index_backlog_rows", "dead_rows", "bytes_committed"];
        (is_refining, figures.map(|name| collection[name].as_u64().expect("a number")))
    };
    let began = Instant::now();
    let (mut last, mut since) = (state(), Instant::now());
    while since.elapsed() < time && began.elapsed() < REST_TIMEOUT {
        std::thread::sleep(LOOK);
        let now = state();
        if now != last || now.0 {
            (last, since) = (now, Instant::now());
        }
    }
}

/// What a search does more for its options, per query, beside the whole of a query in process.
fn options_cost(schema: &Schema, base: &Vectors, queries: &Vectors) -> Figure {
    let (index, _) = Index::build(base, Build::Bulk);
    let query_ns = 1e9 / index.queries_per_s(queries, RECALL_EF, 1, 1);
    let (json, started) = (br#"{"score": true}"#, Instant::now());
    let mut sum = 0.0;
    for round in 0..OPTIONS_ROUNDS {
        let options = SearchOptions::parse(std::hint::black_box(&json[..]), schema).expect("good options");
        assert!(options.score);
        let distances = (0..K).map(|place| std::hint::black_box(round as f32 * 1e-6 + place as f32 * 1e-3));
        sum += distances.map(|distance| similarity(Metric::Cosine, base.dimension(), distance)).sum::<f32>();
    }
    let options_ns = started.elapsed().as_nanos() as f64 / f64::from(OPTIONS_ROUNDS);
    assert!(sum > 0.0);
    Figure::new(format!("options read and {K} similarities"), options_ns, "ns")
        .beside(format!("a query in process, ef {RECALL_EF}"), query_ns)
        .with_goal(Goal::RatioAtMost(OPTIONS_MAX))
}

/// The same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        engine::placement::splitmix64(self.0) % limit
    }
}
