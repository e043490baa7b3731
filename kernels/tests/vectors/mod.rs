//! Random vectors, and the runner of random tests.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::OnceLock;

use half::{bf16, f16};
use kernels::ElementKind;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// The seed of this run.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("BROADHEAD_SEED") {
        Ok(seed) => seed.parse().expect("BROADHEAD_SEED is a number"),
        Err(_) => 20_250_101,
    })
}

/// Runs `test` on `cases` random inputs.
pub fn check<S: Strategy>(cases: u32, input: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    println!("BROADHEAD_SEED={}", seed());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed().to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(&input, test) {
        panic!("{error}");
    }
}

/// Bytes of one element; a bit vector counts by bytes.
pub fn element_bytes(kind: ElementKind) -> usize {
    match kind {
        ElementKind::Bits => 1,
        _ => kind.bytes(1),
    }
}

/// The values of a vector of floats or i32; none for other kinds.
pub fn values(kind: ElementKind, vector: &[u8]) -> Vec<f64> {
    let f32_value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap()).into();
    let f16_value = |bytes: &[u8]| f16::from_le_bytes(bytes.try_into().unwrap()).to_f64();
    let bf16_value = |bytes: &[u8]| bf16::from_le_bytes(bytes.try_into().unwrap()).to_f64();
    let i32_value = |bytes: &[u8]| i32::from_le_bytes(bytes.try_into().unwrap()).into();
    match kind {
        ElementKind::F32 => vector.chunks_exact(4).map(f32_value).collect(),
        ElementKind::F16 => vector.chunks_exact(2).map(f16_value).collect(),
        ElementKind::Bf16 => vector.chunks_exact(2).map(bf16_value).collect(),
        ElementKind::I32 => vector.chunks_exact(4).map(i32_value).collect(),
        _ => Vec::new(),
    }
}

/// Which numbers a random vector is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Numbers {
    /// What vectors hold, mostly within ±1.
    Usual,
    /// The largest and smallest of the type among usual ones.
    Extreme,
    /// Subnormal numbers, and others whose squares are too small for the type.
    Tiny,
    /// NaN and infinity among usual ones.
    NotFinite,
}

/// Random numbers, xorshift64* (Vigna, arXiv 1402.6246).
pub struct Source(u64);

impl Source {
    /// A source that repeats for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A usual number.
    pub fn usual(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// An `f32`.
    pub fn float(&mut self, numbers: Numbers) -> f32 {
        let odd = match numbers {
            Numbers::Usual => self.below(50) == 0,
            Numbers::Extreme => self.below(8) == 0,
            Numbers::Tiny => true,
            Numbers::NotFinite => self.below(400) == 0,
        };
        if !odd {
            return self.usual();
        }
        match numbers {
            Numbers::Usual => self.pick(&[0.0, -0.0, 100.0, -1000.0]),
            Numbers::Extreme => self.pick(&[f32::MAX, f32::MIN, 65504.0, 1e19, f32::MIN_POSITIVE, 1e-45]),
            Numbers::Tiny => self.usual() * self.pick(&[1e-20, 1e-37, 1e-40, 1e-44]),
            Numbers::NotFinite => self.pick(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
        }
    }

    /// The bytes of a vector, after `start` bytes that are no part of it.
    pub fn vector(&mut self, kind: ElementKind, length: usize, numbers: Numbers, start: usize) -> Vec<u8> {
        let mut vector = vec![0xa5; start];
        for _ in 0..length {
            match kind {
                ElementKind::F32 => vector.extend(self.float(numbers).to_le_bytes()),
                ElementKind::F16 => vector.extend(self.half(numbers).to_le_bytes()),
                ElementKind::Bf16 => vector.extend(self.brain_half(numbers).to_le_bytes()),
                ElementKind::I32 => vector.extend(self.integer(numbers).to_le_bytes()),
                _ => vector.push(self.byte(numbers)),
            }
        }
        vector
    }

    fn half(&mut self, numbers: Numbers) -> f16 {
        match numbers {
            Numbers::Extreme => {
                let value = self.usual();
                f16::from_f32(self.pick(&[value, value, value, 65504.0, -65504.0, 6e-8]))
            }
            Numbers::Tiny => f16::from_bits(self.next() as u16 & 0x83ff),
            _ => f16::from_f32(self.float(numbers)),
        }
    }

    fn brain_half(&mut self, numbers: Numbers) -> bf16 {
        match numbers {
            Numbers::Extreme => {
                let value = bf16::from_f32(self.usual());
                let smallest = bf16::from_bits(1);
                self.pick(&[value, value, value, value, bf16::MAX, bf16::MIN, bf16::MIN_POSITIVE, smallest])
            }
            Numbers::Tiny => bf16::from_bits(self.next() as u16 & 0x83ff),
            _ => bf16::from_f32(self.float(numbers)),
        }
    }

    fn integer(&mut self, numbers: Numbers) -> i32 {
        let value = self.next() as i32;
        match numbers {
            Numbers::Usual => value >> 20,
            Numbers::Extreme => self.pick(&[value, value, i32::MIN, i32::MAX, 0, -1]),
            Numbers::Tiny => self.pick(&[0, 0, 0, 1, -1]),
            Numbers::NotFinite => value,
        }
    }

    fn byte(&mut self, numbers: Numbers) -> u8 {
        match numbers {
            Numbers::Extreme => self.pick(&[0, 1, 127, 128, 129, 255]),
            Numbers::Tiny => self.pick(&[0, 0, 0, 128, 255]),
            _ => self.next() as u8,
        }
    }
}
