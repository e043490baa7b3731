//! The instruction sets of x86-64. A file each for the registers (`avx2`, `avx512`); here the shells that compile
//! the generic kernels for them, and the tables.
//!
//! Instructions: Intel Intrinsics Guide,
//! <https://www.intel.com/content/www/us/en/docs/intrinsics-guide/index.html>.

mod avx2;
mod avx2_lanes;
mod avx512;
mod avx512_lanes;

use std::arch::is_x86_feature_detected as has;

use crate::table::Kernels;

/// The tables that this CPU can run, in rising order.
pub(crate) fn vector_tables() -> Vec<&'static Kernels> {
    let mut tables = Vec::new();
    if has!("avx2") && has!("fma") && has!("f16c") && has!("popcnt") {
        tables.push(&shells_avx2::TABLE);
        if has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq") {
            tables.push(&shells_avx512::TABLE);
            if has!("avx512vnni") {
                tables.push(&shells_avx512_vnni::TABLE);
            }
        }
    }
    tables
}

/// Makes a module with the table of one instruction set. Each entry is a safe shell around a function with the
/// target features, into which the generic kernel is inlined.
macro_rules! shells {
    ($module:ident, $isa:expr, $vector:ty, $features:literal) => {
        mod $module {
            use crate::element::{Bf16, Code1, Code4, Code8, F16, F32, I8, I32, U8};
            use crate::kernel::Kernel;
            use crate::kind::Isa;
            use crate::rows::Rows;
            use crate::table::{Distance, Kernels, Passes, distances, passes};
            use crate::tile::{drive, within};
            use crate::tile::measure::TileKernel;
            use crate::tile::{Nearest, Panel, Tile, tiles};
            use crate::{bulk, code4, float, integer, wide};
            use std::ops::Range;

            /// To be handed out only on a CPU that has the features: that is what makes the shells sound.
            pub(super) static TABLE: Kernels = Kernels {
                isa: $isa,
                distances: distances!(shell, float, integer, wide, code4::L2, code4::Dot),
                tiles: tiles!(shell, float, integer),
                f32: passes!(shell, F32),
                f16: passes!(shell, F16),
                bf16: passes!(shell, Bf16),
                i32: passes!(shell, I32),
                abs_max_f32: shell::abs_max_f32,
                widen_f16: shell::widen_f16,
            };

            shells!(@ $vector, $features,
                pair[K: Kernel<$vector>](a: &[u8], b: &[u8]) -> f32 = crate::kernel::pair::<$vector, K>;
                rows[K: Kernel<$vector>](query: &[u8], rows: Rows<'_>, ids: &[u32], out: &mut [f32]) -> ()
                    = crate::kernel::rows::<$vector, K>;
                pack[K: TileKernel<$vector>](rows: Rows<'_>, ids: &[u32], panel: &mut Panel) -> ()
                    = drive::pack::<$vector, K>;
                nearest[K: TileKernel<$vector>](a: &Panel, b: &Panel, k: usize, out: &mut [Nearest]) -> ()
                    = drive::nearest::<$vector, K>;
                nearest_within[K: TileKernel<$vector>](panel: &Panel, k: usize, out: &mut [Nearest]) -> ()
                    = within::nearest_within::<$vector, K>;
                distances[K: TileKernel<$vector>](a: &Panel, a_range: Range<usize>, b: &Panel, out: &mut [f32]) -> ()
                    = drive::distances::<$vector, K>;
                all_finite[E: FloatElement](vector: &[u8]) -> bool = bulk::all_finite::<$vector, E>;
                norm_squared[E: FloatElement](vector: &[u8]) -> f32 = bulk::norm_squared::<$vector, E>;
                copy_norm_squared[E: FloatElement](from: &[u8], to: &mut [u8]) -> f32
                    = bulk::copy_norm_squared::<$vector, E>;
                encode_code8[E: FloatElement](vector: &[u8], inverse_scale: f32, codes: &mut [u8]) -> u32
                    = bulk::encode_code8::<$vector, E>;
                encode_code4[E: FloatElement](vector: &[u8], inverse_scale: f32, codes: &mut [u8]) -> u32
                    = bulk::encode_code4::<$vector, E>;
                abs_max_f32[](values: &[f32]) -> f32 = bulk::abs_max_f32::<$vector>;
                widen_f16[](src: &[u8], dst: &mut [f32]) -> () = bulk::widen_f16::<$vector>;
            );
        }
    };
    (@ $vector:ty, $features:literal, $(
        $name:ident[$($generic:ident: $bound:path)?]($($argument:ident: $type:ty),*) -> $result:ty = $kernel:expr;
    )*) => {
        mod shell {
            use super::*;
            use crate::float_element::FloatElement;

            $(
                pub(super) fn $name $(<$generic: $bound>)? ($($argument: $type),*) -> $result {
                    #[target_feature(enable = $features)]
                    fn inner $(<$generic: $bound>)? ($($argument: $type),*) -> $result {
                        // SAFETY: this function has the target features of the vector type.
                        unsafe { $kernel($($argument),*) }
                    }
                    // SAFETY: a shell is reached through its table alone, which `vector_tables` hands out
                    // only where the CPU has the features.
                    unsafe { inner $(::<$generic>)? ($($argument),*) }
                }
            )*
        }
    };
}

shells!(shells_avx2, Isa::Avx2, crate::x86::avx2::Avx2, "avx2,fma,f16c,popcnt");
shells!(
    shells_avx512,
    Isa::Avx512,
    crate::x86::avx512::Avx512<false>,
    "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c,popcnt"
);
shells!(
    shells_avx512_vnni,
    Isa::Avx512Vnni,
    crate::x86::avx512::Avx512<true>,
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c,popcnt"
);
