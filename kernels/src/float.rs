//! Distances of f32, f16 and bf16, in `f32` sums.
//!
//! A finite sum proves that no input was NaN or infinite and that nothing overflowed, because neither can be
//! undone by adding more. Every other sum is worked out again by the oracle, in `f64`.

use std::marker::PhantomData;

use crate::float_element::FloatElement;
use crate::fold::{Fold, fold};
use crate::kernel::Kernel;
use crate::scalar;
use crate::vector::Vector;

/// Squared norms from here on lose nothing that matters to underflow: what a square below 2⁻¹²⁶ loses, in 65,536
/// of them, is below 1e-33.
pub(crate) const NORM_SQUARED_MIN: f32 = 1e-25;

/// Squared euclidean distance.
pub(crate) struct L2<E>(PhantomData<E>);
/// Negated inner product.
pub(crate) struct Dot<E>(PhantomData<E>);
/// 1 − cosine.
pub(crate) struct Cosine<E>(PhantomData<E>);

impl<V: Vector, E: FloatElement> Kernel<V> for L2<E> {
    type Query = ();

    const ELEMENT_BYTES: usize = E::BYTES;

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
        if sum.is_finite() { sum } else { by_formula::<scalar::L2<E>>(a, b) }
    }
}

impl<V: Vector, E: FloatElement> Kernel<V> for Dot<E> {
    type Query = ();

    const ELEMENT_BYTES: usize = E::BYTES;

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
        let [sum] = unsafe { sums::<V, E, (Product,), 1>(a, b) };
        if sum.is_finite() { 0.0 - sum } else { by_formula::<scalar::Dot<E>>(a, b) }
    }
}

impl<V: Vector, E: FloatElement> Kernel<V> for Cosine<E> {
    /// Squared norm.
    type Query = f32;

    const ELEMENT_BYTES: usize = E::BYTES;

    #[inline(always)]
    unsafe fn prepare(query: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [norm_squared] = unsafe { sums::<V, E, (SquareOfB,), 1>(query, query) };
        norm_squared
    }

    #[inline(always)]
    unsafe fn distance(query: &[u8], norm_squared: f32, row: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [dot, row_norm_squared] = unsafe { sums::<V, E, (Product, SquareOfB), 2>(query, row) };
        cosine_distance(dot, norm_squared, row_norm_squared)
            .unwrap_or_else(|| by_formula::<scalar::Cosine<E>>(query, row))
    }

    #[inline(always)]
    unsafe fn pair(a: &[u8], b: &[u8]) -> f32 {
        // SAFETY: as the caller promises.
        let [dot, b_squared, a_squared] = unsafe { sums::<V, E, (Product, SquareOfB, SquareOfA), 3>(a, b) };
        cosine_distance(dot, a_squared, b_squared).unwrap_or_else(|| by_formula::<scalar::Cosine<E>>(a, b))
    }
}

/// `None` if the norms are not such that the sums behind them can be trusted. By Cauchy and Schwarz the inner
/// product is within the product of the norms, so it is finite when they are.
#[inline(always)]
fn cosine_distance(dot: f32, a_squared: f32, b_squared: f32) -> Option<f32> {
    let trusted = NORM_SQUARED_MIN..=f32::MAX;
    if !trusted.contains(&a_squared) || !trusted.contains(&b_squared) {
        return None;
    }
    let cosine = dot / (a_squared.sqrt() * b_squared.sqrt());
    Some(1.0 - cosine.clamp(-1.0, 1.0))
}

#[cold]
#[inline(never)]
fn by_formula<F: scalar::Formula>(a: &[u8], b: &[u8]) -> f32 {
    F::distance(a, b)
}

/// One sum that a pass over two vectors makes.
///
/// # Safety
/// As for [`Vector`].
pub(crate) trait Term {
    /// Adds the terms of one register of each vector.
    unsafe fn add<V: Vector>(sums: V::Floats, a: V::Floats, b: V::Floats) -> V::Floats;
}

/// (a − b)²
struct SquaredDifference;
/// ab
struct Product;
/// a²
struct SquareOfA;
/// b²
pub(crate) struct SquareOfB;
/// 0.0 for a number; NaN for NaN and for an infinity.
pub(crate) struct NotFinite;

impl Term for SquaredDifference {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Floats, a: V::Floats, b: V::Floats) -> V::Floats {
        // SAFETY: the caller has checked the CPU.
        unsafe {
            let difference = V::sub(a, b);
            V::mul_add(difference, difference, sums)
        }
    }
}

impl Term for Product {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Floats, a: V::Floats, b: V::Floats) -> V::Floats {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::mul_add(a, b, sums) }
    }
}

impl Term for SquareOfA {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Floats, a: V::Floats, _: V::Floats) -> V::Floats {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::mul_add(a, a, sums) }
    }
}

impl Term for SquareOfB {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Floats, _: V::Floats, b: V::Floats) -> V::Floats {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::mul_add(b, b, sums) }
    }
}

impl Term for NotFinite {
    #[inline(always)]
    unsafe fn add<V: Vector>(sums: V::Floats, _: V::Floats, b: V::Floats) -> V::Floats {
        // SAFETY: the caller has checked the CPU.
        unsafe { V::mul_add(b, V::zero(), sums) }
    }
}

/// `N` sums of one pass.
///
/// # Safety
/// As for [`Vector`].
pub(crate) trait Terms<const N: usize> {
    /// Adds the terms of one register of each vector to each sum.
    unsafe fn add<V: Vector>(sums: [V::Floats; N], a: V::Floats, b: V::Floats) -> [V::Floats; N];
}

macro_rules! terms {
    ($count:literal: $($term:ident $index:literal),+) => {
        impl<$($term: Term),+> Terms<$count> for ($($term,)+) {
            #[inline(always)]
            unsafe fn add<V: Vector>(
                sums: [V::Floats; $count],
                a: V::Floats,
                b: V::Floats,
            ) -> [V::Floats; $count] {
                // SAFETY: the caller has checked the CPU.
                unsafe { [$($term::add::<V>(sums[$index], a, b)),+] }
            }
        }
    };
}

terms!(1: A 0);
terms!(2: A 0, B 1);
terms!(3: A 0, B 1, C 2);

/// The pass that makes the sums `T` of vectors of `E`.
struct Pass<E, T, const N: usize>(PhantomData<(E, T)>);

impl<V: Vector, E: FloatElement, T: Terms<N>, const N: usize> Fold<V> for Pass<E, T, N> {
    type Register = V::Floats;
    type Sums = [V::Floats; N];

    const STRIDE: usize = V::FLOATS * E::BYTES;

    #[inline(always)]
    unsafe fn start() -> [V::Floats; N] {
        // SAFETY: the caller has checked the CPU.
        [unsafe { V::zero() }; N]
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { E::load::<V>(from) }
    }

    #[inline(always)]
    unsafe fn load_partial(from: *const u8, bytes: usize) -> V::Floats {
        // SAFETY: as the caller promises.
        unsafe { E::load_partial::<V>(from, bytes / E::BYTES) }
    }

    #[inline(always)]
    unsafe fn step(sums: [V::Floats; N], a: V::Floats, b: V::Floats) -> [V::Floats; N] {
        // SAFETY: the caller has checked the CPU.
        unsafe { T::add::<V>(sums, a, b) }
    }

    #[inline(always)]
    unsafe fn merge(a: [V::Floats; N], b: [V::Floats; N]) -> [V::Floats; N] {
        // SAFETY: the caller has checked the CPU.
        std::array::from_fn(|i| unsafe { V::add(a[i], b[i]) })
    }
}

/// Makes the sums `T` over two whole vectors.
///
/// # Safety
/// The CPU has the instruction set of `V`, and `a` and `b` have the same length.
#[inline(always)]
pub(crate) unsafe fn sums<V: Vector, E: FloatElement, T: Terms<N>, const N: usize>(a: &[u8], b: &[u8]) -> [f32; N] {
    // SAFETY: as the caller promises.
    unsafe { fold::<V, Pass<E, T, N>>(a, b).map(|register| V::sum(register)) }
}
