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
use crate::registry::{Registry, Resolved, Whole};
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
    /// Whether the folder is the caller's cache: what else is there may be overwritten.
    pub owns_folder: bool,
    /// Is told how far it is.
    pub progress: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
}

impl<'a> PullOptions<'a> {
    /// Trusts what this function does.
    pub fn trusting(trust: impl FnOnce(&Unverified<'_>) -> Result<(), String> + Send + 'a) -> Self {
        Self { trust: Box::new(trust), owns_folder: false, progress: None }
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
    /// Pulls a version into a folder of its own, which must not exist, be empty, or hold this version already; then what of it is
    /// damaged, and the signature, are made anew. The digests and the signature are shown to `trust` before any file is fetched; each
    /// file's digest is checked while it is fetched. What an interrupted pull has fetched lies in a hidden folder beside it, and is used.
    pub async fn pull(&self, reference: &Reference, folder: &Path, options: PullOptions<'_>) -> Result<Pulled> {
        let resolved = self.resolve(reference).await?;
        self.pull_resolved(&resolved, folder, options).await
    }

    /// The same, for what a reference stood for. A version of another digest is not fetched.
    pub async fn pull_resolved(&self, resolved: &Resolved, folder: &Path, options: PullOptions<'_>) -> Result<Pulled> {
        let whole = self.fetch_resolved(resolved).await?;
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
        let is_there = is_there(folder)?;
        if is_there && !options.owns_folder {
            check_manifest(folder, &whole)?;
        }
        let filled = if is_there { folder } else { &staging };
        let bytes_fetched = self.fill(filled, &whole.manifest, options.progress).await?;
        for (name, bytes) in &documents {
            write_synced(&filled.join(name), bytes)?;
        }
        if documents.len() < 2 {
            remove(&filled.join(SIGNATURE))?;
        }
        sync(filled)?;
        if !is_there {
            std::fs::rename(&staging, folder).map_err(|e| Error::file(folder, "put it in place", e))?;
            sync(folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        }
        lock.remove()?;
        Ok(Pulled { folder: folder.to_owned(), manifest: whole.manifest, digest: whole.digest, bytes_fetched })
    }

    /// Shows a version's digests and signature to `trust`, and fetches nothing else.
    pub async fn check(
        &self,
        resolved: &Resolved,
        trust: impl FnOnce(&Unverified<'_>) -> Result<(), String> + Send,
    ) -> Result<()> {
        let whole = self.fetch_resolved(resolved).await?;
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

/// That a folder is of this version, whole or not.
fn check_manifest(folder: &Path, whole: &Whole) -> Result<()> {
    if std::fs::read(folder.join(MANIFEST)).is_ok_and(|found| found == whole.bytes) {
        return Ok(());
    }
    let Manifest { name, version, .. } = &whole.manifest;
    let folder = folder.display();
    Err(Error::Invalid(format!(
        "{folder}: the folder exists and is not {name}@{version}: remove it, or pull into another"
    )))
}

/// That a folder holds the files of a version.
pub(crate) async fn check_files(folder: &Path, manifest: &Manifest) -> Result<()> {
    for file in &manifest.files {
        let path = folder.join(file.name.as_str());
        if !path.is_file() || !is_right(&path, file).await? {
            let problem = format!("it is not the file that {MANIFEST} says");
            let remedy = "it was damaged or tampered with: pull the version again, which mends it".to_owned();
            return Err(Error::Corrupt { object: path.display().to_string(), problem, remedy });
        }
    }
    Ok(())
}

/// Writes a file that is there whole or not at all, also behind a power cut. What is there and the same is left alone.
fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;

    if std::fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let part = path.with_file_name(format!(".{}.part", path.file_name().unwrap_or_default().to_string_lossy()));
    let write = || {
        let mut file = std::fs::File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|e| Error::file(path, "write it", e))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file(path, "remove it", e)),
        _ => Ok(()),
    }
}

/// Has the names in a folder outlast a power cut.
fn sync(folder: &Path) -> Result<()> {
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|e| Error::file(folder, "write it to the disk", e))
}
