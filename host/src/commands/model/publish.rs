//! `palisade model publish` and `keygen`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use palisade_registry::key::PrivateKey;
use palisade_registry::signature::sign;
use palisade_registry::trust::Trust;
use palisade_registry::{
    AliasName, By, Data, Digest, Lineage, Location, ModelName, Progress, PublishOptions, Reference, ReleaseFiles, Sign,
    Step, Target, Version, Writer,
};
use serde_json::json;
use std::io::IsTerminal;

use super::{Form, RegistryArguments, TrustArguments, print, print_json};
use crate::Artefact;
use crate::bake::ReleaseFolder;
use crate::commands::bake::bake_default;
use crate::commands::{ExitStatus, say};
use crate::trusting::Signer;

/// Name of a version's artefact.
pub(crate) const ARTEFACT: &str = "classifier.wasm";
/// Variable that may hold the key to sign with.
const KEY_VARIABLE: &str = "PALISADE_SIGN_KEY";

/// Arguments of `publish`.
#[derive(Debug, Args)]
pub struct Publish {
    /// Folder of the release: release.json, the files that it names, and what belongs to it (README.md as card.md, cases.jsonl, metrics.json)
    release: PathBuf,
    /// The artefact that the release was baked into [default: classifier.wasm of the folder, or one that is baked now]
    #[arg(long, value_name = "FILE")]
    artefact: Option<PathBuf>,
    /// Private key to sign with, in PEM [default: the variable `PALISADE_SIGN_KEY` where it is set, else unsigned]
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// Version that it was made from
    #[arg(long, value_name = "VERSION")]
    parent: Option<Version>,
    /// Data that it was trained on; may be given more than once
    #[arg(long, value_name = "NAME=SHA256", value_parser = data)]
    data: Vec<Data>,
    /// Revision of the code that trained it
    #[arg(long, value_name = "REVISION")]
    code_revision: Option<String>,
    /// Point this alias at it, once it is there
    #[arg(long, value_name = "ALIAS")]
    promote: Option<AliasName>,
    /// Why, for the history
    #[arg(long, default_value = "", value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    form: Form,
}

fn data(text: &str) -> Result<Data, String> {
    let (name, sha256) = text.rsplit_once('=').ok_or("write NAME=SHA256")?;
    let sha256 = sha256.parse().map_err(|e| format!("{e}"))?;
    Ok(Data { name: name.to_owned(), sha256 })
}

impl Publish {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let (trust, key) = (self.trust.read()?, sign_key(self.sign_key.as_ref())?);
        if self.promote.is_some() && trust.refuses_unsigned() && key.is_none() {
            bail!(
                "nothing was published: the trust policy wants signatures; name a key with --sign-key, or leave out --promote"
            );
        }
        let (release, _baked) = release_files(&self.release, self.artefact.as_ref())?;
        let by = By::environment(&self.why);
        let lineage =
            Lineage { parent: self.parent.clone(), data: self.data.clone(), code_revision: self.code_revision.clone() };
        let bar = bar();
        let progress = |progress: Progress| show(&bar, progress);
        let sign = key.as_ref().map(signing);
        let registry = self.registry.open_for_writing().await?;
        let options = PublishOptions { by: &by, lineage, sign, progress: Some(&progress) };
        let published = registry.publish(&release, options).await?;
        bar.finish_and_clear();
        let manifest = &published.manifest;
        let promoted = match &self.promote {
            Some(alias) => {
                // A server would refuse it.
                let resolved = registry.resolve(&Reference::version(&manifest.name, &manifest.version)).await?;
                let checked = registry.check(&resolved, Signer::default().check(&trust)).await;
                checked.context("it was published, and not promoted")?;
                Some(registry.promote(&manifest.name, &manifest.version, alias, &by, None).await?)
            }
            None => None,
        };
        let pointer = promoted.as_ref().map(|promoted| &promoted.pointer);
        if self.form.json {
            let (digest, already, signed) = (published.digest, published.already, published.signed);
            print_json(
                &json!({ "manifest": manifest, "digest": digest, "already": already, "signed": signed, "promoted": pointer }),
            )?;
        } else {
            let how = match (published.already, published.signed) {
                (true, _) => "was there already",
                (false, true) => "published and signed",
                (false, false) => "published, unsigned",
            };
            print(&format!("{}@{} {how} ({})\n", manifest.name, manifest.version, published.digest));
            if let Some(pointer) = pointer {
                print(&format!("{}@{} is {}\n", manifest.name, pointer.alias, pointer.version));
            }
        }
        Ok(ExitStatus::Done)
    }
}

/// Arguments of `sign`.
#[derive(Debug, Args)]
pub struct SignVersion {
    /// The version, as name@version or name@alias
    reference: Reference,
    /// Private key to sign with, in PEM [default: the variable `PALISADE_SIGN_KEY`]
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// SHA-256 of its manifest, as `publish` printed it [default: the signature that it has must be one that --trust allows]
    #[arg(long, value_name = "SHA256")]
    digest: Option<Digest>,
    /// Why, for the history
    #[arg(long, default_value = "", value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    form: Form,
}

impl SignVersion {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let key = sign_key(self.sign_key.as_ref())?;
        let key =
            key.with_context(|| format!("no key to sign with: name one with --sign-key, or in {KEY_VARIABLE}"))?;
        let registry = self.registry.open_for_writing().await?;
        let resolved = registry.resolve(&self.reference).await?;
        let trust = self.trust.read()?;
        match self.digest {
            Some(digest) if digest == resolved.digest => (),
            Some(digest) => bail!("{}: the manifest's SHA-256 is {}, not {digest}", self.reference, resolved.digest),
            None if trust.refuses_unsigned() => registry.check(&resolved, Signer::default().check(&trust)).await?,
            None => bail!(
                "{}: what the store holds may not be what was published: name the manifest's SHA-256 with --digest (`publish` printed \
                 it), or with --trust a policy that allows the signature that it has",
                self.reference
            ),
        }
        let by = By::environment(&self.why);
        let event = registry.sign(&resolved, &by, signing(&key)).await?;
        if self.form.json {
            print_json(&event)?;
        } else {
            print(&format!("{}@{} is signed\n", resolved.model, resolved.version));
        }
        Ok(ExitStatus::Done)
    }
}

/// The key to sign with: of a file, or of the environment.
fn sign_key(path: Option<&PathBuf>) -> Result<Option<PrivateKey>> {
    match path {
        Some(path) => Ok(Some(PrivateKey::read(path)?)),
        None if std::env::var_os(KEY_VARIABLE).is_some() => Ok(Some(PrivateKey::from_environment(KEY_VARIABLE)?)),
        None => Ok(None),
    }
}

/// Publishes the first release of a model and points an alias at it. Two who do so at once do it once.
pub(crate) async fn publish_initial(
    location: &Location,
    folder: &Path,
    model: &ModelName,
    alias: &AliasName,
    trust: &Trust,
) -> Result<()> {
    let name = ReleaseFolder::read(folder)?.name().to_owned();
    if name != model.as_str() {
        bail!("{}: is of the model {name}, and {model} is to be served; name another --initial", folder.display());
    }
    if trust.refuses_unsigned() && std::env::var_os(KEY_VARIABLE).is_none() {
        bail!("the trust policy wants signatures: publish the first release with `palisade model publish --sign-key`");
    }
    let (release, _baked) = release_files(folder, None)?;
    let by = By::environment("the first release of a fresh registry");
    let key = sign_key(None)?;
    let registry = Writer::open(location).await?;
    let options = PublishOptions { sign: key.as_ref().map(signing), ..PublishOptions::by(&by) };
    let manifest = registry.publish(&release, options).await?.manifest;
    let reference = Reference { model: manifest.name.clone(), target: Target::Alias(alias.clone()) };
    // Another who was quicker may have promoted something else since.
    match registry.resolve(&reference).await {
        Err(palisade_registry::Error::NotFound { .. }) => {
            registry.promote(&manifest.name, &manifest.version, alias, &by, None).await?;
            Ok(())
        }
        other => other.map(drop).map_err(Into::into),
    }
}

/// Signs with a key; the subject is for people.
pub(crate) fn signing(key: &PrivateKey) -> Sign<'_> {
    Box::new(|digests| {
        let digests = digests.iter().map(|(name, digest)| (name.clone(), *digest.as_bytes())).collect();
        sign(key, "palisade release", &digests).map_err(|e| e.to_string())
    })
}

/// The files of a release's folder with the artefact: the one that is named, the folder's own, or one that is baked now, which lives as long as what comes with it.
pub(crate) fn release_files(
    folder: &Path,
    artefact: Option<&PathBuf>,
) -> Result<(ReleaseFiles, Option<tempfile::NamedTempFile>)> {
    let release = ReleaseFolder::read(folder)?; // checks the digests, before anything is sent
    let files = ReleaseFiles::folder(folder)?;
    let own = folder.join(ARTEFACT);
    let named = artefact.or(own.is_file().then_some(&own));
    if let Some(path) = named {
        let artefact = Artefact::read(path)?;
        let inside = artefact.anatomy.release_manifest().map(|manifest| manifest.digest);
        if inside.as_deref() != Some(release.digest()) {
            bail!(
                "{}: holds another release than {}; bake this one, or leave it out",
                path.display(),
                folder.display()
            );
        }
        return Ok((files.with(ARTEFACT, path)?, None));
    }
    say("baking the release");
    let mut baked = tempfile::NamedTempFile::new().context("no temporary file for the artefact")?;
    std::io::Write::write_all(&mut baked, &bake_default(&release)?).context("no space for the artefact")?;
    Ok((files.with(ARTEFACT, baked.path())?, Some(baked)))
}

/// Bytes on standard error; hidden where that is no terminal.
pub(super) fn bar() -> ProgressBar {
    let is_terminal = std::io::stderr().is_terminal();
    let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}") {
        bar.set_style(style);
    }
    bar
}

pub(super) fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_message(match progress.step {
        Step::Reading => "reading",
        Step::Sending => "sending",
        Step::Fetching => "fetching",
    });
    bar.set_length(progress.total);
    bar.set_position(progress.done);
}

/// Arguments of `keygen`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Where to write the private key, which is to be kept secret; the public one goes beside it, with .pub behind its name
    private: PathBuf,
    #[command(flatten)]
    form: Form,
}

impl Keygen {
    pub(super) fn run(&self) -> Result<ExitStatus> {
        let mut public = self.private.clone().into_os_string();
        public.push(".pub");
        let public = PathBuf::from(public);
        let key = PrivateKey::generate()?;
        key.write(&self.private, &public)?;
        say(&format!("wrote the private key {}, and {}", self.private.display(), public.display()));
        let name = self.private.file_stem().unwrap_or_default().to_string_lossy();
        if self.form.json {
            print_json(&json!({ "name": name, "private": self.private, "public": public, "pem": key.public().pem() }))?;
            return Ok(ExitStatus::Done);
        }
        print(&format!(
            "schema = \"palisade-trust/1\"\n\n[[key]]\nname = {}\nmodels = [\"*\"]\npublic-key = \"\"\"\n{}\"\"\"\n",
            serde_json::to_string(&name)?, // a JSON string is a TOML string
            key.public().pem()
        ));
        Ok(ExitStatus::Done)
    }
}
