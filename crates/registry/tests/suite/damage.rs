//! What was changed behind the registry's back, and two versions side by side.

use object_store::ObjectStoreExt as _;
use palisade_registry::{Error, PublishOptions, Reference, ReleaseFiles};
use serde_json::json;

use crate::support::{Place, ann, anybody, tree};

const VERSION: &str = "models/tiny/versions/1.0.0";

pub(crate) async fn two_versions_are_shown_side_by_side(place: &Place) {
    place.publish("1.0.0").await;
    place.release("1.1.0", "other weights");
    let folder = std::fs::read_dir(place.files.path()).unwrap().map(|entry| entry.unwrap().path());
    let folder = folder.into_iter().find(|path| path.to_string_lossy().contains("1.1.0")).unwrap();
    let mut release: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("release.json")).unwrap()).unwrap();
    release["labels"] = json!([{"name": "TOXICITY", "threshold": 0.4, "block": {"threshold": 0.9}}, {"name": "SPAM", "threshold": 0.5}]);
    std::fs::write(folder.join("release.json"), release.to_string()).unwrap();
    std::fs::write(folder.join("metrics.json"), json!({"development": {"auc": 0.92, "f1": 0.7}}).to_string()).unwrap();
    std::fs::remove_file(folder.join("cases.jsonl")).unwrap();
    let by = ann();
    place.writer.publish(&ReleaseFiles::folder(&folder).unwrap(), PublishOptions::by(&by)).await.unwrap();

    let of = |reference: &str| Reference::parse(reference).unwrap();
    let diff = place.writer.diff(&of("tiny@1.0.0"), &of("tiny@1.1.0")).await.unwrap();
    assert_eq!((diff.before.as_str(), diff.after.as_str()), ("tiny@1.0.0", "tiny@1.1.0"));
    let files: Vec<_> = diff.files.iter().map(|change| (change.name.as_str(), change.after.is_some())).collect();
    assert_eq!(files, [("cases.jsonl", false), ("metrics.json", true), ("model.onnx", true), ("release.json", true)]);
    let shown = serde_json::to_value(&diff).unwrap();
    let expected = json!([
        {"name": "SPAM", "before": null, "after": {"threshold": 0.5, "block": null}},
        {"name": "TOXICITY", "before": {"threshold": 0.5, "block": null}, "after": {"threshold": 0.4, "block": 0.9}},
    ]);
    assert_eq!(shown["labels"], expected);
    let expected = json!([
        {"name": "development/auc", "before": 0.9, "after": 0.92},
        {"name": "development/f1", "before": null, "after": 0.7},
    ]);
    assert_eq!(shown["metrics"], expected);
}

/// A pull fails with `expect`, names the object, and leaves no folder; a promotion fails where `stops_promotion`.
async fn check(place: &Place, object: &str, expect: &str, stops_promotion: bool) {
    // What one attempt has fetched the next one uses, so each object has a folder of its own.
    let folder = if object == "tokenizer.json" { "pulled" } else { "damaged" };
    let error = place.pull("tiny@1.0.0", folder).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&format!("{VERSION}/{object}")) && message.contains(expect), "{message}");
    assert!(message.contains("restore it from a copy"), "{message}");
    assert!(!place.files.path().join(folder).exists());
    assert_eq!(place.promote("1.0.0", "challenger").await.is_err(), stops_promotion, "{expect}");
}

pub(crate) async fn damage_is_found_before_it_is_used(place: &Place) {
    place.publish("1.0.0").await;
    let model = place.get(&format!("{VERSION}/model.onnx")).await.unwrap();
    let with_model = async |bytes: &[u8]| place.put(&format!("{VERSION}/model.onnx"), bytes).await;
    with_model(&model[..3]).await;
    check(place, "model.onnx", "it is 3 bytes long, and manifest.json says 7", true).await;
    with_model(&[&model[..], b"more"].concat()).await;
    check(place, "model.onnx", "longer than the 7 bytes", true).await;
    let mut flipped = model.clone();
    flipped[2] ^= 1;
    with_model(&flipped).await;
    check(place, "model.onnx", "its SHA-256 is", false).await;
    let reference = Reference::parse("tiny@1.0.0").unwrap();
    let verified = place.writer.verify(&reference, anybody).await.unwrap();
    assert_eq!(verified.problems.len(), 1);
    assert!(verified.problems[0].object.ends_with("model.onnx"), "{:?}", verified.problems);

    with_model(&model).await;
    // The last of the files: some others are fetched before it is missed, and not fetched again.
    let tokenizer = place.get(&format!("{VERSION}/tokenizer.json")).await.unwrap();
    place.raw.delete(&place.key(&format!("{VERSION}/tokenizer.json"))).await.unwrap();
    check(place, "tokenizer.json", "it is not there", true).await;
    place.put(&format!("{VERSION}/tokenizer.json"), tokenizer).await;
    let pulled = place.pull("tiny@1.0.0", "pulled").await.unwrap();
    assert!(pulled.bytes_fetched < pulled.manifest.bytes(), "what an earlier attempt fetched was fetched again");
    let verified = place.writer.verify(&reference, anybody).await.unwrap();
    assert!(verified.problems.is_empty() && verified.others.is_empty());

    // An alias knows the manifest that it was moved to.
    place.promote("1.0.0", "champion").await.unwrap();
    place.change(&format!("{VERSION}/manifest.json"), |manifest| manifest["publisher"] = "eve".into()).await;
    let message = place.pull("tiny@champion", "other").await.unwrap_err().to_string();
    assert!(message.contains("manifest.json: its SHA-256 is") && message.contains("and its alias says"), "{message}");
    place.put(&format!("{VERSION}/manifest.json"), "{\"schema\":").await;
    std::fs::remove_dir_all(place.files.path().join("pulled")).unwrap();
    check(place, "manifest.json", "no document of schema palisade-registry/1", true).await;
    let model = &place.writer.list().await.unwrap()[0];
    assert_eq!((model.versions.len(), model.problems.len(), model.aliases.len()), (0, 1, 2));
    place.put(&format!("{VERSION}/manifest.json"), vec![b' '; (1 << 20) + 1]).await;
    check(place, "manifest.json", "longer than the 1048576 bytes", true).await;
}

pub(crate) async fn what_a_later_palisade_wrote_is_refused(place: &Place) {
    place.publish("1.0.0").await;
    place.publish("1.1.0").await;
    place.promote("1.0.0", "champion").await.unwrap();
    let manifest = format!("{VERSION}/manifest.json");
    place.change(&manifest, |manifest| manifest["novelty"] = json!({"unknown": true})).await;
    place.pull("tiny@1.0.0", "with-unknown-members").await.unwrap();

    place.change(&manifest, |manifest| manifest["schema"] = "palisade-registry/2".into()).await;
    let error = place.pull("tiny@1.0.0", "pulled").await.unwrap_err();
    assert!(matches!(error, Error::Later { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&manifest) && message.contains("palisade-registry/2"), "{message}");
    assert!(message.contains("made by a later palisade; upgrade"), "{message}");
    let model = &place.writer.list().await.unwrap()[0];
    assert_eq!((model.versions.len(), model.problems.len()), (1, 1));

    place.change("models/tiny/aliases/champion.json", |pointer| pointer["schema"] = "palisade-alias/7".into()).await;
    let error = place.promote("1.1.0", "champion").await.unwrap_err();
    assert!(matches!(error, Error::Later { .. }), "{error}");
    place.change("models/tiny/aliases/champion.json", |pointer| pointer["schema"] = "something/1".into()).await;
    let message = place.promote("1.1.0", "champion").await.unwrap_err().to_string();
    assert!(message.contains("aliases/champion.json") && message.contains("\"something/1\""), "{message}");
}

pub(crate) async fn names_that_leave_their_place_are_refused(place: &Place) {
    place.publish("1.0.0").await;
    let manifest = format!("{VERSION}/manifest.json");
    let original = place.get(&manifest).await.unwrap();
    for name in ["../../../escaped", "/escaped", "..", "a/../b", "manifest.json", "draft.json", "signature"] {
        place.change(&manifest, |manifest| manifest["files"][0]["name"] = name.into()).await;
        let error = place.pull("tiny@1.0.0", "pulled").await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{name}: {error}");
        place.put(&manifest, original.clone()).await;
    }
    for (member, value) in [("name", "../other"), ("version", "../1"), ("name", "other"), ("version", "2.0.0")] {
        place.change(&manifest, |manifest| manifest[member] = value.into()).await;
        let message = place.pull("tiny@1.0.0", "pulled").await.unwrap_err().to_string();
        assert!(message.contains(value) && message.contains(&manifest), "{message}");
        place.put(&manifest, original.clone()).await;
    }
    place.promote("1.0.0", "champion").await.unwrap();
    place.change("models/tiny/aliases/champion.json", |pointer| pointer["version"] = "../../x/versions/1".into()).await;
    let message = place.pull("tiny@champion", "pulled").await.unwrap_err().to_string();
    assert!(message.contains("../../x/versions/1") && message.contains("champion.json"), "{message}");
    // Folders with odd names are nobody's.
    place.put("models/UPPER/versions/1.0.0/manifest.json", "{}").await;
    place.put("models/tiny/versions/latest/manifest.json", "{}").await;
    place.put("models/tiny/aliases/0.json", "{}").await;
    assert_eq!(place.writer.list().await.unwrap().len(), 1);
    assert!(tree(place.files.path()).iter().all(|name| !name.contains("escaped")));
}

#[tokio::test]
async fn a_folder_that_is_not_there_any_more_is_named() {
    let place = crate::support::folder().await.unwrap();
    place.publish("1.0.0").await;
    place.promote("1.0.0", "champion").await.unwrap();
    let folder = place.location.as_folder().unwrap();
    std::fs::rename(folder, folder.with_file_name("elsewhere")).unwrap();
    for reference in ["tiny@champion", "tiny@1.0.0"] {
        let error = place.writer.resolve(&Reference::parse(reference).unwrap()).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("there is no registry at {}", folder.display())), "{error}");
    }
    let error = place.writer.list().await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}
