//! What came of the requests of all connections: in all, and second by second.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Latencies;

/// Longest run whose seconds are told apart: a day.
const SECONDS_MAX: usize = 86_400;

/// One second of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Second {
    /// Rows acknowledged in it.
    pub rows: u64,
    /// Requests acknowledged in it.
    pub requests: u64,
    /// Median latency of these, in µs.
    pub p50_us: f64,
    /// 99th percentile of these, in µs.
    pub p99_us: f64,
}

/// Shared by all connections. What was answered before the clock starts is not counted.
pub struct Recorder {
    start: Instant,
    state: Mutex<State>,
}

struct State {
    seconds: Vec<Second>,
    /// Latencies of the last second of `seconds`.
    window: Latencies,
    total: Total,
}

/// A whole run.
pub struct Total {
    /// Rows acknowledged.
    pub rows: u64,
    /// Of them, those whose id was there.
    pub replaced: u64,
    /// Latencies of all requests.
    pub latencies: Latencies,
    /// Of each second.
    pub seconds: Vec<Second>,
    /// From the start of the clock to the last answer.
    pub time: Duration,
}

impl Recorder {
    /// A recorder whose clock starts at `start`.
    pub fn new(start: Instant) -> Recorder {
        let total =
            Total { rows: 0, replaced: 0, latencies: Latencies::new(), seconds: Vec::new(), time: Duration::ZERO };
        Recorder { start, state: Mutex::new(State { seconds: Vec::new(), window: Latencies::new(), total }) }
    }

    /// When the clock starts.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// A request of so many rows that was due at `due` was answered at `answered`.
    pub fn record(&self, rows: u64, replaced: u64, due: Instant, answered: Instant) {
        let Some(at) = answered.checked_duration_since(self.start) else { return };
        let latency = answered.saturating_duration_since(due);
        let mut state = self.lock();
        let second = (at.as_secs() as usize).min(SECONDS_MAX - 1);
        state.go_on_to(second);
        // Connections hand in their answers a moment apart; the latency of one that is late counts for the second after.
        state.window.record(latency);
        state.seconds[second].rows += rows;
        state.seconds[second].requests += 1;
        state.total.rows += rows;
        state.total.replaced += replaced;
        state.total.latencies.record(latency);
        state.total.time = state.total.time.max(at);
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.lock().total.rows
    }

    /// A second that is over.
    pub fn close(&self, second: usize) -> Second {
        let mut state = self.lock();
        state.go_on_to(second + 1);
        state.seconds[second]
    }

    /// The run as a whole. The last second is not told apart if it is not a whole one.
    pub fn finish(self) -> Total {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let whole = (state.total.time.as_secs() as usize).min(SECONDS_MAX - 1);
        state.go_on_to(whole);
        state.seconds.truncate(whole);
        Total { seconds: state.seconds, ..state.total }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn go_on_to(&mut self, second: usize) {
        while self.seconds.len() <= second {
            if let Some(last) = self.seconds.last_mut() {
                (last.p50_us, last.p99_us) = (self.window.quantile_us(0.50), self.window.quantile_us(0.99));
                self.window.clear();
            }
            self.seconds.push(Second::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_for_their_second() {
        let start = Instant::now();
        let recorder = Recorder::new(start);
        let ms = Duration::from_millis;
        recorder.record(1_000, 0, start - ms(50), start - ms(1));
        for (due, answered, rows) in
            [(10, 20, 1), (900, 940, 2), (2_000, 2_005, 4), (1_990, 2_400, 8), (2_990, 3_010, 16)]
        {
            recorder.record(rows, 1, start + ms(due), start + ms(answered));
        }
        assert_eq!((recorder.rows(), recorder.close(0).rows), (31, 3));
        let total = recorder.finish();
        assert_eq!((total.rows, total.replaced, total.latencies.count()), (31, 5, 5));
        assert_eq!(total.time, ms(3_010));
        assert_eq!(total.seconds.iter().map(|second| second.rows).collect::<Vec<_>>(), [3, 0, 12]);
        let first = total.seconds[0];
        assert!((first.p50_us - 10_000.0).abs() < 20.0 && (first.p99_us - 40_000.0).abs() < 50.0, "{first:?}");
        assert_eq!(total.seconds[1].p99_us, 0.0);
        assert!((total.seconds[2].p99_us - 410_000.0).abs() < 500.0);
    }
}
