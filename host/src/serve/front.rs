//! Before and after the endpoint component: what only the host can do for a request.
//!
//! 1. The operator's routes: `/healthz`, `/readyz`, `/metrics`.
//! 2. Chat rooms and the site, which the component knows nothing of.
//! 3. The body, within its limits of bytes and time.
//! 4. A place among the instances, and the component's answer.
//! 5. Metrics, one log line, the trace.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Request, Response, StatusCode};
use palisade_protocols::{Failure, Protocol, http};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::classifiers::Release;
use super::endpoint::{Facts, plain};
use super::metrics::{ReasonLabels, RequestLabels, RouteLabels};
use super::{Held, Shared, Stage, rooms, telemetry};

/// Longest time, and most bytes, that are read of a body which is refused.
const DISCARD_MS_MAX: u64 = 3_000;
const DISCARD_BYTES_MAX: usize = 64 << 20;
/// Bytes of each body that are not counted among all bodies; `connections-max` bounds them.
const FREE_BYTES: usize = 64 << 10;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers one request. Never fails: the client always gets an answer.
pub(super) async fn answer(
    shared: Arc<Shared>,
    held: Arc<Held>,
    local: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Pieces>, std::convert::Infallible> {
    let mut response = match (request.method().as_str(), request.uri().path()) {
        ("GET" | "HEAD", "/healthz") => text(200, "ok\n"),
        ("GET" | "HEAD", "/readyz") if shared.is_draining() => text(503, "draining\n"),
        ("GET" | "HEAD", "/readyz") => text(200, "ready\n"),
        ("GET" | "HEAD", "/metrics") => metrics(&shared),
        (_, "/healthz" | "/readyz" | "/metrics") => {
            plain(Failure::MethodNotAllowed { allow: "GET, HEAD" }.response(Protocol::Palisade))
        }
        _ => match shared.settings.local_path(request.uri().path()).strip_prefix(rooms::PATH).map(str::to_owned) {
            Some(room) => {
                let response = rooms::enter(&shared, &held, &room, request);
                note(&shared, "room", &response);
                response
            }
            None => match site(&shared, &request) {
                Some(response) => response,
                None => serve(&shared, local, request).await,
            },
        },
    };
    if shared.is_draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(Pieces))
}

/// A file of the site, unless the path is an API's: of those, only `/` is given up.
fn site(shared: &Shared, request: &Request<Incoming>) -> Option<Response<Bytes>> {
    let site = shared.site.as_ref()?;
    let path = shared.settings.local_path(request.uri().path());
    let is_free = || matches!(Head::of(request).request().route(&shared.settings), Err((_, Failure::NotFound)));
    if path != "/" && !is_free() {
        return None;
    }
    let response = site.answer(request.method(), path, request.headers(), shared.settings.public_url.as_deref())?;
    note(shared, "site", &response);
    Some(response)
}

/// Counts and logs an answer that cost nothing to make.
fn note(shared: &Shared, route: &'static str, response: &Response<Bytes>) {
    let status = response.status().as_u16();
    shared.metrics.requests.get_or_create(&RequestLabels { route, status }).inc();
    tracing::info!(target: "palisade_host::serve", route, status, response_bytes = response.body().len(), "request");
}

/// A body that goes out in pieces. The time to write counts for each of them, so that a large file may take longer than a small answer.
#[derive(Debug)]
pub(super) struct Pieces(Bytes);

/// A piece: a client that takes 35 KB a second gets the largest file.
const PIECE_BYTES: usize = 1 << 20;

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.0.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.0.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

fn text(status: u16, body: &'static str) -> Response<Bytes> {
    plain(http::Response::new(status, "text/plain; charset=utf-8", body))
}

fn metrics(shared: &Shared) -> Response<Bytes> {
    shared.metrics.queue_waiting.set(i64::try_from(shared.classifiers.waiting()).unwrap_or(i64::MAX));
    let mut response = Response::new(Bytes::from(shared.metrics.render()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// What is kept of a request's head while its body and its answer are made.
struct Head {
    /// One of HTTP's own methods, or `_OTHER`: another could be any text.
    method: &'static str,
    target: String,
    /// The header `Origin`.
    origin: Vec<(String, String)>,
    id: String,
}

impl Head {
    fn of(request: &Request<Incoming>) -> Self {
        let origin = request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok());
        let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
        Self {
            method: methods.into_iter().find(|known| known == request.method()).unwrap_or("_OTHER"),
            target: request.uri().path().to_owned(),
            origin: origin.map(|origin| ("origin".to_owned(), origin.to_owned())).into_iter().collect(),
            id: request_id(request),
        }
    }

    fn request(&self) -> palisade_protocols::Request<'_> {
        let (method, target) = (self.method, self.target.as_str());
        palisade_protocols::Request { method, target, scheme: "http", authority: "", headers: &self.origin, body: &[] }
    }
}

async fn serve(shared: &Arc<Shared>, local: SocketAddr, request: Request<Incoming>) -> Response<Bytes> {
    let started = Instant::now();
    let head = Head::of(&request);
    let route = head.request().route(&shared.settings).map_or("other", palisade_protocols::Route::name);
    let span = tracing::info_span!(
        target: "palisade_host::serve",
        "request",
        otel.name = format!("{} {route}", head.method),
        otel.kind = "server",
        http.request.method = head.method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        request_id = head.id,
        texts = tracing::field::Empty,
    );
    let _ = span.set_parent(telemetry::parent(request.headers()));
    let facts = Arc::new(Mutex::new(Facts::default()));
    let body_bytes = request.body().size_hint().exact();
    let release = shared.classifiers.current();
    let outcome = endpoint(shared, &release, local, request, &head.id, &facts).instrument(span.clone()).await;
    let (mut response, failure) = match outcome {
        Ok(response) => (response, None),
        Err((failure, body_is_read)) => {
            let mut response = refuse(shared, &head, &failure);
            if !body_is_read {
                // The rest of the body would be taken for the next request.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            (response, Some(failure))
        }
    };
    if let Ok(id) = HeaderValue::from_str(&head.id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }

    let status = response.status().as_u16();
    let latency = started.elapsed();
    shared.metrics.requests.get_or_create(&RequestLabels { route, status }).inc();
    shared.metrics.request_seconds.get_or_create(&RouteLabels { route }).observe(latency.as_secs_f64());
    if let Some(failure) = &failure {
        shared.metrics.failures.get_or_create(&ReasonLabels { reason: failure.name() }).inc();
    }
    let facts = facts.lock().map(|facts| facts.clone()).unwrap_or_default();
    span.record("http.response.status_code", i64::from(status));
    span.record("texts", i64::try_from(facts.texts).unwrap_or(i64::MAX));
    tracing::info!(
        target: "palisade_host::serve",
        request_id = head.id,
        method = head.method,
        route,
        status,
        latency_ms = milliseconds(latency),
        classify_ms = milliseconds(facts.classify),
        texts = facts.texts,
        body_bytes,
        response_bytes = response.body().len(),
        key = facts.key_name,
        failure = failure.map(|failure| failure.to_string()),
        release = release.name(),
        "request"
    );
    response
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The client's own identifier where it is harmless, or a new one.
fn request_id(request: &Request<Incoming>) -> String {
    let harmless = |id: &&str| {
        (1..=128).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
    };
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(harmless);
    given.map_or_else(new_request_id, str::to_owned)
}

fn new_request_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness there is still an answer; its identifier is then no use.
    let _ = getrandom::fill(&mut bytes);
    hex::encode(bytes)
}

/// Reads the body, and has the component answer. A failure comes with whether the body was read to its end.
async fn endpoint(
    shared: &Arc<Shared>,
    release: &Arc<Release>,
    local: SocketAddr,
    request: Request<Incoming>,
    id: &str,
    facts: &Arc<Mutex<Facts>>,
) -> Result<Response<Bytes>, (Failure, bool)> {
    let (mut parts, mut body) = request.into_parts();
    let read = read(shared, &mut body, &parts.headers).await;
    let (body, _memory) = read.map_err(|failure| (failure, body.is_end_stream()))?;
    let full =
        |_| Failure::Overloaded { limit: format!("{} instances work already", shared.instances_max), retry_after_s: 1 };
    let _place = shared.instances.clone().try_acquire_owned().map_err(|e| (full(e), true))?;
    let _counted = Counted::new(shared);
    if let Ok(id) = HeaderValue::from_str(id) {
        parts.headers.insert(REQUEST_ID, id);
    }
    // The body is whole by now, however it came.
    parts.headers.remove(hyper::header::TRANSFER_ENCODING);
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    // HTTP/1.0 may go without, and some clients send bytes that no host has.
    if !parts.headers.get(HOST).is_some_and(|host| host.to_str().is_ok_and(|host| !host.is_empty())) {
        let host = HeaderValue::from_str(&local.to_string());
        parts.headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
    }
    let answer = shared.endpoint.answer(Request::from_parts(parts, Full::new(body)), shared, release, facts).await;
    answer.map_err(|failure| (failure, true))
}

/// A body within the limits of bytes and time, and its share of the memory for all bodies.
async fn read(
    shared: &Arc<Shared>,
    body: &mut Incoming,
    headers: &HeaderMap,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Failure> {
    let limit_ms = shared.limits.body_ms_max;
    let read = if body.size_hint().lower() > shared.limits.body_bytes_max as u64 {
        Err(Failure::BodyTooLarge { limit: shared.limits.body_bytes_max })
    } else {
        let read = tokio::time::timeout(Duration::from_millis(limit_ms), read_frames(shared, body)).await;
        read.unwrap_or(Err(Failure::BodyTimeout { limit_ms }))
    };
    // A client that is still sending when the connection closes may never see why. One that waits to be asked is not asked.
    if matches!(read, Err(Failure::BodyTooLarge { .. } | Failure::Overloaded { .. })) && !headers.contains_key(EXPECT) {
        let _ = tokio::time::timeout(Duration::from_millis(DISCARD_MS_MAX), discard(body)).await;
    }
    read
}

async fn read_frames(
    shared: &Arc<Shared>,
    body: &mut Incoming,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Failure> {
    let limit = shared.limits.body_bytes_max;
    let mut bytes = Vec::new();
    let mut memory: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        // The client may have gone; then there is no one left to read this.
        let frame = frame.map_err(|_| Failure::BodyBroken)?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Failure::BodyTooLarge { limit });
        }
        // Only what has arrived counts, so that slow clients do not use up the memory that they only announce; and of that not the
        // beginning, so that a few large bodies that stall do not keep the small ones out.
        let counted = (bytes.len() + data.len()).saturating_sub(FREE_BYTES).min(data.len());
        let length = u32::try_from(counted).unwrap_or(u32::MAX);
        let share = shared.body_memory.clone().try_acquire_many_owned(length).map_err(|_| Failure::Overloaded {
            limit: format!("{} MiB of bodies are at work", super::BODIES_BYTES_MAX >> 20),
            retry_after_s: 1,
        })?;
        match &mut memory {
            Some(memory) => memory.merge(share),
            None => memory = Some(share),
        }
        bytes.extend_from_slice(&data);
    }
    Ok((Bytes::from(bytes), memory))
}

/// Reads what is left of a body, within bounds, and forgets it.
async fn discard(body: &mut Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > DISCARD_BYTES_MAX {
            return;
        }
    }
}

/// The host's refusal, in the protocol's words.
fn refuse(shared: &Shared, head: &Head, failure: &Failure) -> Response<Bytes> {
    if let Failure::Fault(problem) = failure {
        tracing::error!(target: "palisade_host::serve", request_id = head.id, problem, "fault");
    }
    plain(palisade_protocols::refuse(&head.request(), &shared.settings, failure))
}

/// One more instance that works, for as long as it lives.
struct Counted<'a>(&'a Shared);

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.metrics.endpoint_instances.inc();
        Self(shared)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics.endpoint_instances.dec();
    }
}

impl Shared {
    fn is_draining(&self) -> bool {
        *self.stage.borrow() != Stage::Serving
    }
}
