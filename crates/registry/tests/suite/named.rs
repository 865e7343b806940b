//! A real store, named from outside: `PALISADE_TEST_S3=s3://bucket?endpoint=…`, with credentials where the AWS command line has them.

use std::time::{SystemTime, UNIX_EPOCH};

use palisade_registry::Location;

use crate::support::Place;

/// A registry of a test's own, which stays behind. None where no store is named.
pub(crate) async fn place() -> Option<Place> {
    let address = std::env::var("PALISADE_TEST_S3").ok()?;
    let (bucket, options) = address.split_once('?').unwrap_or((&address, ""));
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let prefix = format!("palisade-tests/{nanos}-{}", std::process::id());
    let location = Location::parse(&format!("{}/{prefix}?{options}", bucket.trim_end_matches('/'))).unwrap();
    Some(Place::open(location.with_limits(crate::moto::limits()), &format!("{prefix}/")).await)
}
