//! Every option of a search, for every element type and metric that is advertised, against a brute force over the stored values in f64.
//!
//! One collection has a vector column for each pair. Rows are replaced and deleted before anything is asked. Exact answers have to be those
//! of the model but for ties and for the rounding of a distance to f32 ([`Pair::slack`]); answers through the graph are held to recall.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use engine::schema::METRIC_KEY;
use net::client::{
    Ack, Client, Collection, CollectionOptions, Examples, GroupBy, Hit, Id, Ids, Queries, SearchReply, SearchRequest,
    Within,
};
use net::codec::Status;
use tests::model::groups::groups;
use tests::model::value::{Value, array};
use tests::model::vector::{Index, VectorKind, every_kind};
use tests::random::Random;
use tests::server::Server;

const DIMENSION: usize = 40;
const ROWS: u64 = 1_800;
/// Rows that share a centre.
const CENTRES: u64 = 30;
const QUERIES: usize = 5;
const K: usize = 10;
/// Candidates of searches by several rows.
const EF_BETWEEN: usize = 200;
/// Least recall of all queries of a column together.
const RECALL_MIN: f64 = 0.95;

/// An element type and a metric: a column.
type Pair = VectorKind;

fn pairs() -> Vec<Pair> {
    let pair = |(element, metric)| VectorKind { element, metric, dimension: DIMENSION, index: Index::Usual };
    every_kind().into_iter().map(pair).collect()
}

/// A row as the model has it.
#[derive(Clone)]
struct Row {
    /// Of each pair.
    vectors: Vec<Vec<f64>>,
    shelf: Option<String>,
    year: Option<i64>,
    weight: Option<f32>,
    flag: bool,
}

/// A random direction around one of the centres.
fn vector(pair: Pair, centre: u64, random: &mut Random) -> Vec<f64> {
    let mut of_centre = Random::new(centre * 31);
    let element = |_| of_centre.unit() * 0.75 + random.unit() * 0.25;
    let elements: Vec<f32> = (0..DIMENSION).map(element).collect();
    pair.decode(&pair.encode(&elements))
}

fn row(random: &mut Random) -> Row {
    let centre = random.below(CENTRES);
    let weights = [Some(0.0), Some(-0.0), Some(f32::NAN), Some(-f32::NAN), Some(1.5), None];
    Row {
        vectors: pairs().into_iter().map(|pair| vector(pair, centre, random)).collect(),
        shelf: (random.below(9) > 0).then(|| format!("shelf {}", (centre + random.below(4)) % 25)),
        year: (random.below(20) > 0).then(|| 1_990 + random.below(30) as i64),
        weight: weights[random.below(6) as usize],
        flag: random.below(2) == 0,
    }
}

fn schema() -> Schema {
    let mut fields = vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("shelf", DataType::Utf8, true),
        Field::new("year", DataType::Int64, true),
        Field::new("weight", DataType::Float32, true),
        Field::new("flag", DataType::Boolean, false),
    ];
    fields.extend(pairs().iter().map(|pair| pair.column().field));
    Schema::new(fields)
}

fn batch(rows: &[(u64, Row)]) -> RecordBatch {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<UInt64Array>()),
        Arc::new(rows.iter().map(|row| row.1.shelf.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.1.year).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1.weight).collect::<Float32Array>()),
        Arc::new(rows.iter().map(|row| Some(row.1.flag)).collect::<BooleanArray>()),
    ];
    for (place, pair) in pairs().into_iter().enumerate() {
        let vectors: Vec<Value> = rows.iter().map(|row| Value::Vector(pair.store(&row.1.vectors[place]))).collect();
        columns.push(array(pair.column().field.data_type(), &vectors.iter().collect::<Vec<_>>()));
    }
    RecordBatch::try_new(Arc::new(schema()), columns).expect("columns of the schema")
}

/// A collection after writes, replacements and deletes, and what should be in it.
struct Scene {
    collection: Collection,
    rows: BTreeMap<u64, Row>,
    server: Option<Server>,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new(seed: u64, count: u64) -> Scene {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = Server::start(directory.path(), 2);
        let client: Client = server.client();
        let collection =
            client.create_collection("rows", &schema(), CollectionOptions::default()).expect("a good schema");
        let mut scene = Scene { collection, rows: BTreeMap::new(), server: Some(server), _directory: directory };
        let mut random = Random::new(seed);
        scene.write(0..count, &mut random);
        scene.write((0..count).filter(|id| id % 3 == 1), &mut random);
        let gone: Vec<u64> = (0..count).filter(|id| id % 6 == 0).collect();
        scene.rows.retain(|id, _| id % 6 != 0);
        scene.collection.delete(&Ids::U64(gone), Ack::Durable).expect("good ids").wait().expect("they are deleted");
        assert!(scene.collection.wait_indexed(Duration::from_secs(120)).expect("an answer").done);
        // The newest rows may be in no graph yet.
        scene.write(count..count + 50, &mut random);
        scene
    }

    fn write(&mut self, ids: impl Iterator<Item = u64>, random: &mut Random) {
        let rows: Vec<(u64, Row)> = ids.map(|id| (id, row(random))).collect();
        for rows in rows.chunks(600) {
            self.collection.write(&batch(rows), Ack::Durable).expect("good rows").wait().expect("they are written");
        }
        self.rows.extend(rows);
    }

    /// Ids and distances, nearest first, of rows that `holds` is true of.
    fn nearest(&self, asked: &Asked, query: &[f64], holds: impl Fn(u64, &Row) -> bool) -> Vec<(f64, u64)> {
        let rows = self.rows.iter().filter(|(id, row)| holds(**id, row));
        let distance = |row: &Row| asked.pair.distance_of(query, &row.vectors[asked.place]);
        let mut all: Vec<(f64, u64)> = rows.map(|(&id, row)| (distance(row), id)).collect();
        all.sort_unstable_by(|a, b| a.partial_cmp(b).expect("numbers"));
        all
    }

    fn search(&self, request: &SearchRequest<'_>) -> SearchReply {
        self.collection.search(request).expect("a good request").wait().expect("an answer")
    }

    fn stop(mut self) {
        self.server.take().expect("it runs").stop();
    }
}

/// A column, and queries for it.
struct Asked {
    pair: Pair,
    place: usize,
    name: String,
    queries: Vec<Vec<f64>>,
}

impl Asked {
    fn all() -> Vec<Asked> {
        let mut random = Random::new(77);
        let asked = |(place, pair): (usize, Pair)| Asked {
            pair,
            place,
            name: pair.name(),
            queries: (0..QUERIES).map(|_| vector(pair, random.below(CENTRES), &mut random)).collect(),
        };
        pairs().into_iter().enumerate().map(asked).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        self.queries.iter().flat_map(|query| self.pair.store(query)).collect()
    }

    fn request<'a>(&'a self, bytes: &'a [u8]) -> SearchRequest<'a> {
        SearchRequest { column: Some(&self.name), queries: Queries::Bytes(bytes), k: K, ..Default::default() }
    }

    fn slack(&self, scene: &Scene, query: &[f64], id: u64) -> f64 {
        self.pair.slack_of(query, &scene.rows[&id].vectors[self.place])
    }
}

fn number(id: &Id) -> u64 {
    let Id::U64(id) = id else { panic!("the ids are numbers") };
    *id
}

/// What of what was wanted has been found.
#[derive(Default)]
struct Recall {
    found: usize,
    wanted: usize,
}

impl Recall {
    #[track_caller]
    fn check(&self, what: &str) {
        assert!(self.wanted > 0, "{what}: nothing was wanted");
        let recall = self.found as f64 / self.wanted as f64;
        assert!(recall >= RECALL_MIN, "{what}: recall {recall}");
    }
}

/// Holds hits against what they should be, in this order: their distances are the model's, and they are as near. Without `is_exact` some may
/// be missing or farther, and count as not found.
#[track_caller]
fn hold(
    scene: &Scene,
    asked: &Asked,
    query: &[f64],
    hits: &[Hit],
    expected: &[(f64, u64)],
    is_exact: bool,
    recall: &mut Recall,
) {
    let what = &asked.name;
    let mut last = f32::NEG_INFINITY;
    for hit in hits {
        let id = number(&hit.id);
        let row = scene.rows.get(&id).unwrap_or_else(|| panic!("{what}: {id} is gone"));
        let distance = asked.pair.distance_of(query, &row.vectors[asked.place]);
        let error = (f64::from(hit.distance) - distance).abs();
        assert!(error <= asked.slack(scene, query, id), "{what}: {id} is at {distance}, not at {}", hit.distance);
        assert!(hit.distance >= last, "{what}: nearest first");
        last = hit.distance;
    }
    if is_exact {
        assert_eq!(hits.len(), expected.len(), "{what}: number of hits");
        for (hit, &(distance, id)) in hits.iter().zip(expected) {
            let slack = 2.0 * asked.slack(scene, query, id);
            assert!(
                (f64::from(hit.distance) - distance).abs() <= slack,
                "{what}: {hit:?} in place of {id} at {distance}"
            );
        }
    }
    let farthest = expected.last().map_or(f64::NEG_INFINITY, |&(d, id)| d + asked.slack(scene, query, id));
    recall.found += hits.iter().filter(|hit| f64::from(hit.distance) <= farthest).count().min(expected.len());
    recall.wanted += expected.len();
}

/// Offsets, for a batch and one by one, with and without a filter; every hit has its similarity.
#[test]
fn offsets_and_scores() {
    let scene = Scene::new(1, ROWS);
    for asked in Asked::all() {
        let bytes = asked.bytes();
        for (exact, offset, filter) in
            [(true, 0, ""), (true, 7, ""), (true, 5, FEW), (false, 0, ""), (false, 7, ""), (false, 5, FEW)]
        {
            let request = SearchRequest { exact, offset, filter, score: true, ..asked.request(&bytes) };
            let reply = scene.search(&request);
            assert_eq!(reply.hits.len(), QUERIES);
            let mut recall = Recall::default();
            for (query, hits) in asked.queries.iter().zip(&reply.hits) {
                let nearest = scene.nearest(&asked, query, |_, row| filter.is_empty() || is_few(row));
                hold(&scene, &asked, query, hits, &nearest[offset..offset + K], exact, &mut recall);
                for hit in hits {
                    let (score, expected) =
                        (hit.score.expect("asked for"), asked.pair.similarity(f64::from(hit.distance)));
                    assert!(
                        (f64::from(score) - expected).abs() <= expected.abs() * 1e-6 + 1e-7,
                        "{}: {hit:?}",
                        asked.name
                    );
                }
            }
            recall.check(&format!("{} offset {offset} {filter}", asked.name));
            let one = asked.pair.store(&asked.queries[1]);
            let alone = scene.search(&SearchRequest { queries: Queries::Bytes(&one), ..request });
            if exact {
                assert_eq!(alone.hits, reply.hits[1..2], "{}: alone as in a batch", asked.name);
            }
        }
        let plain = scene.search(&asked.request(&bytes));
        assert!(plain.hits.iter().flatten().all(|hit| (hit.score, hit.group, hit.sides) == (None, None, None)));
        // Behind the last row there is none.
        let behind = SearchRequest { exact: true, k: 1, offset: scene.rows.len(), ..asked.request(&bytes) };
        let last = SearchRequest { offset: scene.rows.len() - 1, ..behind };
        assert!(scene.search(&behind).hits.iter().all(Vec::is_empty));
        assert!(scene.search(&last).hits.iter().all(|hits| hits.len() == 1));
    }
    scene.stop();
}

/// Rows of a few years.
const FEW: &str = r#"{"column": "year", "between": [1995, 2005]}"#;

fn is_few(row: &Row) -> bool {
    row.year.is_some_and(|year| (1_995..=2_005).contains(&year))
}

/// All rows within a radius, however many they are: fewer than candidates to begin with, and many more.
#[test]
fn thresholds_find_all_that_is_within() {
    let scene = Scene::new(2, ROWS);
    for asked in Asked::all() {
        let bytes = asked.bytes();
        let query = &asked.queries[0];
        let nearest = scene.nearest(&asked, query, |_, _| true);
        for (exact, count, by_score) in [true, false]
            .into_iter()
            .flat_map(|exact| [3, 40, 300].map(|count| (exact, count)))
            .flat_map(|(exact, count)| [(exact, count, false), (exact, count, true)])
        {
            let radius = nearest[count].0;
            // Just outside, so that rounding does not decide on the row that the radius is taken from.
            let outside = asked.slack(&scene, query, nearest[count].1) * 2.0;
            let within = match by_score {
                false => Within::DistanceMax((radius + outside) as f32),
                true => Within::ScoreMin(asked.pair.similarity(radius + outside) as f32),
            };
            // The least similarity, back as a distance, is known no better than an f32 is.
            let blur = outside * 2.0 + if asked.pair.metric == "l2" { radius * 1e-6 } else { 1e-6 };
            let one = &bytes[..bytes.len() / QUERIES];
            let request = SearchRequest { exact, k: 1_000, within: Some(within), ..asked.request(one) };
            let hits = &scene.search(&request).hits[0];
            let surely = nearest.iter().take_while(|&&(distance, _)| distance <= radius - blur).count();
            let perhaps = nearest.iter().take_while(|&&(distance, _)| distance <= radius + outside + blur).count();
            let what = format!("{} {count} within, exact: {exact}, score: {by_score}", asked.name);
            let mut recall = Recall::default();
            hold(&scene, &asked, query, hits, &nearest[..surely.max(1)], false, &mut recall);
            assert!(hits.len() <= perhaps, "{what}: {} of {perhaps}", hits.len());
            assert!(!exact || hits.len() >= surely, "{what}: {} of {surely}", hits.len());
            recall.check(&what);
            // A threshold and an offset: the rest of the same rows. And no more than k.
            let rest = scene.search(&SearchRequest { offset: 2, exact: true, ..request }).hits.remove(0);
            let all = scene.search(&SearchRequest { exact: true, ..request }).hits.remove(0);
            assert_eq!(rest, all[2.min(all.len())..], "{what}: offset");
            let few = scene.search(&SearchRequest { k: 2, exact: true, ..request }).hits.remove(0);
            assert_eq!(few, all[..2.min(all.len())], "{what}: k");
        }
    }
    scene.stop();
}

/// By one row, by several, away from some: as with the vector that the document says they make, without these rows.
#[test]
fn examples_stand_for_a_vector() {
    let scene = Scene::new(3, ROWS);
    let ids: Vec<u64> = scene.rows.keys().copied().collect();
    let id = |place: usize| Id::U64(ids[place]);
    let sets: [(&[Id], &[Id]); 4] = [
        (&[id(5)], &[]),
        (&[id(5), id(900)], &[]),
        (&[id(5), id(900), id(77)], &[id(1_200)]),
        (&[id(3)], &[id(8), id(1_500)]),
    ];
    for asked in Asked::all() {
        let mut recall = Recall::default();
        for (like, unlike) in sets {
            let of = |ids: &[Id]| -> Vec<Vec<f64>> {
                ids.iter().map(|id| scene.rows[&number(id)].vectors[asked.place].clone()).collect()
            };
            let query = asked.pair.blend(&of(like), &of(unlike));
            let is_example = |id: u64| like.iter().chain(unlike).any(|example| number(example) == id);
            for (exact, offset) in [(true, 0), (true, 4), (false, 0)] {
                let examples = Some(Examples { like, unlike, include: false });
                // What lies between two rows that are far apart is harder to find than what lies around one.
                let ef = Some(EF_BETWEEN);
                let request = SearchRequest { exact, offset, examples, ef, ..asked.request(&[]) };
                let reply = scene.search(&request);
                assert_eq!(reply.hits.len(), 1, "examples are one query");
                let nearest = scene.nearest(&asked, &query, |id, _| !is_example(id));
                let counted = if exact { &mut Recall::default() } else { &mut recall };
                hold(&scene, &asked, &query, &reply.hits[0], &nearest[offset..offset + K], exact, counted);
                assert!(reply.hits[0].iter().all(|hit| !is_example(number(&hit.id))), "examples are left out");
            }
            let examples = Some(Examples { like, unlike, include: true });
            let reply = scene.search(&SearchRequest { exact: true, examples, ..asked.request(&[]) });
            let nearest = scene.nearest(&asked, &query, |_, _| true);
            hold(&scene, &asked, &query, &reply.hits[0], &nearest[..K], true, &mut Recall::default());
        }
        recall.check(&format!("{} by examples", asked.name));
    }
    scene.stop();
}

/// Numbers below 0 and texts, which live on several shards, name rows as well.
#[test]
fn examples_have_ids_of_every_type() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let (numbers, texts): (Vec<i64>, Vec<String>) = (-6..6).map(|id| (id, format!("row {id}"))).unzip();
    type IdOf = fn(i64) -> Id;
    let ids: [(ArrayRef, IdOf, Ids); 2] = [
        (Arc::new(Int64Array::from(numbers.clone())), Id::I64, Ids::I64(numbers)),
        (Arc::new(StringArray::from(texts.clone())), |id| Id::Utf8(format!("row {id}")), Ids::Utf8(texts)),
    ];
    for (ids, id, all) in ids {
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        // A row lies at its number.
        let vectors =
            FixedSizeListArray::new(item, 1, Arc::new((-6..6).map(|x| x as f32).collect::<Float32Array>()), None);
        let metric = HashMap::from([(METRIC_KEY.to_owned(), "l2".to_owned())]);
        let vector = Field::new("vector", vectors.data_type().clone(), false).with_metadata(metric);
        let schema = Schema::new(vec![Field::new("id", ids.data_type().clone(), false), vector]);
        let name = format!("{:?}", all.kind());
        let collection = client.create_collection(&name, &schema, CollectionOptions::default()).expect("a good schema");
        let rows = RecordBatch::try_new(Arc::new(schema), vec![ids, Arc::new(vectors)]).expect("columns of the schema");
        collection.write(&rows, Ack::Durable).expect("good rows").wait().expect("they are written");
        assert_eq!(collection.get(&all, &["id"]).expect("an answer").column(0), rows.column(0), "{name}");
        let (like, unlike) = ([id(-4)], [id(-3), id(-1)]);
        let find = |examples| {
            let request = SearchRequest { k: 3, examples: Some(examples), ..Default::default() };
            collection.search(&request).expect("a good request").wait().expect("an answer").hits.remove(0)
        };
        let found = |hits: &[Hit]| hits.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>();
        let hits = find(Examples { like: &like, unlike: &[], include: true });
        assert_eq!((hits[0].id.clone(), hits[0].distance, hits[1].distance), (id(-4), 0.0, 1.0), "{name}");
        let hits = find(Examples { like: &like, unlike: &unlike, include: false });
        assert_eq!(found(&hits), [id(-6), id(-5), id(-2)], "{name}: 2 × −4 + 2 is −6");
    }
    server.stop();
}

/// What makes a group.
fn value_of(row: &Row, column: &str) -> String {
    match column {
        "shelf" => row.shelf.clone().map_or(Value::Null, Value::Text),
        "year" => row.year.map_or(Value::Null, |year| Value::Int(year.into())),
        "weight" => row.weight.map_or(Value::Null, |weight| Value::Float(weight.into())),
        _ => Value::Bool(row.flag),
    }
    .group()
}

/// The nearest groups and their nearest rows, with offsets, filters, thresholds and examples.
#[test]
fn groups_are_the_nearest_and_hold_the_nearest() {
    let scene = Scene::new(4, ROWS);
    let left_out = Id::U64(*scene.rows.keys().nth(11).expect("a row"));
    for asked in Asked::all() {
        let bytes = asked.bytes();
        for (column, k, size, offset, filter) in [
            ("shelf", 4, 3, 0, ""),
            ("year", 5, 2, 3, ""),
            ("shelf", 3, 1, 0, FEW),
            ("weight", 6, 2, 0, ""),
            ("flag", 5, 4, 0, FEW),
        ] {
            for exact in [true, false] {
                let grouping = Some(GroupBy { column, size });
                let request = SearchRequest { exact, k, offset, filter, grouping, ..asked.request(&bytes) };
                let reply = scene.search(&request);
                assert_eq!(reply.hits.len(), QUERIES);
                let mut recall = Recall::default();
                for (query, hits) in asked.queries.iter().zip(&reply.hits) {
                    let nearest = scene.nearest(&asked, query, |_, row| filter.is_empty() || is_few(row));
                    let wanted = Wanted { column, k, size, offset };
                    hold_groups(&scene, &asked, query, hits, &nearest, &wanted, exact, &mut recall);
                }
                recall.check(&format!("{} by {column}, exact: {exact}", asked.name));
            }
        }
        // The row itself, which is the nearest of its group, does not count.
        let like = std::slice::from_ref(&left_out);
        let examples = Some(Examples { like, unlike: &[], include: false });
        let grouping = Some(GroupBy { column: "shelf", size: 2 });
        let reply = scene.search(&SearchRequest { exact: true, k: 3, grouping, examples, ..asked.request(&[]) });
        let query = &scene.rows[&number(&left_out)].vectors[asked.place];
        let nearest = scene.nearest(&asked, query, |id, _| id != number(&left_out));
        let wanted = Wanted { column: "shelf", k: 3, size: 2, offset: 0 };
        hold_groups(&scene, &asked, query, &reply.hits[0], &nearest, &wanted, true, &mut Recall::default());
        // Within a threshold there may be fewer groups, and fewer rows of each.
        let query = &asked.queries[0];
        let nearest = scene.nearest(&asked, query, |_, _| true);
        let radius = nearest[15].0 + 2.0 * asked.slack(&scene, query, nearest[15].1);
        let (within, one) = (Some(Within::DistanceMax(radius as f32)), &bytes[..bytes.len() / QUERIES]);
        let all = SearchRequest { exact: true, k: 50, within, ..asked.request(one) };
        let grouped = SearchRequest { grouping: Some(GroupBy { column: "shelf", size: 50 }), ..all };
        let (all, mut grouped) = (scene.search(&all).hits.remove(0), scene.search(&grouped).hits.remove(0));
        grouped.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        let distances = |hits: &[Hit]| hits.iter().map(|hit| hit.distance).collect::<Vec<_>>();
        assert!(all.len() >= 15 && all.len() == 50 || distances(&all) == distances(&grouped), "{}", asked.name);
    }
    scene.stop();
}

struct Wanted<'a> {
    column: &'a str,
    k: usize,
    size: usize,
    offset: usize,
}

#[track_caller]
#[allow(clippy::too_many_arguments, reason = "all of it says what was asked and what should be")]
fn hold_groups(
    scene: &Scene,
    asked: &Asked,
    query: &[f64],
    hits: &[Hit],
    nearest: &[(f64, u64)],
    wanted: &Wanted<'_>,
    exact: bool,
    recall: &mut Recall,
) {
    let what = format!("{} by {}", asked.name, wanted.column);
    let value = |id: u64| value_of(&scene.rows[&id], wanted.column);
    let by_value = groups(nearest, value);
    let leaders: Vec<(f64, u64)> = by_value.iter().map(|rows| rows[0]).collect();
    let leaders = &leaders[wanted.offset.min(leaders.len())..(wanted.offset + wanted.k).min(leaders.len())];
    let mut found: Vec<Vec<Hit>> = Vec::new();
    for hit in hits {
        let group = hit.group.expect("they are grouped") as usize;
        assert!(group == found.len() || group + 1 == found.len(), "{what}: group after group");
        if group == found.len() {
            found.push(Vec::new());
        }
        found[group].push(hit.clone());
    }
    assert_eq!(found.len(), leaders.len(), "{what}: number of groups");
    let first: Vec<Hit> = found.iter().map(|hits| hits[0].clone()).collect();
    hold(scene, asked, query, &first, leaders, exact, recall);
    let mut seen = std::collections::HashSet::new();
    for hits in &found {
        let value = value_of(&scene.rows[&number(&hits[0].id)], wanted.column);
        assert!(hits.iter().all(|hit| value_of(&scene.rows[&number(&hit.id)], wanted.column) == value), "{what}");
        assert!(seen.insert(value.clone()), "{what}: {value} comes twice");
        let rows = by_value.iter().find(|rows| value_of(&scene.rows[&rows[0].1], wanted.column) == value);
        let rows = rows.expect("its hits pass");
        hold(scene, asked, query, hits, &rows[..wanted.size.min(rows.len())], exact, recall);
    }
}

#[test]
fn bad_options_are_refused() {
    let scene = Scene::new(5, 60);
    static ONE: OnceLock<Vec<u8>> = OnceLock::new();
    let asked = Asked::all().remove(1);
    assert_eq!(asked.pair.metric, "l2");
    let one = ONE.get_or_init(|| asked.pair.store(&asked.queries[0]));
    let good = asked.request(one);
    let (like, twice, gone) = ([Id::U64(1)], [Id::U64(1), Id::U64(2), Id::U64(1)], [Id::U64(1), Id::U64(6)]);
    let examples = |like, unlike| Some(Examples { like, unlike, include: false });
    let by = |column, size| Some(GroupBy { column, size });
    let none = asked.request(&[]);
    let cosine = SearchRequest { column: Some("f32_cosine"), ..good };
    for (what, request, status, words) in [
        ("k is 0", SearchRequest { k: 0, offset: 3, ..good }, Status::InvalidSearch, "k is 0"),
        ("offset", SearchRequest { offset: 9_991, ..good }, Status::LimitExceeded, "10001"),
        ("offset alone", SearchRequest { offset: usize::MAX, ..good }, Status::LimitExceeded, "offset"),
        (
            "distance",
            SearchRequest { within: Some(Within::DistanceMax(-0.1)), ..good },
            Status::InvalidSearch,
            "distance_max",
        ),
        ("score", SearchRequest { within: Some(Within::ScoreMin(-0.1)), ..good }, Status::InvalidSearch, "score_min"),
        (
            "no cosine distance",
            SearchRequest { within: Some(Within::DistanceMax(-0.1)), ..cosine },
            Status::InvalidSearch,
            "negative",
        ),
        ("an id twice", SearchRequest { examples: examples(&twice, &[]), ..none }, Status::InvalidSearch, "`like: 1`"),
        ("liked and not", SearchRequest { examples: examples(&like, &like), ..none }, Status::InvalidSearch, "twice"),
        ("a row that is gone", SearchRequest { examples: examples(&gone, &[]), ..none }, Status::RowMissing, "`6`"),
        ("no example", SearchRequest { examples: examples(&[], &like), ..none }, Status::InvalidSearch, "at least one"),
        ("groups of vectors", SearchRequest { grouping: by("u8_l2", 2), ..good }, Status::InvalidSearch, "group_by"),
        ("groups of nothing", SearchRequest { grouping: by("colour", 2), ..good }, Status::UnknownColumn, "colour"),
        ("empty groups", SearchRequest { grouping: by("year", 0), ..good }, Status::InvalidSearch, "group_size"),
        ("too many", SearchRequest { grouping: by("year", 1_001), ..good }, Status::LimitExceeded, "10010"),
    ] {
        let error = scene.collection.search(&request).expect("the server judges").wait().expect_err(what);
        assert_eq!(error.status(), Some(status), "{what}: {error}");
        assert!(error.to_string().contains(words), "{what}: {error}");
    }
    // What is no number, and queries beside examples, do not even leave.
    assert!(scene.collection.search(&SearchRequest { within: Some(Within::ScoreMin(f32::NAN)), ..good }).is_err());
    assert!(scene.collection.search(&SearchRequest { examples: examples(&like, &[]), ..good }).is_err());
    assert_eq!(scene.search(&good).hits[0].len(), K, "the connection goes on");
    scene.stop();
}
