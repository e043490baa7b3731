//! Any number of rows that lie as the real ones do.
//!
//! A made row starts at a real one, x, and goes along differences of real rows near x:
//!
//! ```text
//! v = Σ g (y − z)        over 3 pairs y, z of the 10 nearest of x, with g from the normal distribution
//! row = x + v · 0.6 d / |v|, scaled to length 1      d: distance from x to one of its 10 nearest, drawn by lot
//! ```
//!
//! Differences of neighbours keep a row where the data are, which noise in all directions would not: of 384 dimensions the
//! data fill about seven. The share 0.6 is set so that among as many made rows as real ones the nearest and the tenth nearest
//! are about as far away as among real ones; the section prints both. Row `i` depends on its number alone, not on how many there are.

use std::ops::Range;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::graph::Vectors;
use crate::graph::exact::nearest;

/// Rows that count as near.
const NEAR: usize = 10;
/// Differences that make a direction.
const PAIRS: usize = 3;
/// Share of the distance to a neighbour.
const SHARE: f32 = 0.6;
const SEED: u64 = 0x62_436;

/// Real rows with their neighbourhoods.
pub struct Source {
    real: Vectors,
    /// Distance and index of the nearest other rows, row behind row; none of the distances is below 0.
    near: Vec<(f32, u32)>,
}

impl Source {
    /// Finds the neighbours of every row.
    ///
    /// # Panics
    /// With fewer rows than a neighbourhood has.
    pub fn new(real: Vectors) -> Source {
        assert!(real.len() > NEAR, "{} rows are too few to make others from", real.len());
        eprintln!("neighbours of {} real rows …", real.len());
        let others = |(row, found): (usize, Vec<(f32, u32)>)| {
            let others = found.into_iter().filter(move |(_, index)| *index as usize != row).take(NEAR);
            others.map(|(distance, index)| (chord(distance), index))
        };
        let near = nearest(&real, &real, NEAR + 1).into_iter().enumerate().flat_map(others).collect();
        Source { real, near }
    }

    /// The real rows.
    pub fn real(&self) -> &Vectors {
        &self.real
    }

    /// `count` rows: the real ones, and behind them made ones.
    pub fn rows(&self, count: usize) -> Vectors {
        let dimension = self.real.dimension();
        let real = count.min(self.real.len());
        let mut values = Vec::with_capacity(count * dimension);
        values.extend_from_slice(&self.real.values()[..real * dimension]);
        self.make(real..count, &mut values);
        Vectors::new(values, dimension)
    }

    /// The made rows of these numbers.
    pub fn made(&self, numbers: Range<usize>) -> Vectors {
        let mut values = Vec::with_capacity(numbers.len() * self.real.dimension());
        self.make(numbers, &mut values);
        Vectors::new(values, self.real.dimension())
    }

    fn make(&self, numbers: Range<usize>, out: &mut Vec<f32>) {
        let mut row = vec![0.0; self.real.dimension()];
        for number in numbers {
            self.make_row(number, &mut row);
            out.extend_from_slice(&row);
        }
    }

    fn make_row(&self, number: usize, row: &mut [f32]) {
        let mut random = SmallRng::seed_from_u64(SEED ^ number as u64);
        let origin = random.random_range(0..self.real.len());
        let near = &self.near[origin * NEAR..][..NEAR];
        row.fill(0.0);
        for _ in 0..PAIRS {
            let first = random.random_range(0..NEAR);
            let second = (first + random.random_range(1..NEAR)) % NEAR;
            let factor = normal(&mut random);
            let (y, z) = (self.real.get(near[first].1 as usize), self.real.get(near[second].1 as usize));
            for (x, (y, z)) in row.iter_mut().zip(y.iter().zip(z)) {
                *x += factor * (y - z);
            }
        }
        let distance = near[random.random_range(0..NEAR)].0;
        // Where all neighbours are the same row there is no direction, and the row stays where it is.
        let step = SHARE * distance / norm(row).max(1e-6);
        for (x, origin) in row.iter_mut().zip(self.real.get(origin)) {
            *x = origin + step * *x;
        }
        let norm = norm(row);
        row.iter_mut().for_each(|x| *x /= norm);
    }
}

/// Distance of two points on the sphere, from their negated inner product.
pub fn chord(negated_product: f32) -> f32 {
    (2.0 + 2.0 * negated_product).max(0.0).sqrt()
}

fn norm(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

/// A normal number, by the method of Box and Muller.
fn normal(random: &mut SmallRng) -> f32 {
    let (radius, angle): (f32, f32) = (1.0 - random.random::<f32>(), random.random());
    (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of a circle in three dimensions.
    fn circle(rows: usize) -> Vectors {
        let point = |row: usize| {
            let angle = row as f32 * std::f32::consts::TAU / rows as f32;
            [angle.cos(), angle.sin(), 0.0]
        };
        Vectors::new((0..rows).flat_map(point).collect(), 3)
    }

    #[test]
    fn rows_stay_where_the_data_are_and_depend_on_their_number_alone() {
        let source = Source::new(circle(500));
        let many = source.rows(2_000);
        assert_eq!(many.values()[..1_500], source.real().values()[..]);
        assert_eq!(many.values()[1_500..3_000], source.rows(1_000).values()[1_500..]);
        assert_eq!(many.values()[3 * 700..][..300], *source.made(700..800).values());
        for row in many.iter() {
            assert!((norm(row) - 1.0).abs() < 1e-5, "{row:?} has another length");
            assert!(row[2].abs() < 1e-5, "{row:?} has left the plane of the data");
        }
        let distinct =
            |rows: &Vectors| rows.iter().map(|row| row[0].to_bits()).collect::<std::collections::HashSet<_>>().len();
        assert!(distinct(&source.made(0..500)) > 450, "made rows repeat");
        assert_eq!(source.rows(100).len(), 100);
    }
}
