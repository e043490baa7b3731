//! Walks of two hops along a random graph, by our adjacency and by a plain one: a hash table of lists, in the same run.
//!
//! The graph has hubs: the ends of edges are drawn from a few nodes far more often than from others, as in graphs of links and of
//! dependencies. Both have the same edges and the same seeds, and have to reach the same nodes.

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use engine::edges::{Adjacency, Place, SegmentBuilder, Spread, Walk, WalkRequest};
use engine::limits::{TRAVERSE_EDGES_MAX, TRAVERSE_NODES_MAX};
use engine::schema::{IdKind, IdRef};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::report::{Figure, median};

const NODES: u64 = 200_000;
const EDGES: usize = 2_000_000;
const QUICK_NODES: u64 = 2_000;
const QUICK_EDGES: usize = 20_000;
const HOPS: u8 = 2;
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 3;
/// Two sums in another order differ by this share of themselves, at most.
const TOLERANCE: f64 = 1e-5;

/// What a program without an index has: the edges of each node in a list of its own.
type Plain = HashMap<u64, Vec<(u64, f32)>>;

/// Builds both and walks along them; `quick` is a smoke test.
pub fn run(quick: bool) -> Vec<Figure> {
    let (nodes, edges, rounds) = if quick { (QUICK_NODES, QUICK_EDGES, QUICK_ROUNDS) } else { (NODES, EDGES, ROUNDS) };
    let mut random = SmallRng::seed_from_u64(7);
    let edges: Vec<(u64, u64, f32)> = (0..edges)
        .map(|_| {
            let mut end = || (nodes as f64 * random.random::<f64>().powi(3)) as u64;
            (end(), end(), random.random_range(1..=100) as f32 / 100.0)
        })
        .collect();
    let started = Instant::now();
    let adjacency = Arc::new(ours(&edges));
    let ours_s = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let mut plain = Plain::new();
    for &(from, to, weight) in &edges {
        plain.entry(from).or_default().push((to, weight));
    }
    let plain_s = started.elapsed().as_secs_f64();
    let millions = edges.len() as f64 / 1e6;
    let bytes = adjacency.bytes() as f64 / edges.len() as f64;
    let mut figures = vec![
        Figure::new("edges into order", millions / ours_s, "million/s")
            .beside("hash table of lists", millions / plain_s),
        Figure::new("memory of an edge, both ways, with its share of nodes", bytes, "bytes"),
    ];
    for seeds in [1, 100] {
        for spreads in [false, true] {
            figures.push(walks(&adjacency, &plain, seeds, spreads, &edges, rounds, &mut random));
        }
    }
    figures
}

fn ours(edges: &[(u64, u64, f32)]) -> Adjacency {
    let mut builder = SegmentBuilder::new(IdKind::U64);
    for (&(from, to, weight), index) in edges.iter().zip(0_u32..) {
        let place = Place { row: index, ordinal: u64::from(index) };
        builder.add(IdRef::U64(from), IdRef::U64(to), "", weight, place).expect("below the limits");
    }
    while builder.order_step() {}
    Adjacency::empty(1).with(0, builder.finish(), vec![edges.len() as u64], None)
}

/// Edges a second of walks from the ends of random edges, beside the plain walk's.
fn walks(
    adjacency: &Arc<Adjacency>,
    plain: &Plain,
    seeds: usize,
    spreads: bool,
    all: &[(u64, u64, f32)],
    rounds: usize,
    random: &mut SmallRng,
) -> Figure {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let seeds: Vec<u64> = (0..seeds).map(|_| all[random.random_range(0..all.len())].0).collect();
        let started = Instant::now();
        let (edges, found) = walk(adjacency, &seeds, spreads);
        let rate = edges as f64 / started.elapsed().as_secs_f64() / 1e6;
        let started = Instant::now();
        let (plain_edges, expected) = plain_walk(plain, &seeds, spreads);
        let plain_rate = plain_edges as f64 / started.elapsed().as_secs_f64() / 1e6;
        assert_eq!((edges, found.len()), (plain_edges, expected.len()), "the same edges and nodes");
        for (id, activation) in black_box(found) {
            let wanted = expected[&id];
            assert!((activation - wanted).abs() <= TOLERANCE * wanted.max(1e-9), "{activation} of {id}, not {wanted}");
        }
        ours.push(rate);
        theirs.push(plain_rate);
        ratios.push(rate / plain_rate);
    }
    let what = if spreads { "activation over" } else { "nodes within" };
    let name = format!("{what} {HOPS} hops of {seeds}, edges looked at");
    let figure = Figure::new(name, median(ours), "million/s").beside("hash table of lists", median(theirs));
    figure.with_ratio(median(ratios))
}

fn walk(adjacency: &Arc<Adjacency>, seeds: &[u64], spreads: bool) -> (usize, Vec<(u64, f64)>) {
    let request = WalkRequest {
        hops: HOPS,
        follow: Default::default(),
        spread: spreads.then_some(Spread { decay: 0.5, raw: false }),
        nodes_max: TRAVERSE_NODES_MAX,
        edges_max: TRAVERSE_EDGES_MAX,
    };
    let mut walk = Walk::new(adjacency.clone(), request, IdKind::U64);
    seeds.iter().for_each(|&seed| walk.seed(IdRef::U64(seed), 1.0));
    while walk.step(|_| true) {}
    let mut reached = walk.finish(0);
    assert!(!reached.is_truncated, "the limits are above the graph");
    let (edges, count) = (reached.edges, reached.len());
    let nodes = if spreads { reached.next(count).to_vec() } else { reached.nodes().to_vec() };
    let id = |id| if let IdRef::U64(id) = id { id } else { unreachable!("ids are numbers") };
    (edges, nodes.iter().map(|node| (id(reached.id(node)), f64::from(node.activation))).collect())
}

fn plain_walk(plain: &Plain, seeds: &[u64], spreads: bool) -> (usize, HashMap<u64, f64>) {
    let mut pulse: HashMap<u64, f64> = HashMap::new();
    seeds.iter().for_each(|&seed| *pulse.entry(seed).or_default() += f64::from(u8::from(spreads)));
    let mut total = pulse.clone();
    let mut seen: HashSet<u64> = HashSet::new();
    let mut edges = 0;
    for _ in 0..HOPS {
        let mut next: HashMap<u64, f64> = HashMap::new();
        for (&node, &activation) in &pulse {
            let list = plain.get(&node).map_or(&[][..], Vec::as_slice);
            if seen.insert(node) {
                edges += list.len();
            } else if !spreads {
                continue;
            }
            let sum: f64 = list.iter().map(|&(_, weight)| f64::from(weight)).sum();
            for &(to, weight) in list {
                *next.entry(to).or_default() += activation * 0.5 * f64::from(weight) / sum;
            }
        }
        next.iter().for_each(|(&node, activation)| *total.entry(node).or_default() += activation);
        pulse = next;
    }
    (edges, total)
}
