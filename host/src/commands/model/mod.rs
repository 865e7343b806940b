//! `palisade model`: releases in a registry, a command each.

mod changes;
mod mlflow;
pub(crate) mod publish;
mod reading;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use palisade_registry::trust::Trust;
use palisade_registry::{Location, Registry, Writer};
use serde::Serialize;

use super::ExitStatus;

/// Subcommands of `palisade model`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List models, their versions and aliases
    List(reading::List),
    /// Show a version: its files, lineage, signature, and the aliases that point at it
    Show(reading::Show),
    /// Publish a release's folder as a new version: signed where a key is given, with its baked artefact
    Publish(publish::Publish),
    /// Point an alias at a version
    Promote(changes::Promote),
    /// Point an alias at where it pointed before
    Rollback(changes::Rollback),
    /// Compare two versions: files, labels, metrics
    Diff(reading::Diff),
    /// Fetch everything of a version and check digests and signature
    Verify(reading::Verify),
    /// Fetch a version into a folder, checked
    Pull(reading::Pull),
    /// Sweep up what interrupted publishers left behind
    Gc(changes::Gc),
    /// Show what happened to a model
    History(reading::History),
    /// Mark a version as never to be promoted again
    Retire(changes::Retire),
    /// Sign a version anew: its key was lost or leaked, or it has no signature
    Sign(publish::SignVersion),
    /// Make a pair of keys to sign releases with
    Keygen(publish::Keygen),
    /// Register a version in an MLflow server, with metrics, parameters, tags and aliases
    ExportMlflow(mlflow::ExportMlflow),
    /// Bring an ONNX model from an MLflow server
    ImportMlflow(mlflow::ImportMlflow),
}

/// Where the registry is.
#[derive(Debug, Clone, Default, Args)]
pub struct RegistryArguments {
    /// Folder, `file:///path` or `s3://bucket/prefix`, where `endpoint`, `region`, `path-style` and `allow-http` may follow as ?name=value&name=value;
    /// credentials come from AWS's usual variables and files [default: ~/.local/share/palisade/registry]
    #[arg(long, env = "PALISADE_REGISTRY", value_name = "URL")]
    pub registry: Option<String>,
}

/// Who may sign what.
#[derive(Debug, Clone, Default, Args)]
pub struct TrustArguments {
    /// Trust policy: which keys may sign which models [default: digests are checked, signatures are not]
    #[arg(long, env = "PALISADE_TRUST", value_name = "FILE")]
    pub trust: Option<PathBuf>,
}

/// In which form a command answers.
#[derive(Debug, Clone, Copy, Args)]
struct Form {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RegistryArguments {
    /// Its address.
    pub fn location(&self) -> Result<Location> {
        match &self.registry {
            Some(url) => Ok(Location::parse(url)?),
            None => Ok(Location::folder(default_folder()?)),
        }
    }

    /// Opens it for reading.
    pub fn open(&self) -> Result<Registry> {
        Ok(Registry::open(&self.location()?)?)
    }

    /// Opens it for writing.
    async fn open_for_writing(&self) -> Result<Writer> {
        Ok(Writer::open(&self.location()?).await?)
    }
}

impl TrustArguments {
    /// Reads the policy.
    pub fn read(&self) -> Result<Trust> {
        match &self.trust {
            Some(path) => Ok(Trust::read(path)?),
            None => Ok(Trust::none()),
        }
    }
}

/// `$XDG_DATA_HOME/palisade/registry`, or `~/.local/share/palisade/registry`.
fn default_folder() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local").join("share")));
    Ok(data.context("no home folder; name the registry with --registry")?.join("palisade").join("registry"))
}

/// Runs a subcommand.
pub fn run(command: &Command) -> Result<ExitStatus> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("no asynchronous runtime")?;
    runtime.block_on(async {
        match command {
            Command::List(list) => list.run().await,
            Command::Show(show) => show.run().await,
            Command::Publish(publish) => publish.run().await,
            Command::Promote(promote) => promote.run().await,
            Command::Rollback(rollback) => rollback.run().await,
            Command::Diff(diff) => diff.run().await,
            Command::Verify(verify) => verify.run().await,
            Command::Pull(pull) => pull.run().await,
            Command::Gc(gc) => gc.run().await,
            Command::History(history) => history.run().await,
            Command::Retire(retire) => retire.run().await,
            Command::Sign(sign) => sign.run().await,
            Command::Keygen(keygen) => keygen.run(),
            Command::ExportMlflow(export) => export.run().await,
            Command::ImportMlflow(import) => import.run().await,
        }
    })
}

#[expect(clippy::print_stdout, reason = "the answer")]
fn print(text: &str) {
    print!("{text}");
}

/// Prints an answer as indented JSON.
fn print_json(answer: &impl Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(answer)?));
    Ok(())
}

/// Columns of text, as wide as their widest cell, two spaces between them.
fn columns(rows: &[Vec<String>]) -> String {
    let wide = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = wide(column).unwrap_or_default();
            let _ = write!(line, "{cell:<width$}  "); // writing to a string does not fail
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
