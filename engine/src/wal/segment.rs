//! The header of a segment: the first 64 bytes of its first 4 KiB block, little endian; the rest of the block is zero.
//!
//! ```text
//!  0 magic u32 │ 4 version u16 │ 6 zero u16 │ 8 segment u64 │ 16 first_lsn u64 │ 24 salt u64 │ 32 commit_lsn u64
//! 40 epoch u32 │ 44 shard u32 │ 48 previous_checksum u32 │ 52 segment_bytes u32 │ 56 zero u32 │ 60 checksum u32
//! ```
//!
//! Magic, version and checksum (CRC-32C of the 60 bytes before it) keep their places in every version, so that a file
//! of a newer version can be told from a damaged one.

use super::record::{read_u32, read_u64};
use super::{Lsn, crc32c};

/// Bytes of the header block; the first group of records follows it.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
/// Version of the segment format that this program writes, and the newest it reads.
pub const SEGMENT_VERSION: u16 = 1;

const ENCODED_BYTES: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"BHWS");

/// What a segment begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    magic: u32,
    version: u16,
    zero: u16,
    /// Number of the segment; a file whose name says another was recycled and not begun.
    pub segment: u64,
    /// LSN of its first record.
    pub first_lsn: Lsn,
    /// Random number of the run that wrote it, repeated in its records.
    pub salt: u64,
    /// Every record up to this one was durable when the segment was begun.
    pub commit_lsn: Lsn,
    /// Count of the run that wrote it.
    pub epoch: u32,
    /// Shard whose log it belongs to.
    pub shard: u32,
    /// Checksum of the record before its first.
    pub previous_checksum: u32,
    /// Size of the file.
    pub segment_bytes: u32,
    zero_2: u32,
    /// CRC-32C of the fields above.
    pub checksum: u32,
}

const _: () = assert!(size_of::<SegmentHeader>() == ENCODED_BYTES);
const _: () = assert!(std::mem::offset_of!(SegmentHeader, checksum) == 60);

/// The fields that the log decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentFields {
    pub segment: u64,
    pub first_lsn: Lsn,
    pub salt: u64,
    pub commit_lsn: Lsn,
    pub epoch: u32,
    pub shard: u32,
    pub previous_checksum: u32,
    pub segment_bytes: u32,
}

/// What the first block of a segment file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderBlock {
    /// Never begun: all zeros.
    Zero,
    /// A header, which may be of another segment number: then the file was recycled and not begun.
    Header(SegmentHeader),
    /// A header of a version this program does not know.
    Newer(u16),
    /// Anything else: torn or damaged.
    Broken,
}

impl SegmentHeader {
    pub(super) fn new(fields: SegmentFields) -> SegmentHeader {
        assert!(fields.commit_lsn < fields.first_lsn, "a record cannot be durable before it is appended");
        let mut header = SegmentHeader {
            magic: MAGIC,
            version: SEGMENT_VERSION,
            zero: 0,
            segment: fields.segment,
            first_lsn: fields.first_lsn,
            salt: fields.salt,
            commit_lsn: fields.commit_lsn,
            epoch: fields.epoch,
            shard: fields.shard,
            previous_checksum: fields.previous_checksum,
            segment_bytes: fields.segment_bytes,
            zero_2: 0,
            checksum: 0,
        };
        header.checksum = crc32c(&header.encode()[..60]);
        header
    }

    /// The bytes on disk.
    pub fn encode(&self) -> [u8; ENCODED_BYTES] {
        let mut bytes = [0; ENCODED_BYTES];
        bytes[0..4].copy_from_slice(&self.magic.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.version.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.zero.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_lsn.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.commit_lsn.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.shard.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.previous_checksum.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.segment_bytes.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.zero_2.to_le_bytes());
        bytes[60..64].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }
}

impl HeaderBlock {
    /// What the first bytes of a file say; fewer than 64 are a file that was cut off.
    pub(super) fn decode(bytes: &[u8]) -> HeaderBlock {
        if bytes.iter().all(|byte| *byte == 0) {
            return HeaderBlock::Zero;
        }
        if bytes.len() < ENCODED_BYTES || read_u32(bytes, 0) != MAGIC {
            return HeaderBlock::Broken;
        }
        if read_u32(bytes, 60) != crc32c(&bytes[..60]) {
            return HeaderBlock::Broken;
        }
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        if version > SEGMENT_VERSION {
            return HeaderBlock::Newer(version);
        }
        let header = SegmentHeader {
            magic: MAGIC,
            version,
            zero: u16::from_le_bytes([bytes[6], bytes[7]]),
            segment: read_u64(bytes, 8),
            first_lsn: read_u64(bytes, 16),
            salt: read_u64(bytes, 24),
            commit_lsn: read_u64(bytes, 32),
            epoch: read_u32(bytes, 40),
            shard: read_u32(bytes, 44),
            previous_checksum: read_u32(bytes, 48),
            segment_bytes: read_u32(bytes, 52),
            zero_2: read_u32(bytes, 56),
            checksum: read_u32(bytes, 60),
        };
        let known = version == SEGMENT_VERSION && header.zero == 0 && header.zero_2 == 0;
        if known { HeaderBlock::Header(header) } else { HeaderBlock::Broken }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader::new(SegmentFields {
            segment: 4,
            first_lsn: 100,
            salt: 11,
            commit_lsn: 98,
            epoch: 2,
            shard: 1,
            previous_checksum: 77,
            segment_bytes: 1 << 20,
        })
    }

    #[test]
    fn a_block_is_zero_a_header_or_broken() {
        assert_eq!(HeaderBlock::decode(&[0; 4096]), HeaderBlock::Zero);
        assert_eq!(HeaderBlock::decode(&header().encode()), HeaderBlock::Header(header()));
        for bit in 0..ENCODED_BYTES * 8 {
            let mut bytes = header().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(HeaderBlock::decode(&bytes), HeaderBlock::Broken, "bit {bit}");
        }
        assert_eq!(HeaderBlock::decode(&header().encode()[..63]), HeaderBlock::Broken);
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut newer = SegmentHeader { version: SEGMENT_VERSION + 1, ..header() };
        newer.checksum = crc32c(&newer.encode()[..60]);
        assert_eq!(HeaderBlock::decode(&newer.encode()), HeaderBlock::Newer(2));
    }
}
