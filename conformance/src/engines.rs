//! Everything that scores a text: the core natively, the component in wasmtime, and the component in V8.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use palisade_core::{Classifier, Options, ReleaseFiles};
use palisade_encoder::Kernel;

use crate::compiled::{self, Setting};

/// Which build of the component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simd {
    Strict,
    Relaxed,
}

/// A program with V8 in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Browser {
    Node,
    Chromium,
}

/// One way to score.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    Native(Kernel),
    Wasmtime(Simd, Setting),
    V8(Simd, Browser, Compiler),
}

/// How V8 compiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// In a hurry first, and again when a function is called often.
    Both,
    /// In a hurry alone (Liftoff).
    Baseline,
}

/// Texts for what takes a hundred times as long as the quickest, for the interpreter, and for code that differs from what gets all of them
/// in few instructions. They are the golden cases and those behind them, which are as mixed as all the rest.
const TEXTS_SCALAR: usize = 1_000;
const TEXTS_INTERPRETED: usize = 250;
const TEXTS_OTHER: usize = 2_500;

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let simd = |simd: &Simd| if *simd == Simd::Strict { "strict" } else { "relaxed" };
        match self {
            Self::Native(kernel) => write!(f, "native {kernel}"),
            Self::Wasmtime(build, setting) => write!(f, "{} wasmtime {}", simd(build), setting.name),
            Self::V8(build, browser, compiler) => {
                let browser = if *browser == Browser::Node { "node" } else { "chromium" };
                let compiler = if *compiler == Compiler::Baseline { " with its baseline compiler" } else { "" };
                write!(f, "{} {browser}{compiler}", simd(build))
            }
        }
    }
}

/// A shipped release, and where everything about it lies.
#[derive(Debug)]
pub(crate) struct Release {
    /// Its folder in the repository.
    pub(crate) folder: PathBuf,
    /// The components that it was baked into.
    pub(crate) strict: PathBuf,
    pub(crate) relaxed: PathBuf,
    /// A JSON string a line: the texts to score.
    pub(crate) texts_file: PathBuf,
    /// Folder of the scripts for V8.
    pub(crate) scripts: PathBuf,
}

impl Release {
    fn component(&self, simd: Simd) -> &Path {
        if simd == Simd::Strict { &self.strict } else { &self.relaxed }
    }
}

/// Scores of texts, all labels of the first, then of the second, as bits.
pub(crate) type Scores = Vec<u32>;

impl Engine {
    /// Texts that it gets at most, so that all engines together take minutes.
    pub(crate) fn texts_max(&self) -> usize {
        match self {
            Self::Native(Kernel::Scalar) => TEXTS_SCALAR,
            Self::Wasmtime(_, setting) if *setting == compiled::INTERPRETER => TEXTS_INTERPRETED,
            Self::Native(_) | Self::V8(_, _, Compiler::Both) => usize::MAX,
            Self::Wasmtime(_, setting) if *setting == compiled::HOST => usize::MAX,
            Self::Wasmtime(..) | Self::V8(..) => TEXTS_OTHER,
        }
    }

    /// Scores the texts; `texts` are the first ones of the release's file. `scratch` is an empty folder of this call's own.
    pub(crate) fn scores(&self, release: &Release, texts: &[String], scratch: &Path) -> Result<Scores> {
        match self {
            Self::Native(kernel) => native(release, *kernel, texts),
            Self::Wasmtime(simd, setting) => compiled::scores(release.component(*simd), setting, texts),
            Self::V8(simd, browser, compiler) => {
                let mut command = script(release, *simd, *browser, *compiler)?;
                let output = scratch.join("scores");
                let component = release.component(*simd);
                command.arg(component).arg(&release.texts_file).arg(texts.len().to_string()).arg(scratch).arg(&output);
                let status =
                    command.status().context("cannot start node\n  hint: install Node 20 or later with npm")?;
                ensure!(status.success(), "node failed ({status})");
                // As they lay in the memory of a little-endian machine.
                let bytes = std::fs::read(&output).with_context(|| output.display().to_string())?;
                Ok(bytes.as_chunks::<4>().0.iter().map(|bits| u32::from_le_bytes(*bits)).collect())
            }
        }
    }
}

fn native(release: &Release, kernel: Kernel, texts: &[String]) -> Result<Scores> {
    let read = |name: &str| {
        let path = release.folder.join(name);
        std::fs::read(&path).with_context(|| path.display().to_string())
    };
    let (manifest, model, tokenizer) = (read("release.json")?, read("model.onnx")?, read("tokenizer.json")?);
    let files = ReleaseFiles { manifest: &manifest, model: &model, tokenizer: &tokenizer };
    let classifier = Classifier::from_release(&files)?.with_kernel(kernel);
    let mut bits = Scores::new();
    for text in texts {
        let answer = classifier.classify(&[text], &Options::default())?;
        bits.extend(answer.results.iter().flat_map(|result| &result.scores).map(|score| score.to_bits()));
    }
    Ok(bits)
}

/// The script that scores in V8, without its arguments.
fn script(release: &Release, simd: Simd, browser: Browser, compiler: Compiler) -> Result<Command> {
    let mut command = Command::new("node");
    match browser {
        Browser::Node => {
            if simd == Simd::Relaxed && node_is_old()? {
                // Its baseline compiler's relaxed dot product is wrong (V8 11.3), one reason to have it behind a flag.
                command.args(["--experimental-wasm-relaxed-simd", "--no-liftoff"]);
            }
            if compiler == Compiler::Baseline {
                command.args(BASELINE);
            }
            command.arg(release.scripts.join("node.mjs"));
        }
        Browser::Chromium => {
            command.arg(release.scripts.join("chromium.mjs"));
            if compiler == Compiler::Baseline {
                command.env("CHROMIUM_FLAGS", format!("--js-flags={}", BASELINE.join(" ")));
            }
        }
    }
    Ok(command)
}

/// V8's flags for one compiler alone.
const BASELINE: &[&str] = &["--liftoff", "--no-wasm-tier-up", "--no-wasm-dynamic-tiering"];

/// Node 20 has relaxed SIMD behind a flag, which later ones no longer know.
pub(crate) fn node_is_old() -> Result<bool> {
    let version = Command::new("node").arg("--version").output().context("cannot start node")?.stdout;
    Ok(version.starts_with(b"v20."))
}
