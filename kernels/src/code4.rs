//! Distances of 4-bit codes: of two rows in one form, from a query to many rows in another.
//!
//! A query is not a row: its elements are i8 in sixteenths of a code's step ([`crate::ElementKind::row_as_query`]), so that the query
//! itself loses next to nothing. It lies as two runs of bytes, as the halves of a row's bytes do, and so no half of a query has to be
//! taken apart for every row. A code is an unsigned byte c = r + 8, as VPDPBUSD wants it:
//!
//! ```text
//! Σ r·q       = Σ c·q − Σ 8·q
//! Σ (16 r − q)² = Σ (16 r)² − 32 Σ r·q + Σ q²
//! ```

use crate::element::{Code4 as Element, I8};
use crate::integer::{self, Offset, SquareOfA, sums};
use crate::integer_element::{CODE4_OFFSET, IntegerElement};
use crate::kernel::Kernel;
use crate::vector::Vector;

/// Squared euclidean distance.
pub(crate) struct L2;
/// Negated inner product.
pub(crate) struct Dot;

/// Steps of a query's element in one of a row's.
const STEPS: f64 = 16.0;

impl<V: Vector> Kernel<V> for Dot {
    /// Σ 8·q
    type Query = i32;

    const ELEMENT_BYTES: usize = 1;
    const QUERY_RATIO: usize = 2;

    #[inline(always)]
    unsafe fn prepare(query: &[u8]) -> i32 {
        // SAFETY: as the caller promises.
        unsafe { offset::<V>(query) }
    }

    #[inline(always)]
    unsafe fn distance(query: &[u8], offset: i32, row: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [products] =
            unsafe { pass::<V, 1>(query, row, |[sums], codes, query| [V::add_products(sums, codes, query)]) };
        // Exact where the sum itself is below 2²⁴: of more the integer is rounded, and then only the exponent changes.
        (offset - products.cast_signed()) as f32 * (1.0 / STEPS as f32)
    }

    #[inline(always)]
    unsafe fn pair(a: &[u8], b: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        unsafe { <integer::Dot<Element> as Kernel<V>>::pair(a, b) }
    }
}

impl<V: Vector> Kernel<V> for L2 {
    /// Σ 8·q, Σ q²
    type Query = (i32, u32);

    const ELEMENT_BYTES: usize = 1;
    const QUERY_RATIO: usize = 2;

    #[inline(always)]
    unsafe fn prepare(query: &[u8]) -> (i32, u32) {
        // SAFETY: as the caller promises.
        unsafe {
            let [squares] = sums::<V, I8, (SquareOfA,), 1>(query, query);
            (offset::<V>(query), squares)
        }
    }

    #[inline(always)]
    unsafe fn distance(query: &[u8], (offset, query_squares): (i32, u32), row: &[u8]) -> f32 {
        // SAFETY: as the caller promises; a magnitude is at most 8, so it is the same as a signed byte.
        let [products, squares] = unsafe {
            pass::<V, 2>(query, row, |[products, squares], codes, query| {
                let magnitudes = Element::magnitude::<V>(codes);
                [V::add_products(products, codes, query), V::add_products(squares, magnitudes, magnitudes)]
            })
        };
        let product = f64::from(products.cast_signed() - offset);
        let sum = f64::from(squares) * (STEPS * STEPS) - product * (2.0 * STEPS) + f64::from(query_squares);
        (sum * (1.0 / (STEPS * STEPS))) as f32
    }

    #[inline(always)]
    unsafe fn pair(a: &[u8], b: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        unsafe { <integer::L2<Element> as Kernel<V>>::pair(a, b) }
    }
}

/// Σ 8·q
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn offset<V: Vector>(query: &[u8]) -> i32 {
    // SAFETY: as the caller promises. The term is Σ 128·q, below 2³¹.
    let [moved] = unsafe { sums::<V, I8, (Offset,), 1>(query, query) };
    moved.cast_signed() / (128 / i32::from(CODE4_OFFSET))
}

/// `N` sums of one pass over a row's codes, a byte each, beside the query's elements.
///
/// # Safety
/// The CPU has the instruction set of `V`, and the query is twice as long as the row.
#[inline(always)]
unsafe fn pass<V: Vector, const N: usize>(
    query: &[u8],
    row: &[u8],
    add: impl Fn([V::Bytes; N], V::Bytes, V::Bytes) -> [V::Bytes; N],
) -> [u32; N] {
    debug_assert_eq!(query.len(), 2 * row.len());
    let bytes = row.len();
    let (lower, upper, row) = (query.as_ptr(), query[bytes..].as_ptr(), row.as_ptr());
    // SAFETY: the caller has checked the CPU and the lengths, and every read ends at or before `bytes`.
    unsafe {
        let mut sums = [[V::splat_byte(0); N]; 4];
        let mut at = 0;
        while bytes - at >= 2 * V::BYTES {
            for half in 0..2 {
                let codes = V::load_bytes(row.add(at));
                sums[2 * half] = add(sums[2 * half], V::lower_halves(codes), V::load_bytes(lower.add(at)));
                sums[2 * half + 1] = add(sums[2 * half + 1], V::upper_halves(codes), V::load_bytes(upper.add(at)));
                at += V::BYTES;
            }
        }
        if bytes - at >= V::BYTES {
            let codes = V::load_bytes(row.add(at));
            sums[0] = add(sums[0], V::lower_halves(codes), V::load_bytes(lower.add(at)));
            sums[1] = add(sums[1], V::upper_halves(codes), V::load_bytes(upper.add(at)));
            at += V::BYTES;
        }
        if bytes > at {
            let rest = bytes - at;
            let codes = V::load_bytes_partial(row.add(at), rest, Element::ZERO);
            let [lower, upper] = [lower, upper].map(|half| V::load_bytes_partial(half.add(at), rest, 0));
            sums[2] = add(sums[2], V::lower_halves(codes), lower);
            sums[3] = add(sums[3], V::upper_halves(codes), upper);
        }
        let [a, b, c, d] = sums;
        std::array::from_fn(|i| V::total(V::add_sums(V::add_sums(a[i], b[i]), V::add_sums(c[i], d[i]))))
    }
}
