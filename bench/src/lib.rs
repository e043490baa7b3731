//! Benchmarks: each measures one part and its baseline or limit in the same run, and checks its answers.
//!
//! | module | what it measures | beside |
//! |---|---|---|
//! | [`kernels`] | distances of 384 elements, one by one and in tiles | the scalar kernels, single rows, matrixmultiply, SimSIMD |
//! | [`schema`] | that the schema of a batch is known | reading a schema |
//! | [`mesh`] | a hop between two threads | `std::sync::mpsc` |
//! | [`wal`] | large and small records until durable | a bare O_DSYNC writer |
//! | [`graph`] | building and searching the graph | hnswlib |
//! | [`ingest`] | durable writes over TCP, by the load generator `broadhead bench ingest` | the bare writer, each other, LanceDB |
//! | [`peers`] | building, searching and memory of the graph | the indexes of other projects |
//! | [`scale`] | the same on a million rows | hnswlib, and one that is quantised |
//! | [`path`] | import, index, search, restart and memory of a server | the bare writer, the graph in process |
//! | [`scan`] | all rows of a server, read over TCP | bare loopback |
//! | [`disk`] | memory and searches of a server whose vectors are on disk | one that has them in memory |
//! | [`turnover`] | recall and memory of a server whose rows came and went | servers that were just filled |
//! | [`text`] | words, an index of texts, searches of it, writes while it follows | the scalar kernel, tantivy, writes without an index |
//! | [`edges`] | walks of two hops along a random graph | a hash table of lists |
//! | [`filters`] | searches with a filter, by the share of the rows that pass | hnswlib with the same filter, the exact scan |
//! | [`engines`] | how an engine is run in a process of its own | |
//! | [`report`] | how figures are shown and judged | |
//!
//! `make bench` runs all of it but `peers`, which is `make peers`, and `scale`, by the program of this crate; `tests/smoke.rs` runs all of it on little data.

pub mod disk;
pub mod edges;
pub mod engines;
pub mod filters;
pub mod graph;
pub mod ingest;
pub mod kernels;
pub mod mesh;
pub mod path;
pub mod peers;
pub mod report;
pub mod scale;
pub mod scan;
pub mod schema;
pub mod text;
pub mod turnover;
pub mod wal;
