//! Element types of vectors: how each is stored in Arrow, and the conversions between them.
//!
//! Arrow has no bf16. A list of u16 whose field says `broadhead.element` = `bf16` holds the bits; of a vector's elements, u16 are
//! always that.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, UInt16Array};
use arrow::compute::{CastOptions, cast, cast_with_options, unary};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, UInt16Type};
use arrow::error::ArrowError;
use half::bf16;

use super::ELEMENT;

/// Element type of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ElementType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 16-bit floats with the range of 32-bit ones.
    Bf16,
    /// Signed bytes.
    I8,
    /// Unsigned bytes.
    U8,
    /// Signed 32-bit integers.
    I32,
}

impl ElementType {
    /// All of them.
    #[cfg(test)]
    pub const ALL: [ElementType; 6] =
        [ElementType::F32, ElementType::F16, ElementType::Bf16, ElementType::I8, ElementType::U8, ElementType::I32];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ElementType::F32 => "f32",
            ElementType::F16 => "f16",
            ElementType::Bf16 => "bf16",
            ElementType::I8 => "i8",
            ElementType::U8 => "u8",
            ElementType::I32 => "i32",
        }
    }

    /// Arrow's type of the elements.
    pub fn data_type(self) -> DataType {
        match self {
            ElementType::F32 => DataType::Float32,
            ElementType::F16 => DataType::Float16,
            ElementType::Bf16 => DataType::UInt16,
            ElementType::I8 => DataType::Int8,
            ElementType::U8 => DataType::UInt8,
            ElementType::I32 => DataType::Int32,
        }
    }

    /// What a vector's elements of an Arrow type are; `None` where vectors have none such.
    pub fn of(item: &DataType) -> Option<ElementType> {
        Some(match item {
            DataType::Float32 => ElementType::F32,
            DataType::Float16 => ElementType::F16,
            DataType::UInt16 => ElementType::Bf16,
            DataType::Int8 => ElementType::I8,
            DataType::UInt8 => ElementType::U8,
            DataType::Int32 => ElementType::I32,
            _ => return None,
        })
    }

    /// Whether elements are whole numbers.
    pub fn is_integer(self) -> bool {
        matches!(self, ElementType::I8 | ElementType::U8 | ElementType::I32)
    }
}

/// Whether a field's lists of u16 hold bf16.
pub fn says_bf16(field: &Field) -> bool {
    field.metadata().get(ELEMENT).is_some_and(|element| element == ElementType::Bf16.name())
}

/// Elements as another type: floats are rounded to the nearest that there is, to even between two.
///
/// # Errors
/// For a number that an integer type does not hold.
pub fn convert(values: &ArrayRef, to: ElementType) -> Result<ArrayRef, ArrowError> {
    if *values.data_type() == to.data_type() {
        return Ok(values.clone());
    }
    let values = if *values.data_type() == DataType::UInt16 { widened(values) } else { values.clone() };
    if to == ElementType::Bf16 {
        let wide = cast(&values, &DataType::Float32)?;
        let wide: &Float32Array = wide.as_primitive();
        let narrow: UInt16Array = unary(wide, |value| bf16::from_f32(value).to_bits());
        return Ok(Arc::new(narrow));
    }
    if to.is_integer() && values.data_type().is_floating() {
        let wide = cast(&values, &DataType::Float64)?;
        let whole = unary::<_, _, Float64Type>(wide.as_primitive::<Float64Type>(), f64::round_ties_even);
        return strict_cast(&whole, &to.data_type());
    }
    strict_cast(&values, &to.data_type())
}

fn strict_cast(values: &dyn Array, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(values, to, &CastOptions { safe: false, ..CastOptions::default() })
}

/// bf16 as f32, which is exact.
pub fn widened(bits: &ArrayRef) -> ArrayRef {
    let wide = |bits| bf16::from_bits(bits).to_f32();
    Arc::new(unary::<UInt16Type, _, Float32Type>(bits.as_primitive::<UInt16Type>(), wide))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn small_whole_numbers_are_the_same_in_every_type() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2, 96, 127]));
        for from in ElementType::ALL {
            let first = convert(&values, from).unwrap();
            assert_eq!(ElementType::of(first.data_type()), Some(from));
            for to in ElementType::ALL {
                let second = convert(&first, to).unwrap();
                assert_eq!(&second, &convert(&values, to).unwrap(), "{} to {}", from.name(), to.name());
                assert_eq!(to.is_integer(), to.data_type().is_integer() && to != ElementType::Bf16);
            }
        }
    }

    #[test]
    fn floats_are_rounded_and_what_does_not_fit_is_refused() {
        let values: ArrayRef = Arc::new(Float32Array::from(vec![1.5, 2.5, -0.4, 1.0 + 1.0 / 256.0]));
        assert_eq!(
            convert(&values, ElementType::I32).unwrap().as_ref(),
            &arrow::array::Int32Array::from(vec![2, 2, 0, 1])
        );
        let bits = convert(&values, ElementType::Bf16).unwrap();
        assert_eq!(widened(&bits).as_ref(), &Float32Array::from(vec![1.5, 2.5, bf16::from_f32(-0.4).to_f32(), 1.0]));
        let large: ArrayRef = Arc::new(Float32Array::from(vec![300.0]));
        assert!(convert(&large, ElementType::U8).unwrap_err().to_string().contains("300"));
        let largest: ArrayRef = Arc::new(Int64Array::from(vec![i64::from(i32::MAX) + 1]));
        assert!(convert(&largest, ElementType::I32).is_err());
    }
}
