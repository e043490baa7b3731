//! Rows that look like embeddings: directions that gather around centres, so that near and far mean something. The same seed
//! gives the same rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeListArray, Float16Array, Float32Array, Int8Array, Int32Array, RecordBatch, UInt8Array,
    UInt16Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use half::{bf16, f16};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::sources::{ELEMENT, ElementType, ID_NAME, METRIC, Metric, ROLE, VECTOR_NAME};

/// Rows that share a centre, about.
const ROWS_PER_CENTRE: u64 = 100;
/// Weight of a row's own part beside its centre's.
const SPREAD: f32 = 0.7;

/// Values in -2..2 as elements; integers are scaled to use their range, or a million steps of it.
fn elements(element: ElementType, values: &[f32]) -> ArrayRef {
    let each = values.iter().copied();
    match element {
        ElementType::F32 => Arc::new(Float32Array::from(values.to_vec())),
        ElementType::F16 => Arc::new(Float16Array::from_iter_values(each.map(f16::from_f32))),
        ElementType::Bf16 => Arc::new(UInt16Array::from_iter_values(each.map(|value| bf16::from_f32(value).to_bits()))),
        ElementType::I8 => Arc::new(Int8Array::from_iter_values(each.map(|value| (value * 60.0) as i8))),
        ElementType::U8 => Arc::new(UInt8Array::from_iter_values(each.map(|value| (value * 60.0 + 128.0) as u8))),
        ElementType::I32 => Arc::new(Int32Array::from_iter_values(each.map(|value| (value * 1e6) as i32))),
    }
}

/// What the rows are.
#[derive(Debug, Clone, Copy)]
pub struct Data {
    /// Elements of a vector.
    pub dimension: usize,
    /// Their type.
    pub element: ElementType,
    /// How nearness is measured.
    pub metric: Metric,
    /// Rows in all.
    pub rows: u64,
    /// Seed of the centres.
    pub seed: u64,
}

impl Data {
    /// Schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        let item = Arc::new(Field::new("item", self.element.data_type(), false));
        let vector = Field::new(VECTOR_NAME, DataType::FixedSizeList(item, self.dimension as i32), false);
        let metadata = [(ROLE, "vector"), (METRIC, self.metric.name()), (ELEMENT, self.element.name())];
        let vector = vector.with_metadata(metadata);
        Arc::new(Schema::new(vec![Field::new(ID_NAME, DataType::UInt64, false).with_metadata([(ROLE, "id")]), vector]))
    }

    /// Rows `first` to `first + rows`, whose ids are their numbers.
    pub fn batch(&self, first: u64, rows: usize) -> RecordBatch {
        let ids = UInt64Array::from_iter_values(first..first + rows as u64);
        let mut values = Vec::with_capacity(rows * self.dimension);
        for row in first..first + rows as u64 {
            self.push_vector(row, &mut values);
        }
        let schema = self.schema();
        let DataType::FixedSizeList(item, length) = schema.field(1).data_type() else { unreachable!("made above") };
        let vectors = FixedSizeListArray::new(item.clone(), *length, elements(self.element, &values), None);
        RecordBatch::try_new(schema, vec![Arc::new(ids), Arc::new(vectors)]).expect("the columns fit the schema")
    }

    /// Elements in -2..2, those of the centre and the row's own.
    fn push_vector(&self, row: u64, values: &mut Vec<f32>) {
        let centres = self.rows.div_ceil(ROWS_PER_CENTRE).max(1);
        let mut own = SmallRng::seed_from_u64(self.seed ^ row.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let centre = own.random_range(0..centres);
        let mut shared = SmallRng::seed_from_u64(self.seed.rotate_left(32) ^ centre);
        let element = |rng: &mut SmallRng| rng.random::<f32>() * 2.0 - 1.0;
        values.extend((0..self.dimension).map(|_| element(&mut shared) + SPREAD * element(&mut own)));
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Float32Type;

    use super::*;

    fn data(element: ElementType) -> Data {
        Data { dimension: 24, element, metric: Metric::Cosine, rows: 1_000, seed: 7 }
    }

    #[test]
    fn the_same_rows_come_again_whatever_the_batches() {
        let data = data(ElementType::F32);
        let whole = data.batch(0, 100);
        assert_eq!(whole.slice(40, 60), data.batch(40, 60));
        let other = Data { seed: 8, ..data }.batch(0, 100);
        assert_ne!(whole.column(1), other.column(1));
        let vectors = whole.column(1).as_fixed_size_list().values().as_primitive::<Float32Type>();
        assert!(vectors.values().iter().all(|value| value.abs() < 2.0));
    }

    #[test]
    fn every_element_type_is_made() {
        for element in ElementType::ALL {
            let batch = data(element).batch(3, 5);
            assert_eq!(batch.num_rows(), 5);
            assert!(batch.schema().field(1).data_type().to_string().contains("24"), "{}", element.name());
        }
    }
}
