//! `broadhead wait-indexed`: until every row is in the index.

use std::time::{Duration, Instant};

use net::client::Collection;
use serde_json::json;

use crate::cli::Remote;
use crate::error::{RequestProblem, Result};
use crate::output::{self, grouped, rate};
use crate::progress::Progress;

/// Longest time between two looks at the progress.
const STEP: Duration = Duration::from_millis(100);

/// Arguments of `wait-indexed`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Seconds to wait at most.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    remote: Remote,
}

/// What was waited for.
pub struct Indexed {
    /// Rows in the index now.
    pub rows: u64,
    /// Of them, those that came into it while waiting.
    pub added: u64,
    /// Time waited.
    pub seconds: f64,
}

/// Waits, with a progress bar.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collection = client.collection(&arguments.collection)?;
    let indexed = wait(&collection, Duration::from_secs(arguments.timeout), arguments.remote.quiet())?;
    let rows_per_s = indexed.added as f64 / indexed.seconds.max(1e-9);
    if arguments.remote.json {
        output::line(json!({
            "collection": arguments.collection, "rows": indexed.rows, "added": indexed.added,
            "seconds": indexed.seconds, "rows_per_s": rows_per_s,
        }));
    } else {
        let (rows, added) = (grouped(indexed.rows), grouped(indexed.added));
        let seconds = indexed.seconds;
        output::line(format_args!(
            "indexed {rows} rows; {added} while waiting {seconds:.2} s, {} rows/s",
            rate(rows_per_s)
        ));
    }
    Ok(())
}

/// Waits until every row that is there is in the index.
pub fn wait(collection: &Collection, timeout: Duration, quiet: bool) -> Result<Indexed> {
    let started = Instant::now();
    let first = collection.index_status()?;
    let mut progress = Progress::start("indexing", Some(first.rows), quiet);
    let mut status = first;
    while !status.done {
        progress.set_total(status.rows);
        progress.set(status.indexed);
        if started.elapsed() >= timeout {
            let seconds = timeout.as_secs();
            return Err(RequestProblem::IndexTimeout { indexed: status.indexed, rows: status.rows, seconds }.into());
        }
        status = collection.wait_indexed(STEP.min(timeout.saturating_sub(started.elapsed())))?;
    }
    progress.set_total(status.rows);
    progress.set(status.indexed);
    let added = status.indexed.saturating_sub(first.indexed);
    Ok(Indexed { rows: status.indexed, added, seconds: started.elapsed().as_secs_f64() })
}
