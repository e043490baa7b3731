//! What goes to standard output: aligned tables for people, one JSON object a line for programs.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use engine::schema::TYPE_KEY;
use serde_json::Value;

use crate::sources::widened_bf16;

/// Characters of one cell of a table for people.
const CELL_CHARACTERS_MAX: usize = 72;

/// Writes one line to standard output. A reader that has gone (`| head`) ends the program quietly.
pub fn line(text: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        std::process::exit(if error.kind() == std::io::ErrorKind::BrokenPipe { 0 } else { 1 });
    }
}

/// A table whose columns are as wide as their widest cell; numbers stand to the right.
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Table {
        Table { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row, cut to a readable width.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| shorten(&cell.into())).collect();
        assert_eq!(cells.len(), self.header.len(), "a row has a cell for every column");
        self.rows.push(cells);
    }

    /// Writes the table to standard output.
    pub fn print(&self) {
        for text in self.lines() {
            line(text);
        }
    }

    fn lines(&self) -> Vec<String> {
        let all = || std::iter::once(&self.header).chain(&self.rows);
        let columns = self.header.len();
        let widths: Vec<usize> =
            (0..columns).map(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
        let right: Vec<bool> = (0..columns)
            .map(|column| !self.rows.is_empty() && self.rows.iter().all(|row| is_number(&row[column])))
            .collect();
        all()
            .map(|row| {
                let cells = row.iter().enumerate().map(|(column, cell)| {
                    let padding = " ".repeat(widths[column] - cell.chars().count());
                    if right[column] { format!("{padding}{cell}") } else { format!("{cell}{padding}") }
                });
                cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
            })
            .collect()
    }
}

fn is_number(cell: &str) -> bool {
    !cell.is_empty()
        && cell.chars().all(|character| character.is_ascii_digit() || matches!(character, '.' | ',' | '-' | '%' | '+'))
}

fn shorten(cell: &str) -> String {
    let flat: String = cell.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if flat.chars().count() <= CELL_CHARACTERS_MAX {
        return flat;
    }
    let mut short: String = flat.chars().take(CELL_CHARACTERS_MAX - 1).collect();
    short.push('…');
    short
}

/// A count with thousands set apart: `62,436`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate with thousands set apart and no more digits than it has meaning: `81,234`, `3.2`.
pub fn rate(value: f64) -> String {
    if value >= 100.0 { grouped(value.round() as u64) } else { format!("{value:.1}") }
}

/// One value of a column as JSON: as [`json_cell`], and JSON where the column holds that.
pub fn json_value(field: &Field, array: &ArrayRef, row: usize) -> Value {
    let is_json = field.metadata().get(TYPE_KEY).is_some_and(|name| name == "json");
    match json_cell(array, row) {
        Value::String(text) if is_json => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        value => value,
    }
}

/// One value as JSON. Timestamps and dates are text as ISO 8601 has it; NaN and infinity are null.
pub fn json_cell(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Utf8 => Value::String(array.as_string::<i32>().value(row).to_owned()),
        DataType::Float32 => Value::from(shortest(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float16 => {
            let wide = cast(&array.slice(row, 1), &DataType::Float32).expect("f16 widens to f32");
            Value::from(shortest(wide.as_primitive::<Float32Type>().value(0)))
        }
        DataType::Float64 => Value::from(array.as_primitive::<Float64Type>().value(row)),
        DataType::UInt64 => Value::from(array.as_primitive::<UInt64Type>().value(row)),
        integer if integer.is_integer() => {
            let wide = cast(&array.slice(row, 1), &DataType::Int64).expect("every integer but u64 widens to i64");
            Value::from(wide.as_primitive::<Int64Type>().value(0))
        }
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            Value::Array((0..values.len()).map(|index| json_cell(&values, index)).collect())
        }
        DataType::FixedSizeList(..) => {
            let values = array.as_fixed_size_list().value(row);
            // Among vectors u16 are the bits of bf16, and no other lists are stored.
            let is_bf16 = *values.data_type() == DataType::UInt16;
            let values = if is_bf16 { widened_bf16(&values) } else { values };
            Value::Array((0..values.len()).map(|index| json_cell(&values, index)).collect())
        }
        _ => match ArrayFormatter::try_new(array, &FormatOptions::default()) {
            Ok(formatter) => Value::String(formatter.value(row).to_string()),
            Err(_) => Value::Null,
        },
    }
}

/// An f32 as the f64 whose shortest decimal form is that of the f32: 0.1, not 0.10000000149011612.
pub fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// One value as a cell of a table.
pub fn text_cell(array: &ArrayRef, row: usize) -> String {
    match json_cell(array, row) {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{
        FixedSizeListArray, Float32Array, Int16Array, StringArray, TimestampSecondArray, UInt16Array, UInt64Array,
    };

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(["id", "name", "rows"]);
        table.row(["7", "ä", "1,000"]);
        table.row(["12", "longer name", "5"]);
        assert_eq!(table.lines(), ["id  name          rows", " 7  ä            1,000", "12  longer name      5"]);
        table.row(["1", &"x".repeat(200), "1"]);
        assert!(table.lines()[3].contains("x…"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([3.21, 99.94, 81_234.4].map(rate), ["3.2", "99.9", "81,234"]);
    }

    #[test]
    fn cells_of_every_kind() {
        let cell = |array: ArrayRef| json_cell(&array, 0).to_string();
        assert_eq!(cell(Arc::new(Float32Array::from(vec![0.1]))), "0.1");
        assert_eq!(cell(Arc::new(Float32Array::from(vec![f32::NAN]))), "null");
        assert_eq!(cell(Arc::new(UInt64Array::from(vec![u64::MAX]))), "18446744073709551615");
        assert_eq!(cell(Arc::new(Int16Array::from(vec![-3]))), "-3");
        assert_eq!(cell(Arc::new(StringArray::from(vec!["a\"b"]))), "\"a\\\"b\"");
        assert_eq!(cell(Arc::new(StringArray::from(vec![None::<&str>]))), "null");
        let json: ArrayRef = Arc::new(StringArray::from(vec![Some(r#"{"a":[1,null]}"#), None]));
        let field = |metadata: &[(&str, &str)]| {
            let metadata = metadata.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            Field::new("more", DataType::Utf8, true)
                .with_metadata(metadata.collect::<std::collections::HashMap<_, _>>())
        };
        assert_eq!(json_value(&field(&[(TYPE_KEY, "json")]), &json, 0).to_string(), r#"{"a":[1,null]}"#);
        assert_eq!(json_value(&field(&[(TYPE_KEY, "json")]), &json, 1), Value::Null);
        assert!(json_value(&field(&[]), &json, 0).is_string());
        let item = Arc::new(Field::new("item", DataType::UInt16, false));
        let bf16 = Arc::new(UInt16Array::from(vec![0x3fc0, 0xc000]));
        assert_eq!(cell(Arc::new(FixedSizeListArray::new(item, 2, bf16, None))), "[1.5,-2.0]");
        assert_eq!(cell(Arc::new(TimestampSecondArray::from(vec![0]))), "\"1970-01-01T00:00:00\"");
    }
}
