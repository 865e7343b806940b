//! `palisade serve`: the HTTP endpoint.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use palisade_protocols::json::line_and_column;
use palisade_protocols::policy::Policies;
use palisade_protocols::settings::{BODY_BYTES_MAX, public_url};
use palisade_registry::{Reference, Registry, Target};
use serde::Deserialize;

use super::model::publish::publish_initial;
use super::model::{RegistryArguments, TrustArguments};
use super::{ExitStatus, beside_program, cores, folder_beside_program, load, say};
use crate::bindings::Description;
use crate::serve::follow::{Follow, Taken};
use crate::serve::site::Site;
use crate::serve::telemetry::{self, LogFormat, LogLevel};
use crate::serve::{self, Limits, QueueLimits};
use crate::{EngineKind, Runtime, RuntimeLimits, cache};

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
    /// Release of the registry to serve instead, as name@alias, which is followed wherever it moves, or name@version
    #[arg(long, env = "PALISADE_MODEL", value_name = "NAME@ALIAS", conflicts_with = "artefact", help_heading = REGISTRY)]
    model: Option<String>,
    /// Where releases are: a folder, `file:///path` or `s3://bucket/prefix` [default: ~/.local/share/palisade/registry]
    #[arg(long, env = "PALISADE_REGISTRY", value_name = "URL", help_heading = REGISTRY)]
    registry: Option<String>,
    /// Trust policy: which keys may sign which models [default: digests are checked, signatures are not]
    #[arg(long, env = "PALISADE_TRUST", value_name = "FILE", help_heading = REGISTRY)]
    trust: Option<PathBuf>,
    /// Folder of a release to publish and promote where the registry has no version of the model yet [default: models/NAME beside this program]
    #[arg(long, env = "PALISADE_INITIAL", value_name = "FOLDER", help_heading = REGISTRY)]
    initial: Option<PathBuf>,
    /// Seconds between two looks at where the alias points [default: 10]
    #[arg(long, env = "PALISADE_POLL_S", value_name = "S", help_heading = REGISTRY)]
    poll_s: Option<u64>,
    /// Share of texts that the model's alias `challenger` scores too, for the log and the metrics alone, from 0 to 1 [default: 0.1]
    #[arg(long, env = "PALISADE_SHADOW_SHARE", value_name = "SHARE", help_heading = REGISTRY)]
    shadow_share: Option<f64>,
    /// Where pulled releases are kept [default: ~/.cache/palisade/releases]
    #[arg(long, env = "PALISADE_RELEASES", value_name = "FOLDER", help_heading = REGISTRY)]
    releases: Option<PathBuf>,
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
    /// Folder of the site that is served at `/`, or `off` [default: site/ beside this program, where there is one]
    #[arg(long, env = "PALISADE_SITE", value_name = "FOLDER")]
    site: Option<PathBuf>,
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
    /// Most chat rooms; 0 for none at all [default: 256]
    #[arg(long, env = "PALISADE_ROOMS_MAX", value_name = "N", help_heading = LIMITS)]
    rooms_max: Option<usize>,
    /// How much to log [default: info, a line a request]
    #[arg(long, env = "PALISADE_LOG_LEVEL", value_enum, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// Form of the log [default: text on a terminal, json elsewhere]
    #[arg(long, env = "PALISADE_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

const LIMITS: &str = "Limits";
/// Threads for blocking work beside those that score: files, and the loading of a release.
const BLOCKING_THREADS: usize = 10;
const REGISTRY: &str = "Releases from a registry";
/// Longest time that any limit may be: ten minutes.
const MS_MAX: u64 = 600_000;
const AFTER: &str = "\
Routes:
  POST /v1/moderate                   texts and a policy in, verdicts out; /v1/policies lists the policies
  POST /v1/moderations                as OpenAI's; /v1/moderations/coverage says which categories are real
  POST /v1alpha1/comments:analyze     as Google's Perspective; also comments:suggestscore, /batch, /$discovery/rest
  GET  /docs, /openapi.json           the endpoint described
  GET  /                              the site, where there is one
  GET  /v1/rooms/NAME                 chat rooms over WebSocket; the policy `room`, or else `default`, judges what is said there
  GET  /healthz, /readyz, /metrics    for the operator; no key is needed, so keep them from the public in the proxy

Clients change their base URL: Perspective's to http://HOST:PORT, OpenAI's to http://HOST:PORT/v1.

A request counts once for a key's limit, however many texts it has; each part of a batch is a request.

SIGTERM, SIGHUP and Ctrl-C stop it: chats end, for half a second /readyz says so and new connections are still taken, then what was accepted is
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
        call_ms_max: arguments.call_ms_max()?,
        memory_mib_max: arguments.memory_mib_max.unwrap_or(256),
        // An idle instance and one at work for each worker, while a broken one is being replaced.
        // Three times: for the release that serves, the one that takes its place, and the challenger.
        instances_max: u32::try_from((limits.queue.workers * 2 + 1) * 3)?,
        endpoints_max: u32::try_from(limits.endpoints_max())?,
    };
    let edge = match &arguments.edge {
        Some(path) => path.clone(),
        None => beside_program("palisade-edge.wasm").context("no endpoint component; name one with --edge")?,
    };
    let runtime = Runtime::new(runtime_limits)?;
    let engine = arguments.engine.unwrap_or_default();
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(limits.queue.workers + BLOCKING_THREADS)
        .build()
        .context("the server's threads do not start")?;
    let level = arguments.log_level.unwrap_or(LogLevel::Info);
    let format = if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
    let _telemetry = telemetry::start(level, arguments.log_format.unwrap_or(format))?;
    let (loaded, description, follow) = if let Some((follow, initial)) = arguments.follow(&runtime, engine)? {
        let taken = tokio.block_on(first(&follow, initial.as_deref()))?;
        (taken.loaded, taken.description, Some((follow, taken.etag)))
    } else {
        let (loaded, description) = load(arguments.artefact.as_deref(), engine, || Ok(runtime.clone()))?;
        (loaded, description, None)
    };
    let options = serve::Options {
        listen: arguments.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
        edge,
        keys: arguments.keys.clone(),
        feedback: arguments.feedback_file()?,
        environment: arguments.environment(&description)?,
        follow,
        shadow_share: arguments.shadow_share.unwrap_or(0.1),
        site: arguments.site()?,
        limits,
    };
    let keyed = options.keys.is_some();
    if !keyed && !options.listen.ip().is_loopback() {
        say("warning: whoever reaches this address may use it; require keys with --keys");
    }
    let shown = description.clone();
    let has_site = options.site.is_some();
    let ready = |address| greet(address, &shown, keyed, has_site);
    tokio.block_on(serve::serve(&runtime, loaded, description, options, ready))?;
    // What is still being loaded or scored is for nobody.
    tokio.shutdown_timeout(Duration::from_millis(100));
    Ok(ExitStatus::Done)
}

/// The release to begin with; where the registry has none of that model yet, the initial one is published there first.
async fn first(follow: &Follow, initial: Option<&Path>) -> Result<Taken> {
    let Target::Alias(alias) = &follow.champion.target else { return follow.first().await };
    let model = &follow.champion.model;
    let is_fresh = || async { Ok::<_, anyhow::Error>(follow.registry.model(model).await?.versions.is_empty()) };
    match follow.first().await {
        Err(error) if is_missing(&error) && is_fresh().await.unwrap_or(false) => {
            let Some(initial) = initial else { return Err(error) };
            say(&format!("{} has no version of {model} yet: publishing {}", follow.location, initial.display()));
            publish_initial(&follow.location, initial, &follow.champion.model, alias, &follow.trust).await?;
            follow.first().await
        }
        first => first,
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(palisade_registry::Error::NotFound { .. }))
}

/// Says on standard output where the server is and how to ask it.
fn greet(mut address: SocketAddr, description: &Description, keyed: bool, has_site: bool) {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let release = &description.release;
    let (bearer, query) = if keyed { (" -H 'authorization: Bearer YOUR_KEY'", "?key=YOUR_KEY") } else { ("", "") };
    let open = if has_site { format!("\n  Open http://{address}/ in a browser.\n") } else { String::new() };
    let greeting = format!(
        "Palisade serves {name} {version} at http://{address} (read http://{address}/docs). Ctrl-C stops it.
{open}
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
        let files = [&mut file.artefact, &mut file.edge, &mut file.policies, &mut file.keys, &mut file.feedback];
        for named in files.into_iter().chain([&mut file.site, &mut file.trust, &mut file.initial, &mut file.releases]) {
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
            model,
            registry,
            trust,
            initial,
            poll_s,
            shadow_share,
            releases,
            engine,
            edge,
            policies,
            keys,
            feedback,
            site,
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
            rooms_max,
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
            ("rooms-max", number(self.rooms_max), 0..=65_536),
            ("poll-s", self.poll_s, 1..=86_400),
        ] {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                bail!("{name} is {value}, and must be from {} to {}", range.start(), range.end());
            }
        }
        if let Some(share) = self.shadow_share.filter(|share| !(0.0..=1.0).contains(share)) {
            bail!("shadow-share is {share}, and must be from 0 to 1");
        }
        if self.model.is_some() && self.artefact.is_some() {
            bail!("model and artefact are both given: serve a release of the registry, or an artefact");
        }
        Ok(())
    }

    /// The time limit of a call: none for the artefact beside this program, and for releases that must have a trusted key's signature.
    fn call_ms_max(&self) -> Result<Option<u64>> {
        let signed = TrustArguments { trust: self.trust.clone() }.read()?.refuses_unsigned();
        let untrusted = self.artefact.is_some() || (self.model.is_some() && !signed);
        Ok(self.call_ms_max.or(untrusted.then_some(5_000)).filter(|&limit_ms| limit_ms > 0))
    }

    /// What to follow, and the release to begin with on a fresh registry.
    fn follow(&self, runtime: &Runtime, engine: EngineKind) -> Result<Option<(Follow, Option<PathBuf>)>> {
        let Some(model) = &self.model else { return Ok(None) };
        let champion = Reference::parse(model)?;
        let challenger = (self.shadow_share != Some(0.0)).then(|| challenger(&champion)).transpose()?.flatten();
        let location = RegistryArguments { registry: self.registry.clone() }.location()?;
        if let Some(folder) = location.as_folder() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let releases = match &self.releases {
            Some(folder) => folder.clone(),
            None => cache::folder().context("no folder for releases; name one with --releases")?.join("releases"),
        };
        cache::create_private(&releases).with_context(|| releases.display().to_string())?;
        if !cache::is_trusted(std::fs::metadata(&releases)) {
            let folder = releases.display();
            say(&format!(
                "warning: others can write to {folder}, so a start without the registry will not serve from there: chmod go-w {folder}"
            ));
        }
        let initial = match &self.initial {
            Some(folder) => Some(folder.clone()),
            None => folder_beside_program("models")
                .map(|models| models.join(champion.model.as_str()))
                .filter(|it| it.is_dir()),
        };
        let policies = self
            .policies
            .as_deref()
            .map(|path| std::fs::read_to_string(path).with_context(|| path.display().to_string()));
        let follow = Follow {
            registry: Registry::open(&location)?,
            location,
            champion,
            challenger,
            trust: TrustArguments { trust: self.trust.clone() }.read()?,
            folder: releases,
            every: Duration::from_secs(self.poll_s.unwrap_or(10)),
            runtime: runtime.clone(),
            engine,
            policies: policies.transpose()?,
            began_back: std::sync::atomic::AtomicBool::default(),
            in_use: std::sync::Mutex::default(),
        };
        Ok(Some((follow, initial)))
    }

    fn copy(&self) -> Self {
        Self {
            config: self.config.clone(),
            public_url: self.public_url.clone(),
            artefact: self.artefact.clone(),
            model: self.model.clone(),
            registry: self.registry.clone(),
            trust: self.trust.clone(),
            initial: self.initial.clone(),
            releases: self.releases.clone(),
            edge: self.edge.clone(),
            policies: self.policies.clone(),
            keys: self.keys.clone(),
            feedback: self.feedback.clone(),
            site: self.site.clone(),
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
            rooms_max: self.rooms_max.unwrap_or(256),
        }
    }

    /// The site; nothing for `off`, and where there is none beside this program.
    fn site(&self) -> Result<Option<Site>> {
        match &self.site {
            Some(folder) if folder == Path::new("off") => Ok(None),
            Some(folder) => Site::read(folder).map(Some),
            None => folder_beside_program("site").map(|folder| Site::read(&folder)).transpose(),
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

/// The alias `challenger` of the model whose `champion` is served; none where a version is.
fn challenger(champion: &Reference) -> Result<Option<Reference>> {
    let Target::Alias(_) = &champion.target else { return Ok(None) };
    let target = Target::Alias("challenger".parse()?);
    Ok(Some(Reference { model: champion.model.clone(), target }).filter(|challenger| challenger != champion))
}
