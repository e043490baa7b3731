//! The smallest of many distances.
//!
//! In a row of distances, each column belongs to one of 64 classes. The k-th smallest of the classes' minima is no smaller than the k-th
//! smallest distance, and by little: of distances in random order, it lets 18 pass where 16 are wanted. Those are gathered
//! without a jump that depends on them, and few are left to be looked at again. Inserting each distance that is below the worst so far would be
//! done 82 times for 16 of 1,000, and each time the jump would surprise the CPU.
//!
//! Sixteen values are sorted by a bitonic network: Batcher, "Sorting Networks and Their Applications" (1968).

use super::lanes::Lanes;
use super::{GROUP, NEAREST_MAX, Nearest};

/// Most columns that are looked at in one go.
pub(crate) const COLUMNS_MAX: usize = 1_152;

/// The numbers of the columns, to be compressed.
static COLUMNS: [u32; COLUMNS_MAX] = {
    let mut columns = [0; COLUMNS_MAX];
    let mut column = 0;
    while column < COLUMNS_MAX {
        columns[column] = column as u32;
        column += 1;
    }
    columns
};

/// Sixteen values, each step of the network a type of its own so that masks are constants.
///
/// # Safety
/// Here and below: the CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn exchange<V: Lanes, const DISTANCE: usize, const LARGER: u16>(values: V::Sixteen) -> V::Sixteen {
    // SAFETY: as the caller promises.
    unsafe {
        let other = V::sixteen_swap::<DISTANCE>(values);
        V::sixteen_choose::<LARGER>(V::sixteen_min(values, other), V::sixteen_max(values, other))
    }
}

/// Sorts a bitonic sequence, rising.
#[inline(always)]
unsafe fn merge_rising<V: Lanes>(values: V::Sixteen) -> V::Sixteen {
    // SAFETY: as the caller promises.
    unsafe {
        let values = exchange::<V, 8, 0xff00>(values);
        let values = exchange::<V, 4, 0xf0f0>(values);
        let values = exchange::<V, 2, 0xcccc>(values);
        exchange::<V, 1, 0xaaaa>(values)
    }
}

/// Sorts a bitonic sequence, falling.
#[inline(always)]
unsafe fn merge_falling<V: Lanes>(values: V::Sixteen) -> V::Sixteen {
    // SAFETY: as the caller promises.
    unsafe {
        let values = exchange::<V, 8, 0x00ff>(values);
        let values = exchange::<V, 4, 0x0f0f>(values);
        let values = exchange::<V, 2, 0x3333>(values);
        exchange::<V, 1, 0x5555>(values)
    }
}

/// Any sequence made bitonic: the first half rising, the second falling.
#[inline(always)]
unsafe fn bitonic<V: Lanes>(values: V::Sixteen) -> V::Sixteen {
    // SAFETY: as the caller promises.
    unsafe {
        let values = exchange::<V, 1, 0x6666>(values);
        let values = exchange::<V, 2, 0x3c3c>(values);
        let values = exchange::<V, 1, 0x5a5a>(values);
        let values = exchange::<V, 4, 0x0ff0>(values);
        let values = exchange::<V, 2, 0x33cc>(values);
        exchange::<V, 1, 0x55aa>(values)
    }
}

/// The smallest sixteen of two sequences, rising; the first is rising.
#[inline(always)]
unsafe fn smallest<V: Lanes>(rising: V::Sixteen, values: V::Sixteen) -> V::Sixteen {
    // SAFETY: as the caller promises.
    unsafe { merge_rising::<V>(V::sixteen_min(rising, merge_falling::<V>(bitonic::<V>(values)))) }
}

/// The k-th of sixteen.
#[inline(always)]
unsafe fn place<V: Lanes>(values: V::Sixteen, k: usize) -> f32 {
    let mut out = [0.0; GROUP];
    // SAFETY: as the caller promises.
    unsafe { V::sixteen_store(out.as_mut_ptr(), values) };
    out[k - 1]
}

/// Finds the columns that may be among the `k` nearest, with a distance of no more than `bound`. All those that are nearest
/// by distances that differ from the given ones by no more than `slack` are found. Returns how many are found.
/// Distances are whole groups, and infinite where there is no column.
#[inline(always)]
pub(crate) unsafe fn candidates<V: Lanes>(
    distances: &[f32],
    k: usize,
    bound: f32,
    slack: f32,
    found: &mut [u32],
) -> usize {
    assert!(distances.len().is_multiple_of(GROUP) && distances.len() <= COLUMNS_MAX);
    assert!(found.len() >= distances.len() + GROUP);
    let groups = distances.len() / GROUP;
    let from = distances.as_ptr();
    // SAFETY: the caller has checked the CPU; reads are of whole groups below `groups`; no more numbers are found than there are
    // columns, and behind them is room for a group.
    unsafe {
        let mut minima = [V::sixteen_splat(f32::INFINITY); 4];
        for group in 0..groups / 4 {
            for (class, minima) in minima.iter_mut().enumerate() {
                *minima = V::sixteen_min(*minima, V::sixteen_load(from.add((group * 4 + class) * GROUP)));
            }
        }
        for group in groups / 4 * 4..groups {
            minima[group % 4] = V::sixteen_min(minima[group % 4], V::sixteen_load(from.add(group * GROUP)));
        }
        let [a, b, c, d] = minima;
        let ab = V::sixteen_min(merge_rising::<V>(bitonic::<V>(a)), merge_falling::<V>(bitonic::<V>(b)));
        let cd = V::sixteen_min(merge_rising::<V>(bitonic::<V>(c)), merge_falling::<V>(bitonic::<V>(d)));
        let all = merge_rising::<V>(V::sixteen_min(merge_rising::<V>(ab), merge_falling::<V>(cd)));
        // What is infinite is out of the question.
        let bound = V::sixteen_splat((place::<V>(all, k).min(bound) + slack).min(f32::MAX));
        let mut count = 0;
        for group in 0..groups {
            let near = V::sixteen_at_most(V::sixteen_load(from.add(group * GROUP)), bound);
            let columns = V::sixteen_load(COLUMNS.as_ptr().add(group * GROUP).cast());
            V::sixteen_compress(found.as_mut_ptr().add(count).cast(), columns, near);
            count += near.count_ones() as usize;
        }
        count
    }
}

/// Puts the nearest `k` of `nearest` and `count` others into `nearest`. The others begin at [`GROUP`]: room is asked for before
/// and behind them.
#[inline(always)]
pub(crate) unsafe fn merge<V: Lanes>(
    distances: &mut [f32],
    ids: &mut [u32],
    count: usize,
    k: usize,
    nearest: &mut Nearest,
) {
    const { assert!(NEAREST_MAX == GROUP) }
    assert!(distances.len() >= count + 2 * GROUP && ids.len() == distances.len() && k <= NEAREST_MAX);
    distances[..GROUP].copy_from_slice(&nearest.distances);
    ids[..GROUP].copy_from_slice(&nearest.ids);
    distances[GROUP + count..][..GROUP].fill(f32::INFINITY);
    ids[GROUP + count..][..GROUP].fill(u32::MAX);
    let groups = (GROUP + count).div_ceil(GROUP);
    let (mut found_distances, mut found_ids) = ([f32::INFINITY; 2 * GROUP], [u32::MAX; 2 * GROUP]);
    // SAFETY: the caller has checked the CPU; reads end at or before `GROUP + count + GROUP`; no more than k are below the
    // k-th, so writes begin at or before 16, and they stop when there are k.
    unsafe {
        let mut smallest_values = merge_rising::<V>(bitonic::<V>(V::sixteen_load(distances.as_ptr())));
        for group in 1..groups {
            let values = V::sixteen_load(distances.as_ptr().add(group * GROUP));
            smallest_values = smallest::<V>(smallest_values, values);
        }
        let last = V::sixteen_splat(place::<V>(smallest_values, k).min(f32::MAX));
        let mut written = 0;
        for group in 0..groups {
            let values = V::sixteen_load(distances.as_ptr().add(group * GROUP));
            let near = V::sixteen_below(values, last);
            V::sixteen_compress(found_distances.as_mut_ptr().add(written), values, near);
            let group_ids = V::sixteen_load(ids.as_ptr().add(group * GROUP).cast());
            V::sixteen_compress(found_ids.as_mut_ptr().add(written).cast(), group_ids, near);
            written += near.count_ones() as usize;
        }
        for group in 0..groups {
            let values = V::sixteen_load(distances.as_ptr().add(group * GROUP));
            let mut same = V::sixteen_at_most(values, last) & !V::sixteen_below(values, last);
            while same != 0 && written < k {
                let at = group * GROUP + same.trailing_zeros() as usize;
                found_distances[written] = distances[at];
                found_ids[written] = ids[at];
                written += 1;
                same &= same - 1;
            }
        }
        found_distances[written..].fill(f32::INFINITY);
        found_ids[written..].fill(u32::MAX);
    }
    nearest.distances.copy_from_slice(&found_distances[..GROUP]);
    nearest.ids.copy_from_slice(&found_ids[..GROUP]);
}
