//! Encoding, widening, checks and norms of every instruction set against the scalar oracle.

mod vectors;

use half::{bf16, f16};
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
        for kind in READ_AS_F32 {
            let vector = source.vector(kind, length, numbers, 0);
            let encode = |kernels: &Kernels| {
                let mut codes = vec![0; length];
                let saturated = kernels.encode_code8(kind, &vector, scale, &mut codes);
                let mut pairs = vec![0; length.div_ceil(2)];
                let saturated_pairs = kernels.encode_code4(kind, &vector, scale, &mut pairs);
                (codes, saturated, pairs, saturated_pairs)
            };
            let tables = Kernels::available();
            let want = encode(tables[0]);
            for kernels in &tables[1..] {
                prop_assert_eq!(encode(kernels), want.clone(), "{} {:?}", kernels.isa(), kind);
            }
        }
        Ok(())
    });
}

#[test]
fn codes_round_saturate_and_say_so() {
    let (values, codes): (Vec<[u8; 4]>, Vec<u8>) = [
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
    .map(|(value, code): (f32, u8)| (value.to_le_bytes(), code))
    .cycle()
    .take(18 * 9)
    .unzip();
    let values = values.as_flattened();
    for kernels in Kernels::available() {
        let mut got = vec![0; codes.len()];
        let saturated = kernels.encode_code8(ElementKind::F32, values, 1.0, &mut got);
        assert_eq!(got, codes, "{}", kernels.isa());
        assert_eq!(saturated, 6 * 9, "{}", kernels.isa());
    }
}

#[test]
fn pairs_of_codes_round_saturate_and_say_so() {
    let values = [0.0f32, 1.0, -1.0, 0.5, 1.5, 7.0, 7.4, 7.5, -8.0, -8.5, -8.6, f32::NAN, 1e30, f32::NEG_INFINITY];
    let codes = [8, 9, 7, 8, 10, 15, 15, 15, 0, 0, 0, 8, 15, 0];
    for kernels in Kernels::available() {
        // Both halves, and an odd number of elements.
        for length in [14, 14 * 17, 14 * 32 + 1] {
            let vector: Vec<u8> = values.iter().cycle().take(length).flat_map(|x| x.to_le_bytes()).collect();
            let half = length.div_ceil(2);
            let mut got = vec![0; half];
            let saturated = kernels.encode_code4(ElementKind::F32, &vector, 1.0, &mut got);
            let code = |i: usize| if i < length { codes[i % 14] } else { 8 };
            let want: Vec<u8> = (0..half).map(|i| code(i) | code(half + i) << 4).collect();
            assert_eq!(got, want, "{} {length}", kernels.isa());
            assert_eq!(saturated as usize, length / 14 * 4, "{} {length}", kernels.isa());
        }
    }
}

const FLOATS: [ElementKind; 3] = [ElementKind::F32, ElementKind::F16, ElementKind::Bf16];
const READ_AS_F32: [ElementKind; 4] = [ElementKind::F32, ElementKind::F16, ElementKind::Bf16, ElementKind::I32];

#[test]
fn norms_and_checks_are_the_oracles() {
    let numbers = prop_oneof![3 => Just(Numbers::Usual), 1 => Just(Numbers::NotFinite)];
    check(1000, (0..=LENGTH_MAX, numbers, 0usize..8, any::<u64>()), |(length, numbers, start, data)| {
        let mut source = Source::new(data);
        let near = |got: f32, want: f64| {
            f64::from(got) == want || (got.is_nan() && want.is_nan()) || (f64::from(got) - want).abs() <= 4e-6 * want
        };
        for kind in READ_AS_F32 {
            let vector = &source.vector(kind, length, numbers, start)[start..];
            let finite = values(kind, vector).iter().all(|x| x.is_finite());
            let norm = values(kind, vector).iter().map(|x| x * x).sum::<f64>();
            for kernels in Kernels::available() {
                let isa = kernels.isa();
                prop_assert_eq!(kernels.all_finite(kind, vector), finite, "{} {:?}", isa, kind);
                let squares = kernels.norm_squared(kind, vector);
                prop_assert!(near(squares, norm), "{} {:?}", isa, kind);
                prop_assert!(finite || !squares.is_normal(), "{} {:?}", isa, kind);
                let mut copy = vec![0; vector.len() + start];
                let copied = kernels.copy_norm_squared(kind, vector, &mut copy[start..]);
                prop_assert_eq!(copied.to_bits(), squares.to_bits(), "{} {:?}", isa, kind);
                prop_assert_eq!(&copy[start..], vector, "{} {:?}", isa, kind);
            }
        }
        Ok(())
    });
}

#[test]
fn one_bad_value_is_found_wherever_it_stands() {
    let bytes = |kind, values: &[f32]| -> Vec<u8> {
        match kind {
            ElementKind::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ElementKind::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        }
    };
    for (kind, largest) in FLOATS.into_iter().zip([f32::MAX, f16::MAX.to_f32(), bf16::MAX.to_f32()]) {
        for length in [1, 7, 16, 63, 64, 65, 100] {
            let good = vec![largest; length];
            for kernels in Kernels::available() {
                assert!(kernels.all_finite(kind, &bytes(kind, &good)), "{} {kind:?} {length}", kernels.isa());
            }
            for at in 0..length {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut values = good.clone();
                    values[at] = bad;
                    for kernels in Kernels::available() {
                        let finite = kernels.all_finite(kind, &bytes(kind, &values));
                        assert!(!finite, "{} {kind:?} {length} {at}", kernels.isa());
                    }
                }
            }
        }
    }
    for kernels in Kernels::available() {
        let large = [f32::MAX; 65].map(f32::to_le_bytes);
        assert_eq!(kernels.norm_squared(ElementKind::F32, large.as_flattened()), f32::INFINITY, "{}", kernels.isa());
        for kind in [ElementKind::I8, ElementKind::U8, ElementKind::I32, ElementKind::Bits] {
            assert!(kernels.all_finite(kind, &[0xff; 64]), "every {kind:?} is a number");
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
    let f16_value: fn(u16) -> f32 = |bits| f16::from_bits(bits).to_f32();
    let bf16_value: fn(u16) -> f32 = |bits| bf16::from_bits(bits).to_f32();
    for (kind, value) in [(ElementKind::F16, f16_value), (ElementKind::Bf16, bf16_value)] {
        for start in 0..3 {
            let src = &halves[2 * start..];
            for kernels in Kernels::available() {
                let mut got = vec![0.0f32; src.len() / 2];
                kernels.to_f32(kind, src, &mut got);
                for (i, got) in got.iter().enumerate() {
                    let want = value((start + i) as u16);
                    let isa = kernels.isa();
                    assert!(*got == want || (got.is_nan() && want.is_nan()), "{isa} {kind:?} {i}");
                    assert_eq!(got.is_sign_negative(), want.is_sign_negative(), "{isa} {kind:?} {i}");
                }
            }
        }
    }
}

#[test]
fn integers_are_rounded_to_the_nearest_f32() {
    let cases = [
        (0, 0.0),
        (-1, -1.0),
        (1 << 24, 16_777_216.0),
        ((1 << 24) + 1, 16_777_216.0),
        ((1 << 24) + 3, 16_777_220.0),
        (i32::MAX, 2_147_483_648.0),
        (i32::MIN, -2_147_483_648.0f32),
    ];
    let bytes: Vec<u8> = cases.iter().flat_map(|(x, _)| x.to_le_bytes()).collect();
    for kernels in Kernels::available() {
        let mut got = [f32::NAN; 7];
        kernels.to_f32(ElementKind::I32, &bytes, &mut got);
        assert_eq!(got, cases.map(|(_, want)| want), "{}", kernels.isa());
    }
}
