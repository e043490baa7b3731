//! How chunks of dead rows come to be filled again: out of the graphs, out of the reach of readers, back to the writer.
//!
//! ```text
//! dead ──────────────────────────────────────────────► retired ──► recycled
//!   └ has nodes ► leaving ► every owner has swept ──────┘    readers gone, nodes taken out
//! ```
//! Chunks that no graph holds anything of (their rows were replaced before their turn came, as in a flood) take the short way. The
//! chunk of a graph's root stays.

use super::{EdgeBatch, Indexing, Job, Message, OwnSweep, Relay, SWEEP_SLOTS};

/// A sweep goes over the whole graph: at least one chunk in so many of those in use is to come free by it,
const CHUNKS_PART: usize = 8;
/// and one row for so many nodes.
const NODES_PART: u64 = 8;
/// In idle time, when no more chunks are about to die, it is to be one chunk in so many.
const IDLE_CHUNKS_PART: usize = 16;

/// The chunks of one collection that are on their way.
pub(super) struct Reclaim {
    pub collection: u32,
    /// Dead, and with nodes.
    dead: Vec<u32>,
    /// Dead, and being swept for.
    leaving: Vec<u32>,
    /// They are to be swept for though they are few.
    is_due: bool,
}

impl Indexing {
    /// Moves every chunk on that can be.
    pub(super) fn reclaim(&mut self, send: &mut impl FnMut(usize, Message)) {
        for collection in self.partition.borrow_mut().take_reclaimable() {
            if !self.reclaims.iter().any(|reclaim| reclaim.collection == collection) {
                self.reclaims.push(Reclaim { collection, dead: Vec::new(), leaving: Vec::new(), is_due: false });
            }
        }
        for which in (0..self.reclaims.len()).rev() {
            if self.is_in_round(self.reclaims[which].collection) {
                continue;
            }
            self.take_dead(which);
            self.finish_sweep(which);
            self.begin_sweep(which, send);
            if !self.recycle(which) && self.reclaims[which].dead.is_empty() && self.reclaims[which].leaving.is_empty() {
                self.reclaims.swap_remove(which);
            }
        }
    }

    /// Has dead chunks swept for that wait for more to die, while the shard has nothing else to do. True if there are any of which that was
    /// not said yet.
    pub(super) fn reclaim_few(&mut self) -> bool {
        let partition = self.partition.borrow();
        let mut is_new = false;
        for reclaim in self.reclaims.iter_mut().filter(|reclaim| !reclaim.is_due && reclaim.leaving.is_empty()) {
            let Ok(member) = partition.member(reclaim.collection) else { continue };
            let chunks_min = (member.writer.chunks() / IDLE_CHUNKS_PART).max(1);
            reclaim.is_due = reclaim.dead.len() >= chunks_min;
            is_new |= reclaim.is_due;
        }
        is_new
    }

    /// Sorts chunks that have died: those without nodes are retired at once.
    fn take_dead(&mut self, which: usize) {
        let reclaim = &mut self.reclaims[which];
        let mut partition = self.partition.borrow_mut();
        let Ok(member) = partition.member_mut(reclaim.collection) else { return };
        for chunk in member.writer.take_dead() {
            let graphs = member.collection.vectors.iter().map(|index| index.graph());
            let with_nodes: Vec<_> = graphs.filter(|graph| graph.has_nodes(self.shard, chunk)).collect();
            if with_nodes.is_empty() {
                member.writer.retire(chunk);
                self.metrics.chunks_reclaimed.add(1);
            } else if !with_nodes.iter().any(|graph| graph.holds_root(self.shard, chunk)) {
                reclaim.dead.push(chunk);
            }
        }
    }

    /// Marks the nodes of dead chunks and asks every owner to sweep, where that is worth while.
    fn begin_sweep(&mut self, which: usize, send: &mut impl FnMut(usize, Message)) {
        let reclaim = &mut self.reclaims[which];
        let partition = self.partition.borrow();
        let Ok(member) = partition.member(reclaim.collection) else { return };
        let jobs = || self.jobs.iter().filter(|job| job.collection.spec.id == reclaim.collection);
        let nodes = jobs().map(|job| job.indexer.graph().nodes()).max().unwrap_or(0);
        let rows = reclaim.dead.len() as u64 * u64::from(crate::hnsw::BLOCK_ROWS);
        let is_worth_it =
            reclaim.dead.len() >= (member.writer.chunks() / CHUNKS_PART).max(1) && rows * NODES_PART >= nodes;
        let is_wanted = is_worth_it || reclaim.is_due;
        if self.paused || !reclaim.leaving.is_empty() || reclaim.dead.is_empty() || !is_wanted {
            return;
        }
        // All edges of their nodes have to be in: a late one could not be told from one to the row that comes after.
        let indexed = jobs().map(|job| job.indexer.graph().indexed(self.shard)).min().unwrap_or(0);
        let is_indexed = |chunk: &u32| member.writer.end_of(*chunk).is_some_and(|end| end <= indexed);
        (reclaim.leaving, reclaim.dead) = reclaim.dead.iter().partition(|chunk| is_indexed(chunk));
        if reclaim.leaving.is_empty() {
            return;
        }
        reclaim.is_due = false;
        for job in self.jobs.iter_mut().filter(|job| job.collection.spec.id == reclaim.collection) {
            reclaim.leaving.iter().for_each(|&chunk| job.indexer.leave(chunk));
            job.begin_sweep(self.shard, self.shards, send);
        }
    }

    /// Retires chunks that every owner has swept for.
    fn finish_sweep(&mut self, which: usize) {
        let reclaim = &mut self.reclaims[which];
        let mut jobs = self.jobs.iter_mut().filter(|job| job.collection.spec.id == reclaim.collection);
        let is_swept = jobs.all(|job| job.own_sweep.as_ref().is_none_or(|sweep| sweep.answers_missing == 0));
        if reclaim.leaving.is_empty() || !is_swept {
            return;
        }
        for job in self.jobs.iter_mut().filter(|job| job.collection.spec.id == reclaim.collection) {
            job.own_sweep = None;
            job.indexer.cut_off();
        }
        let mut partition = self.partition.borrow_mut();
        let chunks = std::mem::take(&mut reclaim.leaving);
        let Ok(member) = partition.member_mut(reclaim.collection) else { return };
        for chunk in chunks {
            member.writer.retire(chunk);
            self.metrics.chunks_reclaimed.add(1);
        }
    }

    /// Takes the nodes of retired chunks out whose readers have gone, and gives the chunks back. True while some are left.
    fn recycle(&mut self, which: usize) -> bool {
        let reclaim = &self.reclaims[which];
        let mut partition = self.partition.borrow_mut();
        let Ok(member) = partition.member_mut(reclaim.collection) else { return false };
        while let Some(chunk) = member.writer.recycle() {
            for job in self.jobs.iter_mut().filter(|job| job.collection.spec.id == reclaim.collection) {
                job.indexer.take_out(chunk);
            }
        }
        member.writer.has_retired()
    }
}

impl Job {
    fn begin_sweep(&mut self, shard: usize, shards: usize, send: &mut impl FnMut(usize, Message)) {
        debug_assert!(self.own_sweep.is_none());
        self.batches += 1;
        let batch = EdgeBatch { collection: self.collection.spec.id, vector: self.vector as u16, number: self.batches };
        self.own_sweep = Some(OwnSweep { number: batch.number, answers_missing: shards });
        self.sweeps.push_back((shard, batch));
        for other in (0..shards).filter(|&other| other != shard) {
            send(other, Message::Sweep(batch));
        }
    }

    /// An owner has swept for us. False when the number is of something else.
    pub(super) fn answer_sweep(&mut self, number: u64) -> bool {
        let Some(sweep) = self.own_sweep.as_mut().filter(|sweep| sweep.number == number) else { return false };
        sweep.answers_missing -= 1;
        true
    }

    /// Goes on with the oldest sweep; false when there is none. Rows are not inserted meanwhile: an edge that was made before the
    /// sweep is sent before it ends.
    pub(super) fn step_sweep(&mut self, shard: usize, send: &mut impl FnMut(usize, Message)) -> bool {
        let Some(&(from, batch)) = self.sweeps.front() else { return false };
        let (start, slots) = (self.sweep_next, self.indexer.slots());
        self.sweep_next = slots.min(start + SWEEP_SLOTS);
        {
            let _pin = self.collection.region.pin();
            let space = self.collection.vectors[self.vector].space();
            self.indexer.sweep(space, start..self.sweep_next, &mut self.relayed);
        }
        if self.sweep_next < slots {
            return true;
        }
        self.sweeps.pop_front();
        self.sweep_next = 0;
        if !self.relayed.is_empty() {
            let (number, answers_missing) = self.send_edges(true, send);
            self.relays.push(Relay { number, answers_missing, from, batch });
        } else if from == shard {
            self.answer_sweep(batch.number);
        } else {
            send(from, Message::EdgesApplied(batch));
        }
        true
    }
}
