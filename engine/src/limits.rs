//! Every bound of the engine in one place, with the reasons where a number is not obvious.

/// Rows one shard of one collection can hold, as a power of two (upper bound; wide vectors get fewer).
pub const ROW_BITS_MAX: u32 = 26;
/// Virtual address space that one collection may reserve, in bytes. Reserved is not committed.
pub const COLLECTION_SPAN_BYTES_MAX: u64 = 4 << 40;
/// The same with the columns that were added to it: rows that it had room for stay.
pub const EXTENDED_SPAN_BYTES_MAX: u64 = 2 * COLLECTION_SPAN_BYTES_MAX;
/// Dimensions of a vector.
pub const DIMENSION_MAX: usize = 8_192;
/// Columns of a collection.
pub const COLUMNS_MAX: usize = 256;
/// Versions of a schema: what a collection was made with, and once more for each time that columns were added.
pub const SCHEMA_VERSIONS_MAX: usize = 64;
/// Collections of a server.
pub const COLLECTIONS_MAX: usize = 1_024;
/// Namespaces of a server.
pub const NAMESPACES_MAX: usize = 1_024;
/// Bytes of a collection name, with that of its namespace.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of one utf8 id.
pub const ID_BYTES_MAX: usize = 512;
/// Texts of a list, in one row.
pub const LIST_ITEMS_MAX: usize = 1_024;
/// Bytes of the texts of a list, in one row.
pub const LIST_BYTES_MAX: usize = 64 << 10;
/// Shards of a server.
pub const SHARDS_MAX: usize = 64;
/// Participants of the mesh: the shards and a few threads beside them. A set of participants fits one u128.
pub const MESH_PARTICIPANTS_MAX: usize = 128;
/// Body of one frame, in bytes: a batch of 10,000 rows of 384 f32 and then some.
pub const FRAME_BODY_BYTES_MAX: u64 = 24 << 20;
/// Rows of one write batch.
pub const BATCH_ROWS_MAX: usize = 65_536;
/// Results of one query.
pub const K_MAX: usize = 10_000;
/// Candidates of one query.
pub const EF_MAX: usize = 20_000;
/// Queries of one search request.
pub const QUERIES_MAX: usize = 1_024;
/// Ids of one get or delete request.
pub const IDS_MAX: usize = 65_536;
/// Bytes of one log segment. Written with zeros once, then recycled.
pub const WAL_SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of one log record, header included. Records never span segments.
pub const WAL_RECORD_BYTES_MAX: usize = 32 << 20;
/// Bytes of one write to the log; larger records go out as several writes.
pub const WAL_WRITE_BYTES_MAX: usize = 1 << 20;
/// Bytes of one group of small records.
pub const WAL_GROUP_BYTES_MAX: usize = 1 << 20;
/// Writes to the log in flight at once.
pub const WAL_WRITES_IN_FLIGHT_MAX: usize = 8;
/// Bytes appended and not yet durable, unless it is a single record.
pub const WAL_BACKLOG_BYTES_MAX: usize = 32 << 20;
/// Log segments made ahead of the writer.
pub const WAL_READY_SEGMENTS: usize = 2;
/// Released log segments kept for reuse; the rest is deleted.
pub const WAL_SPARE_SEGMENTS_MAX: usize = 4;

const _: () = assert!(ROW_BITS_MAX < 32);
const _: () = assert!(SHARDS_MAX.is_power_of_two());
const _: () = assert!(SHARDS_MAX + 2 <= MESH_PARTICIPANTS_MAX);
const _: () = assert!(K_MAX + EXAMPLES_MAX <= EF_MAX);

/// Links of a node on the upper layers.
pub const M_MAX: usize = 32;
/// Chunks of vectors that a shard has moved to disk at a time.
pub const MOVED_CHUNKS_MAX: usize = 16;
/// Candidates that are ranked again for each result.
pub const RERANK_MAX: usize = 100;
/// Candidates held while a node is inserted.
pub const EF_CONSTRUCTION_MAX: usize = 2_000;
/// Rows that are looked at for one page of a scan: about a millisecond with a filter of numbers.
pub const SCAN_PAGE_ROWS_MAX: u64 = 256 << 10;
/// Rows from which on what a delete by filter has selected is logged. A write that comes meanwhile waits for one piece: about a
/// millisecond.
pub const DELETE_PIECE_ROWS: usize = 2_048;
/// Bytes of the ids of one piece, about.
pub const DELETE_PIECE_BYTES_MAX: usize = 128 << 10;
/// Bytes of rows of one page of a scan, unless a row alone is longer, and about: what was written is still in the cache when it is sent.
pub const SCAN_PAGE_BYTES: usize = 2 << 20;
/// Bytes of a filter.
pub const FILTER_BYTES_MAX: usize = 256 << 10;
/// Brackets of a filter that are open at a time.
pub const FILTER_DEPTH_MAX: usize = 32;
/// Bytes of the options of a search.
pub const OPTIONS_BYTES_MAX: usize = 64 << 10;
/// Brackets of the options of a search that are open at a time.
pub const OPTIONS_DEPTH_MAX: usize = 32;
/// Rows that a query may be made of.
pub const EXAMPLES_MAX: usize = 256;
/// A search of which it is not known before how many candidates it takes begins with few, and takes so many times as many until they suffice.
pub const EF_WIDENING: usize = 4;
/// Candidates up to which a search for groups widens before it compares all rows.
pub const GROUPS_EF_MAX: usize = 4_096;
/// Rows that a search for groups by words begins with, at least.
pub const TEXT_GROUPS_ROWS_MIN: usize = 1_024;
/// Where they do not suffice, it takes so many times as many.
pub const TEXT_GROUPS_WIDENING: usize = 8;
/// Words that a text is to contain, of one condition.
pub const FILTER_WORDS_MAX: usize = 64;
/// Bytes of masks that a shard keeps for the filters to come: a bit for each row and condition.
pub const FILTER_MASKS_BYTES_MAX: usize = 32 << 20;
/// Chunks and columns that a shard keeps the ends of values of: some 20 MB.
pub const FILTER_ZONES_MAX: usize = 1 << 18;
/// Time that one step of making masks takes, in nanoseconds and about.
pub const FILTER_STEP_NS: u64 = 500_000;
/// Values that are listed with their counts.
pub const FACETS_MAX: usize = 10_000;
/// Different values that are counted of a column.
pub const FACET_VALUES_MAX: usize = 1 << 18;
/// Bytes of different values that are counted of a column.
pub const FACET_BYTES_MAX: usize = 16 << 20;
/// Rows below which a collection is scanned and has no graph.
pub const GRAPH_ROWS_MIN: u64 = 1_024;
/// Rows that the scale of codes is trained on, at most.
pub const TRAIN_ROWS_MAX: u64 = 10_000;
/// Rows among them that the scale of 4-bit codes is tried out on, at most: each takes some 10 µs at 384 elements.
pub const TRAIN_INT4_ROWS_MAX: usize = 512;
/// Rows inserted between two exchanges of reverse edges, at most.
pub const INDEX_BATCH_ROWS_MAX: u32 = 512;
/// A batch has at most one in so many of the graph's nodes.
pub const INDEX_BATCH_FRACTION: u32 = 50;
/// Index batches of one shard and one graph that wait for the other shards to take their edges.
pub const INDEX_BATCHES_IN_FLIGHT: usize = 4;
/// Rows that wait, of all shards, from which on a graph takes them in in bulk: it takes the time of a few hundred insertions to begin.
pub const BULK_ROWS_MIN: u64 = 8_192;
/// Rows of one bulk round, of all shards: it takes up to 1.5 KB a row while it goes on.
pub const BULK_ROWS_MAX: u64 = 131_072;
/// All rows of a graph are linked anew in idle time when one in so many has come since that was done last.
pub const REFINE_PART: u64 = 2;
/// Rows that are linked anew in one step: about half a millisecond.
pub const REFINE_ROWS_MAX: u64 = 4;
/// Rows that are linked anew between two exchanges of reverse edges. Each keeps idle work waiting for a few milliseconds.
pub const REFINE_BATCH_ROWS: u64 = 256;
/// Slots that are looked at in one step.
pub const REFINE_SLOTS_MAX: u32 = 256;
/// Sparse chunks are emptied when one in so many of a shard's living rows has a dead one beside it in a chunk that lives,
const COMPACT_BEGIN_PART: u64 = 8;
/// until it is one in so many.
const COMPACT_END_PART: u64 = 16;
/// Beside dead rows that are so many times the living, rows are moved even while somebody pages through them.
pub const COMPACT_URGENT_PART: u64 = 2;
/// Dead rows from which on rows are moved beside other work, if there are also fewer living ones.
pub const COMPACT_PRESSING_ROWS_MIN: u64 = 16_384;
/// Rows are moved beside other work for one part in so many of a shard's time, at most.
pub const COMPACT_TIME_SHARE: u32 = 10;
/// Rows that wait for a graph, of a shard, above which no more are moved in idle time.
pub const COMPACT_WAITING_ROWS_MAX: u64 = 1_024;
/// Rows, and bytes of rows, that are moved in one step of idle time: a request that comes meanwhile waits for it.
pub const COMPACT_IDLE_ROWS_MAX: u64 = 128;
/// See above.
pub const COMPACT_IDLE_BYTES_MAX: u64 = 256 << 10;
/// Rows, and bytes of rows, that are moved in one step beside other work.
pub const COMPACT_PRESSING_ROWS_MAX: u64 = 1_024;
/// See above.
pub const COMPACT_PRESSING_BYTES_MAX: u64 = 2 << 20;
/// How long a scan may take from one page to the next, in seconds, so that no row is moved meanwhile.
pub const PAGE_SECONDS_MAX: u64 = 5;

/// Garbage is too much when it is more than one in so many of what lives; less where something is done about it already.
pub const fn compact_part(is_on: bool) -> u64 {
    if is_on { COMPACT_END_PART } else { COMPACT_BEGIN_PART }
}

/// Edges of a collection that can be walked along.
pub const EDGES_MAX: usize = 1 << 30;
/// Types of the edges of a collection.
pub const EDGE_TYPES_MAX: usize = 65_536;
/// Bytes of the type of an edge that a traversal names.
pub const EDGE_TYPE_BYTES_MAX: usize = 512;
/// Hops of a traversal.
pub const HOPS_MAX: u8 = 16;
/// Types that a traversal names.
pub const TRAVERSE_TYPES_MAX: usize = 64;
/// Nodes that a traversal reaches. Each takes about a hundred bytes while it goes on.
pub const TRAVERSE_NODES_MAX: usize = 1_000_000;
/// The same where a traversal does not say.
pub const TRAVERSE_NODES_DEFAULT: usize = 100_000;
/// Results of a traversal that does not say how many.
pub const TRAVERSE_LIMIT_DEFAULT: usize = 1_000;
/// Edges that a traversal looks at, once each.
pub const TRAVERSE_EDGES_MAX: usize = 4_000_000;
/// Edges that are looked at, or passed along, in one step of a traversal.
pub const TRAVERSE_STEP: usize = 4_096;
/// Rows that are read in one step of bringing edges into order.
pub const EDGE_ROWS_STEP: usize = 2_048;
/// Bytes of an edge in an adjacency, its share of the nodes among them.
pub const EDGE_BYTES: u64 = 40;
/// The edges of a collection are put in order anew when one in so many of them has died.
pub const EDGES_DEAD_PART: u64 = 4;
/// Dead edges that nobody minds.
pub const EDGES_DEAD_MIN: u64 = 4_096;

/// Slots of one mesh ring.
pub const MESH_RING_SLOTS: usize = 1_024;
/// Messages taken from one peer in one turn.
pub const MESH_DRAIN_MAX: usize = 128;
/// Rows that one slice of an exact scan looks at before it lets others run.
pub const SCAN_SLICE_ROWS: u32 = 2_048;
/// Rows above which an exact scan is shared out to all cores.
pub const SCAN_LOCAL_ROWS: u64 = 8_192;
/// Queries of one search that wait for the disk at a time.
pub const READING_QUERIES_MAX: usize = 16;
/// Queries of one search from which on other cores take some of them: fewer are nearly done when another core hears of them.
pub const SPREAD_QUERIES_MIN: usize = 4;
/// One query in about so many is kept, to learn the recall that it got.
pub const RECALL_KEEP_ONE_IN: u64 = 16;
/// Queries of one vector column that a shard keeps; the newest.
pub const RECALL_KEPT_MAX: usize = 8;
/// Vector columns that a shard keeps queries of.
pub const RECALL_COLUMNS_MAX: usize = 256;
/// Rows that are compared in one step of an exact answer in idle time: a request that comes meanwhile waits for one step.
pub const RECALL_SLICE_ROWS: u32 = 256;
/// Recall is looked into for one part in so many of a shard's time, at most.
pub const RECALL_TIME_SHARE: u32 = 50;
/// Samples of a shard after which one counts for a third of what it did at first.
pub const RECALL_MEMORY_SAMPLES: u64 = 256;
/// How long a sample may take, in seconds: it holds a view, and what a view sees cannot be used again.
pub const RECALL_SAMPLE_SECONDS_MAX: u64 = 10;
/// How long it may stand still because the shard has other work, in milliseconds.
pub const RECALL_STANDSTILL_MS_MAX: u64 = 100;
/// Connections of a server, unless it is told otherwise.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Requests one connection may have in flight.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;
/// Searches and reads of rows that one connection may have in flight: how long their replies get is not known before.
pub const READS_IN_FLIGHT_MAX: usize = 8;
/// Bytes of requests one connection may have in flight; one request alone may be larger.
pub const REQUEST_BYTES_IN_FLIGHT_MAX: u64 = 32 << 20;
/// Bytes of replies that wait for one connection to read them; above, no more requests are read from it.
pub const REPLY_BYTES_WAITING_MAX: usize = 8 << 20;
/// Bytes of rows in the reply to a scan or a get.
pub const REPLY_ROWS_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(FRAME_BODY_BYTES_MAX as usize + 4096 <= WAL_RECORD_BYTES_MAX);
const _: () = assert!(WAL_RECORD_BYTES_MAX as u64 + 4096 <= WAL_SEGMENT_BYTES);
/// Bytes of a word that are looked for.
pub const TOKEN_BYTES_MAX: usize = 255;
/// Bytes of what a field says of its analyser.
pub const ANALYSER_BYTES_MAX: usize = 64 << 10;
/// Words of a text query.
pub const TEXT_QUERY_WORDS_MAX: usize = 1_024;
/// Tokens of a batch of documents that is made a segment, about.
pub const TEXT_BATCH_TOKENS: usize = 512 << 10;
/// Rows that are added to a text index while a view is held, about: what lies farther behind is added before.
pub const TEXT_ROUND_ROWS: u64 = 8 << 10;
/// Segments of a text index from which on merging them comes before more rows.
pub const TEXT_SEGMENTS_MAX: usize = 32;
/// Bytes of text that are taken apart in one step: about half a millisecond.
pub const TEXT_STEP_BYTES: usize = 64 << 10;
/// Ordinals that a segment spans, at most: it is searched without a pause.
pub const TEXT_SEGMENT_SPAN_MAX: u64 = 256 << 10;
/// Postings that are merged in one step: about half a millisecond.
pub const TEXT_STEP_POSTINGS: usize = 64 << 10;
