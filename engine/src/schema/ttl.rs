//! Time to live: a column that says from when on a row is gone.

use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::error::{Error, Result};

/// Metadata key of an Arrow field of dates or timestamps: a row is gone this many seconds after the time in the column.
pub const TTL_KEY: &str = "broadhead.ttl";

/// Seconds that a row may live after its time: a thousand years.
const SECONDS_MAX: i64 = 1_000 * 366 * SECONDS_PER_DAY;
const SECONDS_PER_DAY: i64 = 86_400;
const MS_PER_SECOND: i64 = 1_000;

/// The column that a row's time to live goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive {
    /// Its index in the schema.
    pub column: usize,
    /// A row is gone so many seconds after the time in it; one that has none never.
    pub seconds: i64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Days,
    /// Parts of a second.
    Parts(i64),
}

impl TimeToLive {
    /// What the field of a column says of it; None where it says nothing.
    pub(super) fn of(field: &Field, column: usize) -> Result<Option<TimeToLive>> {
        let Some(text) = field.metadata().get(TTL_KEY) else { return Ok(None) };
        let fail = |problem| Err(Error::InvalidSchema { column: field.name().clone(), problem });
        let unit = match field.data_type() {
            DataType::Date32 => Unit::Days,
            DataType::Timestamp(TimeUnit::Second, _) => Unit::Parts(1),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Unit::Parts(1_000),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Unit::Parts(1_000_000),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Unit::Parts(1_000_000_000),
            _ => return fail("rows live by a column of dates or timestamps"),
        };
        match text.parse() {
            Ok(seconds) if (0..=SECONDS_MAX).contains(&seconds) => Ok(Some(TimeToLive { column, seconds, unit })),
            _ => fail("broadhead.ttl is not a number of seconds from 0 to a thousand years"),
        }
    }

    /// Greatest value of the column whose rows are gone at a time, in milliseconds since 1970. It changes once a second: who has found out which
    /// rows are gone knows it for so long.
    pub fn last_expired(&self, now_ms: i64) -> i64 {
        let born_s = now_ms.div_euclid(MS_PER_SECOND) - self.seconds;
        match self.unit {
            Unit::Days => born_s.div_euclid(SECONDS_PER_DAY),
            Unit::Parts(parts) => born_s.saturating_mul(parts),
        }
    }

    /// A value of the column, from its bytes.
    pub fn value(&self, bytes: &[u8]) -> i64 {
        match self.unit {
            Unit::Days => i64::from(i32::from_le_bytes(bytes.try_into().expect("a date has four bytes"))),
            Unit::Parts(_) => i64::from_le_bytes(bytes.try_into().expect("a timestamp has eight bytes")),
        }
    }

    /// Bytes of a value.
    pub fn width(&self) -> usize {
        match self.unit {
            Unit::Days => size_of::<i32>(),
            Unit::Parts(_) => size_of::<i64>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data_type: DataType, seconds: &str) -> Result<Option<TimeToLive>> {
        let metadata = [(TTL_KEY.to_owned(), seconds.to_owned())];
        TimeToLive::of(&Field::new("until", data_type, true).with_metadata(metadata), 2)
    }

    #[test]
    fn a_row_is_gone_when_its_time_and_the_seconds_are_over() {
        for (unit, parts) in [
            (TimeUnit::Second, 1),
            (TimeUnit::Millisecond, 1_000),
            (TimeUnit::Microsecond, 1_000_000),
            (TimeUnit::Nanosecond, 1_000_000_000i64),
        ] {
            let ttl = of(DataType::Timestamp(unit, None), "60").unwrap().unwrap();
            assert_eq!(ttl.last_expired(100_000), 40 * parts, "the time and 60 s are over now");
            assert_eq!(ttl.last_expired(99_999), 39 * parts, "and were not a moment ago");
            assert_eq!(ttl.last_expired(100_999), 40 * parts, "seconds are whole");
            assert!(ttl.last_expired(0) < 0 && ttl.last_expired(i64::MAX) > 0 && ttl.last_expired(i64::MIN) < 0);
        }
        let ttl = of(DataType::Date32, "0").unwrap().unwrap();
        let day_ms = SECONDS_PER_DAY * 1_000;
        assert_eq!((ttl.last_expired(3 * day_ms), ttl.last_expired(3 * day_ms - 1)), (3, 2));
        assert_eq!(ttl.last_expired(-1), -1, "the day before 1970 has begun");
    }

    #[test]
    fn what_it_cannot_be_is_refused() {
        assert!(of(DataType::Int64, "1").unwrap_err().to_string().contains("timestamps"));
        for seconds in ["", "-1", "1.5", "soon", "99999999999999999999"] {
            assert!(of(DataType::Date32, seconds).is_err(), "{seconds}");
        }
        assert_eq!(TimeToLive::of(&Field::new("until", DataType::Date32, true), 0).unwrap(), None);
    }
}
