//! The schema of a collection: an Arrow schema, read once into what the engine needs.
//!
//! # Columns
//!
//! | column | Arrow type | metadata of the field |
//! |---|---|---|
//! | id, exactly one, never null | u64, i64, utf8 | `broadhead.role` = `id`; implied for a column named `id` |
//! | vector, any number, never null | fixed size list of f32, f16, i8, u8, i32 | `broadhead.role` = `vector`, implied; `broadhead.metric` = `cosine` (default), `l2`, `dot` |
//! | bf16 vector, never null | fixed size list of u16, which hold the bits | as above, and `broadhead.element` = `bf16` |
//! | bit vector, never null | fixed size binary, 8 bits a byte | `broadhead.role` = `vector`; `broadhead.metric` = `hamming` (default) |
//! | data, null allowed | bool, i8–i64, u8–u64, f32, f64, date32, timestamp, utf8, list of utf8 | none, or the role of an edge's column: see `edges` |
//! | JSON, null allowed | utf8 | `broadhead.type` = `json`: each text is checked when it is written |
//!
//! `broadhead.codes` of a vector says what its graph is traversed on: `int4` (half a byte an element, the default of f32, f16, bf16 and
//! i32 from 256 elements on), `int8` (theirs below that), `binary` (a bit an element, under cosine) or `none` (the vectors themselves; the default of vectors of at most 64 bytes,
//! and all that other types have). `broadhead.rerank` (1 to 100; 2 for int8, 4 for int4, 10 for binary) is how many candidates by codes are ranked
//! again by full vectors for each result. `broadhead.vectors` is `memory` (default) or `disk`: then the full vectors of indexed rows are
//! kept in a file, and memory holds the codes alone. `broadhead.index` is `hnsw` (default) or `flat`: then there is no graph, and every search
//! compares all rows. `broadhead.m` (2 to 32) and `broadhead.ef_construction` (up to 2,000, not below m) shape the column's graph where it is not
//! to be as the collection's options say. None of these is part of the fingerprint: batches do not depend on them.
//! `broadhead.element` may name the element type of any vector, as it is in the fingerprint; it must be right.
//!
//! `broadhead.ttl` of a column of dates or timestamps, one in a schema, is a number of seconds: a row is gone so many seconds after its
//! time, one whose time is null never. It is no part of the fingerprint either.
//!
//! `broadhead.analyser` of a column of text says how its words are found (see `text::Analyser`), `broadhead.text` = `eager` that they are
//! indexed before they are first searched. Neither is part of the fingerprint.
//!
//! A nullable id or vector field is accepted and becomes not null. A collection without a vector column has no graph: its rows are
//! read, filtered and counted, and a search of it is refused.
//!
//! # Fingerprint
//!
//! A batch is stored only where its fingerprint is that of the collection. It is xxh3_64 (seed 0) of this text in UTF-8, one line per
//! column in order, lengths in bytes, so that it is the same for every client:
//!
//! ```text
//! column   = length ":" name "|" type "|" nullable "|" role "|" metric "\n"
//! nullable = "0" | "1"
//! role     = "id" | "vector" | "data"
//! metric   = "cosine" | "l2" | "dot" | "hamming" | ""            (empty unless a vector)
//! type     = "bool" | "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "f32" | "f64" | "date32" | "utf8"
//!          | "json" | "list[utf8]"
//!          | "timestamp[" unit "]" | "timestamp[" unit "," length ":" zone "]"
//!          | "vector[" element "," dimension "]"
//! unit     = "s" | "ms" | "us" | "ns"
//! element  = "f32" | "f16" | "bf16" | "i8" | "u8" | "i32" | "bits"     (the dimension of bits counts bits)
//! ```

mod column;
mod edges;
mod evolution;
pub mod json;
mod message;
mod ttl;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

pub use edges::{EDGE_ROLES, EdgeColumns, EdgeWeight, NODES_KEY};

pub use column::{
    CODES_KEY, Codes, Column, EF_CONSTRUCTION_KEY, ELEMENT_KEY, INDEX_KEY, IdKind, IdRef, IndexOptions, Layout, M_KEY,
    METRIC_KEY, PLACE_KEY, RERANK_KEY, ROLE_KEY, Role, TEXT_KEY, TYPE_KEY, VectorColumn, metric_from_name, metric_name,
};

pub use ttl::{TTL_KEY, TimeToLive};

use crate::analyser::Analyser;
use crate::error::{Error, Result};
use crate::limits::COLUMNS_MAX;

/// A checked collection schema.
#[derive(Clone, Debug)]
pub struct Schema {
    arrow: SchemaRef,
    columns: Vec<Column>,
    vectors: Vec<VectorColumn>,
    id_column: usize,
    id_kind: IdKind,
    edges: Option<EdgeColumns>,
    /// Per column: how its texts are taken apart.
    analysers: Vec<Arc<Analyser>>,
    fingerprint: u64,
    /// What it was before columns were added, the newest first.
    older: Vec<Arc<Schema>>,
    ttl: Option<TimeToLive>,
}

impl Schema {
    /// Reads and checks an Arrow schema.
    ///
    /// # Errors
    /// `InvalidSchema`, naming the column; `LimitExceeded` for too many columns.
    pub fn from_arrow(arrow: &arrow::datatypes::Schema) -> Result<Schema> {
        let schema = Schema::of_rows(arrow)?;
        let edges = edges::parse(arrow, &schema.columns, schema.id_column)?;
        Ok(Schema { edges, ..schema })
    }

    /// The schema without what it says of edges: to a batch their columns are as any others.
    fn of_rows(arrow: &arrow::datatypes::Schema) -> Result<Schema> {
        let fields = arrow.fields();
        if fields.len() > COLUMNS_MAX {
            return Err(Error::LimitExceeded {
                what: "number of columns",
                value: fields.len() as u64,
                limit: COLUMNS_MAX as u64,
            });
        }
        let has_explicit_id =
            fields.iter().any(|field| field.metadata().get(ROLE_KEY).is_some_and(|role| role == "id"));
        let mut text = String::new();
        let mut normalised = Vec::with_capacity(fields.len());
        let mut columns: Vec<Column> = Vec::with_capacity(fields.len());
        let mut vectors = Vec::new();
        let mut analysers = Vec::with_capacity(fields.len());
        let standard = Arc::new(Analyser::default());
        let mut ttl = None;
        for (index, field) in fields.iter().enumerate() {
            let parsed = column::parse_field(field, index, has_explicit_id)?;
            if columns.iter().any(|other| other.name == parsed.column.name) {
                return Err(Error::InvalidSchema { column: parsed.column.name, problem: "two columns have this name" });
            }
            if let Some(found) = TimeToLive::of(field, index)?
                && ttl.replace(found).is_some()
            {
                let problem = "two columns have a time to live";
                return Err(Error::InvalidSchema { column: parsed.column.name, problem });
            }
            column::canonical(&parsed, &mut text);
            vectors.extend(parsed.vector);
            analysers.push(parsed.analyser.map_or_else(|| standard.clone(), Arc::new));
            normalised.push(parsed.field);
            columns.push(parsed.column);
        }
        let whole = |problem| Err(Error::InvalidSchema { column: String::new(), problem });
        let mut ids = columns.iter().enumerate().filter(|(_, column)| column.role == Role::Id).map(|(index, _)| index);
        let (id_column, second) = (ids.next(), ids.next());
        let Some(id_column) = id_column else {
            return whole("there is no id column: name it `id` or set the metadata broadhead.role to id");
        };
        if second.is_some() {
            return whole("two columns say that they are the id");
        }
        let id_kind = IdKind::of(normalised[id_column].data_type()).expect("parse_field has looked");
        Ok(Schema {
            arrow: Arc::new(arrow::datatypes::Schema::new_with_metadata(normalised, arrow.metadata().clone())),
            columns,
            vectors,
            id_column,
            id_kind,
            edges: None,
            analysers,
            fingerprint: xxhash_rust::xxh3::xxh3_64(text.as_bytes()),
            older: Vec::new(),
            ttl,
        })
    }

    /// The Arrow schema with roles and metrics written out.
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Identifies the schema to clients; see the module documentation.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The column that rows live by, if there is one.
    pub fn ttl(&self) -> Option<&TimeToLive> {
        self.ttl.as_ref()
    }

    /// All columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Index of the id column.
    pub fn id_column(&self) -> usize {
        self.id_column
    }

    /// Type of the ids.
    pub fn id_kind(&self) -> IdKind {
        self.id_kind
    }

    /// The vector columns, in column order. A vector index is an index into this.
    pub fn vectors(&self) -> &[VectorColumn] {
        &self.vectors
    }

    /// The columns of the edges, where the rows are edges of a graph.
    pub fn edges(&self) -> Option<&EdgeColumns> {
        self.edges.as_ref()
    }

    /// How the texts of a column are taken apart, in its index and by a filter.
    pub fn analyser(&self, column: usize) -> &Arc<Analyser> {
        &self.analysers[column]
    }

    /// Column index of a name.
    ///
    /// # Errors
    /// `UnknownColumn`.
    pub fn column_index(&self, name: &str) -> Result<usize> {
        self.columns
            .iter()
            .position(|column| column.name == name)
            .ok_or_else(|| Error::UnknownColumn { name: name.to_owned() })
    }

    /// Vector index of a column name; None means the first vector column.
    ///
    /// # Errors
    /// `InvalidSearch` where there is no vector column at all, `UnknownColumn` where there is none of that name.
    pub fn vector_index(&self, name: Option<&str>) -> Result<usize> {
        if self.vectors.is_empty() {
            return Err(Error::InvalidSearch { problem: "the collection has no vector column" });
        }
        let Some(name) = name else { return Ok(0) };
        self.vectors
            .iter()
            .position(|vector| vector.name == name)
            .ok_or_else(|| Error::UnknownColumn { name: name.to_owned() })
    }

    /// The schema of batches that have some of the columns, in the order asked for; the id is one of them.
    ///
    /// # Errors
    /// `UnknownColumn`; `MalformedBatch` where one comes twice or the id is missing.
    pub fn partial(&self, columns: &[usize]) -> Result<Schema> {
        if let Some(column) = columns.iter().find(|&&column| column >= self.columns.len()) {
            return Err(Error::UnknownColumn { name: format!("#{column}") });
        }
        if !columns.contains(&self.id_column) {
            return Err(Error::MalformedBatch { problem: "the id is not among its columns" });
        }
        if (1..columns.len()).any(|place| columns[..place].contains(&columns[place])) {
            return Err(Error::MalformedBatch { problem: "two columns are the same" });
        }
        // Whether they are edges shows in whole rows only, which is what is checked and written in the end.
        Schema::of_rows(&self.project(columns))
    }

    /// The Arrow schema of some columns, in the order asked for.
    pub fn project(&self, columns: &[usize]) -> SchemaRef {
        let fields: Vec<_> = columns.iter().map(|&column| self.arrow.fields()[column].clone()).collect();
        Arc::new(arrow::datatypes::Schema::new(fields))
    }
}

impl PartialEq for Schema {
    /// Same columns, types, roles, metrics and time to live; other metadata does not count.
    fn eq(&self, other: &Schema) -> bool {
        self.fingerprint == other.fingerprint
            && self.ttl == other.ttl
            && self.columns == other.columns
            && self.vectors == other.vectors
            && self.edges == other.edges
    }
}

impl Eq for Schema {}

#[cfg(test)]
mod tests;
