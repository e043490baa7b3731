//! A window that moves over one segment, so that a log of any size is read in little memory.

use super::storage::Storage;
use crate::error::Error;

/// Bytes read at once. The window grows beyond that for a single record that is larger.
const CHUNK_BYTES: usize = 2 << 20;
/// Bytes the kernel is asked to have ready behind the window.
const AHEAD_BYTES: u64 = 6 << 20;

/// Slides after which memory that they did not need is given back.
const KEPT_SLIDES: u32 = 8;

/// Part of a segment in memory.
pub(super) struct Window {
    segment: u64,
    /// Position of the first byte of `bytes`.
    start: u64,
    bytes: Vec<u8>,
    /// Of them so many, from the first on, were read.
    filled: usize,
    at_end: bool,
    advised: u64,
    /// Slides since all of `bytes` was needed.
    too_large_for: u32,
}

impl Window {
    pub(super) fn new() -> Window {
        Window { segment: 0, start: 0, bytes: Vec::new(), filled: 0, at_end: false, advised: 0, too_large_for: 0 }
    }

    /// `len` bytes of a segment, or fewer at its end. Cheap for positions that ascend.
    pub(super) fn read<S: Storage>(
        &mut self,
        storage: &mut S,
        segment: u64,
        offset: u64,
        len: usize,
    ) -> Result<&[u8], Error> {
        if segment != self.segment || offset < self.start {
            self.segment = segment;
            self.start = offset;
            self.filled = 0;
            self.at_end = false;
            self.advised = offset;
        }
        let missing = offset + len as u64 > self.start + self.filled as u64;
        if missing && !self.at_end {
            self.slide(storage, offset, len)?;
        }
        let from = ((offset - self.start) as usize).min(self.filled);
        let to = (from + len).min(self.filled);
        Ok(&self.bytes[from..to])
    }

    fn slide<S: Storage>(&mut self, storage: &mut S, offset: u64, len: usize) -> Result<(), Error> {
        let passed = ((offset - self.start) as usize).min(self.filled);
        storage.advise(self.segment, self.start, passed as u64, false);
        self.bytes.copy_within(passed..self.filled, 0);
        self.start = offset;
        let kept = self.filled - passed;
        let wanted = len.max(CHUNK_BYTES);
        self.advised = self.advised.max(offset + kept as u64);
        let ahead = offset + wanted as u64 + AHEAD_BYTES;
        storage.advise(self.segment, self.advised, ahead - self.advised, true);
        self.advised = ahead;
        // What one large record needed is kept for others like it, which have small reads of their heads between them, and not for
        // the small ones after it: memory that is given back is slow to get again.
        self.too_large_for = if self.bytes.len() > wanted { self.too_large_for + 1 } else { 0 };
        if self.too_large_for > KEPT_SLIDES {
            self.bytes.truncate(wanted);
            self.bytes.shrink_to_fit();
        }
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        self.filled = kept + storage.read(self.segment, offset + kept as u64, &mut self.bytes[kept..wanted])?;
        self.at_end = self.filled < wanted;
        Ok(())
    }
}
