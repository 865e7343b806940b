//! Cross-origin requests: which web pages may read the answers.

use crate::{Failure, Request, Response, Settings};

/// Whether pages of this origin may read answers.
fn allowed<'a>(origin: &'a str, settings: &Settings) -> Option<&'a str> {
    let origins = &settings.cors_origins;
    if origins.iter().any(|allowed| allowed == "*") {
        return Some("*");
    }
    origins.iter().any(|allowed| allowed == origin).then_some(origin)
}

/// The answer to OPTIONS on what is served: to a browser that asks before it asks, and to whoever else asks what is allowed.
pub fn options(request: &Request<'_>, settings: &Settings) -> Option<Response> {
    if request.method != "OPTIONS" {
        return None;
    }
    let Err((_, Failure::MethodNotAllowed { allow })) = request.route(settings) else { return None };
    let mut response = Response { status: 204, headers: vec![("allow", allow.to_owned())], body: Vec::new() };
    let origin = request.header("origin");
    let is_preflight = request.header("access-control-request-method").is_some();
    if is_preflight && origin.is_some_and(|origin| allowed(origin, settings).is_some()) {
        let wanted = request.header("access-control-request-headers").unwrap_or("authorization, content-type");
        response = response
            .with("access-control-allow-methods", allow)
            .with("access-control-allow-headers", wanted)
            .with("access-control-max-age", "86400");
    }
    apply(&mut response, origin, settings);
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
        response
            .headers
            .push(("access-control-expose-headers", "retry-after, x-palisade-release, x-request-id".into()));
    }
}
