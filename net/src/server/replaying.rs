//! The first part of a shard's life: its log is replayed, a step a turn, beside whatever it serves.
//!
//! Operations wait meanwhile: the shard has no log to put them in, so sessions that send them are held and parts from other
//! shards stay in their queue, each in its order.

use engine::recovery::LogTail;
use engine::shard::Message;
use engine::wal::{DiskStorage, LogBuffers, Wal};

use super::reactor::Reactor;

/// Bytes of log gone through in one turn, unless a record is larger: what a request may have to wait for, half a millisecond
/// or so.
const STEP_BYTES: u64 = 512 << 10;

/// What is needed until the log is open.
pub struct Replaying {
    /// The log of the runs before.
    pub tail: LogTail<DiskStorage>,
    /// Memory for the log of this run, taken before clients could have it all.
    pub buffers: LogBuffers,
}

impl Reactor {
    /// True until the shard has all its rows.
    pub fn is_replaying(&self) -> bool {
        self.replaying.is_some()
    }

    /// Replays on for one step, if there is anything left; opens the log behind the last.
    ///
    /// # Errors
    /// What is wrong with the log. The shard cannot go on then.
    pub(super) fn replay(&mut self) -> engine::Result<bool> {
        let Some(replaying) = &mut self.replaying else { return Ok(false) };
        if self.stopping {
            return Ok(false);
        }
        let end = replaying.tail.step(&mut self.shard.partition.borrow_mut(), STEP_BYTES);
        let end = end.inspect_err(|error| {
            tracing::error!(shard = self.context.index, %error, "the log cannot be replayed: the server ends");
        })?;
        self.context.index_wake();
        let Some(resume) = end else { return Ok(true) };
        let Replaying { tail, buffers } = self.replaying.take().expect("looked at");
        self.shard.open_log(Wal::begin(tail.into_storage(), buffers, &resume)?);
        self.post(self.context.control(), Message::Recovered);
        if self.context.server.shard_recovered() {
            tracing::info!("every shard has all its rows: writes are taken");
        }
        Ok(true)
    }
}
