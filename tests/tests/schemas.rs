//! Collections of every kind of schema: what is written is there, by id, in scans and after every kind of start.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float32Array, Int64Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, UInt64Array, new_null_array,
};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Float32Type, Schema, UInt64Type};
use engine::schema::{EF_CONSTRUCTION_KEY, INDEX_KEY, M_KEY, METRIC_KEY, TYPE_KEY};
use net::client::{Ack, Client, Collection, CollectionOptions, Id, Ids, Queries, SearchRequest};
use net::codec::{Columns, Opcode, Search, Status};
use tests::random::Random;
use tests::raw::Raw;
use tests::server::{Process, Server};

/// Rows of a shard of which the room is freed at once.
const CHUNK_ROWS: u64 = 4_096;

/// Rows whose content follows from their number and a version.
struct Rows {
    schema: Schema,
    /// The columns of rows of these numbers; the first is the id, which ascends with the number.
    columns: fn(&[u64], u64) -> Vec<ArrayRef>,
    ids: fn(&[u64]) -> Ids,
}

impl Rows {
    fn create(&self, client: &Client, name: &str) -> Collection {
        client.create_collection(name, &self.schema, CollectionOptions::default()).expect("a good schema")
    }

    fn batch(&self, numbers: &[u64], version: u64) -> RecordBatch {
        RecordBatch::try_new(Arc::new(self.schema.clone()), (self.columns)(numbers, version)).expect("its columns")
    }

    fn write(&self, collection: &Collection, numbers: impl IntoIterator<Item = u64>, version: u64) {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        for numbers in numbers.chunks(5_000) {
            let pending = collection.write(&self.batch(numbers, version), Ack::Durable).expect("a good batch");
            assert_eq!(pending.wait().expect("it is written").rows, numbers.len() as u64);
        }
    }

    fn delete(&self, collection: &Collection, numbers: impl IntoIterator<Item = u64>) {
        let ids = (self.ids)(&numbers.into_iter().collect::<Vec<_>>());
        let report = collection.delete(&ids, Ack::Durable).expect("good ids").wait().expect("it is done");
        assert_eq!(report.deleted, ids.len() as u64);
    }

    /// Checks that a collection has these rows and no others: in a scan, by id, in the figures, and after a search is refused or not.
    #[track_caller]
    fn check(&self, collection: &Collection, what: &str, expected: &[(u64, u64)]) {
        let parts: Vec<RecordBatch> =
            expected.chunk_by(|a, b| a.1 == b.1).map(|rows| self.batch(&numbers(rows), rows[0].1)).collect();
        let expected_rows = sorted(&concat_batches(&Arc::new(self.schema.clone()), &parts).expect("one schema"));
        let found: Vec<RecordBatch> =
            collection.scan(&[]).expect("all columns").map(|rows| rows.expect("an answer")).collect();
        let found = sorted(&concat_batches(collection.schema(), &found).expect("one schema"));
        assert_eq!(found.num_rows(), expected_rows.num_rows(), "{what}: rows of a scan");
        assert!(found.columns() == expected_rows.columns(), "{what}: a scan gives what was written");
        for rows in expected.chunk_by(|a, b| a.1 == b.1).flat_map(|rows| rows.chunks(3_000)) {
            let found = collection.get(&(self.ids)(&numbers(rows)), &[]).expect("an answer");
            assert!(found.columns() == self.batch(&numbers(rows), rows[0].1).columns(), "{what}: rows by id");
        }
        let status = collection.wait_indexed(Duration::from_secs(60)).expect("an answer");
        assert!(status.done, "{what}: {status:?}");
        assert_eq!(status.rows, expected.len() as u64, "{what}");
    }

    /// Rows are written, replaced and deleted, before and after a snapshot; the server is stopped, killed, and started with other
    /// numbers of shards.
    fn check_all_the_way(&self, rows: u64) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = Server::start(directory.path(), 2);
        let collection = self.create(&server.client(), "rows");
        self.write(&collection, 0..rows, 1);
        self.write(&collection, rows / 4..rows / 2, 2);
        self.delete(&collection, (0..rows).step_by(7));
        let version = |number| if (rows / 4..rows / 2).contains(&number) { 2 } else { 1 };
        let mut expected: Vec<(u64, u64)> =
            (0..rows).filter(|number| number % 7 != 0).map(|number| (number, version(number))).collect();
        expected.sort_unstable_by_key(|row| row.1);
        self.check(&collection, "written", &expected);
        server.client().snapshot_all().expect("it is written");
        // Behind the snapshot: what it holds is replaced and deleted, and more comes.
        self.write(&collection, rows..rows + 100, 3);
        self.write(&collection, [1, 2, 3], 3);
        self.delete(&collection, [4, 5]);
        expected.retain(|row| !(1..=5).contains(&row.0));
        expected.extend([1, 2, 3].into_iter().chain(rows..rows + 100).map(|number| (number, 3)));
        self.check(&collection, "with a snapshot", &expected);
        drop(collection);
        server.stop();
        self.check_restarted(directory.path(), &expected);
    }

    fn check_restarted(&self, data: &Path, expected: &[(u64, u64)]) {
        for (round, shards) in [2, 3, 1, 1].into_iter().enumerate() {
            let process = Process::start(data, shards);
            let collection = process.client().collection("rows").expect("it is there");
            self.check(&collection, &format!("start {round}, {shards} shards"), expected);
            process.kill();
        }
    }
}

fn numbers(rows: &[(u64, u64)]) -> Vec<u64> {
    rows.iter().map(|row| row.0).collect()
}

/// Rows in the order of their first column.
fn sorted(rows: &RecordBatch) -> RecordBatch {
    let order = sort_to_indices(rows.column(0), None, None).expect("ids have an order");
    take_record_batch(rows, &order).expect("rows that there are")
}

/// `id` u64, `version` u64, `text` utf8: nothing to search for.
fn plain() -> Rows {
    let schema = Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("version", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
    ]);
    let columns = |numbers: &[u64], version: u64| -> Vec<ArrayRef> {
        let text = |&number: &u64| (number % 5 != 0).then(|| format!("row {number}, version {version}"));
        vec![
            Arc::new(UInt64Array::from(numbers.to_vec())),
            Arc::new(Int64Array::from(vec![version as i64; numbers.len()])),
            Arc::new(numbers.iter().map(text).collect::<StringArray>()),
        ]
    };
    Rows { schema, columns, ids: |numbers| Ids::U64(numbers.to_vec()) }
}

/// As [`plain`], with ids of i64, half of them negative.
fn signed() -> Rows {
    fn id(number: u64) -> i64 {
        number as i64 * 3 - 9_000
    }
    let Rows { schema, .. } = plain();
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields[0] = Arc::new(Field::new("id", DataType::Int64, false));
    let columns = |numbers: &[u64], version: u64| {
        let mut columns = (plain().columns)(numbers, version);
        columns[0] = Arc::new(numbers.iter().map(|&number| id(number)).collect::<Int64Array>());
        columns
    };
    let ids = |numbers: &[u64]| Ids::I64(numbers.iter().map(|&number| id(number)).collect());
    Rows { schema: Schema::new(fields), columns, ids }
}

#[test]
fn rows_with_signed_ids() {
    signed().check_all_the_way(6_000);
}

/// `id` utf8, `more` JSON.
fn json() -> Rows {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("more", DataType::Utf8, true).with_metadata([(TYPE_KEY, "json")]),
    ]);
    let columns = |numbers: &[u64], version: u64| -> Vec<ArrayRef> {
        let text = |number: &u64| {
            (!number.is_multiple_of(3)).then(|| format!("{{\"größe\": [{number}, {{\"v\": {version}}}]}}"))
        };
        let ids = numbers.iter().map(|number| format!("{number:06}"));
        vec![Arc::new(StringArray::from_iter_values(ids)), Arc::new(numbers.iter().map(text).collect::<StringArray>())]
    };
    let ids = |numbers: &[u64]| Ids::Utf8(numbers.iter().map(|number| format!("{number:06}")).collect());
    Rows { schema, columns, ids }
}

#[test]
fn rows_with_json() {
    json().check_all_the_way(5_000);
}

/// One text that is no JSON, and nothing of its batch is written: not where the row lives, nor on any other shard.
#[test]
fn a_batch_with_a_text_that_is_no_json_is_refused_whole() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 3);
    let client = server.client();
    let rows = json();
    let collection = rows.create(&client, "rows");
    rows.write(&collection, 0..100, 1);
    let good = rows.batch(&(0..200).collect::<Vec<_>>(), 2);
    let texts = good["more"].as_string::<i32>().iter().enumerate();
    let texts: StringArray = texts.map(|(row, text)| if row == 149 { Some("{\"open\": ") } else { text }).collect();
    let bad = RecordBatch::try_new(good.schema(), vec![good.column(0).clone(), Arc::new(texts)]).expect("columns");
    let refused = collection.write(&bad, Ack::Durable).err().expect("the client looks");
    assert!(refused.to_string().contains("column `more`, row 149"), "{refused}");
    let number = client.describe("rows").expect("it is there").id;
    let message = engine::batch::encode(&bad).expect("Arrow can encode it");
    for shard in 0..3 {
        let mut raw = Raw::greeted_by(server.address(), shard);
        let reply = raw.write(number, collection.fingerprint(), &message);
        reply.expect_refusal("no JSON", Status::MalformedColumn, &["`more`", "row 149", "JSON"]);
    }
    rows.check(&collection, "nothing was written", &(0..100).map(|number| (number, 1)).collect::<Vec<_>>());
    drop(collection);
    server.stop();
    rows.check_restarted(directory.path(), &(0..100).map(|number| (number, 1)).collect::<Vec<_>>());
}

/// `id` u64, `tags` list of utf8 with nulls, `names` list of utf8 without, `vector` f32 × 8.
fn tagged() -> Rows {
    let texts = || DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let item = || Arc::new(Field::new("item", DataType::Float32, true));
    let schema = Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("tags", texts(), true),
        Field::new("names", texts(), false),
        Field::new("vector", DataType::FixedSizeList(item(), 8), false),
    ]);
    let columns = |numbers: &[u64], version: u64| -> Vec<ArrayRef> {
        let (mut tags, mut names) = (ListBuilder::new(StringBuilder::new()), ListBuilder::new(StringBuilder::new()));
        let mut values = Vec::new();
        for &number in numbers {
            let mut random = Random::new(number << 8 | version);
            let texts = |lists: &mut ListBuilder<StringBuilder>, random: &mut Random| {
                for _ in 0..random.below(5) {
                    let long = if random.below(50) == 0 { 300 } else { 1 };
                    lists.values().append_value(format!("größe {}", random.below(100)).repeat(long));
                }
            };
            let is_null = random.below(4) == 0;
            if !is_null {
                texts(&mut tags, &mut random);
            }
            tags.append(!is_null);
            texts(&mut names, &mut random);
            names.append(true);
            values.extend((0..8).map(|_| random.unit()));
        }
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let vectors = FixedSizeListArray::new(item, 8, Arc::new(Float32Array::from(values)), None);
        vec![
            Arc::new(UInt64Array::from(numbers.to_vec())),
            Arc::new(tags.finish()),
            Arc::new(names.finish()),
            Arc::new(vectors),
        ]
    };
    Rows { schema, columns, ids: |numbers| Ids::U64(numbers.to_vec()) }
}

#[test]
fn rows_with_lists_of_text() {
    tagged().check_all_the_way(5_000);
}

#[test]
fn lists_come_with_what_is_found_and_survive_moves() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let (rows, count) = (tagged(), 4 * CHUNK_ROWS);
    let collection = rows.create(&client, "rows");
    rows.write(&collection, 0..count, 1);
    let query = rows.batch(&[77], 1);
    let values = query["vector"].as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
    let request =
        SearchRequest { queries: Queries::F32(&values), k: 1, columns: &["tags", "names"], ..Default::default() };
    let found = collection.search(&request).expect("a good request").wait().expect("an answer");
    assert_eq!(found.hits[0][0].id, Id::U64(77));
    let columns = found.columns.expect("columns were asked for");
    assert!(columns.columns() == &query.columns()[1..3]);
    // Chunks of which one row in four lives are emptied: their rows move.
    rows.delete(&collection, (0..count).filter(|number| number % 4 != 0));
    let moved = || {
        let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
        let shards = stats["shards"].as_array().expect("a list");
        shards.iter().map(|shard| shard["rows_moved"].as_u64().expect("a number")).sum::<u64>()
    };
    tests::wait_longer("rows were moved", || moved() >= 500);
    let left: Vec<(u64, u64)> = (0..count).step_by(4).map(|number| (number, 1)).collect();
    rows.check(&collection, "moved", &left);
    server.stop();
}

#[test]
fn rows_without_vectors() {
    plain().check_all_the_way(6_000);
}

#[test]
fn without_vectors_there_is_no_graph_and_no_search() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let rows = plain();
    let collection = rows.create(&client, "rows");
    // Rows that die are given back, though no graph says when.
    for version in 0..6 {
        rows.write(&collection, 0..3 * CHUNK_ROWS, version);
    }
    let status = collection.index_status().expect("an answer");
    assert!(status.done, "there is nothing to wait for: {status:?}");
    tests::wait_until("the room of replaced rows is free", || {
        client.describe("rows").expect("it is there").deleted < 3 * CHUNK_ROWS
    });
    let filter = r#"{"and": [{"column": "version", "=": 5}, {"column": "id", "<": 10}]}"#;
    let found = collection.scan(&["id"]).expect("a column of it").with_filter(filter);
    let mut ids: Vec<u64> =
        found.flat_map(|rows| rows.expect("an answer")["id"].as_primitive::<UInt64Type>().values().to_vec()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..10).collect::<Vec<_>>());

    let request = SearchRequest { queries: Queries::F32(&[1.0]), ..Default::default() };
    let refused = collection.search(&request).err().expect("there is nothing to search");
    assert!(refused.to_string().contains("no vector column"), "{refused}");
    let search = Search {
        column: 1,
        kind: kernels::ElementKind::F32,
        exact: false,
        k: 1,
        ef: 0,
        queries: 1,
        dimension: 1,
        columns: Columns::NONE,
        vectors: &[0; 4],
        filter: &[],
        options: &[],
    };
    let mut body = Vec::new();
    search.encode(&mut body);
    let number = client.describe("rows").expect("it is there").id;
    let mut raw = Raw::greeted(server.address());
    let reply = raw.request(Opcode::Search, number, &body);
    reply.expect_refusal("a search", Status::InvalidSearch, &["no vector column"]);
    let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
    assert_eq!(stats["collections"][0]["has_graph"], false);
    server.stop();
}

/// `id` u64, and three columns of the same vectors, each with an index of its own.
fn indexed() -> Rows {
    fn metadata(of: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
        of.iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .chain([(METRIC_KEY.into(), "l2".into())])
            .collect()
    }
    let vector = |name: &str, of: &[(&str, &str)]| {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        Field::new(name, DataType::FixedSizeList(item, 8), false).with_metadata(metadata(of))
    };
    let schema = Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        vector("usual", &[]),
        vector("small", &[(M_KEY, "4"), (EF_CONSTRUCTION_KEY, "16")]),
        vector("flat", &[(INDEX_KEY, "flat")]),
    ]);
    let columns = |numbers: &[u64], version: u64| -> Vec<ArrayRef> {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let values = numbers.iter().flat_map(|&number| {
            let mut random = Random::new(number * 31 + version);
            (0..8).map(move |_| random.below(10_000) as f32)
        });
        let vectors = FixedSizeListArray::new(item, 8, Arc::new(values.collect::<Float32Array>()), None);
        let vectors: ArrayRef = Arc::new(vectors);
        vec![Arc::new(UInt64Array::from(numbers.to_vec())), vectors.clone(), vectors.clone(), vectors]
    };
    Rows { schema, columns, ids: |numbers| Ids::U64(numbers.to_vec()) }
}

#[test]
fn rows_with_an_index_of_each_kind() {
    indexed().check_all_the_way(6_000);
}

#[test]
fn a_vector_column_has_the_index_that_it_asks_for() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let rows = indexed();
    let (count, queries) = (6_000, 50);
    let numbers: Vec<u64> = (0..count).collect();
    let server = Server::start(directory.path(), 2);
    rows.write(&rows.create(&server.client(), "rows"), numbers.iter().copied(), 1);
    let check = |server: &Server, what: &str| {
        let client = server.client();
        let collection = client.collection("rows").expect("it is there");
        assert!(collection.wait_indexed(Duration::from_secs(60)).expect("an answer").done, "{what}");
        let written = rows.batch(&numbers[..queries], 1);
        let vectors = written["flat"].as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
        let found = |column: &'static str, exact: bool| {
            let (k, ef, explain) = (10, Some(16), true);
            let queries = Queries::F32(&vectors);
            let request = SearchRequest { column: Some(column), queries, k, ef, exact, explain, ..Default::default() };
            let reply = collection.search(&request).expect("a good request").wait().expect("an answer");
            let report: serde_json::Value = serde_json::from_str(&reply.report.expect("asked for")).expect("JSON");
            let ids: Vec<Vec<Id>> =
                reply.hits.into_iter().map(|hits| hits.into_iter().map(|hit| hit.id).collect()).collect();
            (ids, report["explain"]["plan"].as_str().expect("a name").to_owned())
        };
        let (nearest, _) = found("flat", true);
        let recall = |ids: &[Vec<Id>]| {
            let hits =
                ids.iter().zip(&nearest).map(|(ids, nearest)| ids.iter().filter(|id| nearest.contains(id)).count());
            hits.sum::<usize>() as f64 / (10 * queries) as f64
        };
        let [usual, small, flat] = ["usual", "small", "flat"].map(|column| found(column, false));
        assert_eq!([&*usual.1, &small.1, &flat.1], ["graph", "graph", "scan"], "{what}");
        let recalls = [&usual, &small, &flat].map(|found| recall(&found.0));
        println!("{what}: {recalls:?}");
        assert!(recalls[2] == 1.0 && recalls[0] > 0.9, "{what}: {recalls:?}");
        assert!(recalls[1] < recalls[0], "{what}: few links find less: {recalls:?}");
        let described = client.describe("rows").expect("it is there").schema.expect("it can be read");
        assert_eq!(described.field(2).metadata()[M_KEY], "4", "{what}");
        assert_eq!(described.field(3).metadata()[INDEX_KEY], "flat", "{what}");
        let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
        let of_columns = stats["collections"][0]["vectors"].as_array().expect("a list");
        let kinds: Vec<_> = of_columns.iter().map(|column| column["index"].as_str().expect("a name")).collect();
        assert_eq!(kinds, ["hnsw", "hnsw", "flat"], "{what}");
    };
    check(&server, "as it was made");
    server.client().snapshot_all().expect("a snapshot");
    server.stop();
    let server = Server::start(directory.path(), 2);
    check(&server, "from a snapshot");

    let mut fields: Vec<_> = rows.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    let few = [(METRIC_KEY, "l2"), (M_KEY, "20"), (EF_CONSTRUCTION_KEY, "19")];
    fields[1] = fields[1].clone().with_metadata(few);
    let refused = server.client().create_collection("other", &Schema::new(fields), CollectionOptions::default());
    let refused = refused.err().expect("fewer candidates than links").to_string();
    assert!(refused.contains("ef_construction"), "{refused}");
    assert!(server.client().collection("other").is_err());
    server.stop();
}

/// `id` u64, `version` i64, `text` utf8, `vector` f32 × 8, and with `more` columns that are added later: `extra` i64, `note` utf8, `tags` list
/// of utf8, `flag` bool.
fn growing(more: bool) -> Rows {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let mut fields: Vec<_> = plain().schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("vector", DataType::FixedSizeList(item, 8), false));
    if more {
        fields.extend(added());
    }
    let base = |numbers: &[u64], version: u64| -> Vec<ArrayRef> {
        let mut columns = (plain().columns)(numbers, version);
        columns.extend((tagged().columns)(numbers, version).pop());
        columns
    };
    let whole = |numbers: &[u64], version: u64| -> Vec<ArrayRef> {
        let mut columns = (growing(false).columns)(numbers, version);
        let tags = (tagged().columns)(numbers, version)[1].clone();
        let note = |number: &u64| (!number.is_multiple_of(3)).then(|| format!("note {number} of {version}"));
        columns.push(Arc::new(
            numbers.iter().map(|&number| (number % 4 != 0).then_some(number as i64)).collect::<Int64Array>(),
        ));
        columns.push(Arc::new(numbers.iter().map(note).collect::<StringArray>()));
        columns.push(tags);
        columns.push(Arc::new(numbers.iter().map(|number| Some(number % 2 == 0)).collect::<BooleanArray>()));
        columns
    };
    Rows {
        schema: Schema::new(fields),
        columns: if more { whole } else { base },
        ids: |numbers| Ids::U64(numbers.to_vec()),
    }
}

fn added() -> Vec<Field> {
    let texts = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    vec![
        Field::new("extra", DataType::Int64, true),
        Field::new("note", DataType::Utf8, true),
        Field::new("tags", texts, true),
        Field::new("flag", DataType::Boolean, true),
    ]
}

/// Checks that rows have what was written to them: whole, or null in the columns that were added. Each is (number, version, whole).
#[track_caller]
fn check_grown(collection: &Collection, what: &str, expected: &BTreeMap<u64, (u64, bool)>) {
    let found: Vec<RecordBatch> =
        collection.scan(&[]).expect("all columns").map(|rows| rows.expect("an answer")).collect();
    let found = sorted(&concat_batches(collection.schema(), &found).expect("one schema"));
    let numbers: Vec<u64> = expected.keys().copied().collect();
    assert_eq!(found["id"].as_primitive::<UInt64Type>().values()[..], numbers[..], "{what}: the rows");
    let rows = growing(true);
    let parts = expected.iter().collect::<Vec<_>>();
    let parts: Vec<RecordBatch> = parts
        .chunk_by(|a, b| a.1 == b.1)
        .map(|some| {
            let numbers: Vec<u64> = some.iter().map(|row| *row.0).collect();
            let (version, whole) = *some[0].1;
            let mut columns = rows.batch(&numbers, version).columns().to_vec();
            if !whole {
                columns[4..].iter_mut().for_each(|column| *column = new_null_array(column.data_type(), numbers.len()));
            }
            RecordBatch::try_new(Arc::new(rows.schema.clone()), columns).expect("columns of the schema")
        })
        .collect();
    let parts = concat_batches(&Arc::new(rows.schema.clone()), &parts).expect("one schema");
    for (column, (found, wanted)) in found.columns().iter().zip(parts.columns()).enumerate() {
        assert!(found == wanted, "{what}: column {column}");
    }
    for some in numbers.chunks(4_000) {
        let by_id = collection.get(&Ids::U64(some.to_vec()), &["note", "id"]).expect("an answer");
        assert_eq!(by_id.num_rows(), some.len(), "{what}: rows by id");
    }
}

/// Tells threads that it is over.
struct EndAtDrop<'a>(&'a AtomicBool);

impl Drop for EndAtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Writes and searches go on over a handle from before, and over a new one, while columns are added; after every kind of start all is
/// as it was written.
#[test]
fn columns_are_added_to_a_collection_in_use() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let process = Process::start(directory.path(), 2);
    let client = process.client();
    let (base, whole) = (growing(false), growing(true));
    let old = base.create(&client, "rows");
    base.write(&old, 0..9_000, 1);
    let mut expected: BTreeMap<u64, (u64, bool)> = (0..9_000).map(|number| (number, (1, false))).collect();
    let over = AtomicBool::new(false);
    let grown = std::thread::scope(|scope| {
        let (over, old, base) = (&over, &old, &base);
        let writer = scope.spawn(move || {
            let mut version = 1;
            while !over.load(Ordering::Acquire) {
                version += 1;
                base.write(old, 20_000..20_500, version);
            }
            version
        });
        let searcher = scope.spawn(move || {
            let query = base.batch(&[77], 1);
            let values = query["vector"].as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
            let queries = Queries::F32(&values);
            while !over.load(Ordering::Acquire) {
                let request = SearchRequest { queries, k: 1, columns: &["text"], ..Default::default() };
                let found = old.search(&request).expect("a good request").wait().expect("an answer");
                assert_eq!(found.hits[0][0].id, Id::U64(77));
            }
        });
        // Also where something is not as it should be: the threads would go on for ever.
        let end = EndAtDrop(over);
        let one = client.add_columns("rows", &added()[..1]).expect("a column more");
        let grown = client.add_columns("rows", &added()[1..]).expect("columns more");
        assert_eq!(grown.schema().fields().len(), 8);
        assert_eq!(one.get(&Ids::U64(vec![5]), &[]).expect("an answer").num_columns(), 5, "a handle from between");
        whole.write(&grown, 5_000..6_000, 2);
        whole.write(&grown, 30_000..30_050, 1);
        // What the old handle replaces is null again.
        base.write(old, 5_500..5_600, 3);
        let same = client.alter_collection("rows", &whole.schema).expect("nothing new is no error");
        assert_eq!(same.fingerprint(), grown.fingerprint());
        std::thread::sleep(Duration::from_millis(50));
        drop(end);
        let version = writer.join().expect("every write was taken");
        searcher.join().expect("every search was answered");
        expected.extend((20_000..20_500).map(|number| (number, (version, false))));
        grown
    });
    expected.extend((5_000..6_000).map(|number| (number, (2, true))));
    expected.extend((5_500..5_600).map(|number| (number, (3, false))));
    expected.extend((30_000..30_050).map(|number| (number, (1, true))));
    check_grown(&grown, "in use", &expected);
    let filter = r#"{"and": [{"column": "extra", "is_null": false}, {"column": "flag", "=": true}]}"#;
    let found = grown.scan(&["id"]).expect("a column").with_filter(filter);
    let found: usize = found.map(|rows| rows.expect("an answer").num_rows()).sum();
    let passes = |(number, (_, whole)): (&u64, &(u64, bool))| *whole && number % 4 != 0 && number % 2 == 0;
    assert_eq!(found, expected.iter().filter(|row| passes(*row)).count());
    refuse_other_changes(&client, &grown);
    let old_fingerprint = old.fingerprint();
    process.kill();

    for round in 0..2 {
        let process = Process::start(directory.path(), 2);
        let client = process.client();
        let collection = client.collection("rows").expect("it is there");
        check_grown(&collection, &format!("start {round}"), &expected);
        // A client that knows the first schema alone, and nothing of shards.
        let number = 40_000 + round as u64;
        let message = engine::batch::encode(&base.batch(&[number, 5_000], 9)).expect("encoded");
        let mut raw = Raw::greeted(process.address());
        raw.write(client.describe("rows").expect("it is there").id, old_fingerprint, &message).expect_done("old rows");
        whole.write(&collection, [100 + round as u64], 9);
        expected.extend([(number, (9, false)), (5_000, (9, false)), (100 + round as u64, (9, true))]);
        if round == 1 {
            client.snapshot_all().expect("it is written");
            let grown = client.add_columns("rows", &[Field::new("last", DataType::Float32, true)]).expect("one more");
            let rows = grown.get(&Ids::U64(vec![100]), &["last"]).expect("an answer");
            assert_eq!(rows.column(0).null_count(), 1);
        } else {
            check_grown(&collection, &format!("after start {round}"), &expected);
        }
        if round == 0 {
            process.terminate();
        } else {
            process.kill();
        }
    }
    let process = Process::start(directory.path(), 3);
    let collection = process.client().collection("rows").expect("it is there");
    assert_eq!(collection.schema().fields().len(), 9);
    let rows = collection.get(&Ids::U64((0..9_000).collect()), &["last"]).expect("an answer");
    assert_eq!((rows.num_rows(), rows.column(0).null_count()), (9_000, 9_000));
}

/// What is not an addition is refused with the column's name, and nothing has changed.
fn refuse_other_changes(client: &Client, collection: &Collection) {
    let fields: Vec<Field> = collection.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let with = |index: usize, field: Field| {
        let mut fields = fields.clone();
        fields[index] = field;
        Schema::new(fields)
    };
    let and = |field: Field| Schema::new([fields.clone(), vec![field]].concat());
    for (what, schema, column) in [
        ("a column less", Schema::new(fields[..7].to_vec()), "`flag`"),
        ("another type", with(2, Field::new("text", DataType::Int8, true)), "`text`"),
        ("another name", with(2, Field::new("words", DataType::Utf8, true)), "`text`"),
        ("a column that is not null", and(Field::new("full", DataType::Int8, false)), "`full`"),
        ("a vector", and(fields[3].clone().with_name("second")), "`second`"),
    ] {
        let refused = client.alter_collection("rows", &schema).err().expect(what);
        assert_eq!(refused.status(), Some(Status::InvalidSchema), "{what}: {refused}");
        assert!(refused.to_string().contains(column), "{what}: {refused}");
    }
    let unknown = client.alter_collection("nothing", &Schema::new(fields)).err().expect("no such collection");
    assert_eq!(unknown.status(), Some(Status::UnknownCollection));
    assert_eq!(client.describe("rows").expect("it is there").fingerprint, collection.fingerprint());
}

/// A batch for a schema that the collection never had is refused before it is looked at, and nothing of it is written.
#[test]
fn a_batch_for_another_schema_writes_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let rows = plain();
    let collection = rows.create(&client, "rows");
    rows.write(&collection, 0..100, 1);
    let info = client.describe("rows").expect("it is there");
    let other = engine::batch::encode(&signed().batch(&[1, 2, 3], 2)).expect("encoded");
    let same = engine::batch::encode(&rows.batch(&[1, 2, 3], 2)).expect("encoded");
    let wal_bytes = || {
        let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
        stats["shards"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|shard| shard["filled_bytes"].as_u64())
            .collect::<Vec<_>>()
    };
    let before = wal_bytes();
    for shard in 0..2 {
        let mut raw = Raw::greeted_by(server.address(), shard);
        for (message, fingerprint) in [(&other, info.fingerprint ^ 1), (&same, 0), (&same, info.fingerprint ^ 1)] {
            let reply = raw.write(info.id, fingerprint, message);
            reply.expect_refusal("another schema", Status::SchemaMismatch, &[&format!("{:016x}", info.fingerprint)]);
        }
    }
    assert_eq!(wal_bytes(), before, "nothing was copied");
    let expected: Vec<(u64, u64)> = (0..100).map(|number| (number, 1)).collect();
    rows.check(&collection, "nothing was written", &expected);
    drop(collection);
    server.stop();
    rows.check_restarted(directory.path(), &expected);
}
