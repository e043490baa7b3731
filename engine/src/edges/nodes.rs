//! Ids of nodes, each once, numbered in the order in which they came.

use hashbrown::HashTable;

use crate::placement;
use crate::schema::{IdKind, IdRef};

/// The nodes of a segment, or of a walk.
#[derive(Debug)]
pub struct Nodes {
    ids: Ids,
    table: HashTable<u32>,
}

#[derive(Debug)]
enum Ids {
    U64(Vec<u64>),
    I64(Vec<i64>),
    /// Where each ends in the text.
    Utf8 {
        ends: Vec<usize>,
        text: String,
    },
}

impl Ids {
    fn get(&self, number: u32) -> IdRef<'_> {
        let number = number as usize;
        match self {
            Ids::U64(ids) => IdRef::U64(ids[number]),
            Ids::I64(ids) => IdRef::I64(ids[number]),
            Ids::Utf8 { ends, text } => {
                let start = if number == 0 { 0 } else { ends[number - 1] };
                IdRef::Utf8(&text[start..ends[number]])
            }
        }
    }

    fn push(&mut self, id: IdRef<'_>) {
        match (self, id) {
            (Ids::U64(ids), IdRef::U64(id)) => ids.push(id),
            (Ids::I64(ids), IdRef::I64(id)) => ids.push(id),
            (Ids::Utf8 { ends, text }, IdRef::Utf8(id)) => {
                text.push_str(id);
                ends.push(text.len());
            }
            _ => panic!("an id of another kind"),
        }
    }

    fn len(&self) -> usize {
        match self {
            Ids::U64(ids) => ids.len(),
            Ids::I64(ids) => ids.len(),
            Ids::Utf8 { ends, .. } => ends.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Ids::U64(ids) => ids.capacity() * size_of::<u64>(),
            Ids::I64(ids) => ids.capacity() * size_of::<i64>(),
            Ids::Utf8 { ends, text } => ends.capacity() * size_of::<usize>() + text.capacity(),
        }
    }
}

impl Nodes {
    /// No nodes, whose ids are of one kind.
    pub fn new(kind: IdKind) -> Nodes {
        let ids = match kind {
            IdKind::U64 => Ids::U64(Vec::new()),
            IdKind::I64 => Ids::I64(Vec::new()),
            IdKind::Utf8 => Ids::Utf8 { ends: Vec::new(), text: String::new() },
        };
        Nodes { ids, table: HashTable::new() }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Id of a node.
    #[inline]
    pub fn id(&self, number: u32) -> IdRef<'_> {
        self.ids.get(number)
    }

    /// Number of an id, if it is there.
    pub fn find(&self, id: IdRef<'_>) -> Option<u32> {
        self.table.find(placement::hash(id), |&number| self.ids.get(number) == id).copied()
    }

    /// Number of an id, which it gets where it has none yet.
    pub fn number(&mut self, id: IdRef<'_>) -> u32 {
        let hash = placement::hash(id);
        if let Some(&number) = self.table.find(hash, |&number| self.ids.get(number) == id) {
            return number;
        }
        let number = u32::try_from(self.ids.len()).expect("fewer nodes than ends of edges");
        self.ids.push(id);
        let ids = &self.ids;
        self.table.insert_unique(hash, number, |&number| placement::hash(ids.get(number)));
        number
    }

    /// Gives back what it has no use for.
    pub fn shrink(&mut self) {
        match &mut self.ids {
            Ids::U64(ids) => ids.shrink_to_fit(),
            Ids::I64(ids) => ids.shrink_to_fit(),
            Ids::Utf8 { ends, text } => {
                ends.shrink_to_fit();
                text.shrink_to_fit();
            }
        }
    }

    /// Memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.ids.bytes() + self.table.allocation_size()
    }
}
