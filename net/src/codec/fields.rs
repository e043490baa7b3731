//! Reading and writing the fields of a body. Every read is checked against the bytes that are left.

use super::header::FrameError;

/// Bytes that an Arrow IPC message behind a prefix is aligned to, counted from the start of the body.
pub const MESSAGE_ALIGNMENT: usize = 64;

/// Takes a body apart from front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// The next `count` bytes; `field` names them in the error.
    pub fn bytes(&mut self, count: u64, field: &'static str) -> Result<&'a [u8], FrameError> {
        let left = self.body.len() - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left => {
                let bytes = &self.body[self.at..self.at + count];
                self.at += count;
                Ok(bytes)
            }
            _ => Err(FrameError::Truncated { field, needed: count, left: left as u64 }),
        }
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FrameError> {
        let bytes = self.bytes(N as u64, field)?;
        let mut array = [0; N];
        array.copy_from_slice(bytes);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, FrameError> {
        Ok(self.array::<1>(field)?[0])
    }

    /// A little-endian u16.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, FrameError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// A little-endian u32.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, FrameError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// A little-endian u64.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, FrameError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// UTF-8 text behind its length as u16, at most `bytes_max` bytes.
    pub fn text(&mut self, bytes_max: usize, field: &'static str) -> Result<&'a str, FrameError> {
        let count = self.u16(field)?;
        if usize::from(count) > bytes_max {
            return Err(FrameError::Limit { what: field, value: u64::from(count), limit: bytes_max as u64 });
        }
        let bytes = self.bytes(u64::from(count), field)?;
        std::str::from_utf8(bytes).map_err(|_| FrameError::Field { field, problem: "not UTF-8" })
    }

    /// `count` bytes that must be zero.
    pub fn zeros(&mut self, count: usize, field: &'static str) -> Result<(), FrameError> {
        if self.bytes(count as u64, field)?.iter().any(|&byte| byte != 0) {
            return Err(FrameError::Field { field, problem: "must be zero" });
        }
        Ok(())
    }

    /// Zero padding up to the next multiple of `alignment`, counted from the start of the body.
    pub fn align(&mut self, alignment: usize) -> Result<(), FrameError> {
        let padding = self.at.next_multiple_of(alignment) - self.at;
        self.zeros(padding, "padding")
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Everything was read, or the body is too long for its layout.
    pub fn finish(self) -> Result<(), FrameError> {
        let count = (self.body.len() - self.at) as u64;
        if count != 0 {
            return Err(FrameError::TrailingBytes { count });
        }
        Ok(())
    }
}

/// Appends the fields of one body to a vector that may hold something before it.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    /// The body starts at the present end of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// A little-endian u16.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A little-endian u32.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A little-endian u64.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Text behind its length as u16.
    pub fn text(&mut self, text: &str) -> &mut Self {
        let count = u16::try_from(text.len()).expect("the sender checks the length of its texts");
        self.u16(count).bytes(text.as_bytes())
    }

    /// Zero bytes.
    pub fn zeros(&mut self, count: usize) -> &mut Self {
        self.out.resize(self.out.len() + count, 0);
        self
    }

    /// Zero padding up to the next multiple of `alignment`, counted from the start of the body.
    pub fn align(&mut self, alignment: usize) -> &mut Self {
        let at = self.out.len() - self.start;
        self.zeros(at.next_multiple_of(alignment) - at)
    }

    /// Overwrites a u32 that was written `at` bytes behind the start of the body.
    pub fn set_u32(&mut self, at: usize, value: u32) {
        let at = self.start + at;
        self.out[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Bytes written so far.
    pub fn position(&self) -> usize {
        self.out.len() - self.start
    }
}

/// Appends a filter behind its length.
pub(super) fn write_filter(filter: &[u8], writer: &mut Writer<'_>) {
    writer.u32(u32::try_from(filter.len()).expect("the sender checks the length of its filters")).bytes(filter);
}

/// A filter behind its length.
pub(super) fn read_filter<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], FrameError> {
    let bytes = reader.u32("filter length")?;
    reader.bytes(u64::from(bytes), "filter")
}

/// Appends the options of a search behind their length.
pub(super) fn write_options(options: &[u8], writer: &mut Writer<'_>) {
    writer.u32(u32::try_from(options.len()).expect("the sender checks the length of its options")).bytes(options);
}

/// The options of a search behind their length.
pub(super) fn read_options<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], FrameError> {
    let bytes = reader.u32("options length")?;
    reader.bytes(u64::from(bytes), "options")
}

/// The `index`-th little-endian u32 of a packed array whose length was checked.
pub(crate) fn packed_u32(bytes: &[u8], index: usize) -> u32 {
    let at = index * 4;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The u32 of a packed array, in order.
pub(crate) fn packed_u32s(bytes: &[u8]) -> impl ExactSizeIterator<Item = u32> + '_ {
    bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk))
}

/// The body of a request or reply that has none.
pub fn expect_empty(body: &[u8]) -> Result<(), FrameError> {
    Reader::new(body).finish()
}
