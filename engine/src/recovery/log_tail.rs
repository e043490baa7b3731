//! The part of a log that lies behind the snapshot: gone through in steps, while the shard serves what it has already.

use std::sync::Arc;

use super::{Decode, Opened, Progress, apply};
use crate::error::{Error, Result};
use crate::shard::Partition;
use crate::wal::{Lsn, Replay, Resume, Storage};

/// A log that is being replayed.
pub struct LogTail<S: Storage> {
    storage: S,
    replay: Replay,
    decode: Decode,
    progress: Arc<Progress>,
    total_bytes: u64,
}

impl<S: Storage> LogTail<S> {
    /// The log in `storage`, behind the snapshot of `opened`.
    ///
    /// # Errors
    /// As [`Replay::begin`].
    pub fn begin(opened: &Opened, mut storage: S, decode: Decode, progress: Arc<Progress>) -> Result<LogTail<S>> {
        let shard = storage.shard();
        let from: Lsn = opened.manifest.replay_from(shard);
        let replay = Replay::begin(&mut storage, from)?;
        let total_bytes = replay.total_bytes(&storage);
        progress.expect(total_bytes);
        Ok(LogTail { storage, replay, decode, progress, total_bytes })
    }

    /// Applies about `bytes_max` bytes of the log, and at least one record, to the shard's rows. Says where the log ends once
    /// it is known; that was the last step then.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming file and position, [`Error::Unreplayable`], [`Error::Io`]. The shard cannot go on then.
    pub fn step(&mut self, partition: &mut Partition, bytes_max: u64) -> Result<Option<Resume>> {
        let (decode, shard) = (self.decode, self.storage.shard());
        let before = self.replay.passed_bytes();
        let resume = self.replay.step(&mut self.storage, bytes_max, &mut |lsn, payload| {
            let applied = decode(payload).and_then(|operation| apply(partition, operation, lsn));
            applied.map_err(|cause| Error::Unreplayable { shard, lsn, cause: Box::new(cause) })
        })?;
        let passed = self.replay.passed_bytes();
        // The rest of the last segments was never written: nothing is to be gone through there.
        let unwritten = if resume.is_some() { self.total_bytes.saturating_sub(passed) } else { 0 };
        self.progress.add(passed - before + unwritten);
        Ok(resume)
    }

    /// What the log lies in, to go on writing there.
    pub fn into_storage(self) -> S {
        self.storage
    }
}
