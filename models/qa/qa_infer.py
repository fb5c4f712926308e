"""Answers through Hugging Face's question-answering pipeline, from PyTorch or ONNX logits.

The pipeline's own code makes the windows and picks the span, so its results are the reference for
the C++ server; only the network behind it is swapped.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers
from tqdm import tqdm
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForQuestionAnswering,
    QuestionAnsweringPipeline,
    pipeline,
)
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from qa_data import Record
from qa_metrics import exact_match, f1


def session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


class OnnxForQuestionAnswering(BertForQuestionAnswering):
    """Looks like the PyTorch model to the pipeline and asks ONNX Runtime for the logits."""

    def __init__(self, onnx: onnxruntime.InferenceSession) -> None:
        tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}
        super().__init__(BertConfig(**tiny, intermediate_size=8))
        self._onnx = onnx

    def forward(
        self,
        input_ids: torch.Tensor,
        token_type_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> QuestionAnsweringModelOutput:
        """Logits float32 [batch, sequence] of int64 [batch, sequence] inputs."""
        feeds = {
            "input_ids": input_ids.numpy(),
            "attention_mask": attention_mask.numpy(),
            "token_type_ids": token_type_ids.numpy(),
        }
        start, end = self._onnx.run(["start_logits", "end_logits"], feeds)
        return QuestionAnsweringModelOutput(
            start_logits=torch.from_numpy(start), end_logits=torch.from_numpy(end)
        )


def answerer(model: BertForQuestionAnswering, folder: Path) -> QuestionAnsweringPipeline:
    """The pipeline of the model, with the tokenizer files of the folder and default settings."""
    transformers.logging.set_verbosity(logging.CRITICAL)  # It complains of the stand-in class.
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer.is_fast
    return pipeline("question-answering", model=model, tokenizer=tokenizer, framework="pt", device="cpu")


def answer_all(qa: QuestionAnsweringPipeline, records: list[Record]) -> list[dict[str, Any]]:
    """One answer a record: answer, start, end (code points), score."""
    with torch.inference_mode():
        return [qa(question=r["question"], context=r["context"]) for r in tqdm(records, mininterval=20)]


def score(answers: list[dict[str, Any]], records: list[Record]) -> tuple[float, float]:
    """Mean exact match and F1 in percent."""
    pairs = [(a["answer"], r["answer"]) for a, r in zip(answers, records, strict=True)]
    count = max(1, len(pairs))
    return (
        100 * sum(exact_match(a, t) for a, t in pairs) / count,
        100 * sum(f1(a, t) for a, t in pairs) / count,
    )


def logit_difference(
    qa: QuestionAnsweringPipeline,
    one: onnxruntime.InferenceSession,
    other: onnxruntime.InferenceSession,
    records: list[Record],
) -> tuple[float, float]:
    """Largest and mean absolute difference of both models' logits over the context's tokens."""
    most, total, count = 0.0, 0.0, 0
    for record in records:
        for window in qa.preprocess(record):
            feeds = {k: window[k].numpy() for k in ("input_ids", "attention_mask", "token_type_ids")}
            inside = feeds["token_type_ids"] == 1
            for a, b in zip(one.run(None, feeds), other.run(None, feeds), strict=True):
                gap = np.abs(a - b)[inside]
                most, total, count = max(most, float(gap.max())), total + float(gap.sum()), count + gap.size
    return most, total / max(1, count)


def request_ms(onnx: onnxruntime.InferenceSession, tokens: int, rounds: int = 60) -> tuple[float, float]:
    """Least and median milliseconds of a request of one row with so many tokens."""
    ids = np.random.default_rng(0).integers(1000, 9000, (1, tokens))
    ones = np.ones_like(ids)
    feeds = {"input_ids": ids, "attention_mask": ones, "token_type_ids": ones}
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        onnx.run(None, feeds)
        times.append(1000 * (time.perf_counter() - began))
    return min(times), sorted(times)[rounds // 2]
