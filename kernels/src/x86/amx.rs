//! AMX-INT8: the multiplication of whole tiles, in place of `tile/product.rs` for bytes.
//!
//! ```text
//! tmm0 … tmm2   sums       16 rows × 16 columns of 32 bits
//! tmm3 … tmm5   rows       16 rows × 16 steps of four signed bytes: from the strip
//! tmm6          columns    16 steps × 16 columns of four unsigned bytes: lines of a panel as they are
//! ```
//!
//! TDPBSUD adds to each sum the products of sixteen steps, modulo 2³². All rows of a block are multiplied while a tile of columns is
//! at hand, so that the columns, which may come from the second cache, are read once.
//!
//! Stable Rust has no intrinsics for AMX, so this is assembly. What tiles hold does not outlive one `asm!`. Their shapes are set by
//! [`Shapes`], which gives all tiles back when it goes; nothing is called in between.
//!
//! Instructions: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, "Programming with Intel AMX", and volume 2.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use crate::tile::product::{Block, QUADS_FLIP};
use crate::tile::{GROUP, Line, Panel};

/// Rows of a tile of rows.
const TILE_ROWS: usize = 16;
/// Steps of a tile of rows or of columns.
const TILE_STEPS: usize = 16;
/// Most tiles of rows.
const ROW_TILES_MAX: usize = 3;
/// Most steps that are summed in one go: so many of three tiles of rows are 24 KB, half of the first cache.
const STEPS_MAX: usize = 8 * TILE_STEPS;
const LINE_BYTES: usize = size_of::<Line>();
const TILE_BYTES: usize = TILE_ROWS * LINE_BYTES;

const _: () = assert!(TILE_ROWS == GROUP && TILE_STEPS * 4 == LINE_BYTES);

/// [`crate::tile::product::block`] of [`crate::tile::product::ByteProducts`].
///
/// # Safety
/// The CPU has AVX-512F and AMX-INT8, and the process may use it.
#[inline(never)]
pub(super) unsafe fn block(a: &Panel, b: &Panel, block: &mut Block<'_>) {
    let (steps, rows, stride) = (a.steps, block.rows.len(), block.stride);
    let row_tiles = rows.div_ceil(TILE_ROWS);
    assert!(b.steps == steps && block.groups.end * steps <= b.lines.len());
    assert!((1..=ROW_TILES_MAX).contains(&row_tiles));
    assert!(block.groups.len() <= stride && rows * stride <= block.sums.len());
    if steps == 0 {
        // Rows of no bytes; their sums are zero all the same.
        block.sums[..rows * stride].fill(Line::ZERO);
    }
    for start in (0..steps).step_by(STEPS_MAX) {
        let slice = start..(start + STEPS_MAX).min(steps);
        let depth = slice.len().min(TILE_STEPS);
        // SAFETY: the caller has checked the CPU.
        unsafe { lay_strip(a, block.rows.clone(), slice.clone(), block.strip) };
        // SAFETY: as the caller promises.
        let shapes = unsafe { Shapes::set(rows, depth) };
        for (place, group) in block.groups.clone().enumerate() {
            // SAFETY: the strip has these steps of all rows; the asserts above cover the columns, and the sums of `rows` rows,
            // which the shapes are of.
            unsafe {
                let columns = b.lines.as_ptr().add(group * steps + start);
                let operands = Operands {
                    rows: block.strip.as_ptr(),
                    columns,
                    columns_last: columns.add(slice.len() - depth),
                    tiles: slice.len().div_ceil(TILE_STEPS),
                    sums: block.sums.as_mut_ptr().add(place),
                    stride,
                    is_first: start == 0,
                };
                match row_tiles {
                    1 => multiply_1(operands, &shapes),
                    2 => multiply_2(operands, &shapes),
                    _ => multiply_3(operands, &shapes),
                }
            }
        }
    }
}

/// Copies the rows of a block together, in tiles: the first steps of all rows, then the next. A line has the steps of one row.
/// The last steps begin so early that they are as many as the others, if there are so many at all; what has been there
/// before is zero then.
#[target_feature(enable = "avx512f")]
fn lay_strip(a: &Panel, rows: Range<usize>, slice: Range<usize>, strip: &mut Vec<Line>) {
    let row_tiles = rows.len().div_ceil(TILE_ROWS);
    let depth = slice.len().min(TILE_STEPS);
    strip.resize(slice.len().div_ceil(TILE_STEPS) * row_tiles * TILE_ROWS, Line::ZERO);
    let flip = _mm512_set1_epi8(QUADS_FLIP.cast_signed());
    let lines_of = |group| a.lines.get(group * a.steps..(group + 1) * a.steps).map(|lines| &lines[slice.clone()]);
    for (place, tile) in strip.as_chunks_mut::<TILE_ROWS>().0.iter_mut().enumerate() {
        let row = rows.start + place % row_tiles * TILE_ROWS;
        let (group, lane) = (row / GROUP, row % GROUP);
        let lines = lines_of(group).expect("a group that has rows");
        // Where there is no next group there are no such rows either, and what is in their place is not multiplied.
        let next = lines_of(group + 1).unwrap_or(lines);
        let lanes = _mm512_add_epi32(load(&ONE_BY_ONE), _mm512_set1_epi32(lane as i32));
        let had = place / row_tiles * TILE_STEPS;
        let first = had.min(slice.len() - depth);
        let mut steps = [_mm512_setzero_si512(); TILE_STEPS];
        for step in had..first + depth {
            let sixteen = _mm512_permutex2var_epi32(load(&lines[step]), lanes, load(&next[step]));
            steps[step - first] = _mm512_xor_si512(sixteen, flip);
        }
        for (to, row) in tile.iter_mut().zip(transpose(steps)) {
            // SAFETY: a line is as long as a register.
            unsafe { _mm512_storeu_si512((&raw mut *to).cast(), row) };
        }
    }
}

/// Numbers of lanes.
static ONE_BY_ONE: Line = {
    let mut lanes = [0; GROUP];
    let mut lane = 0;
    while lane < GROUP {
        lanes[lane] = lane as u32;
        lane += 1;
    }
    Line(lanes)
};

/// For distances of 1, 2, 4 and 8: which lanes of two registers, the second's from 16 on, each of the two gets when blocks of so many
/// registers and lanes change places across the diagonal.
static EXCHANGES: [[Line; 2]; 4] = {
    let mut exchanges = [[Line::ZERO; 2]; 4];
    let mut lane = 0;
    while lane < 4 * GROUP {
        let (lane_of, distance) = (lane as u32 % 16, 1 << (lane / GROUP));
        let is_upper = lane_of & distance != 0;
        let [first, second] = &mut exchanges[lane / GROUP];
        first.0[lane % GROUP] = if is_upper { 16 + lane_of - distance } else { lane_of };
        second.0[lane % GROUP] = if is_upper { 16 + lane_of } else { lane_of + distance };
        lane += 1;
    }
    exchanges
};

/// Lane i of register j of what was lane j of register i.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(mut registers: [__m512i; GROUP]) -> [__m512i; GROUP] {
    for (shift, [first, second]) in EXCHANGES.iter().enumerate() {
        let distance = 1 << shift;
        let exchange = [load(first), load(second)];
        for i in 0..GROUP {
            if i & distance == 0 {
                let (a, b) = (registers[i], registers[i + distance]);
                registers[i] = _mm512_permutex2var_epi32(a, exchange[0], b);
                registers[i + distance] = _mm512_permutex2var_epi32(a, exchange[1], b);
            }
        }
    }
    registers
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512i {
    // SAFETY: a line is as long as a register.
    unsafe { _mm512_loadu_si512((&raw const *line).cast()) }
}

/// The shapes of the tiles, set on this thread until this goes. Then the tiles are empty, and the kernel has nothing of them to save.
struct Shapes;

/// What LDTILECFG reads.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

const _: () = assert!(size_of::<TileConfig>() == 64);

impl Shapes {
    /// For so many rows of a block, and so many steps of a tile.
    ///
    /// # Safety
    /// The CPU has AMX, and the process may use it.
    unsafe fn set(rows: usize, steps: usize) -> Shapes {
        debug_assert!((1..=ROW_TILES_MAX * TILE_ROWS).contains(&rows) && (1..=TILE_STEPS).contains(&steps));
        let mut config = TileConfig { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let mut set = |tile: usize, rows: usize, row_bytes: usize| {
            config.rows[tile] = rows as u8;
            config.row_bytes[tile] = row_bytes as u16;
        };
        for tile in 0..rows.div_ceil(TILE_ROWS) {
            let rows = (rows - tile * TILE_ROWS).min(TILE_ROWS);
            set(tile, rows, LINE_BYTES);
            set(ROW_TILES_MAX + tile, rows, steps * 4);
        }
        set(2 * ROW_TILES_MAX, steps, LINE_BYTES);
        // SAFETY: the caller has checked the CPU; the shapes are within its limits.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                config = in(reg) &raw const config,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, readonly),
            );
        }
        Shapes
    }
}

impl Drop for Shapes {
    fn drop(&mut self) {
        // SAFETY: they were set, so the CPU has the instruction.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, nomem),
            );
        }
    }
}

/// What is multiplied: the rows of the strip and one group of columns.
struct Operands {
    rows: *const Line,
    columns: *const Line,
    /// Where the last tile of columns begins.
    columns_last: *const Line,
    /// Tiles of columns, one or more.
    tiles: usize,
    /// The sums of the first row.
    sums: *mut Line,
    /// Lines from the sums of a row to those of the next.
    stride: usize,
    /// Whether the sums are the first ones, and are written. Otherwise they are added.
    is_first: bool,
}

/// Makes a function that multiplies so many tiles of rows. Of each: its registers and its number.
macro_rules! multiply {
    ($name:ident, $row_tiles:literal: $($sums:literal $rows:literal $to:ident $number:literal),+) => {
        /// # Safety
        /// The CPU has AMX-INT8, and the operands are as large as the shapes that are set.
        #[inline]
        unsafe fn $name(operands: Operands, _: &Shapes) {
            let Operands { rows, columns, columns_last, tiles, sums, stride, is_first } = operands;
            // SAFETY: as the caller promises.
            unsafe {
                asm!(
                    "test {is_first:e}, {is_first:e}",
                    "jz 2f",
                    $(concat!("tilezero ", $sums),)+
                    "jmp 3f",
                    "2:",
                    $(concat!("tileloadd ", $sums, ", [{", stringify!($to), "} + {stride}*1]"),)+
                    "3:",
                    "tileloadd tmm6, [{columns} + {line}*1]",
                    $(
                        concat!("tileloadd ", $rows, ", [{rows} + {line}*1 + ", $number, " * {tile}]"),
                        concat!("tdpbsud ", $sums, ", ", $rows, ", tmm6"),
                    )+
                    concat!("add {rows}, ", $row_tiles, " * {tile}"),
                    "add {columns}, {tile}",
                    "cmp {columns}, {columns_last}",
                    "cmova {columns}, {columns_last}",
                    "dec {tiles}",
                    "jnz 3b",
                    $(concat!("tilestored [{", stringify!($to), "} + {stride}*1], ", $sums),)+
                    is_first = in(reg) u32::from(is_first),
                    rows = inout(reg) rows => _,
                    columns = inout(reg) columns => _,
                    columns_last = in(reg) columns_last,
                    tiles = inout(reg) tiles => _,
                    stride = in(reg) stride * LINE_BYTES,
                    line = in(reg) LINE_BYTES,
                    tile = const TILE_BYTES,
                    $($to = in(reg) sums.wrapping_add($number * TILE_ROWS * stride),)+
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

multiply!(multiply_1, 1: "tmm0" "tmm3" to_0 0);
multiply!(multiply_2, 2: "tmm0" "tmm3" to_0 0, "tmm1" "tmm4" to_1 1);
multiply!(multiply_3, 3: "tmm0" "tmm3" to_0 0, "tmm1" "tmm4" to_1 1, "tmm2" "tmm5" to_2 2);

#[cfg(test)]
mod tests {
    use super::{TILE_ROWS, TILE_STEPS, lay_strip};
    use crate::tile::{Line, Panel};

    /// Needs no AMX.
    #[test]
    fn a_strip_has_every_step_of_every_row_once() {
        if !std::arch::is_x86_feature_detected!("avx512f") {
            return;
        }
        for (steps, slice) in [(1, 0..1), (16, 0..16), (37, 0..37), (150, 0..128), (150, 128..150)] {
            let mut panel = Panel::new();
            panel.reset(&(0..50).collect::<Vec<u32>>(), steps * 4, steps);
            for (place, lane) in panel.lines.iter_mut().flat_map(|line| &mut line.0).enumerate() {
                *lane = place as u32 + 1;
            }
            for rows in [0..50, 5..50, 16..32, 31..33, 49..50] {
                let mut strip = vec![Line([7; 16]); 3];
                // SAFETY: the CPU has been asked.
                unsafe { lay_strip(&panel, rows.clone(), slice.clone(), &mut strip) };
                let row_tiles = rows.len().div_ceil(TILE_ROWS);
                let tiles: Vec<&[Line; TILE_ROWS]> = strip.as_chunks().0.iter().collect();
                assert_eq!(tiles.len(), row_tiles * slice.len().div_ceil(TILE_STEPS));
                for (place, row) in rows.clone().enumerate() {
                    let lines = tiles.iter().skip(place / TILE_ROWS).step_by(row_tiles);
                    let laid = lines.flat_map(|tile| tile[place % TILE_ROWS].0).filter(|four| *four != 0);
                    let want = panel.row(row).skip(slice.start).take(slice.len()).map(|four| four ^ 0x8080_8080);
                    assert!(laid.eq(want), "row {row} of {rows:?}, steps {slice:?} of {steps}");
                }
            }
        }
    }
}
