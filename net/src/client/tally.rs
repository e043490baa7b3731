//! Counts of rows, and of the values of a column.

use arrow::array::RecordBatch;
use engine::tally::facet_schema;

use super::Collection;
use super::batch::read_batch;
use super::search::checked;
use crate::codec::{self, Counted, Faceted, Opcode};
use crate::error::{Error, Result};

/// The values of a column, with how often each of them is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Facets {
    /// Two columns: `value`, of the type of the column (of a list its items), and `count`, u64. The most frequent value comes first, and of
    /// two that are as frequent the lesser one.
    pub values: RecordBatch,
    /// Different values in all, listed or not.
    pub distinct: u64,
    /// How often those are there that are not listed.
    pub others: u64,
    /// Rows without a value.
    pub nulls: u64,
    /// As in [`super::SearchReply`].
    pub is_recovering: bool,
}

impl Collection {
    /// The number of rows that a filter is true of: JSON, as `engine::filter` describes it. Empty for all rows.
    ///
    /// # Errors
    /// What the server says of the filter.
    pub fn count(&self, filter: &str) -> Result<u64> {
        let request = codec::Count { filter: checked(filter)? };
        let reply = self.request(None, Opcode::Count, |body| request.encode(body))?.wait()?;
        Ok(Counted::decode(&reply.body)?.rows)
    }

    /// The most frequent `limit` values of a column, among the rows that a filter is true of; with an empty one, of all. They are exact.
    ///
    /// # Errors
    /// `Engine` for an unknown column; `LimitExceeded` where the column has too many different values, or the limit is too high.
    pub fn facets(&self, column: &str, limit: usize, filter: &str) -> Result<Facets> {
        let place = self.schema.column_index(column)?;
        let column = u16::try_from(place).expect("bounded by COLUMNS_MAX");
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let request = codec::Facets { column, limit, filter: checked(filter)? };
        let reply = self.request(None, Opcode::Facets, |body| request.encode(body))?.wait()?;
        let is_recovering = reply.is_recovering;
        let Faceted { prefix, message } = Faceted::decode(&reply.body)?;
        let message_len = message.len();
        let schema = facet_schema(self.schema.arrow().field(place).data_type());
        let values = read_batch(reply.body, message_len, schema)?;
        if values.num_rows() != prefix.values as usize {
            return Err(Error::UnexpectedReply { problem: "not as many values as it says" });
        }
        let codec::FacetedPrefix { distinct, others, nulls, .. } = prefix;
        Ok(Facets { values, distinct, others, nulls, is_recovering })
    }
}
