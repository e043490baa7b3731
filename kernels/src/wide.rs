//! Distances of i32, in `f64` sums.
//!
//! A product of two i32 has up to 62 bits and a squared difference 64, so their sums fit no i64 at the dimensions that are
//! served. An `f64` holds every element and every difference of two exactly, and no sum overflows it: the largest,
//! 2⁶⁴ × 65,536 = 2⁸⁰, fits even an `f32`. What is rounded are the sums, once a term:
//!
//! - nothing is lost while Σ|terms| is at most 2⁵³ (of 8,192 elements: all differences, or all elements, within ±2²⁰);
//! - beyond, the sum of n terms is off by no more than n × 2⁻⁵³ × Σ|terms|: at 8,192 elements 2⁻⁴⁰ of it. For l2 and norms,
//!   whose terms have one sign, that is 2⁻¹⁶ of the last place of the `f32` that comes out; a dot whose terms cancel
//!   has it as its absolute error; a cosine is off by 2⁻³⁸.

use std::marker::PhantomData;

use crate::element::{Element, I32};
use crate::fold::{Fold, fold};
use crate::kernel::Kernel;
use crate::scalar;
use crate::vector::Vector;

/// Squared euclidean distance.
pub(crate) struct L2<E>(PhantomData<E>);
/// Negated inner product.
pub(crate) struct Dot<E>(PhantomData<E>);
/// 1 − cosine.
pub(crate) struct Cosine<E>(PhantomData<E>);

impl<V: Vector> Kernel<V> for L2<I32> {
    type Query = ();

    const ELEMENT_BYTES: usize = I32::BYTES;

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
        let [sum] = unsafe { sums::<V, (SquaredDifference,), 1>(a, b) };
        sum as f32
    }
}

impl<V: Vector> Kernel<V> for Dot<I32> {
    type Query = ();

    const ELEMENT_BYTES: usize = I32::BYTES;

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
        let [sum] = unsafe { sums::<V, (Product,), 1>(a, b) };
        (0.0 - sum) as f32
    }
}

impl<V: Vector> Kernel<V> for Cosine<I32> {
    /// Squared norm.
    type Query = f64;

    const ELEMENT_BYTES: usize = I32::BYTES;

    #[inline(always)]
    unsafe fn prepare(query: &[u8]) -> f64 {
        // SAFETY: as the caller promises.
        let [norm_squared] = unsafe { sums::<V, (SquareOfB,), 1>(query, query) };
        norm_squared
    }

    #[inline(always)]
    unsafe fn distance(query: &[u8], norm_squared: f64, row: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [dot, row_norm_squared] = unsafe { sums::<V, (Product, SquareOfB), 2>(query, row) };
        scalar::cosine_distance(dot, norm_squared, row_norm_squared)
    }

    #[inline(always)]
    unsafe fn pair(a: &[u8], b: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [dot, b_squared, a_squared] = unsafe { sums::<V, (Product, SquareOfB, SquareOfA), 3>(a, b) };
        scalar::cosine_distance(dot, a_squared, b_squared)
    }
}

/// One sum that a pass over two vectors makes.
///
/// # Safety
/// As for [`Vector`].
trait Term {
    /// Adds the terms of one register of each vector.
    unsafe fn add<V: Vector>(sums: V::Doubles, a: V::Doubles, b: V::Doubles) -> V::Doubles;
}

/// (a − b)²
struct SquaredDifference;
/// ab
struct Product;
/// a²
struct SquareOfA;
/// b²
struct SquareOfB;

impl Term for SquaredDifference {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Doubles, a: V::Doubles, b: V::Doubles) -> V::Doubles {
        // SAFETY: the caller has checked the CPU.
        unsafe {
            let difference = V::wide_sub(a, b);
            V::wide_mul_add(difference, difference, sums)
        }
    }
}

impl Term for Product {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Doubles, a: V::Doubles, b: V::Doubles) -> V::Doubles {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::wide_mul_add(a, b, sums) }
    }
}

impl Term for SquareOfA {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Doubles, a: V::Doubles, _: V::Doubles) -> V::Doubles {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::wide_mul_add(a, a, sums) }
    }
}

impl Term for SquareOfB {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Doubles, _: V::Doubles, b: V::Doubles) -> V::Doubles {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::wide_mul_add(b, b, sums) }
    }
}

/// `N` sums of one pass.
///
/// # Safety
/// As for [`Vector`].
trait Terms<const N: usize> {
    /// Adds the terms of one register of each vector to each sum.
    unsafe fn add<V: Vector>(sums: [V::Doubles; N], a: V::Doubles, b: V::Doubles) -> [V::Doubles; N];
}

macro_rules! terms {
    ($count:literal: $($term:ident $index:literal),+) => {
        impl<$($term: Term),+> Terms<$count> for ($($term,)+) {
            #[inline(always)]
            unsafe fn add<V: Vector>(
                sums: [V::Doubles; $count],
                a: V::Doubles,
                b: V::Doubles,
            ) -> [V::Doubles; $count] {
                // SAFETY: the caller has checked the CPU.
                unsafe { [$($term::add::<V>(sums[$index], a, b)),+] }
            }
        }
    };
}

terms!(1: A 0);
terms!(2: A 0, B 1);
terms!(3: A 0, B 1, C 2);

/// The pass that makes the sums `T`.
struct Pass<T, const N: usize>(PhantomData<T>);

impl<V: Vector, T: Terms<N>, const N: usize> Fold<V> for Pass<T, N> {
    type Register = V::Doubles;
    type Sums = [V::Doubles; N];

    const STRIDE: usize = V::DOUBLES * I32::BYTES;

    #[inline(always)]
    unsafe fn start() -> [V::Doubles; N] {
        // SAFETY: the caller has checked the CPU.
        [unsafe { V::wide_zero() }; N]
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> V::Doubles {
        // SAFETY: as the caller promises.
        unsafe { V::load_i32(from) }
    }

    #[inline(always)]
    unsafe fn load_partial(from: *const u8, bytes: usize) -> V::Doubles {
        // SAFETY: as the caller promises.
        unsafe { V::load_i32_partial(from, bytes / I32::BYTES) }
    }

    #[inline(always)]
    unsafe fn step(sums: [V::Doubles; N], a: V::Doubles, b: V::Doubles) -> [V::Doubles; N] {
        // SAFETY: the caller has checked the CPU.
        unsafe { T::add::<V>(sums, a, b) }
    }

    #[inline(always)]
    unsafe fn merge(a: [V::Doubles; N], b: [V::Doubles; N]) -> [V::Doubles; N] {
        // SAFETY: the caller has checked the CPU.
        std::array::from_fn(|i| unsafe { V::wide_add(a[i], b[i]) })
    }
}

/// Makes the sums `T` over two whole vectors.
///
/// # Safety
/// The CPU has the instruction set of `V`, and `a` and `b` have the same length.
#[inline(always)]
unsafe fn sums<V: Vector, T: Terms<N>, const N: usize>(a: &[u8], b: &[u8]) -> [f64; N] {
    // SAFETY: as the caller promises.
    unsafe { fold::<V, Pass<T, N>>(a, b).map(|register| V::wide_sum(register)) }
}
