//! A walk along edges: breadth first from seeds, and activation that spreads along the same edges.
//!
//! Breadth first: a node is reached at the fewest hops that lead to it. Its *weight* is the greatest product of the weights of edges along a
//! path of so many hops; that of a seed is 1.
//!
//! Spreading activation (Collins and Loftus, "A spreading-activation theory of semantic processing", Psychological Review 82, 1975;
//! Anderson, "A spreading activation theory of memory", Journal of Verbal Learning and Verbal Behavior 22, 1983): seeds have activation
//! to begin with. In each hop a node passes on what it got in the hop before:
//!
//! ```text
//! pulse₀(v)   = activation of the seed v, 0 for other nodes
//! pulseₕ(v)   = Σ over edges u → v that are followed:  pulseₕ₋₁(u) × decay × weight ÷ weights of all edges of u that are followed
//!                                              raw:    pulseₕ₋₁(u) × decay × weight
//! activation  = pulse₀ + pulse₁ + … + pulseₕ, as many hops as asked for
//! ```
//!
//! Sums are of f64, and bounded by its greatest number. Where a limit ends the walk early it says so, and what it reached until then counts.

use std::cmp::Ordering;
use std::sync::Arc;

use hashbrown::HashMap;

use super::Adjacency;
use super::gather::{Follow, Gather};
use super::nodes::Nodes;
use super::segment::Place;
use crate::limits::TRAVERSE_STEP;
use crate::schema::{IdKind, IdRef};

/// How activation spreads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// What is left of it after a hop: above 0, at most 1.
    pub decay: f64,
    /// Weights are taken as they are, and not as parts of their sum.
    pub raw: bool,
}

/// What is asked of a walk.
#[derive(Clone, Debug)]
pub struct WalkRequest {
    /// Hops, at least 1.
    pub hops: u8,
    /// Edges that are followed.
    pub follow: Follow,
    /// Whether activation spreads.
    pub spread: Option<Spread>,
    /// Nodes that it reaches at most, seeds among them.
    pub nodes_max: usize,
    /// Edges that it looks at at most.
    pub edges_max: usize,
}

/// A node that was met.
struct Node {
    hops: u8,
    weight: f64,
    activation: f64,
    /// What it got in the hop before, and what it has got in this one.
    pulse: f64,
    next: f64,
    /// Edges that it passes activation along, once they are known, and the sum of their weights.
    passes: Option<(u32, u32)>,
    weights: f64,
}

/// An edge that activation is passed along.
#[derive(Clone, Copy)]
struct Pass {
    to: u32,
    weight: f32,
}

/// What is done next.
enum Phase {
    /// The next node of the hop.
    Next,
    /// The edges of the node are being looked at.
    Gathering,
    /// They are being followed, from here on.
    Following(usize),
    /// What the node got is passed along edges that are known, from here on.
    Passing(u32),
}

/// A walk under way.
pub struct Walk {
    adjacency: Arc<Adjacency>,
    request: WalkRequest,
    /// Per segment: which of its types are followed. Empty: all.
    kinds: Vec<Vec<bool>>,
    nodes: Nodes,
    states: Vec<Node>,
    /// Per segment: its nodes among those that were met.
    known: Vec<HashMap<u32, u32>>,
    passes: Vec<Pass>,
    hop: u8,
    /// The node that is looked at; the first that was not met before this hop.
    at: u32,
    end: u32,
    phase: Phase,
    gather: Gather,
    edges: usize,
    is_truncated: bool,
}

impl Walk {
    /// A walk that has no seeds yet, from nodes whose ids are of one kind.
    pub fn new(adjacency: Arc<Adjacency>, request: WalkRequest, kind: IdKind) -> Walk {
        assert!(request.hops > 0, "some hops");
        let wanted = &request.follow.kinds;
        let of_segment =
            |kinds: &[Box<str>]| kinds.iter().map(|kind| wanted.iter().any(|name| **name == **kind)).collect();
        let segments = adjacency.segments();
        let kinds = if wanted.is_empty() {
            Vec::new()
        } else {
            segments.iter().map(|segment| of_segment(&segment.kinds)).collect()
        };
        let known = segments.iter().map(|_| HashMap::new()).collect();
        Walk {
            kinds,
            nodes: Nodes::new(kind),
            states: Vec::new(),
            known,
            passes: Vec::new(),
            hop: 1,
            at: 0,
            end: 0,
            phase: Phase::Next,
            gather: Gather::default(),
            edges: 0,
            is_truncated: false,
            adjacency,
            request,
        }
    }

    /// Adds a seed; the activation of one that is there already is added to its own.
    pub fn seed(&mut self, id: IdRef<'_>, activation: f64) {
        assert!(self.edges == 0 && self.hop == 1, "seeds come first");
        let number = self.nodes.number(id) as usize;
        if number == self.states.len() {
            self.states.push(Node::met(0, 1.0));
        }
        if self.request.spread.is_some() {
            let node = &mut self.states[number];
            node.activation = bounded(node.activation + activation);
            node.pulse = node.activation;
        }
        self.end = self.states.len() as u32;
    }

    /// Goes on for a while. Of edges only those are followed whose rows are `visible`. False once it is done.
    pub fn step(&mut self, visible: impl Fn(Place) -> bool) -> bool {
        let mut left = TRAVERSE_STEP;
        while left > 0 {
            match self.phase {
                Phase::Next => {
                    if self.at == self.end && !self.end_hop() {
                        return false;
                    }
                    left -= 1;
                    self.begin_node();
                }
                Phase::Gathering => left = left.saturating_sub(self.gather(left, &visible)),
                Phase::Following(from) => left -= self.follow(from, left),
                Phase::Passing(from) => left -= self.pass(from, left),
            }
        }
        true
    }

    /// Turns to the node whose turn it is, if there is anything to be done for it.
    fn begin_node(&mut self) {
        if self.at == self.end {
            return;
        }
        let node = &self.states[self.at as usize];
        let is_new = node.hops + 1 == self.hop;
        self.phase = match node.passes {
            Some((from, _)) if node.pulse > 0.0 => Phase::Passing(from),
            None if is_new && self.edges < self.request.edges_max => {
                let segments = self.adjacency.segments();
                self.gather.begin(segments, &self.request.follow, self.nodes.id(self.at));
                Phase::Gathering
            }
            _ => {
                self.is_truncated |= is_new && node.passes.is_none();
                self.at += 1;
                Phase::Next
            }
        };
    }

    /// Looks at some edges of the node.
    fn gather(&mut self, most: usize, visible: &impl Fn(Place) -> bool) -> usize {
        let segments = self.adjacency.segments();
        let most = most.min(self.request.edges_max - self.edges);
        let id = self.nodes.id(self.at);
        let (looked, is_done) = self.gather.step(segments, &self.request.follow, &self.kinds, id, most, visible);
        self.edges += looked;
        let is_over = !is_done && self.edges == self.request.edges_max;
        self.is_truncated |= is_over;
        if is_done || is_over {
            self.gather.choose(segments, self.request.follow.fan_out);
            let node = &mut self.states[self.at as usize];
            node.weights = self.gather.found.iter().map(|found| f64::from(found.weight)).sum();
            node.passes = Some((self.passes.len() as u32, self.passes.len() as u32));
            self.phase = Phase::Following(0);
        }
        looked + 1
    }

    /// Follows some of the edges of the node for the first time.
    fn follow(&mut self, from: usize, most: usize) -> usize {
        let end = self.gather.found.len().min(from + most);
        // They are followed again in a later hop, if there is one.
        let is_kept = self.request.spread.is_some() && self.hop < self.request.hops;
        for index in from..end {
            let found = self.gather.found[index];
            let Some(to) = self.meet(found.segment, found.node) else {
                self.is_truncated = true;
                continue;
            };
            let weight = bounded(self.states[self.at as usize].weight * f64::from(found.weight));
            let node = &mut self.states[to as usize];
            if node.hops == self.hop {
                node.weight = node.weight.max(weight);
            }
            self.hand_on(to, found.weight);
            if is_kept {
                self.passes.push(Pass { to, weight: found.weight });
            }
        }
        self.phase = Phase::Following(end);
        if end == self.gather.found.len() {
            let passes = self.passes.len() as u32;
            self.states[self.at as usize].passes.as_mut().expect("set when all were there").1 = passes;
            self.at += 1;
            self.phase = Phase::Next;
        }
        end - from
    }

    /// Passes what the node got along some of its edges.
    fn pass(&mut self, from: u32, most: usize) -> usize {
        let (_, last) = self.states[self.at as usize].passes.expect("known before");
        let end = last.min(from + most as u32);
        for index in from..end {
            let Pass { to, weight } = self.passes[index as usize];
            self.hand_on(to, weight);
        }
        self.phase = Phase::Passing(end);
        if end == last {
            self.at += 1;
            self.phase = Phase::Next;
        }
        (end - from) as usize
    }

    /// Passes its part of what the node got on to another.
    #[inline]
    fn hand_on(&mut self, to: u32, weight: f32) {
        let Some(spread) = self.request.spread else { return };
        let node = &self.states[self.at as usize];
        let weight = f64::from(weight);
        let part = if spread.raw {
            weight
        } else if node.weights > 0.0 {
            weight / node.weights
        } else {
            0.0
        };
        let passed = bounded(bounded(node.pulse * spread.decay) * part);
        let node = &mut self.states[to as usize];
        node.next = bounded(node.next + passed);
    }

    /// The number of a segment's node among those that were met. None where there is no room for another.
    #[inline]
    fn meet(&mut self, segment: u32, local: u32) -> Option<u32> {
        if let Some(&number) = self.known[segment as usize].get(&local) {
            return Some(number);
        }
        let id = self.adjacency.segments()[segment as usize].id(local);
        let is_full = self.states.len() >= self.request.nodes_max;
        let number = if is_full { self.nodes.find(id)? } else { self.nodes.number(id) };
        if number as usize == self.states.len() {
            self.states.push(Node::met(self.hop, 0.0));
        }
        self.known[segment as usize].insert(local, number);
        Some(number)
    }

    /// Ends a hop. False where it was the last, or nothing is left to be done.
    fn end_hop(&mut self) -> bool {
        let before = self.end;
        self.end = self.states.len() as u32;
        for node in &mut self.states {
            node.activation = bounded(node.activation + node.next);
            node.pulse = std::mem::take(&mut node.next);
        }
        if self.hop == self.request.hops {
            return false;
        }
        self.hop += 1;
        // Without activation only the nodes that are new have anything to do.
        self.at = if self.request.spread.is_some() { 0 } else { before };
        self.at < self.end
    }

    /// What was reached, nodes at fewer than `hops_min` hops left out.
    pub fn finish(self, hops_min: u8) -> Reached {
        let node = |(number, node): (usize, &Node)| ReachedNode {
            number: number as u32,
            hops: node.hops,
            weight: narrowed(node.weight),
            activation: narrowed(node.activation),
        };
        let reached = self.states.iter().enumerate().filter(|(_, node)| node.hops >= hops_min).map(node).collect();
        let by_activation = self.request.spread.is_some();
        Reached {
            ids: self.nodes,
            nodes: reached,
            sorted: 0,
            by_activation,
            edges: self.edges,
            is_truncated: self.is_truncated,
        }
    }
}

impl Node {
    fn met(hops: u8, weight: f64) -> Node {
        Node { hops, weight, activation: 0.0, pulse: 0.0, next: 0.0, passes: None, weights: 0.0 }
    }
}

/// A number of those that are finite.
#[inline]
fn bounded(value: f64) -> f64 {
    value.min(f64::MAX)
}

fn narrowed(value: f64) -> f32 {
    (value as f32).min(f32::MAX)
}

/// A node that a walk has reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReachedNode {
    number: u32,
    /// Fewest hops that lead to it.
    pub hops: u8,
    /// Greatest product of weights along a path of so many hops.
    pub weight: f32,
    /// What has spread to it; 0 where activation does not.
    pub activation: f32,
}

/// What a walk has reached.
pub struct Reached {
    ids: Nodes,
    nodes: Vec<ReachedNode>,
    /// Nodes from the front that are in their order.
    sorted: usize,
    by_activation: bool,
    /// Edges that were looked at.
    pub edges: usize,
    /// Whether a limit ended the walk early.
    pub is_truncated: bool,
}

impl Reached {
    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All nodes, in any order.
    pub fn nodes(&self) -> &[ReachedNode] {
        &self.nodes
    }

    /// Id of a node.
    pub fn id(&self, node: &ReachedNode) -> IdRef<'_> {
        self.ids.id(node.number)
    }

    /// The next nodes, up to `most`, in their order: the most activated first; without activation, those at fewer hops, and of these the
    /// heavier. Of equal ones the one with the least id.
    pub fn next(&mut self, most: usize) -> &[ReachedNode] {
        let from = self.sorted;
        let count = most.min(self.nodes.len() - from);
        let (ids, by_activation) = (&self.ids, self.by_activation);
        let order = |left: &ReachedNode, right: &ReachedNode| -> Ordering {
            let first = if by_activation {
                right.activation.total_cmp(&left.activation)
            } else {
                left.hops.cmp(&right.hops).then(right.weight.total_cmp(&left.weight))
            };
            first.then_with(|| ids.id(left.number).cmp(&ids.id(right.number)))
        };
        let rest = &mut self.nodes[from..];
        if count > 0 && count < rest.len() {
            rest.select_nth_unstable_by(count - 1, order);
        }
        rest[..count].sort_unstable_by(order);
        self.sorted += count;
        &self.nodes[from..from + count]
    }
}
