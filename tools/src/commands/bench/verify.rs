//! `broadhead bench verify`: whether everything that was acknowledged is there.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::Remote;
use crate::error::{RequestProblem, Result};
use crate::load::{self, Acknowledged};
use crate::output::{self, grouped};

/// Arguments of `bench verify`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// List that `bench ingest --ack-log FILE` wrote.
    #[arg(long, value_name = "FILE")]
    ack_log: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

/// Reads every id of the list back; exit code 1 when a row is missing, or older than the one that was acknowledged.
pub fn run(arguments: &Arguments) -> Result<()> {
    let remote = &arguments.remote;
    let acknowledged = Acknowledged::read(&arguments.ack_log)?;
    let client = remote.connect()?;
    let (mut lost, mut all) = (0, 0);
    let mut names: Vec<&String> = acknowledged.collections.keys().collect();
    names.sort();
    for name in names {
        let verified = load::verify(&client.collection(name)?, &acknowledged.collections[name], remote.quiet())?;
        lost += verified.missing + verified.older;
        all += verified.ids;
        if remote.json {
            let Value::Object(mut object) = json!(verified) else { unreachable!("a struct") };
            object.insert("collection".to_owned(), json!(name));
            object.insert("batches".to_owned(), json!(acknowledged.batches));
            output::line(Value::Object(object));
        } else {
            output::line(format_args!(
                "collection {name}: {} rows acknowledged in {} batches; there as acknowledged {}, newer {}, older {}, missing {}",
                grouped(verified.ids),
                grouped(acknowledged.batches),
                grouped(verified.same),
                grouped(verified.newer),
                grouped(verified.older),
                grouped(verified.missing),
            ));
        }
    }
    if lost > 0 {
        return Err(RequestProblem::RowsLost { lost, acknowledged: all }.into());
    }
    Ok(())
}
