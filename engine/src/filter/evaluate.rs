//! A filter, and the columns of a chunk, to a mask of its rows.

use std::ops::{Range, RangeBounds};

use super::bounds::Ranges;
use super::{Filter, Node, Test, Values, words};

/// Rows of a mask: those of a chunk.
pub const MASK_ROWS: usize = 4_096;
const WORD_ROWS: usize = 64;
const WORDS: usize = MASK_ROWS / WORD_ROWS;

/// Rows of a chunk, a bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    words: [u64; WORDS],
}

impl Mask {
    /// No row.
    pub const EMPTY: Mask = Mask { words: [0; WORDS] };

    /// A range of rows.
    pub fn of(rows: Range<usize>) -> Mask {
        let below = |row: usize, word: usize| match row.saturating_sub(word * WORD_ROWS) {
            bits @ 0..WORD_ROWS => (1u64 << bits) - 1,
            _ => u64::MAX,
        };
        Mask { words: std::array::from_fn(|word| below(rows.end, word) & !below(rows.start, word)) }
    }

    /// The rows, ascending.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(word, &bits)| {
            let next = |&left: &u64| Some(left & left.wrapping_sub(1)).filter(|_| left != 0);
            let left = std::iter::successors(Some(bits), next).take_while(|&left| left != 0);
            left.map(move |left| word * WORD_ROWS + left.trailing_zeros() as usize)
        })
    }

    /// Adds a row.
    #[inline]
    pub fn insert(&mut self, row: usize) {
        self.words[row / WORD_ROWS] |= 1 << (row % WORD_ROWS);
    }

    /// Whether a row is in it.
    #[inline]
    pub fn contains(&self, row: usize) -> bool {
        self.words[row / WORD_ROWS] >> (row % WORD_ROWS) & 1 == 1
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.words == [0; WORDS]
    }

    /// Number of rows.
    pub fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Those that are in both.
    pub fn and(&self, other: &Mask) -> Mask {
        Mask { words: std::array::from_fn(|word| self.words[word] & other.words[word]) }
    }

    fn without(&self, other: &Mask) -> Mask {
        Mask { words: std::array::from_fn(|word| self.words[word] & !other.words[word]) }
    }

    /// Adds rows.
    pub fn add(&mut self, other: &Mask) {
        self.words.iter_mut().zip(other.words).for_each(|(word, other)| *word |= other);
    }
}

/// The columns of rows of one chunk that may be read: those from its first one on.
pub trait ChunkColumns {
    /// Values of a column of fixed width, or of booleans, a byte each; little endian, one behind the other.
    fn fixed(&self, column: usize) -> &[u8];
    /// The text of a row; of a list, its texts as `text_list` has them.
    fn text(&self, column: usize, row: usize) -> &[u8];
    /// Nulls among 64 rows of a column that may have some: from row 64 × `word` on, the lowest bit first.
    fn nulls(&self, column: usize, word: usize) -> u64;
}

impl Filter {
    /// What it takes to look at a row of many, in nanoseconds and about.
    pub fn row_ns(&self) -> u32 {
        self.root.cost()
    }

    /// Those of `rows` that the filter is true of; all of them can be read.
    pub fn select(&self, chunk: &impl ChunkColumns, rows: &Mask) -> Mask {
        self.root.select(rows, &mut |test, rows| test.select(chunk, rows))
    }

    /// Those of `rows` that the filter is true of, by those that its conditions are true of: `passing` is asked for them by the place of
    /// a condition, and only where it matters.
    pub fn combine(&self, rows: &Mask, mut passing: impl FnMut(usize) -> Mask) -> Mask {
        self.root.select(rows, &mut |test, rows| passing(test.condition).and(rows))
    }

    /// Whether it is true of one row.
    #[inline]
    pub fn accepts(&self, chunk: &impl ChunkColumns, row: usize) -> bool {
        self.root.accepts(chunk, row)
    }
}

impl Node {
    /// Those of some rows that it is true of; `test` says which of some rows pass a test.
    fn select(&self, rows: &Mask, test: &mut impl FnMut(&Test, &Mask) -> Mask) -> Mask {
        match self {
            Node::And(nodes) => {
                let mut left = rows.clone();
                for node in nodes.iter() {
                    if left.is_empty() {
                        break;
                    }
                    left = node.select(&left, test);
                }
                left
            }
            Node::Or(nodes) => {
                let (mut found, mut left) = (Mask::EMPTY, rows.clone());
                for node in nodes.iter() {
                    if left.is_empty() {
                        break;
                    }
                    let more = node.select(&left, test);
                    left = left.without(&more);
                    found.add(&more);
                }
                found
            }
            Node::Not(node) => rows.without(&node.select(rows, test)),
            Node::Test(of) => test(of, rows),
        }
    }

    fn accepts(&self, chunk: &impl ChunkColumns, row: usize) -> bool {
        match self {
            Node::And(nodes) => nodes.iter().all(|node| node.accepts(chunk, row)),
            Node::Or(nodes) => nodes.iter().any(|node| node.accepts(chunk, row)),
            Node::Not(node) => !node.accepts(chunk, row),
            Node::Test(test) => test.accepts(chunk, row),
        }
    }
}

/// What is done with the test that a [`Values`] makes of one value: of its bytes, or of a text.
trait Visitor {
    type Output;
    fn fixed<const N: usize>(self, test: impl Fn([u8; N]) -> bool) -> Self::Output;
    fn text(self, test: impl Fn(&[u8]) -> bool) -> Self::Output;
    fn null(self) -> Self::Output;
}

impl Values {
    fn visit<V: Visitor>(&self, visitor: V) -> V::Output {
        match self {
            Values::Null => visitor.null(),
            Values::Bool(wanted) => visitor.fixed(|[byte]: [u8; 1]| wanted[usize::from(byte != 0)]),
            Values::I8(ranges) => visitor.fixed(within(ranges, i8::from_le_bytes)),
            Values::I16(ranges) => visitor.fixed(within(ranges, i16::from_le_bytes)),
            Values::I32(ranges) => visitor.fixed(within(ranges, i32::from_le_bytes)),
            Values::I64(ranges) => visitor.fixed(within(ranges, i64::from_le_bytes)),
            Values::U8(ranges) => visitor.fixed(within(ranges, u8::from_le_bytes)),
            Values::U16(ranges) => visitor.fixed(within(ranges, u16::from_le_bytes)),
            Values::U32(ranges) => visitor.fixed(within(ranges, u32::from_le_bytes)),
            Values::U64(ranges) => visitor.fixed(within(ranges, u64::from_le_bytes)),
            Values::F32(ranges) => visitor.fixed(within(ranges, |bytes| f64::from(f32::from_le_bytes(bytes)))),
            Values::F64(ranges) => visitor.fixed(within(ranges, f64::from_le_bytes)),
            Values::TextIn(texts) => match &texts[..] {
                [one] => visitor.text(|text| text == &one[..]),
                _ => visitor.text(|text| texts.binary_search_by(|other| other[..].cmp(text)).is_ok()),
            },
            Values::TextWithin((from, to)) => {
                let range = (from.as_ref().map(|text| &text[..]), to.as_ref().map(|text| &text[..]));
                visitor.text(|text| RangeBounds::<[u8]>::contains(&range, text))
            }
            Values::TextPrefix(prefix) => visitor.text(|text| text.starts_with(prefix)),
            Values::TextWords(analyser, wanted) => visitor.text(|text| words::has_all(text, analyser, wanted)),
            Values::Tags(wanted) => visitor.text(|list| words::holds_all(list, wanted)),
        }
    }
}

/// The test whether a value, read from its bytes, is in the ranges.
fn within<const N: usize, T: Copy + PartialOrd>(
    ranges: &Ranges<T>,
    read: impl Fn([u8; N]) -> T,
) -> impl Fn([u8; N]) -> bool {
    let single = ranges.single();
    move |bytes| {
        let value = read(bytes);
        match single {
            Some((from, to)) => (from <= value) & (value <= to),
            None => ranges.contain(value),
        }
    }
}

impl Test {
    pub(super) fn select(&self, chunk: &impl ChunkColumns, rows: &Mask) -> Mask {
        let selected = self.values.visit(Select { chunk, column: self.column, rows });
        self.without_nulls(chunk, selected)
    }

    /// Takes out what is null, or, where that is wanted, what is not.
    pub(super) fn without_nulls(&self, chunk: &impl ChunkColumns, mut selected: Mask) -> Mask {
        if self.is_nullable || self.wants_null() {
            for (word, bits) in selected.words.iter_mut().enumerate().filter(|(_, bits)| **bits != 0) {
                let nulls = if self.is_nullable { chunk.nulls(self.column, word) } else { 0 };
                *bits &= if self.wants_null() { nulls } else { !nulls };
            }
        }
        selected
    }

    fn accepts(&self, chunk: &impl ChunkColumns, row: usize) -> bool {
        let is_null = self.is_nullable && chunk.nulls(self.column, row / WORD_ROWS) >> (row % WORD_ROWS) & 1 == 1;
        if is_null || self.wants_null() {
            return is_null && self.wants_null();
        }
        self.values.visit(Accept { chunk, column: self.column, row })
    }

    fn wants_null(&self) -> bool {
        matches!(self.values, Values::Null)
    }
}

/// Those of some rows that pass, null or not.
struct Select<'a, C> {
    chunk: &'a C,
    column: usize,
    rows: &'a Mask,
}

impl<C: ChunkColumns> Visitor for Select<'_, C> {
    type Output = Mask;

    /// All values are compared, 64 rows to a word: that is quicker than to pass over some.
    fn fixed<const N: usize>(self, test: impl Fn([u8; N]) -> bool) -> Mask {
        let mut selected = Mask::EMPTY;
        let values = self.chunk.fixed(self.column).as_chunks::<N>().0;
        for ((word, values), rows) in selected.words.iter_mut().zip(values.chunks(WORD_ROWS)).zip(self.rows.words) {
            if rows != 0 {
                let bits =
                    values.iter().enumerate().fold(0, |bits, (row, &value)| bits | u64::from(test(value)) << row);
                *word = bits & rows;
            }
        }
        selected
    }

    /// Text lies elsewhere: only that of rows that matter is read.
    fn text(self, test: impl Fn(&[u8]) -> bool) -> Mask {
        let mut selected = Mask::EMPTY;
        let passing = self.rows.rows().filter(|&row| test(self.chunk.text(self.column, row)));
        passing.for_each(|row| selected.insert(row));
        selected
    }

    fn null(self) -> Mask {
        self.rows.clone()
    }
}

/// Whether one row passes that is not null.
struct Accept<'a, C> {
    chunk: &'a C,
    column: usize,
    row: usize,
}

impl<C: ChunkColumns> Visitor for Accept<'_, C> {
    type Output = bool;

    fn fixed<const N: usize>(self, test: impl Fn([u8; N]) -> bool) -> bool {
        test(self.chunk.fixed(self.column).as_chunks::<N>().0[self.row])
    }

    fn text(self, test: impl Fn(&[u8]) -> bool) -> bool {
        test(self.chunk.text(self.column, self.row))
    }

    fn null(self) -> bool {
        false
    }
}
