//! Finishing and removing what interrupted writers left.
//!
//! A version without a manifest may be one that somebody is publishing this moment, slowly. So before anything is deleted a tombstone
//! takes the manifest's place: a manifest that comes later finds its place taken. Readers take a tombstone for absence. When all
//! is deleted it says `done`, and a publisher may replace it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::digest::Time;
use crate::documents::{DRAFT, MANIFEST, MANIFEST_SCHEMA, is_reserved, to_bytes};
use crate::error::{Error, Result};
use crate::layout;
use crate::list::Problem;
use crate::manifest::{Manifest, SweepState, Swept, Tombstone};
use crate::names::{ModelName, Reference, Version};
use crate::registry::Standing;
use crate::store::{Created, Listed};
use crate::writer::{By, Writer, random_id};

/// A sweeper deletes nothing once it is at it for so long: long before another may take over.
const SWEEP_MAX: Duration = Duration::from_mins(5);

/// What to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcOptions {
    /// Leftovers whose newest object is older, by the store's clock; 24 hours unless said otherwise.
    pub older_than: Duration,
    /// How long another sweeper is waited for, by the store's clock, before it counts as dead; 10 minutes unless said otherwise.
    /// Shorter is for when no other can be at it.
    pub take_over: Duration,
    /// Only tells what it would do.
    pub dry_run: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { older_than: Duration::from_hours(24), take_over: Duration::from_mins(10), dry_run: false }
    }
}

/// What `gc` found.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// Leftovers, by model and version.
    pub leftovers: Vec<Leftover>,
    /// Objects of the probe, and files of interrupted writes in a folder, that were removed (or would be).
    pub strays: usize,
    /// What could not be read, and was left alone.
    pub problems: Vec<Problem>,
}

/// What an interrupted publisher left of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Of what, as `model@version`.
    pub version: String,
    /// How many objects.
    pub objects: usize,
    /// Their length together.
    pub bytes: u64,
    /// When the newest was written.
    pub newest: Time,
    /// What became of them.
    pub outcome: Outcome,
}

/// What became of leftovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They are gone.
    Removed,
    /// They would be, but for `dry_run`.
    WouldRemove,
    /// They are not old enough: somebody may be publishing.
    TooYoung,
    /// Somebody else is sweeping them up, or published the version meanwhile.
    Busy,
}

impl Writer {
    /// Completes what crashed writers left undone (events, `previous`), and removes what they left over: objects of versions that were
    /// never finished, objects beside versions that were, probes. Can be repeated after any failure.
    pub async fn gc(&self, by: &By, options: GcOptions) -> Result<Collected> {
        let mut collected = Collected::default();
        let now = self.now().await?;
        for name in self.store.folders(layout::MODELS).await? {
            let Ok(model) = ModelName::parse(&name) else { continue };
            let (pointers, problems) = self.pointers(&model).await?;
            collected.problems.extend(problems);
            if !options.dry_run {
                for pointer in pointers.iter().filter(|pointer| !pointer.is_follower()) {
                    self.complete_move(&model, pointer).await?;
                }
            }
            let events = self.store.list(&layout::events(&model)).await?;
            for version in self.store.folders(&layout::versions(&model)).await? {
                let Ok(version) = Version::parse(&version) else { continue };
                let event = format!("-published-{version}.json");
                let was_published = events.iter().any(|object| object.name.ends_with(&event))
                    || pointers.iter().any(|pointer| pointer.version == version);
                match self.collect_version(&model, &version, by, options, (now, was_published)).await {
                    Ok(leftover) => collected.leftovers.extend(leftover),
                    Err(error) => collected.problems.push(Problem::of(error)?),
                }
            }
        }
        for probe in self.store.list(layout::PROBES).await? {
            if probe.modified.until(now) >= options.older_than {
                collected.strays += 1;
                if !options.dry_run {
                    self.store.delete(&probe.name).await?;
                }
            }
        }
        if let Some(folder) = self.store.folder() {
            collected.strays += staged(&folder.join(layout::MODELS), options)?;
        }
        Ok(collected)
    }

    async fn collect_version(
        &self,
        model: &ModelName,
        version: &Version,
        by: &By,
        options: GcOptions,
        (now, was_published): (Time, bool),
    ) -> Result<Option<Leftover>> {
        let standing = self.place(model, version).await?;
        if was_published && matches!(standing, Standing::Nothing) {
            return Err(self.lost(model, version, None));
        }
        let mut objects = self.store.list(&layout::version(model, version)).await?;
        let placed = objects.iter().find(|object| file_name(object) == MANIFEST).map(|object| object.modified);
        if let Standing::Manifest(whole) = &standing {
            if !options.dry_run {
                self.complete_version(model, version, &whole.manifest).await?;
            }
            objects.retain(|object| is_stray(object, &whole.manifest));
        } else {
            objects.retain(|object| file_name(object) != MANIFEST);
        }
        let Some(newest) = objects.iter().map(|object| object.modified).max() else { return Ok(None) };
        let outcome = if newest.until(now) < options.older_than {
            Outcome::TooYoung
        } else if options.dry_run {
            Outcome::WouldRemove
        } else if matches!(standing, Standing::Manifest(_)) {
            for object in &objects {
                self.store.delete(&object.name).await?;
            }
            Outcome::Removed
        } else {
            let is_abandoned = placed.is_some_and(|placed| placed.until(now) >= options.take_over);
            self.sweep(model, version, standing, by, is_abandoned).await?
        };
        Ok(Some(Leftover {
            version: Reference::version(model, version).to_string(),
            objects: objects.len(),
            bytes: objects.iter().map(|object| object.bytes).sum(),
            newest,
            outcome,
        }))
    }

    /// The store's clock, which all sweepers share: when it says that a probe was written.
    async fn now(&self) -> Result<Time> {
        let name = format!("{}/{}", layout::PROBES, random_id()?);
        self.store.create(&name, &b"what time is it?\n".to_vec().into()).await?;
        let probes = self.store.list(layout::PROBES).await?;
        self.store.delete(&name).await?;
        let probe = probes.into_iter().find(|object| object.name == name);
        probe.map(|probe| probe.modified).ok_or_else(|| Error::Corrupt {
            object: self.store.address(&name),
            problem: "it was just written, and the store does not list it".to_owned(),
            remedy: "sweep later, or take a store that lists what it holds".to_owned(),
        })
    }

    /// Writes the events of a version that a crash may have kept from being written.
    async fn complete_version(&self, model: &ModelName, version: &Version, manifest: &Manifest) -> Result<()> {
        self.write_event(&manifest.event(), version.as_str()).await?;
        if let Some(retired) = self.retired(model, version).await? {
            self.write_event(&retired.event(model, version), version.as_str()).await?;
        }
        Ok(())
    }

    async fn sweep(
        &self,
        model: &ModelName,
        version: &Version,
        standing: Standing,
        by: &By,
        is_abandoned: bool,
    ) -> Result<Outcome> {
        let name = layout::file(model, version, MANIFEST);
        // One of these goes on while the machine sleeps, the other whatever is done to the clock.
        let (began, began_at) = (Instant::now(), Time::now());
        let sweeping = tombstone(SweepState::Sweeping, by, began_at)?;
        let taken = match standing {
            Standing::Nothing => match self.store.create(&name, &sweeping.into()).await? {
                Created::Ours(etag) => Some(etag),
                Created::Other => None,
            },
            Standing::Tombstone(tombstone, etag) if tombstone.swept.state == SweepState::Done || is_abandoned => {
                self.store.replace(&name, &sweeping.into(), &etag).await?
            }
            Standing::Tombstone(..) | Standing::Manifest(_) => None,
        };
        let Some(etag) = taken else { return Ok(Outcome::Busy) };
        // What a slow publisher has sent since the first look goes too: it cannot finish.
        for object in self.store.list(&layout::version(model, version)).await? {
            if file_name(&object) == MANIFEST {
                continue;
            }
            if began.elapsed().max(began_at.until(Time::now())) > SWEEP_MAX {
                let reason = format!("sweeping has taken longer than {} minutes", SWEEP_MAX.as_secs() / 60);
                return Err(Error::Busy { object: self.store.address(&layout::version(model, version)), reason });
            }
            self.store.delete(&object.name).await?;
        }
        let done = tombstone(SweepState::Done, by, Time::now())?;
        let is_done = self.store.replace(&name, &done.into(), &etag).await?.is_some();
        Ok(if is_done { Outcome::Removed } else { Outcome::Busy })
    }
}

fn tombstone(state: SweepState, by: &By, when: Time) -> Result<Vec<u8>> {
    let swept = Swept { state, who: by.who.clone(), when, id: random_id()? };
    to_bytes(&Tombstone { schema: MANIFEST_SCHEMA.to_owned(), swept })
}

/// Whether an object in a published version's folder is none of it.
fn is_stray(object: &Listed, manifest: &Manifest) -> bool {
    let name = file_name(object);
    name == DRAFT || !is_reserved(name) && manifest.file(name).is_none()
}

fn file_name(object: &Listed) -> &str {
    object.name.rsplit('/').next().unwrap_or_default()
}

/// Removes what `object_store` leaves in a folder when it is killed while it writes: `<name>#<number>`, which no listing shows.
fn staged(folder: &Path, options: GcOptions) -> Result<usize> {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        let failed = |e| Error::file(&folder, "look into it", e);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(failed(e)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let Ok(meta) = entry.metadata() else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_staged = name.rsplit_once('#').is_some_and(|(_, number)| number.bytes().all(|b| b.is_ascii_digit()));
            if meta.is_dir() {
                folders.push(entry.path());
            } else if is_staged
                && meta.modified().is_ok_and(|time| time.elapsed().unwrap_or_default() >= options.older_than)
            {
                count += 1;
                if !options.dry_run {
                    std::fs::remove_file(entry.path()).map_err(|e| Error::file(entry.path(), "remove it", e))?;
                }
            }
        }
    }
    Ok(count)
}
