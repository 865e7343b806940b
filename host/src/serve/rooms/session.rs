//! One connection to a room: its frames in, the room's frames out, and the time that each may take.
//!
//! What a client sends is taken one frame after the other: while its message is being judged, nothing more is read of it, and what the
//! room says goes on. Judging itself is a task of its own, so that a message is judged to its end also where its author has gone.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role as End, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message as Frame, Utf8Bytes};

use super::super::{Shared, Stage};
use super::message::{Code, FromPage, Person, Refusal, Role, ToPage};
use super::read::{Unread, read};
use super::room::{Event, Output, Seat};
use super::{CLOSE_MS_MAX, FRAME_BYTES_MAX, JOIN_MS_MAX, Joined, PING_MS, SEND_MS_MAX, SILENCE_MS_MAX, judge};

/// What is read of a client after the good-bye, and forgotten.
const DISCARD_BYTES_MAX: usize = 1 << 20;
/// Bytes that one read may bring.
const READ_BYTES: usize = 8 << 10;

/// How a connection ends.
enum Ending {
    /// The client said good-bye, or has gone.
    Left,
    /// The client does not take what it is sent.
    Slow,
    /// With a code and a reason (RFC 6455, section 7.4).
    Close(CloseCode, String),
}

/// A step, or the end.
type Flow<T = ()> = ControlFlow<Ending, T>;

/// Serves one connection to its end.
pub(super) async fn serve<S>(shared: Arc<Shared>, room: String, stream: S, mut stage: watch::Receiver<Stage>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_message_size(Some(FRAME_BYTES_MAX));
    let socket = WebSocketStream::from_raw_socket(stream, End::Server, Some(config)).await;
    let mut session = Session { shared, room, socket };
    let patience = Duration::from_millis(JOIN_MS_MAX);
    let entered = tokio::select! {
        entered = tokio::time::timeout(patience, session.join()) => entered,
        () = stopping(&mut stage) => Ok(Flow::Break(restarting())),
    };
    let ending = match entered {
        Ok(ControlFlow::Continue(joined)) => session.talk(joined, stage.clone()).await,
        Ok(ControlFlow::Break(ending)) => ending,
        Err(_) => {
            let refusal = Refusal::new(Code::NotJoined, format!("no join came within {JOIN_MS_MAX} ms"));
            match session.refuse(refusal).await {
                ControlFlow::Continue(()) => policy("not-joined"),
                ControlFlow::Break(ending) => ending,
            }
        }
    };
    session.end(ending).await;
    drop(stage); // the server waits for it
}

struct Session<S> {
    shared: Arc<Shared>,
    room: String,
    socket: WebSocketStream<S>,
}

/// What a client has once it is in the room.
struct Entered {
    joined: Arc<Joined>,
    client: String,
    outgoing: mpsc::Receiver<Utf8Bytes>,
    key: Option<String>,
    key_name: Option<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// The frames until the client has joined.
    async fn join(&mut self) -> Flow<Entered> {
        loop {
            let frame = self.socket.next().await;
            let Some(text) = text(frame)? else { continue };
            let (person, key) = match read(text.as_bytes()) {
                Ok(FromPage::Join { person, key }) => {
                    (Person { client: super::public_id(&person.client), ..person }, key)
                }
                Ok(FromPage::Leave) => return Flow::Break(Ending::Left),
                Ok(_) => {
                    self.refuse(Refusal::new(Code::NotJoined, "the first message must be join")).await?;
                    return Flow::Break(policy("not-joined"));
                }
                Err(Unread::NoObject) => return Flow::Break(no_object()),
                Err(Unread::Refused(refusal)) => {
                    self.refuse(refusal).await?;
                    return Flow::Break(policy("invalid"));
                }
            };
            let key_name = match judge::admit(&self.shared, key.as_deref()) {
                Ok(name) => name,
                Err(refusal) => {
                    self.turn_away(refusal).await?;
                    continue;
                }
            };
            let is_let = match person.role {
                Role::Moderator => judge::check_moderator(&self.shared, key.as_deref()),
                Role::Member => Ok(()),
            };
            if let Err(refusal) = is_let {
                self.turn_away(refusal).await?;
                continue;
            }
            let client = person.client.clone();
            let seat = Seat { person, key_name: key_name.clone() };
            let entered = judge::standard(&self.shared, &self.room)
                .and_then(|standard| self.shared.rooms.join(&self.room, seat, standard));
            match entered {
                Ok((joined, outgoing)) => {
                    tracing::info!(target: "palisade_host::serve", room = self.room, client, key = key_name, "joined a room");
                    return Flow::Continue(Entered { joined: Arc::new(joined), client, outgoing, key, key_name });
                }
                Err(refusal) => self.turn_away(refusal).await?,
            }
        }
    }

    /// Refuses a join, and closes where the protocol wants that.
    async fn turn_away(&mut self, refusal: Refusal) -> Flow {
        let code = refusal.code;
        self.refuse(refusal).await?;
        match code {
            Code::Unauthorised => Flow::Break(policy("unauthorised")),
            Code::RoomFull => Flow::Break(Ending::Close(CloseCode::Again, "room-full".into())),
            _ => Flow::Continue(()),
        }
    }

    /// The frames of a client that has joined, and those of the room for it.
    async fn talk(&mut self, mut entered: Entered, mut stage: watch::Receiver<Stage>) -> Ending {
        let mut pulse = Pulse::new(Instant::now());
        let mut work: Option<JoinHandle<Vec<Output>>> = None;
        let ending = loop {
            let step = tokio::select! {
                frame = entered.outgoing.recv() => match frame {
                    Some(frame) if !entered.outgoing.is_closed() => self.send(Frame::Text(frame)).await,
                    _ => Flow::Break(Ending::Slow),
                },
                done = finished(&mut work) => {
                    work = None;
                    // What was not read meanwhile is no silence.
                    pulse.heard(Instant::now());
                    self.refuse_all(done).await
                }
                frame = self.socket.next(), if work.is_none() => {
                    pulse.heard(Instant::now());
                    self.take(frame, &entered, &mut work).await
                }
                () = tokio::time::sleep_until(pulse.next().into()), if work.is_none() => match pulse.beat(Instant::now()) {
                    Beat::Ping => self.send(Frame::Ping(Vec::new().into())).await,
                    Beat::Silent => Flow::Break(Ending::Slow),
                },
                () = stopping(&mut stage), if work.is_none() => Flow::Break(restarting()),
            };
            if let ControlFlow::Break(ending) = step {
                break ending;
            }
        };
        if matches!(ending, Ending::Close(..)) {
            // What the room has said already, the answer to the client's own message among it.
            while let Ok(frame) = entered.outgoing.try_recv() {
                if self.send(Frame::Text(frame)).await.is_break() {
                    break;
                }
            }
        }
        let client = entered.client;
        tracing::info!(target: "palisade_host::serve", room = self.room, client, why = why(&ending), "left a room");
        ending
    }

    /// Takes one frame of a client that has joined.
    async fn take(
        &mut self,
        frame: Option<Result<Frame, Error>>,
        entered: &Entered,
        work: &mut Option<JoinHandle<Vec<Output>>>,
    ) -> Flow {
        let Some(text) = text(frame)? else { return Flow::Continue(()) };
        let connection = entered.joined.connection;
        let event = match read(text.as_bytes()) {
            Ok(FromPage::Message(message)) => Event::Message { connection, message },
            Ok(FromPage::Moderate { id, action }) => Event::Moderate { connection, id, action },
            Ok(FromPage::Leave) => return Flow::Break(Ending::Close(CloseCode::Normal, String::new())),
            Ok(FromPage::Join { .. }) => {
                return self.refuse(Refusal::new(Code::Invalid, "this client has joined already")).await;
            }
            Err(Unread::NoObject) => return Flow::Break(no_object()),
            Err(Unread::Refused(refusal)) => return self.refuse(refusal).await,
        };
        let mut outputs = entered.joined.apply(event);
        if let Some(asked) =
            outputs.iter().position(|output| matches!(output, Output::Judge { .. } | Output::Keep { .. }))
        {
            *work = Some(self.start(outputs.swap_remove(asked), entered));
        }
        self.refuse_all(outputs).await
    }

    /// Starts what a room has asked for.
    fn start(&self, asked: Output, entered: &Entered) -> JoinHandle<Vec<Output>> {
        let (shared, room, joined) = (self.shared.clone(), self.room.clone(), entered.joined.clone());
        let (key, key_name) = (entered.key.clone(), entered.key_name.clone());
        let stage = self.shared.stage.subscribe(); // the server waits for it
        tokio::spawn(async move {
            let event = match asked {
                Output::Judge { id, text } => {
                    let judged = match judge::admit(&shared, key.as_deref()) {
                        Ok(_) => judge::judge(&shared, &room, text).await,
                        Err(refusal) => Err(refusal),
                    };
                    Event::Judged { id, judged }
                }
                Output::Keep { decision, message } => {
                    let feedback = judge::keep(&shared, &room, &decision, &message, key_name.as_deref()).await;
                    Event::Moderated { connection: joined.connection, decision, feedback }
                }
                Output::Say { .. } | Output::Refuse(_) | Output::Changed(_) => return Vec::new(),
            };
            let outputs = joined.apply(event);
            drop(stage);
            outputs
        })
    }

    async fn refuse_all(&mut self, outputs: Vec<Output>) -> Flow {
        for output in outputs {
            if let Output::Refuse(refusal) = output {
                self.refuse(refusal).await?;
            }
        }
        Flow::Continue(())
    }

    async fn refuse(&mut self, refusal: Refusal) -> Flow {
        self.send(Frame::Text(super::frame(&ToPage::Error(refusal)))).await
    }

    /// Sends a frame, within the time that it may take.
    async fn send(&mut self, frame: Frame) -> Flow {
        match tokio::time::timeout(Duration::from_millis(SEND_MS_MAX), self.socket.send(frame)).await {
            Ok(Ok(())) => Flow::Continue(()),
            Ok(Err(_)) => Flow::Break(Ending::Left),
            Err(_) => Flow::Break(Ending::Slow),
        }
    }

    /// Says good-bye.
    async fn end(mut self, ending: Ending) {
        let good_bye = async {
            match ending {
                Ending::Slow => {}
                Ending::Left => drop(self.socket.close(None).await), // answers the client's own
                Ending::Close(code, reason) => {
                    let frame = CloseFrame { code, reason: reason.into() };
                    if self.socket.send(Frame::Close(Some(frame))).await.is_ok() {
                        let mut stream = self.socket.into_inner();
                        let _ = stream.shutdown().await; // the client may have gone
                        // A connection that is closed while the client sends may take the good-bye with it.
                        discard(stream).await;
                    }
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(CLOSE_MS_MAX), good_bye).await; // it has had its time
    }
}

/// The text of a frame; nothing where it is one of the protocol below.
fn text(frame: Option<Result<Frame, Error>>) -> Flow<Option<Utf8Bytes>> {
    match frame {
        Some(Ok(Frame::Text(text))) => Flow::Continue(Some(text)),
        Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => Flow::Continue(None),
        Some(Ok(Frame::Binary(_))) => Flow::Break(policy("a binary frame; send JSON as text")),
        Some(Err(Error::Capacity(_))) => Flow::Break(policy(&format!("a frame of more than {FRAME_BYTES_MAX} bytes"))),
        Some(Err(Error::Utf8(_))) => {
            Flow::Break(Ending::Close(CloseCode::Invalid, "a text frame that is no UTF-8".into()))
        }
        Some(Err(Error::Protocol(_))) => Flow::Break(Ending::Close(CloseCode::Protocol, "a frame that is none".into())),
        None | Some(Ok(Frame::Close(_)) | Err(_)) => Flow::Break(Ending::Left),
    }
}

fn policy(reason: &str) -> Ending {
    Ending::Close(CloseCode::Policy, reason.to_owned())
}

fn no_object() -> Ending {
    policy("a frame that is no JSON object")
}

fn restarting() -> Ending {
    Ending::Close(CloseCode::Away, "the server is stopping".into())
}

/// For the log.
fn why(ending: &Ending) -> &str {
    match ending {
        Ending::Left => "left",
        Ending::Slow => "does not read or answer",
        Ending::Close(_, reason) => reason,
    }
}

/// Until the server is asked to stop.
async fn stopping(stage: &mut watch::Receiver<Stage>) {
    let _ = stage.wait_for(|stage| *stage != Stage::Serving).await; // without a sender it has stopped
}

/// What the work has left to say; never, where there is none.
async fn finished(work: &mut Option<JoinHandle<Vec<Output>>>) -> Vec<Output> {
    match work {
        Some(work) => work.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

/// Reads what a client still sends, until it goes.
async fn discard(mut stream: impl AsyncRead + Unpin) {
    let (mut bytes, mut read) = ([0; 1024], 0);
    while let Ok(more @ 1..) = stream.read(&mut bytes).await {
        read += more;
        if read > DISCARD_BYTES_MAX {
            return;
        }
    }
}

/// When a client is to be pinged, and when it has been silent for too long.
#[derive(Debug)]
struct Pulse {
    heard: Instant,
    pinged: Instant,
}

#[derive(Debug, PartialEq)]
enum Beat {
    Ping,
    Silent,
}

impl Pulse {
    fn new(now: Instant) -> Self {
        Self { heard: now, pinged: now }
    }

    fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When to look next.
    fn next(&self) -> Instant {
        (self.pinged + Duration::from_millis(PING_MS)).min(self.heard + Duration::from_millis(SILENCE_MS_MAX))
    }

    /// What is due now that the time of `next` has come.
    fn beat(&mut self, now: Instant) -> Beat {
        if now.saturating_duration_since(self.heard) >= Duration::from_millis(SILENCE_MS_MAX) {
            return Beat::Silent;
        }
        self.pinged = now;
        Beat::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_pinged_until_it_has_been_silent_for_too_long() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        let mut beats = Vec::new();
        let mut run = |pulse: &mut Pulse, until: Beat| loop {
            let now = pulse.next();
            let beat = pulse.beat(now);
            beats.push((now - start).as_secs());
            if beat == until {
                break;
            }
        };
        run(&mut pulse, Beat::Ping);
        pulse.heard(start + Duration::from_secs(31));
        run(&mut pulse, Beat::Silent);
        assert_eq!(beats, [30, 60, 90, 120, 121]);
    }
}
