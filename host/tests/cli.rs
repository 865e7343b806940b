//! The command `palisade` from outside, with the shipped release: what it prints and how it ends.
//!
//! Needs the baked artefact beside the program: `cargo xtask component` (or `cargo xtask test`, which does it first).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use serde_json::{Value, json};

const LABELS: [&str; 9] = [
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

struct Ended {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn palisade(arguments: &[&str]) -> Ended {
    palisade_reading(b"", arguments)
}

/// Compiled once for all tests, in a folder of their own.
static COMPILED: LazyLock<()> = LazyLock::new(|| {
    let first = start(b"", &["classify", "--format", "jsonl", "hello"]);
    assert_eq!(first.status, 0, "{}", first.stderr);
});

fn palisade_reading(stdin: &[u8], arguments: &[&str]) -> Ended {
    LazyLock::force(&COMPILED);
    start(stdin, arguments)
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(arguments)
        .env_remove("PALISADE_ARTEFACT")
        .env_remove("PALISADE_ENGINE")
        .env_remove("PALISADE_ENGINE_MODULE")
        .env("PALISADE_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn start(stdin: &[u8], arguments: &[&str]) -> Ended {
    let mut child = spawn(arguments);
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A program that ends early closes its input; that is its right.
    let writer = std::thread::spawn(move || drop(input.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ended {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn beside(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_palisade")).with_file_name(name);
    assert!(path.is_file(), "{} is not there: run `cargo xtask component` first", path.display());
    path
}

fn artefact() -> PathBuf {
    beside("palisade-default.wasm")
}

fn release_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/english-toxicity")
}

/// The command fails with status 2, prints nothing, and says each of `parts`.
fn fails(arguments: &[&str], parts: &[&str]) {
    let ended = palisade(arguments);
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} is not in {:?}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

/// `fails` for a file that stands in for the artefact.
fn artefact_fails(bytes: &[u8], parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("odd.wasm");
    fs::write(&file, bytes).unwrap();
    fails(&["classify", "--artefact", file.to_str().unwrap(), "hello"], &[&["odd.wasm: "], parts].concat());
}

/// What a baked release says of the golden cases' texts, a line a case.
fn answers_to_cases(artefact: &str, arguments: &[&str]) -> Ended {
    let cases = fs::read(release_folder().join("cases.jsonl")).unwrap();
    let artefact = beside(artefact);
    let fixed = ["classify", "--artefact", artefact.to_str().unwrap(), "--format", "jsonl", "--input", "json", "-"];
    let answers = palisade_reading(&cases, &[&fixed[..], arguments].concat());
    assert_eq!(answers.status, 0, "{}", answers.stderr);
    answers
}

#[test]
fn golden_cases_have_their_scores_to_the_bit() {
    let cases = fs::read(release_folder().join("cases.jsonl")).unwrap();
    let answers = answers_to_cases("palisade-default.wasm", &["--spans"]).lines();
    let cases: Vec<Value> =
        cases.split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
    assert!(cases.len() > 60 && cases.len() == answers.len());
    for (case, answer) in cases.iter().zip(answers) {
        // Scores are printed with the shortest digits that give the same 32 bits, so equal digits are equal bits.
        for key in ["id", "scores", "truncated", "spans", "spans_truncated"] {
            assert_eq!(case[key], answer[key], "{} of {}", key, case["id"]);
        }
    }
}

#[test]
fn relaxed_and_strict_simd_give_the_same_scores_to_the_bit() {
    for release in ["palisade-default", "palisade-small"] {
        let answers = |simd| answers_to_cases(&format!("{release}{simd}.wasm"), &["--spans", "--words"]).stdout;
        assert_eq!(answers(""), answers("-strict"), "{release}");
    }
}

#[test]
fn inspect_tells_relaxed_from_strict_simd() {
    for (name, is_relaxed, shown) in [
        ("palisade-default.wasm", true, "simd       relaxed: "),
        ("palisade-default-strict.wasm", false, "simd       strict: "),
    ] {
        let path = beside(name);
        let inspected = palisade(&["inspect", "--json", path.to_str().unwrap()]).stdout;
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        let operators = inspected["component"]["relaxed_operators"].as_array().unwrap();
        assert_eq!(operators.contains(&json!("i32x4.relaxed_dot_i8x16_i7x16_add_s")), is_relaxed, "{name}");
        assert!(is_relaxed || operators.is_empty(), "{operators:?}");
        let table = palisade(&["inspect", path.to_str().unwrap()]).stdout;
        assert!(table.contains(shown), "{table}");
    }
}

#[test]
fn classify_prints_a_row_a_text_and_the_release() {
    let ended = palisade(&["classify", "You are an idiot.", "Thank you!"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ended.stdout);
    assert!(lines[2].ends_with("You are an idiot.") && lines[2].contains('*'));
    assert!(lines[3].ends_with("Thank you!") && !lines[3].contains('*'));
    assert!(lines[4].contains("release english-toxicity 0.3.0 ("));
}

#[test]
fn classify_says_what_was_perhaps_not_meant() {
    let ended = palisade(&["classify", "--spans", "comments.txt", "idiot"]);
    assert_eq!(ended.status, 0);
    let hints: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(hints.len(), 2, "{}", ended.stderr);
    assert!(hints[0].contains("the name \"comments.txt\"") && hints[0].ends_with("palisade classify - < comments.txt"));
    assert!(hints[1].contains("--format jsonl"));
    for text in ["Read https://example.org/a.txt!", "https://example.org/a.txt", "See a.txt"] {
        assert_eq!(palisade(&["classify", text]).stderr, "");
    }
}

#[test]
fn a_json_line_is_answered_by_one_with_its_id_scores_and_release() {
    let ended =
        palisade_reading(b"{\"id\": {\"a\": 1.50}, \"text\": \"hello\"}\n", &["classify", "--format", "jsonl", "-"]);
    assert!(ended.stdout.starts_with("{\"id\":{\"a\": 1.50},\"scores\":{\"TOXICITY\":"), "{}", ended.stdout);
    let answer = &ended.lines()[0];
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(answer), ["id", "scores", "truncated", "release"]);
    assert_eq!(keys(&answer["scores"]), LABELS);
    assert_eq!(keys(&answer["release"]), ["name", "version", "digest"]);
    let manifest = fs::read(release_folder().join("release.json")).unwrap();
    assert_eq!(answer["release"]["digest"], hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&manifest)));
}

#[test]
fn answers_keep_the_order_of_the_lines() {
    let words = ["short", "a text that is somewhat longer than the others, so that it takes its worker more time"];
    let lines: Vec<String> = (0..200).map(|n| json!({"id": n, "text": words[n % 7 % 2]}).to_string()).collect();
    let ended =
        palisade_reading(lines.join("\n").as_bytes(), &["classify", "--format", "jsonl", "--workers", "3", "-"]);
    let ids: Vec<u64> = ended.lines().iter().map(|line| line["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..200).collect::<Vec<u64>>());
}

#[test]
fn a_bad_line_is_named_and_the_others_come_out() {
    let input = b"{\"text\":\"a\"}\n{\"id\":\"x\"}\n{\"text\":\"\xFF\"}\nnot json\n{\"text\":\"b\"}\n";
    let ended = palisade_reading(input, &["classify", "--format", "jsonl", "-"]);
    assert_eq!(ended.status, 1);
    let lines = ended.lines();
    let codes: Vec<_> = lines.iter().map(|line| line["error"]["code"].as_str()).collect();
    assert_eq!(codes, [None, Some("missing-text"), Some("invalid-utf8"), Some("invalid-json"), None]);
    assert_eq!((&lines[1]["id"], &lines[1]["line"]), (&json!("x"), &json!(2)));
    assert_eq!(
        ended.stderr,
        "palisade: 3 of 5 lines could not be classified; first, line 2: the JSON object has no \"text\"\n"
    );
}

#[test]
fn a_slow_pipe_is_answered_at_once_and_a_reader_that_leaves_ends_the_program() {
    LazyLock::force(&COMPILED);
    let mut child = spawn(&["classify", "--format", "jsonl", "--workers", "2", "-"]);
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for id in 0..3 {
        // A blank line behind the request must not hold the answer back either.
        input.write_all(format!("{}\n\n", json!({"id": id, "text": "hello"})).as_bytes()).unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["id"], id);
    }
    drop(output);
    input.write_all(b"{\"text\":\"nobody reads this\"}\n").unwrap();
    // Standard input stays open, and the program ends all the same.
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(input);
}

#[test]
fn where_no_line_is_good_the_status_says_so() {
    assert_eq!(palisade_reading(b"{\"a\":1}\n", &["classify", "--format", "jsonl", "-"]).status, 2);
    assert_eq!(palisade_reading(b"", &["classify", "--format", "jsonl", "-"]).status, 0);
}

#[test]
fn odd_texts_have_defined_results() {
    let million = "a".repeat(1 << 20);
    let texts = ["", " \n\t", "\u{301}\u{302}", "\u{200D}\u{200D}", "\0", "\u{FEFF}", million.as_str()];
    let lines = texts.map(|text| json!({"text": text}).to_string());
    let ended = palisade_reading(lines.join("\n").as_bytes(), &["classify", "--format", "jsonl", "-"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    let lines = ended.lines();
    for line in &lines[..6] {
        assert!(LABELS.iter().all(|label| line["scores"][label] == 0.0) && line["truncated"] == false, "{line}");
    }
    assert_eq!(lines[6]["truncated"], true);
}

#[test]
fn spans_are_given_when_asked_for() {
    let text = "Thank you so much. You are an idiot.";
    let ended = palisade(&["classify", "--format", "jsonl", "--spans", "--labels", "INSULT", text]);
    let line = &ended.lines()[0];
    let spans = line["spans"].as_array().unwrap();
    let parts: Vec<&str> = spans
        .iter()
        .map(|s| {
            &text[usize::try_from(s["start"].as_u64().unwrap()).unwrap()
                ..usize::try_from(s["end"].as_u64().unwrap()).unwrap()]
        })
        .collect();
    assert_eq!(parts, ["Thank you so much.", "You are an idiot."]);
    let insult = |span: &Value| span["scores"]["INSULT"].as_f64().unwrap();
    assert!(insult(&spans[0]) < 0.1 && insult(&spans[1]) > 0.5, "{line}");
    assert_eq!(line["scores"].as_object().unwrap().len(), 1);
}

#[test]
fn words_have_effects_when_asked_for() {
    let text = "Thank you. You are an idiot!";
    let ended = palisade(&["classify", "--format", "jsonl", "--words", "--labels", "INSULT,THREAT", text]);
    let line = &ended.lines()[0];
    let words = line["words"].as_array().unwrap();
    let place = |end: &Value| usize::try_from(end.as_u64().unwrap()).unwrap();
    let parts: Vec<&str> = words.iter().map(|word| &text[place(&word["start"])..place(&word["end"])]).collect();
    assert_eq!(parts, text.split(' ').collect::<Vec<_>>());
    assert_eq!((&line["words_truncated"], line.get("spans")), (&json!(false), None));
    assert!(words.iter().all(|word| word["effects"].as_object().unwrap().len() == 2), "{line}");
    // The effect is what the sentence's score loses without the word.
    let score = |text: &str| {
        palisade(&["classify", "--format", "jsonl", "--labels", "INSULT", text]).lines()[0]["scores"]["INSULT"]
            .as_f64()
            .unwrap()
    };
    let expected = score("You are an idiot!") - score("You are an");
    assert!((words[5]["effects"]["INSULT"].as_f64().unwrap() - expected).abs() < 1e-6, "{line}");

    let table = palisade(&["classify", "--words", "--labels", "INSULT", "You are an \u{1b}\u{202e}idiot!"]).stdout;
    let line = table.lines().find(|line| line.contains("INSULT by word: ")).unwrap();
    let first = line.split("by word: ").nth(1).unwrap().split(", ").next().unwrap();
    assert!(first.trim_start().starts_with("idiot! +0.") && line.matches(", ").count() == 2, "{line:?}");
    assert!(!table.contains(['\u{1b}', '\u{202e}']), "{table:?}");
}

#[test]
fn wrong_arguments_are_refused_with_what_to_do() {
    fails(&["classify", "-", "text"], &["`-` stands for standard input and goes alone"]);
    fails(&["classify", "--labels", "SPOILER", "text"], &["no label \"SPOILER\"", "it has TOXICITY, SEVERE_TOXICITY"]);
    fails(&["classify", "--labels", "THREAT,THREAT", "text"], &["label \"THREAT\" is asked for twice"]);
    fails(&["classify"], &["required", "Usage: palisade classify"]);
    fails(&["classify", "--workers", "3000000000", "text"], &["3000000000 is not in 1..=256"]);
    let missing = palisade(&["classify", "--artefact", "nowhere.wasm", "text"]);
    assert_eq!((missing.status, missing.stdout.as_str()), (2, ""));
    assert_eq!(missing.stderr, "palisade: error: nowhere.wasm: No such file or directory (os error 2)\n");
}

#[test]
fn a_file_that_is_no_artefact_is_refused_with_what_to_do() {
    let whole = fs::read(artefact()).unwrap();
    artefact_fails(b"hello", &["not a WebAssembly component"]);
    artefact_fails(b"", &["not a WebAssembly component"]);
    artefact_fails(&whole[..whole.len() / 2], &["damaged or cut component"]);
    artefact_fails(&fs::read(beside("palisade-engine.wasm")).unwrap(), &["core WebAssembly module", "palisade bake"]);
    let huge = "(component (core module (memory i64 281474976710656)))";
    for other in ["(component)", huge] {
        artefact_fails(&wat::parse_str(other).unwrap(), &["does not give palisade:moderation/classifier@0.2.0"]);
    }
}

#[test]
fn a_component_of_another_contract_version_is_refused() {
    let other = r#"(component (instance $i) (export "palisade:moderation/classifier@0.3.0" (instance $i)))"#;
    artefact_fails(
        &wat::parse_str(other).unwrap(),
        &["gives palisade:moderation/classifier@0.3.0", "this host speaks palisade:moderation/classifier@0.2.0"],
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.wasm");
    fs::write(&file, wat::parse_str(other).unwrap()).unwrap();
    let inspected = palisade(&["inspect", file.to_str().unwrap()]);
    assert!(inspected.stdout.contains("contract   another than this program's"), "{}", inspected.stdout);
    let another_shape = r#"(component (instance $i) (export "palisade:moderation/classifier@0.2.0" (instance $i)))"#;
    artefact_fails(&wat::parse_str(another_shape).unwrap(), &["another shape"]);
}

#[test]
fn a_component_that_wants_imports_gets_none() {
    let greedy = r#"(component
        (import "wasi:cli/environment@0.2.0" (instance (export "get-arguments" (func))))
        (instance $i)
        (export "palisade:moderation/classifier@0.2.0" (instance $i)))"#;
    artefact_fails(&wat::parse_str(greedy).unwrap(), &["wants imports"]);
}

#[test]
fn a_call_that_takes_too_long_is_stopped() {
    let long = "many words ".repeat(500);
    // A pass for each of 32 words: the shortest limit is two ticks, and some machines read such a text in one.
    let ended = palisade(&["classify", "--format", "jsonl", "--words", "--call-ms-max", "1", &long]);
    assert_eq!(ended.status, 2);
    assert_eq!(ended.lines()[0]["error"]["code"], "not-classified");
    assert!(ended.stderr.contains("took longer than 1 ms and was stopped"), "{}", ended.stderr);
}

#[test]
fn an_instance_that_wants_too_much_memory_is_stopped() {
    fails(&["classify", "--memory-mib-max", "8", "hello"], &["wants more than 8 MiB", "--memory-mib-max"]);
}

#[test]
fn inspect_tells_what_is_inside() {
    let path = artefact();
    let ended = palisade(&["inspect", "--json", path.to_str().unwrap()]);
    let inspected: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(inspected["component"]["imports"], json!([]));
    assert_eq!(inspected["component"]["exports"], json!(["palisade:moderation/classifier@0.2.0"]));
    let answer = &palisade(&["classify", "--format", "jsonl", "hello"]).lines()[0];
    assert_eq!(inspected["release"], answer["release"]);
    let manifest: Value = serde_json::from_slice(&fs::read(release_folder().join("release.json")).unwrap()).unwrap();
    assert_eq!(inspected["manifest"], manifest);
    let table = palisade(&["inspect", path.to_str().unwrap()]).stdout;
    assert!(table.contains("imports    none") && table.contains("THREAT"), "{table}");
    let rules = manifest["normalisation"].as_str().unwrap_or("none: texts are read as they are");
    assert!(table.contains(&format!("normalises {rules}\n")), "{table}");
}

#[test]
fn eval_measures_a_labelled_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labelled.csv");
    let rows = "text,toxic,INSULT,kind\n\"You are an idiot, shut up\",1,1,a\nWhat a lovely day,0,0.0,a\n\"Thanks, all\",0,,a\nStupid moron,1,true,a\nignored,maybe,0,b\n";
    fs::write(&file, rows).unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["eval", file, "--text-column", "text", "--label-columns", "toxic=TOXICITY,insult=INSULT"];
    let with_column = |column: &'static str| {
        let mut changed = arguments;
        changed[5] = column;
        changed
    };
    fails(&arguments, &["no column \"insult\"", "text, toxic, INSULT, kind"]);
    fails(&with_column("toxic=SPOILER"), &["no label \"SPOILER\""]);
    fails(&with_column("toxic"), &["no label \"TOXIC\"", "--label-columns toxic=LABEL"]);
    let arguments = with_column("toxic=TOXICITY,INSULT");
    fails(&arguments, &["labelled.csv, line 6", "\"maybe\""]);
    fails(&[&arguments[..], &["--where", "kind=c"]].concat(), &["no rows to measure"]);

    let ended = palisade(&[&arguments[..], &["--where", "kind=a", "--json"]].concat());
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&report["rows"], &report["mean_roc_auc"]), (&json!(4), &json!(1.0)));
    assert_eq!((&report["labels"]["INSULT"]["rows"], &report["labels"]["INSULT"]["positives"]), (&json!(3), &json!(2)));
    assert_eq!(report["labels"]["TOXICITY"]["f1"], 1.0);
    let table = palisade(&[&arguments[..], &["--where", "kind=a"]].concat()).stdout;
    assert!(table.contains("TOXICITY") && table.contains("mean ROC AUC 1.0000"), "{table}");
}

#[test]
fn eval_reads_gzip() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labelled.csv.gz");
    let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&file).unwrap(), flate2::Compression::fast());
    gzip.write_all(b"comment,INSULT\nYou idiot,1\nHello,0\n").unwrap();
    gzip.finish().unwrap();
    let ended = palisade(&["eval", file.to_str().unwrap(), "--text-column", "comment", "--label-columns", "INSULT"]);
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let unclosed = folder.path().join("unclosed.csv");
    fs::write(&unclosed, "comment,INSULT\nfine,0\n\"never closed,1\nfine,0\n").unwrap();
    let columns = ["--text-column", "comment", "--label-columns", "INSULT"];
    fails(&[&["eval", unclosed.to_str().unwrap()], &columns[..]].concat(), &["unclosed.csv"]);
    fs::write(&unclosed, "comment,INSULT\nfine,0\nfine,0\n1,\"1").unwrap();
    fails(&[&["eval", unclosed.to_str().unwrap()], &columns[..]].concat(), &["a quote is opened and never closed"]);
    fs::write(&unclosed, "").unwrap();
    fails(&[&["eval", unclosed.to_str().unwrap()], &columns[..]].concat(), &["unclosed.csv: the file is empty"]);
    let cut = fs::read(&file).unwrap();
    fs::write(&file, &cut[..cut.len() - 12]).unwrap();
    fails(
        &["eval", file.to_str().unwrap(), "--text-column", "comment", "--label-columns", "INSULT"],
        &["labelled.csv.gz"],
    );
}

/// A folder with a suite of one measurement over a few rows.
fn suite(keys: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let rows = "text,toxic,group\nYou are an idiot,1,women\nStupid <b>moron</b>,1,\nWhat a lovely day,0,women\nThanks all,0,\nYou are kind & clever,1,\n";
    fs::write(folder.path().join("rows.csv"), rows).unwrap();
    let file = folder.path().join("mine.toml");
    let head =
        "about = \"A <i>few</i> rows\"\n[[measurement]]\nname = \"rows\"\ntitle = \"Rows\"\nfile = \"rows.csv\"\n";
    fs::write(&file, format!("{head}{keys}\n")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

#[test]
fn eval_measures_a_suite_of_ones_own() {
    let keys = "accuracy_by = [\"group\"]\ngroups = { column = \"group\" }\nscores = [\n  { label = \"TOXICITY\", column = \"toxic\", calibration = true },\n  { name = \"harm\", any = [\"INSULT\", \"NONSENSE\"], column = \"toxic\" },\n  { label = \"NONSENSE\", column = \"toxic\" },\n]";
    let (folder, file) = suite(keys);
    let data = folder.path().to_str().unwrap();
    let page = folder.path().join("report.html");
    let arguments = ["eval", "--suite", &file, "--data", data, "--resamples", "50"];
    let ended = palisade(&[&arguments[..], &["--json", "--html", page.to_str().unwrap()]].concat());
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&report["suite"], &report["texts"], &report["resamples"]), (&json!("mine"), &json!(5), &json!(50)));
    // A label that the release lacks is missing, not no.
    let skipped = &report["skipped"];
    assert_eq!((&skipped[0]["score"], &skipped[0]["measured_on_the_rest"]), (&json!("harm"), &json!(true)));
    assert_eq!((&skipped[1]["score"], &skipped[1]["measured_on_the_rest"]), (&json!("NONSENSE"), &json!(false)));
    let measured = &report["measurements"][0];
    assert_eq!(measured["scores"].as_array().unwrap().len(), 2);
    let toxicity = &measured["scores"][0];
    assert_eq!((&toxicity["rows"], &toxicity["positives"]), (&json!(5), &json!(3)));
    let auc = &toxicity["roc_auc"];
    assert!((auc["value"].as_f64().unwrap() - 4.0 / 6.0).abs() < 0.4 && auc["interval"][1] == 1.0, "{auc}");
    let confusion = &toxicity["decisions"][0]["confusion"];
    assert_eq!((&confusion["true_positives"], &confusion["true_negatives"]), (&json!(2), &json!(2)));
    assert_eq!(toxicity["groups"][0]["name"], "women");
    assert_eq!(toxicity["calibration"].as_array().unwrap().len(), 15);
    // Texts of files stay out of reports unless they are asked for.
    assert_eq!(measured["examples"], json!([]));
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("A &lt;i&gt;few&lt;/i&gt; rows") && !html.contains("kind"), "{html}");
    let shown = palisade(&[&arguments[..], &["--examples", "--html", page.to_str().unwrap()]].concat());
    assert_eq!(shown.status, 0, "{}", shown.stderr);
    assert!(fs::read_to_string(&page).unwrap().contains("You are kind &amp; clever"));
    assert!(shown.stdout.contains("rows, NONSENSE: skipped: the release has no NONSENSE"), "{}", shown.stdout);
    assert!(shown.stdout.contains("rows, harm: measured without NONSENSE"), "{}", shown.stdout);
}

#[test]
fn a_suite_that_cannot_be_measured_says_what_to_change() {
    let scores = "scores = [{ label = \"TOXICITY\", column = \"toxic\" }]";
    let (folder, file) = suite(scores);
    fails(&["eval", "--suite", &file], &["mine", "\"rows\"", "rows.csv", "--data FOLDER"]);
    fails(&["eval", "--suite", &file, "--data", "nowhere"], &["--data nowhere: no such folder"]);
    fails(&["eval", "--suite", "nothing"], &["nothing", "functional, development"]);
    fails(&["eval", "--suite", &file, "rows.csv"], &["cannot be used with"]);
    fails(&["eval", "rows.csv", "--text-column", "text"], &["--label-columns"]);
    let data = folder.path().to_str().unwrap();
    for (keys, parts) in [
        (format!("{scores}\nscored = 1"), vec!["mine.toml", "unknown field `scored`"]),
        (scores.replace("toxic", "toxicity"), vec!["rows.csv", "no column \"toxicity\"", "text, toxic, group"]),
        (scores.replace("toxic", "group"), vec!["rows.csv, line 2", "\"women\"", "yes = ["]),
        (scores.replace("TOXICITY", "NONSENSE"), vec!["the release has none of its labels"]),
        (format!("{scores}\nonly = {{ group = [\"nobody\"] }}"), vec!["no row passes only"]),
    ] {
        let (_folder, file) = suite(&keys);
        fails(&["eval", "--suite", &file, "--data", data], &parts);
    }
}

#[test]
fn the_functional_suite_runs() {
    let ended = palisade(&["eval", "--suite", "functional", "--sample", "60", "--resamples", "20"]);
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    for part in ["on the suite functional", "sexual ", "function ", "expected ", "hateful by group", "trick "] {
        assert!(ended.stdout.contains(part), "no {part:?} in {}", ended.stdout);
    }
}

/// A copy of the shipped release with one file changed; with `adjusted`, the manifest knows the change.
fn bake_fails(file: &str, adjusted: bool, change: impl FnOnce(Vec<u8>) -> Vec<u8>, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["release.json", "model.onnx", "tokenizer.json"] {
        fs::copy(release_folder().join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join(file);
    let changed = change(fs::read(&path).unwrap());
    if adjusted {
        let manifest = folder.path().join("release.json");
        let mut value: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
        let key = file.split('.').next().unwrap();
        value[key]["bytes"] = changed.len().into();
        value[key]["sha256"] = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&changed)).into();
        fs::write(manifest, value.to_string()).unwrap();
    }
    fs::write(path, changed).unwrap();
    let output = folder.path().join("out.wasm");
    fails(&["bake", folder.path().to_str().unwrap(), "--output", output.to_str().unwrap()], parts);
    assert!(!output.exists(), "a failed baking left a file");
}

#[test]
fn a_release_that_does_not_hold_together_is_not_baked() {
    let half = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    bake_fails("model.onnx", false, half, &["model.onnx: is ", "release.json says", "copy the release again"]);
    bake_fails("model.onnx", true, half, &["model.onnx: not an ONNX classifier that can be run"]);
    bake_fails("tokenizer.json", true, half, &["tokenizer.json: not a tokenizer that can be read"]);
    bake_fails("release.json", false, half, &["release.json: not a release manifest"]);
    let one_more_word = |bytes: Vec<u8>| {
        let mut tokenizer: Value = serde_json::from_slice(&bytes).unwrap();
        let words = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        words.insert("notinthere".into(), words.len().into());
        tokenizer.to_string().into_bytes()
    };
    bake_fails(
        "tokenizer.json",
        true,
        one_more_word,
        &["model.onnx: fails on", "the highest of tokenizer.json", "do not belong together"],
    );
}

#[test]
fn baking_twice_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("again.wasm");
    let release = release_folder();
    let ended = palisade(&["bake", release.to_str().unwrap(), "--output", output.to_str().unwrap()]);
    assert_eq!((ended.status, ended.stdout.as_str()), (0, ""), "{}", ended.stderr);
    assert!(fs::read(output).unwrap() == fs::read(artefact()).unwrap(), "the artefact is not the same");
}

#[test]
fn help_names_every_command() {
    let ended = palisade(&["--help"]);
    insta::assert_snapshot!(ended.stdout, @r"
    Content moderation that runs where you are: the classifier is a WebAssembly component, and its
    scores are the same to the bit wherever it runs.

    A release is a model's files; an artefact is the component that a release was baked into.

    Usage: palisade <COMMAND>

    Commands:
      serve     Serve the HTTP endpoint: Perspective, OpenAI moderations, and Palisade's own protocol
      classify  Score texts
      eval      Measure a release against labelled texts
      inspect   Show what an artefact is: contract, imports, release, sizes
      bake      Make an artefact out of a release
      model     Publish, promote, roll back and fetch releases in a registry: a folder, or a bucket of
                any S3-compatible store
      policy    Check a file of policies
      key       Make API keys
      feedback  Read the feedback that `serve` has kept
      help      Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version
    ");
}

#[test]
fn policies_are_checked_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policies.toml");
    let file = file.to_str().unwrap();
    fs::write(file, "[policies.forum]\nreview = { TOXICITY = 0.7 }\n").unwrap();
    let right = palisade(&["policy", "check", file]);
    assert_eq!(right.status, 0, "{}", right.stderr);
    assert!(
        right.stdout.contains("right for english-toxicity") && right.stdout.contains("default, forum"),
        "{}",
        right.stdout
    );

    fs::write(file, "[policies.forum]\nreview = { TOXICITY = 0.7, RUDENESS = 0.5 }\n").unwrap();
    let wrong = palisade(&["policy", "check", file]);
    assert_eq!(wrong.status, 1);
    assert!(wrong.stderr.contains("line 2 column 28: the release has no label RUDENESS"), "{}", wrong.stderr);
    assert_eq!(palisade(&["policy", "check", "no-such-file"]).status, 2);

    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/policies.toml");
    let example = palisade(&["policy", "check", example]);
    assert_eq!(example.status, 0, "{}", example.stderr);
}

#[test]
fn a_new_key_is_shown_once_and_its_entry_is_the_hash_of_it() {
    let new = palisade(&["key", "new", "co\"ral", "--requests-per-minute", "60"]);
    assert_eq!(new.status, 0, "{}", new.stderr);
    let key = new.stderr.split_whitespace().find(|word| word.starts_with("palisade-")).unwrap();
    assert!(!new.stdout.contains(key));
    let again =
        palisade_reading(format!("{key}\n").as_bytes(), &["key", "hash", "co\"ral", "--requests-per-minute", "60"]);
    assert_eq!(again.stdout, new.stdout);
    assert!(new.stdout.starts_with("[[key]]\nname = \"co\\\"ral\"\nsha256 = \""), "{}", new.stdout);
    assert!(new.stdout.ends_with("requests-per-minute = 60\n"), "{}", new.stdout);
    let short = palisade_reading(b"secret", &["key", "hash", "coral"]);
    assert_eq!(short.status, 2);
    assert!(short.stderr.contains("could be guessed") && !short.stderr.contains("secret"), "{}", short.stderr);
}
