//! The write-ahead log of one shard: ordered records, durable in groups.
//!
//! ```text
//! segment  = header block (4 KiB) group* rest             64 MiB, written with zeros once, then recycled
//! group    = record+ zeros                                starts and ends at a multiple of 4,096
//! record   = header (64 bytes) payload zeros              starts at a multiple of 64
//! ```
//!
//! Invariants:
//! - LSNs are 1, 2, 3, …: without gaps, across segments and runs. [`Wal::durable_lsn`] only covers complete prefixes;
//! - each record's header holds the checksum of the record before; a segment's header holds that of the last record
//!   before the segment, so that the whole log is one chain;
//! - a run (one start of the server) never writes to a segment of an earlier run. Its segments and records carry its
//!   epoch (one above any that is on disk) and a random salt, so that neither stale bytes of a recycled segment nor
//!   bytes that a client chose can be taken for records;
//! - the chain ends at the first record that is missing or torn. If anything after it proves, by its `commit_lsn`, that
//!   the record had been durable, the log is damaged and is refused; otherwise that is where a crash cut it. The very
//!   last durable record has no such witness until the next record, [`Wal::seal`] or the next start;
//! - a segment of a later epoch overrules whatever earlier segments hold from its first LSN on: a write of a killed
//!   process can reach the disk after its successor has read the log;
//! - the first failed write poisons the log: nothing is retried, nothing is appended, `durable_lsn` stands still. A
//!   disk without room for another segment does not: the log is full, and goes on once there is room.
//!
//! Deliberately absent: a timer for group commit, what a payload means, and any read path but [`Replay`].

mod catalog;
mod disk;
mod gather;
mod group;
mod log;
mod preparer;
mod reader;
mod record;
mod replay;
mod segment;
mod simulated;
mod status;
mod storage;
mod supply;
#[cfg(test)]
mod tests;
mod witness;

pub use disk::{DiskConfig, DiskStorage, TOKEN_TAG_MASK, TOKEN_WAL};
pub use gather::LogBuffers;
pub use log::Wal;
pub use record::{RECORD_HEADER_BYTES, RecordHeader};
pub use replay::{LiveSegment, RecordSink, Replay, Resume, replay};
pub use segment::{SEGMENT_HEADER_BYTES, SEGMENT_VERSION, SegmentHeader};
pub use simulated::{Crash, Faults, SimDisk, SimStorage};
pub use status::Metrics;
pub use storage::{Prepared, Storage, Write, Written};

use std::io;
use std::path::PathBuf;

use crate::buffers::Buffer;

/// Number of a record in the log of its shard; the first is 1.
pub type Lsn = u64;

/// LSN of the first record.
pub const FIRST_LSN: Lsn = 1;
/// Bytes that a [`Payload::Whole`] leaves free before its payload, for the record's header.
pub const HEADROOM: usize = RECORD_HEADER_BYTES;
/// Largest [`Payload::Copy`].
pub const COPY_BYTES_MAX: usize = crate::limits::WAL_GROUP_BYTES_MAX - HEADROOM;

/// Unit of what is written to disk.
const SECTOR_BYTES: usize = 4096;

/// What is appended.
#[derive(Debug)]
pub enum Payload<'a> {
    /// Written from where it lies, at `HEADROOM..HEADROOM + len` of the buffer. The bytes before and, up to the next
    /// multiple of 4,096, after are overwritten. The log owns the buffer until it is written.
    Whole {
        /// The memory.
        buffer: Buffer,
        /// Bytes of the payload.
        len: usize,
    },
    /// Copied and gathered with others into one write. At most [`COPY_BYTES_MAX`].
    Copy(&'a [u8]),
}

impl Payload<'_> {
    /// Bytes of the payload.
    pub fn bytes(&self) -> usize {
        match self {
            Payload::Whole { len, .. } => *len,
            Payload::Copy(bytes) => bytes.len(),
        }
    }
}

/// Why a log is poisoned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The disk or file system failed a write.
    #[error("write to {} at byte {offset}: {source}", path.display())]
    Write {
        /// Segment file.
        path: PathBuf,
        /// Position of the write.
        offset: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file system has no room for a write, though the segment was written before.
    #[error("write to {} at byte {offset}: no space left on the device", path.display())]
    DiskFull {
        /// Segment file.
        path: PathBuf,
        /// Position of the write.
        offset: u64,
    },
    /// A write made no progress.
    #[error("write to {} at byte {offset}: {written} of {expected} bytes written", path.display())]
    ShortWrite {
        /// Segment file.
        path: PathBuf,
        /// Position of the write.
        offset: u64,
        /// Bytes written.
        written: u32,
        /// Bytes asked for.
        expected: u32,
    },
    /// The next segment could not be made, for a reason other than a full disk.
    #[error("prepare {}: {source}", path.display())]
    Prepare {
        /// Segment file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Whether an error says that there is no room.
fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// CRC-32C, the checksum of headers and payloads.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
