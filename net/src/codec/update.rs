//! UPDATE: new values for some columns of rows that are there.

use engine::shard::Pressure;
use engine::shard::update::Missing;

use super::fields::{MESSAGE_ALIGNMENT, Reader, Writer, read_filter, write_filter};
use super::header::FrameError;
use super::ids::Columns;
use super::rows::read_pressure;

const SKIP_MISSING: u32 = 1 << 0;
const INSERT_MISSING: u32 = 1 << 1;
const SKIP_UNMET: u32 = 1 << 2;
/// Place of a column that stands for none.
const NO_COLUMN: u16 = u16::MAX;

/// The request.
///
/// ```text
/// flags u32 (1 skip what is missing, 2 insert it, 4 skip what does not meet the condition) | newer u16 (65535: none) | 0 u16
/// columns | filter | zero padding to a multiple of 64 | Arrow IPC record batch message of these columns
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<'a> {
    /// What is done with ids that no row has.
    pub missing: Missing,
    /// Rows that do not meet the condition are left out, instead of that the update is refused.
    pub skips_unmet: bool,
    /// Place in the schema of the column that has to be greater than that of the row.
    pub newer: Option<u16>,
    /// Columns of the message, in its order.
    pub columns: Columns<'a>,
    /// JSON that has to be true of the row; empty for any.
    pub filter: &'a [u8],
    /// The message; the codec does not look into it.
    pub message: &'a [u8],
}

impl<'a> Update<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let missing = match self.missing {
            Missing::Refuse => 0,
            Missing::Skip => SKIP_MISSING,
            Missing::Insert => INSERT_MISSING,
        };
        let mut writer = Writer::new(out);
        writer.u32(missing | if self.skips_unmet { SKIP_UNMET } else { 0 }).u16(self.newer.unwrap_or(NO_COLUMN)).u16(0);
        self.columns.write(&mut writer);
        write_filter(self.filter, &mut writer);
        writer.align(MESSAGE_ALIGNMENT).bytes(self.message);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let flags = reader.u32("flags")?;
        let missing = match flags & (SKIP_MISSING | INSERT_MISSING) {
            0 => Missing::Refuse,
            SKIP_MISSING => Missing::Skip,
            INSERT_MISSING => Missing::Insert,
            _ => return Err(FrameError::Field { field: "flags", problem: "what is missing is skipped or inserted" }),
        };
        if flags & !(SKIP_MISSING | INSERT_MISSING | SKIP_UNMET) != 0 {
            return Err(FrameError::Field { field: "flags", problem: "unknown bit" });
        }
        let newer = Some(reader.u16("newer column")?).filter(|&place| place != NO_COLUMN);
        reader.zeros(2, "reserved")?;
        let columns = Columns::read(&mut reader)?;
        let filter = read_filter(&mut reader)?;
        reader.align(MESSAGE_ALIGNMENT)?;
        let message = &body[reader.position()..];
        Ok(Self { missing, skips_unmet: flags & SKIP_UNMET != 0, newer, columns, filter, message })
    }
}

/// Reply to UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Updated {
    /// Rows written; with [`Missing::Insert`] those that were not there are among them.
    pub rows: u32,
    /// Ids that no row has, left out.
    pub missing: u32,
    /// Rows that do not meet the condition, left out.
    pub unmet: u32,
    /// What held the update back.
    pub pressure: Pressure,
    /// Log sequence number of the update in the log of the shard that serves the connection; 0 where nothing was written.
    pub lsn: u64,
}

impl Updated {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).u32(self.rows).u32(self.missing).u32(self.unmet).u32(self.pressure.bits()).u64(self.lsn);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let rows = reader.u32("rows")?;
        let missing = reader.u32("missing rows")?;
        let unmet = reader.u32("unmet rows")?;
        let pressure = read_pressure(&mut reader)?;
        let lsn = reader.u64("lsn")?;
        reader.finish()?;
        Ok(Self { rows, missing, unmet, pressure, lsn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_read_back() {
        let places = [3_u16.to_le_bytes(), 0_u16.to_le_bytes()];
        for missing in [Missing::Refuse, Missing::Skip, Missing::Insert] {
            for (newer, filter) in [(None, &b""[..]), (Some(3), br#"{"column": "a", "=": 1}"#)] {
                let columns = Columns::Listed(&places);
                let skips_unmet = newer.is_some();
                let update = Update { missing, skips_unmet, newer, columns, filter, message: b"a message" };
                let mut body = Vec::new();
                update.encode(&mut body);
                assert_eq!(Update::decode(&body), Ok(update));
                for end in 0..body.len() - update.message.len() {
                    assert!(Update::decode(&body[..end]).is_err(), "cut at {end}");
                }
                body[0] |= 3;
                assert!(Update::decode(&body).is_err(), "skipped and inserted");
                body[0] = 8;
                assert!(Update::decode(&body).is_err(), "an unknown flag");
            }
        }
        let updated = Updated { rows: 1, missing: 2, unmet: 3, pressure: Pressure::DISK, lsn: 4 };
        let mut body = Vec::new();
        updated.encode(&mut body);
        assert_eq!(Updated::decode(&body), Ok(updated));
        assert!(Updated::decode(&body[1..]).is_err());
    }
}
