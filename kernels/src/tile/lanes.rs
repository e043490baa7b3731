//! The 32-bit lanes of an instruction set: what tile kernels need to know of it besides [`Vector`].

use super::product::{Block, Product};
use super::{Nearest, Panel};
use crate::vector::Vector;

/// Registers by their 32-bit lanes, of which [`Vector::Bytes`] has as many as [`Vector::Floats`].
///
/// # Safety
/// As for [`Vector`].
pub(crate) trait Lanes: Vector + 'static {
    /// Sixteen `f32`, in as many registers as it takes.
    type Sixteen: Copy;

    /// Whether four bytes are multiplied and added at a time, an unsigned side and a signed one. Otherwise bytes are
    /// widened to 16 bits and taken two at a time.
    const BYTE_QUADS: bool;
    /// From so many steps on it is quicker to offer a distance to two rows than to work it out twice. Measured.
    const HALVING_STEPS_MIN: usize;

    /// All lanes the four bytes at `from`.
    unsafe fn splat_lane(from: *const u8) -> Self::Bytes;
    /// Writes a register.
    unsafe fn store_bytes(to: *mut u8, bytes: Self::Bytes);
    /// a − b of 32-bit lanes, modulo 2³²
    unsafe fn sub_sums(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// sums + Σ a × b of two neighbouring signed 16-bit numbers each
    unsafe fn add_word_products(sums: Self::Bytes, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// sums + the number of ones in a, lane by lane
    unsafe fn add_ones_by_lane(sums: Self::Bytes, a: Self::Bytes) -> Self::Bytes;
    /// The nearest `f32` of lanes that hold `i32`.
    unsafe fn from_signed(sums: Self::Bytes) -> Self::Floats;
    /// The nearest `f32` of lanes that hold `u32`.
    unsafe fn from_unsigned(sums: Self::Bytes) -> Self::Floats;
    /// a × b
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a / b
    unsafe fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The smaller; b if either is NaN.
    unsafe fn min(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The larger; b if either is NaN.
    unsafe fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `values`, and `with` where the lane of `bits` is that of `equal`.
    unsafe fn replace(values: Self::Floats, bits: Self::Bytes, equal: Self::Bytes, with: Self::Floats) -> Self::Floats;
    /// A bit for each lane that holds NaN or an infinity.
    unsafe fn not_finite(values: Self::Floats) -> u32;

    /// Reads sixteen values.
    unsafe fn sixteen_load(from: *const f32) -> Self::Sixteen;
    /// Writes sixteen values.
    unsafe fn sixteen_store(to: *mut f32, values: Self::Sixteen);
    /// Sixteen times the same.
    unsafe fn sixteen_splat(value: f32) -> Self::Sixteen;
    /// The smaller of each two, none of which is NaN.
    unsafe fn sixteen_min(a: Self::Sixteen, b: Self::Sixteen) -> Self::Sixteen;
    /// The larger of each two, none of which is NaN.
    unsafe fn sixteen_max(a: Self::Sixteen, b: Self::Sixteen) -> Self::Sixteen;
    /// The value of lane i at lane i ⊕ `DISTANCE`, which is 1, 2, 4 or 8.
    unsafe fn sixteen_swap<const DISTANCE: usize>(values: Self::Sixteen) -> Self::Sixteen;
    /// The lanes of b where `MASK` has a bit, those of a elsewhere.
    unsafe fn sixteen_choose<const MASK: u16>(a: Self::Sixteen, b: Self::Sixteen) -> Self::Sixteen;
    /// A bit for each lane where a < b.
    unsafe fn sixteen_below(a: Self::Sixteen, b: Self::Sixteen) -> u16;
    /// A bit for each lane where a ≤ b.
    unsafe fn sixteen_at_most(a: Self::Sixteen, b: Self::Sixteen) -> u16;
    /// Writes the lanes that `mask` has a bit for one after the other. Anything may be written to the rest of sixteen places.
    unsafe fn sixteen_compress(to: *mut f32, values: Self::Sixteen, mask: u16);

    /// [`super::product::block`], compiled once for each product.
    unsafe fn block<P: Product<Self>>(a: &Panel, b: &Panel, block: &mut Block<'_>)
    where
        Self: Sized;
    /// [`super::select::candidates`], compiled once.
    unsafe fn candidates(distances: &[f32], k: usize, bound: f32, slack: f32, found: &mut [u32]) -> usize;
    /// [`super::select::merge`], compiled once.
    unsafe fn merge(distances: &mut [f32], ids: &mut [u32], count: usize, k: usize, nearest: &mut Nearest);
}
