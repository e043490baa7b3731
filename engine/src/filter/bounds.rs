//! What a comparison with a number says of the values of a type: that they lie in a range, both ends of which count.
//!
//! A number of a filter may be one that the type does not have (2.5 of integers, 2^63 + 1 of f64): then the ends are the nearest values
//! inside.

/// A number of a filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i128),
    /// Finite.
    Float(f64),
}

/// How a value compares with an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Ranges of values that are wanted: apart from each other, in order, both ends of each among them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ranges<T>(Vec<(T, T)>);

impl<T: Copy + PartialOrd> Ranges<T> {
    /// What is in any of them; those that end before they begin are left out. None of the ends is NaN.
    pub fn new(mut ranges: Vec<(T, T)>) -> Ranges<T> {
        ranges.retain(|(from, to)| from <= to);
        ranges.sort_unstable_by(|a, b| a.0.partial_cmp(&b.0).expect("no NaN"));
        let mut apart: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match apart.last_mut() {
                Some(last) if from <= last.1 => last.1 = if to > last.1 { to } else { last.1 },
                _ => apart.push((from, to)),
            }
        }
        Ranges(apart)
    }

    /// The only range there is.
    pub fn single(&self) -> Option<(T, T)> {
        match self.0[..] {
            [range] => Some(range),
            _ => None,
        }
    }

    /// The ranges.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (T, T)> {
        self.0.iter().copied()
    }

    /// Whether a value is in one of them.
    #[inline]
    pub fn contain(&self, value: T) -> bool {
        let before = self.0.partition_point(|range| range.0 <= value);
        before > 0 && value <= self.0[before - 1].1
    }
}

/// Integers that compare with a number in this way.
pub(super) fn integers<T: TryFrom<i128> + Copy>(comparison: Comparison, number: Number, all: (T, T)) -> Option<(T, T)>
where
    i128: From<T>,
{
    let (ceil, floor) = match number {
        Number::Int(int) => (int, int),
        // Casts saturate, far beyond what any type has.
        Number::Float(float) => (float.ceil() as i128, float.floor() as i128),
    };
    let (from, to) = match comparison {
        Comparison::Equal => (ceil, floor),
        Comparison::Less => (i128::MIN, ceil.saturating_sub(1)),
        Comparison::AtMost => (i128::MIN, floor),
        Comparison::Greater => (floor.saturating_add(1), i128::MAX),
        Comparison::AtLeast => (ceil, i128::MAX),
    };
    let (from, to) = (from.max(all.0.into()), to.min(all.1.into()));
    Some((T::try_from(from).ok()?, T::try_from(to).ok()?)).filter(|_| from <= to)
}

/// Floats that compare with a number in this way; an f32 is taken as the f64 of the same value.
pub(super) fn floats(comparison: Comparison, number: Number) -> (f64, f64) {
    let (ceil, above, floor, below) = match number {
        Number::Float(float) => (float, float.next_up(), float, float.next_down()),
        Number::Int(int) => {
            let near = int as f64;
            // The conversion back is exact: a filter has no integer beyond 64 bits.
            let rounded = near as i128;
            let up = if rounded < int { near.next_up() } else { near };
            let down = if rounded > int { near.next_down() } else { near };
            let above = if rounded > int { near } else { near.next_up() };
            let below = if rounded < int { near } else { near.next_down() };
            (up, above, down, below)
        }
    };
    match comparison {
        Comparison::Equal => (ceil, floor),
        Comparison::Less => (f64::NEG_INFINITY, below),
        Comparison::AtMost => (f64::NEG_INFINITY, floor),
        Comparison::Greater => (above, f64::INFINITY),
        Comparison::AtLeast => (ceil, f64::INFINITY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPARISONS: [Comparison; 5] =
        [Comparison::Equal, Comparison::Less, Comparison::AtMost, Comparison::Greater, Comparison::AtLeast];

    fn holds(comparison: Comparison, order: std::cmp::Ordering) -> bool {
        match comparison {
            Comparison::Equal => order.is_eq(),
            Comparison::Less => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::AtLeast => order.is_ge(),
        }
    }

    #[test]
    fn every_small_integer_is_on_its_side() {
        let numbers = [-200.5, -129.0, -128.0, -3.5, -0.0, 0.0, 0.1, 2.0, 2.5, 127.0, 128.0, 1e300, -1e300];
        let ints = [-200, -128, -1, 0, 5, 127, 128, 255, 256, i128::from(u64::MAX), i128::from(i64::MIN)];
        let all = numbers.map(Number::Float).into_iter().chain(ints.map(Number::Int));
        for number in all {
            let order = |value: i128| match number {
                Number::Int(int) => value.cmp(&int),
                Number::Float(float) => (value as f64).partial_cmp(&float).unwrap(),
            };
            for comparison in COMPARISONS {
                let wanted = |value: i128| holds(comparison, order(value));
                let signed = Ranges::new(integers(comparison, number, (i8::MIN, i8::MAX)).into_iter().collect());
                let unsigned = Ranges::new(integers(comparison, number, (u8::MIN, u8::MAX)).into_iter().collect());
                for value in -128..128i128 {
                    assert_eq!(signed.contain(value as i8), wanted(value), "{value} {comparison:?} {number:?}");
                    let value = value + 128;
                    assert_eq!(unsigned.contain(value as u8), wanted(value), "{value} {comparison:?} {number:?}");
                }
            }
        }
    }

    /// Floats around a number, against integers and floats that no f64 or f32 is.
    #[test]
    fn every_float_is_on_its_side() {
        let ints = [0, 1, -7, (1 << 53) + 1, (1 << 62) + 1, i128::from(u64::MAX), i128::from(i64::MIN) + 1];
        let floats_of =
            |near: f64| [near.next_down(), near, near.next_up(), near as f32 as f64, 0.0, -0.0, 1e300, -1e300];
        for int in ints {
            for value in floats_of(int as f64) {
                let order = match value.abs() < 1e30 {
                    // Of two numbers of which one is whole, floor and rest tell the order.
                    true => (value.floor() as i128).cmp(&int).then_with(|| value.fract().partial_cmp(&0.0).unwrap()),
                    false => value.partial_cmp(&(int as f64)).unwrap(),
                };
                let order = if value.fract() < 0.0 && value.floor() as i128 == int {
                    std::cmp::Ordering::Greater
                } else {
                    order
                };
                for comparison in COMPARISONS {
                    let ranges = Ranges::new(vec![floats(comparison, Number::Int(int))]);
                    assert_eq!(ranges.contain(value), holds(comparison, order), "{value:e} {comparison:?} {int}");
                }
            }
        }
        for float in [0.1, -0.0, 0.0, 1e-310, 0.1f32 as f64, f64::MAX] {
            for value in floats_of(float) {
                for comparison in COMPARISONS {
                    let ranges = Ranges::new(vec![floats(comparison, Number::Float(float))]);
                    let wanted = holds(comparison, value.partial_cmp(&float).unwrap());
                    assert_eq!(ranges.contain(value), wanted, "{value:e} {comparison:?} {float:e}");
                    assert!(!ranges.contain(f64::NAN));
                }
            }
        }
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let ranges = Ranges::new(vec![(5, 9), (1, 2), (9, 12), (4, 3), (2, 2), (20, 20)]);
        assert_eq!(ranges, Ranges(vec![(1, 2), (5, 12), (20, 20)]));
        let within: Vec<i32> = (0..25).filter(|&value| ranges.contain(value)).collect();
        assert_eq!(within, [1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 20]);
        assert!(!Ranges::<i32>::new(Vec::new()).contain(0));
    }
}
