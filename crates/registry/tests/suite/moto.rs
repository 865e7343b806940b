//! moto's S3 server, which judges conditional writes and versions: <https://docs.getmoto.org/en/latest/docs/server_mode.html>.
//!
//! `PALISADE_MOTO` names the program; `cargo xtask test` installs it below the target folder. Without it these tests pass with a
//! message, and fail where `CI` is set.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use palisade_registry::{Limits, Location};

use crate::support::Place;

/// How long the server may take to start on a busy machine.
const START_MAX: Duration = Duration::from_mins(5);

struct Server {
    address: String,
    /// Its standard input is closed when this process ends, however it does: then the shell around the server ends it.
    _shell: Child,
}

/// The server's address, `127.0.0.1:port`; it runs as long as this process.
pub(crate) fn address() -> Option<&'static str> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(start).as_ref().map(|server| server.address.as_str())
}

fn start() -> Option<Server> {
    let Some(program) = std::env::var_os("PALISADE_MOTO") else {
        assert!(
            std::env::var_os("CI").is_none(),
            "PALISADE_MOTO names no moto_server: `cargo xtask test` installs one"
        );
        return None;
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut shell = Command::new("sh")
        .args(["-c", r#""$0" -H 127.0.0.1 -p "$1" >&2 & pid=$!; read -r _; kill "$pid""#])
        .arg(program)
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address = format!("127.0.0.1:{port}");
    let start = Instant::now();
    while TcpStream::connect(&address).is_err() {
        assert!(start.elapsed() < START_MAX, "moto_server has not opened {address} within {START_MAX:?}");
        assert_eq!(shell.try_wait().unwrap(), None, "moto_server has ended at once");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(Server { address, _shell: shell })
}

/// Sends a request and gives the status.
fn request(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

/// A new bucket; says its name.
pub(crate) fn bucket(address: &str, is_versioned: bool) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("bucket-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let status = request(address, &format!("PUT /{name}"), "");
    assert!(status.contains(" 200 "), "{status}");
    if is_versioned {
        let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        let status = request(address, &format!("PUT /{name}?versioning"), enable);
        assert!(status.contains(" 200 "), "{status}");
    }
    name
}

/// A registry in a bucket, behind any address.
pub(crate) fn location(address: &str, bucket: &str) -> Location {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test-secret"), ("AWS_REGION", "us-east-1")];
    let variables: BTreeMap<_, _> = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let location = Location::parse(&format!("s3://{bucket}/a/registry?endpoint=http://{address}")).unwrap();
    location.with_variables(variables).with_limits(limits())
}

/// For machines that are busy with the other tests.
pub(crate) fn limits() -> Limits {
    Limits { connect: Duration::from_secs(30), request: Duration::from_mins(1), retry: Duration::from_mins(2) }
}

async fn place(is_versioned: bool) -> Option<Place> {
    let address = address()?;
    Some(Place::open(location(address, &bucket(address, is_versioned)), "a/registry/").await)
}

pub(crate) async fn plain() -> Option<Place> {
    place(false).await
}

pub(crate) async fn versioned() -> Option<Place> {
    place(true).await
}
