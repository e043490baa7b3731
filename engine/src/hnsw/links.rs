//! Reserved spans of atomic numbers: address space for every row that there could ever be, memory for those that are.
//!
//! A span starts as zeros, never moves and never shrinks, so a reader may hold a slice of it while a writer writes. It
//! derefs to a plain slice of atomics, which makes everything above this file safe code. A page that nobody wrote is
//! read as zeros and takes no memory.

#![allow(unsafe_code)]

use std::io;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::error::{Error, Result};

/// Size of a huge page.
const HUGE_BYTES: usize = 2 << 20;
const PAGE_BYTES: usize = 4 << 10;

mod sealed {
    /// Numbers for which all-zero bytes are a value and which may be changed through a shared reference.
    pub trait Atom: Sync + Send {}
}

impl sealed::Atom for AtomicU8 {}
impl sealed::Atom for AtomicU32 {}

/// A fixed array of atomics in reserved address space.
pub(super) struct Span<A: sealed::Atom> {
    first: NonNull<A>,
    len: usize,
    mapping: NonNull<std::ffi::c_void>,
    mapping_bytes: usize,
}

// SAFETY: the span owns its mapping alone and hands out only shared references to atomics, which are Sync.
unsafe impl<A: sealed::Atom> Send for Span<A> {}
// SAFETY: as above.
unsafe impl<A: sealed::Atom> Sync for Span<A> {}

impl<A: sealed::Atom> Span<A> {
    /// Reserves `len` zeros, aligned to a huge page.
    ///
    /// # Errors
    /// `Io` when the operating system refuses the address space.
    pub fn reserve(len: usize) -> Result<Span<A>> {
        let bytes = len.checked_mul(size_of::<A>()).expect("a span's size fits the address space").max(1);
        let mapping_bytes = bytes.checked_add(HUGE_BYTES).expect("a span's size fits the address space");
        // SAFETY: a new private anonymous mapping at an address of the kernel's choice touches no memory in use.
        let mapped = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                mapping_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        };
        let mapped = mapped.map_err(|errno| Error::Io {
            operation: "reserve address space for",
            path: "the graph".into(),
            source: errno.into(),
        })?;
        let padding = mapped.align_offset(HUGE_BYTES);
        assert!(padding < HUGE_BYTES);
        // SAFETY: `padding + bytes <= mapping_bytes`, so the result lies inside the mapping.
        let first = unsafe { mapped.byte_add(padding) };
        let first = NonNull::new(first.cast::<A>()).expect("a mapping is never at null");
        let mapping = NonNull::new(mapped).expect("a mapping is never at null");
        Ok(Span { first, len, mapping, mapping_bytes })
    }

    /// Asks for huge pages under the elements of `range`, and with `now` moves what is there already into them. A refusal
    /// costs speed only.
    pub fn advise_huge(&self, range: Range<usize>, now: bool) {
        assert!(range.start <= range.end && range.end <= self.len);
        let start = range.start * size_of::<A>() / HUGE_BYTES * HUGE_BYTES;
        let end = (range.end * size_of::<A>()).next_multiple_of(HUGE_BYTES);
        let end = end.min(self.len * size_of::<A>());
        for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE].into_iter().take(1 + usize::from(now)) {
            // SAFETY: the range lies inside the mapping (cut off above), and neither advice changes contents.
            let _ = unsafe { libc::madvise(self.first.as_ptr().byte_add(start).cast(), end - start, advice) };
        }
    }

    /// Sets the elements of `range`, whole pages, to zero by giving their memory back.
    ///
    /// # Errors
    /// What the operating system says; then they are as they were.
    pub fn discard(&self, range: Range<usize>) -> io::Result<()> {
        let bytes = range.start * size_of::<A>()..range.end * size_of::<A>();
        assert!(range.start <= range.end && range.end <= self.len);
        assert!(bytes.start.is_multiple_of(PAGE_BYTES) && bytes.end.is_multiple_of(PAGE_BYTES), "whole pages");
        // SAFETY: the range lies inside the mapping. Zeros are a value of every `Atom`, and references are to atomics, of which any
        // thread may change the value.
        let result = unsafe {
            libc::madvise(self.first.as_ptr().byte_add(bytes.start).cast(), bytes.len(), libc::MADV_DONTNEED)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Starts loading the cache lines of `count` elements from `index` on. Does nothing outside the span.
    #[inline(always)]
    pub fn prefetch(&self, index: usize, count: usize) {
        if index >= self.len {
            return;
        }
        let per_line = 64 / size_of::<A>();
        for line in (0..count).step_by(per_line) {
            let address = self.first.as_ptr().wrapping_add(index + line);
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefetch is a hint and never faults, whatever the address.
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = address;
        }
    }
}

impl<A: sealed::Atom> Deref for Span<A> {
    type Target = [A];

    #[inline(always)]
    fn deref(&self) -> &[A] {
        // SAFETY: `reserve` mapped `len` elements from `first` on, readable and writable, aligned to a huge page, zeroed by
        // the kernel, which is a value of every `Atom`. They stay mapped until `drop`, which needs the span exclusively.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<A: sealed::Atom> Drop for Span<A> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `reserve`, and no reference into it outlives the span.
        let result = unsafe { munmap(self.mapping.as_ptr(), self.mapping_bytes) };
        debug_assert!(result.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn a_span_is_zero_aligned_and_larger_than_memory() {
        let span = Span::<AtomicU32>::reserve(1 << 36).unwrap();
        assert_eq!(span.as_ptr() as usize % HUGE_BYTES, 0);
        let last = span.len() - 1;
        assert_eq!(span[last].load(Ordering::Relaxed), 0);
        span[last].store(7, Ordering::Relaxed);
        span.advise_huge(last - 9..span.len(), true);
        span.prefetch(last, 32);
        span.prefetch(last + 1, 32);
        assert_eq!((span[last].load(Ordering::Relaxed), span[0].load(Ordering::Relaxed)), (7, 0));
        let page = PAGE_BYTES / size_of::<AtomicU32>();
        span[last - page].store(5, Ordering::Relaxed);
        span.discard(span.len() - page..span.len()).unwrap();
        assert_eq!((span[last].load(Ordering::Relaxed), span[last - page].load(Ordering::Relaxed)), (0, 5));
    }
}
