//! Loading one shard's part of a snapshot.

use std::path::Path;
use std::sync::Arc;

use super::file::SummedReader;
use super::{dead_name, graph_name, region_name};
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
    for (index, &scale) in collection.vectors.iter().zip(&entry.scales) {
        index.scale.restore(scale);
    }
    let id = collection.spec.id;
    let schema = collection.spec.schema.clone();
    let file = named(directory, entry, &region_name(id, shard))?;
    read_batches(directory, file, &schema, progress, &mut |batch| {
        let slots = member.writer.fill(batch)?;
        member.writer.publish(slots.end);
        Ok(())
    })?;
    let slots = collection.region.published(shard);
    if slots != entry.rows[shard] {
        let path = directory.join(region_name(id, shard));
        return Err(Error::Damaged { path, offset: 0, problem: "the number of rows is not the manifest's" });
    }
    let dead = read_dead(directory, entry, id, shard, progress)?;
    member.writer.restore_deleted(&dead);
    member.index_ids(|slot| !is_set(&dead, slot));
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
        let mut loader = collection.graph_loader()?;
        for shard in 0..collection.shards() {
            let file = named(directory, entry, &graph_name(collection.spec.id, shard, vector))?;
            let mut reader = SummedReader::open(directory, file)?;
            let path = reader.path().to_path_buf();
            loader.read(shard, region.published(shard), &path, &mut reader)?;
            reader.finish()?;
        }
        index.set_graph(loader.finish(&index.space));
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
    let (id, schema) = (collection.spec.id, &collection.spec.schema);
    let dead = read_dead(directory, entry, id, shard, progress)?;
    let mut first = 0;
    let file = named(directory, entry, &region_name(id, shard))?;
    read_batches(directory, file, schema, progress, &mut |batch| {
        let rows = batch.rows() as u32;
        let live: Vec<u32> = (0..rows).filter(|row| !is_set(&dead, first + row)).collect();
        first += rows;
        match live.len() {
            0 => Ok(()),
            all if all == batch.rows() => sink(batch),
            _ => sink(&BatchView::parse(schema, &batch.take(&live, 0)?)?),
        }
    })
}

fn is_set(bits: &[u8], slot: u32) -> bool {
    bits[slot as usize / 8] & (1 << (slot % 8)) != 0
}

fn named<'a>(directory: &Path, entry: &'a SnapshotCollection, name: &str) -> Result<&'a SnapshotFile> {
    entry.files.iter().find(|file| file.name == name).ok_or_else(|| Error::Damaged {
        path: directory.join(name),
        offset: 0,
        problem: "the manifest does not name this file",
    })
}

/// Feeds every row of a region file to `sink`, batch by batch.
fn read_batches(
    directory: &Path,
    file: &SnapshotFile,
    schema: &Schema,
    progress: &dyn Fn(u64),
    sink: &mut dyn FnMut(&BatchView<'_>) -> Result<()>,
) -> Result<()> {
    let mut reader = SummedReader::open(directory, file)?;
    let mut message = Vec::new();
    read_message(&mut reader, &mut message)?;
    if Schema::from_bytes(&message)?.fingerprint() != schema.fingerprint() {
        return Err(reader.damaged(0, "the schema is not the collection's"));
    }
    while read_message(&mut reader, &mut message)? {
        sink(&BatchView::parse(schema, &message)?)?;
        progress(message.len() as u64);
    }
    reader.finish()
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

fn read_dead(
    directory: &Path,
    entry: &SnapshotCollection,
    collection: u32,
    shard: usize,
    progress: &dyn Fn(u64),
) -> Result<Vec<u8>> {
    let file = named(directory, entry, &dead_name(collection, shard))?;
    let mut reader = SummedReader::open(directory, file)?;
    let rows = entry.rows.get(shard).copied().unwrap_or(0);
    if file.bytes != u64::from(rows).div_ceil(8) {
        return Err(reader.damaged(0, "the number of bits is not the number of rows"));
    }
    let mut bits = vec![0; file.bytes as usize];
    reader.take(&mut bits)?;
    progress(bits.len() as u64);
    reader.finish()?;
    Ok(bits)
}
