//! Requests and responses as values.

use std::borrow::Cow;

use crate::{Failure, Protocol, Route, Settings};

/// A request, read to its end.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Method in upper case.
    pub method: &'a str,
    /// Path and query as they came, percent-encoded.
    pub target: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and port that the client asked for; empty where it said none.
    pub authority: &'a str,
    /// Names in any case; values that are not UTF-8 are left out.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The path, decoded.
    pub fn path(&self) -> Cow<'a, str> {
        decode(self.target.split(['?', '#']).next().unwrap_or_default(), false)
    }

    /// What the request asks for, and whose protocol that is.
    pub fn route(&self, settings: &Settings) -> Result<Route, (Protocol, Failure)> {
        Route::of(self.method, settings.local_path(&self.path()))
    }

    /// Whose protocol the client speaks, also where what it asks for is not served.
    pub fn protocol(&self, settings: &Settings) -> Protocol {
        self.route(settings).map_or_else(|(protocol, _)| protocol, Route::protocol)
    }

    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        let query = self.target.split_once('?')?.1.split('#').next()?;
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(key, _)| decode(key, true) == name).map(|(_, value)| decode(value, true))
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The key in the header `x-api-key`, or the bearer's token.
    pub fn key(&self) -> Option<&'a str> {
        self.header("x-api-key").filter(|key| !key.is_empty()).or_else(|| self.bearer())
    }

    /// The token of `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&'a str> {
        let (scheme, token) = self.header("authorization")?.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
    }
}

/// A response, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A response with one type of body.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
    }

    /// A response whose body is compact JSON.
    pub fn json(status: u16, value: &impl serde::Serialize) -> Self {
        Self::new(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
    }

    /// The same with one header more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }
}

/// Percent-decodes; what is no valid escape or no UTF-8 stays as it is.
pub fn decode(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let escaped = match (first, behind) {
            (b'%', [high, low, ..]) => hex_digit(*high).zip(hex_digit(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        let (byte, used) = match (first, escaped) {
            (_, Some(byte)) => (byte, 3),
            (b'+', None) if plus_is_space => (b' ', 1),
            _ => (*first, 1),
        };
        decoded.push(byte);
        rest = rest.get(used..).unwrap_or_default();
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str) -> Request<'_> {
        Request { method: "GET", target, scheme: "http", authority: "localhost", headers: &[], body: &[] }
    }

    #[test]
    fn paths_and_queries_are_decoded() {
        let request = request("/v1alpha1/comments%3Aanalyze?key=a%2Bb+c&$.xgafv=2&empty&x=%zz%C3%A9");
        assert_eq!(request.path(), "/v1alpha1/comments:analyze");
        assert_eq!(request.query("key").as_deref(), Some("a+b c"));
        assert_eq!(request.query("$.xgafv").as_deref(), Some("2"));
        assert_eq!(request.query("empty").as_deref(), Some(""));
        assert_eq!(request.query("x").as_deref(), Some("%zzé"));
        assert_eq!(request.query("absent"), None);
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case() {
        let headers = [("Authorization".to_owned(), "bearer  s3cret ".to_owned())];
        assert_eq!(Request { headers: &headers, ..request("/") }.bearer(), Some("s3cret"));
        let headers = [("authorization".to_owned(), "Basic s3cret".to_owned())];
        assert_eq!(Request { headers: &headers, ..request("/") }.bearer(), None);
    }
}
