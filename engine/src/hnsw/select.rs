//! Which of the candidates a node links to: the diversity heuristic of Malkov & Yashunin (Algorithm 4). A candidate is
//! taken first unless it is nearer to one taken before than to the node: that one leads to it. On layer 0 what room is left
//! goes to the nearest of the others (`keepPrunedConnections`), which costs a few more distances in a search and gains much
//! more recall than a higher `ef` does. On the upper layers, where links have to lead far, it does the contrary.

use super::Space;

/// Most links of a list.
const TAKEN_MAX: usize = 2 * crate::limits::M_MAX;
/// Candidates whose vectors are fetched ahead.
const PREFETCH_AHEAD: usize = 4;

/// Appends to `taken` rows of `candidates` (nearest first, each once, none that is in `taken`) until it holds `limit`.
///
/// `limit` is at most [`TAKEN_MAX`]. Rows that are in `taken` at the start stay there and shadow others as if they had been chosen. `fill`: rows that are
/// shadowed take what room is left.
pub(super) fn select_diverse<S: Space + ?Sized>(
    space: &S,
    candidates: &[(f32, u32)],
    limit: usize,
    fill: bool,
    shadowed: &mut Vec<u32>,
    taken: &mut Vec<u32>,
) {
    shadowed.clear();
    // Looked up once: each is compared with many.
    let mut vectors: [&[u8]; TAKEN_MAX] = [&[]; TAKEN_MAX];
    for (vector, &row) in vectors.iter_mut().zip(taken.iter()) {
        *vector = space.row(row);
    }
    for (at, &(distance, row)) in candidates.iter().enumerate() {
        if taken.len() >= limit {
            return;
        }
        if let Some(&(_, next)) = candidates.get(at + PREFETCH_AHEAD) {
            space.prefetch(next);
        }
        let vector = space.row(row);
        if vectors[..taken.len()].iter().any(|other| space.distance(vector, other) < distance) {
            shadowed.push(row);
        } else {
            vectors[taken.len()] = vector;
            taken.push(row);
        }
    }
    if fill {
        let room = limit.saturating_sub(taken.len());
        taken.extend(shadowed.iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row `i` lies at `i` on a line.
    struct Line([[u8; 1]; 256]);

    impl Space for Line {
        fn row(&self, row: u32) -> &[u8] {
            &self.0[row as usize]
        }

        fn distance(&self, a: &[u8], b: &[u8]) -> f32 {
            f32::from(a[0].abs_diff(b[0]))
        }

        fn distances(&self, _: &[u8], _: &[u32], _: &mut [f32]) {
            unreachable!("the heuristic compares pairs")
        }

        fn prefetch(&self, _: u32) {}
    }

    #[test]
    fn takes_both_directions_first_and_then_the_nearest() {
        let line = Line(std::array::from_fn(|i| [i as u8]));
        // Seen from 100: 101 shadows 102 and 105, and 97 shadows 90.
        let candidates = [(1.0, 101), (2.0, 102), (3.0, 97), (5.0, 105), (10.0, 90)];
        let select_from = |limit, fill, kept: &[u32]| {
            let (mut shadowed, mut taken) = (vec![7], kept.to_vec());
            select_diverse(&line, &candidates, limit, fill, &mut shadowed, &mut taken);
            taken
        };
        let select = |limit, kept: &[u32]| select_from(limit, true, kept);
        assert_eq!(select(2, &[]), [101, 97]);
        assert_eq!(select(4, &[]), [101, 97, 102, 105]);
        assert_eq!(select(9, &[]), [101, 97, 102, 105, 90]);
        assert_eq!(select(3, &[98]), [98, 101, 102], "what is kept shadows too");
        assert_eq!(select(1, &[98, 99]), [98, 99]);
        assert_eq!(select_from(9, false, &[]), [101, 97], "no others where they are not wanted");
    }
}
