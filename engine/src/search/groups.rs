//! Groups of rows that share a value of a column: which groups are nearest, and which of their rows are.
//!
//! A group is as near as its nearest row. Values are compared as they are: a null is a value like any other, 0 and −0 are one, and so are
//! all NaNs. Memory is bounded by what is asked for, whatever number of groups there is: [`Leaders`] keeps the nearest row of each of the
//! nearest groups, and [`Members`], in a second pass, the nearest rows of groups that are known.

use std::hash::{Hash, Hasher};

use arrow::datatypes::DataType;
use hashbrown::{Equivalent, HashMap};

use super::{Hit, Top};
use crate::error::{Error, Result};
use crate::limits;
use crate::region::Region;
use crate::schema::{Layout, Schema};

/// How results are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Column whose values make the groups.
    pub column: usize,
    /// Rows of each group, at most.
    pub size: usize,
}

/// What the value of a row is read from.
#[derive(Clone, Copy)]
enum Kind {
    Bits,
    F32,
    F64,
    Text,
}

/// Reads the values that make groups.
pub(super) struct KeyReader<'a> {
    region: &'a Region,
    column: usize,
    kind: Kind,
}

/// A value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KeyRef<'a> {
    Null,
    Bits(u64),
    Text(&'a [u8]),
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Key {
    Null,
    Bits(u64),
    Text(Box<[u8]>),
}

impl Key {
    fn borrow(&self) -> KeyRef<'_> {
        match self {
            Key::Null => KeyRef::Null,
            Key::Bits(bits) => KeyRef::Bits(*bits),
            Key::Text(text) => KeyRef::Text(text),
        }
    }
}

impl KeyRef<'_> {
    fn to_key(self) -> Key {
        match self {
            KeyRef::Null => Key::Null,
            KeyRef::Bits(bits) => Key::Bits(bits),
            KeyRef::Text(text) => Key::Text(text.into()),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.borrow() == other.borrow()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrow().hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.borrow()
    }
}

impl<'a> KeyReader<'a> {
    /// A reader of a column that [`check`] has nothing against.
    pub fn new(region: &'a Region, column: usize) -> KeyReader<'a> {
        let kind = kind_of(region.schema(), column).expect("the request was checked");
        KeyReader { region, column, kind }
    }

    /// The value of a published row.
    pub fn key(&self, row: u32) -> KeyRef<'a> {
        if !self.region.is_valid(self.column, row) {
            return KeyRef::Null;
        }
        let (shard, slot) = self.region.locate(row);
        if let Kind::Text = self.kind {
            return KeyRef::Text(self.region.text_bytes(self.column, shard, slot));
        }
        let bytes = self.region.fixed_rows(self.column, shard, slot..slot + 1);
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(word);
        KeyRef::Bits(match self.kind {
            Kind::F32 => canonical(f64::from(f32::from_bits(bits as u32))),
            Kind::F64 => canonical(f64::from_bits(bits)),
            Kind::Bits | Kind::Text => bits,
        })
    }
}

/// The bits of a number, the same for all numbers that are one group.
fn canonical(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

fn kind_of(schema: &Schema, column: usize) -> Option<Kind> {
    match (schema.columns()[column].layout, schema.arrow().field(column).data_type()) {
        (Layout::Utf8, DataType::Utf8) => Some(Kind::Text),
        (Layout::Fixed { .. }, DataType::Float32) => Some(Kind::F32),
        (Layout::Fixed { .. }, DataType::Float64) => Some(Kind::F64),
        (Layout::Fixed { .. } | Layout::Bool, _) => Some(Kind::Bits),
        _ => None,
    }
}

/// Refuses a grouping of so many groups that cannot be made.
pub(super) fn check(schema: &Schema, grouping: &Grouping, groups: usize) -> Result<()> {
    let invalid = |option: &str, problem| Err(Error::InvalidOption { option: option.to_owned(), problem });
    if kind_of(schema, grouping.column).is_none() {
        return invalid("group_by", "rows are grouped by numbers, texts, dates and booleans, one value a row");
    }
    if grouping.size == 0 {
        return invalid("group_size", "it is 0");
    }
    let (value, limit) = (groups.saturating_mul(grouping.size), limits::K_MAX);
    if value > limit {
        let what = "rows of all groups, those passed over included";
        return Err(Error::LimitExceeded { what, value: value as u64, limit: limit as u64 });
    }
    Ok(())
}

impl Grouping {
    /// Refuses a grouping of so many groups that cannot be made.
    ///
    /// # Errors
    /// `InvalidOption`, `LimitExceeded`.
    pub fn check(&self, schema: &Schema, groups: usize) -> Result<()> {
        check(schema, self, groups)
    }

    /// Groups rows that are held, best first: places of the best rows of the first `groups` groups, each with its group from 0, one group
    /// behind the other; and whether rows that come behind these could change nothing.
    pub fn group(&self, region: &Region, rows: &[u32], groups: usize) -> (Vec<(usize, u32)>, bool) {
        let keys = KeyReader::new(region, self.column);
        let mut numbers: HashMap<Key, u32> = HashMap::new();
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (place, &row) in rows.iter().enumerate() {
            let key = keys.key(row);
            let group = match numbers.get(&key) {
                Some(&group) => group as usize,
                None if members.len() == groups => continue,
                None => {
                    numbers.insert(key.to_key(), members.len() as u32);
                    members.push(Vec::new());
                    members.len() - 1
                }
            };
            if members[group].len() < self.size {
                members[group].push(place);
            }
        }
        let is_full = members.len() == groups && members.iter().all(|places| places.len() == self.size);
        let numbered =
            members.iter().zip(0..).flat_map(|(places, group)| places.iter().map(move |&place| (place, group)));
        (numbered.collect(), is_full)
    }
}

/// The nearest row of each of the nearest groups so far.
pub(super) struct Leaders {
    wanted: usize,
    best: HashMap<Key, Hit>,
    /// What is farther leads none of the nearest groups.
    bound: f32,
}

impl Leaders {
    /// Keeps the nearest `wanted` groups.
    pub fn new(wanted: usize) -> Leaders {
        assert!(wanted > 0);
        Leaders { wanted, best: HashMap::new(), bound: f32::INFINITY }
    }

    /// Offers a row of a group.
    pub fn offer(&mut self, key: KeyRef<'_>, hit: Hit) {
        if hit.distance > self.bound {
            return;
        }
        if let Some(best) = self.best.get_mut(&key) {
            *best = hit.min(*best);
            return;
        }
        self.best.insert(key.to_key(), hit);
        if self.best.len() >= 2 * self.wanted {
            self.prune();
        }
    }

    /// Whether a row so far away may matter.
    pub fn admits(&self, distance: f32) -> bool {
        distance <= self.bound
    }

    fn prune(&mut self) {
        let mut hits: Vec<Hit> = self.best.values().copied().collect();
        let (_, last, _) = hits.select_nth_unstable(self.wanted - 1);
        let last = *last;
        self.best.retain(|_, hit| *hit <= last);
        self.bound = last.distance;
    }

    /// The groups, nearest first, each with its nearest row.
    pub fn into_sorted(self) -> Vec<(Key, Hit)> {
        let mut groups: Vec<(Key, Hit)> = self.best.into_iter().collect();
        groups.sort_unstable_by_key(|(_, hit)| *hit);
        groups.truncate(self.wanted);
        groups
    }
}

/// The nearest rows of some groups so far.
pub(super) struct Members {
    places: HashMap<Key, usize>,
    groups: Vec<Top>,
}

impl Members {
    /// Of these groups the nearest `size` rows.
    pub fn new(groups: Vec<(Key, Hit)>, size: usize) -> Members {
        let tops = (0..groups.len()).map(|_| Top::new(size)).collect();
        let places = groups.into_iter().enumerate().map(|(place, (key, _))| (key, place)).collect();
        Members { places, groups: tops }
    }

    /// The place of a value among the groups.
    pub fn place(&self, key: KeyRef<'_>) -> Option<usize> {
        self.places.get(&key).copied()
    }

    /// Offers a row of a group.
    pub fn offer(&mut self, place: usize, hit: Hit) {
        self.groups[place].push(hit);
    }

    /// The rows of each group, nearest first.
    pub fn into_sorted(self) -> Vec<Vec<Hit>> {
        self.groups.into_iter().map(Top::into_sorted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(distance: f32, row: u32) -> Hit {
        Hit { distance, row }
    }

    /// Rows in an order in which nearest groups come and go.
    fn rows() -> Vec<(u64, Hit)> {
        let mut random = crate::batch::samples::Random(5);
        (0..3_000).map(|row| ((random.unit().abs() * 200.0) as u64, hit((random.unit() * 50.0).round(), row))).collect()
    }

    #[test]
    fn leaders_are_the_nearest_groups() {
        for wanted in [1, 2, 7, 300] {
            let mut leaders = Leaders::new(wanted);
            let mut all: HashMap<u64, Hit> = HashMap::new();
            for (group, hit) in rows() {
                leaders.offer(KeyRef::Bits(group), hit);
                let best = all.entry(group).or_insert(hit);
                *best = hit.min(*best);
                assert!(leaders.best.len() < 2 * wanted, "no more than twice as many as are wanted");
            }
            let mut all: Vec<(u64, Hit)> = all.into_iter().collect();
            all.sort_unstable_by_key(|group| group.1);
            all.truncate(wanted);
            let found: Vec<(Key, Hit)> = leaders.into_sorted();
            assert_eq!(found, all.into_iter().map(|(group, hit)| (Key::Bits(group), hit)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn members_are_the_nearest_rows_of_their_group() {
        let groups =
            vec![(Key::Bits(3), hit(0.0, 0)), (Key::Null, hit(0.0, 0)), (Key::Text((*b"a").into()), hit(0.0, 0))];
        let mut members = Members::new(groups, 2);
        for (key, row) in [
            (KeyRef::Bits(3), hit(3.0, 1)),
            (KeyRef::Bits(4), hit(0.0, 2)),
            (KeyRef::Bits(3), hit(1.0, 3)),
            (KeyRef::Null, hit(9.0, 4)),
            (KeyRef::Bits(3), hit(2.0, 5)),
            (KeyRef::Text(b"a"), hit(7.0, 6)),
        ] {
            if let Some(place) = members.place(key) {
                members.offer(place, row);
            }
        }
        let rows: Vec<Vec<u32>> =
            members.into_sorted().iter().map(|hits| hits.iter().map(|hit| hit.row).collect()).collect();
        assert_eq!(rows, [vec![3, 5], vec![4], vec![6]]);
    }

    #[test]
    fn numbers_that_are_equal_are_one_group() {
        assert_eq!(canonical(0.0), canonical(-0.0));
        assert_eq!(canonical(f64::NAN), canonical(-f64::NAN));
        assert_ne!(canonical(1.0), canonical(-1.0));
    }
}
