//! Tile kernels of every instruction set against the scalar distances, one by one.

mod vectors;

use kernels::{ElementKind, Kernels, MAX_DIMENSION, Metric, NEAREST_MAX, Nearest, Panel, Rows, Tile};
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
        let share = (104.0 + count / 96.0) * f64::from(f32::EPSILON) / 2.0;
        if magnitude.is_finite() { share * magnitude + count * f64::from(f32::MIN_POSITIVE) } else { 0.0 }
    }

    /// Holds the tile kernels against the distances one by one: the scalar ones, which are slow and simple, only where that is
    /// quick.
    fn check(&self, k: usize) -> Result<(), TestCaseError> {
        let is_small = self.a.len() * self.b.len() <= 400;
        self.check_tables(k, &Kernels::available()[usize::from(!is_small)..])
    }

    fn check_tables(&self, k: usize, tables: &[&Kernels]) -> Result<(), TestCaseError> {
        let expected = self.expected();
        for kernels in tables {
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
        for sides in [[1, 17], [15, 16], [17, 49], [47, 1]] {
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
    check(30, input, |(dimension, sides, k, numbers, data)| {
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
fn a_panel_within_itself_whose_distances_are_offered_to_both_rows() {
    println!("BROADHEAD_SEED={}", seed());
    let mut source = Source::new(seed() + 2);
    for (kind, metric) in pairs() {
        // From 600 rows on, and from 160 steps of four bytes.
        let dimension = 640 / element_bytes(kind).max(2) * 2;
        for (rows, k) in [(600, 16), (1_250, 7)] {
            let case = Case::new(&mut source, kind, metric, dimension, [rows, 1], Numbers::Usual);
            case.check_tables(k, &Kernels::available()[1..]).unwrap();
        }
    }
}

#[test]
fn byte_sums_are_exact_at_the_largest_dimension() {
    for (kind, metric) in pairs() {
        if FLOATS.contains(&kind) {
            continue;
        }
        let bytes = [[0u8; MAX_DIMENSION], [255; MAX_DIMENSION], [128; MAX_DIMENSION], [127; MAX_DIMENSION]].concat();
        let ids = vec![0, 1, 2, 3];
        let case = Case { kind, metric, bytes, row_bytes: MAX_DIMENSION, a: ids.clone(), b: ids };
        case.check(2).unwrap();
    }
}

/// Runs `misuse` on each table, and asks that it panics with a message that has `expected` in it.
fn panics(expected: &str, misuse: impl Fn(Tile, &mut Panel, Rows<'_>)) {
    let bytes = [1u8; 64];
    for kernels in Kernels::available() {
        let tile = kernels.tile(ElementKind::Code8, Metric::Dot).unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut panel = Panel::new();
            let rows = Rows::from_slice(&bytes, 16);
            (tile.pack)(rows, &[0, 1, 2], &mut panel);
            misuse(tile, &mut panel, rows);
        }));
        let payload = outcome.expect_err(expected);
        let literal = payload.downcast_ref::<&str>().map(|message| message.to_string());
        let message = literal.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        assert!(message.contains(expected), "{}: {message}", kernels.isa());
    }
}

#[test]
fn misuse_panics() {
    panics("row 4 of 4 rows", |tile, panel, rows| (tile.pack)(rows, &[4], panel));
    panics("17 neighbours", |tile, panel, _| (tile.nearest_within)(panel, 17, &mut [Nearest::NONE; 3]));
    panics("0 neighbours", |tile, panel, _| (tile.nearest)(panel, panel, 0, &mut [Nearest::NONE; 3]));
    panics("room for the neighbours of 2", |tile, panel, _| (tile.nearest)(panel, panel, 1, &mut [Nearest::NONE; 2]));
    panics("9 distances, room for 8", |tile, panel, _| (tile.distances)(panel, 0..3, panel, &mut [0.0; 8]));
    panics("rows 1..4 of 3", |tile, panel, _| (tile.distances)(panel, 1..4, panel, &mut [0.0; 9]));
    panics("by another tile kernel", |_, panel, _| {
        let other = Kernels::available()[0].tile(ElementKind::Code8, Metric::L2).unwrap();
        (other.nearest)(panel, panel, 1, &mut [Nearest::NONE; 3]);
    });
    panics("rows of 16 and of 8 bytes", |tile, panel, _| {
        let mut short = Panel::new();
        (tile.pack)(Rows::from_slice(&[0; 64], 8), &[0], &mut short);
        (tile.nearest)(panel, &short, 1, &mut [Nearest::NONE; 3]);
    });
    let tile = Kernels::available()[0].tile(ElementKind::F32, Metric::L2).unwrap();
    (tile.nearest_within)(&Panel::new(), 1, &mut []);
    (tile.nearest)(&Panel::new(), &Panel::new(), 1, &mut []);
    assert!(Kernels::available().iter().all(|kernels| kernels.tile(ElementKind::I32, Metric::L2).is_none()));
}
