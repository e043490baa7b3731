//! Arrow IPC record batch messages, read without trust.
//!
//! ```text
//! ff ff ff ff | i32 length of metadata | flatbuffer Message { RecordBatch } | body: the buffers, each at its offset
//! ```
//!
//! The flatbuffer says where each buffer lies in the body and how many nulls a column has. All of it may lie: the verifier of the
//! flatbuffers crate makes sure that the tables can be read, everything beyond is checked here before any slice is taken.
//! Buffers may overlap and lie at any alignment; both are harmless to who only reads bytes.

use arrow_ipc::{Buffer, FieldNode, MetadataVersion, RecordBatch};
use flatbuffers::Vector;

use super::column::{Bits, ColumnView, Text, TextList, Values};
use crate::error::{Error, Result};
use crate::limits::BATCH_ROWS_MAX;
use crate::schema::{Column, Layout, Schema};

/// Marks an encapsulated message.
pub(super) const CONTINUATION: [u8; 4] = [0xff; 4];
/// Bytes before the flatbuffer.
pub(super) const PREFIX_BYTES: usize = 8;

/// What stands at the front of a message.
struct Head<'a> {
    batch: RecordBatch<'a>,
    rows: usize,
    body: &'a [u8],
}

fn fail(problem: &'static str) -> Error {
    Error::MalformedBatch { problem }
}

/// Length of the metadata, as far as the prefix says.
fn metadata_len(head: &[u8; PREFIX_BYTES]) -> usize {
    u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize
}

fn read_head(message: &[u8]) -> Result<Head<'_>> {
    let (head, rest) = message.split_first_chunk::<PREFIX_BYTES>().ok_or_else(|| fail("it is cut short"))?;
    if head[..4] != CONTINUATION {
        return Err(fail("it has no continuation marker"));
    }
    let (metadata, body) = rest.split_at_checked(metadata_len(head)).ok_or_else(|| fail("it is cut short"))?;
    let message = arrow_ipc::root_as_message(metadata).map_err(|_| fail("the metadata is not a valid flatbuffer"))?;
    if !matches!(message.version(), MetadataVersion::V4 | MetadataVersion::V5) {
        return Err(fail("the Arrow metadata version is neither 4 nor 5"));
    }
    let batch = message.header_as_record_batch().ok_or_else(|| fail("it is not a record batch message"))?;
    if u64::try_from(message.bodyLength()).ok() != Some(body.len() as u64) {
        return Err(fail("the body is not as long as the metadata says"));
    }
    if batch.compression().is_some() {
        return Err(fail("compressed bodies are not supported"));
    }
    let rows = match usize::try_from(batch.length()) {
        Err(_) => return Err(fail("the number of rows is negative")),
        Ok(0) => return Err(Error::Empty { what: "batch" }),
        Ok(rows) if rows > BATCH_ROWS_MAX => {
            return Err(Error::LimitExceeded {
                what: "number of rows in a batch",
                value: rows as u64,
                limit: BATCH_ROWS_MAX as u64,
            });
        }
        Ok(rows) => rows,
    };
    Ok(Head { batch, rows, body })
}

/// Number of rows that a message says it has, looking at its front alone.
///
/// # Errors
/// `MalformedBatch`, `Empty`, `LimitExceeded`.
pub fn rows_of(message: &[u8]) -> Result<usize> {
    Ok(read_head(message)?.rows)
}

/// Reads a message of `schema`: the number of rows and the columns in schema order.
pub(super) fn parse<'a>(schema: &Schema, message: &'a [u8]) -> Result<(usize, Vec<ColumnView<'a>>)> {
    let Head { batch, rows, body } = read_head(message)?;
    let nodes = batch.nodes().ok_or_else(|| fail("it has no nodes"))?;
    let buffers = batch.buffers().ok_or_else(|| fail("it has no buffers"))?;
    let mut reader = Reader { body, nodes, next_node: 0, buffers, next_buffer: 0 };
    let mut columns = Vec::with_capacity(schema.columns().len());
    for column in schema.columns() {
        let view = reader.column(column, rows);
        columns.push(view.map_err(|problem| Error::MalformedColumn { column: column.name.clone(), problem })?);
    }
    if reader.next_node != reader.nodes.len() || reader.next_buffer != reader.buffers.len() {
        return Err(fail("it has more columns than the schema"));
    }
    Ok((rows, columns))
}

/// Where the values of a vector column lie in a message that is still arriving, and how many rows the message has: only
/// its first `arrived` bytes mean anything, and only the front of it is looked at. None where that cannot be told (yet): whoever
/// parses the whole message finds out why.
pub(super) fn vectors_ahead<'a>(
    schema: &Schema,
    message: &'a [u8],
    arrived: usize,
    vector_index: usize,
) -> Option<(usize, &'a [u8])> {
    let prefix = message.first_chunk::<PREFIX_BYTES>()?;
    if arrived < PREFIX_BYTES.checked_add(metadata_len(prefix))? {
        return None;
    }
    let Head { batch, rows, body } = read_head(message).ok()?;
    let vector = &schema.vectors()[vector_index];
    let before: usize = schema.columns()[..vector.column].iter().map(|column| buffers_of(column.layout)).sum();
    let place = before + buffers_of(schema.columns()[vector.column].layout) - 1;
    let buffers = batch.buffers().filter(|buffers| place < buffers.len())?;
    let buffer = buffers.get(place);
    let start = message.len() - body.len() + usize::try_from(buffer.offset()).ok()?;
    let end = start.checked_add(rows.checked_mul(vector.row_bytes())?)?;
    let values = message.get(start..end)?;
    Some((rows, &values[..arrived.clamp(start, end) - start]))
}

/// Buffers of a column: null bitmaps and values; the values of vectors come last.
fn buffers_of(layout: Layout) -> usize {
    match layout {
        Layout::Bool | Layout::Fixed { .. } | Layout::VectorBinary { .. } => 2,
        Layout::Utf8 | Layout::VectorList { .. } => 3,
        Layout::Utf8List => 5,
    }
}

/// Length of the body that follows `head`: continuation marker, length and flatbuffer of any encapsulated message.
///
/// # Errors
/// `MalformedBatch`.
pub fn body_len(head: &[u8]) -> Result<usize> {
    let metadata = head.get(PREFIX_BYTES..).ok_or(Error::MalformedBatch { problem: "it is cut short" })?;
    let message = arrow_ipc::root_as_message(metadata)
        .map_err(|_| Error::MalformedBatch { problem: "the metadata is not a valid flatbuffer" })?;
    usize::try_from(message.bodyLength())
        .map_err(|_| Error::MalformedBatch { problem: "the length of the body is negative" })
}

struct Reader<'a, 'm> {
    body: &'a [u8],
    nodes: Vector<'m, FieldNode>,
    next_node: usize,
    buffers: Vector<'m, Buffer>,
    next_buffer: usize,
}

impl<'a> Reader<'a, '_> {
    fn column(&mut self, column: &Column, rows: usize) -> Result<ColumnView<'a>, &'static str> {
        let layout = column.layout;
        let validity = self.validity(rows, column.nullable)?;
        let values = match layout {
            Layout::Bool => Values::Bits(Bits::new(self.buffer(rows.div_ceil(8))?, 0, rows)),
            Layout::Fixed { bytes: width } | Layout::VectorBinary { bytes: width } => self.fixed(rows, width)?,
            Layout::Utf8 => {
                let offsets = self.buffer(4 * (rows + 1))?;
                let values = self.buffer(0)?;
                Values::Text(Text::parse(&offsets[..4 * (rows + 1)], values)?)
            }
            Layout::Utf8List => {
                let offsets = self.buffer(4 * (rows + 1))?;
                let items = self.next_len()?;
                if self.validity(items, true)?.is_some() {
                    return Err("a list holds null");
                }
                // Of no texts, there need be no offset either.
                let item_offsets = self.buffer(if items == 0 { 0 } else { items_bytes(items)? })?;
                let values = self.buffer(0)?;
                Values::TextList(TextList::parse(&offsets[..4 * (rows + 1)], item_offsets, values)?)
            }
            Layout::VectorList { bytes: width, elements } => {
                let items = rows.checked_mul(elements).ok_or("the vectors are too large")?;
                self.validity(items, false)?;
                self.fixed(rows, width)?
            }
        };
        Ok(ColumnView { layout, validity, values })
    }

    /// Length of the column that comes next, as its node says.
    fn next_len(&self) -> Result<usize, &'static str> {
        if self.next_node == self.nodes.len() {
            return Err("it is missing from the batch");
        }
        usize::try_from(self.nodes.get(self.next_node).length()).map_err(|_| "a length is negative")
    }

    /// Reads node and null bitmap of a column or of the elements of a vector column.
    fn validity(&mut self, len: usize, nullable: bool) -> Result<Option<Bits<'a>>, &'static str> {
        if self.next_node == self.nodes.len() {
            return Err("it is missing from the batch");
        }
        let node = self.nodes.get(self.next_node);
        self.next_node += 1;
        if u64::try_from(node.length()).ok() != Some(len as u64) {
            return Err("its length is not that of the batch, or its dimension not that of the schema");
        }
        let null_count = u64::try_from(node.null_count()).map_err(|_| "the null count is negative")?;
        let bytes = self.buffer(0)?;
        if bytes.is_empty() {
            return if null_count == 0 { Ok(None) } else { Err("it has nulls but no null bitmap") };
        }
        if bytes.len() < len.div_ceil(8) {
            return Err("the null bitmap is too short");
        }
        let bits = Bits::new(bytes, 0, len);
        if bits.zeros() as u64 != null_count {
            return Err("the null count is not that of the null bitmap");
        }
        match (null_count, nullable) {
            (0, _) => Ok(None),
            (_, true) => Ok(Some(bits)),
            (_, false) => Err("it holds null"),
        }
    }

    fn fixed(&mut self, rows: usize, width: usize) -> Result<Values<'a>, &'static str> {
        let len = rows.checked_mul(width).ok_or("the values are too large")?;
        Ok(Values::Fixed { bytes: &self.buffer(len)?[..len], width })
    }

    /// The next buffer, of at least `len_min` bytes.
    fn buffer(&mut self, len_min: usize) -> Result<&'a [u8], &'static str> {
        if self.next_buffer == self.buffers.len() {
            return Err("it is missing from the batch");
        }
        let buffer = self.buffers.get(self.next_buffer);
        self.next_buffer += 1;
        let range = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        let bytes = range
            .and_then(|(offset, len)| Some(offset..offset.checked_add(len)?))
            .and_then(|range| self.body.get(range))
            .ok_or("a buffer lies outside of the body")?;
        if bytes.len() < len_min {
            Err("a buffer is shorter than its rows, or the type is not that of the schema")
        } else {
            Ok(bytes)
        }
    }
}

/// Bytes of the offsets of so many texts.
fn items_bytes(items: usize) -> Result<usize, &'static str> {
    items.checked_add(1).and_then(|offsets| offsets.checked_mul(4)).ok_or("a list has too many texts")
}
