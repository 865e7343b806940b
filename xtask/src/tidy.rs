//! Checks of the tree that no compiler makes.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::shell::{command, metadata, output, root};

/// Who may depend on whom, inside the workspace; what is not named is forbidden.
const ARROWS: &[(&str, &[&str])] = &[
    ("palisade-core", &["palisade-encoder"]),
    ("palisade-encoder", &[]),
    ("palisade-evaluation", &[]),
    ("palisade-classifier", &["palisade-core"]),
    ("palisade-classifier-tract", &["palisade-core"]),
    ("palisade-protocols", &["palisade-core"]), // for its tests alone,
    ("palisade-registry", &[]),
    ("palisade-edge", &["palisade-protocols"]),
    ("palisade-misbehaving", &[]),
    ("palisade-spin-services", &[]),
    (
        "palisade-host",
        &["palisade-core", "palisade-encoder", "palisade-evaluation", "palisade-protocols", "palisade-registry"],
    ),
    ("palisade-bench", &["palisade-host"]),
    ("palisade-conformance", &["palisade-core", "palisade-encoder", "palisade-host"]),
    ("xtask", &[]),
];
/// A tracked file may be this large, models aside.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// All tracked files under models/ together.
const MODELS_BYTES_MAX: u64 = 25 << 20;

/// Runs all checks and reports everything that is wrong.
pub(crate) fn run() -> Result<()> {
    let metadata = metadata()?;
    let mut problems = Vec::new();
    arrows(&metadata, &mut problems)?;
    denied(&metadata, &mut problems)?;
    sizes(&mut problems)?;
    if !problems.is_empty() {
        bail!("the tree is not tidy:\n  {}", problems.join("\n  "));
    }
    println!("xtask: the tree is tidy");
    Ok(())
}

fn packages(metadata: &Value) -> Result<&Vec<Value>> {
    metadata["packages"].as_array().context("cargo metadata lists no packages")
}

fn arrows(metadata: &Value, problems: &mut Vec<String>) -> Result<()> {
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for package in packages(metadata)? {
        if !package["id"].as_str().is_some_and(|id| members.contains(id)) {
            continue;
        }
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
            problems.push(format!("{name} is not in xtask/src/tidy.rs: say there what it may depend on"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            if dependency["path"].is_string() && !allowed.contains(&target) {
                problems.push(format!("{name} depends on {target}; it may depend on: {}", allowed.join(", ")));
            }
        }
    }
    Ok(())
}

/// Each crate against `deny.toml`: it must not be banned, and its licence must be allowed, to all or to it alone.
fn denied(metadata: &Value, problems: &mut Vec<String>) -> Result<()> {
    let deny: toml::Table = std::fs::read_to_string(root().join("deny.toml"))?.parse().context("deny.toml")?;
    let deny = serde_json::to_value(deny)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let licences = list(&deny["licenses"]["allow"]);
    let exceptions = list(&deny["licenses"]["exceptions"]);
    let banned = list(&deny["bans"]["deny"]);
    ensure!(!licences.is_empty() && !banned.is_empty(), "deny.toml allows no licences, or bans nothing");
    for package in packages(metadata)? {
        let name = package["name"].as_str().unwrap_or_default();
        if banned.iter().any(|ban| ban["crate"] == name) {
            problems.push(format!("{name} is in the tree, and deny.toml bans it; `cargo tree -i {name}` tells why"));
        }
        let expression = package["license"].as_str().unwrap_or("none").replace(['(', ')'], "").replace('/', " OR ");
        let own = exceptions.iter().filter(|exception| exception["crate"] == name);
        let own: Vec<Value> = own.flat_map(|exception| list(&exception["allow"])).collect();
        let is_allowed = |licence: &str| licences.iter().chain(&own).any(|allowed| allowed == licence.trim());
        if !expression.split(" AND ").all(|part| part.split(" OR ").any(is_allowed)) {
            problems.push(format!("{name} has the licence {expression}, which deny.toml does not allow"));
        }
    }
    Ok(())
}

fn sizes(problems: &mut Vec<String>) -> Result<()> {
    let files = output(&mut command("git", &["ls-files", "-z"]))?;
    let mut models = 0;
    for file in files.split('\0').filter(|file| !file.is_empty()) {
        let bytes = root().join(file).metadata().map_or(0, |meta| meta.len());
        if Path::new(file).starts_with("models") {
            models += bytes;
        } else if bytes > FILE_BYTES_MAX {
            problems
                .push(format!("{file} is {bytes} bytes long; outside models/ at most {FILE_BYTES_MAX} are allowed"));
        }
    }
    if models > MODELS_BYTES_MAX {
        problems.push(format!("models/ holds {models} bytes; at most {MODELS_BYTES_MAX} are allowed"));
    }
    Ok(())
}
