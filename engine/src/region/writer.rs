//! The one writer of a shard's rows.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernels::Kernels;

use super::column::{CodeWriter, ColumnWriter, RowEncoder, check_vector, text_bytes};
use super::{DELETED, Region};
use crate::batch::BatchView;
use crate::error::{Error, Result};
use crate::schema::{IdRef, VectorColumn};

/// Writes the rows of one shard. There is one per region and shard.
pub struct RegionWriter {
    region: Arc<Region>,
    shard: usize,
    kernels: &'static Kernels,
    columns: Vec<ColumnWriter>,
    /// Per vector column.
    codes: Vec<Option<CodeWriter>>,
    filled: u32,
    scratch: Vec<f32>,
    /// Bytes of batches copied into columns since they were last asked for.
    copied_bytes: u64,
}

impl RegionWriter {
    /// Claims a shard's part of the region.
    ///
    /// # Panics
    /// If it has a writer.
    pub fn new(region: Arc<Region>, shard: usize) -> RegionWriter {
        let filled = region.published(shard);
        let columns = region.columns.iter();
        let columns = columns.map(|storage| ColumnWriter::claim(storage, shard)).collect();
        let codes = region.codes.iter().zip(region.schema.vectors());
        let codes =
            codes.map(|(span, vector)| Some(CodeWriter::claim(span.as_ref()?, vector.dimension, shard))).collect();
        RegionWriter {
            shard,
            kernels: kernels::detect(),
            columns,
            codes,
            filled,
            scratch: Vec::new(),
            copied_bytes: 0,
            region,
        }
    }

    /// Says who makes the codes of a vector column.
    ///
    /// # Panics
    /// If the column has no codes.
    pub fn set_encoder(&mut self, vector_index: usize, encoder: Arc<dyn RowEncoder>) {
        let codes = self.codes[vector_index].as_mut().expect("a vector column with codes");
        codes.encoder = Some(encoder);
    }

    /// The region written to.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// The shard written for.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Slots that are filled, published or not.
    pub fn filled(&self) -> u32 {
        self.filled
    }

    /// Slots of a vector column that have codes, published or not; `encode` goes on from here.
    pub fn coded(&self, vector_index: usize) -> u32 {
        self.codes[vector_index].as_ref().map_or(self.filled, |codes| codes.next)
    }

    /// Bytes of batches copied into columns since the last call.
    pub fn take_copied_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.copied_bytes)
    }

    /// Id of a filled row, published or not.
    ///
    /// # Panics
    /// If the slot is not filled.
    #[inline]
    pub fn id(&self, slot: u32) -> IdRef<'_> {
        assert!(slot < self.filled, "slot {slot} was not filled");
        self.columns[self.region.schema.id_column()].id(slot as usize)
    }

    /// Copies a batch into the next slots, which it returns; nobody sees them before `publish`. Codes are made in the same pass
    /// where the encoder is ready and has left no gap.
    ///
    /// # Errors
    /// `NonFinite`, `ZeroVector` (under cosine), `RegionFull`, `OutOfMemory`; then no slot is used.
    ///
    /// # Panics
    /// If the batch is of another schema.
    pub fn fill(&mut self, batch: &BatchView<'_>) -> Result<Range<u32>> {
        assert_eq!(batch.schema().fingerprint(), self.region.schema.fingerprint(), "a batch of this schema");
        let first = self.filled;
        let rows_max = self.region.rows_max();
        let end =
            u32::try_from(batch.rows()).ok().and_then(|rows| first.checked_add(rows)).filter(|&end| end <= rows_max);
        let end = end.ok_or(Error::RegionFull { shard: self.shard, rows: u64::from(rows_max) })?;
        self.codes.iter_mut().flatten().for_each(|codes| codes.decide(first));
        self.commit(batch, end)?;
        let schema = self.region.schema.clone();
        for (vector_index, vector) in schema.vectors().iter().enumerate() {
            self.fill_vectors(batch, vector_index, vector, first)?;
        }
        // Nothing below can fail.
        for codes in self.codes.iter_mut().flatten().filter(|codes| codes.is_encoding) {
            codes.next = end;
        }
        for (index, column) in schema.columns().iter().enumerate() {
            if !column.layout.is_vector() {
                let copied = self.columns[index].fill(batch.column(index), first as usize, batch.rows());
                self.copied_bytes += copied as u64;
            }
            if let Some(nulls) = &self.region.columns[index].nulls {
                let source = batch.column(index);
                nulls.set(self.shard, first as usize, batch.rows(), |row| !source.is_valid(row));
            }
        }
        for slot in first..end {
            self.region.replaced_by.word(self.shard, slot as usize).store(0, Ordering::Relaxed);
        }
        self.filled = end;
        Ok(first..end)
    }

    /// Gives back the filled slots from `slot` on. They must not have replaced anything.
    ///
    /// # Panics
    /// If a slot is published or was never filled.
    pub fn unfill(&mut self, slot: u32) {
        assert!(slot >= self.region.published(self.shard), "published rows stay");
        assert!(slot <= self.filled, "slot {slot} was not filled");
        for slot in slot..self.filled {
            let replaced_by = self.region.replaced_by.word(self.shard, slot as usize).load(Ordering::Relaxed);
            if replaced_by != 0 {
                self.region.deleted[self.shard].fetch_sub(1, Ordering::Relaxed);
            }
        }
        for column in &mut self.columns {
            column.unfill(slot as usize);
        }
        for codes in self.codes.iter_mut().flatten() {
            codes.next = codes.next.min(slot);
        }
        self.filled = slot;
    }

    /// Makes the filled slots below `end` visible to views from now on.
    ///
    /// # Panics
    /// If that would take back published slots, or `end` is not filled.
    pub fn publish(&mut self, end: u32) {
        assert!(end >= self.region.published(self.shard), "published rows stay");
        assert!(end <= self.filled, "slot {end} was not filled");
        for column in &mut self.columns {
            column.seal(end as usize);
        }
        self.codes.iter_mut().flatten().for_each(|codes| codes.seal(end));
        self.region.published[self.shard].store(end, Ordering::Release);
    }

    /// Says that the row in `by_slot` has the id of `old_row` and is newer. Call it between `fill` and `publish` of the newer row:
    /// views that hold the newer row will not see the older one, all others will.
    ///
    /// # Panics
    /// If the older row is not an older row of this shard, or is replaced or deleted already.
    pub fn replace(&mut self, old_row: u32, by_slot: u32) {
        let (shard, old_slot) = self.region.locate(old_row);
        assert_eq!(shard, self.shard, "an id stays in its shard");
        assert!(old_slot < by_slot && by_slot < self.filled, "slot {by_slot} cannot replace slot {old_slot}");
        self.end_row(old_slot, by_slot + 1);
    }

    /// Deletes a row: gone from every view, those taken before too.
    ///
    /// # Panics
    /// If it is not a row of this shard, or is replaced or deleted already.
    pub fn delete(&mut self, row: u32) {
        let (shard, slot) = self.region.locate(row);
        assert_eq!(shard, self.shard, "an id stays in its shard");
        assert!(slot < self.filled, "slot {slot} was not filled");
        self.end_row(slot, DELETED);
    }

    /// Deletes the filled slots whose bit is set, lowest bit first, as `Region::deleted_bitmap` made it.
    ///
    /// # Panics
    /// If a bit is set for a slot that is not filled, or is replaced or deleted already.
    pub fn restore_deleted(&mut self, bitmap: &[u8]) {
        for (index, &byte) in bitmap.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
                self.delete(self.region.row(self.shard, (index * 8 + bit) as u32));
            }
        }
    }

    /// Makes the codes of the slots from `coded(vector_index)` to `end`, for rows that came before the encoder was ready.
    ///
    /// # Errors
    /// `OutOfMemory`; then no code was made.
    ///
    /// # Panics
    /// If `end` is not filled, or the encoder is not there or not ready.
    pub fn encode(&mut self, vector_index: usize, end: u32) -> Result<()> {
        assert!(end <= self.filled, "slot {end} was not filled");
        let published = self.region.published(self.shard);
        let column = self.region.schema.vectors()[vector_index].column;
        let codes = self.codes[vector_index].as_mut().expect("a vector column with codes");
        let ColumnWriter::Fixed { values, width } = &self.columns[column] else { unreachable!("vectors have a width") };
        if end <= codes.next {
            return Ok(());
        }
        codes.commit(end).map_err(|source| self.region.out_of_memory(source))?;
        let encoder = codes.encoder.clone().filter(|encoder| encoder.is_ready()).expect("an encoder that is ready");
        let mut saturated = 0;
        for slot in codes.next..end {
            let vector = values.bytes(slot as usize * width, *width);
            saturated += u64::from(encoder.encode(vector, codes.code_mut(slot), &mut self.scratch));
        }
        encoder.count(u64::from(end - codes.next), saturated);
        codes.next = end;
        codes.seal(published);
        Ok(())
    }

    fn end_row(&self, slot: u32, replaced_by: u32) {
        let word = self.region.replaced_by.word(self.shard, slot as usize);
        assert_eq!(word.load(Ordering::Relaxed), 0, "slot {slot} ends once");
        // Who sees the replacement published sees this store, because it comes before the Release of `publish`.
        word.store(replaced_by, Ordering::Relaxed);
        self.region.deleted[self.shard].fetch_add(1, Ordering::Relaxed);
    }

    /// Commits memory for the slots below `end`, and for the text of the batch.
    fn commit(&mut self, batch: &BatchView<'_>, end: u32) -> Result<()> {
        let region = &self.region;
        let refused = |source| region.out_of_memory(source);
        let slots = end as usize;
        for (index, column) in self.columns.iter_mut().enumerate() {
            let text_bytes = text_bytes(batch.column(index), batch.rows());
            if !column.commit(slots, text_bytes).map_err(refused)? {
                let rows = u64::from(self.filled);
                return Err(Error::RegionFull { shard: self.shard, rows });
            }
            if let Some(nulls) = &region.columns[index].nulls {
                nulls.commit(self.shard, slots).map_err(refused)?;
            }
        }
        for codes in self.codes.iter_mut().flatten().filter(|codes| codes.is_encoding) {
            codes.commit(end).map_err(refused)?;
        }
        region.replaced_by.commit(self.shard, slots).map_err(refused)
    }

    /// Copies, checks and encodes vectors, a row at a time, so that a row is read from memory once.
    fn fill_vectors(
        &mut self,
        batch: &BatchView<'_>,
        vector_index: usize,
        vector: &VectorColumn,
        first: u32,
    ) -> Result<()> {
        let ColumnWriter::Fixed { values, width } = &mut self.columns[vector.column] else {
            unreachable!("vectors have a width")
        };
        let mut codes = self.codes[vector_index].as_mut().filter(|codes| codes.is_encoding);
        let encoder = codes.as_ref().and_then(|codes| codes.encoder.clone());
        let source = batch.column(vector.column);
        let mut saturated = 0;
        for row in 0..batch.rows() {
            let slot = first as usize + row;
            let stored = values.bytes_mut(slot * *width, *width);
            stored.copy_from_slice(source.fixed(row));
            check_vector(self.kernels, vector, stored, row)?;
            if let (Some(codes), Some(encoder)) = (&mut codes, &encoder) {
                saturated += u64::from(encoder.encode(stored, codes.code_mut(slot as u32), &mut self.scratch));
            }
        }
        self.copied_bytes += (batch.rows() * *width) as u64;
        if let Some(encoder) = encoder {
            encoder.count(batch.rows() as u64, saturated);
        }
        Ok(())
    }
}
