//! `broadhead bench search`: searches, as many as there is room for or at a rate.

use arrow::array::{Array, ArrayRef};
use net::client::{Client, Collection, Id};
use serde_json::{Map, Value, json};

use super::{Common, INDEX_TIMEOUT, Temporary, seconds};
use crate::commands::search::{self, Options, Target};
use crate::commands::wait_indexed;
use crate::error::{RequestProblem, Result};
use crate::load::{self, Ingest, Pool};
use crate::output::{self, grouped, rate};
use crate::recall::{self, Truth};

/// Rows that are searched where nothing is said.
const ROWS: u64 = 20_000;
/// Rows of a write of them.
const BATCH_ROWS: usize = 5_000;
/// Different queries that are asked.
const QUERIES: usize = 1_000;
/// Queries whose answers are compared with the exact ones.
const RECALL_QUERIES: usize = 200;

/// Arguments of `bench search`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
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
    /// Connections that work at the same time.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Queries a second over all connections, whether or not they are answered in time; latency counts from when each was due [default:
    /// as many as there is room for]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Searches in flight on each connection.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    #[command(flatten)]
    common: Common,
}

/// Searches, compares a sample of the answers with the exact ones, and shows.
pub fn run(arguments: &Arguments) -> Result<()> {
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
            let (made, target, queries) = make_collection(arguments, common.remote.connect()?)?;
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
        connections: arguments.connections.into(),
        in_flight: arguments.in_flight.into(),
        rate: super::rate(arguments.rate)?,
    };
    let collection = client.collection(&name)?;
    let sample = Sample::take(&collection, &load, common.remote.quiet())?;
    let searched = load::search(&common.remote, &load)?;
    let recall = sample.recall(&searched, options.k);
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
        put("recall", json!(recall));
        put("recall_queries", json!(sample.places.len()));
        put("connections", json!(arguments.connections));
        searched.latencies.describe(&mut object);
        output::line(Value::Object(object));
    } else {
        let (queries, seconds) = (grouped(searched.queries), searched.seconds);
        output::line(format_args!(
            "{queries} queries in {seconds:.2} s: {} queries/s, {}, recall@{} {recall:.4} ({} queries)",
            rate(qps),
            searched.latencies,
            arguments.k,
            sample.places.len(),
        ));
    }
    Ok(())
}

/// Some of the queries of a load, with their exact answers. Where the collection is written to beside the search, the two differ by
/// that, too.
struct Sample {
    /// Numbers of the queries.
    places: Vec<usize>,
    truths: Vec<Truth>,
}

impl Sample {
    fn take(collection: &Collection, load: &load::Search<'_>, quiet: bool) -> Result<Sample> {
        let count = load.queries.len() / load.query_bytes;
        let places: Vec<usize> = (0..count).step_by(count.div_ceil(RECALL_QUERIES)).collect();
        let query = |&place: &usize| &load.queries[place * load.query_bytes..][..load.query_bytes];
        let queries: Vec<u8> = places.iter().flat_map(query).copied().collect();
        let truths = recall::exact_truths(collection, load.target, &queries, load.query_bytes, load.options.k, quiet)?;
        Ok(Sample { places, truths })
    }

    fn recall(&self, searched: &load::Searched, k: usize) -> f64 {
        let found: Vec<Vec<Id>> = self.places.iter().map(|&place| searched.found(place)).collect();
        recall::recall(found.iter().map(Vec::as_slice).zip(&self.truths), k)
    }
}

/// A new collection of made-up rows, indexed, and queries that are like its rows.
fn make_collection(arguments: &Arguments, client: Client) -> Result<(Temporary, Target, ArrayRef)> {
    let common = &arguments.common;
    let rows = arguments.rows.unwrap_or(ROWS);
    let data = common.data(rows)?;
    let name = format!("bench-{}", std::process::id());
    let (temporary, collection) = Temporary::create(client, name, &data, common.keep)?;
    let batch_rows = BATCH_ROWS.min(rows as usize);
    let pool = Pool::new(data, rows, batch_rows);
    let load = Ingest { batch_rows, ..Ingest::new(&pool, rows) };
    load::ingest(&common.remote, &temporary.name, &load)?;
    wait_indexed::wait(&collection, INDEX_TIMEOUT, common.remote.quiet())?;
    let target = search::target(&collection, &temporary.name, None)?;
    // Rows behind the last have the same centres, and are not stored.
    let queries = data.vectors(rows, QUERIES);
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
