//! Traversals: along the edges that a collection's rows are, to nodes that may be the rows of another.
//!
//! One runs on the shard that got it, as a task that gives way after each step. Edges that are not in order yet it brings there first, or
//! waits for whoever does that. Only in the end other shards are asked, which of the nodes are rows.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::collection::Collection;
use engine::edges::{Reached, ReachedNode};
use engine::ids::IdList;
use engine::limits;
use engine::placement;
use engine::schema::{IdKind, IdRef};
use engine::shard::Message;
use engine::shard::executor;
use engine::traversal::{Access, TraversalRequest, VisibleEdges};

use super::context::Context;
use super::session::SessionId;
use super::tasks;
use super::writes::Refusal;
use crate::codec::{self, Header, Traverse, Traversed, TraversedNode};

/// How often one that waits for another to bring edges in looks.
const BUSY_STEP: Duration = Duration::from_micros(200);
/// Nodes that are looked up together, at first.
const LOOK_UP_MIN: usize = 256;

/// Checks a traversal and starts it.
pub fn spawn_traverse_edges(
    context: &Rc<Context>,
    session: SessionId,
    header: Header,
    asked: Traverse<'_>,
) -> Result<(), Refusal> {
    let collection = context.collection(header.collection)?;
    let request = asked.request();
    request.check(asked.seeds.len())?;
    let invalid = |problem| engine::Error::InvalidTraversal { problem };
    let Some(columns) = collection.spec.schema.edges() else {
        return Err(invalid("the rows of the collection are no edges").into());
    };
    asked
        .seeds
        .check(columns.node_kind)
        .map_err(|_| invalid("the seeds are ids of another kind than those of the nodes"))?;
    if asked.activations().any(|activation| !(activation.is_finite() && activation >= 0.0)) {
        return Err(invalid("the activation of a seed is negative, or not finite").into());
    }
    let nodes = match columns.nodes.as_ref().filter(|_| !request.missing) {
        Some(name) => Some(nodes_named(context, name, columns.node_kind)?),
        None => None,
    };
    let seeds = IdList::from_view(asked.seeds);
    let activations: Vec<f32> = asked.activations().collect();
    let task = context.clone();
    tasks::spawn(context, session, header, async move {
        let seeds = seeds.view().iter().enumerate();
        let activation = |index: usize| activations.get(index).map_or(1.0, |&activation| f64::from(activation));
        let seeds: Vec<(IdRef<'_>, f64)> = seeds.map(|(index, id)| (id, activation(index))).collect();
        let mut reached = traverse(&task, &collection, &request, &seeds).await?;
        let found = existing(&task, &mut reached, nodes.as_ref(), request.limit).await?;
        let nodes =
            |node: &ReachedNode| TraversedNode { hops: node.hops, weight: node.weight, activation: node.activation };
        let nodes: Vec<TraversedNode> = found.iter().map(nodes).collect();
        let kind = collection.spec.schema.edges().expect("checked").node_kind;
        let mut frame = Vec::new();
        codec::encode_frame(header.reply(), &mut frame, |out| {
            let ids = found.iter().map(|node| reached.id(node));
            Traversed::encode(&nodes, reached.edges as u64, reached.is_truncated, kind, ids, out);
        });
        Ok(frame)
    });
    Ok(())
}

/// The collection that the nodes of edges are rows of.
pub(super) fn nodes_named(context: &Context, name: &str, kind: IdKind) -> Result<Arc<Collection>, Refusal> {
    let nodes = context.collection_named(name)?;
    nodes.touch();
    if nodes.spec.schema.id_kind() != kind {
        let problem = "the ids of the collection of the nodes are of another kind than the ends of the edges";
        return Err(engine::Error::InvalidTraversal { problem }.into());
    }
    Ok(nodes)
}

/// The edges of a collection as of now, brought into order if they are not and the memory budget allows it.
async fn edges_of(context: &Context, collection: &Arc<Collection>) -> engine::Result<VisibleEdges> {
    loop {
        match VisibleEdges::of(collection)? {
            Access::Ready(edges) => return Ok(*edges),
            Access::Busy => executor::sleep(BUSY_STEP).await,
            Access::Behind(mut build) => {
                context.check_memory(build.bytes())?;
                while build.step()? {
                    executor::yield_if_needed().await;
                }
                return Ok(build.finish());
            }
        }
    }
}

/// Walks along the edges of a collection, from seeds with the activation of each. The request was checked.
pub(super) async fn traverse(
    context: &Context,
    collection: &Arc<Collection>,
    request: &TraversalRequest,
    seeds: &[(IdRef<'_>, f64)],
) -> engine::Result<Reached> {
    let edges = edges_of(context, collection).await?;
    let mut walk = edges.walk(request);
    seeds.iter().for_each(|&(id, activation)| walk.seed(id, activation));
    while walk.step(|place| edges.sees(place)) {
        executor::yield_if_needed().await;
    }
    Ok(walk.finish(request.hops_min))
}

/// The first nodes, up to `limit`, that are rows of the collection of the nodes, if there is one.
async fn existing(
    context: &Rc<Context>,
    reached: &mut Reached,
    nodes: Option<&Arc<Collection>>,
    limit: usize,
) -> engine::Result<Vec<ReachedNode>> {
    let Some(nodes) = nodes else { return Ok(reached.next(limit).to_vec()) };
    let (mut found, mut count) = (Vec::new(), limit.max(LOOK_UP_MIN));
    while found.len() < limit {
        let next = reached.next(count).to_vec();
        if next.is_empty() {
            break;
        }
        let ids: Vec<IdRef<'_>> = next.iter().map(|node| reached.id(node)).collect();
        let rows = find_rows(context, nodes, &ids).await?;
        found.extend(next.iter().zip(&rows).filter(|(_, row)| row.is_some()).map(|(node, _)| *node));
        count = (2 * count).min(limits::IDS_MAX);
    }
    found.truncate(limit);
    Ok(found)
}

/// The newest row of each id, looked up by the shards that are their homes, all at the same time.
pub(super) async fn find_rows(
    context: &Rc<Context>,
    collection: &Arc<Collection>,
    ids: &[IdRef<'_>],
) -> engine::Result<Vec<Option<u32>>> {
    let mut homes: Vec<Vec<usize>> = vec![Vec::new(); context.shards];
    for (place, &id) in ids.iter().enumerate() {
        homes[placement::home(id, context.shards)].push(place);
    }
    let kind = collection.spec.schema.id_kind();
    let asked: Vec<(usize, u64)> = (0..context.shards)
        .filter(|&shard| !homes[shard].is_empty())
        .map(|shard| {
            let ticket = context.mailbox.expect(1);
            let ids = IdList::from_ids(kind, homes[shard].iter().map(|&place| ids[place]));
            context.find(shard, ticket, collection.spec.id, ids);
            (shard, ticket)
        })
        .collect();
    let (mut found, mut failed) = (vec![None; ids.len()], None);
    for (shard, ticket) in asked {
        let answer = context.mailbox.answers(ticket).await.pop();
        let Some(Message::Found { rows, .. }) = answer else { unreachable!("answers a lookup") };
        match rows {
            Ok(rows) => homes[shard].iter().zip(rows).for_each(|(&place, row)| found[place] = row),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(found), Err)
}
