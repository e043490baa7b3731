//! The manifest: which collections there are, how many shards wrote the data, and which snapshot is the newest whole one.
//!
//! ```text
//! DIR/LOCK                                   held by the running server
//! DIR/MANIFEST                               this file: a line with format and checksum, then JSON
//! DIR/generation-000001/shard-000/…          log segments of a shard
//! DIR/generation-000001/snapshot-000007/…    region, tombstone and graph files
//! ```
//!
//! It is replaced as a whole: written beside, synced, renamed over, and the directory synced. What it does not name does
//! not exist. A generation belongs to one number of shards; another number makes another generation.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::collection::{CollectionOptions, CollectionSpec};
use crate::error::{Error, Result};
use crate::namespace::Quota;
use crate::schema::Schema;
use crate::wal::Lsn;

/// The format that this program reads and writes.
pub const FORMAT: u32 = 4;
/// The oldest that this program reads: what came since has defaults.
const FORMAT_MIN: u32 = 3;
/// Name of the file.
pub const FILE_NAME: &str = "MANIFEST";
const TAG: &str = "broadhead manifest";

/// What a data directory holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Counts up whenever the number of shards changes.
    pub generation: u32,
    /// Shards that the generation was written by.
    pub shards: usize,
    /// Number of the next collection to be created; numbers are never used twice.
    pub next_collection: u32,
    /// Collections.
    pub collections: Vec<CollectionEntry>,
    /// Namespaces, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<String, Quota>,
    /// Newest whole snapshot of this generation.
    pub snapshot: Option<SnapshotEntry>,
    /// Per shard: all that the log before this LSN wrote has been replaced since, or is in the snapshot.
    pub log_from: Vec<Lsn>,
    /// Highest time of day that was seen when it was written, in milliseconds since 1970: the clock that rows live by goes on from there.
    #[serde(default = "no_time")]
    pub clock_ms: i64,
}

fn no_time() -> i64 {
    i64::MIN
}

/// One collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionEntry {
    /// Number.
    pub id: u32,
    /// Name.
    pub name: String,
    /// Choices of its graph.
    pub options: CollectionOptions,
    /// Arrow IPC schema message, in hexadecimal.
    pub schema: String,
    /// What the schema was before columns were added, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older_schemas: Vec<String>,
}

/// A whole snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotEntry {
    /// Number, counting up within a generation.
    pub number: u64,
    /// Per shard: the log up to this LSN is in the snapshot.
    pub lsn: Vec<Lsn>,
    /// Per collection.
    pub collections: Vec<SnapshotCollection>,
}

/// One collection in a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotCollection {
    /// Number.
    pub id: u32,
    /// Bits of a row id that name the slot, when the graph was written.
    pub row_bits: u32,
    /// Scale of the codes of each vector column; `None` when it was not trained.
    pub scales: Vec<Option<f32>>,
    /// Vector columns whose codes do not fit their vectors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub misfits: Vec<usize>,
    /// Published ordinals of each shard.
    pub published: Vec<u64>,
    /// Every file, with its size and CRC-32C.
    pub files: Vec<SnapshotFile>,
}

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// Name within the snapshot's directory.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32C of the content.
    pub crc: u32,
}

impl CollectionEntry {
    /// The entry of a collection.
    pub fn of(spec: &CollectionSpec) -> CollectionEntry {
        let digits = |schema: &Schema| schema.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        CollectionEntry {
            id: spec.id,
            name: spec.name.clone(),
            options: spec.options,
            schema: digits(&spec.schema),
            older_schemas: spec.schema.older().iter().map(|older| digits(older)).collect(),
        }
    }

    /// The collection of an entry.
    pub fn spec(&self) -> Result<CollectionSpec> {
        let older = self.older_schemas.iter().map(|digits| schema_of(digits)).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(schema_of(&self.schema)?.with_older(older)?);
        Ok(CollectionSpec { id: self.id, name: self.name.clone(), schema, options: self.options })
    }
}

/// The schema of an entry.
fn schema_of(digits: &str) -> Result<Schema> {
    let invalid =
        || Error::InvalidSchema { column: String::new(), problem: "the manifest's schema is not hexadecimal" };
    let bytes = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|text| u8::from_str_radix(text, 16).ok()))
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(invalid)?;
    Schema::from_bytes(&bytes)
}

impl Manifest {
    /// The manifest of an empty directory.
    pub fn empty(shards: usize) -> Manifest {
        Manifest {
            generation: 1,
            shards,
            next_collection: 1,
            collections: Vec::new(),
            namespaces: BTreeMap::new(),
            snapshot: None,
            log_from: vec![0; shards],
            clock_ms: no_time(),
        }
    }

    /// Reads the manifest of `data`; `None` when there is none.
    pub fn read(data: &Path) -> Result<Option<Manifest>> {
        let path = data.join(FILE_NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { operation: "read", path, source }),
        };
        let damaged = |offset: usize, problem| Error::Damaged { path: path.clone(), offset: offset as u64, problem };
        let line_end = text.iter().position(|&byte| byte == b'\n').ok_or_else(|| damaged(0, "no first line"))?;
        let (line, json) = (&text[..line_end], &text[line_end + 1..]);
        let line = std::str::from_utf8(line).map_err(|_| damaged(0, "the first line is not text"))?;
        let mut words = line.strip_prefix(TAG).ok_or_else(|| damaged(0, "not a manifest"))?.split_whitespace();
        let format = words.next().and_then(|word| word.parse().ok()).ok_or_else(|| damaged(0, "no format number"))?;
        if format > FORMAT {
            return Err(Error::NewerFormat { path, found: format, supported: FORMAT });
        }
        if format < FORMAT_MIN {
            return Err(Error::OlderFormat { path, found: format, supported: FORMAT });
        }
        let crc = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
        if crc != Some(crc_fast::crc32_iscsi(json)) {
            return Err(damaged(line_end + 1, "the checksum does not match"));
        }
        let manifest = serde_json::from_slice(json).map_err(|_| damaged(line_end + 1, "not the expected JSON"))?;
        Ok(Some(manifest))
    }

    /// Replaces the manifest of `data`; durable when it returns.
    pub fn write(&self, data: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).expect("a manifest has no map with odd keys");
        let crc = crc_fast::crc32_iscsi(&json);
        let mut text = format!("{TAG} {FORMAT} {crc:08x}\n").into_bytes();
        text.extend_from_slice(&json);
        let path = data.join(FILE_NAME);
        let beside = data.join(format!("{FILE_NAME}.new"));
        let io = |operation, path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::Io { operation, path, source }
        };
        let mut file = File::create(&beside).map_err(io("create", &beside))?;
        file.write_all(&text).map_err(io("write", &beside))?;
        file.sync_all().map_err(io("sync", &beside))?;
        std::fs::rename(&beside, &path).map_err(io("rename", &beside))?;
        sync_directory(data)
    }

    /// First LSN of a shard's log that a start needs.
    pub fn replay_from(&self, shard: usize) -> Lsn {
        let snapshot = self.snapshot.as_ref().and_then(|snapshot| snapshot.lsn.get(shard)).copied().unwrap_or(0);
        self.log_from.get(shard).copied().unwrap_or(0).max(snapshot + 1)
    }

    /// Directory of this generation.
    pub fn generation_directory(&self, data: &Path) -> PathBuf {
        data.join(format!("generation-{:06}", self.generation))
    }

    /// Directory of a shard's log.
    pub fn shard_directory(&self, data: &Path, shard: usize) -> PathBuf {
        self.generation_directory(data).join(format!("shard-{shard:03}"))
    }

    /// Directory of a snapshot.
    pub fn snapshot_directory(&self, data: &Path, number: u64) -> PathBuf {
        self.generation_directory(data).join(format!("snapshot-{number:06}"))
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> Result<()> {
    // The parent of a relative path of one name is the empty path.
    let directory = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let sync = || File::open(directory)?.sync_all();
    sync().map_err(|source| Error::Io { operation: "sync", path: path.to_path_buf(), source })
}

/// Creates a directory and all above it; durable when it returns.
pub fn create_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|source| Error::Io {
        operation: "create",
        path: path.to_path_buf(),
        source,
    })?;
    if let Some(parent) = path.parent() {
        // The parent of a bare name is the empty path, which names no file.
        sync_directory(if parent == Path::new("") { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// The data directory, held by this process alone.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Creates `data` if it is not there, and locks it.
    pub fn take(data: &Path) -> Result<DirectoryLock> {
        create_directory(data)?;
        let path = data.join("LOCK");
        let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o644).open(&path);
        let file = open.map_err(|source| Error::Io { operation: "open", path, source })?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DirectoryLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::DirectoryInUse { path: data.to_path_buf() }),
            Err(errno) => Err(Error::Io { operation: "lock", path: data.to_path_buf(), source: errno.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let snapshot = SnapshotEntry { number: 3, lsn: vec![10, 20], collections: Vec::new() };
        Manifest { snapshot: Some(snapshot), ..Manifest::empty(2) }
    }

    #[test]
    fn the_directory_of_a_bare_name_is_the_current_one() {
        let parent = Path::new("data").parent().expect("it has one");
        sync_directory(parent).expect("the current directory");
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().expect("temporary directory");
        assert!(Manifest::read(directory.path()).expect("readable").is_none());
        sample().write(directory.path()).expect("written");
        assert_eq!(Manifest::read(directory.path()).expect("readable"), Some(sample()));
    }

    #[test]
    fn damage_and_newer_formats_are_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        sample().write(directory.path()).expect("written");
        let path = directory.path().join(FILE_NAME);
        let whole = std::fs::read(&path).expect("readable");
        for position in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[position] ^= 0x04;
            std::fs::write(&path, &bytes).expect("writable");
            let read = Manifest::read(directory.path());
            assert!(
                matches!(read, Err(Error::Damaged { .. } | Error::NewerFormat { .. } | Error::OlderFormat { .. })),
                "flipped byte {position} went unnoticed: {read:?}"
            );
        }
        let text = String::from_utf8(whole).expect("text").replacen("manifest 4", "manifest 5", 1);
        std::fs::write(&path, text).expect("writable");
        let read = Manifest::read(directory.path());
        assert!(matches!(read, Err(Error::NewerFormat { found: 5, supported: FORMAT, .. })), "{read:?}");
        let text = String::from_utf8(std::fs::read(&path).expect("readable")).expect("text");
        std::fs::write(&path, text.replacen("manifest 5", "manifest 3", 1)).expect("writable");
        assert_eq!(Manifest::read(directory.path()).expect("the format before has all that is needed"), Some(sample()));
        // What the program of format 1 wrote into an empty directory of one shard.
        let old = "broadhead manifest 1 0d2a2a0c\n{\n  \"generation\": 1,\n  \"shards\": 1\n}";
        std::fs::write(&path, old).expect("writable");
        let read = Manifest::read(directory.path());
        assert!(matches!(read, Err(Error::OlderFormat { found: 1, supported: FORMAT, .. })), "{read:?}");
    }

    #[test]
    fn one_server_a_directory() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let held = DirectoryLock::take(directory.path()).expect("free");
        let second = DirectoryLock::take(directory.path());
        assert!(matches!(second, Err(Error::DirectoryInUse { .. })), "{second:?}");
        drop(held);
        DirectoryLock::take(directory.path()).expect("free again");
    }
}
