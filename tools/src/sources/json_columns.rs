//! Columns that are filled from JSON values: the type of each is inferred from the first lines, then kept.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeListArray, Float32Array, Float64Builder, Int64Builder, ListBuilder,
    StringBuilder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field};
use engine::schema::TYPE_KEY;
use simd_json::prelude::*;
use simd_json::value::tape::Value;

use crate::error::RowProblem;

/// What the values of a key are. Ordered from the narrowest to the widest within numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only nulls so far.
    Null,
    /// true, false.
    Boolean,
    /// Whole numbers.
    Integer,
    /// Whole numbers, one of them beyond i64.
    Unsigned,
    /// Numbers.
    Number,
    /// Strings.
    Text,
    /// Arrays without elements: of text, where no others come.
    Empty,
    /// Arrays of strings.
    Texts,
    /// Arrays of that many numbers.
    Vector(usize),
    /// Objects, and arrays of anything else: kept as JSON.
    Json,
    /// Anything else, or several of the above: not stored.
    Other,
}

impl Kind {
    /// The kind of one value.
    pub fn of(value: &Value<'_, '_>) -> Kind {
        match value.value_type() {
            ValueType::Null => Kind::Null,
            ValueType::Bool => Kind::Boolean,
            ValueType::I64 => Kind::Integer,
            ValueType::U64 if value.is_i64() => Kind::Integer,
            ValueType::U64 => Kind::Unsigned,
            ValueType::F64 => Kind::Number,
            ValueType::String => Kind::Text,
            ValueType::Array => {
                let array = value.as_array().expect("its type says so");
                if array.is_empty() {
                    Kind::Empty
                } else if array.iter().all(|item| item.cast_f64().is_some()) {
                    Kind::Vector(array.len())
                } else if array.iter().all(|item| item.is_str()) {
                    Kind::Texts
                } else {
                    Kind::Json
                }
            }
            ValueType::Object => Kind::Json,
            _ => Kind::Other,
        }
    }

    /// The kind that holds the values of both. Vectors of two lengths stay the first: the row is refused when it is read.
    pub fn join(self, other: Kind) -> Kind {
        use Kind::*;
        match (self, other) {
            (a, b) if a == b => a,
            (Null, a) | (a, Null) => a,
            (Integer | Unsigned | Number, Number) | (Number, Integer | Unsigned) => Number,
            (Integer, Unsigned) | (Unsigned, Integer) => Unsigned,
            (Vector(length), Vector(_) | Empty) | (Empty, Vector(length)) => Vector(length),
            (Texts, Empty) | (Empty, Texts) => Texts,
            (Json | Texts | Vector(_), Json | Empty | Texts | Vector(_)) | (Empty, Json) => Json,
            _ => Other,
        }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "true or false",
            Kind::Integer => "a whole number",
            Kind::Unsigned => "a whole number ≥ 0",
            Kind::Number => "a number",
            Kind::Text => "a string",
            Kind::Empty => "an empty array",
            Kind::Texts => "an array of strings",
            Kind::Vector(_) => "an array of numbers",
            Kind::Json => "an object or a mixed array",
            Kind::Other => "of several types",
        }
    }

    /// Field of a column of this kind; `None` where it is not stored.
    pub fn field(self, name: &str) -> Option<Field> {
        let data_type = match self {
            Kind::Boolean => DataType::Boolean,
            Kind::Integer => DataType::Int64,
            Kind::Unsigned => DataType::UInt64,
            Kind::Number => DataType::Float64,
            Kind::Text => DataType::Utf8,
            Kind::Empty | Kind::Texts => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
            Kind::Vector(length) => {
                let item = Arc::new(Field::new("item", DataType::Float32, false));
                return Some(Field::new(name, DataType::FixedSizeList(item, i32::try_from(length).ok()?), false));
            }
            Kind::Json => {
                return Some(Field::new(name, DataType::Utf8, true).with_metadata([(TYPE_KEY, "json")]));
            }
            Kind::Null | Kind::Other => return None,
        };
        Some(Field::new(name, data_type, true))
    }
}

/// One column in the making.
pub enum Column {
    /// Of [`Kind::Boolean`].
    Boolean(BooleanBuilder),
    /// Of [`Kind::Integer`].
    Integer(Int64Builder),
    /// Of [`Kind::Unsigned`].
    Unsigned(UInt64Builder),
    /// Of [`Kind::Number`].
    Number(Float64Builder),
    /// Of [`Kind::Text`].
    Text(StringBuilder),
    /// Of [`Kind::Json`].
    Json(StringBuilder),
    /// Of [`Kind::Texts`].
    Texts(ListBuilder<StringBuilder>),
    /// Of [`Kind::Vector`]: the length, and the elements of all rows.
    Vector(usize, Vec<f32>),
}

impl Column {
    /// An empty column; `None` for a kind that is not stored.
    pub fn new(kind: Kind) -> Option<Column> {
        Some(match kind {
            Kind::Boolean => Column::Boolean(BooleanBuilder::new()),
            Kind::Integer => Column::Integer(Int64Builder::new()),
            Kind::Unsigned => Column::Unsigned(UInt64Builder::new()),
            Kind::Number => Column::Number(Float64Builder::new()),
            Kind::Text => Column::Text(StringBuilder::new()),
            Kind::Json => Column::Json(StringBuilder::new()),
            Kind::Empty | Kind::Texts => Column::Texts(ListBuilder::new(StringBuilder::new())),
            Kind::Vector(length) => Column::Vector(length, Vec::new()),
            Kind::Null | Kind::Other => return None,
        })
    }

    /// Appends a value, or null where the key is absent.
    pub fn push(&mut self, value: Option<Value<'_, '_>>, name: &str) -> Result<(), RowProblem> {
        let value = value.filter(|value| !value.is_null());
        let Some(value) = value else {
            return self.push_null(name);
        };
        let stored = match self {
            Column::Boolean(column) => value.as_bool().map(|value| column.append_value(value)),
            Column::Integer(column) => value.as_i64().map(|value| column.append_value(value)),
            Column::Unsigned(column) => value.as_u64().map(|value| column.append_value(value)),
            Column::Number(column) => value.cast_f64().map(|value| column.append_value(value)),
            Column::Text(column) => value.as_str().map(|value| column.append_value(value)),
            Column::Json(column) => {
                column.append_value(value.encode());
                Some(())
            }
            Column::Texts(column) => push_texts(column, &value),
            Column::Vector(expected, elements) => return push_vector(*expected, elements, &value, name),
        };
        stored.ok_or_else(|| self.mismatch(&value, name))
    }

    fn push_null(&mut self, name: &str) -> Result<(), RowProblem> {
        match self {
            Column::Boolean(column) => column.append_null(),
            Column::Integer(column) => column.append_null(),
            Column::Unsigned(column) => column.append_null(),
            Column::Number(column) => column.append_null(),
            Column::Text(column) | Column::Json(column) => column.append_null(),
            Column::Texts(column) => column.append_null(),
            Column::Vector(..) => return Err(RowProblem::NullVector(name.to_owned())),
        }
        Ok(())
    }

    fn mismatch(&self, value: &Value<'_, '_>, name: &str) -> RowProblem {
        let kind = match self {
            Column::Boolean(_) => Kind::Boolean,
            Column::Integer(_) => Kind::Integer,
            Column::Unsigned(_) => Kind::Unsigned,
            Column::Number(_) => Kind::Number,
            Column::Text(_) => Kind::Text,
            Column::Json(_) => Kind::Json,
            Column::Texts(_) => Kind::Texts,
            Column::Vector(length, _) => Kind::Vector(*length),
        };
        RowProblem::ValueType { column: name.to_owned(), found: Kind::of(value).name(), expected: kind.name() }
    }

    /// The values so far; the column is empty after it.
    pub fn finish(&mut self) -> ArrayRef {
        match self {
            Column::Boolean(column) => Arc::new(column.finish()),
            Column::Integer(column) => Arc::new(column.finish()),
            Column::Unsigned(column) => Arc::new(column.finish()),
            Column::Number(column) => Arc::new(column.finish()),
            Column::Text(column) | Column::Json(column) => Arc::new(column.finish()),
            Column::Texts(column) => Arc::new(column.finish()),
            Column::Vector(length, elements) => {
                let item = Arc::new(Field::new("item", DataType::Float32, false));
                let values = Arc::new(Float32Array::from(std::mem::take(elements)));
                Arc::new(FixedSizeListArray::new(item, *length as i32, values, None))
            }
        }
    }
}

/// None where it is no array of strings.
fn push_texts(column: &mut ListBuilder<StringBuilder>, value: &Value<'_, '_>) -> Option<()> {
    let array = value.as_array()?;
    if !array.iter().all(|item| item.is_str()) {
        return None;
    }
    array.iter().for_each(|item| column.values().append_option(item.as_str()));
    column.append(true);
    Some(())
}

fn push_vector(expected: usize, elements: &mut Vec<f32>, value: &Value<'_, '_>, name: &str) -> Result<(), RowProblem> {
    let column = || name.to_owned();
    let mismatch = || RowProblem::ValueType {
        column: column(),
        found: Kind::of(value).name(),
        expected: Kind::Vector(expected).name(),
    };
    let array = value.as_array().ok_or_else(mismatch)?;
    if array.len() != expected {
        return Err(RowProblem::VectorLength { column: column(), found: array.len(), expected });
    }
    for item in array.iter() {
        if item.is_null() {
            return Err(RowProblem::NullVector(column()));
        }
        elements.push(item.cast_f64().ok_or_else(mismatch)? as f32);
    }
    Ok(())
}
