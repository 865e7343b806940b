//! The README's second command, and CI's: every check there is.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::component::{self, Baked, Built, Simd};
use crate::shell::{cargo, command, output, root, run, target};
use crate::{cases, determinism, measure, tidy, web};

/// What each component may import: the classifier nothing, the endpoint what `wit/edge.wit` names, and the component on Spin's
/// services these and what the standard library of its target always imports.
const CLASSIFIER_IMPORTS: &[&str] = &[];
const EDGE_IMPORTS: &[&str] = &[
    "palisade:moderation/classifier@0.2.0",
    "palisade:services/access@0.1.0",
    "palisade:services/feedback@0.1.0",
    "wasi:cli/environment@0.2.0",
    "wasi:clocks/monotonic-clock@0.2.0",
    "wasi:http/types@0.2.0",
    "wasi:io/error@0.2.0",
    "wasi:io/streams@0.2.0",
];
const SPIN_SERVICES_IMPORTS: &[&str] = &[
    "fermyon:spin/key-value@2.0.0",
    "fermyon:spin/variables@2.0.0",
    "wasi:cli/environment@0.2.6",
    "wasi:cli/exit@0.2.6",
    "wasi:cli/stderr@0.2.6",
    "wasi:cli/stdin@0.2.6",
    "wasi:cli/stdout@0.2.6",
    "wasi:cli/terminal-input@0.2.6",
    "wasi:cli/terminal-output@0.2.6",
    "wasi:cli/terminal-stderr@0.2.6",
    "wasi:cli/terminal-stdin@0.2.6",
    "wasi:cli/terminal-stdout@0.2.6",
    "wasi:io/error@0.2.6",
    "wasi:io/poll@0.2.6",
    "wasi:io/streams@0.2.6",
    "wasi:random/insecure-seed@0.2.6",
];

/// Operators whose results differ between processors for some operands, and which the relaxed build may have all the same.
const RELAXED_OPERATORS: &[&str] = &["i16x8.relaxed_dot_i8x16_i7x16_s", "i32x4.relaxed_dot_i8x16_i7x16_add_s"];

/// Runs everything; the first failure ends it.
pub(crate) fn run_all() -> Result<()> {
    let cargo = cargo();
    run(&mut command(&cargo, &["fmt", "--all", "--check"]))?;
    tidy::run()?;
    let built = component::build_with_tests()?;
    for Baked { release, simd, artefact } in &built.releases {
        imports(&built, artefact, CLASSIFIER_IMPORTS)?;
        relaxed_operators(&built, artefact, *simd)?;
        if *simd == Simd::Relaxed {
            measure::card(&root().join(release), &["--check"])?;
        }
    }
    imports(&built, &built.edge, EDGE_IMPORTS)?;
    imports(&built, &built.spin_services, SPIN_SERVICES_IMPORTS)?;

    let natively = ["--all-targets", "--release"].into_iter().chain(component::native()).map(str::to_owned).collect();
    for arguments in [natively].into_iter().chain(component::all_components()?) {
        run(command(&cargo, &["clippy", "--locked"]).args(arguments).args(["--", "-D", "warnings"]))?;
    }
    run(command(&cargo, &["doc", "--locked", "--release", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))?;

    let judges = output(&mut command("python3", &["crates/registry/tests/prepare.py"]))?;
    let moto = output(&mut command("python3", &["crates/registry/tests/moto/prepare.py"]))?;
    let mut tests = command(&cargo, &["test", "--locked", "--release"]);
    tests.args(component::native()).env("PALISADE_REGISTRY_VENV", judges.trim()).env("PALISADE_MOTO", moto.trim());
    // The same cases each time; what others find is the fuzz targets' matter. And servers on this machine are asked without a proxy.
    tests.env("PROPTEST_RNG_SEED", "1").env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
    run(&mut tests)?;
    node(&built)?;
    determinism::compare(&built, &[])?;
    web::test(&built)?;
    run(command("python3", &["conformance/clients/run.py", "--palisade"]).arg(&built.palisade))?;
    load(&built, &["--short".to_owned()])?; // that both servers answer alike, and that the comparison runs
    compare(&built, &["--short".to_owned()]) // scores of all engines against each other, and that the comparison runs
}

/// Compares a built file's imports with its allow-list.
fn imports(built: &Built, component: &Path, allowed: &[&str]) -> Result<()> {
    let imports = inspected(built, component, "/component/imports")?;
    let surplus: Vec<_> = imports.iter().filter(|import| !allowed.contains(&import.as_str())).collect();
    ensure!(surplus.is_empty(), "{} imports {surplus:?}, and may import {allowed:?}", component.display());
    println!("xtask: {} has {} imports", component.display(), imports.len());
    Ok(())
}

/// Checks that the strict build has no relaxed operator, and the relaxed build only those whose operands our kernel keeps in
/// the range where every processor gives the same.
fn relaxed_operators(built: &Built, component: &Path, simd: Simd) -> Result<()> {
    let found = inspected(built, component, "/component/relaxed_operators")?;
    let allowed = if simd == Simd::Relaxed { RELAXED_OPERATORS } else { &[] };
    ensure!(found == allowed, "{} has the relaxed operators {found:?}, not {allowed:?}", component.display());
    Ok(())
}

/// A list of names in what `palisade inspect` says of a component.
fn inspected(built: &Built, component: &Path, pointer: &str) -> Result<Vec<String>> {
    let json = output(command(&built.palisade.to_string_lossy(), &["inspect", "--json"]).arg(component))?;
    let inspected: Value = serde_json::from_str(&json)?;
    let list = inspected.pointer(pointer).with_context(|| format!("`palisade inspect` does not say {pointer}"))?;
    Ok(serde_json::from_value(list.clone())?)
}

/// The golden cases in V8, as jco transpiles the component: the strict one, for not every browser has relaxed SIMD.
fn node(built: &Built) -> Result<()> {
    determinism::npm_packages()?;
    let transpiled = target()?.join("conformance");
    run(command("node", &["conformance/run.mjs"]).arg(&built.artefact_strict).arg(cases::path()).arg(transpiled))
}

/// The comparison with the targets and with onnxruntime.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let built = component::build_with_tract()?;
    run(&mut command(&cargo(), &["build", "--locked", "--release", "--package", "palisade-bench"]))?;
    compare(&built, arguments)
}

/// The comparison of the endpoint under load.
pub(crate) fn load(built: &Built, arguments: &[String]) -> Result<()> {
    run(command("python3", &["bench/load.py", "--palisade"]).arg(&built.palisade).args(arguments))
}

fn compare(built: &Built, arguments: &[String]) -> Result<()> {
    let worker = built.palisade.with_file_name(format!("palisade-bench-worker{}", std::env::consts::EXE_SUFFIX));
    let mut compare = command("python3", &["bench/compare.py", "--worker"]);
    compare.arg(worker).arg("--palisade").arg(&built.palisade);
    compare.arg("--artefact").arg(&built.artefact).arg("--artefact-strict").arg(&built.artefact_strict);
    run(compare.args(arguments))
}
