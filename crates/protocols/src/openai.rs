//! OpenAI's moderations endpoint.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::backend::{Description, Parts, Scored};
use crate::json::{self, Malformed, Mismatch, Object};
use crate::policy::{self, Policy};
use crate::{Backend, Failure, Request, Response, Settings};

/// How much of a category the loaded release covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Coverage {
    /// The labels mean what the category means.
    Yes,
    /// The labels mean a part of it.
    Partly,
    /// No label of the release means it: never flagged, score 0.
    No,
}

/// Category, the labels whose highest score is its score, and how well they cover it where the release has them.
const CATEGORIES: &[(&str, &[&str], Coverage)] = &[
    ("harassment", &["INSULT", "TOXICITY", "SEVERE_TOXICITY"], Coverage::Yes),
    ("harassment/threatening", &["THREAT"], Coverage::Partly),
    ("hate", &["HATE", "IDENTITY_ATTACK"], Coverage::Yes),
    ("hate/threatening", &[], Coverage::No),
    ("illicit", &[], Coverage::No),
    ("illicit/violent", &[], Coverage::No),
    ("self-harm", &[], Coverage::No),
    ("self-harm/instructions", &[], Coverage::No),
    ("self-harm/intent", &[], Coverage::No),
    ("sexual", &["SEXUALLY_EXPLICIT"], Coverage::Yes),
    ("sexual/minors", &[], Coverage::No),
    ("violence", &[], Coverage::No),
    ("violence/graphic", &[], Coverage::No),
];

/// Names of OpenAI's models that clients send; the loaded release answers for all of them.
const MODELS: &[&str] =
    &["omni-moderation-latest", "omni-moderation-2024-09-26", "text-moderation-latest", "text-moderation-stable"];

/// The policy whose thresholds flag, where the operator has defined it; otherwise it is `default`.
const POLICY: &str = "openai";

/// Answers `POST /v1/moderations`.
pub(crate) fn answer(request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Response {
    moderations(request, settings, backend).unwrap_or_else(|error| error.response())
}

fn moderations(request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Result<Response, Error> {
    backend.admit(request.key())?;
    if request.header("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Failure::ContentEncoding.into());
    }
    let body: Value = json::parse(request.body).map_err(|e| Error::malformed(&e))?;
    let fields = Object::of(&body, "").map_err(|_| Error::invalid("The body must be a JSON object.", None, None))?;
    let inputs = inputs(fields)?;
    let description = backend.describe()?;
    check_model(fields, &description)?;
    let policies = settings.policies(&description)?;
    let default = Policy::default();
    let policy = policies.get(POLICY).or_else(|| policies.get(policy::DEFAULT)).unwrap_or(&default);

    let texts: Vec<&str> = inputs.iter().flatten().copied().collect();
    check_size(&texts, &description)?;
    let mut scored = backend.classify(&texts, Parts::default())?.into_iter();
    let mut results = Vec::with_capacity(inputs.len());
    for parts in &inputs {
        let judged: Vec<(&str, Scored)> = parts.iter().copied().zip(scored.by_ref()).collect();
        results.push(result(&judged, &description, policy));
    }
    let id = identifier("modr-", request);
    let model = format!("{}-{}", description.release.name, description.release.version);
    Ok(Response::json(200, &json!({"id": id, "model": model, "results": results})))
}

/// An identifier out of the host's request id, or out of the request where the host gives none.
pub(crate) fn identifier(prefix: &str, request: &Request<'_>) -> String {
    let seed = request.header("x-request-id").map_or(request.body, str::as_bytes);
    format!("{prefix}{}", hex::encode(Sha256::digest(seed).get(..16).unwrap_or_default()))
}

/// The texts of each result: one text a string, or the text parts of one message.
fn inputs(fields: Object<'_>) -> Result<Vec<Vec<&str>>, Error> {
    let wanted = "'input' must be a string, a list of strings, or a list of parts like {\"type\":\"text\",\"text\":…}.";
    let wrong = || Error::invalid(wanted, Some("input"), None);
    match fields.get("input") {
        None => Err(Error::invalid(
            "Missing required parameter: 'input'.",
            Some("input"),
            Some("missing_required_parameter"),
        )),
        Some(Value::String(text)) => Ok(vec![vec![text]]),
        Some(Value::Array(items)) if items.is_empty() => {
            Err(Error::invalid("'input' must not be an empty list.", Some("input"), None))
        }
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            Ok(items.iter().filter_map(Value::as_str).map(|text| vec![text]).collect())
        }
        Some(Value::Array(items)) if items.iter().all(Value::is_object) => {
            let parts: Result<Vec<&str>, Error> =
                items.iter().enumerate().map(|(at, part)| text_of(at, part)).collect();
            Ok(vec![parts?])
        }
        Some(_) => Err(wrong()),
    }
}

fn text_of(at: usize, part: &Value) -> Result<&str, Error> {
    let param = format!("input[{at}]");
    match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
        (Some("text"), Some(text)) => Ok(text),
        (Some("text"), None) => Err(Error::invalid(&format!("'{param}.text' must be a string."), Some(&param), None)),
        (Some("image_url"), _) => {
            let message = "This server has no image model: images are not moderated. Send text only.";
            Err(Error::invalid(message, Some(&param), Some("image_not_supported")))
        }
        _ => Err(Error::invalid(&format!("'{param}.type' must be \"text\"."), Some(&param), None)),
    }
}

fn check_model(fields: Object<'_>, description: &Description) -> Result<(), Error> {
    let model = fields.string("model").map_err(|e| Error::mismatch(&e))?.unwrap_or_default();
    let release = &description.release;
    let ours = model == release.name || model == format!("{}-{}", release.name, release.version);
    if model.is_empty() || ours || MODELS.contains(&model) {
        return Ok(());
    }
    let shown: String = model.chars().take(64).collect();
    let message = format!(
        "The model `{shown}` does not exist; this server has {} and answers for {}.",
        release.name,
        MODELS.join(", ")
    );
    Err(Error::invalid(&message, Some("model"), Some("model_not_found")))
}

fn check_size(texts: &[&str], description: &Description) -> Result<(), Error> {
    if texts.len() > description.texts_max {
        let message = format!("{} inputs in one request; at most {} are allowed.", texts.len(), description.texts_max);
        return Err(Error::invalid(&message, Some("input"), Some("too_many_inputs")));
    }
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    if bytes > description.batch_bytes_max {
        return Err(Failure::BodyTooLarge { limit: description.batch_bytes_max }.into());
    }
    Ok(())
}

/// One result, from the scores of one text or of the parts of one message.
fn result(parts: &[(&str, Scored)], description: &Description, policy: &Policy) -> Value {
    let judged: Vec<_> = parts.iter().map(|(_, scored)| policy.judge(None, description, scored, true)).collect();
    let fired = |label: &str| judged.iter().flat_map(|judgement| &judgement.fired).any(|fired| fired.label == label);
    let mut categories = Map::new();
    let mut scores = Map::new();
    let mut applied = Map::new();
    for (category, labels, _) in CATEGORIES {
        let present: Vec<(usize, &str)> =
            labels.iter().filter_map(|label| Some((description.label(label)?, *label))).collect();
        let of_part =
            |scored: &Scored| present.iter().filter_map(|(at, _)| scored.scores.get(*at)).copied().fold(0.0, f32::max);
        let score = parts.iter().map(|(_, scored)| of_part(scored)).fold(0.0, f32::max);
        categories.insert((*category).into(), present.iter().any(|(_, label)| fired(label)).into());
        scores.insert((*category).into(), json!(json::decimal(score)));
        applied.insert((*category).into(), if present.is_empty() { json!([]) } else { json!(["text"]) });
    }
    let flagged = categories.values().any(|value| value == &Value::Bool(true));
    json!({
        "flagged": flagged,
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": applied,
    })
}

/// Answers `GET /v1/moderations/coverage`: which categories are real.
pub(crate) fn coverage(backend: &mut impl Backend) -> Response {
    let description = match backend.describe() {
        Ok(description) => description,
        Err(failure) => return Error::from(failure).response(),
    };
    let categories: Map<String, Value> = CATEGORIES
        .iter()
        .map(|(category, labels, coverage)| {
            let present: Vec<&str> =
                labels.iter().copied().filter(|label| description.label(label).is_some()).collect();
            let coverage = if present.is_empty() { Coverage::No } else { *coverage };
            ((*category).to_owned(), json!({"coverage": coverage, "labels": present}))
        })
        .collect();
    let note = "A category's score is the highest of its labels' scores, and it is flagged where one of them reaches its \
                threshold in the policy. A category without labels is never flagged, and its score is 0.";
    Response::json(200, &json!({"release": description.release, "categories": categories, "note": note}))
}

/// An error with everything that goes into `{"error":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    status: u16,
    message: String,
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
    /// What it comes of, where that is not the request itself.
    failure: Option<Failure>,
}

impl Error {
    fn invalid(message: &str, param: Option<&str>, code: Option<&'static str>) -> Self {
        let param = param.map(str::to_owned);
        Self { status: 400, message: message.to_owned(), kind: "invalid_request_error", param, code, failure: None }
    }

    fn malformed(error: &Malformed) -> Self {
        Self::invalid(&format!("We could not parse the JSON body of your request: {error}."), None, None)
    }

    fn mismatch(mismatch: &Mismatch) -> Self {
        let message = format!("'{}' must be a string, and is {}.", mismatch.field, mismatch.given);
        Self::invalid(&message, Some(&mismatch.field), Some("invalid_type"))
    }

    /// The response.
    pub(crate) fn response(&self) -> Response {
        let error = json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        let response = Response::json(self.status, &json!({"error": error}));
        match &self.failure {
            Some(failure) => failure.mark(response),
            None => response,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let (message, kind, code) = match &failure {
            Failure::MissingKey => (
                "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth \
                 (i.e. Authorization: Bearer YOUR_KEY)."
                    .to_owned(),
                "invalid_request_error",
                Some("invalid_api_key"),
            ),
            Failure::UnknownKey => {
                ("Incorrect API key provided.".to_owned(), "invalid_request_error", Some("invalid_api_key"))
            }
            Failure::RateLimited { requests_per_minute, retry_after_ms } => (
                format!(
                    "Rate limit reached for requests per minute: Limit {requests_per_minute}. Please try again in \
                     {retry_after_ms}ms."
                ),
                "requests",
                Some("rate_limit_exceeded"),
            ),
            Failure::NotFound => (failure.to_string(), "invalid_request_error", Some("unknown_url")),
            Failure::MethodNotAllowed { .. } => {
                (failure.to_string(), "invalid_request_error", Some("method_not_supported"))
            }
            Failure::BodyTooLarge { .. } => (failure.to_string(), "invalid_request_error", Some("request_too_large")),
            Failure::ContentEncoding | Failure::BodyBroken | Failure::BodyTimeout { .. } => {
                (failure.to_string(), "invalid_request_error", None)
            }
            Failure::Overloaded { .. } => (failure.to_string(), "server_error", Some("overloaded")),
            Failure::Deadline { .. } => (failure.to_string(), "server_error", Some("timeout")),
            Failure::Unavailable(_) | Failure::Misconfigured(_) | Failure::Fault(_) => {
                (failure.to_string(), "server_error", None)
            }
        };
        Self { status: failure.status(), message, kind, param: None, code, failure: Some(failure) }
    }
}
