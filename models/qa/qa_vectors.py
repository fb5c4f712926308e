"""Test vectors for the C++ tokenizer and server: what Hugging Face's code makes of given texts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer

from qa_data import Record, is_short
from qa_infer import OnnxForQuestionAnswering, answerer, session

OWN = "written for this file"
# (question, context): Unicode before, in and after the answer; repeated answers; odd spacing.
_OWN_CASES = [
    ("What is the color of my car now?", "My car used to be blue but I painted red"),
    ("What was the color of my car before?", "My car used to be blue but I painted red"),
    ("Where does Zoë live?", "😀😀 Zoë moved from Köln to São Paulo in 2019 🎉."),
    ("Where does Zoe\u0308 live?", "Zoe\u0308 lives in a cafe\u0301 in Sa\u0303o Paulo."),
    ("Who wrote the poem?", "The poem 静夜思 was written by 李白 (Li Bai) in the Tang dynasty."),
    ("What is the capital of Japan?", "東京 (Tokyo) is the capital of Japan; 京都 (Kyoto) was it before."),
    ("Which flag flies?", "The flag 🇩🇪 of Germany flies beside 🏳️‍🌈 and 🇫🇷."),
    ("When did the café open?", "L’Été, a naïve café, opened on 3\u00a0May\u00a01998 – not in 1997."),
    ("How much does it cost?", "The ticket costs €12.50 (about $13.40) per person."),
    ("What is the code?", "The secret code is X-42/b_7#9, and nobody knows it."),
    ("Who is the author?", "author:\tJane Q. Doe\r\ntitle:\tThe Long Road\r\nyear:\t1931"),
    ("What do they sell?", "They sell apples. Only apples. Apples and nothing but APPLES."),
    ("what is the word", "   The    word   is    'banana' .   "),
    ("Where is the station?", "Вокзал (the station) стоит на площади Ленина in Новосибирск."),
    ("How tall is the tower?", "The tower—built in 1889—is 330 m (1,083 ft) tall."),
    (
        "What is zero-width?",
        "The zero\u200bwidth char\u200b sits in\u200b this\ufeff text; a soft\u00adhyphen too.",
    ),
    ("Who won?", "[CLS] Some text with [SEP] markers: Ada won the race [MASK]."),
    ("What is the very long word?", "The very long word is " + "a" * 120 + " and the short one is cat."),
    ("Who?", "Bob"),
    ("Who sang?", "Ella sang"),
    (
        "Which of the many rivers that were named in the long and winding report of the committee "
        "on inland waterways, which met every second year in the old town hall and whose minutes "
        "were never printed, was said to be the longest of all of them by the chairman himself?",
        "The chairman said that the Volga was the longest river of all; the Danube came second.",
    ),
    ("When was the bridge built?", "The bridge was built in 1932. " * 40),
    ("Where did the dog sleep?", "The cat slept on the sofa. " * 70 + "The dog slept in the barn."),
    ("Where did the dog sleep?", "The dog slept in the barn. " + "The cat slept on the sofa. " * 70),
    ("Where is the 🗝?", "Много слов. " * 60 + "The 🗝 key is under the red mat. " + "Ещё слова. " * 60),
]


def _pick(held: list[Record], tokenizer: Tokenizer, seed: int) -> list[Record]:
    """Held-out records of every kind and length, long ones joined from neighbours where needed."""
    rng = random.Random(seed)

    def tokens(record: Record) -> int:
        return len(tokenizer.encode(record["question"], record["context"]).ids)

    paragraphs = [r for r in held if not is_short(r) and len(r["context"]) < 2500]
    unicode_held = [r for r in held if not r["context"].isascii() and len(r["context"]) < 1500]
    long = [r for r in held if 384 < tokens(r) < 1200]
    joined = []
    contexts = list(dict.fromkeys(r["context"] for r in paragraphs))
    for record in rng.sample(paragraphs, 8):
        at = contexts.index(record["context"])
        before, after = contexts[max(0, at - 2) : at], contexts[at + 1 : at + 3]
        joined.append({**record, "context": "\n\n".join([*before, record["context"], *after])[:4000]})
    picked = [
        *rng.sample(unicode_held, min(20, len(unicode_held))),
        *rng.sample(long, min(8, len(long))),
        *joined,
        *rng.sample([r for r in held if is_short(r)], 65),
        *rng.sample(paragraphs, 80),
    ]
    unique = {(r["question"], r["context"]): r for r in picked}
    return list(unique.values())


def _write(path: Path, head: dict[str, str], cases: list[dict[str, Any]]) -> None:
    """JSON in ASCII with one case a line, so that a changed case is one changed line."""
    lines = [json.dumps(c, separators=(",", ":")) for c in cases]
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + ",\n".join(lines) + "\n]}\n"
    json.loads(text)
    path.write_text(text, encoding="ascii")


def write_answers(folder: Path, held: list[Record], seed: int) -> int:
    """Writes testvectors.json from the folder's model.onnx; returns the number of cases."""
    onnx = session(folder / "model.onnx", 1)
    qa = answerer(OnnxForQuestionAnswering(onnx), folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    own = [{"question": q, "context": c, "source": OWN, "license": "Apache-2.0"} for q, c in _OWN_CASES]
    cases = []
    for number, record in enumerate(own + _pick(held, tokenizer, seed)):
        with torch.inference_mode():
            result = qa(question=record["question"], context=record["context"])
            windows = list(qa.preprocess(record))
            case = {
                "question": record["question"],
                "context": record["context"],
                "answer": result["answer"],
                "start": result["start"],
                "end": result["end"],
                "score": round(result["score"], 6),
                "input_ids": [w["input_ids"][0].tolist() for w in windows],
                "source": record["source"],
                "license": record["license"],
            }
            if number < 6:
                logits = qa.forward(windows[0])
                for name in ("start", "end"):
                    case[f"{name}_logits"] = [round(x, 4) for x in logits[name][0].tolist()]
        cases.append(case)
    head = {
        "note": "Answers of Hugging Face's question-answering pipeline, default settings (windows of "
        "384 tokens that share 128, answers of 15 tokens at most, aligned to words), with the logits "
        "of model.onnx (int8) by ONNX Runtime. start and end are code points; input_ids holds one "
        "list a window; the first cases carry their first window's logits. The texts keep the "
        "licence that stands beside them.",
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }
    _write(folder / "testvectors.json", head, cases)
    return len(cases)


def rewrite_tokenisation(folder: Path) -> int:
    """Computes tokenizer_vectors.json anew for the texts that it holds."""
    path = folder / "tokenizer_vectors.json"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cases = []
    for old in json.loads(path.read_text())["cases"]:
        encoding = tokenizer.encode(old["text"])
        offsets = [list(o) for o in encoding.offsets]
        cases.append({"text": old["text"], "input_ids": encoding.ids, "offsets": offsets})
    head = {
        "note": "input_ids with [CLS] and [SEP]; offsets are [start, end) in code points of the "
        "text, [0, 0] for special tokens.",
        "tokenizers": tokenizers.__version__,
    }
    _write(path, head, cases)
    return len(cases)
