//! The HTTP protocols that Palisade speaks, as pure functions: a request and a classifier in, a response out.
//!
//! Three protocols are served: Google's Perspective Comment Analyzer v1alpha1 ([`perspective`]), OpenAI's moderations
//! ([`openai`]), and our own ([`moderate`]), with [`policy`] deciding verdicts. The way in is [`answer`]. What it needs of
//! the world is behind [`Backend`]; the component `edge` implements that with its WIT imports. The host uses this crate to
//! check policies before it starts, and to word its own refusals ([`Failure::response`]) as each protocol does.
//!
//! Nothing here knows sockets, clocks, files, or how a text is scored.

pub mod backend;
pub mod batch;
pub mod cors;
pub mod docs;
pub mod failure;
pub mod http;
pub mod json;
pub mod language;
pub mod moderate;
pub mod openai;
pub mod perspective;
pub mod policy;
pub mod problem;
pub mod route;
pub mod settings;

pub use backend::Backend;
pub use failure::Failure;
pub use http::{Request, Response};
pub use route::{Protocol, Route};
pub use settings::Settings;

use backend::Description;

/// Header of a good answer that names the release: `name@version; digest=SHA-256 of its manifest`.
pub const RELEASE_HEADER: &str = "x-palisade-release";

/// Refuses a request before it is read to its end, in the words of its protocol. Of the request, the body may be missing.
pub fn refuse(request: &Request<'_>, settings: &Settings, failure: &Failure) -> Response {
    let mut response = failure.response(request.protocol(settings));
    cors::apply(&mut response, request.header("origin"), settings);
    response
}

/// Answers one request. Never fails: what goes wrong becomes the response that the request's protocol has for it.
pub fn answer(request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Response {
    let origin = request.header("origin");
    if let Some(options) = cors::options(request, settings) {
        return options;
    }
    let mut response = match request.route(settings) {
        Ok(route) => named(dispatch(route, request, settings, backend), backend),
        Err((protocol, failure)) => failure.response(protocol),
    };
    cors::apply(&mut response, origin, settings);
    if request.method == "HEAD" {
        response.body.clear();
    }
    response
}

/// A good answer, with the release that gave it: the protocols of others have no word for it.
fn named(response: Response, backend: &mut impl Backend) -> Response {
    match backend.describe() {
        Ok(Description { release, .. }) if response.status == 200 => {
            response.with(RELEASE_HEADER, format!("{}@{}; digest={}", release.name, release.version, release.digest))
        }
        _ => response,
    }
}

fn dispatch(route: Route, request: &Request<'_>, settings: &Settings, backend: &mut impl Backend) -> Response {
    if request.body.len() > settings.body_bytes_max {
        return Failure::BodyTooLarge { limit: settings.body_bytes_max }.response(route.protocol());
    }
    match route {
        Route::Analyze | Route::SuggestScore => perspective::answer(route, request, settings, backend),
        Route::Batch => batch::answer(request, settings, backend),
        Route::Discovery => perspective::discovery::answer(request, settings),
        Route::Moderations => openai::answer(request, settings, backend),
        Route::Coverage => openai::coverage(backend),
        Route::Moderate => moderate::answer(request, settings, backend),
        Route::Policies => moderate::policies(request, settings, backend),
        Route::OpenApi => docs::openapi(request, settings, backend),
        Route::Docs => docs::page(request, settings, backend),
    }
}
