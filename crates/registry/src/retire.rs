//! Retiring a version: it stays what it is, and is never promoted again.

use std::time::Duration;

use crate::digest::Time;
use crate::documents::{EVENT_SCHEMA, Retired, to_bytes};
use crate::error::{Error, Result};
use crate::layout;
use crate::names::{ModelName, Reference, Version};
use crate::store::Created;
use crate::writer::{By, Writer};

/// How often, and with what pauses, whoever promoted the version at the same time is waited for.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

impl Writer {
    /// Retires a version, for good; a second time changes nothing. Refused while an alias points at it, `previous` aside: what was
    /// just rolled back from can be retired, and is then not rolled back to. Of this and a promotion at the same moment one is refused:
    /// a promoter who sees the mark takes the alias back, and where none does, the mark is taken away.
    pub async fn retire(&self, model: &ModelName, version: &Version, by: &By) -> Result<Retired> {
        let whole = self.version(model, version).await?;
        self.check_unused(model, version).await?;
        let retired = Retired {
            schema: EVENT_SCHEMA.to_owned(),
            who: by.who.clone(),
            why: by.why.clone(),
            when: Time::now_after(whole.manifest.created),
        };
        let name = layout::file(model, version, crate::documents::RETIRED);
        let (retired, is_ours) = match self.store.create(&name, &to_bytes(&retired)?.into()).await? {
            Created::Ours(_) => (retired, true),
            Created::Other => (self.retired(model, version).await?.unwrap_or(retired), false),
        };
        // Whoever promoted it in between may not have seen that it is retired; who sees it takes the alias back.
        let mut found = self.check_unused(model, version).await;
        for _ in 0..PATIENCE {
            if !matches!(found, Err(Error::InUse { .. })) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            found = self.check_unused(model, version).await;
        }
        if is_ours && matches!(found, Err(Error::InUse { .. })) {
            self.store.delete(&name).await?;
        }
        found?;
        self.write_event(&retired.event(model, version), version.as_str()).await?;
        Ok(retired)
    }

    async fn check_unused(&self, model: &ModelName, version: &Version) -> Result<()> {
        let (pointers, _) = self.pointers(model).await?;
        let there = pointers.iter().filter(|pointer| pointer.version == *version && !pointer.is_follower());
        let aliases: Vec<_> = there.map(|pointer| pointer.alias.to_string()).collect();
        if aliases.is_empty() {
            return Ok(());
        }
        Err(Error::InUse { version: Reference::version(model, version).to_string(), aliases: aliases.join(", ") })
    }
}
