//! Reading the log back: the chain from one LSN to its end, and where the next run goes on. It is done in steps, so that
//! whoever reads can do other things in between.
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
use super::witness::Search;
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

/// Hands every record from `from` on to `sink`, in order, and says where the log ends: a [`Replay`] in one go.
///
/// # Errors
/// As [`Replay::begin`] and [`Replay::step`].
pub fn replay<S: Storage>(storage: &mut S, from: Lsn, sink: &mut RecordSink<'_>) -> Result<Resume, Error> {
    let mut replay = Replay::begin(storage, from)?;
    loop {
        if let Some(resume) = replay.step(storage, STEP_BYTES, sink)? {
            return Ok(resume);
        }
    }
}

/// A step of a replay that nobody waits for.
const STEP_BYTES: u64 = 4 << 20;

/// The next record's place in the chain.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    pub lsn: Lsn,
    pub checksum: u32,
    /// Where it would be in the current segment.
    pub offset: u64,
}

/// A replay under way. It reads only, and every step is given the same storage.
///
/// Needs at most 8 MiB, of which the kernel's read-ahead is 6; for a record above 2 MiB that record's size takes the
/// place of the other 2.
pub struct Replay {
    pub(super) catalog: Vec<Entry>,
    pub(super) window: Window,
    pub(super) from: Lsn,
    pub(super) chain: Chain,
    /// Segment in which the chain has arrived: its index in the catalog.
    pub(super) tail: usize,
    /// Index of the segment that the chain starts in.
    first: usize,
    /// LSN from which on later segments overrule the current one.
    overruled: Lsn,
    live: Vec<LiveSegment>,
    state: State,
    passed_bytes: u64,
}

enum State {
    /// Going along the chain.
    Walking,
    /// The chain has ended; looking for proof that it should not have.
    Searching(Search),
    /// The log holds nothing that is needed.
    Empty,
    /// A step has said where the log ends, or what is wrong with it.
    Over,
}

impl Replay {
    /// Looks at what there is. `from` is at most one above the last record that was durable; 0 means the beginning.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming file and position, [`Error::NewerFormat`], [`Error::Io`].
    pub fn begin<S: Storage>(storage: &mut S, from: Lsn) -> Result<Replay, Error> {
        let from = from.max(FIRST_LSN);
        let catalog = catalog(storage)?;
        let begins_at_or_before = |entry: &Entry| entry.header.is_some_and(|header| header.first_lsn <= from);
        let first = catalog.iter().rposition(begins_at_or_before);
        let mut replay = Replay {
            catalog,
            window: Window::new(),
            from,
            chain: Chain { lsn: from, checksum: 0, offset: 0 },
            tail: 0,
            first: first.unwrap_or(0),
            overruled: Lsn::MAX,
            live: Vec::new(),
            state: State::Empty,
            passed_bytes: 0,
        };
        match first {
            Some(first) => {
                let header = replay.header(first);
                replay.chain = Chain { lsn: header.first_lsn, checksum: header.previous_checksum, offset: 0 };
                replay.enter(first);
                replay.state = State::Walking;
            }
            None => replay.check_nothing_needed(storage)?,
        }
        Ok(replay)
    }

    /// Reads on for about `bytes_max` bytes, and at least one record; each record goes to `sink`. Says where the log ends
    /// once it is known; that was the last step then, as it is after an error.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming file and position, [`Error::Io`], and whatever `sink` returns.
    pub fn step<S: Storage>(
        &mut self,
        storage: &mut S,
        bytes_max: u64,
        sink: &mut RecordSink<'_>,
    ) -> Result<Option<Resume>, Error> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Walking => {
                let has_ended = self.walk(storage, bytes_max, sink)?;
                self.state = if has_ended { State::Searching(self.search_at_end()) } else { State::Walking };
                Ok(None)
            }
            State::Searching(mut search) => {
                let Some(is_proven) = self.search(storage, &mut search, bytes_max)? else {
                    self.state = State::Searching(search);
                    return Ok(None);
                };
                self.check_end(storage, is_proven)?;
                self.resume(storage).map(Some)
            }
            State::Empty => {
                let discard = self.catalog.iter().map(|entry| entry.number).collect();
                let (epoch, next_segment) = (self.epoch(), self.next_number());
                Ok(Some(Resume { next_lsn: self.from, epoch, next_segment, discard, ..Resume::default() }))
            }
            State::Over => panic!("a replay that is over was asked to go on"),
        }
    }

    /// Bytes of the log that lie behind: those of records, whether needed or not.
    pub fn passed_bytes(&self) -> u64 {
        self.passed_bytes
    }

    /// Bytes of the log to go through, at most.
    pub fn total_bytes<S: Storage>(&self, storage: &S) -> u64 {
        let begun = self.catalog[self.first.min(self.catalog.len())..].iter().filter(|entry| entry.header.is_some());
        begun.count() as u64 * storage.segment_bytes()
    }

    /// Follows the chain. True when it has ended.
    fn walk<S: Storage>(&mut self, storage: &mut S, bytes_max: u64, sink: &mut RecordSink<'_>) -> Result<bool, Error> {
        let end = self.passed_bytes + bytes_max;
        while self.passed_bytes < end {
            let bytes = if self.chain.lsn < self.overruled { self.record(storage, sink)? } else { 0 };
            self.passed_bytes += bytes;
            if bytes == 0 {
                let Some(next) = self.next_segment(storage)? else { return Ok(true) };
                self.enter(next);
            }
        }
        Ok(false)
    }

    /// Goes on in another segment.
    fn enter(&mut self, index: usize) {
        let header = self.header(index);
        let later = self.catalog[index + 1..].iter().filter_map(|entry| entry.header);
        let overruling = later.filter(|later| later.epoch > header.epoch).map(|later| later.first_lsn).min();
        self.overruled = overruling.unwrap_or(Lsn::MAX);
        self.live.push(LiveSegment { number: header.segment, first_lsn: header.first_lsn });
        self.tail = index;
        self.chain.offset = SEGMENT_HEADER_BYTES as u64;
    }

    /// Reads the record at the chain's end, if it is one: the bytes that it takes, or 0.
    fn record<S: Storage>(&mut self, storage: &mut S, sink: &mut RecordSink<'_>) -> Result<u64, Error> {
        let segment = self.header(self.tail);
        let next_group = self.chain.offset.next_multiple_of(SECTOR_BYTES as u64);
        let mut offset = self.chain.offset;
        let mut found = self.record_at(storage, &segment, offset)?;
        if found.is_none() && next_group != offset {
            found = self.record_at(storage, &segment, next_group)?;
            offset = next_group;
        }
        let Some(record) = found else {
            return Ok(0);
        };
        let payload_offset = offset + RECORD_HEADER_BYTES as u64;
        let len = record.payload_bytes as usize;
        if payload_offset + len as u64 > storage.segment_bytes() {
            return Ok(0);
        }
        if self.chain.lsn >= self.from {
            let payload = self.window.read(storage, segment.segment, payload_offset, len)?;
            if payload.len() != len || crc32c(payload) != record.payload_crc {
                self.chain.offset = offset;
                return Ok(0);
            }
            sink(self.chain.lsn, payload)?;
        }
        let before = self.chain.offset;
        self.chain.lsn += 1;
        self.chain.checksum = record.checksum;
        self.chain.offset = (payload_offset + len as u64).next_multiple_of(RECORD_HEADER_BYTES as u64);
        Ok(self.chain.offset - before)
    }

    fn record_at<S: Storage>(
        &mut self,
        storage: &mut S,
        segment: &SegmentHeader,
        offset: u64,
    ) -> Result<Option<RecordHeader>, Error> {
        let bytes = self.window.read(storage, segment.segment, offset, RECORD_HEADER_BYTES)?;
        if bytes.len() < RECORD_HEADER_BYTES {
            return Ok(None);
        }
        Ok(RecordHeader::decode(bytes).filter(|record| {
            record.lsn == self.chain.lsn
                && record.previous_checksum == self.chain.checksum
                && record.segment == segment.segment
                && record.epoch == segment.epoch
                && record.salt == segment.salt
        }))
    }

    /// The segment in which the chain goes on.
    fn next_segment<S: Storage>(&self, storage: &S) -> Result<Option<usize>, Error> {
        let epoch = self.header(self.tail).epoch;
        for next in self.tail + 1..self.catalog.len() {
            let Some(candidate) = self.catalog[next].header else {
                continue;
            };
            if candidate.first_lsn != self.chain.lsn || candidate.epoch < epoch {
                continue;
            }
            if candidate.previous_checksum == self.chain.checksum {
                return Ok(Some(next));
            }
            if candidate.epoch > epoch {
                return Err(self.damaged(storage, next, 0, "its header does not continue the record before it"));
            }
        }
        Ok(None)
    }

    /// Where the next run goes on, once the whole chain is known.
    fn resume<S: Storage>(&mut self, storage: &mut S) -> Result<Resume, Error> {
        let (mut spares, mut discard) = (Vec::new(), Vec::new());
        for (index, entry) in self.catalog.iter().enumerate() {
            if self.live.iter().all(|segment| segment.number != entry.number) {
                // One behind the chain's end with a header was written by the run before, and its records were not durable: it
                // must not be taken for a part of the chain some day. All others can be written over, those without a header, which
                // were ready for the run before, too. Deleting is dear: a file system that discards holds up all reads meanwhile.
                let is_spare = index < self.first || entry.header.is_none();
                if is_spare { &mut spares } else { &mut discard }.push(entry.number);
            }
        }
        let (offset, _) = self.place_of_next(storage)?;
        Ok(Resume {
            next_lsn: self.chain.lsn,
            epoch: self.epoch(),
            previous_checksum: self.chain.checksum,
            next_segment: self.next_number(),
            live: std::mem::take(&mut self.live),
            spares,
            discard,
            end: Some((storage.path(self.catalog[self.tail].number), offset)),
        })
    }

    /// Where the record at the chain's end is or should be, and whether its header says that it is that.
    pub(super) fn place_of_next<S: Storage>(&mut self, storage: &mut S) -> Result<(u64, bool), Error> {
        let (number, Chain { lsn, offset, .. }) = (self.catalog[self.tail].number, self.chain);
        let bytes = self.window.read(storage, number, offset, RECORD_HEADER_BYTES)?;
        if bytes.iter().all(|byte| *byte == 0) {
            // Padding: the record would have begun a group.
            return Ok((offset.next_multiple_of(SECTOR_BYTES as u64), false));
        }
        let is_record = RecordHeader::decode(bytes).is_some_and(|record| record.lsn == lsn && record.segment == number);
        Ok((offset, is_record))
    }

    fn header(&self, index: usize) -> SegmentHeader {
        self.catalog[index].header.expect("the chain goes from header to header")
    }

    fn epoch(&self) -> u32 {
        self.catalog.iter().map(|entry| entry.epoch).max().unwrap_or(0)
    }

    /// Number for the next segment, above any that is on disk.
    fn next_number(&self) -> u64 {
        self.catalog.last().map_or(1, |entry| entry.number + 1)
    }

    pub(super) fn damaged<S: Storage>(&self, storage: &S, index: usize, offset: u64, problem: &'static str) -> Error {
        Error::Damaged { path: storage.path(self.catalog[index].number), offset, problem }
    }
}
