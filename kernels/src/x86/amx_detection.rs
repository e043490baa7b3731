//! Whether AMX can be used: the CPU has it, the kernel lets the process use it, and what it computes is right.
//!
//! Of the kernel: <https://docs.kernel.org/arch/x86/xstate.html>. A permission is of the whole process, of all its threads, and stays.

use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::OnceLock;

use crate::element::I8;
use crate::kind::{ElementKind, Metric};
use crate::rows::Rows;
use crate::scalar::{self, Formula};
use crate::table::Kernels;
use crate::tile::Panel;

/// Whether the kernels of a table that has AMX may be called. It is found out once.
pub(super) fn is_usable(table: &Kernels) -> bool {
    static IS_USABLE: OnceLock<bool> = OnceLock::new();
    *IS_USABLE.get_or_init(|| has_int8_tiles() && is_permitted() && is_right(table))
}

/// Whether the CPU has AMX-INT8 with tiles of the size that `amx.rs` takes, and the kernel has enabled them.
fn has_int8_tiles() -> bool {
    /// Of leaf 7, EDX.
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    /// Of XCR0: shapes, and what tiles hold.
    const XTILE: u64 = 1 << 17 | 1 << 18;
    const TILE_LEAF: u32 = 0x1d;

    if __cpuid(0).eax < TILE_LEAF || __cpuid_count(7, 0).edx & (AMX_TILE | AMX_INT8) != AMX_TILE | AMX_INT8 {
        return false;
    }
    // SAFETY: whether the CPU and the kernel have it is asked first; the register 0 is always there.
    if !std::arch::is_x86_feature_detected!("xsave") || unsafe { xcr0() } & XTILE != XTILE {
        return false;
    }
    let palette = __cpuid_count(TILE_LEAF, 1);
    let (row_bytes, tiles, rows) = (palette.ebx & 0xffff, palette.ebx >> 16, palette.ecx & 0xffff);
    __cpuid_count(TILE_LEAF, 0).eax >= 1 && row_bytes == 64 && tiles == 8 && rows == 16
}

#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: the register 0 is always there.
    unsafe { _xgetbv(0) }
}

/// Asks the kernel for the permission. It is refused where a thread has a signal stack too small for what is to be saved then.
fn is_permitted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: the call reads and writes no memory of the process.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Whether a small product is what the formula says.
fn is_right(table: &Kernels) -> bool {
    const ROWS: usize = 37;
    // Three tiles of steps and a part of one.
    const ROW_BYTES: usize = 230;

    let bytes: Vec<u8> = (0..ROWS * ROW_BYTES).map(|at| (at * at / 7 + at / 3) as u8).collect();
    let rows = Rows::from_slice(&bytes, ROW_BYTES);
    let ids: Vec<u32> = (0..ROWS as u32).collect();
    let tile = table.tile(ElementKind::I8, Metric::Dot).expect("a tile kernel of i8");
    let mut panel = Panel::new();
    (tile.pack)(rows, &ids, &mut panel);
    let mut distances = vec![0.0; ROWS * ROWS];
    (tile.distances)(&panel, 0..ROWS, &panel, &mut distances);
    let pairs = ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b)));
    pairs.zip(&distances).all(|((a, b), got)| {
        got.to_bits() == <scalar::Dot<I8> as Formula>::distance(rows.get(a), rows.get(b)).to_bits()
    })
}
