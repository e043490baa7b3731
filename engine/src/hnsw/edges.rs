//! Reverse edges on their way to the shard that owns their target.

/// A request to the owner of `target`: link it to `new`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Node whose links change.
    pub target: u32,
    /// Node to link to.
    pub new: u32,
    /// Distance of the two.
    pub distance: f32,
    /// Layer of the link.
    pub layer: u8,
    /// The link by which `new` is sure to be reached: `target`, or a node that it hands the edge to, keeps it.
    pub anchor: bool,
}

/// Edges waiting to be sent, by owner.
#[derive(Debug)]
pub struct EdgeOutbox {
    queues: Vec<Vec<Edge>>,
}

impl EdgeOutbox {
    /// An empty outbox for `shards` owners.
    pub fn new(shards: usize) -> EdgeOutbox {
        EdgeOutbox { queues: vec![Vec::new(); shards] }
    }

    /// Queues an edge for its owner.
    pub fn push(&mut self, owner: usize, edge: Edge) {
        self.queues[owner].push(edge);
    }

    /// Takes what waits for `owner`.
    pub fn take(&mut self, owner: usize) -> Vec<Edge> {
        std::mem::take(&mut self.queues[owner])
    }

    /// Edges waiting for all owners.
    pub fn len(&self) -> usize {
        self.queues.iter().map(Vec::len).sum()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(Vec::is_empty)
    }
}
