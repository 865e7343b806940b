"""The words that respelling goes by (`crates/core/src/respell.rs`): those of the training texts, with how common they are."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path

_WORD = re.compile(r"[a-z]+")
_LETTERS = range(2, 21)
_TEXTS_MIN = 5
_STAYS = 64


def write(texts: list[str], base_tokenizer_json: str, out: Path) -> None:
    """One line a word, in order: the word, a space, and a number.

    The words are those that at least five texts hold, and the whole words of the base's vocabulary. The number is twice the binary
    logarithm of the number of texts, cut; and 64 more for the base's words, which are spelt right whatever these texts say.
    """
    count: Counter[str] = Counter()
    for text in texts:
        count.update(set(_WORD.findall(text.lower())))
    base = {word for word in json.loads(base_tokenizer_json)["model"]["vocab"] if _WORD.fullmatch(word)}
    known = {word for word, n in count.items() if n >= _TEXTS_MIN} | base
    lines = []
    for word in sorted(w for w in known if len(w) in _LETTERS):
        commonness = int(2 * math.log2(count[word])) if count[word] >= _TEXTS_MIN else 0
        lines.append(f"{word} {commonness + _STAYS * (word in base)}\n")
    out.write_text("".join(lines), encoding="ascii")
    print(f"{out}: {len(lines)} words")
