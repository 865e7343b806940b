"""A WordPiece vocabulary cut to the pieces that the training texts use."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
from tokenizers import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def prune(base_tokenizer_json: str, texts: list[str], occurrences_min: int) -> tuple[str, np.ndarray]:
    """Returns the pruned ``tokenizer.json`` and, for each new id, the row of the base embedding table it takes.

    Single ASCII characters (first or continuing) always stay, so every English word can still be spelled; other characters become [UNK]
    where the texts do not use them.
    """
    spec = json.loads(base_tokenizer_json)
    spec["truncation"] = None
    spec["padding"] = None
    base_vocabulary: dict[str, int] = spec["model"]["vocab"]

    count: Counter[int] = Counter()
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        count.update(encoding.ids)

    def stays(token: str, base_id: int) -> bool:
        if token in SPECIAL or token.startswith("[unused"):
            return False
        piece = token.removeprefix("##")
        return (len(piece) == 1 and piece.isascii()) or count[base_id] >= occurrences_min

    kept = [t for t, i in sorted(base_vocabulary.items(), key=lambda item: item[1]) if stays(t, i)]
    tokens = SPECIAL + kept
    spec["model"]["vocab"] = {token: i for i, token in enumerate(tokens)}
    for added in spec["added_tokens"]:
        added["id"] = tokens.index(added["content"])
    for token in spec["post_processor"]["special_tokens"].values():
        token["ids"] = [tokens.index(token["id"])]
    base_rows = np.array([base_vocabulary[token] for token in tokens])
    return json.dumps(spec, ensure_ascii=False, separators=(",", ":")), base_rows
