//! From a request for a room to its WebSocket (RFC 6455, section 4.2).

use std::sync::Arc;

use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use palisade_protocols::{Failure, Protocol, problem};
use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::server::create_response;

use super::super::endpoint::plain;
use super::super::{Held, Shared, Stage};
use super::{ROOM_CHARS_MAX, session};

/// Where the rooms are.
pub(in crate::serve) const PATH: &str = "/v1/rooms/";
const SUBPROTOCOL: &str = "palisade-room-1";

/// Opens the WebSocket that a request asks for, or says why not.
pub(in crate::serve) fn enter(
    shared: &Arc<Shared>,
    held: &Arc<Held>,
    name: &str,
    mut request: Request<Incoming>,
) -> Response<Bytes> {
    let response = match admit(shared, name, &request) {
        Ok(response) => response,
        Err(refusal) => return *refusal,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    // Counted among those that the server waits for, from here on.
    let (shared, held, stage) = (shared.clone(), held.clone(), shared.stage.subscribe());
    let name = name.to_owned();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => session::serve(shared, name, TokioIo::new(upgraded), stage).await,
            Err(error) => tracing::debug!(target: "palisade_host::serve", %error, "a WebSocket was not opened"),
        }
        drop(held);
    });
    response
}

fn admit(shared: &Shared, name: &str, request: &Request<Incoming>) -> Result<Response<Bytes>, Box<Response<Bytes>>> {
    let refuse = |failure: Failure| Err(Box::new(plain(failure.response(Protocol::Palisade))));
    if shared.limits.rooms_max == 0 || !is_room(name) {
        return refuse(Failure::NotFound);
    }
    if request.method() != Method::GET {
        return refuse(Failure::MethodNotAllowed { allow: "GET" });
    }
    if !is_ours(request.headers(), shared.settings.public_url.as_deref(), shared.keys.is_some()) {
        let detail = "rooms are open to this server's own pages only; at a domain name it needs --public-url or --keys";
        return Err(problem_of(403, "foreign-origin", detail));
    }
    if *shared.stage.borrow() != Stage::Serving {
        return refuse(Failure::Unavailable("the server is stopping".into()));
    }
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|offer| offer.to_str().ok());
    if !offered.flat_map(|offer| offer.split(',')).any(|offer| offer.trim() == SUBPROTOCOL) {
        return Err(upgrade_required(&format!("a room speaks the WebSocket subprotocol {SUBPROTOCOL}; offer it")));
    }
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    let response = create_response(&head).map_err(|error| upgrade_required(&format!("no WebSocket: {error}")))?;
    let mut response = response.map(|()| Bytes::new());
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

fn problem_of(status: u16, name: &str, detail: &str) -> Box<Response<Bytes>> {
    Box::new(plain(problem::response(status, name, detail, &json!({}))))
}

/// RFC 9110, section 15.5.22.
fn upgrade_required(detail: &str) -> Box<Response<Bytes>> {
    let mut response = problem_of(StatusCode::UPGRADE_REQUIRED.as_u16(), "upgrade-required", detail);
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

/// Whether a room may have this name.
fn is_room(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=ROOM_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|byte| is_word(byte) || byte == b'-')
        && !name.starts_with('-')
}

/// Whether a request comes from a page of this server, or from no page. Browsers send `Origin` with every WebSocket, and open them to
/// any server. A server without keys does not believe that a domain is its own: the owner of the domain may have turned it to this
/// server's address when his page was loaded already (DNS rebinding).
fn is_ours(headers: &HeaderMap, public_url: Option<&str>, has_keys: bool) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Some((scheme, authority)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let bare = |authority: &str| {
        let authority = authority.to_ascii_lowercase();
        authority.strip_suffix(default_port).map_or(authority.clone(), str::to_owned)
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(|host| has_keys || is_local(host));
    let public = public_url.and_then(|url| url.split_once("://")?.1.split('/').next());
    host.into_iter().chain(public).any(|own| bare(own) == bare(authority))
}

/// Whether nobody can turn this name to another address by the domain name system of the Internet.
fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(host, |(name, _)| name);
    let name = name.trim_end_matches('.');
    let is_address = name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok();
    let is_local = |domain: &str| ["localhost", "local", "internal"].contains(&domain.to_ascii_lowercase().as_str());
    is_address || name.rsplit_once('.').is_none_or(|(_, domain)| is_local(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_nobodys_word_for_where_a_page_comes_from() {
        for host in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "localhost",
            "LOCALHOST:80",
            "nas",
            "nas.local:8080",
            "a.b.internal.",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example."] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn a_room_has_a_plain_name() {
        for name in ["a", "0", "general", "a-b-", &"x".repeat(40)] {
            assert!(is_room(name), "{name}");
        }
        for name in ["", "-a", "A", "a_b", "a/b", "a%20b", "ä", "a.", &"x".repeat(41)] {
            assert!(!is_room(name), "{name}");
        }
    }

    #[test]
    fn only_pages_of_this_server_are_let_in() {
        let ours = |origin: Option<&str>, host: &str, public_url: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            is_ours(&headers, public_url, false)
        };
        assert!(ours(None, "localhost:8080", None));
        assert!(ours(Some("http://LOCALHOST:8080"), "localhost:8080", None));
        assert!(!ours(Some("https://example.org"), "example.org:443", None));
        assert!(ours(Some("https://example.org"), "example.org:443", Some("https://example.org")));
        assert!(ours(Some("https://nas.local"), "nas.local:443", None));
        assert!(ours(Some("http://[::1]"), "[::1]:80", None));
        let public = Some("https://chat.example.org/palisade");
        assert!(ours(Some("https://chat.example.org"), "10.0.0.1:8080", public));
        for origin in [
            "http://localhost:3000",
            "http://localhost",
            "null",
            "https://evil.example",
            "http://localhost:8080.evil.example",
            "localhost:8080",
        ] {
            assert!(!ours(Some(origin), "localhost:8080", public), "{origin}");
        }
    }
}
