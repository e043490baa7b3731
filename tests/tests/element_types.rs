//! Every element type end to end: written, searched by scan and by graph, read back bit for bit, and all of it again after a restart.
//!
//! The truth is a brute force of this file over the stored values, in integers where the values are integers.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeListArray, Float16Array, Float32Array, Int8Array, Int32Array,
    RecordBatch, UInt8Array, UInt16Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use half::{bf16, f16};
use net::client::{Ack, Collection, CollectionOptions, Id, Ids, Queries, SearchRequest};
use tests::random::Random;
use tests::server::Server;

const ROWS: usize = 2_000;
const DIMENSION: usize = 384;
/// Rows that share a centre.
const CENTRES: usize = 40;
const QUERIES: usize = 40;
const K: usize = 10;

/// The columns: name, which is the element type, and metric.
const COLUMNS: [(&str, &str); 7] = [
    ("f32", "cosine"),
    ("f16", "dot"),
    ("bf16", "cosine"),
    ("i8", "l2"),
    ("u8", "dot"),
    ("i32", "l2"),
    ("bits", "hamming"),
];

/// The element, in the column's type, of a number in -2..2; i32 take all of their range, so that no i64 holds a distance.
enum Stored {
    F32(f32),
    F16(f16),
    Bf16(bf16),
    I8(i8),
    U8(u8),
    I32(i32),
}

impl Stored {
    fn of(element: &str, value: f32) -> Stored {
        match element {
            "f32" => Stored::F32(value),
            "f16" => Stored::F16(f16::from_f32(value)),
            "bf16" => Stored::Bf16(bf16::from_f32(value)),
            "i8" => Stored::I8((value * 60.0) as i8),
            "u8" => Stored::U8((value * 60.0 + 128.0) as u8),
            "i32" => Stored::I32((f64::from(value) * 1e9) as i32),
            _ => unreachable!("a column of this file"),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Stored::F32(value) => value.to_le_bytes().to_vec(),
            Stored::F16(value) => value.to_le_bytes().to_vec(),
            Stored::Bf16(value) => value.to_le_bytes().to_vec(),
            Stored::I8(value) => value.to_le_bytes().to_vec(),
            Stored::U8(value) => vec![*value],
            Stored::I32(value) => value.to_le_bytes().to_vec(),
        }
    }

    fn value(&self) -> f64 {
        match self {
            Stored::F32(value) => f64::from(*value),
            Stored::F16(value) => value.to_f64(),
            Stored::Bf16(value) => value.to_f64(),
            Stored::I8(value) => f64::from(*value),
            Stored::U8(value) => f64::from(*value),
            Stored::I32(value) => f64::from(*value),
        }
    }
}

/// Vectors that gather around centres, in -2..2.
fn vectors(rows: usize, dimension: usize, random: &mut Random) -> Vec<Vec<f32>> {
    let centres: Vec<Vec<f32>> = (0..CENTRES).map(|_| (0..dimension).map(|_| random.unit()).collect()).collect();
    let vector = |row: usize, random: &mut Random| -> Vec<f32> {
        centres[row % CENTRES].iter().map(|centre| centre + 0.7 * random.unit()).collect()
    };
    (0..rows).map(|row| vector(row, random)).collect()
}

/// Bytes of a vector as it is stored and as it travels.
fn bytes_of(element: &str, vector: &[f32]) -> Vec<u8> {
    if element == "bits" {
        let byte = |eight: &[f32]| eight.iter().fold(0, |byte, value| byte << 1 | u8::from(*value > 0.0));
        return vector.chunks(8).map(byte).collect();
    }
    vector.iter().flat_map(|&value| Stored::of(element, value).bytes()).collect()
}

/// The stored values of a vector; of bits one by one.
fn values_of(element: &str, vector: &[f32]) -> Vec<f64> {
    if element == "bits" {
        return vector.iter().map(|value| f64::from(u8::from(*value > 0.0))).collect();
    }
    vector.iter().map(|&value| Stored::of(element, value).value()).collect()
}

/// The distance by its formula; l2 in integers, which it is of in this file.
fn distance(metric: &str, a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    match metric {
        "l2" => {
            let differences = a.iter().zip(b).map(|(a, b)| i128::from(*a as i64 - *b as i64));
            differences.map(|difference| difference * difference).sum::<i128>() as f64
        }
        "dot" => -dot(a, b),
        "cosine" => 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        "hamming" => a.iter().zip(b).filter(|(a, b)| a != b).count() as f64,
        _ => unreachable!("a metric of this file"),
    }
}

/// Queries with the distance of every row to each, in one column.
struct Truth<'a> {
    element: &'static str,
    metric: &'static str,
    queries: &'a [Vec<f32>],
    distances: Vec<Vec<f64>>,
}

impl<'a> Truth<'a> {
    fn new(&(element, metric): &(&'static str, &'static str), rows: &[Vec<f32>], queries: &'a [Vec<f32>]) -> Truth<'a> {
        let rows: Vec<Vec<f64>> = rows.iter().map(|row| values_of(element, row)).collect();
        let of_query = |query: &Vec<f32>| {
            let query = values_of(element, query);
            rows.iter().map(|row| distance(metric, &query, row)).collect()
        };
        Truth { element, metric, queries, distances: queries.iter().map(of_query).collect() }
    }
}

fn schema(columns: &[(&str, &str)], dimension: usize) -> Schema {
    let vector = |&(element, metric): &(&str, &str)| {
        let item = |data_type| DataType::FixedSizeList(Arc::new(Field::new("item", data_type, true)), dimension as i32);
        let data_type = match element {
            "f32" => item(DataType::Float32),
            "f16" => item(DataType::Float16),
            "bf16" => item(DataType::UInt16),
            "i8" => item(DataType::Int8),
            "u8" => item(DataType::UInt8),
            "i32" => item(DataType::Int32),
            _ => DataType::FixedSizeBinary(dimension as i32 / 8),
        };
        let metadata = [("broadhead.role", "vector"), ("broadhead.metric", metric), ("broadhead.element", element)];
        Field::new(element, data_type, false).with_metadata(metadata)
    };
    let id = Field::new("id", DataType::UInt64, false);
    Schema::new(std::iter::once(id).chain(columns.iter().map(vector)).collect::<Vec<_>>())
}

fn batch(schema: &Schema, vectors: &[Vec<f32>]) -> RecordBatch {
    let column = |field: &Arc<Field>| -> ArrayRef {
        let element = field.name().as_str();
        let stored = || vectors.iter().flatten().map(|&value| Stored::of(element, value));
        let items: ArrayRef = match (element, field.data_type()) {
            ("id", _) => return Arc::new(UInt64Array::from_iter_values(0..vectors.len() as u64)),
            ("bits", _) => {
                let rows = vectors.iter().map(|vector| bytes_of(element, vector));
                return Arc::new(FixedSizeBinaryArray::try_from_iter(rows).expect("rows of one length"));
            }
            ("f32", _) => Arc::new(Float32Array::from_iter_values(stored().map(|value| value.value() as f32))),
            ("f16", _) => Arc::new(Float16Array::from_iter_values(stored().map(|value| f16::from_f64(value.value())))),
            ("bf16", _) => Arc::new(UInt16Array::from_iter_values(
                stored().map(|value| u16::from_le_bytes(value.bytes().try_into().expect("two bytes"))),
            )),
            ("i8", _) => Arc::new(Int8Array::from_iter_values(stored().map(|value| value.value() as i8))),
            ("u8", _) => Arc::new(UInt8Array::from_iter_values(stored().map(|value| value.value() as u8))),
            _ => Arc::new(Int32Array::from_iter_values(stored().map(|value| value.value() as i32))),
        };
        let DataType::FixedSizeList(item, length) = field.data_type() else { unreachable!("a list") };
        Arc::new(FixedSizeListArray::new(item.clone(), *length, items, None))
    };
    let columns = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(Arc::new(schema.clone()), columns).expect("columns of the schema")
}

/// Share of the true nearest that a search finds; every distance that comes is held against the formula.
fn recall(collection: &Collection, truth: &Truth<'_>, ef: Option<usize>) -> f64 {
    let (element, metric) = (truth.element, truth.metric);
    let (mut found, k) = (0, K.min(truth.distances[0].len()));
    for (query, of_row) in truth.queries.iter().zip(&truth.distances) {
        let mut nearest = of_row.clone();
        nearest.sort_by(f64::total_cmp);
        let farthest = nearest[k - 1];
        // Distances are f32, and are sums of f32 for floats.
        let cancelled = if metric == "l2" { 0.0 } else { 1e-6 * query.len().max(10) as f64 };
        let allowed = |distance: f64| 1e-5 * distance.abs() + if metric == "cosine" { 1e-5 } else { cancelled };
        let bytes = bytes_of(element, query);
        let request = SearchRequest {
            column: Some(element),
            queries: Queries::Bytes(&bytes),
            k,
            ef,
            exact: ef.is_none(),
            ..Default::default()
        };
        let reply = collection.search(&request).expect("a good request").wait().expect("an answer");
        assert_eq!(reply.hits[0].len(), k);
        for hit in &reply.hits[0] {
            let Id::U64(id) = hit.id else { panic!("the ids are numbers") };
            let (got, want) = (f64::from(hit.distance), of_row[id as usize]);
            assert!((got - want).abs() <= allowed(want), "{element} {metric}, row {id}: {got} and not {want}");
            found += usize::from(want <= farthest + allowed(farthest));
        }
    }
    found as f64 / (truth.queries.len() * k) as f64
}

/// All rows come back with the bits that were written.
fn check_bits(collection: &Collection, written: &RecordBatch) {
    let names: Vec<&str> =
        COLUMNS.iter().map(|(name, _)| *name).filter(|name| written.column_by_name(name).is_some()).collect();
    let ids = Ids::U64((0..written.num_rows() as u64).collect());
    let read = collection.get(&ids, &names).expect("they are there");
    assert_eq!(read.num_rows(), written.num_rows());
    for name in names {
        let (got, want) = (&read[name], &written[name]);
        let is_same = match got.as_fixed_size_list_opt() {
            // The values, since NaN and −0.0 have bits too, as bytes.
            Some(lists) => {
                let bytes = |array: &ArrayRef| array.to_data().buffers()[0].as_slice().to_vec();
                bytes(lists.values()) == bytes(want.as_fixed_size_list().values())
            }
            None => got == want,
        };
        assert!(is_same, "{name} is not what was written");
    }
}

#[test]
fn every_element_type_is_stored_searched_and_recovered() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let schema = schema(&COLUMNS, DIMENSION);
    let mut all = vectors(ROWS + QUERIES, DIMENSION, &mut random);
    let queries = all.split_off(ROWS);
    let written = batch(&schema, &all);

    let mut server = Server::start(directory.path(), 2);
    let client = server.client();
    let collection = client.create_collection("types", &schema, CollectionOptions::default()).expect("a good schema");
    for start in (0..ROWS).step_by(500) {
        collection.write(&written.slice(start, 500), Ack::Durable).expect("a good batch").wait().expect("written");
    }
    let truths: Vec<Truth<'_>> = COLUMNS.iter().map(|column| Truth::new(column, &all, &queries)).collect();
    for life in ["first life", "after the restart"] {
        let collection = server.client().collection("types").expect("it is there");
        check_bits(&collection, &written);
        let status = collection.wait_indexed(Duration::from_secs(120)).expect("an answer");
        assert!(status.done, "{status:?}");
        for truth in &truths {
            let exact = recall(&collection, truth, None);
            assert_eq!(exact, 1.0, "{}, {life}: an exact search misses rows", truth.element);
            let graph = recall(&collection, truth, Some(64));
            println!("{} {}, {life}: recall@{K} {graph:.4} at ef 64", truth.element, truth.metric);
            // Products of numbers that are all positive are greatest with the longest vectors, whatever their direction: a graph leads past
            // some groups then, in one run of a few dozen.
            let least = if (truth.element, truth.metric) == ("u8", "dot") { 0.85 } else { 0.95 };
            assert!(graph >= least, "{}, {life}: recall {graph}", truth.element);
        }
        server.stop();
        server = Server::start(directory.path(), 2);
    }
    server.stop();
}

#[test]
fn every_dimension_is_served() {
    let mut random = Random::from_environment();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    for dimension in [1, 7, 385, 8_192] {
        let columns = &COLUMNS[..6];
        let schema = schema(columns, dimension);
        let name = format!("of{dimension}");
        let collection = client.create_collection(&name, &schema, CollectionOptions::default()).expect("a good schema");
        let all = vectors(24, dimension, &mut random);
        let written = batch(&schema, &all);
        collection.write(&written, Ack::Durable).expect("a good batch").wait().expect("written");
        check_bits(&collection, &written);
        for column in columns {
            let truth = Truth::new(column, &all, &all[..3]);
            assert_eq!(recall(&collection, &truth, None), 1.0, "{column:?}, {dimension} elements");
        }
    }
    server.stop();
}

#[test]
fn what_has_no_distance_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 1);
    let client = server.client();
    let columns = [("bf16", "cosine"), ("i32", "cosine")];
    let schema = schema(&columns, 3);
    let collection = client.create_collection("types", &schema, CollectionOptions::default()).expect("a good schema");
    let refused = |vector: [f32; 3]| {
        let batch = batch(&schema, &[vec![1.0; 3], vector.to_vec()]);
        collection.write(&batch, Ack::Durable).expect("it is sent").wait().expect_err("refused").to_string()
    };
    // Below the smallest bf16 above zero, and below the smallest whole number of the i32.
    let zero = refused([1e-42, -0.0, 0.0]);
    assert!(zero.contains("`bf16`") && zero.contains("row 1"), "{zero}");
    let zero = refused([1e-10, 0.0, -1e-10]);
    assert!(zero.contains("`i32`") && zero.contains("row 1"), "{zero}");
    for not_finite in [f32::NAN, f32::INFINITY, f32::MAX] {
        let message = refused([1.0, not_finite, 1.0]);
        assert!(message.contains("`bf16`") && message.contains("row 1"), "{message}");
    }
    server.stop();
}
