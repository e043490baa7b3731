//! How a column of the schema lies in spans.
//!
//! | layout | spans |
//! |---|---|
//! | fixed width, vectors | one, `bytes` a row; vectors in huge pages |
//! | bool | one, a byte a row |
//! | utf8 | `places`: a word a row, start and length of its text in the heap (see `text`) |
//! | list of utf8 | the same, of the texts of a row as one text (see `text_list`) |
//! | nullable | besides: a bitmap in atomic words, set bit = null |
//!
//! The bitmap is atomic because rows on both sides of the published length share a word.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::span::{AtomicSpan, Heap, Span};
use super::text::Place;
use crate::schema::{Column, Layout};

/// Bytes of address space for text, per row of the shard's capacity.
const HEAP_BYTES_PER_ROW: usize = 256;
/// Rows of a word of a null bitmap.
const WORD_ROWS: usize = 64;

/// The spans of one column.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub values: Values,
    pub nulls: Option<Nulls>,
}

#[derive(Clone, Debug)]
pub(super) enum Values {
    Fixed { span: Arc<Span> },
    Bool { span: Arc<Span> },
    Text { places: Arc<Span>, heap: Arc<Heap> },
}

impl Storage {
    pub fn new(column: &Column, shards: usize, row_bits: u32) -> io::Result<Storage> {
        let span = |bytes: usize, huge| Span::new(shards, bytes, row_bits, huge);
        let values = match column.layout {
            Layout::Bool => Values::Bool { span: span(1, false)? },
            Layout::Fixed { bytes } => Values::Fixed { span: span(bytes, false)? },
            Layout::VectorList { bytes, .. } | Layout::VectorBinary { bytes } => {
                Values::Fixed { span: span(bytes, true)? }
            }
            Layout::Utf8 | Layout::Utf8List => {
                Values::Text { places: span(8, false)?, heap: Heap::new(shards, HEAP_BYTES_PER_ROW << row_bits)? }
            }
        };
        let nulls = if column.nullable { Some(Nulls::new(shards, row_bits)?) } else { None };
        Ok(Storage { values, nulls })
    }

    /// Address space of a row of this column, in bytes, rounded up.
    pub fn reserved_row_bytes(column: &Column) -> usize {
        Storage::row_bytes(column) + if column.layout.is_text() { HEAP_BYTES_PER_ROW } else { 0 }
    }

    /// Memory of a row of this column, in bytes, rounded up; its text, if it has one, comes to that.
    pub fn row_bytes(column: &Column) -> usize {
        let values = match column.layout {
            Layout::Bool => 1,
            Layout::Utf8 | Layout::Utf8List => 8,
            layout => layout.row_bytes().expect("the other layouts have a width"),
        };
        values + usize::from(column.nullable)
    }
}

/// The text of a sealed row.
pub(super) fn text_of<'a>(places: &Span, heap: &'a Heap, shard: usize, slot: u32) -> &'a str {
    std::str::from_utf8(text_bytes_of(places, heap, shard, slot)).expect("text was checked when it came in")
}

/// The text of a sealed row, as bytes.
pub(super) fn text_bytes_of<'a>(places: &Span, heap: &'a Heap, shard: usize, slot: u32) -> &'a [u8] {
    let place = Place::decode(places.rows(shard, slot, 1));
    heap.bytes(shard, place.start, place.len)
}

/// Null bitmap of a column: a set bit is a null.
#[derive(Clone, Debug)]
pub(super) struct Nulls {
    words: Arc<AtomicSpan>,
}

impl Nulls {
    fn new(shards: usize, row_bits: u32) -> io::Result<Nulls> {
        let words = AtomicSpan::whole_pages((1usize << row_bits) / WORD_ROWS);
        Ok(Nulls { words: Arc::new(AtomicSpan::new(shards, words)?) })
    }

    pub fn commit(&self, shard: usize, slots: usize) -> io::Result<()> {
        self.words.commit(shard, slots.div_ceil(WORD_ROWS))
    }

    #[inline]
    pub fn is_null(&self, shard: usize, slot: usize) -> bool {
        self.words.word(shard, slot / WORD_ROWS).load(Ordering::Relaxed) >> (slot % WORD_ROWS) & 1 == 1
    }

    /// The bits of 64 slots, from `word` × 64 on.
    pub fn word(&self, shard: usize, word: usize) -> u64 {
        self.words.word(shard, word).load(Ordering::Relaxed)
    }

    /// Says that the first slots, whole words of them, hold null; nobody reads them yet.
    pub fn set_all(&self, shard: usize, slots: usize) {
        assert!(slots.is_multiple_of(WORD_ROWS), "whole words");
        (0..slots / WORD_ROWS).for_each(|word| self.words.word(shard, word).store(u64::MAX, Ordering::Relaxed));
    }

    /// Writes the bits of `len` rows from `first`; only the shard's writer calls this. Other bits of a word stay as they are.
    pub fn set(&self, shard: usize, first: usize, len: usize, is_null: impl Fn(usize) -> bool) {
        let mut row = 0;
        while row < len {
            let slot = first + row;
            let word = self.words.word(shard, slot / WORD_ROWS);
            let rows = (WORD_ROWS - slot % WORD_ROWS).min(len - row);
            let (mut mask, mut bits) = (0u64, 0u64);
            for offset in 0..rows {
                let bit = slot % WORD_ROWS + offset;
                mask |= 1 << bit;
                bits |= u64::from(is_null(row + offset)) << bit;
            }
            // One writer, so nothing is lost between load and store; the order comes from the published length.
            word.store(word.load(Ordering::Relaxed) & !mask | bits, Ordering::Relaxed);
            row += rows;
        }
    }
}
