//! `broadhead describe`: one collection, with its columns. What `--json` prints is a schema that `create` takes.

use engine::schema::{Schema, json};
use net::client::Client;
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::error::Result;
use crate::output::{self, Table, grouped};

/// Arguments of `describe`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the collection.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    remote: Remote,
}

/// Shows the collection.
pub fn run(arguments: &Arguments) -> Result<()> {
    show(&arguments.remote.connect()?, &arguments.name, arguments.remote.json)
}

/// Shows a collection of a server.
pub fn show(client: &Client, name: &str, as_json: bool) -> Result<()> {
    let info = client.describe(name)?;
    let arrow = info.schema.as_deref().expect("DESCRIBE gives the schema");
    let schema = Schema::from_arrow(arrow).map_err(net::Error::from)?;
    let columns = json::columns(&schema);
    if as_json {
        output::line(json!({
            "name": info.name, "id": info.id, "rows": info.rows, "deleted": info.deleted, "indexed": info.indexed,
            "m": info.m, "ef_construction": info.ef_construction, "fingerprint": format!("{:016x}", info.fingerprint),
            "columns": columns,
        }));
        return Ok(());
    }
    output::line(format_args!("{}: {} rows, schema {:016x}", info.name, grouped(info.rows), info.fingerprint));
    let mut table = Table::new(["column", "type", ""]);
    for column in columns.as_array().into_iter().flatten() {
        let text = |key: &str| column[key].as_str().unwrap_or_default().to_owned();
        table.row([text("name"), text("type"), rest(column)]);
    }
    table.print();
    Ok(())
}

/// What else is said of a column, in words.
fn rest(column: &Value) -> String {
    let all = column.as_object().into_iter().flatten();
    let words = all.filter_map(|(key, value)| match (key.as_str(), value) {
        ("name" | "type", _) | ("nullable", Value::Bool(false)) => None,
        ("nullable", _) => Some("nullable".to_owned()),
        ("role" | "element" | "metric", Value::String(text)) => Some(text.clone()),
        (key, Value::String(text)) => Some(format!("{key} {text}")),
        (key, value) => Some(format!("{key} {value}")),
    });
    words.collect::<Vec<_>>().join(", ")
}
