//! Profiles of the files that the AWS command line reads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// A profile of the shared configuration files,
/// <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>: plain keys, region and endpoint.
pub(crate) struct Profile {
    name: String,
    values: BTreeMap<String, String>,
}

/// Credentials. Secret, hence no `Debug`.
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl Profile {
    pub(crate) fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let named = variable("AWS_PROFILE");
        let name = named.clone().unwrap_or_else(|| "default".to_owned());
        let home = variable("HOME").map(PathBuf::from);
        let mut values = BTreeMap::new();
        let mut is_found = false;
        // The credentials file comes last: its keys go before the configuration file's.
        for (file_variable, file, prefix) in
            [("AWS_CONFIG_FILE", ".aws/config", "profile "), ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", "")]
        {
            let Some(path) = variable(file_variable).map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(file)))
            else {
                continue;
            };
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::file(path, "read it", e)),
            };
            let section = if name == "default" { name.clone() } else { format!("{prefix}{name}") };
            is_found |= section_of(&text, &section, &mut values);
        }
        if named.is_some() && !is_found {
            return Err(Error::Invalid(format!(
                "there is no profile {name:?} (AWS_PROFILE) in ~/.aws/config or ~/.aws/credentials: add it, or unset the variable"
            )));
        }
        Ok(Self { name, values })
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.values.get(key).cloned()
    }

    pub(crate) fn keys(&self) -> Result<Option<Keys>> {
        if let (Some(id), Some(secret)) = (self.get("aws_access_key_id"), self.get("aws_secret_access_key")) {
            return Ok(Some(Keys { id, secret, token: self.get("aws_session_token") }));
        }
        let cannot = ["credential_process", "sso_session", "sso_start_url", "source_profile"];
        match cannot.iter().find(|key| self.values.contains_key(**key)) {
            Some(key) => Err(Error::Invalid(format!(
                "profile {:?} has {key}, which is not read here: run `eval \"$(aws configure export-credentials --format env)\"` \
                 first, which puts keys into the environment",
                self.name
            ))),
            None => Ok(None),
        }
    }
}

/// Adds the keys of a section to `values`; false where there is no such section.
fn section_of(text: &str, section: &str, values: &mut BTreeMap<String, String>) -> bool {
    let mut is_inside = false;
    let mut is_found = false;
    for line in text.lines() {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            is_inside = name.split_whitespace().eq(section.split_whitespace());
            is_found |= is_inside;
        // What is indented belongs to the key above.
        } else if is_inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            values.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    is_found
}
