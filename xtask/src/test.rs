//! The README's second command, and CI's: every check there is.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::component::{self, Built};
use crate::shell::{cargo, command, output, root, run, target};
use crate::{cases, tidy};

/// What the classifier's component may import: nothing.
const IMPORTS_ALLOWED: &[&str] = &[];

/// Runs everything; the first failure ends it.
pub(crate) fn run_all() -> Result<()> {
    let cargo = cargo();
    run(&mut command(&cargo, &["fmt", "--all", "--check"]))?;
    tidy::run()?;
    let built = component::build_with_tests()?;
    imports(&built)?;
    let card = ["-m", "palisade_training.card", "--check", "../models/english-toxicity"];
    run(command("python3", &card).current_dir(root().join("training")))?;

    let clippy = |arguments: &[&str]| {
        run(command(&cargo, &["clippy", "--locked"]).args(arguments).args(["--", "-D", "warnings"]))
    };
    clippy(&[&component::native()[..], &["--all-targets", "--release"]].concat())?;
    for arguments in component::components() {
        clippy(&arguments)?;
    }
    run(command(&cargo, &["doc", "--locked", "--release", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))?;

    run(command(&cargo, &["test", "--locked", "--release"]).args(component::native()))?;
    node(&built)?;
    compare(&built, &["--short".to_owned()]) // scores against onnxruntime's, and that the comparison runs
}

/// Compares the built file's imports with the allow-list.
fn imports(built: &Built) -> Result<()> {
    let json = output(command(&built.palisade.to_string_lossy(), &["inspect", "--json"]).arg(&built.artefact))?;
    let inspected: Value = serde_json::from_str(&json)?;
    let imports: Vec<&str> =
        inspected["component"]["imports"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(inspected["component"]["imports"].is_array(), "`palisade inspect` lists no imports");
    let surplus: Vec<_> = imports.iter().filter(|import| !IMPORTS_ALLOWED.contains(import)).collect();
    ensure!(surplus.is_empty(), "the component imports {surplus:?}, and may import {IMPORTS_ALLOWED:?}");
    println!("xtask: the component has {} imports", imports.len());
    Ok(())
}

/// The golden cases in V8, as jco transpiles the component.
fn node(built: &Built) -> Result<()> {
    let folder = root().join("conformance");
    run(command("npm", &["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder))?;
    let transpiled = target()?.join("conformance");
    run(command("node", &["conformance/run.mjs"]).arg(&built.artefact).arg(cases::path()).arg(transpiled))
}

/// The comparison with onnxruntime.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let built = component::build()?;
    run(&mut command(&cargo(), &["build", "--locked", "--release", "--package", "palisade-bench"]))?;
    compare(&built, arguments)
}

fn compare(built: &Built, arguments: &[String]) -> Result<()> {
    let worker = built.palisade.with_file_name(format!("palisade-bench-worker{}", std::env::consts::EXE_SUFFIX));
    let mut compare = command("python3", &["bench/compare.py", "--worker"]);
    run(compare.arg(worker).args(arguments).env("PALISADE_ARTEFACT", &built.artefact))
}
