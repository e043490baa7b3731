//! Distances of 384 elements: each element kind on each instruction set of this CPU, beside the scalar kernels.
//!
//! - `pair`: two vectors of a set that stays in the first cache: the arithmetic alone.
//! - `rows`: one query against rows at random in a span that no cache holds: arithmetic, or memory where that is slower.
//!
//! - `tile`: many rows against many, in `tiles.rs`.
//!
//! Every answer is held against the scalar kernel's.

use std::hint::black_box;
use std::time::Instant;

use half::{bf16, f16};
use kernels::{Distance, ElementKind, Isa, Kernels, Metric, Rows};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::report::{Figure, median};

mod tiles;

pub(crate) use tiles::thread_seconds;

const DIMENSION: usize = 384;
/// Bytes of the rows that are read at random.
const SPAN_BYTES: usize = 128 << 20;
const QUICK_SPAN_BYTES: usize = 2 << 20;
/// Rows of the set that stays in cache, a query each.
const HOT_ROWS: usize = 8;
/// Ids of one call of `rows`, and calls of `pair` in one round.
const CALLS: usize = 4_096;
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 3;
/// Two sums in another order differ by this share of the sum of magnitudes, at most.
const TOLERANCE: f32 = 1e-4;

/// The metric that each kind is mostly used with.
const CASES: [(ElementKind, Metric, &str); 10] = [
    (ElementKind::F32, Metric::Cosine, "f32 cosine"),
    (ElementKind::F16, Metric::Cosine, "f16 cosine"),
    (ElementKind::Bf16, Metric::Cosine, "bf16 cosine"),
    (ElementKind::I8, Metric::L2, "i8 l2"),
    (ElementKind::U8, Metric::L2, "u8 l2"),
    (ElementKind::I32, Metric::L2, "i32 l2"),
    (ElementKind::Bits, Metric::Hamming, "bits hamming"),
    (ElementKind::Code8, Metric::Dot, "int8 code dot"),
    (ElementKind::Code4, Metric::Dot, "int4 code dot"),
    (ElementKind::Code1, Metric::Dot, "binary code dot"),
];

/// Measures all kinds on all instruction sets; `quick` is a smoke test.
pub fn run(quick: bool) -> Vec<Figure> {
    let (span_bytes, rounds) = if quick { (QUICK_SPAN_BYTES, QUICK_ROUNDS) } else { (SPAN_BYTES, ROUNDS) };
    let tables = Kernels::available();
    let mut figures = Vec::new();
    for (kind, metric, name) in CASES {
        let data = Data::new(kind, span_bytes, rounds);
        let distance = |table: &Kernels| table.distance(kind, metric).expect("a pair that there is");
        let scalar = distance(tables[0]);
        for (form, measure) in [("pair", pair_ns as Measure), ("rows", rows_ns)] {
            let mut scalar_ns = 0.0;
            for table in &tables {
                let isa = table.isa();
                if !is_of_its_own(isa, kind, false) {
                    continue;
                }
                let ns = measure(&data, distance(table), scalar);
                let figure = Figure::new(format!("{name}, {form}, {isa}"), ns, "ns");
                figures.push(if isa == Isa::Scalar {
                    scalar_ns = ns;
                    figure
                } else {
                    figure.beside("scalar", scalar_ns)
                });
            }
        }
    }
    figures.extend(tiles::run(quick));
    figures
}

/// Whether the kernels of a kind of element, tiles or single distances, are others than those of the instruction set before.
fn is_of_its_own(isa: Isa, kind: ElementKind, is_tile: bool) -> bool {
    let is_of_bytes = matches!(kind, ElementKind::I8 | ElementKind::U8 | ElementKind::Code8 | ElementKind::Code4);
    let is_of_bits = matches!(kind, ElementKind::Bits | ElementKind::Code1);
    match isa {
        Isa::Scalar | Isa::Avx2 | Isa::Avx512 => true,
        Isa::Avx512Vnni => is_of_bytes || is_of_bits,
        Isa::Avx512Popcnt => is_of_bits,
        Isa::Amx => is_tile && is_of_bytes,
    }
}

/// Nanoseconds a row with the first distance, whose results are checked against the second.
type Measure = fn(&Data, Distance, Distance) -> f64;

struct Data {
    kind: ElementKind,
    bytes: Vec<u8>,
    row_bytes: usize,
    /// Ids of each round.
    ids: Vec<Vec<u32>>,
}

impl Data {
    fn new(kind: ElementKind, span_bytes: usize, rounds: usize) -> Data {
        /// Rows that differ; the span repeats them.
        const DISTINCT: usize = 1_000;
        let mut random = SmallRng::seed_from_u64(1);
        let row_bytes = kind.bytes(DIMENSION);
        let mut pattern = Vec::with_capacity(DISTINCT * row_bytes);
        while pattern.len() < DISTINCT * row_bytes {
            match kind {
                ElementKind::F32 => pattern.extend((random.random::<f32>() - 0.5).to_le_bytes()),
                ElementKind::F16 => pattern.extend(f16::from_f32(random.random::<f32>() - 0.5).to_le_bytes()),
                ElementKind::Bf16 => pattern.extend(bf16::from_f32(random.random::<f32>() - 0.5).to_le_bytes()),
                ElementKind::I32 => pattern.extend(random.random_range(-1_000_000..=1_000_000_i32).to_le_bytes()),
                ElementKind::I8 | ElementKind::U8 | ElementKind::Bits | ElementKind::Code4 | ElementKind::Code1 => {
                    pattern.push(random.random())
                }
                ElementKind::Code8 => pattern.push(random.random_range(1..=255)),
            }
        }
        let bytes = pattern.repeat((span_bytes / pattern.len()).max(1));
        let rows = (bytes.len() / row_bytes) as u32;
        // A round finds none of its rows in a cache because of the round before.
        let ids = (0..rounds).map(|_| (0..CALLS).map(|_| random.random_range(0..rows)).collect()).collect();
        Data { kind, bytes, row_bytes, ids }
    }

    fn row(&self, index: usize) -> &[u8] {
        &self.bytes[index * self.row_bytes..][..self.row_bytes]
    }

    fn rows(&self) -> Rows<'_> {
        Rows::from_slice(&self.bytes, self.row_bytes)
    }
}

fn pair_ns(data: &Data, distance: Distance, scalar: Distance) -> f64 {
    let query = data.row(HOT_ROWS);
    for row in 0..HOT_ROWS {
        check((distance.pair)(query, data.row(row)), (scalar.pair)(query, data.row(row)));
    }
    let round = |_| {
        let started = Instant::now();
        let mut sum = 0.0;
        for call in 0..CALLS {
            sum += (distance.pair)(black_box(query), data.row(call % HOT_ROWS));
        }
        black_box(sum);
        started.elapsed().as_nanos() as f64 / CALLS as f64
    };
    median((0..data.ids.len()).map(round).collect())
}

fn rows_ns(data: &Data, distance: Distance, scalar: Distance) -> f64 {
    let row = data.row(0);
    let mut query = Vec::new();
    data.kind.row_as_query(row, &mut query);
    let mut out = vec![0.0; CALLS];
    let mut round = |ids: &Vec<u32>| {
        let started = Instant::now();
        (distance.rows)(black_box(&query), data.rows(), ids, &mut out);
        started.elapsed().as_nanos() as f64 / CALLS as f64
    };
    let ns = median(data.ids.iter().map(&mut round).collect());
    let last = data.ids.last().expect("a round");
    for (&id, &found) in last.iter().zip(&out).step_by(64) {
        check(found, (scalar.pair)(row, data.row(id as usize)));
    }
    ns
}

fn check(found: f32, expected: f32) {
    let allowed = TOLERANCE * expected.abs().max(1.0);
    assert!((found - expected).abs() <= allowed, "{found}, and the scalar kernel says {expected}");
}
