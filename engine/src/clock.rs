//! The time of day, as rows that have a time to live know it. It never goes back while the server runs, whatever the system's clock does, and
//! starts no earlier than the manifest was written last.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock that does not go back.
pub struct Clock {
    source: Box<dyn Fn() -> i64 + Send + Sync>,
    highest_ms: AtomicI64,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock::of(|| match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        })
    }

    /// A clock that gives what `source` does, in milliseconds since 1970, or has given before.
    pub fn of(source: impl Fn() -> i64 + Send + Sync + 'static) -> Clock {
        Clock { source: Box::new(source), highest_ms: AtomicI64::new(i64::MIN) }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        let now = (self.source)();
        // Relaxed: a number that only grows, and orders nothing else.
        self.highest_ms.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// It is no earlier than this.
    pub fn not_before(&self, ms: i64) {
        self.highest_ms.fetch_max(ms, Ordering::Relaxed);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Clock").field("highest_ms", &self.highest_ms).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn it_does_not_go_back() {
        let time = Arc::new(AtomicI64::new(1_000));
        let source = time.clone();
        let clock = Clock::of(move || source.load(Ordering::Relaxed));
        assert_eq!(clock.now_ms(), 1_000);
        time.store(500, Ordering::Relaxed);
        assert_eq!(clock.now_ms(), 1_000);
        clock.not_before(2_000);
        assert_eq!(clock.now_ms(), 2_000);
        time.store(2_001, Ordering::Relaxed);
        assert_eq!(clock.now_ms(), 2_001);
    }
}
