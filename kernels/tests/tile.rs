//! Tile kernels of every instruction set against the scalar distances, one by one.

mod vectors;

use kernels::{ElementKind, Kernels, Metric, NEAREST_MAX, Nearest, Panel, Rows};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use vectors::{Numbers, Source, check, element_bytes, seed, values};

const FLOATS: [ElementKind; 3] = [ElementKind::F32, ElementKind::F16, ElementKind::Bf16];

fn scalar() -> &'static Kernels {
    Kernels::available()[0]
}

fn pairs() -> impl Iterator<Item = (ElementKind, Metric)> {
    ElementKind::ALL
        .into_iter()
        .flat_map(|kind| Metric::ALL.map(|metric| (kind, metric)))
        .filter(|(kind, metric)| scalar().tile(*kind, *metric).is_some())
}

/// A table, and some of its rows on either side.
struct Case {
    kind: ElementKind,
    metric: Metric,
    bytes: Vec<u8>,
    row_bytes: usize,
    a: Vec<u32>,
    b: Vec<u32>,
}

impl Case {
    /// `rows` rows of `dimension` elements, of which the sides have as many as `sides`, some of them on both.
    fn new(
        source: &mut Source,
        kind: ElementKind,
        metric: Metric,
        dimension: usize,
        sides: [usize; 2],
        numbers: Numbers,
    ) -> Case {
        let rows = sides[0].max(sides[1]).max(1) + 3;
        let bytes = source.vector(kind, rows * dimension, numbers, 0);
        let [a, b] = sides.map(|side| {
            let mut ids: Vec<u32> = (0..rows as u32).collect();
            for place in (1..rows).rev() {
                ids.swap(place, source.below(place + 1));
            }
            ids.truncate(side);
            ids
        });
        Case { kind, metric, bytes, row_bytes: dimension * element_bytes(kind), a, b }
    }

    fn rows(&self) -> Rows<'_> {
        Rows::from_slice(&self.bytes, self.row_bytes)
    }

    fn row(&self, id: u32) -> &[u8] {
        &self.bytes[id as usize * self.row_bytes..][..self.row_bytes]
    }

    fn panels(&self, kernels: &Kernels) -> [Panel; 2] {
        let tile = kernels.tile(self.kind, self.metric).unwrap();
        [&self.a, &self.b].map(|ids| {
            let mut panel = Panel::new();
            // What a panel held before does not matter.
            (tile.pack)(self.rows(), &ids[..ids.len() / 2], &mut panel);
            (tile.pack)(self.rows(), ids, &mut panel);
            assert_eq!((panel.ids(), panel.len()), (&ids[..], ids.len()));
            panel
        })
    }

    /// All distances, and for each what it may be off by.
    fn expected(&self) -> Vec<(f32, f64)> {
        let pair = scalar().distance(self.kind, self.metric).unwrap().pair;
        let distance = |a, b| {
            let distance = pair(self.row(a), self.row(b));
            (distance, self.tolerance(self.row(a), self.row(b)))
        };
        self.a.iter().flat_map(|a| self.b.iter().map(move |b| distance(*a, *b))).collect()
    }

    /// What the docs of the kernels allow, and what is below the smallest normal number. Bytes may not be off.
    fn tolerance(&self, a: &[u8], b: &[u8]) -> f64 {
        if !FLOATS.contains(&self.kind) {
            return 0.0;
        }
        let (a, b) = (values(self.kind, a), values(self.kind, b));
        let terms = a.iter().zip(&b);
        let magnitude: f64 = match self.metric {
            Metric::L2 => terms.map(|(x, y)| (x - y) * (x - y)).sum(),
            Metric::Cosine => 1.0,
            _ => terms.map(|(x, y)| (x * y).abs()).sum(),
        };
        let count = a.len() as f64;
        let share = (96.0 + count / 96.0 + 8.0) * f64::from(f32::EPSILON) / 2.0;
        if magnitude.is_finite() { share * magnitude + count * f64::from(f32::MIN_POSITIVE) } else { 0.0 }
    }

    /// Holds all tile kernels against the distances one by one.
    fn check(&self, k: usize) -> Result<(), TestCaseError> {
        let expected = self.expected();
        for kernels in Kernels::available() {
            let tile = kernels.tile(self.kind, self.metric).unwrap();
            let [a, b] = self.panels(kernels);
            let name = format!(
                "{} {:?} {:?} {} × {}, {} bytes",
                kernels.isa(),
                self.kind,
                self.metric,
                a.len(),
                b.len(),
                self.row_bytes
            );

            let mut distances = vec![f32::NAN; expected.len()];
            (tile.distances)(&a, 0..a.len(), &b, &mut distances);
            for (got, (want, tolerance)) in distances.iter().zip(&expected) {
                let error = (f64::from(*got) - f64::from(*want)).abs();
                prop_assert!(got.to_bits() == want.to_bits() || error <= *tolerance, "{name}: {got} and not {want}");
            }
            let middle = a.len() / 3..a.len() - a.len() / 3;
            let mut part = vec![f32::NAN; middle.len() * b.len()];
            (tile.distances)(&a, middle.clone(), &b, &mut part);
            prop_assert!(
                part.iter().zip(&distances[middle.start * b.len()..]).all(|(x, y)| x.to_bits() == y.to_bits()),
                "{name}: rows {middle:?}"
            );

            let mut out = vec![Nearest { distances: [-9.0; NEAREST_MAX], ids: [0; NEAREST_MAX] }; a.len()];
            (tile.nearest)(&a, &b, k, &mut out);
            for (row, out) in out.iter().enumerate() {
                let distances = &distances[row * b.len()..][..b.len()];
                check_nearest(&name, out, a.ids()[row], b.ids(), distances, k)?;
            }

            let mut within = vec![f32::NAN; a.len() * a.len()];
            (tile.distances)(&a, 0..a.len(), &a, &mut within);
            let mut out = vec![Nearest::NONE; a.len()];
            (tile.nearest_within)(&a, k, &mut out);
            for (row, out) in out.iter().enumerate() {
                let distances = &within[row * a.len()..][..a.len()];
                check_nearest(&format!("{name}, within"), out, a.ids()[row], a.ids(), distances, k)?;
            }
        }
        Ok(())
    }
}

/// Whether `out` is the nearest `k` by these distances; which of equal ones it is does not matter.
fn check_nearest(
    name: &str,
    out: &Nearest,
    own: u32,
    ids: &[u32],
    distances: &[f32],
    k: usize,
) -> Result<(), TestCaseError> {
    let candidates = ids.iter().zip(distances).filter(|(id, distance)| **id != own && **distance < f32::INFINITY);
    let mut want: Vec<f32> = candidates.map(|(_, distance)| *distance).collect();
    want.sort_by(f32::total_cmp);
    want.truncate(k);
    let mut found: Vec<(f32, u32)> = out.distances.into_iter().zip(out.ids).collect();
    found.sort_by(|x, y| x.0.total_cmp(&y.0));
    for (place, (distance, id)) in found.iter().enumerate() {
        match want.get(place) {
            Some(want) => {
                prop_assert!(distance.to_bits() == want.to_bits(), "{name}: {distance} and not {want} at {place}");
                let at = ids.iter().position(|other| other == id);
                prop_assert!(
                    at.is_some_and(|at| distances[at].to_bits() == distance.to_bits()),
                    "{name}: {id} is not at {distance}"
                );
            }
            None => prop_assert!(
                *distance == f32::INFINITY && *id == u32::MAX,
                "{name}: {distance} at {place}, past the end"
            ),
        }
    }
    let mut unique: Vec<u32> = found[..want.len()].iter().map(|(_, id)| *id).collect();
    unique.sort();
    unique.dedup();
    prop_assert!(unique.len() == want.len() && !unique.contains(&own), "{name}: an id twice, or the row itself");
    Ok(())
}

#[test]
fn every_size_agrees_with_single_distances() {
    println!("BROADHEAD_SEED={}", seed());
    let mut source = Source::new(seed());
    for dimension in [1, 3, 64, 384, 385, 1000] {
        for sides in [[1, 1], [1, 17], [15, 16], [17, 49], [47, 48], [49, 33]] {
            for (kind, metric) in pairs() {
                let k = 1 + source.below(NEAREST_MAX);
                Case::new(&mut source, kind, metric, dimension, sides, Numbers::Usual).check(k).unwrap();
            }
        }
    }
}

#[test]
fn random_panels_agree_with_single_distances() {
    let numbers = prop_oneof![
        2 => Just(Numbers::Usual),
        2 => Just(Numbers::Extreme),
        1 => Just(Numbers::Tiny),
        1 => Just(Numbers::NotFinite),
    ];
    let input = (1usize..300, [0usize..70, 0usize..70], 1..=NEAREST_MAX, numbers, any::<u64>());
    check(60, input, |(dimension, sides, k, numbers, data)| {
        let mut source = Source::new(data);
        pairs().try_for_each(|(kind, metric)| Case::new(&mut source, kind, metric, dimension, sides, numbers).check(k))
    });
}

#[test]
fn more_columns_than_a_block_has() {
    println!("BROADHEAD_SEED={}", seed());
    let mut source = Source::new(seed() + 1);
    for (kind, metric) in pairs() {
        for k in [1, 8, 16] {
            Case::new(&mut source, kind, metric, 5, [20, 2_000], Numbers::Usual).check(k).unwrap();
        }
    }
}

#[test]
fn a_panel_within_itself_that_has_more_rows_than_a_block() {
    println!("BROADHEAD_SEED={}", seed());
    let mut source = Source::new(seed() + 2);
    for (kind, metric) in pairs() {
        for (rows, k) in [(384, 16), (1_250, 7)] {
            Case::new(&mut source, kind, metric, 4, [rows, 1], Numbers::Usual).check(k).unwrap();
        }
    }
}
