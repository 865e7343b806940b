//! `palisade bake`: a release becomes an artefact.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use palisade_registry::{PullOptions, Reference};

use super::model::{RegistryArguments, TrustArguments};
use super::{ExitStatus, beside_program, say, write_whole};
use crate::Artefact;
use crate::artefact::mib;
use crate::bake::{ReleaseFolder, bake};
use crate::trusting::Signer;

/// Arguments of `palisade bake`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder of the release (release.json and the files that it names), or a version in a registry, as name@version or name@alias
    release: PathBuf,
    /// Where to write the component
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Engine that the release is baked into
    #[arg(long, value_name = "KIND", default_value = "auto", conflicts_with = "engine_module")]
    engine_kind: EngineKind,
    /// SIMD instructions of the encoder engine; the scores are the same to the bit. tract's are always strict
    #[arg(long, value_name = "KIND", default_value = "relaxed", conflicts_with = "engine_module")]
    simd: Simd,
    /// Engine module, instead of the one beside this program; it goes neither with --engine-kind nor with --simd
    #[arg(long, env = "PALISADE_ENGINE_MODULE", value_name = "FILE")]
    engine_module: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    trust: TrustArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EngineKind {
    /// The encoder where the release fits it, else tract
    Auto,
    /// Small and quick, in int8: for encoders as our training writes them
    Encoder,
    /// For any ONNX classifier, in float32 (palisade-engine-tract.wasm)
    Tract,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Simd {
    /// For wasmtime, which has relaxed SIMD: this program, Spin (palisade-engine-relaxed.wasm)
    Relaxed,
    /// For runtimes that may lack it: browsers, Node.js (palisade-engine.wasm)
    Strict,
}

/// Reads the release, bakes it, checks the result, and only then puts it in place.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let temporary = tempfile::tempdir().context("no temporary folder")?;
    let release = ReleaseFolder::read(&trusted(arguments, temporary.path())?)?;
    let engine = match &arguments.engine_module {
        Some(path) => path.clone(),
        None => engine_beside_program(engine_file(arguments.engine_kind, arguments.simd, &release))?,
    };
    let artefact = Artefact::from_bytes(&arguments.output, bake_into(&engine, &release)?)?;
    write_whole(&arguments.output, &artefact.bytes).with_context(|| arguments.output.display().to_string())?;
    let release = artefact.anatomy.release_manifest().map(|m| format!("{} {}", m.name, m.version)).unwrap_or_default();
    let size = mib(artefact.anatomy.sizes.file);
    say(&format!("baked {release} into {} ({size})", arguments.output.display()));
    Ok(ExitStatus::Done)
}

/// The folder to bake. With a trust policy, nothing of a release is parsed before its signature is found good: a folder must then be one that
/// `palisade model pull` made.
fn trusted(arguments: &Arguments, temporary: &Path) -> Result<PathBuf> {
    let named = &arguments.release;
    let trust = arguments.trust.read()?;
    let signer = Signer::default();
    let tokio =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("no asynchronous runtime")?;
    if named.is_dir() {
        if arguments.trust.trust.is_some() {
            let pulled = tokio.block_on(palisade_registry::reopen(named, signer.check(&trust)));
            pulled.with_context(|| {
                let folder = named.display();
                format!("with a trust policy (--trust, PALISADE_TRUST), {folder} must be a folder that `palisade model pull` made")
            })?;
        }
        return Ok(named.clone());
    }
    let Some(reference) = named.to_str().filter(|name| name.contains('@')) else {
        bail!(
            "{}: no such folder, and no version of a registry, which is written name@version or name@alias",
            named.display()
        );
    };
    let reference = Reference::parse(reference)?;
    let folder = temporary.join("release");
    let registry = arguments.registry.open()?;
    let pulled = tokio.block_on(registry.pull(&reference, &folder, PullOptions::trusting(signer.check(&trust))))?;
    say(&format!("pulled {}@{}: {}", pulled.manifest.name, pulled.manifest.version, signer.shown()));
    Ok(pulled.folder)
}

/// Bakes a release as `palisade bake` does by default, for this program.
pub(crate) fn bake_default(release: &ReleaseFolder) -> Result<Vec<u8>> {
    let engine = engine_beside_program(engine_file(EngineKind::Auto, Simd::Relaxed, release))?;
    bake_into(&engine, release)
}

fn engine_beside_program(name: &str) -> Result<PathBuf> {
    beside_program(name).context(
        "no engine to bake into\n  hint: build one with `cargo xtask component`, or name one with --engine-module",
    )
}

fn bake_into(engine: &Path, release: &ReleaseFolder) -> Result<Vec<u8>> {
    let path = engine.display();
    let engine = std::fs::read(engine).with_context(|| path.to_string())?;
    if !wasmparser::Parser::is_core_wasm(&engine) {
        bail!("{path}: not a WebAssembly module; `cargo xtask component` builds the engine");
    }
    Ok(bake(&engine, release)?)
}

/// Name of the engine's file beside the program.
fn engine_file(kind: EngineKind, simd: Simd, release: &ReleaseFolder) -> &'static str {
    let problem = match kind {
        EngineKind::Encoder => None,
        EngineKind::Tract => return "palisade-engine-tract.wasm",
        EngineKind::Auto => release.packed().err(),
    };
    match (problem, simd) {
        (None, Simd::Relaxed) => "palisade-engine-relaxed.wasm",
        (None, Simd::Strict) => "palisade-engine.wasm",
        (Some(problem), _) => {
            say(&format!("baking with tract, for the encoder engine does not run this release: {problem}"));
            "palisade-engine-tract.wasm"
        }
    }
}
