//! Data directories that cannot be served: the server says which file and why, and does not start.

use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use engine::Error;
use engine::wal::{RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES};
use net::client::Ack;
use tests::rows::{batch, check_searchable, content, create};
use tests::server::{Process, Server, command, options};

const DIMENSION: usize = 16;
const BATCHES: u64 = 8;
const BATCH_ROWS: u64 = 10;

#[track_caller]
fn refusal(data: &Path, shards: usize) -> Error {
    match Server::try_start(options(data, shards)) {
        Ok(_) => panic!("the server started"),
        Err(error) => error,
    }
}

/// Fills a directory with batches that are acknowledged one after the other, then kills the server.
fn filled(directory: &Path) {
    let process = Process::start(directory, 1);
    let collection = create(&process.client(), "rows", DIMENSION);
    for number in 0..BATCHES {
        let rows: Vec<(u64, u64)> = (number * BATCH_ROWS..(number + 1) * BATCH_ROWS).map(|id| (id, 1)).collect();
        collection.write(&batch(&rows, DIMENSION), Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    process.kill();
}

/// The segment that holds the records, and where each of them starts.
fn records(directory: &Path) -> (PathBuf, Vec<(u64, RecordHeader)>) {
    let log = directory.join("generation-000001/shard-000");
    let files = std::fs::read_dir(&log).expect("the shard's log").map(|entry| entry.expect("an entry").path());
    for path in files {
        let bytes = std::fs::read(&path).expect("readable");
        let starts = (SEGMENT_HEADER_BYTES..bytes.len()).step_by(RECORD_HEADER_BYTES);
        let record = |start: usize| {
            let record = RecordHeader::decode(bytes.get(start..start + RECORD_HEADER_BYTES)?)?;
            Some((start as u64, record))
        };
        let records: Vec<_> = starts.filter_map(record).collect();
        if !records.is_empty() {
            return (path, records);
        }
    }
    panic!("no records in {}", log.display());
}

fn change(path: &Path, offset: u64, change: impl FnOnce(&mut [u8]), length: usize) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("writable");
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).expect("readable");
    change(&mut bytes);
    file.write_all_at(&bytes, offset).expect("writable");
}

#[test]
fn a_directory_in_use_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let process = Process::start(directory.path(), 1);
    let error = refusal(directory.path(), 1);
    assert!(matches!(&error, Error::DirectoryInUse { path } if path == directory.path()), "{error}");
    assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
    let second = command(directory.path(), 1).output().expect("the binary can be run");
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"), "{second:?}");
    process.client().ping().expect("the first server goes on");
    process.kill();
    // The lock goes with its holder.
    Server::start(directory.path(), 1).stop();
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").expect("writable");
    for data in [file.join("data"), file.clone()] {
        let error = refusal(&data, 1);
        assert!(matches!(&error, Error::Io { path, .. } if path.starts_with(&file)), "{error}");
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), "not a directory");
}

#[test]
fn newer_formats_are_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    filled(directory.path());
    let manifest = directory.path().join("MANIFEST");
    let text = std::fs::read_to_string(&manifest).expect("text");
    std::fs::write(&manifest, text.replacen("manifest 4 ", "manifest 5 ", 1)).expect("writable");
    let error = refusal(directory.path(), 1);
    assert!(
        matches!(&error, Error::NewerFormat { path, found: 5, supported: 4 } if *path == manifest),
        "the manifest is newer: {error}"
    );
    std::fs::write(&manifest, &text).expect("writable");

    let (segment, _) = records(directory.path());
    let newer = |bytes: &mut [u8]| {
        bytes[4] = 9;
        tests::raw::reseal(bytes);
    };
    change(&segment, 0, newer, 64);
    let error = refusal(directory.path(), 1);
    assert!(
        matches!(&error, Error::NewerFormat { path, found: 9, .. } if *path == segment),
        "the segment is newer: {error}"
    );
}

#[test]
fn a_damaged_manifest_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    filled(directory.path());
    let manifest = directory.path().join("MANIFEST");
    let text = std::fs::read(&manifest).expect("readable");
    let mut damaged = text.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&manifest, damaged).expect("writable");
    let error = refusal(directory.path(), 1);
    assert!(matches!(&error, Error::Damaged { path, .. } if *path == manifest), "{error}");
    // Logs without a manifest are somebody's data: nothing new is begun over them.
    std::fs::remove_file(&manifest).expect("it is there");
    let error = refusal(directory.path(), 1);
    assert!(matches!(&error, Error::Damaged { path, .. } if *path == manifest), "{error}");
    std::fs::write(&manifest, text).expect("writable");
    let generation = directory.path().join("generation-000001");
    std::fs::rename(&generation, directory.path().join("elsewhere")).expect("it is there");
    let error = refusal(directory.path(), 1);
    assert!(matches!(&error, Error::Damaged { path, .. } if *path == generation), "{error}");
    // Nothing was made worse.
    std::fs::rename(directory.path().join("elsewhere"), &generation).expect("it is there");
    let server = Server::start(directory.path(), 1);
    assert_eq!(content(&server.client().collection("rows").expect("it is there")).len() as u64, BATCHES * BATCH_ROWS);
    server.stop();
}

#[test]
fn a_damaged_record_amid_the_log_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    filled(directory.path());
    let (segment, records) = records(directory.path());
    assert_eq!(records.len() as u64, BATCHES, "one record a batch");
    for record in [0, 2, BATCHES as usize - 2] {
        let (start, header) = records[record];
        for place in [start + 9, start + 64, start + 64 + u64::from(header.payload_bytes) / 2] {
            change(&segment, place, |bytes| bytes[0] ^= 0x20, 1);
            for _ in 0..2 {
                let error = refusal(directory.path(), 1);
                let names_it =
                    matches!(&error, Error::Damaged { path, offset, .. } if *path == segment && *offset == start);
                assert!(names_it, "record {record} at {start}, damaged at {place}: {error}");
                let message = error.to_string();
                assert!(
                    message.contains(&segment.display().to_string()) && message.contains(&start.to_string()),
                    "{message}"
                );
            }
            change(&segment, place, |bytes| bytes[0] ^= 0x20, 1);
        }
    }
    let server = Server::start(directory.path(), 1);
    assert_eq!(content(&server.client().collection("rows").expect("it is there")).len() as u64, BATCHES * BATCH_ROWS);
    server.stop();
}

/// A crash can tear the record that was being written: the log ends before it.
#[test]
fn a_torn_tail_is_cut() {
    type Tear = fn(&Path, u64, &RecordHeader);
    let tears: [(&str, Tear); 3] = [
        ("its end is zero", |path, start, header| {
            let half = u64::from(header.payload_bytes) / 2;
            change(path, start + 64 + half, |bytes| bytes.fill(0), half as usize);
        }),
        ("all of it is zero", |path, start, header| {
            change(path, start, |bytes| bytes.fill(0), 64 + header.payload_bytes as usize)
        }),
        ("its header is torn", |path, start, _| change(path, start + 40, |bytes| bytes.fill(0), 24)),
    ];
    for (what, tear) in tears {
        let directory = tempfile::tempdir().expect("a temporary directory");
        filled(directory.path());
        let (segment, records) = records(directory.path());
        let (start, header) = records.last().expect("eight");
        tear(&segment, *start, header);
        let expected = (0..(BATCHES - 1) * BATCH_ROWS).map(|id| (id, 1)).collect();
        // The second start finds what the first made of it.
        for version in [2, 3] {
            let server = Server::start(directory.path(), 1);
            let collection = server.client().collection("rows").expect("it is there");
            let mut found = content(&collection);
            found.remove(&5_000);
            assert_eq!(found, expected, "{what}");
            check_searchable(&collection, expected.iter().step_by(17), DIMENSION);
            let more = batch(&[(5_000, version)], DIMENSION);
            collection.write(&more, Ack::Durable).expect("a good batch").wait().expect("it is written");
            drop(collection);
            server.stop();
        }
    }
}

#[test]
fn a_port_in_use_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    let mut for_clients = options(directory.path(), 1);
    for_clients.listen = address;
    let mut for_http = options(directory.path(), 1);
    for_http.admin = Some(address);
    for options in [for_clients, for_http] {
        let error = Server::try_start(options).err().expect("the port is taken");
        assert!(matches!(&error, Error::Listen { address: found, .. } if *found == address), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
