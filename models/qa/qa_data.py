"""Data for the question-answering model: loading, split, synthetic lines, features, batches.

A *record* is one line of the data file: context, question, answer, answer_start (code points),
source, license. A *feature* is one tokenised model input: token ids, token types, and the
inclusive start and end token of the answer (0, the [CLS] token, when the window has none).
"""

from __future__ import annotations

import dataclasses
import json
import lzma
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

Record = dict[str, Any]

CLS, SEP, PAD = 101, 102, 0
QUESTION_TOKENS_MAX = 64
# Sources whose contexts are full paragraphs; the others hold single sentences.
SHORT_SOURCES = ("SQuAD1.1 train, sentence contexts (lower case)", "QAMR dev+test")


def read_records(path: Path) -> list[Record]:
    """Reads a JSON-lines file, xz-compressed when its name ends in .xz."""
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_records(path: Path, records: Sequence[Record]) -> None:
    with open(path, "w", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def is_short(record: Record) -> bool:
    """True for records whose context is a single sentence."""
    return record["source"] in SHORT_SOURCES or record["source"].startswith("synthetic")


def shingles(text: str, size: int = 8) -> set[tuple[str, ...]]:
    """Runs of `size` consecutive words, lower case, punctuation dropped."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def split_records(
    records: Sequence[Record], seed: int, fraction: float, block: int = 8
) -> tuple[list[Record], list[Record]]:
    """Splits into (train, held out) so that no text is on both sides.

    Contexts of a source stand in document order, so blocks of `block` neighbouring contexts are
    held out together: an article or a tale is then cut at a block's two edges at most. A training
    record that shares a run of eight words with a held-out context is dropped, which also removes
    the single-sentence twins of held-out paragraphs.
    """
    rng = random.Random(seed)
    held_contexts: set[str] = set()
    for source in sorted({r["source"] for r in records}):
        contexts = list(dict.fromkeys(r["context"] for r in records if r["source"] == source))
        blocks = [contexts[i : i + block] for i in range(0, len(contexts), block)]
        share = fraction / 2 if source in SHORT_SOURCES else fraction
        for chosen in rng.sample(blocks, max(1, round(len(blocks) * share))):
            held_contexts.update(chosen)
    held_shingles = set().union(*(shingles(c) for c in held_contexts))
    clean = {
        c: c not in held_contexts and held_shingles.isdisjoint(shingles(c))
        for c in {r["context"] for r in records}
    }
    train = [r for r in records if clean[r["context"]]]
    held = [r for r in records if r["context"] in held_contexts]
    return train, held


_NOUNS = (
    "house fence bike bicycle door kitchen wall boat room bedroom truck garage desk chair table "
    "gate roof van scooter cabinet shed mailbox bench guitar motorcycle office hallway bathroom "
    "phone helmet skateboard ceiling shelf bookcase dresser window balcony porch"
).split() + ["phone case", "window frame", "old car"]
_COLOURS = (
    "red blue green yellow black white orange purple pink brown grey silver gold turquoise "
    "beige maroon violet navy crimson teal cream lilac"
).split()
_OWNERS = ("My", "Our", "His", "Her", "Their", "The", "Anna's", "Tom's", "Your", "The neighbour's")
_VERBS = ("painted", "repainted", "dyed", "sprayed", "coloured")
_CITIES = "Paris London Berlin Rome Madrid Vienna Oslo Dublin Boston Chicago Lisbon Prague Tokyo".split()
_PEOPLE = "Anna Tom Maria Peter Lucy James Sofia Daniel Emma Oliver Nina Victor".split()
_JOBS = "teacher nurse baker driver lawyer painter farmer pilot cook waiter plumber singer".split()
_SIZES = ("small", "large", "tall", "short", "narrow", "wide", "heavy", "light", "slow", "fast")


def _pronoun(owner: str) -> str:
    named = {"My": "I", "Our": "we", "His": "he", "Her": "she", "Their": "they", "Your": "you"}
    return named.get(owner, "Tom" if owner == "Tom's" else "they")


def _asked_owner(owner: str) -> str:
    """The owner as a question names it: what was yours is mine."""
    if owner in ("Anna's", "Tom's"):
        return owner
    return "my" if owner in ("My", "Your") else owner.lower()


def _mid_sentence(owner: str) -> str:
    return owner if owner.endswith("'s") else owner.lower()


def _colour_change(rng: random.Random) -> tuple[str, str, str]:
    """(context, question, answer)"""
    owner, noun, verb = rng.choice(_OWNERS), rng.choice(_NOUNS), rng.choice(_VERBS)
    old, new = rng.sample(_COLOURS, 2)
    it = rng.choice((" it", ""))
    context = rng.choice(
        (
            f"{owner} {noun} used to be {old} but {_pronoun(owner)} {verb}{it} {new}",
            f"{owner} {noun} was {old}, but {_pronoun(owner)} {verb}{it} {new}.",
            f"{owner} {noun} used to be {old}, then {_pronoun(owner)} {verb}{it} {new} last year.",
            f"{owner} {noun} is {new} now, although it used to be {old}.",
            f"{owner} {noun} was {old} until {_pronoun(owner)} {verb}{it} {new}.",
            f"Once {_mid_sentence(owner)} {noun} was {old}. Now it is {new}.",
        )
    )
    spelling = rng.choice(("color", "colour"))
    asker = _asked_owner(owner)
    asks_old = rng.random() < 0.4
    if asks_old:
        question = rng.choice(
            (
                f"What {spelling} was {asker} {noun} before?",
                f"What {spelling} did {asker} {noun} use to be?",
                f"What was the old {spelling} of {asker} {noun}?",
                f"What was the {spelling} of {asker} {noun} in the past?",
            )
        )
    else:
        question = rng.choice(
            (
                f"What {spelling} is {asker} {noun} now?",
                f"What is the {spelling} of {asker} {noun} now?",
                f"What is the {spelling} of {asker} {noun}?",
                f"Which {spelling} does {asker} {noun} have now?",
                f"What is the new {spelling} of {asker} {noun}?",
                f"What {spelling} is {asker} {noun} today?",
            )
        )
    return context, question, old if asks_old else new


def _life_change(rng: random.Random) -> tuple[str, str, str]:
    """(context, question, answer)"""
    person, asks_old = rng.choice(_PEOPLE), rng.random() < 0.4
    kind = rng.randrange(3)
    if kind == 0:
        old, new = rng.sample(_CITIES, 2)
        context = rng.choice(
            (
                f"{person} used to live in {old} but moved to {new}",
                f"{person} lived in {old} before moving to {new}.",
                f"{person} lives in {new} now, but used to live in {old}.",
            )
        )
        question = f"Where did {person} use to live?" if asks_old else f"Where does {person} live now?"
    elif kind == 1:
        old, new = rng.sample(_JOBS, 2)
        context = rng.choice(
            (
                f"{person} used to be a {old} but became a {new}",
                f"{person} was a {old}, but now works as a {new}.",
                f"{person} is a {new} today and was a {old} before.",
            )
        )
        question = (
            f"What was the job of {person} before?" if asks_old else f"What is the job of {person} now?"
        )
    else:
        noun = rng.choice(_NOUNS)
        old, new = rng.sample(_SIZES, 2)
        context = rng.choice(
            (
                f"The {noun} of {person} used to be {old} but they made it {new}",
                f"The {noun} of {person} was {old}, but now it is {new}.",
            )
        )
        question = f"How was the {noun} before?" if asks_old else f"How is the {noun} of {person} now?"
    return context, question, old if asks_old else new


def synthetic_records(count: int, seed: int) -> list[Record]:
    """State-change sentences ("used to be X, painted it Y") that the public data hardly has."""
    rng = random.Random(seed)
    made: dict[tuple[str, str], Record] = {}
    while len(made) < count:
        make = _colour_change if rng.random() < 0.75 else _life_change
        context, question, answer = make(rng)
        start = re.search(rf"\b{re.escape(answer)}\b", context)
        assert start is not None, context
        made[context, question] = {
            "source": "synthetic state changes",
            "license": "Apache-2.0",
            "context": context,
            "question": question,
            "answer": answer,
            "answer_start": start.start(),
        }
    return list(made.values())


@dataclasses.dataclass(slots=True)
class Tokenised:
    """A record after tokenisation; `start` and `end` are inclusive context token indices."""

    question: list[int]
    context: list[int]
    word_starts: list[int]
    start: int
    end: int


@dataclasses.dataclass(slots=True)
class Feature:
    ids: list[int]
    types: list[int]
    start: int
    end: int


def tokenise(records: Sequence[Record], tokenizer: Tokenizer) -> list[Tokenised]:
    """Tokenises records; one whose answer holds no token is dropped."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    questions = tokenizer.encode_batch([r["question"] for r in records], add_special_tokens=False)
    texts = list(dict.fromkeys(r["context"] for r in records))
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    contexts = dict(zip(texts, encoded, strict=True))
    out = []
    for record, question in zip(records, questions, strict=True):
        context = contexts[record["context"]]
        begin = record["answer_start"]
        stop = begin + len(record["answer"])
        inside = [i for i, (a, b) in enumerate(context.offsets) if a < stop and b > begin]
        if not inside:
            continue
        words = context.word_ids
        starts = [i for i, word in enumerate(words) if i == 0 or words[i - 1] != word]
        out.append(Tokenised(question.ids[:QUESTION_TOKENS_MAX], context.ids, starts, inside[0], inside[-1]))
    return out


def join(question: list[int], context: list[int], start: int, end: int) -> Feature:
    """[CLS] question [SEP] context [SEP]; a negative `start` means no answer in this window."""
    offset = len(question) + 2
    ids = [CLS, *question, SEP, *context, SEP]
    types = [0] * offset + [1] * (len(context) + 1)
    if start < 0:
        return Feature(ids, types, 0, 0)
    return Feature(ids, types, start + offset, end + offset)


def crop(item: Tokenised, size: int, rng: random.Random) -> Feature:
    """A random window of about `size` context tokens, from a word's start, with the answer inside."""
    length = len(item.context)
    if length <= size:
        return join(item.question, item.context, item.start, item.end)
    if item.end - item.start >= size:
        answer = item.context[item.start : item.end + 1]
        return join(item.question, answer, 0, len(answer) - 1)
    low, high = max(0, item.end + 1 - size), min(item.start, length - size)
    allowed = [i for i in item.word_starts if low <= i <= high]
    begin = rng.choice(allowed) if allowed else low
    return join(item.question, item.context[begin : begin + size], item.start - begin, item.end - begin)


def windows(item: Tokenised, seq_len_max: int, stride: int) -> list[Feature]:
    """All windows of a context; consecutive ones share `stride` tokens."""
    room = seq_len_max - len(item.question) - 3
    out, begin = [], 0
    while True:
        piece = item.context[begin : begin + room]
        inside = begin <= item.start and item.end < begin + len(piece)
        start, end = (item.start - begin, item.end - begin) if inside else (-1, -1)
        out.append(join(item.question, piece, start, end))
        if begin + room >= len(item.context):
            return out
        begin += room - stride


def bucketed(features: list[Feature], size: int, rng: random.Random) -> Iterator[list[Feature]]:
    """Batches of features of like length, in random order: little padding, little order bias."""
    rng.shuffle(features)
    pool = size * 40
    batches = []
    for i in range(0, len(features), pool):
        chunk = sorted(features[i : i + pool], key=lambda f: len(f.ids))
        batches += [chunk[j : j + size] for j in range(0, len(chunk), size)]
    rng.shuffle(batches)
    yield from batches
