//! The layer a node reaches: geometric with factor 1/M (Malkov & Yashunin, mL = 1/ln M), from a hash of the row id, so
//! that a graph is the same whenever the same rows go in in the same order, on every machine.

use crate::placement::splitmix64;

/// Highest layer of any node.
pub(super) const LEVEL_MAX: usize = 15;

/// Highest layer of `row`: at least `k` with probability `m^-k`.
pub(super) fn level_of(row: u32, seed: u64, m: usize) -> usize {
    debug_assert!(m >= 2);
    let hash = splitmix64(splitmix64(u64::from(row)) ^ seed);
    let mut threshold = u64::MAX / m as u64;
    let mut level = 0;
    while hash < threshold && level < LEVEL_MAX {
        level += 1;
        threshold /= m as u64;
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_thin_out_by_m() {
        for m in [4, 16, 32] {
            let rows = 200_000;
            let mut at_least = [0usize; LEVEL_MAX + 2];
            for row in 0..rows {
                for count in &mut at_least[..=level_of(row, 42, m)] {
                    *count += 1;
                }
            }
            for level in 1..=2 {
                let expected = f64::from(rows) / (m as f64).powi(level);
                let found = at_least[level as usize] as f64;
                assert!((found - expected).abs() < 5.0 * expected.sqrt(), "m {m} level {level}: {found} of {expected}");
            }
        }
    }

    #[test]
    fn another_seed_gives_other_levels() {
        let of = |seed| (0..10_000).map(|row| level_of(row, seed, 8)).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
