//! Distances of 1-bit codes: the signs of a vector's elements.
//!
//! A row's bit says +1 or −1. A query has i8 elements ([`crate::ElementKind::row_as_query`]), in the order of the vector, and a row has
//! its bits in eight *planes*: bit `p` of byte `j` is that of element `p × bytes + j`. So a plane, moved down, multiplies a run of the
//! query as it lies. With b in 0..=1:
//!
//! ```text
//! Σ (2 b − 1)·q = 2 Σ b·q − Σ q          rows: n − 2 × (bits that differ)
//! ```

use crate::element::{Code1, U8};
use crate::integer::{DifferingBits, sums};
use crate::kernel::Kernel;
use crate::vector::Vector;

/// Bits of a byte.
pub(crate) const PLANES: usize = 8;

impl<V: Vector> Kernel<V> for crate::integer::Dot<Code1> {
    /// Σ q
    type Query = i32;

    const ELEMENT_BYTES: usize = 1;
    const QUERY_RATIO: usize = PLANES;

    #[inline(always)]
    unsafe fn prepare(query: &[u8]) -> i32 {
        query.iter().map(|&byte| i32::from(byte.cast_signed())).sum()
    }

    #[inline(always)]
    unsafe fn distance(query: &[u8], sum: i32, row: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let products = unsafe { products::<V>(query, row) };
        (sum - 2 * products) as f32
    }

    #[inline(always)]
    unsafe fn pair(a: &[u8], b: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [differing] = unsafe { sums::<V, U8, (DifferingBits,), 1>(a, b) };
        distance_of(differing, a.len())
    }
}

/// The distance of two rows of so many bytes.
#[inline(always)]
pub(crate) fn distance_of(differing: u32, row_bytes: usize) -> f32 {
    (2 * i64::from(differing) - (PLANES * row_bytes) as i64) as f32
}

/// Σ b·q
///
/// # Safety
/// The CPU has the instruction set of `V`, and the query is `PLANES` times as long as the row.
#[inline(always)]
unsafe fn products<V: Vector>(query: &[u8], row: &[u8]) -> i32 {
    debug_assert_eq!(query.len(), PLANES * row.len());
    let bytes = row.len();
    let (query, row) = (query.as_ptr(), row.as_ptr());
    // SAFETY: the caller has checked the CPU and the lengths, and every read ends at or before `bytes` of the row or of a plane.
    unsafe {
        let mut sums = [V::splat_byte(0); 4];
        let mut at = 0;
        while bytes - at >= V::BYTES {
            let codes = V::load_bytes(row.add(at));
            for plane in 0..PLANES {
                let of_query = V::load_bytes(query.add(plane * bytes + at));
                sums[plane % 4] = V::add_products(sums[plane % 4], V::bit(codes, plane), of_query);
            }
            at += V::BYTES;
        }
        if bytes > at {
            let rest = bytes - at;
            let codes = V::load_bytes_partial(row.add(at), rest, 0);
            for plane in 0..PLANES {
                let of_query = V::load_bytes_partial(query.add(plane * bytes + at), rest, 0);
                sums[plane % 4] = V::add_products(sums[plane % 4], V::bit(codes, plane), of_query);
            }
        }
        let [a, b, c, d] = sums;
        V::total(V::add_sums(V::add_sums(a, b), V::add_sums(c, d))).cast_signed()
    }
}
