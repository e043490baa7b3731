//! A shard's index of one text column, and searches of it.
//!
//! There is one from the first text query of the column on, or from the start where the column's metadata has `broadhead.text` = `eager`. It
//! lives on the shard's thread, and follows the published ordinals: a query brings it up to date first, idle time keeps it near.
//!
//! # What a search sees
//! The index holds, besides others, every row that is visible up to an ordinal: it is brought there in *rounds*, over a view that is held
//! meanwhile. At the end of a round a [`TextSearch`] is taken, which sees the rows as of that ordinal, each id once, whatever
//! is published, dies or is merged from then on. What lies far behind is added before the round, without a view: of rows that die until
//! the round begins none is visible in it.

use std::cell::LazyCell;
use std::sync::Arc;

use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::limits;
use crate::region::{Region, Run, View};
use crate::schema::{Layout, Role, Schema, TEXT_KEY};
use crate::text::{Best, Index, Query, Snapshot, Statistics, TextHit};

/// Rows that are looked at in a step, at most.
const STEP_ROWS: u32 = 4_096;

/// What is asked of one text column of a collection, on all shards.
#[derive(Debug)]
pub struct TextRequest {
    /// The collection.
    pub collection: Arc<Collection>,
    /// Place of the column in the schema.
    pub column: usize,
    /// What is looked for.
    pub query: Query,
    /// Hits wanted, of each shard and in the end.
    pub k: usize,
    /// Only rows that this is true of are found.
    pub filter: Option<Arc<Filter>>,
}

/// The text column of a name; without one, the only column of text that is no id.
///
/// # Errors
/// `UnknownColumn`; `InvalidTextQuery` for a column that is none of text, and where there is not just one to choose.
pub fn text_column(schema: &Schema, name: Option<&str>) -> Result<usize> {
    let invalid = |place: &str, problem| Err(Error::InvalidTextQuery { place: place.to_owned(), problem });
    let is_text = |column: usize| {
        let column = &schema.columns()[column];
        column.layout == Layout::Utf8 && column.role == Role::Data
    };
    if let Some(name) = name {
        let column = schema.column_index(name)?;
        return if is_text(column) { Ok(column) } else { invalid(name, "this is no column of text") };
    }
    let mut columns = (0..schema.columns().len()).filter(|&column| is_text(column));
    match (columns.next(), columns.next()) {
        (Some(column), None) => Ok(column),
        (None, _) => invalid("column", "the collection has no column of text"),
        _ => invalid("column", "the collection has several columns of text: name one"),
    }
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// A search may be taken now, before anything else happens on the thread.
    Ready,
}

/// The index of one column of one shard.
pub struct TextColumn {
    collection: Arc<Collection>,
    shard: usize,
    column: usize,
    index: Index,
    /// One that is built anew in its place, since most terms of the old one have gone.
    successor: Option<Box<TextColumn>>,
    /// Every row that is visible up to here is in.
    complete: u64,
    round: Option<View>,
    /// Rows up to here are added before a round.
    before_round: Option<u64>,
    /// What the collection counts of it.
    counted: u64,
}

impl TextColumn {
    /// Without a row.
    pub fn new(collection: Arc<Collection>, shard: usize, column: usize) -> TextColumn {
        let index = Index::new(collection.spec.schema.analyser(column).clone());
        TextColumn {
            collection,
            shard,
            column,
            index,
            successor: None,
            complete: 0,
            round: None,
            before_round: None,
            counted: 0,
        }
    }

    /// Place of the column in the schema.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Goes on for about half a millisecond, to where a search may be taken that sees every row published up to `to`.
    pub fn step(&mut self, to: u64) -> Progress {
        let collection = self.collection.clone();
        let region = &collection.region;
        let published = region.published(self.shard);
        debug_assert!(to <= published);
        if self.complete == published {
            return Progress::Ready;
        }
        if self.index.segments() > limits::TEXT_SEGMENTS_MAX && self.merge() {
            return Progress::More;
        }
        if self.round.is_none() {
            let before = *self.before_round.get_or_insert(published);
            if before.saturating_sub(self.index.next()) > limits::TEXT_ROUND_ROWS {
                self.add(before, |row| region.is_live(row));
                self.count();
                return Progress::More;
            }
            self.round = Some(region.view());
        }
        let view = self.round.take().expect("there is one now");
        let end = view.len(self.shard);
        self.add(end, |row| region.visible(&view, row));
        self.count();
        if self.index.next() < end {
            self.round = Some(view);
            return Progress::More;
        }
        (self.complete, self.before_round) = (end, None);
        if end >= to { Progress::Ready } else { Progress::More }
    }

    /// Idle work: follows what is published, merges, and is built anew when it is worn out. False where there is nothing to do.
    pub fn tend(&mut self) -> bool {
        let published = self.collection.region.published(self.shard);
        if self.complete < published {
            self.step(0);
            return true;
        }
        if self.merge() {
            return true;
        }
        if self.successor.is_none() && self.index.is_worn_out() {
            let successor = TextColumn::new(self.collection.clone(), self.shard, self.column);
            self.successor = Some(Box::new(successor));
        }
        let Some(successor) = &mut self.successor else { return false };
        if successor.step(0) == Progress::Ready && successor.complete == published {
            let successor = self.successor.take().expect("looked at");
            *self = *successor;
        }
        true
    }

    /// Adds rows from where it stands on, up to an ordinal, as far as a step goes.
    fn add(&mut self, end: u64, is_wanted: impl Fn(u32) -> bool) {
        let collection = self.collection.clone();
        let region = &collection.region;
        let (mut rows, mut bytes) = (0, 0);
        for run in region.runs(self.shard, self.index.next()..end) {
            for (slot, ordinal) in run.slots().zip(run.ordinal..) {
                if rows == STEP_ROWS || bytes >= limits::TEXT_STEP_BYTES {
                    return self.index.pass(ordinal);
                }
                rows += 1;
                let row = region.row(self.shard, slot);
                if is_wanted(row)
                    && let Some(text) = text_of(region, self.column, self.shard, slot)
                {
                    bytes += text.len();
                    self.index.add(ordinal, text, region.is_live(row));
                }
            }
        }
        self.index.pass(end);
    }

    /// A row dies, whose text is still there.
    pub(super) fn row_dies(&mut self, slot: u32, ordinal: u64) {
        // One that a later row of its own batch replaces was never seen by anybody, the index included.
        if ordinal >= self.collection.region.published(self.shard) {
            return;
        }
        if let Some(text) = text_of(&self.collection.region, self.column, self.shard, slot) {
            self.index.remove(ordinal, text);
        }
        if let Some(successor) = &mut self.successor {
            successor.row_dies(slot, ordinal);
        }
    }

    /// Goes on with merging. Dropped is what no search that is taken from now on can see.
    fn merge(&mut self) -> bool {
        let region = &self.collection.region;
        let now = LazyCell::new(|| {
            let view = region.view().up_to(self.shard, self.complete);
            (Places::new(region, self.shard, self.complete), view)
        });
        let is_dead = |ordinal: u64| {
            if ordinal >= self.complete {
                return false;
            }
            let (places, view) = &*now;
            places.row(ordinal).is_none_or(|row| !region.visible(view, row))
        };
        let merged = self.index.merge_step(is_dead);
        drop(now);
        self.count();
        merged
    }

    /// Tells the collection how much memory this takes.
    fn count(&mut self) {
        let bytes = self.index.bytes();
        self.collection.text.sub(self.shard, std::mem::replace(&mut self.counted, 0));
        self.collection.text.add(self.shard, bytes);
        self.counted = bytes;
    }

    /// What the documents say to a query.
    pub fn statistics(&self, query: &Query) -> Statistics {
        self.index.statistics(query)
    }

    /// A search of everything up to where [`TextColumn::step`] has come. Only right when that has just said [`Progress::Ready`].
    pub fn search(&mut self, request: Arc<TextRequest>) -> TextSearch {
        let region = &request.collection.region;
        let view = region.view().up_to(self.shard, self.complete);
        let places = Places::new(region, self.shard, self.complete);
        let best = Best::new(request.k);
        let search = TextSearch {
            snapshot: self.index.snapshot(&request.query),
            view,
            places,
            next: 0,
            best,
            scored: 0,
            request,
        };
        self.count();
        search
    }
}

impl Drop for TextColumn {
    fn drop(&mut self) {
        self.collection.text.sub(self.shard, self.counted);
    }
}

/// The columns that are indexed before anybody asks.
pub(super) fn eager_columns(collection: &Arc<Collection>, shard: usize) -> Vec<TextColumn> {
    let fields = collection.spec.schema.arrow().fields();
    let is_eager = |column: &usize| fields[*column].metadata().contains_key(TEXT_KEY);
    (0..fields.len()).filter(is_eager).map(|column| TextColumn::new(collection.clone(), shard, column)).collect()
}

/// The text of a row; None where it is null.
fn text_of(region: &Region, column: usize, shard: usize, slot: u32) -> Option<&str> {
    let is_null = region.null_word(column, shard, slot as usize / 64) >> (slot % 64) & 1 == 1;
    let text =
        || std::str::from_utf8(region.text_bytes(column, shard, slot)).expect("text was checked when it came in");
    (!is_null).then(text)
}

/// Where the rows of a shard lie.
struct Places {
    /// Row of the first slot of a run, by its ordinal.
    runs: Vec<(Run, u32)>,
}

impl Places {
    fn new(region: &Region, shard: usize, end: u64) -> Places {
        let runs = region.runs(shard, 0..end).into_iter();
        Places { runs: runs.map(|run| (run, region.row(shard, run.slot))).collect() }
    }

    fn row(&self, ordinal: u64) -> Option<u32> {
        let behind = self.runs.partition_point(|(run, _)| run.ordinal <= ordinal);
        let (run, first) = self.runs.get(behind.checked_sub(1)?)?;
        let place = ordinal - run.ordinal;
        (place < u64::from(run.len)).then(|| first + place as u32)
    }
}

/// A search of one shard.
pub struct TextSearch {
    snapshot: Snapshot,
    /// What it sees stays where it is.
    view: View,
    places: Places,
    /// The part that comes next.
    next: usize,
    best: Best,
    /// Rows that might have been among the best.
    scored: u64,
    request: Arc<TextRequest>,
}

impl TextSearch {
    /// Searches one part; false when none is left.
    pub fn step(&mut self, statistics: &Statistics) -> bool {
        if self.next == self.snapshot.parts() {
            return false;
        }
        let TextSearch { snapshot, view, places, next, best, scored, request } = self;
        let (collection, filter) = (&request.collection, request.filter.as_deref());
        let accept = |ordinal: u64| {
            *scored += 1;
            let row = places.row(ordinal)?;
            let is_found =
                collection.region.visible(view, row) && filter.is_none_or(|filter| collection.accepts(filter, row));
            is_found.then_some(row)
        };
        snapshot.search(*next, &request.query, statistics, best, accept);
        *next += 1;
        true
    }

    /// The best rows, best first, and how many might have been among them.
    pub fn into_hits(self) -> (Vec<TextHit>, u64) {
        (self.best.into_sorted(), self.scored)
    }
}

#[cfg(test)]
mod tests;
