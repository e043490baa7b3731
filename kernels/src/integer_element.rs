//! Elements of one byte, made fit for a CPU that multiplies unsigned bytes by signed ones (VPDPBUSD).
//!
//! One side of an inner product is moved by 128, which on a byte is one XOR with 0x80, and what that adds is
//! taken off again. What is taken off depends on the query alone:
//!
//! ```text
//! i8, code:  Σ q·r = Σ (r + 128)·q − Σ 128·q
//! u8:        Σ q·r = Σ q·(r − 128) + Σ 128·q
//! ```

use crate::element::{Code8, Element, I8, U8};
use crate::vector::Vector;

/// XOR with it moves a byte between two's complement and offset binary.
const HIGH_BIT: u8 = 0x80;

/// An element of one byte.
///
/// # Safety
/// As for [`Vector`].
pub(crate) trait IntegerElement: Element {
    /// The byte whose value is zero.
    const ZERO: u8;

    /// Bytes whose differences are those of the values, and which compare as the values do when unsigned.
    unsafe fn ordered<V: Vector>(bytes: V::Bytes) -> V::Bytes;
    /// The magnitudes of the values, unsigned.
    unsafe fn magnitude<V: Vector>(bytes: V::Bytes) -> V::Bytes;
    /// Adds the moved products of query and row.
    unsafe fn add_products<V: Vector>(sums: V::Bytes, query: V::Bytes, row: V::Bytes) -> V::Bytes;
    /// Adds what the query is moved by, in the unit that [`IntegerElement::product`] knows.
    unsafe fn add_offsets<V: Vector>(sums: V::Bytes, query: V::Bytes) -> V::Bytes;
    /// The inner product.
    fn product(products: u32, offsets: u32) -> f64;
}

/// Flips the high bit of each byte.
#[inline(always)]
unsafe fn flip<V: Vector>(bytes: V::Bytes) -> V::Bytes {
    // SAFETY: the caller has checked the CPU.
    unsafe { V::xor(bytes, V::splat_byte(HIGH_BIT)) }
}

impl IntegerElement for I8 {
    const ZERO: u8 = 0;

    #[inline(always)]
    unsafe fn ordered<V: Vector>(bytes: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { flip::<V>(bytes) }
    }

    #[inline(always)]
    unsafe fn magnitude<V: Vector>(bytes: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::abs_diff(flip::<V>(bytes), V::splat_byte(HIGH_BIT)) }
    }

    #[inline(always)]
    unsafe fn add_products<V: Vector>(sums: V::Bytes, query: V::Bytes, row: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_products(sums, flip::<V>(row), query) }
    }

    #[inline(always)]
    unsafe fn add_offsets<V: Vector>(sums: V::Bytes, query: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_products(sums, V::splat_byte(128), query) }
    }

    #[inline(always)]
    fn product(products: u32, offsets: u32) -> f64 {
        f64::from(products.wrapping_sub(offsets).cast_signed())
    }
}

impl IntegerElement for Code8 {
    const ZERO: u8 = HIGH_BIT;

    #[inline(always)]
    unsafe fn ordered<V: Vector>(bytes: V::Bytes) -> V::Bytes {
        bytes
    }

    #[inline(always)]
    unsafe fn magnitude<V: Vector>(bytes: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::abs_diff(bytes, V::splat_byte(HIGH_BIT)) }
    }

    #[inline(always)]
    unsafe fn add_products<V: Vector>(sums: V::Bytes, query: V::Bytes, row: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_products(sums, row, flip::<V>(query)) }
    }

    #[inline(always)]
    unsafe fn add_offsets<V: Vector>(sums: V::Bytes, query: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_products(sums, V::splat_byte(128), flip::<V>(query)) }
    }

    #[inline(always)]
    fn product(products: u32, offsets: u32) -> f64 {
        f64::from(products.wrapping_sub(offsets).cast_signed())
    }
}

impl IntegerElement for U8 {
    const ZERO: u8 = 0;

    #[inline(always)]
    unsafe fn ordered<V: Vector>(bytes: V::Bytes) -> V::Bytes {
        bytes
    }

    #[inline(always)]
    unsafe fn magnitude<V: Vector>(bytes: V::Bytes) -> V::Bytes {
        bytes
    }

    #[inline(always)]
    unsafe fn add_products<V: Vector>(sums: V::Bytes, query: V::Bytes, row: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_products(sums, query, flip::<V>(row)) }
    }

    // 128 is no signed byte, so half of it.
    #[inline(always)]
    unsafe fn add_offsets<V: Vector>(sums: V::Bytes, query: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_products(sums, query, V::splat_byte(64)) }
    }

    #[inline(always)]
    fn product(products: u32, offsets: u32) -> f64 {
        f64::from(products.wrapping_add(offsets.wrapping_mul(2)))
    }
}
