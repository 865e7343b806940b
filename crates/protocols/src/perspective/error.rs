//! The errors, in Google's form and the original's words.

use serde_json::{Value, json};

use crate::json::{Malformed, Mismatch};
use crate::{Failure, Response};

/// An error with everything that goes into `{"error":{…}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    code: u16,
    status: &'static str,
    message: String,
    details: Vec<Value>,
    /// What it comes of, where that is not the request itself.
    failure: Option<Failure>,
}

const ERROR_TYPE: &str = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error";
const SERVICE: &str = "commentanalyzer.googleapis.com";

impl Error {
    fn new(code: u16, status: &'static str, message: &str, details: Vec<Value>) -> Self {
        Self { code, status, message: message.to_owned(), details, failure: None }
    }

    /// 400 without details.
    pub(crate) fn invalid(message: &str) -> Self {
        Self::new(400, "INVALID_ARGUMENT", message, Vec::new())
    }

    /// 400 with one of the API's own error types.
    fn typed(message: &str, error_type: &str) -> Self {
        let details = json!({"@type": ERROR_TYPE, "errorType": error_type});
        Self::new(400, "INVALID_ARGUMENT", message, vec![details])
    }

    /// A request that contradicts itself.
    pub(crate) fn request(message: &str) -> Self {
        Self::typed(message, "INVALID_REQUEST")
    }

    /// No comment to speak of.
    pub(crate) fn empty() -> Self {
        Self::typed("Comment must be non-empty.", "COMMENT_EMPTY")
    }

    /// No `requestedAttributes`.
    pub(crate) fn no_attributes() -> Self {
        Self::typed("Missing requested_attributes", "NO_REQUESTED_ATTRIBUTES")
    }

    /// Nothing to tell a language by.
    pub(crate) fn no_language() -> Self {
        Self::typed("Unable to detect language", "LANGUAGE_DETECTION_FAILED")
    }

    /// The release was not trained for these languages, which the client asked for or the text is in.
    pub(crate) fn language(attribute: &str, languages: &[String], asked_for: bool) -> Self {
        let message = format!("Attribute {attribute} does not support request languages: {}", languages.join(","));
        let which = if asked_for { "requestedLanguages" } else { "detectedLanguages" };
        let details = json!({
            "@type": ERROR_TYPE,
            "errorType": "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
            "languageNotSupportedByAttributeError": {"attribute": attribute, which: languages},
        });
        Self::new(400, "INVALID_ARGUMENT", &message, vec![details])
    }

    /// A body that is no JSON.
    pub(crate) fn malformed(error: &Malformed) -> Self {
        Self::invalid(&format!("Invalid JSON payload received. {error}"))
    }

    /// A field of another type.
    pub(crate) fn mismatch(mismatch: &Mismatch) -> Self {
        let description = format!("Invalid value at '{}' ({}), {}", mismatch.field, mismatch.wanted, mismatch.given);
        let details = json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": mismatch.field, "description": description}],
        });
        Self::new(400, "INVALID_ARGUMENT", &description, vec![details])
    }

    /// The response.
    pub(crate) fn response(&self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message, "status": self.status});
        if let Some(fields) = error.as_object_mut().filter(|_| !self.details.is_empty()) {
            fields.insert("details".into(), self.details.clone().into());
        }
        let body = serde_json::to_vec_pretty(&json!({"error": error})).unwrap_or_default();
        let response = Response::new(self.code, super::JSON, body);
        match &self.failure {
            Some(failure) => failure.mark(response),
            None => response,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self { failure: Some(failure.clone()), ..worded(&failure) }
    }
}

/// The failure in Google's words.
fn worded(failure: &Failure) -> Error {
    let said = failure.to_string();
    match failure {
        Failure::MissingKey => Error::new(
            403,
            "PERMISSION_DENIED",
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key \
                 or other form of API consumer identity to call this API.",
            Vec::new(),
        ),
        Failure::UnknownKey => {
            let details = json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": SERVICE},
            });
            Error::new(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", vec![details])
        }
        Failure::RateLimited { requests_per_minute, .. } => quota(*requests_per_minute),
        Failure::NotFound => Error::new(404, "NOT_FOUND", &said, Vec::new()),
        Failure::MethodNotAllowed { .. } => Error::new(405, "UNIMPLEMENTED", &said, Vec::new()),
        Failure::BodyTooLarge { limit } => {
            let message = format!("Request payload size exceeds the limit: {limit} bytes.");
            Error::new(413, "INVALID_ARGUMENT", &message, Vec::new())
        }
        Failure::ContentEncoding | Failure::BodyBroken | Failure::BodyTimeout { .. } => {
            Error::new(failure.status(), "INVALID_ARGUMENT", &said, Vec::new())
        }
        Failure::Overloaded { .. } | Failure::Unavailable(_) => {
            let message = format!("The service is currently unavailable. ({said})");
            Error::new(503, "UNAVAILABLE", &message, Vec::new())
        }
        Failure::Deadline { .. } => {
            let message = format!("Deadline expired before operation could complete. ({said})");
            Error::new(504, "DEADLINE_EXCEEDED", &message, Vec::new())
        }
        Failure::Misconfigured(_) | Failure::Fault(_) => {
            Error::new(500, "INTERNAL", &format!("Internal error encountered. ({said})"), Vec::new())
        }
    }
}

fn quota(requests_per_minute: u32) -> Error {
    let details = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com",
        "metadata": {
            "service": SERVICE,
            "quota_metric": "commentanalyzer.googleapis.com/analysis_requests",
            "quota_limit": "AnalyzeRequestsPerMinutePerProject",
            "quota_limit_value": requests_per_minute.to_string(),
            "quota_location": "global",
            "consumer": "api_key",
        },
    });
    let help = json!({
        "@type": "type.googleapis.com/google.rpc.Help",
        "links": [{"description": "Request a higher quota limit.", "url": "/docs#rate-limited"}],
    });
    let message = "Quota exceeded for quota metric 'Analysis requests (AnalyzeComment)' and limit 'Analysis requests \
                   (AnalyzeComment) per minute' of service 'commentanalyzer.googleapis.com' for consumer 'api_key'.";
    Error::new(429, "RESOURCE_EXHAUSTED", message, vec![details, help])
}
