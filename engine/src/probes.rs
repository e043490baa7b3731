//! Static probes (USDT) at the boundaries of the engine and the server: `broadhead:NAME` for bpftrace, perf and gdb.
//!
//! Each probe is one `nop` where it stands and a note in the binary that says where its arguments lie, so it costs nothing
//! measurable while nobody listens, and a tracer can be attached to any server that runs. Invariants:
//!
//! - Names and arguments are an interface. `tools/PROFILING.md` lists them, and a test holds that list against the binary.
//! - Arguments are integers that are at hand anyway, and no probe reads a clock: the tracer knows when it was hit.
//!   [`mesh_sent`] is the exception: what is costly to know there is computed only while somebody listens.
//! - One thread is one shard, and it works on one frame, one query and one turn at a time: what has no key of its own is
//!   told apart by its shard or its thread.

// The macro of the crate `probe` is an `asm!` of one `nop`.
#![allow(unsafe_code)]

use probe::{probe, probe_lazy};

macro_rules! probes {
    ($($(#[doc = $doc:literal])* $name:ident($($argument:ident: $kind:ty),*);)*) => {
        $(
            $(#[doc = $doc])*
            // A call would cost more than the probe, and its arguments would have to be in place for it.
            #[inline(always)]
            pub fn $name($($argument: $kind),*) {
                probe!(broadhead, $name, $($argument),*);
            }
        )*
    };
}

probes! {
    /// A frame of a client is there as a whole, with so many bytes of body, and is worked on now. Again for a frame that
    /// was held back meanwhile.
    frame_received(shard: usize, connection: u32, request: u64, opcode: u16, bytes: u64);
    /// The rows of an operation are checked and filled in; nobody sees them yet.
    request_staged(shard: usize, collection: u32, rows: u32);
    /// The reply to a request is in the output of its connection; it is sent at the end of the turn.
    request_answered(shard: usize, connection: u32, request: u64, opcode: u16, bytes: usize, is_error: bool);
    /// The reply to a write is in the output of its connection. Over several shards, `lsn` is the largest.
    write_acknowledged(shard: usize, connection: u32, request: u64, lsn: u64);
    /// A connection is not read from for now: 0 no memory for its frame, 1 no room in the log, 2 out of credits, 3 the log is replayed, 4 the
    /// index is behind.
    session_held(shard: usize, connection: u32, why: u32);
    /// A connection that was held is looked at again.
    session_released(shard: usize, connection: u32);

    /// A record is in the log's queue.
    wal_submitted(shard: usize, lsn: u64, bytes: usize, in_flight: usize);
    /// A write is handed to the disk. Its ticket is unique among those in flight, of which it is one.
    wal_write_begin(shard: usize, ticket: u32, bytes: usize, in_flight: usize);
    /// The shard takes the end of a write in; of a failed one, 0 bytes.
    wal_write_end(shard: usize, ticket: u32, bytes: u32);
    /// All records up to `lsn` are on disk, by the end of a group of so many bytes.
    wal_durable(shard: usize, lsn: u64, bytes: usize);
    /// An operation can be seen by readers.
    region_published(shard: usize, lsn: u64, rows: u32, replaced: u32);

    /// The indexer begins a batch that ends below ordinal `end`; `backlog` rows were waiting.
    index_batch_begin(shard: usize, collection: u32, vector: usize, end: u64, rows: u64, backlog: u64);
    /// The rows of the batch are linked; so many owners were sent reverse edges.
    index_batch_sent(shard: usize, collection: u32, vector: usize, end: u64, owners: usize);
    /// All owners have answered: the graph holds all rows below ordinal `end`.
    index_batch_end(shard: usize, collection: u32, vector: usize, end: u64);

    /// The task of a search runs for the first time.
    search_begin(shard: usize, connection: u32, request: u64, queries: usize, ef: usize);
    /// The graph has been searched for all queries.
    search_graph_done(shard: usize, connection: u32, request: u64, queries: usize);
    /// The rows that no graph holds have been scanned, by all shards that helped.
    search_scan_done(shard: usize, connection: u32, request: u64, rows: u64);
    /// Hits are merged; only the reply is to be encoded.
    search_end(shard: usize, connection: u32, request: u64, hits: usize);
    /// One query sets out into the graph. What it does until `query_ranked` is done on this thread, without a break.
    query_begin(collection: u32, ef: usize);
    /// It has its candidates.
    query_traversed(collection: u32, candidates: usize);
    /// The best of them are ranked by their full vectors.
    query_ranked(collection: u32, rows: usize);

    /// So many messages find no room in the ring between two participants; they wait for the next turn.
    mesh_ring_full(from: usize, to: usize, waiting: usize);
    /// A shard has taken so many messages from its rings.
    mesh_taken(shard: usize, messages: usize);

    /// A turn begins with the data plane.
    turn_begin(shard: usize);
    /// The data plane is through, and tasks run.
    turn_tasks(shard: usize, moved: bool);
    /// The turn is over.
    turn_end(shard: usize, ran: bool);
    /// The shard goes to sleep.
    shard_parked(shard: usize);
    /// The shard is awake again.
    shard_awake(shard: usize);

    /// The shards are asked to stop indexing for a snapshot.
    snapshot_begin(shards: usize);
    /// All shards stand still; the files are written now.
    snapshot_still(shards: usize);
    /// The snapshot is there; of a failed one, 0 bytes.
    snapshot_end(bytes: u64);
}

/// Messages have gone to another participant; `depth` tells how many its ring holds now, and is asked only while somebody
/// listens: it is a look at the other core's cache line.
#[inline(always)]
pub fn mesh_sent(from: usize, to: usize, messages: usize, depth: impl Fn() -> usize) {
    probe_lazy!(broadhead, mesh_sent, from, to, messages, depth());
}
