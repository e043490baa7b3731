//! A disk that fails on purpose, from a seed: it completes writes late and in any order, writes them short, tears them
//! at 512-byte sectors when power goes, forgets what was not synced, fails a chosen write, and runs full.
//!
//! [`SimDisk`] is the disk and survives crashes; [`SimStorage`] is what one run of the log sees of it.

mod disk;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use rand::RngExt;

use super::storage::{Prepared, Storage, Write, Written};
use crate::error::Error;
use disk::{Disk, Flight};

/// Chance that something which could happen now happens later.
const DELAY: f64 = 0.3;

/// What goes wrong while the log runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Chance that a write of more than 4,096 bytes is short, having written at least that much.
    pub short: f64,
    /// This write (counted from 1 since the disk was made) writes one sector and reports that.
    pub stuck_write: Option<u64>,
    /// This write fails with EIO, having written a part.
    pub fail_write: Option<u64>,
    /// This write fails with ENOSPC.
    pub full_write: Option<u64>,
    /// The disk has room for this many segments.
    pub segments_max: Option<usize>,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: any part of what was in flight reaches the disk, some of it only after the next run has
    /// read the log.
    Kill,
    /// Power goes: besides, any sector that was not synced may be as it was before, and so may the directory.
    PowerLoss,
}

/// A simulated disk with the log of one shard. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    disk: Rc<RefCell<Disk>>,
}

/// One run's view of a [`SimDisk`].
pub struct SimStorage {
    disk: Rc<RefCell<Disk>>,
    run: u64,
}

impl SimDisk {
    /// An empty disk. Whatever happens on it follows from the seed and the calls.
    pub fn new(seed: u64, segment_bytes: usize, write_bytes_max: usize) -> SimDisk {
        assert!(segment_bytes.is_multiple_of(4096) && write_bytes_max.is_multiple_of(4096));
        let disk = Disk::new(seed, segment_bytes, write_bytes_max);
        SimDisk { disk: Rc::new(RefCell::new(disk)) }
    }

    /// What a run sees; ends any earlier one.
    pub fn storage(&self) -> SimStorage {
        let run = self.disk.borrow().run;
        SimStorage { disk: Rc::clone(&self.disk), run }
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.disk.borrow_mut().faults = faults;
    }

    /// Ends the run. Its storage cannot be used any more.
    pub fn crash(&self, crash: Crash) {
        self.disk.borrow_mut().crash(crash);
    }

    /// Numbers of the segments there are.
    pub fn segments(&self) -> Vec<u64> {
        self.disk.borrow().names.keys().copied().collect()
    }

    /// Writes handed over since the disk was made.
    pub fn writes(&self) -> u64 {
        self.disk.borrow().writes
    }

    /// Changes one byte behind the log's back.
    pub fn flip(&self, segment: u64, offset: usize, mask: u8) {
        let mut disk = self.disk.borrow_mut();
        let file = disk.names[&segment];
        disk.files[file].bytes[offset] ^= mask;
    }

    /// The bytes of a segment as a read sees them.
    pub fn content(&self, segment: u64) -> Vec<u8> {
        let disk = self.disk.borrow();
        disk.files[disk.names[&segment]].bytes.clone()
    }

    /// Takes a segment away behind the log's back.
    pub fn lose(&self, segment: u64) {
        self.disk.borrow_mut().names.remove(&segment).expect("a segment that is there");
    }
}

impl SimStorage {
    fn disk(&self) -> std::cell::RefMut<'_, Disk> {
        let disk = self.disk.borrow_mut();
        assert_eq!(disk.run, self.run, "the run of this storage is over");
        disk
    }
}

impl Storage for SimStorage {
    fn shard(&self) -> usize {
        0
    }

    fn segment_bytes(&self) -> u64 {
        self.disk.borrow().segment_bytes as u64
    }

    fn write_bytes_max(&self) -> usize {
        self.disk.borrow().write_bytes_max
    }

    fn path(&self, segment: u64) -> PathBuf {
        PathBuf::from(format!("simulated/{segment:016x}.wal"))
    }

    fn list(&mut self) -> Result<Vec<u64>, Error> {
        Ok(self.disk().names.keys().copied().collect())
    }

    fn read(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<usize, Error> {
        let disk = self.disk();
        let bytes = &disk.files[disk.names[&segment]].bytes;
        let start = (offset as usize).min(bytes.len());
        let end = (start + into.len()).min(bytes.len());
        into[..end - start].copy_from_slice(&bytes[start..end]);
        Ok(end - start)
    }

    fn sync(&mut self, segment: u64) -> Result<(), Error> {
        let mut disk = self.disk();
        let file = disk.names[&segment];
        disk.files[file].unsynced.clear();
        Ok(())
    }

    fn prepare(&mut self, segment: u64, recycle: Option<u64>) {
        let mut disk = self.disk();
        assert!(disk.preparing.is_none(), "one preparation at a time");
        disk.preparing = Some((segment, recycle));
    }

    fn prepared(&mut self, wait: bool) -> Option<Prepared> {
        let mut disk = self.disk();
        if !wait && disk.rng.random_bool(DELAY) {
            return None;
        }
        disk.end_preparation()
    }

    fn remove(&mut self, segment: u64) {
        let mut disk = self.disk();
        let file = disk.names.remove(&segment).expect("a segment that is there");
        disk.removed.push((segment, file));
    }

    fn finish(&mut self, segment: u64) {
        let disk = self.disk();
        assert!(disk.in_flight.iter().all(|flight| flight.write.segment != segment), "a write to a finished segment");
    }

    fn write(&mut self, write: Write) {
        let mut disk = self.disk();
        assert!(
            write.offset.is_multiple_of(4096) && write.start.is_multiple_of(4096) && write.end.is_multiple_of(4096)
        );
        assert!(write.start < write.end && write.end - write.start <= disk.write_bytes_max);
        disk.land_late_writes();
        let file = disk.names[&write.segment];
        disk.in_flight.push(Flight { file, write });
    }

    fn written(&mut self) -> Option<Written> {
        self.disk().end_write()
    }
}
