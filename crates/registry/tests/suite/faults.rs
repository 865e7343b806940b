//! A store that fails, stalls and cuts connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use palisade_registry::{Error, Limits, Location, Reference, Writer};

use crate::moto;
use crate::proxy::{self, Fate, INTERNAL_ERROR, Request, SLOW_DOWN};
use crate::support::{Place, release, tiny};

/// A registry behind a proxy; the proxy passes everything on while the registry is opened.
async fn place(
    location: impl Fn(Location) -> Location,
    decide: impl Fn(&Request<'_>, usize) -> Fate + Send + 'static,
) -> Option<(Place, Arc<AtomicUsize>)> {
    let store = moto::address()?;
    let bucket = moto::bucket(store, false);
    // Requests since the faults began; none before.
    let count = Arc::new(AtomicUsize::new(usize::MAX));
    let address = proxy::before(store, {
        let count = Arc::clone(&count);
        move |request| {
            if count.load(Ordering::SeqCst) == usize::MAX {
                return Fate::Passes;
            }
            decide(request, count.fetch_add(1, Ordering::SeqCst))
        }
    })
    .await;
    let place = Place::open(location(moto::location(&address, &bucket)), "a/registry/").await;
    count.store(0, Ordering::SeqCst);
    Some((place, count))
}

/// Publish, promote, list and pull, whatever happens to every `nth` request.
async fn survives(limits: Limits, decide: impl Fn(&Request<'_>, usize) -> Fate + Send + 'static) {
    let Some((place, count)) = place(|location| location.with_limits(limits), decide).await else { return };
    let published = place.publish("1.0.0").await;
    assert!(!published.already);
    place.publish("1.1.0").await;
    place.promote("1.0.0", "champion").await.unwrap();
    assert!(!place.promote("1.1.0", "champion").await.unwrap().already);
    assert_eq!(place.writer.list().await.unwrap()[0].versions.len(), 2);
    place.pull("tiny@champion", "pulled").await.unwrap();
    let expected = ["published 1.0.0", "published 1.1.0", "promoted 1.0.0 champion", "promoted 1.1.0 champion"];
    assert_eq!(place.log().await, expected);
    assert!(count.load(Ordering::SeqCst) > 60, "the faults were not tried");
}

#[tokio::test]
async fn failures_and_slow_downs_are_outlasted() {
    survives(moto::limits(), |_, number| match number % 5 {
        1 => INTERNAL_ERROR,
        3 => SLOW_DOWN,
        _ => Fate::Passes,
    })
    .await;
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_to_be_ours() {
    survives(
        moto::limits(),
        |request, number| {
            if request.is_write() && number % 2 == 0 { Fate::CutBehind } else { Fate::Passes }
        },
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_is_cut_is_fetched_again() {
    survives(
        moto::limits(),
        |request, number| {
            if request.method == "GET" && number % 3 == 0 { Fate::CutInside } else { Fate::Passes }
        },
    )
    .await;
}

#[tokio::test]
async fn a_request_that_stalls_is_given_up_and_tried_again() {
    let limits = Limits { request: Duration::from_secs(5), ..moto::limits() };
    survives(limits, |request, number| {
        // Creating is no exception: what became of it is looked up.
        if number % 23 == 11 && request.method != "POST" { Fate::Stalls } else { Fate::Passes }
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_down_is_named_within_the_time_limit() {
    let limits =
        Limits { connect: Duration::from_secs(1), request: Duration::from_secs(1), retry: Duration::from_secs(2) };
    for fate in [INTERNAL_ERROR, Fate::Stalls, Fate::CutBehind] {
        let Some((place, _)) = place(|location| location, move |_, _| fate).await else { return };
        let reader = palisade_registry::Registry::open(&place.location.clone().with_limits(limits)).unwrap();
        let start = Instant::now();
        let error = reader.resolve(&Reference::parse("tiny@champion").unwrap()).await.unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(30), "{fate:?} took {:?}", start.elapsed());
        assert!(matches!(error, Error::Store { .. }) && error.is_transient(), "{error:?}");
        let message = error.to_string();
        assert!(message.contains("/a/registry/models/tiny/aliases/champion.json: cannot read it"), "{message}");
        assert!(message.contains("check its address, then try again"), "{message}");
        assert!(!format!("{error:?}").contains("test-secret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_that_refuses_the_credentials_is_told_from_one_that_is_down() {
    let Some((place, _)) = place(|location| location, |_, _| Fate::Fails("403 Forbidden")).await else { return };
    let error = place.writer.history(&tiny()).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("does not allow these credentials to"), "{error}");
}

#[tokio::test]
async fn a_store_that_ignores_or_does_not_know_conditions_is_refused_for_writing() {
    let Some(store) = moto::address() else { return };
    let bucket = moto::bucket(store, false);
    // The last is what Backblaze B2 answers, for example.
    for (fate, expect) in [
        (Fate::Loses("if-none-match"), "it ignores If-None-Match: it let an object be created twice"),
        (Fate::Loses("if-match"), "it ignores If-Match: it let an object be replaced by its old ETag"),
        (Fate::Fails("501 Not Implemented"), "it does not know If-None-Match"),
    ] {
        let on_put = move |request: &Request<'_>| if request.method == "PUT" { fate } else { Fate::Passes };
        let address = proxy::before(store, on_put).await;
        let limits = Limits { retry: Duration::from_secs(2), ..moto::limits() };
        let location = moto::location(&address, &bucket).with_limits(limits);
        let error = Writer::open(&location).await.unwrap_err();
        assert!(matches!(error, Error::Unconditional { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(&format!("s3://{bucket}/a/registry is refused for writing: {expect}")), "{message}");
        assert!(message.contains("If-None-Match and If-Match on PutObject") && message.contains("MinIO"), "{message}");
        assert!(message.contains("file:///path"), "{message}");
    }
    // Probes are cleaned up, and reading works.
    let place = Place::open(moto::location(store, &bucket), "a/registry/").await;
    assert!(place.get("probes").await.is_none() && place.writer.list().await.unwrap().is_empty());
    let swept = crate::sweeping::sweep(&place).await;
    assert_eq!(swept.strays, 0);
}

#[tokio::test]
async fn a_large_file_is_sent_in_one_request_and_arrives_whole() {
    let Some((place, count)) = place(|location| location, |_, _| Fate::Passes).await else { return };
    let model = "0123456789abcdef".repeat(2 << 20);
    let folder = place.files.path().join("large");
    release(&folder, "1.0.0", &model);
    let files = palisade_registry::ReleaseFiles::folder(&folder).unwrap();
    let by = crate::support::ann();
    place.writer.publish(&files, palisade_registry::PublishOptions::by(&by)).await.unwrap();
    let pulled = place.pull("tiny@1.0.0", "pulled").await.unwrap();
    assert_eq!(std::fs::read(pulled.folder.join("model.onnx")).unwrap(), model.as_bytes());
    assert!(count.load(Ordering::SeqCst) < 40, "{count:?}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_from_an_empty_registry() {
    let Some(store) = moto::address() else { return };
    let location = moto::location(store, "no-such-bucket");
    let registry = palisade_registry::Registry::open(&location).unwrap();
    let champion = Reference::parse("tiny@champion").unwrap();
    let errors = [
        Writer::open(&location).await.unwrap_err(),
        registry.list().await.unwrap_err(),
        registry.resolve(&champion).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        let message = error.to_string();
        assert!(
            message.contains("s3://no-such-bucket/a/registry") && message.contains("there is no such bucket"),
            "{message}"
        );
        assert!(message.contains("check the registry's address"), "{message}");
    }
}

/// What `object_store` asks last for credentials is the metadata service of a machine at AWS: here it fails, as anywhere else.
#[tokio::test]
async fn a_store_without_credentials_is_told_how_to_be_given_some() {
    let limits =
        Limits { connect: Duration::from_secs(1), request: Duration::from_secs(1), retry: Duration::from_millis(100) };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let variables = [("AWS_METADATA_ENDPOINT".to_owned(), format!("http://{closed}"))].into();
    let location = Location::parse("s3://bucket/registry").unwrap().with_variables(variables).with_limits(limits);
    let registry = palisade_registry::Registry::open(&location).unwrap();
    for error in [
        registry.resolve(&Reference::parse("tiny@champion").unwrap()).await.unwrap_err(),
        registry.list().await.unwrap_err(),
        Writer::open(&location).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::NoCredentials { .. }), "{error:?}");
        assert!(error.to_string().contains("no credentials for the store: set AWS_ACCESS_KEY_ID"), "{error}");
    }
}
