//! Every section runs on little data and its answers are right: they check them themselves. Nothing is said of the time.

use std::process::Command;

use serde_json::Value;

/// Runs one section with `--quick` and gives its report.
fn report(section: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_broadhead-bench"))
        .args(["--quick", "--json", "--sections", section, "--scratch", env!("CARGO_TARGET_TMPDIR")])
        .env_remove("BROADHEAD_PYTHON")
        .env_remove("BROADHEAD_BENCH_DATA")
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{section}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The figures of a section by name.
fn figures(section: &str) -> Vec<(String, f64)> {
    let report = report(section);
    let figures = report["figures"].as_array().expect("figures");
    let read = |figure: &Value| {
        assert_eq!(figure["section"], section);
        let name = figure["name"].as_str().expect("a name").to_owned();
        let value = figure["value"].as_f64().unwrap_or_else(|| panic!("{name} has no value"));
        (name, value)
    };
    figures.iter().map(read).collect()
}

/// Each of `names` is the start of a figure's name, and that figure is above 0.
fn assert_measured(section: &str, names: &[&str]) {
    let figures = figures(section);
    for name in names {
        let found = figures.iter().find(|(figure, _)| figure.starts_with(name));
        assert!(found.is_some_and(|(_, value)| *value > 0.0), "{section}: {name} in {figures:?}");
    }
}

#[test]
fn kernels() {
    assert_measured("kernels", &["f32 cosine, pair, scalar", "int8 code dot, rows, scalar"]);
}

#[test]
fn schema() {
    assert_measured("schema", &["known schema, newest version", "known schema, oldest of 64 versions"]);
}

#[test]
fn mesh() {
    assert_measured("mesh", &["round trip, busy, p50", "round trip, parked on rings, p99", "one way"]);
}

#[test]
fn wal() {
    assert_measured("wal", &["records of 1 MiB", "small record"]);
}

#[test]
fn turnover() {
    assert_measured("turnover", &["recall@10, ef 64, after 0.5 times", "resident after 1 times", "options read"]);
}

#[test]
fn edges() {
    let names = ["edges into order", "memory of an edge", "nodes within 2 hops of 1", "activation over 2 hops of 100"];
    assert_measured("edges", &names);
}

#[test]
fn disk() {
    let names = ["resident, less a server with nothing", "vectors on disk, of all", "search over TCP", "recall@10"];
    assert_measured("disk", &names);
}

#[test]
fn text() {
    let names = ["words of descriptions, scalar", "text index of descriptions", "top 10", "durable writes while"];
    assert_measured("text", &names);
}

#[test]
fn ingest() {
    let names = [
        "f32, batches of 10000",
        "bits, batches of 10000",
        "acknowledged in memory",
        "batches of 100",
        "batches of 10000 rows, of the sweep",
        "single rows",
        "one row at a time, p99",
        "slowest batch",
        "cold start",
        "unaware client",
        "replay",
    ];
    assert_measured("ingest", &names);
}

#[test]
fn graph() {
    let names = ["build, bulk", "bulk: search, recall@10 0.95", "build, row by row", "row by row: recall@10, ef 64"];
    assert_measured("graph", &names);
}

#[test]
fn filters() {
    assert_measured("filters", &["the largest 50 %", "the largest 0.1 %", "section of the query", "one maintainer"]);
}

#[test]
fn scan() {
    assert_measured("scan", &["scan of 5000 rows"]);
}

#[test]
fn path() {
    let names = [
        "import of 5000 rows",
        "restart from the log",
        "index",
        "resident",
        "search over TCP, ef",
        "search over TCP, batches",
        "search over TCP, single",
        "restart from a snap",
    ];
    assert_measured("path", &names);
}

/// A table has all figures of ours, and says why there are none of hnswlib.
fn assert_compared(comparison: &Value) {
    let engines = comparison["engines"].as_array().expect("engines");
    for name in ["broadhead, bulk", "broadhead, streaming"] {
        let ours = engines.iter().find(|engine| engine["engine"] == name).expect("ours");
        assert_figures(ours);
    }
    let hnswlib = engines.iter().find(|engine| engine["engine"] == "hnswlib").expect("hnswlib");
    assert!(hnswlib["not_measured"].as_str().is_some_and(|why| why.contains("BROADHEAD_PYTHON")), "{hnswlib}");
}

fn assert_figures(ours: &Value) {
    for key in ["build_rows_per_s", "build_spread", "qps_at_095", "qps_of_100_at_095", "bytes_per_row"] {
        assert!(ours[key].as_f64().is_some_and(|value| value > 0.0), "{key} in {ours}");
    }
}

#[test]
fn peers() {
    assert_compared(&report("peers")["comparisons"][0]);
}

#[test]
fn scale() {
    let report = report("scale");
    let comparisons = report["comparisons"].as_array().expect("comparisons");
    assert_eq!(comparisons.len(), 2, "one a size");
    for (comparison, rows) in comparisons.iter().zip(["3000 rows", "5000 rows"]) {
        assert!(comparison["title"].as_str().is_some_and(|title| title.starts_with(rows)), "{comparison}");
        assert_compared(comparison);
    }
    let figures = report["figures"].as_array().expect("figures");
    let dimension = |of: &str| {
        let found = figures.iter().find(|figure| figure["name"] == format!("{of}: intrinsic dimension"));
        found.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("{of} in {figures:?}"))
    };
    let (real, made) = (dimension("4000 real rows"), dimension("4000 made rows"));
    assert!((0.7..1.4).contains(&(made / real)), "made rows have {made} dimensions, real ones {real}");
    assert!(dimension("5000 rows, real and made") > 1.0);
}
