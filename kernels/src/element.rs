//! The element kinds as types, for the kernels that are generic over them.

use half::{bf16, f16};

/// One element kind whose elements are whole bytes.
pub(crate) trait Element {
    /// Bytes of one element.
    const BYTES: usize;

    /// The value of the element that fills `bytes`.
    fn value(bytes: &[u8]) -> f64;
}

/// [`crate::ElementKind::F32`].
pub(crate) struct F32;
/// [`crate::ElementKind::F16`].
pub(crate) struct F16;
/// [`crate::ElementKind::Bf16`].
pub(crate) struct Bf16;
/// [`crate::ElementKind::I8`].
pub(crate) struct I8;
/// [`crate::ElementKind::U8`].
pub(crate) struct U8;
/// [`crate::ElementKind::I32`].
pub(crate) struct I32;
/// [`crate::ElementKind::Code8`].
pub(crate) struct Code8;
/// [`crate::ElementKind::Code4`], which is no [`Element`]: two share a byte.
pub(crate) struct Code4;
/// [`crate::ElementKind::Code1`], which is no [`Element`]: eight share a byte.
pub(crate) struct Code1;

impl Element for F32 {
    const BYTES: usize = 4;

    fn value(bytes: &[u8]) -> f64 {
        f64::from(f32::from_le_bytes(bytes.try_into().expect("an f32 has 4 bytes")))
    }
}

impl Element for F16 {
    const BYTES: usize = 2;

    // `to_f32_const` and not `to_f32`: it is the same on every CPU.
    fn value(bytes: &[u8]) -> f64 {
        f64::from(f16::from_le_bytes(bytes.try_into().expect("an f16 has 2 bytes")).to_f32_const())
    }
}

impl Element for Bf16 {
    const BYTES: usize = 2;

    fn value(bytes: &[u8]) -> f64 {
        f64::from(bf16::from_le_bytes(bytes.try_into().expect("a bf16 has 2 bytes")).to_f32_const())
    }
}

impl Element for I8 {
    const BYTES: usize = 1;

    fn value(bytes: &[u8]) -> f64 {
        f64::from(bytes[0].cast_signed())
    }
}

impl Element for U8 {
    const BYTES: usize = 1;

    fn value(bytes: &[u8]) -> f64 {
        f64::from(bytes[0])
    }
}

impl Element for I32 {
    const BYTES: usize = 4;

    fn value(bytes: &[u8]) -> f64 {
        f64::from(i32::from_le_bytes(bytes.try_into().expect("an i32 has 4 bytes")))
    }
}

impl Element for Code8 {
    const BYTES: usize = 1;

    fn value(bytes: &[u8]) -> f64 {
        f64::from(bytes[0]) - 128.0
    }
}
