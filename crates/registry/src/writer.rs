//! Writing: the test that a store heeds conditions, and the log.

use std::ops::Deref;
use std::sync::Arc;

use object_store::ObjectStore;
use serde_json::{Map, Value};

use crate::digest::{Content, Time};
use crate::documents::{EVENT_SCHEMA, Event, parse, to_bytes};
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::names::{ModelName, Version};
use crate::registry::Registry;
use crate::store::{Created, status};

/// A registry, for writing: its store was seen to refuse what conditions forbid.
#[derive(Debug, Clone)]
pub struct Writer {
    registry: Registry,
}

impl Deref for Writer {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.registry
    }
}

/// Who does something, and why; both go into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub who: String,
    /// Why; may be empty.
    pub why: String,
}

impl By {
    /// `PALISADE_WHO` where it is set, else the user and the machine as the environment names them.
    pub fn environment(why: impl Into<String>) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let who = variable("PALISADE_WHO").unwrap_or_else(|| {
            let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "unknown".to_owned());
            let host = variable("HOSTNAME").or_else(|| std::fs::read_to_string("/etc/hostname").ok());
            match host.as_deref().map(str::trim).filter(|host| !host.is_empty()) {
                Some(host) => format!("{user}@{host}"),
                None => user,
            }
        });
        Self { who, why: why.into() }
    }
}

impl Writer {
    /// Opens a registry for writing; a folder is made. Writes and deletes an object below `probes/` to see whether the store
    /// heeds conditions on writes, and refuses one that does not.
    pub async fn open(location: &Location) -> Result<Self> {
        Self::open_through(location, |store| store).await
    }

    /// The same with something between the registry and the store, for example to count requests.
    pub async fn open_through(
        location: &Location,
        through: impl Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Result<Self> {
        if let Some(folder) = location.as_folder() {
            std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, "create it", e))?;
        }
        let writer = Self { registry: Registry::open_through(location, through)? };
        writer.probe().await?;
        Ok(writer)
    }

    async fn probe(&self) -> Result<()> {
        let name = format!("{}/{}", layout::PROBES, random_id()?);
        let found = self.probe_at(&name).await;
        let deleted = self.store.delete(&name).await;
        if let Some(found) = found? {
            return Err(Error::Unconditional {
                url: self.url().to_owned(),
                found: found.to_owned(),
                remedy: "Publishers would overwrite each other. Turn on conditional writes (If-None-Match and If-Match on \
                         PutObject: Amazon S3 has them, MinIO since RELEASE.2024-12, Ceph since Squid), or keep the registry \
                         in a folder: file:///path. Reading works as it is"
                    .to_owned(),
            });
        }
        deleted
    }

    /// What the store does that it must not.
    async fn probe_at(&self, name: &str) -> Result<Option<&'static str>> {
        let [first, second, third] =
            ["first\n", "second\n", "third\n"].map(|text| Content::from(text.as_bytes().to_vec()));
        let etag = match self.store.create(name, &first).await {
            Ok(Created::Ours(etag)) => etag,
            Ok(Created::Other) => return Ok(Some("it says that a new object exists already")),
            // RFC 9110 section 15.6.2: what stores answer that know no such header. object_store has no kind for it.
            Err(Error::Store { source, .. }) if status(&source) == Some(501) => {
                return Ok(Some("it does not know If-None-Match (it answers 501)"));
            }
            Err(error) => return Err(error),
        };
        if let Created::Ours(_) = self.store.create(name, &second).await? {
            return Ok(Some("it ignores If-None-Match: it let an object be created twice"));
        }
        let Some(moved) = self.store.replace(name, &second, &etag).await? else {
            return Ok(Some("it refuses If-Match with the object's own ETag"));
        };
        // The old mark again: somebody else would have been overwritten.
        if self.store.replace(name, &third, &etag).await?.is_some() || moved == etag {
            return Ok(Some("it ignores If-Match: it let an object be replaced by its old ETag"));
        }
        Ok(None)
    }

    /// Adds an event to a model's log, for example the result of a gate.
    pub async fn append(
        &self,
        model: &ModelName,
        kind: &str,
        version: Option<&Version>,
        by: &By,
        details: Map<String, Value>,
    ) -> Result<Event> {
        let is_word = kind.len() <= 32
            && kind.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
            && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let is_ours = ["published", "promoted", "rolled-back", "retired", "signed"].contains(&kind);
        if !is_word || is_ours {
            return Err(Error::Invalid(format!(
                "the event's kind is {kind:?}; it must be a word of a to z, 0 to 9 and -, and none that the registry writes"
            )));
        }
        let event = Event {
            schema: EVENT_SCHEMA.to_owned(),
            kind: kind.to_owned(),
            model: model.clone(),
            version: version.cloned(),
            when: Time::now(),
            who: by.who.clone(),
            why: by.why.clone(),
            details,
        };
        self.write_event(&event, &random_id()?).await?;
        Ok(event)
    }

    /// Writes an event under a name that is derived from it, so that doing so again is harmless. One that is there and tells of the same
    /// is as good, whatever else it says: a later palisade may write more.
    pub(crate) async fn write_event(&self, event: &Event, id: &str) -> Result<()> {
        let name = layout::event(&event.model, event.when, &event.kind, id);
        if let Created::Ours(_) = self.store.create(&name, &to_bytes(event)?.into()).await? {
            return Ok(());
        }
        let address = self.store.address(&name);
        let corrupt = |problem: String| Error::Corrupt {
            object: address.clone(),
            problem,
            remedy: "somebody changed the log; keep a copy of it, then delete it".to_owned(),
        };
        let Some(found) = self.store.read(&name).await? else {
            return Err(corrupt("it was deleted while it was looked at".to_owned()));
        };
        let found: Event = parse(&address, &found.bytes, EVENT_SCHEMA).map_err(|e| corrupt(e.to_string()))?;
        let about = |event: &Event| {
            let details = ["alias", "sequence"].map(|name| event.details.get(name).cloned());
            (event.kind.clone(), event.model.clone(), event.version.clone(), details)
        };
        if about(&found) == about(event) {
            return Ok(());
        }
        Err(corrupt("it is another event than the one that belongs there".to_owned()))
    }
}

/// 16 hexadecimal digits.
pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| Error::Invalid(format!("this machine gives no random numbers: {e}")))?;
    Ok(hex::encode(bytes))
}
