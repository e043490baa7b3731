//! `broadhead bench`: load, measured.

use std::time::Duration;

use arrow::array::{Array, ArrayRef};
use net::client::{Client, Collection, CollectionOptions};
use serde_json::{Map, Value, json};

use crate::cli::{Acknowledge, Remote};
use crate::commands::search::{self, Options, Target};
use crate::commands::wait_indexed;
use crate::error::{RequestProblem, Result};
use crate::load::{self, Data, Ingest, Ingested};
use crate::output::{self, grouped, rate};
use crate::sources::{self, ElementType, Metric};

/// Rows that an ingest writes where nothing is said.
const INGEST_ROWS: u64 = 100_000;
/// Rows that are searched where nothing is said.
const SEARCH_ROWS: u64 = 20_000;
/// Different queries that are asked.
const QUERIES: usize = 1_000;
/// Time to wait for the index.
const INDEX_TIMEOUT: Duration = Duration::from_secs(3600);

/// The kinds of load.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write made-up rows into a new collection, which is dropped in the end.
    Ingest(IngestArguments),
    /// Search a collection, or a new one of made-up rows.
    Search(SearchArguments),
}

/// What both kinds have.
#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// Elements of a vector.
    #[arg(long, default_value_t = 384, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    dim: u32,
    /// Element type of the vectors.
    #[arg(long = "type", value_enum, default_value = "f32", value_name = "TYPE")]
    element: ElementType,
    /// How nearness is measured.
    #[arg(long, value_enum, default_value = "cosine")]
    metric: Metric,
    /// Rows of one write.
    #[arg(long, default_value_t = 5000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch_rows: u32,
    /// Connections that work at the same time.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// When a write counts as done.
    #[arg(long, value_enum, default_value = "durable")]
    ack: Acknowledge,
    /// Requests a second are fixed by this many rows (ingest) or queries (search) a second, whether or not they are answered in time;
    /// latency counts from when each was due [default: as many as there is room for]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Seed of the rows.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Do not drop the collection in the end.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Arguments of `bench ingest`.
#[derive(Debug, clap::Args)]
pub struct IngestArguments {
    /// Write for this long: rows that were all written are written again, and replace themselves.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Rows, all made beforehand [default: 100000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// Writes in flight on each connection.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Name of the new collection [default: bench-PID]
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Wait for the index too, and tell its rate.
    #[arg(long)]
    wait_indexed: bool,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `bench search`.
#[derive(Debug, clap::Args)]
pub struct SearchArguments {
    /// Search for this long.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    seconds: f64,
    /// Rows of the new collection [default: 20000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// Search this collection instead; its own rows are the queries.
    #[arg(long, value_name = "NAME", conflicts_with = "rows")]
    collection: Option<String>,
    /// Results of a query.
    #[arg(short, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    k: u32,
    /// Candidates that the search keeps [default: the server's choice]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ef: Option<u32>,
    /// Compare with every row.
    #[arg(long)]
    exact: bool,
    /// Searches in flight on each connection.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    #[command(flatten)]
    common: Common,
}

impl Common {
    fn data(&self, rows: u64) -> Data {
        Data { dimension: self.dim as usize, element: self.element, metric: self.metric, rows, seed: self.seed }
    }

    fn rate(&self) -> Result<Option<f64>> {
        match self.rate {
            Some(rate) if !(rate > 0.0 && rate.is_finite()) => {
                Err(RequestProblem::Measure("--rate must be above 0").into())
            }
            rate => Ok(rate),
        }
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
    Ok(positive.ok_or(RequestProblem::Measure("--seconds must be above 0"))?)
}

/// Generates the load.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Ingest(arguments) => run_ingest(arguments),
        Command::Search(arguments) => run_search(arguments),
    }
}

fn run_ingest(arguments: &IngestArguments) -> Result<()> {
    let common = &arguments.common;
    let data = common.data(arguments.rows.unwrap_or(INGEST_ROWS));
    let load = Ingest {
        data,
        time: arguments.seconds.map(seconds).transpose()?,
        batch_rows: common.batch_rows as usize,
        connections: common.connections.into(),
        in_flight: arguments.in_flight.into(),
        rate: common.rate()?,
        ack: common.ack.into(),
    };
    let name = arguments.collection.clone().unwrap_or_else(|| format!("bench-{}", std::process::id()));
    let (temporary, collection) = Temporary::create(common.remote.connect()?, name, &data, common.keep)?;
    let ingested = load::ingest(&common.remote, &temporary.name, &load)?;
    let indexed = if arguments.wait_indexed {
        let waited = wait_indexed::wait(&collection, INDEX_TIMEOUT, common.remote.quiet())?;
        Some(waited.rows as f64 / (ingested.seconds + waited.seconds))
    } else {
        None
    };
    show_ingest(arguments, &data, &ingested, indexed);
    Ok(())
}

fn show_ingest(arguments: &IngestArguments, data: &Data, ingested: &Ingested, indexed: Option<f64>) {
    let common = &arguments.common;
    let vector_bytes = sources::vector_bytes(&data.schema(), 1) as f64;
    let rows_per_s = ingested.rows as f64 / ingested.seconds.max(1e-9);
    let mb_per_s = rows_per_s * vector_bytes / 1e6;
    if common.remote.json {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("rows", json!(ingested.rows));
        put("replaced", json!(ingested.replaced));
        put("seconds", json!(ingested.seconds));
        put("rows_per_s", json!(rows_per_s));
        put("mb_per_s", json!(mb_per_s));
        put("indexed_rows_per_s", json!(indexed));
        put("dim", json!(data.dimension));
        put("type", json!(data.element.name()));
        put("batch_rows", json!(common.batch_rows));
        put("connections", json!(common.connections));
        put("ack", json!(common.ack.name()));
        ingested.latencies.describe(&mut object);
        output::line(Value::Object(object));
        return;
    }
    output::line(format_args!(
        "{} rows of {} × {} in {:.2} s: {} rows/s, {} MB/s, {}",
        grouped(ingested.rows),
        data.dimension,
        data.element.name(),
        ingested.seconds,
        rate(rows_per_s),
        rate(mb_per_s),
        common.ack.name(),
    ));
    output::line(format_args!("writes of {} rows: {}", grouped(common.batch_rows.into()), ingested.latencies));
    if ingested.replaced > 0 {
        output::line(format_args!("{} rows were written again", grouped(ingested.replaced)));
    }
    if let Some(indexed) = indexed {
        output::line(format_args!("written and indexed: {} rows/s", rate(indexed)));
    }
}

fn run_search(arguments: &SearchArguments) -> Result<()> {
    let common = &arguments.common;
    let time = seconds(arguments.seconds)?;
    let client = common.remote.connect()?;
    let mut temporary = None;
    let (name, target, queries) = match &arguments.collection {
        Some(name) => {
            let collection = client.collection(name)?;
            let target = search::target(&collection, name, None)?;
            let queries = stored_queries(&collection, &target)?;
            (name.clone(), target, queries)
        }
        None => {
            let (made, target, queries) = make_collection(arguments, client)?;
            (temporary.insert(made).name.clone(), target, queries)
        }
    };
    let options = Options {
        k: arguments.k as usize,
        ef: arguments.ef.map(|ef| ef as usize),
        exact: arguments.exact,
        ..Options::default()
    };
    let bytes = search::encode(&queries, &target)?;
    let load = load::Search {
        collection: &name,
        target: &target,
        queries: &bytes,
        query_bytes: bytes.len() / queries.len(),
        options: &options,
        time,
        connections: common.connections.into(),
        in_flight: arguments.in_flight.into(),
        rate: common.rate()?,
    };
    let searched = load::search(&common.remote, &load)?;
    let qps = searched.queries as f64 / searched.seconds.max(1e-9);
    if common.remote.json {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("queries", json!(searched.queries));
        put("seconds", json!(searched.seconds));
        put("qps", json!(qps));
        put("k", json!(arguments.k));
        put("ef", json!(arguments.ef));
        put("exact", json!(arguments.exact));
        put("connections", json!(common.connections));
        searched.latencies.describe(&mut object);
        output::line(Value::Object(object));
    } else {
        let (queries, seconds) = (grouped(searched.queries), searched.seconds);
        output::line(format_args!(
            "{queries} queries in {seconds:.2} s: {} queries/s, {}",
            rate(qps),
            searched.latencies
        ));
    }
    Ok(())
}

/// A new collection of made-up rows, indexed, and queries that are like its rows.
fn make_collection(arguments: &SearchArguments, client: Client) -> Result<(Temporary, Target, ArrayRef)> {
    let common = &arguments.common;
    let rows = arguments.rows.unwrap_or(SEARCH_ROWS);
    let data = common.data(rows);
    let name = format!("bench-{}", std::process::id());
    let (temporary, collection) = Temporary::create(client, name, &data, common.keep)?;
    let load = Ingest {
        data,
        time: None,
        batch_rows: common.batch_rows as usize,
        connections: 1,
        in_flight: 4,
        rate: None,
        ack: common.ack.into(),
    };
    load::ingest(&common.remote, &temporary.name, &load)?;
    wait_indexed::wait(&collection, INDEX_TIMEOUT, common.remote.quiet())?;
    let target = search::target(&collection, &temporary.name, None)?;
    // Rows behind the last have the same centres, and are not stored.
    let queries = data.batch(rows, QUERIES).column(1).clone();
    Ok((temporary, target, queries))
}

/// Vectors of stored rows.
fn stored_queries(collection: &Collection, target: &Target) -> Result<ArrayRef> {
    for batch in collection.scan(&[target.column.as_str()])? {
        let batch = batch?;
        if batch.num_rows() > 0 {
            return Ok(batch.column(0).slice(0, batch.num_rows().min(QUERIES)));
        }
    }
    Err(RequestProblem::Measure("the collection is empty: there is nothing to search").into())
}
