//! Loading one shard's part of a snapshot.

use std::path::Path;
use std::sync::Arc;

use super::chunk::{ChunkRecord, RECORD_BYTES};
use super::file::SummedReader;
use super::{chunks_name, graph_name, region_name};
use crate::batch::{self, BatchView};
use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::manifest::{SnapshotCollection, SnapshotFile};
use crate::schema::Schema;
use crate::shard::Member;

/// Reads `shard`'s rows of one collection into `collection`, which must be empty there. `progress` is told the bytes read.
pub fn load_shard(
    directory: &Path,
    entry: &SnapshotCollection,
    collection: &Arc<Collection>,
    shard: usize,
    progress: &dyn Fn(u64),
) -> Result<Member> {
    let mut member = Member::new(collection.clone(), shard);
    for (at, (index, &scale)) in collection.vectors.iter().zip(&entry.scales).enumerate() {
        index.scale.restore(scale, !entry.misfits.contains(&at));
    }
    let path = directory.join(region_name(collection.spec.id, shard));
    let misfit = |error| match error {
        Error::MalformedBatch { problem } => Error::Damaged { path: path.clone(), offset: 0, problem },
        other => other,
    };
    let mut sink = |record: &ChunkRecord, batch: Option<&BatchView<'_>>| {
        member.writer.restore_chunk(&record.image(), batch).map_err(misfit)
    };
    for_each_chunk(directory, entry, collection, shard, progress, &mut sink)?;
    let published = entry.published.get(shard).copied().unwrap_or(0);
    member.writer.finish_restore(published).map_err(misfit)?;
    if !member.index_ids() {
        return Err(Error::Damaged { path, offset: 0, problem: "two live rows have the same id" });
    }
    Ok(member)
}

/// Reads the graphs of one collection, whose rows are all there.
pub fn load_graphs(directory: &Path, entry: &SnapshotCollection, collection: &Arc<Collection>) -> Result<()> {
    let region = &collection.region;
    // Links hold row ids: where those have another width now, rows are indexed anew.
    if entry.row_bits != region.row_bits() {
        return Ok(());
    }
    for (vector, index) in collection.vectors.iter().enumerate() {
        let mut loader = collection.graph_loader(vector)?;
        for shard in 0..collection.shards() {
            let file = named(directory, entry, &graph_name(collection.spec.id, shard, vector))?;
            let mut reader = SummedReader::open(directory, file)?;
            let path = reader.path().to_path_buf();
            let exists = |row| region.is_published(row);
            loader.read(shard, region.published(shard), exists, &path, &mut reader)?;
            reader.finish()?;
        }
        index.set_graph(loader.finish(index.space()));
    }
    Ok(())
}

/// Feeds the live rows of one shard's part of a collection to `sink`, batch by batch, without loading them.
pub fn for_each_live_batch(
    directory: &Path,
    entry: &SnapshotCollection,
    collection: &Collection,
    shard: usize,
    progress: &dyn Fn(u64),
    sink: &mut dyn FnMut(&BatchView<'_>) -> Result<()>,
) -> Result<()> {
    for_each_chunk(directory, entry, collection, shard, progress, &mut |record, batch| {
        let Some(batch) = batch else { return Ok(()) };
        let live = record.live();
        match live.len() {
            0 => Ok(()),
            all if all == batch.rows() => sink(batch),
            _ => sink(&BatchView::parse(batch.schema(), &batch.take(&live, 0)?)?),
        }
    })
}

fn named<'a>(directory: &Path, entry: &'a SnapshotCollection, name: &str) -> Result<&'a SnapshotFile> {
    entry.files.iter().find(|file| file.name == name).ok_or_else(|| Error::Damaged {
        path: directory.join(name),
        offset: 0,
        problem: "the manifest does not name this file",
    })
}

/// Takes one chunk of a snapshot, and its rows, if it has any.
type ChunkSink<'a> = dyn FnMut(&ChunkRecord, Option<&BatchView<'_>>) -> Result<()> + 'a;

/// Feeds every chunk of one shard's part of a collection to `sink`.
fn for_each_chunk(
    directory: &Path,
    entry: &SnapshotCollection,
    collection: &Collection,
    shard: usize,
    progress: &dyn Fn(u64),
    sink: &mut ChunkSink<'_>,
) -> Result<()> {
    let (id, schema) = (collection.spec.id, &collection.spec.schema);
    let mut chunks = SummedReader::open(directory, named(directory, entry, &chunks_name(id, shard))?)?;
    let mut rows = SummedReader::open(directory, named(directory, entry, &region_name(id, shard))?)?;
    let mut message = Vec::new();
    read_message(&mut rows, &mut message)?;
    let fingerprint = Schema::from_bytes(&message)?.fingerprint();
    let Some(schema) = schema.version(fingerprint) else {
        return Err(rows.damaged(0, "the schema is not the collection's"));
    };
    while chunks.left() > 0 {
        let mut record = [0; RECORD_BYTES];
        chunks.take(&mut record)?;
        let record = ChunkRecord::decode(record);
        if record.rows() == 0 {
            sink(&record, None)?;
            continue;
        }
        let at = rows.position();
        if !read_message(&mut rows, &mut message)? {
            return Err(rows.damaged(at, "a chunk's rows are missing"));
        }
        sink(&record, Some(&BatchView::parse(schema, &message)?))?;
        progress((message.len() + RECORD_BYTES) as u64);
    }
    let at = rows.position();
    if read_message(&mut rows, &mut message)? {
        return Err(rows.damaged(at, "there are rows of no chunk"));
    }
    chunks.finish()?;
    rows.finish()
}

/// Reads one encapsulated Arrow IPC message. False at the end-of-stream marker.
fn read_message(reader: &mut SummedReader, message: &mut Vec<u8>) -> Result<bool> {
    let at = reader.position();
    message.resize(8, 0);
    reader.take(message)?;
    let metadata = u32::from_le_bytes(message[4..8].try_into().expect("4 bytes")) as usize;
    if metadata == 0 {
        return Ok(false);
    }
    if metadata as u64 > reader.left() {
        return Err(reader.damaged(at, "a message is longer than the file"));
    }
    message.resize(8 + metadata, 0);
    reader.take(&mut message[8..])?;
    let body = batch::body_len(message).map_err(|_| reader.damaged(at, "not an Arrow IPC message"))?;
    if body as u64 > reader.left() {
        return Err(reader.damaged(at, "a message is longer than the file"));
    }
    message.resize(8 + metadata + body, 0);
    reader.take(&mut message[8 + metadata..])?;
    Ok(true)
}
