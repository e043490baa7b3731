//! The shard's io_uring: sockets and log writes, behind an interface without `unsafe`.
//!
//! ```text
//! push(op, token) ──► submission queue ──► kernel ──► completion queue ──► reap() ──► Completion { token, memory, .. }
//!        └ queue full and the kernel takes no more: backlog, first in, first out, refilled by submit() and reap()
//! ```
//!
//! Invariants:
//! - memory and file of an operation belong to the ring from `push` until its completion is reaped: nobody else can
//!   read what the kernel is writing, or free it. That is what makes a completion-based interface sound;
//! - every pushed operation yields exactly one [`Completion`], in no particular order;
//! - dropping the ring cancels what is in flight and waits for the kernel to let go; if it does not in time, the memory
//!   is leaked, never freed under the kernel.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::buffers::Arena;
use crate::error::Error;

mod op;
mod refusal;
#[cfg(test)]
mod tests;

pub use op::{Completion, Memory, Op};

use op::{Held, InFlight, Kind, prepare};
use refusal::refused;

/// Completion queue entries per submission queue entry; an overflow is kept by the kernel, but costs a system call.
const COMPLETIONS_PER_SUBMISSION: u32 = 4;
/// How long a dropped ring waits for the kernel to let go of its memory.
const DROP_WAIT: Duration = Duration::from_secs(5);
/// Generations have 31 bits, so that no operation has the `user_data` [`NO_OPERATION`].
const GENERATION_MASK: u32 = u32::MAX >> 1;
const NO_OPERATION: u64 = u64::MAX;
/// One io_uring, for one thread.
pub struct Ring {
    uring: IoUring,
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
    /// Entries for which the submission queue had no room, oldest first.
    backlog: VecDeque<squeue::Entry>,
    in_flight: usize,
    arena: Option<Arena>,
}

/// Place of an operation in flight. The generation tells a reused slot's completions apart.
struct Slot {
    generation: u32,
    operation: Option<InFlight>,
}

impl Ring {
    /// A ring with room for `entries` submissions at once; more are kept in order until there is room.
    ///
    /// # Errors
    /// [`Error::IoUringForbidden`], [`Error::MemlockTooSmall`], or [`Error::Io`] for anything else.
    pub fn new(entries: u32) -> Result<Ring, Error> {
        assert!(entries > 0, "a ring of no entries");
        let uring = IoUring::builder()
            .dontfork()
            .setup_clamp()
            .setup_cqsize(entries.saturating_mul(COMPLETIONS_PER_SUBMISSION))
            .build(entries)
            .map_err(|source| refused("set up", u64::from(entries) * 128, source))?;
        let slots = Vec::with_capacity(entries as usize);
        Ok(Ring { uring, slots, free_slots: Vec::new(), backlog: VecDeque::new(), in_flight: 0, arena: None })
    }

    /// Adds 1 to this eventfd at every completion.
    ///
    /// # Errors
    /// [`Error::Io`] when the kernel refuses.
    pub fn register_eventfd(&mut self, eventfd: BorrowedFd<'_>) -> Result<(), Error> {
        let result = self.uring.submitter().register_eventfd(eventfd.as_raw_fd());
        result.map_err(|source| refused("register an eventfd with", 0, source))
    }

    /// Pins the pages of the arena's pinned part once, so that writes from there need not look them up one by one. One arena a ring.
    ///
    /// # Errors
    /// [`Error::MemlockTooSmall`] when the limit on locked memory does not allow it; the ring works without, too.
    pub fn register_arena(&mut self, arena: &Arena) -> Result<(), Error> {
        assert!(self.arena.is_none(), "an arena is registered already");
        let buffers = [libc::iovec { iov_base: arena.base().cast(), iov_len: arena.pinned_bytes() }];
        // SAFETY: the mapping stays valid while the ring may use it: the ring holds the arena from here on, and `drop`
        // gives it up only after the kernel has let go of every operation.
        unsafe { self.uring.submitter().register_buffers(&buffers) }
            .map_err(|source| refused("register buffers with", arena.pinned_bytes() as u64, source))?;
        self.arena = Some(arena.clone());
        Ok(())
    }

    /// Queues an operation; `submit` hands it to the kernel. Never fails and never loses an operation: what the kernel
    /// refuses comes back as a completion. Tokens are the caller's; those in flight should differ.
    pub fn push(&mut self, op: Op, token: u64) {
        let target = match op {
            Op::Cancel { token } => self.user_data_of(token).unwrap_or(NO_OPERATION),
            _ => NO_OPERATION,
        };
        let (entry, operation) = prepare(op, token, target, self.arena.as_ref());
        self.enqueue(entry, operation);
    }

    /// Hands everything queued to the kernel, without waiting. What the kernel has no room for now stays queued: call
    /// this once a turn.
    ///
    /// # Errors
    /// What `io_uring_enter` says, other than "not now". Nothing is lost by an error.
    pub fn submit(&mut self) -> io::Result<()> {
        loop {
            self.refill();
            let (queued, flush) = {
                let queue = self.uring.submission();
                (queue.len(), queue.cq_overflow() || queue.taskrun())
            };
            if queued == 0 && !flush {
                return Ok(());
            }
            match self.uring.submitter().submit() {
                Ok(taken) if taken < queued => {}
                Ok(_) if self.backlog.is_empty() => return Ok(()),
                Ok(_) => {}
                Err(error) if is_not_now(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Submits and sleeps until there is a completion to reap or the time is over. For tools and tests: a shard sleeps
    /// on its eventfd.
    ///
    /// # Errors
    /// As [`Ring::submit`].
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.submit()?;
        if self.in_flight == 0 || !self.uring.completion().is_empty() {
            return Ok(());
        }
        let timespec = Timespec::from(timeout);
        let arguments = SubmitArgs::new().timespec(&timespec);
        match self.uring.submitter().submit_with_args(1, &arguments) {
            Err(error) if error.raw_os_error() == Some(libc::ETIME) || is_not_now(&error) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result.map(drop),
        }
    }

    /// Appends up to `max` completions to `completions` and returns how many.
    pub fn reap(&mut self, max: usize, completions: &mut Vec<Completion>) -> usize {
        let mut reaped = 0;
        while reaped < max {
            let Some(entry) = self.uring.completion().next() else {
                if self.uring.submission().cq_overflow() && self.uring.submitter().submit().is_ok() {
                    continue;
                }
                break;
            };
            completions.push(self.finish(&entry));
            reaped += 1;
        }
        reaped
    }

    /// Whether a completion waits to be reaped.
    pub fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    /// Operations pushed and not reaped.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn enqueue(&mut self, entry: squeue::Entry, operation: InFlight) {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, operation: None });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 operations in flight")
        });
        let place = &mut self.slots[slot as usize];
        assert!(place.operation.is_none(), "a free slot holds an operation");
        place.generation = place.generation.wrapping_add(1) & GENERATION_MASK;
        place.operation = Some(operation);
        self.in_flight += 1;
        self.backlog.push_back(entry.user_data(user_data(slot, place.generation)));
        self.refill();
    }

    /// Moves the backlog into the submission queue, making room by submitting when it is full.
    fn refill(&mut self) {
        while let Some(entry) = self.backlog.front() {
            // SAFETY: the entry's memory and descriptor are held by its slot until its completion is reaped.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                self.backlog.pop_front();
            } else if !matches!(self.uring.submitter().submit(), Ok(taken) if taken > 0) {
                // Whatever the kernel says here, it says again to `submit`, which can report it.
                return;
            }
        }
    }

    fn finish(&mut self, entry: &cqueue::Entry) -> Completion {
        let slot = entry.user_data() as u32;
        let place = &mut self.slots[slot as usize];
        assert_eq!(user_data(slot, place.generation), entry.user_data(), "completion of an operation that is over");
        let operation = place.operation.take().expect("one completion an operation");
        self.free_slots.push(slot);
        self.in_flight -= 1;
        let result = match entry.result() {
            error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
            value => Ok(value as u32),
        };
        let accepted = match (operation.kind, entry.result()) {
            // SAFETY: the kernel has just made this descriptor for us.
            (Kind::Accept, fd) if fd >= 0 => Some(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => None,
        };
        Completion { token: operation.token, result, memory: operation.memory.map(Held::release), accepted }
    }

    fn user_data_of(&self, token: u64) -> Option<u64> {
        let is_it = |slot: &Slot| matches!(&slot.operation, Some(o) if o.token == token && o.kind != Kind::Cancel);
        let slot = self.slots.iter().position(is_it)?;
        Some(user_data(slot as u32, self.slots[slot].generation))
    }

    /// Cancels everything and waits until the kernel has let go, at most `DROP_WAIT`. Whether it has.
    fn cancel_all(&mut self) -> bool {
        let victims: Vec<u64> = (0..self.slots.len())
            .filter(|slot| matches!(&self.slots[*slot].operation, Some(o) if o.kind != Kind::Cancel))
            .map(|slot| user_data(slot as u32, self.slots[slot].generation))
            .collect();
        for victim in victims {
            self.enqueue(opcode::AsyncCancel::new(victim).build(), InFlight::cancel(NO_OPERATION));
        }
        let deadline = Instant::now() + DROP_WAIT;
        let mut completions = Vec::new();
        while self.in_flight > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.wait(left).is_err() {
                return false;
            }
            self.reap(usize::MAX, &mut completions);
            completions.clear();
        }
        true
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.in_flight > 0 && !self.cancel_all() {
            tracing::error!(operations = self.in_flight, "the kernel did not let go of a ring's memory: it is leaked");
            std::mem::forget(std::mem::take(&mut self.slots));
            std::mem::forget(self.arena.take());
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("in_flight", &self.in_flight).field("backlog", &self.backlog.len()).finish()
    }
}

fn user_data(slot: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(slot)
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY))
}
