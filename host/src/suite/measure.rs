//! Scores and truth made into a report.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use palisade_evaluation::{BiasAucs, CalibrationBin, Confusion, Estimate, Outcomes, Point, bias_aucs, estimate};
use serde::Serialize;

use super::rows::{Row, Texts};
use super::spec::{Measurement, Score};
use crate::bindings::Description;
use crate::ordered::map_ordered;

/// Points of a curve: more than a plot of this size can show.
const CURVE_POINTS_MAX: usize = 160;
/// Failing texts that are shown of one function.
const EXAMPLES_MAX: usize = 4;
/// Every report draws the same samples.
const SEED: u64 = 0x5041_4c49_5341_4445;

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The suite's name.
    pub suite: String,
    /// What it is for.
    pub about: String,
    /// What was measured.
    pub release: Release,
    /// Different texts that were scored.
    pub texts: usize,
    /// Bootstrap resamples behind the intervals.
    pub resamples: usize,
    /// What the release has no labels for. Missing is not no: nothing is concluded from it.
    pub skipped: Vec<Skipped>,
    /// The measurements, in the suite's order.
    pub measurements: Vec<Measured>,
}

/// The release that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its manifest.
    pub digest: String,
}

impl From<&crate::bindings::Release> for Release {
    fn from(release: &crate::bindings::Release) -> Self {
        Self { name: release.name.clone(), version: release.version.clone(), digest: release.digest.clone() }
    }
}

/// A score that was not measured, or not in full.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    /// The measurement's name.
    pub measurement: String,
    /// The score's name.
    pub score: String,
    /// Labels that the release lacks.
    pub labels_missing: Vec<String>,
    /// Whether other labels of the score were there, and it was measured on them.
    pub measured_on_the_rest: bool,
}

impl Skipped {
    /// The scores of a measurement that lack labels.
    pub fn of(measurement: &Measurement, known: impl Fn(&String) -> bool) -> Vec<Self> {
        let lacking = |score: &Score| {
            let labels_missing: Vec<String> = score.labels().filter(|label| !known(label)).cloned().collect();
            (!labels_missing.is_empty()).then(|| Self {
                measurement: measurement.name.clone(),
                score: score.name().to_owned(),
                measured_on_the_rest: score.labels().any(&known),
                labels_missing,
            })
        };
        measurement.scores.iter().filter_map(lacking).collect()
    }
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// What its rows are.
    pub title: String,
    /// Where they come from.
    pub source: String,
    /// Rows that were measured.
    pub rows: usize,
    /// Clusters that the bootstrap drew.
    pub clusters: usize,
    /// Each score by itself.
    pub scores: Vec<ScoreReport>,
    /// Shares of right decisions at the release's thresholds.
    pub accuracy: Vec<Breakdown>,
    /// Recall that spelling tricks leave, at the release's thresholds.
    pub tricks: Vec<Trick>,
    /// Texts that were decided wrongly, by function.
    pub examples: Vec<Example>,
}

/// One score of a measurement.
#[derive(Debug, Clone, Serialize)]
pub struct ScoreReport {
    /// Its name.
    pub name: String,
    /// The labels it was made of, with the release's thresholds.
    pub labels: BTreeMap<String, f32>,
    /// Rows with a known truth.
    pub rows: usize,
    /// Rows where it should be flagged.
    pub positives: usize,
    /// See [`Outcomes::roc_auc`].
    pub roc_auc: Option<Estimate>,
    /// See [`Outcomes::average_precision`].
    pub average_precision: Option<Estimate>,
    /// See [`Outcomes::calibration_error`]; only where the suite asks for it.
    pub calibration_error: Option<Estimate>,
    /// The reliability diagram; empty unless the suite asks for it.
    pub calibration: Vec<CalibrationBin>,
    /// The ROC curve, thinned.
    pub roc_curve: Vec<Point>,
    /// Precision over recall, thinned.
    pub precision_recall_curve: Vec<Point>,
    /// What the thresholds make of it.
    pub decisions: Vec<Decisions>,
    /// Identity groups.
    pub groups: Vec<Group>,
    /// False positives by dialect, at the release's thresholds.
    pub dialects: Vec<Dialect>,
}

/// Decisions at one threshold.
#[derive(Debug, Clone, Serialize)]
pub struct Decisions {
    /// The threshold; `None` for the release's own.
    pub threshold: Option<f32>,
    /// The table.
    pub confusion: Confusion,
    /// See [`Confusion::precision`].
    pub precision: Option<Estimate>,
    /// See [`Confusion::recall`].
    pub recall: Option<Estimate>,
    /// See [`Confusion::f1`].
    pub f1: Option<Estimate>,
    /// See [`Confusion::macro_f1`].
    pub macro_f1: Option<Estimate>,
    /// See [`Confusion::false_positive_rate`].
    pub false_positive_rate: Option<Estimate>,
}

/// An identity group, see [`bias_aucs`]; rates are at the release's thresholds.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: usize,
    /// Those of them that should be flagged.
    pub positives: usize,
    /// See [`BiasAucs::subgroup`].
    pub subgroup_auc: Option<Estimate>,
    /// See [`BiasAucs::bpsn`].
    pub bpsn_auc: Option<Estimate>,
    /// See [`BiasAucs::bnsp`].
    pub bnsp_auc: Option<Estimate>,
    /// Share of its harmless rows that are flagged.
    pub false_positive_rate: Option<Estimate>,
    /// Share of its other rows that are flagged.
    pub recall: Option<Estimate>,
}

/// False positives within a dialect (Blodgett et al. 2016, Davidson et al. 2019).
#[derive(Debug, Clone, Serialize)]
pub struct Dialect {
    /// Its name.
    pub name: String,
    /// Its rows that should not be flagged.
    pub negatives: usize,
    /// Share of them that are.
    pub false_positive_rate: Option<Estimate>,
}

/// Shares of right decisions by the values of a column.
#[derive(Debug, Clone, Serialize)]
pub struct Breakdown {
    /// The column.
    pub by: String,
    /// The score that decided; `None` where the suite names one for each row.
    pub score: Option<String>,
    /// The values, in the order of their first rows.
    pub slices: Vec<Slice>,
}

/// Rows with the same value in a column.
#[derive(Debug, Clone, Serialize)]
pub struct Slice {
    /// The value.
    pub name: String,
    /// Rows with a known truth.
    pub rows: usize,
    /// The scores that decided them.
    pub decided_by: Vec<String>,
    /// Share of right decisions.
    pub accuracy: Option<Estimate>,
}

/// A spelling trick.
#[derive(Debug, Clone, Serialize)]
pub struct Trick {
    /// Its name.
    pub name: String,
    /// Rows with it that should be flagged.
    pub rows: usize,
    /// Share of them that are.
    pub recall: Option<Estimate>,
    /// That share of the same texts, spelt plainly.
    pub recall_plain: Option<Estimate>,
    /// The first share over the second.
    pub kept: Option<Estimate>,
}

/// A text that was decided wrongly.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    /// The row's name.
    pub id: String,
    /// Its value in the first column of `accuracy_by`.
    pub function: String,
    /// The score that decided.
    pub score: String,
    /// Its value.
    pub value: f32,
    /// Whether it should have been flagged.
    pub expected: bool,
    /// The text.
    pub text: String,
}

/// The scores of all texts.
#[derive(Debug, Clone)]
pub struct Scores {
    /// The labels.
    pub labels: Vec<String>,
    /// By the number of the text, in the order of the labels.
    pub rows: Vec<Vec<f32>>,
}

/// What all measurements share.
#[derive(Debug)]
pub struct Measuring<'a> {
    /// The release's labels and thresholds.
    pub description: &'a Description,
    /// The texts.
    pub texts: &'a Texts,
    /// Their scores.
    pub scores: &'a Scores,
    /// Thresholds beside the release's.
    pub thresholds: &'a [f32],
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Whether texts of files may be shown.
    pub examples: bool,
}

/// A score of every row: its value and the decision at the release's thresholds.
struct Scored<'a> {
    score: &'a Score,
    /// Place in the measurement's list.
    place: usize,
    labels: BTreeMap<String, f32>,
    values: Vec<(f32, bool)>,
}

impl Scored<'_> {
    /// The rows whose truth is known.
    fn known<'r>(&self, rows: &'r [Row]) -> Vec<Known<'r>> {
        let known = |(row, &(value, flagged)): (&'r Row, &(f32, bool))| {
            let truth = row.truth.get(self.place).copied().flatten()?;
            Some(Known { row, value, flagged, truth })
        };
        rows.iter().zip(&self.values).filter_map(known).collect()
    }
}

/// A row with a score and a known truth.
struct Known<'a> {
    row: &'a Row,
    value: f32,
    flagged: bool,
    truth: bool,
}

impl Known<'_> {
    /// The decision at a threshold, or at the release's.
    fn decision(&self, threshold: Option<f32>) -> bool {
        threshold.map_or(self.flagged, |threshold| self.value >= threshold)
    }
}

/// Measures figures of all rows with weights.
type Measure<'a> = Box<dyn Fn(&[u32]) -> Vec<Option<f64>> + 'a>;

/// Figures that are measured on the same resamples.
struct Sheet<'a> {
    clusters: Vec<u32>,
    measures: Vec<Measure<'a>>,
}

impl<'a> Sheet<'a> {
    fn new(clusters: impl Iterator<Item = u32>) -> Self {
        // A subset of rows has gaps in its numbers, which the bootstrap would draw in vain.
        let mut numbers = HashMap::new();
        let clusters = clusters
            .map(|cluster| {
                let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                *numbers.entry(cluster).or_insert(next)
            })
            .collect();
        Self { clusters, measures: Vec::new() }
    }

    fn add(&mut self, measure: impl Fn(&[u32]) -> Vec<Option<f64>> + 'a) {
        self.measures.push(Box::new(measure));
    }

    fn add_decisions(&mut self, known: &'a [Known<'_>], threshold: Option<f32>) {
        let decided: Vec<(bool, bool)> = known.iter().map(|known| (known.decision(threshold), known.truth)).collect();
        self.add(move |weights| {
            let table =
                Confusion::count(decided.iter().zip(weights).map(|(&(flagged, truth), &n)| (flagged, truth, n)));
            vec![table.precision(), table.recall(), table.f1(), table.macro_f1(), table.false_positive_rate()]
        });
    }

    fn add_group(&mut self, outcomes: &'a Outcomes, known: &'a [Known<'_>], members: &'a [usize]) {
        let mut inside = vec![false; known.len()];
        for &member in members {
            if let Some(inside) = inside.get_mut(member) {
                *inside = true;
            }
        }
        self.add(move |weights| {
            let member = |row: usize| inside.get(row).copied().unwrap_or(false);
            let BiasAucs { subgroup, bpsn, bnsp } = bias_aucs(outcomes, member, |row| of(weights, row));
            let decided = |&row: &usize| known.get(row).map(|known| (known.flagged, known.truth, of(weights, row)));
            let table = Confusion::count(members.iter().filter_map(decided));
            vec![subgroup, bpsn, bnsp, table.false_positive_rate(), table.recall()]
        });
    }

    fn add_dialect(&mut self, known: &'a [Known<'_>], wanted: bool) {
        self.add(move |weights| {
            let of_it = known.iter().zip(weights).filter(|(known, _)| known.row.dialect == Some(wanted));
            let table = Confusion::count(of_it.map(|(known, &weight)| (known.flagged, known.truth, weight)));
            vec![table.false_positive_rate()]
        });
    }

    /// The figures, in the order in which they were added.
    fn figures(self, resamples: usize) -> impl Iterator<Item = Option<Estimate>> {
        let all = estimate(&self.clusters, resamples, SEED, |weights| {
            self.measures.iter().flat_map(|measure| measure(weights)).collect()
        });
        all.into_iter()
    }
}

/// Weight of a row; 0 where there is none.
fn of(weights: &[u32], row: usize) -> u32 {
    weights.get(row).copied().unwrap_or(0)
}

impl Measuring<'_> {
    /// All measurements, worked on side by side.
    pub fn all(&self, measured: &[(&Measurement, Vec<Row>)], workers: usize) -> Vec<Measured> {
        let worker = |(measurement, rows): &(&Measurement, Vec<Row>)| self.measured(measurement, rows);
        let mut reports = Vec::with_capacity(measured.len());
        map_ordered(measured.iter(), vec![worker; workers.max(1)], |report| reports.push(report));
        reports
    }

    fn measured(&self, measurement: &Measurement, rows: &[Row]) -> Measured {
        let scored: Vec<Scored<'_>> = measurement
            .scores
            .iter()
            .enumerate()
            .filter_map(|(place, score)| self.scored(place, score, rows))
            .collect();
        let views = decided(measurement, &scored, rows);
        let clusters: std::collections::HashSet<u32> = rows.iter().map(|row| row.cluster).collect();
        let shown = self.examples || measurement.table.is_some();
        Measured {
            name: measurement.name.clone(),
            title: measurement.title.clone(),
            source: measurement.source(),
            rows: rows.len(),
            clusters: clusters.len(),
            scores: scored.iter().map(|scored| self.score_report(measurement, scored, rows)).collect(),
            accuracy: measurement
                .accuracy_by
                .iter()
                .enumerate()
                .flat_map(|(column, _)| views.iter().map(move |view| (column, view)))
                .map(|(column, view)| self.breakdown(measurement, column, view, rows))
                .collect(),
            tricks: match (&measurement.tricks, views.first()) {
                (Some(tricks), Some(view)) => self.tricks(&tricks.plain, view, rows),
                _ => Vec::new(),
            },
            examples: match views.first() {
                Some(view) if shown && !measurement.accuracy_by.is_empty() => self.examples(view, &scored, rows),
                _ => Vec::new(),
            },
        }
    }

    /// `None` where the release has none of its labels.
    fn scored<'a>(&self, place: usize, score: &'a Score, rows: &[Row]) -> Option<Scored<'a>> {
        let labels: Vec<(usize, &String, f32)> = score
            .labels()
            .filter_map(|name| {
                let column = self.scores.labels.iter().position(|label| label == name)?;
                let threshold = self.description.labels.iter().find(|label| label.name == *name)?.threshold;
                Some((column, name, threshold))
            })
            .collect();
        let value = |row: &Row| {
            let scores = self.scores.rows.get(row.text).map_or(&[][..], Vec::as_slice);
            labels.iter().fold((0.0_f32, false), |(highest, flagged), &(column, _, threshold)| {
                let value = scores.get(column).copied().unwrap_or(0.0);
                (highest.max(value), flagged || value >= threshold)
            })
        };
        (!labels.is_empty()).then(|| Scored {
            score,
            place,
            labels: labels.iter().map(|&(_, name, threshold)| (name.clone(), threshold)).collect(),
            values: rows.iter().map(value).collect(),
        })
    }

    fn score_report(&self, measurement: &Measurement, scored: &Scored<'_>, rows: &[Row]) -> ScoreReport {
        let known = scored.known(rows);
        let outcomes = Outcomes::new(known.iter().map(|known| (known.value, known.truth)).collect());
        let positives = outcomes.positives();
        let both = 0 < positives && positives < known.len();
        let calibration = scored.score.calibration;
        let thresholds: Vec<Option<f32>> =
            std::iter::once(None).chain(self.thresholds.iter().copied().map(Some)).collect();
        let groups = groups(measurement, scored.score, &known);
        let dialects: Vec<(&String, bool)> =
            measurement.dialect.iter().flat_map(|dialect| [(&dialect.name, true), (&dialect.other, false)]).collect();

        let mut sheet = Sheet::new(known.iter().map(|known| known.row.cluster));
        sheet.add(|weights| {
            let weight = |row| of(weights, row);
            vec![
                outcomes.roc_auc_weighted(weight),
                if both { outcomes.average_precision_weighted(weight) } else { None },
                if calibration { outcomes.calibration_error_weighted(weight) } else { None },
            ]
        });
        for &threshold in &thresholds {
            sheet.add_decisions(&known, threshold);
        }
        for (_, members) in &groups {
            sheet.add_group(&outcomes, &known, members);
        }
        for &(_, wanted) in &dialects {
            sheet.add_dialect(&known, wanted);
        }
        let mut figures = sheet.figures(self.resamples);
        let mut next = || figures.next().flatten();

        ScoreReport {
            name: scored.score.name().to_owned(),
            labels: scored.labels.clone(),
            rows: known.len(),
            positives,
            roc_auc: next(),
            average_precision: next(),
            calibration_error: next(),
            calibration: if calibration { outcomes.calibration_bins() } else { Vec::new() },
            roc_curve: outcomes.roc_curve(CURVE_POINTS_MAX),
            precision_recall_curve: if both { outcomes.precision_recall_curve(CURVE_POINTS_MAX) } else { Vec::new() },
            decisions: thresholds
                .iter()
                .map(|&threshold| Decisions {
                    threshold,
                    confusion: Confusion::count(known.iter().map(|known| (known.decision(threshold), known.truth, 1))),
                    precision: next(),
                    recall: next(),
                    f1: next(),
                    macro_f1: next(),
                    false_positive_rate: next(),
                })
                .collect(),
            groups: groups
                .iter()
                .map(|(name, members)| Group {
                    name: name.clone(),
                    rows: members.len(),
                    positives: members.iter().filter(|&&row| known.get(row).is_some_and(|known| known.truth)).count(),
                    subgroup_auc: next(),
                    bpsn_auc: next(),
                    bnsp_auc: next(),
                    false_positive_rate: next(),
                    recall: next(),
                })
                .collect(),
            dialects: dialects
                .iter()
                .map(|&(name, wanted)| Dialect {
                    name: name.clone(),
                    negatives: known.iter().filter(|known| known.row.dialect == Some(wanted) && !known.truth).count(),
                    false_positive_rate: next(),
                })
                .collect(),
        }
    }

    fn breakdown(&self, measurement: &Measurement, column: usize, view: &View<'_>, rows: &[Row]) -> Breakdown {
        let names = rows.iter().filter_map(|row| row.by.get(column));
        let slices = in_order(names).into_iter().map(|name| {
            let of_it: Vec<&Decided> = view
                .decided
                .iter()
                .filter(|decided| rows.get(decided.row).and_then(|row| row.by.get(column)) == Some(name))
                .collect();
            let mut sheet = Sheet::new(of_it.iter().map(|decided| decided.cluster));
            sheet.add(|weights| vec![share(of_it.iter().zip(weights).map(|(decided, &n)| (decided.right(), n)))]);
            let score = |decided: &&Decided| measurement.scores.get(decided.place).map(|score| score.name().to_owned());
            let decided_by: BTreeSet<String> = of_it.iter().filter_map(score).collect();
            Slice {
                name: name.clone(),
                rows: of_it.len(),
                decided_by: decided_by.into_iter().collect(),
                accuracy: sheet.figures(self.resamples).next().flatten(),
            }
        });
        Breakdown {
            by: measurement.accuracy_by.get(column).cloned().unwrap_or_default(),
            score: view.score.map(str::to_owned),
            slices: slices.filter(|slice| slice.rows > 0).collect(),
        }
    }

    fn tricks(&self, plain: &str, view: &View<'_>, rows: &[Row]) -> Vec<Trick> {
        let harmful: Vec<(&str, &Decided)> = view
            .decided
            .iter()
            .filter(|decided| decided.truth)
            .filter_map(|decided| Some((rows.get(decided.row)?.trick.as_str(), decided)))
            .collect();
        let names = rows.iter().map(|row| &row.trick).filter(|trick| !trick.is_empty() && *trick != plain);
        let trick = |name: &String| {
            let of_trick = |wanted: &str| -> Vec<&Decided> {
                harmful.iter().filter(|(trick, _)| *trick == wanted).map(|&(_, decided)| decided).collect()
            };
            let (tricked, plainly) = (of_trick(name), of_trick(plain));
            let mut sheet = Sheet::new(tricked.iter().chain(&plainly).map(|decided| decided.cluster));
            let rows = tricked.len();
            sheet.add(move |weights| {
                let (of_tricked, of_plain) = weights.split_at(rows.min(weights.len()));
                let recall = |cases: &[&Decided], weights: &[u32]| {
                    share(cases.iter().zip(weights).map(|(decided, &weight)| (decided.flagged, weight)))
                };
                let (tricked, plainly) = (recall(&tricked, of_tricked), recall(&plainly, of_plain));
                let kept = tricked.zip(plainly).filter(|(_, plainly)| *plainly > 0.0);
                vec![tricked, plainly, kept.map(|(tricked, plainly)| tricked / plainly)]
            });
            let mut figures = sheet.figures(self.resamples);
            let mut next = || figures.next().flatten();
            Trick { name: name.clone(), rows, recall: next(), recall_plain: next(), kept: next() }
        };
        in_order(names).into_iter().map(trick).filter(|trick| trick.rows > 0).collect()
    }

    /// For each function the texts that are furthest on the wrong side.
    fn examples(&self, view: &View<'_>, scored: &[Scored<'_>], rows: &[Row]) -> Vec<Example> {
        let mut wrong: Vec<Example> = view
            .decided
            .iter()
            .filter(|decided| !decided.right())
            .filter_map(|decided| {
                let row = rows.get(decided.row)?;
                let scored = scored.iter().find(|scored| scored.place == decided.place)?;
                Some(Example {
                    id: row.id.clone(),
                    function: row.by.first()?.clone(),
                    score: scored.score.name().to_owned(),
                    value: scored.values.get(decided.row)?.0,
                    expected: decided.truth,
                    text: self.texts.get(row.text).to_owned(),
                })
            })
            .collect();
        let error = |example: &Example| if example.expected { 1.0 - example.value } else { example.value };
        wrong.sort_by(|a, b| error(b).total_cmp(&error(a)).then_with(|| a.id.cmp(&b.id)));
        let mut shown: HashMap<String, usize> = HashMap::new();
        wrong.retain(|example| {
            let shown = shown.entry(example.function.clone()).or_default();
            *shown += 1;
            *shown <= EXAMPLES_MAX
        });
        wrong.sort_by(|a, b| a.function.cmp(&b.function));
        wrong
    }
}

/// One row's decision by the score that counts for it.
struct Decided {
    row: usize,
    cluster: u32,
    place: usize,
    truth: bool,
    flagged: bool,
}

impl Decided {
    fn right(&self) -> bool {
        self.truth == self.flagged
    }
}

/// Decisions that belong together: of one score, or of the score that each row names.
struct View<'a> {
    score: Option<&'a str>,
    decided: Vec<Decided>,
}

fn decided<'a>(measurement: &Measurement, scored: &[Scored<'a>], rows: &[Row]) -> Vec<View<'a>> {
    let decide = |place: usize, row: usize| {
        let scored = scored.iter().find(|scored| scored.place == place)?;
        let &(_, flagged) = scored.values.get(row)?;
        let found = rows.get(row)?;
        let truth = found.truth.get(place).copied().flatten()?;
        Some(Decided { row, cluster: found.cluster, place, truth, flagged })
    };
    if measurement.decided_by.is_some() {
        let by_row = rows.iter().enumerate().filter_map(|(row, found)| decide(found.decided_by?, row));
        return vec![View { score: None, decided: by_row.collect() }];
    }
    let view = |scored: &Scored<'a>| View {
        score: Some(scored.score.name()),
        decided: (0..rows.len()).filter_map(|row| decide(scored.place, row)).collect(),
    };
    scored.iter().map(view).collect()
}

/// The groups of the measurement, each with its places among the known rows.
fn groups(measurement: &Measurement, score: &Score, known: &[Known<'_>]) -> Vec<(String, Vec<usize>)> {
    let Some(declared) = &measurement.groups else { return Vec::new() };
    if !declared.scores.is_empty() && declared.scores.iter().all(|name| name != score.name()) {
        return Vec::new();
    }
    let mut groups: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
    for (place, known) in known.iter().enumerate() {
        for group in &known.row.groups {
            groups.entry(group).or_default().push(place);
        }
    }
    groups
        .into_iter()
        .filter(|(_, rows)| rows.len() >= declared.rows_min)
        .map(|(name, rows)| (name.clone(), rows))
        .collect()
}

fn in_order<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut seen = std::collections::HashSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

fn share(rows: impl Iterator<Item = (bool, u32)>) -> Option<f64> {
    Confusion::count(rows.map(|(yes, weight)| (yes, true, weight))).recall()
}
