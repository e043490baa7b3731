//! The load generator: data that is made before the clock starts, a schedule, connections that keep to it, and what came of it.
//!
//! Latency counts from the moment a request was due, not from when it could be sent: a server that stalls does not
//! hide its stall behind requests that were not sent meanwhile.
//!
//! | module | what it does |
//! |---|---|
//! | `data`, `feed`, `wheel` | rows; prepared batches of them; the ids that they get |
//! | `ingest`, `search` | the loads |
//! | `recorder`, `monitor`, `latency` | what came of each request, of each second, and what the server says of itself |
//! | `sampler`, `ack_log` | whether what was acknowledged is there: at once, and after a crash |
//! | `searcher`, `soak` | searches beside a load of writes, and the judgement of a long one |
//! | `plot` | charts |

mod ack_log;
mod data;
mod feed;
mod ingest;
mod latency;
mod monitor;
mod plot;
mod recorder;
mod sampler;
mod schedule;
mod search;
mod searcher;
mod soak;
mod wheel;

pub use ack_log::{Acknowledged, verify};
pub use data::{Data, ElementType};
pub use feed::{Pool, frame_rows_max};
pub use ingest::{Ingest, Ingested, Routing, Until, ingest};
pub use latency::Latencies;
pub use monitor::Moment;
pub use plot::{Chart, Line, draw};
pub use schedule::{Schedule, until};
pub use search::{Search, Searched, search};
pub use soak::Soak;
