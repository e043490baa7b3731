//! The command line: subcommands, and the options that several of them share.

use std::io::IsTerminal;

use clap::{Args, Parser, Subcommand, ValueEnum};
use net::client::{Ack, Client, ClientOptions, UpdateOptions};

use crate::commands::{
    alter, bench, collections, count, create, delete, demo, describe, drop_collection, eval, facets, get, import,
    namespace, scan, search, serve, snapshot, stats, traverse, update, wait_indexed,
};
use crate::error::{Error, Result};

/// Broadhead: a thread-per-core vector storage engine.
#[derive(Debug, Parser)]
#[command(name = "broadhead", version, max_term_width = 120)]
pub struct Cli {
    /// What to log to standard error: error, warn, info, debug, trace, or per module as in `net=debug,info`.
    #[arg(long, global = true, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve(serve::Arguments),
    /// Import files into a collection: Parquet, JSON lines, NumPy.
    Import(import::Arguments),
    /// Find the nearest rows to a row, a vector or a file of vectors.
    Search(search::Arguments),
    /// Go along edges to the nodes that they lead to.
    Traverse(traverse::Arguments),
    /// Show rows by id.
    Get(get::Arguments),
    /// Give columns of rows new values, by id.
    Update(update::Arguments),
    /// Show all rows, or those that a filter is true of, or write them to a file.
    Scan(scan::Arguments),
    /// Count rows.
    Count(count::Arguments),
    /// Show the values of a column, the most frequent first.
    Facets(facets::Arguments),
    /// Delete rows by id, or those that a filter is true of.
    Delete(delete::Arguments),
    /// Show counters of the server.
    Stats(stats::Arguments),
    /// Create a collection of a schema.
    Create(create::Arguments),
    /// Add columns to a collection.
    Alter(alter::Arguments),
    /// Show a collection with its columns.
    Describe(describe::Arguments),
    /// List the namespaces, with what they have and may have.
    Namespaces(namespace::List),
    /// Make a namespace with quotas, change them, or drop it.
    #[command(subcommand)]
    Namespace(namespace::Command),
    /// List the collections.
    Collections(collections::Arguments),
    /// Drop a collection with all its rows.
    Drop(drop_collection::Arguments),
    /// Write a snapshot of a collection; it frees the log before it and makes the next start quick.
    Snapshot(snapshot::Arguments),
    /// Wait until every row is in the index.
    WaitIndexed(wait_indexed::Arguments),
    /// Measure recall and speed of search against the exact truth.
    Eval(eval::Arguments),
    /// Generate load and measure it.
    #[command(subcommand)]
    Bench(bench::Command),
    /// The whole path on a temporary server: import, index, measure, search, clean up.
    Demo(demo::Arguments),
}

/// Where the server is, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// Address of the server.
    #[arg(long, env = "BROADHEAD_SERVER", default_value = crate::config::LISTEN_DEFAULT, value_name = "HOST:PORT")]
    pub server: String,
    /// Print JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

impl Remote {
    /// Connects to the server.
    pub fn connect(&self) -> Result<Client> {
        self.connect_gathering(0)
    }

    /// Connects to the server, to send small requests together: see [`ClientOptions::gather_bytes`].
    pub fn connect_gathering(&self, gather_bytes: usize) -> Result<Client> {
        let options = ClientOptions {
            name: concat!("broadhead ", env!("CARGO_PKG_VERSION")).to_owned(),
            gather_bytes,
            ..ClientOptions::default()
        };
        Client::connect(&self.server, options).map_err(Error::Unreachable)
    }

    /// No progress is shown: the output is for a program that reads both streams.
    pub fn quiet(&self) -> bool {
        self.json && !std::io::stderr().is_terminal()
    }
}

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acknowledge {
    /// It is on disk.
    Durable,
    /// It is accepted, in order; a crash can lose it.
    Memory,
}

impl Acknowledge {
    /// As in the output.
    pub fn name(self) -> &'static str {
        match self {
            Acknowledge::Durable => "durable",
            Acknowledge::Memory => "memory",
        }
    }
}

impl From<Acknowledge> for Ack {
    fn from(acknowledge: Acknowledge) -> Ack {
        match acknowledge {
            Acknowledge::Durable => Ack::Durable,
            Acknowledge::Memory => Ack::Memory,
        }
    }
}

/// What a write does where a row of an id is there, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// It inserts the row, or replaces the one that is there.
    Upsert,
    /// It inserts rows; a batch is refused where one of its ids is there.
    Insert,
    /// It replaces rows; a batch is refused where one of its ids is not there.
    Replace,
    /// It gives the columns of the file new values in rows that are there.
    Update,
}

/// What an update does with rows that are not there, or that are not to be changed.
#[derive(Debug, Clone, Default, Args)]
pub struct Conditions {
    /// What is done with ids that no row has.
    #[arg(long, value_enum, default_value = "refuse")]
    pub missing: Missing,
    /// Update only rows that this is true of, as with search.
    #[arg(long = "if", value_name = "FILTER")]
    pub filter: Option<String>,
    /// Update only rows whose value in this column is less than the new one: u64, i64 or a timestamp.
    #[arg(long = "if-newer", value_name = "COLUMN")]
    pub newer: Option<String>,
    /// Leave out rows that are not to be changed, instead of refusing the update.
    #[arg(long)]
    pub skip_unmet: bool,
}

impl Conditions {
    /// As the client takes them.
    pub fn options(&self) -> UpdateOptions<'_> {
        UpdateOptions {
            missing: match self.missing {
                Missing::Refuse => net::client::Missing::Refuse,
                Missing::Skip => net::client::Missing::Skip,
                Missing::Insert => net::client::Missing::Insert,
            },
            filter: self.filter.as_deref().unwrap_or_default(),
            newer: self.newer.as_deref(),
            skip_unmet: self.skip_unmet,
        }
    }

    /// Whether there are any.
    pub fn is_default(&self) -> bool {
        self.missing == Missing::Refuse && self.filter.is_none() && self.newer.is_none() && !self.skip_unmet
    }
}

/// What an update does with ids that no row has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Missing {
    /// It is refused.
    #[default]
    Refuse,
    /// They are left out.
    Skip,
    /// They are inserted, with null in the columns that are not given.
    Insert,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> std::result::Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_line_is_understood() {
        for line in [
            "broadhead serve --data d --listen 127.0.0.1:0 --admin 127.0.0.1:0 --shards 2 --config f.toml --port-file p",
            "broadhead import a.parquet b.jsonl --collection c --server h:1 --id k --vector v --metric l2 --batch-rows 9 \
             --connections 2 --ack memory",
            "broadhead import a.parquet --collection c --mode insert --ttl until=0 --text a --text b=english",
            "broadhead search --collection c --like a,b --like [\"c,d\"] --unlike e",
            "broadhead import a.parquet --collection c --mode replace --json",
            "broadhead search --collection c --vector [0.1,0.2]",
            "broadhead search --collection c --npy q.npy",
            "broadhead traverse --collection e --from a,b --hops 2 --types depends --direction out --decay 0.5 --json",
            "broadhead traverse --collection e --from 1 --hops 3 --hops-min 0 --direction both --fan-out 9 --weight-min 0.5 --missing",
            "broadhead import e.jsonl --collection e --edge-from a --edge-to b --edge-type t --edge-weight w --nodes c",
            "broadhead get --collection c --ids 1,2,3 --json",
            "broadhead import a.parquet --collection c --mode update --missing insert --if-newer v --skip-unmet",
            "broadhead update --collection c --ids 1,2 --set {\"a\":null} --missing skip --if {} --json",
            "broadhead search --collection c --like 7 -k 5 --ef 64 --exact --explain --columns a,b --json",
            "broadhead scan --collection c --columns a,b --filter {} --limit 5 --json",
            "broadhead scan --collection c --to rows.parquet",
            "broadhead count --collection c --filter {} --json",
            "broadhead facets --collection c --column section --limit 5 --filter {} --json",
            "broadhead delete --collection c --ids a,b",
            "broadhead delete --collection c --filter {} --json",
            "broadhead delete --collection c --all",
            "broadhead stats --json",
            "broadhead collections --server h:1",
            "broadhead create c --schema s.json --if-not-exists --m 8",
            "broadhead describe c --json",
            "broadhead namespaces --json",
            "broadhead namespace put t --rows 10 --bytes 1000 --rows-per-s 5 --bytes-per-s 6 --new",
            "broadhead namespace drop t",
            "broadhead alter c --add {} --add more.json",
            "broadhead drop --collection c",
            "broadhead snapshot --collection c",
            "broadhead wait-indexed --collection c --timeout 5",
            "broadhead eval q.parquet --collection c -k 10 --ef 16,32,64 --threads 2 --json",
            "broadhead bench ingest --seconds 3 --dim 384 --type f16 --batch-rows 1000 --connections 2 --ack durable --json",
            "broadhead bench ingest --sweep --connections 1,8 --csv a.csv --plot a.svg",
            "broadhead bench ingest --batch-rows 1000..8000 --connections 1..8 --wait-indexed",
            "broadhead bench ingest --soak 60 --check --search-rate 20 --per-second --plot a.png",
            "broadhead bench ingest --seconds 5 --collection c --ack-log acks --ids 20000 --unaware --warm-up 2 --samples 0",
            "broadhead bench verify --ack-log acks --json",
            "broadhead bench search --rows 1000 --rate 500 --json --log debug",
            "broadhead demo --packages p --queries q",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn usage_errors_are_told_and_exit_with_2() {
        for line in [
            "broadhead",
            "broadhead fly",
            "broadhead import --collection c",
            "broadhead search --collection c",
            "broadhead search --collection c --like 1 --npy f.npy",
            "broadhead search --collection c --like 1 -k 0",
            "broadhead get --collection c",
            "broadhead delete --collection c",
            "broadhead delete --collection c --ids 1 --all",
            "broadhead get --collection c --ids [a]",
            "broadhead update --collection c --ids 1",
            "broadhead traverse --collection e",
            "broadhead traverse --collection e --from a --hops 0",
            "broadhead traverse --collection e --from a --raw",
            "broadhead import e.jsonl --collection e --edge-from a",
            "broadhead facets --collection c",
            "broadhead scan --collection c --limit 0",
            "broadhead import f.npy --collection c --ack maybe",
            "broadhead eval q.parquet --collection c --ef 0",
            "broadhead bench ingest --batch-rows 0",
            "broadhead bench ingest --sweep --batch-rows 10",
            "broadhead bench ingest --soak 5 --rows 10",
            "broadhead bench ingest --check",
            "broadhead bench verify",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn help_shows_the_defaults() {
        let mut command = Cli::command();
        let help = command.find_subcommand_mut("serve").unwrap().render_long_help().to_string();
        for default in [crate::config::LISTEN_DEFAULT, crate::config::ADMIN_DEFAULT, "one per core", "BROADHEAD_DATA"] {
            assert!(help.contains(default), "{default} is not in:\n{help}");
        }
    }
}
