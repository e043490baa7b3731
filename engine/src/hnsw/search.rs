//! Best-first search: a greedy descent to layer 1, then a sorted pool of `ef` candidates on layer 0.

use super::pool::Pool;
use super::visited::Visited;
use super::{Graph, Space};

/// Memory of a search, kept from one to the next. Belongs to one thread; fits any graph.
#[derive(Default)]
pub struct SearchScratch {
    pub(super) pool: Pool,
    visited: Visited,
    rows: Vec<u32>,
    distances: Vec<f32>,
    /// Distances computed since the scratch was made.
    pub(super) computed: u64,
}

impl SearchScratch {
    /// An empty scratch; it grows with what it is used on.
    pub fn new() -> SearchScratch {
        SearchScratch::default()
    }

    /// Distances computed since the scratch was made.
    pub fn distances_computed(&self) -> u64 {
        self.computed
    }

    /// Computes the distances of the gathered rows.
    #[inline(always)]
    fn measure<S: Space + ?Sized>(&mut self, space: &S, query: &[u8]) {
        self.distances.resize(self.rows.len(), 0.0);
        space.distances(query, &self.rows, &mut self.distances);
        self.computed += self.rows.len() as u64;
    }

    /// Gathers the links of a node that were not seen yet, and marks them. Every other link was, as good as at random, so this has
    /// no jump that depends on it.
    #[inline(always)]
    fn gather_unseen(&mut self, graph: &Graph, row: u32, layer: usize) {
        self.rows.resize(graph.degree_max(layer), 0);
        let (rows, visited) = (&mut self.rows[..], &mut self.visited);
        let mut count = 0;
        graph.gather(row, layer, |neighbour| {
            rows[count] = neighbour;
            count += usize::from(visited.insert(neighbour));
        });
        self.rows.truncate(count);
    }
}

impl Graph {
    /// The `ef` nearest rows that `accept` lets pass, nearest first, as far as the graph leads to them.
    ///
    /// `query` is a vector as `space` takes it. Rows that are not accepted are walked through and never returned. `out` is
    /// cleared first.
    pub fn search<S: Space + ?Sized>(
        &self,
        space: &S,
        query: &[u8],
        ef: usize,
        accept: impl Fn(u32) -> bool,
        scratch: &mut SearchScratch,
        out: &mut Vec<(f32, u32)>,
    ) {
        out.clear();
        let Some((level, row)) = self.entry() else { return };
        let nearest = self.descend(space, query, row, level, 0, scratch);
        self.search_layer(space, query, &[nearest], 0, ef, accept, scratch);
        out.extend(scratch.pool.items().iter().filter(|c| c.accepted).map(|c| (c.distance, c.row)));
    }

    /// Walks greedily from `row` on layer `from` down to the layer above `to`; returns where it ended.
    pub(super) fn descend<S: Space + ?Sized>(
        &self,
        space: &S,
        query: &[u8],
        row: u32,
        from: usize,
        to: usize,
        scratch: &mut SearchScratch,
    ) -> (f32, u32) {
        let mut best = (space.distance(query, space.row(row)), row);
        for layer in (to + 1..=from).rev() {
            loop {
                scratch.rows.clear();
                self.gather(best.1, layer, |row| scratch.rows.push(row));
                scratch.measure(space, query);
                let found = scratch.distances.iter().copied().zip(scratch.rows.iter().copied());
                let Some(nearest) = found.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
                if nearest.0 >= best.0 {
                    break;
                }
                best = nearest;
            }
        }
        best
    }

    /// Fills the scratch's pool with the `ef` best accepted rows of a layer, starting at `starts`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn search_layer<S: Space + ?Sized>(
        &self,
        space: &S,
        query: &[u8],
        starts: &[(f32, u32)],
        layer: usize,
        ef: usize,
        accept: impl Fn(u32) -> bool,
        scratch: &mut SearchScratch,
    ) {
        scratch.pool.reset(ef);
        scratch.visited.reset(self.shards(), self.row_bits(), |shard| self.used(shard));
        for &(distance, row) in starts {
            if scratch.visited.insert(row) {
                scratch.pool.offer(distance, row, accept(row));
            }
        }
        while let Some(row) = scratch.pool.next() {
            scratch.gather_unseen(self, row, layer);
            if layer == 0
                && let Some(next) = scratch.pool.peek()
            {
                self.prefetch(next);
            }
            scratch.measure(space, query);
            for (&distance, &row) in scratch.distances.iter().zip(&scratch.rows) {
                if distance <= scratch.pool.bound() {
                    scratch.pool.offer(distance, row, accept(row));
                }
            }
        }
    }
}
