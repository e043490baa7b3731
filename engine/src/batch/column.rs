//! Borrowed columns: the same view over the bytes of a message and over an Arrow array.

use std::ops::Range;

use arrow::array::{
    Array, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, ListArray, StringArray, downcast_primitive_array,
};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};

use crate::schema::Layout;

/// A bitmap that may start inside a byte.
#[derive(Clone, Copy, Debug)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    offset: usize,
    len: usize,
}

impl<'a> Bits<'a> {
    /// Bits `offset .. offset + len` of `bytes`, least significant bit first. The caller has checked that they are there.
    pub(super) fn new(bytes: &'a [u8], offset: usize, len: usize) -> Bits<'a> {
        assert!(offset + len <= bytes.len() * 8, "a bitmap within its bytes");
        Bits { bytes, offset, len }
    }

    fn of(buffer: &'a BooleanBuffer) -> Bits<'a> {
        Bits::new(buffer.values(), buffer.offset(), buffer.len())
    }

    /// Bit of a row.
    #[inline]
    pub fn get(&self, row: usize) -> bool {
        assert!(row < self.len, "row {row} of {}", self.len);
        let bit = self.offset + row;
        self.bytes[bit / 8] >> (bit % 8) & 1 == 1
    }

    /// Number of zero bits, in a bitmap that starts with its first byte.
    pub(super) fn zeros(&self) -> usize {
        assert_eq!(self.offset, 0, "bitmaps of messages start with their first byte");
        let (words, tail) = self.bytes[..self.len / 8].as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word).count_ones());
        let tail = tail.iter().map(|byte| byte.count_ones());
        let rest = (self.len / 8 * 8..self.len).filter(|&row| self.get(row));
        self.len - words.chain(tail).sum::<u32>() as usize - rest.count()
    }
}

/// Values of a column.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// One bit a row.
    Bits(Bits<'a>),
    /// `width` bytes a row, no alignment promised.
    Fixed {
        /// All rows, back to back.
        bytes: &'a [u8],
        /// Bytes of a row.
        width: usize,
    },
    /// Text, checked to be UTF-8 with every row on character boundaries.
    Text(Text<'a>),
    /// Lists of text, checked likewise.
    TextList(TextList<'a>),
}

/// Text of all rows and where each begins.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// Little endian i32, one more than rows; the first is `base`.
    offsets: &'a [u8],
    base: usize,
    text: &'a str,
}

impl<'a> Text<'a> {
    /// Checks offsets (`4 × (rows + 1)` bytes) and the bytes that they point into.
    pub(super) fn parse(offsets: &'a [u8], values: &'a [u8]) -> Result<Text<'a>, &'static str> {
        let (offsets_i32, rest) = offsets.as_chunks::<4>();
        assert!(!offsets_i32.is_empty() && rest.is_empty(), "the caller cuts the offsets to the rows");
        let base = usize::try_from(i32::from_le_bytes(offsets_i32[0])).map_err(|_| "a text offset is negative")?;
        let end = usize::try_from(i32::from_le_bytes(*offsets_i32.last().expect("not empty")))
            .map_err(|_| "a text offset is negative")?;
        let bytes = values.get(base..end).ok_or("the text offsets point outside of the values")?;
        let text = std::str::from_utf8(bytes).map_err(|_| "the text is not UTF-8")?;
        let mut previous = base;
        for offset in offsets_i32 {
            let offset = usize::try_from(i32::from_le_bytes(*offset)).map_err(|_| "a text offset is negative")?;
            if offset < previous || offset > end {
                return Err("the text offsets do not ascend");
            }
            if !text.is_char_boundary(offset - base) {
                return Err("a text offset points into a character");
            }
            previous = offset;
        }
        Ok(Text { offsets, base, text })
    }

    #[inline]
    fn offset(&self, row: usize) -> usize {
        offset_at(self.offsets, row) - self.base
    }

    /// Text of a row; empty or arbitrary where the row is null.
    #[inline]
    pub fn get(&self, row: usize) -> &'a str {
        &self.text[self.offset(row)..self.offset(row + 1)]
    }

    /// Bytes of the longest row.
    pub(super) fn longest(&self) -> usize {
        let rows = self.offsets.len() / 4 - 1;
        (0..rows).map(|row| self.offset(row + 1) - self.offset(row)).max().unwrap_or(0)
    }
}

/// Lists of texts of all rows: where each begins among the texts.
#[derive(Clone, Copy, Debug)]
pub struct TextList<'a> {
    /// Little endian i32, one more than rows; the first is `base`.
    offsets: &'a [u8],
    base: usize,
    /// The texts from `base` on.
    items: Text<'a>,
}

impl<'a> TextList<'a> {
    /// Checks the offsets of the lists (`4 × (rows + 1)` bytes), those of the texts, and the bytes that these point into. Texts that
    /// belong to no list are not looked at.
    pub(super) fn parse(
        offsets: &'a [u8],
        item_offsets: &'a [u8],
        values: &'a [u8],
    ) -> Result<TextList<'a>, &'static str> {
        let (offsets_i32, rest) = offsets.as_chunks::<4>();
        assert!(!offsets_i32.is_empty() && rest.is_empty(), "the caller cuts the offsets to the rows");
        let base = i32::from_le_bytes(offsets_i32[0]);
        let mut previous = base;
        for offset in offsets_i32 {
            let offset = i32::from_le_bytes(*offset);
            if offset < previous || offset < 0 {
                return Err("the list offsets are negative or do not ascend");
            }
            previous = offset;
        }
        let (base, end) = (base as usize, previous as usize);
        let item_offsets = match item_offsets.get(4 * base..4 * (end + 1)) {
            Some(offsets) => offsets,
            // A column without texts may leave out the one offset that it would have.
            None if base == end => &[0; 4],
            None => return Err("the list offsets point outside of the texts"),
        };
        Ok(TextList { offsets, base, items: Text::parse(item_offsets, values)? })
    }

    /// Places of the texts of a row, for [`TextList::item`].
    #[inline]
    fn places(&self, row: usize) -> Range<usize> {
        offset_at(self.offsets, row) - self.base..offset_at(self.offsets, row + 1) - self.base
    }

    /// Number of texts of a row; any where the row is null.
    pub fn len(&self, row: usize) -> usize {
        self.places(row).len()
    }

    /// The texts of a row; arbitrary where the row is null.
    pub fn get(&self, row: usize) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        let items = self.items;
        self.places(row).map(move |place| items.get(place))
    }

    /// Texts of the row that has most, and bytes of the row whose texts have most.
    pub(super) fn largest(&self) -> (usize, usize) {
        let rows = self.offsets.len() / 4 - 1;
        let bytes = |places: Range<usize>| self.items.offset(places.end) - self.items.offset(places.start);
        (0..rows)
            .map(|row| self.places(row))
            .fold((0, 0), |(most, longest), places| (most.max(places.len()), longest.max(bytes(places))))
    }
}

#[inline]
fn offset_at(offsets: &[u8], row: usize) -> usize {
    let bytes = offsets[row * 4..].first_chunk::<4>().expect("checked by parse");
    i32::from_le_bytes(*bytes) as usize
}

/// One column of a batch.
#[derive(Clone, Copy, Debug)]
pub struct ColumnView<'a> {
    pub(super) layout: Layout,
    /// None: no row is null.
    pub(super) validity: Option<Bits<'a>>,
    pub(super) values: Values<'a>,
}

impl<'a> ColumnView<'a> {
    /// View over an Arrow array.
    pub(crate) fn of_array(array: &'a dyn Array) -> Result<ColumnView<'a>, &'static str> {
        let layout = Layout::of(array.data_type()).ok_or("the type is not supported")?;
        let any = array.as_any();
        let rows = array.len();
        let values = match layout {
            Layout::Bool => Values::Bits(Bits::of(any.downcast_ref::<BooleanArray>().expect("of this type").values())),
            Layout::Fixed { bytes: width } => Values::Fixed { bytes: primitive_bytes(array), width },
            Layout::Utf8 => {
                let array = any.downcast_ref::<StringArray>().expect("of this type");
                Values::Text(Text::parse(offset_bytes(array.offsets()), array.value_data())?)
            }
            Layout::Utf8List => {
                let lists = any.downcast_ref::<ListArray>().expect("of this type");
                let items = lists.values().as_any().downcast_ref::<StringArray>().expect("of this type");
                let used = lists.offsets()[0] as usize..lists.offsets()[rows] as usize;
                if items.nulls().is_some_and(|nulls| nulls.slice(used.start, used.len()).null_count() > 0) {
                    return Err("a list holds null");
                }
                let offsets = offset_bytes(lists.offsets());
                Values::TextList(TextList::parse(offsets, offset_bytes(items.offsets()), items.value_data())?)
            }
            Layout::VectorList { bytes: width, .. } => {
                let items = any.downcast_ref::<FixedSizeListArray>().expect("of this type").values();
                if items.null_count() > 0 {
                    return Err("a vector holds null");
                }
                Values::Fixed { bytes: primitive_bytes(items), width }
            }
            Layout::VectorBinary { bytes: width } => Values::Fixed {
                bytes: any.downcast_ref::<FixedSizeBinaryArray>().expect("of this type").value_data(),
                width,
            },
        };
        if let Values::Fixed { bytes, width } = values {
            assert!(bytes.len() >= rows * width, "Arrow arrays hold their rows");
        }
        let validity = array.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| Bits::of(nulls.inner()));
        Ok(ColumnView { layout, validity, values })
    }

    /// How the values lie.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The values, whatever their type.
    pub fn values(&self) -> Values<'a> {
        self.values
    }

    /// Whether any row is null.
    pub fn has_nulls(&self) -> bool {
        self.validity.is_some()
    }

    /// Whether a row has a value.
    #[inline]
    pub fn is_valid(&self, row: usize) -> bool {
        self.validity.is_none_or(|bits| bits.get(row))
    }

    /// Bytes of a row of fixed width (vectors, numbers).
    #[inline]
    pub fn fixed(&self, row: usize) -> &'a [u8] {
        let Values::Fixed { bytes, width } = self.values else { panic!("a column of fixed width") };
        &bytes[row * width..(row + 1) * width]
    }

    /// Bytes of consecutive rows of fixed width.
    pub fn fixed_rows(&self, rows: std::ops::Range<usize>) -> &'a [u8] {
        let Values::Fixed { bytes, width } = self.values else { panic!("a column of fixed width") };
        &bytes[rows.start * width..rows.end * width]
    }

    /// Value of a row of a bool column.
    #[inline]
    pub fn bit(&self, row: usize) -> bool {
        let Values::Bits(bits) = self.values else { panic!("a bool column") };
        bits.get(row)
    }

    /// Texts of a row of a column of lists.
    #[inline]
    pub fn texts(&self, row: usize) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        let Values::TextList(lists) = self.values else { panic!("a column of lists of text") };
        lists.get(row)
    }

    /// Text of a row.
    #[inline]
    pub fn text(&self, row: usize) -> &'a str {
        let Values::Text(text) = self.values else { panic!("a text column") };
        text.get(row)
    }
}

/// Offsets as bytes, one more than rows.
fn offset_bytes(offsets: &OffsetBuffer<i32>) -> &[u8] {
    &offsets.inner().inner().as_slice()[..4 * offsets.len()]
}

fn primitive_bytes(array: &dyn Array) -> &[u8] {
    downcast_primitive_array!(
        array => array.values().inner().as_slice(),
        _ => unreachable!("only primitive types have a layout of fixed width"),
    )
}
