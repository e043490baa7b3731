//! NumPy's `.npy` files: one matrix, rows × vector, little endian, row-major. Row numbers are the ids.
//!
//! ```text
//! \x93NUMPY  major minor  header length (u16, from version 2 on u32)
//! {'descr': '<f4', 'fortran_order': False, 'shape': (1000, 384), }  spaces, newline
//! data
//! ```
//! The format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayData, ArrayRef, FixedSizeListArray, RecordBatch, make_array};
use arrow::buffer::MutableBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::mapping::{Mapping, mapped};
use super::{ELEMENT, ElementType, Source, SourceOptions, VECTOR_NAME};
use crate::error::{Error, FileProblem, NpyProblem, Result};

/// Bytes that a header may have; a matrix's has about 120.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Elements of one vector.
const VECTOR_LENGTH_MAX: u64 = 65_536;

/// A file whose header has been read.
struct Matrix {
    reader: BufReader<File>,
    element: DataType,
    rows: u64,
    columns: i32,
}

/// Opens a `.npy` file for import. The vector column is named by `options.vectors`, or [`VECTOR_NAME`].
pub fn open(path: &Path, options: &SourceOptions) -> Result<Source> {
    let matrix = Matrix::open(path, false)?;
    let rows = matrix.rows;
    if rows == 0 {
        return Err(Error::file(path)(FileProblem::Empty));
    }
    let name = options.vectors.first().map_or(VECTOR_NAME, String::as_str);
    let schema = matrix.schema(name);
    let mapping = Mapping::derive(path, &schema, options, |_| Ok(None))?;
    let batches = matrix.batches(path, schema, options.batch_rows);
    Ok(Source {
        is_numbered: mapping.is_numbered(),
        schema: mapping.schema.clone(),
        notes: mapping.notes.clone(),
        rows: Some(rows),
        batches: mapped(mapping, path, options.first_row, batches.map(|batch| batch.map(Into::into))),
    })
}

/// Reads a file of queries, whole: a matrix, or one vector.
pub fn read_queries(path: &Path) -> Result<ArrayRef> {
    let matrix = Matrix::open(path, true)?;
    let rows = matrix.rows as usize;
    let schema = matrix.schema(VECTOR_NAME);
    let batch = matrix.batches(path, schema, rows.max(1)).next();
    batch.unwrap_or_else(|| Err(Error::file(path)(FileProblem::Empty))).map(|batch| batch.column(0).clone())
}

impl Matrix {
    fn open(path: &Path, allow_vector: bool) -> Result<Matrix> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let bytes = file.metadata().map_err(Error::io("read", path))?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let fail = |problem| Error::file(path)(FileProblem::Npy(problem));
        let mut start = [0u8; 8];
        reader.read_exact(&mut start).map_err(|_| fail(NpyProblem::Magic))?;
        if start[..6] != *b"\x93NUMPY" {
            return Err(fail(NpyProblem::Magic));
        }
        let length_bytes = match start[6] {
            1 => 2,
            2 | 3 => 4,
            version => return Err(fail(NpyProblem::Version(version))),
        };
        let mut length = [0u8; 4];
        reader.read_exact(&mut length[..length_bytes]).map_err(|_| fail(NpyProblem::Header("length")))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > HEADER_BYTES_MAX {
            return Err(fail(NpyProblem::Header("length")));
        }
        let mut header = vec![0u8; length];
        reader.read_exact(&mut header).map_err(|_| fail(NpyProblem::Header("descr")))?;
        let header = String::from_utf8_lossy(&header);
        let (element, rows, columns) = parse_header(&header, allow_vector).map_err(fail)?;
        let width = element.primitive_width().expect("vectors have primitive elements") as u64;
        let found = bytes - (8 + length_bytes + length) as u64;
        let expected = rows.saturating_mul(u64::from(columns as u32)).saturating_mul(width);
        if found != expected {
            return Err(fail(NpyProblem::Length { expected, found }));
        }
        Ok(Matrix { reader, element, rows, columns })
    }

    fn schema(&self, name: &str) -> SchemaRef {
        let item = Arc::new(Field::new("item", self.element.clone(), false));
        let vector = Field::new(name, DataType::FixedSizeList(item, self.columns), false);
        let element = ElementType::of(&self.element).expect("the header names types that are stored");
        Arc::new(Schema::new(vec![vector.with_metadata([(ELEMENT, element.name())])]))
    }

    fn batches(
        self,
        path: &Path,
        schema: SchemaRef,
        batch_rows: usize,
    ) -> impl Iterator<Item = Result<RecordBatch>> + Send + use<> {
        let path = path.to_owned();
        let Matrix { mut reader, element, rows, columns } = self;
        let row_bytes = element.primitive_width().expect("vectors have primitive elements") * columns as usize;
        let mut left = rows;
        std::iter::from_fn(move || {
            let rows = left.min(batch_rows as u64) as usize;
            left -= rows as u64;
            (rows > 0).then(|| {
                let mut values = MutableBuffer::from_len_zeroed(rows * row_bytes);
                reader.read_exact(values.as_slice_mut()).map_err(Error::io("read", &path))?;
                let data = ArrayData::builder(element.clone()).len(rows * columns as usize).add_buffer(values.into());
                let arrow = |error| Error::file(&path)(FileProblem::Arrow(error));
                let values = make_array(data.build().map_err(arrow)?);
                let DataType::FixedSizeList(item, _) = schema.field(0).data_type() else {
                    unreachable!("the schema is made above")
                };
                let lists = FixedSizeListArray::try_new(item.clone(), columns, values, None).map_err(arrow)?;
                RecordBatch::try_new(schema.clone(), vec![Arc::new(lists)]).map_err(arrow)
            })
        })
    }
}

/// Element type, rows and columns from the header's dictionary.
fn parse_header(header: &str, allow_vector: bool) -> Result<(DataType, u64, i32), NpyProblem> {
    let descr = value(header, "descr").ok_or(NpyProblem::Header("descr"))?;
    let descr = descr.trim_matches(['\'', '"']);
    let element = match descr {
        "<f4" => DataType::Float32,
        "<f2" => DataType::Float16,
        "<i4" => DataType::Int32,
        // NumPy has no bfloat16; the type that ml_dtypes adds is written as two bytes without a meaning.
        "<V2" | "|V2" => DataType::UInt16,
        "|i1" => DataType::Int8,
        "|u1" => DataType::UInt8,
        other => return Err(NpyProblem::Elements(other.to_owned())),
    };
    match value(header, "fortran_order") {
        Some("False") => (),
        Some(_) => return Err(NpyProblem::FortranOrder),
        None => return Err(NpyProblem::Header("fortran_order")),
    }
    let shape = value(header, "shape").ok_or(NpyProblem::Header("shape"))?;
    let inside =
        shape.strip_prefix('(').and_then(|shape| shape.strip_suffix(')')).ok_or(NpyProblem::Header("shape"))?;
    let sizes: Vec<u64> = inside
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().map_err(|_| NpyProblem::Header("shape")))
        .collect::<Result<_, _>>()?;
    let (rows, columns) = match sizes[..] {
        [rows, columns] => (rows, columns),
        [columns] if allow_vector => (1, columns),
        _ => return Err(NpyProblem::Dimensions(sizes.len())),
    };
    if columns == 0 || columns > VECTOR_LENGTH_MAX {
        return Err(NpyProblem::VectorLength(columns));
    }
    Ok((element, rows, columns as i32))
}

/// The text of a key's value in the header's dictionary, which is a literal of Python of three known keys.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let after = quoted.iter().find_map(|key| header.find(key.as_str()).map(|at| &header[at + key.len()..]))?;
    let text = after.trim_start().strip_prefix(':')?.trim_start();
    let end = if text.starts_with('(') { text.find(')')? + 1 } else { text.find([',', '}'])? };
    Some(text[..end].trim())
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float32Type, UInt64Type};

    use super::super::{Coding, Metric};
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    const HEADER: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }          \n";

    fn options() -> SourceOptions {
        SourceOptions {
            id: None,
            vectors: Vec::new(),
            metric: Metric::L2,
            element: None,
            coding: Coding::default(),
            edges: crate::sources::EdgeOptions::default(),
            batch_rows: 2,
            signed_ids: false,
            first_row: 10,
        }
    }

    fn open_bytes(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.npy");
        std::fs::write(&path, bytes).unwrap();
        open(&path, &options())?.batches.collect()
    }

    #[test]
    fn rows_come_in_batches_with_their_numbers() {
        let batches = open_bytes(&npy(HEADER, &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))).unwrap();
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[1].column(0).as_primitive::<UInt64Type>().values(), &[12]);
        let vectors = batches[1].column_by_name(VECTOR_NAME).unwrap().as_fixed_size_list();
        assert_eq!(vectors.values().as_primitive::<Float32Type>().values(), &[5.0, 6.0]);
    }

    #[test]
    fn the_other_element_types_are_read() {
        for (descr, width) in [("<f2", 2), ("|i1", 1), ("|u1", 1), ("<i4", 4), ("<V2", 2), ("|V2", 2)] {
            let header = HEADER.replace("<f4", descr);
            assert_eq!(open_bytes(&npy(&header, &vec![1; 6 * width])).unwrap().len(), 2, "{descr}");
        }
    }

    #[test]
    fn bad_files_are_refused_by_what_is_wrong() {
        let data = floats(&[1.0; 6]);
        let fail = |bytes: &[u8]| open_bytes(bytes).unwrap_err().to_string();
        let header = |from: &str, to: &str| npy(&HEADER.replace(from, to), &data);
        assert!(fail(b"").contains("does not begin with"));
        assert!(fail(b"\x93NUMPX\x01\x00\x00\x00").contains("does not begin with"));
        assert!(fail(b"\x93NUMPY\x09\x00\x00\x00").contains("format version 9"));
        assert!(fail(&npy("{}", &data)).contains("`descr`"));
        assert!(fail(&header("<f4", "<f8")).contains("`<f8`; convert with .astype('float32')"));
        assert!(fail(&header("<f4", ">f4")).contains("`>f4`"));
        assert!(fail(&header("False", "True")).contains("Fortran order"));
        assert!(fail(&header("(3, 2)", "(6,)")).contains("1 dimensions"));
        assert!(fail(&header("(3, 2)", "(6, 0)")).contains("vectors of 0 elements"));
        assert!(fail(&header("(3, 2)", "(x, 2)")).contains("`shape`"));
        assert!(
            fail(&header("(3, 2)", "(18446744073709551615, 2)"))
                .contains("needs 18446744073709551615 bytes of data, it has 24")
        );
        assert!(fail(&npy(HEADER, &data[..23])).contains("needs 24 bytes of data, it has 23"));
        assert!(fail(&npy(&HEADER.replace("(3, 2)", "(0, 2)"), &[])).ends_with("no rows"));
        let whole = npy(HEADER, &data);
        for length in 0..whole.len() {
            assert!(open_bytes(&whole[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn one_vector_is_a_query() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("q.npy");
        std::fs::write(&path, npy(&HEADER.replace("(3, 2)", "(6,)"), &floats(&[1.0; 6]))).unwrap();
        assert_eq!(read_queries(&path).unwrap().as_fixed_size_list().value_length(), 6);
    }
}
