//! What comes of decisions: the confusion table and what is read off it.

use serde::Serialize;

use crate::ratio;

/// Decisions against the truth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Flagged, and rightly.
    pub true_positives: u64,
    /// Flagged without cause.
    pub false_positives: u64,
    /// Not flagged though the label holds.
    pub false_negatives: u64,
    /// Not flagged, and rightly.
    pub true_negatives: u64,
}

impl Confusion {
    /// Counts triples of the decision, the truth, and a weight.
    pub fn count(rows: impl IntoIterator<Item = (bool, bool, u32)>) -> Self {
        let mut table = Self::default();
        for (flagged, positive, weight) in rows {
            let cell = match (flagged, positive) {
                (true, true) => &mut table.true_positives,
                (true, false) => &mut table.false_positives,
                (false, true) => &mut table.false_negatives,
                (false, false) => &mut table.true_negatives,
            };
            *cell += u64::from(weight);
        }
        table
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
    fn cells(self) -> [f64; 4] {
        [self.true_positives, self.false_positives, self.false_negatives, self.true_negatives].map(|n| n as f64)
    }

    /// Share of the flagged that are positive; `None` where nothing is flagged.
    pub fn precision(self) -> Option<f64> {
        let [hits, alarms, ..] = self.cells();
        ratio(hits, hits + alarms)
    }

    /// Share of the positive that are flagged; `None` where nothing is positive.
    pub fn recall(self) -> Option<f64> {
        let [hits, _, misses, _] = self.cells();
        ratio(hits, hits + misses)
    }

    /// Share of the negative that are flagged; `None` where nothing is negative.
    pub fn false_positive_rate(self) -> Option<f64> {
        let [_, alarms, _, passes] = self.cells();
        ratio(alarms, alarms + passes)
    }

    /// Share of right decisions; `None` where there are none.
    pub fn accuracy(self) -> Option<f64> {
        let [hits, alarms, misses, passes] = self.cells();
        ratio(hits + passes, hits + alarms + misses + passes)
    }

    /// Harmonic mean of precision and recall; `None` where nothing is positive and nothing is flagged.
    pub fn f1(self) -> Option<f64> {
        let [hits, alarms, misses, _] = self.cells();
        ratio(2.0 * hits, 2.0 * hits + alarms + misses)
    }

    /// Mean of the F1 of "flagged" and the F1 of "not flagged", each 0 where it is undefined, as scikit-learn's
    /// `f1_score(average="macro")` has it. `None` where one of the classes is empty.
    pub fn macro_f1(self) -> Option<f64> {
        let [hits, alarms, misses, passes] = self.cells();
        if hits + misses == 0.0 || alarms + passes == 0.0 {
            return None;
        }
        let of_no = ratio(2.0 * passes, 2.0 * passes + alarms + misses);
        Some(f64::midpoint(self.f1().unwrap_or(0.0), of_no.unwrap_or(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::{SCORES, TRUTH, near};

    /// Expected figures from scikit-learn 1.9.1: `confusion_matrix` and `f1_score(average="macro")` at 0.5.
    #[test]
    fn decisions_agree_with_scikit_learn() {
        let table = Confusion::count(SCORES.into_iter().zip(TRUTH).map(|(score, truth)| (score >= 0.5, truth, 1)));
        let expected = Confusion { true_positives: 3, false_positives: 1, false_negatives: 2, true_negatives: 4 };
        assert_eq!(table, expected);
        near(table.macro_f1(), 0.696_969_696_969_697);
        near(table.accuracy(), 0.7);
        near(table.false_positive_rate(), 0.2);
        near(table.recall(), 0.6);
    }

    #[test]
    fn nothing_has_no_rates() {
        let nothing = Confusion::default();
        assert_eq!(
            (nothing.precision(), nothing.recall(), nothing.macro_f1(), nothing.accuracy()),
            (None, None, None, None)
        );
    }

    proptest! {
        #[test]
        fn swapping_the_classes_keeps_the_macro_f1(rows: Vec<(bool, bool)>) {
            let one = Confusion::count(rows.iter().map(|&(flagged, truth)| (flagged, truth, 1)));
            let other = Confusion::count(rows.iter().map(|&(flagged, truth)| (!flagged, !truth, 1)));
            prop_assert_eq!(one.macro_f1().map(f64::to_bits), other.macro_f1().map(f64::to_bits));
        }
    }
}
