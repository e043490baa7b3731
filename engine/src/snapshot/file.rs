//! Files that know their length and checksum.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crc_fast::{CrcAlgorithm, Digest};

use crate::error::{Error, Result};
use crate::manifest::SnapshotFile;

const BUFFER_BYTES: usize = 1 << 20;

/// A file being written, checksummed on the way.
pub struct SummedWriter {
    path: PathBuf,
    name: String,
    inner: BufWriter<File>,
    digest: Digest,
    bytes: u64,
}

impl SummedWriter {
    /// Creates `directory/name`.
    pub fn create(directory: &Path, name: String) -> Result<SummedWriter> {
        let path = directory.join(&name);
        let file =
            File::create(&path).map_err(|source| Error::Io { operation: "create", path: path.clone(), source })?;
        let inner = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(SummedWriter { path, name, inner, digest: Digest::new(CrcAlgorithm::Crc32Iscsi), bytes: 0 })
    }

    /// Writes all of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|source| self.error("write", source))
    }

    /// Path, for errors.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the content durable.
    pub fn finish(mut self) -> Result<SnapshotFile> {
        let sync = self.inner.flush().and_then(|()| self.inner.get_ref().sync_all());
        sync.map_err(|source| self.error("sync", source))?;
        Ok(SnapshotFile { name: self.name, bytes: self.bytes, crc: self.digest.finalize() as u32 })
    }

    fn error(&self, operation: &'static str, source: std::io::Error) -> Error {
        Error::Io { operation, path: self.path.clone(), source }
    }
}

impl Write for SummedWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.inner.write_all(bytes)?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// A file being read; [`SummedReader::finish`] says whether it was whole.
pub struct SummedReader {
    path: PathBuf,
    inner: BufReader<File>,
    digest: Digest,
    bytes: u64,
    expected: SnapshotFile,
}

impl SummedReader {
    /// Opens a file that the manifest names.
    pub fn open(directory: &Path, expected: &SnapshotFile) -> Result<SummedReader> {
        let path = directory.join(&expected.name);
        let file = File::open(&path).map_err(|source| Error::Io { operation: "open", path: path.clone(), source })?;
        let inner = BufReader::with_capacity(BUFFER_BYTES, file);
        let digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        Ok(SummedReader { path, inner, digest, bytes: 0, expected: expected.clone() })
    }

    /// Fills `bytes`.
    pub fn take(&mut self, bytes: &mut [u8]) -> Result<()> {
        let offset = self.bytes;
        self.read_exact(bytes).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged(offset, "the file ends early"),
            _ => Error::Io { operation: "read", path: self.path.clone(), source },
        })
    }

    /// Bytes that the manifest says are left.
    pub fn left(&self) -> u64 {
        self.expected.bytes.saturating_sub(self.bytes)
    }

    /// Damage at `offset`.
    pub fn damaged(&self, offset: u64, problem: &'static str) -> Error {
        Error::Damaged { path: self.path.clone(), offset, problem }
    }

    /// Where the next byte comes from.
    pub fn position(&self) -> u64 {
        self.bytes
    }

    /// Path, for errors.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks length and checksum of the whole file.
    pub fn finish(self) -> Result<()> {
        if self.left() != 0 {
            return Err(self.damaged(self.bytes, "bytes are left over"));
        }
        if self.digest.finalize() as u32 != self.expected.crc {
            return Err(Error::Damaged {
                path: self.path,
                offset: 0,
                problem: "the checksum of the file does not match",
            });
        }
        Ok(())
    }
}

impl Read for SummedReader {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.digest.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}
