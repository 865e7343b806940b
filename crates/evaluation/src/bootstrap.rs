//! Percentile intervals by resampling (Efron and Tibshirani 1993, chapter 13).

use serde::Serialize;

/// Resamples that are usual for a percentile interval of 95 %.
pub const RESAMPLES: usize = 1_000;

/// A figure with its bootstrap interval of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure over all rows.
    pub value: f64,
    /// Its 2.5th and 97.5th percentile over the resamples; `None` without resamples, or where more than half of them
    /// do not have the figure. No width says that all resamples agree, not that the figure is exact.
    pub interval: Option<(f64, f64)>,
}

/// Measures figures over all rows and over `resamples` samples with replacement.
///
/// `clusters[row]` numbers the cluster of a row, from 0. Whole clusters are drawn, because rows that are alike (one
/// template with other words in it) say less than as many rows that are not; number the rows themselves where they are
/// independent. `measure` gets a weight for each row, how often it was drawn, and tells the same figures in the same order
/// each time; `None` where one is undefined. The same seed gives the same intervals.
pub fn estimate(
    clusters: &[u32],
    resamples: usize,
    seed: u64,
    mut measure: impl FnMut(&[u32]) -> Vec<Option<f64>>,
) -> Vec<Option<Estimate>> {
    let mut weights = vec![1; clusters.len()];
    let values = measure(&weights);
    let clusters_count = clusters.iter().max().map_or(0, |&last| last as usize + 1);
    let mut samples: Vec<Vec<f64>> = vec![Vec::with_capacity(resamples); values.len()];
    let mut random = SplitMix(seed);
    let mut drawn = vec![0_u32; clusters_count];
    for _ in 0..resamples {
        drawn.fill(0);
        for _ in 0..clusters_count {
            if let Some(times) = drawn.get_mut(random.below(clusters_count)) {
                *times += 1;
            }
        }
        for (weight, &cluster) in weights.iter_mut().zip(clusters) {
            *weight = drawn.get(cluster as usize).copied().unwrap_or(0);
        }
        for (sample, value) in samples.iter_mut().zip(measure(&weights)) {
            sample.extend(value);
        }
    }
    values
        .into_iter()
        .zip(samples)
        .map(|(value, sample)| value.map(|value| Estimate { value, interval: interval(sample, resamples) }))
        .collect()
}

fn interval(mut sample: Vec<f64>, resamples: usize) -> Option<(f64, f64)> {
    if sample.is_empty() || sample.len() * 2 < resamples {
        return None;
    }
    sample.sort_by(f64::total_cmp);
    Some((percentile(&sample, 25)?, percentile(&sample, 975)?))
}

/// Percentile in thousandths, linear between neighbours as numpy's default is.
fn percentile(sorted: &[f64], thousandths: usize) -> Option<f64> {
    let position = (sorted.len() - 1) * thousandths;
    let (below, part) = (position / 1000, crate::count(position % 1000) / 1000.0);
    let low = sorted.get(below)?;
    let high = sorted.get(below + 1).unwrap_or(low);
    Some(low + (high - low) * part)
}

/// `SplitMix64` (Steele, Lea and Flood 2014): small, fast, and more than even enough for resampling.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound` (Lemire 2019, without the rejection: its error is below `bound` / 2^64).
    fn below(&mut self, bound: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "below bound, which is a usize")]
        let number = ((u128::from(self.next()) * bound as u128) >> 64) as usize;
        number
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Outcomes;
    use crate::tests::near;

    fn mean(values: &[f64], weights: &[u32]) -> Option<f64> {
        let sum: f64 = values.iter().zip(weights).map(|(value, &weight)| value * f64::from(weight)).sum();
        crate::ratio(sum, weights.iter().map(|&weight| f64::from(weight)).sum())
    }

    /// The first outputs for the seed 1234567, as published with the algorithm's reference code.
    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    /// numpy 2: `percentile([1, 2, 3, 4, 5], [2.5, 97.5])`.
    #[test]
    fn percentiles_are_numpys() {
        let (low, high) = interval(vec![5.0, 1.0, 4.0, 2.0, 3.0], 5).unwrap();
        near(Some(low), 1.1);
        near(Some(high), 4.9);
    }

    #[test]
    fn the_interval_of_a_mean_is_as_wide_as_the_theory_says() {
        let values: Vec<f64> = (0..400).map(|n| f64::from(n % 2)).collect();
        let clusters: Vec<u32> = (0..400).collect();
        let found = estimate(&clusters, 2_000, 7, |weights| vec![mean(&values, weights)])[0].unwrap();
        let (low, high) = found.interval.unwrap();
        // 0.5 ± 1.96 · 0.5 / √400
        assert!((low - 0.451).abs() < 0.006 && (high - 0.549).abs() < 0.006, "{low} {high}");
        // Rows that come in clusters of twenty alike: √20 times as wide.
        let values: Vec<f64> = (0..400).map(|n| f64::from(n / 20 % 2)).collect();
        let clusters: Vec<u32> = (0..400).map(|n| n / 20).collect();
        let wide = estimate(&clusters, 2_000, 7, |weights| vec![mean(&values, weights)])[0].unwrap().interval.unwrap();
        assert!((wide.1 - wide.0) > 3.8 * (high - low), "{wide:?}");
    }

    #[test]
    fn no_resamples_or_too_few_that_have_the_figure_give_no_interval() {
        let outcomes = Outcomes::new(vec![(0.5, true), (0.2, false)]);
        let found = |resamples| {
            estimate(&[0, 1], resamples, 1, |weights| vec![outcomes.roc_auc_weighted(|row| weights[row]), None])
        };
        assert_eq!(found(0), vec![Some(Estimate { value: 1.0, interval: None }), None]);
        assert_eq!(estimate(&[], 10, 1, |_| vec![None]), vec![None]);
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_interval_around_the_figure(values in proptest::collection::vec(0.0f64..1.0, 1..60), seed: u64) {
            let clusters: Vec<u32> = (0..values.len()).map(|row| u32::try_from(row).unwrap()).collect();
            let draw = || estimate(&clusters, 200, seed, |weights| vec![mean(&values, weights)]);
            let found = draw()[0].unwrap();
            prop_assert_eq!(draw()[0], Some(found));
            let (low, high) = found.interval.unwrap();
            prop_assert!(low <= found.value + 0.05 && found.value <= high + 0.05);
        }
    }
}
