//! What reads a registry and changes nothing in it.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use palisade_registry::{Event, File, Model, ModelName, PullOptions, Reference, Shown, Thresholds};
use serde_json::{Value, json};

use super::publish::{bar, show};
use super::{Form, RegistryArguments, TrustArguments, columns, print, print_json};
use crate::artefact::mib;
use crate::commands::{ExitStatus, say};
use crate::trusting::Signer;

/// Digits of a digest that people read.
const DIGITS: usize = 12;

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only this model
    model: Option<ModelName>,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    form: Form,
}

impl List {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let registry = self.registry.open()?;
        let models = match &self.model {
            Some(model) => vec![registry.model(model).await?],
            None => registry.list().await?,
        };
        for problem in models.iter().flat_map(|model| &model.problems) {
            say(&format!("warning: {}: {}", problem.object, problem.reason));
        }
        if self.form.json {
            print_json(&models.iter().map(model_json).collect::<Vec<_>>())?;
        } else {
            let mut rows = vec![["VERSION", "ALIASES", "PUBLISHED", "SIZE", "RELEASE"].map(str::to_owned).to_vec()];
            rows.extend(models.iter().flat_map(|model| model.versions.iter().map(version_row)));
            print(&if rows.len() > 1 { columns(&rows) } else { format!("no versions in {}\n", registry.url()) });
        }
        let whole = models.iter().all(|model| model.problems.is_empty());
        Ok(if whole { ExitStatus::Done } else { ExitStatus::Partly })
    }
}

fn version_row(shown: &Shown) -> Vec<String> {
    let manifest = &shown.manifest;
    let mut aliases: Vec<String> = shown.aliases.iter().map(ToString::to_string).collect();
    aliases.extend(shown.retired.as_ref().map(|_| "(retired)".to_owned()));
    let digest = manifest.release_digest.to_string();
    vec![
        format!("{}@{}", manifest.name, manifest.version),
        aliases.join(" "),
        manifest.created.to_string(),
        mib(manifest.bytes()),
        digest.get(..DIGITS).unwrap_or_default().to_owned(),
    ]
}

fn model_json(model: &Model) -> Value {
    let problems: Vec<Value> =
        model.problems.iter().map(|problem| json!({ "object": problem.object, "reason": problem.reason })).collect();
    json!({
        "name": model.name,
        "versions": model.versions.iter().map(shown_json).collect::<Vec<_>>(),
        "aliases": model.aliases,
        "problems": problems,
    })
}

fn shown_json(shown: &Shown) -> Value {
    json!({
        "manifest": shown.manifest,
        "digest": shown.digest,
        "signed": shown.is_signed,
        "retired": shown.retired,
        "aliases": shown.aliases,
    })
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The version, as name@version or name@alias
    reference: Reference,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    form: Form,
}

impl Show {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let shown = self.registry.open()?.show(&self.reference).await?;
        if self.form.json {
            print_json(&shown_json(&shown))?;
            return Ok(ExitStatus::Done);
        }
        let manifest = &shown.manifest;
        let aliases = shown.aliases.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let lineage = &manifest.lineage;
        let retired =
            shown.retired.as_ref().map(|retired| format!("by {} at {}: {}", retired.who, retired.when, retired.why));
        let mut rows: Vec<Vec<String>> = [
            ("version", Some(format!("{}@{}", manifest.name, manifest.version))),
            ("aliases", Some(aliases).filter(|aliases| !aliases.is_empty())),
            ("release", Some(manifest.release_digest.to_string())),
            ("manifest", Some(shown.digest.to_string())),
            ("signature", Some(if shown.is_signed { "there" } else { "none" }.to_owned())),
            ("published", Some(format!("{} by {}", manifest.created, manifest.publisher))),
            ("retired", retired),
            ("parent", lineage.parent.as_ref().map(ToString::to_string)),
            ("code", lineage.code_revision.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some(vec![name.to_owned(), value?]))
        .collect();
        rows.extend(lineage.data.iter().map(|data| vec!["data".to_owned(), format!("{} {}", data.sha256, data.name)]));
        rows.extend(
            manifest
                .files
                .iter()
                .map(|file| vec!["file".to_owned(), format!("{} {} ({})", file.sha256, file.name, mib(file.bytes))]),
        );
        print(&columns(&rows));
        Ok(ExitStatus::Done)
    }
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct History {
    /// The model
    model: ModelName,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    form: Form,
}

impl History {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let history = self.registry.open()?.history(&self.model).await?;
        for problem in &history.problems {
            say(&format!("warning: {}: {}", problem.object, problem.reason));
        }
        if history.events.is_empty() && history.problems.is_empty() {
            bail!("nothing ever happened to {}; `palisade model list` shows the models that there are", self.model);
        }
        if self.form.json {
            print_json(&history.events)?;
        } else {
            print(&columns(&history.events.iter().map(event_row).collect::<Vec<_>>()));
        }
        Ok(if history.problems.is_empty() { ExitStatus::Done } else { ExitStatus::Partly })
    }
}

fn event_row(event: &Event) -> Vec<String> {
    let version = event.version.as_ref().map(ToString::to_string).unwrap_or_default();
    let alias =
        event.details.get("alias").and_then(Value::as_str).map(|alias| format!("as {alias}")).unwrap_or_default();
    vec![event.when.to_string(), event.kind.clone(), version, alias, event.who.clone(), event.why.clone()]
}

/// Arguments of `pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// The version, as name@version or name@alias
    reference: Reference,
    /// Folder to make
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    form: Form,
}

impl Pull {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let trust = self.trust.read()?;
        let signer = Signer::default();
        let bar = bar();
        let progress = |progress| show(&bar, progress);
        let options = PullOptions { progress: Some(&progress), ..PullOptions::trusting(signer.check(&trust)) };
        let pulled = self.registry.open()?.pull(&self.reference, &self.output, options).await?;
        bar.finish_and_clear();
        let (manifest, digest) = (&pulled.manifest, pulled.digest);
        if self.form.json {
            let fetched = pulled.bytes_fetched;
            print_json(
                &json!({ "folder": pulled.folder, "manifest": manifest, "digest": digest, "bytesFetched": fetched }),
            )?;
        } else {
            let version = format!("{}@{}", manifest.name, manifest.version);
            print(&format!("{version} is in {} ({digest}); {}\n", pulled.folder.display(), signer.shown()));
        }
        Ok(ExitStatus::Done)
    }
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The version, as name@version or name@alias
    reference: Reference,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    form: Form,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The one version, as name@version or name@alias
    old: Reference,
    /// The other
    new: Reference,
    /// Metrics that are the same too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    form: Form,
}

impl Verify {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let trust = self.trust.read()?;
        let signer = Signer::default();
        let verified = self.registry.open()?.verify(&self.reference, signer.check(&trust)).await?;
        let version = format!("{}@{}", verified.manifest.name, verified.manifest.version);
        let problems: Vec<String> =
            verified.problems.iter().map(|problem| format!("{}: {}", problem.object, problem.reason)).collect();
        if self.form.json {
            let (manifest, digest, others) = (&verified.manifest, verified.digest, &verified.others);
            let signature = signer.shown();
            print_json(
                &json!({ "manifest": manifest, "digest": digest, "signature": signature, "problems": problems, "others": others }),
            )?;
        }
        if !problems.is_empty() {
            bail!(
                "{version} is damaged: restore these from a copy, or retire the version\n  {}",
                problems.join("\n  ")
            );
        }
        if !self.form.json {
            let files = verified.manifest.files.len();
            print(&format!("{version} is whole: {files} files, {}; {}\n", verified.digest, signer.shown()));
            for other in &verified.others {
                print(&format!("{other} does not belong to it; `palisade model gc` removes it\n"));
            }
        }
        Ok(ExitStatus::Done)
    }
}

impl Diff {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let diff = self.registry.open()?.diff(&self.old, &self.new).await?;
        if self.form.json {
            print_json(&diff)?;
            return Ok(ExitStatus::Done);
        }
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let mut rows = vec![row(["", &diff.before, &diff.after, ""])];
        for file in &diff.files {
            let shown = |file: &Option<File>| file.as_ref().map_or("-".to_owned(), |file| mib(file.bytes));
            rows.push(row([&format!("file {}", file.name), &shown(&file.before), &shown(&file.after), "other bytes"]));
        }
        for label in &diff.labels {
            rows.push(row([&format!("label {}", label.name), &thresholds(label.before), &thresholds(label.after), ""]));
        }
        let metrics = diff.metrics.iter().filter(|metric| self.all || metric.before != metric.after);
        for metric in metrics {
            let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
            let change = metric.before.zip(metric.after).map(|(before, after)| format!("{:+.4}", after - before));
            rows.push(row([
                &format!("metric {}", metric.name),
                &shown(metric.before),
                &shown(metric.after),
                &change.unwrap_or_default(),
            ]));
        }
        print(&columns(&rows));
        let same = diff.metrics.iter().filter(|metric| metric.before == metric.after).count();
        if same > 0 && !self.all {
            print(&format!("{same} metrics are the same (--all shows them)\n"));
        }
        Ok(ExitStatus::Done)
    }
}

fn thresholds(of: Option<Thresholds>) -> String {
    match of {
        None => "-".to_owned(),
        Some(Thresholds { threshold, block: None }) => format!("review from {threshold}"),
        Some(Thresholds { threshold, block: Some(block) }) => format!("review from {threshold}, block from {block}"),
    }
}
