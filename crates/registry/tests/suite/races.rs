//! Sixteen writers at once.

use std::sync::atomic::{AtomicBool, Ordering};

use object_store::path::Path as Key;
use palisade_registry::{Error, PublishOptions, Version, Writer};
use tokio::sync::Notify;

use crate::around::{Around, surrounded};
use crate::support::{Place, alias, ann, tiny, v};

const WRITERS: usize = 16;

/// Runs all at once, each on a task of its own.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(work: impl Fn(usize) -> F) -> Vec<T> {
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(WRITERS));
    let tasks: Vec<_> = (0..WRITERS)
        .map(|number| {
            let (barrier, work) = (std::sync::Arc::clone(&barrier), work(number));
            tokio::spawn(async move {
                barrier.wait().await;
                work.await
            })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

pub(crate) async fn of_publishers_of_different_files_one_wins(place: &Place) {
    let results = at_once(|number| {
        let (writer, release) = (place.writer.clone(), place.release("1.0.0", &format!("weights {number}")));
        async move { writer.publish(&release, PublishOptions::by(&ann())).await }
    })
    .await;
    let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{results:?}");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(error, Error::Conflict { .. } | Error::AlreadyExists { .. }), "{error}");
    }
    let pulled = place.pull("tiny@1.0.0", "pulled").await.unwrap();
    assert_eq!((pulled.digest, &pulled.manifest), (won[0].digest, &won[0].manifest));
    assert_eq!(place.log().await, ["published 1.0.0"]);
}

pub(crate) async fn publishers_of_the_same_files_all_succeed(place: &Place) {
    let results = at_once(|_| {
        let (writer, release) = (place.writer.clone(), place.release("1.0.0", "weights"));
        async move { writer.publish(&release, PublishOptions::by(&ann())).await.map(|published| published.digest) }
    })
    .await;
    let digests: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    let pulled = place.pull("tiny@1.0.0", "pulled").await.unwrap();
    assert_eq!(digests, [pulled.digest; WRITERS]);
    assert_eq!(place.log().await, ["published 1.0.0"]);
    assert_eq!(place.get("models/tiny/versions/1.0.0/draft.json").await, None);
}

pub(crate) async fn of_promoters_one_wins(place: &Place) {
    let version = |number: usize| v(&format!("1.{number}.0"));
    for number in 0..=WRITERS {
        place.publish(version(number).as_str()).await;
    }
    // With an expectation that all share, then with none at the start: nobody's move is lost, for all who lose are told.
    place.promote("1.16.0", "champion").await.unwrap();
    let promote = |writer: Writer, to: Version, expect: Option<Version>| async move {
        writer.promote(&tiny(), &to, &alias("champion"), &ann(), expect.as_ref()).await
    };
    let results = at_once(|number| promote(place.writer.clone(), version(number), Some(v("1.16.0")))).await;
    let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{results:?}");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(error, Error::Moved { .. }), "{error}");
    }
    assert_eq!(place.at("champion").await.as_deref(), Some(won[0].pointer.version.as_str()));
    assert_eq!(place.at("previous").await.as_deref(), Some("1.16.0"));

    let results = at_once(|number| promote(place.writer.clone(), version(number), None)).await;
    let moves = results.iter().flatten().filter(|promoted| !promoted.already).count() + 2;
    let last = place.writer.history(&tiny()).await.unwrap().events.pop().unwrap();
    assert_eq!(last.details["sequence"], moves, "as many moves as successes");
    assert_eq!(place.log().await.iter().filter(|line| line.ends_with("champion")).count(), moves);
    assert_eq!(place.at("champion").await, last.version.map(|version| version.to_string()));
}

pub(crate) async fn of_retiring_and_promoting_at_once_one_wins(place: &Place) {
    place.publish("1.0.0").await;
    place.promote("1.0.0", "champion").await.unwrap();
    for round in 1..=WRITERS {
        let version = v(&format!("1.{round}.0"));
        place.publish(version.as_str()).await;
        let (tiny, by, champion) = (tiny(), ann(), alias("champion"));
        let (retired, promoted) = tokio::join!(
            place.writer.retire(&tiny, &version, &by),
            place.writer.promote(&tiny, &version, &champion, &by, None)
        );
        match (retired, promoted) {
            (Ok(_), Err(Error::Retired { .. })) => assert_ne!(place.at("champion").await.unwrap(), version.as_str()),
            (Err(Error::InUse { .. }), Ok(_)) => {
                assert_eq!(place.at("champion").await.unwrap(), version.as_str());
                let shown = place.writer.show(&palisade_registry::Reference::version(&tiny, &version)).await.unwrap();
                assert!(shown.retired.is_none(), "{version}");
            }
            (retired, promoted) => panic!("{round}: {retired:?} {promoted:?}"),
        }
    }
}

/// Holds the first write of one object back, says so, and lets it through when it is told to.
#[derive(Debug)]
struct Late {
    object: &'static str,
    is_first: AtomicBool,
    arrived: Notify,
    go: Notify,
}

#[async_trait::async_trait]
impl Around for Late {
    async fn hold(&self, key: &Key) {
        if key.as_ref() == self.object && self.is_first.swap(false, Ordering::SeqCst) {
            self.arrived.notify_one();
            self.go.notified().await;
        }
    }
}

/// A registry in which 1.0.0 is champion and 1.1.0 is there too, and a second writer whose write of one object is late.
async fn with_a_late(object: &'static str) -> (Place, Writer, std::sync::Arc<Late>) {
    let place = crate::support::memory().await.unwrap();
    place.publish("1.0.0").await;
    place.publish("1.1.0").await;
    place.promote("1.0.0", "champion").await.unwrap();
    let late = Late { object, is_first: true.into(), arrived: Notify::new(), go: Notify::new() };
    let late = std::sync::Arc::new(late);
    let through = |_| surrounded(std::sync::Arc::clone(&place.raw), std::sync::Arc::clone(&late));
    let writer = Writer::open_through(&place.location, through).await.unwrap();
    (place, writer, late)
}

#[tokio::test]
async fn a_mark_of_retirement_that_comes_behind_a_promotion_is_taken_back() {
    let mark = "models/tiny/versions/1.1.0/retired.json";
    let (place, writer, late) = with_a_late(mark).await;
    let retiring = tokio::spawn(async move { writer.retire(&tiny(), &v("1.1.0"), &ann()).await });
    late.arrived.notified().await;
    place.promote("1.1.0", "champion").await.unwrap();
    late.go.notify_one();
    let refused = retiring.await.unwrap().unwrap_err();
    assert!(matches!(&refused, Error::InUse { aliases, .. } if aliases == "champion"), "{refused}");
    assert_eq!(place.get(mark).await, None);
    assert_eq!(place.at("champion").await.as_deref(), Some("1.1.0"));
    assert!(!place.log().await.iter().any(|line| line.starts_with("retired")));
}

#[tokio::test]
async fn a_promotion_that_comes_behind_a_retirement_is_taken_back() {
    let (place, writer, late) = with_a_late("models/tiny/aliases/champion.json").await;
    let promoting =
        tokio::spawn(async move { writer.promote(&tiny(), &v("1.1.0"), &alias("champion"), &ann(), None).await });
    late.arrived.notified().await;
    place.writer.retire(&tiny(), &v("1.1.0"), &ann()).await.unwrap();
    late.go.notify_one();
    let refused = promoting.await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Retired { .. }), "{refused}");
    assert_eq!(place.at("champion").await.as_deref(), Some("1.0.0"));
}

/// A server runs these on its own tasks.
#[tokio::test]
async fn every_operation_can_be_on_any_thread() {
    fn check<T: Send>(_: T) {}

    let place = crate::support::memory().await.unwrap();
    let (writer, by) = (&place.writer, ann());
    let reference = palisade_registry::Reference::version(&tiny(), &v("1.0.0"));
    let folder = place.files.path();
    check(Writer::open(&place.location));
    check(writer.list());
    check(writer.show(&reference));
    check(writer.resolve_if_changed(&reference, None));
    check(writer.history(&tiny()));
    check(writer.diff(&reference, &reference));
    check(writer.verify(&reference, crate::support::anybody));
    check(writer.pull(&reference, folder, palisade_registry::PullOptions::trusting(crate::support::anybody)));
    check(writer.retire(&tiny(), &v("1.0.0"), &by));
    let resolved = async { writer.resolve(&reference).await.unwrap() };
    check(async { writer.sign(&resolved.await, &by, Box::new(|_| Ok(Vec::new()))).await });
    check(writer.rollback(&tiny(), &alias("champion"), &by, None));
    check(writer.append(&tiny(), "gate", None, &by, serde_json::Map::new()));
    check(writer.gc(&by, palisade_registry::GcOptions::default()));
}
