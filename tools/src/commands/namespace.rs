//! `broadhead namespace` and `broadhead namespaces`: tenants, their quotas and what they have.

use engine::namespace::Quota;
use serde_json::json;

use crate::cli::Remote;
use crate::error::Result;
use crate::output::{self, Table, grouped};

/// The commands about one namespace.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a namespace, or give it other quotas: what is not said has no limit.
    Put(Put),
    /// Drop a namespace with all its collections.
    Drop(Drop),
}

/// Arguments of `namespace put`.
#[derive(Debug, clap::Args)]
pub struct Put {
    /// Name of the namespace; its collections are called NAME/….
    #[arg(value_name = "NAME")]
    name: String,
    /// Rows that may live.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    rows: u64,
    /// Memory that rows and graphs may take.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "BYTES")]
    bytes: u64,
    /// Rows that may be written a second.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    rows_per_s: u64,
    /// Bytes of batches that may be written a second.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "BYTES")]
    bytes_per_s: u64,
    /// It must not be there yet.
    #[arg(long)]
    new: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Arguments of `namespace drop`.
#[derive(Debug, clap::Args)]
pub struct Drop {
    /// Name of the namespace.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    remote: Remote,
}

/// Arguments of `namespaces`.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    remote: Remote,
}

/// Does what is asked of one namespace.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Put(put) => {
            let Put { rows, bytes, rows_per_s, bytes_per_s, .. } = *put;
            let quota = Quota { rows, bytes, rows_per_s, bytes_per_s };
            let client = put.remote.connect()?;
            if put.new {
                client.create_namespace(&put.name, quota)?
            } else {
                client.put_namespace(&put.name, quota)?
            }
            told(&put.remote, &put.name, "put")
        }
        Command::Drop(drop) => {
            drop.remote.connect()?.drop_namespace(&drop.name)?;
            told(&drop.remote, &drop.name, "dropped")
        }
    }
    Ok(())
}

fn told(remote: &Remote, name: &str, what: &str) {
    if remote.json {
        output::line(json!({ "namespace": name, "done": what }));
    } else {
        output::line(format_args!("{what} {name}"));
    }
}

/// Lists the namespaces.
pub fn list(arguments: &List) -> Result<()> {
    let infos = arguments.remote.connect()?.namespaces()?;
    if arguments.remote.json {
        for info in infos {
            output::line(json!({
                "name": info.name, "collections": info.collections, "rows": info.rows, "bytes": info.bytes,
                "refused_writes": info.refused, "quota": info.quota,
            }));
        }
        return Ok(());
    }
    let limit = |value: u64| if value == 0 { "-".to_owned() } else { grouped(value) };
    let mut table =
        Table::new(["namespace", "collections", "rows", "of", "bytes", "of", "rows/s", "bytes/s", "refused"]);
    for info in infos {
        let quota = info.quota;
        table.row([
            info.name,
            grouped(info.collections),
            grouped(info.rows),
            limit(quota.rows),
            grouped(info.bytes),
            limit(quota.bytes),
            limit(quota.rows_per_s),
            limit(quota.bytes_per_s),
            grouped(info.refused),
        ]);
    }
    table.print();
    Ok(())
}
