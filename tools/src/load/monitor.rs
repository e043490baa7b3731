//! A look at the server each second, beside what the connections recorded.

use std::time::{Duration, Instant};

use net::client::Client;
use serde::Serialize;
use serde_json::Value;

use super::recorder::Second;

/// One second of a run, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Moment {
    /// From the start of the clock to the end of this second, in s.
    pub second: usize,
    /// Payload acknowledged.
    pub mb_per_s: f64,
    /// Rows acknowledged.
    pub rows_per_s: u64,
    /// Latency of the acknowledgements.
    pub p50_us: f64,
    /// See `p50_us`.
    pub p99_us: f64,
    /// Resident memory of the server at the end of it.
    pub resident_bytes: u64,
    /// Disk space of the data directory at the end of it.
    pub disk_bytes: u64,
    /// Rows of the collection that the graph has yet to take in.
    pub backlog_rows: u64,
}

impl Moment {
    /// Names of the values, as in JSON and CSV.
    pub const NAMES: [&str; 8] =
        ["second", "mb_per_s", "rows_per_s", "p50_us", "p99_us", "resident_bytes", "disk_bytes", "backlog_rows"];

    /// What connections and server say of a second.
    pub fn new(number: usize, second: &Second, vector_bytes: usize, server: Server) -> Moment {
        Moment {
            second: number + 1,
            mb_per_s: second.rows as f64 * vector_bytes as f64 / 1e6,
            rows_per_s: second.rows,
            p50_us: second.p50_us,
            p99_us: second.p99_us,
            resident_bytes: server.resident_bytes,
            disk_bytes: server.disk_bytes,
            backlog_rows: server.backlog_rows,
        }
    }
}

/// What STATS says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Server {
    /// See [`Moment`].
    pub resident_bytes: u64,
    /// See [`Moment`].
    pub disk_bytes: u64,
    /// See [`Moment`].
    pub backlog_rows: u64,
}

impl Server {
    /// Asks.
    pub fn ask(client: &Client, collection: &str) -> net::Result<Server> {
        Ok(Server::read(&client.stats()?, collection))
    }

    fn read(stats: &str, collection: &str) -> Server {
        let stats: Value = serde_json::from_str(stats).unwrap_or_default();
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let collections = stats["collections"].as_array().map_or(&[][..], Vec::as_slice);
        let backlog = collections.iter().find(|one| one["name"] == collection);
        Server {
            resident_bytes: number(&stats["resident_bytes"]),
            disk_bytes: number(&stats["disk_bytes"]),
            backlog_rows: backlog.map_or(0, |one| number(&one["index_backlog_rows"])),
        }
    }
}

/// Calls `each` at the end of every second after `start` with its number, until it says that this is enough.
pub fn every_second(start: Instant, is_over: impl Fn() -> bool, mut each: impl FnMut(usize)) {
    const NAP: Duration = Duration::from_millis(20);
    for second in 0.. {
        let end = start + Duration::from_secs(second as u64 + 1);
        while Instant::now() < end {
            if is_over() {
                return;
            }
            std::thread::sleep(NAP.min(end.saturating_duration_since(Instant::now())));
        }
        each(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_json() {
        let moment = Moment::new(0, &Second { rows: 500_000, ..Second::default() }, 10, Server::default());
        assert_eq!((moment.second, moment.mb_per_s), (1, 5.0));
        let Value::Object(object) = serde_json::to_value(moment).unwrap() else { panic!("an object") };
        let mut names = Moment::NAMES;
        names.sort_unstable();
        assert_eq!(object.keys().map(String::as_str).collect::<Vec<_>>(), names);
    }

    #[test]
    fn stats_are_read() {
        let stats = r#"{"resident_bytes": 5, "disk_bytes": 7,
            "collections": [{"name": "a", "index_backlog_rows": 1}, {"name": "b", "index_backlog_rows": 2}]}"#;
        assert_eq!(Server::read(stats, "b"), Server { resident_bytes: 5, disk_bytes: 7, backlog_rows: 2 });
        assert_eq!(Server::read("", "b"), Server::default());
    }
}
