//! `palisade bake`: a release becomes an artefact.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::{ExitStatus, beside_program, say, write_whole};
use crate::Artefact;
use crate::artefact::mib;
use crate::bake::{ReleaseFolder, bake};

/// Arguments of `palisade bake`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder of the release: release.json and the files that it names
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
    let release = ReleaseFolder::read(&arguments.release)?;
    let engine = match &arguments.engine_module {
        Some(path) => path.clone(),
        None => beside_program(engine_file(arguments, &release)).context(
            "no engine to bake into\n  hint: build one with `cargo xtask component`, or name one with --engine-module",
        )?,
    };
    let path = engine.display();
    let engine = std::fs::read(&engine).with_context(|| path.to_string())?;
    if !wasmparser::Parser::is_core_wasm(&engine) {
        bail!("{path}: not a WebAssembly module; `cargo xtask component` builds the engine");
    }
    let artefact = Artefact::from_bytes(&arguments.output, bake(&engine, &release)?)?;
    write_whole(&arguments.output, &artefact.bytes).with_context(|| arguments.output.display().to_string())?;
    let release = artefact.anatomy.release_manifest().map(|m| format!("{} {}", m.name, m.version)).unwrap_or_default();
    let size = mib(artefact.anatomy.sizes.file);
    say(&format!("baked {release} into {} ({size})", arguments.output.display()));
    Ok(ExitStatus::Done)
}

/// Name of the engine's file beside the program.
fn engine_file(arguments: &Arguments, release: &ReleaseFolder) -> &'static str {
    let problem = match arguments.engine_kind {
        EngineKind::Encoder => None,
        EngineKind::Tract => return "palisade-engine-tract.wasm",
        EngineKind::Auto => release.packed().err(),
    };
    match (problem, arguments.simd) {
        (None, Simd::Relaxed) => "palisade-engine-relaxed.wasm",
        (None, Simd::Strict) => "palisade-engine.wasm",
        (Some(problem), _) => {
            say(&format!("baking with tract, for the encoder engine does not run this release: {problem}"));
            "palisade-engine-tract.wasm"
        }
    }
}
