//! A version that was pulled before, without the store that it came from.

use std::path::Path;

use bytes::Bytes;

use crate::digest::Digest;
use crate::documents::{DOCUMENT_BYTES_MAX, MANIFEST, MANIFEST_SCHEMA, SIGNATURE, parse};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::pull::{Pulled, Unverified, check_files};

/// Checks a folder that [`Registry::pull`](crate::Registry::pull) made as if it was pulled now: `trust` first, then each file's digest.
pub async fn reopen(folder: &Path, trust: impl FnOnce(&Unverified<'_>) -> Result<(), String>) -> Result<Pulled> {
    let read = |name: &str| {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).map_err(|e| Error::file(&path, "read it", e))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            let problem = format!("{}: {} bytes, and {DOCUMENT_BYTES_MAX} are allowed", path.display(), bytes.len());
            return Err(Error::Invalid(problem));
        }
        Ok(Bytes::from(bytes))
    };
    let document = read(MANIFEST)?;
    let object = folder.join(MANIFEST).display().to_string();
    let manifest: Manifest = parse(&object, &document, MANIFEST_SCHEMA)?;
    let remedy = || "remove the folder, and pull the version again".to_owned();
    let corrupt = |problem| Error::Corrupt { object: object.clone(), problem, remedy: remedy() };
    manifest.check(&manifest.name, &manifest.version).map_err(corrupt)?;
    let signature = if folder.join(SIGNATURE).is_file() { Some(read(SIGNATURE)?) } else { None };
    let digest = Digest::of(&document);
    let (model, version, digests) = (&manifest.name, &manifest.version, manifest.digests(digest));
    let unverified = Unverified { model, version, digests: &digests, signature: signature.as_deref() };
    trust(&unverified).map_err(|reason| Error::Untrusted { version: format!("{model}@{version}"), reason })?;
    check_files(folder, &manifest).await?;
    Ok(Pulled { folder: folder.to_owned(), manifest, digest, bytes_fetched: 0 })
}
