//! The multiplication: sums of every row of a block with every column.
//!
//! ```text
//! panel     group 0: line 0, line 1, … line steps − 1;  group 1: …
//! line      4 bytes of column 0, 4 bytes of column 1, … of column 15
//! strip     4 bytes of row 0, … of row R − 1, then the next 4 bytes of each:  R rows of a panel, copied together
//! ```
//!
//! A step reads a line of each of some groups into registers, and multiplies them by the four bytes of each of `R` rows in turn.
//! The loops around it follow Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): the
//! lines of a few groups stay in the first cache while the rows of the block go by.

use std::ops::Range;

use super::lanes::Lanes;
use super::{GROUP, Line, Panel};
use crate::vector::Vector;

/// Most steps that are summed in one go: so many lines of three groups are 18 KB, and stay in the first cache.
const STEPS_MAX: usize = 96;

/// Makes a byte of a row two's complement, which is offset binary in a panel.
pub(crate) const QUADS_FLIP: u8 = 0x80;

/// What is summed over the four bytes of a row and of a column.
///
/// # Safety
/// As for [`Vector`].
pub(crate) trait Product<V: Lanes> {
    /// Four bytes of each of some columns, or of one row in each lane.
    type Register: Copy;
    /// A sum for each lane.
    type Sums: Copy;

    /// XORed to every byte of a row that is no column.
    const FLIP: u8;
    /// Whether unsigned bytes of columns are multiplied by signed ones of rows, four at a time.
    const IS_OF_BYTE_QUADS: bool = false;

    unsafe fn zero() -> Self::Sums;
    unsafe fn load(from: *const u8) -> Self::Register;
    unsafe fn splat(from: *const u8) -> Self::Register;
    unsafe fn step(sums: Self::Sums, columns: Self::Register, row: Self::Register) -> Self::Sums;
    /// Writes sums.
    unsafe fn store(to: *mut u8, sums: Self::Sums);
    /// Adds sums to those written before.
    unsafe fn add(to: *mut u8, sums: Self::Sums);
}

/// Σab of f32.
pub(crate) struct FloatProducts;
/// Σ(a − b)² of f32.
pub(crate) struct FloatDifferences;
/// Σab of integers of a byte, as `panel.rs` lays them out.
pub(crate) struct ByteProducts;
/// Bits that differ.
pub(crate) struct DifferingBits;

/// The part of [`Product`] that is the same for all of one kind of register.
macro_rules! floats {
    () => {
        type Register = V::Floats;
        type Sums = V::Floats;

        const FLIP: u8 = 0;

        #[inline(always)]
        unsafe fn zero() -> V::Floats {
            // SAFETY: the caller has checked the CPU.
            unsafe { <V as Vector>::zero() }
        }

        #[inline(always)]
        unsafe fn load(from: *const u8) -> V::Floats {
            // SAFETY: as the caller promises.
            unsafe { V::load_f32(from) }
        }

        #[inline(always)]
        unsafe fn splat(from: *const u8) -> V::Floats {
            // SAFETY: the caller lets four bytes be read.
            unsafe { <V as Vector>::splat(from.cast::<f32>().read_unaligned()) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut u8, sums: V::Floats) {
            // SAFETY: as the caller promises.
            unsafe { <V as Vector>::store(to.cast(), sums) }
        }

        #[inline(always)]
        unsafe fn add(to: *mut u8, sums: V::Floats) {
            // SAFETY: as the caller promises.
            unsafe { <V as Vector>::store(to.cast(), <V as Vector>::add(V::load_f32(to), sums)) }
        }
    };
}

macro_rules! integers {
    () => {
        type Register = V::Bytes;
        type Sums = V::Bytes;

        #[inline(always)]
        unsafe fn zero() -> V::Bytes {
            // SAFETY: the caller has checked the CPU.
            unsafe { V::splat_byte(0) }
        }

        #[inline(always)]
        unsafe fn load(from: *const u8) -> V::Bytes {
            // SAFETY: as the caller promises.
            unsafe { V::load_bytes(from) }
        }

        #[inline(always)]
        unsafe fn splat(from: *const u8) -> V::Bytes {
            // SAFETY: as the caller promises.
            unsafe { V::splat_lane(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut u8, sums: V::Bytes) {
            // SAFETY: as the caller promises.
            unsafe { V::store_bytes(to, sums) }
        }

        #[inline(always)]
        unsafe fn add(to: *mut u8, sums: V::Bytes) {
            // SAFETY: as the caller promises.
            unsafe { V::store_bytes(to, V::add_sums(V::load_bytes(to), sums)) }
        }
    };
}

impl<V: Lanes> Product<V> for FloatProducts {
    floats!();

    #[inline(always)]
    unsafe fn step(sums: V::Floats, columns: V::Floats, row: V::Floats) -> V::Floats {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::mul_add(columns, row, sums) }
    }
}

impl<V: Lanes> Product<V> for FloatDifferences {
    floats!();

    #[inline(always)]
    unsafe fn step(sums: V::Floats, columns: V::Floats, row: V::Floats) -> V::Floats {
        // SAFETY: the caller has checked the CPU.
        unsafe {
            let difference = V::sub(columns, row);
            V::mul_add(difference, difference, sums)
        }
    }
}

impl<V: Lanes> Product<V> for ByteProducts {
    integers!();

    const FLIP: u8 = if V::BYTE_QUADS { QUADS_FLIP } else { 0 };
    const IS_OF_BYTE_QUADS: bool = V::BYTE_QUADS;

    #[inline(always)]
    unsafe fn step(sums: V::Bytes, columns: V::Bytes, row: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe {
            if V::BYTE_QUADS { V::add_products(sums, columns, row) } else { V::add_word_products(sums, columns, row) }
        }
    }
}

impl<V: Lanes> Product<V> for DifferingBits {
    integers!();

    const FLIP: u8 = 0;

    #[inline(always)]
    unsafe fn step(sums: V::Bytes, columns: V::Bytes, row: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_ones_by_lane(sums, V::xor(columns, row)) }
    }
}

/// Some rows of one panel, some groups of columns of another, and room for their sums.
pub(crate) struct Block<'a> {
    pub rows: Range<usize>,
    pub groups: Range<usize>,
    /// Memory for the rows.
    pub strip: &'a mut Vec<Line>,
    /// The sum of row `r` and column `c` of the block goes to `sums[r × stride + c / 16].0[c % 16]`. Rows are rounded up to the
    /// next `ROWS_MULTIPLE`.
    pub sums: &'a mut [Line],
    /// In lines.
    pub stride: usize,
}

/// A multiple of the rows of a tile on every instruction set.
pub(crate) const ROWS_MULTIPLE: usize = 24;

/// Fills a block: `R` rows and `G` groups, of `C` registers in all, at a time.
///
/// # Safety
/// The CPU has the instruction set of `V`; `C` is `G` groups of registers.
#[inline(always)]
pub(crate) unsafe fn block<V: Lanes, P: Product<V>, const R: usize, const G: usize, const C: usize, const C1: usize>(
    a: &Panel,
    b: &Panel,
    block: &mut Block<'_>,
) {
    const { assert!(ROWS_MULTIPLE.is_multiple_of(R) && C1 * V::FLOATS == GROUP && C == G * C1) }
    let steps = a.steps;
    assert!(b.steps == steps && block.groups.end * steps <= b.lines.len());
    let tile_rows = block.rows.len().div_ceil(R);
    assert!(block.groups.len() <= block.stride && tile_rows * R * block.stride <= block.sums.len());
    // A row of no bytes has no step, and its sums are zero all the same.
    let slices = steps.div_ceil(STEPS_MAX).max(1);
    for slice in 0..slices {
        let slice_steps = slice * steps / slices..(slice + 1) * steps / slices;
        let is_first = slice == 0;
        lay_strip::<V, P, R>(a, block.rows.clone(), slice_steps.clone(), block.strip);
        let mut group = block.groups.start;
        while group < block.groups.end {
            let wide = block.groups.end - group >= G;
            for tile_row in 0..tile_rows {
                // SAFETY: the strip has `R` rows of so many steps for each row of tiles; the asserts above cover the
                // columns and the sums; the caller has checked the CPU.
                unsafe {
                    let strip = block.strip.as_ptr().cast::<u8>().add(tile_row * slice_steps.len() * R * 4);
                    let columns = b.lines.as_ptr().add(group * steps + slice_steps.start).cast::<u8>();
                    let at = tile_row * R * block.stride + (group - block.groups.start);
                    let sums = block.sums.as_mut_ptr().add(at).cast::<u8>();
                    let shape = Shape { steps: slice_steps.len(), group_lines: steps, stride: block.stride, is_first };
                    if wide {
                        tile::<V, P, R, C>(strip, columns, sums, shape);
                    } else {
                        tile::<V, P, R, C1>(strip, columns, sums, shape);
                    }
                }
            }
            group += if wide { G } else { 1 };
        }
    }
}

/// Copies the rows of a block together, `R` at a time. Rows that are missing at the end are zeros, or what the panel has there.
#[inline(always)]
fn lay_strip<V: Lanes, P: Product<V>, const R: usize>(
    a: &Panel,
    rows: Range<usize>,
    steps: Range<usize>,
    strip: &mut Vec<Line>,
) {
    let tile_rows = rows.len().div_ceil(R);
    let lanes = tile_rows * steps.len() * R;
    strip.resize(lanes.div_ceil(GROUP), Line::ZERO);
    let flip = u32::from_ne_bytes([P::FLIP; 4]);
    let strip = strip.as_flattened_lanes();
    let lines_of =
        |group: usize| a.lines.get(group * a.steps..(group + 1) * a.steps).map(|lines| &lines[steps.clone()]);
    for (tile_row, strip) in strip[..lanes].chunks_exact_mut((steps.len() * R).max(1)).enumerate() {
        let row = rows.start + tile_row * R;
        let (group, lane) = (row / GROUP, row % GROUP);
        let lines = lines_of(group).expect("a group that has rows");
        let strip = strip.as_chunks_mut::<R>().0;
        if let Some(last) = lane.checked_sub(GROUP - R).filter(|past| *past > 0) {
            // The last rows are of the next group.
            let next = lines_of(group + 1);
            for (step, (to, line)) in strip.iter_mut().zip(lines).enumerate() {
                to[..R - last].copy_from_slice(&line.0[lane..]);
                match next {
                    Some(next) => to[R - last..].copy_from_slice(&next[step].0[..last]),
                    None => to[R - last..].fill(0),
                }
                to.iter_mut().for_each(|lane| *lane ^= flip);
            }
        } else {
            for (to, line) in strip.iter_mut().zip(lines) {
                let from = line.0[lane..].first_chunk::<R>().expect("rows of one group");
                *to = from.map(|lane| lane ^ flip);
            }
        }
    }
}

/// Lines as what they are made of.
pub(crate) trait FlattenedLanes {
    fn as_flattened_lanes(&mut self) -> &mut [u32];
}

impl FlattenedLanes for [Line] {
    #[inline(always)]
    fn as_flattened_lanes(&mut self) -> &mut [u32] {
        // SAFETY: a line is sixteen u32 and nothing else, so as many of them follow each other without a gap.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), self.len() * GROUP) }
    }
}

/// What a tile reads and writes.
#[derive(Clone, Copy)]
struct Shape {
    /// Lines that are summed.
    steps: usize,
    /// Lines from a group to the next.
    group_lines: usize,
    /// Lines from the sums of a row to those of the next.
    stride: usize,
    /// Whether the sums are the first ones, and are written. Otherwise they are added.
    is_first: bool,
}

/// The sums of `R` rows and `C` registers of columns.
///
/// # Safety
/// The CPU has the instruction set of `V`; what `shape` describes is readable and writable.
#[inline(always)]
unsafe fn tile<V: Lanes, P: Product<V>, const R: usize, const C: usize>(
    mut strip: *const u8,
    columns: *const u8,
    to: *mut u8,
    shape: Shape,
) {
    const LINE_BYTES: usize = size_of::<Line>();
    // SAFETY: as the caller promises.
    unsafe {
        let mut from = [columns; C];
        for (c, from) in from.iter_mut().enumerate() {
            let byte = c * V::BYTES;
            *from = columns.add(byte / LINE_BYTES * shape.group_lines * LINE_BYTES + byte % LINE_BYTES);
        }
        let mut sums = [[P::zero(); C]; R];
        for step in 0..shape.steps {
            let mut columns = [P::load(from[0].add(step * LINE_BYTES)); C];
            for c in 1..C {
                columns[c] = P::load(from[c].add(step * LINE_BYTES));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = P::splat(strip.add(r * 4));
                for c in 0..C {
                    sums[c] = P::step(sums[c], columns[c], row);
                }
            }
            strip = strip.add(R * 4);
        }
        for (r, sums) in sums.iter().enumerate() {
            for (c, sums) in sums.iter().enumerate() {
                let to = to.add(r * shape.stride * LINE_BYTES + c * V::BYTES);
                if shape.is_first { P::store(to, *sums) } else { P::add(to, *sums) }
            }
        }
    }
}
