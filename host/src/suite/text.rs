//! The report as text.

use std::fmt::Write;

use palisade_evaluation::Estimate;
use unicode_width::UnicodeWidthStr;

use super::measure::{Breakdown, Decisions, Measured, Report, ScoreReport, Trick};
use crate::table::harmless;

/// Columns of text, as wide as their widest cells; the first to the left, the others to the right.
struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| harmless(&cell)).collect());
    }

    fn write(&self, out: &mut String) {
        if self.rows.len() < 2 {
            return;
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::from(" ");
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = " ".repeat(width.saturating_sub(cell.width()));
                let (before, behind) = if column == 0 { ("", gap.as_str()) } else { (gap.as_str(), "") };
                let _ = write!(line, " {before}{cell}{behind} ");
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out.push('\n');
    }
}

/// A figure with its interval.
pub(crate) fn figure(estimate: Option<Estimate>) -> String {
    match estimate {
        None => "–".into(),
        Some(Estimate { value, interval: None }) => format!("{value:.3}"),
        Some(Estimate { value, interval: Some((low, high)) }) => format!("{value:.3} [{low:.3}, {high:.3}]"),
    }
}

/// What a threshold is called.
pub(crate) fn threshold_name(decisions: &Decisions) -> String {
    decisions.threshold.map_or_else(|| "release".into(), |threshold| format!("{threshold}"))
}

/// What was not measured, in a sentence for each score.
pub(crate) fn skipped(report: &Report) -> Vec<String> {
    let line = |skipped: &super::measure::Skipped| {
        let missing = skipped.labels_missing.join(", ");
        let what = if skipped.measured_on_the_rest { "measured without" } else { "skipped: the release has no" };
        format!("{}, {}: {what} {missing}", skipped.measurement, skipped.score)
    };
    report.skipped.iter().map(line).collect()
}

/// The whole report.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    let release = &report.release;
    let head = format!(
        "{} {} on the suite {}: {} texts; [ ] intervals of 95 % from {} resamples",
        release.name, release.version, report.suite, report.texts, report.resamples
    );
    let _ = writeln!(out, "{}", harmless(&head));
    for line in skipped(report) {
        let _ = writeln!(out, "  {}", harmless(&line));
    }
    for measured in &report.measurements {
        measurement(&mut out, measured);
    }
    out
}

fn measurement(out: &mut String, measured: &Measured) {
    let drawn =
        if measured.clusters < measured.rows { format!(" in {} clusters", measured.clusters) } else { String::new() };
    let head = format!("{}: {} ({}, {} rows{drawn})", measured.name, measured.title, measured.source, measured.rows);
    let _ = writeln!(out, "\n{}\n", harmless(&head));
    let mut scores = Columns::new(&["score", "rows", "yes", "ROC AUC", "average precision", "calibration error"]);
    let mut decisions = Columns::new(&[
        "score",
        "at",
        "precision",
        "recall",
        "F1",
        "macro F1",
        "false positives",
        "TP",
        "FP",
        "FN",
        "TN",
    ]);
    for score in &measured.scores {
        scores.row([
            score.name.clone(),
            score.rows.to_string(),
            score.positives.to_string(),
            figure(score.roc_auc),
            figure(score.average_precision),
            figure(score.calibration_error),
        ]);
        for at in &score.decisions {
            let table = at.confusion;
            let counts = [table.true_positives, table.false_positives, table.false_negatives, table.true_negatives];
            let figures = [at.precision, at.recall, at.f1, at.macro_f1, at.false_positive_rate].map(figure);
            let head = [score.name.clone(), threshold_name(at)];
            decisions.row(head.into_iter().chain(figures).chain(counts.map(|count| count.to_string())));
        }
    }
    scores.write(out);
    decisions.write(out);
    for score in &measured.scores {
        by_group(out, score);
    }
    for breakdown in &measured.accuracy {
        accuracy(out, breakdown);
    }
    tricks(out, &measured.tricks);
}

fn by_group(out: &mut String, score: &ScoreReport) {
    let head = format!("{} by group", score.name);
    let mut groups =
        Columns::new(&[&head, "rows", "yes", "subgroup AUC", "BPSN AUC", "BNSP AUC", "false positives", "recall"]);
    for group in &score.groups {
        let figures =
            [group.subgroup_auc, group.bpsn_auc, group.bnsp_auc, group.false_positive_rate, group.recall].map(figure);
        let counts = [group.name.clone(), group.rows.to_string(), group.positives.to_string()];
        groups.row(counts.into_iter().chain(figures));
    }
    groups.write(out);
    let head = format!("{} by dialect", score.name);
    let mut dialects = Columns::new(&[&head, "rows that are no", "false positives"]);
    for dialect in &score.dialects {
        dialects.row([dialect.name.clone(), dialect.negatives.to_string(), figure(dialect.false_positive_rate)]);
    }
    dialects.write(out);
}

fn accuracy(out: &mut String, breakdown: &Breakdown) {
    let of = breakdown.score.as_ref().map_or_else(String::new, |score| format!(" of {score}"));
    let mut slices = Columns::new(&[&breakdown.by, "rows", &format!("accuracy{of}"), ""]);
    for slice in &breakdown.slices {
        let name = if slice.name.is_empty() { "–".into() } else { slice.name.clone() };
        let decided_by =
            if breakdown.score.is_none() { format!("by {}", slice.decided_by.join(", ")) } else { String::new() };
        slices.row([name, slice.rows.to_string(), figure(slice.accuracy), decided_by]);
    }
    slices.write(out);
}

fn tricks(out: &mut String, tricks: &[Trick]) {
    let mut columns = Columns::new(&["trick", "rows", "recall", "recall without it", "kept"]);
    for trick in tricks {
        columns.row([
            trick.name.clone(),
            trick.rows.to_string(),
            figure(trick.recall),
            figure(trick.recall_plain),
            figure(trick.kept),
        ]);
    }
    columns.write(out);
}
