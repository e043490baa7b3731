//! A list of what a server acknowledged as durable, kept outside of it, and the check that all of it is there.
//!
//! One JSON object a line and a batch: the collection, and the ids of the batch as spans: all ids from the first to the last that
//! live on a shard, of so many. Column `round` of a row says which round wrote it. A line is written to the file once
//! its batch is acknowledged and before the next one of that connection is looked at; the file is not synced: it is to outlive the
//! server, not the machine.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use arrow::array::AsArray;
use arrow::datatypes::{UInt32Type, UInt64Type};
use net::client::{Collection, Ids};
use serde::{Deserialize, Serialize};

use super::data::ROUND_NAME;
use super::wheel::Span;
use crate::error::{Error, FileProblem, Result};
use crate::progress::Progress;
use crate::sources::ID_NAME;

/// Ids that are asked for at a time.
const GET_IDS: usize = 10_000;

/// A line.
#[derive(Serialize, Deserialize)]
struct Line {
    collection: String,
    shards: usize,
    /// Shard, round, first, last.
    spans: Vec<(usize, u32, u64, u64)>,
}

/// The list, while it is written.
pub struct AckLog {
    path: PathBuf,
    collection: String,
    file: Mutex<File>,
}

/// The list, read: of each collection the newest acknowledged round of each id.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// By name.
    pub collections: HashMap<String, HashMap<u64, u32>>,
    /// Lines.
    pub batches: u64,
}

/// How the rows of a list were found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Different ids that were acknowledged.
    pub ids: u64,
    /// There, as acknowledged.
    pub same: u64,
    /// There, of a newer round.
    pub newer: u64,
    /// There, of an older round: the acknowledged one is lost.
    pub older: u64,
    /// Not there.
    pub missing: u64,
}

impl AckLog {
    /// Opens the list to append to it.
    pub fn append_to(path: &Path, collection: &str) -> Result<AckLog> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("open", path))?;
        Ok(AckLog { path: path.to_owned(), collection: collection.to_owned(), file: Mutex::new(file) })
    }

    /// Adds a batch that was acknowledged; `shards` is what its spans were made for.
    pub fn add(&self, spans: &[Span], shards: usize) -> Result<()> {
        let spans = spans.iter().map(|span| (span.shard, span.round, span.first, span.last)).collect();
        let line = Line { collection: self.collection.clone(), shards, spans };
        let mut text = serde_json::to_string(&line).expect("plain numbers and text");
        text.push('\n');
        // One write a line: a load that is killed leaves a whole number of lines, or one torn at the end.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes()).map_err(Error::io("write to", &self.path))
    }
}

impl Acknowledged {
    /// Reads a list. A last line without an end is one that its writer did not get to write.
    pub fn read(path: &Path) -> Result<Acknowledged> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let mut input = BufReader::new(file);
        let mut found = Acknowledged::default();
        let mut text = String::new();
        loop {
            text.clear();
            let bytes = input.read_line(&mut text).map_err(Error::io("read", path))?;
            if bytes == 0 || !text.ends_with('\n') {
                return Ok(found);
            }
            found.batches += 1;
            let line = found.batches;
            let problem = |problem: String| Error::file(path)(FileProblem::AckLine { line, problem });
            let parsed: Line = serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?;
            found.take(parsed).map_err(problem)?;
        }
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        let rounds = self.collections.entry(line.collection).or_default();
        for (shard, round, first, last) in line.spans {
            if shard >= line.shards || first > last || last - first > u64::from(u32::MAX) {
                return Err(format!("no batch has the ids {first} to {last} of shard {shard} of {}", line.shards));
            }
            for id in (Span { shard, round, first, last }).ids(line.shards) {
                let newest = rounds.entry(id).or_insert(round);
                *newest = (*newest).max(round);
            }
        }
        Ok(())
    }

    /// The round after all that are listed for a collection.
    pub fn next_round(&self, collection: &str) -> u32 {
        self.collections.get(collection).and_then(|rounds| rounds.values().max()).map_or(0, |round| round + 1)
    }
}

/// Reads every id back.
pub fn verify(collection: &Collection, rounds: &HashMap<u64, u32>, quiet: bool) -> Result<Verified> {
    let mut ids: Vec<u64> = rounds.keys().copied().collect();
    ids.sort_unstable();
    let mut progress = Progress::start("verifying", Some(ids.len() as u64), quiet);
    let mut verified = Verified { ids: ids.len() as u64, ..Verified::default() };
    for some in ids.chunks(GET_IDS) {
        let rows = collection.get(&Ids::U64(some.to_vec()), &[ID_NAME, ROUND_NAME])?;
        let found = rows.column(0).as_primitive::<UInt64Type>().values().iter();
        let found = found.zip(rows.column(1).as_primitive::<UInt32Type>().values());
        for (id, round) in found {
            let side = match round.cmp(&rounds[id]) {
                std::cmp::Ordering::Less => &mut verified.older,
                std::cmp::Ordering::Equal => &mut verified.same,
                std::cmp::Ordering::Greater => &mut verified.newer,
            };
            *side += 1;
        }
        verified.missing += (some.len() - rows.num_rows()) as u64;
        progress.add(some.len() as u64, 0);
    }
    Ok(verified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_read_and_the_newest_round_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acks");
        let log = AckLog::append_to(&path, "c").unwrap();
        log.add(&[Span { shard: 0, round: 3, first: 5, last: 9 }], 1).unwrap();
        log.add(&[Span { shard: 0, round: 2, first: 8, last: 11 }], 1).unwrap();
        drop(log);
        AckLog::append_to(&path, "d").unwrap().add(&[Span { shard: 1, round: 0, first: 0, last: 99 }], 2).unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"collection\":\"c\",\"sh").unwrap();
        let read = Acknowledged::read(&path).unwrap();
        assert_eq!(read.batches, 3);
        let mut rounds: Vec<_> = read.collections["c"].iter().map(|(id, round)| (*id, *round)).collect();
        rounds.sort_unstable();
        assert_eq!(rounds, [(5, 3), (6, 3), (7, 3), (8, 3), (9, 3), (10, 2), (11, 2)]);
        assert_eq!((read.next_round("c"), read.next_round("d"), read.next_round("e")), (4, 1, 0));
        let expected = Span { shard: 1, round: 0, first: 0, last: 99 }.ids(2).count();
        assert!(expected > 20 && read.collections["d"].len() == expected);
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acks");
        for text in ["nothing\n", "{\"collection\":\"c\",\"shards\":1,\"spans\":[[1,0,2,3]]}\n"] {
            std::fs::write(&path, text).unwrap();
            let error = Acknowledged::read(&path).unwrap_err().to_string();
            assert!(error.contains("line 1"), "{error}");
        }
    }
}
