//! Values of rows, and how they stand in Arrow arrays.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, ListBuilder,
    PrimitiveArray, StringArray, StringBuilder, make_array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMillisecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use engine::schema::{ROLE_KEY, TTL_KEY, TYPE_KEY};
use net::client::Id;

use crate::random::Random;

/// A value of any column.
#[derive(Clone, Debug)]
pub enum Value {
    /// None.
    Null,
    /// Of a boolean column.
    Bool(bool),
    /// Of a column of integers, dates or times.
    Int(i128),
    /// Of a column of floats.
    Float(f64),
    /// Of a column of text.
    Text(String),
    /// Of a column of lists of text.
    Tags(Vec<String>),
    /// The bytes of a vector.
    Vector(Vec<u8>),
}

impl PartialEq for Value {
    /// Floats are the same when their bits are.
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Tags(a), Value::Tags(b)) => a == b,
            (Value::Vector(a), Value::Vector(b)) => a == b,
            _ => false,
        }
    }
}

/// Texts that filters and facets meet again and again.
pub const TEXTS: [&str; 15] = [
    "",
    "a",
    "ab",
    "abc",
    "b",
    "größe",
    "grün",
    "zlib",
    "zlib1g",
    "lib zip tools",
    "tools for zip",
    "a \"quoted\" text",
    "zip tools for Zip tools, lib",
    "ab a b ab",
    "b a ab",
];

/// Times that rows live until, in milliseconds since 1970: of 2001, and of 2100.
const LONG_AGO_MS: i128 = 1_000_000_000_000;
const FAR_AHEAD_MS: i128 = 4_102_444_800_000;

impl Value {
    /// An id as a value.
    pub fn of_id(id: &Id) -> Value {
        match id {
            Id::U64(id) => Value::Int(i128::from(*id)),
            Id::I64(id) => Value::Int(i128::from(*id)),
            Id::Utf8(id) => Value::Text(id.clone()),
        }
    }

    /// The id that this value of an id column of a type is.
    pub fn to_id(&self, data_type: &DataType) -> Id {
        match self {
            Value::Int(id) if *data_type == DataType::Int64 => Id::I64(i64::try_from(*id).expect("an id")),
            Value::Int(id) => Id::U64(u64::try_from(*id).expect("an id")),
            Value::Text(id) => Id::Utf8(id.clone()),
            other => panic!("{other:?} is no id"),
        }
    }

    /// The bytes of a vector.
    pub fn vector(&self) -> &[u8] {
        let Value::Vector(bytes) = self else { panic!("{self:?} is no vector") };
        bytes
    }

    /// A value of a scalar column, from few, so that many are equal; the ends of the type among them.
    pub fn random(field: &Field, random: &mut Random) -> Value {
        if field.is_nullable() && random.below(6) == 0 {
            return Value::Null;
        }
        if field.metadata().contains_key(TTL_KEY) {
            return Value::Int(
                if random.below(4) == 0 { LONG_AGO_MS } else { FAR_AHEAD_MS } + i128::from(random.below(3)),
            );
        }
        if field.metadata().get(ROLE_KEY).is_some_and(|role| role == "edge_weight") {
            return Value::Float([0.0, 0.25, 0.5, 3.0][random.below(4) as usize]);
        }
        match field.data_type() {
            DataType::Boolean => Value::Bool(random.below(2) == 0),
            DataType::Utf8 if field.metadata().contains_key(TYPE_KEY) => {
                let texts = [r#"{"a": [1, "ü"]}"#, "null", "17", r#"  ["x"] "#, r#""text""#];
                Value::Text(texts[random.below(texts.len() as u64) as usize].to_owned())
            }
            DataType::List(_) => {
                let tag = |random: &mut Random| TEXTS[random.below(TEXTS.len() as u64) as usize].to_owned();
                Value::Tags((0..random.below(4)).map(|_| tag(random)).collect())
            }
            DataType::Utf8 => Value::Text(TEXTS[random.below(TEXTS.len() as u64) as usize].to_owned()),
            DataType::Float32 | DataType::Float64 => {
                let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0];
                match random.below(12) {
                    0 => Value::Float(odd[random.below(odd.len() as u64) as usize]),
                    _ => Value::Float((random.below(17) as f64 - 8.0) / 2.0),
                }
            }
            data_type => {
                let (least, greatest) = ends(data_type);
                match random.below(12) {
                    0 => Value::Int(least),
                    1 => Value::Int(greatest),
                    _ => Value::Int((i128::from(random.below(12)) - 4).clamp(least, greatest)),
                }
            }
        }
    }
}

/// Least and greatest value of a type of whole numbers.
fn ends(data_type: &DataType) -> (i128, i128) {
    let signed = |bits: u32| (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1);
    let unsigned = |bits: u32| (0, (1i128 << bits) - 1);
    match data_type {
        DataType::Int8 => signed(8),
        DataType::Int16 => signed(16),
        DataType::Int32 | DataType::Date32 => signed(32),
        DataType::Int64 | DataType::Timestamp(..) => signed(64),
        DataType::UInt8 => unsigned(8),
        DataType::UInt16 => unsigned(16),
        DataType::UInt32 => unsigned(32),
        DataType::UInt64 => unsigned(64),
        other => panic!("{other} has no ends"),
    }
}

/// What is done with the Arrow type of a column of numbers.
macro_rules! with_primitive {
    ($data_type:expr, $call:ident($($argument:expr),*)) => {
        match $data_type {
            DataType::Int8 => $call::<Int8Type>($($argument),*),
            DataType::Int16 => $call::<Int16Type>($($argument),*),
            DataType::Int32 => $call::<Int32Type>($($argument),*),
            DataType::Int64 => $call::<Int64Type>($($argument),*),
            DataType::UInt8 => $call::<UInt8Type>($($argument),*),
            DataType::UInt16 => $call::<UInt16Type>($($argument),*),
            DataType::UInt32 => $call::<UInt32Type>($($argument),*),
            DataType::UInt64 => $call::<UInt64Type>($($argument),*),
            DataType::Date32 => $call::<Date32Type>($($argument),*),
            DataType::Timestamp(TimeUnit::Millisecond, None) => $call::<TimestampMillisecondType>($($argument),*),
            other => panic!("{other} is no column of the model"),
        }
    };
}

fn integers<T: ArrowPrimitiveType<Native: TryFrom<i128>>>(values: &[&Value]) -> ArrayRef {
    let integer = |value: &&Value| match value {
        Value::Null => None,
        Value::Int(value) => Some(T::Native::try_from(*value).ok().expect("it fits the type")),
        other => panic!("{other:?} in a column of whole numbers"),
    };
    Arc::new(PrimitiveArray::<T>::from_iter(values.iter().map(integer)))
}

fn integer<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &ArrayRef, row: usize) -> Value {
    Value::Int(array.as_primitive::<T>().value(row).into())
}

/// Values as an array of a type.
pub fn array(data_type: &DataType, values: &[&Value]) -> ArrayRef {
    let float = |value: &&Value| match value {
        Value::Null => None,
        Value::Float(value) => Some(*value),
        other => panic!("{other:?} in a column of floats"),
    };
    match data_type {
        DataType::Boolean => {
            let value = |value: &&Value| if let Value::Bool(value) = value { Some(*value) } else { None };
            Arc::new(values.iter().map(value).collect::<BooleanArray>())
        }
        DataType::Utf8 => {
            let text = |value: &&Value| if let Value::Text(text) = value { Some(text.clone()) } else { None };
            Arc::new(values.iter().map(text).collect::<StringArray>())
        }
        DataType::List(item) => {
            let mut builder = ListBuilder::new(StringBuilder::new()).with_field(item.clone());
            for value in values {
                match value {
                    Value::Tags(tags) => builder.append_value(tags.iter().map(Some)),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        DataType::Float32 => Arc::new(PrimitiveArray::<Float32Type>::from_iter(
            values.iter().map(|value| float(value).map(|value| value as f32)),
        )),
        DataType::Float64 => Arc::new(PrimitiveArray::<Float64Type>::from_iter(values.iter().map(float))),
        DataType::FixedSizeBinary(_) => {
            let rows = values.iter().map(|value| value.vector());
            Arc::new(FixedSizeBinaryArray::try_from_iter(rows).expect("rows of one length"))
        }
        DataType::FixedSizeList(item, length) => {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.vector().iter().copied()).collect();
            let items = arrow::array::ArrayData::builder(item.data_type().clone())
                .len(values.len() * *length as usize)
                .add_buffer(Buffer::from_vec(bytes))
                .align_buffers(true)
                .build();
            let items = make_array(items.expect("elements of the type"));
            Arc::new(FixedSizeListArray::new(item.clone(), *length, items, None))
        }
        other => with_primitive!(other, integers(values)),
    }
}

/// The value of a row of an array.
pub fn cell(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::List(_) => {
            let tags = array.as_list::<i32>().value(row);
            Value::Tags(tags.as_string::<i32>().iter().map(|tag| tag.expect("never null").to_owned()).collect())
        }
        DataType::Float32 => Value::Float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::FixedSizeBinary(_) => Value::Vector(array.as_fixed_size_binary().value(row).to_vec()),
        DataType::FixedSizeList(_, length) => {
            let lists = array.as_fixed_size_list();
            let items = lists.values().to_data();
            let width = items.data_type().primitive_width().expect("elements are numbers");
            let bytes = *length as usize * width;
            let start = items.offset() * width + lists.value_offset_at(row) * width;
            Value::Vector(items.buffers()[0].as_slice()[start..start + bytes].to_vec())
        }
        other => with_primitive!(other, integer(array, row)),
    }
}
