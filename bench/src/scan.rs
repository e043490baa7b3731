//! All rows of a server, read over TCP as Arrow batches, beside bare bytes over the loopback: what the server and its client add to the
//! way.
//!
//! Both ends share the cores, in both. The bare way sends as many bytes from a buffer that is in the cache, and looks at none of them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::graph::Vectors;
use crate::path::load::Load;
use crate::path::server::Server;
use crate::report::{Figure, Goal, median};

const ROWS: usize = 62_436;
const QUICK_ROWS: usize = 5_000;
const ROUNDS: usize = 5;
/// Bytes of a write, and of a read, of the bare way.
const BARE_BYTES: usize = 1 << 20;
/// What is to be reached, in MB a second.
const RATE_GOAL: f64 = 1_000.0;
const INDEX_TIMEOUT: Duration = Duration::from_secs(600);

/// Measures one client on the vectors of a Parquet file.
pub fn run(quick: bool, program: &Path, scratch: &Path, base: &Path) -> Vec<Figure> {
    let rows = if quick { QUICK_ROWS } else { ROWS };
    let load = Load::new(Vectors::read(base, rows).cycled(rows));
    let scratch = TempDir::new_in(scratch).expect("a scratch directory");
    let server = Server::start(program, scratch.path());
    let writes = load.prepare(&server, &[]);
    load.import(&server, &writes);
    assert!(server.collection().wait_indexed(INDEX_TIMEOUT).expect("an answer").done);
    let (mut rates, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (seconds, bare_seconds) = (scan(&server, rows), loopback(load.bytes()));
        // The first round warms up.
        if round > 0 {
            rates.push(load.bytes() as f64 / 1e6 / seconds);
            bare.push(load.bytes() as f64 / 1e6 / bare_seconds);
        }
    }
    let ratios = rates.iter().zip(&bare).map(|(rate, bare)| rate / bare).collect();
    let figure = Figure::new(format!("scan of {rows} rows over TCP, all columns"), median(rates), "MB/s");
    let figure = figure.beside("bare loopback", median(bare)).with_ratio(median(ratios));
    vec![figure.with_goal(Goal::AtLeast(RATE_GOAL))]
}

/// Reads all rows; gives how long it took, in seconds.
fn scan(server: &Server, rows: usize) -> f64 {
    let collection = server.collection();
    let started = Instant::now();
    let mut read = 0;
    for batch in collection.scan(&[]).expect("columns") {
        let batch = batch.expect("a batch");
        read += batch.num_rows();
    }
    assert_eq!(read, rows, "each row once");
    started.elapsed().as_secs_f64()
}

/// Sends so many bytes from one thread to another; gives how long it took, in seconds.
fn loopback(bytes: usize) -> f64 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut socket, _) = listener.accept().expect("a connection");
            let buffer = vec![7; BARE_BYTES];
            for start in (0..bytes).step_by(BARE_BYTES) {
                socket.write_all(&buffer[..BARE_BYTES.min(bytes - start)]).expect("it is read");
            }
        });
        let mut socket = TcpStream::connect(address).expect("a connection");
        let (mut buffer, mut left) = (vec![0; BARE_BYTES], bytes);
        let started = Instant::now();
        while left > 0 {
            left -= socket.read(&mut buffer).expect("it is sent");
        }
        started.elapsed().as_secs_f64()
    })
}
