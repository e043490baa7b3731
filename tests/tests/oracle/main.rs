//! Random operations on a collection and on a plain model of it: whatever is asked, both say the same.
//!
//! Every element type with every metric, every scalar type with nulls, ids of every type; writes, deletes and reads, searches with and
//! without filters, snapshots, restarts, `kill -9`, another number of shards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use engine::placement::home;
use net::client::{
    Ack, Client, Collection, CollectionOptions, Hit, Id, Missing, Queries, SearchRequest, Text, TextQuery,
    UpdateOptions, WriteMode,
};
use net::codec::Status;
use tests::PATIENCE;
use tests::model::condition::Condition;
use tests::model::value::{TEXTS, Value, cell};
use tests::model::vector::{VectorKind, every_kind};
use tests::model::{Kind, Model, Row, borrowed, ids};
use tests::random::Random;
use tests::server::Process;

use arrow::datatypes::{DataType, Field};

/// Ids that operations choose from: most are there most of the time, so that a graph is.
const IDS: u64 = 2_500;
/// Operations of a world.
const STEPS: u64 = 250;
const SHARDS_MAX: u64 = 3;
const COLUMNS_ADDED_MAX: usize = 3;
const EF: usize = 128;
/// What the graph has to find of what is nearest, over all searches of a vector column.
const RECALL_MIN: f64 = 0.95;

/// A server with a collection, and what the collection should hold.
struct World<'a> {
    directory: &'a Path,
    server: Option<Process>,
    client: Client,
    collection: Collection,
    model: Model,
    random: Random,
    /// By vector column: what was found by graph of what is nearest, and how much that is.
    found: BTreeMap<usize, (usize, usize)>,
}

impl World<'_> {
    fn new(directory: &Path, model: Model, mut random: Random) -> World<'_> {
        let server = start(directory, &mut random);
        let client = server.client();
        let options = CollectionOptions::default();
        let collection = client.create_collection("world", &model.schema(), options).expect("a good schema");
        World { directory, server: Some(server), client, collection, model, random, found: BTreeMap::new() }
    }

    /// One operation.
    fn step(&mut self) {
        match self.random.below(100) {
            0..12 => self.write(),
            12..18 => self.write_conditionally(),
            18..25 => self.update(),
            25..31 => self.delete(),
            31..35 => self.delete_where(),
            35..45 => self.get(),
            45..51 => self.scan(),
            51..53 => self.count(),
            53..55 => self.facets(),
            55..75 => self.search(true),
            75..86 => self.search(false),
            86..93 => self.search_text(),
            93 => self.add_column(),
            94..96 => drop(self.client.snapshot_all().expect("it is written")),
            96..98 => assert!(self.collection.wait_indexed(PATIENCE).expect("an answer").done),
            _ => self.restart(),
        }
    }

    fn some_ids(&mut self, most: u64) -> Vec<Id> {
        let count = 1 + self.random.below(most);
        (0..count).map(|_| self.model.random_id(IDS, &mut self.random)).collect()
    }

    /// A filter, most of the time.
    fn condition(&mut self) -> Option<Condition> {
        (self.random.below(3) > 0).then(|| Condition::random(&self.model, 3, &mut self.random))
    }

    fn write(&mut self) {
        let most = if self.random.below(4) == 0 { 400 } else { 20 };
        let ids = self.some_ids(most);
        let rows: Vec<Row> = ids.iter().map(|id| self.model.random_row(id, &mut self.random)).collect();
        let batch = self.model.batch(&rows.iter().collect::<Vec<_>>());
        let report = self.collection.write(&batch, Ack::Durable).expect("a good batch").wait().expect("written");
        let count = rows.len() as u64;
        let replaced = rows.into_iter().filter(|row| self.model.upsert(row.clone())).count() as u64;
        assert_eq!((report.rows, report.replaced, report.inserted), (count, replaced, count - replaced));
    }

    /// Inserts or replaces rows: all of a shard's, or none of them. One shard's at a time, so that all or none are.
    fn write_conditionally(&mut self) {
        let mode = if self.random.below(2) == 0 { WriteMode::Insert } else { WriteMode::Replace };
        let shards = self.client.server().shards;
        let mut ids = self.some_ids(8);
        let home_of = |id: &Id| home(borrowed(id), shards);
        let first = home_of(&ids[0]);
        ids.retain(|id| home_of(id) == first);
        let rows: Vec<Row> = ids.iter().map(|id| self.model.random_row(id, &mut self.random)).collect();
        let is_there = |id: &Id| self.model.rows.contains_key(id);
        let distinct: BTreeSet<&Id> = ids.iter().collect();
        let refusal = match mode {
            WriteMode::Insert if distinct.len() < ids.len() || ids.iter().any(is_there) => Some(Status::RowExists),
            WriteMode::Replace if !ids.iter().all(is_there) => Some(Status::RowMissing),
            _ => None,
        };
        let batch = self.model.batch(&rows.iter().collect::<Vec<_>>());
        let written = self.collection.write_with(&batch, mode, Ack::Durable).expect("a good batch").wait();
        match (refusal, written) {
            (None, Ok(report)) => {
                assert_eq!(report.rows, rows.len() as u64);
                for row in rows {
                    self.model.upsert(row);
                }
            }
            (Some(status), Err(error)) => assert_eq!(error.status(), Some(status), "{mode:?}: {error}"),
            (expected, got) => panic!("{mode:?}: {got:?}, and not {expected:?}"),
        }
    }

    /// Gives some columns of rows new values, under a condition at times; rows that are missing or do not meet it are left out.
    fn update(&mut self) {
        let count = self.model.columns.len() as u64;
        let mut places: BTreeSet<usize> =
            (0..1 + self.random.below(4)).map(|_| self.random.below(count) as usize).collect();
        places.insert(0);
        let places: Vec<usize> = places.into_iter().collect();
        let distinct: BTreeSet<Id> = self.some_ids(40).into_iter().collect();
        let rows: Vec<Row> = distinct.iter().map(|id| self.model.random_row(id, &mut self.random)).collect();
        let condition = self.condition();
        let filter = json(condition.as_ref());
        let batch = self.model.batch_of(&places, &rows.iter().collect::<Vec<_>>());
        let options = UpdateOptions { missing: Missing::Skip, filter: &filter, newer: None, skip_unmet: true };
        let report = self.collection.update(&batch, &options, Ack::Durable).expect("a good batch").wait();
        let report = report.unwrap_or_else(|error| panic!("{filter}: {error}"));
        let (mut updated, mut missing, mut unmet) = (0, 0, 0);
        for row in &rows {
            match self.model.rows.get_mut(&self.model.id_of(row)) {
                None => missing += 1,
                Some(old) if condition.as_ref().is_some_and(|condition| !condition.holds(old)) => unmet += 1,
                Some(old) => {
                    places.iter().for_each(|&place| old[place] = row[place].clone());
                    updated += 1;
                }
            }
        }
        assert_eq!((report.rows, report.missing, report.unmet), (updated, missing, unmet), "{filter}");
    }

    fn delete_where(&mut self) {
        // What next to everything passes would leave nothing to search in.
        let few = Condition::random(&self.model, 2, &mut self.random);
        let gone = self.model.matching(Some(&few));
        if gone.len() > self.model.rows.len() / 8 {
            return;
        }
        let filter = few.to_json().to_string();
        let deleted = self.collection.delete_where(&filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(deleted, gone.len() as u64, "{filter}");
        gone.iter().for_each(|id| drop(self.model.rows.remove(id)));
    }

    fn delete(&mut self) {
        let gone = self.some_ids(60);
        let report = self.collection.delete(&ids(&gone), Ack::Durable).expect("good ids").wait().expect("deleted");
        let deleted = gone.iter().filter(|id| self.model.rows.remove(id).is_some()).count();
        assert_eq!(report.deleted, deleted as u64);
    }

    fn get(&mut self) {
        let wanted = self.some_ids(50);
        let read = self.collection.get(&ids(&wanted), &[]).expect("an answer");
        let rows: Vec<Row> = wanted.iter().filter_map(|id| self.model.rows.get(id).cloned()).collect();
        assert_eq!(self.model.read(&read), rows);
    }

    fn scan(&mut self) {
        let condition = self.condition();
        let filter = json(condition.as_ref());
        let mut found = BTreeMap::new();
        let scan = self.collection.scan(&[]).expect("all columns").with_filter(&filter);
        for batch in scan.with_batch_rows(self.random.below(900) as u32) {
            for row in self.model.read(&batch.unwrap_or_else(|error| panic!("{filter}: {error}"))) {
                assert!(found.insert(self.model.id_of(&row), row).is_none(), "{filter}: a row came twice");
            }
        }
        let expected: BTreeSet<Id> = self.model.matching(condition.as_ref()).into_iter().collect();
        assert!(found.keys().eq(expected.iter()), "{filter}: {} rows, and not {}", found.len(), expected.len());
        for (id, row) in &found {
            assert_eq!(row, &self.model.rows[id], "{filter}");
        }
    }

    fn count(&mut self) {
        let condition = self.condition();
        let filter = json(condition.as_ref());
        let count = self.collection.count(&filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(count, self.model.matching(condition.as_ref()).len() as u64, "{filter}");
    }

    /// How often each value of a column is there, of lists each of their texts.
    fn facets(&mut self) {
        let name = ["flag", "i8", "u64", "text", "tags"][self.random.below(5) as usize];
        let place = self.model.column(name);
        let condition = self.condition();
        let filter = json(condition.as_ref());
        let facets =
            self.collection.facets(name, 100, &filter).unwrap_or_else(|error| panic!("{name}, {filter}: {error}"));
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        let mut nulls = 0;
        for id in self.model.matching(condition.as_ref()) {
            match &self.model.rows[&id][place] {
                Value::Null => nulls += 1,
                Value::Tags(tags) => {
                    let distinct: BTreeSet<&String> = tags.iter().collect();
                    distinct
                        .into_iter()
                        .for_each(|tag| *expected.entry(format!("{:?}", Value::Text(tag.clone()))).or_default() += 1);
                }
                value => *expected.entry(format!("{value:?}")).or_default() += 1,
            }
        }
        assert_eq!(
            (facets.nulls, facets.others, facets.distinct),
            (nulls, 0, expected.len() as u64),
            "{name}, {filter}"
        );
        let (values, counts) = (&facets.values["value"], &facets.values["count"]);
        let count = |row| match cell(counts, row) {
            Value::Int(count) => count as u64,
            other => panic!("{other:?} is no count"),
        };
        let found: BTreeMap<String, u64> =
            (0..facets.values.num_rows()).map(|row| (format!("{:?}", cell(values, row)), count(row))).collect();
        assert_eq!(found, expected, "{name}, {filter}");
    }

    fn search(&mut self, exact: bool) {
        let vectors: Vec<(usize, VectorKind)> = self.model.vectors().map(|(place, kind)| (place, *kind)).collect();
        let (place, kind) = vectors[self.random.below(vectors.len() as u64) as usize];
        let queries: Vec<Vec<u8>> = (0..1 + self.random.below(6)).map(|_| kind.random(&mut self.random)).collect();
        let k = 1 + self.random.below(20) as usize;
        let offset = self.random.below(3) as usize * 4;
        let condition = self.condition();
        let filter = json(condition.as_ref());
        let name = self.model.columns[place].name().to_owned();
        let request = SearchRequest {
            column: Some(&name),
            queries: Queries::Bytes(&queries.concat()),
            k,
            ef: (!exact).then_some(EF),
            exact,
            filter: &filter,
            offset,
            ..Default::default()
        };
        let reply = self.collection.search(&request).expect("it is sent").wait();
        let reply = reply.unwrap_or_else(|error| panic!("{name}, {filter}: {error}"));
        assert_eq!(reply.hits.len(), queries.len());
        for (query, hits) in queries.iter().zip(&reply.hits) {
            let nearest = self.model.nearest(place, query, condition.as_ref());
            let expected = k.min(nearest.len().saturating_sub(offset));
            assert_eq!(hits.len(), expected, "{name}, exact {exact}, {filter}: {} rows pass", nearest.len());
            let right = check_hits(&kind, query, hits, (&nearest, offset), &self.model, place);
            if exact {
                assert_eq!(right, expected, "{name}, {filter}: an exact search misses rows");
            } else {
                let found = self.found.entry(place).or_default();
                *found = (found.0 + right, found.1 + expected);
            }
        }
    }

    /// Adds a column of some type, up to a few; batches and reads have it from then on.
    fn add_column(&mut self) {
        let added = self.model.columns.iter().filter(|column| column.name().starts_with("added")).count();
        if added == COLUMNS_ADDED_MAX {
            return;
        }
        let types = [DataType::Int16, DataType::Utf8, DataType::Float64, DataType::Boolean];
        let data_type = types[self.random.below(types.len() as u64) as usize].clone();
        let field = Field::new(format!("added_{added}"), data_type, true);
        self.collection = self.client.add_columns("world", std::slice::from_ref(&field)).expect("a column more");
        self.model.add_column(field);
    }

    /// The rows that have one of some words, by BM25 over all rows that live.
    fn search_text(&mut self) {
        let query = (0..1 + self.random.below(3)).map(|_| TEXTS[self.random.below(TEXTS.len() as u64) as usize]);
        let query = query.collect::<Vec<_>>().join(" ");
        let condition = self.condition();
        let filter = json(condition.as_ref());
        let k = 1 + self.random.below(40) as usize;
        let text = Text { column: Some("text"), query: TextQuery::Words(&query), candidates: None };
        let request = SearchRequest { text: Some(text), k, filter: &filter, ..Default::default() };
        let reply = self.collection.search(&request).expect("it is sent").wait();
        let hits = reply.unwrap_or_else(|error| panic!("{query}, {filter}: {error}")).hits.remove(0);
        let expected = self.model.by_words("text", &query, condition.as_ref());
        let scores: BTreeMap<&Id, f64> = expected.iter().map(|(score, id)| (*id, *score)).collect();
        assert_eq!(hits.len(), k.min(expected.len()), "{query}, {filter}");
        let distinct: BTreeSet<&Id> = hits.iter().map(|hit| &hit.id).collect();
        assert_eq!(distinct.len(), hits.len(), "{query}, {filter}: each row once");
        for (hit, (best, _)) in hits.iter().zip(&expected) {
            let got = f64::from(hit.score.expect("a search by words has scores"));
            let of_row = scores.get(&hit.id).unwrap_or_else(|| panic!("{query}, {filter}: {} does not pass", hit.id));
            assert!((got - of_row).abs() <= 1e-4, "{query}: {got}, by the formula {of_row}");
            assert!((got - best).abs() <= 1e-4, "{query}, {filter}: {got} in the place of {best}");
        }
    }

    fn restart(&mut self) {
        let server = self.server.take().expect("it runs");
        match self.random.below(2) {
            0 => server.kill(),
            _ => assert!(server.terminate().success()),
        }
        let server = start(self.directory, &mut self.random);
        self.client = server.client();
        self.collection = self.client.collection("world").expect("it is there");
        self.server = Some(server);
    }

    /// All rows are what they should be; the graph has found what it has to.
    fn finish(mut self) {
        self.restart();
        self.scan();
        for (place, (found, wanted)) in &self.found {
            let recall = *found as f64 / *wanted as f64;
            let name = self.model.columns[*place].name();
            println!("{name}: recall {recall:.4} of {wanted}");
            assert!(*wanted < 500 || recall >= RECALL_MIN, "{name}: recall {recall:.4} of {wanted}");
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

/// Hits come in order, each row once, at the distance of the formula; gives how many are among the nearest, of which some were passed over.
fn check_hits(
    kind: &VectorKind,
    query: &[u8],
    hits: &[Hit],
    (nearest, offset): (&[(f64, &Id)], usize),
    model: &Model,
    place: usize,
) -> usize {
    let passing: BTreeMap<&Id, f64> = nearest.iter().map(|&(distance, id)| (id, distance)).collect();
    assert!(hits.is_sorted_by(|a, b| a.distance <= b.distance), "hits in order");
    let distinct: BTreeSet<&Id> = hits.iter().map(|hit| &hit.id).collect();
    assert_eq!(distinct.len(), hits.len(), "each row once");
    let Some((farthest, _)) = hits.len().checked_sub(1).map(|last| nearest[offset + last]) else { return 0 };
    let is_right = |hit: &&Hit| {
        let distance = *passing.get(&hit.id).unwrap_or_else(|| panic!("{} is gone, or does not pass", hit.id));
        let slack = kind.slack(query, model.rows[&hit.id][place].vector());
        let got = f64::from(hit.distance);
        assert!((got - distance).abs() <= slack, "{kind:?}, {}: {got}, by the formula {distance}", hit.id);
        distance <= farthest + 2.0 * slack
    };
    hits.iter().filter(is_right).count()
}

/// A world of these vector columns.
fn run(id: DataType, kinds: &[(&'static str, &'static str)]) {
    let mut random = Random::from_environment();
    // Short vectors are traversed as they are, longer ones on codes.
    let dimension = |element: &str, random: &mut Random| match (element, random.below(2)) {
        ("bits", _) => 64,
        (_, 0) => 12,
        _ => 40,
    };
    let kinds: Vec<VectorKind> = kinds
        .iter()
        .map(|&(element, metric)| VectorKind { element, metric, dimension: dimension(element, &mut random) })
        .collect();
    let model = Model::new(id, &kinds);
    assert!(
        matches!(model.columns[0].kind, Kind::Id) && model.columns[1..].iter().all(|column| column.kind != Kind::Id)
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut world = World::new(directory.path(), model, random);
    for _ in 0..12 {
        world.write();
    }
    for step in 0..STEPS {
        if step == STEPS / 2 {
            assert!(world.collection.wait_indexed(PATIENCE).expect("an answer").done);
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
    run(DataType::UInt64, &part(0));
}

#[test]
fn texts_as_ids() {
    run(DataType::Utf8, &part(1));
}

#[test]
fn signed_numbers_as_ids() {
    run(DataType::Int64, &part(2));
}

#[test]
fn texts_as_ids_and_other_vectors() {
    run(DataType::Utf8, &part(3));
}

#[test]
fn values_of_the_model_are_told_apart() {
    let (zero, minus_zero) = (Value::Float(0.0), Value::Float(-0.0));
    assert!(
        zero != minus_zero && Value::Float(f64::NAN) == Value::Float(f64::NAN) && Value::Null != Value::Bool(false)
    );
}
