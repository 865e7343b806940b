//! The components, the host, and the shipped release baked beside it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::shell::{cargo, command, output, root, run, target};

/// The wasm target of the component; std there imports nothing.
const TARGET: &str = "wasm32-unknown-unknown";
/// Packages of the components that import only what they name. The classifier becomes one when a release is baked into it.
const COMPONENTS: &[&str] = &["palisade-classifier", "palisade-edge", "palisade-misbehaving"];
/// The classifier with the other engine. It is built by itself: together, cargo would give both packages both engines.
const CLASSIFIER_TRACT: &str = "palisade-classifier-tract";
/// The component on Spin's own services, and the target that its SDK is made for; std there imports wasi:cli.
const SPIN_SERVICES: &str = "palisade-spin-services";
const SPIN_TARGET: &str = "wasm32-wasip2";
/// The release that is the default.
pub(crate) const RELEASE: &str = "models/english-toxicity";
/// The releases that ship, each with its baked component's name. The first is the default.
const RELEASES: &[(&str, &str)] =
    &[(RELEASE, "palisade-default.wasm"), ("models/english-toxicity-small", "palisade-small.wasm")];

/// What was built.
pub(crate) struct Built {
    /// The program.
    pub(crate) palisade: PathBuf,
    /// The baked component that it runs by default.
    pub(crate) artefact: PathBuf,
    /// All the releases that ship.
    pub(crate) releases: Vec<Baked>,
    /// The endpoint, what it gets from Spin, and the tests' faulty one.
    pub(crate) edge: PathBuf,
    pub(crate) spin_services: PathBuf,
}

/// A release's folder in the repository, and the component that it was baked into.
pub(crate) struct Baked {
    pub(crate) release: &'static str,
    pub(crate) artefact: PathBuf,
}

/// Builds engine and host, and bakes the shipped release if the last baking is not newer than what it is made of.
///
/// Without the tract engine, which takes minutes to compile and which no shipped release needs.
pub(crate) fn build() -> Result<Built> {
    build_with(&["--package", "palisade-host"])
}

/// The same with the tract engine, for `palisade bake` with other releases.
pub(crate) fn build_with_tract() -> Result<Built> {
    build_tract()?;
    build()
}

/// The same, with all the native crates, their tests and their benches. One build for everything: cargo would compile
/// wasmtime again for another set of packages, for the features of their dependencies differ.
pub(crate) fn build_with_tests() -> Result<Built> {
    build_tract()?;
    build_with(&[&native()[..], &["--all-targets"]].concat())
}

/// Arguments of cargo for all the native crates.
pub(crate) fn native() -> Vec<&'static str> {
    let excluded =
        COMPONENTS.iter().chain([&CLASSIFIER_TRACT, &SPIN_SERVICES]).flat_map(|component| ["--exclude", component]);
    ["--workspace"].into_iter().chain(excluded).collect()
}

/// Arguments of cargo for all the components, a list for each set that is built together.
pub(crate) fn all_components() -> [Vec<&'static str>; 3] {
    [components(TARGET, COMPONENTS), components(TARGET, &[CLASSIFIER_TRACT]), components(SPIN_TARGET, &[SPIN_SERVICES])]
}

fn components(target: &'static str, packages: &[&'static str]) -> Vec<&'static str> {
    let packages = packages.iter().flat_map(|package| ["--package", package]);
    ["--profile", "component", "--target", target].into_iter().chain(packages).collect()
}

fn build_components(arguments: &[&str]) -> Result<()> {
    run(command(&cargo(), &["build", "--locked"]).args(arguments).args(without_paths()))
}

/// The tract engine's module, beside the program.
fn build_tract() -> Result<()> {
    add_targets()?;
    build_components(&components(TARGET, &[CLASSIFIER_TRACT]))?;
    let target = target()?;
    let module = target.join(TARGET).join("component").join("palisade_classifier_tract.wasm");
    let folder = target.join("release");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    copy(&module, &folder.join("palisade-engine-tract.wasm"))
}

fn build_with(native: &[&str]) -> Result<Built> {
    add_targets()?;
    for arguments in [components(TARGET, COMPONENTS), components(SPIN_TARGET, &[SPIN_SERVICES])] {
        build_components(&arguments)?;
    }
    run(command(&cargo(), &["build", "--locked", "--release"]).args(native))?;

    let target = target()?;
    let folder = target.join("release");
    let palisade = folder.join(format!("palisade{}", std::env::consts::EXE_SUFFIX));
    let engine = folder.join("palisade-engine.wasm");
    let modules = target.join(TARGET).join("component");
    copy(&modules.join("palisade_classifier.wasm"), &engine)?;
    let [edge, misbehaving] = ["edge", "misbehaving"].map(|name| encode(&target, name));
    misbehaving?;
    let spin_services = folder.join("palisade-spin-services.wasm");
    copy(&target.join(SPIN_TARGET).join("component").join("palisade_spin_services.wasm"), &spin_services)?;
    let mut releases = Vec::new();
    for &(release, name) in RELEASES {
        let artefact = folder.join(name);
        let manifest = root().join(release).join("release.json");
        if !is_newer(&artefact, &[&engine, &manifest, &palisade]) {
            let arguments = ["bake", release, "--output"];
            run(command(&palisade.to_string_lossy(), &arguments).arg(&artefact).arg("--engine").arg(&engine))?;
        }
        releases.push(Baked { release, artefact });
    }
    let artefact = folder.join("palisade-default.wasm");
    Ok(Built { palisade, artefact, releases, edge: edge?, spin_services })
}

/// Makes a component out of a core module that says in a custom section what it speaks, beside the program.
fn encode(target: &Path, name: &str) -> Result<PathBuf> {
    let module = target.join(TARGET).join("component").join(format!("palisade_{}.wasm", name.replace('-', "_")));
    let component = target.join("release").join(format!("palisade-{name}.wasm"));
    if !is_newer(&component, &[&module]) {
        let bytes = std::fs::read(&module).with_context(|| module.display().to_string())?;
        let encoded = wit_component::ComponentEncoder::default().validate(true).module(&bytes)?.encode();
        std::fs::write(&component, encoded?).with_context(|| component.display().to_string())?;
    }
    Ok(component)
}

/// Copies a file where the copy is older.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if !is_newer(to, &[from]) {
        std::fs::copy(from, to).with_context(|| from.display().to_string())?;
    }
    Ok(())
}

/// Settings of cargo's that keep this machine's folders out of the components, so that they do not depend on who built them.
fn without_paths() -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let registry = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    let flags =
        [format!("--remap-path-prefix={registry}=cargo"), format!("--remap-path-prefix={}=palisade", root().display())];
    let setting = |target| ["--config".to_owned(), format!("target.{target}.rustflags={flags:?}")];
    [TARGET, SPIN_TARGET].into_iter().flat_map(setting).collect()
}

fn add_targets() -> Result<()> {
    let installed = output(&mut command("rustup", &["target", "list", "--installed"]))?;
    for target in [TARGET, SPIN_TARGET] {
        if !installed.lines().any(|line| line == target) {
            run(&mut command("rustup", &["target", "add", target]))?;
        }
    }
    Ok(())
}

fn is_newer(file: &Path, inputs: &[&Path]) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let Some(made) = changed(file) else { return false };
    inputs.iter().all(|input| changed(input).unwrap_or_else(SystemTime::now) <= made)
}
