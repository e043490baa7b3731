//! Rows whose content follows from their id and a version, so that what is stored can be checked without keeping it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Float32Type, Schema, UInt64Type};
use net::client::{Client, Collection, CollectionOptions, Hit, Id, Queries, SearchRequest};

use crate::random::Random;

/// Collection content: the version of each id.
pub type Content = BTreeMap<u64, u64>;

/// `id` u64, `version` u64, `text` utf8, `vector` f32 × dimension under l2.
pub fn schema(dimension: usize) -> Schema {
    schema_with_metric(dimension, "l2")
}

/// As [`schema`], with another metric.
pub fn schema_with_metric(dimension: usize, metric: &str) -> Schema {
    let metadata = [(engine::schema::METRIC_KEY.to_owned(), metric.to_owned())];
    Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("version", DataType::UInt64, false),
        Field::new("text", DataType::Utf8, true),
        Field::new("vector", list_of_f32(dimension), false).with_metadata(metadata),
    ])
}

fn list_of_f32(dimension: usize) -> DataType {
    let item = Field::new("item", DataType::Float32, true);
    DataType::FixedSizeList(Arc::new(item), dimension as i32)
}

/// Creates a collection of [`schema`].
pub fn create(client: &Client, name: &str, dimension: usize) -> Collection {
    client.create_collection(name, &schema(dimension), CollectionOptions::default()).expect("a good schema")
}

/// The vector of a version of an id: the same numbers every time, all different from those of other versions.
pub fn vector_of(id: u64, version: u64, dimension: usize) -> Vec<f32> {
    let mut random = Random::new(id.wrapping_mul(0x9fb2_1c65_1e98_df25) ^ version.rotate_left(32));
    (0..dimension).map(|_| random.unit()).collect()
}

/// The text of a version of an id; null for some.
pub fn text_of(id: u64, version: u64) -> Option<String> {
    (id % 7 != 3).then(|| format!("row {id}, version {version}"))
}

/// A batch with these versions of these ids.
pub fn batch(rows: &[(u64, u64)], dimension: usize) -> RecordBatch {
    let vectors = rows.iter().flat_map(|&(id, version)| vector_of(id, version, dimension)).collect();
    batch_with_vectors(rows, vectors, dimension)
}

/// As [`batch`], with vectors of the caller's choice, one behind the other.
pub fn batch_with_vectors(rows: &[(u64, u64)], vectors: Vec<f32>, dimension: usize) -> RecordBatch {
    let ids: UInt64Array = rows.iter().map(|row| row.0).collect();
    let versions: UInt64Array = rows.iter().map(|row| row.1).collect();
    let texts: StringArray = rows.iter().map(|&(id, version)| text_of(id, version)).collect();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors = FixedSizeListArray::new(item, dimension as i32, Arc::new(Float32Array::from(vectors)), None);
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(versions), Arc::new(texts), Arc::new(vectors)];
    RecordBatch::try_new(Arc::new(schema(dimension)), columns).expect("columns of the schema")
}

/// Everything that a collection holds.
///
/// # Panics
/// When an id comes twice, or a row is not whole: its text and vector must be those of its id and version.
pub fn content(collection: &Collection) -> Content {
    let mut content = Content::new();
    for rows in collection.scan(&[]).expect("columns of the schema") {
        for (id, version) in check_rows(&rows.expect("a scan of a server that runs")) {
            let before = content.insert(id, version);
            assert_eq!(before, None, "the scan brought id {id} twice");
        }
    }
    content
}

/// Checks that each row of a batch of [`schema`] is whole, and gives ids and versions.
pub fn check_rows(rows: &RecordBatch) -> Vec<(u64, u64)> {
    let ids = rows["id"].as_primitive::<UInt64Type>();
    let versions = rows["version"].as_primitive::<UInt64Type>();
    let texts = rows["text"].as_string::<i32>();
    let vectors = rows["vector"].as_fixed_size_list();
    let check = |row: usize| {
        let (id, version) = (ids.value(row), versions.value(row));
        let text = texts.is_valid(row).then(|| texts.value(row).to_owned());
        assert_eq!(text, text_of(id, version), "text of id {id}, version {version}");
        let vector = vectors.value(row);
        let vector = vector.as_primitive::<Float32Type>().values();
        assert_eq!(vector[..], vector_of(id, version, vector.len()), "vector of id {id}, version {version}");
        (id, version)
    };
    (0..rows.num_rows()).map(check).collect()
}

/// The nearest `k` of one query; `ef` none: exact.
pub fn search(collection: &Collection, query: &[f32], k: usize, ef: Option<usize>) -> Vec<Hit> {
    let request = SearchRequest { queries: Queries::F32(query), k, ef, exact: ef.is_none(), ..Default::default() };
    let reply = collection.search(&request).expect("a good request").wait().expect("an answer");
    assert_eq!(reply.hits.len(), 1, "one list of hits for one query");
    reply.hits.into_iter().next().expect("one")
}

/// Checks that a search for the vector of each of these rows finds it first: by exact scan, and by the graph.
pub fn check_searchable<'a>(
    collection: &Collection,
    rows: impl IntoIterator<Item = (&'a u64, &'a u64)>,
    dimension: usize,
) {
    for (&id, &version) in rows {
        for ef in [None, Some(100)] {
            let hits = search(collection, &vector_of(id, version, dimension), 1, ef);
            let first = hits.first().map(|hit| (hit.id.clone(), hit.distance));
            assert_eq!(first, Some((Id::U64(id), 0.0)), "search for id {id}, version {version}, ef {ef:?}");
        }
    }
}
