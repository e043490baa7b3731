//! Durable ingest over TCP, client and server on the same cores, each figure beside its baseline of the same run.
//!
//! The loads are those of `broadhead bench ingest`, against one server that is a process of its own. Memory that the machine has
//! never touched is slow to get: but for the cold start, as much of it as the loads take is touched before, each load writes every id
//! at least once before its clock starts, and ours and the baseline are measured by turns, with the median of the rounds.

mod generator;
mod peer;

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::path::server::Server;
use crate::report::{Figure, Goal, median};
use crate::wal::Bare;
use generator::{Generator, Load};

/// Elements of a vector.
const DIMENSION: usize = 384;
/// Rows of the batches that rates are compared by.
const BATCH_ROWS: usize = 10_000;
/// Element types; the first is compared to the disk.
const ELEMENTS: &[&str] = &["f32", "f16", "bf16", "i8", "u8", "i32", "bits"];
/// Bytes that the bare writer writes in a round.
const BARE_BYTES: usize = 128 << 20;
/// Names of the baselines of the disk.
const BARE: &str = "bare O_DSYNC writer";
const BARE_SMALL: &str = "bare O_DSYNC write of 4 KiB";

/// Where things are.
pub struct Setup<'a> {
    /// A smoke test on few rows.
    pub quick: bool,
    /// Program that calls [`serve`](crate::path::serve) when it gets `--serve DIR`; `broadhead` lies beside it.
    pub program: &'a Path,
    /// Directory on the disk that is meant.
    pub scratch: &'a Path,
}

/// What came of it.
pub struct Outcome {
    /// The figures.
    pub figures: Vec<Figure>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// How much is measured.
struct Size {
    rounds: usize,
    /// Words for the generator: ids and times of a load.
    time: &'static str,
    /// The same, of each combination of the sweep.
    sweep: &'static str,
    /// Rows that are written one at a time.
    single_rows: usize,
    /// Rows of the loads whose memory grows.
    growing_rows: usize,
    /// Bytes of memory to touch before.
    warm_bytes: usize,
}

const FULL: Size = Size {
    rounds: 5,
    time: "--ids 50000 --warm-up 0.4 --seconds 1",
    sweep: "--ids 50000 --warm-up 0.3 --seconds 1 --batch-rows 100,200,500,1000,2000,5000,10000,20000",
    single_rows: 2_000,
    growing_rows: 400_000,
    warm_bytes: 5 << 30,
};

const QUICK: Size = Size {
    rounds: 1,
    time: "--ids 10000 --rows 20000",
    sweep: "--ids 10000 --rows 10000 --batch-rows 1000,10000",
    single_rows: 50,
    growing_rows: 30_000,
    warm_bytes: 1 << 20,
};

/// What the figures are made by.
struct Bench<'a> {
    setup: &'a Setup<'a>,
    size: Size,
    scratch: TempDir,
    bare: Bare,
    generator: Generator,
}

/// Measures all of it.
pub fn run(setup: &Setup<'_>) -> Outcome {
    let size = if setup.quick { QUICK } else { FULL };
    let scratch = TempDir::new_in(setup.scratch).expect("a scratch directory");
    let server = Server::start(setup.program, &scratch.path().join("data"));
    let generator = Generator::new(setup.program, server.address());
    let bare = Bare::open(&scratch.path().join("bare"));
    let mut bench = Bench { setup, size, scratch, bare, generator };
    let cold = bench.large("f32", "").mb_per_s();
    touch(bench.size.warm_bytes);

    let mut figures = bench.elements();
    let warm = figures[0].value();
    figures.push(Figure::new("cold start, f32, the first load of a server", cold, "MB/s").beside("when warm", warm));
    figures.push(bench.acknowledged_in_memory());
    figures.push(bench.small_batches());
    figures.push(bench.sweep());
    figures.push(bench.single_rows());
    figures.extend(bench.one_at_a_time());
    figures.push(bench.slowest_batch());
    figures.push(bench.unaware());
    drop(server);
    figures.push(bench.replay());
    let mut notes = Vec::new();
    match peer::lancedb(bench.scratch.path(), bench.size.growing_rows / 4, bench.size.rounds.min(3)) {
        Ok(theirs) => {
            let megabytes = |rows_per_s: f64| rows_per_s * (DIMENSION * size_of::<f32>()) as f64 / 1e6;
            let figure = Figure::new("f32, durable over TCP, beside LanceDB embedded", warm, "MB/s");
            figures.push(figure.beside("LanceDB table.add", megabytes(theirs)).with_goal(Goal::RatioAtLeast(4.0)));
        }
        Err(why) => notes.push(format!("no LanceDB beside the ingest: {why}")),
    }
    Outcome { figures, notes }
}

/// Has the kernel give this process memory once, and takes nothing along: what is given next has been touched before.
fn touch(bytes: usize) {
    const PAGE: usize = 4096;
    let mut memory = vec![0_u8; bytes];
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

impl Bench<'_> {
    /// A load of large batches.
    fn large(&self, element: &str, more: &str) -> Load {
        let time = self.size.time;
        self.generator
            .run(&format!("--ack durable --type {element} --dim {DIMENSION} --batch-rows {BATCH_ROWS} {time} {more}"))
    }

    /// MB/s of the bare writer, now.
    fn bare_mb_per_s(&mut self) -> f64 {
        BARE_BYTES as f64 / 1e6 / self.bare.write_large(BARE_BYTES)
    }

    /// Pairs of two measurements by turns.
    fn by_turns(&mut self, mut ours: impl FnMut(&mut Self) -> f64, mut other: impl FnMut(&mut Self) -> f64) -> Pairs {
        let rounds = self.size.rounds;
        let round = |_| {
            let other = other(self);
            (ours(self), other)
        };
        Pairs((0..rounds).map(round).collect())
    }

    fn elements(&mut self) -> Vec<Figure> {
        let of_element = |element: &&str| {
            let pairs = self.by_turns(|bench| bench.large(element, "").mb_per_s(), Bench::bare_mb_per_s);
            pairs.figure(format!("{element}, batches of {BATCH_ROWS} rows, durable"), "MB/s", BARE)
        };
        ELEMENTS.iter().map(of_element).collect()
    }

    fn acknowledged_in_memory(&mut self) -> Figure {
        let load = |bench: &Bench<'_>, ack: &str| {
            let (time, rows) = (bench.size.time, BATCH_ROWS);
            bench.generator.run(&format!("--ack {ack} --dim {DIMENSION} --batch-rows {rows} {time}")).mb_per_s()
        };
        let pairs = self.by_turns(|bench| load(bench, "memory"), |bench| load(bench, "durable"));
        pairs.figure("acknowledged in memory, f32".to_owned(), "MB/s", "durable")
    }

    fn small_batches(&mut self) -> Figure {
        let load = |bench: &Bench<'_>, batches: &str| {
            bench.generator.run(&format!("--ack durable --dim {DIMENSION} {batches} {}", bench.size.time)).rows_per_s()
        };
        let pairs = self.by_turns(
            |bench| load(bench, "--batch-rows 100 --connections 8"),
            |bench| load(bench, "--batch-rows 5000"),
        );
        let name = "batches of 100 rows, 8 connections".to_owned();
        pairs.figure(name, "rows/s", "batches of 5000 rows").with_goal(Goal::RatioAtLeast(0.5))
    }

    fn sweep(&mut self) -> Figure {
        // Each size by turns with all others, so that a moment at which the disk is slow does not decide.
        let arguments = format!("--ack durable --dim {DIMENSION} {}", self.size.sweep);
        let rounds = self.size.rounds.min(3);
        let rounds: Vec<Vec<Load>> = (0..rounds).map(|_| self.generator.run_all(&arguments)).collect();
        let of_size = |index: usize| median(rounds.iter().map(|round| round[index].mb_per_s()).collect());
        let sizes: Vec<(f64, f64)> =
            rounds[0].iter().enumerate().map(|(index, load)| (load.figure("batch_rows"), of_size(index))).collect();
        let best = sizes.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).expect("some sizes");
        let ours = sizes.iter().find(|size| size.0 == BATCH_ROWS as f64).expect("one of the sizes");
        Figure::new(format!("batches of {BATCH_ROWS} rows, of the sweep"), ours.1, "MB/s")
            .beside(format!("the best, batches of {} rows", best.0), best.1)
            .with_goal(Goal::RatioAtLeast(0.95))
    }

    fn single_rows(&mut self) -> Figure {
        let time = self.size.time;
        let arguments =
            format!("--ack durable --dim {DIMENSION} --batch-rows 1 --connections 2 --in-flight 256 {time}");
        let rates = (0..self.size.rounds).map(|_| self.generator.run(&arguments).rows_per_s()).collect();
        Figure::new("single rows, 2 connections x 256 in flight, durable", median(rates), "writes/s")
            .with_goal(Goal::AtLeast(100_000.0))
    }

    fn one_at_a_time(&mut self) -> [Figure; 2] {
        let rows = self.size.single_rows;
        let arguments =
            format!("--ack durable --dim {DIMENSION} --batch-rows 1 --in-flight 1 --ids 10000 --rows {rows}");
        let (mut p50, mut p99) = (Pairs(Vec::new()), Pairs(Vec::new()));
        for _ in 0..self.size.rounds {
            let mut bare = self.bare.write_small_each(rows);
            bare.sort_by(f64::total_cmp);
            let load = self.generator.run(&arguments);
            let quantile = |quantile: f64| bare[((bare.len() - 1) as f64 * quantile) as usize] * 1e6;
            p50.0.push((load.figure("p50_us"), quantile(0.50)));
            p99.0.push((load.figure("p99_us"), quantile(0.99)));
        }
        let p50 = p50.figure("one row at a time, p50, durable".to_owned(), "us", BARE_SMALL);
        let p99 = p99.figure("one row at a time, p99, durable".to_owned(), "us", BARE_SMALL);
        [p50.with_goal(Goal::RatioAtMost(2.0)), p99.with_goal(Goal::RatioAtMost(3.0))]
    }

    /// New ids only, so that the server takes memory all the time.
    fn slowest_batch(&mut self) -> Figure {
        let rows = self.size.growing_rows;
        let arguments = format!(
            "--ack durable --dim {DIMENSION} --batch-rows {BATCH_ROWS} --in-flight 1 --ids {rows} --rows {rows}"
        );
        let round = |_| {
            let load = self.generator.run(&arguments);
            (load.figure("max_us") / 1e3, load.figure("p50_us") / 1e3)
        };
        let pairs = Pairs((0..self.size.rounds.min(3)).map(round).collect());
        let name = "slowest batch while memory grows".to_owned();
        pairs.figure(name, "ms", "median batch").with_goal(Goal::RatioAtMost(5.0))
    }

    fn unaware(&mut self) -> Figure {
        let pairs = self
            .by_turns(|bench| bench.large("f32", "--unaware").mb_per_s(), |bench| bench.large("f32", "").mb_per_s());
        pairs.figure("unaware client, f32".to_owned(), "MB/s", "client that knows the shards")
    }

    /// A server that is killed right after the last acknowledgement, and started again on its log alone.
    fn replay(&self) -> Figure {
        let rows = self.size.growing_rows;
        let mut rates = Vec::new();
        for round in 0..self.size.rounds.min(3) {
            let data = self.scratch.path().join(format!("replay-{round}"));
            let server = Server::start(self.setup.program, &data);
            let empty_s = server.started_s;
            let generator = Generator::new(self.setup.program, server.address());
            generator.run(&format!(
                "--ack durable --dim {DIMENSION} --batch-rows {BATCH_ROWS} --ids {rows} --rows {rows} --collection replay --keep"
            ));
            let bytes = log_bytes(&server);
            let count = |server: &Server| server.client().describe("replay").expect("the collection is there").rows;
            let before = count(&server);
            server.kill();
            let server = Server::start(self.setup.program, &data);
            assert_eq!(count(&server), before, "rows after the restart");
            let replay_s = (server.started_s - empty_s).max(1e-3);
            rates.push(bytes as f64 / 1e6 / replay_s);
            server.kill();
            std::fs::remove_dir_all(&data).expect("a directory of ours");
        }
        Figure::new("replay of the log at a restart", median(rates), "MB/s").with_goal(Goal::AtLeast(1_000.0))
    }
}

/// Bytes appended to the logs of all shards.
fn log_bytes(server: &Server) -> u64 {
    let stats: Value = serde_json::from_str(&server.client().stats().expect("an answer")).expect("JSON");
    let shards = stats["shards"].as_array().expect("a list of shards");
    shards.iter().map(|shard| shard["wal_appended_bytes"].as_u64().expect("a counter")).sum()
}

/// Two measurements of each round: ours, and what is beside it.
struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    /// The medians of both, and the median of their ratios.
    fn figure(self, name: String, unit: &'static str, baseline: &str) -> Figure {
        let of = |side: fn(&(f64, f64)) -> f64| median(self.0.iter().map(side).collect());
        Figure::new(name, of(|pair| pair.0), unit)
            .beside(baseline, of(|pair| pair.1))
            .with_ratio(of(|pair| pair.0 / pair.1))
    }
}
