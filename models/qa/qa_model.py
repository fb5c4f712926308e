"""The encoder with its span head, batches as tensors, and the loss."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import BertConfig, BertForQuestionAnswering

from qa_data import PAD, Feature, Tokenised, bucketed, crop, windows

Batch = dict[str, torch.Tensor]


def new_model(encoder: Path) -> BertForQuestionAnswering:
    """A question-answering model on the encoder of the folder (config.json, model.safetensors)."""
    config = BertConfig.from_pretrained(encoder)
    config.attention_probs_dropout_prob = 0.0
    config.hidden_dropout_prob = 0.0
    config.architectures = ["BertForQuestionAnswering"]
    model = BertForQuestionAnswering._from_config(config, attn_implementation="sdpa")
    weights = load_file(encoder / "model.safetensors")
    weights = {k: v for k, v in weights.items() if "pooler" not in k and "position_ids" not in k}
    missing, unexpected = model.bert.load_state_dict(weights, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return model


def collate(features: list[Feature]) -> Batch:
    """Pads to the longest. All tensors are int64 [batch, sequence], the spans int64 [batch]."""
    length = max(len(f.ids) for f in features)
    length += -length % 8
    rows = {"input_ids": [], "token_type_ids": [], "attention_mask": []}
    for f in features:
        pad = [0] * (length - len(f.ids))
        rows["input_ids"].append(f.ids + [PAD] * len(pad))
        rows["token_type_ids"].append(f.types + pad)
        rows["attention_mask"].append([1] * len(f.ids) + pad)
    batch = {name: torch.tensor(row) for name, row in rows.items()}
    batch["start"] = torch.tensor([f.start for f in features])
    batch["end"] = torch.tensor([f.end for f in features])
    return batch


def span_loss(start_logits: torch.Tensor, end_logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean cross entropy of start and end over the tokens a server may answer with.

    As in inference the question's tokens and the padding are masked; [CLS] stays, for windows
    without the answer.
    """
    allowed = batch["token_type_ids"].bool()
    allowed[:, 0] = True
    low = torch.finfo(start_logits.dtype).min
    start = functional.cross_entropy(start_logits.masked_fill(~allowed, low), batch["start"])
    end = functional.cross_entropy(end_logits.masked_fill(~allowed, low), batch["end"])
    return (start + end) / 2


class Curriculum:
    """Endless batches for each of two phases.

    The first phase shows sentences and cropped paragraphs, which are cheap; the second, whole
    paragraphs in windows as in inference, with a few sentences so that these are not forgotten.
    """

    def __init__(
        self,
        paragraphs: list[Tokenised],
        sentences: list[Tokenised],
        sentences_other: list[Tokenised],
        synthetic: list[Tokenised],
        *,
        seq_len_max: int,
        stride: int,
        crop_tokens: int,
        other_share: float,
        batch: int,
        seed: int,
    ) -> None:
        self._paragraphs, self._sentences, self._synthetic = paragraphs, sentences, synthetic
        self._seq_len_max, self._stride, self._crop = seq_len_max, stride, crop_tokens
        self._sentences_other, self._other_share = sentences_other, other_share
        self._batch = batch
        self._streams = (
            self._endless(self._first, random.Random(seed)),
            self._endless(self._second, random.Random(seed + 1)),
        )

    def next(self, phase: int) -> list[Feature]:
        return next(self._streams[phase])

    def _whole(self, items: list[Tokenised]) -> list[Feature]:
        return [f for t in items for f in windows(t, self._seq_len_max, self._stride)]

    def _first(self, rng: random.Random) -> list[Feature]:
        count = round(len(self._sentences_other) * self._other_share)
        short = self._sentences + rng.sample(self._sentences_other, count) + self._synthetic
        return self._whole(short) + [crop(t, self._crop, rng) for t in self._paragraphs]

    def _second(self, rng: random.Random) -> list[Feature]:
        both = self._sentences + self._sentences_other
        short = rng.sample(both, len(both) // 25)
        few = rng.sample(self._synthetic, len(self._synthetic) // 2)
        return self._whole(self._paragraphs + short + few)

    def _endless(
        self, epoch: Callable[[random.Random], list[Feature]], rng: random.Random
    ) -> Iterator[list[Feature]]:
        while True:
            yield from bucketed(epoch(rng), self._batch, rng)
