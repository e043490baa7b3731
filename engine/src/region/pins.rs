//! Who still reads: a chunk is filled anew only when nobody can hold a row of it any more.
//!
//! A reader holds a [`Pin`] from before it learns of a row until it has done with it. Chunks are retired when new readers cannot
//! reach their rows; a retired chunk may be used again two epochs later. An epoch ends only when no reader of the one before is
//! left, so by then every reader that was there when the chunk was retired has gone. Readers of an epoch are counted by its lowest
//! bit, in lanes, so that cores do not share a cache line. (The scheme is that of sleepable RCU: McKenney, "Sleepable RCU", 2006.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use crossbeam_utils::CachePadded;

static LANES_GIVEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static LANE: usize = LANES_GIVEN.fetch_add(1, Ordering::Relaxed);
}

/// The readers of one region.
#[derive(Debug)]
pub(super) struct Pins {
    epoch: CachePadded<AtomicU64>,
    /// Per lane: readers of even and of odd epochs.
    lanes: Box<[CachePadded<[AtomicU64; 2]>]>,
}

/// Keeps every row that can be reached now readable until it is dropped.
#[derive(Debug)]
pub struct Pin {
    pins: Arc<Pins>,
    lane: u32,
    parity: u32,
}

/// When something was taken out of the reach of new readers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retired {
    epoch: u64,
}

/// Proof that no reader is left of those that could reach what was retired.
#[derive(Debug)]
pub(super) struct Expired(());

impl Pins {
    pub fn new(lanes: usize) -> Arc<Pins> {
        let lanes = (0..lanes.max(1)).map(|_| CachePadded::default()).collect();
        Arc::new(Pins { epoch: CachePadded::new(AtomicU64::new(0)), lanes })
    }

    /// A reader from now on.
    pub fn pin(self: &Arc<Self>) -> Pin {
        let lane = LANE.with(|lane| *lane) % self.lanes.len();
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            let parity = (epoch & 1) as usize;
            self.lanes[lane][parity].fetch_add(1, Ordering::SeqCst);
            // Counted for the epoch that it is still: from here on that epoch's successor does not end. The fence pairs with
            // the one in `retire`: a reader of a later epoch than the retirement's sees what was done before it.
            fence(Ordering::SeqCst);
            if self.epoch.load(Ordering::SeqCst) == epoch {
                return Pin { pins: self.clone(), lane: lane as u32, parity: parity as u32 };
            }
            self.lanes[lane][parity].fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// To be called once new readers cannot reach something.
    pub fn retire(&self) -> Retired {
        fence(Ordering::SeqCst);
        Retired { epoch: self.epoch.load(Ordering::SeqCst) }
    }

    /// Whether all readers from before a retirement have gone. Moves the epoch on where it can.
    pub fn expired(&self, retired: Retired) -> Option<Expired> {
        for _ in 0..2 {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if epoch >= retired.epoch + 2 {
                break;
            }
            let before = ((epoch + 1) & 1) as usize;
            if self.lanes.iter().any(|lane| lane[before].load(Ordering::SeqCst) != 0) {
                return None;
            }
            // Somebody else may have been first; then the next look says so.
            let _ = self.epoch.compare_exchange(epoch, epoch + 1, Ordering::SeqCst, Ordering::SeqCst);
        }
        (self.epoch.load(Ordering::SeqCst) >= retired.epoch + 2).then_some(Expired(()))
    }
}

impl Expired {
    /// For bytes that no reader was ever shown.
    #[cfg(test)]
    pub fn never_shown() -> Expired {
        Expired(())
    }
}

impl Pin {
    fn count(&self) -> &AtomicU64 {
        &self.pins.lanes[self.lane as usize][self.parity as usize]
    }
}

impl Clone for Pin {
    fn clone(&self) -> Pin {
        // The original is counted, so the epoch that it holds cannot end meanwhile.
        self.count().fetch_add(1, Ordering::Relaxed);
        Pin { pins: self.pins.clone(), lane: self.lane, parity: self.parity }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.count().fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn what_a_reader_can_hold_does_not_expire() {
        let pins = Pins::new(2);
        let early = pins.pin();
        let retired = pins.retire();
        assert!(pins.expired(retired).is_none());
        let late = pins.pin();
        let copy = early.clone();
        drop(early);
        assert!(pins.expired(retired).is_none(), "a copy counts");
        drop(copy);
        drop(late);
        assert!(pins.expired(retired).is_some());
    }

    #[test]
    fn readers_that_come_and_go_do_not_hold_it_up() {
        let pins = Pins::new(1);
        let retired = pins.retire();
        let mut held = pins.pin();
        for _ in 0..4 {
            let _ = pins.expired(retired);
            held = {
                let next = pins.pin();
                drop(held);
                next
            };
        }
        assert!(pins.expired(retired).is_some());
        drop(held);
    }

    /// A writer replaces the one value that readers may see and marks the old one as gone when it has expired.
    #[test]
    fn no_reader_sees_what_has_expired() {
        const VALUES: usize = 20_000;
        let pins = Pins::new(2);
        let current = AtomicUsize::new(0);
        let gone: Vec<AtomicBool> = (0..=VALUES).map(|_| AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let _pin = pins.pin();
                        let value = current.load(Ordering::Acquire);
                        assert!(!gone[value].load(Ordering::Relaxed), "value {value} was used again under a reader");
                        std::hint::spin_loop();
                        assert!(!gone[value].load(Ordering::Relaxed), "value {value} was used again under a reader");
                        if value == VALUES {
                            return;
                        }
                    }
                });
            }
            let mut waiting = std::collections::VecDeque::new();
            for value in 0..VALUES {
                current.store(value + 1, Ordering::Release);
                waiting.push_back((value, pins.retire()));
                while waiting.front().is_some_and(|&(_, retired)| pins.expired(retired).is_some()) {
                    let (value, _) = waiting.pop_front().expect("checked");
                    gone[value].store(true, Ordering::Relaxed);
                }
            }
        });
    }
}
