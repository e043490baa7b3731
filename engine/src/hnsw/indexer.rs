//! The one writer of a shard's links: inserts its rows, and links its nodes to new ones on request of any shard.

use std::sync::Arc;

use super::edges::{Edge, EdgeOutbox};
use super::levels::level_of;
use super::search::SearchScratch;
use super::select::select_diverse;
use super::{Graph, Space};

/// Part of a full list that remains after pruning, in percent, so that not every further edge prunes again.
const PRUNE_TO_PERCENT: usize = 80;

/// Writer of the links of one shard's rows.
pub struct Indexer {
    pub(super) graph: Arc<Graph>,
    pub(super) shard: usize,
    pub(super) scratch: SearchScratch,
    /// Newest own node: a second start for searches, as nodes of other shards may not know their way here yet.
    newest: Option<u32>,
    pub(super) lists: Lists,
}

/// Scratch memory for lists.
pub(super) struct Lists {
    /// Part of a full list that remains after pruning.
    prune_to_percent: usize,
    pub(super) found: Vec<(f32, u32)>,
    pub(super) selected: Vec<u32>,
    pub(super) shadowed: Vec<u32>,
    pub(super) candidates: Vec<(f32, u32)>,
    pub(super) rows: Vec<u32>,
    pub(super) query: Vec<u8>,
    distances: Vec<f32>,
    sorted: Vec<Edge>,
    /// Anchors handed on from one own node to another.
    handed: Vec<Edge>,
}

impl Default for Lists {
    fn default() -> Lists {
        Lists {
            prune_to_percent: PRUNE_TO_PERCENT,
            found: Vec::new(),
            selected: Vec::new(),
            shadowed: Vec::new(),
            candidates: Vec::new(),
            rows: Vec::new(),
            query: Vec::new(),
            distances: Vec::new(),
            sorted: Vec::new(),
            handed: Vec::new(),
        }
    }
}

impl Indexer {
    /// The writer of `shard`.
    ///
    /// # Panics
    /// When the shard has one already.
    pub fn new(graph: Arc<Graph>, shard: usize) -> Indexer {
        assert!(shard < graph.shards());
        assert!(!graph.set_claimed(shard, true), "shard {shard} has an indexer");
        Indexer { graph, shard, scratch: SearchScratch::new(), newest: None, lists: Lists::default() }
    }

    /// The graph it writes to.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// Distances computed by searches for neighbours so far.
    pub fn distances_computed(&self) -> u64 {
        self.scratch.computed
    }

    /// Puts a row of this shard into the graph. The row's vector must be readable through `space` on every core.
    ///
    /// Links between own nodes are made at once; `edges` takes those that other shards must make. The row can be found
    /// from this moment on; it is sure to be found when the owners have applied the edges.
    pub fn insert<S: Space + ?Sized>(&mut self, space: &S, row: u32, edges: &mut EdgeOutbox) {
        let graph = self.graph.clone();
        assert_eq!(graph.owner(row), self.shard, "row {row:#x} belongs to another shard");
        assert!(!graph.contains(row), "row {row:#x} is in the graph");
        let params = graph.params();
        let level = graph.reserve(row, level_of(row, params.seed, params.m));
        let entry = match graph.entry() {
            Some(entry) => entry,
            None => {
                graph.publish(row, level);
                if graph.raise_entry(row, level, None) {
                    graph.set_root(row);
                    self.newest = Some(row);
                    return;
                }
                graph.entry().expect("an entry point never goes away")
            }
        };
        let first = edges_of_new_node(self, space, row, level, entry);
        graph.publish(row, level);
        self.newest = Some(row);
        let mut seen = entry;
        while level > seen.0 && !graph.raise_entry(row, level, Some(seen)) {
            seen = graph.entry().expect("an entry point never goes away");
        }
        for edge in first {
            let owner = graph.owner(edge.target);
            if owner == self.shard {
                self.link(space, &[edge], edges);
            } else {
                edges.push(owner, edge);
            }
        }
        self.link_handed(space, edges);
    }

    /// Makes links that other shards asked for. What must be handed on to nodes of other shards goes to `outbox`.
    pub fn apply<S: Space + ?Sized>(&mut self, space: &S, edges: &[Edge], outbox: &mut EdgeOutbox) {
        let mut sorted = std::mem::take(&mut self.lists.sorted);
        sorted.clear();
        sorted.extend_from_slice(edges);
        sorted.sort_by_key(|edge| (edge.target, edge.layer));
        for group in sorted.chunk_by(|a, b| (a.target, a.layer) == (b.target, b.layer)) {
            self.link(space, group, outbox);
        }
        self.lists.sorted = sorted;
        self.link_handed(space, outbox);
    }

    /// Makes the links that a bulk round asked for, sorted by target, all of a target. Lists are pruned to what fits, since nothing
    /// comes after these.
    pub(super) fn apply_bulk<S: Space + ?Sized>(&mut self, space: &S, edges: &[Edge], outbox: &mut EdgeOutbox) {
        self.lists.prune_to_percent = 100;
        for group in edges.chunk_by(|a, b| a.target == b.target) {
            self.link(space, group, outbox);
        }
        self.link_handed(space, outbox);
        self.lists.prune_to_percent = PRUNE_TO_PERCENT;
    }

    /// Whether a row that is inserted would reach beyond layer 0.
    pub fn reaches_higher(&self, row: u32) -> bool {
        let params = self.graph.params();
        level_of(row, params.seed, params.m) > 0
    }

    /// Says that every row below an ordinal was inserted or skipped and that the edges of its rows are applied.
    pub fn set_indexed(&mut self, ordinal: u64) {
        assert!(ordinal >= self.graph.indexed(self.shard));
        self.graph.set_indexed(self.shard, ordinal);
    }

    /// Shard whose nodes it inserts.
    pub fn shard(&self) -> usize {
        self.shard
    }

    pub(super) fn link_handed<S: Space + ?Sized>(&mut self, space: &S, outbox: &mut EdgeOutbox) {
        // Each step moves a node down in the tree of anchors, so this ends.
        while let Some(edge) = self.lists.handed.pop() {
            self.link(space, &[edge], outbox);
        }
    }

    /// Links one own node to the new nodes of `group`, all of one target and layer.
    pub(super) fn link<S: Space + ?Sized>(&mut self, space: &S, group: &[Edge], outbox: &mut EdgeOutbox) {
        let graph = self.graph.clone();
        let (target, layer) = (group[0].target, usize::from(group[0].layer));
        assert_eq!(graph.owner(target), self.shard, "row {target:#x} belongs to another shard");
        if graph.is_leaving(target) || !graph.contains(target) {
            return group.iter().for_each(|edge| self.redirect(edge, outbox));
        }
        assert!(graph.level(target).is_some_and(|level| layer <= level), "row {target:#x} has no layer {layer}");
        let mut list = Target::load(&graph, target, layer, &mut self.lists);
        let mut unplaced = std::mem::take(&mut self.lists.candidates);
        unplaced.clear();
        for edge in group.iter().filter(|edge| !graph.is_leaving(edge.new)) {
            assert!(graph.contains(edge.new) && edge.new != target, "row {:#x} is not in the graph", edge.new);
            let mut known = list.rows.iter().position(|&row| row == edge.new);
            if edge.anchor && known.is_none_or(|index| index >= list.kept) {
                if list.children() >= graph.params().m {
                    self.hand_on(space, &list, edge, outbox);
                } else if let Some(index) = known {
                    list.promote(index);
                } else if list.rows.len() < list.max {
                    list.rows.push(edge.new);
                    known = Some(list.rows.len() - 1);
                    list.promote(list.rows.len() - 1);
                } else {
                    // The list is full, and some entry of it may go: this one takes its place.
                    let victim = list.rows[list.kept];
                    list.rows[list.kept] = edge.new;
                    list.kept += 1;
                    list.changed_from = list.changed_from.min(list.kept - 1);
                    unplaced.push((f32::NAN, victim));
                    known = Some(list.kept - 1);
                }
            }
            if known.is_none() {
                unplaced.push((edge.distance, edge.new));
            }
        }
        if list.rows.len() + unplaced.len() <= list.max {
            for &(_, row) in &unplaced {
                if !list.rows.contains(&row) {
                    list.rows.push(row);
                }
            }
        } else {
            prune(&graph, space, &mut list, &mut unplaced, &mut self.lists);
        }
        list.store(&graph);
        self.lists.rows = list.rows;
        self.lists.candidates = unplaced;
    }

    /// Sends an anchor that a leaving node should have kept to the node above that stays. Other links to it are not missed.
    pub(super) fn redirect(&mut self, edge: &Edge, outbox: &mut EdgeOutbox) {
        if !edge.anchor || self.graph.is_leaving(edge.new) {
            return;
        }
        // The root stays, so a node that is not the root has somebody above it.
        let Some(target) = self.graph.up(edge.new) else { return };
        let redirected = Edge { target, distance: f32::NAN, ..*edge };
        let owner = self.graph.owner(target);
        if owner == self.shard {
            self.lists.handed.push(redirected);
        } else {
            outbox.push(owner, redirected);
        }
    }

    /// Gives an anchor to the child that is nearest to its node.
    fn hand_on<S: Space + ?Sized>(&mut self, space: &S, list: &Target, edge: &Edge, outbox: &mut EdgeOutbox) {
        let children = &list.rows[usize::from(list.has_up)..list.kept];
        let Lists { query, distances, .. } = &mut self.lists;
        space.row_as_query(edge.new, query);
        distances.resize(children.len(), 0.0);
        space.distances(query, children, distances);
        let nearest = distances.iter().copied().zip(children.iter().copied()).min_by(|a, b| a.0.total_cmp(&b.0));
        let (distance, target) = nearest.expect("a node that hands on has children");
        let handed = Edge { target, distance, ..*edge };
        let owner = self.graph.owner(target);
        if owner == self.shard {
            self.lists.handed.push(handed);
        } else {
            outbox.push(owner, handed);
        }
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.graph.set_claimed(self.shard, false);
    }
}

/// A list while it is changed: read once, written once.
pub(super) struct Target {
    row: u32,
    layer: usize,
    pub(super) rows: Vec<u32>,
    pub(super) max: usize,
    /// Entries at the head that stay, the link up among them.
    pub(super) kept: usize,
    pub(super) has_up: bool,
    kept_before: usize,
    /// First entry that differs from what is stored.
    changed_from: usize,
}

impl Target {
    /// Reads a list. Links to leaving nodes are left out, a link up is replaced by the nearest that stays.
    pub(super) fn load(graph: &Graph, row: u32, layer: usize, lists: &mut Lists) -> Target {
        let mut rows = std::mem::take(&mut lists.rows);
        rows.clear();
        graph.gather(row, layer, |neighbour| rows.push(neighbour));
        let (kept, has_up) = if layer == 0 { graph.kept(row) } else { (0, false) };
        debug_assert!(kept <= rows.len());
        let changed_from = rows.len();
        let mut list =
            Target { row, layer, rows, max: graph.degree_max(layer), kept, has_up, kept_before: kept, changed_from };
        if list.rows.iter().any(|&row| graph.is_leaving(row)) {
            list.purge(graph);
        }
        list
    }

    fn purge(&mut self, graph: &Graph) {
        let up = self.has_up.then(|| graph.up(self.row).expect("the root stays, and everything else has a link up"));
        let kept = self.rows[usize::from(self.has_up)..self.kept].iter().filter(|&&row| !graph.is_leaving(row)).count();
        self.rows.retain(|&row| !graph.is_leaving(row));
        if let Some(up) = up {
            if let Some(index) = self.rows.iter().position(|&row| row == up) {
                self.rows.remove(index);
                // It may have been a child of its own: the tree has no such loops, but a link may be both.
                self.kept = kept - usize::from(index < kept);
            } else {
                self.kept = kept;
            }
            self.rows.insert(0, up);
            self.rows.truncate(self.max);
            self.kept += 1;
        } else {
            self.kept = kept;
        }
        self.changed_from = 0;
    }

    fn children(&self) -> usize {
        self.kept - usize::from(self.has_up)
    }

    /// Makes an entry one of those that stay.
    fn promote(&mut self, index: usize) {
        self.rows.swap(index, self.kept);
        self.changed_from = self.changed_from.min(self.kept);
        self.kept += 1;
    }

    pub(super) fn store(&self, graph: &Graph) {
        let from = self.changed_from.min(self.rows.len());
        graph.store_links(self.row, self.layer, from, &self.rows[from..]);
        if self.layer == 0 && self.kept != self.kept_before {
            graph.set_kept(self.row, self.kept, self.has_up);
        }
    }
}

/// Chooses anew among the entries that need not stay and `unplaced`, whose distances are known unless they are NaN.
pub(super) fn prune<S: Space + ?Sized>(
    graph: &Graph,
    space: &S,
    list: &mut Target,
    unplaced: &mut Vec<(f32, u32)>,
    lists: &mut Lists,
) {
    debug_assert!(list.kept <= graph.params().m + 1);
    let old = &list.rows[list.kept..];
    lists.distances.resize(old.len(), 0.0);
    space.row_as_query(list.row, &mut lists.query);
    space.distances(&lists.query, old, &mut lists.distances);
    let vector = space.row(list.row);
    for candidate in unplaced.iter_mut().filter(|candidate| candidate.0.is_nan()) {
        candidate.0 = space.distance(vector, space.row(candidate.1));
    }
    unplaced.extend(lists.distances.iter().copied().zip(old.iter().copied()));
    unplaced.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    list.rows.truncate(list.kept);
    unplaced.dedup_by_key(|candidate| candidate.1);
    unplaced.retain(|candidate| !list.rows.contains(&candidate.1));
    let limit = (list.max * lists.prune_to_percent / 100).max(list.kept + 1).min(list.max);
    select_diverse(space, unplaced, limit, list.layer == 0, &mut lists.shadowed, &mut list.rows);
    list.changed_from = list.changed_from.min(list.kept);
}

/// Searches the neighbours of a new node, writes its lists (nobody sees them yet) and returns the edges back to it.
fn edges_of_new_node<S: Space + ?Sized>(
    indexer: &mut Indexer,
    space: &S,
    row: u32,
    level: usize,
    entry: (usize, u32),
) -> Vec<Edge> {
    let Indexer { graph, scratch, lists, newest, .. } = indexer;
    let params = graph.params();
    space.row_as_query(row, &mut lists.query);
    let (ef, highest) = (params.ef_construction, level.min(entry.0));
    graph.begin(ef, scratch);
    graph.start_at(space, &lists.query, entry.1, |_| true, scratch);
    graph.descend(space, &lists.query, entry.0, highest, |_| true, scratch);
    let mut edges = Vec::with_capacity(params.m * 2);
    for layer in (0..=highest).rev() {
        if layer < highest {
            // The nearest node of the layer above; where there was none that stays, the entry point will do.
            graph.begin(ef, scratch);
            let start = lists.found.first().map_or(entry.1, |&(_, nearest)| nearest);
            graph.start_at(space, &lists.query, start, |_| true, scratch);
        }
        if layer == 0
            && let Some(newest) = newest.filter(|&newest| graph.stays(newest))
        {
            graph.start_at(space, &lists.query, newest, |_| true, scratch);
        }
        graph.search_layer(space, &lists.query, layer, |_| true, scratch);
        lists.found.clear();
        lists.found.extend(scratch.pool.accepted().filter(|found| found.1 != row && !graph.is_leaving(found.1)));
        if lists.found.is_empty() && layer == 0 {
            let root = graph.root().expect("a graph with an entry point has a root");
            lists.found.push((space.distance(space.row(row), space.row(root)), root));
        }
        lists.selected.clear();
        select_diverse(space, &lists.found, params.m, layer == 0, &mut lists.shadowed, &mut lists.selected);
        graph.store_links(row, layer, 0, &lists.selected);
        for (index, &target) in lists.selected.iter().enumerate() {
            let found = lists.found.iter().find(|found| found.1 == target);
            let distance = found.expect("selected rows were found").0;
            edges.push(Edge { target, new: row, distance, layer: layer as u8, anchor: layer == 0 && index == 0 });
        }
    }
    graph.set_kept(row, 1, true);
    edges
}
