//! A server as a process of its own, so that it can be killed, timed from its start and weighed.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use net::client::{Client, ClientOptions, Collection};
use net::server::ServerOptions;

use super::load;
use crate::engines::resident_bytes;

/// Flag that makes the program of the benchmarks a server.
const SERVE: &str = "--serve";
const LISTENING: &str = "listening on ";
const RECOVERY_MAX: Duration = Duration::from_secs(600);

/// A server that is ready. It ends when this is dropped, and when this process ends for whatever reason.
pub struct Server {
    child: Child,
    /// The child reads its end: it stops when this one is closed.
    _alive: ChildStdin,
    address: String,
    client: Client,
    /// Seconds from the start of the program until it was ready.
    pub started_s: f64,
}

impl Server {
    /// Starts `program` on `data` and waits until it has all its rows.
    pub fn start(program: &Path, data: &Path) -> Server {
        let started = Instant::now();
        let mut command = Command::new(program);
        command.arg(SERVE).arg(data).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let alive = child.stdin.take().expect("piped");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a pipe");
        let Some(address) = line.trim().strip_prefix(LISTENING) else {
            panic!("the server did not start: {:?}, {line:?}", child.wait());
        };
        let client = Client::connect(address, ClientOptions::default()).expect("a connection");
        assert!(client.wait_recovered(RECOVERY_MAX).expect("an answer"), "recovery takes too long");
        let address = address.to_owned();
        Server { child, _alive: alive, address, client, started_s: started.elapsed().as_secs_f64() }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client of it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The collection of the load.
    pub fn collection(&self) -> Collection {
        self.client.collection(load::COLLECTION).expect("the collection is there")
    }

    /// Number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of memory that are its own or mapped and present.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(self.child.id())
    }

    /// Ends it as a crash would: SIGKILL.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, at worst.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a server on a directory with the defaults of the program `broadhead`, on any port, until standard input ends.
///
/// # Errors
/// As [`net::server::run`].
pub fn serve(data: &Path) -> engine::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let stop_reader = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop_reader.store(true, Ordering::Release);
    });
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = ServerOptions { data: data.to_owned(), listen, admin: None, ..ServerOptions::default() };
    net::server::run(options, stop, |addresses| println!("{LISTENING}{}", addresses.listen))
}
