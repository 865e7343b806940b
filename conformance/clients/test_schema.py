"""The OpenAPI document: whether it is valid, and whether the server keeps to it."""

import subprocess
import sys
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator, validate

CONFORMANCE = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
        "unsupported_method",
        "allow_header_conformance",
    ]
)
# The two compatible protocols are lenient on purpose, so what is accepted and refused is checked on ours.
STRICT = "negative_data_rejection,positive_data_acceptance"


def explore(server, folder, *options):
    """Sends what the document allows and what it forbids."""
    schemathesis = Path(sys.executable).with_name("schemathesis")
    command = [schemathesis, "run", f"{server.url}/openapi.json", "--no-color", "--request-timeout", "300"]
    command += ["--request-retries", "2"]  # the server closes a connection that a busy client lets idle for 10 s
    command += ["--suppress-health-check", "too_slow"]
    command += ["--phases", "examples,coverage,fuzzing", "--generation-deterministic", "--max-examples", "100"]
    ended = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]


def test_the_document_is_valid(server):
    document = server.get("/openapi.json")
    assert document.headers["Content-Type"] == "application/json"
    validate(document.json, cls=OpenAPIV31SpecValidator)


def test_every_path_of_the_document_is_served(server):
    for path, operations in server.get("/openapi.json").json["paths"].items():
        for method in operations:
            assert server.send(method.upper(), path).status not in (404, 405), (method, path)


def test_the_server_keeps_to_its_document(server, tmp_path):
    explore(server, tmp_path, "--checks", CONFORMANCE)


def test_our_own_protocol_accepts_and_refuses_what_its_document_says(server, tmp_path):
    explore(server, tmp_path, "--checks", STRICT, "--include-path", "/v1/moderate")
