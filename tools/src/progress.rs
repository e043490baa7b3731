//! Progress of something long, in rows or in seconds: a bar on a terminal, a plain line about every second elsewhere, nothing where the output is JSON.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{grouped, rate};

/// Time between plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between plain lines while nothing moves.
const STILL_INTERVAL: Duration = Duration::from_secs(10);

enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant, rows: u64 },
    Nothing,
}

/// What is counted.
const ROWS: &str = "rows";
const SECONDS: &str = "s";
const QUERIES: &str = "queries";

/// The progress of one task, counted in rows and, where it moves them, bytes.
pub struct Progress {
    what: &'static str,
    unit: &'static str,
    rows_total: Option<u64>,
    started: Instant,
    rows: u64,
    bytes: u64,
    shown: Shown,
}

impl Progress {
    /// Starts to show the progress of `what`; `quiet` shows nothing.
    pub fn start(what: &'static str, rows_total: Option<u64>, quiet: bool) -> Progress {
        Progress::new(what, ROWS, rows_total, quiet)
    }

    /// Starts to show the progress of `what`, counted in queries.
    pub fn start_queries(what: &'static str, total: u64, quiet: bool) -> Progress {
        Progress::new(what, QUERIES, Some(total), quiet)
    }

    /// Starts to show the progress of something that takes a known time.
    pub fn start_seconds(what: &'static str, seconds: u64, quiet: bool) -> Progress {
        Progress::new(what, SECONDS, Some(seconds), quiet)
    }

    fn new(what: &'static str, unit: &'static str, rows_total: Option<u64>, quiet: bool) -> Progress {
        let started = Instant::now();
        let shown = if quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            Shown::Bar(bar(what, unit, rows_total))
        } else {
            Shown::Lines { last: started, rows: 0 }
        };
        Progress { what, unit, rows_total, started, rows: 0, bytes: 0, shown }
    }

    /// More is done.
    pub fn add(&mut self, rows: u64, bytes: u64) {
        self.bytes += bytes;
        self.set(self.rows + rows);
    }

    /// So much is done in all.
    pub fn set(&mut self, rows: u64) {
        self.show(rows, self.speed_of(rows));
    }

    /// So many seconds are over; `message` says what happens.
    pub fn set_seconds(&mut self, seconds: u64, message: &str) {
        self.show(seconds, message.to_owned());
    }

    fn show(&mut self, rows: u64, message: String) {
        self.rows = rows;
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_position(rows);
                bar.set_message(message);
            }
            Shown::Lines { last, rows: shown } => {
                let interval = if rows == *shown { STILL_INTERVAL } else { LINE_INTERVAL };
                if last.elapsed() >= interval {
                    (*last, *shown) = (Instant::now(), rows);
                    eprintln!("{}", self.text(&message));
                }
            }
            Shown::Nothing => (),
        }
    }

    /// The total became known, or grew.
    pub fn set_total(&mut self, rows: u64) {
        self.rows_total = Some(rows);
        if let Shown::Bar(bar) = &self.shown {
            bar.set_length(rows);
        }
    }

    /// Shows a line of text above the bar, or as a line.
    pub fn note(&self, text: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| eprintln!("{text}")),
            Shown::Lines { .. } => eprintln!("{text}"),
            Shown::Nothing => (),
        }
    }

    /// Ends it: the bar stays as it is.
    pub fn finish(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.set_length(self.rows_total.unwrap_or(self.rows).max(self.rows));
            bar.set_position(self.rows);
            bar.abandon();
        }
    }

    fn speed_of(&self, rows: u64) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let rows = rate(rows as f64 / seconds);
        match self.bytes {
            0 => format!("{rows} {}/s", self.unit),
            bytes => format!("{rows} {}/s, {} MB/s", self.unit, rate(bytes as f64 / 1e6 / seconds)),
        }
    }

    fn text(&self, message: &str) -> String {
        let (what, unit, done) = (self.what, self.unit, grouped(self.rows));
        match self.rows_total {
            Some(total) if total > 0 => {
                let percent = self.rows * 100 / total;
                format!("{what} {done} of {} {unit} ({percent} %), {message}", grouped(total))
            }
            _ => format!("{what} {done} {unit}, {message}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn bar(what: &'static str, unit: &str, rows_total: Option<u64>) -> ProgressBar {
    let (bar, template) = match rows_total {
        Some(total) => {
            let template = format!("{{prefix:9}} [{{bar:32}}] {{human_pos}} of {{human_len}} {unit}, {{msg}}");
            (ProgressBar::new(total), template)
        }
        None => (ProgressBar::new_spinner(), format!("{{prefix:9}} {{spinner}} {{human_pos}} {unit}, {{msg}}")),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(15));
    let style = ProgressStyle::with_template(&template).expect("the template is sound");
    bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    bar.set_prefix(what);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_tells_how_far_it_is() {
        let mut progress = Progress::start("importing", Some(200), true);
        progress.add(50, 1_000);
        let text = progress.text(&progress.speed_of(50));
        assert!(text.starts_with("importing 50 of 200 rows (25 %), ") && text.ends_with(" MB/s"), "{text}");
        let mut progress = Progress::start("indexing", None, true);
        progress.set(5);
        let text = progress.text(&progress.speed_of(5));
        assert!(text.starts_with("indexing 5 rows, ") && text.ends_with(" rows/s"), "{text}");
        let mut progress = Progress::start_queries("exact answers", 4, true);
        progress.add(1, 0);
        let text = progress.text(&progress.speed_of(1));
        assert!(text.starts_with("exact answers 1 of 4 queries (25 %), ") && text.ends_with(" queries/s"), "{text}");
        let mut progress = Progress::start_seconds("writing", 40, true);
        progress.set_seconds(10, "800 MB/s");
        assert_eq!(progress.text("800 MB/s"), "writing 10 of 40 s (25 %), 800 MB/s");
    }
}
