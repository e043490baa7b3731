//! JSON, and the schema that it is about, to a filter.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use simd_json::prelude::*;
use simd_json::{BorrowedValue, StaticNode};

use super::bounds::{Comparison, Number, Ranges, floats, integers};
use super::{Filter, Node, Test, TextRange, Values};
use crate::analyser::{Analyser, Scratch};
use crate::error::{Error, Result};
use crate::limits;
use crate::schema::Schema;

impl Filter {
    /// Reads a filter of rows of a schema.
    ///
    /// # Errors
    /// `InvalidFilter`, with the place, for what is no filter or does not fit the columns; `UnknownColumn`; `LimitExceeded` for one that is too long or nested too deep.
    pub fn parse(json: &[u8], schema: &Schema) -> Result<Filter> {
        limited("size of the filter in bytes", json.len(), limits::FILTER_BYTES_MAX)?;
        limited("depth of the filter", depth(json), limits::FILTER_DEPTH_MAX)?;
        let mut bytes = json.to_vec();
        let value = simd_json::to_borrowed_value(&mut bytes).map_err(|_| invalid("filter", "this is not JSON"))?;
        Ok(Filter::new(node(&value, schema)?))
    }
}

fn limited(what: &'static str, value: usize, limit: usize) -> Result<()> {
    match value > limit {
        true => Err(Error::LimitExceeded { what, value: value as u64, limit: limit as u64 }),
        false => Ok(()),
    }
}

/// Each text once, in order; not too many of them.
fn distinct(what: &'static str, mut texts: Vec<Box<[u8]>>) -> Result<Vec<Box<[u8]>>> {
    texts.sort_unstable();
    texts.dedup();
    limited(what, texts.len(), limits::FILTER_WORDS_MAX)?;
    Ok(texts)
}

fn invalid(place: impl Into<String>, problem: &'static str) -> Error {
    Error::InvalidFilter { place: place.into(), problem }
}

/// Greatest number of brackets that are open at a time: what is nested a million deep is refused before anybody follows it.
pub(crate) fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn node(value: &BorrowedValue<'_>, schema: &Schema) -> Result<Node> {
    let Some(object) = value.as_object() else {
        return Err(invalid("filter", "a filter is an object"));
    };
    for (name, make) in [("and", Node::And as fn(Vec<Node>) -> Node), ("or", Node::Or as fn(Vec<Node>) -> Node)] {
        if let Some(list) = object.get(name) {
            let list = list.as_array().ok_or_else(|| invalid(name, "it takes a list of filters"))?;
            alone(object.len(), name)?;
            let mut nodes = list.iter().map(|value| node(value, schema)).collect::<Result<Vec<_>>>()?;
            nodes.sort_by_key(Node::cost);
            return Ok(make(nodes));
        }
    }
    if let Some(value) = object.get("not") {
        alone(object.len(), "not")?;
        return Ok(Node::Not(Box::new(node(value, schema)?)));
    }
    let name = object.get("column").and_then(|name| name.as_str());
    let name = name.ok_or_else(|| invalid("filter", "it has none of `and`, `or`, `not`, `column`"))?;
    let column = Column::new(name, schema)?;
    let operators = object.iter().filter(|(key, _)| **key != "column");
    let mut nodes =
        operators.map(|(operator, operand)| column.condition(operator, operand)).collect::<Result<Vec<_>>>()?;
    nodes.sort_by_key(Node::cost);
    match nodes.len() {
        0 => Err(invalid(name, "it has no operator")),
        1 => Ok(nodes.remove(0)),
        _ => Ok(Node::And(nodes)),
    }
}

fn alone(keys: usize, name: &str) -> Result<()> {
    if keys == 1 { Ok(()) } else { Err(invalid(name, "nothing else may stand beside it")) }
}

/// A column that is compared with something.
struct Column<'a> {
    index: usize,
    name: &'a str,
    data_type: &'a DataType,
    is_nullable: bool,
    analyser: &'a Arc<Analyser>,
}

impl<'a> Column<'a> {
    fn new(name: &'a str, schema: &'a Schema) -> Result<Column<'a>> {
        let index = schema.column_index(name)?;
        let column = &schema.columns()[index];
        if column.layout.is_vector() {
            return Err(invalid(name, "a vector is searched for, not compared"));
        }
        let (data_type, analyser) = (schema.arrow().field(index).data_type(), schema.analyser(index));
        Ok(Column { index, name, data_type, is_nullable: column.nullable, analyser })
    }

    fn invalid(&self, problem: &'static str) -> Error {
        invalid(self.name, problem)
    }

    fn test(&self, values: Values) -> Node {
        Node::Test(Test { column: self.index, is_nullable: self.is_nullable, values, condition: 0 })
    }

    fn condition(&self, operator: &str, operand: &BorrowedValue<'_>) -> Result<Node> {
        let list = |what| operand.as_array().ok_or_else(|| self.invalid(what));
        let values = match operator {
            "=" => self.one_of(std::slice::from_ref(operand))?,
            "!=" => {
                let equal = self.test(self.one_of(std::slice::from_ref(operand))?);
                let differs = Node::Not(Box::new(equal));
                let is_there = || Node::Not(Box::new(self.test(Values::Null)));
                return Ok(if self.is_nullable { Node::And(vec![is_there(), differs]) } else { differs });
            }
            "in" => self.one_of(list("`in` takes a list of values")?)?,
            "between" => match &list("`between` takes a list of two values")?[..] {
                [least, greatest] => {
                    let from = self.compared(Comparison::AtLeast, least)?;
                    return Ok(Node::And(vec![
                        self.test(from),
                        self.test(self.compared(Comparison::AtMost, greatest)?),
                    ]));
                }
                _ => return Err(self.invalid("`between` takes a list of two values")),
            },
            "<" => self.compared(Comparison::Less, operand)?,
            "<=" => self.compared(Comparison::AtMost, operand)?,
            ">" => self.compared(Comparison::Greater, operand)?,
            ">=" => self.compared(Comparison::AtLeast, operand)?,
            "prefix" if *self.data_type == DataType::Utf8 => Values::TextPrefix(self.text(operand)?),
            "prefix" => return Err(self.invalid("`prefix` is for columns of text")),
            "contains" => match self.data_type {
                DataType::Utf8 => self.words(operand)?,
                DataType::List(_) => self.tags(operand)?,
                _ => return Err(self.invalid("`contains` is for columns of text and of lists")),
            },
            "is_null" => {
                let is_null = self.test(Values::Null);
                return match operand.as_bool() {
                    Some(true) => Ok(is_null),
                    Some(false) => Ok(Node::Not(Box::new(is_null))),
                    None => Err(self.invalid("`is_null` takes true or false")),
                };
            }
            _ => return Err(invalid(format!("{}: {operator}", self.name), "no such operator")),
        };
        Ok(self.test(values))
    }

    /// The test for any of some values.
    fn one_of(&self, operands: &[BorrowedValue<'_>]) -> Result<Values> {
        match self.data_type {
            DataType::Boolean => {
                let mut wanted = [false; 2];
                for operand in operands {
                    let value = operand.as_bool().ok_or_else(|| self.invalid("the column takes true or false"))?;
                    wanted[usize::from(value)] = true;
                }
                Ok(Values::Bool(wanted))
            }
            DataType::Utf8 => {
                let mut texts = operands.iter().map(|operand| self.text(operand)).collect::<Result<Vec<_>>>()?;
                texts.sort_unstable();
                texts.dedup();
                Ok(Values::TextIn(texts))
            }
            DataType::List(_) => Err(self.invalid("a list is no value")),
            _ => {
                let numbers = operands.iter().map(|operand| self.number(operand)).collect::<Result<Vec<_>>>()?;
                Ok(self.numbers(Comparison::Equal, &numbers))
            }
        }
    }

    /// The test for what compares with a value in this way.
    fn compared(&self, comparison: Comparison, operand: &BorrowedValue<'_>) -> Result<Values> {
        match self.data_type {
            DataType::Boolean => Err(self.invalid("true and false have no order")),
            DataType::List(_) => Err(self.invalid("lists have no order")),
            DataType::Utf8 => Ok(Values::TextWithin(text_range(comparison, self.text(operand)?))),
            _ => Ok(self.numbers(comparison, &[self.number(operand)?])),
        }
    }

    /// The test for what compares with one of some numbers in this way.
    fn numbers(&self, comparison: Comparison, numbers: &[Number]) -> Values {
        macro_rules! ints {
            ($type:ty) => {{
                let all = (<$type>::MIN, <$type>::MAX);
                Ranges::new(numbers.iter().filter_map(|&number| integers(comparison, number, all)).collect())
            }};
        }
        let floats = || Ranges::new(numbers.iter().map(|&number| floats(comparison, number)).collect());
        match self.data_type {
            DataType::Int8 => Values::I8(ints!(i8)),
            DataType::Int16 => Values::I16(ints!(i16)),
            DataType::Int32 | DataType::Date32 => Values::I32(ints!(i32)),
            DataType::Int64 | DataType::Timestamp(..) => Values::I64(ints!(i64)),
            DataType::UInt8 => Values::U8(ints!(u8)),
            DataType::UInt16 => Values::U16(ints!(u16)),
            DataType::UInt32 => Values::U32(ints!(u32)),
            DataType::UInt64 => Values::U64(ints!(u64)),
            DataType::Float32 => Values::F32(floats()),
            DataType::Float64 => Values::F64(floats()),
            _ => {
                unreachable!("text, booleans and vectors are treated elsewhere, and there is nothing else in a schema")
            }
        }
    }

    /// The test for all words of one text, or of several.
    fn words(&self, operand: &BorrowedValue<'_>) -> Result<Values> {
        let (mut wanted, mut scratch): (Vec<Box<[u8]>>, _) = (Vec::new(), Scratch::default());
        for text in self.texts(operand)? {
            self.analyser.tokens(text, &mut scratch, |word, _| wanted.push(word.into()));
        }
        Ok(Values::TextWords(self.analyser.clone(), distinct("number of words that a text is to contain", wanted)?))
    }

    /// The test for one text of a list, or for several.
    fn tags(&self, operand: &BorrowedValue<'_>) -> Result<Values> {
        let wanted = self.texts(operand)?.into_iter().map(|text| text.as_bytes().into()).collect();
        Ok(Values::Tags(distinct("number of texts that a list is to contain", wanted)?))
    }

    /// One text, or a list of them.
    fn texts<'b>(&self, operand: &'b BorrowedValue<'_>) -> Result<Vec<&'b str>> {
        let operands = operand.as_array().map_or(std::slice::from_ref(operand), |list| &list[..]);
        let text = |operand: &'b BorrowedValue<'_>| {
            operand.as_str().ok_or_else(|| self.invalid("`contains` takes text, or a list of texts"))
        };
        operands.iter().map(text).collect()
    }

    fn text(&self, operand: &BorrowedValue<'_>) -> Result<Box<[u8]>> {
        let text = operand.as_str().ok_or_else(|| self.invalid("the column takes text"))?;
        Ok(text.as_bytes().into())
    }

    fn number(&self, operand: &BorrowedValue<'_>) -> Result<Number> {
        match operand {
            BorrowedValue::Static(StaticNode::I64(value)) => Ok(Number::Int(i128::from(*value))),
            BorrowedValue::Static(StaticNode::U64(value)) => Ok(Number::Int(i128::from(*value))),
            BorrowedValue::Static(StaticNode::F64(value)) => Ok(Number::Float(*value)),
            BorrowedValue::String(text) => self.moment(text),
            _ => Err(self.invalid("the column takes a number")),
        }
    }

    /// The number that a date or timestamp column holds for a text.
    fn moment(&self, text: &str) -> Result<Number> {
        let problem = match self.data_type {
            DataType::Date32 => "this is no date (2024-02-29)",
            DataType::Timestamp(..) => "this is no moment (2024-02-29T12:30:00Z)",
            _ => return Err(self.invalid("the column takes a number")),
        };
        let strict = CastOptions { safe: false, ..Default::default() };
        let text: ArrayRef = Arc::new(StringArray::from_iter_values([text]));
        let value = cast_with_options(&text, self.data_type, &strict).map_err(|_| self.invalid(problem))?;
        if value.is_null(0) {
            return Err(self.invalid(problem));
        }
        let number = match self.data_type {
            DataType::Date32 => i128::from(value.to_data().buffer::<i32>(0)[0]),
            _ => i128::from(value.to_data().buffer::<i64>(0)[0]),
        };
        Ok(Number::Int(number))
    }
}

fn text_range(comparison: Comparison, text: Box<[u8]>) -> TextRange {
    match comparison {
        Comparison::Equal => (Bound::Included(text.clone()), Bound::Included(text)),
        Comparison::Less => (Bound::Unbounded, Bound::Excluded(text)),
        Comparison::AtMost => (Bound::Unbounded, Bound::Included(text)),
        Comparison::Greater => (Bound::Excluded(text), Bound::Unbounded),
        Comparison::AtLeast => (Bound::Included(text), Bound::Unbounded),
    }
}
