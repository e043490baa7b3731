//! The ids that a load writes, round and round.
//!
//! Every connection has a range of ids of its own, so that the versions of an id have an order: one connection, one shard, one log.
//! Of each range a wheel a shard turns: the ids that live there, in rising order, then again from the first, in the next round.

use std::ops::Range;

use engine::placement::home;
use engine::schema::IdRef;

/// Ids that were written together: all from `first` to `last` that live on `shard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Their home.
    pub shard: usize,
    /// The round that they were written in.
    pub round: u32,
    /// Smallest.
    pub first: u64,
    /// Largest.
    pub last: u64,
}

impl Span {
    /// Its ids, where there are so many shards.
    pub fn ids(self, shards: usize) -> impl Iterator<Item = u64> {
        (self.first..=self.last).filter(move |&id| lives_on(id, self.shard, shards))
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Wheel {
    shard: usize,
    ids: Range<u64>,
    /// A bit an id of the range: whether it lives on the shard.
    own: Vec<u64>,
    next: u64,
    round: u32,
}

impl Wheel {
    /// The wheel of the ids that live on `shard` of `shards`, before its first turn, which is round `round`.
    pub fn new(shard: usize, shards: usize, ids: Range<u64>, round: u32) -> Wheel {
        let next = ids.start;
        let mut own = vec![0; (ids.end - ids.start).div_ceil(64) as usize];
        for (place, id) in ids.clone().enumerate() {
            own[place / 64] |= u64::from(home(IdRef::U64(id), shards) == shard) << (place % 64);
        }
        Wheel { shard, ids, own, next, round }
    }

    /// The ids of a range that are connection `connection`'s of `connections`.
    pub fn share(ids: u64, connection: usize, connections: usize) -> Range<u64> {
        let cut = |connection: usize| (u128::from(ids) * connection as u128 / connections as u128) as u64;
        cut(connection)..cut(connection + 1)
    }

    /// Takes the next `count` ids, each with its round, and tells what they were.
    ///
    /// # Panics
    /// Where no id of the range lives on the shard.
    pub fn turn(&mut self, count: usize, mut take: impl FnMut(u64, u32)) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::with_capacity(1);
        for _ in 0..count {
            self.seek();
            if self.next == self.ids.end {
                self.round += 1;
                self.next = self.ids.start;
                self.seek();
                assert!(self.next < self.ids.end, "shard {} is home of none of {:?}", self.shard, self.ids);
            }
            take(self.next, self.round);
            match spans.last_mut() {
                Some(span) if span.round == self.round => span.last = self.next,
                _ => spans.push(Span { shard: self.shard, round: self.round, first: self.next, last: self.next }),
            }
            self.next += 1;
        }
        spans
    }

    /// Goes on to the next id that lives on the shard, or to the end.
    fn seek(&mut self) {
        let place = (self.next - self.ids.start) as usize;
        let words = self.own.iter().enumerate().skip(place / 64);
        let bits_of = |(word, &bits): (usize, &u64)| match word == place / 64 {
            true => (word, bits >> (place % 64) << (place % 64)),
            false => (word, bits),
        };
        let found = words.map(bits_of).find(|&(_, bits)| bits != 0);
        self.next = found
            .map_or(self.ids.end, |(word, bits)| self.ids.start + word as u64 * 64 + u64::from(bits.trailing_zeros()));
    }
}

fn lives_on(id: u64, shard: usize, shards: usize) -> bool {
    home(IdRef::U64(id), shards) == shard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_comes_once_a_round_and_from_its_home() {
        const SHARDS: usize = 3;
        for shard in 0..SHARDS {
            let own: Vec<u64> = (10..60).filter(|&id| lives_on(id, shard, SHARDS)).collect();
            let mut wheel = Wheel::new(shard, SHARDS, 10..60, 5);
            let (mut taken, mut told) = (Vec::new(), Vec::new());
            for count in [1, 4, own.len(), 3, own.len() - 8] {
                let mut rows = Vec::new();
                let spans = wheel.turn(count, |id, round| rows.push((id, round)));
                told.extend(spans.iter().flat_map(|span| span.ids(SHARDS).map(|id| (id, span.round))));
                taken.extend(rows);
            }
            let expected: Vec<(u64, u32)> = (5..7).flat_map(|round| own.iter().map(move |&id| (id, round))).collect();
            assert_eq!(taken, expected, "shard {shard}");
            assert_eq!(told, expected, "the spans tell the same");
        }
    }

    #[test]
    fn shares_do_not_overlap() {
        let shares: Vec<_> = (0..3).map(|connection| Wheel::share(100, connection, 3)).collect();
        assert_eq!(shares, [0..33, 33..66, 66..100]);
    }

    #[test]
    #[should_panic(expected = "home of none")]
    fn a_shard_without_ids_is_noticed() {
        Wheel::new(0, 64, 0..0, 0).turn(1, |_, _| ());
    }
}
