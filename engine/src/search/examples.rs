//! A query made of rows: more like some of them, less like others.
//!
//! One row is its own vector, bit for bit. Of several the query is
//!
//! ```text
//! mean(like) + (mean(like) − mean(unlike))         without `unlike`: mean(like)
//! ```
//!
//! which is Rocchio's formula of relevance feedback ("Relevance Feedback in Information Retrieval", 1971) with no query before it, twice
//! the weight for what is liked and one for what is not. It is computed in f64 and brought to the element type of the column:
//!
//! | | what is averaged | how it becomes a vector of the column |
//! |---|---|---|
//! | floats | the vectors; under cosine those of length 1 | rounded; what is too large becomes the largest finite number |
//! | i8, u8, i32 under l2, dot | the vectors | rounded, halves away from zero; what does not fit becomes the nearest number that does |
//! | i8, u8, i32 under cosine | the vectors of length 1 | first times such a number that the largest element is the largest of the type: only the direction counts; then as above |
//! | bits | −1 and 1 for each bit | a sum above 0 is a set bit; 0 is the bit of the first liked row |

use half::{bf16, f16};
use kernels::{ElementKind, Metric};

use crate::ids::IdList;
use crate::schema::VectorColumn;

/// The rows that a query is made of, by their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examples {
    /// All of them, first those to be like: at least one; then those to be unlike. No id twice.
    pub ids: IdList,
    /// How many are to be like.
    pub liked: usize,
    /// Whether these rows may be among the results themselves.
    pub are_results: bool,
}

impl Examples {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ids.view().len()
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The query of some rows of a column, the first `liked` of which it is to be like, and the others unlike.
///
/// # Panics
/// If there is no liked row, or one has another length than the column's.
pub fn query_of(column: &VectorColumn, rows: &[&[u8]], liked: usize) -> Vec<u8> {
    assert!((1..=rows.len()).contains(&liked), "{liked} of {} rows", rows.len());
    assert!(rows.iter().all(|row| row.len() == column.row_bytes()), "vectors of the column");
    if let [row] = rows {
        return row.to_vec();
    }
    // Sums are divided once each, as the formula has it: of whole numbers they are exact, and what is half way between two of these is known.
    let (liked, unliked) = rows.split_at(liked);
    let mut sum = mean(column, liked);
    if !unliked.is_empty() {
        sum.iter_mut().zip(mean(column, unliked)).for_each(|(like, unlike)| *like += *like - unlike);
    }
    encode(column, &sum, rows[0])
}

/// Mean of rows, which under cosine are of length 1.
fn mean(column: &VectorColumn, rows: &[&[u8]]) -> Vec<f64> {
    let mut sum = vec![0.0; column.dimension];
    for row in rows {
        let values: Vec<f64> = (0..column.dimension).map(|element| value(column.kind, row, element)).collect();
        let length = if column.metric == Metric::Cosine { length(&values) } else { 1.0 };
        sum.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value / length);
    }
    sum.iter_mut().for_each(|sum| *sum /= rows.len() as f64);
    sum
}

/// Length of a vector; 1 where it has none.
fn length(values: &[f64]) -> f64 {
    let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length > 0.0 { length } else { 1.0 }
}

/// An element of a vector; of bits −1 or 1.
fn value(kind: ElementKind, row: &[u8], element: usize) -> f64 {
    let two = || [row[2 * element], row[2 * element + 1]];
    let four = || {
        let at = 4 * element;
        [row[at], row[at + 1], row[at + 2], row[at + 3]]
    };
    match kind {
        ElementKind::F32 => f64::from(f32::from_le_bytes(four())),
        ElementKind::F16 => f16::from_le_bytes(two()).to_f64(),
        ElementKind::Bf16 => bf16::from_le_bytes(two()).to_f64(),
        ElementKind::I8 => f64::from(row[element].cast_signed()),
        ElementKind::U8 => f64::from(row[element]),
        ElementKind::I32 => f64::from(i32::from_le_bytes(four())),
        ElementKind::Bits => f64::from(row[element / 8] >> (element % 8) & 1) * 2.0 - 1.0,
        ElementKind::Code8 | ElementKind::Code4 | ElementKind::Code1 => unreachable!("codes are no column type"),
    }
}

fn encode(column: &VectorColumn, sum: &[f64], first: &[u8]) -> Vec<u8> {
    let largest = match column.kind {
        ElementKind::I8 => f64::from(i8::MAX),
        ElementKind::U8 => f64::from(u8::MAX),
        ElementKind::I32 => f64::from(i32::MAX),
        _ => 0.0,
    };
    // Under cosine only the direction counts, and of a vector of length 1 whole numbers would leave nothing.
    let longest = sum.iter().fold(0.0, |longest: f64, value| longest.max(value.abs()));
    let scale = if column.metric == Metric::Cosine && largest > 0.0 && longest > 0.0 { largest / longest } else { 1.0 };
    let scaled = sum.iter().map(|value| value * scale);
    // A float that is cast to an integer saturates.
    match column.kind {
        ElementKind::F32 => scaled.flat_map(|x| within(x, f64::from(f32::MAX), |x| x as f32).to_le_bytes()).collect(),
        ElementKind::F16 => scaled.flat_map(|x| within(x, f16::MAX.to_f64(), f16::from_f64).to_le_bytes()).collect(),
        ElementKind::Bf16 => scaled.flat_map(|x| within(x, bf16::MAX.to_f64(), bf16::from_f64).to_le_bytes()).collect(),
        ElementKind::I8 => scaled.map(|x| (x.round() as i8).cast_unsigned()).collect(),
        ElementKind::U8 => scaled.map(|x| x.round() as u8).collect(),
        ElementKind::I32 => scaled.flat_map(|x| (x.round() as i32).to_le_bytes()).collect(),
        ElementKind::Bits => bits(sum, first),
        ElementKind::Code8 | ElementKind::Code4 | ElementKind::Code1 => unreachable!("codes are no column type"),
    }
}

fn within<T>(value: f64, largest: f64, convert: impl Fn(f64) -> T) -> T {
    convert(value.clamp(-largest, largest))
}

fn bits(sum: &[f64], first: &[u8]) -> Vec<u8> {
    /// Sums of fractions: what is nearer to 0 than this is 0.
    const NOTHING: f64 = 1e-9;
    let mut bits = first.to_vec();
    for (element, &value) in sum.iter().enumerate().filter(|(_, value)| value.abs() > NOTHING) {
        let bit = 1 << (element % 8);
        bits[element / 8] = if value > 0.0 { bits[element / 8] | bit } else { bits[element / 8] & !bit };
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Codes;

    fn column(kind: ElementKind, dimension: usize, metric: Metric) -> VectorColumn {
        let (name, codes) = ("v".into(), Codes::default_of(kind, dimension));
        VectorColumn {
            column: 1,
            name,
            kind,
            dimension,
            metric,
            codes,
            rerank: 1,
            on_disk: false,
            index: Default::default(),
        }
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn one_row_is_its_own_vector() {
        for metric in [Metric::L2, Metric::Cosine] {
            let row = floats(&[3.0, 1e-30]);
            assert_eq!(query_of(&column(ElementKind::F32, 2, metric), &[&row], 1), row);
        }
    }

    #[test]
    fn floats_are_averaged() {
        let l2 = column(ElementKind::F32, 2, Metric::L2);
        let rows = [floats(&[1.0, 0.0]), floats(&[3.0, 4.0]), floats(&[0.0, 8.0])];
        let rows: Vec<&[u8]> = rows.iter().map(|row| &row[..]).collect();
        assert_eq!(query_of(&l2, &rows, 3), floats(&[4.0 / 3.0, 4.0]));
        assert_eq!(query_of(&l2, &rows, 2), floats(&[4.0, -4.0]), "2 × (2, 2) − (0, 8)");
        let cosine = column(ElementKind::F32, 2, Metric::Cosine);
        assert_eq!(query_of(&cosine, &rows[..2], 2), floats(&[0.8, 0.4]), "the mean of (1, 0) and (0.6, 0.8)");
    }

    #[test]
    fn numbers_too_large_become_the_largest() {
        let half = |values: &[f32]| -> Vec<u8> {
            values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
        };
        let rows = [half(&[60_000.0]), half(&[-60_000.0])];
        assert_eq!(query_of(&column(ElementKind::F16, 1, Metric::L2), &[&rows[0], &rows[1]], 1), half(&[65_504.0]));
        let rows = [floats(&[f32::MAX]), floats(&[-f32::MAX])];
        let query = query_of(&column(ElementKind::F32, 1, Metric::L2), &[&rows[0], &rows[1]], 1);
        assert_eq!(query, floats(&[f32::MAX]));
    }

    #[test]
    fn whole_numbers_are_rounded_and_saturate() {
        let rows: [&[u8]; 2] = [&[100, 1, 10], &[101, 2, 200]];
        let i8s = column(ElementKind::I8, 3, Metric::L2);
        assert_eq!(query_of(&i8s, &rows, 2), [101, 2, (-23i8).cast_unsigned()], "100.5, 1.5, (10 − 56) / 2");
        let u8s = column(ElementKind::U8, 3, Metric::L2);
        assert_eq!(query_of(&u8s, &rows, 2), [101, 2, 105]);
        assert_eq!(query_of(&u8s, &rows, 1), [99, 0, 0], "2 × (100, 1, 10) − (101, 2, 200)");
        let thirds: [&[u8]; 5] = [&[138], &[116], &[127], &[106], &[139]];
        let u8s = column(ElementKind::U8, 1, Metric::L2);
        assert_eq!(query_of(&u8s, &thirds, 3), [132], "2 × 127 − 122.5 is half way, for all the thirds");
        let i32s = column(ElementKind::I32, 1, Metric::Dot);
        let (most, least) = (i32::MAX.to_le_bytes(), i32::MIN.to_le_bytes());
        assert_eq!(query_of(&i32s, &[&most, &least], 1), most);
    }

    #[test]
    fn under_cosine_whole_numbers_keep_their_direction() {
        let i8s = column(ElementKind::I8, 2, Metric::Cosine);
        assert_eq!(query_of(&i8s, &[&[1, 0], &[0, 1]], 2), [127, 127]);
        assert_eq!(query_of(&i8s, &[&[3, 4], &[6, 8]], 2), [95, 127], "0.6 : 0.8");
    }

    #[test]
    fn of_bits_the_most_count() {
        let bits = column(ElementKind::Bits, 8, Metric::Hamming);
        assert_eq!(query_of(&bits, &[&[0b1100], &[0b1010], &[0b1001]], 3), [0b1000]);
        assert_eq!(query_of(&bits, &[&[0b1100], &[0b1010]], 2), [0b1100], "where both are as many, the first counts");
        // 2 × mean(like) − unlike: a bit that both liked rows have stays, one that only half have goes.
        assert_eq!(query_of(&bits, &[&[0b1100], &[0b1010], &[0b1111]], 2), [0b1000]);
        assert_eq!(query_of(&bits, &[&[0b1100], &[0b1010], &[0b0000]], 2), [0b1110]);
    }
}
