//! Rows of one size at a fixed stride: what the batch kernels read.

use std::marker::PhantomData;

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;
/// Most lines of one row that are prefetched: after these the CPU has seen the stream and runs ahead by itself.
/// Asking for all 24 lines of a 384-d f32 row made random reads 12 % slower than asking for 12.
const PREFETCH_LINES_MAX: usize = 12;
/// Lines that a batch kernel keeps on their way; three times the twelve line fill buffers of a core.
#[cfg(target_arch = "x86_64")]
const PREFETCH_LINES_AHEAD: usize = 36;
/// Most rows that a batch kernel prefetches ahead.
#[cfg(target_arch = "x86_64")]
const PREFETCH_ROWS_MAX: usize = 16;

/// A span of memory that holds row `i` at `base + i × stride`. Copying it copies the description only.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    base: *const u8,
    stride: usize,
    row_bytes: usize,
    count: usize,
    memory: PhantomData<&'a [u8]>,
}

// SAFETY: `Rows` is a shared borrow of bytes, like `&[u8]`; the promise of `Rows::new` covers every thread.
unsafe impl Send for Rows<'_> {}
// SAFETY: as above.
unsafe impl Sync for Rows<'_> {}

impl<'a> Rows<'a> {
    /// Describes `count` rows of `row_bytes` bytes, the first at `base`, each `stride` bytes after the one before.
    ///
    /// # Safety
    /// For all of `'a`, the bytes `base + i × stride .. + row_bytes` must be readable for each `i` below
    /// `count`, and no row that is asked for (by [`Rows::get`] or a distance over its id) may be written
    /// while its bytes are borrowed.
    ///
    /// # Panics
    /// If rows would overlap (`stride < row_bytes`) or the span does not fit the address space.
    pub unsafe fn new(base: *const u8, stride: usize, row_bytes: usize, count: usize) -> Self {
        assert!(stride >= row_bytes, "rows of {row_bytes} bytes overlap at stride {stride}");
        assert!(
            count.checked_mul(stride).is_some_and(|bytes| bytes <= isize::MAX as usize),
            "{count} rows of stride {stride} do not fit the address space"
        );
        Self { base, stride, row_bytes, count, memory: PhantomData }
    }

    /// Rows that lie one after the other in `bytes`; a rest shorter than a row is left out.
    ///
    /// # Panics
    /// If `row_bytes` is 0.
    pub fn from_slice(bytes: &'a [u8], row_bytes: usize) -> Self {
        assert!(row_bytes > 0, "a row has at least one byte");
        // SAFETY: every row lies inside `bytes`, which is borrowed, and so not written, for 'a.
        unsafe { Self::new(bytes.as_ptr(), row_bytes, row_bytes, bytes.len() / row_bytes) }
    }

    /// Number of rows: ids are below it.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Bytes from the start of a row to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The bytes of a row.
    ///
    /// # Panics
    /// If `row` is not below the count.
    #[inline(always)]
    pub fn get(&self, row: u32) -> &'a [u8] {
        assert!((row as usize) < self.count, "row {row} of {} rows", self.count);
        // SAFETY: the row is below `count`, so the maker of this `Rows` has promised that it is readable and
        // not written, and `new` has checked that the offset fits an `isize`.
        unsafe { std::slice::from_raw_parts(self.base.add(row as usize * self.stride), self.row_bytes) }
    }

    /// Asks the CPU to bring a row into its first-level cache (of a long row the start, and the CPU goes on by
    /// itself). A row that does not exist is ignored.
    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        if (row as usize) < self.count {
            let start = self.base.wrapping_add(row as usize * self.stride);
            for line in 0..self.prefetch_lines() {
                prefetch_line(start.wrapping_add(line * LINE_BYTES));
            }
        }
    }

    #[inline(always)]
    fn prefetch_lines(&self) -> usize {
        self.row_bytes.div_ceil(LINE_BYTES).min(PREFETCH_LINES_MAX)
    }

    /// How many rows ahead a batch kernel prefetches.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn rows_ahead(&self) -> usize {
        (PREFETCH_LINES_AHEAD / self.prefetch_lines().max(1)).clamp(1, PREFETCH_ROWS_MAX)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch_line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch of any address is a hint and never faults; SSE is part of x86_64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn prefetch_line(_address: *const u8) {}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn rows_lie_at_their_stride() {
        let memory: Vec<u8> = (0..100).collect();
        // SAFETY: the last of the 9 rows ends at 8 × 11 + 7 = 95, inside `memory`, which nobody writes.
        let rows = unsafe { Rows::new(memory.as_ptr(), 11, 7, 9) };
        assert_eq!(rows.get(0), &memory[..7]);
        assert_eq!(rows.get(8), &memory[88..95]);
        assert_eq!((rows.count(), rows.stride(), rows.row_bytes()), (9, 11, 7));
        rows.prefetch(8);
        rows.prefetch(u32::MAX);
    }

    #[test]
    fn a_slice_has_only_whole_rows() {
        let rows = Rows::from_slice(&[0; 23], 8);
        assert_eq!(rows.count(), 2);
    }

    #[test]
    #[should_panic(expected = "row 2 of 2 rows")]
    fn a_row_that_does_not_exist_panics() {
        Rows::from_slice(&[0; 23], 8).get(2);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn rows_that_overlap_are_refused() {
        // SAFETY: `new` panics before it makes anything of the pointer.
        let _ = unsafe { Rows::new(std::ptr::null(), 7, 8, 1) };
    }
}
