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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use palisade_protocols::policy::Policies;
use palisade_registry::trust::Trust;
use palisade_registry::{
    Etag, Location, ModelName, PullOptions, Pulled, Reference, Registry, Resolution, Resolved, Retired, Target, Version,
};

use super::Shared;
use super::classifiers::Release;
use crate::bake::ReleaseFolder;
use crate::bindings::Description;
use crate::commands::bake::bake_default;
use crate::commands::model::publish::ARTEFACT;
use crate::commands::{chain, write_whole};
use crate::trusting::Signer;
use crate::{Artefact, EngineKind, Loaded, Runtime, cache, golden};

/// After so many rounds a release that was refused is tried again: somebody may have mended it where it lies.
const ROUNDS_REFUSED: u32 = 60;
/// Pulled versions that are kept beside those in use.
const KEPT: usize = 2;
/// File of a version with texts and the scores that they must have.
const CASES: &str = "cases.jsonl";
/// By how much the threads that compile give way: a tenth of the time of one that does not.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

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
    /// Whether the alias had gone back to an earlier move before the start.
    pub began_back: AtomicBool,
    /// The manifests in use here, champion's and challenger's.
    pub in_use: Mutex<[Option<String>; 2]>,
}

/// What became of an alias when it was last looked at.
#[derive(Debug, Default)]
struct Seen {
    etag: Option<Etag>,
    /// The number of the alias's last move.
    sequence: Option<u64>,
    /// Rounds since the release there was refused.
    refused: Option<u32>,
    /// Whether the last look failed, so that only changes are logged.
    failing: bool,
}

/// What served last.
struct Last {
    /// SHA-256 of its manifest.
    digest: String,
    /// The number of the alias's move to it.
    sequence: Option<u64>,
}

impl Follow {
    /// The release to begin with: what the alias points at, or, where that cannot be had or is refused, the one that served last.
    pub async fn first(&self) -> Result<Taken> {
        let (taken, answers) = match self.registry.resolve(&self.champion).await {
            Ok(resolved) => match self.take(&resolved).await {
                Ok(taken) => {
                    let before = self.remembers().and_then(|last| last.sequence);
                    self.began_back.store(self.went_back(&resolved, before), Ordering::Relaxed);
                    self.remember(&resolved);
                    return Ok(taken);
                }
                Err(error) => (error, true),
            },
            // A folder that is empty all at once is a disk that is not mounted, more likely than a fresh registry.
            Err(error) => (error.into(), false),
        };
        match self.remembered(answers).await {
            Ok(Some(remembered)) => {
                let (error, release) = (chain(taken.as_ref()), &remembered.description.release);
                let release = format!("{}@{}", release.name, release.version);
                tracing::warn!(target: "palisade_host::serve", release, error, "the release that served last serves again");
                Ok(remembered)
            }
            Ok(None) => Err(taken),
            Err(error) => {
                let error = chain(error.as_ref());
                tracing::warn!(target: "palisade_host::serve", error, "the release that served last cannot serve either");
                Err(taken)
            }
        }
    }

    /// Looks again and again where `champion` points; `first` marks where it did at the start. Ends with the process.
    pub(super) async fn follow_champion(&self, shared: &Shared, first: Option<Etag>) {
        let sequence = self.remembers().and_then(|last| last.sequence);
        let mut seen = Seen { etag: first, sequence, ..Seen::default() };
        if self.began_back.load(Ordering::Relaxed) {
            shared.metrics.alias_went_back.inc();
        }
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
        if self.went_back(&resolved, seen.sequence) {
            shared.metrics.alias_went_back.inc();
        }
        seen.sequence = resolved.sequence;
        let started = Instant::now();
        let release = format!("{}@{}", resolved.model, resolved.version);
        let served = shared.classifiers.current();
        let is_same = served.description.release.digest == resolved.release_digest.to_string();
        if serves && is_same {
            self.remember(&resolved);
            *seen = Seen { etag: Some(resolved.etag), sequence: resolved.sequence, ..Seen::default() };
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
                *seen = Seen { etag: Some(resolved.etag), sequence, ..Seen::default() };
                let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
                let [champion, challenger] = &mut *in_use;
                *(if serves { champion } else { challenger }) = Some(resolved.digest.to_string());
                self.prune(&in_use);
            }
            Err(error) => {
                let is_transient = error.downcast_ref().is_some_and(palisade_registry::Error::is_transient);
                let error = chain(error.as_ref());
                if is_transient {
                    tracing::warn!(target: "palisade_host::serve", release, error, "the release cannot be pulled now");
                    return;
                }
                if seen.etag.as_ref() != Some(&resolved.etag) {
                    shared.metrics.releases_refused.inc();
                }
                tracing::error!(target: "palisade_host::serve", release, error, serving = served.name(), "the release is refused");
                let sequence = resolved.sequence;
                *seen = Seen { etag: Some(resolved.etag), sequence, refused: Some(0), failing: false };
            }
        }
    }

    /// Whether an alias's move has a lower number than one before, which no promotion or rollback does. It is followed all the same,
    /// for signatures decide what may serve, and told loudly.
    fn went_back(&self, resolved: &Resolved, before: Option<u64>) -> bool {
        let (Some(now), Some(before)) = (resolved.sequence, before) else { return false };
        if now < before {
            let (model, version, registry) = (&resolved.model, &resolved.version, self.registry.url());
            tracing::error!(
                target: "palisade_host::serve", %model, %version, registry, sequence = now, before,
                "the alias went back to an earlier move: the registry was restored from a copy, or somebody put an old pointer in its place"
            );
        }
        now < before
    }

    fn answered(&self, seen: &mut Seen, shared: &Shared) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        shared.metrics.registry_checked.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        if std::mem::replace(&mut seen.failing, false) {
            tracing::info!(target: "palisade_host::serve", registry = self.registry.url(), "the registry answers again");
        }
    }

    /// That a version is not retired, as far as can be told: who may read objects but not list them is refused what is not there.
    async fn check_not_retired(&self, model: &ModelName, version: &Version) -> Result<()> {
        match self.registry.retired(model, version).await {
            Ok(None) => Ok(()),
            Ok(Some(Retired { who, why, .. })) => {
                bail!("{model}@{version} was retired by {who} ({why}); promote another");
            }
            Err(palisade_registry::Error::Denied { .. }) => {
                tracing::warn!(target: "palisade_host::serve", %model, %version, "the store does not let these credentials see whether the version is retired: allow them to list");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Pulls, verifies, loads and tries a version.
    async fn take(&self, resolved: &Resolved) -> Result<Taken> {
        let (model, version) = (&resolved.model, &resolved.version);
        // Whoever promoted it while it was retired takes it back; this is for one who died before that.
        self.check_not_retired(model, version).await?;
        let folder = self.folder.join(model.as_str()).join(resolved.digest.to_string());
        let signer = Signer::default();
        let options = PullOptions { owns_folder: true, ..PullOptions::trusting(signer.check(&self.trust)) };
        let pulled = self.registry.pull_resolved(resolved, &folder, options).await?;
        let (loaded, description) = self.load(pulled).await?;
        Ok(Taken { loaded, description, etag: Some(resolved.etag.clone()) })
    }

    /// Compiles what was pulled, on threads that give way to those that score, for it takes seconds of all cores, and tries it.
    async fn load(&self, pulled: Pulled) -> Result<(Loaded, Description)> {
        let (runtime, engine, policies) = (self.runtime.clone(), self.engine, self.policies.clone());
        let work = move || {
            let compile = || compile(&pulled, &runtime, engine);
            let loaded = background().context("no threads to compile on")?.install(compile)?;
            let description = tried(&pulled, &loaded, policies.as_deref())?;
            Ok((loaded, description))
        };
        tokio::task::spawn_blocking(work).await.context("the thread that loads a release failed")?
    }

    /// Remembers where the alias points, for a start at which the store does not answer. Best effort.
    fn remember(&self, resolved: &Resolved) {
        let sequence = resolved.sequence.unwrap_or_default();
        let remembered = format!("{}\n{sequence}\n", resolved.digest);
        let file = self.remembered_file();
        if let Err(error) = write_whole(&file, remembered.as_bytes()) {
            tracing::warn!(target: "palisade_host::serve", file = %file.display(), %error, "the release is not remembered");
        }
    }

    fn remembered_file(&self) -> PathBuf {
        self.folder.join(format!("{}.last", shown(&self.champion)))
    }

    /// The release that served last, from this machine's own folder, with its digests and signature checked as if it was pulled; nothing
    /// where none did. No store says what it must be, hence the folder must be one that others cannot write to.
    async fn remembered(&self, answers: bool) -> Result<Option<Taken>> {
        let Some(Last { digest, .. }) = self.remembers() else { return Ok(None) };
        if !cache::is_trusted(std::fs::metadata(&self.folder)) {
            bail!("{}: others can write to it; chmod go-w, or name another with --releases", self.folder.display());
        }
        let folder = self.folder.join(self.champion.model.as_str()).join(&digest);
        let signer = Signer::default();
        let pulled = palisade_registry::reopen(&folder, signer.check(&self.trust)).await?;
        if pulled.digest.to_string() != digest {
            bail!("{}: another version than the one that served last", folder.display());
        }
        if answers {
            self.check_not_retired(&pulled.manifest.name, &pulled.manifest.version).await?;
        }
        let (loaded, description) = self.load(pulled).await?;
        Ok(Some(Taken { loaded, description, etag: None }))
    }

    fn remembers(&self) -> Option<Last> {
        let text = std::fs::read_to_string(self.remembered_file()).ok()?;
        let (digest, sequence) = text.trim_end().split_once('\n')?;
        Some(Last { digest: digest.to_owned(), sequence: sequence.parse().ok().filter(|&sequence| sequence > 0) })
    }

    /// Removes versions that were pulled longest ago, but for those in use.
    fn prune(&self, in_use: &[Option<String>; 2]) {
        let folder = self.folder.join(self.champion.model.as_str());
        let last = self.remembers().map(|last| last.digest);
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

fn compile(pulled: &Pulled, runtime: &Runtime, engine: EngineKind) -> Result<Loaded> {
    let artefact = artefact(pulled)?;
    Ok(match engine {
        EngineKind::Native => Loaded::native(&artefact)?,
        EngineKind::Component => runtime.load(&artefact)?,
    })
}

/// What a release says of itself, after it has shown that it is the one that was published.
fn tried(pulled: &Pulled, loaded: &Loaded, policies: Option<&str>) -> Result<Description> {
    let description = loaded.instantiate()?.describe()?;
    let digest = pulled.manifest.release_digest.to_string();
    if description.release.digest != digest {
        let path = pulled.folder.join(ARTEFACT);
        bail!("{}: holds the release {}, and {digest} was published", path.display(), description.release.digest);
    }
    if let Some(policies) = policies {
        let labels: Vec<&str> = description.labels.iter().map(|label| label.name.as_str()).collect();
        Policies::parse(policies, Some(&labels)).context("the policies do not go with it")?;
    }
    let release = format!("{}@{}", pulled.manifest.name, pulled.manifest.version);
    match read(pulled, CASES)? {
        Some(cases) => {
            let tried = golden::check(loaded, &cases).map_err(|problem| anyhow::anyhow!("{release}: {problem}"))?;
            tracing::info!(target: "palisade_host::serve", release, cases = tried, "the golden cases have the published scores");
        }
        None => {
            tracing::warn!(target: "palisade_host::serve", release, "the release has no golden cases ({CASES}) to try it on");
        }
    }
    Ok(description)
}

/// One thread a core, each of which runs while the others have nothing to do. wasmtime compiles on the pool that it is called in.
fn background() -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    let give_way = |_| {
        // Of the calling thread alone on Linux; elsewhere of the whole process.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::nice(NICE); // best effort
    };
    rayon::ThreadPoolBuilder::new().thread_name(|_| "load".to_owned()).start_handler(give_way).build()
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
