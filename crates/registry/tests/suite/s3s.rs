//! s3s-fs, an S3 server in this process, which judges signatures (AWS Signature Version 4) and checksums.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures_util::TryStreamExt as _;
use hyper_util::rt::TokioIo;
use object_store::{ObjectStore, ObjectStoreExt as _};
use palisade_registry::{Error, Limits, Location, PullOptions, Reference, Registry};

use crate::proxy::{self, Fate};
use crate::support::{Place, anybody, memory, tiny};

/// Serves a folder, a bucket a folder in it, until the test's runtime ends; gives the address.
async fn serve(folder: &Path) -> String {
    let files = s3s_fs::FileSystem::new(folder).unwrap();
    let mut service = s3s::service::S3ServiceBuilder::new(files);
    service.set_auth(s3s::auth::SimpleAuth::from_single("test", "test-secret"));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    address
}

fn location(address: &str, secret: &str) -> Location {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", secret), ("AWS_REGION", "us-east-1")];
    let variables: BTreeMap<_, _> = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let location = Location::parse(&format!("s3://bucket/a/registry?endpoint=http://{address}")).unwrap();
    location
        .with_variables(variables)
        .with_limits(Limits { retry: std::time::Duration::from_secs(5), ..crate::moto::limits() })
}

/// A registry of a test's own, with a server of its own.
pub(crate) async fn place() -> Option<Place> {
    let files = tempfile::tempdir().unwrap();
    let folder = files.path().join("served");
    std::fs::create_dir_all(folder.join("bucket")).unwrap();
    let address = serve(&folder).await;
    let mut place = Place::open(location(&address, "test-secret"), "a/registry/").await;
    place.files = files;
    Some(place)
}

/// The store below a registry, without its rules.
fn raw(location: &Location) -> Arc<dyn ObjectStore> {
    let slot = Mutex::new(None);
    Registry::open_through(location, |store| {
        slot.lock().unwrap().get_or_insert_with(|| Arc::clone(&store));
        store
    })
    .unwrap();
    slot.into_inner().unwrap().unwrap()
}

/// A served folder with a bucket, and what was published elsewhere put into it.
async fn seeded() -> (Place, String) {
    let place = memory().await.unwrap();
    place.publish("1.0.0").await;
    place.publish("1.1.0").await;
    place.promote("1.0.0", "champion").await.unwrap();
    place.promote("1.1.0", "champion").await.unwrap();
    let folder = place.files.path().join("served");
    std::fs::create_dir_all(folder.join("bucket")).unwrap();
    let address = serve(&folder).await;
    let store = raw(&location(&address, "test-secret"));
    let objects: Vec<_> = place.raw.list(None).try_collect().await.unwrap();
    assert_eq!(objects.len(), 20);
    for object in objects {
        let bytes = place.raw.get(&object.location).await.unwrap().bytes().await.unwrap();
        let key = object_store::path::Path::parse(format!("a/registry/{}", object.location)).unwrap();
        store.put(&key, bytes.into()).await.unwrap();
    }
    (place, address)
}

#[tokio::test]
async fn what_is_there_can_be_read_with_signed_requests() {
    let (place, address) = seeded().await;
    let registry = Registry::open(&location(&address, "test-secret")).unwrap();
    let (theirs, ours) = (registry.list().await.unwrap(), place.writer.list().await.unwrap());
    assert_eq!(format!("{theirs:?}"), format!("{ours:?}"));
    assert_eq!(registry.history(&tiny()).await.unwrap().events, place.writer.history(&tiny()).await.unwrap().events);
    let champion = Reference::parse("tiny@champion").unwrap();
    let folder = place.files.path().join("pulled");
    let pulled = registry.pull(&champion, &folder, PullOptions::trusting(anybody)).await.unwrap();
    assert_eq!(pulled.manifest.version.as_str(), "1.1.0");
    assert!(registry.verify(&champion, anybody).await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_wrong_secret_is_told_from_a_store_that_is_down_and_is_not_repeated() {
    let (_place, address) = seeded().await;
    let registry = Registry::open(&location(&address, "hunter2")).unwrap();
    let error = registry.history(&tiny()).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn bytes_that_change_on_the_way_are_refused_by_their_checksum() {
    let (place, address) = seeded().await;
    let address =
        proxy::before(&address, |request| if request.method == "PUT" { Fate::Flips } else { Fate::Passes }).await;
    let store = raw(&location(&address, "test-secret"));
    let key = object_store::path::Path::from("a/registry/models/tiny/flipped");
    store.put(&key, b"what was meant".to_vec().into()).await.unwrap_err();
    assert!(!place.files.path().join("served/bucket/a/registry/models/tiny/flipped").exists());
}
