//! The k nearest of what was seen.

use std::collections::BinaryHeap;

/// A row and how far it is; ordered by distance, then by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Distance; smaller is nearer. Never NaN.
    pub distance: f32,
    /// Row.
    pub row: u32,
}

impl Eq for Hit {}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}

/// The k nearest hits of a query so far.
#[derive(Clone, Debug)]
pub struct Top {
    k: usize,
    heap: BinaryHeap<Hit>,
}

impl Top {
    /// Keeps the nearest `k`.
    pub fn new(k: usize) -> Top {
        assert!(k > 0);
        Top { k, heap: BinaryHeap::with_capacity(k.min(1_024) + 1) }
    }

    /// Distance that a hit has to beat.
    pub fn bound(&self) -> f32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() == self.k => worst.distance,
            _ => f32::INFINITY,
        }
    }

    /// Offers a hit.
    pub fn push(&mut self, hit: Hit) {
        if self.heap.len() < self.k {
            self.heap.push(hit);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && hit < *worst
        {
            *worst = hit;
        }
    }

    /// Offers rows with their distances.
    pub fn push_all(&mut self, rows: &[u32], distances: &[f32]) {
        for (&row, &distance) in rows.iter().zip(distances) {
            if distance <= self.bound() {
                self.push(Hit { distance, row });
            }
        }
    }

    /// Offers all hits of another. A row may be in both: it then has the same distance in both and counts once.
    pub fn merge(&mut self, other: Top) {
        if self.heap.is_empty() && self.k == other.k {
            *self = other;
            return;
        }
        let mut all: Vec<Hit> = self.heap.drain().chain(other.heap).collect();
        all.sort_unstable();
        all.dedup_by_key(|hit| hit.row);
        all.truncate(self.k);
        self.heap.extend(all);
    }

    /// The hits, nearest first.
    pub fn into_sorted(self) -> Vec<Hit> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(k: usize, hits: &[(f32, u32)]) -> Top {
        let mut top = Top::new(k);
        hits.iter().for_each(|&(distance, row)| top.push(Hit { distance, row }));
        top
    }

    #[test]
    fn keeps_the_nearest_and_breaks_ties_by_row() {
        let top = top(3, &[(3.0, 1), (1.0, 9), (1.0, 2), (2.0, 4), (0.5, 7)]);
        assert_eq!(top.bound(), 1.0);
        let rows: Vec<u32> = top.into_sorted().iter().map(|hit| hit.row).collect();
        assert_eq!(rows, [7, 2, 9]);
    }

    #[test]
    fn merging_counts_a_row_once() {
        let mut left = top(3, &[(1.0, 1), (2.0, 2), (3.0, 3)]);
        left.merge(top(3, &[(2.0, 2), (2.5, 5)]));
        let rows: Vec<u32> = left.into_sorted().iter().map(|hit| hit.row).collect();
        assert_eq!(rows, [1, 2, 5]);
    }

    #[test]
    fn an_unfilled_top_is_beaten_by_anything() {
        assert_eq!(top(2, &[(1.0, 1)]).bound(), f32::INFINITY);
    }
}
