//! Whom to believe: a trust policy says which keys may sign which models, and when.
//!
//! ```toml
//! schema = "palisade-trust/1"
//! unsigned = "refuse"                # the default; "allow" takes releases without a signature, by their digests alone
//!
//! [[key]]
//! name = "releases-2026"             # for people: what messages and logs say
//! public-key-file = "releases.pub"   # relative to this file; or public-key = """PEM"""
//! models = ["english-*"]             # `*` stands for any characters
//! not-before = 2026-01-01T00:00:00Z  # RFC 3339, both optional, both inclusive
//! not-after = 2027-12-31T23:59:59Z
//! ```
//!
//! **What time counts.** A signature made with a key has no trusted time in it: whoever has the key can write any
//! date. So the policy's dates are compared with the time at which a signature is *checked*. A release by a key that
//! has expired since is refused; have it signed again with the new key, or extend the date of a key that was never
//! lost. A key that was lost is taken out of the policy, and everything that it signed is refused from then on.
//!
//! **What is bound.** A signature is over names and digests of files. That a release is the one that was asked for
//! (model and version) says its `manifest.json`: it must be among the digests, and the caller compares it. A policy
//! cannot tell an old release from a new one; the alias does, which the registry's writers move.

use std::fmt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;

use crate::Unverified;
use crate::key::{KeyError, PublicKey};
use crate::signature::{Bundle, Digests, SignatureError};

/// A policy may be this long.
const POLICY_BYTES_MAX: u64 = 1 << 20;
const SCHEMA: &str = "palisade-trust/1";

/// Why a release is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The policy cannot be used: mend the file.
    #[error("trust policy {}: {problem}", .path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong in it, and what was expected.
        problem: String,
    },
    /// A key that the policy names cannot be used: mend the policy or the key's file.
    #[error("trust policy {}, key {name:?}: {source}", .path.display())]
    Key {
        /// The policy.
        path: PathBuf,
        /// The key's name in it.
        name: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// There is no signature, and the policy wants one.
    #[error(
        "{model} is not signed, and the trust policy expects a signature; sign it (`palisade model sign \
        NAME@VERSION --sign-key KEY --digest SHA256`, with the manifest's digest as `publish` printed it), or, to \
        take it by its digests alone, write unsigned = \"allow\" into the policy"
    )]
    Unsigned {
        /// The model.
        model: String,
    },
    /// Signed by a key that the policy does not name.
    #[error(
        "{model} is signed by the key {hint:?}, which is not in the trust policy; expected one of: {known}; \
        have it signed with one of these (`palisade model sign`), or, if you know its owner, add the public key to \
        the policy"
    )]
    UnknownKey {
        /// The model.
        model: String,
        /// The key's hint: the SHA-256 of its PEM file.
        hint: String,
        /// The policy's keys.
        known: String,
    },
    /// Signed by a key that may not sign this model.
    #[error(
        "{model} is signed by the key {key:?}, which the trust policy permits for {models} alone; \
        have it signed with another key, or add the model to the key's `models`"
    )]
    NotPermitted {
        /// The model.
        model: String,
        /// The key's name.
        key: String,
        /// What it may sign.
        models: String,
    },
    /// Signed by a key whose time has not come.
    #[error(
        "{model} is signed by the key {key:?}, which the trust policy permits from {not_before} on, and it is {now}; \
        is this machine's clock right? else wait, or change the key's `not-before`"
    )]
    NotYetValid {
        /// The model.
        model: String,
        /// The key's name.
        key: String,
        /// From when on it is valid.
        not_before: String,
        /// When it was checked.
        now: String,
    },
    /// Signed by a key whose time is over.
    #[error(
        "{model} is signed by the key {key:?}, which expired on {not_after}, and it is {now}; \
        have it signed again with a key that is valid, or change the key's `not-after`"
    )]
    Expired {
        /// The model.
        model: String,
        /// The key's name.
        key: String,
        /// Until when it was valid.
        not_after: String,
        /// When it was checked.
        now: String,
    },
    /// The signature does not hold: do not use the files.
    #[error("the signature of {model} {source}")]
    Signature {
        /// The model.
        model: String,
        /// Why not.
        source: SignatureError,
    },
}

/// What speaks for a release.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verified {
    /// A signature over all its files, by a key that may sign it.
    Signed {
        /// The key's name in the policy.
        key: String,
        /// The SHA-256 of its PEM file.
        hint: String,
    },
    /// Its digests alone: it is not signed, and the policy allows that.
    Unsigned,
    /// Its digests alone: there is no policy, and no signature was looked at.
    NoPolicy,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed { key, .. } => write!(f, "signed by {key:?}"),
            Self::Unsigned => f.write_str("not signed, which the trust policy allows"),
            Self::NoPolicy => f.write_str("no trust policy, no signature checked"),
        }
    }
}

/// A trust policy, or none.
#[derive(Debug, Clone)]
pub struct Trust {
    policy: Option<Policy>,
}

#[derive(Debug, Clone)]
struct Policy {
    keys: Vec<PermittedKey>,
    takes_unsigned: bool,
}

#[derive(Debug, Clone)]
struct PermittedKey {
    name: String,
    key: PublicKey,
    models: Vec<String>,
    not_before: Option<DateTime<Utc>>,
    not_after: Option<DateTime<Utc>>,
}

impl Trust {
    /// [`Trust::verify`] for a version that is being pulled, at this moment.
    pub fn check(&self, version: &Unverified<'_>) -> Result<Verified, TrustError> {
        let digests = version.digests.iter().map(|(name, digest)| (name.clone(), *digest.as_bytes())).collect();
        self.verify(version.model.as_str(), &digests, version.signature, Utc::now())
    }

    /// Whether every release must have the signature of a permitted key.
    pub fn refuses_unsigned(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| !policy.takes_unsigned)
    }

    /// No policy: releases are believed by their digests alone, signed or not.
    pub fn none() -> Self {
        Self { policy: None }
    }

    /// Reads a policy and the keys that it names. Nothing in it is passed over: what is not understood is an error.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let refuse = |problem: String| TrustError::Policy { path: path.to_owned(), problem };
        let unreadable = |error: std::io::Error| refuse(format!("cannot be read: {error}"));
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > POLICY_BYTES_MAX {
            return Err(refuse(format!("has {bytes} bytes, expected at most {POLICY_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let toml = |error: toml::de::Error| refuse(located(&text, &error));
        let Schema { schema } = toml::from_str(&text).map_err(toml)?;
        match schema.strip_prefix("palisade-trust/").map(str::parse::<u32>) {
            Some(Ok(1)) => {}
            Some(Ok(_)) => {
                let problem = format!("schema {schema:?} was made for a later palisade, expected {SCHEMA:?}; upgrade");
                return Err(refuse(problem));
            }
            _ => return Err(refuse(format!("schema is {schema:?}, expected {SCHEMA:?}"))),
        }
        let PolicyToml { unsigned, keys, .. } = toml::from_str(&text).map_err(toml)?;
        let keys = keys.into_iter().map(|key| permitted(key, path)).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() && unsigned == Unsigned::Refuse {
            let problem = "names no [[key]], so nothing could be trusted; expected at least one, with name, models \
                and public-key-file (`palisade model keygen` makes a pair)";
            return Err(refuse(problem.to_owned()));
        }
        for (index, key) in keys.iter().enumerate() {
            if let Some(other) = keys.iter().take(index).find(|other| other.name == key.name || other.key == key.key) {
                let problem = format!("keys {:?} and {:?} are the same; expected each once", other.name, key.name);
                return Err(refuse(problem));
            }
        }
        Ok(Self { policy: Some(Policy { keys, takes_unsigned: unsigned == Unsigned::Allow }) })
    }

    /// Whether there is a policy, so that signatures are looked at.
    pub fn has_policy(&self) -> bool {
        self.policy.is_some()
    }

    /// Checks that a release is to be trusted, before anything of it but the digests of its files is looked at.
    ///
    /// `digests` are those of all its files but the signature, `manifest.json` among them; that the files have these
    /// digests is for the caller to check. A signature that is there must hold, even where the policy takes unsigned
    /// releases: there is no use for a wrong one.
    pub fn verify(
        &self,
        model: &str,
        digests: &Digests,
        signature: Option<&[u8]>,
        now: DateTime<Utc>,
    ) -> Result<Verified, TrustError> {
        let Some(policy) = &self.policy else { return Ok(Verified::NoPolicy) };
        let Some(signature) = signature else {
            if policy.takes_unsigned {
                return Ok(Verified::Unsigned);
            }
            return Err(TrustError::Unsigned { model: model.to_owned() });
        };
        let refuse = |source: SignatureError| TrustError::Signature { model: model.to_owned(), source };
        let bundle = Bundle::parse(signature).map_err(refuse)?;
        let permitted = policy.permitted(model, &bundle, now)?;
        bundle.verify(&permitted.key, digests).map_err(refuse)?;
        Ok(Verified::Signed { key: permitted.name.clone(), hint: permitted.key.hint().to_owned() })
    }
}

impl Policy {
    /// The key that a bundle names, if it may sign the model, now.
    fn permitted(&self, model: &str, bundle: &Bundle, now: DateTime<Utc>) -> Result<&PermittedKey, TrustError> {
        let model = || model.to_owned();
        let Some(key) = self.keys.iter().find(|key| key.key.hint() == bundle.hint()) else {
            let known: Vec<_> = self.keys.iter().map(|key| format!("{:?} ({})", key.name, key.key.hint())).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(TrustError::UnknownKey { model: model(), hint: bundle.hint_shown(), known });
        };
        let name = || key.name.clone();
        if !key.models.iter().any(|pattern| matches(pattern, &model())) {
            return Err(TrustError::NotPermitted { model: model(), key: name(), models: key.models.join(", ") });
        }
        if let Some(not_before) = key.not_before.filter(|not_before| now < *not_before) {
            let (not_before, now) = (date(not_before), date(now));
            return Err(TrustError::NotYetValid { model: model(), key: name(), not_before, now });
        }
        if let Some(not_after) = key.not_after.filter(|not_after| now > *not_after) {
            let (not_after, now) = (date(not_after), date(now));
            return Err(TrustError::Expired { model: model(), key: name(), not_after, now });
        }
        Ok(key)
    }
}

/// A `[[key]]` with its key read and its fields checked.
fn permitted(key: KeyToml, path: &Path) -> Result<PermittedKey, TrustError> {
    let refuse = |problem: String| {
        let problem = format!("key {:?}: {problem}", key.name);
        TrustError::Policy { path: path.to_owned(), problem }
    };
    if key.name.trim().is_empty() {
        return Err(refuse("name is empty; expected one for messages, such as \"releases-2026\"".to_owned()));
    }
    if key.models.is_empty() {
        return Err(refuse("models is empty; expected names such as \"english-*\"".to_owned()));
    }
    for pattern in &key.models {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte);
        if pattern.is_empty() || !pattern.bytes().all(is_name) {
            let problem = format!("models has {pattern:?}; expected a-z, 0-9, `.`, `_`, `-`, and `*` for anything");
            return Err(refuse(problem));
        }
    }
    let when = |what: &str, value: &Option<toml::Value>| {
        let parsed = value.as_ref().map(parse_date);
        parsed.transpose().map_err(|found| {
            refuse(format!("{what} is {found}; expected a date with time and offset, as 2026-01-31T00:00:00Z"))
        })
    };
    let not_before = when("not-before", &key.not_before)?;
    let not_after = when("not-after", &key.not_after)?;
    if let (Some(from), Some(to)) = (not_before, not_after)
        && from > to
    {
        return Err(refuse(format!(
            "not-before {} is later than not-after {}; expected earlier",
            date(from),
            date(to)
        )));
    }
    let public = match (&key.public_key, &key.public_key_file) {
        (Some(pem), None) => PublicKey::from_pem(pem, "public-key"),
        (None, Some(file)) => PublicKey::read(&path.parent().unwrap_or(Path::new("")).join(file)),
        _ => return Err(refuse("expected either public-key, with PEM in it, or public-key-file".to_owned())),
    };
    let public = public.map_err(|source| TrustError::Key { path: path.to_owned(), name: key.name.clone(), source })?;
    Ok(PermittedKey { key: public, models: key.models, not_before, not_after, name: key.name })
}

/// A date of TOML's own kind or in a string; else, what was found.
fn parse_date(value: &toml::Value) -> Result<DateTime<Utc>, String> {
    let text = match value {
        toml::Value::Datetime(date) => date.to_string(),
        toml::Value::String(text) => text.clone(),
        other => return Err(format!("of type {}", other.type_str())),
    };
    DateTime::parse_from_rfc3339(&text).map(|date| date.to_utc()).map_err(|_| format!("{text:?}"))
}

fn date(date: DateTime<Utc>) -> String {
    date.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Whether a name is one that a pattern stands for: `*` is any run of characters, the empty one too.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        // The first place is as good as any later one: what is left is longest then.
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

/// What a TOML parser says, with the line.
fn located(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| before.matches('\n').count() + 1);
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{place}{}; expected a policy of schema {SCHEMA:?}", error.message().trim_end())
}

#[derive(Deserialize)]
struct Schema {
    schema: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PolicyToml {
    #[serde(rename = "schema")]
    _schema: String,
    #[serde(default)]
    unsigned: Unsigned,
    #[serde(default, rename = "key")]
    keys: Vec<KeyToml>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Unsigned {
    #[default]
    Refuse,
    Allow,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct KeyToml {
    name: String,
    public_key: Option<String>,
    public_key_file: Option<PathBuf>,
    models: Vec<String>,
    not_before: Option<toml::Value>,
    not_after: Option<toml::Value>,
}

#[cfg(test)]
mod tests;
