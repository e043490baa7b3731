//! AVX-512 (F, BW, VL, DQ), with or without what came later: 64-byte registers, masked tails.

use std::arch::x86_64::*;

use crate::vector::Vector;

/// Marks what [`Vector`] needs here. `LEVEL` says which instructions may be used besides, those of the lower levels included.
pub(crate) struct Avx512<const LEVEL: u8>;

/// No others.
pub(crate) const PLAIN: u8 = 0;
/// Products of bytes.
pub(crate) const VNNI: u8 = 1;
/// VPOPCNTDQ: bits are counted.
pub(crate) const POPCNT: u8 = 2;
/// AMX: products of tiles.
pub(crate) const AMX: u8 = 3;

impl<const LEVEL: u8> Vector for Avx512<LEVEL> {
    type Floats = __m512;
    type Doubles = __m512d;
    type Bytes = __m512i;

    const FLOATS: usize = 16;
    const DOUBLES: usize = 8;
    const BYTES: usize = 64;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn zero() -> __m512 {
        _mm512_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn splat(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load_f32(from: *const u8) -> __m512 {
        // SAFETY: the caller lets 64 bytes be read.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load_f32_partial(from: *const u8, count: usize) -> __m512 {
        debug_assert!(count < 16);
        // SAFETY: lanes outside the mask are not read; the caller lets the others be.
        unsafe { _mm512_maskz_loadu_ps((1 << count) - 1, from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load_f16(from: *const u8) -> __m512 {
        // SAFETY: the caller lets 32 bytes be read.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load_f16_partial(from: *const u8, count: usize) -> __m512 {
        debug_assert!(count < 16);
        // SAFETY: lanes outside the mask are not read; the caller lets the others be.
        _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16((1 << count) - 1, from.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load_bf16(from: *const u8) -> __m512 {
        // SAFETY: the caller lets 32 bytes be read.
        let halves = _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(from.cast()) });
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load_bf16_partial(from: *const u8, count: usize) -> __m512 {
        debug_assert!(count < 16);
        // SAFETY: lanes outside the mask are not read; the caller lets the others be.
        let halves = _mm512_cvtepu16_epi32(unsafe { _mm256_maskz_loadu_epi16((1 << count) - 1, from.cast()) });
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn store(to: *mut f32, values: __m512) {
        // SAFETY: the caller lets 16 values be written.
        unsafe { _mm512_storeu_ps(to, values) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn round_i32(bits: __m512) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_castps_si512(bits))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    // VMAXPS answers its second operand if either is NaN.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn abs_max(a: __m512, max: __m512) -> __m512 {
        _mm512_max_ps(_mm512_abs_ps(a), max)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sum(a: __m512) -> f32 {
        _mm512_reduce_add_ps(a)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn largest(a: __m512) -> f32 {
        _mm512_reduce_max_ps(a)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn encode_code8(values: __m512, inverse_scale: __m512, to: *mut u8) -> u32 {
        let scaled = _mm512_mul_ps(values, inverse_scale);
        // Held before it is rounded, to the same end. Both instructions answer their second operand if either is NaN, and a NaN is
        // converted to an integer whose low byte is 0.
        let limit = _mm512_set1_ps(127.0);
        let held = _mm512_min_ps(limit, _mm512_max_ps(_mm512_set1_ps(-127.0), scaled));
        let bytes = _mm_xor_si128(_mm512_cvtepi32_epi8(_mm512_cvtps_epi32(held)), _mm_set1_epi8(i8::MIN));
        // SAFETY: the caller lets 16 codes be written.
        unsafe { _mm_storeu_si128(to.cast(), bytes) };
        // From here on a value is rounded to 128 or more.
        let saturated = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(_mm512_abs_ps(scaled), _mm512_set1_ps(127.5));
        // Seldom any: a jump is cheaper than a count, for which there is no instruction among those of this table.
        if saturated == 0 { 0 } else { saturated.count_ones() }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn encode_code4(lower: __m512, upper: __m512, inverse_scale: __m512, to: *mut u8) -> u32 {
        let mut saturated = 0;
        // As in `encode_code8`: a NaN becomes an integer whose low byte is 0.
        let codes = [lower, upper].map(|values| {
            let scaled = _mm512_mul_ps(values, inverse_scale);
            let held = _mm512_min_ps(_mm512_set1_ps(7.0), _mm512_max_ps(_mm512_set1_ps(-8.0), scaled));
            // From 7.5 on a value is rounded to 8 or more, below -8.5 to -9 or less.
            let above = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(scaled, _mm512_set1_ps(7.5));
            let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(scaled, _mm512_set1_ps(-8.5));
            saturated += (above | below).count_ones();
            _mm512_add_epi32(_mm512_cvtps_epi32(held), _mm512_set1_epi32(8))
        });
        let pairs = _mm512_or_si512(codes[0], _mm512_slli_epi32::<4>(codes[1]));
        // SAFETY: the caller lets 16 bytes be written.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(pairs)) };
        saturated
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn wide_zero() -> __m512d {
        _mm512_setzero_pd()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load_i32(from: *const u8) -> __m512d {
        // SAFETY: the caller lets 32 bytes be read.
        _mm512_cvtepi32_pd(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load_i32_partial(from: *const u8, count: usize) -> __m512d {
        debug_assert!(count < 8);
        // SAFETY: lanes outside the mask are not read; the caller lets the others be.
        _mm512_cvtepi32_pd(unsafe { _mm256_maskz_loadu_epi32((1 << count) - 1, from.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn wide_add(a: __m512d, b: __m512d) -> __m512d {
        _mm512_add_pd(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn wide_sub(a: __m512d, b: __m512d) -> __m512d {
        _mm512_sub_pd(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn wide_mul_add(a: __m512d, b: __m512d, c: __m512d) -> __m512d {
        _mm512_fmadd_pd(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn wide_sum(a: __m512d) -> f64 {
        _mm512_reduce_add_pd(a)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn splat_byte(value: u8) -> __m512i {
        _mm512_set1_epi8(value.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load_bytes(from: *const u8) -> __m512i {
        // SAFETY: the caller lets 64 bytes be read.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load_bytes_partial(from: *const u8, count: usize, padding: u8) -> __m512i {
        debug_assert!(count < 64);
        let padding = _mm512_set1_epi8(padding.cast_signed());
        // SAFETY: bytes outside the mask are not read; the caller lets the others be.
        unsafe { _mm512_mask_loadu_epi8(padding, (1 << count) - 1, from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn lower_halves(a: __m512i) -> __m512i {
        _mm512_and_si512(a, _mm512_set1_epi8(0x0f))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn upper_halves(a: __m512i) -> __m512i {
        _mm512_and_si512(_mm512_srli_epi16::<4>(a), _mm512_set1_epi8(0x0f))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn bit(a: __m512i, place: usize) -> __m512i {
        _mm512_and_si512(_mm512_srl_epi16(a, _mm_cvtsi32_si128(place as i32)), _mm512_set1_epi8(1))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sub_bytes(a: __m512i, b: __m512i) -> __m512i {
        _mm512_sub_epi8(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn xor(a: __m512i, b: __m512i) -> __m512i {
        _mm512_xor_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn abs_diff(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(_mm512_subs_epu8(a, b), _mm512_subs_epu8(b, a))
    }

    // VPDPBUSD keeps its four products whole (VPDPBUSDS would saturate). Without it: 16 bits first, as in `avx2`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add_products(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        if LEVEL >= VNNI {
            // SAFETY: the level is that of tables for CPUs that have it.
            return unsafe { _mm512_dpbusd_epi32(sums, a, b) };
        }
        let zero = _mm512_setzero_si512();
        let a_low = _mm512_unpacklo_epi8(a, zero);
        let a_high = _mm512_unpackhi_epi8(a, zero);
        let b_low = _mm512_srai_epi16::<8>(_mm512_unpacklo_epi8(zero, b));
        let b_high = _mm512_srai_epi16::<8>(_mm512_unpackhi_epi8(zero, b));
        let sums = _mm512_add_epi32(sums, _mm512_madd_epi16(a_low, b_low));
        _mm512_add_epi32(sums, _mm512_madd_epi16(a_high, b_high))
    }

    // Each pair of squares is at most 2 × 255², far below 2³¹.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add_squares(sums: __m512i, a: __m512i) -> __m512i {
        let zero = _mm512_setzero_si512();
        let low = _mm512_unpacklo_epi8(a, zero);
        let high = _mm512_unpackhi_epi8(a, zero);
        if LEVEL >= VNNI {
            // SAFETY: the level is that of tables for CPUs that have it.
            return unsafe { _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(sums, low, low), high, high) };
        }
        let sums = _mm512_add_epi32(sums, _mm512_madd_epi16(low, low));
        _mm512_add_epi32(sums, _mm512_madd_epi16(high, high))
    }

    // By nibbles, as in `avx2`, where there is no instruction for it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add_ones(sums: __m512i, a: __m512i) -> __m512i {
        if LEVEL >= POPCNT {
            // SAFETY: the level is that of tables for CPUs that have it.
            return _mm512_add_epi32(sums, unsafe { _mm512_popcnt_epi32(a) });
        }
        let table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
        let nibble = _mm512_set1_epi8(0x0f);
        let low = _mm512_shuffle_epi8(table, _mm512_and_si512(a, nibble));
        let high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16::<4>(a), nibble));
        let ones = _mm512_sad_epu8(_mm512_add_epi8(low, high), _mm512_setzero_si512());
        _mm512_add_epi32(sums, ones)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add_sums(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn total(sums: __m512i) -> u32 {
        _mm512_reduce_add_epi32(sums).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn lower_and_mark(a: __m512i, to: *mut u8) -> (u64, u64) {
        let within = |first: u8, last: u8| {
            let place = _mm512_sub_epi8(a, _mm512_set1_epi8(first.cast_signed()));
            _mm512_cmple_epu8_mask(place, _mm512_set1_epi8((last - first).cast_signed()))
        };
        let upper = within(b'A', b'Z');
        let others = _mm512_movepi8_mask(a);
        let lowered = _mm512_mask_add_epi8(a, upper, a, _mm512_set1_epi8(0x20));
        // SAFETY: the caller lets 64 bytes be written.
        unsafe { _mm512_storeu_si512(to.cast(), lowered) };
        (upper | within(b'a', b'z') | within(b'0', b'9') | others, others)
    }
}
