//! Building in bulk: a round takes many rows into the graph at once, by matrix work instead of a search for each (after PiPNN,
//! arXiv 2602.21247).
//!
//! ```text
//! rows ──► leaves ──► candidates ──► lists, published ──► reverse edges ──► applied
//!      all        all                                all               all
//! ```
//! - **Rows.** Each shard names its new rows (of layer 0; those that reach higher have been inserted one by one before) and the nodes
//!   that it has. Nodes that reach higher layers are the *leaders* of *leaves*.
//! - **Leaves.** Each row goes to the leaves of its nearest leaders, so leaves overlap.
//! - **Candidates.** In each leaf the tile kernel finds the nearest of each own new row among all rows, and among a sample of them: what
//!   is nearest in the sample is farther away, and makes the links that lead out of a dense place.
//! - **Lists.** Diversity pruning as for a row that is inserted. The first link leads up: to a node that was there before, or to a new
//!   row that comes earlier in an order by hash.
//! - **Reverse edges** go to their owners all at once, so that each list is pruned once.
//!
//! Between the steps every shard waits until all have said that they are through (one message to each). No list leads to a
//! row of the round before that row and its list are published, except from rows that nothing leads to yet: reverse edges
//! go out when all lists are there.
//!
//! Memory of a round: up to [`CANDIDATES_MAX`] candidates of 8 bytes a row until its list is made, and 20 bytes an edge.

use std::sync::Arc;

use hashbrown::HashSet;
use kernels::{Nearest, Panel, Tile};

use super::indexer::Indexer;
use super::select::select_diverse;
use super::{Edge, EdgeOutbox, Graph, Space};
use crate::placement::splitmix64;

/// Leaves that a row goes to.
const LEAVES_PER_ROW: usize = 8;
/// Rows of a leaf, on average.
const LEAF_ROWS_MEAN: usize = 400;
/// Rows of a leaf, at most; what is larger is dealt out to several.
const LEAF_ROWS_MAX: usize = 1_024;
/// Neighbours that a row finds in a leaf, and in a sample of it.
const NEAREST_IN: [usize; 2] = [12, 8];
/// The sample of a leaf has one in so many of its rows.
const SAMPLE_ONE_IN: u64 = 12;
/// Candidates of a row that are kept.
const CANDIDATES_MAX: usize = 160;
/// Candidates of a row, with those that are there several times, from which on they are put in order.
const CANDIDATES_FULL: usize = 320;
/// Part of a list that is filled by a row itself, in percent; the rest is for reverse edges.
const OWN_LINKS_PERCENT: usize = 75;
/// Rows that are assigned to leaves in one step.
const ASSIGN_ROWS: usize = 256;
/// Lists that are made in one step.
const PRUNE_ROWS: usize = 8;
/// Targets whose reverse edges are sorted together.
const BUCKET_ROWS: u32 = 256;
/// Reverse edges that are applied in one step.
const APPLY_EDGES: usize = 256;

/// What the shards say to each other in a round. Each says everything once to all, itself included, but [`BulkPart::Edges`], where each
/// gets its own.
#[derive(Clone)]
pub enum BulkPart {
    /// The sender's rows.
    Rows(Arc<BulkRows>),
    /// The sender's rows by leaf.
    Leaves(Arc<Vec<Leaf>>),
    /// Reverse edges for nodes of the receiver, by bucket of [`BUCKET_ROWS`] targets; the sender's lists are published.
    Edges(Arc<Vec<Vec<Edge>>>),
    /// The sender has applied all edges that it got, and what came of them.
    Applied,
}

/// Rows of one shard.
#[derive(Default)]
pub struct BulkRows {
    /// To be taken in: not in the graph, of layer 0.
    pub new: Vec<u32>,
    /// In the graph.
    pub nodes: Vec<u32>,
}

/// Rows of one shard in a leaf.
#[derive(Clone, Default)]
pub struct Leaf {
    /// By index among the shard's new rows.
    new: Vec<u32>,
    nodes: Vec<u32>,
}

/// How far a round has got on a shard.
enum Stage {
    /// Rows are assigned to leaves from this one on: new ones first, then nodes.
    Assign(usize),
    /// Leaves are searched from this one on, and this piece of it.
    Search(usize, usize),
    /// Lists are made from this row on.
    Prune(usize),
    /// Edges are applied from this bucket on, and this one in it.
    Apply(usize, usize),
    /// What came of the edges has to be taken in by others.
    Flush,
    /// All have to be through.
    Finish,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkStep {
    /// Something was done.
    Worked,
    /// Others have to come so far first.
    Waits,
    /// Edges that were handed on wait in the outbox; [`Bulk::flushed`] is to be called when they are applied.
    Flush,
    /// The rows of the round are in the graph, and their edges.
    Done,
}

/// A round, as one shard takes part in it.
pub struct Bulk {
    shard: usize,
    tile: Tile,
    stage: Stage,
    rows: Vec<Option<Arc<BulkRows>>>,
    leaves: Vec<Option<Arc<Vec<Leaf>>>>,
    edges: Vec<Option<Arc<Vec<Vec<Edge>>>>>,
    applied: Vec<bool>,
    /// Sorted.
    leaders: Vec<u32>,
    /// All new rows of the round.
    new: HashSet<u32>,
    /// Own rows by leaf, until they are said.
    own_leaves: Vec<Leaf>,
    /// Per own new row.
    candidates: Vec<Vec<Candidate>>,
    /// By owner, then by bucket.
    outgoing: Vec<Vec<Vec<Edge>>>,
    /// A bucket, sorted by target.
    incoming: Vec<Edge>,
    panels: [Panel; 2],
    nearest: Vec<Nearest>,
    ids: [Vec<u32>; 2],
    selected: Vec<u32>,
    shadowed: Vec<u32>,
}

impl Bulk {
    /// A round of so many shards that begins with `rows`; None where the space has no tile kernel. `send` gets what is to be said to all.
    pub fn begin<S: Space + ?Sized>(
        space: &S,
        shards: usize,
        shard: usize,
        rows: BulkRows,
        send: &mut impl FnMut(usize, BulkPart),
    ) -> Option<Bulk> {
        let tile = space.tile()?;
        let candidates = vec![Vec::new(); rows.new.len()];
        let rows = Arc::new(rows);
        (0..shards).for_each(|to| send(to, BulkPart::Rows(rows.clone())));
        Some(Bulk {
            shard,
            tile,
            stage: Stage::Assign(0),
            rows: vec![None; shards],
            leaves: vec![None; shards],
            edges: vec![None; shards],
            applied: vec![false; shards],
            leaders: Vec::new(),
            new: HashSet::new(),
            own_leaves: Vec::new(),
            candidates,
            outgoing: vec![Vec::new(); shards],
            incoming: Vec::new(),
            panels: [Panel::new(), Panel::new()],
            nearest: Vec::new(),
            ids: [Vec::new(), Vec::new()],
            selected: Vec::new(),
            shadowed: Vec::new(),
        })
    }

    /// Takes in what a shard said.
    pub fn receive(&mut self, from: usize, part: BulkPart) {
        match part {
            BulkPart::Rows(rows) => assert!(self.rows[from].replace(rows).is_none()),
            BulkPart::Leaves(leaves) => assert!(self.leaves[from].replace(leaves).is_none()),
            BulkPart::Edges(edges) => assert!(self.edges[from].replace(edges).is_none()),
            BulkPart::Applied => assert!(!std::mem::replace(&mut self.applied[from], true)),
        }
    }

    /// Edges that were handed on are applied.
    pub fn flushed(&mut self, send: &mut impl FnMut(usize, BulkPart)) {
        assert!(matches!(self.stage, Stage::Flush));
        self.stage = Stage::Finish;
        (0..self.applied.len()).for_each(|to| send(to, BulkPart::Applied));
    }

    /// A part of the work that takes about a millisecond, at most.
    pub fn step<S: Space + ?Sized>(
        &mut self,
        indexer: &mut Indexer,
        space: &S,
        outbox: &mut EdgeOutbox,
        send: &mut impl FnMut(usize, BulkPart),
    ) -> BulkStep {
        match self.stage {
            Stage::Assign(_) if self.rows.iter().any(Option::is_none) => return BulkStep::Waits,
            Stage::Assign(from) => self.assign(indexer.graph(), space, from, send),
            Stage::Search(..) if self.leaves.iter().any(Option::is_none) => return BulkStep::Waits,
            Stage::Search(leaf, piece) => self.search(space, leaf, piece),
            Stage::Prune(from) => self.prune(indexer.graph(), space, from, send),
            Stage::Apply(..) if self.edges.iter().any(Option::is_none) => return BulkStep::Waits,
            Stage::Apply(bucket, from) => {
                self.apply(indexer, space, bucket, from, outbox);
                if matches!(self.stage, Stage::Flush) {
                    return BulkStep::Flush;
                }
            }
            Stage::Flush => return BulkStep::Waits,
            Stage::Finish if self.applied.iter().all(|&applied| applied) => return BulkStep::Done,
            Stage::Finish => return BulkStep::Waits,
        }
        BulkStep::Worked
    }

    fn own(&self) -> Arc<BulkRows> {
        self.rows[self.shard].clone().expect("said first of all")
    }

    /// Chooses the leaders, the same on every shard: nodes that reach higher layers, as many as leaves of their size need.
    fn choose_leaders(&mut self, graph: &Graph) {
        let all = || self.rows.iter().flatten();
        let rows: usize = all().map(|rows| rows.new.len() + rows.nodes.len()).sum();
        let wanted = (rows * LEAVES_PER_ROW).div_ceil(LEAF_ROWS_MEAN).max(1);
        let mut leaders: Vec<u32> = all().flat_map(|rows| rows.nodes.iter().copied()).collect();
        // A node of layer 0 leads only where there are too few others.
        leaders.sort_unstable_by_key(|&row| (graph.level(row).unwrap_or(0) == 0, splitmix64(u64::from(row))));
        leaders.truncate(wanted);
        leaders.sort_unstable();
        self.new = all().flat_map(|rows| rows.new.iter().copied()).collect();
        self.own_leaves = vec![Leaf::default(); leaders.len()];
        self.leaders = leaders;
    }

    fn assign<S: Space + ?Sized>(
        &mut self,
        graph: &Graph,
        space: &S,
        from: usize,
        send: &mut impl FnMut(usize, BulkPart),
    ) {
        if from == 0 {
            self.choose_leaders(graph);
            space.pack(&self.leaders, &mut self.panels[1]);
        }
        let own = self.own();
        let (is_new, rows) = match own.new.len().checked_sub(from) {
            Some(left) if left > 0 => (true, &own.new[from..]),
            _ => (false, &own.nodes[from - own.new.len()..]),
        };
        if rows.is_empty() {
            let leaves = Arc::new(std::mem::take(&mut self.own_leaves));
            (0..self.leaves.len()).for_each(|to| send(to, BulkPart::Leaves(leaves.clone())));
            self.stage = Stage::Search(0, 0);
            return;
        }
        let rows = &rows[..rows.len().min(ASSIGN_ROWS)];
        let [panel, leaders] = &mut self.panels;
        space.pack(rows, panel);
        self.nearest.resize(rows.len(), Nearest::NONE);
        (self.tile.nearest)(panel, leaders, LEAVES_PER_ROW, &mut self.nearest);
        let index_of = |leader: u32| self.leaders.binary_search(&leader);
        for (at, nearest) in self.nearest.iter().enumerate() {
            let found = nearest.ids.iter().zip(&nearest.distances).filter(|found| *found.0 != u32::MAX);
            for (&leader, &distance) in found {
                let leaf = &mut self.own_leaves[index_of(leader).expect("a leader")];
                if is_new {
                    leaf.new.push((from + at) as u32);
                    self.candidates[from + at].push(Candidate::new(distance, leader));
                } else {
                    leaf.nodes.push(rows[at]);
                }
            }
            if !is_new && let Ok(leaf) = index_of(rows[at]) {
                self.own_leaves[leaf].nodes.push(rows[at]);
            }
        }
        self.stage = Stage::Assign(from + rows.len());
    }

    /// Finds the nearest of the own new rows of a leaf, or of a piece of one that is too large.
    fn search<S: Space + ?Sized>(&mut self, space: &S, leaf: usize, piece: usize) {
        if leaf == self.leaders.len() {
            self.stage = Stage::Prune(0);
            return;
        }
        let leaves = || self.leaves.iter().flatten().map(|leaves| &leaves[leaf]);
        let members: usize = leaves().map(|leaf| leaf.new.len() + leaf.nodes.len()).sum();
        let pieces = members.div_ceil(LEAF_ROWS_MAX).max(1);
        self.stage = if piece + 1 < pieces { Stage::Search(leaf, piece + 1) } else { Stage::Search(leaf + 1, 0) };
        let own = self.own();
        let own_leaves = self.leaves[self.shard].as_ref().expect("all are there");
        let new: Vec<u32> = own_leaves[leaf].new.iter().skip(piece).step_by(pieces).copied().collect();
        if new.is_empty() {
            return;
        }
        let [rows, columns] = &mut self.ids;
        rows.clear();
        rows.extend(new.iter().map(|&index| own.new[index as usize]));
        columns.clear();
        for (leaf, rows) in leaves().zip(self.rows.iter().flatten()) {
            let new = leaf.new.iter().map(|&index| rows.new[index as usize]);
            columns.extend(new.skip(piece).step_by(pieces));
            columns.extend(leaf.nodes.iter().skip(piece).step_by(pieces));
        }
        space.pack(rows, &mut self.panels[0]);
        self.nearest.resize(new.len(), Nearest::NONE);
        for (k, one_in) in NEAREST_IN.into_iter().zip([1, SAMPLE_ONE_IN]) {
            columns.retain(|&row| splitmix64(u64::from(row)).is_multiple_of(one_in));
            space.pack(columns, &mut self.panels[1]);
            (self.tile.nearest)(&self.panels[0], &self.panels[1], k, &mut self.nearest);
            for (&index, nearest) in new.iter().zip(&self.nearest) {
                let candidates = &mut self.candidates[index as usize];
                let found = nearest.distances.iter().zip(&nearest.ids).filter(|found| *found.1 != u32::MAX);
                candidates.extend(found.map(|(&distance, &row)| Candidate::new(distance, row)));
                if candidates.len() > CANDIDATES_FULL {
                    order(candidates);
                }
            }
        }
    }

    /// Makes the lists of some rows and publishes them.
    fn prune<S: Space + ?Sized>(
        &mut self,
        graph: &Graph,
        space: &S,
        from: usize,
        send: &mut impl FnMut(usize, BulkPart),
    ) {
        let own = self.own();
        let until = (from + PRUNE_ROWS).min(own.new.len());
        for (index, &row) in own.new[..until].iter().enumerate().skip(from) {
            let mut candidates = std::mem::take(&mut self.candidates[index]);
            order(&mut candidates);
            let candidates: Vec<(f32, u32)> = candidates.into_iter().map(Candidate::parts).collect();
            self.publish(graph, space, row, &candidates);
        }
        self.stage = Stage::Prune(until);
        if until == own.new.len() {
            for (to, edges) in std::mem::take(&mut self.outgoing).into_iter().enumerate() {
                send(to, BulkPart::Edges(Arc::new(edges)));
            }
            self.stage = Stage::Apply(0, 0);
        }
    }

    /// Writes the list of a row, and keeps the edges back to it.
    fn publish<S: Space + ?Sized>(&mut self, graph: &Graph, space: &S, row: u32, candidates: &[(f32, u32)]) {
        let limit = graph.degree_max(0) * OWN_LINKS_PERCENT / 100;
        let is_before = |other: u32| {
            let order = |row: u32| (splitmix64(u64::from(row)), row);
            !self.new.contains(&other) || order(other) < order(row)
        };
        // What leaves the graph is linked to no more.
        let stays = |candidate: &&(f32, u32)| !graph.is_leaving(candidate.1);
        let up = candidates.iter().filter(stays).find(|candidate| is_before(candidate.1)).copied();
        let (distance, up) = up.unwrap_or_else(|| {
            let root = graph.root().expect("a round begins with a graph");
            (space.distance(space.row(row), space.row(root)), root)
        });
        self.selected.clear();
        self.selected.push(up);
        let others: Vec<(f32, u32)> =
            candidates.iter().filter(stays).copied().filter(|candidate| candidate.1 != up).collect();
        select_diverse(space, &others, limit, true, &mut self.shadowed, &mut self.selected);
        let level = graph.reserve(row, 0);
        graph.store_links(row, 0, 0, &self.selected);
        graph.set_kept(row, 1, true);
        graph.publish(row, level);
        for (index, &target) in self.selected.iter().enumerate() {
            let known = others.iter().find(|candidate| candidate.1 == target);
            let distance = known.map_or(distance, |candidate| candidate.0);
            let edge = Edge { target, new: row, distance, layer: 0, anchor: index == 0 };
            let bucket = (graph.slot(target) / BUCKET_ROWS) as usize;
            let buckets = &mut self.outgoing[graph.owner(target)];
            if buckets.len() <= bucket {
                buckets.resize(bucket + 1, Vec::new());
            }
            buckets[bucket].push(edge);
        }
    }

    /// Applies some of the edges that all shards sent.
    fn apply<S: Space + ?Sized>(
        &mut self,
        indexer: &mut Indexer,
        space: &S,
        bucket: usize,
        from: usize,
        outbox: &mut EdgeOutbox,
    ) {
        let all = || self.edges.iter().flatten();
        if bucket >= all().map(|edges| edges.len()).max().unwrap_or(0) {
            self.edges.fill(None);
            self.stage = Stage::Flush;
            return;
        }
        if from == 0 {
            self.incoming.clear();
            self.incoming.extend(all().filter_map(|edges| edges.get(bucket)).flatten());
            self.incoming.sort_unstable_by_key(|edge| (edge.target, edge.new));
        }
        // All edges of a target at once.
        let mut until = (from + APPLY_EDGES).min(self.incoming.len());
        let target = |at: usize| self.incoming[at].target;
        while until > 0 && until < self.incoming.len() && target(until) == target(until - 1) {
            until += 1;
        }
        indexer.apply_bulk(space, &self.incoming[from..until], outbox);
        self.stage =
            if until == self.incoming.len() { Stage::Apply(bucket + 1, 0) } else { Stage::Apply(bucket, until) };
    }
}

/// Distance and row in one number that orders as the distance does, then as the row: such are sorted quickest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u64);

impl Candidate {
    fn new(distance: f32, row: u32) -> Candidate {
        let bits = distance.to_bits();
        // Of numbers below zero all bits are turned, of others the sign alone.
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        Candidate(u64::from(ordered) << 32 | u64::from(row))
    }

    fn parts(self) -> (f32, u32) {
        let ordered = (self.0 >> 32) as u32;
        let bits = if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered };
        (f32::from_bits(bits), self.0 as u32)
    }
}

/// Nearest first, each once, and no more than are kept.
fn order(candidates: &mut Vec<Candidate>) {
    candidates.sort_unstable();
    candidates.dedup();
    candidates.truncate(CANDIDATES_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_order_as_distances_do_and_come_back() {
        let distances = [f32::NEG_INFINITY, -1e30, -2.5, -1e-40, 0.0, 1e-40, 0.5, 7.0, f32::MAX, f32::INFINITY];
        let candidates = distances.map(|distance| Candidate::new(distance, 7));
        assert!(candidates.is_sorted() && Candidate::new(0.5, 6) < Candidate::new(0.5, 7));
        assert_eq!(candidates.map(Candidate::parts), distances.map(|distance| (distance, 7)));
    }
}
