//! JSON lines: one object a line. The columns are inferred from the first lines; keys that come later are left out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use simd_json::Buffers;
use simd_json::prelude::*;
use simd_json::value::tape::{Object, Tape};

use super::json_columns::{Column, Kind};
use super::mapping::{Columns, Mapping};
use super::{Position, Rows, Source, SourceOptions};
use crate::error::{Error, FileProblem, Place, Result, RowProblem};

/// Lines that the columns are inferred from.
const INFER_LINES: usize = 1_000;
/// Bytes that a line may have.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Opens a file of JSON lines for import.
pub fn open(path: &Path, options: &SourceOptions) -> Result<Source> {
    let mut lines = Lines::open(path)?;
    let mut columns: Vec<(String, Kind)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..INFER_LINES {
        let more = lines.next(|object| {
            for (key, value) in object.iter() {
                let place = *places.entry(key.to_owned()).or_insert_with(|| {
                    columns.push((key.to_owned(), Kind::Null));
                    columns.len() - 1
                });
                columns[place].1 = columns[place].1.join(Kind::of(&value));
            }
            Ok(())
        })?;
        if !more {
            break;
        }
    }
    if lines.read == 0 {
        return Err(Error::file(path)(FileProblem::Empty));
    }
    let mut notes: Vec<String> = columns
        .iter()
        .filter(|(_, kind)| kind.field("").is_none())
        .map(|(name, kind)| format!("column `{name}` is not imported: its values are {}", kind.name()))
        .collect();
    columns.retain(|(_, kind)| kind.field("").is_some());
    let fields: Vec<_> = columns.iter().filter_map(|(name, kind)| kind.field(name)).collect();
    let mapping = Mapping::derive(path, &Schema::new(fields.clone()), options, |_| Ok(None))?;
    notes.extend(mapping.notes.iter().cloned());
    let read: Vec<(String, Kind)> = mapping.file_columns.iter().map(|&index| columns[index].clone()).collect();
    let batches = Batches::open(path, &read, mapping, options)?;
    let (schema, is_numbered) = (batches.mapping.schema.clone(), batches.mapping.is_numbered());
    Ok(Source { schema, notes, rows: None, batches: Box::new(batches), is_numbered })
}

/// The objects of a file, one after the other.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
    /// Lines taken from the file, empty ones too.
    number: u64,
    /// Objects given.
    read: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Lines> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        Ok(Lines {
            path: path.to_owned(),
            reader: BufReader::with_capacity(1 << 20, file),
            line: Vec::new(),
            buffers: Buffers::default(),
            tape: Tape::null(),
            number: 0,
            read: 0,
        })
    }

    fn fail(&self, problem: RowProblem) -> Error {
        Error::Row { path: self.path.clone(), place: Place::Line(self.number), problem }
    }

    /// Gives the next object to `take`; false at the end of the file.
    fn next(&mut self, take: impl FnOnce(Object<'_, '_>) -> Result<(), RowProblem>) -> Result<bool> {
        loop {
            self.line.clear();
            self.number += 1;
            let mut limited = std::io::Read::take(&mut self.reader, LINE_BYTES_MAX);
            limited.read_until(b'\n', &mut self.line).map_err(Error::io("read", &self.path))?;
            if self.line.is_empty() {
                return Ok(false);
            }
            if self.line.len() as u64 == LINE_BYTES_MAX {
                return Err(self.fail(RowProblem::Json(format!("longer than {LINE_BYTES_MAX} bytes"))));
            }
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        let mut tape = std::mem::replace(&mut self.tape, Tape::null()).reset();
        let parsed = simd_json::fill_tape(&mut self.line, &mut self.buffers, &mut tape);
        let taken = match parsed {
            Err(error) => Err(RowProblem::Json(error.to_string())),
            Ok(()) => match tape.as_value().as_object() {
                None => Err(RowProblem::NotAnObject(Kind::of(&tape.as_value()).name())),
                Some(object) => take(object),
            },
        };
        self.tape = tape.reset();
        taken.map_err(|problem| self.fail(problem))?;
        self.read += 1;
        Ok(true)
    }
}

/// The batches of a file.
struct Batches {
    lines: Lines,
    mapping: Mapping,
    columns: Vec<(String, Column)>,
    batch_rows: usize,
    row_number: u64,
    ended: bool,
}

impl Batches {
    fn open(path: &Path, read: &[(String, Kind)], mapping: Mapping, options: &SourceOptions) -> Result<Batches> {
        let columns = read.iter().filter_map(|(name, kind)| Some((name.clone(), Column::new(*kind)?))).collect();
        Ok(Batches {
            lines: Lines::open(path)?,
            mapping,
            columns,
            batch_rows: options.batch_rows,
            row_number: options.first_row,
            ended: false,
        })
    }

    fn read_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut places = Vec::with_capacity(self.batch_rows);
        while places.len() < self.batch_rows {
            let columns = &mut self.columns;
            let more = self.lines.next(|object| {
                columns.iter_mut().try_for_each(|(name, column)| column.push(object.get(name.as_str()), name))
            })?;
            if !more {
                self.ended = true;
                break;
            }
            places.push(self.lines.number);
        }
        let rows = places.len();
        if rows == 0 {
            return Ok(None);
        }
        let read = Columns { rows, arrays: self.columns.iter_mut().map(|(_, column)| column.finish()).collect() };
        let position = Position { path: self.lines.path.clone(), rows: Rows::Lines(places) };
        let mapped = self.mapping.apply(&read, &position, self.row_number)?;
        self.row_number += rows as u64;
        Ok(Some(mapped))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let batch = self.read_batch();
        self.ended |= batch.is_err();
        batch.transpose()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, Float32Type, UInt64Type};

    use super::super::{Coding, Metric};
    use super::*;

    fn read_with(text: &str, options: &SourceOptions) -> Result<(Vec<RecordBatch>, Vec<String>)> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows.jsonl");
        std::fs::write(&path, text).unwrap();
        let source = open(&path, options)?;
        Ok((source.batches.collect::<Result<_>>()?, source.notes))
    }

    fn read(text: &str) -> Result<(Vec<RecordBatch>, Vec<String>)> {
        read_with(
            text,
            &SourceOptions {
                id: None,
                vectors: Vec::new(),
                metric: Metric::Cosine,
                element: None,
                coding: Coding::default(),
                edges: crate::sources::EdgeOptions::default(),
                batch_rows: 2,
                signed_ids: false,
                first_row: 0,
            },
        )
    }

    fn fail(text: &str) -> String {
        let text = read(text).unwrap_err().to_string();
        text[text.find("rows.jsonl").unwrap()..].to_owned()
    }

    #[test]
    fn the_schema_is_inferred_and_nulls_are_filled_in() {
        let (batches, notes) = read(concat!(
            "{\"id\": 7, \"name\": \"a\", \"v\": [1, 0.5], \"n\": 1, \"tags\": [\"x\", \"\"], \"ok\": true, \"mix\": 1, \"more\": {\"a\": [1, \"x\"]}}\n\n",
            "{\"id\": 18446744073709551615, \"v\": [1, 2], \"n\": 2.5, \"mix\": \"x\", \"more\": [true, 2]}\n",
            "{\"v\": [-1, 1e-3], \"id\": 9, \"name\": \"ü\\u0041\", \"later\": null}",
        ))
        .unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 1]);
        let batch = &batches[0];
        assert_eq!(batch.column_by_name("id").unwrap().as_primitive::<UInt64Type>().values(), &[7, u64::MAX]);
        assert_eq!(
            batch.column_by_name("v").unwrap().as_fixed_size_list().values().as_primitive::<Float32Type>().values(),
            &[1.0, 0.5, 1.0, 2.0]
        );
        assert_eq!(batch.column_by_name("n").unwrap().data_type(), &DataType::Float64);
        assert_eq!(batch.column_by_name("ok").unwrap().null_count(), 1);
        assert_eq!(batches[1].column_by_name("name").unwrap().as_string::<i32>().value(0), "üA");
        let tags = batch.column_by_name("tags").unwrap().as_list::<i32>();
        assert_eq!(tags.value(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("x"), Some("")]);
        assert!(tags.is_null(1));
        let more = batch.column_by_name("more").unwrap().as_string::<i32>();
        assert_eq!(more.iter().collect::<Vec<_>>(), [Some(r#"{"a":[1,"x"]}"#), Some("[true,2]")]);
        assert_eq!(batch.schema().field_with_name("more").unwrap().metadata()[engine::schema::TYPE_KEY], "json");
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("`mix`") && notes[1].contains("`later`"), "{notes:?}");
    }

    #[test]
    fn strings_and_line_numbers_can_be_ids() {
        let (batches, _) = read("{\"id\": \"x\", \"v\": [1, 2]}\n").unwrap();
        assert_eq!(batches[0].column(0).as_string::<i32>().value(0), "x");
        let (batches, _) = read("{\"v\": [1, 2]}\n{\"v\": [1, 2]}\n{\"v\": [1, 2]}\n").unwrap();
        assert_eq!(batches[1].column(0).as_primitive::<UInt64Type>().values(), &[2]);
    }

    #[test]
    fn bad_lines_are_named() {
        let good = "{\"id\": 1, \"v\": [1, 2], \"n\": 1}\n\n";
        let fail = |line: &str| fail(&format!("{good}{line}\n"));
        assert!(fail("{\"id\": 2, ").starts_with("rows.jsonl, line 3: not valid JSON"));
        assert_eq!(fail("[1]"), "rows.jsonl, line 3: a JSON object is needed, this is an array of numbers");
        assert_eq!(
            fail("{\"id\": 2}"),
            "rows.jsonl, line 3: column `v`: the vector is null, empty or has null elements"
        );
        assert!(fail("{\"id\": 2, \"v\": [0, 0]}").starts_with("rows.jsonl, line 3: column `v`: a zero vector"));
        assert_eq!(
            fail("{\"id\": 2, \"v\": [1]}"),
            "rows.jsonl, line 3: column `v`: the vector has 1 elements, those before have 2"
        );
    }

    #[test]
    fn values_that_do_not_go_with_the_inferred_type_are_refused() {
        let mut text = "{\"id\": 1, \"v\": [1, 2], \"n\": 1}\n".repeat(INFER_LINES);
        text.push_str("{\"id\": 1, \"v\": [1, 2], \"n\": \"one\"}\n");
        assert_eq!(
            fail(&text),
            "rows.jsonl, line 1001: column `n`: this value is a string, those before are a whole number"
        );
    }

    #[test]
    fn empty_files_are_refused() {
        assert_eq!(fail(""), "rows.jsonl: no rows");
        assert_eq!(fail("\n \n"), "rows.jsonl: no rows");
    }
}
