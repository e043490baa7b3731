//! Encoding, widening, checks and norms of every instruction set against the scalar oracle.

mod vectors;

use half::f16;
use kernels::{ElementKind, Kernels};
use proptest::prelude::*;
use vectors::{Numbers, Source, check, seed, values};

const LENGTH_MAX: usize = 300;

#[test]
fn codes_are_the_oracles() {
    let scale = prop_oneof![3 => 1.0f32..300.0, 1 => Just(0.0f32), 1 => Just(f32::MAX), 1 => Just(f32::INFINITY)];
    let numbers = prop_oneof![3 => Just(Numbers::Usual), 1 => Just(Numbers::Extreme), 1 => Just(Numbers::NotFinite)];
    check(1000, (0..=LENGTH_MAX, scale, numbers, any::<u64>()), |(length, scale, numbers, data)| {
        let mut source = Source::new(data);
        let values: Vec<f32> = (0..length).map(|_| source.float(numbers)).collect();
        let encode = |kernels: &Kernels| {
            let mut codes = vec![0; length];
            let saturated = kernels.encode_code8(&values, scale, &mut codes);
            (codes, saturated)
        };
        let tables = Kernels::available();
        let want = encode(tables[0]);
        for kernels in &tables[1..] {
            prop_assert_eq!(encode(kernels), want.clone(), "{}", kernels.isa());
        }
        Ok(())
    });
}

#[test]
fn codes_round_saturate_and_say_so() {
    let (values, codes): (Vec<f32>, Vec<u8>) = [
        (0.0, 128),
        (-0.0, 128),
        (1.0, 129),
        (-1.0, 127),
        (0.5, 128),
        (1.5, 130),
        (2.5, 130),
        (-2.5, 126),
        (127.0, 255),
        (127.4, 255),
        (-127.0, 1),
        (f32::NAN, 128),
        (127.5, 255),
        (-127.6, 1),
        (1e30, 255),
        (-1e30, 1),
        (f32::INFINITY, 255),
        (f32::NEG_INFINITY, 1),
    ]
    .into_iter()
    .cycle()
    .take(18 * 9)
    .unzip();
    for kernels in Kernels::available() {
        let mut got = vec![0; values.len()];
        let saturated = kernels.encode_code8(&values, 1.0, &mut got);
        assert_eq!(got, codes, "{}", kernels.isa());
        assert_eq!(saturated, 6 * 9, "{}", kernels.isa());
    }
}

#[test]
fn norms_and_checks_are_the_oracles() {
    let numbers = prop_oneof![3 => Just(Numbers::Usual), 1 => Just(Numbers::NotFinite)];
    check(1000, (0..=LENGTH_MAX, numbers, 0usize..8, any::<u64>()), |(length, numbers, start, data)| {
        let mut source = Source::new(data);
        let singles = &source.vector(ElementKind::F32, length, numbers, start)[start..];
        let halves = &source.vector(ElementKind::F16, length, numbers, start)[start..];
        let finite = |kind, vector| values(kind, vector).iter().all(|x| x.is_finite());
        let norm = |kind, vector| values(kind, vector).iter().map(|x| x * x).sum::<f64>();
        let near = |got: f32, want: f64| {
            f64::from(got) == want || (got.is_nan() && want.is_nan()) || (f64::from(got) - want).abs() <= 4e-6 * want
        };
        for kernels in Kernels::available() {
            let isa = kernels.isa();
            prop_assert_eq!(kernels.all_finite_f32(singles), finite(ElementKind::F32, singles), "{}", isa);
            prop_assert_eq!(kernels.all_finite_f16(halves), finite(ElementKind::F16, halves), "{}", isa);
            prop_assert!(near(kernels.norm_squared_f32(singles), norm(ElementKind::F32, singles)), "{}", isa);
            prop_assert!(near(kernels.norm_squared_f16(halves), norm(ElementKind::F16, halves)), "{}", isa);
        }
        Ok(())
    });
}

#[test]
fn one_bad_value_is_found_wherever_it_stands() {
    for length in [1, 7, 16, 63, 64, 65, 100] {
        for at in 0..length {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut singles = vec![f32::MAX; length];
                let mut halves = vec![f16::MAX; length];
                singles[at] = bad;
                halves[at] = f16::from_f32(bad);
                let singles: Vec<u8> = singles.iter().flat_map(|x| x.to_le_bytes()).collect();
                let halves: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
                for kernels in Kernels::available() {
                    assert!(!kernels.all_finite_f32(&singles), "{} {length} {at}", kernels.isa());
                    assert!(!kernels.all_finite_f16(&halves), "{} {length} {at}", kernels.isa());
                }
            }
        }
        let largest = f32::MAX.to_le_bytes().repeat(length);
        for kernels in Kernels::available() {
            assert!(kernels.all_finite_f32(&largest), "{} {length}", kernels.isa());
            assert_eq!(kernels.norm_squared_f32(&largest), f32::INFINITY, "{}", kernels.isa());
        }
    }
}

#[test]
fn the_largest_magnitude_ignores_nan() {
    let mut source = Source::new(seed());
    for length in 0..LENGTH_MAX {
        let mut values: Vec<f32> = (0..length).map(|_| source.float(Numbers::Usual)).collect();
        if length > 0 {
            values[source.below(length)] = f32::NAN;
        }
        let want = values.iter().filter(|x| !x.is_nan()).fold(0.0f32, |max, x| max.max(x.abs()));
        for kernels in Kernels::available() {
            assert_eq!(kernels.abs_max_f32(&values), want, "{} {length}", kernels.isa());
            let with_infinity: Vec<f32> = values.iter().copied().chain([f32::NEG_INFINITY, f32::NAN]).collect();
            assert_eq!(kernels.abs_max_f32(&with_infinity), f32::INFINITY, "{}", kernels.isa());
        }
    }
}

#[test]
fn every_half_widens_exactly() {
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for start in 0..3 {
        let src = &halves[2 * start..];
        for kernels in Kernels::available() {
            let mut got = vec![0.0f32; src.len() / 2];
            kernels.widen_f16(src, &mut got);
            for (i, got) in got.iter().enumerate() {
                let want = f16::from_bits((start + i) as u16).to_f32();
                assert!(*got == want || (got.is_nan() && want.is_nan()), "{} {i}", kernels.isa());
                assert_eq!(got.is_sign_negative(), want.is_sign_negative(), "{} {i}", kernels.isa());
            }
        }
    }
}
