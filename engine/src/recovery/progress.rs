//! How far recovery is. Any thread may look.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bytes of snapshot and log that were gone through, and how many shards have all their rows.
#[derive(Debug)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    shards: usize,
    shards_done: AtomicUsize,
}

impl Progress {
    /// Recovery of `shards` shards that has not begun.
    pub fn new(shards: usize) -> Progress {
        Progress { done: AtomicU64::new(0), total: AtomicU64::new(0), shards, shards_done: AtomicUsize::new(0) }
    }

    /// Bytes gone through so far, and bytes in all: an upper bound until it is reached.
    pub fn bytes(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Shards that have all their rows, and shards in all.
    pub fn shards(&self) -> (usize, usize) {
        (self.shards_done.load(Ordering::Acquire), self.shards)
    }

    /// True once every shard has all its rows. Whoever reads rows after that misses none.
    pub fn is_complete(&self) -> bool {
        self.shards_done.load(Ordering::Acquire) == self.shards
    }

    /// Counts a shard that has all its rows.
    pub fn shard_done(&self) {
        let before = self.shards_done.fetch_add(1, Ordering::AcqRel);
        assert!(before < self.shards, "a shard was counted twice");
    }

    pub(super) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }
}
