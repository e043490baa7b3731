//! Tile kernels of f32, f16 and bf16.
//!
//! As in the kernels of single distances, a finite sum proves that nothing was NaN or infinite, and nothing overflowed. What is not
//! finite is worked out again by the formula, in `f64`.

use super::Panel;
use super::lanes::Lanes;
use super::measure::{RowTerms, TileKernel, norms};
use super::panel::{Lane, lay_floats};
use super::product::{FloatDifferences, FloatProducts};
use crate::element::F32;
use crate::float::{self, NORM_SQUARED_MIN};
use crate::float_element::FloatElement;
use crate::scalar::{self, Formula};

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

fn by_formula<F: Formula>(a: &Panel, row: usize, b: &Panel, column: usize) -> Option<f32> {
    let bytes = |panel: &Panel, row| panel.row(row).flat_map(u32::to_ne_bytes).collect::<Vec<u8>>();
    Some(F::distance(&bytes(a, row), &bytes(b, column)))
}
