//! The client: blocking calls over pipelined connections, aware of the shards.
//!
//! - A [`Client`] holds up to `connections_per_shard` connections to each shard, opened when they are first needed and opened
//!   again after one broke. A thread per connection reads the replies and hands each to whoever waits for it.
//! - What takes long gives a [`Pending`]: the request is on its way, [`Pending::wait`] waits for the answer. Any number of
//!   threads may have any number of them.
//! - What is in flight is bounded, by the credits that the server gives and by [`ClientOptions`]: beyond that a call waits.
//! - A batch is cut by home shard here, so that no shard has to pass rows on.
//! - Writes over one connection are applied in the order in which they were sent. With more than one connection per shard,
//!   writes that are in flight together have no order among them.
//! - A broken connection fails what waits on it with [`Error::Disconnected`](crate::Error::Disconnected). Nothing is sent twice
//!   by itself.

mod batch;
mod collection;
mod connection;
mod filter;
mod infer;
mod namespace;
mod pending;
mod pool;
mod rewrite;
mod rows;
mod search;
mod tally;
#[cfg(test)]
mod tests;
mod traverse;
mod update;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use engine::limits::NAME_BYTES_MAX;
use engine::schema::Schema;
pub use engine::shard::update::Missing;

pub use collection::{Collection, DeleteReport, PreparedWrite, WriteReport};
pub use filter::{Column, Filter, col};
pub use infer::Inference;
pub use namespace::NamespaceInfo;
pub use pending::Pending;
pub use rewrite::RewritableWrite;
pub use rows::Scan;
pub use search::{
    Examples, Fusion, FusionMethod, GroupBy, Hit, Queries, SearchReply, SearchRequest, Text, TextQuery, Within,
};
pub use tally::Facets;
pub use traverse::{Node, TraverseReply, TraverseRequest};
pub use update::{UpdateOptions, UpdateReport};

use crate::codec::collection::encode_name;
use crate::codec::{self, Alter, Create, FrameError, Opcode};
pub use crate::codec::{Cursor, IndexStatus, SnapshotDone};
use crate::error::{Error, Result};
use connection::Reply;
pub use engine::search::{Side, Sides};
pub use engine::shard::Pressure;
use pool::Pool;

/// How often a wait for the server's recovery looks.
const RECOVERY_STEP: Duration = Duration::from_millis(2);

/// How a client works.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Name of the program, for the server's log.
    pub name: String,
    /// Connections to each shard, at least 1.
    pub connections_per_shard: usize,
    /// Requests in flight on one connection, at most; the server may allow fewer.
    pub requests_in_flight_max: usize,
    /// Bytes in flight on one connection, at most; the server may allow fewer.
    pub bytes_in_flight_max: u64,
    /// Bytes of small requests that a connection gathers before it sends them; 0 sends each at once. Gathered requests go off together
    /// when these bytes are full, and when a reply of the connection is waited for or asked for ([`Pending`]), which a program that
    /// has many requests in flight does anyway. One that sends and then turns to something else calls [`Client::flush`].
    pub gather_bytes: usize,
    /// Time to connect and to be welcomed.
    pub connect_timeout: Duration,
    /// Time that a request may take, and that it may wait for room.
    pub timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            name: "broadhead client".into(),
            connections_per_shard: 1,
            requests_in_flight_max: usize::MAX,
            bytes_in_flight_max: u64::MAX,
            gather_bytes: 0,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(60),
        }
    }
}

/// What the server said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Version of its program.
    pub version: String,
    /// Version of its protocol.
    pub protocol_version: u16,
    /// Number of shards.
    pub shards: usize,
    /// Longest body of a frame.
    pub frame_body_bytes_max: u64,
    /// Requests that one connection may have in flight.
    pub requests_max: u32,
    /// Bytes that one connection may have in flight.
    pub bytes_max: u64,
}

/// How a collection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectionOptions {
    /// Links per node, 0 for the server's default.
    pub m: u16,
    /// Candidates while building, 0 for the server's default.
    pub ef_construction: u16,
    /// No error when a collection of this name and schema is there.
    pub if_not_exists: bool,
    /// The server may drop the collection with all its rows when memory is short, the least recently used first: for caches.
    pub evictable: bool,
}

/// A collection as the server tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionInfo {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Fingerprint of its schema.
    pub fingerprint: u64,
    /// Links per node.
    pub m: u16,
    /// Candidates while building.
    pub ef_construction: u16,
    /// Live rows.
    pub rows: u64,
    /// Rows deleted or replaced whose space is not yet free.
    pub deleted: u64,
    /// Live rows that the graph holds.
    pub indexed: u64,
    /// Its schema; none in the list of all collections.
    pub schema: Option<SchemaRef>,
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ack {
    /// Once it is on disk and can be searched.
    #[default]
    Durable,
    /// Once it is accepted in order: a crash can lose it.
    Memory,
}

/// What a write does where a row of an id is there, or is not. Except for the first, a write that finds it otherwise is refused, on each
/// shard as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteMode {
    /// Inserts the row, or replaces the one that is there.
    #[default]
    Upsert,
    /// Inserts rows: none of the ids may be there, or come twice (`RowExists`).
    Insert,
    /// Replaces rows: all of the ids have to be there (`RowMissing`).
    Replace,
}

/// A list of ids, all of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// Unsigned 64-bit.
    U64(Vec<u64>),
    /// Signed 64-bit.
    I64(Vec<i64>),
    /// Text.
    Utf8(Vec<String>),
}

/// One id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// Unsigned 64-bit.
    U64(u64),
    /// Signed 64-bit.
    I64(i64),
    /// Text.
    Utf8(String),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Id::U64(id) => id.fmt(f),
            Id::I64(id) => id.fmt(f),
            Id::Utf8(id) => id.fmt(f),
        }
    }
}

/// A handle on a server. Clones share their connections, which close when the last clone and the last [`Pending`] are gone.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool>,
}

impl Client {
    /// Connects to `address` (`host:port`) and learns how many shards there are.
    ///
    /// # Errors
    /// `NoAddress`, `Io`, `Timeout`, `Remote` where the server takes no more connections.
    pub fn connect(address: &str, options: ClientOptions) -> Result<Client> {
        Ok(Client { pool: Arc::new(Pool::connect(address, options)?) })
    }

    /// What the server said of itself when the newest connection was opened.
    pub fn server(&self) -> Arc<ServerInfo> {
        self.pool.server()
    }

    /// Makes a collection and gives a handle on it.
    ///
    /// # Errors
    /// `Engine` for a schema that cannot be served, `Remote` with `CollectionExists`.
    pub fn create_collection(
        &self,
        name: &str,
        schema: &ArrowSchema,
        options: CollectionOptions,
    ) -> Result<Collection> {
        check_name(name)?;
        let schema = Schema::from_arrow(schema)?.to_bytes();
        let CollectionOptions { m, ef_construction, if_not_exists, evictable } = options;
        let create = Create { m, ef_construction, if_not_exists, evictable, name, schema: &schema };
        let reply = self.call(Opcode::CreateCollection, 0, |body| create.encode(body))?;
        Collection::open(self.pool.clone(), read_info(&reply)?)
    }

    /// Adds columns to a collection and gives a handle on it: `schema` has all its columns, the new ones at the end. Rows that are there
    /// are null in them. Handles from before go on working, without the new columns. Where nothing is new, nothing is done.
    ///
    /// # Errors
    /// `Engine` for a schema that cannot be served, `Remote` with `UnknownCollection`, and with `InvalidSchema` where anything else
    /// than columns of data at the end has changed, or one of them may not be null.
    pub fn alter_collection(&self, name: &str, schema: &ArrowSchema) -> Result<Collection> {
        check_name(name)?;
        let schema = Schema::from_arrow(schema)?.to_bytes();
        let alter = Alter { name, schema: &schema };
        let reply = self.call(Opcode::AlterCollection, 0, |body| alter.encode(body))?;
        Collection::open(self.pool.clone(), read_info(&reply)?)
    }

    /// Adds these columns to a collection, behind those that it has: see [`Client::alter_collection`].
    ///
    /// # Errors
    /// As [`Client::alter_collection`].
    pub fn add_columns(&self, name: &str, columns: &[Field]) -> Result<Collection> {
        let before = self.describe(name)?.schema.ok_or(Error::UnexpectedReply { problem: "no schema" })?;
        let fields: Vec<_> = before.fields().iter().cloned().chain(columns.iter().cloned().map(Arc::new)).collect();
        self.alter_collection(name, &ArrowSchema::new_with_metadata(fields, before.metadata().clone()))
    }

    /// Drops a collection with all its rows.
    ///
    /// # Errors
    /// `Remote` with `UnknownCollection`.
    pub fn drop_collection(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let reply = self.call(Opcode::DropCollection, 0, |body| encode_name(name, body))?;
        Ok(codec::fields::expect_empty(&reply.body)?)
    }

    /// All collections, without their schemas.
    pub fn collections(&self) -> Result<Vec<CollectionInfo>> {
        let reply = self.call(Opcode::List, 0, |_| {})?;
        codec::List::decode(&reply.body)?.iter().map(info_of).collect()
    }

    /// One collection, with its schema.
    ///
    /// # Errors
    /// `Remote` with `UnknownCollection`.
    pub fn describe(&self, name: &str) -> Result<CollectionInfo> {
        check_name(name)?;
        read_info(&self.call(Opcode::Describe, 0, |body| encode_name(name, body))?)
    }

    /// A handle on a collection. It holds on to the collection's number: one that is dropped and made again needs a new handle.
    ///
    /// # Errors
    /// `Remote` with `UnknownCollection`.
    pub fn collection(&self, name: &str) -> Result<Collection> {
        Collection::open(self.pool.clone(), self.describe(name)?)
    }

    /// Has the server write a snapshot of one collection, and waits for it. The server may write the others as well.
    ///
    /// # Errors
    /// `Remote` with `UnknownCollection`.
    pub fn snapshot(&self, name: &str) -> Result<SnapshotDone> {
        self.snapshot_of(self.describe(name)?.id)
    }

    /// Has the server write a snapshot of all collections, and waits for it.
    pub fn snapshot_all(&self) -> Result<SnapshotDone> {
        self.snapshot_of(0)
    }

    fn snapshot_of(&self, collection: u32) -> Result<SnapshotDone> {
        Ok(SnapshotDone::decode(&self.call(Opcode::Snapshot, collection, |_| {})?.body)?)
    }

    /// Sends the requests that were gathered; see [`ClientOptions::gather_bytes`].
    pub fn flush(&self) {
        self.pool.flush();
    }

    /// The server's counters, as JSON.
    pub fn stats(&self) -> Result<String> {
        let reply = self.call(Opcode::Stats, 0, |_| {})?;
        String::from_utf8(reply.body).map_err(|_| FrameError::Field { field: "stats", problem: "not UTF-8" }.into())
    }

    /// Time of a round trip.
    pub fn ping(&self) -> Result<Duration> {
        let start = Instant::now();
        let reply = self.call(Opcode::Ping, 0, |body| body.extend_from_slice(b"ping"))?;
        if reply.body != b"ping" {
            return Err(Error::UnexpectedReply { problem: "the ping came back changed" });
        }
        Ok(start.elapsed())
    }

    /// Writes and deletes of this client that the server held back, as far as they were waited for: how many for each reason.
    pub fn held_writes(&self) -> [(Pressure, u64); Pressure::ALL.len()] {
        self.pool.held()
    }

    /// Whether the server was started just now and has not yet all its rows back: reads may lack the newest, writes wait.
    pub fn is_recovering(&self) -> Result<bool> {
        Ok(self.call(Opcode::Ping, 0, |_| ())?.is_recovering)
    }

    /// Waits until the server has all its rows, or until the time is over: false then.
    pub fn wait_recovered(&self, timeout: Duration) -> Result<bool> {
        let start = Instant::now();
        while self.is_recovering()? {
            if start.elapsed() >= timeout {
                return Ok(false);
            }
            std::thread::sleep(RECOVERY_STEP);
        }
        Ok(true)
    }

    fn call(&self, opcode: Opcode, collection: u32, body: impl FnOnce(&mut Vec<u8>)) -> Result<Reply> {
        self.pool.send(None, opcode, collection, body)?.wait()
    }
}

fn check_name(name: &str) -> Result<()> {
    let (value, limit) = (name.len() as u64, NAME_BYTES_MAX as u64);
    if value > limit {
        return Err(engine::Error::LimitExceeded { what: "length of a name in bytes", value, limit }.into());
    }
    if name.is_empty() {
        return Err(engine::Error::Empty { what: "name of the collection" }.into());
    }
    Ok(())
}

fn read_info(reply: &Reply) -> Result<CollectionInfo> {
    info_of(codec::CollectionInfo::decode(&reply.body)?)
}

fn info_of(info: codec::CollectionInfo<'_>) -> Result<CollectionInfo> {
    let schema = match info.schema {
        [] => None,
        bytes => Some(Schema::from_bytes(bytes)?.arrow().clone()),
    };
    Ok(CollectionInfo {
        id: info.id,
        name: info.name.to_owned(),
        fingerprint: info.fingerprint,
        m: info.m,
        ef_construction: info.ef_construction,
        rows: info.rows,
        deleted: info.deleted,
        indexed: info.indexed,
        schema,
    })
}
