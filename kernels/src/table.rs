//! The tables of kernels, one per instruction set, and the choice between them.

use std::sync::OnceLock;

use crate::element::{Bf16, Code1, Code4, Code8, F16, F32, I8, I32, U8};
use crate::kind::{ElementKind, Isa, Metric, UnknownIsa};
use crate::rows::Rows;
use crate::scalar;
use crate::tile::{Tile, oracle, tiles};
use crate::words;
#[cfg(target_arch = "x86_64")]
use crate::x86::vector_tables;

/// The distance of one element kind under one metric, in two forms that agree bit for bit.
///
/// Both panic if the slices differ in length (a query of Code4 has twice, one of Code1 eight times the length of a row) or hold no whole number of elements, or
/// more than [`crate::MAX_DIMENSION`].
#[derive(Clone, Copy, Debug)]
pub struct Distance {
    /// The distance of two vectors.
    pub pair: fn(&[u8], &[u8]) -> f32,
    /// The distances of one query to many rows: `out[i]` is that to row `ids[i]`. The query is a vector as the rows are, but of
    /// Code4 and Code1 it is finer: [`ElementKind::row_as_query`]. Rows are prefetched some way ahead. Panics if an id is not below the number of rows, or if `out` and `ids` differ in length.
    pub rows: fn(&[u8], Rows<'_>, &[u32], &mut [f32]),
}

/// The kernels of one instruction set. There is one per [`Isa`] that this CPU has, for the life of the process.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    pub(crate) isa: Isa,
    /// By `ElementKind`, then `Metric`.
    pub(crate) distances: [[Option<Distance>; 4]; 10],
    /// In the same order.
    pub(crate) tiles: [[Option<Tile>; 4]; 10],
    pub(crate) f32: Passes,
    pub(crate) f16: Passes,
    pub(crate) bf16: Passes,
    pub(crate) i32: Passes,
    pub(crate) abs_max_f32: fn(&[f32]) -> f32,
    pub(crate) widen_f16: fn(&[u8], &mut [f32]),
    pub(crate) mark_words: fn(&[u8], &mut [u8], &mut [u64]) -> bool,
}

/// Passes over one vector whose elements are read as f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passes {
    pub all_finite: fn(&[u8]) -> bool,
    pub norm_squared: fn(&[u8]) -> f32,
    pub copy_norm_squared: fn(&[u8], &mut [u8]) -> f32,
    pub encode_code8: fn(&[u8], f32, &mut [u8]) -> u32,
    pub encode_code4: fn(&[u8], f32, &mut [u8]) -> u32,
}

impl Kernels {
    /// The instruction set these kernels use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Every table that this CPU can run, the scalar one first, the best last.
    pub fn available() -> Vec<&'static Kernels> {
        Kernels::up_to(Isa::Amx)
    }

    /// The same up to an instruction set. Whether the CPU has what is above is not asked.
    fn up_to(limit: Isa) -> Vec<&'static Kernels> {
        let mut tables = vec![&SCALAR];
        tables.extend(vector_tables(limit));
        tables
    }

    /// The distance for a kind and a metric. `None` if there is no such pair: hamming is for bits and bits are
    /// for hamming; codes have dot and, but for signs, l2 (under cosine they are made from normalised vectors).
    pub fn distance(&self, kind: ElementKind, metric: Metric) -> Option<Distance> {
        self.distances[kind as usize][metric as usize]
    }

    /// The tile kernels for a kind and a metric. `None` where [`Kernels::distance`] has none, and for i32.
    pub fn tile(&self, kind: ElementKind, metric: Metric) -> Option<Tile> {
        self.tiles[kind as usize][metric as usize]
    }

    /// Encodes a vector of f32, f16, bf16 or i32 as [`ElementKind::Code8`]: round(x × `inverse_scale`), half to even, held
    /// within ±127, plus 128; x is read as by [`Kernels::to_f32`]. Returns how many elements were out of range. NaN gets the code
    /// of zero and is not counted.
    ///
    /// # Panics
    /// If `vector` is not as many elements as `codes`, or of another kind.
    pub fn encode_code8(&self, kind: ElementKind, vector: &[u8], inverse_scale: f32, codes: &mut [u8]) -> u32 {
        (self.passes(kind).encode_code8)(vector, inverse_scale, codes)
    }

    /// Encodes a vector of f32, f16, bf16 or i32 as [`ElementKind::Code4`]: round(x × `inverse_scale`), half to even, held
    /// within -8..=7, plus 8; otherwise as [`Kernels::encode_code8`].
    ///
    /// # Panics
    /// If `vector` is not twice as many elements as `codes`, or one less, or of another kind.
    pub fn encode_code4(&self, kind: ElementKind, vector: &[u8], inverse_scale: f32, codes: &mut [u8]) -> u32 {
        (self.passes(kind).encode_code4)(vector, inverse_scale, codes)
    }

    fn passes(&self, kind: ElementKind) -> &Passes {
        match kind {
            ElementKind::F32 => &self.f32,
            ElementKind::F16 => &self.f16,
            ElementKind::Bf16 => &self.bf16,
            ElementKind::I32 => &self.i32,
            ElementKind::I8
            | ElementKind::U8
            | ElementKind::Bits
            | ElementKind::Code8
            | ElementKind::Code4
            | ElementKind::Code1 => {
                panic!("{kind:?} is not read as f32")
            }
        }
    }

    /// The largest magnitude; NaN is ignored; 0 of nothing.
    pub fn abs_max_f32(&self, values: &[f32]) -> f32 {
        (self.abs_max_f32)(values)
    }

    /// Whether a vector has neither NaN nor infinity; integers and bits never have.
    ///
    /// # Panics
    /// If `vector` holds no whole number of elements, or more than [`crate::MAX_DIMENSION`].
    pub fn all_finite(&self, kind: ElementKind, vector: &[u8]) -> bool {
        match kind {
            ElementKind::F32 | ElementKind::F16 | ElementKind::Bf16 => (self.passes(kind).all_finite)(vector),
            ElementKind::I8
            | ElementKind::U8
            | ElementKind::I32
            | ElementKind::Bits
            | ElementKind::Code8
            | ElementKind::Code4
            | ElementKind::Code1 => true,
        }
    }

    /// Σx² of a vector of f32, f16, bf16 or i32. It is what `f32` can hold: +infinity on overflow or where an element is, 0 where
    /// every |x| is below about 1e-23, NaN if there is NaN. So a vector whose sum is normal has neither NaN nor infinity, and is
    /// not zero.
    ///
    /// # Panics
    /// If `vector` holds no whole number of elements, or more than [`crate::MAX_DIMENSION`], or those of another kind.
    pub fn norm_squared(&self, kind: ElementKind, vector: &[u8]) -> f32 {
        (self.passes(kind).norm_squared)(vector)
    }

    /// Copies a vector, and returns what [`Kernels::norm_squared`] does, bit for bit, of the same pass. What lies behind the copy
    /// is fetched into the cache, to be written next.
    ///
    /// # Panics
    /// As `norm_squared`, and if the lengths differ.
    pub fn copy_norm_squared(&self, kind: ElementKind, from: &[u8], to: &mut [u8]) -> f32 {
        (self.passes(kind).copy_norm_squared)(from, to)
    }

    /// Writes a text with its ASCII letters in lower case, and marks, a bit a byte, the lowest first, which bytes are ASCII letters,
    /// ASCII digits or no ASCII: [`crate::runs`] makes words of that. Returns whether all of it is ASCII.
    ///
    /// # Panics
    /// If `lowered` is not as long as the text, or `marks` has not one word for 64 bytes begun.
    pub fn mark_words(&self, text: &[u8], lowered: &mut [u8], marks: &mut [u64]) -> bool {
        (self.mark_words)(text, lowered, marks)
    }

    /// Reads a vector of f32, f16, bf16 or i32 as f32. That is exact but for i32 beyond ±2²⁴, which are rounded to nearest, half
    /// to even.
    ///
    /// # Panics
    /// If `vector` is not as many elements as `values`, or of another kind.
    pub fn to_f32(&self, kind: ElementKind, vector: &[u8], values: &mut [f32]) {
        let bytes = kind.bytes(values.len());
        assert!(vector.len() == bytes, "{} bytes of {kind:?}, room for {} values", vector.len(), values.len());
        match kind {
            ElementKind::F32 => scalar::to_f32(vector, values, f32::from_le_bytes),
            ElementKind::F16 => (self.widen_f16)(vector, values),
            ElementKind::Bf16 => {
                scalar::to_f32(vector, values, |element| f32::from_bits(u32::from(u16::from_le_bytes(element)) << 16))
            }
            ElementKind::I32 => scalar::to_f32(vector, values, |element| i32::from_le_bytes(element) as f32),
            ElementKind::I8
            | ElementKind::U8
            | ElementKind::Bits
            | ElementKind::Code8
            | ElementKind::Code4
            | ElementKind::Code1 => {
                panic!("{kind:?} is not read as f32")
            }
        }
    }
}

/// The best kernels for this CPU, found at the first call. `BROADHEAD_ISA` (the name of an [`Isa`]) lowers the choice; it never
/// raises it, and a name that is unknown changes nothing ([`requested_isa`] tells of it).
pub fn detect() -> &'static Kernels {
    static CHOSEN: OnceLock<&'static Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| best(requested_isa().ok().flatten().unwrap_or(Isa::Amx)))
}

/// The instruction set that `BROADHEAD_ISA` names, if it is set.
///
/// # Errors
/// [`UnknownIsa`] if it is set to something else.
pub fn requested_isa() -> Result<Option<Isa>, UnknownIsa> {
    match std::env::var_os("BROADHEAD_ISA") {
        None => Ok(None),
        Some(name) => name.to_string_lossy().parse().map(Some),
    }
}

/// The best kernels up to an instruction set.
fn best(limit: Isa) -> &'static Kernels {
    Kernels::up_to(limit).pop().expect("the scalar kernels are always there")
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_tables(_: Isa) -> Vec<&'static Kernels> {
    Vec::new()
}

/// The distances of one instruction set: `$shell` has the two generic shells, `$float`, `$integer` and `$wide`
/// are the modules of the kernels, the last two arguments those of Code4. The order is that of `ElementKind` and `Metric`.
macro_rules! distances {
    ($shell:ident, $float:ident, $integer:ident, $wide:ident, $code4_l2:ty, $code4_dot:ty) => {
        [
            [
                distances!(@ $shell $float::L2<F32>),
                distances!(@ $shell $float::Cosine<F32>),
                distances!(@ $shell $float::Dot<F32>),
                None,
            ],
            [
                distances!(@ $shell $float::L2<F16>),
                distances!(@ $shell $float::Cosine<F16>),
                distances!(@ $shell $float::Dot<F16>),
                None,
            ],
            [
                distances!(@ $shell $float::L2<Bf16>),
                distances!(@ $shell $float::Cosine<Bf16>),
                distances!(@ $shell $float::Dot<Bf16>),
                None,
            ],
            [
                distances!(@ $shell $integer::L2<I8>),
                distances!(@ $shell $integer::Cosine<I8>),
                distances!(@ $shell $integer::Dot<I8>),
                None,
            ],
            [
                distances!(@ $shell $integer::L2<U8>),
                distances!(@ $shell $integer::Cosine<U8>),
                distances!(@ $shell $integer::Dot<U8>),
                None,
            ],
            [
                distances!(@ $shell $wide::L2<I32>),
                distances!(@ $shell $wide::Cosine<I32>),
                distances!(@ $shell $wide::Dot<I32>),
                None,
            ],
            [None, None, None, distances!(@ $shell $integer::Hamming)],
            [
                distances!(@ $shell $integer::L2<Code8>),
                None,
                distances!(@ $shell $integer::Dot<Code8>),
                None,
            ],
            [
                distances!(@ $shell $code4_l2),
                None,
                distances!(@ $shell $code4_dot),
                None,
            ],
            [None, None, distances!(@ $shell $integer::Dot<Code1>), None],
        ]
    };
    (@ $shell:ident $kernel:ty) => {
        Some(Distance { pair: $shell::pair::<$kernel>, rows: $shell::rows::<$kernel> })
    };
}
pub(crate) use distances;

/// The passes of one instruction set over the vectors of one kind of element.
macro_rules! passes {
    ($shell:ident, $element:ty) => {
        Passes {
            all_finite: $shell::all_finite::<$element>,
            norm_squared: $shell::norm_squared::<$element>,
            copy_norm_squared: $shell::copy_norm_squared::<$element>,
            encode_code8: $shell::encode_code8::<$element>,
            encode_code4: $shell::encode_code4::<$element>,
        }
    };
}
pub(crate) use passes;

static SCALAR: Kernels = Kernels {
    isa: Isa::Scalar,
    distances: distances!(scalar, scalar, scalar, scalar, scalar::L2<Code4>, scalar::Dot<Code4>),
    tiles: tiles!(oracle, scalar, scalar),
    f32: passes!(scalar, F32),
    f16: passes!(scalar, F16),
    bf16: passes!(scalar, Bf16),
    i32: passes!(scalar, I32),
    abs_max_f32: scalar::abs_max_f32,
    widen_f16: scalar::widen_f16,
    mark_words: words::mark_words_scalar,
};

#[cfg(test)]
mod tests {
    use super::{Isa, Kernels, best, detect};

    #[test]
    fn the_limit_lowers_the_choice_and_never_raises_it() {
        let highest = Kernels::available().iter().map(|kernels| kernels.isa()).max().unwrap();
        for limit in Isa::ALL {
            assert_eq!(best(limit).isa(), limit.min(highest));
        }
        assert!(detect().isa() <= highest);
    }

    #[test]
    fn names_are_read_back() {
        assert!(Isa::ALL.is_sorted());
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert_eq!("AVX2".parse::<Isa>().unwrap_err().0, "AVX2");
    }
}
