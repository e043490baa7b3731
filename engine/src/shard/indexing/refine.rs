//! Linking rows anew while the shard has nothing else to do (`hnsw/refine.rs`).
//!
//! A pass goes over all nodes of a shard, row by row. One begins when at least one in [`limits::REFINE_PART`] of them has come since
//! the last: so a graph that grows row by row costs a bounded number of passes a row, and one that was built in bulk gets its pass as
//! soon as the shard is idle. What the graph file keeps says whether it had one, so a restart repeats at most the one that was under
//! way.

use super::{Indexing, Job, Message};
use crate::limits;

/// A pass of one graph of one shard.
pub(super) struct Refinement {
    /// Slot that comes next.
    next: u32,
    /// Nodes that had come when it began.
    before: u32,
    /// Rows since edges were sent.
    unsent: u64,
}

impl Indexing {
    /// Whether there are rows to be linked anew in idle time.
    pub fn has_unrefined(&self) -> bool {
        self.jobs.iter().any(|job| job.wants_refinement(self.shard))
    }

    /// Links some rows anew, if there are some that may be now. To be called when the shard has nothing else to do.
    pub fn refine(&mut self, mut send: impl FnMut(usize, Message)) -> bool {
        if self.paused || self.holds_back || !self.inbox.is_empty() {
            return false;
        }
        let shard = self.shard;
        let Some(job) = self.jobs.iter_mut().find(|job| job.wants_refinement(shard) && job.may_refine()) else {
            return false;
        };
        self.metrics.rows_refined.add(job.refine(shard, &mut send));
        true
    }
}

impl Job {
    fn wants_refinement(&self, shard: usize) -> bool {
        self.refinement.is_some() || self.indexer.graph().is_to_be_refined(shard)
    }

    /// Nothing else goes on with the graph here, and no row waits for it anywhere. Vectors that lie on a disk are not read.
    fn may_refine(&self) -> bool {
        let (region, graph) = (&self.collection.region, self.indexer.graph());
        let is_on_disk = region.schema().vectors()[self.vector].on_disk;
        self.next == self.batch_end
            && (0..region.shards()).all(|shard| region.published(shard) <= graph.indexed(shard))
            && self.round.is_none()
            && self.later.is_empty()
            && self.sweeps.is_empty()
            && self.sent.len() < limits::INDEX_BATCHES_IN_FLIGHT
            && (!is_on_disk || self.collection.vectors[self.vector].traverses_codes())
    }

    /// Goes on with the pass, or begins one. Returns the number of rows that were linked anew.
    fn refine(&mut self, shard: usize, send: &mut impl FnMut(usize, Message)) -> u64 {
        let region = &self.collection.region;
        let graph = self.indexer.graph().clone();
        let begin = || Refinement { next: 0, before: graph.unrefined(shard), unsent: 0 };
        let pass = self.refinement.get_or_insert_with(begin);
        let (slots, mut refined) = (self.indexer.slots(), 0);
        {
            let _pin = region.pin();
            let space = self.collection.vectors[self.vector].space();
            let end = slots.min(pass.next + limits::REFINE_SLOTS_MAX);
            while pass.next < end && refined < limits::REFINE_ROWS_MAX {
                let row = region.row(shard, pass.next);
                if graph.stays(row) && region.is_live(row) {
                    self.indexer.refine(space, row, &mut self.outbox);
                    refined += 1;
                }
                pass.next += 1;
            }
        }
        pass.unsent += refined;
        if pass.next >= slots {
            self.indexer.set_refined(pass.before);
            self.refinement = None;
            self.send_left(send);
        } else if pass.unsent >= limits::REFINE_BATCH_ROWS {
            pass.unsent = 0;
            self.send_left(send);
        }
        refined
    }
}
