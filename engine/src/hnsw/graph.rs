//! The shared part of a graph: links, levels and entry point of all shards, in one row id space.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use crossbeam_utils::CachePadded;

use super::links::Span;
use super::{BLOCK_ROWS, GraphParams};
use crate::error::Result;
use crate::limits;

/// Rows of links that get huge pages at a time.
const HUGE_ROWS: u32 = 1 << 14;
/// Rows from which on a shard's links get huge pages: a small collection would pay more for them than it holds.
const HUGE_ROWS_MIN: u32 = 1 << 12;

/// State of a row that is not in the graph; otherwise the state is its level + 1.
const ABSENT: u8 = 0;
/// In `kept`: the first link is the link up.
const HAS_UP: u8 = 0x80;
/// No entry point yet; otherwise (level + 1) << 32 | row.
const NO_ENTRY: u64 = 0;
/// No root yet.
const NO_ROOT: u32 = u32::MAX;

/// One HNSW graph over the rows of all shards. Readers need a shared reference, writers one [`super::Indexer`] a shard.
pub struct Graph {
    params: GraphParams,
    shards: usize,
    row_bits: u32,
    /// `2 m` ids per row; an id is stored inverted, so that zero is "no more".
    base: Span<AtomicU32>,
    /// Level + 1 per row.
    states: Span<AtomicU8>,
    /// Per row: links at the head of its layer 0 list that pruning keeps, and `HAS_UP`.
    kept: Span<AtomicU8>,
    /// Per row: 1 + index of its first block of upper links in its shard's pool; 0: none.
    uppers: Span<AtomicU32>,
    /// Per shard: blocks of `m` ids.
    pools: Vec<Span<AtomicU32>>,
    /// Per block of rows: whether its nodes are about to be taken out.
    leaving: Span<AtomicU8>,
    /// Per block of rows: whether its lists on layer 0 have no memory, as none of its rows is in the graph any more.
    bare: Span<AtomicU8>,
    entry: CachePadded<AtomicU64>,
    /// The one node without a link up.
    root: AtomicU32,
    counters: Vec<CachePadded<Counters>>,
}

/// What a shard's indexer tells everybody.
#[derive(Default)]
struct Counters {
    /// Ordinals below are in the graph, or skipped.
    indexed: AtomicU64,
    /// Slots from here on are not in the graph.
    used: AtomicU32,
    /// Slots below that which have no memory for lists on layer 0.
    bare: AtomicU32,
    /// Nodes.
    nodes: AtomicU32,
    /// Nodes that came since all were linked anew.
    unrefined: AtomicU32,
    /// Blocks taken from the pool.
    blocks: AtomicU32,
    /// An indexer exists.
    claimed: AtomicBool,
}

/// What `Graph::stats` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GraphStats {
    /// Nodes.
    pub rows: u64,
    /// Links on layer 0.
    pub links: u64,
    /// Highest layer.
    pub level_max: usize,
    /// Links of a node on layer 0, on average.
    pub degree_mean: f64,
    /// Bytes of lists in use.
    pub bytes: u64,
}

impl Graph {
    /// An empty graph. Row ids are `shard << row_bits | slot`; `u32::MAX` is not a row.
    ///
    /// # Errors
    /// `Io` when the operating system refuses the address space.
    pub fn new(params: GraphParams, shards: usize, row_bits: u32) -> Result<Arc<Graph>> {
        Ok(Arc::new(Graph::empty(params, shards, row_bits)?))
    }

    /// A graph that is still its maker's alone.
    pub(super) fn empty(params: GraphParams, shards: usize, row_bits: u32) -> Result<Graph> {
        assert!((2..=32).contains(&params.m), "m is {}", params.m);
        assert!(params.ef_construction >= params.m);
        assert!(shards > 0 && row_bits < 32 && (shards as u64) << row_bits <= 1 << 32);
        let rows_per_shard = 1usize << row_bits;
        let rows = shards * rows_per_shard;
        // Twice the expected number; a shard that runs out makes nodes of layer 0 only.
        let blocks = rows_per_shard * 2 / (params.m - 1) + 1_024;
        let pools = (0..shards).map(|_| Span::reserve(blocks * params.m)).collect::<Result<_>>()?;
        Ok(Graph {
            params,
            shards,
            row_bits,
            base: Span::reserve(rows * params.m * 2)?,
            states: Span::reserve(rows)?,
            kept: Span::reserve(rows)?,
            uppers: Span::reserve(rows)?,
            pools,
            leaving: Span::reserve(rows.div_ceil(BLOCK_ROWS as usize))?,
            bare: Span::reserve(rows.div_ceil(BLOCK_ROWS as usize))?,
            root: AtomicU32::new(NO_ROOT),
            entry: CachePadded::new(AtomicU64::new(NO_ENTRY)),
            counters: (0..shards).map(|_| CachePadded::default()).collect(),
        })
    }

    /// Its shape.
    pub fn params(&self) -> GraphParams {
        self.params
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Bits of a row id that are the slot.
    pub fn row_bits(&self) -> u32 {
        self.row_bits
    }

    /// Rows of a shard whose ordinals are below this are in the graph, or were skipped: a search finds them without a scan.
    pub fn indexed(&self, shard: usize) -> u64 {
        self.counters[shard].indexed.load(Ordering::Acquire)
    }

    /// Nodes of all shards. Rows that were skipped are none.
    pub fn nodes(&self) -> u64 {
        (0..self.shards).map(|shard| u64::from(self.nodes_of(shard))).sum()
    }

    /// Nodes of a shard.
    pub fn nodes_of(&self, shard: usize) -> u32 {
        self.counters[shard].nodes.load(Ordering::Relaxed)
    }

    /// Nodes of a shard that came since all were linked anew; those that have gone since are counted too.
    pub fn unrefined(&self, shard: usize) -> u32 {
        self.counters[shard].unrefined.load(Ordering::Relaxed)
    }

    /// Whether so many of a shard's nodes are new that idle time links all of them anew.
    pub fn is_to_be_refined(&self, shard: usize) -> bool {
        let unrefined = u64::from(self.unrefined(shard));
        unrefined > 0 && unrefined * limits::REFINE_PART >= self.nodes_of(shard).into()
    }

    /// Sets what `unrefined` returns. Owner only.
    pub(super) fn set_unrefined(&self, shard: usize, nodes: u32) {
        self.counters[shard].unrefined.store(nodes, Ordering::Relaxed);
    }

    /// True when the row is in the graph.
    #[inline]
    pub fn contains(&self, row: u32) -> bool {
        self.states[row as usize].load(Ordering::Acquire) != ABSENT
    }

    /// True when the row is in the graph and is not about to be taken out.
    pub fn stays(&self, row: u32) -> bool {
        self.contains(row) && !self.is_leaving(row)
    }

    /// Links of a node on a layer, for checks and diagnostics; empty above its level.
    pub fn links(&self, row: u32, layer: usize) -> Vec<u32> {
        let mut rows = Vec::new();
        if self.level(row).is_some_and(|level| layer <= level) {
            self.gather(row, layer, |neighbour| rows.push(neighbour));
        }
        rows
    }

    /// Level and row of the entry point.
    pub fn entry(&self) -> Option<(usize, u32)> {
        let entry = self.entry.load(Ordering::Acquire);
        (entry != NO_ENTRY).then(|| ((entry >> 32) as usize - 1, entry as u32))
    }

    /// Walks over the whole graph and counts. Takes about 100 ns a row.
    pub fn stats(&self) -> GraphStats {
        let mut stats = GraphStats::default();
        for shard in 0..self.shards {
            for slot in 0..self.used(shard) {
                let row = self.row(shard, slot);
                let Some(level) = self.level(row) else { continue };
                stats.rows += 1;
                stats.level_max = stats.level_max.max(level);
                self.gather(row, 0, |_| stats.links += 1);
            }
        }
        stats.bytes = self.bytes_committed();
        stats.degree_mean = stats.links as f64 / (stats.rows.max(1)) as f64;
        stats
    }

    /// Bytes of lists in use.
    pub fn bytes_committed(&self) -> u64 {
        let list_bytes = self.params.m * 2 * size_of::<u32>();
        let of_shard = |shard: usize| {
            let (used, counters) = (self.used(shard), &self.counters[shard]);
            let blocks = counters.blocks.load(Ordering::Relaxed) as usize;
            let lists = used.saturating_sub(counters.bare.load(Ordering::Relaxed)) as usize;
            let per_row = 2 * size_of::<u8>() + size_of::<u32>();
            (blocks * self.params.m * size_of::<u32>() + lists * list_bytes + used as usize * per_row) as u64
        };
        (0..self.shards).map(of_shard).sum()
    }

    /// Shard that owns a row.
    #[inline(always)]
    pub(super) fn owner(&self, row: u32) -> usize {
        (row >> self.row_bits) as usize
    }

    pub(super) fn slot(&self, row: u32) -> u32 {
        row & ((1 << self.row_bits) - 1)
    }

    pub(super) fn row(&self, shard: usize, slot: u32) -> u32 {
        (shard as u32) << self.row_bits | slot
    }

    /// Slots of a shard that may be in the graph are below this.
    pub(super) fn used(&self, shard: usize) -> u32 {
        self.counters[shard].used.load(Ordering::Acquire)
    }

    /// Highest layer of a node.
    pub(super) fn level(&self, row: u32) -> Option<usize> {
        let state = self.states[row as usize].load(Ordering::Acquire);
        (state != ABSENT).then(|| usize::from(state) - 1)
    }

    /// Most links of a node on a layer.
    pub(super) fn degree_max(&self, layer: usize) -> usize {
        if layer == 0 { self.params.m * 2 } else { self.params.m }
    }

    /// Calls `visit` with each link of a node on a layer that it reaches.
    #[inline(always)]
    pub(super) fn gather(&self, row: u32, layer: usize, mut visit: impl FnMut(u32)) {
        let list = self.list(row, layer);
        for entry in list {
            let stored = entry.load(Ordering::Relaxed);
            if stored == 0 {
                break;
            }
            visit(!stored);
        }
        // Pairs with the Release of `store_links` and `store_link`: what was written before an id is seen after this.
        fence(Ordering::Acquire);
    }

    /// Starts loading a node's layer 0 list.
    #[inline(always)]
    pub(super) fn prefetch(&self, row: u32) {
        let length = self.params.m * 2;
        self.base.prefetch(row as usize * length, length);
    }

    #[inline(always)]
    fn list(&self, row: u32, layer: usize) -> &[AtomicU32] {
        let m = self.params.m;
        if layer == 0 {
            let start = row as usize * m * 2;
            return &self.base[start..start + m * 2];
        }
        let block = self.uppers[row as usize].load(Ordering::Acquire);
        assert!(block > 0, "row {row} has no layer {layer}");
        let start = (block as usize - 1 + layer - 1) * m;
        &self.pools[self.owner(row)][start..start + m]
    }

    /// Makes room for a row and returns the level that it can have, at most `level`. Owner only.
    pub(super) fn reserve(&self, row: u32, level: usize) -> usize {
        assert!(row != u32::MAX);
        let (shard, slot) = (self.owner(row), self.slot(row));
        let counters = &self.counters[shard];
        let used = counters.used.load(Ordering::Relaxed);
        if self.bare[(row / BLOCK_ROWS) as usize].load(Ordering::Relaxed) != 0 {
            self.set_bare(shard, slot / BLOCK_ROWS, false);
        }
        if slot >= used {
            self.advise_huge(shard, used, slot + 1);
            counters.used.store(slot + 1, Ordering::Release);
        }
        if level == 0 || self.uppers[row as usize].load(Ordering::Relaxed) != 0 {
            return level;
        }
        let block = counters.blocks.load(Ordering::Relaxed);
        if (block as usize + level) * self.params.m > self.pools[shard].len() {
            return 0;
        }
        counters.blocks.store(block + level as u32, Ordering::Relaxed);
        self.uppers[row as usize].store(block + 1, Ordering::Release);
        level
    }

    /// Asks for huge pages under the links of a shard that now has `used` slots and had `before`. Rows may come in any order, so there
    /// may be links already where pages are asked for: with the first ones there always are.
    fn advise_huge(&self, shard: usize, before: u32, used: u32) {
        let has_first = before > HUGE_ROWS_MIN;
        let done = if has_first { before.next_multiple_of(HUGE_ROWS) } else { 0 };
        let end = used.next_multiple_of(HUGE_ROWS);
        if used > HUGE_ROWS_MIN && done < end {
            let row = |slot: u32| ((shard << self.row_bits) + slot as usize).min((shard + 1) << self.row_bits);
            let length = self.params.m * 2;
            self.base.advise_huge(row(done) * length..row(end) * length, !has_first);
        }
    }

    /// Says that a row is in the graph: its vector and links are written. Owner only.
    pub(super) fn publish(&self, row: u32, level: usize) {
        if !self.contains(row) {
            let shard = self.owner(row);
            self.counters[shard].nodes.store(self.nodes_of(shard) + 1, Ordering::Relaxed);
            self.set_unrefined(shard, self.unrefined(shard).saturating_add(1));
        }
        self.states[row as usize].store(level as u8 + 1, Ordering::Release);
    }

    /// Makes a row the entry point if its level is the highest. False when another one was first.
    pub(super) fn raise_entry(&self, row: u32, level: usize, seen: Option<(usize, u32)>) -> bool {
        debug_assert!(self.contains(row));
        let new = ((level as u64 + 1) << 32) | u64::from(row);
        let old = seen.map_or(NO_ENTRY, |(level, row)| ((level as u64 + 1) << 32) | u64::from(row));
        self.entry.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Writes a list from entry `from` on, and ends it there. Owner only.
    pub(super) fn store_links(&self, row: u32, layer: usize, from: usize, rows: &[u32]) {
        let list = self.list(row, layer);
        assert!(from + rows.len() <= list.len(), "too many links");
        for (entry, &neighbour) in list[from..].iter().zip(rows) {
            entry.store(!neighbour, Ordering::Release);
        }
        for entry in &list[from + rows.len()..] {
            if entry.load(Ordering::Relaxed) == 0 {
                break;
            }
            entry.store(0, Ordering::Release);
        }
    }

    /// Links at the head of a layer 0 list that stay, the link up among them; and whether there is one.
    pub(super) fn kept(&self, row: u32) -> (usize, bool) {
        let kept = self.kept[row as usize].load(Ordering::Relaxed);
        (usize::from(kept & !HAS_UP), kept & HAS_UP != 0)
    }

    /// Sets what `kept` returns. Owner only.
    pub(super) fn set_kept(&self, row: u32, count: usize, has_up: bool) {
        debug_assert!(count <= self.params.m * 2 && (count > 0 || !has_up));
        self.kept[row as usize].store(count as u8 | if has_up { HAS_UP } else { 0 }, Ordering::Relaxed);
    }

    /// Takes a row out, to which no link leads any more. Owner only.
    pub(super) fn forget(&self, row: u32) {
        if let Some(level) = self.level(row) {
            for layer in 0..=level {
                self.store_links(row, layer, 0, &[]);
            }
            self.set_kept(row, 0, false);
            self.states[row as usize].store(ABSENT, Ordering::Release);
            let shard = self.owner(row);
            self.counters[shard].nodes.store(self.nodes_of(shard) - 1, Ordering::Relaxed);
        }
    }

    /// Gives the memory of a block's lists back, if no row of it is in the graph. Owner only.
    pub fn discard(&self, shard: usize, block: u32) {
        let first = self.row(shard, block * BLOCK_ROWS);
        let is_bare = self.bare[(first / BLOCK_ROWS) as usize].load(Ordering::Relaxed) != 0;
        if is_bare || self.used(shard) <= block * BLOCK_ROWS || self.has_nodes(shard, block) {
            return;
        }
        // Empty lists are zeros, and so is memory that is gone: a reader that comes by sees no difference.
        let length = self.params.m * 2;
        match self.base.discard(first as usize * length..(first + BLOCK_ROWS) as usize * length) {
            Ok(()) => self.set_bare(shard, block, true),
            Err(error) => tracing::warn!(%error, "memory of links could not be given back"),
        }
    }

    /// Notes whether the lists of a block have memory.
    fn set_bare(&self, shard: usize, block: u32, is_bare: bool) {
        let first = self.row(shard, block * BLOCK_ROWS);
        self.bare[(first / BLOCK_ROWS) as usize].store(u8::from(is_bare), Ordering::Relaxed);
        let counters = &self.counters[shard];
        let slots = self.used(shard).saturating_sub(block * BLOCK_ROWS).min(BLOCK_ROWS);
        let bare = counters.bare.load(Ordering::Relaxed);
        counters.bare.store(if is_bare { bare + slots } else { bare - slots }, Ordering::Relaxed);
    }

    /// Whether any row of a block of a shard is in the graph.
    pub fn has_nodes(&self, shard: usize, block: u32) -> bool {
        let first = self.row(shard, block * BLOCK_ROWS);
        (first..first + BLOCK_ROWS).any(|row| self.contains(row))
    }

    /// Whether a block of a shard holds the root, which never leaves.
    pub fn holds_root(&self, shard: usize, block: u32) -> bool {
        self.root().is_some_and(|root| root / BLOCK_ROWS == self.row(shard, block * BLOCK_ROWS) / BLOCK_ROWS)
    }

    /// The one node without a link up: the first that was inserted.
    pub(super) fn root(&self) -> Option<u32> {
        Some(self.root.load(Ordering::Acquire)).filter(|&root| root != NO_ROOT)
    }

    pub(super) fn set_root(&self, root: u32) {
        self.root.store(root, Ordering::Release);
    }

    /// Whether a node is about to be taken out: nothing new may lead to it.
    #[inline]
    pub(super) fn is_leaving(&self, row: u32) -> bool {
        self.leaving[(row / BLOCK_ROWS) as usize].load(Ordering::Relaxed) != 0
    }

    /// Says that the nodes of a block of a shard are about to be taken out, or have been. Owner only.
    pub(super) fn set_leaving(&self, shard: usize, block: u32, leaving: bool) {
        let block = self.row(shard, block * BLOCK_ROWS) / BLOCK_ROWS;
        self.leaving[block as usize].store(u8::from(leaving), Ordering::Release);
    }

    /// The nearest node that stays, on the way up from a node that is not the root.
    pub(super) fn up(&self, row: u32) -> Option<u32> {
        let mut row = row;
        loop {
            if !self.kept(row).1 {
                return None;
            }
            let mut up = None;
            self.gather(row, 0, |neighbour| up = up.or(Some(neighbour)));
            row = up?;
            if !self.is_leaving(row) {
                return Some(row);
            }
        }
    }

    /// Makes a node the entry point if the one that is leaves, or is not as high.
    pub(super) fn offer_entry(&self, row: u32, level: usize) {
        while let Some(seen) = self.entry()
            && (self.is_leaving(seen.1) || level > seen.0)
            && !self.raise_entry(row, level, Some(seen))
        {}
    }

    /// Chooses the entry point anew while nobody else uses the graph.
    pub(super) fn set_entry(&mut self, entry: Option<(usize, u32)>) {
        let value = entry.map_or(NO_ENTRY, |(level, row)| ((level as u64 + 1) << 32) | u64::from(row));
        self.entry.store(value, Ordering::Release);
    }

    pub(super) fn set_indexed(&self, shard: usize, ordinal: u64) {
        self.counters[shard].indexed.store(ordinal, Ordering::Release);
    }

    pub(super) fn set_claimed(&self, shard: usize, claimed: bool) -> bool {
        self.counters[shard].claimed.swap(claimed, Ordering::AcqRel)
    }
}
