//! What changes rows: each operation on the collection and on its model, with what the server reports of it.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Field};
use engine::placement::home;
use net::client::{Ack, Client, Id, Missing, UpdateOptions, WriteMode, WriteReport};
use net::codec::Status;
use tests::model::condition::Condition;
use tests::model::{Before, Row, borrowed, ids};
use tests::random::Random;

use super::{Table, json};

const COLUMNS_ADDED_MAX: usize = 3;

impl Table {
    /// One change of some rows.
    pub fn change(&mut self, shards: usize, random: &mut Random) {
        match random.below(22) {
            0..8 => self.write(random),
            8..12 => self.write_conditionally(shards, random),
            12..16 => {
                let ids = self.some_ids(40, random).into_iter().collect();
                self.update(&ids, Missing::Skip, random).expect("rows may be missing");
            }
            16..20 => self.delete(random),
            _ => self.delete_where(random),
        }
    }

    /// Writes rows, at times many.
    pub fn write(&mut self, random: &mut Random) {
        let most = if random.below(4) == 0 { 400 } else { 20 };
        let rows = self.random_rows(&self.some_ids(most, random), random);
        let report = self.send(&rows, WriteMode::Upsert).expect("written");
        self.accept(rows, report);
    }

    /// Rows with these ids.
    pub fn random_rows(&self, ids: &[Id], random: &mut Random) -> Vec<Row> {
        ids.iter().map(|id| self.model.random_row(id, random)).collect()
    }

    /// Sends a write, and waits until it is durable or refused.
    pub fn send(&self, rows: &[Row], mode: WriteMode) -> net::Result<WriteReport> {
        let batch = self.model.batch(&rows.iter().collect::<Vec<_>>());
        self.collection.write_with(&batch, mode, Ack::Durable).expect("a good batch").wait()
    }

    /// Takes rows into the model that the server has taken. Rows whose time is over may have been there still, or not.
    pub fn accept(&mut self, rows: Vec<Row>, report: WriteReport) {
        let count = rows.len() as u64;
        let before: Vec<Before> = rows.into_iter().map(|row| self.model.upsert(row)).collect();
        let [living, expired] = [Before::Living, Before::Expired].map(|what| count_of(&before, what));
        assert_eq!((report.rows, report.inserted), (count, count - report.replaced));
        assert!((living..=living + expired).contains(&report.replaced), "{report:?}, and {living} lived");
    }

    /// Ids that one shard is the home of, so that it takes or refuses them together.
    pub fn ids_of_a_shard(&self, most: u64, shards: usize, random: &mut Random) -> Vec<Id> {
        let mut ids = self.some_ids(most, random);
        let home_of = |id: &Id| home(borrowed(id), shards);
        let first = home_of(&ids[0]);
        ids.retain(|id| home_of(id) == first);
        ids
    }

    /// Inserts or replaces rows: all of a shard's, or none of them.
    fn write_conditionally(&mut self, shards: usize, random: &mut Random) {
        let mode = if random.below(2) == 0 { WriteMode::Insert } else { WriteMode::Replace };
        let ids = self.ids_of_a_shard(8, shards, random);
        let rows = self.random_rows(&ids, random);
        let is_there = |id: &Id| self.model.rows.contains_key(id);
        let distinct: BTreeSet<&Id> = ids.iter().collect();
        let refusal = match mode {
            WriteMode::Insert if distinct.len() < ids.len() || ids.iter().any(is_there) => Some(Status::RowExists),
            WriteMode::Replace if !ids.iter().all(is_there) => Some(Status::RowMissing),
            _ => None,
        };
        match (refusal, self.send(&rows, mode)) {
            (None, Ok(report)) => self.accept(rows, report),
            (Some(status), Err(error)) => assert_eq!(error.status(), Some(status), "{mode:?}: {error}"),
            (expected, got) => panic!("{mode:?}: {got:?}, and not {expected:?}"),
        }
    }

    /// Gives some columns of rows with these ids new values, under a condition at times. Rows that do not meet it are left out, those that are
    /// missing too, or they are inserted. Where the server refuses it nothing changes.
    pub fn update(&mut self, ids: &BTreeSet<Id>, missing: Missing, random: &mut Random) -> net::Result<()> {
        let count = self.model.columns.len() as u64;
        let mut places: BTreeSet<usize> = (0..1 + random.below(4)).map(|_| random.below(count) as usize).collect();
        places.insert(0);
        let places: Vec<usize> = places.into_iter().collect();
        let rows: Vec<Row> = ids.iter().map(|id| self.model.random_row(id, random)).collect();
        let condition = self.condition(random);
        let filter = json(condition.as_ref());
        let batch = self.model.batch_of(&places, &rows.iter().collect::<Vec<_>>());
        let options = UpdateOptions { missing, filter: &filter, newer: None, skip_unmet: true };
        let report = self.collection.update(&batch, &options, Ack::Durable).expect("a good batch").wait()?;
        let (mut updated, mut left_out, mut unmet) = (0, 0, 0);
        for (id, row) in ids.iter().zip(&rows) {
            let old = self.model.rows.get(id);
            if old.is_none() && missing == Missing::Skip {
                left_out += 1;
            } else if old.zip(condition.as_ref()).is_some_and(|(old, condition)| !condition.holds(old)) {
                unmet += 1;
            } else {
                self.model.update(id, &places, row);
                updated += 1;
            }
        }
        assert_eq!((report.rows, report.missing, report.unmet), (updated, left_out, unmet), "{filter}");
        Ok(())
    }

    fn delete_where(&mut self, random: &mut Random) {
        // What next to everything passes would leave nothing to search in.
        let few = Condition::random(&self.model, 2, random);
        let gone = self.model.matching(Some(&few));
        if gone.len() > self.model.rows.len() / 8 {
            return;
        }
        let filter = few.to_json().to_string();
        let deleted = self.collection.delete_where(&filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(deleted, gone.len() as u64, "{filter}");
        gone.iter().for_each(|id| drop(self.model.rows.remove(id)));
    }

    /// Deletes rows by their ids. Rows whose time is over may have been there still, or not.
    pub fn delete(&mut self, random: &mut Random) {
        let gone = self.some_ids(60, random);
        let report = self.collection.delete(&ids(&gone), Ack::Durable).expect("good ids").wait().expect("deleted");
        let before: Vec<Before> = gone.iter().map(|id| self.model.remove(id)).collect();
        let [living, expired] = [Before::Living, Before::Expired].map(|what| count_of(&before, what));
        assert!((living..=living + expired).contains(&report.deleted), "{report:?}, and {living} lived");
    }

    /// Adds a column of some type, up to a few; batches and reads have it from then on.
    pub fn add_column(&mut self, client: &Client, random: &mut Random) {
        let added = self.model.columns.iter().filter(|column| column.name().starts_with("added")).count();
        if added == COLUMNS_ADDED_MAX {
            return;
        }
        let types = [DataType::Int16, DataType::Utf8, DataType::Float64, DataType::Boolean];
        let data_type = types[random.below(types.len() as u64) as usize].clone();
        let field = Field::new(format!("added_{added}"), data_type, true);
        let altered = client.add_columns(self.collection.name(), std::slice::from_ref(&field));
        self.collection = altered.expect("a column more");
        self.model.add_column(field);
    }
}

fn count_of(before: &[Before], what: Before) -> u64 {
    before.iter().filter(|before| **before == what).count() as u64
}
