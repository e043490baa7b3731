//! Makes segments ready on a thread of its own: creating, filling with zeros, syncing, renaming and deleting all block.
//!
//! A segment is filled under an unfinished name and renamed when its zeros are on disk, so that a segment with a number
//! is always whole. Direct writes to extents that were written before need no metadata: O_DSYNC costs one flush.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use rustix::fs::FallocateFlags;

use crate::buffers::Arena;

/// Extension of a segment that is being filled.
pub(super) const UNFINISHED_SUFFIX: &str = "new";

const FILL_BYTES: usize = 1 << 20;

pub(super) enum Job {
    Prepare { segment: u64, recycle: Option<u64> },
    Remove { segment: u64 },
}

/// A preparation that has ended; on success with the file, opened for direct synchronous writes.
pub(super) struct Outcome {
    pub segment: u64,
    pub recycled: Option<u64>,
    pub result: io::Result<OwnedFd>,
}

/// The thread, started with the first job.
pub(super) struct Preparer {
    /// What the thread is made of, until it runs.
    idle: Option<Worker>,
    jobs: Option<Sender<Job>>,
    /// The preparation under way.
    pending: Option<(u64, Option<u64>)>,
    outcomes: Option<Receiver<Outcome>>,
    thread: Option<JoinHandle<()>>,
}

struct Worker {
    directory: PathBuf,
    segment_bytes: u64,
    wake: Box<dyn Fn() + Send>,
}

impl Preparer {
    pub(super) fn new(directory: PathBuf, segment_bytes: u64, wake: Box<dyn Fn() + Send>) -> Preparer {
        let idle = Some(Worker { directory, segment_bytes, wake });
        Preparer { idle, jobs: None, pending: None, outcomes: None, thread: None }
    }

    /// Queues a job; they are done in order.
    pub(super) fn start(&mut self, job: Job) {
        if let Some(worker) = self.idle.take() {
            let (jobs, inbox) = channel();
            let (outbox, outcomes) = channel();
            let run = move || worker.run(&inbox, &outbox);
            let thread = std::thread::Builder::new().name("wal-preparer".into()).spawn(run);
            self.thread = thread.map_err(|error| tracing::error!(%error, "no thread for log segments")).ok();
            (self.jobs, self.outcomes) = (Some(jobs), Some(outcomes));
        }
        if let Job::Prepare { segment, recycle } = job {
            assert!(self.pending.is_none(), "one preparation at a time");
            self.pending = Some((segment, recycle));
        }
        // Without a thread nobody listens, and the next outcome says so.
        let _ = self.jobs.as_ref().expect("started").send(job);
    }

    /// The preparation that has ended, if it has; with `wait`, blocks until it has.
    pub(super) fn outcome(&mut self, wait: bool) -> Option<Outcome> {
        let (segment, recycled) = self.pending?;
        let outcomes = self.outcomes.as_ref().expect("started");
        let outcome = match (wait, outcomes.try_recv()) {
            (_, Ok(outcome)) => outcome,
            (false, Err(TryRecvError::Empty)) => return None,
            _ => outcomes.recv().unwrap_or_else(|_| {
                let result = Err(io::Error::other("the thread that prepares log segments is gone"));
                Outcome { segment, recycled, result }
            }),
        };
        self.pending = None;
        Some(outcome)
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that prepares log segments panicked");
        }
    }
}

impl Worker {
    fn run(self, jobs: &Receiver<Job>, outcomes: &Sender<Outcome>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Prepare { segment, recycle } => {
                    let result = self.prepare(segment, recycle);
                    if outcomes.send(Outcome { segment, recycled: recycle, result }).is_err() {
                        return;
                    }
                    (self.wake)();
                }
                Job::Remove { segment } => self.remove(segment),
            }
        }
    }

    fn prepare(&self, segment: u64, recycle: Option<u64>) -> io::Result<OwnedFd> {
        let path = segment_path(&self.directory, segment);
        let is_whole = |spare: &PathBuf| fs::metadata(spare).is_ok_and(|metadata| metadata.len() == self.segment_bytes);
        match recycle.map(|number| segment_path(&self.directory, number)).filter(is_whole) {
            Some(spare) => fs::rename(&spare, &path)?,
            // Also when an earlier try failed after the renaming.
            None => self.create(&path)?,
        }
        sync_directory(&self.directory)?;
        Ok(open(OpenOptions::new().write(true), &path, libc::O_DIRECT | libc::O_DSYNC)?.into())
    }

    fn create(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension(UNFINISHED_SUFFIX);
        let result = self.fill(&unfinished).and_then(|()| fs::rename(&unfinished, path));
        if result.is_err() {
            // Gives the room back; a start removes it if this does not.
            let _ = fs::remove_file(&unfinished);
        }
        result
    }

    fn fill(&self, path: &Path) -> io::Result<()> {
        let file = open(OpenOptions::new().write(true).create(true).truncate(true), path, libc::O_DIRECT)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.segment_bytes) {
            // Reserving keeps the file in one piece and finds a full disk early, but not every file system can.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        let arena = Arena::new(FILL_BYTES, FILL_BYTES).map_err(io::Error::other)?;
        let mut zeros = arena.take(FILL_BYTES).expect("the arena was made for it");
        zeros.fill(0);
        let mut offset = 0;
        while offset < self.segment_bytes {
            let bytes = (self.segment_bytes - offset).min(FILL_BYTES as u64);
            file.write_all_at(&zeros[..bytes as usize], offset)?;
            offset += bytes;
        }
        file.sync_all()
    }

    fn remove(&self, segment: u64) {
        let path = segment_path(&self.directory, segment);
        if let Err(error) = fs::remove_file(&path) {
            // What stays is found, and not needed, at the next start.
            tracing::warn!(%error, path = %path.display(), "cannot remove a log segment");
        }
    }
}

fn open(options: &mut OpenOptions, path: &Path, flags: i32) -> io::Result<File> {
    options.mode(0o640).custom_flags(flags).open(path)
}

/// Name of a segment file: its number in 16 hexadecimal digits.
pub(super) fn segment_path(directory: &Path, segment: u64) -> PathBuf {
    directory.join(format!("{segment:016x}.wal"))
}

/// Makes names durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
