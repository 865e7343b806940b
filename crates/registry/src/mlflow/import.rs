//! An ONNX file out of MLflow.

use std::path::Path;

use reqwest::Method;

use super::answers::{Artefact, Artefacts, DownloadUri, LoggedModel, MadeRun, MadeVersion, ModelVersion};
use super::error::{MlflowError, Result};
use super::server::{FILE_BYTES_MAX, Server, file_name, proxied};
use super::{Imported, Selector, is_onnx};

/// Folders and files that are looked at for an ONNX file.
const ARTEFACTS_MAX: usize = 1000;

impl Server {
    /// Brings the ONNX file of a model version into `folder`, under its own name; a file of that name is replaced,
    /// whole.
    pub async fn import(&self, model: &str, selector: &Selector, folder: &Path) -> Result<Imported> {
        let version = self.version(model, selector).await?;
        let query = [("name", model), ("version", version.version.as_str())];
        let location: DownloadUri = self.get("model-versions/get-download-uri", &query).await?;
        let root = proxied(&self.resolved(&location.artifact_uri).await?)?;
        let files = self.list(&root).await?;
        let found: Vec<&Artefact> = files.iter().filter(|file| is_onnx(&file.path)).collect();
        let shown = |files: &[&Artefact]| files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join(", ");
        let what = format!("version {} of {model:?}", version.version);
        let [onnx] = found.as_slice() else {
            let expected = "expected exactly one that ends in .onnx; log the model as a single ONNX file";
            let found = if found.is_empty() {
                format!("no ONNX file among its {}", files.len())
            } else {
                format!("{} ONNX files ({})", found.len(), shown(&found))
            };
            return Err(MlflowError::Artefacts(format!("{what} has {found}; {expected}")));
        };
        if let Some(bytes) = onnx.file_size.filter(|bytes| *bytes > FILE_BYTES_MAX) {
            let problem = format!("{what}: {} has {bytes} bytes; expected at most {FILE_BYTES_MAX}", onnx.path);
            return Err(MlflowError::Artefacts(problem));
        }
        let name = file_name(&onnx.path)?;
        let (bytes, sha256) = self.download(&format!("{root}/{}", onnx.path), folder, name).await?;
        let others = files.iter().filter(|file| file.path != onnx.path).map(|file| file.path.clone()).collect();
        let tags = version.tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
        let run = version.run_id.filter(|run| !run.is_empty());
        Ok(Imported { file: folder.join(name), bytes, sha256, version: version.version, run, tags, others })
    }

    async fn version(&self, model: &str, selector: &Selector) -> Result<ModelVersion> {
        let found: Result<MadeVersion> = match selector {
            Selector::Version(version) => {
                self.get("model-versions/get", &[("name", model), ("version", version)]).await
            }
            Selector::Alias(alias) => self.get("registered-models/alias", &[("name", model), ("alias", alias)]).await,
        };
        match found {
            Ok(found) => Ok(found.model_version),
            Err(MlflowError::Refused { message, .. })
                if ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"].iter().any(|code| message.contains(code)) =>
            {
                let wanted = match selector {
                    Selector::Version(version) => format!("version {version:?}"),
                    Selector::Alias(alias) => format!("alias {alias:?}"),
                };
                let what =
                    format!("{wanted} of the registered model {model:?} ({message}); the server's page lists them");
                Err(MlflowError::NotFound(what))
            }
            Err(error) => Err(error),
        }
    }

    /// Where a source is: a version may be registered from a run's folder (`runs:/ID/folder`) or from a logged model of
    /// MLflow 3 (`models:/m-ID`), and the server hands that on as it is.
    async fn resolved(&self, source: &str) -> Result<String> {
        if let Some((run, folder)) =
            source.strip_prefix("runs:/").map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        {
            let found: MadeRun = self.get("runs/get", &[("run_id", run)]).await?;
            return Ok(format!("{}/{folder}", found.run.info.artifact_uri.trim_end_matches('/')));
        }
        let is_plain = |id: &&str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if let Some(id) = source.strip_prefix("models:/").filter(|id| id.starts_with("m-")).filter(is_plain) {
            let found: LoggedModel = self.get(&format!("logged-models/{id}"), &[]).await?;
            return Ok(found.model.info.artifact_uri);
        }
        Ok(source.to_owned())
    }

    /// All files below a folder of the proxy, with their paths from there.
    async fn list(&self, root: &str) -> Result<Vec<Artefact>> {
        let mut files = Vec::new();
        let mut folders = vec![String::new()];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            let path = [root, &folder].join("/");
            let url = self.url("api/2.0/mlflow-artifacts/artifacts")?;
            let request = self.request(Method::GET, url.clone()).query(&[("path", path.trim_end_matches('/'))]);
            let listed: Artefacts = self.answer(&url, request).await?;
            for mut artefact in listed.files {
                seen += 1;
                if seen > ARTEFACTS_MAX {
                    let problem =
                        format!("the version has more than {ARTEFACTS_MAX} artefacts; expected a model alone");
                    return Err(MlflowError::Artefacts(problem));
                }
                // The proxy gives names, or paths from the folder that was asked for.
                let name = file_name(&artefact.path)?;
                artefact.path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                if artefact.is_dir { folders.push(artefact.path) } else { files.push(artefact) }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }
}
