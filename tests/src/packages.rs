//! The real data of `tests/data`: Debian packages, and queries with their true neighbours.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float16Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Schema, UInt64Type};
use half::f16;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Elements of an embedding.
pub const DIMENSION: usize = 384;
/// Neighbours that the queries come with.
const NEIGHBORS: usize = 100;

/// Schema of the packages' collection: `id`, `name`, `title`, `installed_kib`, `embedding` (f16, cosine).
pub fn schema() -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("title", DataType::Utf8, true),
        Field::new("installed_kib", DataType::Int64, true),
        Field::new("embedding", DataType::FixedSizeList(item(), DIMENSION as i32), false),
    ])
}

/// The same, whose embeddings have this metadata.
pub fn schema_with(metadata: &[(&str, &str)]) -> Schema {
    let schema = schema();
    let with = |field: &Arc<Field>| {
        let field = field.as_ref().clone();
        let pairs = metadata.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        if field.name() == "embedding" { field.with_metadata(pairs.collect::<HashMap<_, _>>()) } else { field }
    };
    Schema::new(schema.fields().iter().map(with).collect::<Vec<_>>())
}

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float16, true))
}

/// The first `count` of the 10,000 packages, as one batch of [`schema`]. Package `i` has id `i`.
pub fn packages(count: usize) -> RecordBatch {
    let rows = read("debian-10k.parquet").slice(0, count);
    let embeddings = Float16Array::from(embeddings_of(&rows));
    let embeddings = FixedSizeListArray::new(item(), DIMENSION as i32, Arc::new(embeddings), None);
    let plain = ["id", "name", "title", "installed_kib"].map(|name| rows[name].clone());
    let columns: Vec<ArrayRef> = plain.into_iter().chain([Arc::new(embeddings) as ArrayRef]).collect();
    RecordBatch::try_new(Arc::new(schema()), columns).expect("columns of the schema")
}

/// Vectors to search for, with the truth among the 10,000.
pub struct Truth {
    /// Queries.
    pub queries: Vec<Vec<f16>>,
    /// Per query the ids of the nearest packages, nearest first.
    pub neighbors: Vec<Vec<u64>>,
    /// Their cosines.
    pub cosines: Vec<Vec<f32>>,
}

/// The 200 queries.
pub fn truth() -> Truth {
    let rows = read("debian-10k-queries.parquet");
    let lists = |name: &str| rows[name].as_fixed_size_list().values().clone();
    let (neighbors, cosines) = (lists("neighbors"), lists("cosine"));
    let neighbors = neighbors.as_primitive::<UInt64Type>().values().chunks(NEIGHBORS);
    let cosines = cosines.as_primitive::<Float32Type>().values().chunks(NEIGHBORS);
    Truth {
        queries: embeddings_of(&rows).chunks(DIMENSION).map(<[f16]>::to_vec).collect(),
        neighbors: neighbors.map(<[u64]>::to_vec).collect(),
        cosines: cosines.map(<[f32]>::to_vec).collect(),
    }
}

/// All embeddings of a batch, one behind the other.
pub fn embeddings_of(rows: &RecordBatch) -> Vec<f16> {
    let lists = rows["embedding"].as_fixed_size_list();
    let first = lists.value_offset_at(0);
    let values = lists.values().as_primitive::<Float16Type>().values();
    values[first..first + rows.num_rows() * DIMENSION].to_vec()
}

/// Vectors as they travel: little endian.
pub fn bytes_of(vector: &[f16]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn read(name: &str) -> RecordBatch {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> =
        builder.build().expect("a Parquet file").map(|batch| batch.expect("whole")).collect();
    concat_batches(&schema, &batches).expect("batches of one schema")
}
