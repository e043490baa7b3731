//! Reading the log back: the chain from one LSN to its end, and where the next run goes on.
//!
//! | what is found at the next LSN | a later segment begins there | a witness says it was durable | outcome |
//! |---|---|---|---|
//! | valid record, not overruled | – | – | handed to the caller |
//! | anything else | yes, and its chain fits | – | go on in that segment |
//! | anything else | yes, of a later epoch, and its chain does not fit | – | damaged |
//! | anything else | no | yes | damaged |
//! | anything else | no | no | end of the log, cut by a crash |
//!
//! A witness is a header, of a segment or a record behind the place, whose `commit_lsn` is not below that LSN.

use std::path::PathBuf;

use super::catalog::{Entry, catalog};
use super::reader::Window;
use super::record::{RECORD_HEADER_BYTES, RecordHeader};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::storage::Storage;
use super::{FIRST_LSN, Lsn, SECTOR_BYTES, crc32c};
use crate::error::Error;

/// A segment with records that may be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSegment {
    /// Its number.
    pub number: u64,
    /// LSN of its first record.
    pub first_lsn: Lsn,
}

/// Where the next run goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// LSN of the next record.
    pub next_lsn: Lsn,
    /// Highest epoch on disk.
    pub epoch: u32,
    /// Checksum of the last record.
    pub previous_checksum: u32,
    /// Number for the next segment, above any that is on disk.
    pub next_segment: u64,
    /// Segments of the chain, from the one that holds the LSN asked for.
    pub live: Vec<LiveSegment>,
    /// Segments wholly below the LSN asked for.
    pub spares: Vec<u64>,
    /// Segments that were never begun, or that a crash made void.
    pub discard: Vec<u64>,
    /// Where the chain ends: file and position. `None` for an empty log.
    pub end: Option<(PathBuf, u64)>,
}

/// Takes one record of a replay: its LSN and its payload.
pub type RecordSink<'a> = dyn FnMut(Lsn, &[u8]) -> Result<(), Error> + 'a;

/// Hands every record from `from` on to `sink`, in order, and says where the log ends. Reads only.
///
/// Needs at most 8 MiB, of which the kernel's read-ahead is 6; for a record above 2 MiB that record's size takes the
/// place of the other 2. `from` is at most one above the last record that was durable; 0 means the beginning.
///
/// # Errors
/// [`Error::Damaged`] naming file and position, [`Error::NewerFormat`], [`Error::Io`], and whatever `sink` returns.
pub fn replay<S: Storage>(storage: &mut S, from: Lsn, sink: &mut RecordSink<'_>) -> Result<Resume, Error> {
    let from = from.max(FIRST_LSN);
    let mut replay = Replay { catalog: catalog(storage)?, storage, window: Window::new(), from };
    let epoch = replay.catalog.iter().map(|entry| entry.epoch).max().unwrap_or(0);
    let next_segment = replay.catalog.last().map_or(1, |entry| entry.number + 1);
    let begins_at_or_before = |entry: &Entry| entry.header.is_some_and(|header| header.first_lsn <= from);
    let Some(first) = replay.catalog.iter().rposition(begins_at_or_before) else {
        replay.check_nothing_needed()?;
        let discard = replay.catalog.iter().map(|entry| entry.number).collect();
        return Ok(Resume { next_lsn: from, epoch, next_segment, discard, ..Resume::default() });
    };
    let (tail, chain, live) = replay.walk(first, sink)?;
    replay.check_end(tail, &chain)?;
    let (mut spares, mut discard) = (Vec::new(), Vec::new());
    for (index, entry) in replay.catalog.iter().enumerate() {
        if live.iter().all(|segment| segment.number != entry.number) {
            let is_spare = index < first && entry.header.is_some();
            if is_spare { &mut spares } else { &mut discard }.push(entry.number);
        }
    }
    let (offset, _) = replay.place_of_next(tail, &chain)?;
    let end = Some((replay.path(tail), offset));
    let (next_lsn, previous_checksum) = (chain.lsn, chain.checksum);
    Ok(Resume { next_lsn, epoch, previous_checksum, next_segment, live, spares, discard, end })
}

/// The next record's place in the chain.
struct Chain {
    lsn: Lsn,
    checksum: u32,
    /// Where it would be in the current segment.
    offset: u64,
}

struct Replay<'a, S: Storage> {
    storage: &'a mut S,
    catalog: Vec<Entry>,
    window: Window,
    from: Lsn,
}

impl<S: Storage> Replay<'_, S> {
    /// Follows the chain from a segment to its end.
    fn walk(&mut self, first: usize, sink: &mut RecordSink<'_>) -> Result<(usize, Chain, Vec<LiveSegment>), Error> {
        let mut live = Vec::new();
        let mut index = first;
        let mut header = self.catalog[first].header.expect("the chain starts at a header");
        let mut chain = Chain { lsn: header.first_lsn, checksum: header.previous_checksum, offset: 0 };
        loop {
            live.push(LiveSegment { number: header.segment, first_lsn: header.first_lsn });
            chain.offset = SEGMENT_HEADER_BYTES as u64;
            let later = self.catalog[index + 1..].iter().filter_map(|entry| entry.header);
            let overruled = later.filter(|later| later.epoch > header.epoch).map(|later| later.first_lsn).min();
            let end = overruled.unwrap_or(Lsn::MAX);
            while chain.lsn < end && self.step(&header, &mut chain, sink)? {}
            let Some(next) = self.next_segment(index, &header, &chain)? else {
                return Ok((index, chain, live));
            };
            index = next;
            header = self.catalog[index].header.expect("the next segment has a header");
        }
    }

    /// Reads the record at the chain's end, if it is one.
    fn step(&mut self, segment: &SegmentHeader, chain: &mut Chain, sink: &mut RecordSink<'_>) -> Result<bool, Error> {
        let next_group = chain.offset.next_multiple_of(SECTOR_BYTES as u64);
        let mut found = self.record_at(segment, chain, chain.offset)?;
        let mut offset = chain.offset;
        if found.is_none() && next_group != chain.offset {
            found = self.record_at(segment, chain, next_group)?;
            offset = next_group;
        }
        let Some(record) = found else {
            return Ok(false);
        };
        let payload_offset = offset + RECORD_HEADER_BYTES as u64;
        let len = record.payload_bytes as usize;
        if payload_offset + len as u64 > self.storage.segment_bytes() {
            return Ok(false);
        }
        if chain.lsn >= self.from {
            let payload = self.window.read(self.storage, segment.segment, payload_offset, len)?;
            if payload.len() != len || crc32c(payload) != record.payload_crc {
                chain.offset = offset;
                return Ok(false);
            }
            sink(chain.lsn, payload)?;
        }
        chain.lsn += 1;
        chain.checksum = record.checksum;
        chain.offset = (payload_offset + len as u64).next_multiple_of(RECORD_HEADER_BYTES as u64);
        Ok(true)
    }

    fn record_at(
        &mut self,
        segment: &SegmentHeader,
        chain: &Chain,
        offset: u64,
    ) -> Result<Option<RecordHeader>, Error> {
        let bytes = self.window.read(self.storage, segment.segment, offset, RECORD_HEADER_BYTES)?;
        if bytes.len() < RECORD_HEADER_BYTES {
            return Ok(None);
        }
        Ok(RecordHeader::decode(bytes).filter(|record| {
            record.lsn == chain.lsn
                && record.previous_checksum == chain.checksum
                && record.segment == segment.segment
                && record.epoch == segment.epoch
                && record.salt == segment.salt
        }))
    }

    /// The segment in which the chain goes on behind `index`.
    fn next_segment(&self, index: usize, header: &SegmentHeader, chain: &Chain) -> Result<Option<usize>, Error> {
        for next in index + 1..self.catalog.len() {
            let Some(candidate) = self.catalog[next].header else {
                continue;
            };
            if candidate.first_lsn != chain.lsn || candidate.epoch < header.epoch {
                continue;
            }
            if candidate.previous_checksum == chain.checksum {
                return Ok(Some(next));
            }
            if candidate.epoch > header.epoch {
                return Err(self.damaged(next, 0, "its header does not continue the record before it"));
            }
        }
        Ok(None)
    }

    /// Refuses a log whose chain ends before a record that must be there.
    fn check_end(&mut self, tail: usize, chain: &Chain) -> Result<(), Error> {
        let is_proven = chain.lsn < self.from || self.has_witness(tail, chain)?;
        if !is_proven {
            return Ok(());
        }
        let (offset, is_record) = self.place_of_next(tail, chain)?;
        match self.catalog[tail..].iter().position(|entry| entry.is_broken) {
            Some(later) if !is_record => Err(self.damaged(tail + later, 0, "its header block is damaged")),
            _ => Err(self.damaged(tail, offset, "a record that was durable is damaged or missing")),
        }
    }

    /// With no segment to start from, there must be nothing that was durable at or after `from`.
    fn check_nothing_needed(&mut self) -> Result<(), Error> {
        if self.catalog.is_empty() {
            if self.from > FIRST_LSN {
                tracing::warn!(from = self.from, shard = self.storage.shard(), "the log is empty: starting a new one");
            }
            return Ok(());
        }
        let chain = Chain { lsn: self.from, checksum: 0, offset: 0 };
        if self.from == FIRST_LSN && !self.has_witness(0, &chain)? {
            return Ok(());
        }
        match self.catalog.iter().position(|entry| entry.is_broken) {
            Some(broken) => Err(self.damaged(broken, 0, "its header block is damaged")),
            None => Err(self.damaged(0, 0, "the segments before it are missing")),
        }
    }

    /// Whether anything behind the chain's end says that its next record was durable.
    fn has_witness(&mut self, tail: usize, chain: &Chain) -> Result<bool, Error> {
        for index in tail..self.catalog.len() {
            let Entry { number, header, is_broken, .. } = self.catalog[index];
            if header.is_some_and(|header| header.commit_lsn >= chain.lsn && (index > tail || chain.offset == 0)) {
                return Ok(true);
            }
            if header.is_none() && !is_broken {
                continue;
            }
            // Every group was written at a multiple of the sector; a witness within the broken group cannot be, as
            // its records were appended before any of them was durable.
            let start = if index == tail { chain.offset } else { SEGMENT_HEADER_BYTES as u64 };
            let mut offset = start.next_multiple_of(SECTOR_BYTES as u64);
            while offset < self.storage.segment_bytes() {
                let bytes = self.window.read(self.storage, number, offset, RECORD_HEADER_BYTES)?;
                if bytes.len() < RECORD_HEADER_BYTES {
                    break;
                }
                let of_this_life = |record: &RecordHeader| {
                    record.segment == number
                        && header.is_none_or(|header| header.salt == record.salt && header.epoch == record.epoch)
                };
                if RecordHeader::decode(bytes)
                    .is_some_and(|record| of_this_life(&record) && record.commit_lsn >= chain.lsn)
                {
                    return Ok(true);
                }
                offset += SECTOR_BYTES as u64;
            }
        }
        Ok(false)
    }

    /// Where the record at the chain's end is or should be, and whether its header says that it is that.
    fn place_of_next(&mut self, tail: usize, chain: &Chain) -> Result<(u64, bool), Error> {
        let number = self.catalog[tail].number;
        let bytes = self.window.read(self.storage, number, chain.offset, RECORD_HEADER_BYTES)?;
        if bytes.iter().all(|byte| *byte == 0) {
            // Padding: the record would have begun a group.
            return Ok((chain.offset.next_multiple_of(SECTOR_BYTES as u64), false));
        }
        let is_record =
            RecordHeader::decode(bytes).is_some_and(|record| record.lsn == chain.lsn && record.segment == number);
        Ok((chain.offset, is_record))
    }

    fn path(&self, index: usize) -> PathBuf {
        self.storage.path(self.catalog[index].number)
    }

    fn damaged(&self, index: usize, offset: u64, problem: &'static str) -> Error {
        Error::Damaged { path: self.path(index), offset, problem }
    }
}
