//! A shard: everything that one core owns, and the order in which things happen to it.
//!
//! ```text
//! operation → stage (check, fill in above the published length) → log → durable, in LSN order → publish → outcome
//! ```
//!
//! A shard begins without a log, while the log of the run before is replayed into its partition: it is read from then, and
//! takes no operation before [`Shard::open_log`].
//!
//! A shard knows nothing of sockets or wire bytes. Whoever drives it hands in operations with a ticket of its own, calls
//! [`Shard::advance`] once a turn and gets the tickets back, in LSN order, with what became of them.

pub mod executor;
pub mod indexing;
mod member;
pub mod message;
pub mod metrics;
pub mod partition;
pub mod pressure;
#[cfg(test)]
mod tests;
pub mod text;
mod unpublished;
pub mod update;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::probes;
use crate::wal::{Lsn, Payload, Storage, Wal};

pub use member::Member;
pub use message::Message;
pub use metrics::ShardMetrics;
pub use partition::{Operation, Outcome, Partition, Presence, Staged};
pub use pressure::Pressure;
pub use text::{Progress, TextColumn, TextRequest, TextSearch};
use update::{Merged, Update};

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// When it is on disk and searchable.
    Durable,
    /// When it is accepted in order; a crash can lose it.
    Memory,
}

/// An operation in the log whose record is not durable yet.
struct Waiting<T> {
    lsn: Lsn,
    staged: Staged,
    /// `None` when it was answered already.
    ticket: Option<T>,
}

/// What became of a ticket.
pub struct Done<T> {
    /// The caller's.
    pub ticket: T,
    /// What the operation did, or why it did nothing.
    pub result: Result<(Outcome, Lsn)>,
}

/// What [`Shard::submit`] said.
#[derive(Debug)]
pub enum Admission<T> {
    /// In the log; the ticket comes back from [`Shard::advance`].
    Waiting,
    /// In the log and, as asked for, acknowledged before it is durable. Rows staged or ids listed, and the LSN.
    Acknowledged(T, u32, Lsn),
}

/// Segments of log from which on it is looked at whether some can go; that costs a write of the manifest.
const TRIM_SEGMENTS_MIN: u64 = 3;

/// One shard over the storage `S`. `T` is the caller's ticket.
pub struct Shard<S: Storage, T> {
    /// Rows. Shared with the indexing task of the same thread.
    pub partition: Rc<RefCell<Partition>>,
    /// `None` until it is opened.
    wal: Option<Wal<S>>,
    waiting: VecDeque<Waiting<T>>,
    published_lsn: Lsn,
    totals: Totals,
}

/// What the operations published since the start did, all told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows written.
    pub rows: u64,
    /// Rows that took the place of an older one of the same id.
    pub replaced: u64,
    /// Rows deleted.
    pub deleted: u64,
}

impl Totals {
    fn add(&mut self, outcome: Outcome) {
        self.rows += u64::from(outcome.rows);
        self.replaced += u64::from(outcome.replaced);
        self.deleted += u64::from(outcome.deleted);
    }
}

impl<S: Storage, T> Shard<S, T> {
    /// A shard whose log is not open yet.
    pub fn new(partition: Rc<RefCell<Partition>>) -> Shard<S, T> {
        Shard { partition, wal: None, waiting: VecDeque::new(), published_lsn: 0, totals: Totals::default() }
    }

    /// Takes operations from now on: the partition holds everything that `wal` goes on behind.
    pub fn open_log(&mut self, wal: Wal<S>) {
        assert!(self.wal.is_none(), "a log is opened once");
        self.published_lsn = wal.durable_lsn();
        self.wal = Some(wal);
    }

    /// True when the log takes a payload of `len` bytes now. When not, hold the operation back and try after the next
    /// [`Shard::advance`].
    pub fn has_room(&self, len: usize) -> bool {
        self.wal.as_ref().is_some_and(|wal| wal.can_append(len))
    }

    /// Checks an operation, fills its rows in and puts its record into the log.
    ///
    /// `operation` borrows from a payload that `payload` then gives to the log: it is staged first.
    pub fn submit(
        &mut self,
        staged: Staged,
        payload: Payload<'_>,
        crc: u32,
        ack: Ack,
        ticket: T,
    ) -> Result<Admission<T>> {
        let appended = self.wal.as_mut().expect("the caller saw that there is room").append(payload, crc);
        let lsn = match appended {
            Ok(lsn) => lsn,
            Err(error) => {
                self.partition.borrow_mut().unstage(staged);
                return Err(error);
            }
        };
        let rows = staged.len();
        let (ticket, admission) = match ack {
            Ack::Durable => (Some(ticket), Admission::Waiting),
            Ack::Memory => (None, Admission::Acknowledged(ticket, rows, lsn)),
        };
        self.waiting.push_back(Waiting { lsn, staged, ticket });
        Ok(admission)
    }

    /// Makes an update a write of whole rows: see [`Partition::merge`].
    pub fn merge(&mut self, update: &Update<'_>, headroom: usize) -> Result<Merged> {
        if let Some(error) = self.poisoned() {
            return Err(error);
        }
        self.partition.borrow_mut().merge(update, headroom)
    }

    /// Stages an operation: see [`Partition::stage_if`].
    pub fn stage(&mut self, operation: Operation<'_>, presence: Presence, arrival: Option<u64>) -> Result<Staged> {
        if let Some(error) = self.poisoned() {
            return Err(error);
        }
        let collection = operation.collection();
        let mut partition = self.partition.borrow_mut();
        let reservation = partition.admit(&operation)?;
        let mut staged = partition.stage_if(operation, presence, arrival)?;
        staged.hold(reservation);
        probes::request_staged(partition.shard(), collection, staged.len());
        Ok(staged)
    }

    /// One bounded step: sends what gathered to the disk, publishes what became durable, fails what never will.
    /// True when something moved.
    pub fn advance(&mut self, mut done: impl FnMut(Done<T>)) -> Result<bool> {
        // A poisoned log says so to everybody who waits, below; it does not end the shard, which goes on reading.
        let Some(wal) = &mut self.wal else { return Ok(false) };
        let mut moved = match wal.pump() {
            Ok(moved) => moved,
            Err(Error::Poisoned { .. }) => false,
            Err(error) => return Err(error),
        };
        let (durable, is_poisoned) = (wal.durable_lsn(), wal.poisoned().is_some());
        let mut partition = self.partition.borrow_mut();
        while self.waiting.front().is_some_and(|waiting| waiting.lsn <= durable) {
            let Waiting { lsn, staged, ticket } = self.waiting.pop_front().expect("checked");
            let outcome = partition.publish(staged, lsn);
            probes::region_published(partition.shard(), lsn, outcome.rows, outcome.replaced);
            self.published_lsn = lsn;
            self.totals.add(outcome);
            if let Some(ticket) = ticket {
                done(Done { ticket, result: Ok((outcome, lsn)) });
            }
            moved = true;
        }
        drop(partition);
        if is_poisoned {
            moved |= self.fail_waiting(done);
        }
        Ok(moved)
    }

    fn fail_waiting(&mut self, mut done: impl FnMut(Done<T>)) -> bool {
        let moved = !self.waiting.is_empty();
        // Newest first, so that each takes back the rows that were filled in last.
        while let Some(waiting) = self.waiting.pop_back() {
            self.partition.borrow_mut().unstage(waiting.staged);
            if let Some(ticket) = waiting.ticket {
                let error = self.poisoned().expect("poisoned");
                done(Done { ticket, result: Err(error) });
            }
        }
        moved
    }

    /// The failure that made the shard read-only.
    pub fn poisoned(&self) -> Option<Error> {
        let cause = self.wal.as_ref()?.poisoned()?.to_string();
        Some(Error::Poisoned { shard: self.partition.borrow().shard(), cause })
    }

    /// Why operations are refused now, whatever they are: the log is poisoned, or the disk has no room for its next segment.
    pub fn refusal(&self) -> Option<Error> {
        self.poisoned().or_else(|| self.wal.as_ref()?.disk_full())
    }

    /// LSN of the newest operation that is visible.
    pub fn published_lsn(&self) -> Lsn {
        self.published_lsn
    }

    /// Where the log can be cut off in front, if that frees some of its segments: everything before was replaced since.
    pub fn trim_point(&mut self) -> Option<Lsn> {
        let wal = self.wal.as_ref()?;
        if wal.live_bytes() < TRIM_SEGMENTS_MIN * wal.segment_bytes() {
            return None;
        }
        let needed = self.partition.borrow_mut().log_needed_from(self.published_lsn + 1);
        (wal.releasable(needed) + 1 >= TRIM_SEGMENTS_MIN as usize).then_some(needed)
    }

    /// What was published since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// True when nothing waits for the disk.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.wal.as_ref().is_none_or(Wal::is_idle)
    }

    /// The log, for its figures; `None` until it is opened.
    pub fn wal(&self) -> Option<&Wal<S>> {
        self.wal.as_ref()
    }

    /// The log, to hand completions in or to free segments.
    pub fn wal_mut(&mut self) -> Option<&mut Wal<S>> {
        self.wal.as_mut()
    }
}
