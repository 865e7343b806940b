//! `palisade classify`: texts in, scores out, in order.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use super::{ArtefactArguments, ExitStatus, Ready, Worker, progress, say};
use crate::Error;
use crate::bindings::{Description, Options, Release, Span, TextResult, Word};
use crate::input::{Batches, Item, LineFormat, LineProblem, bytes_kept};
use crate::ordered::map_ordered;
use crate::table::Table;

/// Arguments of `palisade classify`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Texts to score (not names of files), or `-` for the lines of standard input
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<String>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// What the lines of standard input are
    #[arg(long, value_enum, default_value_t = LineFormat::Auto)]
    input: LineFormat,
    /// Labels to score, with commas between them and in this order [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LABEL")]
    labels: Option<Vec<String>>,
    /// Score each sentence too (with --format jsonl): start and end are bytes of the UTF-8 text
    #[arg(long)]
    spans: bool,
    /// Give each word's effect on its sentence's scores too: start and end are bytes of the UTF-8 text; the table shows the
    /// three that raise the highest score most
    #[arg(long)]
    words: bool,
    #[command(flatten)]
    artefact: ArtefactArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For reading: a row for each text
    Table,
    /// For programs: a JSON object for each text
    Jsonl,
}

/// One line of the answer: the line it answers, and its result or why there is none.
struct Answer {
    item: Item,
    result: Result<TextResult, LineProblem>,
}

/// Scores the texts and prints them as they come.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let from_stdin = arguments.texts.iter().any(|text| text == "-");
    if from_stdin && arguments.texts.len() > 1 {
        bail!("`-` stands for standard input and goes alone; give texts or `-`, not both");
    }
    for text in arguments.texts.iter().filter(|text| is_name_of_file(text)) {
        say(&format!("hint: this scores the name {text:?}; to score a file's lines: palisade classify - < {text}"));
    }
    if arguments.spans && arguments.format == Format::Table {
        say("hint: the table has no room for the sentences' scores; --format jsonl prints them");
    }
    let ready = arguments.artefact.prepare()?;
    let labels = arguments.labels.as_ref();
    let labels = labels.map(|names| names.iter().map(|name| name.trim().to_uppercase()).collect());
    let options = Options { labels, spans: arguments.spans, words: arguments.words };
    let labels = wanted_labels(&ready.description, options.labels.as_deref())?;
    let mut printer = Printer::new(arguments.format, &ready.description, &labels, &options);

    if from_stdin {
        let mut lines = Batches::new(std::io::stdin(), arguments.input, bytes_kept(&ready.description.limits));
        let counts = classify_all(&mut lines, &ready, &options, &mut printer);
        if let Some(error) = lines.failure() {
            bail!("standard input broke off after line {}: {error}", counts.lines);
        }
        Ok(counts.report())
    } else {
        let items = (1..).zip(&arguments.texts).map(|(line, text)| Item { line, id: None, text: Ok(text.clone()) });
        let batches: Vec<Vec<Item>> = items.map(|item| vec![item]).collect();
        Ok(classify_all(batches.into_iter(), &ready, &options, &mut printer).report())
    }
}

/// Whether a text is rather the name of a file with texts, be it there or not.
fn is_name_of_file(text: &str) -> bool {
    let path = std::path::Path::new(text);
    let is_of_texts = path.extension().and_then(|end| end.to_str()).is_some_and(|end| {
        ["csv", "gz", "json", "jsonl", "ndjson", "tsv", "txt"].iter().any(|known| end.eq_ignore_ascii_case(known))
    });
    path.is_file() || (is_of_texts && !text.contains(char::is_whitespace) && !text.contains("://"))
}

fn wanted_labels(description: &Description, wanted: Option<&[String]>) -> Result<Vec<String>> {
    let all: Vec<String> = description.labels.iter().map(|label| label.name.clone()).collect();
    let Some(wanted) = wanted else { return Ok(all) };
    for (place, name) in wanted.iter().enumerate() {
        if !all.contains(name) {
            bail!("the release has no label {name:?}; it has {}", all.join(", "));
        }
        if wanted.iter().take(place).any(|other| other == name) {
            bail!("label {name:?} is asked for twice");
        }
    }
    Ok(wanted.to_vec())
}

#[derive(Debug, Default)]
struct Counts {
    lines: u64,
    failed: u64,
    first_failure: Option<String>,
}

impl Counts {
    fn add(&mut self, answer: &Answer) {
        self.lines += 1;
        if let Err(problem) = &answer.result {
            self.failed += 1;
            self.first_failure.get_or_insert_with(|| format!("line {}: {}", answer.item.line, problem.message));
        }
    }

    /// Says on standard error what failed, and turns it into the exit status.
    fn report(&self) -> ExitStatus {
        let Some(first) = &self.first_failure else {
            return ExitStatus::Done;
        };
        let more = if self.failed > 1 { "; first, " } else { "; " };
        say(&format!("{} of {} lines could not be classified{more}{first}", self.failed, self.lines));
        if self.failed < self.lines { ExitStatus::Partly } else { ExitStatus::Failed }
    }
}

fn classify_all(
    batches: impl Iterator<Item = Vec<Item>> + Send,
    ready: &Ready,
    options: &Options,
    printer: &mut Printer,
) -> Counts {
    // On a terminal the rows themselves show how far it is.
    let bar = if std::io::stdout().is_terminal() { ProgressBar::hidden() } else { progress("texts") };
    let workers = (0..ready.workers)
        .map(|_| {
            let mut worker = Worker::new(ready, options);
            move |batch: Vec<Item>| classify_batch(&mut worker, batch)
        })
        .collect();
    let mut counts = Counts::default();
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    map_ordered(batches, workers, |answers: Vec<Answer>| {
        bar.inc(answers.len() as u64);
        let mut print = || {
            for answer in &answers {
                counts.add(answer);
                printer.print(&mut out, answer)?;
            }
            out.flush()
        };
        print().unwrap_or_else(|error| end_without_output(&error));
    });
    bar.finish_and_clear();
    printer.finish(&mut out).and_then(|()| out.flush()).unwrap_or_else(|error| end_without_output(&error));
    counts
}

/// Ends the program where nobody takes its output any more. It must not wait for the thread that reads standard input,
/// which may never give another line.
#[expect(clippy::exit, reason = "see above")]
fn end_without_output(error: &std::io::Error) {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(0); // whoever read it has had enough
    }
    say(&format!("error: standard output: {error}"));
    std::process::exit(2);
}

fn classify_batch(worker: &mut Worker, batch: Vec<Item>) -> Vec<Answer> {
    let texts: Vec<&str> = batch.iter().filter_map(|item| item.text.as_deref().ok()).collect();
    let mut results = if texts.is_empty() { Vec::new() } else { worker.classify(&texts) }.into_iter();
    batch
        .into_iter()
        .map(|item| {
            let result = match &item.text {
                Err(problem) => Err(problem.clone()),
                Ok(_) => match results.next() {
                    Some(result) => result.map_err(not_classified),
                    None => Err(not_classified(Error::Fault("no result for a text".into()))),
                },
            };
            Answer { item, result }
        })
        .collect()
}

#[expect(clippy::needless_pass_by_value, reason = "used as a map_err function")]
fn not_classified(error: Error) -> LineProblem {
    LineProblem { code: "not-classified", message: error.to_string() }
}

enum Printer {
    Table(Table),
    Jsonl { labels: Vec<String>, options: Options, release: Release },
}

impl Printer {
    fn new(format: Format, description: &Description, labels: &[String], options: &Options) -> Self {
        match format {
            Format::Jsonl => {
                Self::Jsonl { labels: labels.to_vec(), options: options.clone(), release: description.release.clone() }
            }
            Format::Table => Self::Table(Table::new(description, labels, std::io::stdout().is_terminal())),
        }
    }

    fn print(&mut self, out: &mut impl Write, answer: &Answer) -> std::io::Result<()> {
        match self {
            Self::Table(table) => {
                let text = answer.item.text.as_deref().unwrap_or_default();
                let result = answer.result.as_ref().map_err(|problem| {
                    let mut message = String::new();
                    let _ = write!(message, "line {}: {}", answer.item.line, problem.message);
                    message
                });
                table.row(out, text, result)
            }
            Self::Jsonl { labels, options, release } => {
                serde_json::to_writer(&mut *out, &JsonAnswer::new(answer, labels, options, release))?;
                out.write_all(b"\n")
            }
        }
    }

    fn finish(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        match self {
            Self::Table(table) => table.finish(out),
            Self::Jsonl { .. } => Ok(()),
        }
    }
}

/// One line of `--format jsonl`; `id` is the line's own, or its number.
#[derive(Serialize)]
#[serde(untagged)]
enum JsonAnswer<'a> {
    Scored {
        id: Id<'a>,
        scores: Scores<'a>,
        truncated: bool,
        #[serde(flatten)]
        spans: Option<JsonSpans<'a>>,
        #[serde(flatten)]
        words: Option<JsonWords<'a>>,
        release: JsonRelease<'a>,
    },
    Failed {
        id: Id<'a>,
        line: u64,
        error: JsonError<'a>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Id<'a> {
    Given(&'a RawValue),
    Line(u64),
}

/// Only where spans were asked for.
#[derive(Serialize)]
struct JsonSpans<'a> {
    spans: Vec<JsonSpan<'a>>,
    spans_truncated: bool,
}

#[derive(Serialize)]
struct JsonSpan<'a> {
    start: u32,
    end: u32,
    scores: Scores<'a>,
    truncated: bool,
}

/// Only where words were asked for.
#[derive(Serialize)]
struct JsonWords<'a> {
    words: Vec<JsonWord<'a>>,
    words_truncated: bool,
}

#[derive(Serialize)]
struct JsonWord<'a> {
    start: u32,
    end: u32,
    effects: Scores<'a>,
}

#[derive(Serialize)]
struct JsonRelease<'a> {
    name: &'a str,
    version: &'a str,
    digest: &'a str,
}

#[derive(Serialize)]
struct JsonError<'a> {
    code: &'a str,
    message: &'a str,
}

struct Scores<'a> {
    labels: &'a [String],
    scores: &'a [f32],
}

impl Serialize for Scores<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.labels.len()))?;
        for (label, score) in self.labels.iter().zip(self.scores) {
            map.serialize_entry(label, score)?;
        }
        map.end()
    }
}

impl<'a> JsonAnswer<'a> {
    fn new(answer: &'a Answer, labels: &'a [String], options: &Options, release: &'a Release) -> Self {
        let id = match &answer.item.id {
            Some(id) => Id::Given(id),
            None => Id::Line(answer.item.line),
        };
        let scores = |scores: &'a [f32]| Scores { labels, scores };
        let span = |span: &'a Span| JsonSpan {
            start: span.start,
            end: span.end,
            scores: scores(&span.scores),
            truncated: span.truncated,
        };
        let word = |word: &'a Word| JsonWord { start: word.start, end: word.end, effects: scores(&word.effects) };
        match &answer.result {
            Ok(result) => Self::Scored {
                id,
                scores: scores(&result.scores),
                truncated: result.truncated,
                spans: options.spans.then(|| JsonSpans {
                    spans: result.spans.iter().map(span).collect(),
                    spans_truncated: result.spans_truncated,
                }),
                words: options.words.then(|| JsonWords {
                    words: result.words.iter().map(word).collect(),
                    words_truncated: result.words_truncated,
                }),
                release: JsonRelease { name: &release.name, version: &release.version, digest: &release.digest },
            },
            Err(problem) => Self::Failed {
                id,
                line: answer.item.line,
                error: JsonError { code: problem.code, message: &problem.message },
            },
        }
    }
}
