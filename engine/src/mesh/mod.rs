//! How the shards of a process talk to each other: a bounded ring for every ordered pair of participants, and a doorbell
//! for every participant that sleeps.
//!
//! | module | what it holds |
//! |---|---|
//! | [`ring`](mod@ring) | the queue between two threads; the only `unsafe` of the mesh |
//! | [`doorbell`] | when to wake, and the proof that no wake is lost |
//! | [`event`] | the eventfd that a doorbell rings |
//! | [`port`] | one participant's ends of all rings |
//! | [`sync`] | the primitives, exchanged in the model |
//!
//! Invariants: every ring is bounded, and a full ring gives the message back; a message is never lost, doubled or
//! reordered between two participants; a participant that sleeps is woken by a message. `tests/mesh-model` checks them
//! over all interleavings of small cases. The mesh does not know what a message means.

pub mod doorbell;
pub mod event;
pub mod port;
pub mod ring;
pub mod sync;

pub use doorbell::Doorbell;
pub use port::{Port, mesh};
pub use ring::{Consumer, Producer, ring};
