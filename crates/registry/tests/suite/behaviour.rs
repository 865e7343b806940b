//! What a registry does, whatever its store.

use palisade_registry::{Digest, Error, ModelName, PublishOptions, PullOptions, Reference, Resolution};
use serde_json::Map;

use crate::support::{Place, alias, ann, anybody, tiny, tree, v};

const FILES: [&str; 6] = ["card.md", "cases.jsonl", "metrics.json", "model.onnx", "release.json", "tokenizer.json"];

pub(crate) async fn a_published_version_is_listed_shown_and_resolved(place: &Place) {
    assert!(place.writer.list().await.unwrap().is_empty());
    let published = place.publish("0.9.0").await;
    place.publish("0.10.0").await;
    assert!(!published.already && !published.signed);
    assert_eq!(published.bytes_sent, published.manifest.bytes());
    let names: Vec<_> = published.manifest.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, FILES);
    assert_eq!(published.manifest.publisher, "ann@example");

    let models = place.writer.list().await.unwrap();
    assert_eq!(models.len(), 1);
    let versions: Vec<_> = models[0].versions.iter().map(|shown| shown.manifest.version.as_str()).collect();
    assert_eq!((models[0].name.as_str(), versions), ("tiny", vec!["0.9.0", "0.10.0"]));
    let shown = place.writer.show(&Reference::parse("tiny@0.9.0").unwrap()).await.unwrap();
    assert_eq!((shown.digest, &shown.manifest), (published.digest, &published.manifest));
    assert!(!shown.is_signed && shown.retired.is_none() && shown.aliases.is_empty());

    let missing = |reference: &str| Reference::parse(reference).unwrap();
    let message = place.writer.resolve(&missing("tiny@9.9.9")).await.unwrap_err().to_string();
    assert!(message.contains("no version 9.9.9 of tiny") && message.contains("model list"), "{message}");
    let message = place.writer.resolve(&missing("tiny@champion")).await.unwrap_err().to_string();
    assert!(message.contains("no alias champion of tiny") && message.contains("model promote"), "{message}");
    let message = place.writer.resolve(&missing("other@1")).await.unwrap_err().to_string();
    assert!(message.contains("model publish"), "{message}");
}

pub(crate) async fn publishing_again_is_a_success_and_other_content_is_refused(place: &Place) {
    let first = place.publish("1.0.0").await;
    let again = place.publish("1.0.0").await;
    assert!(again.already && again.bytes_sent == 0);
    assert_eq!((again.digest, &again.manifest), (first.digest, &first.manifest));

    let error = place.try_publish("1.0.0", "other weights").await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("models/tiny/versions/1.0.0/manifest.json"), "{message}");
    assert!(message.contains("model.onnx, release.json") && message.contains("raise the version"), "{message}");
    assert_eq!(place.log().await, ["published 1.0.0"]);
}

pub(crate) async fn an_alias_moves_and_rolls_back_and_previous_follows(place: &Place) {
    for version in ["1.0.0", "1.1.0"] {
        place.publish(version).await;
    }
    let first = place.promote("1.0.0", "champion").await.unwrap();
    assert!(!first.already && first.pointer.sequence == 1);
    assert_eq!((place.at("champion").await.as_deref(), place.at("previous").await), (Some("1.0.0"), None));
    let message = place.writer.rollback(&tiny(), &alias("champion"), &ann(), None).await.unwrap_err().to_string();
    assert!(message.contains("nothing before") && message.contains("promote"), "{message}");

    assert!(place.promote("1.0.0", "champion").await.unwrap().already);
    place.promote("1.1.0", "champion").await.unwrap();
    assert_eq!(place.at("previous").await.as_deref(), Some("1.0.0"));
    for (now, before) in [("1.0.0", "1.1.0"), ("1.1.0", "1.0.0")] {
        let back = place.writer.rollback(&tiny(), &alias("champion"), &ann(), None).await.unwrap();
        assert_eq!(back.pointer.version.as_str(), now);
        assert_eq!(place.at("champion").await.as_deref(), Some(now));
        assert_eq!(place.at("previous").await.as_deref(), Some(before));
    }
    place.promote("1.0.0", "challenger").await.unwrap();
    assert_eq!(place.at("previous").await.as_deref(), Some("1.0.0"));

    let message = place.promote("1.0.0", "previous").await.unwrap_err().to_string();
    assert!(message.contains("previous follows champion"), "{message}");
    let message = place.promote("7.0.0", "champion").await.unwrap_err().to_string();
    assert!(message.contains("no version 7.0.0"), "{message}");
    let expected = [
        "promoted 1.0.0 champion",
        "promoted 1.1.0 champion",
        "rolled-back 1.0.0 champion",
        "rolled-back 1.1.0 champion",
    ];
    // Events of one millisecond that do not follow from each other come in any order.
    let (moves, mut others): (Vec<_>, Vec<_>) =
        place.log().await.into_iter().partition(|line| line.ends_with("champion"));
    assert_eq!(moves, expected);
    others.sort();
    assert_eq!(others, ["promoted 1.0.0 challenger", "published 1.0.0", "published 1.1.0"]);
}

pub(crate) async fn a_promoter_who_expected_otherwise_is_told(place: &Place) {
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        place.publish(version).await;
    }
    place.promote("1.0.0", "champion").await.unwrap();
    let expecting = async |version: &str, expect: &str| {
        place.writer.promote(&tiny(), &v(version), &alias("champion"), &ann(), Some(&v(expect))).await
    };
    expecting("1.1.0", "1.0.0").await.unwrap();
    let error = expecting("1.2.0", "1.0.0").await.unwrap_err();
    assert!(matches!(error, Error::Moved { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("tiny@champion was expected at 1.0.0, but is now at 1.1.0"), "{message}");
    assert!(message.contains("model history"), "{message}");
    assert_eq!(place.at("champion").await.as_deref(), Some("1.1.0"));
}

pub(crate) async fn a_poll_is_answered_only_when_something_changed(place: &Place) {
    place.publish("1.0.0").await;
    place.publish("1.1.0").await;
    place.promote("1.0.0", "champion").await.unwrap();
    for (reference, changes) in [("tiny@champion", true), ("tiny@1.0.0", false)] {
        let reference = Reference::parse(reference).unwrap();
        let first = place.writer.resolve(&reference).await.unwrap();
        let poll = async || place.writer.resolve_if_changed(&reference, Some(&first.etag)).await.unwrap();
        assert_eq!(poll().await, Resolution::Same);
        place.promote("1.1.0", "champion").await.unwrap();
        let Resolution::Changed(second) = poll().await else {
            assert!(!changes, "the move was not seen");
            continue;
        };
        assert_eq!((second.version.as_str(), second.sequence), ("1.1.0", Some(2)));
    }
}

pub(crate) async fn a_pulled_folder_is_the_version_whole(place: &Place) {
    let published = place.publish("1.0.0").await;
    place.promote("1.0.0", "champion").await.unwrap();
    let pulled = place.pull("tiny@champion", "pulled").await.unwrap();
    assert_eq!((pulled.digest, pulled.bytes_fetched), (published.digest, published.manifest.bytes()));
    let mut expected: Vec<String> = FILES.iter().map(|name| (*name).to_owned()).collect();
    expected.push("manifest.json".to_owned());
    expected.sort();
    assert_eq!(tree(&pulled.folder), expected);
    for file in &published.manifest.files {
        assert_eq!(Digest::of_file(&pulled.folder.join(file.name.as_str())).unwrap(), (file.sha256, file.bytes));
    }
    assert_eq!(place.pull("tiny@1.0.0", "pulled").await.unwrap().bytes_fetched, 0);
    let hidden: Vec<_> = tree(place.files.path()).into_iter().filter(|name| name.starts_with(".pulled")).collect();
    assert_eq!(hidden, Vec::<String>::new());

    // What was damaged since is mended; what is of another version is left alone, but in a cache.
    std::fs::write(pulled.folder.join("card.md"), "changed").unwrap();
    assert_eq!(place.pull("tiny@1.0.0", "pulled").await.unwrap().bytes_fetched, 9);
    assert_eq!(std::fs::read(pulled.folder.join("card.md")).unwrap(), b"# A card\n");
    place.publish("1.1.0").await;
    let message = place.pull("tiny@1.1.0", "pulled").await.unwrap_err().to_string();
    assert!(message.contains("the folder exists and is not tiny@1.1.0: remove it"), "{message}");
    std::fs::write(pulled.folder.join("manifest.json"), "").unwrap();
    let resolved = place.writer.resolve(&Reference::parse("tiny@1.0.0").unwrap()).await.unwrap();
    let cache = || PullOptions { owns_folder: true, ..PullOptions::trusting(anybody) };
    let mended = place.writer.pull_resolved(&resolved, &pulled.folder, cache()).await.unwrap();
    assert_eq!((mended.digest, mended.bytes_fetched, tree(&pulled.folder)), (published.digest, 0, expected));

    let other = palisade_registry::Resolved { digest: Digest::of(b"another"), ..resolved };
    let message = place.writer.pull_resolved(&other, &pulled.folder, cache()).await.unwrap_err().to_string();
    assert!(message.contains("manifest.json: its SHA-256 is"), "{message}");

    // What is pulled can be published elsewhere.
    let files = palisade_registry::ReleaseFiles::folder(&place.files.path().join("pulled")).unwrap();
    assert_eq!(files.names().map(palisade_registry::FileName::as_str).collect::<Vec<_>>(), FILES);
}

pub(crate) async fn a_signature_is_made_of_and_checked_against_all_digests(place: &Place) {
    let by = ann();
    let mut signed = Vec::new();
    let sign: palisade_registry::Sign<'_> = Box::new(|digests| {
        signed.extend(digests.iter().cloned());
        Ok(b"a signature".to_vec())
    });
    let options = PublishOptions { sign: Some(sign), ..PublishOptions::by(&by) };
    let published = place.writer.publish(&place.release("1.0.0", "weights"), options).await.unwrap();
    assert!(published.signed);
    let names: Vec<_> = signed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["card.md", "cases.jsonl", "manifest.json", "metrics.json", "model.onnx", "release.json", "tokenizer.json"]
    );
    let manifest = place.get("models/tiny/versions/1.0.0/manifest.json").await.unwrap();
    assert!(signed.contains(&("manifest.json".to_owned(), Digest::of(&manifest))));

    let reference = Reference::parse("tiny@1.0.0").unwrap();
    let folder = place.files.path().join("pulled");
    let refuse = PullOptions::trusting(|unverified| Err(format!("{} is nobody's", unverified.model)));
    let error = place.writer.pull(&reference, &folder, refuse).await.unwrap_err();
    assert_eq!(error.to_string(), "tiny@1.0.0 is not trusted: tiny is nobody's");
    assert!(!folder.exists());
    let check = PullOptions::trusting(|unverified| {
        assert_eq!((unverified.digests, unverified.signature), (&signed[..], Some(&b"a signature"[..])));
        Ok(())
    });
    let pulled = place.writer.pull(&reference, &folder, check).await.unwrap();
    assert_eq!(std::fs::read(pulled.folder.join("signature")).unwrap(), b"a signature");
    assert!(place.writer.show(&reference).await.unwrap().is_signed);

    // A new key: the signature is replaced, also in the folder.
    let again: palisade_registry::Sign<'_> = Box::new(|digests| {
        assert_eq!(digests.len(), 7);
        Ok(b"another signature".to_vec())
    });
    let resolved = place.writer.resolve(&reference).await.unwrap();
    place.writer.sign(&resolved, &by, again).await.unwrap();
    let pulled = place.pull("tiny@1.0.0", "pulled").await.unwrap();
    assert_eq!(std::fs::read(pulled.folder.join("signature")).unwrap(), b"another signature");
    assert_eq!(place.log().await, ["published 1.0.0", "signed 1.0.0"]);
    let other = palisade_registry::Resolved { digest: Digest::of(b"another"), ..resolved };
    let error = place.writer.sign(&other, &by, Box::new(|_| Ok(Vec::new()))).await.unwrap_err();
    assert!(error.to_string().contains("manifest.json: its SHA-256 is"), "{error}");

    let options = PublishOptions { sign: Some(Box::new(|_| Err("no key".to_owned()))), ..PublishOptions::by(&by) };
    let error = place.writer.publish(&place.release("1.1.0", "weights"), options).await.unwrap_err();
    assert_eq!(error.to_string(), "tiny@1.1.0 cannot be signed: no key");
}

pub(crate) async fn an_unfinished_publish_is_invisible_and_goes_on(place: &Place) {
    let by = ann();
    let fails = PublishOptions { sign: Some(Box::new(|_| Err("interrupted".to_owned()))), ..PublishOptions::by(&by) };
    place.writer.publish(&place.release("1.0.0", "weights"), fails).await.unwrap_err();
    assert!(place.writer.list().await.unwrap().is_empty());
    assert!(place.promote("1.0.0", "champion").await.is_err());

    // Somebody else with other files is told at once, by whom.
    let error = place.try_publish("1.0.0", "other weights").await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("draft.json") && message.contains("ann@example") && message.contains("model gc"),
        "{message}"
    );

    let published = place.publish("1.0.0").await;
    assert_eq!((published.already, published.bytes_sent), (false, 0));
    assert_eq!(place.get("models/tiny/versions/1.0.0/draft.json").await, None);
    assert_eq!(place.log().await, ["published 1.0.0"]);
}

pub(crate) async fn the_log_tells_what_happened_even_without_its_events(place: &Place) {
    use futures_util::TryStreamExt as _;
    use object_store::ObjectStoreExt as _;

    place.publish("1.0.0").await;
    place.promote("1.0.0", "champion").await.unwrap();
    let expected = ["published 1.0.0", "promoted 1.0.0 champion"];
    assert_eq!(place.log().await, expected);
    let events: Vec<_> = place.raw.list(Some(&place.key("models/tiny/events"))).try_collect().await.unwrap();
    assert_eq!(events.len(), 2);
    // A later palisade may write more into an event; one about something else is nobody's.
    let promoted = events.iter().find(|event| event.location.as_ref().contains("promoted")).unwrap();
    let promoted = promoted.location.as_ref().strip_prefix(&place.prefix).unwrap();
    place.change(promoted, |event| event["ticket"] = "4711".into()).await;
    assert!(place.promote("1.0.0", "champion").await.unwrap().already);
    place.change(promoted, |event| event["details"]["sequence"] = 7.into()).await;
    let error = place.promote("1.0.0", "champion").await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }) && error.to_string().contains(promoted), "{error}");
    for event in events {
        place.raw.delete(&event.location).await.unwrap();
    }
    assert_eq!(place.log().await, expected);
}

pub(crate) async fn events_of_others_are_kept_in_order(place: &Place) {
    place.publish("1.0.0").await;
    let append = async |kind: &str| place.writer.append(&tiny(), kind, Some(&v("1.0.0")), &ann(), Map::new()).await;
    append("gate").await.unwrap();
    append("gate").await.unwrap();
    assert_eq!(place.log().await, ["published 1.0.0", "gate 1.0.0", "gate 1.0.0"]);
    for kind in ["promoted", "../x", "", "Gate"] {
        let message = append(kind).await.unwrap_err().to_string();
        assert!(message.contains(&format!("{kind:?}")), "{message}");
    }
    place.put("models/tiny/events/20260101T000000.000Z-odd-1.json", "{}").await;
    let history = place.writer.history(&tiny()).await.unwrap();
    assert_eq!((history.events.len(), history.problems.len()), (3, 1));
    assert!(history.problems[0].object.ends_with("20260101T000000.000Z-odd-1.json"), "{:?}", history.problems);
    assert!(place.writer.history(&ModelName::parse("none").unwrap()).await.unwrap().events.is_empty());
}
