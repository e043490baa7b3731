//! Making a loaded graph whole: links to rows that are not there go, and what nothing leads to any more is inserted again.
//!
//! A graph whose tree of anchors holds together (see the module's invariants) is taken as it is. Otherwise a breadth-first
//! search from the entry point lays a new tree over the links that are there.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{EdgeOutbox, Graph, Indexer, Space};

/// Rows of the graph that stand for "none".
const NONE: u32 = u32::MAX;

/// Makes the graph whole and gives it out.
pub(super) fn repair<S: Space + ?Sized>(mut graph: Graph, space: &S) -> Arc<Graph> {
    drop_dead_links(&mut graph);
    choose_entry(&mut graph);
    let mut orphans = Vec::new();
    if !Tree::of(&graph).is_some_and(|tree| tree.spans(&graph)) {
        let tree = Tree::grow(&graph);
        orphans = rows(&graph).filter(|&row| !tree.reached(&graph, row)).collect();
        for &row in &orphans {
            graph.forget(row);
        }
        drop_dead_links(&mut graph);
        tree.write(&graph);
    }
    if let Some(root) = rows(&graph).find(|&row| !graph.kept(row).1) {
        graph.set_root(root);
    }
    let graph = Arc::new(graph);
    let shards = graph.shards();
    let mut indexers: Vec<_> = (0..shards).map(|shard| Indexer::new(graph.clone(), shard)).collect();
    let mut outbox = EdgeOutbox::new(shards);
    for row in orphans {
        indexers[graph.owner(row)].insert(space, row, &mut outbox);
        while !outbox.is_empty() {
            for (shard, indexer) in indexers.iter_mut().enumerate() {
                let edges = outbox.take(shard);
                indexer.apply(space, &edges, &mut outbox);
            }
        }
    }
    graph
}

/// All rows in the graph.
fn rows(graph: &Graph) -> impl Iterator<Item = u32> + '_ {
    (0..graph.shards())
        .flat_map(move |shard| (0..graph.used(shard)).map(move |slot| graph.row(shard, slot)))
        .filter(|&row| graph.contains(row))
}

/// Removes links to rows that are not in the graph or do not reach the layer.
fn drop_dead_links(graph: &mut Graph) {
    let graph = &*graph;
    let mut links = Vec::new();
    for row in rows(graph) {
        for layer in 0..=graph.level(row).expect("the row is in the graph") {
            links.clear();
            graph.gather(row, layer, |neighbour| links.push(neighbour));
            let is_live = |&neighbour: &u32| graph.level(neighbour).is_some_and(|level| level >= layer);
            if links.iter().all(is_live) {
                continue;
            }
            if layer == 0 {
                let (kept, has_up) = graph.kept(row);
                let has_up = has_up && is_live(&links[0]);
                graph.set_kept(row, links[..kept].iter().filter(|&row| is_live(row)).count(), has_up);
            }
            links.retain(is_live);
            graph.store_links(row, layer, 0, &links);
        }
    }
}

/// Keeps the entry point that the files name, if it is there.
fn choose_entry(graph: &mut Graph) {
    let named = graph.entry().filter(|&(level, row)| graph.level(row) == Some(level));
    let highest =
        || rows(graph).filter_map(|row| Some((graph.level(row)?, row))).max_by_key(|&(level, row)| (level, !row));
    let entry = named.or_else(highest);
    graph.set_entry(entry);
}

/// A tree over the rows of a graph: the node that keeps the link down to each.
struct Tree {
    /// Where each shard's rows start.
    starts: Vec<usize>,
    /// Per row, by `index`; the root is its own parent.
    parents: Vec<u32>,
    root: u32,
}

impl Tree {
    fn empty(graph: &Graph, root: u32) -> Tree {
        let mut starts = Vec::new();
        let mut total = 0;
        for shard in 0..graph.shards() {
            starts.push(total);
            total += graph.used(shard) as usize;
        }
        let mut tree = Tree { starts, parents: vec![NONE; total], root };
        if root != NONE {
            *tree.parent(graph, root) = root;
        }
        tree
    }

    fn index(&self, graph: &Graph, row: u32) -> usize {
        self.starts[graph.owner(row)] + graph.slot(row) as usize
    }

    fn parent(&mut self, graph: &Graph, row: u32) -> &mut u32 {
        let index = self.index(graph, row);
        &mut self.parents[index]
    }

    fn reached(&self, graph: &Graph, row: u32) -> bool {
        self.parents[self.index(graph, row)] != NONE
    }

    /// The tree that the kept links make; None when a row has two anchors, or there are two roots, or none.
    fn of(graph: &Graph) -> Option<Tree> {
        let mut roots = rows(graph).filter(|&row| !graph.kept(row).1);
        let Some(root) = roots.next() else {
            return rows(graph).next().is_none().then(|| Tree::empty(graph, NONE));
        };
        if roots.next().is_some() {
            return None;
        }
        let mut tree = Tree::empty(graph, root);
        for row in rows(graph) {
            let (kept, has_up) = graph.kept(row);
            let links = graph.links(row, 0);
            for &child in links.get(usize::from(has_up)..kept)? {
                let parent = tree.parent(graph, child);
                if *parent != NONE {
                    return None;
                }
                *parent = row;
            }
        }
        Some(tree)
    }

    /// True when every row is below the root, and the links up lead from every row to the root.
    fn spans(&self, graph: &Graph) -> bool {
        let leads_to_root = |next: &dyn Fn(u32) -> u32| {
            // 0: not looked at, 1: on the way that is walked now, 2: leads to the root.
            let mut states = vec![0u8; self.parents.len()];
            let mut way = Vec::new();
            rows(graph).all(|start| {
                let mut row = start;
                while row != NONE && row != self.root && states[self.index(graph, row)] == 0 {
                    states[self.index(graph, row)] = 1;
                    way.push(row);
                    row = next(row);
                }
                let leads = row != NONE && (row == self.root || states[self.index(graph, row)] == 2);
                for row in way.drain(..) {
                    states[self.index(graph, row)] = 2;
                }
                leads
            })
        };
        leads_to_root(&|row| self.parents[self.index(graph, row)])
            && leads_to_root(&|row| graph.links(row, 0).first().copied().unwrap_or(NONE))
    }

    /// A tree over the rows that layer 0 leads to from the entry point, with at most M children a row.
    fn grow(graph: &Graph) -> Tree {
        let root = graph.entry().map_or(NONE, |(_, row)| row);
        let mut tree = Tree::empty(graph, root);
        let mut queue = VecDeque::from_iter((root != NONE).then_some(root));
        while let Some(row) = queue.pop_front() {
            let mut children = 0;
            for neighbour in graph.links(row, 0) {
                let parent = tree.parent(graph, neighbour);
                if *parent == NONE && children < graph.params().m {
                    *parent = row;
                    children += 1;
                    queue.push_back(neighbour);
                }
            }
        }
        tree
    }

    /// Puts the tree's links at the head of the lists: the one up, then those down.
    fn write(&self, graph: &Graph) {
        for row in rows(graph) {
            let links = graph.links(row, 0);
            let up = self.parents[self.index(graph, row)];
            let is_child = |&other: &u32| other != self.root && self.parents[self.index(graph, other)] == row;
            let mut list = Vec::with_capacity(links.len() + 1);
            list.extend((row != self.root).then_some(up));
            list.extend(links.iter().copied().filter(is_child));
            let kept = list.len();
            list.extend(links.iter().copied().filter(|other| !is_child(other) && (*other != up || row == self.root)));
            list.truncate(graph.degree_max(0));
            graph.store_links(row, 0, 0, &list);
            graph.set_kept(row, kept, row != self.root);
        }
    }
}
