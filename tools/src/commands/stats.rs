//! `broadhead stats`: the server's counters.

use serde_json::Value;

use crate::cli::Remote;
use crate::error::Result;
use crate::output::{self, Table, grouped};

/// Arguments of `stats`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this collection.
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Shows the counters.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let text = client.stats()?;
    let mut stats: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if let Some(name) = &arguments.collection {
        // Unknown names are told by the server, in its words.
        client.describe(name)?;
        keep_collection(&mut stats, name);
    }
    if arguments.remote.json {
        output::line(stats);
        return Ok(());
    }
    let mut table = Table::new(["counter", "value"]);
    let mut rows = Vec::new();
    flatten(String::new(), &stats, &mut rows);
    for (name, value) in rows {
        table.row([name, value]);
    }
    table.print();
    Ok(())
}

/// Leaves out the other collections, where the counters have a list or a map of them.
fn keep_collection(stats: &mut Value, name: &str) {
    match stats.get_mut("collections") {
        Some(Value::Array(collections)) => collections.retain(|collection| collection["name"] == name),
        Some(Value::Object(collections)) => collections.retain(|key, _| key == name),
        _ => (),
    }
}

/// A tree of counters as lines: `shards.0.rows`.
fn flatten(prefix: String, value: &Value, rows: &mut Vec<(String, String)>) {
    let join = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| flatten(join(key), value, rows)),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let key = item.get("name").and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned);
                flatten(join(&key), item, rows);
            }
        }
        Value::Number(number) => rows.push((prefix, number.as_u64().map_or_else(|| number.to_string(), grouped))),
        Value::String(text) => rows.push((prefix, text.clone())),
        other => rows.push((prefix, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counters_become_lines() {
        let mut stats =
            json!({ "shards": [{ "rows": 1000 }], "collections": [{ "name": "a", "m": 16 }, { "name": "b", "m": 8 }] });
        keep_collection(&mut stats, "b");
        let mut rows = Vec::new();
        flatten(String::new(), &stats, &mut rows);
        let lines: Vec<String> = rows.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(lines, ["collections.b.m=8", "collections.b.name=b", "shards.0.rows=1,000"]);
    }
}
