//! The writer's side of one column, and of its codes.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use kernels::{ElementKind, Kernels, Metric};

use super::chunks::{CHUNK_BITS, CHUNK_ROWS};
use super::pins::Expired;
use super::span::{Span, SpanWriter};
use super::storage::{Storage, Values as Spans};
use super::text::{HeapWriter, Place};
use crate::batch::{BatchView, ColumnView, Values};
use crate::error::{Error, Result};
use crate::schema::{IdKind, IdRef, VectorColumn};
use crate::text_list;

/// Makes the codes of vectors; the region does not know how.
pub trait RowEncoder: Send + Sync {
    /// Whether codes can be made yet. Once true it stays true.
    fn is_ready(&self) -> bool;
    /// Makes the code of a vector, of which `norm_squared` is Σx² as the kernels make it, and adds it to the tally.
    fn encode(&self, vector: &[u8], norm_squared: f32, code: &mut [u8], tally: &mut CodeTally);
    /// Is told what `encode` has done, once a batch.
    fn count(&self, tally: &CodeTally);
}

/// What was seen while codes were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeTally {
    /// Rows that were encoded.
    pub rows: u64,
    /// Elements that saturated.
    pub saturated: u64,
    /// Rows whose codes were compared with their vectors.
    pub checked: u64,
    /// Rows among them that their codes do not resemble.
    pub misfits: u64,
}

/// Writes one column of one shard.
pub(super) enum ColumnWriter {
    Fixed {
        values: SpanWriter,
    },
    Bool {
        values: SpanWriter,
    },
    Text {
        places: SpanWriter,
        heap: HeapWriter,
        shard: usize,
        /// The texts of a row of a list, as they are kept.
        list: Vec<u8>,
    },
}

/// Ids of one shard's filled rows, by slot.
#[derive(Clone, Copy)]
pub struct Ids<'a>(IdColumn<'a>);

#[derive(Clone, Copy)]
enum IdColumn<'a> {
    /// Little-endian, of a kind of numbers.
    Fixed(&'a [[u8; 8]], IdKind),
    /// Places of texts.
    Utf8 { places: &'a [[u8; 8]], heap: &'a HeapWriter, shard: usize },
}

impl<'a> Ids<'a> {
    /// Id of a filled row.
    ///
    /// # Panics
    /// If there is no memory behind the slot.
    #[inline]
    pub fn get(&self, slot: u32) -> IdRef<'a> {
        match self.0 {
            IdColumn::Fixed(ids, kind) => IdRef::from_bytes(kind, ids[slot as usize]),
            IdColumn::Utf8 { places, heap, shard } => {
                let place = Place::decode(&places[slot as usize]);
                let bytes = heap.heap().bytes(shard, place.start, place.len);
                IdRef::Utf8(std::str::from_utf8(bytes).expect("text was checked when it came in"))
            }
        }
    }
}

/// Writes the codes of one vector column of one shard.
pub(super) struct CodeWriter {
    pub span: SpanWriter,
    /// Per chunk: its first rows that have codes, published or not.
    coded: Vec<u32>,
    /// Whether the batch being filled gets its codes at once: decided once per batch, because the
    /// encoder may become ready at any time.
    pub is_encoding: bool,
    pub encoder: Option<Arc<dyn RowEncoder>>,
}

impl ColumnWriter {
    pub fn claim(storage: &Storage, shard: usize) -> ColumnWriter {
        match &storage.values {
            Spans::Fixed { span } => ColumnWriter::Fixed { values: SpanWriter::claim(span, shard) },
            Spans::Bool { span } => ColumnWriter::Bool { values: SpanWriter::claim(span, shard) },
            Spans::Text { places, heap } => {
                let places = SpanWriter::claim(places, shard);
                ColumnWriter::Text { places, heap: HeapWriter::claim(heap, shard), shard, list: Vec::new() }
            }
        }
    }

    /// The span that has an entry for each row.
    pub fn span(&mut self) -> &mut SpanWriter {
        match self {
            ColumnWriter::Fixed { values } | ColumnWriter::Bool { values } => values,
            ColumnWriter::Text { places, .. } => places,
        }
    }

    /// The id column, of so many chunks.
    pub fn ids(&self, chunks: u32, kind: IdKind) -> Ids<'_> {
        match self {
            ColumnWriter::Fixed { values } => Ids(IdColumn::Fixed(values.all_rows(chunks).as_chunks().0, kind)),
            ColumnWriter::Text { places, heap, shard, .. } => {
                Ids(IdColumn::Utf8 { places: places.all_rows(chunks).as_chunks().0, heap, shard: *shard })
            }
            ColumnWriter::Bool { .. } => unreachable!("an id is a number or text"),
        }
    }

    /// Forgets the text of the slots of a chunk from `slot` on.
    pub fn unfill(&mut self, slot: u32) {
        if let ColumnWriter::Text { places, heap, .. } = self {
            let place = (!slot.is_multiple_of(CHUNK_ROWS)).then(|| Place::decode(places.rows(slot, 1)));
            heap.truncate(slot >> CHUNK_BITS, place);
        }
    }

    /// Where the next text of a chunk will go.
    pub fn mark(&mut self, chunk: u32) -> Option<Place> {
        match self {
            ColumnWriter::Text { heap, .. } => Some(heap.mark(chunk)),
            _ => None,
        }
    }

    /// Forgets the texts of a chunk that were stored since a mark; with None, all.
    pub fn forget_text(&mut self, chunk: u32, mark: Option<Place>) {
        if let ColumnWriter::Text { heap, .. } = self {
            heap.truncate(chunk, mark);
        }
    }

    /// Makes a chunk writable again.
    pub fn recycle(&mut self, chunk: u32, no_reader_is_left: &Expired) {
        self.span().unseal(chunk, no_reader_is_left);
        if let ColumnWriter::Text { heap, .. } = self {
            heap.free(chunk, no_reader_is_left);
        }
    }

    /// Writes rows of a column that is not a vector, to slots of one chunk; returns how many bytes. None where the text has no
    /// room.
    pub fn fill(&mut self, source: &ColumnView<'_>, rows: Range<usize>, slot: u32) -> io::Result<Option<usize>> {
        match self {
            ColumnWriter::Fixed { values } => {
                let stored = values.rows_mut(slot, rows.len());
                stored.copy_from_slice(source.fixed_rows(rows));
                Ok(Some(stored.len()))
            }
            ColumnWriter::Bool { values } => {
                let stored = values.rows_mut(slot, rows.len());
                stored.iter_mut().zip(rows).for_each(|(byte, row)| *byte = u8::from(source.bit(row)));
                Ok(Some(stored.len()))
            }
            ColumnWriter::Text { places, heap, list, .. } => {
                let stored = places.rows_mut(slot, rows.len());
                let mut bytes = stored.len();
                let is_list = matches!(source.values(), Values::TextList(_));
                for (word, row) in stored.as_chunks_mut::<8>().0.iter_mut().zip(rows) {
                    let text = match source.is_valid(row) {
                        false => &[],
                        true if is_list => {
                            list.clear();
                            source.texts(row).for_each(|text| text_list::push(text, list));
                            list.as_slice()
                        }
                        true => source.text(row).as_bytes(),
                    };
                    let Some(place) = heap.put(slot >> CHUNK_BITS, text)? else { return Ok(None) };
                    *word = place.encode();
                    bytes += text.len();
                }
                Ok(Some(bytes))
            }
        }
    }

    /// Writes rows that have no value; as [`ColumnWriter::fill`].
    pub fn fill_null(&mut self, rows: usize, slot: u32) -> io::Result<Option<usize>> {
        match self {
            ColumnWriter::Fixed { values } | ColumnWriter::Bool { values } => values.rows_mut(slot, rows).fill(0),
            ColumnWriter::Text { places, heap, .. } => {
                // Where the next text goes: what is taken back later is taken back from there on.
                let place = heap.mark(slot >> CHUNK_BITS).encode();
                let stored = places.rows_mut(slot, rows).as_chunks_mut::<8>().0;
                stored.iter_mut().for_each(|word| *word = place);
            }
        }
        Ok(Some(0))
    }

    /// Bytes of text that blocks were taken for.
    pub fn text_bytes(&self) -> u64 {
        match self {
            ColumnWriter::Text { heap, .. } => heap.bytes_used(),
            _ => 0,
        }
    }
}

impl CodeWriter {
    pub fn claim(span: &Arc<Span>, shard: usize) -> CodeWriter {
        CodeWriter { span: SpanWriter::claim(span, shard), coded: Vec::new(), is_encoding: false, encoder: None }
    }

    /// Decides whether rows that are filled now get their codes at once.
    pub fn decide(&mut self) {
        self.is_encoding = self.encoder.as_ref().is_some_and(|encoder| encoder.is_ready());
    }

    /// Whether rows filled from a slot on get their codes at once: those before them in the chunk must have theirs.
    pub fn takes(&self, slot: u32) -> bool {
        self.is_encoding && self.coded(slot >> CHUNK_BITS) == slot % CHUNK_ROWS
    }

    /// First rows of a chunk that have codes.
    pub fn coded(&self, chunk: u32) -> u32 {
        self.coded.get(chunk as usize).copied().unwrap_or(0)
    }

    /// Says how many first rows of a chunk have codes.
    pub fn set_coded(&mut self, chunk: u32, rows: u32) {
        if self.coded.len() <= chunk as usize {
            self.coded.resize(chunk as usize + 1, 0);
        }
        self.coded[chunk as usize] = rows;
    }

    /// Lets readers at the codes of a chunk, as far as there are any, up to and without an offset.
    pub fn seal(&mut self, chunk: u32, published: u32) {
        let end = self.coded(chunk).min(published);
        if end > self.span.sealed(chunk << CHUNK_BITS) {
            self.span.seal(chunk << CHUNK_BITS, end);
        }
    }
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
        ElementKind::I8 | ElementKind::U8 | ElementKind::I32 | ElementKind::Bits => bytes.iter().all(|&byte| byte == 0),
        ElementKind::Code8 | ElementKind::Code4 | ElementKind::Code1 => unreachable!("codes are no column type"),
    }
}
