//! Retiring a version: it stays what it is, and is never promoted again.

use crate::digest::Time;
use crate::documents::{EVENT_SCHEMA, Retired, to_bytes};
use crate::error::{Error, Result};
use crate::layout;
use crate::names::{ModelName, Reference, Version};
use crate::store::Created;
use crate::writer::{By, Writer};

impl Writer {
    /// Retires a version, for good; a second time changes nothing. Refused while an alias points at it, `previous` aside: what was
    /// just rolled back from can be retired, and is then not rolled back to.
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
        let retired = match self.store.create(&name, &to_bytes(&retired)?.into()).await? {
            Created::Ours(_) => retired,
            Created::Other => self.retired(model, version).await?.unwrap_or(retired),
        };
        self.write_event(&retired.event(model, version), version.as_str()).await?;
        // Whoever promoted it in between did not see that it is retired, but we see the alias.
        self.check_unused(model, version).await?;
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
