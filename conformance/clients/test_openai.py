"""OpenAI's own Python library, which changes its base URL and nothing else."""

import asyncio
import json

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.moderation import Categories

from serving import FRIENDLY, INSULT, KEY, MARKER, OPENAI_QUOTA_KEY, QUOTA, THREAT, WRONG_KEY

COVERED = {"harassment", "harassment/threatening", "hate", "sexual"}
ALL = {field.alias or name for name, field in Categories.model_fields.items()}
MODELS = ["omni-moderation-latest", "omni-moderation-2024-09-26", "text-moderation-latest", "text-moderation-stable"]


@pytest.fixture
def client(server):
    with OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def client_with_key(keyed_server):
    """A client by its key."""
    return lambda key: OpenAI(base_url=f"{keyed_server.url}/v1", api_key=key, max_retries=0)


def coverage(client):
    return client.get("/moderations/coverage", cast_to=object)


def test_a_string_has_one_result(client):
    answer = client.moderations.create(input=INSULT)
    [result] = answer.results
    assert answer.id.startswith("modr-")
    assert result.flagged and result.categories.harassment
    assert result.category_scores.harassment > 0.7
    assert not client.moderations.create(input=FRIENDLY).results[0].flagged


def test_a_list_of_strings_has_a_result_each_in_their_order(client):
    answer = client.moderations.create(input=[FRIENDLY, INSULT, THREAT, FRIENDLY])
    assert [result.flagged for result in answer.results] == [False, True, True, False]
    assert answer.results[0].category_scores == answer.results[3].category_scores
    assert [result.categories.harassment_threatening for result in answer.results] == [False, False, True, False]


def test_a_list_of_text_parts_has_one_result(client):
    parts = [{"type": "text", "text": FRIENDLY}, {"type": "text", "text": INSULT}]
    [result] = client.moderations.create(input=parts).results
    [alone] = client.moderations.create(input=INSULT).results
    assert result.category_scores.harassment == alone.category_scores.harassment


def test_an_image_is_refused(client):
    image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    with pytest.raises(openai.BadRequestError, match="This server has no image model") as refused:
        client.moderations.create(input=[{"type": "text", "text": FRIENDLY}, image])
    assert (refused.value.code, refused.value.param) == ("image_not_supported", "input[1]")
    assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize("model", MODELS)
def test_every_model_of_openai_is_answered_for(client, model):
    assert client.moderations.create(input=FRIENDLY, model=model).results


def test_the_answer_names_the_release_that_scored(client):
    release = coverage(client)["release"]
    model = f"{release['name']}-{release['version']}"
    assert client.moderations.create(input=FRIENDLY, model="omni-moderation-latest").model == model
    assert client.moderations.create(input=FRIENDLY, model=model).model == model
    assert client.moderations.create(input=FRIENDLY, model=release["name"]).model == model


def test_an_unknown_model_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="The model `gpt-4` does not exist") as refused:
        client.moderations.create(input=FRIENDLY, model="gpt-4")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_an_empty_list_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="'input' must not be an empty list") as refused:
        client.moderations.create(input=[])
    assert refused.value.param == "input"


def test_more_inputs_than_allowed_are_refused(client, server):
    schema = server.get("/openapi.json").json["components"]["schemas"]["ModerationsRequest"]
    most = schema["properties"]["input"]["oneOf"][1]["maxItems"]
    assert len(client.moderations.create(input=[MARKER] * most).results) == most
    with pytest.raises(openai.BadRequestError, match=f"{most + 1} inputs") as refused:
        client.moderations.create(input=[MARKER] * (most + 1))
    assert (refused.value.code, refused.value.param) == ("too_many_inputs", "input")


def test_a_body_over_the_limit_is_refused(client):
    # The server listens to the end of such a body for 3 s; a client that stalls for longer is cut off, and asks again.
    patient = client.with_options(max_retries=5)
    with pytest.raises(openai.APIStatusError, match="the body is longer than 4194304 bytes") as refused:
        patient.moderations.create(input=[MARKER * 1000] * 500)
    assert (refused.value.status_code, refused.value.code) == (413, "request_too_large")


def test_categories_without_a_label_are_never_flagged(client):
    [result] = client.moderations.create(input=THREAT).results
    categories, scores = result.categories.to_dict(), result.category_scores.to_dict()
    applied = result.category_applied_input_types.to_dict()
    assert set(categories) == set(scores) == set(applied) == ALL
    assert {category for category in ALL if applied[category] == ["text"]} == COVERED
    others = {(categories[category], scores[category], *applied[category]) for category in ALL - COVERED}
    assert others == {(False, 0.0)}
    assert all(0 < scores[category] <= 1 for category in COVERED)


def test_the_coverage_endpoint_says_which_categories_are_real(client):
    categories = coverage(client)["categories"]
    assert set(categories) == ALL
    assert {category for category in ALL if categories[category]["coverage"] != "no"} == COVERED
    assert {category for category in ALL if categories[category]["labels"]} == COVERED
    assert categories["harassment/threatening"] == {"coverage": "partly", "labels": ["THREAT"]}


def test_the_asynchronous_client_gets_the_same(server, client):
    async def create_many():
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
            return await asyncio.gather(*[client.moderations.create(input=[text]) for text in [INSULT, FRIENDLY] * 4])

    answers = asyncio.run(create_many())
    assert [answer.results for answer in answers[:2]] * 4 == [answer.results for answer in answers]
    assert answers[0].results == client.moderations.create(input=INSULT).results


def test_the_environment_variable_is_enough(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    with OpenAI() as client:
        assert client.moderations.create(input=INSULT).results[0].flagged


def test_answers_carry_a_request_id(client):
    ids = {client.moderations.create(input=FRIENDLY)._request_id for _ in range(3)}
    assert len(ids) == 3 and all(ids)


def test_the_right_key_is_let_in(client_with_key):
    with client_with_key(KEY) as client:
        assert client.moderations.create(input=INSULT).results[0].flagged


def test_a_wrong_key_is_refused(client_with_key):
    with client_with_key(WRONG_KEY) as client, pytest.raises(openai.AuthenticationError) as refused:
        client.moderations.create(input=FRIENDLY)
    assert (refused.value.status_code, refused.value.code) == (401, "invalid_api_key")
    assert "Incorrect API key provided" in refused.value.message
    assert refused.value.response.headers["www-authenticate"].startswith("Bearer")


def test_no_key_is_refused(client_with_key):
    with (
        client_with_key("-") as client,
        pytest.raises(openai.AuthenticationError, match="You didn't provide an API key"),
    ):
        client.moderations.create(input=FRIENDLY, extra_headers={"Authorization": openai.Omit()})


def test_too_many_requests_are_refused_until_later(client_with_key):
    with client_with_key(OPENAI_QUOTA_KEY) as client:
        for _ in range(QUOTA):
            client.moderations.create(input=FRIENDLY)
        with pytest.raises(openai.RateLimitError) as refused:
            client.moderations.create(input=FRIENDLY)
    assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        ({}, "Missing required parameter: 'input'.", "input", "missing_required_parameter"),
        ({"input": None}, "Missing required parameter: 'input'.", "input", "missing_required_parameter"),
        ({"input": 5}, "'input' must be a string, a list of strings, or a list of parts", "input", None),
        ({"input": [MARKER, {"type": "text", "text": MARKER}]}, "'input' must be a string, a list", "input", None),
        ({"input": [[1, 2]]}, "'input' must be a string, a list of strings", "input", None),
        ({"input": [{"type": "text"}]}, "'input[0].text' must be a string.", "input[0]", None),
        ({"input": [{"type": "audio"}]}, "'input[0].type' must be \"text\".", "input[0]", None),
        ({"input": MARKER, "model": 4}, "'model' must be a string, and is 4.", "model", "invalid_type"),
        ([MARKER], "The body must be a JSON object.", None, None),
    ],
)
def test_requests_that_the_library_would_not_send_are_refused(server, body, message, param, code):
    answer = server.post("/v1/moderations", body)
    assert answer.status == 400, answer.body
    assert answer.error["message"].startswith(message)
    assert (answer.error["type"], answer.error["param"], answer.error["code"]) == ("invalid_request_error", param, code)


def test_malformed_json_is_refused_with_its_place(server):
    answer = server.send("POST", "/v1/moderations", json.dumps({"input": MARKER}, indent=1).replace(":", "="))
    assert answer.status == 400
    assert answer.error["message"].endswith("at line 2 column 9."), answer.error
    assert answer.error["message"].startswith("We could not parse the JSON body of your request")
