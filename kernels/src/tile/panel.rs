//! How rows are laid out: four bytes of each of sixteen rows side by side ([`GROUP`]), a line a step.
//!
//! - f32, f16, bf16: one f32 a step.
//! - bits: 32 a step.
//! - i8, u8 and codes, where a CPU multiplies four bytes at a time: four bytes a step, offset binary, or as they are for u8. The row side
//!   has its high bits flipped once more, which makes them two's complement.
//! - i8, u8 and codes elsewhere: two values a step, widened to 16 bits.
//!
//! What a vector has too little to fill its last step is made up for by values whose products are zero.

use super::lanes::Lanes;
use super::{GROUP, Line, Panel, Terms};
use crate::element::{Code8, I8, U8};
use crate::float_element::FloatElement;
use crate::integer_element::IntegerElement;

/// Where a row goes: one lane of the lines of a group.
pub(crate) struct Lane<'a> {
    lines: &'a mut [Line],
    lane: usize,
}

impl Lane<'_> {
    #[inline(always)]
    fn set(&mut self, step: usize, bytes: [u8; 4]) {
        self.lines[step].0[self.lane] = u32::from_ne_bytes(bytes);
    }
}

impl Panel {
    /// Makes room for `rows` rows of `steps` steps, all zero where nothing is written later.
    pub(crate) fn reset(&mut self, ids: &[u32], row_bytes: usize, steps: usize) {
        self.ids.clear();
        self.ids.extend_from_slice(ids);
        self.row_bytes = row_bytes;
        self.steps = steps;
        let groups = ids.len().div_ceil(GROUP);
        self.lines.resize(groups * steps, Line::ZERO);
        if !ids.len().is_multiple_of(GROUP) {
            self.lines[(groups - 1) * steps..].fill(Line::ZERO);
        }
        let Terms { as_row, as_column, squares, norms } = &mut self.terms;
        for terms in [as_row, as_column, squares] {
            terms.clear();
            terms.resize(groups * GROUP, 0);
        }
        norms.clear();
        norms.resize(groups * GROUP, 1.0);
        // Ids as wide as the terms; what is missing has an infinite distance anyway.
        self.padded_ids.clear();
        self.padded_ids.extend_from_slice(ids);
        self.padded_ids.resize(groups * GROUP, u32::MAX);
    }

    /// The lane of a row.
    #[inline(always)]
    pub(crate) fn lane(&mut self, row: usize) -> Lane<'_> {
        Lane { lines: &mut self.lines[row / GROUP * self.steps..][..self.steps], lane: row % GROUP }
    }

    /// The steps of a row, read back.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = u32> + '_ {
        self.lines[row / GROUP * self.steps..][..self.steps].iter().map(move |line| line.0[row % GROUP])
    }
}

/// Lays out a vector of floats, widened.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn lay_floats<V: Lanes, E: FloatElement>(row: &[u8], mut lane: Lane<'_>) {
    let dimension = row.len() / E::BYTES;
    let mut values = [0.0f32; 16];
    const { assert!(V::FLOATS <= 16) }
    for at in (0..dimension).step_by(V::FLOATS) {
        let count = (dimension - at).min(V::FLOATS);
        // SAFETY: the caller has checked the CPU; `count` elements are left.
        unsafe {
            let from = row.as_ptr().add(at * E::BYTES);
            let register = if count == V::FLOATS { E::load::<V>(from) } else { E::load_partial::<V>(from, count) };
            V::store(values.as_mut_ptr(), register);
        }
        for (i, value) in values[..count].iter().enumerate() {
            lane.set(at + i, value.to_ne_bytes());
        }
    }
}

/// Lays out a vector of bits.
#[inline(always)]
pub(crate) fn lay_bits(row: &[u8], mut lane: Lane<'_>) {
    let (words, rest) = row.as_chunks::<4>();
    for (step, word) in words.iter().enumerate() {
        lane.set(step, *word);
    }
    if !rest.is_empty() {
        let mut word = [0; 4];
        word[..rest.len()].copy_from_slice(rest);
        lane.set(words.len(), word);
    }
}

/// A byte that is an integer, as the layouts of bytes need it.
pub(crate) trait LaidByte: IntegerElement + 'static {
    /// The same bytes as differences see them: a u8 is a code that is 128 more.
    type Shifted: IntegerElement;
    /// XORed to a byte, makes it offset binary, or leaves a u8 as it is.
    const FLIP: u8;
    /// Whether the value of a laid out byte is 128 less.
    const IS_OFFSET: bool;
}

impl LaidByte for I8 {
    type Shifted = I8;

    const FLIP: u8 = 0x80;
    const IS_OFFSET: bool = true;
}

impl LaidByte for Code8 {
    type Shifted = Code8;

    const FLIP: u8 = 0;
    const IS_OFFSET: bool = true;
}

impl LaidByte for U8 {
    type Shifted = Code8;

    const FLIP: u8 = 0;
    const IS_OFFSET: bool = false;
}

/// Steps of a vector of so many bytes.
pub(crate) fn byte_steps<V: Lanes>(bytes: usize) -> usize {
    bytes.div_ceil(if V::BYTE_QUADS { 4 } else { 2 })
}

/// Lays out a vector of bytes.
#[inline(always)]
pub(crate) fn lay_bytes<V: Lanes, E: LaidByte>(row: &[u8], mut lane: Lane<'_>) {
    if V::BYTE_QUADS {
        let (quads, rest) = row.as_chunks::<4>();
        for (step, quad) in quads.iter().enumerate() {
            lane.set(step, quad.map(|byte| byte ^ E::FLIP));
        }
        if !rest.is_empty() {
            // On the row side 0x80 becomes 0.
            let mut quad = [0x80; 4];
            quad.iter_mut().zip(rest).for_each(|(to, byte)| *to = byte ^ E::FLIP);
            lane.set(quads.len(), quad);
        }
    } else {
        let (pairs, rest) = row.as_chunks::<2>();
        let widen = |byte: u8| (i16::from(byte ^ E::FLIP) - if E::IS_OFFSET { 128 } else { 0 }).to_ne_bytes();
        for (step, pair) in pairs.iter().enumerate() {
            let ([a, b], [c, d]) = (widen(pair[0]), widen(pair[1]));
            lane.set(step, [a, b, c, d]);
        }
        if let [byte] = rest {
            let [a, b] = widen(*byte);
            lane.set(pairs.len(), [a, b, 0, 0]);
        }
    }
}
