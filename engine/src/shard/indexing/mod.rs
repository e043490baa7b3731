//! The background indexer of a shard: takes published rows into the graphs, in batches that follow its backlog.
//!
//! A batch inserts rows one by one (the caller lets others run in between), then sends the reverse edges of foreign nodes
//! to their owners. Only when every owner has said that they are in does the watermark `indexed` move over the batch: until
//! then the exact scan still finds its rows. A few batches may wait for owners while the next one is being built.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::message::EdgeBatch;
use super::{Message, Partition, ShardMetrics};
use crate::collection::Collection;
use crate::hnsw::{Edge, EdgeOutbox, Indexer};
use crate::limits;
use crate::probes;

/// Rows whose codes are written at once, before others may run.
const ENCODE_ROWS: u32 = 256;

/// One graph of one collection, as its shard's indexer sees it.
struct Job {
    collection: Arc<Collection>,
    vector: usize,
    indexer: Indexer,
    /// Next slot to insert.
    next: u32,
    /// End of the batch under way; equal to `next` when none is.
    batch_end: u32,
    outbox: EdgeOutbox,
    sent: VecDeque<Sent>,
    /// Edges of others that were handed on to third parties.
    relayed: EdgeOutbox,
    relays: Vec<Relay>,
    batches: u64,
}

/// A batch that waits for the owners of its reverse edges.
struct Sent {
    number: u64,
    answers_missing: usize,
    /// Slots below this are in the graph once the batch is done.
    end: u32,
}

/// A batch of another shard of which a part was handed on: it is answered when those who got it have answered.
struct Relay {
    number: u64,
    answers_missing: usize,
    from: usize,
    batch: EdgeBatch,
}

/// The indexing task of a shard.
pub struct Indexing {
    shard: usize,
    shards: usize,
    partition: Rc<RefCell<Partition>>,
    metrics: Arc<ShardMetrics>,
    jobs: Vec<Job>,
    inbox: VecDeque<(usize, EdgeBatch, Box<[Edge]>)>,
    paused: bool,
    turn: usize,
}

impl Indexing {
    /// An indexer without graphs.
    pub fn new(shard: usize, shards: usize, partition: Rc<RefCell<Partition>>, metrics: Arc<ShardMetrics>) -> Indexing {
        Indexing { shard, shards, partition, metrics, jobs: Vec::new(), inbox: VecDeque::new(), paused: false, turn: 0 }
    }

    /// Takes over a graph.
    pub fn install(&mut self, collection: Arc<Collection>, vector: usize, indexer: Indexer) {
        let next = collection.vectors[vector].graph().indexed(self.shard);
        self.jobs.push(Job {
            collection,
            vector,
            indexer,
            next,
            batch_end: next,
            outbox: EdgeOutbox::new(self.shards),
            sent: VecDeque::new(),
            relayed: EdgeOutbox::new(self.shards),
            relays: Vec::new(),
            batches: 0,
        });
    }

    /// Forgets the graphs of a collection.
    pub fn remove(&mut self, collection: u32) {
        self.jobs.retain(|job| job.collection.spec.id != collection);
        self.inbox.retain(|(_, batch, _)| batch.collection != collection);
    }

    /// Takes in reverse edges that another shard sent.
    pub fn receive(&mut self, from: usize, batch: EdgeBatch, edges: Box<[Edge]>) {
        self.metrics.edges_received.add(edges.len() as u64);
        self.inbox.push_back((from, batch, edges));
    }

    /// An owner has taken in the edges of one of our batches, or of a part that we handed on: then the one whose batch it
    /// was may have to be told.
    #[must_use = "somebody waits for it"]
    pub fn applied(&mut self, batch: EdgeBatch) -> Option<(usize, Message)> {
        let job = job_of(&mut self.jobs, &batch)?;
        if let Some(sent) = job.sent.iter_mut().find(|sent| sent.number == batch.number) {
            sent.answers_missing -= 1;
            job.finish_batches();
            return None;
        }
        let place = job.relays.iter().position(|relay| relay.number == batch.number)?;
        job.relays[place].answers_missing -= 1;
        if job.relays[place].answers_missing > 0 {
            return None;
        }
        let Relay { from, batch, .. } = job.relays.swap_remove(place);
        Some((from, Message::EdgesApplied(batch)))
    }

    /// Stops (or starts again) taking in new rows; edges of others are still taken in.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// True when nothing is half done: no batch under way, none waiting for its owners, no edges to take in.
    pub fn is_still(&self) -> bool {
        self.inbox.is_empty() && self.jobs.iter().all(Job::is_still)
    }

    /// One small step: takes in one batch of edges, or inserts one row. False when there is nothing to do now.
    pub fn step(&mut self, mut send: impl FnMut(usize, Message)) -> bool {
        if let Some((from, batch, edges)) = self.inbox.pop_front() {
            self.apply(from, batch, &edges, &mut send);
            return true;
        }
        for _ in 0..self.jobs.len() {
            self.turn = (self.turn + 1) % self.jobs.len();
            if self.step_job(self.turn, &mut send) {
                return true;
            }
        }
        false
    }

    fn apply(&mut self, from: usize, batch: EdgeBatch, edges: &[Edge], send: &mut impl FnMut(usize, Message)) {
        let Some(job) = job_of(&mut self.jobs, &batch) else {
            return send(from, Message::EdgesApplied(batch)); // dropped since
        };
        let index = &job.collection.vectors[job.vector];
        job.indexer.apply(&index.space, edges, &mut job.relayed);
        if job.relayed.is_empty() {
            return send(from, Message::EdgesApplied(batch));
        }
        let (number, answers_missing) = job.send_edges(true, send);
        job.relays.push(Relay { number, answers_missing, from, batch });
    }

    fn step_job(&mut self, which: usize, send: &mut impl FnMut(usize, Message)) -> bool {
        let job = &mut self.jobs[which];
        if job.next == job.batch_end
            && (self.paused || job.sent.len() >= limits::INDEX_BATCHES_IN_FLIGHT || !job.begin_batch(self.shard))
        {
            return false;
        }
        if !job.encode_next(self.shard, &self.partition) {
            job.batch_end = job.next;
            return false;
        }
        job.insert_next(self.shard);
        self.metrics.rows_indexed.add(1);
        if job.next == job.batch_end {
            job.send_batch(send);
        }
        true
    }
}

impl Job {
    /// Chooses how many rows come next: more when more are waiting, so that an idle server takes a row in at once and a
    /// flooded one spares exchanges. False when none are waiting.
    fn begin_batch(&mut self, shard: usize) -> bool {
        let region = &self.collection.region;
        let backlog = region.published(shard).saturating_sub(self.next);
        if backlog == 0 || self.collection.is_flat(&region.view()) {
            return false;
        }
        // Rows of one batch do not see those that other shards insert meanwhile: a batch stays small beside the graph. A
        // shard's first rows would otherwise be linked to next to nothing, and be found from next to nowhere for ever.
        let nodes = self.collection.vectors[self.vector].graph().nodes();
        let rows_max = nodes / u64::from(limits::INDEX_BATCH_FRACTION);
        let rows_max = rows_max.clamp(1, u64::from(limits::INDEX_BATCH_ROWS_MAX)) as u32;
        let rows = (backlog / 8).clamp(1, rows_max);
        self.batch_end = self.next + rows;
        probes::index_batch_begin(shard, self.collection.spec.id, self.vector, self.batch_end, rows, backlog);
        true
    }

    /// Makes sure that the code of the next row is there; the first to need one trains the scale, on rows of all shards.
    /// False when there is no memory for codes.
    fn encode_next(&mut self, shard: usize, partition: &Rc<RefCell<Partition>>) -> bool {
        let index = &self.collection.vectors[self.vector];
        let Some(encoder) = index.space.encoder() else { return true };
        let region = &self.collection.region;
        if !index.scale.is_trained() {
            let view = region.view();
            let each = limits::TRAIN_ROWS_MAX / region.shards() as u32;
            let rows = (0..region.shards())
                .flat_map(|shard| (0..view.len(shard).min(each)).map(move |slot| region.row(shard, slot)));
            let vectors = region.vectors(self.vector);
            encoder.train(rows.map(|row| vectors.get(row)));
        }
        if region.coded(self.vector, shard) <= self.next {
            let mut partition = partition.borrow_mut();
            let Ok(member) = partition.member_mut(self.collection.spec.id) else { return false };
            let first = region.coded(self.vector, shard);
            // Up to what is filled in, not only published: rows filled in from then on get their codes at once.
            let end = member.writer.filled().min(first + ENCODE_ROWS);
            if let Err(error) = member.writer.encode(self.vector, end) {
                tracing::warn!(%error, shard, "rows stay out of the graph for now");
                return false;
            }
        }
        region.coded(self.vector, shard) > self.next
    }

    fn insert_next(&mut self, shard: usize) {
        let region = &self.collection.region;
        let row = region.row(shard, self.next);
        if region.visible(&region.view(), row) {
            let index = &self.collection.vectors[self.vector];
            self.indexer.insert(&index.space, row, &mut self.outbox);
        } else {
            // Replaced or deleted before its turn came: it never enters the graph.
            self.indexer.skip(row);
        }
        self.next += 1;
    }

    fn send_batch(&mut self, send: &mut impl FnMut(usize, Message)) {
        let (number, answers_missing) = self.send_edges(false, send);
        let shard = self.indexer.shard();
        probes::index_batch_sent(shard, self.collection.spec.id, self.vector, self.next, answers_missing);
        self.sent.push_back(Sent { number, answers_missing, end: self.next });
        self.finish_batches();
    }

    /// Sends what waits in an outbox to its owners; returns the number that they will answer to, and how many they are.
    fn send_edges(&mut self, relayed: bool, send: &mut impl FnMut(usize, Message)) -> (u64, usize) {
        self.batches += 1;
        let (collection, vector) = (self.collection.spec.id, self.vector as u16);
        let batch = EdgeBatch { collection, vector, number: self.batches };
        let outbox = if relayed { &mut self.relayed } else { &mut self.outbox };
        let mut owners = 0;
        for owner in 0..self.collection.shards() {
            let edges = outbox.take(owner);
            if !edges.is_empty() {
                owners += 1;
                send(owner, Message::Edges { batch, edges: edges.into_boxed_slice() });
            }
        }
        (self.batches, owners)
    }

    fn is_still(&self) -> bool {
        self.sent.is_empty() && self.relays.is_empty() && self.next == self.batch_end
    }

    fn finish_batches(&mut self) {
        while self.sent.front().is_some_and(|sent| sent.answers_missing == 0) {
            let sent = self.sent.pop_front().expect("checked");
            self.indexer.set_indexed(sent.end);
            probes::index_batch_end(self.indexer.shard(), self.collection.spec.id, self.vector, sent.end);
        }
    }
}

fn job_of<'a>(jobs: &'a mut [Job], batch: &EdgeBatch) -> Option<&'a mut Job> {
    let vector = usize::from(batch.vector);
    jobs.iter_mut().find(|job| job.collection.spec.id == batch.collection && job.vector == vector)
}

#[cfg(test)]
mod tests;
