//! What the server answers, in as far as it is read.

use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Said {
    pub(super) error_code: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct MadeVersion {
    pub(super) model_version: ModelVersion,
}

#[derive(Deserialize)]
pub(super) struct ModelVersions {
    #[serde(default)]
    pub(super) model_versions: Vec<ModelVersion>,
}

#[derive(Deserialize)]
pub(super) struct ModelVersion {
    pub(super) version: String,
    pub(super) run_id: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<Tag>,
}

#[derive(Deserialize)]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Deserialize)]
pub(super) struct MadeExperiment {
    pub(super) experiment_id: String,
}

#[derive(Deserialize)]
pub(super) struct Found {
    pub(super) experiment: Experiment,
}

#[derive(Deserialize)]
pub(super) struct Experiment {
    pub(super) experiment_id: String,
    pub(super) lifecycle_stage: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Runs {
    #[serde(default)]
    pub(super) runs: Vec<Run>,
}

#[derive(Deserialize)]
pub(super) struct MadeRun {
    pub(super) run: Run,
}

#[derive(Deserialize)]
pub(super) struct Run {
    pub(super) info: RunInfo,
}

#[derive(Deserialize)]
pub(super) struct RunInfo {
    pub(super) run_id: String,
    pub(super) artifact_uri: String,
    #[serde(default)]
    pub(super) start_time: u64,
}

#[derive(Deserialize)]
pub(super) struct LoggedModel {
    pub(super) model: LoggedModelBody,
}

#[derive(Deserialize)]
pub(super) struct LoggedModelBody {
    pub(super) info: LoggedModelInfo,
}

#[derive(Deserialize)]
pub(super) struct LoggedModelInfo {
    pub(super) artifact_uri: String,
}

#[derive(Deserialize)]
pub(super) struct DownloadUri {
    pub(super) artifact_uri: String,
}

#[derive(Deserialize)]
pub(super) struct Artefacts {
    #[serde(default)]
    pub(super) files: Vec<Artefact>,
}

#[derive(Deserialize)]
pub(super) struct Artefact {
    pub(super) path: String,
    #[serde(default)]
    pub(super) is_dir: bool,
    pub(super) file_size: Option<u64>,
}
