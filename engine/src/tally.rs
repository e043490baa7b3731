//! How many rows a filter is true of, and which values a column has among them: exact, of one view, a step at a time.
//!
//! A step takes about half a millisecond, so that a shard serves others between two. Values are counted in a table of bounded size; a
//! column that has more of them is refused, since no count of what did not fit would be right.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use hashbrown::HashMap;

use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::filter::{Filter, MaskCache};
use crate::limits;
use crate::region::{Run, View};
use crate::schema::Layout;
use crate::selection::{Selecting, Selection};
use crate::text_list;

/// The rows of a view that a filter is true of, chunk by chunk.
struct Passing {
    collection: Arc<Collection>,
    view: View,
    selecting: Option<Selecting>,
    /// None where all rows pass.
    selection: Option<Selection>,
    /// What is left to look at, by shard; the last comes first.
    runs: Vec<(usize, Run)>,
}

/// What a step of [`Passing`] came to.
enum Step {
    /// It is not known yet which rows pass.
    Selecting,
    /// These rows, of one chunk, come next.
    Chunk(Range<u32>),
    /// There are no more.
    Done,
}

impl Passing {
    fn new(collection: Arc<Collection>, filter: Option<Arc<Filter>>) -> Passing {
        let (region, view) = (&collection.region, collection.region.view());
        let mut runs = Vec::new();
        for shard in (0..region.shards()).rev() {
            runs.extend(region.runs(shard, 0..view.len(shard)).into_iter().rev().map(|run| (shard, run)));
        }
        Passing { selecting: filter.map(Selecting::new), selection: None, view, runs, collection }
    }

    fn step(&mut self, cache: &mut MaskCache) -> Step {
        if let Some(selecting) = &mut self.selecting {
            self.selection = selecting.step(&self.collection, &self.view, cache);
            if self.selection.is_none() {
                return Step::Selecting;
            }
            self.selecting = None;
        }
        let Some((shard, run)) = self.runs.pop() else { return Step::Done };
        let first = self.collection.region.row(shard, run.slot);
        Step::Chunk(first..first + run.len)
    }

    /// Those of a range of rows, all of one chunk, that pass and are visible, in place of what `out` held.
    fn rows(&self, rows: Range<u32>, out: &mut Vec<u32>) {
        let region = &self.collection.region;
        out.clear();
        match &self.selection {
            None => region.visible_in_chunk(&self.view, rows, out),
            Some(selection) => {
                selection.rows_in(&rows, out);
                out.retain(|&row| region.visible(&self.view, row));
            }
        }
    }
}

/// The number of rows that a filter is true of, in the making.
pub struct Counting {
    passing: Passing,
    rows: Vec<u32>,
    count: u64,
}

impl Counting {
    /// Fixes what it counts: the rows that are there now.
    pub fn begin(collection: Arc<Collection>, filter: Option<Arc<Filter>>) -> Counting {
        Counting { passing: Passing::new(collection, filter), rows: Vec::new(), count: 0 }
    }

    /// Goes on for a while; the number, once it is known.
    pub fn step(&mut self, cache: &mut MaskCache) -> Option<u64> {
        match self.passing.step(cache) {
            Step::Selecting => {}
            Step::Chunk(rows) => {
                self.passing.rows(rows, &mut self.rows);
                self.count += self.rows.len() as u64;
            }
            Step::Done => return Some(self.count),
        }
        None
    }
}

/// The values of a column, with how often each of them is there.
#[derive(Debug)]
pub struct Facets {
    /// Two columns, `value`, of the type of the column, and `count`: the most frequent value first, of two that are as frequent the
    /// lesser one.
    pub values: RecordBatch,
    /// Different values in all, listed or not.
    pub distinct: u64,
    /// How often those are there that are not listed.
    pub others: u64,
    /// Rows without a value.
    pub nulls: u64,
}

/// [`Facets`] in the making.
pub struct Faceting {
    passing: Passing,
    column: usize,
    limit: usize,
    rows: Vec<u32>,
    /// By the bytes of a value: how often it was there, and a row that has it.
    counts: HashMap<Box<[u8]>, (u64, u32)>,
    bytes: usize,
    nulls: u64,
}

impl Faceting {
    /// Fixes what it counts: the values that are there now. `limit` of them are listed at most.
    ///
    /// # Errors
    /// `InvalidFilter` for a column of vectors, `LimitExceeded` for a limit that is too high.
    pub fn begin(
        collection: Arc<Collection>,
        column: usize,
        limit: usize,
        filter: Option<Arc<Filter>>,
    ) -> Result<Faceting> {
        let schema = &collection.spec.schema;
        if schema.columns()[column].layout.is_vector() {
            let place = schema.arrow().field(column).name().clone();
            return Err(Error::InvalidFilter { place, problem: "the values of a vector column are not counted" });
        }
        if limit > limits::FACETS_MAX {
            let (value, limit) = (limit as u64, limits::FACETS_MAX as u64);
            return Err(Error::LimitExceeded { what: "number of facets", value, limit });
        }
        let passing = Passing::new(collection, filter);
        Ok(Faceting { passing, column, limit, rows: Vec::new(), counts: HashMap::new(), bytes: 0, nulls: 0 })
    }

    /// Goes on for a while; the facets, once they are known.
    ///
    /// # Errors
    /// `LimitExceeded` where the column has too many different values.
    pub fn step(&mut self, cache: &mut MaskCache) -> Result<Option<Facets>> {
        match self.passing.step(cache) {
            Step::Selecting => Ok(None),
            Step::Chunk(rows) => self.count(rows).map(|()| None),
            Step::Done => self.finish().map(Some),
        }
    }

    fn count(&mut self, rows: Range<u32>) -> Result<()> {
        let mut chosen = std::mem::take(&mut self.rows);
        self.passing.rows(rows, &mut chosen);
        let collection = self.passing.collection.clone();
        let region = &collection.region;
        let layout = collection.spec.schema.columns()[self.column].layout;
        let data_type = collection.spec.schema.arrow().field(self.column).data_type();
        for &row in &chosen {
            if !region.is_valid(self.column, row) {
                self.nulls += 1;
                continue;
            }
            let (shard, slot) = region.locate(row);
            match layout {
                Layout::Utf8 => self.add(region.text_bytes(self.column, shard, slot), row)?,
                Layout::Utf8List => {
                    // A text that is in a list twice is a value of the row once.
                    let mut items: Vec<&[u8]> = text_list::items(region.text_bytes(self.column, shard, slot)).collect();
                    items.sort_unstable();
                    items.dedup();
                    items.into_iter().try_for_each(|item| self.add(item, row))?;
                }
                _ => {
                    let bytes = region.fixed_rows(self.column, shard, slot..slot + 1);
                    self.add(&canonical(data_type, bytes), row)?;
                }
            }
        }
        self.rows = chosen;
        Ok(())
    }

    fn add(&mut self, value: &[u8], row: u32) -> Result<()> {
        if let Some((count, _)) = self.counts.get_mut(value) {
            *count += 1;
            return Ok(());
        }
        let exceeded = |what, value: usize, limit: usize| match value > limit {
            true => Err(Error::LimitExceeded { what, value: value as u64, limit: limit as u64 }),
            false => Ok(()),
        };
        self.bytes += value.len();
        exceeded("number of different values of the column", self.counts.len() + 1, limits::FACET_VALUES_MAX)?;
        exceeded("size of the different values of the column in bytes", self.bytes, limits::FACET_BYTES_MAX)?;
        self.counts.insert(value.into(), (1, row));
        Ok(())
    }

    fn finish(&mut self) -> Result<Facets> {
        let schema = self.passing.collection.spec.schema.clone();
        let data_type = schema.arrow().field(self.column).data_type().clone();
        let distinct = self.counts.len() as u64;
        let counted = std::mem::take(&mut self.counts).into_iter();
        let mut counts: Vec<Counted> = counted.map(|(value, (count, row))| Counted { value, count, row }).collect();
        let by_count =
            |a: &Counted, b: &Counted| b.count.cmp(&a.count).then_with(|| order(&data_type, &a.value, &b.value));
        if self.limit < counts.len() && self.limit > 0 {
            counts.select_nth_unstable_by(self.limit - 1, by_count);
        }
        let others = counts.iter().skip(self.limit).map(|counted| counted.count).sum();
        counts.truncate(self.limit);
        counts.sort_unstable_by(by_count);
        let values: ArrayRef = if let DataType::List(_) = data_type {
            let text =
                |counted: &Counted| std::str::from_utf8(&counted.value).expect("checked when it came").to_owned();
            Arc::new(StringArray::from_iter_values(counts.iter().map(text)))
        } else {
            // Rows that have the values tell them: the view that is held keeps them where they are.
            let rows: Vec<u32> = counts.iter().map(|counted| counted.row).collect();
            self.passing.collection.region.take(&rows, &[self.column])?.column(0).clone()
        };
        let numbers: ArrayRef = Arc::new(counts.iter().map(|counted| counted.count).collect::<UInt64Array>());
        let values = batch(values, numbers);
        Ok(Facets { values, distinct, others, nulls: self.nulls })
    }
}

/// A value, how often it was there, and a row that has it.
struct Counted {
    value: Box<[u8]>,
    count: u64,
    row: u32,
}

/// The schema of [`Facets::values`] for a column of this type; the values of a list are its texts.
pub fn facet_schema(data_type: &DataType) -> Arc<ArrowSchema> {
    let value = match data_type {
        DataType::List(_) => Field::new("value", DataType::Utf8, false),
        _ => Field::new("value", data_type.clone(), false),
    };
    Arc::new(ArrowSchema::new(vec![value, Field::new("count", DataType::UInt64, false)]))
}

fn batch(values: ArrayRef, counts: ArrayRef) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(counts.len()));
    let schema = facet_schema(values.data_type());
    RecordBatch::try_new_with_options(schema, vec![values, counts], &options).expect("no value is null")
}

/// The bytes of a value, the same for two that are equal: both zeros of floats are, and so is whatever is no number.
fn canonical(data_type: &DataType, bytes: &[u8]) -> Box<[u8]> {
    match data_type {
        DataType::Float32 => match f32::from_le_bytes(bytes.try_into().expect("four bytes")) {
            value if value.is_nan() => f32::NAN.to_le_bytes().into(),
            value => (value + 0.0).to_le_bytes().into(),
        },
        DataType::Float64 => match f64::from_le_bytes(bytes.try_into().expect("eight bytes")) {
            value if value.is_nan() => f64::NAN.to_le_bytes().into(),
            value => (value + 0.0).to_le_bytes().into(),
        },
        DataType::Boolean => Box::new([u8::from(bytes[0] != 0)]),
        _ => bytes.into(),
    }
}

/// How two values compare.
fn order(data_type: &DataType, a: &[u8], b: &[u8]) -> Ordering {
    macro_rules! numbers {
        ($type:ty, $compare:expr) => {{
            let read = |bytes: &[u8]| <$type>::from_le_bytes(bytes.try_into().expect("bytes of the type"));
            $compare(&read(a), &read(b))
        }};
    }
    match data_type {
        DataType::Int8 => numbers!(i8, Ord::cmp),
        DataType::Int16 => numbers!(i16, Ord::cmp),
        DataType::Int32 | DataType::Date32 => numbers!(i32, Ord::cmp),
        DataType::Int64 | DataType::Timestamp(..) => numbers!(i64, Ord::cmp),
        DataType::UInt16 => numbers!(u16, Ord::cmp),
        DataType::UInt32 => numbers!(u32, Ord::cmp),
        DataType::UInt64 => numbers!(u64, Ord::cmp),
        DataType::Float32 => numbers!(f32, f32::total_cmp),
        DataType::Float64 => numbers!(f64, f64::total_cmp),
        _ => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use arrow::array::{Array, AsArray};
    use arrow::compute::cast;
    use arrow::datatypes::UInt64Type;
    use arrow::util::display::{ArrayFormatter, FormatOptions};

    use super::*;
    use crate::batch::BatchView;
    use crate::batch::samples::{self, Random};
    use crate::collection::{CollectionOptions, CollectionSpec};
    use crate::region::RegionWriter;

    const ROWS: usize = 5_000;

    fn filled() -> Arc<Collection> {
        let schema = samples::schema(false);
        let options = CollectionOptions::default();
        let collection =
            Collection::new(CollectionSpec { id: 1, name: "rows".into(), schema: schema.clone(), options }, 2).unwrap();
        for shard in 0..2 {
            let mut writer = RegionWriter::new(collection.region.clone(), shard);
            let batch = samples::batch(&schema, ROWS, (shard * ROWS) as u64, 3, &mut Random(shard as u64));
            let slots = writer.fill(&BatchView::from_arrow(&schema, &batch).unwrap()).unwrap();
            writer.publish(slots.end);
            (0..ROWS as u32).step_by(3).for_each(|slot| writer.delete(slot));
        }
        collection
    }

    fn count(collection: &Arc<Collection>, filter: Option<Arc<Filter>>) -> u64 {
        let (mut counting, mut cache) = (Counting::begin(collection.clone(), filter), MaskCache::default());
        std::iter::repeat_with(|| counting.step(&mut cache)).find_map(|count| count).unwrap()
    }

    fn facets(
        collection: &Arc<Collection>,
        column: usize,
        limit: usize,
        filter: Option<Arc<Filter>>,
    ) -> Result<Facets> {
        let mut faceting = Faceting::begin(collection.clone(), column, limit, filter)?;
        let mut cache = MaskCache::default();
        loop {
            if let Some(facets) = faceting.step(&mut cache)? {
                return Ok(facets);
            }
        }
    }

    /// The values as texts.
    fn shown(values: &ArrayRef) -> StringArray {
        let values = match values.data_type() {
            DataType::Timestamp(..) => cast(values, &DataType::Int64).unwrap(),
            _ => values.clone(),
        };
        let formatter = ArrayFormatter::try_new(&values, &FormatOptions::default()).unwrap();
        (0..values.len()).map(|row| values.is_valid(row).then(|| formatter.value(row).to_string())).collect()
    }

    /// All visible rows that pass, one by one.
    fn plain(collection: &Arc<Collection>, filter: Option<&Filter>) -> Vec<u32> {
        let (region, view) = (&collection.region, collection.region.view());
        let mut rows = Vec::new();
        (0..2).for_each(|shard| region.visible_rows(&view, shard, 0..u64::MAX, &mut rows));
        rows.retain(|&row| filter.is_none_or(|filter| collection.accepts(filter, row)));
        rows
    }

    #[test]
    fn counts_are_those_of_a_look_at_each_row() {
        let collection = filled();
        let schema = &collection.spec.schema;
        let json = r#"{"or": [{"column": "full2", "<": 0}, {"column": "data13", "prefix": "lib"}]}"#;
        let filter = Arc::new(Filter::parse(json.as_bytes(), schema).unwrap());
        for filter in [None, Some(filter)] {
            let rows = plain(&collection, filter.as_deref());
            assert_eq!(count(&collection, filter.clone()), rows.len() as u64);
            for column in (0..schema.columns().len()).filter(|&column| !schema.columns()[column].layout.is_vector()) {
                let array = collection.region.take(&rows, &[column]).unwrap().column(0).clone();
                let nulls;
                // A value of a list once for each row.
                let array = match array.data_type() {
                    DataType::List(_) => {
                        let lists = array.as_list::<i32>();
                        nulls = lists.null_count();
                        let items = lists.iter().flatten().flat_map(|items| {
                            let items: BTreeSet<String> =
                                items.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
                            items
                        });
                        Arc::new(StringArray::from_iter_values(items)) as ArrayRef
                    }
                    _ => {
                        nulls = array.null_count();
                        array
                    }
                };
                let array = shown(&array);
                let mut expected: BTreeMap<String, u64> = BTreeMap::new();
                let valid = (0..array.len()).filter(|&row| array.is_valid(row));
                valid.for_each(|row| *expected.entry(array.value(row).to_owned()).or_default() += 1);
                let limit = [3, limits::FACETS_MAX][column % 2];
                let facets = facets(&collection, column, limit, filter.clone()).unwrap();
                let values = shown(facets.values.column(0));
                let counts = facets.values.column(1).as_primitive::<UInt64Type>();
                assert_eq!(values.len(), limit.min(expected.len()));
                let listed: Vec<u64> = counts.values().to_vec();
                assert!(listed.is_sorted_by(|a, b| a >= b));
                let least_listed = listed.last().copied().unwrap_or(0);
                for (row, &count) in listed.iter().enumerate() {
                    assert_eq!(expected.get(values.value(row)), Some(&count), "column {column}");
                }
                assert!(expected.values().filter(|&&count| count > least_listed).count() <= listed.len());
                assert_eq!(facets.distinct, expected.len() as u64, "column {column}");
                assert_eq!(facets.others, expected.values().sum::<u64>() - listed.iter().sum::<u64>());
                assert_eq!(facets.nulls, nulls as u64);
            }
        }
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let collection = filled();
        let vector = collection.spec.schema.column_index("f32").unwrap();
        assert!(matches!(facets(&collection, vector, 1, None), Err(Error::InvalidFilter { .. })));
        let refused = facets(&collection, 0, limits::FACETS_MAX + 1, None);
        assert!(matches!(refused, Err(Error::LimitExceeded { what: "number of facets", .. })));
        let mut faceting = Faceting::begin(collection, 0, 1, None).unwrap();
        let long = vec![b'x'; limits::FACET_BYTES_MAX];
        faceting.add(&long, 0).unwrap();
        faceting.add(&long, 0).unwrap();
        assert!(matches!(faceting.add(b"y", 0), Err(Error::LimitExceeded { .. })));
    }
}
