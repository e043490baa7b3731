//! Edges that never change, in the order of their nodes, both ways.

use std::ops::Range;

use super::nodes::Nodes;
use crate::schema::IdRef;

/// Rows of a chunk: an edge is at a place within one.
pub const PLACE_ROWS: u32 = 1 << PLACE_BITS;
pub(super) const PLACE_BITS: u32 = 12;

/// Where the row of an edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Row id.
    pub row: u32,
    /// Its ordinal in its shard: a row of another ordinal in the same place is another edge.
    pub ordinal: u64,
}

/// One end of an edge, as the node at the other end has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The node that it leads to, or comes from.
    pub node: u32,
    /// Type, by its number in the segment.
    pub kind: u32,
    pub weight: f32,
    /// Chunk, by its number in the segment, and offset in it.
    pub place: u32,
}

/// The edges of each node, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Per node, and one more: where its entries begin.
    pub starts: Vec<u32>,
    pub entries: Vec<Entry>,
}

impl Lists {
    /// Where the entries of a node are.
    #[inline]
    pub fn of(&self, node: u32) -> Range<usize> {
        self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize
    }
}

/// Edges that came together.
#[derive(Debug)]
pub struct Segment {
    pub(super) nodes: Nodes,
    pub(super) out: Lists,
    pub(super) into: Lists,
    /// Types; the first is that of edges without one.
    pub(super) kinds: Vec<Box<str>>,
    /// First row and first ordinal of each chunk.
    pub(super) chunks: Vec<Place>,
}

impl Segment {
    /// Number of edges.
    pub fn len(&self) -> usize {
        self.out.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Where the row of an edge is.
    #[inline]
    pub(super) fn place(&self, entry: &Entry) -> Place {
        let chunk = self.chunks[(entry.place >> PLACE_BITS) as usize];
        let offset = entry.place % PLACE_ROWS;
        Place { row: chunk.row + offset, ordinal: chunk.ordinal + u64::from(offset) }
    }

    /// Id of a node.
    pub(super) fn id(&self, node: u32) -> IdRef<'_> {
        self.nodes.id(node)
    }

    /// Memory, in bytes.
    pub fn bytes(&self) -> usize {
        let lists =
            |lists: &Lists| lists.starts.capacity() * size_of::<u32>() + lists.entries.capacity() * size_of::<Entry>();
        let kinds: usize = self.kinds.iter().map(|kind| kind.len() + size_of::<Box<str>>()).sum();
        self.nodes.bytes()
            + lists(&self.out)
            + lists(&self.into)
            + kinds
            + self.chunks.capacity() * size_of::<Place>()
            + size_of::<Segment>()
    }
}
