//! Edges as rows: random writes, replacements and deletes, `kill -9` and other numbers of shards, with traversals of every kind held against
//! the definition, and against a plain list of edges.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use engine::edges::{Direction, Follow, Spread};
use engine::limits;
use engine::schema::{NODES_KEY, ROLE_KEY};
use engine::search::SpreadOptions;
use engine::traversal::TraversalRequest;
use net::client::{
    Ack, Client, Collection, CollectionOptions, Id, Ids, Queries, SearchRequest, TraverseReply, TraverseRequest,
};
use net::codec::Status;
use tests::random::Random;
use tests::server::{Process, Server};

const NODES: u64 = 60;
/// Edges may lead to ids that no row has.
const NAMES: u64 = 66;
const TYPES: [Option<&str>; 4] = [None, Some("depends"), Some("suggests"), Some("größe")];

/// What is made of a request.
type Change = &'static dyn Fn(&mut TraverseRequest<'_>);
/// From, to, type and weight of an edge.
type Edge = (u64, u64, Option<&'static str>, Option<f32>);
/// Hops, weight and activation.
type Reached = (u8, f64, f64);

fn name(node: u64) -> String {
    format!("node {}", node * 37 % 101)
}

fn role(name: &str, data_type: DataType, role: &str) -> Field {
    Field::new(name, data_type, true).with_metadata([(ROLE_KEY.to_owned(), role.to_owned())])
}

fn edge_schema(weight: DataType, nodes: Option<&str>) -> Schema {
    let fields = vec![
        Field::new("id", DataType::Utf8, false),
        role("from", DataType::Utf8, "edge_from"),
        role("to", DataType::Utf8, "edge_to"),
        role("type", DataType::Utf8, "edge_type"),
        role("weight", weight, "edge_weight"),
    ];
    let metadata = nodes.map(|nodes| (NODES_KEY.to_owned(), nodes.to_owned()));
    Schema::new_with_metadata(fields, metadata.into_iter().collect::<HashMap<String, String>>())
}

fn create(client: &Client) {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vector = DataType::FixedSizeList(item.clone(), 2);
    let schema = Schema::new(vec![Field::new("id", DataType::Utf8, false), Field::new("vector", vector, false)]);
    let nodes = client.create_collection("nodes", &schema, CollectionOptions::default()).expect("a good schema");
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..NODES).map(name)));
    let values = Float32Array::from_iter_values((0..2 * NODES).map(|value| 1.0 + value as f32));
    let vectors: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, Arc::new(values), None));
    let batch = RecordBatch::try_new(Arc::new(schema), vec![ids, vectors]).expect("columns of the schema");
    nodes.write(&batch, Ack::Durable).expect("a good batch").wait().expect("written");
    let edges = edge_schema(DataType::Float32, Some("nodes"));
    client.create_collection("edges", &edges, CollectionOptions::default()).expect("a good schema");
}

fn batch(edges: &[(String, Edge)]) -> RecordBatch {
    let text = |value: &dyn Fn(&Edge) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(edges.iter().map(|(_, edge)| value(edge))))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(edges.iter().map(|(id, _)| id))),
        text(&|edge| name(edge.0)),
        text(&|edge| name(edge.1)),
        Arc::new(StringArray::from_iter(edges.iter().map(|(_, edge)| edge.2))),
        Arc::new(Float32Array::from_iter(edges.iter().map(|(_, edge)| edge.3))),
    ];
    RecordBatch::try_new(Arc::new(edge_schema(DataType::Float32, None)), columns).expect("columns of the schema")
}

/// What is followed from a node.
fn followed(edges: &BTreeMap<String, Edge>, follow: &Follow, node: u64) -> Vec<(u64, f32)> {
    let mut found = Vec::new();
    for &(from, to, kind, weight) in edges.values() {
        let (kind, weight) = (kind.unwrap_or(""), weight.unwrap_or(1.0));
        if weight < follow.weight_min || !(follow.kinds.is_empty() || follow.kinds.iter().any(|name| name == kind)) {
            continue;
        }
        let (out, into) = match follow.direction {
            Direction::Out => (true, false),
            Direction::In => (false, true),
            Direction::Both => (true, from != to),
        };
        if out && from == node {
            found.push((to, weight));
        }
        if into && to == node {
            found.push((from, weight));
        }
    }
    if follow.fan_out > 0 {
        found.sort_by(|left, right| right.1.total_cmp(&left.1).then(name(left.0).cmp(&name(right.0))));
        found.truncate(follow.fan_out);
    }
    found
}

/// The definition.
fn model(edges: &BTreeMap<String, Edge>, request: &TraversalRequest, seeds: &[(u64, f64)]) -> BTreeMap<u64, Reached> {
    let lists: Vec<_> = (0..NAMES).map(|node| followed(edges, &request.follow, node)).collect();
    let mut reached: BTreeMap<u64, Reached> = seeds.iter().map(|&(seed, _)| (seed, (0, 1.0, 0.0))).collect();
    for hop in 1..=request.hops {
        let layer: Vec<(u64, f64)> =
            reached.iter().filter(|(_, node)| node.0 == hop - 1).map(|(&node, found)| (node, found.1)).collect();
        for (node, weight) in layer {
            for &(to, part) in &lists[node as usize] {
                let found = reached.entry(to).or_insert((hop, 0.0, 0.0));
                if found.0 == hop {
                    found.1 = found.1.max(weight * f64::from(part));
                }
            }
        }
    }
    if let Some(spread) = request.spread {
        let mut pulse = vec![0.0; NAMES as usize];
        seeds.iter().for_each(|&(seed, activation)| pulse[seed as usize] += activation);
        let mut total = pulse.clone();
        for _ in 0..request.hops {
            let mut next = vec![0.0; NAMES as usize];
            for (node, list) in lists.iter().enumerate() {
                let sum: f64 = list.iter().map(|&(_, weight)| f64::from(weight)).sum();
                let whole = if spread.raw { 1.0 } else { sum };
                for &(to, weight) in list.iter().filter(|_| whole > 0.0) {
                    next[to as usize] += pulse[node] * spread.decay * f64::from(weight) / whole;
                }
            }
            total.iter_mut().zip(&next).for_each(|(total, next)| *total += next);
            pulse = next;
        }
        reached.iter_mut().for_each(|(&node, found)| found.2 = total[node as usize]);
    }
    reached.retain(|&node, found| found.0 >= request.hops_min && (request.missing || node < NODES));
    reached
}

fn ask(edges: &Collection, seeds: &[(u64, f64)], request: &TraversalRequest) -> TraverseReply {
    let ids = Ids::Utf8(seeds.iter().map(|&(seed, _)| name(seed)).collect());
    let activations: Vec<f32> = seeds.iter().map(|&(_, activation)| activation as f32).collect();
    let request =
        TraverseRequest { activations: &activations, options: request.clone(), ..TraverseRequest::from(&ids) };
    edges.traverse(&request).expect("a good request").wait().expect("an answer")
}

fn check(edges: &Collection, all: &BTreeMap<String, Edge>, random: &mut Random, context: &str) {
    let request = TraversalRequest {
        hops: 1 + random.below(4) as u8,
        hops_min: random.below(2) as u8,
        follow: Follow {
            direction: [Direction::Out, Direction::In, Direction::Both][random.below(3) as usize],
            kinds: TYPES.iter().filter(|_| random.below(4) == 0).map(|kind| kind.unwrap_or("").to_owned()).collect(),
            weight_min: [0.0, 0.4][random.below(2) as usize],
            fan_out: [0, 0, 2][random.below(3) as usize],
        },
        spread: (random.below(2) == 0).then(|| Spread { decay: 0.85, raw: random.below(2) == 0 }),
        missing: random.below(4) == 0,
        limit: [1_000, 3][random.below(2) as usize],
        ..TraversalRequest::default()
    };
    let seeds: Vec<(u64, f64)> =
        (0..1 + random.below(3)).map(|_| (random.below(NAMES), [1.0, 0.5][random.below(2) as usize])).collect();
    let context = format!("{context}: {request:?} from {seeds:?}");
    let expected = model(all, &request, &seeds);
    let reply = ask(edges, &seeds, &request);
    assert!(!reply.is_truncated, "{context}");
    assert_eq!(reply.nodes.len(), expected.len().min(request.limit), "{context}");
    let by_name: BTreeMap<String, u64> = (0..NAMES).map(|node| (name(node), node)).collect();
    let is_near = |found: f32, wanted: f64| (f64::from(found) - wanted).abs() <= 1e-6 * wanted + 1e-30;
    for node in &reply.nodes {
        let Id::Utf8(id) = &node.id else { panic!("ids are text") };
        let Some(&(hops, weight, activation)) = expected.get(&by_name[id]) else { panic!("{context}: {node:?}") };
        assert_eq!(node.hops, hops, "{context}: {node:?}");
        assert!(is_near(node.weight, weight) && is_near(node.activation, activation), "{context}: {node:?}");
    }
    let least = |found: &Reached| if request.spread.is_some() { found.2 } else { -f64::from(found.0) };
    let mut best: Vec<f64> = expected.values().map(least).collect();
    best.sort_by(|left, right| right.total_cmp(left));
    for (node, best) in reply.nodes.iter().zip(best) {
        let key = if request.spread.is_some() { f64::from(node.activation) } else { -f64::from(node.hops) };
        assert!((key - best).abs() <= 1e-6 * best.abs(), "{context}: {node:?} where {best} is the best");
    }
}

#[test]
fn traversals_are_as_defined_whatever_happens_to_the_server() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut all: BTreeMap<String, Edge> = BTreeMap::new();
    for (round, shards) in [2, 2, 3, 1, 2].into_iter().enumerate() {
        let server = Process::start(directory.path(), shards);
        let client = server.client();
        if round == 0 {
            create(&client);
        }
        let edges = client.collection("edges").expect("it is there");
        for step in 0..6 {
            if step > 0 || round == 0 {
                change(&edges, &mut all, &mut random);
            }
            for _ in 0..8 {
                check(&edges, &all, &mut random, &format!("round {round}.{step}"));
            }
        }
        if round == 2 {
            client.snapshot_all().expect("it is written");
            change(&edges, &mut all, &mut random);
        }
        server.kill();
    }
}

/// Writes some edges, of which some replace others, and deletes some.
fn change(edges: &Collection, all: &mut BTreeMap<String, Edge>, random: &mut Random) {
    let written: Vec<(String, Edge)> = (0..1 + random.below(120))
        .map(|_| {
            let weight = [None, Some(0.0), Some(0.25), Some(0.5), Some(3.0)][random.below(5) as usize];
            let kind = TYPES[random.below(4) as usize];
            (format!("edge {}", random.below(300)), (random.below(NAMES), random.below(NAMES), kind, weight))
        })
        .collect();
    edges.write(&batch(&written), Ack::Durable).expect("a good batch").wait().expect("written");
    all.extend(written);
    let deleted: Vec<String> = all.keys().filter(|_| random.below(8) == 0).cloned().collect();
    if !deleted.is_empty() {
        all.retain(|id, _| !deleted.contains(id));
        edges.delete(&Ids::Utf8(deleted), Ack::Durable).expect("good ids").wait().expect("deleted");
    }
}

fn status<T>(result: net::Result<T>) -> Option<Status> {
    result.err().and_then(|error| error.status())
}

#[test]
fn bad_edges_and_traversals_are_refused_and_leave_no_trace() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    create(&client);
    let edges = client.collection("edges").expect("it is there");
    let write = |edge: Edge| edges.write(&batch(&[("e".to_owned(), edge)]), Ack::Durable).and_then(|sent| sent.wait());
    for weight in [f32::NAN, f32::INFINITY, -0.5, f32::NEG_INFINITY] {
        let error = write((0, 1, None, Some(weight))).expect_err("no weight");
        assert!(error.to_string().contains("column `weight`"), "{weight}: {error}");
    }
    let ends = client.collection("edges").expect("it is there");
    let ids = |seeds: &[u64]| Ids::Utf8(seeds.iter().map(|&seed| name(seed)).collect());
    let seeds = ids(&[0]);
    let ask = |change: &dyn Fn(&mut TraverseRequest<'_>)| {
        let mut request = TraverseRequest::from(&seeds);
        change(&mut request);
        ends.traverse(&request).and_then(|sent| sent.wait())
    };
    assert_eq!(ask(&|_| ()).expect("an answer").nodes, [], "nothing was written");
    // A cycle of two, a loop, an edge to nowhere.
    write((0, 1, None, Some(1.0))).expect("written");
    let more = [(1, 0), (1, 1), (0, NODES)].map(|(from, to)| (format!("{from}|{to}"), (from, to, None, None)));
    edges.write(&batch(&more), Ack::Durable).expect("a good batch").wait().expect("written");
    let far = ask(&|request| request.options.hops = limits::HOPS_MAX).expect("an answer");
    assert_eq!(far.nodes.len(), 1, "only what is a row: {far:?}");
    let missing = ask(&|request| request.options.missing = true).expect("an answer");
    assert_eq!(missing.nodes.len(), 2, "{missing:?}");
    assert!(
        ask(&|request| request.options.follow.kinds = vec!["unknown".to_owned()]).expect("an answer").nodes.is_empty()
    );

    let refused: [(Status, Change); 12] = [
        (Status::InvalidTraversal, &|request| request.options.hops = 0),
        (Status::LimitExceeded, &|request| request.options.hops = limits::HOPS_MAX + 1),
        (Status::InvalidTraversal, &|request| request.options.hops_min = 2),
        (Status::InvalidTraversal, &|request| request.options.follow.weight_min = f32::NAN),
        (Status::InvalidTraversal, &|request| request.options.follow.weight_min = -1.0),
        (Status::InvalidTraversal, &|request| request.options.spread = Some(Spread { decay: 0.0, raw: false })),
        (Status::InvalidTraversal, &|request| request.options.spread = Some(Spread { decay: 1.5, raw: false })),
        (Status::InvalidTraversal, &|request| request.options.spread = Some(Spread { decay: f64::NAN, raw: true })),
        (Status::LimitExceeded, &|request| request.options.nodes_max = limits::TRAVERSE_NODES_MAX + 1),
        (Status::LimitExceeded, &|request| request.options.limit = limits::IDS_MAX + 1),
        (Status::InvalidTraversal, &|request| request.activations = &[-1.0]),
        (Status::InvalidTraversal, &|request| request.activations = &[f32::NAN]),
    ];
    for (index, (wanted, change)) in refused.into_iter().enumerate() {
        assert_eq!(status(ask(change)), Some(wanted), "case {index}");
    }
    let many = ids(&(0..NODES).collect::<Vec<_>>());
    let mut request = TraverseRequest::from(&many);
    request.options.nodes_max = 3;
    assert_eq!(status(edges.traverse(&request).and_then(|sent| sent.wait())), Some(Status::InvalidTraversal));
    let wrong = Ids::U64(vec![1]);
    assert!(edges.traverse(&TraverseRequest::from(&wrong)).is_err(), "ids of another kind");
    assert!(client.collection("nodes").expect("there").traverse(&TraverseRequest::from(&seeds)).is_err(), "no edges");

    let lost = edge_schema(DataType::Float64, Some("nowhere"));
    let lost_edges = client.create_collection("lost", &lost, CollectionOptions::default()).expect("a good schema");
    let asked = lost_edges.traverse(&TraverseRequest::from(&seeds)).and_then(|sent| sent.wait());
    assert_eq!(status(asked), Some(Status::UnknownCollection), "its nodes are not there");
    let row = |weight: f64| {
        let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
        let weight: ArrayRef = Arc::new(Float64Array::from(vec![weight]));
        let columns = vec![text("a"), text("b"), text("c"), text(""), weight];
        RecordBatch::try_new(Arc::new(edge_schema(DataType::Float64, None)), columns).expect("columns of the schema")
    };
    assert!(lost_edges.write(&row(1e39), Ack::Durable).is_err(), "more than an f32 holds");
    lost_edges.write(&row(0.1), Ack::Durable).expect("a good batch").wait().expect("written");
    server.stop();
}

/// Results of an exact search activate their neighbours: order and scores are held against the formula.
#[test]
fn results_are_ordered_by_similarity_and_activation() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    create(&client);
    let (nodes, edges) = (client.collection("nodes").expect("there"), client.collection("edges").expect("there"));
    let mut all = BTreeMap::new();
    change(&edges, &mut all, &mut random);
    let query = [1.0_f32, 40.0];
    let similarity = |node: u64| {
        let (x, y) = (1.0 + 2.0 * node as f64, 2.0 + 2.0 * node as f64);
        let (a, b) = (f64::from(query[0]), f64::from(query[1]));
        (x * a + y * b) / ((x * x + y * y) * (a * a + b * b)).sqrt()
    };
    let by_name: BTreeMap<String, u64> = (0..NODES).map(|node| (name(node), node)).collect();
    for round in 0..40 {
        let mut spread = SpreadOptions::new("edges");
        spread.hops = 1 + random.below(3) as u8;
        spread.weight = [0.0, 0.5, 3.0][random.below(3) as usize];
        spread.candidates = Some([5, 8, 60][random.below(3) as usize]);
        spread.neighbours = random.below(2) == 0;
        spread.spread = Spread { decay: 0.5, raw: random.below(2) == 0 };
        spread.follow.direction = [Direction::Out, Direction::In, Direction::Both][random.below(3) as usize];
        let k = 1 + random.below(12) as usize;
        let request = SearchRequest {
            queries: Queries::F32(&query),
            k,
            exact: true,
            spread: Some(&spread),
            ..SearchRequest::default()
        };
        let reply = nodes.search(&request).expect("a good request").wait().expect("an answer");
        let mut nearest: Vec<u64> = (0..NODES).collect();
        nearest.sort_by(|left, right| similarity(*right).total_cmp(&similarity(*left)));
        nearest.truncate(spread.candidates(k));
        let seeds: Vec<(u64, f64)> = nearest.iter().map(|&node| (node, similarity(node))).collect();
        let reached = model(&all, &spread.traversal(), &seeds);
        let received = |node: u64| {
            let own = seeds.iter().find(|(seed, _)| *seed == node).map_or(0.0, |(_, activation)| *activation);
            reached.get(&node).map_or(0.0, |found| found.2 - own)
        };
        let score = |node: u64| similarity(node) + spread.weight * received(node);
        let others =
            (0..NODES).filter(|node| spread.neighbours && !nearest.contains(node) && reached.contains_key(node));
        let mut best: Vec<f64> = nearest.iter().copied().chain(others).map(score).collect();
        best.sort_by(|left, right| right.total_cmp(left));
        let context = format!("round {round}: {k} by {spread:?}");
        assert_eq!(reply.hits[0].len(), k, "{context}");
        for (hit, best) in reply.hits[0].iter().zip(best) {
            let Id::Utf8(id) = &hit.id else { panic!("ids are text") };
            let (found, wanted) = (f64::from(hit.score.expect("scores come with it")), score(by_name[id]));
            assert!((found - wanted).abs() <= 2e-5 * wanted.max(1.0), "{context}: {hit:?}, by the formula {wanted}");
            assert!((found - best).abs() <= 2e-5 * best.max(1.0), "{context}: {hit:?} where {best} is the best");
            let distance = f64::from(hit.distance);
            assert!((distance - (1.0 - similarity(by_name[id]))).abs() <= 1e-5, "{context}: {hit:?}");
        }
    }
    let ask = |spread: SpreadOptions| {
        let request =
            SearchRequest { queries: Queries::F32(&query), spread: Some(&spread), ..SearchRequest::default() };
        status(nodes.search(&request).and_then(|sent| sent.wait()))
    };
    assert_eq!(ask(SpreadOptions::new("edges")), None);
    assert_eq!(ask(SpreadOptions::new("nowhere")), Some(Status::UnknownCollection));
    assert_eq!(ask(SpreadOptions::new("nodes")), Some(Status::InvalidSearch), "its rows are no edges");
    server.stop();
}

/// One node with a million edges: others are answered meanwhile, and limits cut it off.
#[test]
fn a_hub_stops_nobody() {
    const EDGES: u64 = 300_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let schema = Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        role("from", DataType::UInt64, "edge_from"),
        role("to", DataType::UInt64, "edge_to"),
    ]);
    let edges = client.create_collection("hub", &schema, CollectionOptions::default()).expect("a good schema");
    let schema = edges.schema().clone();
    for first in (0..EDGES).step_by(50_000) {
        let numbers = |value: &dyn Fn(u64) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values((first..first + 50_000).map(value)))
        };
        let columns = vec![numbers(&|edge| edge), numbers(&|_| 0), numbers(&|edge| edge + 1)];
        let batch = RecordBatch::try_new(schema.clone(), columns).expect("columns of the schema");
        edges.write(&batch, Ack::Durable).expect("a good batch").wait().expect("written");
    }
    let seeds = Ids::U64(vec![0]);
    let mut request = TraverseRequest::from(&seeds);
    let few = edges.traverse(&request).expect("a good request").wait().expect("an answer");
    assert!(few.is_truncated && few.nodes.len() == 1_000, "{} nodes", few.nodes.len());
    request.options.nodes_max = limits::TRAVERSE_NODES_MAX;
    let all = edges.traverse(&request).expect("a good request").wait().expect("an answer");
    assert!(!all.is_truncated && all.edges == EDGES && all.nodes.len() == 1_000);
    assert!(all.nodes.iter().zip(1..).all(|(node, id)| node.id == Id::U64(id)), "of equal ones the least ids");
    server.stop();
}
