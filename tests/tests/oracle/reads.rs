//! What reads rows without ranking them.

use std::collections::{BTreeMap, BTreeSet};

use net::client::Id;
use tests::model::value::{Value, cell};
use tests::model::{Row, ids};
use tests::random::Random;

use super::{Table, json};

impl Table {
    /// One way to read.
    pub fn read(&self, random: &mut Random) {
        match random.below(16) {
            0..7 => self.get(random),
            7..12 => self.scan(random),
            12..14 => self.count(random),
            _ => self.facets(random),
        }
    }

    fn get(&self, random: &mut Random) {
        let wanted = self.some_ids(50, random);
        let read = self.collection.get(&ids(&wanted), &[]).expect("an answer");
        let rows: Vec<Row> = wanted.iter().filter_map(|id| self.model.rows.get(id).cloned()).collect();
        assert_eq!(self.model.read(&read), rows);
    }

    /// All rows, or those that pass a filter.
    pub fn scan(&self, random: &mut Random) {
        let condition = self.condition(random);
        let filter = json(condition.as_ref());
        let mut found = BTreeMap::new();
        let scan = self.collection.scan(&[]).expect("all columns").with_filter(&filter);
        for batch in scan.with_batch_rows(random.below(900) as u32) {
            for row in self.model.read(&batch.unwrap_or_else(|error| panic!("{filter}: {error}"))) {
                assert!(found.insert(self.model.id_of(&row), row).is_none(), "{filter}: a row came twice");
            }
        }
        let expected: BTreeSet<Id> = self.model.matching(condition.as_ref()).into_iter().collect();
        assert!(found.keys().eq(expected.iter()), "{filter}: {} rows, and not {}", found.len(), expected.len());
        for (id, row) in &found {
            assert_eq!(row, &self.model.rows[id], "{filter}");
        }
    }

    fn count(&self, random: &mut Random) {
        let condition = self.condition(random);
        let filter = json(condition.as_ref());
        let count = self.collection.count(&filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(count, self.model.matching(condition.as_ref()).len() as u64, "{filter}");
    }

    /// How often each value of a column is there, of lists each of their texts.
    fn facets(&self, random: &mut Random) {
        let names = ["flag", "i8", "u8", "u64", "text", "prose", "tags", "type"];
        let names: Vec<&str> =
            names.into_iter().filter(|name| self.model.columns.iter().any(|column| column.name() == *name)).collect();
        let name = names[random.below(names.len() as u64) as usize];
        let place = self.model.column(name);
        let condition = self.condition(random);
        let filter = json(condition.as_ref());
        let facets =
            self.collection.facets(name, 100, &filter).unwrap_or_else(|error| panic!("{name}, {filter}: {error}"));
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        let mut nulls = 0;
        for id in self.model.matching(condition.as_ref()) {
            match &self.model.rows[&id][place] {
                Value::Null => nulls += 1,
                Value::Tags(tags) => {
                    let distinct: BTreeSet<&String> = tags.iter().collect();
                    distinct
                        .into_iter()
                        .for_each(|tag| *expected.entry(format!("{:?}", Value::Text(tag.clone()))).or_default() += 1);
                }
                value => *expected.entry(format!("{value:?}")).or_default() += 1,
            }
        }
        assert_eq!(
            (facets.nulls, facets.others, facets.distinct),
            (nulls, 0, expected.len() as u64),
            "{name}, {filter}"
        );
        let (values, counts) = (&facets.values["value"], &facets.values["count"]);
        let count = |row| match cell(counts, row) {
            Value::Int(count) => count as u64,
            other => panic!("{other:?} is no count"),
        };
        let found: BTreeMap<String, u64> =
            (0..facets.values.num_rows()).map(|row| (format!("{:?}", cell(values, row)), count(row))).collect();
        assert_eq!(found, expected, "{name}, {filter}");
    }
}
