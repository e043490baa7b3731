//! Parquet files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::mapping::{Columns, Mapping, mapped};
use super::parquet_vectors::{self, VectorReader};
use super::{Source, SourceOptions};
use crate::error::{Error, FileProblem, Result};

type Builder = ParquetRecordBatchReaderBuilder<File>;

/// Opens a Parquet file for import.
pub fn open(path: &Path, options: &SourceOptions) -> Result<Source> {
    let builder = builder(path)?;
    let schema = builder.schema().clone();
    let rows = rows(&builder);
    if rows == 0 {
        return Err(Error::file(path)(FileProblem::Empty));
    }
    let mapping = Mapping::derive(path, &schema, options, |column| first_list_length(path, column))?;
    let batches = read_split(path, builder, &mapping, options.batch_rows)?;
    Ok(Source {
        is_numbered: mapping.is_numbered(),
        schema: mapping.schema.clone(),
        notes: mapping.notes.clone(),
        rows: Some(rows),
        batches: mapped(mapping, path, options.first_row, batches),
    })
}

/// The columns of a mapping: vectors page by page where that can be done, everything else by the general reader.
fn read_split(
    path: &Path,
    builder: Builder,
    mapping: &Mapping,
    batch_rows: usize,
) -> Result<impl Iterator<Item = Result<Columns>> + Send + use<>> {
    let mut vectors = BTreeMap::new();
    for (column, length) in mapping.vector_lengths() {
        let readable = length > 0 && parquet_vectors::is_candidate(builder.schema().field(column).data_type());
        let reader = if readable { VectorReader::open(path, builder.metadata(), column, length)? } else { None };
        vectors.extend(reader.map(|reader| (column, reader)));
    }
    let columns = mapping.file_columns.clone();
    let others: Vec<usize> = columns.iter().copied().filter(|column| !vectors.contains_key(column)).collect();
    let batches = read(path, builder, &others, batch_rows)?;
    Ok(batches.map(move |batch| {
        let batch = batch?;
        let rows = batch.num_rows();
        let mut others = batch.columns().iter();
        let arrays = columns.iter().map(|column| match vectors.get_mut(column) {
            Some(reader) => reader.take(rows),
            None => Ok(others.next().expect("every column is read by one of both").clone()),
        });
        Ok(Columns { rows, arrays: arrays.collect::<Result<_>>()? })
    }))
}

/// Reads the columns of the given names that the file has, whole.
pub fn read_columns(path: &Path, names: &[&str]) -> Result<RecordBatch> {
    let builder = builder(path)?;
    let schema = builder.schema().clone();
    let rows = rows(&builder) as usize;
    let mut columns: Vec<usize> = names.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    columns.sort_unstable();
    let mut batches = read(path, builder, &columns, rows.max(1))?;
    batches.next().unwrap_or_else(|| Err(Error::file(path)(FileProblem::Empty)))
}

fn builder(path: &Path) -> Result<Builder> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    Builder::try_new(file).map_err(|error| Error::file(path)(FileProblem::Parquet(error)))
}

fn rows(builder: &Builder) -> u64 {
    builder.metadata().file_metadata().num_rows().max(0) as u64
}

fn read(
    path: &Path,
    builder: Builder,
    columns: &[usize],
    batch_rows: usize,
) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send + use<>> {
    let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
    let path = path.to_owned();
    let reader = builder.with_projection(mask).with_batch_size(batch_rows).build();
    let reader = reader.map_err(|error| Error::file(&path)(FileProblem::Parquet(error)))?;
    Ok(reader.map(move |batch| batch.map_err(|error| Error::file(&path)(FileProblem::Arrow(error)))))
}

/// Length of the first list of a column whose type does not tell it.
fn first_list_length(path: &Path, column: usize) -> Result<Option<i32>> {
    let mut batches = read(path, builder(path)?, &[column], 64)?;
    let Some(batch) = batches.next() else {
        return Ok(None);
    };
    let batch = batch?;
    let lists = batch.column(0);
    let row = (0..lists.len()).find(|&row| lists.is_valid(row));
    Ok(row.map(|row| match lists.data_type() {
        DataType::LargeList(_) => lists.as_list::<i64>().value(row).len() as i32,
        _ => lists.as_list::<i32>().value_length(row),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float32Array, ListArray, StringArray};
    use arrow::datatypes::{Float16Type, Float32Type};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::{WriterProperties, WriterVersion};

    use super::super::{Coding, Metric, fixed_vectors};
    use super::*;

    fn data(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name)
    }

    fn options(batch_rows: usize) -> SourceOptions {
        SourceOptions {
            id: None,
            vectors: Vec::new(),
            metric: Metric::Cosine,
            element: None,
            coding: Coding::default(),
            edges: crate::sources::EdgeOptions::default(),
            batch_rows,
            signed_ids: false,
            first_row: 0,
        }
    }

    fn write(path: &Path, batch: &RecordBatch) {
        let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn the_packages_arrive_whole() {
        let source = open(&data("debian-10k.parquet"), &options(3_000)).unwrap();
        assert_eq!(source.rows, Some(10_000));
        assert!(source.notes.is_empty(), "{:?}", source.notes);
        let batches: Vec<RecordBatch> = source.batches.map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [3_000, 3_000, 3_000, 1_000]);
        let last = &batches[3];
        let ids = last.column_by_name("id").unwrap().as_primitive::<arrow::datatypes::UInt64Type>();
        assert_eq!(ids.values().last(), Some(&9_999));
        let names = last.column_by_name("name").unwrap().as_string::<i32>();
        assert_eq!(names.value(999), "fonts-samyak");
        let vectors = last.column_by_name("embedding").unwrap().as_fixed_size_list();
        assert_eq!((vectors.value_length(), vectors.values().len()), (384, 384_000));
        assert!(vectors.values().as_primitive_opt::<Float16Type>().is_some(), "f16 stays f16");
    }

    #[test]
    fn variable_lists_of_one_length_become_vectors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lists.parquet");
        let lists = (0..300).map(|row| Some(vec![Some(row as f32), Some(1.0), Some(2.0)]));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..300).map(|row| format!("n{row}"))));
        write(&path, &RecordBatch::try_from_iter([("v", lists), ("name", names)]).unwrap());
        let source = open(&path, &SourceOptions { id: Some("name".to_owned()), ..options(128) }).unwrap();
        assert_eq!(source.schema.field(0).data_type(), &DataType::Utf8);
        let rows: usize = source.batches.map(|batch| batch.unwrap().column(1).as_fixed_size_list().len()).sum();
        assert_eq!(rows, 300);
    }

    #[test]
    fn a_bad_row_is_named_by_its_number_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad.parquet");
        let lists = (0..300).map(|row| Some(vec![Some(if row == 200 { f32::INFINITY } else { 1.0 }), Some(1.0)]));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists));
        write(&path, &RecordBatch::try_from_iter([("v", lists)]).unwrap());
        let error = open(&path, &options(128)).unwrap().batches.find_map(Result::err).unwrap();
        assert!(
            error.to_string().ends_with("bad.parquet, row 200: column `v`: the vector holds NaN or infinity"),
            "{error}"
        );
    }

    /// The same file by both readers.
    fn compare(path: &Path, batch_rows: usize) {
        let mut by_pages = open(path, &options(batch_rows)).unwrap().batches;
        let builder = builder(path).unwrap();
        let column = builder.schema().index_of("v").unwrap();
        for general in read(path, builder, &[column], batch_rows).unwrap() {
            let general = fixed_vectors(path, general.unwrap().column(0), "v").unwrap();
            let paged = by_pages.next().unwrap().unwrap();
            assert_eq!(paged.column_by_name("v").unwrap(), &general);
        }
        assert!(by_pages.next().is_none());
    }

    #[test]
    fn pages_give_what_the_general_reader_gives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pages.parquet");
        for (dictionary, version, page_bytes, half) in [
            (true, WriterVersion::PARQUET_1_0, 1 << 20, false),
            (true, WriterVersion::PARQUET_2_0, 700, true),
            (false, WriterVersion::PARQUET_1_0, 900, true),
            (false, WriterVersion::PARQUET_2_0, 1 << 20, false),
        ] {
            let lists = (0..1000)
                .map(|row| Some((0..7).map(|element| Some((row * element % 91) as f32 + 1.0)).collect::<Vec<_>>()));
            let mut lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists));
            if half {
                let item = Arc::new(arrow::datatypes::Field::new("item", DataType::Float16, true));
                lists = arrow::compute::cast(&lists, &DataType::List(item)).unwrap();
            }
            let batch = RecordBatch::try_from_iter([("v", lists)]).unwrap();
            let properties = WriterProperties::builder()
                .set_dictionary_enabled(dictionary)
                .set_writer_version(version)
                .set_data_page_size_limit(page_bytes)
                .set_write_batch_size(64)
                .set_max_row_group_row_count(Some(333));
            let file = File::create(&path).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            let metadata = builder(&path).unwrap().metadata().clone();
            assert!(VectorReader::open(&path, &metadata, 0, 7).unwrap().is_some(), "pages are read");
            compare(&path, 128);
            compare(&path, 5000);
        }
    }

    #[test]
    fn lists_that_are_no_vectors_are_named_by_row_and_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad.parquet");
        for (bad, problem) in [
            (Some(vec![Some(1.0); 2]), "the vector has 2 elements, those before have 3"),
            (Some(vec![Some(1.0); 5]), "the vector has 5 elements, those before have 3"),
            (Some(vec![Some(1.0), None, Some(1.0)]), "the vector is null, empty or has null elements"),
            (Some(vec![]), "the vector is null, empty or has null elements"),
            (None, "the vector is null, empty or has null elements"),
        ] {
            let lists = (0..300).map(|row| if row == 200 { bad.clone() } else { Some(vec![Some(1.0); 3]) });
            let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists));
            write(&path, &RecordBatch::try_from_iter([("v", lists)]).unwrap());
            let error = open(&path, &options(128)).unwrap().batches.find_map(Result::err).unwrap();
            assert!(error.to_string().ends_with(&format!("bad.parquet, row 200: column `v`: {problem}")), "{error}");
        }
    }

    #[test]
    fn files_that_are_not_parquet_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let fail = |path: &Path| open(path, &options(128)).err().unwrap().to_string();
        let absent = directory.path().join("absent.parquet");
        assert!(fail(&absent).starts_with(&format!("open {}: No such file", absent.display())));
        let text = directory.path().join("text.parquet");
        std::fs::write(&text, "PAR1 but not for long").unwrap();
        assert!(fail(&text).starts_with(&format!("{}: ", text.display())));
        let whole = std::fs::read(data("debian-10k-queries.parquet")).unwrap();
        let cut = directory.path().join("cut.parquet");
        std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        assert!(fail(&cut).starts_with(&format!("{}: ", cut.display())));
        let column: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
        let empty = directory.path().join("empty.parquet");
        write(&empty, &RecordBatch::try_from_iter([("x", column)]).unwrap().slice(0, 0));
        assert!(fail(&empty).ends_with("no rows"));
    }

    #[test]
    fn a_file_without_vectors_is_read_with_a_note() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scalars.parquet");
        let column: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0]));
        write(&path, &RecordBatch::try_from_iter([("x", column.clone())]).unwrap());
        let source = open(&path, &options(128)).unwrap();
        assert!(source.notes[0].contains("no column holds vectors"), "{:?}", source.notes);
        let batches: Vec<RecordBatch> = source.batches.map(Result::unwrap).collect();
        assert_eq!(batches[0].column_by_name("x"), Some(&column));
    }

    #[test]
    fn columns_are_read_by_name() {
        let batch = read_columns(&data("debian-10k-queries.parquet"), &["neighbors", "embedding", "absent"]).unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (200, 2));
    }
}
