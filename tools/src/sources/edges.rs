//! Files whose rows are edges of a graph: which columns say from where and to where, and ids that follow from them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use engine::schema::NODES_KEY;

use super::{ID_NAME, ROLE, Source};
use crate::error::{Error, FileProblem, Result};
use crate::output::text_cell;

/// Between the parts of an id.
const SEPARATOR: &str = "|";

/// Which columns make a row an edge, for a new collection.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct EdgeOptions {
    /// The rows are edges: column of the ids of the nodes that they leave
    #[arg(long, value_name = "COLUMN", requires = "edge_to")]
    pub edge_from: Option<String>,
    /// Column of the ids of the nodes that they lead to
    #[arg(long, value_name = "COLUMN", requires = "edge_from")]
    pub edge_to: Option<String>,
    /// Column of their types
    #[arg(long, value_name = "COLUMN", requires = "edge_from")]
    pub edge_type: Option<String>,
    /// Column of their weights, not negative [default: each weighs 1]
    #[arg(long, value_name = "COLUMN", requires = "edge_from")]
    pub edge_weight: Option<String>,
    /// Collection whose rows are the nodes
    #[arg(long, value_name = "NAME", requires = "edge_from")]
    pub nodes: Option<String>,
}

impl EdgeOptions {
    /// Whether the rows are edges.
    pub fn are_given(&self) -> bool {
        self.edge_from.is_some()
    }

    /// Columns that have a role, with it.
    fn roles(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let columns = [
            (&self.edge_from, "edge_from"),
            (&self.edge_to, "edge_to"),
            (&self.edge_type, "edge_type"),
            (&self.edge_weight, "edge_weight"),
        ];
        columns.into_iter().filter_map(|(column, role)| Some((column.as_deref()?, role)))
    }

    /// A file whose rows are edges. Where the file has no ids, that of an edge is `from|to`, or `from|type|to`: one that is written again
    /// replaces the older.
    ///
    /// # Errors
    /// Where a column is not there.
    pub fn apply(&self, source: Source, path: &Path, signed_ids: bool) -> Result<Source> {
        let Source { schema, notes, rows, batches, is_numbered } = source;
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        for (column, _) in self.roles() {
            if !names.contains(&column) {
                let problem = FileProblem::NoColumn { column: column.to_owned(), available: names.join(", ") };
                return Err(Error::file(path)(problem));
            }
        }
        let fields: Vec<Field> =
            schema.fields().iter().map(|field| self.field(field, is_numbered, signed_ids)).collect();
        let mut metadata = schema.metadata().clone();
        metadata.extend(self.nodes.iter().map(|nodes| (NODES_KEY.to_owned(), nodes.clone())));
        let schema: SchemaRef = Arc::new(Schema::new_with_metadata(fields, metadata));
        let parts: Vec<String> =
            [&self.edge_from, &self.edge_type, &self.edge_to].into_iter().flatten().cloned().collect();
        let (path, target) = (path.to_owned(), schema.clone());
        let batches = batches.map(move |batch| {
            let fail = |error| Error::file(&path)(FileProblem::Arrow(error));
            convert(&batch?, &target, is_numbered.then_some(parts.as_slice())).map_err(fail)
        });
        Ok(Source { schema, notes, rows, batches: Box::new(batches), is_numbered: false })
    }

    fn field(&self, field: &Field, is_numbered: bool, signed_ids: bool) -> Field {
        if is_numbered && field.name() == ID_NAME {
            return Field::new(ID_NAME, DataType::Utf8, false).with_metadata(field.metadata().clone());
        }
        let Some((_, role)) = self.roles().find(|(column, _)| column == field.name()) else { return field.clone() };
        let data_type = match field.data_type() {
            // As the ids of nodes that are whole numbers.
            integer if integer.is_integer() && role != "edge_weight" && signed_ids => DataType::Int64,
            integer if integer.is_integer() && role != "edge_weight" => DataType::UInt64,
            integer if integer.is_integer() => DataType::Float64,
            other => other.clone(),
        };
        let is_end = role == "edge_from" || role == "edge_to";
        let nullable = field.is_nullable() && !is_end;
        Field::new(field.name(), data_type, nullable).with_metadata([(ROLE, role)])
    }
}

/// Brings a batch into a schema; with `parts` the ids are made of these columns.
fn convert(
    batch: &RecordBatch,
    schema: &SchemaRef,
    parts: Option<&[String]>,
) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let columns = schema.fields().iter().map(|field| -> std::result::Result<ArrayRef, _> {
        match parts {
            Some(parts) if field.name() == ID_NAME => Ok(Arc::new(ids(batch, parts))),
            _ => cast(batch.column_by_name(field.name()).expect("a column of the file"), field.data_type()),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<std::result::Result<Vec<_>, _>>()?)
}

fn ids(batch: &RecordBatch, parts: &[String]) -> StringArray {
    let parts: Vec<&ArrayRef> =
        parts.iter().map(|name| batch.column_by_name(name).expect("a column of the file")).collect();
    let id = |row: usize| parts.iter().map(|part| text_cell(part, row)).collect::<Vec<_>>().join(SEPARATOR);
    StringArray::from_iter_values((0..batch.num_rows()).map(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::{self, Coding, Metric, SourceOptions};

    #[test]
    fn edges_get_roles_and_ids_that_follow_from_their_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edges.jsonl");
        let lines = "{\"a\": 1, \"b\": 2, \"kind\": \"x\", \"w\": 1}\n{\"a\": 3, \"b\": 1, \"kind\": null, \"w\": 2}\n";
        std::fs::write(&path, lines).unwrap();
        let edges = EdgeOptions {
            edge_from: Some("a".to_owned()),
            edge_to: Some("b".to_owned()),
            edge_type: Some("kind".to_owned()),
            edge_weight: Some("w".to_owned()),
            nodes: Some("nodes".to_owned()),
        };
        let options = SourceOptions {
            id: None,
            vectors: Vec::new(),
            metric: Metric::Cosine,
            element: None,
            coding: Coding::default(),
            edges,
            batch_rows: 10,
            first_row: 0,
            signed_ids: false,
        };
        let source = sources::open(&path, &options).unwrap();
        let schema = engine::schema::Schema::from_arrow(&source.schema).unwrap();
        let found = schema.edges().unwrap();
        assert_eq!((found.from, found.to, found.kind), (1, 2, Some(3)));
        assert_eq!(found.nodes.as_deref(), Some("nodes"));
        let mut batches = source.batches;
        let batch = batches.next().unwrap().unwrap();
        let cells = |column: usize| [text_cell(batch.column(column), 0), text_cell(batch.column(column), 1)];
        assert_eq!(cells(0), ["1|x|2", "3||1"]);
        assert_eq!(cells(4), ["1.0", "2.0"]);
        let missing = EdgeOptions { edge_to: Some("c".to_owned()), ..options.edges.clone() };
        assert!(sources::open(&path, &SourceOptions { edges: missing, ..options }).is_err());
    }
}
