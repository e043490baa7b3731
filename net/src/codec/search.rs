//! SEARCH, the request: one query or a batch of them. `found` has the reply.

use engine::limits::{DIMENSION_MAX, QUERIES_MAX};
use kernels::ElementKind;

use super::fields::{Reader, Writer, read_filter, read_options, write_filter, write_options};
use super::header::FrameError;
use super::ids::Columns;

const EXACT: u8 = 1 << 0;

/// The request.
///
/// ```text
/// column u16 | element kind u8 | flags u8 (1 exact) | k u32 | ef u32 | queries u32 | dimension u32
/// columns of the reply | zero padding to a multiple of 8 | queries × one vector, packed | filter length u32 | filter
/// options length u32 | options
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
    /// JSON, as [`engine::search::SearchOptions`] reads it; empty for a plain search.
    pub options: &'a [u8],
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
        write_options(self.options, &mut writer);
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
        let options = read_options(&mut reader)?;
        reader.finish()?;
        let exact = flags & EXACT != 0;
        Ok(Self { column, kind, exact, k, ef, queries, dimension, columns, vectors, filter, options })
    }

    /// The vector of each query.
    pub fn vectors(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.vectors.chunks_exact(self.kind.bytes(self.dimension as usize).max(1))
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
