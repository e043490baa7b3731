//! Readers of the files that can be imported. Each gives record batches in the shape of a collection:
//! an id column, one or more vector columns, and the other columns in types that the server stores.
//!
//! ```text
//! file ── parquet | json_lines | npy ──► batches as the file has them ── mapping ──► batches of the collection
//! ```

mod edges;
mod element;
mod json_columns;
mod json_lines;
mod levels;
mod mapping;
mod npy;
mod parquet;
mod parquet_vectors;
mod prefetch;
mod vectors;

use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{Error, FileProblem, Place, Result};

pub use edges::EdgeOptions;
pub use element::{ElementType, widened as widened_bf16};
pub use mapping::conform;
pub use npy::read_queries as read_npy_queries;
pub use parquet::read_columns as read_parquet_columns;
pub use prefetch::prefetch;
pub use vectors::{query_bytes, vector_bytes};

/// Metadata key of a field: `id` or `vector`.
pub const ROLE: &str = "broadhead.role";
/// Metadata key of a vector field: the metric.
pub const METRIC: &str = "broadhead.metric";
/// Metadata key of a vector field: what its graph is traversed on.
pub const CODES: &str = "broadhead.codes";
/// Metadata key of a vector field: candidates ranked again for each result.
pub const RERANK: &str = "broadhead.rerank";
/// Metadata key of a vector field: where its full vectors are kept.
pub const PLACE: &str = "broadhead.vectors";
/// Metadata key of a vector field: the element type, where Arrow's does not tell it.
pub const ELEMENT: &str = "broadhead.element";
/// Name of the vector column of a file that does not name it.
pub const VECTOR_NAME: &str = "embedding";
/// Name of the id column where row numbers are the ids.
pub const ID_NAME: &str = "id";

/// What a graph is traversed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Codes {
    /// Half a byte an element.
    Int4,
    /// One byte an element.
    Int8,
    /// A bit an element, its sign; under cosine alone.
    Binary,
    /// The vectors themselves.
    None,
}

impl Codes {
    /// As in a field's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Codes::Int4 => "int4",
            Codes::Int8 => "int8",
            Codes::Binary => "binary",
            Codes::None => "none",
        }
    }
}

/// Where the full vectors of indexed rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Medium {
    /// In memory, beside their codes.
    Memory,
    /// In a file; codes and links alone are in memory.
    Disk,
}

impl Medium {
    /// As in a field's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Medium::Memory => "memory",
            Medium::Disk => "disk",
        }
    }
}

/// How nearness is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// Angle: 1 - cosine.
    Cosine,
    /// Squared euclidean distance.
    L2,
    /// Inner product; larger is nearer.
    Dot,
    /// Differing bits; for binary vectors.
    Hamming,
}

impl Metric {
    /// As in a field's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Cosine => "cosine",
            Metric::L2 => "l2",
            Metric::Dot => "dot",
            Metric::Hamming => "hamming",
        }
    }
}

/// How vectors are coded and kept; what is not said is the server's default.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Coding {
    /// What the graph is traversed on, for a new collection [default: int4 from 256 elements on, int8 below; the vectors themselves
    /// where they are i8, u8 or bits]
    #[arg(long, value_enum)]
    pub codes: Option<Codes>,
    /// Candidates by codes that are ranked again by their full vectors for each result, for a new collection [default: 2 with int8
    /// codes, 4 with int4, 10 with binary]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub rerank: Option<u8>,
    /// Where the full vectors of indexed rows are kept, for a new collection [default: memory]
    #[arg(long, value_enum, value_name = "MEDIUM")]
    pub vectors_on: Option<Medium>,
}

/// How a file becomes a collection.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Column of the ids; none: `id` if there is one, else row numbers.
    pub id: Option<String>,
    /// Columns of vectors; none: the only one there is.
    pub vectors: Vec<String>,
    /// Metric of every vector column.
    pub metric: Metric,
    /// Element type of every vector column; none: the file's.
    pub element: Option<ElementType>,
    /// How the vectors of every column are coded and kept.
    pub coding: Coding,
    /// Whether the rows are edges, and what says so.
    pub edges: EdgeOptions,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Numbers that are ids are i64, and may be negative; else they are u64.
    pub signed_ids: bool,
    /// Number of the first row, where row numbers are the ids and several files are read.
    pub first_row: u64,
}

/// A file, open for import.
pub struct Source {
    /// Schema of the batches, roles and metric in the fields' metadata.
    pub schema: SchemaRef,
    /// What the user should know of: dropped columns, converted types.
    pub notes: Vec<String>,
    /// Rows in all, where the format tells it beforehand.
    pub rows: Option<u64>,
    /// Batches, each checked: ids and vectors are there, finite, and not zero where the metric is cosine.
    pub batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
    /// The row numbers are the ids.
    pub is_numbered: bool,
}

/// Opens a file by its name's ending.
pub fn open(path: &Path, options: &SourceOptions) -> Result<Source> {
    let source = match path.extension().and_then(|ending| ending.to_str()) {
        Some("parquet" | "pq") => parquet::open(path, options),
        Some("jsonl" | "ndjson" | "json") => json_lines::open(path, options),
        Some("npy") => npy::open(path, options),
        _ => Err(Error::file(path)(FileProblem::UnknownFormat)),
    }?;
    if options.edges.are_given() { options.edges.apply(source, path, options.signed_ids) } else { Ok(source) }
}

/// Where the rows of a batch are in their file.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub path: PathBuf,
    pub rows: Rows,
}

/// The places of a batch's rows.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// Rows from this one on.
    From(u64),
    /// Lines, one a row.
    Lines(Vec<u64>),
}

impl Position {
    /// Place of the batch's row `row`.
    pub fn place(&self, row: usize) -> Place {
        match &self.rows {
            Rows::From(first) => Place::Row(first + row as u64),
            Rows::Lines(lines) => Place::Line(lines[row]),
        }
    }
}

/// Role of a field, if it has one.
pub fn role(field: &Field) -> Option<&str> {
    field.metadata().get(ROLE).map(String::as_str)
}

/// Index of the id column of a collection's schema.
pub fn id_column(schema: &Schema) -> usize {
    let by_role = schema.fields().iter().position(|field| role(field) == Some("id"));
    by_role.or_else(|| schema.index_of(ID_NAME).ok()).unwrap_or(0)
}

/// Indices of the vector columns of a collection's schema.
pub fn vector_columns(schema: &Schema) -> Vec<usize> {
    let id = id_column(schema);
    let is_vector = |field: &Field| role(field) == Some("vector") || vectors::dimension(field.data_type()).is_some();
    schema
        .fields()
        .iter()
        .enumerate()
        .filter(|(index, field)| *index != id && is_vector(field))
        .map(|(index, _)| index)
        .collect()
}

/// A column of lists of one length, whichever list type the file has, as a fixed-size list or fixed-size binary.
pub fn fixed_vectors(path: &Path, array: &ArrayRef, column: &str) -> Result<ArrayRef> {
    let length = match array.data_type() {
        DataType::List(_) if !array.is_empty() => array.as_list::<i32>().value_length(0),
        DataType::LargeList(_) if !array.is_empty() => array.as_list::<i64>().value_length(0) as i32,
        DataType::FixedSizeList(_, length) => *length,
        _ => 0,
    };
    let wrong = || FileProblem::VectorType { column: column.to_owned(), found: array.data_type().to_string() };
    let stored = vectors::stored_type(array.data_type(), length, None).ok_or_else(wrong).map_err(Error::file(path))?;
    let position = Position { path: path.to_owned(), rows: Rows::From(0) };
    vectors::to_stored(array, &stored, column, &position)
}
