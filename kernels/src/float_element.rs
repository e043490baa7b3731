//! Elements that are read as `f32`.

use crate::element::{Element, F16, F32};
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
