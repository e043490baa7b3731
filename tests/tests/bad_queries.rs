//! Filters, texts, lists and ids that nobody should send, and collections that go while they are used: a typed error each, nothing is lost,
//! nothing is left behind, and the server goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use engine::namespace::Quota;
use engine::schema::{IdKind, IdRef};
use kernels::ElementKind;
use net::client::{Ack, Client, Collection, CollectionOptions, Queries, SearchRequest, Text, TextQuery};
use net::codec::collection::encode_name;
use net::codec::{Columns, Count, Cursor, DeleteWhere, Facets, Get, Opcode, Scan, Search, Status, encode_ids};
use serde_json::{Value, json};
use tests::raw::Raw;
use tests::rows;
use tests::server::{Server, options};

const DIMENSION: usize = 4;
const ROWS: usize = 50;

fn schema() -> Schema {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let tags = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("size", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("tags", tags, true),
        Field::new("vector", DataType::FixedSizeList(item, DIMENSION as i32), false),
    ])
}

/// Rows of these sizes, whose ids are these numbers, with this many tags each.
fn batch(sizes: &[i64], tags: usize) -> RecordBatch {
    let rows = sizes.len();
    let values = StringArray::from_iter_values((0..rows * tags).map(|tag| format!("tag {}", tag % tags.max(1))));
    let ends = arrow::buffer::OffsetBuffer::from_lengths(std::iter::repeat_n(tags, rows));
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    let vectors = Float32Array::from_iter_values((0..rows * DIMENSION).map(|value| 1.0 + value as f32));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(sizes.iter().map(|size| format!("row {size}")))),
        Arc::new(Int64Array::from(sizes.to_vec())),
        Arc::new(StringArray::from_iter_values(sizes.iter().map(|size| format!("text of {size}")))),
        Arc::new(ListArray::new(item(DataType::Utf8), ends, Arc::new(values), None)),
        Arc::new(FixedSizeListArray::new(item(DataType::Float32), DIMENSION as i32, Arc::new(vectors), None)),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).expect("columns of the schema")
}

fn sizes(collection: &Collection) -> Vec<i64> {
    let scan = collection.scan(&["size"]).expect("a column").map(|rows| rows.expect("a page"));
    let mut sizes: Vec<i64> =
        scan.flat_map(|rows| rows["size"].as_primitive::<Int64Type>().values().to_vec()).collect();
    sizes.sort_unstable();
    sizes
}

/// A server with a collection of fifty rows, and a raw connection.
struct Scene {
    client: Client,
    collection: Collection,
    number: u32,
    raw: Raw,
    server: Server,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = Server::start(directory.path(), 2);
        let client = server.client();
        let collection =
            client.create_collection("rows", &schema(), CollectionOptions::default()).expect("a good schema");
        let all: Vec<i64> = (0..ROWS as i64).collect();
        collection.write(&batch(&all, 2), Ack::Durable).expect("a good batch").wait().expect("it is written");
        let number = client.describe("rows").expect("it is there").id;
        let raw = Raw::greeted(server.address());
        Scene { client, collection, number, raw, server, _directory: directory }
    }

    /// A request is refused, its connection goes on, and no row is another.
    #[track_caller]
    fn refuse(&mut self, what: &str, opcode: Opcode, body: &[u8], status: Status, words: &[&str]) {
        self.raw.request(opcode, self.number, body).expect_refusal(what, status, words);
        self.raw.check_alive(what);
        let info = self.client.describe("rows").expect("it is there");
        assert_eq!((info.rows, info.deleted), (ROWS as u64, 0), "{what}");
    }

    fn end(self) {
        let all: Vec<i64> = (0..ROWS as i64).collect();
        assert_eq!(sizes(&self.collection), all);
        let Scene { client, collection, raw, server, _directory: directory, .. } = self;
        drop((client, collection, raw));
        server.stop();
        let server = Server::start(directory.path(), 1);
        let client = server.client();
        assert_eq!(client.collections().expect("an answer").len(), 1);
        assert_eq!(sizes(&client.collection("rows").expect("it is there")), all);
        server.stop();
    }
}

fn body(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::new();
    encode(&mut body);
    body
}

fn search<'a>(vectors: &'a [u8], filter: &'a [u8], options: &'a [u8]) -> Search<'a> {
    Search {
        column: 4,
        kind: ElementKind::F32,
        exact: false,
        k: 10,
        ef: 0,
        queries: if vectors.is_empty() { 0 } else { 1 },
        dimension: DIMENSION as u32,
        columns: Columns::NONE,
        vectors,
        filter,
        options,
    }
}

/// The same filter in every request that takes one.
fn with_filter(filter: &[u8]) -> [(&'static str, Opcode, Vec<u8>); 5] {
    let vector = [0x3f; 4 * DIMENSION];
    let scan = Scan { cursor: Cursor::default(), rows_max: 0, columns: Columns::NONE, filter };
    [
        ("search", Opcode::Search, body(|out| search(&vector, filter, b"").encode(out))),
        ("scan", Opcode::Scan, body(|out| scan.encode(out))),
        ("count", Opcode::Count, body(|out| Count { filter }.encode(out))),
        ("facets", Opcode::Facets, body(|out| Facets { column: 1, limit: 5, filter }.encode(out))),
        ("delete", Opcode::DeleteWhere, body(|out| DeleteWhere { filter }.encode(out))),
    ]
}

#[test]
fn bad_filters_are_refused_by_every_request() {
    let mut scene = Scene::new();
    let deep = format!("{}{}{}", r#"{"not":"#.repeat(1_000), r#"{"column":"size","=":1}"#, "}".repeat(1_000));
    let wide = format!("[{}1]", "1,".repeat(1 << 19));
    let words = json!((0..10_000).map(|word| format!("w{word}")).collect::<Vec<_>>());
    let contains = |column: &str| json!({"column": column, "contains": words}).to_string();
    let (of_text, of_tags) = (contains("text"), contains("tags"));
    let mut not_utf8 = br#"{"column": "text", "=": "?"}"#.to_vec();
    let place = not_utf8.iter().position(|&byte| byte == b'?').expect("it is there");
    not_utf8[place] = 0xff;
    let cases: [(&str, &[u8], Status, &[&str]); 16] = [
        ("an unknown operator", br#"{"column": "size", "=~": 1}"#, Status::InvalidFilter, &["`size: =~`"]),
        ("text for a number", br#"{"column": "size", "<": "1"}"#, Status::InvalidFilter, &["`size`", "a number"]),
        ("a number for text", br#"{"column": "text", ">=": 1}"#, Status::InvalidFilter, &["`text`", "takes text"]),
        ("a list for a number", br#"{"column": "size", "=": [1]}"#, Status::InvalidFilter, &["`size`"]),
        ("an object for text", br#"{"column": "text", "prefix": {}}"#, Status::InvalidFilter, &["`text`"]),
        ("null", br#"{"column": "size", "=": null}"#, Status::InvalidFilter, &["`size`"]),
        ("an order of lists", br#"{"column": "tags", "<": "a"}"#, Status::InvalidFilter, &["`tags`", "no order"]),
        ("a number of tags", br#"{"column": "tags", "contains": 1}"#, Status::InvalidFilter, &["`tags`"]),
        ("a vector", br#"{"column": "vector", "is_null": true}"#, Status::InvalidFilter, &["`vector`"]),
        ("an unknown column", br#"{"column": "colour", "=": 1}"#, Status::UnknownColumn, &["`colour`"]),
        ("1,000 brackets", deep.as_bytes(), Status::LimitExceeded, &["depth", "1001", "32"]),
        ("1 MB", wide.as_bytes(), Status::LimitExceeded, &["filter", "262144"]),
        ("10,000 words", of_text.as_bytes(), Status::LimitExceeded, &["10000", "64"]),
        ("10,000 tags", of_tags.as_bytes(), Status::LimitExceeded, &["10000", "64"]),
        ("no UTF-8", &not_utf8, Status::InvalidFilter, &["JSON"]),
        ("no JSON", b"\xff\xfe", Status::InvalidFilter, &["JSON"]),
    ];
    for (what, filter, status, words) in cases {
        for (request, opcode, body) in with_filter(filter) {
            scene.refuse(&format!("{what}, {request}"), opcode, &body, status, words);
        }
    }
    // What is long, and no longer than it may be, is answered.
    let long = json!({"column": "size", "in": (0..40_000).collect::<Vec<_>>()}).to_string();
    for (what, opcode, body) in with_filter(long.as_bytes()).into_iter().filter(|case| case.0 != "delete") {
        scene.raw.request(opcode, scene.number, &body).expect_done(what);
    }
    scene.end();
}

#[test]
fn bad_texts_are_refused() {
    let mut scene = Scene::new();
    let text = |query: &Value| json!({"text": {"column": "text", "query": query}}).to_string();
    let many = |count: usize| (0..count).map(|word| format!("w{word} ")).collect::<String>();
    let mut not_utf8 = text(&json!("?")).into_bytes();
    let place = not_utf8.iter().position(|&byte| byte == b'?').expect("it is there");
    not_utf8[place] = 0xc3;
    let vector = [0x3f; 4 * DIMENSION];
    let refused: [(&str, Vec<u8>, Status, &[&str]); 8] = [
        ("10,000 words", text(&json!(many(10_000))).into(), Status::LimitExceeded, &["words", "1024"]),
        ("words that must be there", text(&json!({"must": many(10_000)})).into(), Status::LimitExceeded, &["1024"]),
        (
            "words that must not",
            text(&json!({"must": "a", "must_not": many(10_000)})).into(),
            Status::LimitExceeded,
            &[],
        ),
        ("a long phrase", text(&json!({"phrase": "a ".repeat(1_025)})).into(), Status::LimitExceeded, &["phrase"]),
        (
            "more bytes than options have",
            text(&json!(many(20_000))).into(),
            Status::LimitExceeded,
            &["options", "65536"],
        ),
        ("no UTF-8", not_utf8, Status::InvalidSearch, &["JSON"]),
        ("a number", text(&json!(1)).into(), Status::InvalidTextQuery, &["query"]),
        ("nothing to be found", text(&json!({"must_not": "a"})).into(), Status::InvalidTextQuery, &["query"]),
    ];
    for (what, options, status, words) in &refused {
        for vectors in [&[][..], &vector] {
            let body = body(|out| search(vectors, b"", options).encode(out));
            scene.refuse(what, Opcode::Search, &body, *status, words);
        }
    }
    // Where there is no word there is nothing to be found, and that is no error.
    for (words, found) in [("", 0), (" .,;", 0), ("\u{0}", 0), ("😀", 0), ("text", ROWS)] {
        let text = Some(Text { column: Some("text"), query: TextQuery::Words(words), candidates: None });
        let request = SearchRequest { text, k: 100, ..Default::default() };
        let reply = scene.collection.search(&request).expect("it can be sent").wait().expect("an answer");
        assert_eq!(reply.hits[0].len(), found, "{words:?}");
    }
    scene.end();
}

#[test]
fn what_is_no_utf8_is_refused_wherever_it_stands() {
    let mut scene = Scene::new();
    let spoilt = |mut body: Vec<u8>| {
        let place = body.windows(3).rposition(|bytes| bytes == b"row").expect("it is there");
        body[place] = 0xff;
        body
    };
    let ids = || ["a row", "no row"].into_iter().map(IdRef::Utf8);
    let get = body(|out| Get::encode(Columns::All, IdKind::Utf8, ids(), out));
    let name = body(|out| encode_name("rows", out));
    for (what, opcode, body) in [
        ("ids of a get", Opcode::Get, spoilt(get)),
        ("ids of a delete", Opcode::Delete, spoilt(body(|out| encode_ids(IdKind::Utf8, ids(), out)))),
        ("a name to describe", Opcode::Describe, spoilt(name.clone())),
        ("a name to drop", Opcode::DropCollection, spoilt(name)),
    ] {
        scene.refuse(what, opcode, &body, Status::MalformedBody, &["UTF-8"]);
    }
    // In each column of text of a batch, the id among them.
    let good = engine::batch::encode(&batch(&[1_000, 1_001], 2)).expect("Arrow can encode it");
    for text in ["row 1001", "text of 1001", "tag 1"] {
        let mut bad = good.clone();
        let place = bad.windows(text.len()).rposition(|bytes| bytes == text.as_bytes()).expect("it is there");
        bad[place + 1] = 0xc0;
        let reply = scene.raw.write(scene.number, scene.collection.fingerprint(), &bad);
        reply.expect_refusal(text, Status::MalformedColumn, &["UTF-8"]);
        scene.raw.check_alive(text);
        assert_eq!(sizes(&scene.collection).len(), ROWS, "{text}");
    }
    let info = scene.client.describe("rows").expect("it is there");
    assert_eq!((info.rows, info.deleted), (ROWS as u64, 0));
    scene.end();
}

#[test]
fn a_list_of_10000_tags_is_refused_and_its_batch_with_it() {
    let mut scene = Scene::new();
    for (tags, words) in [(10_000, "1024"), (1_025, "1024")] {
        let whole = batch(&[1_000], tags);
        let refused = scene.collection.write(&whole, Ack::Durable).and_then(|pending| pending.wait());
        let error = refused.expect_err("too many tags").to_string();
        assert!(error.contains("of a list") && error.contains(words), "{error}");
        // The server judges by itself, too.
        let message = engine::batch::encode(&whole).expect("Arrow can encode it");
        let reply = scene.raw.write(scene.number, scene.collection.fingerprint(), &message);
        assert!(matches!(reply.status(), Some(Status::MalformedColumn | Status::LimitExceeded)), "{reply:?}");
        assert!(reply.message().contains(words), "{}", reply.message());
        scene.raw.check_alive("10,000 tags");
    }
    scene.end();
}

#[test]
fn a_batch_beyond_the_quota_changes_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 1);
    let client = server.client();
    client.create_namespace("acme", Quota { rows: 100, ..Quota::default() }).expect("a new one");
    let collection =
        client.create_collection("acme/rows", &schema(), CollectionOptions::default()).expect("a good schema");
    let write = |sizes: &[i64]| {
        let pending = collection.write(&batch(sizes, 1), Ack::Durable).expect("a good batch");
        pending.wait().map(|report| (report.inserted, report.replaced)).map_err(|error| error.status())
    };
    let first: Vec<i64> = (0..90).collect();
    assert_eq!(write(&first), Ok((90, 0)));
    // Ten would fit, twenty do not; five of those in front replace rows that are there.
    let beyond: Vec<i64> = (85..111).collect();
    for _ in 0..3 {
        assert_eq!(write(&beyond), Err(Some(Status::QuotaExceeded)));
        assert_eq!(sizes(&collection), first);
        let info = client.describe("acme/rows").expect("it is there");
        assert_eq!((info.rows, info.deleted), (90, 0), "no row was replaced either");
    }
    assert_eq!(write(&(85..100).collect::<Vec<_>>()), Ok((10, 5)), "what fits is taken");
    drop((collection, client));
    server.stop();
    let server = Server::start(directory.path(), 1);
    let collection = server.client().collection("acme/rows").expect("it is there");
    assert_eq!(sizes(&collection), (0..100).collect::<Vec<i64>>());
    drop(collection);
    server.stop();
}

/// What is asked of a collection that has just gone is refused by its name, and nobody waits for ever.
#[test]
fn a_collection_may_go_while_it_is_searched_and_filled() {
    const ROUNDS: u64 = 8;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::try_start(options(directory.path(), 2)).expect("the server starts");
    let client = server.client();
    let kept = rows::create(&client, "kept", 8);
    let all: Vec<(u64, u64)> = (0..2_000).map(|id| (id, 1)).collect();
    kept.write(&rows::batch(&all, 8), Ack::Durable).expect("a good batch").wait().expect("it is written");
    let (done, answered, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let count = |result: net::Result<()>| match result {
        Ok(()) => _ = answered.fetch_add(1, Ordering::Relaxed),
        Err(error) => {
            assert_eq!(error.status(), Some(Status::UnknownCollection), "{error}");
            refused.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for worker in 0..3_u64 {
            let (server, done, count) = (&server, &done, &count);
            scope.spawn(move || {
                let client = server.client();
                let query = rows::vector_of(worker, 1, 8);
                let mut step = worker * 1_000_000;
                while !done.load(Ordering::Relaxed) {
                    let gone = match client.collection("gone") {
                        Ok(gone) => gone,
                        Err(error) => {
                            count(Err(error));
                            continue;
                        }
                    };
                    for _ in 0..20 {
                        step += 1;
                        if worker == 0 {
                            let rows: Vec<(u64, u64)> = (0..500).map(|id| (step * 500 + id, 1)).collect();
                            let pending = gone.write(&rows::batch(&rows, 8), Ack::Durable).expect("a good batch");
                            count(pending.wait().map(drop));
                            continue;
                        }
                        let text = Text { column: Some("text"), query: TextQuery::Words("row"), candidates: None };
                        let filter = r#"{"column": "text", "contains": "version"}"#;
                        let queries = Queries::F32(&query);
                        let text = (step % 3 == 0).then_some(text);
                        let request = SearchRequest { queries, text, filter, ..Default::default() };
                        count(gone.search(&request).expect("a good request").wait().map(drop));
                        count(gone.count(filter).map(drop));
                        let scan = gone.scan(&["id"]).expect("a column").with_filter(filter);
                        count(scan.into_iter().try_for_each(|rows| rows.map(drop)));
                    }
                }
            });
        }
        for _ in 0..ROUNDS {
            drop(rows::create(&client, "gone", 8));
            std::thread::sleep(Duration::from_millis(150));
            client.drop_collection("gone").expect("it is there");
        }
        done.store(true, Ordering::Relaxed);
    });
    let (answered, refused) = (answered.into_inner(), refused.into_inner());
    assert!(answered > 100 && refused >= ROUNDS, "{answered} answers, {refused} refusals");
    assert_eq!(rows::content(&kept), all.iter().copied().collect());
    rows::check_searchable(&kept, [(&7, &1), (&1_999, &1)], 8);
    // Its name is free, and of what it held nothing is left.
    let anew = rows::create(&client, "gone", 8);
    assert_eq!(rows::content(&anew), [].into());
    drop((anew, kept, client));
    server.stop();
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    assert_eq!(rows::content(&client.collection("gone").expect("it is there")), [].into());
    assert_eq!(rows::content(&client.collection("kept").expect("so is it")), all.into_iter().collect());
    server.stop();
}
