//! Columns of vectors: which Arrow types can be one, how they are brought into one shape, and the check of their values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeListArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float16Type, Float32Type, Int8Type, Int32Type, UInt8Type, UInt16Type,
};
use half::{bf16, f16};

use super::element::convert;
use super::{ElementType, Metric, Position};
use crate::error::{Error, FileProblem, Result, RowProblem};

/// Vectors shorter than this are not taken for vectors unless they are named.
const DIMENSION_MIN: i32 = 2;

/// What a column of a file is as a column of vectors.
#[derive(Debug, Clone, PartialEq)]
pub enum VectorShape {
    /// Lists of one length by their type.
    Fixed(i32),
    /// Lists whose length their values tell.
    Variable,
    /// Bits, packed.
    Bits(i32),
}

/// The shape of a column as vectors; `None` where it cannot be one.
pub fn shape(data_type: &DataType) -> Option<VectorShape> {
    match data_type {
        DataType::FixedSizeList(item, length) if *length >= DIMENSION_MIN && element(item.data_type()).is_some() => {
            Some(VectorShape::Fixed(*length))
        }
        DataType::List(item) | DataType::LargeList(item) if element(item.data_type()).is_some() => {
            Some(VectorShape::Variable)
        }
        DataType::FixedSizeBinary(bytes) if *bytes > 0 => Some(VectorShape::Bits(*bytes)),
        _ => None,
    }
}

/// The element type that is stored for one of a file, if nobody chose another: f64 is narrowed. Wider integers are no vectors.
fn element(data_type: &DataType) -> Option<ElementType> {
    match data_type {
        DataType::Float64 => Some(ElementType::F32),
        _ => ElementType::of(data_type),
    }
}

/// Dimension of a collection's vector column, bits counted one by one.
pub fn dimension(data_type: &DataType) -> Option<usize> {
    match shape(data_type)? {
        VectorShape::Fixed(length) => Some(length as usize),
        VectorShape::Bits(bytes) => Some(bytes as usize * 8),
        VectorShape::Variable => None,
    }
}

/// The type that a column of lists is stored as, with elements of `chosen` or else those of the file.
pub fn stored_type(data_type: &DataType, length: i32, chosen: Option<ElementType>) -> Option<DataType> {
    match data_type {
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => {
            let stored = chosen.map_or_else(|| element(item.data_type()), Some)?;
            element(item.data_type()).map(|_| DataType::FixedSizeList(item_field(stored), length))
        }
        DataType::FixedSizeBinary(bytes) => Some(DataType::FixedSizeBinary(*bytes)),
        _ => None,
    }
}

fn item_field(element: ElementType) -> FieldRef {
    Arc::new(Field::new("item", element.data_type(), false))
}

/// A column of vectors in the type that is stored, every row checked: there, whole, of one length.
pub fn to_stored(array: &ArrayRef, stored: &DataType, column: &str, position: &Position) -> Result<ArrayRef> {
    let fail = |row: usize, problem: RowProblem| Error::Row {
        path: position.path.clone(),
        place: position.place(row),
        problem,
    };
    if let Some(row) = (array.null_count() > 0).then(|| (0..array.len()).find(|&row| array.is_null(row))).flatten() {
        return Err(fail(row, RowProblem::NullVector(column.to_owned())));
    }
    let DataType::FixedSizeList(item, length) = stored else {
        return Ok(array.clone());
    };
    let expected = *length as usize;
    let values = match array.data_type() {
        DataType::FixedSizeList(..) => array.as_fixed_size_list().values().clone(),
        DataType::List(_) => {
            list_values(array.as_list::<i32>().offsets(), array.as_list::<i32>().values(), expected, column, &fail)?
        }
        DataType::LargeList(_) => {
            list_values(array.as_list::<i64>().offsets(), array.as_list::<i64>().values(), expected, column, &fail)?
        }
        _ => unreachable!("only lists are mapped to lists"),
    };
    if let Some(index) =
        (values.null_count() > 0).then(|| (0..values.len()).find(|&index| values.is_null(index))).flatten()
    {
        return Err(fail(index / expected, RowProblem::NullVector(column.to_owned())));
    }
    let arrow = |error| Error::file(&position.path)(FileProblem::Arrow(error));
    let element = ElementType::of(item.data_type()).expect("a type that is stored");
    let values = convert(&values, element).map_err(arrow)?;
    Ok(Arc::new(FixedSizeListArray::try_new(item.clone(), *length, values, None).map_err(arrow)?))
}

/// The values of lists, every list of the expected length.
fn list_values<O: arrow::array::OffsetSizeTrait>(
    offsets: &[O],
    values: &ArrayRef,
    expected: usize,
    column: &str,
    fail: &impl Fn(usize, RowProblem) -> Error,
) -> Result<ArrayRef> {
    for (row, ends) in offsets.windows(2).enumerate() {
        let found = (ends[1] - ends[0]).as_usize();
        if found != expected {
            return Err(fail(row, RowProblem::VectorLength { column: column.to_owned(), found, expected }));
        }
    }
    let first = offsets[0].as_usize();
    Ok(values.slice(first, offsets[offsets.len() - 1].as_usize() - first))
}

/// Checks that vectors are finite and, under cosine, not zero; the server would refuse the whole batch.
pub fn check_values(array: &ArrayRef, metric: Metric, column: &str, position: &Position) -> Result<()> {
    let Some(list) = array.as_fixed_size_list_opt() else {
        return Ok(());
    };
    let length = list.value_length() as usize;
    let problem = match list.value_type() {
        DataType::Float32 => {
            let values = list.values().as_primitive::<Float32Type>().values();
            not_finite(values, length, |value| value.is_finite())
                .or_else(|| zero(values, length, metric, |value| *value == 0.0))
        }
        DataType::Float16 => {
            let values = list.values().as_primitive::<Float16Type>().values();
            not_finite(values, length, |value| value.is_finite())
                .or_else(|| zero(values, length, metric, |value| *value == f16::ZERO))
        }
        DataType::UInt16 => {
            let values = list.values().as_primitive::<UInt16Type>().values();
            not_finite(values, length, |bits| bf16::from_bits(*bits).is_finite())
                .or_else(|| zero(values, length, metric, |bits| bf16::from_bits(*bits) == bf16::ZERO))
        }
        DataType::Int32 => {
            zero(list.values().as_primitive::<Int32Type>().values(), length, metric, |value| *value == 0)
        }
        DataType::Int8 => zero(list.values().as_primitive::<Int8Type>().values(), length, metric, |value| *value == 0),
        DataType::UInt8 => {
            zero(list.values().as_primitive::<UInt8Type>().values(), length, metric, |value| *value == 0)
        }
        _ => None,
    };
    let Some((row, make)) = problem else {
        return Ok(());
    };
    Err(Error::Row { path: position.path.clone(), place: position.place(row), problem: make(column.to_owned()) })
}

type Found = (usize, fn(String) -> RowProblem);

/// The first row with a value that is not finite. The whole is asked first, in a loop that vectorises.
fn not_finite<T>(values: &[T], length: usize, finite: impl Fn(&T) -> bool) -> Option<Found> {
    if values.chunks(1024).all(|chunk| chunk.iter().fold(true, |all, value| all & finite(value))) {
        return None;
    }
    let index = values.iter().position(|value| !finite(value))?;
    Some((index / length, RowProblem::NonFinite))
}

fn zero<T>(values: &[T], length: usize, metric: Metric, is_zero: impl Fn(&T) -> bool) -> Option<Found> {
    if metric != Metric::Cosine {
        return None;
    }
    let row = values.chunks(length).position(|vector| vector.iter().all(&is_zero))?;
    Some((row, RowProblem::ZeroVector))
}

/// The bytes of `array`'s vectors, row after row, in the element type of a collection's column: what a search takes.
///
/// `array` is a fixed-size list (of any numeric element) or fixed-size binary; `None` where it cannot be converted.
pub fn query_bytes(array: &ArrayRef, stored: &DataType) -> Option<Vec<u8>> {
    if let DataType::FixedSizeBinary(_) = stored {
        let bits: &FixedSizeBinaryArray = array.as_fixed_size_binary_opt()?;
        return Some((0..bits.len()).flat_map(|row| bits.value(row).to_vec()).collect());
    }
    let DataType::FixedSizeList(item, _) = stored else {
        return None;
    };
    let values = convert(array.as_fixed_size_list_opt()?.values(), ElementType::of(item.data_type())?).ok()?;
    // Primitive values have one buffer, and a cast may leave them at an offset in it.
    let data = values.to_data();
    let width = item.data_type().primitive_width()?;
    let bytes = data.buffers().first()?.get(data.offset() * width..)?.get(..data.len() * width)?;
    (values.null_count() == 0).then(|| bytes.to_vec())
}

/// Payload of the vector columns of a batch, in bytes: what MB/s counts.
pub fn vector_bytes(schema: &arrow::datatypes::Schema, rows: usize) -> usize {
    let row_bytes = |index: usize| match schema.field(index).data_type() {
        DataType::FixedSizeList(item, length) => item.data_type().primitive_width().unwrap_or(0) * *length as usize,
        DataType::FixedSizeBinary(bytes) => *bytes as usize,
        _ => 0,
    };
    rows * super::vector_columns(schema).into_iter().map(row_bytes).sum::<usize>()
}
