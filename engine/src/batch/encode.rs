//! Writes the messages that `message` reads: every buffer, and the body itself, on a multiple of 64 bytes.

use arrow_ipc::{Buffer, FieldNode, MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder};
use flatbuffers::FlatBufferBuilder;

use super::column::{ColumnView, Values};
use super::message::{CONTINUATION, PREFIX_BYTES};
use crate::error::{Error, Result};
use crate::schema::Layout;

const ALIGNMENT: usize = 64;

/// Which rows to write, in which order.
#[derive(Clone, Copy)]
pub(super) enum Selection<'a> {
    All(usize),
    Rows(&'a [u32]),
}

impl Selection<'_> {
    fn len(self) -> usize {
        match self {
            Selection::All(rows) => rows,
            Selection::Rows(rows) => rows.len(),
        }
    }

    fn for_each(self, mut visit: impl FnMut(usize)) {
        match self {
            Selection::All(rows) => (0..rows).for_each(visit),
            Selection::Rows(rows) => rows.iter().for_each(|&row| visit(row as usize)),
        }
    }
}

/// Writes the selected rows as one message behind `headroom` zero bytes.
pub(super) fn encode(columns: &[ColumnView<'_>], selection: Selection<'_>, headroom: usize) -> Result<Vec<u8>> {
    let mut plan = Plan::default();
    for column in columns {
        plan.add(column, selection)?;
    }
    let metadata = plan.metadata(selection.len());
    let metadata_len = (PREFIX_BYTES + metadata.len()).next_multiple_of(ALIGNMENT) - PREFIX_BYTES;
    let total = headroom + PREFIX_BYTES + metadata_len + plan.body_len;
    let mut out = Vec::with_capacity(total);
    out.resize(headroom, 0);
    out.extend_from_slice(&CONTINUATION);
    out.extend_from_slice(&u32::try_from(metadata_len).expect("metadata of at most 256 columns").to_le_bytes());
    out.extend_from_slice(&metadata);
    let body = headroom + PREFIX_BYTES + metadata_len;
    out.resize(body, 0);
    let mut writer = Writer { out: &mut out, body, plan: &plan, next_buffer: 0 };
    for column in columns {
        writer.column(column, selection);
    }
    assert_eq!(out.len(), total, "the plan holds");
    Ok(out)
}

/// Where everything will lie.
#[derive(Default)]
struct Plan {
    nodes: Vec<FieldNode>,
    buffers: Vec<Buffer>,
    body_len: usize,
}

impl Plan {
    fn add(&mut self, column: &ColumnView<'_>, selection: Selection<'_>) -> Result<()> {
        let rows = selection.len();
        let mut nulls = 0;
        if column.has_nulls() {
            selection.for_each(|row| nulls += usize::from(!column.is_valid(row)));
        }
        self.node(rows, nulls);
        self.buffer(if nulls > 0 { rows.div_ceil(8) } else { 0 });
        match (column.layout, column.values) {
            (Layout::VectorList { bytes, elements }, _) => {
                self.node(rows * elements, 0);
                self.buffer(0);
                self.buffer(rows * bytes);
            }
            (_, Values::Bits(_)) => self.buffer(rows.div_ceil(8)),
            (_, Values::Fixed { width, .. }) => self.buffer(rows * width),
            (_, Values::Text(_)) => {
                let mut bytes = 0;
                selection.for_each(|row| bytes += text_or_empty(column, row).len());
                self.text(rows, bytes)?;
            }
            (_, Values::TextList(lists)) => {
                let (mut items, mut bytes) = (0, 0);
                selection.for_each(|row| {
                    if column.is_valid(row) {
                        items += lists.len(row);
                        bytes += lists.get(row).map(str::len).sum::<usize>();
                    }
                });
                self.buffer(4 * (rows + 1));
                self.node(items, 0);
                self.buffer(0);
                self.text(items, bytes)?;
            }
        }
        Ok(())
    }

    /// Offsets and bytes of so many texts.
    fn text(&mut self, texts: usize, bytes: usize) -> Result<()> {
        let larger = bytes.max(texts);
        if i32::try_from(larger).is_err() {
            let limit = i32::MAX as u64;
            return Err(Error::LimitExceeded { what: "text bytes of a batch", value: larger as u64, limit });
        }
        self.buffer(4 * (texts + 1));
        self.buffer(bytes);
        Ok(())
    }

    fn node(&mut self, len: usize, nulls: usize) {
        self.nodes.push(FieldNode::new(len as i64, nulls as i64));
    }

    fn buffer(&mut self, len: usize) {
        self.buffers.push(Buffer::new(self.body_len as i64, len as i64));
        self.body_len += len.next_multiple_of(ALIGNMENT);
    }

    fn metadata(&self, rows: usize) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::with_capacity(256 + 16 * (self.nodes.len() + self.buffers.len()));
        let buffers = builder.create_vector(&self.buffers);
        let nodes = builder.create_vector(&self.nodes);
        let mut batch = RecordBatchBuilder::new(&mut builder);
        batch.add_length(rows as i64);
        batch.add_nodes(nodes);
        batch.add_buffers(buffers);
        let batch = batch.finish().as_union_value();
        let mut message = MessageBuilder::new(&mut builder);
        message.add_version(MetadataVersion::V5);
        message.add_header_type(MessageHeader::RecordBatch);
        message.add_bodyLength(self.body_len as i64);
        message.add_header(batch);
        let message = message.finish();
        builder.finish(message, None);
        builder.finished_data().to_vec()
    }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    body: usize,
    plan: &'a Plan,
    next_buffer: usize,
}

impl Writer<'_> {
    fn column(&mut self, column: &ColumnView<'_>, selection: Selection<'_>) {
        let rows = selection.len();
        let has_validity = self.plan.buffers[self.next_buffer].length() > 0;
        if has_validity {
            self.bits(selection, |row| column.is_valid(row));
        }
        self.pad();
        if matches!(column.layout, Layout::VectorList { .. }) {
            self.pad();
        }
        match column.values {
            Values::Bits(bits) => self.bits(selection, |row| bits.get(row)),
            Values::Fixed { bytes, width } => match selection {
                Selection::All(_) => self.out.extend_from_slice(&bytes[..rows * width]),
                Selection::Rows(rows) => rows.iter().for_each(|&row| {
                    let start = row as usize * width;
                    self.out.extend_from_slice(&bytes[start..start + width]);
                }),
            },
            Values::Text(_) => {
                self.offsets(selection, |row| text_or_empty(column, row).len());
                self.pad();
                selection.for_each(|row| self.out.extend_from_slice(text_or_empty(column, row).as_bytes()));
            }
            Values::TextList(lists) => {
                self.offsets(selection, |row| if column.is_valid(row) { lists.len(row) } else { 0 });
                self.pad();
                self.pad();
                let texts = |row: usize| if column.is_valid(row) { Some(lists.get(row)) } else { None };
                let mut end = 0i32;
                self.out.extend_from_slice(&end.to_le_bytes());
                selection.for_each(|row| {
                    for text in texts(row).into_iter().flatten() {
                        end += text.len() as i32;
                        self.out.extend_from_slice(&end.to_le_bytes());
                    }
                });
                self.pad();
                selection.for_each(|row| {
                    texts(row).into_iter().flatten().for_each(|text| self.out.extend_from_slice(text.as_bytes()))
                });
            }
        }
        self.pad();
    }

    /// Where each row begins that has so many parts, and where the last ends.
    fn offsets(&mut self, selection: Selection<'_>, len: impl Fn(usize) -> usize) {
        let mut end = 0i32;
        self.out.extend_from_slice(&end.to_le_bytes());
        selection.for_each(|row| {
            end += len(row) as i32;
            self.out.extend_from_slice(&end.to_le_bytes());
        });
    }

    fn bits(&mut self, selection: Selection<'_>, bit: impl Fn(usize) -> bool) {
        let start = self.out.len();
        self.out.resize(start + selection.len().div_ceil(8), 0);
        let bytes = &mut self.out[start..];
        let mut index = 0;
        selection.for_each(|row| {
            bytes[index / 8] |= u8::from(bit(row)) << (index % 8);
            index += 1;
        });
    }

    /// Ends the buffer that was just written.
    fn pad(&mut self) {
        let buffer = &self.plan.buffers[self.next_buffer];
        self.next_buffer += 1;
        let end = self.body + buffer.offset() as usize + buffer.length() as usize;
        assert_eq!(self.out.len(), end, "the buffer is as long as planned");
        self.out.resize(self.body + (end - self.body).next_multiple_of(ALIGNMENT), 0);
    }
}

/// Text under a null is not carried along.
fn text_or_empty<'a>(column: &ColumnView<'a>, row: usize) -> &'a str {
    if column.is_valid(row) { column.text(row) } else { "" }
}
