//! Distances of i8, u8, codes and bits. All sums are exact.
//!
//! Sums are taken modulo 2³² (two codes to a byte make at most 2 × 15² × 65,536 < 2²⁵); at [`crate::MAX_DIMENSION`] elements the largest true one is 255² × 65,536 < 2³² for
//! u8 and for squared differences, and 2³⁰ for signed products, so the 32 bits that are left are the sum itself.

use std::marker::PhantomData;

use crate::element::U8;
use crate::fold::{Fold, fold};
use crate::integer_element::IntegerElement;
use crate::kernel::Kernel;
use crate::scalar;
use crate::vector::Vector;

/// Squared euclidean distance.
pub(crate) struct L2<E>(PhantomData<E>);
/// Negated inner product.
pub(crate) struct Dot<E>(PhantomData<E>);
/// 1 − cosine.
pub(crate) struct Cosine<E>(PhantomData<E>);
/// Differing bits.
pub(crate) struct Hamming;

impl<V: Vector, E: IntegerElement> Kernel<V> for L2<E> {
    type Query = ();

    const ELEMENT_BYTES: usize = 1;

    #[inline(always)]
    unsafe fn prepare(_: &[u8]) {}

    #[inline(always)]
    unsafe fn distance(query: &[u8], (): (), row: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        unsafe { <Self as Kernel<V>>::pair(query, row) }
    }

    #[inline(always)]
    unsafe fn pair(a: &[u8], b: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [sum] = unsafe { sums::<V, E, (SquaredDifference,), 1>(a, b) };
        sum as f32
    }
}

impl<V: Vector, E: IntegerElement> Kernel<V> for Dot<E> {
    /// Offsets.
    type Query = u32;

    const ELEMENT_BYTES: usize = 1;

    #[inline(always)]
    unsafe fn prepare(query: &[u8]) -> u32 {
        // SAFETY: as the caller promises.
        let [offsets] = unsafe { sums::<V, E, (Offset,), 1>(query, query) };
        offsets
    }

    #[inline(always)]
    unsafe fn distance(query: &[u8], offsets: u32, row: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [products] = unsafe { sums::<V, E, (Product,), 1>(query, row) };
        (0.0 - E::product(products, offsets)) as f32
    }

    #[inline(always)]
    unsafe fn pair(a: &[u8], b: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [products, offsets] = unsafe { sums::<V, E, (Product, Offset), 2>(a, b) };
        (0.0 - E::product(products, offsets)) as f32
    }
}

impl<V: Vector, E: IntegerElement> Kernel<V> for Cosine<E> {
    /// Offsets, squared norm.
    type Query = [u32; 2];

    const ELEMENT_BYTES: usize = 1;

    #[inline(always)]
    unsafe fn prepare(query: &[u8]) -> [u32; 2] {
        // SAFETY: as the caller promises.
        unsafe { sums::<V, E, (Offset, SquareOfA), 2>(query, query) }
    }

    #[inline(always)]
    unsafe fn distance(query: &[u8], [offsets, norm_squared]: [u32; 2], row: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [products, row_norm_squared] = unsafe { sums::<V, E, (Product, SquareOfB), 2>(query, row) };
        cosine_distance(E::product(products, offsets), norm_squared, row_norm_squared)
    }

    #[inline(always)]
    unsafe fn pair(a: &[u8], b: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [products, offsets, a_squared, b_squared] =
            unsafe { sums::<V, E, (Product, Offset, SquareOfA, SquareOfB), 4>(a, b) };
        cosine_distance(E::product(products, offsets), a_squared, b_squared)
    }
}

#[inline(always)]
fn cosine_distance(dot: f64, a_squared: u32, b_squared: u32) -> f32 {
    scalar::cosine_distance(dot, f64::from(a_squared), f64::from(b_squared))
}

impl<V: Vector> Kernel<V> for Hamming {
    type Query = ();

    const ELEMENT_BYTES: usize = 1;

    #[inline(always)]
    unsafe fn prepare(_: &[u8]) {}

    #[inline(always)]
    unsafe fn distance(query: &[u8], (): (), row: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        unsafe { <Self as Kernel<V>>::pair(query, row) }
    }

    #[inline(always)]
    unsafe fn pair(a: &[u8], b: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [bits] = unsafe { sums::<V, U8, (DifferingBits,), 1>(a, b) };
        bits as f32
    }
}

/// One sum that a pass over two vectors makes.
///
/// # Safety
/// As for [`Vector`].
pub(crate) trait Term<E: IntegerElement> {
    /// Adds the terms of one register of each vector.
    unsafe fn add<V: Vector>(sums: V::Bytes, a: V::Bytes, b: V::Bytes) -> V::Bytes;
}

/// (a − b)²
struct SquaredDifference;
/// ab, one of them moved
struct Product;
/// What moving a adds.
pub(crate) struct Offset;
/// a²
pub(crate) struct SquareOfA;
/// b²
struct SquareOfB;
/// Bits of a ⊕ b.
pub(crate) struct DifferingBits;

impl<E: IntegerElement> Term<E> for SquaredDifference {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Bytes, a: V::Bytes, b: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_squares(sums, V::abs_diff(E::ordered::<V>(a), E::ordered::<V>(b))) }
    }
}

impl<E: IntegerElement> Term<E> for Product {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Bytes, a: V::Bytes, b: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { E::add_products::<V>(sums, a, b) }
    }
}

impl<E: IntegerElement> Term<E> for Offset {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Bytes, a: V::Bytes, _: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { E::add_offsets::<V>(sums, a) }
    }
}

impl<E: IntegerElement> Term<E> for SquareOfA {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Bytes, a: V::Bytes, _: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_squares(sums, E::magnitude::<V>(a)) }
    }
}

impl<E: IntegerElement> Term<E> for SquareOfB {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Bytes, _: V::Bytes, b: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_squares(sums, E::magnitude::<V>(b)) }
    }
}

impl<E: IntegerElement> Term<E> for DifferingBits {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Bytes, a: V::Bytes, b: V::Bytes) -> V::Bytes {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::add_ones(sums, V::xor(a, b)) }
    }
}

/// `N` sums of one pass.
///
/// # Safety
/// As for [`Vector`].
pub(crate) trait Terms<E: IntegerElement, const N: usize> {
    /// Adds the terms of one register of each vector to each sum.
    unsafe fn add<V: Vector>(sums: [V::Bytes; N], a: V::Bytes, b: V::Bytes) -> [V::Bytes; N];
}

macro_rules! terms {
    ($count:literal: $($term:ident $index:literal),+) => {
        impl<E: IntegerElement, $($term: Term<E>),+> Terms<E, $count> for ($($term,)+) {
            #[inline(always)]
            unsafe fn add<V: Vector>(
                sums: [V::Bytes; $count],
                a: V::Bytes,
                b: V::Bytes,
            ) -> [V::Bytes; $count] {
                // SAFETY: the caller has checked the CPU.
                unsafe { [$($term::add::<V>(sums[$index], a, b)),+] }
            }
        }
    };
}

terms!(1: A 0);
terms!(2: A 0, B 1);
terms!(4: A 0, B 1, C 2, D 3);

/// The pass that makes the sums `T` of vectors of `E`.
struct Pass<E, T, const N: usize>(PhantomData<(E, T)>);

impl<V: Vector, E: IntegerElement, T: Terms<E, N>, const N: usize> Fold<V> for Pass<E, T, N> {
    type Register = V::Bytes;
    type Sums = [V::Bytes; N];

    const STRIDE: usize = V::BYTES;

    #[inline(always)]
    unsafe fn start() -> [V::Bytes; N] {
        // SAFETY: the caller has checked the CPU.
        [unsafe { V::splat_byte(0) }; N]
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> V::Bytes {
        // SAFETY: as the caller promises.
        unsafe { V::load_bytes(from) }
    }

    #[inline(always)]
    unsafe fn load_partial(from: *const u8, bytes: usize) -> V::Bytes {
        // SAFETY: as the caller promises.
        unsafe { V::load_bytes_partial(from, bytes, E::ZERO) }
    }

    #[inline(always)]
    unsafe fn step(mut sums: [V::Bytes; N], a: V::Bytes, b: V::Bytes) -> [V::Bytes; N] {
        for plane in 0..E::PLANES {
            // SAFETY: the caller has checked the CPU.
            sums = unsafe { T::add::<V>(sums, E::plane::<V>(a, plane), E::plane::<V>(b, plane)) };
        }
        sums
    }

    #[inline(always)]
    unsafe fn merge(a: [V::Bytes; N], b: [V::Bytes; N]) -> [V::Bytes; N] {
        // SAFETY: the caller has checked the CPU.
        std::array::from_fn(|i| unsafe { V::add_sums(a[i], b[i]) })
    }
}

/// Makes the sums `T` over two whole vectors.
///
/// # Safety
/// The CPU has the instruction set of `V`, and `a` and `b` have the same length.
#[inline(always)]
pub(crate) unsafe fn sums<V: Vector, E: IntegerElement, T: Terms<E, N>, const N: usize>(
    a: &[u8],
    b: &[u8],
) -> [u32; N] {
    // SAFETY: as the caller promises.
    unsafe { fold::<V, Pass<E, T, N>>(a, b).map(|register| V::total(register)) }
}
