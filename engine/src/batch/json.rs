//! Columns of JSON: each text is read once, when its batch is written, and kept as it came.

use simd_json::{Buffers, Tape};

use super::{BatchView, Values};
use crate::error::{Error, Result};

impl BatchView<'_> {
    /// Checks every text of a column of JSON. A schema without one costs nothing.
    ///
    /// # Errors
    /// `NotJson`, for the first text that is none.
    pub fn check_json(&self) -> Result<()> {
        let columns = self.schema().columns().iter().zip(&self.columns).filter(|(column, _)| column.is_json);
        for (column, view) in columns {
            let Values::Text(texts) = view.values() else { unreachable!("JSON is text") };
            let mut check = Check::default();
            for row in (0..self.rows()).filter(|&row| view.is_valid(row)) {
                if !check.is_json(texts.get(row)) {
                    return Err(Error::NotJson { column: column.name.clone(), row });
                }
            }
        }
        Ok(())
    }
}

/// What one text after the other is read into.
struct Check {
    text: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for Check {
    fn default() -> Check {
        Check { text: Vec::new(), buffers: Buffers::default(), tape: Tape::null() }
    }
}

impl Check {
    fn is_json(&mut self, text: &str) -> bool {
        self.text.clear();
        self.text.extend_from_slice(text.as_bytes());
        let mut tape = std::mem::replace(&mut self.tape, Tape::null()).reset();
        let is_json = simd_json::fill_tape(&mut self.text, &mut self.buffers, &mut tape).is_ok();
        self.tape = tape.reset();
        is_json
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
    use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};

    use super::*;
    use crate::schema::{Schema, TYPE_KEY};

    fn check(texts: Vec<Option<&str>>) -> Result<()> {
        let fields = vec![
            Field::new("id", DataType::UInt64, false),
            Field::new("more", DataType::Utf8, true).with_metadata([(TYPE_KEY, "json")]),
        ];
        let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..texts.len() as u64));
        let arrow = Arc::new(ArrowSchema::new(fields));
        let batch = RecordBatch::try_new(arrow.clone(), vec![ids, Arc::new(StringArray::from(texts))]).unwrap();
        let schema = Schema::from_arrow(&arrow).unwrap();
        BatchView::from_arrow(&schema, &batch).unwrap().check_json()
    }

    #[test]
    fn every_kind_of_json_is_taken() {
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        let texts = ["{}", "[]", "null", "true", "-1.5e3", r#""größe""#, r#" {"a": [1, {"b": null}], "a": 2} "#, &deep];
        check(texts.iter().map(|&text| Some(text)).chain([None]).collect()).unwrap();
    }

    #[test]
    fn what_is_no_json_is_named_by_its_row() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for text in
            [&deep, "", " ", "{", "nul", "{'a': 1}", "{\"a\": 1,}", "1 2", "{} {}", "NaN", "\"\u{1}\"", "[1", "a"]
        {
            match check(vec![Some("1"), None, Some(text), Some("{")]) {
                Err(Error::NotJson { column, row }) => assert_eq!((&*column, row), ("more", 2), "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }
}
