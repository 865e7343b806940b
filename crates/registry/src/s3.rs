//! An S3-compatible store, opened with settings and credentials from where the AWS command line has them.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::{Host, Url};

use crate::error::{Error, Result};
use crate::location::{Limits, S3, Variables};
use crate::profile::{Keys, Profile};
use crate::store::Clients;

/// Opens the bucket, with the time limits that requests of each kind need.
pub(crate) fn open(s3: &S3, limits: Limits, variables: &Variables) -> Result<Clients> {
    crate::tls::provide();
    let variables = variables.all();
    let settings = Settings::gather(s3, &|name| variables.get(name).cloned())?;
    let mut builder = AmazonS3Builder::new();
    for (name, value) in variables.iter().filter(|(name, _)| name.starts_with("AWS_")) {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    let client = ClientOptions::new().with_connect_timeout(limits.connect).with_allow_http(settings.allow_http);
    let open = |client| settings.open(builder.clone(), s3, limits, client).map(Arc::new);
    Ok(Clients {
        documents: open(client.clone().with_timeout(limits.request))?,
        downloads: open(client.clone().with_timeout_disabled().with_read_timeout(limits.request))?,
        uploads: open(client.with_timeout_disabled())?,
    })
}

/// What the address, the environment and the profile files say together. Holds secrets, hence no `Debug`.
struct Settings {
    endpoint: Option<String>,
    region: String,
    path_style: bool,
    allow_http: bool,
    profile: Option<Keys>,
}

impl Settings {
    fn gather(s3: &S3, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let profile = Profile::read(variable)?;
        let endpoint = s3
            .endpoint
            .clone()
            .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
            .or_else(|| variable("AWS_ENDPOINT_URL"))
            .or_else(|| profile.get("endpoint_url"));
        let region = s3
            .region
            .clone()
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .or_else(|| profile.get("region"))
            // Stores elsewhere than at AWS commonly take this name for any.
            .unwrap_or_else(|| "us-east-1".to_owned());
        let allow_http = match &endpoint {
            Some(endpoint) => s3.allow_http || is_loopback(endpoint)?,
            None => false,
        };
        if let Some(endpoint) = endpoint.as_deref().filter(|endpoint| endpoint.starts_with("http:") && !allow_http) {
            return Err(Error::Invalid(format!(
                "the endpoint {endpoint} is plain HTTP to another machine: use https, or say allow-http=true in the \
                 registry's address"
            )));
        }
        // AWS deprecates paths, and certificates do not cover names with dots; other stores mostly want paths.
        let path_style = s3.path_style.unwrap_or(endpoint.is_some() || s3.bucket.contains('.'));
        let is_elsewhere =
            ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"].iter().any(|name| variable(name).is_some());
        let keys = if is_elsewhere { None } else { profile.keys()? };
        Ok(Self { endpoint, region, path_style, allow_http, profile: keys })
    }

    fn open(&self, builder: AmazonS3Builder, s3: &S3, limits: Limits, client: ClientOptions) -> Result<AmazonS3> {
        let backoff =
            BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 };
        let mut builder = builder
            .with_bucket_name(&s3.bucket)
            .with_region(&self.region)
            .with_virtual_hosted_style_request(!self.path_style)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(RetryConfig { backoff, max_retries: 10, retry_timeout: limits.retry })
            .with_client_options(client);
        if let Some(endpoint) = &self.endpoint {
            let endpoint = if self.path_style { endpoint.clone() } else { virtual_host(endpoint, &s3.bucket)? };
            builder = builder.with_config(object_store::aws::AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        if let Some(keys) = &self.profile {
            builder = builder.with_access_key_id(&keys.id).with_secret_access_key(&keys.secret);
            if let Some(token) = &keys.token {
                builder = builder.with_token(token);
            }
        }
        builder.build().map_err(|e| Error::Invalid(format!("the settings for s3://{} cannot be: {e}", s3.bucket)))
    }
}

/// The endpoint with the bucket in its host's name.
fn virtual_host(endpoint: &str, bucket: &str) -> Result<String> {
    let cannot = |problem: String| Error::Invalid(format!("the endpoint {endpoint:?} cannot be: {problem}"));
    let mut url = Url::parse(endpoint).map_err(|e| cannot(e.to_string()))?;
    let Some(Host::Domain(host)) = url.host() else {
        return Err(cannot("path-style=false needs a host's name, not an address".to_owned()));
    };
    let host = format!("{bucket}.{host}");
    url.set_host(Some(&host)).map_err(|e| cannot(e.to_string()))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn is_loopback(endpoint: &str) -> Result<bool> {
    let url = Url::parse(endpoint).map_err(|e| {
        Error::Invalid(format!("the endpoint {endpoint:?} cannot be: {e}; https://host:port is expected"))
    })?;
    Ok(match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(s3: &S3, variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::gather(s3, &|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn bucket() -> S3 {
        S3 { bucket: "models".to_owned(), ..S3::default() }
    }

    #[test]
    fn the_address_goes_before_the_environment_and_that_before_the_profile() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        std::fs::write(&config, "[default]\nregion = eu-north-1\n[profile work]\nregion=eu-west-1\ns3 =\n  region = x\nendpoint_url = https://store.example\n").unwrap();
        let credentials = folder.path().join("credentials");
        std::fs::write(&credentials, "# mine\n[work]\naws_access_key_id = id\naws_secret_access_key = a=b\n").unwrap();
        let files = [
            ("AWS_CONFIG_FILE", config.to_str().unwrap()),
            ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap()),
        ];

        let settings = gather(&bucket(), &files).unwrap();
        assert_eq!(
            (settings.region.as_str(), settings.endpoint.is_none(), settings.path_style),
            ("eu-north-1", true, false)
        );
        assert!(settings.profile.is_none());

        let work = [&files[..], &[("AWS_PROFILE", "work")]].concat();
        let settings = gather(&bucket(), &work).unwrap();
        let keys = settings.profile.unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.token), ("id", "a=b", None));
        assert_eq!(
            (settings.region.as_str(), settings.endpoint.as_deref()),
            ("eu-west-1", Some("https://store.example"))
        );

        let also = [&work[..], &[("AWS_REGION", "us-west-2"), ("AWS_ACCESS_KEY_ID", "other")]].concat();
        let settings = gather(&bucket(), &also).unwrap();
        assert_eq!((settings.region.as_str(), settings.profile.is_none()), ("us-west-2", true));
        let s3 = S3 { region: Some("here".to_owned()), ..bucket() };
        assert_eq!(gather(&s3, &also).unwrap().region, "here");
    }

    #[test]
    fn what_a_profile_cannot_do_here_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        std::fs::write(&config, "[profile work]\ncredential_process = /bin/secrets\n").unwrap();
        let file = ("AWS_CONFIG_FILE", config.to_str().unwrap());
        let message = gather(&bucket(), &[file, ("AWS_PROFILE", "work")]).err().unwrap().to_string();
        assert!(message.contains("credential_process") && message.contains("export-credentials"), "{message}");
        let message = gather(&bucket(), &[file, ("AWS_PROFILE", "other")]).err().unwrap().to_string();
        assert!(message.contains("no profile \"other\""), "{message}");
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        let at = |endpoint: &str| S3 { endpoint: Some(endpoint.to_owned()), ..bucket() };
        for endpoint in ["http://localhost:9000", "http://127.0.0.1:9000", "http://[::1]:9000"] {
            assert!(gather(&at(endpoint), &[]).unwrap().allow_http, "{endpoint}");
        }
        let message = gather(&at("http://store.example"), &[]).err().unwrap().to_string();
        assert!(message.contains("http://store.example") && message.contains("allow-http=true"), "{message}");
        assert!(gather(&S3 { allow_http: true, ..at("http://store.example") }, &[]).is_ok());
        assert_eq!(virtual_host("https://store.example:9000", "models").unwrap(), "https://models.store.example:9000");
    }
}
