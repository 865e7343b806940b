//! Cross-origin requests: which web pages may read the answers.

use crate::{Request, Response, Settings};

/// Whether pages of this origin may read answers.
fn allowed<'a>(origin: &'a str, settings: &Settings) -> Option<&'a str> {
    let origins = &settings.cors_origins;
    if origins.iter().any(|allowed| allowed == "*") {
        return Some("*");
    }
    origins.iter().any(|allowed| allowed == origin).then_some(origin)
}

/// The answer to a browser that asks before it asks; nothing where the request is another one.
pub fn preflight(request: &Request<'_>, settings: &Settings) -> Option<Response> {
    if request.method != "OPTIONS" {
        return None;
    }
    let mut response = Response { status: 204, headers: Vec::new(), body: Vec::new() };
    let origin = request.header("origin")?;
    request.header("access-control-request-method")?;
    if allowed(origin, settings).is_some() {
        let wanted = request.header("access-control-request-headers").unwrap_or("authorization, content-type");
        response = response
            .with("access-control-allow-methods", "GET, HEAD, POST, OPTIONS")
            .with("access-control-allow-headers", wanted)
            .with("access-control-max-age", "86400");
    }
    apply(&mut response, Some(origin), settings);
    Some(response)
}

/// Lets the page at `origin` read a response, where the settings allow it.
pub fn apply(response: &mut Response, origin: Option<&str>, settings: &Settings) {
    if settings.cors_origins.is_empty() {
        return;
    }
    if !settings.cors_origins.iter().any(|allowed| allowed == "*") {
        response.headers.push(("vary", "origin".into()));
    }
    if let Some(allowed) = origin.and_then(|origin| allowed(origin, settings)) {
        response.headers.push(("access-control-allow-origin", allowed.to_owned()));
        response.headers.push(("access-control-expose-headers", "retry-after, x-request-id".into()));
    }
}
