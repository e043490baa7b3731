//! The end of the chain: whether a crash cut the log there, or a record that was durable is damaged or gone.

use super::catalog::Entry;
use super::record::{RECORD_HEADER_BYTES, RecordHeader};
use super::replay::Replay;
use super::segment::SEGMENT_HEADER_BYTES;
use super::storage::Storage;
use super::{FIRST_LSN, SECTOR_BYTES};
use crate::error::Error;

/// A search for a witness that the record at the chain's end was durable, as far as it has come.
pub(super) struct Search {
    /// Segment that is looked at, as its index in the catalog.
    index: usize,
    /// Where in it; `None` before its header was.
    offset: Option<u64>,
}

impl Replay {
    /// A search from the chain's end on.
    pub(super) fn search_at_end(&self) -> Search {
        Search { index: self.tail, offset: None }
    }

    /// Looks on for about `bytes_max` bytes. `None` where that was not enough; else whether there is a witness.
    pub(super) fn search<S: Storage>(
        &mut self,
        storage: &mut S,
        search: &mut Search,
        bytes_max: u64,
    ) -> Result<Option<bool>, Error> {
        let mut bytes = 0;
        while search.index < self.catalog.len() {
            let Entry { number, header, is_broken, .. } = self.catalog[search.index];
            let is_tail = search.index == self.tail;
            let starts_in_it = is_tail && self.chain.offset > 0;
            if header.is_some_and(|header| header.commit_lsn >= self.chain.lsn && !starts_in_it) {
                return Ok(Some(true));
            }
            // Every group was written at a multiple of the sector; a witness within the broken group cannot be, as
            // its records were appended before any of them was durable.
            let start = if is_tail { self.chain.offset } else { SEGMENT_HEADER_BYTES as u64 };
            let mut offset = search.offset.unwrap_or(start.next_multiple_of(SECTOR_BYTES as u64));
            let end = if header.is_some() || is_broken { storage.segment_bytes() } else { 0 };
            while offset < end {
                if bytes >= bytes_max {
                    search.offset = Some(offset);
                    return Ok(None);
                }
                let found = self.window.read(storage, number, offset, RECORD_HEADER_BYTES)?;
                if found.len() < RECORD_HEADER_BYTES {
                    break;
                }
                let is_witness = RecordHeader::decode(found).is_some_and(|record| {
                    record.segment == number
                        && header.is_none_or(|header| header.salt == record.salt && header.epoch == record.epoch)
                        && record.commit_lsn >= self.chain.lsn
                });
                if is_witness {
                    return Ok(Some(true));
                }
                offset += SECTOR_BYTES as u64;
                bytes += SECTOR_BYTES as u64;
            }
            *search = Search { index: search.index + 1, offset: None };
        }
        Ok(Some(false))
    }

    /// Refuses a log whose chain ends before a record that must be there.
    pub(super) fn check_end<S: Storage>(&mut self, storage: &mut S, is_proven: bool) -> Result<(), Error> {
        if !is_proven && self.chain.lsn >= self.from {
            return Ok(());
        }
        let (offset, is_record) = self.place_of_next(storage)?;
        match self.catalog[self.tail..].iter().position(|entry| entry.is_broken) {
            Some(later) if !is_record => {
                Err(self.damaged(storage, self.tail + later, 0, "its header block is damaged"))
            }
            _ => Err(self.damaged(storage, self.tail, offset, "a record that was durable is damaged or missing")),
        }
    }

    /// With no segment to start from, there must be nothing that was durable at or after the LSN asked for.
    pub(super) fn check_nothing_needed<S: Storage>(&mut self, storage: &mut S) -> Result<(), Error> {
        if self.catalog.is_empty() {
            if self.from > FIRST_LSN {
                tracing::warn!(from = self.from, shard = storage.shard(), "the log is empty: starting a new one");
            }
            return Ok(());
        }
        let mut search = self.search_at_end();
        if self.from == FIRST_LSN && self.search(storage, &mut search, u64::MAX)? == Some(false) {
            return Ok(());
        }
        match self.catalog.iter().position(|entry| entry.is_broken) {
            Some(broken) => Err(self.damaged(storage, broken, 0, "its header block is damaged")),
            None => Err(self.damaged(storage, 0, 0, "the segments before it are missing")),
        }
    }
}
