//! Chat rooms of `palisade serve`, from outside: `demo/ROOM.md` by a WebSocket client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Server;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

const KIND: &str = "You are all very kind, and I thank you.";
const RUDE: &str = "You are an idiot.";
/// What is blocked: the policy blocks what surely is profane.
const FOUL: &str = "What the fuck is this shit?";
const POLICIES: &str = "[policies.room]\nreview = \"release\"\nblock = { PROFANITY = 0.6 }\n";

fn id(number: u64) -> String {
    format!("00000000-0000-0000-0000-{number:012x}")
}

/// Somebody in a room, or at its door.
struct Client {
    socket: WebSocket<TcpStream>,
}

impl Client {
    /// Opens a WebSocket; the status where that is refused.
    fn try_open(server: &Server, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "palisade-room-1".parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream.set_nodelay(true).unwrap();
        match tokio_tungstenite::tungstenite::client(request, stream) {
            Ok((socket, response)) => {
                assert_eq!(response.headers()["sec-websocket-protocol"], "palisade-room-1");
                Ok(Self { socket })
            }
            Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    fn open(server: &Server, room: &str) -> Self {
        Self::try_open(server, &format!("/v1/rooms/{room}"), &[]).unwrap()
    }

    /// Joins as somebody, and gives what the room says to that.
    fn join(server: &Server, room: &str, number: u64, role: &str) -> (Self, Value) {
        let mut client = Self::open(server, room);
        client.send(&join(number, role, None));
        let joined = client.hear();
        assert_eq!(joined["type"], "joined", "{joined}");
        (client, joined)
    }

    fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).unwrap();
    }

    /// Sends a text under an id.
    fn say(&mut self, number: u64, text: &str) {
        self.send(&message(number, text));
    }

    /// The next message of the room.
    fn hear(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other}"),
            }
        }
    }

    /// The next message of a type.
    fn hear_of(&mut self, kind: &str) -> Value {
        loop {
            let heard = self.hear();
            if heard["type"] == kind {
                return heard;
            }
        }
    }

    /// The code that the server closes with, after what it still says.
    fn closed(&mut self) -> u16 {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.unwrap().code.into(),
                Ok(_) => {}
                Err(error) => panic!("no good-bye: {error}"),
            }
        }
    }
}

fn join(number: u64, role: &str, key: Option<&str>) -> Value {
    json!({"type": "join", "client": id(number), "name": format!("P{number}"), "role": role, "key": key})
}

fn message(number: u64, text: &str) -> Value {
    json!({"type": "message", "id": id(number), "text": text, "nudged": false, "browser": null})
}

fn moderate(number: u64, action: &str) -> Value {
    json!({"type": "moderate", "id": id(number), "action": action})
}

/// State and text of the message in what was heard.
fn seen(heard: &Value) -> (&str, Option<&str>) {
    (heard["message"]["state"].as_str().unwrap_or_else(|| panic!("{heard}")), heard["message"]["text"].as_str())
}

fn start(arguments: &[&str]) -> Server {
    Server::start(&[&["--feedback", "off", "--site", "off"], arguments].concat())
}

#[test]
fn people_chat_and_a_moderator_decides() {
    let folder = tempfile::tempdir().unwrap();
    let (policies, feedback) = (folder.path().join("policies.toml"), folder.path().join("feedback.sqlite"));
    std::fs::write(&policies, POLICIES).unwrap();
    let (policies, feedback) = (policies.to_str().unwrap(), feedback.to_str().unwrap());
    let server = Server::start(&["--site", "off", "--policies", policies, "--feedback", feedback]);
    let (mut ana, joined) = Client::join(&server, "general", 1, "member");
    assert_eq!((&joined["room"], &joined["you"]["name"]), (&json!("general"), &json!("P1")));
    let profanity = joined["policy"].as_array().unwrap().iter().find(|judged| judged["label"] == "PROFANITY").unwrap();
    assert_eq!(profanity["block"], 0.6);
    let (mut bo, joined) = Client::join(&server, "general", 2, "member");
    assert_eq!(joined["people"].as_array().unwrap().len(), 2);
    let (mut mo, as_moderator) = Client::join(&server, "general", 3, "moderator");
    assert_eq!(ana.hear()["people"].as_array().unwrap().len(), 2);
    assert_eq!(ana.hear()["people"][2], as_moderator["you"]);
    // What a client knows itself by is told to nobody, or anybody could come as it.
    let public = as_moderator["you"]["client"].as_str().unwrap();
    assert_eq!((public.len(), &as_moderator["you"]["name"]), (32, &json!("P3")));
    bo.hear();

    ana.say(1, KIND);
    for client in [&mut ana, &mut bo, &mut mo] {
        let heard = client.hear();
        assert_eq!(seen(&heard), ("shown", Some(KIND)));
        assert_eq!(heard["message"]["server"]["verdict"], "allow");
        assert_eq!(heard["message"]["server"]["release"], joined["release"]);
    }
    ana.say(2, RUDE);
    ana.say(3, FOUL);
    for client in [&mut ana, &mut mo] {
        let (rude, foul) = (client.hear(), client.hear());
        assert_eq!((seen(&rude), seen(&foul)), (("held", Some(RUDE)), ("blocked", Some(FOUL))));
        let moderated = server.post("/v1/moderate", &json!({"texts": [RUDE], "policy": "room"}).to_string()).json();
        for member in ["verdict", "fired", "scores"] {
            assert_eq!(rude["message"]["server"][member], moderated["results"][0][member], "{member}");
        }
    }
    mo.send(&moderate(2, "approve"));
    for client in [&mut ana, &mut bo, &mut mo] {
        let heard = client.hear();
        assert_eq!(seen(&heard), ("shown", Some(RUDE)));
        assert_eq!(heard["message"]["moderation"]["feedback"], "kept");
    }
    mo.send(&moderate(2, "remove"));
    for (client, text) in [(&mut ana, None), (&mut bo, None), (&mut mo, Some(RUDE))] {
        assert_eq!(seen(&client.hear()), ("removed", text));
    }
    mo.send(&moderate(1, "remove"));
    assert_eq!(seen(&mo.hear()), ("removed", Some(KIND)));
    // The last word counts; the store knows it already.
    mo.send(&moderate(2, "approve"));
    assert_eq!(mo.hear()["message"]["moderation"]["feedback"], "repeated");

    let metrics = server.get("/metrics").text();
    for line in [
        "palisade_rooms 1",
        "palisade_room_people 3",
        "palisade_room_messages_total{state=\"shown\"} 3",
        "palisade_room_messages_total{state=\"held\"} 1",
        "palisade_room_messages_total{state=\"blocked\"} 1",
        "palisade_room_messages_total{state=\"removed\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    drop((ana, bo, mo));
    let (status, log) = server.stop();
    assert_eq!(status, Some(0), "{log}");
    for text in ["kind", "idiot", "fuck", &id(1)] {
        assert!(!log.contains(text), "{text:?} is in the log");
    }
    for part in ["\"room\":\"general\"", "\"verdict\":\"block\"", "\"state\":\"held\"", "\"text_bytes\":17"] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    feedback_is_kept(feedback, public);
}

fn feedback_is_kept(file: &str, by: &str) {
    let export = Command::new(env!("CARGO_BIN_EXE_palisade")).args(["feedback", "export", "--feedback", file]).output();
    let export = String::from_utf8(export.unwrap().stdout).unwrap();
    let kept: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |text: &str, score: f64| {
        let is_it = |kept: &&Value| kept["text"] == text && kept["scores"][0]["score"] == score;
        kept.iter().find(is_it).unwrap_or_else(|| panic!("{text} {score} is not in {export}"))
    };
    assert_eq!(kept.len(), 3, "{export}");
    let (approved, removed, unfired) = (of(RUDE, 0.0), of(RUDE, 1.0), of(KIND, 1.0));
    assert_eq!(approved["community_id"], "room:general");
    assert_eq!((&approved["client_token"], &approved["session_id"]), (&json!(id(2)), &json!(by)));
    assert!(removed["scores"].as_array().unwrap().iter().any(|score| score["label"] == "INSULT"), "{removed}");
    assert_eq!(unfired["scores"].as_array().unwrap().len(), 1);
    assert_eq!(unfired["scores"][0]["label"], "TOXICITY");
}

#[test]
fn the_door_is_open_to_this_servers_own_pages() {
    let server = start(&["--public-url", "https://chat.example.org"]);
    let room = "/v1/rooms/general";
    let own = format!("http://{}", server.address);
    for (path, headers, status) in [
        (room, vec![("origin", own.as_str())], None),
        (room, vec![("origin", "https://chat.example.org")], None),
        (room, vec![], None),
        ("/v1/rooms/general?x=1", vec![], None),
        (room, vec![("origin", "https://evil.example")], Some(403)),
        (room, vec![("origin", "http://127.0.0.1:1")], Some(403)),
        (room, vec![("origin", "null")], Some(403)),
        (room, vec![("sec-websocket-protocol", "chat")], Some(426)),
        (room, vec![("sec-websocket-version", "8")], Some(426)),
        ("/v1/rooms/", vec![], Some(404)),
        ("/v1/rooms", vec![], Some(404)),
        ("/v1/rooms/General", vec![], Some(404)),
        ("/v1/rooms/a/b", vec![], Some(404)),
        ("/v1/rooms/-a", vec![], Some(404)),
    ] {
        assert_eq!(Client::try_open(&server, path, &headers).err(), status, "{path} {headers:?}");
    }
    let plain = server.get(room);
    assert_eq!((plain.status, plain.header("upgrade")), (426, Some("websocket")));
    assert_eq!(server.post(room, "").status, 405);
    server.stop();
    let server = start(&["--rooms-max", "0"]);
    assert_eq!(Client::try_open(&server, room, &[]).err(), Some(404));
    server.stop();
}

#[test]
fn a_repeated_message_is_answered_and_a_lost_connection_goes_on() {
    let server = start(&[]);
    let (mut ana, _) = Client::join(&server, "general", 1, "member");
    let (mut bo, _) = Client::join(&server, "general", 2, "member");
    ana.say(1, RUDE);
    let first = ana.hear_of("message");
    ana.say(1, RUDE);
    assert_eq!(ana.hear(), first);
    let texts = |server: &Server| {
        let metrics = server.get("/metrics").text();
        metrics.lines().find(|line| line.starts_with("palisade_texts_total")).unwrap().to_owned()
    };
    assert_eq!(texts(&server), "palisade_texts_total 1");
    for (client, text) in [(&mut ana, KIND), (&mut bo, RUDE)] {
        client.say(1, text);
        let error = client.hear_of("error");
        assert_eq!((&error["code"], &error["id"]), (&json!("id-taken"), &json!(id(1))));
    }
    // The network is gone, not the client.
    drop(ana);
    let (mut ana, joined) = Client::join(&server, "general", 1, "member");
    assert_eq!(joined["history"], json!([first["message"]]));
    ana.say(1, RUDE);
    assert_eq!(ana.hear_of("message"), first);
    assert_eq!(Client::join(&server, "general", 4, "member").1["history"], json!([]));
    assert_eq!(Client::join(&server, "other", 1, "moderator").1["history"], json!([]));
    ana.send(&json!({"type": "leave"}));
    assert_eq!(ana.closed(), 1000);
    server.stop();
}

#[test]
fn what_is_refused_says_why_and_what_is_no_room_talk_closes() {
    let server = start(&[]);
    let (mut ana, _) = Client::join(&server, "general", 1, "member");
    for (sent, code, about) in [
        (json!({"type": "shout"}), "invalid", json!(null)),
        (json!({"type": "message", "id": id(1), "text": 5}), "invalid", json!(id(1))),
        (message(1, " \n"), "invalid", json!(id(1))),
        (message(1, &"x".repeat(4001)), "too-large", json!(id(1))),
        (moderate(1, "approve"), "unauthorised", json!(id(1))),
        (join(1, "moderator", None), "invalid", json!(null)),
    ] {
        ana.send(&sent);
        let error = ana.hear();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{sent}: {error}");
        assert_eq!(error["id"], about, "{sent}: {error}");
    }
    for number in 1..=11 {
        ana.say(number, "hello");
    }
    for number in 1..=10 {
        assert_eq!(ana.hear_of("message")["message"]["sequence"], number);
    }
    let error = ana.hear();
    assert_eq!((&error["code"], &error["id"]), (&json!("too-fast"), &json!(id(11))));
    assert!(error["detail"].as_str().unwrap().contains("more than 10 messages in 10 s; try again in"), "{error}");

    let large = json!({"type": "leave", "much": "x".repeat(65_536)}).to_string();
    for frame in [Message::text("[]"), Message::text("no JSON"), Message::binary(&b"{}"[..]), Message::text(large)] {
        let (mut client, _) = Client::join(&server, "general", 2, "member");
        client.socket.send(frame).unwrap();
        assert_eq!(client.closed(), 1008);
    }
    server.stop();
}

#[test]
fn who_does_not_join_is_not_let_in() {
    let server = start(&[]);
    let started = Instant::now();
    let mut silent = Client::open(&server, "general");
    for (first, code) in [
        (message(1, "hello"), "not-joined"),
        (json!({"type": "join", "client": id(1), "name": "", "role": "member"}), "invalid"),
        (json!({"type": "join", "client": "ana", "name": "Ana", "role": "member"}), "invalid"),
        (json!({"type": "join", "client": id(1), "name": "Ana", "role": "king"}), "invalid"),
    ] {
        let mut client = Client::open(&server, "general");
        client.send(&first);
        assert_eq!(client.hear()["code"], code, "{first}");
        assert_eq!(client.closed(), 1008);
    }
    assert_eq!(silent.hear()["code"], "not-joined");
    assert_eq!(silent.closed(), 1008);
    let waited = started.elapsed();
    assert!(waited.as_secs() >= 9, "{waited:?}");
    server.stop();
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_holds_nobody_up() {
    let server = start(&[]);
    let (mut slow, _) = Client::join(&server, "general", 1, "member");
    let (mut bo, _) = Client::join(&server, "general", 2, "member");
    let long = format!("{KIND} {}", "x".repeat(3_900));
    slow.say(1, &long);
    assert_eq!(seen(&slow.hear_of("message")), ("shown", Some(long.as_str())));
    bo.hear_of("message");
    // Asks for so many answers that no buffer holds them, and reads none.
    slow.socket.get_mut().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let again = message(1, &long).to_string();
    let stuck = (0..20_000).any(|_| slow.socket.send(Message::text(again.clone())).is_err());
    assert!(stuck, "the server takes without giving");
    bo.say(2, KIND);
    assert_eq!(seen(&bo.hear()), ("shown", Some(KIND)));
    let people = bo.hear_of("people");
    assert_eq!(people["people"].as_array().unwrap().len(), 1, "{people}");
    let (_, log) = server.stop();
    assert!(log.contains("does not read or answer"), "{log}");
}

#[test]
fn a_client_is_pinged_and_its_answer_is_enough() {
    let server = start(&[]);
    let started = Instant::now();
    let (mut ana, _) = Client::join(&server, "general", 1, "member");
    assert!(matches!(ana.socket.read().unwrap(), Message::Ping(_)));
    let waited = started.elapsed();
    assert!(waited.as_secs() >= 29, "{waited:?}");
    ana.say(1, KIND);
    assert_eq!(seen(&ana.hear()), ("shown", Some(KIND)));
    server.stop();
}

#[test]
fn keys_are_asked_for_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    let made = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(["key", "new", "forum", "--requests-per-minute", "3"])
        .output()
        .unwrap();
    let guards = ["key", "new", "guards", "--moderates"];
    let guards = Command::new(env!("CARGO_BIN_EXE_palisade")).args(guards).output().unwrap();
    std::fs::write(&keys, [made.stdout, guards.stdout].concat()).unwrap();
    let (told, guards) = (String::from_utf8(made.stderr).unwrap(), String::from_utf8(guards.stderr).unwrap());
    let of = |told: &str| told.split_whitespace().find(|word| word.starts_with("palisade-")).unwrap().to_owned();
    let (key, guards) = (&*of(&told), &*of(&guards));
    let server = start(&["--keys", keys.to_str().unwrap()]);
    for wrong in [None, Some(""), Some("guess")] {
        for role in ["member", "moderator"] {
            let mut client = Client::open(&server, "general");
            client.send(&join(1, role, wrong));
            assert_eq!(client.hear()["code"], "unauthorised");
            assert_eq!(client.closed(), 1008);
        }
    }
    // Not everybody who may write may moderate.
    let mut ana = Client::open(&server, "general");
    ana.send(&join(1, "moderator", Some(guards)));
    assert_eq!(ana.hear()["you"]["role"], "moderator");
    let mut ana = Client::open(&server, "general");
    ana.send(&join(1, "moderator", Some(key)));
    let refused = ana.hear();
    assert_eq!(refused["code"], "unauthorised");
    assert!(refused["detail"].as_str().unwrap().contains("moderates = true"), "{refused}");
    assert_eq!(ana.closed(), 1008);
    server.stop();
    let server = start(&["--keys", keys.to_str().unwrap()]); // with the count at its start
    let mut ana = Client::open(&server, "general");
    ana.send(&join(1, "member", Some(key)));
    assert_eq!(ana.hear()["type"], "joined");
    ana.say(1, "hello");
    ana.say(1, "hello"); // is not counted
    ana.say(2, "hello");
    ana.say(3, "hello");
    for _ in 1..=3 {
        ana.hear_of("message");
    }
    let error = ana.hear();
    assert_eq!((&error["code"], &error["id"]), (&json!("too-fast"), &json!(id(3))));
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.contains("more than 3 requests in a minute") && detail.contains("try again in"), "{detail}");
    let (_, log) = server.stop();
    assert!(!log.contains(key), "the key is in the log");
    assert!(log.contains("\"key\":\"forum\""), "{log}");
}

#[test]
fn a_room_holds_its_places_among_the_connections() {
    let server = start(&["--connections-max", "2"]);
    let (ana, _) = Client::join(&server, "general", 1, "member");
    let (_bo, _) = Client::join(&server, "general", 2, "member");
    // Who sends nothing loses nothing of the refusal when the connection is closed.
    let mut refused = Vec::new();
    TcpStream::connect(server.address).unwrap().read_to_end(&mut refused).unwrap();
    assert!(String::from_utf8_lossy(&refused).contains("connections-max is reached"));
    drop(ana);
    let started = Instant::now();
    while !is_well(&server) {
        assert!(started.elapsed() < Duration::from_mins(2), "the place is not given back");
    }
    server.stop();
}

/// Whether the server answers; a refusal may be lost on the way.
fn is_well(server: &Server) -> bool {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let mut answer = Vec::new();
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    asked.and_then(|()| stream.read_to_end(&mut answer)).is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

#[test]
fn sigterm_closes_rooms_and_what_was_sent_is_judged() {
    let server = start(&["--workers", "1", "--queue-ms-max", "60000", "--request-ms-max", "60000"]);
    let (mut ana, _) = Client::join(&server, "general", 1, "member");
    let mut outside = Client::open(&server, "general");
    ana.say(1, &"You are all very kind. ".repeat(150));
    ana.say(2, KIND); // comes too late, or not
    let started = Instant::now();
    let is_judged = |metrics: &str| {
        metrics.lines().any(|line| line.strip_prefix("palisade_queue_wait_seconds_count ").is_some_and(|n| n != "0"))
    };
    while !is_judged(&server.get("/metrics").text()) {
        assert!(started.elapsed() < Duration::from_mins(2), "nothing is judged");
    }
    server.signal();
    assert_eq!(seen(&ana.hear_of("message")).0, "shown");
    assert_eq!((ana.closed(), outside.closed()), (1001, 1001));
    let (status, log) = server.stop();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("everything was answered"), "{log}");
}
