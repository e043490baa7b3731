//! `broadhead drop`: a collection and all its rows go.

use serde_json::json;

use crate::cli::Remote;
use crate::error::Result;
use crate::output;

/// Arguments of `drop`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    #[command(flatten)]
    remote: Remote,
}

/// Drops the collection.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    client.drop_collection(&arguments.collection)?;
    if arguments.remote.json {
        output::line(json!({ "collection": arguments.collection, "dropped": true }));
    } else {
        output::line(format_args!("dropped {}", arguments.collection));
    }
    Ok(())
}
