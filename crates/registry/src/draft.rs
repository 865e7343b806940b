//! The steps of a publication: whose turn it is, the files, the signature, the manifest.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;

use crate::digest::{Content, Digest};
use crate::documents::{DRAFT, MANIFEST, MANIFEST_SCHEMA, SIGNATURE, parse, to_bytes};
use crate::error::{Error, Result};
use crate::layout;
use crate::manifest::{File, Manifest};
use crate::publish::{Sign, blocking};
use crate::registry::{Standing, Whole};
use crate::sign::signature;
use crate::store::{Created, Etag, Listed};
use crate::writer::Writer;

/// Files on their way at once, and the memory that they may take together (one file may be longer).
const FILES_AT_ONCE: usize = 4;
const MEMORY_MIB_MAX: u32 = 256;
/// How often the draft is asked for while others take it and give it back.
const ATTEMPTS: u32 = 5;

/// A version that is being published.
pub(crate) struct Draft {
    pub(crate) manifest: Manifest,
    bytes: Bytes,
    pub(crate) digest: Digest,
    /// The tombstone to replace, where leftovers were swept up here.
    tombstone: Option<Etag>,
}

impl Writer {
    /// Makes it our turn by creating the draft, or goes on with a draft of the same files: then its manifest is ours, to the byte,
    /// whoever began it.
    pub(crate) async fn claim(&self, ours: Manifest, tombstone: Option<Etag>) -> Result<Draft> {
        let name = layout::file(&ours.name, &ours.version, DRAFT);
        let bytes = to_bytes(&ours)?;
        let digest = Digest::of(&bytes);
        for _ in 0..ATTEMPTS {
            if let Created::Ours(_) = self.store.create(&name, &bytes.clone().into()).await? {
                return Ok(Draft { manifest: ours, bytes: bytes.into(), digest, tombstone });
            }
            // Gone in between: whoever had it is done or was swept up.
            let Some(found) = self.store.read(&name).await? else { continue };
            let object = self.store.address(&name);
            let theirs: Manifest = parse(&object, &found.bytes, MANIFEST_SCHEMA)?;
            if let Some(differs) = difference(&theirs, &ours) {
                let found =
                    format!("a draft of {} since {} with other content: {differs}", theirs.publisher, theirs.created);
                return Err(Error::Conflict { object, found });
            }
            // Its place, its digest and what is signed must be ours: whoever can write to the store could have put it there.
            let resumed = Manifest { created: theirs.created, publisher: theirs.publisher.clone(), ..ours.clone() };
            if theirs != resumed || to_bytes(&resumed)? != found.bytes {
                let found = "a draft that no palisade of this version wrote".to_owned();
                return Err(Error::Conflict { object, found });
            }
            return Ok(Draft { digest: Digest::of(&found.bytes), manifest: theirs, bytes: found.bytes, tombstone });
        }
        Err(Error::Busy { object: self.store.address(&name), reason: "others keep publishing this version".to_owned() })
    }

    /// Sends the files that are not there; gives the bytes that were sent.
    pub(crate) async fn send(
        &self,
        draft: &Draft,
        files: Vec<(File, PathBuf)>,
        report: &(dyn Fn(u64) + Sync),
    ) -> Result<u64> {
        let Manifest { name, version, .. } = &draft.manifest;
        let listed = self.store.list(&layout::version(name, version)).await?;
        let memory = Semaphore::new(MEMORY_MIB_MAX as usize);
        let (done, sent) = (AtomicU64::new(0), AtomicU64::new(0));
        let sending = files.into_iter().map(async |(file, path)| {
            if self.send_file(draft, &file, &path, &listed, &memory).await? {
                sent.fetch_add(file.bytes, Ordering::Relaxed);
            }
            report(done.fetch_add(file.bytes, Ordering::Relaxed) + file.bytes);
            Ok::<_, Error>(())
        });
        stream::iter(sending).buffer_unordered(FILES_AT_ONCE).try_collect::<()>().await?;
        Ok(sent.into_inner())
    }

    /// Sends a file in one request, for the parts of a larger one could not be put together on condition that it does not exist yet
    /// (`object_store` completes multipart uploads unconditionally). False where it was there.
    async fn send_file(
        &self,
        draft: &Draft,
        file: &File,
        path: &Path,
        listed: &[Listed],
        memory: &Semaphore,
    ) -> Result<bool> {
        let name = draft.file(file.name.as_str());
        if listed.iter().any(|object| object.name == name) {
            match self.store.compare(&name, file.sha256, file.bytes).await? {
                Some((_, true)) => return Ok(false),
                Some((_, false)) => return Err(self.in_the_way(&name)),
                None => (),
            }
        }
        let mib = u32::try_from(file.bytes >> 20).unwrap_or(u32::MAX).saturating_add(1).min(MEMORY_MIB_MAX);
        let _held = memory.acquire_many(mib).await;
        let content = blocking({
            let path = path.to_owned();
            move || Content::of_file(&path)
        })
        .await?;
        if (content.digest, content.bytes) != (file.sha256, file.bytes) {
            let path = path.display();
            return Err(Error::Invalid(format!("{path}: it changed while it was being published: publish again")));
        }
        match self.store.create(&name, &content).await? {
            Created::Ours(_) => Ok(true),
            Created::Other => Err(self.in_the_way(&name)),
        }
    }

    fn in_the_way(&self, name: &str) -> Error {
        Error::Conflict { object: self.store.address(name), found: "a file with other content".to_owned() }
    }

    /// Checks that the draft is still ours; gives the version where another publisher of the same draft is done already.
    pub(crate) async fn check_claim(&self, draft: &Draft) -> Result<Option<Whole>> {
        if self.store.read(&draft.file(DRAFT)).await?.is_some_and(|found| found.bytes == draft.bytes) {
            return Ok(None);
        }
        match self.place(&draft.manifest.name, &draft.manifest.version).await? {
            Standing::Manifest(whole) if whole.digest == draft.digest => Ok(Some(*whole)),
            _ => Err(self.sweeping(&draft.manifest, "somebody")),
        }
    }

    /// Writes the signature, and gives it. One that is there is replaced: it is of the same bytes, for the draft decides them, and the
    /// version does not exist yet.
    pub(crate) async fn sign_draft(&self, draft: &Draft, sign: Sign<'_>) -> Result<Content> {
        let content = Content::from(signature(&draft.manifest, draft.digest, sign)?);
        self.write_signature(&draft.file(SIGNATURE), &content).await?;
        Ok(content)
    }

    /// Makes the version exist; gives the one that another publisher of the same files has made instead.
    pub(crate) async fn appear(&self, draft: &Draft, signature: Option<&Content>) -> Result<Option<Whole>> {
        let name = draft.file(MANIFEST);
        let content = Content::from(draft.bytes.to_vec());
        let is_ours = match &draft.tombstone {
            Some(etag) => self.store.replace(&name, &content, etag).await?.is_some(),
            None => matches!(self.store.create(&name, &content).await?, Created::Ours(_)),
        };
        if is_ours {
            if let Some(signature) = signature {
                // A publisher that was swept up, and did not know it yet, may have signed behind us: its manifest was another.
                self.write_signature(&draft.file(SIGNATURE), signature).await?;
            }
            return Ok(None);
        }
        match self.place(&draft.manifest.name, &draft.manifest.version).await? {
            Standing::Manifest(whole) => match difference(&whole.manifest, &draft.manifest) {
                None => Ok(Some(*whole)),
                Some(differs) => Err(Error::AlreadyExists { object: self.store.address(&name), differs }),
            },
            Standing::Tombstone(tombstone, _) => Err(self.sweeping(&draft.manifest, &tombstone.swept.who)),
            Standing::Nothing => Err(self.in_the_way(&name)),
        }
    }

    pub(crate) fn sweeping(&self, manifest: &Manifest, who: &str) -> Error {
        Error::Busy {
            object: self.store.address(&layout::version(&manifest.name, &manifest.version)),
            reason: format!("{who} has swept it up, as an interrupted publisher's leftovers (`palisade model gc`)"),
        }
    }
}

impl Draft {
    pub(crate) fn file(&self, name: &str) -> String {
        layout::file(&self.manifest.name, &self.manifest.version, name)
    }
}

/// What differs between two manifests of one version, beside who made them and when.
pub(crate) fn difference(theirs: &Manifest, ours: &Manifest) -> Option<String> {
    let files: Vec<_> = theirs
        .files
        .iter()
        .filter(|file| !ours.files.contains(file))
        .chain(ours.files.iter().filter(|file| theirs.file(file.name.as_str()).is_none()))
        .map(|file| file.name.to_string())
        .collect();
    if !files.is_empty() {
        return Some(files.join(", "));
    }
    (theirs.lineage != ours.lineage).then(|| {
        "the same files, with another --parent, --data or --code-revision: publish with those of the first time, or"
            .to_owned()
    })
}
