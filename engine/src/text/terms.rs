//! Terms by number, and in how many documents each is.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// The terms of an index, numbered in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// All of them, one behind the other.
    text: Vec<u8>,
    /// End of each in `text`.
    ends: Vec<u64>,
    /// Documents that live and have it.
    frequencies: Vec<u32>,
    /// Number, and bits of the hash that tell most others apart without a look at the text.
    table: HashTable<(u32, u32)>,
    /// Terms that no document has any more.
    unused: usize,
}

impl Terms {
    /// Terms that ever were.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Terms that no document has any more.
    pub fn unused(&self) -> usize {
        self.unused
    }

    /// Number of a term, if there is one.
    pub fn get(&self, term: &[u8]) -> Option<u32> {
        let hash = xxh3_64(term);
        self.table.find(hash, |entry| self.is(entry, hash, term)).map(|&(number, _)| number)
    }

    /// Number of a term, a new one where there is none.
    #[inline]
    pub fn insert(&mut self, term: &[u8]) -> u32 {
        let hash = xxh3_64(term);
        if let Some(&(number, _)) = self.table.find(hash, |entry| self.is(entry, hash, term)) {
            return number;
        }
        let number = u32::try_from(self.ends.len()).expect("fewer terms than 2^32 fit the memory of a text index");
        self.text.extend_from_slice(term);
        self.ends.push(self.text.len() as u64);
        self.frequencies.push(0);
        self.unused += 1;
        let Terms { table, text, ends, .. } = self;
        table.insert_unique(hash, (number, upper(hash)), |&(number, _)| xxh3_64(text_of(text, ends, number)));
        number
    }

    /// One more document has a term.
    #[inline]
    pub fn add_document(&mut self, term: u32) {
        let frequency = &mut self.frequencies[term as usize];
        self.unused -= usize::from(*frequency == 0);
        *frequency += 1;
    }

    /// One document fewer has it.
    pub fn remove_document(&mut self, term: u32) {
        let frequency = &mut self.frequencies[term as usize];
        *frequency = frequency.checked_sub(1).expect("a document that dies was counted");
        self.unused += usize::from(*frequency == 0);
    }

    /// Documents that have a term.
    pub fn frequency(&self, term: u32) -> u32 {
        self.frequencies[term as usize]
    }

    /// Memory in use.
    pub fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 8 + self.frequencies.capacity() * 4 + self.table.allocation_size()
    }

    fn is(&self, entry: &(u32, u32), hash: u64, term: &[u8]) -> bool {
        entry.1 == upper(hash) && text_of(&self.text, &self.ends, entry.0) == term
    }
}

/// Half of a hash, of bits that the table does not look at first.
fn upper(hash: u64) -> u32 {
    (hash >> 24) as u32
}

fn text_of<'a>(text: &'a [u8], ends: &[u64], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = number.checked_sub(1).map_or(0, |before| ends[before]);
    &text[start as usize..ends[number] as usize]
}
