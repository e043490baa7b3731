//! From a data directory to rows that can be read, and from there to graphs.
//!
//! 1. [`open`] locks the directory, reads the manifest, and does what the table in `decision` says. Data written by another
//!    number of shards is brought home first: `rehome`.
//! 2. [`load_shard`] runs on each shard's thread: its part of the snapshot.
//! 3. [`load_graphs`] puts the graphs of the snapshot back, once every shard has its rows. From here on rows are served.
//! 4. Each shard goes through its log behind the snapshot, in the steps of [`LogTail`] and beside what it serves, record by
//!    record through the same `stage` and `publish` as live operations. It takes operations when it is through. Rows that
//!    no graph holds are indexed behind.

mod decision;
mod log_tail;
mod progress;
mod rehome;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use decision::{Action, DataState, ManifestState, ShardCount, SnapshotState, decide};
pub use log_tail::LogTail;
pub use progress::Progress;

use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::hnsw::Indexer;
use crate::manifest::{CollectionEntry, DirectoryLock, FILE_NAME, Manifest, create_directory};
use crate::namespace::Namespace;
use crate::shard::{Member, Operation, Partition};
use crate::snapshot;
use crate::wal::Lsn;

/// Turns a log record's payload into an operation. Whoever wrote the payload knows how.
pub type Decode = for<'a> fn(&'a [u8]) -> Result<Operation<'a>>;

/// A data directory that is ready to be recovered from.
#[derive(Debug)]
pub struct Opened {
    /// The directory.
    pub data: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its collections, in the order of the manifest; without rows so far.
    pub collections: Vec<Arc<Collection>>,
    _lock: DirectoryLock,
}

/// Opens a data directory for `shards` shards, creating it if it is not there.
pub fn open(data: &Path, shards: usize, decode: Decode, progress: &Progress) -> Result<Opened> {
    let lock = DirectoryLock::take(data)?;
    let (manifest, refusal) = match Manifest::read(data) {
        Ok(manifest) => (manifest, None),
        Err(error @ (Error::Damaged { .. } | Error::NewerFormat { .. } | Error::OlderFormat { .. })) => {
            (None, Some(error))
        }
        Err(error) => return Err(error),
    };
    let path = || data.join(FILE_NAME);
    let damaged = |path: PathBuf, problem| Err(Error::Damaged { path, offset: 0, problem });
    let manifest = match (look(data, manifest.as_ref(), refusal.as_ref(), shards)?, manifest) {
        (Action::Create, _) => create(data, shards)?,
        (Action::Replay | Action::LoadAndReplay, Some(manifest)) => manifest,
        (Action::Rehome | Action::LoadAndRehome, Some(manifest)) => {
            rehome::rehome(data, &manifest, shards, decode, progress)?
        }
        (Action::RefuseLost, Some(manifest)) => {
            return damaged(manifest.generation_directory(data), "the manifest names this directory, and it is gone");
        }
        (Action::RefuseNoSnapshot, Some(manifest)) => {
            let number = manifest.snapshot.as_ref().map_or(0, |snapshot| snapshot.number);
            return damaged(
                manifest.snapshot_directory(data, number),
                "the manifest names this snapshot, and it is gone",
            );
        }
        (Action::RefuseUnexplained, _) => return damaged(path(), "there are logs, and no manifest that explains them"),
        (Action::RefuseDamaged | Action::RefuseNewer, _) => return Err(refusal.expect("it is why")),
        (action, None) => unreachable!("{action:?} without a manifest"),
    };
    remove_rubbish(data, &manifest)?;
    let collections = collections_of(&manifest, shards)?;
    collections.iter().try_for_each(|collection| collection.region.keep_on_disk(data))?;
    progress.expect(snapshot_bytes(&manifest));
    Ok(Opened { data: data.to_path_buf(), manifest, collections, _lock: lock })
}

fn look(data: &Path, manifest: Option<&Manifest>, refusal: Option<&Error>, shards: usize) -> Result<Action> {
    let state = match (manifest, refusal) {
        (Some(_), _) => ManifestState::Valid,
        (None, Some(Error::NewerFormat { .. })) => ManifestState::Newer,
        (None, Some(_)) => ManifestState::Damaged,
        (None, None) => ManifestState::Absent,
    };
    let present = match manifest {
        Some(manifest) => manifest.generation_directory(data).is_dir(),
        None => has_log(data)?,
    };
    let snapshot = match manifest.and_then(|manifest| Some((manifest, manifest.snapshot.as_ref()?))) {
        None => SnapshotState::NotNamed,
        Some((manifest, entry)) if manifest.snapshot_directory(data, entry.number).is_dir() => SnapshotState::Present,
        Some(_) => SnapshotState::Missing,
    };
    let same = manifest.is_none_or(|manifest| manifest.shards == shards);
    let data = if present { DataState::Present } else { DataState::Absent };
    Ok(decide(state, data, snapshot, if same { ShardCount::Same } else { ShardCount::Different }))
}

/// Whether any file lies in a shard's directory. A start that was cut off before its manifest leaves empty ones.
fn has_log(data: &Path) -> Result<bool> {
    for generation in children(data)?.into_iter().filter(|path| is_named(path, "generation-")) {
        for shard in children(&generation)? {
            if shard.is_dir() && !children(&shard)?.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn create(data: &Path, shards: usize) -> Result<Manifest> {
    let manifest = Manifest::empty(shards);
    for shard in 0..shards {
        create_directory(&manifest.shard_directory(data, shard))?;
    }
    crate::manifest::sync_directory(data)?;
    manifest.write(data)?;
    Ok(manifest)
}

fn collections_of(manifest: &Manifest, shards: usize) -> Result<Vec<Arc<Collection>>> {
    let namespaces: BTreeMap<&str, Arc<Namespace>> =
        manifest.namespaces.iter().map(|(name, &quota)| (name.as_str(), Namespace::new(name, quota))).collect();
    let collection = |entry: &CollectionEntry| {
        let collection = Collection::without_graphs(entry.spec()?, shards)?;
        if let Some(namespace) = Namespace::split(&entry.name).0.and_then(|name| namespaces.get(name)) {
            collection.join(namespace.clone());
        }
        Ok(collection)
    };
    manifest.collections.iter().map(collection).collect()
}

/// Removes generations and snapshots that the manifest does not name: what a crash left half done.
fn remove_rubbish(data: &Path, manifest: &Manifest) -> Result<()> {
    let generation = manifest.generation_directory(data);
    let snapshot = manifest.snapshot.as_ref().map(|entry| manifest.snapshot_directory(data, entry.number));
    let generations = children(data)?.into_iter().filter(|path| is_named(path, "generation-") && *path != generation);
    let snapshots = children(&generation)?;
    let snapshots = snapshots.into_iter().filter(|path| is_named(path, "snapshot-") && Some(path) != snapshot.as_ref());
    for path in generations.chain(snapshots) {
        tracing::info!(path = %path.display(), "removing what no manifest names");
        std::fs::remove_dir_all(&path).map_err(|source| Error::Io { operation: "remove", path, source })?;
    }
    Ok(())
}

fn children(path: &Path) -> Result<Vec<PathBuf>> {
    let list = || std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    list().map_err(|source| Error::Io { operation: "list", path: path.to_path_buf(), source })
}

fn is_named(path: &Path, prefix: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
}

fn snapshot_bytes(manifest: &Manifest) -> u64 {
    let files = manifest.snapshot.iter().flat_map(|entry| &entry.collections).flat_map(|entry| &entry.files);
    files.map(|file| file.bytes).sum()
}

/// Brings the rows of one shard back that are in the snapshot. Those of the log behind it are still to come: [`LogTail`].
pub fn load_shard(opened: &Opened, shard: usize, progress: &Progress) -> Result<Partition> {
    let Opened { data, manifest, collections, .. } = opened;
    let mut partition = Partition::new(shard);
    for collection in collections {
        let entry = manifest.snapshot.as_ref().and_then(|snapshot| {
            let entry = snapshot.collections.iter().find(|entry| entry.id == collection.spec.id)?;
            Some((manifest.snapshot_directory(data, snapshot.number), entry))
        });
        let member = match entry {
            Some((directory, entry)) => {
                snapshot::load_shard(&directory, entry, collection, shard, &|bytes| progress.add(bytes))?
            }
            None => Member::new(collection.clone(), shard),
        };
        partition.install(member);
    }
    if manifest.snapshot.is_some() {
        partition.has_snapshot();
    }
    Ok(partition)
}

/// Applies an operation of the log as if it came now. One on a collection that was dropped later does nothing.
fn apply(partition: &mut Partition, operation: Operation<'_>, lsn: Lsn) -> Result<()> {
    match partition.stage(operation, None) {
        Ok(staged) => {
            partition.publish(staged, lsn);
            Ok(())
        }
        Err(Error::UnknownCollection { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Puts the graphs of the snapshot back, once every shard has its rows, and gives each shard its indexers: one for each
/// vector column of each collection, in the order of [`Opened::collections`].
pub fn load_graphs(opened: &Opened) -> Result<Vec<Vec<Vec<Indexer>>>> {
    let Opened { data, manifest, collections, .. } = opened;
    let mut indexers: Vec<Vec<Vec<Indexer>>> = (0..manifest.shards).map(|_| Vec::new()).collect();
    for collection in collections {
        if let Some(snapshot) = &manifest.snapshot
            && let Some(entry) = snapshot.collections.iter().find(|entry| entry.id == collection.spec.id)
        {
            snapshot::load_graphs(&manifest.snapshot_directory(data, snapshot.number), entry, collection)?;
        }
        collection.complete_graphs()?;
        for (shard, indexers) in indexers.iter_mut().enumerate() {
            let of_shard = |index: &Arc<crate::collection::VectorIndex>| Indexer::new(index.graph().clone(), shard);
            indexers.push(collection.vectors.iter().map(of_shard).collect());
        }
    }
    Ok(indexers)
}
