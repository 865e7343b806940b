//! Writing on condition, so that the outcome is known.

use std::time::Duration;

use object_store::{Error as StoreError, ObjectStore as _, PutMode, PutOptions, PutResult, UpdateVersion};

use super::{Created, Discard, Etag, PAUSE, Store, Swap, generic};
use crate::digest::{Content, Digest};
use crate::documents::DOCUMENT_BYTES_MAX;
use crate::error::Result;

/// How often a write is tried whose outcome is unknown.
const ATTEMPTS: u32 = 5;
/// An upload may take the time limit of a request, and a second for so many bytes.
const BYTES_PER_SECOND_MIN: u64 = 128 << 10;

impl Store {
    /// Creates an object that must not exist yet. Where it is unknown what became of the attempt (the connection was cut after the
    /// store had it; the store failed and kept it all the same), what is there is compared with what we wrote.
    pub(crate) async fn create(&self, name: &str, content: &Content) -> Result<Created> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.put(name, content, PutMode::Create).await {
                Ok(result) => return self.etag(name, result.e_tag, || content.digest).map(Created::Ours),
                Err(error) if is_final(&error) => return Err(self.failed(name, "create it", error)),
                Err(error) => error,
            };
            match self.compare(name, content.digest, content.bytes).await? {
                Some((etag, true)) => return Ok(Created::Ours(etag)),
                Some((_, false)) => return Ok(Created::Other),
                // Not there: the attempt failed, or another writer's is still on its way (409 of S3).
                None if attempt < ATTEMPTS => tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await,
                None => return Err(self.failed(name, "create it", error)),
            }
        }
    }

    /// Replaces an object that must still be the one that `known` marks; none where it is not. Contents must be unique (documents
    /// that are replaced hold a random number), so that finding our bytes there means that we wrote them.
    pub(crate) async fn replace(&self, name: &str, content: &Content, known: &Etag) -> Result<Option<Etag>> {
        let lock = match &self.swap {
            Swap::Native => None,
            Swap::Locked(locks) => Some(locks.lock(&name.replace('/', "+")).await?),
        };
        let mut attempt = 0;
        let replaced = loop {
            attempt += 1;
            let outcome = if lock.is_some() {
                match self.read(name).await? {
                    Some(current) if current.etag == *known => self.put(name, content, PutMode::Overwrite).await,
                    _ => break None,
                }
            } else {
                let update = UpdateVersion { e_tag: Some(known.0.clone()), version: None };
                self.put(name, content, PutMode::Update(update)).await
            };
            let error = match outcome {
                Ok(result) => break Some(self.etag(name, result.e_tag, || content.digest)?),
                // A folder's answer is the truth.
                Err(error) if lock.is_some() || is_final(&error) => {
                    return Err(self.failed(name, "replace it", error));
                }
                Err(error) => error,
            };
            match self.compare(name, content.digest, content.bytes).await? {
                Some((etag, true)) => break Some(etag),
                Some((etag, false)) if etag == *known && attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
                }
                Some((etag, false)) if etag == *known => return Err(self.failed(name, "replace it", error)),
                _ => break None,
            }
        };
        drop(lock);
        Ok(replaced)
    }

    /// Whether the object has these bytes; none where it is absent.
    pub(crate) async fn compare(&self, name: &str, digest: Digest, bytes: u64) -> Result<Option<(Etag, bool)>> {
        let Some(meta) = self.patiently(|| self.head_once(name)).await? else { return Ok(None) };
        if meta.size != bytes {
            return Ok(Some((Etag(meta.e_tag.unwrap_or_default()), false)));
        }
        let Some((found, _)) = self.stream(name, bytes, Discard).await? else { return Ok(None) };
        Ok(Some((self.etag(name, meta.e_tag, || found)?, found == digest)))
    }

    async fn put(&self, name: &str, content: &Content, mode: PutMode) -> Result<PutResult, StoreError> {
        let path = self.path(name).map_err(|e| generic(e.to_string()))?;
        let options = PutOptions::from(mode);
        if content.bytes <= DOCUMENT_BYTES_MAX {
            return self.clients.documents.put_opts(&path, content.payload.clone(), options).await;
        }
        let limit = self.limits.request + Duration::from_secs(content.bytes / BYTES_PER_SECOND_MIN);
        let put = self.clients.uploads.put_opts(&path, content.payload.clone(), options);
        match tokio::time::timeout(limit, put).await {
            Ok(result) => result,
            Err(_) => Err(generic(format!("no answer within {} s", limit.as_secs()))),
        }
    }
}

/// Whether trying again, or looking at what is there, cannot change the outcome.
fn is_final(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotFound { .. }
            | StoreError::PermissionDenied { .. }
            | StoreError::Unauthenticated { .. }
            | StoreError::NotImplemented { .. }
            | StoreError::NotSupported { .. }
            | StoreError::InvalidPath { .. }
            | StoreError::UnknownConfigurationKey { .. }
    )
}
