"""One table of labelled texts out of many sets: a loader a set, and what each set's labels mean in ours.

*Missing* is kept apart from *no*: a cell is 1, 0, a share of annotators in between, or NaN where the set says nothing. A loader
gets the rows of the file as dictionaries and yields ``(text, {label: value})``; it maps only what the set's own guideline says.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path

csv.field_size_limit(10**9)

Record = dict[str, str]
Labelled = tuple[str, dict[str, float]]

PERSPECTIVE = {
    "TOXICITY": "toxic",
    "SEVERE_TOXICITY": "severe_toxic",
    "INSULT": "insult",
    "PROFANITY": "obscene",
    "THREAT": "threat",
    "IDENTITY_ATTACK": "identity_hate",
}


def text_of(record: Record) -> str:
    """The text, under the name that the set's public original gives it."""
    return next((record[column] for column in ("text", "comment_text", "tweet") if column in record), "")


def jigsaw(records: list[Record]) -> Iterator[Labelled]:
    """Kaggle's train.csv of 2018, or the subset of it here. Hate is what its guideline calls identity hate.

    Rows drawn at the natural rate come first, so that they are the ones that stay of repeated texts.
    """
    for r in sorted(records, key=lambda r: r.get("sampling", "natural_first10k") != "natural_first10k"):
        labels = {label: float(r[column]) for label, column in PERSPECTIVE.items()}
        yield text_of(r), labels | {"HATE": labels["IDENTITY_ATTACK"]}


def civil_comments(records: list[Record]) -> Iterator[Labelled]:
    """Civil Comments with a binary target, or the public CSV of 2019 with shares of annotators and all attributes."""
    columns = {
        "TOXICITY": "target",
        "SEVERE_TOXICITY": "severe_toxicity",
        "INSULT": "insult",
        "PROFANITY": "obscene",
        "THREAT": "threat",
        "IDENTITY_ATTACK": "identity_attack",
        "SEXUALLY_EXPLICIT": "sexual_explicit",
    }
    for r in records:
        yield text_of(r), {label: float(r[c]) for label, c in columns.items() if r.get(c)}


def toxic_spans_comments(records: list[Record]) -> Iterator[Labelled]:
    """Posts that Civil Comments' annotators had called toxic, with the share of new annotators who saw nothing toxic in them. Where
    those are the most, the two groups disagree, and nothing is known."""
    for r in records:
        harmless = float(r["not_toxic"])
        yield r["text"], {"TOXICITY": 1 - harmless / 2} if harmless <= 0.5 else {}


def semeval_toxic_spans(records: list[Record]) -> Iterator[Labelled]:
    """Posts with marked toxic spans; where none is marked, annotators did not agree, and nothing is known."""
    for r in records:
        yield r["text"], {"TOXICITY": 1.0} if r["spans"] not in ("", "[]") else {}


def wiki_context(records: list[Record]) -> Iterator[Labelled]:
    for r in records:
        yield r["text"], {"TOXICITY": float(r["label"])}


def ruddit(records: list[Record]) -> Iterator[Labelled]:
    """Offensiveness from -1 to 1 by best-worst scaling: the upper part is offensive, the lower not, the middle says nothing."""
    for r in records:
        score = float(r["offensiveness_score"])
        yield r["text"], {"TOXICITY": 1.0} if score >= 0.4 else {"TOXICITY": 0.0} if score <= 0.0 else {}


def agile_rules(records: list[Record]) -> Iterator[Labelled]:
    """Comments judged by one rule of their community; the rule against advertising is our SPAM. Its examples are labelled too."""
    for r in records:
        if not r["rule"].startswith("No Advertising"):
            continue
        yield r["body"], {"SPAM": float(r["rule_violation"])}
        for kind, value in (("positive", 1.0), ("negative", 0.0)):
            for number in (1, 2):
                yield r[f"{kind}_example_{number}"], {"SPAM": value}


def measuring_hate_speech(records: list[Record]) -> Iterator[Labelled]:
    """The binary label, or in the public Parquet file the score that it is made of (above 0 is hate)."""
    for r in records:
        hate = float(r["label"]) if "label" in r else float(float(r["hate_speech_score"]) > 0)
        yield r["text"], {"HATE": hate} | ({"TOXICITY": 1.0} if hate else {})


def davidson(records: list[Record]) -> Iterator[Labelled]:
    """Tweets that hold a word of a hate lexicon. Offensive ones are mostly words that a dialect uses without harm, so they say
    nothing of toxicity here; they are not hate."""
    labels = {"0": {"HATE": 1.0, "TOXICITY": 1.0}, "1": {"HATE": 0.0}, "2": {"HATE": 0.0, "TOXICITY": 0.0}}
    for r in records:
        yield text_of(r), labels[r["class"]]


def olid(records: list[Record]) -> Iterator[Labelled]:
    labels = {
        ("NOT", ""): {"TOXICITY": 0.0, "INSULT": 0.0, "PROFANITY": 0.0, "HATE": 0.0},
        ("UNT", ""): {"PROFANITY": 1.0, "HATE": 0.0},
        ("TIN", "IND"): {"TOXICITY": 1.0, "INSULT": 1.0, "HATE": 0.0},
        ("TIN", "GRP"): {"TOXICITY": 1.0},
        ("TIN", "OTH"): {"TOXICITY": 1.0, "HATE": 0.0},
    }
    for r in records:
        # The original says NULL where there is no further kind.
        a, b, c = (r[f"subtask_{task}"].replace("NULL", "") for task in "abc")
        kinds = (b or a, c)
        yield text_of(r), labels[kinds]


def hatexplain(records: list[Record]) -> Iterator[Labelled]:
    """Posts of Twitter and Gab. Between hate and offence the annotators of this set agree little: offence says nothing of hate."""
    labels = {"hatespeech": {"HATE": 1.0, "TOXICITY": 1.0}, "offensive": {"TOXICITY": 1.0}, "normal": {"HATE": 0.0, "TOXICITY": 0.0}}
    for r in records:
        yield r["text"], labels[r["label"]]


def edos(records: list[Record]) -> Iterator[Labelled]:
    """Sexism is hate against a protected group; threats and derogation are toxic, milder kinds need not be."""
    for r in records:
        kind = r["label_category"][:1]
        labels = {"HATE": 0.0 if r["label_sexist"] == "not sexist" else 1.0}
        if kind in "12":
            labels["TOXICITY"] = 1.0
        if kind == "1":
            labels["THREAT"] = 1.0
        yield r["text"], labels


def convabuse(records: list[Record]) -> Iterator[Labelled]:
    """What people say to chat bots, by two to eight annotators: -1 to -3 is abuse, mild to strong."""
    for r in records:
        yes = lambda column: [r[c] == "1" for c in r if c.endswith(column) and r[c] != ""]  # noqa: E731
        votes = len(yes("is_abuse.1"))
        if not votes:
            continue
        abuse = sum(sum(yes(f"is_abuse.{level}")) for level in (-1, -2, -3)) / votes
        against_group = max(sum(yes(f"_{kind}")) for kind in ("ableist", "homophobic", "racist", "sexist", "transphobic")) / votes
        yield r["text"], {"TOXICITY": min(1.0, abuse), "HATE": against_group, "SEXUALLY_EXPLICIT": sum(yes("_sex_harassment")) / votes}


def implicit_hate(records: list[Record]) -> Iterator[Labelled]:
    labels = {"not_hate": {"HATE": 0.0}, "implicit_hate": {"HATE": 1.0}, "explicit_hate": {"HATE": 1.0, "TOXICITY": 1.0}}
    for r in records:
        yield r["text"], labels[r["class"]]


def fox_news(records: list[Record]) -> Iterator[Labelled]:
    for r in records:
        yield r["text"], {"HATE": float(r["label"])}


def surge(records: list[Record]) -> Iterator[Labelled]:
    for r in records:
        yield r["text"], {"TOXICITY": float(r["is_toxic"] == "Toxic")}


def hatemoji(records: list[Record]) -> Iterator[Labelled]:
    for r in records:
        hate = float(r["label_gold"])
        labels = {"HATE": hate} | ({"TOXICITY": 1.0} if hate else {})
        if r["type"] == "threateninglanguage":
            labels["THREAT"] = 1.0
        yield r["text"], labels


LOADERS: dict[str, Callable[[list[Record]], Iterator[Labelled]]] = {
    loader.__name__: loader
    for loader in (
        jigsaw, civil_comments, toxic_spans_comments, semeval_toxic_spans, wiki_context, ruddit, agile_rules, measuring_hate_speech,
        davidson, olid, hatexplain, edos, convabuse, implicit_hate, fox_news, surge, hatemoji,
    )
}


def read(path: Path) -> list[Record]:
    """Rows of a CSV or TSV file (plain or .gz) or of a Parquet file, every cell as text."""
    if path.suffix == ".parquet":
        import pyarrow.parquet  # only for public originals in this format

        return [{k: "" if v is None else str(v) for k, v in row.items()} for row in pyarrow.parquet.read_table(path).to_pylist()]
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if ".tsv" in path.suffixes else ","))


# -- labels that no allowed set has for enough texts ---------------------------------------------------------------------------

_SEXUAL = re.compile(
    r"\b(porn\w*|blow ?jobs?|hand ?jobs?|(suck|lick|ride|stroke)(s|ing|ed)? (my|his|her|your|a|that|this|on (my|his)) \w*? ?(dick|cock|pussy|balls|clit|nipples?|tits|cum)\w*"
    r"|masturbat\w*|orgasm\w*|horny|dildo\w*|gang ?bang\w*|threesomes?|milfs?|hentai|nsfw|clit\w*|jerk(ing|ed)? off|jack(ing|ed)? off|wank(s|ed|ing)"
    r"|deep ?throat\w*|cream ?pies?|bukkake|sexting|nudes?|cum ?(shot|shots|on|in|inside|dump)|cumming|rimjob|fellatio|cunnilingus|erections?|vibrators?"
    r"|(have|having|had|want|wants) (sex|anal)( with)?|anal sex|oral sex|sex ?tape|fuck(s|ed|ing)? (her|him|me) (hard|in the|with|from|so|all)|spread (your|her|my) legs"
    r"|(your|her|my|his|big|huge|nice|wet|tight) (tits|boobs|pussy|cock|dick|titties|cunt|asshole)|titt?y ?fuck\w*|squirt(ing|ed)?|moan(s|ed|ing)? (as|with|in pleasure)|sexy (body|pics?|time|as fuck))\b",
    re.IGNORECASE,
)
_MAYBE_SEXUAL = re.compile(
    r"sex|porn|dick|cock|penis|vagin|puss|tit|boob|breast|\bcum|nak?ed|nude|fuck|suck|ass\b|anal|anus|rape|whore|slut|hook|escort|strip|kiss|lick|nippl|genital|butt|cunt|horn|hump|bang|lust|erot|fetish|kink|virgin|thong|lingerie|seduc|moan|thrust|bed\b|touch|body|bodies|prostitut|testic|balls|semen|sperm|clit|condom|gay|lesbian|homo|fag",
    re.IGNORECASE,
)
_MAYBE_SPAM = re.compile(
    r"https?:|www\.|\.com|\.net|\.org|click|free|buy|sell|sale|price|offer|discount|subscribe|channel|check out|follow|join|promo|win|won|prize|cash|\$|£|€|money|earn|invest|crypto|bitcoin|loan|credit|account|bank|verify|link|call|text|sms|whatsapp|telegram|dm|order|deal|visit|code|download|stream|service|company|business|market",
    re.IGNORECASE,
)
_MAYBE_TOXIC = re.compile(
    r"fuck|shit|bitch|cunt|asshole|bastard|dick|cock|puss|idiot|moron|stupid|dumb|retard|imbecile|kill|die\b|dead|shoot|hang|burn|rape|scum|trash|garbage"
    r"|filth|vermin|slut|whore|hoe|fag|dyke|nig|spic|kike|chink|coon|paki|tranny|hate|ugly|loser|pathetic|disgust|disease|damn|crap|suck|stfu|go back|get out",
    re.IGNORECASE,
)


def word_list_labels(text: str, known: dict[str, float], hate_only: bool) -> dict[str, float]:
    """What word lists say of a text beside what people said (``known``).

    SEXUALLY_EXPLICIT: a clear wording is yes, a text with no word of a broad list is no. SPAM: a text with no word of a broad list is no.
    TOXICITY in sets that judge nothing but hate (``hate_only``), and mostly call it toxic: a text that is not hate, and has no word of a broad list,
    is no. Without that, such a set teaches that whoever names a group is toxic. All between stays missing.
    """
    labels = {}
    if "SEXUALLY_EXPLICIT" not in known:
        if _SEXUAL.search(text):
            labels["SEXUALLY_EXPLICIT"] = 1.0
        elif not _MAYBE_SEXUAL.search(text):
            labels["SEXUALLY_EXPLICIT"] = 0.0
    if "SPAM" not in known and not _MAYBE_SPAM.search(text):
        labels["SPAM"] = 0.0
    if hate_only and "TOXICITY" not in known and known.get("HATE") == 0.0 and not _MAYBE_TOXIC.search(text):
        labels["TOXICITY"] = 0.0
    return labels
