//! The memory budget: writes are refused before an allocation fails.
//!
//! What is in use is looked up now and then, not at each write; what was admitted since is counted on top. Rows that other
//! shards take in between are not seen: a budget can be passed by what they write until the next look.

use std::fs;
use std::time::{Duration, Instant};

use engine::shard::Pressure;
use engine::{Error, Result};

/// Bytes admitted between two looks, at most.
const LOOK_BYTES: u64 = 1 << 20;
/// Time between two looks, at most.
const LOOK_TIME: Duration = Duration::from_millis(20);
/// Parts of ten of what the process may have that are the budget where none is configured. The rest is for buffers, id
/// maps, searches and the page cache.
const DEFAULT_TENTHS: u64 = 8;

/// A shard's view of the budget.
pub struct MemoryBudget {
    budget: u64,
    in_use: u64,
    admitted: u64,
    looked_at: Option<Instant>,
}

impl MemoryBudget {
    /// A budget in bytes; 0: none.
    pub fn new(budget: u64) -> MemoryBudget {
        MemoryBudget { budget, in_use: 0, admitted: 0, looked_at: None }
    }

    /// Admits a write whose frame has so many bytes, and says whether the budget is nearly used up.
    ///
    /// # Errors
    /// [`Error::MemoryBudget`].
    pub fn admit(&mut self, frame_bytes: u64, look: impl FnOnce() -> u64) -> Result<Pressure> {
        if self.budget == 0 {
            return Ok(Pressure::NONE);
        }
        // A row is kept as it came, with its codes and its links beside it.
        let needed = frame_bytes + frame_bytes / 2;
        let is_old = self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_TIME) || self.admitted >= LOOK_BYTES;
        if is_old || self.in_use + self.admitted + needed > self.budget {
            (self.in_use, self.admitted, self.looked_at) = (look(), 0, Some(Instant::now()));
        }
        let in_use = self.in_use + self.admitted;
        if in_use + needed > self.budget {
            return Err(Error::MemoryBudget { in_use, needed, budget: self.budget });
        }
        self.admitted += needed;
        let is_nearly_full = in_use + needed > self.budget / 10 * 9;
        Ok(if is_nearly_full { Pressure::MEMORY } else { Pressure::NONE })
    }
}

/// The budget where none is configured: a part of the memory of the machine, or of the process's control group if that is less.
pub fn default_budget() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| group_limit(&text));
    machine.into_iter().chain(group).min().unwrap_or(0) / 10 * DEFAULT_TENTHS
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The least limit of the control group (version 2) and of those that it lies in.
fn group_limit(cgroup: &str) -> Option<u64> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let limit = |group: &std::path::Path| {
        let file =
            std::path::Path::new("/sys/fs/cgroup").join(group.strip_prefix("/").unwrap_or(group)).join("memory.max");
        fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    };
    std::path::Path::new(path).ancestors().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_admitted_up_to_the_budget_and_again_when_memory_is_free() {
        let mut budget = MemoryBudget::new(10_000);
        assert_eq!(budget.admit(2_000, || 1_000).unwrap(), Pressure::NONE);
        assert_eq!(budget.admit(2_000, || unreachable!("the last look was just now")).unwrap(), Pressure::NONE);
        assert_eq!(budget.admit(2_000, || 6_500).unwrap(), Pressure::MEMORY, "not what was in use, nearly full");
        let refused = budget.admit(2_000, || 9_500).unwrap_err();
        assert!(matches!(refused, Error::MemoryBudget { in_use: 9_500, needed: 3_000, budget: 10_000 }), "{refused}");
        assert_eq!(budget.admit(2_000, || 0).unwrap(), Pressure::NONE);
        assert_eq!(
            MemoryBudget::new(0).admit(u64::MAX, || unreachable!("there is no budget")).unwrap(),
            Pressure::NONE
        );
    }

    #[test]
    fn the_default_follows_the_machine() {
        assert_eq!(total_of("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        let machine = total_of(&fs::read_to_string("/proc/meminfo").unwrap()).unwrap();
        assert!(default_budget() > 0 && default_budget() < machine);
    }
}
