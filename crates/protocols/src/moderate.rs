//! Our own protocol: a batch of texts and a policy in, scores and verdicts out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::backend::{Description, Parts, Scored, Span, Word};
use crate::json::{self, Malformed, decimal};
use crate::policy::{self, Fired, Judgement, Policies, Policy, Verdict};
use crate::{Backend, Failure, Protocol, Request, Response, Settings, language, openai, problem};

/// What to moderate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Moderate {
    texts: Vec<String>,
    #[serde(default = "default_policy")]
    policy: String,
    community: Option<String>,
    language: Option<String>,
    #[serde(default)]
    spans: bool,
    #[serde(default)]
    words: bool,
    #[serde(default)]
    offsets: Offsets,
}

fn default_policy() -> String {
    policy::DEFAULT.to_owned()
}

/// What the offsets of spans and words count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Offsets {
    /// Bytes of UTF-8.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// Code units of UTF-16, as in JavaScript and Java.
    #[serde(rename = "utf-16")]
    Utf16,
    /// Code points, as in Python.
    CodePoint,
}

#[derive(Debug, Serialize)]
struct Judged {
    verdict: Verdict,
    fired: Vec<Fired>,
    scores: Map<String, Value>,
    language: Language,
    tokens: u32,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    spans: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spans_truncated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words_truncated: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Language {
    /// ISO 639-1 code; null where it cannot be told.
    code: Option<String>,
    supported: bool,
}

/// A problem: name, detail, extension members; or what went wrong around the request.
enum Refused {
    Problem(u16, &'static str, String, Value),
    Failure(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Answers `POST /v1/moderate`.
pub(crate) fn answer(request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Response {
    match moderate(request, settings, backend) {
        Ok(response) => response,
        Err(Refused::Problem(status, name, detail, members)) => problem::response(status, name, &detail, &members),
        Err(Refused::Failure(failure)) => failure.response(Protocol::Palisade),
    }
}

fn moderate(request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Result<Response, Refused> {
    let started_ms = backend.now_ms();
    backend.admit(request.key())?;
    if request.header("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Failure::ContentEncoding.into());
    }
    let wanted: Moderate = parse(request)?;
    let description = backend.describe()?;
    let policies = settings.policies(&description)?;
    let policy = policies.get(&wanted.policy).ok_or_else(|| unknown_policy(&wanted.policy, &policies))?;
    check_size(&wanted, &description)?;

    let texts: Vec<&str> = wanted.texts.iter().map(String::as_str).collect();
    let scored = backend.classify(&texts, Parts { spans: wanted.spans, words: wanted.words })?;
    let results: Vec<Judged> =
        texts.iter().zip(scored).map(|(text, scored)| result(text, &scored, &wanted, policy, &description)).collect();
    let latency_ms = ((backend.now_ms() - started_ms) * 1000.0).round() / 1000.0;
    Ok(Response::json(
        200,
        &json!({
            "id": openai::identifier("mod-", request),
            "release": description.release,
            "engine": description.engine,
            "policy": wanted.policy,
            "community": wanted.community,
            "offsets": wanted.offsets,
            "latency_ms": latency_ms,
            "results": results,
        }),
    ))
}

fn parse(request: &Request<'_>) -> Result<Moderate, Refused> {
    json::parse(request.body).map_err(|error: Malformed| {
        let members = json!({"line": error.line, "column": error.column});
        let (name, status) = if error.is_data { ("invalid-request", 422) } else { ("malformed-json", 400) };
        Refused::Problem(status, name, error.to_string(), members)
    })
}

fn unknown_policy(name: &str, policies: &Policies) -> Refused {
    let known: Vec<&str> = policies.names().collect();
    let shown: String = name.chars().take(64).collect();
    let detail = format!("there is no policy {shown:?}; there is {}", known.join(", "));
    Refused::Problem(422, "unknown-policy", detail, json!({"policies": known}))
}

fn check_size(wanted: &Moderate, description: &Description) -> Result<(), Refused> {
    let (given, limit) = (wanted.texts.len(), description.texts_max);
    if given > limit {
        let detail = format!("{given} texts in one request; at most {limit} are allowed");
        return Err(Refused::Problem(422, "too-many-texts", detail, json!({"given": given, "limit": limit})));
    }
    let bytes: usize = wanted.texts.iter().map(String::len).sum();
    if bytes > description.batch_bytes_max {
        return Err(Failure::BodyTooLarge { limit: description.batch_bytes_max }.into());
    }
    Ok(())
}

fn result(text: &str, scored: &Scored, wanted: &Moderate, policy: &Policy, description: &Description) -> Judged {
    let code = wanted.language.clone().or_else(|| language_of(text));
    let supported = code.as_deref().is_none_or(|code| description.speaks(code));
    let judgement = policy.judge(wanted.community.as_deref(), description, scored, supported);
    let offset = |bytes: usize| offset(text, bytes, wanted.offsets);
    let span = |span: &Span| {
        json!({
            "start": offset(span.start),
            "end": offset(span.end),
            "scores": by_label(&span.scores, description),
            "truncated": span.truncated,
        })
    };
    let word = |word: &Word| {
        json!({
            "start": offset(word.start),
            "end": offset(word.end),
            "effects": by_label(&word.effects, description),
        })
    };
    Judged {
        verdict: judgement.verdict,
        fired: judgement.fired,
        scores: by_label(&scored.scores, description),
        language: Language { code, supported },
        tokens: scored.tokens,
        truncated: scored.truncated,
        spans: wanted.spans.then(|| scored.spans.iter().map(span).collect()),
        spans_truncated: wanted.spans.then_some(scored.spans_truncated),
        words: wanted.words.then(|| scored.words.iter().map(word).collect()),
        words_truncated: wanted.words.then_some(scored.words_truncated),
    }
}

/// What a policy says of a text, as in the answer to `POST /v1/moderate` where the request does not name the language.
pub fn judge(
    text: &str,
    community: Option<&str>,
    policy: &Policy,
    description: &Description,
    scored: &Scored,
) -> Judgement {
    let speaks = language_of(text).is_none_or(|code| description.speaks(&code));
    policy.judge(community, description, scored, speaks)
}

/// ISO 639-1 code; nothing where it cannot be told.
fn language_of(text: &str) -> Option<String> {
    match language::detect(text) {
        language::Detected::Language(code) => Some(code.to_owned()),
        _ => None,
    }
}

/// Scores by label, in the order of the release's labels, as they are written in answers.
pub fn by_label(scores: &[f32], description: &Description) -> Map<String, Value> {
    description.labels.iter().zip(scores).map(|(label, score)| (label.name.clone(), json!(decimal(*score)))).collect()
}

fn offset(text: &str, bytes: usize, offsets: Offsets) -> usize {
    let before = text.get(..bytes).unwrap_or(text);
    match offsets {
        Offsets::Utf8 => before.len(),
        Offsets::Utf16 => before.encode_utf16().count(),
        Offsets::CodePoint => before.chars().count(),
    }
}

/// Answers `GET /v1/policies`: each policy's thresholds for each label.
pub(crate) fn policies(request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Response {
    let mut answer = || -> Result<Response, Failure> {
        backend.admit(request.key())?;
        let description = backend.describe()?;
        let policies = settings.policies(&description)?;
        let mut all = Map::new();
        for name in policies.names() {
            let Some(policy) = policies.get(name) else { continue };
            let mut communities = Map::new();
            for community in policy.communities() {
                communities.insert(community.to_owned(), thresholds(policy, Some(community), &description));
            }
            let labels = thresholds(policy, None, &description);
            all.insert(name.to_owned(), json!({"labels": labels, "communities": communities}));
        }
        Ok(Response::json(200, &json!({"release": description.release, "policies": all})))
    };
    answer().unwrap_or_else(|failure| failure.response(Protocol::Palisade))
}

fn thresholds(policy: &Policy, community: Option<&str>, description: &Description) -> Value {
    let labels = description.labels.iter();
    let pair = |label: &crate::backend::Label| (label.name.clone(), json!(policy.thresholds(community, label)));
    Value::Object(labels.map(pair).collect())
}
