//! How a search was answered: which way it took, what it looked at, and where the time went. Kept for those that ask, and for no other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::plan::Plan;
use crate::collection::Collection;
use crate::text::{Query, Statistics};

/// How a search was answered.
#[derive(Clone, Debug, Serialize)]
pub struct Explain {
    /// `scan`: all rows that pass were compared. `graph`: the graph was walked through. `two hops`: it was walked over rows that pass and
    /// over neighbours of neighbours that do not.
    pub plan: &'static str,
    /// Live rows of the collection.
    pub rows: u64,
    /// Rows that the filter is true of, dead ones whose memory is not used again yet among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked_rows: Option<u64>,
    /// Live rows that the filter is true of, as far as the plan goes by it: those above, less the share that is dead of all rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    /// What was looked at, of all queries together.
    pub visits: Visits,
    /// Microseconds from phase to phase, waiting for other work of the shard among them.
    pub time_us: Phases,
}

/// What a search looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Visits {
    /// Rows that were met in the graph and compared.
    pub graph_rows: u64,
    /// Rows that a scan compared.
    pub scanned_rows: u64,
    /// Rows that were ranked again by their full vectors.
    pub ranked_rows: u64,
    /// Queries that the graph was given up for: they were answered by a scan.
    pub graph_given_up: u64,
}

/// Time by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Phases {
    /// To find out which rows the filter is true of.
    pub filter: u64,
    /// In the graph.
    pub graph: u64,
    /// To compare rows one by one.
    pub scan: u64,
    /// From the request to the end of these.
    pub total: u64,
}

/// How rows were found by their words.
#[derive(Clone, Debug, Serialize)]
pub struct TextExplain {
    /// `words`: rows that have words of the query were looked up in the index of the column.
    pub plan: &'static str,
    /// Live rows of the collection.
    pub rows: u64,
    /// Those that have a word in the column.
    pub documents: u64,
    /// Words of the query, as the analyser gives them, and how many rows have each.
    pub words: BTreeMap<String, u64>,
    /// What was looked at.
    pub visits: TextVisits,
    /// Microseconds by phase, waiting for other work of the shards among them.
    pub time_us: TextPhases,
}

/// What a search by words looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TextVisits {
    /// Rows whose score might have brought them among the best: it was looked whether they are visible, and whether the filter is true of
    /// them.
    pub scored_rows: u64,
}

/// Time by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TextPhases {
    /// To bring the indexes up to date, and to find out how many rows have the words.
    pub statistics: u64,
    /// To find the best rows.
    pub words: u64,
    /// Both.
    pub total: u64,
}

impl TextExplain {
    /// How a query was answered, by the statistics of all shards.
    pub fn new(collection: &Collection, query: &Query, statistics: &Statistics, scored_rows: u64) -> TextExplain {
        let words = query.words().zip(&statistics.frequencies);
        TextExplain {
            plan: "words",
            rows: collection.live_rows(),
            documents: statistics.documents,
            words: words.map(|(word, &rows)| (String::from_utf8_lossy(word).into_owned(), rows)).collect(),
            visits: TextVisits { scored_rows },
            time_us: TextPhases::default(),
        }
    }

    /// Adds the time that both phases took.
    pub fn add_time(&mut self, statistics: Duration, words: Duration) {
        let us = |time: Duration| time.as_micros() as u64;
        self.time_us.statistics += us(statistics);
        self.time_us.words += us(words);
        self.time_us.total = self.time_us.statistics + self.time_us.words;
    }
}

/// What is counted while a search goes on, by all that take part.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub graph_rows: AtomicU64,
    pub scanned_rows: AtomicU64,
    pub ranked_rows: AtomicU64,
    pub graph_given_up: AtomicU64,
}

/// Adds to a counter, where somebody wants to know.
#[inline]
pub(super) fn count(counters: &Option<Arc<Counters>>, which: fn(&Counters) -> &AtomicU64, count: usize) {
    if let Some(counters) = counters {
        which(counters).fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// A part of a search that has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Finding out which rows the filter is true of.
    Filter,
    /// The graph.
    Graph,
    /// Comparing rows one by one.
    Scan,
}

/// An explanation in the making.
#[derive(Debug)]
pub(super) struct Explaining {
    pub counters: Arc<Counters>,
    began: Instant,
    marked: Instant,
    phases: Phases,
}

impl Explaining {
    pub fn begin() -> Explaining {
        let now = Instant::now();
        Explaining { counters: Arc::default(), began: now, marked: now, phases: Phases::default() }
    }

    /// A phase ends.
    pub fn mark(&mut self, phase: Phase) {
        let now = Instant::now();
        let us = |time: Duration| time.as_micros() as u64;
        let taken = us(now - std::mem::replace(&mut self.marked, now));
        self.phases.total = us(now - self.began);
        match phase {
            Phase::Filter => self.phases.filter += taken,
            Phase::Graph => self.phases.graph += taken,
            Phase::Scan => self.phases.scan += taken,
        }
    }

    pub fn finish(&self, plan: Plan, rows: u64, filtered: Option<(u64, u64)>) -> Explain {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { graph_rows, scanned_rows, ranked_rows, graph_given_up } = &*self.counters;
        Explain {
            plan: plan.name(),
            rows,
            masked_rows: filtered.map(|(masked, _)| masked),
            estimated_rows: filtered.map(|(_, estimated)| estimated),
            visits: Visits {
                graph_rows: read(graph_rows),
                scanned_rows: read(scanned_rows),
                ranked_rows: read(ranked_rows),
                graph_given_up: read(graph_given_up),
            },
            time_us: self.phases,
        }
    }
}
