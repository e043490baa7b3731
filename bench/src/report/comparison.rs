//! Several engines on the same work, a row each.

use serde_json::{Map, Value, json};

/// Engines beside each other.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What they did.
    pub title: String,
    /// What the columns are: the name in JSON, the head in a table.
    pub columns: Vec<(&'static str, &'static str)>,
    /// The engines.
    pub rows: Vec<ComparedEngine>,
}

/// An engine of a comparison.
#[derive(Clone, Debug)]
pub struct ComparedEngine {
    /// Its name.
    pub name: String,
    /// A value a column, where there is one; or why it was not measured.
    pub values: Result<Vec<Option<f64>>, String>,
}

impl Comparison {
    pub(super) fn json(&self, section: &str) -> Value {
        let engine = |row: &ComparedEngine| {
            let mut object = Map::from_iter([("engine".to_owned(), json!(row.name))]);
            match &row.values {
                Ok(values) => {
                    object.extend(
                        self.columns.iter().zip(values).map(|((key, _), value)| (key.to_string(), json!(value))),
                    );
                }
                Err(why) => drop(object.insert("not_measured".into(), json!(why))),
            }
            Value::Object(object)
        };
        json!({"section": section, "title": self.title, "engines": self.rows.iter().map(engine).collect::<Vec<_>>()})
    }
}
