//! Lists and ranges of numbers on the command line.

use std::str::FromStr;

/// Numbers in the order in which they were given: `5000`, `100,200,500`, `1..8` (doubled each time: 1, 2, 4, 8), `1000..5000+2000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values(pub Vec<u32>);

/// Numbers of a list, at most.
const COUNT_MAX: usize = 64;

impl FromStr for Values {
    type Err = String;

    fn from_str(text: &str) -> Result<Values, String> {
        let mut values = Vec::new();
        for item in text.split(',') {
            push(item.trim(), &mut values)?;
        }
        Ok(Values(values))
    }
}

fn push(item: &str, values: &mut Vec<u32>) -> Result<(), String> {
    let number = |text: &str| match text.parse::<u32>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{text}` is no number above 0; give N, a list A,B,C, a range A..B (doubled) or A..B+STEP")),
    };
    let Some((first, rest)) = item.split_once("..") else {
        values.push(number(item)?);
        return Ok(());
    };
    let (last, step) = match rest.split_once('+') {
        Some((last, step)) => (last, Some(number(step)?)),
        None => (rest, None),
    };
    let (mut value, last) = (number(first)?, number(last)?);
    if value > last {
        return Err(format!("`{item}` ends before it begins"));
    }
    loop {
        if values.len() == COUNT_MAX {
            return Err(format!("more than {COUNT_MAX} values"));
        }
        values.push(value);
        let next = step.map_or(value.checked_mul(2), |step| value.checked_add(step));
        match next {
            Some(next) if next <= last => value = next,
            _ => return Ok(()),
        }
    }
}

/// Parses values that are all within bounds.
pub fn parse(text: &str, most: u32) -> Result<Values, String> {
    let values: Values = text.parse()?;
    match values.0.iter().find(|&&value| value > most) {
        Some(value) => Err(format!("{value} is above {most}")),
        None => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        let of = |text: &str| text.parse::<Values>().map(|values| values.0);
        assert_eq!(of("5000").unwrap(), [5000]);
        assert_eq!(of("100, 200,500").unwrap(), [100, 200, 500]);
        assert_eq!(of("1..8").unwrap(), [1, 2, 4, 8]);
        assert_eq!(of("3..8,1").unwrap(), [3, 6, 1]);
        assert_eq!(of("1000..5000+2000").unwrap(), [1000, 3000, 5000]);
        for wrong in ["", "0", "a", "5..", "..5", "8..1", "1..9+0", "1..4000000000+1", "-1"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse("5,8", 7).unwrap_err(), "8 is above 7");
        assert!(parse("5,8", 8).is_ok());
    }
}
