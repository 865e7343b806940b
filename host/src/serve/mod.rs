//! `palisade serve`: the endpoint component behind HTTP/1.1.
//!
//! A connection's task reads requests (hyper); `front` reads the body and gives the request to a fresh instance of the
//! component (`endpoint`); what that asks of the classifier waits for its turn in `classifiers`. Everything has a limit, and what
//! is beyond it is refused at once with a status that says so.

mod classifiers;
mod connection;
mod endpoint;
pub mod feedback;
pub mod follow;
mod front;
mod keys;
mod metrics;
mod rooms;
mod shadow;
mod shared;
pub mod site;
pub mod telemetry;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use palisade_protocols::Settings;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use classifiers::QueueLimits;
use classifiers::{Classifiers, Release};

use crate::bindings::Description;
use crate::{Loaded, Runtime};

/// All bodies that are being read or answered. In the component and on the way there a body is held several times over, so the
/// memory that it takes is about eight times this.
pub(crate) const BODIES_BYTES_MAX: usize = 64 << 20;
/// Suggestions that are being kept at one time; SQLite writes one after the other.
pub(crate) const FEEDBACK_PLACES: usize = 16;
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Files that this process opens besides connections.
const FILES: u64 = 64;
/// Longest wait for a request's head, and between two requests of a connection.
const HEAD_MS_MAX: u64 = 10_000;
/// Longest time that a client may take for what is to be written to it.
const WRITE_MS_MAX: u64 = 30_000;
/// After SIGTERM, time in which answers ask their clients to close, before the door is shut; and after that, time for requests on
/// their way.
const CLOSING_MS: u64 = 500;

/// What the server is to do; see `palisade serve --help`.
#[derive(Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The endpoint component.
    pub edge: PathBuf,
    /// The file of API keys; without one, no key is needed.
    pub keys: Option<PathBuf>,
    /// The file of feedback; without one, none is kept.
    pub feedback: Option<PathBuf>,
    /// Settings of the endpoint, as its environment variables.
    pub environment: Vec<(String, String)>,
    /// What to follow in a registry, from the mark on where its first release was found.
    pub follow: Option<(follow::Follow, Option<palisade_registry::Etag>)>,
    /// The share of texts that a challenger scores too.
    pub shadow_share: f64,
    /// What is served at `/`; without it, the page of `/docs` is.
    pub site: Option<site::Site>,
    /// Limits.
    pub limits: Limits,
}

/// What one request, and all of them, may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The classifier's queue.
    pub queue: QueueLimits,
    /// Longest time of the endpoint for one request, queue included.
    pub request_ms_max: u64,
    /// Longest body.
    pub body_bytes_max: usize,
    /// Longest time for a body to arrive.
    pub body_ms_max: u64,
    /// Most connections.
    pub connections_max: usize,
    /// Longest time to finish what was accepted, after SIGTERM.
    pub drain_ms_max: u64,
    /// Most chat rooms; 0 for none.
    pub rooms_max: usize,
}

impl Limits {
    /// Most instances of the endpoint component at one time: those that score and wait, and some that do neither.
    pub fn endpoints_max(&self) -> usize {
        self.queue.queue_max + self.queue.workers + 64
    }
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    endpoint: endpoint::Endpoint,
    classifiers: Arc<Classifiers>,
    shadow: Arc<shadow::Shadow>,
    keys: Option<keys::Keys>,
    feedback: Option<feedback::Feedback>,
    metrics: Arc<metrics::Metrics>,
    settings: Settings,
    limits: Limits,
    instances: Arc<Semaphore>,
    instances_max: usize,
    body_memory: Arc<Semaphore>,
    feedback_places: Semaphore,
    rooms: Arc<rooms::Rooms>,
    site: Option<site::Site>,
    /// Each connection and chat has a receiver of it, so that the server can wait for their ends.
    stage: watch::Sender<Stage>,
}

/// How far the server is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// Asked to stop: chats end, and answers ask their clients to close.
    Draining,
    /// The door is shut: connections end with what they are at.
    Closing,
}

/// A place among the connections, for as long as it lives.
#[derive(Debug)]
struct Held {
    metrics: Arc<metrics::Metrics>,
    _place: OwnedSemaphorePermit,
}

impl Held {
    fn new(metrics: Arc<metrics::Metrics>, place: OwnedSemaphorePermit) -> Self {
        metrics.connections.inc();
        Self { metrics, _place: place }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

/// Serves until SIGTERM or SIGINT, and then until what was accepted is answered. `ready` is called with the address when
/// connections are accepted.
pub async fn serve(
    runtime: &Runtime,
    loaded: Loaded,
    description: Description,
    mut options: Options,
    ready: impl FnOnce(SocketAddr),
) -> Result<()> {
    let mut limits = options.limits;
    limits.connections_max = allow_files(limits.connections_max);
    let settings = Settings::from_environment(options.environment.clone())?;
    let keys = options.keys.as_deref().map(keys::Keys::read).transpose()?;
    let endpoint = endpoint::Endpoint::load(runtime, &options.edge, options.environment.clone())?;
    let feedback = match &options.feedback {
        Some(path) => Some(feedback::Feedback::open(path).await?),
        None => None,
    };
    let metrics = Arc::new(metrics::Metrics::new(&description));
    let classifiers = Classifiers::new(Release::new(loaded, description), limits.queue, metrics.clone());
    let instances_max = limits.endpoints_max();
    let shared = Arc::new(Shared {
        endpoint,
        classifiers: Arc::new(classifiers),
        shadow: Arc::new(shadow::Shadow::new(options.shadow_share, metrics.clone())),
        rooms: Arc::new(rooms::Rooms::new(limits.rooms_max, metrics.clone())),
        site: options.site.take(),
        keys,
        feedback,
        metrics,
        settings,
        limits,
        instances: Arc::new(Semaphore::new(instances_max)),
        instances_max,
        body_memory: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
        feedback_places: Semaphore::new(FEEDBACK_PLACES),
        stage: watch::Sender::new(Stage::Serving),
    });
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}; choose another --listen", options.listen))?;
    let local = listener.local_addr().context("the listening address")?;
    let mut stop = Stop::new()?;
    let release = shared.classifiers.current();
    tracing::info!(
        target: "palisade_host::serve",
        address = %local,
        release = release.name(),
        digest = release.description.release.digest,
        engine = release.description.engine,
        keys = shared.keys.as_ref().map_or(0, keys::Keys::len),
        following = options.follow.as_ref().map(|(follow, _)| follow::shown(&follow.champion)),
        policies = shared.settings.policies.is_some(),
        feedback = options.feedback.as_ref().map(|path| path.display().to_string()),
        site_files = shared.site.as_ref().map(site::Site::len),
        "serving"
    );
    ready(local);
    if let Some((follow, first)) = options.follow.take() {
        let follow = Arc::new(follow);
        let (champion, challenger) = (follow.clone(), follow);
        let (of_champion, of_challenger) = (shared.clone(), shared.clone());
        aside(
            "champion",
            shared.stage.subscribe(),
            async move { champion.follow_champion(&of_champion, first).await },
        )?;
        aside(
            "challenger",
            shared.stage.subscribe(),
            async move { challenger.follow_challenger(&of_challenger).await },
        )?;
    }
    tokio::spawn(shared.rooms.clone().sweep());
    accept(&shared, listener, local, &mut stop).await;
    if let Some(feedback) = &shared.feedback {
        feedback.close().await;
    }
    Ok(())
}

/// A thread of its own, until the server is asked to stop: what follows the registry must not wait for what serves, nor the other way round.
fn aside(name: &str, mut stage: watch::Receiver<Stage>, work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let tokio = tokio::runtime::Handle::current();
    let until_stop = async move {
        tokio::select! {
            // Asked first: behind it there may be no clock any more.
            biased;
            _ = stage.wait_for(|stage| *stage != Stage::Serving) => {}
            () = work => {}
        }
    };
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || tokio.block_on(until_stop));
    thread.map(drop).context("no thread to follow the registry")
}

/// Raises this process's limit of open files as far as it may, and gives the number of connections that fit.
fn allow_files(connections_max: usize) -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let wanted = FILES + connections_max as u64;
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current.is_some_and(|current| current < wanted) {
            limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
            let _ = setrlimit(Resource::Nofile, limit); // what counts is what is read next
        }
        let current = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
        if current < wanted {
            let fit = usize::try_from(current.saturating_sub(FILES)).unwrap_or(usize::MAX).max(1);
            tracing::warn!(target: "palisade_host::serve", connections_max, fit, "this system allows fewer open files (ulimit -n)");
            return fit;
        }
    }
    connections_max
}

/// Takes connections until told to stop, and then lets those that were taken finish.
async fn accept(shared: &Arc<Shared>, listener: TcpListener, local: SocketAddr, stop: &mut Stop) {
    let connections = Arc::new(Semaphore::new(shared.limits.connections_max));
    let mut closing: Option<std::pin::Pin<Box<tokio::time::Sleep>>> = None;
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.asked(), if closing.is_none() => {
                tracing::info!(target: "palisade_host::serve", "stopping: answering what was accepted");
                shared.stage.send_replace(Stage::Draining);
                closing = Some(Box::pin(tokio::time::sleep(Duration::from_millis(CLOSING_MS))));
                continue;
            }
            () = async { match &mut closing { Some(closing) => closing.await, None => std::future::pending().await } } => break,
        };
        match stream {
            Ok((stream, _)) => take(shared, &connections, stream, local),
            Err(error) => {
                // Most likely too many open files: the next connection may fare better.
                tracing::warn!(target: "palisade_host::serve", %error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    shut(shared, &connections, listener, local);
    let limit_ms = shared.limits.drain_ms_max;
    let drained = async {
        // hyper closes a connection at once whose first request it has not begun to read.
        tokio::time::sleep(Duration::from_millis(CLOSING_MS)).await;
        shared.stage.send_replace(Stage::Closing);
        shared.stage.closed().await;
    };
    tokio::select! {
        () = drained => tracing::info!(target: "palisade_host::serve", "stopped: everything was answered"),
        () = tokio::time::sleep(Duration::from_millis(limit_ms)) => {
            tracing::warn!(target: "palisade_host::serve", limit_ms, "stopped: drain-ms-max is over, connections are cut");
        }
        () = stop.interrupted() => tracing::warn!(target: "palisade_host::serve", "interrupted: connections are cut"),
    }
}

/// Shuts the door behind the connections that the system has accepted for us already: they are ours to answer.
fn shut(shared: &Arc<Shared>, connections: &Arc<Semaphore>, listener: TcpListener, local: SocketAddr) {
    let Ok(listener) = listener.into_std() else { return };
    // Taking is quicker than connecting, so this ends; the bound is for certainty.
    for _ in 0..shared.limits.connections_max {
        let Ok((stream, _)) = listener.accept() else { return };
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            take(shared, connections, stream, local);
        }
    }
}

/// Serves one connection, or refuses it where there are too many.
fn take(shared: &Arc<Shared>, connections: &Arc<Semaphore>, stream: TcpStream, local: SocketAddr) {
    let Ok(place) = connections.clone().try_acquire_owned() else {
        let reason = "connections-max";
        shared.metrics.failures.get_or_create(&metrics::ReasonLabels { reason }).inc();
        tracing::debug!(target: "palisade_host::serve", reason, "a connection was refused");
        tokio::spawn(refuse(stream));
        return;
    };
    let _ = stream.set_nodelay(true); // costs latency only
    let held = Arc::new(Held::new(shared.metrics.clone(), place));
    let service = {
        let shared = shared.clone();
        service_fn(move |request| front::answer(shared.clone(), held.clone(), local, request))
    };
    let connection = connection::Connection::new(stream, Duration::from_millis(WRITE_MS_MAX));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_MS_MAX))
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(true) // a client that has sent its request and closed that side gets its answer
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    let mut stage = shared.stage.subscribe();
    tokio::spawn(async move {
        let mut served = std::pin::pin!(served);
        let closing = async {
            let _ = stage.wait_for(|stage| *stage == Stage::Closing).await; // without a sender it is over
        };
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = closing => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(target: "palisade_host::serve", %error, "a connection ended early");
        }
    });
}

/// Says why, in words that any client understands, and closes.
async fn refuse(mut stream: TcpStream) {
    const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
        content-type: text/plain\r\ncontent-length: 45\r\n\r\nbusy: connections-max is reached; retry later";
    let refusal = async {
        stream.write_all(REFUSAL).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), refusal).await; // the client may have gone
}

/// SIGTERM, SIGHUP and SIGINT.
struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hang_up: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let context = "the signals to stop cannot be listened for";
        let listen = |kind| signal(kind).context(context);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    fn new() -> Result<Self> {
        Ok(Self {})
    }

    /// Any of them.
    async fn asked(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        self.interrupted().await;
    }

    /// Ctrl-C. A second SIGTERM cuts nothing: some supervisors send it twice.
    async fn interrupted(&mut self) {
        #[cfg(unix)]
        self.interrupt.recv().await;
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
