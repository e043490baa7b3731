//! Namespaces: tenants of a server, each with quotas that all of its collections share.
//!
//! A collection whose name is `namespace/name` belongs to one. Quotas are on rows that live, on memory that rows and graphs take, and on
//! rows and bytes written a second. A write beyond them is refused before anything of it is kept; deletes, reads and searches go on.
//! Collections of no namespace have no quotas, and pay nothing for them.
//!
//! Every shard admits its own writes. What it has admitted and not published yet is *reserved* in counters of the namespace, so that two
//! shards do not give the same room away. Rates are kept by the time at which all that was written would be through at the rate allowed:
//! a write is taken while that is less than a second ahead, however long it is.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::collection::Collection;
use crate::error::{Error, Result};

/// How far a namespace may be ahead of its rate.
const BURST_NS: u64 = 1_000_000_000;
/// Between the parts of a collection's name.
const SEPARATOR: char = '/';

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What a namespace may have; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Rows that live.
    pub rows: u64,
    /// Memory that rows and graphs take, in bytes.
    pub bytes: u64,
    /// Rows written a second.
    pub rows_per_s: u64,
    /// Bytes of batches written a second.
    pub bytes_per_s: u64,
}

/// What a namespace has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Collections.
    pub collections: u64,
    /// Rows that live.
    pub rows: u64,
    /// Memory that rows and graphs take, in bytes.
    pub bytes: u64,
}

impl Usage {
    /// What these collections have, as far as they belong to a namespace.
    pub fn of<'a>(namespace: &Namespace, collections: impl IntoIterator<Item = &'a Arc<Collection>>) -> Usage {
        let of_it = collections.into_iter().filter(|collection| {
            collection.namespace().is_some_and(|other| std::ptr::eq(Arc::as_ptr(other), namespace))
        });
        of_it.fold(Usage::default(), |sum, collection| Usage {
            collections: sum.collections + 1,
            rows: sum.rows + collection.live_rows(),
            bytes: sum.bytes + collection.bytes_committed(),
        })
    }
}

/// A namespace, shared by all threads.
pub struct Namespace {
    name: Box<str>,
    rows_max: AtomicU64,
    bytes_max: AtomicU64,
    rows: Rate,
    bytes: Rate,
    reserved_rows: AtomicU64,
    reserved_bytes: AtomicU64,
    refused: AtomicU64,
}

/// So much a second.
#[derive(Default)]
struct Rate {
    per_s: AtomicU64,
    /// When all that was taken would be through at this rate, in nanoseconds since the process began.
    due_ns: AtomicU64,
}

impl Rate {
    /// Takes so much; how long it is until it can be, where it cannot be now.
    fn take(&self, amount: u64, now_ns: u64) -> Result<(), u64> {
        let per_s = self.per_s.load(Ordering::Relaxed);
        if per_s == 0 {
            return Ok(());
        }
        let cost_ns = u128::from(amount) * 1_000_000_000 / u128::from(per_s);
        let cost_ns = u64::try_from(cost_ns).unwrap_or(u64::MAX);
        let taken = self.due_ns.try_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            let is_ahead = due.saturating_sub(now_ns) >= BURST_NS;
            (!is_ahead).then(|| due.max(now_ns).saturating_add(cost_ns))
        });
        taken.map(drop).map_err(|due| due - now_ns - BURST_NS)
    }
}

impl Namespace {
    /// A namespace without collections.
    pub fn new(name: &str, quota: Quota) -> Arc<Namespace> {
        let namespace = Namespace {
            name: name.into(),
            rows_max: AtomicU64::default(),
            bytes_max: AtomicU64::default(),
            rows: Rate::default(),
            bytes: Rate::default(),
            reserved_rows: AtomicU64::default(),
            reserved_bytes: AtomicU64::default(),
            refused: AtomicU64::default(),
        };
        namespace.set_quota(quota);
        Arc::new(namespace)
    }

    /// The namespace of a collection's name, and the rest.
    pub fn split(name: &str) -> (Option<&str>, &str) {
        name.split_once(SEPARATOR).map_or((None, name), |(namespace, rest)| (Some(namespace), rest))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it may have.
    pub fn quota(&self) -> Quota {
        let value = |limit: &AtomicU64| limit.load(Ordering::Relaxed);
        Quota {
            rows: value(&self.rows_max),
            bytes: value(&self.bytes_max),
            rows_per_s: value(&self.rows.per_s),
            bytes_per_s: value(&self.bytes.per_s),
        }
    }

    /// Gives it other quotas, from the next write on.
    pub fn set_quota(&self, quota: Quota) {
        for (limit, value) in [
            (&self.rows_max, quota.rows),
            (&self.bytes_max, quota.bytes),
            (&self.rows.per_s, quota.rows_per_s),
            (&self.bytes.per_s, quota.bytes_per_s),
        ] {
            limit.store(value, Ordering::Relaxed);
        }
    }

    /// Whether it has any.
    pub fn is_limited(&self) -> bool {
        self.quota() != Quota::default()
    }

    /// Writes that were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Admits a write of so many rows and bytes, or refuses it. `new_rows` counts the rows among them whose ids are not there, and is asked
    /// only where that decides; `usage` is looked up after the room was reserved.
    ///
    /// # Errors
    /// `QuotaExceeded`, `RateExceeded`.
    pub fn admit(
        self: &Arc<Namespace>,
        rows: u64,
        bytes: u64,
        usage: impl Fn() -> Usage,
        new_rows: impl FnOnce() -> Result<u64>,
    ) -> Result<Reservation> {
        let admitted = self.reserve(rows, bytes, &usage).or_else(|error| match error {
            Error::QuotaExceeded { what: ROWS, .. } => self.reserve(new_rows()?, bytes, &usage),
            error => Err(error),
        });
        let now_ns = BEGAN.elapsed().as_nanos() as u64;
        let rate = |what, rate: &Rate, wait_ns: u64| Error::RateExceeded {
            namespace: self.name.to_string(),
            what,
            per_s: rate.per_s.load(Ordering::Relaxed),
            wait_ms: wait_ns.div_ceil(1_000_000),
        };
        let admitted = admitted.and_then(|reservation| {
            self.rows.take(rows, now_ns).map_err(|wait| rate(ROWS, &self.rows, wait))?;
            self.bytes.take(bytes, now_ns).map_err(|wait| rate(BYTES, &self.bytes, wait))?;
            Ok(reservation)
        });
        admitted.inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn reserve(self: &Arc<Namespace>, rows: u64, bytes: u64, usage: &impl Fn() -> Usage) -> Result<Reservation> {
        let quota = self.quota();
        // Before usage is looked up: what another shard publishes meanwhile is counted twice, and never not at all.
        let reserved_rows = self.reserved_rows.fetch_add(rows, Ordering::AcqRel);
        let reserved_bytes = self.reserved_bytes.fetch_add(bytes, Ordering::AcqRel);
        let reservation = Reservation { namespace: self.clone(), rows, bytes };
        if quota.rows == 0 && quota.bytes == 0 {
            return Ok(reservation);
        }
        let usage = usage();
        for (what, more, value, limit) in [
            (ROWS, rows, usage.rows + reserved_rows + rows, quota.rows),
            (BYTES, bytes, usage.bytes + reserved_bytes + bytes, quota.bytes),
        ] {
            if limit > 0 && more > 0 && value > limit {
                return Err(Error::QuotaExceeded { namespace: self.name.to_string(), what, value, limit });
            }
        }
        Ok(reservation)
    }
}

const ROWS: &str = "rows";
const BYTES: &str = "bytes";

impl fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Namespace")
            .field("name", &self.name)
            .field("quota", &self.quota())
            .finish_non_exhaustive()
    }
}

/// Room of a write that was admitted, held until it is published, or is not to be.
#[derive(Debug)]
pub struct Reservation {
    namespace: Arc<Namespace>,
    rows: u64,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.namespace.reserved_rows.fetch_sub(self.rows, Ordering::AcqRel);
        self.namespace.reserved_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(rows: u64, bytes: u64) -> Arc<Namespace> {
        Namespace::new("tenant", Quota { rows, bytes, ..Quota::default() })
    }

    #[test]
    fn names_have_one_separator() {
        assert_eq!(Namespace::split("a/b"), (Some("a"), "b"));
        assert_eq!(Namespace::split("b"), (None, "b"));
        assert_eq!(Namespace::split("a/b/c"), (Some("a"), "b/c"));
    }

    #[test]
    fn rows_are_counted_with_what_is_reserved() {
        let namespace = quota(100, 0);
        let usage = || Usage { rows: 50, ..Usage::default() };
        let all_new = |rows| move || Ok(rows);
        let first = namespace.admit(30, 1, usage, all_new(30)).expect("80 rows");
        let refused = namespace.admit(30, 1, usage, all_new(30)).expect_err("110 rows");
        assert!(matches!(refused, Error::QuotaExceeded { what: "rows", value: 110, limit: 100, .. }), "{refused}");
        // Of those only 20 are new.
        let second = namespace.admit(30, 1, usage, all_new(20)).expect("100 rows");
        namespace.admit(1_000, 1, usage, all_new(0)).expect("rows that are there can be replaced at any time");
        assert!(namespace.admit(1, 1, usage, all_new(1)).is_err());
        drop((first, second));
        namespace.admit(50, 1, usage, all_new(50)).expect("room that is given back");
        assert_eq!(namespace.refused(), 2);
    }

    #[test]
    fn bytes_are_refused_and_quotas_can_change() {
        let namespace = quota(0, 1_000);
        let usage = || Usage { bytes: 900, ..Usage::default() };
        let refused = namespace.admit(1, 101, usage, || Ok(0)).expect_err("1,001 bytes");
        assert!(matches!(refused, Error::QuotaExceeded { what: "bytes", value: 1_001, .. }), "{refused}");
        namespace.set_quota(Quota { bytes: 1_001, ..Quota::default() });
        drop(namespace.admit(1, 101, usage, || Ok(0)).expect("the quota is larger"));
        namespace.set_quota(Quota::default());
        namespace.admit(u64::MAX / 4, 1 << 60, usage, || Ok(0)).expect("no quota");
        assert!(!namespace.is_limited());
    }

    #[test]
    fn a_rate_may_be_a_second_ahead() {
        let rate = Rate { per_s: AtomicU64::new(1_000), due_ns: AtomicU64::new(0) };
        let second = 1_000_000_000;
        assert_eq!(rate.take(500, 5 * second), Ok(()));
        assert_eq!(rate.take(5_000, 5 * second), Ok(()), "however long it is");
        assert_eq!(rate.take(1, 5 * second), Err(4 * second + second / 2));
        assert_eq!(rate.take(1, 9 * second + second / 2), Err(0));
        assert_eq!(rate.take(1, 9 * second + second / 2 + 1), Ok(()));
        let free = Rate::default();
        assert!((0..1_000).all(|_| free.take(u64::MAX, 0).is_ok()));
    }
}
