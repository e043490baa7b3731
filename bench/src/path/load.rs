//! The rows of the whole path: how they are sent, and what has to be found of them.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Float32Type, Metadata, Schema, SchemaRef, UInt64Type};
use net::client::{Ack, CollectionOptions, Hit, Id, Ids, PreparedWrite, Queries, SearchRequest};

use super::server::Server;
use crate::graph::{K, Vectors};

/// Name of the collection.
pub const COLLECTION: &str = "bench";
/// Rows that are looked for in a check.
pub const SAMPLE: usize = 64;
/// Rows of one write.
const BATCH_ROWS: usize = 4_096;
/// Cosine distance of a vector from itself, at most.
const SELF_DISTANCE: f32 = 1e-4;

/// Vectors whose ids are their places, as batches.
pub struct Load {
    vectors: Vectors,
    batches: Vec<RecordBatch>,
}

impl Load {
    /// Makes the batches.
    pub fn new(vectors: Vectors) -> Load {
        let schema = schema(vectors.dimension(), &[]);
        let starts = (0..vectors.len()).step_by(BATCH_ROWS);
        let batches = starts.map(|first| batch(&schema, &vectors, first)).collect();
        Load { vectors, batches }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.vectors.len()
    }

    /// Bytes of all vectors.
    pub fn bytes(&self) -> usize {
        std::mem::size_of_val(self.vectors.values())
    }

    /// The vectors.
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// The rows of some ids.
    pub fn rows_of(&self, ids: &[u64]) -> RecordBatch {
        let values: Vec<f32> = ids.iter().flat_map(|&id| self.vectors.get(id as usize)).copied().collect();
        batch_with(&self.batches[0].schema(), ids.to_vec(), values, self.vectors.dimension())
    }

    /// Makes the collection, whose vectors have this metadata besides their role and metric, and of each batch the bytes that go over
    /// the wire.
    pub fn prepare(&self, server: &Server, metadata: &[(&'static str, &'static str)]) -> Vec<PreparedWrite> {
        let schema = schema(self.vectors.dimension(), metadata);
        let collection = server.client().create_collection(COLLECTION, &schema, CollectionOptions::default());
        let collection = collection.expect("a collection");
        self.batches.iter().map(|batch| collection.prepare(batch).expect("a good batch")).collect()
    }

    /// Seconds from the first byte sent until the last row is acknowledged as durable.
    pub fn import(&self, server: &Server, writes: &[PreparedWrite]) -> f64 {
        let collection = server.collection();
        let started = Instant::now();
        let pending: Vec<_> =
            writes.iter().map(|write| collection.send(write, Ack::Durable).expect("a connection")).collect();
        let mut last = started;
        let mut rows = 0;
        for write in pending {
            let (report, at) = write.wait_timed().expect("an acknowledgement");
            assert_eq!(report.replaced, 0);
            rows += report.inserted;
            last = last.max(at);
        }
        assert_eq!(rows, self.rows() as u64);
        last.duration_since(started).as_secs_f64()
    }

    /// Checks that a sample of rows is found, the last one among them, by scan and by whatever index there is.
    pub fn check_searches(&self, server: &Server) {
        let collection = server.collection();
        let ids: Vec<usize> = self.sample(SAMPLE).collect();
        let queries: Vec<f32> = ids.iter().flat_map(|&id| self.vectors.get(id)).copied().collect();
        for exact in [true, false] {
            let request = SearchRequest { queries: Queries::F32(&queries), k: K, exact, ..Default::default() };
            let reply = collection.search(&request).expect("a connection").wait().expect("an answer");
            let found = ids.iter().zip(&reply.hits).filter(|(id, hits)| is_found(**id as u64, hits)).count();
            // The graph may miss a row; a scan may not.
            let needed = if exact { ids.len() } else { ids.len() - ids.len() / 16 };
            assert!(found >= needed, "{found} of {} rows were found, exact: {exact}", ids.len());
        }
    }

    /// Reads `count` rows by id and checks their vectors.
    pub fn check_rows(&self, server: &Server, count: usize) {
        let ids: Vec<u64> = self.sample(count).map(|id| id as u64).collect();
        let rows = server.collection().get(&Ids::U64(ids.clone()), &[]).expect("an answer");
        assert_eq!(rows.column_by_name("id").expect("asked for").as_primitive::<UInt64Type>().values(), &ids[..]);
        let vectors = rows.column_by_name("vector").expect("asked for").as_fixed_size_list();
        for (index, &id) in ids.iter().enumerate() {
            let vector = vectors.value(index);
            assert_eq!(vector.as_primitive::<Float32Type>().values(), self.vectors.get(id as usize), "row {id}");
        }
    }

    /// Rows spread over all, the last one among them.
    fn sample(&self, count: usize) -> impl Iterator<Item = usize> {
        let rows = self.rows();
        (1..=count).map(move |index| rows * index / count - 1)
    }
}

/// Rows of the same vector crowd each other out: then all that was found is as near as can be.
fn is_found(id: u64, hits: &[Hit]) -> bool {
    let is_itself = |hit: &Hit| hit.id == Id::U64(id) && hit.distance <= SELF_DISTANCE;
    hits.iter().any(is_itself) || hits.len() == K && hits[K - 1].distance <= SELF_DISTANCE
}

fn schema(dimension: usize, metadata: &[(&'static str, &'static str)]) -> SchemaRef {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let vector = Field::new("vector", DataType::FixedSizeList(item, dimension as i32), false);
    let own = [("broadhead.role", "vector"), ("broadhead.metric", "cosine")];
    let all: Metadata = own.iter().chain(metadata).copied().collect();
    let vector = vector.with_metadata(all);
    Arc::new(Schema::new(vec![Field::new("id", DataType::UInt64, false), vector]))
}

fn batch(schema: &SchemaRef, vectors: &Vectors, first: usize) -> RecordBatch {
    let end = vectors.len().min(first + BATCH_ROWS);
    let dimension = vectors.dimension();
    let values = vectors.values()[first * dimension..end * dimension].to_vec();
    batch_with(schema, (first as u64..end as u64).collect(), values, dimension)
}

fn batch_with(schema: &SchemaRef, ids: Vec<u64>, values: Vec<f32>, dimension: usize) -> RecordBatch {
    let DataType::FixedSizeList(item, _) = schema.field(1).data_type() else { unreachable!("made above") };
    let values = Float32Array::from(values);
    let list = FixedSizeListArray::new(item.clone(), dimension as i32, Arc::new(values), None);
    let columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(ids)), Arc::new(list)];
    RecordBatch::try_new(schema.clone(), columns).expect("the columns fit the schema")
}
