//! What can go wrong around a request, whatever its protocol, and how each protocol says it.

use serde_json::json;

use crate::{Protocol, Response, openai, perspective, problem};

/// Why a request is not answered. Messages never hold any of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing is served at this path.
    #[error("nothing is served at this path; /docs lists what is")]
    NotFound,
    /// The path wants another method.
    #[error("this path allows {allow}")]
    MethodNotAllowed {
        /// For the header `Allow`.
        allow: &'static str,
    },
    /// The body is compressed.
    #[error("bodies with a content encoding are not read; send the body as it is")]
    ContentEncoding,
    /// The body is too long.
    #[error("the body is longer than {limit} bytes; send fewer or shorter texts")]
    BodyTooLarge {
        /// Longest body in bytes.
        limit: usize,
    },
    /// The body ended before its end.
    #[error("the body broke off, or is not framed as its headers say")]
    BodyBroken,
    /// The body did not come in time.
    #[error("the body did not arrive within {limit_ms} ms")]
    BodyTimeout {
        /// Longest wait in milliseconds.
        limit_ms: u64,
    },
    /// A limit on the work at one time is reached.
    #[error("busy: {limit}; try again in {retry_after_s} s")]
    Overloaded {
        /// Which limit it is.
        limit: String,
        /// When to try again, in seconds.
        retry_after_s: u64,
    },
    /// The answer took too long and was given up.
    #[error("no answer within {limit_ms} ms ({limit}); send fewer or shorter texts")]
    Deadline {
        /// Longest time in milliseconds.
        limit_ms: u64,
        /// The setting's name.
        limit: &'static str,
    },
    /// A key is required.
    #[error("an API key is required")]
    MissingKey,
    /// The key is not known.
    #[error("the API key is not known")]
    UnknownKey,
    /// The key has asked too often.
    #[error("more than {requests_per_minute} requests in a minute with this key; try again in {retry_after_ms} ms")]
    RateLimited {
        /// What the key is allowed.
        requests_per_minute: u32,
        /// When the next request will be admitted.
        retry_after_ms: u32,
    },
    /// A part of this server fails now and may work later.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// The settings are wrong.
    #[error("this server's settings are wrong: {0}")]
    Misconfigured(String),
    /// What no request should cause.
    #[error("the server failed: {0}")]
    Fault(String),
}

impl Failure {
    /// Status code, the same in every protocol where the protocol leaves the choice.
    pub fn status(&self) -> u16 {
        match self {
            Self::BodyBroken => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::BodyTimeout { .. } => 408,
            Self::BodyTooLarge { .. } => 413,
            Self::ContentEncoding => 415,
            Self::MissingKey | Self::UnknownKey => 401,
            Self::RateLimited { .. } => 429,
            Self::Misconfigured(_) | Self::Fault(_) => 500,
            Self::Overloaded { .. } | Self::Unavailable(_) => 503,
            Self::Deadline { .. } => 504,
        }
    }

    /// Name for programs: the problem's type in our own protocol, the label in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::MethodNotAllowed { .. } => "method-not-allowed",
            Self::ContentEncoding => "content-encoding",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::BodyBroken => "body-broken",
            Self::BodyTimeout { .. } => "body-timeout",
            Self::Overloaded { .. } => "overloaded",
            Self::Deadline { .. } => "deadline",
            Self::MissingKey => "missing-key",
            Self::UnknownKey => "unknown-key",
            Self::RateLimited { .. } => "rate-limited",
            Self::Unavailable(_) => "unavailable",
            Self::Misconfigured(_) => "misconfigured",
            Self::Fault(_) => "fault",
        }
    }

    /// The response, as the protocol words it.
    pub fn response(&self, protocol: Protocol) -> Response {
        match protocol {
            Protocol::Perspective => perspective::Error::from(self.clone()).response(),
            Protocol::OpenAi => openai::Error::from(self.clone()).response(),
            Protocol::Palisade => {
                self.mark(problem::response(self.status(), self.name(), &self.to_string(), &json!({})))
            }
        }
    }

    /// Adds the headers that belong to a failure in every protocol.
    pub(crate) fn mark(&self, response: Response) -> Response {
        match self {
            Self::MethodNotAllowed { allow } => response.with("allow", *allow),
            Self::Overloaded { retry_after_s, .. } => response.with("retry-after", retry_after_s.to_string()),
            Self::RateLimited { retry_after_ms, .. } => {
                response.with("retry-after", retry_after_ms.div_ceil(1000).max(1).to_string())
            }
            Self::Unavailable(_) => response.with("retry-after", "5"),
            Self::MissingKey | Self::UnknownKey if response.status == 401 => {
                response.with("www-authenticate", "Bearer realm=\"palisade\"")
            }
            _ => response,
        }
    }
}
