//! The 32-bit lanes of AVX2.

use std::arch::x86_64::*;

use super::avx2::Avx2;
use crate::tile::lanes::Lanes;
use crate::tile::product::{self, Block, Product};
use crate::tile::{Nearest, Panel, select};

/// For each mask of eight lanes, the lanes that it has bits for, one after the other.
static LANES_OF_MASK: [[u8; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut count) = (0, 0);
        while lane < 8 {
            if mask >> lane & 1 == 1 {
                table[mask][count] = lane as u8;
                count += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
};

impl Lanes for Avx2 {
    type Sixteen = [__m256; 2];

    const BYTE_QUADS: bool = false;
    const HALVING_STEPS_MIN: usize = 48;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat_lane(from: *const u8) -> __m256i {
        // SAFETY: the caller lets 4 bytes be read.
        _mm256_set1_epi32(unsafe { from.cast::<i32>().read_unaligned() })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store_bytes(to: *mut u8, bytes: __m256i) {
        // SAFETY: the caller lets 32 bytes be written.
        unsafe { _mm256_storeu_si256(to.cast(), bytes) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sub_sums(a: __m256i, b: __m256i) -> __m256i {
        _mm256_sub_epi32(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_word_products(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(sums, _mm256_madd_epi16(a, b))
    }

    // Bytes of counts as in `add_ones`; then the four of a lane together.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_ones_by_lane(sums: __m256i, a: __m256i) -> __m256i {
        let table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
        let nibble = _mm256_set1_epi8(0x0f);
        let low = _mm256_shuffle_epi8(table, _mm256_and_si256(a, nibble));
        let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(a), nibble));
        let pairs = _mm256_maddubs_epi16(_mm256_add_epi8(low, high), _mm256_set1_epi8(1));
        _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn from_signed(sums: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(sums)
    }

    // Both halves and the product are exact, so that the one rounding is that of the sum.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn from_unsigned(sums: __m256i) -> __m256 {
        let high = _mm256_cvtepi32_ps(_mm256_srli_epi32::<16>(sums));
        let low = _mm256_cvtepi32_ps(_mm256_and_si256(sums, _mm256_set1_epi32(0xffff)));
        _mm256_fmadd_ps(high, _mm256_set1_ps(65536.0), low)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        _mm256_div_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        _mm256_min_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        _mm256_max_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn replace(values: __m256, bits: __m256i, equal: __m256i, with: __m256) -> __m256 {
        _mm256_blendv_ps(values, with, _mm256_castsi256_ps(_mm256_cmpeq_epi32(bits, equal)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn not_finite(values: __m256) -> u32 {
        let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), values);
        let not_finite = _mm256_cmp_ps::<_CMP_NLT_UQ>(magnitude, _mm256_set1_ps(f32::INFINITY));
        _mm256_movemask_ps(not_finite).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sixteen_load(from: *const f32) -> [__m256; 2] {
        // SAFETY: the caller lets 16 values be read.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sixteen_store(to: *mut f32, values: [__m256; 2]) {
        // SAFETY: the caller lets 16 values be written.
        unsafe {
            _mm256_storeu_ps(to, values[0]);
            _mm256_storeu_ps(to.add(8), values[1]);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sixteen_splat(value: f32) -> [__m256; 2] {
        [_mm256_set1_ps(value); 2]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sixteen_min(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sixteen_max(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sixteen_swap<const DISTANCE: usize>(values: [__m256; 2]) -> [__m256; 2] {
        let [low, high] = values;
        match DISTANCE {
            1 => [_mm256_permute_ps::<0b10_11_00_01>(low), _mm256_permute_ps::<0b10_11_00_01>(high)],
            2 => [_mm256_permute_ps::<0b01_00_11_10>(low), _mm256_permute_ps::<0b01_00_11_10>(high)],
            4 => [_mm256_permute2f128_ps::<1>(low, low), _mm256_permute2f128_ps::<1>(high, high)],
            8 => [high, low],
            _ => unreachable!("a distance of the sorting network"),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sixteen_choose<const MASK: u16>(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // A blend takes its mask as a constant, of which no more is made than this.
        let lanes = |bits: u16| {
            let lane = |i: u16| if bits >> i & 1 == 1 { -1 } else { 0 };
            let mask = _mm256_setr_epi32(lane(0), lane(1), lane(2), lane(3), lane(4), lane(5), lane(6), lane(7));
            _mm256_castsi256_ps(mask)
        };
        [_mm256_blendv_ps(a[0], b[0], lanes(MASK & 0xff)), _mm256_blendv_ps(a[1], b[1], lanes(MASK >> 8))]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sixteen_below(a: [__m256; 2], b: [__m256; 2]) -> u16 {
        let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0]));
        let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1]));
        (low | high << 8) as u16
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sixteen_at_most(a: [__m256; 2], b: [__m256; 2]) -> u16 {
        let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(a[0], b[0]));
        let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(a[1], b[1]));
        (low | high << 8) as u16
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,popcnt")]
    unsafe fn sixteen_compress(to: *mut f32, values: [__m256; 2], mask: u16) {
        let (low, high) = (usize::from(mask & 0xff), usize::from(mask >> 8));
        // SAFETY: the table has a row for each mask of 8 bits; the second 8 values begin at 0 to 8 of the 16 that the caller lets be
        // written.
        unsafe {
            let lanes = |mask: usize| _mm256_cvtepu8_epi32(_mm_loadl_epi64(LANES_OF_MASK[mask].as_ptr().cast()));
            _mm256_storeu_ps(to, _mm256_permutevar8x32_ps(values[0], lanes(low)));
            let to = to.add(low.count_ones() as usize);
            _mm256_storeu_ps(to, _mm256_permutevar8x32_ps(values[1], lanes(high)));
        }
    }

    #[inline(never)]
    #[target_feature(enable = "avx2,fma,f16c,popcnt")]
    unsafe fn block<P: Product<Self>>(a: &Panel, b: &Panel, block: &mut Block<'_>) {
        // 12 registers of sums, 2 of columns, 1 of a row and 1 for a product: of 16.
        // SAFETY: as the caller promises.
        unsafe { product::block::<Self, P, 6, 1, 2, 2>(a, b, block) }
    }

    #[inline(never)]
    #[target_feature(enable = "avx2,fma,f16c,popcnt")]
    unsafe fn candidates(distances: &[f32], k: usize, bound: f32, slack: f32, found: &mut [u32]) -> usize {
        // SAFETY: as the caller promises.
        unsafe { select::candidates::<Self>(distances, k, bound, slack, found) }
    }

    #[inline(never)]
    #[target_feature(enable = "avx2,fma,f16c,popcnt")]
    unsafe fn merge(distances: &mut [f32], ids: &mut [u32], count: usize, k: usize, nearest: &mut Nearest) {
        // SAFETY: as the caller promises.
        unsafe { select::merge::<Self>(distances, ids, count, k, nearest) }
    }
}
