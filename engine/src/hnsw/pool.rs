//! The candidates of one search: a short array sorted by distance, with a cursor at the nearest not expanded yet.
//!
//! A linear array beats a heap here: `ef` is small, a new candidate rarely goes far from the end, and the next one to
//! expand is found by walking on (the layout of NSG, Glass and SVS). Distance and row are one number, so that comparing two
//! candidates is one instruction.

/// Its links were followed.
const EXPANDED: u8 = 1;
/// It may be returned; otherwise it only leads on.
const ACCEPTED: u8 = 2;

/// A candidate as a number: nearer ones are smaller, and of two as near the one with the smaller row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

impl Key {
    const LAST: Key = Key(u64::MAX);

    #[inline(always)]
    fn new(distance: f32, row: u32) -> Key {
        // Of a negative number all bits are flipped, of others the sign: the order of floats as that of integers. Adding zero makes
        // a zero of a negative one, and `min` infinity of what is no number.
        let bits = (distance + 0.0).min(f32::INFINITY).to_bits();
        let flip = (bits.cast_signed() >> 31).cast_unsigned() | 1 << 31;
        Key(u64::from(bits ^ flip) << 32 | u64::from(row))
    }

    #[inline(always)]
    fn row(self) -> u32 {
        self.0 as u32
    }

    fn distance(self) -> f32 {
        let bits = (self.0 >> 32) as u32;
        let flip = (!bits.cast_signed() >> 31).cast_unsigned() | 1 << 31;
        f32::from_bits(bits ^ flip)
    }
}

/// Candidates of one search, nearest first; ties by row, so that the result does not depend on the order of arrival.
#[derive(Default)]
pub(super) struct Pool {
    keys: Vec<Key>,
    /// `EXPANDED` and `ACCEPTED` of each.
    flags: Vec<u8>,
    /// Everything before it is expanded.
    cursor: usize,
    accepted: usize,
    capacity: usize,
}

impl Pool {
    /// Empties the pool; it will keep the best `ef` accepted candidates, and what lies between them.
    pub fn reset(&mut self, ef: usize) {
        assert!(ef > 0);
        self.keys.clear();
        self.flags.clear();
        self.cursor = 0;
        self.accepted = 0;
        self.capacity = ef;
    }

    /// Offers candidates that were not offered before.
    #[inline(always)]
    pub fn offer_all(&mut self, distances: &[f32], rows: &[u32], accept: impl Fn(u32) -> bool) {
        let mut bound = self.bound();
        for (&distance, &row) in distances.iter().zip(rows) {
            let key = Key::new(distance, row);
            if key < bound {
                self.insert(key, accept(row));
                bound = self.bound();
            }
        }
    }

    /// Candidates from this one on need not be offered.
    #[inline(always)]
    fn bound(&self) -> Key {
        // A full pool ends with an accepted candidate.
        if self.accepted < self.capacity { Key::LAST } else { self.keys[self.keys.len() - 1] }
    }

    #[inline]
    fn insert(&mut self, key: Key, accepted: bool) {
        if self.accepted == self.capacity && accepted {
            self.keys.pop();
            self.flags.pop();
            self.accepted -= 1;
        }
        let position = self.keys.partition_point(|&other| other < key);
        self.keys.insert(position, key);
        self.flags.insert(position, if accepted { ACCEPTED } else { 0 });
        self.cursor = self.cursor.min(position);
        self.accepted += usize::from(accepted);
        if self.accepted == self.capacity {
            while self.flags[self.flags.len() - 1] & ACCEPTED == 0 {
                self.keys.pop();
                self.flags.pop();
            }
        }
    }

    /// Nearest candidate that was not expanded; it counts as expanded from now on.
    #[inline]
    pub fn next(&mut self) -> Option<u32> {
        while let Some(flags) = self.flags.get_mut(self.cursor) {
            self.cursor += 1;
            if *flags & EXPANDED == 0 {
                *flags |= EXPANDED;
                return Some(self.keys[self.cursor - 1].row());
            }
        }
        None
    }

    /// The one that `next` would give if nothing nearer came in between.
    #[inline]
    pub fn peek(&self) -> Option<u32> {
        let ahead = self.flags.get(self.cursor..)?.iter().position(|flags| flags & EXPANDED == 0)?;
        Some(self.keys[self.cursor + ahead].row())
    }

    /// The nearest candidate of all.
    ///
    /// # Panics
    /// If nothing was offered.
    pub fn nearest(&self) -> u32 {
        self.keys[0].row()
    }

    /// The candidates that were accepted, with their distances, nearest first.
    pub fn accepted(&self) -> impl Iterator<Item = (f32, u32)> {
        let accepted = self.keys.iter().zip(&self.flags).filter(|(_, flags)| **flags & ACCEPTED != 0);
        accepted.map(|(key, _)| (key.distance(), key.row()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_like_distances_and_give_them_back() {
        let distances = [f32::NEG_INFINITY, -2.5, -1e-40, 0.0, 1e-40, 1.0, 1.0 + f32::EPSILON, f32::MAX, f32::INFINITY];
        let keys: Vec<Key> = distances.iter().map(|&distance| Key::new(distance, 7)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert!(keys.iter().zip(distances).all(|(key, distance)| key.distance() == distance && key.row() == 7));
        assert!(Key::new(-0.0, 3) == Key::new(0.0, 3));
        assert!(Key::new(1.0, 3) < Key::new(1.0, u32::MAX - 1));
        assert!(Key::new(f32::INFINITY, u32::MAX - 1) < Key::LAST);
        assert!(
            Key::new(f32::NAN, 3) == Key::new(f32::INFINITY, 3) && Key::new(-f32::NAN, 3) == Key::new(f32::INFINITY, 3)
        );
    }

    /// Checks the pool against sorting everything that was offered.
    #[test]
    fn keeps_the_best_accepted_and_what_lies_between() {
        let mut state = 7u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        for round in 0..300 {
            let ef = 1 + round % 17;
            let mut pool = Pool::default();
            pool.reset(ef);
            let mut offered = Vec::new();
            for row in 0..random() % 200 {
                let distance = (random() % 40) as f32 - 20.0;
                let accepted = random() % 3 > 0;
                pool.offer_all(&[distance], &[row], |_| accepted);
                offered.push((distance, row, accepted));
                if random() % 4 == 0 {
                    pool.next();
                }
            }
            offered.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let best: Vec<_> = offered.iter().filter(|o| o.2).take(ef).map(|o| (o.0, o.1)).collect();
            let kept: Vec<_> = pool.accepted().collect();
            assert_eq!(kept, best, "round {round}");
            assert!(pool.keys.is_sorted_by(|a, b| a < b));
            assert_eq!(pool.keys.len(), pool.flags.len());
            assert!(pool.flags[..pool.cursor].iter().all(|flags| flags & EXPANDED != 0));
            let mut expanded = 0;
            while pool.next().is_some() {
                expanded += 1;
            }
            assert!(expanded <= pool.keys.len() && pool.peek().is_none());
        }
    }
}
