//! Servers for tests: on a thread of this process, or as a process of their own that can be killed.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use net::client::{Client, ClientOptions};
use net::server::{self, Addresses, ServerOptions};

/// Options of a small server on a free port: no HTTP, no pinning (tests run beside each other), no snapshots by itself.
pub fn options(data: &Path, shards: usize) -> ServerOptions {
    ServerOptions {
        data: data.to_path_buf(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        admin: None,
        shards,
        arena_pinned_bytes: 8 << 20,
        snapshot_wal_bytes: 0,
        pin: false,
        ..ServerOptions::default()
    }
}

/// Connects a client.
pub fn connect(address: SocketAddr) -> Client {
    connect_with(address, 1)
}

/// Connects a client with so many connections to each shard.
pub fn connect_with(address: SocketAddr, connections_per_shard: usize) -> Client {
    let options = ClientOptions { name: "test".into(), connections_per_shard, ..ClientOptions::default() };
    Client::connect(&address.to_string(), options).expect("the server welcomes a client")
}

/// Waits until the server has all its rows; false when it has ended.
fn wait_recovered(address: SocketAddr, mut is_ended: impl FnMut() -> bool) -> bool {
    loop {
        let options = ClientOptions { name: "test".into(), ..ClientOptions::default() };
        let asked = Client::connect(&address.to_string(), options).and_then(|client| client.is_recovering());
        match asked {
            Ok(false) => return true,
            Err(_) if is_ended() => return false,
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// A server on a thread of this process. Dropping it stops it in an orderly way.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<engine::Result<()>>>,
    addresses: Addresses,
}

impl Server {
    /// Starts a server of [`options`].
    pub fn start(data: &Path, shards: usize) -> Server {
        Server::try_start(options(data, shards)).expect("the server starts")
    }

    /// Starts a server; returns once it has all its rows, or the error that it ended with.
    pub fn try_start(options: ServerOptions) -> engine::Result<Server> {
        let mut server = Server::try_start_recovering(options)?;
        let is_ended = || server.thread.as_ref().is_none_or(JoinHandle::is_finished);
        if wait_recovered(server.addresses.listen, is_ended) {
            return Ok(server);
        }
        let thread = server.thread.take().expect("not joined yet");
        Err(thread.join().expect("the server does not panic").expect_err("nobody stopped it"))
    }

    /// Starts a server; returns once it serves, which is before it has all its rows, or the error that it ended with.
    pub fn try_start_recovering(options: ServerOptions) -> engine::Result<Server> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, told) = mpsc::channel();
        let stop_server = stop.clone();
        let thread = std::thread::spawn(move || {
            server::run(options, stop_server, |addresses| ready.send(addresses).expect("the starter waits"))
        });
        match told.recv() {
            Ok(addresses) => Ok(Server { stop, thread: Some(thread), addresses }),
            Err(_) => Err(thread.join().expect("the server does not panic").expect_err("it was never ready")),
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.addresses.listen
    }

    /// Where HTTP is served.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.addresses.admin
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        connect(self.address())
    }

    /// Stops it and waits until it has.
    pub fn stop(mut self) {
        self.stop_and_join().expect("the server stops without an error");
    }

    fn stop_and_join(&mut self) -> engine::Result<()> {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.thread().unpark();
        thread.join().expect("the server does not panic")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test has failed already; the process ends soon, and the server with it.
            self.stop.store(true, Ordering::Release);
            return;
        }
        self.stop_and_join().expect("the server stops without an error");
    }
}

/// `broadhead serve` as a process. Dropping it kills it.
pub struct Process {
    child: Child,
    address: SocketAddr,
    /// Kept open: the server writes to it.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts the process; returns once it has all its rows.
    pub fn start(data: &Path, shards: usize) -> Process {
        Process::spawn(command(data, shards))
    }

    /// Starts the process of a command made by [`command`]; returns once it has all its rows.
    pub fn spawn(command: Command) -> Process {
        let mut process = Process::spawn_recovering(command);
        let child = &mut process.child;
        assert!(
            wait_recovered(process.address, || child.try_wait().is_ok_and(|ended| ended.is_some())),
            "it has ended"
        );
        process
    }

    /// Starts the process of a command made by [`command`]; returns once it serves, which is before it has all its rows.
    pub fn spawn_recovering(mut command: Command) -> Process {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary can be run");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the server speaks UTF-8");
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let status = child.wait().expect("it can be waited for");
            panic!("the server did not start ({status}), it said {line:?}");
        };
        Process { child, address, _stdout: stdout }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        connect(self.address)
    }

    /// A path as the process sees it, which may have other disks than the test.
    pub fn path(&self, path: &Path) -> PathBuf {
        let below_root = path.strip_prefix("/").expect("an absolute path");
        Path::new(&format!("/proc/{}/root", self.child.id())).join(below_root)
    }

    /// Where it logs to, if its command asked for a pipe.
    pub fn take_stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("piped, and not taken before")
    }

    /// Waits until it ends by itself; returns the exit status.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it can be waited for")
    }

    /// `kill -9`: returns once the process is gone.
    pub fn kill(mut self) {
        self.kill_and_wait();
    }

    /// SIGTERM; returns the exit status.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the process is there");
        self.child.wait().expect("it can be waited for")
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
        let kilobytes: u64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
        kilobytes * 1024
    }

    fn kill_and_wait(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_and_wait();
    }
}

/// The command line of a server process on a free port; logs errors only.
pub fn command(data: &Path, shards: usize) -> Command {
    command_on(data, shards, 0)
}

/// As [`command`], on a port that is known before the server runs.
pub fn command_on(data: &Path, shards: usize, port: u16) -> Command {
    let mut command = Command::new(program());
    command.args(["serve", "--admin", "off", "--listen"]).arg(format!("127.0.0.1:{port}"));
    command.arg("--data").arg(data).arg("--shards").arg(shards.to_string());
    command.env("RUST_LOG", "error").env_remove("BROADHEAD_CONFIG").stdin(Stdio::null());
    command
}

/// `target/release/broadhead`, found from where this test's executable lies.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the system tells");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let binary = profile.join("broadhead");
    assert!(binary.is_file(), "{} is missing: build it with `cargo build --release --workspace`", binary.display());
    binary
}
