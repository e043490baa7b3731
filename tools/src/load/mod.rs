//! The load generator: data that is made before the clock starts, a schedule, connections that keep to it, and what came of it.
//!
//! Latency counts from the moment a request was due, not from when it could be sent: a server that stalls does not
//! hide its stall behind requests that were not sent meanwhile.

mod data;
mod ingest;
mod latency;
mod schedule;
mod search;

pub use data::Data;
pub use ingest::{Ingest, Ingested, ingest};
pub use latency::Latencies;
pub use schedule::{Schedule, until};
pub use search::{Search, search};
