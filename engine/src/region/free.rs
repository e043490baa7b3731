//! Chunks that hold no rows: which have memory behind them, and how many of those are kept.
//!
//! Fresh memory is slow to get: every page is cleared, and taken from the host first where there is one. So the memory of dead rows
//! is kept for rows to come, as long as it was needed within the last second, and what a growing shard is going to need is
//! asked for before (`prefault`).

use std::collections::VecDeque;

/// Most chunks that are asked for ahead, and how many of those in use there have to be for each.
const AHEAD_MAX: usize = 8;
const IN_USE_FOR_ONE: usize = 4;

/// The chunks of one shard that hold no rows.
#[derive(Default)]
pub(super) struct FreeChunks {
    /// With memory behind them, or about to have it; the back was used last and is taken first.
    warm: VecDeque<u32>,
    /// Without.
    bare: Vec<u32>,
    /// Fewest warm ones since the last beat: so many were not needed.
    spare: usize,
    /// Chunks taken since the last beat, and in the one before.
    taken: usize,
    taken_before: usize,
}

impl FreeChunks {
    /// A chunk to be filled: one with memory if there is any.
    pub fn take(&mut self) -> Option<u32> {
        self.taken += 1;
        let chunk = self.warm.pop_back();
        self.spare = self.spare.min(self.warm.len());
        chunk.or_else(|| self.bare.pop())
    }

    /// Takes a chunk back whose rows have gone.
    pub fn put(&mut self, chunk: u32) {
        self.warm.push_back(chunk);
    }

    /// A chunk without memory.
    pub fn take_bare(&mut self) -> Option<u32> {
        self.bare.pop()
    }

    /// Takes a chunk in that has no memory.
    pub fn put_bare(&mut self, chunk: u32) {
        self.bare.push(chunk);
    }

    /// Takes a chunk in that is about to get memory.
    pub fn put_ahead(&mut self, chunk: u32) {
        self.warm.push_front(chunk);
    }

    /// Removes a chunk that has no memory, wherever it is.
    pub fn remove_bare(&mut self, chunk: u32) {
        self.bare.retain(|&bare| bare != chunk);
    }

    /// Chunks with memory.
    pub fn warm(&self) -> usize {
        self.warm.len()
    }

    /// How many more chunks should have memory, of a shard that has so many in use: as many as a second takes at this rate, or did
    /// in the one before, and never much beside what is there.
    pub fn wanted_ahead(&self, in_use: usize) -> usize {
        let wanted = self.taken.max(self.taken_before).min(in_use / IN_USE_FOR_ONE).min(AHEAD_MAX);
        wanted.saturating_sub(self.warm.len())
    }

    /// To be called once a second: half of the chunks that were not needed in the last, rounded up, whose memory is to be
    /// given back. They are bare from now on.
    pub fn beat(&mut self) -> Vec<u32> {
        let given_back = self.warm.drain(..self.spare.min(self.warm.len()).div_ceil(2)).collect::<Vec<_>>();
        self.bare.extend(&given_back);
        self.spare = self.warm.len();
        self.taken_before = std::mem::take(&mut self.taken);
        given_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_used_every_second_is_kept_and_other_memory_goes() {
        let mut free = FreeChunks::default();
        (0..40).for_each(|chunk| free.put(chunk));
        assert!(free.beat().is_empty(), "they have just come");
        for _ in 0..5 {
            let taken: Vec<u32> = (0..30).map(|_| free.take().expect("there are more")).collect();
            taken.into_iter().for_each(|chunk| free.put(chunk));
            free.beat();
        }
        assert!((30..=31).contains(&free.warm()), "{} of 40 are kept where 30 are used", free.warm());
        let beats = std::iter::repeat_with(|| free.beat().len()).take_while(|&given_back| given_back > 0).count();
        assert!(beats <= 6 && free.warm() == 0, "{} are left after {beats} beats", free.warm());
        assert!(free.take().is_some(), "bare ones are used when there is nothing else");
    }

    #[test]
    fn what_is_ahead_follows_the_rate_and_the_size() {
        let mut free = FreeChunks::default();
        assert_eq!(free.wanted_ahead(100), 0, "nothing is written");
        (0..6).for_each(|chunk| free.put_bare(chunk));
        (0..5).for_each(|_| _ = free.take());
        assert_eq!(free.wanted_ahead(100), 5, "as many as were taken");
        assert_eq!(free.wanted_ahead(8), 2, "a quarter of those in use");
        free.put_ahead(7);
        assert_eq!(free.wanted_ahead(100), 4);
        free.beat();
        assert_eq!(free.wanted_ahead(100), 4, "as in the second before");
        free.beat();
        assert_eq!(free.wanted_ahead(100), 0);
        assert_eq!((free.warm(), free.take()), (0, Some(7)), "given back: it was not needed");
    }
}
