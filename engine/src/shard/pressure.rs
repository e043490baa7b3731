//! Why writers are held back: a set of reasons that goes from whoever holds a write back to whoever sent it.

use std::ops::BitOr;

/// A set of reasons; empty when there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pressure(u32);

impl Pressure {
    /// Nothing held the write back.
    pub const NONE: Pressure = Pressure(0);
    /// The log had no room: the disk is slower than the writers, or the next segment is not made yet.
    pub const DISK: Pressure = Pressure(1);
    /// The buffers for large frames were all in use.
    pub const BUFFERS: Pressure = Pressure(2);
    /// The memory budget is nearly used up: writes will be refused soon.
    pub const MEMORY: Pressure = Pressure(4);
    /// More rows than allowed waited for the indexer.
    pub const INDEX_LAG: Pressure = Pressure(8);
    /// The shard was replaying its log after a start.
    pub const RECOVERY: Pressure = Pressure(16);
    /// Each reason, with its name.
    pub const ALL: [(Pressure, &str); 5] = [
        (Pressure::DISK, "disk"),
        (Pressure::BUFFERS, "buffers"),
        (Pressure::MEMORY, "memory"),
        (Pressure::INDEX_LAG, "index lag"),
        (Pressure::RECOVERY, "recovery"),
    ];

    /// One bit a reason, for the wire.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The set of these bits; `None` where one has no meaning.
    pub fn from_bits(bits: u32) -> Option<Pressure> {
        let known = Pressure::ALL.into_iter().fold(Pressure::NONE, |all, (reason, _)| all | reason);
        (bits & !known.0 == 0).then_some(Pressure(bits))
    }

    /// Whether all reasons of `other` are among these.
    pub fn contains(self, other: Pressure) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Pressure {
    type Output = Pressure;

    fn bitor(self, other: Pressure) -> Pressure {
        Pressure(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_distinct_bits_and_unknown_ones_are_refused() {
        let mut all = Pressure::NONE;
        for (reason, name) in Pressure::ALL {
            assert!(reason.bits().is_power_of_two() && !all.contains(reason), "{name}");
            assert_eq!(Pressure::from_bits(reason.bits()), Some(reason));
            all = all | reason;
        }
        assert_eq!(Pressure::from_bits(all.bits()), Some(all));
        assert_eq!(Pressure::from_bits(all.bits() + 1), None);
    }
}
