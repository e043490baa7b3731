//! Which rows of a chunk a snapshot holds: one record of fixed size a chunk, little endian.
//!
//! ```text
//! record = number:u64 chunk:u32 filled:u32 present[512] dead[512]      bitmaps: lowest bit first, one bit a slot of the chunk
//! ```

use crate::region::{CHUNK_ROWS as REGION_CHUNK_ROWS, ChunkImage, Run};

/// Rows of a chunk.
pub(super) const CHUNK_ROWS: u32 = REGION_CHUNK_ROWS;
const BITMAP_BYTES: usize = CHUNK_ROWS as usize / 8;
/// Bytes of a record.
pub(super) const RECORD_BYTES: usize = 16 + 2 * BITMAP_BYTES;

/// The record of one chunk.
pub(super) struct ChunkRecord {
    bytes: [u8; RECORD_BYTES],
}

impl ChunkRecord {
    /// A chunk's first rows, none of them present so far. The run begins with the chunk.
    pub fn new(run: &Run) -> ChunkRecord {
        assert!(run.slot.is_multiple_of(CHUNK_ROWS), "a run that begins with its chunk");
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&(run.ordinal / u64::from(CHUNK_ROWS)).to_le_bytes());
        bytes[8..12].copy_from_slice(&(run.slot / CHUNK_ROWS).to_le_bytes());
        bytes[12..16].copy_from_slice(&run.len.to_le_bytes());
        ChunkRecord { bytes }
    }

    /// Says that the snapshot has a row.
    pub fn set(&mut self, offset: usize, is_dead: bool) {
        self.bytes[16 + offset / 8] |= 1 << (offset % 8);
        self.bytes[16 + BITMAP_BYTES + offset / 8] |= u8::from(is_dead) << (offset % 8);
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        self.bytes
    }

    /// A record from its bytes.
    pub fn decode(bytes: [u8; RECORD_BYTES]) -> ChunkRecord {
        ChunkRecord { bytes }
    }

    /// What it says.
    pub fn image(&self) -> ChunkImage<'_> {
        let number = |at: usize| u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"));
        ChunkImage {
            number: u64::from_le_bytes(self.bytes[..8].try_into().expect("eight bytes")),
            chunk: number(8),
            filled: number(12),
            present: &self.bytes[16..16 + BITMAP_BYTES],
            dead: &self.bytes[16 + BITMAP_BYTES..],
        }
    }

    /// Rows that the snapshot has.
    pub fn rows(&self) -> usize {
        self.image().present.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Which of them live, by their place among those that the snapshot has.
    pub fn live(&self) -> Vec<u32> {
        let image = self.image();
        let is_set = |bits: &[u8], offset: u32| bits[offset as usize / 8] >> (offset % 8) & 1 == 1;
        let present = (0..CHUNK_ROWS).filter(|&offset| is_set(image.present, offset));
        present.zip(0..).filter(|&(offset, _)| !is_set(image.dead, offset)).map(|(_, place)| place).collect()
    }
}
