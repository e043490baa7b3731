//! What a reader sees: the published ordinals of every shard at one moment.

use super::pins::Pin;
use crate::limits::SHARDS_MAX;

/// A moment of a collection. Rows published later are not in it, and rows that were replaced later still are. As long as it is
/// held, the rows that it sees stay where they are.
#[derive(Clone, Debug)]
pub struct View {
    lens: [u64; SHARDS_MAX],
    shards: usize,
    pin: Pin,
}

impl View {
    /// Takes the length of each shard in turn. The pin was there before.
    pub(super) fn new(pin: Pin, shards: usize, len: impl Fn(usize) -> u64) -> View {
        assert!(shards > 0 && shards <= SHARDS_MAX);
        let mut lens = [0; SHARDS_MAX];
        lens[..shards].iter_mut().enumerate().for_each(|(shard, slot)| *slot = len(shard));
        View { lens, shards, pin }
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Ordinals of a shard that lie in the view.
    #[inline]
    pub fn len(&self, shard: usize) -> u64 {
        assert!(shard < self.shards, "shard {shard} of {}", self.shards);
        self.lens[shard]
    }

    /// The same, but for the rows of a shard from an ordinal on: those that they replaced are seen instead, as far as the view was there
    /// before these were used again.
    pub fn up_to(mut self, shard: usize, len: u64) -> View {
        self.lens[shard] = self.len(shard).min(len);
        self
    }

    /// Whether nothing was ever written.
    pub fn is_empty(&self) -> bool {
        self.lens[..self.shards].iter().all(|&len| len == 0)
    }

    /// What keeps its rows where they are.
    pub(super) fn pin(&self) -> &Pin {
        &self.pin
    }
}
