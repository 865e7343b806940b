//! `palisade serve` from outside: faults of the component, limits, settings. Real clients are in `conformance/clients`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Server, beside_program, command, parse};

fn misbehaving(arguments: &[&str]) -> Server {
    let edge = beside_program("palisade-misbehaving.wasm");
    Server::start(&[&["--edge", edge.to_str().unwrap(), "--feedback", "off"], arguments].concat())
}

/// What `serve` says where it does not start.
fn refused(arguments: &[&str]) -> (i32, String) {
    let ended = command(arguments).stdin(Stdio::null()).output().unwrap();
    (ended.status.code().unwrap(), String::from_utf8(ended.stderr).unwrap())
}

#[test]
fn a_component_that_fails_costs_its_own_request_only() {
    let server = misbehaving(&["--request-ms-max", "60000"]);
    for (path, words) in [
        ("/trap-before", "unreachable"),
        // The answer is taken whole, so half of one is never sent.
        ("/trap-after", "unreachable"),
        ("/no-end", "resource has children"),
        ("/no-answer", "ended without an answer"),
        ("/huge-body", "16777216 bytes"),
        ("/huge-memory", "67108864 bytes of memory"),
        ("/deep-recursion", "call stack exhausted"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 500, "{path}: {}", answer.text());
        assert!(answer.json()["detail"].as_str().unwrap().contains(words), "{path}: {}", answer.text());
        assert_eq!(server.get("/well").text(), "well", "after {path}");
    }
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn components_that_loop_do_not_hold_up_the_others() {
    let server = misbehaving(&["--request-ms-max", "10000"]);
    let address = server.address;
    let request = b"GET /loop HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let loops: Vec<_> = (0..16).map(|_| std::thread::spawn(move || support::send(address, request))).collect();
    let mut answered = 0;
    loop {
        assert_eq!(server.get("/well").status, 200);
        assert_eq!(server.get("/healthz").status, 200);
        if loops.iter().any(std::thread::JoinHandle::is_finished) {
            break;
        }
        answered += 1;
    }
    assert!(answered >= 1, "no request was answered while the components looped");
    for looping in loops {
        let answer = looping.join().unwrap();
        assert_eq!(answer.status, 504);
        assert!(answer.text().contains("request-ms-max"), "{}", answer.text());
    }
    server.stop();
}

/// A batch that takes a worker some seconds.
fn long_batch() -> String {
    json!({"texts": vec!["You are all very kind, and I thank you. ".repeat(30); 16]}).to_string()
}

#[test]
fn work_that_was_given_up_keeps_its_place_until_it_ends() {
    let server =
        Server::start(&["--feedback", "off", "--workers", "1", "--request-ms-max", "100", "--queue-ms-max", "10"]);
    let sentence = "You are all very kind, and I thank you very much for all of it, as always".to_owned() + ". ";
    let body = json!({"texts": [sentence.repeat(40)], "spans": true, "words": true}).to_string();
    let statuses: Vec<u16> = (0..8).map(|_| server.post("/v1/moderate", &body).status).collect();
    // One takes the one worker for much longer than it is waited for, so the next ones find no turn. On a busy machine some may be given
    // up before their turn.
    let without_turn = statuses.iter().position(|status| *status == 503);
    assert!(
        without_turn.is_some_and(|first| first > 0 && statuses[..first].iter().all(|it| *it == 504)),
        "{statuses:?}"
    );
    server.stop();
}

#[test]
fn a_batch_waits_in_the_queue_as_one_request() {
    let server = Server::start(&[
        "--feedback",
        "off",
        "--workers",
        "2",
        "--queue-max",
        "1",
        "--queue-ms-max",
        "60000",
        "--request-ms-max",
        "60000",
    ]);
    let address = server.address;
    let (long, short) = (long_batch(), json!({"texts": ["a", "b", "c"]}).to_string());
    let send = move |body: &str| {
        let length = body.len();
        let head =
            format!("POST /v1/moderate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        support::send(address, &[head.as_bytes(), body.as_bytes()].concat()).status
    };
    let busy = std::thread::spawn(move || send(&long));
    assert_eq!(send(&short), 200);
    assert_eq!(busy.join().unwrap(), 200);
    server.stop();
}

#[test]
fn sigterm_waits_for_what_was_accepted() {
    let server = Server::start(&["--feedback", "off", "--queue-ms-max", "60000", "--request-ms-max", "60000"]);
    let address = server.address;
    let body = long_batch();
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "POST /v1/moderate HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .unwrap();
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                parse(&bytes)
            })
        })
        .collect();
    // All are accepted: at work, or answered.
    let accepted = || -> u32 {
        let metrics = server.get("/metrics").text();
        let counted = ["palisade_endpoint_instances ", "palisade_http_requests_total{"];
        let lines = metrics.lines().filter(|line| counted.iter().any(|name| line.starts_with(name)));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()).sum()
    };
    while accepted() < 6 {}
    server.signal(); // some supervisors send it twice
    let (status, log) = server.stop();
    assert_eq!(status, Some(0), "{log}");
    for client in clients {
        let answer = client.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(log.contains("everything was answered"), "{log}");
    assert!(!log.contains("very kind"), "a text is in the log");
    TcpStream::connect(address).expect_err("the door is shut");
}

#[test]
fn a_client_that_closes_its_side_gets_its_answer_and_one_that_goes_harms_nobody() {
    let server = Server::start(&["--feedback", "off"]);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(b"POST /v1/moderate HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n{").unwrap();
    }
    // `post` shuts the sending side down.
    let answer = server.post("/v1/moderate", "{\"texts\": [\"hello\"]}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let old = server.send(b"GET /docs HTTP/1.0\r\n\r\n");
    assert_eq!(old.status, 200);
    let garbage = server.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n");
    assert_eq!(garbage.status, 400);
    server.stop();
}

#[test]
fn limits_are_named_where_they_are_hit() {
    let server = Server::start(&[
        "--feedback",
        "off",
        "--body-bytes-max",
        "2000",
        "--body-ms-max",
        "200",
        "--connections-max",
        "8",
    ]);
    let too_large = server.post("/v1/moderations", &"x".repeat(2001));
    assert_eq!(too_large.status, 413);
    assert_eq!(too_large.json()["error"]["code"], "request_too_large");

    let mut slow = TcpStream::connect(server.address).unwrap();
    slow.write_all(b"POST /v1alpha1/comments:analyze HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{").unwrap();
    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes).unwrap();
    let answer = parse(&bytes);
    assert_eq!(answer.status, 408, "{}", answer.text());
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("200 ms"), "{}", answer.text());

    let mut connections: Vec<TcpStream> = (0..9).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let mut bytes = Vec::new();
    let ninth = connections.last_mut().unwrap();
    ninth.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
    ninth.read_to_end(&mut bytes).unwrap();
    let answer = parse(&bytes);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.text().contains("connections-max"), "{}", answer.text());
    drop(connections);
    server.stop();
}

#[test]
fn a_full_queue_refuses_at_once() {
    let server = Server::start(&[
        "--feedback",
        "off",
        "--workers",
        "1",
        "--queue-max",
        "1",
        "--queue-ms-max",
        "30000",
        "--request-ms-max",
        "30000",
    ]);
    let address = server.address;
    let body = json!({"texts": vec!["You are all very kind. ".repeat(50); 16]}).to_string();
    let request = format!(
        "POST /v1/moderate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let request = request.clone();
            std::thread::spawn(move || support::send(address, request.as_bytes()))
        })
        .collect();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty() && refused.len() < 6, "{} of 6 were refused", refused.len());
    for answer in refused {
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.json()["detail"].as_str().unwrap().contains("queue-max = 1"), "{}", answer.text());
    }
    server.stop();
}

#[test]
fn settings_come_from_flags_then_the_environment_then_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("palisade.toml");
    std::fs::write(&config, "public-url = \"http://file\"\nbody-bytes-max = 1024\nfeedback = \"off\"\nworkers = 1\n")
        .unwrap();
    let config = config.to_str().unwrap();
    let root_url = |server: &Server| server.get("/$discovery/rest").json()["rootUrl"].as_str().unwrap().to_owned();

    let server = Server::start(&["--config", config]);
    assert_eq!(root_url(&server), "http://file/");
    assert_eq!(server.post("/v1/moderate", &" ".repeat(1025)).status, 413);
    server.stop();
    let server = Server::start(&["--config", config, "--public-url", "http://flag/"]);
    assert_eq!(root_url(&server), "http://flag/");
    server.stop();
}

#[test]
fn what_is_wrong_is_told_before_listening() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let policies = file("policies.toml", "[policies.a]\nreview = { TOXICTY = 0.5 }\n");
    let keys = file("keys.toml", "[[key]]\nname = \"a\"\nsha256 = \"1\"\n");
    let config = file("palisade.toml", "workers = 1\nquue-max = 3\n");
    let range = file("range.toml", "workers = 1000\n");
    let no_component = file("edge.wasm", "no component");
    let default = beside_program("palisade-default.wasm");
    for (arguments, words) in [
        (["--policies", &policies], "line 2 column 12: the release has no label TOXICTY; it has TOXICITY"),
        (["--listen", "localhost:80"], "like 127.0.0.1:8080"),
        (["--keys", "no-such-file"], "no-such-file: API keys: No such file"),
        (["--keys", &keys], "line 3 column 10: sha256 must be 64 hexadecimal digits"),
        (["--config", &config], "line 2 column 1: unknown field `quue-max`"),
        (["--config", &range], "workers is 1000, and must be from 1 to 256"),
        (["--queue-max", "18446744073709551615"], "must be from 0 to 4096"),
        (["--connections-max", "0"], "must be from 1 to 65536"),
        (["--body-bytes-max", "5000000000"], "must be from 1 to 8388608"),
        (["--request-ms-max", "0"], "must be from 1 to 600000"),
        (["--edge", &no_component], "not a WebAssembly component"),
        (["--edge", default.to_str().unwrap()], "does not give wasi:http/incoming-handler@0.2"),
        (["--public-url", "example.org"], "write it like https://"),
        (["--cors-origin", "example.org"], "is no origin"),
        (["--cors-origin", "https://example.org/path"], "is no origin"),
        (["--listen", "192.0.2.1:80"], "cannot listen on 192.0.2.1:80"),
    ] {
        let (status, said) = refused(&[&arguments[..], &["--feedback", "off"]].concat());
        assert_eq!(status, 2, "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let ended = command(&[])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector")
        .args(["--feedback", "off"])
        .output()
        .unwrap();
    assert!(String::from_utf8(ended.stderr).unwrap().contains("over plain HTTP only"));
}

#[test]
fn feedback_is_kept_once_and_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state").join("feedback.sqlite");
    let file = file.to_str().unwrap();
    let body = json!({
        "comment": {"text": "You 😀 idiot"}, "communityId": "Coral:x", "languages": ["en"],
        "attributeScores": {"INSULT": {"summaryScore": {"value": 1}, "spanScores": [{"begin": 4, "end": 6, "score": {"value": 0}}]}},
    });
    let export = || -> Vec<Value> {
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(["feedback", "export", "--feedback", file])
            .output()
            .unwrap();
        String::from_utf8(ended.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for _ in 0..2 {
        // The second server finds what the first has kept.
        let server = Server::start(&["--feedback", file]);
        for _ in 0..2 {
            assert_eq!(server.post("/v1alpha1/comments:suggestscore", &body.to_string()).status, 200);
        }
        let kept = export(); // while the server runs
        assert_eq!(kept.len(), 1, "{kept:?}");
        server.stop();
    }
    let kept = export();
    assert_eq!(kept[0]["text"], "You 😀 idiot");
    assert_eq!(kept[0]["community_id"], "Coral:x");
    assert_eq!(
        kept[0]["scores"],
        json!([
            {"label": "INSULT", "score": 1.0, "start": null, "end": null},
            {"label": "INSULT", "score": 0.0, "start": 4, "end": 6},
        ])
    );
    let server = Server::start(&["--feedback", "off"]);
    assert_eq!(server.post("/v1alpha1/comments:suggestscore", &body.to_string()).status, 200);
    server.stop();
}

#[test]
fn a_fresh_instance_for_each_text_gives_the_same_scores() {
    let body = json!({"texts": ["You are an idiot.", "Thank you.", "I will find you."], "spans": true}).to_string();
    let answers: Vec<Value> = ["1", "1000"]
        .iter()
        .map(|calls| {
            let server = Server::start(&["--feedback", "off", "--instance-calls-max", calls]);
            let answer = server.post("/v1/moderate", &body).json()["results"].clone();
            server.stop();
            answer
        })
        .collect();
    assert_eq!(answers[0], answers[1]);
}
