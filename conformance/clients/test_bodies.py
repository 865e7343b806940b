"""The raw bodies of clients that are not at hand, every refusal of the three protocols, and our own protocol."""

import gzip
import json
import sqlite3
import time
from pathlib import Path

import pytest

from serving import (
    ENGLISH,
    FRENCH,
    FRIENDLY,
    INSULT,
    KEY,
    MARKER,
    QUOTA,
    RAW_QUOTA_KEY,
    SENTENCES,
    THREAT,
    TWO_SENTENCES,
    WRONG_KEY,
    until,
)

ANALYZE = "/v1alpha1/comments:analyze"
SUGGEST = "/v1alpha1/comments:suggestscore"
MODERATIONS = "/v1/moderations"
MODERATE = "/v1/moderate"
ERROR_TYPE = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
GOLDEN_CASES = Path(__file__).parents[2] / "models" / "english-toxicity" / "cases.jsonl"


def comment(text=INSULT, attributes=None, **more):
    attributes = {"TOXICITY": {}} if attributes is None else attributes
    return {"comment": {"text": text}, "requestedAttributes": attributes} | more


def judgement(text=INSULT, scores=None, **more):
    return {"comment": {"text": text}, "attributeScores": scores or {"TOXICITY": {"summaryScore": {"value": 1}}}} | more


def kept(feedback_file, text):
    """What the file of feedback says of a text: rows of client token, label, score."""
    with sqlite3.connect(f"file:{feedback_file}?mode=ro", uri=True) as database:
        return database.execute(
            "select client_token, label, score from feedback join feedback_score on feedback_id = id where text = ?",
            [text],
        ).fetchall()


# Perspective: what clients send


def test_coral_asks_within_its_time_limit(server):
    body = comment(doNotStore=True, languages=["en"])

    def seconds():
        started = time.monotonic()
        answer = server.post(f"{ANALYZE}?key=any", body)
        assert answer.status == 200
        assert answer.json["attributeScores"]["TOXICITY"]["summaryScore"]["value"] > 0.7
        return time.monotonic() - started

    until(lambda: seconds() < 0.8, "an answer within 0.8 s")  # the first, or a later one where the machine stalls


@pytest.mark.parametrize(("status", "value"), [("APPROVED", 0), ("DELETED", 1)])
def test_coral_gives_feedback(server, feedback_file, status, value):
    text = f"Feedback of Coral, {status}, {MARKER}."
    link = {"url": "https://example.org/a?commentID=7", "reply_to_id_Coral_comment_id": "6", "Coral_comment_id": "7"}
    body = {
        "comment": {"text": text},
        "context": {"entries": [{"text": json.dumps(link)}]},
        "attributeScores": {"TOXICITY": {"summaryScore": {"value": value}}},
        "languages": ["en"],
        "communityId": "Coral:https://forum.example.org",
        "clientToken": "comment:7",
    }
    answers = [server.post(f"{SUGGEST}?key=any", body) for _ in range(2)]
    for answer in answers:
        assert answer.status == 200, answer.body
        assert answer.json == {"clientToken": "comment:7", "detectedLanguages": ["en"], "requestedLanguages": ["en"]}
    assert kept(feedback_file, text) == [("comment:7", "TOXICITY", value)]


def test_older_releases_of_coral_judge_by_status(server):
    scores = {"APPROVED": {"summaryScore": {"value": 1}}}
    assert server.post(f"{SUGGEST}?key=any", judgement(scores=scores)).status == 200


def test_n8n_writes_enums_in_lower_case_and_languages_as_a_string(server):
    body = {
        "comment": {"type": "PLAIN_TEXT", "text": INSULT},
        "requestedAttributes": {"IDENTITY_ATTACK": {"scoreType": "probability", "scoreThreshold": 0}},
        "languages": "en",
    }
    answer = server.post(ANALYZE, body, {"Accept": "application/json", "Authorization": "Bearer any"})
    assert answer.status == 200, answer.body
    assert answer.json["attributeScores"]["IDENTITY_ATTACK"]["summaryScore"]["type"] == "PROBABILITY"
    assert answer.json["languages"] == ["en"]


def test_n8n_may_send_its_key_as_a_bearer_token(keyed_server):
    assert keyed_server.post(ANALYZE, comment(), {"Authorization": f"Bearer {KEY}"}).status == 200
    assert keyed_server.post(ANALYZE, comment(), {"X-Goog-Api-Key": KEY}).status == 200


def test_the_reddit_client_of_jigsaw_sends_no_content_type(server):
    body = {"comment": {"text": INSULT}, "requestedAttributes": {"TOXICITY": {}, "INSULT": {}}, "doNotStore": True}
    headers = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "Connection": "keep-alive"}
    answer = server.send("POST", f"{ANALYZE}?key=any", json.dumps(body), headers)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert set(answer.json["attributeScores"]) == {"TOXICITY", "INSULT"}


def test_forms_send_json_under_another_content_type(server):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.send("POST", ANALYZE, json.dumps(comment()), headers).status == 200


@pytest.mark.parametrize(
    "body",
    [
        comment(languages=[]),
        comment(languages=None, clientToken=None, context=None),
        comment(clientToken=17),
        comment(attributes={"TOXICITY": None}),
        comment(attributes={"TOXICITY": {"scoreType": "PROBABILITY", "scoreThreshold": "0.25"}}),
        comment(spanAnnotations="true"),
        comment(unknownField={"a": [1]}),
        {"comment": {"text": INSULT}, "requested_attributes": {"TOXICITY": {"score_threshold": 0.1}}},
    ],
)
def test_lenient_forms_of_json_are_understood(server, body):
    answer = server.post(f"{ANALYZE}?key=any", body)
    assert answer.status == 200, answer.body
    assert answer.json["attributeScores"]["TOXICITY"]["summaryScore"]["value"] > 0.7


def test_a_byte_order_mark_is_passed_over(server):
    for target, body in [(ANALYZE, comment()), (MODERATIONS, {"input": INSULT}), (MODERATE, {"texts": [INSULT]})]:
        assert server.send("POST", target, b"\xef\xbb\xbf" + json.dumps(body).encode()).status == 200


def test_standard_parameters_are_accepted(server):
    target = f"{ANALYZE}?key=any&alt=json&quotaUser=me&%24.xgafv=2&prettyPrint="
    assert b"\n" in server.post(f"{target}true", comment()).body
    assert b"\n" not in server.post(f"{target}false", comment()).body
    assert server.post(ANALYZE.replace(":", "%3A"), comment()).status == 200


def test_feedback_that_must_not_be_stored_is_not(server, feedback_file):
    text = f"Not to be kept, {MARKER}."
    assert server.post(f"{SUGGEST}?key=any", judgement(text, doNotStore=True)).status == 200
    assert kept(feedback_file, text) == []


def test_feedback_may_be_turned_off(start):
    assert start("--feedback", "off").post(SUGGEST, judgement()).status == 200


# Perspective: what is refused


@pytest.mark.parametrize(
    ("body", "message", "details"),
    [
        (comment(""), "Comment must be non-empty.", {"errorType": "COMMENT_EMPTY"}),
        ({"requestedAttributes": {}}, "Comment must be non-empty.", {"errorType": "COMMENT_EMPTY"}),
        (
            comment((MARKER * 2000)[:20481]),
            "Comment text was too many bytes. Value (20481) exceeded limit (20480).",
            None,
        ),
        (
            comment(languages=["om"]),
            "Attribute TOXICITY does not support request languages: om",
            {
                "errorType": "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
                "languageNotSupportedByAttributeError": {"attribute": "TOXICITY", "requestedLanguages": ["om"]},
            },
        ),
        (
            comment(FRENCH),
            "Attribute TOXICITY does not support request languages: fr",
            {
                "errorType": "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
                "languageNotSupportedByAttributeError": {"attribute": "TOXICITY", "detectedLanguages": ["fr"]},
            },
        ),
        ({"comment": {"text": INSULT}}, "Missing requested_attributes", {"errorType": "NO_REQUESTED_ATTRIBUTES"}),
        (comment(attributes={"SPOILER": {}}), "Unknown requested attribute: SPOILER", None),
        (comment(attributes={"toxicity": {}}), "Unknown requested attribute: toxicity", None),
        (
            comment(attributes={"TOXICITY": {"scoreType": "PERCENTILE"}}),
            "Requested score type PERCENTILE is not supported by attribute TOXICITY",
            None,
        ),
        (comment("1488 !!! 😀"), "Unable to detect language", {"errorType": "LANGUAGE_DETECTION_FAILED"}),
        (
            comment(context={"entries": [], "articleAndParentComment": {}}),
            "Only one of context.entries and context.article_and_parent_comment may be given.",
            {"errorType": "INVALID_REQUEST"},
        ),
        (
            {"comment": {"text": INSULT, "type": "HTML"}, "requestedAttributes": {"TOXICITY": {}}},
            "Text type HTML is not supported; send PLAIN_TEXT.",
            {"errorType": "INVALID_REQUEST"},
        ),
    ],
)
def test_analyze_refuses_in_the_words_of_the_original(server, body, message, details):
    answer = server.post(f"{ANALYZE}?key=any", body)
    expected = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    if details:
        expected["details"] = [{"@type": ERROR_TYPE} | details]
    assert (answer.status, answer.error) == (400, expected)
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"


def test_a_text_of_the_greatest_length_is_scored(server):
    assert server.post(ANALYZE, comment((MARKER * 2000)[:20480])).status == 200


@pytest.mark.parametrize(
    ("body", "field", "description"),
    [
        (comment(5), "comment.text", "(TYPE_STRING), 5"),
        (comment() | {"comment": MARKER}, "comment", "(object), a string"),
        (comment(attributes=["TOXICITY"]), "requested_attributes", "(object), a list"),
        (comment(attributes={"TOXICITY": 1}), "requested_attributes.TOXICITY", "(object), 1"),
        (
            comment(attributes={"TOXICITY": {"scoreThreshold": "high"}}),
            "requested_attributes.TOXICITY.score_threshold",
            "(TYPE_FLOAT), a string",
        ),
        (
            comment(attributes={"TOXICITY": {"scoreType": "GUESS"}}),
            "requested_attributes.TOXICITY.score_type",
            "(ScoreType), a string",
        ),
        (comment(languages=[5]), "languages", "(TYPE_STRING), 5"),
        (comment(spanAnnotations=1), "span_annotations", "(TYPE_BOOL), 1"),
        (comment(doNotStore="perhaps"), "do_not_store", "(TYPE_BOOL), a string"),
        (comment(clientToken={}), "client_token", "(TYPE_STRING), an object"),
        (comment(context=[]), "context", "(object), a list"),
    ],
)
def test_a_field_of_another_type_is_named(server, body, field, description):
    answer = server.post(ANALYZE, body)
    message = f"Invalid value at '{field}' {description}"
    violation = {"field": field, "description": message}
    details = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
    expected = {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": [details]}
    assert (answer.status, answer.error) == (400, expected)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "attribute_scores must be non-empty."),
        ({"TOXICITY": {}}, "attribute_scores.TOXICITY has neither summary_score nor span_scores."),
        (
            {"TOXICITY": {"summaryScore": {"value": 1.5}}},
            "attribute_scores.TOXICITY.summary_score.value must be from 0 to 1.",
        ),
        (
            {"TOXICITY": {"spanScores": [{"begin": 5, "end": 500, "score": {"value": 1}}]}},
            f"attribute_scores.TOXICITY.span_scores: 5 to 500 is no span of a text of {len(INSULT)} UTF-16 units.",
        ),
    ],
)
def test_suggestscore_refuses_what_is_no_judgement(server, scores, message):
    answer = server.post(SUGGEST, {"comment": {"text": INSULT}, "attributeScores": scores})
    details = [{"@type": ERROR_TYPE, "errorType": "INVALID_REQUEST"}]
    expected = {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details}
    assert (answer.status, answer.error) == (400, expected)


def test_a_wrong_key_no_key_and_the_quota_have_googles_words(keyed_server):
    wrong = keyed_server.post(f"{ANALYZE}?key={WRONG_KEY}", comment())
    assert (wrong.status, wrong.error["status"]) == (400, "INVALID_ARGUMENT")
    assert wrong.error["message"] == "API key not valid. Please pass a valid API key."
    assert wrong.error["details"][0]["reason"] == "API_KEY_INVALID"
    for target in (ANALYZE, f"{ANALYZE}?key="):
        none = keyed_server.post(target, comment())
        assert (none.status, none.error["status"], none.error.get("details")) == (403, "PERMISSION_DENIED", None)
        assert none.error["message"].startswith("Method doesn't allow unregistered callers")
    for _ in range(QUOTA):
        assert keyed_server.post(f"{ANALYZE}?key={RAW_QUOTA_KEY}", comment()).status == 200
    over = keyed_server.post(f"{ANALYZE}?key={RAW_QUOTA_KEY}", comment())
    assert (over.status, over.error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert over.error["message"].startswith("Quota exceeded for quota metric 'Analysis requests (AnalyzeComment)'")
    info, help_ = over.error["details"]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (info["reason"], info["metadata"]["quota_limit_value"]) == ("RATE_LIMIT_EXCEEDED", str(QUOTA))
    assert help_["@type"] == "type.googleapis.com/google.rpc.Help"
    assert 1 <= int(over.headers["Retry-After"]) <= 60
    # The quota is the key's, whatever the protocol.
    elsewhere = keyed_server.post(MODERATE, {"texts": []}, {"X-Api-Key": RAW_QUOTA_KEY})
    assert (elsewhere.status, elsewhere.json["type"]) == (429, "/docs#rate-limited")
    assert 1 <= int(elsewhere.headers["Retry-After"]) <= 60


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (f'{{"comment": {{"text": "{MARKER}"}},\n "requestedAttributes": {{TOXICITY: {{}}}}}}', "line 2 column 26"),
        (f'{{"comment": {{"text": "{MARKER}', "line 1 column 34"),
        ("", "line 1 column 0"),
        (f'"{MARKER}" x', "line 1 column 16"),
    ],
)
def test_malformed_json_is_refused_with_its_place(server, body, place):
    google = server.send("POST", ANALYZE, body)
    assert (google.status, google.error["status"]) == (400, "INVALID_ARGUMENT")
    assert google.error["message"].startswith("Invalid JSON payload received. ")
    openai = server.send("POST", MODERATIONS, body)
    assert (openai.status, openai.error["type"]) == (400, "invalid_request_error")
    assert openai.error["message"].startswith("We could not parse the JSON body of your request: ")
    for message in (google.error["message"], openai.error["message"]):
        assert message.rstrip(".").endswith(f"at {place}"), message


HOSTILE = {
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"comment":' * 50_000,
    "no UTF-8": b'{"comment": {"text": "\xff\xfe"}}',
    "half a surrogate pair": b'{"comment": {"text": "\\ud83d"}}',
    "a number beyond all bounds": b'{"comment": {"text": 1e999}}',
    "one NUL": b"\x00",
    "a million lists": b'{"input": [' + b"[]," * 1_300_000 + b"[]]}",
    "compressed without a word": gzip.compress(json.dumps(comment()).encode()),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("target", [ANALYZE, SUGGEST, MODERATIONS, MODERATE])
def test_hostile_bodies_are_refused(server, target, body):
    assert server.send("POST", target, body).status in (400, 413, 422)


# All three: the same refusal in each one's form

GOOGLE, OPENAI, OURS = "google", "openai", "ours"
TARGETS = [(ANALYZE, GOOGLE), (SUGGEST, GOOGLE), ("/batch", GOOGLE), (MODERATIONS, OPENAI), (MODERATE, OURS)]


def check_form(answer, form, status):
    """Checks an error against the form that its protocol has for it, and gives its message."""
    assert answer.status == status, answer.body
    content_type = answer.headers["Content-Type"]
    if form == GOOGLE:
        assert content_type == "application/json; charset=UTF-8"
        assert answer.error["code"] == status and answer.error["status"]
        return answer.error["message"]
    if form == OPENAI:
        assert content_type == "application/json"
        assert set(answer.error) == {"message", "type", "param", "code"}
        return answer.error["message"]
    assert content_type == "application/problem+json"
    problem = answer.json
    assert problem["status"] == status and problem["title"] and problem["type"].startswith("/docs#")
    return problem["detail"]


@pytest.fixture(scope="module")
def small_server(start_for_all):
    return start_for_all("--body-bytes-max", 1000)


@pytest.mark.parametrize(("target", "form"), TARGETS)
def test_a_body_over_the_limit_is_refused(small_server, target, form):
    body = json.dumps({"comment": {"text": MARKER * 200}, "requestedAttributes": {"TOXICITY": {}}})
    message = check_form(small_server.send("POST", target, body), form, 413)
    assert "1000 bytes" in message
    chunks = iter([body[:600].encode(), body[600:].encode()])  # without a Content-Length
    check_form(small_server.send("POST", target, chunks), form, 413)


def test_a_body_of_the_limit_is_read(small_server):
    body = json.dumps({"texts": [INSULT]})
    assert small_server.send("POST", MODERATE, body + " " * (1000 - len(body))).status == 200


@pytest.mark.parametrize(("target", "form"), [case for case in TARGETS if case[0] != "/batch"])
def test_a_compressed_body_is_refused(server, target, form):
    check_form(server.send("POST", target, gzip.compress(b"{}"), {"Content-Encoding": "gzip"}), form, 415)


@pytest.mark.parametrize(
    ("target", "form"),
    [("/v1alpha1/comments:delete", GOOGLE), ("/v1/moderationsx", OPENAI), ("/v1/chat", OURS), ("/nothing", OURS)],
)
def test_an_unknown_path_is_not_found(server, target, form):
    check_form(server.get(target), form, 404)
    check_form(server.post(target, {}), form, 404)


@pytest.mark.parametrize(("target", "form"), TARGETS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_refused_with_those_allowed(server, target, form, method):
    answer = server.send(method, target)
    check_form(answer, form, 405)
    assert answer.headers["Allow"] == "POST, OPTIONS"


@pytest.mark.parametrize(
    ("target", "form"),
    [
        ("/$discovery/rest", GOOGLE),
        ("/v1/moderations/coverage", OPENAI),
        ("/v1/policies", OURS),
        ("/openapi.json", OURS),
        ("/docs", OURS),
        ("/", OURS),
    ],
)
def test_documents_are_read_with_get_and_head_only(server, target, form):
    whole, head = server.get(target), server.send("HEAD", target)
    assert (whole.status, head.status, head.body) == (200, 200, b"")
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]
    refused = server.post(target, {})
    check_form(refused, form, 405)
    assert refused.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_the_page_of_documentation_runs_no_script(server):
    page = server.get("/docs")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert server.url in page.body.decode() and "{{" not in page.body.decode()


def test_pages_of_the_origins_allowed_may_ask(start):
    server = start("--cors-origin", "https://forum.example.org")
    preflight = {
        "Origin": "https://forum.example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-api-key",
    }
    allowed = server.send("OPTIONS", MODERATE, headers=preflight)
    assert (allowed.status, allowed.body) == (204, b"")
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://forum.example.org"
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
    assert allowed.headers["Access-Control-Allow-Headers"] == "content-type, x-api-key"
    answer = server.post(MODERATE, {"texts": [INSULT]}, {"Origin": "https://forum.example.org"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://forum.example.org"
    assert answer.headers["Vary"].lower() == "origin"
    refused = server.post(MODERATE, {"texts": 5}, {"Origin": "https://forum.example.org"})
    assert refused.headers["Access-Control-Allow-Origin"] == "https://forum.example.org"

    other = server.send("OPTIONS", MODERATE, headers=preflight | {"Origin": "https://evil.example.org"})
    assert not [name for name in other.headers if name.lower().startswith("access-control-")]
    assert server.post(MODERATE, {"texts": []}, {"Origin": "null"}).headers["Access-Control-Allow-Origin"] is None


def test_without_origins_allowed_no_page_may_ask(server):
    headers = {"Origin": "https://forum.example.org", "Access-Control-Request-Method": "POST"}
    answers = [server.send("OPTIONS", MODERATE, headers=headers), server.post(MODERATE, {"texts": []}, headers)]
    for answer in answers:
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


# Our own protocol


def moderate(server, texts, **more):
    answer = server.post(MODERATE, {"texts": texts} | more)
    assert answer.status == 200, answer.body
    return answer.json


def test_each_text_has_a_verdict_and_the_thresholds_that_fired(server):
    answer = moderate(server, [FRIENDLY, INSULT, THREAT, ""])
    assert [result["verdict"] for result in answer["results"]] == ["allow", "review", "review", "allow"]
    friendly, insult, threat, empty = answer["results"]
    assert friendly["fired"] == []
    assert [fired["label"] for fired in insult["fired"]] == ["TOXICITY", "INSULT", "PROFANITY"]
    for fired in insult["fired"]:
        assert fired["threshold"] <= fired["score"] == insult["scores"][fired["label"]]
        assert fired["verdict"] == "review"
    assert "THREAT" in [fired["label"] for fired in threat["fired"]]
    assert (set(empty["scores"].values()), empty["tokens"]) == ({0.0}, 0)
    assert (answer["policy"], answer["community"], answer["offsets"]) == ("default", None, "utf-8")
    assert len(answer["release"]["digest"]) == 64 and answer["engine"] and answer["id"].startswith("mod-")
    assert answer["latency_ms"] > 0
    assert "spans" not in insult


def test_no_texts_have_no_results(server):
    assert moderate(server, [])["results"] == []


@pytest.mark.parametrize(
    ("offsets", "part"),
    [
        ("utf-8", lambda start, end: TWO_SENTENCES.encode()[start:end].decode()),
        ("utf-16", lambda start, end: TWO_SENTENCES.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le")),
        ("code-point", lambda start, end: TWO_SENTENCES[start:end]),
    ],
)
def test_spans_are_sentences_in_the_offsets_asked_for(server, offsets, part):
    answer = moderate(server, [TWO_SENTENCES], spans=True, offsets=offsets)
    [result] = answer["results"]
    assert [part(span["start"], span["end"]) for span in result["spans"]] == SENTENCES
    assert [span["scores"]["INSULT"] > 0.5 for span in result["spans"]] == [False, True]
    assert (answer["offsets"], result["spans_truncated"]) == (offsets, False)


def test_offsets_are_bytes_where_nothing_else_is_asked_for(server):
    bytes_ = moderate(server, [TWO_SENTENCES], spans=True)["results"][0]["spans"]
    assert bytes_ == moderate(server, [TWO_SENTENCES], spans=True, offsets="utf-8")["results"][0]["spans"]


@pytest.mark.parametrize(
    ("offsets", "part"),
    [
        ("utf-8", lambda start, end: TWO_SENTENCES.encode()[start:end].decode()),
        ("utf-16", lambda start, end: TWO_SENTENCES.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le")),
        ("code-point", lambda start, end: TWO_SENTENCES[start:end]),
    ],
)
def test_words_have_effects_in_the_offsets_asked_for(server, offsets, part):
    [result] = moderate(server, [TWO_SENTENCES], words=True, offsets=offsets)["results"]
    words = result["words"]
    assert [part(word["start"], word["end"]) for word in words] == TWO_SENTENCES.split()
    most = max(words, key=lambda word: word["effects"]["INSULT"])
    assert part(most["start"], most["end"]) == "idiot,"
    assert (result["words_truncated"], "spans" in result) == (False, False)


def test_the_language_is_detected_or_taken_as_given(server):
    french, english, unsure = moderate(server, [FRENCH, ENGLISH, "lol"], language=None)["results"]
    assert french["language"] == {"code": "fr", "supported": False}
    assert english["language"] == {"code": "en", "supported": True}
    assert unsure["language"] == {"code": None, "supported": True}
    [given] = moderate(server, [FRIENDLY], language="de-AT")["results"]
    assert given["language"] == {"code": "de-AT", "supported": False}


def test_a_long_text_is_cut_and_says_so(server):
    [result] = moderate(server, [f"{FRIENDLY} " * 100])["results"]
    assert (result["truncated"], result["tokens"]) == (True, 256)


def test_the_golden_cases_have_the_same_scores_to_the_bit(server):
    lines = GOLDEN_CASES.read_text(encoding="utf-8").split("\n")  # and not splitlines: texts have other line ends
    cases = [json.loads(line) for line in lines if line]
    for start in range(0, len(cases), 16):
        some = cases[start : start + 16]
        results = moderate(server, [case["text"] for case in some], spans=True)["results"]
        for case, result in zip(some, results, strict=True):
            assert {name: result[name] for name in ("scores", "truncated", "spans", "spans_truncated")} == {
                name: case[name] for name in ("scores", "truncated", "spans", "spans_truncated")
            }, case["id"]


POLICIES = """
[policies.forum]
unsupported-language = "review"
truncated = "review"
review = { TOXICITY = 0.5, THREAT = 0.5 }
block = { INSULT = 0.9 }

[policies.forum.communities."r/gentle"]
review = { THREAT = 0.01 }
block = { INSULT = "off" }

[policies.openai]
review = { THREAT = 0.5 }
"""


@pytest.fixture(scope="module")
def server_with_policies(start_for_all, tmp_path_factory):
    file = tmp_path_factory.mktemp("policies") / "policies.toml"
    file.write_text(POLICIES)
    return start_for_all("--policies", file)


def test_a_policy_decides_the_verdict(server_with_policies):
    texts = [FRIENDLY, INSULT, THREAT, FRENCH, f"{FRIENDLY} " * 100]
    answer = moderate(server_with_policies, texts, policy="forum")
    assert answer["policy"] == "forum"
    assert [result["verdict"] for result in answer["results"]] == ["allow", "block", "review", "review", "review"]
    fired = {fired["label"]: (fired["threshold"], fired["verdict"]) for fired in answer["results"][1]["fired"]}
    assert fired == {"TOXICITY": (0.5, "review"), "INSULT": (0.9, "block")}
    assert [fired["label"] for fired in answer["results"][2]["fired"]] == ["TOXICITY", "THREAT"]


def test_a_community_overrides_single_thresholds(server_with_policies):
    texts = [FRIENDLY, INSULT]
    gentle = moderate(server_with_policies, texts, policy="forum", community="r/gentle")
    assert [result["verdict"] for result in gentle["results"]] == ["allow", "review"]
    assert gentle["community"] == "r/gentle"
    other = moderate(server_with_policies, texts, policy="forum", community="r/other")
    assert [result["verdict"] for result in other["results"]] == ["allow", "block"]


def test_the_policies_can_be_read(server_with_policies):
    policies = server_with_policies.get("/v1/policies").json["policies"]
    assert set(policies) == {"default", "forum", "openai"}
    assert policies["forum"]["labels"]["INSULT"] == {"review": None, "block": 0.9}
    gentle = policies["forum"]["communities"]["r/gentle"]
    assert (gentle["INSULT"], gentle["THREAT"]) == ({"review": None, "block": None}, {"review": 0.01, "block": None})
    assert policies["default"]["labels"]["TOXICITY"]["review"] > 0


def test_the_policy_named_openai_decides_what_moderations_flag(server_with_policies):
    results = server_with_policies.post(MODERATIONS, {"input": [INSULT, THREAT]}).json["results"]
    assert [result["flagged"] for result in results] == [False, True]
    assert results[0]["category_scores"]["harassment"] > 0.7


@pytest.mark.parametrize(
    ("body", "status", "name", "members"),
    [
        ({}, 422, "invalid-request", {"line": 1, "column": 2}),
        ({"texts": MARKER}, 422, "invalid-request", {"line": 1}),
        ({"texts": [5]}, 422, "invalid-request", {"line": 1}),
        ({"texts": [], "text": MARKER}, 422, "invalid-request", {"line": 1}),
        ({"texts": [], "offsets": "utf-32"}, 422, "invalid-request", {"line": 1}),
        ({"texts": [], "policy": "none"}, 422, "unknown-policy", {"policies": ["default"]}),
        ({"texts": [MARKER] * 65}, 422, "too-many-texts", {"given": 65, "limit": 64}),
    ],
)
def test_our_own_refusals_are_problems(server, body, status, name, members):
    answer = server.post(MODERATE, body)
    check_form(answer, OURS, status)
    assert answer.json["type"] == f"/docs#{name}"
    assert members.items() <= answer.json.items()


def test_malformed_json_is_a_problem_with_its_place(server):
    answer = server.send("POST", MODERATE, f'{{"texts":\n ["{MARKER}",]}}')
    check_form(answer, OURS, 400)
    assert (answer.json["type"], answer.json["line"], answer.json["column"]) == ("/docs#malformed-json", 2, 18)


def test_a_wrong_key_and_no_key_are_problems(keyed_server):
    for headers, name in [({}, "missing-key"), ({"X-Api-Key": WRONG_KEY}, "unknown-key")]:
        answer = keyed_server.post(MODERATE, {"texts": [INSULT]}, headers)
        check_form(answer, OURS, 401)
        assert answer.json["type"] == f"/docs#{name}"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for headers in ({"X-Api-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
        assert keyed_server.post(MODERATE, {"texts": [INSULT]}, headers).status == 200


def test_every_type_of_problem_is_explained(server):
    page = server.get("/docs").body.decode()
    for problem in (server.post(MODERATE, {}), server.get("/nothing"), server.get(MODERATE)):
        assert f'id="{problem.json["type"].removeprefix("/docs#")}"' in page
