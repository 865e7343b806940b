//! A version's manifest, and the tombstone in its place.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Time};
use crate::documents::{MANIFEST, RELEASE, is_reserved};
use crate::names::{FileName, ModelName, Version};

/// Most files of a version.
pub const FILES_MAX: usize = 1000;
/// Longest file of a version, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// What a version is: `manifest.json`, the last object that `publish` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`crate::MANIFEST_SCHEMA`].
    pub schema: String,
    /// The model.
    pub name: ModelName,
    /// The version.
    pub version: Version,
    /// SHA-256 of release.json, which comes with every score.
    pub release_digest: Digest,
    /// The files, sorted by name.
    pub files: Vec<File>,
    /// When it was first attempted to publish it.
    pub created: Time,
    /// By whom.
    pub publisher: String,
    /// What it was made of.
    #[serde(default)]
    pub lineage: Lineage,
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name.
    pub name: FileName,
    /// Its length.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// What a version was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lineage {
    /// The version that it was trained from, or is to follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Version>,
    /// The data that it was trained on.
    pub data: Vec<Data>,
    /// Revision of the code that trained it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_revision: Option<String>,
}

/// Data that a release was trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Its name.
    pub name: String,
    /// Its digest.
    pub sha256: Digest,
}

impl Manifest {
    /// What a signature covers: each file and `manifest.json` itself (of which `digest` is the SHA-256), sorted by name.
    pub fn digests(&self, digest: Digest) -> Vec<(String, Digest)> {
        let mut all: Vec<_> = self.files.iter().map(|file| (file.name.to_string(), file.sha256)).collect();
        all.push((MANIFEST.to_owned(), digest));
        all.sort();
        all
    }

    /// Length of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|file| file.name.as_str() == name)
    }

    /// Checks it against itself and its place.
    pub(crate) fn check(&self, model: &ModelName, version: &Version) -> Result<(), String> {
        if (&self.name, &self.version) != (model, version) {
            return Err(format!("it is of {}@{}, and must be of {model}@{version}", self.name, self.version));
        }
        if self.files.len() > FILES_MAX {
            return Err(format!("it names {} files, and may name {FILES_MAX}", self.files.len()));
        }
        if let Some(file) =
            self.files.iter().find(|file| file.bytes > FILE_BYTES_MAX || is_reserved(file.name.as_str()))
        {
            return Err(format!(
                "it names {} of {} bytes; at most {FILE_BYTES_MAX} bytes are allowed, and no name of the registry's own",
                file.name, file.bytes
            ));
        }
        if !self.files.is_sorted_by(|a, b| a.name < b.name) {
            return Err("its files are not sorted, or one is there twice".to_owned());
        }
        match self.file(RELEASE) {
            Some(file) if file.sha256 == self.release_digest => Ok(()),
            _ => Err(format!("it does not name {RELEASE} with the release's digest {}", self.release_digest)),
        }
    }
}

/// What stands in a manifest's place after leftovers were swept up: readers take it for absence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tombstone {
    pub(crate) schema: String,
    pub(crate) swept: Swept,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swept {
    pub(crate) state: SweepState,
    pub(crate) who: String,
    pub(crate) when: Time,
    /// Random, so that no two tombstones are the same bytes.
    pub(crate) id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SweepState {
    Sweeping,
    Done,
}
