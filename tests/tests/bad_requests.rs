//! Requests that cannot be served: a typed error that names what was wrong, the connection goes on, nothing is stored.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use engine::schema::{IdKind, IdRef};
use kernels::ElementKind;
use net::client::{Ack, Client, Collection, CollectionOptions, Id, Ids, Queries, SearchRequest};
use net::codec::collection::encode_name;
use net::codec::{Columns, Create, Cursor, Get, Header, Opcode, Scan, Search, Status, WaitIndexed, encode_ids};
use tests::raw::Raw;
use tests::rows::{batch, batch_with_vectors, content, schema, schema_with_metric};
use tests::server::Server;

const DIMENSION: usize = 4;

/// A server with a cosine collection of three rows, and a raw connection.
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
        let server = Server::start(directory.path(), 1);
        let client = server.client();
        let schema = schema_with_metric(DIMENSION, "cosine");
        let collection =
            client.create_collection("rows", &schema, CollectionOptions::default()).expect("a good schema");
        let three = batch(&[(1, 1), (2, 1), (3, 1)], DIMENSION);
        collection.write(&three, Ack::Durable).expect("a good batch").wait().expect("it is written");
        let number = client.describe("rows").expect("it is there").id;
        let raw = Raw::greeted(server.address());
        Scene { client, collection, number, raw, server, _directory: directory }
    }

    /// Sends a batch under the collection's fingerprint, which must be refused.
    #[track_caller]
    fn refuse_write(&mut self, what: &str, rows: &RecordBatch, status: Status, words: &[&str]) {
        let message = engine::batch::encode(rows).expect("Arrow can encode it");
        self.refuse_message(what, &message, status, words);
    }

    #[track_caller]
    fn refuse_message(&mut self, what: &str, message: &[u8], status: Status, words: &[&str]) {
        let reply = self.raw.write(self.number, self.collection.fingerprint(), message);
        reply.expect_refusal(what, status, words);
        self.check_unchanged(what);
    }

    #[track_caller]
    fn refuse(&mut self, what: &str, opcode: Opcode, body: &[u8], status: Status, words: &[&str]) {
        self.refuse_for(self.number, what, opcode, body, status, words);
    }

    #[track_caller]
    fn refuse_for(&mut self, number: u32, what: &str, opcode: Opcode, body: &[u8], status: Status, words: &[&str]) {
        self.raw.request(opcode, number, body).expect_refusal(what, status, words);
        self.check_unchanged(what);
    }

    #[track_caller]
    fn check_unchanged(&mut self, what: &str) {
        self.raw.check_alive(what);
        let info = self.client.describe("rows").expect("it is there");
        assert_eq!((info.rows, info.deleted), (3, 0), "{what}");
    }

    /// Nothing but the three rows is there, neither now nor after a restart, and writes go on.
    fn end(self) {
        let Scene { client, collection, server, raw, _directory: directory, .. } = self;
        let expected = [(1, 1), (2, 1), (3, 1)].into();
        assert_eq!(content(&collection), expected);
        drop((client, collection, raw));
        server.stop();
        let server = Server::start(directory.path(), 1);
        assert_eq!(content(&server.client().collection("rows").expect("it is there")), expected);
        server.stop();
    }
}

/// The batch of rows 10 and 11 with its vectors replaced.
fn with_vectors(vectors: ArrayRef) -> RecordBatch {
    let good = batch(&[(10, 1), (11, 1)], DIMENSION);
    let mut columns = good.columns().to_vec();
    let mut fields: Vec<_> = good.schema().fields().iter().cloned().collect();
    fields[3] = Arc::new(Field::new("vector", vectors.data_type().clone(), true));
    columns[3] = vectors;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length")
}

fn lists(item: DataType, dimension: usize, values: ArrayRef) -> ArrayRef {
    Arc::new(FixedSizeListArray::new(Arc::new(Field::new("item", item, true)), dimension as i32, values, None))
}

#[test]
fn bad_batches() {
    let mut scene = Scene::new();
    let good = batch(&[(10, 1), (11, 1)], DIMENSION);

    let floats = |count: usize| Arc::new(arrow::array::Float32Array::from(vec![1.0; count])) as ArrayRef;
    let wide = with_vectors(lists(DataType::Float32, 5, floats(10)));
    scene.refuse_write("five dimensions", &wide, Status::MalformedColumn, &["`vector`"]);
    let narrow = with_vectors(lists(DataType::Float32, 3, floats(6)));
    scene.refuse_write("three dimensions", &narrow, Status::MalformedColumn, &["`vector`"]);
    let halves = arrow::array::Float16Array::from(vec![half::f16::ONE; 8]);
    let halves = with_vectors(lists(DataType::Float16, DIMENSION, Arc::new(halves)));
    scene.refuse_write("f16 for f32", &halves, Status::MalformedColumn, &["`vector`"]);

    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let fields = vec![Field::new("id", DataType::Utf8, false)];
    let fields =
        Schema::new([fields, good.schema().fields().iter().skip(1).map(|f| f.as_ref().clone()).collect()].concat());
    let columns = [vec![texts], good.columns()[1..].to_vec()].concat();
    let text_ids = RecordBatch::try_new(Arc::new(fields), columns).expect("columns of one length");
    scene.refuse_write("ids of another type", &text_ids, Status::MalformedColumn, &[]);

    let missing = good.project(&[0, 1, 3]).expect("three columns");
    let reply = scene.raw.write(
        scene.number,
        scene.collection.fingerprint(),
        &engine::batch::encode(&missing).expect("encoded"),
    );
    assert!(
        matches!(reply.status(), Some(Status::MalformedColumn | Status::MalformedBatch)),
        "a column is missing: {reply:?}"
    );
    scene.check_unchanged("a column is missing");
    let doubled = good.project(&[0, 1, 2, 3, 1]).expect("five columns");
    scene.refuse_write("a column too many", &doubled, Status::MalformedBatch, &["more columns"]);

    let null_id: ArrayRef = Arc::new(UInt64Array::from(vec![Some(10), None]));
    let fields = [
        vec![Field::new("id", DataType::UInt64, true)],
        good.schema().fields().iter().skip(1).map(|f| f.as_ref().clone()).collect(),
    ]
    .concat();
    let columns = [vec![null_id], good.columns()[1..].to_vec()].concat();
    let null_id = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length");
    scene.refuse_write("an id is null", &null_id, Status::MalformedColumn, &["`id`"]);

    scene.refuse_write("no rows", &good.slice(0, 0), Status::Empty, &["batch"]);
    let many: Vec<(u64, u64)> = (0..65_537).map(|id| (id, 1)).collect();
    scene.refuse_write("too many rows", &batch(&many, DIMENSION), Status::LimitExceeded, &["65537", "65536"]);
    scene.refuse_message("no message", &[], Status::MalformedBatch, &[]);
    scene.refuse_message("no Arrow", &[0x55; 200], Status::MalformedBatch, &[]);
    scene.end();
}

#[test]
fn bad_vectors() {
    let mut scene = Scene::new();
    let place = |bad: f32| {
        let mut vectors = vec![1.0; 3 * DIMENSION];
        vectors[DIMENSION + 2] = bad;
        batch_with_vectors(&[(10, 1), (11, 1), (12, 1)], vectors, DIMENSION)
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        scene.refuse_write(&format!("{bad}"), &place(bad), Status::NonFinite, &["`vector`", "row 1"]);
    }
    let mut vectors = vec![1.0; 3 * DIMENSION];
    vectors[2 * DIMENSION..].fill(0.0);
    let zero = batch_with_vectors(&[(10, 1), (11, 1), (12, 1)], vectors, DIMENSION);
    scene.refuse_write("a zero vector", &zero, Status::ZeroVector, &["`vector`", "row 2"]);
    // The rows before the bad one are not stored either, and the next batch is not harmed.
    let good = scene.collection.write(&batch(&[(10, 1)], DIMENSION), Ack::Durable).expect("a good batch").wait();
    assert_eq!(good.expect("it is written").inserted, 1);
    scene.collection.delete(&Ids::U64(vec![10]), Ack::Durable).expect("an id").wait().expect("it is done");
    let zeros = batch_with_vectors(&[(1, 1)], vec![0.0; DIMENSION], DIMENSION);
    let l2 =
        scene.client.create_collection("l2", &schema(DIMENSION), CollectionOptions::default()).expect("a good schema");
    let fine = l2.write(&zeros, Ack::Durable).expect("a good batch").wait().expect("under l2 zero is a vector");
    assert_eq!(fine.inserted, 1);
    scene.end();
}

#[test]
fn bad_schemas_and_names() {
    let mut scene = Scene::new();
    let message = engine::batch::encode(&batch(&[(10, 1)], DIMENSION)).expect("encoded");
    let fingerprint = scene.collection.fingerprint();
    let reply = scene.raw.write(scene.number, fingerprint ^ 1, &message);
    let (found, expected) = (format!("{:016x}", fingerprint ^ 1), format!("{fingerprint:016x}"));
    reply.expect_refusal("another fingerprint", Status::SchemaMismatch, &[&found, &expected]);
    scene.check_unchanged("another fingerprint");
    let reply = scene.raw.write(999, fingerprint, &message);
    reply.expect_refusal("an unknown collection", Status::UnknownCollection, &["999"]);
    let reply = scene.raw.write(0, fingerprint, &message);
    reply.expect_refusal("collection 0", Status::UnknownCollection, &[]);

    let good = engine::schema::Schema::from_arrow(&schema(DIMENSION)).expect("a good schema").to_bytes();
    let other = engine::schema::Schema::from_arrow(&schema(8)).expect("a good schema").to_bytes();
    let create = |name: &str, schema: &[u8], if_not_exists| {
        let mut body = Vec::new();
        Create { m: 0, ef_construction: 0, if_not_exists, evictable: false, name, schema }.encode(&mut body);
        body
    };
    let long = "x".repeat(129);
    let cases: [(&str, Vec<u8>, Status, &[&str]); 9] = [
        ("the name is taken", create("rows", &other, false), Status::CollectionExists, &["`rows`"]),
        ("taken, with another schema", create("rows", &other, true), Status::CollectionExists, &["`rows`"]),
        ("an empty name", create("", &good, false), Status::MalformedBody, &["name"]),
        ("a name with two slashes", create("../a/rows", &good, false), Status::InvalidSchema, &["name"]),
        ("no such namespace", create("../rows", &good, false), Status::UnknownNamespace, &["`..`"]),
        ("a long name", create(&long, &good, false), Status::LimitExceeded, &["129", "128"]),
        ("no schema", create("new", &[], false), Status::InvalidSchema, &[]),
        ("a schema of noise", create("new", &[0xa5; 100], false), Status::InvalidSchema, &[]),
        ("a batch for a schema", create("new", &message, false), Status::InvalidSchema, &[]),
    ];
    for (what, body, status, words) in &cases {
        scene.refuse_for(0, what, Opcode::CreateCollection, body, *status, words);
    }
    for opcode in [Opcode::Describe, Opcode::DropCollection] {
        let mut body = Vec::new();
        encode_name("nobody", &mut body);
        scene.refuse_for(0, "an unknown name", opcode, &body, Status::UnknownCollection, &["`nobody`"]);
    }
    assert_eq!(scene.client.collections().expect("an answer").len(), 1, "something was created");
    scene.end();
}

#[test]
fn duplicate_ids_in_a_batch_and_the_last_wins() {
    let scene = Scene::new();
    let rows = [(10, 1), (1, 2), (10, 2), (11, 1), (10, 3), (1, 3)];
    let report = scene.collection.write(&batch(&rows, DIMENSION), Ack::Durable).expect("a good batch").wait();
    let report = report.expect("it is written");
    assert_eq!((report.rows, report.inserted, report.replaced), (6, 2, 4));
    assert_eq!(content(&scene.collection), [(1, 3), (2, 1), (3, 1), (10, 3), (11, 1)].into());
    let reply = scene.collection.search(&SearchRequest {
        queries: Queries::F32(&[1.0; DIMENSION]),
        k: 100,
        ef: Some(100),
        ..Default::default()
    });
    let hits = reply.expect("a good request").wait().expect("an answer").hits.remove(0);
    let mut ids: Vec<Id> = hits.into_iter().map(|hit| hit.id).collect();
    ids.sort();
    assert_eq!(ids, [1, 2, 3, 10, 11].map(Id::U64));
    scene.server.stop();
}

#[test]
fn bad_ids_and_columns() {
    let mut scene = Scene::new();
    let numbers = |count: u64| {
        let ids: Vec<u64> = (100..100 + count).collect();
        let mut body = Vec::new();
        encode_ids(IdKind::U64, ids.iter().map(|&id| IdRef::U64(id)), &mut body);
        body
    };
    let mut texts = Vec::new();
    encode_ids(IdKind::Utf8, ["a"].into_iter().map(IdRef::Utf8), &mut texts);
    scene.refuse("no ids", Opcode::Delete, &numbers(0), Status::Empty, &["id list"]);
    scene.refuse("too many ids", Opcode::Delete, &numbers(65_537), Status::LimitExceeded, &["65537", "65536"]);
    scene.refuse("ids of another kind", Opcode::Delete, &texts, Status::MalformedBatch, &["kind"]);
    scene.refuse("ids that end early", Opcode::Delete, &numbers(3)[..20], Status::MalformedBody, &["ids"]);
    scene.refuse_for(77, "delete from nowhere", Opcode::Delete, &numbers(1), Status::UnknownCollection, &["77"]);

    let get = |columns: Columns<'_>, ids: &[u64]| {
        let mut body = Vec::new();
        Get::encode(columns, IdKind::U64, ids.iter().map(|&id| IdRef::U64(id)), &mut body);
        body
    };
    let unknown = Columns::Listed(&[[0, 0], [9, 0]]);
    scene.refuse("get nothing", Opcode::Get, &get(Columns::All, &[]), Status::Empty, &["id list"]);
    scene.refuse("get column 9", Opcode::Get, &get(unknown, &[1]), Status::UnknownColumn, &["9"]);
    let get_one = get(Columns::All, &[1]);
    scene.refuse_for(77, "get from nowhere", Opcode::Get, &get_one, Status::UnknownCollection, &["77"]);

    let mut scan = Vec::new();
    Scan { cursor: Cursor::default(), rows_max: 0, columns: unknown, filter: &[] }.encode(&mut scan);
    scene.refuse("scan column 9", Opcode::Scan, &scan, Status::UnknownColumn, &["9"]);
    scene.refuse_for(77, "scan nowhere", Opcode::Scan, &scan, Status::UnknownCollection, &["77"]);
    let mut wait = Vec::new();
    WaitIndexed { timeout_ms: 0 }.encode(&mut wait);
    scene.refuse_for(77, "wait for nothing", Opcode::WaitIndexed, &wait, Status::UnknownCollection, &["77"]);
    scene.refuse_for(77, "snapshot of nothing", Opcode::Snapshot, &[], Status::UnknownCollection, &["77"]);
    scene.refuse_for(0, "list with a body", Opcode::List, &[1], Status::MalformedBody, &[]);
    scene.refuse_for(0, "a long ping", Opcode::Ping, &[1; 1_025], Status::LimitExceeded, &["1025", "1024"]);
    scene.end();
}

fn search_of(vectors: &[u8]) -> Search<'_> {
    Search {
        column: 3,
        kind: ElementKind::F32,
        exact: false,
        k: 10,
        ef: 0,
        queries: 1,
        dimension: DIMENSION as u32,
        columns: Columns::NONE,
        vectors,
        filter: &[],
        options: &[],
    }
}

#[test]
fn bad_searches() {
    let mut scene = Scene::new();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let one = bytes(&[1.0; DIMENSION]);
    let (zero, nan) = (bytes(&[0.0; DIMENSION]), bytes(&[1.0, f32::NAN, 1.0, 1.0]));
    let (wide, infinite) = (bytes(&[1.0; 5]), bytes(&[f32::INFINITY; DIMENSION]));
    let good = search_of(&one);
    let many = one.repeat(1_025);
    let long = format!("{{\"{}\": 1}}", "x".repeat(1 << 20));
    let deep = "[".repeat(1_000) + &"]".repeat(1_000);
    let cases: [(&str, Search<'_>, Status, &[&str]); 22] = [
        ("k is 0", Search { k: 0, ..good }, Status::InvalidSearch, &["k is 0"]),
        (
            "k above its limit",
            Search { k: 10_001, ef: 10_001, ..good },
            Status::LimitExceeded,
            &["k is 10001", "10000"],
        ),
        ("exact, k above its limit", Search { k: u32::MAX, exact: true, ..good }, Status::LimitExceeded, &["10000"]),
        ("ef below k", Search { ef: 9, ..good }, Status::InvalidSearch, &["ef is below k"]),
        ("ef above its limit", Search { ef: 20_001, ..good }, Status::LimitExceeded, &["ef is 20001", "20000"]),
        ("five dimensions", Search { dimension: 5, vectors: &wide, ..good }, Status::InvalidSearch, &["dimension"]),
        (
            "f16 for f32",
            Search { kind: ElementKind::F16, vectors: &one[..8], ..good },
            Status::InvalidSearch,
            &["element type"],
        ),
        ("NaN", Search { vectors: &nan, ..good }, Status::InvalidSearch, &["NaN"]),
        ("infinity", Search { vectors: &infinite, ..good }, Status::InvalidSearch, &["infinity"]),
        ("a zero vector", Search { vectors: &zero, ..good }, Status::InvalidSearch, &["zero"]),
        ("no query", Search { queries: 0, vectors: &[], ..good }, Status::Empty, &["query list"]),
        ("1,025 queries", Search { queries: 1_025, vectors: &many, ..good }, Status::LimitExceeded, &["1025", "1024"]),
        ("fewer vectors than queries", Search { queries: 2, ..good }, Status::MalformedBody, &["query vectors"]),
        ("no dimension", Search { dimension: 0, vectors: &[], ..good }, Status::MalformedBody, &["dimension"]),
        ("not a vector column", Search { column: 1, ..good }, Status::InvalidSearch, &["not a vector column"]),
        ("no such column", Search { column: 9, ..good }, Status::InvalidSearch, &["not a vector column"]),
        ("unknown columns", Search { columns: Columns::Listed(&[[4, 0]]), ..good }, Status::UnknownColumn, &["4"]),
        ("options that are no JSON", Search { options: b"{", ..good }, Status::InvalidSearch, &["JSON"]),
        ("unknown option", Search { options: br#"{"scores": true}"#, ..good }, Status::InvalidSearch, &["`scores`"]),
        ("option of a wrong type", Search { options: br#"{"score": 1}"#, ..good }, Status::InvalidSearch, &["`score`"]),
        ("1 MB of options", Search { options: long.as_bytes(), ..good }, Status::LimitExceeded, &["options", "65536"]),
        ("deep options", Search { options: deep.as_bytes(), ..good }, Status::LimitExceeded, &["depth", "32"]),
    ];
    let encoded = |search: &Search<'_>| {
        let mut body = Vec::new();
        search.encode(&mut body);
        body
    };
    for (what, search, status, words) in &cases {
        scene.refuse(what, Opcode::Search, &encoded(search), *status, words);
    }
    scene.refuse_for(77, "search nowhere", Opcode::Search, &encoded(&good), Status::UnknownCollection, &["77"]);
    scene.raw.request(Opcode::Search, scene.number, &encoded(&good)).expect_done("a good search");
    // For an exact scan ef has no meaning.
    let exact = Search { exact: true, ef: 1, ..good };
    scene.raw.request(Opcode::Search, scene.number, &encoded(&exact)).expect_done("an exact search");
    scene.end();
}

/// A frame that says it is a reply is no request.
#[test]
fn replies_are_no_requests() {
    let mut scene = Scene::new();
    for opcode in [Opcode::Ping, Opcode::Write, Opcode::Delete] {
        let header = Header::request(opcode, 0, scene.number).reply();
        scene.raw.request_with(header, b"x").expect_refusal("a reply", Status::MalformedBody, &["reply"]);
        scene.check_unchanged("a reply");
    }
    scene.end();
}

/// The client refuses by itself what it can judge, with the same types of errors, and nothing is sent.
#[test]
fn the_client_refuses_what_it_can_judge() {
    let scene = Scene::new();
    let Scene { client, collection, .. } = &scene;
    let refused = |error: net::Error| match error {
        net::Error::Engine(error) => error,
        other => panic!("not refused by the client: {other}"),
    };
    let wide = collection.write(&batch(&[(10, 1)], 5), Ack::Durable).err().map(refused).expect("another dimension");
    assert!(matches!(&*wide, engine::Error::MalformedColumn { column, .. } if column == "vector"), "{wide}");
    let empty = collection.write(&batch(&[], DIMENSION), Ack::Durable).err().map(refused).expect("no rows");
    assert!(matches!(&*empty, engine::Error::Empty { .. }), "{empty}");
    let unknown = collection.get(&Ids::U64(vec![1]), &["colour"]).err().map(refused).expect("no such column");
    assert!(matches!(&*unknown, engine::Error::UnknownColumn { name } if name == "colour"), "{unknown}");
    let texts = collection.get(&Ids::Utf8(vec!["a".into()]), &[]).err().map(refused).expect("ids of another kind");
    assert!(matches!(&*texts, engine::Error::MalformedColumn { column, .. } if column == "id"), "{texts}");
    let nan = batch_with_vectors(&[(10, 1)], vec![f32::NAN; DIMENSION], DIMENSION);
    let nan = collection.write(&nan, Ack::Durable).and_then(|pending| pending.wait()).expect_err("NaN");
    let is_typed = nan.status() == Some(Status::NonFinite)
        || matches!(&nan, net::Error::Engine(error) if matches!(**error, engine::Error::NonFinite { .. }));
    assert!(is_typed, "{nan}");
    let unknown = client.collection("nobody").err().expect("no such collection");
    assert_eq!(unknown.status(), Some(Status::UnknownCollection));
    scene.end();
}
