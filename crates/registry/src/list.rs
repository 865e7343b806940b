//! Lists of models, versions and aliases.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::digest::Digest;
use crate::documents::{Pointer, Retired, SIGNATURE};
use crate::error::{Error, Result};
use crate::layout;
use crate::manifest::Manifest;
use crate::names::{AliasName, ModelName, Reference, Version};
use crate::registry::{Registry, Standing, Whole};

/// Requests on their way at once.
pub(crate) const REQUESTS_MAX: usize = 16;

/// A model in a list.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its name.
    pub name: ModelName,
    /// Its versions, in order.
    pub versions: Vec<Shown>,
    /// Its aliases, by name.
    pub aliases: Vec<Pointer>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// One version.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its manifest.
    pub manifest: Manifest,
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// Whether there is a signature. Says nothing of whose.
    pub is_signed: bool,
    /// Where it was retired.
    pub retired: Option<Retired>,
    /// The aliases that point at it.
    pub aliases: Vec<AliasName>,
}

/// An object that could not be read, and why; the rest could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Registry {
    /// All models, by name, with their versions and aliases. What cannot be read is among the problems of its model.
    pub async fn list(&self) -> Result<Vec<Model>> {
        let folders = self.store.folders(layout::MODELS).await?;
        let names: Vec<_> = folders.iter().filter_map(|name| ModelName::parse(name).ok()).collect();
        let models = stream::iter(names.into_iter().map(async |name| self.model(&name).await));
        let models: Vec<Model> = models.buffered(REQUESTS_MAX).try_collect().await?;
        Ok(models.into_iter().filter(|model| !model.is_empty()).collect())
    }

    /// One model; of one that does not exist, nothing.
    pub async fn model(&self, name: &ModelName) -> Result<Model> {
        let mut problems = Vec::new();
        let folder = layout::versions(name);
        let ((aliases, unreadable), versions) = tokio::try_join!(self.pointers(name), self.store.folders(&folder))?;
        problems.extend(unreadable);
        let shown: Vec<Result<Option<Shown>>> = stream::iter(versions.into_iter().map(async |folder| {
            let Ok(version) = Version::parse(&folder) else { return Ok(None) };
            match self.place(name, &version).await? {
                Standing::Manifest(whole) => self.shown(*whole, &aliases).await.map(Some),
                Standing::Nothing | Standing::Tombstone(..) => Ok(None),
            }
        }))
        .buffered(REQUESTS_MAX)
        .collect()
        .await;
        let mut versions = Vec::new();
        for shown in shown {
            match shown {
                Ok(shown) => versions.extend(shown),
                Err(error) => problems.push(Problem::of(error)?),
            }
        }
        versions.sort_by(|a, b| a.manifest.version.cmp(&b.manifest.version));
        Ok(Model { name: name.clone(), versions, aliases, problems })
    }

    /// One version.
    pub async fn show(&self, reference: &Reference) -> Result<Shown> {
        let whole = self.fetch(reference).await?;
        let (pointers, _) = self.pointers(&reference.model).await?;
        self.shown(whole, &pointers).await
    }

    async fn shown(&self, whole: Whole, pointers: &[Pointer]) -> Result<Shown> {
        let Manifest { name, version, .. } = &whole.manifest;
        let signature = layout::file(name, version, SIGNATURE);
        let (signature, retired) = tokio::try_join!(self.store.length(&signature), self.retired(name, version))?;
        let aliases =
            pointers.iter().filter(|pointer| pointer.version == *version).map(|pointer| pointer.alias.clone());
        let aliases = aliases.collect();
        Ok(Shown { manifest: whole.manifest, digest: whole.digest, is_signed: signature.is_some(), retired, aliases })
    }

    /// All aliases of a model, by name, and those that cannot be read.
    pub(crate) async fn pointers(&self, model: &ModelName) -> Result<(Vec<Pointer>, Vec<Problem>)> {
        let (mut pointers, mut problems) = (Vec::new(), Vec::new());
        let folder = layout::aliases(model);
        let listed = self.store.list(&folder).await?;
        let parsed = listed.iter().filter_map(|object| {
            let name = object.name.strip_prefix(&folder)?.strip_prefix('/')?.strip_suffix(".json")?;
            AliasName::parse(name).ok()
        });
        let aliases: Vec<_> = parsed.collect();
        let read = stream::iter(aliases.into_iter().map(async |alias| self.pointer(model, &alias).await));
        let read: Vec<_> = read.buffered(REQUESTS_MAX).collect().await;
        for pointer in read {
            match pointer {
                Ok(pointer) => pointers.extend(pointer.map(|(pointer, _)| pointer)),
                Err(error) => problems.push(Problem::of(error)?),
            }
        }
        Ok((pointers, problems))
    }
}

impl Model {
    fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.aliases.is_empty() && self.problems.is_empty()
    }
}

impl Problem {
    /// An error that is one object's alone; others are given back.
    pub(crate) fn of(error: Error) -> Result<Self> {
        match &error {
            Error::Corrupt { object, problem, .. } => Ok(Self { object: object.clone(), reason: problem.clone() }),
            Error::Later { object, .. } => Ok(Self { object: object.clone(), reason: error.to_string() }),
            _ => Err(error),
        }
    }
}
