//! Reading: opening a registry, and what a reference stands for.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::digest::Digest;
use crate::documents::{ALIAS_SCHEMA, EVENT_SCHEMA, MANIFEST, MANIFEST_SCHEMA, Pointer, RETIRED, Retired, parse};
use crate::error::{Error, Result};
use crate::location::{Location, Place};
use crate::lock::Locks;
use crate::manifest::{Manifest, Tombstone};
use crate::names::{AliasName, ModelName, Reference, Target, Version};
use crate::store::{Clients, Document, Etag, Read, Store, Swap};
use crate::{layout, s3};

/// A registry, for reading. [`Writer`](crate::Writer) changes it. Clones share the store.
#[derive(Debug, Clone)]
pub struct Registry {
    pub(crate) store: Store,
}

/// What a reference stands for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The model.
    pub model: ModelName,
    /// The version.
    pub version: Version,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// The release's digest, which comes with every score.
    pub release_digest: Digest,
    /// Number of the alias's move; none for a reference to a version.
    pub sequence: Option<u64>,
    /// Marks this answer, for the next call of [`Registry::resolve_if_changed`].
    pub etag: Etag,
}

/// What became of a reference since it was last resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It stands for this now.
    Changed(Resolved),
    /// It stands for what it did.
    Same,
}

/// What stands in the place of a version's manifest.
pub(crate) enum Standing {
    Nothing,
    Tombstone(Tombstone, Etag),
    Manifest(Box<Whole>),
}

/// A manifest and what it was read from.
pub(crate) struct Whole {
    pub(crate) manifest: Manifest,
    pub(crate) digest: Digest,
    pub(crate) bytes: bytes::Bytes,
    pub(crate) etag: Etag,
}

impl Registry {
    /// Opens a registry for reading. Asks nothing of a store over the network yet.
    pub fn open(location: &Location) -> Result<Self> {
        Self::open_through(location, |store| store)
    }

    /// The same with something between the registry and the store, for example to count requests.
    pub fn open_through(
        location: &Location,
        through: impl Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Result<Self> {
        let limits = location.limits;
        let (clients, prefix, swap) = match &location.place {
            Place::Memory => (Clients::same(Arc::new(InMemory::new())), "", Swap::Native),
            Place::Folder(folder) => {
                let locks = Locks::new(folder.join(".locks"), limits.retry);
                (Clients::same(Arc::new(open_folder(folder)?)), "", Swap::Locked(locks))
            }
            Place::S3(bucket) => (s3::open(bucket, limits, &location.variables)?, bucket.prefix.as_str(), Swap::Native),
        };
        let url = location.to_string().trim_end_matches('/').to_owned();
        Ok(Self { store: Store::new(clients.through(through), Path::from(prefix), swap, url, limits) })
    }

    /// The registry's address, without options.
    pub fn url(&self) -> &str {
        self.store.url()
    }

    /// What a reference stands for.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved> {
        match self.resolve_if_changed(reference, None).await? {
            Resolution::Changed(resolved) => Ok(resolved),
            Resolution::Same => Err(Error::Corrupt {
                object: self.store.address(&reference.to_string()),
                problem: "the store says that nothing changed, and was not asked".to_owned(),
                remedy: "try again; where it stays so, take another store".to_owned(),
            }),
        }
    }

    /// What a reference stands for, unless that is what `known` marks: one small request, which a server makes again and again.
    pub async fn resolve_if_changed(&self, reference: &Reference, known: Option<&Etag>) -> Result<Resolution> {
        let model = &reference.model;
        match &reference.target {
            Target::Alias(alias) => {
                let name = layout::alias(model, alias);
                let document = match self.store.read_if_changed(&name, known).await? {
                    Read::Changed(document) => document,
                    Read::Same => return Ok(Resolution::Same),
                    Read::Absent => return Err(self.no_alias(model, alias)),
                };
                let pointer = self.parse_pointer(&name, alias, &document)?;
                Ok(Resolution::Changed(Resolved {
                    model: model.clone(),
                    version: pointer.version,
                    digest: pointer.digest,
                    release_digest: pointer.release_digest,
                    sequence: Some(pointer.sequence),
                    etag: document.etag,
                }))
            }
            Target::Version(version) => {
                let whole = self.version(model, version).await?;
                if known == Some(&whole.etag) {
                    return Ok(Resolution::Same);
                }
                Ok(Resolution::Changed(Resolved {
                    model: model.clone(),
                    version: version.clone(),
                    digest: whole.digest,
                    release_digest: whole.manifest.release_digest,
                    sequence: None,
                    etag: whole.etag,
                }))
            }
        }
    }

    /// The version that a reference stands for, and the manifest that it must have.
    pub(crate) async fn fetch(&self, reference: &Reference) -> Result<Whole> {
        self.fetch_resolved(&self.resolve(reference).await?).await
    }

    /// The same, for what a reference stood for.
    pub(crate) async fn fetch_resolved(&self, resolved: &Resolved) -> Result<Whole> {
        let Resolved { model, version, digest, .. } = resolved;
        let whole = match self.version(model, version).await {
            Err(Error::NotFound { .. }) if resolved.sequence.is_some() => {
                return Err(self.lost(model, version, Some(*digest)));
            }
            whole => whole?,
        };
        if whole.digest != *digest {
            return Err(Error::Corrupt {
                object: self.store.address(&layout::file(model, version, MANIFEST)),
                problem: format!("its SHA-256 is {}, and its alias says {digest}", whole.digest),
                remedy: "somebody changed a published version or the alias: restore it, or promote a version anew"
                    .to_owned(),
            });
        }
        Ok(whole)
    }

    /// The manifest of a version.
    pub(crate) async fn version(&self, model: &ModelName, version: &Version) -> Result<Whole> {
        match self.place(model, version).await? {
            Standing::Manifest(whole) => Ok(*whole),
            Standing::Nothing | Standing::Tombstone(..) => {
                let there: Vec<_> = self.store.folders(&layout::versions(model)).await?;
                Err(Error::NotFound {
                    what: format!("there is no version {version} of {model} in {}", self.url()),
                    remedy: if there.is_empty() {
                        "publish one with `palisade model publish`, or check the registry's address".to_owned()
                    } else {
                        "`palisade model list` shows those that are published".to_owned()
                    },
                })
            }
        }
    }

    /// What is in the place of a version's manifest.
    pub(crate) async fn place(&self, model: &ModelName, version: &Version) -> Result<Standing> {
        #[derive(serde::Deserialize)]
        struct Either {
            #[serde(default)]
            swept: Option<serde::de::IgnoredAny>,
        }

        let name = layout::file(model, version, MANIFEST);
        let Some(Document { bytes, etag }) = self.store.read(&name).await? else { return Ok(Standing::Nothing) };
        let object = self.store.address(&name);
        if parse::<Either>(&object, &bytes, MANIFEST_SCHEMA)?.swept.is_some() {
            return Ok(Standing::Tombstone(parse(&object, &bytes, MANIFEST_SCHEMA)?, etag));
        }
        let manifest: Manifest = parse(&object, &bytes, MANIFEST_SCHEMA)?;
        manifest.check(model, version).map_err(|problem| Error::Corrupt {
            object,
            problem,
            remedy: "do not use it; restore it from a copy of the store, or retire the version".to_owned(),
        })?;
        Ok(Standing::Manifest(Box::new(Whole { digest: Digest::of(&bytes), manifest, bytes, etag })))
    }

    /// That a version was retired; none where it was not.
    pub async fn retired(&self, model: &ModelName, version: &Version) -> Result<Option<Retired>> {
        let name = layout::file(model, version, RETIRED);
        let Some(document) = self.store.read(&name).await? else { return Ok(None) };
        parse(&self.store.address(&name), &document.bytes, EVENT_SCHEMA).map(Some)
    }

    /// Where an alias points, and the mark to move it by.
    pub(crate) async fn pointer(&self, model: &ModelName, alias: &AliasName) -> Result<Option<(Pointer, Etag)>> {
        let name = layout::alias(model, alias);
        let Some(document) = self.store.read(&name).await? else { return Ok(None) };
        Ok(Some((self.parse_pointer(&name, alias, &document)?, document.etag)))
    }

    fn parse_pointer(&self, name: &str, alias: &AliasName, document: &Document) -> Result<Pointer> {
        let object = self.store.address(name);
        let pointer: Pointer = parse(&object, &document.bytes, ALIAS_SCHEMA)?;
        if pointer.alias != *alias {
            let problem = format!("it is of alias {}, and must be of {alias}", pointer.alias);
            return Err(Error::Corrupt { object, problem, remedy: "promote a version there anew".to_owned() });
        }
        Ok(pointer)
    }

    /// That a version was published, and has no manifest any more.
    pub(crate) fn lost(&self, model: &ModelName, version: &Version, digest: Option<Digest>) -> Error {
        let digest = digest.map(|digest| format!(" (SHA-256 {digest})")).unwrap_or_default();
        Error::Corrupt {
            object: self.store.address(&layout::file(model, version, MANIFEST)),
            problem: format!("it is not there, though {model}@{version} was published"),
            remedy: format!(
                "restore it{digest} from a copy of the store, or publish the same files again, and promote them anew"
            ),
        }
    }

    pub(crate) fn no_alias(&self, model: &ModelName, alias: &AliasName) -> Error {
        if let Err(gone) = self.store.check_there() {
            return gone;
        }
        Error::NotFound {
            what: format!("there is no alias {alias} of {model} in {}", self.url()),
            remedy: format!("`palisade model promote` makes one; `palisade model list` shows the aliases of {model}"),
        }
    }
}

fn open_folder(folder: &std::path::Path) -> Result<LocalFileSystem> {
    if !folder.is_dir() {
        return Err(Error::no_registry(folder));
    }
    let store = LocalFileSystem::new_with_prefix(folder);
    let store = store.map_err(|e| Error::file(folder, "open it as a registry", std::io::Error::other(e)))?;
    Ok(store.with_fsync(true))
}
