//! A model release: its manifest, its files, and the checks that they belong together.
//!
//! A release is a folder with `release.json` (the manifest) and the files that the manifest names with their SHA-256.
//! The release's digest is the SHA-256 of the manifest's bytes, so it names every byte of the release.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::normalise;

/// File name of the manifest in a release's folder.
pub const MANIFEST_FILE: &str = "release.json";
/// The manifest's format; a reader refuses any other.
pub const SCHEMA: &str = "palisade-release/1";

/// Longest text that is read, in bytes of UTF-8; Perspective's limit.
pub const TEXT_BYTES_MAX: usize = 20_480;
/// Most texts in one call.
pub const TEXTS_MAX: usize = 64;
/// Most bytes of UTF-8 in one call.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Most spans for one text.
pub const SPANS_MAX: usize = 32;
/// Most words for one text.
pub const WORDS_MAX: usize = 32;

/// Why a release cannot be used. The message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The manifest is not one, or contradicts itself.
    #[error("{MANIFEST_FILE}: {0}")]
    Manifest(String),
    /// A file is not the one that the manifest names: cut short, changed, or of another release.
    #[error("{file}: {problem}; copy the release again, or train it again")]
    File {
        /// Name of the file, as in the manifest.
        file: String,
        /// What differs.
        problem: String,
    },
    /// Digests fit, but the engine cannot run the release.
    #[error("{file}: {problem}")]
    Unusable {
        /// Name of the file, as in the manifest.
        file: String,
        /// What the engine says.
        problem: String,
    },
}

/// Identity of a release, given with every score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Name of the model.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// SHA-256 of the manifest's bytes, lower-case hexadecimal.
    pub digest: String,
}

/// One attribute that a release scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Upper-case name, for example `TOXICITY`.
    pub name: String,
    /// Score at or above which a text counts as positive, and a person should look at it.
    pub threshold: f32,
    /// Where the release would trust a score without a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockThreshold>,
}

/// A threshold of the manifest, which says beside it what it was chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BlockThreshold {
    /// Score at or above which the text counts as harmful beyond doubt.
    pub threshold: f32,
}

/// What one call may ask for; see `limits` in `wit/classifier.wit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Texts in one call.
    pub texts_max: usize,
    /// Bytes of all texts of one call.
    pub batch_bytes_max: usize,
    /// Bytes of one text that are read.
    pub text_bytes_max: usize,
    /// Tokens of one text that are read, special tokens included.
    pub tokens_max: usize,
    /// Spans given for one text.
    pub spans_max: usize,
    /// Words given for one text.
    pub words_max: usize,
}

/// A file of the release and what its bytes must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Name in the release's folder.
    pub file: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

impl File {
    fn check(&self, content: &[u8]) -> Result<(), ReleaseError> {
        let problem = if content.len() as u64 != self.bytes {
            format!("is {} bytes long, but {MANIFEST_FILE} says {}", content.len(), self.bytes)
        } else if hex::encode(Sha256::digest(content)) != self.sha256 {
            format!("its SHA-256 is not the one in {MANIFEST_FILE}")
        } else {
            return Ok(());
        };
        Err(ReleaseError::File { file: self.file.clone(), problem })
    }
}

/// The part of `release.json` that decides scores. Provenance and metrics stand beside it, for people and `inspect`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the manifest: [`SCHEMA`].
    pub schema: String,
    /// Name of the model.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Languages, as ISO 639-1 codes.
    pub languages: Vec<String>,
    /// Labels in the order of the model's output.
    pub labels: Vec<Label>,
    /// Tokens that the model can read, special tokens included.
    pub tokens_max: usize,
    /// The rules that texts are normalised by before they are read, [`normalise::RULES`]; as they are where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalisation: Option<String>,
    /// The network: ONNX, from token ids to one logit a label.
    pub model: File,
    /// The tokenizer: a Hugging Face `tokenizer.json`.
    pub tokenizer: File,
    /// SHA-256 of the bytes this was read from.
    #[serde(skip)]
    pub digest: String,
}

impl Manifest {
    /// Reads a manifest and checks it against itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        let mut manifest: Self = serde_json::from_slice(bytes)
            .map_err(|e| ReleaseError::Manifest(format!("not a release manifest: {e}")))?;
        manifest.digest = hex::encode(Sha256::digest(bytes));
        manifest.check().map_err(ReleaseError::Manifest)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("schema is {:?}, but this version reads {SCHEMA:?}", self.schema));
        }
        let is_plain = |name: &str, also: &[u8]| {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || also.contains(&byte);
            !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.bytes().all(plain)
        };
        for (what, name, also) in [
            ("name", &self.name, b"-".as_slice()),
            ("version", &self.version, b"-.+"),
            ("model's file", &self.model.file, b"-._"),
            ("tokenizer's file", &self.tokenizer.file, b"-._"),
        ] {
            // They become file names and keys in a store.
            if !is_plain(name, also) {
                let signs = String::from_utf8_lossy(also);
                return Err(format!("{what} is {name:?}; only a to z, 0 to 9 and {signs} are allowed, 64 at most"));
            }
        }
        if self.labels.is_empty() {
            return Err("labels must not be empty".into());
        }
        for (i, label) in self.labels.iter().enumerate() {
            if label.name.is_empty()
                || !label.name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            {
                return Err(format!("label {:?} is not in upper case like TOXICITY", label.name));
            }
            if self.labels.iter().take(i).any(|other| other.name == label.name) {
                return Err(format!("label {} is there twice", label.name));
            }
            if !(0.0..=1.0).contains(&label.threshold) {
                return Err(format!("threshold of {} is {}, not within 0 and 1", label.name, label.threshold));
            }
            if let Some(BlockThreshold { threshold }) = label.block
                && !(label.threshold..=1.0).contains(&threshold)
            {
                return Err(format!(
                    "block threshold of {} is {threshold}, not within its threshold ({}) and 1",
                    label.name, label.threshold
                ));
            }
        }
        if !(4..=8192).contains(&self.tokens_max) {
            return Err(format!("tokens_max is {}, not within 4 and 8192", self.tokens_max));
        }
        if let Some(other) = self.normalisation.as_deref().filter(|&rules| rules != normalise::RULES) {
            let known = normalise::RULES;
            return Err(format!(
                "normalisation is {other:?}, but this version knows {known:?} alone: take the version of Palisade that the \
                 release was made for, or leave the key out where the model was trained on texts as they are"
            ));
        }
        Ok(())
    }

    /// Why its files cannot be packed, by the file that is at fault.
    #[cfg(feature = "encoder")]
    pub(crate) fn not_packed(&self, error: &palisade_encoder::ImportError) -> ReleaseError {
        let file = match error {
            palisade_encoder::ImportError::Model(_) => &self.model.file,
            palisade_encoder::ImportError::Tokenizer(_) => &self.tokenizer.file,
        };
        ReleaseError::Unusable { file: file.clone(), problem: error.to_string() }
    }

    /// The identity given with every score.
    pub fn release(&self) -> Release {
        Release { name: self.name.clone(), version: self.version.clone(), digest: self.digest.clone() }
    }

    /// What one call may ask for.
    pub fn limits(&self) -> Limits {
        Limits {
            texts_max: TEXTS_MAX,
            batch_bytes_max: BATCH_BYTES_MAX,
            text_bytes_max: TEXT_BYTES_MAX,
            tokens_max: self.tokens_max,
            spans_max: SPANS_MAX,
            words_max: WORDS_MAX,
        }
    }
}

/// The bytes of a release.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseFiles<'a> {
    /// `release.json`.
    pub manifest: &'a [u8],
    /// The ONNX file.
    pub model: &'a [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
}

impl ReleaseFiles<'_> {
    /// Reads the manifest and checks that the other files are the ones that it names.
    pub fn verify(&self) -> Result<Manifest, ReleaseError> {
        let manifest = Manifest::parse(self.manifest)?;
        manifest.model.check(self.model)?;
        manifest.tokenizer.check(self.tokenizer)?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(change: impl Fn(&mut serde_json::Value)) -> Result<Manifest, String> {
        let mut value = serde_json::json!({
            "schema": SCHEMA, "name": "n", "version": "1.0.0", "languages": ["en"], "tokens_max": 16,
            "labels": [{"name": "TOXICITY", "threshold": 0.5}],
            "model": {"file": "model.onnx", "bytes": 3, "sha256": hex::encode(Sha256::digest(b"abc"))},
            "tokenizer": {"file": "tokenizer.json", "bytes": 3, "sha256": hex::encode(Sha256::digest(b"def"))},
            "metrics": {"anything": "else"},
        });
        change(&mut value);
        Manifest::parse(value.to_string().as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_manifest_may_hold_more_than_is_read() {
        let parsed = manifest(|_| ()).unwrap();
        assert_eq!(parsed.labels[0].name, "TOXICITY");
        assert_eq!(parsed.digest.len(), 64);
    }

    #[test]
    fn each_contradiction_is_named() {
        let check = |change: fn(&mut serde_json::Value), expect: &str| {
            let message = manifest(change).unwrap_err();
            assert!(message.starts_with("release.json: ") && message.contains(expect), "{message}");
        };
        check(|m| m["schema"] = "palisade-release/9".into(), "palisade-release/9");
        check(|m| m["labels"] = serde_json::json!([]), "labels must not be empty");
        check(|m| m["labels"][0]["name"] = "toxic".into(), "upper case");
        check(|m| m["labels"][0]["threshold"] = 1.5.into(), "1.5");
        check(
            |m| m["labels"][0]["block"] = serde_json::json!({"threshold": 0.4}),
            "block threshold of TOXICITY is 0.4",
        );
        check(|m| m["tokens_max"] = 0.into(), "tokens_max is 0");
        check(
            |m| m["normalisation"] = "palisade-9".into(),
            "normalisation is \"palisade-9\", but this version knows \"palisade-2\"",
        );
        check(|m| m["model"]["file"] = "../../etc/passwd".into(), "model's file is \"../../etc/passwd\"");
        check(|m| m["tokenizer"]["file"] = "..".into(), "tokenizer's file");
        check(|m| m["name"] = "".into(), "name is \"\"");
        check(|m| m["name"] = serde_json::Value::Null, "not a release manifest");
    }

    #[test]
    fn normalisation_may_be_absent() {
        assert_eq!(manifest(|_| ()).unwrap().normalisation, None);
        assert_eq!(manifest(|m| m["normalisation"] = serde_json::Value::Null).unwrap().normalisation, None);
        let normalises = manifest(|m| m["normalisation"] = normalise::RULES.into()).unwrap();
        assert_eq!(normalises.normalisation.as_deref(), Some("palisade-2"));
    }

    #[test]
    fn a_cut_file_and_a_changed_file_are_told_apart() {
        let bytes = serde_json::to_vec(&manifest(|_| ()).unwrap()).unwrap();
        let check = |model: &[u8], expect: &str| {
            let files = ReleaseFiles { manifest: &bytes, model, tokenizer: b"def" };
            let message = files.verify().unwrap_err().to_string();
            assert!(message.starts_with("model.onnx: ") && message.contains(expect), "{message}");
        };
        check(b"ab", "2 bytes long, but release.json says 3");
        check(b"abd", "SHA-256");
        assert!(ReleaseFiles { manifest: &bytes, model: b"abc", tokenizer: b"def" }.verify().is_ok());
    }
}
