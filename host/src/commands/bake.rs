//! `palisade bake`: a release becomes an artefact.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

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
    /// Engine module that the release is baked into [default: palisade-engine.wasm beside this program]
    #[arg(long, env = "PALISADE_ENGINE", value_name = "FILE")]
    engine: Option<PathBuf>,
}

/// Reads the release, bakes it, checks the result, and only then puts it in place.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let engine = match &arguments.engine {
        Some(path) => path.clone(),
        None => beside_program("palisade-engine.wasm").context(
            "no engine to bake into\n  hint: build one with `cargo xtask component`, or name one with --engine",
        )?,
    };
    let path = engine.display();
    let engine = std::fs::read(&engine).with_context(|| path.to_string())?;
    if !wasmparser::Parser::is_core_wasm(&engine) {
        bail!("{path}: not a WebAssembly module; `cargo xtask component` builds the engine");
    }
    let release = ReleaseFolder::read(&arguments.release)?;
    let artefact = Artefact::from_bytes(&arguments.output, bake(&engine, &release)?)?;
    write_whole(&arguments.output, &artefact.bytes).with_context(|| arguments.output.display().to_string())?;
    let release = artefact.anatomy.release_manifest().map(|m| format!("{} {}", m.name, m.version)).unwrap_or_default();
    let size = mib(artefact.anatomy.sizes.file);
    say(&format!("baked {release} into {} ({size})", arguments.output.display()));
    Ok(ExitStatus::Done)
}
