//! Google's batch requests: HTTP requests as parts of a multipart/mixed body, answered in the same form.

use sha2::{Digest, Sha256};

use crate::{Backend, Failure, Protocol, Request, Response, Route, Settings, perspective};

/// Most requests in one batch.
pub const PARTS_MAX: usize = 100;

/// One request out of a batch.
#[derive(Debug)]
struct Part<'a> {
    content_id: Option<&'a str>,
    /// The application/http message.
    message: &'a [u8],
}

/// Answers `POST /batch`.
pub(crate) fn answer(request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Response {
    let parts = match parts(request) {
        Ok(parts) => parts,
        Err(problem) => return perspective::Error::invalid(&problem).response(),
    };
    let mut body = Vec::new();
    let boundary = boundary(request.body);
    for part in parts {
        let response = match inner(part.message) {
            Ok(inner) => call(&inner, request, settings, backend),
            Err(problem) => perspective::Error::invalid(&problem).response(),
        };
        write_part(&mut body, &boundary, part.content_id, &response);
    }
    body.extend(format!("--{boundary}--\r\n").bytes());
    Response::new(200, &format!("multipart/mixed; boundary={boundary}"), body)
}

/// Splits the body.
fn parts<'a>(request: &Request<'a>) -> Result<Vec<Part<'a>>, String> {
    let content_type = request.header("content-type").unwrap_or_default();
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"'))
    });
    let boundary = boundary.filter(|boundary| (1..=70).contains(&boundary.len()));
    let (true, Some(boundary)) = (kind.trim().eq_ignore_ascii_case("multipart/mixed"), boundary) else {
        return Err("A batch is multipart/mixed with a boundary.".into());
    };
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut current: Option<usize> = None; // where the part's first line begins
    let mut position = 0;
    for line in request.body.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        let is_last = text.strip_suffix(b"--") == Some(delimiter.as_bytes());
        if is_last || text == delimiter.as_bytes() {
            if let Some(start) = current {
                parts.push(part(request.body.get(start..position).unwrap_or_default())?);
            }
            if parts.len() > PARTS_MAX {
                return Err(format!("More than {PARTS_MAX} requests in one batch."));
            }
            if is_last {
                return if parts.is_empty() { Err("A batch of no requests.".into()) } else { Ok(parts) };
            }
            current = Some(position + line.len());
        }
        position += line.len();
    }
    Err("The batch has no closing boundary.".into())
}

fn part(bytes: &[u8]) -> Result<Part<'_>, String> {
    let (head, message) = head_and_body(bytes);
    let headers = headers(head).ok_or("The headers of a part are not readable.")?;
    let find = |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
    let kind = find("content-type").unwrap_or("application/http");
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/http") {
        return Err("Each part of a batch is application/http.".into());
    }
    let content_id = find("content-id").filter(|id| id.len() <= 1024 && !id.contains(char::is_control));
    Ok(Part { content_id, message })
}

/// A request as it stands in a part.
struct Inner<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(String, String)>,
    body: &'a [u8],
}

fn inner(message: &[u8]) -> Result<Inner<'_>, String> {
    let unreadable = "A part of the batch is no HTTP request.";
    let message = message.trim_ascii_start();
    let end = message.iter().position(|byte| *byte == b'\n').ok_or(unreadable)?;
    let (line, rest) = message.split_at(end + 1);
    let mut words = std::str::from_utf8(line).map_err(|_| unreadable)?.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(unreadable.into()) };
    // Some clients give the whole URL.
    let target = match target.split_once("://").filter(|_| !target.starts_with('/')) {
        Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/"),
        None => target,
    };
    let (head, body) = head_and_body(rest);
    let headers = headers(head).ok_or(unreadable)?;
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.parse::<usize>().ok());
    // The line break before the next boundary belongs to the boundary.
    let body = length.and_then(|length| body.get(..length)).unwrap_or(body.trim_ascii_end());
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(Inner { method, target, headers, body })
}

/// Answers one request of the batch.
fn call(inner: &Inner<'_>, outer: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Response {
    let mut headers = inner.headers.clone();
    let mut request = Request { method: inner.method, target: inner.target, headers: &[], body: inner.body, ..*outer };
    let route = match request.route(settings) {
        Ok(route @ (Route::Analyze | Route::SuggestScore)) => route,
        Ok(_) => return Failure::NotFound.response(Protocol::Perspective),
        Err((_, failure)) => return failure.response(Protocol::Perspective),
    };
    // A part without a key of its own has the batch's.
    if perspective::key(&Request { headers: &inner.headers, ..request }).is_none()
        && let Some(key) = perspective::key(outer)
    {
        headers.push(("x-goog-api-key".into(), key.into_owned()));
    }
    request.headers = &headers;
    perspective::answer(route, &request, settings, backend)
}

fn write_part(body: &mut Vec<u8>, boundary: &str, content_id: Option<&str>, response: &Response) {
    body.extend(format!("--{boundary}\r\nContent-Type: application/http\r\n").bytes());
    if let Some(id) = content_id {
        let id = match id.strip_prefix('<').and_then(|id| id.strip_suffix('>')) {
            Some(id) => format!("<response-{id}>"),
            None => format!("response-{id}"),
        };
        body.extend(format!("Content-ID: {id}\r\n").bytes());
    }
    body.extend(format!("\r\nHTTP/1.1 {} {}\r\n", response.status, reason(response.status)).bytes());
    for (name, value) in &response.headers {
        body.extend(format!("{name}: {value}\r\n").bytes());
    }
    body.extend(format!("Content-Length: {}\r\n\r\n", response.body.len()).bytes());
    body.extend(&response.body);
    body.extend(b"\r\n");
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

/// A boundary that depends on the request only, and that no answer contains by chance.
fn boundary(body: &[u8]) -> String {
    format!("batch_{}", hex::encode(Sha256::digest(body).get(..16).unwrap_or_default()))
}

/// Splits at the first empty line; without one, all is head.
fn head_and_body(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut position = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        position += line.len();
        if line.trim_ascii().is_empty() {
            return bytes.split_at(position);
        }
    }
    (bytes, &[])
}

fn headers(head: &[u8]) -> Option<Vec<(&str, &str)>> {
    let lines = std::str::from_utf8(head).ok()?.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| line.split_once(':').map(|(name, value)| (name.trim(), value.trim()))).collect()
}
