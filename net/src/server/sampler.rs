//! Learns the recall that queries get: keeps some of those that were answered, and in idle time searches for them anew and compares
//! with the exact answer (see [`engine::search::RecallSample`]).
//!
//! What it keeps and what it does is bounded: a few queries of a vector column, each looked at once; one part in
//! [`limits::RECALL_TIME_SHARE`] of the shard's time; a view is given up when the shard has other work.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use engine::collection::Collection;
use engine::limits;
use engine::placement::splitmix64;
use engine::search::{RecallSample, Scratch, SearchRequest};
use engine::shard::executor;

use super::context::Context;

const SAMPLE_MAX: Duration = Duration::from_secs(limits::RECALL_SAMPLE_SECONDS_MAX);
const STANDSTILL_MAX: Duration = Duration::from_millis(limits::RECALL_STANDSTILL_MS_MAX);

/// The queries of one shard.
pub struct Sampler {
    is_on: bool,
    shard: usize,
    random: u64,
    columns: HashMap<(u32, usize), Column>,
    current: Option<Current>,
    /// Samples begun so far.
    begun: u64,
    waker: Option<Waker>,
}

/// Queries of one vector column that were answered.
#[derive(Default)]
struct Column {
    /// So many are passed over before the next is kept.
    skip: u64,
    kept: VecDeque<Kept>,
    /// [`Sampler::begun`] when one of them was taken last.
    taken_at: u64,
}

struct Kept {
    collection: Weak<Collection>,
    request: SearchRequest,
}

/// The sample that is being taken.
struct Current {
    sample: RecallSample,
    began: Instant,
    stepped: Instant,
    /// Time of this thread that it has taken.
    spent: Duration,
}

/// What a step came to.
enum Step {
    /// There is no query to look at.
    Nothing,
    /// There is more to do.
    More,
    /// A sample is done, at this cost.
    Done(Duration),
}

impl Sampler {
    /// Keeps nothing yet; where it is not on, it never does.
    pub fn new(shard: usize, is_on: bool) -> Sampler {
        let (random, columns) = (shard as u64, HashMap::new());
        Sampler { is_on, shard, random, columns, current: None, begun: 0, waker: None }
    }

    /// Takes note of queries that were answered; keeps one now and then.
    pub fn note(&mut self, collection: &Arc<Collection>, request: &SearchRequest) {
        if !self.is_on || request.exact || !request.is_plain() {
            return;
        }
        let key = (collection.spec.id, request.vector);
        if !self.columns.contains_key(&key) && self.columns.len() >= limits::RECALL_COLUMNS_MAX {
            self.columns.retain(|_, column| !column.kept.is_empty());
            if self.columns.len() >= limits::RECALL_COLUMNS_MAX {
                return;
            }
        }
        let column = self.columns.entry(key).or_default();
        let mut query = column.skip;
        while query < request.count as u64 {
            if column.kept.len() == limits::RECALL_KEPT_MAX {
                column.kept.pop_front();
            }
            let collection = Arc::downgrade(collection);
            column.kept.push_back(Kept { collection, request: request.one(query as usize) });
            // By chance, so that no rhythm of the client hides some of its queries for ever.
            self.random = splitmix64(self.random);
            query += 1 + self.random % (2 * limits::RECALL_KEEP_ONE_IN - 1);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        column.skip = query - request.count as u64;
    }

    /// Forgets a collection.
    pub fn remove(&mut self, collection: u32) {
        self.columns.retain(|&(id, _), _| id != collection);
        self.current.take_if(|current| current.sample.collection().spec.id == collection);
    }

    /// Lets go of the view of a sample that stands still or takes too long. Its query is not looked at again.
    pub fn give_up_late(&mut self) {
        let now = Instant::now();
        let is_late = |current: &Current| now - current.stepped > STANDSTILL_MAX || now - current.began > SAMPLE_MAX;
        self.current.take_if(|current| is_late(current));
    }

    /// Whether a sample is being taken.
    pub fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    fn step(&mut self, scratch: &mut Scratch) -> Step {
        let began = Instant::now();
        if self.current.is_none() {
            let Some(sample) = self.next() else { return Step::Nothing };
            self.current = Some(Current { sample, began, stepped: began, spent: Duration::ZERO });
        }
        let current = self.current.as_mut().expect("it was there, or is now");
        let is_left = current.sample.step(scratch);
        current.stepped = Instant::now();
        current.spent += current.stepped - began;
        if is_left {
            return Step::More;
        }
        let Current { sample, spent, .. } = self.current.take().expect("looked at");
        let (collection, vector) = (sample.collection().clone(), sample.vector());
        if let Some(recall) = sample.finish() {
            collection.vectors[vector].recall.add(self.shard, recall);
        }
        Step::Done(spent)
    }

    /// The next sample: of the column that has waited longest, one of its queries by chance. Its newest would be the one that the
    /// client's pauses follow, time and again.
    fn next(&mut self) -> Option<RecallSample> {
        loop {
            let waiting = self.columns.values_mut().filter(|column| !column.kept.is_empty());
            let column = waiting.min_by_key(|column| column.taken_at)?;
            self.begun += 1;
            column.taken_at = self.begun;
            self.random = splitmix64(self.random);
            let chosen = (self.random % column.kept.len() as u64) as usize;
            let Kept { collection, request } = column.kept.swap_remove_back(chosen).expect("not empty");
            let Some(collection) = collection.upgrade() else { continue };
            if let Ok(sample) = RecallSample::begin(collection, request) {
                return Some(sample);
            }
        }
    }
}

/// Takes samples for as long as the server runs.
pub async fn run(context: Rc<Context>) {
    while !context.is_stopping() {
        let step = context.sampler.borrow_mut().step(&mut context.scratch.borrow_mut());
        match step {
            Step::Nothing => wait(&context.sampler).await,
            Step::More => executor::yield_now().await,
            Step::Done(spent) => executor::sleep(spent * (limits::RECALL_TIME_SHARE - 1)).await,
        }
    }
}

/// Waits until a query was kept.
async fn wait(sampler: &RefCell<Sampler>) {
    std::future::poll_fn(|context| {
        let mut sampler = sampler.borrow_mut();
        if sampler.columns.values().any(|column| !column.kept.is_empty()) {
            return Poll::Ready(());
        }
        sampler.waker = Some(context.waker().clone());
        Poll::Pending
    })
    .await
}
