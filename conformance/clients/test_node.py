"""The Node libraries of OpenAI and Google; their scripts hold the assertions."""

import subprocess
from pathlib import Path

import pytest

from serving import FRIENDLY, INSULT, KEY, NODE_QUOTA_KEY, THREAT, TWO_SENTENCES, WRONG_KEY

NODE = Path(__file__).parent / "node"


@pytest.mark.parametrize("script", ["openai.mjs", "google.mjs"])
def test_the_library_for_node_works(server, keyed_server, script):
    urls = {"OPEN_URL": server.url, "KEYED_URL": keyed_server.url}
    keys = {"KEY": KEY, "WRONG_KEY": WRONG_KEY, "QUOTA_KEY": NODE_QUOTA_KEY}
    texts = {"FRIENDLY": FRIENDLY, "INSULT": INSULT, "THREAT": THREAT, "TWO_SENTENCES": TWO_SENTENCES}
    given = [f"{name}={value}" for name, value in (urls | keys | texts).items()]
    ended = subprocess.run(["node", NODE / script, *given], capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
