//! `broadhead facets`: the values of a column, the most frequent first, with how often each is there.

use serde_json::json;

use crate::cli::Remote;
use crate::error::Result;
use crate::output::{self, Table, json_cell, text_cell};

/// Arguments of `facets`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// The column; of a list its items are counted.
    #[arg(long, value_name = "NAME")]
    column: String,
    /// Values to show, at most.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only of rows that this is true of: {"column": "kib", "<": 10}, {"and": […]}, {"or": […]}, {"not": …}
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    filter: String,
    #[command(flatten)]
    remote: Remote,
}

/// Counts and shows.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collection = client.collection(&arguments.collection)?;
    let facets = collection.facets(&arguments.column, arguments.limit as usize, &arguments.filter)?;
    let (values, counts) = (facets.values.column(0), facets.values.column(1));
    let rows = 0..facets.values.num_rows();
    if arguments.remote.json {
        let listed = rows.map(|row| json!({ "value": json_cell(values, row), "count": json_cell(counts, row) }));
        let listed: Vec<_> = listed.collect();
        output::line(json!({
            "values": listed,
            "distinct": facets.distinct,
            "others": facets.others,
            "nulls": facets.nulls,
            "recovering": facets.is_recovering,
        }));
        return Ok(());
    }
    let listed = rows.len() as u64;
    let mut table = Table::new([arguments.column.as_str(), "count"]);
    rows.for_each(|row| table.row([text_cell(values, row), text_cell(counts, row)]));
    table.print();
    if facets.distinct > listed {
        let (more, others) = (output::grouped(facets.distinct - listed), output::grouped(facets.others));
        output::line(format_args!("{more} more values, {others} times in all"));
    }
    if facets.nulls > 0 {
        output::line(format_args!("{} rows have none", output::grouped(facets.nulls)));
    }
    Ok(())
}
