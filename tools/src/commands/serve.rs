//! `broadhead serve`: the server, until SIGTERM or Ctrl-C.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use net::server::{self, ServerOptions};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::config::{ADMIN_DEFAULT, ADMIN_OFF, Config, LISTEN_DEFAULT, Settings, Switch};
use crate::error::{Error, Result};
use crate::output;

/// Arguments of `serve`. Each has a variable and, but for the files, a key of the same name in the configuration file; a flag goes
/// before a variable, a variable before the file.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Data directory; it is made if it is not there.
    #[arg(long, env = "BROADHEAD_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    #[arg(long, env = "BROADHEAD_LISTEN", value_name = "HOST:PORT", help = format!("Address for clients; port 0 takes any [default: {LISTEN_DEFAULT}]"))]
    listen: Option<String>,
    #[arg(long, env = "BROADHEAD_ADMIN", value_name = "HOST:PORT", help = format!("Address for /healthz, /readyz and /metrics over HTTP, or `{ADMIN_OFF}` [default: {ADMIN_DEFAULT}]"))]
    admin: Option<String>,
    /// Number of shards, each a thread on a core of its own [default: one per core]
    #[arg(long, env = "BROADHEAD_SHARDS", value_name = "N")]
    shards: Option<usize>,
    /// Bytes of rows and graphs above which writes are refused; 0 for no limit [default: 80 % of the memory of the machine or
    /// control group]
    #[arg(long, env = "BROADHEAD_MEMORY_BUDGET", value_name = "BYTES")]
    memory_budget: Option<u64>,
    /// Rows of a collection that may wait for the indexer; writers are slowed down above [default: any number]
    #[arg(long, env = "BROADHEAD_INDEX_LAG_MAX", value_name = "ROWS")]
    index_lag_max: Option<u64>,
    /// Look into the recall of some of the queries when a shard has nothing else to do; `stats` and /metrics show it [default: on]
    #[arg(long, env = "BROADHEAD_RECALL_SAMPLING", value_name = "on|off", hide_possible_values = true)]
    recall_sampling: Option<Switch>,
    /// Configuration file in TOML: data, listen, admin, shards, memory_budget, index_lag_max, recall_sampling.
    #[arg(long, env = "BROADHEAD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the port for clients to this file once it is open.
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
}

impl Arguments {
    /// The configuration from all sources.
    fn configuration(self) -> Result<Config> {
        let file = match &self.config {
            Some(path) => Settings::from_file(path)?,
            None => Settings::default(),
        };
        let Arguments { data, listen, admin, shards, memory_budget, index_lag_max, recall_sampling, .. } = self;
        let flags = Settings { data, listen, admin, shards, memory_budget, index_lag_max, recall_sampling };
        flags.or(file).resolve()
    }
}

/// Runs the server.
pub fn run(arguments: Arguments) -> Result<()> {
    let port_file = arguments.port_file.clone();
    let config = arguments.configuration()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // A second signal ends the process at once; what is acknowledged is on disk all the same.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
            .map_err(Error::io("handle signals of", "process"))?;
        signal_hook::flag::register(signal, stop.clone()).map_err(Error::io("handle signals of", "process"))?;
    }
    let options = ServerOptions {
        data: config.data,
        listen: config.listen,
        admin: config.admin,
        shards: config.shards.unwrap_or(0),
        memory_budget: config.memory_budget,
        index_lag_max: config.index_lag_max,
        recall_sampling: config.recall_sampling,
        ..ServerOptions::default()
    };
    let mut announced = Ok(());
    let ended = server::run(options, stop.clone(), |addresses| {
        announced = announce(addresses.listen, port_file.as_deref());
        // Whoever waits for the port would wait for ever.
        if announced.is_err() {
            stop.store(true, Ordering::Release);
        }
    });
    announced?;
    Ok(ended?)
}

/// Tells where clients find the server: a line on standard output, and the port alone in a file.
fn announce(address: std::net::SocketAddr, port_file: Option<&Path>) -> Result<()> {
    if let Some(path) = port_file {
        // Written aside and renamed: a reader finds the whole number or no file.
        let aside = path.with_extension("tmp");
        std::fs::write(&aside, format!("{}\n", address.port())).map_err(Error::io("write", &aside))?;
        std::fs::rename(&aside, path).map_err(Error::io("write", path))?;
    }
    output::line(format_args!("listening on {address}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn every_setting_has_its_variable() {
        let command = Line::command();
        for argument in
            command.get_arguments().filter(|argument| argument.get_id() != "port_file" && argument.get_id() != "help")
        {
            let variable = format!("BROADHEAD_{}", argument.get_id().as_str().to_uppercase());
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        }
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        std::fs::write(&file, "data = \"/file\"\nlisten = \"127.0.0.1:1\"\n").unwrap();
        let matches = Line::command()
            .mut_args(|argument| argument.env(None::<&str>))
            .try_get_matches_from(["serve", "--data", "/flag", "--config", file.to_str().unwrap()])
            .unwrap();
        let config = Line::from_arg_matches(&matches).unwrap().arguments.configuration().unwrap();
        assert_eq!(config.data, PathBuf::from("/flag"));
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.admin.unwrap().to_string(), ADMIN_DEFAULT);
        assert_eq!(config.shards, None);
    }

    #[test]
    fn the_port_file_holds_the_port() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("port");
        announce("127.0.0.1:4711".parse().unwrap(), Some(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "4711\n");
    }
}
