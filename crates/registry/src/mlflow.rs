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

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

/// The tag by which an exported release is found again.
pub const DIGEST_TAG: &str = "palisade.release-digest";
/// The tag with the release's own version; MLflow counts versions by itself.
pub const VERSION_TAG: &str = "palisade.release-version";
/// In which folder of the run's artefacts the files lie.
const ARTEFACT_FOLDER: &str = "release";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A call without files.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// A file of the greatest size, up or down.
const TRANSFER_TIMEOUT: Duration = Duration::from_mins(30);
/// Without a byte.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// As a file of a release may be.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Folders and files that are looked at for an ONNX file.
const ARTEFACTS_MAX: usize = 1000;
/// What one call of `runs/log-batch` takes of each kind.
const BATCH_MAX: usize = 100;
const MESSAGE_CHARACTERS_MAX: usize = 500;

/// Why nothing was exported or imported, by what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MlflowError {
    /// Address, credentials or names cannot be used: correct them.
    #[error("MLflow: {0}")]
    Settings(String),
    /// No answer: try again when the server is there. What was begun is continued then.
    #[error(
        "MLflow at {place}: no answer: {problem}; is the server up, and the address right? run the command again, \
        it goes on where it stopped"
    )]
    Unreachable {
        /// The address that was asked.
        place: String,
        /// What happened.
        problem: String,
    },
    /// The server does not know or permit us.
    #[error(
        "MLflow at {place}: refused with {status}; set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and \
        MLFLOW_TRACKING_PASSWORD, to credentials that may do this"
    )]
    Denied {
        /// The address that was asked.
        place: String,
        /// HTTP's status.
        status: u16,
    },
    /// The server has no such thing.
    #[error("MLflow: there is no {0}")]
    NotFound(String),
    /// The server refused a request.
    #[error("MLflow at {place}: refused with {status}: {message}")]
    Refused {
        /// The address that was asked.
        place: String,
        /// HTTP's status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The answer is not one of MLflow's API.
    #[error(
        "MLflow at {place}: the answer is not MLflow's: {problem}; expected a server of MLflow 2 or 3 at this address"
    )]
    Unexpected {
        /// The address that was asked.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The model version has not the one file that is looked for.
    #[error("MLflow: {0}")]
    Artefacts(String),
    /// A file here cannot be read or written.
    #[error("{}: {problem}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        problem: String,
    },
}

type Result<T> = std::result::Result<T, MlflowError>;

/// Who we are; no `Debug` shows it.
pub enum Credentials {
    /// A server that asks nobody.
    None,
    /// Sent as `Authorization: Bearer`.
    Token(Zeroizing<String>),
    /// Sent as `Authorization: Basic`.
    Basic {
        /// The user's name.
        user: String,
        /// The user's password.
        password: Zeroizing<String>,
    },
}

impl Credentials {
    /// What `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, say; user and
    /// password count where both are there, as with MLflow's client.
    pub fn from_environment() -> Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (variable("MLFLOW_TRACKING_USERNAME"), variable("MLFLOW_TRACKING_PASSWORD")) {
            (Some(user), Some(password)) => Ok(Self::Basic { user, password: Zeroizing::new(password) }),
            (None, None) => {
                let token = variable("MLFLOW_TRACKING_TOKEN");
                Ok(token.map_or(Self::None, |token| Self::Token(Zeroizing::new(token))))
            }
            _ => Err(MlflowError::Settings(
                "only one of MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD is set; set both, or neither"
                    .to_owned(),
            )),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(…)",
            Self::Basic { .. } => "Basic(…)",
        })
    }
}

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

/// An MLflow server.
#[derive(Debug)]
pub struct Server {
    base: Url,
    credentials: Credentials,
    client: reqwest::Client,
}

impl Server {
    /// A server at `address`, such as `https://mlflow.example.org`. Nothing is sent yet.
    ///
    /// `plain_http_is_safe`: whether credentials may go over a network without TLS.
    pub fn new(address: &str, credentials: Credentials, plain_http_is_safe: bool) -> Result<Self> {
        let refuse = |problem: &str| Err(MlflowError::Settings(problem.to_owned()));
        let Ok(mut base) = Url::parse(address) else {
            return refuse("the address is no URL; expected one such as https://mlflow.example.org");
        };
        if !base.username().is_empty() || base.password().is_some() {
            return refuse(
                "the address has credentials in it; write them into MLFLOW_TRACKING_USERNAME and …_PASSWORD",
            );
        }
        let is_local = matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match base.scheme() {
            "https" => {}
            "http" if is_local || plain_http_is_safe || matches!(credentials, Credentials::None) => {}
            "http" => return refuse("credentials would go over http, which everybody on the way can read; use https"),
            other => {
                let problem = format!("the address has scheme {other:?}; expected https or http");
                return Err(MlflowError::Settings(problem));
            }
        }
        // Paths are joined to it, and a base path such as /mlflow stays.
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        crate::tls::provide();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| MlflowError::Settings(format!("no client can be made: {error}")))?;
        Ok(Self { base, credentials, client })
    }

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

    /// Brings the ONNX file of a model version into `folder`, under its own name; a file of that name is replaced,
    /// whole.
    pub async fn import(&self, model: &str, selector: &Selector, folder: &Path) -> Result<Imported> {
        let version = self.version(model, selector).await?;
        let query = [("name", model), ("version", version.version.as_str())];
        let location: DownloadUri = self.get("model-versions/get-download-uri", &query).await?;
        let root = proxied(&self.resolved(&location.artifact_uri).await?)?;
        let files = self.list(&root).await?;
        let is_onnx = |file: &&Artefact| Path::new(&file.path).extension().is_some_and(|end| end == "onnx");
        let found: Vec<&Artefact> = files.iter().filter(is_onnx).collect();
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

    async fn upload(&self, to: &str, path: &Path) -> Result<()> {
        let unreadable = |error: std::io::Error| file_error(path, &error);
        let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let bytes = file.metadata().await.map_err(unreadable)?.len();
        if bytes > FILE_BYTES_MAX {
            let problem = format!("has {bytes} bytes; expected at most {FILE_BYTES_MAX}");
            return Err(MlflowError::File { path: path.to_owned(), problem });
        }
        let url = self.artefact(to)?;
        let request = self.request(Method::PUT, url.clone()).timeout(TRANSFER_TIMEOUT);
        let request = request.header(CONTENT_LENGTH, bytes).body(reqwest::Body::from(file));
        let _: Value = self.answer(&url, request).await?;
        Ok(())
    }

    /// A file of the proxy, whole or not at all; its length and SHA-256.
    async fn download(&self, from: &str, folder: &Path, name: &str) -> Result<(u64, [u8; 32])> {
        let url = self.artefact(from)?;
        let request = self.request(Method::GET, url.clone()).timeout(TRANSFER_TIMEOUT);
        let mut response = self.send(&url, request).await?;
        let unwritable = |error: std::io::Error| file_error(&folder.join(name), &error);
        tokio::fs::create_dir_all(folder).await.map_err(unwritable)?;
        let whole = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
        let mut file = tokio::fs::File::from_std(whole.reopen().map_err(unwritable)?);
        let (mut bytes, mut hasher) = (0, Sha256::new());
        while let Some(piece) = response.chunk().await.map_err(|error| unreachable(&url, error))? {
            bytes += piece.len() as u64;
            if bytes > FILE_BYTES_MAX {
                let problem = format!("{from} has more than {FILE_BYTES_MAX} bytes; expected a model of at most that");
                return Err(MlflowError::Artefacts(problem));
            }
            hasher.update(&piece);
            file.write_all(&piece).await.map_err(unwritable)?;
        }
        file.sync_all().await.map_err(unwritable)?;
        whole.persist(folder.join(name)).map_err(|error| unwritable(error.error))?;
        Ok((bytes, hasher.finalize().into()))
    }

    async fn get<T: DeserializeOwned>(&self, call: &str, query: &[(&str, &str)]) -> Result<T> {
        let url = self.url(&format!("api/2.0/mlflow/{call}"))?;
        self.answer(&url, self.request(Method::GET, url.clone()).query(query)).await
    }

    async fn post<T: DeserializeOwned>(&self, call: &str, body: &Value) -> Result<T> {
        let url = self.url(&format!("api/2.0/mlflow/{call}"))?;
        self.answer(&url, self.request(Method::POST, url.clone()).json(body)).await
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).map_err(|error| MlflowError::Settings(format!("the address takes no path: {error}")))
    }

    /// The address of a file behind the proxy; every part of the path is escaped.
    fn artefact(&self, path: &str) -> Result<Url> {
        let mut url = self.url("api/2.0/mlflow-artifacts/artifacts")?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path.split('/'));
        }
        Ok(url)
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.credentials {
            Credentials::None => request,
            Credentials::Token(token) => request.bearer_auth(token.as_str()),
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password.as_str())),
        }
    }

    /// Sends, and takes a good answer's JSON.
    async fn answer<T: DeserializeOwned>(&self, url: &Url, request: RequestBuilder) -> Result<T> {
        let response = self.send(url, request).await?;
        let body = body(url, response).await?;
        // The proxy answers an upload with `{}`, older servers with nothing.
        let body = if body.is_empty() { b"{}".as_slice() } else { &body };
        serde_json::from_slice(body)
            .map_err(|error| MlflowError::Unexpected { place: place(url), problem: error.to_string() })
    }

    /// Sends, and makes an error of a bad answer.
    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| unreachable(url, error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let (place, status) = (place(url), status.as_u16());
        if matches!(status, 401 | 403) {
            return Err(MlflowError::Denied { place, status });
        }
        let body = body(url, response).await.unwrap_or_default();
        let said = serde_json::from_slice::<Said>(&body).unwrap_or_default();
        let message = format!("{} {}", said.error_code, said.message);
        let message = match message.trim() {
            "" if (300..400).contains(&status) => "it sends elsewhere; use the address that it has itself",
            "" => "no reason given; is it MLflow, version 2 or later, and this its address?",
            message => message,
        };
        let printable = message.chars().map(|c| if c.is_control() { ' ' } else { c });
        Err(MlflowError::Refused { place, status, message: printable.take(MESSAGE_CHARACTERS_MAX).collect() })
    }
}

/// Names and figures that would mean something else on the way.
fn check(export: &Export) -> Result<()> {
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

/// The tags that run and version get.
fn tags(export: &Export) -> Vec<Value> {
    let ours = [(DIGEST_TAG, &export.digest), (VERSION_TAG, &export.version)];
    let given = export.tags.iter().map(|(key, value)| (key.as_str(), value));
    let given = given.filter(|(key, _)| *key != DIGEST_TAG && *key != VERSION_TAG);
    given.chain(ours).map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// The path behind the proxy that an artefact's URI stands for, without slashes around.
fn proxied(uri: &str) -> Result<String> {
    let Some(rest) = uri.strip_prefix("mlflow-artifacts:") else {
        let problem = format!(
            "the files lie at {uri:?}, and the server does not hand them on; expected mlflow-artifacts:/…; \
            start it with --serve-artifacts and --artifacts-destination, and use a new experiment"
        );
        return Err(MlflowError::Artefacts(problem));
    };
    // `mlflow-artifacts://host:port/path` names a server; it is this one, or its proxy would not say so.
    let path = match rest.strip_prefix("//") {
        Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    };
    let path = path.trim_matches('/');
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(MlflowError::Artefacts(format!("the files lie at {uri:?}; expected a path without `..`")));
    }
    Ok(path.to_owned())
}

/// The last part of a path that the server gives; never one that leads elsewhere.
fn file_name(path: &str) -> Result<&str> {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if matches!(name, "" | "." | "..") || name.contains('\\') || name.chars().any(char::is_control) {
        return Err(MlflowError::Artefacts(format!("a file has the name {name:?}; expected a plain name")));
    }
    Ok(name)
}

/// An answer's bytes, up to a limit.
async fn body(url: &Url, mut response: Response) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| unreachable(url, error))? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            let problem = format!("it has more than {ANSWER_BYTES_MAX} bytes");
            return Err(MlflowError::Unexpected { place: place(url), problem });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn unreachable(url: &Url, error: reqwest::Error) -> MlflowError {
    // With the causes: reqwest's own words are "error sending request".
    let error = error.without_url();
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let problem = causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"));
    MlflowError::Unreachable { place: place(url), problem }
}

/// An address without its query.
fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

fn file_error(path: &Path, error: &std::io::Error) -> MlflowError {
    MlflowError::File { path: path.to_owned(), problem: error.to_string() }
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or_default())
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    error_code: String,
    message: String,
}

#[derive(Deserialize)]
struct MadeVersion {
    model_version: ModelVersion,
}

#[derive(Deserialize)]
struct ModelVersions {
    #[serde(default)]
    model_versions: Vec<ModelVersion>,
}

#[derive(Deserialize)]
struct ModelVersion {
    version: String,
    run_id: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct MadeExperiment {
    experiment_id: String,
}

#[derive(Deserialize)]
struct Found {
    experiment: Experiment,
}

#[derive(Deserialize)]
struct Experiment {
    experiment_id: String,
    lifecycle_stage: Option<String>,
}

#[derive(Deserialize)]
struct Runs {
    #[serde(default)]
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct MadeRun {
    run: Run,
}

#[derive(Deserialize)]
struct Run {
    info: RunInfo,
}

#[derive(Deserialize)]
struct RunInfo {
    run_id: String,
    artifact_uri: String,
    #[serde(default)]
    start_time: u64,
}

#[derive(Deserialize)]
struct LoggedModel {
    model: LoggedModelBody,
}

#[derive(Deserialize)]
struct LoggedModelBody {
    info: LoggedModelInfo,
}

#[derive(Deserialize)]
struct LoggedModelInfo {
    artifact_uri: String,
}

#[derive(Deserialize)]
struct DownloadUri {
    artifact_uri: String,
}

#[derive(Deserialize)]
struct Artefacts {
    #[serde(default)]
    files: Vec<Artefact>,
}

#[derive(Deserialize)]
struct Artefact {
    path: String,
    #[serde(default)]
    is_dir: bool,
    file_size: Option<u64>,
}

#[cfg(test)]
mod tests;
