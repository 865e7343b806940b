//! Stores to test on, and releases to publish.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _};
use palisade_registry::{
    AliasName, By, Digest, Location, ModelName, PublishOptions, Published, PullOptions, Reference, ReleaseFiles,
    Result, Unverified, Version, Writer,
};
use serde_json::{Value, json};

/// A registry of a test's own.
pub(crate) struct Place {
    pub(crate) location: Location,
    pub(crate) writer: Writer,
    /// The store below, without the registry's rules.
    pub(crate) raw: Arc<dyn ObjectStore>,
    /// What the store's keys begin with.
    pub(crate) prefix: String,
    pub(crate) files: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn open(location: Location, prefix: &str) -> Self {
        let slot = Arc::new(Mutex::new(None));
        let through = {
            let slot = Arc::clone(&slot);
            move |store: Arc<dyn ObjectStore>| {
                slot.lock().unwrap().get_or_insert_with(|| Arc::clone(&store));
                store
            }
        };
        let writer = Writer::open_through(&location, through).await.unwrap();
        let raw = slot.lock().unwrap().take().unwrap();
        Self { location, writer, raw, prefix: prefix.to_owned(), files: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        Key::parse(format!("{}{name}", self.prefix)).unwrap()
    }

    pub(crate) async fn get(&self, name: &str) -> Option<Vec<u8>> {
        match self.raw.get(&self.key(name)).await {
            Ok(found) => Some(found.bytes().await.unwrap().to_vec()),
            Err(object_store::Error::NotFound { .. }) => None,
            Err(e) => panic!("{name}: {e}"),
        }
    }

    pub(crate) async fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.raw.put(&self.key(name), bytes.into().into()).await.unwrap();
    }

    /// Puts a document changed.
    pub(crate) async fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut value: Value = serde_json::from_slice(&self.get(name).await.unwrap()).unwrap();
        change(&mut value);
        self.put(name, value.to_string()).await;
    }

    /// A release in a folder, with a model of so many bytes.
    pub(crate) fn release(&self, version: &str, model: &str) -> ReleaseFiles {
        let folder = self.files.path().join(format!("{version}-{:.8}", Digest::of(model.as_bytes()).to_string()));
        release(&folder, version, model);
        ReleaseFiles::folder(&folder).unwrap()
    }

    pub(crate) async fn publish(&self, version: &str) -> Published {
        self.try_publish(version, "weights").await.unwrap()
    }

    pub(crate) async fn try_publish(&self, version: &str, model: &str) -> Result<Published> {
        self.writer.publish(&self.release(version, model), PublishOptions::by(&ann())).await
    }

    pub(crate) async fn promote(&self, version: &str, alias: &str) -> Result<palisade_registry::Promoted> {
        self.writer.promote(&tiny(), &v(version), &self::alias(alias), &ann(), None).await
    }

    /// The version that an alias points at.
    pub(crate) async fn at(&self, alias: &str) -> Option<String> {
        let reference = Reference::parse(&format!("tiny@{alias}")).unwrap();
        self.writer.resolve(&reference).await.ok().map(|resolved| resolved.version.to_string())
    }

    /// The log, a line an event.
    pub(crate) async fn log(&self) -> Vec<String> {
        let history = self.writer.history(&tiny()).await.unwrap();
        assert_eq!(history.problems, []);
        let line = |event: &palisade_registry::Event| {
            let version = event.version.as_ref().unwrap();
            match event.details.get("alias") {
                Some(alias) => format!("{} {version} {}", event.kind, alias.as_str().unwrap()),
                None => format!("{} {version}", event.kind),
            }
        };
        history.events.iter().map(line).collect()
    }

    pub(crate) async fn pull(&self, reference: &str, folder: &str) -> Result<palisade_registry::Pulled> {
        let options = PullOptions::trusting(anybody);
        self.writer.pull(&Reference::parse(reference).unwrap(), &self.files.path().join(folder), options).await
    }
}

pub(crate) fn release(folder: &Path, version: &str, model: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let tokenizer = "{}";
    let part = |file: &str, content: &str| json!({"file": file, "bytes": content.len(), "sha256": Digest::of(content.as_bytes())});
    let manifest = json!({
        "schema": "palisade-release/1", "name": "tiny", "version": version, "languages": ["en"], "tokens_max": 16,
        "labels": [{"name": "TOXICITY", "threshold": 0.5}],
        "model": part("model.onnx", model), "tokenizer": part("tokenizer.json", tokenizer),
    });
    let write = |name: &str, content: &str| std::fs::write(folder.join(name), content).unwrap();
    write("release.json", &manifest.to_string());
    write("model.onnx", model);
    write("tokenizer.json", tokenizer);
    write("README.md", "# A card\n");
    write("metrics.json", &json!({"development": {"auc": 0.9}}).to_string());
    write("cases.jsonl", "{}\n");
}

/// Trusts whatever has something to trust.
pub(crate) fn anybody(unverified: &Unverified<'_>) -> Result<(), String> {
    if unverified.digests.is_empty() { Err("there is nothing to trust".to_owned()) } else { Ok(()) }
}

pub(crate) fn ann() -> By {
    By { who: "ann@example".to_owned(), why: "a test".to_owned() }
}

pub(crate) fn tiny() -> ModelName {
    ModelName::parse("tiny").unwrap()
}

pub(crate) fn v(version: &str) -> Version {
    Version::parse(version).unwrap()
}

pub(crate) fn alias(alias: &str) -> AliasName {
    AliasName::parse(alias).unwrap()
}

pub(crate) async fn memory() -> Option<Place> {
    Some(Place::open(Location::parse("memory://").unwrap(), "").await)
}

pub(crate) async fn folder() -> Option<Place> {
    let files = tempfile::tempdir().unwrap();
    let location = Location::folder(files.path().join("registry"));
    let mut place = Place::open(location, "").await;
    place.files = files;
    Some(place)
}

/// All entries of a folder, below it.
pub(crate) fn tree(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, into) } else { into.push(path) }
        }
    }
    let mut all = Vec::new();
    walk(folder, &mut all);
    let mut names: Vec<_> = all.iter().map(|path| path.strip_prefix(folder).unwrap().display().to_string()).collect();
    names.sort();
    names
}

macro_rules! suite {
    ($store:ident, $open:path) => {
        suite!($store, $open:
            a_published_version_is_listed_shown_and_resolved
            publishing_again_is_a_success_and_other_content_is_refused
            an_alias_moves_and_rolls_back_and_previous_follows
            a_promoter_who_expected_otherwise_is_told
            a_poll_is_answered_only_when_something_changed
            a_pulled_folder_is_the_version_whole
            a_signature_is_made_of_and_checked_against_all_digests
            an_unfinished_publish_is_invisible_and_goes_on
            the_log_tells_what_happened_even_without_its_events
            events_of_others_are_kept_in_order
            a_retired_version_is_not_promoted
            leftovers_are_swept_up_and_the_version_can_be_published_again
            a_published_version_that_lost_its_manifest_is_not_swept_up
            a_publisher_who_was_swept_up_cannot_finish
            a_move_that_was_left_half_done_is_completed
            two_versions_are_shown_side_by_side
            damage_is_found_before_it_is_used
            what_a_later_palisade_wrote_is_refused
            names_that_leave_their_place_are_refused
        );
    };
    (races, $store:ident, $open:path) => {
        suite!($store, $open:
            of_publishers_of_different_files_one_wins
            publishers_of_the_same_files_all_succeed
            of_promoters_one_wins
            of_retiring_and_promoting_at_once_one_wins
        );
    };
    ($store:ident, $open:path: $($test:ident)*) => {
        mod $store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(place) = $open().await {
                    crate::tests::$test(&place).await;
                }
            })*
        }
    };
}
