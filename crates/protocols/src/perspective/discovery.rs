//! The discovery document, from which Google's clients make their methods and every later URL.

use serde_json::{Map, Value, json};

use crate::{Request, Response, Settings};

/// Answers `GET /$discovery/rest?version=v1alpha1`.
pub(crate) fn answer(request: &Request<'_>, settings: &Settings) -> Response {
    let version = request.query("version");
    if version.as_deref().is_some_and(|version| version != "v1alpha1" && version != "v1alpha1_discovery") {
        return super::Error::invalid("Only version=v1alpha1 is served.").response();
    }
    let body = serde_json::to_vec_pretty(&document(&settings.base_url(request))).unwrap_or_default();
    Response::new(200, super::JSON, body)
}

/// The document of Google's discovery format, `discovery#restDescription`.
fn document(base_url: &str) -> Value {
    json!({
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "commentanalyzer:v1alpha1",
        "name": "commentanalyzer",
        "canonicalName": "Comment Analyzer",
        "version": "v1alpha1",
        "revision": "20261121",
        "title": "Perspective Comment Analyzer API (Palisade)",
        "description": "Scores comments for attributes like toxicity.",
        "documentationLink": format!("{base_url}/docs"),
        "ownerDomain": "google.com",
        "ownerName": "Google",
        "icons": {"x16": "", "x32": ""},
        "protocol": "rest",
        "rootUrl": format!("{base_url}/"),
        "baseUrl": format!("{base_url}/"),
        "basePath": "",
        "servicePath": "",
        "batchPath": "batch",
        "parameters": parameters(),
        "schemas": schemas(),
        "resources": {"comments": {"methods": {
            "analyze": method("analyze", "AnalyzeComment", "Scores a comment for the attributes asked for."),
            "suggestscore": method("suggestscore", "SuggestCommentScore", "Suggests scores for a comment, as feedback."),
        }}},
    })
}

fn method(name: &str, message: &str, description: &str) -> Value {
    let path = format!("v1alpha1/comments:{name}");
    json!({
        "id": format!("commentanalyzer.comments.{name}"),
        "path": path,
        "flatPath": path,
        "httpMethod": "POST",
        "description": description,
        "parameterOrder": [],
        "parameters": {},
        "request": {"$ref": format!("{message}Request")},
        "response": {"$ref": format!("{message}Response")},
    })
}

fn parameters() -> Value {
    let query = |kind: &str, description: &str| json!({"type": kind, "location": "query", "description": description});
    let mut parameters = json!({
        "access_token": query("string", "OAuth access token."),
        "callback": query("string", "JSONP; not served."),
        "fields": query("string", "Which fields to include in a partial response."),
        "key": query("string", "API key."),
        "oauth_token": query("string", "OAuth 2.0 token for the current user."),
        "quotaUser": query("string", "Any string assigned to a user, for quota."),
        "uploadType": query("string", "Upload protocol for media; not served."),
        "upload_protocol": query("string", "Upload protocol for media; not served."),
        "alt": query("string", "Data format of the response."),
        "prettyPrint": query("boolean", "Whether the response has indentation and line breaks."),
        "$.xgafv": query("string", "Version of the error format."),
    });
    if let Some(fields) = parameters.as_object_mut() {
        let mut enumerate = |name: &str, values: Value, descriptions: Value, default: Option<&str>| {
            let Some(parameter) = fields.get_mut(name).and_then(Value::as_object_mut) else { return };
            if values.is_array() {
                parameter.insert("enum".into(), values);
                parameter.insert("enumDescriptions".into(), descriptions);
            }
            if let Some(default) = default {
                parameter.insert("default".into(), default.into());
            }
        };
        enumerate("alt", json!(["json"]), json!(["Responses with Content-Type of application/json"]), Some("json"));
        enumerate("$.xgafv", json!(["1", "2"]), json!(["v1 error format", "v2 error format"]), None);
        enumerate("prettyPrint", Value::Null, Value::Null, Some("true"));
    }
    parameters
}

fn schemas() -> Value {
    let string = |description: &str| json!({"type": "string", "description": description});
    let boolean = |description: &str| json!({"type": "boolean", "description": description});
    let refer = |schema: &str, description: &str| json!({"$ref": schema, "description": description});
    let list = |items: Value, description: &str| json!({"type": "array", "items": items, "description": description});
    let map = |schema: &str, description: &str| json!({"type": "object", "additionalProperties": {"$ref": schema}, "description": description});
    let number = |description: &str| json!({"type": "number", "format": "float", "description": description});
    let offset = |description: &str| json!({"type": "integer", "format": "int32", "description": description});
    let text = || json!({"type": "string"});
    let score_type = || {
        json!({
            "type": "string",
            "description": "Kind of score; only PROBABILITY is served.",
            "enum": ["SCORE_TYPE_UNSPECIFIED", "PROBABILITY", "STD_DEV_SCORE", "PERCENTILE", "RAW"],
            "enumDescriptions": ["PROBABILITY.", "A probability from 0 to 1.", "Not served.", "Not served.", "Not served."],
        })
    };
    let text_type = json!({
        "type": "string",
        "description": "Kind of text.",
        "enum": ["TEXT_TYPE_UNSPECIFIED", "PLAIN_TEXT", "HTML"],
        "enumDescriptions": ["PLAIN_TEXT.", "UTF-8 text.", "Not served."],
    });
    let entry = |description: &str| refer("TextEntry", description);
    let mut schemas = Map::new();
    let mut schema = |name: &str, properties: Value| {
        schemas.insert(name.into(), json!({"id": name, "type": "object", "properties": properties}));
    };
    schema(
        "AnalyzeCommentRequest",
        json!({
            "comment": entry("The comment to score."),
            "context": refer("Context", "What the comment refers to; no model reads it."),
            "requestedAttributes": map("AttributeParameters", "The attributes to score, by name."),
            "languages": list(text(), "ISO 639-1 or BCP 47 codes; detected where absent."),
            "spanAnnotations": boolean("Whether to score each sentence too."),
            "doNotStore": boolean("Comments sent to this method are never stored."),
            "clientToken": string("Opaque; echoed."),
            "sessionId": string("Opaque."),
            "communityId": string("Opaque."),
        }),
    );
    schema(
        "AnalyzeCommentResponse",
        json!({
            "attributeScores": map("AttributeScores", "Scores by attribute."),
            "languages": list(text(), "The languages asked for, or the detected ones."),
            "detectedLanguages": list(text(), "The languages that the text seems to be in."),
            "clientToken": string("As it was sent."),
        }),
    );
    schema(
        "SuggestCommentScoreRequest",
        json!({
            "comment": entry("The comment that is judged."),
            "context": refer("Context", "What the comment refers to."),
            "attributeScores": map("AttributeScores", "Suggested scores by attribute."),
            "languages": list(text(), "ISO 639-1 or BCP 47 codes."),
            "clientToken": string("Opaque; echoed."),
            "sessionId": string("Opaque."),
            "communityId": string("Opaque."),
        }),
    );
    schema(
        "SuggestCommentScoreResponse",
        json!({
            "clientToken": string("As it was sent."),
            "detectedLanguages": list(text(), "The languages that the text seems to be in."),
            "requestedLanguages": list(text(), "The languages as they were sent."),
        }),
    );
    schema(
        "AttributeParameters",
        json!({
            "scoreType": score_type(),
            "scoreThreshold": number("The attribute is left out where its score is below."),
        }),
    );
    schema(
        "AttributeScores",
        json!({
            "summaryScore": refer("Score", "Score of the whole text."),
            "spanScores": list(json!({"$ref": "SpanScore"}), "Scores of parts."),
        }),
    );
    schema("Score", json!({"value": number("The score."), "type": score_type()}));
    schema(
        "SpanScore",
        json!({
            "begin": offset("First UTF-16 code unit."),
            "end": offset("The code unit after the last one."),
            "score": refer("Score", "Score of the part."),
        }),
    );
    schema("TextEntry", json!({"text": string("UTF-8 text."), "type": text_type}));
    schema(
        "Context",
        json!({
            "entries": list(json!({"$ref": "TextEntry"}), "Earlier messages."),
            "articleAndParentComment": refer("ArticleAndParentComment", "Article and comment that are replied to."),
        }),
    );
    schema(
        "ArticleAndParentComment",
        json!({
            "article": entry("The article."),
            "parentComment": entry("The comment that is replied to."),
        }),
    );
    schemas.into()
}
