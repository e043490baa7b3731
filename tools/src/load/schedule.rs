//! When requests are due.

use std::time::{Duration, Instant};

/// The schedule of one connection.
#[derive(Debug, Clone, Copy)]
pub enum Schedule {
    /// The next request is due as soon as there is room for it.
    Closed,
    /// Requests are due at equal distances, whether or not the earlier ones are answered.
    Open {
        /// When the first is due.
        start: Instant,
        /// From one to the next.
        interval: Duration,
    },
}

impl Schedule {
    /// The schedule of connection `connection` of `connections`, which share `rate` requests a second; none: closed.
    pub fn new(start: Instant, rate: Option<f64>, connection: usize, connections: usize) -> Schedule {
        match rate {
            None => Schedule::Closed,
            Some(rate) => {
                let interval = Duration::from_secs_f64(connections as f64 / rate);
                let offset = interval.mul_f64(connection as f64 / connections as f64);
                Schedule::Open { start: start + offset, interval }
            }
        }
    }

    /// Waits until the request number `index` is due and gives the moment at which it was.
    pub fn wait(&self, index: u64) -> Instant {
        match *self {
            Schedule::Closed => Instant::now(),
            Schedule::Open { start, interval } => {
                let due = start + interval.mul_f64(index as f64);
                until(due);
                due
            }
        }
    }
}

/// Sleeps until a moment; returns at once where it is over.
pub fn until(moment: Instant) {
    let left = moment.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_schedule_does_not_wait_for_answers() {
        let start = Instant::now() - Duration::from_secs(10);
        let second = Schedule::new(start, Some(4.0), 1, 2);
        assert_eq!(second.wait(0), start + Duration::from_millis(250));
        assert_eq!(second.wait(3), start + Duration::from_millis(250 + 3 * 500));
        let soon =
            Schedule::Open { start: Instant::now() + Duration::from_millis(20), interval: Duration::from_secs(1) };
        assert!(soon.wait(0) <= Instant::now(), "it waits until the request is due");
    }

    #[test]
    fn a_closed_schedule_is_due_now() {
        let before = Instant::now();
        assert!(Schedule::new(before, None, 0, 1).wait(7) >= before);
    }
}
