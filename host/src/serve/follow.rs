//! Following aliases of a registry: when `champion` moves, the release that it points at is pulled, verified, compiled and tried, and
//! then takes the place of the one that serves, while requests go on. A release that fails anywhere on this way is refused, and the old one
//! keeps serving. `challenger` goes the same way into the shadow.
//!
//! 1. Ask the store what the alias points at, by its `ETag`: one small request.
//! 2. Pull the version into this machine's folder of releases: signature and digests come before anything is parsed.
//! 3. Load its artefact (baked already, or baked now), which compiles it.
//! 4. Score its golden cases, and check the policies against its labels.
//! 5. Swap.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use palisade_protocols::policy::Policies;
use palisade_registry::trust::Trust;
use palisade_registry::{Etag, Location, PullOptions, Pulled, Reference, Registry, Resolution, Resolved, Target};

use super::Shared;
use super::classifiers::Release;
use crate::bake::ReleaseFolder;
use crate::bindings::Description;
use crate::commands::bake::bake_default;
use crate::commands::model::publish::ARTEFACT;
use crate::commands::write_whole;
use crate::trusting::Signer;
use crate::{Artefact, EngineKind, Loaded, Runtime, golden};

/// After so many rounds a release that was refused is tried again: somebody may have mended it where it lies.
const ROUNDS_REFUSED: u32 = 60;
/// Pulled versions that are kept beside those in use.
const KEPT: usize = 2;
/// File of a version with texts and the scores that they must have.
const CASES: &str = "cases.jsonl";

/// A release from the registry, ready to serve.
#[derive(Debug)]
pub struct Taken {
    /// To be instantiated.
    pub loaded: Loaded,
    /// What it says of itself.
    pub description: Description,
    /// Marks where the alias pointed; nothing where the store did not answer.
    pub etag: Option<Etag>,
}

/// What to follow, and where what is pulled goes.
#[derive(Debug)]
pub struct Follow {
    /// The registry's address.
    pub location: Location,
    /// The registry.
    pub registry: Registry,
    /// What serves: an alias, which is followed, or a version.
    pub champion: Reference,
    /// What scores in the shadow.
    pub challenger: Option<Reference>,
    /// Who may sign it.
    pub trust: Trust,
    /// Where pulled versions are kept.
    pub folder: PathBuf,
    /// How often to look.
    pub every: Duration,
    /// What runs the component; none for the native engine alone.
    pub runtime: Runtime,
    /// What runs releases.
    pub engine: EngineKind,
    /// The file of policies, which each release must have the labels for.
    pub policies: Option<String>,
    /// The manifests in use here, champion's and challenger's.
    pub in_use: Mutex<[Option<String>; 2]>,
}

/// What became of an alias when it was last looked at.
#[derive(Debug, Default)]
struct Seen {
    etag: Option<Etag>,
    /// Rounds since the release there was refused.
    refused: Option<u32>,
    /// Whether the last look failed, so that only changes are logged.
    failing: bool,
}

impl Follow {
    /// The release to begin with: what the alias points at, or, where that cannot be had or is refused, the one that served last.
    pub async fn first(&self) -> Result<Taken> {
        let taken = match self.registry.resolve(&self.champion).await {
            Ok(resolved) => match self.take(&resolved).await {
                Ok(taken) => {
                    self.remember(&resolved);
                    return Ok(taken);
                }
                Err(error) => error,
            },
            // A folder that is empty all at once is a disk that is not mounted, more likely than a fresh registry.
            Err(error) => error.into(),
        };
        match self.remembered().await {
            Ok(Some(remembered)) => {
                let (error, release) = (format!("{taken:#}"), &remembered.description.release);
                let release = format!("{}@{}", release.name, release.version);
                tracing::warn!(target: "palisade_host::serve", release, error, "the release that served last serves again");
                Ok(remembered)
            }
            Ok(None) => Err(taken),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(target: "palisade_host::serve", error, "the release that served last cannot serve either");
                Err(taken)
            }
        }
    }

    /// Looks again and again where `champion` points; `first` marks where it did at the start. Ends with the process.
    pub(super) async fn follow_champion(&self, shared: &Shared, first: Option<Etag>) {
        let mut seen = Seen { etag: first, ..Seen::default() };
        if matches!(self.champion.target, Target::Version(_)) {
            return;
        }
        loop {
            tokio::time::sleep(self.every.mul_f64(jitter())).await;
            self.look(&self.champion, &mut seen, shared, true).await;
        }
    }

    /// The same for the challenger, which is not there at the start: nobody waits for it. On its own, so that a challenger that is slow to
    /// come does not keep the champion from moving.
    pub(super) async fn follow_challenger(&self, shared: &Shared) {
        let Some(challenger) = &self.challenger else { return };
        let mut seen = Seen::default();
        loop {
            self.look(challenger, &mut seen, shared, false).await;
            tokio::time::sleep(self.every.mul_f64(jitter())).await;
        }
    }

    /// One look at an alias, and what follows from it.
    async fn look(&self, reference: &Reference, seen: &mut Seen, shared: &Shared, serves: bool) {
        seen.refused = seen.refused.map(|rounds| rounds + 1);
        let known = seen.etag.as_ref().filter(|_| seen.refused.is_none_or(|rounds| rounds < ROUNDS_REFUSED));
        let resolved = match self.registry.resolve_if_changed(reference, known).await {
            Ok(Resolution::Same) => return self.answered(seen, shared),
            Ok(Resolution::Changed(resolved)) => resolved,
            Err(palisade_registry::Error::NotFound { .. }) if !serves => {
                shared.shadow.set(None);
                *seen = Seen::default();
                return self.answered(seen, shared);
            }
            Err(error) => {
                if !std::mem::replace(&mut seen.failing, true) {
                    let error = chain(&error);
                    tracing::warn!(target: "palisade_host::serve", reference = shown(reference), error, "the registry does not answer");
                }
                return;
            }
        };
        self.answered(seen, shared);
        let started = Instant::now();
        let release = format!("{}@{}", resolved.model, resolved.version);
        let served = shared.classifiers.current();
        let is_same = served.description.release.digest == resolved.release_digest.to_string();
        if serves && is_same {
            *seen = Seen { etag: Some(resolved.etag), ..Seen::default() };
            return;
        }
        match self.take(&resolved).await {
            Ok(taken) => {
                let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let sequence = resolved.sequence;
                if serves {
                    self.remember(&resolved);
                    shared.metrics.releases_taken.inc();
                    shared.metrics.serves(&taken.description);
                    shared.classifiers.swap(Release::new(taken.loaded, taken.description));
                    tracing::info!(target: "palisade_host::serve", release, sequence, ms, before = served.name(), "the release serves now");
                } else {
                    shared.shadow.set(Some(Release::new(taken.loaded, taken.description)));
                    tracing::info!(target: "palisade_host::serve", release, sequence, ms, "the challenger is in the shadow now");
                }
                *seen = Seen { etag: Some(resolved.etag), ..Seen::default() };
                let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
                let [champion, challenger] = &mut *in_use;
                *(if serves { champion } else { challenger }) = Some(resolved.digest.to_string());
                self.prune(&in_use);
            }
            Err(error) => {
                let is_transient = error.downcast_ref().is_some_and(palisade_registry::Error::is_transient);
                let error = format!("{error:#}");
                if is_transient {
                    tracing::warn!(target: "palisade_host::serve", release, error, "the release cannot be pulled now");
                    return;
                }
                if seen.etag.as_ref() != Some(&resolved.etag) {
                    shared.metrics.releases_refused.inc();
                }
                tracing::error!(target: "palisade_host::serve", release, error, serving = served.name(), "the release is refused");
                *seen = Seen { etag: Some(resolved.etag), refused: Some(0), failing: false };
            }
        }
    }

    fn answered(&self, seen: &mut Seen, shared: &Shared) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        shared.metrics.registry_checked.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        if std::mem::replace(&mut seen.failing, false) {
            tracing::info!(target: "palisade_host::serve", registry = self.registry.url(), "the registry answers again");
        }
    }

    /// Pulls, verifies, loads and tries a version.
    async fn take(&self, resolved: &Resolved) -> Result<Taken> {
        let version = Reference { model: resolved.model.clone(), target: Target::Version(resolved.version.clone()) };
        let folder = self.folder.join(resolved.model.as_str()).join(resolved.digest.to_string());
        let signer = Signer::default();
        let options = PullOptions::trusting(signer.check(&self.trust));
        let pulled = self.registry.pull(&version, &folder, options).await?;
        if pulled.digest != resolved.digest {
            bail!(
                "{}: the manifest has the SHA-256 {}, and the alias points at {}",
                shown(&version),
                pulled.digest,
                resolved.digest
            );
        }
        let (loaded, description) = self.load(pulled).await?;
        Ok(Taken { loaded, description, etag: Some(resolved.etag.clone()) })
    }

    /// Loads and tries what was pulled, on a thread of its own: it takes seconds.
    async fn load(&self, pulled: Pulled) -> Result<(Loaded, Description)> {
        let (runtime, engine, policies) = (self.runtime.clone(), self.engine, self.policies.clone());
        let work = move || load(&pulled, &runtime, engine, policies.as_deref());
        tokio::task::spawn_blocking(work).await.context("the thread that loads a release failed")?
    }

    /// Remembers where the alias points, for a start at which the store does not answer. Best effort.
    fn remember(&self, resolved: &Resolved) {
        let remembered = format!("{}\n{}\n{}\n", resolved.version, resolved.digest, resolved.release_digest);
        let file = self.remembered_file();
        if let Err(error) = write_whole(&file, remembered.as_bytes()) {
            tracing::warn!(target: "palisade_host::serve", file = %file.display(), %error, "the release is not remembered");
        }
    }

    fn remembered_file(&self) -> PathBuf {
        self.folder.join(format!("{}.last", shown(&self.champion)))
    }

    /// The release that served last, from this machine's own folder, with its digests and signature checked as if it was pulled; nothing
    /// where none did.
    async fn remembered(&self) -> Result<Option<Taken>> {
        let Some([_, digest, _]) = self.remembers() else { return Ok(None) };
        let folder = self.folder.join(self.champion.model.as_str()).join(&digest);
        let signer = Signer::default();
        let pulled = palisade_registry::reopen(&folder, signer.check(&self.trust)).await?;
        if pulled.digest.to_string() != digest {
            bail!("{}: another version than the one that served last", folder.display());
        }
        let (loaded, description) = self.load(pulled).await?;
        Ok(Some(Taken { loaded, description, etag: None }))
    }

    /// Version, manifest and release that served last.
    fn remembers(&self) -> Option<[String; 3]> {
        let text = std::fs::read_to_string(self.remembered_file()).ok()?;
        text.lines().map(str::to_owned).collect::<Vec<_>>().try_into().ok()
    }

    /// Removes versions that were pulled longest ago, but for those in use.
    fn prune(&self, in_use: &[Option<String>; 2]) {
        let folder = self.folder.join(self.champion.model.as_str());
        let last = self.remembers().map(|[_, digest, _]| digest);
        let mut pulled: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                !in_use.iter().flatten().chain(&last).any(|used| *used == name)
            })
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        pulled.sort();
        for (_, folder) in pulled.iter().rev().skip(KEPT) {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn load(
    pulled: &Pulled,
    runtime: &Runtime,
    engine: EngineKind,
    policies: Option<&str>,
) -> Result<(Loaded, Description)> {
    let artefact = artefact(pulled)?;
    let loaded = match engine {
        EngineKind::Native => Loaded::native(&artefact)?,
        EngineKind::Component => runtime.load(&artefact)?,
    };
    let description = loaded.instantiate()?.describe()?;
    let digest = pulled.manifest.release_digest.to_string();
    if description.release.digest != digest {
        bail!(
            "{}: holds the release {}, and {digest} was published",
            artefact.path.display(),
            description.release.digest
        );
    }
    if let Some(policies) = policies {
        let labels: Vec<&str> = description.labels.iter().map(|label| label.name.as_str()).collect();
        Policies::parse(policies, Some(&labels)).context("the policies do not go with it")?;
    }
    let release = format!("{}@{}", pulled.manifest.name, pulled.manifest.version);
    match read(pulled, CASES)? {
        Some(cases) => {
            let tried = golden::check(&loaded, &cases).map_err(|problem| anyhow::anyhow!("{release}: {problem}"))?;
            tracing::info!(target: "palisade_host::serve", release, cases = tried, "the golden cases have the published scores");
        }
        None => {
            tracing::warn!(target: "palisade_host::serve", release, "the release has no golden cases ({CASES}) to try it on");
        }
    }
    Ok((loaded, description))
}

/// The artefact of a pulled version; baked where it came without.
fn artefact(pulled: &Pulled) -> Result<Artefact> {
    let path = pulled.folder.join(ARTEFACT);
    if let Some(bytes) = read(pulled, ARTEFACT)? {
        return Ok(Artefact::from_bytes(&path, bytes)?);
    }
    let release = ReleaseFolder::read(&pulled.folder)?;
    if release.digest() != pulled.manifest.release_digest.to_string() {
        bail!("{}: changed since it was pulled; remove the folder", pulled.folder.display());
    }
    Ok(Artefact::from_bytes(&path, bake_default(&release)?)?)
}

/// A file that the manifest names, with the digest of the very bytes that are used; nothing where it names none.
fn read(pulled: &Pulled, name: &str) -> Result<Option<Vec<u8>>> {
    let Some(file) = pulled.manifest.file(name) else { return Ok(None) };
    let path = pulled.folder.join(name);
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    if palisade_registry::Digest::of(&bytes) != file.sha256 {
        bail!("{}: changed since it was pulled; remove the folder", path.display());
    }
    Ok(Some(bytes))
}

/// Between 0.9 and 1.1, so that many servers do not ask at once.
fn jitter() -> f64 {
    0.9 + 0.2 * f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}

pub(crate) fn shown(reference: &Reference) -> String {
    match &reference.target {
        Target::Alias(alias) => format!("{}@{alias}", reference.model),
        Target::Version(version) => format!("{}@{version}", reference.model),
    }
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
