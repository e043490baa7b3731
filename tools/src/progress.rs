//! Progress of something long: a bar on a terminal, a plain line about every second elsewhere, nothing where the output is JSON.

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

/// The progress of one task, counted in rows and, where it moves them, bytes.
pub struct Progress {
    what: &'static str,
    rows_total: Option<u64>,
    started: Instant,
    rows: u64,
    bytes: u64,
    shown: Shown,
}

impl Progress {
    /// Starts to show the progress of `what`; `quiet` shows nothing.
    pub fn start(what: &'static str, rows_total: Option<u64>, quiet: bool) -> Progress {
        let started = Instant::now();
        let shown = if quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            Shown::Bar(bar(what, rows_total))
        } else {
            Shown::Lines { last: started, rows: 0 }
        };
        Progress { what, rows_total, started, rows: 0, bytes: 0, shown }
    }

    /// More is done.
    pub fn add(&mut self, rows: u64, bytes: u64) {
        self.bytes += bytes;
        self.set(self.rows + rows);
    }

    /// So much is done in all.
    pub fn set(&mut self, rows: u64) {
        self.rows = rows;
        let message = self.speed();
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_position(rows);
                bar.set_message(message);
            }
            Shown::Lines { last, rows: shown } => {
                let interval = if rows == *shown { STILL_INTERVAL } else { LINE_INTERVAL };
                if last.elapsed() >= interval {
                    (*last, *shown) = (Instant::now(), rows);
                    eprintln!("{}", self.text());
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

    fn speed(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let rows = rate(self.rows as f64 / seconds);
        match self.bytes {
            0 => format!("{rows} rows/s"),
            bytes => format!("{rows} rows/s, {} MB/s", rate(bytes as f64 / 1e6 / seconds)),
        }
    }

    fn text(&self) -> String {
        match self.rows_total {
            Some(total) if total > 0 => {
                let percent = self.rows * 100 / total;
                format!(
                    "{} {} of {} rows ({percent} %), {}",
                    self.what,
                    grouped(self.rows),
                    grouped(total),
                    self.speed()
                )
            }
            _ => format!("{} {} rows, {}", self.what, grouped(self.rows), self.speed()),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn bar(what: &'static str, rows_total: Option<u64>) -> ProgressBar {
    let (bar, template) = match rows_total {
        Some(total) => (ProgressBar::new(total), "{prefix:9} [{bar:32}] {human_pos} of {human_len} rows, {msg}"),
        None => (ProgressBar::new_spinner(), "{prefix:9} {spinner} {human_pos} rows, {msg}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(15));
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
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
        assert!(progress.text().starts_with("importing 50 of 200 rows (25 %), "), "{}", progress.text());
        assert!(progress.text().ends_with(" MB/s"));
        let mut progress = Progress::start("indexing", None, true);
        progress.set(5);
        assert!(progress.text().starts_with("indexing 5 rows, ") && progress.text().ends_with(" rows/s"));
    }
}
