//! Published rows as Arrow batches.
//!
//! Slots of one chunk are given without copying values: the arrays point into the spans, and keep them alive and the rows as they
//! are. Copied are only texts, booleans (packed) and null bitmaps. Rows picked one by one are gathered.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, BooleanArray, ListArray, RecordBatch, RecordBatchOptions, StringArray, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

use super::chunks::CHUNK_BITS;
use super::storage::{Values, text_of};
use super::{Region, View};
use crate::error::{Error, Result};
use crate::schema::Layout;
use crate::text_list;

impl Region {
    /// Published slots of one chunk, dead ones too, without copying their values.
    ///
    /// # Errors
    /// `LimitExceeded` where the text of a column is 2 GiB or more: ask for fewer slots.
    ///
    /// # Panics
    /// If a slot is not published, they are not of one chunk, or a column does not exist.
    pub fn batch(&self, view: &View, shard: usize, slots: Range<u32>, columns: &[usize]) -> Result<RecordBatch> {
        assert!(slots.start < slots.end, "some slots");
        assert_eq!(slots.start >> CHUNK_BITS, (slots.end - 1) >> CHUNK_BITS, "slots of one chunk");
        let arrays = columns.iter().map(|&column| self.slice(view, column, shard, slots.clone()));
        self.record_batch(columns, arrays.collect::<Result<Vec<_>>>()?, slots.len())
    }

    /// Rows that are visible in a view, ascending: without copying their values where they lie one behind the other in one chunk.
    ///
    /// # Errors
    /// `LimitExceeded` where the text of a column is 2 GiB or more: ask for fewer rows.
    ///
    /// # Panics
    /// If a row is not published or a column does not exist.
    pub fn rows_batch(&self, view: &View, rows: &[u32], columns: &[usize]) -> Result<RecordBatch> {
        let is_run = |first: u32, last: u32| {
            (last - first) as usize == rows.len() - 1 && first >> CHUNK_BITS == last >> CHUNK_BITS
        };
        match (rows.first(), rows.last()) {
            (Some(&first), Some(&last)) if is_run(first, last) => {
                let (shard, slot) = self.locate(first);
                self.batch(view, shard, slot..slot + rows.len() as u32, columns)
            }
            _ => self.take(rows, columns),
        }
    }

    /// Published rows of any shards, in the order given, visible or not. The caller holds a view or a pin from before it knew them.
    ///
    /// # Errors
    /// `LimitExceeded` where the text of a column is 2 GiB or more: ask for fewer rows.
    ///
    /// # Panics
    /// If a row is not published or a column does not exist.
    pub fn take(&self, rows: &[u32], columns: &[usize]) -> Result<RecordBatch> {
        let arrays = columns.iter().map(|&column| self.gather(column, rows));
        self.record_batch(columns, arrays.collect::<Result<Vec<_>>>()?, rows.len())
    }

    /// Appends the rows of a range of ordinals that are visible in a view.
    pub fn visible_rows(&self, view: &View, shard: usize, ordinals: Range<u64>, out: &mut Vec<u32>) {
        for run in self.runs(shard, ordinals.start..ordinals.end.min(view.len(shard))) {
            let first = self.row(shard, run.slot);
            self.visible_in_chunk(view, first..first + run.len, out);
        }
    }

    fn record_batch(&self, columns: &[usize], arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.project(columns), arrays, &options);
        Ok(batch.expect("arrays of the types that the schema names"))
    }

    fn slice(&self, view: &View, column: usize, shard: usize, slots: Range<u32>) -> Result<ArrayRef> {
        let (first, rows) = (slots.start, slots.len());
        match &self.columns[column].values {
            Values::Fixed { span } => {
                let nulls = self.nulls(column, rows, |row| (shard, first as usize + row));
                Ok(self.fixed_array(column, rows, span.buffer(view.pin().clone(), shard, first, rows), nulls))
            }
            Values::Bool { span } => {
                let nulls = self.nulls(column, rows, |row| (shard, first as usize + row));
                let bytes = span.rows(shard, first, rows);
                Ok(Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows, |row| bytes[row] != 0), nulls)))
            }
            Values::Text { .. } => {
                let rows: Vec<u32> = slots.map(|slot| self.row(shard, slot)).collect();
                self.gather(column, &rows)
            }
        }
    }

    fn gather(&self, column: usize, rows: &[u32]) -> Result<ArrayRef> {
        let at = |row: u32| {
            let (shard, slot) = self.locate(row);
            (shard, slot as usize)
        };
        let nulls = self.nulls(column, rows.len(), |index| at(rows[index]));
        match &self.columns[column].values {
            Values::Fixed { span } => {
                let mut bytes = MutableBuffer::with_capacity(rows.len() * span.row_bytes());
                for run in runs(rows) {
                    let (shard, slot) = self.locate(run.start);
                    bytes.extend_from_slice(span.rows(shard, slot, run.len()));
                }
                Ok(self.fixed_array(column, rows.len(), bytes.into(), nulls))
            }
            Values::Bool { span } => {
                let value = |index: usize| {
                    let (shard, slot) = self.locate(rows[index]);
                    span.rows(shard, slot, 1)[0] != 0
                };
                Ok(Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows.len(), value), nulls)))
            }
            Values::Text { .. } if self.schema.columns()[column].layout == Layout::Utf8List => {
                let located = rows.iter().map(|&row| self.locate(row));
                self.lists(column, located.map(|(shard, slot)| self.text_bytes(column, shard, slot)), nulls)
            }
            Values::Text { places, heap } => {
                let mut offsets = Offsets::new(rows.len());
                let mut text = MutableBuffer::new(0);
                for &row in rows {
                    let (shard, slot) = self.locate(row);
                    let value = text_of(places, heap, shard, slot);
                    offsets.push(value.len())?;
                    text.extend_from_slice(value.as_bytes());
                }
                Ok(offsets.array(text.into(), nulls))
            }
        }
    }

    /// Lists of texts from how each is kept.
    pub(super) fn lists<'a>(
        &self,
        column: usize,
        rows: impl ExactSizeIterator<Item = &'a [u8]>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let DataType::List(item) = self.schema.arrow().field(column).data_type() else { unreachable!("its layout") };
        let (mut lists, mut items, mut text) = (Offsets::new(rows.len()), Offsets::new(0), MutableBuffer::new(0));
        for list in rows {
            let mut count = 0;
            for value in text_list::items(list) {
                items.push(value.len())?;
                text.extend_from_slice(value);
                count += 1;
            }
            lists.push(count)?;
        }
        let items = items.array(text.into(), None);
        let lists = ListArray::try_new(item.clone(), lists.buffer(), items, nulls);
        Ok(Arc::new(lists.expect("lists of texts")))
    }

    /// None where no row is null. `at`: shard and slot of a row.
    fn nulls(&self, column: usize, rows: usize, at: impl Fn(usize) -> (usize, usize)) -> Option<NullBuffer> {
        let nulls = self.columns[column].nulls.as_ref()?;
        let valid = BooleanBuffer::collect_bool(rows, |row| {
            let (shard, slot) = at(row);
            !nulls.is_null(shard, slot)
        });
        Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
    }

    pub(super) fn fixed_array(
        &self,
        column: usize,
        rows: usize,
        values: Buffer,
        nulls: Option<NullBuffer>,
    ) -> ArrayRef {
        let data_type = self.schema.arrow().field(column).data_type();
        let whole = "values of the width that the type has";
        let data = match (self.schema.columns()[column].layout, data_type) {
            (Layout::VectorList { elements, .. }, DataType::FixedSizeList(item, _)) => {
                let items = ArrayData::builder(item.data_type().clone()).len(rows * elements).add_buffer(values);
                let list = ArrayData::builder(data_type.clone()).len(rows);
                list.add_child_data(items.build().expect(whole)).build()
            }
            _ => ArrayData::builder(data_type.clone()).len(rows).add_buffer(values).nulls(nulls).build(),
        };
        make_array(data.expect(whole))
    }
}

/// Rows that lie one behind the other in one chunk, taken together.
fn runs(rows: &[u32]) -> impl Iterator<Item = Range<u32>> {
    let follows = |before: &u32, row: &u32| *row == before.wrapping_add(1) && row.trailing_zeros() < CHUNK_BITS;
    rows.chunk_by(follows).map(|run| run[0]..run[0] + run.len() as u32)
}

/// Text offsets in the making.
pub(super) struct Offsets {
    offsets: Vec<i32>,
}

impl Offsets {
    pub fn new(rows: usize) -> Offsets {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Offsets { offsets }
    }

    pub fn push(&mut self, len: usize) -> Result<()> {
        let end = self.end() + len;
        let limit = i32::MAX as u64;
        let end_i32 = i32::try_from(end);
        let limited =
            end_i32.map_err(|_| Error::LimitExceeded { what: "text bytes of a batch", value: end as u64, limit });
        self.offsets.push(limited?);
        Ok(())
    }

    fn end(&self) -> usize {
        *self.offsets.last().expect("never empty") as usize
    }

    pub fn array(self, text: Buffer, nulls: Option<NullBuffer>) -> ArrayRef {
        Arc::new(StringArray::try_new(self.buffer(), text, nulls).expect("text was checked when it came in"))
    }

    fn buffer(self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(ScalarBuffer::from(self.offsets))
    }
}
