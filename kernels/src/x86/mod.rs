//! The instruction sets of x86-64. A file each for the registers (`avx2`, `avx512`) and for the tiles (`amx`); here the shells that
//! compile the generic kernels for them, and the tables.
//!
//! Instructions: Intel Intrinsics Guide,
//! <https://www.intel.com/content/www/us/en/docs/intrinsics-guide/index.html>.

mod amx;
mod amx_detection;
mod avx2;
mod avx2_lanes;
mod avx512;
mod avx512_lanes;

use std::arch::is_x86_feature_detected as has;

use crate::element::{Bf16, Code1, Code4, Code8, F16, F32, I8, I32, U8};
use crate::kind::{ElementKind, Isa, Metric};
use crate::table::{Distance, Kernels, Passes, distances, passes};
use crate::tile::{Tile, tiles};
use crate::{code4, float, integer, wide};

/// The tables that this CPU can run up to an instruction set, in rising order. Each asks for what those before it ask for, too.
pub(crate) fn vector_tables(limit: Isa) -> Vec<&'static Kernels> {
    type Table = (&'static Kernels, fn() -> bool);

    let tables: [Table; 5] = [
        (&AVX2, || has!("avx2") && has!("fma") && has!("f16c") && has!("popcnt")),
        (&AVX512, || has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq")),
        (&AVX512_VNNI, || has!("avx512vnni")),
        (&AVX512_POPCNT, || has!("avx512vpopcntdq")),
        (&AMX, || amx_detection::is_usable(&AMX)),
    ];
    let runs = |(table, is_there): &Table| table.isa <= limit && is_there();
    tables.into_iter().take_while(runs).map(|(table, _)| table).collect()
}

static AVX2: Kernels = table!(Isa::Avx2, shells_avx2);
static AVX512: Kernels = table!(Isa::Avx512, shells_avx512);
static AVX512_VNNI: Kernels = table!(Isa::Avx512Vnni, shells_avx512_vnni);

/// VPOPCNTDQ counts bits; all else is as without it.
static AVX512_POPCNT: Kernels = {
    let mut table = AVX512_VNNI;
    table.isa = Isa::Avx512Popcnt;
    let (kind, metric) = (ElementKind::Bits as usize, Metric::Hamming as usize);
    table.distances[kind][metric] = distances!(@ shells_avx512_popcnt integer::Hamming);
    table.tiles[kind][metric] = tiles!(@ shells_avx512_popcnt integer::Hamming);
    let (kind, metric) = (ElementKind::Code1 as usize, Metric::Dot as usize);
    table.distances[kind][metric] = distances!(@ shells_avx512_popcnt integer::Dot<Code1>);
    table.tiles[kind][metric] = tiles!(@ shells_avx512_popcnt integer::Dot<Code1>);
    table
};

/// AMX-INT8 multiplies tiles of bytes; all else is as without it. AMX-BF16 is not used: it takes subnormal numbers for zero.
static AMX: Kernels = {
    let mut table = AVX512_POPCNT;
    table.isa = Isa::Amx;
    table.tiles[ElementKind::I8 as usize] = tiles!(bytes shells_amx integer I8);
    table.tiles[ElementKind::U8 as usize] = tiles!(bytes shells_amx integer U8);
    table.tiles[ElementKind::Code8 as usize] = tiles!(codes shells_amx integer Code8);
    table.tiles[ElementKind::Code4 as usize] = tiles!(codes shells_amx integer Code4);
    table
};

/// All kernels of one instruction set, from its shells.
macro_rules! table {
    ($isa:expr, $shells:ident) => {
        Kernels {
            isa: $isa,
            distances: distances!($shells, float, integer, wide, code4::L2, code4::Dot),
            tiles: tiles!($shells, float, integer),
            f32: passes!($shells, F32),
            f16: passes!($shells, F16),
            bf16: passes!($shells, Bf16),
            i32: passes!($shells, I32),
            abs_max_f32: $shells::abs_max_f32,
            widen_f16: $shells::widen_f16,
            mark_words: $shells::mark_words,
        }
    };
}
use table;

/// Makes a module with the shells of one instruction set: each a safe function around one with the target features, into which
/// the generic kernel is inlined.
macro_rules! shells {
    ($module:ident, $vector:ty, $features:literal) => {
        #[allow(dead_code, reason = "a table may take some from another")]
        mod $module {
            use std::ops::Range;

            use crate::bulk;
            use crate::float_element::FloatElement;
            use crate::kernel::Kernel;
            use crate::rows::Rows;
            use crate::tile::measure::TileKernel;
            use crate::tile::{Nearest, Panel, drive, within};
            use crate::words;

            shells!(@ $features,
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
                mark_words[](text: &[u8], lowered: &mut [u8], marks: &mut [u64]) -> bool
                    = words::mark_words::<$vector>;
            );
        }
    };
    (@ $features:literal, $(
        $name:ident[$($generic:ident: $bound:path)?]($($argument:ident: $type:ty),*) -> $result:ty = $kernel:expr;
    )*) => {
        $(
            pub(super) fn $name $(<$generic: $bound>)? ($($argument: $type),*) -> $result {
                #[target_feature(enable = $features)]
                fn inner $(<$generic: $bound>)? ($($argument: $type),*) -> $result {
                    // SAFETY: this function has the target features of the vector type.
                    unsafe { $kernel($($argument),*) }
                }
                // SAFETY: a shell is reached through a table alone, which `vector_tables` hands out only where the CPU has
                // the features: that is what makes the shells sound.
                unsafe { inner $(::<$generic>)? ($($argument),*) }
            }
        )*
    };
}

shells!(shells_avx2, crate::x86::avx2::Avx2, "avx2,fma,f16c,popcnt");
shells!(
    shells_avx512,
    crate::x86::avx512::Avx512<{ crate::x86::avx512::PLAIN }>,
    "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c,popcnt"
);
shells!(
    shells_avx512_vnni,
    crate::x86::avx512::Avx512<{ crate::x86::avx512::VNNI }>,
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c,popcnt"
);
shells!(
    shells_avx512_popcnt,
    crate::x86::avx512::Avx512<{ crate::x86::avx512::POPCNT }>,
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt"
);
shells!(
    shells_amx,
    crate::x86::avx512::Avx512<{ crate::x86::avx512::AMX }>,
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt"
);
