//! The program that runs the benchmarks and prints their report.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bench::{
    disk, edges, engines, filters, graph, ingest, kernels, mesh, path, peers, report::Report, scale, scan, schema,
    text, turnover, wal,
};
use clap::{Parser, ValueEnum};
use tempfile::TempDir;

/// Runs the benchmarks: every figure beside its baseline or limit of the same run.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Little data and few rounds: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Only these.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "kernels,schema,mesh,wal,ingest,graph,filters,text,path,scan,disk,edges,turnover"
    )]
    sections: Vec<Section>,
    /// Sizes of the section `scale` [default: 62436,250000,1000000]
    #[arg(long, value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u64).range(100..=2_000_000))]
    rows: Vec<u64>,
    /// Directory with debian-packages.parquet and debian-queries.parquet [default: the 10,000 rows of the repository]
    #[arg(long, env = "BROADHEAD_BENCH_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Directory on the disk that is to be measured; what is written there is removed again.
    #[arg(long, default_value = "target", value_name = "DIR")]
    scratch: PathBuf,
    /// Be the server of the sections `ingest`, `text`, `path`, `scan`, `disk` and `turnover` on this directory.
    #[arg(long, hide = true, value_name = "DIR")]
    serve: Option<PathBuf>,
    /// Be this one of our engines, of the section `peers`, on the files of `--work`.
    #[arg(long, hide = true, value_name = "NAME", requires = "work", requires = "dimension")]
    engine: Option<String>,
    /// Directory of the files.
    #[arg(long, hide = true, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Numbers of a vector in the files.
    #[arg(long, hide = true, value_name = "N")]
    dimension: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    Kernels,
    Schema,
    Mesh,
    Wal,
    Ingest,
    Graph,
    Text,
    Filters,
    Path,
    Scan,
    Disk,
    Edges,
    Peers,
    Scale,
    Turnover,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(data) = &arguments.serve {
        return match path::serve(data) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if let (Some(name), Some(work), Some(dimension)) = (&arguments.engine, &arguments.work, arguments.dimension) {
        engines::be_ours(name, work, dimension);
        return ExitCode::SUCCESS;
    }
    let report = measure(&arguments);
    if arguments.json {
        println!("{:#}", report.json());
    } else {
        print!("{report}");
    }
    ExitCode::SUCCESS
}

fn measure(arguments: &Arguments) -> Report {
    let (base, queries) = files(arguments.data.as_deref().filter(|data| !data.as_os_str().is_empty()));
    let quick = arguments.quick;
    let wanted = |section| {
        let wanted = arguments.sections.contains(&section);
        if wanted {
            eprintln!("measuring {section:?} …");
        }
        wanted
    };
    let mut report = Report::new();
    if wanted(Section::Kernels) {
        report.add("kernels", kernels::run(quick));
    }
    if wanted(Section::Schema) {
        report.add("schema", schema::run(quick));
    }
    if wanted(Section::Mesh) {
        report.add("mesh", mesh::run(quick));
    }
    if wanted(Section::Wal) {
        let scratch = TempDir::new_in(&arguments.scratch).expect("a scratch directory");
        report.add("wal", wal::run(quick, scratch.path()));
    }
    let program = std::env::current_exe().expect("the path of this program");
    if wanted(Section::Ingest) {
        let setup = ingest::Setup { quick, program: &program, scratch: &arguments.scratch };
        let ingest::Outcome { figures, notes } = ingest::run(&setup);
        report.add("ingest", figures);
        notes.into_iter().for_each(|note| report.note(note));
    }
    let mut in_process = None;
    if wanted(Section::Graph) {
        let graph::Outcome { figures, ours, has_peer } = graph::run(quick, &base, &queries, &arguments.scratch);
        report.add("graph", figures);
        if !has_peer {
            report.note(
                "no hnswlib beside the graph: `make bench` sets BROADHEAD_PYTHON to a Python that has it; what went wrong \
                 with it is above",
            );
        }
        in_process = Some(ours);
    }
    if wanted(Section::Filters) {
        report.add("filters", filters::run(quick, &base, &queries, &arguments.scratch));
    }
    if wanted(Section::Text) {
        report.add("text", text::run(quick, &program, &arguments.scratch, &base));
        if !cfg!(feature = "tantivy") {
            report.note("no tantivy beside the text index: `make bench` builds the program with the feature `tantivy`");
        }
    }
    if wanted(Section::Path) {
        let figures = path::run(&path::Setup {
            quick,
            program: &program,
            scratch: &arguments.scratch,
            base: &base,
            queries: &queries,
            in_process: in_process.as_ref(),
        });
        report.add("path", figures);
    }
    if wanted(Section::Scan) {
        report.add("scan", scan::run(quick, &program, &arguments.scratch, &base));
    }
    if wanted(Section::Disk) {
        report.add("disk", disk::run(quick, &program, &arguments.scratch, &base, &queries));
    }
    if wanted(Section::Edges) {
        report.add("edges", edges::run(quick));
    }
    if wanted(Section::Peers) {
        report.add_comparison("peers", peers::run(quick, &program, &arguments.scratch, &base, &queries));
    }
    if wanted(Section::Scale) {
        let sizes: Vec<usize> = arguments.rows.iter().map(|&rows| rows as usize).collect();
        let scale::Outcome { figures, comparisons } =
            scale::run(quick, &sizes, &program, &arguments.scratch, &base, &queries);
        report.add("scale", figures);
        comparisons.into_iter().for_each(|comparison| report.add_comparison("scale", comparison));
    }
    if wanted(Section::Turnover) {
        report.add("turnover", turnover::run(quick, &program, &arguments.scratch, &base, &queries));
    }
    report
}

/// Rows and queries.
fn files(data: Option<&Path>) -> (PathBuf, PathBuf) {
    match data {
        Some(data) => (data.join("debian-packages.parquet"), data.join("debian-queries.parquet")),
        None => {
            let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
            (data.join("debian-10k.parquet"), data.join("debian-10k-queries.parquet"))
        }
    }
}
