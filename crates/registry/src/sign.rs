//! Signatures of versions: the one object of a published version that may be replaced, for it says nothing of the version itself.

use serde_json::{Map, json};

use crate::digest::{Content, Digest, Time};
use crate::documents::{EVENT_SCHEMA, Event, SIGNATURE};
use crate::error::{Error, Result};
use crate::layout;
use crate::manifest::Manifest;
use crate::publish::Sign;
use crate::registry::Resolved;
use crate::store::Created;
use crate::writer::{By, Writer, random_id};

/// How often a signature is tried to be replaced while others do the same.
const ATTEMPTS: u32 = 5;

impl Writer {
    /// Signs a version that is published, in place of the signature that it has, if any: its key was lost or leaked, or it never had
    /// one. Of two who do so at once the later wins; both are in the log.
    ///
    /// What is signed is what the store holds: the caller knows the manifest's digest, from the version's publication or from a check of
    /// the signature that it has.
    pub async fn sign(&self, resolved: &Resolved, by: &By, sign: Sign<'_>) -> Result<Event> {
        let whole = self.fetch_resolved(resolved).await?;
        let Resolved { model, version, .. } = resolved;
        let content = Content::from(signature(&whole.manifest, whole.digest, sign)?);
        let mut details = Map::new();
        details.insert("signature".to_owned(), json!(content.digest));
        let event = Event {
            schema: EVENT_SCHEMA.to_owned(),
            kind: "signed".to_owned(),
            model: model.clone(),
            version: Some(version.clone()),
            when: Time::now_after(whole.manifest.created),
            who: by.who.clone(),
            why: by.why.clone(),
            details,
        };
        // First, so that no signature is replaced without a trace.
        self.write_event(&event, &random_id()?).await?;
        self.write_signature(&layout::file(model, version, SIGNATURE), &content).await?;
        Ok(event)
    }

    /// Writes a signature, in place of the one that is there, if any.
    pub(crate) async fn write_signature(&self, name: &str, content: &Content) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if let Created::Ours(_) = self.store.create(name, content).await? {
                return Ok(());
            }
            if let Some(other) = self.store.read(name).await?
                && self.store.replace(name, content, &other.etag).await?.is_some()
            {
                return Ok(());
            }
        }
        Err(Error::Busy { object: self.store.address(name), reason: "others keep signing this version".to_owned() })
    }
}

/// What the caller's key makes of a version's digests.
pub(crate) fn signature(manifest: &Manifest, digest: Digest, sign: Sign<'_>) -> Result<Vec<u8>> {
    let signature = sign(&manifest.digests(digest));
    signature
        .map_err(|reason| Error::Invalid(format!("{}@{} cannot be signed: {reason}", manifest.name, manifest.version)))
}
