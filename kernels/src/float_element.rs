//! Elements that are read as `f32`.
//!
//! bf16 is widened and multiplied as f32, also where the CPU has AVX512-BF16: VDPBF16PS takes subnormal numbers for
//! zero and rounds in its own way, so it would give other answers than every other instruction set.

use crate::element::{Bf16, Element, F16, F32, I32};
use crate::vector::Vector;

/// An element that is read as `f32`.
///
/// # Safety
/// As for [`Vector`].
pub(crate) trait FloatElement: Element {
    /// Reads `V::FLOATS` elements.
    unsafe fn load<V: Vector>(from: *const u8) -> V::Floats;
    /// Reads `count < V::FLOATS` elements; the other lanes are 0.0.
    unsafe fn load_partial<V: Vector>(from: *const u8, count: usize) -> V::Floats;
}

impl FloatElement for F32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u8) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { V::load_f32(from) }
    }

    #[inline(always)]
    unsafe fn load_partial<V: Vector>(from: *const u8, count: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { V::load_f32_partial(from, count) }
    }
}

impl FloatElement for F16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u8) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { V::load_f16(from) }
    }

    #[inline(always)]
    unsafe fn load_partial<V: Vector>(from: *const u8, count: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { V::load_f16_partial(from, count) }
    }
}

impl FloatElement for Bf16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u8) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { V::load_bf16(from) }
    }

    #[inline(always)]
    unsafe fn load_partial<V: Vector>(from: *const u8, count: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { V::load_bf16_partial(from, count) }
    }
}

/// For codes and norms. Distances of i32 are those of `wide.rs`.
impl FloatElement for I32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u8) -> V::Floats {
        // SAFETY: as the caller promises; the bits of an i32 are as many as those of an f32.
        unsafe { V::round_i32(V::load_f32(from)) }
    }

    #[inline(always)]
    unsafe fn load_partial<V: Vector>(from: *const u8, count: usize) -> V::Floats {
        // SAFETY: as above.
        unsafe { V::round_i32(V::load_f32_partial(from, count)) }
    }
}
