//! Tiles by the formulas of `scalar.rs`, one distance after the other: what the others are held against.

use std::any::TypeId;
use std::ops::Range;

use super::{Nearest, Panel, check_distances, check_nearest, check_panels};
use crate::rows::Rows;
use crate::scalar::Formula;

/// [`super::Tile::pack`].
pub(crate) fn pack<F: Formula + 'static>(rows: Rows<'_>, ids: &[u32], panel: &mut Panel) {
    panel.kernel = Some(TypeId::of::<F>());
    panel.row_bytes = rows.row_bytes();
    panel.ids.clear();
    panel.ids.extend_from_slice(ids);
    panel.bytes.clear();
    for (place, id) in ids.iter().enumerate() {
        let row = rows.get(*id);
        if place == 0 {
            F::distance(row, row); // panics over a row that is none
        }
        panel.bytes.extend_from_slice(row);
    }
}

/// [`super::Tile::distances`].
pub(crate) fn distances<F: Formula + 'static>(a: &Panel, a_range: Range<usize>, b: &Panel, out: &mut [f32]) {
    check_panels(TypeId::of::<F>(), a, b);
    check_distances(a, &a_range, b, out);
    for (place, out) in out.iter_mut().enumerate() {
        *out = F::distance(row(a, a_range.start + place / b.len()), row(b, place % b.len()));
    }
}

/// [`super::Tile::nearest`].
pub(crate) fn nearest<F: Formula + 'static>(a: &Panel, b: &Panel, k: usize, out: &mut [Nearest]) {
    check_panels(TypeId::of::<F>(), a, b);
    check_nearest(a, k, out);
    let mut found = Vec::new();
    for (i, out) in out.iter_mut().enumerate() {
        found.clear();
        found.extend(
            (0..b.len())
                .filter(|j| a.ids[i] != b.ids[*j])
                .map(|j| (F::distance(row(a, i), row(b, j)), b.ids[j]))
                .filter(|(distance, _)| *distance < f32::INFINITY),
        );
        found.sort_by(|x, y| x.0.total_cmp(&y.0));
        *out = Nearest::NONE;
        for (place, (distance, id)) in found.iter().take(k).enumerate() {
            out.distances[place] = *distance;
            out.ids[place] = *id;
        }
    }
}

/// [`super::Tile::nearest_within`].
pub(crate) fn nearest_within<F: Formula + 'static>(panel: &Panel, k: usize, out: &mut [Nearest]) {
    nearest::<F>(panel, panel, k, out);
}

fn row(panel: &Panel, row: usize) -> &[u8] {
    &panel.bytes[row * panel.row_bytes..][..panel.row_bytes]
}
