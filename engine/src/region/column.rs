//! The writer's side of one column, and of its codes.

use std::io;
use std::sync::Arc;

use kernels::{ElementKind, Kernels, Metric};

use super::span::{Span, SpanWriter};
use super::storage::{Storage, Values, text_range};
use crate::batch::{BatchView, ColumnView};
use crate::error::{Error, Result};
use crate::schema::{IdRef, Layout, VectorColumn};

/// Makes the codes of vectors; the region does not know how.
pub trait RowEncoder: Send + Sync {
    /// Whether codes can be made yet. Once true it stays true.
    fn is_ready(&self) -> bool;
    /// Makes the code of a vector; returns how many of its elements saturated. `scratch` is for the
    /// encoder to use.
    fn encode(&self, vector: &[u8], code: &mut [u8], scratch: &mut Vec<f32>) -> u32;
    /// Is told what `encode` has done, once a batch.
    fn count(&self, rows: u64, saturated: u64);
}

/// Writes one column of one shard.
pub(super) enum ColumnWriter {
    Fixed { values: SpanWriter, width: usize },
    Bool { values: SpanWriter },
    Text { ends: SpanWriter, heap: SpanWriter, heap_filled: usize },
}

/// Writes the codes of one vector column of one shard.
pub(super) struct CodeWriter {
    span: SpanWriter,
    dimension: usize,
    /// Slots below have codes, published or not.
    pub next: u32,
    /// Whether the batch being filled gets its codes at once: decided once per batch, because the
    /// encoder may become ready at any time.
    pub is_encoding: bool,
    pub encoder: Option<Arc<dyn RowEncoder>>,
}

impl ColumnWriter {
    pub fn claim(storage: &Storage, shard: usize) -> ColumnWriter {
        match &storage.values {
            Values::Fixed { span, width } => {
                ColumnWriter::Fixed { values: SpanWriter::claim(span, shard), width: *width }
            }
            Values::Bool { span } => ColumnWriter::Bool { values: SpanWriter::claim(span, shard) },
            Values::Text { ends, heap } => {
                let heap = SpanWriter::claim(heap, shard);
                ColumnWriter::Text { ends: SpanWriter::claim(ends, shard), heap_filled: heap.sealed(), heap }
            }
        }
    }

    /// Commits memory for the first `slots` slots and for `text_bytes` more of text. False where the
    /// text has no room.
    pub fn commit(&mut self, slots: usize, text_bytes: usize) -> io::Result<bool> {
        match self {
            ColumnWriter::Fixed { values, width } => values.commit(slots * *width)?,
            ColumnWriter::Bool { values } => values.commit(slots)?,
            ColumnWriter::Text { ends, heap, heap_filled } => {
                let heap_end = *heap_filled + text_bytes;
                if heap_end > heap.capacity() {
                    return Ok(false);
                }
                ends.commit(slots * 8)?;
                heap.commit(heap_end)?;
            }
        }
        Ok(true)
    }

    /// Value of a filled slot of the id column.
    #[inline]
    pub fn id(&self, slot: usize) -> IdRef<'_> {
        match self {
            ColumnWriter::Fixed { values, .. } => {
                let bytes = values.bytes(slot * 8, 8);
                IdRef::U64(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
            }
            ColumnWriter::Text { ends, heap, .. } => {
                let range = text_range(ends.bytes(0, (slot + 1) * 8), slot);
                let bytes = heap.bytes(range.start, range.len());
                IdRef::Utf8(std::str::from_utf8(bytes).expect("text was checked when it came in"))
            }
            ColumnWriter::Bool { .. } => unreachable!("an id is u64 or utf8"),
        }
    }

    /// Forgets the text of the slots from `slot` on.
    pub fn unfill(&mut self, slot: usize) {
        if let ColumnWriter::Text { ends, heap_filled, .. } = self {
            *heap_filled = end_of_text(ends, slot);
        }
    }

    /// Writes a column that is not a vector; returns how many bytes.
    pub fn fill(&mut self, source: &ColumnView<'_>, first: usize, rows: usize) -> usize {
        match self {
            ColumnWriter::Fixed { values, width } => {
                values.bytes_mut(first * *width, rows * *width).copy_from_slice(source.fixed_rows(0..rows));
                rows * *width
            }
            ColumnWriter::Bool { values } => {
                let stored = values.bytes_mut(first, rows);
                stored.iter_mut().enumerate().for_each(|(row, byte)| *byte = u8::from(source.bit(row)));
                rows
            }
            ColumnWriter::Text { ends, heap, heap_filled } => {
                let ends = ends.bytes_mut(first * 8, rows * 8);
                let heap_before = *heap_filled;
                for (row, end) in ends.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                    if source.is_valid(row) {
                        let text = source.text(row).as_bytes();
                        heap.bytes_mut(*heap_filled, text.len()).copy_from_slice(text);
                        *heap_filled += text.len();
                    }
                    *end = (*heap_filled as u64).to_le_bytes();
                }
                rows * 8 + *heap_filled - heap_before
            }
        }
    }

    pub fn seal(&mut self, slots: usize) {
        match self {
            ColumnWriter::Fixed { values, width } => values.seal(slots * *width),
            ColumnWriter::Bool { values } => values.seal(slots),
            ColumnWriter::Text { ends, heap, .. } => {
                heap.seal(end_of_text(ends, slots));
                ends.seal(slots * 8);
            }
        }
    }
}

impl CodeWriter {
    pub fn claim(span: &Arc<Span>, dimension: usize, shard: usize) -> CodeWriter {
        let span = SpanWriter::claim(span, shard);
        CodeWriter { next: (span.sealed() / dimension) as u32, span, dimension, is_encoding: false, encoder: None }
    }

    /// Decides whether rows that are filled from slot `first` on get their codes at once.
    pub fn decide(&mut self, first: u32) {
        self.is_encoding = self.next == first && self.encoder.as_ref().is_some_and(|encoder| encoder.is_ready());
    }

    pub fn commit(&mut self, end: u32) -> io::Result<()> {
        self.span.commit(end as usize * self.dimension)
    }

    pub fn code_mut(&mut self, slot: u32) -> &mut [u8] {
        self.span.bytes_mut(slot as usize * self.dimension, self.dimension)
    }

    /// Lets readers at the codes below `published`, as far as there are any.
    pub fn seal(&mut self, published: u32) {
        self.span.seal(self.next.min(published) as usize * self.dimension);
    }
}

/// Where the text of the first `slots` slots ends in the heap.
fn end_of_text(ends: &SpanWriter, slots: usize) -> usize {
    if slots == 0 { 0 } else { text_range(ends.bytes(0, slots * 8), slots - 1).end }
}

/// Bytes of text of a batch; 0 for a column of another type.
pub(super) fn text_bytes(column: &ColumnView<'_>, rows: usize) -> usize {
    if column.layout() != Layout::Utf8 {
        return 0;
    }
    (0..rows).filter(|&row| column.is_valid(row)).map(|row| column.text(row).len()).sum()
}

/// Refuses what has no distance to anything.
pub(crate) fn check_vector(kernels: &Kernels, vector: &VectorColumn, bytes: &[u8], row: usize) -> Result<()> {
    if !kernels.all_finite(vector.kind, bytes) {
        return Err(Error::NonFinite { column: vector.name.clone(), row });
    }
    if vector.metric == Metric::Cosine && is_zero(vector.kind, bytes) {
        return Err(Error::ZeroVector { column: vector.name.clone(), row });
    }
    Ok(())
}

/// Checks every vector of a batch as [`super::RegionWriter::fill`] would, without storing anything: for whoever is about to
/// cut a batch into parts that are accepted or refused one by one.
///
/// # Errors
/// `NonFinite`, `ZeroVector`.
pub fn check_vectors(batch: &BatchView<'_>) -> Result<()> {
    let kernels = kernels::detect();
    for vector in batch.schema().vectors() {
        let column = batch.column(vector.column);
        (0..batch.rows()).try_for_each(|row| check_vector(kernels, vector, column.fixed(row), row))?;
    }
    Ok(())
}

/// Whether every element is zero, of either sign. The first element that is not ends it.
fn is_zero(kind: ElementKind, bytes: &[u8]) -> bool {
    match kind {
        ElementKind::F32 => bytes.as_chunks::<4>().0.iter().all(|element| u32::from_le_bytes(*element) << 1 == 0),
        ElementKind::F16 | ElementKind::Bf16 => {
            bytes.as_chunks::<2>().0.iter().all(|element| u16::from_le_bytes(*element) << 1 == 0)
        }
        ElementKind::I8 | ElementKind::U8 | ElementKind::I32 | ElementKind::Bits | ElementKind::Code8 => {
            bytes.iter().all(|&byte| byte == 0)
        }
    }
}
