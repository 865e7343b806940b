//! The files of a release on this machine, before they are published.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Digest;
use crate::documents::{DOCUMENT_BYTES_MAX, RELEASE, is_reserved};
use crate::error::{Error, Result};
use crate::manifest::{FILE_BYTES_MAX, FILES_MAX, File};
use crate::names::{FileName, ModelName, Version};

/// The card has this name in a registry, and in a release's folder the one that hosting sites show.
const CARD: &str = "card.md";
const README: &str = "README.md";

/// The files of a release, by the names that they get in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFiles {
    pub(crate) folder: PathBuf,
    pub(crate) files: BTreeMap<FileName, PathBuf>,
}

/// A release's files, read and found to belong together.
pub(crate) struct Read {
    pub(crate) name: ModelName,
    pub(crate) version: Version,
    pub(crate) release_digest: Digest,
    pub(crate) files: Vec<(File, PathBuf)>,
}

/// What of release.json decides here; the rest is the engine's, and the caller's to check.
#[derive(Deserialize)]
struct Release {
    name: ModelName,
    version: Version,
    model: Option<Part>,
    tokenizer: Option<Part>,
}

#[derive(Deserialize)]
struct Part {
    file: FileName,
    sha256: Digest,
}

impl ReleaseFiles {
    /// All files of a folder, with README.md as `card.md`. Hidden files, folders, and what `pull` adds are left out.
    pub fn folder(folder: &Path) -> Result<Self> {
        let failed = |e| Error::file(folder, "read the release's folder", e);
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || is_reserved(&name) || !path.is_file() {
                continue;
            }
            let name = if name == README { CARD } else { &name };
            let name = FileName::parse(name).map_err(|e| {
                Error::Invalid(format!(
                    "{}: {e}: rename the file, or move it out of the release's folder",
                    path.display()
                ))
            })?;
            if let Some(other) = files.insert(name, path) {
                let other = other.display();
                return Err(Error::Invalid(format!("{other}: {README} and {CARD} are the same file here: remove one")));
            }
        }
        Ok(Self { folder: folder.to_owned(), files })
    }

    /// With one more file, or another one of that name.
    pub fn with(mut self, name: &str, path: impl Into<PathBuf>) -> Result<Self> {
        let name = FileName::parse(name)?;
        if is_reserved(name.as_str()) {
            return Err(Error::Invalid(format!("{name} is a name of the registry's own: rename the file")));
        }
        self.files.insert(name, path.into());
        Ok(self)
    }

    /// The files' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &FileName> {
        self.files.keys()
    }

    /// Reads everything and checks that it belongs together; calls `progress` with the bytes of each file. Not for asynchronous
    /// threads.
    pub(crate) fn read(&self, mut progress: impl FnMut(u64)) -> Result<Read> {
        if self.files.len() > FILES_MAX {
            let (folder, count) = (self.folder.display(), self.files.len());
            return Err(Error::Invalid(format!("{folder}: {count} files are too many: {FILES_MAX} are allowed")));
        }
        let manifest = self.files.iter().find(|(name, _)| name.as_str() == RELEASE);
        let Some((_, manifest)) = manifest else {
            return Err(Error::Invalid(format!(
                "{}: there is no {RELEASE}: give the folder of a release, as training writes it",
                self.folder.display()
            )));
        };
        let too_long = |path: &Path, bytes: u64, max: u64| {
            Error::Invalid(format!("{}: it is {bytes} bytes long, and {max} are allowed", path.display()))
        };
        let mut files = Vec::new();
        for (name, path) in &self.files {
            let (sha256, bytes) = Digest::of_file(path)?;
            let max = if name.as_str() == RELEASE { DOCUMENT_BYTES_MAX } else { FILE_BYTES_MAX };
            if bytes > max {
                return Err(too_long(path, bytes, max));
            }
            progress(bytes);
            files.push((File { name: name.clone(), bytes, sha256 }, path.clone()));
        }
        let bytes = std::fs::read(manifest).map_err(|e| Error::file(manifest, "read it", e))?;
        let release: Release = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Invalid(format!("{}: not a release's manifest: {e}", manifest.display())))?;
        let read = Read { name: release.name, version: release.version, release_digest: Digest::of(&bytes), files };
        for part in [release.model, release.tokenizer].into_iter().flatten() {
            read.check(&part, &self.folder)?;
        }
        match read.file(RELEASE) {
            Some(file) if file.sha256 == read.release_digest => Ok(read),
            _ => Err(Error::Invalid(format!("{}: it changed while it was read: publish again", manifest.display()))),
        }
    }
}

impl Read {
    fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().map(|(file, _)| file).find(|file| file.name.as_str() == name)
    }

    fn check(&self, part: &Part, folder: &Path) -> Result<()> {
        let path = folder.join(part.file.as_str());
        let problem = match self.file(part.file.as_str()) {
            None => format!("{RELEASE} names it, and it is not there"),
            Some(file) if file.sha256 != part.sha256 => {
                format!("its SHA-256 is {}, and {RELEASE} says {}", file.sha256, part.sha256)
            }
            Some(_) => return Ok(()),
        };
        Err(Error::Invalid(format!("{}: {problem}: copy the release again, or train it again", path.display())))
    }
}
