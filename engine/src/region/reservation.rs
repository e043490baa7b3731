#![allow(unsafe_code)]
//! Address space of a column, and what the kernel is asked to do with it.

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap};

/// Bytes of a page.
pub(super) const PAGE_BYTES: usize = 4096;
/// Commit step where huge pages are wanted: one huge page.
const HUGE_CHUNK_BYTES: usize = 2 << 20;
/// Commit step elsewhere.
const SMALL_CHUNK_BYTES: usize = 64 << 10;

/// Address space of a column: reserved whole, committed in chunks, all zero when committed.
#[derive(Debug)]
pub(super) struct Reservation {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    base: NonNull<u8>,
    shard_bytes: usize,
    chunk_bytes: usize,
    /// Bytes of each shard's part that are accessible.
    committed: Vec<CachePadded<AtomicUsize>>,
}

// SAFETY: the pointers are to a mapping that this value owns; access to the bytes is ruled by `Span`, `SpanWriter` and `AtomicSpan`.
unsafe impl Send for Reservation {}
// SAFETY: as above; committing from several threads at once is idempotent.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves `shard_bytes` (whole pages) for each shard. `huge`: ask for huge pages.
    pub fn new(shards: usize, shard_bytes: usize, huge: bool) -> io::Result<Reservation> {
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
    pub fn commit(&self, shard: usize, end: usize) -> io::Result<()> {
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

    /// Where the parts begin.
    #[inline]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes of each shard's part.
    pub fn shard_bytes(&self) -> usize {
        self.shard_bytes
    }

    /// Bytes of a shard's part that are accessible.
    #[inline]
    pub fn committed(&self, shard: usize) -> usize {
        self.committed[shard].load(Ordering::Acquire)
    }

    /// Place of a byte of a shard's part.
    #[inline]
    pub fn address(&self, shard: usize, offset: usize) -> NonNull<u8> {
        assert!(shard < self.committed.len() && offset <= self.shard_bytes);
        // SAFETY: just checked to lie within the mapping.
        unsafe { self.base.add(shard * self.shard_bytes + offset) }
    }

    /// Has the kernel give committed bytes their memory now, at most a huge page at a time: it holds a lock meanwhile that the
    /// committing of others waits for.
    pub fn populate(&self, shard: usize, start: usize, len: usize) -> io::Result<()> {
        (start..start + len).step_by(HUGE_CHUNK_BYTES).try_for_each(|at| {
            self.advise(shard, at, HUGE_CHUNK_BYTES.min(start + len - at), libc::MADV_POPULATE_WRITE)
        })
    }

    /// Gives the memory behind committed bytes back; they are zero when they are touched next.
    pub fn discard(&self, shard: usize, start: usize, len: usize) -> io::Result<()> {
        self.advise(shard, start, len, libc::MADV_DONTNEED)
    }

    /// Puts bytes of a file in the place of committed memory, for reading. To whoever reads there nothing changes, if the file holds
    /// what the memory held: a reader finds either the one or the other. Both ends are whole pages.
    ///
    /// # Safety
    /// The file holds these bytes at `file_offset` and goes on holding them for as long as anybody reads them here; nobody writes
    /// to this memory until `map_memory`.
    pub unsafe fn map_file(
        &self,
        shard: usize,
        start: usize,
        len: usize,
        file: &File,
        file_offset: u64,
    ) -> io::Result<()> {
        self.check_pages(shard, start, len);
        let (protection, flags) = (ProtFlags::READ, MapFlags::SHARED | MapFlags::FIXED | MapFlags::NORESERVE);
        // SAFETY: the range is committed memory of this mapping, which is replaced under the kernel's lock, in one step for all
        // threads; what lies there stays the same, as the caller promises.
        unsafe { mmap(self.address(shard, start).as_ptr().cast(), len, protection, flags, file, file_offset)? };
        Ok(())
    }

    /// Puts fresh memory in the place of what `map_file` has put there.
    ///
    /// # Safety
    /// Nobody reads these bytes.
    pub unsafe fn map_memory(&self, shard: usize, start: usize, len: usize) -> io::Result<()> {
        self.check_pages(shard, start, len);
        let address = self.address(shard, start).as_ptr().cast();
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED);
        // SAFETY: the range is committed memory of this mapping that nobody uses, as the caller promises.
        unsafe { mmap_anonymous(address, len, protection, flags | MapFlags::NORESERVE)? };
        if self.chunk_bytes == HUGE_CHUNK_BYTES {
            // SAFETY: as above; the advice changes no content.
            let _ = unsafe { madvise(address, len, Advice::LinuxHugepage) };
        }
        Ok(())
    }

    fn check_pages(&self, shard: usize, start: usize, len: usize) {
        assert!(start.is_multiple_of(PAGE_BYTES) && len.is_multiple_of(PAGE_BYTES), "whole pages");
        assert!(start + len <= self.committed(shard), "committed bytes");
    }

    fn advise(&self, shard: usize, start: usize, len: usize, advice: libc::c_int) -> io::Result<()> {
        let end = start.checked_add(len).expect("bytes of a part");
        assert!(end <= self.committed[shard].load(Ordering::Acquire), "committed bytes");
        // SAFETY: the range is committed memory of this mapping. Populating changes no content. Discarding is only done by
        // `SpanWriter::discard`, to bytes that are the writer's alone.
        let result = unsafe { libc::madvise(self.address(shard, start).as_ptr().cast(), len, advice) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever borrows from it holds this value alive.
        let result = unsafe { munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
        debug_assert!(result.is_ok(), "unmapping a whole mapping does not fail");
    }
}
