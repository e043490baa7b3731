//! Linking nodes anew that are in the graph: idle time makes of any graph one that finds more.
//!
//! A row was linked to what the graph held when it came, or, in a bulk round, to what lay in its leaves. It is searched for once
//! more; what is found stands beside its links, and of all the diverse ones stay. Searches meanwhile find the old links or the new
//! ones. Most of what that brings, a single pass over all nodes does: how much stands in the decision log.

use super::edges::{Edge, EdgeOutbox};
use super::indexer::{Target, prune};
use super::select::select_diverse;
use super::{Indexer, Space};

impl Indexer {
    /// Links an own node anew on layer 0; nothing is done where it is none, or leaves. `edges` takes the links back to it that other
    /// shards must make.
    pub fn refine<S: Space + ?Sized>(&mut self, space: &S, row: u32, edges: &mut EdgeOutbox) {
        let graph = self.graph.clone();
        assert_eq!(graph.owner(row), self.shard, "row {row:#x} belongs to another shard");
        let Some(entry) = graph.entry().filter(|_| graph.stays(row)) else { return };
        let Indexer { scratch, lists, .. } = self;
        space.row_as_query(row, &mut lists.query);
        graph.begin(graph.params().ef_construction, scratch);
        graph.start_at(space, &lists.query, entry.1, |_| true, scratch);
        graph.descend(space, &lists.query, entry.0, 0, |_| true, scratch);
        graph.search_layer(space, &lists.query, 0, |_| true, scratch);
        lists.found.clear();
        lists.found.extend(scratch.pool.accepted().filter(|found| found.1 != row && !graph.is_leaving(found.1)));
        lists.selected.clear();
        select_diverse(space, &lists.found, graph.params().m, true, &mut lists.shadowed, &mut lists.selected);
        let mut list = Target::load(&graph, row, 0, lists);
        let mut unplaced = std::mem::take(&mut lists.candidates);
        unplaced.clear();
        let is_new = |found: &&(f32, u32)| lists.selected.contains(&found.1) && !list.rows.contains(&found.1);
        unplaced.extend(lists.found.iter().filter(is_new));
        let mut back: Vec<Edge> = unplaced
            .iter()
            .map(|&(distance, target)| Edge { target, new: row, distance, layer: 0, anchor: false })
            .collect();
        if list.rows.len() + unplaced.len() <= list.max {
            list.rows.extend(unplaced.iter().map(|&(_, row)| row));
        } else {
            prune(&graph, space, &mut list, &mut unplaced, lists);
        }
        list.store(&graph);
        back.retain(|edge| list.rows.contains(&edge.target));
        lists.rows = list.rows;
        lists.candidates = unplaced;
        for edge in back {
            let owner = graph.owner(edge.target);
            if owner == self.shard {
                self.link(space, &[edge], edges);
            } else {
                edges.push(owner, edge);
            }
        }
    }

    /// Says that all own nodes were linked anew, but for those that came since there were `before` that were not.
    pub fn set_refined(&mut self, before: u32) {
        self.graph.set_unrefined(self.shard, self.graph.unrefined(self.shard).saturating_sub(before));
    }
}
