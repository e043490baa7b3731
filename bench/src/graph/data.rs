//! Vectors of a Parquet file.

use std::fs::File;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float16Type, Float32Type, ToByteSlice};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Unit vectors of f32, one after the other.
pub struct Vectors {
    values: Vec<f32>,
    dimension: usize,
}

impl Vectors {
    /// Vectors of `dimension` numbers each.
    pub fn new(values: Vec<f32>, dimension: usize) -> Vectors {
        assert!(dimension > 0 && values.len().is_multiple_of(dimension));
        Vectors { values, dimension }
    }

    /// The first `rows_max` vectors of the column `embedding` (a fixed size list of f16 or f32), scaled to length 1.
    ///
    /// # Panics
    /// When the file is not there or has no such column: a bench has no use for less.
    pub fn read(path: &Path, rows_max: usize) -> Vectors {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["embedding"]);
        let mut vectors = Vectors { values: Vec::new(), dimension: 0 };
        for batch in builder.with_projection(mask).build().expect("a readable Parquet file") {
            let batch = batch.expect("a readable batch");
            let column = batch.column(0).as_fixed_size_list();
            vectors.dimension = column.value_length() as usize;
            match column.value_type() {
                DataType::Float16 => {
                    let values = column.values().as_primitive::<Float16Type>().values();
                    vectors.values.extend(values.iter().map(|value| value.to_f32()));
                }
                DataType::Float32 => {
                    vectors.values.extend_from_slice(column.values().as_primitive::<Float32Type>().values());
                }
                other => panic!("column `embedding` holds {other}"),
            }
            if vectors.len() >= rows_max {
                break;
            }
        }
        vectors.values.truncate(rows_max.saturating_mul(vectors.dimension));
        for vector in vectors.values.chunks_exact_mut(vectors.dimension) {
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|x| *x /= norm);
        }
        vectors
    }

    /// Vectors of a file that [`Vectors::write_raw`] wrote.
    ///
    /// # Panics
    /// When the file is not there or ends within a vector.
    pub fn read_raw(path: &Path, dimension: usize) -> Vectors {
        Vectors::new(read_floats(path), dimension)
    }

    /// Writes the numbers as they are in memory, vector behind vector.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_raw(&self, path: &Path) {
        write_floats(path, &self.values);
    }

    /// `rows` vectors: these, over and over.
    pub fn cycled(&self, rows: usize) -> Vectors {
        let values = self.values.iter().copied().cycle().take(rows * self.dimension).collect();
        Vectors { values, dimension: self.dimension }
    }

    /// All numbers, vector behind vector.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// True without vectors.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers of a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The vectors in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension)
    }

    /// One vector.
    pub fn get(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimension..][..self.dimension]
    }
}

/// The f32 of a file that [`write_floats`] wrote.
pub fn read_floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (floats, rest) = bytes.as_chunks();
    assert!(rest.is_empty(), "{} ends within a number", path.display());
    floats.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect()
}

/// Writes f32 as they are in memory.
pub fn write_floats(path: &Path, values: &[f32]) {
    std::fs::write(path, values.to_byte_slice()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
