//! Edges as rows: random writes, replacements and deletes, `kill -9` and other numbers of shards, with traversals of every kind held against
//! the definition, and against a plain list of edges.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use engine::edges::Spread;
use engine::limits;
use engine::schema::{NODES_KEY, ROLE_KEY};
use engine::search::SpreadOptions;
use net::client::{
    Ack, Client, Collection, CollectionOptions, Id, Ids, Queries, SearchRequest, TraverseRequest, UpdateOptions,
};
use net::codec::Status;
use tests::model::edges;
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

fn name(node: u64) -> String {
    format!("node {}", node * 37 % 101)
}

fn id(node: u64) -> Id {
    Id::Utf8(name(node))
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

/// As the definition takes them.
fn plain(edges: &BTreeMap<String, Edge>) -> Vec<edges::Edge> {
    let plain = |&(from, to, kind, weight): &Edge| edges::Edge {
        from: id(from),
        to: id(to),
        kind: kind.unwrap_or("").to_owned(),
        weight: weight.unwrap_or(1.0),
    };
    edges.values().map(plain).collect()
}

fn check(collection: &Collection, all: &BTreeMap<String, Edge>, random: &mut Random, context: &str) {
    let request = edges::random_request(&TYPES.map(Option::unwrap_or_default), random);
    let seeds: Vec<(u64, f64)> =
        (0..1 + random.below(3)).map(|_| (random.below(NAMES), [1.0, 0.5][random.below(2) as usize])).collect();
    let context = format!("{context}: {request:?} from {seeds:?}");
    let activations: Vec<f32> = seeds.iter().map(|&(_, activation)| activation as f32).collect();
    let ids = Ids::Utf8(seeds.iter().map(|&(seed, _)| name(seed)).collect());
    let asked = TraverseRequest { activations: &activations, options: request.clone(), ..TraverseRequest::from(&ids) };
    let reply = collection.traverse(&asked).expect("a good request").wait().expect("an answer");
    let seeds: Vec<(Id, f64)> = seeds.iter().map(|&(seed, activation)| (id(seed), activation)).collect();
    let mut expected = edges::traverse(&plain(all), &request, &seeds);
    let missing: Vec<Id> = (NODES..NAMES).map(id).collect();
    expected.retain(|id, _| request.missing || !missing.contains(id));
    edges::check(&reply, &expected, &request, &context);
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

/// Gives edges that are there other weights, and nothing else.
fn reweigh(edges: &Collection, weights: &[(String, Option<f32>)]) -> net::Result<u64> {
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(weights.iter().map(|(id, _)| id)));
    let weights: ArrayRef = Arc::new(Float32Array::from_iter(weights.iter().map(|(_, weight)| *weight)));
    let batch = RecordBatch::try_from_iter([("id", ids), ("weight", weights)]).expect("columns of one length");
    Ok(edges.update(&batch, &UpdateOptions::default(), Ack::Durable)?.wait()?.rows)
}

/// Writes some edges, of which some replace others, gives some other weights and deletes some.
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
    let some = all.keys().enumerate().filter(|(place, _)| place % 9 == 0);
    let weights: Vec<(String, Option<f32>)> = some.map(|(place, id)| (id.clone(), Some((place % 4) as f32))).collect();
    if !weights.is_empty() {
        assert_eq!(reweigh(edges, &weights).expect("they are there"), weights.len() as u64);
        weights.into_iter().for_each(|(id, weight)| all.get_mut(&id).expect("it is there").3 = weight);
    }
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
    let negative = reweigh(&edges, &[("e".to_owned(), Some(2.0)), ("1|0".to_owned(), Some(-1.0))]);
    assert_eq!(status(negative), Some(Status::MalformedColumn), "no weight by an update either");
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
    let by_name: BTreeMap<Id, u64> = (0..NODES).map(|node| (id(node), node)).collect();
    for round in 0..40 {
        let mut spread = edges::random_spread("edges", &mut random);
        spread.candidates = Some([5, 8, 60][random.below(3) as usize]);
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
        let candidates: Vec<(Id, f64)> = nearest.iter().map(|&node| (id(node), similarity(node))).collect();
        let admitted = |id: &Id| by_name.get(id).map(|&node| similarity(node));
        let context = format!("round {round}: {k} by {spread:?}");
        let Some(scores) = edges::scores(&plain(&all), &spread, k, &candidates, admitted) else { continue };
        scores.check(&reply.hits[0], k, &context);
        for hit in &reply.hits[0] {
            let distance = f64::from(hit.distance);
            assert!((distance - (1.0 - similarity(by_name[&hit.id]))).abs() <= 1e-5, "{context}: {hit:?}");
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
