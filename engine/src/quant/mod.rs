//! Codes: small forms of vectors that the graph is traversed on. Full vectors decide in the end.

mod int8;

pub use int8::{Int8Encoder, Int8Scale};
