"""Changes of training texts that leave their labels true: spelling tricks, other identities, fragments, joined texts.

Each epoch draws its own. All word lists here are general vocabulary: they hold no sentence or template of any evaluation suite.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .data import Rows

# Words of one part of speech stand in for each other: (adjectives), (plural nouns).
_ADJECTIVES = """black white asian african hispanic latino mexican chinese japanese korean indian arab pakistani american european russian irish
polish turkish nigerian african american native american middle eastern indigenous jewish muslim christian catholic hindu buddhist sikh mormon protestant atheist
gay straight lesbian bisexual homosexual heterosexual transgender trans queer nonbinary male female blind deaf disabled paralyzed autistic
old young elderly older younger teenage middle aged immigrant""".replace("\n", " ")
_TWO_WORDS = ["african american", "native american", "middle eastern", "middle aged"]
ADJECTIVES = _TWO_WORDS + [w for w in re.sub("|".join(_TWO_WORDS), "", _ADJECTIVES).split()]
PLURALS = """blacks whites asians africans hispanics latinos mexicans indians arabs americans europeans russians turks jews muslims christians
catholics hindus buddhists sikhs mormons protestants atheists gays lesbians homosexuals women men females males immigrants refugees foreigners elders teenagers""".split()
_PERSONS = "people|person|man|men|woman|women|guy|guys|friend|friends|girl|boy|kid|kids|family|families|neighbor|neighbour|teacher|student|students|doctor|author|editor|editors|users|citizens|community|couple"

_adjective = re.compile(rf"\b({'|'.join(ADJECTIVES)})\b(?= ({_PERSONS})\b)|\b(gay|lesbian|transgender|muslim|jewish|christian|hindu|mexican|chinese|hispanic|latino|arab|bisexual|homosexual|disabled|buddhist|sikh|autistic)\b", re.IGNORECASE)
_plural = re.compile(rf"\b({'|'.join(PLURALS)})\b", re.IGNORECASE)
_person = re.compile(rf"\b({_PERSONS})\b", re.IGNORECASE)
_sentence = re.compile(r"(?<=[.!?])\s+")

_LEET = {"a": "4@", "e": "3", "i": "1!", "o": "0", "s": "5$", "t": "7"}


@dataclass(frozen=True)
class Shares:
    """Shares of texts that are changed, from the recipe's table ``augmentation``."""

    spelling: float
    identity_swap: float
    identity_insertion: float
    fragment: float
    join: float


def _pick(generator: np.random.Generator, items):
    return items[int(generator.integers(len(items)))]


def misspell(word: str, generator: np.random.Generator) -> str:
    """One trick on a word of at least four letters. Normalisation undoes many of them again; the rest is what a model has to learn."""
    i = int(generator.integers(1, len(word) - 1))
    match int(generator.integers(10)):
        case 0:
            return word[:i] + word[i + 1 :]
        case 1:
            return word[: i - 1] + word[i] + word[i - 1] + word[i + 1 :]
        case 2:
            return word[:i] + word[i] + word[i:]
        case 3:
            return word[:i] + "*" * (1 + (i + 2 < len(word))) + word[i + 1 + (i + 2 < len(word)) :]
        case 4:
            return re.sub("[aeiou]", "", word[:-1]) + word[-1]
        case 5:
            return word[:i] + " " + word[i:]
        case 6:
            return word[:i] + _pick(generator, ".-_*") + word[i:]
        case 7:
            return _pick(generator, " .-").join(word)
        case 8:
            return "".join(_pick(generator, _LEET[c]) if c in _LEET and generator.random() < 0.6 else c for c in word.lower())
        case _:
            for ours, theirs in (("ck", "k"), ("er", "a"), ("s", "z"), ("you", "u"), ("ph", "f"), ("c", "k"), ("i", "y"), ("u", "oo")):
                if ours in word.lower()[1:]:
                    return word[0] + word[1:].lower().replace(ours, theirs, 1)
            return word + word[-1]


def spelling(text: str, generator: np.random.Generator) -> str:
    words = text.split(" ")
    share = 0.5 if len(words) < 12 else 0.25
    changed = [misspell(w, generator) if len(w) >= 4 and w.isalpha() and generator.random() < share else w for w in words]
    if len(words) > 1 and generator.random() < 0.15:
        i = int(generator.integers(len(words) - 1))
        changed[i : i + 2] = [changed[i] + changed[i + 1]]
    return " ".join(changed)


def swap_identities(text: str, generator: np.random.Generator) -> str:
    """Every identity term becomes another one of its kind, the same one for the same."""
    chosen: dict[str, str] = {}

    def other(terms: list[str]):
        def replace(match: re.Match) -> str:
            return chosen.setdefault(match[0].lower(), _pick(generator, terms))

        return replace

    return _plural.sub(other(PLURALS), _adjective.sub(other(ADJECTIVES), text))


def insert_identity(text: str, generator: np.random.Generator) -> str:
    """An identity term before a word for a person."""
    places = list(_person.finditer(text))
    if not places:
        return text
    at = _pick(generator, places).start()
    before = text[:at]
    return f"{before}{_pick(generator, ADJECTIVES)} {text[at:]}"


@dataclass(frozen=True)
class Changed:
    """The rows as one epoch sees them."""

    text: list[str]
    spelt: list[str]  # the same before they were misspelt
    labels: np.ndarray  # float32 [rows, labels]


def epoch(rows: Rows, names: list[str], shares: Shares, seed: list[int]) -> Changed:
    generator = np.random.default_rng(seed)
    labels = rows.labels.copy()
    text = list(rows.text)
    toxicity, hate, attack = (names.index(n) for n in ("TOXICITY", "HATE", "IDENTITY_ATTACK"))
    kind_draws = generator.random((len(rows), 5))
    calm = np.flatnonzero(np.nan_to_num(np.nanmax(np.nan_to_num(labels, nan=0.0), axis=1)) < 0.5)
    for i in range(len(rows)):
        draw = kind_draws[i]
        harmless = labels[i, toxicity] == 0 and not np.nanmax(labels[i]) >= 0.5
        if harmless and draw[3] < shares.fragment and len(sentences := _sentence.split(text[i])) > 2:
            text[i] = _pick(generator, sentences) or text[i]
        elif draw[4] < shares.join and len(text[i]) < 300 and len(other := rows.text[_pick(generator, calm)]) < 300:
            # What is harmful in one of the two is so in both together; where one is unknown, only yes is known.
            text[i] = f"{other} {text[i]}" if generator.random() < 0.5 else f"{text[i]} {other}"
            labels[i, ~(labels[i] >= 0.5)] = np.nan
        if draw[1] < shares.identity_swap:
            text[i] = swap_identities(text[i], generator)
        if draw[2] < shares.identity_insertion and (inserted := insert_identity(text[i], generator)) != text[i]:
            text[i] = inserted
            if not harmless:
                labels[i, [hate, attack]] = np.nan  # an insult that now names a group may have become hate
    spelt = list(text)
    for i in np.flatnonzero(kind_draws[:, 0] < shares.spelling):
        text[i] = spelling(text[i], generator)
    return Changed(text, spelt, labels)
