//! Codes: small forms of vectors that the graph is traversed on. Full vectors decide in the end.

mod scalar;

pub use scalar::{CodeEncoder, CodeScale};
