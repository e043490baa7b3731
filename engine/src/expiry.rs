//! Rows that are gone because their time is over.
//!
//! A row is expired from the moment on at which the clock passes its time. Who reads is then given a condition that it does not meet
//! ([`Collection::living`]); a sweep deletes it behind that. Where no row of a collection is expired, which is told by the earliest time of
//! each shard, there is no such condition, and reading costs what it costs without a time to live.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_utils::CachePadded;

use crate::clock::Clock;
use crate::collection::Collection;
use crate::filter::Filter;
use crate::schema::TimeToLive;

/// The times of a collection's rows.
#[derive(Debug)]
pub struct Expiry {
    ttl: TimeToLive,
    clock: OnceLock<Arc<Clock>>,
    /// Per shard: no row of it has an earlier time. What was deleted may have.
    earliest: Vec<CachePadded<AtomicI64>>,
}

impl Expiry {
    pub(crate) fn new(ttl: TimeToLive, shards: usize) -> Expiry {
        let earliest = (0..shards).map(|_| CachePadded::new(AtomicI64::new(i64::MAX))).collect();
        Expiry { ttl, clock: OnceLock::new(), earliest }
    }

    /// The column that it goes by.
    pub fn ttl(&self) -> &TimeToLive {
        &self.ttl
    }

    /// Greatest value of the column whose rows are gone by now.
    pub fn last_expired(&self) -> i64 {
        self.ttl.last_expired(self.clock.get_or_init(|| Arc::new(Clock::system())).now_ms())
    }

    /// No row of a shard has an earlier time than this.
    pub fn earliest(&self, shard: usize) -> i64 {
        // The rows that it is about were published after it was stored.
        self.earliest[shard].load(Ordering::Acquire)
    }

    /// Says so. Only the shard itself does.
    pub fn set_earliest(&self, shard: usize, time: i64) {
        self.earliest[shard].store(time, Ordering::Release);
    }

    /// Rows of a shard with this time are about to be published.
    pub(crate) fn note(&self, shard: usize, time: i64) {
        if time < self.earliest(shard) {
            self.set_earliest(shard, time);
        }
    }
}

impl Collection {
    /// Has the rows' time to live go by a clock, from the start.
    ///
    /// # Panics
    /// If it goes by one already.
    pub fn set_clock(&self, clock: &Arc<Clock>) {
        if let Some(expiry) = &self.expiry {
            assert!(expiry.clock.set(clock.clone()).is_ok(), "the clock is set once");
        }
    }

    /// Greatest value of the column of the time to live whose rows are gone by now, if any row may be.
    pub fn last_expired(&self) -> Option<(&TimeToLive, i64)> {
        let expiry = self.expiry.as_ref()?;
        let last = expiry.last_expired();
        let may_be = (0..self.shards()).any(|shard| expiry.earliest(shard) <= last);
        may_be.then_some((&expiry.ttl, last))
    }

    /// Whether the time of a row is over that is visible in a view that is held: `last` is what [`Collection::last_expired`] gave.
    pub fn is_expired(&self, ttl: &TimeToLive, last: i64, row: u32) -> bool {
        let (shard, slot) = self.region.locate(row);
        self.region.is_valid(ttl.column, row)
            && ttl.value(self.region.fixed_rows(ttl.column, shard, slot..slot + 1)) <= last
    }

    /// A filter, and that the rows it is true of are not expired now. This is the one place where what a request asks for is joined with
    /// that; walks along edges look at each by themselves ([`crate::traversal`]).
    pub fn living(&self, filter: Option<Filter>) -> Option<Filter> {
        let Some((ttl, last)) = self.last_expired() else { return filter };
        let living = Filter::living(ttl, &self.spec.schema, last);
        Some(match filter {
            Some(filter) => living.and(filter),
            None => living,
        })
    }

    /// What is true of the rows of a shard that are expired now; None where there are none.
    pub fn expired(&self, shard: usize) -> Option<Filter> {
        let expiry = self.expiry.as_ref()?;
        let last = expiry.last_expired();
        (expiry.earliest(shard) <= last).then(|| Filter::expired(&expiry.ttl, &self.spec.schema, last))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Date32Array, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, UInt64Array};
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, TimeUnit};

    use super::*;
    use crate::batch::BatchView;
    use crate::batch::samples::Random;
    use crate::collection::{CollectionOptions, CollectionSpec};
    use crate::ids::IdList;
    use crate::schema::{IdKind, IdRef, Schema, TTL_KEY};
    use crate::shard::{Member, Operation, Partition};

    const ROWS: u64 = 500;
    const TTL_S: i64 = 100;

    /// What a row's time is in seconds; None: it lives for ever.
    type Times = Vec<Option<i64>>;

    fn schema(data_type: &DataType, is_nullable: bool) -> Arc<Schema> {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let ttl = [(TTL_KEY.to_owned(), TTL_S.to_string())];
        let fields = vec![
            Field::new("id", DataType::UInt64, false),
            Field::new("at", data_type.clone(), is_nullable).with_metadata(ttl),
            Field::new("v", DataType::FixedSizeList(item, 1), false),
        ];
        Arc::new(Schema::from_arrow(&ArrowSchema::new(fields)).unwrap())
    }

    fn batch(schema: &Schema, times: &Times, unit_s: i64) -> RecordBatch {
        let DataType::FixedSizeList(item, _) = schema.arrow().field(2).data_type() else { unreachable!() };
        let data_type = schema.arrow().field(1).data_type();
        let at: ArrayRef = match data_type {
            DataType::Date32 => {
                Arc::new(times.iter().map(|time| time.map(|time| (time / unit_s) as i32)).collect::<Date32Array>())
            }
            DataType::Timestamp(unit, _) => {
                let parts = match unit {
                    TimeUnit::Second => 1,
                    TimeUnit::Millisecond => 1_000,
                    TimeUnit::Microsecond => 1_000_000,
                    TimeUnit::Nanosecond => 1_000_000_000,
                };
                let values: Int64Array = times.iter().map(|time| time.map(|time| time * parts)).collect();
                cast(&values, data_type).unwrap()
            }
            _ => unreachable!("no time"),
        };
        let values = Float32Array::from_iter_values((0..times.len()).map(|row| row as f32 + 1.0));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(0..times.len() as u64)),
            at,
            Arc::new(FixedSizeListArray::new(item.clone(), 1, Arc::new(values), None)),
        ];
        RecordBatch::try_new(schema.arrow().clone(), columns).unwrap()
    }

    #[test]
    fn every_reader_sees_the_rows_whose_time_is_not_over() {
        let timestamps = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
        let types = timestamps.map(|unit| (DataType::Timestamp(unit, None), 1)).into_iter();
        for (data_type, unit_s) in types.chain([(DataType::Date32, 86_400)]) {
            for is_nullable in [true, false] {
                check(&data_type, unit_s, is_nullable);
            }
        }
    }

    fn check(data_type: &DataType, unit_s: i64, is_nullable: bool) {
        let (schema, mut random) = (schema(data_type, is_nullable), Random(unit_s as u64));
        let options = CollectionOptions::default();
        let spec = CollectionSpec { id: 1, name: "rows".into(), schema: schema.clone(), options };
        let collection = Collection::new(spec, 1).unwrap();
        let now_ms = Arc::new(AtomicI64::new(0));
        let source = now_ms.clone();
        collection.set_clock(&Arc::new(Clock::of(move || source.load(Ordering::Relaxed))));
        let mut partition = Partition::new(0);
        partition.install(Member::new(collection.clone(), 0));
        let mut time = || (random.below(1_000) as i64 - 500) * unit_s;
        let is_never = |row: u64| is_nullable && row.is_multiple_of(7);
        let times: Times = (0..ROWS).map(|row| (!is_never(row)).then(&mut time)).collect();
        let message = batch(&schema, &times, unit_s);
        let message = BatchView::from_arrow(&schema, &message).unwrap().encode(0).unwrap();
        let write = Operation::Write { collection: 1, fingerprint: schema.fingerprint(), batch: &message };
        let staged = partition.stage(write, None).unwrap();
        partition.publish(staged, 1);
        let region = collection.region.clone();
        let earliest = times.iter().flatten().min().unwrap();
        for now_s in [earliest + TTL_S - 1, earliest + TTL_S, 0, 100 * unit_s + 1, 10_000 * unit_s] {
            now_ms.store(now_s * 1_000 + 999, Ordering::Relaxed);
            let is_gone = |time: &Option<i64>| time.is_some_and(|time| time + TTL_S <= now_s);
            let living: Vec<u32> = (0..ROWS as u32).filter(|&row| !is_gone(&times[row as usize])).collect();
            let what = format!("{data_type} at {now_s}");
            // Where none is gone there is no condition.
            let filter = collection.living(None);
            assert_eq!(filter.is_none(), living.len() as u64 == ROWS, "{what}");
            let select = |filter: &Option<Filter>| {
                let mut rows = Vec::new();
                collection.select(&region.view(), filter.as_ref(), 0..ROWS as u32, &mut rows);
                rows
            };
            assert_eq!(select(&filter), living, "{what}");
            let few = Filter::parse(br#"{"column": "id", "<": 99}"#, &schema).unwrap();
            let few = collection.living(Some(few));
            assert!(few.is_some());
            assert_eq!(select(&few), living.iter().copied().filter(|&row| row < 99).collect::<Vec<_>>(), "{what}");
            let gone = collection.expired(0).map_or_else(Vec::new, |filter| select(&Some(filter)));
            assert_eq!(gone.len() + living.len(), ROWS as usize, "{what}");
            let ids = IdList::from_ids(IdKind::U64, (0..ROWS).map(IdRef::U64));
            let found: Vec<u32> = partition.find(1, ids.view()).unwrap().into_iter().flatten().collect();
            assert_eq!(found, living, "{what}");
        }
    }
}
