//! A release into MLflow.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::answers::{Found, MadeExperiment, MadeRun, MadeVersion, ModelVersion, ModelVersions, RunInfo, Runs};
use super::error::{MlflowError, Result};
use super::server::{Server, proxied};
use super::{DIGEST_TAG, Export, Exported, VERSION_TAG, is_onnx};

/// In which folder of the run's artefacts the files lie.
const ARTEFACT_FOLDER: &str = "release";
/// What one call of `runs/log-batch` takes of each kind.
const BATCH_MAX: usize = 100;
/// MLflow's name for what tells how a model is loaded.
const FLAVOURS_FILE: &str = "MLmodel";

impl Server {
    /// Registers a release, with its files, figures and aliases.
    ///
    /// Doing it twice gives one version: it is found by [`DIGEST_TAG`], and so is the run of an attempt that broke off.
    /// Two who export the same release at the same moment may make two versions; MLflow has nothing to prevent it.
    pub async fn export(&self, export: &Export) -> Result<Exported> {
        check(export)?;
        self.make_model(&export.model).await?;
        let exported = match self.exported(export).await? {
            Some(version) => {
                Exported { run: version.run_id.unwrap_or_default(), version: version.version, already: true }
            }
            None => self.register(export).await?,
        };
        for alias in &export.aliases {
            let body = json!({"name": export.model, "alias": alias, "version": exported.version});
            let _: Value = self.post("registered-models/alias", &body).await?;
        }
        Ok(exported)
    }

    /// The registered model, made where it is missing.
    async fn make_model(&self, name: &str) -> Result<()> {
        let tags = json!([{"key": "palisade", "value": "releases"}]);
        match self.post::<Value>("registered-models/create", &json!({"name": name, "tags": tags})).await {
            Ok(_) => Ok(()),
            Err(MlflowError::Refused { message, .. }) if message.contains("RESOURCE_ALREADY_EXISTS") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The version that this release has already.
    async fn exported(&self, export: &Export) -> Result<Option<ModelVersion>> {
        // Neither value can end its quotes: `check` saw to that.
        let filter = format!("name = '{}' and tags.`{DIGEST_TAG}` = '{}'", export.model, export.digest);
        let query = [("filter", filter.as_str()), ("max_results", "10")];
        let found: ModelVersions = self.get("model-versions/search", &query).await?;
        let number = |version: &ModelVersion| version.version.parse::<u64>().unwrap_or(u64::MAX);
        Ok(found.model_versions.into_iter().min_by_key(number))
    }

    /// Makes run and version.
    async fn register(&self, export: &Export) -> Result<Exported> {
        let experiment = self.experiment(&export.experiment).await?;
        let run = self.run(&experiment, export).await?;
        let root = proxied(&run.artifact_uri)?;
        self.log(&run, export).await?;
        for (name, path) in &export.files {
            self.upload(&format!("{root}/{ARTEFACT_FOLDER}/{name}"), path).await?;
        }
        if let Some(flavours) = flavours(export, &run.run_id) {
            self.put(&format!("{root}/{ARTEFACT_FOLDER}/{FLAVOURS_FILE}"), &flavours).await?;
        }
        let finished = json!({"run_id": run.run_id, "status": "FINISHED", "end_time": milliseconds(SystemTime::now())});
        let _: Value = self.post("runs/update", &finished).await?;
        let source = format!("{}/{ARTEFACT_FOLDER}", run.artifact_uri.trim_end_matches('/'));
        let version = json!({
            "name": export.model, "source": source, "run_id": run.run_id, "tags": tags(export),
            "description": format!("Palisade release {} ({})", export.version, export.digest),
        });
        let made: MadeVersion = self.post("model-versions/create", &version).await?;
        Ok(Exported { version: made.model_version.version, run: run.run_id, already: false })
    }

    async fn experiment(&self, name: &str) -> Result<String> {
        let made = self.post::<MadeExperiment>("experiments/create", &json!({"name": name})).await;
        match made {
            Ok(made) => Ok(made.experiment_id),
            Err(MlflowError::Refused { message, .. }) if message.contains("RESOURCE_ALREADY_EXISTS") => {
                let found: Found = self.get("experiments/get-by-name", &[("experiment_name", name)]).await?;
                if found.experiment.lifecycle_stage.as_deref() == Some("deleted") {
                    let problem = format!("the experiment {name:?} was deleted; restore it, or choose another name");
                    return Err(MlflowError::Settings(problem));
                }
                Ok(found.experiment.experiment_id)
            }
            Err(error) => Err(error),
        }
    }

    /// The run of an attempt that broke off, or a new one.
    async fn run(&self, experiment: &str, export: &Export) -> Result<RunInfo> {
        let filter = format!("tags.`{DIGEST_TAG}` = '{}'", export.digest);
        let search = json!({"experiment_ids": [experiment], "filter": filter, "max_results": 1});
        let found: Runs = self.post("runs/search", &search).await?;
        if let Some(run) = found.runs.into_iter().next() {
            return Ok(run.info);
        }
        let run = json!({
            "experiment_id": experiment, "run_name": format!("{} {}", export.model, export.version),
            "start_time": milliseconds(SystemTime::now()), "tags": tags(export),
        });
        let made: MadeRun = self.post("runs/create", &run).await?;
        Ok(made.run.info)
    }

    /// Figures and facts. Sent again, they are the same: the time of all figures is the run's.
    async fn log(&self, run: &RunInfo, export: &Export) -> Result<()> {
        let metric =
            |(key, value): (&String, &f64)| json!({"key": key, "value": value, "timestamp": run.start_time, "step": 0});
        let metrics: Vec<Value> = export.metrics.iter().map(metric).collect();
        let parameter = |(key, value): (&String, &String)| json!({"key": key, "value": value});
        let parameters: Vec<Value> = export.parameters.iter().map(parameter).collect();
        for (kind, all) in [("metrics", metrics), ("params", parameters)] {
            for batch in all.chunks(BATCH_MAX) {
                let mut body = json!({"run_id": run.run_id});
                if let Some(body) = body.as_object_mut() {
                    body.insert(kind.to_owned(), batch.to_vec().into());
                }
                let _: Value = self.post("runs/log-batch", &body).await?;
            }
        }
        Ok(())
    }
}

/// Names and figures that would mean something else on the way.
pub(super) fn check(export: &Export) -> Result<()> {
    let refuse = |problem: String| Err(MlflowError::Settings(problem));
    if export.digest.len() != 64 || !export.digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return refuse(format!("the release's digest is {:?}; expected 64 hexadecimal digits", export.digest));
    }
    let is_plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
    };
    for (what, name) in [("model", &export.model), ("version", &export.version)] {
        if !is_plain(name) {
            return refuse(format!("{what} is {name:?}; expected letters, digits, `.`, `_`, `-` and `+`"));
        }
    }
    if let Some(name) = export.files.keys().find(|name| !is_plain(name) || name.starts_with('.')) {
        return refuse(format!("a file has the name {name:?}; expected letters, digits, `.`, `_`, `-` and `+`"));
    }
    if let Some((name, value)) = export.metrics.iter().find(|(_, value)| !value.is_finite()) {
        return refuse(format!("the metric {name:?} is {value}; expected a number"));
    }
    Ok(())
}

/// How MLflow's client loads the version (<https://mlflow.org/docs/latest/ml/model/#mlmodel-file>): as an ONNX file, in YAML, of
/// which JSON is a part. None where not exactly one file is ONNX, or the release has such a file.
fn flavours(export: &Export, run: &str) -> Option<Value> {
    let mut onnx = export.files.keys().filter(|name| is_onnx(name));
    let data = onnx.next().filter(|_| onnx.next().is_none() && !export.files.contains_key(FLAVOURS_FILE))?;
    Some(json!({
        "artifact_path": ARTEFACT_FOLDER,
        "flavors": {
            "onnx": {"data": data, "providers": ["CPUExecutionProvider"]},
            "python_function": {"data": data, "loader_module": "mlflow.onnx"},
        },
        "run_id": run,
    }))
}

/// The tags that run and version get.
fn tags(export: &Export) -> Vec<Value> {
    let ours = [(DIGEST_TAG, &export.digest), (VERSION_TAG, &export.version)];
    let given = export.tags.iter().map(|(key, value)| (key.as_str(), value));
    let given = given.filter(|(key, _)| *key != DIGEST_TAG && *key != VERSION_TAG);
    given.chain(ours).map(|(key, value)| json!({"key": key, "value": value})).collect()
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or_default())
}
