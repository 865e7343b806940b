//! The native engine beside the component: the same answers to the bit, the same refusals, and what it says of artefacts that it
//! cannot run.
//!
//! Needs the baked artefacts beside the program: `cargo xtask component`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::path::Path;

use palisade_host::bindings::{Description, Options};
use palisade_host::{Artefact, Error, Instance, Loaded, Runtime, RuntimeLimits};
use serde_json::{Value, json};

use support::{Server, beside_program, command};

const RELEASES: [&str; 2] = ["palisade-default.wasm", "palisade-small.wasm"];
/// Length of an artefact's last section: its id, its length, its name with a length, its content.
const PACKED_SECTION_BYTES: usize = 1 + 1 + 1 + "palisade:packed".len() + 52;

/// The texts of the golden cases.
fn texts() -> Vec<String> {
    let cases = std::fs::read_to_string("../models/english-toxicity/cases.jsonl").unwrap();
    let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
    cases.lines().map(text).collect()
}

/// An instance of the component, and one of the native engine.
fn both(name: &str) -> (Instance, Instance) {
    let artefact = Artefact::read(&beside_program(name)).unwrap();
    let component = Runtime::new(RuntimeLimits::default()).unwrap().load(&artefact).unwrap();
    (component.instantiate().unwrap(), Loaded::native(&artefact).unwrap().instantiate().unwrap())
}

#[test]
fn native_gives_the_components_answers_to_the_bit() {
    let options = Options { labels: None, spans: true, words: true };
    for name in RELEASES {
        let (mut component, mut native) = both(name);
        for text in texts() {
            // Floats are written with the shortest digits that give the same 32 bits, so equal digits are equal bits.
            let [wanted, given] =
                [&mut component, &mut native].map(|by| format!("{:?}", by.classify(&[&text], &options).unwrap()));
            assert_eq!(wanted, given, "{name}: {text:?}");
        }
    }
}

#[test]
fn native_describes_itself_as_the_component_does_but_for_the_engines_name() {
    for name in RELEASES {
        let (mut component, mut native) = both(name);
        let (component, native) = (component.describe().unwrap(), native.describe().unwrap());
        assert_eq!(native.engine, format!("{}, native", component.engine));
        let native = Description { engine: component.engine.clone(), ..native };
        assert_eq!(format!("{component:?}"), format!("{native:?}"), "{name}");
    }
}

#[test]
fn native_refuses_what_the_component_refuses() {
    let (mut component, mut native) = both("palisade-small.wasm");
    let labels = |labels: &[&str]| Some(labels.iter().map(|&label| label.to_owned()).collect());
    let few = vec!["hello".to_owned()];
    for (labels, texts) in [
        (labels(&["SPOILER"]), few.clone()),
        (labels(&["INSULT", "THREAT", "INSULT"]), few.clone()),
        (labels(&["insult"]), few.clone()),
        (None, vec!["hello".to_owned(); 65]),
        (None, vec!["a".repeat((4 << 20) + 1)]),
        (labels(&["SPOILER"]), vec!["hello".to_owned(); 65]),
    ] {
        let options = Options { labels, spans: false, words: false };
        let [wanted, given] = [&mut component, &mut native].map(|by| by.classify(&texts, &options).unwrap_err());
        assert!(matches!(wanted, Error::Refused(_)), "{wanted}");
        assert_eq!(format!("{wanted:?}"), format!("{given:?}"));
    }
    for (labels, texts) in [(labels(&[]), few), (None, Vec::new()), (None, vec![String::new(), "a".repeat(30_000)])] {
        let options = Options { labels, spans: true, words: true };
        let [wanted, given] =
            [&mut component, &mut native].map(|by| format!("{:?}", by.classify(&texts, &options).unwrap()));
        assert_eq!(wanted, given);
    }
}

/// What `palisade classify --engine native` says of an artefact of these bytes, which it does not run.
fn refusal(bytes: Vec<u8>) -> String {
    let error = Loaded::native(&Artefact::from_bytes(Path::new("odd.wasm"), bytes).unwrap()).unwrap_err();
    assert!(matches!(error, Error::NotAnArtefact { .. }), "{error:?}");
    let error = error.to_string();
    assert!(error.starts_with("odd.wasm: "), "{error}");
    error
}

#[test]
fn an_artefact_without_a_packed_model_is_refused_with_what_to_do() {
    let mut bytes = std::fs::read(beside_program("palisade-small.wasm")).unwrap();
    let section = bytes.split_off(bytes.len() - PACKED_SECTION_BYTES);
    assert!(section[3..].starts_with(b"palisade:packed"), "{section:?}");
    let refusal = refusal(bytes.clone());
    assert!(refusal.contains("--engine component, or bake its release again"), "{refusal}");

    // The component does without it.
    let artefact = Artefact::from_bytes(Path::new("older.wasm"), bytes).unwrap();
    let loaded = Runtime::new(RuntimeLimits::default()).unwrap().load(&artefact).unwrap();
    assert!(loaded.instantiate().unwrap().describe().is_ok());
}

#[test]
fn a_damaged_packed_model_is_refused() {
    let whole = std::fs::read(beside_program("palisade-small.wasm")).unwrap();
    let section = whole.len() - 52;
    // A byte of the weights, the section's version, the address, the length (to one beyond any memory too), the digest.
    for (at, words) in [
        (whole.len() / 2, "its packed model is damaged"),
        (section, "has version"),
        (section + 4, "its packed model is damaged"),
        (section + 12, "its packed model is damaged"),
        (section + 19, "its packed model is damaged"),
        (section + 51, "its packed model is damaged"),
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        let refusal = refusal(bytes);
        assert!(refusal.contains(words) && refusal.contains("bake"), "{at}: {refusal}");
    }
}

#[test]
fn classify_takes_either_engine() {
    let classify = |arguments: &[&str], variable: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_palisade"));
        command
            .env("PALISADE_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"))
            .env_remove("PALISADE_ARTEFACT");
        command.env("PALISADE_ENGINE", variable).args(["classify", "--format", "jsonl", "You are an idiot."]);
        let ended = command.args(arguments).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
    };
    let (status, component, _) = classify(&["--engine", "component"], "native");
    assert_eq!((status, component.lines().count()), (Some(0), 1));
    assert_eq!(classify(&["--engine", "native"], "component"), (Some(0), component.clone(), String::new()));
    assert_eq!(classify(&[], "native"), (Some(0), component, String::new()));
    assert_eq!(classify(&[], "onnx").0, Some(2));

    let whole = std::fs::read(beside_program("palisade-small.wasm")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let older = folder.path().join("older.wasm");
    std::fs::write(&older, &whole[..whole.len() - PACKED_SECTION_BYTES]).unwrap();
    let (status, stdout, stderr) =
        classify(&["--engine", "native", "--artefact", older.to_str().unwrap()], "component");
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("older.wasm: ") && stderr.contains("--engine component"), "{stderr}");
}

#[test]
fn serve_answers_with_the_native_engine_and_says_so() {
    let body = json!({"texts": ["Thank you.", "You are an idiot. Go away!"], "spans": true}).to_string();
    let answer = |arguments: &[&str]| {
        let server = Server::start(&[&["--feedback", "off"], arguments].concat());
        let answer: Value = server.post("/v1/moderate", &body).json();
        let refused = server.post("/v1/moderate", &json!({"texts": ["a"], "labels": ["SPOILER"]}).to_string());
        let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
        server.stop();
        (answer, refused.status, metrics)
    };
    let (component, component_refused, _) = answer(&[]);
    let (native, native_refused, metrics) = answer(&["--engine", "native"]);
    assert_eq!((&component["results"], component_refused), (&native["results"], native_refused));
    let engine = native["engine"].as_str().unwrap();
    assert_eq!(engine, format!("{}, native", component["engine"].as_str().unwrap()));
    assert!(metrics.contains(&format!("engine=\"{engine}\"")), "{metrics}");

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("palisade.toml");
    std::fs::write(&config, "engine = \"onnx\"\n").unwrap();
    let ended = command(&["--config", config.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("line 1 column 10") && said.contains("native"), "{said}");
}
