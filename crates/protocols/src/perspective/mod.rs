//! Google's Perspective Comment Analyzer, v1alpha1: analyze, suggestscore, discovery, and the errors as the original words
//! them, for clients match on their text.
//!
//! What is lenient, and why: fields may be in camel case or snake case and unknown ones are passed over, as in Google's
//! own JSON mapping; `languages` may be a bare string and enums may be in lower case (n8n); the content type does not matter (Jigsaw's
//! Reddit client sends none).

pub mod analyze;
pub mod discovery;
mod error;
mod fields;
pub mod suggestscore;

use std::borrow::Cow;

use serde_json::Value;

pub use error::Error;

use crate::json::{self, Object};
use crate::{Backend, Request, Response, Route, Settings, language};

/// Longest comment in bytes.
pub const TEXT_BYTES_MAX: usize = 20_480;

/// Answers analyze and suggestscore.
pub(crate) fn answer(route: Route, request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Response {
    let answered = Rendering::of(request).and_then(|rendering| {
        let value = admitted(route, request, settings, backend)?;
        rendering.render(&value)
    });
    answered.unwrap_or_else(|error| error.response())
}

fn admitted(
    route: Route,
    request: &Request<'_>,
    settings: &Settings,
    backend: &mut impl Backend,
) -> Result<Value, Error> {
    backend.admit(key(request).as_deref())?;
    if request.header("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(crate::Failure::ContentEncoding.into());
    }
    let body: Value = json::parse(request.body).map_err(|e| Error::malformed(&e))?;
    let fields = Object::of(&body, "")
        .map_err(|_| Error::invalid("Invalid JSON payload received. Root element must be a message."))?;
    match route {
        Route::SuggestScore => suggestscore::answer(fields, settings, backend),
        _ => analyze::answer(fields, backend),
    }
}

/// The key, wherever the client puts it.
pub(crate) fn key<'a>(request: &Request<'a>) -> Option<Cow<'a, str>> {
    let header = || request.header("x-goog-api-key").or_else(|| request.key()).map(Cow::Borrowed);
    request.query("key").filter(|key| !key.is_empty()).or_else(header).filter(|key| !key.is_empty())
}

/// How the answer is to look: the standard parameters `alt`, `fields` and `prettyPrint`.
struct Rendering {
    fields: Option<fields::Mask>,
    pretty: bool,
}

impl Rendering {
    /// Checks the parameters, before anything is done for the request.
    fn of(request: &Request<'_>) -> Result<Self, Error> {
        let alt = request.query("alt");
        if let Some(alt) = alt.filter(|alt| !alt.is_empty() && !alt.eq_ignore_ascii_case("json")) {
            return Err(Error::invalid(&format!("Only alt=json is served, not alt={}.", shortened(&alt))));
        }
        let fields = request.query("fields").filter(|fields| !fields.is_empty());
        let fields = fields.map(|fields| fields::Mask::parse(&fields)).transpose();
        let fields = fields.map_err(|problem| Error::invalid(&format!("Invalid field selection: {problem}")))?;
        let pretty = request.query("prettyPrint").is_none_or(|pretty| pretty != "false" && pretty != "0");
        Ok(Self { fields, pretty })
    }

    fn render(&self, value: &Value) -> Result<Response, Error> {
        let selected = self.fields.as_ref().map(|mask| mask.select(value));
        let value = selected.as_ref().unwrap_or(value);
        let body = if self.pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
        let body = body.map_err(|e| crate::Failure::Fault(format!("the answer is no JSON: {e}")))?;
        Ok(Response::new(200, JSON, body))
    }
}

/// Google's content type of JSON.
pub(crate) const JSON: &str = "application/json; charset=UTF-8";

/// The comment, checked.
fn comment(fields: Object<'_>) -> Result<&str, Error> {
    let Some(comment) = fields.get("comment") else { return Err(Error::empty()) };
    let comment = Object::of(comment, "comment").map_err(|e| Error::mismatch(&e))?;
    let text = comment.string("text").map_err(|e| Error::mismatch(&e))?.unwrap_or_default();
    if let Some(kind) = comment.string("type").map_err(|e| Error::mismatch(&e))? {
        check_text_type(kind, "comment.type")?;
    }
    if text.trim().is_empty() {
        return Err(Error::empty());
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid(&format!(
            "Comment text was too many bytes. Value ({}) exceeded limit ({TEXT_BYTES_MAX}).",
            text.len()
        )));
    }
    Ok(text)
}

fn check_text_type(kind: &str, field: &str) -> Result<(), Error> {
    match kind.to_ascii_uppercase().as_str() {
        "" | "PLAIN_TEXT" | "TEXT_TYPE_UNSPECIFIED" => Ok(()),
        "HTML" => Err(Error::request("Text type HTML is not supported; send PLAIN_TEXT.")),
        _ => Err(Error::mismatch(&json::mismatch(field, "TextType", &Value::String(String::new())))),
    }
}

/// Checks the shape of the context, which no model reads.
fn check_context(fields: Object<'_>) -> Result<(), Error> {
    let Some(context) = fields.get("context") else { return Ok(()) };
    let context = Object::of(context, "context").map_err(|e| Error::mismatch(&e))?;
    if context.get("entries").is_some() && context.get("articleAndParentComment").is_some() {
        return Err(Error::request("Only one of context.entries and context.article_and_parent_comment may be given."));
    }
    Ok(())
}

/// Whether a probability is meant; `None` stands for a value that is no score type at all.
fn score_type(kind: Option<&str>) -> Option<Result<(), String>> {
    match kind.unwrap_or_default().to_ascii_uppercase().as_str() {
        "" | "PROBABILITY" | "SCORE_TYPE_UNSPECIFIED" => Some(Ok(())),
        other @ ("STD_DEV_SCORE" | "PERCENTILE" | "RAW") => Some(Err(other.to_owned())),
        _ => None,
    }
}

/// The languages that the client names; an empty name is none.
fn languages(fields: Object<'_>) -> Result<Vec<String>, Error> {
    let named = fields.strings("languages").map_err(|e| Error::mismatch(&e))?;
    Ok(named.into_iter().filter(|language| !language.trim().is_empty()).map(str::to_owned).collect())
}

/// The languages that a text seems to be in, most likely first. Where there are letters but no telling, the release's own.
fn detected(text: &str, languages: &[String]) -> Vec<String> {
    match language::detect(text) {
        language::Detected::Language(code) => vec![code.to_owned()],
        language::Detected::Unsure => languages.iter().take(1).cloned().collect(),
        language::Detected::Nothing => Vec::new(),
    }
}

/// At most 64 characters of what a client sent, for an error message.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
