//! Which request goes where.

use crate::Failure;

/// Whose error bodies a client expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Google's `{"error":{"code","message","status"}}`.
    Perspective,
    /// OpenAI's `{"error":{"message","type","param","code"}}`.
    OpenAi,
    /// Our own: RFC 9457 problems.
    Palisade,
}

/// What is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says what they are")]
pub enum Route {
    Analyze,
    SuggestScore,
    Batch,
    Discovery,
    Moderations,
    Coverage,
    Moderate,
    Policies,
    OpenApi,
    Docs,
}

/// Route, its name in metrics and logs, method, path.
const ROUTES: &[(Route, &str, &str, &str)] = &[
    (Route::Analyze, "analyze", "POST", "/v1alpha1/comments:analyze"),
    (Route::SuggestScore, "suggestscore", "POST", "/v1alpha1/comments:suggestscore"),
    (Route::Batch, "batch", "POST", "/batch"),
    (Route::Discovery, "discovery", "GET", "/$discovery/rest"),
    (Route::Discovery, "discovery", "GET", "/discovery/v1/apis/commentanalyzer/v1alpha1/rest"),
    (Route::Moderations, "moderations", "POST", "/v1/moderations"),
    (Route::Coverage, "coverage", "GET", "/v1/moderations/coverage"),
    (Route::Moderate, "moderate", "POST", "/v1/moderate"),
    (Route::Policies, "policies", "GET", "/v1/policies"),
    (Route::OpenApi, "openapi", "GET", "/openapi.json"),
    (Route::Docs, "docs", "GET", "/docs"),
    (Route::Docs, "docs", "GET", "/"),
];

impl Route {
    /// The route of a method and a path, or whose protocol's error to answer with.
    pub fn of(method: &str, path: &str) -> Result<Self, (Protocol, Failure)> {
        // `/batch/commentanalyzer/v1alpha1` is how Google's newer discovery documents call it.
        let path = if path.starts_with("/batch/") { "/batch" } else { path };
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let Some((route, _, wanted, _)) = ROUTES.iter().find(|(.., known)| *known == path) else {
            return Err((Protocol::of(path), Failure::NotFound));
        };
        if method == *wanted || (method == "HEAD" && *wanted == "GET") {
            return Ok(*route);
        }
        let allow = if *wanted == "GET" { "GET, HEAD, OPTIONS" } else { "POST, OPTIONS" };
        Err((route.protocol(), Failure::MethodNotAllowed { allow }))
    }

    /// Whose protocol this is.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Analyze | Self::SuggestScore | Self::Batch | Self::Discovery => Protocol::Perspective,
            Self::Moderations | Self::Coverage => Protocol::OpenAi,
            Self::Moderate | Self::Policies | Self::OpenApi | Self::Docs => Protocol::Palisade,
        }
    }

    /// Name in metrics and logs.
    pub fn name(self) -> &'static str {
        ROUTES.iter().find(|(route, ..)| *route == self).map_or("", |(_, name, ..)| name)
    }
}

impl Protocol {
    /// Whose client asks for a path that is not served: a guess by the path's beginning.
    pub fn of(path: &str) -> Self {
        if path.starts_with("/v1alpha1") || path.starts_with("/$discovery") || path.starts_with("/batch") {
            Self::Perspective
        } else if path.starts_with("/v1/mod") && !path.starts_with("/v1/moderate") {
            Self::OpenAi
        } else {
            Self::Palisade
        }
    }
}
