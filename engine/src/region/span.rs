#![allow(unsafe_code)]
//! Rows in reserved address space that shards fill. With `reservation`, and `links` of the graph, the only files of the engine's data
//! with unsafe code.
//!
//! ```text
//! reservation | shard 0: chunk 0 | chunk 1 | … .................... | shard 1: chunk 0 | …
//!             | rows readable | writer's | ...                        (per chunk)
//!             0            sealed      committed                 shard_bytes
//! ```
//!
//! One mapping holds the parts of all shards, back to back. A part is inaccessible until it is committed, from the front. In each
//! chunk of 4,096 rows the first `sealed` rows do not change and any thread may read them; the others belong to the one
//! [`SpanWriter`] of the shard. The mark is stored with Release and read with Acquire, so who sees the mark sees the bytes, and it is
//! checked on every access. It goes back to 0 only against the proof that no reader is left ([`Expired`]), and readers hold a
//! [`Pin`] for as long as they use what they were given: that is the one rule that callers keep.
//!
//! Where a column is kept on disk, a chunk that is sealed whole can be *moved out*: written to a file, which is then mapped in place of
//! its memory. Addresses stay, so readers need not know; those that had rather not wait for a page ask `on_disk` first.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::buffer::Buffer;
use kernels::{Distance, Panel, Rows, Tile};

use super::chunks::{CHUNK_BITS, CHUNK_ROWS};
use super::file::VectorFile;
use super::pins::{Expired, Pin};
use super::reservation::{PAGE_BYTES, Reservation};

/// A column of rows of one width: each shard's part grows, and what is sealed does not change while it can be read.
#[derive(Debug)]
pub(super) struct Span {
    reservation: Reservation,
    row_bytes: usize,
    row_bits: u32,
    /// Per chunk of all shards: rows that may be read.
    sealed: AtomicSpan32,
    claimed: Vec<AtomicBool>,
    /// Where the rows are kept on disk.
    disk: OnceLock<Disk>,
}

/// The file of a column, and which chunks of all shards have been moved there: `IN_MEMORY`, `MOVING` or `ON_DISK`.
#[derive(Debug)]
struct Disk {
    file: VectorFile,
    chunks: AtomicSpan32,
    /// The last chunk could not be moved.
    has_failed: AtomicBool,
}

const IN_MEMORY: u32 = 0;
const MOVING: u32 = 1;
const ON_DISK: u32 = 2;

impl Span {
    /// Reserves `1 << row_bits` rows of `row_bytes` for each shard. `huge`: ask for huge pages.
    pub fn new(shards: usize, row_bytes: usize, row_bits: u32, huge: bool) -> io::Result<Arc<Span>> {
        Ok(Arc::new(Span {
            reservation: Reservation::new(shards, row_bytes << row_bits, huge)?,
            row_bytes,
            row_bits,
            sealed: AtomicSpan32::new(shards << (row_bits - CHUNK_BITS))?,
            claimed: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            disk: OnceLock::new(),
        }))
    }

    /// Gives the column a file, so that chunks can be moved out.
    ///
    /// # Panics
    /// If it has one.
    pub fn keep_on_disk(&self, file: VectorFile) -> io::Result<()> {
        let chunks = AtomicSpan32::new(self.claimed.len() << (self.row_bits - CHUNK_BITS))?;
        assert!(
            self.disk.set(Disk { file, chunks, has_failed: AtomicBool::new(false) }).is_ok(),
            "a column has one file"
        );
        Ok(())
    }

    /// Writes a chunk to the file and lets go of its memory. Any thread may, once `SpanWriter::begin_move` has said so; it takes as
    /// long as the disk does. `pin` is from before that: so the chunk stays in use meanwhile.
    ///
    /// # Errors
    /// What the file system says. Then the chunk stays in memory.
    ///
    /// # Panics
    /// If nobody has begun to move it, or not all of its rows are sealed.
    pub fn move_out(&self, shard: usize, chunk: u32, _pin: &Pin) -> io::Result<()> {
        let slot = chunk << CHUNK_BITS;
        let disk = self.disk.get().expect("a column with a file");
        let mark = disk.chunks.get(self.chunk(shard, slot));
        assert_eq!(mark.load(Ordering::Acquire), MOVING, "a chunk that is moved once");
        let rows = self.rows(shard, slot, CHUNK_ROWS as usize);
        let start = slot as usize * self.row_bytes;
        let offset = (shard * self.reservation.shard_bytes() + start) as u64;
        let moved = disk.file.write(rows, offset).and_then(|()| {
            // SAFETY: the file has just been given these bytes, and is written at this place again only when the chunk is moved
            // out another time. The rows are sealed; `move_in` brings memory back before `unseal` lets anybody write.
            unsafe { self.reservation.map_file(shard, start, rows.len(), &disk.file.mapped, offset) }
        });
        disk.has_failed.store(moved.is_err(), Ordering::Relaxed);
        mark.store(if moved.is_ok() { ON_DISK } else { IN_MEMORY }, Ordering::Release);
        moved
    }

    /// The file and the position in it of a row that was moved out; None where it is in memory.
    #[inline]
    pub fn on_disk(&self, row: u32) -> Option<(&Arc<OwnedFd>, u64)> {
        let disk = self.disk.get()?;
        let is_moved = disk.chunks.get((row >> CHUNK_BITS) as usize).load(Ordering::Acquire) == ON_DISK;
        is_moved.then(|| (disk.file.row_reads(), u64::from(row) * self.row_bytes as u64))
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Has the kernel give a committed chunk its memory now. What lies there stays.
    pub fn populate(&self, shard: usize, chunk: u32) -> io::Result<()> {
        let bytes = self.row_bytes << CHUNK_BITS;
        self.reservation.populate(shard, chunk as usize * bytes, bytes)
    }

    fn chunk(&self, shard: usize, slot: u32) -> usize {
        shard << (self.row_bits - CHUNK_BITS) | (slot >> CHUNK_BITS) as usize
    }

    /// Rows of one chunk. The caller holds a pin, or is on the shard's own thread and between two of its operations.
    ///
    /// # Panics
    /// If any of them is not sealed.
    #[inline]
    pub fn rows(&self, shard: usize, slot: u32, count: usize) -> &[u8] {
        let sealed = self.sealed.get(self.chunk(shard, slot)).load(Ordering::Acquire) as usize;
        let end = (slot % CHUNK_ROWS) as usize + count;
        assert!(end <= sealed, "rows {slot} + {count} of shard {shard}, {sealed} of the chunk can be read");
        let address = self.reservation.address(shard, slot as usize * self.row_bytes);
        // SAFETY: sealed rows are committed, and nobody writes them while a reader from before is left (see `Expired`); the
        // mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(address.as_ptr(), count * self.row_bytes) }
    }

    /// Rows of one chunk as an Arrow buffer, which keeps the span alive and the rows as they are.
    ///
    /// # Panics
    /// If any of them is not sealed.
    pub fn buffer(self: &Arc<Self>, pin: Pin, shard: usize, slot: u32, count: usize) -> Buffer {
        let bytes = self.rows(shard, slot, count);
        let first = NonNull::from(bytes).cast::<u8>();
        // SAFETY: the rows are sealed (checked by `rows`) and stay so while the pin is held; the buffer holds both the pin and
        // the span that maps them.
        unsafe { Buffer::from_custom_allocation(first, bytes.len(), Arc::new((self.clone(), pin))) }
    }

    /// Whether a row can be read.
    #[inline]
    pub fn is_sealed(&self, row: u32) -> bool {
        row % CHUNK_ROWS < self.sealed.get((row >> CHUNK_BITS) as usize).load(Ordering::Acquire)
    }

    /// The span as rows by row id.
    pub fn sealed_rows(&self) -> SealedRows<'_> {
        let count = self.claimed.len() << self.row_bits;
        // SAFETY: `SealedRows` asks for sealed rows only (it checks each id), and those are readable and not written while
        // their reader holds a pin. A prefetch of any other row is a hint that cannot fault.
        let rows = unsafe { Rows::new(self.reservation.base().as_ptr(), self.row_bytes, self.row_bytes, count) };
        SealedRows { span: self, rows }
    }
}

/// Rows of one column, by row id. Each id is checked against what its chunk has sealed.
#[derive(Clone, Copy, Debug)]
pub struct SealedRows<'a> {
    span: &'a Span,
    rows: Rows<'a>,
}

impl<'a> SealedRows<'a> {
    #[inline]
    fn check(&self, row: u32) {
        assert!(self.span.is_sealed(row), "row {row:#x} is not readable");
    }

    /// Bytes of a row.
    ///
    /// # Panics
    /// If the row is not readable.
    #[inline]
    pub fn get(&self, row: u32) -> &'a [u8] {
        self.check(row);
        self.rows.get(row)
    }

    /// Distances of a query to rows, `out[i]` to `rows[i]`.
    ///
    /// # Panics
    /// If a row is not readable, or the lengths differ.
    #[inline]
    pub fn distances(&self, distance: Distance, query: &[u8], rows: &[u32], out: &mut [f32]) {
        rows.iter().for_each(|&row| self.check(row));
        (distance.rows)(query, self.rows, rows, out);
    }

    /// Lays out rows for a tile kernel.
    ///
    /// # Panics
    /// If a row is not readable.
    pub fn pack(&self, tile: &Tile, rows: &[u32], panel: &mut Panel) {
        rows.iter().for_each(|&row| self.check(row));
        (tile.pack)(self.rows, rows, panel);
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

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.span.row_bytes
    }

    /// Makes the first `slots` slots writable.
    pub fn commit(&mut self, slots: usize) -> io::Result<()> {
        self.span.reservation.commit(self.shard, slots * self.span.row_bytes)
    }

    /// Rows of one chunk above its seal, for writing.
    ///
    /// # Panics
    /// If any of them is sealed or not committed.
    #[inline]
    pub fn rows_mut(&mut self, slot: u32, count: usize) -> &mut [u8] {
        let offset = slot % CHUNK_ROWS;
        assert!(offset >= self.sealed(slot), "sealed rows do not change");
        assert!(offset as usize + count <= CHUNK_ROWS as usize, "rows of one chunk");
        let len = self.check_committed(slot, count);
        // SAFETY: the rows are committed and not sealed: readers keep below the seal, and this is the shard's only writer,
        // borrowed mutably, so neither another borrow nor `seal` can happen while the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.address(slot), len) }
    }

    /// Rows of one chunk on either side of the seal, for reading.
    ///
    /// # Panics
    /// If any of them is not committed.
    #[inline]
    pub fn rows(&self, slot: u32, count: usize) -> &[u8] {
        let len = self.check_committed(slot, count);
        // SAFETY: the rows are committed, and only this writer, borrowed here, could write them.
        unsafe { std::slice::from_raw_parts(self.address(slot), len) }
    }

    /// All rows of the first chunks, on either side of the seals, for reading.
    ///
    /// # Panics
    /// If any of them is not committed.
    pub fn all_rows(&self, chunks: u32) -> &[u8] {
        let len = self.check_committed(0, (chunks << CHUNK_BITS) as usize);
        // SAFETY: as in `rows`.
        unsafe { std::slice::from_raw_parts(self.address(0), len) }
    }

    fn address(&self, slot: u32) -> *mut u8 {
        self.span.reservation.address(self.shard, slot as usize * self.span.row_bytes).as_ptr()
    }

    /// Bytes of the rows, all of them committed.
    fn check_committed(&self, slot: u32, count: usize) -> usize {
        let committed = self.span.reservation.committed(self.shard);
        let end = (slot as usize + count) * self.span.row_bytes;
        assert!(end <= committed, "slots {slot} + {count}, {committed} bytes committed");
        count * self.span.row_bytes
    }

    fn mark(&self, slot: u32) -> &AtomicU32 {
        self.span.sealed.get(self.span.chunk(self.shard, slot))
    }

    /// Rows of a slot's chunk that are sealed.
    pub fn sealed(&self, slot: u32) -> u32 {
        self.mark(slot).load(Ordering::Relaxed)
    }

    /// Seals the rows of a chunk up to and without `slot` + `count`.
    ///
    /// # Panics
    /// If that would take back a seal, or the rows are not committed.
    pub fn seal(&mut self, slot: u32, count: u32) {
        let end = slot % CHUNK_ROWS + count;
        assert!(end >= self.sealed(slot) && end <= CHUNK_ROWS, "a seal is not taken back");
        self.check_committed(slot, count as usize);
        self.mark(slot).store(end, Ordering::Release);
    }

    /// Whether the last chunk that was moved stayed in memory.
    pub fn move_has_failed(&self) -> bool {
        self.span.disk.get().is_some_and(|disk| disk.has_failed.load(Ordering::Relaxed))
    }

    /// Has a chunk moved out, by `Span::move_out`. False where there is no file, where it is moved already, and where not all of
    /// its rows are sealed.
    pub fn begin_move(&mut self, chunk: u32) -> bool {
        let slot = chunk << CHUNK_BITS;
        let Some(disk) = self.span.disk.get() else { return false };
        let mark = disk.chunks.get(self.span.chunk(self.shard, slot));
        let is_free = mark.load(Ordering::Acquire) == IN_MEMORY && self.sealed(slot) == CHUNK_ROWS;
        if is_free {
            mark.store(MOVING, Ordering::Release);
        }
        is_free
    }

    /// Brings memory for a chunk that was moved out, in place of its rows. Returns whether it was.
    ///
    /// # Errors
    /// What the kernel says. Then the chunk stays as it is.
    pub fn move_in(&mut self, chunk: u32, _no_reader_is_left: &Expired) -> io::Result<bool> {
        let (span, slot) = (&self.span, chunk << CHUNK_BITS);
        let Some(disk) = span.disk.get() else { return Ok(false) };
        let mark = disk.chunks.get(span.chunk(self.shard, slot));
        if mark.load(Ordering::Acquire) != ON_DISK {
            return Ok(false);
        }
        // SAFETY: no reader is left, and this is the only writer.
        unsafe {
            span.reservation.map_memory(self.shard, slot as usize * span.row_bytes, span.row_bytes << CHUNK_BITS)?
        };
        mark.store(IN_MEMORY, Ordering::Release);
        Ok(true)
    }

    /// Makes a chunk writable again, from its first row on. It is in memory.
    pub fn unseal(&mut self, chunk: u32, _no_reader_is_left: &Expired) {
        self.mark(chunk << CHUNK_BITS).store(0, Ordering::Release);
    }

    /// Gives the memory of an unsealed chunk back.
    ///
    /// # Panics
    /// If it is sealed.
    pub fn discard(&mut self, chunk: u32) -> io::Result<()> {
        assert_eq!(self.sealed(chunk << CHUNK_BITS), 0, "sealed rows do not change");
        let bytes = self.span.row_bytes << CHUNK_BITS;
        self.span.reservation.discard(self.shard, chunk as usize * bytes, bytes)
    }
}

impl Drop for SpanWriter {
    fn drop(&mut self) {
        self.span.claimed[self.shard].store(false, Ordering::Release);
    }
}

/// Bytes that are given out and taken back by a text column's writer. Who reads knows of them from a sealed row.
#[derive(Debug)]
pub(super) struct Heap {
    reservation: Reservation,
    claimed: Vec<AtomicBool>,
}

impl Heap {
    /// Reserves `shard_bytes` (whole pages) for each shard.
    pub fn new(shards: usize, shard_bytes: usize) -> io::Result<Arc<Heap>> {
        let claimed = (0..shards).map(|_| AtomicBool::new(false)).collect();
        Ok(Arc::new(Heap { reservation: Reservation::new(shards, shard_bytes, false)?, claimed }))
    }

    /// Bytes that a part can grow to.
    pub fn capacity(&self) -> usize {
        self.reservation.shard_bytes()
    }

    /// Bytes that a sealed row names, or that the writer's own thread has written.
    ///
    /// # Panics
    /// If any of them is not committed.
    #[inline]
    pub fn bytes(&self, shard: usize, start: usize, len: usize) -> &[u8] {
        let committed = self.reservation.committed(shard);
        assert!(start.checked_add(len).is_some_and(|end| end <= committed), "bytes {start} + {len} of {committed}");
        // SAFETY: the bytes are committed. They were written before the row that names them was sealed, and are given to
        // another row only when that one's readers have gone (`HeapWriter` frees them with the row's chunk).
        unsafe { std::slice::from_raw_parts(self.reservation.address(shard, start).as_ptr(), len) }
    }
}

/// The one writer of a shard's part of a heap.
#[derive(Debug)]
pub(super) struct HeapBytes {
    heap: Arc<Heap>,
    shard: usize,
}

impl HeapBytes {
    /// Claims a shard's part.
    ///
    /// # Panics
    /// If it has a writer.
    pub fn claim(heap: &Arc<Heap>, shard: usize) -> HeapBytes {
        let taken = heap.claimed[shard].swap(true, Ordering::Acquire);
        assert!(!taken, "shard {shard} of a heap has one writer");
        HeapBytes { heap: heap.clone(), shard }
    }

    /// The heap, for reading.
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    /// Makes the first `end` bytes writable.
    pub fn commit(&mut self, end: usize) -> io::Result<()> {
        self.heap.reservation.commit(self.shard, end)
    }

    /// Writes bytes that no readable row names.
    ///
    /// # Panics
    /// If any of them is not committed.
    pub fn write(&mut self, start: usize, bytes: &[u8]) {
        let committed = self.heap.reservation.committed(self.shard);
        assert!(start.checked_add(bytes.len()).is_some_and(|end| end <= committed), "bytes {start} of {committed}");
        let place = self.heap.reservation.address(self.shard, start).as_ptr();
        // SAFETY: the bytes are committed and belong to this writer alone: `text::HeapWriter` gives each block to one chunk, and
        // takes it back only when that chunk's readers have gone, so nobody reads what is written here. The source is another
        // mapping or allocation.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
    }
}

impl Drop for HeapBytes {
    fn drop(&mut self) {
        self.heap.claimed[self.shard].store(false, Ordering::Release);
    }
}

/// One mark per chunk of all shards, readable and zero from the start.
#[derive(Debug)]
struct AtomicSpan32 {
    reservation: Reservation,
    len: usize,
}

impl AtomicSpan32 {
    fn new(len: usize) -> io::Result<AtomicSpan32> {
        let reservation = Reservation::new(1, (len * 4).next_multiple_of(PAGE_BYTES), false)?;
        reservation.commit(0, len * 4)?;
        Ok(AtomicSpan32 { reservation, len })
    }

    #[inline]
    fn get(&self, index: usize) -> &AtomicU32 {
        assert!(index < self.len, "mark {index} of {}", self.len);
        // SAFETY: below the length, all of which was committed when the span was made; aligned, and only accessed as this atomic.
        unsafe { self.reservation.base().cast::<AtomicU32>().add(index).as_ref() }
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
        Ok(AtomicSpan { reservation: Reservation::new(shards, shard_words * 8, false)? })
    }

    /// Makes the first `words` words of a shard accessible.
    pub fn commit(&self, shard: usize, words: usize) -> io::Result<()> {
        self.reservation.commit(shard, words * 8)
    }

    /// A word.
    ///
    /// # Panics
    /// If it is not committed.
    #[inline]
    pub fn word(&self, shard: usize, index: usize) -> &AtomicU64 {
        let committed = self.reservation.committed(shard);
        assert!((index + 1) * 8 <= committed, "word {index} of shard {shard} is not committed");
        let word = self.reservation.address(shard, index * 8).cast::<AtomicU64>();
        // SAFETY: committed, aligned (the part starts on a page), and only ever accessed as this atomic.
        unsafe { word.as_ref() }
    }

    /// The number of words, at least `words`, that is whole pages.
    pub fn whole_pages(words: usize) -> usize {
        words.next_multiple_of(PAGE_BYTES / 8)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pins::Pins;
    use super::*;

    #[test]
    fn sealed_rows_are_read_and_buffers_outlive_the_span() {
        let span = Span::new(2, 10, 13, false).unwrap();
        let mut writer = SpanWriter::claim(&span, 1);
        writer.commit(4096 + 100).unwrap();
        writer.rows_mut(4096, 10).fill(7);
        writer.seal(4096, 6);
        writer.rows_mut(4096 + 6, 4).fill(8);
        assert_eq!(span.rows(1, 4096 + 5, 1), [7; 10]);
        let buffer = span.buffer(Pins::new(1).pin(), 1, 4096, 6);
        drop((writer, span));
        assert_eq!(buffer.as_slice(), [7; 60]);
    }

    #[test]
    fn parts_of_shards_touch_but_do_not_overlap() {
        let span = Span::new(3, 1, 12, true).unwrap();
        for shard in 0..3 {
            let mut writer = SpanWriter::claim(&span, shard);
            writer.commit(4096).unwrap();
            writer.rows_mut(0, 4096).fill(shard as u8 + 1);
            writer.seal(0, 4096);
        }
        for shard in 0..3 {
            assert!(span.rows(shard, 0, 4096).iter().all(|&byte| byte == shard as u8 + 1));
        }
        let rows = span.sealed_rows();
        assert_eq!([rows.get(0)[0], rows.get(4096)[0], rows.get(8192)[0]], [1, 2, 3]);
    }

    #[test]
    fn a_chunk_is_written_again_when_no_reader_is_left() {
        let span = Span::new(1, 1, 12, false).unwrap();
        let mut writer = SpanWriter::claim(&span, 0);
        writer.commit(4096).unwrap();
        writer.rows_mut(0, 8).fill(3);
        writer.seal(0, 8);
        let pins = Pins::new(1);
        let expired = pins.expired(pins.retire()).expect("nobody reads");
        writer.unseal(0, &expired);
        writer.discard(0).unwrap();
        assert_eq!(writer.rows(0, 8), [0; 8], "given back");
        writer.rows_mut(0, 2).fill(4);
        writer.seal(0, 2);
        assert_eq!(span.rows(0, 0, 2), [4; 2]);
    }

    #[test]
    #[should_panic(expected = "sealed rows do not change")]
    fn a_sealed_row_cannot_be_written() {
        let span = Span::new(1, 1, 12, false).unwrap();
        let mut writer = SpanWriter::claim(&span, 0);
        writer.commit(8).unwrap();
        writer.seal(0, 8);
        writer.rows_mut(7, 1);
    }

    #[test]
    #[should_panic(expected = "not readable")]
    fn a_row_above_the_seal_cannot_be_read() {
        let span = Span::new(1, 1, 12, false).unwrap();
        let mut writer = SpanWriter::claim(&span, 0);
        writer.commit(8).unwrap();
        writer.seal(0, 8);
        span.sealed_rows().get(8);
    }

    #[test]
    #[should_panic(expected = "one writer")]
    fn a_part_has_one_writer() {
        let span = Span::new(1, 1, 12, false).unwrap();
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
