//! New values for some columns of rows, and deletes by filter.

use arrow::array::RecordBatch;
use engine::batch::BatchView;
use engine::shard::Pressure;
use engine::shard::update::Missing;

use super::connection::Body;
use super::search::checked;
use super::{Ack, Collection, Pending};
use crate::codec::{self, Columns, DeleteWhere, DeletedWhere, Header, Opcode, Updated};
use crate::error::Result;

/// What an update does with rows that are not there, or that are not to be changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpdateOptions<'a> {
    /// What is done with ids that no row has.
    pub missing: Missing,
    /// JSON, as `engine::filter` describes it, that has to be true of the rows that are there; empty for any.
    pub filter: &'a str,
    /// A column of the batch, u64, i64 or a timestamp, whose value has to be greater than that of the row that is there.
    pub newer: Option<&'a str>,
    /// Rows that do not meet `filter` and `newer` are left out and counted, instead of that the update is refused.
    pub skip_unmet: bool,
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpdateReport {
    /// Rows written; with [`Missing::Insert`] those that were not there are among them.
    pub rows: u64,
    /// Ids that no row has, left out.
    pub missing: u64,
    /// Rows that do not meet the condition, left out.
    pub unmet: u64,
    /// What held it back on the server.
    pub pressure: Pressure,
}

impl Collection {
    /// Deletes the rows that a filter is true of, and waits until they are gone durably; returns how many they were. Rows that are written
    /// meanwhile go if it is true of them and they come in time.
    ///
    /// # Errors
    /// `Engine` for an empty filter: [`Collection::delete_all`] is what deletes all rows. `Remote` with `InvalidFilter` or `UnknownColumn`. Where
    /// one comes from a shard that could not go on, rows of others may be gone.
    pub fn delete_where(&self, filter: &str) -> Result<u64> {
        if filter.is_empty() {
            return Err(engine::Error::Empty { what: "filter" }.into());
        }
        self.delete_rows_where(checked(filter)?)
    }

    /// Deletes all rows, and waits until they are gone durably; returns how many they were.
    ///
    /// # Errors
    /// As [`Collection::delete_where`].
    pub fn delete_all(&self) -> Result<u64> {
        self.delete_rows_where(b"")
    }

    fn delete_rows_where(&self, filter: &[u8]) -> Result<u64> {
        let ticket = self.request(None, Opcode::DeleteWhere, |body| DeleteWhere { filter }.encode(body))?;
        Ok(DeletedWhere::decode(&ticket.wait()?.body)?.deleted)
    }

    /// Gives rows that are there new values for the columns that the batch has, the id among them; null is a value, too. The rows of
    /// each shard are updated all together or not at all: where one of them is refused, so are the others.
    ///
    /// # Errors
    /// `Engine` for a batch that does not fit the schema or the limits. `Remote` comes from the `Pending`: `RowMissing` or `ConditionFailed`,
    /// naming an id; `LimitExceeded` where whole rows, those of the other columns included, would not fit a frame: send fewer.
    pub fn update(&self, batch: &RecordBatch, options: &UpdateOptions<'_>, ack: Ack) -> Result<Pending<UpdateReport>> {
        let fields = batch.schema_ref().fields().iter();
        let places = fields.map(|field| self.schema.column_index(field.name())).collect::<Result<Vec<_>, _>>()?;
        let partial = self.schema.partial(&places)?;
        let newer = options.newer.map(|name| self.schema.column_index(name)).transpose()?;
        let place = |place: usize| u16::try_from(place).expect("bounded by COLUMNS_MAX");
        let listed: Vec<[u8; 2]> = places.iter().map(|&column| place(column).to_le_bytes()).collect();
        let request = codec::Update {
            missing: options.missing,
            skips_unmet: options.skip_unmet,
            newer: newer.map(place),
            columns: Columns::Listed(&listed),
            filter: checked(options.filter)?,
            message: &[],
        };
        let mut tickets = Vec::new();
        for part in BatchView::from_arrow(&partial, batch)?.split(self.pool.server().shards, 0)? {
            let mut body = Vec::new();
            codec::Update { message: &part.message, ..request }.encode(&mut body);
            let mut header = Header::request(Opcode::Update, 0, self.id);
            header.flags = ack.flags();
            header.fingerprint = self.schema.fingerprint();
            header.describe_body(&body);
            let body = Body { bytes: &body, crc: header.body_crc };
            tickets.push(self.pool.send_prepared(Some(part.shard), header, body)?);
        }
        let pool = self.pool.clone();
        Ok(Pending::new(tickets, move |replies| {
            let mut report = UpdateReport::default();
            for reply in &replies {
                let part = Updated::decode(&reply.body)?;
                report.rows += u64::from(part.rows);
                report.missing += u64::from(part.missing);
                report.unmet += u64::from(part.unmet);
                report.pressure = report.pressure | part.pressure;
            }
            pool.count_pressure(report.pressure);
            Ok(report)
        }))
    }
}
