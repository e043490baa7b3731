//! `broadhead scan`: all rows, or those that a filter is true of, to standard output or to a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use net::client::Collection;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::commands::{json_row, readable_columns};
use crate::error::{Error, FileProblem, Result};
use crate::output::{self, Table, text_cell};

/// Rows that are shown where nothing else is said: a table of all is for nobody.
const SHOWN_ROWS: u64 = 100;

/// Arguments of `scan`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Only rows that this is true of: {"column": "kib", "<": 10}, {"and": […]}, {"or": […]}, {"not": …}
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    filter: String,
    /// Columns to read [default: all but the vectors; with --to all]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    columns: Vec<String>,
    /// Rows, at most [default: 100 in a table, else all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Write to this file, which is made anew: .parquet, or .jsonl for JSON lines.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

/// Reads and shows or writes.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collection = client.collection(&arguments.collection)?;
    let columns = match (&arguments.columns[..], &arguments.to) {
        ([], Some(_)) => collection.schema().fields().iter().map(|field| field.name().clone()).collect(),
        ([], None) => readable_columns(&collection),
        (columns, _) => columns.to_vec(),
    };
    if let Some(path) = &arguments.to {
        let rows = write(arguments, &collection, &columns, path)?;
        if arguments.remote.json {
            output::line(json!({ "rows": rows }));
        } else {
            output::line(format_args!("{} rows in {}", output::grouped(rows), path.display()));
        }
        return Ok(());
    }
    if arguments.remote.json {
        each_batch(arguments, &collection, &columns, arguments.limit, |batch| {
            (0..batch.num_rows()).for_each(|row| output::line(Value::Object(json_row(batch, row))));
            Ok(())
        })?;
        return Ok(());
    }
    let limit = arguments.limit.unwrap_or(SHOWN_ROWS);
    let mut table = Table::new(columns.iter().map(String::as_str));
    let shown = each_batch(arguments, &collection, &columns, Some(limit), |batch| {
        (0..batch.num_rows()).for_each(|row| table.row(batch.columns().iter().map(|column| text_cell(column, row))));
        Ok(())
    })?;
    table.print();
    if shown == limit && arguments.limit.is_none() {
        output::line(format_args!("the first {limit} rows; --limit shows more"));
    }
    Ok(())
}

/// Hands batch after batch to `take`, and gives the number of rows.
fn each_batch(
    arguments: &Arguments,
    collection: &Collection,
    columns: &[String],
    limit: Option<u64>,
    mut take: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<u64> {
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let scan = collection.scan(&columns)?.with_filter(&arguments.filter);
    let scan = match limit {
        Some(limit) => scan.with_limit(limit),
        None => scan,
    };
    let mut rows = 0;
    for batch in scan {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        take(&batch)?;
    }
    Ok(rows)
}

fn write(arguments: &Arguments, collection: &Collection, columns: &[String], path: &Path) -> Result<u64> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let is_parquet = match ending {
        "parquet" => true,
        "jsonl" | "ndjson" => false,
        _ => return Err(Error::file(path)(FileProblem::UnknownOutput)),
    };
    let io = |operation| move |source| Error::Io { operation, path: path.to_owned(), source };
    // Before the file is made: a wrong filter leaves the one that is there as it was.
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let schema = collection.scan(&names)?.schema();
    collection.count(&arguments.filter)?;
    let file = File::create(path).map_err(io("create"))?;
    if is_parquet {
        let parquet = |error| Error::file(path)(FileProblem::Parquet(error));
        let mut writer = ArrowWriter::try_new(file, schema, None).map_err(parquet)?;
        let rows =
            each_batch(arguments, collection, columns, arguments.limit, |batch| writer.write(batch).map_err(parquet))?;
        writer.close().map_err(parquet)?;
        return Ok(rows);
    }
    let mut file = BufWriter::new(file);
    let rows = each_batch(arguments, collection, columns, arguments.limit, |batch| {
        (0..batch.num_rows())
            .try_for_each(|row| writeln!(file, "{}", Value::Object(json_row(batch, row))))
            .map_err(io("write"))
    })?;
    file.flush().map_err(io("write"))?;
    Ok(rows)
}
