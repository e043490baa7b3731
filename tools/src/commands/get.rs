//! `broadhead get`: rows by id.

use crate::cli::Remote;
use crate::commands::{IdTexts, json_row, parse_ids, readable_columns};
use crate::error::{RequestProblem, Result};
use crate::output::{self, Table, text_cell};

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Ids of the rows: `a,b`, or a JSON array where ids have commas in them.
    #[arg(long, required = true, value_name = "ID,…")]
    ids: Vec<IdTexts>,
    /// Columns to show [default: all but the vectors]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    columns: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Shows the rows that are there; none at all is an error.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collection = client.collection(&arguments.collection)?;
    let ids = parse_ids(&collection, &arguments.ids)?;
    let columns = if arguments.columns.is_empty() { readable_columns(&collection) } else { arguments.columns.clone() };
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = collection.get(&ids, &columns)?;
    if rows.num_rows() == 0 {
        let id = IdTexts::all(&arguments.ids).join(",");
        return Err(RequestProblem::NoRow { collection: arguments.collection.clone(), id }.into());
    }
    if arguments.remote.json {
        for row in 0..rows.num_rows() {
            output::line(serde_json::Value::Object(json_row(&rows, row)));
        }
        return Ok(());
    }
    let schema = rows.schema();
    let mut table = Table::new(schema.fields().iter().map(|field| field.name().clone()));
    for row in 0..rows.num_rows() {
        table.row(rows.columns().iter().map(|column| text_cell(column, row)));
    }
    table.print();
    Ok(())
}
