//! Tile kernels of i8, u8, codes and bits.
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
use super::measure::{RowTerms, TileKernel, norms};
use super::panel::{LaidByte, Lane, byte_steps, lay_bits, lay_bytes};
use super::product::{ByteProducts, DifferingBits};
use super::{Panel, Terms};
use crate::code1;
use crate::element::{Code1, Code4, Code8};
use crate::integer::{self, Offset, SquareOfA};
use crate::scalar;

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

impl<V: Lanes> TileKernel<V> for integer::Dot<Code1> {
    type Product = DifferingBits;
    /// The distance of rows that are the same.
    type Row = V::Bytes;

    const ELEMENT_BYTES: usize = 1;

    fn steps(row_bytes: usize) -> usize {
        row_bytes.div_ceil(4)
    }

    #[inline(always)]
    unsafe fn lay(row: &[u8], lane: Lane<'_>) -> RowTerms {
        lay_bits(row, lane);
        // Whole for rows of any length that there are.
        let same = code1::distance_of(0, row.len()) as i32;
        RowTerms { as_row: same.cast_unsigned(), ..RowTerms::default() }
    }

    #[inline(always)]
    unsafe fn row(a: &Panel, row: usize) -> V::Bytes {
        // SAFETY: as the caller promises.
        unsafe { row_term::<V>(a, row) }
    }

    #[inline(always)]
    unsafe fn distance(sums: *const u8, row: V::Bytes, _: &Panel, _: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe {
            let sums = V::load_bytes(sums);
            V::from_signed(V::add_sums(row, V::add_sums(sums, sums)))
        }
    }
}
