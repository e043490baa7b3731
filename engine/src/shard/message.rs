//! What the threads of a server say to each other over the mesh. Participants 0..S are the shards, participant S is the
//! control thread.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::text::TextRequest;
use crate::collection::Collection;
use crate::error::Error;
use crate::filter::Filter;
use crate::hnsw::{BulkPart, Edge};
use crate::ids::IdList;
use crate::search::{GraphJob, ScanJob, Top};
use crate::text::{Statistics, TextHit};
use crate::wal::Lsn;

/// A message between two threads.
pub enum Message {
    /// Reverse edges for nodes that the receiver owns.
    Edges {
        /// Graph and batch that they belong to.
        batch: EdgeBatch,
        /// The edges.
        edges: Box<[Edge]>,
    },
    /// All edges of a batch are in, or a sweep is done.
    EdgesApplied(EdgeBatch),
    /// The sender's dead nodes leave a graph: the receiver is to sweep its lists. Answered as a batch of edges is.
    Sweep(EdgeBatch),
    /// A bulk round of a graph, by its number.
    Bulk {
        /// Graph and round.
        round: EdgeBatch,
        /// What is said.
        message: BulkMessage,
    },
    /// Work of an exact scan: the receiver scans slices until none is left.
    Scan(Arc<ScanJob>),
    /// No slice of a scan is left; what the sender found in those that it took. Not sent by who took none.
    Scanned {
        /// Number that the receiver knows the scan by.
        ticket: u64,
        /// Slices that the sender took.
        slices: usize,
        /// One for each query.
        found: Vec<Top>,
    },
    /// A batch of queries: the receiver takes some and searches the graph for them, until none is left.
    Traverse(Arc<GraphJob>),
    /// What the sender found for queries that it took.
    Traversed {
        /// Number that the receiver knows the batch by.
        ticket: u64,
        /// Queries by their place in the batch, each with what was found.
        found: Vec<(usize, Result<Top, Error>)>,
    },
    /// Which rows have these ids?
    Find {
        /// Number that the sender knows it by.
        ticket: u64,
        /// Collection number.
        collection: u32,
        /// Ids whose home is the receiver.
        ids: IdList,
    },
    /// The rows that were asked for, in the order of the ids; `None` where there is none.
    Found {
        /// Number that the receiver knows it by.
        ticket: u64,
        /// Row of each id.
        rows: Result<Vec<Option<u32>>, Error>,
    },
    /// What do the documents of the receiver say to a text query?
    TextStatistics {
        /// Number that the sender knows it by.
        ticket: u64,
        /// The query.
        request: Arc<TextRequest>,
    },
    /// The statistics that were asked for.
    TextCounted {
        /// Number that the receiver knows it by.
        ticket: u64,
        /// Of the sender's rows.
        statistics: Result<Statistics, Error>,
    },
    /// Which rows of the receiver are best, by the statistics of all shards?
    TextSearch {
        /// Number that the sender knows it by.
        ticket: u64,
        /// The query.
        request: Arc<TextRequest>,
        /// Of all shards.
        statistics: Arc<Statistics>,
    },
    /// The best rows of a shard.
    TextFound {
        /// Number that the receiver knows it by.
        ticket: u64,
        /// Best first, and how many rows might have been among them.
        found: Result<(Vec<TextHit>, u64), Error>,
    },
    /// A connection that asked for the receiving shard, with the bytes that came behind its greeting.
    Adopt {
        /// The socket.
        socket: OwnedFd,
        /// Request id of the greeting that is to be answered.
        request: u64,
        /// Bytes read behind the greeting.
        rest: Box<[u8]>,
    },
    /// An operation whose rows live on the receiver: a whole frame.
    Forward {
        /// Number that the sender knows it by.
        ticket: u64,
        /// The frame.
        frame: Box<[u8]>,
    },
    /// What became of a forwarded operation.
    Forwarded {
        /// Number that the receiver knows it by.
        ticket: u64,
        /// What held it back.
        pressure: super::Pressure,
        /// What became of it.
        result: Result<(super::Outcome, Lsn), Error>,
    },
    /// Delete the receiver's rows that a filter is true of, or all.
    DeleteWhere {
        /// Number that the sender knows it by.
        ticket: u64,
        /// Collection number.
        collection: u32,
        /// None: all rows.
        filter: Option<Arc<Filter>>,
    },
    /// The rows that the sender was to delete are gone, durably.
    DeletedWhere {
        /// Number that the receiver knows it by.
        ticket: u64,
        /// How many they were.
        result: Result<u64, Error>,
    },
    /// A shard asks the control thread for something.
    Request {
        /// Number that the shard knows it by.
        ticket: u64,
        /// What it asks for.
        request: ControlRequest,
    },
    /// The control thread's answer.
    Reply {
        /// Number that the shard knows it by.
        ticket: u64,
        /// The answer.
        reply: Result<ControlReply, Error>,
    },
    /// A collection to serve from now on.
    Install(Arc<Collection>),
    /// Columns to make room for, in a version of a collection that nobody sees yet. Answered by `Prepared`.
    PrepareColumns(Arc<Collection>),
    /// What became of the last `PrepareColumns`.
    Prepared(Result<(), Error>),
    /// The columns that were prepared are not to be: a collection, by its number.
    GiveColumnsUp(u32),
    /// Batches with the columns that were prepared are taken from now on.
    AddColumns(Arc<Collection>),
    /// The collection is shown and read with them from now on.
    ShowColumns(Arc<Collection>),
    /// A collection that is no longer there.
    Remove(u32),
    /// The receiver has done what the last message of the control thread about a collection asked.
    Changed,
    /// Stop indexing and say when all is still.
    SnapshotBegin,
    /// Indexing is still; rows up to `lsn` are visible and each collection has the published length named.
    SnapshotReady {
        /// Newest visible operation.
        lsn: Lsn,
        /// Published ordinals of each collection of the shard.
        published: Vec<(u32, u64)>,
    },
    /// Go on indexing; with an LSN, the log up to it is no longer needed.
    SnapshotEnd(Option<Lsn>),
    /// The sender, a shard, has all the rows of its log and takes operations. Said once, to the control thread.
    Recovered,
    /// A shard's log before this LSN is no longer needed; the control thread writes that down and answers `Trimmed`.
    Trim(Lsn),
    /// The log before this LSN may go.
    Trimmed(Lsn),
    /// Say that you are alive.
    Heartbeat,
    /// Take no more connections and requests, finish what waits, and leave.
    Stop,
}

/// What shards say of a bulk round.
pub enum BulkMessage {
    /// Take part in it.
    Begin {
        /// Whether codes are compared, where there are some, or the vectors themselves.
        codes: bool,
    },
    /// The sender takes no part: it is being snapshotted. Nobody does then.
    Refuse,
    /// A part of it.
    Part {
        /// As [`BulkMessage::Begin`] has it: a part may be there first.
        codes: bool,
        /// What is said.
        part: BulkPart,
    },
}

/// Which batch of which graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeBatch {
    /// Collection number.
    pub collection: u32,
    /// Index of the vector column.
    pub vector: u16,
    /// Number given by the inserting shard.
    pub number: u64,
}

/// What a client may ask of the control thread.
pub enum ControlRequest {
    /// Create a collection.
    Create {
        /// Name.
        name: String,
        /// Columns.
        schema: Arc<crate::schema::Schema>,
        /// Graph.
        options: crate::collection::CollectionOptions,
        /// An equal one that exists is an answer, not an error.
        if_not_exists: bool,
    },
    /// Add columns to a collection.
    Alter {
        /// Name.
        name: String,
        /// All columns, the new ones at the end.
        schema: Box<crate::schema::Schema>,
    },
    /// Drop a collection.
    Drop {
        /// Name.
        name: String,
    },
    /// Write a snapshot.
    Snapshot,
    /// Make a namespace, or give it other quotas.
    PutNamespace {
        /// Name.
        name: String,
        /// What it may have.
        quota: crate::namespace::Quota,
        /// One that exists is an error.
        is_new: bool,
    },
    /// Drop a namespace with its collections.
    DropNamespace {
        /// Name.
        name: String,
    },
    /// All namespaces.
    ListNamespaces,
}

/// What the control thread answers.
pub enum ControlReply {
    /// The collection that was created or has new columns, or was there as it was to be.
    Collection(Arc<Collection>),
    /// It is done, and there is nothing to tell.
    Done,
    /// All namespaces, each with what it has.
    Namespaces(Vec<(Arc<crate::namespace::Namespace>, crate::namespace::Usage)>),
    /// The snapshot is durable.
    Snapshot {
        /// Bytes written.
        bytes: u64,
        /// Time taken.
        took: std::time::Duration,
    },
}
