//! Exact neighbours, by a scan of all rows on two threads: what an index should have found.

use std::ops::Range;

use arrow::datatypes::ToByteSlice;
use indicatif::ProgressBar;
use kernels::{ElementKind, Metric, Rows};

use super::data::Vectors;

/// Rows that are in the first-level cache while one query after the other comes by: 24 KB of 384 f32.
const BLOCK_ROWS: usize = 16;
/// Queries that are in the second-level cache while all rows come by.
const BLOCK_QUERIES: usize = 256;
/// Distances from which on a scan shows how far it is.
const SHOWN_DISTANCES: usize = 1 << 30;
/// Added to the distance of the last exact result: two ways to compute one distance differ by less.
const TOLERANCE: f32 = 1e-6;

/// Per query, for some numbers of results: the distance up to which a row counts as one of the nearest.
pub struct Truth {
    bars: Vec<(usize, Vec<f32>)>,
}

impl Truth {
    /// Scans for each of `ks`.
    pub fn new(base: &Vectors, queries: &Vectors, ks: &[usize]) -> Truth {
        let largest = *ks.iter().max().expect("a number of results");
        let nearest = nearest(base, queries, largest);
        let bar = |found: &Vec<(f32, u32)>, k: usize| found[k.min(found.len()) - 1].0 + TOLERANCE;
        Truth { bars: ks.iter().map(|&k| (k, nearest.iter().map(|found| bar(found, k)).collect())).collect() }
    }

    /// Bars that were made before, by number of results.
    pub fn from_bars(bars: Vec<(usize, Vec<f32>)>) -> Truth {
        Truth { bars }
    }

    /// The bars of `k` results.
    ///
    /// # Panics
    /// When there are none.
    pub fn bars(&self, k: usize) -> &[f32] {
        &self.bars.iter().find(|(of, _)| *of == k).expect("bars of this k").1
    }
}

/// The `k` nearest rows of each query: negated inner product and index, nearest first.
///
/// # Panics
/// Without rows or without `k`.
pub fn nearest(base: &Vectors, queries: &Vectors, k: usize) -> Vec<Vec<(f32, u32)>> {
    assert!(!base.is_empty() && k > 0, "nearest of nothing");
    let is_shown = base.len().saturating_mul(queries.len()) >= SHOWN_DISTANCES;
    let progress = if is_shown { ProgressBar::new(queries.len() as u64) } else { ProgressBar::hidden() };
    let scan = |of: Range<usize>| -> Vec<Vec<(f32, u32)>> {
        let of_block = |start: usize| {
            let found = scan_block(base, queries, start..of.end.min(start + BLOCK_QUERIES), k);
            progress.inc(found.len() as u64);
            found
        };
        of.clone().step_by(BLOCK_QUERIES).flat_map(of_block).collect()
    };
    let (half, scan) = (queries.len() / 2, &scan);
    let found = std::thread::scope(|scope| {
        let second = scope.spawn(move || scan(half..queries.len()));
        let mut found = scan(0..half);
        found.extend(second.join().expect("the exact scan ended"));
        found
    });
    progress.finish_and_clear();
    found
}

fn scan_block(base: &Vectors, queries: &Vectors, of: Range<usize>, k: usize) -> Vec<Vec<(f32, u32)>> {
    let distance = kernels::detect().distance(ElementKind::F32, Metric::Dot).expect("dot of f32");
    let mut found = vec![Nearest::default(); of.len()];
    let mut distances = [0.0; BLOCK_ROWS];
    let indices: [u32; BLOCK_ROWS] = std::array::from_fn(|index| index as u32);
    for (number, block) in base.values().chunks(BLOCK_ROWS * base.dimension()).enumerate() {
        let count = block.len() / base.dimension();
        let rows = Rows::from_slice(block.to_byte_slice(), base.dimension() * 4);
        for (found, query) in found.iter_mut().zip(of.clone()) {
            (distance.rows)(queries.get(query).to_byte_slice(), rows, &indices[..count], &mut distances[..count]);
            found.take(&distances[..count], (number * BLOCK_ROWS) as u32, k);
        }
    }
    found.into_iter().map(|found| found.finish(k)).collect()
}

/// The nearest of what was seen, and some more.
#[derive(Clone)]
struct Nearest {
    rows: Vec<(f32, u32)>,
    /// What is farther is not among the nearest.
    bar: f32,
}

impl Default for Nearest {
    fn default() -> Nearest {
        Nearest { rows: Vec::new(), bar: f32::INFINITY }
    }
}

impl Nearest {
    fn take(&mut self, distances: &[f32], first: u32, k: usize) {
        for (&distance, index) in distances.iter().zip(first..) {
            if distance < self.bar {
                self.rows.push((distance, index));
            }
        }
        if self.rows.len() >= 4 * k {
            self.bar = self.rows.select_nth_unstable_by(k - 1, |a, b| a.0.total_cmp(&b.0)).1.0;
            self.rows.truncate(k);
        }
    }

    fn finish(mut self, k: usize) -> Vec<(f32, u32)> {
        self.rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        self.rows.truncate(k);
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_in_blocks_finds_what_sorting_finds() {
        let angle = |index: usize| index as f32 * 2.399;
        let points = |rows: usize| {
            Vectors::new((0..rows).flat_map(|index| [angle(index).cos(), angle(index).sin()]).collect(), 2)
        };
        let (base, queries) = (points(70 * BLOCK_ROWS + 7), points(2 * BLOCK_QUERIES + 5));
        for (query, found) in queries.iter().zip(nearest(&base, &queries, 9)) {
            let mut all: Vec<f32> = base.iter().map(|row| -(row[0] * query[0] + row[1] * query[1])).collect();
            all.sort_by(f32::total_cmp);
            for ((distance, index), want) in found.iter().zip(&all) {
                let row = base.get(*index as usize);
                assert!((distance - want).abs() < 1e-6, "{distance} and not {want}");
                assert!((-(row[0] * query[0] + row[1] * query[1]) - want).abs() < 1e-6);
            }
            assert_eq!(found.len(), 9);
        }
        let truth = Truth::new(&base, &queries, &[1, 4]);
        assert!(truth.bars(1).iter().all(|bar| (bar + 1.0).abs() < 1e-5) && truth.bars(4)[0] > truth.bars(1)[0]);
    }
}
