//! How the loads of writes are shown: tables for people, objects for programs, charts.

use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Combination};
use crate::cli::Acknowledge;
use crate::load::{Chart, Data, Ingested, Line, Moment, Soak};
use crate::output::{self, Table, grouped, rate};

/// What one combination gave.
pub struct Outcome {
    /// Rows of a batch, connections, ids.
    pub combination: Combination,
    /// One for each kind of acknowledgement.
    pub passes: Vec<Pass>,
    /// Rows in the graph a second, over the load and the wait.
    pub indexed: Option<f64>,
    /// The judgement of a soak.
    pub soak: Option<Soak>,
}

/// One kind of acknowledgement.
pub struct Pass {
    /// Which.
    pub ack: Acknowledge,
    /// What came of it.
    pub ingested: Ingested,
}

impl Pass {
    fn rows_per_s(&self) -> f64 {
        self.ingested.rows as f64 / self.ingested.seconds.max(1e-9)
    }

    fn mb_per_s(&self, data: &Data) -> f64 {
        self.rows_per_s() * data.vector_bytes() as f64 / 1e6
    }

    /// Rows a second that could be found as soon as they were acknowledged; none where none were looked for.
    fn searchable_rows_per_s(&self) -> Option<f64> {
        self.ingested.visibility.share().map(|share| share * self.rows_per_s())
    }
}

impl Outcome {
    fn pass(&self, ack: Acknowledge) -> Option<&Pass> {
        self.passes.iter().find(|pass| pass.ack == ack)
    }

    /// The pass that the outcome is known by: the durable one, if there is one.
    fn main(&self) -> &Pass {
        self.pass(Acknowledge::Durable).unwrap_or(&self.passes[0])
    }
}

/// Shows one combination.
pub fn show(arguments: &Arguments, data: &Data, outcome: &Outcome) {
    if arguments.common.remote.json {
        output::line(json(arguments, data, outcome));
        return;
    }
    let Combination { batch_rows, connections, ids } = outcome.combination;
    output::line(format_args!(
        "{} x {}, batches of {} rows, {connections} x {} in flight, {} ids",
        data.dimension,
        data.element.name(),
        grouped(batch_rows as u64),
        arguments.in_flight,
        grouped(ids),
    ));
    let mut table = Table::new(["", "rows/s", "MB/s", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms"]);
    table.row(rate_cells("in memory", outcome.pass(Acknowledge::Memory), data));
    table.row(rate_cells("durable", outcome.pass(Acknowledge::Durable), data));
    table.row(single_cells("searchable", outcome.main().searchable_rows_per_s(), data));
    table.row(single_cells("indexed", outcome.indexed, data));
    table.print();
    let Ingested { rows, replaced, seconds, visibility, .. } = &outcome.main().ingested;
    output::line(format_args!(
        "{} rows in {seconds:.2} s, {} of them again; looked for when acknowledged: {} of {} found by id, {} of {} by search",
        grouped(*rows),
        grouped(*replaced),
        visibility.read,
        visibility.reads,
        visibility.found,
        visibility.searches,
    ));
    if let Some(soak) = &outcome.soak {
        show_soak(soak);
    }
}

fn rate_cells(name: &str, pass: Option<&Pass>, data: &Data) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    match pass {
        Some(pass) => {
            cells.extend([rate(pass.rows_per_s()), rate(pass.mb_per_s(data))]);
            cells.extend(latency_cells(&pass.ingested));
        }
        None => cells.extend(["not measured", "", "", "", "", "", ""].map(String::from)),
    }
    cells
}

fn latency_cells(ingested: &Ingested) -> Vec<String> {
    let latencies = &ingested.latencies;
    let quantiles = [0.50, 0.95, 0.99, 0.999].map(|quantile| latencies.quantile_us(quantile));
    quantiles.into_iter().chain([latencies.max_us()]).map(milliseconds).collect()
}

fn milliseconds(us: f64) -> String {
    let ms = us / 1e3;
    if ms < 10.0 { format!("{ms:.3}") } else { format!("{ms:.1}") }
}

fn single_cells(name: &str, rows_per_s: Option<f64>, data: &Data) -> Vec<String> {
    let cells = match rows_per_s {
        Some(value) => [rate(value), rate(value * data.vector_bytes() as f64 / 1e6)],
        None => ["not measured".to_owned(), String::new()],
    };
    let name = std::iter::once(name.to_owned());
    name.chain(cells).chain(std::iter::repeat_n(String::new(), 5)).collect()
}

fn show_soak(soak: &Soak) {
    let per_minute = |slope: Option<f64>| match slope {
        Some(bytes) => format!("{:+.1} MB/min", bytes * 60.0 / 1e6),
        None => "not known: the first round took too long".to_owned(),
    };
    output::line(format_args!(
        "{} s: median {} MB/s, variation {:.1} %, slowest second {:.2} of the median",
        soak.seconds,
        rate(soak.median_mb_per_s),
        100.0 * soak.variation,
        soak.slowest,
    ));
    output::line(format_args!(
        "after the first round: memory {}, disk {}",
        per_minute(soak.resident_slope),
        per_minute(soak.disk_slope)
    ));
    if let (Some(p50), Some(p99), Some(max)) = (soak.search_p50_us, soak.search_p99_us, soak.search_max_us) {
        let ms = milliseconds;
        output::line(format_args!(
            "{} searches: p50 {} ms, p99 {} ms, max {} ms",
            soak.searches,
            ms(p50),
            ms(p99),
            ms(max)
        ));
    }
    for goal in soak.goals() {
        let met = if goal.met { "met" } else { "MISSED" };
        output::line(format_args!("{met:6} {}: {:.3}, {}", goal.name, goal.value, goal.bound));
    }
}

/// Shows all combinations of a sweep.
pub fn show_sweep(data: &Data, outcomes: &[Outcome]) {
    let best = outcomes.iter().map(|outcome| outcome.main().mb_per_s(data)).fold(0.0, f64::max);
    let main = outcomes[0].main().ack;
    output::line(format_args!(
        "{} x {}, {}; latency of a batch in ms; cliff: MB/s beside the best line's",
        data.dimension,
        data.element.name(),
        main.name(),
    ));
    let mut table = Table::new([
        "connections",
        "rows/batch",
        "MB/s",
        "rows/s",
        "in memory MB/s",
        "searchable rows/s",
        "indexed rows/s",
        "p50",
        "p95",
        "p99",
        "p99.9",
        "max",
        "cliff",
    ]);
    for outcome in outcomes {
        let pass = outcome.main();
        let memory = outcome.pass(Acknowledge::Memory).map(|pass| rate(pass.mb_per_s(data)));
        let Combination { batch_rows, connections, .. } = outcome.combination;
        let mut cells = vec![
            connections.to_string(),
            grouped(batch_rows as u64),
            rate(pass.mb_per_s(data)),
            rate(pass.rows_per_s()),
            memory.unwrap_or_else(|| "-".to_owned()),
            pass.searchable_rows_per_s().map_or_else(|| "-".to_owned(), rate),
            outcome.indexed.map_or_else(|| "-".to_owned(), rate),
        ];
        cells.extend(latency_cells(&pass.ingested));
        cells.push(format!("{:.2}", pass.mb_per_s(data) / best.max(f64::MIN_POSITIVE)));
        table.row(cells);
    }
    table.print();
}

/// Names of what [`moment_line`] shows.
pub fn moment_header(combination: Combination, ack: Acknowledge) -> String {
    let Combination { batch_rows, connections, .. } = combination;
    format!(
        "{}, batches of {} rows, {connections} connections\n{:>6} {:>10} {:>12} {:>10} {:>10} {:>10} {:>10} {:>12}",
        ack.name(),
        grouped(batch_rows as u64),
        "s",
        "MB/s",
        "rows/s",
        "p50 ms",
        "p99 ms",
        "RSS MB",
        "disk MB",
        "to index"
    )
}

/// One second.
pub fn moment_line(moment: &Moment) -> String {
    format!(
        "{:>6} {:>10} {:>12} {:>10} {:>10} {:>10} {:>10} {:>12}",
        moment.second,
        rate(moment.mb_per_s),
        grouped(moment.rows_per_s),
        milliseconds(moment.p50_us),
        milliseconds(moment.p99_us),
        grouped(moment.resident_bytes / 1_000_000),
        grouped(moment.disk_bytes / 1_000_000),
        grouped(moment.backlog_rows),
    )
}

fn json(arguments: &Arguments, data: &Data, outcome: &Outcome) -> Value {
    let Combination { batch_rows, connections, ids } = outcome.combination;
    let mut object = pass_json(outcome.main(), data);
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("type", json!(data.element.name()));
    put("dim", json!(data.dimension));
    put("batch_rows", json!(batch_rows));
    put("connections", json!(connections));
    put("in_flight", json!(arguments.in_flight));
    put("ids", json!(ids));
    put("indexed_rows_per_s", json!(outcome.indexed));
    let other = outcome.passes.iter().find(|pass| pass.ack != outcome.main().ack);
    put("in_memory", json!(other.map(|pass| pass_json(pass, data))));
    if let Some(soak) = &outcome.soak {
        put("soak", json!(soak));
        put("goals", json!(soak.goals()));
    }
    Value::Object(object)
}

fn pass_json(pass: &Pass, data: &Data) -> Map<String, Value> {
    let Ingested { rows, replaced, seconds, latencies, series, visibility, .. } = &pass.ingested;
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("ack", json!(pass.ack.name()));
    put("rows", json!(rows));
    put("replaced", json!(replaced));
    put("seconds", json!(seconds));
    put("rows_per_s", json!(pass.rows_per_s()));
    put("mb_per_s", json!(pass.mb_per_s(data)));
    put("searchable_rows_per_s", json!(pass.searchable_rows_per_s()));
    put("looked_for", json!(visibility.reads + visibility.searches));
    put("visible", json!(visibility.read + visibility.found));
    put("series", json!(series));
    latencies.describe(&mut object);
    object
}

/// Charts of one combination over time and by percentile, or of a sweep by rows of a batch.
pub fn charts(data: &Data, outcomes: &[Outcome]) -> Vec<Chart> {
    if let [outcome] = outcomes {
        return vec![over_time(outcome), by_percentile(outcome)];
    }
    let mut lines: Vec<Line> = Vec::new();
    for outcome in outcomes {
        let name = format!("{} connections", outcome.combination.connections);
        let point = (outcome.combination.batch_rows as f64, outcome.main().mb_per_s(data));
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name, points: vec![point] }),
        }
    }
    let title = format!("{} x {}, {}", data.dimension, data.element.name(), outcomes[0].main().ack.name());
    vec![Chart { title, x_name: "rows of a batch", y_name: "MB/s", lines, of_percentiles: false }]
}

fn over_time(outcome: &Outcome) -> Chart {
    let line = |pass: &Pass| Line {
        name: pass.ack.name().to_owned(),
        points: pass.ingested.series.iter().map(|moment| (moment.second as f64, moment.mb_per_s)).collect(),
    };
    let lines = outcome.passes.iter().map(line).collect();
    Chart { title: "Throughput".to_owned(), x_name: "s", y_name: "MB/s", lines, of_percentiles: false }
}

fn by_percentile(outcome: &Outcome) -> Chart {
    let line = |pass: &Pass| Line {
        name: pass.ack.name().to_owned(),
        points: pass.ingested.latencies.curve().into_iter().map(|(quantile, us)| (quantile, us / 1e3)).collect(),
    };
    let lines = outcome.passes.iter().map(line).collect();
    let title = format!("Latency of a batch of {} rows", grouped(outcome.combination.batch_rows as u64));
    Chart { title, x_name: "percentile", y_name: "ms", lines, of_percentiles: true }
}
