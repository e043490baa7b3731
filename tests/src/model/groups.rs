//! Rows that share a value of a column, as groups.

use std::collections::BTreeMap;

use super::value::Value;

/// Rows by the value that they share, nearest first; the groups by their nearest row. Rows come with their distance, nearest first.
pub fn groups<R: Copy>(nearest: &[(f64, R)], value: impl Fn(R) -> String) -> Vec<Vec<(f64, R)>> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<(f64, R)>> = Vec::new();
    for &(distance, row) in nearest {
        let place = *places.entry(value(row)).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push((distance, row));
    }
    groups
}

impl Value {
    /// What is the same for all values of a group: all NaNs are one, and so are 0 and −0.
    pub fn group(&self) -> String {
        match self {
            Value::Float(value) if value.is_nan() => "NaN".to_owned(),
            Value::Float(value) => (value + 0.0).to_string(),
            other => format!("{other:?}"),
        }
    }
}
