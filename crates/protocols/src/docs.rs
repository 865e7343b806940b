//! The endpoint's description: for programs (`OpenAPI` 3.1) and for people.

use serde_json::{Value, json};

use crate::backend::Description;
use crate::{Backend, Failure, Protocol, Request, Response, Settings};

const OPENAPI: &str = include_str!("openapi.json");
const PAGE: &str = include_str!("docs.html");

/// Answers `GET /openapi.json`: the document with this server's address, labels, limits and policies.
pub(crate) fn openapi(request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Response {
    match document(request, settings, backend) {
        Ok(document) => Response::json(200, &document),
        Err(failure) => failure.response(Protocol::Palisade),
    }
}

fn document(request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Result<Value, Failure> {
    let release = backend.describe()?;
    let policies = settings.policies(&release)?;
    let mut document: Value =
        serde_json::from_str(OPENAPI).map_err(|e| Failure::Fault(format!("openapi.json: {e}")))?;
    let labels: Vec<&str> = release.labels.iter().map(|label| label.name.as_str()).collect();
    let names: Vec<&str> = policies.names().collect();
    let schema = |schema: &str, rest: &str| format!("/components/schemas/{schema}/properties/{rest}");
    let edits = [
        ("/info/version".to_owned(), json!(env!("CARGO_PKG_VERSION"))),
        ("/servers/0/url".to_owned(), json!(settings.base_url(request))),
        (schema("AnalyzeCommentRequest", "requestedAttributes/propertyNames/enum"), json!(labels)),
        (schema("ModerateRequest", "policy/enum"), json!(names)),
        (schema("ModerateRequest", "texts/maxItems"), json!(release.texts_max)),
        (schema("ModerationsRequest", "input/oneOf/1/maxItems"), json!(release.texts_max)),
        (schema("ModerationsRequest", "input/oneOf/2/maxItems"), json!(release.texts_max)),
    ];
    for (pointer, value) in edits {
        let place = document.pointer_mut(&pointer);
        *place.ok_or_else(|| Failure::Fault(format!("openapi.json has no {pointer}")))? = value;
    }
    Ok(document)
}

/// Answers `GET /docs` and `GET /`.
pub(crate) fn page(request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Response {
    let release = match backend.describe() {
        Ok(release) => release,
        Err(failure) => return failure.response(Protocol::Palisade),
    };
    let name = format!("{} {}", release.release.name, release.release.version);
    let page = PAGE
        .replace("{{base_url}}", &escape(&settings.base_url(request)))
        .replace("{{release}}", &escape(&name))
        .replace("{{digest}}", &escape(&release.release.digest))
        .replace("{{engine}}", &escape(&release.engine))
        .replace("{{texts_max}}", &release.texts_max.to_string())
        .replace("{{languages}}", &escape(&release.languages.join(", ")))
        .replace("{{labels}}", &labels(&release));
    Response::new(200, "text/html; charset=utf-8", page).with(
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
}

fn labels(release: &Description) -> String {
    let row = |label: &crate::backend::Label| {
        let review = crate::json::decimal(label.threshold);
        let block = label.block.map_or_else(|| "–".into(), |block| format!("{:.3}", crate::json::decimal(block)));
        format!("<tr><td><code>{}</code></td><td>{review:.3}</td><td>{block}</td></tr>", escape(&label.name))
    };
    release.labels.iter().map(row).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
