//! Bulk rounds: when many rows wait, all shards take theirs into a graph together (`hnsw/bulk.rs`).
//!
//! ```text
//! shard 0 begins ──► all gather their rows, and insert those that reach higher layers ──► the round ──► all rows indexed
//!                └─► one is being snapshotted and refuses: everybody forgets the round, rows wait as before
//! ```
//! A shard that has said which rows it has takes part to the end; that all have said so is what a round waits for before it
//! changes anything. Chunks of a collection stay what they are while a round of it goes on.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{BulkMessage, EdgeBatch, Indexing, Job, Message};
use crate::heap;
use crate::hnsw::{Bulk, BulkPart, BulkRows, BulkStep};
use crate::limits;
use crate::region::Pin;

/// Time that is looked back on before a round.
pub(super) const BULK_CALM_MIN: Duration = Duration::from_millis(100);
/// A round begins when no more than one in so many of the rows that wait have come since.
const CALM_PART: u64 = 50;
/// Rows that are looked at in one step of gathering.
const GATHER_ROWS: usize = 256;
/// Rows of higher layers between two exchanges of their edges.
const BATCH_ROWS: usize = 32;

/// When rows are taken in in bulk.
pub(super) struct BulkWhen {
    /// So many wait, of all shards.
    pub rows_min: u64,
    /// Hardly any have come for so long: a round holds on to all chunks, which a flood would have to do without.
    pub calm_min: Duration,
}

/// A round, as one graph of one shard takes part in it.
pub(super) struct Round {
    number: u64,
    /// Whether codes are compared; the same in all shards, whatever is found out about codes in the meantime.
    codes: bool,
    /// What is left to be gathered; None until the batch before is through.
    ordinals: Option<Range<u64>>,
    rows: BulkRows,
    /// Rows that the round takes in.
    taken: u64,
    /// Rows inserted since edges were sent.
    unsent: usize,
    /// What was said before this shard was there.
    early: Vec<(usize, BulkPart)>,
    bulk: Option<Bulk>,
    /// Batch of edges that were handed on in the end, and owners that have not answered.
    flushing: Option<(u64, usize)>,
    /// Keeps the rows of all shards where they are.
    _pin: Pin,
}

impl Indexing {
    /// Takes in what a shard said of a bulk round.
    pub fn receive_bulk(
        &mut self,
        from: usize,
        id: EdgeBatch,
        message: BulkMessage,
        mut send: impl FnMut(usize, Message),
    ) {
        let (shard, shards, paused) = (self.shard, self.shards, self.paused);
        let Some(job) = super::job_of(&mut self.jobs, &id) else { return }; // dropped since
        if job.round.as_ref().is_some_and(|round| round.number < id.number) {
            // Others have heard of the end of a round that goes on here.
            job.later.push((from, id, message));
            return;
        }
        if id.number <= job.ended {
            return;
        }
        let (codes, part) = match message {
            BulkMessage::Refuse => {
                job.end_round(id.number);
                return self.receive_later(&mut send);
            }
            BulkMessage::Begin { codes } => (codes, None),
            BulkMessage::Part { codes, part } => (codes, Some(part)),
        };
        if job.round.is_none() && paused {
            job.end_round(id.number);
            let refuse = || Message::Bulk { round: id, message: BulkMessage::Refuse };
            (0..shards).filter(|&to| to != shard).for_each(|to| send(to, refuse()));
        } else {
            job.take_part(id.number, codes);
            let round = job.round.as_mut().expect("it takes part");
            match (part, &mut round.bulk) {
                (None, _) => (),
                (Some(part), Some(bulk)) => bulk.receive(from, part),
                (Some(part), None) => round.early.push((from, part)),
            }
        }
        self.receive_later(&mut send);
    }

    /// Takes in what was said of rounds that come after one that has ended.
    fn receive_later(&mut self, send: &mut impl FnMut(usize, Message)) {
        while let Some(job) = self.jobs.iter_mut().find(|job| job.round.is_none() && !job.later.is_empty()) {
            for (from, id, message) in std::mem::take(&mut job.later) {
                self.receive_bulk(from, id, message, &mut *send as &mut dyn FnMut(usize, Message));
            }
        }
    }

    /// A step of the round that a graph's shard takes part in. False when there is nothing to do now.
    pub(super) fn step_round(&mut self, which: usize, send: &mut impl FnMut(usize, Message)) -> bool {
        let worked = self.jobs[which].step_round(self.shard, self.shards, &self.partition, send);
        if self.jobs[which].round.is_none() {
            self.receive_later(send);
        }
        worked
    }

    /// Whether a round of a collection goes on.
    pub(super) fn is_in_round(&self, collection: u32) -> bool {
        self.jobs.iter().any(|job| job.collection.spec.id == collection && job.round.is_some())
    }
}

impl Job {
    /// Begins a round with all shards, if so many rows wait that it pays. Shard 0 does that.
    pub(super) fn begin_round(
        &mut self,
        shard: usize,
        shards: usize,
        when: &BulkWhen,
        send: &mut impl FnMut(usize, Message),
    ) -> bool {
        let index = &self.collection.vectors[self.vector];
        let (region, graph) = (&self.collection.region, index.graph());
        if shard != 0 || !index.space().has_tile() || self.collection.is_flat() {
            return false;
        }
        let published: u64 = (0..shards).map(|shard| region.published(shard)).sum();
        let waiting: u64 = (0..shards).map(|shard| region.published(shard).saturating_sub(graph.indexed(shard))).sum();
        if waiting < when.rows_min || graph.nodes() > waiting.min(limits::BULK_ROWS_MAX) {
            self.looked = None;
            return false;
        }
        let (since, before) = *self.looked.get_or_insert_with(|| (Instant::now(), published));
        if since.elapsed() < when.calm_min {
            return false;
        }
        self.looked = None;
        if (published - before) * CALM_PART > waiting {
            return false;
        }
        let number = self.ended + 1;
        let codes = index.traverses_codes();
        let round = EdgeBatch { collection: self.collection.spec.id, vector: self.vector as u16, number };
        (1..shards).for_each(|to| send(to, Message::Bulk { round, message: BulkMessage::Begin { codes } }));
        self.take_part(number, codes);
        true
    }

    fn take_part(&mut self, number: u64, codes: bool) {
        if self.round.is_none() {
            let pin = self.collection.region.pin();
            self.round = Some(Round {
                number,
                codes,
                ordinals: None,
                rows: BulkRows::default(),
                taken: 0,
                unsent: 0,
                early: Vec::new(),
                bulk: None,
                flushing: None,
                _pin: pin,
            });
        }
    }

    /// Whether edges of no batch are to be sent. A round gathers its first ones, unless there is a sweep that they have to go before,
    /// and counts all that come later.
    pub(super) fn may_send_left(&self) -> bool {
        self.round.as_ref().is_none_or(|round| round.bulk.is_none() && !self.sweeps.is_empty())
    }

    /// Forgets a round that is through, or was refused.
    fn end_round(&mut self, number: u64) {
        self.ended = number;
        self.round = None;
    }

    /// A step of the round that this shard takes part in. False when there is nothing to do now.
    pub(super) fn step_round(
        &mut self,
        shard: usize,
        shards: usize,
        partition: &super::Shared,
        send: &mut impl FnMut(usize, Message),
    ) -> bool {
        let round = self.round.as_mut().expect("there is one");
        if round.bulk.is_none() {
            let region = &self.collection.region;
            let rows_max = limits::BULK_ROWS_MAX / shards as u64;
            let end = region.published(shard).min(self.next + rows_max);
            if !round.ordinals.get_or_insert(self.next..end).is_empty() {
                self.gather(shard, partition, send);
                return true;
            }
            self.send_left(send);
            return self.sent.is_empty() && self.begin_bulk(shard, shards, send);
        }
        let bulk = round.bulk.as_mut().expect("checked");
        let space = self.collection.vectors[self.vector].space_of(round.codes);
        let mut said = Vec::new();
        let step = bulk.step(&mut self.indexer, space, &mut self.outbox, &mut |to, part| said.push((to, part)));
        self.say(shard, said, send);
        match step {
            BulkStep::Worked => true,
            BulkStep::Waits => false,
            BulkStep::Flush => {
                let (number, answers_missing) = self.send_edges(false, send);
                self.round.as_mut().expect("it goes on").flushing = Some((number, answers_missing));
                self.finish_flush(shard, send);
                true
            }
            BulkStep::Done => {
                let round = self.round.take().expect("it goes on");
                self.end_round(round.number);
                self.rows_indexed += round.taken;
                self.next = round.ordinals.expect("they were gathered").end;
                self.batch_end = self.next;
                self.indexer.set_indexed(self.next);
                heap::note_freed();
                true
            }
        }
    }

    /// Looks at some rows that wait: those that live are noted, or inserted where they reach higher layers.
    fn gather(&mut self, shard: usize, partition: &super::Shared, send: &mut impl FnMut(usize, Message)) {
        for _ in 0..GATHER_ROWS {
            let ordinals = self.round.as_mut().and_then(|round| round.ordinals.as_mut()).expect("gathering has begun");
            let located = {
                let partition = partition.borrow();
                let member = partition.member(self.collection.spec.id).ok();
                member.and_then(|member| member.writer.locate(ordinals.start)).filter(|found| found.0 < ordinals.end)
            };
            let Some((ordinal, slot)) = located else {
                ordinals.start = ordinals.end;
                return;
            };
            ordinals.start = ordinal + 1;
            let region = &self.collection.region;
            let row = region.row(shard, slot);
            let graph = self.indexer.graph();
            let takes = region.is_live(row) && !graph.contains(row);
            let is_first = graph.entry().is_none();
            if takes {
                self.encode_next(shard, slot, partition);
            }
            let round = self.round.as_mut().expect("there is one");
            if takes && (is_first || self.indexer.reaches_higher(row)) {
                let space = self.collection.vectors[self.vector].space_of(round.codes);
                self.indexer.insert(space, row, &mut self.outbox);
                self.rows_indexed += 1;
                round.unsent += 1;
                if round.unsent >= BATCH_ROWS {
                    round.unsent = 0;
                    self.send_left(send);
                }
                return;
            }
            if takes {
                round.rows.new.push(row);
            }
        }
    }

    /// Says which rows this shard has.
    fn begin_bulk(&mut self, shard: usize, shards: usize, send: &mut impl FnMut(usize, Message)) -> bool {
        let round = self.round.as_mut().expect("there is one");
        let mut rows = std::mem::take(&mut round.rows);
        round.taken = rows.new.len() as u64;
        let graph = self.indexer.graph();
        let region = &self.collection.region;
        rows.nodes =
            (0..self.indexer.slots()).map(|slot| region.row(shard, slot)).filter(|&row| graph.stays(row)).collect();
        let space = self.collection.vectors[self.vector].space_of(round.codes);
        let mut said = Vec::new();
        let bulk = Bulk::begin(space, shards, shard, rows, &mut |to, part| said.push((to, part)));
        let mut bulk = bulk.expect("a round begins where there is a tile kernel");
        round.early.drain(..).for_each(|(from, part)| bulk.receive(from, part));
        round.bulk = Some(bulk);
        self.say(shard, said, send);
        true
    }

    fn say(&mut self, shard: usize, said: Vec<(usize, BulkPart)>, send: &mut impl FnMut(usize, Message)) {
        let round = self.round.as_mut().expect("there is one");
        let (number, codes) = (round.number, round.codes);
        let id = EdgeBatch { collection: self.collection.spec.id, vector: self.vector as u16, number };
        for (to, part) in said {
            if to == shard {
                round.bulk.as_mut().expect("it speaks").receive(shard, part);
            } else {
                send(to, Message::Bulk { round: id, message: BulkMessage::Part { codes, part } });
            }
        }
    }

    /// An owner has taken in edges that were handed on. False when the number is of something else.
    pub(super) fn answer_flush(&mut self, shard: usize, number: u64, send: &mut impl FnMut(usize, Message)) -> bool {
        let flushing = self.round.as_mut().and_then(|round| round.flushing.as_mut());
        let Some(flushing) = flushing.filter(|flushing| flushing.0 == number) else { return false };
        flushing.1 -= 1;
        self.finish_flush(shard, send);
        true
    }

    fn finish_flush(&mut self, shard: usize, send: &mut impl FnMut(usize, Message)) {
        let round = self.round.as_mut().expect("there is one");
        if round.flushing.is_none_or(|flushing| flushing.1 > 0) {
            return;
        }
        round.flushing = None;
        let mut said = Vec::new();
        round.bulk.as_mut().expect("it goes on").flushed(&mut |to, part| said.push((to, part)));
        self.say(shard, said, send);
    }
}
