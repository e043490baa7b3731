//! `broadhead delete`: rows go, by id.

use serde_json::json;

use crate::cli::{Acknowledge, Remote};
use crate::commands::parse_ids;
use crate::error::Result;
use crate::output::{self, grouped};

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Ids of the rows; ids that are not there are no error.
    #[arg(long, value_delimiter = ',', required = true, value_name = "ID,…")]
    ids: Vec<String>,
    /// When the delete counts as done.
    #[arg(long, value_enum, default_value = "durable")]
    ack: Acknowledge,
    #[command(flatten)]
    remote: Remote,
}

/// Deletes the rows.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collection = client.collection(&arguments.collection)?;
    let ids = parse_ids(&collection, &arguments.ids)?;
    let report = collection.delete(&ids, arguments.ack.into())?.wait()?;
    if arguments.remote.json {
        output::line(
            json!({ "collection": arguments.collection, "asked": arguments.ids.len(), "deleted": report.deleted }),
        );
    } else {
        output::line(format_args!(
            "deleted {} of {} rows",
            grouped(report.deleted),
            grouped(arguments.ids.len() as u64)
        ));
    }
    Ok(())
}
