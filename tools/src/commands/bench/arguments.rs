//! What `broadhead bench ingest` can be told.

use std::path::PathBuf;
use std::time::Duration;

use super::values::{self, Values};
use super::{Common, rate, seconds};
use crate::cli::Acknowledge;
use crate::error::{RequestProblem, Result};
use crate::load::{Routing, Until};

/// Ids where nothing is said, and fewer do for one round.
const IDS: u64 = 100_000;
/// Time of each combination of a sweep where nothing is said.
const SWEEP_TIME: Duration = Duration::from_secs(2);
/// Rows of the batches of a sweep.
const SWEEP: [u32; 9] = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000];
/// Rows of a batch where nothing is said.
const BATCH_ROWS: u32 = 5_000;

/// Writes rows over and over, and tells what came of it. Four rates, which must not be taken for each other:
///
///   in memory   a row counts when the server has accepted it, in order; a crash can lose it
///   durable     a row counts when it is on disk: it survives a crash
///   searchable  durable rows that a reader found the moment they were acknowledged: a sample is read by id and searched for while the
///               load goes on, and the share that was found is told
///   indexed     rows in the graph, over the time of the load and the wait for the index together
///
/// Each kind of acknowledgement is a pass of its own, on a new collection. MB are 10^6 bytes of vectors. Latency is of a whole
/// batch, from when it was due until the acknowledgement of all its rows was read.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Ids that are written, from the first to the last and then again: a row of a later round replaces that of the one before. Batches are
    /// prepared before the clock starts and kept in 256 MiB of the client's memory, or one batch a connection; larger id spaces
    /// get the same vectors again [default: 100000, or what a batch on each connection needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    ids: Option<u64>,
    /// Write so many rows, rounded up to whole batches [default: each id once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "seconds")]
    pub(super) rows: Option<u64>,
    /// Write for this long.
    #[arg(long, value_name = "SECONDS")]
    pub(super) seconds: Option<f64>,
    /// Write for this long before anything is measured, so that fresh memory is not.
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<f64>,
    /// Rows of a batch: N, a list A,B,C, a range A..B (doubled each time) or A..B+STEP. What does not fit one frame a shard (24 MiB) is sent
    /// as several, and acknowledged when all of them are [default: 5000]
    #[arg(long, value_name = "LIST", value_parser = |text: &str| values::parse(text, 1_000_000))]
    batch_rows: Option<Values>,
    /// Connections that write at the same time, each to every shard: as --batch-rows.
    #[arg(long, default_value = "1", value_name = "LIST", value_parser = |text: &str| values::parse(text, 1_024))]
    connections: Values,
    /// Batches of 100, 200, 500, 1000, 2000, 5000, 10000, 20000 and 50000 rows, with each number of connections, 2 s each.
    #[arg(long, conflicts_with = "batch_rows")]
    pub(super) sweep: bool,
    /// Batches in flight on each connection.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) in_flight: u16,
    /// Only this kind of acknowledgement [default: a pass of each]
    #[arg(long, value_enum)]
    pub(super) ack: Option<Acknowledge>,
    /// Rows a second over all connections, whether or not they are acknowledged in time; latency counts from when each batch was due
    /// [default: as many as there is room for]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Send whole batches to one shard each, as a client does that knows nothing of shards.
    #[arg(long)]
    unaware: bool,
    /// Acknowledged rows a second that are looked for at once; 0 for none.
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    samples: f64,
    /// Whether to wait for the index and tell its rate [default: true for a single combination]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub(super) wait_indexed: Option<bool>,
    /// Write durably for this long while rows are indexed and searches are asked, and tell how even it was and what grew.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["rows", "seconds", "sweep"])]
    pub(super) soak: Option<f64>,
    /// Searches a second (k = 10) beside a soak.
    #[arg(long, default_value_t = 20.0, value_name = "N")]
    search_rate: f64,
    /// Exit code 1 where a soak misses a goal: variation of MB/s at most 10 %, slowest second at least 0.7 of the median, search p99 at
    /// most 25 ms, memory and disk of the last third at most 1.1 of the second third.
    #[arg(long, requires = "soak")]
    pub(super) check: bool,
    /// Print every second: MB/s, rows/s, latency, the server's memory and disk space, rows that wait for the index. Always part of --json.
    #[arg(long)]
    pub(super) per_second: bool,
    /// Write every second to this file, with a header line.
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<PathBuf>,
    /// Draw throughput over time and latency by percentile (a sweep: throughput by rows of a batch) into FILE.svg or FILE.png.
    #[arg(long, value_name = "FILE")]
    pub(super) plot: Option<PathBuf>,
    /// Append what was acknowledged as durable to this file, for `bench verify`; the collection is kept, and written on if it is there.
    #[arg(long, value_name = "FILE")]
    pub(super) ack_log: Option<PathBuf>,
    /// Name of the collection [default: bench-PID]
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// One line of a sweep.
#[derive(Debug, Clone, Copy)]
pub struct Combination {
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Connections.
    pub connections: usize,
    /// Different ids.
    pub ids: u64,
}

impl Arguments {
    /// All batches with all numbers of connections.
    pub fn combinations(&self) -> Vec<Combination> {
        let batch_rows = match &self.batch_rows {
            Some(values) => &values.0[..],
            None if self.sweep => &SWEEP,
            None => &[BATCH_ROWS],
        };
        let one = |connections: u32, batch_rows: u32| Combination {
            batch_rows: batch_rows as usize,
            connections: connections as usize,
            ids: self
                .ids
                .unwrap_or(IDS.max(u64::from(batch_rows) * u64::from(connections)).max(self.rows.unwrap_or(0))),
        };
        let connections = self.connections.0.iter();
        connections.flat_map(|&connections| batch_rows.iter().map(move |&rows| one(connections, rows))).collect()
    }

    /// How long, or how much.
    pub fn until(&self, combination: Combination, is_sweep: bool) -> Result<Until> {
        if let Some(time) = self.soak.or(self.seconds) {
            return Ok(Until::Time(seconds(time)?));
        }
        Ok(match self.rows {
            Some(rows) => Until::Rows(rows),
            None if is_sweep => Until::Time(SWEEP_TIME),
            None => Until::Rows(combination.ids),
        })
    }

    /// The passes.
    pub fn acknowledgements(&self) -> Vec<Acknowledge> {
        match self.ack {
            Some(one) => vec![one],
            None if self.soak.is_some() || self.ack_log.is_some() => vec![Acknowledge::Durable],
            None => vec![Acknowledge::Memory, Acknowledge::Durable],
        }
    }

    /// Time before the clock starts.
    pub fn warm_up(&self) -> Result<Duration> {
        self.warm_up.map_or(Ok(Duration::ZERO), seconds)
    }

    /// Rows a second.
    pub fn rate(&self) -> Result<Option<f64>> {
        rate(self.rate)
    }

    /// Samples a second.
    pub fn samples(&self) -> Result<f64> {
        let is_rate = self.samples >= 0.0 && self.samples.is_finite();
        if is_rate { Ok(self.samples) } else { Err(RequestProblem::Measure("--samples must be 0 or above").into()) }
    }

    /// Searches a second.
    pub fn searches(&self) -> Result<Option<f64>> {
        rate(self.soak.map(|_| self.search_rate))
    }

    /// Where batches go.
    pub fn routing(&self) -> Routing {
        if self.unaware { Routing::Unaware } else { Routing::Aware }
    }

    /// Name of the collection.
    pub fn collection(&self) -> String {
        self.collection.clone().unwrap_or_else(|| format!("bench-{}", std::process::id()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Arguments {
        Line::try_parse_from(std::iter::once("ingest").chain(line.split_whitespace())).unwrap().arguments
    }

    #[test]
    fn every_batch_size_meets_every_number_of_connections() {
        let sweep = parse("--sweep --connections 1,8").combinations();
        assert_eq!(sweep.len(), 18);
        let last = sweep.last().unwrap();
        assert_eq!((last.batch_rows, last.connections, last.ids), (50_000, 8, 400_000));
        let one = parse("").combinations();
        assert_eq!((one.len(), one[0].batch_rows, one[0].connections, one[0].ids), (1, 5_000, 1, 100_000));
        assert_eq!(parse("--rows 300000").combinations()[0].ids, 300_000, "each row another id, if not told otherwise");
        assert_eq!(parse("--rows 300000 --ids 7").combinations()[0].ids, 7);
    }

    #[test]
    fn passes_and_ends() {
        assert_eq!(parse("").acknowledgements().len(), 2);
        assert_eq!(parse("--ack memory").acknowledgements(), [Acknowledge::Memory]);
        let soak = parse("--soak 3");
        assert_eq!(soak.acknowledgements(), [Acknowledge::Durable]);
        assert_eq!(soak.until(soak.combinations()[0], false).unwrap(), Until::Time(Duration::from_secs(3)));
        assert!(soak.searches().unwrap().is_some() && parse("").searches().unwrap().is_none());
        assert!(parse("--seconds 0").until(soak.combinations()[0], false).is_err());
        assert!(parse("--samples=-1").samples().is_err());
        assert_eq!(parse("--wait-indexed").wait_indexed, Some(true));
        assert_eq!(parse("--wait-indexed false").wait_indexed, Some(false));
    }
}
