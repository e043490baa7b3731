//! Schemas that grow: columns of data that may be null are added at the end, and nothing else ever changes.
//!
//! So every older version is a front part of the newest one. A batch that was made for one of them is read by it, and its rows are null
//! in the columns that it does not have. The log is full of such batches, clients that have not looked again send them, and snapshots
//! that were written before have such rows.

use std::sync::Arc;

use super::{Column, Role, Schema};
use crate::error::{Error, Result};
use crate::limits::SCHEMA_VERSIONS_MAX;

impl Schema {
    /// The version that a batch with this fingerprint was made for: this one, or an older one. Costs one comparison for the newest.
    #[inline]
    pub fn version(self: &Arc<Schema>, fingerprint: u64) -> Option<&Arc<Schema>> {
        if self.fingerprint == fingerprint {
            return Some(self);
        }
        self.older.iter().find(|older| older.fingerprint == fingerprint)
    }

    /// Whether a fingerprint is that of this version or of an older one.
    pub fn knows(&self, fingerprint: u64) -> bool {
        self.fingerprint == fingerprint || self.older.iter().any(|older| older.fingerprint == fingerprint)
    }

    /// The version that a batch with this fingerprint was made for.
    ///
    /// # Errors
    /// `SchemaMismatch` where there is none.
    #[inline]
    pub fn known_version(self: &Arc<Schema>, fingerprint: u64) -> Result<&Arc<Schema>> {
        let unknown = || Error::SchemaMismatch { expected: self.fingerprint, found: fingerprint };
        self.version(fingerprint).ok_or_else(unknown)
    }

    /// The older versions, the newest first.
    pub fn older(&self) -> &[Arc<Schema>] {
        &self.older
    }

    /// The version that the collection was made with.
    pub fn first_version(self: &Arc<Schema>) -> &Arc<Schema> {
        self.older.last().unwrap_or(self)
    }

    /// This schema, as one that was made of others by adding columns; the newest of them first.
    ///
    /// # Errors
    /// As [`Schema::extended`].
    pub fn with_older(self, older: Vec<Schema>) -> Result<Schema> {
        let mut newest: Option<Arc<Schema>> = None;
        for schema in older.into_iter().rev().chain([self]) {
            newest = Some(match newest {
                None => Arc::new(schema),
                Some(before) => Arc::new(before.extended(schema)?),
            });
        }
        Ok(Arc::unwrap_or_clone(newest.expect("there is this one")))
    }

    /// `newer` as the next version of this one.
    ///
    /// # Errors
    /// `InvalidSchema`, naming the column, where it is not this one with columns of data that may be null at its end;
    /// `LimitExceeded` for too many versions.
    pub fn extended(self: &Arc<Schema>, newer: Schema) -> Result<Schema> {
        let fail = |column: &Column, problem| Err(Error::InvalidSchema { column: column.name.clone(), problem });
        for (index, column) in self.columns.iter().enumerate() {
            match newer.columns.get(index) {
                None => return fail(column, "it is missing: columns can be added, not dropped"),
                Some(same) if same.name != column.name => {
                    return fail(column, "another column has its place: columns are added at the end");
                }
                Some(same) if same != column => {
                    return fail(column, "its type, its role or whether it may be null has changed");
                }
                Some(_) if newer.arrow.field(index).data_type() != self.arrow.field(index).data_type() => {
                    return fail(column, "its type has changed");
                }
                Some(_) => {}
            }
        }
        if newer.ttl != self.ttl {
            let ttl = newer.ttl.or(self.ttl).expect("one of them has it");
            return fail(&newer.columns[ttl.column], "how long rows live is said when the collection is made");
        }
        for column in &newer.columns[self.columns.len()..] {
            if column.role != Role::Data {
                return fail(column, "only columns of data can be added");
            }
            if !column.nullable {
                return fail(column, "a column that is added may be null, as it is in the rows that are there");
            }
        }
        if let Some((vector, _)) = self.vectors.iter().zip(&newer.vectors).find(|(before, after)| before != after) {
            return fail(&self.columns[vector.column], "how its vectors are compared or kept has changed");
        }
        if self.older.len() + 1 >= SCHEMA_VERSIONS_MAX {
            let (value, limit) = (self.older.len() as u64 + 2, SCHEMA_VERSIONS_MAX as u64);
            return Err(Error::LimitExceeded { what: "number of versions of a schema", value, limit });
        }
        let older = std::iter::once(Arc::new(Schema { older: Vec::new(), ..Schema::clone(self) }));
        Ok(Schema { older: older.chain(self.older.iter().cloned()).collect(), ..newer })
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;
    use crate::schema::{METRIC_KEY, RERANK_KEY};

    fn fields() -> Vec<Field> {
        let item = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, true)), 384);
        vec![
            Field::new("id", DataType::UInt64, false),
            Field::new("v", item, false),
            Field::new("n", DataType::Int64, true),
        ]
    }

    fn schema(fields: Vec<Field>) -> Schema {
        Schema::from_arrow(&arrow::datatypes::Schema::new(fields)).expect("a good schema")
    }

    fn with(more: &[Field]) -> Schema {
        schema([fields(), more.to_vec()].concat())
    }

    #[test]
    fn every_version_is_known_by_its_fingerprint() {
        let (text, tag) = (Field::new("text", DataType::Utf8, true), Field::new("tag", DataType::Utf8, true));
        let first = Arc::new(with(&[]));
        let second = Arc::new(first.extended(with(std::slice::from_ref(&text))).unwrap());
        let third = Arc::new(second.extended(with(&[text, tag])).unwrap());
        for version in [&first, &second, &third] {
            let found = third.version(version.fingerprint()).expect("a version");
            assert_eq!(found.columns(), version.columns());
        }
        assert_eq!(third.first_version().fingerprint(), first.fingerprint());
        assert!(third.version(7).is_none());
        assert!(matches!(third.known_version(7), Err(Error::SchemaMismatch { found: 7, .. })));
        assert!(second.version(third.fingerprint()).is_none(), "what came later is not known");
        let plain = |schema: &Schema| Schema::from_bytes(&schema.to_bytes()).expect("its own bytes");
        let again = plain(&third).with_older(third.older().iter().map(|older| plain(older)).collect()).unwrap();
        assert_eq!(again.older().len(), 2);
        assert!(Arc::new(again).version(first.fingerprint()).is_some());
    }

    #[test]
    fn what_is_not_an_addition_is_refused_by_name() {
        let first = Arc::new(with(&[]));
        let change = |index: usize, field: Field| {
            let mut fields = fields();
            fields[index] = field;
            schema(fields)
        };
        let vector = || fields()[1].clone();
        let cases = [
            (schema(fields()[..2].to_vec()), "n"),
            (change(2, Field::new("m", DataType::Int64, true)), "n"),
            (change(2, Field::new("n", DataType::Int64, false)), "n"),
            (change(2, Field::new("n", DataType::Int32, true)), "n"),
            (change(2, Field::new("n", DataType::Float64, true)), "n"),
            (change(0, Field::new("id", DataType::Int64, false)), "id"),
            (change(1, vector().with_metadata([(METRIC_KEY, "l2")])), "v"),
            (change(1, vector().with_metadata([(RERANK_KEY, "9")])), "v"),
            (with(&[Field::new("full", DataType::Int8, false)]), "full"),
            (with(&[vector().with_name("w")]), "w"),
        ];
        for (index, (newer, culprit)) in cases.into_iter().enumerate() {
            match first.extended(newer) {
                Err(Error::InvalidSchema { column, .. }) => assert_eq!(column, culprit, "case {index}"),
                other => panic!("case {index}: {other:?}"),
            }
        }
    }

    #[test]
    fn versions_have_a_limit() {
        let mut newest = Arc::new(with(&[]));
        for number in 1..SCHEMA_VERSIONS_MAX {
            let more: Vec<Field> = (0..number).map(|at| Field::new(format!("c{at}"), DataType::Int8, true)).collect();
            newest = Arc::new(newest.extended(with(&more)).expect("below the limit"));
        }
        let more: Vec<Field> =
            (0..SCHEMA_VERSIONS_MAX).map(|at| Field::new(format!("c{at}"), DataType::Int8, true)).collect();
        assert!(matches!(newest.extended(with(&more)), Err(Error::LimitExceeded { .. })));
    }
}
