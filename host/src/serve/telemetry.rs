//! Logs and traces. Neither ever holds a text: what is recorded of a request is its route, sizes, times and outcome.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use hyper::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A JSON object a line
    Json,
    /// For reading
    Text,
}

/// Sends what remains when dropped.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Sets logs up, and traces where `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector. Call it once, outside of any asynchronous runtime: the
/// exporter has one of its own.
pub fn start(level: LogLevel, format: LogFormat) -> Result<Telemetry> {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Other crates' events below a warning may hold parts of requests, so they are off at every level.
    let targets = Targets::new().with_target("palisade_host", level).with_default(LevelFilter::ERROR);
    let json = (format == LogFormat::Json).then(|| {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(std::io::stderr)
    });
    let text = (format == LogFormat::Text)
        .then(|| tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr));
    let provider = provider()?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("palisade"))
            .with_filter(Targets::new().with_target("palisade_host", LevelFilter::INFO))
    });
    let registry =
        tracing_subscriber::registry().with(json.with_filter(targets.clone())).with(text.with_filter(targets));
    registry.with(traces).try_init().context("logs are set up already")?;
    Ok(Telemetry { provider })
}

fn provider() -> Result<Option<SdkTracerProvider>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let traces = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
    let Some(endpoint) = traces.or_else(|| base.map(|base| format!("{}/v1/traces", base.trim_end_matches('/')))) else {
        return Ok(None);
    };
    if !endpoint.starts_with("http://") {
        bail!(
            "OTEL_EXPORTER_OTLP_ENDPOINT is {endpoint}: traces are sent over plain HTTP only, to a collector beside this \
             server, for example http://127.0.0.1:4318"
        );
    }
    if variable("OTEL_EXPORTER_OTLP_PROTOCOL").is_some_and(|protocol| protocol != "http/protobuf") {
        bail!("OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is spoken here, on a collector's port 4318");
    }
    palisade_registry::tls::provide();
    let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build();
    let exporter = exporter.context("OTEL_EXPORTER_OTLP_ENDPOINT: no traces can be sent there")?;
    let name = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "palisade".into());
    let resource = Resource::builder().with_service_name(name).build();
    Ok(Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            let _ = provider.shutdown(); // there is no one left to tell
        }
    }
}

/// The trace that a request belongs to, by its header `traceparent`.
pub(super) fn parent(headers: &HeaderMap) -> opentelemetry::Context {
    struct Headers<'a>(&'a HeaderMap);
    impl Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key).and_then(|value| value.to_str().ok())
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(hyper::header::HeaderName::as_str).collect()
        }
    }
    TraceContextPropagator::new().extract(&Headers(headers))
}
