//! What the log needs of a disk. Every byte of the log goes through this trait, so that the same log runs on files
//! ([`super::DiskStorage`]) and on a disk that is made to fail ([`super::SimStorage`]).

use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use crate::buffers::Buffer;
use crate::error::Error;
use crate::limits::WAL_WRITE_BYTES_MAX;

/// A write to a segment. Offset, start and length are multiples of 4,096.
#[derive(Debug)]
pub struct Write {
    /// Names the write in [`Written`]; unique among those in flight.
    pub ticket: u32,
    /// Segment number; prepared, and not removed.
    pub segment: u64,
    /// Position in the segment, in bytes.
    pub offset: u64,
    /// Where from.
    pub memory: Rc<Buffer>,
    /// First byte of the memory.
    pub start: usize,
    /// One past the last byte of the memory.
    pub end: usize,
}

/// Outcome of a write. `Ok` says that so many bytes are durable, which may be fewer than asked for.
#[derive(Debug)]
pub struct Written {
    /// Ticket of the write.
    pub ticket: u32,
    /// Bytes written, or the error.
    pub result: io::Result<u32>,
}

/// Outcome of a preparation.
#[derive(Debug)]
pub struct Prepared {
    /// Number that was asked for.
    pub segment: u64,
    /// Segment that was to be recycled; on an error it is still there under its own number.
    pub recycled: Option<u64>,
    /// On success the segment is there after a crash, too, and accepts writes.
    pub result: io::Result<()>,
}

/// Segments of one shard's log. Preparing, removing and writing happen behind the caller's back.
pub trait Storage {
    /// Shard the log belongs to.
    fn shard(&self) -> usize;

    /// Size of every segment.
    fn segment_bytes(&self) -> u64;

    /// Largest single write, a multiple of 4,096.
    fn write_bytes_max(&self) -> usize {
        WAL_WRITE_BYTES_MAX
    }

    /// Name of a segment, for messages.
    fn path(&self, segment: u64) -> PathBuf;

    /// Numbers of the segments there are, ascending.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn list(&mut self) -> Result<Vec<u64>, Error>;

    /// Fills `into` from `offset` on; fewer bytes only at the end of the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn read(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<usize, Error>;

    /// Says that this range will be read soon, or (`wanted` false) not again.
    fn advise(&mut self, _segment: u64, _offset: u64, _bytes: u64, _wanted: bool) {}

    /// Makes what was read from this segment durable: a run that was killed may have left writes in the disk's cache.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn sync(&mut self, segment: u64) -> Result<(), Error>;

    /// Starts to make segment `segment`: of the spare `recycle`, which then is no more, or new and full of zeros. One
    /// preparation at a time.
    fn prepare(&mut self, segment: u64, recycle: Option<u64>);

    /// The preparation that has ended, if it has; with `wait`, blocks until it has.
    fn prepared(&mut self, wait: bool) -> Option<Prepared>;

    /// Removes a segment some time before the next preparation ends.
    fn remove(&mut self, segment: u64);

    /// Says that a segment gets no more writes; none are in flight.
    fn finish(&mut self, segment: u64);

    /// Starts a write.
    fn write(&mut self, write: Write);

    /// A write that has ended, in any order, without waiting.
    fn written(&mut self) -> Option<Written>;
}
