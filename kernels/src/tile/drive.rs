//! From panels to distances and neighbours: blocks of a few rows and a strip of columns, each used and forgotten.

use std::any::TypeId;
use std::ops::Range;

use super::lanes::Lanes;
use super::measure::{self, RowTerms, TileKernel};
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

/// What is done with the sums of a row of a block.
trait Consumer<V: Lanes, K: TileKernel<V>> {
    /// Takes the sums of row `row` of `a` and the columns of `b` from group `group` on.
    unsafe fn take(&mut self, sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize);
}

/// Works out the sums of all blocks of some rows of `a` and all of `b`.
#[inline(always)]
unsafe fn blocks<V: Lanes, K: TileKernel<V>>(
    a: &Panel,
    rows: Range<usize>,
    b: &Panel,
    consumer: &mut impl Consumer<V, K>,
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
                let sums = room.row(row - block_rows.start, block_groups.len());
                // SAFETY: as the caller promises.
                unsafe { consumer.take(sums, a, row, b, group) };
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
    let mut table = Table { start: a_range.start, distances: [0.0; COLUMNS_MAX], out };
    // SAFETY: as the caller promises.
    unsafe { blocks::<V, K>(a, a_range, b, &mut table) };
}

/// Where all distances go.
struct Table<'a> {
    /// The row that comes first.
    start: usize,
    /// Room for the distances of a row of a block, whole groups.
    distances: [f32; COLUMNS_MAX],
    out: &'a mut [f32],
}

impl<V: Lanes, K: TileKernel<V>> Consumer<V, K> for Table<'_> {
    #[inline(always)]
    unsafe fn take(&mut self, sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize) {
        let distances = &mut self.distances[..sums.len() * GROUP];
        // SAFETY: as the caller promises.
        unsafe { measure::distances::<V, K, false>(sums, a, row, b, group, distances) };
        let first = group * GROUP;
        let count = distances.len().min(b.len() - first);
        if K::SLACK > 0.0 {
            for (at, distance) in distances[..count].iter_mut().enumerate() {
                *distance = K::exact(sums[at / GROUP].0[at % GROUP], a, row, b, first + at, *distance);
            }
        }
        self.out[(row - self.start) * b.len() + first..][..count].copy_from_slice(&distances[..count]);
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
    let mut selection = Selection::new(k, out);
    // SAFETY: as the caller promises.
    unsafe { blocks::<V, K>(a, 0..a.len(), b, &mut selection) };
}

/// Where the nearest go, and room for one row's distances and for what is found among them.
struct Selection<'a> {
    k: usize,
    out: &'a mut [Nearest],
    distances: [f32; COLUMNS_MAX],
    columns: [u32; COLUMNS_MAX + GROUP],
    found_distances: [f32; COLUMNS_MAX + 2 * GROUP],
    found_ids: [u32; COLUMNS_MAX + 2 * GROUP],
}

impl Selection<'_> {
    fn new(k: usize, out: &mut [Nearest]) -> Selection<'_> {
        Selection {
            k,
            out,
            distances: [0.0; COLUMNS_MAX],
            columns: [0; COLUMNS_MAX + GROUP],
            found_distances: [0.0; COLUMNS_MAX + 2 * GROUP],
            found_ids: [0; COLUMNS_MAX + 2 * GROUP],
        }
    }
}

impl<V: Lanes, K: TileKernel<V>> Consumer<V, K> for Selection<'_> {
    #[inline(always)]
    unsafe fn take(&mut self, sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize) {
        let nearest = &mut self.out[row];
        let distances = &mut self.distances[..sums.len() * GROUP];
        let bound = nearest.distances[..self.k].iter().fold(f32::NEG_INFINITY, |max, distance| distance.max(max));
        // SAFETY: as the caller promises.
        let count = unsafe {
            measure::distances::<V, K, true>(sums, a, row, b, group, distances);
            V::candidates(distances, self.k, bound, 2.0 * K::SLACK, &mut self.columns)
        };
        let first = group * GROUP;
        for (place, at) in self.columns[..count].iter().enumerate() {
            let at = *at as usize;
            let sum = sums[at / GROUP].0[at % GROUP];
            self.found_distances[GROUP + place] = K::exact(sum, a, row, b, first + at, distances[at]);
            self.found_ids[GROUP + place] = b.ids[first + at];
        }
        let found = count + 2 * GROUP;
        // SAFETY: as the caller promises.
        unsafe {
            V::merge(&mut self.found_distances[..found], &mut self.found_ids[..found], count, self.k, nearest);
        }
    }
}
