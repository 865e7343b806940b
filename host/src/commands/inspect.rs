//! `palisade inspect`: what an artefact is.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::ExitStatus;
use crate::artefact::{Anatomy, CONTRACT, dissect, mib, relaxed_operators};
use crate::packed::PackedPlace;
use crate::table::harmless;

/// Arguments of `palisade inspect`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Baked component to look into
    artefact: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reads the component, of whatever contract, and prints its contract, imports, release and sizes. Nothing of it is run.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let path = arguments.artefact.display();
    let bytes = std::fs::read(&arguments.artefact).with_context(|| path.to_string())?;
    let anatomy = dissect(&bytes).map_err(|problem| anyhow!("{path}: {problem}"))?;
    let relaxed = relaxed_operators(&bytes).map_err(|problem| anyhow!("{path}: {problem}"))?;
    let relaxed: Vec<&str> = relaxed.into_iter().collect();
    let mut out = std::io::stdout().lock();
    if arguments.json {
        json(&mut out, arguments, &anatomy, &relaxed)
    } else {
        table(&mut out, arguments, &anatomy, &relaxed)
    }?;
    Ok(ExitStatus::Done)
}

fn json(out: &mut impl Write, arguments: &Arguments, anatomy: &Anatomy, relaxed: &[&str]) -> Result<()> {
    let manifest: Option<Value> = anatomy
        .manifest
        .as_deref()
        .map(serde_json::from_slice)
        .transpose()
        .with_context(|| format!("{}: its release section is damaged", arguments.artefact.display()))?;
    let mut component = serde_json::to_value(anatomy)?;
    if let Some(component) = component.as_object_mut() {
        component.insert("relaxed_operators".to_owned(), json!(relaxed));
        component.insert("packed".to_owned(), json!(packed_place(anatomy)));
    }
    let all = json!({
        "path": arguments.artefact,
        "contract": anatomy.speaks_contract().then_some(CONTRACT),
        "component": component,
        "release": anatomy.release_manifest().map(|manifest| manifest.release()),
        "manifest": manifest,
    });
    Ok(writeln!(out, "{all:#}")?)
}

/// Where the model for the native engine lies, if this program can read that.
fn packed_place(anatomy: &Anatomy) -> Option<PackedPlace> {
    anatomy.packed.as_deref().and_then(|section| PackedPlace::parse(section).ok())
}

fn table(out: &mut impl Write, arguments: &Arguments, anatomy: &Anatomy, relaxed: &[&str]) -> Result<()> {
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { harmless(&names.join(", ")) };
    let contract = if anatomy.speaks_contract() { "this program's own" } else { "another than this program's" };
    writeln!(out, "artefact   {}", arguments.artefact.display())?;
    writeln!(out, "sha256     {}", anatomy.sha256)?;
    writeln!(out, "gives      {}", list(&anatomy.exports))?;
    writeln!(out, "contract   {contract}, {CONTRACT}")?;
    writeln!(out, "imports    {}", list(&anatomy.imports))?;
    match relaxed {
        [] => writeln!(out, "simd       strict: runs wherever WebAssembly has SIMD")?,
        operators => {
            writeln!(out, "simd       relaxed: needs a runtime that has it, for {}", operators.join(", "))?;
        }
    }
    let sizes = &anatomy.sizes;
    writeln!(
        out,
        "sizes      file {}: code {}, data {}; memory at start {}",
        mib(sizes.file),
        mib(sizes.code),
        mib(sizes.data),
        mib(sizes.memory)
    )?;
    match packed_place(anatomy) {
        Some(packed) => {
            writeln!(out, "native     yes: a packed model of {}, sha256 {}", mib(packed.length), packed.sha256)?;
        }
        None => writeln!(out, "native     no: `--engine native` finds no model that it can run")?,
    }
    let Some(manifest) = anatomy.release_manifest() else {
        return Ok(writeln!(out, "release    none: this component was not made by `palisade bake`")?);
    };
    let release = manifest.release();
    writeln!(out, "release    {} {}", release.name, release.version)?;
    writeln!(out, "digest     {}", release.digest)?;
    writeln!(out, "languages  {}", list(&manifest.languages))?;
    writeln!(out, "reads      {} tokens of a text at most", manifest.tokens_max)?;
    let rules = manifest.normalisation.as_deref().map_or("none: texts are read as they are".to_owned(), harmless);
    writeln!(out, "normalises {rules}")?;
    for (i, label) in manifest.labels.iter().enumerate() {
        let head = if i == 0 { "labels" } else { "" };
        let block = label.block.map(|block| format!(", block {:.3}", block.threshold)).unwrap_or_default();
        writeln!(out, "{head:<10} {:<17} review {:.3}{block}", label.name, label.threshold)?;
    }
    Ok(())
}
