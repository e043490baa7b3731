//! Lets a shard's task wait for its doorbell inside the executor.
//!
//! glommio knows files, and a read of eight bytes is how one waits on an eventfd: the executor's own ring arms a poll on
//! it, so the thread sleeps in the kernel with everything else that it waits for, and a ring of the bell (or a completion
//! of an io_uring that signals the same eventfd) wakes it in one hop. glommio's own way to be woken from another thread
//! takes 1 to 100 ms. The eventfd must be in blocking mode, or the read would come back at once with `EAGAIN`.

use std::fmt;
use std::future::Future;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;

use glommio::GlommioError;
use glommio::io::{BufferedFile, ReadResult};

use crate::error::{Error, Result};
use crate::mesh::Doorbell;

type Read = Pin<Box<dyn Future<Output = Result<ReadResult, GlommioError<()>>>>>;

/// Waits for one doorbell on behalf of the executor it was created in.
pub struct Sleeper {
    file: Rc<BufferedFile>,
    /// The read that is on its way. It outlives a [`Self::sleep`] that was given up, because the kernel may have taken
    /// the bell's count for it: a new read would wait for a ring that has been.
    pending: Option<Read>,
}

impl Sleeper {
    /// Prepares to wait for `doorbell`.
    ///
    /// # Errors
    /// When the process or the system has no file descriptor left.
    ///
    /// # Panics
    /// Outside a glommio executor.
    pub fn new(doorbell: &Doorbell) -> Result<Sleeper> {
        let eventfd = doorbell
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| Error::System {
                operation: "duplicate an eventfd",
                source,
            })?;
        // SAFETY: the descriptor was just made by duplication and nobody else has it; `BufferedFile` owns it from here
        // and closes it. It is only ever read through `read_at`.
        #[allow(unsafe_code)]
        let file = unsafe { BufferedFile::from_raw_fd(eventfd.into_raw_fd()) };
        Ok(Sleeper {
            file: Rc::new(file),
            pending: None,
        })
    }

    /// Waits until the doorbell rings; comes back at once if it has rung since the last time. May come back without a
    /// reason that the caller can see. Can be given up (by a timeout around it) and called again: no ring is lost.
    ///
    /// # Errors
    /// When the executor's ring refuses the read.
    pub async fn sleep(&mut self) -> Result<()> {
        let file = &self.file;
        let read = self.pending.get_or_insert_with(|| {
            let file = file.clone();
            Box::pin(async move { file.read_at(0, size_of::<u64>()).await })
        });
        let outcome = read.as_mut().await;
        self.pending = None;
        let count = outcome.map_err(|error| Error::System {
            operation: "wait on an eventfd",
            source: error.into(),
        })?;
        assert_eq!(count.len(), size_of::<u64>(), "an eventfd is read whole");
        Ok(())
    }
}

impl fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleeper")
            .field("file", &self.file)
            .field("pending", &self.pending.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::AsRawFd;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::task::Poll;
    use std::thread;
    use std::time::{Duration, Instant};

    use glommio::timer::Timer;
    use glommio::{LocalExecutorBuilder, Placement};
    use io_uring::{IoUring, opcode, types};

    use super::*;
    use crate::mesh::{Port, mesh};

    /// No wake takes this long on a machine that is only busy; a lost one takes for ever.
    const WAKE_MAX: Duration = Duration::from_secs(20);

    fn executor() -> LocalExecutorBuilder {
        LocalExecutorBuilder::new(Placement::Unbound).io_memory(0)
    }

    /// Waits for a case to finish, and fails when its `progress` stands still for [`WAKE_MAX`].
    fn watch(progress: &AtomicU64, finished: &mpsc::Receiver<()>) {
        let mut seen = u64::MAX;
        while let Err(gap) = finished.recv_timeout(WAKE_MAX) {
            assert_eq!(gap, mpsc::RecvTimeoutError::Timeout, "the case failed");
            let now = progress.load(Ordering::Relaxed);
            assert_ne!(now, seen, "asleep for {WAKE_MAX:?} after step {now}");
            seen = now;
        }
    }

    #[test]
    fn a_ring_from_another_thread_wakes() {
        let bell = Arc::new(Doorbell::new().unwrap());
        let progress = Arc::new(AtomicU64::new(0));
        let (done, finished) = mpsc::channel();
        let (asleep, ringer) = mpsc::channel();
        let (own, own_progress) = (bell.clone(), progress.clone());
        let case = executor()
            .spawn(move || async move {
                let mut sleeper = Sleeper::new(&own).unwrap();
                for step in 1..=100 {
                    asleep.send(()).unwrap();
                    sleeper.sleep().await.unwrap();
                    own_progress.store(step, Ordering::Relaxed);
                }
                done.send(()).unwrap();
            })
            .unwrap();
        thread::spawn(move || {
            while ringer.recv().is_ok() {
                thread::sleep(Duration::from_micros(200));
                bell.ring();
            }
        });
        watch(&progress, &finished);
        case.join().unwrap();
    }

    #[test]
    fn a_completion_of_an_own_io_uring_wakes() {
        let progress = Arc::new(AtomicU64::new(0));
        let (done, finished) = mpsc::channel();
        let own_progress = progress.clone();
        let case = executor()
            .spawn(move || async move {
                let bell = Doorbell::new().unwrap();
                let mut sleeper = Sleeper::new(&bell).unwrap();
                let mut ring = IoUring::new(8).unwrap();
                ring.submitter()
                    .register_eventfd(bell.as_fd().as_raw_fd())
                    .unwrap();
                let delay = types::Timespec::new().nsec(1_000_000);
                for step in 1..=200 {
                    let late = step % 2 == 0;
                    let entry = if late {
                        opcode::Timeout::new(&delay).build()
                    } else {
                        opcode::Nop::new().build()
                    };
                    // SAFETY: `delay` outlives the operation: its completion is awaited below.
                    #[allow(unsafe_code)]
                    unsafe { ring.submission().push(&entry.user_data(step)) }.unwrap();
                    ring.submit().unwrap();
                    while ring.completion().is_empty() {
                        sleeper.sleep().await.unwrap();
                    }
                    assert_eq!(ring.completion().next().unwrap().user_data(), step);
                    own_progress.store(step, Ordering::Relaxed);
                }
                done.send(()).unwrap();
            })
            .unwrap();
        watch(&progress, &finished);
        case.join().unwrap();
    }

    #[test]
    fn a_sleep_that_is_given_up_loses_no_ring() {
        let progress = Arc::new(AtomicU64::new(0));
        let (done, finished) = mpsc::channel();
        let own_progress = progress.clone();
        let case = executor()
            .spawn(move || async move {
                let bell = Doorbell::new().unwrap();
                let mut sleeper = Sleeper::new(&bell).unwrap();
                for step in 1..=20 {
                    let mut given_up = Box::pin(sleeper.sleep());
                    let asleep = poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx).is_pending()));
                    assert!(asleep.await, "nobody rang");
                    // The timers give the executor a turn: the first takes the read to the kernel, the second its
                    // answer back, so that in every other step the ring is used up before the sleep is given up.
                    Timer::new(Duration::from_millis(1)).await;
                    if step % 2 == 0 {
                        bell.ring();
                        Timer::new(Duration::from_millis(1)).await;
                        drop(given_up);
                    } else {
                        drop(given_up);
                        bell.ring();
                    }
                    sleeper.sleep().await.unwrap();
                    own_progress.store(step, Ordering::Relaxed);
                }
                done.send(()).unwrap();
            })
            .unwrap();
        watch(&progress, &finished);
        case.join().unwrap();
    }

    /// Passes one message to and fro until it says `hops`, asleep whenever there is none.
    async fn pass_on(port: &mut Port<u64>, hops: u64, progress: &AtomicU64) {
        let other = 1 - port.index();
        let mut sleeper = Sleeper::new(&port.doorbell()).unwrap();
        let mut last = 0;
        while last + 1 < hops {
            let mut arrived = None;
            port.drain(4, |_, hop| arrived = Some(hop));
            match arrived {
                Some(hop) => {
                    last = hop;
                    progress.store(hop, Ordering::Relaxed);
                    port.send(other, hop + 1).unwrap();
                }
                None if port.prepare_sleep() => {
                    sleeper.sleep().await.unwrap();
                    port.awake();
                }
                None => {}
            }
        }
    }

    #[test]
    fn two_executors_wake_each_other_for_twenty_thousand_rounds() {
        const ROUNDS: u64 = 20_000;
        let mut ports = mesh::<u64>(2, 4).unwrap();
        ports[0].send(1, 0).unwrap();
        let progress = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let watched: Vec<_> = ports
            .into_iter()
            .map(|mut port| {
                let (done, finished) = mpsc::channel();
                let progress = progress.clone();
                let case = executor()
                    .spawn(move || async move {
                        pass_on(&mut port, 2 * ROUNDS, &progress).await;
                        done.send(()).unwrap();
                        // Back to the test: dropping it here would wake the other one.
                        port
                    })
                    .unwrap();
                (case, finished)
            })
            .collect();
        let mut ports = Vec::new();
        for (case, finished) in watched {
            watch(&progress, &finished);
            ports.push(case.join().unwrap());
        }
        println!("{ROUNDS} rounds in {:?}", started.elapsed());
    }
}
