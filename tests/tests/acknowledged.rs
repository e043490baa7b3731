//! The load generator against a server that is killed: `bench ingest --ack-log` writes down what was acknowledged, `kill -9` comes in
//! the middle, and `bench verify` reads every id back from the server that is started again.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use net::client::{Ack, Ids};
use tests::random::Random;
use tests::server::{Process, program};
use tests::wait_until;

const SHARDS: usize = 2;
/// Times that the server is killed, on one directory and with one list.
const ROUNDS: usize = 3;
const COLLECTION: &str = "load";

fn bench(kind: &str, server: &Process, ack_log: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(["bench", kind, "--json", "--server", &server.address().to_string()]).arg("--ack-log").arg(ack_log);
    command.env("RUST_LOG", "error").stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// A load that goes on until its server is gone. Few ids, so that rows of several rounds are on their way at a time.
fn start_load(server: &Process, ack_log: &Path) -> Child {
    let mut command = bench("ingest", server, ack_log);
    command.args([
        "--collection",
        COLLECTION,
        "--seconds",
        "60",
        "--ids",
        "3000",
        "--dim",
        "32",
        "--batch-rows",
        "150",
    ]);
    command.args(["--connections", "2", "--samples", "20"]);
    command.stdout(Stdio::null()).spawn().expect("the program starts")
}

fn lines(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

fn verify(server: &Process, ack_log: &Path) -> (Output, serde_json::Value) {
    let output = bench("verify", server, ack_log).output().expect("the program runs");
    let report = serde_json::from_slice(&output.stdout).expect("one object");
    (output, report)
}

#[test]
fn what_the_load_generator_got_acknowledged_survives_kill() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ack_log = directory.path().join("acknowledged");
    let data = directory.path().join("data");
    let mut server = Process::start(&data, SHARDS);
    for round in 0..ROUNDS {
        let before = lines(&ack_log);
        let mut load = start_load(&server, &ack_log);
        wait_until("batches are acknowledged", || lines(&ack_log) >= before + 50);
        std::thread::sleep(Duration::from_millis(random.below(300)));
        server.kill();
        let status = load.wait().expect("the load ends when the server is gone");
        assert_eq!(status.code(), Some(1), "a load that was cut short says so");
        server = Process::start(&data, SHARDS);
        let (output, report) = verify(&server, &ack_log);
        println!("round {round}: {report}");
        assert!(output.status.success(), "{report}");
        assert_eq!(report["ids"], 3_000);
        assert_eq!(report["same"].as_u64().unwrap() + report["newer"].as_u64().unwrap(), 3_000);
        assert!(report["batches"].as_u64().unwrap() >= 50 * (round as u64 + 1));
    }
    // A row that goes is missed.
    let collection = server.client().collection(COLLECTION).expect("it is there");
    let gone = collection.delete(&Ids::U64(vec![7]), Ack::Durable).expect("good ids").wait().expect("it is done");
    assert_eq!(gone.deleted, 1);
    let (output, report) = verify(&server, &ack_log);
    assert_eq!((output.status.code(), report["missing"].as_u64()), (Some(1), Some(1)), "{report}");
}
