//! A thread beside a shard's, for work that would make it wait: bringing memory for chunks before rows come, so that whoever fills
//! them finds pages that are cleared; writing vectors to their file.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// The thread, started with the first job. Dropping it waits for the jobs that are queued.
pub struct Background {
    name: &'static str,
    running: Option<(Sender<Job>, JoinHandle<()>)>,
}

impl Background {
    /// A thread of this name, not started yet.
    pub fn new(name: &'static str) -> Background {
        Background { name, running: None }
    }

    /// Queues a job. Where there can be no thread, the job is dropped: nobody may have to wait for it.
    pub fn start(&mut self, job: impl FnOnce() + Send + 'static) {
        if self.running.is_none() {
            let (jobs, inbox) = channel();
            let thread = std::thread::Builder::new().name(self.name.into()).spawn(move || run(&inbox));
            match thread {
                Ok(thread) => self.running = Some((jobs, thread)),
                Err(error) => return tracing::warn!(%error, thread = self.name, "a thread could not be started"),
            }
        }
        if let Some((jobs, _)) = &self.running {
            // It listens until it is dropped.
            let _ = jobs.send(Box::new(job));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let Some((jobs, thread)) = self.running.take() else { return };
        drop(jobs);
        if thread.join().is_err() {
            tracing::error!(thread = self.name, "a thread beside a shard panicked");
        }
    }
}

fn run(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        job();
    }
}
