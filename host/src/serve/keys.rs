//! API keys, kept as hashes, and how often each may ask.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use palisade_protocols::json::line_and_column;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Why a key is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal<'a> {
    Missing,
    Unknown,
    RateLimited { name: &'a str, requests_per_minute: u32, retry_after_ms: u32 },
}

/// The file of keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: String,
    /// SHA-256 of the key, in hexadecimal.
    sha256: toml::Spanned<String>,
    /// No limit where absent.
    requests_per_minute: Option<toml::Spanned<u32>>,
    /// Whether who has it may moderate in chat rooms.
    #[serde(default)]
    moderates: bool,
}

/// Known keys. A key is a random string of at least 128 bits (`palisade key new` makes one), so a plain SHA-256 of it cannot be
/// turned back, and comparing hashes tells nothing about the key.
#[derive(Debug)]
pub(super) struct Keys {
    by_hash: HashMap<[u8; 32], Key>,
}

#[derive(Debug)]
struct Key {
    name: String,
    requests_per_minute: Option<u32>,
    moderates: bool,
    bucket: Mutex<Bucket>,
}

/// A token bucket: a minute's requests at once at most, refilled evenly.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Keys {
    /// Reads a file. Errors have the file's name, line and column, and no hash.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}: API keys", path.display()))?;
        let at = |start: usize| {
            let (line, column) = line_and_column(&text, start);
            format!("{}: line {line} column {column}", path.display())
        };
        let file: File = match toml::from_str(&text) {
            Ok(file) => file,
            Err(error) => bail!("{}: {}", at(error.span().map_or(0, |span| span.start)), error.message()),
        };
        let mut by_hash = HashMap::new();
        for entry in file.key {
            let start = entry.sha256.span().start;
            let mut hash = [0; 32];
            if hex::decode_to_slice(entry.sha256.get_ref().trim(), &mut hash).is_err() {
                bail!("{}: sha256 must be 64 hexadecimal digits, as `palisade key new` prints them", at(start));
            }
            if let Some(limit) = entry.requests_per_minute.as_ref().filter(|limit| *limit.get_ref() == 0) {
                bail!("{}: requests-per-minute must be at least 1; leave it out for no limit", at(limit.span().start));
            }
            let requests_per_minute = entry.requests_per_minute.map(toml::Spanned::into_inner);
            let tokens = f64::from(requests_per_minute.unwrap_or_default());
            let bucket = Mutex::new(Bucket { tokens, at: Instant::now() });
            let key = Key { name: entry.name, requests_per_minute, moderates: entry.moderates, bucket };
            if let Some(other) = by_hash.insert(hash, key) {
                bail!("{}: the same key stands there twice, first as {:?}", at(start), other.name);
            }
        }
        if by_hash.is_empty() {
            bail!("{}: no keys; make one with `palisade key new NAME`, or serve without --keys", path.display());
        }
        Ok(Self { by_hash })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether this is a key that may moderate.
    pub(super) fn moderates(&self, key: Option<&str>) -> bool {
        let hash: Option<[u8; 32]> = key.map(|key| Sha256::digest(key).into());
        hash.and_then(|hash| self.by_hash.get(&hash)).is_some_and(|key| key.moderates)
    }

    /// Admits one request and returns the key's name.
    pub(super) fn admit(&self, key: Option<&str>, now: Instant) -> Result<&str, Refusal<'_>> {
        let hash: [u8; 32] = Sha256::digest(key.ok_or(Refusal::Missing)?).into();
        let key = self.by_hash.get(&hash).ok_or(Refusal::Unknown)?;
        if let Some(limit) = key.requests_per_minute {
            let mut bucket = key.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            let (capacity, a_second) = (f64::from(limit), f64::from(limit) / 60.0);
            bucket.tokens =
                now.saturating_duration_since(bucket.at).as_secs_f64().mul_add(a_second, bucket.tokens).min(capacity);
            bucket.at = bucket.at.max(now);
            if bucket.tokens < 1.0 {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 60,000")]
                let retry_after_ms = ((1.0 - bucket.tokens) / a_second * 1000.0).ceil() as u32;
                return Err(Refusal::RateLimited { name: &key.name, requests_per_minute: limit, retry_after_ms });
            }
            bucket.tokens -= 1.0;
        }
        Ok(&key.name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str) -> Result<Keys> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        Keys::read(file.path())
    }

    fn entry(key: &str, rest: &str) -> String {
        format!("[[key]]\nname = \"n\"\nsha256 = \"{}\"\n{rest}\n", hex::encode(Sha256::digest(key)))
    }

    #[test]
    fn a_key_is_admitted_as_often_as_it_may_ask() {
        let keys = read(&entry("secret", "requests-per-minute = 2")).unwrap();
        let now = Instant::now();
        assert_eq!(keys.admit(Some("secret"), now), Ok("n"));
        assert_eq!(keys.admit(Some("secret"), now), Ok("n"));
        let refusal = Err(Refusal::RateLimited { name: "n", requests_per_minute: 2, retry_after_ms: 30_000 });
        assert_eq!(keys.admit(Some("secret"), now), refusal);
        assert_eq!(keys.admit(Some("secret"), now + Duration::from_secs(30)), Ok("n"));
        assert_eq!(keys.admit(Some("other"), now), Err(Refusal::Unknown));
        assert_eq!(keys.admit(None, now), Err(Refusal::Missing));
    }

    #[test]
    fn a_file_that_is_wrong_is_refused_with_its_place() {
        for (text, words) in [
            (String::new(), "no keys"),
            ("[[key]]\nname = \"n\"\nsha256 = \"12\"".to_owned(), "line 3 column 10: sha256 must be 64"),
            (entry("a", "requests-per-minute = 0"), "line 4 column 23: requests-per-minute must be at least 1"),
            (entry("a", "rate = 1"), "line 4 column 1: unknown field `rate`"),
            (entry("a", "") + &entry("a", ""), "twice"),
        ] {
            let error = format!("{:#}", read(&text).expect_err(&text));
            assert!(error.contains(words), "{error}");
        }
    }
}
