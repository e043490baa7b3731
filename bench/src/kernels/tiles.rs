//! Tile kernels: many rows against many, beside the same distances one row after the other, and beside other libraries.
//!
//! A panel of [`ROWS`] rows with itself, in thousand million multiplications (of bits: comparisons) a second of one core. Times are those that the thread
//! was given by the CPU (CLOCK_THREAD_CPUTIME_ID), so that a busy machine disturbs them less; of each the best of some rounds in
//! which all take turns.
//!
//! - `distances`: all of them, written out. `nearest`: the [`NEAREST`] nearest of each row. `within`: the same by `nearest_within`.
//! - `rows`: the same distances by [`Distance::rows`], a row at a time, of rows that stay in cache: the baseline.
//! - matrixmultiply: a product of f32 matrices of the same size. SimSIMD: its distance of two vectors, beside `pair`.

use std::hint::black_box;

use kernels::{Distance, ElementKind, Kernels, Metric, Nearest, Panel, Tile};
use simsimd::SpatialSimilarity;

use super::{DIMENSION, Data, check, is_of_its_own};
use crate::report::Figure;

const ROWS: usize = 1_000;
const NEAREST: usize = 16;
const ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 2;
/// Rows that are measured one after the other.
const SINGLE_ROWS: usize = 50;
/// Pairs of one round.
const PAIRS: usize = 20_000;

const CASES: [(ElementKind, Metric, &str); 5] = [
    (ElementKind::Code8, Metric::Dot, "int8 code dot"),
    (ElementKind::I8, Metric::Cosine, "i8 cosine"),
    (ElementKind::Bits, Metric::Hamming, "bits hamming"),
    (ElementKind::F32, Metric::Cosine, "f32 cosine"),
    (ElementKind::F32, Metric::L2, "f32 l2"),
];

/// Measures the tile kernels.
pub(super) fn run(quick: bool) -> Vec<Figure> {
    let rounds = if quick { QUICK_ROUNDS } else { ROUNDS };
    let mut figures = Vec::new();
    for (kind, metric, name) in CASES {
        let data = Data::new(kind, 0, 0);
        for table in &Kernels::available()[1..] {
            if !is_of_its_own(table.isa(), kind, true) {
                continue;
            }
            figures.extend(tiles(&data, table, (kind, metric, name), rounds));
        }
    }
    figures.extend(beside_others(rounds));
    figures
}

/// What is measured of one tile, in seconds.
struct Seconds {
    distances: f64,
    nearest: f64,
    within: f64,
    rows: f64,
}

fn tiles(
    data: &Data,
    table: &Kernels,
    (kind, metric, name): (ElementKind, Metric, &str),
    rounds: usize,
) -> Vec<Figure> {
    let tile = table.tile(kind, metric).expect("a pair that there is");
    let distance = table.distance(kind, metric).expect("a pair that there is");
    let ids: Vec<u32> = (0..ROWS as u32).collect();
    let mut panel = Panel::new();
    (tile.pack)(data.rows(), &ids, &mut panel);
    check_tile(data, &panel, tile, Kernels::available()[0].distance(kind, metric).expect("a pair that there is"));

    let mut distances = vec![0.0; ROWS * ROWS];
    let mut nearest = vec![Nearest::NONE; ROWS];
    let mut best =
        Seconds { distances: f64::INFINITY, nearest: f64::INFINITY, within: f64::INFINITY, rows: f64::INFINITY };
    for _ in 0..rounds {
        lower(&mut best.distances, || (tile.distances)(&panel, 0..ROWS, &panel, &mut distances));
        lower(&mut best.nearest, || (tile.nearest)(&panel, &panel, NEAREST, &mut nearest));
        lower(&mut best.within, || (tile.nearest_within)(&panel, NEAREST, &mut nearest));
        lower(&mut best.rows, || {
            for row in 0..SINGLE_ROWS {
                (distance.rows)(data.row(row), data.rows(), &ids, &mut distances[..ROWS]);
            }
        });
    }
    let isa = table.isa();
    let rows = giga(SINGLE_ROWS * ROWS * DIMENSION, best.rows);
    [("distances", best.distances), ("nearest", best.nearest), ("within", best.within)]
        .map(|(form, seconds)| {
            let value = giga(ROWS * ROWS * DIMENSION, seconds);
            Figure::new(format!("tile, {name}, {form}, {isa}"), value, "GMAC/s").beside("rows", rows)
        })
        .into()
}

/// Holds a few rows against the scalar kernel.
fn check_tile(data: &Data, panel: &Panel, tile: Tile, scalar: Distance) {
    let mut distances = vec![0.0; ROWS * ROWS];
    (tile.distances)(panel, 0..ROWS, panel, &mut distances);
    let mut nearest = vec![Nearest::NONE; ROWS];
    (tile.nearest)(panel, panel, NEAREST, &mut nearest);
    for row in (0..ROWS).step_by(97) {
        let distances = &distances[row * ROWS..][..ROWS];
        for column in (0..ROWS).step_by(89) {
            check(distances[column], (scalar.pair)(data.row(row), data.row(column)));
        }
        let mut others: Vec<f32> = distances.to_vec();
        others.remove(row);
        others.sort_by(f32::total_cmp);
        let mut found = nearest[row].distances;
        found.sort_by(f32::total_cmp);
        assert_eq!(found, others[..NEAREST], "the nearest of row {row}");
    }
}

fn beside_others(rounds: usize) -> Vec<Figure> {
    let best = Kernels::available().pop().expect("the scalar kernels are always there");
    let floats = Data::new(ElementKind::F32, 0, 0);
    let values: Vec<f32> = floats.bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let mut figures = vec![beside_matrixmultiply(best, &floats, &values, rounds)];

    let integers = Data::new(ElementKind::I8, 0, 0);
    let signed: Vec<i8> = integers.bytes.iter().map(|byte| byte.cast_signed()).collect();
    let pair = |kind, metric| best.distance(kind, metric).expect("a pair that there is").pair;
    let (i8_dot, f32_cosine) = (pair(ElementKind::I8, Metric::Dot), pair(ElementKind::F32, Metric::Cosine));
    let i8_seconds = beside_pair(
        rounds,
        |row| i8_dot(integers.row(0), integers.row(row)).into(),
        |row| -i8::dot(&signed[..DIMENSION], &signed[row * DIMENSION..][..DIMENSION]).expect("the same length"),
    );
    let f32_seconds = beside_pair(
        rounds,
        |row| f32_cosine(floats.row(0), floats.row(row)).into(),
        |row| f32::cosine(&values[..DIMENSION], &values[row * DIMENSION..][..DIMENSION]).expect("the same length"),
    );
    figures.extend([("i8 dot", i8_seconds), ("f32 cosine", f32_seconds)].map(|(name, [ours, theirs])| {
        Figure::new(format!("{name}, pair, {}", best.isa()), ours, "ns").beside("SimSIMD", theirs)
    }));
    figures
}

fn beside_matrixmultiply(best: &Kernels, data: &Data, values: &[f32], rounds: usize) -> Figure {
    let tile = best.tile(ElementKind::F32, Metric::Dot).expect("a pair that there is");
    let mut panel = Panel::new();
    (tile.pack)(data.rows(), &(0..ROWS as u32).collect::<Vec<u32>>(), &mut panel);
    let (mut distances, mut products) = (vec![0.0; ROWS * ROWS], vec![0.0; ROWS * ROWS]);
    let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        lower(&mut ours, || (tile.distances)(&panel, 0..ROWS, &panel, &mut distances));
        lower(&mut theirs, || {
            let (a, c) = (values.as_ptr(), products.as_mut_ptr());
            let (row, element) = (DIMENSION as isize, 1);
            // SAFETY: matrices of so many elements with these strides; the second is the first, read as its transpose.
            unsafe {
                matrixmultiply::sgemm(
                    ROWS,
                    DIMENSION,
                    ROWS,
                    1.0,
                    a,
                    row,
                    element,
                    a,
                    element,
                    row,
                    0.0,
                    c,
                    ROWS as isize,
                    1,
                );
            }
        });
        distances.iter().zip(&products).step_by(997).for_each(|(distance, product)| check(-distance, *product));
    }
    let count = ROWS * ROWS * DIMENSION;
    Figure::new(format!("tile, f32 dot, distances, {}", best.isa()), giga(count, ours), "GMAC/s")
        .beside("matrixmultiply", giga(count, theirs))
}

/// Nanoseconds of two ways to the same distances of a row and the first.
fn beside_pair(rounds: usize, ours: impl Fn(usize) -> f64, theirs: impl Fn(usize) -> f64) -> [f64; 2] {
    (0..super::HOT_ROWS).for_each(|row| check(ours(row) as f32, theirs(row) as f32));
    let mut best = [f64::INFINITY; 2];
    for _ in 0..rounds {
        lower(&mut best[0], || many_pairs(&ours));
        lower(&mut best[1], || many_pairs(&theirs));
    }
    best.map(|seconds| seconds * 1e9 / PAIRS as f64)
}

fn many_pairs(distance: impl Fn(usize) -> f64) {
    for call in 0..PAIRS {
        black_box(distance(black_box(call % super::HOT_ROWS)));
    }
}

fn giga(products: usize, seconds: f64) -> f64 {
    products as f64 / seconds / 1e9
}

/// Keeps the least time that `work` took the thread, in seconds.
fn lower(best: &mut f64, work: impl FnOnce()) {
    let started = thread_seconds();
    work();
    *best = best.min(thread_seconds() - started);
}

/// Time that this thread had a core, in seconds: what others do on the machine is left out.
pub(crate) fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable, and every Linux has this clock.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "the clock of the thread");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
