"""A running `palisade serve`, and the texts and keys that the tests send to it."""

from __future__ import annotations

import http.client
import itertools
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Each so long that only what hangs takes longer, on a busy machine too. The first start on a machine compiles the artefact.
START_S_MAX = 600
STOP_S_MAX = 300
ANSWER_S_MAX = 300

# In every text that the tests send, and never in a log.
MARKER = "quokkamarker"
FRIENDLY = f"Thank you for the quick answer, {MARKER}."
INSULT = f"You are a complete idiot, {MARKER}."
THREAT = f"I'm going to kill you, {MARKER}, you better watch your back."
# Their emoji is four bytes, two UTF-16 code units, one code point.
SENTENCES = [f"😀 Thank you for the quick answer, {MARKER}.", f"😀 You are a complete idiot, {MARKER}."]
TWO_SENTENCES = " ".join(SENTENCES)
# Long enough for their languages to be told.
ENGLISH = f"This is a perfectly ordinary sentence about the weather in the north, {MARKER}."
FRENCH = f"Je ne suis pas du tout d'accord avec ce que vous avez écrit hier soir, {MARKER}."

KEY, WRONG_KEY = "key-of-coral", "key-of-nobody"
# These keys have a quota of so many requests a minute; each test that exhausts one takes its own.
QUOTA = 2
OPENAI_QUOTA_KEY, GOOGLE_QUOTA_KEY, RAW_QUOTA_KEY, NODE_QUOTA_KEY = QUOTA_KEYS = [
    f"key-with-quota-{number}" for number in range(4)
]
NOT_FOR_LOGS = [MARKER, "complete idiot", KEY, WRONG_KEY, "key-with-quota"]


@dataclass
class Answer:
    """A response, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """What went wrong, in the forms that Google and OpenAI have for it."""
        return self.json["error"]


class Server:
    """A running `palisade serve`."""

    def __init__(self, palisade: str, flags: list[str], folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        self.log_file = folder / "log.jsonl"
        command = [palisade, "serve", "--listen", "127.0.0.1:0", *flags]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        self.stdout: list[str] = []
        urls: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read_stdout, args=(urls,), daemon=True).start()
        try:
            url = urls.get(timeout=START_S_MAX)
        except queue.Empty:
            url = None
        if url is None:
            self.process.kill()
            raise AssertionError(f"no address on stdout: {' '.join(command)}\n{''.join(self.stdout)}\n{self.log()}")
        self.url = url.rstrip("/")
        self.host, self.port = urlsplit(url).hostname or "", urlsplit(url).port or 0

    def _read_stdout(self, urls: queue.Queue[str | None]) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.stdout.append(line)
            for word in line.split():
                if word.startswith("http://"):
                    urls.put(word)
        urls.put(None)

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def send(
        self,
        method: str,
        target: str,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Sends exactly these headers, and those that HTTP requires."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_S_MAX)
        try:
            body = body.encode() if isinstance(body, str) else body
            connection.request(method, target, body=body, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, target: str, headers: dict[str, str] | None = None) -> Answer:
        return self.send("GET", target, headers=headers)

    def post(self, target: str, value: object, headers: dict[str, str] | None = None) -> Answer:
        """Sends JSON."""
        headers = {"Content-Type": "application/json"} | (headers or {})
        return self.send("POST", target, json.dumps(value), headers)

    def stop(self) -> None:
        """Ends the server, unless it has ended, and checks what it leaves behind."""
        self.process.send_signal(signal.SIGTERM)  # does nothing where it has ended
        try:
            status = self.process.wait(timeout=STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still there {STOP_S_MAX} s after SIGTERM\n{self.log()[-2000:]}") from None
        log = self.log()
        assert status == 0, f"exit status {status}\n{log[-2000:]}"
        for secret in NOT_FOR_LOGS:
            lines = [line for line in [*log.splitlines(), *self.stdout] if secret in line]
            assert not lines, f"{secret!r} is in {len(lines)} lines of the output, the first of them {lines[0]}"
        # Before it serves, it may say to a person that it compiles.
        for line in itertools.dropwhile(lambda line: line.startswith("palisade: "), log.splitlines()):
            assert line.startswith("{") and json.loads(line), f"a line of the log is no JSON object: {line}"


def until(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Waits for a condition, and gives its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value
