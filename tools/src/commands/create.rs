//! `broadhead create`: a collection of a schema that is given.

use std::path::Path;

use engine::schema::json;
use net::client::CollectionOptions;

use crate::cli::Remote;
use crate::commands::describe;
use crate::error::{Error, Result};

/// Arguments of `create`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the collection.
    #[arg(value_name = "NAME")]
    name: String,
    /// Its schema: JSON, or a file of it. {"columns": [{"name": "id", "type": "u64"}, {"name": "v", "type": "vector", "dimension": 384}]}
    #[arg(long, value_name = "FILE|JSON")]
    schema: String,
    /// No error where there is one of this name and schema.
    #[arg(long)]
    if_not_exists: bool,
    /// Links per node of the graph; 0: the server's default.
    #[arg(long, default_value_t = 0, value_name = "M")]
    m: u16,
    /// Candidates while the graph is built; 0: the server's default.
    #[arg(long, default_value_t = 0, value_name = "N")]
    ef_construction: u16,
    /// The server may drop the collection with all its rows when memory is short: it is a cache.
    #[arg(long)]
    evictable: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Creates the collection and shows it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let schema = json::parse(&text_of(&arguments.schema)?).map_err(net::Error::from)?;
    let options = CollectionOptions {
        m: arguments.m,
        ef_construction: arguments.ef_construction,
        if_not_exists: arguments.if_not_exists,
        evictable: arguments.evictable,
    };
    let client = arguments.remote.connect()?;
    client.create_collection(&arguments.name, &schema, options)?;
    describe::show(&client, &arguments.name, arguments.remote.json)
}

/// JSON as it is given, or what a file of that name holds.
pub fn text_of(argument: &str) -> Result<String> {
    if argument.trim_start().starts_with(['{', '[']) {
        return Ok(argument.to_owned());
    }
    std::fs::read_to_string(argument).map_err(Error::io("read", Path::new(argument)))
}
