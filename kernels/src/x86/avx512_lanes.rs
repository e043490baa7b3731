//! The 32-bit lanes of AVX-512, with or without what came later.

use std::arch::x86_64::*;

use super::amx;
use super::avx512::{AMX, Avx512, PLAIN, POPCNT, VNNI};
use crate::tile::lanes::Lanes;
use crate::tile::product::{self, Block, Product};
use crate::tile::{Nearest, Panel, select};

impl<const LEVEL: u8> Lanes for Avx512<LEVEL> {
    type Sixteen = __m512;

    const BYTE_QUADS: bool = LEVEL >= VNNI;
    // A step of AMX takes an eighth of the time, by what the CPU is said to do in a cycle.
    const HALVING_STEPS_MIN: usize = if LEVEL == AMX { 1_280 } else { 160 };

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn splat_lane(from: *const u8) -> __m512i {
        // SAFETY: the caller lets 4 bytes be read.
        _mm512_set1_epi32(unsafe { from.cast::<i32>().read_unaligned() })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn store_bytes(to: *mut u8, bytes: __m512i) {
        // SAFETY: the caller lets 64 bytes be written.
        unsafe { _mm512_storeu_si512(to.cast(), bytes) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sub_sums(a: __m512i, b: __m512i) -> __m512i {
        _mm512_sub_epi32(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add_word_products(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(sums, _mm512_madd_epi16(a, b))
    }

    // Bytes of counts as in `add_ones`; then the four of a lane together.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn add_ones_by_lane(sums: __m512i, a: __m512i) -> __m512i {
        if LEVEL >= POPCNT {
            // SAFETY: the level is that of tables for CPUs that have it.
            return _mm512_add_epi32(sums, unsafe { _mm512_popcnt_epi32(a) });
        }
        let table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
        let nibble = _mm512_set1_epi8(0x0f);
        let low = _mm512_shuffle_epi8(table, _mm512_and_si512(a, nibble));
        let high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16::<4>(a), nibble));
        let ones = _mm512_add_epi8(low, high);
        if LEVEL >= VNNI {
            // SAFETY: the level is that of tables for CPUs that have it.
            return unsafe { _mm512_dpbusd_epi32(sums, ones, _mm512_set1_epi8(1)) };
        }
        let pairs = _mm512_maddubs_epi16(ones, _mm512_set1_epi8(1));
        _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn from_signed(sums: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(sums)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn from_unsigned(sums: __m512i) -> __m512 {
        _mm512_cvtepu32_ps(sums)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn replace(values: __m512, bits: __m512i, equal: __m512i, with: __m512) -> __m512 {
        _mm512_mask_mov_ps(values, _mm512_cmpeq_epi32_mask(bits, equal), with)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn not_finite(values: __m512) -> u32 {
        // Quiet and signalling NaN, both infinities.
        u32::from(_mm512_fpclass_ps_mask::<0b1001_1001>(values))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sixteen_load(from: *const f32) -> __m512 {
        // SAFETY: the caller lets 16 values be read.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sixteen_store(to: *mut f32, values: __m512) {
        // SAFETY: the caller lets 16 values be written.
        unsafe { _mm512_storeu_ps(to, values) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sixteen_splat(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sixteen_min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sixteen_max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sixteen_swap<const DISTANCE: usize>(values: __m512) -> __m512 {
        match DISTANCE {
            1 => _mm512_permute_ps::<0b10_11_00_01>(values),
            2 => _mm512_permute_ps::<0b01_00_11_10>(values),
            4 => _mm512_shuffle_f32x4::<0b10_11_00_01>(values, values),
            8 => _mm512_shuffle_f32x4::<0b01_00_11_10>(values, values),
            _ => unreachable!("a distance of the sorting network"),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sixteen_choose<const MASK: u16>(a: __m512, b: __m512) -> __m512 {
        _mm512_mask_mov_ps(a, MASK, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sixteen_below(a: __m512, b: __m512) -> u16 {
        _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sixteen_at_most(a: __m512, b: __m512) -> u16 {
        _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn sixteen_compress(to: *mut f32, values: __m512, mask: u16) {
        // SAFETY: the caller lets 16 values be written, which is quicker than to write only some.
        unsafe { _mm512_storeu_ps(to, _mm512_maskz_compress_ps(mask, values)) }
    }

    #[inline(always)]
    unsafe fn block<P: Product<Self>>(a: &Panel, b: &Panel, block: &mut Block<'_>) {
        // SAFETY: as the caller promises; the level is that of tables for CPUs that have it.
        unsafe {
            match LEVEL {
                PLAIN => block_plain::<LEVEL, P>(a, b, block),
                VNNI => block_vnni::<LEVEL, P>(a, b, block),
                AMX if P::IS_OF_BYTE_QUADS => amx::block(a, b, block),
                _ => block_popcnt::<LEVEL, P>(a, b, block),
            }
        }
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt")]
    unsafe fn candidates(distances: &[f32], k: usize, bound: f32, slack: f32, found: &mut [u32]) -> usize {
        // SAFETY: as the caller promises.
        unsafe { select::candidates::<Self>(distances, k, bound, slack, found) }
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt")]
    unsafe fn merge(distances: &mut [f32], ids: &mut [u32], count: usize, k: usize, nearest: &mut Nearest) {
        // SAFETY: as the caller promises.
        unsafe { select::merge::<Self>(distances, ids, count, k, nearest) }
    }
}

// 24 registers of sums, 3 of columns, 1 of a row: of 32. Once a level, because no instruction of a lower one may be made of others.

/// Makes a function for a level.
macro_rules! block {
    ($name:ident, $features:literal) => {
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn $name<const LEVEL: u8, P: Product<Avx512<LEVEL>>>(a: &Panel, b: &Panel, block: &mut Block<'_>) {
            // SAFETY: as the caller promises.
            unsafe { product::block::<Avx512<LEVEL>, P, 12, 2, 2, 1>(a, b, block) }
        }
    };
}

block!(block_plain, "avx512f,avx512bw,avx512vl,avx512dq");
block!(block_vnni, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");
block!(block_popcnt, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq");
