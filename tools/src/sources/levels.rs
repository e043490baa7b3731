//! Parquet's hybrid of run lengths and packed bits, which holds levels and dictionary indices.
//!
//! ```text
//! run = header (LEB128), content
//! header & 1 == 0:  header >> 1 times the same value, in the bytes that its width needs
//! header & 1 == 1:  header >> 1 groups of 8 values, packed, lowest bits first
//! ```
//! The format: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

/// Bits that a value may have.
const WIDTH_MAX: u32 = 32;

/// One run.
#[derive(Debug, PartialEq)]
pub enum Run<'a> {
    /// The same value.
    Repeated {
        /// It.
        value: u32,
        /// How many times.
        count: usize,
    },
    /// Packed values, see [`unpacked`].
    Packed {
        /// The bits.
        bytes: &'a [u8],
        /// How many values there are; the last few of the last run may be padding.
        count: usize,
    },
}

/// The runs of some bytes. Bytes that make no run end it.
pub struct Hybrid<'a> {
    bytes: &'a [u8],
    width: u32,
}

/// There are fewer values than there should be.
#[derive(Debug, PartialEq)]
pub struct CutShort;

impl<'a> Hybrid<'a> {
    /// Runs of values of `width` bits.
    pub fn new(bytes: &'a [u8], width: u32) -> Hybrid<'a> {
        Hybrid { bytes, width }
    }

    /// The first of `count` values that is wrong. `test` is given a position, a value, and how many times it stands there; it
    /// says how many of them are right where not all are.
    ///
    /// # Errors
    /// Where there are fewer than `count` values.
    pub fn first_wrong(
        self,
        count: usize,
        mut test: impl FnMut(usize, u32, usize) -> Option<usize>,
    ) -> Result<Option<usize>, CutShort> {
        let width = self.width;
        let mut at = 0;
        for run in self {
            if at == count {
                break;
            }
            match run {
                Run::Repeated { value, count: times } => {
                    let times = times.min(count - at);
                    if let Some(right) = test(at, value, times) {
                        return Ok(Some(at + right));
                    }
                    at += times;
                }
                Run::Packed { bytes, count: packed } => {
                    for value in unpacked(bytes, width, packed.min(count - at)) {
                        if test(at, value, 1).is_some() {
                            return Ok(Some(at));
                        }
                        at += 1;
                    }
                }
            }
        }
        if at == count { Ok(None) } else { Err(CutShort) }
    }

    fn header(&mut self) -> Option<u64> {
        let mut header = 0u64;
        for shift in (0..63).step_by(7) {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            header |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(header);
            }
        }
        None
    }
}

impl<'a> Iterator for Hybrid<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        if self.width > WIDTH_MAX {
            return None;
        }
        let header = self.header()?;
        let length = usize::try_from(header >> 1).ok()?;
        if header & 1 == 0 {
            let (value, rest) = self.bytes.split_at_checked(self.width.div_ceil(8) as usize)?;
            self.bytes = rest;
            let value = value.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
            return Some(Run::Repeated { value, count: length });
        }
        // Some writers leave out the padding of the last run.
        let needed = length.checked_mul(self.width as usize)?;
        let (bytes, rest) = self.bytes.split_at(needed.min(self.bytes.len()));
        self.bytes = rest;
        let whole = if self.width == 0 { usize::MAX } else { bytes.len() * 8 / self.width as usize };
        Some(Run::Packed { bytes, count: length.checked_mul(8)?.min(whole) })
    }
}

/// The first `count` packed values of `width` bits each.
///
/// # Panics
/// Where `bytes` is too short for them; [`Run::Packed`] never claims more than it has.
pub fn unpacked(bytes: &[u8], width: u32, count: usize) -> impl Iterator<Item = u32> {
    let width = width as usize;
    assert!(width <= WIDTH_MAX as usize && count * width <= bytes.len() * 8, "the bits are there");
    let mask = (1u64 << width) - 1;
    let value = move |window: [u8; 8], bit: usize| (u64::from_le_bytes(window) >> (bit % 8) & mask) as u32;
    // A value lies within 8 bytes of its first: 7 bits before it, 32 of its own. Near the end there are no 8 bytes left.
    let whole = if bytes.len() < 8 || width == 0 { 0 } else { count.min((bytes.len() - 8) * 8 / width + 1) };
    let fast = (0..whole).map(move |index| {
        let bit = index * width;
        value(bytes[bit / 8..bit / 8 + 8].try_into().expect("8 bytes"), bit)
    });
    let slow = (whole..count).map(move |index| {
        let bit = index * width;
        let rest = &bytes[(bit / 8).min(bytes.len())..];
        let mut window = [0u8; 8];
        let length = rest.len().min(8);
        window[..length].copy_from_slice(&rest[..length]);
        value(window, bit)
    });
    fast.chain(slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(values: &[u32], width: u32) -> Vec<u8> {
        let mut bytes = vec![0u8; (values.len() * width as usize).div_ceil(8)];
        for (index, value) in values.iter().enumerate() {
            for bit in 0..width as usize {
                let at = index * width as usize + bit;
                bytes[at / 8] |= ((value >> bit & 1) as u8) << (at % 8);
            }
        }
        bytes
    }

    #[test]
    fn every_width_is_unpacked() {
        for width in 0..=32u32 {
            let mask = ((1u64 << width) - 1) as u32;
            let values: Vec<u32> = (0..203u32).map(|index| index.wrapping_mul(2_654_435_761) & mask).collect();
            let bytes = pack(&values, width);
            for count in [0, 1, 7, 8, 100, 203] {
                let out: Vec<u32> = unpacked(&bytes, width, count).collect();
                assert_eq!(out, values[..count], "width {width}, count {count}");
            }
        }
    }

    #[test]
    fn runs_follow_each_other() {
        let mut bytes = vec![10 << 1, 5];
        bytes.push(1 << 1 | 1);
        bytes.extend(pack(&[1, 2, 3, 4, 5, 6, 7, 0], 3));
        bytes.extend([0xd8, 0x04, 2]); // 300 << 1 in two bytes
        let runs: Vec<Run<'_>> = Hybrid::new(&bytes, 3).collect();
        assert_eq!(runs[0], Run::Repeated { value: 5, count: 10 });
        assert!(matches!(runs[1], Run::Packed { count: 8, bytes } if bytes.len() == 3));
        assert_eq!(runs[2], Run::Repeated { value: 2, count: 300 });
        let find = |wanted: u32, count: usize| {
            Hybrid::new(&bytes, 3).first_wrong(count, |_, value, _| (value == wanted).then_some(0))
        };
        assert_eq!(find(3, 318), Ok(Some(12)));
        assert_eq!(find(3, 12), Ok(None), "only the first 12 count");
        assert_eq!(find(2, 318), Ok(Some(11)));
        assert_eq!(find(9, 318), Ok(None));
        assert_eq!(find(9, 319), Err(CutShort));
    }

    #[test]
    fn bytes_that_lie_end_it() {
        for bytes in [&[][..], &[0x80], &[20], &[0xff; 12], &[3, 1]] {
            assert_eq!(Hybrid::new(bytes, 8).first_wrong(100, |_, _, _| None), Err(CutShort), "{bytes:?}");
        }
        assert_eq!(Hybrid::new(&[1, 2], 40).next(), None);
        let padding_left_out = [5 << 1 | 1, 1, 2, 3];
        assert_eq!(Hybrid::new(&padding_left_out, 8).next(), Some(Run::Packed { bytes: &[1, 2, 3], count: 3 }));
    }
}
