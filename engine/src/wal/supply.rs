//! Which segments there are: live ones with records, ready ones ahead of the writer, spares to recycle.

use std::collections::VecDeque;

use super::replay::{LiveSegment, Resume};
use super::storage::Storage;
use super::{Failure, Lsn, is_disk_full};
use crate::error::Error;
use crate::limits::{WAL_READY_SEGMENTS, WAL_SPARE_SEGMENTS_MAX};

/// The segments of a running log.
pub(super) struct Supply {
    /// Segments with records, ascending; the last is being written.
    live: VecDeque<Live>,
    /// Prepared ones, ascending, all above the live ones.
    ready: VecDeque<u64>,
    /// Released ones, under the numbers they had.
    spares: Vec<u64>,
    preparing: bool,
    next_number: u64,
    /// The last preparation found no room.
    full: bool,
    /// Prepare in spite of that.
    retry: bool,
}

struct Live {
    number: u64,
    first_lsn: Lsn,
    header_durable: bool,
}

impl Supply {
    /// Takes over what an earlier run left, removes what is of no use and starts to prepare the first segment.
    pub(super) fn open<S: Storage>(storage: &mut S, resume: &Resume) -> Supply {
        for segment in &resume.discard {
            storage.remove(*segment);
        }
        let live =
            |segment: &LiveSegment| Live { number: segment.number, first_lsn: segment.first_lsn, header_durable: true };
        let mut supply = Supply {
            live: resume.live.iter().map(live).collect(),
            ready: VecDeque::new(),
            spares: resume.spares.clone(),
            preparing: false,
            next_number: resume.next_segment,
            full: false,
            retry: false,
        };
        supply.trim(storage);
        supply.prepare(storage);
        supply
    }

    /// Waits for the segment that is being prepared.
    pub(super) fn wait<S: Storage>(&mut self, storage: &mut S) -> Result<(), Error> {
        let prepared = storage.prepared(true).expect("a preparation that was started ends");
        let number = prepared.segment;
        self.take_note(storage, prepared).map_err(|failure| match failure {
            Failure::Prepare { path, source } => Error::Io { operation: "prepare", path, source },
            other => unreachable!("preparing wrote nothing: {other}"),
        })?;
        if self.full {
            return Err(Error::DiskFull { shard: storage.shard(), path: storage.path(number) });
        }
        self.prepare(storage);
        Ok(())
    }

    /// Takes note of ended preparations and starts the next. Whether something happened.
    pub(super) fn poll<S: Storage>(&mut self, storage: &mut S) -> Result<bool, Failure> {
        let mut progress = false;
        if self.preparing
            && let Some(prepared) = storage.prepared(false)
        {
            self.take_note(storage, prepared)?;
            progress = true;
        }
        Ok(self.prepare(storage) || progress)
    }

    fn take_note<S: Storage>(&mut self, storage: &S, prepared: super::Prepared) -> Result<(), Failure> {
        assert!(self.preparing && prepared.segment == self.next_number);
        self.preparing = false;
        match prepared.result {
            Ok(()) => {
                if std::mem::take(&mut self.full) {
                    tracing::info!(shard = storage.shard(), "there is room on disk again for the log");
                }
                self.ready.push_back(prepared.segment);
                self.next_number += 1;
                Ok(())
            }
            Err(source) => {
                self.spares.extend(prepared.recycled);
                if is_disk_full(&source) {
                    if !std::mem::replace(&mut self.full, true) {
                        let path = storage.path(prepared.segment);
                        tracing::warn!(path = %path.display(), "no room on disk for another log segment");
                    }
                    return Ok(());
                }
                Err(Failure::Prepare { path: storage.path(prepared.segment), source })
            }
        }
    }

    fn prepare<S: Storage>(&mut self, storage: &mut S) -> bool {
        let blocked = self.full && !self.retry;
        if self.preparing || blocked || self.ready.len() >= WAL_READY_SEGMENTS {
            return false;
        }
        self.retry = false;
        self.preparing = true;
        storage.prepare(self.next_number, self.spares.pop());
        true
    }

    /// Whether the writer can go on to another segment.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether the last preparation found no room on disk.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Lets the next poll try again although there was no room.
    pub(super) fn retry(&mut self) {
        self.retry = true;
    }

    /// Makes the next ready segment the one being written.
    pub(super) fn begin(&mut self, first_lsn: Lsn) -> u64 {
        let number = self.ready.pop_front().expect("a segment is ready");
        assert!(self.live.back().is_none_or(|last| last.number < number && last.first_lsn <= first_lsn));
        self.live.push_back(Live { number, first_lsn, header_durable: false });
        number
    }

    pub(super) fn header_is_durable(&mut self, segment: u64) {
        let live = self.live.iter_mut().rev().find(|live| live.number == segment);
        live.expect("a segment lives until it is released").header_durable = true;
    }

    /// Releases segments all of whose records are below `lsn`. Not the last one whose header is durable: it is what
    /// a start finds.
    pub(super) fn release_before<S: Storage>(&mut self, storage: &mut S, lsn: Lsn) {
        while self.live.len() > 1 && self.live[1].first_lsn <= lsn && self.live[1].header_durable {
            let released = self.live.pop_front().expect("more than one");
            self.spares.push(released.number);
            self.retry = true;
        }
        self.trim(storage);
    }

    /// Segments that `release_before` would release.
    pub(super) fn releasable(&self, lsn: Lsn) -> usize {
        let goes = |next: &&Live| next.first_lsn <= lsn && next.header_durable;
        self.live.iter().skip(1).take_while(goes).count()
    }

    fn trim<S: Storage>(&mut self, storage: &mut S) {
        while self.spares.len() > WAL_SPARE_SEGMENTS_MAX {
            storage.remove(self.spares.pop().expect("more than the maximum"));
        }
    }

    /// Segments with records that may be needed.
    pub(super) fn live_count(&self) -> usize {
        self.live.len()
    }

    /// Segments on disk.
    pub(super) fn count(&self) -> usize {
        self.live.len() + self.ready.len() + self.spares.len() + usize::from(self.preparing)
    }
}
