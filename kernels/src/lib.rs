//! Distance kernels over byte slices, chosen once for the CPU that runs them.
//!
//! A query and a row are byte slices in the same representation ([`ElementKind`]), but of Code4 a query is finer than a row;
//! nothing is assumed about their alignment. Every distance is an `f32` and smaller is nearer ([`Metric`]).
//!
//! Invariants:
//! - One answer for everything: a distance is never NaN. NaN in an input gives +infinity, and so does an
//!   infinity wherever the formula has no value; a zero vector under cosine gives 1.0.
//! - A float sum that overflows, or whose squares underflow under cosine, is computed again in `f64`, so
//!   finite inputs always get the value of the formula, rounded to `f32`.
//! - Kernels of bytes and bits are exact up to [`MAX_DIMENSION`] elements; the sum is rounded once, to `f32`.
//! - i32 is summed in `f64`, which no sum overflows and most sums fit exactly; `wide.rs` says what is lost of others.
//! - `rows` gives, bit for bit, what `pair` gives for each row (of Code4: to a query that was made of a row).
//!
//! Layout: [`Kernels`] is a table of function pointers per [`Isa`]. The kernels are written once, in
//! `float.rs`, `integer.rs`, `code4.rs`, `wide.rs`, `bulk.rs` and `words.rs`, over the registers of `vector.rs`; the files in `x86` are shells
//! that name an instruction set. Many rows against many are the matter of `tile`. `scalar.rs` is the oracle that the tests hold the others against, and the
//! fallback. The layering follows memchr's (<https://github.com/BurntSushi/memchr>, `src/vector.rs`).

mod element;
mod kind;
mod rows;
mod scalar;
mod table;
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "panels of the scalar kernels hold rows as they are")
)]
mod tile;

// The kernels over a vector trait, and the instruction sets that there are on this architecture.
#[cfg(target_arch = "x86_64")]
mod bulk;
#[cfg(target_arch = "x86_64")]
mod code1;
mod code4;
#[cfg(target_arch = "x86_64")]
mod float;
#[cfg(target_arch = "x86_64")]
mod float_element;
#[cfg(target_arch = "x86_64")]
mod fold;
#[cfg(target_arch = "x86_64")]
mod integer;
#[cfg(target_arch = "x86_64")]
mod integer_element;
#[cfg(target_arch = "x86_64")]
mod kernel;
#[cfg(target_arch = "x86_64")]
mod vector;
#[cfg(target_arch = "x86_64")]
mod wide;
mod words;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kind::{ElementKind, Isa, MAX_DIMENSION, Metric, UnknownIsa};
pub use rows::Rows;
pub use table::{Distance, Kernels, detect, requested_isa};
pub use tile::{NEAREST_MAX, Nearest, Panel, Tile};
pub use words::{Runs, runs};
