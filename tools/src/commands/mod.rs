//! The subcommands, one file each: its arguments, and `run`.

pub mod alter;
pub mod bench;
pub mod collections;
pub mod count;
pub mod create;
pub mod delete;
pub mod demo;
pub mod describe;
pub mod drop_collection;
pub mod eval;
pub mod facets;
pub mod get;
pub mod import;
pub mod namespace;
pub mod scan;
pub mod search;
pub mod search_text;
pub mod serve;
pub mod snapshot;
pub mod stats;
pub mod traverse;
pub mod update;
pub mod wait_indexed;

use std::str::FromStr;

use arrow::array::RecordBatch;
use engine::schema::IdKind;
use net::client::{Collection, Ids};
use serde_json::{Map, Value};

use crate::error::{RequestProblem, Result};
use crate::output::json_value;
use crate::sources;

/// Ids as a flag has them, which may come several times: `a,b`, or a JSON array where there are commas in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdTexts(Vec<String>);

impl FromStr for IdTexts {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<IdTexts, String> {
        if !text.starts_with('[') {
            return Ok(IdTexts(text.split(',').map(str::to_owned).collect()));
        }
        let values: Vec<Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let id = |value: Value| match value {
            Value::String(text) => Ok(text),
            Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
            other => Err(format!("{other} is no id: ids are texts and whole numbers")),
        };
        values.into_iter().map(id).collect::<std::result::Result<_, _>>().map(IdTexts)
    }
}

impl IdTexts {
    /// The ids of all the times that the flag was given.
    pub fn all(given: &[IdTexts]) -> Vec<String> {
        given.iter().flat_map(|ids| &ids.0).cloned().collect()
    }
}

/// Ids as they stand on the command line, in the kind that the collection has.
fn parse_ids(collection: &Collection, ids: &[IdTexts]) -> Result<Ids> {
    ids_of_kind(collection.id_kind(), &IdTexts::all(ids))
}

/// Ids as they stand on the command line, of a kind.
fn ids_of_kind(kind: IdKind, ids: &[String]) -> Result<Ids> {
    fn numbers<T: std::str::FromStr>(ids: &[String]) -> Result<Vec<T>> {
        let number = |id: &String| id.trim().parse::<T>().map_err(|_| RequestProblem::Id { id: id.clone() });
        Ok(ids.iter().map(number).collect::<Result<_, _>>()?)
    }
    Ok(match kind {
        IdKind::U64 => Ids::U64(numbers(ids)?),
        IdKind::I64 => Ids::I64(numbers(ids)?),
        IdKind::Utf8 => Ids::Utf8(ids.to_vec()),
    })
}

/// Names of the columns that are no vectors, in the order of the schema.
fn readable_columns(collection: &Collection) -> Vec<String> {
    let schema = collection.schema();
    let vectors = sources::vector_columns(schema);
    let readable = schema.fields().iter().enumerate().filter(|(index, _)| !vectors.contains(index));
    readable.map(|(_, field)| field.name().clone()).collect()
}

/// A row as a JSON object.
fn json_row(batch: &RecordBatch, row: usize) -> Map<String, Value> {
    let schema = batch.schema();
    let cell = |(field, column): (&std::sync::Arc<arrow::datatypes::Field>, _)| {
        (field.name().clone(), json_value(field, column, row))
    };
    schema.fields().iter().zip(batch.columns()).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_between_commas_or_in_an_array() {
        let ids = |text: &str| text.parse::<IdTexts>().map(|ids| ids.0);
        assert_eq!(ids("a,b c").unwrap(), ["a", "b c"]);
        assert_eq!(ids("-7").unwrap(), ["-7"]);
        assert_eq!(
            ids(r#"["a,b", "[c]", 7, -8, 18446744073709551615]"#).unwrap(),
            ["a,b", "[c]", "7", "-8", "18446744073709551615"]
        );
        assert!(ids("[a]").is_err() && ids("[1.5]").is_err() && ids("[null]").is_err());
    }
}
