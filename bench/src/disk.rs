//! What it costs to keep full vectors on disk: memory of a row and searches over TCP, beside a server that has them in memory.
//!
//! Two servers get the same rows, made as those of the section `scale`, and are asked in turns. What is asked of the second comes from the page cache in one measurement; in
//! the other its file is dropped from there before every request, so that each vector is read from the device.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;

use crate::graph::{K, RECALL_EF, Truth, Vectors};
use crate::path::load::Load;
use crate::path::search::{ask_all, recall, send};
use crate::path::server::Server;
use crate::report::{Figure, Goal, median};
use crate::scale::synthetic::Source;

/// So many that the newest chunk of a shard, which stays in memory, is a small part.
const ROWS: usize = 125_000;
const QUICK_ROWS: usize = 10_000;
const QUICK_QUERIES: usize = 200;
const ROUNDS: usize = 5;
const BATCH_QUERIES: usize = 64;
const INDEX_TIMEOUT: Duration = Duration::from_secs(600);
/// How long vectors may take to leave memory once they are indexed.
const MOVE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a row in memory, where its vector is not.
const ROW_BYTES_MAX: f64 = 600.0;

/// Measures both; `program` calls [`crate::path::serve`] when it gets `--serve DIR`.
pub fn run(quick: bool, program: &Path, scratch: &Path, base: &Path, queries: &Path) -> Vec<Figure> {
    let (rows, queries_max) = if quick { (QUICK_ROWS, QUICK_QUERIES) } else { (ROWS, usize::MAX) };
    let load = Load::new(Source::new(Vectors::read(base, rows)).rows(rows));
    let queries = Vectors::read(queries, queries_max);
    let truth = Truth::new(load.vectors(), &queries, &[K]);
    let scratch = TempDir::new_in(scratch).expect("a scratch directory");
    let started = |name: &str, metadata: &[(&'static str, &'static str)]| {
        let server = Server::start(program, &scratch.path().join(name));
        let empty = server.resident_bytes();
        let writes = load.prepare(&server, metadata);
        load.import(&server, &writes);
        drop(writes);
        assert!(server.collection().wait_indexed(INDEX_TIMEOUT).expect("an answer").done);
        (server, empty)
    };
    let (in_memory, empty) = started("memory", &[]);
    std::thread::sleep(Duration::from_secs(1));
    let row_bytes = |bytes: u64| bytes.saturating_sub(empty) as f64 / load.rows() as f64;
    let memory_row_bytes = row_bytes(in_memory.resident_bytes());
    let (on_disk, _) = started("disk", &[("broadhead.vectors", "disk")]);
    let bytes = wait_moved(&on_disk);
    let disk_row_bytes = row_bytes(on_disk.resident_bytes());
    let files = deleted_files(on_disk.process());
    assert!(!files.is_empty(), "the server has a file of vectors");

    let (mut memory_rates, mut cached, mut read) = (Vec::new(), Vec::new(), Vec::new());
    let mut recalls = (0.0, 0.0);
    for _ in 0..ROUNDS {
        let (rate, found) = rate(&in_memory, &queries, truth.bars(K), &[]);
        memory_rates.push(rate);
        recalls.0 = found;
        let (rate, found) = self::rate(&on_disk, &queries, truth.bars(K), &[]);
        cached.push(rate);
        recalls.1 = found;
        read.push(self::rate(&on_disk, &queries, truth.bars(K), &files).0);
    }
    let moved = bytes as f64 / (load.rows() * queries.dimension() * size_of::<f32>()) as f64;
    let searches = |name: &str, rates: Vec<f64>| {
        let ratios = rates.iter().zip(&memory_rates).map(|(rate, memory)| rate / memory).collect();
        Figure::new(
            format!("search over TCP, batches of {BATCH_QUERIES}, ef {RECALL_EF}, {name}"),
            median(rates),
            "queries/s",
        )
        .beside("in memory", median(memory_rates.clone()))
        .with_ratio(median(ratios))
    };
    vec![
        Figure::new("resident, less a server with nothing, vectors on disk", disk_row_bytes, "bytes/row")
            .beside("in memory", memory_row_bytes)
            .with_goal(Goal::AtMost(ROW_BYTES_MAX)),
        Figure::new("vectors on disk, of all", moved, ""),
        searches("vectors in the page cache", cached.clone()),
        searches("vectors read from the device", read),
        Figure::new(format!("recall@{K}, vectors on disk"), recalls.1, "").beside("in memory", recalls.0),
    ]
}

/// Waits until no more vectors leave memory; gives how many bytes have.
fn wait_moved(server: &Server) -> u64 {
    let moved = || {
        let stats: serde_json::Value =
            serde_json::from_str(&server.client().stats().expect("an answer")).expect("JSON");
        stats["collections"][0]["vector_bytes_on_disk"].as_u64().expect("a number")
    };
    let (began, mut before) = (Instant::now(), 0);
    loop {
        // Twice the pace at which a server looks for more.
        std::thread::sleep(Duration::from_secs(3));
        let now = moved();
        if now > 0 && now == before {
            return now;
        }
        assert!(began.elapsed() < MOVE_TIMEOUT, "{now} bytes have left memory");
        before = now;
    }
}

/// The files of a process that have no name: those of vectors.
fn deleted_files(process: u32) -> Vec<File> {
    let entries = std::fs::read_dir(format!("/proc/{process}/fd")).expect("a process of ours");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_deleted = |path: &std::path::PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| {
            let target = target.to_string_lossy();
            target.starts_with('/') && target.ends_with("(deleted)") && !target.starts_with("/memfd:")
        })
    };
    paths.filter(is_deleted).filter_map(|path| File::open(path).ok()).collect()
}

/// Queries a second and recall. `dropped` are files that are taken out of the page cache before every request; that is not timed.
fn rate(server: &Server, queries: &Vectors, bars: &[f32], dropped: &[File]) -> (f64, f64) {
    let collection = server.collection();
    if dropped.is_empty() {
        let started = Instant::now();
        let found = ask_all(&collection, queries, BATCH_QUERIES, 1);
        return (queries.len() as f64 / started.elapsed().as_secs_f64(), recall(&found, bars));
    }
    let (mut found, mut seconds) = (Vec::new(), 0.0);
    for some in queries.values().chunks(BATCH_QUERIES * queries.dimension()) {
        for file in dropped {
            fadvise(file.as_fd(), 0, None, Advice::DontNeed).expect("pages that nobody writes");
        }
        let started = Instant::now();
        found.extend(send(&collection, some).wait().expect("an answer").hits);
        seconds += started.elapsed().as_secs_f64();
    }
    (queries.len() as f64 / seconds, recall(&found, bars))
}
