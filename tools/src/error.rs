//! The one error type of the command line. Every message says what was wrong, where, and what to do about it.

use std::path::{Path, PathBuf};

use net::codec::Status;

/// What can go wrong on the command line's side; the server's own errors come in [`Error::Server`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error, or the connection to it failed.
    #[error("{0}")]
    Server(#[from] net::Error),
    /// The server that this process runs could not start, or failed.
    #[error("{0}")]
    Engine(#[from] engine::Error),
    /// No server where one was looked for.
    #[error("{0}; is it running (`broadhead serve --data DIR`)? Another address: --server HOST:PORT")]
    Unreachable(net::Error),
    /// The operating system refused something.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// A row that cannot be stored.
    #[error("{}, {place}: {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// What is wrong with the row.
        problem: RowProblem,
    },
    /// A request that makes no sense, by itself or for this collection.
    #[error("{0}")]
    Request(#[from] RequestProblem),
    /// A configuration that cannot be used.
    #[error("{0}")]
    Config(#[from] ConfigProblem),
    /// The server that a command started did not come up.
    #[error("the server did not start: {0}")]
    Child(ChildProblem),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

/// Result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Row, counted from 0, as the ids of a file without ids are.
    Row(u64),
    /// Line of text, counted from 1, as editors do.
    Line(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Row(row) => write!(f, "row {row}"),
            Place::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// What can be wrong with a whole file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// The name's ending tells the format.
    #[error("the format is told from the name: use .parquet, .jsonl, .ndjson, .json (JSON lines) or .npy")]
    UnknownFormat,
    /// Of a file that is to be written, too.
    #[error("the format is told from the name: use .parquet, .jsonl or .ndjson (JSON lines)")]
    UnknownOutput,
    /// The Parquet reader refused it.
    #[error("{0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The Arrow library refused a batch of it.
    #[error("{0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A list of acknowledgements with a line that is none.
    #[error("line {line} is no acknowledgement of `bench ingest --ack-log`: {problem}")]
    AckLine {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A picture that cannot be drawn.
    #[error("the plot cannot be drawn: {0}")]
    Plot(String),
    /// Nothing in it.
    #[error("no rows")]
    Empty,
    /// A column was asked for that is not there.
    #[error("no column `{column}`; it has {available}")]
    NoColumn {
        /// Asked for.
        column: String,
        /// What there is, comma-separated.
        available: String,
    },
    /// A column of a type that cannot hold the ids.
    #[error("column `{column}` is {found}, ids are integers or strings; choose another with --id")]
    IdType {
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// A column of a type that cannot hold vectors.
    #[error(
        "column `{column}` is {found}, vectors are lists of f16, f32, f64, i8, u8, i32, or u16 that are said to be bf16, all of one length"
    )]
    VectorType {
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// Several columns can hold vectors.
    #[error("several columns can be vectors: {candidates}; choose with --vector")]
    SeveralVectors {
        /// Which.
        candidates: String,
    },
    /// The metric does not go with the element type.
    #[error("column `{column}`: {metric} needs {needs}")]
    MetricType {
        /// The column.
        column: String,
        /// The metric.
        metric: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// Not a NumPy file, or one of a kind that is not read.
    #[error("not a NumPy file that can be read: {0}")]
    Npy(NpyProblem),
    /// The collection has a column that the file does not.
    #[error("the collection has column `{column}`, which may not be null, and the file does not have it")]
    LacksColumn {
        /// The column.
        column: String,
    },
    /// The collection's column has another type, or its vectors another length or metric.
    #[error("column `{column}` is {found}, in the collection it is {expected}")]
    ColumnType {
        /// The column.
        column: String,
        /// In the file.
        found: String,
        /// In the collection.
        expected: String,
    },
}

/// Why a `.npy` file is not read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NpyProblem {
    /// Wrong first bytes.
    #[error("it does not begin with \\x93NUMPY")]
    Magic,
    /// A version that is not 1, 2 or 3.
    #[error("format version {0}")]
    Version(u8),
    /// The header is not the dictionary it should be.
    #[error("its header does not have `{0}`")]
    Header(&'static str),
    /// An element type that is not stored.
    #[error(
        "elements are `{0}`; convert with .astype('float32') ('<f4', '<f2', '|i1', '|u1', '<i4', and '<V2' for bfloat16 are read)"
    )]
    Elements(String),
    /// Column-major.
    #[error("it is in Fortran order; save numpy.ascontiguousarray(a)")]
    FortranOrder,
    /// Not a matrix.
    #[error("it has {0} dimensions, 2 are needed (rows × vector)")]
    Dimensions(usize),
    /// A zero-length vector or one beyond any limit.
    #[error("vectors of {0} elements")]
    VectorLength(u64),
    /// The file is shorter or longer than its shape says.
    #[error("its shape needs {expected} bytes of data, it has {found}")]
    Length {
        /// By the shape.
        expected: u64,
        /// In the file.
        found: u64,
    },
}

/// What can be wrong with one row.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RowProblem {
    /// No id.
    #[error("column `{0}`: the id is null")]
    NullId(String),
    /// Ids are unsigned.
    #[error("column `{0}`: the id is negative; --signed-ids takes such")]
    NegativeId(String),
    /// No vector.
    #[error("column `{0}`: the vector is null, empty or has null elements")]
    NullVector(String),
    /// A vector of another length than those before.
    #[error("column `{column}`: the vector has {found} elements, those before have {expected}")]
    VectorLength {
        /// The column.
        column: String,
        /// Here.
        found: usize,
        /// Before.
        expected: usize,
    },
    /// NaN or infinity in a vector.
    #[error("column `{0}`: the vector holds NaN or infinity")]
    NonFinite(String),
    /// A zero vector has no direction, so no cosine.
    #[error("column `{0}`: a zero vector has no cosine; import it with --metric l2 or dot")]
    ZeroVector(String),
    /// Not JSON.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// JSON, but not an object.
    #[error("a JSON object is needed, this is {0}")]
    NotAnObject(&'static str),
    /// A value that does not go with those of the rows that the schema was taken from.
    #[error("column `{column}`: this value is {found}, those before are {expected}")]
    ValueType {
        /// The column.
        column: String,
        /// Type here.
        found: &'static str,
        /// Type of the column.
        expected: &'static str,
    },
}

/// A request that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum RequestProblem {
    /// Not an id of this collection.
    #[error("`{id}` is not an id of this collection: its ids are unsigned integers")]
    Id {
        /// As given.
        id: String,
    },
    /// An id that is not there.
    #[error("collection `{collection}` has no row with id `{id}`")]
    NoRow {
        /// The collection.
        collection: String,
        /// The id.
        id: String,
    },
    /// Conditions of an update beside something that is none.
    #[error("--missing, --if, --if-newer and --skip-unmet are for --mode update")]
    NoUpdate,
    /// A time to live that cannot be read, or of a column that is not there.
    #[error("--ttl {0}: give COLUMN=SECONDS, of a column that the file has")]
    Ttl(String),
    /// A column to be indexed that is not there.
    #[error("--text {0}: give COLUMN or COLUMN=ANALYSER, of a column that the file has")]
    TextColumn(String),
    /// Values of an update that cannot be read.
    #[error("--set: {0}")]
    Set(String),
    /// The rows of the collection are no edges.
    #[error("the rows of collection `{collection}` are no edges: no columns have the roles edge_from and edge_to")]
    NoEdges {
        /// The collection.
        collection: String,
    },
    /// Nobody knows what rows the nodes of edges are.
    #[error("collection `{collection}` does not say which collection has its nodes: there are no columns to show")]
    NoNodes {
        /// The collection.
        collection: String,
    },
    /// An option that is none.
    #[error("--spread: {0}")]
    Spread(engine::Error),
    /// A vector that cannot be read.
    #[error("--vector: {0}; give numbers, as in [0.1, 0.2] or 0.1,0.2")]
    Vector(String),
    /// Weights that are not two.
    #[error("--weights: two numbers are needed, of the vector and of the words; {found} is given")]
    Weights {
        /// Given.
        found: usize,
    },
    /// A text query that is no JSON.
    #[error("--text: {0}; what begins with a brace is JSON")]
    Text(String),
    /// A vector of the wrong length.
    #[error("the query has {found} elements, column `{column}` has {expected}")]
    VectorLength {
        /// The column.
        column: String,
        /// Given.
        found: usize,
        /// Needed.
        expected: usize,
    },
    /// The collection has nothing to search for.
    #[error("collection `{collection}` has no vector column")]
    NoVectors {
        /// The collection.
        collection: String,
    },
    /// The collection has several vector columns, or the named one is not one.
    #[error("collection `{collection}`: choose a vector column with --column: {available}")]
    VectorColumn {
        /// The collection.
        collection: String,
        /// Its vector columns.
        available: String,
    },
    /// Too little to measure.
    #[error("{0}")]
    Measure(&'static str),
    /// A batch would hold an id twice.
    #[error(
        "a connection has {ids} ids and a batch {needed} rows, each with an id of its own; give --ids {} or more for {connections} \
         connections",
        needed * connections
    )]
    TooFewIds {
        /// Ids of a connection.
        ids: u64,
        /// Rows of a batch.
        needed: u64,
        /// Connections.
        connections: u64,
    },
    /// Goals of a measurement that were checked.
    #[error("missed: {0}")]
    GoalsMissed(String),
    /// Rows that were acknowledged and are not there.
    #[error("{lost} of {acknowledged} acknowledged rows are lost")]
    RowsLost {
        /// Missing, or of an older round.
        lost: u64,
        /// All.
        acknowledged: u64,
    },
    /// Time ran out.
    #[error("{indexed} of {rows} rows are indexed after {seconds} s; give more time with --timeout")]
    IndexTimeout {
        /// Rows in the index.
        indexed: u64,
        /// Rows in all.
        rows: u64,
        /// Time given.
        seconds: u64,
    },
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigProblem {
    /// The file is not TOML, or has a key that is not known.
    #[error("{}: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
    /// No data directory.
    #[error("no data directory: give --data DIR, BROADHEAD_DATA or `data` in the configuration file")]
    NoData,
    /// An address that is none.
    #[error("{setting} is `{value}`: an address is HOST:PORT, as in 127.0.0.1:7690")]
    Address {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: String,
    },
    /// A number of shards out of range.
    #[error("shards is {value}: from 1 to {limit}, or leave it out for one per core")]
    Shards {
        /// Given.
        value: usize,
        /// Largest.
        limit: usize,
    },
}

/// Why a started server is not there.
#[derive(Debug, thiserror::Error)]
pub enum ChildProblem {
    /// It ended.
    #[error("it ended with {0}; its messages are above")]
    Ended(std::process::ExitStatus),
    /// It did not say where it listens.
    #[error("it did not listen within {0} s")]
    Silent(u64),
}

impl RequestProblem {
    /// Whether the request was good, and what came of it is not.
    fn is_outcome(&self) -> bool {
        matches!(
            self,
            RequestProblem::IndexTimeout { .. }
                | RequestProblem::NoRow { .. }
                | RequestProblem::GoalsMissed(_)
                | RequestProblem::RowsLost { .. }
        )
    }
}

impl Error {
    /// An [`Error::Io`].
    pub fn io(operation: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { operation, path, source }
    }

    /// An [`Error::File`].
    pub fn file(path: impl AsRef<Path>) -> impl FnOnce(FileProblem) -> Error {
        let path = path.as_ref().to_owned();
        move |problem| Error::File { path, problem }
    }

    /// Exit code: 2 for what the caller asked wrongly, 1 for what went wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Request(problem) if problem.is_outcome() => 1,
            Error::Request(_) | Error::Config(_) => 2,
            Error::Server(net::Error::Remote { status, .. }) if is_wrongly_asked(*status) => 2,
            Error::Server(net::Error::Engine(error)) if is_wrongly_asked(Status::from(&**error)) => 2,
            _ => 1,
        }
    }
}

/// Whether a request was refused for what it asks, whatever rows there are.
fn is_wrongly_asked(status: Status) -> bool {
    matches!(
        status,
        Status::InvalidSchema
            | Status::InvalidSearch
            | Status::InvalidFilter
            | Status::InvalidTextQuery
            | Status::InvalidTraversal
            | Status::LimitExceeded
            | Status::UnknownColumn
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_wrongly_exits_with_2_whoever_refuses_it() {
        let of_server = |status| Error::Server(net::Error::Remote { status, message: String::new() }).exit_code();
        assert_eq!((of_server(Status::InvalidSearch), of_server(Status::InvalidFilter)), (2, 2));
        assert_eq!(
            (of_server(Status::DiskFull), of_server(Status::RowExists), of_server(Status::Overloaded)),
            (1, 1, 1)
        );
        let of_client = |error: engine::Error| Error::Server(error.into()).exit_code();
        assert_eq!(of_client(engine::Error::UnknownColumn { name: "a".to_owned() }), 2);
        assert_eq!(of_client(engine::Error::Stopping), 1);
    }
}
