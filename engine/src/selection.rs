//! Rows of a collection that are visible in a view, and that a filter is true of.

use std::ops::Range;

use crate::collection::Collection;
use crate::filter::{ChunkColumns, Filter, MASK_ROWS, Mask};
use crate::region::{CHUNK_ROWS, Region, RegionWriter, View};

const _: () = assert!(MASK_ROWS == CHUNK_ROWS as usize, "a mask is one of a chunk");

impl Collection {
    /// Appends those of a range of rows, all of one chunk, that are visible in the view and that the filter, if there is one, is true of.
    pub fn select(&self, view: &View, filter: Option<&Filter>, rows: Range<u32>, selected: &mut Vec<u32>) {
        let region = &self.region;
        let Some(filter) = filter else { return region.visible_in_chunk(view, rows, selected) };
        // A row that is visible keeps its chunk what it is; without one, it may be filled anew at any moment.
        let Some(first) = rows.clone().find(|&row| region.visible(view, row)) else { return };
        let in_chunk = |row: u32| (row % CHUNK_ROWS) as usize;
        let mask = Mask::of(in_chunk(first)..in_chunk(rows.end - 1) + 1);
        let found = filter.select(&Chunk::up_to(region, rows.end - 1), &mask);
        let found = found.rows().map(|row| first - first % CHUNK_ROWS + row as u32);
        selected.extend(found.filter(|&row| region.visible(view, row)));
    }

    /// Whether a filter is true of a row that is visible in a view that is held.
    #[inline]
    pub fn accepts(&self, filter: &Filter, row: u32) -> bool {
        filter.accepts(&Chunk::up_to(&self.region, row), (row % CHUNK_ROWS) as usize)
    }
}

/// Whether a filter is true of a filled row, by its slot, published or not.
pub(crate) fn accepts_filled(filter: &Filter, writer: &RegionWriter, slot: u32) -> bool {
    let slots = slot - slot % CHUNK_ROWS..slot + 1;
    filter.accepts(&Filled { writer, slots }, (slot % CHUNK_ROWS) as usize)
}

/// The rows of a chunk up to one, as their writer sees them.
struct Filled<'a> {
    writer: &'a RegionWriter,
    slots: Range<u32>,
}

impl ChunkColumns for Filled<'_> {
    fn fixed(&self, column: usize) -> &[u8] {
        self.writer.fixed_rows(column, self.slots.clone())
    }

    fn text(&self, column: usize, row: usize) -> &[u8] {
        self.writer.text_bytes(column, self.slots.start + row as u32)
    }

    fn nulls(&self, column: usize, word: usize) -> u64 {
        let region = self.writer.region();
        region.null_word(column, self.writer.shard(), self.slots.start as usize / 64 + word)
    }
}

/// The rows of a chunk up to one.
struct Chunk<'a> {
    region: &'a Region,
    shard: usize,
    slots: Range<u32>,
}

impl Chunk<'_> {
    fn up_to(region: &Region, row: u32) -> Chunk<'_> {
        let (shard, slot) = region.locate(row);
        Chunk { region, shard, slots: slot - slot % CHUNK_ROWS..slot + 1 }
    }
}

impl ChunkColumns for Chunk<'_> {
    fn fixed(&self, column: usize) -> &[u8] {
        self.region.fixed_rows(column, self.shard, self.slots.clone())
    }

    fn text(&self, column: usize, row: usize) -> &[u8] {
        self.region.text_bytes(column, self.shard, self.slots.start + row as u32)
    }

    fn nulls(&self, column: usize, word: usize) -> u64 {
        self.region.null_word(column, self.shard, self.slots.start as usize / 64 + word)
    }
}
