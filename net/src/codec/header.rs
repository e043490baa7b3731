//! The frame header: 64 bytes, little endian, the same on the wire and in the log.
//!
//! ```text
//!  0 magic u32        4 version u16      6 opcode u16       8 flags u32      12 status u32
//! 16 request_id u64  24 body_len u64    32 collection u32  36 reserved u32
//! 40 fingerprint u64 48 reserved u64    56 body_crc u32    60 header_crc u32 (CRC-32C of bytes 0..60)
//! ```
//!
//! An error in a header means that the length of what follows cannot be trusted: the connection ends. That holds for reserved
//! bits too, because they may change what the other fields mean.

use crc_fast::{CrcAlgorithm, checksum};
use engine::limits::FRAME_BODY_BYTES_MAX;
use engine::shard::Presence;

use super::request::Opcode;
use super::status::Status;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 64;
/// First four bytes of every frame, `BRHD` in ASCII.
pub const MAGIC: u32 = u32::from_le_bytes(*b"BRHD");
/// Version of the format that this code speaks.
pub const VERSION: u16 = 1;

/// Bits of [`Header::flags`].
pub mod flags {
    /// The frame is a reply.
    pub const REPLY: u32 = 1 << 0;
    /// A write or delete is acknowledged when it is accepted in order, before the disk has it.
    pub const ACK_MEMORY: u32 = 1 << 1;
    /// In a reply: the server had not yet all its rows back when the request was begun.
    pub const RECOVERING: u32 = 1 << 2;
    /// A write is refused where a row of one of its ids is there, or an id comes twice.
    pub const REFUSE_PRESENT: u32 = 1 << 3;
    /// A write is refused where there is no row of one of its ids.
    pub const REFUSE_MISSING: u32 = 1 << 4;
    /// Every bit that has a meaning; the others must be zero.
    pub const KNOWN: u32 = REPLY | ACK_MEMORY | RECOVERING | REFUSE_PRESENT | REFUSE_MISSING;
}

const CHECKED_BYTES: usize = 60;
const _: () = assert!(CHECKED_BYTES + size_of::<u32>() == HEADER_BYTES);

/// What can be wrong with bytes that claim to be a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The stream does not hold a frame here.
    #[error("bad magic {found:#010x}, a frame starts with {MAGIC:#010x}")]
    Magic {
        /// What stood there.
        found: u32,
    },
    /// A version that this code does not speak.
    #[error("protocol version {found}, this side speaks {VERSION}")]
    Version {
        /// What stood there.
        found: u16,
    },
    /// The header does not fit its checksum.
    #[error("header checksum {found:#010x}, computed {computed:#010x}")]
    HeaderChecksum {
        /// What stood there.
        found: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// A bit is set that has no meaning in this version.
    #[error("reserved bits of {field} are set")]
    ReservedBits {
        /// Where.
        field: &'static str,
    },
    /// A body above the limit.
    #[error("body of {body_len} bytes, the limit is {FRAME_BODY_BYTES_MAX}")]
    BodyTooLong {
        /// Length the header gave.
        body_len: u64,
    },
    /// The body does not fit its checksum.
    #[error("body checksum {found:#010x}, computed {computed:#010x}")]
    BodyChecksum {
        /// What the header said.
        found: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// No operation has this number.
    #[error("unknown opcode {opcode}")]
    UnknownOpcode {
        /// The number.
        opcode: u16,
    },
    /// A body that ends inside a field.
    #[error("body ends inside {field}: {needed} bytes needed, {left} left")]
    Truncated {
        /// The field.
        field: &'static str,
        /// Bytes it needs.
        needed: u64,
        /// Bytes that are there.
        left: u64,
    },
    /// A body with more bytes than its layout.
    #[error("{count} bytes follow the end of the body's layout")]
    TrailingBytes {
        /// How many.
        count: u64,
    },
    /// A field with a value that has no meaning.
    #[error("{field}: {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A count above its limit.
    #[error("{what} is {value}, the limit is {limit}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// What was asked for.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
}

impl FrameError {
    /// Whether the stream cannot be trusted any more, so that the connection has to end.
    pub fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::Magic { .. }
                | Self::Version { .. }
                | Self::HeaderChecksum { .. }
                | Self::ReservedBits { .. }
                | Self::BodyTooLong { .. }
        )
    }

    /// The code that a reply gives for it.
    pub fn status(&self) -> Status {
        match self {
            Self::Magic { .. } => Status::BadMagic,
            Self::Version { .. } => Status::UnsupportedVersion,
            Self::HeaderChecksum { .. } => Status::HeaderChecksum,
            Self::ReservedBits { .. } => Status::ReservedBits,
            Self::BodyTooLong { .. } => Status::BodyTooLong,
            Self::BodyChecksum { .. } => Status::BodyChecksum,
            Self::UnknownOpcode { .. } => Status::UnknownOpcode,
            Self::Truncated { .. } | Self::TrailingBytes { .. } | Self::Field { .. } => Status::MalformedBody,
            Self::Limit { .. } => Status::LimitExceeded,
        }
    }
}

/// A frame header whose checksum held. The opcode is kept as its number: an unknown one is an error of the request, not of
/// the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Operation, see [`super::Opcode`]; a reply repeats the request's.
    pub opcode: u16,
    /// See [`flags`].
    pub flags: u32,
    /// 0, or in a reply the error code, see [`Status`].
    pub status: u32,
    /// Chosen by the client, repeated by the reply. 0 is kept for errors of the connection.
    pub request_id: u64,
    /// Bytes of the body.
    pub body_len: u64,
    /// Collection number, 0 where none is meant.
    pub collection: u32,
    /// Schema fingerprint that a write was made for, otherwise 0.
    pub fingerprint: u64,
    /// CRC-32C of the body.
    pub body_crc: u32,
}

impl Header {
    /// Header of a request; body length and checksum are filled in when the frame is sealed.
    pub fn request(opcode: super::Opcode, request_id: u64, collection: u32) -> Self {
        Self { opcode: opcode.code(), request_id, collection, ..Self::default() }
    }

    /// Header of the reply to this request.
    pub fn reply(&self) -> Self {
        Self {
            opcode: self.opcode,
            flags: flags::REPLY | (self.flags & flags::RECOVERING),
            request_id: self.request_id,
            collection: self.collection,
            ..Self::default()
        }
    }

    /// Whether this is a reply.
    pub fn is_reply(&self) -> bool {
        self.flags & flags::REPLY != 0
    }

    /// Whether the writer is content with acceptance in order, see [`flags::ACK_MEMORY`].
    pub fn acknowledges_from_memory(&self) -> bool {
        self.flags & flags::ACK_MEMORY != 0
    }

    /// What a write demands of the ids of its rows, see [`flags::REFUSE_PRESENT`] and [`flags::REFUSE_MISSING`].
    ///
    /// # Errors
    /// `Field` where it demands what cannot be, or is none.
    pub fn presence(&self) -> Result<Presence, FrameError> {
        let demands = (self.flags & flags::REFUSE_PRESENT != 0, self.flags & flags::REFUSE_MISSING != 0);
        let wrong = |problem| Err(FrameError::Field { field: "flags", problem });
        match demands {
            (false, false) => Ok(Presence::Any),
            _ if self.opcode != Opcode::Write.code() => wrong("only WRITE demands something of its ids"),
            (true, false) => Ok(Presence::Absent),
            (false, true) => Ok(Presence::Present),
            (true, true) => wrong("no id is both there and missing"),
        }
    }

    /// Whether the server was still recovering when it began with the request, see [`flags::RECOVERING`]. The server notes it
    /// in the request's header, so that the reply has it from there.
    pub fn is_recovering(&self) -> bool {
        self.flags & flags::RECOVERING != 0
    }

    /// Sets length and checksum for this body.
    pub fn describe_body(&mut self, body: &[u8]) {
        self.body_len = body.len() as u64;
        self.body_crc = crc(body);
    }

    /// The header's bytes, with its checksum.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        assert!(self.body_len <= FRAME_BODY_BYTES_MAX, "the sender checks the length of its body");
        assert!(self.flags & !flags::KNOWN == 0, "a flag without a meaning");
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.opcode.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.status.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.request_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.collection.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.fingerprint.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.body_crc.to_le_bytes());
        let header_crc = crc(&bytes[..CHECKED_BYTES]);
        bytes[60..64].copy_from_slice(&header_crc.to_le_bytes());
        bytes
    }

    /// Reads a header. Checks, in this order: magic, version, checksum, reserved bits, length of the body.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let magic = u32_at(bytes, 0);
        if magic != MAGIC {
            return Err(FrameError::Magic { found: magic });
        }
        let version = u16_at(bytes, 4);
        if version != VERSION {
            return Err(FrameError::Version { found: version });
        }
        let (found, computed) = (u32_at(bytes, 60), crc(&bytes[..CHECKED_BYTES]));
        if found != computed {
            return Err(FrameError::HeaderChecksum { found, computed });
        }
        let header = Self {
            opcode: u16_at(bytes, 6),
            flags: u32_at(bytes, 8),
            status: u32_at(bytes, 12),
            request_id: u64_at(bytes, 16),
            body_len: u64_at(bytes, 24),
            collection: u32_at(bytes, 32),
            fingerprint: u64_at(bytes, 40),
            body_crc: u32_at(bytes, 56),
        };
        let is_misplaced = header.is_recovering() && !header.is_reply();
        if header.flags & !flags::KNOWN != 0 || is_misplaced {
            return Err(FrameError::ReservedBits { field: "flags" });
        }
        if u32_at(bytes, 36) != 0 || u64_at(bytes, 48) != 0 {
            return Err(FrameError::ReservedBits { field: "header" });
        }
        if header.body_len > FRAME_BODY_BYTES_MAX {
            return Err(FrameError::BodyTooLong { body_len: header.body_len });
        }
        Ok(header)
    }
}

/// CRC-32C (polynomial 0x1edc6f41, reflected; the one of iSCSI) of some bytes.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn u16_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header {
            opcode: 6,
            flags: flags::ACK_MEMORY,
            status: 0,
            request_id: 0x0102_0304_0506_0708,
            body_len: 1_000,
            collection: 3,
            fingerprint: 0x1122_3344_5566_7788,
            body_crc: 0xdead_beef,
        }
    }

    fn resealed(mut bytes: [u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
        let header_crc = crc(&bytes[..CHECKED_BYTES]);
        bytes[60..64].copy_from_slice(&header_crc.to_le_bytes());
        bytes
    }

    #[test]
    fn round_trip() {
        assert_eq!(Header::decode(&sample().encode()), Ok(sample()));
        let reply = sample().reply();
        assert!(reply.is_reply() && !sample().is_reply());
        assert!(sample().acknowledges_from_memory() && !reply.acknowledges_from_memory());
        assert_eq!(Header::decode(&reply.encode()), Ok(reply));
        let noted = Header { flags: flags::ACK_MEMORY | flags::RECOVERING, ..sample() };
        assert!(!reply.is_recovering() && noted.reply().is_recovering());
        assert_eq!(Header::decode(&noted.reply().encode()), Ok(noted.reply()));
    }

    /// The check value of CRC-32C in the catalogue of parametrised CRC algorithms (reveng).
    #[test]
    fn checksum_is_crc32c() {
        assert_eq!(crc(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = sample().encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Header::decode(&bytes).unwrap_err();
            match bit / 8 {
                0..4 => assert!(matches!(error, FrameError::Magic { .. }), "bit {bit}: {error}"),
                4..6 => assert!(matches!(error, FrameError::Version { .. }), "bit {bit}: {error}"),
                _ => assert!(matches!(error, FrameError::HeaderChecksum { .. }), "bit {bit}: {error}"),
            }
            assert!(error.ends_connection());
        }
    }

    #[test]
    fn reserved_bits_are_refused_even_under_a_good_checksum() {
        let spare_flags = (8..12).flat_map(|byte| (0..8).map(move |bit| (byte, bit)));
        for (byte, bit) in spare_flags {
            let mut bytes = sample().encode();
            bytes[byte] |= 1 << bit;
            let flags = u32_at(&bytes, 8);
            let expected_bad =
                flags & !flags::KNOWN != 0 || flags & flags::RECOVERING != 0 && flags & flags::REPLY == 0;
            assert_eq!(Header::decode(&resealed(bytes)).is_err(), expected_bad, "byte {byte} bit {bit}");
        }
        for byte in (36..40).chain(48..56) {
            let mut bytes = sample().encode();
            bytes[byte] = 1;
            let error = Header::decode(&resealed(bytes)).unwrap_err();
            assert_eq!(error, FrameError::ReservedBits { field: "header" });
            assert_eq!(error.status(), Status::ReservedBits);
        }
    }

    #[test]
    fn what_a_write_demands_of_its_ids() {
        let demands = |opcode: Opcode, bits| Header { flags: bits, ..Header::request(opcode, 1, 1) }.presence();
        let (present, missing) = (flags::REFUSE_PRESENT, flags::REFUSE_MISSING);
        assert_eq!(demands(Opcode::Write, flags::ACK_MEMORY), Ok(Presence::Any));
        assert_eq!(demands(Opcode::Write, present | flags::ACK_MEMORY), Ok(Presence::Absent));
        assert_eq!(demands(Opcode::Write, missing), Ok(Presence::Present));
        assert!(demands(Opcode::Write, present | missing).is_err());
        assert!(demands(Opcode::Delete, present).is_err() && demands(Opcode::Get, missing).is_err());
        assert_eq!(demands(Opcode::Get, 0), Ok(Presence::Any));
    }

    #[test]
    fn body_length_is_bounded() {
        for body_len in [FRAME_BODY_BYTES_MAX + 1, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = sample().encode();
            bytes[24..32].copy_from_slice(&body_len.to_le_bytes());
            let error = Header::decode(&resealed(bytes)).unwrap_err();
            assert_eq!(error, FrameError::BodyTooLong { body_len });
        }
        let mut bytes = sample().encode();
        bytes[24..32].copy_from_slice(&FRAME_BODY_BYTES_MAX.to_le_bytes());
        assert!(Header::decode(&resealed(bytes)).is_ok());
    }
}
