//! The log of a model.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use serde_json::{Map, json};

use crate::documents::{EVENT_SCHEMA, Event, Retired, parse};
use crate::error::Result;
use crate::layout;
use crate::list::{Problem, REQUESTS_MAX};
use crate::manifest::Manifest;
use crate::names::{ModelName, Version};
use crate::registry::Registry;

/// What happened to a model, in order.
#[derive(Debug, Clone)]
pub struct History {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// Events that cannot be read.
    pub problems: Vec<Problem>,
}

impl Registry {
    /// What happened to a model. An event that a crash kept from being written is told from what it would have been about.
    pub async fn history(&self, name: &ModelName) -> Result<History> {
        let (model, listed) =
            tokio::try_join!(self.model(name), async { self.store.list(&layout::events(name)).await })?;
        let mut problems = model.problems;
        let mut events = BTreeMap::new();
        let read = stream::iter(listed.into_iter().map(async |object| {
            let event = self.event(&object.name).await;
            (object.name, event)
        }));
        let read: Vec<_> = read.buffered(REQUESTS_MAX).collect().await;
        let mut unreadable = Vec::new();
        for (object, event) in read {
            match event {
                Ok(event) => events.extend(event.map(|event| (object, event))),
                Err(error) => {
                    problems.push(Problem::of(error)?);
                    unreadable.push(object);
                }
            }
        }
        let moves = model.aliases.iter().filter(|pointer| !pointer.is_follower());
        let mut implied: Vec<_> = moves.map(|pointer| (pointer.event(name), pointer.event_id())).collect();
        for shown in &model.versions {
            let version = &shown.manifest.version;
            implied.push((shown.manifest.event(), version.to_string()));
            implied.extend(shown.retired.iter().map(|retired| (retired.event(name, version), version.to_string())));
        }
        for (event, id) in implied {
            let object = layout::event(name, event.when, &event.kind, &id);
            if !unreadable.contains(&object) {
                events.entry(object).or_insert(event);
            }
        }
        let mut events: Vec<_> = events.into_iter().collect();
        // What a version's publication led to can bear the same millisecond.
        events.sort_by_key(|(name, event)| (event.when, event.kind != "published", name.clone()));
        Ok(History { events: events.into_iter().map(|(_, event)| event).collect(), problems })
    }

    async fn event(&self, name: &str) -> Result<Option<Event>> {
        let Some(document) = self.store.read(name).await? else { return Ok(None) };
        parse(&self.store.address(name), &document.bytes, EVENT_SCHEMA).map(Some)
    }
}

impl Manifest {
    /// The event that a version was published.
    pub(crate) fn event(&self) -> Event {
        let mut details = Map::new();
        details.insert("releaseDigest".to_owned(), json!(self.release_digest));
        details.insert("bytes".to_owned(), json!(self.bytes()));
        details.insert("lineage".to_owned(), json!(self.lineage));
        Event {
            schema: EVENT_SCHEMA.to_owned(),
            kind: "published".to_owned(),
            model: self.name.clone(),
            version: Some(self.version.clone()),
            when: self.created,
            who: self.publisher.clone(),
            why: String::new(),
            details,
        }
    }
}

impl Retired {
    /// The event that a version was retired.
    pub(crate) fn event(&self, model: &ModelName, version: &Version) -> Event {
        Event {
            schema: EVENT_SCHEMA.to_owned(),
            kind: "retired".to_owned(),
            model: model.clone(),
            version: Some(version.clone()),
            when: self.when,
            who: self.who.clone(),
            why: self.why.clone(),
            details: Map::new(),
        }
    }
}
