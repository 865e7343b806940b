//! Where a registry is: `memory://`, a folder, or a bucket of an S3-compatible store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::error::{Error, Result};

/// Time limits of requests to a store over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to be made.
    pub connect: Duration,
    /// For one small request, and for each pause of a download. An upload has a second more for each 128 KiB.
    pub request: Duration,
    /// For all retries of one request.
    pub retry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let [connect, request, retry] = [5, 15, 30].map(Duration::from_secs);
        Self { connect, request, retry }
    }
}

/// The address of a registry. Credentials are no part of it: they are read from the environment when the store is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub(crate) place: Place,
    pub(crate) limits: Limits,
    pub(crate) variables: Variables,
}

/// Where the `AWS_` variables (and HOME) come from. They can be secret, so they are not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Variables {
    Environment,
    Given(BTreeMap<String, String>),
}

impl Variables {
    /// Those that are set, and not empty.
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        let mut all = match self {
            Self::Environment => std::env::vars_os()
                .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            Self::Given(variables) => variables.clone(),
        };
        all.retain(|_, value| !value.is_empty());
        all
    }
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Environment => "Environment",
            Self::Given(_) => "Given(..)",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Memory,
    Folder(PathBuf),
    S3(S3),
}

/// A bucket, and what of the address is not in the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct S3 {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) path_style: Option<bool>,
    pub(crate) allow_http: bool,
}

impl Location {
    /// Parses an address:
    ///
    /// - `memory://`: of this process, empty at each opening;
    /// - `file:///path`, or a path: a folder;
    /// - `s3://bucket/prefix`, with the options `endpoint`, `region`, `path-style` and `allow-http` as a query, for example
    ///   `s3://models/palisade?endpoint=http://localhost:9000&region=eu-west-1`. What is not said comes from the usual
    ///   variables (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_DEFAULT_REGION`) and profile files. Plain HTTP is
    ///   for stores on this machine, unless `allow-http=true`.
    pub fn parse(address: &str) -> Result<Self> {
        let place = match address.split_once("://") {
            None if address.is_empty() => return Err(invalid(address, "it is empty")),
            None => Place::Folder(PathBuf::from(address)),
            Some(("memory", "")) => Place::Memory,
            Some(("file", _)) => Place::Folder(folder(address)?),
            Some(("s3", _)) => Place::S3(s3(address)?),
            Some((scheme, _)) => return Err(invalid(address, &format!("there is no store for {scheme}://"))),
        };
        Ok(Self::at(place))
    }

    /// A folder.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Folder(path.into()))
    }

    fn at(place: Place) -> Self {
        Self { place, limits: Limits::default(), variables: Variables::Environment }
    }

    /// The same with these variables (`AWS_ACCESS_KEY_ID`, …) instead of the process's environment, for who keeps several registries'
    /// credentials apart.
    #[must_use]
    pub fn with_variables(self, variables: BTreeMap<String, String>) -> Self {
        Self { variables: Variables::Given(variables), ..self }
    }

    /// The same with other time limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The folder, where it is one: nothing else can hold a lock or a file in place.
    pub fn as_folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(path) => Some(path),
            Place::Memory | Place::S3(_) => None,
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Memory => formatter.write_str("memory://"),
            Place::Folder(path) => write!(formatter, "file://{}", path.display()),
            Place::S3(S3 { bucket, prefix, .. }) if prefix.is_empty() => write!(formatter, "s3://{bucket}"),
            Place::S3(S3 { bucket, prefix, .. }) => write!(formatter, "s3://{bucket}/{prefix}"),
        }
    }
}

impl std::str::FromStr for Location {
    type Err = Error;

    fn from_str(address: &str) -> Result<Self> {
        Self::parse(address)
    }
}

fn folder(address: &str) -> Result<PathBuf> {
    let url = Url::parse(address).map_err(|e| invalid(address, &e.to_string()))?;
    let path = url.to_file_path();
    path.map_err(|()| invalid(address, "a folder of this machine has three slashes and the whole path: file:///path"))
}

fn s3(address: &str) -> Result<S3> {
    // Never repeat an address that may hold a secret.
    let url = Url::parse(address).map_err(|e| invalid("s3://…", &e.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        let remedy = "it must not hold credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";
        return Err(invalid("s3://…@…", remedy));
    }
    let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
    let bucket = bucket.ok_or_else(|| invalid(address, "it names no bucket: s3://bucket/prefix"))?.to_owned();
    let prefix = url.path().trim_matches('/').to_owned();
    let is_plain = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && !segment.bytes().all(|byte| byte == b'.')
    };
    if !prefix.is_empty() && !prefix.split('/').all(is_plain) {
        return Err(invalid(address, "its prefix may hold letters, digits, . _ - and single slashes"));
    }
    let mut s3 = S3 { bucket, prefix, ..S3::default() };
    for (key, value) in url.query_pairs() {
        let flag = || match &*value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(invalid("s3://…", &format!("{key} is {value:?}, and must be true or false"))),
        };
        match &*key {
            "endpoint" => s3.endpoint = Some(value.trim_end_matches('/').to_owned()),
            "region" => s3.region = Some(value.into_owned()),
            "path-style" => s3.path_style = Some(flag()?),
            "allow-http" => s3.allow_http = flag()?,
            _ => {
                let known = "endpoint, region, path-style and allow-http; credentials come from the environment";
                return Err(invalid("s3://…", &format!("there is no option {key}: there are {known}")));
            }
        }
    }
    Ok(s3)
}

fn invalid(address: &str, problem: &str) -> Error {
    Error::Invalid(format!(
        "the registry's address {address:?} cannot be: {problem}. Give a folder, file:///path or s3://bucket/prefix"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_not_shown() {
        let variables = BTreeMap::from([("AWS_SECRET_ACCESS_KEY".to_owned(), "hunter2".to_owned())]);
        let location = Location::parse("s3://bucket").unwrap().with_variables(variables);
        assert!(!format!("{location:?} {location}").contains("hunter2"), "{location:?}");
    }

    #[test]
    fn an_address_is_a_folder_or_a_bucket() {
        assert_eq!(Location::parse("models/registry").unwrap().place, Place::Folder("models/registry".into()));
        assert_eq!(Location::parse("file:///a/b").unwrap().to_string(), "file:///a/b");
        assert_eq!(Location::parse("memory://").unwrap().place, Place::Memory);
        let Place::S3(s3) = Location::parse(
            "s3://models/a/b/?endpoint=http://localhost:9000/&region=eu-west-1&path-style=false&allow-http=true",
        )
        .unwrap()
        .place
        else {
            panic!("not a bucket");
        };
        assert_eq!((&*s3.bucket, &*s3.prefix, s3.path_style, s3.allow_http), ("models", "a/b", Some(false), true));
        assert_eq!((s3.endpoint.as_deref(), s3.region.as_deref()), (Some("http://localhost:9000"), Some("eu-west-1")));
    }

    #[test]
    fn what_cannot_be_is_named_without_its_secrets() {
        let check = |address: &str, expect: &str| {
            let message = Location::parse(address).unwrap_err().to_string();
            assert!(message.contains(expect) && message.contains("s3://bucket/prefix"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        };
        check("", "empty");
        check("gs://bucket", "no store for gs://");
        check("file://host/path", "three slashes");
        check("s3://", "");
        check("s3://AKIA:hunter2@bucket/", "credentials");
        check("s3://bucket/?aws_secret_access_key=hunter2", "no option aws_secret_access_key");
        check("s3://bucket/a//b", "prefix");
        check("s3://bucket/a/%2e%2e/b%20c", "prefix");
        check("s3://bucket/?path-style=maybe", "path-style is \"maybe\"");
    }
}
