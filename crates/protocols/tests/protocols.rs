//! The protocols over the classifier's core, natively. Real clients are in `conformance/clients`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests read the release and the data")]

use std::path::Path;
use std::sync::LazyLock;

use palisade_core::{Classifier, Options, ReleaseFiles};
use palisade_protocols::backend::{Description, Label, Parts, Release, Scored, Span, Suggestion, Word};
use palisade_protocols::{Backend, Failure, Request, Response, Settings, answer};
use proptest::prelude::*;
use serde_json::{Value, json};

static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/english-toxicity");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (manifest, model, tokenizer) = (read("release.json"), read("model.onnx"), read("tokenizer.json"));
    Classifier::from_release(&ReleaseFiles { manifest: &manifest, model: &model, tokenizer: &tokenizer }).unwrap()
});

/// The core in place of the component; suggestions are kept in memory.
#[derive(Default)]
struct Core {
    kept: Vec<Suggestion>,
    calls: usize,
}

impl Backend for Core {
    fn describe(&mut self) -> Result<Description, Failure> {
        let release = CLASSIFIER.release();
        let limits = CLASSIFIER.limits();
        let label = |label: &palisade_core::Label| Label {
            name: label.name.clone(),
            threshold: label.threshold,
            block: label.block.map(|block| block.threshold),
        };
        Ok(Description {
            release: Release {
                name: release.name.clone(),
                version: release.version.clone(),
                digest: release.digest.clone(),
            },
            engine: "core".into(),
            labels: CLASSIFIER.labels().iter().map(label).collect(),
            languages: CLASSIFIER.languages().to_vec(),
            texts_max: limits.texts_max,
            batch_bytes_max: limits.batch_bytes_max,
        })
    }

    fn classify(&mut self, texts: &[&str], parts: Parts) -> Result<Vec<Scored>, Failure> {
        self.calls += 1;
        let answer = CLASSIFIER.classify(texts, &Options { labels: None, spans: parts.spans, words: parts.words });
        let answer = answer.map_err(|e| Failure::Fault(e.to_string()))?;
        let span = |span: palisade_core::Span| Span {
            start: span.range.start,
            end: span.range.end,
            scores: span.scores,
            truncated: span.truncated,
        };
        let word =
            |word: palisade_core::Word| Word { start: word.range.start, end: word.range.end, effects: word.effects };
        let scored = |result: palisade_core::TextResult| Scored {
            scores: result.scores,
            tokens: u32::try_from(result.tokens).unwrap(),
            truncated: result.truncated,
            spans: result.spans.into_iter().map(span).collect(),
            spans_truncated: result.spans_truncated,
            words: result.words.into_iter().map(word).collect(),
            words_truncated: result.words_truncated,
        };
        Ok(answer.results.into_iter().map(scored).collect())
    }

    fn admit(&mut self, key: Option<&str>) -> Result<(), Failure> {
        match key {
            Some("limited") => Err(Failure::RateLimited { requests_per_minute: 60, retry_after_ms: 1500 }),
            Some("unknown") => Err(Failure::UnknownKey),
            Some("none") => Err(Failure::MissingKey),
            _ => Ok(()),
        }
    }

    fn keep(&mut self, suggestion: &Suggestion) -> Result<(), Failure> {
        self.kept.push(suggestion.clone());
        Ok(())
    }

    fn now_ms(&mut self) -> f64 {
        0.0
    }
}

const ANALYZE: &str = "/v1alpha1/comments:analyze";
const SUGGEST: &str = "/v1alpha1/comments:suggestscore";

fn send(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8], core: &mut Core) -> Response {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = Request { method, target, scheme: "http", authority: "test", headers: &headers, body };
    answer(&request, &Settings::default(), core)
}

fn post(target: &str, body: &Value) -> (u16, Value) {
    let response = send("POST", target, &[], body.to_string().as_bytes(), &mut Core::default());
    (response.status, serde_json::from_slice(&response.body).unwrap())
}

#[test]
fn spans_count_utf16_code_units() {
    let text = "😀 You idiot! Thank you.";
    let body = json!({"comment": {"text": text}, "requestedAttributes": {"INSULT": {}}, "spanAnnotations": true});
    let (_, answer) = post(ANALYZE, &body);
    let units: Vec<u16> = text.encode_utf16().collect();
    let spans = answer["attributeScores"]["INSULT"]["spanScores"].as_array().unwrap();
    let parts: Vec<String> = spans
        .iter()
        .map(|span| {
            let at = |end: &str| usize::try_from(span[end].as_u64().unwrap()).unwrap();
            String::from_utf16(&units[at("begin")..at("end")]).unwrap()
        })
        .collect();
    assert_eq!(parts.iter().map(|part| part.trim()).collect::<Vec<_>>(), ["😀 You idiot!", "Thank you."]);
}

type Slice = fn(&str, usize, usize) -> String;

#[test]
fn words_have_effects_in_the_offsets_asked_for() {
    let text = "😀 Thank you. 😀 You idiot!";
    let slices: [(&str, Slice); 3] = [
        ("utf-8", |text, start, end| text[start..end].to_owned()),
        ("utf-16", |text, start, end| {
            String::from_utf16(&text.encode_utf16().collect::<Vec<_>>()[start..end]).unwrap()
        }),
        ("code-point", |text, start, end| text.chars().skip(start).take(end - start).collect()),
    ];
    for (offsets, slice) in slices {
        let (status, answer) = post("/v1/moderate", &json!({"texts": [text], "words": true, "offsets": offsets}));
        let result = &answer["results"][0];
        assert_eq!((status, &result["words_truncated"]), (200, &json!(false)));
        let words = result["words"].as_array().unwrap();
        let at = |word: &Value, end: &str| usize::try_from(word[end].as_u64().unwrap()).unwrap();
        let parts: Vec<String> = words.iter().map(|word| slice(text, at(word, "start"), at(word, "end"))).collect();
        assert_eq!(parts, text.split(' ').collect::<Vec<_>>());
        let effect = |word: &Value| word["effects"]["INSULT"].as_f64().unwrap();
        let last = effect(words.last().unwrap());
        assert!(last > 0.2 && words.iter().all(|word| effect(word) <= last), "{words:?}");
        assert!(result.get("spans").is_none());
    }
    let (_, answer) = post("/v1/moderate", &json!({"texts": [text]}));
    assert!(answer["results"][0].get("words").is_none());
}

#[test]
fn an_attribute_below_its_threshold_is_left_out_and_with_the_last_one_the_map() {
    let ask = |threshold: Value| {
        post(ANALYZE, &json!({"comment": {"text": "Thank you."}, "requestedAttributes": {"TOXICITY": {"scoreThreshold": threshold}}})).1
    };
    assert!(ask(json!(0)).get("attributeScores").is_some());
    assert!(ask(json!(0.9)).get("attributeScores").is_none());
    assert!(ask(json!("0.9")).get("attributeScores").is_none(), "a number as a string");
}

#[test]
fn no_attributes_cost_no_scoring() {
    let mut core = Core::default();
    let body = json!({"comment": {"text": "Thank you."}, "requestedAttributes": {}}).to_string();
    assert_eq!(send("POST", ANALYZE, &[], body.as_bytes(), &mut core).status, 200);
    assert_eq!(core.calls, 0);
}

#[test]
fn a_key_is_found_wherever_a_client_puts_it() {
    let body = json!({"comment": {"text": "hi"}, "requestedAttributes": {}, "texts": [], "input": "hi"}).to_string();
    let status = |target: &str, headers: &[(&str, &str)]| {
        send("POST", target, headers, body.as_bytes(), &mut Core::default()).status
    };
    assert_eq!(status(&format!("{ANALYZE}?alt=json&key=none"), &[]), 403);
    assert_eq!(status(&format!("{ANALYZE}?key=unknown"), &[]), 400);
    assert_eq!(status(ANALYZE, &[("X-Goog-Api-Key", "limited")]), 429);
    assert_eq!(status(ANALYZE, &[("authorization", "Bearer limited")]), 429);
    assert_eq!(status("/v1/moderations", &[("authorization", "Bearer unknown")]), 401);
    assert_eq!(status("/v1/moderate", &[("x-api-key", "limited")]), 429);
    let limited = send("POST", "/v1/moderations", &[("authorization", "Bearer limited")], b"{}", &mut Core::default());
    assert_eq!(limited.header("retry-after"), Some("2"));
}

#[test]
fn the_parts_of_a_batch_are_answered_each_for_itself() {
    let request = |id: &str, target: &str, body: &str| {
        format!(
            "--x\r\nContent-Type: application/http\r\nContent-ID: {id}\r\n\r\nPOST {target} HTTP/1.1\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}\r\n",
            body.len()
        )
    };
    let good = json!({"comment": {"text": "Thank you."}, "requestedAttributes": {"THREAT": {}}}).to_string();
    let body = request("<a + 1>", ANALYZE, &good)
        + &request("<a + 2>", &format!("{ANALYZE}?key=limited"), &good)
        + &request("<a + 3>", "https://commentanalyzer.googleapis.com/v1alpha1/comments:analyze?key=k", "{")
        + &request("<a + 4>", "/v1/moderate", "{}")
        + "--x--";
    let headers = [("Content-Type", "multipart/mixed; boundary=\"x\"")];
    let response = send("POST", "/batch", &headers, body.as_bytes(), &mut Core::default());
    assert_eq!(response.status, 200);
    let boundary = response.header("content-type").unwrap().split_once("boundary=").unwrap().1.to_owned();
    let text = String::from_utf8(response.body).unwrap();
    assert!(text.ends_with(&format!("--{boundary}--\r\n")));
    let parts: Vec<&str> = text.split(&format!("--{boundary}\r\n")).skip(1).collect();
    for (part, (id, status)) in parts.iter().zip([("1", "200 OK"), ("2", "429 T"), ("3", "400 B"), ("4", "404 N")]) {
        assert!(part.contains(&format!("Content-ID: <response-a + {id}>\r\n")), "{part}");
        assert!(part.contains(&format!("\r\nHTTP/1.1 {status}")), "{part}");
    }
    assert_eq!(parts.len(), 4);

    for (kind, body) in [
        ("multipart/mixed; boundary=x", "--x\r\n\r\n"),
        ("multipart/mixed; boundary=x", "--x--"),
        ("multipart/mixed", &body),
        ("application/json", "{}"),
    ] {
        let response = send("POST", "/batch", &[("content-type", kind)], body.as_bytes(), &mut Core::default());
        assert_eq!(response.status, 400, "{kind} {body}");
    }
}

#[test]
fn a_suggestion_has_an_id_that_only_its_content_decides() {
    let keep = |body: Value| {
        let mut core = Core::default();
        let response = send("POST", SUGGEST, &[], body.to_string().as_bytes(), &mut core);
        assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
        core.kept.pop()
    };
    let body = |value: f64| json!({"comment": {"text": "hi"}, "attributeScores": {"FLIRTATION": {"summaryScore": {"value": value}}}});
    let id = |body: Value| keep(body).unwrap().id;
    assert_eq!(id(body(1.0)), id(body(1.0)));
    assert_ne!(id(body(1.0)), id(body(0.0)));
    let mut private = body(1.0);
    private["doNotStore"] = json!(true);
    assert_eq!(keep(private), None);
}

#[test]
fn a_message_in_parts_has_one_result_with_the_highest_scores() {
    let part = |text: &str| json!({"type": "text", "text": text});
    let scores = |input: Value| {
        let (status, answer) = post("/v1/moderations", &json!({"input": input}));
        assert_eq!(status, 200, "{answer}");
        let results = answer["results"].as_array().unwrap().clone();
        results.iter().map(|result| result["category_scores"]["harassment"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let alone = scores(json!(["You idiot.", "Thank you."]));
    assert_eq!(scores(json!([part("Thank you."), part("You idiot.")])), [alone[0].max(alone[1])]);
}

#[test]
fn an_unsupported_language_is_refused_by_perspective_and_judged_by_policy() {
    let french = "Je ne suis pas du tout d'accord avec ce que vous avez écrit hier soir dans ce journal.";
    let ask = |languages: Value| {
        post(
            ANALYZE,
            &json!({"comment": {"text": french}, "requestedAttributes": {"THREAT": {}}, "languages": languages}),
        )
    };
    let (status, answer) = ask(Value::Null);
    assert_eq!(
        (status, &answer["error"]["message"]),
        (400, &json!("Attribute THREAT does not support request languages: fr"))
    );
    let details = &answer["error"]["details"][0]["languageNotSupportedByAttributeError"];
    assert_eq!(details, &json!({"attribute": "THREAT", "detectedLanguages": ["fr"]}));
    assert_eq!(ask(json!(["fr", "en-GB"])).0, 200);
    assert_eq!(ask(json!("en")).0, 200, "a bare string");

    let (_, answer) = post("/v1/moderate", &json!({"texts": [french]}));
    assert_eq!(answer["results"][0]["language"], json!({"code": "fr", "supported": false}));
}

#[test]
fn a_request_that_is_refused_for_its_parameters_has_done_nothing() {
    let body = json!({"comment": {"text": "hi"}, "attributeScores": {"A": {"summaryScore": {"value": 1}}}}).to_string();
    for parameters in ["alt=xml", "fields=a("] {
        let mut core = Core::default();
        let response = send("POST", &format!("{SUGGEST}?{parameters}"), &[], body.as_bytes(), &mut core);
        assert_eq!((response.status, core.kept.len()), (400, 0), "{parameters}");
    }
}

#[test]
fn a_part_of_a_batch_has_its_own_key_before_the_batchs() {
    let part = |headers: &str, target: &str, id: &str| {
        let body = json!({"comment": {"text": "hi"}, "requestedAttributes": {}}).to_string();
        format!("--x\r\nContent-ID: {id}\r\n\r\nPOST {target} HTTP/1.1\r\n{headers}\r\n{body}\r\n")
    };
    let body = part("Authorization: Bearer good\r\n", ANALYZE, "<1>")
        + &part("", ANALYZE, "<2\rInjected: 1>")
        + &part("X-Goog-Api-Key: good\r\n", &format!("{ANALYZE}?quotaUser=http://x/y"), "<3>")
        + "--x--";
    let headers = [("content-type", "multipart/mixed; boundary=x")];
    let response = send("POST", "/batch?key=unknown", &headers, body.as_bytes(), &mut Core::default());
    let text = String::from_utf8(response.body).unwrap();
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect();
    assert_eq!(statuses, ["200", "400", "200"], "{text}");
    assert!(!text.contains("Injected"), "{text}");
}

#[test]
fn policies_are_for_those_with_a_key() {
    assert_eq!(send("GET", "/v1/policies", &[("x-api-key", "unknown")], b"", &mut Core::default()).status, 401);
    assert_eq!(send("GET", "/v1/policies", &[], b"", &mut Core::default()).status, 200);
}

#[test]
fn behind_a_path_of_a_proxy_the_protocols_are_the_same() {
    let settings = Settings { public_url: Some("https://example.org/moderation".into()), ..Settings::default() };
    for (target, status) in [("/moderation/v1/policies", 200), ("/v1/policies", 200), ("/moderationv1/policies", 404)] {
        let request = Request { method: "GET", target, scheme: "http", authority: "test", headers: &[], body: b"" };
        assert_eq!(answer(&request, &settings, &mut Core::default()).status, status, "{target}");
    }
}

/// The figure that `language.rs` is tuned to: English comments must not be refused for a language that they are not in.
#[test]
fn hardly_any_english_comment_is_taken_for_another_language() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/jigsaw_toxic.csv.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        assert!(std::env::var_os("CI").is_none(), "{}: no such file", path.display());
        return;
    };
    let mut rows = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let column = rows.headers().unwrap().iter().position(|name| name == "text").unwrap();
    let (mut texts, mut others) = (0, 0);
    for row in rows.records() {
        texts += 1;
        let language = palisade_protocols::language::detect(&row.unwrap()[column]);
        if matches!(language, palisade_protocols::language::Detected::Language(code) if code != "en") {
            others += 1;
        }
    }
    assert!(texts > 10_000 && others * 1000 < texts, "{others} of {texts}");
}

/// A request that is right, to be damaged.
fn sound() -> Vec<(&'static str, Value)> {
    vec![
        (
            ANALYZE,
            json!({"comment": {"text": "hi 😀", "type": "PLAIN_TEXT"}, "requestedAttributes": {"TOXICITY": {"scoreType": "PROBABILITY", "scoreThreshold": 0.1}},
            "languages": ["en"], "context": {"entries": [{"text": "x"}]}, "spanAnnotations": true, "clientToken": "t"}),
        ),
        (
            SUGGEST,
            json!({"comment": {"text": "hi"}, "attributeScores": {"A": {"summaryScore": {"value": 1}, "spanScores": [{"begin": 0, "end": 1, "score": {"value": 0}}]}}}),
        ),
        ("/v1/moderations", json!({"input": [{"type": "text", "text": "hi"}], "model": "omni-moderation-latest"})),
        (
            "/v1/moderate",
            json!({"texts": ["hi"], "policy": "default", "community": "c", "language": "en", "spans": true, "words": true, "offsets": "utf-16"}),
        ),
    ]
}

/// Every place in a value.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, below)| pointers(below, &format!("{at}/{key}"), all)),
        Value::Array(list) => list.iter().enumerate().for_each(|(n, below)| pointers(below, &format!("{at}/{n}"), all)),
        _ => {}
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!({"": [null]})),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ]
}

/// Whatever was sent, the answer is JSON with a status that is not the server's fault.
fn check(target: &str, body: &[u8]) -> Result<(), TestCaseError> {
    let response = send("POST", target, &[("content-type", "multipart/mixed; boundary=x")], body, &mut Core::default());
    prop_assert!(response.status < 500, "{} {}", response.status, String::from_utf8_lossy(&response.body));
    if target != "/batch" {
        prop_assert!(serde_json::from_slice::<Value>(&response.body).is_ok());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_request_is_answered(route in 0..4_usize, place in any::<prop::sample::Index>(), odd in odd_value()) {
        let (target, mut body) = sound().swap_remove(route);
        let mut places = Vec::new();
        pointers(&body, "", &mut places);
        *body.pointer_mut(&places[place.index(places.len())]).unwrap() = odd;
        check(target, body.to_string().as_bytes())?;
    }

    #[test]
    fn a_cut_or_mixed_up_request_is_answered(route in 0..4_usize, at in any::<prop::sample::Index>(), with in any::<Vec<u8>>()) {
        let (target, body) = sound().swap_remove(route);
        let mut bytes = body.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes.splice(at.., with);
        check(target, &bytes)?;
    }

    #[test]
    fn any_batch_is_answered(parts in prop::collection::vec("(--x(--)?|\\r?\\n|Content-(Type|ID): ?[a-z/<>+]{0,20}|POST /v1alpha1/comments:analyze HTTP/1.1|\\PC{0,20}|\\{\\})", 0..20)) {
        check("/batch", parts.concat().as_bytes())?;
    }

    #[test]
    fn any_target_is_answered(target in "/\\PC{0,40}", fields in "[a-z(),/*]{0,30}") {
        let _ = send("GET", &target, &[], b"", &mut Core::default());
        let body = json!({"comment": {"text": "hi"}, "requestedAttributes": {}}).to_string();
        check(&format!("{ANALYZE}?fields={fields}&{target}"), body.as_bytes())?;
    }
}
