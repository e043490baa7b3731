//! Edges between nodes, traversals along them and activation that spreads, by their definitions.

use std::collections::{BTreeMap, BTreeSet};

use engine::edges::{Direction, Follow, Spread};
use engine::search::SpreadOptions;
use engine::traversal::TraversalRequest;
use net::client::{Hit, Id, TraverseReply};

use super::Model;
use super::value::Value;
use crate::random::Random;

/// How far weights and activations may be from the definition, as a part of them: they come as `f32`.
const SLACK: f64 = 1e-6;

/// An edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Where it comes from.
    pub from: Id,
    /// Where it leads.
    pub to: Id,
    /// Type; empty for none.
    pub kind: String,
    /// Weight.
    pub weight: f32,
}

/// A node that was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reached {
    /// Fewest hops that lead to it.
    pub hops: u8,
    /// Greatest product of weights along a path of so many hops.
    pub weight: f64,
    /// What has spread to it.
    pub activation: f64,
}

/// What is followed from each node.
type Lists<'a> = BTreeMap<&'a Id, Vec<(&'a Id, f64)>>;

/// Nodes that are reached along edges from seeds with their activations; whatever is there of them.
pub fn traverse(edges: &[Edge], request: &TraversalRequest, seeds: &[(Id, f64)]) -> BTreeMap<Id, Reached> {
    let lists = lists(edges, &request.follow);
    let seed = |(id, _): &(Id, f64)| (id.clone(), Reached { hops: 0, weight: 1.0, activation: 0.0 });
    let mut reached: BTreeMap<Id, Reached> = seeds.iter().map(seed).collect();
    for hop in 1..=request.hops {
        let layer: Vec<(Id, f64)> = reached
            .iter()
            .filter(|(_, node)| node.hops == hop - 1)
            .map(|(id, node)| (id.clone(), node.weight))
            .collect();
        for (id, weight) in layer {
            for &(to, part) in lists.get(&id).into_iter().flatten() {
                let node = reached.entry(to.clone()).or_insert(Reached { hops: hop, ..Reached::default() });
                if node.hops == hop {
                    node.weight = node.weight.max(weight * part);
                }
            }
        }
    }
    if let Some(spread) = request.spread {
        let total = activations(&lists, spread, request.hops, seeds);
        reached.iter_mut().for_each(|(id, node)| node.activation = total.get(id).copied().unwrap_or_default());
    }
    reached.retain(|_, node| node.hops >= request.hops_min);
    reached
}

fn lists<'a>(edges: &'a [Edge], follow: &Follow) -> Lists<'a> {
    let mut lists: Lists<'a> = BTreeMap::new();
    let is_followed = |edge: &&Edge| {
        edge.weight >= follow.weight_min && (follow.kinds.is_empty() || follow.kinds.contains(&edge.kind))
    };
    for edge in edges.iter().filter(is_followed) {
        let (out, into) = match follow.direction {
            Direction::Out => (true, false),
            Direction::In => (false, true),
            Direction::Both => (true, edge.from != edge.to),
        };
        if out {
            lists.entry(&edge.from).or_default().push((&edge.to, f64::from(edge.weight)));
        }
        if into {
            lists.entry(&edge.to).or_default().push((&edge.from, f64::from(edge.weight)));
        }
    }
    if follow.fan_out > 0 {
        for list in lists.values_mut() {
            list.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(right.0)));
            list.truncate(follow.fan_out);
        }
    }
    lists
}

/// The sum of all pulses by node.
fn activations(lists: &Lists<'_>, spread: Spread, hops: u8, seeds: &[(Id, f64)]) -> BTreeMap<Id, f64> {
    let mut pulse: BTreeMap<Id, f64> = BTreeMap::new();
    seeds.iter().for_each(|(id, activation)| *pulse.entry(id.clone()).or_default() += activation);
    let mut total = pulse.clone();
    for _ in 0..hops {
        let mut next: BTreeMap<Id, f64> = BTreeMap::new();
        for (id, passed) in &pulse {
            let Some(list) = lists.get(id) else { continue };
            let sum: f64 = list.iter().map(|(_, weight)| weight).sum();
            let whole = if spread.raw { 1.0 } else { sum };
            for &(to, weight) in list.iter().filter(|_| whole > 0.0) {
                *next.entry(to.clone()).or_default() += passed * spread.decay * weight / whole;
            }
        }
        next.iter().for_each(|(id, passed)| *total.entry(id.clone()).or_default() += passed);
        pulse = next;
    }
    total
}

/// A random traversal along edges of some of these types.
pub fn random_request(types: &[&str], random: &mut Random) -> TraversalRequest {
    TraversalRequest {
        hops: 1 + random.below(4) as u8,
        hops_min: random.below(2) as u8,
        follow: Follow {
            direction: random_direction(random),
            kinds: types.iter().filter(|_| random.below(4) == 0).map(|&kind| kind.to_owned()).collect(),
            weight_min: [0.0, 0.4][random.below(2) as usize],
            fan_out: [0, 0, 2][random.below(3) as usize],
        },
        spread: (random.below(2) == 0).then(|| Spread { decay: 0.85, raw: random.below(2) == 0 }),
        missing: random.below(4) == 0,
        limit: [5_000, 3][random.below(2) as usize],
        ..TraversalRequest::default()
    }
}

/// A random way to spread activation along edges of a collection.
pub fn random_spread(edges: &str, random: &mut Random) -> SpreadOptions {
    let mut spread = SpreadOptions::new(edges);
    spread.hops = 1 + random.below(3) as u8;
    spread.weight = [0.0, 0.5, 3.0][random.below(3) as usize];
    spread.neighbours = random.below(2) == 0;
    spread.spread = Spread { decay: 0.5, raw: random.below(2) == 0 };
    spread.follow.direction = random_direction(random);
    spread
}

fn random_direction(random: &mut Random) -> Direction {
    [Direction::Out, Direction::In, Direction::Both][random.below(3) as usize]
}

/// Holds a reply against the nodes that should be in it, as far as the limit lets them.
#[track_caller]
pub fn check(reply: &TraverseReply, expected: &BTreeMap<Id, Reached>, request: &TraversalRequest, context: &str) {
    assert!(!reply.is_truncated, "{context}");
    assert_eq!(reply.nodes.len(), expected.len().min(request.limit), "{context}: number of nodes");
    let distinct: BTreeSet<&Id> = reply.nodes.iter().map(|node| &node.id).collect();
    assert_eq!(distinct.len(), reply.nodes.len(), "{context}: each node once");
    let is_near = |found: f32, wanted: f64| (f64::from(found) - wanted).abs() <= SLACK * wanted + 1e-30;
    for node in &reply.nodes {
        let wanted = expected.get(&node.id).unwrap_or_else(|| panic!("{context}: {node:?} is not to be reached"));
        assert_eq!(node.hops, wanted.hops, "{context}: {node:?}");
        assert!(is_near(node.weight, wanted.weight), "{context}: {node:?}, by the definition {wanted:?}");
        assert!(is_near(node.activation, wanted.activation), "{context}: {node:?}, by the definition {wanted:?}");
    }
    let key = |hops: u8, activation: f64| if request.spread.is_some() { activation } else { -f64::from(hops) };
    let mut best: Vec<f64> = expected.values().map(|node| key(node.hops, node.activation)).collect();
    best.sort_by(|left, right| right.total_cmp(left));
    for (node, best) in reply.nodes.iter().zip(best) {
        let key = key(node.hops, f64::from(node.activation));
        assert!((key - best).abs() <= SLACK * best.abs(), "{context}: {node:?} where {best} is the best");
    }
}

/// Scores of the results of a search that activate each other.
pub struct Scores {
    /// By what may be a result.
    pub of: BTreeMap<Id, f64>,
    /// How far a score may be from the formula.
    pub slack: f64,
}

impl Scores {
    /// Holds hits against the `k` best.
    #[track_caller]
    pub fn check(&self, hits: &[Hit], k: usize, context: &str) {
        assert_eq!(hits.len(), k.min(self.of.len()), "{context}: number of hits");
        let distinct: BTreeSet<&Id> = hits.iter().map(|hit| &hit.id).collect();
        assert_eq!(distinct.len(), hits.len(), "{context}: each row once");
        let mut best: Vec<f64> = self.of.values().copied().collect();
        best.sort_by(|left, right| right.total_cmp(left));
        for (hit, best) in hits.iter().zip(best) {
            let found = f64::from(hit.score.expect("scores come with it"));
            let wanted = self.of.get(&hit.id).unwrap_or_else(|| panic!("{context}: {hit:?} is no result"));
            assert!((found - wanted).abs() <= self.slack, "{context}: {hit:?}, by the formula {wanted}");
            assert!((found - best).abs() <= self.slack, "{context}: {hit:?} where {best} is the best");
        }
    }
}

/// What the results of a search are ordered by whose candidates are these, with their similarities. `admitted` gives the similarity of a row
/// that may come as their neighbour. None where rounding decides which neighbours are looked at.
pub fn scores(
    edges: &[Edge],
    spread: &SpreadOptions,
    k: usize,
    candidates: &[(Id, f64)],
    admitted: impl Fn(&Id) -> Option<f64>,
) -> Option<Scores> {
    let seeds: Vec<(Id, f64)> = candidates.iter().map(|(id, similarity)| (id.clone(), similarity.max(0.0))).collect();
    let reached = if seeds.is_empty() { BTreeMap::new() } else { traverse(edges, &spread.traversal(), &seeds) };
    let activation = |id: &Id| reached.get(id).map_or(0.0, |node| node.activation);
    let own = |(id, similarity): &(Id, f64)| {
        let received = activation(id) - similarity.max(0.0);
        (id.clone(), similarity + spread.weight * received)
    };
    let mut of: BTreeMap<Id, f64> = candidates.iter().map(own).collect();
    let most = reached.values().fold(0.0, |most: f64, node| most.max(node.activation));
    let largest = candidates.iter().fold(spread.weight * most, |most, (_, similarity)| most.max(similarity.abs()));
    if spread.neighbours {
        let mut others: Vec<(f64, &Id)> =
            reached.iter().filter(|(id, _)| !of.contains_key(id)).map(|(id, node)| (node.activation, id)).collect();
        others.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(right.1)));
        // As many as were found and at least as many as are wanted, whatever becomes of them.
        let looked_at = candidates.len().max(k).min(others.len());
        if let (Some(last), Some(next)) = (looked_at.checked_sub(1), others.get(looked_at))
            && others[last].0 - next.0 <= SLACK * others[last].0
        {
            return None;
        }
        let found = others[..looked_at].iter().filter_map(|(activation, id)| {
            let score = admitted(id)? + spread.weight * activation;
            Some(((*id).clone(), score))
        });
        let found: Vec<(Id, f64)> = found.collect();
        of.extend(found);
    }
    Some(Scores { of, slack: 2e-5 * largest + 1e-30 })
}

impl Model {
    /// The edges that the rows are.
    pub fn all_edges(&self) -> Vec<Edge> {
        let [from, to, kind, weight] = ["from", "to", "type", "weight"].map(|name| self.column(name));
        let id = |place: usize, value: &Value| value.to_id(self.columns[place].field.data_type());
        let edge = |row: &Vec<Value>| Edge {
            from: id(from, &row[from]),
            to: id(to, &row[to]),
            kind: if let Value::Text(kind) = &row[kind] { kind.clone() } else { String::new() },
            weight: if let Value::Float(weight) = row[weight] { weight as f32 } else { 1.0 },
        };
        self.rows.values().map(edge).collect()
    }
}
