//! From panels to distances and neighbours: blocks of a few rows and a strip of columns, each used and forgotten.

use std::any::TypeId;
use std::ops::Range;

use super::lanes::Lanes;
use super::measure::{RowTerms, TileKernel};
use super::product::{Block, ROWS_MULTIPLE};
use super::select::COLUMNS_MAX;
use super::{GROUP, Line, Nearest, Panel, check_distances, check_nearest, check_panels};
use crate::rows::Rows;
use crate::scalar::check_lengths;

/// Rows of a block.
const BLOCK_ROWS: usize = 2 * ROWS_MULTIPLE;
/// Groups of a block: with the rows, 180 KB of sums, which stay in the second cache beside the columns.
const BLOCK_GROUPS: usize = COLUMNS_MAX / GROUP;

/// [`super::Tile::pack`].
///
/// # Safety
/// Here and below: the CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn pack<V: Lanes, K: TileKernel<V>>(rows: Rows<'_>, ids: &[u32], panel: &mut Panel) {
    panel.kernel = Some(TypeId::of::<(V, K)>());
    panel.reset(ids, rows.row_bytes(), K::steps(rows.row_bytes()));
    let Some(first) = ids.first() else { return };
    check_lengths(rows.get(*first), rows.get(*first), K::ELEMENT_BYTES);
    let ahead = rows.rows_ahead();
    for id in ids.iter().take(ahead) {
        rows.prefetch(*id);
    }
    for (place, id) in ids.iter().enumerate() {
        if let Some(next) = ids.get(place + ahead) {
            rows.prefetch(*next);
        }
        // SAFETY: as the caller promises; `check_lengths` has seen a row, and all have the same length.
        let terms = unsafe { K::lay(rows.get(*id), panel.lane(place)) };
        let RowTerms { as_row, as_column, squares, norm } = terms;
        panel.terms.as_row[place] = as_row;
        panel.terms.as_column[place] = as_column;
        panel.terms.squares[place] = squares;
        panel.terms.norms[place] = norm;
    }
}

/// Memory for the blocks of one call.
struct Room {
    strip: Vec<Line>,
    sums: Vec<Line>,
    /// Lines of a row of sums.
    stride: usize,
}

impl Room {
    fn new(rows: usize, groups: usize) -> Room {
        let rows = rows.next_multiple_of(ROWS_MULTIPLE).min(BLOCK_ROWS);
        // One more, so that rows are no power of two apart, which the caches do not like.
        let stride = groups.min(BLOCK_GROUPS) + 1;
        Room { strip: Vec::new(), sums: vec![Line::ZERO; rows * stride], stride }
    }

    /// The sums of a row of the block.
    fn row(&self, row: usize, groups: usize) -> &[Line] {
        &self.sums[row * self.stride..][..groups]
    }
}

/// Works out the sums of all blocks of some rows of `a` and all of `b`, and calls `each` for each row of a block, with the sums
/// and the first group.
#[inline(always)]
unsafe fn blocks<V: Lanes, K: TileKernel<V>>(
    a: &Panel,
    rows: Range<usize>,
    b: &Panel,
    mut each: impl FnMut(&[Line], usize, usize),
) {
    let groups = b.len().div_ceil(GROUP);
    let mut room = Room::new(rows.len(), groups);
    for group in (0..groups).step_by(BLOCK_GROUPS) {
        let block_groups = group..(group + BLOCK_GROUPS).min(groups);
        for row in rows.clone().step_by(BLOCK_ROWS) {
            let block_rows = row..(row + BLOCK_ROWS).min(rows.end);
            let Room { strip, sums, stride } = &mut room;
            let mut block =
                Block { rows: block_rows.clone(), groups: block_groups.clone(), strip, sums, stride: *stride };
            // SAFETY: as the caller promises.
            unsafe { V::block::<K::Product>(a, b, &mut block) };
            for row in block_rows.clone() {
                each(room.row(row - block_rows.start, block_groups.len()), row, group);
            }
        }
    }
}

/// [`super::Tile::distances`].
#[inline(always)]
pub(crate) unsafe fn distances<V: Lanes, K: TileKernel<V>>(
    a: &Panel,
    a_range: Range<usize>,
    b: &Panel,
    out: &mut [f32],
) {
    check_panels(TypeId::of::<(V, K)>(), a, b);
    check_distances(a, &a_range, b, out);
    let start = a_range.start;
    let mut block_distances = [0.0; COLUMNS_MAX];
    // SAFETY: as the caller promises.
    unsafe {
        blocks::<V, K>(a, a_range, b, |sums, row, group| {
            let block_distances = &mut block_distances[..sums.len() * GROUP];
            K::exact(sums, a, row, b, group, block_distances);
            let column = group * GROUP;
            let count = block_distances.len().min(b.len() - column);
            out[(row - start) * b.len() + column..][..count].copy_from_slice(&block_distances[..count]);
        });
    }
}

/// [`super::Tile::nearest_within`].
#[inline(always)]
pub(crate) unsafe fn nearest_within<V: Lanes, K: TileKernel<V>>(panel: &Panel, k: usize, out: &mut [Nearest]) {
    // SAFETY: as the caller promises.
    unsafe { nearest::<V, K>(panel, panel, k, out) }
}

/// [`super::Tile::nearest`].
#[inline(always)]
pub(crate) unsafe fn nearest<V: Lanes, K: TileKernel<V>>(a: &Panel, b: &Panel, k: usize, out: &mut [Nearest]) {
    check_panels(TypeId::of::<(V, K)>(), a, b);
    check_nearest(a, k, out);
    out.fill(Nearest::NONE);
    let mut selection = Selection::new();
    // SAFETY: as the caller promises.
    unsafe {
        blocks::<V, K>(a, 0..a.len(), b, |sums, row, group| {
            selection.offer::<V, K>(sums, a, row, b, group, k, &mut out[row]);
        });
    }
}

/// Room for one row's distances and for what is found among them.
struct Selection {
    distances: [f32; COLUMNS_MAX],
    columns: [u32; COLUMNS_MAX + GROUP],
    found_distances: [f32; COLUMNS_MAX + 2 * GROUP],
    found_ids: [u32; COLUMNS_MAX + 2 * GROUP],
}

impl Selection {
    fn new() -> Selection {
        Selection {
            distances: [0.0; COLUMNS_MAX],
            columns: [0; COLUMNS_MAX + GROUP],
            found_distances: [0.0; COLUMNS_MAX + 2 * GROUP],
            found_ids: [0; COLUMNS_MAX + 2 * GROUP],
        }
    }

    /// Offers a row the columns of a block.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "what a row of a block is made of")]
    unsafe fn offer<V: Lanes, K: TileKernel<V>>(
        &mut self,
        sums: &[Line],
        a: &Panel,
        row: usize,
        b: &Panel,
        group: usize,
        k: usize,
        nearest: &mut Nearest,
    ) {
        let columns = group * GROUP..(group + sums.len()) * GROUP;
        let distances = &mut self.distances[..columns.len()];
        // SAFETY: as the caller promises; a group is a whole number of registers, and ids are padded to groups.
        let count = unsafe {
            K::near(sums, a, row, b, group, distances);
            let own = V::splat_lane(a.ids[row..].as_ptr().cast());
            let ids = &b.padded_ids[columns.clone()];
            for at in (0..distances.len()).step_by(V::FLOATS) {
                let values = V::load_f32(distances.as_ptr().add(at).cast());
                let ids = V::load_bytes(ids.as_ptr().add(at).cast());
                let others = V::replace(values, ids, own, V::splat(f32::INFINITY));
                V::store(distances.as_mut_ptr().add(at), others);
            }
            if columns.end > b.len() {
                distances[b.len() - columns.start..].fill(f32::INFINITY);
            }
            let bound = nearest.distances[..k].iter().fold(f32::NEG_INFINITY, |max, distance| distance.max(max));
            V::candidates(distances, k, bound, 2.0 * K::SLACK, &mut self.columns)
        };
        let found =
            self.columns[..count].iter().zip(&mut self.found_distances[GROUP..]).zip(&mut self.found_ids[GROUP..]);
        for ((at, distance), id) in found {
            let at = *at as usize;
            let sum = sums[at / GROUP].0[at % GROUP];
            *distance = K::one(sum, a, row, b, columns.start + at, distances[at]);
            *id = b.ids[columns.start + at];
        }
        let found = count + 2 * GROUP;
        // SAFETY: as the caller promises.
        unsafe {
            V::merge(&mut self.found_distances[..found], &mut self.found_ids[..found], count, k, nearest);
        }
    }
}
