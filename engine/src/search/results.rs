//! From the hits that are held for a query to those that are returned.
//!
//! Some are held that are not wanted in the end: those that are passed over, and rows that are left out, by their ids. A row that is left
//! out may be replaced while it is searched for, so rows do not tell which they are.

use super::{Hit, SearchRequest};
use crate::collection::Collection;
use crate::schema::VectorColumn;

impl SearchRequest {
    /// Whether all hits that are held are returned.
    pub fn is_plain(&self) -> bool {
        self.offset == 0 && self.threshold.is_none() && self.left_out.is_none() && self.grouping.is_none()
    }

    /// Hits that are held for each query; with a grouping, groups.
    pub fn held(&self) -> usize {
        self.k.saturating_add(self.offset).saturating_add(self.left_out_len())
    }

    /// Rows that are left out, at most.
    pub(super) fn left_out_len(&self) -> usize {
        self.left_out.as_ref().map_or(0, |ids| ids.view().len())
    }

    /// Takes those away that are left out.
    pub(super) fn leave_out(&self, collection: &Collection, hits: &mut Vec<Hit>) {
        if let Some(ids) = &self.left_out {
            // There are few of both.
            hits.retain(|hit| !ids.view().iter().any(|id| id == collection.region.id(hit.row)));
        }
    }

    /// Takes away what is not wanted of the hits of a query, which are ordered.
    pub(super) fn trim(&self, collection: &Collection, hits: &mut Vec<Hit>) {
        self.leave_out(collection, hits);
        if let Some(threshold) = &self.threshold {
            let column = &collection.spec.schema.vectors()[self.vector];
            hits.truncate(hits.partition_point(|hit| threshold.admits(column, hit.distance)));
        }
        hits.drain(..self.offset.min(hits.len()));
        hits.truncate(self.k);
    }

    /// Whether a distance is within the threshold, if there is one.
    pub(super) fn admits(&self, collection: &Collection, distance: f32) -> bool {
        let column = &collection.spec.schema.vectors()[self.vector];
        self.threshold.is_none_or(|threshold| threshold.admits(column, distance))
    }

    /// How many distances of a column are within the threshold; none where there is no threshold.
    pub(super) fn count_within(&self, column: &VectorColumn, distances: &[f32]) -> usize {
        let Some(threshold) = &self.threshold else { return 0 };
        distances.iter().filter(|&&distance| threshold.admits(column, distance)).count()
    }

    /// Candidates that the search of a graph begins with, where it may take up to `most`.
    pub(super) fn ef_first(&self, most: usize) -> usize {
        let is_open = self.threshold.is_some() || self.grouping.is_some();
        if is_open { self.ef_first.clamp(1, most) } else { most }
    }
}
