//! Rows as their writer sees them: published or not, by their slots. What is staged can be read before anybody else sees it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::{BooleanBuffer, MutableBuffer, NullBuffer};

use super::RegionWriter;
use super::column::ColumnWriter;
use super::scan::Offsets;
use super::text::Place;
use crate::error::Result;
use crate::schema::Layout;

impl RegionWriter {
    /// Values of filled rows, one behind the other, little endian; of booleans a byte each.
    ///
    /// # Panics
    /// If there is no memory behind a slot, or the column is one of text.
    pub fn fixed_rows(&self, column: usize, slots: std::ops::Range<u32>) -> &[u8] {
        match &self.columns[column] {
            ColumnWriter::Fixed { values } | ColumnWriter::Bool { values } => values.rows(slots.start, slots.len()),
            ColumnWriter::Text { .. } => panic!("column {column} is one of text"),
        }
    }

    /// Text of a filled row.
    ///
    /// # Panics
    /// If there is no memory behind the slot, or the column is none of text.
    pub fn text_bytes(&self, column: usize, slot: u32) -> &[u8] {
        let ColumnWriter::Text { places, heap, shard, .. } = &self.columns[column] else {
            panic!("column {column} is none of text")
        };
        let place = Place::decode(places.rows(slot, 1));
        heap.heap().bytes(*shard, place.start, place.len)
    }

    /// Bytes of the text of a filled row, in all columns but those of these places.
    pub fn text_len(&self, slot: u32, but: &[usize]) -> usize {
        let texts = (0..self.columns.len()).filter(|&column| matches!(self.columns[column], ColumnWriter::Text { .. }));
        texts.filter(|column| !but.contains(column)).map(|column| self.text_bytes(column, slot).len()).sum()
    }

    /// Whether a filled row has a value in a column.
    pub fn is_valid(&self, column: usize, slot: u32) -> bool {
        let nulls = &self.region.columns[column].nulls;
        nulls.as_ref().is_none_or(|nulls| !nulls.is_null(self.shard, slot as usize))
    }

    /// Values of filled rows; where there is no row, null, or zeros in a column that has none.
    ///
    /// # Errors
    /// `LimitExceeded` where the text is 2 GiB or more.
    pub fn gather(&self, column: usize, slots: &[Option<u32>]) -> Result<ArrayRef> {
        let is_valid = |index: usize| slots[index].is_some_and(|slot| self.is_valid(column, slot));
        let nulls = self.region.columns[column].nulls.as_ref().map(|_| {
            let valid = BooleanBuffer::collect_bool(slots.len(), is_valid);
            NullBuffer::new(valid)
        });
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        match &self.columns[column] {
            ColumnWriter::Fixed { values } => {
                let width = values.row_bytes();
                let mut bytes = MutableBuffer::with_capacity(slots.len() * width);
                for &slot in slots {
                    match slot {
                        Some(slot) => bytes.extend_from_slice(values.rows(slot, 1)),
                        None => bytes.resize(bytes.len() + width, 0),
                    }
                }
                Ok(self.region.fixed_array(column, slots.len(), bytes.into(), nulls))
            }
            ColumnWriter::Bool { values } => {
                let value = |index: usize| slots[index].is_some_and(|slot| values.rows(slot, 1)[0] != 0);
                Ok(Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(slots.len(), value), nulls)))
            }
            ColumnWriter::Text { .. } => {
                let texts = slots.iter().map(|slot| slot.map_or(&[][..], |slot| self.text_bytes(column, slot)));
                if self.region.schema.columns()[column].layout == Layout::Utf8List {
                    return self.region.lists(column, texts, nulls);
                }
                let mut offsets = Offsets::new(slots.len());
                let mut text = MutableBuffer::new(0);
                for value in texts {
                    offsets.push(value.len())?;
                    text.extend_from_slice(value);
                }
                Ok(offsets.array(text.into(), nulls))
            }
        }
    }
}
