//! Namespaces with quotas, and their collections.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::DataType;
use engine::namespace::Quota;
use net::client::{Client, CollectionOptions, Id, Missing, WriteMode};
use net::codec::Status;
use tests::model::Model;
use tests::random::Random;

use super::Table;

const NAMESPACES: [&str; 2] = ["acme", "other"];
const COLLECTIONS: [&str; 3] = ["a", "b", "c"];
/// Ids of a collection's rows.
const IDS: u64 = 80;
/// Rows that a namespace may have; 0: no limit.
const QUOTAS: [u64; 4] = [0, 20, 40, 70];
/// Operations at a time: most are small.
const STEPS: usize = 4;

/// What a namespace should be.
#[derive(Default)]
struct Tenant {
    /// Rows that it may have; 0: no limit.
    rows_max: u64,
    /// Writes that were refused since the start.
    refused: u64,
    tables: BTreeMap<String, Table>,
}

impl Tenant {
    fn rows(&self) -> u64 {
        self.tables.values().map(|table| table.model.rows.len() as u64).sum()
    }
}

/// All namespaces.
pub struct Tenants {
    id: DataType,
    all: BTreeMap<&'static str, Tenant>,
}

impl Tenants {
    /// None at first; ids will be of this type.
    pub fn new(id: &DataType) -> Tenants {
        Tenants { id: id.clone(), all: BTreeMap::new() }
    }

    /// After another start.
    pub fn reopen(&mut self, client: &Client) {
        for tenant in self.all.values_mut() {
            tenant.refused = 0;
            tenant.tables.values_mut().for_each(|table| table.reopen(client));
        }
    }

    /// Some operations.
    pub fn step(&mut self, client: &Client, random: &mut Random) {
        (0..STEPS).for_each(|_| self.step_once(client, random));
    }

    fn step_once(&mut self, client: &Client, random: &mut Random) {
        let name = NAMESPACES[random.below(NAMESPACES.len() as u64) as usize];
        let short = COLLECTIONS[random.below(COLLECTIONS.len() as u64) as usize];
        match random.below(40) {
            0 => self.drop_namespace(client, name),
            1..4 => self.put(client, name, QUOTAS[random.below(QUOTAS.len() as u64) as usize]),
            4 => self.drop_collection(client, name, &format!("{name}/{short}")),
            5..8 => self.list(client),
            8..30 => self.write(client, name, &format!("{name}/{short}"), random),
            _ => self.on_table(name, random),
        }
    }

    /// Makes a namespace, or changes its quota, which takes nothing away.
    fn put(&mut self, client: &Client, name: &'static str, rows: u64) {
        let quota = Quota { rows, ..Quota::default() };
        let created = client.create_namespace(name, quota);
        if self.all.contains_key(name) {
            assert_eq!(created.expect_err("it is there").status(), Some(Status::NamespaceExists));
            client.put_namespace(name, quota).expect("it is there");
        } else {
            created.expect("a new one");
        }
        self.all.entry(name).or_default().rows_max = rows;
    }

    fn drop_namespace(&mut self, client: &Client, name: &str) {
        let dropped = client.drop_namespace(name);
        if self.all.remove(name).is_some() {
            dropped.expect("it is there");
        } else {
            assert_eq!(dropped.expect_err("it is not there").status(), Some(Status::UnknownNamespace));
        }
    }

    fn drop_collection(&mut self, client: &Client, name: &str, full: &str) {
        let dropped = client.drop_collection(full);
        if self.all.get_mut(name).and_then(|tenant| tenant.tables.remove(full)).is_some() {
            dropped.expect("it is there");
        } else {
            assert_eq!(dropped.expect_err("it is not there").status(), Some(Status::UnknownCollection));
        }
    }

    /// Makes the collection if it is not there, and writes or updates rows that one shard is the home of: all of them, or, beyond the quota,
    /// none.
    fn write(&mut self, client: &Client, name: &'static str, full: &str, random: &mut Random) {
        let model = Model::new(self.id.clone(), IDS, &[], false);
        let Some(tenant) = self.all.get_mut(name) else {
            let refused = client.create_collection(full, &model.schema(), CollectionOptions::default());
            let status = refused.err().and_then(|error| error.status());
            assert_eq!(status, Some(Status::UnknownNamespace), "{full}");
            return;
        };
        tenant.tables.entry(full.to_owned()).or_insert_with(|| Table::create(client, full, model));
        let rows_before = tenant.rows();
        let table = tenant.tables.get_mut(full).expect("just made");
        let mut ids = table.ids_of_a_shard(40, client.server().shards, random);
        if random.below(2) == 0 {
            // As many new ones as there is room for, or one more.
            let most = tenant.rows_max.saturating_sub(rows_before) + random.below(2);
            let mut new = BTreeSet::new();
            let is_there = |id: &Id| table.model.rows.contains_key(id);
            ids.retain(|id| is_there(id) || new.contains(id) || (new.len() as u64) < most && new.insert(id.clone()));
        }
        if ids.is_empty() {
            return;
        }
        let distinct: BTreeSet<Id> = ids.iter().cloned().collect();
        let new = distinct.iter().filter(|id| !table.model.rows.contains_key(id)).count() as u64;
        let is_beyond = tenant.rows_max > 0 && new > 0 && rows_before + new > tenant.rows_max;
        let written = if random.below(3) == 0 {
            table.update(&distinct, Missing::Insert, random)
        } else {
            let rows = table.random_rows(&ids, random);
            table.send(&rows, WriteMode::Upsert).map(|report| table.accept(rows, report))
        };
        let what = format!("{full}: {new} new rows beside {rows_before} of {}", tenant.rows_max);
        match written {
            Ok(()) => assert!(!is_beyond, "{what}"),
            Err(error) => {
                assert!(is_beyond && error.status() == Some(Status::QuotaExceeded), "{what}: {error}");
                tenant.refused += 1;
                table.scan(random);
            }
        }
    }

    /// Reads or deletes rows, which no quota keeps anyone from.
    fn on_table(&mut self, name: &str, random: &mut Random) {
        let Some(tenant) = self.all.get_mut(name) else { return };
        let count = tenant.tables.len().max(1) as u64;
        let Some(table) = tenant.tables.values_mut().nth(random.below(count) as usize) else { return };
        match random.below(3) {
            0 => table.delete(random),
            _ => table.read(random),
        }
    }

    /// The lists have what is there, and its numbers.
    fn list(&self, client: &Client) {
        let found: BTreeMap<String, (u64, u64, u64, u64)> = client
            .namespaces()
            .expect("an answer")
            .into_iter()
            .map(|info| (info.name, (info.quota.rows, info.collections, info.rows, info.refused)))
            .collect();
        let told = |tenant: &Tenant| (tenant.rows_max, tenant.tables.len() as u64, tenant.rows(), tenant.refused);
        let expected: BTreeMap<String, (u64, u64, u64, u64)> =
            self.all.iter().map(|(name, tenant)| ((*name).to_owned(), told(tenant))).collect();
        assert_eq!(found, expected, "quota, collections, rows, refused");
        let collections = client.collections().expect("an answer");
        let found: BTreeMap<String, u64> =
            collections.into_iter().filter(|info| info.name.contains('/')).map(|info| (info.name, info.rows)).collect();
        let tables = self.all.values().flat_map(|tenant| &tenant.tables);
        let expected: BTreeMap<String, u64> =
            tables.map(|(name, table)| (name.clone(), table.model.rows.len() as u64)).collect();
        assert_eq!(found, expected, "rows by collection");
    }

    /// All rows of all of them are what they should be.
    pub fn check(&self, client: &Client, random: &mut Random) {
        self.list(client);
        self.all.values().flat_map(|tenant| tenant.tables.values()).for_each(|table| table.scan(random));
    }
}
