//! Distances of many rows to many, block by block: what a matrix product is to an inner product.
//!
//! Both sides are packed into a [`Panel`] first. Then each of the few registers that hold columns is used for several rows, so
//! that the arithmetic waits neither for memory nor for the sum over a register's lanes that each single distance ends with.
//! Nothing of the size of rows × columns is kept: a strip of a few rows is worked out, made use of, and overwritten.
//!
//! Invariants:
//! - Distances of bytes and bits are those of [`crate::Distance`], bit for bit, and so do not depend on the instruction set.
//! - Distances of f32, f16 and bf16 obey the same formulas and rules (no NaN; what overflows is worked out again in `f64`), but
//!   their sums are taken in another order. A sum of n terms is off by no more than (104 + n / 96) × 2⁻²⁴ × Σ|terms|, and a
//!   cosine by that share of 1. Terms of l2 are squares of differences, so what is near stays accurate.
//! - A distance does not depend on the other rows of the panels, nor on where in them a row stands, nor on which side.
//!
//! Layers: `panel.rs` lays rows out, `product.rs` is the multiplication, `measure.rs` with `integer.rs` and `float.rs` makes
//! distances of sums, `select.rs` finds the smallest, `drive.rs` puts them together, `within.rs` for a panel and itself, and
//! `oracle.rs` does it all by the formulas. All but the last are generic over the registers of `lanes.rs`. Where the CPU multiplies
//! whole tiles of bytes, `x86/amx.rs` takes the place of `product.rs`: the layout of the columns is the one that it reads.

use std::any::TypeId;
use std::ops::Range;

use crate::rows::Rows;

pub(crate) mod oracle;
mod table;

#[cfg(target_arch = "x86_64")]
pub(crate) mod drive;
#[cfg(target_arch = "x86_64")]
mod float;
#[cfg(target_arch = "x86_64")]
mod integer;
#[cfg(target_arch = "x86_64")]
pub(crate) mod lanes;
#[cfg(target_arch = "x86_64")]
pub(crate) mod measure;
#[cfg(target_arch = "x86_64")]
pub(crate) mod panel;
#[cfg(target_arch = "x86_64")]
pub(crate) mod product;
#[cfg(target_arch = "x86_64")]
pub(crate) mod select;
#[cfg(target_arch = "x86_64")]
pub(crate) mod within;

pub(crate) use table::tiles;

/// Most neighbours that [`Tile::nearest`] finds of a row.
pub const NEAREST_MAX: usize = 16;

/// Columns that lie side by side.
pub(crate) const GROUP: usize = 16;

/// A cache line: four bytes of each column of a group.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u32; GROUP]);

impl Line {
    pub(crate) const ZERO: Line = Line([0; GROUP]);
}

/// Rows of one kind, gathered and laid out for the tile kernels of one [`Tile`]. Packing again keeps the memory.
#[derive(Debug, Default)]
pub struct Panel {
    /// The kernel that packed it.
    pub(crate) kernel: Option<TypeId>,
    pub(crate) ids: Vec<u32>,
    /// The same up to the end of the last group.
    pub(crate) padded_ids: Vec<u32>,
    /// Bytes of a row as it came.
    pub(crate) row_bytes: usize,
    /// Lines of a group.
    pub(crate) steps: usize,
    /// Group after group, each of `steps` lines; rows that are missing in the last group are zeros.
    pub(crate) lines: Vec<Line>,
    /// What belongs to each row, up to the end of the last group.
    pub(crate) terms: Terms,
    /// The rows as they came: for the scalar kernels.
    pub(crate) bytes: Vec<u8>,
}

/// What is worked out once for each row; what it means, the kernel knows.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// Added to a sum, modulo 2³², if the row is one of `a`.
    pub as_row: Vec<u32>,
    /// Added to a sum, modulo 2³², if the row is one of `b`.
    pub as_column: Vec<u32>,
    /// Exact squared norms.
    pub squares: Vec<u32>,
    /// Norms, or their reciprocals.
    pub norms: Vec<f32>,
}

impl Panel {
    /// A panel of no rows.
    pub fn new() -> Panel {
        Panel::default()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The ids of the rows, in the order in which they were packed.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }
}

/// The nearest of one row, in no order. Places that are not used hold +infinity and `u32::MAX`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Nearest {
    /// Their distances.
    pub distances: [f32; NEAREST_MAX],
    /// Their ids.
    pub ids: [u32; NEAREST_MAX],
}

impl Nearest {
    /// No neighbour.
    pub const NONE: Nearest = Nearest { distances: [f32::INFINITY; NEAREST_MAX], ids: [u32::MAX; NEAREST_MAX] };
}

/// The tile kernels of one element kind under one metric.
///
/// All but `pack` panic if a panel was packed by another `Tile`, or if two panels hold rows of different size.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// Lays out rows by id. Panics if an id is not below the number of rows, or if a row holds no whole number of
    /// elements, or more than [`crate::MAX_DIMENSION`].
    pub pack: fn(rows: Rows<'_>, ids: &[u32], panel: &mut Panel),
    /// Of each row of `a` the `k` nearest rows of `b`: `out[i]` for row `i`. What `out` holds before does not matter. Rows of the same
    /// id are no neighbours, nor are rows at an infinite distance. Of rows at the same distance as the last, any may be
    /// taken. Panics if `k` is not 1 to [`NEAREST_MAX`], or if `out` is not as long as `a`.
    pub nearest: fn(a: &Panel, b: &Panel, k: usize, out: &mut [Nearest]),
    /// The same of a panel with itself.
    pub nearest_within: fn(panel: &Panel, k: usize, out: &mut [Nearest]),
    /// All distances of some rows of `a` to all of `b`: that of rows `i` and `j` at
    /// `out[(i - a_range.start) * b.len() + j]`. Panics if `out` has another length.
    pub distances: fn(a: &Panel, a_range: Range<usize>, b: &Panel, out: &mut [f32]),
}

/// What every tile kernel asks of its panels.
#[inline(always)]
pub(crate) fn check_panels(kernel: TypeId, a: &Panel, b: &Panel) {
    let packed = |panel: &Panel| panel.is_empty() || panel.kernel == Some(kernel);
    assert!(packed(a) && packed(b), "a panel was packed by another tile kernel");
    assert!(
        a.is_empty() || b.is_empty() || a.row_bytes == b.row_bytes,
        "rows of {} and of {} bytes",
        a.row_bytes,
        b.row_bytes
    );
}

/// What `nearest` asks besides.
#[inline(always)]
pub(crate) fn check_nearest(a: &Panel, k: usize, out: &[Nearest]) {
    assert!((1..=NEAREST_MAX).contains(&k), "{k} neighbours, and 1 to {NEAREST_MAX} can be had");
    assert!(out.len() == a.len(), "{} rows, room for the neighbours of {}", a.len(), out.len());
}

/// What `distances` asks besides.
#[inline(always)]
pub(crate) fn check_distances(a: &Panel, a_range: &Range<usize>, b: &Panel, out: &[f32]) {
    assert!(a_range.start <= a_range.end && a_range.end <= a.len(), "rows {a_range:?} of {}", a.len());
    let distances = a_range.len() * b.len();
    assert!(out.len() == distances, "{distances} distances, room for {}", out.len());
}
