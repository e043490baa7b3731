//! Who comes first: a scan that goes through a collection page by page, or rows that are moved to new slots.
//!
//! A row that is moved gets a new ordinal, and a scan, which goes by ordinals, would see it a second time. So rows stay where they are
//! while pages are read, and for a while after each, for the next to be asked for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::limits;

/// The scans and the moves of one collection.
#[derive(Debug)]
pub struct Paging {
    began: Instant,
    /// How long rows stay where they are after a page.
    hold: Duration,
    /// When a page was read last, in milliseconds since `began`, and one more; 0: never.
    read_at_ms: AtomicU64,
    /// Shards that are publishing rows that were moved.
    movers: AtomicUsize,
}

impl Default for Paging {
    fn default() -> Paging {
        Paging::new(Duration::from_secs(limits::PAGE_SECONDS_MAX))
    }
}

impl Paging {
    fn new(hold: Duration) -> Paging {
        Paging { began: Instant::now(), hold, read_at_ms: AtomicU64::new(0), movers: AtomicUsize::new(0) }
    }

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
        read_at_ms > 0 && self.began.elapsed() < Duration::from_millis(read_at_ms) + self.hold
    }

    /// Has rows published that were moved. `publish` is told whether they have to stay where they are instead.
    pub fn publish_moved<R>(&self, publish: impl FnOnce(bool) -> R) -> R {
        self.movers.fetch_add(1, Ordering::SeqCst);
        let result = publish(self.is_read());
        self.movers.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 400;
    const PAGE_ROWS: usize = 50;
    const SCANS: usize = 30;
    const PLACES: usize = 1 << 20;
    const HOLD: Duration = Duration::from_millis(60);

    /// Rows are numbers in a list that grows: the newest copy of each counts. One thread moves them to the end, one at a time, the other
    /// reads page after page.
    #[test]
    fn a_scan_page_by_page_sees_no_row_twice_beside_moves() {
        let paging = Paging::new(HOLD);
        let moved = AtomicUsize::new(0);
        // Number of the row at a place, and where it went on to; behind the rows that are there, unused.
        let list: Vec<(AtomicUsize, AtomicUsize)> =
            (0..PLACES).map(|place| (AtomicUsize::new(place), AtomicUsize::new(0))).collect();
        let len = AtomicUsize::new(ROWS);
        let stop = AtomicUsize::new(0);
        let mover = || {
            let mut oldest = 0;
            while stop.load(Ordering::SeqCst) == 0 && len.load(Ordering::SeqCst) < list.len() {
                paging.publish_moved(|is_read| {
                    if is_read {
                        return;
                    }
                    let end = len.load(Ordering::SeqCst);
                    list[end].0.store(list[oldest].0.load(Ordering::SeqCst), Ordering::SeqCst);
                    list[oldest].1.store(end, Ordering::SeqCst);
                    len.store(end + 1, Ordering::SeqCst);
                    oldest += 1;
                    moved.fetch_add(1, Ordering::SeqCst);
                });
                (0..100).for_each(|_| std::hint::spin_loop());
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(mover);
            let mut checked = 0;
            for _ in 0..SCANS {
                std::thread::sleep(HOLD + Duration::from_millis(10));
                let (mut rows, mut next, mut at) = (Vec::new(), 0, Instant::now());
                let mut is_late = false;
                loop {
                    is_late |= at.elapsed() > HOLD / 2;
                    at = Instant::now();
                    paging.begin_page();
                    let view = len.load(Ordering::SeqCst);
                    let is_visible = |place: &usize| {
                        let successor = list[*place].1.load(Ordering::SeqCst);
                        successor == 0 || successor >= view
                    };
                    let page: Vec<usize> = (next..view).filter(is_visible).take(PAGE_ROWS).collect();
                    rows.extend(page.iter().map(|&place| list[place].0.load(Ordering::SeqCst)));
                    match page.last() {
                        Some(&last) if page.len() == PAGE_ROWS => next = last + 1,
                        _ => break,
                    }
                }
                if !is_late {
                    rows.sort_unstable();
                    assert_eq!(rows, (0..ROWS).collect::<Vec<_>>());
                    checked += 1;
                }
            }
            stop.store(1, Ordering::SeqCst);
            println!("{checked} scans, {} moves", moved.load(Ordering::SeqCst));
            assert!(checked > 0);
        });
    }
}
