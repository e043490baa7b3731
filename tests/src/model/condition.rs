//! Filters: as JSON for the server, and read plainly one row at a time.

use std::cmp::Ordering;

use arrow::datatypes::DataType;
use serde_json::{Value as Json, json};

use super::text::{Analyser, random_operand};
use super::value::{TEXTS, Value};
use super::{Kind, Model, Row};
use crate::random::Random;

/// A filter.
#[derive(Clone, Debug)]
pub enum Condition {
    /// All are true.
    And(Vec<Condition>),
    /// One is true.
    Or(Vec<Condition>),
    /// It is not true.
    Not(Box<Condition>),
    /// What is asked of a column.
    Test {
        /// Its place.
        column: usize,
        /// Its name.
        name: String,
        /// The operator.
        operator: &'static str,
        /// The operands, as values; of `is_null` a boolean.
        operands: Vec<Value>,
        /// How its texts are taken apart.
        analyser: Analyser,
    },
}

impl Condition {
    /// A random filter over scalar columns of a model; some are true of next to nothing, some of next to everything.
    pub fn random(model: &Model, depth: u32, random: &mut Random) -> Condition {
        let some = |random: &mut Random| {
            (0..1 + random.below(3)).map(|_| Condition::random(model, depth - 1, random)).collect::<Vec<_>>()
        };
        match random.below(if depth == 0 { 1 } else { 6 }) {
            3 => Condition::And(some(random)),
            4 => Condition::Or(some(random)),
            5 => Condition::Not(Box::new(Condition::random(model, depth - 1, random))),
            _ => Condition::random_test(model, random),
        }
    }

    fn random_test(model: &Model, random: &mut Random) -> Condition {
        let scalars: Vec<usize> =
            (0..model.columns.len()).filter(|&at| model.columns[at].kind == Kind::Scalar).collect();
        let column = scalars[random.below(scalars.len() as u64) as usize];
        let field = model.columns[column].field.clone().with_nullable(false);
        let is_text = matches!(field.data_type(), DataType::Utf8 | DataType::List(_));
        let operators: &[&'static str] = match field.data_type() {
            DataType::Boolean => &["=", "!=", "in", "is_null"],
            DataType::List(_) => &["contains", "is_null"],
            DataType::Utf8 => {
                &["=", "!=", "<", "<=", ">", ">=", "in", "between", "prefix", "contains", "contains", "is_null"]
            }
            _ => &["=", "!=", "<", "<=", ">", ">=", "in", "between", "is_null"],
        };
        let operator = operators[random.below(operators.len() as u64) as usize];
        let operand = |random: &mut Random| loop {
            // JSON has no name for these; NaN is met in rows.
            match Value::random(&field, random) {
                Value::Float(value) if !value.is_finite() => {}
                value => return value,
            }
        };
        let mut operands: Vec<Value> = match operator {
            "is_null" => vec![Value::Bool(random.below(2) == 0)],
            "in" => (0..random.below(4)).map(|_| operand(random)).collect(),
            "contains" if *field.data_type() == DataType::Utf8 => {
                (0..1 + random.below(2)).map(|_| Value::Text(random_operand(random))).collect()
            }
            "contains" => (0..1 + random.below(2)).map(|_| random_text(random)).collect(),
            "between" => vec![operand(random), operand(random)],
            "prefix" => {
                let text = TEXTS[random.below(TEXTS.len() as u64) as usize];
                let characters = random.below(4) as usize;
                vec![Value::Text(text.chars().take(characters).collect())]
            }
            _ => vec![operand(random)],
        };
        if operator == "between" && compare(&operands[0], &operands[1]) == Some(Ordering::Greater) {
            operands.swap(0, 1);
        }
        // A number between those that a column of integers can hold.
        if !is_text && ["<", "<=", ">", ">="].contains(&operator) && random.below(4) == 0 {
            operands = vec![Value::Float(random.below(9) as f64 - 3.5)];
            if matches!(field.data_type(), DataType::Date32 | DataType::Timestamp(..) | DataType::Boolean) {
                operands = vec![operand(random)];
            }
        }
        let (name, analyser) = (field.name().clone(), Analyser::of(&field));
        Condition::Test { column, name, operator, operands, analyser }
    }

    /// As the server takes it.
    pub fn to_json(&self) -> Json {
        let list = |conditions: &[Condition]| conditions.iter().map(Condition::to_json).collect::<Vec<_>>();
        match self {
            Condition::And(conditions) => json!({"and": list(conditions)}),
            Condition::Or(conditions) => json!({"or": list(conditions)}),
            Condition::Not(condition) => json!({"not": condition.to_json()}),
            Condition::Test { name, operator, operands, .. } => {
                let operand = match *operator {
                    "in" | "between" => operands.iter().map(json_of).collect(),
                    "contains" if operands.len() > 1 => operands.iter().map(json_of).collect(),
                    _ => json_of(&operands[0]),
                };
                json!({"column": name, *operator: operand})
            }
        }
    }

    /// Whether it is true of a row.
    pub fn holds(&self, row: &Row) -> bool {
        match self {
            Condition::And(conditions) => conditions.iter().all(|condition| condition.holds(row)),
            Condition::Or(conditions) => conditions.iter().any(|condition| condition.holds(row)),
            Condition::Not(condition) => !condition.holds(row),
            Condition::Test { column, operator, operands, analyser, .. } => {
                test(operator, operands, *analyser, &row[*column])
            }
        }
    }
}

fn random_text(random: &mut Random) -> Value {
    Value::Text(TEXTS[random.below(TEXTS.len() as u64) as usize].to_owned())
}

fn test(operator: &str, operands: &[Value], analyser: Analyser, value: &Value) -> bool {
    let is_null = *value == Value::Null;
    if operator == "is_null" {
        return operands[0] == Value::Bool(is_null);
    }
    if is_null {
        return false;
    }
    let against = |operand: &Value| compare(value, operand);
    match operator {
        "=" => against(&operands[0]) == Some(Ordering::Equal),
        "!=" => against(&operands[0]) != Some(Ordering::Equal),
        "<" => against(&operands[0]) == Some(Ordering::Less),
        "<=" => against(&operands[0]).is_some_and(Ordering::is_le),
        ">" => against(&operands[0]) == Some(Ordering::Greater),
        ">=" => against(&operands[0]).is_some_and(Ordering::is_ge),
        "in" => operands.iter().any(|operand| against(operand) == Some(Ordering::Equal)),
        "between" => {
            against(&operands[0]).is_some_and(Ordering::is_ge) && against(&operands[1]).is_some_and(Ordering::is_le)
        }
        "contains" => operands.iter().all(|operand| match (value, operand) {
            (Value::Tags(tags), Value::Text(text)) => tags.contains(text),
            (Value::Text(value), Value::Text(text)) => analyser.contains(value, text),
            _ => panic!("{value:?} has no words"),
        }),
        "prefix" => match (value, &operands[0]) {
            (Value::Text(text), Value::Text(prefix)) => text.starts_with(prefix.as_str()),
            _ => panic!("a prefix of text"),
        },
        other => panic!("{other} is no operator of the model"),
    }
}

/// How two values of one column compare; numbers as numbers.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        // Halves below 2^53 here: twice the number is whole.
        (Value::Int(left), Value::Float(right)) => Some((left * 2).cmp(&((right * 2.0) as i128))),
        (Value::Text(left), Value::Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        _ => panic!("{left:?} and {right:?} do not compare"),
    }
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
            (Ok(value), _) => json!(value),
            (_, Ok(value)) => json!(value),
            _ => panic!("{value} is beyond every column"),
        },
        Value::Float(value) => json!(value),
        Value::Text(text) => json!(text),
        other => panic!("{other:?} is no operand"),
    }
}
