//! `broadhead count`: how many rows there are that a filter is true of.

use crate::cli::Remote;
use crate::error::Result;
use crate::output;

/// Arguments of `count`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Only rows that this is true of: {"column": "kib", "<": 10}, {"and": […]}, {"or": […]}, {"not": …}
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    filter: String,
    #[command(flatten)]
    remote: Remote,
}

/// Counts and shows.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let rows = client.collection(&arguments.collection)?.count(&arguments.filter)?;
    if arguments.remote.json {
        output::line(serde_json::json!({ "rows": rows }));
    } else {
        output::line(output::grouped(rows));
    }
    Ok(())
}
