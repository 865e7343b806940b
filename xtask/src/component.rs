//! The components, the host, and the shipped releases baked beside it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::shell::{cargo, command, output, root, run, run_fetching, target};

/// The wasm target of the component; std there imports nothing.
const TARGET: &str = "wasm32-unknown-unknown";
/// Packages of the components that import only what they name. The classifier becomes one when a release is baked into it.
const COMPONENTS: &[&str] = &[CLASSIFIER, "palisade-edge", "palisade-misbehaving"];
const CLASSIFIER: &str = "palisade-classifier";
/// The classifier with the other engine. It is built by itself: together, cargo would give both packages both engines.
const CLASSIFIER_TRACT: &str = "palisade-classifier-tract";
/// The component on Spin's own services, and the target that its SDK is made for; std there imports wasi:cli.
const SPIN_SERVICES: &str = "palisade-spin-services";
const SPIN_TARGET: &str = "wasm32-wasip2";
/// The release that is the default.
pub(crate) const RELEASE: &str = "models/english-toxicity";
/// The smaller one that ships with it.
const RELEASE_SMALL: &str = "models/english-toxicity-small";
/// The components that the releases that ship are baked into. The first is the default.
const ARTEFACTS: &[(&str, Simd, &str)] = &[
    (RELEASE, Simd::Relaxed, "palisade-default.wasm"),
    (RELEASE_SMALL, Simd::Relaxed, "palisade-small.wasm"),
    (RELEASE, Simd::Strict, "palisade-default-strict.wasm"),
    (RELEASE_SMALL, Simd::Strict, "palisade-small-strict.wasm"),
];

/// How components are built other than programs. A profile of their own in Cargo.toml would have a folder of its own, in which all
/// procedural macros are compiled once more.
const PROFILE: &[&str] = &[
    "overflow-checks=false",
    "panic='abort'",
    "strip='symbols'",
    // There tract computes.
    "package.tract-core.opt-level=3",
    "package.tract-data.opt-level=3",
];

/// Which SIMD instructions the classifier is built with. Each has a target folder, for in a common one either build undoes the other:
/// with `--remap-path-prefix` among the flags, cargo gives files names that do not depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simd {
    /// `.cargo/config.toml`'s.
    Strict,
    /// These and the relaxed ones.
    Relaxed,
}

impl Simd {
    /// As `palisade bake --simd` calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Relaxed => "relaxed",
        }
    }

    /// Arguments of cargo for this build alone; `target` is its usual folder.
    fn arguments(self, target: &Path) -> Vec<String> {
        match self {
            Self::Strict => Vec::new(),
            Self::Relaxed => {
                let flags = rustflags(TARGET, &["-Ctarget-feature=+relaxed-simd".to_owned()]);
                [vec!["--target-dir".to_owned(), self.folder(target).to_string_lossy().into_owned()], flags].concat()
            }
        }
    }

    /// The folder that this build is made in; `target` is cargo's usual one.
    fn folder(self, target: &Path) -> PathBuf {
        match self {
            Self::Strict => target.to_owned(),
            Self::Relaxed => target.join("relaxed-simd"),
        }
    }

    /// Name of the engine's module, beside the program.
    fn engine(self) -> &'static str {
        match self {
            Self::Strict => "palisade-engine.wasm",
            Self::Relaxed => "palisade-engine-relaxed.wasm",
        }
    }
}

/// What was built.
pub(crate) struct Built {
    /// The program.
    pub(crate) palisade: PathBuf,
    /// The baked component that it runs by default, and the same release for engines without relaxed SIMD.
    pub(crate) artefact: PathBuf,
    pub(crate) artefact_strict: PathBuf,
    /// All the releases that ship, in every way of building them.
    pub(crate) releases: Vec<Baked>,
    /// The endpoint, what it gets from Spin, and the tests' faulty one.
    pub(crate) edge: PathBuf,
    pub(crate) spin_services: PathBuf,
}

/// A release's folder in the repository, and the component that it was baked into.
pub(crate) struct Baked {
    pub(crate) release: &'static str,
    pub(crate) simd: Simd,
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
pub(crate) fn all_components() -> Result<[Vec<String>; 4]> {
    Ok([
        components(TARGET, COMPONENTS),
        [components(TARGET, &[CLASSIFIER]), Simd::Relaxed.arguments(&target()?)].concat(),
        components(TARGET, &[CLASSIFIER_TRACT]),
        components(SPIN_TARGET, &[SPIN_SERVICES]),
    ])
}

fn components(target: &str, packages: &[&str]) -> Vec<String> {
    let packages = packages.iter().flat_map(|package| ["--package", package]);
    let settings = PROFILE.iter().map(|setting| format!("--config=profile.release.{setting}"));
    ["--release", "--target", target].into_iter().chain(packages).map(str::to_owned).chain(settings).collect()
}

fn build_components(arguments: &[String]) -> Result<()> {
    run(command(&cargo(), &["build", "--locked"]).args(arguments).args(without_paths()))
}

/// Where cargo leaves a component's module.
fn module(target: &Path, name: &str) -> PathBuf {
    target.join(TARGET).join("release").join(format!("palisade_{}.wasm", name.replace('-', "_")))
}

/// The classifier's module, beside the program.
fn build_engine(target: &Path, simd: Simd, packages: &[&str]) -> Result<PathBuf> {
    build_components(&[components(TARGET, packages), simd.arguments(target)].concat())?;
    let engine = target.join("release").join(simd.engine());
    copy(&module(&simd.folder(target), "classifier"), &engine)?;
    Ok(engine)
}

/// The tract engine's module, beside the program.
fn build_tract() -> Result<()> {
    add_targets()?;
    build_components(&components(TARGET, &[CLASSIFIER_TRACT]))?;
    let target = target()?;
    copy(&module(&target, "classifier-tract"), &target.join("release").join("palisade-engine-tract.wasm"))
}

/// Builds the components and bakes the releases, with native crates of the caller's choice beside `palisade`'s.
pub(crate) fn build_with(native: &[&str]) -> Result<Built> {
    add_targets()?;
    let target = target()?;
    let folder = target.join("release");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let strict = build_engine(&target, Simd::Strict, COMPONENTS)?;
    let relaxed = build_engine(&target, Simd::Relaxed, &[CLASSIFIER])?;
    build_components(&components(SPIN_TARGET, &[SPIN_SERVICES]))?;
    run(command(&cargo(), &["build", "--locked", "--release"]).args(native))?;

    let palisade = folder.join(format!("palisade{}", std::env::consts::EXE_SUFFIX));
    let [edge, misbehaving] = ["edge", "misbehaving"].map(|name| encode(&target, name));
    misbehaving?;
    let spin_services = folder.join("palisade-spin-services.wasm");
    copy(&target.join(SPIN_TARGET).join("release").join("palisade_spin_services.wasm"), &spin_services)?;
    let mut releases = Vec::new();
    for &(release, simd, name) in ARTEFACTS {
        let artefact = folder.join(name);
        let manifest = root().join(release).join("release.json");
        let engine = if simd == Simd::Relaxed { &relaxed } else { &strict };
        if !is_newer(&artefact, &[engine, &manifest, &palisade]) {
            let arguments = ["bake", release, "--simd", simd.name(), "--output"];
            run(command(&palisade.to_string_lossy(), &arguments).arg(&artefact).env_remove("PALISADE_ENGINE_MODULE"))?;
        }
        releases.push(Baked { release, simd, artefact });
    }
    for release in [RELEASE, RELEASE_SMALL] {
        copy_folder(&root().join(release), &folder.join(release))?;
    }
    let [artefact, artefact_strict] = ["", "-strict"].map(|simd| folder.join(format!("palisade-default{simd}.wasm")));
    Ok(Built { palisade, artefact, artefact_strict, releases, edge: edge?, spin_services })
}

/// Makes a component out of a core module that says in a custom section what it speaks, beside the program.
fn encode(target: &Path, name: &str) -> Result<PathBuf> {
    let module = module(target, name);
    let component = target.join("release").join(format!("palisade-{name}.wasm"));
    if !is_newer(&component, &[&module]) {
        let bytes = std::fs::read(&module).with_context(|| module.display().to_string())?;
        let encoded = wit_component::ComponentEncoder::default().validate(true).module(&bytes)?.encode();
        std::fs::write(&component, encoded?).with_context(|| component.display().to_string())?;
    }
    Ok(component)
}

/// Copies a folder's files, each where the copy is older: what `palisade serve --model` begins a fresh registry with.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
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
    [TARGET, SPIN_TARGET].into_iter().flat_map(|target| rustflags(target, &flags)).collect()
}

/// Arguments of cargo that add flags to those that `.cargo/config.toml` has for a target.
fn rustflags(target: &str, flags: &[String]) -> Vec<String> {
    vec!["--config".to_owned(), format!("target.{target}.rustflags={flags:?}")]
}

fn add_targets() -> Result<()> {
    let installed = output(&mut command("rustup", &["target", "list", "--installed"]))?;
    for target in [TARGET, SPIN_TARGET] {
        if !installed.lines().any(|line| line == target) {
            run_fetching(&mut command("rustup", &["target", "add", target]))?;
        }
    }
    Ok(())
}

fn is_newer(file: &Path, inputs: &[&Path]) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let Some(made) = changed(file) else { return false };
    inputs.iter().all(|input| changed(input).unwrap_or_else(SystemTime::now) <= made)
}
