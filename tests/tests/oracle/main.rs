//! Random operations on collections and on plain models of them: whatever is asked, both say the same.
//!
//! A world is a server with a collection of rows, one of edges between these, and namespaces with collections of their own. All of them go
//! through restarts, `kill -9`, snapshots and other numbers of shards together, so that every feature meets every other one.
//!
//! | module | operations |
//! |---|---|
//! | [`writes`] | upserts, inserts, replacements, updates, deletes; columns that are added |
//! | [`reads`] | gets, scans, counts, facets |
//! | [`searches`] | by vectors and by examples, within thresholds, in groups, exact and by graph |
//! | [`words`] | by words, and by words and vector |
//! | [`walks`] | traversals along edges; results that activate each other |
//! | [`tenants`] | namespaces with quotas |
//!
//! Between the worlds there is every element type with every metric, every scalar type with nulls, ids of every type, and a time to live.
//! In each a vector column is flat, and another has a graph of few links.

mod reads;
mod searches;
mod tenants;
mod walks;
mod words;
mod writes;

use std::collections::BTreeMap;
use std::path::Path;

use arrow::datatypes::DataType;
use net::client::{Client, Collection, CollectionOptions, Id};
use tests::PATIENCE;
use tests::model::condition::Condition;
use tests::model::value::Value;
use tests::model::vector::{Index, VectorKind, every_kind};
use tests::model::{Kind, Model};
use tests::random::Random;
use tests::server::Process;

use searches::Recall;
use tenants::Tenants;

/// Ids of the rows, and of the edges between them.
const IDS: u64 = 2_500;
const EDGE_IDS: u64 = 1_500;
/// Operations of a world.
const STEPS: u64 = 400;
const SHARDS_MAX: u64 = 3;
const NODES: &str = "nodes";
const EDGES: &str = "edges";

/// A collection, and what it should hold.
struct Table {
    collection: Collection,
    model: Model,
}

impl Table {
    fn create(client: &Client, name: &str, model: Model) -> Table {
        let collection = client.create_collection(name, &model.schema(), CollectionOptions::default());
        Table { collection: collection.expect("a good schema"), model }
    }

    /// After another start.
    fn reopen(&mut self, client: &Client) {
        self.collection = client.collection(self.collection.name()).expect("it is there");
    }

    fn some_ids(&self, most: u64, random: &mut Random) -> Vec<Id> {
        (0..1 + random.below(most)).map(|_| self.model.random_id(random)).collect()
    }

    /// A filter, most of the time.
    fn condition(&self, random: &mut Random) -> Option<Condition> {
        (random.below(3) > 0).then(|| Condition::random(&self.model, 3, random))
    }
}

/// A server with collections, and what they should hold.
struct World<'a> {
    directory: &'a Path,
    server: Option<Process>,
    client: Client,
    nodes: Table,
    edges: Table,
    tenants: Tenants,
    random: Random,
    /// What the graph found, by vector column.
    recall: BTreeMap<usize, Recall>,
}

impl World<'_> {
    fn new(directory: &Path, nodes: Model, mut random: Random) -> World<'_> {
        let server = start(directory, &mut random);
        let client = server.client();
        let edges = Model::edges(&nodes, NODES, EDGE_IDS);
        let tenants = Tenants::new(nodes.columns[0].field.data_type());
        let (nodes, edges) = (Table::create(&client, NODES, nodes), Table::create(&client, EDGES, edges));
        let (server, recall) = (Some(server), BTreeMap::new());
        World { directory, server, client, nodes, edges, tenants, random, recall }
    }

    /// One operation.
    fn step(&mut self) {
        match self.random.below(100) {
            0..22 => self.change(),
            22..38 => self.read(),
            38..52 => self.search(true),
            52..62 => self.search(false),
            62..67 => (0..3).for_each(|_| self.search_words()),
            67..74 => self.search_both(),
            74..80 => self.traverse(),
            80..84 => self.spread(),
            84..94 => self.tenants.step(&self.client, &mut self.random),
            94 => self.nodes.add_column(&self.client, &mut self.random),
            95 => drop(self.client.snapshot_all().expect("it is written")),
            96 => assert!(self.nodes.collection.wait_indexed(PATIENCE).expect("an answer").done),
            _ => self.restart(),
        }
    }

    /// The rows, most of the time, or the edges.
    fn table(&mut self) -> (&mut Table, &mut Random) {
        let table = if self.random.below(4) == 0 { &mut self.edges } else { &mut self.nodes };
        (table, &mut self.random)
    }

    fn change(&mut self) {
        let shards = self.client.server().shards;
        let (table, random) = self.table();
        table.change(shards, random);
    }

    fn read(&mut self) {
        let (table, random) = self.table();
        table.read(random);
    }

    fn restart(&mut self) {
        let server = self.server.take().expect("it runs");
        match self.random.below(2) {
            0 => server.kill(),
            _ => assert!(server.terminate().success()),
        }
        let server = start(self.directory, &mut self.random);
        self.client = server.client();
        self.nodes.reopen(&self.client);
        self.edges.reopen(&self.client);
        self.tenants.reopen(&self.client);
        self.server = Some(server);
    }

    /// All rows are what they should be; the graph has found what it has to.
    fn finish(mut self) {
        self.restart();
        [&self.nodes, &self.edges].into_iter().for_each(|table| table.scan(&mut self.random));
        self.tenants.check(&self.client, &mut self.random);
        for (place, kind) in self.nodes.model.vectors() {
            self.recall.get(&place).copied().unwrap_or_default().check(kind);
        }
        assert!(self.server.take().expect("it runs").terminate().success());
    }
}

fn start(directory: &Path, random: &mut Random) -> Process {
    Process::start(directory, 1 + random.below(SHARDS_MAX) as usize)
}

fn json(condition: Option<&Condition>) -> String {
    condition.map(|condition| condition.to_json().to_string()).unwrap_or_default()
}

/// A world of these vector columns, whose rows expire, or do not.
fn run(id: DataType, kinds: &[(&'static str, &'static str)], expires: bool) {
    let mut random = Random::from_environment();
    // Short vectors are traversed as they are, longer ones on codes.
    let dimension = |element: &str, random: &mut Random| match (element, random.below(2)) {
        ("bits", _) => 64,
        (_, 0) => 12,
        _ => 40,
    };
    // One column has no graph, and one has a graph of few links.
    let flat = random.below(kinds.len() as u64) as usize;
    let small = (flat + 1 + random.below(kinds.len() as u64 - 1) as usize) % kinds.len();
    let kind = |(place, &(element, metric)): (usize, &(&'static str, &'static str))| {
        let index = match place {
            _ if place == flat => Index::Flat,
            _ if place == small => Index::Graph { m: 4 + random.below(5) as u16, ef_construction: 40 },
            _ => Index::Usual,
        };
        VectorKind { element, metric, dimension: dimension(element, &mut random), index }
    };
    let kinds: Vec<VectorKind> = kinds.iter().enumerate().map(kind).collect();
    let model = Model::new(id, IDS, &kinds, expires);
    assert!(
        matches!(model.columns[0].kind, Kind::Id) && model.columns[1..].iter().all(|column| column.kind != Kind::Id)
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut world = World::new(directory.path(), model, random);
    for _ in 0..12 {
        world.nodes.write(&mut world.random);
        world.edges.write(&mut world.random);
    }
    for step in 0..STEPS {
        if step == STEPS / 2 {
            assert!(world.nodes.collection.wait_indexed(PATIENCE).expect("an answer").done);
        }
        world.step();
    }
    world.finish();
}

/// A part of all element types and metrics; the parts have them all.
fn part(number: usize) -> Vec<(&'static str, &'static str)> {
    every_kind().into_iter().skip(number).step_by(4).collect()
}

#[test]
fn numbers_as_ids() {
    run(DataType::UInt64, &part(0), true);
}

#[test]
fn texts_as_ids() {
    run(DataType::Utf8, &part(1), true);
}

#[test]
fn signed_numbers_as_ids() {
    run(DataType::Int64, &part(2), true);
}

#[test]
fn texts_as_ids_and_other_vectors() {
    run(DataType::Utf8, &part(3), false);
}

#[test]
fn values_of_the_model_are_told_apart() {
    let (zero, minus_zero) = (Value::Float(0.0), Value::Float(-0.0));
    assert!(
        zero != minus_zero && Value::Float(f64::NAN) == Value::Float(f64::NAN) && Value::Null != Value::Bool(false)
    );
}
