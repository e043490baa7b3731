//! The memory that sockets receive into and that the log writes from: one arena a shard.
//!
//! An arena is one mapping, with huge pages advised. Its head is *pinned*: committed when it is made (the kernel's page
//! clearing is what binds ingest, so it must not happen under a receive), and what a ring registers. What lies behind takes
//! memory when it is first written to, and [`Arena::trim`] gives it back: large frames have room that costs nothing without
//! them. [`Arena::take`] hands out runs of 64 KiB blocks, the foremost that are free; a run is contiguous, aligned to 64 KiB
//! and thus fit for `O_DIRECT`, and goes back when its [`Buffer`] is dropped.
//!
//! Invariants:
//! - a block belongs to at most one `Buffer` (the bitmap says which are taken), so a `Buffer` is exclusive memory;
//! - the mapping outlives every `Buffer` and every ring it is registered with: all of them hold the arena;
//! - all bytes are initialised: zeros from the kernel, later whatever the last owner left behind;
//! - no byte of a pinned block or of a taken one is ever given back to the kernel.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::rc::Rc;

use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::error::Error;

/// Unit of allocation. The length of every [`Buffer`] is a multiple of it.
pub const BLOCK_BYTES: usize = 64 << 10;
/// Largest arena: the kernel registers at most 1 GiB as one fixed buffer.
pub const ARENA_BYTES_MAX: usize = 1 << 30;

const HUGE_PAGE_BYTES: usize = 2 << 20;

const _: () = assert!(BLOCK_BYTES.is_multiple_of(4096));
const _: () = assert!(HUGE_PAGE_BYTES.is_multiple_of(BLOCK_BYTES));

/// Blocks of memory for one shard; clones share it. Not `Send`: an arena stays on its thread.
#[derive(Clone)]
pub struct Arena {
    inner: Rc<Inner>,
}

/// A run of blocks that this value alone owns. Dereferences to its whole length, which may be more than was asked for.
/// The content of a fresh buffer is unspecified (but initialised).
pub struct Buffer {
    inner: Rc<Inner>,
    first_block: usize,
    blocks: usize,
    number: u64,
}

struct Inner {
    mapping: Mapping,
    blocks: RefCell<BlockMap>,
    /// Buffers taken so far.
    taken: Cell<u64>,
}

impl Arena {
    /// Maps `bytes` and commits the first `pinned_bytes` of them, both rounded up to whole blocks.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] above [`ARENA_BYTES_MAX`]; [`Error::OutOfMemory`] when the kernel refuses.
    pub fn new(bytes: usize, pinned_bytes: usize) -> Result<Arena, Error> {
        assert!(pinned_bytes > 0 && pinned_bytes <= bytes, "an arena of {bytes} bytes, {pinned_bytes} of them pinned");
        if bytes > ARENA_BYTES_MAX {
            return Err(Error::LimitExceeded {
                what: "bytes of a buffer arena",
                value: bytes as u64,
                limit: ARENA_BYTES_MAX as u64,
            });
        }
        let block_count = bytes.div_ceil(BLOCK_BYTES);
        let pinned_blocks = pinned_bytes.div_ceil(BLOCK_BYTES);
        let mapping = Mapping::new(block_count * BLOCK_BYTES, pinned_blocks * BLOCK_BYTES)?;
        let blocks = RefCell::new(BlockMap::new(block_count, pinned_blocks));
        Ok(Arena { inner: Rc::new(Inner { mapping, blocks, taken: Cell::new(0) }) })
    }

    /// A contiguous run of at least `len` bytes, or `None` when there is no such run now: that is backpressure, try
    /// again when a buffer has been dropped.
    pub fn take(&self, len: usize) -> Option<Buffer> {
        assert!(len > 0, "a buffer of no bytes");
        let blocks = len.div_ceil(BLOCK_BYTES);
        let first_block = self.inner.blocks.borrow_mut().take(blocks)?;
        self.inner.taken.set(self.inner.taken.get() + 1);
        Some(Buffer { inner: Rc::clone(&self.inner), first_block, blocks, number: self.inner.taken.get() })
    }

    /// Gives the memory behind the pinned part back to the kernel, if none of it was in use since the last call. To be called
    /// every second or so.
    pub fn trim(&self) {
        let unused = self.inner.blocks.borrow_mut().unused_tail();
        self.inner.mapping.discard(unused.start * BLOCK_BYTES..unused.end * BLOCK_BYTES);
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.inner.mapping.bytes
    }

    /// Size of the part that is always committed.
    pub fn pinned_bytes(&self) -> usize {
        self.inner.mapping.pinned_bytes
    }

    /// Bytes not taken; they need not be contiguous.
    pub fn free_bytes(&self) -> usize {
        self.inner.blocks.borrow().free * BLOCK_BYTES
    }

    /// Address of the first byte, for the registration with a ring.
    pub(crate) fn base(&self) -> *mut u8 {
        self.inner.mapping.base.as_ptr()
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("bytes", &self.bytes()).field("free_bytes", &self.free_bytes()).finish()
    }
}

impl Buffer {
    /// Tells it from every buffer that was taken from this arena before.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether all of the memory is in the pinned part of `arena`.
    pub fn is_pinned_in(&self, arena: &Arena) -> bool {
        let end = (self.first_block + self.blocks) * BLOCK_BYTES;
        Rc::ptr_eq(&self.inner, &arena.inner) && end <= arena.pinned_bytes()
    }

    /// Address of the first byte. Valid for reads and writes of `len()` bytes while this value lives.
    pub(crate) fn address(&self) -> *mut u8 {
        debug_assert!((self.first_block + self.blocks) * BLOCK_BYTES <= self.inner.mapping.bytes);
        // SAFETY: `BlockMap::take` only gives blocks that lie within the mapping.
        unsafe { self.inner.mapping.base.as_ptr().add(self.first_block * BLOCK_BYTES) }
    }

    fn bytes(&self) -> usize {
        self.blocks * BLOCK_BYTES
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the run lies within the mapping, which `inner` keeps alive; its bytes are initialised; the block map
        // gave the run to this value alone, and a ring that lets the kernel write to it owns the value meanwhile.
        unsafe { std::slice::from_raw_parts(self.address(), self.bytes()) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.address(), self.bytes()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.inner.blocks.borrow_mut().give_back(self.first_block, self.blocks);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("first_block", &self.first_block).field("bytes", &self.bytes()).finish()
    }
}

/// Which blocks are taken. First fit, so that memory that was touched last is used again first.
struct BlockMap {
    taken: Vec<bool>,
    free: usize,
    /// No block below this one is free.
    lowest_free: usize,
    /// Blocks from here on are not pinned.
    pinned: usize,
    /// Blocks from here on were not taken since the memory behind the pinned ones was given back.
    touched_end: usize,
    /// A block that is not pinned belonged to somebody since `unused_tail` was asked for.
    tail_in_use: bool,
}

impl BlockMap {
    fn new(blocks: usize, pinned: usize) -> BlockMap {
        BlockMap {
            taken: vec![false; blocks],
            free: blocks,
            lowest_free: 0,
            pinned,
            touched_end: pinned,
            tail_in_use: false,
        }
    }

    /// Blocks that are not pinned, hold memory and were left alone since the last call; they count as given back.
    fn unused_tail(&mut self) -> Range<usize> {
        let tail = self.pinned..self.touched_end;
        let is_taken = self.taken[tail.clone()].contains(&true);
        if std::mem::replace(&mut self.tail_in_use, is_taken) || is_taken {
            return self.pinned..self.pinned;
        }
        self.touched_end = self.pinned;
        tail
    }

    fn take(&mut self, blocks: usize) -> Option<usize> {
        assert!(blocks > 0);
        if blocks > self.free {
            return None;
        }
        let mut run = 0;
        for block in self.lowest_free..self.taken.len() {
            run = if self.taken[block] { 0 } else { run + 1 };
            if run == blocks {
                let first = block + 1 - blocks;
                self.taken[first..=block].fill(true);
                self.free -= blocks;
                if first == self.lowest_free {
                    self.lowest_free = block + 1;
                }
                self.touched_end = self.touched_end.max(block + 1);
                self.tail_in_use |= block >= self.pinned;
                return Some(first);
            }
        }
        None
    }

    fn give_back(&mut self, first: usize, blocks: usize) {
        let run = &mut self.taken[first..first + blocks];
        assert!(run.iter().all(|taken| *taken), "a block is given back twice");
        run.fill(false);
        self.free += blocks;
        self.lowest_free = self.lowest_free.min(first);
    }
}

/// Anonymous memory, unmapped on drop.
struct Mapping {
    /// What was mapped: a huge page more than asked for, so that `base` can be aligned to one.
    mapped: NonNull<u8>,
    mapped_bytes: usize,
    base: NonNull<u8>,
    bytes: usize,
    /// Bytes from the start that are committed.
    pinned_bytes: usize,
}

impl Mapping {
    fn new(bytes: usize, pinned_bytes: usize) -> Result<Mapping, Error> {
        let refused = |source: rustix::io::Errno| Error::OutOfMemory {
            what: "buffer arena",
            bytes: bytes as u64,
            source: source.into(),
        };
        let mapped_bytes = bytes + HUGE_PAGE_BYTES;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
        let mapped = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), mapped_bytes, ProtFlags::READ | ProtFlags::WRITE, flags)
        }
        .map_err(refused)?;
        let mapped = NonNull::new(mapped.cast::<u8>()).expect("mmap gives no null without MAP_FIXED");
        let slack = mapped.as_ptr().align_offset(HUGE_PAGE_BYTES);
        assert!(slack < HUGE_PAGE_BYTES);
        // SAFETY: `slack` is below the huge page that was mapped on top of `bytes`.
        let base = unsafe { mapped.add(slack) };
        let mapping = Mapping { mapped, mapped_bytes, base, bytes, pinned_bytes };
        mapping.commit().map_err(refused)?;
        Ok(mapping)
    }

    fn commit(&self) -> Result<(), rustix::io::Errno> {
        let base = self.base.as_ptr().cast::<c_void>();
        // SAFETY: the range is ours and neither advice changes what its bytes read as. A kernel without huge pages
        // refuses the first, which costs speed only.
        unsafe {
            let _ = rustix::mm::madvise(base, self.bytes, Advice::LinuxHugepage);
            match rustix::mm::madvise(base, self.pinned_bytes, Advice::LinuxPopulateWrite) {
                Err(rustix::io::Errno::INVAL) => {}
                result => return result,
            }
        }
        // A kernel before 5.14 cannot populate: touch every page.
        for offset in (0..self.pinned_bytes).step_by(4096) {
            // SAFETY: within the mapping, which nobody else knows yet.
            unsafe { self.base.add(offset).write_volatile(0) };
        }
        Ok(())
    }

    /// Gives memory back to the kernel; the range, of free blocks, reads as zeros then.
    fn discard(&self, range: Range<usize>) {
        assert!(range.start >= self.pinned_bytes && range.end <= self.bytes);
        if range.is_empty() {
            return;
        }
        // SAFETY: the range lies within the mapping and belongs to no buffer, so nobody reads it or has it in flight.
        let result = unsafe {
            rustix::mm::madvise(self.base.as_ptr().add(range.start).cast(), range.len(), Advice::LinuxDontNeed)
        };
        debug_assert!(result.is_ok(), "madvise of our own mapping");
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`; the arena, its buffers and the rings it is registered with hold it alive, so nobody
        // can reach the memory any more.
        let result = unsafe { rustix::mm::munmap(self.mapped.as_ptr().cast::<c_void>(), self.mapped_bytes) };
        debug_assert!(result.is_ok(), "munmap of our own mapping");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_aligned_exclusive_and_comes_back() {
        let arena = Arena::new(10 * BLOCK_BYTES - 5, 6 * BLOCK_BYTES - 7).unwrap();
        assert_eq!(arena.bytes(), 10 * BLOCK_BYTES);
        let mut a = arena.take(1).unwrap();
        let mut b = arena.take(3 * BLOCK_BYTES + 1).unwrap();
        assert_eq!((a.len(), b.len()), (BLOCK_BYTES, 4 * BLOCK_BYTES));
        assert!((a.as_ptr() as usize).is_multiple_of(4096) && (b.as_ptr() as usize).is_multiple_of(4096));
        assert!(a.is_pinned_in(&arena) && b.is_pinned_in(&arena));
        assert!(!a.is_pinned_in(&Arena::new(BLOCK_BYTES, 1).unwrap()));
        a.fill(1);
        b.fill(2);
        assert!(a.iter().all(|x| *x == 1) && b.iter().all(|x| *x == 2));
        assert_eq!(arena.free_bytes(), 5 * BLOCK_BYTES);
        drop(b);
        assert_eq!(arena.free_bytes(), 9 * BLOCK_BYTES);
    }

    #[test]
    fn a_full_or_fragmented_arena_says_none() {
        let arena = Arena::new(4 * BLOCK_BYTES, BLOCK_BYTES).unwrap();
        let mut held: Vec<_> = (0..4).map(|_| arena.take(BLOCK_BYTES).unwrap()).collect();
        assert!(arena.take(1).is_none());
        held.remove(2);
        held.remove(0);
        assert_eq!(arena.free_bytes(), 2 * BLOCK_BYTES);
        assert!(arena.take(2 * BLOCK_BYTES).is_none(), "two blocks are free, but not side by side");
        held.remove(0);
        assert!(arena.take(3 * BLOCK_BYTES).is_some());
    }

    #[test]
    fn memory_behind_the_pinned_part_is_given_back_when_it_is_left_alone() {
        let arena = Arena::new(8 * BLOCK_BYTES, 2 * BLOCK_BYTES).unwrap();
        assert_eq!(arena.pinned_bytes(), 2 * BLOCK_BYTES);
        let mut pinned = arena.take(BLOCK_BYTES).unwrap();
        pinned.fill(1);
        let mut large = arena.take(4 * BLOCK_BYTES).unwrap();
        assert!(pinned.is_pinned_in(&arena) && !large.is_pinned_in(&arena));
        large.fill(2);
        arena.trim();
        arena.trim();
        assert!(large.iter().all(|x| *x == 2), "it is taken");
        drop(large);
        arena.trim();
        let large = arena.take(4 * BLOCK_BYTES).unwrap();
        assert!(large.iter().all(|x| *x == 2), "it was in use a moment ago");
        drop(large);
        arena.trim();
        arena.trim();
        let large = arena.take(4 * BLOCK_BYTES).unwrap();
        assert!(large[..BLOCK_BYTES].iter().all(|x| *x == 2), "its first block is pinned");
        assert!(large[BLOCK_BYTES..].iter().all(|x| *x == 0), "given back");
        assert!(pinned.iter().all(|x| *x == 1));
    }

    #[test]
    fn buffers_keep_the_mapping_alive() {
        let arena = Arena::new(BLOCK_BYTES, BLOCK_BYTES).unwrap();
        let mut buffer = arena.take(1).unwrap();
        drop(arena);
        buffer.fill(7);
        assert_eq!(buffer[BLOCK_BYTES - 1], 7);
    }

    #[test]
    fn an_arena_above_the_limit_is_refused() {
        assert!(matches!(Arena::new(ARENA_BYTES_MAX + 1, 1), Err(Error::LimitExceeded { .. })));
    }
}
