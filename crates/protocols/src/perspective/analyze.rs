//! `comments:analyze`.

use serde_json::{Map, Value, json};

use super::Error;
use crate::Backend;
use crate::backend::{Description, Parts, Scored};
use crate::json::{self, Mismatch, Object};

/// One attribute asked for.
struct Attribute {
    name: String,
    /// Position among the release's labels.
    label: usize,
    threshold: Option<f64>,
}

pub(super) fn answer(fields: Object<'_>, backend: &mut impl Backend) -> Result<Value, Error> {
    let wrong = |e: Mismatch| Error::mismatch(&e);
    let text = super::comment(fields)?;
    super::check_context(fields)?;
    let spans_wanted = fields.boolean("spanAnnotations").map_err(wrong)?;
    fields.boolean("doNotStore").map_err(wrong)?; // nothing is stored here in any case
    let client_token = fields.identifier("clientToken").map_err(wrong)?;
    let requested: Vec<String> = super::languages(fields)?;

    let description = backend.describe()?;
    let attributes = attributes(fields, &description)?;
    let detected = super::detected(text, &description.languages);
    check_languages(&attributes, &requested, &detected, &description)?;

    let mut scores = Map::new();
    if !attributes.is_empty() {
        let scored = backend.classify(&[text], Parts { spans: spans_wanted, ..Parts::default() })?.pop();
        let scored = scored.ok_or_else(|| crate::Failure::Fault("no result for a text".into()))?;
        for attribute in &attributes {
            if let Some(answer) = attribute_scores(attribute, text, &scored) {
                scores.insert(attribute.name.clone(), answer);
            }
        }
    }
    let mut response = Map::new();
    if !scores.is_empty() {
        response.insert("attributeScores".into(), scores.into());
    }
    let languages = if requested.is_empty() { &detected } else { &requested };
    response.insert("languages".into(), json!(languages));
    response.insert("detectedLanguages".into(), json!(detected));
    if let Some(token) = client_token {
        response.insert("clientToken".into(), token.into());
    }
    Ok(response.into())
}

/// Checks what is asked for against what the release scores: a score is never derived from another.
fn attributes(fields: Object<'_>, description: &Description) -> Result<Vec<Attribute>, Error> {
    let wrong = |e: Mismatch| Error::mismatch(&e);
    let Some(requested) = fields.get("requestedAttributes") else { return Err(Error::no_attributes()) };
    let mut attributes = Vec::new();
    for (name, parameters) in Object::of(requested, "requested_attributes").map_err(wrong)?.entries() {
        let unknown = || Error::invalid(&format!("Unknown requested attribute: {}", super::shortened(name)));
        let label = description.label(name).ok_or_else(unknown)?;
        let path = format!("requested_attributes.{name}");
        let mut attribute = Attribute { name: name.to_owned(), label, threshold: None };
        if !parameters.is_null() {
            let parameters = Object::of(parameters, &path).map_err(wrong)?;
            let kind = parameters.string("scoreType").map_err(wrong)?;
            let wrong_type =
                || Error::mismatch(&json::mismatch(&format!("{path}.score_type"), "ScoreType", &Value::from("")));
            super::score_type(kind).ok_or_else(wrong_type)?.map_err(|kind| {
                Error::invalid(&format!("Requested score type {kind} is not supported by attribute {name}"))
            })?;
            attribute.threshold = parameters.number("scoreThreshold").map_err(wrong)?;
        }
        attributes.push(attribute);
    }
    Ok(attributes)
}

fn check_languages(
    attributes: &[Attribute],
    requested: &[String],
    detected: &[String],
    description: &Description,
) -> Result<(), Error> {
    let (languages, asked_for) = if requested.is_empty() { (detected, false) } else { (requested, true) };
    if languages.is_empty() {
        return Err(Error::no_language());
    }
    match attributes.first() {
        Some(attribute) if !languages.iter().any(|language| description.speaks(language)) => {
            Err(Error::language(&attribute.name, languages, asked_for))
        }
        _ => Ok(()),
    }
}

/// Summary and spans of one attribute; nothing where the score is below the threshold asked for.
fn attribute_scores(attribute: &Attribute, text: &str, scored: &Scored) -> Option<Value> {
    let score = |scores: &[f32]| scores.get(attribute.label).copied().unwrap_or_default();
    let value = |score: f32| json!({"value": json::decimal(score), "type": "PROBABILITY"});
    let summary = score(&scored.scores);
    if attribute.threshold.is_some_and(|threshold| json::decimal(summary) < threshold) {
        return None;
    }
    let span = |start: usize, end: usize, score: f32| json!({"begin": utf16_length(text, start), "end": utf16_length(text, end), "score": value(score)});
    // The original gives the whole text as one span where no spans are asked for.
    let spans: Vec<Value> = if scored.spans.is_empty() {
        vec![span(0, text.len(), summary)]
    } else {
        scored.spans.iter().map(|part| span(part.start, part.end, score(&part.scores))).collect()
    };
    Some(json!({"spanScores": spans, "summaryScore": value(summary)}))
}

/// Length in UTF-16 code units of the text's first `bytes` bytes.
fn utf16_length(text: &str, bytes: usize) -> usize {
    text.get(..bytes).unwrap_or(text).encode_utf16().count()
}
