//! What moves aliases, retires and sweeps up.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use palisade_registry::{
    AliasName, By, GcOptions, Leftover, ModelName, Outcome, Promoted, Reference, Resolved, Target, Version,
};

use super::{Form, RegistryArguments, TrustArguments, print, print_json};
use serde_json::{Value, json};

use crate::artefact::mib;
use crate::commands::{ExitStatus, say};
use crate::trusting::Signer;

/// Arguments of `promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// The version, as name@version; or name@alias, for what that alias points at
    reference: String,
    /// Which alias to move
    #[arg(long, default_value = "champion", value_name = "ALIAS")]
    to: AliasName,
    /// Version that the alias must still point at, or nothing moves
    #[arg(long, value_name = "VERSION")]
    expect: Option<Version>,
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

impl Promote {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let reference = Reference::parse(&self.reference)?;
        let registry = self.registry.open_for_writing().await?;
        let resolved = registry.resolve(&reference).await?;
        // A server would refuse it; better to hear it now.
        let (trust, signer) = (self.trust.read()?, Signer::default());
        registry.check(&resolved, signer.check(&trust)).await?;
        let by = By::environment(&self.why);
        let promoted =
            registry.promote(&resolved.model, &resolved.version, &self.to, &by, self.expect.as_ref()).await?;
        answer(&resolved.model, &promoted, self.form)
    }
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The alias, as name@alias; done twice, it is where it was
    reference: String,
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

impl Rollback {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let reference = Reference::parse(&self.reference)?;
        let Target::Alias(alias) = &reference.target else {
            bail!("{} is a version, and only an alias can be rolled back: name@champion", self.reference);
        };
        let registry = self.registry.open_for_writing().await?;
        let model = registry.model(&reference.model).await?;
        let pointer = model.aliases.iter().find(|pointer| pointer.alias == *alias);
        if let Some(previous) = pointer.and_then(|pointer| pointer.previous.as_ref()) {
            let (trust, signer) = (self.trust.read()?, Signer::default());
            let version = registry.resolve(&Reference::version(&reference.model, &previous.version)).await?;
            registry.check(&Resolved { digest: previous.digest, ..version }, signer.check(&trust)).await?;
        }
        let (by, expect) = (By::environment(&self.why), pointer.map(|pointer| &pointer.version));
        let rolled_back = registry.rollback(&reference.model, alias, &by, expect).await?;
        answer(&reference.model, &rolled_back, self.form)
    }
}

fn answer(model: &ModelName, promoted: &Promoted, form: Form) -> Result<ExitStatus> {
    let pointer = &promoted.pointer;
    if form.json {
        print_json(pointer)?;
        return Ok(ExitStatus::Done);
    }
    let before = match &pointer.previous {
        _ if promoted.already => ", as before".to_owned(),
        Some(previous) => format!(" (before: {})", previous.version),
        None => String::new(),
    };
    print(&format!("{model}@{} is {}{before}\n", pointer.alias, pointer.version));
    Ok(ExitStatus::Done)
}

/// Arguments of `retire`.
#[derive(Debug, Args)]
pub struct Retire {
    /// The version, as name@version
    reference: String,
    /// Why, for the history
    #[arg(long, default_value = "", value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    form: Form,
}

impl Retire {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let reference = Reference::parse(&self.reference)?;
        let Target::Version(version) = &reference.target else {
            bail!("{} is an alias: name the version, as name@version", self.reference);
        };
        let registry = self.registry.open_for_writing().await?;
        let retired = registry.retire(&reference.model, version, &By::environment(&self.why)).await?;
        if self.form.json {
            print_json(&retired)?;
            return Ok(ExitStatus::Done);
        }
        print(&format!("{}@{version} is retired\n", reference.model));
        Ok(ExitStatus::Done)
    }
}

/// Arguments of `gc`.
#[derive(Debug, Args)]
pub struct Gc {
    /// Only leftovers that are older, in hours: a publisher may still be at work on younger ones
    #[arg(long, default_value_t = 24, value_name = "HOURS")]
    older_than_h: u64,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    form: Form,
}

impl Gc {
    pub(super) async fn run(&self) -> Result<ExitStatus> {
        let registry = self.registry.open_for_writing().await?;
        let older_than = Duration::from_secs(self.older_than_h.saturating_mul(3600));
        let options = GcOptions { older_than, dry_run: self.dry_run, ..GcOptions::default() };
        let collected = registry.gc(&By::environment(""), options).await?;
        for problem in &collected.problems {
            say(&format!("warning: {}: {}", problem.object, problem.reason));
        }
        if self.form.json {
            let leftovers: Vec<_> = collected.leftovers.iter().map(leftover_json).collect();
            print_json(&json!({ "leftovers": leftovers, "strays": collected.strays }))?;
        } else {
            for Leftover { version, objects, bytes, outcome, .. } in &collected.leftovers {
                print(&format!("{version}: {objects} objects ({}) {}\n", mib(*bytes), shown(*outcome)));
            }
            print(&format!("{} stray objects\n", collected.strays));
        }
        Ok(ExitStatus::Done)
    }
}

fn leftover_json(leftover: &Leftover) -> Value {
    let Leftover { version, objects, bytes, newest, outcome } = leftover;
    json!({ "version": version, "objects": objects, "bytes": bytes, "newest": newest, "outcome": shown(*outcome) })
}

fn shown(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Removed => "removed",
        Outcome::WouldRemove => "would be removed",
        Outcome::TooYoung => "left alone: a publisher may be at work",
        Outcome::Busy => "left alone: somebody else is at it",
    }
}
