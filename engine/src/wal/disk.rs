//! The log on files: written through the shard's ring, read through the page cache, prepared by a thread.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Advice, fadvise};

use super::preparer::{Job, Outcome, Preparer, UNFINISHED_SUFFIX, segment_path, sync_directory};
use super::storage::{Prepared, Storage, Write, Written};
use crate::error::Error;
use crate::limits::WAL_SEGMENT_BYTES;
use crate::uring::{Completion, Memory, Op, Ring};

/// Top byte of the tokens that the log uses on the shard's ring. Their completions go to [`DiskStorage::complete`].
pub const TOKEN_WAL: u64 = 0x57 << 56;
/// The bits of a token that say whose it is.
pub const TOKEN_TAG_MASK: u64 = 0xff << 56;

/// Where and how a log lies on disk.
pub struct DiskConfig {
    directory: PathBuf,
    shard: usize,
    segment_bytes: u64,
    wake: Box<dyn Fn() + Send>,
}

impl DiskConfig {
    /// A log in `directory`, which is made if it is not there.
    pub fn new(directory: impl Into<PathBuf>, shard: usize) -> DiskConfig {
        let wake = Box::new(|| {});
        DiskConfig { directory: directory.into(), shard, segment_bytes: WAL_SEGMENT_BYTES, wake }
    }

    /// Segments of another size than [`WAL_SEGMENT_BYTES`]; a multiple of 4,096.
    pub fn segment_bytes(mut self, bytes: u64) -> DiskConfig {
        assert!(bytes.is_multiple_of(4096) && bytes > 8192 && bytes <= u64::from(u32::MAX));
        self.segment_bytes = bytes;
        self
    }

    /// Called on another thread whenever a segment has been prepared or could not be: the shard should pump.
    pub fn wake(mut self, wake: impl Fn() + Send + 'static) -> DiskConfig {
        self.wake = Box::new(wake);
        self
    }
}

/// Segment files in a directory.
pub struct DiskStorage {
    directory: PathBuf,
    shard: usize,
    segment_bytes: u64,
    ring: Rc<RefCell<Ring>>,
    preparer: Preparer,
    writers: HashMap<u64, Rc<OwnedFd>>,
    reader: Option<(u64, File)>,
    written: VecDeque<Written>,
}

impl DiskStorage {
    /// Opens the directory of a log, whose writes will go through `ring`. Whoever owns the ring hands completions with
    /// [`TOKEN_WAL`] back through [`DiskStorage::complete`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(config: DiskConfig, ring: Rc<RefCell<Ring>>) -> Result<DiskStorage, Error> {
        let DiskConfig { directory, shard, segment_bytes, wake } = config;
        let failed = |operation| {
            let path = directory.clone();
            move |source| Error::Io { operation, path, source }
        };
        fs::create_dir_all(&directory).map_err(failed("create"))?;
        if let Some(parent) = directory.parent().filter(|parent| *parent != Path::new("")) {
            sync_directory(parent).map_err(failed("sync the directory of"))?;
        }
        for entry in fs::read_dir(&directory).map_err(failed("list"))? {
            let path = entry.map_err(failed("list"))?.path();
            if path.extension() == Some(OsStr::new(UNFINISHED_SUFFIX)) {
                fs::remove_file(&path).map_err(|source| Error::Io { operation: "remove", path, source })?;
            }
        }
        let preparer = Preparer::new(directory.clone(), segment_bytes, wake);
        let (writers, reader, written) = (HashMap::new(), None, VecDeque::new());
        Ok(DiskStorage { directory, shard, segment_bytes, ring, preparer, writers, reader, written })
    }

    /// Takes in the completion of one of the log's writes.
    pub fn complete(&mut self, completion: Completion) {
        assert_eq!(completion.token & TOKEN_TAG_MASK, TOKEN_WAL, "a completion of somebody else");
        drop(completion.memory);
        self.written.push_back(Written { ticket: completion.token as u32, result: completion.result });
    }

    fn failed(&self, operation: &'static str, segment: u64, source: io::Error) -> Error {
        Error::Io { operation, path: self.path(segment), source }
    }

    fn reader(&mut self, segment: u64) -> Result<&File, Error> {
        if self.reader.as_ref().is_none_or(|(number, _)| *number != segment) {
            let opened = File::open(self.path(segment));
            let file = opened.map_err(|source| self.failed("open", segment, source))?;
            self.reader = Some((segment, file));
        }
        Ok(&self.reader.as_ref().expect("opened above").1)
    }
}

impl Storage for DiskStorage {
    fn shard(&self) -> usize {
        self.shard
    }

    fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    fn path(&self, segment: u64) -> PathBuf {
        segment_path(&self.directory, segment)
    }

    fn list(&mut self) -> Result<Vec<u64>, Error> {
        let failed = |source| Error::Io { operation: "list", path: self.directory.clone(), source };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
            // Other files are not ours; a name that is not exactly as we write it is not ours either.
            let number = u64::from_str_radix(stem, 16);
            numbers.extend(number.ok().filter(|number| *number > 0 && segment_path(&self.directory, *number) == path));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < into.len() {
            match self.reader(segment)?.read_at(&mut into[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed("read", segment, source)),
            }
        }
        Ok(filled)
    }

    fn advise(&mut self, segment: u64, offset: u64, bytes: u64, wanted: bool) {
        let advice = if wanted { Advice::WillNeed } else { Advice::DontNeed };
        if let (Ok(file), Some(bytes)) = (self.reader(segment), NonZeroU64::new(bytes)) {
            // Advice only: a file system that does not take it is slower, not wrong.
            let _ = fadvise(file, offset, Some(bytes), advice);
        }
    }

    fn sync(&mut self, segment: u64) -> Result<(), Error> {
        let result = self.reader(segment)?.sync_data();
        result.map_err(|source| self.failed("sync", segment, source))
    }

    fn prepare(&mut self, segment: u64, recycle: Option<u64>) {
        self.reader = None;
        self.preparer.start(Job::Prepare { segment, recycle });
    }

    fn prepared(&mut self, wait: bool) -> Option<Prepared> {
        let Outcome { segment, recycled, result } = self.preparer.outcome(wait)?;
        let result = result.map(|file| {
            self.writers.insert(segment, Rc::new(file));
        });
        Some(Prepared { segment, recycled, result })
    }

    fn remove(&mut self, segment: u64) {
        self.reader = None;
        self.preparer.start(Job::Remove { segment });
    }

    fn finish(&mut self, segment: u64) {
        self.writers.remove(&segment).expect("the segment was prepared");
    }

    fn write(&mut self, write: Write) {
        let file = Rc::clone(self.writers.get(&write.segment).expect("the segment was prepared"));
        let Write { ticket, offset, memory, start, end, .. } = write;
        let op = Op::Write { file, offset, memory: Memory::Shared(memory), start, end };
        self.ring.borrow_mut().push(op, TOKEN_WAL | u64::from(ticket));
    }

    fn written(&mut self) -> Option<Written> {
        self.written.pop_front()
    }
}
