//! Snapshots: the rows and graphs of all shards in files, so that the log before them can go and the next start is quick.
//!
//! Per collection `c` and shard `s`, in the snapshot's directory:
//!
//! | file | content |
//! |---|---|
//! | `c00001-s000.arrow` | the rows that live or that a graph holds, in the order in which they came: an Arrow IPC stream, one batch a chunk |
//! | `c00001-s000.chunks` | which chunks and which rows of them these are, and which of them are dead: see `chunk` |
//! | `c00001-s000-v0.graph` | the shard's part of the graph of vector column 0 |
//!
//! Sizes and checksums of all files are in the manifest, which is written last. A file that no manifest names is rubbish.

mod chunk;
mod file;
mod load;
mod write;

pub use load::{for_each_live_batch, load_graphs, load_shard};
pub use write::{Point, write};

fn region_name(collection: u32, shard: usize) -> String {
    format!("c{collection:05}-s{shard:03}.arrow")
}

fn chunks_name(collection: u32, shard: usize) -> String {
    format!("c{collection:05}-s{shard:03}.chunks")
}

fn graph_name(collection: u32, shard: usize, vector: usize) -> String {
    format!("c{collection:05}-s{shard:03}-v{vector}.graph")
}
