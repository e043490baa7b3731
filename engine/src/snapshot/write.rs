//! Writing a snapshot. Any thread may: rows below the published length never change, and indexing is paused.

use std::path::Path;
use std::sync::Arc;

use super::file::SummedWriter;
use super::{BATCH_ROWS, dead_name, graph_name, region_name};
use crate::batch;
use crate::collection::Collection;
use crate::error::Result;
use crate::manifest::{SnapshotCollection, SnapshotEntry, SnapshotFile, create_directory, sync_directory};
use crate::wal::Lsn;

/// What one shard said when it stood still.
#[derive(Clone, Debug)]
pub struct Point {
    /// Newest visible operation.
    pub lsn: Lsn,
    /// Published length of each collection, by number.
    pub published: Vec<(u32, u32)>,
}

/// Writes all files of a snapshot into `directory` and syncs them; the manifest is left to the caller. Returns what the
/// manifest is to say and the number of bytes.
pub fn write(
    directory: &Path,
    number: u64,
    collections: &[Arc<Collection>],
    points: &[Point],
) -> Result<(SnapshotEntry, u64)> {
    create_directory(directory)?;
    let entries = collections.iter().map(|collection| write_collection(directory, collection, points));
    let collections = entries.collect::<Result<Vec<_>>>()?;
    sync_directory(directory)?;
    let bytes = collections.iter().flat_map(|collection| &collection.files).map(|file| file.bytes).sum();
    let lsn = points.iter().map(|point| point.lsn).collect();
    Ok((SnapshotEntry { number, lsn, collections }, bytes))
}

fn write_collection(directory: &Path, collection: &Arc<Collection>, points: &[Point]) -> Result<SnapshotCollection> {
    let id = collection.spec.id;
    let length = |point: &Point| point.published.iter().find(|(number, _)| *number == id).map_or(0, |&(_, rows)| rows);
    let rows: Vec<u32> = points.iter().map(length).collect();
    let mut files = Vec::new();
    for (shard, &slots) in rows.iter().enumerate() {
        files.push(write_region(directory, collection, shard, slots)?);
        files.push(write_dead(directory, collection, shard, slots)?);
        for (vector, index) in collection.vectors.iter().enumerate() {
            let mut file = SummedWriter::create(directory, graph_name(id, shard, vector))?;
            let path = file.path().to_path_buf();
            index.graph().save(shard, &path, &mut file)?;
            files.push(file.finish()?);
        }
    }
    let scales = collection.vectors.iter().map(|index| index.scale.get()).collect();
    Ok(SnapshotCollection { id, row_bits: collection.region.row_bits(), scales, rows, files })
}

fn write_region(directory: &Path, collection: &Arc<Collection>, shard: usize, slots: u32) -> Result<SnapshotFile> {
    let schema = &collection.spec.schema;
    let columns: Vec<usize> = (0..schema.columns().len()).collect();
    let mut file = SummedWriter::create(directory, region_name(collection.spec.id, shard))?;
    file.put(&schema.to_bytes())?;
    let mut start = 0;
    while start < slots {
        let end = slots.min(start + BATCH_ROWS);
        let rows = collection.region.batch(shard, start..end, &columns)?;
        file.put(&batch::encode(&rows)?)?;
        start = end;
    }
    file.put(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])?;
    file.finish()
}

fn write_dead(directory: &Path, collection: &Arc<Collection>, shard: usize, slots: u32) -> Result<SnapshotFile> {
    // A row replaced by one behind the snapshot's end is alive in the snapshot: the log replaces it again.
    let bits = collection.region.deleted_bitmap(shard, slots);
    let mut file = SummedWriter::create(directory, dead_name(collection.spec.id, shard))?;
    file.put(&bits)?;
    file.finish()
}
