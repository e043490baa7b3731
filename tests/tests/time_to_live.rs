//! Rows that live by a timestamp: they are gone for every reader the moment their time is over, durably soon after, and stay gone when the
//! clock of the system goes back. The clock is the test's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch, StringArray, TimestampMillisecondArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, UInt64Type};
use engine::clock::Clock;
use engine::edges::Direction;
use engine::schema::{NODES_KEY, ROLE_KEY, TTL_KEY};
use engine::search::SpreadOptions;
use net::client::{
    Ack, Client, Collection, CollectionOptions, Hit, Id, Ids, Missing, Queries, SearchRequest, Text, TextQuery,
    TraverseRequest, UpdateOptions, WriteMode,
};
use net::codec::Status;
use tests::rows::{search, vector_of};
use tests::server::{Server, options};

const DIMENSION: usize = 8;
const SHARDS: usize = 2;
const ROWS: u64 = 4_000;
/// Seconds that a row lives after its time.
const TTL_S: i64 = 60;
const MINUTE_MS: i64 = 60_000;

/// Times by id; none: for ever.
type Times = BTreeMap<u64, Option<i64>>;

fn schema() -> Schema {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let ttl = [(TTL_KEY.to_owned(), TTL_S.to_string())];
    let metric = [(engine::schema::METRIC_KEY.to_owned(), "l2".to_owned())];
    Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true).with_metadata(ttl),
        Field::new("vector", DataType::FixedSizeList(item, DIMENSION as i32), false).with_metadata(metric),
    ])
}

fn batch(rows: &Times) -> RecordBatch {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors: Vec<f32> = rows.keys().flat_map(|&id| vector_of(id, 0, DIMENSION)).collect();
    let vectors = FixedSizeListArray::new(item, DIMENSION as i32, Arc::new(Float32Array::from(vectors)), None);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.keys().copied().collect::<UInt64Array>()),
        Arc::new(rows.values().copied().collect::<TimestampMillisecondArray>()),
        Arc::new(vectors),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).expect("columns of the schema")
}

fn living(rows: &Times, now_ms: i64) -> BTreeSet<u64> {
    let lives = |time: &Option<i64>| time.is_none_or(|time| time + TTL_S * 1_000 > now_ms);
    rows.iter().filter(|(_, time)| lives(time)).map(|(&id, _)| id).collect()
}

fn start(directory: &Path, time: &Arc<AtomicI64>) -> (Server, Client) {
    let source = time.clone();
    let clock = Arc::new(Clock::of(move || source.load(Ordering::Relaxed)));
    let options = net::server::ServerOptions { clock, ..options(directory, SHARDS) };
    let server = Server::try_start(options).expect("the server starts");
    let client = server.client();
    (server, client)
}

fn ids_of(rows: &RecordBatch) -> Vec<u64> {
    rows["id"].as_primitive::<UInt64Type>().values().to_vec()
}

fn number(id: &Id) -> u64 {
    let Id::U64(id) = id else { unreachable!("the ids are numbers") };
    *id
}

fn of(hit: &Hit) -> u64 {
    number(&hit.id)
}

/// Every way to read sees those rows and no others.
fn check(collection: &Collection, expected: &BTreeSet<u64>, rows: &Times, what: &str) {
    let scanned: Vec<u64> =
        collection.scan(&["id"]).expect("a column").flat_map(|rows| ids_of(&rows.expect("rows"))).collect();
    assert_eq!(scanned.len(), expected.len(), "{what}: rows of a scan");
    assert_eq!(scanned.into_iter().collect::<BTreeSet<_>>(), *expected, "{what}: a scan");
    let filtered = collection.scan(&["id"]).expect("a column").with_filter(r#"{"column": "id", "<": 2000}"#);
    let filtered: BTreeSet<u64> = filtered.flat_map(|rows| ids_of(&rows.expect("rows"))).collect();
    assert_eq!(filtered, expected.range(..2_000).copied().collect(), "{what}: a scan with a filter");
    let asked: Vec<u64> = rows.keys().copied().step_by(7).collect();
    let found = ids_of(&collection.get(&Ids::U64(asked.clone()), &["id"]).expect("a column"));
    assert_eq!(found, asked.into_iter().filter(|id| expected.contains(id)).collect::<Vec<_>>(), "{what}: a get");
    for id in rows.keys().copied().step_by(331) {
        for ef in [None, Some(100)] {
            let hits = search(collection, &vector_of(id, 0, DIMENSION), 10, ef);
            assert_eq!(hits.len(), 10.min(expected.len()), "{what}: hits, ef {ef:?}");
            assert!(hits.iter().all(|hit| expected.contains(&of(hit))), "{what}: a search found a row that is gone");
            assert_eq!(of(&hits[0]) == id, expected.contains(&id), "{what}: the row itself, ef {ef:?}");
        }
    }
}

fn stored_rows(client: &Client) -> u64 {
    client.describe("rows").expect("it is there").rows
}

#[test]
fn rows_are_gone_when_their_time_is_over() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let time = Arc::new(AtomicI64::new(0));
    let (server, client) = start(directory.path(), &time);
    let collection = client.create_collection("rows", &schema(), CollectionOptions::default()).expect("a good schema");
    // One in ten lives for ever; of the others each has its own millisecond.
    let mut rows: Times = (0..ROWS).map(|id| (id, rows_time(id))).collect();
    collection.write(&batch(&rows), Ack::Durable).and_then(|pending| pending.wait()).expect("accepted");
    collection.wait_indexed(tests::PATIENCE).expect("an answer");
    check(&collection, &living(&rows, 0), &rows, "before any is over");
    // Seconds are whole: at 61.9 s a row of 0.9 s is there.
    for (now, told) in [(61_000, 61_000), (61_900, 61_000), (63_000, 63_000)] {
        time.store(now, Ordering::Relaxed);
        let expected = living(&rows, told);
        check(&collection, &expected, &rows, "at once");
        assert!(expected.len() as u64 <= stored_rows(&client));
        tests::wait_until("the sweep has deleted them", || stored_rows(&client) == expected.len() as u64);
        check(&collection, &expected, &rows, "after the sweep");
        time.store(0, Ordering::Relaxed);
        check(&collection, &expected, &rows, "the clock has gone back");
    }
    let now = MINUTE_MS + 3_000;
    time.store(now, Ordering::Relaxed);
    rows.retain(|id, _| living(&BTreeMap::from([(*id, rows_time(*id))]), now).contains(id));

    // A row whose time is over is not there for conditions; whether a sweep has met it makes no difference.
    let over: Times = [(1, Some(10)), (2, Some(11))].into();
    collection.write(&batch(&over), Ack::Durable).and_then(|pending| pending.wait()).expect("accepted");
    assert!(
        ids_of(&collection.get(&Ids::U64(vec![1, 2]), &["id"]).expect("a column")).is_empty(),
        "gone from the start"
    );
    let replaced = collection.write_with(&batch(&over), WriteMode::Replace, Ack::Durable);
    let error = replaced.and_then(|pending| pending.wait()).expect_err("it is gone");
    assert_eq!(error.status(), Some(Status::RowMissing), "{error}");
    let options = UpdateOptions { missing: Missing::Skip, ..UpdateOptions::default() };
    let report = collection.update(&batch(&over), &options, Ack::Durable).and_then(|pending| pending.wait()).unwrap();
    assert_eq!((report.rows, report.missing), (0, 2));
    let anew: Times = [(1, Some(now)), (2, None)].into();
    collection.write_with(&batch(&anew), WriteMode::Insert, Ack::Durable).and_then(|pending| pending.wait()).unwrap();
    rows.extend(anew);
    check(&collection, &living(&rows, now), &rows, "written anew");

    // Neither a start nor a clock that is behind brings anything back. What was written down last the clock is not behind.
    client.snapshot_all().expect("it is written");
    drop((collection, client));
    server.stop();
    time.store(0, Ordering::Relaxed);
    let (server, client) = start(directory.path(), &time);
    let collection = client.collection("rows").expect("it is there");
    check(&collection, &living(&rows, now), &rows, "after a start with a clock that is behind");
    let late: Times = [(9_001, Some(now - MINUTE_MS)), (9_002, Some(now - MINUTE_MS + 1))].into();
    collection.write(&batch(&late), Ack::Durable).and_then(|pending| pending.wait()).expect("accepted");
    rows.extend(late);
    check(&collection, &living(&rows, now), &rows, "the clock goes on from where it was");
    // Rows of a snapshot are known to be over, too.
    let now = now + MINUTE_MS;
    time.store(now, Ordering::Relaxed);
    check(&collection, &living(&rows, now), &rows, "at once, of rows that were loaded");
    time.store(i64::MAX / 2, Ordering::Relaxed);
    let for_ever: BTreeSet<u64> = rows.iter().filter(|row| row.1.is_none()).map(|row| *row.0).collect();
    check(&collection, &for_ever, &rows, "those without a time stay");
    tests::wait_until("the sweep has deleted them", || stored_rows(&client) == for_ever.len() as u64);
    server.stop();
}

/// Of most rows their own millisecond.
fn rows_time(id: u64) -> Option<i64> {
    (!id.is_multiple_of(10)).then_some(id as i64)
}

const NOTES: u64 = 400;
const KINDS: [&str; 3] = ["blue", "green", "red"];

/// Time of a note. Node 0 lives for ever.
fn note_time(id: u64) -> Option<i64> {
    (!id.is_multiple_of(10)).then_some(10 * id as i64)
}

/// Notes are what edges lead between: from 0 to all of the first half, and from each of these to one of the other.
fn ends(edge: u64) -> (u64, u64) {
    if edge < NOTES / 2 { (0, edge) } else { (edge - NOTES / 2, edge) }
}

/// Those between the notes that go last are the first to go.
fn edge_time(edge: u64) -> Option<i64> {
    (!edge.is_multiple_of(7)).then_some(10 * (NOTES - edge) as i64)
}

fn text(query: &str) -> Option<Text<'_>> {
    Some(Text { column: Some("text"), query: TextQuery::Words(query), candidates: None })
}

/// Two collections: notes, and the edges between them.
fn create_graph(client: &Client) -> (Collection, Collection) {
    let [id, at, _] = schema().fields().iter().cloned().collect::<Vec<_>>().try_into().expect("three");
    let vector = schema().field(2).clone();
    let texts = [Field::new("kind", DataType::Utf8, false), Field::new("text", DataType::Utf8, true)].map(Arc::new);
    let fields = [id.clone(), at.clone(), texts[0].clone(), texts[1].clone(), Arc::new(vector)];
    let schema = Schema::new(fields.to_vec());
    let notes = client.create_collection("notes", &schema, CollectionOptions::default()).expect("a good schema");
    let times = |time: fn(u64) -> Option<i64>| -> ArrayRef {
        Arc::new((0..NOTES).map(time).collect::<TimestampMillisecondArray>())
    };
    let numbers = |number: fn(u64) -> u64| -> ArrayRef { Arc::new((0..NOTES).map(number).collect::<UInt64Array>()) };
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors: Vec<f32> = (0..NOTES).flat_map(|id| vector_of(id, 0, DIMENSION)).collect();
    let columns: Vec<ArrayRef> = vec![
        numbers(|id| id),
        times(note_time),
        Arc::new(StringArray::from_iter_values((0..NOTES).map(|id| KINDS[id as usize % 3]))),
        Arc::new(StringArray::from_iter_values((0..NOTES).map(|id| format!("note {}", id % 2)))),
        Arc::new(FixedSizeListArray::new(item, DIMENSION as i32, Arc::new(Float32Array::from(vectors)), None)),
    ];
    let batch = RecordBatch::try_new(notes.schema().clone(), columns).expect("columns of the schema");
    notes.write(&batch, Ack::Durable).and_then(|pending| pending.wait()).expect("accepted");

    let end =
        |name: &str| Field::new(name, DataType::UInt64, false).with_metadata([(ROLE_KEY.to_owned(), name.to_owned())]);
    let fields = vec![id, at, Arc::new(end("edge_from")), Arc::new(end("edge_to"))];
    let schema = Schema::new_with_metadata(fields, [(NODES_KEY.to_owned(), "notes".to_owned())]);
    let edges = client.create_collection("edges", &schema, CollectionOptions::default()).expect("a good schema");
    let columns =
        vec![numbers(|edge| edge), times(edge_time), numbers(|edge| ends(edge).0), numbers(|edge| ends(edge).1)];
    let batch = RecordBatch::try_new(edges.schema().clone(), columns).expect("columns of the schema");
    edges.write(&batch, Ack::Durable).and_then(|pending| pending.wait()).expect("accepted");
    (notes, edges)
}

/// Notes that edges lead to from note 0 in so many hops, itself left out.
fn reached(edges: &BTreeSet<u64>, hops: usize) -> BTreeSet<u64> {
    let mut found = BTreeSet::from([0]);
    for _ in 0..hops {
        let next = edges.iter().map(|&edge| ends(edge)).filter(|(from, _)| found.contains(from));
        let next: Vec<u64> = next.map(|(_, to)| to).collect();
        found.extend(next);
    }
    found.remove(&0);
    found
}

fn hits_of(collection: &Collection, request: &SearchRequest<'_>) -> Vec<Hit> {
    let mut reply = collection.search(request).expect("a good request").wait().expect("an answer");
    assert_eq!(reply.hits.len(), 1);
    reply.hits.pop().expect("one query")
}

/// Counts, words and walks know those notes and edges and no others.
fn check_graph(notes: &Collection, edges: &Collection, now_ms: i64, what: &str) {
    let all = |time: fn(u64) -> Option<i64>| (0..NOTES).map(|id| (id, time(id))).collect::<Times>();
    let (living_notes, living_edges) = (living(&all(note_time), now_ms), living(&all(edge_time), now_ms));
    let (few, is_few) = (r#"{"column": "id", "<": 150}"#, |id: &u64| *id < 150);
    assert_eq!(notes.count("").expect("an answer"), living_notes.len() as u64, "{what}: a count");
    let count = living_notes.iter().filter(|id| is_few(id)).count();
    assert_eq!(notes.count(few).expect("an answer"), count as u64, "{what}: a count with a filter");
    let gone = r#"{"not": {"column": "at", "is_null": true}}"#;
    let count = living_notes.iter().filter(|&&id| note_time(id).is_some()).count();
    assert_eq!(notes.count(gone).expect("an answer"), count as u64, "{what}: a count by the time itself");
    for filter in ["", few] {
        let facets = notes.facets("kind", 10, filter).expect("an answer");
        let values = facets.values["value"].as_string::<i32>();
        let counts = facets.values["count"].as_primitive::<UInt64Type>();
        let found: BTreeMap<&str, u64> = values.iter().flatten().zip(counts.values().iter().copied()).collect();
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        let passing = living_notes.iter().filter(|&id| filter.is_empty() || is_few(id));
        passing.for_each(|id| *expected.entry(KINDS[*id as usize % 3]).or_default() += 1);
        assert_eq!(found, expected, "{what}: facets {filter}");
    }

    let (zero, k) = (vector_of(0, 0, DIMENSION), NOTES as usize);
    let by_words = SearchRequest { text: text("note"), k, ..Default::default() };
    let found = |request: &SearchRequest<'_>| hits_of(notes, request).iter().map(of).collect::<BTreeSet<_>>();
    assert_eq!(found(&by_words), living_notes, "{what}: words");
    let expected: BTreeSet<u64> = living_notes.iter().copied().filter(|id| is_few(id) && id % 2 == 1).collect();
    let asked = SearchRequest { text: text("1"), filter: few, ..by_words };
    assert_eq!(found(&asked), expected, "{what}: words and a filter");
    let queries = Queries::F32(&zero);
    assert_eq!(found(&SearchRequest { queries, ..by_words }), living_notes, "{what}: words and a vector");
    let asked = SearchRequest { queries, k: 5, ..by_words };
    let near: Vec<u64> = hits_of(notes, &asked).iter().map(of).collect();
    assert!(near.len() == 5 && near.iter().all(|id| living_notes.contains(id)), "{what}: {near:?}");

    let seeds = Ids::U64(vec![0]);
    for hops in 1..=2 {
        for missing in [false, true] {
            let mut request = TraverseRequest::from(&seeds);
            (request.options.hops, request.options.missing) = (hops, missing);
            let reply = edges.traverse(&request).expect("a good request").wait().expect("an answer");
            let found: BTreeSet<u64> = reply.nodes.iter().map(|node| number(&node.id)).collect();
            // A node that is gone is walked through, as one that never was.
            let mut expected = reached(&living_edges, usize::from(hops));
            expected.retain(|id| missing || living_notes.contains(id));
            assert_eq!(found, expected, "{what}: a walk of {hops} hops, missing {missing}");
        }
    }
    let plain = SearchRequest { queries, k, exact: true, score: true, ..Default::default() };
    let alone = hits_of(notes, &plain);
    assert_eq!(alone.iter().map(of).collect::<BTreeSet<_>>(), living_notes, "{what}: a search by vector");
    let similarity: BTreeMap<u64, f32> = alone.iter().map(|hit| (of(hit), hit.score.expect("asked for"))).collect();
    let mut spread = SpreadOptions::new("edges");
    spread.follow.direction = Direction::Out;
    let activated = hits_of(notes, &SearchRequest { spread: Some(&spread), ..plain });
    assert_eq!(activated.len(), living_notes.len(), "{what}: a search with activation");
    let is_raised = |hit: &&Hit| hit.score.expect("comes with it") > similarity[&of(hit)];
    let raised: BTreeSet<u64> = activated.iter().filter(is_raised).map(of).collect();
    let passes_on = |&edge: &u64| living_notes.contains(&ends(edge).0) && living_notes.contains(&ends(edge).1);
    let expected: BTreeSet<u64> = living_edges.iter().copied().filter(passes_on).map(|edge| ends(edge).1).collect();
    assert_eq!(raised, expected, "{what}: activation");
}

#[test]
fn counts_words_and_walks_know_no_row_whose_time_is_over() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let time = Arc::new(AtomicI64::new(0));
    let (server, client) = start(directory.path(), &time);
    let (notes, edges) = create_graph(&client);
    let rows = |name| client.describe(name).expect("it is there").rows;
    check_graph(&notes, &edges, 0, "before any is over");
    let step = |now: i64| {
        time.store(now, Ordering::Relaxed);
        check_graph(&notes, &edges, now, "at once");
        let count =
            |time: fn(u64) -> Option<i64>| living(&(0..NOTES).map(|id| (id, time(id))).collect(), now).len() as u64;
        tests::wait_until("the sweep has deleted them", || {
            rows("notes") == count(note_time) && rows("edges") == count(edge_time)
        });
        check_graph(&notes, &edges, now, "after the sweep");
        time.store(0, Ordering::Relaxed);
        check_graph(&notes, &edges, now, "the clock has gone back");
    };
    (61_000..=63_000).step_by(1_000).for_each(step);
    // What counts for the scores of words are the rows that are left, once the others are deleted.
    let scores = |notes: &Collection| {
        let request = SearchRequest { text: text("1 note"), k: NOTES as usize, ..Default::default() };
        hits_of(notes, &request).iter().map(|hit| hit.score.expect("of words")).collect::<Vec<_>>()
    };
    let before = scores(&notes);
    drop((notes, edges));

    // The log alone brings the rows back, and none of those that were deleted, whatever the clock says.
    drop(client);
    server.stop();
    let (server, client) = start(directory.path(), &time);
    let (notes, edges) =
        (client.collection("notes").expect("it is there"), client.collection("edges").expect("it is there"));
    check_graph(&notes, &edges, 63_000, "after a start with a clock that is behind");
    assert_eq!(scores(&notes), before, "words weigh what they did: only living rows are indexed anew");
    time.store(i64::MAX / 2, Ordering::Relaxed);
    check_graph(&notes, &edges, i64::MAX / 2, "those without a time stay");
    server.stop();
}
