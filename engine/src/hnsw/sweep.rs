//! Taking nodes out of the graph: every owner goes over its lists once, and only then are the nodes gone.

use std::ops::Range;

use super::indexer::{Target, prune};
use super::{BLOCK_ROWS, Edge, EdgeOutbox, Indexer, Space};

impl Indexer {
    /// Says that the nodes of a block of this shard, all of whose rows are dead and indexed, are about to be taken out. Every owner
    /// has to sweep its lists then, this one too.
    ///
    /// # Panics
    /// If the block holds the root.
    pub fn leave(&mut self, block: u32) {
        assert!(!self.graph.holds_root(self.shard, block), "the root stays");
        self.graph.set_leaving(self.shard, block, true);
    }

    /// Makes sure that no search starts at a leaving node, after every owner has swept and all edges of that are applied. What
    /// searches began before may still come by.
    pub fn cut_off(&mut self) {
        if let Some((_, entry)) = self.graph.entry()
            && self.graph.is_leaving(entry)
        {
            let root = self.graph.root().expect("a graph with an entry point has a root");
            self.graph.offer_entry(root, self.graph.level(root).expect("the root is a node"));
        }
    }

    /// Takes the nodes of a leaving block out, after all searches from before it was cut off have ended.
    pub fn take_out(&mut self, block: u32) {
        let first = self.graph.row(self.shard, block * BLOCK_ROWS);
        if !self.graph.is_leaving(first) {
            return;
        }
        (first..first + BLOCK_ROWS).for_each(|row| self.graph.forget(row));
        self.graph.set_leaving(self.shard, block, false);
    }

    /// Slots of this shard that a sweep has to go over.
    pub fn slots(&self) -> u32 {
        self.graph.used(self.shard)
    }

    /// Goes over the lists of some slots: links to leaving nodes are replaced, and anchors that leaving nodes keep are sent on.
    pub fn sweep<S: Space + ?Sized>(&mut self, space: &S, slots: Range<u32>, outbox: &mut EdgeOutbox) {
        for slot in slots {
            let row = self.graph.row(self.shard, slot);
            let Some(level) = self.graph.level(row) else { continue };
            if self.graph.is_leaving(row) {
                self.send_children_on(row, outbox);
                (0..=level).for_each(|layer| self.purge_list(row, layer));
                continue;
            }
            for layer in 0..=level {
                self.sweep_list(space, row, layer);
            }
            self.graph.offer_entry(row, level);
        }
        self.link_handed(space, outbox);
    }

    /// Finds new keepers for the anchors that a leaving node keeps.
    fn send_children_on(&mut self, row: u32, outbox: &mut EdgeOutbox) {
        let (kept, has_up) = self.graph.kept(row);
        let children = self.graph.links(row, 0);
        for &new in &children[usize::from(has_up)..kept] {
            let edge = Edge { target: row, new, distance: f32::NAN, layer: 0, anchor: true };
            self.redirect(&edge, outbox);
        }
        // Once: another owner's sweep may come by before the node is gone.
        self.graph.set_kept(row, usize::from(has_up), has_up);
    }

    /// Searches still come by a leaving node: what it leads to must be there.
    fn purge_list(&mut self, row: u32, layer: usize) {
        let graph = self.graph.clone();
        let list = Target::load(&graph, row, layer, &mut self.lists);
        list.store(&graph);
        self.lists.rows = list.rows;
    }

    fn sweep_list<S: Space + ?Sized>(&mut self, space: &S, row: u32, layer: usize) {
        let graph = self.graph.clone();
        let mut candidates = std::mem::take(&mut self.lists.candidates);
        candidates.clear();
        let mut leaving = false;
        graph.gather(row, layer, |neighbour| {
            if graph.is_leaving(neighbour) {
                leaving = true;
                if graph.level(neighbour).is_some_and(|level| layer <= level) {
                    graph.gather(neighbour, layer, |other| candidates.push((f32::NAN, other)));
                }
            }
        });
        if leaving {
            let mut list = Target::load(&graph, row, layer, &mut self.lists);
            candidates.sort_unstable_by_key(|candidate| candidate.1);
            candidates.dedup_by_key(|candidate| candidate.1);
            candidates.retain(|&(_, other)| other != row && !graph.is_leaving(other) && !list.rows.contains(&other));
            prune(&graph, space, &mut list, &mut candidates, &mut self.lists);
            list.store(&graph);
            self.lists.rows = list.rows;
        }
        self.lists.candidates = candidates;
    }
}
