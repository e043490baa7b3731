//! The scan of rows that no graph holds, in slices that any core may take.
//!
//! An exact search compares full vectors. Another one does as the graph does: it compares int8 codes, a quarter of the memory or
//! less, and ranks the best of them again by their full vectors.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Target, Top, explain};
use crate::hnsw::Space;

/// An exact scan: its slices are taken one by one, by one core or by several at the same time.
pub struct ScanJob {
    target: Target,
    /// Rows, and whether they have codes.
    slices: Vec<(Range<u32>, bool)>,
    /// The queries as codes; empty where codes are not compared.
    codes: Vec<Vec<u8>>,
    next: AtomicUsize,
    /// Shard that waits for the scan.
    pub owner: usize,
    /// Number that the owner knows it by.
    pub ticket: u64,
}

impl ScanJob {
    /// A scan of the rows of the view from ordinal `from[shard]` on, in slices of up to `slice_rows`, for the shard itself.
    pub(super) fn new(target: Target, from: &[u64], slice_rows: u32) -> ScanJob {
        let Target { collection, request, view, selection, .. } = &target;
        let index = &collection.vectors[request.vector];
        let space = &index.coded;
        let uses_codes = !request.exact && index.traverses_codes() && space.is_ready();
        let mut slices = Vec::new();
        for (shard, &start) in from.iter().enumerate() {
            for run in collection.region.runs(shard, start..view.len(shard)) {
                let first = collection.region.row(shard, run.slot);
                for at in (0..run.len).step_by(slice_rows as usize) {
                    let end = run.len.min(at + slice_rows);
                    if selection.as_ref().is_some_and(|selection| selection.is_disjoint(&(first + at..first + end))) {
                        continue;
                    }
                    // Codes of a chunk are made from its front to its end.
                    let has_codes = uses_codes && collection.region.has_code(request.vector, first + end - 1);
                    slices.push((first + at..first + end, has_codes));
                }
            }
        }
        let bytes = request.queries.len() / request.count;
        let encode = |query: &[u8]| {
            let mut code = Vec::new();
            space.encode_query(query, &mut code);
            code
        };
        let codes = if uses_codes { request.queries.chunks_exact(bytes).map(encode).collect() } else { Vec::new() };
        ScanJob { target, slices, codes, next: AtomicUsize::new(0), owner: 0, ticket: 0 }
    }

    /// Slices, taken or not.
    pub fn slices(&self) -> usize {
        self.slices.len()
    }

    /// Empty results to collect into.
    pub fn tops(&self) -> Vec<Top> {
        let request = &self.target.request;
        (0..request.count).map(|_| Top::new(request.held())).collect()
    }

    /// Takes the next slice and scans it for every query. False when none is left.
    pub fn run_slice(&self, tops: &mut [Top], scratch: &mut ScanScratch) -> bool {
        // Relaxed: the slices were there before the job was shared, and taking one orders nothing else.
        let Some((slice, has_codes)) = self.slices.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
            return false;
        };
        let Target { collection, request, counters, .. } = &self.target;
        self.target.rows_in(slice, &mut scratch.rows);
        explain::count(counters, |all| &all.scanned_rows, scratch.rows.len() * request.count);
        scratch.distances.resize(scratch.rows.len(), 0.0);
        let space = &collection.vectors[request.vector].coded;
        if *has_codes {
            let depth = space.rerank_depth(request.held());
            scratch.near.resize_with(request.count, || Top::new(depth));
            for (code, near) in self.codes.iter().zip(&mut scratch.near) {
                space.distances(code, &scratch.rows, &mut scratch.distances);
                near.push_all(&scratch.rows, &scratch.distances);
            }
            return true;
        }
        for (query, top) in self.queries().zip(tops) {
            space.exact(query, &scratch.rows, &mut scratch.distances);
            top.push_all(&scratch.rows, &scratch.distances);
        }
        true
    }

    /// Ranks what was found by codes by its full vectors. To be called once, when no slice is left.
    pub fn rerank(&self, tops: &mut [Top], scratch: &mut ScanScratch) {
        let space = &self.target.collection.vectors[self.target.request.vector].coded;
        for ((query, near), top) in self.queries().zip(scratch.near.drain(..)).zip(tops) {
            scratch.rows.clear();
            scratch.rows.extend(near.into_sorted().iter().map(|hit| hit.row));
            explain::count(&self.target.counters, |all| &all.ranked_rows, scratch.rows.len());
            scratch.distances.resize(scratch.rows.len(), 0.0);
            space.exact(query, &scratch.rows, &mut scratch.distances);
            top.push_all(&scratch.rows, &scratch.distances);
        }
    }

    fn queries(&self) -> impl Iterator<Item = &[u8]> {
        let request = &self.target.request;
        request.queries.chunks_exact(request.queries.len() / request.count)
    }

    /// Scans all slices that are left, here and now.
    pub fn run_all(&self) -> Vec<Top> {
        let (mut tops, mut scratch) = (self.tops(), ScanScratch::default());
        while self.run_slice(&mut tops, &mut scratch) {}
        self.rerank(&mut tops, &mut scratch);
        tops
    }
}

/// Memory of a scan, used again for each slice.
#[derive(Default)]
pub struct ScanScratch {
    rows: Vec<u32>,
    distances: Vec<f32>,
    /// Per query: the nearest by their codes.
    near: Vec<Top>,
}
