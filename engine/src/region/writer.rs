//! The one writer of a shard's rows.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernels::Kernels;

use super::ahead::Ahead;
use super::background::Background;
use super::chunks::{CHUNK_BITS, CHUNK_ROWS, Run};
use super::column::{CodeTally, CodeWriter, ColumnWriter, Ids, RowEncoder, check_vector};
use super::free::FreeChunks;
use super::pins::{Expired, Retired};
use super::span::SpanWriter;
use super::text::Place;
use super::{DELETED, Region};
use crate::batch::BatchView;
use crate::error::{Error, Result};
use crate::limits;
use crate::schema::VectorColumn;

/// Rows replaced after which their number is halved, so that the past is forgotten.
const RECENT_REPLACED: u64 = 1 << 16;

/// Writes the rows of one shard. There is one per region and shard.
pub struct RegionWriter {
    pub(super) region: Arc<Region>,
    pub(super) shard: usize,
    kernels: &'static Kernels,
    pub(super) columns: Vec<ColumnWriter>,
    /// Per vector column.
    pub(super) codes: Vec<Option<CodeWriter>>,
    /// Chunks in use, by number.
    pub(super) order: BTreeMap<u64, u32>,
    /// Chunks that may be filled.
    pub(super) free: FreeChunks,
    /// Chunks that readers from before may still hold rows of, oldest first.
    retired: VecDeque<(u32, Retired)>,
    /// Chunks whose last row has died, and that nobody has asked for yet.
    dead: Vec<u32>,
    pub(super) filled: u64,
    /// Rows replaced of late, and the sum of their lifetimes in ordinals.
    replaced: u64,
    lifetimes: u64,
    pub(super) runs: Vec<Run>,
    pub(super) ahead: Ahead,
    /// Where the texts of each column went on when a batch began.
    marks: Vec<Option<Place>>,
    /// Bytes of batches copied into columns since they were last asked for.
    pub(super) copied_bytes: u64,
}

impl RegionWriter {
    /// Claims a shard's part of the region, which is empty.
    ///
    /// # Panics
    /// If it has a writer, or had one that wrote.
    pub fn new(region: Arc<Region>, shard: usize) -> RegionWriter {
        assert_eq!(region.chunks.used(shard), 0, "shard {shard} has rows of another writer");
        let columns = region.columns.iter();
        let columns = columns.map(|storage| ColumnWriter::claim(storage, shard)).collect();
        let codes = region.codes.iter().map(|span| Some(CodeWriter::claim(span.as_ref()?, shard))).collect();
        RegionWriter {
            shard,
            kernels: kernels::detect(),
            columns,
            codes,
            order: BTreeMap::new(),
            free: FreeChunks::default(),
            retired: VecDeque::new(),
            dead: Vec::new(),
            filled: 0,
            replaced: 0,
            lifetimes: 0,
            runs: Vec::new(),
            ahead: Ahead::default(),
            marks: Vec::new(),
            copied_bytes: 0,
            region,
        }
    }

    /// Says who makes the codes of a vector column.
    ///
    /// # Panics
    /// If the column has no codes.
    pub fn set_encoder(&mut self, vector_index: usize, encoder: Arc<dyn RowEncoder>) {
        let codes = self.codes[vector_index].as_mut().expect("a vector column with codes");
        codes.encoder = Some(encoder);
    }

    /// The region written to.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// The shard written for.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Ordinals that are filled, published or not.
    pub fn filled(&self) -> u64 {
        self.filled
    }

    /// Bytes of batches copied into columns since the last call.
    pub fn take_copied_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.copied_bytes)
    }

    /// Ids of filled rows by slot, published or not.
    pub fn ids(&self) -> Ids<'_> {
        let schema = &self.region.schema;
        self.columns[schema.id_column()].ids(self.region.chunks.used(self.shard), schema.id_kind())
    }

    /// Where the first row at or behind an ordinal lies, and which it is; rows whose chunk is gone are passed over. None where
    /// there is none.
    pub fn locate(&self, ordinal: u64) -> Option<(u64, u32)> {
        let (&number, &chunk) = self.order.range(ordinal >> CHUNK_BITS..).next()?;
        let ordinal = ordinal.max(number << CHUNK_BITS);
        (ordinal < self.filled).then(|| (ordinal, chunk << CHUNK_BITS | (ordinal % u64::from(CHUNK_ROWS)) as u32))
    }

    /// How many rows came between a row and the one that replaced it, on average and of late. None where none was replaced.
    pub fn lifetime(&self) -> Option<u64> {
        self.lifetimes.checked_div(self.replaced)
    }

    /// Where the rows of a range of ordinals lie, in place of what `runs` held.
    pub fn runs(&self, ordinals: Range<u64>, runs: &mut Vec<Run>) {
        runs.clear();
        if ordinals.is_empty() {
            return;
        }
        for (&number, &chunk) in self.order.range(ordinals.start >> CHUNK_BITS..=(ordinals.end - 1) >> CHUNK_BITS) {
            let run = Run { ordinal: number << CHUNK_BITS, slot: chunk << CHUNK_BITS, len: CHUNK_ROWS };
            runs.extend(run.within(&ordinals));
        }
    }

    /// Copies a batch of any version of the schema behind the rows that are filled and returns its ordinals; nobody sees them before `publish`. Codes are made
    /// in the same pass where the encoder is ready and has left no gap in the chunk.
    ///
    /// # Errors
    /// `NonFinite`, `ZeroVector` (under cosine), `RegionFull`, `OutOfMemory`; then nothing is taken.
    ///
    /// # Panics
    /// If the batch is of another schema.
    pub fn fill(&mut self, batch: &BatchView<'_>) -> Result<Range<u64>> {
        self.fill_arrived(batch, None)
    }

    /// As `fill`. Of the batch with this number, vectors may have been copied by [`RegionWriter::fill_ahead`].
    ///
    /// # Errors
    /// As `fill`.
    ///
    /// # Panics
    /// As `fill`.
    pub fn fill_arrived(&mut self, batch: &BatchView<'_>, number: Option<u64>) -> Result<Range<u64>> {
        assert!(self.region.schema.version(batch.schema().fingerprint()).is_some(), "a batch of this schema");
        let first = self.filled;
        let end = first + batch.rows() as u64;
        self.prepare(batch.rows())?;
        let runs = std::mem::take(&mut self.runs);
        let filled = self.fill_runs(batch, number, &runs);
        if filled.is_ok() {
            for codes in self.codes.iter_mut().flatten() {
                // A chunk has one run of a batch: what one takes says nothing of another.
                for run in &runs {
                    if codes.takes(run.slot) {
                        codes.set_coded(run.slot >> CHUNK_BITS, run.slot % CHUNK_ROWS + run.len);
                    }
                }
            }
        }
        self.runs = runs;
        filled?;
        self.filled = end;
        Ok(first..end)
    }

    /// Sees to it that so many rows more can be filled in, and finds out where they go.
    pub(super) fn prepare(&mut self, rows: usize) -> Result<()> {
        let ordinals = self.filled..self.filled + rows as u64;
        self.take_chunks(ordinals.end)?;
        self.codes.iter_mut().flatten().for_each(CodeWriter::decide);
        let mut runs = std::mem::take(&mut self.runs);
        self.runs(ordinals, &mut runs);
        self.runs = runs;
        Ok(())
    }

    fn fill_runs(&mut self, batch: &BatchView<'_>, number: Option<u64>, runs: &[Run]) -> Result<()> {
        let first = runs[0].ordinal;
        let rows_of = |run: &Run| (run.ordinal - first) as usize..(run.ordinal - first) as usize + run.len as usize;
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.finish(number, runs, &self.codes);
        let schema = self.region.schema.clone();
        let mut filled = Ok(());
        for (vector_index, vector) in schema.vectors().iter().enumerate() {
            let values = batch.column(vector.column).fixed_rows(0..batch.rows());
            let rows = ahead.done(vector_index, values)..batch.rows();
            for run in runs {
                filled = filled.and_then(|()| self.fill_vectors(vector_index, values, rows.clone(), run, first));
            }
        }
        self.ahead = ahead;
        filled?;
        let chunk = runs[0].slot >> CHUNK_BITS;
        self.marks.clear();
        self.marks.extend(self.columns.iter_mut().map(|column| column.mark(chunk)));
        let mut filled = Ok(());
        for run in runs {
            filled = filled.and_then(|()| self.fill_columns(batch, rows_of(run), run.slot));
        }
        if filled.is_err() {
            for (column, &mark) in self.columns.iter_mut().zip(&self.marks) {
                runs[1..].iter().for_each(|run| column.forget_text(run.slot >> CHUNK_BITS, None));
                column.forget_text(chunk, mark);
            }
        }
        filled
    }

    /// Gives back the filled rows from an ordinal on. They must not have replaced anything.
    ///
    /// # Panics
    /// If one is published or was never filled.
    pub fn unfill(&mut self, ordinal: u64) {
        assert!(ordinal >= self.region.published(self.shard), "published rows stay");
        assert!(ordinal <= self.filled, "ordinal {ordinal} was not filled");
        let mut runs = std::mem::take(&mut self.runs);
        self.runs(ordinal..self.filled, &mut runs);
        for run in &runs {
            for slot in run.slots() {
                if self.region.ended.word(self.shard, slot as usize).swap(0, Ordering::Relaxed) != 0 {
                    self.count_dead(slot >> CHUNK_BITS, -1);
                }
            }
        }
        for run in runs.iter().rev() {
            self.columns.iter_mut().for_each(|column| column.unfill(run.slot));
            for codes in self.codes.iter_mut().flatten() {
                let (chunk, offset) = (run.slot >> CHUNK_BITS, run.slot % CHUNK_ROWS);
                codes.set_coded(chunk, codes.coded(chunk).min(offset));
            }
        }
        self.runs = runs;
        self.filled = ordinal;
    }

    /// Makes the filled rows below an ordinal visible to views from now on.
    ///
    /// # Panics
    /// If that would take back published rows, or they are not filled.
    pub fn publish(&mut self, end: u64) {
        let published = self.region.published(self.shard);
        assert!(end >= published, "published rows stay");
        assert!(end <= self.filled, "ordinal {end} was not filled");
        let mut runs = std::mem::take(&mut self.runs);
        self.runs(published..end, &mut runs);
        for column in &mut self.columns {
            runs.iter().for_each(|run| column.span().seal(run.slot, run.len));
        }
        for codes in self.codes.iter_mut().flatten() {
            runs.iter().for_each(|run| codes.seal(run.slot >> CHUNK_BITS, run.slot % CHUNK_ROWS + run.len));
        }
        self.runs = runs;
        self.region.published[self.shard].store(end, Ordering::Release);
        self.account();
    }

    /// Says of rows, by their slots, that the row of an ordinal has the same id and is newer. Call it between `fill` and `publish` of
    /// the newer rows: views that hold a newer row will not see the older one, all others will.
    ///
    /// # Panics
    /// If an older row is not older, or is replaced or deleted already.
    pub fn replace(&mut self, replaced: &[(u32, u64)]) {
        self.lifetimes += self.end_rows(replaced);
        self.replaced += replaced.len() as u64;
        if self.replaced >= RECENT_REPLACED {
            (self.lifetimes, self.replaced) = (self.lifetimes / 2, self.replaced / 2);
        }
    }

    /// Ends rows, by their slots, each for the one of an ordinal. Returns how many came between the two, in all.
    pub(super) fn end_rows(&mut self, ended: &[(u32, u64)]) -> u64 {
        let mut lifetimes = 0;
        // Most of the older rows lie together, as they came.
        for rows in ended.chunk_by(|a, b| a.0 >> CHUNK_BITS == b.0 >> CHUNK_BITS) {
            let chunk = rows[0].0 >> CHUNK_BITS;
            let first = self.region.chunks.number(self.shard, chunk).expect("a chunk in use") << CHUNK_BITS;
            for &(slot, by) in rows {
                let old = first | u64::from(slot % CHUNK_ROWS);
                assert!(old < by && by < self.filled, "ordinal {by} cannot replace ordinal {old}");
                self.end_row(slot, by + 1);
                lifetimes += by - old;
            }
            self.count_dead(chunk, rows.len() as i32);
        }
        lifetimes
    }

    /// Deletes a row: gone from every view, those taken before too.
    ///
    /// # Panics
    /// If there is no row, or it is replaced or deleted already.
    pub fn delete(&mut self, slot: u32) {
        let ordinal = self.region.chunks.ordinal(self.shard, slot).expect("a row in use");
        assert!(ordinal < self.filled, "slot {slot} was not filled");
        self.end_row(slot, DELETED);
        self.count_dead(slot >> CHUNK_BITS, 1);
    }

    /// Makes the codes that are missing of the filled rows of a chunk: of rows that came before the encoder was ready.
    ///
    /// # Panics
    /// If the chunk is not in use, or the encoder is not there or not ready.
    pub fn encode(&mut self, vector_index: usize, chunk: u32) {
        let column = self.region.schema.vectors()[vector_index].column;
        let first = self.region.chunks.number(self.shard, chunk).expect("a chunk in use") << CHUNK_BITS;
        let rows_below = |end: u64| end.saturating_sub(first).min(u64::from(CHUNK_ROWS)) as u32;
        let (filled, published) = (rows_below(self.filled), rows_below(self.region.published(self.shard)));
        let codes = self.codes[vector_index].as_mut().expect("a vector column with codes");
        let ColumnWriter::Fixed { values } = &self.columns[column] else { unreachable!("vectors have a width") };
        let encoder = codes.encoder.clone().filter(|encoder| encoder.is_ready()).expect("an encoder that is ready");
        let (coded, mut tally) = (codes.coded(chunk), CodeTally::default());
        for slot in (coded..filled).map(|offset| chunk << CHUNK_BITS | offset) {
            let vector = values.rows(slot, 1);
            let norm_squared = self.kernels.norm_squared(self.region.schema.vectors()[vector_index].kind, vector);
            encoder.encode(vector, norm_squared, codes.span.rows_mut(slot, 1), &mut tally);
        }
        encoder.count(&tally);
        codes.set_coded(chunk, filled.max(coded));
        codes.seal(chunk, published);
    }

    /// Chunks all of whose rows have died since the last call. They stay in use until they are retired.
    pub fn take_dead(&mut self) -> Vec<u32> {
        let Self { region, shard, dead, .. } = self;
        dead.drain(..).filter(|&chunk| region.chunks.dead(*shard, chunk) == CHUNK_ROWS).collect()
    }

    /// Takes a dead chunk out of use. Nothing leads new readers to its rows any more.
    ///
    /// # Panics
    /// If a row of it lives, or it is not in use.
    pub fn retire(&mut self, chunk: u32) {
        let region = &self.region;
        assert_eq!(region.chunks.dead(self.shard, chunk), CHUNK_ROWS, "a row of chunk {chunk} lives");
        let number = region.chunks.number(self.shard, chunk).expect("a chunk in use");
        assert!((number + 1) << CHUNK_BITS <= region.published(self.shard), "chunk {chunk} is being filled");
        self.order.remove(&number);
        let rows = u64::from(CHUNK_ROWS);
        region.dead[self.shard].fetch_sub(rows, Ordering::Relaxed);
        region.gone[self.shard].fetch_add(rows, Ordering::Relaxed);
        self.retired.push_back((chunk, region.pins.retire()));
    }

    /// Makes the oldest retired chunk ready for new rows if its readers have gone, and says which it was.
    pub fn recycle(&mut self) -> Option<u32> {
        let &(chunk, retired) = self.retired.front()?;
        let expired = self.region.pins.expired(retired)?;
        if let Err(error) = self.move_in(chunk, &expired) {
            tracing::warn!(%error, "no memory for a chunk of dead rows: it is used again later");
            return None;
        }
        self.retired.pop_front();
        self.region.chunks.set_number(self.shard, chunk, None);
        self.region.chunks.set_dead(self.shard, chunk, 0);
        self.columns.iter_mut().for_each(|column| column.recycle(chunk, &expired));
        for codes in self.codes.iter_mut().flatten() {
            codes.span.unseal(chunk, &expired);
            codes.set_coded(chunk, 0);
        }
        self.free.put(chunk);
        self.account();
        Some(chunk)
    }

    /// Has the vectors of chunks moved to their files, of columns that are kept there: whole chunks below the ordinal that
    /// `indexed` gives for a vector column, some at a time. To be called now and then.
    pub fn move_out(&mut self, background: &mut Background, indexed: impl Fn(usize) -> u64) {
        let schema = self.region.schema.clone();
        for (vector_index, vector) in schema.vectors().iter().enumerate().filter(|(_, vector)| vector.on_disk) {
            let end = indexed(vector_index) >> CHUNK_BITS;
            let span = self.columns[vector.column].span();
            // While the disk is full, one chunk at a time finds out.
            let most = if span.move_has_failed() { 1 } else { limits::MOVED_CHUNKS_MAX };
            let chunks = self.order.range(..end).map(|(_, &chunk)| chunk);
            for chunk in chunks.filter(|&chunk| span.begin_move(chunk)).take(most) {
                let (region, shard) = (self.region.clone(), self.shard);
                // Taken here, so that the chunk stays in use until it is moved.
                let pin = region.pin();
                background.start(move || {
                    if let Err(error) = region.move_out(vector_index, shard, chunk, &pin) {
                        tracing::warn!(%error, "vectors could not be moved to disk: they stay in memory for now");
                    }
                });
            }
        }
    }

    /// Brings memory for the vectors of a chunk that were moved to a file.
    fn move_in(&mut self, chunk: u32, no_reader_is_left: &Expired) -> io::Result<()> {
        let schema = self.region.schema.clone();
        for vector in schema.vectors().iter().filter(|vector| vector.on_disk) {
            if self.columns[vector.column].span().move_in(chunk, no_reader_is_left)? {
                let bytes = (vector.row_bytes() as u64) << CHUNK_BITS;
                self.region.moved_out[self.shard].fetch_sub(bytes, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Has memory brought for the chunks that rows are going to need next, at the rate at which they come.
    pub fn prefault(&mut self, background: &mut Background) {
        let wanted = self.free.wanted_ahead(self.order.len());
        for _ in 0..wanted {
            let Some(chunk) = self.free.take_bare().or_else(|| self.new_chunk().ok()) else { break };
            self.free.put_ahead(chunk);
            let (region, shard) = (self.region.clone(), self.shard);
            background.start(move || {
                // Content that is there already stays as it is.
                if let Err(error) = region.populate(shard, chunk) {
                    // Memory is short, or the kernel is older than 5.14: the writer finds out by itself.
                    tracing::debug!(%error, "a chunk got no memory ahead");
                }
            });
        }
        if wanted > 0 {
            self.account();
        }
    }

    /// To be called once a second: gives memory back that has not been needed for that long. Returns the chunks whose it was.
    pub fn tidy(&mut self) -> Vec<u32> {
        let given_back = self.free.beat();
        if given_back.is_empty() {
            return given_back;
        }
        let spans = self.columns.iter_mut().map(ColumnWriter::span);
        for span in spans.chain(self.codes.iter_mut().flatten().map(|codes| &mut codes.span)) {
            for &chunk in &given_back {
                if let Err(error) = span.discard(chunk) {
                    tracing::warn!(%error, "memory of dead rows could not be given back");
                }
            }
        }
        self.account();
        given_back
    }

    /// Behind the last ordinal of a chunk in use.
    pub fn end_of(&self, chunk: u32) -> Option<u64> {
        Some((self.region.chunks.number(self.shard, chunk)? + 1) << CHUNK_BITS)
    }

    /// Whether a chunk waits for readers from before it was retired.
    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Whether a chunk has died that `take_dead` has not named.
    pub fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// Whether no row lives that was among the ordinals of a chunk's number.
    pub fn is_spent(&self, number: u64) -> bool {
        self.order.get(&number).is_none_or(|&chunk| self.region.chunks.dead(self.shard, chunk) == CHUNK_ROWS)
    }

    /// Chunks in use.
    pub fn chunks(&self) -> usize {
        self.order.len()
    }

    /// Makes sure that there are chunks for all ordinals below `end`.
    fn take_chunks(&mut self, end: u64) -> Result<()> {
        loop {
            let newest = self.order.last_key_value().map_or(0, |(&number, _)| number + 1);
            let number = newest.max(self.filled >> CHUNK_BITS);
            if number << CHUNK_BITS >= end {
                return Ok(());
            }
            let chunk = match self.free.take() {
                Some(chunk) => chunk,
                None => self.new_chunk()?,
            };
            self.region.chunks.set_number(self.shard, chunk, Some(number));
            self.order.insert(number, chunk);
        }
    }

    /// A chunk that was never used.
    pub(super) fn new_chunk(&mut self) -> Result<u32> {
        let (region, shard) = (&self.region, self.shard);
        let chunk = region.chunks.used(shard);
        if chunk == region.chunks.chunks_max() {
            return Err(Error::RegionFull { shard, rows: u64::from(region.rows_max()) });
        }
        let slots = (chunk as usize + 1) << CHUNK_BITS;
        let mut committed = region.ended.commit(shard, slots);
        for (column, storage) in self.columns.iter_mut().zip(&region.columns) {
            committed = committed.and_then(|()| column.span().commit(slots));
            committed =
                committed.and_then(|()| storage.nulls.as_ref().map_or(Ok(()), |nulls| nulls.commit(shard, slots)));
        }
        for codes in self.codes.iter_mut().flatten() {
            committed = committed.and_then(|()| codes.span.commit(slots));
        }
        committed.and_then(|()| region.chunks.grow(shard)).map_err(|source| region.out_of_memory(source))
    }

    /// To be counted with `count_dead`.
    pub(super) fn end_row(&mut self, slot: u32, end: u64) {
        let word = self.region.ended.word(self.shard, slot as usize);
        assert_eq!(word.load(Ordering::Relaxed), 0, "slot {slot} ends once");
        // Who sees the replacement published sees this store, because it comes before the Release of `publish`.
        word.store(end, Ordering::Relaxed);
    }

    /// Counts rows of a chunk that have died, or have not after all.
    pub(super) fn count_dead(&mut self, chunk: u32, by: i32) {
        let dead = self.region.chunks.dead(self.shard, chunk).checked_add_signed(by).expect("rows die once");
        self.region.chunks.set_dead(self.shard, chunk, dead);
        let total = &self.region.dead[self.shard];
        total.store(total.load(Ordering::Relaxed).wrapping_add_signed(i64::from(by)), Ordering::Relaxed);
        // Rows that have not died after all count too. Release: who sees the count sees which rows have ended.
        let deaths = &self.region.deaths[self.shard];
        deaths.store(deaths.load(Ordering::Relaxed) + u64::from(by.unsigned_abs()), Ordering::Release);
        if dead == CHUNK_ROWS {
            self.dead.push(chunk);
        }
    }

    /// Copies, checks and encodes vectors of a batch whose first row gets the ordinal `first`: those `rows` of it that belong to
    /// a run. Row by row, so that each is read from memory once.
    pub(super) fn fill_vectors(
        &mut self,
        vector_index: usize,
        values: &[u8],
        rows: Range<usize>,
        run: &Run,
        first: u64,
    ) -> Result<()> {
        let begin = (run.ordinal - first) as usize;
        let rows = rows.start.max(begin)..rows.end.min(begin + run.len as usize);
        if rows.is_empty() {
            return Ok(());
        }
        let vector = &self.region.schema.vectors()[vector_index];
        let codes = self.codes[vector_index].as_mut().filter(|codes| codes.takes(run.slot));
        let slot = run.slot + (rows.start - begin) as u32;
        self.copied_bytes += (rows.len() * vector.row_bytes()) as u64;
        fill_vectors(self.kernels, vector, values, rows, slot, self.columns[vector.column].span(), codes)
    }

    /// Writes the other columns; text can fail for want of room.
    pub(super) fn fill_columns(&mut self, batch: &BatchView<'_>, rows: Range<usize>, slot: u32) -> Result<()> {
        let region = self.region.clone();
        for (index, column) in region.schema.columns().iter().enumerate() {
            // None where the batch is of a version of the schema that did not have the column yet.
            let source = batch.columns().get(index);
            if !column.layout.is_vector() {
                let filled = match source {
                    Some(source) => self.columns[index].fill(source, rows.clone(), slot),
                    None => self.columns[index].fill_null(rows.len(), slot),
                };
                let Some(copied) = filled.map_err(|source| region.out_of_memory(source))? else {
                    return Err(Error::RegionFull { shard: self.shard, rows: region.rows() });
                };
                self.copied_bytes += copied as u64;
            }
            if let Some(nulls) = &region.columns[index].nulls {
                let is_null = |row: usize| source.is_none_or(|source| !source.is_valid(rows.start + row));
                nulls.set(self.shard, slot as usize, rows.len(), is_null);
            }
        }
        // Release: who sees that a row has not ended sees that the slot's chunk has a new number too.
        for slot in slot..slot + rows.len() as u32 {
            region.ended.word(self.shard, slot as usize).store(0, Ordering::Release);
        }
        Ok(())
    }

    /// Tells the region how much memory this shard uses.
    pub(super) fn account(&self) {
        let chunks = (self.order.len() + self.retired.len() + self.free.with_memory()) as u64;
        let unfilled = self.filled.wrapping_neg() % u64::from(CHUNK_ROWS);
        let rows = (chunks << CHUNK_BITS).saturating_sub(unfilled);
        let text: u64 = self.columns.iter().map(ColumnWriter::text_bytes).sum();
        self.region.memory[self.shard].store(rows * self.region.row_bytes + text, Ordering::Relaxed);
    }
}

/// Copies some of the vectors of a batch to slots of one chunk, with their codes where `codes` is given.
fn fill_vectors(
    kernels: &Kernels,
    vector: &VectorColumn,
    values: &[u8],
    rows: Range<usize>,
    slot: u32,
    column: &mut SpanWriter,
    codes: Option<&mut CodeWriter>,
) -> Result<()> {
    let width = vector.row_bytes();
    let values = &values[rows.start * width..rows.end * width];
    let stored = column.rows_mut(slot, rows.len());
    if !vector.has_codes() {
        stored.copy_from_slice(values);
        let mut vectors = rows.zip(values.chunks_exact(width));
        return vectors.try_for_each(|(row, value)| check_vector(kernels, vector, value, row));
    }
    let mut codes = codes.map(|codes| {
        let encoder = codes.encoder.clone().expect("it is ready");
        (encoder, codes.span.rows_mut(slot, rows.len()).chunks_exact_mut(vector.code_bytes()), CodeTally::default())
    });
    for ((row, value), stored) in rows.zip(values.chunks_exact(width)).zip(stored.chunks_exact_mut(width)) {
        let norm_squared = kernels.copy_norm_squared(vector.kind, value, stored);
        // A normal sum has no bad element in it.
        if !norm_squared.is_normal() {
            check_vector(kernels, vector, stored, row)?;
        }
        if let Some((encoder, made, tally)) = &mut codes {
            encoder.encode(stored, norm_squared, made.next().expect("a code a row"), tally);
        }
    }
    if let Some((encoder, _, tally)) = codes {
        encoder.count(&tally);
    }
    Ok(())
}
