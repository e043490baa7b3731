//! hnswlib on the same files, by a Python script that prints JSON lines.

use std::path::Path;
use std::process::Command;

use super::{EFS, Figures, Point};

/// Environment variable that names the Python to run.
const PYTHON: &str = "BROADHEAD_PYTHON";

/// Measures hnswlib (M 16, efConstruction 200, 2 threads to build, 1 to search); None when there is none.
pub fn hnswlib(base: &Path, queries: &Path, rows: usize, query_count: usize) -> Option<Figures> {
    let python = std::env::var_os(PYTHON)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/hnswlib_peer.py");
    let efs = EFS.map(|ef| ef.to_string()).join(",");
    let output = Command::new(python)
        .arg(script)
        .args([base, queries])
        .args([rows.to_string(), query_count.to_string(), efs])
        .stderr(std::process::Stdio::inherit())
        .output()
        .inspect_err(|error| eprintln!("hnswlib: the Python of {PYTHON} does not start: {error}"))
        .ok()?;
    if !output.status.success() {
        eprintln!("hnswlib: its script failed with {}", output.status);
        return None;
    }
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(lines: &str) -> Option<Figures> {
    let mut figures = Figures { build_rows_per_s: 0.0, points: Vec::new() };
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        if let Some(rate) = line["build_rows_per_s"].as_f64() {
            figures.build_rows_per_s = rate;
        } else {
            figures.points.push(Point {
                ef: line["ef"].as_u64()? as usize,
                recall: line["recall"].as_f64()?,
                qps: line["qps"].as_f64()?,
            });
        }
    }
    (figures.build_rows_per_s > 0.0 && !figures.points.is_empty()).then_some(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_figures() {
        let figures = parse("{\"build_rows_per_s\": 5.5}\n{\"ef\": 10, \"recall\": 0.5, \"qps\": 7}\n").unwrap();
        assert_eq!((figures.build_rows_per_s, figures.points[0].ef, figures.points[0].qps), (5.5, 10, 7.0));
        assert!(parse("").is_none() && parse("no json").is_none());
    }
}
