//! Lists of row ids as they travel, and the map from an id to its newest row.

use hashbrown::HashTable;

use crate::error::{Error, Result};
use crate::limits;
use crate::placement;
use crate::schema::{IdKind, IdRef};

/// A borrowed, checked list of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdsView<'a> {
    /// Little-endian u64 ids, 8 bytes each.
    U64(&'a [u8]),
    /// Little-endian i64 ids, 8 bytes each.
    I64(&'a [u8]),
    /// Utf8 ids: `offsets` holds n + 1 little-endian u32 into `text`, non-decreasing and on character boundaries.
    Utf8 {
        /// n + 1 offsets.
        offsets: &'a [u8],
        /// All ids, one behind the other.
        text: &'a str,
    },
}

impl<'a> IdsView<'a> {
    /// A list of u64 ids from their little-endian bytes.
    pub fn u64(bytes: &'a [u8]) -> Result<IdsView<'a>> {
        if !bytes.len().is_multiple_of(8) {
            return Err(Error::MalformedBatch { problem: "id list: length is not a multiple of 8 bytes" });
        }
        Ok(IdsView::U64(bytes))
    }

    /// A list of utf8 ids from its offsets and its text, both checked.
    pub fn utf8(offsets: &'a [u8], text: &'a [u8]) -> Result<IdsView<'a>> {
        let malformed = |problem| Error::MalformedBatch { problem };
        let text = std::str::from_utf8(text).map_err(|_| malformed("id list: text is not UTF-8"))?;
        if !offsets.len().is_multiple_of(4) || offsets.is_empty() {
            return Err(malformed("id list: offsets are not n + 1 u32"));
        }
        let mut previous = 0;
        for chunk in offsets.chunks_exact(4) {
            let offset = read_u32(chunk) as usize;
            if offset < previous || !text.is_char_boundary(offset) {
                return Err(malformed("id list: offsets are not rising within the text"));
            }
            previous = offset;
        }
        Ok(IdsView::Utf8 { offsets, text })
    }

    /// Their kind.
    pub fn kind(&self) -> IdKind {
        match self {
            IdsView::U64(_) => IdKind::U64,
            IdsView::I64(_) => IdKind::I64,
            IdsView::Utf8 { .. } => IdKind::Utf8,
        }
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        match self {
            IdsView::U64(bytes) | IdsView::I64(bytes) => bytes.len() / 8,
            IdsView::Utf8 { offsets, .. } => (offsets.len() / 4).saturating_sub(1),
        }
    }

    /// True when there is no id.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id at `index`, which must be below `len`.
    pub fn get(&self, index: usize) -> IdRef<'a> {
        match *self {
            IdsView::U64(bytes) => IdRef::from_bytes(IdKind::U64, bytes.as_chunks().0[index]),
            IdsView::I64(bytes) => IdRef::from_bytes(IdKind::I64, bytes.as_chunks().0[index]),
            IdsView::Utf8 { offsets, text } => {
                let start = read_u32(&offsets[index * 4..]) as usize;
                let end = read_u32(&offsets[index * 4 + 4..]) as usize;
                IdRef::Utf8(&text[start..end])
            }
        }
    }

    /// All ids in order.
    pub fn iter(self) -> impl Iterator<Item = IdRef<'a>> {
        (0..self.len()).map(move |index| self.get(index))
    }

    /// Checks the list against a collection: kind of id, and count.
    pub fn check(&self, kind: IdKind) -> Result<()> {
        if self.kind() != kind {
            return Err(Error::MalformedBatch { problem: "id list: kind of id differs from the collection's" });
        }
        if self.is_empty() {
            return Err(Error::Empty { what: "id list" });
        }
        if self.len() > limits::IDS_MAX {
            let value = self.len() as u64;
            return Err(Error::LimitExceeded { what: "number of ids", value, limit: limits::IDS_MAX as u64 });
        }
        Ok(())
    }
}

fn read_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("4 bytes"))
}

/// An owned list of ids: what a delete keeps until its record is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdList {
    kind: IdKind,
    offsets: Vec<u8>,
    bytes: Vec<u8>,
}

impl IdList {
    /// Copies a view.
    pub fn from_view(view: IdsView<'_>) -> IdList {
        match view {
            IdsView::U64(bytes) | IdsView::I64(bytes) => {
                IdList { kind: view.kind(), offsets: Vec::new(), bytes: bytes.to_vec() }
            }
            IdsView::Utf8 { offsets, text } => {
                IdList { kind: IdKind::Utf8, offsets: offsets.to_vec(), bytes: text.as_bytes().to_vec() }
            }
        }
    }

    /// A list of the given ids, all of `kind`.
    pub fn from_ids<'a>(kind: IdKind, ids: impl Iterator<Item = IdRef<'a>>) -> IdList {
        let mut list = IdList { kind, offsets: Vec::new(), bytes: Vec::new() };
        if kind == IdKind::Utf8 {
            list.offsets.extend_from_slice(&0u32.to_le_bytes());
        }
        for id in ids {
            match id {
                IdRef::U64(id) => list.bytes.extend_from_slice(&id.to_le_bytes()),
                IdRef::I64(id) => list.bytes.extend_from_slice(&id.to_le_bytes()),
                IdRef::Utf8(id) => {
                    list.bytes.extend_from_slice(id.as_bytes());
                    list.offsets.extend_from_slice(&(list.bytes.len() as u32).to_le_bytes());
                }
            }
        }
        list
    }

    /// The list, borrowed.
    pub fn view(&self) -> IdsView<'_> {
        match self.kind {
            IdKind::U64 => IdsView::U64(&self.bytes),
            IdKind::I64 => IdsView::I64(&self.bytes),
            IdKind::Utf8 => {
                let text = std::str::from_utf8(&self.bytes).expect("made from text");
                IdsView::Utf8 { offsets: &self.offsets, text }
            }
        }
    }
}

/// Newest live row of each id of one shard's part of a collection. Keys are not stored twice: a slot leads to its id
/// through the `id_of` that every call is given.
#[derive(Default)]
pub struct IdMap {
    slots: HashTable<u32>,
}

impl IdMap {
    /// Slot of the newest row of `id`.
    pub fn get<'a>(&self, id: IdRef<'_>, id_of: impl Fn(u32) -> IdRef<'a>) -> Option<u32> {
        self.slots.find(table_hash(id), |&slot| id_of(slot) == id).copied()
    }

    /// Makes `slot` the newest row of its id; the slot that was newest before comes back.
    pub fn insert<'a>(&mut self, slot: u32, id_of: impl Fn(u32) -> IdRef<'a>) -> Option<u32> {
        let id = id_of(slot);
        let hash = table_hash(id);
        if let Some(entry) = self.slots.find_mut(hash, |&old| id_of(old) == id) {
            return Some(std::mem::replace(entry, slot));
        }
        self.slots.insert_unique(hash, slot, |&old| table_hash(id_of(old)));
        None
    }

    /// Forgets `id`; the slot that was its newest row comes back.
    pub fn remove<'a>(&mut self, id: IdRef<'_>, id_of: impl Fn(u32) -> IdRef<'a>) -> Option<u32> {
        let found = self.slots.find_entry(table_hash(id), |&slot| id_of(slot) == id);
        found.ok().map(|entry| entry.remove().0)
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True when no id is known.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        self.slots.allocation_size()
    }
}

/// An id, owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OwnedId {
    /// Unsigned 64-bit.
    U64(u64),
    /// Signed 64-bit.
    I64(i64),
    /// Text.
    Utf8(Box<str>),
}

impl OwnedId {
    /// Copies an id.
    pub fn of(id: IdRef<'_>) -> OwnedId {
        match id {
            IdRef::U64(id) => OwnedId::U64(id),
            IdRef::I64(id) => OwnedId::I64(id),
            IdRef::Utf8(id) => OwnedId::Utf8(id.into()),
        }
    }

    /// The id, borrowed.
    pub fn as_ref(&self) -> IdRef<'_> {
        match self {
            OwnedId::U64(id) => IdRef::U64(*id),
            OwnedId::I64(id) => IdRef::I64(*id),
            OwnedId::Utf8(id) => IdRef::Utf8(id),
        }
    }
}

/// The placement hash spends its high bits on the choice of the shard; the table needs high and low ones.
pub(crate) fn table_hash(id: IdRef<'_>) -> u64 {
    placement::hash(id).rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_lists_are_checked() {
        let offsets: Vec<u8> = [0u32, 2, 5].iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let view = IdsView::utf8(&offsets, "abcde".as_bytes()).expect("valid");
        assert_eq!(view.iter().collect::<Vec<_>>(), [IdRef::Utf8("ab"), IdRef::Utf8("cde")]);
        assert!(IdsView::utf8(&offsets, "abcd".as_bytes()).is_err(), "offset behind the end");
        let falling: Vec<u8> = [0u32, 3, 1].iter().flat_map(|offset| offset.to_le_bytes()).collect();
        assert!(IdsView::utf8(&falling, "abcde".as_bytes()).is_err());
        assert!(IdsView::utf8(&offsets, &[0xff; 5]).is_err(), "not UTF-8");
        assert!(IdsView::utf8(&[], b"").is_err(), "no offsets");
    }

    #[test]
    fn owned_lists_give_the_same_ids() {
        let ids = ["a", "", "héllo"];
        let list = IdList::from_ids(IdKind::Utf8, ids.iter().map(|id| IdRef::Utf8(id)));
        assert_eq!(list.view().iter().collect::<Vec<_>>(), ids.map(IdRef::Utf8));
        assert_eq!(IdList::from_view(list.view()), list);
        let list = IdList::from_ids(IdKind::U64, [7, u64::MAX].into_iter().map(IdRef::U64));
        assert_eq!(list.view().len(), 2);
        assert_eq!(list.view().get(1), IdRef::U64(u64::MAX));
        let list = IdList::from_ids(IdKind::I64, [-7, i64::MIN].into_iter().map(IdRef::I64));
        assert_eq!((list.view().kind(), list.view().get(1)), (IdKind::I64, IdRef::I64(i64::MIN)));
        assert_eq!(IdList::from_view(list.view()), list);
        assert!(list.view().check(IdKind::U64).is_err(), "the kind is that of the collection");
        assert!(IdsView::u64(&[0; 9]).is_err());
    }
}
