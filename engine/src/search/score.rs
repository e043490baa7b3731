//! How similar a row is, as a number that grows with nearness, for people and for thresholds.

use kernels::Metric;

use crate::error::{Error, Result};
use crate::schema::VectorColumn;

/// The similarity that a distance stands for. It never grows with the distance.
///
/// | metric | distance | similarity | range |
/// |---|---|---|---|
/// | cosine | 1 − cos | 1 − distance, the cosine | −1 to 1 |
/// | dot | −product | −distance, the product | any |
/// | l2 | squared | 1 / (1 + distance) | above 0, to 1 |
/// | hamming | bits that differ | 1 − distance / dimension, the share of equal bits | 0 to 1 |
pub fn similarity(metric: Metric, dimension: usize, distance: f32) -> f32 {
    match metric {
        Metric::Cosine => 1.0 - distance,
        // Zero is added so that no product is −0.
        Metric::Dot => 0.0 - distance,
        Metric::L2 => 1.0 / (1.0 + distance),
        Metric::Hamming => 1.0 - distance / dimension as f32,
    }
}

/// What a row must be to be found: a search for all that is so near, up to `k`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// No farther than this.
    DistanceMax(f32),
    /// No less similar than this.
    ScoreMin(f32),
}

impl Threshold {
    /// Whether a distance in a column is within. Of two distances the nearer one is, where the farther one is.
    pub fn admits(&self, column: &VectorColumn, distance: f32) -> bool {
        match *self {
            Threshold::DistanceMax(most) => distance <= most,
            Threshold::ScoreMin(least) => similarity(column.metric, column.dimension, distance) >= least,
        }
    }

    /// Refuses what is no distance or no similarity of a column.
    ///
    /// # Errors
    /// `InvalidOption` for NaN, and for a negative number where there are none.
    pub fn check(&self, column: &VectorColumn) -> Result<()> {
        let (option, value, has_negative) = match *self {
            Threshold::DistanceMax(most) => ("distance_max", most, column.metric == Metric::Dot),
            Threshold::ScoreMin(least) => ("score_min", least, matches!(column.metric, Metric::Dot | Metric::Cosine)),
        };
        let invalid = |problem| Err(Error::InvalidOption { option: option.to_owned(), problem });
        if value.is_nan() {
            return invalid("it takes a number");
        }
        if value < 0.0 && !has_negative {
            return invalid("it is never negative under the metric of the column");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kernels::ElementKind;

    use super::*;
    use crate::schema::Codes;

    #[test]
    fn thresholds_count_themselves_and_know_their_range() {
        let of = |metric| VectorColumn {
            column: 1,
            name: "v".into(),
            kind: ElementKind::F32,
            dimension: 16,
            metric,
            codes: Codes::None,
            rerank: 1,
            on_disk: false,
            index: Default::default(),
        };
        let l2 = of(Metric::L2);
        assert!(Threshold::DistanceMax(3.0).admits(&l2, 3.0) && !Threshold::DistanceMax(3.0).admits(&l2, 3.1));
        assert!(Threshold::ScoreMin(0.25).admits(&l2, 3.0) && !Threshold::ScoreMin(0.25).admits(&l2, 3.1));
        let (negative_distance, negative_score) = (Threshold::DistanceMax(-0.5), Threshold::ScoreMin(-0.5));
        for (metric, is_distance, is_score) in [
            (Metric::L2, false, false),
            (Metric::Cosine, false, true),
            (Metric::Dot, true, true),
            (Metric::Hamming, false, false),
        ] {
            let column = of(metric);
            assert_eq!(negative_distance.check(&column).is_ok(), is_distance, "{metric:?}");
            assert_eq!(negative_score.check(&column).is_ok(), is_score, "{metric:?}");
            assert!(Threshold::ScoreMin(f32::NAN).check(&column).is_err());
            assert!(Threshold::DistanceMax(0.0).check(&column).is_ok());
        }
    }

    #[test]
    fn similarities_are_as_documented() {
        assert_eq!(similarity(Metric::Cosine, 3, 0.25), 0.75);
        assert_eq!(similarity(Metric::Cosine, 3, 2.0), -1.0);
        assert_eq!(similarity(Metric::Dot, 3, -7.5), 7.5);
        assert!(similarity(Metric::Dot, 3, 0.0).is_sign_positive());
        assert_eq!(similarity(Metric::L2, 3, 0.0), 1.0);
        assert_eq!(similarity(Metric::L2, 3, 3.0), 0.25);
        assert_eq!(similarity(Metric::L2, 3, f32::INFINITY), 0.0);
        assert_eq!(similarity(Metric::Hamming, 16, 4.0), 0.75);
    }

    #[test]
    fn what_is_farther_is_never_more_similar() {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2, Metric::Hamming] {
            let distances = (0..10_000).map(|step| step as f32 * 1e-4);
            let scores: Vec<f32> = distances.map(|distance| similarity(metric, 64, distance)).collect();
            assert!(scores.is_sorted_by(|nearer, farther| nearer >= farther), "{metric:?}");
        }
    }
}
