//! Measures of scores against labels.
//!
//! Pure functions over scores in 0 to 1 and labels; ties are handled as scikit-learn does, so figures can be
//! compared. [`LabelReport`] measures one label at once; [`Outcomes`] is its input, and has each measure by itself.
//! Every measure also takes a weight for each row, which is how [`estimate`] draws bootstrap samples without copying
//! or sorting anything, and how a group of rows is measured alone.
//!
//! ```
//! use palisade_evaluation::{LabelReport, Outcomes};
//!
//! let outcomes = Outcomes::new(vec![(0.9, true), (0.8, false), (0.7, true), (0.1, false)]);
//! let report = LabelReport::measure(&outcomes, 0.5);
//! assert_eq!(report.roc_auc, Some(0.75));
//! assert_eq!(report.positives, 2);
//! ```

mod bias;
mod bootstrap;
mod curves;
mod decisions;

use serde::Serialize;

pub use bias::{BiasAucs, bias_aucs};
pub use bootstrap::{Estimate, RESAMPLES, estimate};
pub use curves::{CalibrationBin, Point};
pub use decisions::Confusion;

/// Bins of [`Outcomes::calibration_error`].
pub const CALIBRATION_BINS: usize = 15;

/// One row: its place in the input, its score, and whether the label holds.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    row: usize,
    score: f32,
    positive: bool,
}

/// Scores of one label with the truth, sorted by falling score.
#[derive(Debug, Clone)]
pub struct Outcomes {
    sorted: Vec<Outcome>,
    positives: usize,
}

impl Outcomes {
    /// Takes pairs of a finite score and whether the label holds, in any order. A pair's place is its row, for weights.
    pub fn new(pairs: Vec<(f32, bool)>) -> Self {
        let mut sorted: Vec<Outcome> =
            pairs.into_iter().enumerate().map(|(row, (score, positive))| Outcome { row, score, positive }).collect();
        sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
        let positives = sorted.iter().filter(|outcome| outcome.positive).count();
        Self { sorted, positives }
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

    /// Weights of (positives, negatives) of each group of equal scores, from the highest score down.
    fn groups(&self, weight: impl Fn(usize) -> u32) -> impl Iterator<Item = (f64, f64)> {
        self.sorted.chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq()).map(move |group| {
            group.iter().fold((0.0, 0.0), |(positives, negatives), outcome| {
                let weight = f64::from(weight(outcome.row));
                if outcome.positive { (positives + weight, negatives) } else { (positives, negatives + weight) }
            })
        })
    }

    /// Probability that a positive scores higher than a negative, a tie counting half (Mann and Whitney 1947).
    /// `None` where one of the classes is empty.
    pub fn roc_auc(&self) -> Option<f64> {
        self.roc_auc_weighted(|_| 1)
    }

    /// [`Outcomes::roc_auc`] with a row counted as often as its weight says.
    pub fn roc_auc_weighted(&self, weight: impl Fn(usize) -> u32) -> Option<f64> {
        let (mut above, mut below, mut won) = (0.0, 0.0, 0.0);
        for (positives, negatives) in self.groups(weight) {
            won += negatives * (above + positives / 2.0);
            above += positives;
            below += negatives;
        }
        (above > 0.0 && below > 0.0).then(|| won / (above * below))
    }

    /// Area under the precision-recall steps: Σ (recallₙ − recallₙ₋₁) · precisionₙ, without interpolation.
    /// `None` where there are no positives.
    pub fn average_precision(&self) -> Option<f64> {
        self.average_precision_weighted(|_| 1)
    }

    /// [`Outcomes::average_precision`] with a row counted as often as its weight says.
    pub fn average_precision_weighted(&self, weight: impl Fn(usize) -> u32) -> Option<f64> {
        let (mut hits, mut flagged, mut area) = (0.0, 0.0, 0.0);
        for (positives, negatives) in self.groups(weight) {
            hits += positives;
            flagged += positives + negatives;
            if positives > 0.0 {
                area += positives * hits / flagged;
            }
        }
        (hits > 0.0).then(|| area / hits)
    }

    /// Precision, recall and F1 of "score ≥ threshold"; 0 where nothing is flagged or nothing is positive.
    pub fn at_threshold(&self, threshold: f32) -> AtThreshold {
        let confusion =
            Confusion::count(self.sorted.iter().map(|outcome| (outcome.score >= threshold, outcome.positive, 1)));
        AtThreshold {
            threshold,
            precision: confusion.precision().unwrap_or(0.0),
            recall: confusion.recall().unwrap_or(0.0),
            f1: confusion.f1().unwrap_or(0.0),
        }
    }

    /// Expected calibration error: mean distance of mean score and share of positives over [`CALIBRATION_BINS`] bins
    /// of equal width, weighted by the bins' sizes (Guo et al. 2017). 0 where there are no pairs.
    pub fn calibration_error(&self) -> f64 {
        self.calibration_error_weighted(|_| 1).unwrap_or(0.0)
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

/// A share, where there is something to have a share of.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const SCORES: [f32; 10] = [0.1, 0.4, 0.35, 0.8, 0.8, 0.2, 0.65, 0.35, 0.9, 0.05];
    pub(crate) const TRUTH: [bool; 10] = [false, false, true, true, false, false, true, false, true, true];

    pub(crate) fn example() -> Outcomes {
        Outcomes::new(SCORES.into_iter().zip(TRUTH).collect())
    }

    pub(crate) fn near(found: Option<f64>, expected: f64) {
        assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?} is not {expected}");
    }

    /// Expected figures from scikit-learn 1.9.1: `roc_auc_score`, `average_precision_score`, `f1_score`.
    #[test]
    fn measures_agree_with_scikit_learn() {
        let outcomes = example();
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

        #[test]
        fn a_weight_is_a_number_of_copies(rows: Vec<(u8, bool, u8)>) {
            let rows: Vec<_> = rows.into_iter().map(|(n, positive, copies)| (f32::from(n) / 255.0, positive, copies % 4)).collect();
            let weighted = Outcomes::new(rows.iter().map(|row| (row.0, row.1)).collect());
            let weight = |row: usize| u32::from(rows[row].2);
            let copied = Outcomes::new(rows.iter().flat_map(|row| vec![(row.0, row.1); row.2.into()]).collect());
            let same = |a: Option<f64>, b: Option<f64>| a.zip(b).map_or(a == b, |(a, b)| (a - b).abs() < 1e-9);
            prop_assert!(same(weighted.roc_auc_weighted(weight), copied.roc_auc()));
            prop_assert!(same(weighted.average_precision_weighted(weight), copied.average_precision()));
            prop_assert!(same(weighted.calibration_error_weighted(weight), copied.calibration_error_weighted(|_| 1)));
        }
    }
}
