//! The log: places records, chains them, gathers small ones, and acknowledges in order.

use std::rc::Rc;

use super::gather::{LogBuffers, OpenGroup};
use super::group::{Content, Group, WriteQueue};
use super::record::{RecordFields, RecordHeader};
use super::replay::Resume;
use super::segment::{SEGMENT_HEADER_BYTES, SegmentFields, SegmentHeader};
use super::status::Metrics;
use super::storage::Storage;
use super::supply::Supply;
use super::{COPY_BYTES_MAX, Failure, HEADROOM, Lsn, Payload, SECTOR_BYTES};
use crate::buffers::{Arena, Buffer};
use crate::error::Error;
use crate::limits::{WAL_BACKLOG_BYTES_MAX, WAL_GROUP_BYTES_MAX, WAL_RECORD_BYTES_MAX, WAL_WRITES_IN_FLIGHT_MAX};
use crate::probes;

/// Stands for the segment being written before there is one; numbers begin with 1.
const NO_SEGMENT: u64 = 0;
/// A group keeps gathering while this many writes are in flight.
const GATHER_WRITES: usize = 2;

const _: () = assert!(WAL_GROUP_BYTES_MAX.is_multiple_of(SECTOR_BYTES));

/// The write-ahead log of one shard. See the module for the format and the invariants.
///
/// Once a turn: `append` while `can_append`, then `pump`, then submit the ring; whatever `durable_lsn` covers may be
/// acknowledged.
pub struct Wal<S: Storage> {
    pub(super) storage: S,
    pub(super) supply: Supply,
    pub(super) queue: WriteQueue,
    pub(super) open_group: Option<OpenGroup>,
    gather_pool: Vec<Buffer>,
    header_pool: Vec<Buffer>,
    /// Segment being written and where its next group goes. The open group is at that place. Before the first segment,
    /// the place is the end of none.
    segment: u64,
    offset: u64,
    pub(super) next_lsn: Lsn,
    previous_checksum: u32,
    epoch: u32,
    salt: u64,
    pub(super) durable_lsn: Lsn,
    /// Segment of the last durable header block.
    durable_segment: Option<u64>,
    pub(super) failure: Option<Failure>,
    pub(super) metrics: Metrics,
}

impl<S: Storage> Wal<S> {
    /// Begins a run behind what [`super::Replay`] found. Does not wait for the first segment: nothing can be appended
    /// before `pump` has found it ready.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(mut storage: S, buffers: LogBuffers, resume: &Resume) -> Result<Wal<S>, Error> {
        assert!(storage.segment_bytes().is_multiple_of(SECTOR_BYTES as u64));
        // A killed run's last writes may be in the disk's cache; what this run builds on must not vanish from under it.
        for live in resume.live.iter().rev().take(WAL_WRITES_IN_FLIGHT_MAX) {
            storage.sync(live.number)?;
        }
        let supply = Supply::open(&mut storage, resume);
        let offset = storage.segment_bytes();
        Ok(Wal {
            storage,
            supply,
            queue: WriteQueue::new(),
            open_group: None,
            gather_pool: buffers.gather,
            header_pool: buffers.headers,
            segment: NO_SEGMENT,
            offset,
            next_lsn: resume.next_lsn,
            previous_checksum: resume.previous_checksum,
            epoch: resume.epoch + 1,
            salt: rand::random(),
            durable_lsn: resume.next_lsn - 1,
            durable_segment: None,
            failure: None,
            metrics: Metrics::default(),
        })
    }

    /// As [`Wal::begin`], with buffers from `arena`, and waits for the first segment.
    ///
    /// # Errors
    /// [`Error::DiskFull`], [`Error::Io`], or [`Error::LimitExceeded`] when the arena has not that much.
    pub fn open(storage: S, arena: &Arena, resume: &Resume) -> Result<Wal<S>, Error> {
        let mut wal = Wal::begin(storage, LogBuffers::take(arena)?, resume)?;
        wal.supply.wait(&mut wal.storage)?;
        wal.begin_segment();
        Ok(wal)
    }

    /// Whether a payload of `len` bytes can be appended now, in either form. False while the backlog is full, while the
    /// next segment is being made, and for good once poisoned.
    pub fn can_append(&self, len: usize) -> bool {
        let record_bytes = HEADROOM + len;
        if self.failure.is_some() || record_bytes > self.record_bytes_max() {
            return false;
        }
        let backlog = self.backlog_bytes();
        if backlog > 0 && backlog + record_bytes > WAL_BACKLOG_BYTES_MAX {
            return false;
        }
        let open_bytes = self.open_group.as_ref().map_or(0, |open| open.padded_bytes());
        let end = self.offset + (open_bytes + record_bytes.next_multiple_of(SECTOR_BYTES)) as u64;
        let has_place =
            end <= self.storage.segment_bytes() || (self.supply.has_ready() && !self.header_pool.is_empty());
        let has_memory = len > COPY_BYTES_MAX
            || !self.gather_pool.is_empty()
            || self.open_group.as_ref().is_some_and(|open| open.fits(record_bytes));
        has_place && has_memory
    }

    /// Appends a record. It is on disk once `durable_lsn` has reached the LSN that is returned.
    ///
    /// `payload_crc` is the CRC-32C of the payload; what does not match it is taken for torn when it is read.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::DiskFull`], [`Error::LogBusy`] (where `can_append` says false),
    /// [`Error::LimitExceeded`] for a payload that can never be appended. The payload is dropped then.
    pub fn append(&mut self, payload: Payload<'_>, payload_crc: u32) -> Result<Lsn, Error> {
        let len = payload.bytes();
        if let Some(error) = self.poison_error() {
            return Err(error);
        }
        if HEADROOM + len > self.record_bytes_max() {
            let limit = (self.record_bytes_max() - HEADROOM) as u64;
            return Err(Error::LimitExceeded { what: "bytes of a log record", value: len as u64, limit });
        }
        if !self.can_append(len) {
            return Err(self.refusal());
        }
        match payload {
            Payload::Whole { buffer, len } => self.append_whole(buffer, len, payload_crc),
            Payload::Copy(bytes) => self.append_copy(bytes, payload_crc),
        }
        self.metrics.records += 1;
        self.metrics.payload_bytes += len as u64;
        let lsn = self.next_lsn;
        self.next_lsn += 1;
        probes::wal_submitted(self.storage.shard(), lsn, len, self.queue.in_flight());
        Ok(lsn)
    }

    /// Moves the log on: takes in what has been written, acknowledges complete prefixes, sends what has gathered.
    /// Whether anything moved. For [`super::DiskStorage`]: pushes on the ring, which must not be borrowed now.
    ///
    /// # Errors
    /// [`Error::Poisoned`], from the first failure on.
    pub fn pump(&mut self) -> Result<bool, Error> {
        let mut moved = false;
        while let Some(written) = self.storage.written() {
            moved = true;
            let bytes = *written.result.as_ref().unwrap_or(&0);
            probes::wal_write_end(self.storage.shard(), written.ticket, bytes);
            if self.failure.is_some() {
                self.queue.forget(written.ticket);
            } else if let Err(failure) = self.queue.complete(&mut self.storage, written) {
                self.failure = Some(failure);
            }
        }
        if self.failure.is_none() {
            moved |= self.acknowledge();
            match self.supply.poll(&mut self.storage) {
                Ok(prepared) => moved |= prepared,
                Err(failure) => self.failure = Some(failure),
            }
        }
        if let Some(error) = self.poison_error() {
            return Err(error);
        }
        if self.segment == NO_SEGMENT && self.supply.has_ready() {
            self.begin_segment();
        }
        moved |= self.issue();
        if self.queue.is_all_issued() && self.queue.in_flight() < GATHER_WRITES {
            self.close_group();
            moved |= self.issue();
        }
        Ok(moved)
    }

    /// Says that records below `lsn` are not needed any more. Segments that hold no others are recycled or removed;
    /// records that are not durable are kept in any case.
    pub fn release_before(&mut self, lsn: Lsn) {
        let lsn = lsn.min(self.durable_lsn + 1);
        self.supply.release_before(&mut self.storage, lsn);
    }

    /// Begins a segment whose header is a witness that everything durable by now was so: call it when idle before a
    /// clean stop, then pump until idle. False when no segment is ready; nothing is lost by that.
    pub fn seal(&mut self) -> bool {
        if self.failure.is_some() || !self.supply.has_ready() || self.header_pool.is_empty() {
            return false;
        }
        self.close_group();
        self.begin_segment();
        true
    }

    fn append_whole(&mut self, mut buffer: Buffer, len: usize, payload_crc: u32) {
        let bytes = (HEADROOM + len).next_multiple_of(SECTOR_BYTES);
        assert!(bytes <= buffer.len(), "a buffer of {} bytes for a payload of {len}", buffer.len());
        self.close_group();
        self.make_room(bytes);
        let header = self.next_header(len, payload_crc);
        buffer[..HEADROOM].copy_from_slice(&header);
        buffer[HEADROOM + len..bytes].fill(0);
        self.enqueue(buffer, bytes, Content::Whole, self.next_lsn);
    }

    fn append_copy(&mut self, payload: &[u8], payload_crc: u32) {
        assert!(payload.len() <= COPY_BYTES_MAX, "a payload of {} bytes to copy", payload.len());
        let record_bytes = HEADROOM + payload.len();
        if !self.open_group.as_ref().is_some_and(|open| open.fits(record_bytes)) {
            self.close_group();
            self.make_room(record_bytes.next_multiple_of(SECTOR_BYTES));
            let buffer = self.gather_pool.pop().expect("can_append saw a buffer");
            let room = (self.storage.segment_bytes() - self.offset) as usize;
            self.open_group = Some(OpenGroup::new(buffer, room.min(WAL_GROUP_BYTES_MAX)));
        }
        self.metrics.copied_bytes += payload.len() as u64;
        let header = self.next_header(payload.len(), payload_crc);
        self.open_group.as_mut().expect("opened above").push(&header, payload);
    }

    /// Sends the open group on its way to disk.
    fn close_group(&mut self) {
        let Some(open) = self.open_group.take() else {
            return;
        };
        let (buffer, bytes) = open.close();
        self.enqueue(buffer, bytes, Content::Gathered, self.next_lsn - 1);
    }

    fn enqueue(&mut self, buffer: Buffer, bytes: usize, content: Content, last_lsn: Lsn) {
        let memory = Rc::new(buffer);
        let (segment, offset) = (self.segment, self.offset);
        assert!(offset + bytes as u64 <= self.storage.segment_bytes(), "a group beyond its segment");
        self.queue.push(Group { memory, content, segment, offset, bytes, last_lsn });
        self.offset += bytes as u64;
    }

    /// Goes on to the next segment when the current one has not that much room.
    fn make_room(&mut self, bytes: usize) {
        assert!(self.open_group.is_none(), "the open group has its place");
        if self.offset + bytes as u64 > self.storage.segment_bytes() {
            self.begin_segment();
        }
    }

    fn begin_segment(&mut self) {
        assert!(self.open_group.is_none(), "the open group has its place");
        self.segment = self.supply.begin(self.next_lsn);
        self.offset = 0;
        let header = SegmentHeader::new(SegmentFields {
            segment: self.segment,
            first_lsn: self.next_lsn,
            salt: self.salt,
            commit_lsn: self.durable_lsn,
            epoch: self.epoch,
            shard: self.storage.shard() as u32,
            previous_checksum: self.previous_checksum,
            segment_bytes: self.storage.segment_bytes() as u32,
        });
        let mut block = self.header_pool.pop().expect("the caller saw a buffer");
        let encoded = header.encode();
        block[..encoded.len()].copy_from_slice(&encoded);
        block[encoded.len()..SEGMENT_HEADER_BYTES].fill(0);
        self.enqueue(block, SEGMENT_HEADER_BYTES, Content::SegmentHeader, self.next_lsn - 1);
        self.metrics.segments += 1;
    }

    fn next_header(&mut self, payload_bytes: usize, payload_crc: u32) -> [u8; HEADROOM] {
        let header = RecordHeader::new(RecordFields {
            lsn: self.next_lsn,
            segment: self.segment,
            salt: self.salt,
            commit_lsn: self.durable_lsn,
            epoch: self.epoch,
            previous_checksum: self.previous_checksum,
            payload_bytes: payload_bytes as u32,
            payload_crc,
        });
        self.previous_checksum = header.checksum;
        header.encode()
    }

    fn issue(&mut self) -> bool {
        let writes = self.queue.issue(&mut self.storage);
        self.metrics.writes += writes as u64;
        writes > 0
    }

    fn acknowledge(&mut self) -> bool {
        let mut moved = false;
        while let Some(group) = self.queue.pop_durable() {
            moved = true;
            assert!(group.last_lsn >= self.durable_lsn && group.last_lsn < self.next_lsn);
            self.durable_lsn = group.last_lsn;
            probes::wal_durable(self.storage.shard(), group.last_lsn, group.bytes);
            self.metrics.groups += 1;
            self.metrics.written_bytes += group.bytes as u64;
            let own = |memory| Rc::try_unwrap(memory).expect("the storage lets go of what it has written");
            match group.content {
                Content::Whole => {}
                Content::Gathered => self.gather_pool.push(own(group.memory)),
                Content::SegmentHeader => {
                    self.header_pool.push(own(group.memory));
                    self.supply.header_is_durable(group.segment);
                    // All that went before is durable, too.
                    if let Some(previous) = self.durable_segment.replace(group.segment) {
                        self.storage.finish(previous);
                    }
                }
            }
        }
        moved
    }

    fn record_bytes_max(&self) -> usize {
        WAL_RECORD_BYTES_MAX.min(self.storage.segment_bytes() as usize - SEGMENT_HEADER_BYTES)
    }

    fn poison_error(&self) -> Option<Error> {
        let cause = self.failure.as_ref()?.to_string();
        Some(Error::Poisoned { shard: self.storage.shard(), cause })
    }

    /// Says so when there was no room for the next segment and none is left.
    pub fn disk_full(&self) -> Option<Error> {
        if !self.supply.is_full() || self.supply.has_ready() {
            return None;
        }
        let file = self.storage.path(self.segment);
        let path = file.parent().map(Into::into).unwrap_or(file);
        Some(Error::DiskFull { shard: self.storage.shard(), path })
    }

    fn refusal(&self) -> Error {
        self.disk_full().unwrap_or(Error::LogBusy { shard: self.storage.shard() })
    }
}
