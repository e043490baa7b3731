//! What a time to live says of rows, as a filter.

use super::bounds::Ranges;
use super::{Filter, Node, Test, Values};
use crate::schema::{Layout, Schema, TimeToLive};

impl Filter {
    /// True of rows whose time is later than a value of the column, or that have none. Nearly all rows are such.
    pub fn living(ttl: &TimeToLive, schema: &Schema, last: i64) -> Filter {
        let later = last.checked_add(1).map_or((i64::MAX, i64::MIN), |first| (first, i64::MAX));
        let later = test(ttl, schema, times(ttl, schema, later));
        let is_nullable = schema.columns()[ttl.column].nullable;
        let root = if is_nullable { Node::Or(vec![later, test(ttl, schema, Values::Null)]) } else { later };
        Filter::new(root)
    }

    /// True of rows whose time is a value of the column, or earlier.
    pub fn expired(ttl: &TimeToLive, schema: &Schema, last: i64) -> Filter {
        Filter::new(test(ttl, schema, times(ttl, schema, (i64::MIN, last))))
    }

    /// True of rows that both are true of.
    pub fn and(self, other: Filter) -> Filter {
        let mut nodes = vec![self.root, other.root];
        nodes.sort_by_key(Node::cost);
        Filter::new(Node::And(nodes))
    }
}

fn test(ttl: &TimeToLive, schema: &Schema, values: Values) -> Node {
    Node::Test(Test { column: ttl.column, is_nullable: schema.columns()[ttl.column].nullable, values, condition: 0 })
}

fn times(ttl: &TimeToLive, schema: &Schema, (from, to): (i64, i64)) -> Values {
    match schema.columns()[ttl.column].layout {
        Layout::Fixed { bytes: 4 } => {
            let (least, most) = (i64::from(i32::MIN), i64::from(i32::MAX));
            let is_any = from <= most && to >= least;
            let range = || (from.clamp(least, most) as i32, to.clamp(least, most) as i32);
            Values::I32(Ranges::new(is_any.then(range).into_iter().collect()))
        }
        _ => Values::I64(Ranges::new(vec![(from, to)])),
    }
}
