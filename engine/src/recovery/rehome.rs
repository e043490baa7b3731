//! Data that was written by another number of shards: every row is brought to its new home.
//!
//! The old shards' snapshots and logs are read, one shard after the other, into the new shards' partitions in memory.
//! All versions of an id are in one old shard, so their order is kept. The result is written as the first snapshot of a new
//! generation, and the manifest that names it makes it valid. Cut off at any moment before, nothing has changed.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::{Decode, Progress, apply, collections_of, snapshot_bytes};
use crate::batch::BatchView;
use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::ids::IdList;
use crate::manifest::{Manifest, create_directory};
use crate::placement;
use crate::shard::{Member, Operation, Partition};
use crate::snapshot::{self, Point};
use crate::uring::Ring;
use crate::wal::{DiskConfig, DiskStorage, Replay};

/// Bytes of log between two looks at the progress.
const STEP_BYTES: u64 = 1 << 20;

/// Rows of the new shards while they come together.
struct Homes {
    partitions: Vec<Partition>,
    collections: Vec<Arc<Collection>>,
}

/// Brings the data of `old` home to `shards` shards; returns the manifest of the new generation.
pub fn rehome(data: &Path, old: &Manifest, shards: usize, decode: Decode, progress: &Progress) -> Result<Manifest> {
    tracing::info!(
        from = old.shards,
        to = shards,
        "the number of shards has changed: rows are brought to their new homes"
    );
    let collections = collections_of(old, shards)?;
    let mut homes = Homes { partitions: (0..shards).map(Partition::new).collect(), collections };
    for (shard, partition) in homes.partitions.iter_mut().enumerate() {
        for collection in &homes.collections {
            partition.install(Member::new(collection.clone(), shard));
        }
    }
    progress.expect(snapshot_bytes(old));
    let ring = Rc::new(RefCell::new(Ring::new(8)?));
    for shard in 0..old.shards {
        homes.load(data, old, shard, progress)?;
        let config = DiskConfig::new(old.shard_directory(data, shard), shard);
        let mut storage = DiskStorage::open(config, ring.clone())?;
        let from = old.replay_from(shard);
        let mut replay = Replay::begin(&mut storage, from)?;
        progress.expect(replay.total_bytes(&storage));
        let mut sink = |lsn, payload: &[u8]| {
            let applied = decode(payload).and_then(|operation| homes.apply(operation));
            applied.map_err(|cause| Error::Unreplayable { shard, lsn, cause: Box::new(cause) })
        };
        let (mut passed, mut is_over) = (0, false);
        while !is_over {
            is_over = replay.step(&mut storage, STEP_BYTES, &mut sink)?.is_some();
            progress.add(replay.passed_bytes() - passed);
            passed = replay.passed_bytes();
        }
        progress.add(replay.total_bytes(&storage).saturating_sub(passed));
    }
    let mut manifest =
        Manifest { generation: old.generation + 1, shards, snapshot: None, log_from: vec![0; shards], ..old.clone() };
    // A generation of this number that no manifest named was cut off half-way.
    let directory = manifest.generation_directory(data);
    if directory.exists() {
        let removed = std::fs::remove_dir_all(&directory);
        removed.map_err(|source| Error::Io { operation: "remove", path: directory, source })?;
    }
    manifest.snapshot = Some(homes.write_generation(data, &manifest)?);
    manifest.write(data)?;
    Ok(manifest)
}

impl Homes {
    /// Brings the rows of an old shard's part of the snapshot home. The dead ones stay behind.
    fn load(&mut self, data: &Path, old: &Manifest, shard: usize, progress: &Progress) -> Result<()> {
        let Some(entry) = &old.snapshot else { return Ok(()) };
        let directory = old.snapshot_directory(data, entry.number);
        for index in 0..self.collections.len() {
            let collection = self.collections[index].clone();
            let found = entry.collections.iter().find(|entry| entry.id == collection.spec.id);
            let Some(found) = found else { continue };
            let add = |bytes| progress.add(bytes);
            snapshot::for_each_live_batch(&directory, found, &collection, shard, &add, &mut |batch| {
                self.write(collection.spec.id, batch)
            })?;
        }
        Ok(())
    }

    fn apply(&mut self, operation: Operation<'_>) -> Result<()> {
        let spec =
            self.collections.iter().map(|collection| &collection.spec).find(|spec| spec.id == operation.collection());
        let Some(spec) = spec else { return Ok(()) }; // dropped later
        let schema = spec.schema.clone();
        match operation {
            Operation::Write { collection, fingerprint, batch } => {
                self.write(collection, &BatchView::parse(schema.known_version(fingerprint)?, batch)?)
            }
            Operation::Delete { collection, ids } => {
                ids.check(schema.id_kind())?;
                let shards = self.partitions.len();
                for (home, partition) in self.partitions.iter_mut().enumerate() {
                    let of_home = ids.iter().filter(|&id| placement::home(id, shards) == home);
                    let list = IdList::from_ids(schema.id_kind(), of_home);
                    if !list.view().is_empty() {
                        apply(partition, Operation::Delete { collection, ids: list.view() }, 0)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn write(&mut self, collection: u32, batch: &BatchView<'_>) -> Result<()> {
        for part in batch.split(self.partitions.len(), 0)? {
            let fingerprint = batch.schema().fingerprint();
            let operation = Operation::Write { collection, fingerprint, batch: &part.message };
            apply(&mut self.partitions[part.shard], operation, 0)?;
        }
        Ok(())
    }

    /// Writes everything as the first snapshot of a new generation.
    fn write_generation(&self, data: &Path, manifest: &Manifest) -> Result<crate::manifest::SnapshotEntry> {
        for shard in 0..manifest.shards {
            create_directory(&manifest.shard_directory(data, shard))?;
        }
        let published = |partition: &Partition| {
            let length =
                |member: &Member| (member.collection.spec.id, member.collection.region.published(partition.shard()));
            partition.members().map(length).collect()
        };
        let points: Vec<Point> =
            self.partitions.iter().map(|partition| Point { lsn: 0, published: published(partition) }).collect();
        for collection in &self.collections {
            collection.complete_graphs()?;
        }
        let directory = manifest.snapshot_directory(data, 1);
        Ok(snapshot::write(&directory, 1, &self.collections, &points)?.0)
    }
}
