//! Runs the tasks of one shard's thread: searches and reads beside the data plane, indexing in the time that is left.
//!
//! Tasks stay on the thread that spawned them, and only that thread wakes them; what comes from other threads comes over the
//! mesh or the ring, through the data plane. So there is nothing to lose between "no task is ready" and going to sleep.
//!
//! There are three classes. Tasks that serve run whenever they are ready, each for a slice. Indexing runs when nothing
//! serves, and otherwise gets one part of [`INDEX_SHARE`] of the thread's time. What is idle runs when there is neither.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::Future;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use async_task::Runnable;

/// While there is something to serve, indexing gets one part in so many of the time.
pub const INDEX_SHARE: u32 = 5;
/// The same while the shard replays its log, and writers wait for the end of that.
pub const INDEX_SHARE_REPLAYING: u32 = 25;
/// How long a task runs before it lets others run.
const SLICE: Duration = Duration::from_micros(500);
/// A thread that has served counts as serving for this long: the next request of a client that waits for each answer comes
/// within it, and is not to find the thread in the middle of an insertion.
const GRACE: Duration = Duration::from_millis(1);
/// For this long after it has served, a thread indexes in the smallest steps there are: the next request waits for one at most.
const CALM: Duration = Duration::from_millis(20);
/// How long serving tasks run before the data plane has its turn, at most.
const SERVE_MAX: Duration = Duration::from_millis(10);
/// Up to that, they run for so many times as long as the data plane did in its last turn. A turn that has next to nothing to do
/// comes often, so that requests and messages find the thread soon; one that works on large frames leaves tasks most of the time.
const SERVE_SHARE: u32 = 10;
/// Times are halved when they have grown to this, so that the past is forgotten.
const MEMORY: Duration = Duration::from_millis(100);

/// Which tasks go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for it.
    Serve,
    /// In the background.
    Index,
    /// Only when there is nothing else to do.
    Idle,
}

/// Tasks and timers of this thread.
struct Local {
    serve: RefCell<VecDeque<Runnable>>,
    index: RefCell<VecDeque<Runnable>>,
    idle: RefCell<VecDeque<Runnable>>,
    timers: RefCell<BinaryHeap<Reverse<Timer>>>,
    timers_set: Cell<u64>,
    slice_end: Cell<Option<Instant>>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            serve: RefCell::new(VecDeque::new()),
            index: RefCell::new(VecDeque::new()),
            idle: RefCell::new(VecDeque::new()),
            timers: RefCell::new(BinaryHeap::new()),
            timers_set: Cell::new(0),
            slice_end: Cell::new(None),
        }
    };
    /// Apart from the rest, so that an allocator can ask for it at any moment.
    static RUNNING: Cell<Option<Class>> = const { Cell::new(None) };
}

impl Local {
    fn queue(&self, class: Class) -> &RefCell<VecDeque<Runnable>> {
        match class {
            Class::Serve => &self.serve,
            Class::Index => &self.index,
            Class::Idle => &self.idle,
        }
    }
}

/// A moment that somebody waits for; the number tells equal moments apart.
struct Timer {
    at: Instant,
    number: u64,
    waker: Waker,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Timer) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Timer) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Timer) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Class of the task that runs on this thread now; None in the data plane and on other threads. Never allocates: it is there for
/// whoever attributes costs.
pub fn running() -> Option<Class> {
    RUNNING.get()
}

/// Starts a task on this thread.
pub fn spawn(class: Class, future: impl Future<Output = ()> + 'static) {
    let schedule = move |runnable| LOCAL.with(|local| local.queue(class).borrow_mut().push_back(runnable));
    let (runnable, task) = async_task::spawn_local(future, schedule);
    runnable.schedule();
    task.detach();
}

/// Whether this task has had its slice.
pub fn slice_is_over() -> bool {
    LOCAL.with(|local| local.slice_end.get().is_none_or(|end| Instant::now() >= end))
}

/// Lets others run if this task has had its slice.
pub async fn yield_if_needed() {
    if slice_is_over() {
        yield_now().await;
    }
}

/// Lets all others that are ready run first.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Waits for at least `duration`.
pub async fn sleep(duration: Duration) {
    let at = Instant::now() + duration;
    std::future::poll_fn(|context| {
        if Instant::now() >= at {
            return Poll::Ready(());
        }
        LOCAL.with(|local| {
            local.timers_set.set(local.timers_set.get() + 1);
            let timer = Timer { at, number: local.timers_set.get(), waker: context.waker().clone() };
            local.timers.borrow_mut().push(Reverse(timer));
        });
        Poll::Pending
    })
    .await
}

/// Shares the thread's time out between the classes.
#[derive(Debug, Default)]
pub struct Executor {
    serve_time: Duration,
    index_time: Duration,
    /// When the last round ended.
    last: Option<Instant>,
    /// Until then the thread counts as one that serves, although it may be waiting for the next request.
    busy_until: Option<Instant>,
    /// How long indexing has to wait for its turn.
    index_wait: Duration,
}

impl Executor {
    /// Runs what is ready: serving tasks, and indexing if it is its turn, with one part in `index_share` of the
    /// time. `is_busy` says whether the data plane has just moved anything, `turn` how long it took. False when no task ran.
    pub fn run(&mut self, is_busy: bool, turn: Duration, index_share: u32) -> bool {
        fire_timers();
        let began = Instant::now();
        let serve_max = (turn * SERVE_SHARE).clamp(SLICE, SERVE_MAX);
        let mut served = false;
        // Every task at least once. They go on while there is something to do for them, but not for ever: the data plane may
        // have large frames to work on, each of which they would have to wait for.
        while run_ready(Class::Serve, usize::MAX, SLICE) {
            served = true;
            if began.elapsed() >= serve_max {
                break;
            }
        }
        let now = Instant::now();
        if is_busy || served {
            self.busy_until = Some(now + GRACE);
        }
        // Whatever indexing has not had since: also the time in which the thread slept.
        let others = self.last.map_or(Duration::ZERO, |last| now - last);
        self.last = Some(now);
        self.index_wait = Duration::ZERO;
        if self.busy_until.is_some_and(|until| now < until) {
            self.serve_time += others;
            self.index_wait = (self.index_time * (index_share - 1)).saturating_sub(self.serve_time);
            if !self.index_wait.is_zero() {
                return served;
            }
        } else {
            (self.serve_time, self.index_time) = (Duration::ZERO, Duration::ZERO);
        }
        let is_calm = self.busy_until.is_none_or(|until| now > until + CALM);
        let indexed = run_ready(Class::Index, 1, if is_calm { SLICE } else { Duration::ZERO });
        let end = Instant::now();
        self.index_time += end - now;
        self.last = Some(end);
        if self.serve_time + self.index_time > MEMORY {
            self.serve_time /= 2;
            self.index_time /= 2;
        }
        served || indexed || self.idle(end)
    }

    /// Runs one idle task for a step, if nothing else was done for a while.
    fn idle(&mut self, now: Instant) -> bool {
        self.busy_until.is_none_or(|until| now >= until) && run_ready(Class::Idle, 1, Duration::ZERO)
    }

    /// How long the thread may sleep: `None` for as long as nothing comes from outside, zero when a task is ready.
    pub fn may_sleep(&self) -> Option<Duration> {
        LOCAL.with(|local| {
            if !local.serve.borrow().is_empty() {
                return Some(Duration::ZERO);
            }
            let now = Instant::now();
            let idle = (!local.idle.borrow().is_empty())
                .then(|| self.busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now)));
            let index = (!local.index.borrow().is_empty()).then_some(self.index_wait.min(GRACE));
            let timers = local.timers.borrow();
            let timer = timers.peek().map(|Reverse(timer)| timer.at.saturating_duration_since(now));
            timer.into_iter().chain(index).chain(idle).min()
        })
    }
}

impl Drop for Executor {
    /// Drops all tasks of the thread. Dropping one may wake another, so this goes on until none is left.
    fn drop(&mut self) {
        loop {
            let next = LOCAL.with(|local| {
                local.timers.borrow_mut().clear();
                let next = local.serve.borrow_mut().pop_front();
                let next = next.or_else(|| local.index.borrow_mut().pop_front());
                next.or_else(|| local.idle.borrow_mut().pop_front())
            });
            match next {
                Some(runnable) => drop(runnable),
                None => break,
            }
        }
    }
}

/// Runs up to `most` of the tasks of a class that are ready now, each once and for a slice.
fn run_ready(class: Class, most: usize, slice: Duration) -> bool {
    let ready = LOCAL.with(|local| local.queue(class).borrow().len()).min(most);
    for _ in 0..ready {
        let runnable = LOCAL.with(|local| {
            local.slice_end.set(Some(Instant::now() + slice));
            local.queue(class).borrow_mut().pop_front()
        });
        let Some(runnable) = runnable else { break };
        RUNNING.set(Some(class));
        runnable.run();
        RUNNING.set(None);
    }
    LOCAL.with(|local| local.slice_end.set(None));
    ready > 0
}

fn fire_timers() {
    LOCAL.with(|local| {
        if local.timers.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let mut timers = local.timers.borrow_mut();
            if timers.peek().is_none_or(|Reverse(timer)| timer.at > now) {
                break;
            }
            let Reverse(timer) = timers.pop().expect("looked at");
            drop(timers);
            timer.waker.wake();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    /// Runs until nothing is ready and no timer is set.
    fn run_all(executor: &mut Executor) {
        while let Some(wait) = executor.may_sleep() {
            std::thread::sleep(wait);
            executor.run(false, Duration::ZERO, INDEX_SHARE);
        }
    }

    #[test]
    fn tasks_take_turns_and_wake_each_other() {
        let mut executor = Executor::default();
        let log = Rc::new(RefCell::new(Vec::new()));
        for name in ["a", "b"] {
            let log = log.clone();
            spawn(Class::Serve, async move {
                for step in 0..3 {
                    log.borrow_mut().push((name, step));
                    yield_now().await;
                }
            });
        }
        run_all(&mut executor);
        assert_eq!(*log.borrow(), [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]);
    }

    #[test]
    fn timers_fire_in_order_and_not_early() {
        let mut executor = Executor::default();
        let log = Rc::new(RefCell::new(Vec::new()));
        let began = Instant::now();
        for wait_ms in [20u64, 5, 10] {
            let log = log.clone();
            spawn(Class::Serve, async move {
                sleep(Duration::from_millis(wait_ms)).await;
                assert!(began.elapsed() >= Duration::from_millis(wait_ms));
                log.borrow_mut().push(wait_ms);
            });
        }
        run_all(&mut executor);
        assert_eq!(*log.borrow(), [5, 10, 20]);
    }

    #[test]
    fn indexing_gets_its_share_beside_a_server_that_is_always_busy() {
        let mut executor = Executor::default();
        let (served, indexed) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(0u64)));
        for (class, count) in [(Class::Serve, served.clone()), (Class::Index, indexed.clone())] {
            spawn(class, async move {
                loop {
                    let end = Instant::now() + Duration::from_micros(100);
                    while Instant::now() < end {}
                    count.set(count.get() + 1);
                    yield_now().await;
                }
            });
        }
        for _ in 0..100 {
            executor.run(true, SERVE_MAX, INDEX_SHARE);
        }
        // A thread that is taken off its core in the middle blurs the shares; the order of magnitude stays.
        let share = indexed.get() as f64 / (served.get() + indexed.get()) as f64;
        // A round is up to 10 ms of serving and then one step of indexing, which takes 0.1 ms here.
        assert!(share > 0.004 && share < 0.25, "{} of {}", indexed.get(), served.get());
        assert_eq!(executor.may_sleep(), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_idle_waits_for_everything_else() {
        let mut executor = Executor::default();
        let ran = Rc::new(Cell::new(0u64));
        let count = ran.clone();
        spawn(Class::Idle, async move {
            loop {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
        executor.run(true, Duration::ZERO, INDEX_SHARE);
        assert_eq!(ran.get(), 0, "the data plane was busy a moment ago");
        let wait = executor.may_sleep().expect("a task is ready");
        assert!(wait <= GRACE, "{wait:?}");
        std::thread::sleep(GRACE);
        assert!(executor.run(false, Duration::ZERO, INDEX_SHARE));
        assert_eq!(ran.get(), 1, "one step at a time");
        spawn(Class::Index, async { yield_now().await });
        assert!(executor.run(false, Duration::ZERO, INDEX_SHARE));
        assert_eq!(ran.get(), 1, "indexing goes first");
        spawn(Class::Serve, async {});
        executor.run(false, Duration::ZERO, INDEX_SHARE);
        assert_eq!(ran.get(), 1, "and so does whatever somebody waits for");
    }

    #[test]
    fn dropping_the_executor_drops_its_tasks() {
        let alive = Rc::new(());
        let executor = Executor::default();
        let held = alive.clone();
        spawn(Class::Index, async move {
            sleep(Duration::from_secs(3_600)).await;
            drop(held);
        });
        let held = alive.clone();
        spawn(Class::Serve, async move {
            yield_now().await;
            drop(held);
        });
        drop(executor);
        assert_eq!(Rc::strong_count(&alive), 1);
    }
}
