//! Objects of one store, below the registry's prefix, with what `object_store` leaves to us: creating that settles what became of
//! an attempt, and compare-and-swap in folders.

mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _};

use crate::digest::{Digest, Sum, Time};
use crate::documents::DOCUMENT_BYTES_MAX;
use crate::error::{Error, Result};
use crate::location::Limits;
use crate::lock::Locks;

/// The first pause before trying again, which doubles, and the one that is too long.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

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

/// One store, with the time limits of what it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    /// Of small requests: for the whole of one.
    pub(crate) documents: Arc<dyn ObjectStore>,
    /// Of files that are fetched: for each pause.
    pub(crate) downloads: Arc<dyn ObjectStore>,
    /// Of files that are sent: none, for the time depends on the length.
    pub(crate) uploads: Arc<dyn ObjectStore>,
}

impl Clients {
    /// For stores without a network.
    pub(crate) fn same(store: Arc<dyn ObjectStore>) -> Self {
        Self { documents: Arc::clone(&store), downloads: Arc::clone(&store), uploads: store }
    }

    /// With something in between.
    pub(crate) fn through(self, through: impl Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        let Self { documents, downloads, uploads } = self;
        Self { documents: through(documents), downloads: through(downloads), uploads: through(uploads) }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Store {
    clients: Clients,
    prefix: Path,
    swap: Swap,
    url: String,
    limits: Limits,
}

impl Store {
    pub(crate) fn new(clients: Clients, prefix: Path, swap: Swap, url: String, limits: Limits) -> Self {
        Self { clients, prefix, swap, url, limits }
    }

    /// The registry's address, for messages.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// That a registry in a folder is there still: objects of one that was moved or unmounted are absent, like any others.
    pub(crate) fn check_there(&self) -> Result<()> {
        match self.folder() {
            Some(folder) if !folder.is_dir() => Err(Error::no_registry(folder)),
            _ => Ok(()),
        }
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
        self.patiently(|| self.read_once(name, known)).await
    }

    async fn read_once(&self, name: &str, known: Option<&Etag>) -> Result<Read> {
        let if_none_match = known.filter(|_| matches!(self.swap, Swap::Native)).map(|etag| etag.0.clone());
        let options = GetOptions { if_none_match, ..GetOptions::default() };
        let result = match self.clients.documents.get_opts(&self.path(name)?, options).await {
            Ok(result) => result,
            Err(error) if is_absent(&error) => return Ok(Read::Absent),
            Err(StoreError::NotModified { .. }) => return Ok(Read::Same),
            Err(error) => return Err(self.failed(name, "read it", error)),
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
        let Some(result) = self.patiently(|| self.get_once(name)).await? else { return Ok(None) };
        let mut stream = result.into_stream();
        let mut sum = Sum::default();
        while let Some(piece) = stream.try_next().await.map_err(|error| self.failed(name, "read it", error))? {
            sum.update(&piece);
            if sum.bytes() > bytes_max {
                break;
            }
            take.take(piece).await?;
        }
        Ok(Some(sum.finish()))
    }

    async fn get_once(&self, name: &str) -> Result<Option<GetResult>> {
        match self.clients.downloads.get(&self.path(name)?).await {
            Ok(result) => Ok(Some(result)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed(name, "read it", error)),
        }
    }

    /// Tries what changes nothing again while the time for retries lasts: `object_store` does so for requests and for files, but not
    /// where another answer was cut.
    async fn patiently<T, F: Future<Output = Result<T>>>(&self, attempt: impl Fn() -> F) -> Result<T> {
        let start = Instant::now();
        let mut pause = PAUSE;
        loop {
            match attempt().await {
                Err(Error::Store { .. }) if start.elapsed() + pause < self.limits.retry && pause < PAUSE_MAX => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                result => return result,
            }
        }
    }

    /// Deletes an object; one that is not there is as good.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        self.patiently(|| self.delete_once(name)).await
    }

    async fn delete_once(&self, name: &str) -> Result<()> {
        match self.clients.documents.delete(&self.path(name)?).await {
            Ok(()) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(self.failed(name, "delete it", error)),
        }
    }

    /// Length of an object; none where there is no such.
    pub(crate) async fn length(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.patiently(|| self.head_once(name)).await?.map(|meta| meta.size))
    }

    async fn head_once(&self, name: &str) -> Result<Option<ObjectMeta>> {
        match self.clients.documents.head(&self.path(name)?).await {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed(name, "read it", error)),
        }
    }

    /// All objects below a folder.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.patiently(|| self.list_once(folder)).await
    }

    async fn list_once(&self, folder: &str) -> Result<Vec<Listed>> {
        let path = self.path(folder)?;
        let mut found = Vec::new();
        let mut stream = self.clients.documents.list(Some(&path));
        while let Some(meta) = stream.try_next().await.map_err(|error| self.failed(folder, "list it", error))? {
            if let Some(name) = self.name(&meta.location) {
                found.push(Listed { name, bytes: meta.size, modified: meta.last_modified.into() });
            }
        }
        self.check_there()?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Names of the folders right below a folder, sorted.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        self.patiently(|| self.folders_once(folder)).await
    }

    async fn folders_once(&self, folder: &str) -> Result<Vec<String>> {
        let listed = self.clients.documents.list_with_delimiter(Some(&self.path(folder)?)).await;
        let listed = listed.map_err(|error| self.failed(folder, "list it", error))?;
        let mut names: Vec<String> =
            listed.common_prefixes.iter().filter_map(|path| Some(path.filename()?.to_owned())).collect();
        self.check_there()?;
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

    fn failed(&self, name: &str, doing: &'static str, source: StoreError) -> Error {
        let object = self.address(name);
        if is_of_metadata_service(&source) {
            return Error::NoCredentials { object, doing, source };
        }
        match (&source, status(&source)) {
            (StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. }, _) | (_, Some(401 | 403)) => {
                Error::Denied { object, doing, source }
            }
            // A listing, or a write: what is not there is the bucket.
            (StoreError::NotFound { .. }, _) | (_, Some(404)) => Error::NotFound {
                what: format!("cannot {doing}: {object}: there is no such bucket"),
                remedy: "make it, or check the registry's address".to_owned(),
            },
            _ => Error::Store { object, doing, source },
        }
    }
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

/// The HTTP status that an error tells of: `object_store` has kinds for some only, and for none in listings.
pub(crate) fn status(error: &StoreError) -> Option<u16> {
    let mut links = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    links.find_map(|error| error.to_string().split_once("status code: ")?.1.get(..3)?.parse().ok())
}

/// Whether not the store failed, but the metadata service of a machine at AWS, which is asked for credentials where nothing else has any.
fn is_of_metadata_service(error: &StoreError) -> bool {
    let mut links = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    links.any(|error| {
        ["/latest/api/token", "/latest/meta-data/iam/"].iter().any(|path| error.to_string().contains(path))
    })
}

/// Whether there is no such object, in a bucket that is there.
fn is_absent(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { source, .. } if !source.to_string().contains("NoSuchBucket"))
}

fn generic(problem: String) -> StoreError {
    StoreError::Generic { store: "registry", source: problem.into() }
}
