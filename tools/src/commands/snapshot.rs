//! `broadhead snapshot`: the rows and the graph of a collection, as files.

use serde_json::json;

use crate::cli::Remote;
use crate::error::Result;
use crate::output;

/// Arguments of `snapshot`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    #[command(flatten)]
    remote: Remote,
}

/// Has the server write a snapshot, and waits for it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let done = client.snapshot(&arguments.collection)?;
    let seconds = done.took_us as f64 / 1e6;
    if arguments.remote.json {
        output::line(json!({ "collection": arguments.collection, "bytes": done.bytes, "seconds": seconds }));
    } else {
        let megabytes = done.bytes as f64 / 1e6;
        output::line(format_args!("snapshot of {}: {megabytes:.1} MB in {seconds:.2} s", arguments.collection));
    }
    Ok(())
}
