//! What the end-to-end tests share. Each file in `tests/tests` is one scenario: it starts a server, works with it over TCP
//! as a client does, and looks at what is there afterwards.
//!
//! | module | what it gives |
//! |---|---|
//! | [`server`] | a server on a thread of the test, or as a process that can be killed |
//! | [`rows`] | rows whose content follows from id and version, and the check that a collection holds exactly those |
//! | [`bed`] | vectors of any kind, and how much of what is nearest a server finds |
//! | [`model`] | a plain model of a collection, to hold a real one against |
//! | [`packages`] | the real data of `tests/data` |
//! | [`recall`] | how much of what is nearest a collection of the packages finds |
//! | [`raw`] | a connection that sends whatever bytes a test wants |
//! | [`sandbox`] | processes that the system refuses things |
//! | [`random`] | numbers from a printed seed (`BROADHEAD_SEED` sets it) |

pub mod bed;
pub mod model;
pub mod packages;
pub mod random;
pub mod raw;
pub mod recall;
pub mod rows;
pub mod sandbox;
pub mod server;

use std::time::{Duration, Instant};

use net::client::Client;

/// Longest time that a test waits for something that should come at once; generous, for machines that do much else.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`PATIENCE`]; the message names `what`.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_for(what, PATIENCE, condition);
}

/// As [`wait_until`], for what a server does in idle time, a part a second.
///
/// # Panics
/// When it does not hold within six times [`PATIENCE`].
pub fn wait_longer(what: &str, condition: impl FnMut() -> bool) {
    wait_for(what, 6 * PATIENCE, condition);
}

/// Waits until idle time changes no graph any more, so that an answer does not depend on when it is asked for.
pub fn wait_refined(client: &Client) {
    wait_longer("all rows are linked anew", || {
        let stats: serde_json::Value = serde_json::from_str(&client.stats().expect("an answer")).expect("JSON");
        let collections = stats["collections"].as_array().expect("a list").iter();
        let mut vectors = collections.flat_map(|collection| collection["vectors"].as_array().expect("a list"));
        vectors.all(|vector| vector["is_refining"] == false)
    });
    // A snapshot waits for all edges.
    client.snapshot_all().expect("it is written");
}

fn wait_for(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < patience, "waited {patience:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
