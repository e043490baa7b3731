//! Which of the candidates a node links to: the diversity heuristic of Malkov & Yashunin (Algorithm 4, without
//! `keepPrunedConnections`, as hnswlib has it). A candidate is taken unless it is nearer to one taken before than to the
//! node: that one leads to it.

use super::Space;

/// Appends to `taken` rows of `candidates` (nearest first, without those in `taken`) until it holds `limit`.
///
/// Rows that are in `taken` at the start stay there and shadow others as if they had been chosen.
pub(super) fn select_diverse<S: Space + ?Sized>(
    space: &S,
    candidates: &[(f32, u32)],
    limit: usize,
    taken: &mut Vec<u32>,
) {
    for &(distance, row) in candidates {
        if taken.len() >= limit {
            return;
        }
        let vector = space.row(row);
        let shadowed = taken.iter().any(|&other| space.distance(vector, space.row(other)) < distance);
        if !shadowed {
            taken.push(row);
        }
    }
}
