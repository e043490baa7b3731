//! Benchmarks: each measures one part and its baseline or limit in the same run, and checks its answers.
//!
//! | module | what it measures | beside |
//! |---|---|---|
//! | [`kernels`] | distances of 384 elements, one by one and in tiles | the scalar kernels, single rows, matrixmultiply, SimSIMD |
//! | [`mesh`] | a hop between two threads | `std::sync::mpsc` |
//! | [`wal`] | large and small records until durable | a bare O_DSYNC writer |
//! | [`graph`] | building and searching the graph | hnswlib |
//! | [`ingest`] | durable writes over TCP, by the load generator `broadhead bench ingest` | the bare writer, each other, LanceDB |
//! | [`path`] | import, index, search, restart and memory of a server | the bare writer, the graph in process |
//! | [`report`] | how figures are shown and judged | |
//!
//! `make bench` runs all of it, by the program of this crate; `tests/smoke.rs` runs all of it on little data.

pub mod graph;
pub mod ingest;
pub mod kernels;
pub mod mesh;
pub mod path;
pub mod report;
pub mod wal;
