//! What the bytes of a vector are, how two are compared, and which instructions do it.

use std::fmt;
use std::str::FromStr;

/// Most elements a vector may have (most bytes, for [`ElementKind::Bits`] and where codes share a byte). Up to here every kernel of
/// bytes is exact: the largest sum, 255² × 65,536 = 4,261,478,400, fits a `u32`, and every signed sum
/// is at most 128² × 65,536 = 2³⁰.
pub const MAX_DIMENSION: usize = 65_536;

const _: () = assert!(255 * 255 * (MAX_DIMENSION as u64) <= u32::MAX as u64);
const _: () = assert!(128 * 128 * (MAX_DIMENSION as u64) <= i32::MAX as u64);

/// The representation of one vector in memory, little endian, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ElementKind {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    Bf16,
    /// Two's complement bytes.
    I8,
    /// Unsigned bytes.
    U8,
    /// Two's complement, 32 bits.
    I32,
    /// One bit an element, eight to a byte.
    Bits,
    /// Quantised code, offset binary: the byte holds value + 128, with the value in -127..=127.
    Code8,
    /// Quantised codes, two to a byte, offset binary: a half holds value + 8, with the value in -8..=7. Of `n` elements byte `i`
    /// holds element `i` in its lower half and element ⌈n/2⌉ + `i` in its upper half, which is 8 (the value 0) where there is none.
    Code4,
    /// Signs, eight to a byte: a set bit is +1, else −1. Of `n` elements bit `p` of byte `j` is that of element `p` × ⌈n/8⌉ + `j`, and −1
    /// where there is none.
    Code1,
}

impl ElementKind {
    /// All kinds, in the order of the tables.
    pub const ALL: [ElementKind; 10] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::I8,
        Self::U8,
        Self::I32,
        Self::Bits,
        Self::Code8,
        Self::Code4,
        Self::Code1,
    ];

    /// Bytes of one vector of `dimension` elements.
    ///
    /// # Panics
    /// If the kind is `Bits` and `dimension` is not a multiple of 8.
    pub fn bytes(self, dimension: usize) -> usize {
        match self {
            Self::F32 | Self::I32 => dimension * 4,
            Self::F16 | Self::Bf16 => dimension * 2,
            Self::I8 | Self::U8 | Self::Code8 => dimension,
            Self::Code4 => dimension.div_ceil(2),
            Self::Code1 => dimension.div_ceil(8),
            Self::Bits => {
                assert!(dimension.is_multiple_of(8), "a bit vector of {dimension} bits has no whole bytes");
                dimension / 8
            }
        }
    }

    /// Bytes of a query to rows of `dimension` elements ([`crate::Distance::rows`]).
    ///
    /// # Panics
    /// As [`ElementKind::bytes`].
    pub fn query_bytes(self, dimension: usize) -> usize {
        match self {
            Self::Code4 => 2 * self.bytes(dimension),
            Self::Code1 => 8 * self.bytes(dimension),
            _ => self.bytes(dimension),
        }
    }

    /// A row as a query ([`crate::Distance::rows`]), in place of what `query` held: the same bytes, but of `Code4` the values times
    /// 16 as i8, first those of the lower halves, then those of the upper ones, and of `Code1` the values as i8, plane by plane.
    pub fn row_as_query(self, row: &[u8], query: &mut Vec<u8>) {
        query.clear();
        match self {
            Self::Code4 => {
                // (c − 8) × 16, modulo 2⁸.
                query.extend(row.iter().map(|byte| (byte << 4) ^ 0x80));
                query.extend(row.iter().map(|byte| (byte & 0xf0) ^ 0x80));
            }
            Self::Code1 => {
                let sign = |byte: u8, place: usize| if byte >> place & 1 == 1 { 1 } else { -1i8 };
                query.extend((0..8).flat_map(|place| row.iter().map(move |&byte| sign(byte, place).cast_unsigned())));
            }
            _ => query.extend_from_slice(row),
        }
    }
}

/// How two vectors are compared. Smaller is nearer, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Squared euclidean distance, Σ(a−b)².
    L2,
    /// 1 − Σab / √(Σa²·Σb²), within 0.0..=2.0; 1.0 if either vector is zero.
    Cosine,
    /// Negated inner product, −Σab.
    Dot,
    /// Number of bits that differ.
    Hamming,
}

impl Metric {
    /// All metrics, in the order of the tables.
    pub const ALL: [Metric; 4] = [Self::L2, Self::Cosine, Self::Dot, Self::Hamming];
}

/// An instruction set that there are kernels for, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust: the oracle and the fallback.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
    /// AVX-512 with VNNI.
    Avx512Vnni,
    /// AVX-512 with VNNI and VPOPCNTDQ.
    Avx512Popcnt,
    /// AMX-INT8 besides.
    Amx,
}

impl Isa {
    /// All instruction sets, in rising order.
    pub const ALL: [Isa; 6] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Vnni, Self::Avx512Popcnt, Self::Amx];

    /// The lower-case name, as `BROADHEAD_ISA` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512Popcnt => "avx512popcnt",
            Self::Amx => "amx",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`Isa`]. Holds the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIsa(pub String);

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown instruction set {:?}: known are {}", self.0, Isa::ALL.map(Isa::name).join(", "))
    }
}

impl std::error::Error for UnknownIsa {}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        Self::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| UnknownIsa(name.to_owned()))
    }
}
