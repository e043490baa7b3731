//! The log on a real disk: direct writes through io_uring.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::Error;
use crate::uring::Ring;

const SEGMENT_BYTES: u64 = 4 << 20;

struct Fixture {
    directory: TempDir,
    ring: Rc<RefCell<Ring>>,
    arena: Arena,
}

impl Fixture {
    fn new() -> Fixture {
        // Beside the executable: on a disk, where /tmp may be memory.
        let target = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir_in(target.parent().unwrap()).unwrap();
        let mut ring = Ring::new(64).unwrap();
        let arena = Arena::new(64 << 20, 16 << 20).unwrap();
        ring.register_arena(&arena).unwrap();
        Fixture { directory, ring: Rc::new(RefCell::new(ring)), arena }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn storage(&self) -> DiskStorage {
        self.storage_with(SEGMENT_BYTES)
    }

    fn storage_with(&self, segment_bytes: u64) -> DiskStorage {
        let config = DiskConfig::new(self.path().join("wal"), 0).segment_bytes(segment_bytes);
        DiskStorage::open(config, Rc::clone(&self.ring)).unwrap()
    }

    fn open(&self) -> Wal<DiskStorage> {
        let mut storage = self.storage();
        let (_, resume) = read_all(&mut storage, 1).unwrap();
        Wal::open(storage, &self.arena, &resume).unwrap()
    }

    fn turn(&self, wal: &mut Wal<DiskStorage>) {
        if wal.pump().unwrap() {
            return;
        }
        let mut completions = Vec::new();
        self.ring.borrow_mut().wait(Duration::from_millis(5)).unwrap();
        self.ring.borrow_mut().reap(usize::MAX, &mut completions);
        for completion in completions {
            wal.storage_mut().complete(completion);
        }
    }

    fn settle(&self, wal: &mut Wal<DiskStorage>) {
        while !wal.is_idle() {
            self.turn(wal);
        }
    }

    fn until_appendable(&self, wal: &mut Wal<DiskStorage>, len: usize) {
        while !wal.can_append(len) {
            self.turn(wal);
        }
    }
}

fn payload(index: usize) -> Vec<u8> {
    let len = [10, 900, 30_000, 300_000][index % 4] + index;
    (0..len).map(|at| (at * 31 + index) as u8).collect()
}

#[test]
fn records_survive_reopening_several_times() {
    let fixture = Fixture::new();
    let mut expected = Vec::new();
    for run in 1..=4 {
        let mut storage = fixture.storage();
        let (found, resume) = read_all(&mut storage, 1).unwrap();
        assert!(found == expected, "run {run}");
        assert_eq!(resume.epoch, run - 1);
        let mut wal = Wal::open(storage, &fixture.arena, &resume).unwrap();
        for _ in 0..50 {
            let payload = payload(expected.len());
            fixture.until_appendable(&mut wal, payload.len());
            if payload.len() > 20_000 {
                append_whole(&mut wal, &fixture.arena, &payload);
            } else {
                append_copy(&mut wal, &payload);
            }
            expected.push(payload);
        }
        fixture.settle(&mut wal);
        assert_eq!(wal.durable_lsn(), expected.len() as u64);
    }
    assert_eq!(fixture.arena.free_bytes(), fixture.arena.bytes());
}

#[test]
fn a_record_of_the_largest_frame_comes_back() {
    let fixture = Fixture::new();
    let mut storage = fixture.storage_with(crate::limits::WAL_SEGMENT_BYTES);
    let (_, resume) = read_all(&mut storage, 1).unwrap();
    let mut wal = Wal::open(storage, &fixture.arena, &resume).unwrap();
    let large: Vec<u8> = (0..(24 << 20) + 64).map(|at: usize| (at ^ (at >> 8)) as u8).collect();
    append_copy(&mut wal, b"before");
    append_whole(&mut wal, &fixture.arena, &large);
    append_copy(&mut wal, b"after");
    fixture.settle(&mut wal);
    let (found, _) = read_all(wal.storage_mut(), 1).unwrap();
    assert!(found == [b"before".to_vec(), large, b"after".to_vec()]);
}

#[test]
fn recycled_segments_keep_their_extents_and_lose_their_records() {
    let fixture = Fixture::new();
    let mut wal = fixture.open();
    let mut inodes = std::collections::HashSet::new();
    for round in 0..120 {
        let payload = vec![round as u8; 300_000];
        fixture.until_appendable(&mut wal, payload.len());
        append_whole(&mut wal, &fixture.arena, &payload);
        fixture.settle(&mut wal);
        wal.release_before(wal.durable_lsn());
        for entry in fs::read_dir(fixture.path().join("wal")).unwrap() {
            inodes.extend(entry.unwrap().metadata().map(|metadata| metadata.ino()));
        }
    }
    let segments = wal.metrics().segments;
    assert!(segments >= 8 && inodes.len() < segments as usize, "{} files for {segments} segments", inodes.len());
    drop(wal);
    let (found, resume) = read_all(&mut fixture.storage(), 120).unwrap();
    assert_eq!((found, resume.next_lsn), (vec![vec![119; 300_000]], 121));
}

#[test]
fn damage_names_the_file_and_the_place() {
    let fixture = Fixture::new();
    let mut wal = fixture.open();
    for index in 0..10u8 {
        append_copy(&mut wal, &[index; 1_000]);
        fixture.settle(&mut wal);
    }
    drop(wal);
    let path = fixture.path().join("wal/0000000000000001.wal");
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let third = 4096 * 3;
    let mut byte = [0];
    file.read_exact_at(&mut byte, third + 500).unwrap();
    file.write_all_at(&[byte[0] ^ 1], third + 500).unwrap();
    match read_all(&mut fixture.storage(), 1) {
        Err(Error::Damaged { path: found, offset, .. }) => assert_eq!((found, offset), (path, third)),
        other => panic!("{:?}", other.map(|(records, _)| records.len())),
    }
}

#[test]
fn leftovers_and_foreign_files_do_no_harm() {
    let fixture = Fixture::new();
    let mut wal = fixture.open();
    append_copy(&mut wal, b"one");
    fixture.settle(&mut wal);
    drop(wal);
    let directory = fixture.path().join("wal");
    fs::write(directory.join("00000000000000ff.new"), [1; 100]).unwrap();
    for foreign in ["notes.txt", "12.wal", "000000000000000G.wal", "0000000000000000.wal"] {
        fs::write(directory.join(foreign), b"not a segment").unwrap();
    }
    let mut wal = fixture.open();
    append_copy(&mut wal, b"two");
    fixture.settle(&mut wal);
    assert_eq!(read_all(wal.storage_mut(), 1).unwrap().0, [b"one".to_vec(), b"two".to_vec()]);
    assert!(!directory.join("00000000000000ff.new").exists() && directory.join("notes.txt").exists());
}

#[test]
fn the_shard_is_woken_when_a_segment_is_ready() {
    let fixture = Fixture::new();
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let config = DiskConfig::new(fixture.path().join("wal"), 0).segment_bytes(SEGMENT_BYTES).wake(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let mut storage = DiskStorage::open(config, Rc::clone(&fixture.ring)).unwrap();
    let (_, resume) = read_all(&mut storage, 1).unwrap();
    let mut wal = Wal::open(storage, &fixture.arena, &resume).unwrap();
    fixture.settle(&mut wal);
    while fs::read_dir(fixture.path().join("wal")).unwrap().count() < 3 {
        fixture.turn(&mut wal);
    }
    drop(wal);
    assert!(wakes.load(Ordering::Relaxed) >= 3);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let fixture = Fixture::new();
    let file = fixture.path().join("file");
    fs::write(&file, b"x").unwrap();
    let opened = DiskStorage::open(DiskConfig::new(file.join("wal"), 0), Rc::clone(&fixture.ring));
    assert!(matches!(opened.err(), Some(Error::Io { operation: "create", path, .. }) if path == file.join("wal")));
}
