//! The oracle: each formula written down once, in `f64`, one element after the other.
//!
//! `f64` holds every sum over bytes exactly (they are below 2⁵³) and every product of two `f32` exactly,
//! so its error is far below that of any `f32` sum. What it loses of i32 is said in `wide.rs`. The vector kernels come back here for the rare vectors
//! that an `f32` sum cannot hold.

use std::marker::PhantomData;

use crate::code1;
use crate::element::{Code1, Code4, Element, F16};
use crate::kind::MAX_DIMENSION;
use crate::rows::Rows;

/// A distance by its formula.
pub(crate) trait Formula {
    /// The distance of two vectors of the same length.
    fn distance(a: &[u8], b: &[u8]) -> f32;

    /// The distance of a query to a row.
    fn of_query(query: &[u8], row: &[u8]) -> f32 {
        Self::distance(query, row)
    }
}

/// Squared euclidean distance.
pub(crate) struct L2<E>(PhantomData<E>);
/// Negated inner product.
pub(crate) struct Dot<E>(PhantomData<E>);
/// 1 − cosine.
pub(crate) struct Cosine<E>(PhantomData<E>);
/// Differing bits.
pub(crate) struct Hamming;

impl<E: Element> Formula for L2<E> {
    fn distance(a: &[u8], b: &[u8]) -> f32 {
        let sum: f64 = elements::<E>(a, b).map(|(x, y)| (x - y) * (x - y)).sum();
        defined(sum as f32)
    }
}

impl<E: Element> Formula for Dot<E> {
    fn distance(a: &[u8], b: &[u8]) -> f32 {
        let sum: f64 = elements::<E>(a, b).map(|(x, y)| x * y).sum();
        defined((0.0 - sum) as f32)
    }
}

impl<E: Element> Formula for Cosine<E> {
    fn distance(a: &[u8], b: &[u8]) -> f32 {
        let (mut dot, mut norm_a, mut norm_b) = (0.0, 0.0, 0.0);
        for (x, y) in elements::<E>(a, b) {
            dot += x * y;
            norm_a += x * x;
            norm_b += y * y;
        }
        cosine_distance(dot, norm_a, norm_b)
    }
}

impl Formula for L2<Code4> {
    fn distance(a: &[u8], b: &[u8]) -> f32 {
        nibbles(a, b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>() as f32
    }

    fn of_query(query: &[u8], row: &[u8]) -> f32 {
        sixteenths(query, row).map(|(x, y)| (x - y) * (x - y)).sum::<f64>() as f32
    }
}

impl Formula for Dot<Code4> {
    fn distance(a: &[u8], b: &[u8]) -> f32 {
        (0.0 - nibbles(a, b).map(|(x, y)| x * y).sum::<f64>()) as f32
    }

    fn of_query(query: &[u8], row: &[u8]) -> f32 {
        (0.0 - sixteenths(query, row).map(|(x, y)| x * y).sum::<f64>()) as f32
    }
}

impl Formula for Dot<Code1> {
    fn distance(a: &[u8], b: &[u8]) -> f32 {
        check_lengths(a, b, 1);
        code1::distance_of(a.iter().zip(b).map(|(x, y)| (x ^ y).count_ones()).sum(), a.len())
    }

    fn of_query(query: &[u8], row: &[u8]) -> f32 {
        check_query(query, row, 1, code1::PLANES);
        let planes = query.chunks_exact(row.len()).enumerate();
        let products = planes.flat_map(|(plane, values)| {
            values.iter().zip(row).map(move |(&value, &byte)| {
                let value = f64::from(value.cast_signed());
                if byte >> plane & 1 == 1 { value } else { -value }
            })
        });
        (0.0 - products.sum::<f64>()) as f32
    }
}

impl Formula for Hamming {
    fn distance(a: &[u8], b: &[u8]) -> f32 {
        check_lengths(a, b, 1);
        let bits: u32 = a.iter().zip(b).map(|(x, y)| (x ^ y).count_ones()).sum();
        bits as f32
    }
}

/// 1 − cosine from the inner product and the squared norms.
pub(crate) fn cosine_distance(dot: f64, norm_squared_a: f64, norm_squared_b: f64) -> f32 {
    if norm_squared_a.is_nan() || norm_squared_b.is_nan() {
        return f32::INFINITY;
    }
    if norm_squared_a == 0.0 || norm_squared_b == 0.0 {
        return 1.0;
    }
    // The product neither overflows nor underflows: for f32 it is within 1e-180..=1e164.
    let cosine = dot / (norm_squared_a * norm_squared_b).sqrt();
    defined((1.0 - cosine.clamp(-1.0, 1.0)) as f32)
}

/// NaN stands for "no value", and what has no value is infinitely far.
#[inline(always)]
pub(crate) fn defined(distance: f32) -> f32 {
    if distance.is_nan() { f32::INFINITY } else { distance }
}

/// What every kernel asks of its two slices before it reads them.
#[inline(always)]
pub(crate) fn check_lengths(a: &[u8], b: &[u8], element_bytes: usize) {
    assert!(a.len() == b.len(), "vectors of {} and {} bytes", a.len(), b.len());
    assert!(
        a.len().is_multiple_of(element_bytes) && a.len() <= MAX_DIMENSION * element_bytes,
        "a vector of {} bytes has elements of {element_bytes} bytes, at most {MAX_DIMENSION} of them",
        a.len()
    );
}

/// What a kernel asks of a query, which may be longer than a row by a factor.
#[inline(always)]
pub(crate) fn check_query(query: &[u8], row: &[u8], element_bytes: usize, ratio: usize) {
    assert!(query.len() == ratio * row.len(), "a query of {} bytes, rows of {}", query.len(), row.len());
    check_lengths(row, row, element_bytes);
}

/// What an encoder of two codes to a byte asks of its two slices.
#[inline(always)]
pub(crate) fn check_code_pairs(vector: &[u8], codes: &[u8], element_bytes: usize) {
    let is_whole = vector.len().is_multiple_of(element_bytes);
    let fits = is_whole && (vector.len() / element_bytes).div_ceil(2) == codes.len();
    assert!(fits, "{} bytes, room for {} pairs of codes", vector.len(), codes.len());
}

/// What every encoder asks of its two slices.
#[inline(always)]
pub(crate) fn check_codes(vector: &[u8], codes: &[u8], element_bytes: usize) {
    assert!(vector.len() == codes.len() * element_bytes, "{} bytes, room for {} codes", vector.len(), codes.len());
}

/// [`crate::Distance::pair`].
pub(crate) fn pair<F: Formula>(a: &[u8], b: &[u8]) -> f32 {
    F::distance(a, b)
}

/// [`crate::Distance::rows`].
pub(crate) fn rows<F: Formula>(query: &[u8], rows: Rows<'_>, ids: &[u32], out: &mut [f32]) {
    assert!(ids.len() == out.len(), "{} ids, room for {} distances", ids.len(), out.len());
    for (id, out) in ids.iter().zip(out) {
        *out = F::of_query(query, rows.get(*id));
    }
}

/// The code of one value: rounded half to even, held within ±127, offset by 128; NaN has the code of zero.
/// The second part says whether the value was out of range.
#[inline(always)]
pub(crate) fn code8(value: f32, inverse_scale: f32) -> (u8, bool) {
    let rounded = (value * inverse_scale).round_ties_even();
    // The cast turns NaN into 0.
    ((rounded.clamp(-127.0, 127.0) as i32 + 128) as u8, rounded.abs() > 127.0)
}

/// [`crate::Kernels::encode_code8`].
pub(crate) fn encode_code8<E: Element>(vector: &[u8], inverse_scale: f32, codes: &mut [u8]) -> u32 {
    check_codes(vector, codes, E::BYTES);
    let mut saturated = 0;
    for (element, code) in vector.chunks_exact(E::BYTES).zip(codes) {
        let (byte, out_of_range) = code8(E::value(element) as f32, inverse_scale);
        *code = byte;
        saturated += u32::from(out_of_range);
    }
    saturated
}

/// The code of one value, as [`code8`] with 4 bits: held within -8..=7, offset by 8.
#[inline(always)]
pub(crate) fn code4(value: f32, inverse_scale: f32) -> (u8, bool) {
    let rounded = (value * inverse_scale).round_ties_even();
    // The cast turns NaN into 0.
    ((rounded.clamp(-8.0, 7.0) as i32 + 8) as u8, !(-8.0..=7.0).contains(&rounded) && !rounded.is_nan())
}

/// [`crate::Kernels::encode_code4`].
pub(crate) fn encode_code4<E: Element>(vector: &[u8], inverse_scale: f32, codes: &mut [u8]) -> u32 {
    check_code_pairs(vector, codes, E::BYTES);
    let (lower, upper) = vector.split_at(codes.len() * E::BYTES);
    encode_code_pairs::<E>(lower, upper, inverse_scale, codes)
}

/// Puts the codes of two runs of elements into the halves of bytes; `upper` may be one element shorter.
pub(crate) fn encode_code_pairs<E: Element>(lower: &[u8], upper: &[u8], inverse_scale: f32, codes: &mut [u8]) -> u32 {
    let mut upper = upper.chunks_exact(E::BYTES);
    let mut saturated = 0;
    for (low, code) in lower.chunks_exact(E::BYTES).zip(codes) {
        let high = upper.next().map_or(0.0, E::value);
        let [(low, low_out), (high, high_out)] = [E::value(low), high].map(|x| code4(x as f32, inverse_scale));
        *code = low | high << 4;
        saturated += u32::from(low_out) + u32::from(high_out);
    }
    saturated
}

/// [`crate::Kernels::abs_max_f32`].
pub(crate) fn abs_max_f32(values: &[f32]) -> f32 {
    // `f32::max` prefers a number to NaN.
    values.iter().fold(0.0, |max, value| value.abs().max(max))
}

/// [`crate::Kernels::all_finite`].
pub(crate) fn all_finite<E: Element>(vector: &[u8]) -> bool {
    elements::<E>(vector, vector).all(|(x, _)| x.is_finite())
}

/// [`crate::Kernels::norm_squared`].
pub(crate) fn norm_squared<E: Element>(vector: &[u8]) -> f32 {
    elements::<E>(vector, vector).map(|(x, _)| x * x).sum::<f64>() as f32
}

/// [`crate::Kernels::copy_norm_squared`].
pub(crate) fn copy_norm_squared<E: Element>(from: &[u8], to: &mut [u8]) -> f32 {
    to.copy_from_slice(from);
    norm_squared::<E>(from)
}

/// [`crate::Kernels::to_f32`] for what needs no instruction of its own: every CPU has these as vectors.
pub(crate) fn to_f32<const BYTES: usize>(src: &[u8], dst: &mut [f32], value: impl Fn([u8; BYTES]) -> f32) {
    for (element, value_f32) in src.as_chunks::<BYTES>().0.iter().zip(dst) {
        *value_f32 = value(*element);
    }
}

/// [`crate::Kernels::to_f32`] of f16.
pub(crate) fn widen_f16(src: &[u8], dst: &mut [f32]) {
    assert!(src.len() == dst.len() * 2, "{} bytes of f16, room for {} values", src.len(), dst.len());
    for (bytes, value) in src.chunks_exact(2).zip(dst) {
        *value = F16::value(bytes) as f32;
    }
}

/// The values of two codes to a byte.
fn nibbles<'a>(a: &'a [u8], b: &'a [u8]) -> impl Iterator<Item = (f64, f64)> + 'a {
    check_lengths(a, b, 1);
    let values = |byte: u8| [byte & 0x0f, byte >> 4].map(|half| f64::from(half) - 8.0);
    a.iter().zip(b).flat_map(move |(&x, &y)| values(x).into_iter().zip(values(y)))
}

/// The values of a query to rows of two codes to a byte, in steps of a code, and of a row.
fn sixteenths<'a>(query: &'a [u8], row: &'a [u8]) -> impl Iterator<Item = (f64, f64)> + 'a {
    check_query(query, row, 1, 2);
    let halves = |byte: u8| [byte & 0x0f, byte >> 4].map(|half| f64::from(half) - 8.0);
    let value = |at: usize| f64::from(query[at].cast_signed()) / 16.0;
    let pairs = move |(at, &byte)| [at, row.len() + at].map(value).into_iter().zip(halves(byte));
    row.iter().enumerate().flat_map(pairs)
}

fn elements<'a, E: Element>(a: &'a [u8], b: &'a [u8]) -> impl Iterator<Item = (f64, f64)> + 'a {
    check_lengths(a, b, E::BYTES);
    a.chunks_exact(E::BYTES).zip(b.chunks_exact(E::BYTES)).map(|(x, y)| (E::value(x), E::value(y)))
}
