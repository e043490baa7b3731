//! One column: how its bytes lie, and what it is for.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, TimeUnit};
use kernels::{ElementKind, Metric};

use super::edges::EDGE_ROLES;
use crate::analyser::{ANALYSER_KEY, Analyser};
use crate::error::{Error, Result};
use crate::limits::{DIMENSION_MAX, EF_CONSTRUCTION_MAX, EF_MAX, M_MAX, NAME_BYTES_MAX, RERANK_MAX};

/// Metadata key of an Arrow field: `id` or `vector`.
pub const ROLE_KEY: &str = "broadhead.role";
/// Metadata key of an Arrow field: `cosine`, `l2`, `dot` or `hamming`.
pub const METRIC_KEY: &str = "broadhead.metric";

/// Metadata key of an Arrow field: the element type of a vector, as in `vector[element,dimension]` of the fingerprint. Arrow has no
/// bf16: its bits are in a list of u16, and only this tells that they are no integers.
pub const ELEMENT_KEY: &str = "broadhead.element";

/// Metadata key of an Arrow field: the codes that a vector column is traversed on, `int8`, `int4`, `binary` or `none`.
pub const CODES_KEY: &str = "broadhead.codes";

/// Metadata key of an Arrow field: how many candidates by codes are ranked again by full vectors for each result wanted.
pub const RERANK_KEY: &str = "broadhead.rerank";

/// Metadata key of an Arrow field: where the full vectors of indexed rows are, `memory` or `disk`.
pub const PLACE_KEY: &str = "broadhead.vectors";
/// Metadata key of an Arrow field: the index of a vector, `hnsw` or `flat`.
pub const INDEX_KEY: &str = "broadhead.index";
/// Metadata key of an Arrow field: links of a node of its graph on the upper layers, where they are not the collection's.
pub const M_KEY: &str = "broadhead.m";
/// Metadata key of an Arrow field: candidates held while a node is inserted into its graph, where they are not the collection's.
pub const EF_CONSTRUCTION_KEY: &str = "broadhead.ef_construction";

/// Metadata key of an Arrow field of utf8: `json`, where each text is JSON.
pub const TYPE_KEY: &str = "broadhead.type";

/// Metadata key of an Arrow field: `eager` where its texts are indexed before they are first searched.
pub const TEXT_KEY: &str = "broadhead.text";

/// Elements from which on a vector gets 4-bit codes unless its column says otherwise. The error of an inner product of codes falls with
/// the root of the dimension, and shorter vectors have little to gain: their int8 codes fill few cache lines.
const INT4_DIMENSION_MIN: usize = 256;
/// Candidates that are ranked again besides those for each result.
const RERANK_MORE: usize = 10;
/// A vector that fits a cache line gets no codes: they would save nothing.
const CACHE_LINE_BYTES: usize = 64;

/// How the values of a column lie in memory, on the wire and in the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One bit a row in Arrow.
    Bool,
    /// `bytes` a row, little endian.
    Fixed {
        /// Width of a value.
        bytes: usize,
    },
    /// Offsets (i32 in Arrow) and UTF-8 bytes.
    Utf8,
    /// A list of texts a row: offsets (i32 in Arrow), and the texts as a child column. None of them is null.
    Utf8List,
    /// A vector as Arrow's `FixedSizeList`: the elements are a child column.
    VectorList {
        /// Bytes of a row.
        bytes: usize,
        /// Elements of a row.
        elements: usize,
    },
    /// A vector as Arrow's `FixedSizeBinary`.
    VectorBinary {
        /// Bytes of a row.
        bytes: usize,
    },
}

impl Layout {
    /// Layout of an Arrow type; None where the type is not supported.
    pub fn of(data_type: &DataType) -> Option<Layout> {
        let fixed = |bytes| Some(Layout::Fixed { bytes });
        match data_type {
            DataType::Boolean => Some(Layout::Bool),
            DataType::Int8 | DataType::UInt8 => fixed(1),
            DataType::Int16 | DataType::UInt16 => fixed(2),
            DataType::Int32 | DataType::UInt32 | DataType::Float32 | DataType::Date32 => fixed(4),
            DataType::Int64 | DataType::UInt64 | DataType::Float64 | DataType::Timestamp(..) => fixed(8),
            DataType::Utf8 => Some(Layout::Utf8),
            DataType::List(item) if *item.data_type() == DataType::Utf8 => Some(Layout::Utf8List),
            DataType::FixedSizeList(item, elements) => {
                let width = element_kind(item.data_type())?.bytes(1);
                let elements = usize::try_from(*elements).ok()?;
                Some(Layout::VectorList { bytes: elements.checked_mul(width)?, elements })
            }
            DataType::FixedSizeBinary(bytes) => Some(Layout::VectorBinary { bytes: usize::try_from(*bytes).ok()? }),
            _ => None,
        }
    }

    /// Bytes of a row where every row has the same number; None for bits and text.
    pub fn row_bytes(self) -> Option<usize> {
        match self {
            Layout::Bool | Layout::Utf8 | Layout::Utf8List => None,
            Layout::Fixed { bytes } | Layout::VectorList { bytes, .. } | Layout::VectorBinary { bytes } => Some(bytes),
        }
    }

    /// Whether rows are of any length, and lie in a heap.
    pub fn is_text(self) -> bool {
        matches!(self, Layout::Utf8 | Layout::Utf8List)
    }

    /// Whether this is a vector layout.
    pub fn is_vector(self) -> bool {
        matches!(self, Layout::VectorList { .. } | Layout::VectorBinary { .. })
    }
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The key of the rows.
    Id,
    /// Searchable vectors.
    Vector,
    /// Anything else.
    Data,
}

/// A column of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name, unique in its schema.
    pub name: String,
    /// How its values lie.
    pub layout: Layout,
    /// Whether null is a value; never for ids and vectors.
    pub nullable: bool,
    /// What it is for.
    pub role: Role,
    /// Whether each text of it is JSON.
    pub is_json: bool,
}

/// Type of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// Unsigned 64-bit.
    U64,
    /// Signed 64-bit.
    I64,
    /// Text.
    Utf8,
}

/// An id, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdRef<'a> {
    /// Unsigned 64-bit.
    U64(u64),
    /// Signed 64-bit.
    I64(i64),
    /// Text.
    Utf8(&'a str),
}

impl IdKind {
    /// Kind of an Arrow type; None where ids are of no such type.
    pub fn of(data_type: &DataType) -> Option<IdKind> {
        match data_type {
            DataType::UInt64 => Some(IdKind::U64),
            DataType::Int64 => Some(IdKind::I64),
            DataType::Utf8 => Some(IdKind::Utf8),
            _ => None,
        }
    }
}

impl IdRef<'static> {
    /// An id of a kind of numbers, from its eight bytes, little endian.
    ///
    /// # Panics
    /// For the kind of text.
    #[inline]
    pub fn from_bytes(kind: IdKind, bytes: [u8; 8]) -> IdRef<'static> {
        match kind {
            IdKind::U64 => IdRef::U64(u64::from_le_bytes(bytes)),
            IdKind::I64 => IdRef::I64(i64::from_le_bytes(bytes)),
            IdKind::Utf8 => unreachable!("a text has no eight bytes"),
        }
    }
}

impl std::fmt::Display for IdRef<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IdRef::U64(id) => id.fmt(formatter),
            IdRef::I64(id) => id.fmt(formatter),
            IdRef::Utf8(id) => id.fmt(formatter),
        }
    }
}

/// What a graph over a vector column is traversed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// The vectors themselves.
    None,
    /// One byte an element.
    Int8,
    /// Half a byte an element.
    Int4,
    /// A bit an element: its sign. Under cosine alone, since a vector's length is lost.
    Binary,
}

impl Codes {
    /// Representation of a code; None where there is none.
    pub fn kind(self) -> Option<ElementKind> {
        match self {
            Codes::None => None,
            Codes::Int8 => Some(ElementKind::Code8),
            Codes::Int4 => Some(ElementKind::Code4),
            Codes::Binary => Some(ElementKind::Code1),
        }
    }

    /// Candidates by codes that are ranked again by their full vectors for each result, where the column does not say. Codes order
    /// candidates nearly as the full vectors do, the smaller the less.
    pub fn default_rerank(self) -> usize {
        match self {
            Codes::None => 1,
            Codes::Int8 => 2,
            Codes::Int4 => 4,
            Codes::Binary => 10,
        }
    }

    /// Candidates that are ranked again for `k` results, `rerank` for each.
    pub fn rerank_depth(self, rerank: usize, k: usize) -> usize {
        if self == Codes::None { k } else { rerank * k + RERANK_MORE }
    }

    /// What a column gets that does not say.
    pub fn default_of(kind: ElementKind, dimension: usize) -> Codes {
        if !Codes::can_be_of(kind) || kind.bytes(dimension) <= CACHE_LINE_BYTES {
            Codes::None
        } else if dimension < INT4_DIMENSION_MIN {
            Codes::Int8
        } else {
            Codes::Int4
        }
    }

    /// Whether there are codes of such elements.
    pub fn can_be_of(kind: ElementKind) -> bool {
        matches!(kind, ElementKind::F32 | ElementKind::F16 | ElementKind::Bf16 | ElementKind::I32)
    }

    /// Name, as in the metadata of a field.
    pub fn name(self) -> &'static str {
        match self {
            Codes::None => "none",
            Codes::Int8 => "int8",
            Codes::Int4 => "int4",
            Codes::Binary => "binary",
        }
    }

    /// Codes of a name, as in the metadata of a field.
    pub fn from_name(name: &str) -> Option<Codes> {
        [Codes::None, Codes::Int8, Codes::Int4, Codes::Binary].into_iter().find(|codes| codes.name() == name)
    }
}

/// What a vector column says of its index. What it does not say is as the collection has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexOptions {
    /// It has no graph: every search compares all rows.
    pub flat: bool,
    /// Links of a node on the upper layers; twice as many on layer 0.
    pub m: Option<u16>,
    /// Candidates held while a node is inserted.
    pub ef_construction: Option<u16>,
}

/// What a search needs to know of a vector column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorColumn {
    /// Column index in the schema.
    pub column: usize,
    /// Its name.
    pub name: String,
    /// Element type.
    pub kind: ElementKind,
    /// Elements (for bits: bits) of a vector.
    pub dimension: usize,
    /// Its distance.
    pub metric: Metric,
    /// What a graph over it is traversed on.
    pub codes: Codes,
    /// Candidates by codes that are ranked again by their full vectors for each result.
    pub rerank: usize,
    /// Whether the full vectors of indexed rows leave memory.
    pub on_disk: bool,
    /// Its index.
    pub index: IndexOptions,
}

impl VectorColumn {
    /// Bytes of one vector.
    pub fn row_bytes(&self) -> usize {
        self.kind.bytes(self.dimension)
    }

    /// Whether codes stand beside the vectors for traversal.
    pub fn has_codes(&self) -> bool {
        self.codes != Codes::None
    }

    /// Candidates by codes that are ranked again by their full vectors for `k` results.
    pub fn rerank_depth(&self, k: usize) -> usize {
        self.codes.rerank_depth(self.rerank, k)
    }

    /// Fewest candidates of a graph search for `k` results. Signs order neighbours so roughly that those which are to be ranked again
    /// have to be found first.
    pub fn ef_min(&self, k: usize) -> usize {
        if self.codes == Codes::Binary { self.rerank_depth(k).min(EF_MAX) } else { k }
    }

    /// Bytes of the code of one vector; 0 where there are no codes.
    pub fn code_bytes(&self) -> usize {
        self.codes.kind().map_or(0, |kind| kind.bytes(self.dimension))
    }
}

/// An Arrow field read as a column of ours.
pub(super) struct Parsed {
    pub column: Column,
    pub vector: Option<VectorColumn>,
    /// How its texts are taken apart, where it says so.
    pub analyser: Option<Analyser>,
    /// The field with what is implied written out.
    pub field: Field,
}

/// Reads the field of a column. `has_explicit_id`: another field says that it is the id, so the name `id` means nothing.
pub(super) fn parse_field(field: &Field, index: usize, has_explicit_id: bool) -> Result<Parsed> {
    let name = field.name();
    let fail = |problem| Err(Error::InvalidSchema { column: name.clone(), problem });
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return fail("a column name has 1 to 128 bytes");
    }
    let Some(layout) = Layout::of(field.data_type()) else {
        return fail(
            "the type is not supported: bool, integers, f32, f64, date32, timestamp, utf8, list of utf8, and vectors as fixed size list of f32, f16, i8, u8, i32, and of u16 for bf16 are",
        );
    };
    let role = match field.metadata().get(ROLE_KEY).map(String::as_str) {
        Some("id") => Role::Id,
        Some("vector") => Role::Vector,
        Some("data") if !layout.is_vector() => Role::Data,
        Some(role) if EDGE_ROLES.contains(&role) && !layout.is_vector() => Role::Data,
        Some(_) => {
            return fail(
                "the role is none of id, vector, data, edge_from, edge_to, edge_type, edge_weight, or not one that this type can have",
            );
        }
        None if matches!(layout, Layout::VectorList { .. }) => Role::Vector,
        None if name == "id" && !has_explicit_id => Role::Id,
        None => Role::Data,
    };
    let vector = match role {
        Role::Vector => Some(parse_vector(field, index)?),
        Role::Id if IdKind::of(field.data_type()).is_none() => {
            return fail("an id is u64, i64 or utf8");
        }
        Role::Data if layout.is_vector() => {
            return fail("fixed size binary is for bit vectors: set the role to vector");
        }
        Role::Id | Role::Data => None,
    };
    let only_of_vectors = [
        (METRIC_KEY, "only a vector has a metric"),
        (CODES_KEY, "only a vector has codes"),
        (ELEMENT_KEY, "only a vector has an element type"),
        (RERANK_KEY, "only a vector is ranked again"),
        (PLACE_KEY, "only a vector can be kept on disk"),
        (INDEX_KEY, "only a vector has an index"),
        (M_KEY, "only a vector has a graph"),
        (EF_CONSTRUCTION_KEY, "only a vector has a graph"),
    ];
    if field.metadata().contains_key(ANALYSER_KEY) || field.metadata().contains_key(TEXT_KEY) {
        if layout != Layout::Utf8 || role != Role::Data {
            return fail("only a column of text is searched by its words");
        }
        if field.metadata().get(TEXT_KEY).is_some_and(|text| text != "eager") {
            return fail("texts are indexed `eager`, or when they are first searched");
        }
    }
    let analyser = match field.metadata().get(ANALYSER_KEY).map(|text| Analyser::parse(text)) {
        Some(Err(problem)) => return fail(problem),
        told => told.transpose().ok().flatten(),
    };
    for (key, problem) in only_of_vectors {
        if vector.is_none() && field.metadata().contains_key(key) {
            return fail(problem);
        }
    }
    let is_json = match field.metadata().get(TYPE_KEY).map(String::as_str) {
        None => false,
        Some("json") if layout == Layout::Utf8 && role == Role::Data => true,
        Some("json") => return fail("only a utf8 column that is no id can hold JSON"),
        Some(_) => return fail("broadhead.type is not json"),
    };
    let is_end = field.metadata().get(ROLE_KEY).is_some_and(|role| role == "edge_from" || role == "edge_to");
    let nullable = field.is_nullable() && role == Role::Data && !is_end;
    let column = Column { name: name.clone(), layout, nullable, role, is_json };
    let field = normalise(field, &column, vector.as_ref());
    Ok(Parsed { column, vector, analyser, field })
}

fn parse_vector(field: &Field, index: usize) -> Result<VectorColumn> {
    let fail = |problem| Err(Error::InvalidSchema { column: field.name().clone(), problem });
    let (kind, dimension) = match field.data_type() {
        DataType::FixedSizeList(item, elements) => {
            let kind = element_kind(item.data_type()).expect("the layout was made from it");
            (kind, usize::try_from(*elements).unwrap_or(0))
        }
        DataType::FixedSizeBinary(bytes) => (ElementKind::Bits, usize::try_from(*bytes).unwrap_or(0).saturating_mul(8)),
        _ => {
            return fail(
                "a vector is a fixed size list of f32, f16, i8, u8, i32, or u16 for bf16, or fixed size binary for bits",
            );
        }
    };
    match field.metadata().get(ELEMENT_KEY) {
        None if kind == ElementKind::Bf16 => {
            return fail("a list of u16 is a vector of bf16 only with the metadata broadhead.element = bf16");
        }
        Some(name) if name != element_name(kind) => {
            return fail("broadhead.element is not what the type of the column holds");
        }
        _ => {}
    }
    if dimension == 0 || dimension > DIMENSION_MAX {
        return fail("the dimension is out of range");
    }
    let metric = match field.metadata().get(METRIC_KEY).map(String::as_str) {
        None if kind == ElementKind::Bits => Metric::Hamming,
        None => Metric::Cosine,
        Some(text) => match metric_from_name(text) {
            Some(metric) => metric,
            None => return fail("the metric is none of cosine, l2, dot, hamming"),
        },
    };
    if (kind == ElementKind::Bits) != (metric == Metric::Hamming) {
        return fail("hamming is the metric of bits, and of nothing else");
    }
    let index_options = parse_index(field)?;
    let implied = if index_options.flat { Codes::None } else { Codes::default_of(kind, dimension) };
    let codes = match field.metadata().get(CODES_KEY).map(String::as_str) {
        None => implied,
        Some(name) => match Codes::from_name(name) {
            Some(codes) if codes == Codes::None || Codes::can_be_of(kind) => codes,
            Some(_) => return fail("codes are made of f32, f16, bf16 and i32; others are traversed as they are"),
            None => return fail("broadhead.codes is none of int8, int4, binary, none"),
        },
    };
    if index_options.flat && codes != Codes::None {
        return fail("codes are what a graph is traversed on, and a flat column has none");
    }
    if codes == Codes::Binary && metric != Metric::Cosine {
        return fail("binary codes say nothing of a vector's length: their metric is cosine");
    }
    let rerank = match field.metadata().get(RERANK_KEY) {
        None => codes.default_rerank(),
        Some(_) if codes == Codes::None => return fail("without codes there is nothing to rank again"),
        Some(text) => match text.parse() {
            Ok(rerank) if (1..=RERANK_MAX).contains(&rerank) => rerank,
            _ => return fail("broadhead.rerank is not a number from 1 to 100"),
        },
    };
    let on_disk = match field.metadata().get(PLACE_KEY).map(String::as_str) {
        None | Some("memory") => false,
        Some("disk") if codes == Codes::None => {
            return fail("without codes, vectors are traversed themselves and have to be in memory");
        }
        Some("disk") => true,
        Some(_) => return fail("broadhead.vectors is none of memory, disk"),
    };
    let (column, name, index) = (index, field.name().clone(), index_options);
    Ok(VectorColumn { column, name, kind, dimension, metric, codes, rerank, on_disk, index })
}

fn parse_index(field: &Field) -> Result<IndexOptions> {
    let fail = |problem| Err(Error::InvalidSchema { column: field.name().clone(), problem });
    let flat = match field.metadata().get(INDEX_KEY).map(String::as_str) {
        None | Some("hnsw") => false,
        Some("flat") => true,
        Some(_) => return fail("broadhead.index is none of hnsw, flat"),
    };
    let number = |key: &str| field.metadata().get(key).map(|text| text.parse::<u16>().unwrap_or(0));
    let (m, ef_construction) = (number(M_KEY), number(EF_CONSTRUCTION_KEY));
    if flat && (m.is_some() || ef_construction.is_some()) {
        return fail("a flat column has no graph with links");
    }
    if m.is_some_and(|m| !(2..=M_MAX).contains(&usize::from(m))) {
        return fail("broadhead.m is not a number from 2 to 32");
    }
    // That it is not below m is seen when both are known.
    if ef_construction.is_some_and(|ef| !(2..=EF_CONSTRUCTION_MAX).contains(&usize::from(ef))) {
        return fail("broadhead.ef_construction is not a number from 2 to 2,000");
    }
    Ok(IndexOptions { flat, m, ef_construction })
}

/// What the elements of a list are; of u16, if they are a vector at all.
fn element_kind(data_type: &DataType) -> Option<ElementKind> {
    match data_type {
        DataType::Float32 => Some(ElementKind::F32),
        DataType::Float16 => Some(ElementKind::F16),
        DataType::Int8 => Some(ElementKind::I8),
        DataType::UInt8 => Some(ElementKind::U8),
        DataType::Int32 => Some(ElementKind::I32),
        DataType::UInt16 => Some(ElementKind::Bf16),
        _ => None,
    }
}

/// Metric of a name, as in the metadata of a field.
pub fn metric_from_name(name: &str) -> Option<Metric> {
    match name {
        "cosine" => Some(Metric::Cosine),
        "l2" => Some(Metric::L2),
        "dot" => Some(Metric::Dot),
        "hamming" => Some(Metric::Hamming),
        _ => None,
    }
}

/// Name of a metric, as in the metadata of a field.
pub fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "cosine",
        Metric::L2 => "l2",
        Metric::Dot => "dot",
        Metric::Hamming => "hamming",
    }
}

fn normalise(field: &Field, column: &Column, vector: Option<&VectorColumn>) -> Field {
    let mut metadata: HashMap<String, String> = field.metadata().clone().into();
    match column.role {
        Role::Id => metadata.insert(ROLE_KEY.into(), "id".into()),
        Role::Vector => metadata.insert(ROLE_KEY.into(), "vector".into()),
        Role::Data if metadata.get(ROLE_KEY).is_some_and(|role| EDGE_ROLES.contains(&role.as_str())) => None,
        Role::Data => metadata.remove(ROLE_KEY),
    };
    if let Some(vector) = vector {
        metadata.insert(METRIC_KEY.into(), metric_name(vector.metric).into());
        metadata.insert(CODES_KEY.into(), vector.codes.name().into());
    }
    Field::new(&column.name, field.data_type().clone(), column.nullable).with_metadata(metadata)
}

/// Appends the canonical text of a column to `out`; the grammar is in the module documentation of `schema`.
pub(super) fn canonical(parsed: &Parsed, out: &mut String) {
    use std::fmt::Write;
    let column = &parsed.column;
    let role = match column.role {
        Role::Id => "id",
        Role::Vector => "vector",
        Role::Data => "data",
    };
    let metric = parsed.vector.as_ref().map_or("", |vector| metric_name(vector.metric));
    write!(out, "{}:{}|", column.name.len(), column.name).expect("writing to a String");
    match &parsed.vector {
        Some(vector) => {
            write!(out, "vector[{},{}]", element_name(vector.kind), vector.dimension).expect("writing to a String")
        }
        None if column.is_json => out.push_str("json"),
        None => type_name(parsed.field.data_type(), out),
    }
    writeln!(out, "|{}|{role}|{metric}", u8::from(column.nullable)).expect("writing to a String");
}

pub(super) fn element_name(kind: ElementKind) -> &'static str {
    match kind {
        ElementKind::F32 => "f32",
        ElementKind::F16 => "f16",
        ElementKind::Bf16 => "bf16",
        ElementKind::I8 => "i8",
        ElementKind::U8 => "u8",
        ElementKind::I32 => "i32",
        ElementKind::Bits => "bits",
        ElementKind::Code8 | ElementKind::Code4 | ElementKind::Code1 => unreachable!("codes are no column type"),
    }
}

pub(super) fn type_name(data_type: &DataType, out: &mut String) {
    use std::fmt::Write;
    let name = match data_type {
        DataType::Boolean => "bool",
        DataType::Int8 => "i8",
        DataType::Int16 => "i16",
        DataType::Int32 => "i32",
        DataType::Int64 => "i64",
        DataType::UInt8 => "u8",
        DataType::UInt16 => "u16",
        DataType::UInt32 => "u32",
        DataType::UInt64 => "u64",
        DataType::Float32 => "f32",
        DataType::Float64 => "f64",
        DataType::Date32 => "date32",
        DataType::Utf8 => "utf8",
        DataType::List(_) => "list[utf8]",
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                TimeUnit::Second => "s",
                TimeUnit::Millisecond => "ms",
                TimeUnit::Microsecond => "us",
                TimeUnit::Nanosecond => "ns",
            };
            match zone {
                Some(zone) => write!(out, "timestamp[{unit},{}:{zone}]", zone.len()),
                None => write!(out, "timestamp[{unit}]"),
            }
            .expect("writing to a String");
            return;
        }
        _ => unreachable!("not a type that parse_field accepts"),
    };
    out.push_str(name);
}
