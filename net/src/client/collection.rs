//! A collection: writes and deletes. Reads are in `rows` and `search`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::batch::BatchView;
use engine::limits::IDS_MAX;
use engine::placement::home;
use engine::schema::{IdKind, IdRef, Schema};
use engine::shard::Pressure;

use super::connection::{Body, Reply, Ticket};
use super::pool::Pool;
use super::{Ack, CollectionInfo, Ids, IndexStatus, Pending, RewritableWrite, WriteMode};
use crate::codec::{self, Deleted, Header, Opcode, WaitIndexed, Written, flags};
use crate::error::{Error, Result};

/// Longest time that the server is asked to hold an answer back; a longer wait is asked for again.
const WAIT_STEP: Duration = Duration::from_secs(1);

/// A handle on a collection.
#[derive(Clone)]
pub struct Collection {
    pub(super) pool: Arc<Pool>,
    pub(super) schema: Arc<Schema>,
    name: Arc<str>,
    pub(super) id: u32,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteReport {
    /// Rows of the batch.
    pub rows: u64,
    /// Rows with an id that was not there.
    pub inserted: u64,
    /// Rows that replaced one of the same id, in the collection or earlier in the batch.
    pub replaced: u64,
    /// What held it back on the server: where this goes on, writing faster brings nothing.
    pub pressure: Pressure,
}

/// What a delete did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeleteReport {
    /// Rows that were there and are gone.
    pub deleted: u64,
    /// What held it back on the server.
    pub pressure: Pressure,
}

/// A batch that was checked, cut by home shard and encoded: what is left is to send it, any number of times.
#[derive(Debug, Clone)]
pub struct PreparedWrite {
    pub(super) parts: Vec<Part>,
    rows: usize,
    collection: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Part {
    pub shard: usize,
    pub message: Vec<u8>,
    pub crc: u32,
}

impl Part {
    fn new(shard: usize, message: Vec<u8>) -> Part {
        let mut header = Header::default();
        header.describe_body(&message);
        Part { shard, message, crc: header.body_crc }
    }
}

impl PreparedWrite {
    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that go over the wire.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| codec::HEADER_BYTES + part.message.len()).sum()
    }
}

impl Ack {
    pub(super) fn flags(self) -> u32 {
        match self {
            Ack::Durable => 0,
            Ack::Memory => flags::ACK_MEMORY,
        }
    }
}

impl WriteMode {
    fn flags(self) -> u32 {
        match self {
            WriteMode::Upsert => 0,
            WriteMode::Insert => flags::REFUSE_PRESENT,
            WriteMode::Replace => flags::REFUSE_MISSING,
        }
    }
}

impl Ids {
    /// Number of ids.
    pub fn len(&self) -> usize {
        match self {
            Ids::U64(ids) => ids.len(),
            Ids::I64(ids) => ids.len(),
            Ids::Utf8(ids) => ids.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their kind.
    pub fn kind(&self) -> IdKind {
        match self {
            Ids::U64(_) => IdKind::U64,
            Ids::I64(_) => IdKind::I64,
            Ids::Utf8(_) => IdKind::Utf8,
        }
    }

    /// The `index`-th id.
    pub fn get(&self, index: usize) -> IdRef<'_> {
        match self {
            Ids::U64(ids) => IdRef::U64(ids[index]),
            Ids::I64(ids) => IdRef::I64(ids[index]),
            Ids::Utf8(ids) => IdRef::Utf8(&ids[index]),
        }
    }

    /// The ids in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = IdRef<'_>> + Clone {
        (0..self.len()).map(|index| self.get(index))
    }
}

impl Collection {
    pub(super) fn open(pool: Arc<Pool>, info: CollectionInfo) -> Result<Collection> {
        let arrow = info.schema.ok_or(Error::UnexpectedReply { problem: "a collection without a schema" })?;
        let schema = Schema::from_arrow(&arrow)?;
        if schema.fingerprint() != info.fingerprint {
            return Err(Error::UnexpectedReply { problem: "the fingerprint is not that of the schema" });
        }
        Ok(Collection { pool, schema: Arc::new(schema), name: info.name.into(), id: info.id })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its Arrow schema, with roles and metrics written out.
    pub fn schema(&self) -> &SchemaRef {
        self.schema.arrow()
    }

    /// Its schema as the engine reads it: ids, vector columns, metrics.
    pub fn engine_schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Fingerprint of its schema.
    pub fn fingerprint(&self) -> u64 {
        self.schema.fingerprint()
    }

    /// Type of its ids.
    pub fn id_kind(&self) -> IdKind {
        self.schema.id_kind()
    }

    /// Inserts the rows of a batch, or replaces those of the same ids; of several rows with one id the last wins. Waits only
    /// for room; the rows of each shard take effect all together or not at all.
    ///
    /// # Errors
    /// `Engine` for a batch that does not fit the schema or the limits; what only the server sees comes from the `Pending`.
    pub fn write(&self, batch: &RecordBatch, ack: Ack) -> Result<Pending<WriteReport>> {
        self.send(&self.prepare(batch)?, ack)
    }

    /// As [`Collection::write`], if the ids are there or not, as the mode has it: the rows of a shard are refused together where one of
    /// them is not as it has to be. Where the rows of one shard are refused and those of another are not, what comes back is the
    /// refusal.
    ///
    /// # Errors
    /// As [`Collection::write`]; `Remote` with `RowExists` or `RowMissing`, naming an id, comes from the `Pending`.
    pub fn write_with(&self, batch: &RecordBatch, mode: WriteMode, ack: Ack) -> Result<Pending<WriteReport>> {
        self.send_with(&self.prepare(batch)?, mode, ack)
    }

    /// Checks, cuts and encodes a batch for [`Collection::send`].
    ///
    /// # Errors
    /// As [`Collection::write`].
    pub fn prepare(&self, batch: &RecordBatch) -> Result<PreparedWrite> {
        let view = BatchView::from_arrow(&self.schema, batch)?;
        view.check_json()?;
        let parts = view.split(self.pool.server().shards, 0)?;
        let parts = parts.into_iter().map(|part| Part::new(part.shard, part.message)).collect();
        Ok(PreparedWrite { parts, rows: batch.num_rows(), collection: self.id })
    }

    /// As [`Collection::prepare`], but not cut: all of it goes to one shard, which passes on what lives elsewhere. So does a client
    /// that knows nothing of shards.
    ///
    /// # Errors
    /// As [`Collection::write`].
    pub fn prepare_whole(&self, batch: &RecordBatch, shard: usize) -> Result<PreparedWrite> {
        let message = BatchView::from_arrow(&self.schema, batch)?.encode(0)?;
        Ok(PreparedWrite { parts: vec![Part::new(shard, message)], rows: batch.num_rows(), collection: self.id })
    }

    /// Makes a prepared write one whose columns of these places can be given new values, and sent again.
    ///
    /// # Errors
    /// None for what this collection prepared.
    ///
    /// # Panics
    /// Where a column does not hold numbers, or is named twice.
    pub fn rewritable<const COLUMNS: usize>(
        &self,
        write: PreparedWrite,
        columns: [usize; COLUMNS],
    ) -> Result<RewritableWrite<COLUMNS>> {
        RewritableWrite::new(&self.schema, write, columns)
    }

    /// Sends what [`Collection::prepare`] made.
    ///
    /// # Errors
    /// `Disconnected`, `Io`, `Timeout` while waiting for room, `Engine` for a part above the limit of a frame.
    pub fn send(&self, prepared: &PreparedWrite, ack: Ack) -> Result<Pending<WriteReport>> {
        self.send_with(prepared, WriteMode::Upsert, ack)
    }

    /// Sends what [`Collection::prepare`] made, as [`Collection::write_with`] does.
    ///
    /// # Errors
    /// As [`Collection::send`].
    pub fn send_with(&self, prepared: &PreparedWrite, mode: WriteMode, ack: Ack) -> Result<Pending<WriteReport>> {
        assert!(prepared.collection == self.id, "prepared for this collection");
        let mut tickets = Vec::with_capacity(prepared.parts.len());
        for part in &prepared.parts {
            let mut header = Header::request(Opcode::Write, 0, self.id);
            header.flags = ack.flags() | mode.flags();
            header.fingerprint = self.schema.fingerprint();
            let body = Body { bytes: &part.message, crc: part.crc };
            tickets.push(self.pool.send_prepared(Some(part.shard), header, body)?);
        }
        let pool = self.pool.clone();
        Ok(Pending::new(tickets, move |replies| {
            let report = sum_written(&replies)?;
            pool.count_pressure(report.pressure);
            Ok(report)
        }))
    }

    /// Deletes the rows of these ids; ids that are not there are no error.
    ///
    /// # Errors
    /// `Engine` for no ids, too many, or ids of another kind than the collection's.
    pub fn delete(&self, ids: &Ids, ack: Ack) -> Result<Pending<DeleteReport>> {
        self.check_ids(ids)?;
        let shards = self.pool.server().shards;
        let mut parts: Vec<Vec<IdRef<'_>>> = vec![Vec::new(); shards];
        for id in ids.iter() {
            parts[home(id, shards)].push(id);
        }
        let mut tickets = Vec::with_capacity(shards);
        for (shard, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let mut body = Vec::new();
            codec::encode_ids(ids.kind(), part.iter().copied(), &mut body);
            let mut header = Header::request(Opcode::Delete, 0, self.id);
            header.flags = ack.flags();
            header.describe_body(&body);
            let body = Body { bytes: &body, crc: header.body_crc };
            tickets.push(self.pool.send_prepared(Some(shard), header, body)?);
        }
        let pool = self.pool.clone();
        Ok(Pending::new(tickets, move |replies| {
            let mut report = DeleteReport::default();
            for reply in &replies {
                let part = Deleted::decode(&reply.body)?;
                report.deleted += u64::from(part.deleted);
                report.pressure = report.pressure | part.pressure;
            }
            pool.count_pressure(report.pressure);
            Ok(report)
        }))
    }

    /// Waits until the graph holds every row that is there now, or until the time is over: then `done` is false.
    pub fn wait_indexed(&self, timeout: Duration) -> Result<IndexStatus> {
        let start = Instant::now();
        loop {
            let step = timeout.saturating_sub(start.elapsed()).min(WAIT_STEP);
            let timeout_ms = u32::try_from(step.as_millis()).expect("bounded by WAIT_STEP");
            let ticket = self.request(None, Opcode::WaitIndexed, |body| WaitIndexed { timeout_ms }.encode(body))?;
            let status = IndexStatus::decode(&ticket.wait()?.body)?;
            if status.done || start.elapsed() >= timeout {
                return Ok(status);
            }
        }
    }

    /// How far the index is, now.
    pub fn index_status(&self) -> Result<IndexStatus> {
        self.wait_indexed(Duration::ZERO)
    }

    pub(super) fn request(
        &self,
        shard: Option<usize>,
        opcode: Opcode,
        write_body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Ticket> {
        self.pool.send(shard, opcode, self.id, write_body)
    }

    pub(super) fn check_ids(&self, ids: &Ids) -> Result<()> {
        if ids.is_empty() {
            return Err(engine::Error::Empty { what: "id list" }.into());
        }
        if ids.kind() != self.id_kind() {
            let column = self.schema.columns()[self.schema.id_column()].name.clone();
            return Err(engine::Error::MalformedColumn { column, problem: "its ids are of another type" }.into());
        }
        if ids.len() > IDS_MAX {
            let (value, limit) = (ids.len() as u64, IDS_MAX as u64);
            return Err(engine::Error::LimitExceeded { what: "number of ids", value, limit }.into());
        }
        Ok(())
    }
}

fn sum_written(replies: &[Reply]) -> Result<WriteReport> {
    let mut report = WriteReport::default();
    for reply in replies {
        let part = Written::decode(&reply.body)?;
        report.rows += u64::from(part.rows);
        report.inserted += u64::from(part.inserted);
        report.replaced += u64::from(part.replaced);
        report.pressure = report.pressure | part.pressure;
    }
    Ok(report)
}
