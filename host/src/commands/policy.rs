//! `palisade policy`: policies, before a server reads them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use palisade_protocols::backend::Label;
use palisade_protocols::policy::Policies;

use super::{ArtefactArguments, ExitStatus, say};

/// Subcommands of `palisade policy`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell whether a file of policies is right for a release; exit status 1 where it is not
    Check(Check),
}

/// Arguments of `palisade policy check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The policies, in TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    artefact: ArtefactArguments,
}

/// Checks the file.
#[expect(clippy::print_stdout, reason = "the answer")]
pub fn run(command: &Command) -> Result<ExitStatus> {
    let Command::Check(arguments) = command;
    let path = arguments.file.display();
    let text = std::fs::read_to_string(&arguments.file).with_context(|| path.to_string())?;
    let description = arguments.artefact.prepare()?.description;
    let labels: Vec<&str> = description.labels.iter().map(|label| label.name.as_str()).collect();
    match Policies::parse(&text, Some(&labels)) {
        Ok(policies) => {
            let names: Vec<&str> = policies.names().collect();
            let release = &description.release;
            println!("{path}: right for {} {}: {}", release.name, release.version, names.join(", "));
            let label = |label: &crate::bindings::Label| Label {
                name: label.name.clone(),
                threshold: label.threshold,
                block: label.block,
            };
            let all: Vec<Label> = description.labels.iter().map(label).collect();
            for name in names {
                let not_judged = policies.get(name).map(|policy| policy.not_judged(&all)).unwrap_or_default();
                if !not_judged.is_empty() {
                    println!("  {name} judges nothing by {}", not_judged.join(", "));
                }
                let not_blocked = policies.get(name).map(|policy| policy.not_blocked(&all)).unwrap_or_default();
                if !not_blocked.is_empty() {
                    println!(
                        "  {name} blocks nothing by {}: the release has no threshold for that",
                        not_blocked.join(", ")
                    );
                }
            }
            Ok(ExitStatus::Done)
        }
        Err(error) => {
            say(&format!("error: {path}: {error}"));
            Ok(ExitStatus::Partly)
        }
    }
}
