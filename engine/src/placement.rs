//! Which shard a row lives on.
//!
//! ```text
//! hash(u64 id)  = finaliser of splitmix64 (id + 0x9e3779b97f4a7c15)
//! hash(i64 id)  = the same of the u64 with its bits (two's complement)
//! hash(utf8 id) = xxh3_64 of its bytes, seed 0
//! home          = (hash × shards) >> 64        (128-bit product)
//! ```
//!
//! Clients compute the same, so a batch can be split before it is sent. All rows of one id have one home for a given number of
//! shards: its writes are in one log, and log order is write order.

use crate::schema::IdRef;

/// The 64 bits that decide the home of an id.
#[inline]
pub fn hash(id: IdRef<'_>) -> u64 {
    match id {
        IdRef::U64(id) => splitmix64(id),
        IdRef::I64(id) => splitmix64(id.cast_unsigned()),
        IdRef::Utf8(id) => xxhash_rust::xxh3::xxh3_64(id.as_bytes()),
    }
}

/// Home shard of `id` among `shards`.
#[inline]
pub fn home(id: IdRef<'_>, shards: usize) -> usize {
    assert!(shards > 0, "a server has at least one shard");
    ((u128::from(hash(id)) * shards as u128) >> 64) as usize
}

/// One step of the splitmix64 generator from state `x` (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014):
/// a bijection that spreads consecutive ids.
#[inline]
pub fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other clients are written against these values.
    #[test]
    fn values_that_clients_rely_on() {
        assert_eq!(hash(IdRef::U64(0)), 0xe220_a839_7b1d_cdaf);
        assert_eq!(hash(IdRef::U64(0x9e37_79b9_7f4a_7c15)), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(hash(IdRef::I64(-1)), 0xe4d9_7177_1b65_2c20);
        assert_eq!(hash(IdRef::I64(7)), hash(IdRef::U64(7)));
        assert_eq!(hash(IdRef::Utf8("")), 0x2d06_8005_38d3_94c2);
        assert_eq!(home(IdRef::U64(0), 64), 56);
        assert_eq!(home(IdRef::U64(7), 1), 0);
    }

    #[test]
    fn homes_are_even() {
        for shards in [1, 2, 3, 7, 64] {
            let mut counts = vec![0usize; shards];
            let mut text_counts = vec![0usize; shards];
            for id in 0..20_000u64 {
                counts[home(IdRef::U64(id), shards)] += 1;
                text_counts[home(IdRef::Utf8(&format!("package-{id}")), shards)] += 1;
            }
            let expected = 20_000 / shards;
            let tolerance = expected / 4 + 1;
            for count in counts.iter().chain(&text_counts) {
                assert!(count.abs_diff(expected) <= tolerance, "{count} of {expected} at {shards} shards");
            }
        }
    }
}
