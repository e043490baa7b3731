//! `broadhead bench`: load, measured.

mod arguments;
mod ingest;
mod report;
mod search;
mod values;
mod verify;

use std::time::Duration;

use net::client::{Client, Collection, CollectionOptions};

use crate::cli::Remote;
use crate::error::{RequestProblem, Result};
use crate::load::{Data, ElementType};
use crate::sources::Metric;

/// Time to wait for the index.
const INDEX_TIMEOUT: Duration = Duration::from_secs(3600);

/// The kinds of load.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write made-up rows into a new collection, and tell the rates: acknowledged in memory, durable, searchable, indexed.
    Ingest(Box<arguments::Arguments>),
    /// Search a collection, or a new one of made-up rows.
    Search(search::Arguments),
    /// Read back every row that `bench ingest --ack-log` got acknowledged, after a crash, say.
    Verify(verify::Arguments),
}

/// What the kinds that make rows have.
#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// Elements of a vector; of bits a multiple of 8.
    #[arg(long, default_value_t = 384, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    dim: u32,
    /// Element type of the vectors.
    #[arg(long = "type", value_enum, default_value = "f32", value_name = "TYPE")]
    element: ElementType,
    /// How nearness is measured [default: cosine, of bits hamming]
    #[arg(long, value_enum)]
    metric: Option<Metric>,
    /// Seed of the rows.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Do not drop the collection in the end.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Common {
    fn data(&self, rows: u64) -> Result<Data> {
        let is_bits = self.element == ElementType::Bits;
        if is_bits && !self.dim.is_multiple_of(8) {
            return Err(RequestProblem::Measure("--dim of bits must be a multiple of 8").into());
        }
        let metric = self.metric.unwrap_or(if is_bits { Metric::Hamming } else { Metric::Cosine });
        Ok(Data { dimension: self.dim as usize, element: self.element, metric, rows, seed: self.seed })
    }
}

/// A collection that goes when the work is done.
struct Temporary {
    client: Client,
    name: String,
    keep: bool,
}

impl Temporary {
    fn create(client: Client, name: String, data: &Data, keep: bool) -> Result<(Temporary, Collection)> {
        let collection = client.create_collection(&name, &data.schema(), CollectionOptions::default())?;
        Ok((Temporary { client, name, keep }, collection))
    }

    /// As `create`, or one that is there already and has the same schema.
    fn create_or_open(client: Client, name: String, data: &Data, keep: bool) -> Result<(Temporary, Collection)> {
        let options = CollectionOptions { if_not_exists: true, ..CollectionOptions::default() };
        let collection = client.create_collection(&name, &data.schema(), options)?;
        Ok((Temporary { client, name, keep }, collection))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = self.client.drop_collection(&self.name) {
            tracing::warn!(collection = self.name, %error, "the collection of this run was not dropped");
        }
    }
}

fn seconds(value: f64) -> Result<Duration> {
    let positive = Duration::try_from_secs_f64(value).ok().filter(|time| !time.is_zero());
    Ok(positive.ok_or(RequestProblem::Measure("a time in seconds must be above 0"))?)
}

fn rate(rate: Option<f64>) -> Result<Option<f64>> {
    match rate {
        Some(rate) if !(rate > 0.0 && rate.is_finite()) => {
            Err(RequestProblem::Measure("a rate must be above 0").into())
        }
        rate => Ok(rate),
    }
}

/// Generates the load.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Ingest(arguments) => ingest::run(arguments),
        Command::Search(arguments) => search::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
    }
}
