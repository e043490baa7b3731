//! The nearest of each row of a panel in the panel itself, each distance worked out once and offered to both rows.
//!
//! ```text
//!          0     FIRST                 n
//!        0 ┌─────┬──────────────────────┐
//!          │  1  │                      │   1: first columns, first rows: all distances; the rows pick
//!    FIRST ├─────┼───┬──────────────────┤   2: first columns, other rows: the rows pick, and the columns are offered
//!          │     │ 3 │  3               │   3: block after block of rows, from the diagonal on: the same; a block's
//!          │  2  └───┼───┬──────────────┤      own square is whole, so its columns are not offered
//!          │         │ 3 │  3           │
//!          │         └───┼──────────────┤
//!        n └─────────────┴──────────────┘
//! ```
//!
//! A row picks as in `select.rs`. A column takes what is nearer than the worst that it has, by one comparison of sixteen columns, and
//! gathers some before it looks which are the nearest. Because every row has picked among the first columns before it
//! is offered anything, that is seldom. It costs as much as some hundred steps of the multiplication, though, so that panels of
//! short rows or few rows are taken as two ([`Lanes::HALVING_STEPS_MIN`]).

use std::any::TypeId;

use super::drive::{BLOCK_ROWS, Consumer, Room, Selection, blocks};
use super::lanes::Lanes;
use super::measure::TileKernel;
use super::{GROUP, Line, Nearest, Panel, check_nearest, check_panels};

/// The columns that all rows pick among. What is lost by not halving the work in their square is small from some
/// [`ROWS_MIN`] rows on.
const FIRST: usize = 4 * BLOCK_ROWS;
/// From so many rows on it is quicker to offer each distance to both rows.
const ROWS_MIN: usize = 3 * FIRST;

const _: () = assert!(BLOCK_ROWS.is_multiple_of(GROUP));

/// [`super::Tile::nearest_within`].
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn nearest_within<V: Lanes, K: TileKernel<V>>(panel: &Panel, k: usize, out: &mut [Nearest]) {
    check_panels(TypeId::of::<(V, K)>(), panel, panel);
    check_nearest(panel, k, out);
    out.fill(Nearest::NONE);
    let mut room = Room::new(panel.len(), panel.len());
    let mut both = Both::new(panel, Selection::new(k, out));
    let rows = panel.len();
    let groups = rows.div_ceil(GROUP);
    let panels = [panel; 2];
    // SAFETY: as the caller promises.
    unsafe {
        if rows < ROWS_MIN || panel.steps < V::HALVING_STEPS_MIN {
            blocks::<V, K>(panels, 0..rows, 0..groups, &mut room, &mut both);
            return;
        }
        let first = 0..FIRST / GROUP;
        blocks::<V, K>(panels, 0..FIRST, first.clone(), &mut room, &mut both);
        both.offered_from = 0;
        blocks::<V, K>(panels, FIRST..rows, first, &mut room, &mut both);
        for row in (FIRST..rows).step_by(BLOCK_ROWS) {
            let block_rows = row..(row + BLOCK_ROWS).min(rows);
            // The last block is nothing but a square, which need not end with a group.
            both.offered_from = if block_rows.end == rows { usize::MAX } else { block_rows.end };
            blocks::<V, K>(panels, block_rows, row / GROUP..groups, &mut room, &mut both);
        }
        for row in 0..rows {
            both.settle::<V>(row);
        }
    }
}

/// What a row has taken and not looked at: distances and ids.
type Gathered = [(f32, u32); GROUP];

/// Both rows of each distance.
struct Both<'a> {
    selection: Selection<'a>,
    /// The first column that is offered distances, the first of a group. None is at first.
    offered_from: usize,
    /// Of each row, what a distance has to be below to be gathered. Whole groups.
    bounds: Vec<f32>,
    /// How many each row has gathered, fewer than it has room for.
    counts: Vec<u8>,
    gathered: Vec<Gathered>,
}

impl Both<'_> {
    fn new<'a>(panel: &Panel, selection: Selection<'a>) -> Both<'a> {
        Both {
            selection,
            offered_from: usize::MAX,
            // What is no row takes nothing.
            bounds: vec![f32::NEG_INFINITY; panel.padded_ids.len()],
            counts: vec![0; panel.len()],
            gathered: vec![[(0.0, 0); GROUP]; panel.len()],
        }
    }

    /// Puts what a row has gathered into its nearest.
    #[inline(always)]
    unsafe fn settle<V: Lanes>(&mut self, row: usize) {
        self.find_gathered(row);
        // SAFETY: as the caller promises.
        unsafe { self.selection.merge::<V>(row) };
    }

    /// Counts what a row has gathered among what is found for it.
    #[inline(always)]
    fn find_gathered(&mut self, row: usize) {
        let count = std::mem::take(&mut self.counts[row]);
        for (distance, id) in &self.gathered[row][..usize::from(count)] {
            self.selection.find(*distance, *id);
        }
    }

    /// Offers the distances of a row, which the selection still has, to the columns from the first of `group` on.
    #[inline(always)]
    unsafe fn offer<V: Lanes, K: TileKernel<V>>(&mut self, sums: &[Line], panel: &Panel, row: usize, group: usize) {
        let skipped = (self.offered_from / GROUP).saturating_sub(group);
        for (at, sums) in sums.iter().enumerate().skip(skipped) {
            let column = (group + at) * GROUP;
            let bounds = &self.bounds[column..column + GROUP];
            let distances = &self.selection.distances[at * GROUP..(at + 1) * GROUP];
            // SAFETY: the caller has checked the CPU; both slices are sixteen values.
            let mut near =
                unsafe { V::sixteen_below(V::sixteen_load(distances.as_ptr()), V::sixteen_load(bounds.as_ptr())) };
            while near != 0 {
                let lane = near.trailing_zeros() as usize;
                near &= near - 1;
                let distance = self.selection.distances[at * GROUP + lane];
                let exact = K::exact(sums.0[lane], panel, row, panel, column + lane, distance);
                let count = &mut self.counts[column + lane];
                self.gathered[column + lane][usize::from(*count)] = (exact, panel.ids[row]);
                *count += 1;
                if usize::from(*count) == GROUP {
                    // SAFETY: as the caller promises.
                    unsafe { self.settle::<V>(column + lane) };
                    self.bounds[column + lane] = self.selection.bound(column + lane) + 2.0 * K::SLACK;
                }
            }
        }
    }
}

impl<V: Lanes, K: TileKernel<V>> Consumer<V, K> for Both<'_> {
    #[inline(always)]
    unsafe fn take(&mut self, sums: &[Line], a: &Panel, row: usize, b: &Panel, group: usize) {
        self.find_gathered(row);
        // SAFETY: as the caller promises.
        unsafe {
            Consumer::<V, K>::take(&mut self.selection, sums, a, row, b, group);
            self.bounds[row] = self.selection.bound(row) + 2.0 * K::SLACK;
            if self.offered_from < usize::MAX {
                self.offer::<V, K>(sums, a, row, group);
            }
        }
    }
}
