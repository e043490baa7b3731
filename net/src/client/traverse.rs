//! Traversals along the edges that a collection's rows are.

use engine::limits::{EDGE_TYPE_BYTES_MAX, TRAVERSE_TYPES_MAX};
use engine::schema::IdRef;
use engine::traversal::TraversalRequest;

use super::{Collection, Id, Ids, Pending};
use crate::codec::{Opcode, Traverse, Traversed};
use crate::error::{Error, Result};

/// A traversal. `..TraverseRequest::from(&seeds)` fills in what is not set: one hop along outgoing edges of any type, without
/// activation.
#[derive(Debug, Clone)]
pub struct TraverseRequest<'a> {
    /// Ids of the nodes where it begins.
    pub seeds: &'a Ids,
    /// Activation of each of them; empty: 1 each.
    pub activations: &'a [f32],
    /// Hops, edges that are followed, how activation spreads, limits.
    pub options: TraversalRequest,
}

impl<'a> From<&'a Ids> for TraverseRequest<'a> {
    fn from(seeds: &'a Ids) -> Self {
        TraverseRequest { seeds, activations: &[], options: TraversalRequest::default() }
    }
}

/// A node that was reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its id.
    pub id: Id,
    /// Fewest hops that lead to it.
    pub hops: u8,
    /// Greatest product of the weights of edges along a path of so many hops.
    pub weight: f32,
    /// What has spread to it; 0 where activation does not.
    pub activation: f32,
}

/// The answer to a traversal.
#[derive(Debug, Clone, PartialEq)]
pub struct TraverseReply {
    /// The most activated first; without activation, those at fewer hops, and of these the heavier; of equal ones the one with the
    /// least id.
    pub nodes: Vec<Node>,
    /// Edges that were looked at.
    pub edges: u64,
    /// A limit ended the traversal: nodes may be missing, or have less activation than they would.
    pub is_truncated: bool,
    /// The server had just been started and not yet all its rows back.
    pub is_recovering: bool,
}

impl Collection {
    /// Sends a traversal along the edges that the rows of this collection are, to the shard whose turn it is.
    ///
    /// # Errors
    /// `Engine` for what is wrong with the request, and where the rows are no edges.
    pub fn traverse(&self, request: &TraverseRequest<'_>) -> Result<Pending<TraverseReply>> {
        let TraverseRequest { seeds, activations, options } = request;
        let invalid = |problem| Err(Error::from(engine::Error::InvalidTraversal { problem }));
        let Some(columns) = self.schema.edges() else { return invalid("the rows of the collection are no edges") };
        if columns.node_kind != seeds.kind() {
            return invalid("the seeds are ids of another kind than those of the nodes");
        }
        if !activations.is_empty() && activations.len() != seeds.len() {
            return invalid("there is not an activation for each seed");
        }
        let above = |what, value: usize, limit: usize| {
            Err(engine::Error::LimitExceeded { what, value: value as u64, limit: limit as u64 }.into())
        };
        let kinds = &options.follow.kinds;
        if kinds.len() > TRAVERSE_TYPES_MAX {
            return above("number of types", kinds.len(), TRAVERSE_TYPES_MAX);
        }
        if let Some(long) = kinds.iter().find(|kind| kind.len() > EDGE_TYPE_BYTES_MAX) {
            return above("number of bytes of a type", long.len(), EDGE_TYPE_BYTES_MAX);
        }
        let ticket = self.request(None, Opcode::Traverse, |body| {
            Traverse::encode(options, seeds.kind(), seeds.iter(), activations, body);
        })?;
        Ok(Pending::new(vec![ticket], move |mut replies| {
            let reply = replies.pop().expect("one part");
            let traversed = Traversed::decode(&reply.body)?;
            let id = |id: IdRef<'_>| match id {
                IdRef::U64(id) => Id::U64(id),
                IdRef::I64(id) => Id::I64(id),
                IdRef::Utf8(id) => Id::Utf8(id.to_owned()),
            };
            let nodes = traversed.ids.iter().zip(traversed.nodes());
            let nodes = nodes.map(|(found, node)| Node {
                id: id(found),
                hops: node.hops,
                weight: node.weight,
                activation: node.activation,
            });
            Ok(TraverseReply {
                nodes: nodes.collect(),
                edges: traversed.edges,
                is_truncated: traversed.is_truncated,
                is_recovering: reply.is_recovering,
            })
        }))
    }
}
