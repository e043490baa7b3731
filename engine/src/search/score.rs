//! How similar a row is, as a number that grows with nearness, for people and for thresholds.

use kernels::Metric;

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

#[cfg(test)]
mod tests {
    use super::*;

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
