//! Moving aliases: the pointer is the truth, and what follows from it (the event, `previous`) is completed by whoever writes next.

use serde_json::{Map, Value, json};

use crate::digest::Time;
use crate::documents::{ALIAS_SCHEMA, EVENT_SCHEMA, Event, MANIFEST, Move, Pointer, Previous, to_bytes};
use crate::error::{Error, Result};
use crate::layout;
use crate::names::{AliasName, ModelName, Version};
use crate::registry::Whole;
use crate::store::{Created, Etag};
use crate::writer::{By, Writer, random_id};

/// The alias that serves, and the one that follows it: where `champion` was before it moved.
const CHAMPION: &str = "champion";
const PREVIOUS: &str = "previous";
/// How often `previous` is tried to be moved while others do the same.
const ATTEMPTS: u32 = 8;

/// Where an alias is after it was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promoted {
    /// Where it points.
    pub pointer: Pointer,
    /// Whether it did so before: nothing moved.
    pub already: bool,
}

impl Writer {
    /// Points an alias at a version that is whole and not retired, and makes the alias where it is new. `expect` is the version that
    /// it must point at now; without it, that is whatever it points at when the call begins. Of two calls at once, one gets
    /// [`Error::Moved`]. `previous` moves with `champion` and cannot be moved by hand.
    pub async fn promote(
        &self,
        model: &ModelName,
        version: &Version,
        alias: &AliasName,
        by: &By,
        expect: Option<&Version>,
    ) -> Result<Promoted> {
        let current = self.settled(model, alias).await?;
        let now = current.as_ref().map(|(pointer, _)| &pointer.version);
        if expect.is_some() && expect != now {
            return Err(moved(model, alias, expect, now));
        }
        let whole = self.promotable(model, version).await?;
        if let Some((pointer, _)) = &current
            && (&pointer.version, pointer.digest) == (version, whole.digest)
        {
            return Ok(Promoted { pointer: pointer.clone(), already: true });
        }
        let promoted = self.swing(model, alias, current, &whole, Move::Promoted, by).await?;
        self.settle(model, promoted).await
    }

    /// Points an alias back at the version before, which must still be the one that it was. A second rollback goes forth again, as
    /// `cd -` does. `expect` is as for [`Self::promote`].
    pub async fn rollback(
        &self,
        model: &ModelName,
        alias: &AliasName,
        by: &By,
        expect: Option<&Version>,
    ) -> Result<Promoted> {
        let Some((pointer, etag)) = self.settled(model, alias).await? else {
            return Err(self.no_alias(model, alias));
        };
        if expect.is_some_and(|expect| *expect != pointer.version) {
            return Err(moved(model, alias, expect, Some(&pointer.version)));
        }
        let Some(previous) = &pointer.previous else {
            return Err(Error::NotFound {
                what: format!("{model}@{alias} has pointed at {} alone: there is nothing before", pointer.version),
                remedy: "promote the version that it is to point at".to_owned(),
            });
        };
        let whole = self.promotable(model, &previous.version).await?;
        if whole.digest != previous.digest {
            return Err(Error::Corrupt {
                object: self.store.address(&layout::file(model, &previous.version, MANIFEST)),
                problem: format!(
                    "its SHA-256 is {}, and was {} when {alias} pointed there",
                    whole.digest, previous.digest
                ),
                remedy: "somebody changed a published version: restore it, or promote another".to_owned(),
            });
        }
        let promoted = self.swing(model, alias, Some((pointer, etag)), &whole, Move::RolledBack, by).await?;
        self.settle(model, promoted).await
    }

    /// Where an alias points, after completing what its last mover may have left undone.
    async fn settled(&self, model: &ModelName, alias: &AliasName) -> Result<Option<(Pointer, Etag)>> {
        if alias.as_str() == PREVIOUS {
            return Err(Error::Invalid(format!(
                "{PREVIOUS} follows {CHAMPION} by itself: promote or roll back {CHAMPION}"
            )));
        }
        let current = self.pointer(model, alias).await?;
        if let Some((pointer, _)) = &current {
            self.complete_move(model, pointer).await?;
        }
        Ok(current)
    }

    /// A version that may be promoted: published, with all its files at their lengths, and not retired.
    async fn promotable(&self, model: &ModelName, version: &Version) -> Result<Whole> {
        let whole = self.version(model, version).await?;
        let folder = layout::version(model, version);
        let listed = self.store.list(&folder).await?;
        for file in &whole.manifest.files {
            let name = format!("{folder}/{}", file.name);
            let found = listed.iter().find(|object| object.name == name).map(|object| object.bytes);
            if found != Some(file.bytes) {
                let found = found.map_or("is not there".to_owned(), |bytes| format!("is {bytes} bytes long"));
                return Err(Error::Corrupt {
                    object: self.store.address(&name),
                    problem: format!("it {found}, and {MANIFEST} says {} bytes", file.bytes),
                    remedy: "restore it from a copy of the store, or publish the release as another version".to_owned(),
                });
            }
        }
        self.check_not_retired(model, version).await?;
        Ok(whole)
    }

    async fn check_not_retired(&self, model: &ModelName, version: &Version) -> Result<()> {
        match self.retired(model, version).await? {
            None => Ok(()),
            Some(retired) => {
                Err(Error::Retired { version: format!("{model}@{version}"), who: retired.who, why: retired.why })
            }
        }
    }

    async fn swing(
        &self,
        model: &ModelName,
        alias: &AliasName,
        current: Option<(Pointer, Etag)>,
        whole: &Whole,
        moved_by: Move,
        by: &By,
    ) -> Result<Promoted> {
        let from = current.as_ref().map(|(pointer, _)| pointer);
        let created = Time::now_after(whole.manifest.created);
        let pointer = Pointer {
            schema: ALIAS_SCHEMA.to_owned(),
            alias: alias.clone(),
            version: whole.manifest.version.clone(),
            digest: whole.digest,
            release_digest: whole.manifest.release_digest,
            sequence: from.map_or(0, |pointer| pointer.sequence) + 1,
            moved: moved_by,
            who: by.who.clone(),
            why: by.why.clone(),
            when: from.map_or(created, |pointer| Time::now_after(pointer.when).max(created)),
            previous: from.map(Previous::from),
            id: random_id()?,
        };
        let was = from.map(|pointer| pointer.version.clone());
        if !self.write_pointer(model, &pointer, current.map(|(_, etag)| etag)).await? {
            let now = self.pointer(model, alias).await?.map(|(pointer, _)| pointer.version);
            return Err(moved(model, alias, was.as_ref(), now.as_ref()));
        }
        self.complete_move(model, &pointer).await?;
        Ok(Promoted { pointer, already: false })
    }

    /// Takes a move back whose version was retired in between: whoever did so did not see our pointer, but we see that it is retired.
    async fn settle(&self, model: &ModelName, promoted: Promoted) -> Result<Promoted> {
        let version = &promoted.pointer.version;
        let retired = match self.check_not_retired(model, version).await {
            Ok(()) => return Ok(promoted),
            Err(retired @ Error::Retired { .. }) => retired,
            Err(other) => return Err(other),
        };
        if let Some(previous) = &promoted.pointer.previous
            && let Some((pointer, etag)) = self.pointer(model, &promoted.pointer.alias).await?
            && pointer.id == promoted.pointer.id
            && let Ok(whole) = self.promotable(model, &previous.version).await
        {
            let by = By { who: pointer.who.clone(), why: format!("{version} was retired meanwhile") };
            self.swing(model, &pointer.alias.clone(), Some((pointer, etag)), &whole, Move::RolledBack, &by).await?;
        }
        Err(retired)
    }

    /// Whether it could be written: nobody else did first.
    async fn write_pointer(&self, model: &ModelName, pointer: &Pointer, etag: Option<Etag>) -> Result<bool> {
        let name = layout::alias(model, &pointer.alias);
        let content = to_bytes(pointer)?.into();
        Ok(match etag {
            Some(etag) => self.store.replace(&name, &content, &etag).await?.is_some(),
            None => matches!(self.store.create(&name, &content).await?, Created::Ours(_)),
        })
    }

    /// Writes what follows from a move: its event, and `previous` behind `champion`. Doing it again is harmless.
    pub(crate) async fn complete_move(&self, model: &ModelName, pointer: &Pointer) -> Result<()> {
        self.write_event(&pointer.event(model), &pointer.event_id()).await?;
        let (CHAMPION, Some(previous)) = (pointer.alias.as_str(), &pointer.previous) else { return Ok(()) };
        let alias = AliasName::parse(PREVIOUS)?;
        for _ in 0..ATTEMPTS {
            let current = self.pointer(model, &alias).await?;
            if current.as_ref().is_some_and(|(current, _)| current.sequence >= pointer.sequence) {
                return Ok(());
            }
            let follower = Pointer {
                alias: alias.clone(),
                version: previous.version.clone(),
                digest: previous.digest,
                release_digest: previous.release_digest,
                previous: None,
                id: random_id()?,
                ..pointer.clone()
            };
            if self.write_pointer(model, &follower, current.map(|(_, etag)| etag)).await? {
                return Ok(());
            }
        }
        let object = format!("{model}@{PREVIOUS}");
        Err(Error::Busy { object, reason: "others keep moving it; the alias itself was moved".to_owned() })
    }
}

impl From<&Pointer> for Previous {
    fn from(pointer: &Pointer) -> Self {
        Self {
            version: pointer.version.clone(),
            digest: pointer.digest,
            release_digest: pointer.release_digest,
            sequence: pointer.sequence,
        }
    }
}

impl Pointer {
    /// The event of the last move; none of an alias that follows another.
    pub(crate) fn event(&self, model: &ModelName) -> Event {
        let mut details = Map::new();
        details.insert("alias".to_owned(), json!(self.alias));
        details.insert("sequence".to_owned(), json!(self.sequence));
        details.insert("releaseDigest".to_owned(), json!(self.release_digest));
        details.insert("from".to_owned(), self.previous.as_ref().map_or(Value::Null, |from| json!(from.version)));
        Event {
            schema: EVENT_SCHEMA.to_owned(),
            kind: self.moved.kind().to_owned(),
            model: model.clone(),
            version: Some(self.version.clone()),
            when: self.when,
            who: self.who.clone(),
            why: self.why.clone(),
            details,
        }
    }

    pub(crate) fn event_id(&self) -> String {
        format!("{}-{}", self.alias, self.sequence)
    }

    pub(crate) fn is_follower(&self) -> bool {
        self.alias.as_str() == PREVIOUS
    }
}

fn moved(model: &ModelName, alias: &AliasName, expected: Option<&Version>, now: Option<&Version>) -> Error {
    let shown = |version: Option<&Version>| version.map_or("nothing".to_owned(), ToString::to_string);
    Error::Moved { alias: format!("{model}@{alias}"), expected: shown(expected), now: shown(now) }
}
