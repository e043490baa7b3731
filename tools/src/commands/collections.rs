//! `broadhead collections`: what there is.

use serde_json::json;

use crate::cli::Remote;
use crate::error::Result;
use crate::output::{self, Table, grouped};

/// Arguments of `collections`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    remote: Remote,
}

/// Lists the collections.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collections = client.collections()?;
    if arguments.remote.json {
        for info in &collections {
            output::line(json!({
                "name": info.name, "rows": info.rows, "indexed": info.indexed, "deleted": info.deleted,
                "m": info.m, "ef_construction": info.ef_construction,
            }));
        }
        return Ok(());
    }
    if collections.is_empty() {
        output::line("no collections; make one with `broadhead import`");
        return Ok(());
    }
    let mut table = Table::new(["collection", "rows", "indexed", "deleted"]);
    for info in &collections {
        table.row([info.name.clone(), grouped(info.rows), grouped(info.indexed), grouped(info.deleted)]);
    }
    table.print();
    Ok(())
}
