//! `broadhead import`: files into a collection.
//!
//! One thread reads and decodes; each connection has a thread that splits, encodes and sends, with a bounded number of writes
//! in flight. Rows of one id that come more than once: with one connection the last wins, with more of them any may.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use engine::analyser::ANALYSER_KEY;
use engine::schema::{TEXT_KEY, TTL_KEY};
use net::client::{Ack, Client, Collection, CollectionOptions, Pending, UpdateReport, WriteMode, WriteReport};
use net::codec::Status;
use serde_json::json;

use crate::cli::{Acknowledge, Conditions, Mode, Remote};
use crate::error::{RequestProblem, Result};
use crate::output::{self, rate};
use crate::progress::Progress;
use crate::sources::{self, Coding, EdgeOptions, ElementType, Metric, SourceOptions};

/// Writes in flight on one connection.
const IN_FLIGHT_MAX: usize = 8;
/// Bytes of one write; a larger batch is sent in pieces.
const WRITE_BYTES_MAX: usize = 12 << 20;
/// Bytes of a text, as long as nothing is known of it.
const TEXT_BYTES_GUESS: usize = 64;

/// Arguments of `import`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Files: .parquet, .jsonl, .ndjson, .json (JSON lines), .npy.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Collection to import into; it is created if it is not there.
    #[arg(long, value_name = "NAME")]
    pub collection: String,
    /// Column of the ids, integers or strings [default: `id` if there is one, else the row number]
    #[arg(long, value_name = "COLUMN")]
    pub id: Option<String>,
    /// Ids that are numbers are i64 and may be negative, for a new collection [default: u64]
    #[arg(long)]
    pub signed_ids: bool,
    /// Column of the vectors; may be given several times [default: the only one there is]
    #[arg(long, value_name = "COLUMN")]
    pub vector: Vec<String>,
    /// How nearness is measured.
    #[arg(long, value_enum, default_value = "cosine")]
    pub metric: Metric,
    /// Element type that vectors are stored as, for a new collection; numbers are rounded to it, not scaled [default: the file's; of
    /// f64 and of JSON, which is read as f32, it is f32]
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub element: Option<ElementType>,
    #[command(flatten)]
    pub coding: Coding,
    #[command(flatten)]
    pub edges: EdgeOptions,
    /// Rows of one write.
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch_rows: u32,
    /// Connections that send at the same time.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: u16,
    /// What is done where a row of an id is there already, or is not.
    #[arg(long, value_enum, default_value = "upsert")]
    pub mode: Mode,
    #[command(flatten)]
    pub conditions: Conditions,
    /// When a write counts as done.
    #[arg(long, value_enum, default_value = "durable")]
    pub ack: Acknowledge,
    /// Rows are gone so many seconds after the time in a column of dates or timestamps, for a new collection.
    #[arg(long, value_name = "COLUMN=SECONDS")]
    pub ttl: Option<String>,
    /// Column of text whose words are indexed from the start, for a new collection, and how they are taken apart: `standard` [default],
    /// the name of a language, or {"stem": …, "stop": …, "fold": …}; may be given several times
    #[arg(long, value_name = "COLUMN[=ANALYSER]")]
    pub text: Vec<String>,
    /// Links per node of the graph, for a new collection; 0: the server's default.
    #[arg(long, default_value_t = 0, value_name = "M")]
    pub m: u16,
    /// Candidates while the graph is built, for a new collection; 0: the server's default.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub ef_construction: u16,
    /// The server may drop the collection with all its rows when memory is short: for a new collection that is a cache.
    #[arg(long)]
    pub evictable: bool,
    #[command(flatten)]
    pub remote: Remote,
}

/// What was imported.
#[derive(Debug, Default, Clone, Copy)]
pub struct Imported {
    /// Rows written.
    pub rows: u64,
    /// Of them, those whose id was there before.
    pub replaced: u64,
    /// Rows that an update left out.
    pub skipped: u64,
    /// Payload of the vectors, in bytes.
    pub vector_bytes: u64,
    /// From the first read to the last acknowledgement.
    pub seconds: f64,
}

impl Imported {
    /// Rows a second.
    pub fn rows_per_s(&self) -> f64 {
        self.rows as f64 / self.seconds.max(1e-9)
    }

    /// Payload of the vectors, 10^6 bytes a second.
    pub fn mb_per_s(&self) -> f64 {
        self.vector_bytes as f64 / 1e6 / self.seconds.max(1e-9)
    }
}

/// Imports the files and tells how it went.
pub fn run(arguments: &Arguments) -> Result<()> {
    let imported = import(arguments)?;
    let (rows_per_s, mb_per_s) = (imported.rows_per_s(), imported.mb_per_s());
    if arguments.remote.json {
        output::line(json!({
            "collection": arguments.collection, "rows": imported.rows, "replaced": imported.replaced,
            "skipped": imported.skipped,
            "vector_bytes": imported.vector_bytes, "seconds": imported.seconds,
            "rows_per_s": rows_per_s, "mb_per_s": mb_per_s, "ack": arguments.ack.name(),
        }));
        return Ok(());
    }
    let megabytes = imported.vector_bytes as f64 / 1e6;
    output::line(format_args!(
        "imported {} rows ({megabytes:.1} MB of vectors) in {:.2} s: {} rows/s, {} MB/s, {}{}{}",
        output::grouped(imported.rows),
        imported.seconds,
        rate(rows_per_s),
        rate(mb_per_s),
        arguments.ack.name(),
        if imported.replaced > 0 {
            format!("; {} replaced rows of the same id", output::grouped(imported.replaced))
        } else {
            String::new()
        },
        if imported.skipped > 0 {
            format!("; {} rows were left out", output::grouped(imported.skipped))
        } else {
            String::new()
        },
    ));
    Ok(())
}

/// Imports the files.
pub fn import(arguments: &Arguments) -> Result<Imported> {
    let started = Instant::now();
    if arguments.mode != Mode::Update && !arguments.conditions.is_default() {
        return Err(RequestProblem::NoUpdate.into());
    }
    let mut options = SourceOptions {
        id: arguments.id.clone(),
        vectors: arguments.vector.clone(),
        metric: arguments.metric,
        element: arguments.element,
        coding: arguments.coding.clone(),
        edges: arguments.edges.clone(),
        batch_rows: arguments.batch_rows as usize,
        signed_ids: arguments.signed_ids,
        first_row: 0,
    };
    // Every file is opened before anything is written: a wrong name or a wrong column shows at once.
    let open = |options: &SourceOptions| {
        arguments.files.iter().map(|path| sources::open(path, options)).collect::<Result<Vec<_>>>()
    };
    let mut sources = open(&options)?;
    let rows_total = sources.iter().map(|source| source.rows).sum::<Option<u64>>();
    let progress = Progress::start("importing", rows_total, arguments.remote.quiet());
    for (path, source) in arguments.files.iter().zip(&sources) {
        source.notes.iter().for_each(|note| progress.note(&format!("note: {}: {note}", path.display())));
    }
    let client = arguments.remote.connect()?;
    let schema = ready_collection(&client, arguments, &sources[0].schema)?;
    let signed_ids = *schema.field(sources::id_column(&schema)).data_type() == DataType::Int64;
    if signed_ids != options.signed_ids {
        options.signed_ids = signed_ids;
        sources = open(&options)?;
    }
    for (path, source) in arguments.files.iter().zip(&sources) {
        sources::conform(path, &source.schema, &schema).map(drop)?;
    }
    drop(sources);

    let batches = Mutex::new(sources::prefetch(read_files(arguments.files.clone(), options, schema.clone())));
    let tally = Mutex::new(Tally { imported: Imported::default(), progress, schema, failed: false });
    let mut results = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.connections)
            .map(|_| {
                scope.spawn(|| {
                    let result = send(arguments, &batches, &tally);
                    if result.is_err() {
                        lock(&tally).failed = true;
                    }
                    result
                })
            })
            .collect();
        results.extend(workers.into_iter().map(|worker| worker.join().expect("a sender does not panic")));
    });
    let mut tally = tally.into_inner().expect("a sender does not panic");
    tally.progress.finish();
    let failure = results.into_iter().find_map(Result::err);
    if let Some(error) = failure {
        tally.progress.note(&format!("{} rows were stored before the error", output::grouped(tally.imported.rows)));
        return Err(error);
    }
    tally.imported.seconds = started.elapsed().as_secs_f64();
    Ok(tally.imported)
}

/// Schema of the collection, which is created if it is not there; of an update, that of the columns that the file has.
fn ready_collection(client: &Client, arguments: &Arguments, schema: &SchemaRef) -> Result<SchemaRef> {
    let collection = match client.collection(&arguments.collection) {
        Err(error) if arguments.mode != Mode::Update && error.status() == Some(Status::UnknownCollection) => {
            let options = CollectionOptions {
                m: arguments.m,
                ef_construction: arguments.ef_construction,
                if_not_exists: true,
                evictable: arguments.evictable,
            };
            let schema = with_ttl(schema, arguments.ttl.as_deref())?;
            let schema = with_texts(&schema, &arguments.text)?;
            client.create_collection(&arguments.collection, &schema, options)?
        }
        found => found?,
    };
    let whole = collection.schema();
    if arguments.mode == Mode::Update {
        let id = sources::id_column(whole);
        let is_given = |index: usize| index == id || schema.index_of(whole.field(index).name()).is_ok();
        let given: Vec<usize> = (0..whole.fields().len()).filter(|&index| is_given(index)).collect();
        return Ok(Arc::new(whole.project(&given).expect("columns of the schema")));
    }
    Ok(whole.clone())
}

/// A schema with the time to live that `COLUMN=SECONDS` says.
fn with_ttl(schema: &SchemaRef, ttl: Option<&str>) -> Result<SchemaRef> {
    let Some(ttl) = ttl else { return Ok(schema.clone()) };
    let problem = || RequestProblem::Ttl(ttl.to_owned());
    let (column, seconds) = ttl.rsplit_once('=').ok_or_else(problem)?;
    let index = schema.index_of(column).map_err(|_| problem())?;
    Ok(with_metadata(schema, index, &[(TTL_KEY, seconds)]))
}

/// A schema with the text indexes that each `COLUMN[=ANALYSER]` says.
fn with_texts(schema: &SchemaRef, texts: &[String]) -> Result<SchemaRef> {
    let mut schema = schema.clone();
    for text in texts {
        let (column, analyser) = text.split_once('=').unwrap_or((text, "standard"));
        let index = schema.index_of(column).map_err(|_| RequestProblem::TextColumn(text.clone()))?;
        schema = with_metadata(&schema, index, &[(TEXT_KEY, "eager"), (ANALYSER_KEY, analyser)]);
    }
    Ok(schema)
}

/// A schema one field of which says more.
fn with_metadata(schema: &SchemaRef, index: usize, more: &[(&str, &str)]) -> SchemaRef {
    let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
    let mut metadata: HashMap<String, String> = fields[index].metadata().clone().into();
    metadata.extend(more.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    fields[index] = Arc::new(fields[index].as_ref().clone().with_metadata(metadata));
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The batches of all files, in the collection's schema.
fn read_files(
    files: Vec<PathBuf>,
    options: SourceOptions,
    schema: SchemaRef,
) -> impl Iterator<Item = Result<RecordBatch>> + Send {
    let mut files = files.into_iter();
    let mut current: Option<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> = None;
    let mut options = options;
    std::iter::from_fn(move || {
        loop {
            if let Some(batch) = current.as_mut().and_then(Iterator::next) {
                options.first_row += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
                return Some(batch);
            }
            let path = files.next()?;
            match open_conformed(&path, &options, &schema) {
                Ok(batches) => current = Some(batches),
                Err(error) => return Some(Err(error)),
            }
        }
    })
}

fn open_conformed(
    path: &Path,
    options: &SourceOptions,
    schema: &SchemaRef,
) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
    let source = sources::open(path, options)?;
    let conform = sources::conform(path, &source.schema, schema)?;
    Ok(Box::new(source.batches.map(move |batch| batch.and_then(|batch| conform(&batch)))))
}

/// What all connections have done.
struct Tally {
    imported: Imported,
    progress: Progress,
    schema: SchemaRef,
    failed: bool,
}

impl Tally {
    fn add(&mut self, rows: usize, done: &Done) {
        let written = rows as u64 - done.skipped;
        let bytes = sources::vector_bytes(&self.schema, written as usize) as u64;
        self.imported.rows += written;
        self.imported.replaced += done.replaced;
        self.imported.skipped += done.skipped;
        self.imported.vector_bytes += bytes;
        self.progress.add(rows as u64, bytes);
    }
}

/// A batch on its way.
enum Sent {
    Write(Pending<WriteReport>),
    Update(Pending<UpdateReport>),
}

/// What became of it.
struct Done {
    replaced: u64,
    skipped: u64,
}

impl Sent {
    fn wait(self) -> Result<Done> {
        Ok(match self {
            Sent::Write(pending) => Done { replaced: pending.wait()?.replaced, skipped: 0 },
            Sent::Update(pending) => {
                let report = pending.wait()?;
                Done { replaced: 0, skipped: report.missing + report.unmet }
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics while it holds this lock")
}

/// One connection: takes batches while there are any.
fn send(
    arguments: &Arguments,
    batches: &Mutex<impl Iterator<Item = Result<RecordBatch>>>,
    tally: &Mutex<Tally>,
) -> Result<()> {
    let client = arguments.remote.connect()?;
    let collection = client.collection(&arguments.collection)?;
    let mut in_flight: VecDeque<(usize, Sent)> = VecDeque::new();
    loop {
        let batch = lock(batches).next();
        let Some(batch) = batch else { break };
        let batch = match batch {
            Ok(_) if lock(tally).failed => break,
            Ok(batch) => batch,
            Err(error) => {
                settle(&mut in_flight, 0, tally)?;
                return Err(error);
            }
        };
        send_batch(&collection, &batch, arguments, &mut in_flight, tally)?;
    }
    settle(&mut in_flight, 0, tally)
}

fn send_batch(
    collection: &Collection,
    batch: &RecordBatch,
    arguments: &Arguments,
    in_flight: &mut VecDeque<(usize, Sent)>,
    tally: &Mutex<Tally>,
) -> Result<()> {
    let ack = Ack::from(arguments.ack);
    let write = |piece: &RecordBatch, mode| collection.write_with(piece, mode, ack).map(Sent::Write);
    // What the server makes of an update are whole rows.
    let bytes_max = match arguments.mode {
        Mode::Update => WRITE_BYTES_MAX / whole_row_bytes(collection).div_ceil(row_bytes(batch)).max(1),
        _ => WRITE_BYTES_MAX,
    };
    for piece in pieces(batch, bytes_max) {
        settle(in_flight, IN_FLIGHT_MAX - 1, tally)?;
        let sent = match arguments.mode {
            Mode::Upsert => write(&piece, WriteMode::Upsert)?,
            Mode::Insert => write(&piece, WriteMode::Insert)?,
            Mode::Replace => write(&piece, WriteMode::Replace)?,
            Mode::Update => Sent::Update(collection.update(&piece, &arguments.conditions.options(), ack)?),
        };
        in_flight.push_back((piece.num_rows(), sent));
    }
    Ok(())
}

/// Bytes of a row of the collection, texts guessed.
fn whole_row_bytes(collection: &Collection) -> usize {
    let columns = collection.engine_schema().columns().iter();
    columns.map(|column| column.layout.row_bytes().unwrap_or(TEXT_BYTES_GUESS)).sum()
}

/// Bytes of a row of a batch, on average.
fn row_bytes(batch: &RecordBatch) -> usize {
    (batch_bytes(batch) / batch.num_rows().max(1)).max(1)
}

fn batch_bytes(batch: &RecordBatch) -> usize {
    let bytes = |column: &arrow::array::ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(0);
    batch.columns().iter().map(bytes).sum()
}

/// Waits until no more than `left` writes are in flight.
fn settle(in_flight: &mut VecDeque<(usize, Sent)>, left: usize, tally: &Mutex<Tally>) -> Result<()> {
    while in_flight.len() > left {
        let (rows, sent) = in_flight.pop_front().expect("there is more than is to be left");
        let done = sent.wait()?;
        lock(tally).add(rows, &done);
    }
    Ok(())
}

/// A batch in pieces of about equal rows, none much larger than `bytes_max`.
fn pieces(batch: &RecordBatch, bytes_max: usize) -> Vec<RecordBatch> {
    let count = batch_bytes(batch).div_ceil(bytes_max).clamp(1, batch.num_rows().max(1));
    let rows = batch.num_rows().div_ceil(count).max(1);
    (0..batch.num_rows()).step_by(rows).map(|start| batch.slice(start, rows.min(batch.num_rows() - start))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, UInt64Array};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn large_batches_are_cut() {
        let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..1000));
        let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        assert_eq!(pieces(&batch, 1 << 20).len(), 1);
        let cut = pieces(&batch, 1000);
        assert_eq!(cut.len(), 8);
        assert_eq!(cut.iter().map(RecordBatch::num_rows).sum::<usize>(), 1000);
        assert_eq!(pieces(&batch.slice(0, 10), 1000).len(), 1, "only the slice counts");
        assert!(pieces(&batch.slice(0, 0), 1000).is_empty());
    }

    #[test]
    fn a_time_to_live_is_written_to_its_column() {
        let days = Field::new("a=b", DataType::Date32, true);
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::UInt64, false), days]));
        assert_eq!(with_ttl(&schema, None).unwrap(), schema);
        let with = with_ttl(&schema, Some("a=b=60")).unwrap();
        assert_eq!(with.field(1).metadata().get(TTL_KEY).map(String::as_str), Some("60"));
        assert!(with_ttl(&schema, Some("60")).is_err() && with_ttl(&schema, Some("c=60")).is_err());
    }

    #[test]
    fn what_texts_are_taken_apart_by_is_written_to_their_columns() {
        let field = |name| Field::new(name, DataType::Utf8, true);
        let whole = [("broadhead.nodes".to_owned(), "n".to_owned())];
        let schema = Arc::new(Schema::new_with_metadata(vec![field("a"), field("b"), field("c")], whole));
        let given = ["a".to_owned(), r#"c={"stem": "german"}"#.to_owned()];
        let with = with_texts(&schema, &given).unwrap();
        let told = |column: usize| {
            let metadata = with.field(column).metadata();
            (metadata.get(TEXT_KEY).cloned(), metadata.get(ANALYSER_KEY).cloned())
        };
        assert_eq!(told(0), (Some("eager".to_owned()), Some("standard".to_owned())));
        assert_eq!(told(1), (None, None));
        assert_eq!(told(2), (Some("eager".to_owned()), Some(r#"{"stem": "german"}"#.to_owned())));
        assert_eq!(with.metadata(), schema.metadata(), "what the whole says stays");
        assert!(with_texts(&schema, &["d=english".to_owned()]).is_err());
    }

    #[test]
    fn row_numbers_go_on_over_several_files() {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["a.jsonl", "b.jsonl"].iter().map(|name| directory.path().join(name)).collect();
        paths.iter().for_each(|path| std::fs::write(path, "{\"v\": [1, 2]}\n{\"v\": [3, 4]}\n").unwrap());
        let options = SourceOptions {
            id: None,
            vectors: Vec::new(),
            metric: Metric::L2,
            element: None,
            coding: Coding::default(),
            edges: EdgeOptions::default(),
            batch_rows: 10,
            signed_ids: false,
            first_row: 0,
        };
        let schema = sources::open(&paths[0], &options).unwrap().schema;
        let batches = read_files(paths, options, schema).collect::<Result<Vec<_>>>().unwrap();
        let ids = batches.iter().map(|batch| output::text_cell(batch.column(0), 1)).collect::<Vec<_>>();
        assert_eq!(ids, ["1", "3"]);
    }
}
