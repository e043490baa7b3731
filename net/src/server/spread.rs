//! Results of a search ordered anew by activation that spreads along the edges of a graph: see [`engine::search::SpreadOptions`].

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use engine::collection::Collection;
use engine::edges::ReachedNode;
use engine::schema::IdRef;
use engine::search::{Hit, Search, SpreadOptions};
use engine::traversal::TraversalRequest;

use super::context::Context;
use super::traversals::{find_rows, traverse};
use super::writes::Refusal;

/// What spreads, and along what.
pub struct Spreading {
    edges: Arc<Collection>,
    options: SpreadOptions,
    request: TraversalRequest,
}

/// A result, and what it is ordered by.
type Scored = (Hit, f32);

impl Spreading {
    /// Checks the option of a search of `collection`.
    pub fn new(context: &Context, collection: &Collection, options: SpreadOptions) -> Result<Spreading, Refusal> {
        let edges = context.collection_named(&options.edges)?;
        edges.touch();
        let invalid = |problem| engine::Error::InvalidOption { option: "spread.edges".to_owned(), problem };
        let Some(columns) = edges.spec.schema.edges() else {
            return Err(invalid("the rows of this collection are no edges").into());
        };
        if columns.node_kind != collection.spec.schema.id_kind() {
            return Err(invalid("its edges are between ids of another kind").into());
        }
        if columns.nodes.as_ref().is_some_and(|nodes| *nodes != collection.spec.name) {
            return Err(invalid("its edges are between rows of another collection").into());
        }
        let request = options.traversal();
        request.check(1)?;
        Ok(Spreading { edges, options, request })
    }

    /// Results that are asked of the search, for `k` that are wanted.
    pub fn candidates(&self, k: usize) -> usize {
        self.options.candidates(k)
    }

    /// Orders the results of each query anew, and leaves up to `k` of them; gives what they are ordered by, one behind the other.
    pub async fn rank_all(
        &self,
        context: &Rc<Context>,
        search: &Search,
        hits: Vec<Vec<Hit>>,
        k: usize,
    ) -> engine::Result<(Vec<Vec<Hit>>, Option<Vec<f32>>)> {
        let (mut ranked, mut scores) = (Vec::with_capacity(hits.len()), Vec::new());
        for (query, hits) in hits.into_iter().enumerate() {
            let scored = self.rank(context, search, query, hits, k).await?;
            scores.extend(scored.iter().map(|(_, score)| *score));
            ranked.push(scored.into_iter().map(|(hit, _)| hit).collect());
        }
        Ok((ranked, Some(scores)))
    }

    /// Orders the results of a query anew, and leaves up to `k` of them.
    async fn rank(
        &self,
        context: &Rc<Context>,
        search: &Search,
        query: usize,
        hits: Vec<Hit>,
        k: usize,
    ) -> engine::Result<Vec<Scored>> {
        let region = &search.collection().region;
        let similarity = |hit: &Hit| f64::from(search.similarity(hit.distance));
        let seeds: Vec<(IdRef<'_>, f64)> =
            hits.iter().map(|hit| (region.id(hit.row), similarity(hit).max(0.0))).collect();
        if seeds.is_empty() {
            return Ok(Vec::new());
        }
        let mut reached = traverse(context, &self.edges, &self.request, &seeds).await?;
        let nodes: Vec<ReachedNode> = reached.next(self.request.limit).to_vec();
        let activations: HashMap<IdRef<'_>, f64> =
            nodes.iter().map(|node| (reached.id(node), f64::from(node.activation))).collect();
        let score = |similarity: f64, received: f64| (similarity + self.options.weight * received) as f32;
        let mut scored: Vec<Scored> = hits
            .iter()
            .zip(&seeds)
            .map(|(hit, (id, seed))| {
                let received = activations.get(id).map_or(0.0, |activation| (activation - seed).max(0.0));
                (*hit, score(similarity(hit), received))
            })
            .collect();
        if self.options.neighbours {
            let left_out = search.request().left_out.as_ref();
            let left_out = left_out.into_iter().flat_map(|ids| ids.view().iter());
            let known: HashSet<IdRef<'_>> = seeds.iter().map(|(id, _)| *id).chain(left_out).collect();
            // The most activated first: as many as could come to be among the results.
            let ids: Vec<IdRef<'_>> = nodes
                .iter()
                .map(|node| reached.id(node))
                .filter(|id| !known.contains(id))
                .take(hits.len().max(k))
                .collect();
            let rows = if ids.is_empty() { Vec::new() } else { find_rows(context, search.collection(), &ids).await? };
            let found =
                ids.iter().zip(rows).filter_map(|(id, row)| Some((*id, row.filter(|&row| search.admits(row))?)));
            let (ids, rows): (Vec<IdRef<'_>>, Vec<u32>) = found.unzip();
            let distances = search.distances(query, &rows);
            scored.extend(ids.iter().zip(rows).zip(distances).map(|((id, row), distance)| {
                let hit = Hit { row, distance };
                (hit, score(similarity(&hit), activations[id]))
            }));
        }
        scored.sort_by(|(left, left_score), (right, right_score)| {
            right_score.total_cmp(left_score).then_with(|| region.id(left.row).cmp(&region.id(right.row)))
        });
        scored.truncate(k);
        Ok(scored)
    }
}
