//! LanceDB, by a Python script that prints JSON lines.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{BATCH_ROWS, DIMENSION};
use crate::report::median;

/// Environment variable that names the Python to run.
const PYTHON: &str = "BROADHEAD_PYTHON";

/// Median of the rows a second that `table.add` takes, in batches of the same size and shape as ours; why not, where there is none.
pub fn lancedb(scratch: &Path, rows: usize, rounds: usize) -> Result<f64, String> {
    let python = std::env::var_os(PYTHON).ok_or(format!("`make bench` sets {PYTHON} to a Python that has it"))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/lancedb_peer.py");
    let directory = scratch.join("lancedb");
    let output = Command::new(python)
        .arg(script)
        .arg(&directory)
        .args([rows, BATCH_ROWS, DIMENSION, rounds].map(|number| number.to_string()))
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("the Python of {PYTHON} does not start: {error}"))?;
    // It may not have got so far as to make it.
    let _ = std::fs::remove_dir_all(&directory);
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let last = told.lines().last().unwrap_or_default().to_owned();
        return Err(format!("its script failed with {}: {last}", output.status));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    parse(&lines).ok_or(format!("its script printed no figures: {lines}"))
}

fn parse(lines: &str) -> Option<f64> {
    let rate = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["rows_per_s"].as_f64();
    let rates = lines.lines().map(rate).collect::<Option<Vec<f64>>>()?;
    (!rates.is_empty()).then(|| median(rates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_a_rate() {
        assert_eq!(parse("{\"rows_per_s\": 5}\n{\"rows_per_s\": 7}\n{\"rows_per_s\": 6}\n"), Some(6.0));
        assert!(parse("").is_none() && parse("no json").is_none());
    }
}
