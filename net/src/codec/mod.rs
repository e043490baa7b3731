//! The wire format: bytes to borrowed views and back. Pure: no I/O, no shards, no clock.
//!
//! ```text
//! frame   = header (64 bytes) body (header.body_len bytes)
//! header  = header.rs, one layout for requests, replies and the write-ahead log
//! body    = by opcode: a fixed layout, or an Arrow IPC message
//! ```
//!
//! Invariants: no input makes a decoder panic; every count and length is checked against the bytes that are there, and against
//! its limit, before anything is allocated or sliced; a decoder borrows from the body and copies nothing. The document for
//! other languages is `net/PROTOCOL.md`.

pub mod collection;
pub mod delete_where;
pub mod fields;
pub mod found;
pub mod frame;
pub mod handshake;
pub mod header;
pub mod ids;
pub mod namespace;
pub mod request;
pub mod rows;
pub mod search;
pub mod status;
pub mod tally;
pub mod traverse;
pub mod update;

pub use collection::{Alter, CollectionInfo, Create, IndexStatus, List, SnapshotDone, WaitIndexed};
pub use delete_where::{DeleteWhere, DeletedWhere};
pub use found::{Extras, Found, FoundPrefix};
pub(crate) use frame::combine;
pub use frame::{check_body, check_body_crc, encode_error, encode_frame, extend_crc, frame_crc, seal_frame};
pub use handshake::{Hello, Welcome};
pub(crate) use header::crc;
pub use header::{FrameError, HEADER_BYTES, Header, MAGIC, VERSION, flags};
pub use ids::{Columns, encode_ids};
pub use namespace::{NamespaceInfo, PutNamespace, decode_namespaces, encode_namespaces};
pub use request::{Opcode, Request};
pub use rows::{Cursor, Deleted, Get, Got, GotPrefix, Scan, Scanned, ScannedPrefix, Written};
pub use search::Search;
pub use status::Status;
pub use tally::{Count, Counted, Faceted, FacetedPrefix, Facets};
pub use traverse::{Traverse, Traversed, TraversedNode};
pub use update::{Update, Updated};

#[cfg(test)]
mod document;
#[cfg(test)]
mod tests;
