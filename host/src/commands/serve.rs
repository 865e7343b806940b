//! `palisade serve`: the HTTP endpoint.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use palisade_protocols::json::line_and_column;
use palisade_protocols::policy::Policies;
use palisade_protocols::settings::{BODY_BYTES_MAX, public_url};
use serde::Deserialize;

use super::{ExitStatus, beside_program, call_ms_max, cores, load, say};
use crate::bindings::Description;
use crate::serve::telemetry::{self, LogFormat, LogLevel};
use crate::serve::{self, Limits, QueueLimits};
use crate::{EngineKind, Runtime, RuntimeLimits};

/// Arguments of `palisade serve`.
///
/// Each can be given as a flag, as the environment variable named with it, or in the file of --config under the flag's name (like
/// `queue-max = 128`); the flag goes before the variable, and that before the file.
#[derive(Debug, Default, Args, Deserialize)]
#[command(after_long_help = AFTER)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Arguments {
    /// Settings, in TOML, like `queue-max = 128`; files that it names are looked for beside it
    #[arg(long, env = "PALISADE_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "PALISADE_LISTEN", value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    /// This server's address as its clients see it, where a proxy stands before it
    #[arg(long, env = "PALISADE_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// Baked component to run [default: palisade-default.wasm beside this program]
    #[arg(short, long, env = "PALISADE_ARTEFACT", value_name = "FILE")]
    artefact: Option<PathBuf>,
    /// What runs the classifier; the scores are the same to the bit [default: component]
    #[arg(long, env = "PALISADE_ENGINE", value_enum, value_name = "ENGINE")]
    engine: Option<EngineKind>,
    /// Endpoint component [default: palisade-edge.wasm beside this program]
    #[arg(long, env = "PALISADE_EDGE", value_name = "FILE")]
    edge: Option<PathBuf>,
    /// Policies; `palisade policy check FILE` tells whether they are right [default: review at the release's thresholds]
    #[arg(long, env = "PALISADE_POLICIES_FILE", value_name = "FILE")]
    policies: Option<PathBuf>,
    /// API keys, hashed; `palisade key new NAME` makes one [default: no key is needed]
    #[arg(long, env = "PALISADE_KEYS", value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Where to keep feedback (suggestscore), or `off`: then it is answered and dropped [default: ~/.local/state/palisade/feedback.sqlite]
    #[arg(long, env = "PALISADE_FEEDBACK_FILE", value_name = "FILE")]
    feedback: Option<PathBuf>,
    /// Origin whose web pages may read answers, or `*`; may be given more than once
    #[arg(long, env = "PALISADE_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origin: Vec<String>,
    /// Texts that are scored side by side [default: one a core]
    #[arg(long, env = "PALISADE_WORKERS", value_name = "N", help_heading = LIMITS)]
    workers: Option<u32>,
    /// Most requests that wait for a worker; more are refused with 503 [default: 64]
    #[arg(long, env = "PALISADE_QUEUE_MAX", value_name = "N", help_heading = LIMITS)]
    queue_max: Option<usize>,
    /// Longest wait for a worker, then 503 [default: 500]
    #[arg(long, env = "PALISADE_QUEUE_MS_MAX", value_name = "MS", help_heading = LIMITS)]
    queue_ms_max: Option<u64>,
    /// Longest time of a request, its wait included, then 504 [default: 30000]
    #[arg(long, env = "PALISADE_REQUEST_MS_MAX", value_name = "MS", help_heading = LIMITS)]
    request_ms_max: Option<u64>,
    /// Longest time for one text, or 0 for none, which is quicker; the native engine cannot be interrupted [default: none for the artefact beside this program, which is trusted as it is; 5000 for another]
    #[arg(long, env = "PALISADE_CALL_MS_MAX", value_name = "MS", help_heading = LIMITS)]
    call_ms_max: Option<u64>,
    /// Largest memory of a classifier's instance under the component engine, in MiB [default: 256]
    #[arg(long, env = "PALISADE_MEMORY_MIB_MAX", value_name = "MIB", help_heading = LIMITS)]
    memory_mib_max: Option<u64>,
    /// Calls that a classifier's instance answers before a fresh one takes its place; 1 gives each text its own [default: 1000]
    #[arg(long, env = "PALISADE_INSTANCE_CALLS_MAX", value_name = "N", help_heading = LIMITS)]
    instance_calls_max: Option<u32>,
    /// Longest body, then 413 [default: 4194304]
    #[arg(long, env = "PALISADE_BODY_BYTES_MAX", value_name = "BYTES", help_heading = LIMITS)]
    body_bytes_max: Option<usize>,
    /// Longest time for a body to arrive, then 408 [default: 10000]
    #[arg(long, env = "PALISADE_BODY_MS_MAX", value_name = "MS", help_heading = LIMITS)]
    body_ms_max: Option<u64>,
    /// Most connections; more are refused with 503 [default: 2048]
    #[arg(long, env = "PALISADE_CONNECTIONS_MAX", value_name = "N", help_heading = LIMITS)]
    connections_max: Option<usize>,
    /// Longest time to finish what was accepted, after SIGTERM [default: 30000]
    #[arg(long, env = "PALISADE_DRAIN_MS_MAX", value_name = "MS", help_heading = LIMITS)]
    drain_ms_max: Option<u64>,
    /// How much to log [default: info, a line a request]
    #[arg(long, env = "PALISADE_LOG_LEVEL", value_enum, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// Form of the log [default: text on a terminal, json elsewhere]
    #[arg(long, env = "PALISADE_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

const LIMITS: &str = "Limits";
/// Longest time that any limit may be: ten minutes.
const MS_MAX: u64 = 600_000;
const AFTER: &str = "\
Routes:
  POST /v1/moderate                   texts and a policy in, verdicts out; /v1/policies lists the policies
  POST /v1/moderations                as OpenAI's; /v1/moderations/coverage says which categories are real
  POST /v1alpha1/comments:analyze     as Google's Perspective; also comments:suggestscore, /batch, /$discovery/rest
  GET  /docs, /openapi.json           the endpoint described
  GET  /healthz, /readyz, /metrics    for the operator; no key is needed, so keep them from the public in the proxy

Clients change their base URL: Perspective's to http://HOST:PORT, OpenAI's to http://HOST:PORT/v1.

A request counts once for a key's limit, however many texts it has; each part of a batch is a request.

SIGTERM, SIGHUP and Ctrl-C stop it: for half a second /readyz says so and new connections are still taken, then what was accepted is
answered; Ctrl-C again cuts that short. Policies and keys are read at start. Logs go to standard error and never hold a text. Traces are sent where
OTEL_EXPORTER_OTLP_ENDPOINT names a collector.";

/// An address to listen on, which is no name.
fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write a number and a port, like 127.0.0.1:8080 or [::]:8080")
}

/// Takes from the file what neither flag nor variable gives.
macro_rules! fill {
    ($arguments:ident, $file:ident, $($field:ident),+) => {
        $($arguments.$field = $arguments.$field.take().or($file.$field);)+
    };
}

/// Serves until SIGTERM.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let arguments = arguments.with_file()?;
    arguments.check()?;
    let limits = arguments.limits();
    let runtime_limits = RuntimeLimits {
        call_ms_max: call_ms_max(arguments.call_ms_max, arguments.artefact.as_deref(), 5_000),
        memory_mib_max: arguments.memory_mib_max.unwrap_or(256),
        // An idle instance and one at work for each worker, while a broken one is being replaced.
        instances_max: u32::try_from(limits.queue.workers * 2 + 1)?,
        endpoints_max: u32::try_from(limits.endpoints_max())?,
    };
    let edge = match &arguments.edge {
        Some(path) => path.clone(),
        None => beside_program("palisade-edge.wasm").context("no endpoint component; name one with --edge")?,
    };
    let runtime = Runtime::new(runtime_limits)?;
    let engine = arguments.engine.unwrap_or_default();
    let (loaded, description) = load(arguments.artefact.as_deref(), engine, || Ok(runtime.clone()))?;
    let options = serve::Options {
        listen: arguments.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
        edge,
        keys: arguments.keys.clone(),
        feedback: arguments.feedback_file()?,
        environment: arguments.environment(&description)?,
        limits,
    };
    if options.keys.is_none() && !options.listen.ip().is_loopback() {
        say("warning: whoever reaches this address may use it; require keys with --keys");
    }
    let level = arguments.log_level.unwrap_or(LogLevel::Info);
    let format = if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
    let _telemetry = telemetry::start(level, arguments.log_format.unwrap_or(format))?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(limits.queue.workers + 8)
        .build()
        .context("the server's threads do not start")?;
    let (shown, keyed) = (description.clone(), options.keys.is_some());
    let ready = |address| greet(address, &shown, keyed);
    tokio.block_on(serve::serve(&runtime, loaded, description, &options, ready))?;
    Ok(ExitStatus::Done)
}

/// Says on standard output where the server is and how to ask it.
fn greet(mut address: SocketAddr, description: &Description, keyed: bool) {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let release = &description.release;
    let (bearer, query) = if keyed { (" -H 'authorization: Bearer YOUR_KEY'", "?key=YOUR_KEY") } else { ("", "") };
    let greeting = format!(
        "Palisade serves {name} {version} at http://{address} (read http://{address}/docs). Ctrl-C stops it.

  curl -s http://{address}/v1/moderate{bearer} -d '{{\"texts\": [\"Thank you.\", \"You are an idiot.\"]}}'
  curl -s http://{address}/v1/moderations{bearer} -d '{{\"input\": \"You are an idiot.\"}}'
  curl -s 'http://{address}/v1alpha1/comments:analyze{query}' \\
    -d '{{\"comment\": {{\"text\": \"You are an idiot.\"}}, \"requestedAttributes\": {{\"TOXICITY\": {{}}}}}}'

",
        name = release.name,
        version = release.version,
    );
    let mut out = std::io::stdout().lock();
    // Whoever started the server need not read this.
    let _ = out.write_all(greeting.as_bytes()).and_then(|()| out.flush());
}

impl Arguments {
    /// These arguments, and where they say nothing, those of the file.
    fn with_file(&self) -> Result<Self> {
        let mut merged = self.copy();
        let Some(path) = &self.config else { return Ok(merged) };
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut file: Self = toml::from_str(&text).map_err(|error| {
            let (line, column) = line_and_column(&text, error.span().map_or(0, |span| span.start));
            anyhow::anyhow!("{}: line {line} column {column}: {}", path.display(), error.message())
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for named in [&mut file.artefact, &mut file.edge, &mut file.policies, &mut file.keys, &mut file.feedback] {
            // `off` is no file.
            if let Some(relative) = named.take_if(|named| named.is_relative() && named != Path::new("off")) {
                *named = Some(folder.join(relative));
            }
        }
        fill!(
            merged,
            file,
            listen,
            public_url,
            artefact,
            engine,
            edge,
            policies,
            keys,
            feedback,
            workers,
            queue_max,
            queue_ms_max,
            request_ms_max,
            call_ms_max,
            memory_mib_max,
            instance_calls_max,
            body_bytes_max,
            body_ms_max,
            connections_max,
            drain_ms_max,
            log_level,
            log_format
        );
        if merged.cors_origin.is_empty() {
            merged.cors_origin = file.cors_origin;
        }
        Ok(merged)
    }

    /// Checks the limits, wherever they come from.
    fn check(&self) -> Result<()> {
        let number = |value: Option<usize>| value.map(|value| value as u64);
        for (name, value, range) in [
            ("workers", self.workers.map(u64::from), 1..=256),
            ("queue-max", number(self.queue_max), 0..=4096),
            ("queue-ms-max", self.queue_ms_max, 0..=MS_MAX),
            ("request-ms-max", self.request_ms_max, 1..=MS_MAX),
            ("call-ms-max", self.call_ms_max, 0..=MS_MAX),
            ("memory-mib-max", self.memory_mib_max, 1..=1024),
            ("instance-calls-max", self.instance_calls_max.map(u64::from), 1..=u64::from(u32::MAX)),
            ("body-bytes-max", number(self.body_bytes_max), 1..=8 << 20),
            ("body-ms-max", self.body_ms_max, 1..=MS_MAX),
            ("connections-max", number(self.connections_max), 1..=65_536),
            ("drain-ms-max", self.drain_ms_max, 0..=MS_MAX),
        ] {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                bail!("{name} is {value}, and must be from {} to {}", range.start(), range.end());
            }
        }
        Ok(())
    }

    fn copy(&self) -> Self {
        Self {
            config: self.config.clone(),
            public_url: self.public_url.clone(),
            artefact: self.artefact.clone(),
            edge: self.edge.clone(),
            policies: self.policies.clone(),
            keys: self.keys.clone(),
            feedback: self.feedback.clone(),
            cors_origin: self.cors_origin.clone(),
            ..*self
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            queue: QueueLimits {
                workers: self.workers.map_or_else(cores, |workers| workers as usize),
                queue_max: self.queue_max.unwrap_or(64),
                queue_ms_max: self.queue_ms_max.unwrap_or(500),
                instance_calls_max: self.instance_calls_max.unwrap_or(1000),
            },
            request_ms_max: self.request_ms_max.unwrap_or(30_000),
            body_bytes_max: self.body_bytes_max.unwrap_or(BODY_BYTES_MAX),
            body_ms_max: self.body_ms_max.unwrap_or(10_000),
            connections_max: self.connections_max.unwrap_or(2048),
            drain_ms_max: self.drain_ms_max.unwrap_or(30_000),
        }
    }

    /// Where feedback is kept; nothing for `off`.
    fn feedback_file(&self) -> Result<Option<PathBuf>> {
        match &self.feedback {
            Some(path) if path == Path::new("off") => Ok(None),
            Some(path) => Ok(Some(path.clone())),
            None => super::feedback::default_file().map(Some),
        }
    }

    /// The settings that the endpoint component reads, all of them checked.
    fn environment(&self, description: &Description) -> Result<Vec<(String, String)>> {
        let mut environment = Vec::new();
        let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
        if let Some(url) = &self.public_url {
            let wrong = || format!("--public-url {url:?} is no address: write it like https://moderation.example.org");
            set("PALISADE_PUBLIC_URL", public_url(url).ok().with_context(wrong)?);
        }
        if let Some(path) = &self.policies {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            let labels: Vec<&str> = description.labels.iter().map(|label| label.name.as_str()).collect();
            Policies::parse(&text, Some(&labels)).with_context(|| path.display().to_string())?;
            set("PALISADE_POLICIES", text);
        }
        if !self.cors_origin.is_empty() {
            for origin in &self.cors_origin {
                let is_origin = |url: String| url == *origin && url.matches('/').count() == 2;
                let good = origin == "*" || public_url(origin).is_ok_and(is_origin);
                if !good {
                    bail!("--cors-origin {origin:?} is no origin: write it like https://forum.example.org, or *");
                }
            }
            set("PALISADE_CORS_ORIGINS", self.cors_origin.join(" "));
        }
        if self.feedback_file()?.is_none() {
            set("PALISADE_FEEDBACK", "discard".into());
        }
        set("PALISADE_BODY_BYTES_MAX", self.body_bytes_max.unwrap_or(BODY_BYTES_MAX).to_string());
        Ok(environment)
    }
}
