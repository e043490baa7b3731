//! Who comes first: a scan that goes through a collection page by page, or rows that are moved to new slots.
//!
//! A row that is moved gets a new ordinal, and a scan, which goes by ordinals, would see it a second time. So rows stay where they are
//! while pages are read, and for a while after each, for the next to be asked for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::limits;

/// The scans and the moves of one collection.
#[derive(Debug)]
pub struct Paging {
    began: Instant,
    /// When a page was read last, in milliseconds since `began`, and one more; 0: never.
    read_at_ms: AtomicU64,
    /// Shards that are publishing rows that were moved.
    movers: AtomicUsize,
}

impl Default for Paging {
    fn default() -> Paging {
        Paging { began: Instant::now(), read_at_ms: AtomicU64::new(0), movers: AtomicUsize::new(0) }
    }
}

impl Paging {
    /// To be called before the view of a page is taken: no row is moved from then on.
    pub fn begin_page(&self) {
        self.read_at_ms.store(self.began.elapsed().as_millis() as u64 + 1, Ordering::SeqCst);
        // Whoever has looked before the store is through in less than a millisecond; whoever looks later sees it.
        while self.movers.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
    }

    /// Whether a page is being read, or the next one may be asked for any moment.
    pub fn is_read(&self) -> bool {
        let read_at_ms = self.read_at_ms.load(Ordering::SeqCst);
        read_at_ms > 0 && (self.began.elapsed().as_millis() as u64) < read_at_ms + limits::PAGE_SECONDS_MAX * 1_000
    }

    /// Has rows published that were moved. `publish` is told whether they have to stay where they are instead.
    pub fn publish_moved<R>(&self, publish: impl FnOnce(bool) -> R) -> R {
        self.movers.fetch_add(1, Ordering::SeqCst);
        let result = publish(self.is_read());
        self.movers.fetch_sub(1, Ordering::SeqCst);
        result
    }
}
