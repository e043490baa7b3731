//! A search with a filter finds the nearest of the rows that it is true of, whatever part of the collection that is and wherever it
//! lies; a scan with one reads these rows. Held against all rows, one by one, after deletes and replacements and a restart.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float32Array, RecordBatch, UInt64Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use net::client::{Ack, Client, Collection, CollectionOptions, Cursor, Id, Ids, Queries, SearchRequest, col};
use net::codec::Status;
use serde_json::{Value, json};
use tests::packages;
use tests::recall::K;
use tests::server::Server;

const ROWS: usize = 10_000;
const EF: usize = 64;
/// Queries that are asked exactly, too.
const EXACT_QUERIES: usize = 10;

/// A package, as far as filters ask for it.
struct Package {
    name: String,
    /// Its title, in lower case.
    title: String,
    kib: Option<i64>,
    /// Its cosines with the test queries.
    cosines: Vec<f32>,
}

fn unit(vector: &[half::f16]) -> Vec<f32> {
    let vector: Vec<f32> = vector.iter().map(|x| x.to_f32()).collect();
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.into_iter().map(|x| x / norm).collect()
}

fn packages_of(rows: &RecordBatch) -> HashMap<u64, Package> {
    let ids = rows["id"].as_primitive::<UInt64Type>();
    let names = rows["name"].as_string::<i32>();
    let titles = rows["title"].as_string::<i32>();
    let kib = rows["installed_kib"].as_primitive::<Int64Type>();
    let vectors = packages::embeddings_of(rows);
    let queries: Vec<Vec<f32>> = packages::truth().queries.iter().map(|query| unit(query)).collect();
    let package = |row: usize| {
        let vector = unit(&vectors[row * packages::DIMENSION..][..packages::DIMENSION]);
        let cosine = |query: &Vec<f32>| vector.iter().zip(query).map(|(a, b)| a * b).sum();
        Package {
            name: names.value(row).to_owned(),
            title: titles.value(row).to_lowercase(),
            kib: kib.is_valid(row).then(|| kib.value(row)),
            cosines: queries.iter().map(cosine).collect(),
        }
    };
    (0..rows.num_rows()).map(|row| (ids.value(row), package(row))).collect()
}

/// A filter, and the same said in Rust.
struct Case {
    name: String,
    filter: Value,
    holds: Box<dyn Fn(&Package) -> bool>,
}

fn cases(packages: &HashMap<u64, Package>) -> Vec<Case> {
    let mut sizes: Vec<i64> = packages.values().filter_map(|package| package.kib).collect();
    sizes.sort_unstable();
    let mut cases = Vec::new();
    for share in [0.5, 0.1, 0.01, 0.001] {
        let least = sizes[(sizes.len() as f64 * (1.0 - share)) as usize];
        cases.push(Case {
            name: format!("the largest {share}"),
            filter: json!({"column": "installed_kib", ">=": least}),
            holds: Box::new(move |package| package.kib.is_some_and(|kib| kib >= least)),
        });
    }
    // What is called alike lies together: many of the nodes near a query pass, or none.
    for prefix in ["lib", "python3-", "golang-", "node-", "fonts-"] {
        cases.push(Case {
            name: format!("{prefix}…"),
            filter: json!({"column": "name", "prefix": prefix}),
            holds: Box::new(move |package| package.name.starts_with(prefix)),
        });
        cases.push(Case {
            name: format!("no {prefix}…"),
            filter: json!({"not": {"column": "name", "prefix": prefix}}),
            holds: Box::new(move |package| !package.name.starts_with(prefix)),
        });
        cases.push(Case {
            name: format!("no {prefix}…, and small"),
            filter: json!({"and": [{"not": {"column": "name", "prefix": prefix}}, {"column": "installed_kib", "between": [10, 99]}]}),
            holds: Box::new(move |package| {
                !package.name.starts_with(prefix) && package.kib.is_some_and(|kib| (10..=99).contains(&kib))
            }),
        });
    }
    for word in ["library", "python"] {
        let is_letter = |letter: char| letter.is_alphanumeric();
        cases.push(Case {
            name: format!("about {word}, and no lib…"),
            filter: json!({"and": [
                {"column": "title", "contains": word.to_uppercase()}, {"not": {"column": "name", "prefix": "lib"}}
            ]}),
            holds: Box::new(move |package| {
                package.title.split(|letter| !is_letter(letter)).any(|other| other == word)
                    && !package.name.starts_with("lib")
            }),
        });
    }
    cases.push(Case {
        name: "nothing".to_owned(),
        filter: json!({"column": "installed_kib", "<": -1}),
        holds: Box::new(|_| false),
    });
    cases
}

fn number(id: &Id) -> u64 {
    let Id::U64(id) = id else { panic!("the ids are numbers") };
    *id
}

/// Searches for all test queries in requests of so many, and holds what is found against the nearest of those that pass. Returns the
/// recall.
fn search(collection: &Collection, packages: &HashMap<u64, Package>, case: &Case, batch: usize, exact: bool) -> f64 {
    let filter = case.filter.to_string();
    let passing: Vec<&Package> = packages.values().filter(|package| (case.holds)(package)).collect();
    let mut queries = packages::truth().queries;
    queries.truncate(if exact { EXACT_QUERIES } else { queries.len() });
    let (mut hits, mut wanted, mut query) = (0, 0, 0);
    for some in queries.chunks(batch) {
        let bytes: Vec<u8> = some.iter().flat_map(|query| packages::bytes_of(query)).collect();
        let queries = Queries::Bytes(&bytes);
        let request = SearchRequest { queries, k: K, ef: Some(EF), exact, filter: &filter, ..Default::default() };
        let reply = collection.search(&request).expect("a good request").wait().expect("an answer");
        for found in &reply.hits {
            let mut cosines: Vec<f32> = passing.iter().map(|package| package.cosines[query]).collect();
            cosines.sort_unstable_by(|a, b| b.total_cmp(a));
            let expected = K.min(passing.len());
            let farthest = cosines.get(expected.saturating_sub(1)).map_or(f32::INFINITY, |cosine| cosine - 1e-3);
            for hit in found {
                let package =
                    packages.get(&number(&hit.id)).unwrap_or_else(|| panic!("{}: {} is gone", case.name, hit.id));
                assert!((case.holds)(package), "{}: {} does not pass", case.name, package.name);
                hits += usize::from(package.cosines[query] >= farthest);
            }
            assert_eq!(found.len(), expected, "{}, {} of {} rows pass", case.name, passing.len(), packages.len());
            wanted += expected;
            query += 1;
        }
    }
    if wanted == 0 { 1.0 } else { hits as f64 / wanted as f64 }
}

/// Holds the counts of rows and of sizes against those of all packages that pass.
fn check_counts(collection: &Collection, packages: &HashMap<u64, Package>, case: &Case) {
    let filter = case.filter.to_string();
    let mut expected: HashMap<i64, u64> = HashMap::new();
    let passing: Vec<&Package> = packages.values().filter(|package| (case.holds)(package)).collect();
    passing.iter().filter_map(|package| package.kib).for_each(|kib| *expected.entry(kib).or_default() += 1);
    assert_eq!(collection.count(&filter).expect("a count"), passing.len() as u64, "{}", case.name);
    let rows: u64 = expected.values().sum();
    let mut expected: Vec<(i64, u64)> = expected.into_iter().collect();
    expected.sort_by_key(|&(kib, count)| (std::cmp::Reverse(count), kib));
    for limit in [4, 10_000] {
        let facets = collection.facets("installed_kib", limit, &filter).expect("facets");
        let values = facets.values["value"].as_primitive::<Int64Type>();
        let counts = facets.values["count"].as_primitive::<UInt64Type>();
        let listed: Vec<(i64, u64)> = values.values().iter().copied().zip(counts.values().iter().copied()).collect();
        assert_eq!(listed, expected[..limit.min(expected.len())], "{}", case.name);
        let others = rows - listed.iter().map(|(_, count)| count).sum::<u64>();
        let nulls = passing.len() as u64 - rows;
        assert_eq!((facets.distinct, facets.others, facets.nulls), (expected.len() as u64, others, nulls));
    }
}

/// Ids of all rows that a scan with the filter reads, in batches of so many rows.
fn scan(collection: &Collection, case: &Case, batch_rows: u32) -> HashSet<u64> {
    let scan = collection.scan(&["id"]).expect("a column").with_filter(&case.filter.to_string());
    let mut ids = HashSet::new();
    for batch in scan.with_batch_rows(batch_rows) {
        for &id in batch.expect("a batch")["id"].as_primitive::<UInt64Type>().values() {
            assert!(ids.insert(id), "{id} came twice");
        }
    }
    ids
}

/// A scan ends where it is told to, and another goes on from there.
fn check_limits(collection: &Collection, packages: &HashMap<u64, Package>) {
    let ids = |batch: RecordBatch| batch["id"].as_primitive::<UInt64Type>().values().to_vec();
    let mut seen = HashSet::new();
    let mut cursor = Cursor::default();
    loop {
        let mut scan = collection.scan(&["id"]).expect("a column").from_cursor(cursor).with_limit(1_001);
        let some: Vec<u64> = scan.by_ref().flat_map(|batch| ids(batch.expect("a batch"))).collect();
        assert!(some.len() <= 1_001);
        cursor = scan.cursor();
        if some.is_empty() {
            break;
        }
        assert!(some.iter().all(|&id| seen.insert(id)), "a row came twice");
    }
    assert_eq!(seen, packages.keys().copied().collect());
    assert_eq!(collection.scan(&[]).expect("columns").with_limit(0).count(), 0);
    assert_eq!(collection.count("").expect("a count"), packages.len() as u64);
}

fn check(client: &Client, packages: &HashMap<u64, Package>) {
    let collection = client.collection("packages").expect("it is there");
    assert!(collection.wait_indexed(Duration::from_secs(120)).expect("an answer").done);
    for case in cases(packages) {
        let expected: HashSet<u64> =
            packages.iter().filter(|(_, package)| (case.holds)(package)).map(|(&id, _)| id).collect();
        for batch_rows in [0, 777] {
            assert_eq!(scan(&collection, &case, batch_rows), expected, "{}", case.name);
        }
        check_counts(&collection, packages, &case);
        assert_eq!(search(&collection, packages, &case, 200, true), 1.0, "{}: exact", case.name);
        for batch in [1, 200] {
            let recall = search(&collection, packages, &case, batch, false);
            println!("{}, {} rows, batches of {batch}: recall {recall:.4}", case.name, expected.len());
            assert!(recall >= 0.95, "{}, {} rows, batches of {batch}: {recall}", case.name, expected.len());
        }
    }
}

#[test]
fn the_nearest_of_those_that_pass_are_found() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let collection =
        client.create_collection("packages", &packages::schema(), CollectionOptions::default()).expect("a good schema");
    let rows = packages::packages(ROWS);
    for first in (0..ROWS).step_by(2_000) {
        collection.write(&rows.slice(first, 2_000), Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    let mut packages = packages_of(&rows);
    check(&client, &packages);

    // Each third goes, and each row behind it gets the size of another.
    let gone: Vec<u64> = (0..ROWS as u64).filter(|id| id % 3 == 0).collect();
    collection.delete(&Ids::U64(gone.clone()), Ack::Durable).expect("good ids").wait().expect("they are deleted");
    gone.iter().for_each(|id| drop(packages.remove(id)));
    let replaced: Vec<RecordBatch> = (1..ROWS - 1).step_by(3).map(|row| rows.slice(row, 1)).collect();
    let replaced = concat_batches(&rows.schema(), &replaced).expect("rows of one schema");
    let mut columns = replaced.columns().to_vec();
    let turned: Vec<u64> = (0..columns[3].len() as u64).rev().collect();
    columns[3] = arrow::compute::take(&columns[3], &UInt64Array::from(turned), None).expect("places");
    let replaced = RecordBatch::try_new(rows.schema(), columns).expect("as before");
    collection.write(&replaced, Ack::Durable).expect("a good batch").wait().expect("it is written");
    packages.extend(packages_of(&replaced));
    check(&client, &packages);
    check_limits(&collection, &packages);
    server.stop();

    let server = Server::start(directory.path(), 1);
    check(&server.client(), &packages);
    server.stop();
}

/// Most rows pass, and none of those near the query: the graph leads through all that do not.
#[test]
fn what_passes_may_lie_far_away() {
    const DIMENSION: usize = 16;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 2);
    let client = server.client();
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let schema = Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("is_far", DataType::Boolean, false),
        Field::new("vector", DataType::FixedSizeList(item.clone(), DIMENSION as i32), false),
    ]);
    let collection = client.create_collection("two", &schema, CollectionOptions::default()).expect("a good schema");
    let mut random = tests::random::Random::new(11);
    let (near, far) = (6_000, 9_000);
    for first in (0..near + far).step_by(3_000) {
        let ids: Vec<u64> = (first..first + 3_000).collect();
        let is_far: Vec<bool> = ids.iter().map(|&id| id >= near).collect();
        let element = |is_far: bool, place: usize, noise: f32| match place {
            0 if is_far => -1.0,
            0 => 1.0,
            _ => noise * 0.3,
        };
        let elements = is_far.iter().flat_map(|&is_far| (0..DIMENSION).map(move |place| (is_far, place)));
        let elements: Vec<f32> = elements.map(|(is_far, place)| element(is_far, place, random.unit())).collect();
        let vectors =
            FixedSizeListArray::new(item.clone(), DIMENSION as i32, Arc::new(Float32Array::from(elements)), None);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(UInt64Array::from(ids)), Arc::new(BooleanArray::from(is_far)), Arc::new(vectors)];
        let rows = RecordBatch::try_new(Arc::new(schema.clone()), columns).expect("columns of the schema");
        collection.write(&rows, Ack::Durable).expect("a good batch").wait().expect("it is written");
    }
    assert!(collection.wait_indexed(Duration::from_secs(120)).expect("an answer").done);
    let mut query = [0.0f32; DIMENSION];
    query[0] = 1.0;
    let find = |exact: bool| {
        let (queries, filter) = (Queries::F32(&query), &col("is_far").eq(true).to_string());
        let request = SearchRequest { queries, ef: Some(EF), exact, filter, ..Default::default() };
        collection.search(&request).expect("a good request").wait().expect("an answer").hits.remove(0)
    };
    let found: HashSet<u64> = find(false).iter().map(|hit| number(&hit.id)).collect();
    let wanted: HashSet<u64> = find(true).iter().map(|hit| number(&hit.id)).collect();
    assert_eq!(found.len(), K);
    assert!(found.intersection(&wanted).count() >= K - 1, "{found:?} of {wanted:?}");
    server.stop();
}

#[test]
fn bad_filters_are_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), 1);
    let client = server.client();
    let collection =
        client.create_collection("packages", &packages::schema(), CollectionOptions::default()).expect("a good schema");
    collection.write(&packages::packages(100), Ack::Durable).expect("a good batch").wait().expect("it is written");
    let query = packages::bytes_of(&packages::truth().queries[0]);
    let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(1_000), "}".repeat(1_000));
    for (filter, status, words) in [
        ("{", Status::InvalidFilter, "JSON"),
        (r#"{"column": "name", "~": 1}"#, Status::InvalidFilter, "name: ~"),
        (r#"{"column": "name", "=": 1}"#, Status::InvalidFilter, "takes text"),
        (r#"{"column": "installed_kib", "contains": "x"}"#, Status::InvalidFilter, "columns of text"),
        (r#"{"column": "embedding", "=": 1}"#, Status::InvalidFilter, "embedding"),
        (r#"{"column": "size", "=": 1}"#, Status::UnknownColumn, "size"),
        (&deep, Status::LimitExceeded, "depth"),
    ] {
        let request = SearchRequest { queries: Queries::Bytes(&query), filter, ..Default::default() };
        let searched = collection.search(&request).expect("the server judges").wait().expect_err(words);
        let scanned = collection.scan(&[]).expect("columns").with_filter(filter).next().expect("an answer");
        let counted = collection.count(filter).expect_err(words);
        let faceted = collection.facets("name", 5, filter).expect_err(words);
        for error in [searched, scanned.expect_err(words), counted, faceted] {
            assert_eq!(error.status(), Some(status), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
    for (column, limit, status) in [("embedding", 5, Status::InvalidFilter), ("name", 10_001, Status::LimitExceeded)] {
        let error = collection.facets(column, limit, "").expect_err(column);
        assert_eq!(error.status(), Some(status), "{error}");
    }
    let long = format!(r#"{{"column": "name", "=": "{}"}}"#, "x".repeat(1 << 20));
    let request = SearchRequest { queries: Queries::Bytes(&query), filter: &long, ..Default::default() };
    assert!(collection.search(&request).is_err(), "it does not even leave");
    server.stop();
}
