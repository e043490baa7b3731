//! Edges of a graph, by the node that they leave and by the one that they lead to, and walks along them. Pure: where edges come from and
//! which of them are visible, the caller says.
//!
//! ```text
//! Adjacency ─ segments, immutable, shared by all threads
//!   Segment ─ nodes: ids, each once, numbered; a hash table from id to number
//!             out, into: per node a run of entries (other node, type, weight, place of the edge's row)
//! Walk      ─ the nodes met so far, in the order in which they were; what each passes on
//! ```
//!
//! Edges that came later are in a segment of their own; when it is half as large as the one before, both become one. So there are about
//! as many segments as the number of edges has binary digits, and an edge is copied as many times. An edge that was replaced or deleted
//! stays in its segment, is passed over because its row is not visible, and is left out when segments become one.
//!
//! | file | holds |
//! |---|---|
//! | `nodes` | ids of nodes, numbered |
//! | `segment` | edges in the order of their nodes |
//! | `builder` | edges in any order, to a segment, in steps |
//! | `walk` | breadth first, and spreading activation |
//! | `gather` | the edges of one node that a walk follows |

mod builder;
mod gather;
mod nodes;
mod segment;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

pub use builder::SegmentBuilder;
pub use gather::{Direction, Follow};
pub use segment::{PLACE_ROWS, Place, Segment};
pub use walk::{Reached, ReachedNode, Spread, Walk, WalkRequest};

/// The edges of a collection at one moment. Whoever holds it may read it, whatever comes later.
#[derive(Debug)]
pub struct Adjacency {
    segments: Vec<Arc<Segment>>,
    /// Per shard: the ordinals whose rows it holds.
    covered: Vec<u64>,
    /// Rows of the collection that had died when all its edges were visible; None where some may not be.
    deaths: Option<u64>,
}

impl Adjacency {
    /// No edges of so many shards.
    pub fn empty(shards: usize) -> Adjacency {
        Adjacency { segments: Vec::new(), covered: vec![0; shards], deaths: None }
    }

    /// Its segments, the largest first.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// Ordinals of a shard whose rows it holds.
    pub fn covered(&self, shard: usize) -> u64 {
        self.covered[shard]
    }

    /// Rows of the collection that had died when all its edges were visible: where no more have, all still are.
    pub fn deaths(&self) -> Option<u64> {
        self.deaths
    }

    /// Edges that it holds, of which some may have died.
    pub fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.len()).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Memory, in bytes.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes() as u64).sum()
    }

    /// How many of its segments stay when `edges` come: those behind become one with the new.
    pub fn kept(&self, edges: usize) -> usize {
        let (mut kept, mut size) = (self.segments.len(), edges);
        while kept > 0 && self.segments[kept - 1].len() <= 2 * size {
            kept -= 1;
            size += self.segments[kept].len();
        }
        kept
    }

    /// Its first segments and one more, with the ordinals that they hold.
    pub fn with(&self, kept: usize, segment: Segment, covered: Vec<u64>, deaths: Option<u64>) -> Adjacency {
        assert_eq!(covered.len(), self.covered.len(), "as many shards");
        let mut segments = self.segments[..kept].to_vec();
        if !segment.is_empty() {
            segments.push(Arc::new(segment));
        }
        Adjacency { segments, covered, deaths }
    }
}
