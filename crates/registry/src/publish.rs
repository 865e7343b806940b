//! Publishing a version: draft, files, signature, manifest, event, in this order, each created and never overwritten.

use crate::digest::{Digest, Time};
use crate::documents::{DRAFT, MANIFEST, MANIFEST_SCHEMA, SIGNATURE};
use crate::draft::difference;
use crate::error::{Error, Result};
use crate::layout;
use crate::manifest::{Lineage, Manifest, SweepState};
use crate::registry::{Standing, Whole};
use crate::release::{Read, ReleaseFiles};
use crate::sign::signature;
use crate::store::Created;
use crate::writer::{By, Writer};

/// Makes a signature over files (name and digest, sorted by name) that include `manifest.json`.
pub type Sign<'a> = Box<dyn FnOnce(&[(String, Digest)]) -> Result<Vec<u8>, String> + Send + 'a>;

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Bytes that it was done to, in whole files.
    pub done: u64,
    /// Bytes of all files; 0 where that is not known yet.
    pub total: u64,
}

/// What is done to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// They are read on this machine.
    Reading,
    /// They are sent to the store.
    Sending,
    /// They are fetched from the store.
    Fetching,
}

/// What to publish beside the files.
#[expect(missing_debug_implementations, reason = "it holds functions")]
pub struct PublishOptions<'a> {
    /// Who publishes.
    pub by: &'a By,
    /// What the release was made of.
    pub lineage: Lineage,
    /// Signs it; without, the version is unsigned.
    pub sign: Option<Sign<'a>>,
    /// Is told how far it is.
    pub progress: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
}

impl<'a> PublishOptions<'a> {
    /// Unsigned, of unknown lineage.
    pub fn by(by: &'a By) -> Self {
        Self { by, lineage: Lineage::default(), sign: None, progress: None }
    }
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The version.
    pub manifest: Manifest,
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// Whether the version was there before, with the same files and lineage.
    pub already: bool,
    /// Bytes that were sent; what an interrupted attempt had sent is not sent again.
    pub bytes_sent: u64,
    /// Whether this call signed it.
    pub signed: bool,
}

impl Writer {
    /// Publishes a release as the version that its release.json names. Can be repeated after any failure: what is there is not sent
    /// again, and a version that is there with the same files and lineage is a success.
    ///
    /// Whose turn it is decides the draft: of two who publish different files as one version at once, one gets
    /// [`Error::Conflict`] before anything is sent.
    pub async fn publish(&self, release: &ReleaseFiles, options: PublishOptions<'_>) -> Result<Published> {
        let PublishOptions { by, lineage, sign, progress } = options;
        let report = |step, done, total| {
            if let Some(progress) = progress {
                progress(Progress { step, done, total });
            }
        };
        report(Step::Reading, 0, 0);
        let read = blocking({
            let release = release.clone();
            move || release.read(|_| ())
        })
        .await?;
        let total = read.files.iter().map(|(file, _)| file.bytes).sum();
        report(Step::Reading, total, total);

        let ours = manifest(&read, &lineage, by);
        let tombstone = match self.place(&read.name, &read.version).await? {
            Standing::Nothing => None,
            Standing::Tombstone(tombstone, etag) if tombstone.swept.state == SweepState::Done => Some(etag),
            Standing::Tombstone(tombstone, _) => return Err(self.sweeping(&ours, &tombstone.swept.who)),
            Standing::Manifest(whole) => return self.published_already(*whole, &ours, sign).await,
        };
        let draft = self.claim(ours, tombstone).await?;
        if let Standing::Manifest(whole) = self.place(&read.name, &read.version).await? {
            // Between our two looks another publisher was done, and took its draft away.
            self.store.delete(&draft.file(DRAFT)).await?;
            return self.published_already(*whole, &draft.manifest, sign).await;
        }
        let bytes_sent = self.send(&draft, read.files, &|done| report(Step::Sending, done, total)).await?;
        if let Some(whole) = self.check_claim(&draft).await? {
            return self.published_already(whole, &draft.manifest, sign).await;
        }
        let signature = match sign {
            Some(sign) => Some(self.sign_draft(&draft, sign).await?),
            None => None,
        };
        if let Some(whole) = self.appear(&draft, signature.as_ref()).await? {
            return self.published_already(whole, &draft.manifest, None).await;
        }
        self.write_event(&draft.manifest.event(), draft.manifest.version.as_str()).await?;
        self.store.delete(&draft.file(DRAFT)).await?;
        let signed = signature.is_some();
        Ok(Published { manifest: draft.manifest, digest: draft.digest, already: false, bytes_sent, signed })
    }

    /// The version is there: a success where it is the same, and the place to write what a crash left undone.
    async fn published_already(&self, whole: Whole, ours: &Manifest, sign: Option<Sign<'_>>) -> Result<Published> {
        if let Some(differs) = difference(&whole.manifest, ours) {
            let object = self.store.address(&layout::file(&ours.name, &ours.version, MANIFEST));
            return Err(Error::AlreadyExists { object, differs });
        }
        let mut signed = false;
        let name = layout::file(&ours.name, &ours.version, SIGNATURE);
        if let Some(sign) = sign
            && self.store.length(&name).await?.is_none()
        {
            let signature = signature(&whole.manifest, whole.digest, sign)?;
            signed = matches!(self.store.create(&name, &signature.into()).await?, Created::Ours(_));
        }
        self.write_event(&whole.manifest.event(), ours.version.as_str()).await?;
        self.store.delete(&layout::file(&ours.name, &ours.version, DRAFT)).await?;
        Ok(Published { manifest: whole.manifest, digest: whole.digest, already: true, bytes_sent: 0, signed })
    }
}

fn manifest(read: &Read, lineage: &Lineage, by: &By) -> Manifest {
    Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        name: read.name.clone(),
        version: read.version.clone(),
        release_digest: read.release_digest,
        files: read.files.iter().map(|(file, _)| file.clone()).collect(),
        created: Time::now(),
        publisher: by.who.clone(),
        lineage: lineage.clone(),
    }
}

/// Runs on a thread that may wait for files.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Invalid(format!("reading files was given up: {e}"))),
    }
}
