//! `broadhead demo`: the whole path on a temporary server: import, wait for the index, measure, search, clean up.
//!
//! The server is this binary, started as a process of its own, with its data in a temporary directory. Both go, whatever
//! happens: at the end, on an error, on Ctrl-C.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use net::client::{Collection, Id};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use crate::cli::{Acknowledge, Conditions, Mode, Remote};
use crate::commands::search::{self, Options, Target};
use crate::commands::{eval, import, wait_indexed};
use crate::error::{ChildProblem, Error, RequestProblem, Result};
use crate::output::{self, grouped, rate};
use crate::sources::{self, Coding, EdgeOptions, Metric};

/// Name of the collection.
const COLLECTION: &str = "packages";
/// Vector column of the packages and of the queries.
const VECTOR: &str = "embedding";
/// A package that the reader knows, and that is among the packages.
const KNOWN: &str = "audacity";
/// Packages that are only among the queries.
const OTHERS: [&str; 2] = ["duply", "arduino"];
/// Results of the searches that are shown.
const SHOWN: usize = 5;
/// Results of the searches that are measured.
const K: usize = 10;
/// Candidates of the searches that are measured.
const EF: [usize; 2] = [32, 64];
/// Time of each measurement.
const MEASURE: Duration = Duration::from_secs(2);
/// Time that the server has to come up.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that the server has to stop by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to wait for the index.
const INDEX_TIMEOUT: Duration = Duration::from_secs(300);

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The packages, as in tests/data.
    #[arg(long, default_value = "tests/data/debian-10k.parquet", value_name = "FILE")]
    packages: PathBuf,
    /// Queries with their truth, as in tests/data.
    #[arg(long, default_value = "tests/data/debian-10k-queries.parquet", value_name = "FILE")]
    queries: PathBuf,
    /// Directory for the temporary data; on a real disk, so that durable means something [default: the system's]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// Runs the demo.
pub fn run(arguments: &Arguments) -> Result<()> {
    let scratch = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let stage = Stage::new(&scratch)?;
    let result = perform(arguments, &stage);
    while stage.lock().cleared {
        // A signal came, and its thread ends the process: what failed meanwhile failed because of that.
        std::thread::park();
    }
    stage.clear();
    if result.is_ok() {
        output::line("\nThe server is stopped and its data removed. To keep one: `broadhead serve --data DIR`.");
    }
    result
}

fn perform(arguments: &Arguments, stage: &Stage) -> Result<()> {
    let server = stage.start_server()?;
    let remote = Remote { server, json: false };
    let client = remote.connect()?;
    heading(&format!("server on {}, {} shards", remote.server, client.server().shards));

    let import = import::Arguments {
        files: vec![arguments.packages.clone()],
        collection: COLLECTION.to_owned(),
        id: None,
        signed_ids: false,
        vector: Vec::new(),
        metric: Metric::Cosine,
        element: None,
        coding: Coding::default(),
        edges: EdgeOptions::default(),
        batch_rows: 1000,
        connections: 1,
        mode: Mode::Upsert,
        conditions: Conditions::default(),
        ttl: None,
        text: Vec::new(),
        ack: Acknowledge::Durable,
        m: 0,
        ef_construction: 0,
        evictable: false,
        remote: remote.clone(),
    };
    let started = Instant::now();
    let imported = import::import(&import)?;
    let collection = client.collection(COLLECTION)?;
    let indexed = wait_indexed::wait(&collection, INDEX_TIMEOUT, false)?;
    let seconds = started.elapsed().as_secs_f64();
    heading("rates");
    let (rows, mb) = (rate(imported.rows_per_s()), rate(imported.mb_per_s()));
    output::line(format_args!(
        "ingest   {rows} rows/s, {mb} MB/s of vectors, durable ({} packages)",
        grouped(imported.rows)
    ));
    output::line(format_args!(
        "index    {} rows/s, from the first row sent to the last row indexed",
        rate(indexed.rows as f64 / seconds)
    ));

    measure(&remote, &collection, &arguments.queries)?;
    show_searches(&collection, &arguments.queries)
}

fn heading(text: &str) {
    output::line(format_args!("\n── {text}"));
}

/// Recall against the exact truth, and speed.
fn measure(remote: &Remote, collection: &Collection, queries: &Path) -> Result<()> {
    let target = search::target(collection, COLLECTION, Some(VECTOR))?;
    let evaluation = eval::Evaluation::prepare(collection, target, queries, K, remote.quiet())?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for ef in EF {
        let point = evaluation.run(remote, COLLECTION, ef, threads, MEASURE)?;
        output::line(format_args!(
            "search   recall@{K} {:.3}, {} queries/s at ef {ef} ({} queries with exact truth, {threads} clients; {})",
            point.recall,
            rate(point.qps),
            evaluation.queries(),
            point.latencies,
        ));
    }
    Ok(())
}

/// Three searches: like a stored package, and by the vectors of two packages that are not stored.
fn show_searches(collection: &Collection, queries: &Path) -> Result<()> {
    let target = search::target(collection, COLLECTION, Some(VECTOR))?;
    let (id, title) = find_package(collection, KNOWN)?;
    show(collection, &target, &[], vec![id], &format!("packages like {KNOWN} ({title})"))?;

    let file = sources::read_parquet_columns(queries, &["name", "title", VECTOR])?;
    let cell = |column: &str, row: usize| {
        file.column_by_name(column).map(|array| output::text_cell(array, row)).unwrap_or_default()
    };
    let rows: Vec<usize> = (0..file.num_rows()).filter(|&row| OTHERS.contains(&cell("name", row).as_str())).collect();
    // Another file of queries has other names: then the first ones are shown.
    let rows = if rows.is_empty() { (0..file.num_rows().min(OTHERS.len())).collect() } else { rows };
    for row in rows {
        let Some(vectors) = file.column_by_name(VECTOR) else { continue };
        let vector = search::encode(&sources::fixed_vectors(queries, &vectors.slice(row, 1), VECTOR)?, &target)?;
        show(
            collection,
            &target,
            &vector,
            Vec::new(),
            &format!("packages near \"{}\" ({}, not stored)", cell("title", row), cell("name", row)),
        )?;
    }
    Ok(())
}

fn show(collection: &Collection, target: &Target, query: &[u8], like: Vec<Id>, text: &str) -> Result<()> {
    heading(text);
    let columns = vec!["name".to_owned(), "title".to_owned()];
    let options = Options { k: SHOWN, columns, like, ..Options::default() };
    let reply = search::search(collection, target, query, &options)?;
    search::table(&reply, &search::results(&reply)[0], &options.columns).print();
    Ok(())
}

/// Id and title of a package, by its name.
fn find_package(collection: &Collection, name: &str) -> Result<(Id, String)> {
    for batch in collection.scan(&["id", "name", "title"])? {
        let batch = batch?;
        let cell = |column: usize, row: usize| output::text_cell(batch.column(column), row);
        if let Some(row) = (0..batch.num_rows()).find(|&row| cell(1, row) == name) {
            let id = match batch.column(0).as_primitive_opt::<UInt64Type>() {
                Some(ids) => Id::U64(ids.value(row)),
                None => Id::Utf8(cell(0, row)),
            };
            return Ok((id, cell(2, row)));
        }
    }
    Err(RequestProblem::NoRow { collection: COLLECTION.to_owned(), id: name.to_owned() }.into())
}

/// What has to be gone in the end. Shared with the thread that waits for signals.
#[derive(Clone)]
struct Stage {
    props: Arc<Mutex<Props>>,
}

#[derive(Default)]
struct Props {
    directory: Option<TempDir>,
    server: Option<Child>,
    cleared: bool,
}

impl Stage {
    fn new(scratch: &Path) -> Result<Stage> {
        std::fs::create_dir_all(scratch).map_err(Error::io("create", scratch))?;
        let stage = Stage { props: Arc::default() };
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Error::io("handle signals of", "process"))?;
        let at_signal = stage.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    at_signal.clear();
                    eprintln!("interrupted; the server is stopped and its data removed");
                    std::process::exit(128 + signal);
                }
            })
            .map_err(Error::io("start a thread of", "process"))?;
        let directory = tempfile::Builder::new()
            .prefix("broadhead-demo-")
            .tempdir_in(scratch)
            .map_err(Error::io("create a directory in", scratch))?;
        stage.lock().directory = Some(directory);
        Ok(stage)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Props> {
        // What is in it is as good after a panic as before: it only is to be removed.
        self.props.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts the server and gives its address.
    fn start_server(&self) -> Result<String> {
        let port_file = {
            let mut props = self.lock();
            if props.cleared {
                return Err(Error::Interrupted);
            }
            let directory =
                props.directory.as_ref().map(|directory| directory.path().to_owned()).ok_or(Error::Interrupted)?;
            let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
            let port_file = directory.join("port");
            let mut command = Command::new(&program);
            command.args(["--log", "warn", "serve", "--listen", "127.0.0.1:0", "--admin", "off", "--data"]);
            command.arg(directory.join("data")).arg("--port-file").arg(&port_file);
            // Settings of the caller's own server do not count here.
            for variable in ["BROADHEAD_CONFIG", "BROADHEAD_SHARDS"] {
                command.env_remove(variable);
            }
            command.stdin(Stdio::null()).stdout(Stdio::null());
            // In a group of its own: Ctrl-C comes to this process, which then stops the server.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            props.server = Some(command.spawn().map_err(Error::io("start", &program))?);
            port_file
        };
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(port) = std::fs::read_to_string(&port_file) {
                return Ok(format!("127.0.0.1:{}", port.trim()));
            }
            let ended = self.lock().server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(Error::Child(ChildProblem::Ended(status)));
            }
            if Instant::now() >= deadline {
                return Err(Error::Child(ChildProblem::Silent(START_TIMEOUT.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops the server and removes the directory. Later calls do nothing.
    fn clear(&self) {
        let mut props = self.lock();
        props.cleared = true;
        if let Some(mut server) = props.server.take() {
            stop(&mut server);
        }
        if let Some(directory) = props.directory.take() {
            let path = directory.path().to_owned();
            if let Err(error) = directory.close() {
                eprintln!("{} was not removed: {error}", path.display());
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The last but one is that of the signal thread, which never ends: a panic on the way comes by here too.
        self.clear();
    }
}

/// Asks the server to stop, and makes it where it does not.
fn stop(server: &mut Child) {
    let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself; then there is nobody to ask.
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < deadline {
        if !matches!(server.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    if server.kill().and_then(|()| server.wait().map(drop)).is_err() {
        eprintln!("the server did not stop");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_packages_are_in_the_data() {
        let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name);
        let names = |file: &str| {
            let rows = sources::read_parquet_columns(&data(file), &["name"]).unwrap();
            (0..rows.num_rows()).map(|row| output::text_cell(rows.column(0), row)).collect::<Vec<_>>()
        };
        assert!(names("debian-10k.parquet").iter().any(|name| name == KNOWN));
        let queries = names("debian-10k-queries.parquet");
        assert!(OTHERS.iter().all(|other| queries.iter().any(|name| name == other)));
    }

    #[test]
    fn clearing_removes_the_directory_and_is_done_once() {
        let scratch = tempfile::tempdir().unwrap();
        let stage = Stage { props: Arc::default() };
        stage.lock().directory = Some(TempDir::new_in(scratch.path()).unwrap());
        stage.lock().server = Some(Command::new("sleep").arg("100").spawn().unwrap());
        stage.clear();
        stage.clear();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        assert!(stage.lock().server.is_none());
    }
}
