//! Rows of a collection that are visible in a view, and that a filter is true of.
//!
//! A search is told beforehand which rows pass ([`Selecting::step`]): by masks that are kept from one search to the next, so that a row
//! costs a look at a bit, and how many pass is known. A scan comes to one chunk after the other, and may end early: it asks for each as it
//! comes to it ([`Selecting::rows_in`]), and keeps what it finds out. Deletes look at rows and keep nothing ([`Collection::select`]).

use std::ops::Range;
use std::sync::Arc;

use crate::collection::Collection;
use crate::filter::{ChunkColumns, Condition, Filter, MASK_ROWS, Mask, MaskCache, RowMasks, Zones};
use crate::limits;
use crate::region::{CHUNK_ROWS, Region, RegionWriter, View};

/// Rows that are looked at together at least.
const LOOK_ROWS_MIN: u32 = 64;

const _: () = assert!(MASK_ROWS == CHUNK_ROWS as usize, "a mask is one of a chunk");

impl Collection {
    /// Appends those of a range of rows, all of one chunk, that are visible in the view and that the filter, if there is one, is true of.
    pub fn select(&self, view: &View, filter: Option<&Filter>, rows: Range<u32>, selected: &mut Vec<u32>) {
        let region = &self.region;
        let Some(filter) = filter else { return region.visible_in_chunk(view, rows, selected) };
        // A row that is visible keeps its chunk what it is; without one, it may be filled anew at any moment.
        let Some(first) = rows.clone().find(|&row| region.visible(view, row)) else { return };
        let in_chunk = |row: u32| (row % CHUNK_ROWS) as usize;
        let mask = Mask::of(in_chunk(first)..in_chunk(rows.end - 1) + 1);
        let found = filter.select(&Chunk::up_to(region, rows.end - 1), &mask);
        let found = found.rows().map(|row| first - first % CHUNK_ROWS + row as u32);
        selected.extend(found.filter(|&row| region.visible(view, row)));
    }

    /// Whether a filter is true of a row that is visible in a view that is held.
    #[inline]
    pub fn accepts(&self, filter: &Filter, row: u32) -> bool {
        filter.accepts(&Chunk::up_to(&self.region, row), (row % CHUNK_ROWS) as usize)
    }
}

/// Whether a filter is true of a filled row, by its slot, published or not.
pub(crate) fn accepts_filled(filter: &Filter, writer: &RegionWriter, slot: u32) -> bool {
    let slots = slot - slot % CHUNK_ROWS..slot + 1;
    filter.accepts(&Filled { writer, slots }, (slot % CHUNK_ROWS) as usize)
}

/// The rows of a chunk up to one, as their writer sees them.
struct Filled<'a> {
    writer: &'a RegionWriter,
    slots: Range<u32>,
}

impl ChunkColumns for Filled<'_> {
    fn fixed(&self, column: usize) -> &[u8] {
        self.writer.fixed_rows(column, self.slots.clone())
    }

    fn text(&self, column: usize, row: usize) -> &[u8] {
        self.writer.text_bytes(column, self.slots.start + row as u32)
    }

    fn nulls(&self, column: usize, word: usize) -> u64 {
        let region = self.writer.region();
        region.null_word(column, self.writer.shard(), self.slots.start as usize / 64 + word)
    }
}

/// The rows that a filter is true of, of those in a view; dead ones may be among them. Cheap to clone, and read by any thread.
#[derive(Clone, Debug)]
pub struct Selection {
    masks: Arc<RowMasks>,
    row_bits: u32,
}

impl Selection {
    /// Whether a row is among them.
    #[inline(always)]
    pub fn contains(&self, row: u32) -> bool {
        self.masks.contains((row >> self.row_bits) as usize, row & ((1 << self.row_bits) - 1))
    }

    /// Number of rows.
    pub fn count(&self) -> u64 {
        self.masks.count()
    }

    /// Whether none of a range of rows, all of one chunk, is among them.
    pub fn is_disjoint(&self, rows: &Range<u32>) -> bool {
        self.mask(rows).is_empty()
    }

    /// Appends those of a range of rows, all of one chunk, that are among them.
    pub fn rows_in(&self, rows: &Range<u32>, out: &mut Vec<u32>) {
        let chunk = rows.start - rows.start % CHUNK_ROWS;
        out.extend(self.mask(rows).rows().map(|row| chunk + row as u32));
    }

    fn mask(&self, rows: &Range<u32>) -> Mask {
        let (shard, slot) = ((rows.start >> self.row_bits) as usize, rows.start & ((1 << self.row_bits) - 1));
        let first = (slot % CHUNK_ROWS) as usize;
        self.masks.mask(shard, (slot / CHUNK_ROWS) as usize).and(&Mask::of(first..first + rows.len()))
    }
}

/// A selection in the making, a step at a time.
#[derive(Debug)]
pub struct Selecting {
    filter: Arc<Filter>,
    /// What there is of the whole, and of each condition: so that it is not lost where the cache has no room for it.
    whole: Option<Arc<RowMasks>>,
    conditions: Vec<Option<Arc<RowMasks>>>,
}

impl Selecting {
    /// Begins with nothing.
    pub fn new(filter: Arc<Filter>) -> Selecting {
        let conditions = vec![None; filter.conditions().len()];
        Selecting { filter, whole: None, conditions }
    }

    /// Goes on, for a view that is held, until it has taken about half a millisecond. The selection, once it is whole.
    pub fn step(&mut self, collection: &Collection, view: &View, cache: &mut MaskCache) -> Option<Selection> {
        let (id, key) = (collection.spec.id, self.filter.key());
        let region = &collection.region;
        if let Some(masks) = cache.get(id, key).filter(|masks| is_complete(region, view, masks)) {
            return Some(Selection { masks, row_bits: region.row_bits() });
        }
        let (whole, is_done) = self.work(collection, view, cache, |work, whole, conditions| {
            let is_done = work.complete(whole, conditions);
            (whole.clone(), is_done)
        });
        if is_done {
            self.whole = None;
            self.conditions.fill(None);
        }
        is_done.then(|| Selection { masks: whole, row_bits: region.row_bits() })
    }

    /// Appends those of a range of rows, all of one chunk, that are visible in a view that is held and that the filter is true of.
    pub fn rows_in(
        &mut self,
        collection: &Collection,
        view: &View,
        cache: &mut MaskCache,
        rows: &Range<u32>,
        out: &mut Vec<u32>,
    ) {
        let (region, key) = (&collection.region, self.filter.key());
        let (shard, slot) = region.locate(rows.start);
        let chunk = slot / CHUNK_ROWS;
        let Some((number, seen)) = region.chunk_in_view(view, shard, chunk) else { return };
        let is_known = |masks: &RowMasks| masks.is_known(shard, chunk as usize, number, seen, view.len(shard));
        let masks = cache.get(collection.spec.id, key).filter(|masks| is_known(masks));
        let masks = masks.unwrap_or_else(|| {
            self.work(collection, view, cache, |work, whole, conditions| {
                while !is_known(whole) {
                    work.look_at(shard, chunk, number, seen, whole, conditions);
                }
                whole.clone()
            })
        });
        let passing = Selection { masks, row_bits: region.row_bits() }.mask(rows);
        let first = rows.start - rows.start % CHUNK_ROWS;
        out.extend(passing.rows().map(|row| first + row as u32).filter(|&row| region.visible(view, row)));
    }

    /// Takes the masks out of the cache, has something done to them, and keeps them there; here, too, for the next time, since the
    /// cache may have no room.
    fn work<R>(
        &mut self,
        collection: &Collection,
        view: &View,
        cache: &mut MaskCache,
        done: impl FnOnce(&mut Work<'_>, &mut Arc<RowMasks>, &mut [Arc<RowMasks>]) -> R,
    ) -> R {
        let (id, key, region) = (collection.spec.id, self.filter.key(), &collection.region);
        let taken = |key: &[u8], own: &mut Option<Arc<RowMasks>>, cache: &mut MaskCache| {
            // What is in the cache has what this one left there, and maybe more.
            let own = own.take();
            cache.take(id, key).or(own).unwrap_or_else(|| Arc::new(RowMasks::new(region.shards())))
        };
        // Of a filter that is one condition, the condition is the whole.
        let is_single = self.filter.conditions().first().is_some_and(|only| only.key() == key);
        let mut whole = taken(key, &mut self.whole, cache);
        let mut conditions: Vec<_> = match is_single {
            true => Vec::new(),
            false => {
                let each = self.filter.conditions().iter().zip(&mut self.conditions);
                each.map(|(condition, own)| taken(condition.key(), own, cache)).collect()
            }
        };
        let left_ns = limits::FILTER_STEP_NS as i64;
        let mut work = Work { collection, region, view, filter: &self.filter, zones: cache.zones(), left_ns };
        let result = done(&mut work, &mut whole, &mut conditions);
        for ((condition, own), masks) in self.filter.conditions().iter().zip(&mut self.conditions).zip(conditions) {
            cache.put(id, condition.key(), masks.clone());
            *own = Some(masks);
        }
        cache.put(id, key, whole.clone());
        self.whole = Some(whole);
        result
    }
}

/// Whether all rows of a view are known.
fn is_complete(region: &Region, view: &View, masks: &RowMasks) -> bool {
    (0..region.shards()).all(|shard| {
        let mut chunks = 0..region.chunks_used(shard);
        chunks.all(|chunk| match region.chunk_in_view(view, shard, chunk) {
            Some((number, rows)) => masks.is_known(shard, chunk as usize, number, rows, view.len(shard)),
            None => true,
        })
    })
}

/// One step of making masks.
struct Work<'a> {
    collection: &'a Collection,
    region: &'a Region,
    view: &'a View,
    filter: &'a Filter,
    zones: &'a mut Zones,
    left_ns: i64,
}

impl Work<'_> {
    /// Looks at rows that are not known yet; false when the time is over before it is through.
    fn complete(&mut self, whole: &mut Arc<RowMasks>, conditions: &mut [Arc<RowMasks>]) -> bool {
        for shard in 0..self.region.shards() {
            for chunk in 0..self.region.chunks_used(shard) {
                let Some((number, rows)) = self.region.chunk_in_view(self.view, shard, chunk) else { continue };
                while !whole.is_known(shard, chunk as usize, number, rows, self.view.len(shard)) {
                    if self.left_ns <= 0 {
                        return false;
                    }
                    self.look_at(shard, chunk, number, rows, whole, conditions);
                }
            }
        }
        true
    }

    /// Looks at rows of a chunk: at no more than one step has time for.
    fn look_at(
        &mut self,
        shard: usize,
        chunk: u32,
        number: u64,
        rows: u32,
        whole: &mut Arc<RowMasks>,
        conditions: &mut [Arc<RowMasks>],
    ) {
        let first = self.region.row(shard, chunk * CHUNK_ROWS);
        let place = chunk as usize;
        let masks = Arc::make_mut(whole);
        masks.grow(shard, place + 1);
        // A row that is visible keeps its chunk what it is. The newest is the likeliest to be.
        if !(first..first + rows).rev().any(|row| self.region.visible(self.view, row)) {
            self.left_ns -= i64::from(rows);
            masks.set_dead(shard, place, number, rows, self.view.len(shard));
            return;
        }
        let known = masks.known(shard, place, number);
        let most = limits::FILTER_STEP_NS as u32 / self.filter.row_ns().max(1);
        let rows = rows.min(known.saturating_add(most.max(LOOK_ROWS_MIN)));
        let columns = Chunk::up_to(self.region, first + rows - 1);
        let passing = match &self.filter.conditions() {
            [only] if conditions.is_empty() => self.select(only, (shard, place, number), known..rows, &columns),
            all => self.filter.combine(&Mask::of(known as usize..rows as usize), |condition| {
                let masks = Arc::make_mut(&mut conditions[condition]);
                masks.grow(shard, place + 1);
                let known = masks.known(shard, place, number);
                if known < rows {
                    let passing = self.select(&all[condition], (shard, place, number), known..rows, &columns);
                    masks.extend(shard, place, number, rows, &passing);
                }
                masks.mask(shard, place).clone()
            }),
        };
        self.left_ns -= i64::from((rows - known) / 16);
        masks.extend(shard, place, number, rows, &passing);
    }

    /// Those of some rows of a chunk that a condition is true of.
    fn select(
        &mut self,
        condition: &Condition,
        chunk: (usize, usize, u64),
        rows: Range<u32>,
        columns: &Chunk<'_>,
    ) -> Mask {
        self.left_ns -= i64::from(condition.row_ns()) * i64::from(rows.end - rows.start);
        let is_full = rows.len() == MASK_ROWS;
        let zone = if is_full { self.zones.get(self.collection.spec.id, condition, chunk, columns) } else { None };
        condition.select(columns, &Mask::of(rows.start as usize..rows.end as usize), zone)
    }
}

/// The rows of a chunk up to one.
struct Chunk<'a> {
    region: &'a Region,
    shard: usize,
    slots: Range<u32>,
}

impl Chunk<'_> {
    fn up_to(region: &Region, row: u32) -> Chunk<'_> {
        let (shard, slot) = region.locate(row);
        Chunk { region, shard, slots: slot - slot % CHUNK_ROWS..slot + 1 }
    }
}

impl ChunkColumns for Chunk<'_> {
    fn fixed(&self, column: usize) -> &[u8] {
        self.region.fixed_rows(column, self.shard, self.slots.clone())
    }

    fn text(&self, column: usize, row: usize) -> &[u8] {
        self.region.text_bytes(column, self.shard, self.slots.start + row as u32)
    }

    fn nulls(&self, column: usize, word: usize) -> u64 {
        self.region.null_word(column, self.shard, self.slots.start as usize / 64 + word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchView;
    use crate::batch::samples::{self, Random};
    use crate::collection::{CollectionOptions, CollectionSpec};
    use crate::region::RegionWriter;

    const SHARDS: usize = 2;
    const FILTERS: [&str; 11] = [
        r#"{"column": "full2", "<": 0}"#,
        r#"{"column": "data2", "<": 0}"#,
        r#"{"column": "data13", "is_null": true}"#,
        r#"{"column": "full13", "prefix": "lib"}"#,
        r#"{"and": [{"column": "full0", "=": true}, {"column": "full13", ">=": "a"}]}"#,
        r#"{"or": [{"column": "full2", "<": 0}, {"not": {"column": "data13", "prefix": "lib"}}]}"#,
        r#"{"not": {"column": "full2", "<": 0}}"#,
        r#"{"column": "full13", "contains": "SS long"}"#,
        r#"{"or": [{"column": "data13", "contains": "lib"}, {"column": "full2", "<": 0}]}"#,
        r#"{"and": []}"#,
        r#"{"or": []}"#,
    ];

    /// Rows that come, go, and make room for others.
    struct Model {
        collection: Arc<Collection>,
        writers: Vec<RegionWriter>,
        random: Random,
        next_id: u64,
        recycled: usize,
    }

    impl Model {
        fn new(seed: u64) -> Model {
            let schema = samples::schema(false);
            let spec = CollectionSpec { id: 1, name: "rows".into(), schema, options: CollectionOptions::default() };
            let collection = Collection::new(spec, SHARDS).unwrap();
            let writers = (0..SHARDS).map(|shard| RegionWriter::new(collection.region.clone(), shard)).collect();
            Model { collection, writers, random: Random(seed), next_id: 0, recycled: 0 }
        }

        fn write(&mut self) {
            let (schema, rows) = (self.collection.spec.schema.clone(), 1 + self.random.below(1_500) as usize);
            let batch = samples::batch(&schema, rows, self.next_id, 0, &mut self.random);
            self.next_id += rows as u64;
            let writer = &mut self.writers[self.random.below(SHARDS as u64) as usize];
            let slots = writer.fill(&BatchView::from_arrow(&schema, &batch).unwrap()).unwrap();
            writer.publish(slots.end);
        }

        /// Deletes some rows of the oldest chunk of a shard, or all of them; a chunk of dead rows is used again.
        fn delete(&mut self) {
            let shard = self.random.below(SHARDS as u64) as usize;
            let region = &self.collection.region;
            let Some(run) = region.runs(shard, 0..region.published(shard)).first().copied() else { return };
            let takes_all = self.random.below(3) > 0;
            for slot in run.slots() {
                if region.is_live(region.row(shard, slot)) && (takes_all || self.random.below(4) == 0) {
                    self.writers[shard].delete(slot);
                }
            }
            for chunk in self.writers[shard].take_dead() {
                self.writers[shard].retire(chunk);
            }
            while self.writers[shard].recycle().is_some() {
                self.recycled += 1;
            }
        }

        fn filter(&mut self) -> Arc<Filter> {
            let json = FILTERS[self.random.below(FILTERS.len() as u64) as usize];
            Arc::new(Filter::parse(json.as_bytes(), &self.collection.spec.schema).unwrap())
        }

        /// Holds a selection against a look at each row. Returns how many passed.
        fn check(&mut self, filter: &Arc<Filter>, view: &View, cache: &mut MaskCache) -> u64 {
            self.check_scan(filter, view, cache);
            let mut selecting = Selecting::new(filter.clone());
            let selection = loop {
                if let Some(selection) = selecting.step(&self.collection, view, cache) {
                    break selection;
                }
            };
            let region = &self.collection.region;
            let mut passed = 0;
            for shard in 0..SHARDS {
                let (mut rows, mut listed) = (Vec::new(), Vec::new());
                region.visible_rows(view, shard, 0..u64::MAX, &mut rows);
                for run in region.runs(shard, 0..view.len(shard)) {
                    let first = region.row(shard, run.slot);
                    selection.rows_in(&(first..first + run.len), &mut listed);
                }
                rows.retain(|&row| {
                    let expected = self.collection.accepts(filter, row);
                    assert_eq!(selection.contains(row), expected, "row {row:#x} of {filter:?}");
                    expected
                });
                listed.retain(|&row| region.visible(view, row));
                assert_eq!(listed, rows);
                passed += rows.len() as u64;
            }
            assert!(selection.count() >= passed);
            passed
        }

        /// Goes through some chunks, one after the other.
        fn check_scan(&mut self, filter: &Arc<Filter>, view: &View, cache: &mut MaskCache) {
            let region = &self.collection.region;
            let mut scanning = Selecting::new(filter.clone());
            for shard in 0..SHARDS {
                for run in region.runs(shard, 0..view.len(shard)) {
                    if self.random.below(3) == 0 {
                        continue;
                    }
                    let first = region.row(shard, run.slot);
                    let (rows, mut found, mut expected) = (first..first + run.len, Vec::new(), Vec::new());
                    scanning.rows_in(&self.collection, view, cache, &rows, &mut found);
                    self.collection.select(view, Some(filter), rows, &mut expected);
                    assert_eq!(found, expected, "{filter:?}");
                }
            }
        }
    }

    #[test]
    fn kept_masks_say_what_a_look_at_each_row_does() {
        for (seed, bytes_max) in [(1, 1 << 20), (2, 1 << 20), (3, 20_000), (4, 0)] {
            let mut model = Model::new(seed);
            let mut cache = MaskCache::with_bytes_max(bytes_max);
            let mut passed = 0;
            // A view from some time ago: what is found out for others meanwhile is not to mislead it.
            let mut old = model.collection.region.view();
            for step in 0..120 {
                match model.random.below(3) {
                    0 => model.delete(),
                    _ => model.write(),
                }
                let filter = model.filter();
                passed += model.check(&filter, &model.collection.region.view(), &mut cache);
                if step % 7 == 0 {
                    model.check(&filter, &old, &mut cache);
                    old = model.collection.region.view();
                }
                assert!(cache.bytes() - cache.zones().bytes() <= bytes_max);
            }
            assert!(model.recycled > 5, "seed {seed}: {} chunks were used again", model.recycled);
            assert!(passed > 10_000, "seed {seed}: {passed} rows");
        }
    }

    #[test]
    fn rows_that_come_are_looked_at_alone() {
        let mut model = Model::new(9);
        (0..10).for_each(|_| model.write());
        let mut cache = MaskCache::default();
        let filter = Arc::new(Filter::parse(FILTERS[3].as_bytes(), &model.collection.spec.schema).unwrap());
        let select = |model: &Model, cache: &mut MaskCache| {
            let view = model.collection.region.view();
            std::iter::repeat_with(|| Selecting::new(filter.clone()).step(&model.collection, &view, cache))
                .find_map(|selection| selection)
                .unwrap()
        };
        let first = select(&model, &mut cache);
        let again = select(&model, &mut cache);
        assert!(Arc::ptr_eq(&first.masks, &again.masks), "nothing came, nothing was made");
        let count = first.count();
        model.write();
        let longer = select(&model, &mut cache);
        assert!(longer.count() > count && first.count() == count, "who was given masks keeps them as they were");
    }
}
