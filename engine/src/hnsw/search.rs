//! Best-first search: a greedy descent to layer 1, then a sorted pool of `ef` candidates on layer 0.

use super::pool::Pool;
use super::visited::Visited;
use super::{Graph, Space};

/// Rows that pass from which on no more neighbours of neighbours are looked at for a node.
const WITHIN_ROWS_MAX: usize = 32;

/// Memory of a search, kept from one to the next. Belongs to one thread; fits any graph.
#[derive(Default)]
pub struct SearchScratch {
    pub(super) pool: Pool,
    visited: Visited,
    rows: Vec<u32>,
    /// Neighbours that do not pass, and lead on.
    bridges: Vec<u32>,
    distances: Vec<f32>,
    /// Distances computed since the scratch was made.
    pub(super) computed: u64,
    /// A search ends when it has computed so many; 0 for as many as it takes.
    distances_max: u64,
    was_cut_off: bool,
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

    /// Ends searches that have computed this many distances, found or not.
    pub fn set_distances_max(&mut self, distances_max: u64) {
        self.distances_max = distances_max;
    }

    /// Whether the last search was ended so, and may have missed anything.
    pub fn was_cut_off(&self) -> bool {
        self.was_cut_off
    }

    /// Number of distances at which a search that begins now is to end.
    fn end(&mut self) -> u64 {
        self.was_cut_off = false;
        match self.distances_max {
            0 => u64::MAX,
            most => self.computed.saturating_add(most),
        }
    }

    #[inline(always)]
    fn is_at(&mut self, end: u64) -> bool {
        self.was_cut_off |= self.computed >= end;
        self.was_cut_off
    }

    /// Gathers the links of a node that were not seen yet, and marks them. Every other link was, as good as at random, so this has
    /// no jump that depends on it.
    #[inline(always)]
    fn gather_unseen(&mut self, graph: &Graph, row: u32, layer: usize) {
        self.rows.resize(graph.degree_max(layer), 0);
        let (rows, seen) = (&mut self.rows[..], self.visited.seen());
        let mut count = 0;
        graph.gather(row, layer, |neighbour| {
            rows[count] = neighbour;
            count += usize::from(seen.insert(neighbour));
        });
        self.rows.truncate(count);
    }

    /// Gathers the neighbours of a node that pass and were not seen yet, and those of its neighbours that do not pass, and marks what it
    /// has been through.
    fn gather_within(&mut self, graph: &Graph, row: u32, accept: impl Fn(u32) -> bool) {
        let SearchScratch { rows, bridges, visited, .. } = self;
        let seen = visited.seen();
        rows.clear();
        bridges.clear();
        graph.gather(row, 0, |neighbour| {
            if seen.insert(neighbour) {
                if accept(neighbour) {
                    rows.push(neighbour);
                } else {
                    graph.prefetch(neighbour);
                    bridges.push(neighbour);
                }
            }
        });
        for &bridge in &*bridges {
            if rows.len() >= WITHIN_ROWS_MAX {
                break;
            }
            graph.gather(bridge, 0, |neighbour| {
                if accept(neighbour) && seen.insert(neighbour) {
                    rows.push(neighbour);
                }
            });
        }
    }

    /// Computes the distances of the gathered rows and offers them to the pool.
    #[inline(always)]
    fn offer_gathered<S: Space + ?Sized>(&mut self, space: &S, query: &[u8], accept: impl Fn(u32) -> bool) {
        self.distances.resize(self.rows.len(), 0.0);
        space.distances(query, &self.rows, &mut self.distances);
        self.computed += self.rows.len() as u64;
        self.pool.offer_all(&self.distances, &self.rows, accept);
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
        self.begin(ef, scratch);
        self.start_at(space, query, row, &accept, scratch);
        self.descend(space, query, level, 0, &accept, scratch);
        self.search_layer(space, query, 0, &accept, scratch);
        out.extend(scratch.pool.accepted());
    }

    /// As [`Graph::search`], for rows of which many are not accepted: on layer 0 their distances are not computed, and what is accepted is
    /// reached through one that is not (ACORN, Patel et al., arXiv 2403.04871, of a graph that was made without a filter in mind).
    /// It finds fewer than `ef` rows where accepted ones are not connected even so.
    pub fn search_within<S: Space + ?Sized>(
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
        self.begin(ef, scratch);
        self.start_at(space, query, row, &accept, scratch);
        self.descend(space, query, level, 0, &accept, scratch);
        let end = scratch.end();
        while let Some(row) = scratch.pool.next() {
            if scratch.is_at(end) {
                break;
            }
            scratch.gather_within(self, row, &accept);
            if let Some(next) = scratch.pool.peek() {
                self.prefetch(next);
            }
            scratch.offer_gathered(space, query, |_| true);
        }
        scratch.visited.note_used(self);
        out.extend(scratch.pool.accepted());
    }

    /// Begins a search that keeps the `ef` best accepted rows in the scratch's pool, which is empty now.
    pub(super) fn begin(&self, ef: usize, scratch: &mut SearchScratch) {
        scratch.pool.reset(ef);
        scratch.visited.reset(self);
    }

    /// Offers a row to the pool, if it was not seen.
    pub(super) fn start_at<S: Space + ?Sized>(
        &self,
        space: &S,
        query: &[u8],
        row: u32,
        accept: impl Fn(u32) -> bool,
        scratch: &mut SearchScratch,
    ) {
        if scratch.visited.seen().insert(row) {
            scratch.rows.clear();
            scratch.rows.push(row);
            scratch.offer_gathered(space, query, accept);
        }
    }

    /// Walks greedily from the nearest row of the pool on layer `from` down to the layer above `to`. Whatever it sees is offered to the
    /// pool, so that no distance is computed twice.
    pub(super) fn descend<S: Space + ?Sized>(
        &self,
        space: &S,
        query: &[u8],
        from: usize,
        to: usize,
        accept: impl Fn(u32) -> bool,
        scratch: &mut SearchScratch,
    ) {
        let mut nearest = scratch.pool.nearest();
        for layer in (to + 1..=from).rev() {
            loop {
                scratch.gather_unseen(self, nearest, layer);
                scratch.offer_gathered(space, query, &accept);
                let before = std::mem::replace(&mut nearest, scratch.pool.nearest());
                if nearest == before {
                    break;
                }
            }
        }
    }

    /// Goes on from what is in the pool, on one layer, until the pool has the best that it leads to.
    pub(super) fn search_layer<S: Space + ?Sized>(
        &self,
        space: &S,
        query: &[u8],
        layer: usize,
        accept: impl Fn(u32) -> bool,
        scratch: &mut SearchScratch,
    ) {
        let end = scratch.end();
        while let Some(row) = scratch.pool.next() {
            if scratch.is_at(end) {
                break;
            }
            scratch.gather_unseen(self, row, layer);
            if layer == 0
                && let Some(next) = scratch.pool.peek()
            {
                self.prefetch(next);
            }
            scratch.offer_gathered(space, query, &accept);
        }
        scratch.visited.note_used(self);
    }
}
