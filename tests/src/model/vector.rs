//! Vectors of every element type, and their distances by the formula.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use half::{bf16, f16};

use super::{Column, Kind};
use crate::random::Random;

/// Directions that vectors gather around.
const CENTRES: u64 = 12;

/// A kind of vectors that a collection can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorKind {
    /// Element type, as the metadata of a field names it.
    pub element: &'static str,
    /// Metric, likewise.
    pub metric: &'static str,
    /// Elements.
    pub dimension: usize,
}

/// Every element type with every metric that it can have.
pub fn every_kind() -> Vec<(&'static str, &'static str)> {
    let elements = ["f32", "f16", "bf16", "i8", "u8", "i32"];
    let metrics = ["cosine", "l2", "dot"];
    let pairs = elements.iter().flat_map(|&element| metrics.map(|metric| (element, metric)));
    pairs.chain([("bits", "hamming")]).collect()
}

impl VectorKind {
    /// A column of this kind, named by it.
    pub fn column(&self) -> Column {
        let item =
            |data_type| DataType::FixedSizeList(Arc::new(Field::new("item", data_type, true)), self.dimension as i32);
        let data_type = match self.element {
            "f32" => item(DataType::Float32),
            "f16" => item(DataType::Float16),
            "bf16" => item(DataType::UInt16),
            "i8" => item(DataType::Int8),
            "u8" => item(DataType::UInt8),
            "i32" => item(DataType::Int32),
            "bits" => DataType::FixedSizeBinary(self.dimension as i32 / 8),
            other => panic!("{other} is no element type"),
        };
        let metadata =
            [("broadhead.role", "vector"), ("broadhead.metric", self.metric), ("broadhead.element", self.element)];
        let name = format!("{}_{}", self.element, self.metric);
        Column { field: Field::new(name, data_type, false).with_metadata(metadata), kind: Kind::Vector(*self) }
    }

    /// A vector near one of a few directions, as it is stored.
    pub fn random(&self, random: &mut Random) -> Vec<u8> {
        let centre = random.below(CENTRES);
        let mut of_centre = Random::new(centre);
        let values: Vec<f32> = (0..self.dimension).map(|_| of_centre.unit() + 0.5 * random.unit()).collect();
        self.encode(&values)
    }

    /// Numbers in about −1.5..1.5 as a vector, as it is stored.
    pub fn encode(&self, values: &[f32]) -> Vec<u8> {
        let each = |of: &dyn Fn(f32) -> Vec<u8>| values.iter().flat_map(|&value| of(value)).collect();
        match self.element {
            "f32" => each(&|value| value.to_le_bytes().to_vec()),
            "f16" => each(&|value| f16::from_f32(value).to_le_bytes().to_vec()),
            "bf16" => each(&|value| bf16::from_f32(value).to_le_bytes().to_vec()),
            "i8" => each(&|value| ((value * 60.0) as i8).to_le_bytes().to_vec()),
            "u8" => each(&|value| vec![(value * 60.0 + 128.0) as u8]),
            "i32" => each(&|value| ((value * 1e6) as i32).to_le_bytes().to_vec()),
            _ => values
                .chunks(8)
                .map(|eight| eight.iter().fold(0, |byte, value| byte << 1 | u8::from(*value > 0.0)))
                .collect(),
        }
    }

    /// The elements of a vector; of bits one by one.
    pub fn decode(&self, bytes: &[u8]) -> Vec<f64> {
        fn each<const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            bytes.as_chunks::<N>().0.iter().map(|&element| of(element)).collect()
        }
        match self.element {
            "f32" => each(bytes, |element| f64::from(f32::from_le_bytes(element))),
            "f16" => each(bytes, |element| f16::from_le_bytes(element).to_f64()),
            "bf16" => each(bytes, |element| bf16::from_le_bytes(element).to_f64()),
            "i8" => each(bytes, |element| f64::from(i8::from_le_bytes(element))),
            "u8" => each(bytes, |[element]| f64::from(element)),
            "i32" => each(bytes, |element| f64::from(i32::from_le_bytes(element))),
            _ => bytes.iter().flat_map(|byte| (0..8).map(move |bit| f64::from(byte >> bit & 1))).collect(),
        }
    }

    /// The distance of two vectors by its formula.
    pub fn distance(&self, a: &[u8], b: &[u8]) -> f64 {
        let (a, b) = (self.decode(a), self.decode(b));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        match self.metric {
            "l2" => a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum(),
            "dot" => -dot(&a, &b),
            "cosine" => 1.0 - dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt(),
            _ => a.iter().zip(&b).filter(|(a, b)| a != b).count() as f64,
        }
    }

    /// How far a distance may be from the formula: distances are `f32`, and of floats they are sums of `f32`.
    pub fn slack(&self, a: &[u8], b: &[u8]) -> f64 {
        if self.element == "bits" {
            return 0.0;
        }
        let (a, b) = (self.decode(a), self.decode(b));
        let magnitude: f64 = match self.metric {
            "cosine" => 1.0,
            "l2" => a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum(),
            _ => a.iter().zip(&b).map(|(a, b)| (a * b).abs()).sum(),
        };
        2e-6 * magnitude * (self.dimension as f64).sqrt() + f64::from(f32::MIN_POSITIVE)
    }
}
