//! SEARCH: one query or a batch of them.

use engine::ids::IdsView;
use engine::limits::{DIMENSION_MAX, QUERIES_MAX};
use engine::schema::{IdKind, IdRef};
use kernels::ElementKind;

use super::fields::{MESSAGE_ALIGNMENT, Reader, Writer, packed_u32s, read_filter, write_filter};
use super::header::FrameError;
use super::ids::{Columns, read_ids, write_ids};
use super::rows::read_message;

const EXACT: u8 = 1 << 0;

/// The request.
///
/// ```text
/// column u16 | element kind u8 | flags u8 (1 exact) | k u32 | ef u32 | queries u32 | dimension u32
/// columns of the reply | zero padding to a multiple of 8 | queries × one vector, packed | filter length u32 | filter
/// ```
///
/// The codec checks that the vectors fill what queries, kind and dimension say; `k`, `ef` and the fit to the column are the
/// engine's to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search<'a> {
    /// Place of the vector column in the schema.
    pub column: u16,
    /// Element type of the queries, that of the column.
    pub kind: ElementKind,
    /// Scan all rows instead of asking the graph.
    pub exact: bool,
    /// Results per query.
    pub k: u32,
    /// Candidates per query, 0 for the server's default.
    pub ef: u32,
    /// Number of queries.
    pub queries: u32,
    /// Elements of a vector.
    pub dimension: u32,
    /// Columns of the reply; [`Columns::NONE`] for ids and distances only.
    pub columns: Columns<'a>,
    /// The queries' vectors, one behind the other.
    pub vectors: &'a [u8],
    /// JSON; empty where every row may be found.
    pub filter: &'a [u8],
}

impl<'a> Search<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u16(self.column).u8(kind_code(self.kind)).u8(if self.exact { EXACT } else { 0 });
        writer.u32(self.k).u32(self.ef).u32(self.queries).u32(self.dimension);
        self.columns.write(&mut writer);
        writer.align(8).bytes(self.vectors);
        write_filter(self.filter, &mut writer);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let column = reader.u16("column")?;
        let kind = kind_of(reader.u8("element kind")?)?;
        let flags = reader.u8("flags")?;
        if flags & !EXACT != 0 {
            return Err(FrameError::Field { field: "flags", problem: "unknown bit" });
        }
        let (k, ef) = (reader.u32("k")?, reader.u32("ef")?);
        let queries = reader.u32("queries")?;
        let dimension = reader.u32("dimension")?;
        let columns = Columns::read(&mut reader)?;
        reader.align(8)?;
        let vectors = reader.bytes(vectors_bytes(kind, queries, dimension)?, "query vectors")?;
        let filter = read_filter(&mut reader)?;
        reader.finish()?;
        Ok(Self { column, kind, exact: flags & EXACT != 0, k, ef, queries, dimension, columns, vectors, filter })
    }

    /// The vector of each query.
    pub fn vectors(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.vectors.chunks_exact(self.kind.bytes(self.dimension as usize).max(1))
    }
}

/// What stands before the optional message in the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundPrefix<'p> {
    /// Results per query that were asked for.
    pub k: u32,
    /// Live rows that the graph did not hold yet; they were scanned.
    pub index_lag: u64,
    /// Results of each query.
    pub counts: &'p [u32],
    /// Kind of the collection's ids.
    pub id_kind: IdKind,
    /// Bytes of the message that is appended behind; 0 when no column was asked for.
    pub message_len: u64,
}

impl FoundPrefix<'_> {
    /// Appends the prefix and its padding. Distances and ids come query by query, nearest first.
    pub fn encode<'b>(
        &self,
        distances: impl ExactSizeIterator<Item = f32>,
        ids: impl ExactSizeIterator<Item = IdRef<'b>> + Clone,
        out: &mut Vec<u8>,
    ) {
        let total: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        assert!(total == distances.len() as u64, "a distance for each result");
        assert!(total == ids.len() as u64, "an id for each result");
        let mut writer = Writer::new(out);
        writer.u32(self.counts.len() as u32).u32(self.k).u64(self.index_lag).u64(0).u64(self.message_len);
        for &count in self.counts {
            writer.u32(count);
        }
        for distance in distances {
            writer.u32(distance.to_bits());
        }
        write_ids(self.id_kind, ids, &mut writer);
        writer.align(MESSAGE_ALIGNMENT);
    }

    /// Bytes of the reply's body up to the message, for ids with `id_text_bytes` bytes of text in all (0 for u64).
    pub fn bytes(queries: usize, results: usize, id_kind: IdKind, id_text_bytes: usize) -> usize {
        let ids = match id_kind {
            IdKind::U64 => results * 8,
            IdKind::Utf8 => (results + 1) * 4 + id_text_bytes,
        };
        (32 + queries * 4 + results * 4 + 8 + ids).next_multiple_of(MESSAGE_ALIGNMENT)
    }
}

/// The reply.
///
/// ```text
/// queries u32 | k u32 | index_lag u64 | 0 u64 | message_len u64
/// results of each query u32 × queries | distance f32 × results | ids | zero padding to a multiple of 64 | message
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// Results per query that were asked for.
    pub k: u32,
    /// Live rows that the graph did not hold yet; they were scanned.
    pub index_lag: u64,
    counts: &'a [u8],
    distances: &'a [u8],
    /// The id of each result, query by query, nearest first.
    pub ids: IdsView<'a>,
    /// Arrow IPC record batch message with the asked columns, a row for each result in the order of the ids; may be empty.
    pub message: &'a [u8],
}

impl<'a> Found<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let queries = reader.u32("queries")?;
        let k = reader.u32("k")?;
        let index_lag = reader.u64("index lag")?;
        reader.zeros(8, "reserved")?;
        let message_len = reader.u64("message length")?;
        let counts = reader.bytes(u64::from(queries) * 4, "result counts")?;
        if packed_u32s(counts).any(|count| count > k) {
            return Err(FrameError::Field { field: "result counts", problem: "more than k" });
        }
        let total = packed_u32s(counts).try_fold(0_u64, |sum, count| sum.checked_add(u64::from(count)));
        let distances_bytes = total.and_then(|total| total.checked_mul(4)).unwrap_or(u64::MAX);
        let distances = reader.bytes(distances_bytes, "distances")?;
        let ids = read_ids(&mut reader, u64::from(u32::MAX))?;
        if ids.len() * 4 != distances.len() {
            return Err(FrameError::Field { field: "ids", problem: "not one for each result" });
        }
        let message = read_message(&mut reader, message_len)?;
        reader.finish()?;
        Ok(Self { k, index_lag, counts, distances, ids, message })
    }

    /// Results of each query.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        packed_u32s(self.counts)
    }

    /// The distance of each result, query by query, nearest first.
    pub fn distances(&self) -> impl ExactSizeIterator<Item = f32> + use<'a> {
        packed_u32s(self.distances).map(f32::from_bits)
    }
}

/// Number of an element kind on the wire.
pub fn kind_code(kind: ElementKind) -> u8 {
    match kind {
        ElementKind::F32 => 0,
        ElementKind::F16 => 1,
        ElementKind::I8 => 2,
        ElementKind::U8 => 3,
        ElementKind::Bits => 4,
        ElementKind::Bf16 => 5,
        ElementKind::I32 => 6,
        ElementKind::Code8 | ElementKind::Code4 | ElementKind::Code1 => unreachable!("codes stay inside the engine"),
    }
}

fn kind_of(code: u8) -> Result<ElementKind, FrameError> {
    Ok(match code {
        0 => ElementKind::F32,
        1 => ElementKind::F16,
        2 => ElementKind::I8,
        3 => ElementKind::U8,
        4 => ElementKind::Bits,
        5 => ElementKind::Bf16,
        6 => ElementKind::I32,
        _ => return Err(FrameError::Field { field: "element kind", problem: "unknown number" }),
    })
}

fn vectors_bytes(kind: ElementKind, queries: u32, dimension: u32) -> Result<u64, FrameError> {
    let bounded = |what, value: u32, limit: usize| {
        if value as usize > limit {
            return Err(FrameError::Limit { what, value: u64::from(value), limit: limit as u64 });
        }
        Ok(value)
    };
    let queries = bounded("queries", queries, QUERIES_MAX)?;
    let dimension = bounded("dimension", dimension, DIMENSION_MAX)?;
    if dimension == 0 {
        return Err(FrameError::Field { field: "dimension", problem: "is 0" });
    }
    if kind == ElementKind::Bits && !dimension.is_multiple_of(8) {
        return Err(FrameError::Field { field: "dimension", problem: "of bits is not a multiple of 8" });
    }
    Ok(u64::from(queries) * kind.bytes(dimension as usize) as u64)
}
