//! From sums to distances: what a tile kernel is, and the loop over the sums of a row.

use super::lanes::Lanes;
use super::panel::Lane;
use super::product::Product;
use super::{GROUP, Line, Panel};

/// What is kept of a row besides its elements: see [`super::Terms`].
#[derive(Default)]
pub(crate) struct RowTerms {
    pub as_row: u32,
    pub as_column: u32,
    pub squares: u32,
    pub norm: f32,
}

/// One distance over the registers of `V`.
///
/// # Safety
/// As for [`crate::kernel::Kernel`].
pub(crate) trait TileKernel<V: Lanes>: 'static {
    /// What is summed.
    type Product: Product<V>;
    /// What distances of a row have in common.
    type Row: Copy;

    /// Bytes of an element.
    const ELEMENT_BYTES: usize;
    /// What [`TileKernel::distance`] may be off by, where it is not what [`TileKernel::exact`] gives.
    const SLACK: f32 = 0.0;

    /// Lines that a group of vectors of so many bytes fills.
    fn steps(row_bytes: usize) -> usize;
    /// Lays out one row.
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms;
    /// Reads the terms of a row of `a`.
    unsafe fn row(a: &Panel, row: usize) -> Self::Row;
    /// The distances of a register of sums. The columns are those of `b` from `column` on.
    unsafe fn distance(sums: *const u8, row: Self::Row, b: &Panel, column: usize) -> V::Floats;
    /// The distance of one pair, from its sum and from what `distance` gave.
    #[inline(always)]
    fn exact(_sum: u32, _a: &Panel, _row: usize, _b: &Panel, _column: usize, distance: f32) -> f32 {
        distance
    }
    /// The distance of one pair where `distance` gave NaN or an infinity.
    #[inline(always)]
    fn by_formula(_a: &Panel, _row: usize, _b: &Panel, _column: usize) -> Option<f32> {
        None
    }
}

/// Distances of a row of `a` and the columns of some groups of `b`, from the first of group `group` on: what
/// [`TileKernel::distance`] gives, or `by_formula`. They are infinite where there is no column and, if `OTHERS`, where the column
/// has the id of the row.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn distances<V: Lanes, K: TileKernel<V>, const OTHERS: bool>(
    sums: &[Line],
    a: &Panel,
    row: usize,
    b: &Panel,
    group: usize,
    out: &mut [f32],
) {
    assert!(out.len() == sums.len() * GROUP && group * GROUP + out.len() <= b.padded_ids.len());
    let mut not_finite = 0;
    // SAFETY: the caller has checked the CPU; terms and ids of columns are as many as those of whole groups, which are whole
    // registers.
    unsafe {
        let of_row = K::row(a, row);
        let own = V::splat_lane(a.ids[row..].as_ptr().cast());
        for at in (0..out.len()).step_by(V::FLOATS) {
            let column = group * GROUP + at;
            let mut values = K::distance(sums.as_ptr().cast::<u8>().add(at * 4), of_row, b, column);
            not_finite |= V::not_finite(values);
            if OTHERS {
                let ids = V::load_bytes(b.padded_ids.as_ptr().add(column).cast());
                values = V::replace(values, ids, own, V::splat(f32::INFINITY));
            }
            V::store(out.as_mut_ptr().add(at), values);
        }
    }
    if not_finite != 0 {
        doubtful::<V, K, OTHERS>(a, row, b, group, out);
    }
    let columns = b.len() - group * GROUP;
    if columns < out.len() {
        out[columns..].fill(f32::INFINITY);
    }
}

/// Works out again what is not finite: NaN, and what may have overflowed.
#[cold]
#[inline(never)]
fn doubtful<V: Lanes, K: TileKernel<V>, const OTHERS: bool>(
    a: &Panel,
    row: usize,
    b: &Panel,
    group: usize,
    out: &mut [f32],
) {
    for (at, out) in out.iter_mut().enumerate() {
        let column = group * GROUP + at;
        let is_own = OTHERS && column < b.len() && b.ids[column] == a.ids[row];
        if !out.is_finite()
            && column < b.len()
            && !is_own
            && let Some(distance) = K::by_formula(a, row, b, column)
        {
            *out = distance;
        }
    }
}

/// The norms of a register of columns.
///
/// # Safety
/// The CPU has the instruction set of `V`; `column` is the first of a register of columns.
#[inline(always)]
pub(super) unsafe fn norms<V: Lanes>(b: &Panel, column: usize) -> V::Floats {
    debug_assert!(column + V::FLOATS <= b.terms.norms.len());
    // SAFETY: norms are as many as the columns of all groups.
    unsafe { V::load_f32(b.terms.norms.as_ptr().add(column).cast()) }
}
