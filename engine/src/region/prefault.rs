//! Gives chunks memory before rows come, on a thread of its own: whoever fills them then finds pages that are cleared.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::Region;

struct Job {
    region: Arc<Region>,
    shard: usize,
    chunk: u32,
}

/// The thread, started with the first job.
#[derive(Default)]
pub struct Prefaulter {
    running: Option<(Sender<Job>, JoinHandle<()>)>,
}

impl Prefaulter {
    /// Queues a chunk. Content that is there already stays as it is, and nobody has to wait for it.
    pub fn start(&mut self, region: &Arc<Region>, shard: usize, chunk: u32) {
        if self.running.is_none() {
            let (jobs, inbox) = channel();
            let thread = std::thread::Builder::new().name("prefault".into()).spawn(move || run(&inbox));
            match thread {
                Ok(thread) => self.running = Some((jobs, thread)),
                // Best effort: whoever fills the chunk touches its memory then.
                Err(error) => return tracing::warn!(%error, "no thread to get memory ready"),
            }
        }
        if let Some((jobs, _)) = &self.running {
            // It listens until it is dropped.
            let _ = jobs.send(Job { region: region.clone(), shard, chunk });
        }
    }
}

impl Drop for Prefaulter {
    fn drop(&mut self) {
        let Some((jobs, thread)) = self.running.take() else { return };
        drop(jobs);
        if thread.join().is_err() {
            tracing::error!("the thread that gets memory ready panicked");
        }
    }
}

fn run(jobs: &Receiver<Job>) {
    while let Ok(Job { region, shard, chunk }) = jobs.recv() {
        if let Err(error) = region.populate(shard, chunk) {
            // Memory is short, or the kernel is older than 5.14: the writer finds out by itself.
            tracing::debug!(%error, "a chunk got no memory ahead");
        }
    }
}
