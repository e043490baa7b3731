//! Columns that are added to rows which are there.
//!
//! A region with more columns shares all that the old one has; only the storage of the new columns is its own. Every shard's writer
//! takes it over first: it gives the new columns memory for the chunks that there are, says that their rows are null, and seals them
//! as far as the others are. From then on rows are filled with or without the new columns, as their batches are. Only when all
//! writers are that far the new region is given to readers, and until then it can be given up.

use std::sync::Arc;

use super::chunks::CHUNK_BITS;
use super::column::ColumnWriter;
use super::{Region, RegionWriter};
use crate::error::Result;

impl RegionWriter {
    /// Writes to a region that was made of this one's by [`Region::extended`] from now on. Rows that are there are null in the columns that
    /// are new.
    ///
    /// # Errors
    /// `OutOfMemory`; then all is as it was.
    pub fn adopt(&mut self, region: Arc<Region>) -> Result<()> {
        let mut more = Vec::new();
        for index in self.columns.len()..region.columns.len() {
            let column = self.extended_column(&region, index).map_err(|source| region.out_of_memory(source))?;
            more.push(column);
        }
        self.columns.extend(more);
        self.region = region;
        self.account();
        Ok(())
    }

    /// Goes back to the region from before [`RegionWriter::adopt`]. Nobody was shown the other.
    pub fn give_up(&mut self, region: Arc<Region>) {
        assert!(region.columns.len() <= self.columns.len(), "the region from before");
        self.columns.truncate(region.columns.len());
        self.region = region;
        self.account();
    }

    fn extended_column(&mut self, region: &Region, index: usize) -> std::io::Result<ColumnWriter> {
        let (storage, shard) = (&region.columns[index], self.shard);
        let chunks = region.chunks.used(shard);
        let slots = (chunks as usize) << CHUNK_BITS;
        let mut column = ColumnWriter::claim(storage, shard);
        column.span().commit(slots)?;
        let nulls = storage.nulls.as_ref().expect("a column that is added may be null");
        nulls.commit(shard, slots)?;
        nulls.set_all(shard, slots);
        let ids = self.columns[region.schema.id_column()].span();
        for slot in (0..chunks).map(|chunk| chunk << CHUNK_BITS) {
            let sealed = ids.sealed(slot);
            if sealed > 0 {
                column.span().seal(slot, sealed);
            }
        }
        Ok(column)
    }
}
