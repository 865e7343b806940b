//! `palisade model export-mlflow` and `import-mlflow`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use palisade_registry::mlflow::{Credentials, Export, Selector, Server};
use palisade_registry::{PullOptions, Pulled, Reference, Registry};
use serde_json::{Value, json};

use super::{Form, RegistryArguments, TrustArguments, print, print_json};
use crate::commands::ExitStatus;
use crate::trusting::Signer;

/// Which MLflow server.
#[derive(Debug, Args)]
struct ServerArguments {
    /// Address of the MLflow server; its credentials are `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`
    #[arg(long, env = "MLFLOW_TRACKING_URI", value_name = "URL")]
    mlflow: String,
    /// Send credentials over plain HTTP to another machine
    #[arg(long)]
    allow_http: bool,
}

impl ServerArguments {
    fn open(&self) -> Result<Server> {
        Ok(Server::new(&self.mlflow, Credentials::from_environment()?, self.allow_http)?)
    }
}

/// Arguments of `export-mlflow`.
#[derive(Debug, Args)]
pub struct ExportMlflow {
    /// The version, as name@version or name@alias
    reference: Reference,
    /// Experiment that gets the run; made where it is missing
    #[arg(long, default_value = "palisade", value_name = "NAME")]
    experiment: String,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    form: Form,
}

impl ExportMlflow {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let server = self.server.open()?;
        let registry = self.registry.open()?;
        let (trust, signer) = (self.trust.read()?, Signer::default());
        let folder = tempfile::tempdir()?;
        let options = PullOptions::trusting(signer.check(&trust));
        let pulled = registry.pull(&self.reference, &folder.path().join("release"), options).await?;
        let export = self.export(&registry, &pulled).await?;
        let exported = server.export(&export).await?;
        if self.form.json {
            let (model, version, run) = (&export.model, &exported.version, &exported.run);
            print_json(&json!({ "model": model, "version": version, "run": run, "already": exported.already }))?;
        } else {
            let how = if exported.already { "was there already" } else { "is registered" };
            let release = format!("{}@{}", pulled.manifest.name, pulled.manifest.version);
            print(&format!("{release} {how} as {} version {}\n", export.model, exported.version));
        }
        Ok(ExitStatus::Done)
    }
}

impl ExportMlflow {
    /// What MLflow is told of a version.
    async fn export(&self, registry: &Registry, pulled: &Pulled) -> Result<Export> {
        let Pulled { folder, manifest, digest, .. } = pulled;
        let version = Reference::version(&manifest.name, &manifest.version);
        let shown = registry.show(&version).await?;
        // A version held against itself: all its numbers, and its labels.
        let numbers = registry.diff(&version, &version).await?.metrics;
        let release = std::fs::read(folder.join("release.json")).context("release.json")?;
        let release: Value = serde_json::from_slice(&release).context("release.json")?;
        let mut parameters = BTreeMap::new();
        for name in ["description", "licence", "normalisation", "languages"] {
            parameters.extend(release.get(name).map(|value| (name.to_owned(), text(value))));
        }
        for label in release.get("labels").and_then(Value::as_array).into_iter().flatten() {
            let name = label.get("name").and_then(Value::as_str);
            let threshold = label.get("threshold").map(text);
            parameters.extend(name.zip(threshold).map(|(name, threshold)| (format!("threshold.{name}"), threshold)));
        }
        let lineage = &manifest.lineage;
        let tags = [
            ("palisade.manifest", Some(digest.to_string())),
            ("palisade.registry", Some(registry.url().to_owned())),
            ("palisade.published", Some(manifest.created.to_string())),
            ("palisade.publisher", Some(manifest.publisher.clone())),
            ("palisade.parent", lineage.parent.as_ref().map(ToString::to_string)),
            ("palisade.code-revision", lineage.code_revision.clone()),
        ];
        let data = lineage.data.iter().map(|data| (format!("palisade.data.{}", data.name), data.sha256.to_string()));
        let tags = tags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).chain(data).collect();
        let file = |name: &str| (name.to_owned(), folder.join(name));
        Ok(Export {
            model: manifest.name.to_string(),
            version: manifest.version.to_string(),
            digest: manifest.release_digest.to_string(),
            experiment: self.experiment.clone(),
            files: manifest
                .files
                .iter()
                .map(|named| file(named.name.as_str()))
                .chain([file("manifest.json")])
                .collect(),
            metrics: numbers.into_iter().filter_map(|metric| Some((allowed(&metric.name), metric.before?))).collect(),
            parameters,
            tags,
            aliases: shown.aliases.iter().map(ToString::to_string).collect(),
        })
    }
}

/// A name with `_` for what MLflow allows in no name.
fn allowed(name: &str) -> String {
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || "_-. :/".contains(*c);
    name.chars().map(|c| if is_allowed(&c) { c } else { '_' }).collect()
}

/// A JSON value as people write it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Arguments of `import-mlflow`.
#[derive(Debug, Args)]
pub struct ImportMlflow {
    /// The registered model, as NAME@VERSION (MLflow's number) or NAME@ALIAS
    model: String,
    /// Folder for the ONNX file; a release also needs a tokenizer.json and a release.json
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    form: Form,
}

impl ImportMlflow {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let Some((model, which)) = self.model.rsplit_once('@') else {
            bail!("{:?} names no version: write NAME@VERSION or NAME@ALIAS", self.model);
        };
        let is_number = which.bytes().all(|byte| byte.is_ascii_digit());
        let selector = if is_number { Selector::Version(which.into()) } else { Selector::Alias(which.into()) };
        let imported = self.server.open()?.import(model, &selector, &self.output).await?;
        let sha256 = hex::encode(imported.sha256);
        if self.form.json {
            let (file, bytes, version) = (&imported.file, imported.bytes, &imported.version);
            print_json(&json!({ "file": file, "bytes": bytes, "sha256": sha256, "version": version }))?;
        } else {
            print(&format!("version {} of {model} is in {} ({sha256})\n", imported.version, imported.file.display()));
        }
        Ok(ExitStatus::Done)
    }
}
