//! Random filters over random rows of every type, against a plain reading of the same JSON.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde_json::{Value, json};

use super::*;
use crate::analyser::ANALYSER_KEY;
use crate::batch::samples::Random;
use crate::error::Error;
use crate::schema::Schema;

const ROWS: usize = 200;

/// A value of a row.
#[derive(Clone, Debug)]
enum Cell {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
}

fn schema() -> Schema {
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, None);
    let types = [
        ("bool", DataType::Boolean),
        ("i8", DataType::Int8),
        ("i16", DataType::Int16),
        ("i32", DataType::Int32),
        ("i64", DataType::Int64),
        ("u8", DataType::UInt8),
        ("u16", DataType::UInt16),
        ("u32", DataType::UInt32),
        ("u64", DataType::UInt64),
        ("f32", DataType::Float32),
        ("f64", DataType::Float64),
        ("date", DataType::Date32),
        ("time", timestamp),
        ("text", DataType::Utf8),
    ];
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let mut fields =
        vec![Field::new("id", DataType::UInt64, false), Field::new("vector", DataType::FixedSizeList(item, 4), false)];
    for (name, data_type) in types {
        fields.push(Field::new(name, data_type.clone(), false));
        fields.push(Field::new(format!("{name}?"), data_type, true));
    }
    for (name, analyser) in [("english", "english"), ("marked", r#"{"fold": false}"#)] {
        let analyser = [(ANALYSER_KEY.to_owned(), analyser.to_owned())];
        fields.push(Field::new(name, DataType::Utf8, true).with_metadata(analyser));
    }
    Schema::from_arrow(&arrow::datatypes::Schema::new(fields)).unwrap()
}

/// Rows of one chunk, as the filter reads them, and as cells.
struct Table {
    cells: Vec<Vec<Cell>>,
    bytes: Vec<Vec<u8>>,
}

impl ChunkColumns for Table {
    fn fixed(&self, column: usize) -> &[u8] {
        &self.bytes[column]
    }

    fn text(&self, column: usize, row: usize) -> &[u8] {
        match &self.cells[column][row] {
            Cell::Text(text) => text.as_bytes(),
            Cell::Null => b"",
            other => panic!("{other:?} is no text"),
        }
    }

    fn nulls(&self, column: usize, word: usize) -> u64 {
        let of_word = self.cells[column].iter().skip(word * 64).take(64).enumerate();
        of_word.fold(0, |bits, (row, cell)| bits | u64::from(matches!(cell, Cell::Null)) << row)
    }
}

/// Few different values, so that filters meet them, and the ends of each type.
fn random_int(least: i128, greatest: i128, random: &mut Random) -> i128 {
    match random.below(8) {
        0 => least,
        1 => greatest,
        _ => (random.below(9) as i128 - 4).clamp(least, greatest),
    }
}

fn random_float(random: &mut Random) -> f64 {
    [0.0, -0.0, 0.5, -2.5, 3.0, 1e20, f64::from(0.1f32), 4.0][random.below(8) as usize]
}

fn random_text(random: &mut Random) -> String {
    let texts = [
        "",
        "a",
        "ab",
        "abc",
        "b",
        "é",
        "éa",
        "\u{10ffff}",
        "b a",
        "Ab É a",
        "The Straße runs",
        "STRASSE, Running",
        "e-STRAßE",
    ];
    texts[random.below(texts.len() as u64) as usize].to_owned()
}

fn int_range(data_type: &DataType) -> Option<(i128, i128)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 | DataType::Date32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 | DataType::Timestamp(..) => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

impl Table {
    fn random(schema: &Schema, random: &mut Random) -> Table {
        let (mut cells, mut bytes) = (Vec::new(), Vec::new());
        for (field, column) in schema.arrow().fields().iter().zip(schema.columns()) {
            let mut values = Vec::new();
            let mut raw = Vec::new();
            for _ in 0..ROWS {
                let cell = match (field.data_type(), int_range(field.data_type())) {
                    _ if column.nullable && random.below(4) == 0 => Cell::Null,
                    (DataType::Boolean, _) => Cell::Bool(random.below(2) == 1),
                    (DataType::Utf8, _) => Cell::Text(random_text(random)),
                    (DataType::Float32, _) => Cell::Float(f64::from(random_float(random) as f32)),
                    (DataType::Float64, _) if random.below(9) == 0 => Cell::Float(f64::NAN),
                    (DataType::Float64, _) => Cell::Float(random_float(random)),
                    (_, Some((least, greatest))) => Cell::Int(random_int(least, greatest, random)),
                    _ => Cell::Int(0), // a vector, which nothing reads
                };
                let width = column.layout.row_bytes().unwrap_or(1);
                match (&cell, field.data_type()) {
                    (Cell::Int(value), _) => raw.extend_from_slice(&value.to_le_bytes()[..width.min(16)]),
                    (Cell::Float(value), DataType::Float32) => raw.extend_from_slice(&(*value as f32).to_le_bytes()),
                    (Cell::Float(value), _) => raw.extend_from_slice(&value.to_le_bytes()),
                    (Cell::Bool(value), _) => raw.push(u8::from(*value)),
                    (Cell::Null | Cell::Text(_), _) => raw.extend(std::iter::repeat_n(0x80, width)),
                }
                values.push(cell);
            }
            cells.push(values);
            bytes.push(raw);
        }
        Table { cells, bytes }
    }
}

fn order_of_number(cell: &Cell, operand: &Value) -> Option<Ordering> {
    let whole = operand.as_i64().map(i128::from).or(operand.as_u64().map(i128::from));
    let of_int_and_float = |int: i128, float: f64| {
        let floor = float.floor();
        match floor.abs() > 1e30 {
            true => 0.0.partial_cmp(&float).unwrap(),
            false => int.cmp(&(floor as i128)).then(if float > floor { Ordering::Less } else { Ordering::Equal }),
        }
    };
    match (cell, whole, operand.as_f64()) {
        (Cell::Int(value), Some(operand), _) => Some(value.cmp(&operand)),
        (Cell::Int(value), None, Some(operand)) => Some(of_int_and_float(*value, operand)),
        (Cell::Float(value), _, _) if value.is_nan() => None,
        (Cell::Float(value), Some(operand), _) => Some(of_int_and_float(operand, *value).reverse()),
        (Cell::Float(value), None, Some(operand)) => value.partial_cmp(&operand),
        _ => panic!("{cell:?} beside {operand}"),
    }
}

/// How a cell compares with an operand; None for NaN.
fn order(cell: &Cell, operand: &Value) -> Option<Ordering> {
    match cell {
        Cell::Bool(value) => Some(value.cmp(&operand.as_bool().unwrap())),
        Cell::Text(value) => Some(value.chars().cmp(operand.as_str().unwrap().chars())),
        _ => order_of_number(cell, operand),
    }
}

/// What the words of the random texts are to a column.
fn words(text: &str, column: &str) -> Vec<String> {
    let folded = |word: &str| word.replace('é', "e").replace('ß', "ss");
    let word = |word: &str| match (column, word) {
        ("marked", word) => Some(word.to_owned()),
        ("english", "a" | "the") => None,
        ("english", "runs" | "running") => Some("run".to_owned()),
        ("english", "strasse") => Some("strass".to_owned()),
        (_, word) => Some(folded(word)),
    };
    let lower = text.to_lowercase();
    lower.split([' ', ',', '-']).filter(|word| !word.is_empty()).filter_map(word).collect()
}

fn condition(cell: &Cell, column: &str, operator: &str, operand: &Value) -> bool {
    if operator == "is_null" {
        return matches!(cell, Cell::Null) == operand.as_bool().unwrap();
    }
    if matches!(cell, Cell::Null) {
        return false;
    }
    let is = |wanted: fn(Ordering) -> bool, operand: &Value| order(cell, operand).is_some_and(wanted);
    match operator {
        "=" => is(Ordering::is_eq, operand),
        "!=" => !is(Ordering::is_eq, operand),
        "<" => is(Ordering::is_lt, operand),
        "<=" => is(Ordering::is_le, operand),
        ">" => is(Ordering::is_gt, operand),
        ">=" => is(Ordering::is_ge, operand),
        "in" => operand.as_array().unwrap().iter().any(|operand| is(Ordering::is_eq, operand)),
        "between" => is(Ordering::is_ge, &operand[0]) && is(Ordering::is_le, &operand[1]),
        "contains" => {
            let Cell::Text(text) = cell else { panic!("{cell:?} has no words") };
            let wanted: Vec<&str> = match operand {
                Value::String(one) => vec![one],
                several => several.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect(),
            };
            let found = words(text, column);
            wanted.iter().flat_map(|text| words(text, column)).all(|word| found.contains(&word))
        }
        "prefix" => matches!(cell, Cell::Text(text) if text.starts_with(operand.as_str().unwrap())),
        _ => panic!("{operator}"),
    }
}

fn holds(filter: &Value, schema: &Schema, table: &Table, row: usize) -> bool {
    let all = |name: &str| filter[name].as_array().unwrap().iter();
    let object = filter.as_object().unwrap();
    if object.contains_key("and") {
        return all("and").all(|filter| holds(filter, schema, table, row));
    }
    if object.contains_key("or") {
        return all("or").any(|filter| holds(filter, schema, table, row));
    }
    if object.contains_key("not") {
        return !holds(&filter["not"], schema, table, row);
    }
    let name = filter["column"].as_str().unwrap();
    let cell = &table.cells[schema.column_index(name).unwrap()][row];
    let mut conditions = object.iter().filter(|(key, _)| *key != "column");
    conditions.all(|(operator, operand)| condition(cell, name, operator, operand))
}

fn random_operand(data_type: &DataType, random: &mut Random) -> Value {
    match data_type {
        DataType::Boolean => json!(random.below(2) == 1),
        DataType::Utf8 => json!(random_text(random)),
        _ if random.below(3) == 0 => json!(random_float(random) + [0.0, 0.25, -1e19][random.below(3) as usize]),
        _ => {
            let ends = [i64::MIN as i128, i64::MAX as i128, u64::MAX as i128, -128, 127, 255, 1 << 31];
            match random.below(4) {
                0 => match ends[random.below(7) as usize] {
                    end if end > i64::MAX as i128 => json!(end as u64),
                    end => json!(end as i64),
                },
                _ => json!(random.below(9) as i64 - 4),
            }
        }
    }
}

fn random_filter(schema: &Schema, random: &mut Random, depth: u64) -> Value {
    if depth > 0 && random.below(3) > 0 {
        let count = random.below(4);
        let mut some = || (0..count).map(|_| random_filter(schema, random, depth - 1)).collect::<Vec<_>>();
        return match count {
            0 => json!({"not": random_filter(schema, random, depth - 1)}),
            1 | 2 => json!({"and": some()}),
            _ => json!({"or": some()}),
        };
    }
    let column = 2 + random.below(schema.columns().len() as u64 - 2) as usize;
    let field = schema.arrow().field(column).clone();
    let mut operand = || random_operand(field.data_type(), random);
    let (one, two, three) = (operand(), operand(), operand());
    let mut operators =
        vec![("=", one.clone()), ("!=", one.clone()), ("in", json!([one, two, three])), ("in", json!([]))];
    operators.push(("is_null", json!(random.below(2) == 0)));
    if *field.data_type() != DataType::Boolean {
        operators.extend([("<", one.clone()), ("<=", one.clone()), (">", one.clone()), (">=", one.clone())]);
        operators.push(("between", json!([one, two])));
    }
    if *field.data_type() == DataType::Utf8 {
        operators.push(("prefix", one.clone()));
        // What is no word is nothing that a text could have.
        let word = |value: &Value| json!(value.as_str().unwrap().replace('\u{10ffff}', ""));
        operators.push(("contains", word(&one)));
        operators.push(("contains", json!([word(&two), word(&three)])));
    }
    let mut filter = json!({"column": field.name()});
    for _ in 0..1 + random.below(2) {
        let (operator, operand) = &operators[random.below(operators.len() as u64) as usize];
        filter[*operator] = operand.clone();
    }
    filter
}

#[test]
fn random_filters_choose_what_a_plain_reading_does() {
    let schema = schema();
    let mut chosen = 0;
    for seed in 0..60 {
        let mut random = Random(seed);
        let table = Table::random(&schema, &mut random);
        for _ in 0..60 {
            let json = random_filter(&schema, &mut random, 3);
            let filter =
                Filter::parse(json.to_string().as_bytes(), &schema).unwrap_or_else(|error| panic!("{json}: {error}"));
            let mut rows = Mask::EMPTY;
            (0..ROWS).filter(|_| random.below(5) > 0).for_each(|row| rows.insert(row));
            let selected = filter.select(&table, &rows);
            for row in 0..ROWS {
                let expected = holds(&json, &schema, &table, row);
                let cells = || table.cells.iter().map(|cells| &cells[row]).collect::<Vec<_>>();
                let wanted = expected && rows.contains(row);
                assert_eq!(selected.contains(row), wanted, "seed {seed}, row {row}: {json}\n{:?}", cells());
                assert_eq!(filter.accepts(&table, row), expected, "seed {seed}, row {row}: {json}\n{:?}", cells());
                chosen += usize::from(wanted);
            }
        }
    }
    assert!(chosen > 60 * 60 * ROWS / 8, "{chosen} rows were chosen: the filters are too narrow to tell anything");
}

#[test]
fn masks_are_ranges_and_give_their_rows() {
    for rows in [0..0, 0..1, 5..64, 63..65, 64..128, 100..MASK_ROWS, 0..MASK_ROWS, 4_095..MASK_ROWS] {
        let mask = Mask::of(rows.clone());
        assert!(mask.rows().eq(rows.clone()), "{rows:?}");
        assert!((0..MASK_ROWS).all(|row| mask.contains(row) == rows.contains(&row)), "{rows:?}");
    }
}

#[test]
fn moments_are_given_as_text() {
    let schema = schema();
    let mut table = Table::random(&schema, &mut Random(1));
    let (date, time) = (schema.column_index("date").unwrap(), schema.column_index("time").unwrap());
    let leap_day = 19_782i32;
    table.bytes[date] = (0..ROWS as i32).flat_map(|row| (leap_day - 1 + row).to_le_bytes()).collect();
    table.bytes[time] =
        (0..ROWS as i64).flat_map(|row| (i64::from(leap_day) * 86_400_000 + row).to_le_bytes()).collect();
    let accepted = |json: Value| {
        let filter = Filter::parse(json.to_string().as_bytes(), &schema).unwrap();
        (0..ROWS).filter(|&row| filter.accepts(&table, row)).collect::<Vec<_>>()
    };
    assert_eq!(accepted(json!({"column": "date", "=": "2024-02-29"})), [1]);
    assert_eq!(accepted(json!({"column": "date", "<=": "2024-02-29"})), [0, 1]);
    assert_eq!(accepted(json!({"column": "time", "<": "2024-02-29T00:00:00.002Z"})), [0, 1]);
    assert_eq!(
        accepted(
            json!({"column": "time", "between": ["2024-02-29T01:00:00.005+01:00", i64::from(leap_day) * 86_400_000 + 7]})
        ),
        [5, 6, 7]
    );
}

#[test]
fn what_is_no_filter_is_refused_with_its_place() {
    let schema = schema();
    let refused = |json: &str| Filter::parse(json.as_bytes(), &schema).expect_err(json).to_string();
    for (json, expected) in [
        ("", "invalid filter, at `filter`: this is not JSON"),
        ("{\"column\": \"i8\"", "invalid filter, at `filter`: this is not JSON"),
        ("[]", "invalid filter, at `filter`: a filter is an object"),
        ("{}", "invalid filter, at `filter`: it has none of `and`, `or`, `not`, `column`"),
        (r#"{"and": {}}"#, "invalid filter, at `and`: it takes a list of filters"),
        (r#"{"or": [], "not": {}}"#, "invalid filter, at `or`: nothing else may stand beside it"),
        (r#"{"not": []}"#, "invalid filter, at `filter`: a filter is an object"),
        (r#"{"column": "i8"}"#, "invalid filter, at `i8`: it has no operator"),
        (r#"{"column": "i8", "~": 1}"#, "invalid filter, at `i8: ~`: no such operator"),
        (r#"{"column": "nothing", "=": 1}"#, "unknown column `nothing`"),
        (r#"{"column": "vector", "=": 1}"#, "invalid filter, at `vector`: a vector is searched for, not compared"),
        (r#"{"column": "i8", "=": "1"}"#, "invalid filter, at `i8`: the column takes a number"),
        (r#"{"column": "i8", "=": null}"#, "invalid filter, at `i8`: the column takes a number"),
        (r#"{"column": "text", "<": 1}"#, "invalid filter, at `text`: the column takes text"),
        (r#"{"column": "bool", "<": true}"#, "invalid filter, at `bool`: true and false have no order"),
        (r#"{"column": "bool", "=": 1}"#, "invalid filter, at `bool`: the column takes true or false"),
        (r#"{"column": "i8", "prefix": "a"}"#, "invalid filter, at `i8`: `prefix` is for columns of text"),
        (
            r#"{"column": "i8", "contains": "a"}"#,
            "invalid filter, at `i8`: `contains` is for columns of text and of lists",
        ),
        (
            r#"{"column": "text", "contains": [1]}"#,
            "invalid filter, at `text`: `contains` takes text, or a list of texts",
        ),
        (r#"{"column": "i8", "in": 1}"#, "invalid filter, at `i8`: `in` takes a list of values"),
        (r#"{"column": "i8", "between": [1]}"#, "invalid filter, at `i8`: `between` takes a list of two values"),
        (r#"{"column": "i8", "is_null": 0}"#, "invalid filter, at `i8`: `is_null` takes true or false"),
        (r#"{"column": "date", "=": "yesterday"}"#, "invalid filter, at `date`: this is no date (2024-02-29)"),
        (
            r#"{"column": "time", "=": "2024-02-30T00:00:00Z"}"#,
            "invalid filter, at `time`: this is no moment (2024-02-29T12:30:00Z)",
        ),
    ] {
        assert_eq!(refused(json), expected, "{json}");
    }
}

#[test]
fn what_is_too_long_or_too_deep_is_refused_before_it_is_read() {
    let schema = schema();
    let nested =
        |depth: usize| format!("{}{}{}", "{\"not\":".repeat(depth), r#"{"column":"i8","=":1}"#, "}".repeat(depth));
    assert!(Filter::parse(nested(31).as_bytes(), &schema).is_ok());
    for depth in [32, 1_000, 30_000] {
        let refused = Filter::parse(nested(depth).as_bytes(), &schema);
        assert!(matches!(refused, Err(Error::LimitExceeded { what: "depth of the filter", .. })), "{depth}");
    }
    let long = vec![b' '; 1 << 20];
    let refused = Filter::parse(&long, &schema);
    assert!(matches!(refused, Err(Error::LimitExceeded { what: "size of the filter in bytes", .. })));
    // Brackets in texts are text.
    let text = format!(r#"{{"column":"text","=":"\"{}"}}"#, "[".repeat(100));
    assert!(Filter::parse(text.as_bytes(), &schema).is_ok());
    let many: Vec<u64> = (0..10_000).collect();
    let filter = Filter::parse(json!({"column": "u64", "in": many}).to_string().as_bytes(), &schema).unwrap();
    let table = Table::random(&schema, &mut Random(2));
    let column = schema.column_index("u64").unwrap();
    for row in 0..ROWS {
        let Cell::Int(value) = table.cells[column][row] else { panic!("an integer") };
        assert_eq!(filter.accepts(&table, row), value < 10_000);
    }
}

/// Whole chunks, with zones: what they spare a look at is what a look at each row gives.
#[test]
fn zones_say_what_a_look_at_each_row_does() {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let mut fields =
        vec![Field::new("id", DataType::UInt64, false), Field::new("v", DataType::FixedSizeList(item, 4), false)];
    for data_type in [DataType::Int8, DataType::UInt64, DataType::Int64, DataType::Float32, DataType::Float64] {
        fields.push(Field::new(format!("{data_type}"), data_type.clone(), false));
        fields.push(Field::new(format!("{data_type}?"), data_type, true));
    }
    let schema = Schema::from_arrow(&arrow::datatypes::Schema::new(fields)).unwrap();
    let (mut zones, mut spared) = (Zones::default(), 0);
    for seed in 0..40 {
        let mut random = Random(seed);
        // Values that lie close together, so that conditions pass all of them, or none.
        let (around, spread) = (random.below(9) as i64 - 4, 1 + random.below(3));
        let nulls = [0, 4, 1][random.below(3) as usize];
        let nan_one_in = [u64::MAX, 900][random.below(2) as usize];
        let mut table = Table { cells: vec![Vec::new(); 2], bytes: vec![Vec::new(); 2] };
        for (field, column) in schema.arrow().fields().iter().zip(schema.columns()).skip(2) {
            let cell = |random: &mut Random| match field.data_type() {
                _ if column.nullable && nulls > 0 && random.below(nulls) == 0 => Cell::Null,
                DataType::Float32 | DataType::Float64 if random.below(nan_one_in) == 0 => Cell::Float(f64::NAN),
                DataType::Float32 | DataType::Float64 => Cell::Float(around as f64 + random.below(spread) as f64 / 2.0),
                DataType::UInt64 => Cell::Int((around + 4) as i128 + random.below(spread) as i128),
                _ => Cell::Int(around as i128 + random.below(spread) as i128),
            };
            let cells: Vec<Cell> = (0..MASK_ROWS).map(|_| cell(&mut random)).collect();
            let bytes = cells.iter().flat_map(|cell| match (cell, field.data_type()) {
                (Cell::Float(value), DataType::Float32) => (*value as f32).to_le_bytes().to_vec(),
                (Cell::Float(value), _) => value.to_le_bytes().to_vec(),
                (Cell::Int(value), _) => value.to_le_bytes()[..column.layout.row_bytes().unwrap()].to_vec(),
                _ => vec![0x55; column.layout.row_bytes().unwrap()],
            });
            table.bytes.push(bytes.collect());
            table.cells.push(cells);
        }
        for _ in 0..100 {
            let json = random_filter(&schema, &mut random, 0);
            let filter = Filter::parse(json.to_string().as_bytes(), &schema).unwrap();
            let rows = Mask::of(0..MASK_ROWS);
            for condition in filter.conditions() {
                let zone = zones.get(1, condition, (0, seed as usize, 7), &table);
                let selected = condition.select(&table, &rows, zone);
                assert_eq!(selected, condition.select(&table, &rows, None), "seed {seed}: {json}");
                spared += usize::from(zone.is_some_and(|zone| condition.test.verdict(zone) != Verdict::Mixed));
            }
        }
    }
    assert!(spared > 1_000, "{spared} conditions needed no look at each row");
    zones.remove(1);
    assert_eq!(zones.bytes(), 0);
}
