//! Vectors of every element type, and their distances by the formula.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use engine::schema::{EF_CONSTRUCTION_KEY, ELEMENT_KEY, INDEX_KEY, M_KEY, METRIC_KEY, ROLE_KEY};
use half::{bf16, f16};

use super::{Column, Kind};
use crate::random::Random;

/// Directions that vectors gather around.
const CENTRES: u64 = 12;

/// The index that a vector column asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Index {
    /// The one that there is where nothing is said.
    #[default]
    Usual,
    /// None: every search is exact.
    Flat,
    /// A graph of so many links, made with so many candidates.
    Graph {
        /// Links of a row.
        m: u16,
        /// Candidates for them.
        ef_construction: u16,
    },
}

/// A kind of vectors that a collection can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorKind {
    /// Element type, as the metadata of a field names it.
    pub element: &'static str,
    /// Metric, likewise.
    pub metric: &'static str,
    /// Elements.
    pub dimension: usize,
    /// What is asked for besides.
    pub index: Index,
}

/// Every element type with every metric that it can have.
pub fn every_kind() -> Vec<(&'static str, &'static str)> {
    let elements = ["f32", "f16", "bf16", "i8", "u8", "i32"];
    let metrics = ["cosine", "l2", "dot"];
    let pairs = elements.iter().flat_map(|&element| metrics.map(|metric| (element, metric)));
    pairs.chain([("bits", "hamming")]).collect()
}

impl VectorKind {
    /// Its name.
    pub fn name(&self) -> String {
        format!("{}_{}", self.element, self.metric)
    }

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
        let index = match self.index {
            Index::Usual => vec![],
            Index::Flat => vec![(INDEX_KEY, "flat".to_owned())],
            Index::Graph { m, ef_construction } => {
                vec![(M_KEY, m.to_string()), (EF_CONSTRUCTION_KEY, ef_construction.to_string())]
            }
        };
        let kind = [(ROLE_KEY, "vector"), (METRIC_KEY, self.metric), (ELEMENT_KEY, self.element)];
        let kind = kind.map(|(key, value)| (key, value.to_owned()));
        let metadata = kind.into_iter().chain(index).map(|(key, value)| (key.to_owned(), value));
        let field = Field::new(self.name(), data_type, false).with_metadata(metadata.collect::<HashMap<_, _>>());
        Column { field, kind: Kind::Vector(*self) }
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
        let element = |&value: &f32| match self.element {
            "i8" => f64::from(value * 60.0),
            "u8" => f64::from(value * 60.0 + 128.0),
            "i32" => f64::from(value * 1e6),
            _ => f64::from(value),
        };
        self.store(&values.iter().map(element).collect::<Vec<_>>())
    }

    /// Elements as they are stored; of bits those above 0 are set. What does not fit whole numbers is cut off.
    pub fn store(&self, values: &[f64]) -> Vec<u8> {
        let each = |of: &dyn Fn(f64) -> Vec<u8>| values.iter().flat_map(|&value| of(value)).collect();
        match self.element {
            "f32" => each(&|value| (value as f32).to_le_bytes().to_vec()),
            "f16" => each(&|value| f16::from_f64(value).to_le_bytes().to_vec()),
            "bf16" => each(&|value| bf16::from_f64(value).to_le_bytes().to_vec()),
            "i8" => each(&|value| (value as i8).to_le_bytes().to_vec()),
            "u8" => each(&|value| vec![value as u8]),
            "i32" => each(&|value| (value as i32).to_le_bytes().to_vec()),
            _ => {
                let byte = |eight: &[f64]| (0..8).map(|bit| u8::from(eight[bit] > 0.0) << bit).sum();
                values.chunks(8).map(byte).collect()
            }
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
        self.distance_of(&self.decode(a), &self.decode(b))
    }

    /// As [`VectorKind::distance`], of the elements.
    pub fn distance_of(&self, a: &[f64], b: &[f64]) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        match self.metric {
            "l2" => a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum(),
            "dot" => -dot(a, b),
            "cosine" => 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
            _ => a.iter().zip(b).filter(|(a, b)| a != b).count() as f64,
        }
    }

    /// The similarity that a distance stands for.
    pub fn similarity(&self, distance: f64) -> f64 {
        match self.metric {
            "l2" => 1.0 / (1.0 + distance),
            "dot" => -distance,
            "cosine" => 1.0 - distance,
            _ => 1.0 - distance / self.dimension as f64,
        }
    }

    /// The query that rows make, by their elements and the words of the document: more like some, away from others.
    pub fn blend(&self, like: &[Vec<f64>], unlike: &[Vec<f64>]) -> Vec<f64> {
        if let ([one], []) = (like, unlike) {
            return one.clone();
        }
        let prepared = |vector: &Vec<f64>| -> Vec<f64> {
            let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
            let scaled = |x: &f64| match self.metric {
                "cosine" => x / norm,
                "hamming" => x * 2.0 - 1.0,
                _ => *x,
            };
            vector.iter().map(scaled).collect()
        };
        let mean = |vectors: &[Vec<f64>]| -> Vec<f64> {
            let prepared: Vec<Vec<f64>> = vectors.iter().map(prepared).collect();
            (0..self.dimension).map(|at| prepared.iter().map(|v| v[at]).sum::<f64>() / vectors.len() as f64).collect()
        };
        let mut query = mean(like);
        if !unlike.is_empty() {
            let away = mean(unlike);
            query.iter_mut().zip(away).for_each(|(x, away)| *x += *x - away);
        }
        let longest = query.iter().fold(0.0f64, |longest, x| longest.max(x.abs()));
        let whole = |query: Vec<f64>, least: f64, most: f64| -> Vec<f64> {
            let scale = if self.metric == "cosine" { most / longest } else { 1.0 };
            query.into_iter().map(|x| (x * scale).round().clamp(least, most)).collect()
        };
        match self.element {
            "i8" => whole(query, -128.0, 127.0),
            "u8" => whole(query, 0.0, 255.0),
            "i32" => whole(query, f64::from(i32::MIN), f64::from(i32::MAX)),
            "bits" => {
                let bit = |(x, first): (f64, &f64)| if x.abs() < 1e-9 { *first } else { f64::from(u8::from(x > 0.0)) };
                query.into_iter().zip(&like[0]).map(bit).collect()
            }
            _ => self.decode(&self.store(&query)),
        }
    }

    /// How far a distance may be from the formula: distances are `f32`, and of floats they are sums of `f32`.
    pub fn slack(&self, a: &[u8], b: &[u8]) -> f64 {
        self.slack_of(&self.decode(a), &self.decode(b))
    }

    /// As [`VectorKind::slack`], of the elements.
    pub fn slack_of(&self, a: &[f64], b: &[f64]) -> f64 {
        if self.element == "bits" {
            return 0.0;
        }
        let magnitude: f64 = match self.metric {
            "cosine" => 1.0,
            "l2" => a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum(),
            _ => a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum(),
        };
        2e-6 * magnitude * (self.dimension as f64).sqrt() + f64::from(f32::MIN_POSITIVE)
    }
}
