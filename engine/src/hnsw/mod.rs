//! One logical HNSW graph over the rows of all shards (Malkov & Yashunin, arXiv 1603.09320).
//!
//! A node's links are written by the [`Indexer`] of the shard that owns its row, and read by any core without a lock.
//! The inserting shard searches the whole graph, writes its own new node, publishes it, and only then asks the owners of
//! its neighbours for the links back ([`Edge`]).
//!
//! Invariants:
//! - A list is a fixed array of atomic row ids that ends at the first empty entry. Only its owner writes it. It never
//!   holds the id of a node that is not published: vector and links of a node are written before its id is stored, with
//!   Release, anywhere (but in lists of a bulk round, as long as nothing leads to these). So a reader that catches a list half-way through a change sees a link twice or not at all, and
//!   nothing worse.
//! - Layer 0 is strongly connected once all edges are delivered, whatever the data and the order of delivery. Each node
//!   but the first keeps one link *up*, to a node that was there before it, and has one link *down* to it (the anchor)
//!   that some owner keeps. These links stand first in a list and are never pruned. An owner with too many of them hands
//!   one on to another of its own, which moves the node further down the same tree.
//! - Nodes leave by whole blocks of rows, when all rows of a block are dead. Their owner marks the block; from then on nothing
//!   new leads to them. Every owner sweeps its lists: a link to a leaving node is replaced by what that node led to, a link up by
//!   the nearest one further up that stays, and anchors that a leaving node kept go there too. Only then are the nodes gone. The
//!   root of the tree, the first node of all, never leaves.
//! - The entry point is one atomic number, changed by compare-exchange, and names only nodes that are linked.
//!
//! | file | holds |
//! |---|---|
//! | `graph` | the shared arrays, lists, entry point |
//! | `search` | descent and best-first search |
//! | `pool`, `visited` | candidates and seen rows of one search |
//! | `indexer` | insert, reverse edges, pruning |
//! | `bulk` | many rows at once |
//! | `refine` | linking nodes anew in idle time |
//! | `select` | the diversity heuristic |
//! | `sweep` | taking nodes out |
//! | `edges` | reverse edges in transit |
//! | `levels` | which layer a node reaches |
//! | `file`, `repair` | the graph file; making a loaded graph whole |
//! | `links` | reserved spans of atomics (the only unsafe code) |

mod bulk;
mod edges;
mod file;
mod graph;
mod indexer;
mod levels;
mod links;
mod pool;
mod refine;
mod repair;
mod search;
mod select;
mod sweep;
#[cfg(test)]
mod tests;
mod visited;

pub use bulk::{Bulk, BulkPart, BulkRows, BulkStep};
pub use edges::{Edge, EdgeOutbox};
pub use file::{FORMAT_VERSION, GraphLoader};
pub use graph::{Graph, GraphStats};
pub use indexer::Indexer;
pub use search::SearchScratch;

use kernels::{Panel, Tile};

/// Rows of a block: nodes are taken out of the graph by whole blocks.
pub const BLOCK_ROWS: u32 = 1 << 12;

/// What the graph knows of vectors: how far apart two are. Smaller is nearer.
///
/// Rows given to it are always rows that were given to [`Indexer::insert`].
pub trait Space {
    /// The vector of a row, as `distance` takes it.
    fn row(&self, row: u32) -> &[u8];
    /// The vector of a row, as `distances` takes it, in place of what `query` held.
    fn row_as_query(&self, row: u32, query: &mut Vec<u8>) {
        query.clear();
        query.extend_from_slice(self.row(row));
    }
    /// Distance of two vectors.
    fn distance(&self, a: &[u8], b: &[u8]) -> f32;
    /// Distances of a query to rows, `out[i]` to `rows[i]`; lengths are equal. They compare with those of `distance` if the query is a row.
    fn distances(&self, query: &[u8], rows: &[u32], out: &mut [f32]);
    /// Starts loading the vector of a row.
    fn prefetch(&self, row: u32);
    /// Distances of many to many, equal to those of `distance`; None where there is no such kernel: then nothing is built in bulk.
    fn tile(&self) -> Option<Tile> {
        None
    }
    /// Lays out the vectors of rows for the tile kernel.
    fn pack(&self, _rows: &[u32], _panel: &mut Panel) {
        unreachable!("no tile kernel, no panels");
    }
}

/// Shape of a graph, fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphParams {
    /// Links a new node makes on each layer: 2 to 32. A node has at most `2 m` links on layer 0 and `m` above.
    pub m: usize,
    /// Candidates of the search for a new node's neighbours.
    pub ef_construction: usize,
    /// Seed of the levels.
    pub seed: u64,
}

impl Default for GraphParams {
    fn default() -> GraphParams {
        GraphParams { m: 16, ef_construction: 140, seed: 0x0b0a_dead }
    }
}
