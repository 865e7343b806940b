//! What Spin gives the endpoint: feedback in its key-value store, API keys in its variables.
//!
//! Spin composes this with the component `edge` (see `spin.toml`). `palisade serve` gives the same two interfaces itself, and more: a
//! rate limit needs a memory that the requests share, which Spin's key-value store, without atomic counters, is not.

#[cfg(not(target_arch = "wasm32"))]
compile_error!("this crate is the inside of a component: build it with `cargo xtask component`");

mod bindings;

use bindings::exports::palisade::services::{access, feedback};
use serde_json::json;
use sha2::{Digest, Sha256};
use spin_sdk::{key_value, variables};

/// The variable of the keys: SHA-256 hashes in hexadecimal, separated by white space or commas. Empty means that no key is needed.
const KEYS: &str = "api_key_hashes";
/// How the names of feedback in the store begin.
const PREFIX: &str = "feedback/";

struct Component;

impl access::Guest for Component {
    fn admit(key: Option<String>) -> Result<(), access::Refusal> {
        let hashes = match variables::get(KEYS) {
            Ok(hashes) => hashes,
            Err(variables::Error::Undefined(_)) => String::new(),
            // The provider's own words may hold what is none of the client's business.
            Err(_) => return Err(access::Refusal::Unavailable(format!("the variable {KEYS} cannot be read"))),
        };
        let mut hashes =
            hashes.split(|c: char| c == ',' || c.is_whitespace()).filter(|hash| !hash.is_empty()).peekable();
        if hashes.peek().is_none() {
            return Ok(());
        }
        let given = hex::encode(Sha256::digest(key.ok_or(access::Refusal::MissingKey)?));
        if hashes.any(|hash| hash.eq_ignore_ascii_case(&given)) { Ok(()) } else { Err(access::Refusal::UnknownKey) }
    }
}

impl feedback::Guest for Component {
    fn keep(suggestion: feedback::Suggestion) -> Result<bool, String> {
        let unavailable = |_: key_value::Error| "Spin's key-value store cannot be used".to_owned();
        let store = key_value::Store::open_default().map_err(unavailable)?;
        let name = format!("{PREFIX}{}", suggestion.id);
        if store.exists(&name).map_err(unavailable)? {
            return Ok(false);
        }
        store.set(&name, &record(&suggestion)).map_err(unavailable)?;
        Ok(true)
    }
}

/// The suggestion as `palisade feedback export` prints it, without the time, which this component has no clock for.
fn record(suggestion: &feedback::Suggestion) -> Vec<u8> {
    let score = |score: &feedback::SuggestedScore| json!({"label": score.label, "score": score.score, "start": score.span.map(|s| s.0), "end": score.span.map(|s| s.1)});
    let record = json!({
        "id": suggestion.id,
        "text": suggestion.text,
        "scores": suggestion.scores.iter().map(score).collect::<Vec<_>>(),
        "languages": suggestion.languages,
        "community_id": suggestion.community_id,
        "client_token": suggestion.client_token,
        "session_id": suggestion.session_id,
    });
    record.to_string().into_bytes()
}
