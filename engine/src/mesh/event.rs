//! The kernel side of a doorbell: an eventfd, a counter that a read waits on until it is not zero, and resets.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, retry_on_intr, write};

use super::doorbell::Doorbell;
use crate::error::{Error, Result};

/// An eventfd in blocking mode: a ring can then wait on it by a plain read.
#[derive(Debug)]
pub struct Event {
    fd: OwnedFd,
}

impl Event {
    /// Creates one that is not signalled.
    ///
    /// # Errors
    /// When the process or the system has no file descriptor left.
    pub fn new() -> Result<Event> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC)
            .map_err(|errno| Error::System { operation: "create an eventfd", source: errno.into() })?;
        Ok(Event { fd })
    }

    /// Adds one to the counter.
    pub fn signal(&self) {
        let written = retry_on_intr(|| write(&self.fd, &1u64.to_ne_bytes()));
        // The write could only wait for ever or fail if 2^64 - 2 signals were not read.
        assert_eq!(written, Ok(size_of::<u64>()), "an eventfd that we own takes a signal");
    }

    /// Waits until the counter is not zero and resets it.
    pub fn wait(&self) {
        let mut counter = [0; size_of::<u64>()];
        let taken = retry_on_intr(|| read(&self.fd, &mut counter));
        assert_eq!(taken, Ok(counter.len()), "an eventfd that we own can be read");
    }

    /// As [`Self::wait`], for no longer than `timeout`. Returns whether there was a signal.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], timeout.as_ref()) {
            // Only the doorbell's owner reads, so the read that follows does not wait.
            Ok(1) => self.wait(),
            Ok(_) | Err(Errno::INTR) => return false,
            Err(errno) => panic!("an eventfd that we own can be polled: {errno}"),
        }
        true
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event().fd.as_fd()
    }
}
