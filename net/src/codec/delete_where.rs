//! DELETE_WHERE: rows that a filter is true of go.

use super::fields::{Reader, Writer, read_filter, write_filter};
use super::header::FrameError;

const ALL: u32 = 1 << 0;

/// The request: `flags u32 (1: all rows, and no filter) | filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteWhere<'a> {
    /// JSON; empty: all rows.
    pub filter: &'a [u8],
}

impl<'a> DeleteWhere<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u32(if self.filter.is_empty() { ALL } else { 0 });
        write_filter(self.filter, &mut writer);
    }

    /// Reads the body. That all rows are meant has to be said.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let flags = reader.u32("flags")?;
        if flags & !ALL != 0 {
            return Err(FrameError::Field { field: "flags", problem: "unknown bit" });
        }
        let filter = read_filter(&mut reader)?;
        reader.finish()?;
        match (filter.is_empty(), flags & ALL != 0) {
            (true, false) => {
                Err(FrameError::Field { field: "filter", problem: "is empty, and the flag for all rows is not set" })
            }
            (false, true) => {
                Err(FrameError::Field { field: "filter", problem: "is there, and the flag for all rows is set" })
            }
            _ => Ok(Self { filter }),
        }
    }
}

/// The reply: `deleted u64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeletedWhere {
    /// Rows that are gone.
    pub deleted: u64,
}

impl DeletedWhere {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).u64(self.deleted);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let deleted = reader.u64("deleted rows")?;
        reader.finish()?;
        Ok(Self { deleted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_read_back_and_all_rows_are_asked_for_by_name() {
        for filter in [&b""[..], br#"{"column": "a", "=": 1}"#] {
            let mut body = Vec::new();
            DeleteWhere { filter }.encode(&mut body);
            assert_eq!(DeleteWhere::decode(&body), Ok(DeleteWhere { filter }));
            assert!((0..body.len()).all(|end| DeleteWhere::decode(&body[..end]).is_err()));
            body[0] ^= 1;
            assert!(DeleteWhere::decode(&body).is_err(), "the flag says otherwise");
            body[0] = 2;
            assert!(DeleteWhere::decode(&body).is_err(), "an unknown flag");
        }
        let mut body = Vec::new();
        DeletedWhere { deleted: 7 }.encode(&mut body);
        assert_eq!(DeletedWhere::decode(&body), Ok(DeletedWhere { deleted: 7 }));
    }
}
