//! The mesh of the engine, compiled from the same files over [loom](https://docs.rs/loom)'s primitives, which explore
//! every interleaving and every outcome that the memory model allows. `tests/` holds the cases.
//!
//! Two files are exchanged: `sync.rs`, for loom's atomics and its watched cell, and `event.rs`, for an eventfd made of a
//! mutex and a condition variable; a lost wake is then a deadlock, which loom reports.

#[path = "../../../engine/src/error.rs"]
pub mod error;
#[path = "../../../engine/src/limits.rs"]
pub mod limits;

/// The mesh.
pub mod mesh {
    #[path = "../../../../engine/src/mesh/doorbell.rs"]
    pub mod doorbell;
    pub mod event;
    #[path = "../../../../engine/src/mesh/port.rs"]
    pub mod port;
    #[path = "../../../../engine/src/mesh/ring.rs"]
    pub mod ring;
    pub mod sync;
}
