"""Exact match and F1 of answers, with the normalisation of SQuAD's official evaluation script."""

from __future__ import annotations

import collections
import re
import string


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and runs of white space."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(answer: str, truth: str) -> float:
    return float(normalise(answer) == normalise(truth))


def f1(answer: str, truth: str) -> float:
    """Harmonic mean of precision and recall over the words that both share."""
    got, want = normalise(answer).split(), normalise(truth).split()
    if not got or not want:
        return float(got == want)
    same = sum((collections.Counter(got) & collections.Counter(want)).values())
    return 2 * same / (len(got) + len(want))
