//! The log against the bare disk: same file system, same size and depth of writes, same kind of file (zeroed once, then
//! written again and again), in alternating rounds of one run.
//!
//! - Records of 1 MiB, four in flight at a time, against io_uring writes of 1 MiB at depth 4; both O_DIRECT|O_DSYNC.
//!   Goal: at least 0.7 of the bare rate.
//! - One small record from append to durable, against one bare write of 4 KiB. Goal: at most twice the time.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use engine::buffers::{Arena, Buffer};
use engine::limits::WAL_SEGMENT_BYTES;
use engine::uring::{Completion, Memory, Op, Ring};
use engine::wal::{DiskConfig, DiskStorage, HEADROOM, Payload, Wal, crc32c, replay};

use crate::report::{Figure, Goal, median};

const MIB: usize = 1 << 20;
const DEPTH: usize = 4;
/// A record whose header and payload are 1 MiB together, as the bare writes are.
const LARGE_BYTES: usize = MIB - HEADROOM;
/// A record that takes one block of 4 KiB.
const SMALL_BYTES: usize = 1_000;
const ROUND_BYTES: usize = WAL_SEGMENT_BYTES as usize;

/// Runs all of it in `directory`, which must be on the disk that is meant.
pub fn run(quick: bool, directory: &Path) -> Vec<Figure> {
    let (rounds, small_rounds, small_writes) = if quick { (3, 3, 40) } else { (15, 9, 300) };
    let mut log = Log::open(&directory.join("wal"));
    let mut bare = Bare::open(&directory.join("bare"));
    // Not measured: brings the log to where it recycles, as it does for all its life.
    for _ in 0..6 {
        log.write_large(ROUND_BYTES);
    }
    let mut large = Vec::new();
    for _ in 0..rounds {
        large.push((log.write_large(ROUND_BYTES), bare.write_large(ROUND_BYTES)));
    }
    let mut small = Vec::new();
    for _ in 0..small_rounds {
        small.push((log.write_small(small_writes), bare.write_small(small_writes)));
    }
    log.check();
    let rate = |seconds: f64| ROUND_BYTES as f64 / 1e6 / seconds;
    let ratios = |rounds: &[(f64, f64)], ratio: fn(f64, f64) -> f64| {
        median(rounds.iter().map(|(log, bare)| ratio(*log, *bare)).collect())
    };
    let side = |rounds: &[(f64, f64)], side: fn(&(f64, f64)) -> f64| median(rounds.iter().map(side).collect());
    let large_figure = Figure::new("records of 1 MiB, depth 4", rate(side(&large, |round| round.0)), "MB/s")
        .beside("bare O_DSYNC writer", rate(side(&large, |round| round.1)))
        .with_ratio(ratios(&large, |log, bare| bare / log))
        .with_goal(Goal::RatioAtLeast(0.7));
    let small_figure = Figure::new("small record until durable, p50", side(&small, |round| round.0) * 1e6, "us")
        .beside("bare O_DSYNC write of 4 KiB", side(&small, |round| round.1) * 1e6)
        .with_ratio(ratios(&small, |log, bare| log / bare))
        .with_goal(Goal::RatioAtMost(2.0));
    vec![large_figure, small_figure]
}

struct Log {
    wal: Wal<DiskStorage>,
    ring: Rc<RefCell<Ring>>,
    arena: Arena,
    completions: Vec<Completion>,
}

impl Log {
    fn open(directory: &Path) -> Log {
        let arena = Arena::new(32 * MIB, 32 * MIB).expect("memory");
        let mut ring = Ring::new(64).expect("io_uring");
        register(&mut ring, &arena);
        let ring = Rc::new(RefCell::new(ring));
        let mut storage = DiskStorage::open(DiskConfig::new(directory, 0), Rc::clone(&ring)).expect("a directory");
        let resume = replay(&mut storage, 1, &mut |_, _| Ok(())).expect("an empty log");
        let wal = Wal::open(storage, &arena, &resume).expect("a log");
        Log { wal, ring, arena, completions: Vec::new() }
    }

    /// Seconds for `bytes` in records of 1 MiB, `DEPTH` in flight at a time, until all are acknowledged.
    fn write_large(&mut self, bytes: usize) -> f64 {
        // The payload lies where a socket would have put it, and its checksum came with it.
        let mut buffers: Vec<Buffer> = (0..DEPTH).map(|_| self.arena.take(MIB).expect("room")).collect();
        buffers.iter_mut().for_each(|buffer| buffer.fill(0x5a));
        let payload_crc = crc32c(&buffers[0][HEADROOM..]);
        drop(buffers);
        let first = self.wal.appended_lsn();
        let last = first + (bytes / MIB) as u64;
        let start = Instant::now();
        while self.wal.durable_lsn() < last {
            while self.wal.appended_lsn() < last
                && self.wal.writes_in_flight() < DEPTH
                && self.wal.can_append(LARGE_BYTES)
            {
                let buffer = self.arena.take(MIB).expect("what is written is given back");
                let payload = Payload::Whole { buffer, len: LARGE_BYTES };
                self.wal.append(payload, payload_crc).expect("can_append said so");
                self.wal.pump().expect("a disk that works");
            }
            self.turn();
        }
        let seconds = start.elapsed().as_secs_f64();
        self.wal.release_before(last);
        seconds
    }

    /// Median seconds from the append of one small record until it is durable.
    fn write_small(&mut self, count: usize) -> f64 {
        let payload = [0x5a; SMALL_BYTES];
        let payload_crc = crc32c(&payload);
        let mut seconds = Vec::with_capacity(count);
        for _ in 0..count {
            while !(self.wal.is_idle() && self.wal.can_append(SMALL_BYTES)) {
                self.turn();
            }
            let start = Instant::now();
            let lsn = self.wal.append(Payload::Copy(&payload), payload_crc).expect("can_append said so");
            while self.wal.durable_lsn() < lsn {
                self.turn();
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
        self.wal.release_before(self.wal.durable_lsn());
        median(seconds)
    }

    /// One turn of a shard that has nothing else to do.
    fn turn(&mut self) {
        self.wal.pump().expect("a disk that works");
        if self.wal.is_idle() && self.wal.can_append(LARGE_BYTES) {
            return;
        }
        let mut ring = self.ring.borrow_mut();
        ring.wait(Duration::from_millis(1)).expect("a ring that works");
        ring.reap(usize::MAX, &mut self.completions);
        drop(ring);
        for completion in self.completions.drain(..) {
            self.wal.storage_mut().complete(completion);
        }
        self.wal.pump().expect("a disk that works");
    }

    /// What was written is there.
    fn check(&mut self) {
        let last = self.wal.durable_lsn();
        let mut found = 0;
        let sink = &mut |lsn, payload: &[u8]| {
            assert!(lsn == last && payload.iter().all(|byte| *byte == 0x5a));
            found += 1;
            Ok(())
        };
        replay(self.wal.storage_mut(), last, sink).expect("a log that is whole");
        assert_eq!(found, 1, "the last record");
    }
}

/// Registers the buffers, as the server does; where the limit on locked memory is too small, both sides do without.
fn register(ring: &mut Ring, arena: &Arena) {
    match ring.register_arena(arena) {
        Ok(()) | Err(engine::Error::MemlockTooSmall { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// The baseline: the same ring, no log. Writes to a file of 64 MiB over and over.
pub struct Bare {
    file: Rc<OwnedFd>,
    ring: Ring,
    arena: Arena,
    completions: Vec<Completion>,
    position: u64,
}

impl Bare {
    /// Makes the file, filled with zeros.
    pub fn open(path: &Path) -> Bare {
        let arena = Arena::new(8 * MIB, 8 * MIB).expect("memory");
        let mut ring = Ring::new(64).expect("io_uring");
        register(&mut ring, &arena);
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(true).write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC);
        let file = options.open(path).expect("a file for direct writes");
        let mut zeros = arena.take(MIB).expect("room");
        zeros.fill(0);
        for offset in (0..WAL_SEGMENT_BYTES).step_by(MIB) {
            file.write_all_at(&zeros, offset).expect("room on disk");
        }
        Bare { file: Rc::new(file.into()), ring, arena, completions: Vec::new(), position: 0 }
    }

    fn push(&mut self, bytes: usize) {
        if self.position + bytes as u64 > WAL_SEGMENT_BYTES {
            self.position = 0;
        }
        let memory = Memory::Arena(self.arena.take(bytes).expect("no more than DEPTH are taken"));
        let file = Rc::clone(&self.file);
        self.ring.push(Op::Write { file, offset: self.position, memory, start: 0, end: bytes }, 0);
        self.position += bytes as u64;
    }

    fn reap(&mut self, bytes: usize) -> usize {
        self.ring.wait(Duration::from_millis(1)).expect("a ring that works");
        let count = self.ring.reap(usize::MAX, &mut self.completions);
        for completion in self.completions.drain(..) {
            assert_eq!(completion.result.expect("a disk that works") as usize, bytes);
        }
        count
    }

    /// Seconds for `bytes` in writes of 1 MiB, `DEPTH` in flight; a rest below 1 MiB is left out.
    pub fn write_large(&mut self, bytes: usize) -> f64 {
        self.position = 0;
        let start = Instant::now();
        let (mut pushed, mut written) = (0, 0);
        while written < bytes / MIB {
            while pushed < bytes / MIB && pushed - written < DEPTH {
                self.push(MIB);
                pushed += 1;
            }
            written += self.reap(MIB);
        }
        start.elapsed().as_secs_f64()
    }

    fn write_small(&mut self, count: usize) -> f64 {
        median(self.write_small_each(count))
    }

    /// Seconds of each of `count` writes of 4 KiB, one at a time.
    pub fn write_small_each(&mut self, count: usize) -> Vec<f64> {
        let each = |_| {
            let start = Instant::now();
            self.push(4096);
            while self.reap(4096) == 0 {}
            start.elapsed().as_secs_f64()
        };
        (0..count).map(each).collect()
    }
}
