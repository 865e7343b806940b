//! AUCs that tell unintended bias towards a group apart from ordinary error.

use serde::Serialize;

use crate::Outcomes;

/// The three AUCs of Borkan et al. (2019), "Nuanced metrics for measuring unintended bias with real data for text
/// classification". Each is `None` where it lacks positives or negatives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BiasAucs {
    /// Rows of the group alone: low where the two classes are mixed up within it.
    pub subgroup: Option<f64>,
    /// Background positive, subgroup negative: low where harmless texts of the group score too high.
    pub bpsn: Option<f64>,
    /// Background negative, subgroup positive: low where harmful texts of the group score too low.
    pub bnsp: Option<f64>,
}

/// Measures the rows for which `member` holds against the others, a row counted as often as its weight says.
pub fn bias_aucs(outcomes: &Outcomes, member: impl Fn(usize) -> bool, weight: impl Fn(usize) -> u32) -> BiasAucs {
    // One pass: for each pair of a class of positives and one of negatives, the pairs won.
    let (mut inside, mut outside) = (Side::default(), Side::default());
    let (mut subgroup, mut bpsn, mut bnsp) = (0.0, 0.0, 0.0);
    for group in outcomes.sorted.chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq()) {
        let (mut tied_inside, mut tied_outside) = (Side::default(), Side::default());
        for outcome in group {
            let weight = f64::from(weight(outcome.row));
            let side = if member(outcome.row) { &mut tied_inside } else { &mut tied_outside };
            *(if outcome.positive { &mut side.positives } else { &mut side.negatives }) += weight;
        }
        subgroup += tied_inside.negatives * (inside.positives + tied_inside.positives / 2.0);
        bpsn += tied_inside.negatives * (outside.positives + tied_outside.positives / 2.0);
        bnsp += tied_outside.negatives * (inside.positives + tied_inside.positives / 2.0);
        inside.add(tied_inside);
        outside.add(tied_outside);
    }
    let share = |won: f64, positives: f64, negatives: f64| crate::ratio(won, positives * negatives);
    BiasAucs {
        subgroup: share(subgroup, inside.positives, inside.negatives),
        bpsn: share(bpsn, outside.positives, inside.negatives),
        bnsp: share(bnsp, inside.positives, outside.negatives),
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Side {
    positives: f64,
    negatives: f64,
}

impl Side {
    fn add(&mut self, other: Self) {
        self.positives += other.positives;
        self.negatives += other.negatives;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::{example, near};

    /// By hand, over the even rows of the example: (0.1, no), (0.35, yes), (0.8, no), (0.65, yes), (0.9, yes).
    #[test]
    fn a_group_is_measured_against_the_background() {
        let aucs = bias_aucs(&example(), |row| row % 2 == 0, |_| 1);
        // 0.35, 0.65 and 0.9 win against 0.1, and 0.9 against 0.8.
        near(aucs.subgroup, 4.0 / 6.0);
        // Background positives 0.8 and 0.05, subgroup negatives 0.1 and 0.8: one win and one tie of four.
        near(aucs.bpsn, 1.5 / 4.0);
        // Subgroup positives against background negatives 0.4, 0.2, 0.35: 1 + ½, 3 and 3 wins of nine.
        near(aucs.bnsp, 7.5 / 9.0);
    }

    #[test]
    fn a_group_without_one_class_lacks_what_needs_it() {
        let aucs = bias_aucs(&example(), |row| row == 0, |_| 1);
        assert_eq!((aucs.subgroup, aucs.bnsp), (None, None));
        assert!(aucs.bpsn.is_some());
    }

    proptest! {
        #[test]
        fn each_is_the_auc_of_its_rows(rows: Vec<(u8, bool, bool)>) {
            let outcomes = Outcomes::new(rows.iter().map(|row| (f32::from(row.0), row.1)).collect());
            let aucs = bias_aucs(&outcomes, |row| rows[row].2, |_| 1);
            let of = |keep: fn(bool, bool) -> bool| {
                outcomes.roc_auc_weighted(|row| u32::from(keep(rows[row].1, rows[row].2)))
            };
            let same = |a: Option<f64>, b: Option<f64>| a.zip(b).map_or(a == b, |(a, b)| (a - b).abs() < 1e-9);
            prop_assert!(same(aucs.subgroup, of(|_, member| member)));
            prop_assert!(same(aucs.bpsn, of(|positive, member| positive != member)));
            prop_assert!(same(aucs.bnsp, of(|positive, member| positive == member)));
        }
    }
}
