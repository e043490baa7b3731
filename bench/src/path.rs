//! The whole path, as a client sees it: import over TCP until durable, index, search, restart, memory.
//!
//! Each round starts a server on an empty directory and imports all rows. The server of the last round goes on to index and
//! answer searches and is restarted from a snapshot; the others are killed right after the last acknowledgement and
//! restarted from their logs. Everything that a server says is checked against the rows.

pub(crate) mod load;
pub(crate) mod search;
pub(crate) mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::graph::{self, Vectors};
use crate::report::{Figure, Goal, median};
use crate::wal::Bare;
use load::Load;
use server::Server;

pub use server::serve;

/// Rows of a full run: those of the Debian packages. A smaller file is repeated under other ids.
const ROWS: usize = 62_436;
const QUICK_ROWS: usize = 5_000;
const QUICK_QUERIES: usize = 200;
const ROUNDS: usize = 3;
const QUICK_ROUNDS: usize = 2;
/// Restarts from one snapshot.
const RESTARTS: usize = 3;
const INDEX_TIMEOUT: Duration = Duration::from_secs(600);

/// Where things are.
pub struct Setup<'a> {
    /// A smoke test on few rows.
    pub quick: bool,
    /// Program that calls [`serve`] when it gets `--serve DIR`.
    pub program: &'a Path,
    /// Directory on the disk that is meant.
    pub scratch: &'a Path,
    /// Parquet file of rows.
    pub base: &'a Path,
    /// Parquet file of queries.
    pub queries: &'a Path,
    /// The same rows in process, where they were measured in this run.
    pub in_process: Option<&'a graph::Figures>,
}

/// What the rounds measured, a number a round.
#[derive(Default)]
struct Rounds {
    import_s: Vec<f64>,
    bare_s: Vec<f64>,
    empty_start_s: Vec<f64>,
    log_restart_s: Vec<f64>,
}

/// Measures all of it.
pub fn run(setup: &Setup<'_>) -> Vec<Figure> {
    let (rows, rounds, queries_max) =
        if setup.quick { (QUICK_ROWS, QUICK_ROUNDS, QUICK_QUERIES) } else { (ROWS, ROUNDS, usize::MAX) };
    let load = Load::new(Vectors::read(setup.base, rows).cycled(rows));
    let queries = Vectors::read(setup.queries, queries_max);
    let scratch = TempDir::new_in(setup.scratch).expect("a scratch directory");
    let mut bare = Bare::open(&scratch.path().join("bare"));
    let mut measured = Rounds::default();
    let mut figures = Vec::new();
    for round in 0..rounds {
        let data = scratch.path().join(format!("data-{round}"));
        let server = Server::start(setup.program, &data);
        measured.empty_start_s.push(server.started_s);
        let empty_bytes = server.resident_bytes();
        let writes = load.prepare(&server, &[]);
        measured.bare_s.push(bare.write_large(load.bytes()));
        let import_started = Instant::now();
        measured.import_s.push(load.import(&server, &writes));
        load.check_searches(&server);
        if round + 1 < rounds {
            server.kill();
            measured.log_restart_s.push(restart(setup.program, &data, &load));
            std::fs::remove_dir_all(&data).expect("a directory of ours");
            continue;
        }
        drop(writes);
        figures.extend(index(setup, &server, rows, import_started));
        figures.extend(memory(&server, &load, empty_bytes));
        figures.extend(search::run(&server, &load, &queries, setup.quick));
        figures.extend(snapshot(setup.program, server, &data, &load, median(measured.empty_start_s.clone())));
    }
    let mut all = import(&load, measured);
    all.append(&mut figures);
    all
}

fn import(load: &Load, measured: Rounds) -> Vec<Figure> {
    let megabytes = load.bytes() as f64 / 1e6;
    let rate = |seconds: &[f64]| median(seconds.iter().map(|seconds| megabytes / seconds).collect());
    let pairs = measured.import_s.iter().zip(&measured.bare_s);
    let ratio = median(pairs.map(|(import, bare)| bare / import).collect());
    let best = measured.import_s.iter().copied().fold(f64::INFINITY, f64::min);
    let import =
        Figure::new(format!("import of {} rows, durable, over TCP", load.rows()), rate(&measured.import_s), "MB/s")
            .beside("bare O_DSYNC writer", rate(&measured.bare_s))
            .with_ratio(ratio)
            .with_goal(Goal::AtLeast(300.0));
    let best = Figure::new("import, best round", megabytes / best, "MB/s");
    let restart = Figure::new("restart from the log alone, rows readable", median(measured.log_restart_s), "s")
        .beside("start with nothing", median(measured.empty_start_s))
        .with_goal(Goal::AtMost(1.0));
    vec![import, best, restart]
}

fn index(setup: &Setup<'_>, server: &Server, rows: usize, import_started: Instant) -> Vec<Figure> {
    let imported = Instant::now();
    let status = server.collection().wait_indexed(INDEX_TIMEOUT).expect("an answer");
    assert!(status.done && status.rows == rows as u64 && status.indexed == status.rows, "{status:?}");
    let index =
        Figure::new("index, from the first row sent", rows as f64 / import_started.elapsed().as_secs_f64(), "rows/s");
    let index = match setup.in_process {
        Some(in_process) => index.beside("in process", in_process.build_rows_per_s),
        None => index,
    };
    vec![index, Figure::new("all indexed after the import", imported.elapsed().as_secs_f64(), "s")]
}

fn memory(server: &Server, load: &Load, empty_bytes: u64) -> Vec<Figure> {
    let vector_bytes = (load.bytes() / load.rows()) as f64;
    // The server gives back what the index has freed some fifty milliseconds later.
    std::thread::sleep(Duration::from_millis(300));
    let bytes = server.resident_bytes();
    let figure = |name: &str, bytes: u64| {
        let each = bytes as f64 / load.rows() as f64;
        Figure::new(name, each, "bytes/row").beside("its vector", vector_bytes).with_goal(Goal::AtMost(3_000.0))
    };
    vec![
        figure("resident, all told", bytes),
        figure("resident, less a server with nothing", bytes.saturating_sub(empty_bytes)),
        Figure::new("resident of a server with nothing", empty_bytes as f64 / 1e6, "MB"),
    ]
}

/// Seconds from the start of the program until a client has read rows, with all of them checked afterwards.
fn restart(program: &Path, data: &Path, load: &Load) -> f64 {
    let started = Instant::now();
    let server = Server::start(program, data);
    load.check_rows(&server, 1);
    let seconds = started.elapsed().as_secs_f64();
    load.check_rows(&server, load::SAMPLE);
    load.check_searches(&server);
    assert_eq!(server.collection().index_status().expect("an answer").rows, load.rows() as u64);
    server.kill();
    seconds
}

fn snapshot(program: &Path, server: Server, data: &Path, load: &Load, empty_start_s: f64) -> Vec<Figure> {
    let done = server.client().snapshot(load::COLLECTION).expect("a snapshot");
    server.kill();
    let ready_s = (0..RESTARTS).map(|_| restart(program, data, load)).collect();
    // The graph is there as well: nothing is left to index.
    let server = Server::start(program, data);
    let status = server.collection().index_status().expect("an answer");
    assert!(status.done && status.indexed == load.rows() as u64, "{status:?} after a restart from a snapshot");
    let took_s = done.took_us as f64 / 1e6;
    vec![
        Figure::new("snapshot", done.bytes as f64 / 1e6 / took_s, "MB/s"),
        Figure::new("restart from a snapshot, rows read", median(ready_s), "s")
            .beside("start with nothing", empty_start_s)
            .with_goal(Goal::AtMost(1.0)),
    ]
}
