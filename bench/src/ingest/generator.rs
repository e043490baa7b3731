//! The load generator that everyone has, `broadhead bench ingest`, as a process that prints JSON: what is measured here can be
//! measured by hand with the same words.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs loads against one server.
pub struct Generator {
    program: PathBuf,
    server: String,
}

/// What a load gave.
#[derive(Clone, Debug)]
pub struct Load(Value);

impl Generator {
    /// Finds `broadhead` beside the program of the benchmarks.
    ///
    /// # Panics
    /// Where it is not there.
    pub fn new(benchmarks: &Path, server: &str) -> Generator {
        let program = benchmarks.with_file_name("broadhead");
        assert!(program.is_file(), "{} is missing: `cargo build --release --workspace`", program.display());
        Generator { program, server: server.to_owned() }
    }

    /// Runs one load, durable and without samples unless `arguments` say something else, and gives what each combination came to.
    ///
    /// # Panics
    /// When it fails; it says why on standard error.
    pub fn run_all(&self, arguments: &str) -> Vec<Load> {
        let output = Command::new(&self.program)
            .args(["bench", "ingest", "--json", "--server", &self.server, "--samples", "0", "--wait-indexed", "false"])
            .args(arguments.split_whitespace())
            .env("RUST_LOG", "error")
            .stderr(Stdio::piped())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "bench ingest {arguments}: {told}");
        let lines = String::from_utf8(output.stdout).expect("UTF-8");
        lines.lines().map(|line| Load(serde_json::from_str(line).expect("JSON"))).collect()
    }

    /// As `run_all`, of one combination.
    pub fn run(&self, arguments: &str) -> Load {
        let mut loads = self.run_all(arguments);
        assert_eq!(loads.len(), 1, "one combination: {arguments}");
        loads.remove(0)
    }
}

impl Load {
    /// A figure of it, which is above 0: a load that wrote nothing is a bug.
    ///
    /// # Panics
    /// Where there is none.
    pub fn figure(&self, name: &str) -> f64 {
        let value = self.0[name].as_f64().unwrap_or_else(|| panic!("no {name} in {}", self.0));
        assert!(value > 0.0, "{name} is {value}");
        value
    }

    /// Vectors acknowledged, in MB a second.
    pub fn mb_per_s(&self) -> f64 {
        self.figure("mb_per_s")
    }

    /// Rows acknowledged a second.
    pub fn rows_per_s(&self) -> f64 {
        self.figure("rows_per_s")
    }
}
