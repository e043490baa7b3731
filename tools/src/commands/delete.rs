//! `broadhead delete`: rows go, by id or by filter.

use serde_json::json;

use crate::cli::{Acknowledge, Remote};
use crate::commands::{IdTexts, parse_ids};
use crate::error::Result;
use crate::output::{self, grouped};

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").args(["ids", "filter", "all"]).required(true)))]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Ids of the rows: `a,b`, or a JSON array where ids have commas in them; those that are not there are no error.
    #[arg(long, value_name = "ID,…")]
    ids: Vec<IdTexts>,
    /// Rows that this is true of, as with search.
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// All rows.
    #[arg(long)]
    all: bool,
    /// When a delete by id counts as done; others always do when they are on disk.
    #[arg(long, value_enum, default_value = "durable")]
    ack: Acknowledge,
    #[command(flatten)]
    remote: Remote,
}

/// Deletes the rows.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collection = client.collection(&arguments.collection)?;
    if arguments.all || arguments.filter.is_some() {
        let deleted = match &arguments.filter {
            Some(filter) => collection.delete_where(filter)?,
            None => collection.delete_all()?,
        };
        if arguments.remote.json {
            output::line(json!({ "collection": arguments.collection, "deleted": deleted }));
        } else {
            output::line(format_args!("deleted {} rows", grouped(deleted)));
        }
        return Ok(());
    }
    let ids = parse_ids(&collection, &arguments.ids)?;
    let report = collection.delete(&ids, arguments.ack.into())?.wait()?;
    if arguments.remote.json {
        output::line(json!({ "collection": arguments.collection, "asked": ids.len(), "deleted": report.deleted }));
    } else {
        output::line(format_args!("deleted {} of {} rows", grouped(report.deleted), grouped(ids.len() as u64)));
    }
    Ok(())
}
