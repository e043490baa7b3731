//! The exact scan, in slices that any core may take.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Hit, SearchRequest, Top};
use crate::collection::Collection;
use crate::limits;
use crate::region::View;

/// An exact scan: its slices are taken one by one, by one core or by several at the same time.
pub struct ScanJob {
    collection: Arc<Collection>,
    request: SearchRequest,
    view: View,
    slices: Vec<Range<u32>>,
    next: AtomicUsize,
    /// Shard that waits for the scan.
    pub owner: usize,
    /// Number that the owner knows it by.
    pub ticket: u64,
}

impl ScanJob {
    /// A scan of the rows of `view` from ordinal `from[shard]` on.
    pub fn new(
        collection: Arc<Collection>,
        request: SearchRequest,
        view: View,
        from: &[u64],
        owner: usize,
        ticket: u64,
    ) -> ScanJob {
        let mut slices = Vec::new();
        for (shard, &start) in from.iter().enumerate() {
            for run in collection.region.runs(shard, start..view.len(shard)) {
                let (first, end) = (collection.region.row(shard, run.slot), run.slots().end - run.slot);
                let starts = (0..end).step_by(limits::SCAN_SLICE_ROWS as usize);
                slices.extend(starts.map(|at| first + at..first + end.min(at + limits::SCAN_SLICE_ROWS)));
            }
        }
        ScanJob { collection, request, view, slices, next: AtomicUsize::new(0), owner, ticket }
    }

    /// Empty results to collect into.
    pub fn tops(&self) -> Vec<Top> {
        (0..self.request.count).map(|_| Top::new(self.request.k)).collect()
    }

    /// Takes the next slice and scans it for every query. False when none is left.
    pub fn run_slice(&self, tops: &mut [Top], scratch: &mut ScanScratch) -> bool {
        // Relaxed: the slices were there before the job was shared, and taking one orders nothing else.
        let Some(slice) = self.slices.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
            return false;
        };
        scratch.rows.clear();
        scratch.rows.extend(slice.clone().filter(|&row| self.collection.region.visible(&self.view, row)));
        scratch.distances.resize(scratch.rows.len(), 0.0);
        let space = &self.collection.vectors[self.request.vector].space;
        let bytes = self.request.queries.len() / self.request.count;
        for (query, top) in self.request.queries.chunks_exact(bytes).zip(tops) {
            space.exact(query, &scratch.rows, &mut scratch.distances);
            for (&row, &distance) in scratch.rows.iter().zip(&scratch.distances) {
                if distance <= top.bound() {
                    top.push(Hit { distance, row });
                }
            }
        }
        true
    }

    /// Scans all slices that are left, here and now.
    pub fn run_all(&self) -> Vec<Top> {
        let (mut tops, mut scratch) = (self.tops(), ScanScratch::default());
        while self.run_slice(&mut tops, &mut scratch) {}
        tops
    }
}

/// Memory of a scan, used again for each slice.
#[derive(Default)]
pub struct ScanScratch {
    rows: Vec<u32>,
    distances: Vec<f32>,
}
