//! `comments:suggestscore`: feedback, kept for review and retraining.

use serde_json::{Map, Value, json};

use super::Error;
use crate::backend::{SuggestedScore, Suggestion};
use crate::json::{self, Mismatch, Object};
use crate::{Backend, Settings};

/// Most scores in one suggestion, spans included.
const SCORES_MAX: usize = 256;

pub(super) fn answer(fields: Object<'_>, settings: &Settings, backend: &mut impl Backend) -> Result<Value, Error> {
    let wrong = |e: Mismatch| Error::mismatch(&e);
    let text = super::comment(fields)?;
    super::check_context(fields)?;
    let scores = scores(fields, text)?;
    let languages = super::languages(fields)?;
    let mut suggestion = Suggestion {
        id: String::new(),
        text: text.to_owned(),
        scores,
        languages,
        community_id: fields.identifier("communityId").map_err(wrong)?,
        client_token: fields.identifier("clientToken").map_err(wrong)?,
        session_id: fields.identifier("sessionId").map_err(wrong)?,
    };
    suggestion.id = suggestion.digest();
    // Not a field of this method in the original; a client that sends it means it.
    let do_not_store = fields.boolean("doNotStore").map_err(wrong)?;
    if settings.keep_feedback && !do_not_store {
        backend.keep(&suggestion)?;
    }
    let description = backend.describe()?;
    let mut response = Map::new();
    if let Some(token) = suggestion.client_token {
        response.insert("clientToken".into(), token.into());
    }
    response.insert("detectedLanguages".into(), json!(super::detected(text, &description.languages)));
    response.insert("requestedLanguages".into(), json!(suggestion.languages));
    Ok(response.into())
}

fn scores(fields: Object<'_>, text: &str) -> Result<Vec<SuggestedScore>, Error> {
    let wrong = |e: Mismatch| Error::mismatch(&e);
    let missing = || Error::request("attribute_scores must be non-empty.");
    let given = Object::of(fields.get("attributeScores").ok_or_else(missing)?, "attribute_scores").map_err(wrong)?;
    let length = u32::try_from(text.encode_utf16().count()).unwrap_or(u32::MAX);
    let mut scores = Vec::new();
    for (label, value) in given.entries() {
        // People may judge what the loaded release cannot score yet, so any well-formed name is a label.
        if !is_label(label) {
            return Err(Error::invalid(&format!("Unknown requested attribute: {}", super::shortened(label))));
        }
        let path = format!("attribute_scores.{label}");
        let value = Object::of(value, &path).map_err(wrong)?;
        let before = scores.len();
        if let Some(summary) = value.get("summaryScore") {
            let score = probability(summary, &format!("{path}.summary_score"))?;
            scores.push(SuggestedScore { label: label.to_owned(), score, span: None });
        }
        let spans = value.get("spanScores");
        if let Some(other) = spans.filter(|spans| !spans.is_array()) {
            return Err(wrong(json::mismatch(&format!("{path}.span_scores"), "SpanScore", other)));
        }
        for span in spans.and_then(Value::as_array).into_iter().flatten().take(SCORES_MAX + 1) {
            scores.push(span_score(label, span, &format!("{path}.span_scores"), length)?);
        }
        if scores.len() == before {
            return Err(Error::request(&format!(
                "attribute_scores.{label} has neither summary_score nor span_scores."
            )));
        }
        if scores.len() > SCORES_MAX {
            return Err(Error::request(&format!("More than {SCORES_MAX} scores in one suggestion.")));
        }
    }
    if scores.is_empty() { Err(missing()) } else { Ok(scores) }
}

fn span_score(label: &str, span: &Value, path: &str, length: u32) -> Result<SuggestedScore, Error> {
    let wrong = |e: Mismatch| Error::mismatch(&e);
    let fields = Object::of(span, path).map_err(wrong)?;
    let begin = offset(fields, "begin")?.unwrap_or(0);
    let end = offset(fields, "end")?.unwrap_or(length);
    if begin > end || end > length {
        return Err(Error::request(&format!(
            "{path}: {begin} to {end} is no span of a text of {length} UTF-16 units."
        )));
    }
    let missing = || Error::request(&format!("{path} has no score."));
    let score = probability(fields.get("score").ok_or_else(missing)?, &format!("{path}.score"))?;
    Ok(SuggestedScore { label: label.to_owned(), score, span: Some((begin, end)) })
}

fn offset(fields: Object<'_>, name: &str) -> Result<Option<u32>, Error> {
    let Some(number) = fields.number(name).map_err(|e| Error::mismatch(&e))? else { return Ok(None) };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked by the condition")]
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
        return Ok(Some(number as u32));
    }
    Err(Error::request(&format!("{name} must be a whole number from 0.")))
}

fn probability(score: &Value, path: &str) -> Result<f64, Error> {
    let fields = Object::of(score, path).map_err(|e| Error::mismatch(&e))?;
    let kind = fields.string("type").map_err(|e| Error::mismatch(&e))?;
    if !matches!(super::score_type(kind), Some(Ok(()))) {
        let value = Value::from("");
        return Err(Error::mismatch(&json::mismatch(&format!("{path}.type"), "PROBABILITY", &value)));
    }
    // The JSON mapping of protocol buffers leaves out a value of 0.
    let value = fields.number("value").map_err(|e| Error::mismatch(&e))?.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&value) {
        return Err(Error::request(&format!("{path}.value must be from 0 to 1.")));
    }
    Ok(value)
}

/// Whether a name could be an attribute's.
fn is_label(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}
