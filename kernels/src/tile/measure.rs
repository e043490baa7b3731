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
use super::{GROUP, Line, Panel};
use crate::element::{Code4, Code8, F32};
use crate::float::{self, NORM_SQUARED_MIN};
use crate::float_element::FloatElement;
use crate::integer::{self, Offset, SquareOfA};
use crate::scalar::{self, Formula};

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
/// As for [`crate::kernel::Kernel`]. Sums are those of [`TileKernel::Product`], of the row of `a` and all columns of `b` from the first
/// of group `group` on, whole groups.
pub(crate) trait TileKernel<V: Lanes>: 'static {
    /// What is summed.
    type Product: Product<V>;

    /// Bytes of an element.
    const ELEMENT_BYTES: usize;
    /// What [`TileKernel::near`] may differ by from [`TileKernel::exact`].
    const SLACK: f32;

    /// Lines that a group of vectors of so many bytes fills.
    fn steps(row_bytes: usize) -> usize;
    /// Lays out one row.
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms;
    /// The distances, as exact as it gets.
    unsafe fn exact(sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]);
    /// Distances that differ by no more than `SLACK`.
    #[inline(always)]
    unsafe fn near(sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]) {
        // SAFETY: as the caller promises.
        unsafe { Self::exact(sums, a, row, b, group, out) }
    }
    /// What `exact` gives for one column, from its sum and what `near` gave.
    #[inline(always)]
    fn one(_sum: u32, _a: &Panel, _row: usize, _b: &Panel, _column: usize, near: f32) -> f32 {
        near
    }
}

/// Calls `distance` for the registers of a row of sums: with the register's sums and its first column, counted from that of
/// the first group of the panel.
#[inline(always)]
fn registers<V: Lanes>(
    sums: &[Line],
    group: usize,
    out: &mut [f32],
    mut distance: impl FnMut(*const u8, usize) -> V::Floats,
) {
    assert!(out.len() == sums.len() * GROUP);
    for at in (0..out.len()).step_by(V::FLOATS) {
        // SAFETY: a group is a whole number of registers, so register and distances end within both.
        unsafe {
            let register = distance(sums.as_ptr().cast::<u8>().add(at * 4), group * GROUP + at);
            V::store(out.as_mut_ptr().add(at), register);
        }
    }
}

/// A register of the terms of columns.
///
/// # Safety
/// The CPU has the instruction set of `V`; `at` is the first of a register of columns.
#[inline(always)]
unsafe fn load<V: Lanes>(terms: &[u32], at: usize) -> V::Bytes {
    debug_assert!(at + V::FLOATS <= terms.len());
    // SAFETY: terms are as many as the columns of all groups.
    unsafe { V::load_bytes(terms.as_ptr().add(at).cast()) }
}

/// Sum + the term of the row + that of the column.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
unsafe fn inner<V: Lanes>(sum: V::Bytes, a: &Panel, row: usize, b: &Panel, at: usize) -> V::Bytes {
    // SAFETY: as the caller promises.
    unsafe {
        let of_row = V::splat_lane(a.terms.as_row[row..].as_ptr().cast());
        V::add_sums(V::add_sums(sum, of_row), load::<V>(&b.terms.as_column, at))
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

    const ELEMENT_BYTES: usize = 1;
    const SLACK: f32 = 0.0;

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
    unsafe fn exact(sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]) {
        // SAFETY: as the caller promises.
        registers::<V>(sums, group, out, |from, at| unsafe {
            let inner = inner::<V>(V::load_bytes(from), a, row, b, at);
            if E::IS_OFFSET {
                V::from_signed(V::sub_sums(V::splat_byte(0), inner))
            } else {
                V::sub(V::zero(), V::from_unsigned(inner))
            }
        });
    }
}

impl<V: Lanes, E: LaidByte> TileKernel<V> for integer::L2<E> {
    type Product = ByteProducts;

    const ELEMENT_BYTES: usize = 1;
    const SLACK: f32 = 0.0;

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
    unsafe fn exact(sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]) {
        // SAFETY: as the caller promises.
        registers::<V>(sums, group, out, |from, at| unsafe {
            let sum = V::load_bytes(from);
            let squares = inner::<V>(V::splat_byte(0), a, row, b, at);
            V::from_unsigned(V::sub_sums(squares, V::add_sums(sum, sum)))
        });
    }
}

/// 4-bit codes are laid out as codes of 8 bits with the same values.
macro_rules! by_wider_codes {
    ($($measure:ident)+) => {$(
        impl<V: Lanes> TileKernel<V> for integer::$measure<Code4> {
            type Product = ByteProducts;

            const ELEMENT_BYTES: usize = 1;
            const SLACK: f32 = 0.0;

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
            unsafe fn exact(sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]) {
                // SAFETY: as the caller promises.
                unsafe { <integer::$measure<Code8> as TileKernel<V>>::exact(sums, a, row, b, group, out) }
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
    unsafe fn exact(sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]) {
        for (at, out) in out.iter_mut().enumerate() {
            let column = group * GROUP + at;
            *out = cosine::<E>(sums[at / GROUP].0[at % GROUP], a, row, b, column);
        }
    }

    #[inline(always)]
    unsafe fn near(sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]) {
        // SAFETY: as the caller promises.
        registers::<V>(sums, group, out, |from, at| unsafe {
            let inner = inner::<V>(V::load_bytes(from), a, row, b, at);
            let inner = if E::IS_OFFSET { V::from_signed(inner) } else { V::from_unsigned(inner) };
            let norms = V::load_f32(b.terms.norms[at..].as_ptr().cast());
            let cosine = V::mul(V::mul(inner, V::splat(a.terms.norms[row])), norms);
            V::sub(V::splat(1.0), cosine)
        });
    }

    #[inline(always)]
    fn one(sum: u32, a: &Panel, row: usize, b: &Panel, column: usize, _: f32) -> f32 {
        cosine::<E>(sum, a, row, b, column)
    }
}

#[inline(always)]
fn cosine<E: LaidByte>(sum: u32, a: &Panel, row: usize, b: &Panel, column: usize) -> f32 {
    let inner = sum.wrapping_add(a.terms.as_row[row]).wrapping_add(b.terms.as_column[column]);
    let inner = if E::IS_OFFSET { f64::from(inner.cast_signed()) } else { f64::from(inner) };
    scalar::cosine_distance(inner, f64::from(a.terms.squares[row]), f64::from(b.terms.squares[column]))
}

impl<V: Lanes> TileKernel<V> for integer::Hamming {
    type Product = DifferingBits;

    const ELEMENT_BYTES: usize = 1;
    const SLACK: f32 = 0.0;

    fn steps(row_bytes: usize) -> usize {
        row_bytes.div_ceil(4)
    }

    #[inline(always)]
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms {
        lay_bits(row, lane);
        RowTerms::default()
    }

    #[inline(always)]
    unsafe fn exact(sums: &[Line], _: &Panel, _: usize, _: &Panel, group: usize, out: &mut [f32]) {
        // SAFETY: as the caller promises.
        registers::<V>(sums, group, out, |from, _| unsafe { V::from_signed(V::load_bytes(from)) });
    }
}

impl<V: Lanes, E: FloatElement + 'static> TileKernel<V> for float::L2<E> {
    type Product = FloatDifferences;

    const ELEMENT_BYTES: usize = E::BYTES;
    const SLACK: f32 = 0.0;

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
    unsafe fn exact(sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]) {
        let mut doubtful = 0;
        // SAFETY: as the caller promises.
        registers::<V>(sums, group, out, |from, _| unsafe {
            let sum = V::load_f32(from);
            doubtful |= V::not_finite(sum);
            sum
        });
        if doubtful != 0 {
            by_formula::<scalar::L2<F32>>(a, row, b, group, out);
        }
    }
}

impl<V: Lanes, E: FloatElement + 'static> TileKernel<V> for float::Dot<E> {
    type Product = FloatProducts;

    const ELEMENT_BYTES: usize = E::BYTES;
    const SLACK: f32 = 0.0;

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
    unsafe fn exact(sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]) {
        let mut doubtful = 0;
        // SAFETY: as the caller promises.
        registers::<V>(sums, group, out, |from, _| unsafe {
            let distance = V::sub(V::zero(), V::load_f32(from));
            doubtful |= V::not_finite(distance);
            distance
        });
        if doubtful != 0 {
            by_formula::<scalar::Dot<F32>>(a, row, b, group, out);
        }
    }
}

impl<V: Lanes, E: FloatElement + 'static> TileKernel<V> for float::Cosine<E> {
    type Product = FloatProducts;

    const ELEMENT_BYTES: usize = E::BYTES;
    const SLACK: f32 = 0.0;

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
    unsafe fn exact(sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]) {
        let mut doubtful = 0;
        // SAFETY: as the caller promises.
        registers::<V>(sums, group, out, |from, at| unsafe {
            let norms = V::load_f32(b.terms.norms[at..].as_ptr().cast());
            let cosine = V::div(V::load_f32(from), V::mul(V::splat(a.terms.norms[row]), norms));
            doubtful |= V::not_finite(cosine);
            let held = V::min(V::splat(1.0), V::max(V::splat(-1.0), cosine));
            V::sub(V::splat(1.0), held)
        });
        if doubtful != 0 {
            by_formula::<scalar::Cosine<F32>>(a, row, b, group, out);
        }
    }
}

/// Works out again what is not finite: NaN, and what may have overflowed.
#[cold]
#[inline(never)]
fn by_formula<F: Formula>(a: &Panel, row: usize, b: &Panel, group: usize, out: &mut [f32]) {
    let bytes = |panel: &Panel, row| panel.row(row).flat_map(u32::to_ne_bytes).collect::<Vec<u8>>();
    let of_row = bytes(a, row);
    for (at, out) in out.iter_mut().enumerate() {
        let column = group * GROUP + at;
        if !out.is_finite() && column < b.len() {
            *out = F::distance(&of_row, &bytes(b, column));
        }
    }
}
