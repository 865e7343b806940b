//! `palisade eval --suite`: a release measured on a suite.

use std::cell::Cell;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use palisade_evaluation::RESAMPLES;

use super::{ArtefactArguments, ExitStatus, Ready, Worker, progress, say, write_whole};
use crate::bindings::Options;
use crate::input::{BATCH_TEXTS_MAX, bytes_kept};
use crate::ordered::map_ordered;
use crate::suite::measure::{Measuring, Report, Scores, Skipped};
use crate::suite::rows::{Reading, Row, Texts, TrainedTexts};
use crate::suite::spec::{Measurement, Suite};
use crate::suite::{html, text};

/// Resamples beyond this say nothing more.
const RESAMPLES_MAX: u64 = 100_000;

/// Arguments of `palisade eval --suite`; its own name, for clap makes a group of it.
#[derive(Debug, Args)]
pub struct SuiteArguments {
    /// Measure on a suite instead of a file: functional (Palisade's own cases), development, or a TOML file
    #[arg(long, value_name = "NAME_OR_FILE", conflicts_with_all = ["file", "text_column", "label_columns", "filters"])]
    suite: Option<String>,
    /// Folder of the suite's files
    #[arg(long, value_name = "FOLDER", requires = "suite")]
    data: Option<PathBuf>,
    /// Write the report as one HTML page too
    #[arg(long, value_name = "FILE", requires = "suite")]
    html: Option<PathBuf>,
    /// Bootstrap resamples for the intervals; 0 for none
    #[arg(long, value_name = "N", requires = "suite", default_value_t = RESAMPLES as u64, value_parser = clap::value_parser!(u64).range(..=RESAMPLES_MAX))]
    resamples: u64,
    /// Measure on at most N rows of each measurement, chosen by the hash of their texts
    #[arg(long, value_name = "N", requires = "suite", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Show failing texts of the suite's files too; those of the program's own cases are always shown
    #[arg(long, requires = "suite")]
    examples: bool,
}

/// Scores every text of the suite and prints the measures.
pub fn run(arguments: &SuiteArguments, artefact: &ArtefactArguments, as_json: bool) -> Result<ExitStatus> {
    let name = arguments.suite.as_deref().context("no suite")?;
    let (name, suite) = Suite::load(name).with_context(|| format!("suite {name}"))?;
    if let Some(folder) = &arguments.data {
        ensure!(folder.is_dir(), "--data {}: no such folder", folder.display());
    }
    let ready = artefact.prepare()?;
    let trained = match (&suite.trained, &arguments.data) {
        (Some(trained), Some(data)) => {
            TrainedTexts::read(trained, data).with_context(|| format!("suite {name}, trained"))?
        }
        _ => TrainedTexts::default(),
    };
    let reading = Reading {
        data: arguments.data.as_deref(),
        trained,
        passed_over: Cell::new(0),
        sample: arguments.sample.map(usize::try_from).transpose()?,
        text_bytes_kept: bytes_kept(&ready.description.limits),
    };

    let mut skipped = Vec::new();
    let mut texts = Texts::default();
    let mut measured: Vec<(&Measurement, Vec<Row>)> = Vec::new();
    let known = |label: &String| ready.description.labels.iter().any(|known| known.name == *label);
    for measurement in &suite.measurements {
        skipped.extend(Skipped::of(measurement, known));
        if measurement.scores.iter().any(|score| score.labels().any(known)) {
            let rows = reading
                .rows(measurement, &mut texts)
                .with_context(|| format!("suite {name}, measurement {:?}", measurement.name))?;
            measured.push((measurement, rows));
        }
    }
    ensure!(!measured.is_empty(), "suite {name}: the release has none of its labels");
    if reading.passed_over.get() > 0 {
        say(&format!(
            "{} rows repeat texts that releases are trained on, and are passed over",
            reading.passed_over.get()
        ));
    }
    let scores = score(&ready, &texts)?;
    let measuring = Measuring {
        description: &ready.description,
        texts: &texts,
        scores: &scores,
        thresholds: &suite.thresholds,
        resamples: usize::try_from(arguments.resamples)?,
        examples: arguments.examples,
    };
    let report = Report {
        suite: name,
        about: suite.about.clone(),
        release: (&ready.description.release).into(),
        texts: texts.all().len(),
        resamples: measuring.resamples,
        skipped,
        measurements: measuring.all(&measured, ready.workers),
    };

    if let Some(path) = &arguments.html {
        write_whole(path, html::page(&report).as_bytes()).with_context(|| path.display().to_string())?;
        say(&format!("wrote {}", path.display()));
    }
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        out.write_all(text::table(&report).as_bytes())?;
    }
    Ok(ExitStatus::Done)
}

/// The scores of all labels for all texts.
fn score(ready: &Ready, texts: &Texts) -> Result<Scores> {
    let labels: Vec<String> = ready.description.labels.iter().map(|label| label.name.clone()).collect();
    let options = Options { labels: Some(labels.clone()), spans: false, words: false };
    let workers = (0..ready.workers)
        .map(|_| {
            let mut worker = Worker::new(ready, &options);
            move |batch: &[String]| {
                let texts: Vec<&str> = batch.iter().map(String::as_str).collect();
                worker.classify(&texts)
            }
        })
        .collect();
    let bar = progress("");
    bar.set_message(format!("of {} texts", texts.all().len()));
    let stop = AtomicBool::new(false);
    let (mut rows, mut failure) = (Vec::with_capacity(texts.all().len()), None);
    let batches = texts.all().chunks(BATCH_TEXTS_MAX).take_while(|_| !stop.load(Ordering::Relaxed));
    map_ordered(batches, workers, |results| {
        bar.inc(results.len() as u64);
        for result in results {
            match result {
                Ok(result) => rows.push(result.scores),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    let bytes = texts.get(rows.len()).len();
                    let what = format!("text {} of the suite ({bytes} bytes) cannot be scored", rows.len() + 1);
                    failure.get_or_insert_with(|| anyhow!(error).context(what));
                }
            }
        }
    });
    bar.finish_and_clear();
    failure.map_or(Ok(Scores { labels, rows }), Err)
}
