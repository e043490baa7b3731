//! The candidates of one search: a short array sorted by distance, with a cursor at the nearest not expanded yet.
//!
//! A linear array beats a heap here: `ef` is small, a new candidate rarely goes far from the end, and the next one to
//! expand is found by walking on (the layout of NSG, Glass and SVS).

/// A node seen by a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub distance: f32,
    pub row: u32,
    /// Its links were followed.
    expanded: bool,
    /// It may be returned; otherwise it only leads on.
    pub accepted: bool,
}

/// Candidates of one search, nearest first; ties by row, so that the result does not depend on the order of arrival.
#[derive(Default)]
pub(super) struct Pool {
    items: Vec<Candidate>,
    /// Everything before it is expanded.
    cursor: usize,
    accepted: usize,
    capacity: usize,
}

impl Pool {
    /// Empties the pool; it will keep the best `ef` accepted candidates, and what lies between them.
    pub fn reset(&mut self, ef: usize) {
        assert!(ef > 0);
        self.items.clear();
        self.cursor = 0;
        self.accepted = 0;
        self.capacity = ef;
    }

    /// Candidates at this distance or beyond need not be offered.
    #[inline]
    pub fn bound(&self) -> f32 {
        if self.accepted < self.capacity { f32::INFINITY } else { self.items[self.items.len() - 1].distance }
    }

    /// Offers a candidate that was not offered before.
    #[inline]
    pub fn offer(&mut self, distance: f32, row: u32, accepted: bool) {
        if self.accepted == self.capacity {
            // A full pool ends with an accepted candidate.
            let worst = self.items[self.items.len() - 1];
            if (distance, row) >= (worst.distance, worst.row) {
                return;
            }
            if accepted {
                self.items.pop();
                self.accepted -= 1;
            }
        }
        let position = self.items.partition_point(|item| (item.distance, item.row) < (distance, row));
        self.items.insert(position, Candidate { distance, row, expanded: false, accepted });
        self.cursor = self.cursor.min(position);
        self.accepted += usize::from(accepted);
        if self.accepted == self.capacity {
            while !self.items[self.items.len() - 1].accepted {
                self.items.pop();
            }
        }
    }

    /// Nearest candidate that was not expanded; it counts as expanded from now on.
    #[inline]
    pub fn next(&mut self) -> Option<u32> {
        while let Some(item) = self.items.get_mut(self.cursor) {
            self.cursor += 1;
            if !item.expanded {
                item.expanded = true;
                return Some(item.row);
            }
        }
        None
    }

    /// The one that `next` would give if nothing nearer came in between.
    #[inline]
    pub fn peek(&self) -> Option<u32> {
        self.items.get(self.cursor..)?.iter().find(|item| !item.expanded).map(|item| item.row)
    }

    /// All candidates, nearest first.
    pub fn items(&self) -> &[Candidate] {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                let distance = (random() % 40) as f32;
                let accepted = random() % 3 > 0;
                pool.offer(distance, row, accepted);
                offered.push((distance, row, accepted));
                if random() % 4 == 0 {
                    pool.next();
                }
            }
            offered.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let best: Vec<_> = offered.iter().filter(|o| o.2).take(ef).map(|o| (o.0, o.1)).collect();
            let kept: Vec<_> = pool.items().iter().filter(|c| c.accepted).map(|c| (c.distance, c.row)).collect();
            assert_eq!(kept, best, "round {round}");
            assert!(pool.items().is_sorted_by(|a, b| (a.distance, a.row) < (b.distance, b.row)));
            assert!(pool.items()[..pool.cursor].iter().all(|item| item.expanded));
            let mut expanded = 0;
            while pool.next().is_some() {
                expanded += 1;
            }
            assert!(expanded <= pool.items().len() && pool.peek().is_none());
        }
    }
}
