//! The server: how it is spoken to, and its artefact proxy.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::answers::Said;
use super::error::{MlflowError, Result, file_error, place, unreachable};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A call without files.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// A file of the greatest size, up or down.
const TRANSFER_TIMEOUT: Duration = Duration::from_mins(30);
/// Without a byte.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 20;
/// As a file of a release may be.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 30;
const MESSAGE_CHARACTERS_MAX: usize = 500;

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
            // Its server closes a connection that was idle for 5 s, perhaps just as the next request goes out, and that would be lost.
            .pool_max_idle_per_host(0)
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| MlflowError::Settings(format!("no client can be made: {error}")))?;
        Ok(Self { base, credentials, client })
    }

    pub(super) async fn upload(&self, to: &str, path: &Path) -> Result<()> {
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

    /// A small file, given here.
    pub(super) async fn put(&self, to: &str, content: &Value) -> Result<()> {
        let url = self.artefact(to)?;
        let request = self.request(Method::PUT, url.clone()).body(format!("{content:#}\n"));
        let _: Value = self.answer(&url, request).await?;
        Ok(())
    }

    /// A file of the proxy, whole or not at all; its length and SHA-256.
    pub(super) async fn download(&self, from: &str, folder: &Path, name: &str) -> Result<(u64, [u8; 32])> {
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

    pub(super) async fn get<T: DeserializeOwned>(&self, call: &str, query: &[(&str, &str)]) -> Result<T> {
        let url = self.url(&format!("api/2.0/mlflow/{call}"))?;
        self.answer(&url, self.request(Method::GET, url.clone()).query(query)).await
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, call: &str, body: &Value) -> Result<T> {
        let url = self.url(&format!("api/2.0/mlflow/{call}"))?;
        self.answer(&url, self.request(Method::POST, url.clone()).json(body)).await
    }

    pub(super) fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).map_err(|error| MlflowError::Settings(format!("the address takes no path: {error}")))
    }

    /// The address of a file behind the proxy; every part of the path is escaped.
    pub(super) fn artefact(&self, path: &str) -> Result<Url> {
        let mut url = self.url("api/2.0/mlflow-artifacts/artifacts")?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path.split('/'));
        }
        Ok(url)
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.credentials {
            Credentials::None => request,
            Credentials::Token(token) => request.bearer_auth(token.as_str()),
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password.as_str())),
        }
    }

    /// Sends, and takes a good answer's JSON.
    pub(super) async fn answer<T: DeserializeOwned>(&self, url: &Url, request: RequestBuilder) -> Result<T> {
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

/// The path behind the proxy that an artefact's URI stands for, without slashes around.
pub(super) fn proxied(uri: &str) -> Result<String> {
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
pub(super) fn file_name(path: &str) -> Result<&str> {
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
