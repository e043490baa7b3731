//! Arrow IPC messages of replies as record batches. The vectors stay where they were received.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, SchemaRef};

use crate::error::{Error, Result};

const CONTINUATION: [u8; 4] = [0xff; 4];

/// Reads the message that is the tail of `body`. An empty message is an empty batch.
pub(super) fn read_batch(body: Vec<u8>, message_len: usize, schema: SchemaRef) -> Result<RecordBatch> {
    assert!(message_len <= body.len(), "the message is part of the body");
    if message_len == 0 {
        return Ok(RecordBatch::new_empty(schema));
    }
    let start = body.len() - message_len;
    let message = Buffer::from_vec(body).slice(start);
    let wrong = |problem| Error::UnexpectedReply { problem };
    let (head, rest) = message.split_first_chunk::<8>().ok_or(wrong("its Arrow message is cut short"))?;
    if head[..4] != CONTINUATION {
        return Err(wrong("its Arrow message has no continuation marker"));
    }
    let metadata_len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let metadata = rest.get(..metadata_len).ok_or(wrong("its Arrow message is cut short"))?;
    let header = arrow_ipc::root_as_message(metadata).map_err(|_| wrong("its Arrow message is not a flatbuffer"))?;
    let batch = header.header_as_record_batch().ok_or(wrong("its Arrow message is not a record batch"))?;
    let data = message.slice(8 + metadata_len);
    check(&batch, &schema, data.len()).map_err(wrong)?;
    let none = Default::default();
    Ok(arrow_ipc::reader::read_record_batch(&data, batch, Arc::clone(&schema), &none, None, &header.version())?)
}

/// Checks what Arrow's reader takes for granted: that buffers lie in the body and hold whole values, and that counts are counts.
fn check(batch: &arrow_ipc::RecordBatch<'_>, schema: &SchemaRef, data_len: usize) -> Result<(), &'static str> {
    if batch.compression().is_some() {
        return Err("its Arrow message is compressed");
    }
    let mut widths = Vec::new();
    for field in schema.fields() {
        buffer_widths(field.data_type(), &mut widths)?;
    }
    let buffers = batch.buffers().ok_or("its Arrow message has no buffers")?;
    if buffers.len() != widths.len() {
        return Err("its Arrow message has not the buffers of the schema");
    }
    for (buffer, width) in buffers.iter().zip(widths) {
        let (Ok(offset), Ok(length)) = (u64::try_from(buffer.offset()), u64::try_from(buffer.length())) else {
            return Err("a buffer of its Arrow message has a negative place");
        };
        if offset.checked_add(length).is_none_or(|end| end > data_len as u64) {
            return Err("a buffer of its Arrow message lies outside");
        }
        if !length.is_multiple_of(width) {
            return Err("a buffer of its Arrow message holds a part of a value");
        }
    }
    let counted = |node: &arrow_ipc::FieldNode| {
        (0..=i64::from(u32::MAX)).contains(&node.length()) && (0..=node.length()).contains(&node.null_count())
    };
    if !batch.nodes().is_some_and(|nodes| nodes.iter().all(counted)) {
        return Err("a column of its Arrow message has an impossible length");
    }
    Ok(())
}

/// Appends the bytes of a value of each buffer that a column of this type has; 1 where a byte is no value.
fn buffer_widths(data_type: &DataType, widths: &mut Vec<u64>) -> Result<(), &'static str> {
    const VALIDITY: u64 = 1;
    const OFFSET: u64 = 4;
    match data_type {
        DataType::Boolean | DataType::FixedSizeBinary(_) => widths.extend([VALIDITY, 1]),
        DataType::Utf8 => widths.extend([VALIDITY, OFFSET, 1]),
        DataType::List(item) => {
            widths.extend([VALIDITY, OFFSET]);
            buffer_widths(item.data_type(), widths)?;
        }
        DataType::FixedSizeList(item, _) => {
            widths.push(VALIDITY);
            buffer_widths(item.data_type(), widths)?;
        }
        other => match other.primitive_width() {
            Some(width) => widths.extend([VALIDITY, width as u64]),
            None => return Err("a column has a type that is not served"),
        },
    }
    Ok(())
}
