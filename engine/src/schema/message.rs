//! A schema as bytes: one encapsulated Arrow IPC schema message, in the catalog file and on the wire.

use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions, write_message};

use super::Schema;
use crate::error::{Error, Result};
use crate::limits::COLUMNS_MAX;

/// Bytes of a schema message: 256 columns with long names and metadata stay far below.
const SCHEMA_BYTES_MAX: usize = 1 << 20;
const CONTINUATION: [u8; 4] = [0xff; 4];

impl Schema {
    /// The schema as an Arrow IPC schema message (continuation marker, length, flatbuffer).
    pub fn to_bytes(&self) -> Vec<u8> {
        let options = IpcWriteOptions::default();
        let mut tracker = DictionaryTracker::new(false);
        let encoded =
            IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(self.arrow(), &mut tracker, &options);
        let mut bytes = Vec::new();
        write_message(&mut bytes, encoded, &options).expect("writing to a Vec does not fail");
        bytes
    }

    /// Reads an Arrow IPC schema message. The bytes may be hostile.
    ///
    /// # Errors
    /// `InvalidSchema`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Schema> {
        let fail = |problem| Error::InvalidSchema { column: String::new(), problem };
        if bytes.len() > SCHEMA_BYTES_MAX {
            return Err(fail("the schema message is larger than 1 MiB"));
        }
        let (head, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| fail("the schema message is cut short"))?;
        if head[..4] != CONTINUATION {
            return Err(fail("the schema message has no continuation marker"));
        }
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let metadata = rest.get(..length).ok_or_else(|| fail("the schema message is cut short"))?;
        // The tables of a flatbuffer may be shared, so a small message can unfold into a large schema: bound the unfolded size.
        let options = flatbuffers::VerifierOptions {
            max_tables: 16 * COLUMNS_MAX,
            max_apparent_size: 4 * SCHEMA_BYTES_MAX,
            ..flatbuffers::VerifierOptions::default()
        };
        let message = arrow_ipc::root_as_message_with_opts(&options, metadata)
            .map_err(|_| fail("the schema message is not a valid flatbuffer"))?;
        let header = message.header_as_schema().ok_or_else(|| fail("the message is not a schema message"))?;
        if header.endianness() != arrow_ipc::Endianness::Little {
            return Err(fail("the schema is for big endian data"));
        }
        let arrow = arrow_ipc::convert::try_fb_to_schema(header)
            .map_err(|_| fail("the schema message holds a type that is not valid Arrow"))?;
        Schema::from_arrow(&arrow)
    }
}
