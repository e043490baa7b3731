//! Bodies about collections: create, list, describe, index state, snapshot.

use engine::limits::{COLLECTIONS_MAX, NAME_BYTES_MAX};

use super::fields::{Reader, Writer};
use super::header::FrameError;

/// Bit of [`Create`]: a collection of that name and schema is no error.
const IF_NOT_EXISTS: u32 = 1 << 0;
/// Bit of [`Create`]: the collection may be evicted.
const EVICTABLE: u32 = 1 << 1;

/// CREATE_COLLECTION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create<'a> {
    /// Links per node, 0 for the server's default.
    pub m: u16,
    /// Candidates while building, 0 for the server's default.
    pub ef_construction: u16,
    /// No error when a collection of this name and schema is there.
    pub if_not_exists: bool,
    /// The collection may be dropped by the server when memory is short.
    pub evictable: bool,
    /// Name, 1 to `NAME_BYTES_MAX` bytes.
    pub name: &'a str,
    /// Arrow IPC schema message, see `engine::schema::Schema::from_bytes`.
    pub schema: &'a [u8],
}

impl<'a> Create<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        let flags = bit(self.if_not_exists, IF_NOT_EXISTS) | bit(self.evictable, EVICTABLE);
        let mut writer = Writer::new(out);
        writer.u16(self.m).u16(self.ef_construction).u32(flags).text(self.name);
        message(&mut writer, self.schema);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let m = reader.u16("m")?;
        let ef_construction = reader.u16("ef_construction")?;
        let flags = reader.u32("flags")?;
        if flags & !(IF_NOT_EXISTS | EVICTABLE) != 0 {
            return Err(FrameError::Field { field: "flags", problem: "unknown bit" });
        }
        let name = collection_name(&mut reader)?;
        let schema_len = reader.u32("schema length")?;
        let schema = reader.bytes(u64::from(schema_len), "schema")?;
        reader.finish()?;
        let (if_not_exists, evictable) = (flags & IF_NOT_EXISTS != 0, flags & EVICTABLE != 0);
        Ok(Self { m, ef_construction, if_not_exists, evictable, name, schema })
    }
}

/// ALTER_COLLECTION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alter<'a> {
    /// Name of the collection.
    pub name: &'a str,
    /// Arrow IPC schema message with all columns, the new ones at the end.
    pub schema: &'a [u8],
}

impl<'a> Alter<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(Writer::new(out).text(self.name), self.schema);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let name = collection_name(&mut reader)?;
        let schema_len = reader.u32("schema length")?;
        let schema = reader.bytes(u64::from(schema_len), "schema")?;
        reader.finish()?;
        Ok(Self { name, schema })
    }
}

/// Appends the body of DROP_COLLECTION and DESCRIBE: a name.
pub fn encode_name(name: &str, out: &mut Vec<u8>) {
    Writer::new(out).text(name);
}

/// Reads the body of DROP_COLLECTION and DESCRIBE.
pub fn decode_name(body: &[u8]) -> Result<&str, FrameError> {
    let mut reader = Reader::new(body);
    let name = collection_name(&mut reader)?;
    reader.finish()?;
    Ok(name)
}

/// A collection as the server tells of it; the reply to CREATE_COLLECTION and DESCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectionInfo<'a> {
    /// Its number, for the header of requests; never 0.
    pub id: u32,
    /// Links per node.
    pub m: u16,
    /// Candidates while building.
    pub ef_construction: u16,
    /// Fingerprint of its schema, for the header of writes.
    pub fingerprint: u64,
    /// Live rows.
    pub rows: u64,
    /// Rows deleted or replaced whose space is not yet free.
    pub deleted: u64,
    /// Live rows that the graph holds.
    pub indexed: u64,
    /// Its name.
    pub name: &'a str,
    /// Arrow IPC schema message; empty in the reply to LIST.
    pub schema: &'a [u8],
}

impl<'a> CollectionInfo<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(&mut Writer::new(out));
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let info = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(info)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.id).u16(self.m).u16(self.ef_construction).u64(self.fingerprint);
        writer.u64(self.rows).u64(self.deleted).u64(self.indexed).text(self.name);
        message(writer, self.schema);
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            id: reader.u32("collection")?,
            m: reader.u16("m")?,
            ef_construction: reader.u16("ef_construction")?,
            fingerprint: reader.u64("fingerprint")?,
            rows: reader.u64("rows")?,
            deleted: reader.u64("deleted rows")?,
            indexed: reader.u64("indexed rows")?,
            name: collection_name(reader)?,
            schema: {
                let schema_len = reader.u32("schema length")?;
                reader.bytes(u64::from(schema_len), "schema")?
            },
        })
    }
}

/// Reply to LIST: the collections in the order of their numbers, without their schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List<'a> {
    count: u32,
    infos: &'a [u8],
}

impl<'a> List<'a> {
    /// Appends the body.
    pub fn encode<'b>(infos: impl ExactSizeIterator<Item = CollectionInfo<'b>>, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        let count = u32::try_from(infos.len()).expect("bounded by COLLECTIONS_MAX");
        writer.u32(count).u32(0);
        for info in infos {
            CollectionInfo { schema: &[], ..info }.write(&mut writer);
        }
    }

    /// Reads the body, every collection of it.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let count = reader.u32("collections")?;
        if count as usize > COLLECTIONS_MAX {
            let limit = COLLECTIONS_MAX as u64;
            return Err(FrameError::Limit { what: "collections", value: u64::from(count), limit });
        }
        reader.zeros(4, "reserved")?;
        let infos = &body[reader.position()..];
        for _ in 0..count {
            CollectionInfo::read(&mut reader)?;
        }
        reader.finish()?;
        Ok(Self { count, infos })
    }

    /// The collections.
    pub fn iter(&self) -> impl Iterator<Item = CollectionInfo<'a>> + use<'a> {
        let mut reader = Reader::new(self.infos);
        (0..self.count).map(move |_| CollectionInfo::read(&mut reader).expect("read once by decode"))
    }
}

/// WAIT_INDEXED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitIndexed {
    /// How long the server may hold the answer back, in ms; 0 asks for the state now.
    pub timeout_ms: u32,
}

impl WaitIndexed {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).u32(self.timeout_ms);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let timeout_ms = reader.u32("timeout")?;
        reader.finish()?;
        Ok(Self { timeout_ms })
    }
}

/// Reply to WAIT_INDEXED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexStatus {
    /// Live rows that the graph holds.
    pub indexed: u64,
    /// Live rows.
    pub rows: u64,
    /// Whether every row that was there when the request came is in the graph.
    pub done: bool,
}

impl IndexStatus {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).u64(self.indexed).u64(self.rows).u8(u8::from(self.done)).zeros(7);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let indexed = reader.u64("indexed rows")?;
        let rows = reader.u64("rows")?;
        let done = match reader.u8("done")? {
            0 => false,
            1 => true,
            _ => return Err(FrameError::Field { field: "done", problem: "neither 0 nor 1" }),
        };
        reader.zeros(7, "reserved")?;
        reader.finish()?;
        Ok(Self { indexed, rows, done })
    }
}

/// Reply to SNAPSHOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotDone {
    /// Bytes written.
    pub bytes: u64,
    /// Time it took, in µs.
    pub took_us: u64,
}

impl SnapshotDone {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).u64(self.bytes).u64(self.took_us);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let (bytes, took_us) = (reader.u64("bytes")?, reader.u64("time")?);
        reader.finish()?;
        Ok(Self { bytes, took_us })
    }
}

fn message(writer: &mut Writer<'_>, bytes: &[u8]) {
    let count = u32::try_from(bytes.len()).expect("bounded by the limit of a frame");
    writer.u32(count).bytes(bytes);
}

fn collection_name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, FrameError> {
    let name = reader.text(NAME_BYTES_MAX, "collection name")?;
    if name.is_empty() {
        return Err(FrameError::Field { field: "collection name", problem: "is empty" });
    }
    Ok(name)
}
