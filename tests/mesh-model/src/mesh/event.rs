//! An eventfd as the model sees it: a counter that a wait takes down to zero.

use std::time::Duration;

use loom::sync::{Condvar, Mutex};

use crate::error::Result;

/// Stands for the engine's eventfd of the same name.
#[derive(Debug)]
pub struct Event {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Event {
    /// Creates one that is not signalled.
    ///
    /// # Errors
    /// Never; the real one can run out of descriptors.
    pub fn new() -> Result<Event> {
        Ok(Event {
            count: Mutex::new(0),
            changed: Condvar::new(),
        })
    }

    /// Adds one to the counter.
    pub fn signal(&self) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_one();
    }

    /// Waits until the counter is not zero and resets it.
    pub fn wait(&self) {
        let mut count = self.count.lock().unwrap();
        while *count == 0 {
            count = self.changed.wait(count).unwrap();
        }
        *count = 0;
    }

    /// Time does not pass in the model.
    pub fn wait_timeout(&self, _timeout: Duration) -> bool {
        unreachable!("the model has no clock, and nothing in it waits by one")
    }
}
