//! `palisade eval`: a release measured against labelled texts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use csv::StringRecord;
use palisade_evaluation::{LabelReport, Outcomes};
use serde_json::{Map, Value, json};

use super::{ArtefactArguments, ExitStatus, Ready, Worker, progress};
use crate::bindings::{Description, Options};
use crate::input::{BATCH_TEXTS_MAX, bytes_kept};
use crate::labelled::{Labelled, truth};
use crate::ordered::map_ordered;

/// Arguments of `palisade eval`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Labelled texts: CSV with commas, UTF-8, the columns' names in the first line; gzip where the name ends in .gz
    #[arg(required_unless_present = "suite")]
    file: Option<PathBuf>,
    /// Column that holds the text
    #[arg(long, value_name = "COLUMN", required_unless_present = "suite")]
    text_column: Option<String>,
    /// Columns that hold the truth, with commas between them, each as COLUMN=LABEL, or COLUMN where it is named like the label.
    /// A cell is 1 or true, 0 or false, a number (0.5 and more is yes), or empty (unknown)
    #[arg(long, value_delimiter = ',', required_unless_present = "suite", value_name = "COLUMN[=LABEL]")]
    label_columns: Vec<String>,
    /// Only rows whose COLUMN is VALUE; where given more than once, all must hold
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    filters: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    suite: super::suite::SuiteArguments,
    #[command(flatten)]
    artefact: ArtefactArguments,
}

/// One row: the text, and for each label whether it holds, where that is known.
#[derive(Debug)]
struct Row {
    line: u64,
    /// Cut so far behind what the component reads that it still flags the text.
    text: String,
    truth: Vec<Option<bool>>,
}

/// Scores every row and prints the measures.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let Some(file) = &arguments.file else {
        return super::suite::run(&arguments.suite, &arguments.artefact, arguments.json);
    };
    let table = Labelled::open(file)?;
    let ready = arguments.artefact.prepare()?;
    let columns = Columns::find(arguments, &table, &ready.description)?;
    let stop = AtomicBool::new(false);
    let mut rows = Rows { table, columns: &columns, file, failure: None, stop: &stop };
    let (pairs, count) = score(&mut rows, &ready, &columns.labels)?;
    if let Some(failure) = rows.failure {
        return Err(failure);
    }
    if count == 0 {
        bail!(
            "{}: no rows to measure{}",
            file.display(),
            if arguments.filters.is_empty() { "" } else { " pass --where" }
        );
    }

    let thresholds = columns.labels.iter().map(|name| {
        let label = ready.description.labels.iter().find(|label| label.name == *name);
        label.map_or(0.5, |label| label.threshold)
    });
    let reports: Vec<(&String, LabelReport)> = columns
        .labels
        .iter()
        .zip(pairs.into_iter().zip(thresholds))
        .map(|(name, (pairs, threshold))| (name, LabelReport::measure(&Outcomes::new(pairs), threshold)))
        .collect();
    let report = Report { count, mean_roc_auc: mean(reports.iter().filter_map(|(_, r)| r.roc_auc)), reports };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        report.json(&mut out, &ready.description)
    } else {
        report.table(&mut out, &ready.description)
    }?;
    Ok(ExitStatus::Done)
}

/// Where in a record everything stands.
struct Columns {
    text: usize,
    truth: Vec<usize>,
    labels: Vec<String>,
    filters: Vec<(usize, String)>,
    text_bytes_kept: usize,
}

impl Columns {
    fn find(arguments: &Arguments, table: &Labelled, description: &Description) -> Result<Self> {
        let known: Vec<&str> = description.labels.iter().map(|label| label.name.as_str()).collect();
        let mut found = Self {
            text: table.column(arguments.text_column.as_deref().unwrap_or_default())?,
            truth: Vec::new(),
            labels: Vec::new(),
            filters: Vec::new(),
            text_bytes_kept: bytes_kept(&description.limits),
        };
        for pair in &arguments.label_columns {
            let (column, label) = match pair.split_once('=') {
                Some((column, label)) => (column, label.to_owned()),
                None => (pair.as_str(), pair.to_uppercase()),
            };
            if !known.contains(&label.as_str()) {
                bail!(
                    "the release has no label {label:?}; it has {}\n  hint: name the label of a column with --label-columns {column}=LABEL",
                    known.join(", ")
                );
            }
            if found.labels.contains(&label) {
                bail!("--label-columns names two columns for {label}");
            }
            found.truth.push(table.column(column)?);
            found.labels.push(label);
        }
        for filter in &arguments.filters {
            let (column, value) =
                filter.split_once('=').with_context(|| format!("--where {filter:?} is not COLUMN=VALUE"))?;
            found.filters.push((table.column(column)?, value.to_owned()));
        }
        Ok(found)
    }

    /// The row, where the filters let it through.
    fn row(&self, record: &StringRecord, line: u64) -> Result<Option<Row>, String> {
        let cell = |place: usize| record.get(place).unwrap_or_default();
        if self.filters.iter().any(|(place, value)| cell(*place) != value) {
            return Ok(None);
        }
        let truth = self
            .truth
            .iter()
            .zip(&self.labels)
            .map(|(&place, label)| truth(cell(place), label))
            .collect::<Result<_, _>>()?;
        let mut text = cell(self.text).to_owned();
        text.truncate(text.floor_char_boundary(self.text_bytes_kept));
        Ok(Some(Row { line, text, truth }))
    }
}

/// Batches of rows; ends at the first bad one and keeps what was wrong with it.
struct Rows<'a> {
    table: Labelled,
    columns: &'a Columns,
    file: &'a Path,
    failure: Option<anyhow::Error>,
    /// Set where a row could not be scored: no more rows are wanted.
    stop: &'a AtomicBool,
}

impl Rows<'_> {
    fn next_row(&mut self) -> Result<Option<Row>> {
        let mut record = StringRecord::new();
        while let Some(line) = self.table.next(&mut record)? {
            let row =
                self.columns.row(&record, line).map_err(|e| anyhow!("{}, line {line}: {e}", self.file.display()))?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }
}

impl Iterator for &mut Rows<'_> {
    type Item = Vec<Row>;

    fn next(&mut self) -> Option<Vec<Row>> {
        let mut batch = Vec::new();
        let stopped = self.stop.load(Ordering::Relaxed);
        while !stopped && self.failure.is_none() && batch.len() < BATCH_TEXTS_MAX {
            match self.next_row() {
                Ok(Some(row)) => batch.push(row),
                Ok(None) => break,
                Err(failure) => self.failure = Some(failure),
            }
        }
        (!batch.is_empty() && self.failure.is_none()).then_some(batch)
    }
}

type Pairs = Vec<Vec<(f32, bool)>>;

/// Scores all rows; for each label the pairs of score and truth, and the number of rows.
fn score(rows: &mut Rows<'_>, ready: &Ready, labels: &[String]) -> Result<(Pairs, usize)> {
    let options = Options { labels: Some(labels.to_vec()), spans: false, words: false };
    let workers = (0..ready.workers)
        .map(|_| {
            let mut worker = Worker::new(ready, &options);
            move |batch: Vec<Row>| {
                let texts: Vec<&str> = batch.iter().map(|row| row.text.as_str()).collect();
                let results = worker.classify(&texts);
                batch.into_iter().map(|row| (row.line, row.truth)).zip(results).collect::<Vec<_>>()
            }
        })
        .collect();
    let bar = progress("rows");
    let (file, stop) = (rows.file, rows.stop);
    let mut pairs = vec![Vec::new(); labels.len()];
    let (mut count, mut failure) = (0, None);
    map_ordered(rows, workers, |batch| {
        bar.inc(batch.len() as u64);
        for ((line, truth), result) in batch {
            match result {
                Ok(result) => {
                    count += 1;
                    for ((pairs, score), truth) in pairs.iter_mut().zip(result.scores).zip(truth) {
                        pairs.extend(truth.map(|truth| (score, truth)));
                    }
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failure.get_or_insert_with(|| anyhow!(error).context(format!("{}, line {line}", file.display())));
                }
            }
        }
    });
    bar.finish_and_clear();
    failure.map_or(Ok((pairs, count)), Err)
}

struct Report<'a> {
    count: usize,
    mean_roc_auc: Option<f64>,
    reports: Vec<(&'a String, LabelReport)>,
}

impl Report<'_> {
    fn json(&self, out: &mut impl Write, description: &Description) -> Result<()> {
        let labels: Map<String, Value> = self
            .reports
            .iter()
            .map(|(name, report)| Ok(((*name).clone(), serde_json::to_value(report)?)))
            .collect::<Result<_>>()?;
        let release = &description.release;
        let all = json!({
            "release": {"name": release.name, "version": release.version, "digest": release.digest},
            "rows": self.count,
            "mean_roc_auc": self.mean_roc_auc,
            "labels": labels,
        });
        Ok(writeln!(out, "{all:#}")?)
    }

    fn table(&self, out: &mut impl Write, description: &Description) -> Result<()> {
        let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
        let release = &description.release;
        writeln!(out, "{} {} on {} rows", release.name, release.version, self.count)?;
        writeln!(
            out,
            "{:<16} {:>7} {:>9} {:>8} {:>8} {:>8} {:>10} {:>7} {:>12}",
            "label", "rows", "positives", "ROC AUC", "avg prec", "F1", "threshold", "recall", "calib error"
        )?;
        for (name, report) in &self.reports {
            writeln!(
                out,
                "{:<16} {:>7} {:>9} {:>8} {:>8} {:>8.4} {:>10.3} {:>7.4} {:>12.4}",
                name,
                report.rows,
                report.positives,
                number(report.roc_auc),
                number(report.average_precision),
                report.at_threshold.f1,
                report.at_threshold.threshold,
                report.at_threshold.recall,
                report.calibration_error
            )?;
        }
        Ok(writeln!(out, "mean ROC AUC {}", number(self.mean_roc_auc))?)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}
