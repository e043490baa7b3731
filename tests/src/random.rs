//! Random numbers that a seed brings back: splitmix64, the same on every machine.

use engine::placement::splitmix64;

/// A generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator with the seed of `BROADHEAD_SEED`, or else one from the clock. Prints it, so that a failure can be repeated.
    pub fn from_environment() -> Random {
        let seed = match std::env::var("BROADHEAD_SEED") {
            Ok(text) => text.parse().expect("BROADHEAD_SEED is a number"),
            Err(_) => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.expect("the clock is past 1970").as_nanos() as u64
            }
        };
        println!("BROADHEAD_SEED={seed}");
        Random(seed)
    }

    /// A generator with a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        let next = splitmix64(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        next
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next_u64() % limit
    }

    /// A number in −1..1, never 0.
    pub fn unit(&mut self) -> f32 {
        (self.below(1 << 23) as f32 + 0.5) / (1 << 22) as f32 - 1.0
    }
}
