"""Starts `palisade serve` for the tests, and fails them where it ends badly or logs what it should not."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from serving import KEY, QUOTA, QUOTA_KEYS, Server

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from comparison.common import install_program  # noqa: E402

# A machine that is busy with other things must not make the server refuse what a test sends: the limits have tests of
# their own, which set them by flags.
PATIENCE = {
    "PALISADE_QUEUE_MS_MAX": "20000",
    "PALISADE_BODY_MS_MAX": "60000",
    "PALISADE_REQUEST_MS_MAX": "120000",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--palisade", required=True, help="the program under test")


def pytest_configure() -> None:
    os.environ["NO_PROXY"] = "127.0.0.1"


@pytest.fixture(scope="session")
def palisade(pytestconfig: pytest.Config) -> str:
    return pytestconfig.getoption("palisade")


def starter(palisade: str, folder: Path, stack: ExitStack) -> Callable[..., Server]:
    numbers = itertools.count()

    def start(*flags: object, **environment: str) -> Server:
        place = folder / f"server-{next(numbers)}"
        feedback = {"PALISADE_FEEDBACK_FILE": str(place / "feedback.sqlite")}  # and not in somebody's home
        environment = environment_of_server() | PATIENCE | feedback | environment
        server = Server(palisade, [str(flag) for flag in flags], place, environment)
        stack.callback(server.stop)
        return server

    return start


def environment_of_server() -> dict[str, str]:
    """Ours, without what others may have set for another server."""
    kept = ("PALISADE_CACHE_DIR", "PALISADE_ARTEFACT")
    foreign = {name for name in os.environ if name.startswith(("PALISADE_", "OTEL_")) and name not in kept}
    return {name: value for name, value in os.environ.items() if name not in foreign}


@pytest.fixture
def start(palisade: str, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers that live as long as the test."""
    with ExitStack() as stack:
        yield starter(palisade, tmp_path, stack)


@pytest.fixture(scope="session")
def start_for_all(palisade: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers that live as long as the session."""
    with ExitStack() as stack:
        yield starter(palisade, tmp_path_factory.mktemp("servers"), stack)


@pytest.fixture(scope="session")
def feedback_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback") / "feedback.sqlite"


@pytest.fixture(scope="session")
def server(start_for_all: Callable[..., Server], feedback_file: Path) -> Server:
    """Wants no key, keeps feedback."""
    return start_for_all("--feedback", feedback_file)


@pytest.fixture(scope="session")
def keyed_server(start_for_all: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Wants a key."""
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    quotas = {KEY: 6000} | dict.fromkeys(QUOTA_KEYS, QUOTA)
    file.write_text("".join(key_table(key, quota) for key, quota in quotas.items()))
    return start_for_all("--keys", file)


@pytest.fixture(scope="session")
def slowhttptest() -> str:
    return install_program("slowhttptest")


def key_table(key: str, requests_per_minute: int) -> str:
    name, digest = key.removeprefix("key-"), hashlib.sha256(key.encode()).hexdigest()
    return f'[[key]]\nname = "{name}"\nsha256 = "{digest}"\nrequests-per-minute = {requests_per_minute}\n'
