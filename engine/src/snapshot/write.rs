//! Writing a snapshot. Any thread may: rows below the published length never change, and indexing is paused.

use std::path::Path;
use std::sync::Arc;

use super::chunk::{CHUNK_ROWS, ChunkRecord};
use super::file::SummedWriter;
use super::{chunks_name, graph_name, region_name};
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
    /// Published ordinals of each collection, by number.
    pub published: Vec<(u32, u64)>,
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
    let published: Vec<u64> = points.iter().map(length).collect();
    let mut files = Vec::new();
    for (shard, &end) in published.iter().enumerate() {
        files.extend(write_region(directory, collection, shard, end)?);
        for (vector, index) in collection.vectors.iter().enumerate() {
            let mut file = SummedWriter::create(directory, graph_name(id, shard, vector))?;
            let path = file.path().to_path_buf();
            index.graph().save(shard, &path, &mut file)?;
            files.push(file.finish()?);
        }
    }
    let scales = collection.vectors.iter().map(|index| index.scale.get()).collect();
    let misfits = (0..collection.vectors.len()).filter(|&vector| !collection.vectors[vector].scale.fits()).collect();
    Ok(SnapshotCollection { id, row_bits: collection.region.row_bits(), scales, misfits, published, files })
}

/// Writes the rows, and which they are. A row that was replaced or deleted meanwhile may be left out, as the log behind the
/// snapshot does that again; one that a graph holds may not.
fn write_region(directory: &Path, collection: &Arc<Collection>, shard: usize, end: u64) -> Result<[SnapshotFile; 2]> {
    let (schema, region) = (&collection.spec.schema, &collection.region);
    let columns: Vec<usize> = (0..schema.columns().len()).collect();
    let mut rows = SummedWriter::create(directory, region_name(collection.spec.id, shard))?;
    let mut chunks = SummedWriter::create(directory, chunks_name(collection.spec.id, shard))?;
    rows.put(&schema.to_bytes())?;
    for run in region.runs(shard, 0..end) {
        // For this chunk alone: memory of others can be used again meanwhile.
        let view = region.view();
        if region.runs(shard, run.ordinal..run.ordinal + 1).first().is_none_or(|now| now.slot != run.slot) {
            continue; // all of it has died meanwhile
        }
        let mut record = ChunkRecord::new(&run);
        let mut present = Vec::new();
        for (offset, slot) in run.slots().enumerate() {
            let row = region.row(shard, slot);
            let is_live = region.visible(&view, row);
            if is_live || collection.vectors.iter().any(|index| index.graph().stays(row)) {
                record.set(offset, !is_live);
                present.push(row);
            }
        }
        if present.is_empty() && run.len == CHUNK_ROWS {
            continue;
        }
        chunks.put(&record.encode())?;
        if present.len() == run.slots().len() {
            rows.put(&batch::encode(&region.batch(&view, shard, run.slots(), &columns)?)?)?;
        } else if !present.is_empty() {
            rows.put(&batch::encode(&region.take(&present, &columns)?)?)?;
        }
    }
    rows.put(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])?;
    Ok([rows.finish()?, chunks.finish()?])
}
