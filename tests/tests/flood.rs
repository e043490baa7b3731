//! No stall: a flood of writes over several connections goes forward all the time.
//!
//! The server runs without its heartbeat, so that nothing but the wake-ups of real events keeps it going. A watchdog looks
//! at the bytes that were acknowledged: they must advance at least every two seconds.
//!
//! `BROADHEAD_FLOOD_RUNS` (default 1) and `BROADHEAD_FLOOD_MB` (default 160) make it longer; each run begins with an empty
//! directory.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use net::client::{Ack, Collection, PreparedWrite};
use tests::rows::{batch, create};
use tests::server::{Server, connect_with, options};

const DIMENSION: usize = 384;
const SHARDS: usize = 2;
const STALL: Duration = Duration::from_secs(2);
/// Rows of the batches, by writer; a row has 1.5 KB.
const BATCH_ROWS: [u64; 4] = [650, 1_300, 2_600, 4];
/// More than the log takes at a time, so that sessions are held up and go on again.
const IN_FLIGHT: usize = 16;
/// Each writer sends these batches again and again, so that memory is bounded by what was deleted and not yet freed.
const BATCHES: usize = 4;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// What the writers have achieved so far.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicU64,
    done: AtomicBool,
}

#[test]
fn a_flood_of_writes_never_stands_still() {
    let runs = number("BROADHEAD_FLOOD_RUNS", 1);
    let bytes = number("BROADHEAD_FLOOD_MB", 160) * 1_000_000;
    for run in 1..=runs {
        let (took, pause) = flood(bytes);
        println!(
            "run {run} of {runs}: {} MB in {:.2} s, {:.0} MB/s, longest pause {} ms",
            bytes / 1_000_000,
            took.as_secs_f64(),
            bytes as f64 / 1e6 / took.as_secs_f64(),
            pause.as_millis()
        );
    }
}

/// One run; returns how long it took and the longest time without progress.
fn flood(bytes: u64) -> (Duration, Duration) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::try_start(net::server::ServerOptions { heartbeat: None, ..options(directory.path(), SHARDS) });
    let server = server.expect("the server starts");
    create(&server.client(), "flood", DIMENSION);
    let progress = Progress::default();
    let start = Instant::now();
    let pause = std::thread::scope(|scope| {
        let (server, progress) = (&server, &progress);
        let watchdog = scope.spawn(|| watch(server, progress));
        let writers = BATCH_ROWS.iter().enumerate();
        let writers: Vec<_> =
            writers.map(|(writer, &rows)| scope.spawn(move || write(server, writer, rows, bytes, progress))).collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        progress.done.store(true, Ordering::Release);
        assert!(ended.iter().all(Result::is_ok), "a writer failed");
        watchdog.join().expect("the watchdog saw progress")
    });
    let took = start.elapsed();
    let rows = server.client().describe("flood").expect("it is there").rows;
    assert_eq!(rows, BATCH_ROWS.iter().map(|rows| rows * BATCHES as u64).sum::<u64>(), "every id is there once");
    server.stop();
    (took, pause)
}

/// Writes until all writers together have written enough. The last writer's small batches go beside the large ones.
fn write(server: &Server, writer: usize, batch_rows: u64, bytes: u64, progress: &Progress) {
    let client = connect_with(server.address(), 1);
    let collection: Collection = client.collection("flood").expect("it is there");
    let batches: Vec<PreparedWrite> = (0..BATCHES as u64)
        .map(|number| {
            let first = (writer as u64 + 1) * 1_000_000 + number * batch_rows;
            let rows: Vec<(u64, u64)> = (first..first + batch_rows).map(|id| (id, 1)).collect();
            collection.prepare(&batch(&rows, DIMENSION)).expect("a good batch")
        })
        .collect();
    let mut in_flight = VecDeque::new();
    let settle = |(pending, bytes): (net::client::Pending<net::client::WriteReport>, usize)| {
        pending.wait().expect("it is written");
        progress.acknowledged.fetch_add(bytes as u64, Ordering::Relaxed);
    };
    let mut sent = 0;
    while sent < BATCHES || progress.acknowledged.load(Ordering::Relaxed) < bytes {
        let batch = &batches[sent % BATCHES];
        in_flight.push_back((collection.send(batch, Ack::Durable).expect("it is sent"), batch.bytes()));
        sent += 1;
        if in_flight.len() == IN_FLIGHT {
            settle(in_flight.pop_front().expect("full"));
        }
    }
    in_flight.into_iter().for_each(settle);
}

/// Returns the longest time without progress; prints the server's figures and gives up when it is too long.
fn watch(server: &Server, progress: &Progress) -> Duration {
    let (mut last, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
    while !progress.done.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(10));
        let acknowledged = progress.acknowledged.load(Ordering::Relaxed);
        longest = longest.max(since.elapsed());
        if acknowledged != last {
            (last, since) = (acknowledged, Instant::now());
        } else if since.elapsed() > STALL {
            eprintln!("nothing was acknowledged for {STALL:?}, {acknowledged} bytes before that");
            // Asking wakes the shard that is asked: what it says is from before.
            eprintln!("{}", server.client().stats().unwrap_or_else(|error| error.to_string()));
            // Writers that wait for ever cannot be joined.
            std::process::exit(1);
        }
    }
    longest
}
