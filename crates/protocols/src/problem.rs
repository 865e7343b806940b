//! Problem details (RFC 9457), the errors of our own protocol.

use serde_json::{Map, Value};

use crate::Response;

/// A problem. `name` is the fragment of `/docs` that explains it; `members` are the extension members.
pub fn response(status: u16, name: &str, detail: &str, members: &Value) -> Response {
    let mut problem = Map::new();
    problem.insert("type".into(), format!("/docs#{name}").into());
    problem.insert("title".into(), title(name).into());
    problem.insert("status".into(), status.into());
    problem.insert("detail".into(), detail.into());
    problem.extend(members.as_object().cloned().unwrap_or_default());
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    Response::new(status, "application/problem+json", body)
}

/// The name as words, `body-too-large` as `Body too large`.
fn title(name: &str) -> String {
    let words = name.replace('-', " ");
    let mut characters = words.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
