//! What the owner of a log can ask it.

use std::rc::Rc;

use super::gather::OpenGroup;
use super::log::Wal;
use super::storage::Storage;
use super::{Failure, Lsn};
use crate::buffers::Buffer;

/// Counters since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Records appended.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Of them, bytes that were copied to be gathered.
    pub copied_bytes: u64,
    /// Bytes of durable groups, headers and padding included.
    pub written_bytes: u64,
    /// Writes handed to the storage.
    pub writes: u64,
    /// Durable groups.
    pub groups: u64,
    /// Segments begun.
    pub segments: u64,
}

impl<S: Storage> Wal<S> {
    /// Every record up to this one is on disk.
    pub fn durable_lsn(&self) -> Lsn {
        self.durable_lsn
    }

    /// The last record that was appended, in this run or an earlier one; 0 if there is none.
    pub fn appended_lsn(&self) -> Lsn {
        self.next_lsn - 1
    }

    /// The first failure, if there was one.
    pub fn poisoned(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Whether the last try to make a segment found no room on disk. Appends go on into segments that are ready.
    pub fn is_full(&self) -> bool {
        self.supply.is_full()
    }

    /// Lets the next `pump` try to make a segment again although there was no room. Call it about once a second while
    /// [`Wal::is_full`].
    pub fn retry_full(&mut self) {
        self.supply.retry();
    }

    /// The buffer of a record appended as [`Payload::Whole`], while the log still has it: its payload can be read while
    /// it is being written.
    pub fn payload(&self, lsn: Lsn) -> Option<Rc<Buffer>> {
        self.queue.whole(lsn).cloned()
    }

    /// Bytes of the segments whose records may be needed: what a snapshot would let go, but for the last.
    pub fn live_bytes(&self) -> u64 {
        self.supply.live_count() as u64 * self.storage.segment_bytes()
    }

    /// Bytes of a segment.
    pub fn segment_bytes(&self) -> u64 {
        self.storage.segment_bytes()
    }

    /// Segments that [`Wal::release_before`] would let go.
    pub fn releasable(&self, lsn: Lsn) -> usize {
        self.supply.releasable(lsn.min(self.durable_lsn + 1))
    }

    /// Bytes of all segments on disk.
    pub fn size_bytes(&self) -> u64 {
        self.supply.count() as u64 * self.storage.segment_bytes()
    }

    /// Bytes appended and not known to be durable, padding included.
    pub fn backlog_bytes(&self) -> usize {
        self.queue.bytes() + self.open_group.as_ref().map_or(0, OpenGroup::padded_bytes)
    }

    /// Whether nothing is in flight and nothing will be: all is durable, or the log is poisoned.
    pub fn is_idle(&self) -> bool {
        let is_done = self.queue.is_empty() && self.open_group.is_none();
        self.queue.in_flight() == 0 && (is_done || self.failure.is_some())
    }

    /// Counters since the log was opened.
    pub fn metrics(&self) -> Metrics {
        self.metrics
    }

    /// Writes that the storage has and has not ended.
    pub fn writes_in_flight(&self) -> usize {
        self.queue.in_flight()
    }

    /// What the log writes to.
    pub fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }
}
