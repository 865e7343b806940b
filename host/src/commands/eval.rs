//! `palisade eval`: a release measured against labelled texts.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use csv::{Position, StringRecord};
use flate2::read::MultiGzDecoder;
use palisade_evaluation::{LabelReport, Outcomes};
use serde_json::{Map, Value, json};

use super::{ArtefactArguments, ExitStatus, Ready, Worker, progress};
use crate::bindings::{Description, Options};
use crate::input::{BATCH_TEXTS_MAX, bytes_kept};
use crate::ordered::map_ordered;

/// Arguments of `palisade eval`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Labelled texts: CSV with commas, UTF-8, the columns' names in the first line; gzip where the name ends in .gz
    file: PathBuf,
    /// Column that holds the text
    #[arg(long, value_name = "COLUMN")]
    text_column: String,
    /// Columns that hold the truth, with commas between them, each as COLUMN=LABEL, or COLUMN where it is named like the label.
    /// A cell is 1 or true, 0 or false, a number (0.5 and more is yes), or empty (unknown)
    #[arg(long, value_delimiter = ',', required = true, value_name = "COLUMN[=LABEL]")]
    label_columns: Vec<String>,
    /// Only rows whose COLUMN is VALUE; where given more than once, all must hold
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    filters: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    let quotes = Arc::new(AtomicUsize::new(0));
    let mut reader = open(&arguments.file, &quotes)?;
    let header = reader.headers().with_context(|| arguments.file.display().to_string())?.clone();
    let ready = arguments.artefact.prepare()?;
    let columns = Columns::find(arguments, &header, &ready.description)?;
    let stop = AtomicBool::new(false);
    let mut rows = Rows { reader, columns: &columns, file: &arguments.file, failure: None, stop: &stop };
    let (pairs, count) = score(&mut rows, &ready, &columns.labels)?;
    if let Some(failure) = rows.failure {
        return Err(failure);
    }
    if quotes.load(Ordering::Relaxed) % 2 == 1 {
        bail!(
            "{}: a quote is opened and never closed, so rows are lost (quotes inside a cell are doubled)",
            arguments.file.display()
        );
    }
    if count == 0 {
        bail!(
            "{}: no rows to measure{}",
            arguments.file.display(),
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

/// Counts the quotes that pass, for in a whole CSV file (RFC 4180) their number is even.
struct QuoteCounter<R> {
    inner: R,
    quotes: Arc<AtomicUsize>,
}

impl<R: Read> Read for QuoteCounter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let quotes = buffer.iter().take(length).filter(|&&byte| byte == b'"').count();
        self.quotes.fetch_add(quotes, Ordering::Relaxed);
        Ok(length)
    }
}

fn open(path: &Path, quotes: &Arc<AtomicUsize>) -> Result<csv::Reader<Box<dyn Read + Send>>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let content: Box<dyn Read + Send> = if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(BufReader::new(file)))
    } else {
        Box::new(file)
    };
    Ok(csv::Reader::from_reader(Box::new(QuoteCounter { inner: content, quotes: Arc::clone(quotes) })))
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
    fn find(arguments: &Arguments, header: &StringRecord, description: &Description) -> Result<Self> {
        let place = |name: &str| {
            header.iter().position(|column| column == name).ok_or_else(|| {
                let columns: Vec<_> = header.iter().collect();
                if columns.is_empty() {
                    return anyhow!("{}: the file is empty", arguments.file.display());
                }
                anyhow!("{}: no column {name:?}; it has {}", arguments.file.display(), columns.join(", "))
            })
        };
        let known: Vec<&str> = description.labels.iter().map(|label| label.name.as_str()).collect();
        let mut found = Self {
            text: place(&arguments.text_column)?,
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
            found.truth.push(place(column)?);
            found.labels.push(label);
        }
        for filter in &arguments.filters {
            let (column, value) =
                filter.split_once('=').with_context(|| format!("--where {filter:?} is not COLUMN=VALUE"))?;
            found.filters.push((place(column)?, value.to_owned()));
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

fn truth(cell: &str, label: &str) -> Result<Option<bool>, String> {
    match cell.trim() {
        "" => Ok(None),
        "true" | "True" | "TRUE" => Ok(Some(true)),
        "false" | "False" | "FALSE" => Ok(Some(false)),
        number => match number.parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(Some(number >= 0.5)),
            _ => {
                // A long cell is more likely a text, and texts stay out of messages.
                let held = if cell.len() <= 16 { format!("{cell:?}") } else { format!("{} bytes", cell.len()) };
                Err(format!(
                    "the column of {label} holds {held}, which is no number within 0 and 1, true, false or empty"
                ))
            }
        },
    }
}

/// Batches of rows; ends at the first bad one and keeps what was wrong with it.
struct Rows<'a> {
    reader: csv::Reader<Box<dyn Read + Send>>,
    columns: &'a Columns,
    file: &'a Path,
    failure: Option<anyhow::Error>,
    /// Set where a row could not be scored: no more rows are wanted.
    stop: &'a AtomicBool,
}

impl Rows<'_> {
    fn next_row(&mut self) -> Result<Option<Row>> {
        let mut record = StringRecord::new();
        while self.reader.read_record(&mut record).with_context(|| self.file.display().to_string())? {
            let line = record.position().map_or(0, Position::line);
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

#[cfg(test)]
mod tests {
    use super::truth;

    #[test]
    fn a_cell_is_yes_no_or_unknown() {
        let check = |cell, expect| assert_eq!(truth(cell, "TOXICITY"), Ok(expect), "{cell:?}");
        check("1", Some(true));
        check("0.0", Some(false));
        check("0.5", Some(true));
        check("True", Some(true));
        check(" ", None);
        assert!(truth("maybe", "TOXICITY").unwrap_err().contains("\"maybe\""));
        assert!(truth("7", "TOXICITY").is_err());
        assert!(!truth("a whole comment in the wrong column", "TOXICITY").unwrap_err().contains("comment"));
    }
}
