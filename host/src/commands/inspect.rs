//! `palisade inspect`: what an artefact is.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use super::ExitStatus;
use crate::Artefact;
use crate::artefact::{CONTRACT, mib};
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

/// Reads the artefact and prints its contract, imports, release and sizes. Nothing of it is run.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let artefact = Artefact::read(&arguments.artefact)?;
    let release = artefact.manifest().map(|manifest| manifest.release());
    let manifest: Option<Value> = artefact
        .anatomy
        .manifest
        .as_deref()
        .map(serde_json::from_slice)
        .transpose()
        .with_context(|| format!("{}: its release section is damaged", arguments.artefact.display()))?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let all = json!({
            "path": arguments.artefact, "contract": CONTRACT, "component": artefact.anatomy, "release": release, "manifest": manifest,
        });
        writeln!(out, "{all:#}")?;
        return Ok(ExitStatus::Done);
    }

    let anatomy = &artefact.anatomy;
    let imports = if anatomy.imports.is_empty() { "none".to_owned() } else { harmless(&anatomy.imports.join(", ")) };
    writeln!(out, "artefact   {}", arguments.artefact.display())?;
    writeln!(out, "sha256     {}", anatomy.sha256)?;
    writeln!(out, "gives      {}", harmless(&anatomy.exports.join(", ")))?;
    writeln!(out, "imports    {imports}")?;
    writeln!(
        out,
        "sizes      file {}: code {}, data {}; memory at start {}",
        mib(anatomy.sizes.file),
        mib(anatomy.sizes.code),
        mib(anatomy.sizes.data),
        mib(anatomy.sizes.memory)
    )?;
    let (Some(release), Some(manifest)) = (release, artefact.manifest()) else {
        writeln!(out, "release    none: this component was not made by `palisade bake`")?;
        return Ok(ExitStatus::Done);
    };
    writeln!(out, "release    {} {}", release.name, release.version)?;
    writeln!(out, "digest     {}", release.digest)?;
    writeln!(out, "languages  {}", harmless(&manifest.languages.join(", ")))?;
    writeln!(out, "reads      {} tokens of a text at most", manifest.tokens_max)?;
    for (i, label) in manifest.labels.iter().enumerate() {
        let head = if i == 0 { "labels" } else { "" };
        writeln!(out, "{head:<10} {:<16} threshold {:.3}", label.name, label.threshold)?;
    }
    Ok(ExitStatus::Done)
}
