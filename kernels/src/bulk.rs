//! Work on one vector or a run of values: encoding, widening, checks and norms.

use crate::float::{self, NotFinite, SquareOfB};
use crate::float_element::FloatElement;
use crate::scalar::{self, check_code_pairs, check_codes, check_lengths};
use crate::vector::Vector;

/// Registers that are summed side by side.
const SUMS: usize = 4;
/// Bytes of a cache line.
const CACHE_LINE: usize = 64;
/// How far ahead of a copy its target is fetched: four vectors of 384 f32. The CPU's own prefetcher stops at the end of a page.
const PREFETCH_BYTES: usize = 6 << 10;
/// The same of codes: as many vectors.
const PREFETCH_CODES: usize = 1_536;

/// [`crate::Kernels::encode_code8`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn encode_code8<V: Vector, E: FloatElement>(
    vector: &[u8],
    inverse_scale: f32,
    codes: &mut [u8],
) -> u32 {
    check_codes(vector, codes, E::BYTES);
    let whole = codes.len() - codes.len() % V::FLOATS;
    let mut saturated = 0;
    // SAFETY: the caller has checked the CPU; every write ends at or before `whole`, every read at as many elements.
    unsafe {
        let scale = V::splat(inverse_scale);
        for at in (0..whole).step_by(V::FLOATS) {
            if at.is_multiple_of(CACHE_LINE) {
                prefetch_for_write(codes.as_ptr().wrapping_add(PREFETCH_CODES + at));
            }
            let values = E::load::<V>(vector.as_ptr().add(at * E::BYTES));
            saturated += V::encode_code8(values, scale, codes.as_mut_ptr().add(at));
        }
    }
    saturated + scalar::encode_code8::<E>(&vector[whole * E::BYTES..], inverse_scale, &mut codes[whole..])
}

/// [`crate::Kernels::encode_code4`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn encode_code4<V: Vector, E: FloatElement>(
    vector: &[u8],
    inverse_scale: f32,
    codes: &mut [u8],
) -> u32 {
    check_code_pairs(vector, codes, E::BYTES);
    let (lower, upper) = vector.split_at(codes.len() * E::BYTES);
    let pairs = upper.len() / E::BYTES;
    let whole = pairs - pairs % V::FLOATS;
    let mut saturated = 0;
    // SAFETY: the caller has checked the CPU; every write ends at or before `whole`, and so does every read of either half.
    unsafe {
        let scale = V::splat(inverse_scale);
        for at in (0..whole).step_by(V::FLOATS) {
            if at.is_multiple_of(CACHE_LINE) {
                prefetch_for_write(codes.as_ptr().wrapping_add(PREFETCH_CODES / 2 + at));
            }
            let low = E::load::<V>(lower.as_ptr().add(at * E::BYTES));
            let high = E::load::<V>(upper.as_ptr().add(at * E::BYTES));
            saturated += V::encode_code4(low, high, scale, codes.as_mut_ptr().add(at));
        }
    }
    let (lower, upper) = (&lower[whole * E::BYTES..], &upper[whole * E::BYTES..]);
    saturated + scalar::encode_code_pairs::<E>(lower, upper, inverse_scale, &mut codes[whole..])
}

/// [`crate::Kernels::norm_squared`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn norm_squared<V: Vector, E: FloatElement>(vector: &[u8]) -> f32 {
    check_lengths(vector, vector, E::BYTES);
    // SAFETY: as the caller promises.
    unsafe { squares::<V, E>(vector, |_, _| ()) }
}

/// [`crate::Kernels::copy_norm_squared`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn copy_norm_squared<V: Vector, E: FloatElement>(from: &[u8], to: &mut [u8]) -> f32 {
    check_lengths(from, to, E::BYTES);
    let step = SUMS * V::FLOATS * E::BYTES;
    let whole = from.len() - from.len() % step;
    to[whole..].copy_from_slice(&from[whole..]);
    let target = to.as_mut_ptr();
    // SAFETY: as the caller promises; `copy` is called for steps of `from`, and `to` is as long.
    unsafe {
        squares::<V, E>(from, |block, at| {
            let target = target.add(at);
            for line in (0..step).step_by(CACHE_LINE) {
                prefetch_for_write(target.wrapping_add(PREFETCH_BYTES + line));
            }
            target.copy_from_nonoverlapping(block, step);
        })
    }
}

/// Σx². Calls `each` with the address and the offset of every whole step of `SUMS` registers.
///
/// # Safety
/// The CPU has the instruction set of `V`, and `vector` whole elements.
#[inline(always)]
unsafe fn squares<V: Vector, E: FloatElement>(vector: &[u8], each: impl Fn(*const u8, usize)) -> f32 {
    let register = V::FLOATS * E::BYTES;
    let whole = vector.len() - vector.len() % (SUMS * register);
    // SAFETY: the caller has checked the CPU; every read of the loop ends at or before `whole`, and the rest is as long as itself.
    unsafe {
        let mut sums = [V::zero(); SUMS];
        for at in (0..whole).step_by(SUMS * register) {
            let block = vector.as_ptr().add(at);
            each(block, at);
            for (index, sum) in sums.iter_mut().enumerate() {
                let values = E::load::<V>(block.add(index * register));
                *sum = V::mul_add(values, values, *sum);
            }
        }
        let [a, b, c, d] = sums;
        let sum = V::sum(V::add(V::add(a, b), V::add(c, d)));
        let rest = &vector[whole..];
        let [rest] = float::sums::<V, E, (SquareOfB,), 1>(rest, rest);
        sum + rest
    }
}

/// Asks for a cache line that is going to be written. Any address will do.
#[inline(always)]
fn prefetch_for_write(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
    // SAFETY: a prefetch is a hint and reads nothing; every x86-64 takes the instruction.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(address.cast()) };
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
