//! Broadhead on the network.
//!
//! | module | responsibility | must not know |
//! |---|---|---|
//! | [`codec`] | bytes to borrowed views and back, pure | I/O, shards |
//! | [`client`] | pipelining, credits, shard awareness | the server, index types |
//! | [`server`] | sessions, shards' threads, sockets | index types |
//! | [`admin`] | HTTP: health, readiness, metrics | rows |
//!
//! The wire format for other languages is in `net/PROTOCOL.md`.

#![deny(unsafe_code)]

pub mod admin;
pub mod client;
pub mod codec;
pub mod error;
pub mod server;

pub use error::{Error, Result};
