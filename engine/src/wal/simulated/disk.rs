//! The state of the simulated disk: what has arrived, what is synced, what is on its way.

use std::collections::BTreeMap;
use std::io;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Crash, DELAY, Faults};
use crate::wal::storage::{Prepared, Write, Written};

/// What a disk tears writes at.
const TEAR_BYTES: usize = 512;

pub(super) struct Disk {
    pub rng: StdRng,
    pub segment_bytes: usize,
    pub write_bytes_max: usize,
    pub faults: Faults,
    /// Counts crashes, so that a storage of a run that is over cannot be used.
    pub run: u64,
    pub names: BTreeMap<u64, usize>,
    pub files: Vec<SimFile>,
    /// Names taken away since the directory was last synced.
    pub removed: Vec<(u64, usize)>,
    pub in_flight: Vec<Flight>,
    /// Writes of a killed run that have not reached the disk.
    late: Vec<(usize, usize, Vec<u8>)>,
    pub preparing: Option<(u64, Option<u64>)>,
    pub writes: u64,
}

pub(super) struct SimFile {
    pub bytes: Vec<u8>,
    /// Sectors that are not synced, with their synced content.
    pub unsynced: BTreeMap<usize, [u8; TEAR_BYTES]>,
}

pub(super) struct Flight {
    pub file: usize,
    pub write: Write,
}

impl Disk {
    pub fn new(seed: u64, segment_bytes: usize, write_bytes_max: usize) -> Disk {
        Disk {
            rng: StdRng::seed_from_u64(seed),
            segment_bytes,
            write_bytes_max,
            faults: Faults::default(),
            run: 0,
            names: BTreeMap::new(),
            files: Vec::new(),
            removed: Vec::new(),
            in_flight: Vec::new(),
            late: Vec::new(),
            preparing: None,
            writes: 0,
        }
    }

    /// Writes to a file; synced or, as far as a crash is concerned, not.
    fn put(&mut self, file: usize, offset: usize, bytes: &[u8], is_synced: bool) {
        assert!(offset.is_multiple_of(TEAR_BYTES) && bytes.len().is_multiple_of(TEAR_BYTES));
        let file = &mut self.files[file];
        for (index, sector) in bytes.chunks_exact(TEAR_BYTES).enumerate() {
            let at = offset + index * TEAR_BYTES;
            let place = &mut file.bytes[at..at + TEAR_BYTES];
            if is_synced {
                file.unsynced.remove(&at);
            } else {
                let before: [u8; TEAR_BYTES] = (&*place).try_into().expect("one sector");
                file.unsynced.entry(at).or_insert(before);
            }
            place.copy_from_slice(sector);
        }
    }

    /// Any part of a write reaches the disk.
    fn put_part(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        let sectors = bytes.len() / TEAR_BYTES;
        let mode = self.rng.random_range(0..4);
        let end = self.rng.random_range(0..=sectors);
        for sector in 0..sectors {
            let arrives = match mode {
                0 => false,
                1 => true,
                2 => sector < end,
                _ => self.rng.random_bool(0.5),
            };
            if arrives {
                let start = sector * TEAR_BYTES;
                self.put(file, offset + start, &bytes[start..start + TEAR_BYTES], false);
            }
        }
    }

    pub fn land_late_writes(&mut self) {
        for (file, offset, bytes) in std::mem::take(&mut self.late) {
            self.put_part(file, offset, &bytes);
        }
    }

    pub fn crash(&mut self, crash: Crash) {
        self.run += 1;
        self.land_late_writes();
        for Flight { file, write } in std::mem::take(&mut self.in_flight) {
            let bytes = write.memory[write.start..write.end].to_vec();
            if crash == Crash::Kill && self.rng.random_bool(0.3) {
                self.late.push((file, write.offset as usize, bytes));
            } else {
                self.put_part(file, write.offset as usize, &bytes);
            }
        }
        if let Some((segment, recycle)) = self.preparing.take()
            && self.rng.random_bool(0.5)
        {
            self.make(segment, recycle);
        }
        if crash == Crash::PowerLoss {
            for (name, file) in std::mem::take(&mut self.removed) {
                if self.rng.random_bool(0.5) {
                    self.names.entry(name).or_insert(file);
                }
            }
            for file in &mut self.files {
                for (at, before) in std::mem::take(&mut file.unsynced) {
                    if self.rng.random_bool(0.5) {
                        file.bytes[at..at + TEAR_BYTES].copy_from_slice(&before);
                    }
                }
            }
        }
    }

    fn make(&mut self, segment: u64, recycle: Option<u64>) {
        let file = match recycle {
            Some(spare) => self.names.remove(&spare).expect("a spare that is there"),
            None => {
                self.files.push(SimFile { bytes: vec![0; self.segment_bytes], unsynced: BTreeMap::new() });
                self.files.len() - 1
            }
        };
        assert!(self.names.insert(segment, file).is_none(), "segment {segment} is there already");
        self.removed.clear();
    }

    pub fn end_write(&mut self) -> Option<Written> {
        if self.in_flight.is_empty() || self.rng.random_bool(DELAY) {
            return None;
        }
        let index = self.rng.random_range(0..self.in_flight.len());
        let Flight { file, write } = self.in_flight.swap_remove(index);
        let bytes = &write.memory[write.start..write.end];
        let (ticket, offset) = (write.ticket, write.offset as usize);
        self.writes += 1;
        let error = match Some(self.writes) {
            number if number == self.faults.fail_write => Some(libc::EIO),
            number if number == self.faults.full_write => Some(libc::ENOSPC),
            _ => None,
        };
        if let Some(error) = error {
            self.put_part(file, offset, bytes);
            return Some(Written { ticket, result: Err(io::Error::from_raw_os_error(error)) });
        }
        let mut len = bytes.len();
        if Some(self.writes) == self.faults.stuck_write {
            len = TEAR_BYTES;
        } else if len > 4096 && self.faults.short > 0.0 && self.rng.random_bool(self.faults.short) {
            len = self.rng.random_range(8..=len / TEAR_BYTES) * TEAR_BYTES;
        }
        self.put(file, offset, &bytes[..len], true);
        Some(Written { ticket, result: Ok(len as u32) })
    }

    pub fn end_preparation(&mut self) -> Option<Prepared> {
        let (segment, recycled) = self.preparing.take()?;
        let has_room = recycled.is_some() || self.faults.segments_max.is_none_or(|max| self.names.len() < max);
        let result = if has_room {
            self.make(segment, recycled);
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        };
        Some(Prepared { segment, recycled, result })
    }
}
