//! Which rows of a collection a condition is true of: a bit a row, chunk by chunk, kept from one query to the next.
//!
//! A mask of a chunk says of which rows it was made: the chunk's number, which no other rows ever have, and how many of them, from its
//! first one on. What is published does not change, so a mask is right for as long as the chunk has its number, and goes on to be
//! as rows come: they are looked at alone. Masks of one thread are its own; what a query was given stays as it was.

use std::sync::Arc;

use hashbrown::HashMap;

use super::evaluate::{MASK_ROWS, Mask};
use super::zones::Zones;
use crate::limits;

/// Number of a chunk that nothing is known of.
const UNKNOWN: u64 = u64::MAX;

/// The masks of one condition, of the chunks of all shards.
#[derive(Clone, Debug, Default)]
pub struct RowMasks {
    shards: Vec<ShardMasks>,
    count: u64,
}

#[derive(Clone, Debug, Default)]
struct ShardMasks {
    marks: Vec<Mark>,
    masks: Vec<Mask>,
}

/// What the mask of a chunk was made of.
#[derive(Clone, Copy, Debug)]
struct Mark {
    number: u64,
    /// Rows that were looked at, from the first one on.
    rows: u32,
    /// Those of them that passed.
    count: u32,
    /// Rows from the first one on of which none is seen by a view of `dead_at` ordinals of the shard, or more.
    dead_rows: u32,
    dead_at: u64,
}

impl Mark {
    const NONE: Mark = Mark { number: UNKNOWN, rows: 0, count: 0, dead_rows: 0, dead_at: 0 };
}

impl RowMasks {
    /// Of nothing yet.
    pub fn new(shards: usize) -> RowMasks {
        RowMasks { shards: vec![ShardMasks::default(); shards], count: 0 }
    }

    /// Makes room for so many chunks of a shard.
    pub fn grow(&mut self, shard: usize, chunks: usize) {
        let shard = &mut self.shards[shard];
        if shard.marks.len() < chunks {
            shard.marks.resize(chunks, Mark::NONE);
            shard.masks.resize(chunks, Mask::EMPTY);
        }
    }

    /// How many rows of a chunk with this number were looked at, from the first one on.
    #[inline]
    pub fn known(&self, shard: usize, chunk: usize, number: u64) -> u32 {
        self.shards[shard].marks.get(chunk).filter(|mark| mark.number == number).map_or(0, |mark| mark.rows)
    }

    /// Whether nothing is left to look at of the first `rows` rows of a chunk, for a view of `len` ordinals of the shard.
    #[inline]
    pub fn is_known(&self, shard: usize, chunk: usize, number: u64, rows: u32, len: u64) -> bool {
        let mark = self.shards[shard].marks.get(chunk).filter(|mark| mark.number == number);
        mark.is_some_and(|mark| mark.rows >= rows || (mark.dead_rows >= rows && len >= mark.dead_at))
    }

    /// The mask of a chunk.
    pub fn mask(&self, shard: usize, chunk: usize) -> &Mask {
        self.shards[shard].masks.get(chunk).unwrap_or(&Mask::EMPTY)
    }

    /// Adds what passes of rows from those that are known up to `rows`, of a chunk with this number.
    ///
    /// # Panics
    /// If the chunk has no room.
    pub fn extend(&mut self, shard: usize, chunk: usize, number: u64, rows: u32, passing: &Mask) {
        assert!(rows as usize <= MASK_ROWS && number != UNKNOWN);
        if self.known(shard, chunk, number) == 0 {
            self.forget(shard, chunk);
        }
        let ShardMasks { marks, masks } = &mut self.shards[shard];
        masks[chunk].add(passing);
        let count = masks[chunk].len();
        self.count += u64::from(count - marks[chunk].count);
        marks[chunk] = Mark { number, rows, count, ..Mark::NONE };
    }

    /// Takes back what was known of a chunk, since none of its first `rows` rows is seen by a view of `len` ordinals of the shard.
    /// What such a view does not see no later one does.
    ///
    /// # Panics
    /// If the chunk has no room.
    pub fn set_dead(&mut self, shard: usize, chunk: usize, number: u64, rows: u32, len: u64) {
        self.forget(shard, chunk);
        self.shards[shard].marks[chunk] = Mark { number, dead_rows: rows, dead_at: len, ..Mark::NONE };
    }

    fn forget(&mut self, shard: usize, chunk: usize) {
        let ShardMasks { marks, masks } = &mut self.shards[shard];
        self.count -= u64::from(marks[chunk].count);
        marks[chunk] = Mark::NONE;
        masks[chunk] = Mask::EMPTY;
    }

    /// Whether a slot of a shard is in the masks.
    #[inline(always)]
    pub fn contains(&self, shard: usize, slot: u32) -> bool {
        let mask = self.shards[shard].masks.get(slot as usize / MASK_ROWS);
        mask.is_some_and(|mask| mask.contains(slot as usize % MASK_ROWS))
    }

    /// Rows in all masks, dead ones too.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn bytes(&self) -> usize {
        let chunks: usize = self.shards.iter().map(|shard| shard.masks.capacity()).sum();
        chunks * (size_of::<Mask>() + size_of::<Mark>())
    }
}

/// The masks of one thread. What was asked for least lately goes first when there are too many.
#[derive(Debug)]
pub struct MaskCache {
    /// By collection, and key of a condition.
    collections: HashMap<u32, HashMap<Box<[u8]>, Kept>>,
    bytes: usize,
    bytes_max: usize,
    clock: u64,
    zones: Zones,
}

#[derive(Debug)]
struct Kept {
    masks: Arc<RowMasks>,
    bytes: usize,
    used_at: u64,
}

impl Default for MaskCache {
    fn default() -> MaskCache {
        MaskCache::with_bytes_max(limits::FILTER_MASKS_BYTES_MAX)
    }
}

impl MaskCache {
    /// Keeps nothing yet, and so many bytes at most.
    pub fn with_bytes_max(bytes_max: usize) -> MaskCache {
        MaskCache { collections: HashMap::new(), bytes: 0, bytes_max, clock: 0, zones: Zones::default() }
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes + self.zones.bytes()
    }

    /// Zones of chunks.
    pub fn zones(&mut self) -> &mut Zones {
        &mut self.zones
    }

    /// The masks of a condition.
    pub fn get(&mut self, collection: u32, key: &[u8]) -> Option<Arc<RowMasks>> {
        self.clock += 1;
        let kept = self.collections.get_mut(&collection)?.get_mut(key)?;
        kept.used_at = self.clock;
        Some(kept.masks.clone())
    }

    /// Takes the masks of a condition out, to be changed and given back.
    pub fn take(&mut self, collection: u32, key: &[u8]) -> Option<Arc<RowMasks>> {
        let kept = self.collections.get_mut(&collection)?.remove(key)?;
        self.bytes -= kept.bytes;
        Some(kept.masks)
    }

    /// Keeps the masks of a condition in place of what there is.
    pub fn put(&mut self, collection: u32, key: &[u8], masks: Arc<RowMasks>) {
        self.clock += 1;
        let bytes = masks.bytes() + key.len() + size_of::<Kept>() + size_of::<RowMasks>();
        if bytes > self.bytes_max {
            self.take(collection, key);
            return;
        }
        let kept = Kept { masks, bytes, used_at: self.clock };
        let before = self.collections.entry(collection).or_default().insert(key.into(), kept);
        self.bytes = self.bytes + bytes - before.map_or(0, |before| before.bytes);
        while self.bytes > self.bytes_max {
            self.drop_oldest();
        }
    }

    /// Lets go of the masks of a collection.
    pub fn remove(&mut self, collection: u32) {
        self.zones.remove(collection);
        let gone = self.collections.remove(&collection).unwrap_or_default();
        self.bytes -= gone.values().map(|kept| kept.bytes).sum::<usize>();
    }

    fn drop_oldest(&mut self) {
        let all =
            self.collections.iter().flat_map(|(id, kept)| kept.iter().map(move |(key, kept)| (kept.used_at, *id, key)));
        let (_, collection, key) = all.min_by_key(|&(used_at, ..)| used_at).expect("what takes memory is there");
        let key = key.clone();
        self.take(collection, &key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(chunks: usize) -> Arc<RowMasks> {
        let mut masks = RowMasks::new(1);
        masks.grow(0, chunks);
        Arc::new(masks)
    }

    #[test]
    fn a_mask_grows_with_its_chunk_and_goes_with_its_number() {
        let mut masks = RowMasks::new(2);
        masks.grow(1, 3);
        masks.extend(1, 2, 7, 10, &Mask::of(3..5));
        masks.extend(1, 2, 7, 20, &Mask::of(15..20));
        assert_eq!((masks.known(1, 2, 7), masks.known(1, 2, 8), masks.known(0, 2, 7)), (20, 0, 0));
        assert_eq!(masks.mask(1, 2).rows().collect::<Vec<_>>(), [3, 4, 15, 16, 17, 18, 19]);
        assert_eq!(masks.count(), 7);
        let slot = 2 * MASK_ROWS as u32;
        assert!(masks.contains(1, slot + 3) && !masks.contains(1, slot + 5) && !masks.contains(1, 5 * slot));
        masks.set_dead(1, 2, 7, 20, 500);
        assert_eq!((masks.known(1, 2, 7), masks.count()), (0, 0));
        assert!(
            masks.is_known(1, 2, 7, 20, 500) && !masks.is_known(1, 2, 7, 20, 499) && !masks.is_known(1, 2, 7, 21, 500)
        );
        masks.extend(1, 2, 8, 4, &Mask::of(0..2));
        assert_eq!((masks.known(1, 2, 7), masks.count()), (0, 2));
        assert_eq!(masks.mask(1, 2).rows().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_was_asked_for_least_lately_goes_first() {
        let mut cache = MaskCache::with_bytes_max(3 * 11 * size_of::<Mask>());
        for key in [b"a", b"b", b"c"] {
            cache.put(1, key, masks(10));
        }
        assert!(cache.get(1, b"a").is_some() && cache.get(2, b"a").is_none());
        cache.put(2, b"a", masks(10));
        assert!(cache.get(1, b"a").is_some() && cache.get(1, b"b").is_none() && cache.get(2, b"a").is_some());
        let bytes = cache.bytes();
        cache.put(2, b"a", masks(10));
        assert_eq!(cache.bytes(), bytes, "it takes the place of what was there");
        cache.put(3, b"x", masks(1_000));
        assert!(cache.get(3, b"x").is_none() && cache.bytes() == bytes, "what is too long for it is not kept");
        cache.remove(1);
        cache.remove(2);
        assert_eq!(cache.bytes(), 0);
    }
}
