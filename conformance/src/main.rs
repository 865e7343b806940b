//! Whether every engine gives the same bits: `cargo xtask determinism`.
//!
//! Scores the golden cases with the default release, and them and others, ten thousand together, with the small one ([`texts`]), in every way there
//! is ([`engines`]), and compares all scores with those of the quickest native kernel, and these with the golden cases' own. Where one
//! differs, it says which text's, by number, length and digest; a text is never printed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool for developers")]

mod compiled;
mod engines;
mod texts;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use palisade_core::Manifest;
use palisade_encoder::Kernel;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::compiled::{DETERMINISTIC, HOST, INTERPRETER, NOT_OPTIMISED};
use crate::engines::{Browser, Compiler, Engine, Release, Scores, Simd};

/// Texts that are named of one engine.
const DIFFERENCES_MAX: usize = 3;

/// Compares the scores of every engine, to the bit.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder with the baked components
    #[arg(long, value_name = "FOLDER")]
    components: PathBuf,
    /// Folder that is emptied and used for what passes between the engines
    #[arg(long, value_name = "FOLDER")]
    scratch: PathBuf,
    /// Texts, the golden cases among them
    #[arg(long, default_value_t = 10_000)]
    texts: usize,
    /// Only engines whose names hold one of these
    engines: Vec<String>,
}

/// A release, texts, and the scores that it must give them.
struct Set {
    name: &'static str,
    release: Release,
    labels: Vec<String>,
    texts: Vec<String>,
    /// By the quickest native kernel.
    expected: Scores,
}

/// One engine on a set.
struct Run<'a> {
    set: &'a Set,
    engine: &'a Engine,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("palisade-determinism: error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let started = Instant::now();
    if arguments.scratch.exists() {
        std::fs::remove_dir_all(&arguments.scratch).with_context(|| arguments.scratch.display().to_string())?;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository has no root")?;
    let cases = Case::read(&root.join("models/english-toxicity/cases.jsonl"))?;
    let golden: Vec<String> = cases.iter().map(|case| case.text.clone()).collect();
    let mixed = texts::texts(&golden, arguments.texts);
    let (golden, mixed) = (
        Set::new(root, arguments, "english-toxicity", "default", golden)?,
        Set::new(root, arguments, "english-toxicity-small", "small", mixed)?,
    );
    let cases_are_same = compare_cases(&golden, &cases)?;

    let chosen = |engine: &Engine| {
        let name = engine.to_string();
        arguments.engines.is_empty() || arguments.engines.iter().any(|part| name.contains(part))
    };
    let engines: Vec<Engine> = engines()?.into_iter().filter(chosen).collect();
    let runs = |engine| [&mixed, &golden].map(|set| Run { set, engine });
    let runs: Vec<Run<'_>> = engines.iter().flat_map(runs).collect();
    let count = runs.len();
    let differing = in_parallel(runs, &arguments.scratch)?;
    let seconds = started.elapsed().as_secs();
    println!("{} of {count} runs gave the same bits, in {seconds} s", count - differing);
    Ok(differing == 0 && cases_are_same)
}

/// All that this machine runs, those that take longest first.
fn engines() -> Result<Vec<Engine>> {
    let both = [Simd::Strict, Simd::Relaxed];
    let compiled = [HOST, NOT_OPTIMISED].into_iter().chain(compiled::processors());
    let mut engines = vec![Engine::Native(Kernel::Scalar)];
    engines.extend(both.map(|simd| Engine::Wasmtime(simd, INTERPRETER)));
    for browser in [Browser::Chromium, Browser::Node] {
        engines.extend(both.map(|simd| Engine::V8(simd, browser, Compiler::Both)));
        // See the flags for Node 20 in `engines.rs`.
        let wrong = browser == Browser::Node && engines::node_is_old()?;
        let right = both.into_iter().filter(|simd| *simd == Simd::Strict || !wrong);
        engines.extend(right.map(|simd| Engine::V8(simd, browser, Compiler::Baseline)));
    }
    engines.extend(compiled.flat_map(|setting| both.map(|simd| Engine::Wasmtime(simd, setting))));
    engines.push(Engine::Wasmtime(Simd::Relaxed, DETERMINISTIC));
    engines.extend(Kernel::available().into_iter().filter(|kernel| *kernel != Kernel::Scalar).map(Engine::Native));
    Ok(engines)
}

/// Takes one run after the other, as many at a time as there are processors; gives how many differ.
fn in_parallel(runs: Vec<Run<'_>>, scratch: &Path) -> Result<usize> {
    let workers = std::thread::available_parallelism()?.get();
    let runs = Mutex::new(runs.into_iter().enumerate());
    let next = || runs.lock().map_err(|_| anyhow!("another worker panicked")).map(|mut runs| runs.next());
    let work = || -> Result<usize> {
        let mut differing = 0;
        while let Some((number, run)) = next()? {
            let name = format!("{}, {}", run.set.name, run.engine);
            let differs = !run.compare(&scratch.join(number.to_string())).with_context(|| name)?;
            differing += usize::from(differs);
        }
        Ok(differing)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let differing = workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?);
        differing.sum::<Result<usize>>()
    })
}

impl Set {
    /// `name` is the release's, `component` how its components' files are called.
    fn new(
        root: &Path,
        arguments: &Arguments,
        name: &'static str,
        component: &str,
        texts: Vec<String>,
    ) -> Result<Self> {
        let folder = root.join("models").join(name);
        let manifest = std::fs::read(folder.join("release.json")).with_context(|| folder.display().to_string())?;
        let labels = Manifest::parse(&manifest)?.labels.into_iter().map(|label| label.name).collect();
        std::fs::create_dir_all(&arguments.scratch).with_context(|| arguments.scratch.display().to_string())?;
        let texts_file = arguments.scratch.join(format!("{name}.jsonl"));
        let lines: Vec<String> = texts.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        std::fs::write(&texts_file, lines.join("\n") + "\n").with_context(|| texts_file.display().to_string())?;
        let release = Release {
            folder,
            strict: arguments.components.join(format!("palisade-{component}-strict.wasm")),
            relaxed: arguments.components.join(format!("palisade-{component}.wasm")),
            texts_file,
            scripts: root.join("conformance"),
        };
        let best = Engine::Native(Kernel::best());
        let expected = best.scores(&release, &texts, &arguments.scratch)?;
        let digest = digest(&expected);
        println!("{name}: {} texts, {best}: the scores have the SHA-256 {digest}", texts.len());
        Ok(Self { name, release, labels, texts, expected })
    }

    /// What differs, for people; `texts` are as many as were scored.
    fn differences(&self, scores: &[u32], texts: usize) -> Vec<String> {
        let labels = self.labels.len();
        if scores.len() != texts * labels {
            return vec![format!("{} scores for {texts} texts with {labels} labels", scores.len())];
        }
        let places = self.expected.chunks(labels).zip(scores.chunks(labels)).zip(&self.texts).enumerate();
        let differing = places.filter(|(_, ((expected, given), _))| expected != given);
        let shown = differing.map(|(number, ((expected, given), text))| {
            let scores =
                self.labels.iter().zip(expected.iter().zip(given)).filter(|(_, (expected, given))| expected != given);
            let scores = scores.map(|(label, (&expected, &given))| {
                format!(
                    "{label} is {:?} ({given:08x}), not {:?} ({expected:08x})",
                    f32::from_bits(given),
                    f32::from_bits(expected)
                )
            });
            let scores = scores.collect::<Vec<_>>().join(", ");
            format!("text {number} of {} bytes, SHA-256 {}: {scores}", text.len(), hex::encode(Sha256::digest(text)))
        });
        shown.collect()
    }
}

impl Run<'_> {
    /// Scores, and prints one line, and more where scores differ; gives whether none does.
    fn compare(&self, scratch: &Path) -> Result<bool> {
        let started = Instant::now();
        std::fs::create_dir_all(scratch).with_context(|| scratch.display().to_string())?;
        let texts = self.set.texts.get(..self.engine.texts_max()).unwrap_or(&self.set.texts);
        let scores = self.engine.scores(&self.set.release, texts, scratch)?;
        let differences = self.set.differences(&scores, texts.len());
        let seconds = started.elapsed().as_secs_f64();
        let what = format!("{}, {}: {} texts, {seconds:.1} s", self.set.name, self.engine, texts.len());
        println!("{}", told(&what, &differences));
        Ok(differences.is_empty())
    }
}

/// SHA-256 of scores as little-endian machines hold them.
fn digest(scores: &[u32]) -> String {
    hex::encode(Sha256::digest(scores.iter().flat_map(|bits| bits.to_le_bytes()).collect::<Vec<u8>>()))
}

/// A golden case.
struct Case {
    id: String,
    text: String,
    /// Scores by label.
    scores: Value,
}

impl Case {
    fn read(path: &Path) -> Result<Vec<Self>> {
        let lines = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let cases = lines.lines().map(|line| {
            let case: Value = serde_json::from_str(line)?;
            let field = |name: &str| case.get(name).with_context(|| format!("a case has no {name}"));
            let string = |name: &str| Ok::<_, anyhow::Error>(field(name)?.as_str().context("not a string")?.to_owned());
            Ok(Self { id: string("id")?, text: string("text")?, scores: field("scores")?.clone() })
        });
        cases.collect()
    }
}

/// Compares the native scores with those that the cases hold; gives whether all are the same.
fn compare_cases(set: &Set, cases: &[Case]) -> Result<bool> {
    let mut recorded = Scores::new();
    for case in cases {
        for label in &set.labels {
            let score = case.scores.get(label).and_then(Value::as_f64);
            let score = score.with_context(|| format!("case {} has no score {label}", case.id))?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the file holds the digits that give the same 32 bits"
            )]
            recorded.push((score as f32).to_bits());
        }
    }
    let differences = set.differences(&recorded, cases.len());
    println!("{}", told(&format!("{}, the golden cases' own scores", set.name), &differences));
    Ok(differences.is_empty())
}

/// A line that says what was compared, and some more where that differs.
fn told(what: &str, differences: &[String]) -> String {
    let verdict = if differences.is_empty() { "same" } else { "DIFFERENT" };
    let mut lines = vec![format!("{verdict}: {what}")];
    lines.extend(differences.iter().take(DIFFERENCES_MAX).cloned());
    let more = differences.len().saturating_sub(DIFFERENCES_MAX);
    if more > 0 {
        lines.push(format!("and {more} more texts"));
    }
    lines.join("\n  ")
}
