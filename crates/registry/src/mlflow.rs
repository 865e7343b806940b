//! Releases to and from an MLflow server, through its REST API
//! (<https://mlflow.org/docs/latest/api_reference/rest-api.html>).
//!
//! [`Server::export`] registers a release: a run with its metrics, parameters, tags and files, a version of a
//! registered model whose source is that run, and aliases. [`Server::import`] brings the ONNX file of a model version.
//!
//! Files go through the server's artefact proxy (`mlflow-artifacts:`, what `mlflow server` does unless it is told
//! `--no-serve-artifacts`): so no credentials of the store behind it are needed here.
//!
//! Credentials are those that MLflow's own client reads: see [`Credentials::from_environment`]. They are sent over TLS,
//! or to this machine, or where the caller says that the network is its own.

mod answers;
mod error;
mod export;
mod import;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use self::error::MlflowError;
pub use self::server::{Credentials, Server};

/// The tag by which an exported release is found again.
pub const DIGEST_TAG: &str = "palisade.release-digest";
/// The tag with the release's own version; MLflow counts versions by itself.
pub const VERSION_TAG: &str = "palisade.release-version";

/// A release, as it is to be registered.
#[derive(Debug, Clone, Default)]
pub struct Export {
    /// The registered model's name; the release's name is a good one.
    pub model: String,
    /// The release's version: the run's name, and a tag.
    pub version: String,
    /// The release's digest, which names the version for good.
    pub digest: String,
    /// The experiment that gets the run; made where it is missing.
    pub experiment: String,
    /// Files by name, with where they lie.
    pub files: BTreeMap<String, PathBuf>,
    /// Figures, such as `suite.auc`.
    pub metrics: BTreeMap<String, f64>,
    /// Facts of its making.
    pub parameters: BTreeMap<String, String>,
    /// Facts about it, on run and version.
    pub tags: BTreeMap<String, String>,
    /// Aliases that shall point to it, such as `champion`.
    pub aliases: Vec<String>,
}

/// What a release is in MLflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// MLflow's number of the version.
    pub version: String,
    /// The run with metrics and files.
    pub run: String,
    /// Whether it was there before: then only aliases were set.
    pub already: bool,
}

/// Which version of a registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By MLflow's number.
    Version(String),
    /// By an alias.
    Alias(String),
}

/// What was brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The ONNX file here.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// MLflow's number of the version.
    pub version: String,
    /// The run that made it, if the server knows.
    pub run: Option<String>,
    /// The version's tags.
    pub tags: BTreeMap<String, String>,
    /// The other files beside it, which were not brought.
    pub others: Vec<String>,
}

/// Whether a file is an ONNX graph, by its name.
fn is_onnx(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "onnx")
}

#[cfg(test)]
mod tests;
