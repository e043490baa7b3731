//! Two blocks that several bodies share: a list of ids, and a choice of columns.

use engine::ids::IdsView;
use engine::limits::{COLUMNS_MAX, ID_BYTES_MAX};
use engine::schema::{IdKind, IdRef};

use super::fields::{Reader, Writer, packed_u32, packed_u32s};
use super::header::FrameError;

const KIND_U64: u8 = 0;
const KIND_UTF8: u8 = 1;
const KIND_I64: u8 = 2;
/// Count of a column block that stands for all columns.
const ALL_COLUMNS: u16 = u16::MAX;

/// Appends a block of ids, all of `kind`.
///
/// ```text
/// kind u8 (0 u64, 1 utf8, 2 i64) | 3 zero bytes | count u32 | u64 or i64 × count
///                                                           | u32 × (count + 1) offsets from 0, then the text
/// ```
pub fn write_ids<'b>(kind: IdKind, ids: impl ExactSizeIterator<Item = IdRef<'b>> + Clone, writer: &mut Writer<'_>) {
    let count = u32::try_from(ids.len()).expect("bounded by the limit of a frame");
    match kind {
        IdKind::U64 => {
            writer.u8(KIND_U64).zeros(3).u32(count);
            for id in ids {
                let IdRef::U64(id) = id else { unreachable!("an id of another kind") };
                writer.u64(id);
            }
        }
        IdKind::I64 => {
            writer.u8(KIND_I64).zeros(3).u32(count);
            for id in ids {
                let IdRef::I64(id) = id else { unreachable!("an id of another kind") };
                writer.u64(id.cast_unsigned());
            }
        }
        IdKind::Utf8 => {
            writer.u8(KIND_UTF8).zeros(3).u32(count).u32(0);
            let mut end = 0_u32;
            for id in ids.clone() {
                end += u32::try_from(text_of(id).len()).expect("bounded by ID_BYTES_MAX");
                writer.u32(end);
            }
            for id in ids {
                writer.bytes(text_of(id).as_bytes());
            }
        }
    }
}

/// Reads a block of at most `count_max` ids.
pub fn read_ids<'a>(reader: &mut Reader<'a>, count_max: u64) -> Result<IdsView<'a>, FrameError> {
    let kind = reader.u8("id kind")?;
    reader.zeros(3, "reserved")?;
    let count = reader.u32("id count")?;
    if u64::from(count) > count_max {
        return Err(FrameError::Limit { what: "ids", value: u64::from(count), limit: count_max });
    }
    match kind {
        KIND_U64 => Ok(IdsView::U64(reader.bytes(u64::from(count) * 8, "ids")?)),
        KIND_I64 => Ok(IdsView::I64(reader.bytes(u64::from(count) * 8, "ids")?)),
        KIND_UTF8 => {
            let offsets = reader.bytes((u64::from(count) + 1) * 4, "id offsets")?;
            let end = packed_u32(offsets, count as usize);
            let bytes = reader.bytes(u64::from(end), "id text")?;
            let text =
                std::str::from_utf8(bytes).map_err(|_| FrameError::Field { field: "id text", problem: "not UTF-8" })?;
            check_offsets(offsets, text)?;
            Ok(IdsView::Utf8 { offsets, text })
        }
        _ => Err(FrameError::Field { field: "id kind", problem: "none of 0, 1 and 2" }),
    }
}

/// Appends the body of DELETE, which is one block of ids.
pub fn encode_ids<'b>(kind: IdKind, ids: impl ExactSizeIterator<Item = IdRef<'b>> + Clone, out: &mut Vec<u8>) {
    write_ids(kind, ids, &mut Writer::new(out));
}

fn text_of(id: IdRef<'_>) -> &str {
    let IdRef::Utf8(text) = id else { unreachable!("an id of another kind") };
    text
}

fn check_offsets(offsets: &[u8], text: &str) -> Result<(), FrameError> {
    let wrong = |problem| Err(FrameError::Field { field: "id offsets", problem });
    let mut previous = 0;
    for (index, offset) in packed_u32s(offsets).map(|offset| offset as usize).enumerate() {
        if index == 0 && offset != 0 {
            return wrong("do not start at 0");
        }
        if offset < previous {
            return wrong("go backwards");
        }
        if offset - previous > ID_BYTES_MAX {
            let (value, limit) = ((offset - previous) as u64, ID_BYTES_MAX as u64);
            return Err(FrameError::Limit { what: "bytes of an id", value, limit });
        }
        if !text.is_char_boundary(offset) {
            return wrong("point beyond the text or into a character");
        }
        previous = offset;
    }
    Ok(())
}

/// Which columns a reply is to hold, by their place in the collection's schema.
///
/// ```text
/// count u16 (65535: all columns) | u16 × count
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns<'a> {
    /// All, in the order of the schema.
    All,
    /// These, in this order, as packed little-endian u16.
    Listed(&'a [[u8; 2]]),
}

impl<'a> Columns<'a> {
    /// No column at all.
    pub const NONE: Columns<'static> = Columns::Listed(&[]);

    /// The chosen places, for a schema of `total` columns. They are as the client sent them: the caller checks that each is
    /// below `total`.
    pub fn indices(&self, total: usize) -> impl ExactSizeIterator<Item = usize> + use<'a> {
        let columns = *self;
        let count = match columns {
            Self::All => total,
            Self::Listed(listed) => listed.len(),
        };
        (0..count).map(move |index| match columns {
            Self::All => index,
            Self::Listed(listed) => usize::from(u16::from_le_bytes(listed[index])),
        })
    }

    /// Whether no column is asked for.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Listed([]))
    }

    /// Appends the block.
    pub fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::All => writer.u16(ALL_COLUMNS),
            Self::Listed(listed) => {
                let count = u16::try_from(listed.len()).expect("bounded by COLUMNS_MAX");
                writer.u16(count).bytes(listed.as_flattened())
            }
        };
    }

    /// Reads the block.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let count = reader.u16("column count")?;
        if count == ALL_COLUMNS {
            return Ok(Self::All);
        }
        if usize::from(count) > COLUMNS_MAX {
            let (value, limit) = (u64::from(count), COLUMNS_MAX as u64);
            return Err(FrameError::Limit { what: "columns", value, limit });
        }
        Ok(Self::Listed(reader.bytes(u64::from(count) * 2, "columns")?.as_chunks().0))
    }
}
