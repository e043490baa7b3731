//! A collection from a first batch: what its columns are, where the batch does not say.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use engine::schema::{CODES_KEY, Codes, METRIC_KEY, ROLE_KEY, metric_name};
use kernels::Metric;

use super::{Client, Collection, CollectionOptions};
use crate::error::Result;

/// How a schema is inferred. What a field's metadata says goes before it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inference<'a> {
    /// Column of the ids; none for the one named `id`.
    pub id: Option<&'a str>,
    /// Metric of the vectors; none for cosine, or hamming of bits.
    pub metric: Option<Metric>,
    /// What the graphs of vectors that can have codes are traversed on; none for the server's choice.
    pub codes: Option<Codes>,
}

impl Inference<'_> {
    /// The schema of a collection for batches like this one: fixed size lists of numbers are vectors, fixed size binary is one of bits,
    /// and all other columns are data, null where the batch's field may be null.
    ///
    /// # Errors
    /// `Engine` with `UnknownColumn` where there is no id of that name; what cannot be served is told when the collection is created.
    pub fn schema(&self, batch: &RecordBatch) -> Result<ArrowSchema> {
        let schema = batch.schema();
        if let Some(id) = self.id {
            let unknown = |_| engine::Error::UnknownColumn { name: id.to_owned() };
            schema.index_of(id).map_err(unknown)?;
        }
        let fields: Vec<Field> = schema.fields().iter().map(|field| self.field(field)).collect();
        Ok(ArrowSchema::new_with_metadata(fields, schema.metadata().clone()))
    }

    fn field(&self, field: &Field) -> Field {
        let mut metadata: HashMap<String, String> = field.metadata().clone().into();
        let mut imply = |key: &str, value: &str| {
            metadata.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        };
        match field.data_type() {
            DataType::FixedSizeBinary(_) => imply(ROLE_KEY, "vector"),
            DataType::FixedSizeList(item, _) => {
                imply(ROLE_KEY, "vector");
                if let Some(metric) = self.metric {
                    imply(METRIC_KEY, metric_name(metric));
                }
                let can_have_codes = matches!(
                    item.data_type(),
                    DataType::Float32 | DataType::Float16 | DataType::UInt16 | DataType::Int32
                );
                if let Some(codes) = self.codes.filter(|_| can_have_codes) {
                    imply(CODES_KEY, codes.name());
                }
            }
            _ if self.id == Some(field.name()) => imply(ROLE_KEY, "id"),
            _ => {}
        }
        field.clone().with_metadata(metadata)
    }
}

impl Client {
    /// Makes a collection for batches like this one, and gives a handle on it. Nothing is written.
    ///
    /// # Errors
    /// As [`Inference::schema`] and [`Client::create_collection`].
    pub fn create_collection_for(
        &self,
        name: &str,
        batch: &RecordBatch,
        inference: &Inference<'_>,
        options: CollectionOptions,
    ) -> Result<Collection> {
        self.create_collection(name, &inference.schema(batch)?, options)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, StringArray};
    use engine::schema::Schema;

    use super::*;

    fn batch() -> RecordBatch {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let vectors = FixedSizeListArray::new(item, 2, Arc::new(Float32Array::from(vec![1.0, 2.0])), None);
        let bits = FixedSizeBinaryArray::try_from_iter([[7u8]].into_iter()).unwrap();
        RecordBatch::try_from_iter([
            ("key", Arc::new(StringArray::from(vec!["a"])) as ArrayRef),
            ("v", Arc::new(vectors)),
            ("b", Arc::new(bits)),
        ])
        .unwrap()
    }

    #[test]
    fn what_a_batch_does_not_say_is_inferred() {
        let inference = Inference { id: Some("key"), metric: Some(Metric::L2), codes: Some(Codes::Int8) };
        let schema = Schema::from_arrow(&inference.schema(&batch()).unwrap()).unwrap();
        assert_eq!(schema.id_column(), 0);
        let vectors = schema.vectors();
        assert_eq!((vectors[0].metric, vectors[0].codes), (Metric::L2, Codes::Int8));
        assert_eq!((vectors[1].metric, vectors[1].dimension), (Metric::Hamming, 8));
    }

    #[test]
    fn an_id_that_is_not_there_is_refused() {
        assert!(Inference { id: Some("no"), ..Inference::default() }.schema(&batch()).is_err());
        assert!(Schema::from_arrow(&Inference::default().schema(&batch()).unwrap()).is_err(), "nothing is named id");
    }
}
