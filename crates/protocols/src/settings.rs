//! Settings of the endpoint, from environment variables: what Spin, `palisade serve` and every other host can give.

use crate::backend::Description;
use crate::policy::Policies;
use crate::{Failure, Request};

/// Longest body in bytes, where the host sets no lower limit.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// Settings, parsed but for the policies, which only two routes need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `PALISADE_PUBLIC_URL`: what clients see as this server's address, where the request's own host is not it.
    pub public_url: Option<String>,
    /// `PALISADE_POLICIES`: TOML as `palisade policy check` accepts it.
    pub policies: Option<String>,
    /// `PALISADE_CORS_ORIGINS`: origins separated by white space or commas, or `*`.
    pub cors_origins: Vec<String>,
    /// `PALISADE_FEEDBACK`: `keep` (the default) or `discard`.
    pub keep_feedback: bool,
    /// `PALISADE_BODY_BYTES_MAX`.
    pub body_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: None,
            policies: None,
            cors_origins: Vec::new(),
            keep_feedback: true,
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}

impl Settings {
    /// Reads the variables that are meant for the endpoint; an empty one counts as absent. Errors name the variable.
    pub fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Failure> {
        let mut settings = Self::default();
        for (name, value) in variables {
            if value.trim().is_empty() {
                continue;
            }
            match name.as_str() {
                "PALISADE_PUBLIC_URL" => settings.public_url = Some(public_url(&value)?),
                "PALISADE_POLICIES" => settings.policies = Some(value),
                "PALISADE_CORS_ORIGINS" => {
                    let origins =
                        value.split(|c: char| c == ',' || c.is_whitespace()).filter(|origin| !origin.is_empty());
                    settings.cors_origins = origins.map(str::to_owned).collect();
                }
                "PALISADE_FEEDBACK" => settings.keep_feedback = keep_feedback(&value)?,
                "PALISADE_BODY_BYTES_MAX" => {
                    let wrong = || Failure::Misconfigured("PALISADE_BODY_BYTES_MAX is no number of bytes".into());
                    settings.body_bytes_max = value.trim().parse().map_err(|_| wrong())?;
                }
                _ => {}
            }
        }
        Ok(settings)
    }

    /// This server's address as its clients see it, without a slash at the end.
    pub fn base_url(&self, request: &Request<'_>) -> String {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        let host = if request.authority.is_empty() { "localhost" } else { request.authority };
        let scheme = if request.scheme == "https" { "https" } else { "http" };
        public_url(&format!("{scheme}://{host}")).unwrap_or_else(|_| format!("{scheme}://localhost"))
    }

    /// A path without the one that the public address has itself: behind a proxy that serves this server below a path, clients write that
    /// path into the parts of a batch, and some proxies leave it on.
    pub fn local_path<'a>(&self, path: &'a str) -> &'a str {
        let after_host = self.public_url.as_deref().and_then(|url| url.split_once("://")).map_or("", |(_, rest)| rest);
        let prefix = after_host.find('/').and_then(|slash| after_host.get(slash..)).unwrap_or_default();
        path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')).unwrap_or(path)
    }

    /// The policies, or the built-in ones. Errors have line and column.
    pub fn policies(&self, release: &Description) -> Result<Policies, Failure> {
        let Some(text) = &self.policies else { return Ok(Policies::default()) };
        let labels: Vec<&str> = release.labels.iter().map(|label| label.name.as_str()).collect();
        Policies::parse(text, Some(&labels)).map_err(|e| Failure::Misconfigured(format!("PALISADE_POLICIES: {e}")))
    }
}

/// An address with scheme and without what comes behind host, port and path.
pub fn public_url(value: &str) -> Result<String, Failure> {
    let value = value.trim().trim_end_matches('/');
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic() && !"?#\"<>\\^`{|}".contains(c))
    });
    if !good {
        let problem = format!("PALISADE_PUBLIC_URL is {value:?}, and must be like https://moderation.example.org");
        return Err(Failure::Misconfigured(problem));
    }
    Ok(value.to_owned())
}

fn keep_feedback(value: &str) -> Result<bool, Failure> {
    match value.trim() {
        "keep" => Ok(true),
        "discard" => Ok(false),
        other => Err(Failure::Misconfigured(format!("PALISADE_FEEDBACK is {other:?}, and must be keep or discard"))),
    }
}
