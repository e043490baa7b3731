//! Indexes of others and of ours, each built and searched in a process of its own on the same files, told as JSON lines.
//!
//! The peers are run by `peers/index_peer.py`, ours by this program, as [`be_ours`]. Both print a line
//! `{"build_rows_per_s", "bytes_per_row"}` and then one `{"k", "ef", "recall", "qps"}` a setting.

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::graph::data::{Vectors, read_floats, write_floats};
use crate::graph::{Figures, OURS, Point, SWEEPS, Truth};

/// Environment variable that names the Python to run.
const PYTHON: &str = "BROADHEAD_PYTHON";
const BASE: &str = "base.f32";
const QUERIES: &str = "queries.f32";

/// Rows, queries and exact answers in files that every engine reads. They are removed when this is dropped.
pub struct Work {
    directory: TempDir,
    dimension: usize,
    rows: usize,
}

impl Work {
    /// Writes the files below `scratch`.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn new(scratch: &Path, base: &Vectors, queries: &Vectors, truth: &Truth) -> Work {
        let directory = TempDir::new_in(scratch).expect("a scratch directory");
        base.write_raw(&directory.path().join(BASE));
        queries.write_raw(&directory.path().join(QUERIES));
        for (k, _) in SWEEPS {
            // Peers give inner products, which are distances the other way round.
            let bars: Vec<f32> = truth.bars(k).iter().map(|bar| -bar).collect();
            write_floats(&bars_path(directory.path(), k), &bars);
        }
        Work { directory, dimension: base.dimension(), rows: base.len() }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// Measures a peer; why not, where there is none.
pub fn run_peer(peer: &str, work: &Work) -> Result<Figures, String> {
    let python = std::env::var_os(PYTHON).ok_or(format!("{PYTHON} names no Python"))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/index_peer.py");
    let sweep =
        |(k, efs): (usize, &[usize])| format!("{k}={}", efs.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
    let mut command = Command::new(python);
    command.arg(script).arg(peer).arg(work.directory.path()).arg(work.dimension.to_string()).args(SWEEPS.map(sweep));
    run(peer, command, work)
}

/// Measures one of ours, by `program`, which calls [`be_ours`].
pub fn run_ours(program: &Path, name: &str, work: &Work) -> Result<Figures, String> {
    let mut command = Command::new(program);
    command.args(["--engine", name, "--dimension", &work.dimension.to_string(), "--work"]).arg(work.directory.path());
    run(name, command, work)
}

/// Measures one of [`OURS`] on the files of a [`Work`] and prints its figures.
///
/// # Panics
/// When there is none of that name, or the files are not there.
pub fn be_ours(name: &str, directory: &Path, dimension: usize) {
    let (_, measure) = OURS.iter().find(|(ours, _)| *ours == name).expect("one of ours");
    let read = |file: &str| Vectors::read_raw(&directory.join(file), dimension);
    let bars = |(k, _)| (k, read_floats(&bars_path(directory, k)).into_iter().map(|bar| -bar).collect());
    let figures = measure(&read(BASE), &read(QUERIES), &Truth::from_bars(SWEEPS.map(bars).into()));
    println!("{}", json!({"build_rows_per_s": figures.build_rows_per_s, "bytes_per_row": figures.bytes_per_row}));
    for Point { k, ef, recall, qps } in figures.points {
        println!("{}", json!({"k": k, "ef": ef, "recall": recall, "qps": qps}));
    }
}

/// Bytes of memory of a process that are its own or mapped, and present.
///
/// # Panics
/// When it is not there.
pub fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a running process");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn bars_path(directory: &Path, k: usize) -> std::path::PathBuf {
    directory.join(format!("bars-{k}.f32"))
}

/// Runs the command of an engine, shows how far it is, and gives its figures.
fn run(name: &str, mut command: Command, work: &Work) -> Result<Figures, String> {
    let progress = progress(format!("{name}: building {} rows", work.rows));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} does not start: {error}", command.get_program().display()))?;
    let told = child.stderr.take().expect("piped");
    // Read beside the figures: a pipe that nobody empties would hold the child up.
    let told = std::thread::spawn(move || BufReader::new(told).lines().map_while(Result::ok).last());
    let mut figures = Figures { build_rows_per_s: 0.0, bytes_per_row: 0.0, points: Vec::new() };
    let mut unread = None;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok) {
        match take(&mut figures, &line) {
            Some(state) => progress.set_message(format!("{name}: {state}")),
            None => unread = Some(line),
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    progress.finish_and_clear();
    let last = told.join().expect("the reader ended").unwrap_or_default();
    if !status.success() {
        return Err(format!("{last} ({status})"));
    }
    match unread {
        Some(line) => Err(format!("it printed {line:?}, which is no figure")),
        None if figures.build_rows_per_s > 0.0 && !figures.points.is_empty() => {
            eprintln!("{name}: {} rows, {:.0} rows/s", work.rows, figures.build_rows_per_s);
            Ok(figures)
        }
        None => Err("it printed no figures".into()),
    }
}

fn progress(message: String) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        eprintln!("{message} …");
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}").expect("a good template");
    let progress = ProgressBar::new_spinner().with_style(style).with_message(message);
    progress.enable_steady_tick(Duration::from_millis(200));
    progress
}

/// Takes a line into the figures, and tells what it says; None when it is no figure.
fn take(figures: &mut Figures, line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    if let Some(rate) = line["build_rows_per_s"].as_f64() {
        figures.build_rows_per_s = rate;
        figures.bytes_per_row = line["bytes_per_row"].as_f64()?;
        return Some(format!("built, {rate:.0} rows/s; searching"));
    }
    let whole = |key: &str| Some(line[key].as_u64()? as usize);
    let point =
        Point { k: whole("k")?, ef: whole("ef")?, recall: line["recall"].as_f64()?, qps: line["qps"].as_f64()? };
    figures.points.push(point);
    Some(format!("k {}, ef {}: recall {:.4}, {:.0} queries/s", point.k, point.ef, point.recall, point.qps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_figures() {
        let mut figures = Figures { build_rows_per_s: 0.0, bytes_per_row: 0.0, points: Vec::new() };
        take(&mut figures, "{\"build_rows_per_s\": 5.5, \"bytes_per_row\": 3}").expect("a figure");
        take(&mut figures, "{\"k\": 10, \"ef\": 12, \"recall\": 0.5, \"qps\": 7}").expect("a figure");
        assert_eq!((figures.build_rows_per_s, figures.bytes_per_row), (5.5, 3.0));
        assert_eq!((figures.points[0].k, figures.points[0].ef, figures.points[0].qps), (10, 12, 7.0));
        for line in ["", "no json", "{}", "{\"k\": 10}"] {
            assert_eq!(take(&mut figures, line), None, "{line}");
        }
    }

    #[test]
    fn an_engine_that_fails_says_why() {
        let vectors = Vectors::new(vec![1.0, 0.0], 2);
        let truth = Truth::new(&vectors, &vectors, &SWEEPS.map(|(k, _)| k));
        let work = Work::new(&std::env::temp_dir(), &vectors, &vectors, &truth);
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            run("shell", command, &work)
        };
        let why = shell("echo first >&2; echo No module >&2; exit 3").expect_err("it fails");
        assert!(why.contains("No module") && why.contains('3'), "{why}");
        assert!(shell("true").is_err() && shell("echo no figure").is_err());
        let why = run("nothing", Command::new("/nonexistent/program"), &work).expect_err("it is not there");
        assert!(why.contains("nonexistent"), "{why}");
    }
}
