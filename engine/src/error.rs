//! The one error type of the engine. Every variant says what was wrong, where, and (where there is one) what to do.

use std::path::PathBuf;

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A collection schema that cannot be served.
    #[error("column `{column}`: {problem}")]
    InvalidSchema {
        /// Column at fault; empty when the schema as a whole is.
        column: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A schema in JSON that cannot be read.
    #[error("the schema is not JSON of the form that is needed: {source}")]
    SchemaJson {
        /// Where, and what is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A batch was made for another schema.
    #[error("the batch was made for schema {found:016x}, the collection has {expected:016x}")]
    SchemaMismatch {
        /// Fingerprint of the collection.
        expected: u64,
        /// Fingerprint the batch came with.
        found: u64,
    },
    /// A batch whose bytes do not hold together.
    #[error("malformed batch: {problem}")]
    MalformedBatch {
        /// What is wrong.
        problem: &'static str,
    },
    /// A batch column that does not match its schema.
    #[error("malformed batch, column `{column}`: {problem}")]
    MalformedColumn {
        /// Column at fault.
        column: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A text of a column of JSON that is none.
    #[error("column `{column}`, row {row}: the text is not JSON")]
    NotJson {
        /// Column.
        column: String,
        /// Row in the batch, from 0.
        row: usize,
    },
    /// A vector that holds NaN or infinity.
    #[error("column `{column}`, row {row}: the vector holds NaN or infinity")]
    NonFinite {
        /// Vector column.
        column: String,
        /// Row in the batch, from 0.
        row: usize,
    },
    /// A zero vector has no direction, so no cosine.
    #[error("column `{column}`, row {row}: a zero vector has no cosine")]
    ZeroVector {
        /// Vector column.
        column: String,
        /// Row in the batch, from 0.
        row: usize,
    },
    /// A request without rows, ids or queries.
    #[error("the {what} is empty")]
    Empty {
        /// What was empty: batch, id list, query list.
        what: &'static str,
    },
    /// A search that cannot be run.
    #[error("invalid search: {problem}")]
    InvalidSearch {
        /// What is wrong.
        problem: &'static str,
    },
    /// An option of a search that is none, or has no such value.
    #[error("invalid option of a search, `{option}`: {problem}")]
    InvalidOption {
        /// Its name.
        option: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A traversal that cannot be run.
    #[error("invalid traversal: {problem}")]
    InvalidTraversal {
        /// What is wrong.
        problem: &'static str,
    },
    /// A filter that is none, or does not fit the columns.
    #[error("invalid filter, at `{place}`: {problem}")]
    InvalidFilter {
        /// Column, or word of the filter, at fault.
        place: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A row that was to be inserted is there.
    #[error("the row of id `{id}` exists")]
    RowExists {
        /// Its id.
        id: String,
    },
    /// A row that was to be replaced, updated or searched by is not there.
    #[error("there is no row of id `{id}`")]
    RowMissing {
        /// Its id.
        id: String,
    },
    /// A row that does not meet the condition of an update.
    #[error("the row of id `{id}` does not meet the condition")]
    ConditionFailed {
        /// Its id.
        id: String,
    },
    /// A text query that is none.
    #[error("invalid text query, at `{place}`: {problem}")]
    InvalidTextQuery {
        /// Column, or word of the query, at fault.
        place: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A number above its limit.
    #[error("{what} is {value}, the limit is {limit}")]
    LimitExceeded {
        /// What was counted.
        what: &'static str,
        /// What was asked for.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
    /// No collection of that name or number.
    #[error("unknown collection `{name}`")]
    UnknownCollection {
        /// Name, or number as text.
        name: String,
    },
    /// A collection of that name is there, with another schema.
    #[error("collection `{name}` exists")]
    CollectionExists {
        /// Its name.
        name: String,
    },
    /// No namespace of that name.
    #[error("unknown namespace `{name}`")]
    UnknownNamespace {
        /// Its name.
        name: String,
    },
    /// A namespace of that name is there.
    #[error("namespace `{name}` exists")]
    NamespaceExists {
        /// Its name.
        name: String,
    },
    /// A namespace would have more than it may.
    #[error("namespace `{namespace}` would have {value} {what}, its quota is {limit}: delete some first")]
    QuotaExceeded {
        /// The namespace.
        namespace: String,
        /// Of what: rows, bytes.
        what: &'static str,
        /// How many it would have, with what is being written.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A namespace writes faster than it may.
    #[error("namespace `{namespace}` writes more than {per_s} {what} a second: try again in {wait_ms} ms")]
    RateExceeded {
        /// The namespace.
        namespace: String,
        /// Of what: rows, bytes.
        what: &'static str,
        /// What is allowed.
        per_s: u64,
        /// Until a write is taken again, in milliseconds.
        wait_ms: u64,
    },
    /// No column of that name.
    #[error("unknown column `{name}`")]
    UnknownColumn {
        /// Its name.
        name: String,
    },
    /// A row was brought to a shard that is not its home; whoever brings it must split by home.
    #[error("row {row} lives on shard {home}, not on {shard}")]
    Misplaced {
        /// Row in the batch, or place in the id list, from 0.
        row: usize,
        /// Where it lives.
        home: usize,
        /// Where it was brought.
        shard: usize,
    },
    /// A record of the log that is whole and cannot be applied.
    #[error("shard {shard}: the log record with LSN {lsn} cannot be applied: {cause}")]
    Unreplayable {
        /// Shard index.
        shard: usize,
        /// Its number.
        lsn: u64,
        /// Why.
        cause: Box<Error>,
    },
    /// The shard's part of a collection is full.
    #[error("shard {shard} holds its limit of {rows} rows")]
    RegionFull {
        /// Shard index.
        shard: usize,
        /// Rows it can hold.
        rows: u64,
    },
    /// A write to disk failed earlier; the shard is read-only until the server is started again.
    #[error("shard {shard} is read-only since a write failed: {cause}")]
    Poisoned {
        /// Shard index.
        shard: usize,
        /// First failure.
        cause: String,
    },
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
    /// The operating system refused something that has no path.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// The address to listen on cannot be had.
    #[error("cannot listen on {address}: {source}; is another server running there?")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another server runs on the data directory.
    #[error("data directory {} is in use by another server", path.display())]
    DirectoryInUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file of a newer version of the program.
    #[error("{} has format {found}, this program reads up to {supported}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Newest version this program reads.
        supported: u32,
    },
    /// A file of an older version of the program, from before its format was changed.
    #[error("{} has format {found}, this program reads {supported}: read the rows with the program that wrote it, and import them anew", path.display())]
    OlderFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Version this program reads.
        supported: u32,
    },
    /// A file that is damaged where it should not be.
    #[error("{} is damaged at byte {offset}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// How it shows.
        problem: &'static str,
    },
    /// The kernel or a sandbox forbids io_uring.
    #[error("io_uring is not available: {reason}")]
    IoUringForbidden {
        /// Why, and how to allow it.
        reason: &'static str,
    },
    /// The kernel gave no memory.
    #[error("no memory for the {what} ({bytes} bytes): {source}")]
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// How much was asked for.
        bytes: u64,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The disk has no room for the log; reads go on, and writes do again once there is room.
    #[error("shard {shard}: no room on disk for the log in {}", path.display())]
    DiskFull {
        /// Shard index.
        shard: usize,
        /// Directory of its log.
        path: PathBuf,
    },
    /// The configured memory budget is used up; deletes, reads and searches go on.
    #[error("{in_use} bytes of memory are in use and {needed} more are needed, the budget is {budget}")]
    MemoryBudget {
        /// Bytes of rows and graphs.
        in_use: u64,
        /// Bytes that the write would take.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
    },
    /// The log has as much unwritten as it may; append again after the next completion.
    #[error("shard {shard}: the log's backlog is full")]
    LogBusy {
        /// Shard index.
        shard: usize,
    },
    /// The server stops before what was asked for could be begun.
    #[error("the server stops")]
    Stopping,
    /// The limit on locked memory is too small.
    #[error(
        "the limit on locked memory (memlock) is {limit} bytes, {needed} are needed: raise it with `ulimit -l`, \
         LimitMEMLOCK= in a systemd unit or `--ulimit memlock=-1` of a container"
    )]
    MemlockTooSmall {
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
}

/// Result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
