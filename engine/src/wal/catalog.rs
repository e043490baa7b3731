//! What the header blocks of a log's segments say.

use super::segment::{HeaderBlock, SEGMENT_HEADER_BYTES, SEGMENT_VERSION, SegmentHeader};
use super::storage::Storage;
use crate::error::Error;

/// What one segment file begins with.
pub(super) struct Entry {
    pub number: u64,
    /// Its header, if it was begun.
    pub header: Option<SegmentHeader>,
    /// Neither a header nor zeros: torn or damaged.
    pub is_broken: bool,
    /// Epoch of any header in it, also one of an earlier life.
    pub epoch: u32,
}

/// Reads the header block of every segment.
///
/// # Errors
/// [`Error::NewerFormat`], [`Error::Damaged`] for segments of another log, [`Error::Io`].
pub(super) fn catalog<S: Storage>(storage: &mut S) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let mut block = [0; SEGMENT_HEADER_BYTES];
    for number in storage.list()? {
        assert!(entries.last().is_none_or(|last: &Entry| last.number < number));
        let count = storage.read(number, 0, &mut block)?;
        let mut entry = Entry { number, header: None, is_broken: false, epoch: 0 };
        match HeaderBlock::decode(&block[..count]) {
            HeaderBlock::Zero => {}
            HeaderBlock::Broken => entry.is_broken = true,
            HeaderBlock::Newer(found) => {
                let (path, supported) = (storage.path(number), u32::from(SEGMENT_VERSION));
                return Err(Error::NewerFormat { path, found: u32::from(found), supported });
            }
            HeaderBlock::Header(header) => {
                entry.epoch = header.epoch;
                if header.segment == number {
                    check_owner(storage, &header)?;
                    entry.header = Some(header);
                }
            }
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn check_owner<S: Storage>(storage: &S, header: &SegmentHeader) -> Result<(), Error> {
    let problem = if header.shard as usize != storage.shard() {
        "it belongs to the log of another shard"
    } else if u64::from(header.segment_bytes) != storage.segment_bytes() {
        "it was made with another segment size"
    } else {
        return Ok(());
    };
    Err(Error::Damaged { path: storage.path(header.segment), offset: 0, problem })
}
