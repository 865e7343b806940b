//! Objects of one store, below the registry's prefix, with what `object_store` leaves to us: creating that settles what became of
//! an attempt, and compare-and-swap in folders.

mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetResult, ObjectStore, ObjectStoreExt as _};

use crate::digest::{Digest, Sum, Time};
use crate::documents::DOCUMENT_BYTES_MAX;
use crate::error::{Error, Result};
use crate::location::Limits;
use crate::lock::Locks;

/// A version of an object, by the store's own mark. It is only ever compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag(String);

/// An object that was read whole.
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    pub(crate) etag: Etag,
}

/// An object in a listing.
pub(crate) struct Listed {
    /// Below the registry's prefix.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) modified: Time,
}

/// What became of creating an object.
pub(crate) enum Created {
    /// It is there, and has our bytes: we or somebody with the same wrote them.
    Ours(Etag),
    /// It was there with other bytes.
    Other,
}

/// What became of a conditional read.
pub(crate) enum Read {
    Changed(Document),
    Same,
    Absent,
}

/// How the store compares and swaps.
#[derive(Debug, Clone)]
pub(crate) enum Swap {
    /// The store does, by its own mark, the `ETag`.
    Native,
    /// We do, under a lock; the mark is the content's digest.
    Locked(Locks),
}

#[derive(Debug, Clone)]
pub(crate) struct Store {
    /// The same store twice: with the time limit of a small request, and with that of a large one.
    documents: Arc<dyn ObjectStore>,
    files: Arc<dyn ObjectStore>,
    prefix: Path,
    swap: Swap,
    url: String,
    limits: Limits,
}

impl Store {
    pub(crate) fn new(
        [documents, files]: [Arc<dyn ObjectStore>; 2],
        prefix: Path,
        swap: Swap,
        url: String,
        limits: Limits,
    ) -> Self {
        Self { documents, files, prefix, swap, url, limits }
    }

    /// The registry's address, for messages.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The registry's folder, where it is in one.
    pub(crate) fn folder(&self) -> Option<&std::path::Path> {
        match &self.swap {
            Swap::Native => None,
            Swap::Locked(locks) => locks.folder().parent(),
        }
    }

    /// An object's address, for messages.
    pub(crate) fn address(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// Reads an object of at most [`DOCUMENT_BYTES_MAX`].
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Document>> {
        match self.read_if_changed(name, None).await? {
            Read::Changed(document) => Ok(Some(document)),
            Read::Same | Read::Absent => Ok(None),
        }
    }

    /// Reads an object unless it still is the one that `known` marks.
    pub(crate) async fn read_if_changed(&self, name: &str, known: Option<&Etag>) -> Result<Read> {
        let if_none_match = known.filter(|_| matches!(self.swap, Swap::Native)).map(|etag| etag.0.clone());
        let options = GetOptions { if_none_match, ..GetOptions::default() };
        let path = self.path(name)?;
        let mut attempts = 0..write::ATTEMPTS;
        let result = loop {
            match self.documents.get_opts(&path, options.clone()).await {
                Ok(result) => break result,
                Err(StoreError::NotFound { .. }) => return Ok(Read::Absent),
                Err(StoreError::NotModified { .. }) => return Ok(Read::Same),
                // `object_store` does not repeat a request whose refusal was cut.
                Err(error) if is_cut(&error) && attempts.next().is_some() => tokio::time::sleep(write::PAUSE).await,
                Err(error) => return Err(self.failed(name, "read it", error)),
            }
        };
        let store_etag = result.meta.e_tag.clone();
        let bytes = self.whole(name, result).await?;
        let etag = self.etag(name, store_etag, || Digest::of(&bytes))?;
        if known == Some(&etag) {
            return Ok(Read::Same);
        }
        Ok(Read::Changed(Document { bytes, etag }))
    }

    async fn whole(&self, name: &str, result: GetResult) -> Result<Bytes> {
        let mut stream = result.into_stream();
        let mut bytes = BytesMut::new();
        while let Some(piece) = stream.try_next().await.map_err(|error| self.failed(name, "read it", error))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
                return Err(Error::Corrupt {
                    object: self.address(name),
                    problem: format!("it is longer than the {DOCUMENT_BYTES_MAX} bytes that such a document may have"),
                    remedy: "restore it from a copy of the store".to_owned(),
                });
            }
        }
        Ok(bytes.freeze())
    }

    /// Streams an object into `take`, at most `bytes_max` bytes of it; none where there is no such object. What is longer is cut
    /// behind the first byte too many, which its length and digest then show.
    pub(crate) async fn stream(
        &self,
        name: &str,
        bytes_max: u64,
        mut take: impl AsyncPiece,
    ) -> Result<Option<(Digest, u64)>> {
        let result = match self.files.get(&self.path(name)?).await {
            Ok(result) => result,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(name, "read it", error)),
        };
        let mut stream = result.into_stream();
        let mut sum = Sum::default();
        loop {
            let Ok(next) = tokio::time::timeout(self.limits.request * 2, stream.next()).await else {
                return Err(self.stalled(name, "read it", self.limits.request * 2));
            };
            let Some(piece) = next.transpose().map_err(|error| self.failed(name, "read it", error))? else {
                return Ok(Some(sum.finish()));
            };
            sum.update(&piece);
            if sum.bytes() > bytes_max {
                return Ok(Some(sum.finish()));
            }
            take.take(piece).await?;
        }
    }

    /// Deletes an object; one that is not there is as good.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        match self.documents.delete(&self.path(name)?).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(name, "delete it", error)),
        }
    }

    /// Length of an object; none where there is no such.
    pub(crate) async fn length(&self, name: &str) -> Result<Option<u64>> {
        match self.documents.head(&self.path(name)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(name, "read it", error)),
        }
    }

    /// All objects below a folder.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let path = self.path(folder)?;
        let listed = repeated(|| self.documents.list(Some(&path)).try_collect::<Vec<_>>()).await;
        let listed = listed.map_err(|error| self.failed(folder, "list it", error))?;
        let mut found: Vec<Listed> = listed
            .into_iter()
            .filter_map(|meta| {
                let name = self.name(&meta.location)?;
                Some(Listed { name, bytes: meta.size, modified: meta.last_modified.into() })
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Names of the folders right below a folder, sorted.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.path(folder)?;
        let listed = repeated(|| self.documents.list_with_delimiter(Some(&path))).await;
        let listed = listed.map_err(|error| self.failed(folder, "list it", error))?;
        let mut names: Vec<String> =
            listed.common_prefixes.iter().filter_map(|path| Some(path.filename()?.to_owned())).collect();
        names.sort();
        Ok(names)
    }

    fn path(&self, name: &str) -> Result<Path> {
        let path = if self.prefix.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(&path).map_err(|e| Error::Invalid(format!("{path:?} is no place in a store: {e}")))
    }

    fn name(&self, path: &Path) -> Option<String> {
        let rest = path.as_ref().strip_prefix(self.prefix.as_ref())?;
        Some(rest.trim_start_matches('/').to_owned())
    }

    fn etag(&self, name: &str, native: Option<String>, digest: impl FnOnce() -> Digest) -> Result<Etag> {
        match (&self.swap, native) {
            (Swap::Locked(_), _) => Ok(Etag(digest().to_string())),
            (Swap::Native, Some(etag)) => Ok(Etag(etag)),
            (Swap::Native, None) => Err(self.failed(name, "read it", generic("the store gives no ETag".to_owned()))),
        }
    }

    fn stalled(&self, name: &str, doing: &'static str, limit: Duration) -> Error {
        self.failed(name, doing, generic(format!("no more data within {} s", limit.as_secs())))
    }

    fn failed(&self, name: &str, doing: &'static str, source: StoreError) -> Error {
        let object = self.address(name);
        match source {
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
                Error::Denied { object, doing, source }
            }
            // Of a listing it says no more than that it failed.
            source if ["status: 401", "status: 403"].iter().any(|status| format!("{source:?}").contains(status)) => {
                Error::Denied { object, doing, source }
            }
            source => Error::Store { object, doing, source },
        }
    }
}

/// Repeats what reads while its answer is cut, which `object_store` does not do for all answers.
async fn repeated<T, F: Future<Output = object_store::Result<T>>>(
    mut read: impl FnMut() -> F,
) -> object_store::Result<T> {
    for _ in 0..write::ATTEMPTS {
        match read().await {
            Err(error) if is_cut(&error) => tokio::time::sleep(write::PAUSE).await,
            done => return done,
        }
    }
    read().await
}

/// Whether an answer ended early. The error's own types are private.
fn is_cut(error: &StoreError) -> bool {
    format!("{error:?}").contains("kind: Interrupted")
}

/// What takes the pieces of an object that is streamed.
pub(crate) trait AsyncPiece: Send {
    fn take(&mut self, piece: Bytes) -> impl Future<Output = Result<()>> + Send;
}

/// Takes nothing: only length and digest are wanted.
pub(crate) struct Discard;

impl AsyncPiece for Discard {
    async fn take(&mut self, _piece: Bytes) -> Result<()> {
        Ok(())
    }
}

fn generic(problem: String) -> StoreError {
    StoreError::Generic { store: "registry", source: problem.into() }
}
