#![allow(unsafe_code)]
//! Reserved address space that shards fill from the front: the only file of the region with unsafe code.
//!
//! ```text
//! reservation | shard 0 ............................ | shard 1 ............................ | …
//!             | sealed, never changes | writer's | . |
//!             0                   sealed   committed shard_bytes
//! ```
//!
//! One mapping holds the parts of all shards, back to back. A part is inaccessible until it is committed, chunk by chunk. Below
//! `sealed` the bytes never change again and any thread may read them; between `sealed` and `committed` they belong to the one
//! [`SpanWriter`] of the shard. `sealed` is stored with Release and read with Acquire, so who sees the mark sees the bytes. Both
//! are checked on every access, so nothing here can be called in a way that is unsound.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use arrow::buffer::Buffer;
use crossbeam_utils::CachePadded;
use kernels::{Distance, Rows};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

const PAGE_BYTES: usize = 4096;
/// Commit step where huge pages are wanted: one huge page.
const HUGE_CHUNK_BYTES: usize = 2 << 20;
/// Commit step elsewhere.
const SMALL_CHUNK_BYTES: usize = 64 << 10;

/// Address space of a column: reserved whole, committed in chunks, all zero when committed.
#[derive(Debug)]
struct Reservation {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    base: NonNull<u8>,
    shard_bytes: usize,
    chunk_bytes: usize,
    committed: Vec<CachePadded<AtomicUsize>>,
}

// SAFETY: the pointers are to a mapping that this value owns; access to the bytes is ruled by `Span`, `SpanWriter` and `AtomicSpan`.
unsafe impl Send for Reservation {}
// SAFETY: as above; committing from several threads at once is idempotent.
unsafe impl Sync for Reservation {}

impl Reservation {
    fn new(shards: usize, shard_bytes: usize, huge: bool) -> io::Result<Reservation> {
        assert!(shards > 0 && shard_bytes > 0, "a span has bytes");
        assert!(shard_bytes.is_multiple_of(PAGE_BYTES), "a shard's part is whole pages");
        let bytes = shards.checked_mul(shard_bytes).filter(|&bytes| bytes <= isize::MAX as usize - HUGE_CHUNK_BYTES);
        let bytes = bytes.ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping_bytes = bytes + HUGE_CHUNK_BYTES;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory that anyone uses.
        let mapping = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                mapping_bytes,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let mapping = NonNull::new(mapping.cast::<u8>()).expect("mmap does not return null");
        let skip = mapping.as_ptr().align_offset(HUGE_CHUNK_BYTES);
        // SAFETY: `skip` is below HUGE_CHUNK_BYTES, and the mapping has that much more than `bytes`.
        let base = unsafe { mapping.add(skip) };
        if huge {
            // Best effort: without huge pages everything works, slower.
            // SAFETY: the range lies in the mapping made above; the advice changes no content.
            let _ = unsafe { madvise(base.as_ptr().cast(), bytes, Advice::LinuxHugepage) };
        }
        let chunk_bytes = if huge { HUGE_CHUNK_BYTES } else { SMALL_CHUNK_BYTES };
        let committed = (0..shards).map(|_| CachePadded::new(AtomicUsize::new(0))).collect();
        Ok(Reservation { mapping, mapping_bytes, base, shard_bytes, chunk_bytes, committed })
    }

    /// Makes the first `end` bytes of a shard's part accessible, rounded up to a chunk.
    fn commit(&self, shard: usize, end: usize) -> io::Result<()> {
        assert!(end <= self.shard_bytes, "{end} bytes of {}", self.shard_bytes);
        let committed = self.committed[shard].load(Ordering::Acquire);
        if end <= committed {
            return Ok(());
        }
        let end = end.next_multiple_of(self.chunk_bytes).min(self.shard_bytes);
        let start = self.address(shard, committed);
        // SAFETY: `committed .. end` lies in this shard's part of the mapping; making it accessible changes no content.
        unsafe { mprotect(start.as_ptr().cast(), end - committed, MprotectFlags::READ | MprotectFlags::WRITE)? };
        self.committed[shard].fetch_max(end, Ordering::Release);
        Ok(())
    }

    #[inline]
    fn address(&self, shard: usize, offset: usize) -> NonNull<u8> {
        assert!(shard < self.committed.len() && offset <= self.shard_bytes);
        // SAFETY: just checked to lie within the mapping.
        unsafe { self.base.add(shard * self.shard_bytes + offset) }
    }

    fn bytes_committed(&self) -> u64 {
        self.committed.iter().map(|committed| committed.load(Ordering::Relaxed) as u64).sum()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever borrows from it holds this value alive.
        let result = unsafe { munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
        debug_assert!(result.is_ok(), "unmapping a whole mapping does not fail");
    }
}

/// A column of bytes: each shard's part grows, and what is sealed never changes.
#[derive(Debug)]
pub(super) struct Span {
    reservation: Reservation,
    sealed: Vec<CachePadded<AtomicUsize>>,
    claimed: Vec<AtomicBool>,
}

impl Span {
    /// Reserves `shard_bytes` (whole pages) for each shard. `huge`: ask for huge pages.
    pub fn new(shards: usize, shard_bytes: usize, huge: bool) -> io::Result<Arc<Span>> {
        Ok(Arc::new(Span {
            reservation: Reservation::new(shards, shard_bytes, huge)?,
            sealed: (0..shards).map(|_| CachePadded::new(AtomicUsize::new(0))).collect(),
            claimed: (0..shards).map(|_| AtomicBool::new(false)).collect(),
        }))
    }

    /// Bytes of a shard's part that never change again.
    #[inline]
    pub fn sealed(&self, shard: usize) -> usize {
        self.sealed[shard].load(Ordering::Acquire)
    }

    /// Sealed bytes.
    ///
    /// # Panics
    /// If any of them is not sealed.
    #[inline]
    pub fn bytes(&self, shard: usize, start: usize, len: usize) -> &[u8] {
        let sealed = self.sealed(shard);
        assert!(start.checked_add(len).is_some_and(|end| end <= sealed), "bytes {start} + {len} of {sealed} sealed");
        // SAFETY: sealed bytes are committed, and nobody writes them again; the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.reservation.address(shard, start).as_ptr(), len) }
    }

    /// Sealed bytes as an Arrow buffer that keeps the span alive.
    ///
    /// # Panics
    /// If any of them is not sealed.
    pub fn buffer(self: &Arc<Self>, shard: usize, start: usize, len: usize) -> Buffer {
        let bytes = NonNull::from(self.bytes(shard, start, len)).cast::<u8>();
        // SAFETY: the bytes are sealed (checked by `bytes`), so they never change, and the buffer holds the span that maps them.
        unsafe { Buffer::from_custom_allocation(bytes, len, self.clone()) }
    }

    /// The span as rows of `row_bytes`, back to back, `1 << row_bits` for each shard.
    pub fn rows(&self, row_bytes: usize, row_bits: u32) -> SealedRows<'_> {
        assert_eq!(row_bytes << row_bits, self.reservation.shard_bytes, "the stride that the span was made for");
        let count = self.sealed.len() << row_bits;
        // SAFETY: `SealedRows` asks for sealed rows only (it checks each id), and those are readable and never written while
        // the span is borrowed. A prefetch of any other row is a hint that cannot fault.
        let rows = unsafe { Rows::new(self.reservation.base.as_ptr(), row_bytes, row_bytes, count) };
        SealedRows { span: self, rows, row_bytes, row_bits }
    }

    /// Accessible bytes of all shards.
    pub fn bytes_committed(&self) -> u64 {
        self.reservation.bytes_committed()
    }
}

/// Rows of one column, by row id. Each id is checked against what its shard has sealed.
#[derive(Clone, Copy, Debug)]
pub struct SealedRows<'a> {
    span: &'a Span,
    rows: Rows<'a>,
    row_bytes: usize,
    row_bits: u32,
}

impl<'a> SealedRows<'a> {
    #[inline]
    fn check(&self, row: u32) {
        let (shard, slot) = ((row >> self.row_bits) as usize, row as usize & ((1 << self.row_bits) - 1));
        let sealed = self.span.sealed(shard);
        assert!((slot + 1) * self.row_bytes <= sealed, "slot {slot} of shard {shard} is not readable yet");
    }

    /// Bytes of a row.
    ///
    /// # Panics
    /// If the row is not readable yet.
    #[inline]
    pub fn get(&self, row: u32) -> &'a [u8] {
        self.check(row);
        self.rows.get(row)
    }

    /// Distances of a query to rows, `out[i]` to `rows[i]`.
    ///
    /// # Panics
    /// If a row is not readable yet, or the lengths differ.
    #[inline]
    pub fn distances(&self, distance: Distance, query: &[u8], rows: &[u32], out: &mut [f32]) {
        rows.iter().for_each(|&row| self.check(row));
        (distance.rows)(query, self.rows, rows, out);
    }

    /// Starts loading a row into the cache.
    #[inline]
    pub fn prefetch(&self, row: u32) {
        self.rows.prefetch(row);
    }
}

/// The one writer of a shard's part of a span.
#[derive(Debug)]
pub(super) struct SpanWriter {
    span: Arc<Span>,
    shard: usize,
}

impl SpanWriter {
    /// Claims a shard's part.
    ///
    /// # Panics
    /// If it has a writer.
    pub fn claim(span: &Arc<Span>, shard: usize) -> SpanWriter {
        let taken = span.claimed[shard].swap(true, Ordering::Acquire);
        assert!(!taken, "shard {shard} of a span has one writer");
        SpanWriter { span: span.clone(), shard }
    }

    /// Bytes that the part can grow to.
    pub fn capacity(&self) -> usize {
        self.span.reservation.shard_bytes
    }

    /// Makes the first `end` bytes writable.
    pub fn commit(&mut self, end: usize) -> io::Result<()> {
        self.span.reservation.commit(self.shard, end)
    }

    /// Bytes above the seal, for writing.
    ///
    /// # Panics
    /// If any of them is sealed or not committed.
    #[inline]
    pub fn bytes_mut(&mut self, start: usize, len: usize) -> &mut [u8] {
        assert!(start >= self.sealed(), "sealed bytes never change");
        self.check_committed(start, len);
        // SAFETY: the bytes are committed and not sealed: readers keep below the seal, and this is the shard's only writer,
        // borrowed mutably, so neither another borrow nor `seal` can happen while the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.span.reservation.address(self.shard, start).as_ptr(), len) }
    }

    /// Bytes on either side of the seal, for reading.
    ///
    /// # Panics
    /// If any of them is not committed.
    #[inline]
    pub fn bytes(&self, start: usize, len: usize) -> &[u8] {
        self.check_committed(start, len);
        // SAFETY: the bytes are committed, and only this writer, borrowed here, could write them.
        unsafe { std::slice::from_raw_parts(self.span.reservation.address(self.shard, start).as_ptr(), len) }
    }

    fn check_committed(&self, start: usize, len: usize) {
        let committed = self.span.reservation.committed[self.shard].load(Ordering::Acquire);
        assert!(
            start.checked_add(len).is_some_and(|end| end <= committed),
            "bytes {start} + {len} of {committed} committed"
        );
    }

    /// Bytes that are sealed.
    pub fn sealed(&self) -> usize {
        self.span.sealed[self.shard].load(Ordering::Relaxed)
    }

    /// Seals the first `end` bytes.
    ///
    /// # Panics
    /// If that would take back a seal, or `end` is not committed.
    pub fn seal(&mut self, end: usize) {
        assert!(end >= self.sealed(), "a seal is for ever");
        self.check_committed(0, end);
        self.span.sealed[self.shard].store(end, Ordering::Release);
    }
}

impl Drop for SpanWriter {
    fn drop(&mut self) {
        self.span.claimed[self.shard].store(false, Ordering::Release);
    }
}

/// A column of atomic words: any thread may read or write those that are committed. All zero at first.
#[derive(Debug)]
pub(super) struct AtomicSpan {
    reservation: Reservation,
}

impl AtomicSpan {
    /// Reserves `shard_words` words (whole pages) for each shard.
    pub fn new(shards: usize, shard_words: usize) -> io::Result<AtomicSpan> {
        Ok(AtomicSpan { reservation: Reservation::new(shards, shard_words * 4, false)? })
    }

    /// Makes the first `words` words of a shard accessible.
    pub fn commit(&self, shard: usize, words: usize) -> io::Result<()> {
        self.reservation.commit(shard, words * 4)
    }

    /// A word.
    ///
    /// # Panics
    /// If it is not committed.
    #[inline]
    pub fn word(&self, shard: usize, index: usize) -> &AtomicU32 {
        let committed = self.reservation.committed[shard].load(Ordering::Acquire);
        assert!((index + 1) * 4 <= committed, "word {index} of shard {shard} is not committed");
        let word = self.reservation.address(shard, index * 4).cast::<AtomicU32>();
        // SAFETY: committed, aligned (the part starts on a page), and only ever accessed as this atomic.
        unsafe { word.as_ref() }
    }

    /// Accessible bytes of all shards.
    pub fn bytes_committed(&self) -> u64 {
        self.reservation.bytes_committed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_are_read_and_buffers_outlive_the_span() {
        let span = Span::new(2, 1 << 16, false).unwrap();
        let mut writer = SpanWriter::claim(&span, 1);
        writer.commit(100).unwrap();
        assert_eq!(span.bytes_committed(), SMALL_CHUNK_BYTES as u64);
        writer.bytes_mut(0, 100).fill(7);
        writer.seal(60);
        writer.bytes_mut(60, 40).fill(8);
        assert_eq!(span.bytes(1, 50, 10), [7; 10]);
        let buffer = span.buffer(1, 0, 60);
        drop((writer, span));
        assert_eq!(buffer.as_slice(), [7; 60]);
    }

    #[test]
    fn parts_of_shards_touch_but_do_not_overlap() {
        let span = Span::new(3, PAGE_BYTES, true).unwrap();
        for shard in 0..3 {
            let mut writer = SpanWriter::claim(&span, shard);
            writer.commit(PAGE_BYTES).unwrap();
            writer.bytes_mut(0, PAGE_BYTES).fill(shard as u8 + 1);
            writer.seal(PAGE_BYTES);
        }
        for shard in 0..3 {
            assert!(span.bytes(shard, 0, PAGE_BYTES).iter().all(|&byte| byte == shard as u8 + 1));
        }
        let rows = span.rows(1, 12);
        assert_eq!([rows.get(0)[0], rows.get(4096)[0], rows.get(8192)[0]], [1, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "sealed bytes never change")]
    fn a_sealed_byte_cannot_be_written() {
        let span = Span::new(1, PAGE_BYTES, false).unwrap();
        let mut writer = SpanWriter::claim(&span, 0);
        writer.commit(8).unwrap();
        writer.seal(8);
        writer.bytes_mut(7, 1);
    }

    #[test]
    #[should_panic(expected = "not readable yet")]
    fn a_row_above_the_seal_cannot_be_read() {
        let span = Span::new(1, PAGE_BYTES, false).unwrap();
        let mut writer = SpanWriter::claim(&span, 0);
        writer.commit(8).unwrap();
        writer.seal(8);
        span.rows(1, 12).get(8);
    }

    #[test]
    #[should_panic(expected = "one writer")]
    fn a_part_has_one_writer() {
        let span = Span::new(1, PAGE_BYTES, false).unwrap();
        let _first = SpanWriter::claim(&span, 0);
        SpanWriter::claim(&span, 0);
    }

    #[test]
    fn words_start_at_zero() {
        let span = AtomicSpan::new(2, 4096).unwrap();
        span.commit(1, 10).unwrap();
        assert_eq!(span.word(1, 9).load(Ordering::Relaxed), 0);
        span.word(1, 9).store(5, Ordering::Relaxed);
        assert_eq!(span.word(1, 9).load(Ordering::Relaxed), 5);
    }
}
