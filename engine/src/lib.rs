//! The storage engine of Broadhead. `README.md` in this crate shows how an insert, a search and a recovery flow through it.
//!
//! | module | responsibility |
//! |---|---|
//! | [`schema`], [`batch`], [`ids`], [`placement`] | what rows look like, as bytes and as Arrow, and where they live |
//! | [`region`] | single-writer columns, published length |
//! | [`wal`] | ordered durable records, group commit |
//! | [`quant`], [`space`] | int8 codes; distances of rows |
//! | [`hnsw`] | neighbours over row ids |
//! | [`analyser`] | text → tokens |
//! | [`filter`] | JSON → rows of a chunk |
//! | [`text`] | words → documents, by BM25 |
//! | [`edges`] | edges by their nodes; walks along them |
//! | [`mesh`] | rings and doorbells between threads |
//! | [`expiry`], [`clock`] | rows whose time is over, and what time it is |
//! | [`collection`], [`selection`], [`tally`], [`paging`], [`search`], [`traversal`] | rows and graph together; rows that a filter is true of, and counts of them; scans of rows; queries; walks along rows that are edges |
//! | [`shard`], [`control`] | what a core owns; what is done once for all |
//! | [`eviction`] | which collection goes when memory is short |
//! | [`manifest`], [`snapshot`], [`recovery`] | what lies on disk besides the log, and how it comes back |
//! | [`uring`], [`buffers`], [`heap`] | the kernel's ring, and memory that it may use; memory given back |
//! | [`text_list`] | lists of text as bytes |
//! | [`probes`] | where a tracer can look on |

#![deny(unsafe_code)]

pub mod analyser;
pub mod batch;
#[allow(unsafe_code)]
pub mod buffers;
pub mod clock;
pub mod collection;
pub mod control;
pub mod edges;
pub mod error;
pub mod eviction;
pub mod expiry;
pub mod filter;
#[allow(unsafe_code)]
pub mod heap;
pub mod hnsw;
pub mod ids;
pub mod limits;
pub mod manifest;
pub mod mesh;
pub mod namespace;
pub mod paging;
pub mod placement;
pub mod probes;
pub mod quant;
pub mod recovery;
pub mod region;
pub mod schema;
pub mod search;
pub mod selection;
pub mod shard;
pub mod snapshot;
pub mod space;
pub mod tally;
pub mod text;
pub mod text_list;
pub mod traversal;
#[allow(unsafe_code)]
pub mod uring;
pub mod wal;

pub use error::{Error, Result};
