//! Rows by id, and all rows.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::placement::home;

use super::batch::read_batch;
use super::connection::Ticket;
use super::search::checked;
use super::{Collection, Ids};
use crate::codec::{self, Columns, Cursor, Got, Opcode, Scanned};
use crate::error::{Error, Result};

/// A choice of columns: what goes into the request, and the schema of what comes back.
pub(super) struct Chosen {
    listed: Vec<[u8; 2]>,
    pub schema: SchemaRef,
}

impl Chosen {
    pub fn columns(&self) -> Columns<'_> {
        Columns::Listed(&self.listed)
    }
}

impl Collection {
    /// The rows of these ids, in the order of the ids; those that are not there are left out. No names: all columns.
    ///
    /// # Errors
    /// `Engine` for no ids, too many, ids of another kind, unknown columns.
    pub fn get(&self, ids: &Ids, columns: &[&str]) -> Result<RecordBatch> {
        self.check_ids(ids)?;
        let chosen = self.choose_or_all(columns)?;
        // Most calls ask for one row: its home has it at hand.
        let shard = home(ids.get(0), self.pool.server().shards);
        let ticket = self.request(Some(shard), Opcode::Get, |body| {
            codec::Get::encode(chosen.columns(), ids.kind(), ids.iter(), body);
        })?;
        let reply = ticket.wait()?;
        let got = Got::decode(&reply.body)?;
        let (found, message_len) = (got.positions().len(), got.message.len());
        let rows = read_batch(reply.body, message_len, chosen.schema)?;
        if rows.num_rows() != found {
            return Err(Error::UnexpectedReply { problem: "not a row for each position" });
        }
        Ok(rows)
    }

    /// All rows, a batch at a time, shard by shard. No names: all columns.
    ///
    /// Rows that are written or deleted meanwhile may or may not be seen; rows that are not touched are seen exactly once, as long as
    /// batches are asked for no more than 5 s apart. Later, and while more than twice as many rows are dead as live, one may be
    /// seen a second time.
    ///
    /// # Errors
    /// `Engine` for unknown columns.
    pub fn scan(&self, columns: &[&str]) -> Result<Scan> {
        let chosen = self.choose_or_all(columns)?;
        let (collection, filter) = (self.clone(), String::new());
        Ok(Scan {
            collection,
            chosen,
            filter,
            cursor: Cursor::default(),
            rows_max: 0,
            left: u64::MAX,
            ahead: None,
            done: false,
        })
    }

    fn choose_or_all(&self, columns: &[&str]) -> Result<Chosen> {
        if columns.is_empty() {
            // By their places: the collection may have columns by now that this handle does not know of.
            return Ok(self.chosen((0..self.schema.columns().len()).collect()));
        }
        self.choose(columns)
    }

    pub(super) fn choose(&self, columns: &[&str]) -> Result<Chosen> {
        let places = columns.iter().map(|name| self.schema.column_index(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.chosen(places))
    }

    fn chosen(&self, places: Vec<usize>) -> Chosen {
        let listed = places.iter().map(|&place| u16::try_from(place).expect("bounded by COLUMNS_MAX").to_le_bytes());
        Chosen { listed: listed.collect(), schema: self.schema.project(&places) }
    }
}

/// The batches of [`Collection::scan`]. After an error it ends.
pub struct Scan {
    collection: Collection,
    chosen: Chosen,
    filter: String,
    cursor: Cursor,
    rows_max: u32,
    /// Rows that are still wanted.
    left: u64,
    /// The next batch, which is asked for when one has come.
    ahead: Option<Result<Ticket>>,
    done: bool,
}

impl Scan {
    /// Asks for at most this many rows at a time; 0, the default, leaves it to the server.
    pub fn with_batch_rows(mut self, rows_max: u32) -> Self {
        self.rows_max = rows_max;
        self
    }

    /// Reads only rows that a filter is true of: JSON, as `engine::filter` describes it. What is wrong with it the first batch says.
    pub fn with_filter(mut self, filter: &str) -> Self {
        filter.clone_into(&mut self.filter);
        self
    }

    /// Ends after so many rows.
    pub fn with_limit(mut self, rows: u64) -> Self {
        (self.left, self.done) = (rows, rows == 0);
        self
    }

    /// Goes on from where another scan of the same rows stood, see [`Scan::cursor`].
    pub fn from_cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = cursor;
        self
    }

    /// Where the next batch begins. It may be kept, and gone on from over another connection; after a restart of the server begin anew.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.chosen.schema.clone()
    }

    /// Asks for the batch that begins at the cursor.
    fn ask(&self) -> Result<Ticket> {
        let (columns, filter) = (self.chosen.columns(), checked(&self.filter)?);
        // 0 leaves the number to the server.
        let asked = if self.rows_max == 0 { u32::MAX } else { self.rows_max };
        let rows_max = match u64::from(asked).min(self.left) {
            rows if rows == u64::from(u32::MAX) => 0,
            rows => rows as u32,
        };
        let request = codec::Scan { cursor: self.cursor, rows_max, columns, filter };
        let shard = self.cursor.shard as usize;
        self.collection.request(Some(shard), Opcode::Scan, |body| request.encode(body))
    }

    fn step(&mut self) -> Result<RecordBatch> {
        let ticket = match self.ahead.take() {
            Some(ticket) => ticket?,
            None => self.ask()?,
        };
        let reply = ticket.wait()?;
        let scanned = Scanned::decode(&reply.body)?;
        let (next, done, rows, message_len) = (scanned.next, scanned.done, scanned.rows, scanned.message.len());
        if !done && (next.shard, next.ordinal) <= (self.cursor.shard, self.cursor.ordinal) {
            return Err(Error::UnexpectedReply { problem: "the scan does not go forward" });
        }
        self.left = self.left.saturating_sub(u64::from(rows));
        (self.cursor, self.done) = (next, done || self.left == 0);
        // The server makes the next batch while this one is looked at.
        self.ahead = (!self.done).then(|| self.ask());
        let batch = read_batch(reply.body, message_len, self.chosen.schema.clone())?;
        if batch.num_rows() != rows as usize {
            return Err(Error::UnexpectedReply { problem: "not as many rows as it says" });
        }
        Ok(batch)
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            match self.step() {
                Ok(batch) if batch.num_rows() == 0 => {}
                Ok(batch) => return Some(Ok(batch)),
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
