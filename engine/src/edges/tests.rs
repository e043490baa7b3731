use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::limits::{TRAVERSE_EDGES_MAX, TRAVERSE_NODES_MAX, TRAVERSE_STEP};
use crate::schema::{IdKind, IdRef};

/// An edge as the model has it.
#[derive(Clone, Debug)]
struct Edge {
    from: usize,
    to: usize,
    kind: &'static str,
    weight: f32,
    place: Place,
    lives: bool,
}

const KINDS: [&str; 4] = ["", "a", "b", "größe"];

/// The `index`-th edge that ever came.
fn place(index: usize) -> Place {
    // Another shard's rows, whose slots are not in the order of their ordinals.
    let (chunk, offset) = (index as u32 / PLACE_ROWS, index as u32 % PLACE_ROWS);
    Place { row: (1 << 20) + ((chunk ^ 3) << 12) + offset, ordinal: u64::from(index as u32) + (7 << 12) }
}

/// Ids of the nodes of a graph; their order is another one than that of their numbers.
struct Names(Vec<String>, IdKind);

impl Names {
    fn new(nodes: usize, kind: IdKind) -> Names {
        Names((0..nodes).map(|node| format!("n{}", node * 7_919 % 10_007)).collect(), kind)
    }

    fn id(&self, node: usize) -> IdRef<'_> {
        match self.1 {
            IdKind::Utf8 => IdRef::Utf8(&self.0[node]),
            _ => IdRef::U64(node as u64 * 7_919 % 10_007),
        }
    }
}

fn finish(mut builder: SegmentBuilder) -> Segment {
    while builder.order_step() {}
    builder.finish()
}

/// Takes edges in as a collection would: those that are new, and older segments that are not much larger.
fn extend(adjacency: &Adjacency, names: &Names, all: &[Edge], from: usize) -> Adjacency {
    let kept = adjacency.kept(all.len() - from);
    let mut builder = SegmentBuilder::new(names.1);
    let lives = |place: Place| all.iter().any(|edge| edge.place == place && edge.lives);
    for segment in &adjacency.segments()[kept..] {
        builder.copy(segment.clone());
        while builder.copy_step(lives).unwrap() {}
    }
    for edge in all[from..].iter().filter(|edge| edge.lives) {
        builder.add(names.id(edge.from), names.id(edge.to), edge.kind, edge.weight, edge.place).unwrap();
    }
    adjacency.with(kept, finish(builder), vec![all.len() as u64], None)
}

fn request(hops: u8) -> WalkRequest {
    WalkRequest {
        hops,
        follow: Follow::default(),
        spread: None,
        nodes_max: TRAVERSE_NODES_MAX,
        edges_max: TRAVERSE_EDGES_MAX,
    }
}

/// Hops, weight and activation of each node that the model reaches.
type Model = BTreeMap<usize, (u8, f64, f64)>;

/// The edges that are followed from a node, the other node and the weight of each.
fn followed(edges: &[Edge], names: &Names, follow: &Follow, node: usize) -> Vec<(usize, f32)> {
    let mut found = Vec::new();
    for edge in edges.iter().filter(|edge| edge.lives && edge.weight >= follow.weight_min) {
        if !follow.kinds.is_empty() && !follow.kinds.iter().any(|kind| kind == edge.kind) {
            continue;
        }
        let (out, into) = (edge.from == node, edge.to == node);
        match follow.direction {
            Direction::Out if out => found.push((edge.to, edge.weight)),
            Direction::In if into => found.push((edge.from, edge.weight)),
            Direction::Both if out => found.push((edge.to, edge.weight)),
            Direction::Both if into => found.push((edge.from, edge.weight)),
            _ => {}
        }
    }
    if follow.fan_out > 0 {
        found.sort_by(|left, right| right.1.total_cmp(&left.1).then(names.id(left.0).cmp(&names.id(right.0))));
        found.truncate(follow.fan_out);
    }
    found
}

/// The definition, word for word: layers of a breadth first search, and pulses as vectors of f64 over all nodes.
fn model(edges: &[Edge], names: &Names, nodes: usize, request: &WalkRequest, seeds: &[(usize, f64)]) -> Model {
    let lists: Vec<_> = (0..nodes).map(|node| followed(edges, names, &request.follow, node)).collect();
    let mut reached: Model = seeds.iter().map(|&(seed, _)| (seed, (0, 1.0, 0.0))).collect();
    for hop in 1..=request.hops {
        let layer: Vec<(usize, f64)> = reached
            .iter()
            .filter(|(_, node)| node.0 == hop - 1)
            .map(|(&node, &(_, weight, _))| (node, weight))
            .collect();
        for (node, weight) in layer {
            for &(to, part) in &lists[node] {
                let weight = weight * f64::from(part);
                let entry = reached.entry(to).or_insert((hop, weight, 0.0));
                if entry.0 == hop {
                    entry.1 = entry.1.max(weight);
                }
            }
        }
    }
    let Some(spread) = request.spread else { return reached };
    let mut pulse = vec![0.0; nodes];
    seeds.iter().for_each(|&(seed, activation)| pulse[seed] += activation);
    let mut total = pulse.clone();
    for _ in 0..request.hops {
        let mut next = vec![0.0; nodes];
        for (node, list) in lists.iter().enumerate() {
            let sum: f64 = list.iter().map(|&(_, weight)| f64::from(weight)).sum();
            for &(to, weight) in list {
                let part = if spread.raw { 1.0 } else { sum };
                if part > 0.0 {
                    next[to] += pulse[node] * spread.decay * f64::from(weight) / part;
                }
            }
        }
        total.iter_mut().zip(&next).for_each(|(total, next)| *total += next);
        pulse = next;
    }
    reached.iter_mut().for_each(|(&node, entry)| entry.2 = total[node]);
    reached
}

fn walk(
    adjacency: &Arc<Adjacency>,
    names: &Names,
    request: &WalkRequest,
    seeds: &[(usize, f64)],
    visible: impl Fn(Place) -> bool,
) -> Reached {
    let mut walk = Walk::new(adjacency.clone(), request.clone(), names.1);
    seeds.iter().for_each(|&(seed, activation)| walk.seed(names.id(seed), activation));
    while walk.step(&visible) {}
    walk.finish(0)
}

fn is_near(found: f32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= 1e-6 * expected.abs() + 1e-30
}

fn check(reached: &mut Reached, names: &Names, expected: &Model, spreads: bool, context: &str) {
    assert!(!reached.is_truncated, "{context}");
    assert_eq!(reached.len(), expected.len(), "{context}");
    let (mut ordered, mut count) = (Vec::new(), 1);
    loop {
        // A few at a time, and then more: the order must not depend on it.
        let next = reached.next(count).to_vec();
        if next.is_empty() {
            break;
        }
        ordered.extend(next);
        count *= 2;
    }
    let by_id: BTreeMap<IdRef<'_>, usize> = expected.keys().map(|&node| (names.id(node), node)).collect();
    for node in &ordered {
        let (hops, weight, activation) = expected[&by_id[&reached.id(node)]];
        assert_eq!(node.hops, hops, "{context}");
        assert!(is_near(node.weight, weight), "{context}: weight {} for {weight}", node.weight);
        assert!(is_near(node.activation, activation), "{context}: activation {} for {activation}", node.activation);
    }
    let ids: HashSet<IdRef<'_>> = ordered.iter().map(|node| reached.id(node)).collect();
    assert_eq!(ids.len(), expected.len(), "{context}: each once");
    for pair in ordered.windows(2) {
        let [left, right] = pair else { unreachable!("two") };
        let by_hops = |node: &ReachedNode| (0.0, node.hops, -node.weight);
        let by_activation = |node: &ReachedNode| (-node.activation, 0, 0.0);
        let key = |node: &ReachedNode| if spreads { by_activation(node) } else { by_hops(node) };
        let (left_key, right_key) = (key(left), key(right));
        let is_in_order = left_key < right_key || left_key == right_key && reached.id(left) < reached.id(right);
        assert!(is_in_order, "{context}: {left:?} before {right:?}");
    }
}

/// Random graphs whose edges come, are replaced and deleted, walked along in every way, against the definition.
#[test]
fn walks_are_as_defined() {
    let seed = std::env::var("BROADHEAD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let mut entropy = rand::rng();
        entropy.random_range(0..u64::MAX)
    });
    println!("BROADHEAD_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..60 {
        let nodes = random.random_range(1..40);
        let names = Names::new(nodes, if random.random() { IdKind::U64 } else { IdKind::Utf8 });
        let mut edges: Vec<Edge> = Vec::new();
        let mut adjacency = Arc::new(Adjacency::empty(1));
        for _ in 0..random.random_range(1..5) {
            let before = edges.len();
            for _ in 0..random.random_range(0..120) {
                let weight = [0.0, 0.25, 0.5, 1.0, 3.0, random.random()][random.random_range(0..6)];
                let (from, to) = (random.random_range(0..nodes), random.random_range(0..nodes));
                let kind = KINDS[random.random_range(0..KINDS.len())];
                edges.push(Edge { from, to, kind, weight, place: place(edges.len()), lives: true });
            }
            for _ in 0..random.random_range(0..20).min(edges.len()) {
                let dead = random.random_range(0..edges.len());
                edges[dead].lives = false;
            }
            adjacency = Arc::new(extend(&adjacency, &names, &edges, before));
        }
        for _ in 0..random.random_range(0..10).min(edges.len()) {
            let dead = random.random_range(0..edges.len());
            edges[dead].lives = false;
        }
        let living: HashSet<Place> = edges.iter().filter(|edge| edge.lives).map(|edge| edge.place).collect();
        for step in 0..12 {
            let mut request = request(random.random_range(1..6));
            request.follow.direction = [Direction::Out, Direction::In, Direction::Both][random.random_range(0..3)];
            request.follow.weight_min = [0.0, 0.0, 0.5][random.random_range(0..3)];
            request.follow.fan_out = [0, 0, 1, 3][random.random_range(0..4)];
            if random.random() {
                let count = random.random_range(1..3);
                let kinds = (0..count).map(|_| ["", "a", "b", "größe", "none"][random.random_range(0..5)].to_owned());
                request.follow.kinds = kinds.collect();
            }
            if random.random() {
                let decay = [1.0, 0.5, 0.01][random.random_range(0..3)];
                request.spread = Some(Spread { decay, raw: random.random() });
            }
            let seeds: Vec<(usize, f64)> = (0..random.random_range(1..4))
                .map(|_| (random.random_range(0..nodes), [1.0, 0.5, 0.0][random.random_range(0..3)]))
                .collect();
            let expected = model(&edges, &names, nodes, &request, &seeds);
            let mut reached = walk(&adjacency, &names, &request, &seeds, |place| living.contains(&place));
            let context = format!("seed {seed} round {round}.{step}: {request:?}");
            check(&mut reached, &names, &expected, request.spread.is_some(), &context);
        }
    }
}

/// A hub with a million edges keeps nobody waiting, whichever limit there is.
#[test]
fn a_hub_is_walked_in_short_steps() {
    const EDGES: usize = 1_000_000;
    let mut builder = SegmentBuilder::new(IdKind::U64);
    for index in 0..EDGES {
        let (hub, leaf) = (IdRef::U64(0), IdRef::U64(index as u64 + 1));
        builder.add(hub, leaf, "", 1.0 + (index % 1_000) as f32, place(index)).unwrap();
    }
    let segment = finish(builder);
    assert_eq!((segment.len(), segment.nodes()), (EDGES, EDGES + 1));
    assert!(segment.bytes() < EDGES * 64, "{} bytes", segment.bytes());
    let adjacency = Arc::new(Adjacency::empty(1).with(0, segment, vec![EDGES as u64], None));
    let run = |request: WalkRequest| {
        let mut walk = Walk::new(adjacency.clone(), request, IdKind::U64);
        walk.seed(IdRef::U64(0), 1.0);
        let looked = Cell::new(0);
        let visible = |_| {
            looked.set(looked.get() + 1);
            true
        };
        loop {
            looked.set(0);
            let goes_on = walk.step(visible);
            assert!(looked.get() <= TRAVERSE_STEP, "{} in one step", looked.get());
            if !goes_on {
                return walk.finish(1);
            }
        }
    };
    let all = run(WalkRequest { nodes_max: EDGES + 1, spread: Some(Spread { decay: 0.5, raw: false }), ..request(3) });
    assert_eq!((all.len(), all.edges, all.is_truncated), (EDGES, EDGES, false));
    let few = run(WalkRequest { nodes_max: 1_000, ..request(2) });
    assert_eq!((few.len(), few.is_truncated), (999, true));
    let short = run(WalkRequest { edges_max: 5_000, ..request(2) });
    assert_eq!((short.len(), short.edges, short.is_truncated), (5_000, 5_000, true));
    let mut follow = Follow { fan_out: 2_000, ..Follow::default() };
    let mut heavy = run(WalkRequest { follow: follow.clone(), ..request(2) });
    assert_eq!((heavy.len(), heavy.is_truncated), (2_000, false));
    assert!(heavy.next(2_000).iter().all(|node| node.weight >= 999.0), "the heaviest");
    follow.weight_min = 1_000.0;
    let mut least = run(WalkRequest { follow: Follow { fan_out: 10, ..follow }, ..request(1) });
    let ids: Vec<IdRef<'_>> = least.next(10).to_vec().iter().map(|node| least.id(node)).collect();
    assert!(ids.iter().copied().eq((1..=10).map(|index| IdRef::U64(index * 1_000))), "{ids:?}");
}

#[test]
fn what_overflows_stays_finite() {
    let names = Names::new(2, IdKind::U64);
    let edge = |from, to| Edge { from, to, kind: "", weight: f32::MAX, place: place(from), lives: true };
    let adjacency = Arc::new(extend(&Adjacency::empty(1), &names, &[edge(0, 1), edge(1, 0)], 0));
    let request = WalkRequest { spread: Some(Spread { decay: 1.0, raw: true }), ..request(16) };
    let mut reached = walk(&adjacency, &names, &request, &[(0, 1.0), (1, f64::MAX)], |_| true);
    assert!(reached.next(2).iter().all(|node| node.activation == f32::MAX && node.weight.is_finite()));
}

#[test]
fn segments_grow_by_doubling() {
    let names = Names::new(50, IdKind::Utf8);
    let (mut edges, mut adjacency): (Vec<Edge>, _) = (Vec::new(), Adjacency::empty(1));
    for index in 0..600 {
        let (from, to) = (index % 50, index * 7 % 50);
        edges.push(Edge { from, to, kind: "a", weight: 1.0, place: place(index), lives: true });
        adjacency = extend(&adjacency, &names, &edges, index);
        assert_eq!((adjacency.len(), adjacency.covered(0)), (index + 1, index as u64 + 1));
        assert!(adjacency.segments().len() <= 11, "{} segments of {index}", adjacency.segments().len());
    }
    assert!(adjacency.bytes() < 600 * 100, "{} bytes", adjacency.bytes());
}
