//! Distances of sums.
//!
//! Where bytes are multiplied four at a time, a sum is Σ a′b with a′ = a − 128 and b as it lies in the panel, and what is missing
//! depends on one row alone:
//!
//! ```text
//! i8, code, values v:  Σ v·w = Σ a′b − 128·Σ v
//! u8:                  Σ a·b = Σ a′b + 128·Σ b
//! l2, shifted values:  Σ (v − w)² = Σ v² + Σ w² − 2·Σ a′b + 256·Σ v
//! ```
//!
//! Elsewhere the sum is the inner product. All of it is exact modulo 2³², and so is what comes out ([`crate::MAX_DIMENSION`]).

use super::lanes::Lanes;
use super::panel::{LaidByte, Lane, byte_steps, lay_bits, lay_bytes, lay_floats};
use super::product::{ByteProducts, DifferingBits, FloatDifferences, FloatProducts, Product};
use super::{GROUP, Line, Panel, Terms};
use crate::element::{Code4, Code8, F32};
use crate::float::{self, NORM_SQUARED_MIN};
use crate::float_element::FloatElement;
use crate::integer::{self, Offset, SquareOfA};
use crate::scalar::{self, Formula};

/// What is kept of a row besides its elements: see [`Terms`].
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

fn by_formula<F: Formula>(a: &Panel, row: usize, b: &Panel, column: usize) -> Option<f32> {
    let bytes = |panel: &Panel, row| panel.row(row).flat_map(u32::to_ne_bytes).collect::<Vec<u8>>();
    Some(F::distance(&bytes(a, row), &bytes(b, column)))
}

/// A register of the terms of columns.
///
/// # Safety
/// The CPU has the instruction set of `V`; `column` is the first of a register of columns.
#[inline(always)]
unsafe fn load<V: Lanes>(terms: &[u32], column: usize) -> V::Bytes {
    debug_assert!(column + V::FLOATS <= terms.len());
    // SAFETY: terms are as many as the columns of all groups.
    unsafe { V::load_bytes(terms.as_ptr().add(column).cast()) }
}

/// The norms of a register of columns.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
unsafe fn norms<V: Lanes>(b: &Panel, column: usize) -> V::Floats {
    debug_assert!(column + V::FLOATS <= b.terms.norms.len());
    // SAFETY: norms are as many as the columns of all groups.
    unsafe { V::load_f32(b.terms.norms.as_ptr().add(column).cast()) }
}

/// The term of a row in all lanes.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn row_term<V: Lanes>(a: &Panel, row: usize) -> V::Bytes {
    // SAFETY: the slice begins with the term.
    unsafe { V::splat_lane(a.terms.as_row[row..=row].as_ptr().cast()) }
}

/// The inner products of a register of sums.
///
/// # Safety
/// As for [`load`], and sums can be read.
#[inline(always)]
unsafe fn inner<V: Lanes, E: LaidByte>(sums: *const u8, row: V::Bytes, b: &Panel, column: usize) -> V::Bytes {
    // SAFETY: as the caller promises.
    unsafe {
        let sums = V::load_bytes(sums);
        if !V::BYTE_QUADS {
            sums
        } else if E::IS_OFFSET {
            V::add_sums(sums, row)
        } else {
            V::add_sums(sums, load::<V>(&b.terms.as_column, column))
        }
    }
}

/// The terms of an inner product.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn inner_terms<V: Lanes, E: LaidByte>(row: &[u8]) -> RowTerms {
    if !V::BYTE_QUADS {
        return RowTerms::default();
    }
    // SAFETY: the caller has checked the CPU; a vector is as long as itself.
    let [offset] = unsafe { integer::sums::<V, E, (Offset,), 1>(row, row) };
    if E::IS_OFFSET {
        RowTerms { as_row: offset.wrapping_neg(), ..RowTerms::default() }
    } else {
        // The offset of u8 is in units of two.
        RowTerms { as_column: offset.wrapping_mul(2), ..RowTerms::default() }
    }
}

impl<V: Lanes, E: LaidByte> TileKernel<V> for integer::Dot<E> {
    type Product = ByteProducts;
    type Row = V::Bytes;

    const ELEMENT_BYTES: usize = 1;

    fn steps(row_bytes: usize) -> usize {
        byte_steps::<V>(row_bytes)
    }

    #[inline(always)]
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms {
        lay_bytes::<V, E>(row, lane);
        // SAFETY: the caller has checked the CPU.
        unsafe { inner_terms::<V, E>(row) }
    }

    #[inline(always)]
    unsafe fn row(a: &Panel, row: usize) -> V::Bytes {
        // SAFETY: as the caller promises.
        unsafe { row_term::<V>(a, row) }
    }

    #[inline(always)]
    unsafe fn distance(sums: *const u8, row: V::Bytes, b: &Panel, column: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe {
            let inner = inner::<V, E>(sums, row, b, column);
            if E::IS_OFFSET {
                V::from_signed(V::sub_sums(V::splat_byte(0), inner))
            } else {
                V::sub(V::zero(), V::from_unsigned(inner))
            }
        }
    }
}

impl<V: Lanes, E: LaidByte> TileKernel<V> for integer::L2<E> {
    type Product = ByteProducts;
    type Row = V::Bytes;

    const ELEMENT_BYTES: usize = 1;

    fn steps(row_bytes: usize) -> usize {
        byte_steps::<V>(row_bytes)
    }

    #[inline(always)]
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms {
        lay_bytes::<V, E>(row, lane);
        // SAFETY: the caller has checked the CPU; a vector is as long as itself.
        unsafe {
            if V::BYTE_QUADS {
                let [offset, squares] = integer::sums::<V, E::Shifted, (Offset, SquareOfA), 2>(row, row);
                let as_row = squares.wrapping_add(offset.wrapping_mul(2));
                RowTerms { as_row, as_column: squares, ..RowTerms::default() }
            } else {
                let [squares] = integer::sums::<V, E, (SquareOfA,), 1>(row, row);
                RowTerms { as_row: squares, as_column: squares, ..RowTerms::default() }
            }
        }
    }

    #[inline(always)]
    unsafe fn row(a: &Panel, row: usize) -> V::Bytes {
        // SAFETY: as the caller promises.
        unsafe { row_term::<V>(a, row) }
    }

    #[inline(always)]
    unsafe fn distance(sums: *const u8, row: V::Bytes, b: &Panel, column: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe {
            let sums = V::load_bytes(sums);
            let squares = V::add_sums(row, load::<V>(&b.terms.as_column, column));
            V::from_unsigned(V::sub_sums(squares, V::add_sums(sums, sums)))
        }
    }
}

/// 4-bit codes are laid out as codes of 8 bits with the same values.
macro_rules! by_wider_codes {
    ($($measure:ident)+) => {$(
        impl<V: Lanes> TileKernel<V> for integer::$measure<Code4> {
            type Product = ByteProducts;
            type Row = <integer::$measure<Code8> as TileKernel<V>>::Row;

            const ELEMENT_BYTES: usize = 1;

            fn steps(row_bytes: usize) -> usize {
                byte_steps::<V>(row_bytes * 2)
            }

            #[inline(always)]
            unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms {
                let mut short = [0; SHORT_CODES];
                let mut long = Vec::new();
                let wide = match short.get_mut(..row.len() * 2) {
                    Some(wide) => wide,
                    None => {
                        long.resize(row.len() * 2, 0);
                        &mut long[..]
                    }
                };
                let (lower, upper) = wide.split_at_mut(row.len());
                for ((&pair, lower), upper) in row.iter().zip(lower).zip(upper) {
                    *lower = (pair & 0x0f) + (128 - 8);
                    *upper = (pair >> 4) + (128 - 8);
                }
                // SAFETY: as the caller promises.
                unsafe { <integer::$measure<Code8> as TileKernel<V>>::lay(wide, lane) }
            }

            #[inline(always)]
            unsafe fn row(a: &Panel, row: usize) -> Self::Row {
                // SAFETY: as the caller promises.
                unsafe { <integer::$measure<Code8> as TileKernel<V>>::row(a, row) }
            }

            #[inline(always)]
            unsafe fn distance(sums: *const u8, row: Self::Row, b: &Panel, column: usize) -> V::Floats {
                // SAFETY: as the caller promises.
                unsafe { <integer::$measure<Code8> as TileKernel<V>>::distance(sums, row, b, column) }
            }
        }
    )+};
}

/// 4-bit codes of a vector that are widened without memory of their own.
const SHORT_CODES: usize = 2_048;

by_wider_codes!(Dot L2);

/// What an f32 cosine of integers may be off by: four roundings of numbers no larger than 1, one of a number up to 2, and as
/// much again to spare.
const COSINE_SLACK: f32 = 1e-6;

impl<V: Lanes, E: LaidByte> TileKernel<V> for integer::Cosine<E> {
    type Product = ByteProducts;
    /// The term of the row, and the reciprocal of its norm.
    type Row = (V::Bytes, V::Floats);

    const ELEMENT_BYTES: usize = 1;
    const SLACK: f32 = COSINE_SLACK;

    fn steps(row_bytes: usize) -> usize {
        byte_steps::<V>(row_bytes)
    }

    #[inline(always)]
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms {
        lay_bytes::<V, E>(row, lane);
        // SAFETY: the caller has checked the CPU; a vector is as long as itself.
        let (terms, [squares]) =
            unsafe { (inner_terms::<V, E>(row), integer::sums::<V, E, (SquareOfA,), 1>(row, row)) };
        // The reciprocal; of a zero vector 0.0, which makes the distance 1.0.
        let norm = if squares == 0 { 0.0 } else { (1.0 / f64::from(squares).sqrt()) as f32 };
        RowTerms { squares, norm, ..terms }
    }

    #[inline(always)]
    unsafe fn row(a: &Panel, row: usize) -> (V::Bytes, V::Floats) {
        // SAFETY: as the caller promises.
        unsafe { (row_term::<V>(a, row), V::splat(a.terms.norms[row])) }
    }

    #[inline(always)]
    unsafe fn distance(sums: *const u8, (term, norm): Self::Row, b: &Panel, column: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe {
            let inner = inner::<V, E>(sums, term, b, column);
            let inner = if E::IS_OFFSET { V::from_signed(inner) } else { V::from_unsigned(inner) };
            V::sub(V::splat(1.0), V::mul(V::mul(inner, norm), norms::<V>(b, column)))
        }
    }

    #[inline(always)]
    fn exact(sum: u32, a: &Panel, row: usize, b: &Panel, column: usize, _: f32) -> f32 {
        let Terms { as_row, squares, .. } = &a.terms;
        let inner = sum.wrapping_add(as_row[row]).wrapping_add(b.terms.as_column[column]);
        let inner = if E::IS_OFFSET { f64::from(inner.cast_signed()) } else { f64::from(inner) };
        scalar::cosine_distance(inner, f64::from(squares[row]), f64::from(b.terms.squares[column]))
    }
}

impl<V: Lanes> TileKernel<V> for integer::Hamming {
    type Product = DifferingBits;
    type Row = ();

    const ELEMENT_BYTES: usize = 1;

    fn steps(row_bytes: usize) -> usize {
        row_bytes.div_ceil(4)
    }

    #[inline(always)]
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms {
        lay_bits(row, lane);
        RowTerms::default()
    }

    #[inline(always)]
    unsafe fn row(_: &Panel, _: usize) {}

    #[inline(always)]
    unsafe fn distance(sums: *const u8, (): (), _: &Panel, _: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { V::from_signed(V::load_bytes(sums)) }
    }
}

impl<V: Lanes, E: FloatElement + 'static> TileKernel<V> for float::L2<E> {
    type Product = FloatDifferences;
    type Row = ();

    const ELEMENT_BYTES: usize = E::BYTES;

    fn steps(row_bytes: usize) -> usize {
        row_bytes / E::BYTES
    }

    #[inline(always)]
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms {
        // SAFETY: as the caller promises.
        unsafe { lay_floats::<V, E>(row, lane) };
        RowTerms::default()
    }

    #[inline(always)]
    unsafe fn row(_: &Panel, _: usize) {}

    #[inline(always)]
    unsafe fn distance(sums: *const u8, (): (), _: &Panel, _: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { V::load_f32(sums) }
    }

    #[inline(always)]
    fn by_formula(a: &Panel, row: usize, b: &Panel, column: usize) -> Option<f32> {
        by_formula::<scalar::L2<F32>>(a, row, b, column)
    }
}

impl<V: Lanes, E: FloatElement + 'static> TileKernel<V> for float::Dot<E> {
    type Product = FloatProducts;
    type Row = ();

    const ELEMENT_BYTES: usize = E::BYTES;

    fn steps(row_bytes: usize) -> usize {
        row_bytes / E::BYTES
    }

    #[inline(always)]
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms {
        // SAFETY: as the caller promises.
        unsafe { lay_floats::<V, E>(row, lane) };
        RowTerms::default()
    }

    #[inline(always)]
    unsafe fn row(_: &Panel, _: usize) {}

    #[inline(always)]
    unsafe fn distance(sums: *const u8, (): (), _: &Panel, _: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { V::sub(V::zero(), V::load_f32(sums)) }
    }

    #[inline(always)]
    fn by_formula(a: &Panel, row: usize, b: &Panel, column: usize) -> Option<f32> {
        by_formula::<scalar::Dot<F32>>(a, row, b, column)
    }
}

impl<V: Lanes, E: FloatElement + 'static> TileKernel<V> for float::Cosine<E> {
    type Product = FloatProducts;
    /// The norm.
    type Row = V::Floats;

    const ELEMENT_BYTES: usize = E::BYTES;

    fn steps(row_bytes: usize) -> usize {
        row_bytes / E::BYTES
    }

    #[inline(always)]
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms {
        // SAFETY: as the caller promises; a vector is as long as itself.
        let [squares] = unsafe {
            lay_floats::<V, E>(row, lane);
            float::sums::<V, E, (float::SquareOfB,), 1>(row, row)
        };
        // NaN makes every distance doubtful.
        let norm = if (NORM_SQUARED_MIN..=f32::MAX).contains(&squares) { squares.sqrt() } else { f32::NAN };
        RowTerms { norm, ..RowTerms::default() }
    }

    #[inline(always)]
    unsafe fn row(a: &Panel, row: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { V::splat(a.terms.norms[row]) }
    }

    // What is NaN stays it: each `min` and `max` answers its second operand.
    #[inline(always)]
    unsafe fn distance(sums: *const u8, norm: V::Floats, b: &Panel, column: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe {
            let cosine = V::div(V::load_f32(sums), V::mul(norm, norms::<V>(b, column)));
            V::sub(V::splat(1.0), V::min(V::splat(1.0), V::max(V::splat(-1.0), cosine)))
        }
    }

    #[inline(always)]
    fn by_formula(a: &Panel, row: usize, b: &Panel, column: usize) -> Option<f32> {
        by_formula::<scalar::Cosine<F32>>(a, row, b, column)
    }
}
