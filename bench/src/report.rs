//! Figures, each beside its baseline and its goal, as one aligned table or as JSON, with the machine that they are of.

use std::fmt;

use serde_json::{Value, json};

mod comparison;
mod machine;
mod table;

pub use comparison::{ComparedEngine, Comparison};
pub use machine::Machine;

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The value itself, at least.
    AtLeast(f64),
    /// The value itself, at most.
    AtMost(f64),
    /// The ratio to the baseline, at least.
    RatioAtLeast(f64),
    /// The ratio to the baseline, at most.
    RatioAtMost(f64),
    /// The value less the baseline, at least.
    DifferenceAtLeast(f64),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Goal::AtLeast(bound) => write!(f, ">= {bound}"),
            Goal::AtMost(bound) => write!(f, "<= {bound}"),
            Goal::RatioAtLeast(bound) => write!(f, ">= {bound} x"),
            Goal::RatioAtMost(bound) => write!(f, "<= {bound} x"),
            Goal::DifferenceAtLeast(bound) => write!(f, ">= baseline {bound:+}"),
        }
    }
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    baseline: Option<(String, f64)>,
    ratio: Option<f64>,
    goal: Option<Goal>,
}

impl Figure {
    /// A figure without anything beside it.
    ///
    /// # Panics
    /// When the value is no finite number: a section that measured nothing has a bug.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Figure {
        let name = name.into();
        assert!(value.is_finite(), "{name}: {value}");
        Figure { name, value, unit, baseline: None, ratio: None, goal: None }
    }

    /// Sets what it is compared to: a baseline or a limit of the same run and unit.
    pub fn beside(mut self, name: impl Into<String>, value: f64) -> Figure {
        let name = name.into();
        assert!(value.is_finite(), "{name}: {value}");
        self.ratio = (value != 0.0).then_some(self.value / value);
        self.baseline = Some((name, value));
        self
    }

    /// Sets the ratio, where it is measured better than by dividing the two values: as the median of rounds, say.
    pub fn with_ratio(mut self, ratio: f64) -> Figure {
        assert!(self.baseline.is_some() && ratio.is_finite(), "{}: {ratio} to what", self.name);
        self.ratio = Some(ratio);
        self
    }

    /// Sets what is to be reached.
    pub fn with_goal(mut self, goal: Goal) -> Figure {
        self.goal = Some(goal);
        self
    }

    /// What it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was measured.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Whether it reaches its goal; None without a goal, or where there is no baseline to judge by.
    pub fn is_met(&self) -> Option<bool> {
        match self.goal? {
            Goal::AtLeast(bound) => Some(self.value >= bound),
            Goal::AtMost(bound) => Some(self.value <= bound),
            Goal::RatioAtLeast(bound) => self.ratio.map(|ratio| ratio >= bound),
            Goal::RatioAtMost(bound) => self.ratio.map(|ratio| ratio <= bound),
            Goal::DifferenceAtLeast(bound) => {
                self.baseline.as_ref().map(|(_, baseline)| self.value - baseline >= bound)
            }
        }
    }

    fn json(&self, section: &str) -> Value {
        let (baseline, baseline_value) = self.baseline.clone().unzip();
        json!({
            "section": section,
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "baseline": baseline,
            "baseline_value": baseline_value,
            "ratio": self.ratio,
            "goal": self.goal.map(|goal| goal.to_string()),
            "met": self.is_met(),
        })
    }
}

/// All figures of a run.
#[derive(Debug)]
pub struct Report {
    machine: Machine,
    sections: Vec<(&'static str, Vec<Figure>)>,
    comparisons: Vec<(&'static str, Comparison)>,
    notes: Vec<String>,
}

impl Report {
    /// An empty report on this machine.
    pub fn new() -> Report {
        Report { machine: Machine::read(), sections: Vec::new(), comparisons: Vec::new(), notes: Vec::new() }
    }

    /// Adds the figures of a section.
    pub fn add(&mut self, section: &'static str, figures: Vec<Figure>) {
        assert!(!figures.is_empty(), "section {section} measured nothing");
        self.sections.push((section, figures));
    }

    /// Adds a table of engines beside each other.
    pub fn add_comparison(&mut self, section: &'static str, comparison: Comparison) {
        self.comparisons.push((section, comparison));
    }

    /// Adds a line for the reader: what was left out, and why.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The report as one JSON object: `machine`, `figures`, `comparisons`, `notes`.
    pub fn json(&self) -> Value {
        let of_section = |(section, figures): &(&'static str, Vec<Figure>)| {
            figures.iter().map(|figure| figure.json(section)).collect::<Vec<_>>()
        };
        json!({
            "machine": self.machine.json(),
            "figures": self.sections.iter().flat_map(of_section).collect::<Vec<_>>(),
            "comparisons": self.comparisons.iter().map(|(section, comparison)| comparison.json(section)).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        if !self.sections.is_empty() {
            table::write(f, &self.sections)?;
        }
        for (section, comparison) in &self.comparisons {
            writeln!(f, "\n[{section}] {}", comparison.title)?;
            table::write_comparison(f, comparison)?;
        }
        for note in &self.notes {
            writeln!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}

/// The middle value; of an even number of them the upper of the two in the middle.
///
/// # Panics
/// Without values.
pub fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "a median of nothing");
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged() {
        let figure = || Figure::new("f", 80.0, "MB/s").beside("bare", 100.0);
        let met = |goal| figure().with_goal(goal).is_met();
        assert_eq!(met(Goal::RatioAtLeast(0.8)), Some(true));
        assert_eq!(met(Goal::RatioAtLeast(0.81)), Some(false));
        assert_eq!(met(Goal::RatioAtMost(0.79)), Some(false));
        assert_eq!(met(Goal::AtLeast(80.0)), Some(true));
        assert_eq!(met(Goal::AtMost(79.0)), Some(false));
        assert_eq!(met(Goal::DifferenceAtLeast(-20.0)), Some(true));
        assert_eq!(met(Goal::DifferenceAtLeast(-19.0)), Some(false));
        assert_eq!(figure().is_met(), None);
        assert_eq!(figure().with_ratio(0.9).with_goal(Goal::RatioAtLeast(0.85)).is_met(), Some(true));
        assert_eq!(Figure::new("f", 1.0, "x").with_goal(Goal::RatioAtLeast(1.0)).is_met(), None);
    }

    #[test]
    fn a_report_is_a_table_and_json() {
        let mut report = Report::new();
        let goal = Goal::RatioAtLeast(0.7);
        report.add("wal", vec![Figure::new("records", 50.0, "MB/s").beside("bare", 100.0).with_goal(goal)]);
        report.note("nothing else");
        let text = report.to_string();
        assert!(text.contains("records") && text.contains("MISSED") && text.contains("note: nothing else"), "{text}");
        let json = report.json();
        assert_eq!(json["figures"][0]["ratio"], 0.5);
        assert_eq!(json["figures"][0]["met"], false);
        assert!(json["machine"]["cores"].as_u64().unwrap() > 0);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![3.0, 1.0]), 3.0);
    }
}
