//! Which nodes a search has seen: one byte a row that holds the number of the search that saw it last, so that a new
//! search clears nothing but every 255th time.
//!
//! There is address space for every row id that there could be, memory for those that are: finding the byte of a row takes no more
//! than its id.

use std::sync::atomic::{AtomicU8, Ordering};

use super::Graph;
use super::links::Span;

/// Rows seen by the current search.
#[derive(Default)]
pub(super) struct Visited {
    /// By row id, for graphs of one shape; None before the first search.
    marks: Option<Span<AtomicU8>>,
    row_bits: u32,
    /// Per shard: slots from here on were never marked.
    used: Vec<u32>,
    epoch: u8,
}

impl Visited {
    /// Forgets everything, for a search of `graph`.
    ///
    /// # Panics
    /// If the operating system refuses the address space, as when it refuses memory.
    pub fn reset(&mut self, graph: &Graph) {
        if self.marks.is_none() || self.used.len() != graph.shards() || self.row_bits != graph.row_bits() {
            let marks = Span::reserve(graph.shards() << graph.row_bits());
            let used = vec![0; graph.shards()];
            *self = Visited { marks: Some(marks.expect("address space")), row_bits: graph.row_bits(), used, epoch: 0 };
        }
        if self.epoch == u8::MAX {
            for (shard, &used) in self.used.iter().enumerate() {
                let marks = &self.marks()[shard << self.row_bits..][..used as usize];
                marks.iter().for_each(|mark| mark.store(0, Ordering::Relaxed));
            }
            self.epoch = 0;
        }
        self.epoch += 1;
    }

    fn marks(&self) -> &[AtomicU8] {
        self.marks.as_ref().expect("reset comes first")
    }

    /// What the search marks rows in.
    #[inline(always)]
    pub fn seen(&self) -> Seen<'_> {
        Seen { marks: self.marks(), epoch: self.epoch }
    }

    /// Keeps in mind, after a search of `graph`, which rows it can have marked.
    pub fn note_used(&mut self, graph: &Graph) {
        for (shard, used) in self.used.iter_mut().enumerate() {
            *used = graph.used(shard).max(*used);
        }
    }
}

/// The rows that the current search has seen.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// Atomic because the memory is shared by its type; one thread uses it.
    marks: &'a [AtomicU8],
    epoch: u8,
}

impl Seen<'_> {
    /// Marks a row; true when it was not marked before.
    #[inline(always)]
    pub fn insert(self, row: u32) -> bool {
        let mark = &self.marks[row as usize];
        let new = mark.load(Ordering::Relaxed) != self.epoch;
        mark.store(self.epoch, Ordering::Relaxed);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::super::GraphParams;
    use super::*;

    #[test]
    fn forgets_at_every_reset_and_grows() {
        let mut visited = Visited::default();
        let graph = Graph::new(GraphParams::default(), 2, 12).unwrap();
        for round in 0..1_000u32 {
            // A row that no search before has marked.
            let newest = 2 + round * 4;
            graph.reserve(newest, 0);
            visited.reset(&graph);
            for row in [0, 1, newest, 4_096, 4_195] {
                graph.reserve(row, 0);
                assert!(visited.seen().insert(row), "round {round} row {row}");
                assert!(!visited.seen().insert(row));
            }
            // Marked once, by the search that had this one's number before.
            if let Some(before) = round.checked_sub(u32::from(u8::MAX)) {
                assert!(visited.seen().insert(2 + before * 4), "round {round}");
            }
            visited.note_used(&graph);
        }
        let other = Graph::new(GraphParams::default(), 1, 31).unwrap();
        visited.reset(&other);
        assert!(visited.seen().insert(9) && visited.seen().insert(i32::MAX as u32));
    }
}
