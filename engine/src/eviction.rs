//! Collections that may go when memory is short: those that were made for it, the least recently used first.
//!
//! A collection is evicted whole: it is dropped, as if a client had done it, and what was in it is gone. So this is for caches, which
//! can be filled again; a collection is one only if whoever made it said so ([`CollectionOptions::evictable`]). All others stay, and
//! writes are refused when the memory budget is used up.
//!
//! A start forgets when they were used: of those that nobody has used since, the one that was made first goes first.
//!
//! [`CollectionOptions::evictable`]: crate::collection::CollectionOptions::evictable

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use crate::collection::{Collection, memory_in_use};

/// Parts of ten of the memory budget above which collections are evicted: where writers are warned.
const EVICT_TENTHS: u64 = 9;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When something was last used. Any thread may say so.
#[derive(Debug, Default)]
pub struct LastUse {
    /// Milliseconds since the process began.
    at_ms: AtomicU64,
}

impl LastUse {
    /// It is used now.
    pub fn touch(&self) {
        // The order between threads that use it in the same millisecond is nobody's concern.
        self.at_ms.store(BEGAN.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn at_ms(&self) -> u64 {
        self.at_ms.load(Ordering::Relaxed)
    }
}

/// What was evicted since the start.
#[derive(Debug, Default)]
pub struct Evictions {
    collections: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Evictions {
    /// Counts a collection that is gone, which had so many live rows and took so much memory.
    pub(crate) fn count(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.collections.fetch_add(1, Ordering::Release);
    }

    /// Name, meaning and value of each figure.
    pub fn each(&self) -> [(&'static str, &'static str, u64); 3] {
        // Who sees a collection counted sees its rows counted too.
        let value = |figure: &AtomicU64| figure.load(Ordering::Acquire);
        [
            ("evicted_collections", "Collections that were evicted.", value(&self.collections)),
            ("evicted_rows", "Live rows of collections that were evicted.", value(&self.rows)),
            ("evicted_bytes", "Memory of collections that were evicted.", value(&self.bytes)),
        ]
    }
}

/// The collection to evict, if memory is short under a budget in bytes (0: none) and one may be.
pub(crate) fn choose(collections: &[Arc<Collection>], budget: u64) -> Option<&Arc<Collection>> {
    let mut evictable = collections.iter().filter(|collection| collection.spec.options.evictable).peekable();
    evictable.peek()?;
    if budget == 0 || memory_in_use(collections) <= budget / 10 * EVICT_TENTHS {
        return None;
    }
    // One that holds nothing would give nothing.
    evictable
        .filter(|collection| collection.bytes_committed() > 0)
        .min_by_key(|collection| (collection.last_use.at_ms(), collection.spec.id))
}
