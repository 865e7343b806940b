//! The component's side of `compare.py`: answers measurements, one JSON object a line, until its input ends.
//!
//! | request | answer |
//! |---|---|
//! | `{"mode":"about"}` | what is measured: word, release, labels, artefact's size |
//! | `{"mode":"warm","tokens":64,"repeats":10}` | `{"ms":[…]}`: a request to an instance that has answered before |
//! | `{"mode":"cold","tokens":64,"repeats":10}` | `{"ms":[…]}`: a fresh instance and its first request |
//! | `{"mode":"instantiate","repeats":10}` | `{"ms":[…]}`: a fresh instance alone |
//! | `{"mode":"scores","tokens":64}` | `{"scores":[…]}`: one a label |
//! | `{"mode":"batch","tokens":12,"texts":32,"repeats":10}` | `{"ms":[…]}`: one call with texts of about that length |
//! | `{"mode":"singly","tokens":12,"texts":32,"repeats":10}` | `{"ms":[…]}`: the same texts, a call for each |
//! | `{"mode":"memory","tokens":64,"instances":100}` | `{"before":{…},"after":{…}}`: bytes without and with so many live instances |
//! | `{"mode":"peak"}` | `{"peaks":[…]}`: what the machine's 128-bit integer dot products can do |
//!
//! Its arguments are the engine and the artefact, both optional: `palisade-bench-worker native FILE`. The engine is `component`, `native`,
//! or `timed`: the component with a time limit for its calls.
//!
//! Every call runs on this one thread. A time ends when the answer is there; taking an instance down is not in it. The
//! worker ends with a message and status 1 at the first request that it cannot answer.

use std::hint::black_box;
use std::io::{BufRead, Write, stderr, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use palisade_bench::memory::Memory;
use palisade_bench::{Subject, Text, WORD, peak, scores, scores_of};
use palisade_host::{EngineKind, Instance, RuntimeLimits};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
enum Request {
    About,
    Warm { tokens: usize, repeats: usize },
    Cold { tokens: usize, repeats: usize },
    Instantiate { repeats: usize },
    Scores { tokens: usize },
    Batch { tokens: usize, texts: usize, repeats: usize },
    Singly { tokens: usize, texts: usize, repeats: usize },
    Memory { tokens: usize, instances: usize },
    Peak,
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let subject = subject()?;
    let mut reused = subject.instantiate()?;
    for line in stdin().lock().lines() {
        let line = line?;
        let answer = serde_json::from_str(&line)
            .map_err(anyhow::Error::from)
            .and_then(|request| answer(&subject, &mut reused, &request))
            .with_context(|| format!("request {line}"))?;
        let mut out = stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn subject() -> Result<Subject> {
    let mut arguments = std::env::args_os().skip(1);
    let (engine, call_ms_max) = match arguments.next() {
        None => return Subject::open(),
        Some(name) if name == "component" => (EngineKind::Component, None),
        Some(name) if name == "timed" => (EngineKind::Component, RuntimeLimits::default().call_ms_max),
        Some(name) if name == "native" => (EngineKind::Native, None),
        Some(name) => bail!("there is no engine {}: component, timed or native", name.display()),
    };
    let artefact = arguments.next().map_or_else(palisade_bench::artefact_path, PathBuf::from);
    if let Some(surplus) = arguments.next() {
        bail!("one artefact at a time, not {} as well", surplus.display());
    }
    Subject::open_with(engine, &artefact, call_ms_max)
}

fn answer(subject: &Subject, reused: &mut Instance, request: &Request) -> Result<Value> {
    Ok(match *request {
        Request::About => about(subject)?,
        Request::Warm { tokens, repeats } => {
            let text = Text::of_tokens(tokens)?;
            scores(reused, &text)?;
            json!({ "ms": times(repeats, || scores(reused, &text))? })
        }
        Request::Cold { tokens, repeats } => {
            let text = Text::of_tokens(tokens)?;
            let first_request = || {
                let mut fresh = subject.instantiate()?;
                let scores = scores(&mut fresh, &text)?;
                Ok((fresh, scores))
            };
            json!({ "ms": times(repeats, first_request)? })
        }
        Request::Instantiate { repeats } => json!({ "ms": times(repeats, || subject.instantiate())? }),
        Request::Scores { tokens } => json!({ "scores": scores(reused, &Text::of_tokens(tokens)?)? }),
        Request::Batch { tokens, texts, repeats } => {
            let texts = Text::around_tokens(tokens, texts)?;
            scores_of(reused, &texts)?;
            json!({ "ms": times(repeats, || scores_of(reused, &texts))? })
        }
        Request::Singly { tokens, texts, repeats } => {
            let texts = Text::around_tokens(tokens, texts)?;
            let mut one_at_a_time = || texts.iter().map(|text| scores(reused, text)).collect::<Result<Vec<_>>>();
            one_at_a_time()?;
            json!({ "ms": times(repeats, one_at_a_time)? })
        }
        Request::Memory { tokens, instances } => memory(subject, &Text::of_tokens(tokens)?, instances)?,
        Request::Peak => json!({ "peaks": peak::all() }),
    })
}

fn about(subject: &Subject) -> Result<Value> {
    let description = subject.describe()?;
    let labels: Vec<&str> = description.labels.iter().map(|label| label.name.as_str()).collect();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "word": WORD,
        "release": {
            "name": description.release.name,
            "version": description.release.version,
            "digest": description.release.digest,
        },
        "labels": labels,
        "artefact_bytes": subject.artefact_bytes,
    }))
}

/// What the process has before and with so many instances, each of which answered once.
fn memory(subject: &Subject, text: &Text, instances: usize) -> Result<Value> {
    let before = Memory::now()?;
    let mut live = Vec::with_capacity(instances);
    for _ in 0..instances {
        let mut instance = subject.instantiate()?;
        scores(&mut instance, text)?;
        live.push(instance);
    }
    let after = Memory::now()?;
    drop(live);
    Ok(json!({ "before": before, "after": after }))
}

/// Milliseconds of each repeat. What `step` gives is dropped after its time was taken.
fn times<T>(repeats: usize, mut step: impl FnMut() -> Result<T>) -> Result<Vec<f64>> {
    (0..repeats)
        .map(|_| {
            let start = Instant::now();
            let kept = black_box(step()?);
            let ms = start.elapsed().as_secs_f64() * 1e3;
            drop(kept);
            Ok(ms)
        })
        .collect()
}
