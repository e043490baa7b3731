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
    /// With the memory of rows that have gone; the back was used last and is taken first.
    warm: Vec<u32>,
    /// With memory that no row was in yet, or about to have it.
    ahead: VecDeque<u32>,
    /// Without memory.
    bare: Vec<u32>,
    /// Fewest with memory since the last beat: so many were not needed.
    spare: usize,
    /// Chunks taken that were not warm, since the last beat and in the one before: how the shard grows.
    grown: usize,
    grown_before: usize,
}

impl FreeChunks {
    /// A chunk to be filled: one with memory if there is any. None where one has to be made.
    pub fn take(&mut self) -> Option<u32> {
        let warm = self.warm.pop();
        self.grown += usize::from(warm.is_none());
        let chunk = warm.or_else(|| self.ahead.pop_front());
        self.spare = self.spare.min(self.with_memory());
        chunk.or_else(|| self.bare.pop())
    }

    /// Takes a chunk back whose rows have gone.
    pub fn put(&mut self, chunk: u32) {
        self.warm.push(chunk);
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
        self.ahead.push_back(chunk);
    }

    /// Removes a chunk that has no memory, wherever it is.
    pub fn remove_bare(&mut self, chunk: u32) {
        self.bare.retain(|&bare| bare != chunk);
    }

    /// Chunks with memory.
    pub fn with_memory(&self) -> usize {
        self.warm.len() + self.ahead.len()
    }

    /// How many more chunks should have memory, of a shard that has so many in use: as many as it has grown by since the last beat,
    /// or did in the one before, and never much beside what is there.
    pub fn wanted_ahead(&self, in_use: usize) -> usize {
        let wanted = self.grown.max(self.grown_before).min(in_use / IN_USE_FOR_ONE).min(AHEAD_MAX);
        wanted.saturating_sub(self.with_memory())
    }

    /// To be called once a second: half of the chunks that were not needed in the last, rounded up, whose memory is to be
    /// given back. They are bare from now on.
    pub fn beat(&mut self) -> Vec<u32> {
        let count = self.spare.min(self.with_memory()).div_ceil(2);
        let of_ahead = count.min(self.ahead.len());
        let mut given_back: Vec<u32> = self.ahead.drain(self.ahead.len() - of_ahead..).collect();
        given_back.extend(self.warm.drain(..count - of_ahead));
        self.bare.extend(&given_back);
        self.spare = self.with_memory();
        self.grown_before = std::mem::take(&mut self.grown);
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
            assert_eq!(free.wanted_ahead(100), 0, "what comes back is enough");
            free.beat();
        }
        assert!((30..=31).contains(&free.with_memory()), "{} of 40 are kept where 30 are used", free.with_memory());
        let beats = std::iter::repeat_with(|| free.beat().len()).take_while(|&given_back| given_back > 0).count();
        assert!(beats <= 6 && free.with_memory() == 0, "{} are left after {beats} beats", free.with_memory());
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
        assert_eq!((free.with_memory(), free.take()), (0, Some(7)), "given back: it was not needed");
    }
}
