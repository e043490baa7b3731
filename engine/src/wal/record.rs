//! The header of a record, 64 bytes, little endian.
//!
//! ```text
//!  0 magic u32 │ 4 version u16 │ 6 zero u16 │ 8 lsn u64 │ 16 segment u64 │ 24 salt u64 │ 32 commit_lsn u64
//! 40 epoch u32 │ 44 previous_checksum u32 │ 48 payload_bytes u32 │ 52 payload_crc u32 │ 56 zero u32 │ 60 checksum u32
//! ```
//!
//! `checksum` is the CRC-32C of the 60 bytes before it. It covers `payload_crc`, and with it the payload, and
//! `previous_checksum`, and with it every record before.

use super::{Lsn, crc32c};

/// Bytes of the header.
pub const RECORD_HEADER_BYTES: usize = 64;

const MAGIC: u32 = u32::from_le_bytes(*b"BHWR");
const VERSION: u16 = 1;

/// What stands before a payload.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    magic: u32,
    version: u16,
    zero: u16,
    /// Number of the record in the log, from 1.
    pub lsn: Lsn,
    /// Number of the segment it was written to, so that a recycled segment's old records do not count.
    pub segment: u64,
    /// Random number of the run that wrote it, so that no payload can be made to look like a record.
    pub salt: u64,
    /// Every record up to this one was durable when this one was appended: proof that it must be there.
    pub commit_lsn: Lsn,
    /// Count of the run that wrote it.
    pub epoch: u32,
    /// `checksum` of the record before.
    pub previous_checksum: u32,
    /// Bytes of the payload.
    pub payload_bytes: u32,
    /// CRC-32C of the payload.
    pub payload_crc: u32,
    zero_2: u32,
    /// CRC-32C of the fields above.
    pub checksum: u32,
}

const _: () = assert!(size_of::<RecordHeader>() == RECORD_HEADER_BYTES);
const _: () = assert!(std::mem::offset_of!(RecordHeader, checksum) == 60);

/// The fields that the log decides; the rest of a header follows from them.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordFields {
    pub lsn: Lsn,
    pub segment: u64,
    pub salt: u64,
    pub commit_lsn: Lsn,
    pub epoch: u32,
    pub previous_checksum: u32,
    pub payload_bytes: u32,
    pub payload_crc: u32,
}

impl RecordHeader {
    pub(super) fn new(fields: RecordFields) -> RecordHeader {
        assert!(fields.commit_lsn < fields.lsn, "a record cannot be durable before it is appended");
        let mut header = RecordHeader {
            magic: MAGIC,
            version: VERSION,
            zero: 0,
            lsn: fields.lsn,
            segment: fields.segment,
            salt: fields.salt,
            commit_lsn: fields.commit_lsn,
            epoch: fields.epoch,
            previous_checksum: fields.previous_checksum,
            payload_bytes: fields.payload_bytes,
            payload_crc: fields.payload_crc,
            zero_2: 0,
            checksum: 0,
        };
        header.checksum = crc32c(&header.encode()[..60]);
        header
    }

    /// The bytes on disk.
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.magic.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.version.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.zero.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.commit_lsn.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.previous_checksum.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.zero_2.to_le_bytes());
        bytes[60..64].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// The header that these bytes hold, if they hold one of this version.
    pub fn decode(bytes: &[u8]) -> Option<RecordHeader> {
        let bytes: &[u8; RECORD_HEADER_BYTES] = bytes.try_into().expect("a header has 64 bytes");
        let header = RecordHeader {
            magic: read_u32(bytes, 0),
            version: u16::from_le_bytes([bytes[4], bytes[5]]),
            zero: u16::from_le_bytes([bytes[6], bytes[7]]),
            lsn: read_u64(bytes, 8),
            segment: read_u64(bytes, 16),
            salt: read_u64(bytes, 24),
            commit_lsn: read_u64(bytes, 32),
            epoch: read_u32(bytes, 40),
            previous_checksum: read_u32(bytes, 44),
            payload_bytes: read_u32(bytes, 48),
            payload_crc: read_u32(bytes, 52),
            zero_2: read_u32(bytes, 56),
            checksum: read_u32(bytes, 60),
        };
        let known = header.magic == MAGIC && header.version == VERSION && header.zero == 0 && header.zero_2 == 0;
        (known && header.checksum == crc32c(&bytes[..60])).then_some(header)
    }
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> RecordHeader {
        RecordHeader::new(RecordFields {
            lsn: 0x0102_0304_0506_0708,
            segment: 9,
            salt: u64::MAX,
            commit_lsn: 7,
            epoch: 3,
            previous_checksum: 0xdead_beef,
            payload_bytes: 123,
            payload_crc: 5,
        })
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(RecordHeader::decode(&header().encode()), Some(header()));
        assert_eq!(header().encode()[..16], *b"BHWR\x01\x00\x00\x00\x08\x07\x06\x05\x04\x03\x02\x01");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        for bit in 0..RECORD_HEADER_BYTES * 8 {
            let mut bytes = header().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&bytes), None, "bit {bit}");
        }
    }
}
