//! Scalar codes with one scale per vector column: an element becomes a small integer, the same way for all.
//!
//! ```text
//! int8:  code = clamp(round(x / scale), -127, 127) + 128    stored as u8, so that VNNI takes rows unsigned
//!        scale = (largest |x| of a sample) / 127
//! int4:  code = clamp(round(x / scale), -8, 7) + 8          two to a byte
//! binary: code = x > 0                                      eight to a byte; it needs no scale
//!        scale = that with the least squared error on a sample: it cuts off the largest x
//! ```
//!
//! Under cosine `x` is an element of the vector divided by its length, so the inner product of codes orders like the cosine. Under l2
//! and dot `x` is the element itself. An element beyond the scale saturates; it is counted, and what is lost is a little
//! of the order among candidates, since full vectors rerank them.
//!
//! The scale is set once: codes made before and after it would not compare. One scale does not suit every collection: rows may lie in
//! groups so far apart that all of a group have the same code, or later ones may be a thousand times as long as those that it was
//! trained on. So codes are tried on the sample, and a part of the rows is checked as it comes; where codes say too little they are
//! given up, and the vectors are traversed themselves. What the graph holds by then stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use kernels::{ElementKind, Kernels, Metric, Rows};

use crate::limits;
use crate::schema::{Codes, VectorColumn};

/// Largest magnitude of an int8 code.
const INT8_MAX: f64 = 127.0;
/// Code of zero in 8 bits.
const INT8_ZERO: u8 = 128;
/// Squares of what a 4-bit code may leave out, as part of those of its vector: of normally distributed elements they are 0.012, of a
/// vector three times as long as those of the sample 0.2.
const INT4_ERROR_MAX: f64 = 0.15;
/// The same of 8-bit codes, where next to nothing is left out: if elements are equally distributed and twice as large as those of the
/// sample, it is 0.12.
const INT8_ERROR_MAX: f64 = 0.02;
/// Least cosine of a vector and the signs of its elements.
const BINARY_COSINE_MIN: f64 = 0.6;
/// Rows that codes must not resemble before they are given up,
const MISFITS_MIN: u64 = 8;
/// and that must be one in so many of those that were checked.
const MISFIT_PART_MAX: u64 = 50;
/// Rows of a sample that codes are tried on.
const ORDER_ROWS: usize = 1_000;
/// Fewer say nothing.
const ORDER_ROWS_MIN: usize = 200;
/// How many of them are searched for,
const ORDER_QUERIES: usize = 32;
/// with so many nearest rows,
const ORDER_NEAREST: usize = 10;
/// of which codes have to find so many.
const ORDER_PERCENT_MIN: usize = 90;
/// Scales that are tried for int4 codes.
const INT4_SCALES: i32 = 24;
/// The smallest of them, as part of the root mean square of the elements.
const INT4_SCALE_MIN: f64 = 0.1;

/// The scale of a vector column, shared by all shards, and counters of its use.
#[derive(Debug, Default)]
pub struct CodeScale {
    /// Bits of an f32 above zero; 0 while untrained.
    scale: AtomicU32,
    trained_rows: AtomicU64,
    encoded_values: AtomicU64,
    saturated_values: AtomicU64,
    checked_rows: AtomicU64,
    misfit_rows: AtomicU64,
    /// Codes say too little about the vectors.
    misfit: AtomicBool,
}

impl CodeScale {
    /// A scale that is not trained yet.
    pub fn new() -> CodeScale {
        CodeScale::default()
    }

    /// Value of one step of a code; None while untrained.
    #[inline]
    pub fn get(&self) -> Option<f32> {
        // The scale is the whole message, so no other memory needs ordering with it.
        match self.scale.load(Ordering::Relaxed) {
            0 => None,
            bits => Some(f32::from_bits(bits)),
        }
    }

    /// Whether the scale is set. Once true it stays true.
    #[inline]
    pub fn is_trained(&self) -> bool {
        self.get().is_some()
    }

    /// Sets what a snapshot kept: the scale (None is one that was not trained), and whether the codes fit.
    ///
    /// # Panics
    /// If the scale is not a normal number above zero.
    pub fn restore(&self, scale: Option<f32>, fits: bool) {
        if let Some(scale) = scale {
            self.set(scale, 0);
        }
        if !fits {
            self.misfit.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the codes order rows nearly as the vectors do, as far as is known. Once false it stays false.
    #[inline]
    pub fn fits(&self) -> bool {
        !self.misfit.load(Ordering::Relaxed)
    }

    /// Takes in how many of some rows have codes that do not resemble them. Returns whether the codes fit no longer because of these.
    pub fn check(&self, rows: u64, misfits: u64) -> bool {
        let checked = self.checked_rows.fetch_add(rows, Ordering::Relaxed) + rows;
        let misfits = self.misfit_rows.fetch_add(misfits, Ordering::Relaxed) + misfits;
        misfits >= MISFITS_MIN && misfits * MISFIT_PART_MAX > checked && !self.misfit.swap(true, Ordering::Relaxed)
    }

    /// Sets the scale, if nobody has: the first wins. Returns whether this call did it.
    ///
    /// # Panics
    /// If the scale is not a normal number above zero.
    fn set(&self, scale: f32, trained_rows: u64) -> bool {
        assert!(scale.is_normal() && scale > 0.0, "scale {scale}");
        let won = self.scale.compare_exchange(0, scale.to_bits(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if won {
            self.trained_rows.store(trained_rows, Ordering::Relaxed);
        }
        won
    }

    /// Counts elements that were encoded, and those among them that saturated.
    pub fn count(&self, encoded: u64, saturated: u64) {
        self.encoded_values.fetch_add(encoded, Ordering::Relaxed);
        self.saturated_values.fetch_add(saturated, Ordering::Relaxed);
    }

    /// Rows that the scale was trained on.
    pub fn trained_rows(&self) -> u64 {
        self.trained_rows.load(Ordering::Relaxed)
    }

    /// Elements encoded so far.
    pub fn encoded_values(&self) -> u64 {
        self.encoded_values.load(Ordering::Relaxed)
    }

    /// Elements among them that were beyond the scale.
    pub fn saturated_values(&self) -> u64 {
        self.saturated_values.load(Ordering::Relaxed)
    }
}

/// Makes the codes of one vector column.
#[derive(Clone, Debug)]
pub struct CodeEncoder {
    scale: Arc<CodeScale>,
    kernels: &'static Kernels,
    kind: ElementKind,
    metric: Metric,
    dimension: usize,
    codes: Codes,
    /// Candidates that are ranked again for `ORDER_NEAREST` results.
    rerank_depth: usize,
}

impl CodeEncoder {
    /// Encoder of a column.
    ///
    /// # Panics
    /// If the column has no codes.
    pub fn new(kernels: &'static Kernels, vector: &VectorColumn, scale: Arc<CodeScale>) -> CodeEncoder {
        assert!(vector.has_codes(), "a column with codes");
        let VectorColumn { kind, metric, dimension, codes, .. } = *vector;
        let rerank_depth = vector.rerank_depth(ORDER_NEAREST);
        CodeEncoder { scale, kernels, kind, metric, dimension, codes, rerank_depth }
    }

    /// The scale it uses.
    pub fn scale(&self) -> &Arc<CodeScale> {
        &self.scale
    }

    /// The metric that codes are compared with: dot under cosine, since codes are made of vectors of length 1.
    pub fn code_metric(&self) -> Metric {
        code_metric(self.metric)
    }

    /// Elements of a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Whether a code is like its vector, of which `norm_squared` is Σx²: the squares of what differs are a small part of its own.
    /// Where they are not, the vector is much longer or shorter than those that the scale was trained on, or of another make.
    pub fn resembles(&self, vector: &[u8], norm_squared: f32, code: &[u8]) -> bool {
        if self.codes == Codes::Binary {
            return self.has_direction(vector);
        }
        let scale = f64::from(self.scale.get().expect("a trained scale"));
        let factor = self.inverse_length(vector, norm_squared) / scale;
        let half = code.len();
        let value = |at: usize| match self.codes {
            Codes::Int4 if at < half => f64::from(code[at] & 0x0f) - 8.0,
            Codes::Int4 => f64::from(code[at - half] >> 4) - 8.0,
            _ => f64::from(code[at]) - f64::from(INT8_ZERO),
        };
        let (mut squares, mut errors) = (0.0, 0.0);
        self.for_each_part(vector, |first, elements| {
            for (at, &x) in elements.iter().enumerate() {
                let (x, value) = (f64::from(x) * factor, value(first + at));
                squares += x * x;
                errors += (x - value) * (x - value);
            }
        });
        errors <= if self.codes == Codes::Int4 { INT4_ERROR_MAX } else { INT8_ERROR_MAX } * squares
    }

    /// Whether codes order a sample nearly as the vectors do: what is nearest by the vectors is among what is nearest by the codes.
    /// Where rows lie in groups that are far apart, all rows of a group may have the same code. Too small a sample says nothing.
    fn keeps_order(&self, sample: &[&[u8]]) -> bool {
        let rows: Vec<&[u8]> = sample.iter().step_by(sample.len().div_ceil(ORDER_ROWS)).copied().collect();
        if rows.len() < ORDER_ROWS_MIN {
            return true;
        }
        let kind = self.codes.kind().expect("a column with codes");
        let code_bytes = kind.bytes(self.dimension);
        let mut codes = vec![0; rows.len() * code_bytes];
        for (row, code) in rows.iter().zip(codes.chunks_exact_mut(code_bytes)) {
            self.encode(row, self.norm_squared(row), code);
        }
        let exact =
            self.kernels.distance(self.kind, self.metric).expect("the schema allows only pairs that have a kernel");
        let by_code = self.kernels.distance(kind, self.code_metric()).expect("codes have it too");
        let ids: Vec<u32> = (0..rows.len() as u32).collect();
        let (mut query, mut near) = (Vec::new(), vec![0.0; rows.len()]);
        let (mut found, mut wanted) = (0, 0);
        for &row in rows.iter().step_by(rows.len() / ORDER_QUERIES) {
            self.encode_query(row, &mut query);
            (by_code.rows)(&query, Rows::from_slice(&codes, code_bytes), &ids, &mut near);
            let far: Vec<f32> = rows.iter().map(|other| (exact.pair)(row, other)).collect();
            // Of rows as near as the last that is wanted, any will do.
            let mut sorted = far.clone();
            let bar = *sorted.select_nth_unstable_by(ORDER_NEAREST - 1, f32::total_cmp).1;
            let mut by_codes: Vec<usize> = (0..rows.len()).collect();
            by_codes.sort_by(|&a, &b| near[a].total_cmp(&near[b]));
            let hits = by_codes[..self.rerank_depth].iter().filter(|&&at| far[at] <= bar).count();
            found += hits.min(ORDER_NEAREST);
            wanted += ORDER_NEAREST;
        }
        found * 100 >= wanted * ORDER_PERCENT_MIN
    }

    /// Trains the scale on a sample of vectors, if it is not trained, and tries the codes on it. Returns whether this call did it; false
    /// too for an empty sample.
    pub fn train(&self, sample: &[&[u8]]) -> bool {
        let rows = sample.len();
        if rows == 0 {
            return false;
        }
        let scale = match self.codes {
            Codes::Int4 => self.int4_scale(sample.iter().step_by(rows.div_ceil(limits::TRAIN_INT4_ROWS_MAX))),
            _ => sample.iter().map(|vector| self.largest(vector)).fold(0.0, f64::max) / INT8_MAX,
        };
        // Nothing but zeros has no scale of its own; any will do.
        let scale = if scale > 0.0 { scale as f32 } else { 1.0 };
        let won = self.scale.set(scale.max(f32::MIN_POSITIVE), rows as u64);
        if won && !self.keeps_order(sample) {
            tracing::warn!(
                dimension = self.dimension,
                "codes do not fit the vectors of a column: its graph is traversed on the vectors"
            );
            self.scale.misfit.store(true, Ordering::Relaxed);
        }
        won
    }

    /// The largest magnitude that is encoded of a vector.
    fn largest(&self, vector: &[u8]) -> f64 {
        let mut elements = vec![0.0; self.dimension];
        self.kernels.to_f32(self.kind, vector, &mut elements);
        f64::from(self.kernels.abs_max_f32(&elements)) * self.inverse_length(vector, self.norm_squared(vector))
    }

    /// The scale of 4-bit codes with the least squared error on a sample.
    fn int4_scale<'a>(&self, sample: impl Iterator<Item = &'a &'a [u8]>) -> f64 {
        let mut elements: Vec<f64> = Vec::new();
        for vector in sample {
            let inverse_length = self.inverse_length(vector, self.norm_squared(vector));
            elements.extend(self.elements(vector).map(|x| x * inverse_length));
        }
        let largest = elements.iter().fold(0.0, |largest, x| x.abs().max(largest));
        if largest == 0.0 {
            return 0.0;
        }
        // Of magnitude 1 and below, so that no square overflows or vanishes.
        elements.iter_mut().for_each(|x| *x /= largest);
        let root_mean_square = (elements.iter().map(|x| x * x).sum::<f64>() / elements.len() as f64).sqrt();
        let (low, high) = (INT4_SCALE_MIN * root_mean_square, 1.0 / 7.0);
        let scales = (0..INT4_SCALES).map(|step| low * (high / low).powf(f64::from(step) / f64::from(INT4_SCALES - 1)));
        let error = |scale: f64| -> f64 {
            let of = |x: f64| x - scale * (x / scale).round_ties_even().clamp(-8.0, 7.0);
            elements.iter().map(|&x| of(x) * of(x)).sum()
        };
        let best = scales.map(|scale| (error(scale), scale)).min_by(|a, b| a.0.total_cmp(&b.0));
        best.expect("some were tried").1 * largest
    }

    /// Σx² of a vector, for [`CodeEncoder::encode`].
    pub fn norm_squared(&self, vector: &[u8]) -> f32 {
        self.kernels.norm_squared(self.kind, vector)
    }

    /// Makes the code of a vector, of which `norm_squared` is Σx²; returns how many elements saturated.
    ///
    /// # Panics
    /// If the scale is not trained, or a length is not that of the column.
    pub fn encode(&self, vector: &[u8], norm_squared: f32, code: &mut [u8]) -> u32 {
        if self.codes == Codes::Binary {
            self.encode_signs(vector, code);
            return 0;
        }
        let scale = self.scale.get().expect("a trained scale");
        let inverse_length = self.inverse_length(vector, norm_squared);
        let inverse_scale = inverse_length / f64::from(scale);
        if inverse_scale <= f64::from(f32::MAX) {
            return self.encode_scaled(self.kind, vector, inverse_scale as f32, code);
        }
        // A vector so short that the factor is beyond f32: bring it to length 1 first.
        let unit: Vec<u8> = self.elements(vector).flat_map(|x| ((x * inverse_length) as f32).to_le_bytes()).collect();
        self.encode_scaled(ElementKind::F32, &unit, 1.0 / scale, code)
    }

    fn encode_scaled(&self, kind: ElementKind, vector: &[u8], inverse_scale: f32, code: &mut [u8]) -> u32 {
        match self.codes {
            Codes::Int4 => self.kernels.encode_code4(kind, vector, inverse_scale, code),
            _ => self.kernels.encode_code8(kind, vector, inverse_scale, code),
        }
    }

    /// Signs, as [`ElementKind::Code1`] has them.
    fn encode_signs(&self, vector: &[u8], code: &mut [u8]) {
        code.fill(0);
        self.for_each_part(vector, |first, elements| {
            // A run of elements in one plane.
            let mut at = 0;
            while at < elements.len() {
                let (plane, byte) = ((first + at) / code.len(), (first + at) % code.len());
                let run = (code.len() - byte).min(elements.len() - at);
                for (byte, &x) in code[byte..byte + run].iter_mut().zip(&elements[at..at + run]) {
                    *byte |= u8::from(x > 0.0) << plane;
                }
                at += run;
            }
        });
    }

    /// Whether the signs of a vector's elements say where it points: the cosine between them and it. Of normally distributed elements
    /// it is 0.8, of one element that is not zero among `n` 1/√n.
    fn has_direction(&self, vector: &[u8]) -> bool {
        let (mut sum, mut squares) = (0.0, 0.0);
        self.for_each_part(vector, |_, elements| {
            for &x in elements {
                sum += f64::from(x.abs());
                squares += f64::from(x) * f64::from(x);
            }
        });
        sum >= BINARY_COSINE_MIN * (squares * self.dimension as f64).sqrt()
    }

    /// Makes the code of a query, in place of what `code` held: 8 bits an element, also to rows of fewer (`kernels` says how). Under cosine
    /// and dot a query's length changes no order, so its code takes the whole range, whatever the scale.
    ///
    /// # Panics
    /// As [`CodeEncoder::encode`].
    pub fn encode_query(&self, query: &[u8], code: &mut Vec<u8>) {
        let rows = self.codes.kind().expect("a column with codes");
        code.clear();
        code.resize(rows.query_bytes(self.dimension), INT8_ZERO);
        let values = &mut code[..self.dimension];
        match code_metric(self.metric) {
            Metric::Dot => self.encode_direction(query, values),
            _ => {
                let scale = f64::from(self.scale.get().expect("a trained scale")) / query_steps(rows);
                // A scale so small that the factor is beyond f32 is that of elements next to zero: then so are the query's, or they
                // are beyond any code.
                let inverse_scale = (1.0 / scale).min(f64::from(f32::MAX)) as f32;
                self.kernels.encode_code8(self.kind, query, inverse_scale, values);
            }
        }
        if matches!(rows, ElementKind::Code4 | ElementKind::Code1) {
            code.iter_mut().for_each(|byte| *byte ^= INT8_ZERO);
        }
    }

    /// Makes int8 codes of a vector of which the largest element becomes 127.
    fn encode_direction(&self, vector: &[u8], codes: &mut [u8]) {
        let mut largest = 0f32;
        self.for_each_part(vector, |_, elements| largest = largest.max(self.kernels.abs_max_f32(elements)));
        if largest >= f32::MIN_POSITIVE * INT8_MAX as f32 {
            self.kernels.encode_code8(self.kind, vector, INT8_MAX as f32 / largest, codes);
        } else if largest > 0.0 {
            // The factor would be beyond f32.
            let largest = f64::from(largest);
            let unit: Vec<u8> = self.elements(vector).flat_map(|x| ((x / largest) as f32).to_le_bytes()).collect();
            self.kernels.encode_code8(ElementKind::F32, &unit, INT8_MAX as f32, codes);
        }
    }

    /// What to multiply each element with: 1 / length under cosine, else 1.
    fn inverse_length(&self, vector: &[u8], norm_squared: f32) -> f64 {
        assert_eq!(vector.len(), self.kind.bytes(self.dimension), "a vector of this column");
        if self.metric != Metric::Cosine {
            return 1.0;
        }
        let squares = match norm_squared.is_normal() {
            true => f64::from(norm_squared),
            false => self.elements(vector).map(|x| x * x).sum(),
        };
        if squares > 0.0 { 1.0 / squares.sqrt() } else { 1.0 }
    }

    /// Calls `each` with the elements of a vector, some at a time, and the number of the first of them. Nothing is allocated: rows
    /// and queries pass here while somebody waits.
    fn for_each_part(&self, vector: &[u8], mut each: impl FnMut(usize, &[f32])) {
        const PART: usize = 64;
        let mut elements = [0f32; PART];
        for (part, bytes) in vector.chunks(self.kind.bytes(PART)).enumerate() {
            let elements = &mut elements[..(self.dimension - part * PART).min(PART)];
            self.kernels.to_f32(self.kind, bytes, elements);
            each(part * PART, elements);
        }
    }

    /// The elements, for what `f32` cannot hold.
    fn elements(&self, vector: &[u8]) -> impl Iterator<Item = f64> {
        let mut elements = vec![0.0; self.dimension];
        self.kernels.to_f32(self.kind, vector, &mut elements);
        elements.into_iter().map(f64::from)
    }
}

/// Steps of a query's code in one of a row's.
fn query_steps(rows: ElementKind) -> f64 {
    if rows == ElementKind::Code4 { 16.0 } else { 1.0 }
}

/// The metric that codes of a column are compared with.
pub(crate) fn code_metric(metric: Metric) -> Metric {
    match metric {
        Metric::Cosine | Metric::Dot => Metric::Dot,
        Metric::L2 => Metric::L2,
        Metric::Hamming => unreachable!("bits have no codes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(kind: ElementKind, metric: Metric, dimension: usize) -> CodeEncoder {
        encoder_of(Codes::Int8, kind, metric, dimension)
    }

    fn encoder_of(codes: Codes, kind: ElementKind, metric: Metric, dimension: usize) -> CodeEncoder {
        let rerank = codes.default_rerank();
        let name = "v".into();
        let vector = VectorColumn {
            column: 0,
            name,
            kind,
            dimension,
            metric,
            codes,
            rerank,
            on_disk: false,
            index: Default::default(),
        };
        CodeEncoder::new(kernels::detect(), &vector, Arc::new(CodeScale::new()))
    }

    fn bytes(vector: &[f32]) -> Vec<u8> {
        vector.iter().flat_map(|element| element.to_le_bytes()).collect()
    }

    fn encode(encoder: &CodeEncoder, vector: &[f32]) -> (Vec<u8>, u32) {
        encode_bytes(encoder, &bytes(vector))
    }

    fn encode_bytes(encoder: &CodeEncoder, vector: &[u8]) -> (Vec<u8>, u32) {
        let mut code = vec![0; encoder.codes.kind().unwrap().bytes(encoder.dimension)];
        let saturated = encoder.encode(vector, encoder.norm_squared(vector), &mut code);
        (code, saturated)
    }

    #[test]
    fn the_largest_of_the_sample_is_127() {
        let encoder = encoder(ElementKind::F32, Metric::L2, 4);
        assert!(!encoder.train(&[]), "an empty sample trains nothing");
        let sample = [bytes(&[0.5, -2.54, 0.0, 1.27]), bytes(&[0.0; 4])];
        assert!(encoder.train(&sample.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        assert_eq!(encoder.scale().trained_rows(), 2);
        assert_eq!(encode(&encoder, &[0.5, -2.54, 0.0, 1.27]), (vec![128 + 25, 1, 128, 128 + 63 + 1], 0));
        assert_eq!(encode(&encoder, &[3.0, -300.0, 0.02, 0.0]), (vec![255, 1, 129, 128], 2));
        assert!(!encoder.train(&sample.iter().map(Vec::as_slice).collect::<Vec<_>>()), "the first wins");
    }

    #[test]
    fn cosine_codes_do_not_know_the_length() {
        let encoder = encoder(ElementKind::F32, Metric::Cosine, 3);
        assert!(encoder.train(&[bytes(&[3.0, 4.0, 0.0]).as_slice()]));
        assert!((encoder.scale().get().unwrap() - 0.8 / 127.0).abs() < 1e-7);
        let expected = encode(&encoder, &[1.0, -1.0, 0.5]);
        for factor in [1e-38f32, 1e-30, 1e-10, 1e10, 1e30] {
            assert_eq!(encode(&encoder, &[factor, -factor, 0.5 * factor]), expected, "factor {factor}");
        }
        assert_eq!(encoder.code_metric(), Metric::Dot);
    }

    #[test]
    fn the_length_of_a_query_does_not_matter_under_dot() {
        let encoder = encoder(ElementKind::F32, Metric::Dot, 3);
        encoder.train(&[bytes(&[1.0, -1.0, 0.5]).as_slice()]);
        let mut code = vec![9; 7];
        for factor in [1e-44f32, 1e-38, 1e-3, 1.0, 1e3, 1e38] {
            encoder.encode_query(&bytes(&[factor, -factor, 0.5 * factor]), &mut code);
            // The half of the smallest numbers is rounded.
            assert!(code[..2] == [255, 1] && code[2].abs_diff(192) < 20, "factor {factor}: {code:?}");
        }
        encoder.encode_query(&bytes(&[0.0; 3]), &mut code);
        assert_eq!(code, [128; 3]);
    }

    #[test]
    fn a_query_to_int4_codes_is_finer_than_a_row() {
        let encoder = encoder_of(Codes::Int4, ElementKind::F32, Metric::L2, 3);
        encoder.train(&[bytes(&[7.0, -7.0, 7.0]).as_slice()]);
        assert_eq!(encoder.scale().get(), Some(1.0));
        let mut code = Vec::new();
        encoder.encode_query(&bytes(&[1.25, -100.0, 0.0625]), &mut code);
        assert_eq!(code.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>(), [20, -127, 1, 0]);
        let encoder = encoder_of(Codes::Int4, ElementKind::F32, Metric::Cosine, 3);
        encoder.train(&[bytes(&[7.0, -7.0, 7.0]).as_slice()]);
        encoder.encode_query(&bytes(&[1.0, -2.0, 0.0]), &mut code);
        assert_eq!(code.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>(), [64, -127, 0, 0]);
    }

    #[test]
    fn every_element_type_has_the_codes_of_f32() {
        let vector = [1f32, -2.0, 96.0, 4.0];
        let f16: Vec<u8> = vector.iter().flat_map(|&element| half::f16::from_f32(element).to_le_bytes()).collect();
        let bf16: Vec<u8> = vector.iter().flat_map(|&element| half::bf16::from_f32(element).to_le_bytes()).collect();
        let i32: Vec<u8> = vector.iter().flat_map(|&element| (element as i32).to_le_bytes()).collect();
        for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
            let wide = encoder(ElementKind::F32, metric, 4);
            wide.train(&[bytes(&vector).as_slice()]);
            for (kind, bytes) in [(ElementKind::F16, &f16), (ElementKind::Bf16, &bf16), (ElementKind::I32, &i32)] {
                let other = encoder(kind, metric, 4);
                other.train(&[bytes.as_slice()]);
                assert_eq!(encode_bytes(&other, bytes).0, encode(&wide, &vector).0, "{kind:?} {metric:?}");
            }
        }
    }

    #[test]
    fn the_largest_integers_have_codes() {
        for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
            let encoder = encoder(ElementKind::I32, metric, 3);
            let vector: Vec<u8> = [i32::MIN, i32::MAX, 0].iter().flat_map(|element| element.to_le_bytes()).collect();
            encoder.train(&[vector.as_slice()]);
            assert_eq!(encode_bytes(&encoder, &vector), (vec![1, 255, 128], 0), "{metric:?}");
        }
    }

    #[test]
    fn extremes_train_a_usable_scale() {
        for extreme in [f32::MAX, f32::MIN_POSITIVE, 1e-45, 0.0] {
            let encoder = encoder(ElementKind::F32, Metric::Dot, 2);
            assert!(encoder.train(&[bytes(&[extreme, -extreme]).as_slice()]));
            let (code, saturated) = encode(&encoder, &[extreme, 0.0]);
            assert_eq!((code[1], saturated), (128, 0), "{extreme}");
        }
    }

    /// Normally distributed elements: the scale is the one of theory, and few saturate.
    #[test]
    fn the_scale_of_int4_has_the_least_error() {
        let mut random = crate::batch::samples::Random(5);
        // A sum of twelve uniform numbers is near enough to normal.
        let mut normal = || (0..12).map(|_| random.below(1 << 20) as f32 / (1 << 20) as f32).sum::<f32>() - 6.0;
        let sample: Vec<Vec<u8>> = (0..200).map(|_| bytes(&(0..64).map(|_| normal()).collect::<Vec<_>>())).collect();
        for metric in [Metric::L2, Metric::Dot] {
            let encoder = encoder_of(Codes::Int4, ElementKind::F32, metric, 64);
            assert!(encoder.train(&sample.iter().map(Vec::as_slice).collect::<Vec<_>>()));
            let scale = encoder.scale().get().unwrap();
            assert!((0.28..0.40).contains(&scale), "{scale}");
            let saturated: u32 = sample.iter().map(|vector| encode_bytes(&encoder, vector).1).sum();
            assert!((1..=64 * 200 / 50).contains(&saturated), "{saturated}");
        }
        let encoder = encoder_of(Codes::Int4, ElementKind::F32, Metric::L2, 3);
        assert!(encoder.train(&[bytes(&[7.0, -7.0, 7.0]).as_slice()]));
        assert_eq!(encode(&encoder, &[7.0, -7.0, 1.0]), (vec![15 | 9 << 4, 1 | 8 << 4], 0));
        for extreme in [f32::MAX, f32::MIN_POSITIVE, 1e-45, 0.0] {
            let encoder = encoder_of(Codes::Int4, ElementKind::F32, Metric::Dot, 2);
            assert!(encoder.train(&[bytes(&[extreme, -extreme]).as_slice()]));
            assert_eq!(encode(&encoder, &[0.0, extreme]).1, 0, "{extreme}");
        }
    }

    #[test]
    fn binary_codes_are_signs_in_eight_planes() {
        let encoder = encoder_of(Codes::Binary, ElementKind::F32, Metric::Cosine, 19);
        encoder.train(&[bytes(&[1.0; 19]).as_slice()]);
        // Three bytes: elements 0 to 2 are in bit 0, 3 to 5 in bit 1, …, 18 in bit 6.
        let mut vector = [-1.0; 19];
        assert_eq!(encode(&encoder, &vector), (vec![0; 3], 0));
        for (element, code) in [(0, [1, 0, 0]), (2, [0, 0, 1]), (3, [2, 0, 0]), (17, [0, 0, 32]), (18, [64, 0, 0])] {
            vector[element] = 1e-30;
            assert_eq!(encode(&encoder, &vector).0, code, "{element}");
            vector[element] = 0.0;
            assert_eq!(encode(&encoder, &vector).0, [0; 3], "{element}");
            vector[element] = -1.0;
        }
        let mut query = Vec::new();
        vector[18] = 0.5;
        encoder.encode_query(&bytes(&vector), &mut query);
        let expected: Vec<i8> = [-127; 18].into_iter().chain([64, 0, 0, 0, 0, 0]).collect();
        assert_eq!(query.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>(), expected);
        // More than a part of what is read as f32 at a time.
        let encoder = encoder_of(Codes::Binary, ElementKind::F32, Metric::Cosine, 384);
        let vector: Vec<f32> = (0..384).map(|element| if element % 5 == 0 { 1.0 } else { -2.0 }).collect();
        let code = encode(&encoder, &vector).0;
        let is_set = |element: usize| code[element % 48] >> (element / 48) & 1 == 1;
        assert!((0..384).all(|element| is_set(element) == (element % 5 == 0)));
    }

    #[test]
    fn binary_codes_of_vectors_with_few_large_elements_do_not_resemble_them() {
        let encoder = encoder_of(Codes::Binary, ElementKind::F32, Metric::Cosine, 64);
        let resembles = |vector: &[f32]| {
            let vector = bytes(vector);
            encoder.resembles(&vector, encoder.norm_squared(&vector), &encode_bytes(&encoder, &vector).0)
        };
        let mut random = crate::batch::samples::Random(8);
        let mut vector: Vec<f32> = (0..64).map(|_| random.unit()).collect();
        assert!(resembles(&vector));
        assert!(resembles(&vector.iter().map(|x| x * 1e-30).collect::<Vec<_>>()), "the length does not matter");
        vector[7] = 100.0;
        assert!(!resembles(&vector));
    }

    #[test]
    fn counters_add_up() {
        let scale = CodeScale::new();
        scale.count(80, 3);
        scale.count(8, 0);
        assert_eq!((scale.encoded_values(), scale.saturated_values()), (88, 3));
    }

    #[test]
    fn many_misfits_end_the_use_of_codes() {
        let scale = CodeScale::new();
        assert!(!scale.check(1_000, MISFITS_MIN) && scale.fits(), "few of many");
        assert!(!scale.check(10, 3) && scale.fits(), "less than one in fifty");
        assert!(scale.check(10, 10) && !scale.fits());
        assert!(!scale.check(10, 10), "once");
        let restored = CodeScale::new();
        restored.restore(Some(2.0), false);
        assert!(!restored.fits() && restored.get() == Some(2.0));
    }

    #[test]
    fn a_code_resembles_vectors_of_about_the_length_of_the_sample() {
        let mut random = crate::batch::samples::Random(8);
        let vector: Vec<f32> = (0..64).map(|_| random.unit()).collect();
        for codes in [Codes::Int8, Codes::Int4] {
            let encoder = encoder_of(codes, ElementKind::F32, Metric::L2, 64);
            encoder.train(&[bytes(&vector).as_slice()]);
            let resembles = |factor: f32| {
                let longer = bytes(&vector.iter().map(|x| x * factor).collect::<Vec<_>>());
                let code = encode_bytes(&encoder, &longer).0;
                encoder.resembles(&longer, encoder.norm_squared(&longer), &code)
            };
            assert!([0.0, 0.5, 1.0, 1.1].map(resembles).iter().all(|&resembles| resembles), "{codes:?}");
            assert!(![0.001, 4.0, 1e3, 1e30].map(resembles).iter().any(|&resembles| resembles), "{codes:?}");
        }
    }

    #[test]
    fn codes_of_groups_far_apart_are_given_up() {
        let mut random = crate::batch::samples::Random(8);
        for (apart, fits) in [(1.0, true), (1_000.0, false)] {
            let mut around = |centre: f32| bytes(&(0..32).map(|_| centre + random.unit()).collect::<Vec<_>>());
            let rows: Vec<Vec<u8>> = (0..1_000).map(|row| around(if row % 2 == 0 { apart } else { -apart })).collect();
            let encoder = encoder(ElementKind::F32, Metric::L2, 32);
            assert!(encoder.train(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>()));
            assert_eq!(encoder.scale().fits(), fits, "{apart} apart");
        }
    }
}
