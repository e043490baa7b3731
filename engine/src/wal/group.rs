//! Groups on their way to disk: cut into writes, sent in order, completed in any order, acknowledged in order.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::storage::{Storage, Write, Written};
use super::{Failure, Lsn, SECTOR_BYTES, is_disk_full};
use crate::buffers::Buffer;
use crate::limits::WAL_WRITES_IN_FLIGHT_MAX;
use crate::probes;

/// What a group's memory holds, and so where it goes afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The header block of a segment.
    SegmentHeader,
    /// Small records, copied together.
    Gathered,
    /// One record in its sender's buffer.
    Whole,
}

/// A run of bytes for one place in one segment.
#[derive(Debug)]
pub(super) struct Group {
    pub memory: Rc<Buffer>,
    pub content: Content,
    pub segment: u64,
    /// Position in the segment.
    pub offset: u64,
    /// Bytes to write, from the start of the memory; a multiple of the sector.
    pub bytes: usize,
    /// Last record of the group; for a header block the record before it.
    pub last_lsn: Lsn,
}

struct Queued {
    group: Group,
    /// Bytes handed to the storage.
    issued: usize,
    /// Bytes durable.
    written: usize,
}

#[derive(Clone, Copy)]
struct Flight {
    /// Counts groups from the first ever queued.
    sequence: u64,
    start: usize,
    end: usize,
}

/// The groups that are not durable yet, oldest first.
pub(super) struct WriteQueue {
    queued: VecDeque<Queued>,
    /// Sequence of the front.
    front: u64,
    /// Sequence of the first group that is not wholly issued.
    cursor: u64,
    flights: [Option<Flight>; WAL_WRITES_IN_FLIGHT_MAX],
    in_flight: usize,
    bytes: usize,
}

impl WriteQueue {
    pub(super) fn new() -> WriteQueue {
        let flights = [None; WAL_WRITES_IN_FLIGHT_MAX];
        WriteQueue { queued: VecDeque::new(), front: 0, cursor: 0, flights, in_flight: 0, bytes: 0 }
    }

    pub(super) fn push(&mut self, group: Group) {
        assert!(group.bytes > 0 && group.bytes.is_multiple_of(SECTOR_BYTES));
        assert!(group.offset.is_multiple_of(SECTOR_BYTES as u64) && group.bytes <= group.memory.len());
        self.bytes += group.bytes;
        self.queued.push_back(Queued { group, issued: 0, written: 0 });
    }

    /// Bytes of all groups here.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether every byte is with the storage.
    pub(super) fn is_all_issued(&self) -> bool {
        self.cursor == self.front + self.queued.len() as u64
    }

    /// Hands writes to the storage while fewer than the maximum are in flight; returns how many.
    pub(super) fn issue<S: Storage>(&mut self, storage: &mut S) -> usize {
        let mut count = 0;
        while self.in_flight < WAL_WRITES_IN_FLIGHT_MAX && !self.is_all_issued() {
            let sequence = self.cursor;
            let queued = &mut self.queued[(sequence - self.front) as usize];
            let start = queued.issued;
            let end = queued.group.bytes.min(start + storage.write_bytes_max());
            queued.issued = end;
            if end == queued.group.bytes {
                self.cursor += 1;
            }
            self.fly(storage, Flight { sequence, start, end });
            count += 1;
        }
        count
    }

    fn fly<S: Storage>(&mut self, storage: &mut S, flight: Flight) {
        let ticket = self.flights.iter().position(Option::is_none).expect("fewer in flight than the maximum");
        self.flights[ticket] = Some(flight);
        self.in_flight += 1;
        probes::wal_write_begin(storage.shard(), ticket as u32, flight.end - flight.start, self.in_flight);
        let group = &self.queued[(flight.sequence - self.front) as usize].group;
        storage.write(Write {
            ticket: ticket as u32,
            segment: group.segment,
            offset: group.offset + flight.start as u64,
            memory: Rc::clone(&group.memory),
            start: flight.start,
            end: flight.end,
        });
    }

    /// Takes note of an ended write and nothing else: the log is poisoned.
    pub(super) fn forget(&mut self, ticket: u32) {
        self.flights[ticket as usize].take().expect("a write ends once");
        self.in_flight -= 1;
    }

    /// Takes note of an ended write. The rest of a short one is sent on, as long as each write makes progress.
    pub(super) fn complete<S: Storage>(&mut self, storage: &mut S, written: Written) -> Result<(), Failure> {
        let flight = self.flights[written.ticket as usize].take().expect("a write ends once");
        self.in_flight -= 1;
        let queued = &mut self.queued[(flight.sequence - self.front) as usize];
        let segment = queued.group.segment;
        let offset = queued.group.offset + flight.start as u64;
        let expected = flight.end - flight.start;
        let count = match written.result {
            Ok(count) => count as usize,
            Err(error) => return Err(failure(storage, segment, offset, error)),
        };
        assert!(count <= expected, "{count} bytes written of {expected}");
        // Direct writes go on at a sector; what a short one did of the last is written again.
        let progress = if count == expected { count } else { count - count % SECTOR_BYTES };
        if progress == 0 {
            let (written, expected) = (count as u32, expected as u32);
            return Err(Failure::ShortWrite { path: storage.path(segment), offset, written, expected });
        }
        queued.written += progress;
        if progress < expected {
            self.fly(storage, Flight { start: flight.start + progress, ..flight });
        }
        Ok(())
    }

    /// Removes the oldest group if all of it is durable.
    pub(super) fn pop_durable(&mut self) -> Option<Group> {
        let queued = self.queued.front()?;
        if queued.written < queued.group.bytes {
            return None;
        }
        assert_eq!(queued.written, queued.group.bytes);
        assert!(self.cursor > self.front);
        self.front += 1;
        let group = self.queued.pop_front()?.group;
        self.bytes -= group.bytes;
        Some(group)
    }

    /// The memory of the record in a buffer of its own that has this LSN.
    pub(super) fn whole(&self, lsn: Lsn) -> Option<&Rc<Buffer>> {
        let at = self.queued.partition_point(|queued| queued.group.last_lsn < lsn);
        // A header block has the LSN of the group before it.
        let candidates = self.queued.range(at..).take_while(|queued| queued.group.last_lsn == lsn);
        candidates.map(|queued| &queued.group).find(|group| group.content == Content::Whole).map(|group| &group.memory)
    }
}

fn failure<S: Storage>(storage: &S, segment: u64, offset: u64, source: io::Error) -> Failure {
    let path = storage.path(segment);
    if is_disk_full(&source) { Failure::DiskFull { path, offset } } else { Failure::Write { path, offset, source } }
}
