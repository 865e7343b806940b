//! Releases from outside: `palisade model`, and `palisade serve` that follows an alias.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::float_cmp, clippy::print_stdout, reason = "counts are whole numbers; what was measured is told")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Server;

const MODEL: &str = "english-toxicity-small";

/// Longest wait for anything, on a machine that others use too.
const TIME_MAX: Duration = Duration::from_mins(10);

/// Where a test works: a registry and folders of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn registry(&self) -> String {
        self.path("registry").display().to_string()
    }

    /// `palisade` with this place's registry.
    fn palisade(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PALISADE_")) {
            command.env_remove(name);
        }
        command.args(arguments).env("PALISADE_REGISTRY", self.registry()).env("PALISADE_WHO", "ann");
        command
    }

    /// What a command that must succeed prints.
    fn run(&self, arguments: &[&str]) -> String {
        let ended = self.palisade(arguments);
        let (out, err) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
        assert_eq!(ended.status.code(), Some(0), "palisade {}: {err}", arguments.join(" "));
        out
    }

    /// What a command that must fail says.
    fn fails(&self, arguments: &[&str]) -> String {
        let ended = self.palisade(arguments);
        assert_eq!(ended.status.code(), Some(2), "{}", String::from_utf8_lossy(&ended.stdout));
        String::from_utf8(ended.stderr).unwrap()
    }

    /// The small release as another version; each has a digest of its own.
    fn release(&self, version: &str) -> PathBuf {
        let folder = self.path(version);
        std::fs::create_dir(&folder).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("models").join(MODEL);
        for file in ["release.json", "model.onnx", "tokenizer.json", "metrics.json", "README.md"] {
            std::fs::copy(source.join(file), folder.join(file)).unwrap();
        }
        let manifest = std::fs::read_to_string(folder.join("release.json")).unwrap();
        let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
        manifest["version"] = version.into();
        std::fs::write(folder.join("release.json"), serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
        folder
    }

    fn publish(&self, version: &str, arguments: &[&str]) -> String {
        let folder = self.release(version);
        self.run(&[&["model", "publish", folder.to_str().unwrap()], arguments].concat())
    }

    fn promote(&self, version: &str) {
        self.run(&["model", "promote", &format!("{MODEL}@{version}")]);
    }

    fn serve(&self, arguments: &[&str]) -> Server {
        let (registry, releases) = (self.registry(), self.path("releases"));
        let champion = format!("{MODEL}@champion");
        let ours = ["--model", &champion, "--registry", &registry, "--releases", releases.to_str().unwrap()];
        // What is refused here must not be so because the machine is busy.
        let patient = ["--queue-ms-max", "60000", "--request-ms-max", "60000", "--call-ms-max", "60000"];
        Server::start(&[&ours[..], &["--poll-s", "1", "--feedback", "off"], &patient, arguments].concat())
    }
}

/// The release that answers now, as the answer's header names it.
fn serving(server: &Server) -> String {
    let answer = server.post("/v1/moderate", r#"{"texts": ["You are an idiot."]}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let named = answer.header("x-palisade-release").unwrap().to_owned();
    let version = answer.json()["release"]["version"].as_str().unwrap().to_owned();
    assert!(named.starts_with(&format!("{MODEL}@{version}; digest=")), "{named}");
    version
}

/// Waits until a release serves, and gives the time that it took.
fn until_serves(server: &Server, version: &str) -> Duration {
    let started = Instant::now();
    while serving(server) != version {
        assert!(started.elapsed() < TIME_MAX, "{version} never served");
        std::thread::sleep(Duration::from_millis(5));
    }
    started.elapsed()
}

/// A metric of the server, as Prometheus reads it; 0 where there is none.
fn metric(server: &Server, name: &str) -> f64 {
    let metrics = server.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < TIME_MAX, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_server_follows_its_alias_and_loses_no_request() {
    let place = Place::new();
    place.publish("0.3.1", &["--promote", "champion"]);
    place.publish("0.3.2", &["--why", "trained on newer comments"]);
    let server = place.serve(&[]);
    assert_eq!(serving(&server), "0.3.1");
    // A batch that is under way for longer than a swap takes, of which each text is another turn.
    let text = "They did what they could, and nobody thanked them for it. ".repeat(20);
    let batch = serde_json::json!({ "texts": vec![text; 32] }).to_string();
    let (stop, answered, batches) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let version = serving(&server); // checks for 200
                    assert!(["0.3.1", "0.3.2"].contains(&version.as_str()));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let answer = server.post("/v1/moderate", &batch);
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.json()["results"].as_array().unwrap().len(), 32);
                batches.fetch_add(1, Ordering::Relaxed);
            }
        });
        let moves = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            place.promote("0.3.2");
            let first = until_serves(&server, "0.3.2");
            place.run(&["model", "rollback", &format!("{MODEL}@champion"), "--why", "too strict"]);
            let back = until_serves(&server, "0.3.1");
            place.promote("0.3.2");
            println!(
                "moved, compiled and served after {first:?}; rolled back after {back:?}; again {:?}",
                until_serves(&server, "0.3.2")
            );
        }));
        stop.store(true, Ordering::Relaxed);
        moves.unwrap();
    });
    println!("{answered:?} requests and {batches:?} batches answered, none lost");
    assert_eq!(metric(&server, "palisade_releases_taken_total"), 3.0);
    let (status, log) = server.stop();
    assert_eq!(status, Some(0));
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(log.lines().filter(|line| line.contains("the release serves now")).count(), 3, "{log}");
    for version in ["0.3.1", "0.3.2"] {
        assert!(log.contains(&format!(r#""release":"{MODEL}@{version}","#)), "every request's line names the release");
    }
    let history = place.run(&["model", "history", MODEL]);
    let kinds: Vec<&str> = history.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(kinds, ["published", "promoted", "published", "promoted", "rolled-back", "promoted"], "{history}");
}

#[test]
fn a_release_that_scores_otherwise_than_published_is_refused() {
    let place = Place::new();
    place.publish("0.3.1", &["--promote", "champion"]);
    let server = place.serve(&[]);
    let folder = place.release("0.3.2");
    let labels = [
        "TOXICITY",
        "SEVERE_TOXICITY",
        "INSULT",
        "PROFANITY",
        "THREAT",
        "IDENTITY_ATTACK",
        "SEXUALLY_EXPLICIT",
        "SPAM",
        "HATE",
    ];
    let scores: serde_json::Map<String, Value> = labels.iter().map(|&label| (label.to_owned(), 0.25.into())).collect();
    let case =
        serde_json::json!({ "id": "thanks", "text": "Thank you, marigold.", "scores": scores, "truncated": false });
    std::fs::write(folder.join("cases.jsonl"), format!("{case}\n")).unwrap();
    place.run(&["model", "publish", folder.to_str().unwrap(), "--promote", "champion"]);
    until("the release is refused", || metric(&server, "palisade_releases_refused_total") == 1.0);
    assert_eq!(serving(&server), "0.3.1");
    // A good one is taken again.
    place.publish("0.3.3", &["--promote", "champion"]);
    until_serves(&server, "0.3.3");
    let (_, log) = server.stop();
    assert!(log.contains("the release is refused") && log.contains("case \\\"thanks\\\" has TOXICITY"), "{log}");
    assert!(!log.contains("marigold"), "a text is never logged");
}

#[test]
fn a_trust_policy_decides_what_serves() {
    let place = Place::new();
    let (key, policy) = (place.path("team.pem"), place.path("trust.toml"));
    let trust = place.run(&["model", "keygen", key.to_str().unwrap()]);
    std::fs::write(&policy, trust).unwrap();
    let (key, policy) = (key.to_str().unwrap(), policy.to_str().unwrap());
    place.publish("0.3.1", &["--promote", "champion", "--sign-key", key]);
    place.publish("0.3.2", &[]);
    assert!(place.run(&["model", "verify", &format!("{MODEL}@champion"), "--trust", policy]).contains("team"));
    let refused = place.fails(&["model", "verify", &format!("{MODEL}@0.3.2"), "--trust", policy]);
    assert!(refused.contains("0.3.2") && refused.contains("sign"), "{refused}");
    let baked = place.path("baked.wasm");
    let bake = |reference: &str| {
        ["bake", reference, "--trust", policy, "--output", baked.to_str().unwrap()].map(str::to_owned)
    };
    let arguments = |reference: &str| bake(&format!("{MODEL}@{reference}"));
    let refused = place.fails(&arguments("0.3.2").each_ref().map(String::as_str));
    assert!(refused.contains("not signed") && !baked.exists(), "{refused}");
    place.run(&arguments("champion").each_ref().map(String::as_str));
    assert!(baked.exists());
    let server = place.serve(&["--trust", policy]);
    assert_eq!(serving(&server), "0.3.1");
    place.promote("0.3.2"); // by one without the policy
    until("the release is refused", || metric(&server, "palisade_releases_refused_total") == 1.0);
    assert_eq!(serving(&server), "0.3.1");

    // Signed later: by who knows what was published, or finds it signed by somebody who may.
    let version = format!("{MODEL}@0.3.2");
    let sign = ["model", "sign", &version, "--sign-key", key];
    let refused = place.fails(&sign);
    assert!(refused.contains("--digest") && refused.contains("--trust"), "{refused}");
    let refused = |arguments: &[&str]| place.fails(&[&sign[..], arguments].concat());
    assert!(refused(&["--trust", policy]).contains("not signed"));
    assert!(refused(&["--digest", &"0".repeat(64)]).contains("the manifest's SHA-256 is"));
    let shown: Value = serde_json::from_str(&place.run(&["model", "show", &version, "--json"])).unwrap();
    place.run(&[&sign[..], &["--digest", shown["digest"].as_str().unwrap()]].concat());
    place.run(&[&sign[..], &["--trust", policy]].concat());
    place.promote("0.3.1");
    place.promote("0.3.2");
    until_serves(&server, "0.3.2");
    server.stop();

    // Nobody promotes what a policy refuses, by any way.
    let release = place.release("0.3.3");
    let publish = ["model", "publish", release.to_str().unwrap(), "--promote", "champion", "--trust", policy];
    assert!(place.fails(&publish).contains("nothing was published: the trust policy wants signatures"));
    let other = place.path("other.pem");
    place.run(&["model", "keygen", other.to_str().unwrap()]);
    let refused = place.fails(&[&publish[..], &["--sign-key", other.to_str().unwrap()]].concat());
    assert!(
        refused.contains("it was published, and not promoted") && refused.contains("not in the trust policy"),
        "{refused}"
    );
}

#[test]
fn a_challenger_scores_in_the_shadow() {
    let place = Place::new();
    place.publish("0.3.1", &["--promote", "champion"]);
    place.publish("0.3.2", &["--promote", "challenger"]);
    let server = place.serve(&["--shadow-share", "1"]);
    until("the challenger scores", || {
        assert_eq!(serving(&server), "0.3.1");
        metric(&server, "palisade_shadow_texts_total") >= 3.0
    });
    // Counted right behind the texts.
    until("they are flagged", || {
        metric(&server, "palisade_shadow_flagged_total{label=\"TOXICITY\",flagged=\"both\"}") >= 3.0
    });
    assert_eq!(metric(&server, "palisade_shadow_flagged_total{label=\"TOXICITY\",flagged=\"challenger\"}"), 0.0);
    let (_, log) = server.stop();
    let line = log.lines().find(|line| line.contains(r#""message":"shadow""#)).expect(&log);
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["challenger"], format!("{MODEL}@0.3.2"));
    // The same model under another number: the same scores, to the bit.
    assert_eq!(line["scores"], line["challenger_scores"]);
    assert!(!log.contains("You are an idiot"), "a text is never logged");
}

#[test]
fn a_fresh_registry_gets_the_initial_release_and_a_lost_one_does_not_stop_a_start() {
    let place = Place::new();
    let initial = place.release("0.3.1");
    let server = place.serve(&["--initial", initial.to_str().unwrap()]);
    assert_eq!(serving(&server), "0.3.1");
    assert!(place.run(&["model", "list"]).contains("champion"));
    server.stop();
    std::fs::rename(place.path("registry"), place.path("moved")).unwrap();
    let server = place.serve(&[]);
    assert_eq!(serving(&server), "0.3.1");
    let (_, log) = server.stop();
    assert!(log.contains("the release that served last serves again"), "{log}");
}

#[test]
fn a_retired_release_never_serves_again() {
    let place = Place::new();
    place.publish("0.3.1", &[]);
    let (registry, releases) = (place.registry(), place.path("releases"));
    let version = format!("{MODEL}@0.3.1");
    let arguments = ["--model", &version, "--registry", &registry, "--releases", releases.to_str().unwrap()];
    let arguments = [&arguments[..], &["--feedback", "off"]].concat();
    let server = Server::start(&arguments);
    assert_eq!(serving(&server), "0.3.1");
    server.stop();
    place.run(&["model", "retire", &version, "--why", "it likes spam"]);
    let refused = place.fails(&[&["serve", "--listen", "127.0.0.1:0"], &arguments[..]].concat());
    assert!(refused.contains("was retired by ann (it likes spam)"), "{refused}");
}

/// The first block of commands in docs/releases.md, as a reader would type it.
#[test]
fn the_commands_of_the_documentation_work() {
    let place = Place::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let documentation = std::fs::read_to_string(root.join("docs/releases.md")).unwrap();
    let block = documentation.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let block = block.replace(":8090", &format!(":{port}"));
    std::os::unix::fs::symlink(root.join("models"), place.path("models")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_palisade")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(program.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut bash = Command::new("timeout");
    bash.args(["900", "bash", "-euo", "pipefail", "-c", &block]).current_dir(place.folder.path());
    let ended = bash.env("PATH", path.unwrap()).env("PALISADE_CACHE_DIR", place.path("cache")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{out}\n{err}");
    assert!(out.contains("rolled-back") && out.contains("signed by \"team\""), "{out}");
}
