//! Between which numbers the values of a column lie, chunk by chunk: a condition that all of them pass, or none, needs no look at each.
//!
//! Only chunks that are full have one: what is published does not change, so it is right for as long as the chunk has its number. It is made
//! when a condition asks for the first time, and serves those that ask for other numbers: of the last hour, say, whatever hour that is.

use hashbrown::HashMap;

use super::bounds::Ranges;
use super::evaluate::{ChunkColumns, MASK_ROWS};
use super::{Condition, Test, Values};
use crate::limits;

/// The least and the greatest value of a chunk that is not null.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Zone {
    /// All are null.
    Nothing,
    /// Of integers, dates and timestamps.
    Ints(i128, i128),
    /// Of floats, those that are no numbers left out; and whether there are such.
    Floats(f64, f64, bool),
}

/// What a zone says of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All values pass that are not null.
    All,
    /// None passes.
    None,
    /// Some may, and some may not.
    Mixed,
}

/// The zone of a chunk, and the number that the chunk had.
type Numbered = Option<(u64, Zone)>;

/// Zones of the chunks of all shards, by collection and column.
#[derive(Debug, Default)]
pub struct Zones {
    columns: HashMap<(u32, usize), Vec<Vec<Numbered>>>,
    count: usize,
}

impl Zones {
    /// The zone of a full chunk, for a condition on one of its columns; None where its type has none.
    pub fn get(
        &mut self,
        collection: u32,
        condition: &Condition,
        (shard, chunk, number): (usize, usize, u64),
        columns: &impl ChunkColumns,
    ) -> Option<Zone> {
        if !condition.test.values.is_ordered_number() {
            return None;
        }
        if self.count >= limits::FILTER_ZONES_MAX {
            *self = Zones::default();
        }
        let shards = self.columns.entry((collection, condition.test.column)).or_default();
        if shards.len() <= shard {
            shards.resize(shard + 1, Vec::new());
        }
        let chunks = &mut shards[shard];
        if chunks.len() <= chunk {
            self.count += chunk + 1 - chunks.len();
            chunks.resize(chunk + 1, None);
        }
        match chunks[chunk] {
            Some((known, zone)) if known == number => Some(zone),
            _ => {
                let zone = condition.test.zone(columns);
                chunks[chunk] = Some((number, zone));
                Some(zone)
            }
        }
    }

    /// Lets go of the zones of a collection.
    pub fn remove(&mut self, collection: u32) {
        self.columns.retain(|&(id, _), shards| {
            let is_gone = id == collection;
            self.count -= if is_gone { shards.iter().map(Vec::len).sum() } else { 0 };
            !is_gone
        });
    }

    /// Memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.count * size_of::<Numbered>()
    }
}

impl Values {
    fn is_ordered_number(&self) -> bool {
        !matches!(
            self,
            Values::Null
                | Values::Bool(_)
                | Values::TextIn(_)
                | Values::TextWithin(_)
                | Values::TextPrefix(_)
                | Values::TextWords(..)
                | Values::Tags(_)
        )
    }
}

impl Test {
    /// The zone of a chunk all of whose rows can be read.
    fn zone(&self, columns: &impl ChunkColumns) -> Zone {
        macro_rules! ints {
            ($type:ty) => {
                self.ints(columns, |bytes| i128::from(<$type>::from_le_bytes(bytes)))
            };
        }
        match &self.values {
            Values::I8(_) => ints!(i8),
            Values::I16(_) => ints!(i16),
            Values::I32(_) => ints!(i32),
            Values::I64(_) => ints!(i64),
            Values::U8(_) => ints!(u8),
            Values::U16(_) => ints!(u16),
            Values::U32(_) => ints!(u32),
            Values::U64(_) => ints!(u64),
            Values::F32(_) => self.floats(columns, |bytes| f64::from(f32::from_le_bytes(bytes))),
            Values::F64(_) => self.floats(columns, f64::from_le_bytes),
            _ => unreachable!("a column of numbers"),
        }
    }

    /// Calls `each` with the bytes of every value that is not null.
    fn each_value<const N: usize>(&self, columns: &impl ChunkColumns, mut each: impl FnMut([u8; N])) {
        let values = columns.fixed(self.column).as_chunks::<N>().0;
        for (word, values) in values[..MASK_ROWS].chunks(64).enumerate() {
            let nulls = if self.is_nullable { columns.nulls(self.column, word) } else { 0 };
            let valid = values.iter().enumerate().filter(|(row, _)| nulls >> row & 1 == 0);
            valid.for_each(|(_, &value)| each(value));
        }
    }

    fn ints<const N: usize>(&self, columns: &impl ChunkColumns, read: impl Fn([u8; N]) -> i128) -> Zone {
        let mut ends: Option<(i128, i128)> = None;
        self.each_value(columns, |bytes| {
            let value = read(bytes);
            ends = Some(ends.map_or((value, value), |(least, greatest)| (least.min(value), greatest.max(value))));
        });
        ends.map_or(Zone::Nothing, |(least, greatest)| Zone::Ints(least, greatest))
    }

    fn floats<const N: usize>(&self, columns: &impl ChunkColumns, read: impl Fn([u8; N]) -> f64) -> Zone {
        let (mut least, mut greatest, mut has_nan, mut is_empty) = (f64::INFINITY, f64::NEG_INFINITY, false, true);
        self.each_value(columns, |bytes| {
            let value = read(bytes);
            is_empty = false;
            has_nan |= value.is_nan();
            (least, greatest) = (least.min(value), greatest.max(value));
        });
        if is_empty { Zone::Nothing } else { Zone::Floats(least, greatest, has_nan) }
    }

    /// What a zone of the column says.
    pub(super) fn verdict(&self, zone: Zone) -> Verdict {
        match (&self.values, zone) {
            (_, Zone::Nothing) => Verdict::None,
            (Values::F32(ranges) | Values::F64(ranges), Zone::Floats(least, greatest, has_nan)) => {
                match within(ranges, least, greatest, |end| end) {
                    Verdict::All if has_nan => Verdict::Mixed,
                    verdict => verdict,
                }
            }
            (Values::I8(ranges), Zone::Ints(least, greatest)) => within(ranges, least, greatest, i128::from),
            (Values::I16(ranges), Zone::Ints(least, greatest)) => within(ranges, least, greatest, i128::from),
            (Values::I32(ranges), Zone::Ints(least, greatest)) => within(ranges, least, greatest, i128::from),
            (Values::I64(ranges), Zone::Ints(least, greatest)) => within(ranges, least, greatest, i128::from),
            (Values::U8(ranges), Zone::Ints(least, greatest)) => within(ranges, least, greatest, i128::from),
            (Values::U16(ranges), Zone::Ints(least, greatest)) => within(ranges, least, greatest, i128::from),
            (Values::U32(ranges), Zone::Ints(least, greatest)) => within(ranges, least, greatest, i128::from),
            (Values::U64(ranges), Zone::Ints(least, greatest)) => within(ranges, least, greatest, i128::from),
            _ => Verdict::Mixed,
        }
    }
}

fn within<T: Copy + PartialOrd, W: PartialOrd>(
    ranges: &Ranges<T>,
    least: W,
    greatest: W,
    widen: impl Fn(T) -> W,
) -> Verdict {
    let mut verdict = Verdict::None;
    for (from, to) in ranges.iter().map(|(from, to)| (widen(from), widen(to))) {
        if from <= least && greatest <= to {
            return Verdict::All;
        }
        if from <= greatest && least <= to {
            verdict = Verdict::Mixed;
        }
    }
    verdict
}
