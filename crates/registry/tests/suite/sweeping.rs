//! What becomes of leftovers, and of versions that nobody wants any more.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use palisade_registry::{Collected, Error, GcOptions, Outcome, PublishOptions};

use crate::support::{Place, alias, ann, tiny, v};

/// Sweeps everything that there is.
pub(crate) async fn sweep(place: &Place) -> Collected {
    let options = GcOptions { older_than: Duration::ZERO, take_over: Duration::ZERO, dry_run: false };
    let collected = place.writer.gc(&ann(), options).await.unwrap();
    assert_eq!(collected.problems, []);
    collected
}

fn outcomes(collected: &Collected) -> Vec<(&str, usize, Outcome)> {
    collected.leftovers.iter().map(|left| (left.version.as_str(), left.objects, left.outcome)).collect()
}

async fn interrupted(place: &Place, version: &str, model: &str) {
    let by = ann();
    let sign: palisade_registry::Sign<'_> = Box::new(|_| Err("interrupted".to_owned()));
    let options = PublishOptions { sign: Some(sign), ..PublishOptions::by(&by) };
    place.writer.publish(&place.release(version, model), options).await.unwrap_err();
}

async fn objects(place: &Place, folder: &str) -> Vec<String> {
    let mut found: Vec<_> =
        place.raw.list(Some(&place.key(folder))).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    found.sort();
    found
}

pub(crate) async fn a_retired_version_is_not_promoted(place: &Place) {
    for version in ["1.0.0", "1.1.0"] {
        place.publish(version).await;
        place.promote(version, "champion").await.unwrap();
    }
    let retire = async |version: &str| place.writer.retire(&tiny(), &v(version), &ann()).await;
    let error = retire("1.1.0").await.unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(error.to_string().contains("tiny@1.1.0 is still where champion points"), "{error}");

    place.writer.rollback(&tiny(), &alias("champion"), &ann(), None).await.unwrap();
    let retired = retire("1.1.0").await.unwrap();
    assert_eq!(retire("1.1.0").await.unwrap(), retired);
    for error in [
        place.promote("1.1.0", "champion").await.unwrap_err(),
        place.writer.rollback(&tiny(), &alias("champion"), &ann(), None).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Retired { .. }), "{error}");
        assert!(error.to_string().contains("tiny@1.1.0 was retired by ann@example (a test)"), "{error}");
    }
    assert_eq!(place.at("champion").await.as_deref(), Some("1.0.0"));
    assert_eq!(place.log().await.iter().filter(|line| *line == "retired 1.1.0").count(), 1);
    assert!(retire("9.0.0").await.unwrap_err().to_string().contains("no version 9.0.0"));
}

pub(crate) async fn leftovers_are_swept_up_and_the_version_can_be_published_again(place: &Place) {
    place.publish("1.0.0").await;
    interrupted(place, "1.1.0", "weights").await;
    place.put("models/tiny/versions/1.0.0/stray.bin", "left by somebody").await;
    place.put("probes/0123", "left by a probe").await;

    let young = place.writer.gc(&ann(), GcOptions::default()).await.unwrap();
    assert_eq!(outcomes(&young), [("tiny@1.0.0", 1, Outcome::TooYoung), ("tiny@1.1.0", 7, Outcome::TooYoung)]);
    let dry = GcOptions { older_than: Duration::ZERO, dry_run: true, ..GcOptions::default() };
    let dry = place.writer.gc(&ann(), dry).await.unwrap();
    assert_eq!(outcomes(&dry), [("tiny@1.0.0", 1, Outcome::WouldRemove), ("tiny@1.1.0", 7, Outcome::WouldRemove)]);
    assert_eq!(objects(place, "models/tiny/versions/1.1.0").await.len(), 7);

    let swept = sweep(place).await;
    assert_eq!(outcomes(&swept), [("tiny@1.0.0", 1, Outcome::Removed), ("tiny@1.1.0", 7, Outcome::Removed)]);
    assert_eq!(swept.strays, 1);
    let left = objects(place, "models/tiny/versions/1.1.0").await;
    assert_eq!(left.len(), 1);
    assert!(left[0].ends_with("manifest.json"), "{left:?}");
    assert_eq!(objects(place, "models/tiny/versions/1.0.0").await.len(), 7);

    // A tombstone is absence, and takes no part in anything.
    assert!(place.promote("1.1.0", "champion").await.unwrap_err().to_string().contains("no version 1.1.0"));
    assert_eq!(place.writer.list().await.unwrap()[0].versions.len(), 1);
    assert!(sweep(place).await.leftovers.is_empty());
    let published = place.try_publish("1.1.0", "other weights").await.unwrap();
    assert!(!published.already);
    assert_eq!(place.pull("tiny@1.1.0", "pulled").await.unwrap().digest, published.digest);
    assert!(sweep(place).await.leftovers.is_empty());
}

pub(crate) async fn a_published_version_that_lost_its_manifest_is_not_swept_up(place: &Place) {
    place.publish("1.0.0").await;
    place.publish("1.1.0").await;
    place.promote("1.1.0", "champion").await.unwrap();
    for version in ["1.0.0", "1.1.0"] {
        place.raw.delete(&place.key(&format!("models/tiny/versions/{version}/manifest.json"))).await.unwrap();
    }
    let options = GcOptions { older_than: Duration::ZERO, take_over: Duration::ZERO, dry_run: false };
    let collected = place.writer.gc(&ann(), options).await.unwrap();
    assert!(collected.leftovers.is_empty(), "{collected:?}");
    let problems: Vec<_> = collected.problems.iter().map(|problem| problem.object.as_str()).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].ends_with("versions/1.0.0/manifest.json"), "{problems:?}");
    assert_eq!(objects(place, "models/tiny/versions/1.0.0").await.len(), 6);
    let message = place.pull("tiny@champion", "pulled").await.unwrap_err().to_string();
    assert!(message.contains("it is not there, though tiny@1.1.0 was published; restore it (SHA-256"), "{message}");
    assert!(!place.publish("1.0.0").await.already);
    place.pull("tiny@1.0.0", "pulled").await.unwrap();
}

pub(crate) async fn a_publisher_who_was_swept_up_cannot_finish(place: &Place) {
    // Sweeps between the last file and the manifest, twice: first where nothing was, then beside a tombstone.
    for round in 0..2 {
        let by = ann();
        let sign: palisade_registry::Sign<'_> = Box::new(|_| {
            let (place, runtime) = (&place, tokio::runtime::Handle::current());
            tokio::task::block_in_place(|| runtime.block_on(sweep(place)));
            Ok(b"signed".to_vec())
        });
        let options = PublishOptions { sign: Some(sign), ..PublishOptions::by(&by) };
        let error = place.writer.publish(&place.release("1.0.0", "weights"), options).await.unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{round}: {error}");
        assert!(error.to_string().contains("models/tiny/versions/1.0.0 is busy") && error.is_transient(), "{error}");
        assert!(place.writer.list().await.unwrap().is_empty());
    }
    sweep(place).await;
    place.publish("1.0.0").await;
    place.pull("tiny@1.0.0", "pulled").await.unwrap();
}

pub(crate) async fn a_move_that_was_left_half_done_is_completed(place: &Place) {
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        place.publish(version).await;
        place.promote(version, "champion").await.unwrap();
    }
    let log = place.log().await;
    // As if the last promoter had died right behind its swap.
    let undo = async || {
        for event in objects(place, "models/tiny/events").await {
            if event.contains("promoted-champion-3") || event.contains("published-1.2.0") {
                place.raw.delete(&object_store::path::Path::from(event)).await.unwrap();
            }
        }
        place
            .change("models/tiny/aliases/previous.json", |pointer| {
                pointer["version"] = "1.0.0".into();
                pointer["sequence"] = 2.into();
            })
            .await;
        assert_eq!(
            (objects(place, "models/tiny/events").await.len(), place.at("previous").await.unwrap()),
            (4, "1.0.0".to_owned())
        );
    };
    let is_whole = async || {
        assert_eq!(
            (objects(place, "models/tiny/events").await.len(), place.at("previous").await.unwrap()),
            (6, "1.1.0".to_owned())
        );
        assert_eq!(place.log().await, log);
    };
    undo().await;
    sweep(place).await;
    is_whole().await;
    undo().await;
    assert!(place.promote("1.2.0", "champion").await.unwrap().already);
    place.publish("1.2.0").await;
    is_whole().await;
}
