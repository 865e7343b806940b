//! The engine module, the host, and the shipped release baked beside it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::shell::{cargo, command, output, root, run, target};

/// The wasm target of the component; std there imports nothing.
const TARGET: &str = "wasm32-unknown-unknown";
/// The release that ships.
pub(crate) const RELEASE: &str = "models/english-toxicity";

/// What was built.
pub(crate) struct Built {
    /// The program.
    pub(crate) palisade: PathBuf,
    /// The baked component that it runs by default.
    pub(crate) artefact: PathBuf,
}

/// Builds engine and host, and bakes the shipped release if the last baking is not newer than what it is made of.
pub(crate) fn build() -> Result<Built> {
    build_with(&["--package", "palisade-host"])
}

/// The same, with all the native crates, their tests and their benches. One build for everything: cargo would compile
/// wasmtime again for another set of packages, for the features of their dependencies differ.
pub(crate) fn build_with_tests() -> Result<Built> {
    build_with(&["--workspace", "--exclude", "palisade-classifier", "--all-targets"])
}

fn build_with(native: &[&str]) -> Result<Built> {
    add_target()?;
    let engine =
        ["build", "--locked", "--profile", "component", "--target", TARGET, "--package", "palisade-classifier"];
    run(command(&cargo(), &engine).arg("--config").arg(without_paths()))?;
    run(command(&cargo(), &["build", "--locked", "--release"]).args(native))?;

    let target = target()?;
    let folder = target.join("release");
    let palisade = folder.join(format!("palisade{}", std::env::consts::EXE_SUFFIX));
    let engine = folder.join("palisade-engine.wasm");
    let artefact = folder.join("palisade-default.wasm");
    let built_engine = target.join(TARGET).join("component").join("palisade_classifier.wasm");
    if !is_newer(&engine, &[&built_engine]) {
        std::fs::copy(&built_engine, &engine).with_context(|| built_engine.display().to_string())?;
    }
    let manifest = root().join(RELEASE).join("release.json");
    if !is_newer(&artefact, &[&engine, &manifest, &palisade]) {
        let arguments = ["bake", RELEASE, "--output"];
        run(command(&palisade.to_string_lossy(), &arguments).arg(&artefact).arg("--engine").arg(&engine))?;
    }
    Ok(Built { palisade, artefact })
}

/// A setting of cargo's that keeps this machine's folders out of the component, so that it does not depend on who built it.
fn without_paths() -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    let registry = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    let flags =
        [format!("--remap-path-prefix={registry}=cargo"), format!("--remap-path-prefix={}=palisade", root().display())];
    format!("target.{TARGET}.rustflags={flags:?}")
}

fn add_target() -> Result<()> {
    let installed = output(&mut command("rustup", &["target", "list", "--installed"]))?;
    if !installed.lines().any(|line| line == TARGET) {
        run(&mut command("rustup", &["target", "add", TARGET]))?;
    }
    Ok(())
}

fn is_newer(file: &Path, inputs: &[&Path]) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let Some(made) = changed(file) else { return false };
    inputs.iter().all(|input| changed(input).unwrap_or_else(SystemTime::now) <= made)
}
