//! The columns of a collection: append-only, one writer per shard, read by anyone without a lock.
//!
//! # Rows
//! A row id is `shard << row_bits | slot`. The parts of all shards of a column lie in one reservation, so the address of a row is
//! `base + row × stride` and nothing ever moves. Rows are numbered in the order in which they come, by *ordinals*; the table in
//! `chunks` says which slots hold which ordinals. Only `span` has unsafe code.
//!
//! # What a reader sees
//! A [`View`] is the number of published ordinals of every shard at one moment. Per row there is one word, `ended`: 0 while the row
//! is the newest of its id, `u64::MAX` once it is deleted, else 1 + the ordinal of the row that replaced it. A row is visible in a
//! view when it is not deleted and its replacement is not in the view: so each id is seen exactly once in any view, however many
//! replacements run meanwhile. What a view sees does not change while the view is held.
//!
//! # Order of writes
//! `fill` (behind the published rows, nobody sees it) → `replace` the older rows of these ids → `publish`, with Release. Codes may
//! come later: `has_code` says whether they may be read.
//!
//! # How memory is used again
//! A chunk whose rows are all dead is *retired* once nothing leads new readers to it, and *recycled* when the readers from before
//! have gone (`pins`): then later rows fill it. So rows that are written round and round need no more memory than there are rows.
//! Where rows die in no order, the last ones of a sparse chunk are copied to its end (`compact`), and the chunk dies too.
//!
//! Vectors of a column that is kept on disk leave memory by whole chunks, once all rows of a chunk are indexed
//! ([`RegionWriter::move_out`]). They can be read as before, at the same addresses, but then a reader may have to wait for the disk.

mod ahead;
mod background;
mod chunks;
mod column;
mod compact;
mod extend;
mod file;
mod filled;
mod free;
mod pins;
mod reservation;
mod restore;
mod scan;
mod span;
mod storage;
#[cfg(test)]
mod tests;
mod text;
mod view;
mod writer;

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

pub use background::Background;
pub use chunks::{CHUNK_ROWS, Run};
pub(crate) use column::check_vector;
pub use column::{CodeTally, Ids, RowEncoder, check_vectors};
pub use compact::LivingChunk;
pub use pins::Pin;
pub use restore::ChunkImage;
pub use span::SealedRows;
pub use view::View;
pub use writer::RegionWriter;

use crate::error::{Error, Result};
use crate::limits::{COLLECTION_SPAN_BYTES_MAX, EXTENDED_SPAN_BYTES_MAX, ROW_BITS_MAX, SHARDS_MAX};
use crate::schema::{IdRef, Schema};
use chunks::{CHUNK_BITS, Chunks};
use file::VectorFile;
use pins::Pins;
use span::{AtomicSpan, Span};
use storage::{Storage, Values, text_bytes_of, text_of};

/// Fewest rows of a shard, as a power of two: one chunk.
const ROW_BITS_MIN: u32 = CHUNK_BITS;
/// `ended` of a deleted row.
const DELETED: u64 = u64::MAX;
/// Lanes of the readers' counters, beside one a shard.
const LANES_BESIDE: usize = 2;

/// One counter a shard.
type Counters = Arc<[CachePadded<AtomicU64>]>;

/// The columns of a collection, of all shards. What has columns more ([`Region::extended`]) shares everything else.
#[derive(Debug)]
pub struct Region {
    schema: Arc<Schema>,
    shards: usize,
    row_bits: u32,
    chunks: Arc<Chunks>,
    pins: Arc<Pins>,
    columns: Vec<Storage>,
    /// Per vector column; None where the vectors themselves are traversed.
    codes: Vec<Option<Arc<Span>>>,
    ended: Arc<AtomicSpan>,
    /// Per shard, as all below: ordinals given to rows that may be seen.
    published: Counters,
    /// Rows that are deleted or replaced, in chunks in use.
    dead: Counters,
    /// Rows that have ever been deleted or replaced; never less than before.
    deaths: Counters,
    /// Ordinals whose chunk is out of use.
    gone: Counters,
    /// Memory used, in bytes, with that of vectors that were moved to a file.
    memory: Counters,
    /// Bytes of vectors that were moved to a file.
    moved_out: Counters,
    /// Memory of a row, in bytes, without its text.
    row_bytes: u64,
}

impl Region {
    /// Reserves address space for as many rows as the limits allow; no memory is used yet.
    ///
    /// # Errors
    /// `OutOfMemory` where the address space is used up.
    pub fn new(schema: Arc<Schema>, shards: usize) -> Result<Arc<Region>> {
        // Of a schema that has grown, as before it did: what was there once has room after every start.
        let row_bits = row_bits_for(schema.first_version(), shards);
        Region::with_row_bits(schema, shards, row_bits)
    }

    /// As `new`, with room for `1 << row_bits` rows a shard.
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
            let span = vector.has_codes().then(|| Span::new(shards, vector.code_bytes(), row_bits, true));
            codes.push(span.transpose().map_err(reserve)?);
        }
        let counters = || (0..shards).map(|_| CachePadded::new(AtomicU64::new(0))).collect();
        Ok(Arc::new(Region {
            shards,
            row_bits,
            chunks: Arc::new(Chunks::new(shards, row_bits).map_err(reserve)?),
            pins: Pins::new(shards + LANES_BESIDE),
            columns,
            codes,
            ended: Arc::new(AtomicSpan::new(shards, 1 << row_bits).map_err(reserve)?),
            published: counters(),
            dead: counters(),
            deaths: counters(),
            gone: counters(),
            memory: counters(),
            moved_out: counters(),
            row_bytes: row_bytes(&schema),
            schema,
        }))
    }

    /// The same rows with the columns of a newer version of the schema; no memory is used for them yet. Each shard's writer has to
    /// adopt it ([`RegionWriter::adopt`]) before anybody reads it.
    ///
    /// # Errors
    /// `LimitExceeded` and `OutOfMemory` where there is no address space for more columns.
    ///
    /// # Panics
    /// If the schema is not a newer version of this one's.
    pub fn extended(&self, schema: Arc<Schema>) -> Result<Arc<Region>> {
        assert!(schema.version(self.schema.fingerprint()).is_some(), "a newer version of the schema");
        let (shards, row_bits) = (self.shards, self.row_bits);
        let bytes = (reserved_row_bytes(&schema) * shards as u64) << row_bits;
        if bytes > EXTENDED_SPAN_BYTES_MAX {
            let limit = EXTENDED_SPAN_BYTES_MAX;
            return Err(Error::LimitExceeded { what: "address space of a collection in bytes", value: bytes, limit });
        }
        let more = schema.columns()[self.columns.len()..].iter().map(|column| Storage::new(column, shards, row_bits));
        let more = more.collect::<std::io::Result<Vec<_>>>().map_err(|source| Error::OutOfMemory {
            what: "address space of a collection",
            bytes,
            source,
        })?;
        Ok(Arc::new(Region {
            shards,
            row_bits,
            chunks: self.chunks.clone(),
            pins: self.pins.clone(),
            columns: self.columns.iter().cloned().chain(more).collect(),
            codes: self.codes.clone(),
            ended: self.ended.clone(),
            published: self.published.clone(),
            dead: self.dead.clone(),
            deaths: self.deaths.clone(),
            gone: self.gone.clone(),
            memory: self.memory.clone(),
            moved_out: self.moved_out.clone(),
            row_bytes: row_bytes(&schema),
            schema,
        }))
    }

    /// Makes the files of vector columns that are kept on disk. Without this they stay in memory.
    ///
    /// # Errors
    /// `Io` where a file cannot be made in the directory.
    pub fn keep_on_disk(&self, directory: &Path) -> Result<()> {
        for vector in self.schema.vectors().iter().filter(|vector| vector.on_disk) {
            let Values::Fixed { span } = &self.columns[vector.column].values else {
                unreachable!("vectors have a width")
            };
            let made = VectorFile::create(directory).and_then(|file| span.keep_on_disk(file));
            made.map_err(|source| Error::Io { operation: "make a file for vectors", path: directory.into(), source })?;
        }
        Ok(())
    }

    /// The file and the position in it of a vector that is not in memory; None where it is.
    #[inline]
    pub fn on_disk(&self, vector_index: usize, row: u32) -> Option<(&Arc<OwnedFd>, u64)> {
        match &self.columns[self.schema.vectors()[vector_index].column].values {
            Values::Fixed { span } => span.on_disk(row),
            _ => unreachable!("vectors have a width"),
        }
    }

    /// Bytes of vectors that are on disk and not in memory.
    pub fn bytes_on_disk(&self) -> u64 {
        self.moved_out.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// Moves a chunk of vectors to its file; see [`RegionWriter::move_out`].
    fn move_out(&self, vector_index: usize, shard: usize, chunk: u32, pin: &Pin) -> std::io::Result<()> {
        let vector = &self.schema.vectors()[vector_index];
        let Values::Fixed { span } = &self.columns[vector.column].values else { unreachable!("vectors have a width") };
        span.move_out(shard, chunk, pin)?;
        self.moved_out[shard].fetch_add((vector.row_bytes() as u64) << CHUNK_BITS, Ordering::Relaxed);
        Ok(())
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

    /// Rows that a shard can hold, dead ones whose chunk is in use among them.
    pub fn rows_max(&self) -> u32 {
        self.chunks.chunks_max() << CHUNK_BITS
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

    /// Published ordinals of a shard.
    #[inline]
    pub fn published(&self, shard: usize) -> u64 {
        self.published[shard].load(Ordering::Acquire)
    }

    /// The collection at this moment.
    pub fn view(&self) -> View {
        View::new(self.pins.pin(), self.shards, |shard| self.published(shard))
    }

    /// Keeps every row that can be reached now where it is. A view does that too.
    pub fn pin(&self) -> Pin {
        self.pins.pin()
    }

    /// Where the rows of a range of ordinals lie, in their order. Ordinals whose chunk is gone are left out: nothing in them
    /// was alive. Of the others, what a view sees may be read while the view is held; a chunk of dead rows may go at any moment.
    pub fn runs(&self, shard: usize, ordinals: Range<u64>) -> Vec<Run> {
        self.chunks.runs(shard, ordinals)
    }

    /// Chunks of a shard that were ever used.
    pub fn chunks_used(&self, shard: usize) -> u32 {
        self.chunks.used(shard)
    }

    /// The number of a chunk, which no other rows ever have, and how many of its rows lie in a view, from its first one on; None where
    /// none does. Unless one of them is visible, they may go at any moment.
    #[inline]
    pub fn chunk_in_view(&self, view: &View, shard: usize, chunk: u32) -> Option<(u64, u32)> {
        let number = self.chunks.number(shard, chunk)?;
        let rows = view.len(shard).saturating_sub(number << CHUNK_BITS).min(u64::from(CHUNK_ROWS)) as u32;
        (rows > 0).then_some((number, rows))
    }

    /// Values of published rows of one chunk, one behind the other, little endian; of booleans a byte each.
    ///
    /// # Panics
    /// If one is not published, or the column is one of text.
    pub fn fixed_rows(&self, column: usize, shard: usize, slots: Range<u32>) -> &[u8] {
        match &self.columns[column].values {
            Values::Fixed { span } | Values::Bool { span } => span.rows(shard, slots.start, slots.len()),
            Values::Text { .. } => panic!("column {column} is one of text"),
        }
    }

    /// Text of a published row; of a list, its texts as `text_list` has them.
    ///
    /// # Panics
    /// If it is not published, or the column is none of text.
    pub fn text_bytes(&self, column: usize, shard: usize, slot: u32) -> &[u8] {
        match &self.columns[column].values {
            Values::Text { places, heap } => text_bytes_of(places, heap, shard, slot),
            _ => panic!("column {column} is none of text"),
        }
    }

    /// Which of 64 slots, from `word` × 64 on, hold a null of a column, the lowest bit first. Those that are not published mean nothing.
    pub fn null_word(&self, column: usize, shard: usize, word: usize) -> u64 {
        self.columns[column].nulls.as_ref().map_or(0, |nulls| nulls.word(shard, word))
    }

    /// Whether a row is in the view, not deleted, and not replaced by a row in the view.
    #[inline]
    pub fn visible(&self, view: &View, row: u32) -> bool {
        let (shard, slot) = self.locate(row);
        let len = view.len(shard);
        let Some(ordinal) = self.chunks.ordinal(shard, slot) else { return false };
        ordinal < len
            && is_live(self.ended.word(shard, slot as usize).load(Ordering::Acquire), len)
            // A chunk of rows that were dead already may have been filled anew between the two.
            && self.chunks.ordinal(shard, slot) == Some(ordinal)
    }

    /// Appends those of a range of rows, all of one chunk, that are visible in the view.
    pub fn visible_in_chunk(&self, view: &View, rows: Range<u32>, visible: &mut Vec<u32>) {
        let (shard, slot) = self.locate(rows.start);
        let Some(first) = self.chunks.ordinal(shard, slot) else { return };
        debug_assert!(rows.len() <= (CHUNK_ROWS - slot % CHUNK_ROWS) as usize, "rows of one chunk");
        let len = view.len(shard);
        let in_view = len.saturating_sub(first).min(rows.len() as u64) as u32;
        let ended = |row: u32| self.ended.word(shard, (slot + (row - rows.start)) as usize).load(Ordering::Acquire);
        let before = visible.len();
        visible.extend((rows.start..rows.start + in_view).filter(|&row| is_live(ended(row), len)));
        // As in `visible`: none of the rows that were there when the view was taken is alive in it.
        if self.chunks.ordinal(shard, slot) != Some(first) {
            visible.truncate(before);
        }
    }

    /// Whether a row is neither deleted nor replaced, by any row filled so far.
    #[inline]
    pub fn is_live(&self, row: u32) -> bool {
        let (shard, slot) = self.locate(row);
        self.ended.word(shard, slot as usize).load(Ordering::Relaxed) == 0
    }

    /// Whether the row of an ordinal is still in a slot, and neither deleted nor replaced.
    pub fn lives_at(&self, shard: usize, slot: u32, ordinal: u64) -> bool {
        self.chunks.ordinal(shard, slot) == Some(ordinal) && self.is_live(self.row(shard, slot))
    }

    /// Whether there is a published row of this id, dead or not.
    pub fn is_published(&self, row: u32) -> bool {
        let (shard, slot) = self.locate(row);
        slot >> CHUNK_BITS < self.chunks.used(shard)
            && self.chunks.ordinal(shard, slot).is_some_and(|ordinal| ordinal < self.published(shard))
    }

    /// Published rows of a shard whose chunk is in use, dead ones too.
    pub fn rows_of(&self, shard: usize) -> u64 {
        self.published(shard).saturating_sub(self.gone[shard].load(Ordering::Relaxed))
    }

    /// Published rows whose chunk is in use, dead ones too.
    pub fn rows(&self) -> u64 {
        (0..self.shards).map(|shard| self.rows_of(shard)).sum()
    }

    /// Rows of a shard among those that are deleted or replaced, by rows published or about to be.
    pub fn dead_rows(&self, shard: usize) -> u64 {
        self.dead[shard].load(Ordering::Relaxed)
    }

    /// Rows that have ever been deleted or replaced, with those that are about to be. As long as it stays what it was before a view was
    /// taken, every row that was visible in that view, and had not ended by then, is visible in every later one.
    pub fn deaths(&self) -> u64 {
        self.deaths.iter().map(|deaths| deaths.load(Ordering::Acquire)).sum()
    }

    /// Ordinal of the row in a slot, dead or not; None where the chunk is not in use.
    #[inline]
    pub fn ordinal(&self, row: u32) -> Option<u64> {
        let (shard, slot) = self.locate(row);
        self.chunks.ordinal(shard, slot)
    }

    /// Rows of a range of ordinals that live, give or take those of its first and last chunk.
    pub fn live_rows_in(&self, shard: usize, ordinals: Range<u64>) -> u64 {
        self.chunks.live_rows(shard, &ordinals)
    }

    /// Id of a published row.
    ///
    /// # Panics
    /// If the row is not published.
    #[inline]
    pub fn id(&self, row: u32) -> IdRef<'_> {
        let (shard, slot) = self.locate(row);
        match &self.columns[self.schema.id_column()].values {
            Values::Text { places, heap } => IdRef::Utf8(text_of(places, heap, shard, slot)),
            Values::Fixed { span } => {
                let bytes = span.rows(shard, slot, 1);
                IdRef::from_bytes(self.schema.id_kind(), bytes.try_into().expect("eight bytes"))
            }
            Values::Bool { .. } => unreachable!("an id is a number or text"),
        }
    }

    /// Whether a published row has a value in a column.
    pub fn is_valid(&self, column: usize, row: u32) -> bool {
        let (shard, slot) = self.locate(row);
        self.columns[column].nulls.as_ref().is_none_or(|nulls| !nulls.is_null(shard, slot as usize))
    }

    /// The vectors of a vector column, by row id; published rows may be read.
    #[inline]
    pub fn vectors(&self, vector_index: usize) -> SealedRows<'_> {
        let Values::Fixed { span } = &self.columns[self.schema.vectors()[vector_index].column].values else {
            unreachable!("vectors have a width")
        };
        span.sealed_rows()
    }

    /// The codes of a vector column, by row id; coded rows may be read. None where there are no codes.
    #[inline]
    pub fn codes(&self, vector_index: usize) -> Option<SealedRows<'_>> {
        self.codes[vector_index].as_ref().map(|span| span.sealed_rows())
    }

    /// Whether the code of a published row may be read; always, where there are no codes.
    #[inline]
    pub fn has_code(&self, vector_index: usize, row: u32) -> bool {
        self.codes[vector_index].as_ref().is_none_or(|span| span.is_sealed(row))
    }

    /// Has the kernel give a committed chunk its memory now. What lies there stays.
    fn populate(&self, shard: usize, chunk: u32) -> std::io::Result<()> {
        let columns = self.columns.iter().map(|column| match &column.values {
            Values::Fixed { span } | Values::Bool { span } => span,
            Values::Text { places, .. } => places,
        });
        columns.chain(self.codes.iter().flatten()).try_for_each(|span| span.populate(shard, chunk))
    }

    /// The next chunk was refused, beside what there is.
    fn out_of_memory(&self, source: std::io::Error) -> Error {
        Error::OutOfMemory { what: "columns of a collection", bytes: self.bytes_committed(), source }
    }

    /// Memory of a row, in bytes, without its text.
    pub fn row_bytes(&self) -> u64 {
        self.row_bytes
    }

    /// Memory used, of all shards and columns, in bytes.
    pub fn bytes_committed(&self) -> u64 {
        let rows: u64 = self.memory.iter().map(|memory| memory.load(Ordering::Relaxed)).sum();
        rows.saturating_sub(self.bytes_on_disk())
    }
}

/// Whether a row with this `ended` is visible in a view that has `len` ordinals of its shard.
#[inline]
fn is_live(ended: u64, len: u64) -> bool {
    // 0: live. Else 1 + ordinal of the replacement, which is in the view when that is below `len`. Deleted is above any.
    ended == 0 || (ended > len && ended != DELETED)
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
    columns as u64 + code_bytes(schema) + size_of::<u64>() as u64
}

/// Memory of a row, in bytes, without its text.
fn row_bytes(schema: &Schema) -> u64 {
    let columns: usize = schema.columns().iter().map(Storage::row_bytes).sum();
    columns as u64 + code_bytes(schema) + size_of::<u64>() as u64
}

fn code_bytes(schema: &Schema) -> u64 {
    schema.vectors().iter().map(|vector| vector.code_bytes() as u64).sum()
}

const _: () = assert!(ROW_BITS_MIN <= ROW_BITS_MAX);
