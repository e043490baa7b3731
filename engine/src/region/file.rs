//! The file that full vectors are moved to where they are not to stay in memory.
//!
//! It is scratch space: it has no name, so it is gone with the process, and log and snapshot are what a start reads. A row is at
//! `row id × bytes of a row`; where no row was moved to, the file has a hole.
//!
//! Chunks are written past the page cache where the file system can do that. They are read through it, row by row and without
//! reading ahead: what is searched for again and again is in memory for as long as there is memory that nobody else wants.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};

/// One file, opened for each of its uses.
#[derive(Debug)]
pub(super) struct VectorFile {
    /// For reads of whole chunks.
    pub mapped: File,
    written: File,
    row_reads: Arc<OwnedFd>,
}

impl VectorFile {
    /// A file without a name in a directory.
    pub fn create(directory: &Path) -> io::Result<VectorFile> {
        let mapped = tempfile::tempfile_in(directory)?;
        let again = format!("/proc/self/fd/{}", mapped.as_raw_fd());
        let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&again);
        let written = direct.or_else(|_| mapped.try_clone())?;
        let row_reads = OwnedFd::from(File::open(&again)?);
        // Only advice: with reading ahead everything works, slower.
        let _ = fadvise(&row_reads, 0, None, Advice::Random);
        Ok(VectorFile { mapped, written, row_reads: Arc::new(row_reads) })
    }

    /// Writes whole pages. They can be read when this returns; after a power cut nobody asks for them.
    pub fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.written.write_all_at(bytes, offset)
    }

    /// The file for reads of single rows.
    pub fn row_reads(&self) -> &Arc<OwnedFd> {
        &self.row_reads
    }
}
