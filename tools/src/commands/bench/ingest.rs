//! `broadhead bench ingest`: a pass for each kind of acknowledgement, for each combination of a sweep.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Mutex;

use super::arguments::{Arguments, Combination};
use super::report::{self, Outcome, Pass};
use super::{INDEX_TIMEOUT, Temporary};
use crate::cli::Acknowledge;
use crate::commands::wait_indexed;
use crate::error::{Error, RequestProblem, Result};
use crate::load::{self, Acknowledged, Data, Ingest, Moment, Pool, Soak};
use crate::output;

/// Writes and shows.
pub fn run(arguments: &Arguments) -> Result<()> {
    let combinations = arguments.combinations();
    let most_ids = combinations.iter().map(|combination| combination.ids).max().unwrap_or(1);
    let most_rows = combinations.iter().map(|combination| combination.batch_rows).max().unwrap_or(1);
    let data = arguments.common.data(most_ids)?;
    let client = arguments.common.remote.connect()?;
    let pool = Pool::new(data, most_ids, most_rows);
    let frame_rows = load::frame_rows_max(&data, &client.server(), arguments.routing());
    if most_rows > frame_rows && !arguments.common.remote.json {
        output::line(format_args!(
            "the largest batch of {} x {} that fits one frame a shard has about {} rows: larger ones are sent as several frames",
            data.dimension,
            data.element.name(),
            output::grouped(frame_rows as u64),
        ));
    }
    drop(client);
    let is_sweep = combinations.len() > 1;
    let csv = arguments.csv.as_ref().map(|path| Csv::create(path)).transpose()?;
    let mut outcomes = Vec::with_capacity(combinations.len());
    for combination in combinations {
        let outcome = measure(arguments, &data, &pool, combination, is_sweep, csv.as_ref())?;
        if !is_sweep || arguments.common.remote.json {
            report::show(arguments, &data, &outcome);
        }
        outcomes.push(outcome);
    }
    if let Some(csv) = csv {
        csv.finish()?;
    }
    if is_sweep && !arguments.common.remote.json {
        report::show_sweep(&data, &outcomes);
    }
    if let Some(path) = &arguments.plot {
        load::draw(path, &report::charts(&data, &outcomes))?;
    }
    check(arguments, &outcomes)
}

/// All passes of one combination.
fn measure(
    arguments: &Arguments,
    data: &Data,
    pool: &Pool,
    combination: Combination,
    is_sweep: bool,
    csv: Option<&Csv>,
) -> Result<Outcome> {
    let passes = arguments.acknowledgements();
    let mut outcome = Outcome { combination, passes: Vec::with_capacity(passes.len()), indexed: None, soak: None };
    for ack in passes {
        let (ingested, indexed) = pass(arguments, data, pool, combination, ack, is_sweep, csv)?;
        if ack == Acknowledge::Durable || outcome.passes.is_empty() {
            outcome.indexed = indexed;
        }
        if arguments.soak.is_some() {
            outcome.soak = Soak::new(&ingested, combination.ids);
        }
        outcome.passes.push(Pass { ack, ingested });
    }
    Ok(outcome)
}

/// One pass on a collection of its own, with the rate of indexed rows if that is wanted.
fn pass(
    arguments: &Arguments,
    data: &Data,
    pool: &Pool,
    combination: Combination,
    ack: Acknowledge,
    is_sweep: bool,
    csv: Option<&Csv>,
) -> Result<(load::Ingested, Option<f64>)> {
    let common = &arguments.common;
    let (client, name) = (common.remote.connect()?, arguments.collection());
    let ack_log = arguments.ack_log.as_deref();
    let (temporary, collection) = match ack_log {
        Some(_) => Temporary::create_or_open(client, name, data, true)?,
        None => Temporary::create(client, name, data, common.keep)?,
    };
    let round = match ack_log {
        Some(path) if path.exists() => Acknowledged::read(path)?.next_round(&temporary.name),
        _ => 0,
    };
    let each_second = |moment: &Moment| {
        if arguments.per_second && !common.remote.json {
            output::line(report::moment_line(moment));
        }
        if let Some(csv) = csv {
            csv.add(combination, ack, moment);
        }
    };
    if arguments.per_second && !common.remote.json {
        output::line(report::moment_header(combination, ack));
    }
    let load = Ingest {
        until: arguments.until(combination, is_sweep)?,
        warm_up: arguments.warm_up()?,
        batch_rows: combination.batch_rows,
        connections: combination.connections,
        in_flight: arguments.in_flight.into(),
        rate: arguments.rate()?,
        ack: ack.into(),
        routing: arguments.routing(),
        samples_per_s: arguments.samples()?,
        searches_per_s: arguments.searches()?,
        ack_log: ack_log.map(|path| (path, round)),
        each_second: Some(&each_second),
        ..Ingest::new(pool, combination.ids)
    };
    let ingested = load::ingest(&common.remote, &temporary.name, &load)?;
    let waits = arguments.wait_indexed.unwrap_or(!is_sweep && arguments.soak.is_none());
    if !waits || ack != Acknowledge::Durable && arguments.ack.is_none() {
        return Ok((ingested, None));
    }
    let waited = wait_indexed::wait(&collection, INDEX_TIMEOUT, common.remote.quiet())?;
    let rate = waited.rows as f64 / (ingested.seconds + waited.seconds);
    Ok((ingested, Some(rate)))
}

/// Judges the soak, if that is wanted.
fn check(arguments: &Arguments, outcomes: &[Outcome]) -> Result<()> {
    if !arguments.check {
        return Ok(());
    }
    let mut missed = Vec::new();
    for outcome in outcomes {
        let Some(soak) = &outcome.soak else {
            return Err(RequestProblem::Measure("a soak of less than three whole seconds cannot be checked").into());
        };
        missed.extend(soak.goals().into_iter().filter(|goal| !goal.met).map(|goal| goal.name));
    }
    if missed.is_empty() { Ok(()) } else { Err(RequestProblem::GoalsMissed(missed.join(", ")).into()) }
}

/// The file of seconds.
struct Csv {
    path: std::path::PathBuf,
    file: Mutex<(BufWriter<File>, std::io::Result<()>)>,
}

impl Csv {
    fn create(path: &std::path::Path) -> Result<Csv> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut file = BufWriter::new(file);
        let header = writeln!(file, "batch_rows,connections,ack,{}", Moment::NAMES.join(","));
        Ok(Csv { path: path.to_owned(), file: Mutex::new((file, header)) })
    }

    fn add(&self, combination: Combination, ack: Acknowledge, moment: &Moment) {
        let mut file = self.file.lock().expect("no holder panics");
        if file.1.is_ok() {
            let Moment { second, mb_per_s, rows_per_s, p50_us, p99_us, resident_bytes, disk_bytes, backlog_rows } =
                moment;
            let Combination { batch_rows, connections, .. } = combination;
            let ack = ack.name();
            file.1 = writeln!(
                file.0,
                "{batch_rows},{connections},{ack},{second},{mb_per_s:.3},{rows_per_s},{p50_us},{p99_us},{resident_bytes},{disk_bytes},{backlog_rows}"
            );
        }
    }

    fn finish(self) -> Result<()> {
        let (mut file, written) = self.file.into_inner().expect("no holder panics");
        written.and_then(|()| file.flush()).map_err(Error::io("write to", self.path))
    }
}
