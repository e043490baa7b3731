//! Rows that look like embeddings: directions that gather around centres, so that near and far mean something. The same seed
//! gives the same rows.
//!
//! A row is an id, the round in which it was written, and a vector. Id and round come first: they are what changes when prepared
//! rows are written again.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float16Array, Float32Array, Int8Array, Int32Array, RecordBatch,
    UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use half::{bf16, f16};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::sources::{self, ELEMENT, ID_NAME, METRIC, Metric, ROLE, VECTOR_NAME};

/// Column of the round.
pub const ROUND_NAME: &str = "round";
/// Place of the id in the schema.
pub const ID_COLUMN: usize = 0;
/// Place of the round.
pub const ROUND_COLUMN: usize = 1;

/// Rows that share a centre, about.
const ROWS_PER_CENTRE: u64 = 100;
/// Weight of a row's own part beside its centre's.
const SPREAD: f32 = 0.7;

/// Element type of the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ElementType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Signed bytes.
    I8,
    /// Unsigned bytes.
    U8,
    /// 16-bit floats with the range of 32-bit ones.
    Bf16,
    /// Signed 32-bit integers.
    I32,
    /// Bits, eight to a byte; the metric is hamming.
    Bits,
}

impl ElementType {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        self.item().map_or("bits", sources::ElementType::name)
    }

    /// The elements of a list; none where a vector is no list.
    fn item(self) -> Option<sources::ElementType> {
        Some(match self {
            ElementType::F32 => sources::ElementType::F32,
            ElementType::F16 => sources::ElementType::F16,
            ElementType::Bf16 => sources::ElementType::Bf16,
            ElementType::I8 => sources::ElementType::I8,
            ElementType::U8 => sources::ElementType::U8,
            ElementType::I32 => sources::ElementType::I32,
            ElementType::Bits => return None,
        })
    }

    /// Type of the column.
    fn column_type(self, dimension: usize) -> DataType {
        match self.item() {
            Some(item) => {
                DataType::FixedSizeList(Arc::new(Field::new("item", item.data_type(), false)), dimension as i32)
            }
            None => DataType::FixedSizeBinary((dimension / 8) as i32),
        }
    }

    /// Vectors, one behind the other, as a column.
    fn column(self, values: &[f32], dimension: usize) -> ArrayRef {
        match self.column_type(dimension) {
            DataType::FixedSizeList(item, length) => {
                Arc::new(FixedSizeListArray::new(item, length, self.elements(values), None))
            }
            DataType::FixedSizeBinary(bytes) => {
                let byte = |eight: &[f32]| (0..8).map(|bit| u8::from(eight[bit] > 0.0) << bit).sum::<u8>();
                let packed: Vec<u8> = values.chunks_exact(8).map(byte).collect();
                Arc::new(FixedSizeBinaryArray::new(bytes, Buffer::from_vec(packed), None))
            }
            other => unreachable!("{other} is no type of a vector"),
        }
    }

    /// Values in -2..2 as elements; integers are scaled to use their range, or a million steps of it.
    fn elements(self, values: &[f32]) -> ArrayRef {
        let each = values.iter().copied();
        match self {
            ElementType::F32 => Arc::new(Float32Array::from(values.to_vec())),
            ElementType::F16 => Arc::new(Float16Array::from_iter_values(each.map(f16::from_f32))),
            ElementType::Bf16 => {
                Arc::new(UInt16Array::from_iter_values(each.map(|value| bf16::from_f32(value).to_bits())))
            }
            ElementType::I8 => Arc::new(Int8Array::from_iter_values(each.map(|value| (value * 60.0) as i8))),
            ElementType::U8 => Arc::new(UInt8Array::from_iter_values(each.map(|value| (value * 60.0 + 128.0) as u8))),
            ElementType::I32 => Arc::new(Int32Array::from_iter_values(each.map(|value| (value * 1e6) as i32))),
            ElementType::Bits => unreachable!("bits are no list"),
        }
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
        let vector = Field::new(VECTOR_NAME, self.element.column_type(self.dimension), false);
        let vector =
            vector.with_metadata([(ROLE, "vector"), (METRIC, self.metric.name()), (ELEMENT, self.element.name())]);
        let id = Field::new(ID_NAME, DataType::UInt64, false).with_metadata([(ROLE, "id")]);
        Arc::new(Schema::new(vec![id, Field::new(ROUND_NAME, DataType::UInt32, false), vector]))
    }

    /// Rows of round 0 with these vectors.
    pub fn with_vectors(&self, first_id: u64, vectors: ArrayRef) -> RecordBatch {
        let rows = vectors.len();
        let ids = UInt64Array::from_iter_values(first_id..first_id + rows as u64);
        let rounds = UInt32Array::from(vec![0; rows]);
        RecordBatch::try_new(self.schema(), vec![Arc::new(ids), Arc::new(rounds), vectors])
            .expect("the columns fit the schema")
    }

    /// The vectors of rows `first` to `first + rows`.
    pub fn vectors(&self, first: u64, rows: usize) -> ArrayRef {
        let mut values = Vec::with_capacity(rows * self.dimension);
        for row in first..first + rows as u64 {
            self.push_vector(row, &mut values);
        }
        self.element.column(&values, self.dimension)
    }

    /// Bytes of a vector.
    pub fn vector_bytes(&self) -> usize {
        crate::sources::vector_bytes(&self.schema(), 1)
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
    use clap::ValueEnum;

    use super::*;

    fn data(element: ElementType) -> Data {
        Data { dimension: 24, element, metric: Metric::Cosine, rows: 1_000, seed: 7 }
    }

    #[test]
    fn the_same_rows_come_again_whatever_the_batches() {
        let data = data(ElementType::F32);
        let whole = data.vectors(0, 100);
        assert_eq!(&whole.slice(40, 60), &data.vectors(40, 60));
        assert_ne!(&whole, &Data { seed: 8, ..data }.vectors(0, 100));
        let vectors = whole.as_fixed_size_list().values().as_primitive::<Float32Type>();
        assert!(vectors.values().iter().all(|value| value.abs() < 2.0));
    }

    #[test]
    fn every_element_type_is_made() {
        for &element in ElementType::value_variants() {
            let data = data(element);
            let batch = data.with_vectors(3, data.vectors(3, 5));
            assert_eq!(batch.num_rows(), 5);
            let bytes = match batch.column(2).data_type() {
                DataType::FixedSizeList(item, 24) => item.data_type().primitive_width().map(|width| 24 * width),
                DataType::FixedSizeBinary(3) => Some(3),
                _ => None,
            };
            assert_eq!(bytes, Some(data.vector_bytes()), "{}", element.name());
        }
        let bits = data(ElementType::Bits).vectors(3, 1);
        let floats = data(ElementType::F32).vectors(3, 1);
        let floats = floats.as_fixed_size_list().values().as_primitive::<Float32Type>().clone();
        for (bit, value) in floats.values().iter().enumerate() {
            let byte = bits.as_fixed_size_binary().value(0)[bit / 8];
            assert_eq!(byte >> (bit % 8) & 1 == 1, *value > 0.0, "bit {bit}");
        }
    }
}
