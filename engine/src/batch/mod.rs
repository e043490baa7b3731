//! Write batches: an Arrow IPC record batch message, looked at where it lies.
//!
//! A batch comes from a socket, from a log, or from an Arrow `RecordBatch`; in every case it is a [`BatchView`]: borrowed columns
//! that hold to the schema, with every offset, length, null bitmap and text checked. Reading costs one allocation, whatever the
//! number of rows. What a view says, a message says: [`BatchView::encode`] and [`BatchView::take`] write messages that
//! [`BatchView::parse`] reads, as does any Arrow implementation.
//!
//! Finite vectors are not checked here but where they are copied anyway, in the region. That texts are JSON is checked where a column
//! says so, once a batch is going to be written.

mod column;
mod encode;
mod json;
mod message;
#[cfg(test)]
pub(crate) mod samples;
mod split;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;

pub use column::{Bits, ColumnView, Text, TextList, Values};
pub use message::{body_len, rows_of};
pub use split::ShardBatch;

use crate::error::{Error, Result};
use crate::limits::{BATCH_ROWS_MAX, ID_BYTES_MAX, LIST_BYTES_MAX, LIST_ITEMS_MAX};
use crate::schema::{IdRef, Schema};
use encode::Selection;

/// A message of which the end has not come yet. What its first bytes say can be used, and may turn out wrong.
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    /// Room for the whole of it; what lies behind `arrived` means nothing.
    pub message: &'a [u8],
    /// Bytes that are there.
    pub arrived: usize,
    /// Tells it from all others of this shard.
    pub number: u64,
}

impl<'a> Arriving<'a> {
    /// Number of rows, and the values of a vector column that are there. None where that cannot be told.
    pub fn vectors(&self, schema: &Schema, vector_index: usize) -> Option<(usize, &'a [u8])> {
        message::vectors_ahead(schema, self.message, self.arrived, vector_index)
    }
}

/// A checked batch of one schema. Never empty.
#[derive(Clone)]
pub struct BatchView<'a> {
    schema: &'a Schema,
    rows: usize,
    columns: Vec<ColumnView<'a>>,
}

impl std::fmt::Debug for BatchView<'_> {
    /// Leaves the rows out: a batch may have tens of thousands.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BatchView").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl<'a> BatchView<'a> {
    /// Reads an encapsulated record batch message of `schema`: no schema message before it, no compression, no dictionaries.
    ///
    /// # Errors
    /// `MalformedBatch`, `MalformedColumn`, `Empty`, `LimitExceeded` (rows, bytes of an id, texts and bytes of a list).
    pub fn parse(schema: &'a Schema, message: &'a [u8]) -> Result<BatchView<'a>> {
        let (rows, columns) = message::parse(schema, message)?;
        BatchView { schema, rows, columns }.checked()
    }

    /// Looks at a `RecordBatch`; its columns are found by name, in any order.
    ///
    /// # Errors
    /// As for `parse`; `UnknownColumn` where the batch has a column that the schema has not.
    pub fn from_arrow(schema: &'a Schema, batch: &'a RecordBatch) -> Result<BatchView<'a>> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Err(Error::Empty { what: "batch" });
        }
        if rows > BATCH_ROWS_MAX {
            return Err(Error::LimitExceeded {
                what: "number of rows in a batch",
                value: rows as u64,
                limit: BATCH_ROWS_MAX as u64,
            });
        }
        let batch_schema = batch.schema_ref();
        for field in batch_schema.fields() {
            schema.column_index(field.name())?;
        }
        let mut columns = Vec::with_capacity(schema.columns().len());
        for (column, field) in schema.columns().iter().zip(schema.arrow().fields()) {
            let fail = |problem| Error::MalformedColumn { column: column.name.clone(), problem };
            let array = batch.column_by_name(&column.name).ok_or_else(|| fail("it is missing from the batch"))?;
            if !same_type(array.data_type(), field.data_type()) {
                return Err(fail("its type is not that of the schema"));
            }
            let view = ColumnView::of_array(array).map_err(fail)?;
            if view.has_nulls() && !column.nullable {
                return Err(fail("it holds null"));
            }
            columns.push(view);
        }
        if batch_schema.fields().len() != columns.len() {
            return Err(Error::MalformedBatch { problem: "two columns have the same name" });
        }
        BatchView { schema, rows, columns }.checked()
    }

    fn checked(self) -> Result<BatchView<'a>> {
        assert!(self.rows > 0 && self.columns.len() == self.schema.columns().len());
        if let Values::Text(text) = self.columns[self.schema.id_column()].values {
            check_limit("number of bytes of an id", text.longest(), ID_BYTES_MAX)?;
        }
        for column in &self.columns {
            if let Values::TextList(lists) = &column.values {
                let (items, bytes) = lists.largest();
                check_limit("number of texts of a list", items, LIST_ITEMS_MAX)?;
                check_limit("size of a list in bytes", bytes, LIST_BYTES_MAX)?;
            }
        }
        if let Some(edges) = self.schema.edges() {
            edges.check(&self)?;
        }
        Ok(self)
    }

    /// The schema it holds to.
    pub fn schema(&self) -> &'a Schema {
        self.schema
    }

    /// Number of rows, at least one.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Id of a row.
    #[inline]
    pub fn id(&self, row: usize) -> IdRef<'a> {
        let column = &self.columns[self.schema.id_column()];
        match column.values {
            Values::Text(text) => IdRef::Utf8(text.get(row)),
            _ => IdRef::from_bytes(self.schema.id_kind(), column.fixed(row).try_into().expect("ids of eight bytes")),
        }
    }

    /// A column, by its index in the schema.
    pub fn column(&self, column: usize) -> &ColumnView<'a> {
        &self.columns[column]
    }

    /// All columns, in the order of the schema.
    pub fn columns(&self) -> &[ColumnView<'a>] {
        &self.columns
    }

    /// The whole batch as a message behind `headroom` zero bytes.
    ///
    /// # Errors
    /// `LimitExceeded` where a text column has 2 GiB or more.
    pub fn encode(&self, headroom: usize) -> Result<Vec<u8>> {
        encode::encode(&self.columns, Selection::All(self.rows), headroom)
    }

    /// Some of its rows, in the order given, as a message behind `headroom` zero bytes.
    ///
    /// # Errors
    /// `Empty` for no rows; `LimitExceeded` where a text column gets 2 GiB or more.
    pub fn take(&self, rows: &[u32], headroom: usize) -> Result<Vec<u8>> {
        if rows.is_empty() {
            return Err(Error::Empty { what: "batch" });
        }
        assert!(rows.iter().all(|&row| (row as usize) < self.rows), "rows of this batch");
        encode::encode(&self.columns, Selection::Rows(rows), headroom)
    }
}

/// Some rows of columns that need not be those of a schema, in the order given, as a message behind `headroom` zero bytes.
///
/// # Errors
/// `LimitExceeded` where a text column gets 2 GiB or more.
pub(crate) fn encode_rows(columns: &[ColumnView<'_>], rows: &[u32], headroom: usize) -> Result<Vec<u8>> {
    encode::encode(columns, Selection::Rows(rows), headroom)
}

/// Writes any `RecordBatch` of supported types as an encapsulated message (no schema message), every buffer aligned to 64 bytes,
/// ready to be a reply. Unlike a [`BatchView`] it may be empty and have any columns.
///
/// # Errors
/// `MalformedColumn` for a type that is not supported; `LimitExceeded` where a text column has 2 GiB or more.
pub fn encode(batch: &RecordBatch) -> Result<Vec<u8>> {
    encode_with_headroom(batch, 0)
}

/// As `encode`, behind `headroom` zero bytes, where a caller can put a header. The body is aligned when the headroom is.
///
/// # Errors
/// As for `encode`.
pub fn encode_with_headroom(batch: &RecordBatch, headroom: usize) -> Result<Vec<u8>> {
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (array, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
        let view = ColumnView::of_array(array);
        columns.push(view.map_err(|problem| Error::MalformedColumn { column: field.name().clone(), problem })?);
    }
    encode::encode(&columns, Selection::All(batch.num_rows()), headroom)
}

fn check_limit(what: &'static str, value: usize, limit: usize) -> Result<()> {
    let (value, limit) = (value as u64, limit as u64);
    if value > limit { Err(Error::LimitExceeded { what, value, limit }) } else { Ok(()) }
}

/// Equal but for how the elements of a list are named.
fn same_type(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::FixedSizeList(left, left_elements), DataType::FixedSizeList(right, right_elements)) => {
            left.data_type() == right.data_type() && left_elements == right_elements
        }
        (DataType::List(left), DataType::List(right)) => left.data_type() == right.data_type(),
        _ => left == right,
    }
}

#[cfg(test)]
mod tests;
