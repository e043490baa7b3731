//! `broadhead alter`: columns more for a collection that is there.

use engine::schema::json;

use crate::cli::Remote;
use crate::commands::create::text_of;
use crate::commands::describe;
use crate::error::Result;

/// Arguments of `alter`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the collection.
    #[arg(value_name = "NAME")]
    name: String,
    /// Column to add, or a list of them, as JSON or a file of it: {"name": "lang", "type": "utf8"}. Rows that are there are null in it.
    #[arg(long, required = true, value_name = "FILE|JSON")]
    add: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Adds the columns and shows the collection.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut columns = Vec::new();
    for text in &arguments.add {
        columns.extend(json::parse_columns(&text_of(text)?).map_err(net::Error::from)?);
    }
    let client = arguments.remote.connect()?;
    client.add_columns(&arguments.name, &columns)?;
    describe::show(&client, &arguments.name, arguments.remote.json)
}
