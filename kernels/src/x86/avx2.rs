//! AVX2 with FMA and F16C: 32-byte registers.

use std::arch::x86_64::*;

use crate::vector::Vector;

/// Marks what [`Vector`] needs here.
pub(crate) struct Avx2;

/// Bytes of an `f32` mask of 8 lanes, once all ones and once zeros: a window of it selects the first lanes.
static LANE_MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Vector for Avx2 {
    type Floats = __m256;
    type Doubles = __m256d;
    type Bytes = __m256i;

    const FLOATS: usize = 8;
    const DOUBLES: usize = 4;
    const BYTES: usize = 32;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn zero() -> __m256 {
        _mm256_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat(value: f32) -> __m256 {
        _mm256_set1_ps(value)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_f32(from: *const u8) -> __m256 {
        // SAFETY: the caller lets 32 bytes be read.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_f32_partial(from: *const u8, count: usize) -> __m256 {
        debug_assert!(count < 8);
        // SAFETY: the window of 8 begins at 1 to 8 of 16; masked lanes are not read, the caller lets the others be.
        unsafe {
            let mask = _mm256_loadu_si256(LANE_MASKS.as_ptr().add(8 - count).cast());
            _mm256_maskload_ps(from.cast(), mask)
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_f16(from: *const u8) -> __m256 {
        // SAFETY: the caller lets 16 bytes be read.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_f16_partial(from: *const u8, count: usize) -> __m256 {
        debug_assert!(count < 8);
        let mut halves = [0u8; 16];
        // SAFETY: the caller lets `count` halves be read, and 8 fit.
        unsafe {
            copy_short(from, halves.as_mut_ptr(), count * 2);
            Self::load_f16(halves.as_ptr())
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_bf16(from: *const u8) -> __m256 {
        // SAFETY: the caller lets 16 bytes be read.
        let halves = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(from.cast()) });
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_bf16_partial(from: *const u8, count: usize) -> __m256 {
        debug_assert!(count < 8);
        let mut halves = [0u8; 16];
        // SAFETY: the caller lets `count` halves be read, and 8 fit.
        unsafe {
            copy_short(from, halves.as_mut_ptr(), count * 2);
            Self::load_bf16(halves.as_ptr())
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store(to: *mut f32, values: __m256) {
        // SAFETY: the caller lets 8 values be written.
        unsafe { _mm256_storeu_ps(to, values) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn round_i32(bits: __m256) -> __m256 {
        _mm256_cvtepi32_ps(_mm256_castps_si256(bits))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    // MAXPS answers its second operand if either is NaN.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn abs_max(a: __m256, max: __m256) -> __m256 {
        _mm256_max_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0), a), max)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sum(a: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn largest(a: __m256) -> f32 {
        let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn encode_code8(values: __m256, inverse_scale: __m256, to: *mut u8) -> u32 {
        let scaled = _mm256_mul_ps(values, inverse_scale);
        let rounded = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(scaled);
        let number = _mm256_cmp_ps::<_CMP_ORD_Q>(rounded, rounded);
        let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), rounded);
        let saturated = _mm256_cmp_ps::<_CMP_GT_OQ>(magnitude, _mm256_set1_ps(127.0));
        let held = _mm256_min_ps(_mm256_max_ps(rounded, _mm256_set1_ps(-127.0)), _mm256_set1_ps(127.0));
        let codes = _mm256_cvtps_epi32(_mm256_and_ps(held, number));
        let words = _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
        let bytes = _mm_xor_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(i8::MIN));
        // SAFETY: the caller lets 8 codes be written.
        unsafe { _mm_storel_epi64(to.cast(), bytes) };
        // Seldom any: a jump is cheaper than a count, for which there is no instruction among those of this table.
        let saturated = _mm256_movemask_ps(saturated);
        if saturated == 0 { 0 } else { saturated.count_ones() }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn encode_code4(lower: __m256, upper: __m256, inverse_scale: __m256, to: *mut u8) -> u32 {
        let mut saturated = 0;
        let codes = [lower, upper].map(|values| {
            let scaled = _mm256_mul_ps(values, inverse_scale);
            let rounded = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(scaled);
            let number = _mm256_cmp_ps::<_CMP_ORD_Q>(rounded, rounded);
            let held = _mm256_min_ps(_mm256_max_ps(rounded, _mm256_set1_ps(-8.0)), _mm256_set1_ps(7.0));
            let out = _mm256_and_ps(_mm256_cmp_ps::<_CMP_NEQ_OQ>(held, rounded), number);
            saturated += _mm256_movemask_ps(out).count_ones();
            _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_and_ps(held, number)), _mm256_set1_epi32(8))
        });
        let pairs = _mm256_or_si256(codes[0], _mm256_slli_epi32::<4>(codes[1]));
        let words = _mm_packs_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        // SAFETY: the caller lets 8 bytes be written.
        unsafe { _mm_storel_epi64(to.cast(), _mm_packus_epi16(words, words)) };
        saturated
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn wide_zero() -> __m256d {
        _mm256_setzero_pd()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_i32(from: *const u8) -> __m256d {
        // SAFETY: the caller lets 16 bytes be read.
        _mm256_cvtepi32_pd(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_i32_partial(from: *const u8, count: usize) -> __m256d {
        debug_assert!(count < 4);
        let mut integers = [0u8; 16];
        // SAFETY: the caller lets `count` integers be read, and 4 fit.
        unsafe {
            copy_short(from, integers.as_mut_ptr(), count * 4);
            Self::load_i32(integers.as_ptr())
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn wide_add(a: __m256d, b: __m256d) -> __m256d {
        _mm256_add_pd(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn wide_sub(a: __m256d, b: __m256d) -> __m256d {
        _mm256_sub_pd(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn wide_mul_add(a: __m256d, b: __m256d, c: __m256d) -> __m256d {
        _mm256_fmadd_pd(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn wide_sum(a: __m256d) -> f64 {
        let two = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd::<1>(a));
        _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat_byte(value: u8) -> __m256i {
        _mm256_set1_epi8(value.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_bytes(from: *const u8) -> __m256i {
        // SAFETY: the caller lets 32 bytes be read.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_bytes_partial(from: *const u8, count: usize, padding: u8) -> __m256i {
        debug_assert!(count < 32);
        let mut bytes = [padding; 32];
        // SAFETY: the caller lets `count` bytes be read, and 32 fit.
        unsafe {
            copy_short(from, bytes.as_mut_ptr(), count);
            Self::load_bytes(bytes.as_ptr())
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn lower_halves(a: __m256i) -> __m256i {
        _mm256_and_si256(a, _mm256_set1_epi8(0x0f))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn upper_halves(a: __m256i) -> __m256i {
        _mm256_and_si256(_mm256_srli_epi16::<4>(a), _mm256_set1_epi8(0x0f))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn bit(a: __m256i, place: usize) -> __m256i {
        _mm256_and_si256(_mm256_srl_epi16(a, _mm_cvtsi32_si128(place as i32)), _mm256_set1_epi8(1))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sub_bytes(a: __m256i, b: __m256i) -> __m256i {
        _mm256_sub_epi8(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn xor(a: __m256i, b: __m256i) -> __m256i {
        _mm256_xor_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn abs_diff(a: __m256i, b: __m256i) -> __m256i {
        _mm256_or_si256(_mm256_subs_epu8(a, b), _mm256_subs_epu8(b, a))
    }

    // VPMADDUBSW would saturate at 2¹⁵, so widen to 16 bits first: each product is below 2¹⁵, each pair below 2¹⁶.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_products(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        let zero = _mm256_setzero_si256();
        let a_low = _mm256_unpacklo_epi8(a, zero);
        let a_high = _mm256_unpackhi_epi8(a, zero);
        let b_low = _mm256_srai_epi16::<8>(_mm256_unpacklo_epi8(zero, b));
        let b_high = _mm256_srai_epi16::<8>(_mm256_unpackhi_epi8(zero, b));
        let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(a_low, b_low));
        _mm256_add_epi32(sums, _mm256_madd_epi16(a_high, b_high))
    }

    // Each pair of squares is at most 2 × 255², far below 2³¹.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_squares(sums: __m256i, a: __m256i) -> __m256i {
        let zero = _mm256_setzero_si256();
        let low = _mm256_unpacklo_epi8(a, zero);
        let high = _mm256_unpackhi_epi8(a, zero);
        let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(low, low));
        _mm256_add_epi32(sums, _mm256_madd_epi16(high, high))
    }

    // By nibbles, a table in a register: Muła, Kurz, Lemire, "Faster population counts using AVX2
    // instructions", arXiv 1611.07612.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_ones(sums: __m256i, a: __m256i) -> __m256i {
        let table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
        let nibble = _mm256_set1_epi8(0x0f);
        let low = _mm256_shuffle_epi8(table, _mm256_and_si256(a, nibble));
        let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(a), nibble));
        let ones = _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
        _mm256_add_epi32(sums, ones)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_sums(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn total(sums: __m256i) -> u32 {
        let four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
        _mm_cvtsi128_si32(one).cast_unsigned()
    }

    // A difference of unsigned bytes that wraps is large: one comparison for both ends of a range.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn lower_and_mark(a: __m256i, to: *mut u8) -> (u64, u64) {
        let within = |bytes: __m256i, first: u8, last: u8| {
            let place = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first.cast_signed()));
            _mm256_cmpeq_epi8(_mm256_min_epu8(place, _mm256_set1_epi8((last - first).cast_signed())), place)
        };
        let bit = _mm256_set1_epi8(0x20);
        let lowered = _mm256_or_si256(a, _mm256_and_si256(within(a, b'A', b'Z'), bit));
        let words = _mm256_or_si256(within(lowered, b'a', b'z'), within(a, b'0', b'9'));
        // SAFETY: the caller lets 32 bytes be written.
        unsafe { _mm256_storeu_si256(to.cast(), lowered) };
        let bits = |bytes| u64::from(_mm256_movemask_epi8(bytes).cast_unsigned());
        (bits(_mm256_or_si256(words, a)), bits(a))
    }
}

/// Copies fewer than 32 bytes in pieces of fixed size, which saves the call that a copy of any size is.
///
/// # Safety
/// `count` bytes are readable at `from` and writable at `to`, and `count` is below 32.
#[inline(always)]
unsafe fn copy_short(from: *const u8, to: *mut u8, count: usize) {
    debug_assert!(count < 32);
    let mut done = 0;
    for size in [16, 8, 4, 2, 1] {
        if count & size != 0 {
            // SAFETY: the sizes taken add up to `count`.
            unsafe { std::ptr::copy_nonoverlapping(from.add(done), to.add(done), size) };
            done += size;
        }
    }
}
