//! Systems that refuse what the server would like to have: it says so, does without, or refuses in turn, and loses nothing.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use net::client::{Ack, Collection, Ids};
use net::codec::Status;
use tests::rows::{Content, batch, content, create};
use tests::sandbox;
use tests::server::{Process, Server, command};
use tests::wait_until;

const DIMENSION: usize = 384;
const BATCH_ROWS: u64 = 1_000;
/// Room for the three log segments that a shard makes at first, and little more.
const DISK_BYTES: u64 = 200 << 20;
const NOBODY: u32 = 65_534;

fn write(collection: &Collection, first: u64, rows: u64) -> Result<Vec<(u64, u64)>, net::Error> {
    let rows: Vec<(u64, u64)> = (first..first + rows).map(|id| (id, 1)).collect();
    collection.write(&batch(&rows, DIMENSION), Ack::Durable)?.wait()?;
    Ok(rows)
}

#[test]
fn without_io_uring_the_server_says_how_to_allow_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut forbidden = command(directory.path(), 1);
    sandbox::forbid_io_uring(&mut forbidden);
    let output = forbidden.output().expect("the binary can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("io_uring") && said.contains("seccomp"), "{said}");
    // The directory is as good as before.
    Server::start(directory.path(), 1).stop();
}

#[test]
fn little_locked_memory_is_told_of_and_costs_nothing_but_speed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut limited = command(directory.path(), 2);
    sandbox::limit_locked_memory(&mut limited, 2 << 20);
    limited.env("RUST_LOG", "warn").stderr(Stdio::piped());
    let mut process = Process::spawn(limited);
    let collection = create(&process.client(), "rows", DIMENSION);
    let expected: Content =
        (0..5).flat_map(|number| write(&collection, number * BATCH_ROWS, BATCH_ROWS).expect("it is written")).collect();
    assert_eq!(content(&collection), expected);
    let mut stderr = process.take_stderr();
    assert!(process.terminate().success());
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    assert!(said.contains("memlock"), "{said}");
    let server = Server::start(directory.path(), 2);
    let collection = server.client().collection("rows").expect("it is there");
    assert_eq!(content(&collection), expected);
    server.stop();
}

#[test]
fn too_little_locked_memory_for_a_ring_is_told_of() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut limited = command(directory.path(), 2);
    sandbox::limit_locked_memory(&mut limited, 64 << 10);
    let output = limited.output().expect("the binary can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("memlock") && said.contains("65536"), "{said}");
    Server::start(directory.path(), 2).stop();
}

#[test]
fn a_directory_that_is_not_writable_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut as_somebody = command(directory.path(), 1);
    if rustix::process::geteuid().is_root() {
        as_somebody.uid(NOBODY); // the directory is root's
    } else {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o500);
        std::fs::set_permissions(directory.path(), mode).expect("it is ours");
    }
    let output = match as_somebody.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            println!("skipped: others may not run the binary where it lies");
            return;
        }
        Err(error) => panic!("the binary can be run: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&directory.path().display().to_string()) && said.contains("ermission denied"), "{said}");
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else_until_there_is_room() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut probe = Command::new("true");
    sandbox::mount_small_disk(&mut probe, directory.path(), DISK_BYTES);
    if let Err(error) = probe.status() {
        println!("skipped: a small disk cannot be mounted: {error}");
        return;
    }
    let mut on_small_disk = command(&directory.path().join("data"), 1);
    sandbox::mount_small_disk(&mut on_small_disk, directory.path(), DISK_BYTES);
    let process = Process::spawn(on_small_disk);
    // The disk as the process sees it; held open, it outlives the process.
    let disk = process.path(directory.path());
    let held = File::open(&disk).expect("a directory");
    let client = process.client();
    let collection = create(&client, "rows", DIMENSION);
    // The log has its first segment once a write is through.
    let mut expected: Content = write(&collection, 0, BATCH_ROWS).expect("there is room").into_iter().collect();
    let mut next = BATCH_ROWS;
    let filler = disk.join("of-somebody-else");
    wait_until("the disk is full", || {
        let mut filler = File::options().append(true).create(true).open(&filler).expect("it can be made");
        let full = std::iter::repeat_with(|| filler.write_all(&[1; 4096])).find_map(Result::err);
        full.is_some_and(|error| error.kind() == ErrorKind::StorageFull)
    });

    let refused = loop {
        match write(&collection, next, BATCH_ROWS) {
            Ok(rows) => expected.extend(rows),
            Err(error) => break error,
        }
        next += BATCH_ROWS;
        assert!(next * (DIMENSION as u64 * 4) < DISK_BYTES, "more was taken than the disk holds");
    };
    assert_eq!(refused.status(), Some(Status::DiskFull), "{refused}");
    let refused = collection.delete(&Ids::U64(vec![1]), Ack::Durable).expect("good ids").wait().expect_err("no room");
    assert_eq!(refused.status(), Some(Status::DiskFull), "{refused}");
    assert!(content(&collection) == expected, "what was refused left a trace");

    std::fs::remove_file(&filler).expect("it is there");
    wait_until("writes are taken again", || {
        write(&collection, next, BATCH_ROWS).map(|rows| expected.extend(rows)).is_ok()
    });
    assert!(content(&collection) == expected);
    drop((collection, client));
    process.kill();

    let rescued = tempfile::tempdir().expect("a temporary directory");
    copy(Path::new(&format!("/proc/self/fd/{}/data", held.as_raw_fd())), rescued.path());
    let server = Server::start(rescued.path(), 1);
    assert!(content(&server.client().collection("rows").expect("it is there")) == expected);
    server.stop();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("it can be made");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("it can be copied");
        }
    }
}
