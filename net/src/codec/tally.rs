//! COUNT and FACETS: how many rows a filter is true of, and which values a column has among them.

use super::fields::{MESSAGE_ALIGNMENT, Reader, Writer, read_filter, write_filter};
use super::header::FrameError;
use super::rows::read_message;

/// COUNT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<'a> {
    /// JSON; empty for all rows.
    pub filter: &'a [u8],
}

impl<'a> Count<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_filter(self.filter, &mut Writer::new(out));
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let filter = read_filter(&mut reader)?;
        reader.finish()?;
        Ok(Self { filter })
    }
}

/// Reply to COUNT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Live rows.
    pub rows: u64,
}

impl Counted {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).u64(self.rows);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let rows = reader.u64("rows")?;
        reader.finish()?;
        Ok(Self { rows })
    }
}

/// FACETS: `column u16 | 0 u16 | limit u32 | filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facets<'a> {
    /// Place of the column in the schema.
    pub column: u16,
    /// Values in the reply, at most.
    pub limit: u32,
    /// JSON; empty for all rows.
    pub filter: &'a [u8],
}

impl<'a> Facets<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u16(self.column).u16(0).u32(self.limit);
        write_filter(self.filter, &mut writer);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let column = reader.u16("column")?;
        reader.zeros(2, "reserved")?;
        let limit = reader.u32("limit")?;
        let filter = read_filter(&mut reader)?;
        reader.finish()?;
        Ok(Self { column, limit, filter })
    }
}

/// What stands before the message in the reply to FACETS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FacetedPrefix {
    /// Different values, listed or not.
    pub distinct: u64,
    /// How often those are there that are not listed.
    pub others: u64,
    /// Rows without a value.
    pub nulls: u64,
    /// Values in the message.
    pub values: u32,
    /// Bytes of the message that is appended behind.
    pub message_len: u64,
}

impl FacetedPrefix {
    /// Appends the prefix and its padding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u64(self.distinct).u64(self.others).u64(self.nulls).u32(self.values).u32(0);
        writer.u64(self.message_len).align(MESSAGE_ALIGNMENT);
    }
}

/// Reply to FACETS: `distinct u64 | others u64 | nulls u64 | values u32 | 0 u32 | message_len u64 | padding | message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faceted<'a> {
    /// What stands before the message.
    pub prefix: FacetedPrefix,
    /// Arrow IPC record batch message of two columns: the values, of the type of the column, and their counts as u64.
    pub message: &'a [u8],
}

impl<'a> Faceted<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let distinct = reader.u64("distinct values")?;
        let others = reader.u64("others")?;
        let nulls = reader.u64("nulls")?;
        let values = reader.u32("values")?;
        reader.zeros(4, "reserved")?;
        let message_len = reader.u64("message length")?;
        let message = read_message(&mut reader, message_len)?;
        reader.finish()?;
        Ok(Self { prefix: FacetedPrefix { distinct, others, nulls, values, message_len }, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_as_they_were_written() {
        let mut body = Vec::new();
        let count = Count { filter: b"{}" };
        count.encode(&mut body);
        assert_eq!(Count::decode(&body), Ok(count));
        body.clear();
        let facets = Facets { column: 3, limit: 7, filter: b"" };
        facets.encode(&mut body);
        assert_eq!(Facets::decode(&body), Ok(facets));
        assert!(Facets::decode(&body[1..]).is_err());
        body.clear();
        Counted { rows: 9 }.encode(&mut body);
        assert_eq!(Counted::decode(&body), Ok(Counted { rows: 9 }));
        body.clear();
        let prefix = FacetedPrefix { distinct: 5, others: 4, nulls: 3, values: 2, message_len: 6 };
        prefix.encode(&mut body);
        body.extend(b"arrows");
        assert_eq!(Faceted::decode(&body), Ok(Faceted { prefix, message: b"arrows" }));
        assert!(Faceted::decode(&body[..body.len() - 1]).is_err());
    }
}
