//! What the figures were measured on.

use std::fmt;
use std::process::Command;

use serde_json::{Value, json};

/// The machine and the commit.
#[derive(Clone, Debug)]
pub struct Machine {
    cpu: String,
    cores: usize,
    isa: &'static str,
    kernel: String,
    commit: String,
    load: String,
}

impl Machine {
    /// This machine; what it does not tell is `unknown`.
    pub fn read() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Machine {
            cpu: or_unknown(model.map_or("", |(_, name)| name)),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            isa: kernels::detect().isa().name(),
            kernel: or_unknown(&read("/proc/sys/kernel/osrelease")),
            commit: commit(),
            load: or_unknown(read("/proc/loadavg").split(' ').next().unwrap_or_default()),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "isa": self.isa,
            "kernel": self.kernel,
            "commit": self.commit,
            "load": self.load,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, isa, kernel, commit, load } = self;
        write!(f, "{cpu}, {cores} cores, {isa}, Linux {kernel}, commit {commit}, load {load} before the run")
    }
}

fn or_unknown(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() { "unknown".into() } else { text.into() }
}

/// The commit of the sources, marked with a `+` when they are changed.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".into() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| !changes.is_empty());
    if changed { commit + "+" } else { commit }
}
