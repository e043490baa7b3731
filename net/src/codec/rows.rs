//! Bodies about rows: what WRITE and DELETE report, GET, SCAN.
//!
//! A reply that carries rows is a prefix, zero padding to a multiple of 64 bytes from the start of the body, and one Arrow IPC
//! record batch message; no message (length 0) where there is no row. The prefix is written before the message, so the server
//! appends the message itself behind it and needs only its length.

use engine::ids::IdsView;
use engine::limits::IDS_MAX;
use engine::schema::{IdKind, IdRef};
use engine::shard::Pressure;

use super::fields::{MESSAGE_ALIGNMENT, Reader, Writer, packed_u32s, read_filter, write_filter};
use super::header::FrameError;
use super::ids::{Columns, read_ids, write_ids};

/// Reply to WRITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Rows of the batch; the sum of the two below.
    pub rows: u32,
    /// Rows with an id that was not there.
    pub inserted: u32,
    /// Rows that replaced one of the same id, in the collection or earlier in the batch.
    pub replaced: u32,
    /// What held the write back.
    pub pressure: Pressure,
    /// Log sequence number of the write in the log of the shard that serves the connection.
    pub lsn: u64,
}

impl Written {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).u32(self.rows).u32(self.inserted).u32(self.replaced).u32(self.pressure.bits()).u64(self.lsn);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let rows = reader.u32("rows")?;
        let inserted = reader.u32("inserted rows")?;
        let replaced = reader.u32("replaced rows")?;
        let pressure = read_pressure(&mut reader)?;
        let lsn = reader.u64("lsn")?;
        reader.finish()?;
        Ok(Self { rows, inserted, replaced, pressure, lsn })
    }
}

/// Reply to DELETE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deleted {
    /// Rows that were there and are gone.
    pub deleted: u32,
    /// What held the delete back.
    pub pressure: Pressure,
    /// Log sequence number of the delete in the log of the shard that serves the connection.
    pub lsn: u64,
}

impl Deleted {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).u32(self.deleted).u32(self.pressure.bits()).u64(self.lsn);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let deleted = reader.u32("deleted rows")?;
        let pressure = read_pressure(&mut reader)?;
        let lsn = reader.u64("lsn")?;
        reader.finish()?;
        Ok(Self { deleted, pressure, lsn })
    }
}

pub(super) fn read_pressure(reader: &mut Reader<'_>) -> Result<Pressure, FrameError> {
    let problem = "a bit without a meaning is set";
    Pressure::from_bits(reader.u32("pressure")?).ok_or(FrameError::Field { field: "pressure", problem })
}

/// Reads the body of DELETE, one block of ids.
pub fn decode_delete(body: &[u8]) -> Result<IdsView<'_>, FrameError> {
    let mut reader = Reader::new(body);
    let ids = read_ids(&mut reader, IDS_MAX as u64)?;
    reader.finish()?;
    Ok(ids)
}

/// GET: columns, padding to a multiple of 8, ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Get<'a> {
    /// Columns of the reply.
    pub columns: Columns<'a>,
    /// Rows of the reply.
    pub ids: IdsView<'a>,
}

impl<'a> Get<'a> {
    /// Appends the body.
    pub fn encode<'b>(
        columns: Columns<'_>,
        kind: IdKind,
        ids: impl ExactSizeIterator<Item = IdRef<'b>> + Clone,
        out: &mut Vec<u8>,
    ) {
        let mut writer = Writer::new(out);
        columns.write(&mut writer);
        writer.align(8);
        write_ids(kind, ids, &mut writer);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let columns = Columns::read(&mut reader)?;
        reader.align(8)?;
        let ids = read_ids(&mut reader, IDS_MAX as u64)?;
        reader.finish()?;
        Ok(Self { columns, ids })
    }
}

/// What stands before the message in the reply to GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GotPrefix<'p> {
    /// For each row of the reply the place of its id in the request, ascending.
    pub positions: &'p [u32],
    /// Bytes of the message that is appended behind.
    pub message_len: u64,
}

impl GotPrefix<'_> {
    /// Appends the prefix and its padding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        let found = u32::try_from(self.positions.len()).expect("bounded by IDS_MAX");
        writer.u32(found).u32(0).u64(self.message_len);
        for &position in self.positions {
            writer.u32(position);
        }
        writer.align(MESSAGE_ALIGNMENT);
    }
}

/// Reply to GET: `found u32 | 0 u32 | message_len u64 | position u32 × found | padding | message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Got<'a> {
    positions: &'a [u8],
    /// Arrow IPC record batch message with the rows; empty when there is none.
    pub message: &'a [u8],
}

impl<'a> Got<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let found = reader.u32("found rows")?;
        reader.zeros(4, "reserved")?;
        let message_len = reader.u64("message length")?;
        let positions = reader.bytes(u64::from(found) * 4, "positions")?;
        let message = read_message(&mut reader, message_len)?;
        reader.finish()?;
        let ascending = packed_u32s(positions).zip(packed_u32s(positions).skip(1)).all(|(a, b)| a < b);
        if !ascending {
            return Err(FrameError::Field { field: "positions", problem: "not ascending" });
        }
        Ok(Self { positions, message })
    }

    /// For each row of the message the place of its id in the request, ascending.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        packed_u32s(self.positions)
    }
}

/// Where a scan goes on. The server keeps nothing between the requests of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Shard.
    pub shard: u32,
    /// First ordinal of it that was not read.
    pub ordinal: u64,
}

/// SCAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan<'a> {
    /// Zero at the start, then what the last reply gave.
    pub cursor: Cursor,
    /// Most rows in the reply; the server may give fewer, even none, and not be done.
    pub rows_max: u32,
    /// Columns of the reply.
    pub columns: Columns<'a>,
    /// JSON; empty for all rows.
    pub filter: &'a [u8],
}

impl<'a> Scan<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u64(self.cursor.ordinal).u32(self.cursor.shard).u32(self.rows_max);
        self.columns.write(&mut writer);
        write_filter(self.filter, &mut writer);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let ordinal = reader.u64("cursor ordinal")?;
        let cursor = Cursor { shard: reader.u32("cursor shard")?, ordinal };
        let rows_max = reader.u32("rows")?;
        let columns = Columns::read(&mut reader)?;
        let filter = read_filter(&mut reader)?;
        reader.finish()?;
        Ok(Self { cursor, rows_max, columns, filter })
    }
}

/// What stands before the message in the reply to SCAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScannedPrefix {
    /// Where to go on.
    pub next: Cursor,
    /// Rows of the message.
    pub rows: u32,
    /// Whether this was the end of the collection.
    pub done: bool,
    /// Bytes of the message that is appended behind.
    pub message_len: u64,
}

impl ScannedPrefix {
    /// Bytes of the prefix, with its padding.
    pub const BYTES: usize = MESSAGE_ALIGNMENT;

    /// Appends the prefix and its padding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u64(self.next.ordinal).u32(self.next.shard).u32(self.rows).u32(u32::from(self.done)).u32(0);
        writer.u64(self.message_len).align(MESSAGE_ALIGNMENT);
    }
}

/// Reply to SCAN: `ordinal u64 | shard u32 | rows u32 | done u32 | 0 u32 | message_len u64 | padding | message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned<'a> {
    /// Where to go on.
    pub next: Cursor,
    /// Rows of the message.
    pub rows: u32,
    /// Whether this was the end of the collection.
    pub done: bool,
    /// Arrow IPC record batch message with the rows; empty when there is none.
    pub message: &'a [u8],
}

impl<'a> Scanned<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let ordinal = reader.u64("cursor ordinal")?;
        let next = Cursor { shard: reader.u32("cursor shard")?, ordinal };
        let rows = reader.u32("rows")?;
        let done = match reader.u32("done")? {
            0 => false,
            1 => true,
            _ => return Err(FrameError::Field { field: "done", problem: "neither 0 nor 1" }),
        };
        reader.zeros(4, "done")?;
        let message_len = reader.u64("message length")?;
        let message = read_message(&mut reader, message_len)?;
        reader.finish()?;
        Ok(Self { next, rows, done, message })
    }
}

/// The padding and the message behind a prefix.
pub(super) fn read_message<'a>(reader: &mut Reader<'a>, message_len: u64) -> Result<&'a [u8], FrameError> {
    reader.align(MESSAGE_ALIGNMENT)?;
    reader.bytes(message_len, "Arrow message")
}
