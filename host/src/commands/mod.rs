//! The commands of `palisade`, one file each, and what they share.

pub mod bake;
pub mod classify;
pub mod eval;
pub mod feedback;
pub mod inspect;
pub mod key;
pub mod model;
pub mod policy;
pub mod serve;
pub mod suite;

use std::io::{IsTerminal, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::bindings::{Description, Limits, Options, TextResult};
use crate::table::harmless;
use crate::{Artefact, EngineKind, Error, Instance, Loaded, Runtime, RuntimeLimits};

/// How a command ended, as the shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Everything was done.
    Done,
    /// Done, with a negative result: some lines could not be classified.
    Partly,
    /// Nothing could be done.
    Failed,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        ExitCode::from(match status {
            ExitStatus::Done => 0,
            ExitStatus::Partly => 1,
            ExitStatus::Failed => 2,
        })
    }
}

/// Which artefact to run, and what it may use.
#[derive(Debug, Args)]
pub struct ArtefactArguments {
    /// Baked component to run [default: palisade-default.wasm beside this program]
    #[arg(short, long, env = "PALISADE_ARTEFACT", value_name = "FILE")]
    artefact: Option<PathBuf>,
    /// What runs it; the scores are the same to the bit
    #[arg(long, env = "PALISADE_ENGINE", value_enum, value_name = "ENGINE", default_value_t)]
    engine: EngineKind,
    /// Instances that work side by side [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: Option<u32>,
    /// Longest time of one call of the component, in milliseconds, or 0 for none, which is quicker; calls of the native engine cannot be interrupted [default: none for the artefact beside this program, which is trusted as it is; 30000 for another]
    #[arg(long, value_name = "MS")]
    call_ms_max: Option<u64>,
    /// Largest memory of one instance of the component, in MiB
    #[arg(long, value_name = "MIB", default_value_t = RuntimeLimits::default().memory_mib_max, value_parser = clap::value_parser!(u64).range(1..=1024))]
    memory_mib_max: u64,
}

/// A release that is ready to score.
#[derive(Debug)]
pub struct Ready {
    /// To be instantiated, once a worker.
    pub loaded: Loaded,
    /// What the release says of itself.
    pub description: Description,
    /// How many workers to start.
    pub workers: usize,
}

impl ArtefactArguments {
    /// Loads the artefact and asks it what it is. Says so on standard error where that takes seconds.
    pub fn prepare(&self) -> Result<Ready> {
        let workers = self.workers.map_or_else(cores, |workers| workers as usize);
        let limits = RuntimeLimits {
            call_ms_max: call_ms_max(self.call_ms_max, self.artefact.as_deref(), 30_000),
            memory_mib_max: self.memory_mib_max,
            instances_max: u32::try_from(workers)?.saturating_add(1),
            endpoints_max: 0,
        };
        let (loaded, description) = load(self.artefact.as_deref(), self.engine, || Ok(Runtime::new(limits)?))?;
        Ok(Ready { loaded, description, workers })
    }
}

/// The time limit of a call that was asked for; else `otherwise` for an artefact that was named, and none for the one that came with this
/// program. 0 is none.
pub fn call_ms_max(asked: Option<u64>, artefact: Option<&Path>, otherwise: u64) -> Option<u64> {
    asked.or_else(|| artefact.map(|_| otherwise)).filter(|&limit_ms| limit_ms > 0)
}

/// One worker a core.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Loads an artefact, or the one beside this program, and asks it what it is. Only the component needs the runtime.
pub fn load(
    artefact: Option<&Path>,
    engine: EngineKind,
    runtime: impl FnOnce() -> Result<Runtime>,
) -> Result<(Loaded, Description)> {
    let path = match artefact {
        Some(path) => path.to_owned(),
        None => beside_program("palisade-default.wasm")
            .context("no artefact to run\n  hint: name one with --artefact, or make one with `palisade bake`")?,
    };
    let artefact = Artefact::read(&path)?;
    let loaded = match engine {
        EngineKind::Native => Loaded::native(&artefact)?,
        EngineKind::Component => {
            let runtime = runtime()?;
            if !runtime.is_compiled(&artefact) {
                say(&format!("compiling {} for this machine, once", path.display()));
            }
            runtime.load(&artefact)?
        }
    };
    let description = loaded.instantiate()?.describe().with_context(|| path.display().to_string())?;
    if artefact.anatomy.release_manifest().is_some_and(|manifest| manifest.digest != description.release.digest) {
        bail!("{}: its release section is of another release than the one inside; bake it again", path.display());
    }
    Ok((loaded, description))
}

/// A file that is shipped in the folder of this program.
pub fn beside_program(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program's own place is unknown")?;
    let file = program.parent().unwrap_or(Path::new("")).join(name);
    if !file.is_file() {
        bail!("{}: no such file", file.display());
    }
    Ok(file)
}

/// A folder that is shipped in the folder of this program.
pub fn folder_beside_program(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    Some(program.parent()?.join(name)).filter(|folder| folder.is_dir())
}

/// Writes a file that is either there whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // Readable by all, like any file that is made to be copied elsewhere.
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Writes one line to standard error, where logs go.
#[expect(clippy::print_stderr, reason = "the one place that writes to standard error")]
pub fn say(message: &str) {
    eprintln!("palisade: {}", message.lines().map(harmless).collect::<Vec<_>>().join("\n"));
}

/// An error with its causes, in a line. Some errors tell their causes themselves: what was told is not told again.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        told if told.contains(&cause) => told.to_owned(),
        told => format!("{told}: {cause}"),
    })
}

/// A progress line on standard error; hidden where that is no terminal.
pub fn progress(what: &'static str) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {rate}/s, {elapsed}") {
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.0}", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar.set_message(what);
    bar
}

/// One worker's instance, replaced when a call breaks it.
#[derive(Debug)]
pub struct Worker {
    loaded: Loaded,
    options: Options,
    limits: Limits,
    instance: Option<Instance>,
}

impl Worker {
    /// A worker that gives what `options` ask for.
    pub fn new(ready: &Ready, options: &Options) -> Self {
        Self {
            loaded: ready.loaded.clone(),
            options: options.clone(),
            limits: ready.description.limits,
            instance: None,
        }
    }

    /// Scores the texts, in calls that keep within the component's limits. Where a call fails, each of its texts is tried
    /// alone, so that one bad text costs only its own result.
    pub fn classify(&mut self, texts: &[&str]) -> Vec<Result<TextResult, Error>> {
        let mut results = Vec::with_capacity(texts.len());
        let mut rest = texts;
        while !rest.is_empty() {
            let (call, behind) = rest.split_at(self.texts_of_a_call(rest));
            rest = behind;
            match self.call(call) {
                Ok(scored) => results.extend(scored.into_iter().map(Ok)),
                Err(error) if call.len() == 1 => results.push(Err(error)),
                Err(_) => results.extend(call.iter().map(|text| self.call_alone(text))),
            }
        }
        results
    }

    /// How many texts go into the next call: at least one.
    fn texts_of_a_call(&self, texts: &[&str]) -> usize {
        // Each sentence or word costs a pass of the model, and the time limit is for the call.
        let texts_max = if self.options.spans || self.options.words { 1 } else { self.limits.texts_max as usize };
        let mut bytes = 0;
        let within = texts.iter().take(texts_max).take_while(|text| {
            bytes += text.len();
            bytes <= self.limits.batch_bytes_max as usize
        });
        within.count().max(1)
    }

    fn call_alone(&mut self, text: &str) -> Result<TextResult, Error> {
        self.call(&[text])?.pop().ok_or_else(|| Error::Fault("no result for a text".into()))
    }

    fn call(&mut self, texts: &[&str]) -> Result<Vec<TextResult>, Error> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.loaded.instantiate()?,
        };
        let answer = instance.classify(texts, &self.options);
        if matches!(answer, Ok(_) | Err(Error::Refused(_))) {
            self.instance = Some(instance);
        }
        let results = answer?.results;
        if results.len() != texts.len() {
            return Err(Error::Fault(format!("{} results for {} texts", results.len(), texts.len())));
        }
        Ok(results)
    }
}
