//! How rows lie among each other: how far away neighbours are, and in how many dimensions.

use super::synthetic::chord;
use crate::graph::Vectors;
use crate::graph::exact::nearest;
use crate::report::{Figure, median};

/// Rows whose neighbours are looked at.
const SAMPLE_ROWS: usize = 1_000;
/// Neighbours that the dimension is estimated from.
const NEIGHBOURS: usize = 20;
/// Neighbours that are nearer are copies: they tell nothing of a dimension.
const COPY_DISTANCE: f32 = 1e-3;

/// Medians over a sample of rows.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Distance to the nearest other row.
    pub nearest: f64,
    /// Distance to the tenth.
    pub tenth: f64,
    /// Intrinsic dimension, by Levina and Bickel's estimate from 20 neighbours, of which the inverses are averaged as MacKay and
    /// Ghahramani have it.
    pub dimension: f64,
}

impl Shape {
    /// Looks at rows at even intervals.
    ///
    /// # Panics
    /// With fewer rows than neighbours, or with copies of a few rows only.
    pub fn measure(rows: &Vectors) -> Shape {
        assert!(rows.len() > NEIGHBOURS, "{} rows have no neighbourhoods", rows.len());
        let sampled: Vec<usize> = (0..rows.len()).step_by(rows.len().div_ceil(SAMPLE_ROWS)).collect();
        let sample = Vectors::new(sampled.iter().flat_map(|&row| rows.get(row)).copied().collect(), rows.dimension());
        let others = |(found, &row): (Vec<(f32, u32)>, &usize)| -> Vec<f32> {
            let others = found.into_iter().filter(|(_, index)| *index as usize != row);
            others.map(|(distance, _)| chord(distance)).take(NEIGHBOURS).collect()
        };
        let found = nearest(rows, &sample, NEIGHBOURS + 1);
        let distances: Vec<Vec<f32>> = found.into_iter().zip(&sampled).map(others).collect();
        let median_of = |rank: usize| median(distances.iter().map(|near| f64::from(near[rank])).collect());
        let inverses: Vec<f64> = distances.iter().filter_map(|near| inverse_dimension(near)).collect();
        assert!(!inverses.is_empty(), "nothing but copies");
        let dimension = inverses.len() as f64 / inverses.iter().sum::<f64>();
        Shape { nearest: median_of(0), tenth: median_of(9), dimension }
    }

    /// For the report, beside others where there are.
    pub fn figures(&self, of: &str, beside: Option<&Shape>) -> Vec<Figure> {
        let figure = |name: &str, value: f64, other: Option<f64>| {
            let figure = Figure::new(format!("{of}: {name}"), value, "");
            match other {
                Some(other) => figure.beside("real rows", other),
                None => figure,
            }
        };
        vec![
            figure("distance to the nearest, median", self.nearest, beside.map(|other| other.nearest)),
            figure("distance to the tenth, median", self.tenth, beside.map(|other| other.tenth)),
            figure("intrinsic dimension", self.dimension, beside.map(|other| other.dimension)),
        ]
    }
}

/// Mean of ln(farthest / each), from rising distances; None of rows with copies.
fn inverse_dimension(near: &[f32]) -> Option<f64> {
    let farthest = f64::from(*near.last()?);
    let logarithms: Vec<f64> = near[..near.len() - 1].iter().map(|&each| (farthest / f64::from(each)).ln()).collect();
    // Without bias: the farthest itself gives nothing, and one more is lost to it.
    (near[0] > COPY_DISTANCE).then(|| logarithms.iter().sum::<f64>() / (logarithms.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn the_dimension_of_a_sphere_is_found() {
        let mut random = SmallRng::seed_from_u64(7);
        for dimension in [3, 6] {
            let mut values = Vec::new();
            while values.len() < 4_000 * dimension {
                let point: Vec<f32> = (0..dimension).map(|_| random.random_range(-1.0..1.0)).collect();
                let norm = point.iter().map(|x| x * x).sum::<f32>().sqrt();
                if (0.1..1.0).contains(&norm) {
                    values.extend(point.iter().map(|x| x / norm));
                }
            }
            let shape = Shape::measure(&Vectors::new(values, dimension));
            let surface = (dimension - 1) as f64;
            assert!(
                (shape.dimension / surface - 1.0).abs() < 0.15,
                "{shape:?} of a sphere's surface of {surface} dimensions"
            );
            assert!(0.0 < shape.nearest && shape.nearest < shape.tenth, "{shape:?}");
        }
    }
}
