//! Collections whose rows are edges of a graph: which columns say from where, to where, of what type and how strongly.
//!
//! | metadata of a field | type | |
//! |---|---|---|
//! | `broadhead.role` = `edge_from`, `edge_to` | as the ids of the nodes | never null; both or neither |
//! | `broadhead.role` = `edge_type` | utf8 | optional; null: no type |
//! | `broadhead.role` = `edge_weight` | f32, f64 | optional; null, or no such column: 1 |
//!
//! `broadhead.nodes` in the metadata of the schema names the collection that the nodes are rows of. None of this is part of the fingerprint:
//! to a batch these are columns as any others.

use arrow::datatypes::{DataType, Schema as ArrowSchema};

use super::{Column, IdKind, ROLE_KEY};
use crate::batch::BatchView;
use crate::error::{Error, Result};
use crate::limits::{ID_BYTES_MAX, NAME_BYTES_MAX};

/// Metadata key of an Arrow schema: name of the collection whose rows are the nodes.
pub const NODES_KEY: &str = "broadhead.nodes";

/// Roles of the columns of an edge, as in the metadata of a field.
pub const EDGE_ROLES: [&str; 4] = ["edge_from", "edge_to", "edge_type", "edge_weight"];

/// The columns of a collection whose rows are edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeColumns {
    /// Column of the id of the node that an edge leaves.
    pub from: usize,
    /// Column of the id of the node that it leads to.
    pub to: usize,
    /// Column of its type.
    pub kind: Option<usize>,
    /// Column of its weight.
    pub weight: Option<EdgeWeight>,
    /// Type of the ids of the nodes.
    pub node_kind: IdKind,
    /// Collection of the nodes.
    pub nodes: Option<String>,
}

/// The column of the weights of edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeWeight {
    /// Its place in the schema.
    pub column: usize,
    /// Whether it holds f64, and not f32.
    pub is_f64: bool,
}

impl EdgeWeight {
    /// The weight in the bytes of a value.
    #[inline]
    pub fn read(&self, bytes: &[u8]) -> f32 {
        if self.is_f64 {
            f64::from_le_bytes(bytes.try_into().expect("eight bytes")) as f32
        } else {
            f32::from_le_bytes(bytes.try_into().expect("four bytes"))
        }
    }
}

/// The columns of the edges, if the schema is one of edges.
pub(super) fn parse(arrow: &ArrowSchema, columns: &[Column], id_column: usize) -> Result<Option<EdgeColumns>> {
    let fail = |column: usize, problem| Err(Error::InvalidSchema { column: columns[column].name.clone(), problem });
    let mut found = [None; EDGE_ROLES.len()];
    for (index, field) in arrow.fields().iter().enumerate() {
        let role = field.metadata().get(ROLE_KEY);
        let Some(place) = EDGE_ROLES.iter().position(|name| role.is_some_and(|role| role == name)) else { continue };
        if found[place].replace(index).is_some() {
            return fail(index, "two columns have this role of an edge");
        }
    }
    let whole = |problem| Err(Error::InvalidSchema { column: String::new(), problem });
    let nodes = arrow.metadata().get(NODES_KEY).cloned();
    let [from, to, kind, weight] = found;
    let (from, to) = match (from, to) {
        (Some(from), Some(to)) => (from, to),
        (None, None) if kind.or(weight).is_none() && nodes.is_none() => return Ok(None),
        _ => return whole("edges have two columns with the metadata broadhead.role = edge_from and edge_to"),
    };
    assert!(from != id_column && to != id_column, "a field has one role");
    let data_type = |column: usize| arrow.field(column).data_type();
    let Some(node_kind) = IdKind::of(data_type(from)) else { return fail(from, "an edge leads from an id to an id") };
    if data_type(to) != data_type(from) {
        return fail(to, "an edge leads from an id to one of the same type");
    }
    if let Some(kind) = kind.filter(|&kind| *data_type(kind) != DataType::Utf8) {
        return fail(kind, "the type of an edge is utf8");
    }
    let weight = match weight.map(|column| (column, data_type(column))) {
        None => None,
        Some((column, DataType::Float32)) => Some(EdgeWeight { column, is_f64: false }),
        Some((column, DataType::Float64)) => Some(EdgeWeight { column, is_f64: true }),
        Some((column, _)) => return fail(column, "the weight of an edge is f32 or f64"),
    };
    if nodes.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
        return whole("broadhead.nodes is the name of a collection");
    }
    Ok(Some(EdgeColumns { from, to, kind, weight, node_kind, nodes }))
}

impl EdgeColumns {
    /// Refuses a batch with an id of a node that no row can have, or a weight that is none: what is not finite, or negative, has no
    /// share in anything.
    ///
    /// # Errors
    /// `LimitExceeded`, `MalformedColumn`.
    pub fn check(&self, batch: &BatchView<'_>) -> Result<()> {
        if self.node_kind == IdKind::Utf8 {
            for column in [self.from, self.to] {
                let longest = (0..batch.rows()).map(|row| batch.column(column).text(row).len()).max().unwrap_or(0);
                if longest > ID_BYTES_MAX {
                    let (value, limit) = (longest as u64, ID_BYTES_MAX as u64);
                    return Err(Error::LimitExceeded { what: "number of bytes of an id", value, limit });
                }
            }
        }
        let Some(weight) = self.weight else { return Ok(()) };
        let column = batch.column(weight.column);
        let is_weight = |weight: f32| weight.is_finite() && weight >= 0.0;
        let is_right = |row: usize| !column.is_valid(row) || is_weight(weight.read(column.fixed(row)));
        if (0..batch.rows()).all(is_right) {
            return Ok(());
        }
        let column = batch.schema().columns()[weight.column].name.clone();
        Err(Error::MalformedColumn { column, problem: "the weight of an edge is negative, or not a finite f32" })
    }
}
