//! From the columns of a file to the columns of a collection.
//!
//! The id comes first; ids are u64, i64 where that is asked for, or strings. Vectors become fixed-size lists without nulls. Other columns keep their type
//! where the server stores it, are cast where that loses nothing that matters, and are dropped, with a note, elsewhere.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Int64Type, Metadata, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use engine::schema::TYPE_KEY;

use super::element::{convert, says_bf16};
use super::vectors::{self, VectorShape};
use super::{
    CODES, ELEMENT, ElementType, ID_NAME, METRIC, Metric, PLACE, Position, RERANK, ROLE, Rows, SourceOptions,
    id_column, vector_columns,
};
use crate::error::{Error, FileProblem, Result, RowProblem};

/// Where an output column comes from.
#[derive(Debug, Clone, PartialEq)]
enum Origin {
    /// The row's number.
    RowNumber,
    /// An id column of the file, by its position among the columns that are read.
    Id(usize),
    /// A vector column.
    Vector(usize),
    /// Any other column.
    Scalar(usize),
}

/// How the batches of one file become batches of a collection.
pub struct Mapping {
    /// Schema of the batches that come out.
    pub schema: SchemaRef,
    /// What the user should know of.
    pub notes: Vec<String>,
    /// Columns of the file that are read, ascending.
    pub file_columns: Vec<usize>,
    metric: Metric,
    origins: Vec<Origin>,
}

impl Mapping {
    /// Chooses the columns of a file. `list_length` tells the length of the first list of a variable-length column.
    pub fn derive(
        path: &Path,
        file: &Schema,
        options: &SourceOptions,
        mut list_length: impl FnMut(usize) -> Result<Option<i32>>,
    ) -> Result<Mapping> {
        let id = choose_id(path, file, options)?;
        let vector_indices = choose_vectors(path, file, options, id)?;
        let mut notes = Vec::new();
        if vector_indices.is_empty() {
            notes.push("no column holds vectors: the rows can be read and filtered, not searched for".to_owned());
        }
        let mut columns: Vec<(Origin, Field)> = vec![id_field(file, id, options.signed_ids)];
        let mut file_columns: Vec<usize> = id.into_iter().collect();
        for (index, field) in file.fields().iter().enumerate() {
            if Some(index) == id {
                continue;
            }
            if vector_indices.contains(&index) {
                let length = match vectors::shape(field.data_type()) {
                    Some(VectorShape::Fixed(length)) => length,
                    Some(VectorShape::Variable) => {
                        list_length(index)?.ok_or_else(|| Error::file(path)(FileProblem::Empty))?
                    }
                    _ => 0,
                };
                columns.push((Origin::Vector(index), vector_field(path, field, length, options, &mut notes)?));
                file_columns.push(index);
            } else if field.name() == ID_NAME && id.is_none() {
                notes.push(format!(
                    "column `{ID_NAME}` ({}) is not imported: the row numbers are the ids",
                    field.data_type()
                ));
            } else if let Some(stored) = scalar_type(field.data_type()) {
                if stored != *field.data_type() && !is_text(field.data_type()) {
                    notes.push(format!(
                        "column `{}` is stored as {stored}, in the file it is {}",
                        field.name(),
                        field.data_type()
                    ));
                }
                let mut scalar = Field::new(field.name(), stored, field.is_nullable());
                if let Some(name) = field.metadata().get(TYPE_KEY).filter(|_| is_string(field.data_type())) {
                    scalar = scalar.with_metadata([(TYPE_KEY, name.as_str())]);
                }
                columns.push((Origin::Scalar(index), scalar));
                file_columns.push(index);
            } else {
                notes.push(format!("column `{}` is not imported: {} is not stored", field.name(), field.data_type()));
            }
        }
        file_columns.sort_unstable();
        let among_read =
            |index: usize| file_columns.binary_search(&index).expect("every origin is among the columns read");
        let origins = columns.iter().map(|(origin, _)| match *origin {
            Origin::RowNumber => Origin::RowNumber,
            Origin::Id(index) => Origin::Id(among_read(index)),
            Origin::Vector(index) => Origin::Vector(among_read(index)),
            Origin::Scalar(index) => Origin::Scalar(among_read(index)),
        });
        let origins = origins.collect();
        let schema = Arc::new(Schema::new(columns.into_iter().map(|(_, field)| field).collect::<Vec<_>>()));
        Ok(Mapping { schema, notes, file_columns, metric: options.metric, origins })
    }

    /// Whether the row numbers are the ids.
    pub fn is_numbered(&self) -> bool {
        self.origins.contains(&Origin::RowNumber)
    }

    /// Columns of the file that are vectors, with the length of each.
    pub fn vector_lengths(&self) -> Vec<(usize, usize)> {
        let length = |field: &Field| match field.data_type() {
            DataType::FixedSizeList(_, length) => *length as usize,
            _ => 0,
        };
        let origins = self.origins.iter().zip(self.schema.fields());
        origins
            .filter_map(|(origin, field)| match origin {
                Origin::Vector(index) => Some((self.file_columns[*index], length(field))),
                _ => None,
            })
            .collect()
    }

    /// Converts and checks one batch. `row_number` is the id of its first row where row numbers are ids.
    pub fn apply(&self, read: &Columns, position: &Position, row_number: u64) -> Result<RecordBatch> {
        assert_eq!(read.arrays.len(), self.file_columns.len(), "the reader gives the columns that were asked for");
        let arrow = |error| Error::file(&position.path)(FileProblem::Arrow(error));
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.origins.len());
        for (origin, field) in self.origins.iter().zip(self.schema.fields()) {
            columns.push(match *origin {
                Origin::RowNumber => {
                    let numbers = UInt64Array::from_iter_values(row_number..row_number + read.rows as u64);
                    cast(&numbers, field.data_type()).map_err(arrow)?
                }
                Origin::Id(index) => ids(&read.arrays[index], field.data_type(), field.name(), position)?,
                Origin::Vector(index) => {
                    let stored = vectors::to_stored(&read.arrays[index], field.data_type(), field.name(), position)?;
                    vectors::check_values(&stored, self.metric, field.name(), position)?;
                    stored
                }
                Origin::Scalar(index) => cast(&read.arrays[index], field.data_type()).map_err(arrow)?,
            });
        }
        RecordBatch::try_new(self.schema.clone(), columns).map_err(arrow)
    }
}

/// What a reader gives at a time: the columns that [`Mapping::file_columns`] names, of as many rows.
pub struct Columns {
    /// In the order of `file_columns`.
    pub arrays: Vec<ArrayRef>,
    /// Rows of each.
    pub rows: usize,
}

impl From<RecordBatch> for Columns {
    fn from(batch: RecordBatch) -> Columns {
        Columns { rows: batch.num_rows(), arrays: batch.columns().to_vec() }
    }
}

fn choose_id(path: &Path, file: &Schema, options: &SourceOptions) -> Result<Option<usize>> {
    let is_id = |data_type: &DataType| data_type.is_integer() || is_string(data_type);
    let index = match &options.id {
        Some(name) => Some(find(path, file, name)?),
        None => file.index_of(ID_NAME).ok().filter(|&index| is_id(file.field(index).data_type())),
    };
    let Some(index) = index else {
        return Ok(None);
    };
    let field = file.field(index);
    if !is_id(field.data_type()) {
        let problem = FileProblem::IdType { column: field.name().clone(), found: field.data_type().to_string() };
        return Err(Error::file(path)(problem));
    }
    Ok(Some(index))
}

fn choose_vectors(path: &Path, file: &Schema, options: &SourceOptions, id: Option<usize>) -> Result<Vec<usize>> {
    if !options.vectors.is_empty() {
        return options.vectors.iter().map(|name| find(path, file, name)).collect();
    }
    let is_list = |field: &Field| {
        matches!(vectors::shape(field.data_type()), Some(VectorShape::Fixed(_) | VectorShape::Variable))
            && (!is_list_of_u16(field.data_type()) || says_bf16(field))
    };
    let is_list_of_i32 = |index: &usize| item_type(file.field(*index).data_type()) == Some(&DataType::Int32);
    // Lists of i32 are often numbers of other rows or of words: they are vectors where nothing else is.
    let (integers, mut candidates): (Vec<usize>, Vec<usize>) = (0..file.fields().len())
        .filter(|&index| Some(index) != id && is_list(file.field(index)))
        .partition(is_list_of_i32);
    if candidates.is_empty() {
        candidates = integers;
    }
    match candidates.len() {
        0 | 1 => Ok(candidates),
        _ => Err(Error::file(path)(FileProblem::SeveralVectors { candidates: names(file, candidates) })),
    }
}

fn find(path: &Path, file: &Schema, name: &str) -> Result<usize> {
    file.index_of(name).map_err(|_| {
        Error::file(path)(FileProblem::NoColumn {
            column: name.to_owned(),
            available: names(file, 0..file.fields().len()),
        })
    })
}

fn names(schema: &Schema, indices: impl IntoIterator<Item = usize>) -> String {
    let names: Vec<&str> = indices.into_iter().map(|index| schema.field(index).name().as_str()).collect();
    names.join(", ")
}

fn id_field(file: &Schema, id: Option<usize>, signed: bool) -> (Origin, Field) {
    let number = if signed { DataType::Int64 } else { DataType::UInt64 };
    let (origin, name, data_type) = match id {
        None => (Origin::RowNumber, ID_NAME, number),
        Some(index) => {
            let field = file.field(index);
            let data_type = if is_string(field.data_type()) { DataType::Utf8 } else { number };
            (Origin::Id(index), field.name().as_str(), data_type)
        }
    };
    (origin, Field::new(name, data_type, false).with_metadata([(ROLE, "id")]))
}

fn vector_field(
    path: &Path,
    field: &Field,
    length: i32,
    options: &SourceOptions,
    notes: &mut Vec<String>,
) -> Result<Field> {
    let (column, metric) = (field.name().clone(), options.metric);
    let stored = vectors::stored_type(field.data_type(), length, options.element);
    let Some(stored) = stored.filter(|_| !is_list_of_u16(field.data_type()) || says_bf16(field)) else {
        return Err(Error::file(path)(FileProblem::VectorType { column, found: field.data_type().to_string() }));
    };
    let bits = matches!(stored, DataType::FixedSizeBinary(_));
    if bits != (metric == Metric::Hamming) {
        let needs =
            if bits { "lists of numbers; bits are compared with --metric hamming" } else { "fixed-size binary" };
        return Err(Error::file(path)(FileProblem::MetricType { column, metric: metric.name(), needs }));
    }
    let rerank = options.coding.rerank.map(|rerank| rerank.to_string());
    let mut metadata = vec![(ROLE, "vector"), (METRIC, metric.name())];
    metadata.extend(options.coding.codes.map(|codes| (CODES, codes.name())));
    metadata.extend(rerank.as_deref().map(|rerank| (RERANK, rerank)));
    metadata.extend(options.coding.vectors_on.map(|place| (PLACE, place.name())));
    if let (Some(from), DataType::FixedSizeList(to, _)) = (item_type(field.data_type()), &stored) {
        let element = ElementType::of(to.data_type()).expect("a type that is stored");
        if from != to.data_type() {
            let from = ElementType::of(from).map_or("f64", ElementType::name);
            notes.push(format!("column `{column}` is stored as {}, in the file it is {from}", element.name()));
        }
        if element == ElementType::Bf16 {
            metadata.push((ELEMENT, element.name()));
        }
    }
    Ok(Field::new(column, stored, false).with_metadata(metadata.into_iter().collect::<Metadata>()))
}

/// Type of the elements of a list.
fn item_type(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

fn is_list_of_u16(data_type: &DataType) -> bool {
    item_type(data_type) == Some(&DataType::UInt16)
}

fn is_string(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_string(values),
        _ => false,
    }
}

/// Whether it is stored as text or lists of it, which is no other type to who reads it.
fn is_text(data_type: &DataType) -> bool {
    is_string(item_type(data_type).unwrap_or(data_type))
}

/// The type that a column is stored as; `None` where it is not stored.
fn scalar_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean | DataType::Float32 | DataType::Float64 | DataType::Date32 | DataType::Timestamp(..) => {
            data_type.clone()
        }
        integer if integer.is_integer() => data_type.clone(),
        string if is_string(string) => DataType::Utf8,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            DataType::Float64
        }
        DataType::Dictionary(_, values) => scalar_type(values)?,
        DataType::List(item) | DataType::LargeList(item) if is_string(item.data_type()) => {
            DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
        }
        _ => return None,
    })
}

fn ids(array: &ArrayRef, data_type: &DataType, column: &str, position: &Position) -> Result<ArrayRef> {
    let fail = |row: usize, problem: RowProblem| Error::Row {
        path: position.path.clone(),
        place: position.place(row),
        problem,
    };
    if let Some(row) = (array.null_count() > 0).then(|| (0..array.len()).find(|&row| array.is_null(row))).flatten() {
        return Err(fail(row, RowProblem::NullId(column.to_owned())));
    }
    let arrow = |error| Error::file(&position.path)(FileProblem::Arrow(error));
    if array.data_type().is_signed_integer() && *data_type == DataType::UInt64 {
        let signed = cast(array, &DataType::Int64).map_err(arrow)?;
        if let Some(row) = signed.as_primitive::<Int64Type>().values().iter().position(|&id| id < 0) {
            return Err(fail(row, RowProblem::NegativeId(column.to_owned())));
        }
    }
    cast_with_options(array, data_type, &CastOptions { safe: false, ..CastOptions::default() }).map_err(arrow)
}

/// Brings batches of one schema into that of a collection that exists: columns by name, cast where needed, null where the file
/// lacks one, left out where the collection does.
pub fn conform(
    path: &Path,
    from: &Schema,
    to: &SchemaRef,
) -> Result<impl Fn(&RecordBatch) -> Result<RecordBatch> + Send + use<>> {
    let fail = |problem| Error::file(path)(problem);
    let mut origins = Vec::with_capacity(to.fields().len());
    let vectors = vector_columns(to);
    for (index, expected) in to.fields().iter().enumerate() {
        let key = index == id_column(to);
        let found = if key { Some(id_column(from)) } else { from.index_of(expected.name()).ok() };
        let Some(found) = found else {
            if !expected.is_nullable() {
                return Err(fail(FileProblem::LacksColumn { column: expected.name().clone() }));
            }
            origins.push(None);
            continue;
        };
        let field = from.field(found);
        let same_metric = !vectors.contains(&index) || field.metadata().get(METRIC) == expected.metadata().get(METRIC);
        let castable = match (field.data_type(), expected.data_type()) {
            (DataType::FixedSizeList(_, a), DataType::FixedSizeList(_, b)) => a == b,
            (a, b) if key => a == b,
            (a, b) => a == b || (!vectors.contains(&index) && arrow::compute::can_cast_types(a, b)),
        };
        if !same_metric || !castable || (field.is_nullable() && !expected.is_nullable()) {
            let found = describe(field);
            return Err(fail(FileProblem::ColumnType {
                column: expected.name().clone(),
                found,
                expected: describe(expected),
            }));
        }
        origins.push(Some(found));
    }
    let (path, to) = (path.to_owned(), to.clone());
    Ok(move |batch: &RecordBatch| {
        let arrow = |error| Error::file(&path)(FileProblem::Arrow(error));
        let column = |(origin, field): (&Option<usize>, &Arc<Field>)| match origin {
            Some(index) => conformed(batch.column(*index), field.data_type()).map_err(arrow),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        };
        let columns = origins.iter().zip(to.fields()).map(column).collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(to.clone(), columns).map_err(arrow)
    })
}

fn conformed(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let (DataType::FixedSizeList(item, length), Some(list)) = (to, array.as_fixed_size_list_opt()) else {
        return cast(array, to);
    };
    let element = ElementType::of(item.data_type()).expect("a collection's vectors are of such");
    let values = convert(list.values(), element)?;
    Ok(Arc::new(FixedSizeListArray::try_new(item.clone(), *length, values, None)?))
}

/// A field in words: `384 × Float16, cosine`.
fn describe(field: &Field) -> String {
    let mut words = match field.data_type() {
        DataType::FixedSizeList(_, length) if says_bf16(field) => format!("{length} × bf16"),
        DataType::FixedSizeList(item, length) => format!("{length} × {}", item.data_type()),
        other => other.to_string(),
    };
    if let Some(metric) = field.metadata().get(METRIC) {
        words.push_str(", ");
        words.push_str(metric);
    } else if field.is_nullable() {
        words.push_str(", nullable");
    }
    words
}

/// The batches of a reader, mapped, with their place in the file kept.
pub fn mapped(
    mapping: Mapping,
    path: &Path,
    first_row: u64,
    batches: impl Iterator<Item = Result<Columns>> + Send + 'static,
) -> Box<dyn Iterator<Item = Result<RecordBatch>> + Send> {
    let path = path.to_owned();
    let mut row = 0u64;
    Box::new(batches.map(move |batch| {
        let read = batch?;
        let position = Position { path: path.clone(), rows: Rows::From(row) };
        let mapped = mapping.apply(&read, &position, first_row + row)?;
        row += read.rows as u64;
        Ok(mapped)
    }))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, Float64Array, Int32Array, ListArray, StringArray};
    use arrow::datatypes::Float32Type;

    use super::super::Coding;
    use super::*;

    fn options() -> SourceOptions {
        SourceOptions {
            id: None,
            vectors: Vec::new(),
            metric: Metric::Cosine,
            element: None,
            coding: Coding::default(),
            edges: crate::sources::EdgeOptions::default(),
            batch_rows: 100,
            signed_ids: false,
            first_row: 0,
        }
    }

    fn list(rows: &[&[f32]]) -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(
            rows.iter().map(|row| Some(row.iter().map(|value| Some(*value)).collect::<Vec<_>>())),
        ))
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn map(batch: &RecordBatch, options: &SourceOptions) -> Result<(RecordBatch, Vec<String>)> {
        let path = Path::new("file");
        let length = |index: usize| Ok(Some(batch.column(index).as_list::<i32>().value_length(0)));
        let mapping = Mapping::derive(path, &batch.schema(), options, length)?;
        let read = batch.project(&mapping.file_columns).unwrap();
        let position = Position { path: path.to_owned(), rows: Rows::From(1000) };
        Ok((mapping.apply(&read.into(), &position, 7)?, mapping.notes))
    }

    #[test]
    fn row_numbers_are_ids_where_the_file_has_none() {
        let file = batch(vec![("v", list(&[&[1.0, 0.0], &[0.0, 1.0]]))]);
        let (mapped, notes) = map(&file, &options()).unwrap();
        assert_eq!(mapped.column(0).as_primitive::<arrow::datatypes::UInt64Type>().values(), &[7, 8]);
        assert_eq!(mapped.schema().field(0).metadata()[ROLE], "id");
        assert_eq!(mapped.schema().field(1).metadata()[METRIC], "cosine");
        assert_eq!(mapped.column(1).as_fixed_size_list().value_length(), 2);
        assert!(notes.is_empty());
    }

    #[test]
    fn columns_are_kept_cast_or_dropped_with_a_note() {
        let names = StringArray::from(vec!["a", "b"]);
        let file = batch(vec![
            ("key", Arc::new(Int32Array::from(vec![5, 6]))),
            ("v", list(&[&[1.0, 0.0], &[0.0, 1.0]])),
            ("name", cast(&names, &DataType::LargeUtf8).unwrap()),
            ("half", cast(&Float32Array::from(vec![0.5, 1.5]), &DataType::Float16).unwrap()),
            ("raw", cast(&names, &DataType::Binary).unwrap()),
        ]);
        let (mapped, notes) = map(&file, &SourceOptions { id: Some("key".into()), ..options() }).unwrap();
        let types: Vec<_> =
            mapped.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect();
        assert_eq!(types[0], ("key".into(), DataType::UInt64));
        assert_eq!(types[2], ("name".into(), DataType::Utf8));
        assert_eq!(types[3], ("half".into(), DataType::Float32));
        assert_eq!(types.len(), 4);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[1].contains("`raw`") && notes[1].contains("Binary"), "{notes:?}");
    }

    #[test]
    fn bad_rows_are_named() {
        let good: ArrayRef = list(&[&[1.0, 0.0], &[0.0, 1.0]]);
        let fail = |file: &RecordBatch, options: SourceOptions| map(file, &options).unwrap_err().to_string();
        let negative = batch(vec![("id", Arc::new(Int32Array::from(vec![1, -1]))), ("v", good.clone())]);
        assert_eq!(
            fail(&negative, options()),
            "file, row 1001: column `id`: the id is negative; --signed-ids takes such"
        );
        let (taken, _) = map(&negative, &SourceOptions { signed_ids: true, ..options() }).unwrap();
        assert_eq!(taken.column(0).as_primitive::<Int64Type>().values(), &[1, -1]);
        let null = batch(vec![("id", Arc::new(StringArray::from(vec![Some("a"), None]))), ("v", good)]);
        assert_eq!(fail(&null, options()), "file, row 1001: column `id`: the id is null");
        let nan = batch(vec![("v", list(&[&[1.0, 0.0], &[0.0, f32::NAN]]))]);
        assert_eq!(fail(&nan, options()), "file, row 1001: column `v`: the vector holds NaN or infinity");
        let zero = batch(vec![("v", list(&[&[0.0, -0.0], &[0.0, 1.0]]))]);
        assert!(fail(&zero, options()).starts_with("file, row 1000: column `v`: a zero vector has no cosine"));
        assert!(map(&zero, &SourceOptions { metric: Metric::L2, ..options() }).is_ok());
        let ragged = batch(vec![("v", list(&[&[1.0, 0.0], &[0.0, 1.0], &[1.0]]))]);
        assert_eq!(
            fail(&ragged, options()),
            "file, row 1002: column `v`: the vector has 1 elements, those before have 2"
        );
    }

    #[test]
    fn choices_that_the_file_does_not_have_are_refused() {
        let vector = list(&[&[1.0, 0.0]]);
        let file = batch(vec![("a", vector.clone()), ("b", vector), ("x", Arc::new(Float64Array::from(vec![1.0])))]);
        let fail = |options: SourceOptions| map(&file, &options).unwrap_err().to_string();
        assert!(fail(options()).contains("several columns can be vectors: a, b; choose with --vector"));
        let vectors = |name: &str| SourceOptions { vectors: vec![name.into()], ..options() };
        assert!(map(&file, &vectors("a")).is_ok());
        assert!(fail(vectors("x")).contains("column `x` is Float64, vectors are lists"));
        assert!(fail(vectors("y")).contains("no column `y`; it has a, b, x"));
        assert!(
            fail(SourceOptions { id: Some("x".into()), ..vectors("a") })
                .contains("column `x` is Float64, ids are integers or strings")
        );
        assert!(
            fail(SourceOptions { metric: Metric::Hamming, ..vectors("a") }).contains("hamming needs fixed-size binary")
        );
    }

    #[test]
    fn conform_casts_fills_and_refuses() {
        let file = batch(vec![("v", list(&[&[1.0, 0.5]])), ("n", Arc::new(Int32Array::from(vec![3])))]);
        let (mapped, _) = map(&file, &options()).unwrap();
        let v = mapped.schema().field(1).clone();
        let id = mapped.schema().field(0).clone();
        let half = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float16, false)), 2);
        let target = |fields: Vec<Field>| Arc::new(Schema::new(fields));
        let to = target(vec![
            id.clone(),
            v.clone().with_data_type(half),
            Field::new("n", DataType::Int64, true),
            Field::new("new", DataType::Utf8, true),
        ]);
        let out = conform(Path::new("file"), &mapped.schema(), &to).unwrap()(&mapped).unwrap();
        assert_eq!(out.schema(), to);
        assert_eq!(out.column(3).null_count(), 1);
        let refuse = |fields: Vec<Field>| {
            conform(Path::new("file"), &mapped.schema(), &target(fields)).err().unwrap().to_string()
        };
        assert!(refuse(vec![id.clone(), v.clone(), Field::new("new", DataType::Utf8, false)]).contains("`new`"));
        let longer = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, false)), 3);
        assert!(
            refuse(vec![id.clone(), v.clone().with_data_type(longer)])
                .contains("is 2 × Float32, cosine, in the collection it is 3 × Float32")
        );
        let dot = v.with_metadata([(METRIC, "dot")]);
        assert!(refuse(vec![id, dot]).contains("in the collection it is 2 × Float32, dot"));
    }
}
