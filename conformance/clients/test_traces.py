"""Traces by OpenTelemetry's protocol, at a collector of the test."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from serving import INSULT, KEY, MARKER, until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector():
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        collector.requests = []
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


def spans(collector):
    """All spans so far, and the name of the service that sent them."""
    for path, content_type, body in collector.requests:
        assert (path, content_type) == ("/v1/traces", "application/x-protobuf")
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = attributes(resource.resource)["service.name"]
            for scope in resource.scope_spans:
                yield from ((service, span) for span in scope.spans)


def attributes(thing):
    """Attributes by name, the values as Python has them."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in thing.attributes}


def test_each_request_is_a_span_with_route_and_status(start, collector):
    server = start(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}")
    parent = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    assert server.post("/v1/moderate", {"texts": [INSULT, MARKER]}, parent).status == 200
    body = {"comment": {"text": INSULT}, "requestedAttributes": {MARKER: {}}}
    assert server.post(f"/v1alpha1/comments:analyze?key={KEY}", body, parent).status == 400
    assert server.post("/v1/moderations", {"input": INSULT}, {"Authorization": f"Bearer {KEY}"}).status == 200
    assert server.get(f"/{MARKER}?key={KEY}").status == 404
    server.stop()  # which sends what is left

    found = list(spans(collector))
    assert {service for service, _ in found} == {"palisade"}
    requests = [span for _, span in found if span.kind == Span.SPAN_KIND_SERVER]
    seen = sorted((attributes(span)["http.route"], attributes(span)["http.response.status_code"]) for span in requests)
    assert seen == [("analyze", 400), ("moderate", 200), ("moderations", 200), ("other", 404)]
    assert all(attributes(span)["http.request.method"] in ("GET", "POST") for span in requests)
    assert all(0 < span.start_time_unix_nano < span.end_time_unix_nano for span in requests)

    continued = [span for span in requests if span.trace_id.hex() == TRACE_ID]
    assert {attributes(span)["http.route"] for span in continued} == {"moderate", "analyze"}
    assert {span.parent_span_id.hex() for span in continued} == {PARENT_ID}
    # What a request caused lies below it.
    ours = {span.span_id for span in requests}
    children = [span for _, span in found if span.kind != Span.SPAN_KIND_SERVER]
    assert children and all(span.parent_span_id in ours for span in children)

    payload = b"".join(body for *_, body in collector.requests)
    for secret in (MARKER, "complete idiot", KEY):
        assert secret.encode() not in payload


def test_traces_are_sent_while_the_server_runs(start, collector):
    endpoint = f"http://127.0.0.1:{collector.server_port}/"
    server = start(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="200")
    server.post("/v1/moderate", {"texts": [INSULT]})
    until(lambda: collector.requests, "a trace at the collector")


def test_a_collector_that_is_away_harms_nothing(start):
    with socket.socket() as nobody:  # has the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        server = start(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="100")
        for _ in range(20):
            assert server.post("/v1/moderate", {"texts": [INSULT]}).status == 200
