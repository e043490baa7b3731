//! Snapshots: the rows and graphs of all shards in files, so that the log before them can go and the next start is quick.
//!
//! Per collection `c` and shard `s`, in the snapshot's directory:
//!
//! | file | content |
//! |---|---|
//! | `c00001-s000.arrow` | the rows in slot order, dead ones included: an Arrow IPC stream |
//! | `c00001-s000.dead` | one bit a slot, lowest bit first, set where the row is deleted or replaced |
//! | `c00001-s000-v0.graph` | the shard's part of the graph of vector column 0 |
//!
//! Sizes and checksums of all files are in the manifest, which is written last. A file that no manifest names is rubbish.

mod file;
mod load;
mod write;

pub use load::{for_each_live_batch, load_graphs, load_shard};
pub use write::{Point, write};

/// Rows of one batch in a region file.
const BATCH_ROWS: u32 = 8_192;

fn region_name(collection: u32, shard: usize) -> String {
    format!("c{collection:05}-s{shard:03}.arrow")
}

fn dead_name(collection: u32, shard: usize) -> String {
    format!("c{collection:05}-s{shard:03}.dead")
}

fn graph_name(collection: u32, shard: usize, vector: usize) -> String {
    format!("c{collection:05}-s{shard:03}-v{vector}.graph")
}
