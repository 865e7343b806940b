"""Google's own Python library, which starts from the discovery document."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httplib2
import pytest
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from serving import (
    ENGLISH,
    FRENCH,
    FRIENDLY,
    GOOGLE_QUOTA_KEY,
    INSULT,
    KEY,
    MARKER,
    QUOTA,
    SENTENCES,
    TWO_SENTENCES,
    WRONG_KEY,
    Server,
)

ERROR_TYPE = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
ATTRIBUTES = ["TOXICITY", "SEVERE_TOXICITY", "IDENTITY_ATTACK", "INSULT", "PROFANITY", "THREAT"]


def service(base_url, key=None):
    return build(
        "commentanalyzer",
        "v1alpha1",
        developerKey=key,
        discoveryServiceUrl=base_url + "/$discovery/rest?version=v1alpha1",
        static_discovery=False,
        cache_discovery=False,
        http=None if key else httplib2.Http(),  # with neither a key nor this it looks for credentials
    )


@pytest.fixture(scope="module")
def comments(server):
    with service(server.url, "any") as perspective:
        yield perspective.comments()


def analyze(comments, text=INSULT, attributes=("TOXICITY",), fields=None, **more):
    attributes = attributes if isinstance(attributes, dict) else {name: {} for name in attributes}
    body = {"comment": {"text": text}, "requestedAttributes": attributes} | more
    return comments.analyze(body=body, fields=fields).execute()


def refused(request):
    """The error of a request: status, message, details."""
    with pytest.raises(HttpError) as error:
        request()
    return error.value.status_code, error.value.reason, error.value.error_details


def summary(answer, attribute="TOXICITY"):
    score = answer["attributeScores"][attribute]["summaryScore"]
    assert score["type"] == "PROBABILITY"
    return score["value"]


def test_every_attribute_of_production_is_scored(comments):
    answer = analyze(comments, attributes=ATTRIBUTES)
    assert set(answer["attributeScores"]) == set(ATTRIBUTES)
    assert all(0 < summary(answer, attribute) < 1 for attribute in ATTRIBUTES)
    assert summary(answer, "INSULT") > 0.7 > 0.1 > summary(answer, "THREAT")
    assert summary(analyze(comments, FRIENDLY)) < 0.1


def test_no_attributes_asked_for_means_no_scores(comments):
    assert "attributeScores" not in analyze(comments, attributes=())


def test_the_same_text_has_the_same_scores(comments):
    assert analyze(comments, attributes=ATTRIBUTES) == analyze(comments, attributes=ATTRIBUTES)


def test_spans_are_sentences_in_utf16_code_units(comments):
    spans = analyze(comments, TWO_SENTENCES, spanAnnotations=True)["attributeScores"]["TOXICITY"]["spanScores"]
    utf16 = TWO_SENTENCES.encode("utf-16-le")
    assert [utf16[2 * span["begin"] : 2 * span["end"]].decode("utf-16-le") for span in spans] == SENTENCES
    assert [span["score"]["value"] > 0.5 for span in spans] == [False, True]


def test_the_whole_text_is_one_span_where_none_are_asked_for(comments):
    answer = analyze(comments, TWO_SENTENCES)
    [span] = answer["attributeScores"]["TOXICITY"]["spanScores"]
    assert (span["begin"], span["end"]) == (0, len(TWO_SENTENCES.encode("utf-16-le")) // 2)
    assert span["score"]["value"] == summary(answer)


def test_a_score_below_its_threshold_is_left_out(comments):
    thresholds = {"INSULT": {"scoreThreshold": 0.5}, "THREAT": {"scoreThreshold": 0.5}, "TOXICITY": {}}
    assert set(analyze(comments, attributes=thresholds)["attributeScores"]) == {"INSULT", "TOXICITY"}
    score = summary(analyze(comments))
    assert "attributeScores" in analyze(comments, attributes={"TOXICITY": {"scoreThreshold": score}})


def test_without_any_score_the_scores_are_absent_altogether(comments):
    answer = analyze(comments, FRIENDLY, attributes={"TOXICITY": {"scoreThreshold": 0.9}}, clientToken="t")
    assert set(answer) == {"languages", "detectedLanguages", "clientToken"}


def test_languages_are_echoed_or_else_detected(comments):
    answer = analyze(comments, ENGLISH)
    assert (answer["languages"], answer["detectedLanguages"]) == (["en"], ["en"])
    answer = analyze(comments, ENGLISH, languages=["en-GB", "fr"])
    assert (answer["languages"], answer["detectedLanguages"]) == (["en-GB", "fr"], ["en"])


def test_the_client_token_is_echoed(comments):
    assert analyze(comments, clientToken="comment:17")["clientToken"] == "comment:17"
    assert "clientToken" not in analyze(comments)


def test_fields_select_a_part_of_the_answer(comments):
    answer = analyze(comments, attributes=ATTRIBUTES, fields="attributeScores/INSULT/summaryScore/value,languages")
    assert set(answer) == {"attributeScores", "languages"}
    assert set(answer["attributeScores"]) == {"INSULT"}
    assert set(answer["attributeScores"]["INSULT"]) == {"summaryScore"}
    assert set(answer["attributeScores"]["INSULT"]["summaryScore"]) == {"value"}
    everywhere = analyze(comments, attributes=ATTRIBUTES, fields="attributeScores(*(summaryScore/type))")
    assert everywhere["attributeScores"] == {name: {"summaryScore": {"type": "PROBABILITY"}} for name in ATTRIBUTES}


def test_context_is_accepted(comments):
    article = {"article": {"text": MARKER}, "parentComment": {"text": MARKER}}
    assert analyze(comments, context={"entries": [{"text": MARKER, "type": "PLAIN_TEXT"}]}) == analyze(comments)
    assert analyze(comments, context={"articleAndParentComment": article}) == analyze(comments)


def test_a_suggested_score_is_acknowledged(comments):
    body = {
        "comment": {"text": INSULT},
        "attributeScores": {
            "TOXICITY": {"summaryScore": {"value": 1, "type": "PROBABILITY"}},
            "INSULT": {"spanScores": [{"begin": 0, "end": 7, "score": {"value": 0.5}}]},
        },
        "languages": ["en"],
        "clientToken": "comment:18",
        "communityId": "forum",
        "sessionId": "s",
    }
    answer = comments.suggestscore(body=body).execute()
    assert answer == {"clientToken": "comment:18", "detectedLanguages": ["en"], "requestedLanguages": ["en"]}


def test_an_empty_comment_is_refused(comments):
    details = [{"@type": ERROR_TYPE, "errorType": "COMMENT_EMPTY"}]
    assert refused(lambda: analyze(comments, "")) == (400, "Comment must be non-empty.", details)
    assert refused(lambda: analyze(comments, " \n\t ")) == (400, "Comment must be non-empty.", details)


def test_an_unknown_attribute_is_refused(comments):
    status, message, _ = refused(lambda: analyze(comments, attributes=["TOXICITY", "FLIRTATION"]))
    assert (status, message) == (400, "Unknown requested attribute: FLIRTATION")


def test_a_language_that_the_release_does_not_know_is_refused(comments):
    asked = {"attribute": "TOXICITY", "requestedLanguages": ["om"]}
    detected = {"attribute": "INSULT", "detectedLanguages": ["fr"]}
    error = {"@type": ERROR_TYPE, "errorType": "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"}
    assert refused(lambda: analyze(comments, languages=["om"])) == (
        400,
        "Attribute TOXICITY does not support request languages: om",
        [error | {"languageNotSupportedByAttributeError": asked}],
    )
    assert refused(lambda: analyze(comments, FRENCH, attributes=["INSULT"])) == (
        400,
        "Attribute INSULT does not support request languages: fr",
        [error | {"languageNotSupportedByAttributeError": detected}],
    )


def test_the_right_key_is_let_in(keyed_server):
    assert summary(analyze(service(keyed_server.url, KEY).comments())) > 0.7


def test_a_wrong_key_is_refused(keyed_server):
    status, message, [details] = refused(lambda: analyze(service(keyed_server.url, WRONG_KEY).comments()))
    assert (status, message) == (400, "API key not valid. Please pass a valid API key.")
    assert details["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (details["reason"], details["domain"]) == ("API_KEY_INVALID", "googleapis.com")
    assert details["metadata"]["service"] == "commentanalyzer.googleapis.com"


def test_no_key_is_refused(keyed_server):
    status, message, _ = refused(lambda: analyze(service(keyed_server.url).comments()))
    assert status == 403
    assert message.startswith("Method doesn't allow unregistered callers")


def test_too_many_requests_are_refused(keyed_server):
    comments = service(keyed_server.url, GOOGLE_QUOTA_KEY).comments()
    for _ in range(QUOTA):
        analyze(comments, attributes=ATTRIBUTES)  # counts once, however many attributes it names
    status, message, details = refused(lambda: analyze(comments))
    assert status == 429
    assert message.startswith("Quota exceeded for quota metric 'Analysis requests (AnalyzeComment)'")
    assert details[0]["reason"] == "RATE_LIMIT_EXCEEDED"
    assert details[0]["metadata"]["quota_limit"] == "AnalyzeRequestsPerMinutePerProject"
    assert details[0]["metadata"]["quota_limit_value"] == str(QUOTA)
    assert details[1]["@type"] == "type.googleapis.com/google.rpc.Help"


def analyze_in_batch(perspective, texts):
    """Answers and errors of a batch, by the identifiers of its requests."""
    answers = {}

    def note(name, answer, error):
        answers[name] = error or answer

    batch = perspective.new_batch_http_request(callback=note)
    for name, text in texts.items():
        body = {"comment": {"text": text}, "requestedAttributes": {"TOXICITY": {}}, "clientToken": name}
        batch.add(perspective.comments().analyze(body=body), request_id=name)
    batch.execute()
    return answers


def test_each_request_of_a_batch_has_its_own_answer(server):
    texts = {"insult": INSULT, "empty": "", "a b/ü": FRIENDLY, "french": FRENCH}
    answers = analyze_in_batch(service(server.url, "any"), texts)
    assert set(answers) == set(texts)
    assert summary(answers["insult"]) > 0.7 > summary(answers["a b/ü"])
    assert answers["a b/ü"]["clientToken"] == "a b/ü"
    assert (answers["empty"].status_code, answers["empty"].reason) == (400, "Comment must be non-empty.")
    assert "does not support request languages: fr" in answers["french"].reason


def test_a_batch_mixes_methods_and_its_size_is_bounded(server):
    perspective = service(server.url, "any")
    suggestion = {"comment": {"text": INSULT}, "attributeScores": {"INSULT": {"summaryScore": {"value": 1}}}}
    answers = []
    batch = perspective.new_batch_http_request()
    batch.add(perspective.comments().suggestscore(body=suggestion), callback=lambda *answer: answers.append(answer))
    batch.add(perspective.comments().analyze(body={}), callback=lambda *answer: answers.append(answer))
    batch.execute()
    [(_, kept, nothing), (_, none, error)] = answers
    assert (kept["requestedLanguages"], nothing, none) == ([], None, None)
    assert error.reason == "Comment must be non-empty."
    with pytest.raises(HttpError, match="More than 100 requests in one batch"):
        analyze_in_batch(perspective, {str(number): "" for number in range(101)})


def test_the_keys_of_a_batch_are_checked(keyed_server):
    answers = analyze_in_batch(service(keyed_server.url, WRONG_KEY), {"one": INSULT})
    assert answers["one"].reason == "API key not valid. Please pass a valid API key."
    assert summary(analyze_in_batch(service(keyed_server.url, KEY), {"one": INSULT})["one"]) > 0.7


class Proxy(BaseHTTPRequestHandler):
    """A reverse proxy that serves everything below /moderation."""

    def do_GET(self):
        self.server.targets.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() == "content-type"}
        answer = self.server.upstream.send(self.command, self.path.removeprefix("/moderation"), body, headers)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def test_behind_a_proxy_every_url_is_the_public_one(start):
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        public_url = f"http://127.0.0.1:{proxy.server_port}/moderation"
        upstream: Server = start("--public-url", public_url)
        proxy.upstream, proxy.targets = upstream, []
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        perspective = service(public_url, "any")
        assert summary(analyze(perspective.comments())) > 0.7
        assert summary(analyze_in_batch(perspective, {"one": INSULT})["one"]) > 0.7
        proxy.shutdown()
    assert [target.partition("?")[0] for target in proxy.targets] == [
        "/moderation/$discovery/rest",
        "/moderation/v1alpha1/comments:analyze",
        "/moderation/batch",
    ]
    assert upstream.get("/openapi.json").json["servers"] == [{"url": public_url}]
