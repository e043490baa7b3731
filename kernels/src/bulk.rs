//! Work on one vector or a run of values: encoding, widening, checks and norms.

use crate::element::{Element, F32};
use crate::float::{self, NotFinite, SquareOfB};
use crate::float_element::FloatElement;
use crate::scalar::{self, check_lengths};
use crate::vector::Vector;

/// [`crate::Kernels::encode_code8`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn encode_code8<V: Vector>(src: &[f32], inverse_scale: f32, dst: &mut [u8]) -> u32 {
    assert!(src.len() == dst.len(), "{} values, room for {} codes", src.len(), dst.len());
    let whole = src.len() - src.len() % V::FLOATS;
    let mut saturated = 0;
    // SAFETY: the caller has checked the CPU; every read and write ends at or before `whole`.
    unsafe {
        let scale = V::splat(inverse_scale);
        for at in (0..whole).step_by(V::FLOATS) {
            saturated += V::encode_code8(src.as_ptr().add(at), scale, dst.as_mut_ptr().add(at));
        }
    }
    saturated + scalar::encode_code8(&src[whole..], inverse_scale, &mut dst[whole..])
}

/// [`crate::Kernels::abs_max_f32`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn abs_max_f32<V: Vector>(values: &[f32]) -> f32 {
    let whole = values.len() - values.len() % V::FLOATS;
    // SAFETY: the caller has checked the CPU; every read ends at or before `whole`.
    let max = unsafe {
        let mut max = V::zero();
        for at in (0..whole).step_by(V::FLOATS) {
            max = V::abs_max(V::load_f32(values.as_ptr().add(at).cast()), max);
        }
        V::largest(max)
    };
    max.max(scalar::abs_max_f32(&values[whole..]))
}

/// [`crate::Kernels::all_finite`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn all_finite<V: Vector, E: FloatElement>(vector: &[u8]) -> bool {
    check_lengths(vector, vector, E::BYTES);
    // SAFETY: as the caller promises; a vector is as long as itself.
    let [sum] = unsafe { float::sums::<V, E, (NotFinite,), 1>(vector, vector) };
    sum == 0.0
}

/// [`crate::Kernels::norm_squared`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn norm_squared<V: Vector>(values: &[f32]) -> f32 {
    // SAFETY: the bytes of the values, which are as many as they say; an f32 has no byte that is not set.
    let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
    check_lengths(bytes, bytes, F32::BYTES);
    // SAFETY: as the caller promises; a vector is as long as itself.
    let [sum] = unsafe { float::sums::<V, F32, (SquareOfB,), 1>(bytes, bytes) };
    sum
}

/// [`crate::Kernels::to_f32`] of f16.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn widen_f16<V: Vector>(src: &[u8], dst: &mut [f32]) {
    assert!(src.len() == dst.len() * 2, "{} bytes of f16, room for {} values", src.len(), dst.len());
    let whole = dst.len() - dst.len() % V::FLOATS;
    // SAFETY: the caller has checked the CPU; every write ends at or before `whole`, every read at twice that.
    unsafe {
        for at in (0..whole).step_by(V::FLOATS) {
            V::store(dst.as_mut_ptr().add(at), V::load_f16(src.as_ptr().add(at * 2)));
        }
    }
    scalar::widen_f16(&src[whole * 2..], &mut dst[whole..]);
}
