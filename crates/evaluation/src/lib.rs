//! Measures of scores against labels.
//!
//! Pure functions over slices of scores in 0 to 1 and labels; ties are handled as scikit-learn does, so figures can be
//! compared. The entry type is [`LabelReport`]; [`Outcomes`] is its input.
//!
//! ```
//! use palisade_evaluation::{LabelReport, Outcomes};
//!
//! let outcomes = Outcomes::new(vec![(0.9, true), (0.8, false), (0.7, true), (0.1, false)]);
//! let report = LabelReport::measure(&outcomes, 0.5);
//! assert_eq!(report.roc_auc, Some(0.75));
//! assert_eq!(report.positives, 2);
//! ```

use serde::Serialize;

/// Bins of [`Outcomes::calibration_error`].
pub const CALIBRATION_BINS: usize = 15;

/// Scores of one label with the truth, sorted by falling score.
#[derive(Debug, Clone)]
pub struct Outcomes {
    sorted: Vec<(f32, bool)>,
    positives: usize,
}

impl Outcomes {
    /// Takes pairs of a finite score and whether the label holds, in any order.
    pub fn new(mut pairs: Vec<(f32, bool)>) -> Self {
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let positives = pairs.iter().filter(|pair| pair.1).count();
        Self { sorted: pairs, positives }
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Number of pairs where the label holds.
    pub fn positives(&self) -> usize {
        self.positives
    }

    /// (positives, negatives) of each group of equal scores, from the highest score down.
    fn groups(&self) -> impl Iterator<Item = (f64, f64)> {
        self.sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()).map(|group| {
            let positives = group.iter().filter(|pair| pair.1).count();
            (count(positives), count(group.len() - positives))
        })
    }

    /// Probability that a positive scores higher than a negative, a tie counting half (Mann and Whitney 1947).
    /// `None` where one of the classes is empty.
    pub fn roc_auc(&self) -> Option<f64> {
        let (all_positives, all_negatives) = (count(self.positives), count(self.len() - self.positives));
        if all_positives == 0.0 || all_negatives == 0.0 {
            return None;
        }
        let mut above = 0.0;
        let mut won = 0.0;
        for (positives, negatives) in self.groups() {
            won += negatives * (above + positives / 2.0);
            above += positives;
        }
        Some(won / (all_positives * all_negatives))
    }

    /// Area under the precision-recall steps: Σ (recallₙ − recallₙ₋₁) · precisionₙ, without interpolation.
    /// `None` where there are no positives.
    pub fn average_precision(&self) -> Option<f64> {
        if self.positives == 0 {
            return None;
        }
        let (mut hits, mut flagged, mut area) = (0.0, 0.0, 0.0);
        for (positives, negatives) in self.groups() {
            hits += positives;
            flagged += positives + negatives;
            area += positives * hits / flagged;
        }
        Some(area / count(self.positives))
    }

    /// Precision, recall and F1 of "score ≥ threshold"; 0 where nothing is flagged or nothing is positive.
    pub fn at_threshold(&self, threshold: f32) -> AtThreshold {
        let flagged: Vec<_> = self.sorted.iter().take_while(|pair| pair.0 >= threshold).collect();
        let hits = count(flagged.iter().filter(|pair| pair.1).count());
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        AtThreshold {
            threshold,
            precision: ratio(hits, count(flagged.len())),
            recall: ratio(hits, count(self.positives)),
            f1: ratio(2.0 * hits, count(flagged.len()) + count(self.positives)),
        }
    }

    /// Expected calibration error: mean distance of mean score and share of positives over [`CALIBRATION_BINS`] bins
    /// of equal width, weighted by the bins' sizes (Guo et al. 2017). 0 where there are no pairs.
    pub fn calibration_error(&self) -> f64 {
        let mut bins = [(0.0_f64, 0.0_f64); CALIBRATION_BINS];
        for &(score, positive) in &self.sorted {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a bin's number, clamped below"
            )]
            let bin = (f64::from(score) * count(CALIBRATION_BINS)) as usize;
            if let Some((scores, positives)) = bins.get_mut(bin.min(CALIBRATION_BINS - 1)) {
                *scores += f64::from(score);
                *positives += f64::from(u8::from(positive));
            }
        }
        let gaps: f64 = bins.iter().map(|(scores, positives)| (scores - positives).abs()).sum();
        if self.is_empty() { 0.0 } else { gaps / count(self.len()) }
    }
}

/// How a label does at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AtThreshold {
    /// The threshold.
    pub threshold: f32,
    /// Share of the flagged that are positive.
    pub precision: f64,
    /// Share of the positive that are flagged.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

/// All measures of one label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelReport {
    /// Texts with a known truth.
    pub rows: usize,
    /// Texts where the label holds: the support.
    pub positives: usize,
    /// See [`Outcomes::roc_auc`].
    pub roc_auc: Option<f64>,
    /// See [`Outcomes::average_precision`].
    pub average_precision: Option<f64>,
    /// See [`Outcomes::at_threshold`].
    #[serde(flatten)]
    pub at_threshold: AtThreshold,
    /// See [`Outcomes::calibration_error`].
    pub calibration_error: f64,
}

impl LabelReport {
    /// Measures everything, at the threshold where a threshold is needed.
    pub fn measure(outcomes: &Outcomes, threshold: f32) -> Self {
        Self {
            rows: outcomes.len(),
            positives: outcomes.positives(),
            roc_auc: outcomes.roc_auc(),
            average_precision: outcomes.average_precision(),
            at_threshold: outcomes.at_threshold(threshold),
            calibration_error: outcomes.calibration_error(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(found: Option<f64>, expected: f64) {
        assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?} is not {expected}");
    }

    /// Expected figures from scikit-learn 1.9.1: `roc_auc_score`, `average_precision_score`, `f1_score`.
    #[test]
    fn measures_agree_with_scikit_learn() {
        let scores = [0.1, 0.4, 0.35, 0.8, 0.8, 0.2, 0.65, 0.35, 0.9, 0.05];
        let truth = [false, false, true, true, false, false, true, false, true, true];
        let outcomes = Outcomes::new(scores.into_iter().zip(truth).collect());
        near(outcomes.roc_auc(), 0.64);
        near(outcomes.average_precision(), 0.697_619_047_619_047_6);
        near(Some(outcomes.at_threshold(0.4).f1), 0.6);
        near(Some(outcomes.at_threshold(0.4).precision), 0.6);
    }

    #[test]
    fn one_class_alone_has_no_auc() {
        assert_eq!(Outcomes::new(vec![(0.5, true)]).roc_auc(), None);
        assert_eq!(Outcomes::new(vec![(0.5, false)]).average_precision(), None);
        assert_eq!(Outcomes::new(Vec::new()).calibration_error().to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn perfect_calibration_has_no_error() {
        let pairs = [(0.5, true), (0.5, false), (1.0, true), (0.0, false)];
        near(Some(Outcomes::new(pairs.to_vec()).calibration_error()), 0.0);
        near(Some(Outcomes::new(vec![(0.9, false)]).calibration_error()), f64::from(0.9_f32));
    }

    proptest! {
        #[test]
        fn measures_stay_within_their_bounds(pairs: Vec<(u8, bool)>, threshold in 0.0f32..=1.0) {
            let pairs = pairs.into_iter().map(|(n, positive)| (f32::from(n) / 255.0, positive)).collect();
            let report = LabelReport::measure(&Outcomes::new(pairs), threshold);
            for value in [report.roc_auc, report.average_precision, Some(report.at_threshold.f1), Some(report.calibration_error)] {
                prop_assert!(value.is_none_or(|value| (0.0..=1.0).contains(&value)));
            }
        }

        #[test]
        fn turning_the_scores_round_turns_the_auc_round(pairs: Vec<(u8, bool)>) {
            let map = |f: fn(u8) -> u8| pairs.iter().map(|&(n, positive)| (f32::from(f(n)), positive)).collect();
            let (one, other) = (Outcomes::new(map(|n| n)).roc_auc(), Outcomes::new(map(|n| 255 - n)).roc_auc());
            if let (Some(one), Some(other)) = (one, other) {
                prop_assert!((one + other - 1.0).abs() < 1e-9);
            }
        }
    }
}
