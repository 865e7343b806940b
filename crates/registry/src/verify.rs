//! Holding a version in the store against its manifest.

use futures_util::{StreamExt as _, stream};

use crate::digest::Digest;
use crate::documents::is_reserved;
use crate::error::{Error, Result};
use crate::layout;
use crate::list::Problem;
use crate::manifest::Manifest;
use crate::names::Reference;
use crate::pull::{Unverified, check_file};
use crate::registry::Registry;
use crate::store::Discard;

/// Files on their way at once.
const FILES_AT_ONCE: usize = 4;

/// What was found of a version.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The version.
    pub manifest: Manifest,
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// Whether there is a signature; the caller's check saw it.
    pub is_signed: bool,
    /// Files that are not what the manifest says.
    pub problems: Vec<Problem>,
    /// Objects beside the version's own, which nothing reads: left by a publisher who came too late; `gc` removes them.
    pub others: Vec<String>,
}

impl Registry {
    /// Fetches every file of a version and checks it, after showing digests and signature to `trust`.
    pub async fn verify(
        &self,
        reference: &Reference,
        trust: impl FnOnce(&Unverified<'_>) -> Result<(), String> + Send,
    ) -> Result<Verified> {
        let whole = self.fetch(reference).await?;
        let is_signed = self.trusted(&whole, trust).await?.is_some();
        let Manifest { name, version, files, .. } = &whole.manifest;
        let folder = layout::version(name, version);
        // Owned, for the compiler does not see that closures over borrowed items make futures for any thread.
        let checks = stream::iter(files.clone().into_iter().map(async |file| {
            let object = format!("{folder}/{}", file.name);
            let found = self.store.stream(&object, file.bytes, Discard).await?;
            check_file(&self.store.address(&object), &file, found)
        }));
        let mut problems = Vec::new();
        for check in checks.buffered(FILES_AT_ONCE).collect::<Vec<Result<(), Error>>>().await {
            if let Err(error) = check {
                problems.push(Problem::of(error)?);
            }
        }
        let others = self.store.list(&folder).await?.into_iter().map(|object| object.name);
        let is_own = |object: &String| {
            let name = object.rsplit('/').next().unwrap_or_default();
            is_reserved(name) || files.iter().any(|file| file.name.as_str() == name)
        };
        let others = others.filter(|object| !is_own(object)).map(|object| self.store.address(&object)).collect();
        Ok(Verified { is_signed, problems, others, digest: whole.digest, manifest: whole.manifest })
    }
}
