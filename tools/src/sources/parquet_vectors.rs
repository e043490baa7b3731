//! Vector columns of Parquet files, read page by page: a few instructions an element, where the general reader makes a
//! levelled, nullable list of each row first.
//!
//! It serves lists of f16 or f32, all of one length and without nulls, in plain or dictionary encoding. Whether a column is such a one
//! shows while it is read; a row that is not ends the reading with an error that names it.
//!
//! ```text
//! page, version 1:  length u32, repetition levels | length u32, definition levels | values
//! page, version 2:  repetition levels | definition levels | values              (lengths in the header)
//! ```
//! The format: <https://parquet.apache.org/docs/file-format/data-pages/>

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, PrimitiveArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, DataType, Field, Float16Type, Float32Type};
use parquet::basic::{Encoding, LogicalType, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::levels::{CutShort, Hybrid, Run, unpacked};
use crate::error::{Error, FileProblem, Place, Result, RowProblem};

/// Encodings that are read here.
const ENCODINGS: [Encoding; 4] = [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY, plain_dictionary()];

#[allow(deprecated)] // Old writers call dictionary encoding so.
const fn plain_dictionary() -> Encoding {
    Encoding::PLAIN_DICTIONARY
}

/// An element as Parquet stores it.
trait Element: ArrowNativeType {
    type Arrow: ArrowPrimitiveType;
    const BYTES: usize;
    fn from_le(bytes: &[u8]) -> Self;
}

impl Element for u16 {
    type Arrow = Float16Type;
    const BYTES: usize = 2;
    fn from_le(bytes: &[u8]) -> u16 {
        u16::from_le_bytes([bytes[0], bytes[1]])
    }
}

impl Element for f32 {
    type Arrow = Float32Type;
    const BYTES: usize = 4;
    fn from_le(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// A vector column, read in batches.
pub struct VectorReader {
    column: Box<dyn Batches>,
}

impl VectorReader {
    /// A reader of the column `root` of the file, whose lists have `length` elements; `None` where the general reader has to read it.
    pub fn open(path: &Path, metadata: &ParquetMetaData, root: usize, length: usize) -> Result<Option<VectorReader>> {
        let Some(leaf) = leaf_of(metadata, root) else {
            return Ok(None);
        };
        let descriptor = metadata.file_metadata().schema_descr().column(leaf);
        let column: Box<dyn Batches> = match (descriptor.physical_type(), descriptor.logical_type_ref()) {
            (Type::FLOAT, _) => Box::new(Column::<f32>::open(path, leaf, length)?),
            (Type::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Float16)) => {
                Box::new(Column::<u16>::open(path, leaf, length)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(VectorReader { column }))
    }

    /// The next `rows` vectors. There are as many as the file has rows.
    pub fn take(&mut self, rows: usize) -> Result<ArrayRef> {
        self.column.take(rows)
    }
}

/// The leaf of a column that is a list and is encoded in a way that is read here.
fn leaf_of(metadata: &ParquetMetaData, root: usize) -> Option<usize> {
    let schema = metadata.file_metadata().schema_descr();
    let mut leaves = (0..schema.num_columns()).filter(|&leaf| schema.get_column_root_idx(leaf) == root);
    let leaf = leaves.next().filter(|_| leaves.next().is_none())?;
    let readable = |encoding: Encoding| ENCODINGS.contains(&encoding);
    let encoded = metadata.row_groups().iter().all(|group| group.column(leaf).encodings().all(readable));
    (schema.column(leaf).max_rep_level() == 1 && encoded).then_some(leaf)
}

trait Batches: Send {
    fn take(&mut self, rows: usize) -> Result<ArrayRef>;
}

struct Column<T> {
    path: PathBuf,
    file: SerializedFileReader<File>,
    leaf: usize,
    length: usize,
    definition_max: u32,
    next_group: usize,
    pages: Option<Box<dyn PageReader>>,
    dictionary: Vec<T>,
    /// Elements that were decoded and not taken.
    decoded: Vec<T>,
    /// Elements that were decoded, taken or not.
    position: u64,
}

impl<T: Element> Column<T> {
    fn open(path: &Path, leaf: usize, length: usize) -> Result<Column<T>> {
        assert!(length > 0, "vectors have elements");
        let file = File::open(path).map_err(Error::io("open", path))?;
        let file = SerializedFileReader::new(file).map_err(|error| Error::file(path)(FileProblem::Parquet(error)))?;
        let definition_max = file.metadata().file_metadata().schema_descr().column(leaf).max_def_level() as u32;
        Ok(Column {
            path: path.to_owned(),
            file,
            leaf,
            length,
            definition_max,
            next_group: 0,
            pages: None,
            dictionary: Vec::new(),
            decoded: Vec::new(),
            position: 0,
        })
    }

    fn malformed(&self, what: &str) -> Error {
        Error::file(&self.path)(FileProblem::Parquet(ParquetError::General(what.to_owned())))
    }

    /// Decodes one more page; false at the end of the file.
    fn next_page(&mut self) -> Result<bool> {
        loop {
            let Some(pages) = &mut self.pages else {
                if self.next_group == self.file.num_row_groups() {
                    return Ok(false);
                }
                let pages =
                    self.file.get_row_group(self.next_group).and_then(|group| group.get_column_page_reader(self.leaf));
                self.pages = Some(pages.map_err(|error| Error::file(&self.path)(FileProblem::Parquet(error)))?);
                self.dictionary.clear();
                self.next_group += 1;
                continue;
            };
            match pages.get_next_page().map_err(|error| Error::file(&self.path)(FileProblem::Parquet(error)))? {
                None => self.pages = None,
                Some(Page::DictionaryPage { buf, .. }) => {
                    self.dictionary = buf.chunks_exact(T::BYTES).map(T::from_le).collect();
                }
                Some(page) => {
                    self.decode(&page)?;
                    return Ok(true);
                }
            }
        }
    }

    fn decode(&mut self, page: &Page) -> Result<()> {
        let bytes: &[u8] = page.buffer();
        let parts = match page {
            Page::DataPageV2 { rep_levels_byte_len, def_levels_byte_len, .. } => {
                let (repetition, definition) = (*rep_levels_byte_len as usize, *def_levels_byte_len as usize);
                bytes.split_at_checked(repetition).and_then(|(repetition, rest)| {
                    rest.split_at_checked(definition).map(|(definition, values)| (repetition, definition, values))
                })
            }
            _ => prefixed(bytes).and_then(|(repetition, rest)| {
                prefixed(rest).map(|(definition, values)| (repetition, definition, values))
            }),
        };
        let (repetition, definition, values) =
            parts.ok_or_else(|| self.malformed("a page is shorter than its levels"))?;
        let count = page.num_values() as usize;
        self.check_definition(definition, count)?;
        self.check_repetition(repetition, count)?;
        let before = self.decoded.len();
        match page.encoding() {
            Encoding::PLAIN => {
                let plain = values
                    .get(..count * T::BYTES)
                    .ok_or_else(|| self.malformed("a page is shorter than its values"))?;
                self.decoded.extend(plain.chunks_exact(T::BYTES).map(T::from_le));
            }
            _ => self.decode_dictionary(values, count)?,
        }
        assert_eq!(self.decoded.len(), before + count, "a page gives as many elements as it has");
        self.position += count as u64;
        Ok(())
    }

    fn decode_dictionary(&mut self, values: &[u8], count: usize) -> Result<()> {
        let out_of_range = "an index is outside the dictionary";
        let (&bit_width, packed) = values.split_first().ok_or_else(|| self.malformed("a page has no values"))?;
        let end = self.decoded.len() + count;
        self.decoded.reserve(count);
        let mut highest = 0;
        for run in Hybrid::new(packed, u32::from(bit_width)) {
            let left = end - self.decoded.len();
            match run {
                Run::Repeated { value, count } => {
                    let element = self.dictionary.get(value as usize).copied();
                    let element = element.ok_or_else(|| self.malformed(out_of_range))?;
                    self.decoded.extend(std::iter::repeat_n(element, count.min(left)));
                }
                Run::Packed { bytes, count } => {
                    let last = self.dictionary.len().checked_sub(1).ok_or_else(|| self.malformed(out_of_range))? as u32;
                    let dictionary = &self.dictionary;
                    // One comparison for the whole run; until it is made, an index beyond the end takes the last element.
                    self.decoded.extend(unpacked(bytes, u32::from(bit_width), count.min(left)).map(|index| {
                        highest = index.max(highest);
                        dictionary[index.min(last) as usize]
                    }));
                    if highest > last {
                        return Err(self.malformed(out_of_range));
                    }
                }
            }
            if self.decoded.len() == end {
                return Ok(());
            }
        }
        Err(self.malformed("a page is shorter than its values"))
    }

    /// Every element is there: no null lists, no empty lists, no null elements.
    fn check_definition(&self, levels: &[u8], count: usize) -> Result<()> {
        let there = self.definition_max;
        let absent =
            Hybrid::new(levels, width_of(there)).first_wrong(count, |_, level, _| (level != there).then_some(0));
        match absent {
            Err(CutShort) => Err(self.malformed("definition levels are cut short")),
            Ok(None) => Ok(()),
            Ok(Some(at)) => Err(self.bad_row(at, RowProblem::NullVector(self.name()))),
        }
    }

    /// A list begins at every multiple of its length, and nowhere else.
    fn check_repetition(&self, levels: &[u8], count: usize) -> Result<()> {
        let length = self.length;
        let mut inside = (self.position % length as u64) as usize;
        let wrong = Hybrid::new(levels, 1).first_wrong(count, |_, level, times| {
            let right = match level {
                0 if inside > 0 => 0,
                0 if length == 1 => times,
                0 => 1,
                _ if inside == 0 => 0,
                _ => length - inside,
            };
            inside = (inside + times) % length;
            (times > right).then_some(right)
        });
        let at = match wrong {
            Err(CutShort) => return Err(self.malformed("repetition levels are cut short")),
            Ok(None) => return Ok(()),
            Ok(Some(at)) => at,
        };
        let inside = ((self.position + at as u64) % length as u64) as usize;
        if inside > 0 {
            let problem = RowProblem::VectorLength { column: self.name(), found: inside, expected: length };
            return Err(self.bad_row(at, problem));
        }
        // The list goes on where the next one was due: it ends where the next level is 0.
        let end = Hybrid::new(levels, 1).first_wrong(count, |from, level, times| {
            let before = at.saturating_sub(from);
            (level == 0 && before < times).then_some(before)
        });
        let found = length + end.ok().flatten().unwrap_or(count) - at;
        let problem = RowProblem::VectorLength { column: self.name(), found, expected: length };
        Err(Error::Row { path: self.path.clone(), place: Place::Row(self.row_of(at) - 1), problem })
    }

    fn name(&self) -> String {
        let descriptor = self.file.metadata().file_metadata().schema_descr().column(self.leaf);
        descriptor.path().parts()[0].clone()
    }

    /// Row of the page's element `at`.
    fn row_of(&self, at: usize) -> u64 {
        (self.position + at as u64) / self.length as u64
    }

    fn bad_row(&self, at: usize, problem: RowProblem) -> Error {
        Error::Row { path: self.path.clone(), place: Place::Row(self.row_of(at)), problem }
    }
}

impl<T: Element> Batches for Column<T> {
    fn take(&mut self, rows: usize) -> Result<ArrayRef> {
        let wanted = rows * self.length;
        while self.decoded.len() < wanted {
            if !self.next_page()? {
                return Err(self.malformed("a column has fewer values than the file has rows"));
            }
        }
        let rest = self.decoded.split_off(wanted);
        let taken = Buffer::from_vec(std::mem::replace(&mut self.decoded, rest));
        let values = ScalarBuffer::<<T::Arrow as ArrowPrimitiveType>::Native>::new(taken, 0, wanted);
        let values = PrimitiveArray::<T::Arrow>::new(values, None);
        let item = Arc::new(Field::new("item", <T::Arrow as ArrowPrimitiveType>::DATA_TYPE, false));
        let vectors = FixedSizeListArray::try_new(item, self.length as i32, Arc::new(values), None);
        Ok(Arc::new(vectors.map_err(|error| Error::file(&self.path)(FileProblem::Arrow(error)))?))
    }
}

/// A part that is preceded by its length, and the rest.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Bits of a level.
fn width_of(level_max: u32) -> u32 {
    u32::BITS - level_max.leading_zeros()
}

/// Whether a column's Arrow type is one that is read here.
pub fn is_candidate(data_type: &DataType) -> bool {
    match data_type {
        DataType::FixedSizeList(item, _) | DataType::List(item) => {
            matches!(item.data_type(), DataType::Float16 | DataType::Float32)
        }
        _ => false,
    }
}
