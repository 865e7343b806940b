//! The endpoint component under wasmtime: one request, one fresh instance.
//!
//! It gets what `wit/edge.wit` names, and nothing else: the classifier (through the queue), access, feedback, its settings as
//! environment variables, a clock, and the request. It runs asynchronously and yields at every tick of the epoch's clock, so a
//! guest that loops does not hold up the others; its time, memory and response are bounded.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use palisade_protocols::Failure;
use tracing::Instrument;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{self as wasi_http, ProxyPre};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::Shared;
use super::classifiers::Release;
use super::keys;
use crate::bindings::platform::palisade::moderation::classifier as wit;
use crate::bindings::platform::palisade::services::{access, feedback};
use crate::{Runtime, artefact, cache};

/// The interface that an endpoint gives.
const HANDLER: &str = "wasi:http/incoming-handler@0.2";
/// Largest linear memory of an instance: a body, its JSON, the texts, the answer.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// Largest response.
const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// The component, compiled and linked.
pub(super) struct Endpoint {
    pre: ProxyPre<State>,
    /// What the component sees as its environment.
    environment: Vec<(String, String)>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

/// What is known of a request when it is over.
#[derive(Debug, Default, Clone)]
pub(super) struct Facts {
    /// Name of the key, where it is a known one.
    pub(super) key_name: Option<String>,
    /// Texts that were scored.
    pub(super) texts: usize,
    /// Time in the classifier and its queue.
    pub(super) classify: Duration,
}

/// The data of a store: one request.
pub(super) struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoRequests,
    table: ResourceTable,
    limits: StoreLimits,
    shared: Arc<Shared>,
    release: Arc<Release>,
    admitted: bool,
    facts: Arc<std::sync::Mutex<Facts>>,
}

impl Endpoint {
    /// Compiles and links a component, and checks that it wants nothing else than what it gets.
    pub(super) fn load(runtime: &Runtime, path: &Path, environment: Vec<(String, String)>) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let anatomy = artefact::dissect(&bytes).map_err(|problem| anyhow::anyhow!("{}: {problem}", path.display()))?;
        if !anatomy.exports.iter().any(|export| export.starts_with(HANDLER)) {
            bail!("{}: a component that does not give {HANDLER}", path.display());
        }
        let component = cache::compiled(runtime.engine(), path, &anatomy.sha256, &bytes)?;
        let linker = linker(runtime)?;
        let wants = || format!("{}: wants an import that this host does not give", path.display());
        let pre = linker.instantiate_pre(&component).map_err(anyhow::Error::from).with_context(wants)?;
        Ok(Self { pre: ProxyPre::new(pre).map_err(anyhow::Error::from)?, environment })
    }

    /// Answers one request with one release: a failure says which limit was hit, or what the component did.
    pub(super) async fn answer(
        &self,
        request: Request<Full<Bytes>>,
        shared: &Arc<Shared>,
        release: &Arc<Release>,
        facts: &Arc<std::sync::Mutex<Facts>>,
    ) -> Result<Response<Bytes>, Failure> {
        let limit_ms = shared.limits.request_ms_max;
        let work = self.run(request, shared.clone(), release.clone(), facts.clone());
        match tokio::time::timeout(Duration::from_millis(limit_ms), work).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Deadline { limit_ms, limit: "request-ms-max" }),
        }
    }

    async fn run(
        &self,
        request: Request<Full<Bytes>>,
        shared: Arc<Shared>,
        release: Arc<Release>,
        facts: Arc<std::sync::Mutex<Facts>>,
    ) -> Result<Response<Bytes>, Failure> {
        let state = State {
            wasi: WasiCtx::builder().envs(&self.environment).build(),
            http: WasiHttpCtx::new(),
            hooks: NoRequests,
            table: ResourceTable::new(),
            limits: StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX).trap_on_grow_failure(true).build(),
            shared,
            release,
            admitted: false,
            facts,
        };
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let fault = |e: wasmtime::Error| failure(&e);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request).map_err(fault)?;
        let out = store.data_mut().http().new_response_outparam(sender).map_err(fault)?;

        // The guest writes while its response is read. The store goes with the guest, so that a guest that ends without an
        // answer ends the wait for it.
        let guest = async move {
            let instance = self.pre.instantiate_async(&mut store).await?;
            instance.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
        };
        let guest = async { guest.await.map_err(fault) };
        let response = async {
            let never = |_| Failure::Fault("the endpoint component ended without an answer".into());
            let refused = |code| Failure::Fault(format!("the endpoint component answered with an error: {code:?}"));
            let (parts, body) = receiver.await.map_err(never)?.map_err(refused)?.into_parts();
            let too_large = |_| {
                Failure::Fault(format!(
                    "the endpoint component's response breaks off, or has more than {RESPONSE_BYTES_MAX} bytes"
                ))
            };
            let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await.map_err(too_large)?.to_bytes();
            Ok(Response::from_parts(parts, body))
        };
        // A trap is told before the missing answer that follows from it, and a response that is too large ends the guest.
        let ((), response) = tokio::try_join!(guest, response)?;
        Ok(response)
    }
}

/// What the guest's end means for the client.
fn failure(error: &wasmtime::Error) -> Failure {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.clone();
    }
    let message = format!("{error:#}");
    if message.contains("growing memory") {
        return Failure::Fault(format!("the endpoint component wants more than {MEMORY_BYTES_MAX} bytes of memory"));
    }
    Failure::Fault(format!("the endpoint component failed: {}", error.root_cause()))
}

fn linker(runtime: &Runtime) -> Result<Linker<State>> {
    let mut linker = Linker::new(runtime.engine());
    let l = &mut linker;
    let add = |l: &mut Linker<State>| -> wasmtime::Result<()> {
        wasi::io::error::add_to_linker::<State, HasTable>(l, |state| &mut state.table)?;
        wasi::io::poll::add_to_linker::<State, HasTable>(l, |state| &mut state.table)?;
        wasi::io::streams::add_to_linker::<State, HasTable>(l, |state| &mut state.table)?;
        wasi::cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
        wasi::clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
        let options = wasi_http::LinkOptions::default();
        wasi_http::http::types::add_to_linker::<State, WasiHttp>(l, &(&options).into(), State::http)?;
        wit::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
        access::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
        feedback::add_to_linker::<State, HasSelf<State>>(l, |state| state)
    };
    add(l).map_err(anyhow::Error::from)?;
    Ok(linker)
}

struct HasTable;

impl wasmtime::component::HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Requests of the guest's own are not linked; this is for the trait only.
struct NoRequests;

type Sent<T> = Box<dyn Future<Output = Result<T, wasmtime_wasi_http::Error>> + Send>;

impl WasiHttpHooks for NoRequests {
    fn send_request(
        &mut self,
        _: Request<wasmtime_wasi_http::WasiBody>,
        _: Option<wasmtime_wasi_http::RequestOptions>,
        _: Sent<()>,
    ) -> Sent<(Response<wasmtime_wasi_http::WasiBody>, Sent<()>)> {
        Box::new(std::future::ready(Err(wasmtime_wasi_http::Error::HttpRequestDenied)))
    }
}

impl wit::Host for State {
    async fn describe(&mut self) -> wasmtime::Result<Result<wit::Description, wit::Error>> {
        Ok(Ok(description(&self.release.description)))
    }

    async fn classify(
        &mut self,
        texts: Vec<String>,
        options: wit::Options,
    ) -> wasmtime::Result<Result<wit::Classification, wit::Error>> {
        let started = Instant::now();
        let count = texts.len();
        let options = crate::bindings::Options { labels: options.labels, spans: options.spans, words: options.words };
        let span = tracing::info_span!(target: "palisade_host::serve", "classify", texts = i64::try_from(count).unwrap_or(i64::MAX));
        let outcome = self.shared.classify(&self.release, texts, options, &mut self.admitted).instrument(span).await;
        if let Ok(mut facts) = self.facts.lock() {
            facts.texts += count;
            facts.classify += started.elapsed();
        }
        // An overload or a deadline ends the guest: its protocol has no word for it, and the host answers in its place.
        Ok(outcome.map_err(wasmtime::Error::from)?.map(classification).map_err(error))
    }
}

impl access::Host for State {
    async fn admit(&mut self, key: Option<String>) -> wasmtime::Result<Result<(), access::Refusal>> {
        let Some(keys) = &self.shared.keys else { return Ok(Ok(())) };
        let (admitted, name) = match keys.admit(key.as_deref(), Instant::now()) {
            Ok(name) => (Ok(()), Some(name)),
            Err(keys::Refusal::Missing) => (Err(access::Refusal::MissingKey), None),
            Err(keys::Refusal::Unknown) => (Err(access::Refusal::UnknownKey), None),
            Err(keys::Refusal::RateLimited { name, requests_per_minute, retry_after_ms }) => {
                let rate = access::Rate { requests_per_minute, retry_after_ms };
                (Err(access::Refusal::RateLimited(rate)), Some(name))
            }
        };
        if let Ok(mut facts) = self.facts.lock() {
            facts.key_name = name.map(str::to_owned);
        }
        Ok(admitted)
    }
}

impl feedback::Host for State {
    async fn keep(&mut self, suggestion: feedback::Suggestion) -> wasmtime::Result<Result<bool, String>> {
        let key_name = self.facts.lock().ok().and_then(|facts| facts.key_name.clone());
        Ok(self.shared.keep(&suggestion, key_name.as_deref()).await?)
    }
}

fn named(release: &crate::bindings::Release) -> wit::Release {
    wit::Release { name: release.name.clone(), version: release.version.clone(), digest: release.digest.clone() }
}

fn description(description: &crate::bindings::Description) -> wit::Description {
    let limits = description.limits;
    let label = |label: &crate::bindings::Label| wit::Label {
        name: label.name.clone(),
        threshold: label.threshold,
        block: label.block,
    };
    wit::Description {
        release: named(&description.release),
        engine: description.engine.clone(),
        labels: description.labels.iter().map(label).collect(),
        languages: description.languages.clone(),
        limits: wit::Limits {
            texts_max: limits.texts_max,
            batch_bytes_max: limits.batch_bytes_max,
            text_bytes_max: limits.text_bytes_max,
            tokens_max: limits.tokens_max,
            spans_max: limits.spans_max,
            words_max: limits.words_max,
        },
    }
}

fn classification(answer: crate::bindings::Classification) -> wit::Classification {
    let span = |span: crate::bindings::Span| wit::Span {
        start: span.start,
        end: span.end,
        scores: span.scores,
        truncated: span.truncated,
    };
    let word = |word: crate::bindings::Word| wit::Word { start: word.start, end: word.end, effects: word.effects };
    let result = |result: crate::bindings::TextResult| wit::TextResult {
        scores: result.scores,
        tokens: result.tokens,
        truncated: result.truncated,
        spans: result.spans.into_iter().map(span).collect(),
        spans_truncated: result.spans_truncated,
        words: result.words.into_iter().map(word).collect(),
        words_truncated: result.words_truncated,
    };
    wit::Classification {
        release: named(&answer.release),
        labels: answer.labels,
        results: answer.results.into_iter().map(result).collect(),
    }
}

fn error(error: crate::bindings::Error) -> wit::Error {
    let exceeded = |e: crate::bindings::Exceeded| wit::Exceeded { given: e.given, limit: e.limit };
    match error {
        crate::bindings::Error::UnknownLabel(name) => wit::Error::UnknownLabel(name),
        crate::bindings::Error::DuplicateLabel(name) => wit::Error::DuplicateLabel(name),
        crate::bindings::Error::TooManyTexts(e) => wit::Error::TooManyTexts(exceeded(e)),
        crate::bindings::Error::BatchTooLarge(e) => wit::Error::BatchTooLarge(exceeded(e)),
        crate::bindings::Error::NotBaked => wit::Error::NotBaked,
        crate::bindings::Error::Engine(message) => wit::Error::Engine(message),
    }
}

/// A response of our own making.
pub(super) fn plain(response: palisade_protocols::Response) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(response.body));
    *answer.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in response.headers {
        if let Ok(value) = hyper::header::HeaderValue::from_str(&value) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}
