//! How a column of the schema lies in spans.
//!
//! | layout | spans |
//! |---|---|
//! | fixed width, vectors | one, `bytes` a row; vectors in huge pages |
//! | bool | one, a byte a row |
//! | utf8 | `ends`: u64 a row, the end of its text in the heap; `heap`: the text, back to back in row order |
//! | nullable | besides: a bitmap in atomic words, set bit = null |
//!
//! The bitmap is atomic because rows on both sides of the published length share a word.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::span::{AtomicSpan, Span};
use crate::schema::{Column, Layout};

/// Bytes of address space for text, per row of the shard's capacity.
const HEAP_BYTES_PER_ROW: usize = 256;
/// Rows of a word of a null bitmap.
pub(super) const WORD_ROWS: usize = 32;

/// The spans of one column.
#[derive(Debug)]
pub(super) struct Storage {
    pub values: Values,
    pub nulls: Option<Nulls>,
}

#[derive(Debug)]
pub(super) enum Values {
    Fixed { span: Arc<Span>, width: usize },
    Bool { span: Arc<Span> },
    Text { ends: Arc<Span>, heap: Arc<Span> },
}

impl Storage {
    pub fn new(column: &Column, shards: usize, row_bits: u32) -> io::Result<Storage> {
        let span = |bytes: usize, huge| Span::new(shards, bytes << row_bits, huge);
        let values = match column.layout {
            Layout::Bool => Values::Bool { span: span(1, false)? },
            Layout::Fixed { bytes } => Values::Fixed { span: span(bytes, false)?, width: bytes },
            Layout::VectorList { bytes, .. } | Layout::VectorBinary { bytes } => {
                Values::Fixed { span: span(bytes, true)?, width: bytes }
            }
            Layout::Utf8 => Values::Text { ends: span(8, false)?, heap: span(HEAP_BYTES_PER_ROW, false)? },
        };
        let nulls = if column.nullable { Some(Nulls::new(shards, row_bits)?) } else { None };
        Ok(Storage { values, nulls })
    }

    /// Address space of a row of this column, in bytes, rounded up.
    pub fn reserved_row_bytes(column: &Column) -> usize {
        let values = match column.layout {
            Layout::Bool => 1,
            Layout::Utf8 => 8 + HEAP_BYTES_PER_ROW,
            layout => layout.row_bytes().expect("the other layouts have a width"),
        };
        values + usize::from(column.nullable)
    }

    pub fn bytes_committed(&self) -> u64 {
        let values = match &self.values {
            Values::Fixed { span, .. } | Values::Bool { span } => span.bytes_committed(),
            Values::Text { ends, heap } => ends.bytes_committed() + heap.bytes_committed(),
        };
        values + self.nulls.as_ref().map_or(0, |nulls| nulls.words.bytes_committed())
    }
}

/// Where a text of a shard lies in the heap: its end, and its start, which is the end of the row before.
#[inline]
pub(super) fn text_range(ends: &[u8], slot: usize) -> std::ops::Range<usize> {
    let end = |slot: usize| {
        let bytes = ends[slot * 8..].first_chunk::<8>().expect("an end for every row");
        u64::from_le_bytes(*bytes) as usize
    };
    let start = if slot == 0 { 0 } else { end(slot - 1) };
    start..end(slot)
}

/// Null bitmap of a column: a set bit is a null.
#[derive(Debug)]
pub(super) struct Nulls {
    pub words: AtomicSpan,
}

impl Nulls {
    fn new(shards: usize, row_bits: u32) -> io::Result<Nulls> {
        // A part is at least one page of words, whatever the number of rows.
        let words = ((1usize << row_bits) / WORD_ROWS).next_multiple_of(1024);
        Ok(Nulls { words: AtomicSpan::new(shards, words)? })
    }

    pub fn commit(&self, shard: usize, end_slot: usize) -> io::Result<()> {
        self.words.commit(shard, end_slot.div_ceil(WORD_ROWS))
    }

    #[inline]
    pub fn is_null(&self, shard: usize, slot: usize) -> bool {
        self.words.word(shard, slot / WORD_ROWS).load(Ordering::Relaxed) >> (slot % WORD_ROWS) & 1 == 1
    }

    /// Writes the bits of `len` rows from `first`; only the shard's writer calls this. Other bits of a word stay as they are.
    pub fn set(&self, shard: usize, first: usize, len: usize, is_null: impl Fn(usize) -> bool) {
        let mut row = 0;
        while row < len {
            let slot = first + row;
            let word = self.words.word(shard, slot / WORD_ROWS);
            let rows = (WORD_ROWS - slot % WORD_ROWS).min(len - row);
            let (mut mask, mut bits) = (0u32, 0u32);
            for offset in 0..rows {
                let bit = slot % WORD_ROWS + offset;
                mask |= 1 << bit;
                bits |= u32::from(is_null(row + offset)) << bit;
            }
            // One writer, so nothing is lost between load and store; the order comes from the published length.
            word.store(word.load(Ordering::Relaxed) & !mask | bits, Ordering::Relaxed);
            row += rows;
        }
    }
}
