//! The columns of a collection: append-only, one writer per shard, read by anyone without a lock.
//!
//! # Rows
//! A row id is `shard << row_bits | slot`. The parts of all shards of a column lie in one reservation, so the address of a row is
//! `base + row × stride`, nothing ever moves, and growth is the commit of the next chunk (`span`, the only file with unsafe code).
//!
//! # What a reader sees
//! Slots below the published length of a shard never change. A [`View`] is the published length of every shard at one moment. Per
//! row there is one word, `replaced_by`: 0 while the row is the newest of its id, `u32::MAX` once it is deleted, else 1 + the slot
//! of the row that replaced it. A row is visible in a view when it is not deleted and its replacement is not in the view: so each
//! id is seen exactly once in any view, however many replacements run meanwhile.
//!
//! # Order of writes
//! `fill` (above the published length, nobody sees it) → `replace` the older rows of these ids → `publish`, with Release. Codes may
//! come later: `coded` says, per shard and vector column, below which slot they may be read.

mod column;
mod scan;
mod span;
mod storage;
#[cfg(test)]
mod tests;
mod view;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_utils::CachePadded;

pub(crate) use column::check_vector;
pub use column::{RowEncoder, check_vectors};
pub use span::SealedRows;
pub use view::View;
pub use writer::RegionWriter;

use crate::error::{Error, Result};
use crate::limits::{COLLECTION_SPAN_BYTES_MAX, ROW_BITS_MAX, SHARDS_MAX};
use crate::schema::{IdRef, Layout, Schema};
use span::{AtomicSpan, Span};
use storage::{Storage, Values, text_range};

/// Fewest rows of a shard, as a power of two: every part of a shard is whole pages from here on.
const ROW_BITS_MIN: u32 = 12;
/// `replaced_by` of a deleted row.
const DELETED: u32 = u32::MAX;

/// The columns of a collection, of all shards.
#[derive(Debug)]
pub struct Region {
    schema: Arc<Schema>,
    shards: usize,
    row_bits: u32,
    columns: Vec<Storage>,
    /// Per vector column; None where the vectors themselves are traversed.
    codes: Vec<Option<Arc<Span>>>,
    replaced_by: AtomicSpan,
    published: Vec<CachePadded<AtomicU32>>,
    /// Rows of a shard that are deleted or replaced.
    deleted: Vec<CachePadded<AtomicU32>>,
}

impl Region {
    /// Reserves address space for as many rows as the limits allow; no memory is used yet.
    ///
    /// # Errors
    /// `OutOfMemory` where the address space is used up.
    pub fn new(schema: Arc<Schema>, shards: usize) -> Result<Arc<Region>> {
        let row_bits = row_bits_for(&schema, shards);
        Region::with_row_bits(schema, shards, row_bits)
    }

    /// As `new`, with room for `(1 << row_bits) - 1` rows a shard.
    ///
    /// # Errors
    /// `OutOfMemory` where the address space is used up.
    pub fn with_row_bits(schema: Arc<Schema>, shards: usize, row_bits: u32) -> Result<Arc<Region>> {
        assert!((1..=SHARDS_MAX).contains(&shards), "{shards} shards");
        assert!((ROW_BITS_MIN..=row_bits_max(shards)).contains(&row_bits), "{row_bits} row bits");
        let bytes = (reserved_row_bytes(&schema) * shards as u64) << row_bits;
        let reserve = |source| Error::OutOfMemory { what: "address space of a collection", bytes, source };
        let storage = schema.columns().iter().map(|column| Storage::new(column, shards, row_bits));
        let columns = storage.collect::<std::io::Result<Vec<_>>>().map_err(reserve)?;
        let mut codes = Vec::with_capacity(schema.vectors().len());
        for vector in schema.vectors() {
            let span = vector.has_codes().then(|| Span::new(shards, vector.dimension << row_bits, true));
            codes.push(span.transpose().map_err(reserve)?);
        }
        let counters = || (0..shards).map(|_| CachePadded::new(AtomicU32::new(0))).collect();
        Ok(Arc::new(Region {
            shards,
            row_bits,
            columns,
            codes,
            replaced_by: AtomicSpan::new(shards, 1 << row_bits).map_err(reserve)?,
            published: counters(),
            deleted: counters(),
            schema,
        }))
    }

    /// The schema of the collection.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Bits of the slot in a row id.
    pub fn row_bits(&self) -> u32 {
        self.row_bits
    }

    /// Rows that a shard can hold. One less than the ids of a shard, so that no row id is `u32::MAX`.
    pub fn rows_max(&self) -> u32 {
        (1 << self.row_bits) - 1
    }

    /// Row id of a slot.
    #[inline]
    pub fn row(&self, shard: usize, slot: u32) -> u32 {
        debug_assert!(shard < self.shards && slot < self.rows_max());
        (shard as u32) << self.row_bits | slot
    }

    /// Shard and slot of a row id.
    #[inline]
    pub fn locate(&self, row: u32) -> (usize, u32) {
        ((row >> self.row_bits) as usize, row & ((1 << self.row_bits) - 1))
    }

    /// Published slots of a shard.
    #[inline]
    pub fn published(&self, shard: usize) -> u32 {
        self.published[shard].load(Ordering::Acquire)
    }

    /// The collection at this moment.
    pub fn view(&self) -> View {
        View::new(self.shards, |shard| self.published(shard))
    }

    /// Whether a row is in the view, not deleted, and not replaced by a row in the view.
    #[inline]
    pub fn visible(&self, view: &View, row: u32) -> bool {
        let (shard, slot) = self.locate(row);
        let len = view.len(shard);
        slot < len && is_live(self.replaced_by.word(shard, slot as usize).load(Ordering::Relaxed), len)
    }

    /// Whether a row is neither deleted nor replaced, by any row filled so far.
    #[inline]
    pub fn is_live(&self, row: u32) -> bool {
        let (shard, slot) = self.locate(row);
        self.replaced_by.word(shard, slot as usize).load(Ordering::Relaxed) == 0
    }

    /// Rows of a shard that are deleted or replaced, by rows published or about to be.
    pub fn deleted_rows(&self, shard: usize) -> u32 {
        self.deleted[shard].load(Ordering::Relaxed)
    }

    /// Bitmap of a shard's first `len` slots, lowest bit first: set where a view of that length does not see the row.
    pub fn deleted_bitmap(&self, shard: usize, len: u32) -> Vec<u8> {
        let len = len as usize;
        let mut bitmap = vec![0; len.div_ceil(8)];
        for slot in 0..len {
            let replaced_by = self.replaced_by.word(shard, slot).load(Ordering::Relaxed);
            bitmap[slot / 8] |= u8::from(!is_live(replaced_by, len as u32)) << (slot % 8);
        }
        bitmap
    }

    /// Id of a published row.
    ///
    /// # Panics
    /// If the row is not published.
    #[inline]
    pub fn id(&self, row: u32) -> IdRef<'_> {
        let (shard, slot) = self.locate(row);
        match &self.columns[self.schema.id_column()].values {
            Values::Text { .. } => IdRef::Utf8(self.text(self.schema.id_column(), shard, slot)),
            Values::Fixed { span, .. } => {
                let bytes = span.bytes(shard, slot as usize * 8, 8);
                IdRef::U64(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
            }
            Values::Bool { .. } => unreachable!("an id is u64 or utf8"),
        }
    }

    /// Whether a published row has a value in a column.
    pub fn is_valid(&self, column: usize, row: u32) -> bool {
        let (shard, slot) = self.locate(row);
        assert!(slot < self.published(shard), "slot {slot} of shard {shard} is not published");
        self.columns[column].nulls.as_ref().is_none_or(|nulls| !nulls.is_null(shard, slot as usize))
    }

    /// Text of a published row; empty where it is null.
    pub(crate) fn text(&self, column: usize, shard: usize, slot: u32) -> &str {
        let Values::Text { ends, heap } = &self.columns[column].values else { panic!("a text column") };
        let slot = slot as usize;
        let range = text_range(ends.bytes(shard, 0, (slot + 1) * 8), slot);
        let bytes = heap.bytes(shard, range.start, range.len());
        std::str::from_utf8(bytes).expect("text was checked when it came in")
    }

    /// The vectors of a vector column, by row id; published rows may be read.
    #[inline]
    pub fn vectors(&self, vector_index: usize) -> SealedRows<'_> {
        let vector = &self.schema.vectors()[vector_index];
        let Values::Fixed { span, width } = &self.columns[vector.column].values else {
            unreachable!("vectors have a width")
        };
        span.rows(*width, self.row_bits)
    }

    /// The int8 codes of a vector column, by row id; coded rows may be read. None for element types that have no codes.
    #[inline]
    pub fn codes(&self, vector_index: usize) -> Option<SealedRows<'_>> {
        let span = self.codes[vector_index].as_ref()?;
        Some(span.rows(self.schema.vectors()[vector_index].dimension, self.row_bits))
    }

    /// Slots of a shard whose codes may be read; all published ones where there are no codes.
    #[inline]
    pub fn coded(&self, vector_index: usize, shard: usize) -> u32 {
        match &self.codes[vector_index] {
            Some(span) => (span.sealed(shard) / self.schema.vectors()[vector_index].dimension) as u32,
            None => self.published(shard),
        }
    }

    /// The next chunk was refused, beside what there is.
    fn out_of_memory(&self, source: std::io::Error) -> Error {
        Error::OutOfMemory { what: "columns of a collection", bytes: self.bytes_committed(), source }
    }

    /// Memory made accessible so far, of all shards and columns, in bytes. What was not touched yet costs nothing.
    pub fn bytes_committed(&self) -> u64 {
        let columns: u64 = self.columns.iter().map(Storage::bytes_committed).sum();
        let codes: u64 = self.codes.iter().flatten().map(|span| span.bytes_committed()).sum();
        columns + codes + self.replaced_by.bytes_committed()
    }
}

/// Whether a row with this `replaced_by` is visible in a view that has `len` slots of its shard.
#[inline]
fn is_live(replaced_by: u32, len: u32) -> bool {
    // 0: live. Else 1 + slot of the replacement, which is in the view when its slot is below `len`. Deleted is above any slot.
    replaced_by == 0 || (replaced_by > len && replaced_by != DELETED)
}

fn row_bits_max(shards: usize) -> u32 {
    (32 - shards.next_power_of_two().trailing_zeros()).min(ROW_BITS_MAX)
}

/// Most row bits at which the address space of all columns keeps to its limit.
fn row_bits_for(schema: &Schema, shards: usize) -> u32 {
    let row_bytes = reserved_row_bytes(schema);
    let fits = |row_bits: &u32| (row_bytes * shards as u64) << row_bits <= COLLECTION_SPAN_BYTES_MAX;
    (ROW_BITS_MIN..=row_bits_max(shards)).rev().find(fits).unwrap_or(ROW_BITS_MIN)
}

/// Address space of a row, in bytes, rounded up.
fn reserved_row_bytes(schema: &Schema) -> u64 {
    let columns: usize = schema.columns().iter().map(Storage::reserved_row_bytes).sum();
    let codes: usize = schema.vectors().iter().filter(|vector| vector.has_codes()).map(|vector| vector.dimension).sum();
    (columns + codes + size_of::<u32>()) as u64
}

const _: () = assert!(ROW_BITS_MIN <= ROW_BITS_MAX);
// Layouts are byte widths, so a part of `1 << ROW_BITS_MIN` rows is whole pages.
const _: () = assert!(1usize << ROW_BITS_MIN == 4096 && size_of::<Layout>() > 0);
