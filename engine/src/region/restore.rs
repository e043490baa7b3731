//! Taking a snapshot back in, into a part of the region that is empty.

use std::sync::atomic::Ordering;

use super::chunks::{CHUNK_BITS, CHUNK_ROWS, Run};
use super::{DELETED, RegionWriter};
use crate::batch::BatchView;
use crate::error::{Error, Result};

/// A chunk of a snapshot. In the bitmaps a chunk's first row is the lowest bit.
pub struct ChunkImage<'a> {
    /// Where it lies.
    pub chunk: u32,
    /// Which ordinals it holds.
    pub number: u64,
    /// Slots of it that were given to rows.
    pub filled: u32,
    /// Rows that the snapshot has the values of.
    pub present: &'a [u8],
    /// Rows among them that are deleted or replaced.
    pub dead: &'a [u8],
}

impl RegionWriter {
    /// Puts a chunk where it was. `batch` holds the values of the rows that are present, in order; None where none is.
    ///
    /// # Errors
    /// As for `fill`, and `MalformedBatch` where the image and the batch do not go together.
    pub fn restore_chunk(&mut self, image: &ChunkImage<'_>, batch: Option<&BatchView<'_>>) -> Result<()> {
        let malformed = |problem| Err(Error::MalformedBatch { problem });
        let is_set = |bits: &[u8], offset: u32| bits[offset as usize / 8] >> (offset % 8) & 1 == 1;
        if image.chunk >= self.region.chunks.chunks_max() || image.filled > CHUNK_ROWS || image.filled == 0 {
            return malformed("a chunk that cannot be");
        }
        if self.order.contains_key(&image.number) || self.order.values().any(|&chunk| chunk == image.chunk) {
            return malformed("a chunk is there twice");
        }
        let present: Vec<u32> = (0..image.filled).filter(|&offset| is_set(image.present, offset)).collect();
        if present.len() != batch.map_or(0, BatchView::rows) {
            return malformed("the number of rows of a chunk is not that of its batch");
        }
        while self.region.chunks.used(self.shard) <= image.chunk {
            let chunk = self.new_chunk()?;
            self.free.put_bare(chunk);
        }
        self.free.remove_bare(image.chunk);
        self.region.chunks.set_number(self.shard, image.chunk, Some(image.number));
        self.order.insert(image.number, image.chunk);
        let first = image.chunk << CHUNK_BITS;
        // Codes are made once the chunk is whole: those of absent rows, which nobody reads, among them.
        self.codes.iter_mut().flatten().for_each(|codes| codes.is_encoding = false);
        let mut row = 0;
        for run in present.chunk_by(|a, b| a + 1 == *b) {
            let (batch, rows) = (batch.expect("it has rows"), row..row + run.len());
            let slots = Run { ordinal: row as u64, slot: first + run[0], len: run.len() as u32 };
            for vector_index in 0..self.codes.len() {
                let column = self.region.schema.vectors()[vector_index].column;
                let values = batch.column(column).fixed_rows(0..batch.rows());
                self.fill_vectors(vector_index, values, rows.clone(), &slots, 0)?;
            }
            self.fill_columns(batch, rows.clone(), first + run[0])?;
            row = rows.end;
        }
        for offset in 0..image.filled {
            if !is_set(image.present, offset) || is_set(image.dead, offset) {
                self.region.ended.word(self.shard, (first + offset) as usize).store(0, Ordering::Relaxed);
                self.end_row(first + offset, DELETED);
                self.count_dead(image.chunk, 1);
            }
        }
        self.filled = self.filled.max((image.number << CHUNK_BITS) + u64::from(image.filled));
        for vector_index in 0..self.codes.len() {
            let encoder = self.codes[vector_index].as_ref().and_then(|codes| codes.encoder.as_ref());
            if encoder.is_some_and(|encoder| encoder.is_ready()) {
                self.encode(vector_index, image.chunk);
            }
        }
        Ok(())
    }

    /// Ends the loading: the rows are published, and those to come go on behind ordinal `published`.
    ///
    /// # Errors
    /// `MalformedBatch` where a chunk holds ordinals behind it.
    pub fn finish_restore(&mut self, published: u64) -> Result<()> {
        let newest = self.order.last_key_value().map(|(&number, _)| number);
        if newest.is_some_and(|number| number << CHUNK_BITS >= published) {
            return Err(Error::MalformedBatch { problem: "a chunk holds rows that came later than the snapshot" });
        }
        let head = published >> CHUNK_BITS;
        if !published.is_multiple_of(u64::from(CHUNK_ROWS)) && newest != Some(head) {
            return Err(Error::MalformedBatch { problem: "the newest chunk is missing" });
        }
        self.filled = published;
        let in_use = self.order.len() as u64 * u64::from(CHUNK_ROWS);
        let gone = (published.next_multiple_of(u64::from(CHUNK_ROWS))).saturating_sub(in_use);
        self.region.gone[self.shard].store(gone, Ordering::Relaxed);
        self.publish(published);
        Ok(())
    }
}
