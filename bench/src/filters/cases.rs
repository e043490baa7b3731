//! The filters that are measured, and what they should find.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::graph::{K, Vectors, exact};

/// Added to the distance of the last exact result: two ways to compute one distance differ by less.
const TOLERANCE: f32 = 1e-6;
const COLUMNS: [&str; 4] = ["id", "section", "maintainer", "installed_kib"];

/// Packages, or queries, which are packages that are not among them.
pub struct Packages {
    pub vectors: Vectors,
    /// What filters ask for; the id comes first.
    pub columns: RecordBatch,
}

impl Packages {
    /// The first so many of a file.
    ///
    /// # Panics
    /// When it is not there or has other columns.
    pub fn read(path: &Path, rows_max: usize) -> Packages {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        let reader = builder.with_projection(mask).build().expect("a readable Parquet file");
        let batches: Vec<RecordBatch> = reader.map(|batch| batch.expect("a readable batch")).collect();
        let all = concat_batches(&batches[0].schema(), &batches).expect("batches of one schema");
        let places = COLUMNS.map(|name| all.schema().index_of(name).expect("a column of packages"));
        let columns = all.project(&places).expect("columns that are there");
        let vectors = Vectors::read(path, rows_max);
        let columns = columns.slice(0, vectors.len());
        Packages { vectors, columns }
    }

    fn sections(&self) -> Vec<&str> {
        let sections = self.columns["section"].as_string::<i32>();
        (0..sections.len()).map(|row| sections.value(row)).collect()
    }
}

/// A filter for each query: a row passes if its number is that of the query.
pub struct Case {
    pub name: String,
    /// Of the rows, on average over the queries.
    pub share: f64,
    pub rows: Vec<i32>,
    pub wanted: Vec<i32>,
    filters: HashMap<i32, String>,
    /// Per query: the negated inner product of the last row that is to be found.
    pub bars: Vec<f32>,
    /// Results that there are to find, of all queries.
    pub wanted_hits: usize,
}

impl Case {
    fn new(
        name: &str,
        packages: &Packages,
        asked: &Packages,
        rows: Vec<i32>,
        wanted: Vec<i32>,
        filter: impl Fn(i32) -> Value,
    ) -> Case {
        let filters: HashMap<i32, String> = wanted.iter().map(|&number| (number, filter(number).to_string())).collect();
        let (mut bars, mut wanted_hits, mut passing) = (vec![0.0; wanted.len()], 0, 0);
        let dimension = packages.vectors.dimension();
        for &number in filters.keys() {
            let pick = |vectors: &Vectors, numbers: &[i32]| {
                let each = vectors.iter().zip(numbers).filter(|(_, of)| **of == number);
                Vectors::new(each.flat_map(|(vector, _)| vector.iter().copied()).collect(), dimension)
            };
            let (rows, queries) = (pick(&packages.vectors, &rows), pick(&asked.vectors, &wanted));
            passing += rows.len() * queries.len();
            wanted_hits += K.min(rows.len()) * queries.len();
            let places = (0..wanted.len()).filter(|&query| wanted[query] == number);
            if rows.is_empty() {
                continue;
            }
            for (query, nearest) in places.zip(exact::nearest(&rows, &queries, K)) {
                bars[query] = nearest.last().expect("there are rows").0 + TOLERANCE;
            }
        }
        let share = passing as f64 / (wanted.len() * rows.len()) as f64;
        Case { name: name.to_owned(), share, rows, wanted, filters, bars, wanted_hits }
    }

    /// The filter of a query.
    pub fn filter(&self, query: usize) -> &str {
        &self.filters[&self.wanted[query]]
    }
}

/// What is measured.
pub fn all(packages: &Packages, asked: &Packages) -> Vec<Case> {
    let mut cases = Vec::new();
    let kib = packages.columns["installed_kib"].as_primitive::<Int64Type>();
    let mut sizes: Vec<i64> = kib.iter().flatten().collect();
    sizes.sort_unstable();
    for share in [0.9, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001] {
        let least = sizes[(sizes.len() as f64 * (1.0 - share)) as usize];
        let rows = kib.iter().map(|kib| i32::from(kib.is_some_and(|kib| kib >= least))).collect();
        let name = format!("the largest {} %", share * 100.0);
        let filter = |_| json!({"column": "installed_kib", ">=": least});
        cases.push(Case::new(&name, packages, asked, rows, vec![1; asked.vectors.len()], filter));
    }
    let sections = packages.sections();
    let mut numbers: HashMap<&str, i32> = HashMap::new();
    for section in sections.iter().copied().chain(asked.sections()) {
        let next = numbers.len() as i32;
        numbers.entry(section).or_insert(next);
    }
    let names: HashMap<i32, &str> = numbers.iter().map(|(&name, &number)| (number, name)).collect();
    let of = |sections: &[&str]| sections.iter().map(|section| numbers[section]).collect::<Vec<i32>>();
    let filter = |number: i32| json!({"column": "section", "=": names[&number]});
    cases.push(Case::new("section of the query", packages, asked, of(&sections), of(&asked.sections()), filter));
    // The three largest sections, or not, in one number: of each query the ones that it is not of.
    let is_library = |section: &&str| i32::from(section.starts_with("lib"));
    let rows: Vec<i32> = sections.iter().map(is_library).collect();
    let wanted: Vec<i32> = asked.sections().iter().map(|section| 1 - is_library(section)).collect();
    let filter = |number: i32| {
        let is_library = json!({"column": "section", "prefix": "lib"});
        if number == 1 { is_library } else { json!({"not": is_library}) }
    };
    cases.push(Case::new("libraries, where the query is none, and the others", packages, asked, rows, wanted, filter));
    let perl = packages.columns["maintainer"].as_string::<i32>();
    let rows =
        (0..perl.len()).map(|row| i32::from(perl.is_valid(row) && perl.value(row) == "Debian Perl Group")).collect();
    let filter = |_| json!({"column": "maintainer", "=": "Debian Perl Group"});
    cases.push(Case::new("one maintainer", packages, asked, rows, vec![1; asked.vectors.len()], filter));
    cases
}
