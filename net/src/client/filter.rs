//! Filters, put together in Rust instead of written as JSON.
//!
//! ```
//! use net::client::col;
//!
//! let small = col("installed_kib").lt(500);
//! let filter = small.and(col("section").is_in(["admin", "net"])).and(!col("name").prefix("lib"));
//! assert_eq!(
//!     filter.to_string(),
//!     r#"{"and":[{"column":"installed_kib","<":500},{"column":"section","in":["admin","net"]},{"not":{"column":"name","prefix":"lib"}}]}"#
//! );
//! ```
//!
//! Whether the columns are there, and of types that go with the operands, the server says.

use std::fmt;
use std::ops::Not;

use serde_json::Value;

/// A filter: which rows a search, a scan, a count is about. `to_string` gives it as requests take it.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    node: Node,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Condition { column: String, operator: &'static str, operand: Value },
}

/// A column that is about to be compared with something.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    name: String,
}

/// The column of this name.
pub fn col(name: impl Into<String>) -> Column {
    Column { name: name.into() }
}

impl Column {
    fn compare(self, operator: &'static str, operand: impl Into<Value>) -> Filter {
        Filter { node: Node::Condition { column: self.name, operator, operand: operand.into() } }
    }

    fn compare_list<V: Into<Value>>(self, operator: &'static str, values: impl IntoIterator<Item = V>) -> Filter {
        self.compare(operator, values.into_iter().map(Into::into).collect::<Vec<Value>>())
    }

    /// It has this value. Dates and timestamps are given as text or as whole numbers.
    pub fn eq(self, value: impl Into<Value>) -> Filter {
        self.compare("=", value)
    }

    /// It has another value; not true of a null.
    pub fn ne(self, value: impl Into<Value>) -> Filter {
        self.compare("!=", value)
    }

    /// It is less.
    pub fn lt(self, value: impl Into<Value>) -> Filter {
        self.compare("<", value)
    }

    /// It is less or equal.
    pub fn le(self, value: impl Into<Value>) -> Filter {
        self.compare("<=", value)
    }

    /// It is greater.
    pub fn gt(self, value: impl Into<Value>) -> Filter {
        self.compare(">", value)
    }

    /// It is greater or equal.
    pub fn ge(self, value: impl Into<Value>) -> Filter {
        self.compare(">=", value)
    }

    /// It has one of these values.
    pub fn is_in<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Filter {
        self.compare_list("in", values)
    }

    /// It lies between two values, both of which count.
    pub fn between(self, least: impl Into<Value>, greatest: impl Into<Value>) -> Filter {
        self.compare("between", vec![least.into(), greatest.into()])
    }

    /// Its text begins so.
    pub fn prefix(self, text: impl Into<String>) -> Filter {
        self.compare("prefix", text.into())
    }

    /// Its text has all words of this one, as the analyser of the column takes both apart; its list has this text.
    pub fn contains(self, words: impl Into<String>) -> Filter {
        self.compare("contains", words.into())
    }

    /// It has all of these: words of a text, or texts of a list.
    pub fn contains_all<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Filter {
        self.compare_list("contains", values)
    }

    /// It has no value.
    pub fn is_null(self) -> Filter {
        self.compare("is_null", true)
    }

    /// It has a value.
    pub fn is_not_null(self) -> Filter {
        self.compare("is_null", false)
    }
}

impl Filter {
    /// Both are true.
    pub fn and(self, other: Filter) -> Filter {
        let mut nodes = match self.node {
            Node::And(nodes) => nodes,
            node => vec![node],
        };
        nodes.push(other.node);
        Filter { node: Node::And(nodes) }
    }

    /// One of them is true, or both are.
    pub fn or(self, other: Filter) -> Filter {
        let mut nodes = match self.node {
            Node::Or(nodes) => nodes,
            node => vec![node],
        };
        nodes.push(other.node);
        Filter { node: Node::Or(nodes) }
    }

    /// All are true; of none, every row.
    pub fn all(filters: impl IntoIterator<Item = Filter>) -> Filter {
        Filter { node: Node::And(filters.into_iter().map(|filter| filter.node).collect()) }
    }

    /// One of them is true; of none, no row.
    pub fn any(filters: impl IntoIterator<Item = Filter>) -> Filter {
        Filter { node: Node::Or(filters.into_iter().map(|filter| filter.node).collect()) }
    }
}

impl Not for Filter {
    type Output = Filter;

    /// It is not true.
    fn not(self) -> Filter {
        Filter { node: Node::Not(Box::new(self.node)) }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, nodes: &[Node]| {
            write!(f, "{{\"{name}\":[")?;
            for (place, node) in nodes.iter().enumerate() {
                write!(f, "{}{node}", if place > 0 { "," } else { "" })?;
            }
            write!(f, "]}}")
        };
        match self {
            Node::And(nodes) => list(f, "and", nodes),
            Node::Or(nodes) => list(f, "or", nodes),
            Node::Not(node) => write!(f, "{{\"not\":{node}}}"),
            Node::Condition { column, operator, operand } => {
                write!(f, "{{\"column\":{},\"{operator}\":{operand}}}", Value::from(column.as_str()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field};
    use engine::schema::Schema;

    use super::*;

    /// What the builder makes is what the engine reads.
    #[test]
    fn every_operator_is_understood() {
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let schema = Schema::from_arrow(&arrow::datatypes::Schema::new(vec![
            Field::new("id", DataType::UInt64, false),
            Field::new("a \"quoted\" name", DataType::Utf8, true),
            Field::new("kib", DataType::Int64, true),
            Field::new("v", DataType::FixedSizeList(item, 4), false),
        ]));
        let schema = schema.expect("a good schema");
        let (text, kib) = (|| col("a \"quoted\" name"), || col("kib"));
        let filters = [
            kib().eq(3),
            kib().ne(u64::MAX),
            kib().lt(2.5).or(kib().le(-1)).or(kib().gt(7)),
            kib().ge(1).and(kib().between(0, 9)).and(!text().prefix("x")),
            text().is_in(["a", "\n\"b\""]),
            text().contains("two words").and(text().contains_all(["one", "other"])),
            Filter::all([text().is_null(), kib().is_not_null()]),
            Filter::any([]),
        ];
        for filter in filters {
            let json = filter.to_string();
            engine::filter::Filter::parse(json.as_bytes(), &schema).unwrap_or_else(|error| panic!("{json}: {error}"));
        }
        let wrong = kib().prefix("x").to_string();
        assert!(engine::filter::Filter::parse(wrong.as_bytes(), &schema).is_err());
        assert_eq!(
            kib().lt(1).and(kib().gt(2)).or(kib().eq(3)).to_string(),
            r#"{"or":[{"and":[{"column":"kib","<":1},{"column":"kib",">":2}]},{"column":"kib","=":3}]}"#
        );
    }
}
