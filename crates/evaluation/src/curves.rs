//! What plots are drawn from: calibration bins, and the points of ROC and precision-recall curves.

use serde::Serialize;

use crate::{CALIBRATION_BINS, Outcomes, count, ratio};

/// One bin of a reliability diagram (Guo et al. 2017): scores from `from` up to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Lowest score of the bin.
    pub from: f64,
    /// Scores are below this; the last bin has 1 as well.
    pub to: f64,
    /// Texts in the bin.
    pub rows: u64,
    /// Their mean score; `None` in an empty bin.
    pub mean_score: Option<f64>,
    /// The share of them where the label holds; `None` in an empty bin.
    pub share_positive: Option<f64>,
}

/// A point of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// False-positive rate (ROC), or recall (precision and recall).
    pub x: f64,
    /// True-positive rate (ROC), or precision (precision and recall).
    pub y: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    rows: u64,
    scores: f64,
    positives: f64,
}

impl Outcomes {
    fn bins(&self, weight: impl Fn(usize) -> u32) -> [Bin; CALIBRATION_BINS] {
        let mut bins = [Bin::default(); CALIBRATION_BINS];
        for outcome in &self.sorted {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a bin's number, clamped below"
            )]
            let number = (f64::from(outcome.score) * count(CALIBRATION_BINS)) as usize;
            if let Some(bin) = bins.get_mut(number.min(CALIBRATION_BINS - 1)) {
                let weight = weight(outcome.row);
                bin.rows += u64::from(weight);
                bin.scores += f64::from(outcome.score) * f64::from(weight);
                bin.positives += f64::from(u8::from(outcome.positive)) * f64::from(weight);
            }
        }
        bins
    }

    /// [`Outcomes::calibration_error`] with a row counted as often as its weight says; `None` where nothing has weight.
    pub fn calibration_error_weighted(&self, weight: impl Fn(usize) -> u32) -> Option<f64> {
        let bins = self.bins(weight);
        let gaps: f64 = bins.iter().map(|bin| (bin.scores - bin.positives).abs()).sum();
        ratio(gaps, bins.iter().map(|bin| as_f64(bin.rows)).sum())
    }

    /// The bins of the reliability diagram, from low scores to high ones.
    pub fn calibration_bins(&self) -> Vec<CalibrationBin> {
        let edge = |number: usize| count(number) / count(CALIBRATION_BINS);
        let bins = self.bins(|_| 1);
        bins.iter()
            .enumerate()
            .map(|(number, bin)| CalibrationBin {
                from: edge(number),
                to: edge(number + 1),
                rows: bin.rows,
                mean_score: ratio(bin.scores, as_f64(bin.rows)),
                share_positive: ratio(bin.positives, as_f64(bin.rows)),
            })
            .collect()
    }

    /// The ROC curve from (0, 0) to (1, 1), of at most `points_max` points and its two ends. Empty where a class is.
    pub fn roc_curve(&self, points_max: usize) -> Vec<Point> {
        let (positives, negatives) = (count(self.positives()), count(self.len() - self.positives()));
        if positives == 0.0 || negatives == 0.0 {
            return Vec::new();
        }
        let (mut hits, mut alarms) = (0.0, 0.0);
        let all = self.groups(|_| 1).map(|(more_hits, more_alarms)| {
            hits += more_hits;
            alarms += more_alarms;
            Point { x: alarms / negatives, y: hits / positives }
        });
        thinned(std::iter::once(Point { x: 0.0, y: 0.0 }).chain(all), points_max)
    }

    /// Precision over recall, from the highest score down, of at most `points_max` points and its two ends. Empty where
    /// nothing is positive.
    pub fn precision_recall_curve(&self, points_max: usize) -> Vec<Point> {
        if self.positives() == 0 {
            return Vec::new();
        }
        let positives = count(self.positives());
        let (mut hits, mut flagged) = (0.0, 0.0);
        let all = self.groups(|_| 1).map(|(more_hits, more_alarms)| {
            hits += more_hits;
            flagged += more_hits + more_alarms;
            Point { x: hits / positives, y: hits / flagged }
        });
        thinned(all, points_max)
    }
}

/// Leaves out points that lie closer than one part in `points_max` of the two axes to the last one kept; the first and the
/// last stay.
fn thinned(points: impl Iterator<Item = Point>, points_max: usize) -> Vec<Point> {
    // A monotone curve is at most 2 long, measured along the axes; precision's jumps at low recall are few.
    let step = 2.0 / count(points_max.max(1));
    let mut kept: Vec<Point> = Vec::new();
    let mut last = None;
    for point in points {
        if kept.last().is_none_or(|other| (point.x - other.x).abs() + (point.y - other.y).abs() >= step)
            && kept.len() <= points_max
        {
            kept.push(point);
        }
        last = Some(point);
    }
    if kept.last().copied() != last {
        kept.extend(last);
    }
    kept
}

#[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
fn as_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::{example, near};

    /// Expected points from scikit-learn 1.9.1: `roc_curve(drop_intermediate=False)` and `precision_recall_curve`.
    #[test]
    fn curves_agree_with_scikit_learn() {
        let roc: Vec<(f64, f64)> = example().roc_curve(1000).iter().map(|point| (point.x, point.y)).collect();
        let expected = [
            (0.0, 0.0),
            (0.0, 0.2),
            (0.2, 0.4),
            (0.2, 0.6),
            (0.4, 0.6),
            (0.6, 0.8),
            (0.8, 0.8),
            (1.0, 0.8),
            (1.0, 1.0),
        ];
        assert_eq!(roc, expected);
        let curve = example().precision_recall_curve(1000);
        near(Some(curve[1].y), 2.0 / 3.0);
        assert_eq!((curve[0].x, curve[0].y, curve.last().unwrap().y), (0.2, 1.0, 0.5));
    }

    #[test]
    fn a_bin_tells_its_mean_score_and_its_share() {
        let bins = example().calibration_bins();
        assert_eq!(bins.len(), CALIBRATION_BINS);
        assert_eq!(bins.iter().map(|bin| bin.rows).sum::<u64>(), 10);
        // 0.35 twice, one of them positive: [5/15, 6/15).
        near(bins[5].mean_score, f64::from(0.35_f32));
        near(bins[5].share_positive, 0.5);
        assert_eq!(bins[4].mean_score, None);
    }

    proptest! {
        #[test]
        fn a_curve_is_thin_and_keeps_its_ends(pairs: Vec<(u16, bool)>, points_max in 1_usize..50) {
            let outcomes = Outcomes::new(pairs.into_iter().map(|(n, positive)| (f32::from(n), positive)).collect());
            for curve in [outcomes.roc_curve(points_max), outcomes.precision_recall_curve(points_max)] {
                prop_assert!(curve.len() <= points_max + 2);
                if let Some(last) = curve.last() {
                    prop_assert!((last.x - 1.0).abs() < 1e-9);
                }
            }
        }
    }
}
