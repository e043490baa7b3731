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
//! contains  text, or [text, …]            text: all words of all of them, in any order and place; a list: all of these texts
//! is_null   true or false                 any but a vector
//! ```
//!
//! Numbers are compared as numbers, exactly, whatever the types: `{"column": "kib", "<": 2.5}` of a column of integers is true of 2.
//! A number that a column cannot hold is no error. Text is compared code point by code point. Dates and timestamps are given as text
//! (`"2024-02-29"`, RFC 3339) or as the whole number that the column holds. Words are those of the column's analyser, as in a text query; words that it
//! leaves out are asked of no text, so that where no other is left all texts have them. No operator but `is_null` is true of a null, and none but `!=` of a
//! NaN; `not` is true of every row that its filter is not true of. An empty `and` is true, an empty `or` is not.
//!
//! | file | holds |
//! |---|---|
//! | `parse` | JSON, and a schema, to a filter |
//! | `bounds` | what a comparison with a number says of the values of a type |
//! | `expiry` | what a time to live says of rows |
//! | `words` | whether a text has words, or a list texts |
//! | `zones` | between which numbers the values of a chunk lie |
//! | `evaluate` | a filter, and the columns of a chunk, to a mask |
//! | `masks`, `key` | masks that are kept from one query to the next, and what they are kept by |

mod bounds;
mod evaluate;
mod expiry;
mod key;
mod masks;
mod parse;
#[cfg(test)]
mod tests;
mod words;
mod zones;

pub use evaluate::{ChunkColumns, MASK_ROWS, Mask};
pub use masks::{MaskCache, RowMasks};
pub use zones::{Zone, Zones};

use std::sync::Arc;

use crate::analyser::Analyser;
use bounds::Ranges;
use key::WriteKey;
pub(crate) use parse::depth;
use zones::Verdict;

/// Words of a text, as long as nothing is known of it.
const TEXT_WORDS_GUESS: u32 = 12;

/// A filter of rows of one schema.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Node,
    key: Box<[u8]>,
    conditions: Vec<Condition>,
}

/// What a filter asks of one column.
#[derive(Clone, Debug)]
pub struct Condition {
    test: Test,
    key: Box<[u8]>,
}

impl Filter {
    fn new(mut root: Node) -> Filter {
        let mut conditions = Vec::new();
        root.number(&mut conditions);
        Filter { key: key_of(&root), root, conditions }
    }

    /// What it asks of single columns, in no order.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Bytes that no filter of the same schema has that asks something else.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Condition {
    /// Bytes that no condition of the same schema has that asks something else.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// What it takes to look at a row of many, in nanoseconds and about.
    pub fn row_ns(&self) -> u32 {
        self.test.cost()
    }

    /// Those of `rows` that it is true of; all of them can be read. The zone of their chunk, where there is one, may spare a look at
    /// each.
    pub fn select(&self, chunk: &impl ChunkColumns, rows: &Mask, zone: Option<Zone>) -> Mask {
        match zone.map_or(Verdict::Mixed, |zone| self.test.verdict(zone)) {
            Verdict::None => Mask::EMPTY,
            Verdict::All => self.test.without_nulls(chunk, rows.clone()),
            Verdict::Mixed => self.test.select(chunk, rows),
        }
    }
}

fn key_of(written: &impl WriteKey) -> Box<[u8]> {
    let mut key = Vec::new();
    written.write_key(&mut key);
    key.into()
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
    /// Its place among the conditions of the filter.
    condition: usize,
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
    /// Words that are all there, as the analyser of the column gives them; ordered, each once.
    TextWords(Arc<Analyser>, Vec<Box<[u8]>>),
    /// Texts that are all in a list; ordered, each once.
    Tags(Vec<Box<[u8]>>),
}

/// From and to, with or without the ends.
type TextRange = (std::ops::Bound<Box<[u8]>>, std::ops::Bound<Box<[u8]>>);

impl Node {
    /// What it takes to evaluate it for a row of many, in nanoseconds and about: what takes less goes first.
    fn cost(&self) -> u32 {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().map(Node::cost).sum(),
            Node::Not(node) => node.cost(),
            Node::Test(test) => test.cost(),
        }
    }

    /// Gives each condition its place.
    fn number(&mut self, conditions: &mut Vec<Condition>) {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter_mut().for_each(|node| node.number(conditions)),
            Node::Not(node) => node.number(conditions),
            Node::Test(test) => {
                test.condition = conditions.len();
                conditions.push(Condition { key: key_of(test), test: test.clone() });
            }
        }
    }
}

impl Test {
    fn cost(&self) -> u32 {
        match &self.values {
            Values::TextIn(_) | Values::TextWithin(_) | Values::TextPrefix(_) => 15,
            Values::Tags(_) => 40,
            Values::TextWords(analyser, _) => TEXT_WORDS_GUESS * analyser.word_ns(),
            _ => 1,
        }
    }
}
