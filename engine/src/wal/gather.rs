//! The group that small records are gathered in, and the buffers for it.

use super::segment::SEGMENT_HEADER_BYTES;
use super::{HEADROOM, SECTOR_BYTES};
use crate::buffers::{Arena, Buffer};
use crate::error::Error;
use crate::limits::WAL_GROUP_BYTES_MAX;

/// Records start at multiples of this.
const RECORD_ALIGN: usize = 64;

const _: () = assert!(HEADROOM.is_multiple_of(RECORD_ALIGN));

/// Small records being gathered.
pub(super) struct OpenGroup {
    buffer: Buffer,
    len: usize,
    capacity: usize,
}

impl OpenGroup {
    pub(super) fn new(buffer: Buffer, capacity: usize) -> OpenGroup {
        assert!(capacity <= buffer.len() && capacity.is_multiple_of(SECTOR_BYTES));
        OpenGroup { buffer, len: 0, capacity }
    }

    /// Bytes that it would take on disk as it is.
    pub(super) fn padded_bytes(&self) -> usize {
        self.len.next_multiple_of(SECTOR_BYTES)
    }

    /// The memory and how much of it to write; the rest of the last sector is zeros.
    pub(super) fn close(mut self) -> (Buffer, usize) {
        let bytes = self.padded_bytes();
        self.buffer[self.len..bytes].fill(0);
        (self.buffer, bytes)
    }

    /// Whether a record of this size, header included, has room.
    pub(super) fn fits(&self, record_bytes: usize) -> bool {
        self.len + record_bytes.next_multiple_of(RECORD_ALIGN) <= self.capacity
    }

    pub(super) fn push(&mut self, header: &[u8; HEADROOM], payload: &[u8]) {
        let start = self.len;
        let end = start + HEADROOM + payload.len();
        self.len = end.next_multiple_of(RECORD_ALIGN);
        assert!(self.len <= self.capacity);
        self.buffer[start..start + HEADROOM].copy_from_slice(header);
        self.buffer[start + HEADROOM..end].copy_from_slice(payload);
        self.buffer[end..self.len].fill(0);
    }
}

/// Buffers for gathered records: one filling, the others in flight.
const GATHER_BUFFERS: usize = 4;
/// Buffers for header blocks: segments begun and not durable.
const HEADER_BUFFERS: usize = 2;

/// The memory that a log works with, 4.2 MiB. Taken before clients are served, it is there when the log is opened.
pub struct LogBuffers {
    pub(super) gather: Vec<Buffer>,
    pub(super) headers: Vec<Buffer>,
}

impl LogBuffers {
    /// Takes them from the arena for good.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] when the arena has not that much.
    pub fn take(arena: &Arena) -> Result<LogBuffers, Error> {
        let pool = |count: usize, bytes: usize| (0..count).map(|_| take(arena, bytes)).collect::<Result<_, _>>();
        Ok(LogBuffers {
            gather: pool(GATHER_BUFFERS, WAL_GROUP_BYTES_MAX)?,
            headers: pool(HEADER_BUFFERS, SEGMENT_HEADER_BYTES)?,
        })
    }
}

fn take(arena: &Arena, bytes: usize) -> Result<Buffer, Error> {
    let (value, limit) = (bytes as u64, arena.free_bytes() as u64);
    arena.take(bytes).ok_or(Error::LimitExceeded { what: "bytes of log buffers", value, limit })
}
