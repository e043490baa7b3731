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
pub(super) const BLOCK_ROWS: usize = 2 * ROWS_MULTIPLE;
/// Most groups of a block: with the rows, 216 KB of sums, which stay in the second cache beside the columns.
const BLOCK_GROUPS_MAX: usize = COLUMNS_MAX / GROUP;
/// What the groups of a block are a multiple of, but for the last.
const BLOCK_GROUPS_MULTIPLE: usize = 6;

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
pub(super) struct Room {
    strip: Vec<Line>,
    sums: Vec<Line>,
    /// Lines of a row of sums.
    stride: usize,
}

impl Room {
    pub fn new(rows: usize, columns: usize) -> Room {
        let rows = rows.next_multiple_of(ROWS_MULTIPLE).min(BLOCK_ROWS);
        // One more, so that rows are no power of two apart, which the caches do not like.
        let stride = columns.div_ceil(GROUP).min(BLOCK_GROUPS_MAX) + 1;
        Room { strip: Vec::new(), sums: vec![Line::ZERO; rows * stride], stride }
    }

    /// The sums of a row of the block.
    fn row(&self, row: usize, groups: usize) -> &[Line] {
        &self.sums[row * self.stride..][..groups]
    }
}

/// What is done with the sums of a row of a block.
pub(super) trait Consumer<V: Lanes, K: TileKernel<V>> {
    /// Takes the sums of row `row` of `a` and the columns of `b` from group `group` on.
    unsafe fn take(&mut self, sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize);
}

/// Works out the sums of all blocks of some rows of `a` and some groups of `b`.
#[inline(always)]
pub(super) unsafe fn blocks<V: Lanes, K: TileKernel<V>>(
    [a, b]: [&Panel; 2],
    rows: Range<usize>,
    groups: Range<usize>,
    room: &mut Room,
    consumer: &mut impl Consumer<V, K>,
) {
    // Blocks of about the same size: there is something to be done for each, however small it is.
    let count = groups.len().div_ceil(BLOCK_GROUPS_MAX).max(1);
    let wide = groups.len().div_ceil(count).next_multiple_of(BLOCK_GROUPS_MULTIPLE);
    for group in groups.clone().step_by(wide.max(1)) {
        let block_groups = group..(group + wide).min(groups.end);
        for row in rows.clone().step_by(BLOCK_ROWS) {
            let block_rows = row..(row + BLOCK_ROWS).min(rows.end);
            let Room { strip, sums, stride } = room;
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
    let mut room = Room::new(a_range.len(), b.len());
    let mut table = Table { start: a_range.start, distances: [0.0; COLUMNS_MAX], out };
    // SAFETY: as the caller promises.
    unsafe { blocks::<V, K>([a, b], a_range, 0..b.len().div_ceil(GROUP), &mut room, &mut table) };
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

/// [`super::Tile::nearest`].
#[inline(always)]
pub(crate) unsafe fn nearest<V: Lanes, K: TileKernel<V>>(a: &Panel, b: &Panel, k: usize, out: &mut [Nearest]) {
    check_panels(TypeId::of::<(V, K)>(), a, b);
    check_nearest(a, k, out);
    out.fill(Nearest::NONE);
    let mut room = Room::new(a.len(), b.len());
    let mut selection = Selection::new(k, out);
    // SAFETY: as the caller promises.
    unsafe { blocks::<V, K>([a, b], 0..a.len(), 0..b.len().div_ceil(GROUP), &mut room, &mut selection) };
}

/// Where the nearest go, and room for one row's distances and for what is found among them.
pub(super) struct Selection<'a> {
    k: usize,
    out: &'a mut [Nearest],
    pub distances: [f32; COLUMNS_MAX],
    columns: [u32; COLUMNS_MAX + GROUP],
    /// What is found for a row and not among its nearest yet begins at [`GROUP`].
    count: usize,
    found_distances: [f32; FOUND_MAX + 2 * GROUP],
    found_ids: [u32; FOUND_MAX + 2 * GROUP],
}

/// All columns of a block, and as many as are gathered before.
const FOUND_MAX: usize = COLUMNS_MAX + GROUP;

impl Selection<'_> {
    pub fn new(k: usize, out: &mut [Nearest]) -> Selection<'_> {
        Selection {
            k,
            out,
            distances: [0.0; COLUMNS_MAX],
            columns: [0; COLUMNS_MAX + GROUP],
            count: 0,
            found_distances: [0.0; FOUND_MAX + 2 * GROUP],
            found_ids: [0; FOUND_MAX + 2 * GROUP],
        }
    }

    /// The distance of the k-th of what a row has found, infinite if it has found fewer.
    pub fn bound(&self, row: usize) -> f32 {
        self.out[row].distances[..self.k].iter().fold(f32::NEG_INFINITY, |max, distance| distance.max(max))
    }

    /// Notes what is found for the row that is merged next.
    #[inline(always)]
    pub fn find(&mut self, distance: f32, id: u32) {
        self.found_distances[GROUP + self.count] = distance;
        self.found_ids[GROUP + self.count] = id;
        self.count += 1;
    }

    /// Puts what is found into the nearest of a row.
    #[inline(always)]
    pub unsafe fn merge<V: Lanes>(&mut self, row: usize) {
        let count = std::mem::take(&mut self.count);
        if count > 0 {
            let room = count + 2 * GROUP;
            let (distances, ids) = (&mut self.found_distances[..room], &mut self.found_ids[..room]);
            // SAFETY: as the caller promises.
            unsafe { V::merge(distances, ids, count, self.k, &mut self.out[row]) }
        }
    }
}

impl<V: Lanes, K: TileKernel<V>> Consumer<V, K> for Selection<'_> {
    #[inline(always)]
    unsafe fn take(&mut self, sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize) {
        let bound = self.bound(row);
        let distances = &mut self.distances[..sums.len() * GROUP];
        // SAFETY: as the caller promises.
        let count = unsafe {
            measure::distances::<V, K, true>(sums, a, row, b, group, distances);
            V::candidates(distances, self.k, bound, 2.0 * K::SLACK, &mut self.columns)
        };
        let first = group * GROUP;
        for place in 0..count {
            let at = self.columns[place] as usize;
            let sum = sums[at / GROUP].0[at % GROUP];
            let distance = K::exact(sum, a, row, b, first + at, self.distances[at]);
            self.find(distance, b.ids[first + at]);
        }
        // SAFETY: as the caller promises.
        unsafe { self.merge::<V>(row) };
    }
}
