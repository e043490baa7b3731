//! The background indexer of a shard: takes published rows into the graphs, in batches that follow its backlog.
//!
//! A batch inserts rows one by one (the caller lets others run in between), then sends the reverse edges of foreign nodes
//! to their owners. Only when every owner has said that they are in does the watermark `indexed` move over the batch: until
//! then the exact scan still finds its rows. A few batches may wait for owners while the next one is being built.

mod compact;
mod reclaim;
mod refine;
mod round;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use self::compact::Compaction;
pub use self::compact::Pace;
use self::reclaim::Reclaim;
use self::refine::Refinement;
use self::round::{BULK_CALM_MIN, BulkWhen, Round};
use super::message::{BulkMessage, EdgeBatch};
use super::{Member, Message, Partition, ShardMetrics};
use crate::collection::Collection;
use crate::hnsw::{Edge, EdgeOutbox, Indexer};
use crate::limits;
use crate::probes;
use crate::region::CHUNK_ROWS;

/// Slots whose lists are swept in one step.
const SWEEP_SLOTS: u32 = 32;
/// Dead rows passed over in one step.
const SKIP_ROWS: u64 = 1_024;
/// Rows of a shard are held back for no longer than this number of rows after them.
const HOLD_BACK_ROWS: u64 = 64 << 10;

/// A shard's partition, shared with what else works on it on the same thread.
type Shared = Rc<RefCell<Partition>>;

/// One graph of one collection, as its shard's indexer sees it.
struct Job {
    collection: Arc<Collection>,
    vector: usize,
    indexer: Indexer,
    /// Ordinal of the next row to insert.
    next: u64,
    /// End of the batch under way; equal to `next` when none is.
    batch_end: u64,
    outbox: EdgeOutbox,
    sent: VecDeque<Sent>,
    /// Edges of others that were handed on to third parties.
    relayed: EdgeOutbox,
    relays: Vec<Relay>,
    /// Sweeps that are to be done here, for whom, and the next slot of the first.
    sweeps: VecDeque<(usize, EdgeBatch)>,
    sweep_next: u32,
    /// The sweep that takes own nodes out.
    own_sweep: Option<OwnSweep>,
    /// The pass that links rows anew.
    refinement: Option<Refinement>,
    batches: u64,
    /// The bulk round that goes on, the number of the last one that has ended, and what was said of those after it.
    round: Option<Round>,
    ended: u64,
    later: Vec<(usize, EdgeBatch, BulkMessage)>,
    /// When it was last looked whether a round is worth while, and rows of all shards that were published then.
    looked: Option<(Instant, u64)>,
    /// Rows taken in since they were counted.
    rows_indexed: u64,
}

/// A sweep that waits for the owners to do it.
struct OwnSweep {
    number: u64,
    answers_missing: usize,
}

/// A batch that waits for the owners of its reverse edges.
struct Sent {
    number: u64,
    answers_missing: usize,
    /// Ordinals below this are in the graph once the batch is done; for edges that belong to no batch, that is as before.
    end: u64,
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
    reclaims: Vec<Reclaim>,
    compactions: Vec<Compaction>,
    /// When rows are moved next beside other work.
    compact_due: Instant,
    paused: bool,
    /// Rows that are likely to be replaced soon wait.
    holds_back: bool,
    /// When rows that wait are taken in in bulk.
    bulk: BulkWhen,
    turn: usize,
}

impl Indexing {
    /// An indexer without graphs.
    pub fn new(shard: usize, shards: usize, partition: Rc<RefCell<Partition>>, metrics: Arc<ShardMetrics>) -> Indexing {
        Indexing {
            shard,
            shards,
            partition,
            metrics,
            jobs: Vec::new(),
            inbox: VecDeque::new(),
            reclaims: Vec::new(),
            compactions: Vec::new(),
            compact_due: Instant::now(),
            paused: false,
            holds_back: false,
            bulk: BulkWhen { rows_min: limits::BULK_ROWS_MIN, calm_min: BULK_CALM_MIN },
            turn: 0,
        }
    }

    /// Says whether the shard has other work now. Then rows wait that are no older than those which were replaced of late were when
    /// that happened: in a flood that writes the same ids round and round, none of them gets old enough, and the time that their
    /// insertion and removal would take is left to the flood.
    pub fn hold_back(&mut self, holds_back: bool) {
        self.holds_back = holds_back;
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
            sweeps: VecDeque::new(),
            sweep_next: 0,
            own_sweep: None,
            refinement: None,
            batches: 0,
            round: None,
            ended: 0,
            later: Vec::new(),
            looked: None,
            rows_indexed: 0,
        });
    }

    /// A collection has columns more.
    pub fn add_columns(&mut self, extended: &Arc<Collection>) {
        let jobs = self.jobs.iter_mut().filter(|job| job.collection.spec.id == extended.spec.id);
        jobs.for_each(|job| job.collection = extended.clone());
    }

    /// Forgets the graphs of a collection.
    pub fn remove(&mut self, collection: u32) {
        self.jobs.retain(|job| job.collection.spec.id != collection);
        self.reclaims.retain(|reclaim| reclaim.collection != collection);
        self.compactions.retain(|compaction| compaction.collection != collection);
        self.inbox.retain(|(_, batch, _)| batch.collection != collection);
    }

    /// Takes in reverse edges that another shard sent.
    pub fn receive(&mut self, from: usize, batch: EdgeBatch, edges: Box<[Edge]>) {
        self.metrics.edges_received.add(edges.len() as u64);
        self.inbox.push_back((from, batch, edges));
    }

    /// Takes in that another shard's nodes leave a graph.
    pub fn receive_sweep(&mut self, from: usize, batch: EdgeBatch) -> Option<(usize, Message)> {
        match job_of(&mut self.jobs, &batch) {
            Some(job) => job.sweeps.push_back((from, batch)),
            None => return Some((from, Message::EdgesApplied(batch))), // dropped since
        }
        None
    }

    /// An owner has taken in the edges of one of our batches, or of a part that we handed on, or has swept: then the one whose
    /// batch it was may have to be told.
    pub fn applied(&mut self, batch: EdgeBatch, mut send: impl FnMut(usize, Message)) {
        if let Some((to, message)) = self.take_answer(batch, &mut send) {
            send(to, message);
        }
    }

    fn take_answer(&mut self, batch: EdgeBatch, send: &mut impl FnMut(usize, Message)) -> Option<(usize, Message)> {
        let job = job_of(&mut self.jobs, &batch)?;
        if let Some(sent) = job.sent.iter_mut().find(|sent| sent.number == batch.number) {
            sent.answers_missing -= 1;
            job.finish_batches();
            return None;
        }
        if job.answer_sweep(batch.number) || job.answer_flush(self.shard, batch.number, send) {
            return None;
        }
        let place = job.relays.iter().position(|relay| relay.number == batch.number)?;
        job.relays[place].answers_missing -= 1;
        if job.relays[place].answers_missing > 0 {
            return None;
        }
        let Relay { from, batch, .. } = job.relays.swap_remove(place);
        if from == self.shard {
            job.answer_sweep(batch.number);
            return None;
        }
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

    /// One small step: takes in one batch of edges, sweeps a few lists, or inserts one row. False when there is nothing to do now.
    pub fn step(&mut self, mut send: impl FnMut(usize, Message)) -> bool {
        if let Some((from, batch, edges)) = self.inbox.pop_front() {
            self.apply(from, batch, &edges, &mut send);
            return true;
        }
        // What edges came before a sweep are applied by now.
        self.reclaim(&mut send);
        if self.compact(Pace::Pressing) {
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
        let _pin = job.collection.region.pin();
        job.indexer.apply(index.space(), edges, &mut job.relayed);
        if job.relayed.is_empty() {
            return send(from, Message::EdgesApplied(batch));
        }
        let (number, answers_missing) = job.send_edges(true, send);
        job.relays.push(Relay { number, answers_missing, from, batch });
    }

    fn step_job(&mut self, which: usize, send: &mut impl FnMut(usize, Message)) -> bool {
        let job = &mut self.jobs[which];
        if job.next == job.batch_end
            && ((job.may_send_left() && job.send_left(send)) || job.step_sweep(self.shard, send))
        {
            return true;
        }
        if job.next == job.batch_end
            && (job.round.is_some()
                || (!self.paused && !self.holds_back && job.begin_round(self.shard, self.shards, &self.bulk, send)))
        {
            let worked = self.step_round(which, send);
            self.metrics.rows_indexed.add(std::mem::take(&mut self.jobs[which].rows_indexed));
            return worked;
        }
        let job = &mut self.jobs[which];
        if job.next == job.batch_end
            && (self.paused
                || job.sent.len() >= limits::INDEX_BATCHES_IN_FLIGHT
                || !job.begin_batch(self.shard, &self.partition, self.holds_back))
        {
            return false;
        }
        if let Some(slot) = job.next_live(self.shard, &self.partition, self.holds_back) {
            job.encode_next(self.shard, slot, &self.partition);
            job.insert(self.shard, slot);
            self.metrics.rows_indexed.add(1);
        }
        if job.next == job.batch_end {
            job.send_batch(send);
        }
        true
    }
}

impl Job {
    /// Chooses how many rows come next: more when more are waiting, so that an idle server takes a row in at once and a
    /// flooded one spares exchanges. False when none are waiting, or the next is held back.
    fn begin_batch(&mut self, shard: usize, partition: &Rc<RefCell<Partition>>, holds_back: bool) -> bool {
        let region = &self.collection.region;
        let published = region.published(shard);
        let backlog = published.saturating_sub(self.next);
        if backlog == 0 || self.collection.is_flat() {
            return false;
        }
        if holds_back
            && let Ok(member) = partition.borrow().member(self.collection.spec.id)
            && let Some((ordinal, slot)) = member.writer.locate(self.next)
            && region.is_live(region.row(shard, slot))
            && is_young(member, ordinal, published)
        {
            return false;
        }
        // Rows of one batch do not see those that other shards insert meanwhile: a batch stays small beside the graph. A
        // shard's first rows would otherwise be linked to next to nothing, and be found from next to nowhere for ever.
        let nodes = self.collection.vectors[self.vector].graph().nodes();
        let rows_max = nodes / u64::from(limits::INDEX_BATCH_FRACTION);
        let rows_max = rows_max.clamp(1, u64::from(limits::INDEX_BATCH_ROWS_MAX));
        let rows = (backlog / 8).clamp(1, rows_max);
        self.batch_end = self.next + rows;
        probes::index_batch_begin(shard, self.collection.spec.id, self.vector, self.batch_end, rows, backlog);
        true
    }

    /// Passes over rows that were replaced or deleted before their turn came: they never enter the graph. Slot of the next that
    /// lives; None where the batch is over, or for now.
    fn next_live(&mut self, shard: usize, partition: &Rc<RefCell<Partition>>, holds_back: bool) -> Option<u32> {
        let (region, graph) = (&self.collection.region, self.indexer.graph());
        let partition = partition.borrow();
        let Ok(member) = partition.member(self.collection.spec.id) else {
            self.next = self.batch_end; // dropped since
            return None;
        };
        let published = region.published(shard);
        let mut passed = 0;
        while passed < SKIP_ROWS {
            let Some((ordinal, slot)) = member.writer.locate(self.next).filter(|found| found.0 < published) else {
                self.next = self.batch_end.max(self.next);
                return None;
            };
            // Chunks that are gone take no part in the batch.
            self.batch_end = self.batch_end.max(ordinal + 1);
            self.next = ordinal;
            let of_chunk = CHUNK_ROWS - slot % CHUNK_ROWS;
            let rows = (published - ordinal).min(SKIP_ROWS - passed).min(u64::from(of_chunk)) as u32;
            // Rows of higher layers are there already where a bulk round was refused.
            let is_passed = |row: u32| !region.is_live(row) || graph.contains(row);
            let is_dead = |slot: &u32| is_passed(region.row(shard, *slot));
            let dead = (slot..slot + rows).take_while(is_dead).count() as u64;
            if dead == 0 {
                if holds_back && is_young(member, ordinal, published) {
                    self.batch_end = self.next;
                    return None;
                }
                return Some(slot);
            }
            passed += dead;
            self.next += dead;
            // Dead rows cost next to nothing: they do not count as rows of the batch.
            self.batch_end = (self.batch_end + dead).min(published);
            if self.next == self.batch_end {
                return None;
            }
        }
        None
    }

    /// Makes sure that the code of the next row is there; the first to need one trains the scale, on rows of all shards.
    fn encode_next(&mut self, shard: usize, slot: u32, partition: &Rc<RefCell<Partition>>) {
        let index = &self.collection.vectors[self.vector];
        if !index.coded.uses_codes() {
            return;
        }
        if !index.scale.is_trained() {
            index.coded.train(limits::TRAIN_ROWS_MAX);
        }
        let region = &self.collection.region;
        if !region.has_code(self.vector, region.row(shard, slot)) {
            let mut partition = partition.borrow_mut();
            let member = partition.member_mut(self.collection.spec.id).expect("its row was located");
            // What is filled in, not only what is published: rows filled into the chunk from then on get their codes at once.
            member.writer.encode(self.vector, slot / CHUNK_ROWS);
        }
    }

    fn insert(&mut self, shard: usize, slot: u32) {
        let index = &self.collection.vectors[self.vector];
        let region = &self.collection.region;
        let _pin = region.pin();
        self.indexer.insert(index.space(), region.row(shard, slot), &mut self.outbox);
        self.next += 1;
    }

    fn send_batch(&mut self, send: &mut impl FnMut(usize, Message)) {
        let (number, answers_missing) = self.send_edges(false, send);
        let shard = self.indexer.shard();
        probes::index_batch_sent(shard, self.collection.spec.id, self.vector, self.next, answers_missing);
        self.sent.push_back(Sent { number, answers_missing, end: self.next });
        self.finish_batches();
    }

    /// Sends edges that belong to no batch: of rows that were linked anew, or inserted for a round that was refused. False when
    /// there are none.
    fn send_left(&mut self, send: &mut impl FnMut(usize, Message)) -> bool {
        if self.outbox.is_empty() {
            return false;
        }
        let (number, answers_missing) = self.send_edges(false, send);
        self.sent.push_back(Sent { number, answers_missing, end: self.next });
        true
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
        let is_swept = self.sweeps.is_empty() && self.own_sweep.is_none();
        let is_through = self.next == self.batch_end && self.round.is_none() && self.later.is_empty();
        let is_sent = self.outbox.is_empty() && self.sent.is_empty();
        is_sent && self.relays.is_empty() && is_through && is_swept
    }

    fn finish_batches(&mut self) {
        while self.sent.front().is_some_and(|sent| sent.answers_missing == 0) {
            let sent = self.sent.pop_front().expect("checked");
            let (shard, graph) = (self.indexer.shard(), self.indexer.graph());
            if sent.end > graph.indexed(shard) {
                self.indexer.set_indexed(sent.end);
                probes::index_batch_end(shard, self.collection.spec.id, self.vector, sent.end);
            }
        }
    }
}

/// Whether a row may well be replaced soon: it is no older than others were when they were.
fn is_young(member: &Member, ordinal: u64, published: u64) -> bool {
    // A quarter more than the average, so that rows whose turn comes regularly do not get there.
    let lifetime = member.writer.lifetime().map(|lifetime| lifetime + lifetime / 4);
    lifetime.is_some_and(|lifetime| lifetime <= HOLD_BACK_ROWS && published - ordinal <= lifetime)
}

fn job_of<'a>(jobs: &'a mut [Job], batch: &EdgeBatch) -> Option<&'a mut Job> {
    let vector = usize::from(batch.vector);
    jobs.iter_mut().find(|job| job.collection.spec.id == batch.collection && job.vector == vector)
}

#[cfg(test)]
mod tests;
