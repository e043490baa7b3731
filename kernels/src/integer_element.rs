//! Elements of one byte, made fit for a CPU that multiplies unsigned bytes by signed ones (VPDPBUSD).
//!
//! One side of an inner product is moved by 128, which on a byte is one XOR with 0x80, and what that adds is
//! taken off again. What is taken off depends on the query alone:
//!
//! ```text
//! i8, code:  Σ q·r = Σ (r + 128)·q − Σ 128·q
//! u8:        Σ q·r = Σ q·(r − 128) + Σ 128·q
//! ```
//!
//! Where two elements share a byte, a register is taken as two *planes* of bytes, and the same is done with a move by 8.

use crate::element::{Code4, Code8, I8, U8};
use crate::vector::Vector;

/// XOR with it moves a byte between two's complement and offset binary.
const HIGH_BIT: u8 = 0x80;

/// An element of one byte, or of a part of one.
///
/// # Safety
/// As for [`Vector`].
pub(crate) trait IntegerElement {
    /// The byte whose value is zero.
    const ZERO: u8;
    /// Elements in a byte.
    const PLANES: usize = 1;

    /// The elements in the `index`-th part of each byte, each in a byte of its own: what the other functions take.
    #[inline(always)]
    unsafe fn plane<V: Vector>(bytes: V::Bytes, index: usize) -> V::Bytes {
        debug_assert_eq!(index, 0);
        bytes
    }

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

/// What a 4-bit code is moved by.
pub(crate) const CODE4_OFFSET: u8 = 8;

impl IntegerElement for Code4 {
    const ZERO: u8 = CODE4_OFFSET | CODE4_OFFSET << 4;
    const PLANES: usize = 2;

    #[inline(always)]
    unsafe fn plane<V: Vector>(bytes: V::Bytes, index: usize) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { if index == 0 { V::lower_halves(bytes) } else { V::upper_halves(bytes) } }
    }

    #[inline(always)]
    unsafe fn ordered<V: Vector>(bytes: V::Bytes) -> V::Bytes {
        bytes
    }

    #[inline(always)]
    unsafe fn magnitude<V: Vector>(bytes: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::abs_diff(bytes, V::splat_byte(CODE4_OFFSET)) }
    }

    #[inline(always)]
    unsafe fn add_products<V: Vector>(sums: V::Bytes, query: V::Bytes, row: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_products(sums, row, V::sub_bytes(query, V::splat_byte(CODE4_OFFSET))) }
    }

    #[inline(always)]
    unsafe fn add_offsets<V: Vector>(sums: V::Bytes, query: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe {
            let offset = V::splat_byte(CODE4_OFFSET);
            V::add_products(sums, offset, V::sub_bytes(query, offset))
        }
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
