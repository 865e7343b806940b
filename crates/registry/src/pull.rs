//! Pulling a version into a folder, which appears whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::io::AsyncWriteExt as _;

use crate::digest::Digest;
use crate::documents::{MANIFEST, SIGNATURE};
use crate::error::{Error, Result};
use crate::layout;
use crate::lock::Lock;
use crate::manifest::{File, Manifest};
use crate::names::{ModelName, Reference, Version};
use crate::publish::{Progress, Step, blocking};
use crate::registry::{Registry, Whole};
use crate::store::AsyncPiece;

/// Files on their way at once.
const FILES_AT_ONCE: usize = 4;
/// How long to wait for another process that pulls into the same folder.
const WAIT: Duration = Duration::from_mins(30);

/// A version before anything of it is believed.
#[derive(Debug, Clone, Copy)]
pub struct Unverified<'a> {
    /// The model that was asked for.
    pub model: &'a ModelName,
    /// The version.
    pub version: &'a Version,
    /// Each file's digest, and `manifest.json`'s, sorted by name: what is signed, and what fetched files are held against.
    pub digests: &'a [(String, Digest)],
    /// The signature, where there is one.
    pub signature: Option<&'a [u8]>,
}

/// Says whether to trust a version, and why not.
pub type Trust<'a> = Box<dyn FnOnce(&Unverified<'_>) -> Result<(), String> + Send + 'a>;

/// How a version is to be pulled.
#[expect(missing_debug_implementations, reason = "it holds functions")]
pub struct PullOptions<'a> {
    /// Asked before any file is fetched.
    pub trust: Trust<'a>,
    /// Is told how far it is.
    pub progress: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
}

impl<'a> PullOptions<'a> {
    /// Trusts what this function does.
    pub fn trusting(trust: impl FnOnce(&Unverified<'_>) -> Result<(), String> + Send + 'a) -> Self {
        Self { trust: Box::new(trust), progress: None }
    }
}

/// A version in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The folder: all files, `manifest.json` and, where there is one, `signature`.
    pub folder: PathBuf,
    /// The version.
    pub manifest: Manifest,
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// Bytes that were fetched; what was there and right was not fetched again.
    pub bytes_fetched: u64,
}

impl Registry {
    /// Pulls a version into a folder of its own, which must not exist, be empty, or hold this version already. The digests and the
    /// signature are shown to `trust` before any file is fetched; each file's digest is checked while it is fetched. What an interrupted
    /// pull has fetched lies in a hidden folder beside it, and is used.
    pub async fn pull(&self, reference: &Reference, folder: &Path, options: PullOptions<'_>) -> Result<Pulled> {
        let whole = self.fetch(reference).await?;
        let signature = self.trusted(&whole, options.trust).await?;
        let (parent, name) = (folder.parent().unwrap_or(Path::new("")), folder.file_name().unwrap_or_default());
        let hidden = format!(".{}.pull", name.to_string_lossy());
        let staging = parent.join(format!("{hidden}-{}", whole.digest));
        if name.is_empty() {
            return Err(Error::Invalid(format!("{}: the folder to pull into needs a name", folder.display())));
        }
        if !parent.as_os_str().is_empty() {
            std::fs::create_dir_all(parent).map_err(|e| Error::file(parent, "create it", e))?;
        }
        let lock = Lock::take(&parent.join(hidden), WAIT).await?;
        let mut documents = vec![(MANIFEST, whole.bytes.clone())];
        documents.extend(signature.map(|signature| (SIGNATURE, signature)));
        let bytes_fetched = if is_there(folder)? {
            check_folder(folder, &whole.manifest, &documents).await?;
            0
        } else {
            let fetched = self.fill(&staging, &whole.manifest, options.progress).await?;
            finish(&staging, folder, &documents)?;
            fetched
        };
        lock.remove()?;
        Ok(Pulled { folder: folder.to_owned(), manifest: whole.manifest, digest: whole.digest, bytes_fetched })
    }

    /// Shows a version's digests and signature to `trust`, and fetches nothing else.
    pub async fn check(
        &self,
        reference: &Reference,
        trust: impl FnOnce(&Unverified<'_>) -> Result<(), String> + Send,
    ) -> Result<()> {
        let whole = self.fetch(reference).await?;
        self.trusted(&whole, trust).await.map(drop)
    }

    /// The signature of a version, after the caller's check of it.
    pub(crate) async fn trusted(
        &self,
        whole: &Whole,
        trust: impl FnOnce(&Unverified<'_>) -> Result<(), String> + Send,
    ) -> Result<Option<Bytes>> {
        let Manifest { name: model, version, .. } = &whole.manifest;
        let signature = self.store.read(&layout::file(model, version, SIGNATURE)).await?.map(|document| document.bytes);
        let digests = whole.manifest.digests(whole.digest);
        let unverified = Unverified { model, version, digests: &digests, signature: signature.as_deref() };
        trust(&unverified).map_err(|reason| Error::Untrusted { version: format!("{model}@{version}"), reason })?;
        Ok(signature)
    }

    /// Fetches what is not in the folder yet; gives the bytes that were fetched.
    async fn fill(
        &self,
        folder: &Path,
        manifest: &Manifest,
        progress: Option<&(dyn Fn(Progress) + Send + Sync)>,
    ) -> Result<u64> {
        std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, "create it", e))?;
        let (done, fetched) = (AtomicU64::new(0), AtomicU64::new(0));
        // Owned, for the compiler does not see that closures over borrowed items make futures for any thread.
        let fetching = manifest.files.clone().into_iter().map(async |file| {
            let path = folder.join(file.name.as_str());
            if !path.is_file() || !is_right(&path, &file).await? {
                self.fetch_file(manifest, &file, &path).await?;
                fetched.fetch_add(file.bytes, Ordering::Relaxed);
            }
            let done = done.fetch_add(file.bytes, Ordering::Relaxed) + file.bytes;
            if let Some(progress) = progress {
                progress(Progress { step: Step::Fetching, done, total: manifest.bytes() });
            }
            Ok::<_, Error>(())
        });
        stream::iter(fetching).buffer_unordered(FILES_AT_ONCE).try_collect::<()>().await?;
        Ok(fetched.into_inner())
    }

    async fn fetch_file(&self, manifest: &Manifest, file: &File, path: &Path) -> Result<()> {
        let part = path.with_file_name(format!(".{}.part", file.name));
        let name = layout::file(&manifest.name, &manifest.version, file.name.as_str());
        let failed = |e| Error::file(&part, "write it", e);
        let mut target = ToFile { file: tokio::fs::File::create(&part).await.map_err(failed)?, path: part.clone() };
        let found = self.store.stream(&name, file.bytes, &mut target).await?;
        check_file(&self.store.address(&name), file, found)?;
        // What a write of tokio's met is told by the next call, and by `sync_all` not at all.
        target.file.flush().await.map_err(failed)?;
        target.file.sync_all().await.map_err(failed)?;
        tokio::fs::rename(&part, path).await.map_err(|e| Error::file(path, "put it in place", e))
    }
}

struct ToFile {
    file: tokio::fs::File,
    path: PathBuf,
}

impl AsyncPiece for &mut ToFile {
    async fn take(&mut self, piece: Bytes) -> Result<()> {
        self.file.write_all(&piece).await.map_err(|e| Error::file(&self.path, "write it", e))
    }
}

/// Compares what was found with what the manifest says.
pub(crate) fn check_file(object: &str, file: &File, found: Option<(Digest, u64)>) -> Result<()> {
    let problem = match found {
        Some(found) if found == (file.sha256, file.bytes) => return Ok(()),
        None => "it is not there".to_owned(),
        Some((_, bytes)) if bytes > file.bytes => {
            format!("it is longer than the {} bytes that {MANIFEST} says", file.bytes)
        }
        Some((_, bytes)) if bytes < file.bytes => {
            format!("it is {bytes} bytes long, and {MANIFEST} says {}", file.bytes)
        }
        Some((digest, _)) => format!("its SHA-256 is {digest}, and {MANIFEST} says {}", file.sha256),
    };
    Err(Error::Corrupt {
        object: object.to_owned(),
        problem,
        remedy: "it was damaged or tampered with: restore it from a copy of the store, or retire the version"
            .to_owned(),
    })
}

async fn is_right(path: &Path, file: &File) -> Result<bool> {
    let path = path.to_owned();
    Ok(blocking(move || Digest::of_file(&path)).await? == (file.sha256, file.bytes))
}

fn is_there(folder: &Path) -> Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::file(folder, "look into it", e)),
    }
}

/// That a folder holds this version.
pub(crate) async fn check_folder(folder: &Path, manifest: &Manifest, documents: &[(&str, Bytes)]) -> Result<()> {
    let other = |name: &str| {
        let version = format!("{}@{}", manifest.name, manifest.version);
        Error::Invalid(format!(
            "{}: the folder exists and is not {version} ({name} differs): remove it, or pull into another",
            folder.display()
        ))
    };
    for (name, bytes) in documents {
        if std::fs::read(folder.join(name)).ok().as_deref() != Some(bytes) {
            return Err(other(name));
        }
    }
    for file in &manifest.files {
        let path = folder.join(file.name.as_str());
        if !path.is_file() || !is_right(&path, file).await? {
            return Err(other(file.name.as_str()));
        }
    }
    Ok(())
}

/// Adds the documents, and puts the folder in its place.
fn finish(staging: &Path, folder: &Path, documents: &[(&str, Bytes)]) -> Result<()> {
    for (name, bytes) in documents {
        let path = staging.join(name);
        std::fs::write(&path, bytes).map_err(|e| Error::file(path, "write it", e))?;
    }
    std::fs::rename(staging, folder).map_err(|e| Error::file(folder, "put it in place", e))
}
