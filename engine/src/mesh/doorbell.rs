//! Wakes a participant that sleeps, and costs a memory barrier while it does not.
//!
//! ```text
//!   sleeper                           waker
//!   asleep = true                     publish a message
//!   SeqCst fence                      SeqCst fence
//!   look for messages once more       asleep ?  asleep = false, signal the event
//!   none: wait on the event
//! ```
//!
//! The fences put one of the two sides first: either the sleeper finds the message or the waker finds the flag, so no
//! wake is lost (Dekker's pattern). The waker that clears the flag is the one that signals. A signal can come late, when
//! the sleeper has found the message by itself; it then ends some later sleep early, so whoever wakes must look for
//! work and not assume any. The event may be signalled by others as well, such as the completion queue of an io_uring.

use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::event::Event;
use super::sync::{AtomicBool, Ordering, fence};
use crate::error::Result;

/// One participant's bell. The owner sleeps on it, everybody else may ring.
#[derive(Debug)]
pub struct Doorbell {
    asleep: CachePadded<AtomicBool>,
    event: Event,
}

impl Doorbell {
    /// Creates the bell of a participant that is awake.
    ///
    /// # Errors
    /// When the process or the system has no file descriptor left.
    pub fn new() -> Result<Doorbell> {
        Ok(Doorbell { asleep: CachePadded::new(AtomicBool::new(false)), event: Event::new()? })
    }

    /// Rings without looking: the owner's present or next sleep ends.
    pub fn ring(&self) {
        self.event.signal();
    }

    /// Rings if the owner has announced that it sleeps. To be called after the message that it shall find was
    /// published; what was published before is what the barrier in here covers. Returns whether it rang.
    #[inline]
    pub fn ring_if_asleep(&self) -> bool {
        fence(Ordering::SeqCst);
        self.take_asleep()
    }

    /// [`Self::ring_if_asleep`] without its barrier, for a caller that rings several bells after one `SeqCst` fence.
    #[inline]
    pub(super) fn take_asleep(&self) -> bool {
        // The plain load keeps the line shared while the owner is awake.
        let taken = self.asleep.load(Ordering::Relaxed)
            && self.asleep.compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if taken {
            self.event.signal();
        }
        taken
    }

    /// The owner is about to sleep: from here on it is rung. The owner must look for work once more before it waits.
    pub fn announce_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is awake: no need to ring.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Waits for a ring by stopping the thread, after [`Self::announce_sleep`] and the look that goes with it. For
    /// owners that are plain threads.
    pub fn wait(&self) {
        self.event.wait();
    }

    /// [`Self::wait`] for no longer than `timeout`. Returns whether there was a ring.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.event.wait_timeout(timeout)
    }

    /// The kernel object behind the bell.
    pub fn event(&self) -> &Event {
        &self.event
    }
}
