//! The way of a batch of queries through the graph, one by one, on any core that has time.
//!
//! One query runs on one core. The queries of a batch are taken from a common counter, by the shard that got the batch and by those
//! that it told of it. A shard that is busy takes few or none, and nobody waits for it: the batch is done when every query that was
//! taken has been answered for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Scratch, SearchRequest, Top};
use crate::collection::Collection;
use crate::probes;
use crate::region::View;

/// The queries of one search, each to be taken by one core.
pub struct GraphJob {
    collection: Arc<Collection>,
    request: SearchRequest,
    /// Held by whoever holds the job: the rows that it sees stay where they are.
    view: View,
    next: AtomicUsize,
    /// Shard that waits for the answers.
    pub owner: usize,
    /// Number that the owner knows the search by.
    pub ticket: u64,
}

impl GraphJob {
    /// All queries of a request, none of them taken.
    pub(super) fn new(
        collection: Arc<Collection>,
        request: SearchRequest,
        view: View,
        owner: usize,
        ticket: u64,
    ) -> GraphJob {
        GraphJob { collection, request, view, next: AtomicUsize::new(0), owner, ticket }
    }

    /// Takes a query. Whoever has taken one has to search for it.
    pub fn take(&self) -> Option<usize> {
        // Relaxed: the queries were there before the job was shared, and taking one orders nothing else.
        let query = self.next.fetch_add(1, Ordering::Relaxed);
        (query < self.request.count).then_some(query)
    }

    /// The nearest rows of a query that was taken.
    pub fn search(&self, query: usize, scratch: &mut Scratch) -> Top {
        nearest(&self.collection, &self.request, &self.view, query, scratch)
    }
}

/// Searches the graph for one query and ranks the best candidates by their full vectors.
pub(super) fn nearest(
    collection: &Collection,
    request: &SearchRequest,
    view: &View,
    query: usize,
    scratch: &mut Scratch,
) -> Top {
    let index = &collection.vectors[request.vector];
    let vector = request.query(query);
    let space = index.space();
    space.encode_query(vector, &mut scratch.code);
    let accept = |row: u32| collection.region.visible(view, row);
    probes::query_begin(collection.spec.id, request.ef);
    index.graph().search(space, &scratch.code, request.ef, accept, &mut scratch.graph, &mut scratch.found);
    probes::query_traversed(collection.spec.id, scratch.found.len());
    let depth = space.rerank_depth(request.k).min(scratch.found.len());
    scratch.rows.clear();
    scratch.rows.extend(scratch.found[..depth].iter().map(|&(_, row)| row));
    scratch.distances.resize(depth, 0.0);
    space.exact(vector, &scratch.rows, &mut scratch.distances);
    let mut top = Top::new(request.k);
    top.push_all(&scratch.rows, &scratch.distances);
    probes::query_ranked(collection.spec.id, depth);
    top
}
