//! What a reader sees: the published length of every shard at one moment.

use crate::limits::SHARDS_MAX;

/// A moment of a collection. Rows published later are not in it, and rows that were replaced later still are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    lens: [u32; SHARDS_MAX],
    shards: usize,
}

impl View {
    /// Takes the length of each shard in turn.
    pub(super) fn new(shards: usize, len: impl Fn(usize) -> u32) -> View {
        assert!(shards > 0 && shards <= SHARDS_MAX);
        let mut lens = [0; SHARDS_MAX];
        lens[..shards].iter_mut().enumerate().for_each(|(shard, slot)| *slot = len(shard));
        View { lens, shards }
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Slots of a shard that lie in the view.
    #[inline]
    pub fn len(&self, shard: usize) -> u32 {
        assert!(shard < self.shards, "shard {shard} of {}", self.shards);
        self.lens[shard]
    }

    /// Slots of all shards.
    pub fn total(&self) -> u64 {
        self.lens[..self.shards].iter().map(|&len| u64::from(len)).sum()
    }

    /// Whether there is no slot at all.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }
}
