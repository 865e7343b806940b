//! The HTTP endpoint as a component: `wasi:http` on one side, the classifier's contract on the other.
//!
//! 1. settings from the environment; 2. the request, its body up to a limit; 3. [`palisade_protocols::answer`]; 4. the response.
//!
//! Every protocol lives in [`palisade_protocols`]; here are only the imports behind its [`Backend`]. An instance answers one
//! request: Spin and `palisade serve` give each its own.

#[cfg(not(target_arch = "wasm32"))]
compile_error!("this crate is the inside of a component: build it with `cargo xtask component`");

mod bindings;

use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::palisade::moderation::classifier;
use bindings::palisade::services::{access, feedback};
use bindings::wasi::cli::environment;
use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam, Scheme,
};
use bindings::wasi::io::streams::StreamError;
use palisade_protocols::backend::{Backend, Description, Label, Parts, Release, Scored, Span, Suggestion, Word};
use palisade_protocols::{Failure, Request, Response, Settings, answer, refuse};

/// Bytes that one read may bring.
const READ_BYTES: u64 = 64 << 10;
/// Bytes that `blocking-write-and-flush` takes at most.
const WRITE_BYTES: usize = 4096;

struct Component;

impl Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let response = respond(&request);
        write(&response, out);
    }
}

fn respond(incoming: &IncomingRequest) -> Response {
    let (method, headers) = (method(incoming.method()), headers(incoming));
    let target = incoming.path_with_query().unwrap_or_else(|| "/".into());
    let authority = incoming.authority().unwrap_or_default();
    let scheme = if matches!(incoming.scheme(), Some(Scheme::Https)) { "https" } else { "http" };
    let request =
        Request { method: &method, target: &target, scheme, authority: &authority, headers: &headers, body: &[] };
    let settings = match Settings::from_environment(environment::get_environment()) {
        Ok(settings) => settings,
        Err(failure) => return refuse(&request, &Settings::default(), &failure),
    };
    match body(incoming, &headers, settings.body_bytes_max) {
        Ok(body) => answer(&Request { body: &body, ..request }, &settings, &mut Imports),
        Err(failure) => refuse(&request, &settings, &failure),
    }
}

fn method(method: Method) -> String {
    match method {
        Method::Get => "GET".into(),
        Method::Head => "HEAD".into(),
        Method::Post => "POST".into(),
        Method::Put => "PUT".into(),
        Method::Delete => "DELETE".into(),
        Method::Connect => "CONNECT".into(),
        Method::Options => "OPTIONS".into(),
        Method::Trace => "TRACE".into(),
        Method::Patch => "PATCH".into(),
        Method::Other(other) => other,
    }
}

fn headers(request: &IncomingRequest) -> Vec<(String, String)> {
    let text = |(name, value): (String, Vec<u8>)| Some((name, String::from_utf8(value).ok()?));
    request.headers().entries().into_iter().filter_map(text).collect()
}

/// The body to its end, or up to the limit. The platform bounds the time.
fn body(request: &IncomingRequest, headers: &[(String, String)], limit: usize) -> Result<Vec<u8>, Failure> {
    let announced = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let announced = announced.and_then(|(_, value)| value.parse::<usize>().ok()).unwrap_or_default();
    if announced > limit {
        return Err(Failure::BodyTooLarge { limit });
    }
    let Ok(incoming) = request.consume() else { return Ok(Vec::new()) };
    let Ok(stream) = incoming.stream() else { return Ok(Vec::new()) };
    let mut body = Vec::with_capacity(announced);
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(bytes) => body.extend(bytes),
            Err(StreamError::Closed) => return Ok(body),
            Err(StreamError::LastOperationFailed(_)) => return Err(Failure::BodyBroken),
        }
        if body.len() > limit {
            return Err(Failure::BodyTooLarge { limit });
        }
    }
}

/// Writes the response. Where the client has gone, there is no one left to tell.
fn write(response: &Response, out: ResponseOutparam) {
    let fields = Fields::new();
    for (name, value) in &response.headers {
        // Values that no header may hold are left out: none of ours is such.
        let _ = fields.append(name, value.as_bytes());
    }
    if !response.body.is_empty() {
        let _ = fields.append("content-length", response.body.len().to_string().as_bytes());
    }
    let outgoing = OutgoingResponse::new(fields);
    let _ = outgoing.set_status_code(response.status);
    let Ok(body) = outgoing.body() else { return };
    ResponseOutparam::set(out, Ok(outgoing));
    if let Ok(stream) = body.write() {
        for chunk in response.body.chunks(WRITE_BYTES) {
            if stream.blocking_write_and_flush(chunk).is_err() {
                return;
            }
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

/// What the platform gives, behind the protocols' view of it.
struct Imports;

impl Backend for Imports {
    fn describe(&mut self) -> Result<Description, Failure> {
        let description = classifier::describe().map_err(|e| failure(&e))?;
        let limits = description.limits;
        Ok(Description {
            release: Release {
                name: description.release.name,
                version: description.release.version,
                digest: description.release.digest,
            },
            engine: description.engine,
            labels: description
                .labels
                .into_iter()
                .map(|label| Label { name: label.name, threshold: label.threshold, block: label.block })
                .collect(),
            languages: description.languages,
            texts_max: limits.texts_max as usize,
            batch_bytes_max: limits.batch_bytes_max as usize,
        })
    }

    fn classify(&mut self, texts: &[&str], parts: Parts) -> Result<Vec<Scored>, Failure> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let options = classifier::Options { labels: None, spans: parts.spans, words: parts.words };
        let classification = classifier::classify(&texts, &options).map_err(|e| failure(&e))?;
        if classification.results.len() != texts.len() {
            let (results, texts) = (classification.results.len(), texts.len());
            return Err(Failure::Fault(format!("{results} results for {texts} texts")));
        }
        Ok(classification.results.into_iter().map(scored).collect())
    }

    fn admit(&mut self, key: Option<&str>) -> Result<(), Failure> {
        access::admit(key).map_err(|refusal| match refusal {
            access::Refusal::MissingKey => Failure::MissingKey,
            access::Refusal::UnknownKey => Failure::UnknownKey,
            access::Refusal::RateLimited(access::Rate { requests_per_minute, retry_after_ms }) => {
                Failure::RateLimited { requests_per_minute, retry_after_ms }
            }
            access::Refusal::Unavailable(reason) => Failure::Unavailable(reason),
        })
    }

    fn keep(&mut self, suggestion: &Suggestion) -> Result<(), Failure> {
        let score = |score: &palisade_protocols::backend::SuggestedScore| feedback::SuggestedScore {
            label: score.label.clone(),
            score: score.score,
            span: score.span,
        };
        let suggestion = feedback::Suggestion {
            id: suggestion.id.clone(),
            text: suggestion.text.clone(),
            scores: suggestion.scores.iter().map(score).collect(),
            languages: suggestion.languages.clone(),
            community_id: suggestion.community_id.clone(),
            client_token: suggestion.client_token.clone(),
            session_id: suggestion.session_id.clone(),
        };
        feedback::keep(&suggestion).map(drop).map_err(Failure::Unavailable)
    }

    #[expect(clippy::cast_precision_loss, reason = "a difference of two is what counts")]
    fn now_ms(&mut self) -> f64 {
        monotonic_clock::now() as f64 / 1e6
    }
}

fn failure(error: &classifier::Error) -> Failure {
    match error {
        classifier::Error::NotBaked => Failure::Misconfigured("the classifier holds no release".into()),
        classifier::Error::Engine(message) => Failure::Fault(format!("the engine failed: {message}")),
        // The protocols keep within the description's labels and limits.
        other => Failure::Fault(format!("the classifier refused the call: {other:?}")),
    }
}

fn scored(result: classifier::TextResult) -> Scored {
    let span = |span: classifier::Span| Span {
        start: span.start as usize,
        end: span.end as usize,
        scores: span.scores,
        truncated: span.truncated,
    };
    let word =
        |word: classifier::Word| Word { start: word.start as usize, end: word.end as usize, effects: word.effects };
    Scored {
        scores: result.scores,
        tokens: result.tokens,
        truncated: result.truncated,
        spans: result.spans.into_iter().map(span).collect(),
        spans_truncated: result.spans_truncated,
        words: result.words.into_iter().map(word).collect(),
        words_truncated: result.words_truncated,
    }
}
