//! Every instruction set against the scalar oracle, and the oracle against values known by hand.
//!
//! The seed of the random tests is fixed, so that a run repeats; `BROADHEAD_SEED` sets another. It is printed,
//! and a test that fails shows its output.

mod vectors;

use kernels::{ElementKind, Isa, Kernels, MAX_DIMENSION, Metric, Rows};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use vectors::{Numbers, Source, check, element_bytes, seed, values};

/// Longest vector of the random tests.
const LENGTH_MAX: usize = 1100;
/// Two sums of `f32` products in different orders differ by no more than this share of Σ|ab|.
const TOLERANCE: f64 = 4e-6;

fn scalar() -> &'static Kernels {
    Kernels::available()[0]
}

fn vector_tables() -> Vec<&'static Kernels> {
    Kernels::available().split_off(1)
}

fn pairs() -> impl Iterator<Item = (ElementKind, Metric)> {
    ElementKind::ALL
        .into_iter()
        .flat_map(|kind| Metric::ALL.map(|metric| (kind, metric)))
        .filter(|(kind, metric)| scalar().distance(*kind, *metric).is_some())
}

/// Holds every instruction set against the oracle, on two vectors of `length` in every kind.
fn agree(source: &mut Source, length: usize, numbers: Numbers, starts: [usize; 2]) -> Result<(), TestCaseError> {
    for (kind, metric) in pairs() {
        let [a, b] = starts.map(|start| source.vector(kind, length, numbers, start));
        let (a, b) = (&a[starts[0]..], &b[starts[1]..]);
        let want = (scalar().distance(kind, metric).unwrap().pair)(a, b);
        prop_assert!(!want.is_nan(), "the oracle gives NaN for {kind:?} {metric:?}");
        let tolerance = tolerance(kind, metric, a, b, want);
        for kernels in vector_tables() {
            let isa = kernels.isa();
            let got = (kernels.distance(kind, metric).unwrap().pair)(a, b);
            let error = f64::from(got) - f64::from(want);
            prop_assert!(
                got == want || error.abs() <= tolerance,
                "{isa} {kind:?} {metric:?}, {length} elements: {got} and not {want}"
            );
        }
    }
    Ok(())
}

/// What sums of `f32` may be off by: a share of the magnitudes that are summed, and what is below its smallest
/// normal number. Sums of i32 are off by what `wide.rs` says, on both sides, before they are rounded to the same `f32` or to
/// neighbours. Bytes may not be off at all.
fn tolerance(kind: ElementKind, metric: Metric, a: &[u8], b: &[u8], want: f32) -> f64 {
    if !matches!(kind, ElementKind::F32 | ElementKind::F16 | ElementKind::Bf16 | ElementKind::I32) {
        return 0.0;
    }
    let terms = values(kind, a).into_iter().zip(values(kind, b));
    let magnitude: f64 = match metric {
        Metric::Cosine => 1.0,
        Metric::L2 => terms.map(|(x, y)| (x - y) * (x - y)).sum(),
        _ => terms.map(|(x, y)| (x * y).abs()).sum(),
    };
    if kind == ElementKind::I32 {
        let lost = a.len() as f64 * f64::EPSILON * magnitude;
        return if lost == 0.0 { 0.0 } else { lost + f64::from(want.abs()) * f64::from(f32::EPSILON) };
    }
    let underflow = a.len() as f64 * f64::from(f32::MIN_POSITIVE);
    if magnitude.is_finite() { TOLERANCE * magnitude + underflow } else { 0.0 }
}

#[test]
fn every_length_agrees_with_the_oracle() {
    let mut source = Source::new(seed());
    for length in 1..=LENGTH_MAX {
        let starts = [length % 7, length % 5];
        agree(&mut source, length, Numbers::Usual, starts).unwrap();
    }
}

#[test]
fn random_vectors_agree_with_the_oracle() {
    let numbers = prop_oneof![
        2 => Just(Numbers::Usual),
        2 => Just(Numbers::Extreme),
        1 => Just(Numbers::Tiny),
        1 => Just(Numbers::NotFinite),
    ];
    let input = (1..=LENGTH_MAX, numbers, [0usize..64, 0usize..64], any::<u64>());
    check(1500, input, |(length, numbers, starts, data)| agree(&mut Source::new(data), length, numbers, starts));
}

#[test]
fn byte_sums_are_exact_at_the_largest_dimension() {
    let bytes = |a: u8, b: u8| [vec![a; MAX_DIMENSION], vec![b; MAX_DIMENSION]];
    let n = MAX_DIMENSION as f64;
    let (low, high) = (i8::MIN.cast_unsigned(), i8::MAX.cast_unsigned());
    let cases = [
        (ElementKind::I8, Metric::L2, bytes(low, high), 255.0 * 255.0 * n),
        (ElementKind::I8, Metric::Dot, bytes(low, low), -128.0 * 128.0 * n),
        (ElementKind::I8, Metric::Dot, bytes(low, high), 128.0 * 127.0 * n),
        (ElementKind::U8, Metric::L2, bytes(0, 255), 255.0 * 255.0 * n),
        (ElementKind::U8, Metric::Dot, bytes(255, 255), -255.0 * 255.0 * n),
        (ElementKind::Code8, Metric::L2, bytes(0, 255), 255.0 * 255.0 * n),
        (ElementKind::Code8, Metric::Dot, bytes(0, 0), -128.0 * 128.0 * n),
        (ElementKind::Code8, Metric::Dot, bytes(255, 0), 127.0 * 128.0 * n),
        (ElementKind::Code4, Metric::L2, bytes(0, 255), 2.0 * 15.0 * 15.0 * n),
        (ElementKind::Code4, Metric::Dot, bytes(0, 0), -2.0 * 64.0 * n),
        (ElementKind::Code4, Metric::Dot, bytes(0xf0, 0), (56.0 - 64.0) * n),
        (ElementKind::Code1, Metric::Dot, bytes(0, 255), 8.0 * n),
        (ElementKind::Code1, Metric::Dot, bytes(0x0f, 0x1f), -6.0 * n),
        (ElementKind::I8, Metric::Cosine, bytes(low, high), 2.0),
        (ElementKind::U8, Metric::Cosine, bytes(255, 255), 0.0),
        (ElementKind::Bits, Metric::Hamming, bytes(0, 255), 8.0 * n),
    ];
    for (kind, metric, [a, b], want) in cases {
        for kernels in Kernels::available() {
            let got = (kernels.distance(kind, metric).unwrap().pair)(&a, &b);
            assert_eq!(got, want as f32, "{} {kind:?} {metric:?}", kernels.isa());
        }
    }
}

/// i32 against sums of i128: exact as long as `wide.rs` says so, and at the extremes the `f32` next to the true one, or itself.
#[test]
fn i32_sums_are_those_of_wide_integers() {
    let mut source = Source::new(seed());
    for (dimension, shift) in [(384, 0), (384, 11), (8192, 11), (8192, 0), (MAX_DIMENSION, 0)] {
        let mut vector = |extreme: bool| -> Vec<i32> {
            let value = |_| if extreme { source.pick(&[i32::MIN, i32::MAX]) } else { source.next() as i32 };
            (0..dimension).map(value).map(|x| x >> shift).collect()
        };
        let pairs =
            [(vector(false), vector(false)), (vector(true), vector(true)), (vec![i32::MIN; dimension], vector(true))];
        for (a, b) in &pairs {
            let terms = || a.iter().zip(b).map(|(&x, &y)| (i128::from(x), i128::from(y)));
            let l2: i128 = terms().map(|(x, y)| (x - y) * (x - y)).sum();
            let dot: i128 = terms().map(|(x, y)| -x * y).sum();
            let magnitude: i128 = terms().map(|(x, y)| (x * y).abs()).sum();
            let [a, b] = [a, b].map(|vector| vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
            for (metric, want, terms) in [(Metric::L2, l2, l2), (Metric::Dot, dot, magnitude)] {
                // The scalar oracle rounds product and sum.
                let lost = if terms <= 1 << 53 { 0.0 } else { dimension as f64 * f64::EPSILON * terms as f64 };
                for kernels in Kernels::available() {
                    let got = (kernels.distance(ElementKind::I32, metric).unwrap().pair)(&a, &b);
                    let nearest = [want as f64 - lost, want as f64 + lost].map(|sum| sum as f32);
                    let found = (nearest[0]..=nearest[1]).contains(&got);
                    assert!(found, "{} {metric:?} {dimension} >> {shift}: {got} and not {want}", kernels.isa());
                }
            }
        }
    }
}

#[test]
fn what_has_no_value_has_a_defined_answer() {
    let vector = |values: [f32; 3]| {
        let mut vector = vec![0u8; 0];
        // Long enough that whole registers and a tail take part.
        for i in 0..77 {
            vector.extend(values[i % 3].to_le_bytes());
        }
        vector
    };
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    let (zero, one) = (vector([0.0; 3]), vector([1.0; 3]));
    let cases = [
        (Metric::Cosine, &zero, &one, 1.0),
        (Metric::Cosine, &zero, &zero, 1.0),
        (Metric::Cosine, &vector([-0.0; 3]), &one, 1.0),
        (Metric::Cosine, &vector([nan, 1.0, 1.0]), &one, infinity),
        (Metric::Cosine, &vector([nan, 1.0, 1.0]), &zero, infinity),
        (Metric::Cosine, &vector([infinity, 1.0, 1.0]), &one, infinity),
        (Metric::Cosine, &vector([f32::MAX; 3]), &one, 0.0),
        (Metric::Cosine, &vector([f32::MAX; 3]), &vector([f32::MIN; 3]), 2.0),
        (Metric::Cosine, &vector([1e-40; 3]), &vector([-1e-40; 3]), 2.0),
        (Metric::Cosine, &vector([1e-30; 3]), &vector([3e30; 3]), 0.0),
        (Metric::L2, &vector([nan, 1.0, 1.0]), &one, infinity),
        (Metric::L2, &vector([infinity; 3]), &vector([infinity; 3]), infinity),
        (Metric::L2, &vector([f32::MAX; 3]), &vector([f32::MIN; 3]), infinity),
        (Metric::Dot, &vector([nan, 1.0, 1.0]), &one, infinity),
        (Metric::Dot, &vector([infinity, 1.0, 1.0]), &one, -infinity),
        (Metric::Dot, &vector([infinity, 1.0, -infinity]), &one, infinity),
        (Metric::Dot, &vector([infinity, 1.0, 1.0]), &zero, infinity),
        (Metric::Dot, &vector([f32::MAX; 3]), &vector([f32::MAX; 3]), -infinity),
    ];
    for (metric, a, b, want) in cases {
        for kernels in Kernels::available() {
            let isa = kernels.isa();
            let distance = kernels.distance(ElementKind::F32, metric).unwrap();
            let got = [(distance.pair)(a, b), (distance.pair)(b, a)];
            let near = got.iter().all(|x| *x == want || (x - want).abs() < 1e-6);
            assert!(near, "{isa} {metric:?} gives {got:?} and not {want}");
        }
    }
}

#[test]
fn finite_products_that_overflow_on_the_way_are_summed_all_the_same() {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for i in 0..96 {
        a.extend(1e30f32.to_le_bytes());
        b.extend(if i % 2 == 0 { 1e30f32 } else { -1e30f32 }.to_le_bytes());
    }
    for kernels in Kernels::available() {
        let dot = kernels.distance(ElementKind::F32, Metric::Dot).unwrap();
        assert_eq!((dot.pair)(&a, &b), 0.0, "{}", kernels.isa());
    }
}

#[test]
fn rows_gives_the_bits_that_pair_gives() {
    let numbers = prop_oneof![Just(Numbers::Usual), Just(Numbers::Extreme), Just(Numbers::NotFinite)];
    let input = (1usize..200, numbers, 0usize..9, 1usize..40, any::<u64>());
    check(200, input, |(length, numbers, gap, count, data)| {
        let mut source = Source::new(data);
        for (kind, metric) in pairs() {
            let vector = source.vector(kind, length, numbers, 1);
            let mut query = Vec::new();
            kind.row_as_query(&vector[1..], &mut query);
            let stride = length * element_bytes(kind) + gap;
            let memory: Vec<u8> = (0..count).flat_map(|_| source.vector(kind, length, numbers, gap)).collect();
            // SAFETY: the first row begins after the first gap, and the last ends where the memory does.
            let rows = unsafe { Rows::new(memory[gap..].as_ptr(), stride, stride - gap, count) };
            let ids: Vec<u32> = (0..2 * count).map(|_| source.below(count) as u32).collect();
            for kernels in Kernels::available() {
                let distance = kernels.distance(kind, metric).unwrap();
                let mut out = vec![f32::NAN; ids.len()];
                (distance.rows)(&query, rows, &ids, &mut out);
                for (id, got) in ids.iter().zip(&out) {
                    let want = (distance.pair)(&vector[1..], rows.get(*id));
                    let isa = kernels.isa();
                    prop_assert_eq!(got.to_bits(), want.to_bits(), "{} {:?} {:?}", isa, kind, metric);
                }
            }
        }
        Ok(())
    });
}

/// A query of 4-bit and 1-bit codes may hold any bytes, not only those that a row gives.
#[test]
fn queries_of_codes_are_finer_than_rows() {
    check(200, (1usize..700, 1usize..20, any::<u64>()), |(bytes, count, data)| {
        let mut source = Source::new(data);
        let memory: Vec<u8> = source.vector(ElementKind::U8, bytes * count, Numbers::Usual, 0);
        let (rows, ids) = (Rows::from_slice(&memory, bytes), (0..count as u32).collect::<Vec<_>>());
        for (kind, ratio, metric) in [
            (ElementKind::Code4, 2, Metric::Dot),
            (ElementKind::Code4, 2, Metric::L2),
            (ElementKind::Code1, 8, Metric::Dot),
        ] {
            let query = source.vector(ElementKind::U8, ratio * bytes, Numbers::Extreme, 0);
            let distances = |kernels: &Kernels| {
                let mut out = vec![f32::NAN; count];
                (kernels.distance(kind, metric).unwrap().rows)(&query, rows, &ids, &mut out);
                out
            };
            let want = distances(scalar());
            for kernels in vector_tables() {
                prop_assert_eq!(&distances(kernels), &want, "{} {:?} {:?}", kernels.isa(), kind, metric);
            }
        }
        Ok(())
    });
}

#[test]
fn misuse_panics() {
    let memory = vec![0u8; 64];
    let panics = |what: &str, call: &dyn Fn()| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
        assert!(result.is_err(), "{what} did not panic");
    };
    for kernels in Kernels::available() {
        let dot = kernels.distance(ElementKind::F32, Metric::Dot).unwrap();
        let rows = Rows::from_slice(&memory, 16);
        let call = |query: &[u8], ids: &[u32], room: usize| {
            (dot.rows)(query, rows, ids, &mut vec![0.0; room]);
        };
        call(&memory[..16], &[0, 3], 2);
        call(&memory[..3], &[], 0);
        panics("first id out of range", &|| call(&memory[..16], &[4], 1));
        panics("last id out of range", &|| call(&memory[..16], &[0, 1, u32::MAX], 3));
        panics("too little room", &|| call(&memory[..16], &[0, 1], 1));
        panics("short query", &|| call(&memory[..12], &[0], 1));
        let code4 = kernels.distance(ElementKind::Code4, Metric::Dot).unwrap();
        panics("a row for a query", &|| (code4.rows)(&memory[..16], rows, &[0], &mut [0.0]));
        panics("lengths that differ", &|| _ = (dot.pair)(&memory[..16], &memory[..20]));
        panics("part of an element", &|| _ = (dot.pair)(&memory[..15], &memory[..15]));
        let long = vec![0u8; 4 * (MAX_DIMENSION + 1)];
        panics("too many elements", &|| _ = (dot.pair)(&long, &long));
        panics("no room for codes", &|| _ = kernels.encode_code8(ElementKind::F32, &[0; 80], 1.0, &mut [0; 19]));
        panics("no room for a copy", &|| _ = kernels.copy_norm_squared(ElementKind::F32, &memory[..16], &mut [0; 12]));
        panics("no room for values", &|| kernels.to_f32(ElementKind::F16, &memory, &mut [0.0; 31]));
    }
}

#[test]
fn the_tables_hold_what_they_should() {
    for kernels in Kernels::available() {
        for kind in ElementKind::ALL {
            for metric in Metric::ALL {
                let want = match kind {
                    ElementKind::Bits => metric == Metric::Hamming,
                    ElementKind::Code1 => metric == Metric::Dot,
                    ElementKind::Code8 | ElementKind::Code4 => matches!(metric, Metric::Dot | Metric::L2),
                    _ => metric != Metric::Hamming,
                };
                let got = kernels.distance(kind, metric).is_some();
                assert_eq!(got, want, "{} {kind:?} {metric:?}", kernels.isa());
            }
        }
    }
    let isas: Vec<Isa> = Kernels::available().iter().map(|kernels| kernels.isa()).collect();
    assert!(isas.is_sorted() && isas[0] == Isa::Scalar, "{isas:?}");
}
