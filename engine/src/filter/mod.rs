//! Filters: which rows a scan or a search is about.
//!
//! A filter is one JSON object:
//!
//! ```text
//! filter    = {"and": [filter, …]} | {"or": [filter, …]} | {"not": filter} | condition
//! condition = {"column": name, operator: operand, …}          with several operators all of them hold
//! operator  operand                       column
//! = !=      a value                       any but a vector or a list
//! < <= > >= a value                       numbers, dates, timestamps, text
//! in        [value, …]                    any but a vector or a list
//! between   [least, greatest]             numbers, dates, timestamps, text; both ends count
//! prefix    text                          text
//! is_null   true or false                 any but a vector
//! ```
//!
//! Numbers are compared as numbers, exactly, whatever the types: `{"column": "kib", "<": 2.5}` of a column of integers is true of 2.
//! A number that a column cannot hold is no error. Text is compared code point by code point. Dates and timestamps are given as text
//! (`"2024-02-29"`, RFC 3339) or as the whole number that the column holds. No operator but `is_null` is true of a null, and none but `!=` of a
//! NaN; `not` is true of every row that its filter is not true of. An empty `and` is true, an empty `or` is not.
//!
//! | file | holds |
//! |---|---|
//! | `parse` | JSON, and a schema, to a filter |
//! | `bounds` | what a comparison with a number says of the values of a type |
//! | `expiry` | what a time to live says of rows |
//! | `evaluate` | a filter, and the columns of a chunk, to a mask |

mod bounds;
mod evaluate;
mod expiry;
mod parse;
#[cfg(test)]
mod tests;

pub use evaluate::{ChunkColumns, MASK_ROWS, Mask};

use bounds::Ranges;
pub(crate) use parse::depth;

/// A filter of rows of one schema.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Node,
}

#[derive(Clone, Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Test(Test),
}

/// What is asked of the values of one column; never true of a null, unless that is what is asked for.
#[derive(Clone, Debug)]
struct Test {
    column: usize,
    is_nullable: bool,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    Null,
    /// Whether false and true are wanted.
    Bool([bool; 2]),
    I8(Ranges<i8>),
    I16(Ranges<i16>),
    I32(Ranges<i32>),
    I64(Ranges<i64>),
    U8(Ranges<u8>),
    U16(Ranges<u16>),
    U32(Ranges<u32>),
    U64(Ranges<u64>),
    F32(Ranges<f64>),
    F64(Ranges<f64>),
    /// Ordered, each once.
    TextIn(Vec<Box<[u8]>>),
    TextWithin(TextRange),
    TextPrefix(Box<[u8]>),
}

/// From and to, with or without the ends.
type TextRange = (std::ops::Bound<Box<[u8]>>, std::ops::Bound<Box<[u8]>>);

impl Node {
    /// What it takes to evaluate it for a row of many, in nanoseconds and about: what takes less goes first.
    fn cost(&self) -> u32 {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().map(Node::cost).sum(),
            Node::Not(node) => node.cost(),
            Node::Test(test) => match &test.values {
                Values::Null => 1,
                Values::TextIn(_) | Values::TextWithin(_) | Values::TextPrefix(_) => 15,
                _ => 1,
            },
        }
    }
}
